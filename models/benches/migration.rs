//! How long a replication takes, the building of its world included.
//!
//! The target is 100 microseconds for a pre-copy migration of 2 GiB over 1 Gbit/s
//! at 100 ms, so that a sweep of a hundred points with a hundred replications
//! takes a second. `flows` is the other end: many connections, one bottleneck,
//! an event a round trip of each.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use models::scenario::{Study, parse};
use models::simulate::simulate;

fn study(text: &str) -> Study {
    parse(text, &mut |path| Err(format!("no {path}"))).expect("the scenario is right")
}

/// QEMU moves a guest with a hot set of 64 MiB over Linux's default buffers.
fn migration(rtt: &str, loss: f64) -> Study {
    study(&format!(
        "name = \"bench\"\nseed = 1\nsite.a = {{}}\nsite.b = {{}}\n\
         link.wan = {{ between = [\"a\", \"b\"], rtt = \"{rtt}\", rate = \"1Gbit/s\", loss = {loss:.9} }}\n\
         host.a.site = \"a\"\nhost.b.site = \"b\"\n\
         [vm.guest]\nhost = \"a\"\nmemory = \"2GiB\"\n\
         dirty.hot_cold = {{ hot = \"64MiB\", hot_rate = \"8MiB/s\", cold_rate = \"512KiB/s\" }}\n\
         [transport.tcp]\n[action.move]\nat = \"0s\"\n\
         migrate = {{ vm = \"guest\", to = \"b\", method = \"pre-copy\", stop_rule.qemu = {{}}, transport = \"tcp\" }}\n"
    ))
}

/// A case of a shipped scenario.
fn shipped(name: &str, case: &str) -> (Study, usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../scenarios")
        .join(name);
    let study = study(&fs::read_to_string(path).expect("the scenario is shipped"));
    let case = study
        .cases
        .iter()
        .position(|other| other.id == case)
        .expect("the case exists");
    (study, case)
}

/// 64 connections with round-trip times from 20 to 83 ms on one link for 10 s.
fn flows() -> Study {
    let mut text = "name = \"flows\"\nseed = 1\nuntil = \"10s\"\nsite.hub = {}\nsite.far = {}\n\
                    transport.tcp = {}\n\
                    link.wan = { between = [\"hub\", \"far\"], rtt = \"10ms\", rate = \"1Gbit/s\", loss = 0.00001 }\n"
        .to_owned();
    for flow in 0..64 {
        let rtt = 10 + flow;
        text += &format!(
            "site.s{flow} = {{}}\n\
             link.l{flow} = {{ between = [\"s{flow}\", \"hub\"], rtt = \"{rtt}ms\", rate = \"10Gbit/s\" }}\n\
             traffic.f{flow} = {{ from = \"s{flow}\", to = \"far\", transport = \"tcp\" }}\n"
        );
    }
    study(&text)
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("replication");
    group
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    let mut add = |name: &str, study: &Study, case: usize| {
        let mut replication = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                replication += 1;
                simulate(study, &study.cases[case], black_box(replication))
            });
        });
    };
    for rtt in ["100ms", "10ms"] {
        for (loss, label) in [(0.0, "lossless"), (1e-6, "loss 1e-6")] {
            add(&format!("precopy {rtt} {label}"), &migration(rtt, loss), 0);
        }
    }
    let (study, case) = shipped(
        "card/migrate.toml",
        "route=tokyo-osaka,method=pre-copy-ipsec",
    );
    add("card tokyo-osaka precopy", &study, case);
    let (study, case) = shipped("published/bitvisor-failover.toml", "relay=with");
    add("bitvisor failover", &study, case);
    add("64 flows 10 s", &flows(), 0);
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
