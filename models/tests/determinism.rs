//! The same scenario and seed give the same numbers, to the last bit: twice, in
//! any order, on any thread, and whatever else the scenario holds.

use std::path::Path;
use std::{fs, thread};

use models::record::{MEASURES, Measure, Row};
use models::scenario::{Study, fault, parse};
use models::simulate::simulate;
use models::world::World;
use sim_core::{Limits, Queue, Streams};

fn study(text: &str) -> Study {
    parse(text, &mut |path| Err(format!("no {path}")))
        .unwrap_or_else(|faults| panic!("{}", fault::render("test", text, &faults, false)))
}

/// A shipped scenario, by folder and name.
fn shipped(name: &str) -> Study {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../scenarios")
        .join(name);
    study(&fs::read_to_string(path).unwrap())
}

/// Every value of a row, bit by bit.
fn bits(row: &Row) -> Vec<Option<u64>> {
    MEASURES
        .iter()
        .map(|info| row.values.get(info.measure).map(f64::to_bits))
        .collect()
}

fn run(study: &Study, case: usize, replication: u32) -> Row {
    simulate(study, &study.cases[case], replication).row
}

/// Two migrations that share a link, a lossy one, with a guest whose speed is drawn,
/// a flow beside them, a gateway that fails at random.
const BUSY: &str = r#"
name = "busy"
seed = 11
until = "10min"
[site.a]
[site.b]
[site.c]
[site.d]
[link.wan]
between = ["a", "b"]
rtt = "20ms"
rate = "500Mbit/s"
loss = 0.00001
[link.side]
between = ["c", "d"]
rtt = "30ms"
rate = "100Mbit/s"
loss = 0.001
[gateway.g]
site = "a"
[gateway.h]
site = "b"
[host.a]
site = "a"
[host.b]
site = "b"
[vm.web]
host = "a"
memory = "512MiB"
dirty.hot_cold = { hot = "32MiB", hot_rate = "20MiB/s", cold_rate = "1MiB/s" }
dirty_variation = 0.3
[vm.cache]
host = "a"
memory = "256MiB"
dirty.constant = { rate = "5MiB/s", pattern = "random" }
[transport.tcp]
[tunnel.vpn]
mode = "tunnel"
cipher = "aes128-gcm"
ike = "ikev2"
client = "a"
gateways = ["g", "h"]
detection.probe = { interval = "300ms", rto_multiple = 3.0 }
relay = {}
[traffic.bulk]
from = "a"
to = "b"
transport = "tcp"
tunnel = "vpn"
stop = "5min"
[action.move]
at = "1s"
migrate = { vm = "web", to = "b", method = "pre-copy", stop_rule.qemu = {}, transport = "tcp" }
[action.move-cache]
at = "2s"
migrate = { vm = "cache", to = "b", method = "pre-copy", stop_rule = "xen-4.0", transport = "tcp" }
[action.break]
after.exponential = { mean = "20s" }
fail.gateway = "g"
"#;

#[test]
fn the_same_case_gives_the_same_bits_twice() {
    let study = study(BUSY);
    for replication in 0..5 {
        let (first, second) = (run(&study, 0, replication), run(&study, 0, replication));
        assert!(first.error.is_none(), "{:?}", first.error);
        assert_eq!(bits(&first), bits(&second));
        assert_eq!(first, second);
    }
}

#[test]
fn neither_the_order_of_cases_nor_the_thread_changes_a_bit() {
    for name in [
        "card/migrate.toml",
        "published/bitvisor-failover.toml",
        "card/dirty.toml",
    ] {
        let study = shipped(name);
        let jobs: Vec<(usize, u32)> = (0..study.cases.len())
            .flat_map(|case| (0..2).map(move |r| (case, r)))
            .collect();
        let forwards: Vec<Row> = jobs.iter().map(|&(case, r)| run(&study, case, r)).collect();
        let mut backwards: Vec<Row> = jobs
            .iter()
            .rev()
            .map(|&(case, r)| run(&study, case, r))
            .collect();
        backwards.reverse();
        let elsewhere: Vec<Row> = thread::scope(|scope| {
            let spawn = |&(case, r): &(usize, u32)| {
                let study = &study;
                scope.spawn(move || run(study, case, r))
            };
            let threads: Vec<_> = jobs.iter().map(spawn).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for ((forward, backward), other) in forwards.iter().zip(&backwards).zip(&elsewhere) {
            assert_eq!(bits(forward), bits(backward), "{name} {}", forward.case);
            assert_eq!(bits(forward), bits(other), "{name} {}", forward.case);
        }
    }
}

/// Payload and time of everything in a case: bytes of each connection on
/// the first link, instants of each flow and migration there.
fn fingerprint(text: &str, replication: u32) -> Vec<String> {
    let study = study(text);
    let scenario = &study.cases[0].scenario;
    let mut queue = Queue::new();
    let streams = Streams::new(study.seed, replication);
    let mut world = World::new(scenario, streams, &mut queue);
    let limits = Limits {
        until: scenario.until,
        max_events: 50_000_000,
    };
    let end = sim_core::run(&mut world, &mut queue, limits).end;
    world.finish(end);
    let network = world.network();
    let counters = |id: usize| {
        (
            network.sent(id).to_bits(),
            network.wire(id).to_bits(),
            network.rate(id).to_bits(),
        )
    };
    let mut lines: Vec<String> = world
        .migrations()
        .iter()
        .map(|migration| {
            format!(
                "{:?} {:?}",
                migration.span(),
                counters(migration.connection())
            )
        })
        .collect();
    let flows = world.flows().iter().zip(&scenario.traffic);
    lines.extend(
        flows
            .filter(|(_, traffic)| traffic.name == "bulk")
            .map(|(flow, _)| {
                let instants = (flow.stopped, flow.outages.clone(), flow.recovered);
                format!("{instants:?} {:?}", counters(flow.connection.unwrap()))
            }),
    );
    lines
}

// Links `wan` and `side` share nothing. Names decide about streams, so neither a
// flow that is opened first nor an action in between moves a draw.
#[test]
fn what_is_added_elsewhere_moves_nothing_here() {
    let additions = [
        "[traffic.aside]\nfrom = \"c\"\nto = \"d\"\ntransport = \"tcp\"\n",
        "[traffic.later]\nfrom = \"d\"\nto = \"c\"\ntransport = \"tcp\"\nstart = \"3s\"\nstop = \"100s\"\n",
        "[action.another]\nafter.uniform = { low = \"1s\", high = \"9s\" }\nfail.link = \"side\"\n",
        "[tunnel.spare]\nmode = \"transport\"\ncipher = \"aes256-gcm\"\nthroughput = \"1Gbit/s\"\n",
        "[tunnel.other]\nmode = \"tunnel\"\ncipher = \"aes128-gcm\"\nclient = \"b\"\ngateways = [\"g\"]\n\
         detection.probe = { interval = \"1s\", rto_multiple = 3.0 }\n",
        "[vm.idle]\nhost = \"b\"\nmemory = \"1GiB\"\ndirty_variation = 0.5\n",
    ];
    for replication in 0..3 {
        let alone = fingerprint(BUSY, replication);
        assert_eq!(alone.len(), 3);
        for addition in additions {
            let more = fingerprint(&format!("{BUSY}{addition}"), replication);
            assert_eq!(alone, more, "{addition}");
        }
    }
}

#[test]
fn replications_differ_where_there_is_chance_and_only_there() {
    let chance = study(BUSY);
    let rows: Vec<_> = (0..4).map(|r| bits(&run(&chance, 0, r))).collect();
    for (at, row) in rows.iter().enumerate() {
        assert!(
            !rows[..at].contains(row),
            "replication {at} repeats another"
        );
    }
    let none = shipped("published/yamashita.toml");
    assert_eq!(bits(&run(&none, 0, 0)), bits(&run(&none, 0, 1)));
}

// An ideal link of 1 Gbit/s, sequential writes: the first round takes V/R and
// dirties speed * D * V/R bytes, so the pages of two rounds tell the speed. The
// draw belongs to the VM's name; a tunnel, which a fluid transport does not feel
// unless its engine is slower, must not move it, and neither must another method's
// transport or a failure that strikes nothing.
#[test]
fn the_guest_draws_the_same_speed_whatever_carries_it() {
    let text = |tunnel: &str| {
        format!(
            "name = \"speed\"\nseed = 5\nsite.a = {{}}\nsite.b = {{}}\nhost.a.site = \"a\"\nhost.b.site = \"b\"\n\
             [link.wan]\nbetween = [\"a\", \"b\"]\nrtt = \"0s\"\nrate = \"1Gbit/s\"\n\
             [vm.guest]\nhost = \"a\"\nmemory = \"1GiB\"\ndevice_state = \"0B\"\ndirty_variation = 0.4\n\
             dirty.constant = {{ rate = \"10MB/s\" }}\n\
             [transport.ideal]\ncongestion = \"fluid\"\nsetup_round_trips = 0\n\
             [tunnel.esp]\nmode = \"tunnel\"\ncipher = \"aes128-gcm\"\nthroughput = \"2Gbit/s\"\n\
             [action.move]\nat = \"0s\"\n[action.move.migrate]\nvm = \"guest\"\nto = \"b\"\nmethod = \"pre-copy\"\n\
             stop_rule = \"xen-4.6\"\ntransport = \"ideal\"\n{tunnel}"
        )
    };
    let (plain, through) = (study(&text("")), study(&text("tunnel = \"esp\"\n")));
    let pages = |study: &Study, r| run(study, 0, r).values.get(Measure::PagesSent).unwrap();
    let mut seen = Vec::new();
    for replication in 0..20 {
        assert_eq!(pages(&plain, replication), pages(&through, replication));
        seen.push(pages(&plain, replication));
    }
    let (low, high) = (
        seen.iter().copied().fold(f64::MAX, f64::min),
        seen.iter().copied().fold(0.0, f64::max),
    );
    assert!(high > low * 1.05, "the speed varies: {low} to {high} pages");
}

// Nothing survives a simulation: what ran before leaves no trace in what runs next.
#[test]
fn a_simulation_leaves_nothing_behind() {
    let (busy, other) = (study(BUSY), shipped("card/failover-migration.toml"));
    let before = bits(&run(&busy, 0, 3));
    for case in 0..other.cases.len() {
        run(&other, case, 0);
    }
    assert_eq!(before, bits(&run(&busy, 0, 3)));
}
