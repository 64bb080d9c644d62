//! Moving a virtual machine: four methods, each a list of phases.
//!
//! Models a migration as the phases of [`phases`], one after the other. A phase
//! lasts a known time (a boot, an encryption at the host's rate) or until the
//! network has carried its bytes. Pre-copy's rounds are in [`precopy`]; its
//! stop rules in [`stop_rule`].
//!
//! Leaves out: post-copy and hybrid methods, disks that move while the guest
//! runs, overlapping phases (a pipe from compression to the network), the load
//! that migration puts on the guest.
//!
//! Who would notice: users whose tools pipe `gzip | openssl | ssh`, which hides
//! the shorter of the phases behind the longer.

pub mod precopy;
pub mod stop_rule;

use sim_core::{Queue, SimDuration, SimTime};

use crate::dirty::{DirtyModel, PAGE};
use crate::network::{Goal, Network};
use crate::record::{Measure, Values};
use crate::scenario::{Host, Method, Migrate, Scenario, StopRule, Transport, Vm};
use crate::units::ByteRate;
use crate::world::Event;
use precopy::{PreCopy, Sight, Step};

/// A page's header on the wire (QEMU: flags and offset; Xen: its frame number).
const PAGE_HEADER: f64 = 8.0;
/// QEMU sends a zero page as a header and one byte.
const ZERO_PAGE: f64 = 9.0;

/// A named part of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "the record's dictionary says where each begins and ends"
)]
pub enum Phase {
    Shutdown,
    Compress,
    Encrypt,
    Connect,
    PreCopy,
    Suspend,
    StopAndCopy,
    Transfer,
    Decrypt,
    Decompress,
    Boot,
    Resume,
}

impl Phase {
    /// The column with the phase's length.
    pub fn measure(self) -> Measure {
        match self {
            Self::Shutdown => Measure::PhaseShutdown,
            Self::Compress => Measure::PhaseCompress,
            Self::Encrypt => Measure::PhaseEncrypt,
            Self::Connect => Measure::PhaseConnect,
            Self::PreCopy => Measure::PhasePreCopy,
            Self::Suspend => Measure::PhaseSuspend,
            Self::StopAndCopy => Measure::PhaseStopAndCopy,
            Self::Transfer => Measure::PhaseTransfer,
            Self::Decrypt => Measure::PhaseDecrypt,
            Self::Decompress => Measure::PhaseDecompress,
            Self::Boot => Measure::PhaseBoot,
            Self::Resume => Measure::PhaseResume,
        }
    }

    /// Whether the guest stops running when this phase begins.
    fn stops_guest(self) -> bool {
        matches!(self, Self::Shutdown | Self::Suspend)
    }
}

/// The phases of a method in their order.
pub fn phases(method: Method) -> &'static [Phase] {
    use Phase::{
        Boot, Compress, Connect, Decompress, Decrypt, Encrypt, PreCopy, Resume, Shutdown,
        StopAndCopy, Suspend, Transfer,
    };
    match method {
        Method::PreCopy => &[Connect, PreCopy, Suspend, StopAndCopy, Resume],
        Method::StopAndCopy => &[Connect, Suspend, StopAndCopy, Resume],
        Method::EncryptedImage => &[Shutdown, Encrypt, Connect, Transfer, Decrypt, Boot],
        Method::CompressedImage => &[
            Shutdown, Compress, Encrypt, Connect, Transfer, Decrypt, Decompress, Boot,
        ],
    }
}

/// A migration under way, finished or failed.
#[derive(Debug)]
pub struct Migration {
    vm: Vm,
    source: Host,
    target: Host,
    order: Migrate,
    connection: usize,
    connect_time: SimDuration,
    precopy: Option<PreCopy>,
    state: State,
    started: SimTime,
    phase_started: SimTime,
    stopped: Option<SimTime>,
    /// Bytes handed to the network.
    bytes: f64,
    lengths: Vec<(Phase, SimDuration)>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// In the phase with this index.
    Phase(usize),
    /// The network is done, the phase ends when the receiver has it all.
    Arriving(usize),
    /// A round of pre-copy is sent, but its scan or its arrival is not over.
    RoundEnding(usize),
    Finished(SimTime),
    Failed(String),
}

impl Migration {
    /// A migration that starts now over an open connection. `index` names it
    /// in events; `speed` scales the guest's writes.
    pub fn start(
        index: u32,
        order: &Migrate,
        scenario: &Scenario,
        connection: usize,
        speed: f64,
        network: &mut Network,
        queue: &mut Queue<Event>,
    ) -> Self {
        let vm = scenario.vms[order.vm].clone();
        let transport = &scenario.transports[order.transport];
        let now = queue.now();
        let precopy = order.stop_rule.as_ref().map(|rule| {
            let model = DirtyModel::new(&vm.dirty, vm.memory);
            PreCopy::new(rule, model, &vm, scenario.hosts[vm.host].zero_scan, speed)
        });
        let mut migration = Self {
            source: scenario.hosts[vm.host].clone(),
            target: scenario.hosts[order.to].clone(),
            order: order.clone(),
            connection,
            connect_time: connect_time(transport, network.route(connection).rtt()),
            precopy,
            vm,
            state: State::Phase(0),
            started: now,
            phase_started: now,
            stopped: None,
            bytes: 0.0,
            lengths: Vec::new(),
        };
        queue.schedule(now + order.time_limit, Event::TimeLimit(index));
        migration.begin(index, 0, network, queue);
        migration
    }

    /// The timer of a phase, of a round or of an arrival fired.
    pub fn on_timer(&mut self, index: u32, network: &mut Network, queue: &mut Queue<Event>) {
        match self.state {
            State::Phase(at) | State::Arriving(at) => self.end(index, at, network, queue),
            State::RoundEnding(at) => self.next_round(index, at, network, queue),
            State::Finished(_) | State::Failed(_) => {}
        }
    }

    /// The network has sent what it was given.
    pub fn on_sent(&mut self, index: u32, network: &mut Network, queue: &mut Queue<Event>) {
        let State::Phase(at) = self.state else { return };
        let now = queue.now();
        let arrival = now + network.arrival_delay(self.connection);
        let in_rounds = phases(self.order.method)[at] == Phase::PreCopy;
        let (ready, state) = match self.precopy.as_ref().filter(|_| in_rounds) {
            Some(precopy) => (precopy.round_ready(now, arrival), State::RoundEnding(at)),
            None => (arrival, State::Arriving(at)),
        };
        self.state = state;
        queue.schedule(ready, Event::Migration(index));
    }

    /// Gives the migration up: the guest runs on at the source.
    pub fn fail(&mut self, reason: &str, network: &mut Network, queue: &mut Queue<Event>) {
        if !matches!(self.state, State::Finished(_) | State::Failed(_)) {
            self.state = State::Failed(reason.to_owned());
            network.close(self.connection, queue);
        }
    }

    /// The time limit is over.
    pub fn on_time_limit(&mut self, network: &mut Network, queue: &mut Queue<Event>) {
        let limit = self.order.time_limit;
        let reason = format!(
            "the migration of `{}` did not end within its time limit of {limit}",
            self.vm.name
        );
        self.fail(&reason, network, queue);
    }

    /// The connection it uses.
    pub fn connection(&self) -> usize {
        self.connection
    }

    /// Whether it is over, one way or the other.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Finished(_) | State::Failed(_))
    }

    /// Why it has no result.
    pub fn error(&self) -> Option<String> {
        match &self.state {
            State::Finished(_) => None,
            State::Failed(reason) => Some(reason.clone()),
            State::Phase(at) | State::Arriving(at) | State::RoundEnding(at) => Some(format!(
                "the case ended while `{}` was in phase {:?}; raise `until`",
                self.vm.name,
                phases(self.order.method)[*at]
            )),
        }
    }

    /// Start and end, where it ended well.
    pub fn span(&self) -> Option<(SimTime, SimTime)> {
        match self.state {
            State::Finished(end) => Some((self.started, end)),
            _ => None,
        }
    }

    /// When it was sending: start and end of its transfer phases.
    pub fn transfers(&self) -> Vec<(SimTime, SimTime)> {
        let transfer = [Phase::PreCopy, Phase::StopAndCopy, Phase::Transfer];
        let mut start = self.started;
        let mut spans = Vec::new();
        for &(phase, length) in &self.lengths {
            if transfer.contains(&phase) {
                spans.push((start, start + length));
            }
            start += length;
        }
        spans
    }

    /// Adds the migration to the values of its case: counts and phases add up,
    /// downtime is the longest.
    pub fn report(&self, network: &Network, values: &mut Values) {
        let mut add = |measure, value: f64| {
            values.set(measure, values.get(measure).unwrap_or(0.0) + value);
        };
        for &(phase, length) in &self.lengths {
            add(phase.measure(), length.as_millis_f64());
        }
        add(Measure::BytesSent, self.bytes);
        add(Measure::WireBytes, network.wire(self.connection).round());
        if let Some(precopy) = &self.precopy {
            precopy.report(&mut add);
            if let Some(percent) = precopy.throttle_percent() {
                let highest = values.get(Measure::Throttle).unwrap_or(0.0);
                values.set(Measure::Throttle, highest.max(f64::from(percent)));
            }
        }
        if let (Some(stopped), State::Finished(end)) = (self.stopped, &self.state) {
            let downtime = (*end - stopped).as_millis_f64();
            let longest = values.get(Measure::Downtime).unwrap_or(0.0);
            values.set(Measure::Downtime, longest.max(downtime));
        }
        values.set(Measure::Mss, network.route(self.connection).mss);
    }

    fn begin(&mut self, index: u32, at: usize, network: &mut Network, queue: &mut Queue<Event>) {
        let now = queue.now();
        let phase = phases(self.order.method)[at];
        self.state = State::Phase(at);
        self.phase_started = now;
        if phase.stops_guest() {
            self.stopped = Some(now);
        }
        if let Some(length) = self.length(phase) {
            queue.schedule(now + length, Event::Migration(index));
            return;
        }
        let (bytes, goal) = match phase {
            Phase::PreCopy => {
                if let Some(StopRule::Qemu(qemu)) = &self.order.stop_rule {
                    network.limit(self.connection, qemu.max_bandwidth.as_f64(), queue);
                }
                let sight = sight(self.connection, network, now);
                self.precopy().first_round(now, sight)
            }
            Phase::StopAndCopy => {
                // QEMU lifts its limit once the guest is stopped.
                network.limit(self.connection, f64::INFINITY, queue);
                (self.memory_to_stop_and_copy(now), Goal::Drained)
            }
            _ => (self.image(), Goal::Drained),
        };
        self.send(bytes, goal, network, queue);
    }

    fn end(&mut self, index: u32, at: usize, network: &mut Network, queue: &mut Queue<Event>) {
        let now = queue.now();
        let list = phases(self.order.method);
        self.lengths.push((list[at], now - self.phase_started));
        if at + 1 < list.len() {
            self.begin(index, at + 1, network, queue);
        } else {
            self.state = State::Finished(now);
            network.close(self.connection, queue);
        }
    }

    fn next_round(
        &mut self,
        index: u32,
        at: usize,
        network: &mut Network,
        queue: &mut Queue<Event>,
    ) {
        let now = queue.now();
        self.state = State::Phase(at);
        let sight = sight(self.connection, network, now);
        match self.precopy().next_round(now, sight) {
            Step::Send(bytes, goal) => self.send(bytes, goal, network, queue),
            Step::Suspend => self.end(index, at, network, queue),
        }
    }

    fn send(&mut self, bytes: f64, goal: Goal, network: &mut Network, queue: &mut Queue<Event>) {
        let bytes = bytes.round();
        self.bytes += bytes;
        network.send(self.connection, bytes, goal, queue);
    }

    fn precopy(&mut self) -> &mut PreCopy {
        self.precopy.as_mut().expect("pre-copy has a stop rule")
    }

    /// Length of a phase that needs no network.
    fn length(&self, phase: Phase) -> Option<SimDuration> {
        let disk = self.vm.disk.as_f64();
        Some(match phase {
            Phase::Shutdown => self.vm.shutdown,
            Phase::Compress => time_at(disk, self.source.compress),
            Phase::Encrypt => time_at(self.image(), self.source.encrypt),
            Phase::Decrypt => time_at(self.image(), self.target.decrypt),
            Phase::Decompress => time_at(disk, self.target.decompress),
            Phase::Boot => self.vm.boot,
            Phase::Connect => self.connect_time,
            Phase::Suspend => self.vm.suspend,
            Phase::Resume => self.vm.resume,
            Phase::PreCopy | Phase::StopAndCopy | Phase::Transfer => return None,
        })
    }

    /// Bytes of the image that is sent.
    fn image(&self) -> f64 {
        match self.order.method {
            Method::CompressedImage => (self.vm.disk.as_f64() * self.vm.compressed).round(),
            _ => self.vm.disk.as_f64(),
        }
    }

    /// Bytes to send while the guest is stopped.
    fn memory_to_stop_and_copy(&mut self, now: SimTime) -> f64 {
        let device = self.vm.device_state.as_f64();
        let suspend_pages = f64::from(self.vm.suspend_pages);
        match &mut self.precopy {
            Some(precopy) => precopy.last_round(now, suspend_pages) + device,
            None => {
                let pages = self.vm.memory.as_f64() / PAGE as f64;
                pages * page_bytes(self.vm.zero) + device
            }
        }
    }
}

/// Mean bytes on the wire of a page when this share of pages is all zero.
fn page_bytes(zero: f64) -> f64 {
    zero * ZERO_PAGE + (1.0 - zero) * (PAGE as f64 + PAGE_HEADER)
}

fn sight(connection: usize, network: &mut Network, now: SimTime) -> Sight {
    network.advance(connection, now);
    Sight {
        rate: network.rate(connection),
        left: network.unwritten(connection),
    }
}

fn time_at(bytes: f64, rate: ByteRate) -> SimDuration {
    SimDuration::from_secs_f64(bytes / rate.as_f64())
}

fn connect_time(transport: &Transport, rtt: SimDuration) -> SimDuration {
    rtt.mul_f64(transport.setup_round_trips) + transport.setup_time
}
