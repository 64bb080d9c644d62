//! The distribution of the time until goodput is back.
//!
//! Timers of dead peer detection and of TCP make this a staircase rather than a slope: a mean with
//! a confidence interval would hide it, so that the whole distribution is drawn.

use super::{Scene, case_label};
use crate::canvas::Point;
use crate::chart::{Chart, Entry, Mark, Panel, Sample, THICK};
use crate::scale::Scale;
use crate::style::{self, LOOKS, Look, ONE_COLUMN_MM};
use crate::{Figure, PlotError, unit};
use models::record::Measure;

/// Fewer replications make no distribution.
const REPLICATIONS: usize = 20;

struct Distribution<'a> {
    case: &'a str,
    /// Sorted.
    times: Vec<f64>,
    replications: usize,
}

/// The figure, or `None` if no case has enough replications.
pub(super) fn draw(scene: &Scene<'_>) -> Result<Option<Figure>, PlotError> {
    let (all, never) = distributions(scene);
    let shown = &all[..all.len().min(LOOKS)];
    let Some(largest) = shown
        .iter()
        .filter_map(|d| d.times.last())
        .copied()
        .reduce(f64::max)
    else {
        return Ok(None);
    };
    let smallest = shown
        .iter()
        .filter_map(|d| d.times.first())
        .copied()
        .fold(largest, f64::min);
    let (unit, divisor) = unit::time(largest);
    let room = (0.08 * (largest - smallest)).max(0.02 * largest);
    // Times far from zero show more when the axis starts near them.
    let start = if smallest > 0.5 * largest {
        smallest - room
    } else {
        0.0
    };
    let end = (largest + room) / divisor;
    let look = |index: usize| Look {
        ..style::line(index)
    };
    let marks = shown
        .iter()
        .enumerate()
        .rev()
        .map(|(index, distribution)| Mark::Line {
            points: steps(distribution, divisor, end),
            look: look(index),
            width: THICK,
        });
    // Labels tell the cases shown from those that never recovered as well.
    let seen = shown.iter().chain(&never);
    let cases: Vec<&str> = seen.map(|distribution| distribution.case).collect();
    let entry = |(index, distribution): (usize, &Distribution<'_>)| Entry {
        text: case_label(&cases, distribution.case),
        sample: Sample::BareLine(look(index)),
    };
    let legend = if cases.len() > 1 {
        shown.iter().enumerate().map(entry).collect()
    } else {
        vec![]
    };
    let chart = Chart {
        legend,
        x: Scale::linear(start / divisor, end, 7),
        y: Scale::linear(0.0, 104.0, 6),
        x_title: format!("Time from the failure to 90 % of goodput ({unit})"),
        y_title: "Replications recovered (%)".to_owned(),
        columns: 1,
        panel_height: 120.0,
        panels: vec![Panel {
            title: String::new(),
            marks: marks.collect(),
        }],
    };
    let mut caption = caption(scene, shown, all.len());
    if !never.is_empty() {
        let labels = never.iter().map(|d| case_label(&cases, d.case));
        let labels: Vec<String> = labels.collect();
        caption.push_str(&format!(
            " No replication recovered: {}.",
            labels.join("; ")
        ));
    }
    let svg = chart.svg(ONE_COLUMN_MM, &scene.title("time to recover"), &caption)?;
    Ok(Some(scene.figure("recovery", caption, svg)))
}

/// Cases with a failure: those of which some replication recovered, and the others.
fn distributions<'a>(scene: &'a Scene<'_>) -> (Vec<Distribution<'a>>, Vec<Distribution<'a>>) {
    let cases = super::in_order(scene.rows.iter().map(|row| row.case.as_str()));
    let distribution = |case| {
        let rows = || scene.rows.iter().filter(move |row| row.case == case);
        let times = rows().filter_map(|row| row.values.get(Measure::FailoverRecover));
        let mut times: Vec<f64> = times.collect();
        times.sort_by(f64::total_cmp);
        Distribution {
            case,
            times,
            replications: rows().count(),
        }
    };
    let lost = |case: &str| {
        let rows = scene.rows.iter().filter(|row| row.case == case);
        rows.filter_map(|row| row.values.get(Measure::TcpSurvived))
            .any(|survived| survived == 0.0)
    };
    let enough = |d: &Distribution<'_>| {
        d.replications >= REPLICATIONS && (!d.times.is_empty() || lost(d.case))
    };
    let distributions = cases.into_iter().map(distribution).filter(enough);
    distributions.partition(|distribution| !distribution.times.is_empty())
}

/// The empirical distribution function as a line, in percent of the replications, from its first
/// step to its last. If some did not recover it goes on below 100 to the end of the axis.
fn steps(distribution: &Distribution<'_>, divisor: f64, end: f64) -> Vec<Point> {
    let mut points = Vec::new();
    let mut height = 0.0;
    for (index, time) in distribution.times.iter().enumerate() {
        let x = time / divisor;
        points.push((x, height));
        height = 100.0 * (index + 1) as f64 / distribution.replications as f64;
        points.push((x, height));
    }
    if distribution.times.len() < distribution.replications {
        points.push((end, height));
    }
    points
}

fn caption(scene: &Scene<'_>, shown: &[Distribution<'_>], all: usize) -> String {
    let fewest = shown.iter().map(|d| d.replications).min().unwrap_or(0);
    let most = shown.iter().map(|d| d.replications).max().unwrap_or(0);
    let n = if fewest == most {
        fewest.to_string()
    } else {
        format!("{fewest} to {most}")
    };
    let lost: usize = shown.iter().map(|d| d.replications - d.times.len()).sum();
    let mut text = format!(
        "Empirical distribution of the time from the failure until goodput is back at 90 % of its \
         level before. {}, n = {n} replications a case; no confidence band is drawn.",
        scene.backend_words(),
    );
    if lost > 0 {
        text.push_str(&format!(
            " {lost} of them did not recover: a curve that ends below 100 % lacks those."
        ));
    }
    if all > shown.len() {
        text.push_str(&format!(
            " Only the first {} of {all} cases are shown.",
            shown.len()
        ));
    }
    if !scene.failed.is_empty() {
        text.push_str(&format!(
            " Left out: rows with an error ({}).",
            scene.failed.len()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_of_those_that_recovered_ends_below_all() {
        let distribution = Distribution {
            case: "base",
            times: vec![1e3, 3e3],
            replications: 4,
        };
        assert_eq!(
            steps(&distribution, 1e3, 4.0),
            [
                (1.0, 0.0),
                (1.0, 25.0),
                (3.0, 25.0),
                (3.0, 50.0),
                (4.0, 50.0)
            ]
        );
    }
}
