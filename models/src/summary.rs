//! Replications of one case brought together: mean, t interval, quantiles.

use crate::record::{Backend, MEASURES, Measure, Params, Row};
use sim_core::stats::{Interval, Tally, quantile};

/// One measure over the replications of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Replications that have the measure.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Student t interval of the mean; `None` with fewer than two replications.
    pub interval: Option<Interval>,
    /// Smallest value.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest value.
    pub max: f64,
}

/// All replications of one case.
#[derive(Clone, Debug)]
pub struct CaseSummary {
    /// Scenario name.
    pub scenario: String,
    /// Point of the sweep.
    pub case: String,
    /// Which half its rows are from: a mean of both would be of neither.
    pub backend: Backend,
    /// Parameters of its first replication.
    pub params: Params,
    /// Replications in all.
    pub replications: usize,
    /// The first error, and how many replications ended in one.
    pub errors: Option<(String, usize)>,
    estimates: Vec<Option<Estimate>>,
}

impl CaseSummary {
    /// The estimate of a measure, or `None` where no replication has it.
    pub fn get(&self, measure: Measure) -> Option<&Estimate> {
        self.estimates[measure as usize].as_ref()
    }

    /// The label of a sweep axis at this case.
    pub fn axis(&self, name: &str) -> Option<&str> {
        crate::record::axis(&self.case, name)
    }
}

/// Brings the rows of each case and backend together, in the order in which
/// they first appear. `confidence` is the level of the intervals, for example 0.95.
/// Rows with an error are counted and otherwise left out.
pub fn summarise(rows: &[Row], confidence: f64) -> Vec<CaseSummary> {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    let mut index = std::collections::BTreeMap::new();
    for row in rows {
        let key = (row.scenario.as_str(), row.case.as_str(), row.backend);
        let at = *index.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[at].push(row);
    }
    groups
        .into_iter()
        .map(|rows| summarise_case(&rows, confidence))
        .collect()
}

fn summarise_case(rows: &[&Row], confidence: f64) -> CaseSummary {
    let first = rows[0];
    let failed: Vec<&String> = rows.iter().filter_map(|row| row.error.as_ref()).collect();
    CaseSummary {
        scenario: first.scenario.clone(),
        case: first.case.clone(),
        backend: first.backend,
        params: first.params.clone(),
        replications: rows.len(),
        errors: failed.first().map(|&error| (error.clone(), failed.len())),
        estimates: MEASURES
            .iter()
            .map(|info| {
                let sound = rows.iter().filter(|row| row.error.is_none());
                let values = sound.filter_map(|row| row.values.get(info.measure));
                estimate(values.collect(), confidence)
            })
            .collect(),
    }
}

fn estimate(mut values: Vec<f64>, confidence: f64) -> Option<Estimate> {
    let mut tally = Tally::default();
    values.iter().for_each(|&value| tally.add(value));
    values.sort_by(f64::total_cmp);
    Some(Estimate {
        count: tally.count(),
        mean: tally.mean()?,
        interval: tally.interval(confidence),
        min: *values.first()?,
        median: quantile(&values, 0.5),
        max: *values.last()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Values;

    fn row(backend: Backend, total: f64) -> Row {
        let mut values = Values::default();
        values.set(Measure::TotalTime, total);
        Row {
            scenario: "small".into(),
            scenario_hash: "0123456789ab".into(),
            case: "base".into(),
            replication: 0,
            seed: 7,
            backend,
            params: Params::default(),
            error: None,
            values,
        }
    }

    // 100 and 200 simulated have the mean 150 whatever was measured.
    #[test]
    fn simulated_and_emulated_rows_are_never_averaged() {
        let rows = [
            row(Backend::Simulated, 100.0),
            row(Backend::Emulated, 900.0),
            row(Backend::Simulated, 200.0),
        ];
        let means: Vec<_> = summarise(&rows, 0.95)
            .iter()
            .map(|case| (case.backend, case.get(Measure::TotalTime).map(|e| e.mean)))
            .collect();
        assert_eq!(
            means,
            [
                (Backend::Simulated, Some(150.0)),
                (Backend::Emulated, Some(900.0))
            ]
        );
    }
}
