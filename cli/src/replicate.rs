//! All replications of all cases of a study, on all threads.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use models::record::{Backend, Params, Row, Values};
use models::scenario::{Case, Study};
use models::simulate::{Outcome, simulate};

use crate::in_order::in_order;
use crate::output::Output;
use crate::progress::Progress;

/// What may be chosen about a run without changing its results.
pub(crate) struct Options<'a> {
    /// Threads.
    pub(crate) jobs: usize,
    /// Set when the user wants it to end.
    pub(crate) stop: &'a AtomicBool,
    /// Whether to keep quiet about how far it is.
    pub(crate) quiet: bool,
    /// Where to say how far it is.
    pub(crate) output: Output,
}

/// Simulates every replication of every case, and hands them to `take` in
/// order, the replications of a case one after the other. Gives whether all
/// were done; if not, it was told to stop.
pub(crate) fn replicate(
    study: &Study,
    options: &Options<'_>,
    mut take: impl FnMut(Outcome) -> Result<()>,
) -> Result<bool> {
    let replications = u64::from(study.replications);
    let total = study.cases.len() as u64 * replications;
    let mut progress = Progress::new(&study.name, total, options.quiet, options.output);
    print_first_panic_only();
    let work = |index: u64| {
        let case = &study.cases[(index / replications) as usize];
        let replication = (index % replications) as u32;
        guarded(study, case, replication, simulate)
    };
    let done = in_order(total, options.jobs, options.stop, work, |outcome| {
        progress.advance();
        take(outcome)
    })?;
    Ok(done == total)
}

/// A panic is a bug of one model in one case: it costs that row and no other.
fn guarded(
    study: &Study,
    case: &Case,
    replication: u32,
    simulate: impl Fn(&Study, &Case, u32) -> Outcome,
) -> Outcome {
    let attempt = panic::catch_unwind(AssertUnwindSafe(|| simulate(study, case, replication)));
    attempt.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let error = format!(
            "internal error: {}",
            text.unwrap_or("a panic without a message")
        );
        let row = Row {
            scenario: study.name.clone(),
            scenario_hash: study.hash.clone(),
            case: case.id.clone(),
            replication,
            seed: study.seed,
            backend: Backend::Simulated,
            params: Params::default(),
            error: Some(error),
            values: Values::default(),
        };
        Outcome {
            row,
            series: Vec::new(),
        }
    })
}

/// The same bug may strike in every replication; the place of the first is enough.
fn print_first_panic_only() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let print = panic::take_hook();
        let first = Once::new();
        panic::set_hook(Box::new(move |info| first.call_once(|| print(info))));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::scenario::Scenario;
    use sim_core::SimTime;

    #[test]
    fn a_panic_becomes_a_row() {
        let scenario = Scenario {
            until: SimTime::ZERO,
            series: None,
            sites: Vec::new(),
            links: Vec::new(),
            gateways: Vec::new(),
            hosts: Vec::new(),
            vms: Vec::new(),
            transports: Vec::new(),
            tunnels: Vec::new(),
            traffic: Vec::new(),
            actions: Vec::new(),
        };
        let case = Case {
            id: "rtt=1ms".into(),
            scenario,
        };
        let study = Study {
            name: "small".into(),
            description: String::new(),
            hash: "0123456789ab".into(),
            seed: 7,
            replications: 3,
            confidence: 0.95,
            axes: Vec::new(),
            cases: Vec::new(),
            expectations: Vec::new(),
            tolerances: Vec::new(),
        };
        let row = guarded(&study, &case, 2, |_, _, replication| {
            panic!("no route in {replication}")
        })
        .row;
        assert_eq!(row.error.as_deref(), Some("internal error: no route in 2"));
        assert_eq!(
            (row.case.as_str(), row.replication, row.seed),
            ("rtt=1ms", 2, 7)
        );
    }
}
