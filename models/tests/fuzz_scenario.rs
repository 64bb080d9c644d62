//! No text makes the scenario front end panic, hang or print control characters.
//!
//! 300 documents a run; `PROPTEST_CASES=1000000` asks for more.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use models::scenario::{fault, parse};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;

const EVERYTHING: &str = include_str!("../src/scenario/everything.toml");

/// Longest time one document may take.
const PATIENCE: Duration = Duration::from_secs(2);

const HEADERS: [&str; 28] = [
    "[site.a]",
    "[site.b]",
    "[link.l]",
    "[link]",
    "[[link]]",
    "[host.a]",
    "[host.b]",
    "[vm.v]",
    "[vm.v.dirty.trace]",
    "[vm.v.dirty]",
    "[transport.t]",
    "[tunnel.t]",
    "[tunnel.t.detection]",
    "[traffic.f]",
    "[action.m]",
    "[action.m.migrate]",
    "[action.m.after.weibull]",
    "[gateway.g]",
    "[sweep.x]",
    "[sweep.y]",
    "[sweep]",
    "[[expect]]",
    "[expect]",
    "[tolerance]",
    "[tolerance.downtime_ms]",
    "[replications]",
    "[a.b.c.d.e]",
    "[sweep.x.link.l]",
];

const KEYS: [&str; 54] = [
    "name",
    "seed",
    "until",
    "series",
    "between",
    "rtt",
    "delay",
    "rate",
    "loss",
    "queue",
    "mtu",
    "framing",
    "site",
    "host",
    "memory",
    "disk",
    "zero",
    "compressed",
    "dirty",
    "constant",
    "working_set",
    "hot",
    "trace.file",
    "file",
    "congestion",
    "hystart",
    "min_rto",
    "max_rto",
    "mode",
    "cipher",
    "integrity",
    "ike",
    "client",
    "gateways",
    "from",
    "to",
    "transport",
    "tunnel",
    "at",
    "after",
    "migrate",
    "vm",
    "method",
    "stop_rule",
    "quantity.value",
    "equals",
    "absolute",
    "relative",
    "label",
    "\"link.l.rtt\"",
    "link.l.rtt",
    "vm.v.memory",
    "\"tunnel.t.gateways.0\"",
    "action.m",
];

const VALUES: [&str; 59] = [
    "\"a\"",
    "\"b\"",
    "\"v\"",
    "\"t\"",
    "\"g\"",
    "\"l\"",
    "\"\"",
    "\"-\"",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "0xffffffff",
    "1_000",
    "0.5",
    "1e308",
    "1e999",
    "-0.0",
    "nan",
    "inf",
    "-inf",
    "true",
    "false",
    "1979-05-27T07:32:00Z",
    "07:32",
    "\"20ms\"",
    "\"1 GiB\"",
    "\"0 B\"",
    "\"1 Gbit/s\"",
    "\"100 MB/s\"",
    "\"18446744073709551615 B\"",
    "\"16 TiB\"",
    "\"213503d\"",
    "\"1.0000000001 ns\"",
    "\"100 Mbps\"",
    "\"pre-copy\"",
    "\"post-copy\"",
    "{ qemu = { xbzrle = {}, multifd = {} } }",
    "\"fluid\"",
    "\"aes128-gcm\"",
    "\"xen-4.6\"",
    "[\"a\", \"b\"]",
    "[\"a\", \"a\"]",
    "[]",
    "[1, 2]",
    "[\"1ms\", \"2ms\", \"-\"]",
    "[[[[]]]]",
    "{}",
    "{ a = 1 }",
    "{ qemu = {} }",
    "{ constant = { rate = \"1 MB/s\" } }",
    "{ x.y = 1, }",
    "{ trace = { file = \"t.csv\" } }",
    "{ gateway = \"g\" }",
    "\"\"\"\n\"\"\"",
    "'\u{9b}31m'",
    "\"\\u0000\\u202e\"",
];

/// One change of a text; the indices are taken modulo its length.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Delete(Index, usize),
    Repeat(Index, usize, usize),
    SwapTokens(Index, Index),
    SwapLines(Index, Index),
    Value(Index, &'static str),
    Insert(Index, String),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<Index>(), 1_usize..60).prop_map(|(at, length)| Change::Delete(at, length)),
        (any::<Index>(), 1_usize..80, 1_usize..40)
            .prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::SwapTokens(a, b)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::SwapLines(a, b)),
        (any::<Index>(), select(&VALUES[..])).prop_map(|(at, value)| Change::Value(at, value)),
        (any::<Index>(), "\\PC{1,4}|[\\[\\]{}=.,\"'#\n]{1,6}")
            .prop_map(|(at, text)| Change::Insert(at, text)),
    ]
}

fn apply(text: &str, change: &Change) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.is_empty() {
        return String::new();
    }
    match change {
        Change::Flip(at, byte) => bytes[at.index(text.len())] ^= byte,
        Change::Delete(at, length) => {
            let at = at.index(text.len());
            bytes.drain(at..(at + length).min(text.len()));
        }
        Change::Repeat(at, length, times) => {
            let at = at.index(text.len());
            let part = bytes[at..(at + length).min(text.len())].repeat(*times);
            bytes.splice(at..at, part);
        }
        Change::SwapTokens(a, b) => return swap(text.split_inclusive([' ', '.', '=', '\n']), a, b),
        Change::SwapLines(a, b) => return swap(text.split_inclusive('\n'), a, b),
        Change::Value(at, value) => {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.is_empty() {
                return String::new();
            }
            let at = at.index(lines.len());
            if let Some((key, _)) = lines[at].split_once('=') {
                lines[at] = format!("{key}= {value}");
            }
            return lines.join("\n");
        }
        Change::Insert(at, part) => {
            let at = at.index(text.len());
            bytes.splice(at..at, part.bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn swap<'t>(parts: impl Iterator<Item = &'t str>, a: &Index, b: &Index) -> String {
    let mut parts: Vec<&str> = parts.collect();
    let (a, b) = (a.index(parts.len()), b.index(parts.len()));
    parts.swap(a, b);
    parts.concat()
}

/// Scenario texts to change: those of the repository, good and bad, and the embedded one.
fn seeds() -> Vec<String> {
    let mut seeds = vec![EVERYTHING.to_owned(); 4];
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                seeds.extend(fs::read_to_string(path));
            }
        }
    }
    seeds
}

fn changed() -> impl Strategy<Value = String> {
    (select(seeds()), prop::collection::vec(change(), 0..12)).prop_map(|(text, changes)| {
        changes
            .iter()
            .fold(text, |text, change| apply(&text, change))
    })
}

fn made_up() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        1 => select(&HEADERS[..]).prop_map(str::to_owned),
        3 => (select(&KEYS[..]), select(&VALUES[..])).prop_map(|(key, value)| format!("{key} = {value}")),
    ];
    prop::collection::vec(line, 0..60).prop_map(|lines| {
        // Without a header in front of equal keys nearly every text would end at a duplicate.
        format!("name = \"a\"\nseed = 1\n[site.q]\n{}", lines.join("\n"))
    })
}

fn repeated() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        select(&HEADERS[..]).prop_map(|header| format!("{header}\n")),
        select(&VALUES[..]).prop_map(|value| format!("{value},")),
        select(vec![
            "[", "{a=", "a.", "[a.", "\"", "\\", "\n", "[[a]]\n", "a=1\n", "é", "x=[", "\r\n", "= "
        ])
        .prop_map(str::to_owned),
    ];
    (part, 1_usize..20_000, "\\PC{0,10}").prop_map(|(part, times, end)| part.repeat(times) + &end)
}

fn many_entries() -> impl Strategy<Value = String> {
    let kind = select(vec![
        "site",
        "link",
        "host",
        "vm",
        "gateway",
        "transport",
        "tunnel",
        "traffic",
        "action",
        "sweep",
    ]);
    (kind, 1_usize..3_000, select(&KEYS[..]), select(&VALUES[..])).prop_map(
        |(kind, count, key, value)| {
            let entries = (0..count).map(|index| format!("[{kind}.n{index}]\n{key} = {value}\n"));
            format!("name = \"a\"\nseed = 1\n{}", entries.collect::<String>())
        },
    )
}

fn document() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => changed(),
        4 => made_up(),
        1 => repeated(),
        1 => many_entries(),
        1 => "\\PC*",
        1 => any::<String>(),
    ]
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test is about how long parsing takes"
)]
fn check(text: &str, trace: &str) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let result = parse(text, &mut |_| Ok(trace.to_owned()));
    match result {
        Ok(study) => prop_assert!(!study.cases.is_empty()),
        Err(faults) => {
            prop_assert!(!faults.is_empty());
            for fault in &faults {
                prop_assert!(
                    fault.span.start <= fault.span.end && fault.span.end <= text.len(),
                    "{fault:?}"
                );
                prop_assert!(!fault.message.is_empty());
            }
            let plain = fault::render("fuzz.toml", text, &faults, false);
            prop_assert!(
                plain.chars().all(|c| c == '\n' || !c.is_control()),
                "{plain:?}"
            );
            prop_assert!(plain.contains("error: "));
            fault::render("fuzz.toml", text, &faults, true);
        }
    }
    let elapsed = start.elapsed();
    prop_assert!(elapsed < PATIENCE, "{elapsed:?}");
    Ok(())
}

/// 300 cases unless the environment asks for another number.
fn config() -> ProptestConfig {
    // The default has read `PROPTEST_CASES`, and is 256 without it.
    let default = ProptestConfig::default();
    let cases = if default.cases == 256 {
        300
    } else {
        default.cases
    };
    ProptestConfig {
        cases,
        max_shrink_iters: 2_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_text_breaks_the_front_end(
        text in document(),
        trace in "start_s,rate_mib_s,working_set_mib\n(0,[0-9]{1,3},[0-9]{1,4}\n)?([0-9.]{1,3},\\PC{0,5}\n){0,3}",
    ) {
        check(&text, &trace)?;
    }
}

#[test]
fn the_seeds_are_there() {
    check(EVERYTHING, "start_s,rate_mib_s,working_set_mib\n0,1,1\n").unwrap();
    assert!(seeds().len() > 4);
}
