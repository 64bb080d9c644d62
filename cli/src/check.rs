//! `watari check`: are these scenarios right?

use std::path::PathBuf;

use crate::exit::{Exit, Failure};
use crate::load;
use crate::output::{Output, count};

/// Look for mistakes in scenarios, without running them.
///
/// Prints every mistake of every file with its place and what would be right.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  watari check scenarios/ my-scenario.toml")]
pub(crate) struct Args {
    /// Scenario files, or folders of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let studies = load::studies(&args.files, output).map_err(Failure::Input)?;
    let cases = studies.iter().map(|loaded| loaded.study.cases.len()).sum();
    let verb = if studies.len() == 1 { "is" } else { "are" };
    let scenarios = count(studies.len(), "scenario");
    output.result(&format!(
        "{scenarios} {verb} fine: {}\n",
        count(cases, "case")
    ))?;
    Ok(Exit::Success)
}
