//! `watari lab`: the lab VM's image, and what interrupted runs left behind.

use std::path::Path;

use clap::Subcommand;
use emulate::clean;
use emulate::lab::{build, cache};

use crate::exit::{Exit, Failure};
use crate::output::{Output, count};

/// Build the lab VM, or remove what an interrupted emulation left behind.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watari lab build     make the lab VM of Debian packages; a few minutes, once
  watari lab clean     remove what a killed emulation left behind")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the lab VM of Debian packages, as an ordinary user.
    Build,
    /// Remove processes, namespaces and files of emulations that were killed.
    Clean,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    match args.command {
        Command::Build => build(output),
        Command::Clean => clean(output),
    }
}

fn build(output: Output) -> Result<Exit, Failure> {
    let cache = cache().map_err(Failure::lacks)?;
    let mut say = |what: &str| output.note(&format!("{what}\n"));
    let image = build::build(&cache, &mut say).map_err(Failure::of_lab)?;
    output.result(&format!(
        "the lab VM is ready: {}\n  next  watari emulate scenarios/card/lab.toml\n",
        image.folder.display()
    ))?;
    Ok(Exit::Success)
}

fn clean(output: Output) -> Result<Exit, Failure> {
    let found =
        clean::all(Path::new(clean::FOLDER)).map_err(|error| Failure::Work(error.into()))?;
    let mut text = String::new();
    for thing in &found {
        text.push_str(&format!("removed {thing}\n"));
    }
    if found.is_empty() {
        text.push_str("nothing of ours was left behind\n");
    } else {
        text.push_str(&format!("{} removed\n", count(found.len(), "thing")));
    }
    output.result(&text)?;
    Ok(Exit::Success)
}
