//! Goodput over time around a failure, with the events that explain it.

use super::{Scene, case_label};
use crate::canvas::Point;
use crate::chart::{Chart, Entry, Mark, Panel, Sample, THIN};
use crate::scale::Scale;
use crate::style::{self, Look, ONE_COLUMN_MM, TWO_COLUMNS_MM, words};
use crate::{Figure, PlotError};
use models::record::SeriesPoint;

const SERIES: &str = "goodput_mbit_s";
const EVENT: &str = "event.";
/// More cases do not fit below each other.
pub(super) const PANELS: usize = 6;
/// A wider figure is worth it from this many bins on.
const WIDE: usize = 400;

/// One case: its goodput and its events, in ms.
#[derive(Clone)]
pub(super) struct Course<'a> {
    pub(super) case: &'a str,
    pub(super) replication: u32,
    /// In the order of time.
    pub(super) goodput: Vec<Point>,
    pub(super) events: Vec<(&'a str, f64)>,
}

/// The figure, or `None` without a series of goodput.
pub(super) fn draw(scene: &Scene<'_>) -> Result<Option<Figure>, PlotError> {
    let all = courses(&scene.series);
    let shown = &all[..all.len().min(PANELS)];
    if shown.is_empty() {
        return Ok(None);
    }
    let (from, to) = window(shown);
    let (unit, divisor) = if to < 2e3 { ("ms", 1.0) } else { ("s", 1e3) };
    let inside = || {
        shown
            .iter()
            .flat_map(|c| &c.goodput)
            .filter(|(t, _)| (from..=to).contains(t))
    };
    let highest = inside().map(|(_, value)| *value).fold(0.0, f64::max);
    let longest = shown
        .iter()
        .map(|course| course.goodput.len())
        .max()
        .unwrap_or(0);
    let wide = longest > WIDE;
    let names = super::in_order(
        shown
            .iter()
            .flat_map(|c| c.events.iter().map(|(name, _)| *name)),
    );
    let cases: Vec<&str> = shown.iter().map(|course| course.case).collect();
    let panel = |course: &Course<'_>| Panel {
        title: match shown.len() {
            1 => String::new(),
            _ => case_label(&cases, course.case),
        },
        marks: marks(course, &names, (from, to), divisor),
    };
    let chart = Chart {
        legend: legend(shown, &names),
        x: Scale::linear(from / divisor, to / divisor, if wide { 11 } else { 7 }),
        y: Scale::linear(
            0.0,
            (highest * 1.06).max(1e-3),
            if shown.len() > 1 { 4 } else { 6 },
        ),
        x_title: format!("Time ({unit})"),
        y_title: "Goodput (Mbit/s)".to_owned(),
        columns: 1,
        panel_height: if shown.len() > 1 { 58.0 } else { 100.0 },
        panels: shown.iter().map(panel).collect(),
    };
    let caption = caption(scene, shown, all.len());
    let mm = if wide { TWO_COLUMNS_MM } else { ONE_COLUMN_MM };
    let svg = chart.svg(mm, &scene.title("goodput over time"), &caption)?;
    Ok(Some(scene.figure("timeline", caption, svg)))
}

pub(super) fn look(names: &[&str], name: &str) -> Look {
    let index = names.iter().position(|known| *known == name);
    style::event(name, index.unwrap_or(0))
}

fn legend(shown: &[Course<'_>], names: &[&str]) -> Vec<Entry> {
    let entry = |name: &&str| Entry {
        text: words(name),
        sample: Sample::Marker(look(names, name)),
    };
    let mut legend: Vec<Entry> = names.iter().map(entry).collect();
    if shown.iter().any(|course| outage(&course.events).is_some()) {
        let sample = Sample::Box(style::SHADE);
        legend.push(Entry {
            text: "outage".to_owned(),
            sample,
        });
    }
    legend
}

fn marks(course: &Course<'_>, names: &[&str], (from, to): (f64, f64), divisor: f64) -> Vec<Mark> {
    let mut marks = Vec::new();
    if let Some((start, end)) = outage(&course.events) {
        let end = end.unwrap_or(to).min(to);
        marks.push(Mark::Shade {
            from: start / divisor,
            to: end / divisor,
        });
    }
    marks.push(Mark::Line {
        points: steps(&course.goodput, (from, to), divisor),
        look: style::line(0),
        width: THIN,
    });
    let seen = course
        .events
        .iter()
        .filter(|(_, at)| (from..=to).contains(at));
    let event = |(name, at): &(&str, f64)| Mark::Event {
        x: at / divisor,
        look: look(names, name),
        across: false,
    };
    marks.extend(seen.map(event));
    marks
}

/// The lowest replication of each case that has the series.
pub(super) fn courses<'a>(series: &[&'a SeriesPoint]) -> Vec<Course<'a>> {
    let finite = |p: &&&SeriesPoint| p.t_ms.is_finite() && p.value.is_finite();
    let points: Vec<&'a SeriesPoint> = series.iter().filter(finite).copied().collect();
    let cases = super::in_order(points.iter().map(|point| point.case.as_str()));
    let course = |case: &'a str| {
        let own: Vec<&SeriesPoint> = points.iter().copied().filter(|p| p.case == case).collect();
        let replication = own
            .iter()
            .filter(|p| p.series == SERIES)
            .map(|p| p.replication)
            .min()?;
        let own = || {
            own.iter()
                .copied()
                .filter(move |p| p.replication == replication)
        };
        let mut goodput: Vec<Point> = own()
            .filter(|p| p.series == SERIES)
            .map(|p| (p.t_ms, p.value))
            .collect();
        goodput.sort_by(|a, b| a.0.total_cmp(&b.0));
        let event = |p: &'a SeriesPoint| Some((p.series.strip_prefix(EVENT)?, p.t_ms));
        let mut events: Vec<(&str, f64)> = own().filter_map(event).collect();
        events.sort_by(|a, b| a.1.total_cmp(&b.1));
        (goodput.len() > 1).then_some(Course {
            case,
            replication,
            goodput,
            events,
        })
    };
    cases.into_iter().filter_map(course).collect()
}

/// The stretch of time to show: everything, or what is around the events if they are only a small
/// part of it.
pub(super) fn window(courses: &[Course<'_>]) -> (f64, f64) {
    let span = |times: &mut dyn Iterator<Item = f64>| {
        times.fold((f64::MAX, f64::MIN), |(a, b), t| (a.min(t), b.max(t)))
    };
    let (start, mut end) = span(&mut courses.iter().flat_map(|c| &c.goodput).map(|(t, _)| *t));
    let bin = courses
        .iter()
        .map(|course| bin(&course.goodput))
        .fold(f64::MAX, f64::min);
    end += bin;
    let (first, last) = span(&mut courses.iter().flat_map(|c| &c.events).map(|(_, t)| *t));
    let around = (0.25 * (last - first)).max(20.0 * bin);
    let narrow = (start.max(first - around), end.min(last + around));
    // Whole seconds, or what fits the scale, make a better axis.
    let mut grain = 1.0;
    while grain * 200.0 < narrow.1 - narrow.0 {
        grain *= 10.0;
    }
    let narrow = (
        ((narrow.0 / grain).floor() * grain).max(start),
        ((narrow.1 / grain).ceil() * grain).min(end),
    );
    if first <= last && (narrow.1 - narrow.0) < 0.75 * (end - start) {
        narrow
    } else {
        (start, end)
    }
}

/// The width of the bins: the smallest distance.
pub(super) fn bin(points: &[Point]) -> f64 {
    let gaps = points
        .windows(2)
        .map(|ends| ends[1].0 - ends[0].0)
        .filter(|gap| *gap > 0.0);
    let smallest = gaps.fold(f64::MAX, f64::min);
    if smallest == f64::MAX { 1.0 } else { smallest }
}

/// From the failure to the moment when data flow again, or to the end.
fn outage(events: &[(&str, f64)]) -> Option<(f64, Option<f64>)> {
    let at = |name: &str| {
        events
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, at)| *at)
    };
    let end = at("resumed").or_else(|| at("recovered"));
    at("failure").map(|start| (start, end))
}

/// Bins as a line of steps. Where a bin is missing nothing was delivered.
pub(super) fn steps(goodput: &[Point], (from, to): (f64, f64), divisor: f64) -> Vec<Point> {
    let bin = bin(goodput);
    let mut points: Vec<Point> = Vec::new();
    let mut push = |t: f64, value: f64| {
        let n = points.len();
        // The middle of three points of one height adds nothing.
        if n > 1 && points[n - 1].1 == value && points[n - 2].1 == value {
            points.truncate(n - 1);
        }
        points.push((t.clamp(from, to) / divisor, value));
    };
    let mut last: Option<f64> = None;
    for &(t, value) in goodput.iter().filter(|(t, _)| t + bin > from && *t < to) {
        if let Some(end) = last
            && t > end + 0.5 * bin
        {
            push(end, 0.0);
            push(t, 0.0);
        }
        push(t, value);
        push(t + bin, value);
        last = Some(t + bin);
    }
    points
}

fn caption(scene: &Scene<'_>, shown: &[Course<'_>], all: usize) -> String {
    let bin = shown
        .iter()
        .map(|course| bin(&course.goodput))
        .fold(f64::MAX, f64::min);
    let (unit, divisor) = crate::unit::time(bin);
    let mut text = format!(
        "Goodput in bins of {} {unit}, {}; markers on the time axis are events",
        style::number(bin / divisor),
        if shown.len() > 1 {
            "one panel a case"
        } else {
            "one case"
        },
    );
    let shaded = shown.iter().any(|course| outage(&course.events).is_some());
    text.push_str(if shaded {
        ", the shaded stretch is the outage. "
    } else {
        ". "
    });
    let replication = shown[0].replication;
    text.push_str(
        &match shown.iter().all(|course| course.replication == replication) {
            true => {
                format!("Single runs (n = 1, replication {replication}), so no confidence level.")
            }
            false => {
                "Single runs (n = 1, the first replication of each case), so no confidence level."
                    .into()
            }
        },
    );
    if all > shown.len() {
        text.push_str(&format!(
            " Only the first {} of {all} cases are shown.",
            shown.len()
        ));
    }
    let broken = scene
        .series
        .iter()
        .filter(|p| !p.t_ms.is_finite() || !p.value.is_finite())
        .count();
    if broken > 0 {
        text.push_str(&format!(" Left out: {broken} points that are no numbers."));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_corners_and_fill_gaps_with_nothing() {
        let bins = [(0.0, 5.0), (10.0, 5.0), (20.0, 1.0), (40.0, 2.0)];
        let points = steps(&bins, (0.0, 50.0), 1.0);
        let corners = [
            (0.0, 5.0),
            (20.0, 5.0),
            (20.0, 1.0),
            (30.0, 1.0),
            (30.0, 0.0),
            (40.0, 0.0),
            (40.0, 2.0),
            (50.0, 2.0),
        ];
        assert_eq!(points, corners);
    }

    #[test]
    fn an_outage_lasts_until_data_flow_or_for_ever() {
        assert_eq!(
            outage(&[("failure", 1.0), ("resumed", 4.0), ("recovered", 9.0)]),
            Some((1.0, Some(4.0)))
        );
        assert_eq!(outage(&[("failure", 1.0)]), Some((1.0, None)));
        let only_the_tunnel = [("failure", 1.0), ("reconnected", 3.0)];
        assert_eq!(outage(&only_the_tunnel), Some((1.0, None)));
        assert_eq!(outage(&[("detected", 1.0)]), None);
    }
}
