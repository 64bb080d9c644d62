//! `tool flow`: sends bulk data over one TCP connection to a [`super::sink`].
//!
//! Ends when `--bytes` are sent or `--duration` is over and the other side has
//! closed too (it waits `--linger` for that), when the connection breaks, or at
//! a signal. A broken connection is a result: the program still ends with
//! success.
//!
//! With `--rate` the bytes are offered on a schedule in steps of 5 ms, and what
//! an outage held back is offered at once after it, as an application with a
//! full queue does.
//!
//! The summary: `accepted_bytes` (taken over by the kernel), `connected_ns`,
//! `done_ns` (the last byte was accepted), `end` (`complete`: the other side has
//! everything and closed; `unconfirmed`: it did not close in time;
//! `peer-closed`: it closed first; `stopped`: a signal; `error`; `never`: no
//! connection), `error` (such as `ETIMEDOUT` or null), and `tcp`: `TCP_INFO` at
//! the end with `retransmits`, `backoff`, `rto_us`, `rtt_us`, `rttvar_us`,
//! `snd_cwnd`, `unacked`, `lost`, `total_retransmits`, `bytes_acked`.
//!
//! With `--sample TIME` also `samples`, rows of the columns that
//! `sample_fields` names (at most 10^5 rows), and `resumptions`: each time the
//! retransmission timer was backed off and acknowledgements came again,
//! `from_ns` of the first sample with a backoff, `t_ns` of the first without,
//! the largest `backoff` sampled, `rto_us` before it was doubled, and
//! `retransmission`: the rung of the ladder on which the connection resumed, 1
//! for the first time-out. The resuming retransmission is acknowledged too soon
//! for a sample to see it, so its number comes from the time: number k goes out
//! `rto * (2^k - 2)` after the first. It takes a sampling interval that is much
//! shorter than the RTO, and holds while the timer is below its limit of 120 s.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;

use models::units::{BitRate, Bytes, Span};
use serde_json::{Value, json};

use super::clock::{emit, now_ns};
use super::tcp::{Ends, Info, Opened, info};
use super::wait::{Arrival, Want, error_name, is_idle, wait};

const MOST_SAMPLES: usize = 100_000;
const STEP_NS: u64 = 5_000_000;
const CHUNK: usize = 64 << 10;

/// Sends bulk data over one TCP connection.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ends: Ends,
    /// How much to send; without limit when left out.
    #[arg(long, value_name = "SIZE")]
    bytes: Option<Bytes>,
    /// How long to send; without limit when left out.
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// At most so fast; as fast as the connection takes it when left out.
    #[arg(long, value_name = "RATE")]
    rate: Option<BitRate>,
    /// How often to note the kernel's account of the connection.
    #[arg(long, value_name = "TIME")]
    sample: Option<Span>,
    /// How long to wait at the end for the other side to close.
    #[arg(long, default_value = "10s", value_name = "TIME")]
    linger: Span,
}

/// How it ended.
#[derive(Debug)]
enum End {
    Complete,
    Unconfirmed,
    PeerClosed,
    Stopped,
    Broken(io::Error),
    Never(io::Error),
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let stop = Arrival::stop()?;
    let stream = match args.ends.open(&stop)? {
        Opened::Connected(stream) => stream,
        Opened::Failed(error) => return Ok(emit(&summary(&End::Never(error), None))?),
        Opened::Stopped => return Ok(emit(&summary(&End::Stopped, None))?),
    };
    let mut sender = Sender::new(stream, args);
    let end = match sender.send(&stop)? {
        Some(end) => end,
        None => sender.finish(&stop, args.linger.get().as_nanos())?,
    };
    if !matches!(end, End::Broken(_)) {
        // A dead connection's timer is off, which would look like a resumption.
        sender.sample(now_ns());
    }
    Ok(emit(&summary(&end, Some(&sender)))?)
}

struct Sender {
    stream: TcpStream,
    connected: u64,
    end: u64,
    bytes: u64,
    rate: Option<BitRate>,
    accepted: u64,
    done: Option<u64>,
    samples: Samples,
    interval: Option<u64>,
    next_sample: u64,
}

impl Sender {
    fn new(stream: TcpStream, args: &Args) -> Self {
        let connected = now_ns();
        let length = args.duration.map_or(u64::MAX, |d| d.get().as_nanos());
        let interval = args.sample.map(|time| time.get().as_nanos().max(1_000_000));
        Self {
            stream,
            connected,
            end: connected.saturating_add(length),
            bytes: args.bytes.map_or(u64::MAX, Bytes::get),
            rate: args.rate,
            accepted: 0,
            done: None,
            samples: Samples::default(),
            interval,
            next_sample: interval.map_or(u64::MAX, |time| connected.saturating_add(time)),
        }
    }

    /// Sends until there is no more to send, or something else ends it.
    fn send(&mut self, stop: &Arrival) -> anyhow::Result<Option<End>> {
        let chunk = noise();
        loop {
            let now = now_ns();
            if self.accepted >= self.bytes || now >= self.end {
                self.done = Some(now);
                return Ok(None);
            }
            let due = self.allowed(now).saturating_sub(self.accepted);
            let (want, tick) = if due > 0 {
                (Want::Either(self.stream.as_fd()), u64::MAX)
            } else {
                let tick = now - (now - self.connected) % STEP_NS + STEP_NS;
                (Want::Read(self.stream.as_fd()), tick)
            };
            let until = self.end.min(tick).min(self.next_sample);
            let ready = wait(&[Want::Read(stop.as_fd()), want], Some(until))?;
            self.sample_when_due();
            if ready.has(0) {
                return Ok(Some(End::Stopped));
            }
            if ready.has(1)
                && let Some(end) = self.exchange(&chunk, due)
            {
                return Ok(Some(end));
            }
        }
    }

    /// Writes what is due and looks whether the other side is still there.
    fn exchange(&mut self, chunk: &[u8], due: u64) -> Option<End> {
        let mut due = due;
        while due > 0 {
            let length = chunk.len().min(usize::try_from(due).unwrap_or(usize::MAX));
            match (&self.stream).write(&chunk[..length]) {
                Ok(written) => {
                    self.accepted += written as u64;
                    due -= written as u64;
                    if written < length {
                        break;
                    }
                }
                Err(error) if is_idle(&error) => break,
                Err(error) => return Some(End::Broken(error)),
            }
        }
        match (&self.stream).read(&mut [0; 256]) {
            Ok(0) => Some(End::PeerClosed),
            Err(error) if !is_idle(&error) => Some(End::Broken(error)),
            _ => None,
        }
    }

    /// Bytes that may have been offered by now.
    fn allowed(&self, now: u64) -> u64 {
        let Some(rate) = self.rate else {
            // As much as fits into the kernel's buffer, but not without end.
            return self.bytes.min(self.accepted.saturating_add(16 << 20));
        };
        let bits = u128::from(rate.bits_per_second()) * u128::from(now - self.connected);
        let bytes = u64::try_from(bits / 8_000_000_000).unwrap_or(u64::MAX);
        self.bytes.min(bytes)
    }

    /// Closes its side and waits for the other to have everything.
    fn finish(&mut self, stop: &Arrival, linger: u64) -> anyhow::Result<End> {
        if let Err(error) = self.stream.shutdown(Shutdown::Write) {
            return Ok(End::Broken(error));
        }
        let until = now_ns().saturating_add(linger);
        loop {
            let wants = [Want::Read(stop.as_fd()), Want::Read(self.stream.as_fd())];
            let ready = wait(&wants, Some(until.min(self.next_sample)))?;
            self.sample_when_due();
            if ready.has(0) {
                return Ok(End::Stopped);
            }
            if ready.has(1) {
                match (&self.stream).read(&mut [0; 256]) {
                    Ok(0) => return Ok(End::Complete),
                    Err(error) if !is_idle(&error) => return Ok(End::Broken(error)),
                    _ => {}
                }
            }
            if now_ns() >= until {
                return Ok(End::Unconfirmed);
            }
        }
    }

    fn sample_when_due(&mut self) {
        let now = now_ns();
        if let Some(interval) = self.interval
            && now >= self.next_sample
        {
            self.sample(now);
            let passed = (now - self.next_sample) / interval + 1;
            self.next_sample = self.next_sample.saturating_add(passed * interval);
        }
    }

    fn sample(&mut self, now: u64) {
        if self.interval.is_some()
            && let Ok(account) = info(&self.stream)
        {
            self.samples.add(now, account);
        }
    }
}

/// Data that does not compress, for tunnels that would.
fn noise() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(CHUNK);
    while bytes.len() < CHUNK {
        // Xorshift (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

#[derive(Debug, Default)]
struct Samples {
    rows: Vec<(u64, Info)>,
    backed_off: Option<BackedOff>,
    resumptions: Vec<Value>,
}

/// The retransmission timer runs again and again.
#[derive(Clone, Copy, Debug)]
struct BackedOff {
    from: u64,
    most: u8,
    /// The timer before it was doubled.
    rto_us: u64,
}

impl BackedOff {
    fn new(now: u64, account: Info) -> Self {
        Self {
            from: now,
            most: account.backoff,
            rto_us: u64::from(account.rto_us) >> account.backoff.min(32),
        }
    }

    /// The number of the retransmission that came through at `now`.
    fn retransmission(self, now: u64) -> u32 {
        let doublings = (now - self.from) as f64 / (self.rto_us.max(1) * 1000) as f64;
        // A small number, 1 or more.
        (doublings + 2.0).log2().round() as u32
    }
}

impl Samples {
    fn add(&mut self, now: u64, account: Info) {
        if self.rows.len() >= MOST_SAMPLES {
            return;
        }
        self.rows.push((now, account));
        if account.backoff > 0 {
            let mut state = self.backed_off.unwrap_or(BackedOff::new(now, account));
            state.most = state.most.max(account.backoff);
            self.backed_off = Some(state);
        } else if let Some(state) = self.backed_off.take() {
            self.resumptions.push(json!({
                "from_ns": state.from,
                "t_ns": now,
                "backoff": state.most,
                "rto_us": state.rto_us,
                "retransmission": state.retransmission(now),
            }));
        }
    }

    fn table(&self) -> Vec<Value> {
        let row = |(at, of): &(u64, Info)| {
            let (acked, total) = (of.bytes_acked, of.total_retransmits);
            json!([
                at,
                of.retransmits,
                of.backoff,
                of.rto_us,
                total,
                of.cwnd,
                of.unacked,
                acked
            ])
        };
        self.rows.iter().map(row).collect()
    }
}

const SAMPLE_FIELDS: [&str; 8] = [
    "t_ns",
    "retransmits",
    "backoff",
    "rto_us",
    "total_retransmits",
    "snd_cwnd",
    "unacked",
    "bytes_acked",
];

fn summary(end: &End, sender: Option<&Sender>) -> Value {
    let (name, error) = match end {
        End::Complete => ("complete", None),
        End::Unconfirmed => ("unconfirmed", None),
        End::PeerClosed => ("peer-closed", None),
        End::Stopped => ("stopped", None),
        End::Broken(error) => ("error", Some(error)),
        End::Never(error) => ("never", Some(error)),
    };
    let account = sender.and_then(|sender| info(&sender.stream).ok());
    json!({
        "event": "summary",
        "t_ns": now_ns(),
        "end": name,
        "error": error.map(error_name),
        "accepted_bytes": sender.map_or(0, |sender| sender.accepted),
        "connected_ns": sender.map(|sender| sender.connected),
        "done_ns": sender.and_then(|sender| sender.done),
        "tcp": account.map(|account| account.object()),
        "sample_fields": SAMPLE_FIELDS,
        "samples": sender.map(|sender| sender.samples.table()),
        "resumptions": sender.map(|sender| &sender.samples.resumptions),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(backoff: u8) -> Info {
        Info {
            retransmits: backoff,
            backoff,
            rto_us: 200_000 << backoff,
            rtt_us: 13_000,
            rttvar_us: 0,
            cwnd: 10,
            unacked: 4,
            lost: 0,
            total_retransmits: u32::from(backoff),
            bytes_acked: 0,
        }
    }

    // With an RTO of 200 ms and the first retransmission at 1.0 s, the others go
    // out at 1.4, 2.2 and 3.8 s. Samples are a few milliseconds late.
    #[test]
    fn the_rung_of_a_resumption_is_told_by_the_time_since_the_first_retransmission() {
        for (resumed, rung) in [(1004, 1), (1405, 2), (2209, 3), (3811, 4)] {
            let mut samples = Samples::default();
            let ms = |time: u64| time * 1_000_000;
            samples.add(ms(995), account(0));
            samples.add(ms(1001), account(1));
            samples.add(ms(resumed), account(0));
            samples.add(ms(resumed + 5), account(0));
            let [resumption] = &samples.resumptions[..] else {
                panic!("{:?}", samples.resumptions);
            };
            assert_eq!(resumption["retransmission"], rung);
            assert_eq!(resumption["rto_us"], 200_000);
            assert_eq!(resumption["backoff"], 1);
        }
    }

    #[test]
    fn each_row_of_samples_has_the_columns_it_names() {
        let mut samples = Samples::default();
        samples.add(1, account(0));
        assert_eq!(
            samples.table()[0].as_array().unwrap().len(),
            SAMPLE_FIELDS.len()
        );
    }

    #[test]
    fn the_data_does_not_repeat_within_a_chunk() {
        let noise = noise();
        assert_eq!(noise.len(), CHUNK);
        assert_ne!(noise[..1024], noise[1024..2048]);
    }
}
