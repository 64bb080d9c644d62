//! `tool vpn-client`: keeps a VPN alive over several gateways, the part of the
//! virtual machine monitor in BitVisor's fail-over.
//!
//! It uses a gateway of its list, finds out that the way there is dead, connects
//! to the next one, and tells the packet relay ([`super::relay`]). It knows no
//! VPN itself: connecting is a command of the configuration, with strongSwan for
//! example `swanctl --initiate --child tokyo`.
//!
//! # Detection
//!
//! As `models::ipsec::dpd` has it. At each multiple of `interval_ms` since the
//! start it sends an ICMP echo request through the tunnel to the gateway's inner
//! address. It declares the gateway dead `rto_multiple` times the RTO after the
//! sending of the last probe that was answered; connecting counts as an answer.
//! The RTO is RFC 2988's of these probes, no less than `min_rto_ms`. A single
//! lost probe does not matter as long as `rto_multiple` x RTO is longer than an
//! interval and a round trip; the event `tight` warns when it is not.
//!
//! With `"detector": "external"` there are no probes, and the command `detect`
//! runs while a gateway is in use; its end, in whatever way, means that the
//! gateway is dead. So the VPN's own detection can be used: a command that waits
//! for strongSwan's DPD to delete the association.
//!
//! # Fail-over
//!
//! The gateways form a ring (`models::failover`). From the one after the dead
//! one on, it runs `connect` and then `switch`; one that fails or takes longer
//! than `connect_timeout_ms` together is given up for the next. A whole round
//! without success takes at least `connect_timeout_ms`. Then the relay client is
//! told `local ADDR` with the gateway's `local`, or `local auto`. `disconnect` of
//! the old gateway runs after that, in the background, for it cannot be reached.
//!
//! # Configuration
//!
//! ```json
//! {
//!   "gateways": [
//!     {"name": "tokyo", "probe": "10.1.0.1", "local": "10.1.0.100",
//!      "connect": ["swanctl", "--initiate", "--child", "tokyo"],
//!      "switch": [], "disconnect": ["swanctl", "--terminate", "--ike", "tokyo", "--force"]},
//!     {"name": "yokohama", "probe": "10.2.0.1",
//!      "connect": ["swanctl", "--initiate", "--child", "yokohama"]}
//!   ],
//!   "detector": "probe", "interval_ms": 500, "rto_multiple": 3, "min_rto_ms": 1000,
//!   "connect_timeout_ms": 5000, "connected": false, "relay_control": "/run/relay.sock"
//! }
//! ```
//!
//! These numbers are the defaults. `connected` tells that the tunnel to the first
//! gateway stands when the program starts. `local` also is the source of the
//! probes. Commands run without a shell, find the gateway's name in
//! `WATARI_GATEWAY`, and print to standard error.
//!
//! # Events
//!
//! Each has `event`, `t_ns` and `gateway`:
//!
//! - `connecting`; `connect_failed` with `reason` and `took_ns`; `connected` with
//!   `took_ns`; `relay_told` with `reply`; `switched`;
//! - `answered` with `rtt_ns`: the first answer through this gateway;
//! - `probe_lost` with `sent_ns`, when an answer has not come for one RTO;
//! - `detected` with `last_answered_sent_ns` and `rto_ns`, null for the external
//!   detector;
//! - `tight`; `probe_unbound` when probes cannot be sent from `local`;
//!   `disconnect_failed` with `reason`.
//!
//! The summary has `gateway` (in use at the end or null), `probes_sent`,
//! `probes_answered`, `send_errors`, `srtt_ns`, `rttvar_ns`, `rto_ns`,
//! `failovers` and `steps`: for each of the first 1000 fail-overs `from`, `to`,
//! `last_answered_sent_ns`, `detected_ns`, `connecting_ns` (the attempt that
//! succeeded), `connected_ns`, `switched_ns`.

mod command;
mod config;
mod probes;
mod rto;

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use self::command::{Running, failure};
use self::config::{Argv, Config, Detector, Gateway};
use self::probes::Probes;
use super::clock::{emit, now_ns};
use super::wait::{Arrival, Want, wait};

const MS: u64 = 1_000_000;
const MOST_STEPS: usize = 1000;
const MOST_BACKGROUND: usize = 4;

/// Keeps a VPN alive over several gateways.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The gateways and how to connect to them, in JSON.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let mut client = Client::new(config)?;
    client.live()?;
    Ok(emit(&client.summary())?)
}

/// Why watching a gateway came to an end.
enum Verdict {
    Stopped,
    Dead {
        /// The last probe that was answered, and the RTO.
        evidence: Option<(u64, u64)>,
    },
}

/// What a command came to.
enum Outcome {
    Done,
    Failed(String),
    Stopped,
}

struct Client {
    config: Config,
    stop: Arrival,
    child: Arrival,
    current: Option<usize>,
    probes: Probes,
    background: Vec<Running>,
    failovers: u64,
    steps: Vec<Value>,
}

impl Client {
    fn new(config: Config) -> anyhow::Result<Self> {
        let probes = Probes::new(&config, now_ns());
        Ok(Self {
            config,
            stop: Arrival::stop()?,
            child: Arrival::child()?,
            current: None,
            probes,
            background: Vec::new(),
            failovers: 0,
            steps: Vec::new(),
        })
    }

    fn gateway(&self, place: usize) -> &Gateway {
        &self.config.gateways[place]
    }

    fn say(&self, event: &str, place: usize, more: Value) -> io::Result<()> {
        let mut line =
            json!({ "event": event, "t_ns": now_ns(), "gateway": self.gateway(place).name });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        emit(&line)
    }

    /// Until a signal comes.
    fn live(&mut self) -> anyhow::Result<()> {
        let last = self.config.gateways.len() - 1;
        if self.config.connected {
            self.current = Some(0);
        } else if self.connect(last)?.is_none() {
            return Ok(());
        }
        while let Some(place) = self.current {
            let verdict = match self.config.detector {
                Detector::Probe => self.watch_probes(place)?,
                Detector::External => self.watch_command(place)?,
            };
            let Verdict::Dead { evidence } = verdict else {
                return Ok(());
            };
            let detected = now_ns();
            let (sent, rto) = evidence.unzip();
            self.say(
                "detected",
                place,
                json!({ "last_answered_sent_ns": sent, "rto_ns": rto }),
            )?;
            self.failovers += 1;
            let Some(mut step) = self.connect(place)? else {
                return Ok(());
            };
            self.leave(place)?;
            step["from"] = self.gateway(place).name.clone().into();
            step["detected_ns"] = detected.into();
            step["last_answered_sent_ns"] = sent.into();
            if self.steps.len() < MOST_STEPS {
                self.steps.push(step);
            }
        }
        Ok(())
    }

    /// Connects to the gateway after `last` or, failing that, to those after it.
    /// `None` when a signal came.
    fn connect(&mut self, last: usize) -> anyhow::Result<Option<Value>> {
        self.current = None;
        let number = self.config.gateways.len();
        let timeout = self.config.connect_timeout_ms * MS;
        let mut round = now_ns();
        for attempt in 1.. {
            let next = (last + attempt) % number;
            let since = now_ns();
            self.say("connecting", next, Value::Null)?;
            match self.attempt(next, since, since + timeout)? {
                Outcome::Stopped => return Ok(None),
                Outcome::Failed(reason) => {
                    let took = now_ns() - since;
                    let more = json!({ "reason": reason, "took_ns": took });
                    self.say("connect_failed", next, more)?;
                }
                Outcome::Done => {
                    self.current = Some(next);
                    return Ok(self.steps_of(next, since));
                }
            }
            if attempt % number == 0 {
                if !self.rest(round + timeout)? {
                    return Ok(None);
                }
                round = now_ns();
            }
        }
        Ok(None)
    }

    fn steps_of(&self, next: usize, since: u64) -> Option<Value> {
        Some(json!({
            "to": self.gateway(next).name,
            "connecting_ns": since,
            "connected_ns": self.probes.connected,
            "switched_ns": now_ns(),
        }))
    }

    /// One attempt: connect, switch, and tell the relay.
    fn attempt(&mut self, next: usize, since: u64, until: u64) -> anyhow::Result<Outcome> {
        let connect = self.gateway(next).connect.clone();
        match self.finish(&connect, next, until)? {
            Outcome::Done => {}
            other => return Ok(other),
        }
        let now = now_ns();
        self.probes.connected = now;
        self.say("connected", next, json!({ "took_ns": now - since }))?;
        let switch = self.gateway(next).switch.clone();
        if !switch.is_empty() {
            match self.finish(&switch, next, until)? {
                Outcome::Done => {}
                Outcome::Failed(reason) => return Ok(Outcome::Failed(format!("switch: {reason}"))),
                Outcome::Stopped => return Ok(Outcome::Stopped),
            }
        }
        if let Some(path) = &self.config.relay_control {
            let local = self.gateway(next).local;
            let local = local.map_or("auto".into(), |local| local.to_string());
            let reply = tell(path, &format!("local {local}\n"))
                .unwrap_or_else(|error| format!("error: {error}"));
            self.say("relay_told", next, json!({ "reply": reply }))?;
        }
        self.say("switched", next, Value::Null)?;
        Ok(Outcome::Done)
    }

    /// Runs a command to its end.
    fn finish(&mut self, argv: &Argv, place: usize, until: u64) -> anyhow::Result<Outcome> {
        let name = &self.gateway(place).name;
        let mut running = match Running::start(argv, name, until) {
            Ok(running) => running,
            Err(error) => {
                return Ok(Outcome::Failed(format!(
                    "cannot run `{}`: {error}",
                    argv[0]
                )));
            }
        };
        loop {
            if let Some(status) = running.ended() {
                return Ok(failure(status).map_or(Outcome::Done, Outcome::Failed));
            }
            let wants = [
                Want::Read(self.stop.as_fd()),
                Want::Read(self.child.as_fd()),
            ];
            let ready = wait(&wants, Some(until))?;
            if ready.has(0) {
                return Ok(Outcome::Stopped);
            }
            self.child.clear();
            if ready.is_empty() {
                return Ok(Outcome::Failed("timed out".into()));
            }
        }
    }

    /// Sleeps until then; false when a signal came.
    fn rest(&self, until: u64) -> anyhow::Result<bool> {
        Ok(wait(&[Want::Read(self.stop.as_fd())], Some(until))?.is_empty())
    }

    /// Starts what remains to be done about the gateway left behind.
    fn leave(&mut self, place: usize) -> anyhow::Result<()> {
        let argv = &self.gateway(place).disconnect;
        if argv.is_empty() || self.current == Some(place) {
            return Ok(());
        }
        let until = now_ns() + self.config.connect_timeout_ms * MS;
        match Running::start(argv, &self.gateway(place).name, until) {
            Ok(running) => {
                if self.background.len() >= MOST_BACKGROUND {
                    self.background.remove(0);
                }
                self.background.push(running);
                Ok(())
            }
            Err(error) => {
                let more = json!({ "reason": error.to_string() });
                Ok(self.say("disconnect_failed", place, more)?)
            }
        }
    }

    /// Collects background commands that ended or whose time is up.
    fn collect(&mut self) {
        let now = now_ns();
        self.background
            .retain_mut(|running| running.ended().is_none() && now < running.until);
    }

    fn background_until(&self) -> u64 {
        let untils = self.background.iter().map(|running| running.until);
        untils.min().unwrap_or(u64::MAX)
    }

    fn watch_probes(&mut self, place: usize) -> anyhow::Result<Verdict> {
        let gateway = self.gateway(place);
        let (to, local) = (gateway.probe.context("no probe address")?, gateway.local);
        if let Some(reason) = self.probes.aim(to, local)? {
            self.say("probe_unbound", place, json!({ "reason": reason }))?;
        }
        loop {
            let until = self.probes.next_instant().min(self.background_until());
            let wants = [
                Want::Read(self.stop.as_fd()),
                Want::Read(self.child.as_fd()),
                self.probes.want(),
            ];
            let ready = wait(&wants, Some(until))?;
            if ready.has(0) {
                return Ok(Verdict::Stopped);
            }
            if ready.has(1) {
                self.child.clear();
            }
            self.collect();
            if ready.has(2)
                && let Some(rtt) = self.probes.receive()
            {
                self.say("answered", place, json!({ "rtt_ns": rtt }))?;
            }
            let now = now_ns();
            while let Some(sent) = self.probes.newly_lost(now) {
                self.say("probe_lost", place, json!({ "sent_ns": sent }))?;
            }
            if now >= self.probes.deadline() {
                return Ok(Verdict::Dead {
                    evidence: Some(self.probes.evidence()),
                });
            }
            self.probes.send_when_due(now);
            if self.probes.became_tight() {
                self.say("tight", place, json!({ "rto_ns": self.probes.rto() }))?;
            }
        }
    }

    fn watch_command(&mut self, place: usize) -> anyhow::Result<Verdict> {
        let argv = self.config.detect.clone();
        let mut running = Running::start(&argv, &self.gateway(place).name, u64::MAX)
            .with_context(|| format!("cannot run `{}`", argv[0]))?;
        loop {
            if running.ended().is_some() {
                return Ok(Verdict::Dead { evidence: None });
            }
            let wants = [
                Want::Read(self.stop.as_fd()),
                Want::Read(self.child.as_fd()),
            ];
            let until = self.background_until();
            let ready = wait(&wants, (until != u64::MAX).then_some(until))?;
            if ready.has(0) {
                return Ok(Verdict::Stopped);
            }
            self.child.clear();
            self.collect();
        }
    }

    fn summary(&self) -> Value {
        let mut summary = self.probes.object();
        summary["event"] = "summary".into();
        summary["t_ns"] = now_ns().into();
        let name = self.current.map(|place| self.gateway(place).name.clone());
        summary["gateway"] = name.into();
        summary["failovers"] = self.failovers.into();
        summary["steps"] = self.steps.clone().into();
        summary
    }
}

/// Tells the relay client something; its answer.
fn tell(path: &Path, line: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    let patience = Some(Duration::from_secs(1));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    stream.write_all(line.as_bytes())?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).trim().to_owned())
}
