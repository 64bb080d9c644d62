//! Moving a virtual machine: five methods, each a list of phases.
//!
//! Models a migration as the phases of [`phases`], one after the other. A phase
//! lasts a known time (a boot, an encryption at the host's rate) or until the
//! network has carried its bytes. Pre-copy's rounds are in [`precopy`]; its
//! stop rules in [`stop_rule`].
//!
//! Post-copy is QEMU's when it is asked for as soon as memory was sent once
//! (`migration.c: migration_iteration_run, postcopy_start`): where the rest then
//! takes longer than the downtime limit, the guest stops, what is not written
//! yet is held back, its state and the list of pages to forget go first, and
//! the rest follows without a pause while the target resumes. With multifd
//! (`multifd.c`) pages go over connections of their own, and the state over the
//! main one, which has hardly been used and starts slowly.
//!
//! Leaves out: disks that move while the guest runs, overlapping phases (a
//! pipe from compression to the network), the load that migration puts on the
//! guest, the stalls of a guest that waits for a page after post-copy, the zero
//! pages that multifd leaves to the main connection (they are charged to the
//! channels). A stopped guest is stopped after the connection stands.
//!
//! Who would notice: users whose tools pipe `gzip | openssl | ssh`, which hides
//! the shorter of the phases behind the longer; users who ask how slow a guest
//! is after post-copy.

pub mod precopy;
pub mod stop_rule;
pub mod wire;

use sim_core::{Queue, SimDuration, SimTime};

use crate::dirty::{DirtyModel, PAGE};
use crate::network::{Goal, Network};
use crate::record::{Measure, Values};
use crate::scenario::{Host, Method, Migrate, Scenario, StopRule, Transport, Vm};
use crate::units::ByteRate;
use crate::world::Event;
use precopy::{PreCopy, Sight, Step};

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
    PostCopy,
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
            Self::PostCopy => Measure::PhasePostCopy,
        }
    }

    /// Whether the guest stops running when this phase begins.
    fn stops_guest(self) -> bool {
        matches!(self, Self::Shutdown | Self::Suspend)
    }
}

/// Pages that the target of a post-copy asks for while it loads devices: a network
/// card's two rings (`virtio.c: virtio_load` reads their indices), which are written
/// with every packet and so are never there yet.
const LOADED: f64 = 2.0;

/// The phases of a method in their order.
pub fn phases(method: Method) -> &'static [Phase] {
    use Phase::{
        Boot, Compress, Connect, Decompress, Decrypt, Encrypt, PostCopy, PreCopy, Resume, Shutdown,
        StopAndCopy, Suspend, Transfer,
    };
    match method {
        Method::PreCopy => &[Connect, PreCopy, Suspend, StopAndCopy, Resume],
        // QEMU and libvirt stop the guest before they open a connection.
        Method::StopAndCopy => &[Suspend, Connect, StopAndCopy, Resume],
        // The target resumes while post-copy goes on.
        Method::PostCopy => &[Connect, PreCopy, Suspend, StopAndCopy, PostCopy],
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
    /// What carries pages.
    connection: usize,
    /// What carries the state, where that is another connection.
    main: Option<usize>,
    connect_time: SimDuration,
    precopy: Option<PreCopy>,
    state: State,
    started: SimTime,
    phase_started: SimTime,
    stopped: Option<SimTime>,
    /// When the target runs the guest, where that is not the end.
    runs: Option<SimTime>,
    /// Connections that have yet to send what they were given, and when what the
    /// others sent arrives.
    sending: u32,
    arrival: SimTime,
    /// Bytes handed to the network.
    bytes: f64,
    /// Phases that are over, with their start and length.
    lengths: Vec<(Phase, SimTime, SimDuration)>,
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
    /// A migration that starts now over open connections: that of the pages and,
    /// where it is another one, that of the state. `index` names it in events;
    /// `speed` scales the guest's writes.
    pub fn start(
        index: u32,
        order: &Migrate,
        scenario: &Scenario,
        (connection, main): (usize, Option<usize>),
        speed: f64,
        network: &mut Network,
        queue: &mut Queue<Event>,
    ) -> Self {
        let vm = scenario.vms[order.vm].clone();
        let transport = &scenario.transports[order.transport];
        let now = queue.now();
        let precopy = order.stop_rule.as_ref().map(|rule| {
            let work = DirtyModel::new(&vm.dirty, vm.memory);
            let model = vm
                .background
                .into_iter()
                .fold(work, DirtyModel::with_background);
            let host = &scenario.hosts[vm.host];
            let post_copy = order.method == Method::PostCopy;
            PreCopy::new(rule, model, &vm, host, speed, post_copy)
        });
        // The channels are opened when the main connection stands.
        let rtt = network.route(connection).rtt();
        let channels = main.map_or(SimDuration::ZERO, |_| rtt);
        let mut migration = Self {
            source: scenario.hosts[vm.host].clone(),
            target: scenario.hosts[order.to].clone(),
            order: order.clone(),
            connection,
            main,
            connect_time: connect_time(transport, rtt) + channels,
            precopy,
            vm,
            state: State::Phase(0),
            started: now,
            phase_started: now,
            stopped: None,
            runs: None,
            sending: 0,
            arrival: now,
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

    /// One of its connections has sent what it was given.
    pub fn on_sent(
        &mut self,
        index: u32,
        connection: usize,
        network: &mut Network,
        queue: &mut Queue<Event>,
    ) {
        let State::Phase(at) = self.state else { return };
        let now = queue.now();
        let arrival = now + network.arrival_delay(connection);
        self.arrival = self.arrival.max(arrival);
        self.sending = self.sending.saturating_sub(1);
        if self.sending > 0 {
            return;
        }
        let arrival = self.arrival;
        let (ready, state) = match (phases(self.order.method)[at], &self.precopy) {
            (Phase::PreCopy, Some(precopy)) => {
                (precopy.round_ready(now, arrival), State::RoundEnding(at))
            }
            (Phase::StopAndCopy, _) if self.order.method == Method::PostCopy => {
                let loading = self.loading(network);
                self.hand_over(arrival, loading);
                return self.begin(index, at + 1, network, queue);
            }
            (Phase::StopAndCopy, None) => {
                // One thread scans and sends.
                let scanned = self.phase_started + self.scan() + network.route(connection).delay;
                (arrival.max(scanned), State::Arriving(at))
            }
            _ => (
                arrival.max(self.runs.unwrap_or(arrival)),
                State::Arriving(at),
            ),
        };
        self.state = state;
        queue.schedule(ready, Event::Migration(index));
    }

    /// The guest's state is sent and resumes at the target when it has arrived and
    /// was loaded.
    fn hand_over(&mut self, arrival: SimTime, loading: SimDuration) {
        let sent = arrival - self.phase_started;
        self.lengths
            .push((Phase::StopAndCopy, self.phase_started, sent));
        let resume = loading + self.vm.resume;
        self.lengths.push((Phase::Resume, arrival, resume));
        self.runs = Some(arrival + resume);
    }

    /// How long the target of a post-copy waits for pages while it loads devices:
    /// they come behind what the source's kernel holds already.
    fn loading(&mut self, network: &Network) -> SimDuration {
        let postponed = self.precopy().postponed();
        if postponed == 0.0 {
            return SimDuration::ZERO;
        }
        network.answer(self.connection, postponed).mul_f64(LOADED)
    }

    /// Gives the migration up: the guest runs on at the source.
    pub fn fail(&mut self, reason: &str, network: &mut Network, queue: &mut Queue<Event>) {
        if !matches!(self.state, State::Finished(_) | State::Failed(_)) {
            self.state = State::Failed(reason.to_owned());
            self.close(network, queue);
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

    fn close(&self, network: &mut Network, queue: &mut Queue<Event>) {
        for connection in std::iter::once(self.connection).chain(self.main) {
            network.close(connection, queue);
        }
    }

    /// The connection that carries its pages.
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
        let transfer = [
            Phase::PreCopy,
            Phase::StopAndCopy,
            Phase::PostCopy,
            Phase::Transfer,
        ];
        let transfers = self.lengths.iter();
        transfers
            .filter(|(phase, ..)| transfer.contains(phase))
            .map(|&(_, start, length)| (start, start + length))
            .collect()
    }

    /// Adds the migration to the values of its case: counts and phases add up,
    /// downtime is the longest.
    pub fn report(&self, network: &Network, values: &mut Values) {
        let mut add = |measure, value: f64| {
            values.set(measure, values.get(measure).unwrap_or(0.0) + value);
        };
        for &(phase, _, length) in &self.lengths {
            add(phase.measure(), length.as_millis_f64());
        }
        add(Measure::BytesSent, self.bytes);
        let connections = std::iter::once(self.connection).chain(self.main);
        let wire: f64 = connections.map(|id| network.wire(id)).sum();
        add(Measure::WireBytes, wire.round());
        if self.order.method == Method::StopAndCopy && self.has_copied() {
            add(Measure::Rounds, 1.0);
            add(Measure::PagesSent, self.pages());
            add(
                Measure::DuplicatePages,
                (self.pages() * self.vm.zero).round(),
            );
        }
        if let Some(precopy) = &self.precopy {
            precopy.report(&mut add);
            if let Some(percent) = precopy.throttle_percent() {
                let highest = values.get(Measure::Throttle).unwrap_or(0.0);
                values.set(Measure::Throttle, highest.max(f64::from(percent)));
            }
        }
        if let (Some(stopped), State::Finished(end)) = (self.stopped, &self.state) {
            let downtime = (self.runs.unwrap_or(*end) - stopped).as_millis_f64();
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
                let memory = self.memory_to_stop_and_copy(now);
                let state = self.vm.device_state.as_f64();
                let Some(main) = self.main else {
                    return self.send(memory + state, Goal::Drained, network, queue);
                };
                self.send(memory, Goal::Drained, network, queue);
                return self.send_over(main, state, network, queue);
            }
            Phase::PostCopy => (self.precopy().send_postponed(), Goal::Drained),
            _ => (self.image(), Goal::Drained),
        };
        self.send(bytes, goal, network, queue);
    }

    fn end(&mut self, index: u32, at: usize, network: &mut Network, queue: &mut Queue<Event>) {
        let now = queue.now();
        let list = phases(self.order.method);
        self.lengths
            .push((list[at], self.phase_started, now - self.phase_started));
        if at + 1 < list.len() {
            self.begin(index, at + 1, network, queue);
        } else {
            self.state = State::Finished(now);
            self.close(network, queue);
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
            Step::SwitchOver => {
                let unwritten = network.withdraw(self.connection, queue);
                self.bytes -= unwritten;
                self.precopy().take_back(unwritten);
                self.end(index, at, network, queue);
            }
        }
    }

    fn send(&mut self, bytes: f64, goal: Goal, network: &mut Network, queue: &mut Queue<Event>) {
        let bytes = bytes.round();
        self.bytes += bytes;
        self.sending = 1;
        self.arrival = queue.now();
        network.send(self.connection, bytes, goal, queue);
    }

    /// Sends beside what was sent last.
    fn send_over(
        &mut self,
        connection: usize,
        bytes: f64,
        network: &mut Network,
        queue: &mut Queue<Event>,
    ) {
        self.bytes += bytes;
        self.sending += 1;
        network.send(connection, bytes, Goal::Drained, queue);
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
            Phase::PreCopy | Phase::StopAndCopy | Phase::PostCopy | Phase::Transfer => return None,
        })
    }

    /// Pages of the guest.
    fn pages(&self) -> f64 {
        self.vm.memory.as_f64() / PAGE as f64
    }

    /// Time to find the zero pages.
    fn scan(&self) -> SimDuration {
        time_at(
            self.vm.memory.as_f64() * self.vm.zero,
            self.source.zero_scan,
        )
    }

    /// Whether a stopped guest's memory was sent.
    fn has_copied(&self) -> bool {
        self.lengths
            .iter()
            .any(|(phase, ..)| *phase == Phase::StopAndCopy)
    }

    /// Bytes of the image that is sent.
    fn image(&self) -> f64 {
        match self.order.method {
            Method::CompressedImage => (self.vm.disk.as_f64() * self.vm.compressed).round(),
            _ => self.vm.disk.as_f64(),
        }
    }

    /// Bytes to send while the guest is stopped, beside the state of its devices.
    fn memory_to_stop_and_copy(&mut self, now: SimTime) -> f64 {
        let suspend_pages = f64::from(self.vm.suspend_pages);
        match &mut self.precopy {
            Some(precopy) => precopy.last_round(now, suspend_pages),
            None => self.pages() * wire::mean_page(self.vm.zero, wire::page(false)),
        }
    }
}

fn sight(connection: usize, network: &mut Network, now: SimTime) -> Sight {
    network.advance(connection, now);
    Sight {
        rate: network.rate(connection),
        left: network.unwritten(connection),
        cycle: network.cycle(connection),
    }
}

fn time_at(bytes: f64, rate: ByteRate) -> SimDuration {
    SimDuration::from_secs_f64(bytes / rate.as_f64())
}

fn connect_time(transport: &Transport, rtt: SimDuration) -> SimDuration {
    rtt.mul_f64(transport.setup_round_trips) + transport.setup_time
}
