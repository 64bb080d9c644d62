//! What this machine can do, found out by trying.
//!
//! What the kernel can do is tried in a network namespace that ends with the
//! program that tries it, so nothing is left behind. Without root the attempts
//! are made in a user namespace, where there is one.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clean::Scratch;
use crate::lab::build::{self, Image, find_program};
use crate::lab::{cache, vm};

/// Longest boot under KVM; where KVM is itself emulated it can hang for good.
const BOOT: Duration = Duration::from_secs(10);
/// Free space that an image and its making take.
const SPACE: u64 = 2 << 30;

/// A lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lab {
    /// This machine, as root.
    Host,
    /// The lab VM.
    Vm,
}

/// Something that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What.
    pub what: &'static str,
    /// Whether it is there; `None` when that could not be found out.
    pub found: Option<bool>,
    /// Which, where, or what was said instead.
    pub detail: String,
    /// What it is good for.
    pub purpose: &'static str,
    /// What to do when it is not there.
    pub fix: &'static str,
    /// Labs that cannot do without.
    pub needed_by: &'static [Lab],
}

impl Probe {
    /// Whether a lab cannot be used because of this.
    pub fn stops(&self, lab: Lab) -> bool {
        self.found != Some(true) && self.needed_by.contains(&lab)
    }
}

/// Tries everything.
pub fn all() -> Vec<Probe> {
    let image = cache().and_then(|cache| build::current(&cache));
    let image = image.as_ref();
    let mut probes = host();
    probes.extend([user_namespaces(), wireguard(), kvm(image.ok())]);
    probes.extend(programs());
    probes.push(space());
    probes
}

/// Tries what the host lab cannot do without.
pub fn host() -> Vec<Probe> {
    let mut probes = vec![root()];
    probes.extend(kernel());
    probes.extend([routing(), qemu(), image()]);
    probes
}

fn root() -> Probe {
    let found = nix::unistd::geteuid().is_root();
    Probe {
        what: "root",
        found: Some(found),
        detail: String::new(),
        purpose: "network namespaces",
        fix: "sudo watari ...; or use the lab VM, which needs no root",
        needed_by: &[Lab::Host],
    }
}

/// What the kernel must be able to do.
fn kernel() -> [Probe; 4] {
    let probe = |what, purpose, fix, script: &str| {
        let (found, detail) = in_namespace(script);
        let needed_by = &[Lab::Host];
        Probe {
            what,
            found,
            detail,
            purpose,
            fix,
            needed_by,
        }
    };
    let kernel = "boot a kernel that has it, such as Debian's linux-image-amd64";
    [
        probe(
            "network namespaces",
            "sites, hosts and gateways",
            kernel,
            "mount -t tmpfs tmpfs /run && ip netns add try && ip netns del try",
        ),
        probe(
            "sch_netem",
            "delay, loss and rate of links",
            kernel,
            "tc qdisc add dev lo root netem delay 1ms rate 100mbit",
        ),
        probe(
            "esp4",
            "IPsec tunnels",
            kernel,
            "ip xfrm state add src 127.0.0.1 dst 127.0.0.1 proto esp spi 1 mode transport \
             aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128",
        ),
        probe(
            "tun",
            "guests' network cards, the packet relay",
            "modprobe tun",
            "ip tuntap add dev try mode tap",
        ),
    ]
}

fn wireguard() -> Probe {
    let (found, detail) = in_namespace("ip link add try type wireguard");
    Probe {
        what: "wireguard",
        found,
        detail,
        purpose: "WireGuard tunnels on this host",
        fix: "modprobe wireguard",
        needed_by: &[],
    }
}

fn user_namespaces() -> Probe {
    let result = attempt(Command::new("unshare").args(["--user", "--map-root-user", "true"]));
    Probe {
        what: "user namespaces",
        found: Some(result.is_ok()),
        detail: result.err().unwrap_or_default(),
        purpose: "looking at the kernel without root",
        fix: "sysctl kernel.unprivileged_userns_clone=1",
        needed_by: &[],
    }
}

/// Runs a script in namespaces that end with it.
fn in_namespace(script: &str) -> (Option<bool>, String) {
    if find_program("unshare").is_none() || find_program("ip").is_none() {
        return (None, "needs unshare and ip to find out".to_owned());
    }
    let root = nix::unistd::geteuid().is_root();
    let mut command = Command::new("unshare");
    if !root {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "sh", "-c", script]);
    command.env("PATH", search_path());
    match attempt(&mut command) {
        Ok(_) => (Some(true), String::new()),
        Err(reason) if root => (Some(false), reason),
        // A user may be forbidden what root can do.
        Err(_) => (None, "only root can find out".to_owned()),
    }
}

/// The search path, with the folders that ordinary users lack.
fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Runs a program; gives what it printed, or the last line of its error.
fn attempt(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    Err(last.unwrap_or("it failed").trim().to_owned())
}

/// Whether KVM is there, and does what it promises.
pub fn kvm(image: Option<&Image>) -> Probe {
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    let (found, detail) = match (device, image) {
        (Err(error), _) => (Some(false), format!("/dev/kvm: {error}")),
        (Ok(_), None) => (None, "`watari lab build`, to try it".to_owned()),
        (Ok(_), Some(image)) => match boots(image) {
            Ok(time) => (Some(true), format!("boots in {:.1} s", time.as_secs_f64())),
            Err(reason) => (Some(false), reason),
        },
    };
    Probe {
        what: "KVM",
        found,
        detail,
        purpose: "guests at full speed on this host",
        fix: "nothing is needed: guests are emulated in software",
        needed_by: &[],
    }
}

/// Boots the kernel of the lab until it runs its first program.
fn boots(image: &Image) -> Result<Duration, String> {
    let scratch = Scratch::new(&std::env::temp_dir(), "kvm").map_err(|error| error.to_string())?;
    let console = scratch.path().join("console");
    let mut command = vm::bare(image, &scratch).map_err(|error| error.to_string())?;
    command
        .args(["-accel", "kvm", "-m", "512", "-append"])
        .arg("console=ttyS0 panic=-1")
        .arg("-serial")
        .arg(vm::file_option("file:", &console))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let start = Instant::now();
    let result = loop {
        let said = std::fs::read(&console).unwrap_or_default();
        if String::from_utf8_lossy(&said).contains("Run /init as init process") {
            break Ok(start.elapsed());
        }
        if let Ok(Some(status)) = child.try_wait() {
            break Err(format!("QEMU ends at once: {status}"));
        }
        if start.elapsed() > BOOT {
            break Err(format!("boots nothing in {} s", BOOT.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = child.kill();
    let _ = child.wait();
    result
}

/// Version of this machine's QEMU; empty without.
pub fn qemu_version() -> String {
    ask_qemu().map_or_else(|_| String::new(), |text| version_in(&text))
}

/// Version of the running kernel; empty where that is not told.
pub fn kernel_release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

fn ask_qemu() -> Result<String, String> {
    find_program("qemu-system-x86_64")
        .ok_or_else(|| "qemu-system-x86_64 is missing".to_owned())
        .and_then(|program| attempt(Command::new(program).arg("--version")))
}

fn qemu() -> Probe {
    let said = ask_qemu();
    let detail = match &said {
        Ok(text) => version_in(text),
        Err(reason) => reason.clone(),
    };
    Probe {
        what: "QEMU",
        found: Some(said.is_ok()),
        detail,
        purpose: "the lab VM, and guests",
        fix: "apt-get install qemu-system-x86",
        needed_by: &[Lab::Host, Lab::Vm],
    }
}

/// `7.2.22` of `QEMU emulator version 7.2.22 (Debian ...)`.
fn version_in(text: &str) -> String {
    let mut words = text.split_whitespace();
    let _ = words.find(|word| *word == "version");
    words.next().unwrap_or("of unknown version").to_owned()
}

fn image() -> Probe {
    let (found, detail) = match cache().and_then(|cache| build::current(&cache)) {
        Ok(image) => (true, image.name()),
        Err(lacks) => (false, lacks.what),
    };
    Probe {
        what: "image of the lab VM",
        found: Some(found),
        detail,
        purpose: "the lab VM; kernel and memory image of guests",
        fix: "watari lab build",
        needed_by: &[Lab::Host, Lab::Vm],
    }
}

/// Programs that are there or not.
fn of_programs(
    what: &'static str,
    names: &[&str],
    purpose: &'static str,
    fix: &'static str,
    needed_by: &'static [Lab],
) -> Probe {
    let is_missing = |name: &&&str| find_program(name).is_none();
    let missing: Vec<&str> = names.iter().filter(is_missing).copied().collect();
    let detail = match missing.as_slice() {
        [] => String::new(),
        [one] => format!("{one} is missing"),
        more => format!("{} are missing", more.join(", ")),
    };
    Probe {
        what,
        found: Some(missing.is_empty()),
        detail,
        purpose,
        fix,
        needed_by,
    }
}

fn routing() -> Probe {
    of_programs(
        "iproute2, nft, ethtool, iperf3, ping",
        &["ip", "tc", "nft", "ethtool", "iperf3", "ping"],
        "building and measuring networks on this host",
        "apt-get install iproute2 nftables ethtool iperf3 iputils-ping",
        &[Lab::Host],
    )
}

fn programs() -> [Probe; 4] {
    [
        of_programs(
            "mkfs.erofs, apt-get, dpkg-deb, depmod",
            &["mkfs.erofs", "apt-get", "dpkg-deb", "depmod"],
            "watari lab build",
            "apt-get install erofs-utils apt dpkg kmod",
            &[],
        ),
        of_programs(
            "strongSwan",
            &["charon-systemd", "swanctl"],
            "IKE on this host",
            "apt-get install charon-systemd strongswan-swanctl",
            &[],
        ),
        of_programs(
            "OpenSSH",
            &["ssh", "scp", "sshd"],
            "images over scp on this host",
            "apt-get install openssh-client openssh-server",
            &[],
        ),
        of_programs(
            "openssl",
            &["openssl"],
            "encrypted images on this host",
            "apt-get install openssl",
            &[],
        ),
    ]
}

fn space() -> Probe {
    let free = cache().ok().and_then(|cache| free_bytes(&cache));
    let detail = free.map_or_else(String::new, |free| format!("{} MiB free", free >> 20));
    Probe {
        what: "space in the cache",
        found: free.map(|free| free >= SPACE),
        detail,
        purpose: "watari lab build, which takes 2 GiB for a while",
        fix: "make room, or set WATARI_CACHE to another folder",
        needed_by: &[],
    }
}

/// Free space where a folder is or would be made.
fn free_bytes(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|path| path.exists())?;
    let space = nix::sys::statvfs::statvfs(there).ok()?;
    Some(space.blocks_available() * space.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_stopped_by_what_it_needs_and_was_not_found() {
        let missing = of_programs("x", &["watari-has-no-such-program"], "", "", &[Lab::Host]);
        assert!(missing.stops(Lab::Host));
        assert!(!missing.stops(Lab::Vm));
        assert_eq!(missing.detail, "watari-has-no-such-program is missing");
        assert!(!of_programs("sh", &["sh"], "", "", &[Lab::Host]).stops(Lab::Host));
    }

    #[test]
    fn the_version_is_found_in_what_qemu_says() {
        let text = "QEMU emulator version 7.2.22 (Debian 1:7.2)\nCopyright\n";
        assert_eq!(version_in(text), "7.2.22");
        assert_eq!(version_in("?"), "of unknown version");
    }

    #[test]
    fn looking_leaves_nothing_behind() {
        let namespaces = || std::fs::read_dir("/run/netns").map_or(0, Iterator::count);
        let before = namespaces();
        let probes = host();
        assert!(probes.len() >= 6);
        assert_eq!(namespaces(), before);
    }
}
