//! Makes the lab VM of Debian packages, as an ordinary user.
//!
//! apt resolves and downloads, with a status of its own in which nothing is
//! installed, from the mirrors of this machine; dpkg-deb unpacks; maintainer
//! scripts are not run, for nothing here needs them. The tree becomes one
//! read-only erofs file. The folder of an image is named after the hash of all
//! that went into it, appears in one piece, and is never changed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::Lacks;
use crate::clean::Scratch;
use crate::guest::initramfs;
use crate::guest::machine::{Accelerator, Machine, qemu_arguments};
use crate::guest::modules::{self, Kernel};

/// What the lab is made of; their dependencies come along.
const PACKAGES: [&str; 22] = [
    "busybox-static",
    "charon-systemd",
    "conntrack",
    "diffutils",
    "ethtool",
    "gzip",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libstrongswan-extra-plugins",
    "libstrongswan-standard-plugins",
    "linux-image-cloud-amd64",
    "nftables",
    "openssh-client",
    "openssh-server",
    "openssl",
    "procps",
    "qemu-system-x86",
    "strongswan-swanctl",
    "tcpdump",
    "wireguard-tools",
];
/// Drivers that the first program of the lab loads.
const DRIVERS: [&str; 8] = [
    "nfit",
    "nd_pmem",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "erofs",
    "overlay",
    "virtio_rng",
];
/// Parts of packages that nothing in the lab uses, below its root.
const UNUSED: [&str; 22] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/share/icons",
    "usr/share/zoneinfo",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/perl5",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/libexec/qemu-system-i386",
    "usr/bin/qemu-system-x86_64-microvm",
    "usr/bin/qemu-storage-daemon",
    "lib/udev",
    "MODULES/sound",
    "MODULES/drivers/gpu",
    "MODULES/drivers/infiniband",
    "MODULES/drivers/net/ethernet",
    "MODULES/fs/xfs",
    "MODULES/fs/btrfs",
    "MODULES/fs/smb",
];
/// Users and groups that programs of the lab ask for.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
const INIT: &str = include_str!("init.sh");
/// Changes whenever this file makes something else of the same packages.
const RECIPE: &str = "2";
/// The system is a memory module, whose size is a multiple of this.
const MODULE: u64 = 128 << 20;

/// The image of a lab VM: a folder with these files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The folder.
    pub folder: PathBuf,
}

impl Image {
    /// The kernel, of the lab and of its guests.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The first memory image of the lab.
    pub fn initrd(&self) -> PathBuf {
        self.folder.join("lab.cpio")
    }

    /// The read-only system.
    pub fn system(&self) -> PathBuf {
        self.folder.join("system.erofs")
    }

    /// The memory image that guests start from.
    pub fn guest(&self) -> PathBuf {
        self.folder.join("guest.cpio")
    }

    /// Packages with their versions.
    pub fn packages(&self) -> PathBuf {
        self.folder.join("packages.txt")
    }

    /// The saved state of a booted guest with so much memory.
    pub fn state(&self, mebibytes: u64) -> PathBuf {
        self.folder.join(format!("guest-{mebibytes}.state"))
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
        files.map(|file| file.len()).sum()
    }

    /// Versions of the packages that begin with one of these words, as
    /// `name version`.
    pub fn versions(&self, wanted: &[&str]) -> Vec<String> {
        let text = fs::read_to_string(self.packages()).unwrap_or_default();
        let all = text.lines().filter_map(|line| {
            let mut parts = line.split('_');
            let (name, version) = (parts.next()?, parts.next()?);
            let wanted = wanted.iter().any(|start| name.starts_with(start));
            wanted.then(|| format!("{name} {}", version.replace("%3a", ":")))
        });
        let mut all: Vec<String> = all.collect();
        all.dedup();
        all
    }

    /// The hash of what it was made of.
    pub fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// The image that was built last.
///
/// # Errors
///
/// When there is none, or it was built by another version of watari.
pub fn current(cache: &Path) -> Result<Image, Lacks> {
    let build = || "watari lab build".to_owned();
    let name = fs::read_to_string(cache.join("current"))
        .map_err(|_| Lacks::new("the lab VM has not been built", build()))?;
    let folder = cache.join(name.trim());
    let recipe = fs::read_to_string(folder.join("recipe")).unwrap_or_default();
    if recipe != recipe_hash() {
        let what = "the lab VM was built by another version of watari";
        return Err(Lacks::new(what, build()));
    }
    Ok(Image { folder })
}

/// Builds the image, or finds it built, unless `anew`; gives whether it was
/// built. `say` is told what is going on.
///
/// # Errors
///
/// When a tool is missing ([`Lacks`]), a package cannot be had, or the disk is full.
pub fn build(cache: &Path, anew: bool, say: &mut dyn FnMut(&str)) -> Result<(Image, bool)> {
    need_tools()?;
    initramfs::initramfs(&[])?;
    fs::create_dir_all(cache).with_context(|| format!("cannot make `{}`", cache.display()))?;
    let scratch = Scratch::new(cache, "build")
        .with_context(|| format!("cannot write in `{}`", cache.display()))?;
    let apt = Apt::new(cache)?;
    say("resolving packages");
    let packages = apt.resolve(say)?;
    let hash = hash(&[&recipe_hash(), &packages]);
    let folder = cache.join(format!("lab-{hash}"));
    let build = anew || !folder.join("recipe").exists();
    if build {
        let image = assemble(scratch.path(), &apt, &packages, say)?;
        if folder.exists() {
            fs::rename(&folder, scratch.path().join("old"))?;
        }
        fs::rename(&image, &folder)?;
    }
    let new = scratch.path().join("current");
    fs::write(&new, format!("lab-{hash}\n"))?;
    fs::rename(&new, cache.join("current"))?;
    Ok((Image { folder }, build))
}

fn recipe_hash() -> String {
    let unused = UNUSED.join(" ");
    let program = initramfs::initramfs(&[]).unwrap_or_default();
    let program = hex(&Sha256::digest(program));
    let packages = PACKAGES.join(" ");
    let drivers = DRIVERS.join(" ");
    let machine = guest_machine(0).join(" ");
    hash(&[
        RECIPE, &packages, &drivers, &unused, INIT, &program, PASSWD, &machine,
    ])
}

/// The guest's machine, as far as a saved state depends on it.
fn guest_machine(memory_mib: u32) -> Vec<String> {
    let nowhere = PathBuf::new;
    qemu_arguments(&Machine {
        accelerator: Accelerator::Tcg,
        memory_mib,
        kernel: nowhere(),
        initrd: nowhere(),
        mac: String::new(),
        tap: None,
        disk: None,
        control: nowhere(),
        qmp: nowhere(),
        console: None,
        incoming: None,
    })
}

fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())[..12].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes it");
    }
    text
}

fn need_tools() -> Result<(), Lacks> {
    let tools = [
        ("apt-get", "apt"),
        ("dpkg-deb", "dpkg"),
        ("mkfs.erofs", "erofs-utils"),
        ("depmod", "kmod"),
        ("qemu-system-x86_64", "qemu-system-x86"),
    ];
    let missing: Vec<_> = tools.iter().filter(|(tool, _)| !is_on_path(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(tool, _)| *tool).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    Err(Lacks::new(
        format!("the lab VM needs {}", names.join(", ")),
        format!("sudo apt-get install {}", packages.join(" ")),
    ))
}

/// Whether a program can be found; `/sbin` counts, as ordinary users lack it.
pub fn is_on_path(program: &str) -> bool {
    find_program(program).is_some()
}

/// Where a program is.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.exists())
}

/// apt with a status of its own, in which nothing is installed.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(cache: &Path) -> Result<Self> {
        let folder = cache.join("apt");
        for part in ["archives/partial", "nothing/partial", "lists/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("status"), "")?;
        Ok(Self { folder })
    }

    fn command(&self, own_lists: bool, archives: &str, arguments: &[&str]) -> Command {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new("apt-get");
        let mut option = |key: &str, value: &str| {
            command.arg("-o").arg(format!("{key}={value}"));
        };
        option("Dir::State::status", &at("status"));
        option("Dir::Cache", &at(""));
        option("Dir::Cache::archives", &at(archives));
        option("Debug::NoLocking", "1");
        option("APT::Install-Recommends", "0");
        option("APT::Sandbox::User", "");
        if own_lists {
            option("Dir::State::lists", &at("lists"));
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// The lines of what is to be downloaded: address, file, size and hash.
    fn resolve(&self, say: &mut dyn FnMut(&str)) -> Result<String> {
        let mut arguments = vec!["-qq", "--print-uris", "install"];
        arguments.extend(PACKAGES);
        for own_lists in [self.has_lists(), true] {
            // What was downloaded before must be listed too.
            let output = self.command(own_lists, "nothing", &arguments).output()?;
            if output.status.success() {
                let text = String::from_utf8_lossy(&output.stdout);
                return Ok(packages(&text));
            }
            if !self.has_lists() {
                say("fetching the lists of packages");
                let update = self.command(true, "nothing", &["-qq", "update"]).output()?;
                if !update.status.success() {
                    bail!(
                        "apt-get cannot fetch the lists of packages: {}",
                        String::from_utf8_lossy(&update.stderr).trim()
                    );
                }
            }
        }
        bail!("apt knows not all of the packages that the lab needs; is this Debian 12 or later?")
    }

    /// Whether lists of its own were fetched, as the machine's did not do.
    fn has_lists(&self) -> bool {
        fs::read_dir(self.folder.join("lists")).is_ok_and(|entries| entries.count() > 2)
    }

    fn download(&self) -> Result<()> {
        let mut arguments = vec!["-y", "-qq", "--download-only", "install"];
        arguments.extend(PACKAGES);
        let output = self
            .command(self.has_lists(), "archives", &arguments)
            .output()?;
        if !output.status.success() {
            bail!(
                "apt-get cannot download the packages of the lab: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }
}

/// `file hash` for every package, sorted; the mirror's address is left out.
fn packages(uris: &str) -> String {
    let mut lines: Vec<String> = uris
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let file = words.next()?;
            let sum = words.nth(1).unwrap_or("");
            file.ends_with(".deb").then(|| format!("{file} {sum}\n"))
        })
        .collect();
    lines.sort();
    lines.concat()
}

/// Makes the image in a folder for a while; gives where.
fn assemble(
    scratch: &Path,
    apt: &Apt,
    packages: &str,
    say: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    say("downloading about 100 MB of packages");
    apt.download()?;
    let root = scratch.join("root");
    let image = scratch.join("image");
    fs::create_dir_all(&root)?;
    fs::create_dir_all(&image)?;
    say("unpacking");
    for line in packages.lines() {
        let file = line.split(' ').next().unwrap_or(line);
        let file = apt.folder.join("archives").join(file);
        succeed(Command::new("dpkg-deb").arg("-x").arg(file).arg(&root))?;
    }
    let kernel = Kernel::find(&root)?;
    trim(&root, &kernel.version)?;
    fs::create_dir_all(root.join("etc/ssh"))?;
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/group"), GROUP)?;
    succeed(program("depmod").arg("-b").arg(&root).arg(&kernel.version))?;
    say("writing the image");
    fs::write(image.join("lab.cpio"), lab_initramfs(&root, &kernel)?)?;
    let drivers = [modules::NETWORK.as_slice(), &[modules::DISK]].concat();
    fs::write(
        image.join("guest.cpio"),
        initramfs::initramfs(&kernel.load(&drivers)?)?,
    )?;
    fs::rename(&kernel.image, image.join("vmlinuz"))?;
    fs::remove_dir_all(root.join("boot"))?;
    if !root.join("bin/sh").exists() {
        std::os::unix::fs::symlink("busybox", root.join("bin/sh"))?;
    }
    succeed(
        program("mkfs.erofs")
            .args(["--quiet", "--all-root", "-T0"])
            .arg(image.join("system.erofs"))
            .arg(&root),
    )?;
    pad(&image.join("system.erofs"))?;
    fs::write(image.join("packages.txt"), packages)?;
    fs::write(image.join("recipe"), recipe_hash())?;
    fs::set_permissions(&image, fs::Permissions::from_mode(0o755))?;
    fs::remove_dir_all(apt.folder.join("archives"))?;
    Ok(image)
}

/// Makes the file as long as a memory module may be.
fn pad(path: &Path) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len().next_multiple_of(MODULE);
    file.set_len(length)?;
    Ok(())
}

fn program(name: &str) -> Command {
    Command::new(find_program(name).unwrap_or_else(|| PathBuf::from(name)))
}

fn trim(root: &Path, version: &str) -> Result<()> {
    for part in UNUSED {
        let part = part.replace("MODULES", &format!("lib/modules/{version}/kernel"));
        let path = root.join(part);
        match fs::symlink_metadata(&path) {
            Ok(file) if file.is_dir() => fs::remove_dir_all(&path)?,
            Ok(_) => fs::remove_file(&path)?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// The first memory image of the lab: busybox, drivers and [`INIT`].
fn lab_initramfs(root: &Path, kernel: &Kernel) -> Result<Vec<u8>> {
    let mut archive = initramfs::Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "ro", "rw", "mnt", "modules"] {
        archive.directory(folder);
    }
    archive.file("init", INIT.as_bytes());
    let busybox = root.join("bin/busybox");
    archive.file("bin/busybox", &fs::read(busybox)?);
    for (number, (name, bytes)) in kernel.load(&DRIVERS)?.iter().enumerate() {
        archive.file(&format!("modules/{number:02}-{name}"), bytes);
    }
    Ok(archive.end())
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::packages;

    #[test]
    fn packages_are_told_apart_by_file_and_hash_and_not_by_mirror() {
        let of = |mirror: &str| {
            packages(&format!(
                "'http://{mirror}/b.deb' b_2_amd64.deb 12 SHA256:bb\n\
                 'http://{mirror}/a.deb' a_1_amd64.deb 10 SHA256:aa\n"
            ))
        };
        assert_eq!(
            of("one"),
            "a_1_amd64.deb SHA256:aa\nb_2_amd64.deb SHA256:bb\n"
        );
        assert_eq!(of("one"), of("two"));
    }
}
