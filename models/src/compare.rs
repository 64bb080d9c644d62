//! Simulated rows against emulated ones: how far off was the prediction?
//!
//! Both records are joined by scenario and case. An error is simulated less measured, and relative
//! to what was measured. Rows with an error enter no number and are reported instead. What is good
//! enough stands in one table, [`TARGETS`].

use crate::record::{Backend, MEASURES, Measure, Params, Row};
use crate::summary::{CaseSummary, Estimate, summarise};
use sim_core::stats::quantile;
use std::collections::BTreeMap;

/// How far a simulated value may be from the measured one: the larger of both limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Share of the measured value: 0.05 is 5 %.
    pub relative: Option<f64>,
    /// In the unit of the measure.
    pub absolute: Option<f64>,
}

/// More than any allowance, and still a number that quantiles can take.
const BEYOND: f64 = 1e6;

impl Allowance {
    /// The largest difference allowed at a measured value.
    pub fn reach(self, measured: f64) -> f64 {
        let relative = self.relative.map_or(0.0, |share| share * measured.abs());
        relative.max(self.absolute.unwrap_or(0.0))
    }

    /// The difference as a share of the largest one allowed: 1 is just within.
    pub fn used(self, simulated: f64, measured: f64) -> f64 {
        let difference = (simulated - measured).abs();
        if difference == 0.0 {
            return 0.0;
        }
        (difference / self.reach(measured)).min(BEYOND)
    }
}

/// The allowance of a measure that a scenario states.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Name of the scenario; `None`: of every scenario.
    pub scenario: Option<String>,
    /// The measure.
    pub measure: Measure,
    /// How far off it may be.
    pub allowance: Allowance,
}

/// What of all cases together has to be within an allowance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Criterion {
    /// The case at this quantile of the errors.
    Quantile(f64),
    /// This share of the emulated runs. A run is held against the simulated run of equal rank in
    /// its case, that is, distribution against distribution: the random phase of a detector alone
    /// puts single runs further from the median than the allowance, in reality as in the model.
    Runs(f64),
    /// The medians of every case.
    Medians,
}

/// A claim about the simulator's accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Column name of the measure.
    pub measure: &'static str,
    /// What has to be within the allowance.
    pub criterion: Criterion,
    /// The allowance.
    pub allowance: Allowance,
}

const fn target(
    measure: &'static str,
    criterion: Criterion,
    relative: Option<f64>,
    absolute: Option<f64>,
) -> Target {
    Target {
        measure,
        criterion,
        allowance: Allowance { relative, absolute },
    }
}

const MEDIAN: Criterion = Criterion::Quantile(0.5);

/// How good is good enough. The first line of a measure is also what a single case is held to where
/// its scenario states no tolerance.
pub const TARGETS: [Target; 6] = [
    target("total_time_ms", MEDIAN, Some(0.05), None),
    target("total_time_ms", Criterion::Quantile(0.9), Some(0.10), None),
    target("downtime_ms", MEDIAN, Some(0.15), Some(30.0)),
    target("bytes_sent", MEDIAN, Some(0.02), None),
    target(
        "failover_recover_ms",
        Criterion::Runs(0.8),
        None,
        Some(500.0),
    ),
    // The median of an even number of rungs may lie half way between two.
    target("retransmission_rung", Criterion::Medians, None, Some(0.25)),
];

impl Target {
    fn is_of(&self, measure: Measure) -> bool {
        self.measure == measure.info().name
    }
}

/// What a single case is held to by [`TARGETS`].
pub fn default_allowance(measure: Measure) -> Option<Allowance> {
    let target = TARGETS.iter().find(|target| target.is_of(measure));
    target.map(|target| target.allowance)
}

/// Whether a case is judged by its median: a few long recoveries make a mean say little.
pub fn by_median(measure: Measure) -> bool {
    let target = TARGETS.iter().find(|target| target.is_of(measure));
    target.is_some_and(|target| !matches!(target.criterion, Criterion::Quantile(_)))
}

/// One measure of one case from both halves.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The measure.
    pub measure: Measure,
    /// What the simulator says.
    pub simulated: Estimate,
    /// What the emulation says.
    pub measured: Estimate,
    /// How far off the simulator may be, if that is stated anywhere.
    pub allowance: Option<Allowance>,
    /// Whether the scenario states the allowance itself.
    pub stated: bool,
}

impl Pair {
    /// The simulated and the measured number that are held against each other: the means, or the
    /// medians where [`by_median`] says so.
    pub fn values(&self) -> (f64, f64) {
        if by_median(self.measure) {
            (self.simulated.median, self.measured.median)
        } else {
            (self.simulated.mean, self.measured.mean)
        }
    }

    /// Simulated less measured.
    pub fn error(&self) -> f64 {
        let (simulated, measured) = self.values();
        simulated - measured
    }

    /// The signed error as a share of the measured value; `None` where that is 0.
    pub fn relative_error(&self) -> Option<f64> {
        let (_, measured) = self.values();
        (measured != 0.0).then(|| self.error() / measured.abs())
    }

    /// Whether the simulator is within the allowance; `None` without one.
    pub fn within(&self) -> Option<bool> {
        let (simulated, measured) = self.values();
        self.allowance
            .map(|allowance| allowance.used(simulated, measured) <= 1.0)
    }
}

/// How many emulated runs of a case recovered when the simulator says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Emulated runs in which either half recovers.
    pub all: usize,
    /// Those within the allowance of the simulated run of equal rank.
    pub by_rank: usize,
    /// Those within the allowance of the simulated median.
    pub by_median: usize,
}

/// The rows of one case in one half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replications {
    /// All of them.
    pub all: usize,
    /// Those that ended in an error.
    pub failed: usize,
    /// The first error.
    pub error: Option<String>,
}

impl Replications {
    fn of(summary: &CaseSummary) -> Self {
        let (error, failed) = summary.errors.clone().unzip();
        Self {
            all: summary.replications,
            failed: failed.unwrap_or(0),
            error,
        }
    }

    /// Whether none came to an end.
    pub fn all_failed(&self) -> bool {
        self.failed == self.all
    }
}

/// A case that both records have.
#[derive(Clone, Debug)]
pub struct Case {
    /// Scenario name.
    pub scenario: String,
    /// Point of the sweep.
    pub case: String,
    /// Its parameters.
    pub params: Params,
    /// Rows of the simulator.
    pub simulated: Replications,
    /// Rows of the emulation.
    pub emulated: Replications,
    /// The measures that both halves have.
    pub pairs: Vec<Pair>,
    /// Measures that [`TARGETS`] names and only one half has, and which half that is.
    pub lone: Vec<(Measure, Backend)>,
    /// Recoveries, where there is a fail-over.
    pub runs: Option<Runs>,
}

impl Case {
    /// A measure that both halves have.
    pub fn get(&self, measure: Measure) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.measure == measure)
    }

    /// Whether the case failed in one half and not in the other.
    pub fn disagrees(&self) -> bool {
        self.simulated.all_failed() != self.emulated.all_failed()
    }

    /// Whether the case is in a class.
    pub fn is_in(&self, class: &Class) -> bool {
        classes(&self.params).contains(class)
    }
}

/// A group of cases that have a parameter in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// The parameter.
    pub axis: &'static str,
    /// Its value, or the range it is in.
    pub label: String,
}

/// The classes that a case with these parameters is in.
pub fn classes(params: &Params) -> Vec<Class> {
    let rtt = params.rtt_ms.map(|rtt| match rtt {
        ..=10.0 => "up to 10 ms",
        ..=50.0 => "10 to 50 ms",
        ..=100.0 => "50 to 100 ms",
        _ => "above 100 ms",
    });
    let loss = params
        .loss_percent
        .map(|loss| if loss > 0.0 { "some" } else { "none" });
    let labels = [
        ("method", params.method.clone()),
        ("tunnel", params.tunnel.clone()),
        ("rtt", rtt.map(str::to_owned)),
        ("loss", loss.map(str::to_owned)),
    ];
    let class = |(axis, label): (_, Option<String>)| label.map(|label| Class { axis, label });
    labels.into_iter().filter_map(class).collect()
}

/// Both records, joined.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The cases that both have, in the order of the simulated record.
    pub cases: Vec<Case>,
    /// Scenario and case of those that only one record has, and which one that is.
    pub unpaired: Vec<(String, String, Backend)>,
    /// Scenarios whose file changed between the two records.
    pub changed: Vec<String>,
    /// Level of the intervals.
    pub confidence: f64,
}

/// Records that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// The same row twice.
    #[error(
        "replication {replication} of case `{case}` of `{scenario}` is among the {half} rows twice"
    )]
    Duplicate {
        /// Scenario name.
        scenario: String,
        /// The case.
        case: String,
        /// The replication.
        replication: u32,
        /// Which half.
        half: &'static str,
    },
    /// A row of the other half.
    #[error(
        "case `{case}` of `{scenario}` is {found} where {wanted} rows belong; the simulated record comes first, the emulated one second"
    )]
    Backend {
        /// Scenario name.
        scenario: String,
        /// The case.
        case: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A value that is infinite or not a number.
    #[error("`{measure}` of case `{case}` of `{scenario}` is not a finite number ({half})")]
    NotFinite {
        /// Scenario name.
        scenario: String,
        /// The case.
        case: String,
        /// The column.
        measure: &'static str,
        /// Which half.
        half: &'static str,
    },
    /// Nothing to compare.
    #[error("the two records have no case in common; cases are joined by `scenario` and `case`")]
    NothingInCommon,
}

/// Joins simulated and emulated rows. `bounds` are the tolerances that scenarios state.
///
/// # Errors
/// [`CompareError`] says which row stands in the way.
pub fn compare(
    simulated: &[Row],
    emulated: &[Row],
    bounds: &[Bound],
    confidence: f64,
) -> Result<Comparison, CompareError> {
    check(simulated, Backend::Simulated)?;
    check(emulated, Backend::Emulated)?;
    let (ours, theirs) = (by_case(simulated), by_case(emulated));
    let mut comparison = Comparison {
        cases: Vec::new(),
        unpaired: Vec::new(),
        changed: changed(simulated, emulated),
        confidence,
    };
    for summary in summarise(simulated, confidence) {
        let key = (summary.scenario.as_str(), summary.case.as_str());
        match theirs.get(&key) {
            Some(rows) => {
                let other = summarise(rows, confidence).remove(0);
                let runs = runs(&ours[&key], rows);
                comparison.cases.push(join(&summary, &other, runs, bounds));
            }
            None => {
                let (scenario, case) = (summary.scenario, summary.case);
                comparison
                    .unpaired
                    .push((scenario, case, Backend::Simulated));
            }
        }
    }
    for summary in summarise(emulated, confidence) {
        if !ours.contains_key(&(summary.scenario.as_str(), summary.case.as_str())) {
            let (scenario, case) = (summary.scenario, summary.case);
            comparison
                .unpaired
                .push((scenario, case, Backend::Emulated));
        }
    }
    if comparison.cases.is_empty() {
        return Err(CompareError::NothingInCommon);
    }
    Ok(comparison)
}

fn check(rows: &[Row], wanted: Backend) -> Result<(), CompareError> {
    let mut seen = std::collections::BTreeSet::new();
    for row in rows {
        let (scenario, case) = (row.scenario.clone(), row.case.clone());
        if row.backend != wanted {
            return Err(CompareError::Backend {
                scenario,
                case,
                found: row.backend.name(),
                wanted: wanted.name(),
            });
        }
        if !seen.insert((&row.scenario, &row.case, row.replication)) {
            return Err(CompareError::Duplicate {
                scenario,
                case,
                replication: row.replication,
                half: wanted.name(),
            });
        }
        let broken = |measure| row.values.get(measure).is_some_and(|v| !v.is_finite());
        if let Some(info) = MEASURES.iter().find(|info| broken(info.measure)) {
            return Err(CompareError::NotFinite {
                scenario,
                case,
                measure: info.name,
                half: wanted.name(),
            });
        }
    }
    Ok(())
}

fn by_case(rows: &[Row]) -> BTreeMap<(&str, &str), Vec<Row>> {
    let mut cases: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let key = (row.scenario.as_str(), row.case.as_str());
        cases.entry(key).or_default().push(row.clone());
    }
    cases
}

/// Scenarios of which the two records have no version in common.
fn changed(simulated: &[Row], emulated: &[Row]) -> Vec<String> {
    let mut names: Vec<&String> = emulated.iter().map(|row| &row.scenario).collect();
    names.sort();
    names.dedup();
    let hashes = |rows: &[Row], name: &str| -> Vec<String> {
        let own = rows.iter().filter(|row| row.scenario == name);
        own.map(|row| row.scenario_hash.clone()).collect()
    };
    let differs = |name: &&String| {
        let ours = hashes(simulated, name);
        !ours.is_empty()
            && !hashes(emulated, name)
                .iter()
                .any(|hash| ours.contains(hash))
    };
    names.into_iter().filter(differs).cloned().collect()
}

fn join(ours: &CaseSummary, theirs: &CaseSummary, runs: Option<Runs>, bounds: &[Bound]) -> Case {
    let (mut pairs, mut lone) = (Vec::new(), Vec::new());
    for measure in MEASURES.iter().map(|info| info.measure) {
        match (ours.get(measure), theirs.get(measure)) {
            (Some(simulated), Some(measured)) => {
                let stated = stated(bounds, &ours.scenario, measure);
                pairs.push(Pair {
                    measure,
                    simulated: simulated.clone(),
                    measured: measured.clone(),
                    allowance: stated.or_else(|| default_allowance(measure)),
                    stated: stated.is_some(),
                });
            }
            (None, None) => {}
            (Some(_), None) => lone.push((measure, Backend::Simulated)),
            (None, Some(_)) => lone.push((measure, Backend::Emulated)),
        }
    }
    let (ours_rows, theirs_rows) = (Replications::of(ours), Replications::of(theirs));
    // A half that failed lacks everything.
    let both_ran = !ours_rows.all_failed() && !theirs_rows.all_failed();
    lone.retain(|&(measure, _)| both_ran && default_allowance(measure).is_some());
    Case {
        scenario: ours.scenario.clone(),
        case: ours.case.clone(),
        params: ours.params.clone(),
        simulated: ours_rows,
        emulated: theirs_rows,
        pairs,
        lone,
        runs,
    }
}

/// What the scenario states for a measure, or else what is stated for all.
fn stated(bounds: &[Bound], scenario: &str, measure: Measure) -> Option<Allowance> {
    let of = |name: Option<&str>| {
        let mut own = bounds.iter().filter(|bound| bound.measure == measure);
        own.find(|bound| bound.scenario.as_deref() == name)
            .map(|bound| bound.allowance)
    };
    of(Some(scenario)).or_else(|| of(None))
}

/// Holds the recoveries of a case's emulated runs against the simulated ones; a connection that
/// never recovers does so at infinity. `None` without a fail-over.
fn runs(simulated: &[Row], emulated: &[Row]) -> Option<Runs> {
    let measure = Measure::FailoverRecover;
    let reach = default_allowance(measure)?.reach(0.0);
    let times = |rows: &[Row]| {
        let sound = rows.iter().filter(|row| row.error.is_none());
        let time = |row: &Row| row.values.get(measure).unwrap_or(f64::INFINITY);
        let mut times: Vec<f64> = sound.map(time).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let (ours, theirs) = (times(simulated), times(emulated));
    if ours.is_empty() || ours.iter().chain(&theirs).all(|time| time.is_infinite()) {
        return None;
    }
    // The run of a rank and no mean of two: recoveries come in steps.
    let at = |share: f64| ours[((share * ours.len() as f64) as usize).min(ours.len() - 1)];
    let near = |a: f64, b: f64| a == b || (a - b).abs() <= reach;
    let mut runs = Runs::default();
    for (rank, &time) in theirs.iter().enumerate() {
        let partner = at((rank as f64 + 0.5) / theirs.len() as f64);
        // That neither recovers is no run within half a second.
        if time.is_infinite() && partner.is_infinite() {
            continue;
        }
        runs.all += 1;
        runs.by_rank += usize::from(near(time, partner));
        runs.by_median += usize::from(near(time, at(0.5)));
    }
    Some(runs)
}

/// The errors of one measure over cases.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Cases with a relative error.
    pub cases: usize,
    /// Median of the absolute relative errors.
    pub median: f64,
    /// Their 90th percentile.
    pub p90: f64,
    /// The largest.
    pub max: f64,
    /// Median of the signed relative errors.
    pub bias: f64,
    /// Share of the cases within their allowance; `None` where none has one.
    pub within: Option<f64>,
}

/// A target held against cases.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The target.
    pub target: Target,
    /// What was found: of a quantile, the error as a share of the allowance; else the share of the
    /// runs or cases that are within it.
    pub found: f64,
    /// Of a quantile, the relative error there.
    pub error: Option<f64>,
    /// Cases, or runs, that were looked at.
    pub count: usize,
    /// Whether the target is reached.
    pub holds: bool,
    /// Scenario and case of those outside the allowance.
    pub outside: Vec<(String, String)>,
}

impl Comparison {
    /// The classes that some cases are in and others are not, in order.
    pub fn classes(&self) -> Vec<Class> {
        let all = self.cases.iter().flat_map(|case| classes(&case.params));
        let all: std::collections::BTreeSet<Class> = all.collect();
        let order = |class: &Class| {
            let axes = ["method", "tunnel", "rtt", "loss"];
            axes.iter().position(|axis| *axis == class.axis)
        };
        let some = |class: &Class| !self.cases.iter().all(|case| case.is_in(class));
        let mut classes: Vec<Class> = all.into_iter().filter(some).collect();
        classes.sort_by_key(order);
        classes
    }

    /// The cases of a class, or all.
    fn of<'a>(&'a self, class: Option<&'a Class>) -> impl Iterator<Item = &'a Case> {
        let wanted = move |case: &&Case| class.is_none_or(|class| case.is_in(class));
        self.cases.iter().filter(wanted)
    }

    /// The errors of a measure over the cases of a class, or over all.
    pub fn aggregate(&self, measure: Measure, class: Option<&Class>) -> Option<Aggregate> {
        let pairs: Vec<&Pair> = self
            .of(class)
            .filter_map(|case| case.get(measure))
            .collect();
        let signed: Vec<f64> = pairs.iter().filter_map(|p| p.relative_error()).collect();
        let signed = sorted(signed.into_iter());
        let absolute = sorted(signed.iter().map(|error| error.abs()));
        let verdicts: Vec<bool> = pairs.iter().filter_map(|pair| pair.within()).collect();
        let within = verdicts.iter().filter(|within| **within).count();
        Some(Aggregate {
            cases: signed.len(),
            max: *absolute.last()?,
            median: quantile(&absolute, 0.5),
            p90: quantile(&absolute, 0.9),
            bias: quantile(&signed, 0.5),
            within: (!verdicts.is_empty()).then(|| within as f64 / verdicts.len() as f64),
        })
    }

    /// Holds a target against the cases of a class, or all; `None` where none has the measure.
    pub fn judge(&self, target: &Target, class: Option<&Class>) -> Option<Judged> {
        let measure = Measure::by_name(target.measure)?;
        let cases: Vec<&Case> = self.of(class).collect();
        match target.criterion {
            Criterion::Quantile(at) => judge_quantile(target, measure, at, &cases),
            Criterion::Runs(share) => judge_runs(target, share, &cases),
            Criterion::Medians => judge_medians(target, measure, &cases),
        }
    }

    /// Every target that some case has the measure for, held against all cases.
    pub fn judge_all(&self) -> Vec<Judged> {
        let judge = |target| self.judge(target, None);
        TARGETS.iter().filter_map(judge).collect()
    }

    /// The classes that miss a target, whether or not all cases together reach it.
    pub fn misses(&self) -> Vec<(Class, Judged)> {
        let classes = self.classes();
        let judge = |class: &Class| {
            let judged = TARGETS.iter().filter_map(|t| self.judge(t, Some(class)));
            let missed = judged.filter(|judged| !judged.holds);
            missed.map(|j| (class.clone(), j)).collect::<Vec<_>>()
        };
        classes.iter().flat_map(judge).collect()
    }

    /// Cases that failed in one half and not in the other.
    pub fn disagreements(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.disagrees())
    }

    /// Cases and measures outside what their own scenario states.
    pub fn stated_misses(&self) -> impl Iterator<Item = (&Case, &Pair)> {
        let pairs = self
            .cases
            .iter()
            .flat_map(|case| case.pairs.iter().map(move |pair| (case, pair)));
        pairs.filter(|(_, pair)| pair.stated && pair.within() == Some(false))
    }

    /// Whether the prediction is good enough: every target reached, no half alone in failing, and
    /// every tolerance that a scenario states kept.
    pub fn holds(&self) -> bool {
        self.judge_all().iter().all(|judged| judged.holds)
            && self.disagreements().next().is_none()
            && self.stated_misses().next().is_none()
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// What a target's allowance is used up by each case that has the measure.
fn used<'a>(target: &Target, measure: Measure, cases: &[&'a Case]) -> Vec<(&'a Case, f64)> {
    let used = |case: &&'a Case| {
        let (simulated, measured) = case.get(measure)?.values();
        Some((*case, target.allowance.used(simulated, measured)))
    };
    cases.iter().filter_map(used).collect()
}

fn outside(used: &[(&Case, f64)]) -> Vec<(String, String)> {
    let missing = used.iter().filter(|(_, used)| *used > 1.0);
    missing
        .map(|(case, _)| (case.scenario.clone(), case.case.clone()))
        .collect()
}

fn judge_quantile(target: &Target, measure: Measure, at: f64, cases: &[&Case]) -> Option<Judged> {
    let used = used(target, measure, cases);
    let shares = sorted(used.iter().map(|(_, used)| *used));
    let found = (!shares.is_empty()).then(|| quantile(&shares, at))?;
    let pairs = cases.iter().filter_map(|case| case.get(measure));
    let errors = sorted(pairs.filter_map(Pair::relative_error).map(f64::abs));
    Some(Judged {
        target: *target,
        found,
        error: (!errors.is_empty()).then(|| quantile(&errors, at)),
        count: used.len(),
        // A quotient of two rounded numbers may miss 1 by its last bit.
        holds: found <= 1.0 + 1e-9,
        outside: outside(&used),
    })
}

fn judge_runs(target: &Target, share: f64, cases: &[&Case]) -> Option<Judged> {
    let runs = || cases.iter().filter_map(|case| Some((*case, case.runs?)));
    let all: usize = runs().map(|(_, runs)| runs.all).sum();
    let near: usize = runs().map(|(_, runs)| runs.by_rank).sum();
    let short = |runs: &Runs| (runs.by_rank as f64) < share * runs.all as f64;
    (all > 0).then(|| Judged {
        target: *target,
        found: near as f64 / all as f64,
        error: None,
        count: all,
        holds: near as f64 >= share * all as f64 - 1e-9,
        outside: runs()
            .filter(|(_, runs)| short(runs))
            .map(|(case, _)| (case.scenario.clone(), case.case.clone()))
            .collect(),
    })
}

fn judge_medians(target: &Target, measure: Measure, cases: &[&Case]) -> Option<Judged> {
    let used = used(target, measure, cases);
    let outside = outside(&used);
    (!used.is_empty()).then(|| Judged {
        target: *target,
        found: (used.len() - outside.len()) as f64 / used.len() as f64,
        error: None,
        count: used.len(),
        holds: outside.is_empty(),
        outside,
    })
}

#[cfg(test)]
mod tests;
