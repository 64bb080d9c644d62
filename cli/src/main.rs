//! The `watari` command: the only crate that reads arguments, prints, and
//! chooses exit codes.
//!
//! This file is the table of contents: one file or folder per subcommand, each with its
//! `Args` and its `run`; what they share is below them.

#![forbid(unsafe_code)]

mod check;
mod compare;
mod doctor;
mod emulation;
mod lab;
mod plot;
mod run;
mod schema;
mod verify;

mod exit;
mod figures;
mod files;
mod in_order;
mod interrupt;
mod load;
mod manifest;
mod output;
mod progress;
mod quantity;
mod records;
mod replicate;
mod summary;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::{Color, Output};

/// Simulates the migration of virtual machines over WANs, and VPN fail-over.
#[derive(Parser)]
#[command(name = "watari", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Arguments {
    /// Whether to colour what is printed; NO_COLOR=1 turns `auto` off.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Start here:
  watari run scenarios       simulate every scenario; tables, records and figures
  watari verify              compare with what was published
  watari doctor              what is needed to run scenarios on real systems

Exit codes:
  0    all well
  1    an expectation or a comparison failed, or a case ended in an error
  2    bad usage or bad input; nothing was run
  3    the lab lacks something, which is named
  4    a step in the lab failed; everything was undone
  130  interrupted; what was finished is on disk";

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Run(run::Args),
    Verify(verify::Args),
    Emulate(emulation::Args),
    Compare(compare::Args),
    Plot(plot::Args),
    Doctor(doctor::Args),
    Lab(lab::Args),
    Schema(schema::Args),
    /// Small programs that the steps of an emulation call; usable alone.
    #[command(subcommand, hide = true)]
    Tool(emulate::tool::Tool),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.color);
    let result = match &arguments.command {
        Command::Emulate(args) => emulation::run(args, output),
        Command::Doctor(args) => doctor::run(args, output),
        Command::Lab(args) => lab::run(args, output),
        Command::Check(args) => check::run(args, output),
        Command::Run(args) => run::run(args, output),
        Command::Verify(args) => verify::run(args, output),
        Command::Compare(args) => compare::run(args, output),
        Command::Plot(args) => plot::run(args, output),
        Command::Schema(args) => schema::run(args, output),
        Command::Tool(tool) => emulate::tool::run(tool)
            .map(|()| exit::Exit::Success)
            .map_err(exit::Failure::Work),
    };
    exit::conclude(result, output)
}
