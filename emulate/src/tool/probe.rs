//! `tool probe`: what an outside client sees of an outage, to the interval.
//!
//! Sends a numbered UDP datagram to a [`super::echo`] at `start + k * interval`.
//! The schedule is absolute: a late one does not delay the next, and slots that
//! the program itself slept through are left out and counted as `skipped`. The
//! socket is not connected, so neither a refused port nor a missing route ends
//! the program, and each datagram takes the source address that holds when it is
//! sent; `--bind` pins one address, as a connection would.
//!
//! Two measures, for an outage shows in two ways:
//!
//! - A **gap** is a run of probes that never came back. It reaches from the
//!   sending of the last answered probe before to the sending of the first
//!   answered one after. The path was dead for at least the gap less two
//!   intervals and at most the gap. A healthy path has no gaps.
//! - A **silence** is the time between two answers that arrive one after the
//!   other. It also sees a guest that stands still while its datagrams wait in a
//!   queue and are answered late, which no gap shows.
//!
//! Unanswered probes before the first answer and after the last one belong to no
//! gap: `unanswered_at_start` and `unanswered_at_end` count them, and
//! `open_gap_ns` is the time from the sending of the last answered probe to that
//! of the last probe.
//!
//! The summary: `sent`, `received`, `duplicates`, `skipped`, `send_errors`,
//! `receive_errors`, `first_sent_ns`, `last_sent_ns`, `interval_ns`, `rtt_ns`
//! (`min`, `median`, `p95`, `max`), `longest_gap_ns` with
//! `longest_gap_start_ns`, `longest_gap_end_ns` and `longest_gap_lost`,
//! `longest_silence_ns` with its start and end, `gaps` (each longer than
//! `--gap-intervals` intervals: `start_ns`, `end_ns`, `lost`), `gaps_left_out`,
//! and the three fields above. What was not seen is `null`, the longest gap of a
//! healthy path 0.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use models::units::Span;
use serde_json::{Value, json};

use super::clock::{emit, now_ns};
use super::wait::{Arrival, Want, is_idle, wait};

/// Probes are remembered until the end: 16 bytes each.
const MOST_PROBES: u64 = 1 << 22;
const MOST_GAPS: usize = 256;
const MARK: [u8; 8] = *b"watari-p";
const LENGTH: usize = 24;
/// Intervals from one probe to the next at rest.
const REST: u64 = 20;

/// Sends a numbered UDP datagram each interval and tells which came back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where an echo answers.
    #[arg(long, value_name = "ADDR:PORT")]
    to: SocketAddr,
    /// Time between two probes.
    #[arg(long, default_value = "5ms", value_name = "TIME")]
    interval: Span,
    /// How long to send; until SIGTERM when left out.
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// How long to wait for answers after the last probe.
    #[arg(long, default_value = "1s", value_name = "TIME")]
    linger: Span,
    /// Local address to send from; by default the system chooses for each probe.
    #[arg(long, value_name = "ADDR")]
    bind: Option<IpAddr>,
    /// Until this file is there, send only every twentieth probe: a guest that is
    /// emulated twice has milliseconds of work with each.
    #[arg(long, value_name = "FILE")]
    rest_until: Option<PathBuf>,
    /// A gap is listed when it is longer than so many intervals.
    #[arg(long, default_value_t = 4, value_name = "N")]
    gap_intervals: u32,
}

/// A probe that was sent, by its number.
#[derive(Clone, Copy, Debug)]
struct Probe {
    sent: u64,
    /// Zero while there is none.
    answered: u64,
}

#[derive(Debug, Default)]
struct Log {
    probes: Vec<Probe>,
    received: u64,
    duplicates: u64,
    skipped: u64,
    send_errors: u64,
    receive_errors: u64,
    last_arrival: Option<u64>,
    /// Longest time without an arrival and when it ended.
    silence: Option<(u64, u64)>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let interval = args.interval.get().as_nanos();
    ensure!(interval > 0, "--interval is zero; write one such as 5ms");
    let stop = Arrival::stop()?;
    let any: IpAddr = match args.to {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0; 16].into(),
    };
    let from = args.bind.unwrap_or(any);
    let socket = UdpSocket::bind((from, 0)).with_context(|| format!("cannot bind to {from}"))?;
    socket.set_nonblocking(true)?;
    emit(&json!({ "event": "probing", "t_ns": now_ns(), "to": args.to, "interval_ns": interval }))?;
    let mut probing = Probing {
        socket,
        to: args.to,
        token: now_ns(),
        rest_until: args.rest_until.clone(),
        log: Log::default(),
    };
    probing.send_all(&stop, interval, args.duration.map(|d| d.get().as_nanos()))?;
    probing.linger(args.linger.get().as_nanos())?;
    let listed = interval.saturating_mul(u64::from(args.gap_intervals));
    Ok(emit(&probing.log.summary(interval, listed))?)
}

struct Probing {
    socket: UdpSocket,
    to: SocketAddr,
    /// Tells the answers of this run from those of another.
    token: u64,
    rest_until: Option<PathBuf>,
    log: Log,
}

impl Probing {
    /// Intervals until the next probe.
    fn step(&mut self) -> u64 {
        self.rest_until.take_if(|file| file.exists());
        if self.rest_until.is_some() { REST } else { 1 }
    }

    fn send_all(
        &mut self,
        stop: &Arrival,
        interval: u64,
        duration: Option<u64>,
    ) -> anyhow::Result<()> {
        let start = now_ns();
        let end = duration.map_or(u64::MAX, |d| start.saturating_add(d));
        let mut slot = 0;
        loop {
            let due = start.saturating_add(interval.saturating_mul(slot));
            if due >= end || self.log.probes.len() as u64 >= MOST_PROBES {
                return Ok(());
            }
            let wants = [Want::Read(stop.as_fd()), Want::Read(self.socket.as_fd())];
            let ready = wait(&wants, Some(due))?;
            if ready.has(0) {
                return Ok(());
            }
            if ready.has(1) {
                self.receive();
            }
            let now = now_ns();
            if now < due {
                continue;
            }
            self.send(now);
            let current = (now - start) / interval;
            self.log.skipped += current - slot;
            slot = current + self.step();
        }
    }

    fn send(&mut self, now: u64) {
        let number = self.log.probes.len() as u64;
        let mut datagram = [0; LENGTH];
        datagram[..8].copy_from_slice(&MARK);
        datagram[8..16].copy_from_slice(&self.token.to_be_bytes());
        datagram[16..].copy_from_slice(&number.to_be_bytes());
        // A probe that could not be sent is a lost one to an outside client.
        let sent = self.socket.send_to(&datagram, self.to);
        self.log.send_errors += u64::from(sent.is_err());
        self.log.probes.push(Probe {
            sent: now,
            answered: 0,
        });
    }

    fn receive(&mut self) {
        let mut datagram = [0; LENGTH + 1];
        for _ in 0..64 {
            match self.socket.recv_from(&mut datagram) {
                Ok((LENGTH, from)) if from == self.to => self.log.note(&datagram, self.token),
                Ok(_) => {}
                Err(error) if is_idle(&error) => return,
                Err(_) => self.log.receive_errors += 1,
            }
        }
    }

    /// Waits for answers under way, until the last probe is answered or time is up.
    fn linger(&mut self, time: u64) -> anyhow::Result<()> {
        let until = now_ns().saturating_add(time);
        while self
            .log
            .probes
            .last()
            .is_some_and(|last| last.answered == 0)
        {
            let ready = wait(&[Want::Read(self.socket.as_fd())], Some(until))?;
            if ready.is_empty() {
                break;
            }
            self.receive();
        }
        Ok(())
    }
}

/// A hole between two answered probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    start: u64,
    end: u64,
    lost: u64,
}

impl Gap {
    fn length(self) -> u64 {
        self.end - self.start
    }
}

impl Log {
    /// Takes an answer down.
    fn note(&mut self, datagram: &[u8], token: u64) {
        let number = |at: usize| {
            let bytes = datagram[at..at + 8].try_into().expect("eight bytes");
            u64::from_be_bytes(bytes)
        };
        if datagram[..8] != MARK || number(8) != token {
            return;
        }
        let place = usize::try_from(number(16)).unwrap_or(usize::MAX);
        let Some(probe) = self.probes.get_mut(place) else {
            return;
        };
        if probe.answered != 0 {
            self.duplicates += 1;
            return;
        }
        let now = now_ns();
        probe.answered = now;
        self.received += 1;
        if let Some(last) = self.last_arrival.replace(now) {
            let silence = (now - last, now);
            self.silence = self.silence.max(Some(silence));
        }
    }

    fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut before: Option<(usize, u64)> = None;
        for (place, probe) in self.probes.iter().enumerate() {
            if probe.answered == 0 {
                continue;
            }
            if let Some((last, start)) = before
                && place > last + 1
            {
                gaps.push(Gap {
                    start,
                    end: probe.sent,
                    lost: (place - last - 1) as u64,
                });
            }
            before = Some((place, probe.sent));
        }
        gaps
    }

    fn summary(&self, interval: u64, listed: u64) -> Value {
        let answered = |probe: &Probe| probe.answered != 0;
        let first = self.probes.iter().position(answered);
        let last = self.probes.iter().rposition(answered);
        let sent = self.probes.len();
        let last_sent = self.probes.last().map(|probe| probe.sent);
        let open = last.and_then(|place| Some(last_sent? - self.probes[place].sent));
        let gaps = self.gaps();
        let longest = gaps.iter().copied().max_by_key(|gap| gap.length());
        let long: Vec<&Gap> = gaps.iter().filter(|gap| gap.length() > listed).collect();
        let list: Vec<Value> = long
            .iter()
            .take(MOST_GAPS)
            .map(|gap| json!({ "start_ns": gap.start, "end_ns": gap.end, "lost": gap.lost }))
            .collect();
        json!({
            "event": "summary",
            "t_ns": now_ns(),
            "sent": sent,
            "received": self.received,
            "duplicates": self.duplicates,
            "skipped": self.skipped,
            "send_errors": self.send_errors,
            "receive_errors": self.receive_errors,
            "first_sent_ns": self.probes.first().map(|probe| probe.sent),
            "last_sent_ns": last_sent,
            "interval_ns": interval,
            "rtt_ns": self.round_trips(),
            "longest_gap_ns": longest.map_or(0, Gap::length),
            "longest_gap_start_ns": longest.map(|gap| gap.start),
            "longest_gap_end_ns": longest.map(|gap| gap.end),
            "longest_gap_lost": longest.map_or(0, |gap| gap.lost),
            "longest_silence_ns": self.silence.map(|(length, _)| length),
            "longest_silence_start_ns": self.silence.map(|(length, end)| end - length),
            "longest_silence_end_ns": self.silence.map(|(_, end)| end),
            "gaps": list,
            "gaps_left_out": long.len().saturating_sub(MOST_GAPS),
            "unanswered_at_start": first.unwrap_or(sent),
            "unanswered_at_end": last.map_or(0, |place| sent - 1 - place),
            "open_gap_ns": open,
        })
    }

    fn round_trips(&self) -> Value {
        let mut times: Vec<u64> = self
            .probes
            .iter()
            .filter(|probe| probe.answered != 0)
            .map(|probe| probe.answered - probe.sent)
            .collect();
        times.sort_unstable();
        // The nearest rank: the smallest value that so many per cent do not exceed.
        let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        if times.is_empty() {
            return Value::Null;
        }
        json!({ "min": rank(0), "median": rank(50), "p95": rank(95), "max": rank(100) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes 10 ns apart; `.` came back after 3 ns, `x` did not.
    fn log(pattern: &str) -> Log {
        let mut log = Log::default();
        for (place, mark) in pattern.chars().enumerate() {
            let sent = 100 + place as u64 * 10;
            let answered = if mark == '.' { sent + 3 } else { 0 };
            log.received += u64::from(mark == '.');
            log.probes.push(Probe { sent, answered });
        }
        log
    }

    #[test]
    fn a_gap_reaches_from_the_last_answered_probe_to_the_next_answered_one() {
        // Answered at 100, 110, 140 and 150; 120 and 130 are lost.
        let expected = Gap {
            start: 110,
            end: 140,
            lost: 2,
        };
        assert_eq!(log("..xx..").gaps(), [expected]);
    }

    #[test]
    fn a_healthy_path_has_no_gap() {
        let summary = log(".....").summary(10, 40);
        assert_eq!(summary["longest_gap_ns"], 0);
        assert_eq!(summary["gaps"], json!([]));
        assert_eq!(summary["rtt_ns"]["p95"], 3);
    }

    #[test]
    fn what_is_missing_at_the_ends_is_no_gap() {
        let summary = log("xx.xxxx.xxx").summary(10, 40);
        assert_eq!(summary["unanswered_at_start"], 2);
        assert_eq!(summary["unanswered_at_end"], 3);
        // Last answered at 170, last sent at 200.
        assert_eq!(summary["open_gap_ns"], 30);
        assert_eq!(summary["longest_gap_ns"], 50);
        assert_eq!(summary["gaps"][0]["lost"], 4);
    }

    #[test]
    fn only_gaps_longer_than_asked_for_are_listed() {
        let summary = log(".x.xxxxx.").summary(10, 40);
        assert_eq!(summary["gaps"].as_array().unwrap().len(), 1);
        assert_eq!(summary["longest_gap_ns"], 60);
    }

    #[test]
    fn nothing_answered_is_no_round_trip_and_no_open_gap() {
        let summary = log("xxx").summary(10, 40);
        assert_eq!(summary["rtt_ns"], Value::Null);
        assert_eq!(summary["open_gap_ns"], Value::Null);
        assert_eq!(summary["unanswered_at_start"], 3);
        assert_eq!(summary["unanswered_at_end"], 0);
    }

    #[test]
    fn a_datagram_of_another_run_is_no_answer() {
        let mut log = log("x");
        let mut datagram = [0; LENGTH + 1];
        datagram[..8].copy_from_slice(&MARK);
        datagram[8..16].copy_from_slice(&7_u64.to_be_bytes());
        log.note(&datagram, 8);
        assert_eq!(log.received, 0);
        log.note(&datagram, 7);
        assert_eq!(log.received, 1);
        log.note(&datagram, 7);
        assert_eq!((log.received, log.duplicates), (1, 1));
        datagram[16..24].copy_from_slice(&u64::MAX.to_be_bytes());
        log.note(&datagram, 7);
        assert_eq!(log.received, 1);
    }
}
