//! `watari run`: simulate scenarios; tables, records, figures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use jiff::Timestamp;
use models::scenario::Study;

use crate::exit::{Exit, Failure};
use crate::figures;
use crate::files::{self, Written};
use crate::interrupt;
use crate::load::{self, Loaded};
use crate::manifest::{self, Facts};
use crate::output::{BOLD, Output, count, paint};
use crate::plot;
use crate::records::{Records, record_path};
use crate::replicate::{self, replicate};
use crate::summary::Summary;

/// Most rows of a record that `run` draws figures of by itself: drawing holds
/// them all in memory, and simulating does not.
const FIGURE_ROWS: u64 = 50_000;
/// Pixels of a PNG for each pixel of the SVG.
const PNG_SCALE: f32 = 3.0;

/// Simulate every case of scenarios: print a table, write records and figures.
///
/// The same scenario and seed give the same bytes, whatever the number of
/// threads.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watari run scenarios/                       every scenario; results in out/
  watari run x.toml --replications 100        closer intervals
  watari run x.toml --case rtt=20ms           one case of the sweep
  watari run x.toml --out - | head            the record on standard output")]
pub(crate) struct Args {
    /// Scenario files, or folders of them.
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    files: Vec<PathBuf>,
    /// Master seed, instead of the scenario's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Replications of every case, instead of the scenario's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    replications: Option<u32>,
    /// Only this case of the sweep, for example `rtt=20ms,method=diff`; may be
    /// given several times.
    #[arg(long, value_name = "ID")]
    case: Vec<String>,
    /// Profile of a lab (TOML or JSON): what was measured there replaces what
    /// the scenarios say of hosts, guests and tunnels.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    #[command(flatten)]
    jobs: Jobs,
    /// Folder for records and figures; `-` prints the records instead.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Draw no figures.
    #[arg(long)]
    no_figures: bool,
    /// Print errors only.
    #[arg(long, short)]
    quiet: bool,
}

/// `--jobs`, for every command that simulates.
#[derive(clap::Args)]
pub(crate) struct Jobs {
    /// Threads; as many as there are processors by default.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

impl Jobs {
    /// The number of threads.
    pub(crate) fn number(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or_else(processors, usize::from)
    }
}

impl Args {
    fn to_stdout(&self) -> bool {
        self.out == Path::new("-")
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let output = if args.to_stdout() {
        output.with_results_on_stderr()
    } else {
        output
    };
    let studies = prepare(args, output).map_err(Failure::Input)?;
    let stop = interrupt::flag()?;
    let options = replicate::Options {
        jobs: args.jobs.number(),
        stop: &stop,
        quiet: args.quiet,
        output,
    };
    let mut exit = Exit::Success;
    for (number, loaded) in studies.iter().enumerate() {
        let finished = simulate(loaded, number == 0, args, &options)?;
        exit = exit.max(finished.exit());
        report(loaded, finished, args, output)?;
        if exit == Exit::Interrupted {
            break;
        }
    }
    if exit == Exit::Interrupted {
        output.error("interrupted; what was finished is on disk");
    }
    Ok(exit)
}

/// Everything that can be wrong with the input, before anything is run.
fn prepare(args: &Args, output: Output) -> Result<Vec<Loaded>> {
    let mut studies =
        load::studies(&args.files, output).map_err(|error| error.context("nothing was run"))?;
    if let Some(profile) = &args.profile {
        load::apply_profile(profile, &mut studies).map_err(|e| e.context("nothing was run"))?;
    }
    for Loaded { study, .. } in &mut studies {
        study.seed = args.seed.unwrap_or(study.seed);
        study.replications = args.replications.unwrap_or(study.replications);
    }
    if !args.case.is_empty() {
        load::choose(&mut studies, &args.case)?;
    }
    let mut names = BTreeMap::new();
    for Loaded { path, study, .. } in &studies {
        if let Some(other) = names.insert(&study.name, path) {
            bail!(
                "`{}` and `{}` are both named `{}`, and so would be their records; \
                 rename one, or run them one by one with two --out",
                other.display(),
                path.display(),
                study.name
            );
        }
    }
    if !args.to_stdout() {
        files::create_folder(&args.out)?;
    }
    Ok(studies)
}

/// A scenario whose replications are done, as far as they are.
struct Finished {
    complete: bool,
    rows: u64,
    summary: Summary,
    outputs: Vec<Written>,
}

impl Finished {
    fn exit(&self) -> Exit {
        match (self.complete, self.summary.errors()) {
            (false, _) => Exit::Interrupted,
            (true, 0) => Exit::Success,
            (true, _) => Exit::Failed,
        }
    }
}

fn simulate(
    loaded: &Loaded,
    first: bool,
    args: &Args,
    options: &replicate::Options<'_>,
) -> Result<Finished> {
    let study = &loaded.study;
    if !args.quiet {
        options
            .output
            .result(&heading(study, first, options.output))?;
    }
    let (started, clock) = (Timestamp::now(), Instant::now());
    let mut records = if args.to_stdout() {
        Records::on_stdout(first)?
    } else {
        Records::in_folder(&args.out, &study.name)?
    };
    let mut summary = Summary::new(study.confidence);
    let mut rows = 0;
    let complete = replicate(study, options, |outcome| {
        rows += 1;
        summary.add(&outcome.row);
        records.add(&outcome)
    })?;
    let outputs = records.finish()?;
    if !args.to_stdout() {
        let facts = Facts {
            complete,
            rows,
            errors: summary.errors(),
            outputs: &outputs,
            started,
            duration: clock.elapsed(),
            jobs: options.jobs,
            replications: study.replications,
            lab: None,
        };
        manifest::write(&args.out, loaded, &facts)?;
    }
    Ok(Finished {
        complete,
        rows,
        summary,
        outputs,
    })
}

/// The name of a study, what it shows, and how much of it there is.
fn heading(study: &Study, first: bool, output: Output) -> String {
    let name = paint(&study.name, BOLD, output.colors_results());
    let blank = if first { "" } else { "\n" };
    let about = match first_sentence(&study.description) {
        "" => String::new(),
        sentence => format!(
            ": {}",
            sentence.split_whitespace().collect::<Vec<_>>().join(" ")
        ),
    };
    let cases = count(study.cases.len(), "case");
    let replications = count(study.replications as usize, "replication");
    format!(
        "{blank}{name}{about}\n{cases}, {replications} each, seed {}\n\n",
        study.seed
    )
}

fn first_sentence(text: &str) -> &str {
    let text = text.trim();
    let ends = [". ", ".\n", "\n\n"];
    let end = ends.iter().filter_map(|end| text.find(end)).min();
    let sentence = end.map_or(text, |end| &text[..end]);
    sentence.strip_suffix('.').unwrap_or(sentence)
}

/// Prints the table, draws the figures, and says where everything is.
fn report(loaded: &Loaded, finished: Finished, args: &Args, output: Output) -> Result<()> {
    let study = &loaded.study;
    let record = record_path(&args.out, &study.name);
    let place = if args.to_stdout() {
        "the record".into()
    } else {
        record.display().to_string()
    };
    let table = finished.summary.text(study, &place);
    if !args.quiet {
        output.result(&table)?;
    }
    if args.to_stdout() {
        return Ok(());
    }
    let mut lines = String::new();
    for written in &finished.outputs {
        lines.push_str(&format!(
            "  record   {}\n",
            args.out.join(&written.file).display()
        ));
    }
    if finished.rows > FIGURE_ROWS && !args.no_figures {
        lines.push_str(&format!(
            "  figures  left out, as the record has {} rows\n",
            finished.rows
        ));
    } else if finished.complete && !args.no_figures {
        for path in draw(study, &record, &args.out.join("figures"))? {
            lines.push_str(&format!("  figure   {}\n", path.display()));
        }
    }
    let next = format!("watari plot {} --out figures", record.display());
    lines.push_str(&format!("  next     {next}\n"));
    if !args.quiet {
        output.result(&format!("\n{lines}"))?;
    }
    Ok(())
}

/// Figures are drawn of what is on disk, so that `watari plot` gives the same.
fn draw(study: &Study, record: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let (rows, series) = plot::read(record)?;
    let confidence = study.confidence;
    let options = figures::Options {
        folder,
        confidence,
        png_scale: Some(PNG_SCALE),
    };
    figures::draw(&rows, &series, &options)
}

#[cfg(test)]
mod tests {
    use super::first_sentence;

    #[test]
    fn the_first_sentence_ends_at_its_full_stop() {
        assert_eq!(
            first_sentence("At 2.5 Mbit/s it fails. More."),
            "At 2.5 Mbit/s it fails"
        );
        assert_eq!(
            first_sentence("\nOne line\nof two.\nMore."),
            "One line\nof two"
        );
        assert_eq!(first_sentence("No end"), "No end");
        assert_eq!(first_sentence(""), "");
    }
}
