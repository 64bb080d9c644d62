//! The command as its users meet it: arguments in, text, files and exit code out.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A migration that takes the simulator no time.
const SMALL: &str = r#"
name = "small"
description = "Two sites, one link. The rest is not for the first line."
seed = 7
replications.count = 3

[site.left]
[site.right]

[link.wan]
between = ["left", "right"]
rtt = "20ms"
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

[sweep.rtt]
"link.wan.rtt" = ["10ms", "20ms"]
label = ["10ms", "20ms"]
"#;

/// A folder with `small.toml` in it.
fn folder() -> TempDir {
    folder_with("small.toml", SMALL)
}

fn folder_with(name: &str, text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watari"));
    command
        .current_dir(folder)
        .args(arguments)
        .env_remove("NO_COLOR");
    command
}

fn watari(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{}",
        stdout(output),
        stderr(output)
    );
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read(folder: &TempDir, file: &str) -> String {
    fs::read_to_string(folder.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let here = Path::new(".");
    for verb in [
        "check", "run", "verify", "emulate", "compare", "plot", "doctor", "lab", "schema",
    ] {
        let output = watari(here, &[verb, "-h"]);
        assert_code(&output, 0);
        assert!(stdout(&output).contains("Example"), "{verb}");
    }
    let output = watari(here, &["-h"]);
    assert!(stdout(&output).contains("Exit codes"));
    assert!(stdout(&watari(here, &["--version"])).starts_with("watari "));
    assert_code(&watari(here, &[]), 2);
    assert_code(&watari(here, &["fly"]), 2);
}

#[test]
fn run_takes_the_profile_of_a_lab_and_records_it() {
    let folder = folder();
    fs::write(folder.path().join("lab.json"), "{\"resume\": \"5s\"}\n").unwrap();
    let plain = watari(
        folder.path(),
        &["run", "small.toml", "--out", "-", "--quiet"],
    );
    let arguments = ["run", "small.toml", "--quiet", "--profile", "lab.json"];
    assert_code(&watari(folder.path(), &arguments), 0);
    assert_ne!(stdout(&plain), read(&folder, "out/small.csv"));
    let manifest = read(&folder, "out/small.manifest.json");
    assert!(manifest.contains("\"lab.json\""), "{manifest}");

    fs::write(folder.path().join("lab.toml"), "resume = \"5\"\n").unwrap();
    let output = watari(
        folder.path(),
        &["run", "small.toml", "--profile", "lab.toml"],
    );
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("`resume`: \"5\" has no unit"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn check_counts_scenarios_and_cases() {
    let folder = folder();
    let output = watari(folder.path(), &["check", "."]);
    assert_code(&output, 0);
    assert_eq!(stdout(&output), "1 scenario is fine: 2 cases\n");
}

#[test]
fn check_shows_the_faults_of_every_file() {
    let folder = folder_with("a.toml", &SMALL.replace("seed = 7", "sead = 7"));
    fs::write(
        folder.path().join("b.toml"),
        SMALL.replace("\"64 MiB\"", "\"64 MiBit\""),
    )
    .unwrap();
    fs::write(folder.path().join("c.toml"), SMALL).unwrap();
    let output = watari(
        folder.path(),
        &["check", "a.toml", "b.toml", "c.toml", "missing.toml"],
    );
    assert_code(&output, 2);
    let text = stderr(&output);
    assert!(text.contains("a.toml:") && text.contains("sead"), "{text}");
    assert!(
        text.contains("b.toml:") && text.contains("64 MiBit"),
        "{text}"
    );
    assert!(text.contains("cannot read `missing.toml`"), "{text}");
    assert!(text.contains("3 of 4 scenarios cannot be used"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "no colour where there is no terminal"
    );
}

#[test]
fn folders_are_walked_but_for_hidden_and_invalid_ones() {
    let folder = folder();
    for name in ["deep/er", "invalid", ".hidden"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("deep/er/x.toml"), SMALL).unwrap();
    fs::write(folder.path().join("invalid/x.toml"), "nonsense").unwrap();
    fs::write(folder.path().join(".hidden/x.toml"), "nonsense").unwrap();
    fs::write(folder.path().join(".x.toml"), "nonsense").unwrap();
    fs::write(folder.path().join("notes.md"), "nonsense").unwrap();
    let output = watari(folder.path(), &["check", ".", "small.toml"]);
    assert!(stdout(&output).contains("are fine"), "{}", stderr(&output));
    let empty = tempfile::tempdir().unwrap();
    let output = watari(empty.path(), &["check", "."]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("no scenario (*.toml)"));
}

#[test]
fn colour_is_asked_for_or_not() {
    let folder = folder_with("a.toml", "seed = ");
    let colored = |arguments: &[&str], no_color: &str| {
        let output = command(folder.path(), arguments)
            .env("NO_COLOR", no_color)
            .output()
            .unwrap();
        stderr(&output).contains('\u{1b}')
    };
    assert!(colored(&["check", "a.toml", "--color", "always"], ""));
    assert!(
        colored(&["--color", "always", "check", "a.toml"], "1"),
        "the argument wins"
    );
    assert!(!colored(&["check", "a.toml", "--color", "never"], ""));
    assert!(!colored(&["check", "a.toml"], "1"));
}

#[test]
fn run_prints_a_table_and_writes_record_and_manifest() {
    let folder = folder();
    let output = watari(folder.path(), &["run", "small.toml", "--no-figures"]);
    assert_code(&output, 0);
    let text = stdout(&output);
    assert!(text.starts_with("small: Two sites, one link\n2 cases, 3 replications each, seed 7\n"));
    assert!(text.contains("total time ["), "{text}");
    assert!(text.contains("record   out/small.csv"), "{text}");
    assert!(
        text.contains("next     watari plot out/small.csv --out figures"),
        "{text}"
    );
    assert_eq!(stderr(&output), "");
    let wanted = ["small.csv", "small.manifest.json", "small.run.json"];
    assert_eq!(names(&folder.path().join("out")), wanted);
    let record = read(&folder, "out/small.csv");
    let cases: Vec<String> = record
        .lines()
        .skip(1)
        .map(|line| {
            line.split(',')
                .skip(2)
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let wanted = [
        "rtt=10ms 0",
        "rtt=10ms 1",
        "rtt=10ms 2",
        "rtt=20ms 0",
        "rtt=20ms 1",
        "rtt=20ms 2",
    ];
    assert_eq!(cases, wanted);
    let manifest: serde_json::Value =
        serde_json::from_str(&read(&folder, "out/small.manifest.json")).unwrap();
    assert_eq!(manifest["status"], "complete");
    assert_eq!(manifest["inputs"][0]["file"], "small.toml");
    assert_eq!(manifest["axes"][0]["labels"][1], "20ms");
    assert_eq!(manifest["outputs"][0]["bytes"], record.len());
    assert_eq!(manifest["outputs"][0]["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn run_draws_the_figures_that_plot_draws() {
    let folder = folder();
    let output = watari(folder.path(), &["run", "small.toml"]);
    assert_code(&output, 0);
    let output = watari(folder.path(), &["plot", "out/small.csv", "--out", "again"]);
    assert_code(&output, 0);
    if stdout(&output).is_empty() {
        return; // Nothing to draw, twice.
    }
    let again = names(&folder.path().join("again"));
    assert_eq!(names(&folder.path().join("out/figures")), again);
    for name in &again {
        let bytes = |folder_name: &str| fs::read(folder.path().join(folder_name).join(name));
        assert_eq!(
            bytes("out/figures").unwrap(),
            bytes("again").unwrap(),
            "{name}"
        );
    }
    let output = watari(folder.path(), &["plot", "out", "--out", "svg", "--no-png"]);
    assert_code(&output, 0);
    assert!(
        names(&folder.path().join("svg"))
            .iter()
            .all(|name| !name.ends_with(".png"))
    );
}

#[test]
fn plot_refuses_what_is_no_record() {
    let folder = folder();
    assert_code(&watari(folder.path(), &["plot", "."]), 2);
    assert_code(&watari(folder.path(), &["plot", "missing.csv"]), 2);
    fs::write(folder.path().join("x.csv"), "a,b\n1,2\n").unwrap();
    let output = watari(folder.path(), &["plot", "x.csv"]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("column 1 is `a`"),
        "{}",
        stderr(&output)
    );
    watari(folder.path(), &["run", "small.toml", "--no-figures"]);
    let output = watari(folder.path(), &["plot", "out/small.csv", "./out/small.csv"]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("is in the record twice"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_bad_scenario_stops_the_run_before_it_starts() {
    let folder = folder();
    fs::write(folder.path().join("bad.toml"), "name = ").unwrap();
    let output = watari(folder.path(), &["run", "small.toml", "bad.toml"]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("nothing was run"),
        "{}",
        stderr(&output)
    );
    assert_code(&watari(folder.path(), &["run", "missing.toml"]), 2);
    assert_code(
        &watari(folder.path(), &["run", "small.toml", "--replications", "0"]),
        2,
    );
    fs::write(folder.path().join("file"), "").unwrap();
    assert_code(
        &watari(folder.path(), &["run", "small.toml", "--out", "file/out"]),
        2,
    );
    assert_eq!(names(folder.path()), ["bad.toml", "file", "small.toml"]);
}

#[test]
fn two_scenarios_of_one_name_are_refused() {
    let folder = folder();
    fs::write(folder.path().join("twin.toml"), SMALL).unwrap();
    let output = watari(folder.path(), &["run", "."]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("both named `small`"),
        "{}",
        stderr(&output)
    );
}

#[cfg(unix)]
#[test]
fn a_trace_comes_from_the_folder_of_the_scenario_only() {
    let outside = folder_with("secret.csv", "start_s,rate_mib_s,working_set_mib\n0,1,1\n");
    let secret = outside.path().join("secret.csv");
    let dirty = "\n[vm.web.dirty.trace]\nfile = \"trace.csv\"\n";
    let folder = folder_with("small.toml", &format!("{SMALL}{dirty}"));
    let trace = folder.path().join("trace.csv");
    let output = watari(folder.path(), &["check", "small.toml"]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("cannot read `trace.csv`"),
        "{}",
        stderr(&output)
    );

    std::os::unix::fs::symlink(&secret, &trace).unwrap();
    let output = watari(folder.path(), &["check", "small.toml"]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("not in the folder of the scenario"),
        "{}",
        stderr(&output)
    );

    fs::remove_file(&trace).unwrap();
    fs::copy(&secret, &trace).unwrap();
    assert_code(
        &watari(folder.path(), &["run", "small.toml", "--no-figures"]),
        0,
    );
    assert!(read(&folder, "out/small.manifest.json").contains("\"trace.csv\""));
}

#[test]
fn records_on_standard_output_leave_no_file() {
    let folder = folder();
    let output = watari(folder.path(), &["run", "small.toml", "--out", "-"]);
    assert_code(&output, 0);
    assert_eq!(names(folder.path()), ["small.toml"]);
    assert!(stderr(&output).contains("total time ["));
    watari(folder.path(), &["run", "small.toml", "--no-figures"]);
    assert_eq!(stdout(&output), read(&folder, "out/small.csv"));
}

#[test]
fn the_same_run_gives_the_same_bytes_whatever_the_threads() {
    let folder = folder();
    for (out, jobs) in [("a", "1"), ("b", "1"), ("c", "2"), ("d", "7")] {
        let arguments = [
            "run",
            "small.toml",
            "--replications",
            "200",
            "--jobs",
            jobs,
            "--out",
            out,
        ];
        assert_code(
            &watari(folder.path(), &[&arguments[..], &["--no-figures"]].concat()),
            0,
        );
    }
    for file in ["small.csv", "small.manifest.json"] {
        for other in ["b", "c", "d"] {
            let [one, two] = ["a", other].map(|out| read(&folder, &format!("{out}/{file}")));
            assert!(one == two, "{other}/{file} differs from a/{file}");
        }
    }
}

#[test]
fn the_seed_may_be_given() {
    let folder = folder();
    let output = watari(
        folder.path(),
        &["run", "small.toml", "--seed", "8", "--no-figures"],
    );
    assert!(stdout(&output).contains("seed 8\n"));
    assert!(
        read(&folder, "out/small.csv")
            .lines()
            .nth(1)
            .unwrap()
            .contains(",8,simulated,")
    );
}

#[test]
fn one_case_of_the_sweep_may_be_chosen() {
    let folder = folder();
    let run = |case| watari(folder.path(), &["run", "small.toml", "--case", case]);
    let output = run("rtt=20ms");
    assert_code(&output, 0);
    let record = read(&folder, "out/small.csv");
    assert_eq!(record.matches("rtt=20ms").count(), 3);
    assert_eq!(record.matches("rtt=10ms").count(), 0);
    let output = run("rtt=30ms");
    assert_code(&output, 2);
    assert!(stderr(&output).contains("is called, for example, `rtt=10ms`"));
}

#[test]
fn quiet_prints_nothing_when_all_is_well() {
    let folder = folder();
    let output = watari(folder.path(), &["run", "small.toml", "--quiet"]);
    assert_code(&output, 0);
    assert_eq!(
        (stdout(&output), stderr(&output)),
        (String::new(), String::new())
    );
}

/// Runs `small` with a million replications until the record is growing, then
/// sends it a signal.
fn interrupted(folder: &TempDir, signal: &str) -> Output {
    let arguments = ["run", "small.toml", "--replications", "1000000"];
    let child = command(folder.path(), &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let growing = || {
        let entries = fs::read_dir(folder.path().join("out"))
            .into_iter()
            .flatten();
        entries
            .flatten()
            .any(|entry| entry.metadata().is_ok_and(|data| data.len() > 0))
    };
    while !growing() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no row after a minute"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &id])
            .status()
            .unwrap()
            .success()
    );
    child.wait_with_output().unwrap()
}

#[test]
fn an_interrupted_run_keeps_what_is_finished() {
    let folder = folder();
    for signal in ["-INT", "-TERM"] {
        let _ = fs::remove_dir_all(folder.path().join("out"));
        let output = interrupted(&folder, signal);
        assert_code(&output, 130);
        assert!(stderr(&output).contains("interrupted"));
        let wanted = ["small.csv", "small.manifest.json", "small.run.json"];
        assert_eq!(
            names(&folder.path().join("out")),
            wanted,
            "no half-written file"
        );
        let record = read(&folder, "out/small.csv");
        assert!(record.ends_with('\n'));
        let rows = record.lines().skip(1);
        for (number, row) in rows.clone().enumerate() {
            let replication = row.split(',').nth(3).unwrap();
            assert_eq!(
                replication,
                (number % 1_000_000).to_string(),
                "an unbroken beginning"
            );
        }
        let manifest: serde_json::Value =
            serde_json::from_str(&read(&folder, "out/small.manifest.json")).unwrap();
        assert_eq!(manifest["status"], "interrupted");
        assert_eq!(manifest["rows"], rows.count());
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = folder();
    let arguments = [
        "run",
        "small.toml",
        "--replications",
        "20000",
        "--out",
        "-",
        "--quiet",
    ];
    let mut child = command(folder.path(), &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert_eq!(stderr(&output), "");
}

/// `SMALL` with a claim about its total time.
fn with_claim(bounds: &str) -> String {
    format!(
        "{SMALL}\n[[expect]]\nclaim = \"it takes a while\"\nsource = \"Someone | 2012\"\n\
         basis = \"predicted\"\n{bounds}\n\
         quantity.value = {{ measure = \"total_time_ms\", case = \"rtt=10ms\" }}\n"
    )
}

#[test]
fn verify_holds_or_fails() {
    let folder = folder_with("small.toml", &with_claim("min = 1.0"));
    let output = watari(folder.path(), &["verify", "small.toml"]);
    assert_code(&output, 0);
    let text = stdout(&output);
    assert!(
        text.contains("it takes a while") && text.contains("holds"),
        "{text}"
    );
    assert!(text.ends_with("1 of 1 hold: 1 predicted\n"), "{text}");
    assert_eq!(names(folder.path()), ["small.toml"], "no records");

    fs::write(folder.path().join("small.toml"), with_claim("max = 0.001")).unwrap();
    let output = watari(folder.path(), &["verify", "small.toml", "--quiet"]);
    assert_code(&output, 1);
    assert!(stdout(&output).contains("FAILS"), "{}", stdout(&output));

    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    assert_code(&watari(folder.path(), &["verify", "small.toml"]), 2);
    assert_code(&watari(folder.path(), &["verify"]), 2);
}

#[test]
fn verify_splices_its_table_into_a_file() {
    let folder = folder_with("small.toml", &with_claim("min = 1.0"));
    let page = "top\n<!-- BEGIN: verify -->\nearlier\n<!-- END: verify -->\nbottom\n";
    fs::write(folder.path().join("page.md"), page).unwrap();
    let arguments = ["verify", "small.toml", "--splice", "page.md"];
    assert_code(&watari(folder.path(), &arguments), 0);
    let once = read(&folder, "page.md");
    assert!(once.starts_with(
        "top\n<!-- BEGIN: verify -->\n<!-- made by `watari verify small.toml --splice page.md`"
    ));
    assert!(
        once.ends_with("\n<!-- END: verify -->\nbottom\n") && !once.contains("earlier"),
        "{once}"
    );
    assert!(once.contains("| Someone \\| 2012 |"), "{once}");
    assert_code(&watari(folder.path(), &arguments), 0);
    assert_eq!(
        read(&folder, "page.md"),
        once,
        "the second time changes nothing"
    );

    fs::write(folder.path().join("page.md"), "no place\n").unwrap();
    let output = watari(folder.path(), &arguments);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("<!-- BEGIN: verify -->"));
}

#[test]
fn schema_is_json_and_the_record_is_described() {
    let here = Path::new(".");
    let output = watari(here, &["schema"]);
    assert_code(&output, 0);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["properties"]["sweep"].is_object());
    let output = watari(here, &["schema", "--record"]);
    assert!(stdout(&output).starts_with("# The record\n"));
}
