//! The record: one flat row a case and replication, the same columns from
//! `run` and from `emulate`.
//!
//! Two tables in this file are the single source of the columns, of their
//! order and of `results/FORMAT.md`: [`PARAMETERS`] and [`MEASURES`]. Unknown
//! is an empty cell, never 0, and a failed case is a row with `error` filled.

use std::fmt::Write as _;
use std::io;

/// Which half of watari produced a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// The discrete-event simulator.
    Simulated,
    /// Real kernels and real virtual machines.
    Emulated,
}

impl Backend {
    /// The word in the `backend` column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Emulated => "emulated",
        }
    }
}

/// One column that identifies a case or repeats one of its parameters.
#[derive(Clone, Copy, Debug)]
pub struct ParameterInfo {
    /// Column name, unit last.
    pub name: &'static str,
    /// What it means, a sentence fragment.
    pub meaning: &'static str,
}

/// Parameter columns in the order of the file.
pub const PARAMETERS: [ParameterInfo; 12] = [
    parameter(
        "clock",
        "what times are measured with: `simulated`, `virtual` (the lab's emulated clock) or `real`",
    ),
    parameter(
        "method",
        "migration method of the scenario's first migration",
    ),
    parameter("stop_rule", "rule that ends pre-copy"),
    parameter("tunnel", "mode and ciphers of the tunnel, or `none`"),
    parameter("gateway", "VPN gateway in use at the start"),
    parameter(
        "rtt_ms",
        "round-trip time of the path, without queues and processing",
    ),
    parameter("rate_mbit_s", "rate of the slowest link of the path"),
    parameter("loss_percent", "packet loss of the path"),
    parameter("memory_mib", "guest memory"),
    parameter("disk_mib", "disk image"),
    parameter(
        "dirty_mib_s",
        "rate of the guest's page writes, before overlaps",
    ),
    parameter("working_set_mib", "memory the guest writes to"),
];

const fn parameter(name: &'static str, meaning: &'static str) -> ParameterInfo {
    ParameterInfo { name, meaning }
}

/// Values of the parameter columns; `None` where a parameter does not apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// What times are measured with.
    pub clock: Option<String>,
    /// Migration method.
    pub method: Option<String>,
    /// Rule that ends pre-copy.
    pub stop_rule: Option<String>,
    /// Mode and ciphers of the tunnel.
    pub tunnel: Option<String>,
    /// VPN gateway in use at the start.
    pub gateway: Option<String>,
    /// Round-trip time of the path.
    pub rtt_ms: Option<f64>,
    /// Rate of the slowest link.
    pub rate_mbit_s: Option<f64>,
    /// Packet loss of the path.
    pub loss_percent: Option<f64>,
    /// Guest memory.
    pub memory_mib: Option<f64>,
    /// Disk image.
    pub disk_mib: Option<f64>,
    /// Rate of page writes.
    pub dirty_mib_s: Option<f64>,
    /// Memory the guest writes to.
    pub working_set_mib: Option<f64>,
}

impl Params {
    fn cells(&self) -> [String; PARAMETERS.len()] {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| decimal(v, 3));
        [
            text(&self.clock),
            text(&self.method),
            text(&self.stop_rule),
            text(&self.tunnel),
            text(&self.gateway),
            number(self.rtt_ms),
            number(self.rate_mbit_s),
            number(self.loss_percent),
            number(self.memory_mib),
            number(self.disk_mib),
            number(self.dirty_mib_s),
            number(self.working_set_mib),
        ]
    }

    fn from_cells(cells: &[&str]) -> Result<Self, ReadError> {
        let text = |i: usize| (!cells[i].is_empty()).then(|| cells[i].to_owned());
        let number = |i: usize| parse_cell(PARAMETERS[i].name, cells[i]);
        Ok(Self {
            clock: text(0),
            method: text(1),
            stop_rule: text(2),
            tunnel: text(3),
            gateway: text(4),
            rtt_ms: number(5)?,
            rate_mbit_s: number(6)?,
            loss_percent: number(7)?,
            memory_mib: number(8)?,
            disk_mib: number(9)?,
            dirty_mib_s: number(10)?,
            working_set_mib: number(11)?,
        })
    }
}

/// A measured quantity. The discriminant is the index into [`MEASURES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "MEASURES documents each variant, and FORMAT.md prints it"
)]
pub enum Measure {
    TotalTime,
    Downtime,
    Blackout,
    BytesSent,
    WireBytes,
    Rounds,
    PagesSent,
    PagesSkipped,
    DuplicatePages,
    Throttle,
    PhaseShutdown,
    PhaseCompress,
    PhaseEncrypt,
    PhaseConnect,
    PhasePreCopy,
    PhaseSuspend,
    PhaseStopAndCopy,
    PhaseTransfer,
    PhaseDecrypt,
    PhaseDecompress,
    PhaseBoot,
    PhaseResume,
    PhasePostCopy,
    Throughput,
    Latency,
    Mss,
    FailoverDetect,
    FailoverReconnect,
    IkePhase1,
    IkePhase2,
    FailoverResume,
    FailoverRecover,
    TcpSurvived,
    TcpAbort,
    RetransmissionRung,
    Availability,
    MemoryPagesWrong,
    LinkRtt,
    LinkRate,
    LinkLoss,
}

/// What a measure column means.
#[derive(Clone, Copy, Debug)]
pub struct MeasureInfo {
    /// The measure.
    pub measure: Measure,
    /// Column name, unit last.
    pub name: &'static str,
    /// Unit in words.
    pub unit: &'static str,
    /// Event at which the measure starts, or what is counted.
    pub start: &'static str,
    /// Event at which it ends; empty for counts.
    pub end: &'static str,
    /// Digits after the point in the CSV.
    pub decimals: usize,
}

const fn time(
    measure: Measure,
    name: &'static str,
    start: &'static str,
    end: &'static str,
) -> MeasureInfo {
    MeasureInfo {
        measure,
        name,
        unit: "ms",
        start,
        end,
        decimals: 3,
    }
}

const fn count(
    measure: Measure,
    name: &'static str,
    unit: &'static str,
    start: &'static str,
) -> MeasureInfo {
    MeasureInfo {
        measure,
        name,
        unit,
        start,
        end: "",
        decimals: 0,
    }
}

const fn level(
    measure: Measure,
    name: &'static str,
    unit: &'static str,
    start: &'static str,
    end: &'static str,
) -> MeasureInfo {
    MeasureInfo {
        measure,
        name,
        unit,
        start,
        end,
        decimals: 6,
    }
}

/// Measure columns in the order of the file.
pub const MEASURES: [MeasureInfo; 40] = [
    time(
        Measure::TotalTime,
        "total_time_ms",
        "the migration is asked for",
        "the VM runs at the target (of several migrations: first start to last end)",
    ),
    time(
        Measure::Downtime,
        "downtime_ms",
        "the VM stops running at the source",
        "it runs at the target (of several migrations: the longest)",
    ),
    time(
        Measure::Blackout,
        "blackout_ms",
        "last byte a peer received from the guest before the gap",
        "first byte after it: the longest such gap",
    ),
    count(
        Measure::BytesSent,
        "bytes_sent",
        "byte",
        "bytes the migration handed to TCP",
    ),
    count(
        Measure::WireBytes,
        "wire_bytes",
        "byte",
        "bytes on the links, with TCP, IP and ESP headers, framing and retransmissions (fluid transports: the payload)",
    ),
    count(
        Measure::Rounds,
        "rounds",
        "round",
        "copy rounds, the one with the VM stopped included",
    ),
    count(
        Measure::PagesSent,
        "pages_sent",
        "page of 4 KiB",
        "memory pages sent, repeats included",
    ),
    count(
        Measure::PagesSkipped,
        "pages_skipped",
        "page of 4 KiB",
        "pages left for a later round as they were dirtied again before their turn",
    ),
    count(
        Measure::DuplicatePages,
        "duplicate_pages",
        "page of 4 KiB",
        "zero pages that QEMU sent as a header and a byte",
    ),
    count(
        Measure::Throttle,
        "throttle_percent",
        "%",
        "highest share of vCPU time taken away",
    ),
    time(
        Measure::PhaseShutdown,
        "phase_shutdown_ms",
        "shut-down is asked for",
        "the guest is off",
    ),
    time(
        Measure::PhaseCompress,
        "phase_compress_ms",
        "first byte read",
        "last byte written",
    ),
    time(
        Measure::PhaseEncrypt,
        "phase_encrypt_ms",
        "first byte read",
        "last byte written",
    ),
    time(
        Measure::PhaseConnect,
        "phase_connect_ms",
        "first packet of the connection (TCP, and ssh where used; the tunnel stands)",
        "it can carry data",
    ),
    time(
        Measure::PhasePreCopy,
        "phase_pre_copy_ms",
        "first page sent",
        "the VM is told to stop",
    ),
    time(
        Measure::PhaseSuspend,
        "phase_suspend_ms",
        "the VM is told to stop",
        "it has stopped",
    ),
    time(
        Measure::PhaseStopAndCopy,
        "phase_stop_and_copy_ms",
        "the VM has stopped",
        "the target has the last byte of its state",
    ),
    time(
        Measure::PhaseTransfer,
        "phase_transfer_ms",
        "first byte of the image sent",
        "the target has the last one",
    ),
    time(
        Measure::PhaseDecrypt,
        "phase_decrypt_ms",
        "first byte read",
        "last byte written",
    ),
    time(
        Measure::PhaseDecompress,
        "phase_decompress_ms",
        "first byte read",
        "last byte written",
    ),
    time(
        Measure::PhaseBoot,
        "phase_boot_ms",
        "power on",
        "the guest's services run",
    ),
    time(
        Measure::PhaseResume,
        "phase_resume_ms",
        "the target has all state",
        "the VM runs",
    ),
    time(
        Measure::PhasePostCopy,
        "phase_post_copy_ms",
        "the VM's state is sent (while it resumes, post-copy goes on)",
        "the target has the last page",
    ),
    level(
        Measure::Throughput,
        "throughput_mbit_s",
        "Mbit/s",
        "payload bits delivered by the migrations, or by the flows where there are none",
        "divided by the time in which at least one was sending",
    ),
    time(
        Measure::Latency,
        "latency_ms",
        "an echo request leaves the guest",
        "its reply arrives",
    ),
    count(
        Measure::Mss,
        "mss_bytes",
        "byte",
        "TCP payload of a full packet on the path",
    ),
    time(
        Measure::FailoverDetect,
        "failover_detect_ms",
        "the gateway fails",
        "the client declares it dead",
    ),
    time(
        Measure::FailoverReconnect,
        "failover_reconnect_ms",
        "the client declares the gateway dead",
        "the tunnel to the next gateway can carry data",
    ),
    time(
        Measure::IkePhase1,
        "ike_phase1_ms",
        "first IKE packet to the next gateway",
        "the IKE association stands",
    ),
    time(
        Measure::IkePhase2,
        "ike_phase2_ms",
        "the IKE association stands",
        "the child stands",
    ),
    time(
        Measure::FailoverResume,
        "failover_resume_ms",
        "the gateway fails",
        "the first retransmission gets through",
    ),
    time(
        Measure::FailoverRecover,
        "failover_recover_ms",
        "the gateway fails",
        "goodput is back at 90 % of its level before the failure",
    ),
    count(
        Measure::TcpSurvived,
        "tcp_survived",
        "1 or 0",
        "the connection that was open at the failure carried data after it",
    ),
    time(
        Measure::TcpAbort,
        "tcp_abort_ms",
        "first transmission of the oldest unanswered byte",
        "TCP gives the connection up",
    ),
    count(
        Measure::RetransmissionRung,
        "retransmission_rung",
        "time-out",
        "time-outs of the retransmission timer after the first failure, up to the one whose retransmission got through",
    ),
    level(
        Measure::Availability,
        "availability",
        "1",
        "time the service could be reached",
        "divided by the time observed",
    ),
    count(
        Measure::MemoryPagesWrong,
        "memory_pages_wrong",
        "page of 4 KiB",
        "pages whose content at the target is not what the guest wrote; 0 says that all were checked",
    ),
    time(
        Measure::LinkRtt,
        "link_rtt_ms",
        "an echo request leaves on the idle path before the case (emulated only)",
        "its reply arrives",
    ),
    level(
        Measure::LinkRate,
        "link_rate_mbit_s",
        "Mbit/s",
        "TCP payload delivered on the idle path before the case (emulated only)",
        "divided by the time it took",
    ),
    level(
        Measure::LinkLoss,
        "link_loss_percent",
        "%",
        "packets lost on the idle path before the case (emulated only)",
        "divided by the packets sent",
    ),
];

impl Measure {
    /// The measure with this column name.
    pub fn by_name(name: &str) -> Option<Self> {
        MEASURES
            .iter()
            .find(|info| info.name == name)
            .map(|info| info.measure)
    }

    /// The column's description.
    pub fn info(self) -> &'static MeasureInfo {
        &MEASURES[self as usize]
    }
}

/// The measured values of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Values([Option<f64>; MEASURES.len()]);

impl Default for Values {
    fn default() -> Self {
        Self([None; MEASURES.len()])
    }
}

impl Values {
    /// The value, or `None` where it is unknown or does not apply.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        self.0[measure as usize]
    }

    /// Sets a value.
    ///
    /// # Panics
    /// If the value is not finite: a bug in a model.
    pub fn set(&mut self, measure: Measure, value: f64) {
        assert!(
            value.is_finite(),
            "{} must be finite, got {value}",
            measure.info().name
        );
        self.0[measure as usize] = Some(value);
    }
}

/// One case and replication.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Scenario name.
    pub scenario: String,
    /// First 12 hexadecimal digits of the SHA-256 of the scenario file.
    pub scenario_hash: String,
    /// Point of the sweep, `axis=label` joined by commas; `base` without a sweep.
    pub case: String,
    /// Replication, from 0.
    pub replication: u32,
    /// Master seed.
    pub seed: u64,
    /// Which half produced the row.
    pub backend: Backend,
    /// The parameters of the case.
    pub params: Params,
    /// Why there are no numbers, or `None`.
    pub error: Option<String>,
    /// The measured values.
    pub values: Values,
}

impl Row {
    /// The label of a sweep axis at this case: `axis("rtt")` of
    /// `rtt=20ms,method=diff` is `20ms`.
    pub fn axis(&self, name: &str) -> Option<&str> {
        axis(&self.case, name)
    }
}

/// The label of axis `name` in a case id such as `rtt=20ms,method=diff`.
pub fn axis<'a>(case: &'a str, name: &str) -> Option<&'a str> {
    case.split(',').find_map(|part| {
        let (key, label) = part.split_once('=')?;
        (key == name).then_some(label)
    })
}

/// One point of a time series of one case and replication.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPoint {
    /// Scenario name.
    pub scenario: String,
    /// Point of the sweep.
    pub case: String,
    /// Replication, from 0.
    pub replication: u32,
    /// Which half produced the point.
    pub backend: Backend,
    /// Name of the series, for example `goodput_mbit_s`.
    pub series: String,
    /// Start of the interval the value belongs to, ms since the start.
    pub t_ms: f64,
    /// The value.
    pub value: f64,
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not CSV, or not readable at all.
    #[error("not a CSV table")]
    Csv(#[from] csv::Error),
    /// The columns are not those of this version.
    #[error(
        "column {position} is `{found}` where `{wanted}` belongs; is this a record of another version?"
    )]
    Header {
        /// Position of the column, from 1.
        position: usize,
        /// What the file has.
        found: String,
        /// What belongs there.
        wanted: String,
    },
    /// A cell that does not parse.
    #[error("`{text}` in column `{column}` is not a number")]
    Number {
        /// The column.
        column: String,
        /// The cell.
        text: String,
    },
    /// A number that no measurement gives.
    #[error("`{text}` in column `{column}` is not finite; unknown is an empty cell")]
    NotFinite {
        /// The column.
        column: String,
        /// The cell.
        text: String,
    },
    /// A backend of neither kind.
    #[error("`{0}` is no backend; `simulated` and `emulated` are")]
    Backend(String),
    /// The same case and replication twice.
    #[error("replication {replication} of case `{case}` of `{scenario}` is in the record twice")]
    Duplicate {
        /// Scenario name.
        scenario: String,
        /// The case.
        case: String,
        /// The replication.
        replication: u32,
    },
}

const IDENTITY: [&str; 6] = [
    "scenario",
    "scenario_hash",
    "case",
    "replication",
    "seed",
    "backend",
];
const SERIES: [&str; 7] = [
    "scenario",
    "case",
    "replication",
    "backend",
    "series",
    "t_ms",
    "value",
];

/// The column names of a record in file order.
pub fn header() -> Vec<&'static str> {
    IDENTITY
        .into_iter()
        .chain(PARAMETERS.iter().map(|info| info.name))
        .chain(["error"])
        .chain(MEASURES.iter().map(|info| info.name))
        .collect()
}

/// The cells of a row in the order of [`header`].
pub fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![
        row.scenario.clone(),
        row.scenario_hash.clone(),
        row.case.clone(),
        row.replication.to_string(),
        row.seed.to_string(),
        row.backend.name().to_owned(),
    ];
    cells.extend(row.params.cells());
    cells.push(row.error.clone().unwrap_or_default());
    cells.extend(MEASURES.iter().map(|info| {
        let value = row.values.get(info.measure);
        value.map_or_else(String::new, |v| decimal(v, info.decimals))
    }));
    cells
}

/// Writes a whole record, header first.
///
/// # Errors
/// What the writer reports.
pub fn write(rows: &[Row], out: impl io::Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(header())?;
    for row in rows {
        writer.write_record(cells(row))?;
    }
    writer.flush()?;
    Ok(())
}

/// Reads a record back.
///
/// # Errors
/// [`ReadError`] names the column or the case at fault.
pub fn read(input: impl io::Read) -> Result<Vec<Row>, ReadError> {
    let mut reader = csv::Reader::from_reader(input);
    check_header(reader.headers()?, &header())?;
    let mut seen = std::collections::BTreeSet::new();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let row = row_from_cells(&record.iter().collect::<Vec<_>>())?;
        let key = (
            row.scenario.clone(),
            row.case.clone(),
            row.replication,
            row.backend,
        );
        if !seen.insert(key) {
            return Err(ReadError::Duplicate {
                scenario: row.scenario,
                case: row.case,
                replication: row.replication,
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Writes time series, header first.
///
/// # Errors
/// What the writer reports.
pub fn write_series(points: &[SeriesPoint], out: impl io::Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(SERIES)?;
    for point in points {
        writer.write_record([
            point.scenario.as_str(),
            &point.case,
            &point.replication.to_string(),
            point.backend.name(),
            &point.series,
            &decimal(point.t_ms, 3),
            &decimal(point.value, 6),
        ])?;
    }
    writer.flush()?;
    Ok(())
}

/// Reads time series back.
///
/// # Errors
/// [`ReadError`] names the column at fault.
pub fn read_series(input: impl io::Read) -> Result<Vec<SeriesPoint>, ReadError> {
    let mut reader = csv::Reader::from_reader(input);
    check_header(reader.headers()?, &SERIES)?;
    let mut points = Vec::new();
    for record in reader.records() {
        let record = record?;
        points.push(SeriesPoint {
            scenario: record[0].to_owned(),
            case: record[1].to_owned(),
            replication: required("replication", &record[2])?,
            backend: backend(&record[3])?,
            series: record[4].to_owned(),
            t_ms: finite("t_ms", &record[5])?,
            value: finite("value", &record[6])?,
        });
    }
    Ok(points)
}

/// The dictionary of columns as Markdown: the text of `results/FORMAT.md`.
pub fn format_markdown() -> String {
    let mut text = String::from(
        "# The record\n\n\
         <!-- written by `watari schema --record`; do not edit -->\n\n\
         One row a case and replication. Unknown is an empty cell. A failed case is a row with\n\
         `error` filled. Times are those of the simulated clock when `backend` is `simulated`,\n\
         and of the lab's clock when it is `emulated`.\n\n\
         ## Identity\n\n| column | meaning |\n| --- | --- |\n\
         | `scenario` | name in the scenario file |\n\
         | `scenario_hash` | first 12 digits of the file's SHA-256 |\n\
         | `case` | point of the sweep: `axis=label`, joined by commas; `base` without a sweep |\n\
         | `replication` | from 0; equal numbers share their random draws over all cases |\n\
         | `seed` | master seed |\n\
         | `backend` | `simulated` or `emulated` |\n\
         | `error` | why the case has no result; numbers beside it are those of the moment it ended, and enter no mean |\n\n\
         ## Parameters\n\n| column | meaning |\n| --- | --- |\n",
    );
    for info in &PARAMETERS {
        let _ = writeln!(text, "| `{}` | {} |", info.name, info.meaning);
    }
    text.push_str("\n## Measures\n\n| column | unit | from, or what is counted | to |\n| --- | --- | --- | --- |\n");
    for info in &MEASURES {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            info.name, info.unit, info.start, info.end
        );
    }
    text.push_str(
        "\nPhases, bytes, rounds and pages of several migrations in one case are sums; their \
         phases may overlap.\n\n## Time series\n\nA scenario with `series` also writes `<scenario>.series.csv`: \
         `scenario, case, replication, backend, series, t_ms, value`,\nwhere `t_ms` is the start of the \
         interval and `value` its mean, in the unit that ends the name of the series.\nA series `event.<name>` has one point: the instant `t_ms` at which it happened.\n",
    );
    text
}

fn check_header(found: &csv::StringRecord, wanted: &[&str]) -> Result<(), ReadError> {
    for position in 0..wanted.len().max(found.len()) {
        let found = found.get(position).unwrap_or_default();
        let wanted = wanted.get(position).copied().unwrap_or_default();
        if found != wanted {
            return Err(ReadError::Header {
                position: position + 1,
                found: found.to_owned(),
                wanted: wanted.to_owned(),
            });
        }
    }
    Ok(())
}

fn row_from_cells(cells: &[&str]) -> Result<Row, ReadError> {
    let parameters = IDENTITY.len();
    let error = parameters + PARAMETERS.len();
    let mut values = Values::default();
    for (info, cell) in MEASURES.iter().zip(&cells[error + 1..]) {
        values.0[info.measure as usize] = parse_cell(info.name, cell)?;
    }
    Ok(Row {
        scenario: cells[0].to_owned(),
        scenario_hash: cells[1].to_owned(),
        case: cells[2].to_owned(),
        replication: required("replication", cells[3])?,
        seed: required("seed", cells[4])?,
        backend: backend(cells[5])?,
        params: Params::from_cells(&cells[parameters..error])?,
        error: (!cells[error].is_empty()).then(|| cells[error].to_owned()),
        values,
    })
}

fn parse_cell(column: &str, text: &str) -> Result<Option<f64>, ReadError> {
    if text.is_empty() {
        Ok(None)
    } else {
        finite(column, text).map(Some)
    }
}

fn backend(text: &str) -> Result<Backend, ReadError> {
    match text {
        "simulated" => Ok(Backend::Simulated),
        "emulated" => Ok(Backend::Emulated),
        other => Err(ReadError::Backend(other.to_owned())),
    }
}

/// A number that is neither infinite nor NaN: one such cell would spoil a mean.
fn finite(column: &str, text: &str) -> Result<f64, ReadError> {
    let value: f64 = required(column, text)?;
    if value.is_finite() {
        return Ok(value);
    }
    Err(ReadError::NotFinite {
        column: column.to_owned(),
        text: text.to_owned(),
    })
}

fn required<T: std::str::FromStr>(column: &str, text: &str) -> Result<T, ReadError> {
    text.parse().map_err(|_| ReadError::Number {
        column: column.to_owned(),
        text: text.to_owned(),
    })
}

/// A number with at most `decimals` digits after the point and no trailing
/// zeros, so that the last bits of a float never reach a file.
fn decimal(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    if text == "-0" { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let mut values = Values::default();
        values.set(Measure::TotalTime, 1234.5678);
        values.set(Measure::BytesSent, 2_147_483_648.0);
        Row {
            scenario: "card".into(),
            scenario_hash: "0123456789ab".into(),
            case: "rtt=20ms,method=diff".into(),
            replication: 3,
            seed: 7,
            backend: Backend::Simulated,
            params: Params {
                rtt_ms: Some(20.0),
                ..Params::default()
            },
            error: None,
            values,
        }
    }

    #[test]
    fn every_measure_stands_at_its_own_index() {
        for (index, info) in MEASURES.iter().enumerate() {
            assert_eq!(info.measure as usize, index, "{}", info.name);
            assert_eq!(Measure::by_name(info.name), Some(info.measure));
        }
    }

    #[test]
    fn a_record_reads_back_as_written_and_unknown_stays_unknown() {
        let mut bytes = Vec::new();
        write(&[row()], &mut bytes).unwrap();
        let back = read(bytes.as_slice()).unwrap();
        assert_eq!(back[0].values.get(Measure::TotalTime), Some(1234.568));
        assert_eq!(
            back[0].values.get(Measure::BytesSent),
            Some(2_147_483_648.0)
        );
        assert_eq!(back[0].values.get(Measure::Downtime), None);
        assert_eq!(back[0].axis("method"), Some("diff"));
        assert_eq!(back[0].params, row().params);
    }

    #[test]
    fn the_same_replication_twice_is_refused() {
        let mut bytes = Vec::new();
        write(&[row(), row()], &mut bytes).unwrap();
        let error = read(bytes.as_slice()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "replication 3 of case `rtt=20ms,method=diff` of `card` is in the record twice"
        );
    }

    #[test]
    fn a_cell_that_is_not_finite_is_refused() {
        let mut bytes = Vec::new();
        write(&[row()], &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for cell in ["NaN", "inf", "-inf"] {
            let broken = text.replace("1234.568", cell);
            assert_eq!(
                read(broken.as_bytes()).unwrap_err().to_string(),
                format!(
                    "`{cell}` in column `total_time_ms` is not finite; unknown is an empty cell"
                )
            );
        }
        let series =
            "scenario,case,replication,backend,series,t_ms,value\na,base,0,emulated,x,0,NaN\n";
        let error = read_series(series.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("`NaN` in column `value`"));
    }

    #[test]
    fn a_series_says_which_half_it_is_from() {
        let point = SeriesPoint {
            scenario: "card".into(),
            case: "base".into(),
            replication: 0,
            backend: Backend::Emulated,
            series: "goodput_mbit_s".into(),
            t_ms: 10.0,
            value: 1.5,
        };
        let mut bytes = Vec::new();
        write_series(std::slice::from_ref(&point), &mut bytes).unwrap();
        assert_eq!(read_series(bytes.as_slice()).unwrap(), [point]);
    }

    #[test]
    fn a_foreign_column_is_named() {
        let error = read("scenario,hash\n".as_bytes()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("column 2 is `hash` where `scenario_hash` belongs")
        );
    }
}
