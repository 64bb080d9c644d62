//! Real migrations and fail-overs in the lab VM, and what `kill -9` leaves behind.
//!
//! These start lab VMs, so they are skipped where no image was built in the
//! folder that WATARI_CACHE names. WATARI names another binary to test: one that
//! was compiled for speed, as it runs inside the lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use models::record::{Backend, Measure, Row};

const SCENARIO: &str = r#"
name = "killed"
seed = 1

[site.tokyo]
[site.osaka]

[link.wan]
between = ["tokyo", "osaka"]
rtt = "20ms"
rate = "100 Mbit/s"

[host.tokyo]
site = "tokyo"
[host.osaka]
site = "osaka"

[vm.web]
host = "tokyo"
memory = "96 MiB"

[transport.qemu]

[tunnel.ipsec]
mode = "transport"
cipher = "aes128-gcm"
ike = "none"

[action.move]
at = "0s"
migrate = { vm = "web", to = "osaka", method = "pre-copy", stop_rule.qemu = {}, transport = "qemu", tunnel = "ipsec" }
"#;

/// The repository's scenarios.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/validation");

/// A folder with the scenario, where a lab VM can be started.
fn folder() -> Option<tempfile::TempDir> {
    let cache = std::env::var_os("WATARI_CACHE").map(PathBuf::from);
    let built = cache.is_some_and(|cache| cache.join("current").exists());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("killed.toml"), SCENARIO).unwrap();
    if !built {
        skip("WATARI_CACHE names no folder with a lab VM");
    }
    built.then_some(folder)
}

#[expect(clippy::print_stdout, reason = "a test that tests nothing must say so")]
fn skip(why: &str) {
    println!("skipped: {why}");
}

fn watari(folder: &Path, arguments: &[&str]) -> Command {
    let binary = std::env::var_os("WATARI").unwrap_or(env!("CARGO_BIN_EXE_watari").into());
    let mut command = Command::new(binary);
    command
        .current_dir(folder)
        .args(arguments)
        .env("TMPDIR", folder.join("tmp"))
        .stdin(Stdio::null());
    fs::create_dir_all(folder.join("tmp")).unwrap();
    command
}

/// Emulates cases of a shipped scenario once; the record, unless a lab is lacking.
fn emulate(folder: &Path, scenario: &str, cases: &[&str]) -> Option<Vec<Row>> {
    let file = format!("{SCENARIOS}/{scenario}.toml");
    let mut arguments = vec![
        "emulate", &file, "--lab", "vm", "--repeat", "1", "--out", ".",
    ];
    arguments.extend(cases.iter().flat_map(|case| ["--case", case]));
    let output = watari(folder, &arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        skip(&said);
        return None;
    }
    let file = folder.join(format!("validation-{scenario}.csv"));
    let record = fs::read(file).unwrap_or_else(|error| panic!("{error}: {said}"));
    let rows = models::record::read(&record[..]).unwrap();
    for row in &rows {
        assert_eq!(
            (row.backend, &row.error),
            (Backend::Emulated, &None),
            "{}",
            row.case
        );
    }
    Some(rows)
}

/// The measured value of a case.
fn measured(rows: &[Row], case: &str, measure: Measure) -> f64 {
    let row = rows.iter().find(|row| row.case == case);
    let row = row.unwrap_or_else(|| panic!("no row of {case}"));
    let value = row.values.get(measure);
    value.unwrap_or_else(|| panic!("{case}: {} is empty", measure.info().name))
}

// A single run scatters: 10 % of total time and 5 % of bytes are the scenario's tolerance.
#[test]
fn a_migration_of_each_kind_takes_as_long_as_predicted() {
    let Some(folder) = folder() else { return };
    let here = folder.path();
    let Some(real) = emulate(here, "quick", &[]) else {
        return;
    };
    let file = format!("{SCENARIOS}/quick.toml");
    let profile = "validation-quick.profile.json";
    let run = [
        "run",
        &file,
        "--profile",
        profile,
        "--out",
        "simulated",
        "--no-figures",
    ];
    let output = watari(here, &run).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let record = fs::read(here.join("simulated/validation-quick.csv")).unwrap();
    let predicted = models::record::read(&record[..]).unwrap();
    for case in ["method=pre-copy", "method=encrypted-image"] {
        for (measure, allowed) in [(Measure::TotalTime, 0.10), (Measure::BytesSent, 0.05)] {
            let both = [&predicted, &real].map(|rows| measured(rows, case, measure));
            let error = both[0] / both[1] - 1.0;
            assert!(
                error.abs() <= allowed,
                "{case} {}: {both:?}",
                measure.info().name
            );
        }
    }
    let pre_copy = |measure| measured(&real, "method=pre-copy", measure);
    assert_eq!(pre_copy(Measure::MemoryPagesWrong), 0.0);
    assert!((pre_copy(Measure::LinkRtt) - 60.0).abs() < 0.6);
    // The guest was not asked for while it stood still, and no longer than that by much.
    let (downtime, blackout) = (pre_copy(Measure::Downtime), pre_copy(Measure::Blackout));
    assert!(downtime > 100.0 && downtime < 1500.0, "{downtime}");
    assert!((blackout - downtime).abs() < 50.0, "{blackout} {downtime}");
}

#[test]
fn a_connection_outlives_its_gateway_with_the_relay_and_only_then() {
    let Some(folder) = folder() else { return };
    let cases = ["rtt=13ms,relay=with", "rtt=13ms,relay=without"];
    let Some(rows) = emulate(folder.path(), "failover", &cases) else {
        return;
    };
    let of = |case, measure| measured(&rows, case, measure);
    assert_eq!(of(cases[0], Measure::TcpSurvived), 1.0);
    assert_eq!(of(cases[1], Measure::TcpSurvived), 0.0);
    let recovered = of(cases[0], Measure::FailoverRecover);
    assert!((2500.0..8000.0).contains(&recovered), "{recovered}");
}

#[test]
fn emulations_killed_at_random_moments_leave_nothing_after_cleaning() {
    let Some(folder) = folder() else { return };
    let test = ["lab", "self-test", "killed.toml", "--kills", "10"];
    let output = watari(folder.path(), &test).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        return skip(&said);
    }
    assert!(output.status.success(), "{said}");
    let killed: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(killed.len(), 10);
    for one in &killed {
        assert_eq!(one["left"].as_array().unwrap().len(), 0, "{one}");
    }
    // Else nothing was tested.
    let behind = |one: &&serde_json::Value| one["behind"].as_u64().unwrap() > 2;
    assert!(killed.iter().filter(behind).count() >= 5, "{killed:?}");
}

/// Processes whose lab's folder is below `folder`.
fn processes_of(folder: &Path) -> Vec<PathBuf> {
    let mark = format!("WATARI_FOLDER={}", folder.display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ours = entries.map(|entry| entry.path()).filter(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|&byte| byte == 0);
        variables.any(|variable| variable.starts_with(mark.as_bytes()))
    });
    ours.collect()
}

#[test]
fn a_killed_lab_vm_leaves_nothing_after_cleaning() {
    let Some(folder) = folder() else { return };
    let here = folder.path();
    let mut child = watari(here, &["emulate", "killed.toml", "--lab", "vm"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let temporary = here.join("tmp");
    let deadline = Instant::now() + Duration::from_secs(120);
    while processes_of(&temporary).is_empty() && Instant::now() < deadline {
        if child
            .try_wait()
            .unwrap()
            .is_some_and(|status| status.code() == Some(3))
        {
            return skip("the image is of another version");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!processes_of(&temporary).is_empty(), "no lab was started");
    child.kill().unwrap();
    child.wait().unwrap();
    let output = watari(here, &["lab", "clean"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let running = processes_of(&temporary);
    assert!(running.is_empty(), "{running:?}");
    let left: Vec<_> = fs::read_dir(&temporary).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
