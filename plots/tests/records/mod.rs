//! Made-up records of the shapes that watari writes.

use models::record::{Backend, Measure, Params, Row, SeriesPoint, Values};

/// A source of noise that needs no crate.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform between 0 and 1.
    pub(crate) fn share(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Around 1, by up to `width` to either side.
    pub(crate) fn around(&mut self, width: f64) -> f64 {
        1.0 + width * (2.0 * self.share() - 1.0)
    }
}

pub(crate) fn row(scenario: &str, case: &str, replication: u32, values: &[(Measure, f64)]) -> Row {
    let mut all = Values::default();
    for (measure, value) in values {
        all.set(*measure, *value);
    }
    Row {
        scenario: scenario.into(),
        scenario_hash: "0123456789ab".into(),
        case: case.into(),
        replication,
        seed: 1,
        backend: Backend::Simulated,
        params: Params::default(),
        error: None,
        values: all,
    }
}

/// Three ways to move a virtual machine, against the round-trip time.
pub(crate) fn yamashita(scenario: &str, replications: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for rtt in (0..=200).step_by(20) {
        for method in ["existing", "diff", "diff-compressed"] {
            for replication in 0..replications {
                let case = format!("rtt={rtt}ms,method={method}");
                rows.push(migration(
                    scenario,
                    &case,
                    f64::from(rtt),
                    method,
                    replication,
                ));
            }
        }
    }
    rows
}

pub(crate) fn migration(
    scenario: &str,
    case: &str,
    rtt: f64,
    method: &str,
    replication: u32,
) -> Row {
    let mut noise = Noise::new(u64::from(replication) + 17 * rtt as u64);
    let common = noise.around(0.06);
    let slow = 1.0 + rtt / 45.0;
    let (transfer, encrypt, compress) = match method {
        "existing" => (62e3 * slow.min(1.9), 14e3, 0.0),
        "diff" => (31e3 * slow, 7e3, 0.0),
        _ => (12e3 * slow, 7e3, 48e3),
    };
    let phases = [
        (Measure::PhaseShutdown, 6e3),
        (Measure::PhaseCompress, compress * 0.7),
        (Measure::PhaseEncrypt, encrypt * 0.5),
        (Measure::PhaseConnect, 4.0 * rtt),
        (
            Measure::PhaseTransfer,
            transfer * common * noise.around(0.03),
        ),
        (Measure::PhaseDecrypt, encrypt * 0.5),
        (Measure::PhaseDecompress, compress * 0.3),
        (Measure::PhaseBoot, 21e3 * noise.around(0.05)),
    ];
    let total: f64 = phases.iter().map(|(_, ms)| ms).sum();
    let downtime = match method {
        "existing" => total,
        "diff" => 420.0 + 11.0 * rtt * common,
        _ => 900.0 + 9.0 * rtt * common,
    };
    let mut values = phases.to_vec();
    values.retain(|(_, ms)| *ms > 0.0);
    values.extend([(Measure::TotalTime, total), (Measure::Downtime, downtime)]);
    row(scenario, case, replication, &values)
}

/// Migrations over more axes than a page has room for.
pub(crate) fn wide(scenario: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for memory in ["1GiB", "4GiB", "16GiB"] {
        for tunnel in ["none", "esp-tunnel"] {
            for loss in ["0%", "0.1%"] {
                for rtt in [0, 5, 10, 50, 100, 200] {
                    for method in ["existing", "diff"] {
                        for replication in 0..5 {
                            let case = format!(
                                "memory={memory},tunnel={tunnel},loss={loss},rtt={rtt}ms,method={method}"
                            );
                            let mut one =
                                migration(scenario, &case, f64::from(rtt), method, replication);
                            let size: f64 = memory.trim_end_matches("GiB").parse().unwrap();
                            let total = one.values.get(Measure::TotalTime).unwrap();
                            one.values
                                .set(Measure::TotalTime, total * (0.6 + size / 5.0));
                            rows.push(one);
                        }
                    }
                }
            }
        }
    }
    rows
}

/// Live migration without an axis of numbers.
pub(crate) fn live(scenario: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (rate, workload) in ["idle", "web server", "database", "video_encoder"]
        .iter()
        .enumerate()
    {
        for (stop, method) in ["pre-copy", "post-copy"].iter().enumerate() {
            for replication in 0..5 {
                let mut noise = Noise::new(u64::from(replication) + 31 * rate as u64);
                let rounds = 20e3 * (1.0 + 0.8 * rate as f64) * noise.around(0.08);
                let pre_copy = if stop == 0 { rounds } else { 900.0 };
                let stopped = if stop == 0 {
                    60.0 * (1.0 + rate as f64)
                } else {
                    35.0
                };
                let values = [
                    (Measure::PhaseConnect, 120.0),
                    (Measure::PhasePreCopy, pre_copy),
                    (Measure::PhaseSuspend, 12.0),
                    (Measure::PhaseStopAndCopy, stopped * 40.0),
                    (Measure::PhaseResume, 700.0 * noise.around(0.2)),
                ];
                let total = values.iter().map(|(_, ms)| ms).sum::<f64>() * 0.9;
                let mut values = values.to_vec();
                values.extend([(Measure::TotalTime, total), (Measure::Downtime, stopped)]);
                let case = format!("workload={workload},method={method}");
                rows.push(row(scenario, &case, replication, &values));
            }
        }
    }
    rows
}

/// Three gateways, three kinds of client.
pub(crate) fn vpn(scenario: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (g, gateway) in ["strongSwan", "libreswan", "hardware appliance"]
        .iter()
        .enumerate()
    {
        for (c, client) in ["native", "NAT-T", "TCP fallback"].iter().enumerate() {
            for replication in 0..10 {
                let mut noise = Noise::new(u64::from(replication) * 9 + (3 * g + c) as u64);
                let latency = (11.3 + 2.1 * g as f64 + 4.4 * c as f64) * noise.around(0.1);
                let rate = 940.0 / (1.0 + 0.5 * g as f64 + 0.9 * c as f64) * noise.around(0.15);
                let case = format!("gateway={gateway},client={client}");
                let values = [(Measure::Latency, latency), (Measure::Throughput, rate)];
                rows.push(row(scenario, &case, replication, &values));
            }
        }
    }
    rows
}

/// A gateway dies: the distribution of the recovery and the course of one replication.
pub(crate) fn failover(scenario: &str) -> (Vec<Row>, Vec<SeriesPoint>) {
    let (mut rows, mut series) = (Vec::new(), Vec::new());
    for (dpd, delay) in [("5s", 5e3), ("10s", 10e3), ("30s", 30e3)] {
        let case = format!("dpd={dpd}");
        for replication in 0..60 {
            let mut noise = Noise::new(u64::from(replication) + delay as u64);
            let failure = 20e3;
            let detected = delay * (0.6 + 0.4 * noise.share());
            let reconnected = detected + 480.0 * noise.around(0.2);
            let mut retransmission = 300.0;
            while retransmission < reconnected {
                retransmission *= 2.0;
            }
            let recovered = retransmission + 900.0 * noise.around(0.05);
            let mut values = vec![(Measure::FailoverDetect, detected)];
            if dpd != "30s" || replication % 6 != 5 {
                values.push((Measure::FailoverRecover, recovered));
            }
            rows.push(row(scenario, &case, replication, &values));
            if replication > 1 {
                continue;
            }
            let mut point = |name: &str, t_ms: f64, value: f64| {
                series.push(SeriesPoint {
                    scenario: scenario.into(),
                    case: case.clone(),
                    replication,
                    backend: Backend::Simulated,
                    series: name.into(),
                    t_ms,
                    value,
                });
            };
            for bin in 0..1200 {
                let t = f64::from(bin) * 100.0;
                let since = t - failure - retransmission;
                let level = match t {
                    t if t < failure => 93.0 * noise.around(0.03),
                    _ if since < 0.0 => 0.0,
                    _ => 93.0 * (0.05 + since / 1e3).min(1.0) * noise.around(0.03),
                };
                point("goodput_mbit_s", t, level);
            }
            point("event.failure", failure, 1.0);
            point("event.detected", failure + detected, 1.0);
            point("event.ike_phase1", failure + reconnected - 200.0, 1.0);
            point("event.reconnected", failure + reconnected, 1.0);
            point("event.resumed", failure + retransmission, 1.0);
            point("event.recovered", failure + recovered, 1.0);
        }
    }
    (rows, series)
}

/// Many long names, an axis over decades, lines far apart and lines that coincide.
pub(crate) fn crowded(scenario: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (m, method) in (0..9).map(|m| (m, format!("a rather long method name {m}"))) {
        for loss in ["0.001%", "0.01%", "0.1%", "1%", "5%"] {
            for replication in 0..2 {
                let percent: f64 = loss.trim_end_matches('%').parse().unwrap();
                let mut noise = Noise::new(u64::from(replication) + 7 * m);
                let total = 5e6 * (1.0 + percent * (m + 1) as f64) / (1 + m) as f64;
                let values = [
                    (Measure::TotalTime, total * noise.around(0.1)),
                    (Measure::Downtime, 200.0 * noise.around(0.02)),
                ];
                let case = format!("loss={loss},method={method}");
                rows.push(row(scenario, &case, replication, &values));
            }
        }
    }
    rows
}

/// More bars than fit side by side with their numbers, in panels.
pub(crate) fn bars(scenario: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for site in ["Osaka", "Fukuoka"] {
        for g in 0..7 {
            for client in ["native", "NAT-T", "TCP fallback", "user space"] {
                for replication in 0..3 {
                    let mut noise = Noise::new(u64::from(replication) * 9 + 31 * g);
                    let latency = 1234.0 * noise.around(0.4) + client.len() as f64 * 20.0;
                    let case = format!("site={site},gateway=gateway number {g},client={client}");
                    rows.push(row(
                        scenario,
                        &case,
                        replication,
                        &[(Measure::Latency, latency)],
                    ));
                }
            }
        }
    }
    rows
}

/// Simulated and emulated rows of migrations over five round-trip times, four methods and two
/// tunnels, with three repeats: one method is predicted badly.
pub(crate) fn halves(scenario: &str) -> (Vec<Row>, Vec<Row>) {
    let (mut simulated, mut emulated) = (Vec::new(), Vec::new());
    for (r, rtt) in [2.0, 20.0, 60.0, 120.0, 200.0].into_iter().enumerate() {
        for (m, method) in ["stop-and-copy", "pre-copy", "post-copy", "encrypted-image"]
            .iter()
            .enumerate()
        {
            for (t, tunnel) in ["none", "esp-aes-128-gcm"].iter().enumerate() {
                let mut noise = Noise::new((100 * r + 10 * m + t) as u64);
                let case = format!("rtt={rtt}ms,method={method},tunnel={tunnel}");
                let total = 4e3 * (1.0 + rtt / 30.0) * (1.0 + m as f64);
                let downtime = [total, 60.0 + 2.0 * rtt, 20.0 + rtt, total][m];
                let bytes = 2.7e8 * (1.0 + 0.5 * m as f64);
                let width = if m == 2 { 0.16 } else { 0.05 };
                let measures = |noise: &mut Noise, width: f64| {
                    [
                        (Measure::TotalTime, total * noise.around(width)),
                        (Measure::Downtime, downtime * noise.around(3.0 * width)),
                        (Measure::BytesSent, bytes * noise.around(width / 4.0)),
                    ]
                };
                let params = Params {
                    method: Some((*method).into()),
                    tunnel: Some((*tunnel).into()),
                    rtt_ms: Some(rtt),
                    ..Params::default()
                };
                let predicted = measures(&mut noise, width);
                simulated.push(Row {
                    params: params.clone(),
                    ..row(scenario, &case, 0, &predicted)
                });
                for replication in 0..3 {
                    let measured = measures(&mut noise, 0.01);
                    emulated.push(Row {
                        params: params.clone(),
                        backend: Backend::Emulated,
                        ..row(scenario, &case, replication, &measured)
                    });
                }
            }
        }
    }
    (simulated, emulated)
}
