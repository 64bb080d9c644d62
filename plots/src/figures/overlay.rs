//! Goodput around a failure as it was measured, drawn over what was simulated.

use super::timeline::{Course, PANELS, bin, courses, look, steps, window};
use super::{case_label, stem};
use crate::canvas::Point;
use crate::chart::{Chart, Entry, Mark, Panel, Sample, THIN};
use crate::scale::Scale;
use crate::style::{self, Look, TWO_COLUMNS_MM, words};
use crate::{Figure, PlotError, unit};
use models::record::SeriesPoint;

/// More bins than this a reader cannot see.
const BINS: f64 = 450.0;

/// The same case from both halves.
struct Both<'a> {
    simulated: Course<'a>,
    measured: Course<'a>,
}

/// One scenario's figure, or `None` where no case has a series of goodput from both halves.
pub(super) fn draw(
    scenario: &str,
    simulated: &[&SeriesPoint],
    measured: &[&SeriesPoint],
) -> Result<Option<Figure>, PlotError> {
    let (all, aligned) = both(simulated, measured);
    let shown = &all[..all.len().min(PANELS)];
    if shown.is_empty() {
        return Ok(None);
    }
    let courses: Vec<Course<'_>> = shown
        .iter()
        .flat_map(|both| [both.simulated.clone(), both.measured.clone()])
        .collect();
    let (from, to) = window(&courses);
    let width = bin_width(&courses, to - from);
    let (unit, divisor) = if to < 2e3 { ("ms", 1.0) } else { ("s", 1e3) };
    let names = super::in_order(
        courses
            .iter()
            .flat_map(|course| course.events.iter().map(|(name, _)| *name)),
    );
    let cases: Vec<&str> = shown.iter().map(|both| both.simulated.case).collect();
    let curve = |course: &Course<'_>| {
        steps(
            &rebin(&course.goodput, width, (from, to)),
            (from, to),
            divisor,
        )
    };
    let highest = courses.iter().flat_map(&curve).map(|(_, value)| value);
    let highest = highest.fold(1e-3, f64::max);
    let panel = |both: &Both<'_>| Panel {
        title: match shown.len() {
            1 => String::new(),
            _ => case_label(&cases, both.simulated.case),
        },
        marks: marks(both, &names, (from, to), divisor, curve),
    };
    let several = shown.len() > 1;
    let chart = Chart {
        legend: legend(&names),
        x: Scale::linear(from / divisor, to / divisor, 11),
        y: Scale::linear(0.0, highest * 1.1, if several { 4 } else { 6 }),
        x_title: match aligned {
            true => format!("Time since the failure ({unit})"),
            false => format!("Time ({unit})"),
        },
        y_title: "Goodput (Mbit/s)".to_owned(),
        columns: 1,
        panel_height: if several { 70.0 } else { 110.0 },
        panels: shown.iter().map(panel).collect(),
    };
    let caption = caption(all.len(), shown.len(), width, aligned);
    let title = format!("{scenario}: goodput, simulated and measured");
    Ok(Some(Figure {
        name: format!("{}.overlay", stem(scenario)),
        svg: chart.svg(TWO_COLUMNS_MM, &title, &caption)?,
        caption,
    }))
}

/// The cases that both halves have, and whether their times count from the failure: the two clocks
/// need not start together.
fn both<'a>(simulated: &[&'a SeriesPoint], measured: &[&'a SeriesPoint]) -> (Vec<Both<'a>>, bool) {
    let mut theirs = courses(measured);
    let mut all = Vec::new();
    for simulated in courses(simulated) {
        if let Some(at) = theirs.iter().position(|other| other.case == simulated.case) {
            let measured = theirs.remove(at);
            all.push(Both {
                simulated,
                measured,
            });
        }
    }
    let failed = |both: &Both<'_>| {
        failure(&both.simulated)
            .and(failure(&both.measured))
            .is_some()
    };
    let aligned = all.iter().all(failed);
    if aligned {
        for both in &mut all {
            from_failure(&mut both.simulated);
            from_failure(&mut both.measured);
        }
    }
    (all, aligned)
}

fn failure(course: &Course<'_>) -> Option<f64> {
    let found = course.events.iter().find(|(name, _)| *name == "failure");
    found.map(|(_, at)| *at)
}

fn from_failure(course: &mut Course<'_>) {
    let start = failure(course).unwrap_or(0.0);
    course.goodput.iter_mut().for_each(|(t, _)| *t -= start);
    course.events.iter_mut().for_each(|(_, t)| *t -= start);
}

/// The width of the bins that are drawn: 1, 2 or 5 times a power of ten, no finer than any course.
fn bin_width(courses: &[Course<'_>], span: f64) -> f64 {
    let coarsest = courses.iter().map(|course| bin(&course.goodput));
    let least = coarsest.fold(span / BINS, f64::max);
    let mut power = 1e-3;
    while power * 10.0 <= least {
        power *= 10.0;
    }
    let wide = [1.0, 2.0, 5.0].map(|factor| factor * power);
    let fits = wide
        .into_iter()
        .find(|width| *width >= least * (1.0 - 1e-9));
    fits.unwrap_or(10.0 * power)
}

/// The mean goodput in bins of a width, of the bins that the points fill.
fn rebin(points: &[Point], width: f64, (from, to): (f64, f64)) -> Vec<Point> {
    let own = bin(points);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let start = (first.0.max(from) / width).floor();
    let count = (((last.0 + own).min(to) / width).ceil() - start).max(0.0) as usize;
    let mut sums = vec![0.0; count];
    for &(t, value) in points {
        let mut index = ((t / width).floor() - start).max(0.0) as usize;
        while index < count {
            let low = (start + index as f64) * width;
            let overlap = (t + own).min(low + width) - t.max(low);
            if overlap <= 0.0 {
                break;
            }
            sums[index] += value * overlap / width;
            index += 1;
        }
    }
    // A bin that is not covered whole would look like a drop.
    let whole = |low: f64| low >= first.0 - 1e-6 && low + width <= last.0 + own + 1e-6;
    let place = |(index, sum)| ((start + index as f64) * width, sum);
    let bins = sums.into_iter().enumerate().map(place);
    bins.filter(|(low, _)| whole(*low)).collect()
}

fn simulated_look() -> Look {
    Look {
        dash: &[],
        ..style::line(2)
    }
}

fn marks(
    both: &Both<'_>,
    names: &[&str],
    (from, to): (f64, f64),
    divisor: f64,
    curve: impl Fn(&Course<'_>) -> Vec<Point>,
) -> Vec<Mark> {
    let upper = curve(&both.simulated);
    let ground = |&(t, _): &Point| (t, 0.0);
    let mut marks = vec![
        Mark::Band {
            opacity: 0.25,
            lower: upper.iter().map(ground).collect(),
            upper: upper.clone(),
            color: simulated_look().color,
        },
        Mark::Line {
            points: upper,
            look: simulated_look(),
            width: THIN,
        },
        Mark::Line {
            points: curve(&both.measured),
            look: style::line(0),
            width: THIN,
        },
    ];
    for (course, across) in [(&both.simulated, true), (&both.measured, false)] {
        let seen = course
            .events
            .iter()
            .filter(|(_, t)| (from..=to).contains(t));
        marks.extend(seen.map(|(name, at)| Mark::Event {
            x: at / divisor,
            look: look(names, name),
            across,
        }));
    }
    marks
}

fn legend(names: &[&str]) -> Vec<Entry> {
    let entry = |text: &str, sample| Entry {
        text: text.to_owned(),
        sample,
    };
    let mut legend = vec![
        entry("simulated", Sample::BareLine(simulated_look())),
        entry("measured", Sample::BareLine(style::line(0))),
    ];
    let event = |name: &&str| entry(&words(name), Sample::Marker(look(names, name)));
    legend.extend(names.iter().map(event));
    legend
}

fn caption(all: usize, shown: usize, width: f64, aligned: bool) -> String {
    let (unit, divisor) = unit::time(width);
    let mut text = format!(
        "Goodput as measured on the emulator (black) over what was simulated (blue, filled), in \
         bins of {} {unit}{}. Markers at the top are the simulated events, those on the time axis \
         the measured ones. Single runs (n = 1, the first replication of each half), so no \
         confidence level.",
        style::number(width / divisor),
        if shown > 1 { ", one panel a case" } else { "" },
    );
    if aligned {
        text.push_str(" Both are aligned at the failure.");
    }
    if all > shown {
        text.push_str(&format!(
            " Only the first {shown} of {all} cases are shown."
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // Bins of 10 from 5 on, brought to bins of 20: the first whole one is 20 to 40, made of half of
    // the bin at 15, the one at 25 and half of the one at 35.
    #[test]
    fn bins_are_brought_to_a_common_grid_by_their_overlap() {
        let points: Vec<Point> = [(5.0, 1.0), (15.0, 2.0), (25.0, 4.0), (35.0, 8.0)].to_vec();
        assert_eq!(rebin(&points, 20.0, (0.0, 100.0)), [(20.0, 4.5)]);
        assert_eq!(rebin(&points[..2], 10.0, (0.0, 100.0)), [(10.0, 1.5)]);
    }

    #[test]
    fn bins_are_no_finer_than_the_courses_and_no_more_than_can_be_seen() {
        let course = |step: f64| Course {
            case: "base",
            replication: 0,
            goodput: vec![(0.0, 1.0), (step, 1.0)],
            events: Vec::new(),
        };
        assert_eq!(bin_width(&[course(10.0), course(100.0)], 1000.0), 100.0);
        assert_eq!(bin_width(&[course(10.0)], 60_000.0), 200.0);
    }
}
