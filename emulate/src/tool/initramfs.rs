//! Writes the guest's initramfs for a kernel.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::clock;
use crate::guest::initramfs::initramfs;
use crate::guest::modules::{DISK, Kernel, NETWORK};

/// Arguments of `watari tool initramfs`.
#[derive(Debug, Args)]
pub struct Initramfs {
    /// Directory that a kernel package was extracted into.
    #[arg(long, value_name = "DIRECTORY")]
    kernel: PathBuf,
    /// Whether the guest has a disk.
    #[arg(long)]
    disk: bool,
    /// File to write.
    output: PathBuf,
}

pub(super) fn run(arguments: &Initramfs) -> anyhow::Result<()> {
    let kernel = Kernel::find(&arguments.kernel)?;
    let mut names = NETWORK.to_vec();
    names.extend(arguments.disk.then_some(DISK));
    let archive = initramfs(&kernel.load(&names)?)?;
    let output = &arguments.output;
    fs::write(output, &archive).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(clock::emit(&json!({
        "t_ns": clock::now_ns(),
        "kernel": kernel.image,
        "version": kernel.version,
        "initrd": output,
        "bytes": archive.len(),
    }))?)
}
