//! `watari emulate`, `doctor` and `lab` as far as they need no lab.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A migration that a lab could do.
const SMALL: &str = r#"
name = "small"
seed = 7

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

[transport.qemu]

[action.move]
at = "1s"
migrate = { vm = "web", to = "two", method = "stop-and-copy", transport = "qemu" }

[sweep.rtt]
"link.wan.rtt" = ["10ms", "20ms"]
label = ["10ms", "20ms"]
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    folder
}

/// Runs watari with a cache in which nothing was built.
fn watari(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watari"))
        .current_dir(folder)
        .args(arguments)
        .env("WATARI_CACHE", folder.join("cache"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, words: &str) {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(words), "{words} is not in: {text}");
}

#[test]
fn bad_input_is_refused_before_a_lab_is_looked_for() {
    let folder = folder();
    let here = folder.path();
    let refused = |arguments: &[&str], words: &str| {
        let mut all = vec!["emulate", "small.toml"];
        all.extend(arguments);
        assert_ends(&watari(here, &all), 2, words);
    };
    refused(&["--case", "rtt=1ms"], "`rtt=10ms`");
    refused(&["--repeat", "0"], "--repeat");
    refused(&["--resume", "--force"], "cannot be used with");
    refused(&["--lab", "host", "--clock", "virtual"], "--lab vm");
    refused(&["--lab", "host", "--jobs", "2"], "disturb each other");
    assert_ends(&watari(here, &["emulate", "."]), 2, "is a folder");
    assert_ends(&watari(here, &["emulate", "no.toml"]), 2, "no.toml");
    assert!(!here.join("out").exists(), "something was written");
}

#[test]
fn cases_that_cannot_be_emulated_are_named_with_the_reason() {
    let folder = folder();
    let method = "method = \"stop-and-copy\"";
    let of_xen = SMALL.replace(method, "method = \"pre-copy\", stop_rule = \"xen-4.6\"");
    fs::write(folder.path().join("small.toml"), of_xen).unwrap();
    let output = watari(folder.path(), &["emulate", "small.toml", "--lab", "vm"]);
    assert_ends(&output, 2, "rtt=10ms: ");
    assert_ends(&output, 2, "rtt=20ms: ");
}

#[test]
fn a_guest_that_does_not_fit_into_the_lab_vm_is_refused() {
    let folder = folder();
    let large = SMALL.replace("64 MiB", "2 GiB");
    fs::write(folder.path().join("small.toml"), large).unwrap();
    let output = watari(folder.path(), &["emulate", "small.toml", "--lab", "vm"]);
    assert_ends(&output, 2, "has 2048 MiB");
}

#[test]
fn a_lab_that_lacks_something_says_what_to_do() {
    let folder = folder();
    let output = watari(folder.path(), &["emulate", "small.toml", "--lab", "vm"]);
    assert_ends(&output, 3, "fix: watari lab build");
    let output = watari(folder.path(), &["lab", "shell"]);
    assert_ends(&output, 3, "fix: watari lab build");
}

#[test]
fn a_record_is_never_written_over_unasked() {
    let folder = folder();
    let path = folder.path().join("out/emulated/small.csv");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "precious").unwrap();
    let arguments = ["emulate", "small.toml", "--lab", "vm"];
    assert_ends(&watari(folder.path(), &arguments), 2, "--resume");
    let mut resume = arguments.to_vec();
    resume.push("--resume");
    assert_ends(&watari(folder.path(), &resume), 2, "cannot go on with");
    let force = [arguments.as_slice(), &["--force"]].concat();
    assert_ends(&watari(folder.path(), &force), 3, "watari lab build");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_dry_run_needs_no_lab_and_prints_what_a_shell_can_read() {
    let folder = folder();
    for cases in [&["--case", "rtt=20ms"][..], &[]] {
        let all = [&["emulate", "small.toml", "--dry-run"], cases].concat();
        let output = watari(folder.path(), &all);
        assert_ends(&output, 0, "The lab VM is not built");
        assert_ends(&output, 0, "netem");
        let script = folder.path().join("steps.sh");
        fs::write(&script, &output.stdout).unwrap();
        let checked = Command::new("bash").arg("-n").arg(&script).output();
        assert_ends(&checked.unwrap(), 0, "");
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn the_doctor_finds_no_lab_without_an_image_and_says_so_to_programs_too() {
    let folder = folder();
    assert_ends(&watari(folder.path(), &["doctor"]), 3, "watari lab build");
    let output = watari(folder.path(), &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["labs"]["vm"], false);
    let probes = report["probes"].as_array().unwrap();
    let names = probes.iter().filter_map(|probe| probe["what"].as_str());
    let names: Vec<&str> = names.collect();
    for name in [
        "root",
        "sch_netem",
        "esp4",
        "tun",
        "KVM",
        "QEMU",
        "strongSwan",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}
