//! Programs that the steps of a plan call: `watari tool NAME`. Each can be used
//! alone.
//!
//! Each prints JSON objects, one a line, on standard output; instants are
//! nanoseconds of `CLOCK_MONOTONIC` in fields that end in `_ns`. A program that
//! runs until it is told to stop ends well on SIGTERM and SIGINT and prints its
//! summary as the last line.

pub mod clock;
pub mod disk;
pub mod initramfs;
pub mod migrate;
pub mod state;
pub mod workload;

use clap::Subcommand;

/// The programs.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Prints the monotonic clock in nanoseconds.
    Clock,
    /// Makes a disk image of given compressibility.
    Disk(disk::Args),
    /// Writes the initramfs that a guest boots from.
    Initramfs(initramfs::Initramfs),
    /// Moves a running guest from one QEMU to another.
    Migrate(migrate::Args),
    /// Boots a guest once and saves its state.
    State(state::Args),
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
        Tool::Disk(args) => disk::run(args),
        Tool::Initramfs(args) => initramfs::run(args),
        Tool::Migrate(args) => migrate::run(args),
        Tool::State(args) => state::run(args),
        Tool::Workload(args) => workload::run(args),
    }
}
