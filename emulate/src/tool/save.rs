//! Saves a guest into the void and lets it run on: what QEMU does before the first
//! byte, how many pages it reads, and what the state of the devices weighs: all
//! bytes but those that QEMU counts for memory.
//!
//! Saved stopped and then running at a given rate, the guest shows by the pages
//! that were read twice what its system writes in that time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::clock::emit;
use crate::qmp::Qmp;

/// Longest time for it.
const LIMIT: Duration = Duration::from_secs(600);

/// Saves a guest into the void and lets it run on.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// QMP socket of its QEMU.
    #[arg(long)]
    qmp: PathBuf,
    /// File for the number of bytes.
    #[arg(long)]
    count: PathBuf,
    /// QEMU's `max-bandwidth` in bytes a second; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Stop the guest first.
    #[arg(long)]
    stopped: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut qmp = Qmp::connect(&args.qmp)?;
    let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
    qmp.command("migrate-set-capabilities", &events)?;
    let limit = json!({ "max-bandwidth": args.rate });
    qmp.command("migrate-set-parameters", &limit)?;
    if args.stopped {
        qmp.command("stop", &json!({}))?;
    }
    let count = args.count.display();
    qmp.command(
        "migrate",
        &json!({ "uri": format!("exec:wc -c > '{count}'") }),
    )?;
    let deadline = Instant::now() + LIMIT;
    let (mut setup, mut active, mut stop, mut read, mut completed) = (0, 0, 0, 0, 0);
    while completed == 0 {
        let Some(event) = qmp.event(deadline)? else {
            bail!("the guest was not saved in time");
        };
        let instant = match (event.name.as_str(), event.data["status"].as_str()) {
            ("STOP", _) if stop == 0 => &mut stop,
            ("MIGRATION_PASS", _) if stop > 0 => &mut read,
            ("MIGRATION", Some("setup")) => &mut setup,
            ("MIGRATION", Some("active")) => &mut active,
            ("MIGRATION", Some("completed")) => &mut completed,
            ("MIGRATION", Some("failed")) => bail!("QEMU could not save the guest"),
            _ => continue,
        };
        *instant = event.t_ns;
    }
    let info = qmp.command("query-migrate", &json!({}))?;
    // QEMU says `completed` some time before it lets the guest run again.
    while let Err(error) = qmp.command("cont", &json!({})) {
        if Instant::now() > deadline {
            return Err(error.into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let bytes: u64 = std::fs::read_to_string(&args.count)?.trim().parse()?;
    let memory = info["ram"]["transferred"].as_u64().unwrap_or(0);
    emit(&json!({
        "device_state_bytes": bytes.saturating_sub(memory),
        "setup_ns": active - setup,
        "running_ns": stop.saturating_sub(active),
        "sync_ns": (stop > 0).then(|| read.saturating_sub(stop)),
        "pages": info["ram"]["normal"],
        "qemu": info,
    }))?;
    Ok(())
}
