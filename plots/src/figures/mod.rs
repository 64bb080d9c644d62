//! Which figures a record supports, and what they have in common.

mod bars;
mod comparison;
mod lines;
mod overlay;
mod phases;
mod ratio;
mod recovery;
mod timeline;

pub use comparison::comparison;

use crate::select::{Selection, select};
use crate::style::{self, capital, clean, decimal, words};
use crate::{Figure, PlotError, unit};
use models::record::{Backend, MEASURES, Measure, Row, SeriesPoint, Values};
use models::summary::{CaseSummary, Estimate, summarise};
use std::collections::{BTreeMap, BTreeSet};

/// All figures that the record and the time series support, scenario by scenario in the order of
/// the record. A scenario with both simulated and measured rows gets the figures twice.
///
/// # Errors
/// If `confidence` is not between 0 and 1, or the drawing library fails.
pub fn figures(
    rows: &[Row],
    series: &[SeriesPoint],
    confidence: f64,
) -> Result<Vec<Figure>, PlotError> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(PlotError::Confidence(confidence));
    }
    let mut figures = Vec::new();
    let mut stems = BTreeSet::new();
    for mut scene in scenes(rows, series, confidence) {
        scene.stem = unique(&scene.stem, &mut stems);
        scene.draw(&mut figures)?;
    }
    Ok(figures)
}

/// The rows of one scenario from one backend, and what is drawn where.
struct Scene<'a> {
    scenario: &'a str,
    stem: String,
    backend: Backend,
    /// Without those that failed and without values that are no numbers.
    rows: Vec<Row>,
    /// Cases of the rows that failed.
    failed: Vec<&'a str>,
    series: Vec<&'a SeriesPoint>,
    summaries: Vec<CaseSummary>,
    selection: Selection,
    confidence: f64,
}

/// The means of one quantity, case by case.
type Estimates = BTreeMap<String, Estimate>;

/// A quantity on a y axis.
struct Quantity {
    /// The last part of the figure's name.
    name: &'static str,
    /// In words, as a part of a sentence.
    words: String,
    /// The column it comes from.
    measure: Measure,
    scale: Dimension,
    estimates: Estimates,
    /// The line that the others are divided by, if they are.
    relative_to: Option<String>,
}

impl Quantity {
    fn varies(&self) -> bool {
        let mut means = self.estimates.values().map(|estimate| estimate.mean);
        let first = means.next();
        means.any(|mean| Some(mean) != first)
    }
}

/// What a quantity is measured in, which decides on the unit shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dimension {
    /// Stored in ms.
    Time,
    /// Stored in Mbit/s.
    Rate,
    /// Stored in percent.
    Percent,
}

impl Dimension {
    /// The unit for values up to `largest`, and what one of it is in the unit of the record.
    fn unit(self, largest: f64) -> (&'static str, f64) {
        match self {
            Self::Time => unit::time(largest),
            Self::Rate if largest >= 2e3 => ("Gbit/s", 1e3),
            Self::Rate if largest < 0.5 => ("kbit/s", 1e-3),
            Self::Rate => ("Mbit/s", 1.0),
            Self::Percent => ("%", 1.0),
        }
    }
}

fn scenes<'a>(rows: &'a [Row], series: &'a [SeriesPoint], confidence: f64) -> Vec<Scene<'a>> {
    let mut keys: Vec<(&str, Backend)> = Vec::new();
    let of_rows = rows.iter().map(|row| (row.scenario.as_str(), row.backend));
    let of_points = series
        .iter()
        .map(|point| (point.scenario.as_str(), point.backend));
    for key in of_rows.chain(of_points) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut seen = BTreeSet::new();
    let mut scenes = Vec::new();
    for (scenario, backend) in keys {
        let first = seen.insert(scenario);
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|row| (row.scenario.as_str(), row.backend) == (scenario, backend))
            .collect();
        let series = series
            .iter()
            .filter(|point| (point.scenario.as_str(), point.backend) == (scenario, backend))
            .collect();
        let mut scene = Scene::new((scenario, backend), &rows, series, confidence);
        if !first {
            scene.stem.push_str(if backend == Backend::Emulated {
                "-emulated"
            } else {
                "-simulated"
            });
        }
        scenes.push(scene);
    }
    scenes
}

impl<'a> Scene<'a> {
    fn new(
        (scenario, backend): (&'a str, Backend),
        rows: &[&'a Row],
        series: Vec<&'a SeriesPoint>,
        confidence: f64,
    ) -> Self {
        let cases = in_order(rows.iter().map(|row| row.case.as_str()));
        let sound: Vec<Row> = rows
            .iter()
            .filter(|row| row.error.is_none())
            .map(|row| finite(row))
            .collect();
        let failed = rows.iter().filter(|row| row.error.is_some());
        Self {
            scenario,
            stem: stem(scenario),
            backend,
            failed: failed.map(|row| row.case.as_str()).collect(),
            series,
            summaries: summarise(&sound, confidence),
            rows: sound,
            selection: select(&cases),
            confidence,
        }
    }

    fn draw(&self, figures: &mut Vec<Figure>) -> Result<(), PlotError> {
        let quantity = |name, words: &str, measure, scale| Quantity {
            name,
            words: words.to_owned(),
            measure,
            scale,
            estimates: self.estimates(measure),
            relative_to: None,
        };
        let mut quantities = Vec::new();
        let mut totals = self
            .rows
            .iter()
            .map(|row| row.values.get(Measure::TotalTime));
        let migrates = totals.any(|total| total.is_some());
        if migrates {
            let words = "total migration time";
            quantities.push(quantity(
                "total_time",
                words,
                Measure::TotalTime,
                Dimension::Time,
            ));
            if !self.same(Measure::Downtime, Measure::TotalTime) {
                quantities.push(quantity(
                    "downtime",
                    "downtime",
                    Measure::Downtime,
                    Dimension::Time,
                ));
            }
            quantities.extend(ratio::quantity(self));
        } else {
            let throughput = Measure::Throughput;
            quantities.push(quantity(
                "latency",
                "latency",
                Measure::Latency,
                Dimension::Time,
            ));
            quantities.push(quantity(
                "throughput",
                "throughput",
                throughput,
                Dimension::Rate,
            ));
        }
        // A network that is the same in every case needs no figure.
        quantities.retain(|quantity| migrates || quantity.varies());
        for quantity in &quantities {
            let drawn = match lines::draw(self, quantity)? {
                Some(figure) => Some(figure),
                None => bars::draw(self, quantity)?,
            };
            figures.extend(drawn);
        }
        figures.extend(phases::draw(self)?);
        figures.extend(timeline::draw(self)?);
        figures.extend(recovery::draw(self)?);
        Ok(())
    }

    fn estimates(&self, measure: Measure) -> Estimates {
        let known = self
            .summaries
            .iter()
            .filter_map(|summary| Some((summary.case.clone(), summary.get(measure)?.clone())));
        known.collect()
    }

    /// Whether two measures are equal wherever the first is known.
    fn same(&self, a: Measure, b: Measure) -> bool {
        let differ = |row: &Row| match (row.values.get(a), row.values.get(b)) {
            (Some(a), Some(b)) => (a - b).abs() > 1e-6 * b.abs(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        !self.rows.iter().any(differ)
    }

    fn figure(&self, name: &str, caption: String, svg: String) -> Figure {
        Figure {
            name: format!("{}.{name}", self.stem),
            caption,
            svg,
        }
    }

    /// The title of the SVG document of a figure.
    fn title(&self, words: &str) -> String {
        format!("{}: {words}", self.scenario)
    }

    /// How the numbers came about: backend, replications and, where intervals are drawn, their
    /// confidence level.
    fn origin(&self, estimates: &[&Estimate], intervals: bool) -> String {
        let fewest = estimates
            .iter()
            .map(|estimate| estimate.count)
            .min()
            .unwrap_or(0);
        let most = estimates
            .iter()
            .map(|estimate| estimate.count)
            .max()
            .unwrap_or(0);
        let backend = self.backend_words();
        let level = match intervals {
            true => format!(", {} % confidence", decimal(self.confidence * 100.0, 2)),
            false => String::new(),
        };
        match (fewest, most) {
            (1, 1) => format!("{backend}, n = 1 replication, so without confidence intervals."),
            (a, b) if a == b => format!("{backend}, n = {a} replications{level}."),
            (a, b) => format!("{backend}, n = {a} to {b} replications{level}."),
        }
    }

    fn backend_words(&self) -> &'static str {
        match self.backend {
            Backend::Simulated => "Simulated",
            Backend::Emulated => "Measured on the emulator",
        }
    }

    /// Sentences on what is not shown: cases by selection, and rows of shown cases without a value.
    fn omissions(&self, has_value: impl Fn(&Row) -> bool) -> String {
        let shown: BTreeSet<&str> = self
            .selection
            .cells
            .iter()
            .map(|cell| cell.case.as_str())
            .collect();
        let failed = self
            .failed
            .iter()
            .filter(|&&case| shown.contains(case))
            .count();
        let rows = self
            .rows
            .iter()
            .filter(|row| shown.contains(row.case.as_str()));
        let missing = rows.filter(|row| !has_value(row)).count();
        let mut sentences = self.selection.omitted.clone();
        let counted = |n: usize| {
            if n == 1 {
                "1 row".to_owned()
            } else {
                format!("{n} rows")
            }
        };
        if failed > 0 {
            sentences.push(format!("Left out: {} with an error.", counted(failed)));
        }
        if missing > 0 {
            sentences.push(format!("Left out: {} without a value.", counted(missing)));
        }
        sentences
            .iter()
            .map(|sentence| format!(" {sentence}"))
            .collect()
    }

    /// The title of the x axis, with the unit of its numbers.
    fn x_title(&self) -> String {
        let x = &self.selection.x;
        let name = capital(&words(&x.name));
        match &x.numeric {
            Some((_, unit)) if !unit.name.is_empty() => format!("{name} ({})", unit.name),
            _ => name,
        }
    }
}

/// What can be told apart of a sequence, in order of first appearance.
fn in_order<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    texts.filter(|text| seen.insert(*text)).collect()
}

/// A copy of the row without values that are not finite.
fn finite(row: &Row) -> Row {
    let mut values = Values::default();
    for info in &MEASURES {
        if let Some(value) = row
            .values
            .get(info.measure)
            .filter(|value| value.is_finite())
        {
            values.set(info.measure, value);
        }
    }
    Row {
        values,
        ..row.clone()
    }
}

/// A file stem from a name that anybody may have chosen.
fn stem(name: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
            c
        } else {
            '_'
        }
    };
    let stem: String = name.chars().take(80).map(safe).collect();
    if stem.is_empty() {
        "scenario".to_owned()
    } else {
        stem
    }
}

fn unique(stem: &str, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = stem.to_owned();
    let mut count = 1;
    // File systems that do not tell cases apart would let one figure overwrite another.
    while !taken.insert(candidate.to_ascii_lowercase()) {
        count += 1;
        candidate = format!("{stem}-{count}");
    }
    candidate
}

/// Over what the means of a quantity are formed.
fn averaged(quantity: &Quantity) -> &'static str {
    match quantity.relative_to {
        Some(_) => "ratios formed within replications",
        None => "replications",
    }
}

/// A label as part of a sentence.
fn quoted(label: &str) -> String {
    format!("\u{201c}{}\u{201d}", clean(label))
}

/// The labels of a case on the axes that change between the cases.
fn case_label(cases: &[&str], case: &str) -> String {
    let changes = |name: &str| {
        let label = |case| models::record::axis(case, name);
        cases.iter().any(|other| label(other) != label(case))
    };
    let label = |(name, label): (&str, &str)| format!("{} {}", words(name), style::label(label));
    let parts = case.split(',').filter_map(|part| part.split_once('='));
    let labels: Vec<String> = parts.filter(|(name, _)| changes(name)).map(label).collect();
    if labels.is_empty() {
        clean(case)
    } else {
        labels.join(", ")
    }
}
