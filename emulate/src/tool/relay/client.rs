//! The client's end of the relay; see [`super`].

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use models::units::Span;
use nix::sys::stat::{Mode, umask};
use serde_json::json;

use super::{BATCH, Channel, Counts, LARGEST, Link, Transport};
use crate::tool::clock::{emit, now_ns};
use crate::tool::packet;
use crate::tool::tun::{Net, Tun};
use crate::tool::wait::{Arrival, Want, is_idle, wait};

/// A command is one short line.
const LONGEST_LINE: usize = 64;

/// The relay's end at the guest.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the relay server.
    #[arg(long, value_name = "ADDR")]
    server: Ipv4Addr,
    #[command(flatten)]
    channel: Channel,
    /// The guest's stable address, with its network.
    #[arg(long, value_name = "ADDR/BITS")]
    address: Net,
    /// Networks to reach through the relay; may be repeated.
    #[arg(long, value_name = "NET")]
    route: Vec<Net>,
    /// Outer source address to begin with; by default the routes decide.
    #[arg(long, value_name = "ADDR")]
    local: Option<Ipv4Addr>,
    /// Unix socket to take commands on: `local ADDR`, `local auto`.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// The server's address on its TUN device, to which keep-alives go.
    #[arg(long, value_name = "ADDR")]
    keepalive_to: Option<Ipv4Addr>,
    /// Also send a keep-alive at each multiple of this time.
    #[arg(long, value_name = "TIME", requires = "keepalive_to")]
    keepalive: Option<Span>,
    /// Send no keep-alive at a switch.
    #[arg(long)]
    quiet_switch: bool,
}

pub(in crate::tool) fn run(args: &Args) -> anyhow::Result<()> {
    let stop = Arrival::stop()?;
    let mut client = Client::new(args)?;
    let control = args.control.as_deref().map(Control::new).transpose()?;
    emit(&json!({ "event": "ready", "t_ns": now_ns(), "address": args.address.to_string() }))?;
    let mut asking: Option<Asking> = None;
    let mut buffer = vec![0; LARGEST];
    client.keep_alive();
    loop {
        let listener = control.as_ref().map(|control| control.listener.as_fd());
        let wants = [
            Want::Read(stop.as_fd()),
            Want::Read(client.link.as_fd()),
            Want::Read(client.tun.as_fd()),
            listener.map_or(Want::Skip, Want::Read),
            asking
                .as_ref()
                .map_or(Want::Skip, |asking| Want::Read(asking.stream.as_fd())),
        ];
        let ready = wait(&wants, client.next_keepalive)?;
        if ready.has(0) {
            break;
        }
        client.keep_alive_when_due();
        if ready.has(1) {
            client.bring_in(&mut buffer)?;
        }
        if ready.has(2) {
            client.take_out(&mut buffer)?;
        }
        if ready.has(4)
            && let Some(line) = asking.as_mut().and_then(Asking::line)
            && let Some(mut done) = asking.take()
        {
            done.answer(&client.obey(&line)?);
        }
        if ready.has(3)
            && let Some(control) = &control
        {
            // The last to ask has the floor; one that says nothing cannot block.
            asking = control.accept();
        }
    }
    Ok(emit(&client.summary())?)
}

struct Client {
    link: Link,
    tun: Tun,
    transport: Transport,
    server: SocketAddrV4,
    stable: Ipv4Addr,
    keepalive_to: Option<Ipv4Addr>,
    keepalive: Option<u64>,
    next_keepalive: Option<u64>,
    quiet_switch: bool,
    token: u64,
    counts: Counts,
    switches: u64,
    sent: u64,
    answered: u64,
    /// The number of the first keep-alive of the present way, and whether one
    /// of this way has been answered.
    way: (u64, bool),
    last_sent: u64,
}

impl Client {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let local = args.local.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let link = Link::new(args.channel.transport, local, 0)
            .with_context(|| format!("cannot send from {local}"))?;
        let tun = Tun::new(
            &args.channel.tun,
            args.address,
            &args.route,
            args.channel.mtu,
        )?;
        let keepalive = args
            .keepalive
            .map(|time| time.get().as_nanos().max(1_000_000));
        let token = now_ns();
        Ok(Self {
            link,
            tun,
            transport: args.channel.transport,
            server: SocketAddrV4::new(args.server, args.channel.port),
            stable: args.address.address,
            keepalive_to: args.keepalive_to,
            keepalive,
            next_keepalive: keepalive.map(|time| token.saturating_add(time)),
            quiet_switch: args.quiet_switch,
            token,
            counts: Counts::default(),
            switches: 0,
            sent: 0,
            answered: 0,
            way: (0, false),
            last_sent: 0,
        })
    }

    fn take_out(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        for _ in 0..BATCH {
            let Some(length) = self.tun.read(buffer)? else {
                break;
            };
            let packet = &buffer[..length];
            if packet::ends(packet).is_some() {
                let result = self.link.send(packet, self.server);
                self.counts.sent(result, length);
            } else {
                self.counts.refused += 1;
            }
        }
        Ok(())
    }

    fn bring_in(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        for _ in 0..BATCH {
            let Some((range, outer)) = self.link.receive(buffer)? else {
                break;
            };
            let packet = &buffer[range];
            if outer.ip() != self.server.ip() || packet::ends(packet).is_none() {
                self.counts.refused += 1;
                continue;
            }
            if let Some(number) = packet::echo_reply(packet, self.token) {
                self.confirm(number)?;
                continue;
            }
            self.counts.delivered(self.tun.write(packet), packet.len());
        }
        Ok(())
    }

    fn confirm(&mut self, number: u64) -> anyhow::Result<()> {
        self.answered += 1;
        let (first, known) = self.way;
        if number < first || known {
            return Ok(());
        }
        self.way.1 = true;
        let now = now_ns();
        let rtt = (number + 1 == self.sent).then(|| now - self.last_sent);
        emit(&json!({ "event": "confirmed", "t_ns": now, "rtt_ns": rtt }))?;
        Ok(())
    }

    fn keep_alive_when_due(&mut self) {
        let (Some(next), Some(time)) = (self.next_keepalive, self.keepalive) else {
            return;
        };
        let now = now_ns();
        if now >= next {
            self.keep_alive();
            self.next_keepalive = Some(next.saturating_add(((now - next) / time + 1) * time));
        }
    }

    fn keep_alive(&mut self) {
        let Some(to) = self.keepalive_to else {
            return;
        };
        // The process tells nothing; the token tells whose reply it is.
        let message = packet::echo_request(0x5754, self.token, self.sent);
        let packet = packet::icmp_packet(self.stable, to, &message);
        if self.link.send(&packet, self.server).is_err() {
            self.counts.errors += 1;
        }
        self.last_sent = now_ns();
        self.sent += 1;
    }

    /// Does what a line says; the answer is for whoever sent it.
    fn obey(&mut self, line: &str) -> anyhow::Result<String> {
        let local = match parse(line) {
            Ok(local) => local,
            Err(fault) => return Ok(format!("error: {fault}\n")),
        };
        match Link::new(self.transport, local, 0) {
            Ok(link) => self.link = link,
            Err(error) => return Ok(format!("error: cannot send from {local}: {error}\n")),
        }
        self.switches += 1;
        self.way = (self.sent, false);
        emit(&json!({ "event": "local", "t_ns": now_ns(), "local": local }))?;
        if !self.quiet_switch {
            self.keep_alive();
        }
        Ok("ok\n".into())
    }

    fn summary(&self) -> serde_json::Value {
        let mut summary = self.counts.object();
        summary["switches"] = self.switches.into();
        summary["keepalives"] = self.sent.into();
        summary["keepalives_answered"] = self.answered.into();
        summary
    }
}

/// Reads a command.
pub(super) fn parse(line: &str) -> Result<Ipv4Addr, String> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words[..] {
        ["local", "auto"] => Ok(Ipv4Addr::UNSPECIFIED),
        ["local", address] => address
            .parse()
            .map_err(|_| format!("`{address}` is no IPv4 address")),
        _ => Err("write `local ADDR` or `local auto`".into()),
    }
}

/// The socket on which commands come; only its owner may write to it.
struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    fn new(path: &Path) -> anyhow::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                if UnixStream::connect(path).is_ok() {
                    bail!("another program listens on {}", path.display());
                }
                fs::remove_file(path)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => bail!("{} exists and is no socket", path.display()),
        }
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener =
            listener.with_context(|| format!("cannot take commands on {}", path.display()))?;
        listener.set_nonblocking(true)?;
        let path = path.to_owned();
        Ok(Self { listener, path })
    }

    fn accept(&self) -> Option<Asking> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let said = Vec::new();
        Some(Asking { stream, said })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // It may be gone already, and there is nobody to tell.
        let _ = fs::remove_file(&self.path);
    }
}

/// Somebody who gives a command.
struct Asking {
    stream: UnixStream,
    said: Vec<u8>,
}

impl Asking {
    /// The line once it is whole; what is too long or cut off is no command.
    fn line(&mut self) -> Option<String> {
        let mut bytes = [0; LONGEST_LINE];
        match self.stream.read(&mut bytes) {
            Err(error) if is_idle(&error) => return None,
            Ok(0) | Err(_) => self.said.push(b'\n'),
            Ok(length) => self.said.extend_from_slice(&bytes[..length]),
        }
        let end = self.said.iter().position(|byte| *byte == b'\n');
        if end.is_none() && self.said.len() < LONGEST_LINE {
            return None;
        }
        let line = &self.said[..end.unwrap_or(LONGEST_LINE).min(LONGEST_LINE)];
        Some(String::from_utf8_lossy(line).into_owned())
    }

    fn answer(&mut self, text: &str) {
        // Who does not wait for the answer does not want it.
        let _ = self.stream.write_all(text.as_bytes());
    }
}
