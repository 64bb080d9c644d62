//! The total time of every method relative to the first one's.
//!
//! Equal replications share their random draws, so the ratio is formed replication by replication:
//! what both have in common cancels, and the interval is that of the ratio itself.

use super::{Dimension, Quantity, Scene};
use crate::style::{self, words};
use models::record::{Measure, Row, Values};
use models::summary::summarise;
use std::collections::BTreeMap;

/// The ratios in percent, or `None` if there is nothing to compare.
pub(super) fn quantity(scene: &Scene<'_>) -> Option<Quantity> {
    let selection = &scene.selection;
    if selection.lines.len() < 2 {
        return None;
    }
    let mut times: BTreeMap<&str, BTreeMap<u32, f64>> = BTreeMap::new();
    for row in &scene.rows {
        if let Some(time) = row.values.get(Measure::TotalTime) {
            times
                .entry(&row.case)
                .or_default()
                .insert(row.replication, time);
        }
    }
    let mut rows = Vec::new();
    for cell in selection.cells.iter().filter(|cell| cell.line > 0) {
        let reference = selection
            .case(cell.panel, 0, cell.x)
            .and_then(|case| times.get(case));
        let (Some(reference), Some(own)) = (reference, times.get(cell.case.as_str())) else {
            continue;
        };
        let template = scene.rows.iter().find(|row| row.case == cell.case)?;
        rows.extend(percents(reference, own).map(|percent| with_total(template, percent)));
    }
    let summaries = summarise(&rows, scene.confidence);
    let estimates = summaries.into_iter().filter_map(|summary| {
        let estimate = summary.get(Measure::TotalTime)?.clone();
        Some((summary.case, estimate))
    });
    let first = match selection.line_axis.as_str() {
        "method" => super::quoted(&selection.lines[0]),
        axis => format!("{} {}", words(axis), super::quoted(&selection.lines[0])),
    };
    let quantity = Quantity {
        name: "ratio",
        words: format!("total migration time relative to {first}"),
        measure: Measure::TotalTime,
        scale: Dimension::Percent,
        estimates: estimates.collect(),
        relative_to: Some(style::label(&selection.lines[0])),
    };
    (!quantity.estimates.is_empty()).then_some(quantity)
}

fn percents(reference: &BTreeMap<u32, f64>, own: &BTreeMap<u32, f64>) -> impl Iterator<Item = f64> {
    own.iter().filter_map(|(replication, time)| {
        let percent = 100.0 * time / reference.get(replication)?;
        Some(percent).filter(|percent| percent.is_finite())
    })
}

/// A row that carries a percentage in the place of the total time, to be summarised like one.
fn with_total(template: &Row, percent: f64) -> Row {
    let mut values = Values::default();
    values.set(Measure::TotalTime, percent);
    Row {
        values,
        ..template.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_pair_equal_replications() {
        // Replication 1: 30/20 = 150 %. Replication 2 has no partner, and 3 divides by zero.
        let reference = BTreeMap::from([(1, 20.0), (3, 0.0)]);
        let own = BTreeMap::from([(1, 30.0), (2, 40.0), (3, 5.0)]);
        assert_eq!(percents(&reference, &own).collect::<Vec<_>>(), [150.0]);
    }
}
