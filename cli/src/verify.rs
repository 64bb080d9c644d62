//! `watari verify`: do the scenarios give what was published?

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use models::scenario::Basis;
use models::verify::{Verdict, verify};

use crate::exit::{Exit, Failure};
use crate::files;
use crate::interrupt;
use crate::load::{self, Loaded};
use crate::output::{BOLD, GREEN, Output, RED, count, paint};
use crate::quantity::{Unit, decimals};
use crate::replicate::{self, replicate};
use crate::run::Jobs;
use crate::table::{Align, Table, wrap};

/// Widest line of a claim.
const CLAIM_WIDTH: usize = 56;
/// Most digits after the point.
const MOST_DIGITS: usize = 6;
/// Longest file that a table is spliced into.
const SPLICE_BYTES: u64 = 4 << 20;
const BEGIN: &str = "<!-- BEGIN: verify -->";
const END: &str = "<!-- END: verify -->";

/// Compare the simulation with what was published.
///
/// Simulates every scenario that says what is expected of it, and prints for
/// each claim: the published value, the simulated one, and what is allowed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watari verify
  watari verify scenarios --splice README.md")]
pub(crate) struct Args {
    /// Scenario files, or folders of them.
    #[arg(value_name = "FILE_OR_DIR", default_value = "scenarios")]
    files: Vec<PathBuf>,
    /// Put the table as Markdown between the lines `<!-- BEGIN: verify -->`
    /// and `<!-- END: verify -->` of this file.
    #[arg(long, value_name = "FILE")]
    splice: Option<PathBuf>,
    #[command(flatten)]
    jobs: Jobs,
    /// Print only the claims that fail, and the total.
    #[arg(long, short)]
    quiet: bool,
}

/// What came out for one scenario.
struct Verified {
    name: String,
    verdicts: Vec<Verdict>,
    /// How many rows ended in an error, and the first one.
    errors: (usize, String),
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let studies = load::studies(&args.files, output).map_err(Failure::Input)?;
    let target = args
        .splice
        .as_deref()
        .map(Splice::open)
        .transpose()
        .map_err(Failure::Input)?;
    let stop = interrupt::flag()?;
    let options = replicate::Options {
        jobs: args.jobs.number(),
        stop: &stop,
        quiet: args.quiet,
        output,
    };
    let mut all = Vec::new();
    for loaded in studies
        .iter()
        .filter(|loaded| !loaded.study.expectations.is_empty())
    {
        let Some(verified) = verify_one(loaded, &options)? else {
            output.error("interrupted; nothing was written");
            return Ok(Exit::Interrupted);
        };
        output.result(&text(&verified, args.quiet, output))?;
        all.push(verified);
    }
    if all.is_empty() {
        let problem = anyhow::anyhow!("no scenario expects anything; add an [[expect]] to one");
        return Err(Failure::Input(problem));
    }
    output.result(&totals(&all, studies.len() - all.len()))?;
    if let Some(target) = target {
        target.write(&markdown(&all, args))?;
    }
    let holds = all
        .iter()
        .flat_map(|verified| &verified.verdicts)
        .all(|verdict| verdict.pass);
    Ok(if holds { Exit::Success } else { Exit::Failed })
}

/// Simulates a scenario and looks at its claims; `None` when it was interrupted.
fn verify_one(loaded: &Loaded, options: &replicate::Options<'_>) -> Result<Option<Verified>> {
    let study = &loaded.study;
    let mut rows = Vec::new();
    let complete = replicate(study, options, |outcome| {
        rows.push(outcome.row);
        Ok(())
    })?;
    let failed: Vec<&String> = rows.iter().filter_map(|row| row.error.as_ref()).collect();
    let first = failed
        .first()
        .map_or_else(String::new, |error| (*error).clone());
    let errors = (failed.len(), first);
    let verdicts = verify(study, &rows);
    Ok(complete.then(|| Verified {
        name: study.name.clone(),
        verdicts,
        errors,
    }))
}

fn text(verified: &Verified, quiet: bool, output: Output) -> String {
    let color = output.colors_results();
    let wanted = |verdict: &&Verdict| !quiet || !verdict.pass;
    let verdicts: Vec<&Verdict> = verified.verdicts.iter().filter(wanted).collect();
    if verdicts.is_empty() {
        return String::new();
    }
    let mut table = Table::default();
    table.column("claim", Align::Left);
    table.column("published", Align::Right);
    table.column("simulated", Align::Right);
    table.column("allowed", Align::Left);
    table.column("basis", Align::Left);
    table.column("verdict", Align::Left);
    for verdict in verdicts {
        let [published, simulated, allowed] = numbers(verdict);
        let mark = if verdict.pass {
            paint("holds", GREEN, color)
        } else {
            paint("FAILS", RED, color)
        };
        let claim = wrap(&verdict.claim, CLAIM_WIDTH);
        table.row(vec![
            claim,
            published,
            simulated,
            allowed,
            basis(verdict).to_owned(),
            mark,
        ]);
    }
    let name = paint(&verified.name, BOLD, color);
    format!("{name}\n{}{}\n", table.text(), errors(verified))
}

fn errors(verified: &Verified) -> String {
    match &verified.errors {
        (0, _) => String::new(),
        (number, first) => {
            format!(
                "{} ended in an error, the first: {first}\n",
                count(*number, "replication")
            )
        }
    }
}

/// Published, simulated and allowed, in one unit that fits all.
fn numbers(verdict: &Verdict) -> [String; 3] {
    let Verdict {
        published,
        simulated,
        min,
        max,
        ..
    } = *verdict;
    let mut values: Vec<f64> = [published, min, max].into_iter().flatten().collect();
    if values.is_empty() || !verdict.pass {
        values.extend(simulated);
    }
    let largest = values.iter().map(|value| value.abs()).fold(0.0, f64::max);
    let unit = Unit::fitting(&verdict.unit, largest);
    let few = decimals(
        values
            .iter()
            .copied()
            .chain(simulated)
            .map(|value| unit.of(value)),
    );
    let digits = digits(few, values.iter().map(|&value| unit.of(value)).collect());
    let blank = if matches!(unit.symbol, "" | "%") {
        ""
    } else {
        " "
    };
    let bare = |value: f64| format!("{:.digits$}", unit.of(value));
    let with_unit = |value: f64| format!("{}{blank}{}", bare(value), unit.symbol);
    let allowed = match (min, max) {
        (Some(min), Some(max)) if min == max => format!("exactly {}", with_unit(min)),
        (Some(min), Some(max)) => format!("{} to {}", bare(min), with_unit(max)),
        (Some(min), None) => format!("at least {}", with_unit(min)),
        (None, Some(max)) => format!("at most {}", with_unit(max)),
        (None, None) => String::new(),
    };
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), with_unit);
    [cell(published), cell(simulated), allowed]
}

/// Digits after the point, at least `few`, with which values that differ look different.
fn digits(few: usize, mut values: Vec<f64>) -> usize {
    values.sort_by(f64::total_cmp);
    values.dedup();
    let differ = |digits: usize| {
        let texts: Vec<String> = values
            .iter()
            .map(|value| format!("{value:.digits$}"))
            .collect();
        texts.windows(2).all(|pair| pair[0] != pair[1])
    };
    (few..=MOST_DIGITS)
        .find(|&digits| differ(digits))
        .unwrap_or(MOST_DIGITS)
}

fn basis(verdict: &Verdict) -> &'static str {
    match verdict.basis {
        Basis::Calibrated => "calibrated",
        Basis::Predicted => "predicted",
        Basis::Exact => "exact",
    }
}

/// `57 of 57 hold: 20 predicted, 12 calibrated, 25 exact`.
fn tally(all: &[Verified]) -> String {
    let verdicts: Vec<&Verdict> = all.iter().flat_map(|verified| &verified.verdicts).collect();
    let holding: Vec<_> = verdicts.iter().filter(|verdict| verdict.pass).collect();
    let kinds: Vec<String> = ["predicted", "calibrated", "exact"]
        .into_iter()
        .map(|kind| {
            (
                kind,
                holding
                    .iter()
                    .filter(|verdict| basis(verdict) == kind)
                    .count(),
            )
        })
        .filter(|(_, number)| *number > 0)
        .map(|(kind, number)| format!("{number} {kind}"))
        .collect();
    let kinds = if kinds.is_empty() {
        String::new()
    } else {
        format!(": {}", kinds.join(", "))
    };
    format!("{} of {} hold{kinds}", holding.len(), verdicts.len())
}

fn totals(all: &[Verified], others: usize) -> String {
    let others = match others {
        0 => String::new(),
        number => format!(
            " ({} without expectations left out)",
            count(number, "scenario")
        ),
    };
    format!("{}{others}\n", tally(all))
}

/// Measured figures first; what follows from code and standards is folded away.
fn markdown(all: &[Verified], args: &Args) -> String {
    let files: Vec<_> = args
        .files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let target = args.splice.as_deref().map(files::name).unwrap_or_default();
    let measured = markdown_rows(all, |basis| basis != Basis::Exact);
    let exact = markdown_rows(all, |basis| basis == Basis::Exact);
    format!(
        "<!-- made by `watari verify {} --splice {target}`; do not edit -->\n\n\
         {}.\n{measured}\n\
         <details>\n<summary>Exact behaviour of programs, standards and formulas</summary>\n\
         {exact}\n</details>\n",
        files.join(" "),
        tally(all),
    )
}

fn markdown_rows(all: &[Verified], wanted: impl Fn(Basis) -> bool) -> String {
    let mut text = String::from(
        "\n| scenario | claim | source | published | simulated | allowed | basis | verdict |\n\
         | --- | --- | --- | ---: | ---: | --- | --- | --- |\n",
    );
    for Verified { name, verdicts, .. } in all {
        for verdict in verdicts.iter().filter(|verdict| wanted(verdict.basis)) {
            let [published, simulated, allowed] = numbers(verdict);
            let (claim, source) = (cell(&verdict.claim), cell(&verdict.source));
            let mark = if verdict.pass { "holds" } else { "**fails**" };
            let basis = basis(verdict);
            text.push_str(&format!(
                "| {name} | {claim} | {source} | {published} | {simulated} | {allowed} | {basis} | {mark} |\n"
            ));
        }
    }
    text
}

/// Text that cannot break out of a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// A file with a place for the table.
struct Splice<'a> {
    path: &'a Path,
    before: String,
    after: String,
}

impl<'a> Splice<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let text = files::read_text(path, SPLICE_BYTES)?;
        let Some((before, rest)) = text.split_once(BEGIN) else {
            bail!(
                "`{}` has no line `{BEGIN}` to put the table after",
                path.display()
            );
        };
        let (_, after) = rest
            .split_once(END)
            .with_context(|| format!("`{}` has no line `{END}` after `{BEGIN}`", path.display()))?;
        Ok(Self {
            path,
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    fn write(&self, table: &str) -> Result<()> {
        let text = format!("{}{BEGIN}\n{table}{END}{}", self.before, self.after);
        files::write(self.path, text.as_bytes()).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(unit: &str, simulated: f64, min: Option<f64>, max: Option<f64>) -> Verdict {
        Verdict {
            claim: "c".into(),
            source: "s".into(),
            basis: Basis::Exact,
            published: None,
            simulated: Some(simulated),
            min,
            max,
            unit: unit.into(),
            pass: true,
        }
    }

    #[test]
    fn numbers_of_a_claim_share_a_unit() {
        let row = numbers(&verdict("ms", 2_770.4, Some(2_600.0), Some(3_000.0)));
        assert_eq!(row, ["-", "2.77 s", "2.60 to 3.00 s"]);
        let row = numbers(&verdict("ms", 1_400.4, Some(1_399.0), Some(1_401.0)));
        assert_eq!(row, ["-", "1.400 s", "1.399 to 1.401 s"]);
        let row = numbers(&verdict("1", 29.0, Some(29.0), Some(29.0)));
        assert_eq!(row, ["-", "29", "exactly 29"]);
        let row = numbers(&verdict("%", 12.5, None, Some(15.0)));
        assert_eq!(row, ["-", "12.5%", "at most 15.0%"]);
        let row = numbers(&verdict("MiB/s", 12.0, Some(10.0), None));
        assert_eq!(row, ["-", "12 MiB/s", "at least 10 MiB/s"]);
    }
}
