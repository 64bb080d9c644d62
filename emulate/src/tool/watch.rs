//! `tool watch`: ends when a log tells that what came up has gone down.
//!
//! Counts the lines of a growing file that hold `--up` and those that hold
//! `--down`, and ends with success when there are as many of the second as of the
//! first, and at least one. The detector of `vpn-client` for strongSwan's own dead
//! peer detection: charon's log says when an association was established and when
//! it was given up. Prints `down` with the instant.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;

use super::clock::{emit, now_ns};
use super::wait::{Arrival, Want, wait};

/// How often the file is looked at.
const EVERY_NS: u64 = 20_000_000;

/// Ends when a log tells that what came up has gone down.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The log; it may not be there yet.
    #[arg(long, value_name = "PATH")]
    file: PathBuf,
    /// What a line says when something came up.
    #[arg(long, value_name = "TEXT")]
    up: String,
    /// What a line says when it went down.
    #[arg(long, value_name = "TEXT")]
    down: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let stop = Arrival::stop()?;
    let mut file = None;
    let mut counts = Counts::default();
    loop {
        if file.is_none() {
            file = match File::open(&args.file) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                opened => Some(BufReader::new(opened.context("cannot open the log")?)),
            };
        }
        if let Some(file) = &mut file {
            while file.read_line(&mut counts.line)? > 0 {
                counts.take(&args.up, &args.down);
            }
        }
        if counts.down > 0 && counts.down >= counts.up {
            return Ok(emit(&json!({ "event": "down", "t_ns": now_ns() }))?);
        }
        if !wait(&[Want::Read(stop.as_fd())], Some(now_ns() + EVERY_NS))?.is_empty() {
            return Ok(());
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    up: u64,
    down: u64,
    /// What was read of a line; its rest may be written later.
    line: String,
}

impl Counts {
    fn take(&mut self, up: &str, down: &str) {
        if self.line.ends_with('\n') {
            self.up += u64::from(self.line.contains(up));
            self.down += u64::from(self.line.contains(down));
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_when_it_is_whole() {
        let mut counts = Counts::default();
        for part in [
            "CONNECTING => ESTAB",
            "LISHED\n",
            "ESTABLISHED => DESTROYING\n",
        ] {
            counts.line.push_str(part);
            counts.take("=> ESTABLISHED", "ESTABLISHED =>");
        }
        assert_eq!((counts.up, counts.down), (1, 1));
    }
}
