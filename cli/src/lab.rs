//! `watari lab`: the lab VM's image, a shell in it, and what interrupted runs
//! left behind.

use clap::Subcommand;
use emulate::event::Event;
use emulate::lab::build::Image;
use emulate::lab::vm::{self, Clock, Job};
use emulate::lab::{self, Lacks, build, cache};

use crate::emulation::FIRST;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::{Output, count};

/// Build the lab VM, look into it, or remove what killed emulations left behind.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watari lab build     make the lab VM of Debian packages; once, under a minute
  watari lab shell     a root shell in the lab VM
  watari lab clean     remove what a killed emulation left behind")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the lab VM of Debian packages, as an ordinary user.
    ///
    /// The image is kept in WATARI_CACHE, else in the user's cache folder.
    /// Where it is built already, nothing is done.
    #[command(after_help = "Example:\n  watari lab build")]
    Build {
        /// Make it anew.
        #[arg(long)]
        force: bool,
    },
    /// Open a shell in the lab VM, on this terminal.
    ///
    /// What is done there is forgotten when the shell ends. Time passes as on
    /// the wall. Ctrl-A X kills the VM.
    #[command(after_help = "Example:\n  watari lab shell")]
    Shell,
    /// Remove processes, namespaces and files of emulations that were killed.
    ///
    /// Emulations that go on are left alone. An ordinary user's lab VMs need no
    /// root; runs on the host do.
    #[command(after_help = "Example:\n  watari lab clean")]
    Clean,
    /// Kill emulations in the lab VM, clean up, and look for what is left.
    #[command(hide = true)]
    SelfTest(SelfTest),
}

#[derive(clap::Args)]
struct SelfTest {
    /// The scenario that is killed.
    file: std::path::PathBuf,
    /// How often.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Seed of the instants.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::Build { force } => build(*force, output),
        Command::Shell => shell(),
        Command::Clean => clean(output),
        Command::SelfTest(args) => self_test(args, output),
    }
}

fn build(force: bool, output: Output) -> Result<Exit, Failure> {
    let cache = cache().map_err(Failure::lacks)?;
    let mut say = |what: &str| output.note(&format!("{what}\n"));
    let (image, built) = build::build(&cache, force, &mut say).map_err(Failure::of_lab)?;
    let word = if built {
        "is ready"
    } else {
        "was built before"
    };
    output.result(&format!(
        "the lab VM {word}: {}, {} MiB\n  next  {FIRST}\n",
        image.folder.display(),
        image.bytes() >> 20
    ))?;
    Ok(Exit::Success)
}

fn image() -> Result<Image, Failure> {
    let image = cache().and_then(|cache| build::current(&cache));
    image.map_err(Failure::lacks)
}

fn shell() -> Result<Exit, Failure> {
    vm::shell(&image()?, Clock::Real).map_err(Failure::of_lab)?;
    Ok(Exit::Success)
}

fn clean(output: Output) -> Result<Exit, Failure> {
    let cleaned = lab::clean().map_err(|error| Failure::Work(error.into()))?;
    let mut text = String::new();
    for thing in &cleaned.removed {
        text.push_str(&format!("removed {thing}\n"));
    }
    if !cleaned.removed.is_empty() {
        let number = count(cleaned.removed.len(), "thing");
        text.push_str(&format!("{number} removed\n"));
    } else if cleaned.left.is_empty() {
        text.push_str("nothing of ours was left behind\n");
    }
    output.result(&text)?;
    if cleaned.left.is_empty() {
        return Ok(Exit::Success);
    }
    Err(Failure::lacks(Lacks::new(
        format!("this could not be removed: {}", cleaned.left.join(", ")),
        "sudo watari lab clean",
    )))
}

fn self_test(args: &SelfTest, output: Output) -> Result<Exit, Failure> {
    let image = image()?;
    let stop = interrupt::flag()?;
    let mut files = vm::guest_files(&image).map_err(Failure::of_lab)?;
    let scenario = std::fs::read(&args.file).map_err(|error| Failure::Input(error.into()))?;
    files.push(("scenario.toml".to_owned(), scenario));
    let (kills, seed) = (args.kills.to_string(), args.seed.to_string());
    let words = ["tool", "self-test", "--kills", &kills, "--seed", &seed];
    let job = Job {
        arguments: words.map(str::to_owned).to_vec(),
        files,
        disk: None,
    };
    let mut found = String::new();
    vm::run(
        &image,
        &job,
        Clock::Virtual,
        &stop,
        &mut |event| match event {
            Event::Log { text, .. } => found = text,
            Event::Step { title, .. } => output.note(&format!("{title}\n")),
            _ => {}
        },
    )
    .map_err(Failure::of_lab)?;
    output.result(&format!("{found}\n"))?;
    Ok(Exit::Success)
}
