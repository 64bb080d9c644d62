//! A quantity against a numeric axis: lines with confidence bands, and where they cross.

use super::{Quantity, Scene, quoted};
use crate::canvas::Point;
use crate::chart::{Chart, Entry, Mark, Panel, Sample, THICK};
use crate::scale::Scale;
use crate::style::{self, Look, ONE_COLUMN_MM, TWO_COLUMNS_MM, capital, decimal, number, words};
use crate::{Figure, PlotError};
use models::summary::Estimate;
use std::collections::BTreeSet;

/// Above this ratio of the largest to the smallest value an axis is logarithmic.
const DECADES: f64 = 100.0;
/// Two lines that cross more often differ by noise only.
const CROSSINGS: usize = 2;
/// A band never makes the axis longer than this times the largest mean.
const BAND: f64 = 1.5;

/// One line in one panel: x and the estimate there, in the order of x.
struct Curve<'a> {
    line: usize,
    points: Vec<(f64, &'a Estimate)>,
}

/// The figure, or `None` if there are fewer than two values of x.
pub(super) fn draw(scene: &Scene<'_>, quantity: &Quantity) -> Result<Option<Figure>, PlotError> {
    let selection = &scene.selection;
    let Some((values, _)) = &selection.x.numeric else {
        return Ok(None);
    };
    let panels: Vec<Vec<Curve<'_>>> = (0..selection.panels.len())
        .map(|panel| curves(scene, quantity, panel, values))
        .collect();
    let points = || panels.iter().flatten().flat_map(|curve| &curve.points);
    let xs: BTreeSet<u64> = points().map(|(x, _)| x.to_bits()).collect();
    if xs.len() < 2 {
        return Ok(None);
    }
    let estimates: Vec<&Estimate> = points().map(|(_, estimate)| *estimate).collect();
    let largest = estimates
        .iter()
        .map(|estimate| estimate.mean)
        .fold(f64::MIN, f64::max);
    let (unit, divisor) = quantity.scale.unit(largest);
    let columns = selection.columns;
    let x = x_scale(points().map(|(x, _)| *x), columns);
    let y = y_scale(quantity, &estimates, divisor);
    let mut crossing = Crossings {
        any: false,
        many: false,
    };
    // Many bands on top of each other would hide the lines.
    let opacity = if selection.lines.len() > 4 {
        0.08
    } else {
        0.18
    };
    let mut drawn = Vec::new();
    for (title, curves) in selection.panels.iter().zip(&panels) {
        let mut marks = if quantity.relative_to.is_some() {
            vec![Mark::Horizontal { y: 100.0 }]
        } else {
            vec![]
        };
        marks.extend(
            curves
                .iter()
                .filter_map(|curve| band(curve, divisor, opacity)),
        );
        if quantity.relative_to.is_none() {
            marks.extend(verticals(scene, curves, (&x, &y), divisor, &mut crossing));
        }
        // The reference is drawn last, on top.
        marks.extend(curves.iter().rev().flat_map(|curve| line(curve, divisor)));
        drawn.push(Panel {
            title: title.clone(),
            marks,
        });
    }
    let used: BTreeSet<usize> = panels.iter().flatten().map(|curve| curve.line).collect();
    let chart = Chart {
        legend: legend(scene, &used),
        x,
        y,
        x_title: scene.x_title(),
        y_title: y_title(quantity, unit),
        columns,
        panel_height: [130.0, 118.0, 105.0][columns - 1],
        panels: drawn,
    };
    let width = if columns == 1 {
        ONE_COLUMN_MM
    } else {
        TWO_COLUMNS_MM
    };
    let caption = caption(scene, quantity, &estimates, &crossing);
    let svg = chart.svg(width, &scene.title(&quantity.words), &caption)?;
    Ok(Some(scene.figure(quantity.name, caption, svg)))
}

/// The title of a y axis. What ratios are relative to stands in the caption.
pub(super) fn y_title(quantity: &Quantity, unit: &str) -> String {
    match &quantity.relative_to {
        Some(first) => {
            format!(
                "Time relative to {} (%)",
                style::shorten(first, style::NORMAL, 56.0)
            )
        }
        None => format!("{} ({unit})", capital(&quantity.words)),
    }
}

fn curves<'a>(
    scene: &Scene<'_>,
    quantity: &'a Quantity,
    panel: usize,
    values: &[f64],
) -> Vec<Curve<'a>> {
    let order = scene.selection.x_order();
    let curve = |line: usize| {
        let point = |&at: &usize| {
            let case = scene.selection.case(panel, line, at)?;
            Some((values[at], quantity.estimates.get(case)?))
        };
        Curve {
            line,
            points: order.iter().filter_map(point).collect(),
        }
    };
    let curves = (0..scene.selection.lines.len()).map(curve);
    curves.filter(|curve| !curve.points.is_empty()).collect()
}

fn legend(scene: &Scene<'_>, used: &BTreeSet<usize>) -> Vec<Entry> {
    if scene.selection.lines.len() < 2 {
        return Vec::new();
    }
    let heading = format!("{}:", capital(&words(&scene.selection.line_axis)));
    let mut entries = vec![Entry {
        text: heading,
        sample: Sample::Heading,
    }];
    entries.extend(used.iter().map(|&line| Entry {
        text: style::label(&scene.selection.lines[line]),
        sample: Sample::Line(style::line(line)),
    }));
    entries
}

fn x_scale(values: impl Iterator<Item = f64>, columns: usize) -> Scale {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let (low, high) = (values[0], values[values.len() - 1]);
    if low > 0.0 && high / low >= DECADES {
        let ticks = values.iter().map(|&value| (value, number(value))).collect();
        return Scale::log(low, high).with_ticks(ticks);
    }
    Scale::linear(low, high, [7, 6, 5][columns - 1])
}

fn y_scale(quantity: &Quantity, estimates: &[&Estimate], divisor: f64) -> Scale {
    let means = || estimates.iter().map(|estimate| estimate.mean);
    let low = means().fold(f64::MAX, f64::min);
    let high = means().fold(f64::MIN, f64::max);
    if low > 0.0 && high / low > DECADES {
        return Scale::log(low / divisor, high / divisor);
    }
    let top = estimates
        .iter()
        .filter_map(|estimate| Some(estimate.interval?.high));
    let top = top.fold(high, f64::max).min(high * BAND);
    let bottom = match quantity.relative_to.is_some() {
        // Far from zero, a ratio shows more when the axis starts near it.
        true if low > 50.0 => low.min(100.0) - 0.1 * (top.max(100.0) - low.min(100.0)),
        true => 0.0,
        false => low.min(0.0),
    };
    let top = if quantity.relative_to.is_some() {
        top.max(100.0)
    } else {
        top
    };
    let room = 0.04 * (top - bottom);
    Scale::linear(bottom / divisor, (top + room) / divisor, 7)
}

fn band(curve: &Curve<'_>, divisor: f64, opacity: f64) -> Option<Mark> {
    let bounds = |(x, estimate): &(f64, &Estimate)| {
        let interval = estimate.interval?;
        Some(((*x, interval.low / divisor), (*x, interval.high / divisor)))
    };
    let (lower, upper): (Vec<Point>, Vec<Point>) = curve.points.iter().filter_map(bounds).unzip();
    let color = style::line(curve.line).color;
    (lower.len() > 1).then_some(Mark::Band {
        opacity,
        lower,
        upper,
        color,
    })
}

fn line(curve: &Curve<'_>, divisor: f64) -> [Mark; 2] {
    let point = |(x, estimate): &(f64, &Estimate)| (*x, estimate.mean / divisor);
    let points: Vec<Point> = curve.points.iter().map(point).collect();
    let look: Look = style::line(curve.line);
    [
        Mark::Line {
            points: points.clone(),
            look,
            width: THICK,
        },
        Mark::Points { points, look },
    ]
}

struct Crossings {
    any: bool,
    /// Some lines cross so often that it means nothing.
    many: bool,
}

/// Marks where other lines cross the first one, as the lines are drawn.
fn verticals(
    scene: &Scene<'_>,
    curves: &[Curve<'_>],
    (x, y): (&Scale, &Scale),
    divisor: f64,
    found: &mut Crossings,
) -> Vec<Mark> {
    let Some((reference, others)) = curves.split_first().filter(|(first, _)| first.line == 0)
    else {
        return Vec::new();
    };
    let drawn = |curve: &Curve<'_>| -> Vec<Point> {
        let place = |(at, e): &(f64, &Estimate)| (x.share(*at), y.share(e.mean / divisor));
        curve.points.iter().map(place).collect()
    };
    let unit = scene
        .selection
        .x
        .numeric
        .as_ref()
        .map_or("", |(_, unit)| unit.name);
    let mut marks = Vec::new();
    for other in others {
        let shares = crossings(&drawn(reference), &drawn(other));
        if shares.len() > CROSSINGS {
            found.many = true;
            continue;
        }
        found.any |= !shares.is_empty();
        let color = style::line(other.line).color;
        marks.extend(shares.into_iter().map(|share| {
            let at = x.value(share);
            let text = format!("{} {unit}", decimal(at, decimals(reference, at)));
            let text = text.trim_end().to_owned();
            Mark::Vertical { x: at, text, color }
        }));
    }
    marks
}

/// Digits after the point with which a crossing is told: a twentieth of the distance between the
/// points around it, as it lies on a straight line drawn between them.
fn decimals(curve: &Curve<'_>, at: f64) -> usize {
    let around = curve
        .points
        .windows(2)
        .find(|ends| ends[0].0 <= at && at <= ends[1].0);
    let resolution = around.map_or(1.0, |ends| (ends[1].0 - ends[0].0) / 20.0);
    let (mut decimals, mut digit) = (0, 1.0);
    while digit > resolution * (1.0 + 1e-9) && decimals < 9 {
        digit /= 10.0;
        decimals += 1;
    }
    decimals
}

/// Where the line `other` crosses `reference`, both in the order of x; only places that both have
/// count, and lines that touch and part on the same side do not cross.
fn crossings(reference: &[Point], other: &[Point]) -> Vec<f64> {
    let difference = |&(x, y): &Point| {
        let (_, own) = other.iter().find(|(at, _)| *at == x)?;
        Some((x, own - y))
    };
    let mut found = Vec::new();
    let mut last: Option<Point> = None;
    let mut touch: Option<Point> = None;
    for (x, d) in reference.iter().filter_map(difference) {
        if d == 0.0 {
            touch = Some((touch.map_or(x, |(from, _)| from), x));
            continue;
        }
        if let Some((before, e)) = last
            && (e < 0.0) != (d < 0.0)
        {
            found.push(match touch {
                Some((from, to)) => f64::midpoint(from, to),
                None => before + (x - before) * e / (e - d),
            });
        }
        (last, touch) = (Some((x, d)), None);
    }
    found
}

fn caption(
    scene: &Scene<'_>,
    quantity: &Quantity,
    estimates: &[&Estimate],
    crossing: &Crossings,
) -> String {
    let selection = &scene.selection;
    let mut text = format!(
        "{} against {}",
        capital(&quantity.words),
        words(&selection.x.name)
    );
    if selection.lines.len() > 1 {
        text.push_str(&format!(", one line a {}", words(&selection.line_axis)));
    }
    text.push_str(". ");
    let bands = estimates.iter().any(|estimate| estimate.interval.is_some());
    let pairs = super::averaged(quantity);
    text.push_str(&match bands {
        true => format!("Points are means over {pairs}, bands t intervals of the mean. "),
        false => format!("Points are single {pairs}. "),
    });
    text.push_str(&scene.origin(estimates, true));
    let first = || quoted(&selection.lines[0]);
    if crossing.any {
        text.push_str(&format!(
            " Dotted verticals mark where a line crosses that of {}.",
            first()
        ));
    }
    if crossing.many {
        text.push_str(&format!(
            " Lines that cross that of {} more than {CROSSINGS} times are not marked.",
            first()
        ));
    }
    text.push_str(&scene.omissions(|row| row.values.get(quantity.measure).is_some()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cross_where_straight_lines_between_points_do() {
        // Between 60 and 80 the difference goes from 2 to -3: 2/5 of the way, at 68.
        let reference = [(0.0, 10.0), (60.0, 10.0), (80.0, 10.0), (100.0, 10.0)];
        let other = [(0.0, 15.0), (60.0, 12.0), (80.0, 7.0), (100.0, 7.0)];
        assert_eq!(crossings(&reference, &other), [68.0]);
        assert_eq!(crossings(&other, &reference), [68.0]);
    }

    #[test]
    fn touching_is_not_crossing_and_a_common_stretch_crosses_in_its_middle() {
        let flat = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (3.0, 0.0)];
        assert_eq!(
            crossings(&flat, &[(0.0, 1.0), (1.0, 0.0), (2.0, 1.0)]),
            Vec::<f64>::new()
        );
        let through = [(0.0, 1.0), (1.0, 0.0), (2.0, 0.0), (3.0, -1.0)];
        assert_eq!(crossings(&flat, &through), [1.5]);
        assert_eq!(crossings(&flat, &flat), Vec::<f64>::new());
    }

    #[test]
    fn a_missing_point_is_bridged() {
        let reference = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)];
        assert_eq!(crossings(&reference, &[(0.0, 1.0), (2.0, -1.0)]), [1.0]);
    }

    #[test]
    fn a_crossing_is_told_as_finely_as_the_points_allow() {
        let estimate = Estimate {
            count: 1,
            mean: 1.0,
            interval: None,
            min: 1.0,
            median: 1.0,
            max: 1.0,
        };
        let curve = |step: f64| Curve {
            line: 0,
            points: vec![(0.0, &estimate), (step, &estimate)],
        };
        assert_eq!(
            [20.0, 10.0, 1.0, 0.1].map(|step| decimals(&curve(step), 0.05)),
            [0, 1, 2, 3]
        );
    }
}
