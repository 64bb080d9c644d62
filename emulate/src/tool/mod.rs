//! Programs that the steps of a plan call: `watari tool NAME`. Each can be used
//! alone.
//!
//! Each prints JSON objects, one a line, on standard output; instants are
//! nanoseconds of `CLOCK_MONOTONIC` in fields that end in `_ns`. A program that
//! runs until it is told to stop ends well on SIGTERM and SIGINT and prints its
//! summary as the last line. The `event` field tells what a line is; the last
//! one is the `summary`.
//!
//! A program ends with a failure when it could not do its work (a wrong
//! argument, an address in use). That a path died or a connection broke is a
//! result.

pub mod clock;
pub mod disk;
pub mod echo;
pub mod flow;
pub mod initramfs;
pub mod migrate;
mod packet;
pub mod probe;
pub mod relay;
pub mod save;
pub mod selftest;
pub mod sink;
pub mod state;
pub mod tcp;
pub mod tun;
pub mod vpn_client;
pub mod wait;
pub mod watch;
pub mod wireguard;
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
    /// Gives an interface of WireGuard its key and its peer.
    Wireguard(wireguard::Args),
    /// Saves a running guest into the void and lets it run on.
    Save(save::Args),
    /// Boots a guest once and saves its state.
    State(state::Args),
    /// Sends a command to the workload of a guest.
    Workload(workload::Workload),
    /// Answers every UDP datagram with the same datagram.
    Echo(echo::Args),
    /// Sends a numbered UDP datagram each interval and tells which came back.
    Probe(probe::Args),
    /// Sends bulk data over one TCP connection.
    Flow(flow::Args),
    /// Receives one TCP connection and counts the bytes of each bin.
    Sink(sink::Args),
    /// The packet relay's end at the guest.
    RelayClient(relay::ClientArgs),
    /// The packet relay's end in the servers' network.
    RelayServer(relay::ServerArgs),
    /// Kills emulations and looks for what is left.
    #[command(hide = true)]
    SelfTest(selftest::Args),
    /// Keeps a VPN alive over several gateways.
    VpnClient(vpn_client::Args),
    /// Ends when a log tells that what came up has gone down.
    Watch(watch::Args),
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
        Tool::Wireguard(args) => wireguard::run(args),
        Tool::Save(args) => save::run(args),
        Tool::State(args) => state::run(args),
        Tool::Workload(args) => workload::run(args),
        Tool::Echo(args) => echo::run(args),
        Tool::Probe(args) => probe::run(args),
        Tool::Flow(args) => flow::run(args),
        Tool::Sink(args) => sink::run(args),
        Tool::RelayClient(args) => relay::run_client(args),
        Tool::RelayServer(args) => relay::run_server(args),
        Tool::SelfTest(args) => selftest::run(args),
        Tool::VpnClient(args) => vpn_client::run(args),
        Tool::Watch(args) => watch::run(args),
    }
}
