//! One replication of one case: a pure function from scenario to record.

use sim_core::{Limits, Queue, SimDuration, SimTime, Stop, Streams};

use crate::failover::Client;
use crate::migration::Migration;
use crate::record::{Backend, Measure, Params, Row, SeriesPoint, Values};
use crate::scenario::{
    Action, Case, Cipher, Dirty, Method, Migrate, Mode, Scenario, StopRule, Study, Traffic, Tunnel,
    What,
};
use crate::units::{ByteRate, Bytes};
use crate::world::{Flow, World, instant, probe_phase};

/// More events than any finished case needs; a case that reaches it is an error.
const MAX_EVENTS: u64 = 50_000_000;

/// What one replication of a case gives.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its row of the record.
    pub row: Row,
    /// Time series, where the scenario wants them: of replication 0 only.
    pub series: Vec<SeriesPoint>,
}

/// Simulates one replication of a case. The result depends on the scenario,
/// the seed and the replication, and on nothing else.
pub fn simulate(study: &Study, case: &Case, replication: u32) -> Outcome {
    let scenario = &case.scenario;
    let mut queue = Queue::new();
    let mut world = World::new(scenario, Streams::new(study.seed, replication), &mut queue);
    let params = parameters(scenario, &world);
    let mut values = Values::default();
    latency(scenario, &world, &mut values);
    let limits = Limits {
        until: scenario.until,
        max_events: MAX_EVENTS,
    };
    let summary = sim_core::run(&mut world, &mut queue, limits);
    let end = if summary.stop == Stop::Until {
        scenario.until
    } else {
        summary.end
    };
    world.finish(end);
    let mut error = report_migrations(scenario, &world, &mut values);
    if summary.stop == Stop::Budget {
        error = Some(format!("the case needs more than {MAX_EVENTS} events"));
    }
    report_traffic(scenario, &world, &mut values);
    report_failover(&world, &mut values);
    let row = Row {
        scenario: study.name.clone(),
        scenario_hash: study.hash.clone(),
        case: case.id.clone(),
        replication,
        seed: study.seed,
        backend: Backend::Simulated,
        params,
        error,
        values,
    };
    let series = if replication == 0 {
        series(&row, &world, end)
    } else {
        Vec::new()
    };
    Outcome { row, series }
}

/// The parameters of a case, as they stand in every row of it.
pub fn describe(case: &Case) -> Params {
    let scenario = &case.scenario;
    let world = World::new(scenario, Streams::new(0, 0), &mut Queue::new());
    parameters(scenario, &world)
}

/// What chance decides in one replication of a case before anything runs, so that
/// an emulation can do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draws {
    /// When each of the scenario's actions happens.
    pub actions: Vec<SimTime>,
    /// When the first probe of each tunnel's client is sent; zero without probes.
    pub probes: Vec<SimDuration>,
}

/// The draws of one replication of a case: those that [`simulate`] uses.
pub fn draws(study: &Study, case: &Case, replication: u32) -> Draws {
    let streams = Streams::new(study.seed, replication);
    let scenario = &case.scenario;
    let actions = scenario.actions.iter();
    let probes = scenario.tunnels.iter().map(|tunnel| {
        let detection = tunnel.vpn.as_ref().and_then(|vpn| vpn.detection.as_ref());
        probe_phase(detection, &streams, &tunnel.name)
    });
    Draws {
        actions: actions.map(|action| instant(action, &streams)).collect(),
        probes: probes.collect(),
    }
}

/// Ends, transport and tunnel of what the case is about: its first migration,
/// else its first flow.
fn subject(scenario: &Scenario) -> Option<([usize; 2], usize, Option<usize>)> {
    if let Some(order) = first_migration(scenario) {
        let source = scenario.hosts[scenario.vms[order.vm].host].site;
        return Some((
            [source, scenario.hosts[order.to].site],
            order.transport,
            order.tunnel,
        ));
    }
    let flow = scenario.traffic.first()?;
    Some(([flow.from, flow.to], flow.transport, flow.tunnel))
}

fn first_migration(scenario: &Scenario) -> Option<&Migrate> {
    scenario
        .actions
        .iter()
        .find_map(|action| match &action.what {
            What::Migrate(order) => Some(order),
            _ => None,
        })
}

fn parameters(scenario: &Scenario, world: &World<'_>) -> Params {
    let mut params = Params {
        clock: Some("simulated".to_owned()),
        ..Params::default()
    };
    if let Some((ends, transport, tunnel)) = subject(scenario) {
        let links = world.route(ends, transport, tunnel).links;
        let links = || links.iter().map(|&link| &scenario.links[link]);
        let client = tunnel.and_then(|tunnel| world.clients().get(&tunnel));
        let pass: f64 = links().map(|link| 1.0 - link.loss).product();
        params.rtt_ms = Some(links().map(|link| 2.0 * link.delay.as_millis_f64()).sum());
        params.rate_mbit_s = links()
            .map(|link| link.rate.bits_per_second())
            .min()
            .map(|rate| rate as f64 / 1e6);
        params.loss_percent = Some(100.0 * (1.0 - pass));
        params.tunnel = Some(tunnel.map_or_else(
            || "none".to_owned(),
            |index| tunnel_name(&scenario.tunnels[index]),
        ));
        params.gateway = client.map(|client| scenario.gateways[client.gateway()].name.clone());
    }
    if let Some(order) = first_migration(scenario) {
        let vm = &scenario.vms[order.vm];
        let (rate, working_set) = writes(&vm.dirty);
        params.method = Some(method_name(order.method).to_owned());
        params.stop_rule = order
            .stop_rule
            .as_ref()
            .filter(|_| order.method == Method::PreCopy)
            .map(|rule| stop_rule_name(rule).to_owned());
        params.memory_mib = Some(mib(vm.memory));
        params.disk_mib = Some(mib(vm.disk));
        params.dirty_mib_s = Some(rate.as_f64() / 1_048_576.0);
        params.working_set_mib = Some(mib(working_set));
    }
    params
}

fn latency(scenario: &Scenario, world: &World<'_>, values: &mut Values) {
    if let Some(flow) = scenario.traffic.first() {
        let route = world.route([flow.from, flow.to], flow.transport, flow.tunnel);
        let processing = 2e3 * route.service;
        values.set(Measure::Latency, route.rtt().as_millis_f64() + processing);
    }
}

/// Adds the migrations, and says why there is no total where one failed.
fn report_migrations(
    scenario: &Scenario,
    world: &World<'_>,
    values: &mut Values,
) -> Option<String> {
    let migrations = world.migrations();
    for migration in migrations {
        migration.report(world.network(), values);
    }
    if let Some(error) = migrations.iter().find_map(Migration::error) {
        return Some(error);
    }
    let migrates = |action: &&Action| matches!(action.what, What::Migrate(_));
    if scenario.actions.iter().filter(migrates).count() > migrations.len() {
        return Some("the case ended before every migration had started; raise `until`".to_owned());
    }
    let spans = || migrations.iter().filter_map(Migration::span);
    if let (Some(start), Some(end)) = (
        spans().map(|span| span.0).min(),
        spans().map(|span| span.1).max(),
    ) {
        values.set(Measure::TotalTime, (end - start).as_millis_f64());
    }
    let transfers = migrations.iter().flat_map(Migration::transfers).collect();
    if let (Some(bytes), seconds @ 1e-9..) = (values.get(Measure::BytesSent), covered(transfers)) {
        values.set(Measure::Throughput, bytes * 8e-6 / seconds);
    }
    None
}

/// Seconds that are in at least one of the spans.
fn covered(mut spans: Vec<(SimTime, SimTime)>) -> f64 {
    spans.sort_unstable();
    let mut total = SimDuration::ZERO;
    let mut reached = SimTime::ZERO;
    for (start, end) in spans {
        let start = start.max(reached);
        total += end.saturating_since(start);
        reached = reached.max(end);
    }
    total.as_secs_f64()
}

fn report_traffic(scenario: &Scenario, world: &World<'_>, values: &mut Values) {
    let network = world.network();
    let mut sent = 0.0;
    let mut span: Option<(SimTime, SimTime)> = None;
    for (flow, traffic) in world.flows().iter().zip(&scenario.traffic) {
        let Some(connection) = flow.connection else {
            continue;
        };
        let stopped = observed_until(flow, traffic, scenario);
        sent += network.sent(connection);
        span = Some(span.map_or((traffic.start, stopped), |(start, stop)| {
            (start.min(traffic.start), stop.max(stopped))
        }));
    }
    let Some((start, stop)) = span else { return };
    let seconds = (stop - start).as_secs_f64();
    if seconds > 0.0 && world.migrations().is_empty() {
        values.set(Measure::Throughput, sent * 8e-6 / seconds);
    }
    if let (Some(flow), Some(traffic)) = (world.flows().first(), scenario.traffic.first()) {
        let until = observed_until(flow, traffic, scenario);
        report_flow(flow, (traffic.start, until), values);
        if let Some(connection) = flow.connection
            && world.migrations().is_empty()
        {
            values.set(Measure::Mss, network.route(connection).mss);
        }
    }
}

/// When a flow was last looked at: a connection that TCP gave up is missed until
/// it should have stopped.
fn observed_until(flow: &Flow, traffic: &Traffic, scenario: &Scenario) -> SimTime {
    let finished = flow.stopped.filter(|_| flow.aborted.is_none());
    finished.unwrap_or(scenario.until.min(traffic.stop))
}

/// What failures did to the first flow: the first of them in detail, and all
/// times without data.
fn report_flow(flow: &Flow, (start, until): (SimTime, SimTime), values: &mut Values) {
    let Some((failed, resumed)) = flow.first_outage() else {
        return;
    };
    let mut since = |measure, at: Option<SimTime>| {
        if let Some(at) = at {
            values.set(measure, (at - failed).as_millis_f64());
        }
    };
    since(Measure::FailoverResume, resumed);
    since(Measure::FailoverRecover, flow.recovered);
    if let Some(rung) = flow.rung {
        values.set(Measure::RetransmissionRung, f64::from(rung));
    }
    let length = |&(from, to): &(SimTime, Option<SimTime>)| {
        (to.unwrap_or(until).min(until).saturating_since(from)).as_millis_f64()
    };
    let dark: f64 = flow.outages.iter().map(length).sum();
    let observed = (until - start).as_millis_f64();
    values.set(Measure::Availability, 1.0 - dark / observed);
    // How a gap that is still open would have ended is known of a lost connection only.
    let lost = flow.severed || flow.aborted.is_some();
    let ended = flow.outages.iter().all(|outage| outage.1.is_some());
    if ended || lost {
        let longest = flow.outages.iter().map(length).fold(0.0, f64::max);
        values.set(Measure::Blackout, longest);
    }
    if resumed.is_some() || lost {
        let survived = resumed.is_some();
        values.set(Measure::TcpSurvived, f64::from(u8::from(survived)));
    }
    if let Some((first, aborted)) = flow.aborted {
        values.set(Measure::TcpAbort, (aborted - first).as_millis_f64());
    }
}

fn report_failover(world: &World<'_>, values: &mut Values) {
    let clients = world.clients().values();
    let Some(times) = clients.map(Client::times).find(|t| t.failed.is_some()) else {
        return;
    };
    let mut between = |measure, from: Option<SimTime>, to: Option<SimTime>| {
        if let (Some(from), Some(to)) = (from, to) {
            values.set(measure, (to - from).as_millis_f64());
        }
    };
    between(Measure::FailoverDetect, times.failed, times.detected);
    between(
        Measure::FailoverReconnect,
        times.detected,
        times.reconnected,
    );
    between(Measure::IkePhase1, times.contacted, times.phase1);
    between(Measure::IkePhase2, times.phase1, times.reconnected);
}

/// The goodput of the first flow, and the instants of a fail-over.
fn series(row: &Row, world: &World<'_>, end: SimTime) -> Vec<SeriesPoint> {
    let point = |series: &str, t_ms: f64, value: f64| SeriesPoint {
        scenario: row.scenario.clone(),
        case: row.case.clone(),
        replication: row.replication,
        backend: row.backend,
        series: series.to_owned(),
        t_ms,
        value,
    };
    let mut points = Vec::new();
    let Some(flow) = world.flows().first() else {
        return points;
    };
    let recorded = flow
        .connection
        .and_then(|connection| world.network().recorded(connection));
    let Some((interval, bins)) = recorded else {
        return points;
    };
    // A flow that stalls for good sends nothing until the end, and shows it.
    let observed = end.as_nanos().div_ceil(interval.as_nanos());
    let silence = std::iter::repeat(&0.0);
    for (index, bytes) in (0..observed).zip(bins.iter().chain(silence)) {
        let start = interval.as_millis_f64() * index as f64;
        points.push(point(
            "goodput_mbit_s",
            start,
            bytes * 8e-6 / interval.as_secs_f64(),
        ));
    }
    let client = world.clients().values().map(Client::times).next();
    let times = client.unwrap_or_default();
    let outage = flow.first_outage();
    let instants = [
        ("event.failure", outage.map(|outage| outage.0)),
        ("event.detected", times.detected),
        ("event.ike_phase1", times.phase1),
        ("event.reconnected", times.reconnected),
        ("event.resumed", outage.and_then(|outage| outage.1)),
        ("event.recovered", flow.recovered),
    ];
    for (name, instant) in instants {
        points.extend(instant.map(|instant| point(name, instant.as_millis_f64(), 1.0)));
    }
    points
}

fn writes(dirty: &Dirty) -> (ByteRate, Bytes) {
    match dirty {
        Dirty::Idle => (ByteRate::default(), Bytes::default()),
        Dirty::Constant {
            rate, working_set, ..
        }
        | Dirty::Zipf {
            rate, working_set, ..
        } => (*rate, *working_set),
        Dirty::HotCold {
            hot,
            hot_rate,
            cold,
            cold_rate,
            ..
        } => {
            let rate = hot_rate.bytes_per_second() + cold_rate.bytes_per_second();
            let cold = if cold_rate.bytes_per_second() > 0 {
                cold.get()
            } else {
                0
            };
            (
                ByteRate::from_bytes_per_second(rate),
                Bytes::new(hot.get() + cold),
            )
        }
        Dirty::Trace { phases, .. } => {
            let largest = phases.iter().map(|phase| phase.working_set).max();
            let fastest = phases.iter().map(|phase| phase.rate).max();
            (fastest.unwrap_or_default(), largest.unwrap_or_default())
        }
    }
}

fn mib(bytes: Bytes) -> f64 {
    bytes.as_f64() / 1_048_576.0
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::PreCopy => "pre-copy",
        Method::StopAndCopy => "stop-and-copy",
        Method::PostCopy => "post-copy",
        Method::EncryptedImage => "encrypted-image",
        Method::CompressedImage => "compressed-image",
    }
}

fn stop_rule_name(rule: &StopRule) -> &'static str {
    match rule {
        StopRule::Xen40 => "xen-4.0",
        StopRule::Xen46 => "xen-4.6",
        StopRule::Qemu(_) => "qemu",
        StopRule::Simgrid { .. } => "simgrid",
    }
}

/// What the record calls a tunnel.
pub(crate) fn tunnel_name(tunnel: &Tunnel) -> String {
    cipher_name(tunnel.mode, tunnel.cipher)
}

/// What the record calls a tunnel of this mode with this cipher.
pub(crate) fn cipher_name(mode: Mode, cipher: Cipher) -> String {
    let mode = match mode {
        Mode::Transport => "transport",
        Mode::Tunnel => "tunnel",
        Mode::Wireguard => return "wireguard".to_owned(),
    };
    let cipher = match cipher {
        Cipher::Aes128Cbc => "aes128-cbc",
        Cipher::Aes256Cbc => "aes256-cbc",
        Cipher::TripleDesCbc => "3des-cbc",
        Cipher::Aes128Gcm => "aes128-gcm",
        Cipher::Aes256Gcm => "aes256-gcm",
        Cipher::ChaCha20Poly1305 => "chacha20-poly1305",
        Cipher::Null => "null",
    };
    format!("esp {mode} {cipher}")
}
