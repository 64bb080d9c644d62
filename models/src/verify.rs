//! What a scenario expects, against what was simulated.

use crate::record::{Measure, Row};
use crate::scenario::file::{AlongFile, PairFile, ValueFile};
use crate::scenario::{Basis, Expectation, Quantity, Statistic, Study};
use crate::summary::{CaseSummary, summarise};

/// One line of the verification table.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What is claimed.
    pub claim: String,
    /// Where it is published.
    pub source: String,
    /// Calibrated, predicted or exact.
    pub basis: Basis,
    /// Published value, where there is one.
    pub published: Option<f64>,
    /// What the simulation says; `None` when it has no such number.
    pub simulated: Option<f64>,
    /// Smallest value allowed.
    pub min: Option<f64>,
    /// Largest value allowed.
    pub max: Option<f64>,
    /// Unit of the four numbers, for example `ms` or `%`; empty for a ratio.
    pub unit: String,
    /// Whether the simulated value is within the bounds.
    pub pass: bool,
}

/// Checks the expectations of a study against its rows. A case with an error
/// has no value: what survived is no sample of the whole.
pub fn verify(study: &Study, rows: &[Row]) -> Vec<Verdict> {
    let cases = summarise(rows, study.confidence);
    study
        .expectations
        .iter()
        .map(|expectation| judge(study, &cases, expectation))
        .collect()
}

fn judge(study: &Study, cases: &[CaseSummary], expectation: &Expectation) -> Verdict {
    let simulated = evaluate(study, cases, &expectation.quantity);
    let within = |value: f64| {
        expectation.min.is_none_or(|min| value >= min)
            && expectation.max.is_none_or(|max| value <= max)
    };
    Verdict {
        claim: expectation.claim.clone(),
        source: expectation.source.clone(),
        basis: expectation.basis,
        published: expectation.published,
        simulated,
        min: expectation.min,
        max: expectation.max,
        unit: unit(study, &expectation.quantity),
        pass: simulated.is_some_and(within),
    }
}

/// The value of a quantity, or `None` when a case or measure is missing.
fn evaluate(study: &Study, cases: &[CaseSummary], quantity: &Quantity) -> Option<f64> {
    match quantity {
        Quantity::Value(ValueFile {
            measure,
            case,
            statistic,
        }) => at(cases, measure, case, *statistic),
        Quantity::Ratio(pair) => both(cases, pair).map(|(a, b)| a / b),
        Quantity::Difference(pair) => both(cases, pair).map(|(a, b)| a - b),
        Quantity::Loss(pair) => both(cases, pair).map(|(a, b)| 100.0 * (1.0 - a / b)),
        Quantity::Crossover(along) => {
            let to = along.to.as_ref()?;
            let other = AlongFile {
                case: to.clone(),
                to: None,
                ..along.clone()
            };
            let one = AlongFile {
                to: None,
                ..along.clone()
            };
            crossover(&points(study, cases, &one)?, &points(study, cases, &other)?)
        }
        Quantity::Linearity(along) => linearity(&points(study, cases, along)?),
        Quantity::LargestRise(along) => {
            let points = points(study, cases, along)?;
            points
                .windows(2)
                .map(|pair| pair[1].1 - pair[0].1)
                .max_by(f64::total_cmp)
        }
    }
}

fn unit(study: &Study, quantity: &Quantity) -> String {
    let of = |name: &str| {
        let unit = Measure::by_name(name).map_or("", |measure| measure.info().unit);
        // "page of 4 KiB" and the like count things; "1" is no unit.
        unit.split(' ')
            .next()
            .filter(|&unit| unit != "1")
            .unwrap_or_default()
            .to_owned()
    };
    match quantity {
        Quantity::Value(ValueFile { measure, .. })
        | Quantity::Difference(PairFile { measure, .. }) => of(measure),
        Quantity::Loss(_) => "%".to_owned(),
        Quantity::LargestRise(AlongFile {
            measure, to: None, ..
        }) => of(measure),
        Quantity::Crossover(along) => {
            let axis = study.axes.iter().find(|axis| axis.name == along.axis);
            let label = axis.and_then(|axis| axis.labels.first());
            label.map_or_else(String::new, |label| split_number(label).1.to_owned())
        }
        Quantity::Ratio(_) | Quantity::Linearity(_) | Quantity::LargestRise(_) => String::new(),
    }
}

fn at(cases: &[CaseSummary], measure: &str, case: &str, statistic: Statistic) -> Option<f64> {
    let measure = Measure::by_name(measure)?;
    let summary = cases.iter().find(|summary| summary.case == case)?;
    let estimate = summary.get(measure).filter(|_| summary.errors.is_none())?;
    Some(match statistic {
        Statistic::Mean => estimate.mean,
        Statistic::Median => estimate.median,
        Statistic::Min => estimate.min,
        Statistic::Max => estimate.max,
    })
}

fn both(cases: &[CaseSummary], pair: &PairFile) -> Option<(f64, f64)> {
    let value = |case| at(cases, &pair.measure, case, pair.statistic);
    Some((value(&pair.case)?, value(&pair.to)?))
}

/// The mean of a measure along an axis, divided by that of `to` where given.
fn points(study: &Study, cases: &[CaseSummary], along: &AlongFile) -> Option<Vec<(f64, f64)>> {
    let axis = study.axes.iter().find(|axis| axis.name == along.axis)?;
    let first = along
        .from
        .as_ref()
        .map_or(Some(0), |from| axis.labels.iter().position(|l| l == from))?;
    axis.labels[first..]
        .iter()
        .map(|label| {
            let mean = |rest: &str| {
                let id = case_id(study, &along.axis, label, rest);
                at(cases, &along.measure, &id, Statistic::Mean)
            };
            let value = mean(&along.case)?;
            let value = match &along.to {
                Some(to) => value / mean(to)?,
                None => value,
            };
            Some((split_number(label).0?, value))
        })
        .collect()
}

/// The id of the case at `axis = label` and the axes named in `rest`.
pub fn case_id(study: &Study, axis: &str, label: &str, rest: &str) -> String {
    let part = |name: &str| {
        let label = if name == axis {
            Some(label)
        } else {
            crate::record::axis(rest, name)
        };
        format!("{name}={}", label.unwrap_or_default())
    };
    study
        .axes
        .iter()
        .map(|axis| part(&axis.name))
        .collect::<Vec<_>>()
        .join(",")
}

/// Where one curve falls below another, both straight between their points.
fn crossover(one: &[(f64, f64)], other: &[(f64, f64)]) -> Option<f64> {
    let gaps: Vec<(f64, f64)> = one
        .iter()
        .zip(other)
        .map(|(a, b)| (a.0, a.1 - b.1))
        .collect();
    gaps.windows(2).find_map(|pair| {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        (y0 >= 0.0 && y1 < 0.0).then(|| x0 + (x1 - x0) * y0 / (y0 - y1))
    })
}

/// Coefficient of determination of the least-squares line.
fn linearity(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / n;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / n;
    let sum = |f: fn(f64, f64) -> f64| -> f64 {
        points.iter().map(|p| f(p.0 - mean_x, p.1 - mean_y)).sum()
    };
    let (xx, yy, xy) = (sum(|x, _| x * x), sum(|_, y| y * y), sum(|x, y| x * y));
    (xx > 0.0 && yy > 0.0).then(|| xy * xy / (xx * yy))
}

/// A label such as `20ms` as its number and its unit.
fn split_number(label: &str) -> (Option<f64>, &str) {
    let end = label
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'))
        .unwrap_or(label.len());
    (label[..end].parse().ok(), label[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2 above at 60 and 2 below at 80: half way.
    #[test]
    fn a_crossover_is_interpolated() {
        let falling = [(40.0, 9.0), (60.0, 8.0), (80.0, 7.0)];
        let rising = [(40.0, 3.0), (60.0, 6.0), (80.0, 9.0)];
        assert_eq!(crossover(&falling, &rising), Some(70.0));
        assert_eq!(crossover(&falling[..2], &rising[..2]), None);
    }

    #[test]
    fn a_straight_line_has_a_determination_of_one() {
        assert_eq!(linearity(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(1.0));
        assert!(linearity(&[(0.0, 1.0), (1.0, 3.0), (2.0, 1.0)]).unwrap() < 0.1);
    }

    #[test]
    fn a_label_splits_into_number_and_unit() {
        assert_eq!(split_number("20ms"), (Some(20.0), "ms"));
        assert_eq!(split_number("diff"), (None, "diff"));
    }
}
