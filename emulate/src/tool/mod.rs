//! Programs that the steps of a plan call: `watari tool NAME`. Each can be used
//! alone.
//!
//! Each prints JSON objects, one a line, on standard output; instants are
//! nanoseconds of `CLOCK_MONOTONIC` in fields that end in `_ns`. A program that
//! runs until it is told to stop ends well on SIGTERM and SIGINT and prints its
//! summary as the last line.

pub mod clock;
pub mod initramfs;
pub mod workload;

use clap::Subcommand;

/// The programs.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Prints the monotonic clock in nanoseconds.
    Clock,
    /// Writes the initramfs that a guest boots from.
    Initramfs(initramfs::Initramfs),
    /// Sends a command to the workload of a guest.
    Workload(workload::Workload),
}

/// Runs one of the programs.
///
/// # Errors
///
/// What the program could not do, with the cause.
pub fn run(tool: &Tool) -> anyhow::Result<()> {
    match tool {
        Tool::Clock => clock::print(),
        Tool::Initramfs(arguments) => initramfs::run(arguments),
        Tool::Workload(arguments) => workload::run(arguments),
    }
}
