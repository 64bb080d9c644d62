//! What `kill -9` leaves behind, and that `watari lab clean` finds it all.
//!
//! These start lab VMs, so they are skipped where no image was built in the
//! folder that WATARI_CACHE names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_watari"));
    command
        .current_dir(folder)
        .args(arguments)
        .env("TMPDIR", folder.join("tmp"))
        .stdin(Stdio::null());
    fs::create_dir_all(folder.join("tmp")).unwrap();
    command
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
