//! The scenario as written: one type a TOML table, text only.
//!
//! These types are the single source of the format. serde reads them, schemars
//! makes the JSON Schema of them, and [`super::check`] walks a document against
//! that schema so that every fault is found at once. What a scenario *means* is
//! in [`super::Scenario`]; defaults stand here, at the field they belong to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::{BitRate, ByteRate, Bytes, Span};

/// Named entries, in the order of their names.
pub type Named<T> = BTreeMap<String, T>;

/// A scenario of watari.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// Short name: letters, digits, `-` and `_`. Names the record and the figures.
    pub name: String,
    /// What the scenario shows, for people.
    #[serde(default)]
    pub description: String,
    /// Master seed of all random streams.
    pub seed: u64,
    /// Simulated time after which a case is ended.
    #[serde(default = "defaults::until")]
    pub until: Span,
    /// Write time series with this interval for the first replication.
    pub series: Option<Span>,
    /// Replications and the level of the confidence intervals.
    #[serde(default)]
    pub replications: ReplicationsFile,
    /// Sites: the ends of links.
    #[serde(default)]
    pub site: Named<SiteFile>,
    /// Links between two sites, full duplex.
    #[serde(default)]
    pub link: Named<LinkFile>,
    /// VPN gateways.
    #[serde(default)]
    pub gateway: Named<GatewayFile>,
    /// Physical machines that run virtual machines.
    #[serde(default)]
    pub host: Named<HostFile>,
    /// Virtual machines.
    #[serde(default)]
    pub vm: Named<VmFile>,
    /// How TCP is configured for a kind of connection.
    #[serde(default)]
    pub transport: Named<TransportFile>,
    /// IPsec and WireGuard tunnels.
    #[serde(default)]
    pub tunnel: Named<TunnelFile>,
    /// Bulk TCP flows of guests and other users of the network.
    #[serde(default)]
    pub traffic: Named<TrafficFile>,
    /// What happens, and when.
    #[serde(default)]
    pub action: Named<ActionFile>,
    /// Axes of a parameter sweep: `[sweep.AXIS]`. Axes multiply in the written order, the first
    /// one slowest. Each key of an axis is the path of a value in this file, such as
    /// `link.wan.rtt` or `action.move.migrate.method`, with or without quotes, and its array has
    /// one value a point. All keys of an axis move together. The text `"-"` takes the key away at
    /// that point, so that `tunnel` can be there in some cases only. `label` names the points; by
    /// default the values of the first key do.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Map<String, serde_json::Value>>")]
    pub sweep: Named<toml::Table>,
    /// Published figures and invariants that `watari verify` checks.
    #[serde(default)]
    pub expect: Vec<ExpectFile>,
    /// How far measurements may be from the simulation: a table for a column of the record.
    #[serde(default)]
    pub tolerance: Named<ToleranceFile>,
}

/// How often each case is run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicationsFile {
    /// Replications of every case.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: u32,
    /// Level of the confidence intervals.
    #[schemars(range(min = 0.5, max = 0.999))]
    pub confidence: f64,
}

impl Default for ReplicationsFile {
    fn default() -> Self {
        Self {
            count: 1,
            confidence: 0.95,
        }
    }
}

/// A place where hosts, gateways and clients stand.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteFile {
    /// Name for people.
    #[serde(default)]
    pub title: String,
}

/// A full-duplex link between two sites.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkFile {
    /// The two sites.
    pub between: [String; 2],
    /// Round-trip propagation time; give this or `delay`.
    pub rtt: Option<Span>,
    /// One-way propagation delay; give this or `rtt`.
    pub delay: Option<Span>,
    /// Rate in each direction.
    pub rate: BitRate,
    /// Probability that a packet is lost, each direction.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub loss: f64,
    /// Buffer in front of the link, each direction.
    #[serde(default = "defaults::queue")]
    pub queue: Bytes,
    /// Largest IP packet.
    #[serde(default = "defaults::mtu")]
    pub mtu: Bytes,
    /// Bytes a packet costs on the link beside its IP packet (Ethernet: 14 as netem counts, 38 on the wire).
    #[serde(default)]
    pub framing: Bytes,
}

/// A VPN gateway.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayFile {
    /// Site it stands at.
    pub site: String,
}

/// A physical machine and how fast it handles images.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostFile {
    /// Site it stands at.
    pub site: String,
    /// Encryption of an image, file to file.
    #[serde(default = "defaults::cipher")]
    pub encrypt: ByteRate,
    /// Decryption of an image, file to file.
    #[serde(default = "defaults::cipher")]
    pub decrypt: ByteRate,
    /// Compression of an image, counted in bytes of the image.
    #[serde(default = "defaults::compress")]
    pub compress: ByteRate,
    /// Decompression of an image, counted in bytes of the image.
    #[serde(default = "defaults::decompress")]
    pub decompress: ByteRate,
    /// Scan of guest memory that turns out to be all zero.
    #[serde(default = "defaults::zero_scan")]
    pub zero_scan: ByteRate,
}

/// A virtual machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmFile {
    /// Host it runs on at the start.
    pub host: String,
    /// Guest memory.
    pub memory: Bytes,
    /// Disk image.
    #[serde(default)]
    pub disk: Bytes,
    /// Share of memory pages that hold only zeros.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub zero: f64,
    /// Size of the compressed disk image divided by that of the image.
    #[serde(default = "defaults::one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub compressed: f64,
    /// State of virtual devices and processors, sent while the VM is stopped.
    #[serde(default = "defaults::device_state")]
    pub device_state: Bytes,
    /// From the order to suspend until the guest has stopped.
    #[serde(default)]
    pub suspend: Span,
    /// Pages the guest writes while it suspends itself.
    #[serde(default)]
    pub suspend_pages: u32,
    /// From the last byte at the target until the guest runs there.
    #[serde(default)]
    pub resume: Span,
    /// Shut-down of the guest.
    #[serde(default)]
    pub shutdown: Span,
    /// Boot of the guest until its services run.
    #[serde(default)]
    pub boot: Span,
    /// How the guest writes to its memory.
    pub dirty: Option<DirtyFile>,
    /// Bytes of a page that a write to it changes, always the same ones; what XBZRLE saves
    /// depends on it.
    #[serde(default = "defaults::dirty_change")]
    pub dirty_change: Bytes,
    /// Coefficient of variation of the write rate between replications.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub dirty_variation: f64,
}

/// How a guest writes to its memory.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DirtyFile {
    /// One rate over one working set.
    Constant(ConstantFile),
    /// A small set written fast and the rest written slowly.
    HotCold(HotColdFile),
    /// Writes that follow Zipf's law over the pages of the working set.
    Zipf(ZipfFile),
    /// Phases read from a CSV file.
    Trace(TraceFile),
}

/// One rate over one working set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConstantFile {
    /// Bytes of pages written a second.
    pub rate: ByteRate,
    /// Memory that is written to; all of it by default.
    pub working_set: Option<Bytes>,
    /// In which order pages are written.
    #[serde(default = "defaults::sequential")]
    pub pattern: PatternFile,
}

/// A small set written fast and the rest written slowly.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HotColdFile {
    /// Size of the hot set.
    pub hot: Bytes,
    /// Bytes of pages written a second in the hot set.
    pub hot_rate: ByteRate,
    /// Bytes of pages written a second in the rest of memory.
    #[serde(default)]
    pub cold_rate: ByteRate,
    /// In which order pages are written.
    #[serde(default = "defaults::random")]
    pub pattern: PatternFile,
}

/// Writes that follow Zipf's law.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZipfFile {
    /// Bytes of pages written a second.
    pub rate: ByteRate,
    /// Exponent; 0 writes all pages alike.
    #[schemars(range(min = 0.0, max = 3.0))]
    pub skew: f64,
    /// Memory that is written to; all of it by default.
    pub working_set: Option<Bytes>,
}

/// Phases read from a CSV file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceFile {
    /// File beside the scenario with the columns `start_s,rate_mib_s,working_set_mib`.
    pub file: String,
    /// In which order pages are written.
    #[serde(default = "defaults::random")]
    pub pattern: PatternFile,
}

/// In which order pages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PatternFile {
    /// Round and round: no page twice before every page once.
    Sequential,
    /// Each write hits any page with the same probability.
    Random,
}

/// How TCP is configured for a kind of connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransportFile {
    /// Congestion control.
    #[serde(default = "defaults::cubic")]
    pub congestion: CongestionFile,
    /// Leave slow start when the queue starts to grow (CUBIC only).
    #[serde(default = "defaults::yes")]
    pub hystart: bool,
    /// First window in segments.
    #[serde(default = "defaults::initial_window")]
    #[schemars(range(min = 1, max = 1000))]
    pub initial_window: u32,
    /// Largest window the receiver offers.
    #[serde(default = "defaults::receive_window")]
    pub receive_window: Bytes,
    /// Largest amount of unacknowledged data the sender keeps.
    #[serde(default = "defaults::send_buffer")]
    pub send_buffer: Bytes,
    /// Window of an ssh channel on top of TCP: 2 MiB in OpenSSH since 4.7, 128 KiB before.
    pub channel_window: Option<Bytes>,
    /// TCP timestamps: 12 bytes a packet.
    #[serde(default = "defaults::yes")]
    pub timestamps: bool,
    /// Round trips until the connection carries data: 1 for TCP, about 7 for ssh.
    #[serde(default = "defaults::one")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub setup_round_trips: f64,
    /// Processing until the connection carries data, beside the round trips.
    #[serde(default)]
    pub setup_time: Span,
    /// Smallest retransmission time-out.
    #[serde(default = "defaults::min_rto")]
    pub min_rto: Span,
    /// Largest retransmission time-out.
    #[serde(default = "defaults::max_rto")]
    pub max_rto: Span,
    /// Time-outs in a row after which TCP gives up (Linux: `tcp_retries2`).
    #[serde(default = "defaults::retries")]
    #[schemars(range(min = 1, max = 100))]
    pub retries: u32,
    /// Send a tail loss probe before the retransmission timer (RFC 8985; Linux since 3.10).
    #[serde(default = "defaults::yes")]
    pub tail_loss_probe: bool,
    /// Rate the application holds itself to.
    pub max_rate: Option<BitRate>,
}

/// Congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CongestionFile {
    /// RFC 9438.
    Cubic,
    /// RFC 5681.
    Reno,
    /// No TCP at all: every byte moves at the link's rate from the start, without headers.
    Fluid,
}

/// An IPsec or WireGuard tunnel.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TunnelFile {
    /// ESP mode, or WireGuard.
    pub mode: ModeFile,
    /// Cipher; WireGuard has but one, and needs none here.
    pub cipher: Option<CipherFile>,
    /// Integrity algorithm; leave it out with an AEAD cipher.
    pub integrity: Option<IntegrityFile>,
    /// ESP in UDP, for paths with NAT.
    #[serde(default)]
    pub nat_traversal: bool,
    /// Key exchange.
    #[serde(default = "defaults::no_ike")]
    pub ike: IkeFile,
    /// Computation of both ends in IKE phase 1 (IKEv2: `IKE_SA_INIT` and `IKE_AUTH`).
    #[serde(default)]
    pub phase1_time: Span,
    /// Computation of both ends in IKE phase 2 (quick mode).
    #[serde(default)]
    pub phase2_time: Span,
    /// An IKE exchange with a gateway that does not answer is given up after this time.
    #[serde(default = "defaults::connect_timeout")]
    pub connect_timeout: Span,
    /// Encryption and decryption rate of an end; binds only where it is lower than the link.
    pub throughput: Option<BitRate>,
    /// Serial processing of a packet at the client (virtual machine monitor).
    #[serde(default)]
    pub packet_time: Span,
    /// Site of the client; needed with `gateways`.
    pub client: Option<String>,
    /// Gateways in the order in which the client tries them; none for a tunnel from host to host.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// How the client finds out that its gateway is dead.
    pub detection: Option<DetectionFile>,
    /// Hide the change of address behind a packet relay.
    pub relay: Option<RelayFile>,
}

/// ESP mode, or another kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModeFile {
    /// The IP header of the packet stays in front.
    Transport,
    /// The whole packet is wrapped in a new one.
    Tunnel,
    /// No ESP: WireGuard, whose key exchange is implied.
    Wireguard,
}

/// ESP cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum CipherFile {
    #[serde(rename = "aes128-cbc")]
    Aes128Cbc,
    #[serde(rename = "aes256-cbc")]
    Aes256Cbc,
    #[serde(rename = "3des-cbc")]
    TripleDesCbc,
    #[serde(rename = "aes128-gcm")]
    Aes128Gcm,
    #[serde(rename = "aes256-gcm")]
    Aes256Gcm,
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
    #[serde(rename = "null")]
    Null,
}

/// ESP integrity algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum IntegrityFile {
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
    #[serde(rename = "hmac-md5")]
    HmacMd5,
}

/// Key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IkeFile {
    /// Keys set by hand.
    None,
    /// Main mode and quick mode: 9 messages.
    Ikev1Main,
    /// Aggressive mode and quick mode: 6 messages.
    Ikev1Aggressive,
    /// RFC 7296: 4 messages.
    Ikev2,
    /// WireGuard's handshake: 2 messages. Implied by `mode = "wireguard"`.
    Wireguard,
}

/// How the client finds out that its gateway is dead.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DetectionFile {
    /// Echo requests; dead when none was answered for a multiple of the time-out.
    Probe(ProbeFile),
    /// Dead peer detection of strongSwan.
    Strongswan(StrongswanFile),
    /// Dead peer detection of libreswan.
    Libreswan(LibreswanFile),
}

/// Echo requests through the tunnel.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeFile {
    /// Time between two requests.
    pub interval: Span,
    /// Dead after this multiple of the retransmission time-out without an answer.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub rto_multiple: f64,
    /// Smallest retransmission time-out (RFC 2988: 1 s).
    #[serde(default = "defaults::one_second")]
    pub min_rto: Span,
}

/// Dead peer detection of strongSwan: after `dpd_delay` without traffic a
/// request, sent again after `timeout * base^n`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrongswanFile {
    /// Silence before a request.
    pub dpd_delay: Span,
    /// `charon.retransmit_timeout`.
    #[serde(default = "defaults::strongswan_timeout")]
    pub timeout: Span,
    /// `charon.retransmit_base`.
    #[serde(default = "defaults::strongswan_base")]
    #[schemars(range(min = 1.0, max = 10.0))]
    pub base: f64,
    /// `charon.retransmit_tries`.
    #[serde(default = "defaults::strongswan_tries")]
    #[schemars(range(min = 0, max = 100))]
    pub tries: u32,
}

/// Dead peer detection of libreswan: after `dpd_delay` without traffic a
/// request, sent again after an interval that doubles, until the time-out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LibreswanFile {
    /// Silence before a request.
    pub dpd_delay: Span,
    /// First interval between two requests.
    #[serde(default = "defaults::libreswan_interval")]
    pub retransmit_interval: Span,
    /// Dead at the first retransmission due this long after the first request.
    #[serde(default = "defaults::libreswan_timeout")]
    pub retransmit_timeout: Span,
}

/// Packet relay: IP in IP between a relay client and a relay server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayFile {
    /// Forwarding of a packet by the relay server, each direction.
    #[serde(default)]
    pub latency: Span,
}

/// A bulk TCP flow.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficFile {
    /// Site of the sender.
    pub from: String,
    /// Site of the receiver.
    pub to: String,
    /// TCP configuration.
    pub transport: String,
    /// Tunnel it goes through.
    pub tunnel: Option<String>,
    /// When it starts.
    #[serde(default)]
    pub start: Span,
    /// When it stops; at the end of the case by default.
    pub stop: Option<Span>,
    /// Bytes to send; without end by default.
    pub size: Option<Bytes>,
}

/// Something that happens at an instant. Give `at` or `after`, and one of the
/// other keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionFile {
    /// When, from the start.
    pub at: Option<Span>,
    /// When, drawn from a distribution.
    pub after: Option<DistributionFile>,
    /// Move a virtual machine.
    pub migrate: Option<MigrateFile>,
    /// A gateway or link stops working.
    pub fail: Option<ElementFile>,
    /// A gateway or link works again.
    pub repair: Option<ElementFile>,
}

/// A distribution of spans.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DistributionFile {
    /// Memoryless.
    Exponential(ExponentialFile),
    /// All spans between two bounds alike.
    Uniform(UniformFile),
    /// Wear-out (shape > 1) or early failures (shape < 1).
    Weibull(WeibullFile),
}

/// Exponential distribution.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExponentialFile {
    /// Mean.
    pub mean: Span,
}

/// Uniform distribution.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniformFile {
    /// Lower bound.
    pub low: Span,
    /// Upper bound.
    pub high: Span,
}

/// Weibull distribution.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeibullFile {
    /// Scale: 63 % of the spans are shorter.
    pub scale: Span,
    /// Shape.
    #[schemars(range(min = 0.1, max = 20.0))]
    pub shape: f64,
}

/// Move a virtual machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrateFile {
    /// Which one.
    pub vm: String,
    /// Host it goes to.
    pub to: String,
    /// How.
    pub method: MethodFile,
    /// TCP configuration.
    pub transport: String,
    /// Tunnel it goes through.
    pub tunnel: Option<String>,
    /// What ends pre-copy; needed with `method = "pre-copy"`. With `method = "post-copy"` it may
    /// give QEMU's parameters.
    pub stop_rule: Option<StopRuleFile>,
    /// Give the migration up after this time.
    #[serde(default = "defaults::time_limit")]
    pub time_limit: Span,
}

/// Migration method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MethodFile {
    /// Copy memory in rounds while the guest runs, then stop it and copy the rest.
    PreCopy,
    /// Stop the guest, copy its memory, run it at the target.
    StopAndCopy,
    /// Copy memory once while the guest runs, move its state, run it at the target, and copy
    /// what it wrote to meanwhile (QEMU).
    PostCopy,
    /// Shut down, encrypt the whole image, copy it, decrypt, boot.
    EncryptedImage,
    /// Shut down, compress the image, encrypt, copy, decrypt, decompress, boot.
    CompressedImage,
}

/// What ends pre-copy.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum StopRuleFile {
    /// Xen before 4.6: 29 rounds, fewer than 50 pages, or three times the memory sent.
    #[serde(rename = "xen-4.0")]
    Xen40,
    /// Xen 4.6 and later: 5 rounds, or at most 50 pages.
    #[serde(rename = "xen-4.6")]
    Xen46,
    /// QEMU: what is left takes less than the downtime limit at the bandwidth seen.
    #[serde(rename = "qemu")]
    Qemu(QemuFile),
    /// SimGrid's plug-in: QEMU's rule of 2013, a round trip charged a round.
    #[serde(rename = "simgrid")]
    Simgrid(SimgridFile),
}

/// Parameters of QEMU's migration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QemuFile {
    /// `downtime-limit`.
    pub downtime_limit: Span,
    /// `max-bandwidth`.
    pub max_bandwidth: ByteRate,
    /// Send what changed of a page instead of the page, where its last content is in a cache.
    pub xbzrle: Option<XbzrleFile>,
    /// Send pages over several TCP connections.
    pub multifd: Option<MultifdFile>,
    /// Slow the guest down when it dirties pages too fast.
    pub auto_converge: bool,
    /// `throttle-trigger-threshold` in percent.
    #[schemars(range(min = 1, max = 100))]
    pub throttle_trigger: u32,
    /// `cpu-throttle-initial` in percent.
    #[schemars(range(min = 1, max = 99))]
    pub throttle_initial: u32,
    /// `cpu-throttle-increment` in percent.
    #[schemars(range(min = 1, max = 99))]
    pub throttle_increment: u32,
    /// `max-cpu-throttle` in percent.
    #[schemars(range(min = 1, max = 99))]
    pub throttle_max: u32,
}

impl Default for QemuFile {
    /// The defaults of QEMU's `migration/options.c`.
    fn default() -> Self {
        Self {
            downtime_limit: Span::from_millis(300),
            max_bandwidth: ByteRate::from_bytes_per_second(128 << 20),
            xbzrle: None,
            multifd: None,
            auto_converge: false,
            throttle_trigger: 50,
            throttle_initial: 20,
            throttle_increment: 10,
            throttle_max: 99,
        }
    }
}

/// Parameters of XBZRLE.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct XbzrleFile {
    /// `xbzrle-cache-size`: a power of two.
    pub cache: Bytes,
}

impl Default for XbzrleFile {
    /// The default of QEMU's `migration/options.c`.
    fn default() -> Self {
        Self {
            cache: Bytes::new(64 << 20),
        }
    }
}

/// Parameters of multifd.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MultifdFile {
    /// `multifd-channels`.
    #[schemars(range(min = 1, max = 255))]
    pub channels: u32,
}

impl Default for MultifdFile {
    /// The default of QEMU's `migration/options.c`.
    fn default() -> Self {
        Self { channels: 2 }
    }
}

/// Parameters of SimGrid's plug-in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SimgridFile {
    /// Downtime it aims at.
    pub max_downtime: Span,
}

impl Default for SimgridFile {
    fn default() -> Self {
        Self {
            max_downtime: Span::from_millis(30),
        }
    }
}

/// A gateway or a link.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ElementFile {
    /// A VPN gateway.
    Gateway(String),
    /// A link.
    Link(String),
}

/// A published figure or an invariant. Give one of the quantities and at least
/// one bound: `equals` with `within` or `within_percent`, or `min`, or `max`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectFile {
    /// What is claimed, in words.
    pub claim: String,
    /// Where it is published, in words.
    pub source: String,
    /// Whether the figure was used to set a parameter of the scenario.
    pub basis: BasisFile,
    /// What is looked at.
    pub quantity: QuantityFile,
    /// The published value, in the unit of the measure.
    pub equals: Option<f64>,
    /// Largest distance from `equals`, in the unit of the measure.
    #[schemars(range(min = 0.0))]
    pub within: Option<f64>,
    /// Largest distance from `equals`, in percent of it.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub within_percent: Option<f64>,
    /// Smallest value allowed, in the unit of the measure.
    pub min: Option<f64>,
    /// Largest value allowed, in the unit of the measure.
    pub max: Option<f64>,
}

/// How far a measured value may be from the simulated one: at least one bound;
/// of two the wider one holds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToleranceFile {
    /// Share of the measured value: 0.05 is 5 %.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub relative: Option<f64>,
    /// Distance: a quantity such as "30ms", or a number in the unit of the measure.
    #[serde(default)]
    #[schemars(schema_with = "distance")]
    pub absolute: Option<toml::Value>,
}

/// A text or a number: which one is right depends on the measure.
fn distance(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "examples": ["30ms", 2] })
}

/// Whether a figure was used to set a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BasisFile {
    /// A parameter was set so that this figure comes out.
    Calibrated,
    /// The scenario never saw this figure.
    Predicted,
    /// Follows from the code or standard that is modelled.
    Exact,
}

/// What an expectation looks at. `case` is a full case id, or the part of it
/// that picks the cases.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum QuantityFile {
    /// A measure at a case.
    Value(ValueFile),
    /// A measure at a case divided by the same measure at another.
    Ratio(PairFile),
    /// A measure at a case minus the same measure at another.
    Difference(PairFile),
    /// Relative loss against another case in percent: `100 * (1 - case / to)`.
    Loss(PairFile),
    /// Where along an axis one case gets below another, in the unit of the axis labels.
    Crossover(AlongFile),
    /// Coefficient of determination of a straight line along an axis.
    Linearity(AlongFile),
    /// Largest step up along an axis; at most 0 for a quantity that falls.
    LargestRise(AlongFile),
}

/// A measure at a case.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueFile {
    /// Column of the record.
    pub measure: String,
    /// Case id, for example `rtt=20ms,method=diff`; `base` without a sweep.
    #[serde(default = "defaults::base")]
    pub case: String,
    /// Over the replications.
    #[serde(default = "defaults::mean")]
    pub statistic: StatisticFile,
}

/// The same measure at two cases.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairFile {
    /// Column of the record.
    pub measure: String,
    /// Case id.
    pub case: String,
    /// Case id it is compared with.
    pub to: String,
    /// Over the replications.
    #[serde(default = "defaults::mean")]
    pub statistic: StatisticFile,
}

/// A measure along an axis of the sweep.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlongFile {
    /// Column of the record.
    pub measure: String,
    /// Axis of the sweep.
    pub axis: String,
    /// The other axes of the cases, for example `method=diff`.
    #[serde(default)]
    pub case: String,
    /// The other axes of the cases it is compared with; the quantity becomes the ratio.
    pub to: Option<String>,
    /// First label of the axis to use.
    pub from: Option<String>,
}

/// Over the replications of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum StatisticFile {
    Mean,
    Median,
    Min,
    Max,
}

mod defaults {
    use super::{CongestionFile, IkeFile, PatternFile, StatisticFile};
    use crate::units::{ByteRate, Bytes, Span};

    const MIB: u64 = 1 << 20;

    pub(super) fn until() -> Span {
        Span::from_secs(24 * 3600)
    }
    /// A common switch buffer; long fat links want more.
    pub(super) fn queue() -> Bytes {
        Bytes::new(MIB)
    }
    pub(super) fn mtu() -> Bytes {
        Bytes::new(1500)
    }
    /// `openssl enc` on one core of a current machine, file to file.
    pub(super) fn cipher() -> ByteRate {
        ByteRate::from_bytes_per_second(400_000_000)
    }
    /// `gzip -6` on one core.
    pub(super) fn compress() -> ByteRate {
        ByteRate::from_bytes_per_second(60_000_000)
    }
    /// `gunzip` on one core.
    pub(super) fn decompress() -> ByteRate {
        ByteRate::from_bytes_per_second(250_000_000)
    }
    /// One core reading memory at a few GB/s.
    pub(super) fn zero_scan() -> ByteRate {
        ByteRate::from_bytes_per_second(4_000_000_000)
    }
    pub(super) fn one() -> f64 {
        1.0
    }
    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn device_state() -> Bytes {
        Bytes::new(MIB)
    }
    /// A word.
    pub(super) fn dirty_change() -> Bytes {
        Bytes::new(8)
    }
    pub(super) fn sequential() -> PatternFile {
        PatternFile::Sequential
    }
    pub(super) fn random() -> PatternFile {
        PatternFile::Random
    }
    pub(super) fn cubic() -> CongestionFile {
        CongestionFile::Cubic
    }
    /// RFC 6928.
    pub(super) fn initial_window() -> u32 {
        10
    }
    /// Linux `tcp_rmem` maximum.
    pub(super) fn receive_window() -> Bytes {
        Bytes::new(6 * MIB)
    }
    /// Linux `tcp_wmem` maximum.
    pub(super) fn send_buffer() -> Bytes {
        Bytes::new(4 * MIB)
    }
    /// Linux `TCP_RTO_MIN`.
    pub(super) fn min_rto() -> Span {
        Span::from_millis(200)
    }
    /// Linux `TCP_RTO_MAX`.
    pub(super) fn max_rto() -> Span {
        Span::from_secs(120)
    }
    /// Linux `tcp_retries2`.
    pub(super) fn retries() -> u32 {
        15
    }
    /// Connect time-out of BitVisor's VPN module.
    pub(super) fn connect_timeout() -> Span {
        Span::from_secs(5)
    }
    pub(super) fn no_ike() -> IkeFile {
        IkeFile::None
    }
    /// RFC 2988.
    pub(super) fn one_second() -> Span {
        Span::from_secs(1)
    }
    pub(super) fn strongswan_timeout() -> Span {
        Span::from_secs(4)
    }
    pub(super) fn strongswan_base() -> f64 {
        1.8
    }
    pub(super) fn strongswan_tries() -> u32 {
        5
    }
    pub(super) fn libreswan_interval() -> Span {
        Span::from_millis(500)
    }
    pub(super) fn libreswan_timeout() -> Span {
        Span::from_secs(60)
    }
    pub(super) fn time_limit() -> Span {
        Span::from_secs(6 * 3600)
    }
    pub(super) fn base() -> String {
        "base".to_owned()
    }
    pub(super) fn mean() -> StatisticFile {
        StatisticFile::Mean
    }
}
