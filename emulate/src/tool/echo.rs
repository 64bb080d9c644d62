//! `tool echo`: sends every UDP datagram back to where it came from.
//!
//! Prints `{"event":"listening","t_ns","addr"}` once it answers, and as summary
//! `{"event":"summary","t_ns","echoed","bytes","errors"}`. An answer that could
//! not be sent (no route, a refused port) is an error that is counted and no
//! reason to end.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use serde_json::json;

use super::clock::{emit, now_ns};
use super::wait::{Arrival, Want, is_idle, wait};

/// Answers every UDP datagram with the same datagram.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
}

#[derive(Debug, Default)]
struct Counts {
    echoed: u64,
    bytes: u64,
    errors: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let stop = Arrival::stop()?;
    let socket = UdpSocket::bind(args.listen)
        .with_context(|| format!("cannot listen on UDP {}", args.listen))?;
    socket.set_nonblocking(true)?;
    emit(&json!({ "event": "listening", "t_ns": now_ns(), "addr": socket.local_addr()? }))?;
    let mut counts = Counts::default();
    loop {
        let ready = wait(
            &[Want::Read(stop.as_fd()), Want::Read(socket.as_fd())],
            None,
        )?;
        if ready.has(0) {
            break;
        }
        answer(&socket, &mut counts);
    }
    Ok(emit(&json!({
        "event": "summary",
        "t_ns": now_ns(),
        "echoed": counts.echoed,
        "bytes": counts.bytes,
        "errors": counts.errors,
    }))?)
}

/// Answers what has arrived, up to a bound so that a flood cannot hide the end.
fn answer(socket: &UdpSocket, counts: &mut Counts) {
    let mut datagram = [0; 65_536];
    for _ in 0..64 {
        match socket.recv_from(&mut datagram) {
            Ok((length, from)) => match socket.send_to(&datagram[..length], from) {
                Ok(_) => {
                    counts.echoed += 1;
                    counts.bytes += length as u64;
                }
                Err(_) => counts.errors += 1,
            },
            Err(error) if is_idle(&error) => return,
            Err(_) => counts.errors += 1,
        }
    }
}
