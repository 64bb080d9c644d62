//! Boots a guest once and saves its state, so that cases need not boot it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::event::Event;
use crate::guest::control::Control;
use crate::guest::machine::{Accelerator, Machine, qemu_arguments};
use crate::qmp::Qmp;

/// Longest boot; nested emulation is slow.
const BOOT: Duration = Duration::from_secs(300);

/// Boots a guest once and saves its state.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder with `vmlinuz` and `guest.cpio`.
    #[arg(long)]
    guest: PathBuf,
    /// Memory in MiB.
    #[arg(long)]
    memory: u32,
    /// Folder for sockets and the state, which will be `state` in it.
    #[arg(long)]
    folder: PathBuf,
    /// Device to copy the state to.
    #[arg(long)]
    device: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let say = |event: &Event| super::clock::emit(&serde_json::to_value(event)?).map_err(Into::into);
    match save(args) {
        Ok(bytes) => {
            say(&Event::Log {
                name: "bytes".to_owned(),
                text: bytes.to_string(),
            })?;
            say(&Event::End)
        }
        Err(error) => say(&Event::Failed(format!("{error:#}"))),
    }
}

/// Saves the state; gives its size.
fn save(args: &Args) -> Result<u64> {
    fs::create_dir_all(&args.folder)?;
    let at = |name: &str| args.folder.join(name);
    let machine = Machine {
        accelerator: Accelerator::Tcg,
        memory_mib: args.memory,
        kernel: args.guest.join("vmlinuz"),
        initrd: args.guest.join("guest.cpio"),
        mac: crate::plan::guest::MAC.to_owned(),
        tap: None,
        disk: None,
        control: at("control"),
        qmp: at("qmp"),
        console: Some(at("console")),
        incoming: None,
    };
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(qemu_arguments(&machine))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(at("qemu"))?)
        .spawn()
        .context("cannot start QEMU")?;
    let saved = save_from(&machine, &at("state"));
    end(&mut qemu);
    saved.with_context(|| {
        let read = |name: &str| fs::read_to_string(at(name)).unwrap_or_default();
        format!(
            "the guest was not saved; QEMU: {} guest: {}",
            read("qemu"),
            read("console")
        )
    })?;
    let mut device = fs::OpenOptions::new().write(true).open(&args.device)?;
    let bytes = std::io::copy(&mut fs::File::open(at("state"))?, &mut device)?;
    device.sync_all()?;
    Ok(bytes)
}

fn save_from(machine: &Machine, state: &std::path::Path) -> Result<()> {
    let mut control = Control::connect(&machine.control, BOOT)?;
    control.command("hello", BOOT)?;
    control.command("clean", BOOT)?;
    let mut qmp = Qmp::connect(&machine.qmp)?;
    // It is not stopped by us: then it would be restored as a stopped guest.
    let capabilities = json!({ "capabilities": [{ "capability": "events", "state": true }] });
    qmp.command("migrate-set-capabilities", &capabilities)?;
    qmp.command("migrate-set-parameters", &json!({ "max-bandwidth": 0 }))?;
    let uri = format!("exec:cat > '{}'", state.display());
    qmp.command("migrate", &json!({ "uri": uri }))?;
    let deadline = std::time::Instant::now() + BOOT;
    while let Some(event) = qmp.event(deadline)? {
        match event.data["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => bail!("QEMU could not save the guest"),
            _ => {}
        }
    }
    bail!("the guest's state was not saved in time")
}

fn end(qemu: &mut Child) {
    let _ = qemu.kill();
    let _ = qemu.wait();
}
