//! `watari compare`: how far off was the prediction?

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use models::compare::{
    Allowance, Bound, Case, Class, Comparison, Criterion, Judged, Pair, compare,
};
use models::record::{Backend, Measure, Row, SeriesPoint};
use models::scenario::{Study, Tolerance};

use crate::exit::{Exit, Failure};
use crate::figures;
use crate::files;
use crate::load;
use crate::output::{BOLD, GREEN, Output, RED, count, paint};
use crate::plot;
use crate::quantity::{Unit, decimals, number};
use crate::table::{Align, Table, wrap};

/// Name of the table of all cases and measures.
const TABLE: &str = "compare.csv";
/// Pixels of a PNG for a pixel of the SVG.
const PNG_SCALE: f32 = 3.0;
/// Most cases that are named one by one.
const NAMED: usize = 8;
/// Widest line of a sentence.
const WIDTH: usize = 96;

/// Hold a simulated record against an emulated one.
///
/// Joins both by case and prints for each case and measure: simulated,
/// measured with its confidence interval, the error, and whether it is within
/// the tolerance; then the targets over all cases, and the classes of cases
/// that miss one. Ends with 1 if a target or a tolerance that a scenario
/// states is missed, or a case failed in one half only.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  watari compare results/simulated results/emulated/2026-03-01-vm --out compared")]
pub(crate) struct Args {
    /// The record that `watari run` wrote, or a folder of them.
    simulated: PathBuf,
    /// The record that `watari emulate` wrote, or a folder of them.
    emulated: PathBuf,
    /// Scenarios whose tolerances count, a file or a folder.
    #[arg(long, value_name = "FILE_OR_DIR")]
    scenario: Option<PathBuf>,
    /// Folder for compare.csv and the figures.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Draw no figures.
    #[arg(long)]
    no_figures: bool,
    /// Write the tables as Markdown to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Level of the confidence intervals.
    #[arg(long, value_name = "LEVEL", default_value_t = 0.95, value_parser = plot::confidence)]
    confidence: f64,
    /// Print only the cases that miss, and the totals.
    #[arg(long, short)]
    quiet: bool,
}

/// Rows and time series of one half.
type Half = (Vec<Row>, Vec<SeriesPoint>);

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let ([simulated, emulated], comparison) = read(args, output).map_err(Failure::Input)?;
    output.result(&text(&comparison, args.quiet, output.colors_results()))?;
    if let Some(folder) = &args.out {
        files::create_folder(folder)?;
        files::write(&folder.join(TABLE), &csv_table(&comparison)?)?;
        if !args.no_figures {
            let figures = plots::comparison(&comparison, &simulated.1, &emulated.1);
            let figures = figures.context("cannot draw the figures")?;
            figures::write(&figures, folder, Some(PNG_SCALE))?;
        }
    }
    if let Some(path) = &args.markdown {
        files::write(path, markdown(&comparison).as_bytes())?;
    }
    Ok(if comparison.holds() {
        Exit::Success
    } else {
        Exit::Failed
    })
}

fn read(args: &Args, output: Output) -> Result<([Half; 2], Comparison)> {
    let simulated = plot::read_all(std::slice::from_ref(&args.simulated))?;
    let emulated = plot::read_all(std::slice::from_ref(&args.emulated))?;
    let studies = match &args.scenario {
        Some(path) => load::studies(std::slice::from_ref(path), output)?,
        None => Vec::new(),
    };
    let bounds: Vec<Bound> = studies.iter().flat_map(|l| bounds(&l.study)).collect();
    let comparison = compare(&simulated.0, &emulated.0, &bounds, args.confidence)
        .context("these records cannot be compared")?;
    Ok(([simulated, emulated], comparison))
}

/// The tolerances that a scenario states.
pub(crate) fn bounds(study: &Study) -> Vec<Bound> {
    let bound = |tolerance: &Tolerance| Bound {
        scenario: Some(study.name.clone()),
        measure: tolerance.measure,
        allowance: Allowance {
            relative: tolerance.relative,
            absolute: tolerance.absolute,
        },
    };
    study.tolerances.iter().map(bound).collect()
}

/// Everything that is printed.
pub(crate) fn text(comparison: &Comparison, quiet: bool, color: bool) -> String {
    let mut text = case_tables(comparison, quiet, color);
    let number = count(comparison.cases.len(), "case");
    text.push_str(&paint(&format!("{number} in both records"), BOLD, color));
    text.push('\n');
    text.push_str(&error_table(comparison).text());
    text.push('\n');
    text.push_str(&target_table(comparison, color));
    let sentences = sentences(comparison);
    if !sentences.is_empty() {
        text.push('\n');
    }
    for sentence in sentences {
        let lines = wrap(&sentence, WIDTH).replace('\n', "\n  ");
        text.push_str(&format!("{lines}\n"));
    }
    text
}

/// One table a scenario, a line a case and measure.
fn case_tables(comparison: &Comparison, quiet: bool, color: bool) -> String {
    let mut names: Vec<&str> = comparison
        .cases
        .iter()
        .map(|c| c.scenario.as_str())
        .collect();
    names.dedup();
    let mut text = String::new();
    for name in names {
        let own = comparison.cases.iter().filter(|case| case.scenario == name);
        let mut table = case_header();
        let mut lines = 0;
        for case in own {
            for (index, cells) in case_cells(case, quiet).into_iter().enumerate() {
                let mut row = vec![if index == 0 {
                    case.case.clone()
                } else {
                    String::new()
                }];
                row.extend(cells.0);
                row.push(verdict(cells.1, color));
                table.row(row);
                lines += 1;
            }
        }
        if lines > 0 {
            text.push_str(&format!("{}\n{}\n", paint(name, BOLD, color), table.text()));
        }
    }
    text
}

fn case_header() -> Table {
    let mut table = Table::default();
    table.column("case", Align::Left);
    table.column("measure", Align::Left);
    for title in ["simulated", "measured", "n", "error", "allowed"] {
        table.column(title, Align::Right);
    }
    table.column("verdict", Align::Left);
    table
}

/// The cells of a case's measures that something is claimed of, with their verdicts.
fn case_cells(case: &Case, quiet: bool) -> Vec<(Vec<String>, Option<bool>)> {
    let judged = case.pairs.iter().filter(|pair| pair.allowance.is_some());
    let wanted = judged.filter(|pair| !quiet || pair.within() == Some(false));
    wanted
        .map(|pair| (pair_cells(pair), pair.within()))
        .collect()
}

fn pair_cells(pair: &Pair) -> Vec<String> {
    let [simulated, measured] = numbers(pair);
    vec![
        measure_words(pair.measure),
        simulated,
        measured,
        format!("{}, {}", pair.simulated.count, pair.measured.count),
        error_cell(pair),
        pair.allowance.map_or_else(String::new, |allowance| {
            allowed(pair.measure, allowance.relative, allowance.absolute)
        }),
    ]
}

fn verdict(within: Option<bool>, color: bool) -> String {
    match within {
        Some(true) => paint("holds", GREEN, color),
        Some(false) => paint("MISSES", RED, color),
        None => String::new(),
    }
}

/// Simulated, and measured with its interval, in one unit.
fn numbers(pair: &Pair) -> [String; 2] {
    let (simulated, measured) = pair.values();
    let unit = Unit::fitting(
        pair.measure.info().unit,
        simulated.abs().max(measured.abs()),
    );
    // One more than elsewhere: errors of a hundredth matter here.
    let digits = 1 + decimals([simulated, measured].map(|v| unit.of(v)).into_iter());
    let interval = pair.measured.interval;
    // The interval is that of the mean.
    let half = interval.filter(|_| !models::compare::by_median(pair.measure));
    let half = half.map_or_else(String::new, |interval| {
        format!(
            " ± {:.digits$}",
            unit.of((interval.high - interval.low) / 2.0)
        )
    });
    let symbol = match unit.symbol {
        "" => String::new(),
        symbol => format!(" {symbol}"),
    };
    [
        format!("{:.digits$}{symbol}", unit.of(simulated)),
        format!("{:.digits$}{half}{symbol}", unit.of(measured)),
    ]
}

/// The signed error in percent; where the measure has only a limit in its own unit, in that unit.
fn error_cell(pair: &Pair) -> String {
    let only_absolute = pair.allowance.is_some_and(|a| a.relative.is_none());
    match pair.relative_error() {
        Some(error) if !only_absolute => format!("{:+.1} %", 100.0 * error),
        _ => signed(pair.measure, pair.error()),
    }
}

fn signed(measure: Measure, value: f64) -> String {
    let unit = Unit::fitting(measure.info().unit, value);
    let digits = decimals(std::iter::once(unit.of(value)));
    format!("{:+.digits$} {}", unit.of(value), unit.symbol)
        .trim_end()
        .to_owned()
}

/// `15 % or 30 ms`.
fn allowed(measure: Measure, relative: Option<f64>, absolute: Option<f64>) -> String {
    let relative = relative.map(|share| format!("{} %", number(100.0 * share)));
    let absolute = absolute.map(|value| {
        let unit = Unit::fitting(measure.info().unit, value);
        // A rung and the like have no unit that reads well.
        let symbol = if unit.symbol == measure.info().unit && unit.symbol != "ms" {
            ""
        } else {
            unit.symbol
        };
        format!("{} {symbol}", number(unit.of(value)))
            .trim_end()
            .to_owned()
    });
    let parts: Vec<String> = [relative, absolute].into_iter().flatten().collect();
    parts.join(" or ")
}

/// What people call a measure.
fn measure_words(measure: Measure) -> String {
    match measure {
        Measure::TotalTime => "total time".into(),
        Measure::BytesSent => "data sent".into(),
        Measure::FailoverRecover => "recovery, median".into(),
        other => {
            let name = other.info().name;
            name.strip_suffix("_ms").unwrap_or(name).replace('_', " ")
        }
    }
}

/// Errors over all cases and by class.
fn error_table(comparison: &Comparison) -> Table {
    let mut table = Table::default();
    table.column("measure", Align::Left);
    table.column("cases of", Align::Left);
    for title in ["cases", "median", "p90", "largest", "bias", "within"] {
        table.column(title, Align::Right);
    }
    let classes: Vec<Class> = comparison.classes();
    for measure in judged_measures(comparison) {
        let rows = std::iter::once(None).chain(classes.iter().map(Some));
        for class in rows {
            let Some(errors) = comparison.aggregate(measure, class) else {
                continue;
            };
            let percent = |share: f64| format!("{:.1} %", 100.0 * share);
            let all = class.is_none();
            table.row(vec![
                if all {
                    measure_words(measure)
                } else {
                    String::new()
                },
                class.map_or_else(|| "all".to_owned(), class_words),
                errors.cases.to_string(),
                percent(errors.median),
                percent(errors.p90),
                percent(errors.max),
                format!("{:+.1} %", 100.0 * errors.bias),
                errors
                    .within
                    .map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share)),
            ]);
        }
    }
    table
}

/// Measures that some case is held to, in the order of the record.
fn judged_measures(comparison: &Comparison) -> Vec<Measure> {
    let pairs = comparison.cases.iter().flat_map(|case| &case.pairs);
    let judged = pairs.filter(|pair| pair.allowance.is_some());
    let mut measures: Vec<Measure> = judged.map(|pair| pair.measure).collect();
    measures.sort();
    measures.dedup();
    measures
}

/// `method post-copy`, `round-trip time above 100 ms`.
fn class_words(class: &Class) -> String {
    let axis = match class.axis {
        "rtt" => "round-trip time",
        "loss" => "packet loss",
        other => other,
    };
    format!("{axis} {}", class.label)
}

fn target_table(comparison: &Comparison, color: bool) -> String {
    let judged = comparison.judge_all();
    if judged.is_empty() {
        return "No target is of a measure that both records have: nothing was judged.\n"
            .to_owned();
    }
    let mut table = Table::default();
    table.column("target", Align::Left);
    table.column("allowed", Align::Right);
    table.column("found", Align::Right);
    table.column("of", Align::Left);
    table.column("verdict", Align::Left);
    for one in &judged {
        let [what, limit, found, of] = judged_cells(one);
        table.row(vec![
            what,
            limit,
            found,
            of,
            verdict(Some(one.holds), color),
        ]);
    }
    table.text()
}

/// What is claimed, what is allowed, what was found, and over how much.
fn judged_cells(judged: &Judged) -> [String; 4] {
    let target = judged.target;
    let measure = Measure::by_name(target.measure);
    let words = measure.map_or_else(String::new, measure_words);
    let limit = measure.map_or_else(String::new, |measure| {
        allowed(
            measure,
            target.allowance.relative,
            target.allowance.absolute,
        )
    });
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    match target.criterion {
        Criterion::Quantile(at) => {
            let which = if at == 0.5 {
                "median".to_owned()
            } else {
                format!("p{:.0}", 100.0 * at)
            };
            let mixed = target.allowance.absolute.is_some();
            let found = match judged.error {
                Some(error) if !mixed => percent(error),
                // Which of the two limits is the larger one differs from case to case.
                Some(error) => format!("{} ({:.2} of the limit)", percent(error), judged.found),
                None => format!("{:.2} of the limit", judged.found),
            };
            let of = count(judged.count, "case");
            [format!("{words}, {which} error"), limit, found, of]
        }
        Criterion::Runs(share) => {
            let words = words.trim_end_matches(", median");
            [
                format!("{words}, runs within {limit} of the simulated run of equal rank"),
                format!("at least {}", percent(share)),
                percent(judged.found),
                count(judged.count, "run"),
            ]
        }
        Criterion::Medians => [
            format!("{words}, the same median in every case"),
            percent(1.0),
            percent(judged.found),
            count(judged.count, "case"),
        ],
    }
}

/// What the tables do not show: misses by class, disagreements, and what was not compared.
fn sentences(comparison: &Comparison) -> Vec<String> {
    let mut all: Vec<String> = class_sentences(comparison);
    all.extend(runs_sentence(comparison));
    for (case, pair) in comparison.stated_misses() {
        let (name, measure) = (
            named(&case.scenario, &case.case),
            measure_words(pair.measure),
        );
        all.push(format!(
            "The tolerance that the scenario states is missed: {measure} of {name}."
        ));
    }
    all.extend(comparison.cases.iter().filter_map(failures));
    all.extend(lone(comparison));
    for (half, other) in [
        (Backend::Simulated, "simulated but not emulated"),
        (Backend::Emulated, "emulated but not simulated"),
    ] {
        let missing = comparison.unpaired.iter().filter(|(_, _, b)| *b == half);
        let missing: Vec<String> = missing.map(|(s, c, _)| named(s, c)).collect();
        if !missing.is_empty() {
            let number = count(missing.len(), "case");
            all.push(format!("{number} {other}: {}.", list(&missing)));
        }
    }
    for name in &comparison.changed {
        all.push(format!(
            "`{name}` was simulated from another version of its file than it was emulated from."
        ));
    }
    all
}

/// Which classes miss which target, with the cases to look at. Where no class is to blame, all
/// cases together are.
fn class_sentences(comparison: &Comparison) -> Vec<String> {
    let misses = comparison.misses();
    let missed = |judged: &Judged| misses.iter().any(|(_, one)| one.target == judged.target);
    let all = comparison.judge_all().into_iter();
    let unexplained = all.filter(|judged| !judged.holds && !missed(judged));
    let unexplained = unexplained.map(|judged| miss("All cases together", "miss", &judged));
    let by_class = misses
        .iter()
        .map(|(class, judged)| miss(&capital(&class_words(class)), "misses", judged));
    unexplained.chain(by_class).collect()
}

fn miss(who: &str, misses: &str, judged: &Judged) -> String {
    let [what, limit, found, of] = judged_cells(judged);
    let outside: Vec<String> = judged.outside.iter().map(|(s, c)| named(s, c)).collect();
    let outside = match outside.len() {
        0 => String::new(),
        number => format!(" {} outside: {}.", count(number, "case"), list(&outside)),
    };
    format!("{who} {misses} {what}: {found}, allowed {limit}, of {of}.{outside}")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The stricter count of recoveries, beside the one that is judged.
fn runs_sentence(comparison: &Comparison) -> Option<String> {
    let runs = || comparison.cases.iter().filter_map(|case| case.runs);
    let all: usize = runs().map(|runs| runs.all).sum();
    let (rank, median) = runs().fold((0, 0), |(a, b), r| (a + r.by_rank, b + r.by_median));
    (all > 0).then(|| {
        format!(
            "Recovery: {rank} of {} are near the simulated run of equal rank in their case, \
             {median} are near its simulated median.",
            count(all, "run")
        )
    })
}

/// What is to be said of a case with rows that ended in an error.
fn failures(case: &Case) -> Option<String> {
    let halves = [("simulated", &case.simulated), ("emulated", &case.emulated)];
    let of = |(half, rows): (&str, &models::compare::Replications)| {
        let error = rows.error.as_ref()?;
        Some(format!(
            "{} of {} {half} rows failed ({error})",
            rows.failed, rows.all
        ))
    };
    let parts: Vec<String> = halves.into_iter().filter_map(of).collect();
    let name = named(&case.scenario, &case.case);
    let end = if case.disagrees() {
        "; the halves DISAGREE"
    } else {
        ""
    };
    (!parts.is_empty()).then(|| format!("{name}: {}{end}.", parts.join(", ")))
}

/// Measures of targets that only one half of a case has.
fn lone(comparison: &Comparison) -> Vec<String> {
    let mut measures: Vec<(Measure, Backend)> = comparison
        .cases
        .iter()
        .flat_map(|case| case.lone.clone())
        .collect();
    measures.sort();
    measures.dedup();
    let sentence = |(measure, half): (Measure, Backend)| {
        let cases = comparison
            .cases
            .iter()
            .filter(|c| c.lone.contains(&(measure, half)));
        let cases: Vec<String> = cases.map(|c| named(&c.scenario, &c.case)).collect();
        let (words, half) = (measure_words(measure), half.name());
        format!("{words} is in the {half} rows only: {}.", list(&cases))
    };
    measures.into_iter().map(sentence).collect()
}

fn named(scenario: &str, case: &str) -> String {
    format!("{scenario}/{case}")
}

fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join("; ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// One row a case and measure, all that both halves have.
fn csv_table(comparison: &Comparison) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "scenario",
        "case",
        "method",
        "tunnel",
        "rtt_ms",
        "measure",
        "unit",
        "simulated_n",
        "simulated_mean",
        "simulated_median",
        "measured_n",
        "measured_mean",
        "measured_median",
        "measured_low",
        "measured_high",
        "error",
        "relative_error_percent",
        "allowed_percent",
        "allowed",
        "within",
    ])?;
    for case in &comparison.cases {
        for pair in &case.pairs {
            writer.write_record(csv_cells(case, pair))?;
        }
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| anyhow::anyhow!("{error}"));
    bytes.with_context(|| format!("cannot write `{TABLE}`"))
}

fn csv_cells(case: &Case, pair: &Pair) -> Vec<String> {
    let info = pair.measure.info();
    let digits = info.decimals.max(3);
    let cell = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.digits$}"));
    let percent =
        |value: Option<f64>| value.map_or_else(String::new, |v| format!("{:.3}", 100.0 * v));
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (ours, theirs) = (&pair.simulated, &pair.measured);
    vec![
        case.scenario.clone(),
        case.case.clone(),
        text(&case.params.method),
        text(&case.params.tunnel),
        case.params.rtt_ms.map_or_else(String::new, number),
        info.name.to_owned(),
        info.unit.to_owned(),
        ours.count.to_string(),
        cell(Some(ours.mean)),
        cell(Some(ours.median)),
        theirs.count.to_string(),
        cell(Some(theirs.mean)),
        cell(Some(theirs.median)),
        cell(theirs.interval.map(|interval| interval.low)),
        cell(theirs.interval.map(|interval| interval.high)),
        cell(Some(pair.error())),
        percent(pair.relative_error()),
        percent(pair.allowance.and_then(|allowance| allowance.relative)),
        cell(pair.allowance.and_then(|allowance| allowance.absolute)),
        pair.within()
            .map_or("", |within| if within { "1" } else { "0" })
            .to_owned(),
    ]
}

/// The targets and what misses them first; every case is folded away.
fn markdown(comparison: &Comparison) -> String {
    let mut text = format!(
        "<!-- made by `watari compare`; do not edit -->\n\n{} in both records, intervals at {} %.\n\n\
         | target | allowed | found | of | verdict |\n| --- | ---: | ---: | --- | --- |\n",
        count(comparison.cases.len(), "case"),
        number(100.0 * comparison.confidence),
    );
    let mark = |holds| if holds { "holds" } else { "**misses**" };
    for one in comparison.judge_all() {
        let [what, limit, found, of] = judged_cells(&one);
        text.push_str(&format!(
            "| {what} | {limit} | {found} | {of} | {} |\n",
            mark(one.holds)
        ));
    }
    text.push('\n');
    for sentence in sentences(comparison) {
        text.push_str(&format!("- {}\n", cell(&sentence)));
    }
    text.push_str("\n## Errors by class\n\n");
    text.push_str(&error_table(comparison).markdown());
    text.push_str(
        "\n<details>\n<summary>Every case</summary>\n\n\
         | scenario | case | measure | simulated | measured | n | error | allowed | verdict |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    for case in &comparison.cases {
        for (cells, within) in case_cells(case, false) {
            let (scenario, name) = (cell(&case.scenario), cell(&case.case));
            let verdict = within.map_or("", mark);
            text.push_str(&format!(
                "| {scenario} | {name} | {} | {verdict} |\n",
                cells.join(" | ")
            ));
        }
    }
    text.push_str("\n</details>\n");
    text
}

/// Text that cannot break out of a cell of a Markdown table.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}
