//! From what the steps of a plan printed to a row of the record.

mod failover;

use models::profile::Profile;
use models::record::{Backend, Measure, Row, SeriesPoint, Values};
use models::scenario::{Case, Method, Study};
use models::units::{ByteRate, Bytes, Span};
use serde_json::Value;
use sim_core::SimDuration;

use crate::apply::Outputs;
use crate::plan::{calibrate, migration};

/// Milliseconds in a nanosecond.
const MS: f64 = 1e-6;
/// Bytes of a page.
const PAGE: f64 = 4096.0;
/// Bytes of the headers of IPv4 and of TCP with timestamps.
const HEADERS: f64 = 52.0;

/// The row of one run. `error` is why there are no numbers.
pub fn row(
    study: &Study,
    case: &Case,
    repeat: u32,
    outputs: &Outputs,
    error: Option<String>,
) -> Row {
    let mut values = Values::default();
    if error.is_none() {
        fill(case, outputs, &mut values);
    }
    Row {
        scenario: study.name.clone(),
        scenario_hash: study.hash.clone(),
        case: case.id.clone(),
        replication: repeat,
        seed: study.seed,
        backend: Backend::Emulated,
        params: models::simulate::describe(case),
        error,
        values,
    }
}

/// The goodput of the flow and the instants of a fail-over, as the simulator has
/// them; nothing when the scenario wants none.
pub fn series(study: &Study, case: &Case, repeat: u32, outputs: &Outputs) -> Vec<SeriesPoint> {
    let account = failover::Account::read(case, outputs);
    let (Some(interval), Some(account)) = (case.scenario.series, account) else {
        return Vec::new();
    };
    let point = |series: &str, t_ms: f64, value: f64| SeriesPoint {
        scenario: study.name.clone(),
        case: case.id.clone(),
        replication: repeat,
        backend: Backend::Emulated,
        series: series.to_owned(),
        t_ms,
        value,
    };
    let goodput = failover::goodput(case, outputs, interval.as_millis_f64());
    let goodput = goodput
        .into_iter()
        .map(|(start, rate)| point("goodput_mbit_s", start, rate));
    let instants = [
        ("event.failure", account.failed),
        ("event.detected", account.detected),
        ("event.ike_phase1", account.phase1),
        ("event.reconnected", account.reconnected),
        ("event.resumed", account.resumed),
        ("event.recovered", account.recovered),
    ];
    let instants = instants
        .into_iter()
        .filter_map(|(name, at)| at.map(|at| point(name, at, 1.0)));
    goodput.chain(instants).collect()
}

/// The last line that a step printed, as JSON.
fn last(outputs: &Outputs, name: &str) -> Value {
    let text = outputs.text.get(name).map_or("", String::as_str);
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    line.and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or(Value::Null)
}

fn fill(case: &Case, outputs: &Outputs, values: &mut Values) {
    let Some((order, _)) = migration::order(&case.scenario) else {
        if let Some(account) = failover::Account::read(case, outputs) {
            account.put(&case.scenario, values);
        }
        return;
    };
    if matches!(
        order.method,
        Method::EncryptedImage | Method::CompressedImage
    ) {
        image(outputs, values);
    } else {
        live(outputs, values);
    }
    if let Some(wrong) = wrong_pages(outputs) {
        values.set(Measure::MemoryPagesWrong, wrong);
    }
}

fn live(outputs: &Outputs, values: &mut Values) {
    let migrate = last(outputs, "migrate");
    let ms = |key: &str| migrate[key].as_f64().map(|ns| ns * MS);
    let mut set = |measure, value: Option<f64>| {
        if let Some(value) = value {
            values.set(measure, value);
        }
    };
    let (stop, resume) = (ms("stop_ns"), ms("resume_ns"));
    set(Measure::TotalTime, ms("total_ns"));
    set(Measure::Downtime, stop.zip(resume).map(|(a, b)| b - a));
    set(
        Measure::PhasePreCopy,
        stop.zip(ms("active_ns")).map(|(b, a)| (b - a).max(0.0)),
    );
    let bytes = arrived(outputs);
    set(Measure::BytesSent, bytes);
    set(Measure::Rounds, migrate["rounds"].as_f64());
    let whole = migrate["normal_pages"].as_f64();
    let zeros = migrate["duplicate_pages"].as_f64();
    set(Measure::DuplicatePages, zeros);
    set(Measure::PagesSent, whole.zip(zeros).map(|(a, b)| a + b));
    let throttle = migrate["throttle_percent"].as_f64();
    set(Measure::Throttle, throttle.filter(|&percent| percent > 0.0));
    let rate = bytes.zip(ms("total_ns"));
    set(
        Measure::Throughput,
        rate.map(|(bytes, ms)| bytes * 8e-3 / ms),
    );
    let probe = last(outputs, "probe");
    set(
        Measure::Blackout,
        probe["longest_gap_ns"].as_f64().map(|ns| ns * MS),
    );
}

/// Payload that arrived at the target, from the counter of its packets.
fn arrived(outputs: &Outputs) -> Option<f64> {
    let text = outputs.text.get(migration::ARRIVED)?;
    let answer: Value = serde_json::from_str(text).ok()?;
    let counters = answer["nftables"].as_array()?;
    let counter = counters.iter().find_map(|one| one.get("counter"))?;
    let (bytes, packets) = (counter["bytes"].as_f64()?, counter["packets"].as_f64()?);
    Some(bytes - packets * HEADERS)
}

/// The phases of an image migration are its steps.
fn image(outputs: &Outputs, values: &mut Values) {
    let phases = [
        (Measure::PhaseCompress, "compress"),
        (Measure::PhaseEncrypt, "encrypt"),
        (Measure::PhaseTransfer, "transfer"),
        (Measure::PhaseDecrypt, "decrypt"),
        (Measure::PhaseDecompress, "decompress"),
    ];
    for (measure, name) in phases {
        if let Some(&(start, end)) = outputs.spans.get(name) {
            values.set(measure, (end - start) as f64 * MS);
        }
    }
    let span = |name: &str| outputs.spans.get(name).copied();
    let (Some(shutdown), Some(ended), Some(boot)) = (
        span("guest-poweroff-source"),
        span("qemu-source"),
        span("boot"),
    ) else {
        return;
    };
    let started = span("qemu-target").map_or(boot.0, |(start, _)| start);
    values.set(Measure::PhaseShutdown, (ended.1 - shutdown.0) as f64 * MS);
    values.set(Measure::PhaseBoot, (boot.1 - started) as f64 * MS);
    let total = (boot.1 - shutdown.0) as f64 * MS;
    values.set(Measure::TotalTime, total);
    values.set(Measure::Downtime, total);
    if let Some(bytes) = last(outputs, "sent-size")["bytes"].as_f64() {
        values.set(Measure::BytesSent, bytes);
    }
}

/// Pages that were not what the guest had written; 0 is verified.
fn wrong_pages(outputs: &Outputs) -> Option<f64> {
    let verify = last(outputs, "guest-verify");
    verify["pages"].as_f64()?;
    Some(verify["bad"].as_f64().unwrap_or(0.0))
}

/// What the path of a case really was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathFacts {
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// TCP throughput in Mbit/s, once the window was open.
    pub rate_mbit_s: Option<f64>,
    /// Loss in percent.
    pub loss_percent: Option<f64>,
}

/// Reads the measurements of a path.
pub fn path_facts(outputs: &Outputs) -> PathFacts {
    let text = |name: &str| outputs.text.get(name).map_or("", String::as_str);
    let json = |name: &str| serde_json::from_str::<Value>(text(name)).unwrap_or(Value::Null);
    // What the receiver saw: the sender counts what its buffer took.
    let tcp = json(calibrate::TCP);
    let intervals = tcp["server_output_json"]["intervals"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let rates: Vec<f64> = intervals
        .iter()
        .rev()
        .take(3)
        .filter_map(|interval| interval["sum"]["bits_per_second"].as_f64())
        .collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    PathFacts {
        rtt_ms: median_rtt(text(calibrate::PING)),
        rate_mbit_s: (!rates.is_empty()).then_some(mean / 1e6),
        loss_percent: json(calibrate::UDP)["end"]["sum"]["lost_percent"].as_f64(),
    }
}

/// The mean that ping prints: `rtt min/avg/max/mdev = 20.1/20.2/20.3/0.1 ms`.
fn median_rtt(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("rtt "))?;
    line.split('=')
        .nth(1)?
        .trim()
        .split('/')
        .nth(1)?
        .parse()
        .ok()
}

impl PathFacts {
    /// Puts them into a row.
    pub fn put(&self, values: &mut Values) {
        let facts = [
            (Measure::LinkRtt, self.rtt_ms),
            (Measure::LinkRate, self.rate_mbit_s),
            (Measure::LinkLoss, self.loss_percent),
        ];
        for (measure, value) in facts {
            if let Some(value) = value {
                values.set(measure, value);
            }
        }
    }
}

/// The profile of a lab, from the steps of [`crate::plan::profile`].
pub fn profile(outputs: &Outputs) -> Profile {
    let seconds = |name: &str| {
        let span = outputs.spans.get(name);
        span.map(|&(start, end)| (end - start) as f64 * 1e-9)
    };
    let image = crate::plan::profile::IMAGE as f64;
    let rate = |name: &str| {
        seconds(name).map(|s| ByteRate::from_bytes_per_second((image / s).round() as u64))
    };
    let span = |s: f64| Span::new(SimDuration::from_secs_f64(s));
    let between = |from: &str, to: &str| {
        let (from, to) = (outputs.spans.get(from)?, outputs.spans.get(to)?);
        Some(span((to.1 - from.0) as f64 * 1e-9))
    };
    let save = last(outputs, "save");
    let background = background(outputs);
    Profile {
        encrypt: rate("encrypt"),
        decrypt: rate("decrypt"),
        compress: rate("compress"),
        decompress: rate("decompress"),
        bitmap_sync: save["sync_ns"].as_f64().map(|ns| span(ns * 1e-9)),
        compressed: last(outputs, "packed")["bytes"]
            .as_f64()
            .map(|bytes| (bytes / image).min(1.0)),
        device_state: save["device_state_bytes"].as_u64().map(Bytes::new),
        background_rate: background.map(|idle| {
            ByteRate::from_bytes_per_second((idle.writes_per_second * PAGE).round() as u64)
        }),
        background_set: background.map(|idle| Bytes::new((idle.pages * PAGE).round() as u64)),
        boot: between("qemu-target", "boot"),
        shutdown: between("guest-poweroff-target", "qemu-target"),
        setup_time: save["setup_ns"].as_f64().map(|ns| span(ns * 1e-9)),
        ..Profile::default()
    }
}

/// What an idle guest writes: so often, at random over so many pages.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Background {
    writes_per_second: f64,
    pages: f64,
}

/// From the pages that were saved more than once while the guest ran.
fn background(outputs: &Outputs) -> Option<Background> {
    let still = last(outputs, "save-stopped")["pages"].as_f64()?;
    let point = |name: &str| {
        let save = last(outputs, name);
        let seconds = save["running_ns"].as_f64()? * 1e-9;
        Some((seconds, save["pages"].as_f64()? - still))
    };
    background_of(point("save")?, point("save-longer")?)
}

/// The set and the rate whose writes at random dirty these pages in two times:
/// `n (1 - exp(-r t / n))`. `None` when nothing was written.
fn background_of(short: (f64, f64), long: (f64, f64)) -> Option<Background> {
    let share = |x: f64, t: f64| -(-x * t).exp_m1();
    let ratio = long.1 / short.1;
    if short.1 <= 0.0 || long.1 <= 0.0 || long.0 <= short.0 {
        return None;
    }
    // Writes a second to one page: the larger, the sooner all pages are dirty. Where
    // they are at the shorter time already, they are taken to be so just then.
    let (mut low, mut high) = (1e-4, 3.0 / short.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if share(middle, long.0) / share(middle, short.0) > ratio {
            low = middle;
        } else {
            high = middle;
        }
    }
    let pages = long.1 / share(low, long.0);
    Some(Background {
        writes_per_second: low * pages,
        pages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // 300 pages, 150 writes a second: 118.04 pages in a second, 294.5 in eight.
    #[test]
    fn two_times_give_the_set_and_the_rate_of_the_background() {
        let found = background_of((1.0, 118.040802), (8.0, 294.505308)).unwrap();
        assert!((found.pages - 300.0).abs() < 0.01, "{found:?}");
        assert!((found.writes_per_second - 150.0).abs() < 0.01, "{found:?}");
        assert_eq!(background_of((1.0, 0.0), (8.0, 5.0)), None);
    }

    #[test]
    fn what_arrived_is_counted_without_headers() {
        let mut outputs = Outputs::default();
        let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"counter": {"family":
            "inet", "name": "arrived", "table": "watari", "handle": 1, "packets": 10, "bytes": 15000}}]}"#;
        outputs
            .text
            .insert(migration::ARRIVED.to_owned(), text.to_owned());
        assert_eq!(arrived(&outputs), Some(14480.0));
    }
}
