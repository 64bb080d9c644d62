//! `watari compare` as its users meet it: two records in, tables, files and exit code out.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use models::record::{Backend, Measure, Params, Row, Values, write};
use tempfile::TempDir;

fn row(backend: Backend, case: &str, replication: u32, values: &[(Measure, f64)]) -> Row {
    let mut all = Values::default();
    values.iter().for_each(|&(measure, v)| all.set(measure, v));
    Row {
        scenario: "lab".into(),
        scenario_hash: "0123456789ab".into(),
        case: case.into(),
        replication,
        seed: 1,
        backend,
        params: Params {
            method: models::record::axis(case, "method").map(str::to_owned),
            rtt_ms: Some(60.0),
            ..Params::default()
        },
        error: None,
        values: all,
    }
}

/// A migration: total time and downtime in ms, and bytes.
fn migration(backend: Backend, case: &str, replication: u32, values: [f64; 3]) -> Row {
    let measures = [Measure::TotalTime, Measure::Downtime, Measure::BytesSent];
    let values: Vec<_> = measures.into_iter().zip(values).collect();
    row(backend, case, replication, &values)
}

const CASES: [&str; 3] = [
    "method=pre-copy,n=1",
    "method=pre-copy,n=2",
    "method=post-copy,n=3",
];

/// Three cases, three repeats, an error of 2 % in total time: within every target.
fn halves() -> (Vec<Row>, Vec<Row>) {
    let (mut simulated, mut emulated) = (Vec::new(), Vec::new());
    for (index, case) in CASES.into_iter().enumerate() {
        let total = 10_000.0 * (index + 1) as f64;
        simulated.push(migration(
            Backend::Simulated,
            case,
            0,
            [1.02 * total, 110.0, 1e9],
        ));
        for (replication, noise) in [0.99, 1.0, 1.01].into_iter().enumerate() {
            let values = [noise * total, 100.0 * noise, 1.01e9];
            let replication = u32::try_from(replication).unwrap();
            emulated.push(migration(Backend::Emulated, case, replication, values));
        }
    }
    (simulated, emulated)
}

fn record(folder: &Path, name: &str, rows: &[Row]) {
    let mut bytes = Vec::new();
    write(rows, &mut bytes).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn folder(simulated: &[Row], emulated: &[Row]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), "simulated.csv", simulated);
    record(folder.path(), "emulated.csv", emulated);
    folder
}

fn compare(folder: &TempDir, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watari"))
        .current_dir(folder.path())
        .args(["compare", "simulated.csv", "emulated.csv"])
        .args(more)
        .output()
        .unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: Result<fs::DirEntry, _>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

#[test]
fn a_good_prediction_holds_and_says_by_how_much() {
    let (simulated, emulated) = halves();
    let folder = folder(&simulated, &emulated);
    let text = ends(&compare(&folder, &[]), 0);
    // t at 97.5 % with two degrees of freedom, 4.303, times 0.1 s / sqrt(3).
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.join(" ");
    let line = "method=pre-copy,n=1 total time 10.20 s 10.00 ± 0.25 s 1, 3 +2.0 % 5 % holds";
    assert!(words.contains(line), "{text}");
    let line = "total time, median error 5 % 2.0 % 3 cases holds";
    assert!(words.contains(line), "{text}");
    assert!(!text.contains("MISSES"), "{text}");
    assert_eq!(names(folder.path()), ["emulated.csv", "simulated.csv"]);
}

#[test]
fn a_tail_of_errors_fails_and_the_class_is_named() {
    let (mut simulated, emulated) = halves();
    simulated[2].values.set(Measure::TotalTime, 36_000.0);
    let folder = folder(&simulated, &emulated);
    let text = ends(&compare(&folder, &[]), 1);
    let class = "Method post-copy misses total time, median error: 20.0 %, allowed 5 %, of 1 case.";
    assert!(text.contains(class), "{text}");
    assert!(
        text.contains("1 case\n  outside: lab/method=post-copy,n=3."),
        "{text}"
    );
    let quiet = ends(&compare(&folder, &["--quiet"]), 1);
    assert!(!quiet.contains("n=1"), "{quiet}");
}

#[test]
fn tables_and_figures_are_written_where_asked() {
    let (simulated, emulated) = halves();
    let folder = folder(&simulated, &emulated);
    ends(
        &compare(&folder, &["--out", "all", "--markdown", "all.md"]),
        0,
    );
    let all = folder.path().join("all");
    assert_eq!(
        names(&all),
        [
            "captions.md",
            "compare.csv",
            "compare.errors.png",
            "compare.errors.svg",
            "compare.predicted.png",
            "compare.predicted.svg",
        ]
    );
    let table = fs::read_to_string(all.join("compare.csv")).unwrap();
    // A header, and three measures of three cases.
    assert_eq!(table.lines().count(), 10);
    let line = "lab,\"method=pre-copy,n=1\",pre-copy,,60,total_time_ms,ms,1,10200.000,10200.000,3,\
                10000.000,10000.000,9751.586,10248.414,200.000,2.000,5.000,,1";
    assert!(table.contains(line), "{table}");
    let markdown = fs::read_to_string(folder.path().join("all.md")).unwrap();
    let line = "| total time, median error | 5 % | 2.0 % | 3 cases | holds |";
    assert!(markdown.contains(line), "{markdown}");
    ends(&compare(&folder, &["--out", "few", "--no-figures"]), 0);
    assert_eq!(names(&folder.path().join("few")), ["compare.csv"]);
}

#[test]
fn a_missing_case_is_listed_and_a_failed_one_disagrees() {
    let (mut simulated, mut emulated) = halves();
    simulated.push(migration(Backend::Simulated, "n=9", 0, [1e4, 1e2, 1e9]));
    emulated.retain(|row| row.case != CASES[0]);
    let folder_one = folder(&simulated, &emulated);
    let text = ends(&compare(&folder_one, &[]), 0);
    let line = "2 cases simulated but not emulated: lab/method=pre-copy,n=1; lab/n=9.";
    assert!(text.contains(line), "{text}");
    let own = emulated.iter_mut().filter(|row| row.case == CASES[1]);
    own.for_each(|row| row.error = Some("the guest panicked".into()));
    let text = ends(&compare(&folder(&simulated, &emulated), &[]), 1);
    let line = "lab/method=pre-copy,n=2: 3 of 3 emulated rows failed (the guest panicked); the halves DISAGREE.";
    assert!(text.contains(line), "{text}");
}

/// A scenario of the name of the records, which allows 1 % of total time.
const STRICT: &str = r#"
name = "lab"
description = "Two sites, one link."
seed = 1

[site.left]
[site.right]

[link.wan]
between = ["left", "right"]
rtt = "60ms"
rate = "100 Mbit/s"

[host.one]
site = "left"
[host.two]
site = "right"

[vm.web]
host = "one"
memory = "64 MiB"

[transport.plain]

[action.move]
at = "1s"
migrate = { vm = "web", to = "two", method = "stop-and-copy", transport = "plain" }

[tolerance]
total_time_ms = { relative = 0.01 }
"#;

#[test]
fn a_tolerance_that_a_scenario_states_decides() {
    let (simulated, emulated) = halves();
    let folder = folder(&simulated, &emulated);
    fs::write(folder.path().join("lab.toml"), STRICT).unwrap();
    let text = ends(&compare(&folder, &["--scenario", "lab.toml"]), 1);
    let line =
        "The tolerance that the scenario states is missed: total time of lab/method=pre-copy,n=1.";
    assert!(text.contains(line), "{text}");
    assert!(text.contains(" 1 %  MISSES"), "{text}");
    fs::write(
        folder.path().join("lab.toml"),
        STRICT.replace("0.01", "0.03"),
    )
    .unwrap();
    ends(&compare(&folder, &["--scenario", "lab.toml"]), 0);
    ends(&compare(&folder, &["--scenario", "none.toml"]), 2);
}

#[test]
fn the_rung_of_every_case_has_to_be_the_same() {
    let rung = |backend, replication, rung| {
        let values = [(Measure::RetransmissionRung, rung)];
        row(backend, "base", replication, &values)
    };
    let simulated = [rung(Backend::Simulated, 0, 6.0)];
    let measured =
        |rungs: [f64; 3]| [0, 1, 2].map(|n: u32| rung(Backend::Emulated, n, rungs[n as usize]));
    // Medians of 6 and of 5.
    ends(
        &compare(&folder(&simulated, &measured([5.0, 6.0, 6.0])), &[]),
        0,
    );
    ends(
        &compare(&folder(&simulated, &measured([5.0, 5.0, 6.0])), &[]),
        1,
    );
}

#[test]
fn recoveries_are_compared_run_by_run() {
    let recover = |backend, replication, ms| {
        let values = [(Measure::FailoverRecover, ms)];
        row(backend, "base", replication, &values)
    };
    let simulated = [recover(Backend::Simulated, 0, 13_000.0)];
    let near = [
        recover(Backend::Emulated, 0, 13_400.0),
        recover(Backend::Emulated, 1, 12_600.0),
    ];
    let text = ends(&compare(&folder(&simulated, &near), &[]), 0);
    assert!(text.contains("Recovery: 2 of 2 runs are near"), "{text}");
    let far = [near[0].clone(), recover(Backend::Emulated, 1, 26_000.0)];
    let text = ends(&compare(&folder(&simulated, &far), &[]), 1);
    assert!(
        text.contains("at least 80.0 %  50.0 %  2 runs  MISSES"),
        "{text}"
    );
}

#[test]
fn records_that_cannot_be_compared_are_refused_before_anything_is_written() {
    let (simulated, emulated) = halves();
    let refused = |simulated: &[Row], emulated: &[Row], words: &str| {
        let folder = folder(simulated, emulated);
        let text = ends(&compare(&folder, &["--out", "out"]), 2);
        assert!(text.contains(words), "{text}");
        assert!(!folder.path().join("out").exists());
    };
    let twice = [emulated.clone(), emulated[..1].to_vec()].concat();
    refused(&simulated, &twice, "is in the record twice");
    refused(&emulated, &simulated, "the simulated record comes first");
    let other = [migration(Backend::Emulated, "n=7", 0, [1.0; 3])];
    refused(&simulated, &other, "no case in common");
    refused(&simulated, &[], "no case in common");
}

#[test]
fn a_value_that_is_no_number_and_a_foreign_file_are_refused() {
    let (simulated, emulated) = halves();
    let folder = folder(&simulated, &emulated);
    let path = folder.path().join("emulated.csv");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("1010000000", "NaN", 1)).unwrap();
    let refusal = ends(&compare(&folder, &[]), 2);
    assert!(refusal.contains("finite"), "{refusal}");
    fs::write(&path, "a,b\n1,2\n").unwrap();
    let refusal = ends(&compare(&folder, &[]), 2);
    assert!(refusal.contains("column 1 is `a`"), "{refusal}");
    fs::remove_file(&path).unwrap();
    ends(&compare(&folder, &[]), 2);
}
