//! The network card and the services that others probe.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::arguments::Arguments;
use crate::system::ioctl_bytes;

/// Datagrams sent back.
pub(crate) static ECHOED: AtomicU64 = AtomicU64::new(0);
/// Bytes that the discard service got.
pub(crate) static DISCARDED: AtomicU64 = AtomicU64::new(0);
/// Bytes that the chargen service sent.
pub(crate) static SENT: AtomicU64 = AtomicU64::new(0);

const CARD: &[u8] = b"eth0";
const AF_INET: u16 = 2;
const ARPHRD_ETHER: u16 = 1;
const SIOCADDRT: u64 = 0x890b;
const SIOCGIFFLAGS: u64 = 0x8913;
const SIOCSIFFLAGS: u64 = 0x8914;
const SIOCSIFADDR: u64 = 0x8916;
const SIOCSIFNETMASK: u64 = 0x891c;
const SIOCSIFMTU: u64 = 0x8922;
const SIOCSIFHWADDR: u64 = 0x8924;
const IFF_UP: u16 = 1;
/// Up, through a gateway.
const ROUTE_FLAGS: u16 = 1 | 2;

/// The network card.
#[derive(Debug, Default)]
pub(crate) struct Network {
    serving: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Settings {
    address: Ipv4Addr,
    mask: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    mac: Option<[u8; 6]>,
    mtu: Option<u32>,
}

impl Network {
    /// Obeys `net`.
    pub(crate) fn configure(&mut self, arguments: &Arguments) -> Result<String, String> {
        let settings = Settings::parse(arguments)?;
        settings.apply().map_err(|error| format!("eth0: {error}"))?;
        if !self.serving {
            serve().map_err(|error| format!("services: {error}"))?;
            self.serving = true;
        }
        Ok("ok".to_string())
    }
}

impl Settings {
    fn parse(arguments: &Arguments) -> Result<Self, String> {
        arguments.only(&["address", "gateway", "mac", "mtu"])?;
        let text = arguments.text("address").unwrap_or_default();
        let parsed = text.split_once('/').and_then(|(address, bits)| {
            let bits: u32 = bits.parse().ok().filter(|bits| (1..=32).contains(bits))?;
            Some((address.parse().ok()?, u32::MAX << (32 - bits)))
        });
        let (address, mask) = parsed.ok_or("address= is not like 10.9.0.2/24")?;
        let mac = arguments.text("mac").map(parse_mac).transpose()?;
        Ok(Self {
            address,
            mask: Ipv4Addr::from_bits(mask),
            gateway: arguments.optional("gateway")?,
            mac,
            mtu: arguments.optional("mtu")?,
        })
    }

    fn apply(&self) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let call = |request, bytes: &mut [u8]| ioctl_bytes(socket.as_raw_fd(), request, bytes);
        let mut flags = request(&[]);
        call(SIOCGIFFLAGS, &mut flags)?;
        let up = u16::from_ne_bytes([flags[16], flags[17]]) | IFF_UP;
        if let Some(mac) = self.mac {
            let family = ARPHRD_ETHER.to_ne_bytes();
            call(SIOCSIFHWADDR, &mut request(&[&family[..], &mac].concat()))?;
        }
        if let Some(mtu) = self.mtu {
            call(SIOCSIFMTU, &mut request(&mtu.to_ne_bytes()))?;
        }
        call(SIOCSIFADDR, &mut request(&socket_address(self.address)))?;
        call(SIOCSIFNETMASK, &mut request(&socket_address(self.mask)))?;
        call(SIOCSIFFLAGS, &mut request(&up.to_ne_bytes()))?;
        match self.gateway {
            None => Ok(()),
            Some(gateway) => match call(SIOCADDRT, &mut default_route(gateway)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                result => result,
            },
        }
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let bytes = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok());
    let bytes: Option<Vec<u8>> = bytes.collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("mac={text} is not like 52:54:00:00:00:02"))
}

/// A `struct ifreq` of the card: 16 bytes of name, 24 of value.
fn request(value: &[u8]) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..CARD.len()].copy_from_slice(CARD);
    bytes[16..16 + value.len()].copy_from_slice(value);
    bytes
}

/// A `struct sockaddr_in` without a port.
fn socket_address(address: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
    bytes[4..8].copy_from_slice(&address.octets());
    bytes
}

/// A `struct rtentry` on 64-bit machines: destination at 8, gateway at 24, mask
/// at 40, flags at 56.
fn default_route(gateway: Ipv4Addr) -> [u8; 120] {
    let mut bytes = [0; 120];
    bytes[8..24].copy_from_slice(&socket_address(Ipv4Addr::UNSPECIFIED));
    bytes[24..40].copy_from_slice(&socket_address(gateway));
    bytes[40..56].copy_from_slice(&socket_address(Ipv4Addr::UNSPECIFIED));
    bytes[56..58].copy_from_slice(&ROUTE_FLAGS.to_ne_bytes());
    bytes
}

/// Starts the services.
fn serve() -> io::Result<()> {
    let echo = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7))?;
    thread::spawn(move || echo_for_ever(&echo));
    for (port, serve) in [(9, discard as fn(TcpStream)), (19, generate)] {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                thread::spawn(move || serve(client));
            }
        });
    }
    Ok(())
}

fn echo_for_ever(socket: &UdpSocket) {
    let mut datagram = vec![0; 65_536];
    loop {
        let Ok((length, sender)) = socket.recv_from(&mut datagram) else {
            continue; // An ICMP error about an earlier answer.
        };
        if socket.send_to(&datagram[..length], sender).is_ok() {
            ECHOED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn discard(mut client: TcpStream) {
    let mut bytes = vec![0; 16_384];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        DISCARDED.fetch_add(count as u64, Ordering::Relaxed);
    }
}

fn generate(mut client: TcpStream) {
    let bytes: Vec<u8> = (b'!'..=b'~').cycle().take(16_384).collect();
    while let Ok(count @ 1..) = client.write(&bytes) {
        SENT.fetch_add(count as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &str) -> Result<Settings, String> {
        Settings::parse(&Arguments::new(words.split(' ')))
    }

    #[test]
    fn addresses_are_parsed() {
        let parsed = settings("address=10.9.0.2/20 gateway=10.9.0.1 mac=52:54:00:00:00:fe");
        let expected = Settings {
            address: Ipv4Addr::new(10, 9, 0, 2),
            mask: Ipv4Addr::new(255, 255, 240, 0),
            gateway: Some(Ipv4Addr::new(10, 9, 0, 1)),
            mac: Some([0x52, 0x54, 0, 0, 0, 0xfe]),
            mtu: None,
        };
        assert_eq!(parsed, Ok(expected));
        assert!(settings("address=10.9.0.2").is_err());
        assert!(settings("address=10.9.0.2/33").is_err());
        assert!(settings("address=10.9.0.2/24 mac=52:54").is_err());
    }

    #[test]
    fn requests_have_the_layout_of_the_kernel() {
        let bytes = request(&socket_address(Ipv4Addr::new(10, 9, 0, 2)));
        assert_eq!(&bytes[..6], b"eth0\0\0");
        assert_eq!(&bytes[16..24], [2, 0, 0, 0, 10, 9, 0, 2]);
    }
}
