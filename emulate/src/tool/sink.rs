//! `tool sink`: receives the one TCP connection of a [`super::flow`] and counts
//! the bytes of each bin.
//!
//! Ends when the connection ends or a signal comes. A second connection is
//! refused. Prints `listening` (with `--listen`) and `connected`, then the
//! summary: `bins` (bytes read in each `bin_ns` from `t0_ns` on, the instant of
//! the first byte; only the first 10^6 bins, what comes later counts in
//! `total_bytes` and `beyond_bytes`), `last_ns` (instant of the last byte),
//! `end` and `error`, and `longest_pause_ns` with its start and end: the longest
//! time without a byte between two reads. `end` is
//!
//! - `fin`: the sender was done and said so;
//! - `reset`: the connection was reset;
//! - `error`: it ended in another way, by the name in `error`;
//! - `open`: a signal came while it was still open;
//! - `never`: there was none; `error` says why if it was refused.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use anyhow::ensure;
use models::units::Span;
use serde_json::{Value, json};

use super::clock::{emit, now_ns};
use super::tcp::{Ends, Opened};
use super::wait::{Arrival, Want, error_name, is_idle, wait};

const MOST_BINS: u64 = 1_000_000;

/// Receives one TCP connection and counts the bytes of each bin.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ends: Ends,
    /// Width of a bin.
    #[arg(long, default_value = "10ms", value_name = "TIME")]
    bin: Span,
}

/// How the connection ended.
#[derive(Debug)]
enum End {
    Fin,
    Open,
    Never(Option<io::Error>),
    Broken(io::Error),
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let width = args.bin.get().as_nanos();
    ensure!(width > 0, "--bin is zero; write one such as 10ms");
    let stop = Arrival::stop()?;
    let mut counts = Counts::new(width);
    let end = match args.ends.open(&stop)? {
        Opened::Connected(stream) => receive(&stream, &stop, &mut counts)?,
        Opened::Failed(error) => End::Never(Some(error)),
        Opened::Stopped => End::Never(None),
    };
    Ok(emit(&counts.summary(&end))?)
}

fn receive(mut stream: &TcpStream, stop: &Arrival, counts: &mut Counts) -> anyhow::Result<End> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let ready = wait(
            &[Want::Read(stop.as_fd()), Want::Read(stream.as_fd())],
            None,
        )?;
        if ready.has(0) {
            return Ok(End::Open);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(End::Fin),
            Ok(bytes) => counts.add(now_ns(), bytes as u64),
            Err(error) if is_idle(&error) => {}
            Err(error) => return Ok(End::Broken(error)),
        }
    }
}

#[derive(Debug)]
struct Counts {
    width: u64,
    bins: Vec<u64>,
    /// Instants of the first and the last byte.
    span: Option<(u64, u64)>,
    total: u64,
    beyond: u64,
    /// Longest time without a byte and when it ended.
    pause: Option<(u64, u64)>,
}

impl Counts {
    fn new(width: u64) -> Self {
        Self {
            width,
            bins: Vec::new(),
            span: None,
            total: 0,
            beyond: 0,
            pause: None,
        }
    }

    fn add(&mut self, now: u64, bytes: u64) {
        self.total += bytes;
        let first = match self.span {
            Some((first, last)) => {
                self.pause = self.pause.max(Some((now - last, now)));
                first
            }
            None => now,
        };
        self.span = Some((first, now));
        let bin = (now - first) / self.width;
        if bin >= MOST_BINS {
            self.beyond += bytes;
            return;
        }
        let place = usize::try_from(bin).expect("at most a million");
        if self.bins.len() <= place {
            self.bins.resize(place + 1, 0);
        }
        self.bins[place] += bytes;
    }

    fn summary(&self, end: &End) -> Value {
        let (name, error) = match end {
            End::Fin => ("fin", None),
            End::Open => ("open", None),
            End::Never(error) => ("never", error.as_ref()),
            End::Broken(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                ("reset", Some(error))
            }
            End::Broken(error) => ("error", Some(error)),
        };
        json!({
            "event": "summary",
            "t_ns": now_ns(),
            "end": name,
            "error": error.map(error_name),
            "total_bytes": self.total,
            "beyond_bytes": self.beyond,
            "t0_ns": self.span.map(|(first, _)| first),
            "last_ns": self.span.map(|(_, last)| last),
            "bin_ns": self.width,
            "bins": self.bins,
            "longest_pause_ns": self.pause.map(|(length, _)| length),
            "longest_pause_start_ns": self.pause.map(|(length, end)| end - length),
            "longest_pause_end_ns": self.pause.map(|(_, end)| end),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_start_at_the_first_byte_and_empty_ones_are_kept() {
        let mut counts = Counts::new(10);
        for (now, bytes) in [(1003, 5), (1012, 1), (1013, 2), (1045, 7)] {
            counts.add(now, bytes);
        }
        // Bins from 1003, 1013, 1023, 1033 and 1043.
        assert_eq!(counts.bins, [6, 2, 0, 0, 7]);
        let summary = counts.summary(&End::Fin);
        assert_eq!(summary["longest_pause_ns"], 32);
        assert_eq!(summary["longest_pause_start_ns"], 1013);
        assert_eq!(summary["total_bytes"], 15);
    }

    #[test]
    fn a_stray_late_byte_does_not_fill_the_memory() {
        let mut counts = Counts::new(1);
        counts.add(0, 1);
        counts.add(u64::MAX, 4);
        assert_eq!((counts.bins.len(), counts.beyond), (1, 4));
    }
}
