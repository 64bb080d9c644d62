//! How far off the simulator is: predicted against measured, and errors by method.

use super::{in_order, overlay};
use crate::canvas::Point;
use crate::chart::{self, Chart, Entry, Mark, Panel, Sample, THICK, THIN};
use crate::scale::Scale;
use crate::style::{
    self, BLACK, GREY, LOOKS, Look, Marker, ONE_COLUMN_MM, TWO_COLUMNS_MM, capital, clean, decimal,
    three_digits,
};
use crate::{Figure, PlotError, unit};
use models::compare::{Allowance, Case, Comparison, Pair, by_median, default_allowance};
use models::record::{Measure, SeriesPoint};
use sim_core::stats::quantile;

/// What is drawn of migrations, and what it is called.
const MIGRATION: [(Measure, &str); 3] = [
    (Measure::TotalTime, "total time"),
    (Measure::Downtime, "downtime"),
    (Measure::BytesSent, "data sent"),
];
const RECOVERY: [(Measure, &str); 1] = [(Measure::FailoverRecover, "recovery time")];
/// Widths of figures of one to three panels, in mm, and heights of the panels.
const SIZES: [(f64, f64); 3] = [
    (ONE_COLUMN_MM, 180.0),
    (125.0, 124.0),
    (TWO_COLUMNS_MM, 118.0),
];
/// What is beyond this many times the 90th percentile of the errors stands at the edge.
const EDGE_ERRORS: f64 = 2.5;

/// The figures of a comparison: predicted against measured, errors by method, and for each scenario
/// with time series from both halves one curve over the other.
///
/// # Errors
/// If the drawing library fails.
pub fn comparison(
    comparison: &Comparison,
    simulated: &[SeriesPoint],
    emulated: &[SeriesPoint],
) -> Result<Vec<Figure>, PlotError> {
    let mut figures = Vec::new();
    for (name, measures) in [("predicted", &MIGRATION[..]), ("recovery", &RECOVERY)] {
        figures.extend(predicted(comparison, name, measures)?);
    }
    figures.extend(errors(comparison)?);
    let names = comparison.cases.iter().map(|case| case.scenario.as_str());
    for name in in_order(names) {
        let (ours, theirs) = (of(simulated, name), of(emulated, name));
        figures.extend(overlay::draw(name, &ours, &theirs)?);
    }
    Ok(figures)
}

fn of<'a>(series: &'a [SeriesPoint], scenario: &str) -> Vec<&'a SeriesPoint> {
    let own = series.iter().filter(|point| point.scenario == scenario);
    own.collect()
}

/// By what points are told apart: the method, or the tunnel where there is but one method.
struct Kinds<'a> {
    axis: &'static str,
    names: Vec<&'a str>,
}

impl<'a> Kinds<'a> {
    fn of(quantities: &[Quantity<'a>]) -> Self {
        let names = |axis| {
            let cases = quantities.iter().flat_map(|quantity| &quantity.cases);
            in_order(cases.map(|(case, _)| kind(case, axis)))
        };
        let (methods, tunnels) = (names("method"), names("tunnel"));
        let by_tunnel = methods.len() < 2 && tunnels.len() > 1;
        Self {
            axis: if by_tunnel { "tunnel" } else { "method" },
            names: if by_tunnel { tunnels } else { methods },
        }
    }

    fn index(&self, case: &Case) -> usize {
        let name = kind(case, self.axis);
        let found = self.names.iter().position(|known| *known == name);
        found.unwrap_or(0)
    }

    fn look(index: usize) -> Look {
        // Those beyond the last look share it.
        style::line(index.min(LOOKS - 1))
    }

    fn legend(&self) -> Vec<Entry> {
        let entry = |(index, name): (usize, &&str)| {
            let others = index == LOOKS - 1 && self.names.len() > LOOKS;
            Entry {
                text: if others {
                    "others".to_owned()
                } else {
                    clean(name)
                },
                sample: Sample::Marker(Self::look(index)),
            }
        };
        let named = if self.names.len() > 1 { LOOKS } else { 0 };
        self.names
            .iter()
            .take(named)
            .enumerate()
            .map(entry)
            .collect()
    }
}

fn kind<'a>(case: &'a Case, axis: &str) -> &'a str {
    let name = match axis {
        "tunnel" => &case.params.tunnel,
        _ => &case.params.method,
    };
    name.as_deref().unwrap_or("none")
}

/// A measure with a place on the paper.
struct Quantity<'a> {
    measure: Measure,
    words: &'static str,
    allowance: Option<Allowance>,
    cases: Vec<(&'a Case, &'a Pair)>,
}

fn quantities<'a>(
    comparison: &'a Comparison,
    measures: &[(Measure, &'static str)],
) -> Vec<Quantity<'a>> {
    let quantity = |&(measure, words)| {
        let cases = comparison.cases.iter();
        let cases = cases.filter_map(|case| Some((case, case.get(measure)?)));
        Quantity {
            measure,
            words,
            allowance: default_allowance(measure),
            cases: cases.collect(),
        }
    };
    let all = measures.iter().map(quantity);
    all.filter(|quantity| !quantity.cases.is_empty()).collect()
}

impl Quantity<'_> {
    /// The unit for values up to `largest`, and what one of it is in the unit of the record.
    fn unit(&self, largest: f64) -> (&'static str, f64) {
        match self.measure {
            Measure::BytesSent if largest >= 1e9 => ("GB", 1e9),
            Measure::BytesSent if largest >= 1e6 => ("MB", 1e6),
            Measure::BytesSent => ("kB", 1e3),
            _ => unit::time(largest),
        }
    }

    /// Signed relative errors in percent.
    fn errors(&self) -> Vec<f64> {
        let errors = self
            .cases
            .iter()
            .filter_map(|(_, pair)| pair.relative_error());
        errors.map(|error| 100.0 * error).collect()
    }

    /// Median and 90th percentile of the absolute errors: relative ones, or those in the measure's
    /// own unit if only such are limited.
    fn note(&self) -> String {
        let absolute = self.allowance.is_some_and(|a| a.relative.is_none());
        let mut errors: Vec<f64> = match absolute {
            true => self.cases.iter().map(|(_, p)| p.error().abs()).collect(),
            false => self.errors().iter().map(|error| error.abs()).collect(),
        };
        errors.sort_by(f64::total_cmp);
        if errors.is_empty() {
            return String::new();
        }
        let (median, p90) = (quantile(&errors, 0.5), quantile(&errors, 0.9));
        if absolute {
            let (unit, divisor) = self.unit(p90);
            let text = |value: f64| three_digits(value / divisor);
            return format!(
                "error: median {} {unit}, p90 {} {unit}",
                text(median),
                text(p90)
            );
        }
        format!("error: median {median:.1} %, p90 {p90:.1} %")
    }
}

/// `5 %`, `15 % or 30 ms`.
fn allowed(allowance: Allowance) -> String {
    let relative = allowance
        .relative
        .map(|share| format!("{} %", decimal(100.0 * share, 1)));
    let absolute = allowance
        .absolute
        .map(|ms| format!("{} ms", decimal(ms, 0)));
    let parts: Vec<String> = [relative, absolute].into_iter().flatten().collect();
    parts.join(" or ")
}

/// `total time 5 %, downtime 15 % or 30 ms`.
fn tolerances(quantities: &[Quantity<'_>]) -> String {
    let text = |q: &Quantity<'_>| Some(format!("{} {}", q.words, allowed(q.allowance?)));
    let all: Vec<String> = quantities.iter().filter_map(text).collect();
    let mut pairs = quantities.iter().flat_map(|q| &q.cases);
    let own = match pairs.any(|(_, pair)| pair.stated) {
        true => " (some scenarios state their own, which is not drawn but decides)",
        false => "",
    };
    all.join(", ") + own
}

/// Predicted against measured, a panel a measure.
fn predicted(
    comparison: &Comparison,
    name: &str,
    measures: &[(Measure, &'static str)],
) -> Result<Option<Figure>, PlotError> {
    let mut quantities = quantities(comparison, measures);
    let positive = |pair: &Pair| pair.values().0 > 0.0 && pair.values().1 > 0.0;
    let all: usize = quantities.iter().map(|q| q.cases.len()).sum();
    for quantity in &mut quantities {
        quantity.cases.retain(|(_, pair)| positive(pair));
    }
    quantities.retain(|quantity| !quantity.cases.is_empty());
    if quantities.is_empty() {
        return Ok(None);
    }
    let kinds = Kinds::of(&quantities);
    let left_out = all - quantities.iter().map(|q| q.cases.len()).sum::<usize>();
    let (mm, height) = SIZES[quantities.len() - 1];
    let charts: Vec<Chart> = quantities
        .iter()
        .map(|quantity| scatter(quantity, &kinds, height))
        .collect();
    let mut legend = kinds.legend();
    let extra = |text: &str, sample| Entry {
        text: text.to_owned(),
        sample,
    };
    legend.push(extra("predicted = measured", Sample::BareLine(identity())));
    legend.push(extra("tolerance", Sample::Box(BAND)));
    let caption = predicted_caption(comparison, &quantities, &kinds, left_out);
    let svg = chart::row(&charts, &legend, mm, "Predicted against measured", &caption)?;
    Ok(Some(Figure {
        name: format!("compare.{name}"),
        caption,
        svg,
    }))
}

/// The ground of what is within the tolerance.
const BAND: plotters::style::RGBColor = plotters::style::RGBColor(205, 205, 205);

fn identity() -> Look {
    Look {
        color: GREY,
        dash: &[],
        marker: Marker::Bar,
    }
}

fn scatter(quantity: &Quantity<'_>, kinds: &Kinds<'_>, panel_height: f64) -> Chart {
    let values = quantity.cases.iter().map(|(_, pair)| pair.values());
    let values: Vec<f64> = values.flat_map(|(a, b)| [a, b]).collect();
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let smallest = values.iter().copied().fold(f64::MAX, f64::min);
    let (unit, divisor) = quantity.unit(largest);
    let scale = Scale::log_labelled(smallest * 0.95 / divisor, largest * 1.05 / divisor);
    let mut marks = ground(quantity.allowance, &scale, divisor);
    for (case, pair) in &quantity.cases {
        let look = Look {
            dash: &[],
            ..Kinds::look(kinds.index(case))
        };
        if let Some((low, high)) = bar(pair) {
            let y = pair.values().0 / divisor;
            marks.push(Mark::Line {
                points: vec![(low / divisor, y), (high / divisor, y)],
                look,
                width: THIN,
            });
        }
    }
    for (case, pair) in &quantity.cases {
        let (simulated, measured) = pair.values();
        marks.push(Mark::Points {
            points: vec![(measured / divisor, simulated / divisor)],
            look: Kinds::look(kinds.index(case)),
        });
    }
    Chart {
        legend: Vec::new(),
        x: scale.clone(),
        y: scale,
        x_title: format!("Measured {} ({unit})", quantity.words),
        y_title: format!("Predicted {} ({unit})", quantity.words),
        columns: 1,
        panel_height,
        panels: vec![Panel {
            title: format!(
                "{}, n = {}\n{}",
                capital(quantity.words),
                quantity.cases.len(),
                quantity.note()
            ),
            marks,
        }],
    }
}

/// How sure the measured value is: the interval of a mean, or the range of what has a median.
fn bar(pair: &Pair) -> Option<(f64, f64)> {
    if by_median(pair.measure) {
        return (pair.measured.count > 1).then_some((pair.measured.min, pair.measured.max));
    }
    pair.measured
        .interval
        .map(|interval| (interval.low, interval.high))
}

/// The tolerance band and the line on which prediction and measurement are equal.
fn ground(allowance: Option<Allowance>, scale: &Scale, divisor: f64) -> Vec<Mark> {
    const STEPS: i32 = 100;
    let places = (0..=STEPS).map(|step| scale.value(f64::from(step) / f64::from(STEPS)));
    let places: Vec<f64> = places.collect();
    let mut marks = Vec::new();
    if let Some(allowance) = allowance {
        let edge = |sign: f64| -> Vec<Point> {
            let reach = |x: f64| allowance.reach(x * divisor) / divisor;
            places.iter().map(|&x| (x, x + sign * reach(x))).collect()
        };
        marks.push(Mark::Band {
            opacity: 1.0,
            lower: edge(-1.0),
            upper: edge(1.0),
            color: BAND,
        });
    }
    marks.push(Mark::Line {
        points: places.iter().map(|&x| (x, x)).collect(),
        look: identity(),
        width: 0.6,
    });
    marks
}

/// `n = 3 repeats`, `n = 3 to 5 repeats`.
fn repeats(quantities: &[Quantity<'_>]) -> String {
    let pairs = quantities.iter().flat_map(|q| &q.cases);
    let counts: Vec<u64> = pairs.map(|(_, pair)| pair.measured.count).collect();
    let fewest = counts.iter().min().copied().unwrap_or(0);
    let most = counts.iter().max().copied().unwrap_or(0);
    match (fewest, most) {
        (1, 1) => "n = 1 repeat".to_owned(),
        (a, b) if a == b => format!("n = {a} repeats"),
        (a, b) => format!("n = {a} to {b} repeats"),
    }
}

fn predicted_caption(
    comparison: &Comparison,
    quantities: &[Quantity<'_>],
    kinds: &Kinds<'_>,
    left_out: usize,
) -> String {
    let medians = quantities.iter().any(|q| by_median(q.measure));
    let mut text = format!(
        "Simulated against emulated, one point a case{}. Points are {} over {}",
        match kinds.names.len() {
            0 | 1 => String::new(),
            _ => format!(", told apart by {}", kinds.axis),
        },
        if medians { "medians" } else { "means" },
        repeats(quantities),
    );
    let pairs = quantities.iter().flat_map(|q| &q.cases);
    let bars = pairs.clone().any(|(_, pair)| bar(pair).is_some());
    text.push_str(&match bars {
        true if medians => ", horizontal bars the range of the measured runs. ".to_owned(),
        true => format!(
            ", horizontal bars {} % t intervals of the measured mean. ",
            decimal(100.0 * comparison.confidence, 2)
        ),
        false => ", so without intervals. ".to_owned(),
    });
    text.push_str(&format!(
        "The band is what a case may be off: {}.",
        tolerances(quantities)
    ));
    if left_out > 0 {
        text.push_str(&format!(
            " Left out: {left_out} values of 0, which have no place on these axes."
        ));
    }
    text
}

/// Signed relative errors, a line of points a method and a panel a measure.
fn errors(comparison: &Comparison) -> Result<Option<Figure>, PlotError> {
    let mut quantities = quantities(comparison, &MIGRATION);
    quantities.retain(|quantity| !quantity.errors().is_empty());
    if quantities.is_empty() {
        return Ok(None);
    }
    let kinds = Kinds::of(&quantities);
    let mut beyond = 0;
    let mut charts = Vec::new();
    for (index, quantity) in quantities.iter().enumerate() {
        let (chart, outside) = strip(quantity, &kinds, index == 0);
        charts.push(chart);
        beyond += outside;
    }
    let entry = |text: &str, sample| Entry {
        text: text.to_owned(),
        sample,
    };
    let legend = [
        entry("within the tolerance", Sample::Marker(strip_look(true))),
        entry("outside", Sample::Marker(strip_look(false))),
        entry("median", Sample::Box(BLACK)),
        entry("tolerance (its share)", Sample::Box(style::SHADE)),
    ];
    let caption = errors_caption(&quantities, &kinds, beyond);
    let (mm, _) = SIZES[quantities.len() - 1];
    let title = format!("Errors by {}", kinds.axis);
    let svg = chart::row(&charts, &legend, mm, &title, &caption)?;
    Ok(Some(Figure {
        name: "compare.errors".to_owned(),
        caption,
        svg,
    }))
}

fn strip_look(within: bool) -> Look {
    let (like, marker) = match within {
        true => (style::line(2), Marker::Circle),
        false => (style::line(1), Marker::Diamond),
    };
    Look {
        dash: &[],
        marker,
        ..like
    }
}

/// One panel, and how many points stand at its edge.
fn strip(quantity: &Quantity<'_>, kinds: &Kinds<'_>, named: bool) -> (Chart, usize) {
    let limit = limit(quantity);
    let lines = kinds.names.len();
    // The first one is at the top.
    let line = |index: usize| (lines - 1 - index) as f64;
    let mut marks = Vec::new();
    if let Some(share) = quantity.allowance.and_then(|allowance| allowance.relative) {
        marks.push(Mark::Shade {
            from: (-100.0 * share).max(-limit),
            to: (100.0 * share).min(limit),
        });
    }
    marks.push(upright(0.0, (-0.5, lines as f64 - 0.5), identity(), 0.6));
    let mut beyond = 0;
    for index in 0..lines {
        let own = quantity
            .cases
            .iter()
            .filter(|(case, _)| kinds.index(case) == index);
        let error = |(_, pair): &(_, &Pair)| Some((100.0 * pair.relative_error()?, pair.within()));
        let mut errors: Vec<(f64, Option<bool>)> = own.filter_map(error).collect();
        errors.sort_by(|a, b| a.0.total_cmp(&b.0));
        beyond += errors.iter().filter(|(e, _)| e.abs() > limit).count();
        for (rank, (error, within)) in errors.iter().enumerate() {
            marks.push(Mark::Points {
                points: vec![(error.clamp(-limit, limit), line(index) + spread(rank))],
                look: strip_look(*within != Some(false)),
            });
        }
        let errors: Vec<f64> = errors.iter().map(|(error, _)| *error).collect();
        if !errors.is_empty() {
            let median = quantile(&errors, 0.5).clamp(-limit, limit);
            let ends = (line(index) - 0.38, line(index) + 0.38);
            marks.push(upright(median, ends, style::line(0), 1.6 * THICK));
        }
    }
    let text = |name: &str| if named { clean(name) } else { String::new() };
    let ticks = kinds.names.iter().enumerate();
    let ticks = ticks.map(|(index, name)| (line(index), text(name)));
    let chart = Chart {
        legend: Vec::new(),
        x: Scale::linear(-limit, limit, 8),
        y: Scale::linear(-0.5, lines as f64 - 0.5, 2).with_ticks(ticks.collect()),
        x_title: "Predicted less measured (%)".to_owned(),
        y_title: String::new(),
        columns: 1,
        panel_height: 20.0 * lines as f64 + 4.0,
        panels: vec![Panel {
            title: format!(
                "{}, n = {}",
                capital(quantity.words),
                quantity.errors().len()
            ),
            marks,
        }],
    };
    (chart, beyond)
}

fn upright(x: f64, (low, high): (f64, f64), look: Look, width: f64) -> Mark {
    Mark::Line {
        points: vec![(x, low), (x, high)],
        look,
        width,
    }
}

/// Points of a line are set off from each other by their rank, so that equal ones show.
fn spread(rank: usize) -> f64 {
    [0.0, 0.16, -0.16, 0.08, -0.08][rank % 5]
}

/// How far an axis of errors reaches to both sides, in percent: to the largest one, unless it lies
/// far out.
fn limit(quantity: &Quantity<'_>) -> f64 {
    let mut errors: Vec<f64> = quantity.errors().iter().map(|error| error.abs()).collect();
    errors.sort_by(f64::total_cmp);
    let relative = quantity.allowance.and_then(|allowance| allowance.relative);
    let band = 130.0 * relative.unwrap_or(0.05);
    let largest = errors.last().copied().unwrap_or(0.0);
    let most = (EDGE_ERRORS * quantile(&errors, 0.9)).max(band);
    (1.08 * largest).clamp(band, most)
}

fn errors_caption(quantities: &[Quantity<'_>], kinds: &Kinds<'_>, beyond: usize) -> String {
    let mut text = format!(
        "Relative errors of the simulator, one point a case ({}), by {}. Above 0 the simulator \
         says more than was measured. Allowed are: {}; the ground shows the share, and a point is \
         within by whichever limit is larger. Single values, so without intervals.",
        repeats(quantities),
        kinds.axis,
        tolerances(quantities)
    );
    if beyond > 0 {
        text.push_str(&format!(
            " {beyond} points lie beyond the axes and stand at their edge."
        ));
    }
    text
}
