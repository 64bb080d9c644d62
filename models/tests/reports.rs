//! What a row says of failures: gaps, survival, recovery, and what it leaves open.

use models::record::{Measure, Row, Values};
use models::scenario::{Study, parse};
use models::simulate::simulate;
use models::summary::summarise;

const TWO_SITES: &str = r#"
name = "reports"
seed = 1
until = "100s"
[site.left]
[site.right]
[link.wan]
between = ["left", "right"]
rtt = "20ms"
rate = "100Mbit/s"
[transport.tcp]
[traffic.first]
from = "left"
to = "right"
transport = "tcp"
"#;

fn study(text: &str) -> Study {
    let mut no_traces = |name: &str| Err(format!("{name} is not needed here"));
    parse(text, &mut no_traces).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn row(more: &str) -> Row {
    let study = study(&format!("{TWO_SITES}{more}"));
    simulate(&study, &study.cases[0], 0).row
}

fn cut(name: &str, from: &str, to: &str) -> String {
    format!(
        "[action.{name}-cut]\nat = \"{from}\"\nfail.link = \"wan\"\n\
         [action.{name}-mend]\nat = \"{to}\"\nrepair.link = \"wan\"\n"
    )
}

fn get(values: &Values, measure: Measure) -> f64 {
    values
        .get(measure)
        .unwrap_or_else(|| panic!("no {measure:?}"))
}

// A queue stands: the round trip is about 80 ms, the RTO 280. The tail loss probe
// goes out after 160 ms and sets the timer anew. The short gap of 0.5 s outlives
// the first time-out (0.44 s) and ends with the second, 3 RTO after the probe:
// 1.0 s, a few ms of the timer wheel, and half a round trip. The long one of 40 s
// ends at the rung 2^8 - 1 = 255 RTO, about 60 s.
#[test]
fn every_outage_counts_and_the_longest_is_the_blackout() {
    let text = cut("short", "10s", "10.5s") + &cut("long", "20s", "60s");
    let values = row(&text).values;
    let resume = get(&values, Measure::FailoverResume);
    assert!((1000.0..1100.0).contains(&resume), "{resume}");
    let longest = get(&values, Measure::Blackout);
    assert!((40_000.0..80_000.0).contains(&longest), "{longest}");
    let availability = get(&values, Measure::Availability);
    let dark = (longest + resume) / 100_000.0;
    assert!((availability - (1.0 - dark)).abs() < 1e-9, "{availability}");
}

#[test]
fn how_an_open_gap_would_have_ended_is_not_claimed() {
    let values = row("[action.cut]\nat = \"95s\"\nfail.link = \"wan\"\n").values;
    assert_eq!(values.get(Measure::TcpSurvived), None);
    assert_eq!(values.get(Measure::Blackout), None);
    assert!((get(&values, Measure::Availability) - 0.95).abs() < 1e-3);
}

#[test]
fn a_flow_that_is_done_is_observed_until_then() {
    let text = "size = \"300MB\"\n".to_owned() + &cut("short", "10s", "10.5s");
    let values = row(&text).values;
    let gap = get(&values, Measure::Blackout);
    // 300 MB at 96.5 Mbit/s take 24.9 s and the gap.
    let dark = 1.0 - get(&values, Measure::Availability);
    assert!((dark - gap / 25_600.0).abs() < 0.002, "{dark}");
}

// Another flow takes half the link after the gap and stops at 30 s; only then is
// the first one back at nine tenths of what it had.
#[test]
fn goodput_that_comes_back_when_another_flow_stops_is_seen() {
    let other = "[traffic.second]\nfrom = \"left\"\nto = \"right\"\ntransport = \"tcp\"\n\
                 start = \"10.1s\"\nstop = \"30s\"\n";
    let text = "transport = \"capped\"\n";
    let capped = TWO_SITES.replace("transport = \"tcp\"\n", text).replace(
        "[transport.tcp]\n",
        "[transport.tcp]\n[transport.capped]\nmax_rate = \"90Mbit/s\"\n",
    );
    let study = study(&format!("{capped}{other}{}", cut("short", "10s", "10.5s")));
    let values = simulate(&study, &study.cases[0], 0).row.values;
    let recovered = get(&values, Measure::FailoverRecover);
    assert!((20_000.0..21_000.0).contains(&recovered), "{recovered}");
}

// Probes detect at 22.5 to 23 s, IKE would take 1.04 s; the second gateway dies in
// the middle of it, so the client waits 5 s from its first packet for an answer
// and then turns to the third.
#[test]
fn a_gateway_that_dies_during_the_exchange_costs_the_connect_timeout() {
    let values = row(r#"
tunnel = "vpn"
[gateway.one]
site = "right"
[gateway.two]
site = "right"
[gateway.three]
site = "right"
[tunnel.vpn]
mode = "tunnel"
cipher = "aes128-gcm"
ike = "ikev1-main"
phase1_time = "200ms"
phase2_time = "800ms"
client = "left"
gateways = ["one", "two", "three"]
detection.probe = { interval = "500ms", rto_multiple = 3 }
relay = {}
[action.first]
at = "20s"
fail.gateway = "one"
[action.second]
at = "23.2s"
fail.gateway = "two"
"#)
    .values;
    let ike = 3.0 * 20.0 + 200.0 + 20.0 + 800.0;
    let reconnect = get(&values, Measure::FailoverReconnect);
    assert!((reconnect - (5000.0 + ike)).abs() < 1e-6, "{reconnect}");
    assert!((get(&values, Measure::IkePhase1) - 260.0).abs() < 1e-6);
    assert!((get(&values, Measure::IkePhase2) - 820.0).abs() < 1e-6);
}

#[test]
fn rows_with_an_error_enter_no_mean() {
    let sound = row("");
    let mut failed = sound.clone();
    failed.replication = 1;
    failed.error = Some("it failed".into());
    failed.values.set(Measure::Throughput, 1e6);
    let cases = summarise(&[sound.clone(), failed], 0.95);
    let estimate = cases[0].get(Measure::Throughput).unwrap();
    assert_eq!(estimate.count, 1);
    assert_eq!(Some(estimate.mean), sound.values.get(Measure::Throughput));
    assert_eq!(cases[0].errors, Some(("it failed".into(), 1)));
}

// 1500 - 80 = 1420 bytes for the packet in the tunnel, 52 of them headers of TCP
// and IP. The client fails over with one round trip of 20 ms.
#[test]
fn wireguard_carries_1368_bytes_and_connects_in_a_round_trip() {
    let row = row(r#"
tunnel = "vpn"
[gateway.one]
site = "right"
[gateway.two]
site = "right"
[tunnel.vpn]
mode = "wireguard"
client = "left"
gateways = ["one", "two"]
detection.probe = { interval = "500ms", rto_multiple = 3 }
[action.first]
at = "20s"
fail.gateway = "one"
"#);
    assert_eq!(row.params.tunnel.as_deref(), Some("wireguard"));
    assert_eq!(row.params.clock.as_deref(), Some("simulated"));
    assert_eq!(get(&row.values, Measure::Mss), 1368.0);
    assert!((get(&row.values, Measure::FailoverReconnect) - 20.0).abs() < 1e-6);
    assert_eq!(get(&row.values, Measure::IkePhase2), 0.0);
}
