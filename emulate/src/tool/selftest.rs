//! Kills emulations at random moments, cleans up, and looks for what is left.
//!
//! For a machine where nothing else runs: the lab VM.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::apply::MARK;
use crate::clean;
use crate::event::Event;

/// Kills emulations at random moments, cleans up, and looks for what is left.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The scenario that is killed.
    #[arg(long, default_value = "/job/scenario.toml")]
    scenario: PathBuf,
    /// The watari program.
    #[arg(long, default_value = "/usr/local/bin/watari")]
    watari: PathBuf,
    /// How often.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Longest life, milliseconds; the moments are spread over it.
    #[arg(long, default_value_t = 20_000)]
    within_ms: u64,
    /// Seed of the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One emulation that was killed.
#[derive(Clone, Debug, Serialize)]
struct Killed {
    /// How long it lived.
    after_ms: u64,
    /// Whether it had ended by itself before.
    ended: bool,
    /// What there was of ours when it was dead.
    behind: usize,
    /// What there was after cleaning; nothing, if all is well.
    left: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let say = |event: &Event| super::clock::emit(&serde_json::to_value(event)?).map_err(Into::into);
    match all(args, &say) {
        Ok(killed) => {
            say(&Event::Log {
                name: "self-test.json".to_owned(),
                text: serde_json::to_string(&killed)?,
            })?;
            say(&Event::End)
        }
        Err(error) => say(&Event::Failed(format!("{error:#}"))),
    }
}

fn all(args: &Args, say: &dyn Fn(&Event) -> Result<()>) -> Result<Vec<Killed>> {
    let ports = network_ports();
    let mut random = args.seed;
    let mut killed = Vec::new();
    for number in 0..args.kills {
        // One moment in each part of the span, so that all of it is met.
        let part = args.within_ms / u64::from(args.kills).max(1);
        let after_ms = part * u64::from(number) + next(&mut random) % part.max(1);
        let one = kill_one(args, after_ms, &ports)?;
        say(&Event::Step {
            case: "kill".to_owned(),
            repeat: number,
            title: format!("killed after {after_ms} ms: {one:?}"),
        })?;
        killed.push(one);
    }
    Ok(killed)
}

fn kill_one(args: &Args, after_ms: u64, ports: &[String]) -> Result<Killed> {
    let mut child = Command::new(&args.watari)
        .arg("emulate")
        .arg(&args.scenario)
        .args(["--events", "--repeat", "1", "--clock", "virtual"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start the emulation")?;
    std::thread::sleep(Duration::from_millis(after_ms));
    let ended = child.try_wait()?.is_some();
    let _ = child.kill();
    child.wait()?;
    let behind = left(ports).len();
    let output = Command::new(&args.watari)
        .args(["lab", "clean"])
        .output()
        .context("cannot clean")?;
    ensure!(
        output.status.success(),
        "watari lab clean: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Killed {
        after_ms,
        ended,
        behind,
        left: left(ports),
    })
}

/// Everything of ours on this machine, in words.
fn left(ports: &[String]) -> Vec<String> {
    let mut left: Vec<String> = processes();
    for folder in ["/run/netns", clean::FOLDER] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| format!("file {}", entry.path().display())));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = mounts.lines().filter(|line| line.contains(clean::PREFIX));
    left.extend(ours.map(|line| format!("mount {line}")));
    let more = network_ports().into_iter().filter(|p| !ports.contains(p));
    left.extend(more.map(|port| format!("network port {port}")));
    left
}

fn processes() -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mark = format!("{MARK}=");
    let marked = entries.filter_map(|entry| {
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = environment
            .split(|&byte| byte == 0)
            .any(|variable| variable.starts_with(mark.as_bytes()));
        (ours && name != own && name != "self").then(|| format!("process {name}"))
    });
    marked.collect()
}

/// Network interfaces of this namespace.
fn network_ports() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The next number of SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
