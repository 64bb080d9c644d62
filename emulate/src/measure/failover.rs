//! What a fail-over did to its flow, from the accounts of the programs.
//!
//! All instants are milliseconds since the case began. Goodput is what the
//! receiver read. It counts as back when the mean over the next round trip is: a
//! window that grows arrives as one burst a round trip, and a burst alone is no
//! rate.

use models::record::{Measure, Values};
use models::scenario::{Case, Scenario, What};
use models::wan::{Topology, hops};
use serde_json::Value;

use super::{MS, last};
use crate::apply::{BEGIN, Outputs};
use crate::plan::failover::{gateway, kept};

/// Share of the goodput before the failure that counts as recovered.
const RECOVERED: f64 = 0.9;
/// So much before the failure tells what goodput was.
const BEFORE: f64 = 3000.0;

/// Bytes that the receiver read.
struct Bins {
    start: f64,
    width: f64,
    bytes: Vec<f64>,
}

impl Bins {
    fn read(sink: &Value, begin: f64) -> Option<Self> {
        let bytes = sink["bins"].as_array()?.iter().filter_map(Value::as_f64);
        Some(Self {
            start: sink["t0_ns"].as_f64()? * MS - begin,
            width: sink["bin_ns"].as_f64()? * MS,
            bytes: bytes.collect(),
        })
    }

    /// Bytes of the bins whose middle lies between two instants.
    fn sum(&self, from: f64, to: f64) -> f64 {
        let place = |at: f64| ((at - self.start) / self.width).round().max(0.0) as usize;
        let end = place(to).min(self.bytes.len());
        self.bytes[place(from).min(end)..end].iter().sum()
    }

    /// First start of a bin from `from` on after which the mean over `span` is
    /// `level` bytes a millisecond or more.
    fn reaches(&self, level: f64, from: f64, span: f64, until: f64) -> Option<f64> {
        let span = span.max(self.width);
        let first = ((from - self.start) / self.width).floor().max(0.0) as usize;
        let starts = (first..self.bytes.len()).map(|bin| self.start + bin as f64 * self.width);
        let mut starts = starts.take_while(|start| start + span <= until);
        starts.find(|&start| self.sum(start, start + span) >= level * span)
    }
}

/// What happened, and when.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) failed: Option<f64>,
    pub(super) detected: Option<f64>,
    pub(super) phase1: Option<f64>,
    pub(super) reconnected: Option<f64>,
    pub(super) resumed: Option<f64>,
    pub(super) recovered: Option<f64>,
    /// Duration of phase 1 and of phase 2 of the key exchange.
    ike: (Option<f64>, Option<f64>),
    /// Last byte before the failure's gap.
    silent: Option<f64>,
    rung: Option<f64>,
    /// How long the oldest byte was unanswered when TCP gave up.
    aborted: Option<f64>,
    total_bytes: f64,
}

impl Account {
    pub(super) fn read(case: &Case, outputs: &Outputs) -> Option<Self> {
        let scenario = &case.scenario;
        let begin = outputs.spans.get(BEGIN)?.0 as f64 * MS;
        let sink = last(outputs, "sink");
        let flow = last(outputs, "flow");
        let at = |value: &Value| value.as_f64().map(|ns| ns * MS - begin);
        let mut account = Self {
            failed: failure(scenario, outputs).map(|ns| ns * MS - begin),
            silent: at(&sink["last_ns"]),
            total_bytes: sink["total_bytes"].as_f64().unwrap_or(0.0),
            aborted: abort(&flow),
            ..Self::default()
        };
        let client = last(outputs, "vpn-client");
        let step = &client["steps"][0];
        account.detected = at(&step["detected_ns"]);
        account.reconnected = at(&step["switched_ns"]);
        let to = step["to"].as_str();
        if let Some(to) = to {
            let text = outputs.text.get("charon-client");
            account.ike = ike(text.map_or("", String::as_str), to);
            account.phase1 = at(&step["connecting_ns"])
                .zip(account.ike.0)
                .map(|(a, b)| a + b);
        }
        if let (Some(failed), Some(bins)) = (account.failed, Bins::read(&sink, begin)) {
            let from = at(&sink["longest_pause_start_ns"]);
            let pause = from.zip(at(&sink["longest_pause_end_ns"]));
            account.recovery(scenario, failed, pause, &bins, to);
            let mut resumptions = flow["resumptions"].as_array().into_iter().flatten();
            let first = resumptions.find(|one| at(&one["t_ns"]) > Some(failed));
            account.rung = first.and_then(|one| one["retransmission"].as_f64());
        }
        Some(account)
    }

    /// When data came again, and when as much as before. `pause` is the longest
    /// time in which nothing came.
    fn recovery(
        &mut self,
        scenario: &Scenario,
        failed: f64,
        pause: Option<(f64, f64)>,
        bins: &Bins,
        to: Option<&str>,
    ) {
        let rtt = round_trip(scenario, to);
        // What was behind the gateway already arrives after the failure.
        let Some((from, resumed)) = pause.filter(|&(a, b)| a < failed + rtt && b > failed) else {
            return;
        };
        self.silent = Some(from);
        self.resumed = Some(resumed);
        let since = (failed - BEFORE).max(bins.start);
        let level = RECOVERED * bins.sum(since, failed) / (failed - since).max(bins.width);
        let until = scenario.until.as_nanos() as f64 * MS;
        let found = bins.reaches(level, resumed, rtt, until);
        self.recovered = found.map(|start| start.max(resumed));
    }

    pub(super) fn put(&self, scenario: &Scenario, values: &mut Values) {
        let mut set = |measure, value: Option<f64>| {
            if let Some(value) = value {
                values.set(measure, value);
            }
        };
        let Some(traffic) = scenario.traffic.first() else {
            return;
        };
        let start = traffic.start.as_millis_f64();
        let until = scenario.until.min(traffic.stop).as_millis_f64();
        let rate = self.total_bytes * 8e-3 / (until - start);
        set(Measure::Throughput, Some(rate));
        let since = |from: Option<f64>, to: Option<f64>| from.zip(to).map(|(from, to)| to - from);
        set(Measure::FailoverDetect, since(self.failed, self.detected));
        set(
            Measure::FailoverReconnect,
            since(self.detected, self.reconnected),
        );
        set(Measure::IkePhase1, self.ike.0);
        set(Measure::IkePhase2, self.ike.1);
        set(Measure::FailoverResume, since(self.failed, self.resumed));
        set(Measure::FailoverRecover, since(self.failed, self.recovered));
        set(Measure::RetransmissionRung, self.rung);
        set(Measure::TcpAbort, self.aborted);
        let Some(failed) = self.failed else { return };
        let dark = self.resumed.unwrap_or(until) - failed;
        set(Measure::Availability, Some(1.0 - dark / (until - start)));
        // How a gap that is still open would have ended is known of a lost connection only.
        let moved = tunnel_moves(scenario) && self.reconnected.is_some();
        let lost = self.aborted.is_some() || moved;
        if self.resumed.is_some() || lost {
            let end = self.resumed.or(Some(until));
            set(Measure::Blackout, since(self.silent, end));
            let survived = f64::from(u8::from(self.resumed.is_some()));
            set(Measure::TcpSurvived, Some(survived));
        }
    }
}

/// Whether another gateway means another address.
fn tunnel_moves(scenario: &Scenario) -> bool {
    let mut vpns = scenario
        .tunnels
        .iter()
        .filter_map(|tunnel| tunnel.vpn.as_ref());
    vpns.all(|vpn| vpn.relay.is_none())
}

/// When the first element failed, in nanoseconds: half way through the command.
fn failure(scenario: &Scenario, outputs: &Outputs) -> Option<f64> {
    let fails = scenario
        .actions
        .iter()
        .filter(|action| matches!(action.what, What::Fail(_)));
    let spans = fails.filter_map(|action| outputs.spans.get(&kept(action)));
    let middle = |&(from, to): &(u64, u64)| from.midpoint(to);
    spans.map(middle).min().map(|ns| ns as f64)
}

/// Round-trip time between the ends of the flow through this gateway, without
/// queues and processing.
fn round_trip(scenario: &Scenario, through: Option<&str>) -> f64 {
    let Some(traffic) = scenario.traffic.first() else {
        return 0.0;
    };
    let mut gateways = scenario.gateways.iter();
    let gateway = gateways.find(|gateway| Some(gateway.name.as_str()) == through);
    let mut stops = vec![traffic.from];
    stops.extend(gateway.map(|gateway| gateway.site));
    stops.push(traffic.to);
    let hops = hops(scenario, &Topology::new(scenario), &stops).unwrap_or_default();
    let delays = hops.iter().map(|&(link, _)| scenario.links[link].delay);
    delays.map(|delay| 2.0 * delay.as_millis_f64()).sum()
}

/// Durations of both phases of the key exchange with a gateway, from charon's log.
fn ike(log: &str, to: &str) -> (Option<f64>, Option<f64>) {
    let name = format!("to-{}", gateway(to));
    let (sa, child) = (format!("IKE_SA {name}["), format!("CHILD_SA {name}{{"));
    let when = |word: &str, what: &str| {
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains(word) && line.contains(what))?;
        let seconds: f64 = line.split(' ').next()?.parse().ok()?;
        Some(1e3 * seconds)
    };
    let first = when("initiating", &sa);
    let stands = when("established between", &sa);
    let done = when("established with", &child);
    let between = |from: Option<f64>, to: Option<f64>| from.zip(to).map(|(from, to)| to - from);
    (between(first, stands), between(stands, done))
}

/// How long the oldest byte was unanswered when the kernel gave up, in
/// milliseconds: it was sent a round trip before the last answer came.
fn abort(flow: &Value) -> Option<f64> {
    if flow["error"] != "ETIMEDOUT" {
        return None;
    }
    let fields = flow["sample_fields"].as_array()?;
    let acked = fields.iter().position(|field| field == "bytes_acked")?;
    let rows = flow["samples"].as_array()?;
    let most = rows.last()?[acked].as_u64()?;
    let answered = rows.iter().find(|row| row[acked].as_u64() == Some(most))?;
    let rtt = flow["tcp"]["rtt_us"].as_f64()? * 1e3;
    Some((flow["t_ns"].as_f64()? - answered[0].as_f64()? + rtt) * MS)
}

/// Goodput in Mbit/s of every interval (milliseconds) of the case.
pub(super) fn goodput(case: &Case, outputs: &Outputs, interval: f64) -> Vec<(f64, f64)> {
    let begin = outputs
        .spans
        .get(BEGIN)
        .map_or(0.0, |span| span.0 as f64 * MS);
    let Some(bins) = Bins::read(&last(outputs, "sink"), begin) else {
        return Vec::new();
    };
    let number = (case.scenario.until.as_millis_f64() / interval).ceil() as usize;
    let value = |index: usize| {
        let start = interval * index as f64;
        let bytes = bins.sum(start, start + interval);
        (start, bytes * 8e-3 / interval)
    };
    (0..number).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_each_round_trip_is_a_rate_over_the_round_trip() {
        let mut bytes = vec![0.0; 40];
        // Bursts at 100 ms (10), 140 ms (20) and 180 ms (40), a round trip of 40 ms.
        for (bin, burst) in [(10, 10.0), (14, 20.0), (18, 40.0), (22, 40.0)] {
            bytes[bin] = burst;
        }
        let bins = Bins {
            start: 0.0,
            width: 10.0,
            bytes,
        };
        // 40 bytes in 40 ms are one a millisecond.
        assert_eq!(bins.reaches(0.9, 100.0, 40.0, 400.0), Some(150.0));
        assert_eq!(bins.reaches(2.0, 100.0, 40.0, 400.0), None);
    }

    #[test]
    fn phases_are_read_from_the_log_of_charon() {
        let log = "\
100.000 05[IKE] initiating IKE_SA to-gw-tokyo[1] to 10.2.2.2
100.050 06[IKE] IKE_SA to-gw-tokyo[1] established between 10.2.0.2[a]...10.2.2.2[b]
117.100 05[IKE] initiating IKE_SA to-gw-yokohama[2] to 10.2.3.2
117.160 06[IKE] IKE_SA to-gw-yokohama[2] established between 10.2.0.2[a]...10.2.3.2[b]
117.162 06[IKE] CHILD_SA to-gw-yokohama{2} established with SPIs c1_i c2_o and TS x === y
";
        let (first, second) = ike(log, "yokohama");
        assert!((first.unwrap() - 60.0).abs() < 1e-6);
        assert!((second.unwrap() - 2.0).abs() < 1e-6);
        assert_eq!(ike(log, "fukuoka"), (None, None));
    }
}
