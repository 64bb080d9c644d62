//! The scenario as meant: checked, typed, nothing optional by accident.
//!
//! A document goes through five steps, each in its own file:
//!
//! 1. [`document`]: text to a tree of TOML values with their places;
//! 2. [`check`]: the tree against the JSON Schema of [`mod@file`]: unknown keys,
//!    wrong types, bad quantities, all at once;
//! 3. [`sweep`]: the tree once for every point of the sweep;
//! 4. [`validate`]: [`file::ScenarioFile`] to [`Scenario`]: names that must
//!    exist, routes, sizes, all at once (`build`), with traces read from beside
//!    the scenario (`trace`), what is expected of the cases (`expect`), and how
//!    far measurements may be from them (`tolerance`);
//! 5. [`fault`]: what went wrong, with line, column and the fix.
//!
//! References between entries are indices into the vectors of [`Scenario`].

mod build;
pub mod check;
pub mod document;
mod expect;
pub mod fault;
pub mod file;
pub mod sweep;
mod tolerance;
mod trace;
pub mod validate;

use crate::units::{BitRate, ByteRate, Bytes};
use sim_core::{SimDuration, SimTime};

pub use fault::Fault;
pub use file::{
    BasisFile as Basis, CipherFile as Cipher, CongestionFile as Congestion, IkeFile as Ike,
    IntegrityFile as Integrity, MethodFile as Method, ModeFile as Mode, PatternFile as Pattern,
    QuantityFile as Quantity, StatisticFile as Statistic,
};
pub use validate::parse;

/// A scenario file that passed every check: its cases and what is expected of them.
#[derive(Clone, Debug)]
pub struct Study {
    /// Name of the scenario.
    pub name: String,
    /// What it shows, for people.
    pub description: String,
    /// First 12 hexadecimal digits of the SHA-256 of the file and its traces.
    pub hash: String,
    /// Master seed.
    pub seed: u64,
    /// Replications of every case.
    pub replications: u32,
    /// Level of the confidence intervals.
    pub confidence: f64,
    /// The axes of the sweep in the written order.
    pub axes: Vec<Axis>,
    /// One checked scenario a point of the sweep, first axis slowest.
    pub cases: Vec<Case>,
    /// Published figures and invariants.
    pub expectations: Vec<Expectation>,
    /// How far measurements may be from the simulation, in the order of the record.
    pub tolerances: Vec<Tolerance>,
}

/// An axis of the sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// The labels of its points.
    pub labels: Vec<String>,
}

/// A point of the sweep.
#[derive(Clone, Debug)]
pub struct Case {
    /// `axis=label`, joined by commas; `base` without a sweep.
    pub id: String,
    /// The scenario at this point.
    pub scenario: Scenario,
}

/// What a scenario expects of a quantity.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// What is claimed, in words.
    pub claim: String,
    /// Where it is published, in words.
    pub source: String,
    /// Calibrated, predicted or exact.
    pub basis: Basis,
    /// What is looked at.
    pub quantity: Quantity,
    /// The published value, where there is one.
    pub published: Option<f64>,
    /// Smallest value allowed.
    pub min: Option<f64>,
    /// Largest value allowed.
    pub max: Option<f64>,
}

/// How far a measured value may be from the simulated one. Of two bounds the
/// wider one holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Of which measure.
    pub measure: crate::record::Measure,
    /// As a share of the measured value.
    pub relative: Option<f64>,
    /// In the unit of the measure's column.
    pub absolute: Option<f64>,
}

/// One point of the sweep, checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Simulated time after which the case is ended.
    pub until: SimTime,
    /// Interval of the time series, where they are wanted.
    pub series: Option<SimDuration>,
    /// Names of the sites.
    pub sites: Vec<String>,
    /// Links between sites.
    pub links: Vec<Link>,
    /// VPN gateways.
    pub gateways: Vec<Gateway>,
    /// Physical machines.
    pub hosts: Vec<Host>,
    /// Virtual machines.
    pub vms: Vec<Vm>,
    /// TCP configurations.
    pub transports: Vec<Transport>,
    /// Tunnels.
    pub tunnels: Vec<Tunnel>,
    /// Bulk flows.
    pub traffic: Vec<Traffic>,
    /// What happens, in the order of the file's names.
    pub actions: Vec<Action>,
}

/// A full-duplex link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The two sites.
    pub sites: [usize; 2],
    /// One-way propagation delay.
    pub delay: SimDuration,
    /// Rate in each direction.
    pub rate: BitRate,
    /// Probability that a packet is lost, each direction.
    pub loss: f64,
    /// Buffer in front of the link, each direction.
    pub queue: Bytes,
    /// Largest IP packet.
    pub mtu: Bytes,
    /// Bytes a packet costs on the link beside its IP packet.
    pub framing: Bytes,
}

/// A VPN gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Site it stands at.
    pub site: usize,
}

/// A physical machine.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Site it stands at.
    pub site: usize,
    /// Encryption of an image.
    pub encrypt: ByteRate,
    /// Decryption of an image.
    pub decrypt: ByteRate,
    /// Compression, in bytes of the image.
    pub compress: ByteRate,
    /// Decompression, in bytes of the image.
    pub decompress: ByteRate,
    /// Scan of memory that is all zero.
    pub zero_scan: ByteRate,
    /// Reading of a guest's dirty bitmap; only a profile knows.
    pub bitmap_sync: SimDuration,
}

/// A virtual machine.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// Host it runs on at the start.
    pub host: usize,
    /// Guest memory.
    pub memory: Bytes,
    /// Disk image.
    pub disk: Bytes,
    /// Share of pages that hold only zeros.
    pub zero: f64,
    /// Compressed size divided by size of the disk image.
    pub compressed: f64,
    /// State of devices and processors.
    pub device_state: Bytes,
    /// From the order to suspend until the guest has stopped.
    pub suspend: SimDuration,
    /// Pages written while it suspends itself.
    pub suspend_pages: u32,
    /// From the last byte at the target until the guest runs there.
    pub resume: SimDuration,
    /// Shut-down of the guest.
    pub shutdown: SimDuration,
    /// Boot of the guest.
    pub boot: SimDuration,
    /// How it writes to its memory.
    pub dirty: Dirty,
    /// What its system writes beside its work; only a profile knows.
    pub background: Option<Background>,
    /// Bytes of a page that a write to it changes: 1 to 4096.
    pub dirty_change: Bytes,
    /// Coefficient of variation of the write rate between replications.
    pub dirty_variation: f64,
}

/// Writes of a guest's system, at random over a set of pages, all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Background {
    /// Bytes of pages written a second.
    pub rate: ByteRate,
    /// The pages written to, in bytes.
    pub working_set: Bytes,
}

/// How a guest writes to its memory.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are documented in `file`")]
pub enum Dirty {
    /// It does not.
    Idle,
    /// One rate over one working set.
    Constant {
        rate: ByteRate,
        working_set: Bytes,
        pattern: Pattern,
    },
    /// A small set written fast, the rest of memory slowly.
    HotCold {
        hot: Bytes,
        hot_rate: ByteRate,
        cold: Bytes,
        cold_rate: ByteRate,
        pattern: Pattern,
    },
    /// Zipf's law over the pages of the working set.
    Zipf {
        rate: ByteRate,
        skew: f64,
        working_set: Bytes,
    },
    /// Phases; the last one lasts for ever. Never empty, starts at zero, sorted.
    Trace {
        phases: Vec<DirtyPhase>,
        pattern: Pattern,
    },
}

/// A phase of a dirty-page trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirtyPhase {
    /// Start, from the start of the case.
    pub start: SimTime,
    /// Bytes of pages written a second.
    pub rate: ByteRate,
    /// Memory that is written to.
    pub working_set: Bytes,
}

/// TCP configuration.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Its name.
    pub name: String,
    /// Congestion control.
    pub congestion: Congestion,
    /// HyStart.
    pub hystart: bool,
    /// First window in segments.
    pub initial_window: u32,
    /// Largest window the receiver offers.
    pub receive_window: Bytes,
    /// Largest amount of unacknowledged data.
    pub send_buffer: Bytes,
    /// Window of an ssh channel, where there is one.
    pub channel_window: Option<Bytes>,
    /// TCP timestamps.
    pub timestamps: bool,
    /// Round trips until the connection carries data.
    pub setup_round_trips: f64,
    /// Processing until the connection carries data.
    pub setup_time: SimDuration,
    /// Smallest retransmission time-out.
    pub min_rto: SimDuration,
    /// Largest retransmission time-out.
    pub max_rto: SimDuration,
    /// Time-outs in a row after which TCP gives up.
    pub retries: u32,
    /// Whether a tail loss probe goes before the retransmission timer.
    pub tail_loss_probe: bool,
    /// Tick of the kernel's timers; zero for timers that are never late.
    pub timer_tick: SimDuration,
    /// Rate the application holds itself to.
    pub max_rate: Option<BitRate>,
}

/// An IPsec tunnel.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// Its name.
    pub name: String,
    /// ESP mode.
    pub mode: Mode,
    /// Cipher.
    pub cipher: Cipher,
    /// Integrity algorithm; `None` with an AEAD cipher.
    pub integrity: Option<Integrity>,
    /// ESP in UDP.
    pub nat_traversal: bool,
    /// Key exchange.
    pub ike: Ike,
    /// Computation in phase 1.
    pub phase1_time: SimDuration,
    /// Computation in phase 2.
    pub phase2_time: SimDuration,
    /// An unanswered IKE exchange is given up after this time.
    pub connect_timeout: SimDuration,
    /// Encryption and decryption rate of an end, where it is bounded.
    pub throughput: Option<BitRate>,
    /// Serial processing of a packet at the client.
    pub packet_time: SimDuration,
    /// Site of the client and its gateways in order, for a VPN.
    pub vpn: Option<Vpn>,
}

/// The client side of a tunnel through gateways.
#[derive(Clone, Debug)]
pub struct Vpn {
    /// Site of the client.
    pub client: usize,
    /// Gateways in the order in which the client tries them; never empty.
    pub gateways: Vec<usize>,
    /// How the client finds out that a gateway is dead; `None`: never.
    pub detection: Option<Detection>,
    /// Packet relay: the latency it adds each direction.
    pub relay: Option<SimDuration>,
}

/// How a client finds out that its gateway is dead.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are documented in `file`")]
pub enum Detection {
    /// Echo requests; dead `rto_multiple` time-outs after the last answered one was sent.
    Probe {
        interval: SimDuration,
        rto_multiple: f64,
        min_rto: SimDuration,
    },
    /// strongSwan.
    Strongswan {
        dpd_delay: SimDuration,
        timeout: SimDuration,
        base: f64,
        tries: u32,
    },
    /// libreswan.
    Libreswan {
        dpd_delay: SimDuration,
        retransmit_interval: SimDuration,
        retransmit_timeout: SimDuration,
    },
}

/// A bulk flow.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Its name.
    pub name: String,
    /// Site of the sender.
    pub from: usize,
    /// Site of the receiver.
    pub to: usize,
    /// TCP configuration.
    pub transport: usize,
    /// Tunnel it goes through.
    pub tunnel: Option<usize>,
    /// When it starts.
    pub start: SimTime,
    /// When it stops at the latest.
    pub stop: SimTime,
    /// Bytes to send; `None` is without end.
    pub size: Option<Bytes>,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its name; also names its random stream.
    pub name: String,
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}

/// When an action happens.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are documented in `file`")]
pub enum When {
    /// At an instant.
    At(SimTime),
    /// Exponentially distributed from the start.
    Exponential { mean: SimDuration },
    /// Uniformly distributed from the start.
    Uniform { low: SimDuration, high: SimDuration },
    /// Weibull distributed from the start.
    Weibull { scale: SimDuration, shape: f64 },
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// A virtual machine is moved.
    Migrate(Migrate),
    /// An element stops working.
    Fail(Element),
    /// An element works again.
    Repair(Element),
}

/// A part of the network that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A gateway.
    Gateway(usize),
    /// A link.
    Link(usize),
}

/// A migration.
#[derive(Clone, Debug)]
pub struct Migrate {
    /// Which VM.
    pub vm: usize,
    /// Host it goes to.
    pub to: usize,
    /// How.
    pub method: Method,
    /// TCP configuration.
    pub transport: usize,
    /// Tunnel it goes through.
    pub tunnel: Option<usize>,
    /// What ends pre-copy; `Some` exactly with `Method::PreCopy` and, as
    /// `StopRule::Qemu`, with `Method::PostCopy`.
    pub stop_rule: Option<StopRule>,
    /// Given up after this time.
    pub time_limit: SimDuration,
}

impl Migrate {
    /// QEMU's parameters, where QEMU migrates.
    pub fn qemu(&self) -> Option<&Qemu> {
        match &self.stop_rule {
            Some(StopRule::Qemu(qemu)) => Some(qemu),
            _ => None,
        }
    }

    /// Channels of multifd, where it is on.
    pub fn multifd(&self) -> Option<u32> {
        self.qemu()?.multifd
    }
}

/// What ends pre-copy.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are documented in `file`")]
pub enum StopRule {
    /// Xen before 4.6.
    Xen40,
    /// Xen 4.6 and later.
    Xen46,
    /// QEMU.
    Qemu(Qemu),
    /// SimGrid's plug-in.
    Simgrid { max_downtime: SimDuration },
}

/// Parameters of QEMU's migration.
#[derive(Clone, Debug, PartialEq)]
pub struct Qemu {
    /// `downtime-limit`.
    pub downtime_limit: SimDuration,
    /// `max-bandwidth`.
    pub max_bandwidth: ByteRate,
    /// Size of XBZRLE's cache, where it is on; a power of two, at least a page.
    pub xbzrle: Option<Bytes>,
    /// Channels of multifd, where it is on; never with XBZRLE or post-copy.
    pub multifd: Option<u32>,
    /// Auto-converge, where it is on.
    pub auto_converge: Option<AutoConverge>,
}

/// Parameters of QEMU's auto-converge, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoConverge {
    /// Share of the bytes sent that may be dirtied in the same period.
    pub trigger: u32,
    /// First throttle.
    pub initial: u32,
    /// Step.
    pub increment: u32,
    /// Largest throttle.
    pub max: u32,
}
