//! A TUN device: a network interface whose packets this program reads and writes.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use nix::errno::Errno;
use nix::libc;

/// An IPv4 network, written `10.0.0.0/8`, or an address with its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// The address as written, host bits included.
    pub address: Ipv4Addr,
    prefix: u8,
}

impl Net {
    /// Whether the address lies in this network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0);
        address.to_bits() & mask == self.address.to_bits() & mask
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no IPv4 network such as 10.9.0.0/24");
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address = address.parse().map_err(|_| fault())?;
        let prefix = prefix.parse().map_err(|_| fault())?;
        if prefix > 32 {
            return Err(fault());
        }
        Ok(Self { address, prefix })
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The device; it is gone when this is dropped.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Makes a device of this name, which must not exist yet, with an address,
    /// routes that lead to it, and a largest packet.
    ///
    /// # Errors
    ///
    /// Without the right to do so, or when the name or an address is taken.
    pub fn new(name: &str, address: Net, routes: &[Net], mtu: u16) -> anyhow::Result<Self> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            (1..libc::IFNAMSIZ).contains(&name.len()) && name.chars().all(fine),
            "`{name}` is no name of a network interface: up to 15 letters and digits"
        );
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .context("cannot open /dev/net/tun; needs root and the tun module")?;
        attach(&file, name).with_context(|| format!("cannot make the TUN device `{name}`"))?;
        let mut lines = format!("address add {address} dev {name}\n");
        lines += &format!("link set dev {name} mtu {mtu} up\n");
        for route in routes {
            lines += &format!("route add {route} dev {name}\n");
        }
        ip_batch(&lines)?;
        Ok(Self(file))
    }

    /// The next packet, or `None` when there is none now.
    ///
    /// # Errors
    ///
    /// When the device is gone or down.
    pub fn read(&self, packet: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.0).read(packet) {
            Ok(length) => Ok(Some(length)),
            Err(error) if super::wait::is_idle(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a packet to the kernel.
    ///
    /// # Errors
    ///
    /// When it is no packet, or the device is down.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write_all(packet)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[expect(unsafe_code, reason = "no safe call makes a TUN device")]
fn attach(file: &File, name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;
    let flags = libc::c_short::from_ne_bytes((flags as u16).to_ne_bytes());
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    Errno::result(result)?;
    Ok(())
}

/// Runs `ip -batch` on these lines.
fn ip_batch(lines: &str) -> anyhow::Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `ip` of iproute2")?;
    let mut input = child.stdin.take().context("`ip` has no input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip` refused: {}", said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_of_its_prefix() {
        let net: Net = "10.9.1.7/24".parse().unwrap();
        assert!(net.contains([10, 9, 1, 255].into()));
        assert!(!net.contains([10, 9, 2, 7].into()));
        let all: Net = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains([255, 255, 255, 255].into()));
        let one: Net = "10.9.1.7".parse().unwrap();
        assert!(!one.contains([10, 9, 1, 8].into()));
        assert_eq!(net.to_string(), "10.9.1.7/24");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.9.1.7/33", "10.9.1/24", "10.9.1.7/-1", "::1/64"] {
            assert!(text.parse::<Net>().is_err(), "{text}");
        }
    }
}
