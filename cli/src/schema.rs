//! `watari schema`: what a scenario and a record look like, for programs and people.

use anyhow::Context as _;
use models::record;
use models::scenario::check;

use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Print the JSON Schema of the scenario format, for completion in editors.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watari schema > scenario.schema.json
and as the first line of a scenario:
  #:schema ./scenario.schema.json")]
pub(crate) struct Args {
    /// Print the columns of a record instead, as Markdown.
    #[arg(long)]
    record: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let text = if args.record {
        record::format_markdown()
    } else {
        let json = serde_json::to_string_pretty(&check::schema());
        json.context("cannot print the schema")? + "\n"
    };
    output.result(&text)?;
    Ok(Exit::Success)
}
