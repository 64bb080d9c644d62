//! Tests of the comparison.

use super::*;
use crate::record::Values;

fn row(backend: Backend, case: &str, replication: u32, values: &[(Measure, f64)]) -> Row {
    let mut all = Values::default();
    values.iter().for_each(|&(measure, v)| all.set(measure, v));
    let label = |name| crate::record::axis(case, name).map(str::to_owned);
    Row {
        scenario: "lab".into(),
        scenario_hash: "0123456789ab".into(),
        case: case.into(),
        replication,
        seed: 1,
        backend,
        params: Params {
            method: label("method"),
            rtt_ms: Some(60.0),
            ..Params::default()
        },
        error: None,
        values: all,
    }
}

/// One row of each half for every case: simulated and measured value.
fn halves(measure: Measure, cases: &[(&str, f64, f64)]) -> (Vec<Row>, Vec<Row>) {
    let half = |backend, value: fn(&(&str, f64, f64)) -> f64| {
        let row = |case: &(&str, f64, f64)| row(backend, case.0, 0, &[(measure, value(case))]);
        cases.iter().map(row).collect()
    };
    (
        half(Backend::Simulated, |case| case.1),
        half(Backend::Emulated, |case| case.2),
    )
}

fn compared(measure: Measure, cases: &[(&str, f64, f64)]) -> Comparison {
    let (simulated, emulated) = halves(measure, cases);
    compare(&simulated, &emulated, &[], 0.95).unwrap()
}

#[test]
fn every_target_is_of_a_known_measure() {
    for target in &TARGETS {
        let known = Measure::by_name(target.measure).is_some();
        assert!(known, "{}", target.measure);
    }
}

#[test]
fn an_error_is_simulated_less_measured_and_relative_to_measured() {
    let comparison = compared(Measure::TotalTime, &[("base", 900.0, 1000.0)]);
    let pair = &comparison.cases[0].pairs[0];
    assert_eq!((pair.error(), pair.relative_error()), (-100.0, Some(-0.1)));
    assert_eq!(pair.within(), Some(false));
    let comparison = compared(Measure::TotalTime, &[("base", 5.0, 0.0)]);
    let pair = &comparison.cases[0].pairs[0];
    assert_eq!((pair.relative_error(), pair.within()), (None, Some(false)));
}

// 20 ms off at 50 ms is 40 %, yet within 30 ms; 31 ms off at 400 ms is 7.8 %.
#[test]
fn an_allowance_is_the_larger_of_its_two_limits() {
    let comparison = compared(
        Measure::Downtime,
        &[
            ("a=1", 70.0, 50.0),
            ("a=2", 431.0, 400.0),
            ("a=3", 90.0, 50.0),
        ],
    );
    let within = |case: &Case| case.pairs[0].within();
    let all: Vec<_> = comparison.cases.iter().map(within).collect();
    assert_eq!(all, [Some(true), Some(true), Some(false)]);
}

// Errors 1, 2, 3, 4 and 30 %: median 3 %. Type 7 at 0.9: 4 + 0.6 * 26 = 19.6 %.
#[test]
fn a_tail_fails_the_ninetieth_percentile_and_not_the_median() {
    let cases = [
        ("method=a,n=1", 101.0, 100.0),
        ("method=a,n=2", 102.0, 100.0),
        ("method=a,n=3", 97.0, 100.0),
        ("method=a,n=4", 104.0, 100.0),
        ("method=b,n=5", 130.0, 100.0),
    ];
    let comparison = compared(Measure::TotalTime, &cases);
    let judged = comparison.judge_all();
    assert_eq!(
        judged.iter().map(|j| j.holds).collect::<Vec<_>>(),
        [true, false]
    );
    assert!((judged[1].error.unwrap() - 0.196).abs() < 1e-9);
    assert_eq!(judged[1].outside, [("lab".into(), cases[4].0.into())]);
    let all = comparison.aggregate(Measure::TotalTime, None).unwrap();
    assert!((all.median - 0.03).abs() < 1e-9 && (all.bias - 0.02).abs() < 1e-9);
    assert_eq!(all.within, Some(0.8));
    let misses = comparison.misses();
    let of_b = |(class, _): &&(Class, Judged)| class.label == "b";
    assert_eq!(misses.iter().filter(of_b).count(), 2);
    assert!(!misses.iter().any(|(class, _)| class.label == "a"));
    assert!(!comparison.holds());
}

#[test]
fn an_error_just_at_the_limit_holds() {
    let comparison = compared(Measure::BytesSent, &[("base", 102.0, 100.0)]);
    assert!(comparison.holds());
}

#[test]
fn means_and_intervals_are_those_of_the_rows_without_an_error() {
    let (simulated, _) = halves(Measure::TotalTime, &[("base", 100.0, 0.0)]);
    let measured = |replication, value| {
        let values = [(Measure::TotalTime, value)];
        row(Backend::Emulated, "base", replication, &values)
    };
    let mut failed = measured(2, 9999.0);
    failed.error = Some("the guest panicked".into());
    let emulated = [measured(0, 99.0), measured(1, 101.0), failed];
    let comparison = compare(&simulated, &emulated, &[], 0.95).unwrap();
    let case = &comparison.cases[0];
    assert_eq!((case.emulated.all, case.emulated.failed), (3, 1));
    assert!(!case.disagrees());
    let measured = &case.pairs[0].measured;
    assert_eq!((measured.count, measured.mean), (2, 100.0));
    // t at 97.5 % with one degree of freedom is 12.706; s/sqrt(n) = 1.
    assert!((measured.interval.unwrap().high - 112.706).abs() < 1e-3);
}

#[test]
fn a_case_that_fails_in_one_half_only_is_a_disagreement() {
    let cases = [("a=1", 100.0, 100.0), ("a=2", 100.0, 100.0)];
    let (mut simulated, mut emulated) = halves(Measure::TotalTime, &cases);
    emulated[0].error = Some("no convergence".into());
    let comparison = compare(&simulated, &emulated, &[], 0.95).unwrap();
    assert_eq!(comparison.disagreements().count(), 1);
    assert!(!comparison.holds());
    simulated[0].error = Some("no convergence".into());
    let comparison = compare(&simulated, &emulated, &[], 0.95).unwrap();
    assert!(comparison.holds());
}

#[test]
fn cases_of_one_record_and_changed_scenarios_are_listed() {
    let (mut simulated, mut emulated) =
        halves(Measure::TotalTime, &[("a=1", 1.0, 1.0), ("a=2", 1.0, 1.0)]);
    emulated[0].case = "a=3".into();
    emulated.iter_mut().for_each(|row| {
        row.scenario_hash = "another".into();
    });
    let comparison = compare(&simulated, &emulated, &[], 0.95).unwrap();
    let lab = |case: &str, backend| ("lab".to_owned(), case.to_owned(), backend);
    assert_eq!(
        comparison.unpaired,
        [
            lab("a=1", Backend::Simulated),
            lab("a=3", Backend::Emulated)
        ]
    );
    assert_eq!(comparison.changed, ["lab"]);
    simulated.truncate(1);
    let nothing = compare(&simulated, &emulated, &[], 0.95).unwrap_err();
    assert_eq!(nothing, CompareError::NothingInCommon);
}

#[test]
fn what_a_scenario_states_goes_before_the_targets() {
    let (simulated, emulated) = halves(Measure::TotalTime, &[("base", 104.0, 100.0)]);
    let bound = |scenario: Option<&str>, relative| Bound {
        scenario: scenario.map(str::to_owned),
        measure: Measure::TotalTime,
        allowance: Allowance {
            relative: Some(relative),
            absolute: None,
        },
    };
    let bounds = [bound(None, 0.5), bound(Some("lab"), 0.01)];
    let comparison = compare(&simulated, &emulated, &bounds, 0.95).unwrap();
    assert_eq!(comparison.stated_misses().count(), 1);
    assert!(!comparison.holds());
    let comparison = compare(&simulated, &emulated, &bounds[..1], 0.95).unwrap();
    assert!(comparison.holds());
}

#[test]
fn rows_that_cannot_be_compared_are_refused() {
    let (simulated, emulated) = halves(Measure::TotalTime, &[("base", 1.0, 1.0)]);
    let twice = [emulated.clone(), emulated.clone()].concat();
    let error = compare(&simulated, &twice, &[], 0.95).unwrap_err();
    assert_eq!(
        error.to_string(),
        "replication 0 of case `base` of `lab` is among the emulated rows twice"
    );
    let error = compare(&emulated, &simulated, &[], 0.95).unwrap_err();
    assert!(matches!(error, CompareError::Backend { .. }), "{error}");
}

/// Recoveries at these times; infinity for a run that never recovers.
fn recoveries(backend: Backend, times: &[f64]) -> Vec<Row> {
    let row = |(n, &time): (usize, &f64)| {
        let known = [(Measure::FailoverRecover, time)];
        let values = if time.is_finite() { &known[..] } else { &[] };
        row(backend, "base", u32::try_from(n).unwrap(), values)
    };
    times.iter().enumerate().map(row).collect()
}

// Ranks: 1/4 and 3/4 of four simulated runs are the second and the last of them.
#[test]
fn runs_are_held_against_the_simulated_run_of_equal_rank() {
    let simulated = recoveries(Backend::Simulated, &[1000.0, 1100.0, 5000.0, 9000.0]);
    let emulated = recoveries(Backend::Emulated, &[8600.0, 1400.0]);
    let runs = runs(&simulated, &emulated).unwrap();
    assert_eq!((runs.all, runs.by_rank, runs.by_median), (2, 2, 0));
}

#[test]
fn runs_that_never_recover_agree_only_with_their_like_and_count_for_nothing() {
    let never = f64::INFINITY;
    let simulated = recoveries(Backend::Simulated, &[1000.0, never]);
    let emulated = recoveries(Backend::Emulated, &[never, never]);
    let found = runs(&simulated, &emulated).unwrap();
    assert_eq!((found.all, found.by_rank), (1, 0));
    assert_eq!(runs(&emulated, &emulated), None);
}
