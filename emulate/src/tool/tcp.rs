//! What [`super::flow`] and [`super::sink`] share: opening the one connection
//! from either side, and the kernel's account of it.
//!
//! The sender is always `flow` and the receiver always `sink`; either may listen
//! and the other connects. A download is `flow --listen` and `sink --to`.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::Context as _;
use models::units::Span;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt,
    socket, sockopt,
};
use serde_json::{Value, json};

use super::clock::{emit, now_ns};
use super::wait::{Arrival, Want, wait};

/// Which side of the connection this is, and how the connection behaves.
#[derive(Debug, clap::Args)]
pub struct Ends {
    /// Wait here for the connection; only the first is taken.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        required_unless_present = "to",
        conflicts_with = "to"
    )]
    listen: Option<SocketAddr>,
    /// Connect to the other side.
    #[arg(long, value_name = "ADDR:PORT")]
    to: Option<SocketAddr>,
    /// Local address of a connection made with --to.
    #[arg(long, value_name = "ADDR", requires = "to")]
    bind: Option<IpAddr>,
    /// How long to try to connect.
    #[arg(long, default_value = "10s", value_name = "TIME")]
    connect_timeout: Span,
    /// Congestion control, such as cubic; the system's default when left out.
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Give the connection up when data stays unacknowledged for so long
    /// (TCP_USER_TIMEOUT); the system's default is about 15 minutes.
    #[arg(long, value_name = "TIME")]
    user_timeout: Option<Span>,
}

/// What came of opening the connection.
#[derive(Debug)]
pub(super) enum Opened {
    Connected(TcpStream),
    /// It was refused or timed out, which is a result and no fault of this program.
    Failed(io::Error),
    /// A signal came first.
    Stopped,
}

impl Ends {
    /// Opens the connection; the stream does not block.
    pub(super) fn open(&self, stop: &Arrival) -> anyhow::Result<Opened> {
        let opened = match (self.listen, self.to) {
            (Some(here), _) => self.accept(here, stop)?,
            (None, Some(there)) => self.connect(there, stop)?,
            (None, None) => anyhow::bail!("neither --listen nor --to is given"),
        };
        if let Opened::Connected(stream) = &opened {
            stream.set_nonblocking(true)?;
            emit(&json!({
                "event": "connected",
                "t_ns": now_ns(),
                "local": stream.local_addr().ok(),
                "peer": stream.peer_addr().ok(),
            }))?;
        }
        Ok(opened)
    }

    fn socket(&self, address: SocketAddr) -> anyhow::Result<OwnedFd> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family, SockType::Stream, flags, None)?;
        if let Some(name) = &self.congestion {
            setsockopt(&fd, sockopt::TcpCongestion, &name.into())
                .with_context(|| format!("the kernel has no congestion control `{name}`"))?;
        }
        if let Some(time) = self.user_timeout {
            let ms = u32::try_from(time.get().as_nanos() / 1_000_000).unwrap_or(u32::MAX);
            setsockopt(&fd, sockopt::TcpUserTimeout, &ms)?;
        }
        Ok(fd)
    }

    fn accept(&self, here: SocketAddr, stop: &Arrival) -> anyhow::Result<Opened> {
        let fd = self.socket(here)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(here))
            .with_context(|| format!("cannot listen on TCP {here}"))?;
        listen(&fd, Backlog::new(1)?)?;
        let listener = TcpListener::from(fd);
        emit(&json!({ "event": "listening", "t_ns": now_ns(), "addr": listener.local_addr()? }))?;
        loop {
            let ready = wait(
                &[Want::Read(stop.as_fd()), Want::Read(listener.as_fd())],
                None,
            )?;
            if ready.has(0) {
                return Ok(Opened::Stopped);
            }
            // A connection that was given up again before it was taken is no error.
            if let Ok((stream, _)) = listener.accept() {
                return Ok(Opened::Connected(stream));
            }
        }
    }

    fn connect(&self, there: SocketAddr, stop: &Arrival) -> anyhow::Result<Opened> {
        let fd = self.socket(there)?;
        if let Some(address) = self.bind {
            bind(
                fd.as_raw_fd(),
                &SockaddrStorage::from(SocketAddr::new(address, 0)),
            )
            .with_context(|| format!("cannot bind to {address}"))?;
        }
        let until = now_ns().saturating_add(self.connect_timeout.get().as_nanos());
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(there)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Ok(Opened::Failed(error.into())),
        }
        let stream = TcpStream::from(fd);
        let wants = [Want::Read(stop.as_fd()), Want::Write(stream.as_fd())];
        let ready = wait(&wants, Some(until))?;
        if ready.has(0) {
            return Ok(Opened::Stopped);
        }
        if ready.is_empty() {
            return Ok(Opened::Failed(Errno::ETIMEDOUT.into()));
        }
        Ok(match stream.take_error()? {
            Some(error) => Opened::Failed(error),
            None => Opened::Connected(stream),
        })
    }
}

/// The kernel's account of a connection (`TCP_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Info {
    /// Timer retransmissions of the segment that waits, one after the other.
    pub(super) retransmits: u8,
    /// How often the timer was doubled: the rung it stands on.
    pub(super) backoff: u8,
    pub(super) rto_us: u32,
    pub(super) rtt_us: u32,
    pub(super) rttvar_us: u32,
    pub(super) cwnd: u32,
    pub(super) unacked: u32,
    pub(super) lost: u32,
    pub(super) total_retransmits: u32,
    pub(super) bytes_acked: u64,
}

/// `struct tcp_info` of the kernel as far as it is used. (The C library's ends
/// earlier or later, by its version.)
#[repr(C)]
struct Raw {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    window_scales: u8,
    flags: u8,
    rto: u32,
    ato: u32,
    mss: [u32; 2],
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last: [u32; 4],
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rates: [u64; 2],
    bytes_acked: u64,
}

/// Asks the kernel for its account.
#[expect(unsafe_code, reason = "no safe call reads TCP_INFO")]
pub(super) fn info(stream: &TcpStream) -> io::Result<Info> {
    let mut raw = MaybeUninit::<Raw>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<Raw>()).expect("a small structure");
    // SAFETY: the pointer and the length describe `raw`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            raw.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    // SAFETY: it consists of integers only and was filled with zeros before.
    let raw = unsafe { raw.assume_init() };
    Ok(Info {
        retransmits: raw.retransmits,
        backoff: raw.backoff,
        rto_us: raw.rto,
        rtt_us: raw.rtt,
        rttvar_us: raw.rttvar,
        cwnd: raw.snd_cwnd,
        unacked: raw.unacked,
        lost: raw.lost,
        total_retransmits: raw.total_retrans,
        bytes_acked: raw.bytes_acked,
    })
}

impl Info {
    /// As an object.
    pub(super) fn object(&self) -> Value {
        json!({
            "retransmits": self.retransmits,
            "backoff": self.backoff,
            "rto_us": self.rto_us,
            "rtt_us": self.rtt_us,
            "rttvar_us": self.rttvar_us,
            "snd_cwnd": self.cwnd,
            "unacked": self.unacked,
            "lost": self.lost,
            "total_retransmits": self.total_retransmits,
            "bytes_acked": self.bytes_acked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn the_kernel_tells_the_bytes_that_were_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.write_all(&[7; 1000]).unwrap();
        receiver.read_exact(&mut [0; 1000]).unwrap();
        let account = info(&sender).unwrap();
        // The handshake's SYN counts as one byte.
        assert_eq!(account.bytes_acked, 1001, "{account:?}");
        assert_eq!((account.unacked, account.backoff), (0, 0));
        assert!(account.rto_us >= 200_000 && account.cwnd > 0);
    }
}
