//! `tool relay-client` and `tool relay-server`: the packet relay of BitVisor's
//! VPN fail-over (Matsuhashi et al., FGCS 2012), as two programs on TUN devices.
//!
//! A VPN gives its client an address, and another gateway gives another one.
//! The relay hides that: the guest keeps one stable address on the client's TUN
//! device, each of its packets goes to the relay server inside one more IP
//! header (20 bytes) whose source is the address of the moment, and the server
//! sends what is for the stable address to where the client's last packet came
//! from. The guest's connections survive the change of gateway.
//!
//! # Running them alone
//!
//! The server stands behind the VPN gateways, in the network that the guest's
//! peers are in, say at 10.60.0.1. As root:
//!
//! ```text
//! watari tool relay-server --listen 10.60.0.1 \
//!     --tun relay0 --address 10.99.0.1/24 --from 10.1.0.0/16
//! sysctl net.ipv4.ip_forward=1
//! ```
//!
//! Peers need a route to 10.99.0.0/24 through this machine, or this machine
//! hides the clients behind its own address, as the relay of the paper does:
//!
//! ```text
//! nft add table ip relay
//! nft 'add chain ip relay out { type nat hook postrouting priority srcnat; }'
//! nft add rule ip relay out ip saddr 10.99.0.0/24 oifname != relay0 masquerade
//! ```
//!
//! The client stands where the VPN client is; 10.50.0.0/16 are the peers, and
//! 10.60.0.1 has to be reached through the VPN:
//!
//! ```text
//! watari tool relay-client --server 10.60.0.1 --tun relay0 --address 10.99.0.2/24 \
//!     --route 10.50.0.0/16 --keepalive-to 10.99.0.1 --control /run/relay.sock
//! ```
//!
//! After a change of gateway, tell it the new local address, or `auto` to let
//! the routes decide; `watari tool vpn-client` does this by itself:
//!
//! ```text
//! echo 'local 10.2.0.100' | nc -NU /run/relay.sock
//! ```
//!
//! Both end at SIGTERM or SIGINT and take their device with them. `--mtu` is the
//! largest packet of the device: what fits the way through the VPN less 20 bytes
//! (28 with `--transport udp`). It is 1380 if not given.
//!
//! # How the server learns the new way
//!
//! From any packet of the client, as in the paper. When the guest is the one
//! that sends, its next packet does it. For data that flows towards the guest
//! something has to be sent: at once after each `local` command the client sends
//! a keep-alive, an ICMP echo request from the stable address to
//! `--keepalive-to`, which the server's kernel answers by the new way
//! (`confirmed`). With `--keepalive TIME` it also sends one at each multiple of
//! that time. The simulator knows only the second ("the next probe"): to compare
//! with it, give `--keepalive` the probe interval and turn the first off with
//! `--quiet-switch`. Probes of `vpn-client` go to the gateway and teach the
//! relay nothing.
//!
//! # What is protected and what is not
//!
//! The relay itself neither encrypts nor authenticates: it is made to run inside
//! a VPN. The server takes a packet only if its outer source lies in a network
//! of `--from` (the pools of the VPN gateways, which check their clients'
//! addresses) and its inner source in the network of `--address`. Whoever may
//! send from inside those pools can claim the stable address of another client.
//! At most 256 clients are remembered; a further one is refused.
//!
//! # What they print
//!
//! Both print `ready` and a summary with `from_tun`, `to_tun` (packets),
//! `from_tun_bytes`, `to_tun_bytes`, `refused` (no IPv4, wrong source or
//! destination, no client), `errors` (the kernel did not take a packet) and
//! `too_big` (of these, larger than the way). The client prints
//! `{"event":"local","t_ns","local"}` for each switch and
//! `{"event":"confirmed","t_ns","rtt_ns"}` for the first keep-alive answered
//! after a switch or the start; its summary has also `switches`, `keepalives`,
//! `keepalives_answered`. The server prints `{"event":"client","t_ns",
//! "inner","outer","before"}` whenever a client's outer address is new (the
//! first 1000 times), and its summary has `clients` and `moves`.
//!
//! `--transport ipip` is IP protocol 4, which the kernel's own `ipip` tunnels
//! also speak; `udp` wraps the same packets into UDP for ways that pass nothing
//! else. IPv4 only.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::Args as ClientArgs;
pub use server::Args as ServerArgs;

pub(super) use client::run as run_client;
pub(super) use server::run as run_server;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockaddrIn, bind};
use serde_json::{Value, json};

use super::packet;

/// Packets taken from one side before the other is looked at.
const BATCH: usize = 64;
const LARGEST: usize = 65_536;

/// How packets travel between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// IP in IP, protocol 4.
    Ipip,
    /// In UDP datagrams.
    Udp,
}

/// What both ends say of their channel and of their TUN device.
#[derive(Debug, clap::Args)]
struct Channel {
    /// How packets travel.
    #[arg(long, value_enum, default_value = "ipip")]
    transport: Transport,
    /// The server's port, with --transport udp.
    #[arg(long, default_value_t = 7411)]
    port: u16,
    /// Name of the TUN device to make.
    #[arg(long, default_value = "relay0", value_name = "NAME")]
    tun: String,
    /// Largest packet of the TUN device.
    #[arg(long, default_value_t = 1380, value_name = "BYTES")]
    mtu: u16,
}

/// One end of the way between client and server.
#[derive(Debug)]
struct Link {
    /// A raw socket takes the same calls; its ports are zero.
    socket: UdpSocket,
    transport: Transport,
}

impl Link {
    fn new(transport: Transport, local: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = match transport {
            Transport::Udp => UdpSocket::bind((local, port))?,
            Transport::Ipip => {
                let fd = packet::open_raw(libc::IPPROTO_IPIP)?;
                bind(
                    fd.as_raw_fd(),
                    &SockaddrIn::from(SocketAddrV4::new(local, 0)),
                )?;
                UdpSocket::from(fd)
            }
        };
        socket.set_nonblocking(true)?;
        allow_fragments(&socket)?;
        Ok(Self { socket, transport })
    }

    /// The next packet's place in the buffer and its outer source, or `None`
    /// when there is none now.
    fn receive(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<Option<(std::ops::Range<usize>, SocketAddrV4)>> {
        loop {
            match self.socket.recv_from(buffer) {
                Ok((length, SocketAddr::V4(from))) => {
                    let start = match self.transport {
                        Transport::Udp => 0,
                        // A raw socket hands the outer header over too.
                        Transport::Ipip => packet::header_length(&buffer[..length]),
                    };
                    return Ok(Some((start.min(length)..length, from)));
                }
                Ok(_) => {}
                // What came back for an earlier packet says nothing about the next.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if super::wait::is_idle(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&self, packet: &[u8], to: SocketAddrV4) -> io::Result<()> {
        self.socket.send_to(packet, to).map(|_| ())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Rather has a packet that is too large cut up than lost.
#[expect(unsafe_code, reason = "nix has no name for this option")]
fn allow_fragments(socket: &UdpSocket) -> io::Result<()> {
    let value = libc::IP_PMTUDISC_DONT;
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("four bytes");
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            length,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// What went through.
#[derive(Debug, Default)]
struct Counts {
    from_tun: u64,
    from_tun_bytes: u64,
    to_tun: u64,
    to_tun_bytes: u64,
    refused: u64,
    errors: u64,
    too_big: u64,
}

impl Counts {
    fn sent(&mut self, result: io::Result<()>, length: usize) {
        match result {
            Ok(()) => {
                self.from_tun += 1;
                self.from_tun_bytes += length as u64;
            }
            Err(error) => {
                self.errors += 1;
                self.too_big += u64::from(error.raw_os_error() == Some(libc::EMSGSIZE));
            }
        }
    }

    fn delivered(&mut self, result: io::Result<()>, length: usize) {
        match result {
            Ok(()) => {
                self.to_tun += 1;
                self.to_tun_bytes += length as u64;
            }
            Err(_) => self.errors += 1,
        }
    }

    fn object(&self) -> Value {
        json!({
            "event": "summary",
            "t_ns": super::clock::now_ns(),
            "from_tun": self.from_tun,
            "from_tun_bytes": self.from_tun_bytes,
            "to_tun": self.to_tun,
            "to_tun_bytes": self.to_tun_bytes,
            "refused": self.refused,
            "errors": self.errors,
            "too_big": self.too_big,
        })
    }
}
