//! The programs of `watari tool` alone, without the simulator and the figures:
//! a small file for the initramfs of a lab machine.

use std::process::ExitCode;

use clap::Parser;
use emulate::tool::{Tool, run};

/// Small programs that the steps of an emulation call.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    tool: Tool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().tool) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            // Without standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
