//! The table that `run` prints: one line a case.
//!
//! Rows are folded in one by one and forgotten, so that a million replications
//! need no more memory than ten.

use models::record::{Backend, MEASURES, Measure, Row, axis};
use models::scenario::Study;
use sim_core::stats::{Tally, quantile};

use crate::quantity::{Unit, decimals, number};
use crate::table::{Align, Table};

/// What a newcomer wants to know first, and what to call it.
const MAIN: [(Measure, &str); 8] = [
    (Measure::TotalTime, "total time"),
    (Measure::Downtime, "downtime"),
    (Measure::BytesSent, "data sent"),
    (Measure::Rounds, "rounds"),
    (MEDIAN, "recovery, median"),
    (Measure::Throughput, "throughput"),
    (Measure::Latency, "latency"),
    (Measure::TcpSurvived, "TCP survived"),
];

/// The measure whose median is shown: a few long recoveries hide in no mean.
const MEDIAN: Measure = Measure::FailoverRecover;

/// Values of a column share a unit when the largest is at most this many times
/// the smallest.
const ONE_UNIT: f64 = 10.0;

/// Columns when a study has none of the main measures.
const OTHERS: usize = 6;

/// All cases of a study so far.
pub(crate) struct Summary {
    confidence: f64,
    cases: Vec<Line>,
    current: Option<Case>,
}

/// A case whose replications are coming in.
struct Case {
    line: Line,
    tallies: [Tally; MEASURES.len()],
    samples: Vec<f64>,
}

/// A case that is complete.
struct Line {
    case: String,
    backend: Backend,
    replications: usize,
    /// How many replications ended in an error, and the first one.
    errors: Option<(usize, String)>,
    values: Vec<(Measure, Shown)>,
}

/// What is shown of a measure.
#[derive(Clone, Copy)]
struct Shown {
    value: f64,
    half_width: Option<f64>,
}

impl Shown {
    fn text(self, unit: Unit<'_>, digits: usize) -> String {
        let value = unit.of(self.value);
        match self.half_width.filter(|&half| half > 0.0) {
            Some(half) => format!("{value:.digits$} ± {:.digits$}", unit.of(half)),
            None => format!("{value:.digits$}"),
        }
    }
}

impl Summary {
    /// Nothing yet; intervals will have this confidence.
    pub(crate) fn new(confidence: f64) -> Self {
        Self {
            confidence,
            cases: Vec::new(),
            current: None,
        }
    }

    /// Folds a row in. The rows of a case and backend come one after the other.
    pub(crate) fn add(&mut self, row: &Row) {
        if self
            .current
            .as_ref()
            .is_none_or(|case| (&case.line.case, case.line.backend) != (&row.case, row.backend))
        {
            self.close();
        }
        let case = self.current.get_or_insert_with(|| Case::new(row));
        case.add(row);
    }

    fn close(&mut self) {
        let confidence = self.confidence;
        self.cases
            .extend(self.current.take().map(|case| case.finish(confidence)));
    }

    /// How many rows ended in an error.
    pub(crate) fn errors(&self) -> usize {
        let current = self.current.iter().map(|case| &case.line);
        let lines = self.cases.iter().chain(current);
        lines
            .filter_map(|line| line.errors.as_ref())
            .map(|(number, _)| number)
            .sum()
    }

    /// The table with its footnote; `record` is where all cases are.
    pub(crate) fn text(mut self, study: &Study, record: &str) -> String {
        self.close();
        let measures = self.measures();
        let mut table = Table::default();
        study
            .axes
            .iter()
            .for_each(|axis| table.column(&axis.name, Align::Left));
        let first = self.cases.first().map(|line| line.backend);
        let mixed = self.cases.iter().any(|line| Some(line.backend) != first);
        if mixed {
            table.column("backend", Align::Left);
        }
        let columns: Vec<Vec<String>> = measures
            .iter()
            .map(|&(measure, title)| {
                let (header, cells) = self.column(measure, title);
                table.column(header, Align::Right);
                cells
            })
            .collect();
        let failed = self.errors() > 0;
        if failed {
            table.column("error", Align::Left);
        }
        for (number, line) in self.cases.iter().enumerate() {
            let label = |name: &str| axis(&line.case, name).unwrap_or_default().to_owned();
            let mut cells: Vec<String> = study.axes.iter().map(|axis| label(&axis.name)).collect();
            if mixed {
                cells.push(line.backend.name().to_owned());
            }
            cells.extend(columns.iter().map(|column| column[number].clone()));
            if failed {
                cells.push(line.error());
            }
            table.row(cells);
        }
        let text = table.shortened(|more| format!("... {more} more cases in {record}"));
        format!("{text}{}", self.footnote(&measures))
    }

    /// The main measures that are there, or else whichever are.
    fn measures(&self) -> Vec<(Measure, &'static str)> {
        let present =
            |measure: Measure| self.cases.iter().any(|line| line.shown(measure).is_some());
        let main: Vec<_> = MAIN
            .into_iter()
            .filter(|&(measure, _)| present(measure))
            .collect();
        if !main.is_empty() {
            return main;
        }
        let all = MEASURES.iter().map(|info| (info.measure, info.name));
        all.filter(|&(measure, _)| present(measure))
            .take(OTHERS)
            .collect()
    }

    fn column(&self, measure: Measure, title: &str) -> (String, Vec<String>) {
        if measure == Measure::TcpSurvived {
            let cells = self.cases.iter().map(|line| share(line.shown(measure)));
            return (title.to_owned(), cells.collect());
        }
        let values = || self.cases.iter().filter_map(|line| line.shown(measure));
        let sizes = || values().map(|shown| shown.value);
        let name = measure.info().unit;
        let largest = sizes().fold(0.0, f64::max);
        let smallest = sizes().filter(|&size| size > 0.0).fold(largest, f64::min);
        let cells = |cell: &dyn Fn(Shown) -> String| {
            let shown = self.cases.iter().map(|line| line.shown(measure));
            shown
                .map(|shown| shown.map_or_else(String::new, cell))
                .collect()
        };
        if largest > ONE_UNIT * smallest {
            // No unit fits them all: each gets its own.
            let cell = |shown: Shown| {
                let unit = Unit::fitting(name, shown.value);
                let digits = decimals(std::iter::once(unit.of(shown.value)));
                format!("{} {}", shown.text(unit, digits), unit.symbol)
            };
            return (title.to_owned(), cells(&cell));
        }
        let unit = Unit::fitting(name, largest);
        let digits = decimals(sizes().map(|size| unit.of(size)));
        let header = match unit.symbol {
            "" | "rounds" => title.to_owned(),
            symbol => format!("{title} [{symbol}]"),
        };
        (header, cells(&|shown| shown.text(unit, digits)))
    }

    fn footnote(&self, measures: &[(Measure, &str)]) -> String {
        let interval = measures.iter().any(|&(measure, _)| {
            let shown = self.cases.iter().filter_map(|line| line.shown(measure));
            shown
                .filter_map(|shown| shown.half_width)
                .any(|half| half > 0.0)
        });
        let percent = number(100.0 * self.confidence);
        if interval {
            format!("(mean ± half the width of its {percent} % confidence interval)\n")
        } else {
            String::new()
        }
    }
}

impl Case {
    fn new(row: &Row) -> Self {
        let line = Line {
            case: row.case.clone(),
            backend: row.backend,
            replications: 0,
            errors: None,
            values: Vec::new(),
        };
        Self {
            line,
            tallies: [Tally::new(); MEASURES.len()],
            samples: Vec::new(),
        }
    }

    fn add(&mut self, row: &Row) {
        self.line.replications += 1;
        if let Some(error) = &row.error {
            self.line.errors.get_or_insert_with(|| (0, error.clone())).0 += 1;
            return;
        }
        for (info, tally) in MEASURES.iter().zip(&mut self.tallies) {
            if let Some(value) = row.values.get(info.measure) {
                tally.add(value);
            }
        }
        self.samples.extend(row.values.get(MEDIAN));
    }

    fn finish(mut self, confidence: f64) -> Line {
        self.samples.sort_by(f64::total_cmp);
        for (info, tally) in MEASURES.iter().zip(&self.tallies) {
            let Some(mean) = tally.mean() else { continue };
            let interval = tally
                .interval(confidence)
                .map(|ends| (ends.high - ends.low) / 2.0);
            let shown = match info.measure {
                MEDIAN => Shown {
                    value: quantile(&self.samples, 0.5),
                    half_width: None,
                },
                Measure::TcpSurvived => Shown {
                    value: mean,
                    half_width: None,
                },
                _ => Shown {
                    value: mean,
                    half_width: interval,
                },
            };
            self.line.values.push((info.measure, shown));
        }
        self.line
    }
}

impl Line {
    fn shown(&self, measure: Measure) -> Option<Shown> {
        self.values
            .iter()
            .find(|(found, _)| *found == measure)
            .map(|(_, shown)| *shown)
    }

    fn error(&self) -> String {
        match &self.errors {
            None => String::new(),
            Some((_, error)) if self.replications == 1 => error.clone(),
            Some((number, error)) => {
                format!("{number} of {} replications: {error}", self.replications)
            }
        }
    }
}

/// A share of replications in words.
fn share(shown: Option<Shown>) -> String {
    match shown.map(|shown| shown.value) {
        None => String::new(),
        Some(1.0) => "yes".to_owned(),
        Some(0.0) => "no".to_owned(),
        Some(share) => format!("in {} %", number((1000.0 * share).round() / 10.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::record::{Params, Values};
    use models::scenario::Axis;

    fn study(axes: &[&str]) -> Study {
        let axis = |name: &&str| Axis {
            name: (*name).to_owned(),
            labels: Vec::new(),
        };
        Study {
            name: "small".into(),
            description: String::new(),
            hash: "0123456789ab".into(),
            seed: 7,
            replications: 2,
            confidence: 0.95,
            axes: axes.iter().map(axis).collect(),
            cases: Vec::new(),
            expectations: Vec::new(),
            tolerances: Vec::new(),
        }
    }

    fn row(case: &str, values: &[(Measure, f64)]) -> Row {
        let mut row = Row {
            scenario: "small".into(),
            scenario_hash: "0123456789ab".into(),
            case: case.into(),
            replication: 0,
            seed: 7,
            backend: Backend::Simulated,
            params: Params::default(),
            error: values.is_empty().then(|| "no route".to_owned()),
            values: Values::default(),
        };
        values
            .iter()
            .for_each(|&(measure, value)| row.values.set(measure, value));
        row
    }

    #[test]
    fn a_line_a_case_with_units_that_fit() {
        let mut summary = Summary::new(0.95);
        summary.add(&row(
            "rtt=1ms",
            &[(Measure::TotalTime, 90_000.0), (Measure::BytesSent, 2e9)],
        ));
        summary.add(&row(
            "rtt=1ms",
            &[(Measure::TotalTime, 90_000.0), (Measure::BytesSent, 3e9)],
        ));
        summary.add(&row("rtt=200ms", &[(Measure::TotalTime, 15_000.0)]));
        summary.add(&row("rtt=200ms", &[]));
        assert_eq!(summary.errors(), 1);
        // Two samples 2 and 3: half the range times t(0.975, 1) = 12.706 is 6.353.
        let wanted = "\
rtt    total time [s]  data sent [GB]  error
1ms                90     2.50 ± 6.35
200ms              15                  1 of 2 replications: no route
(mean ± half the width of its 95 % confidence interval)
";
        assert_eq!(summary.text(&study(&["rtt"]), "out/small.csv"), wanted);
    }

    #[test]
    fn simulated_and_emulated_rows_of_a_case_get_a_line_each() {
        let mut summary = Summary::new(0.95);
        let simulated = row("base", &[(Measure::Rounds, 4.0)]);
        let mut emulated = row("base", &[(Measure::Rounds, 6.0)]);
        emulated.backend = Backend::Emulated;
        summary.add(&simulated);
        summary.add(&emulated);
        let wanted = "\
backend    rounds
simulated       4
emulated        6
";
        assert_eq!(summary.text(&study(&[]), "x"), wanted);
    }

    #[test]
    fn values_too_far_apart_get_a_unit_each() {
        let mut summary = Summary::new(0.95);
        summary.add(&row("method=live", &[(Measure::Downtime, 307.0)]));
        summary.add(&row("method=image", &[(Measure::Downtime, 252_000.0)]));
        let wanted = "\
method  downtime
live      307 ms
image   4.20 min
";
        assert_eq!(summary.text(&study(&["method"]), "x"), wanted);
    }

    #[test]
    fn the_median_recovery_is_shown_and_survival_in_words() {
        let mut summary = Summary::new(0.95);
        for (recover, survived) in [(1.0, 1.0), (2.0, 1.0), (900.0, 1.0), (4.0, 0.0)] {
            let values = [(MEDIAN, 1000.0 * recover), (Measure::TcpSurvived, survived)];
            summary.add(&row("base", &values));
        }
        let wanted = "recovery, median [s]  TCP survived\n                   3       in 75 %\n";
        assert_eq!(summary.text(&study(&[]), "out/small.csv"), wanted);
    }

    #[test]
    fn other_measures_fill_in_for_the_main_ones() {
        let mut summary = Summary::new(0.95);
        summary.add(&row("base", &[(Measure::Mss, 1388.0)]));
        assert_eq!(
            summary.text(&study(&[]), "x"),
            "mss_bytes [B]\n         1388\n"
        );
    }
}
