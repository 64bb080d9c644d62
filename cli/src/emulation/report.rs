//! The prediction beside what was measured.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use models::compare::{Bound, compare};
use models::record::Row;

use crate::compare;
use crate::load::{self, Loaded};
use crate::output::Output;
use crate::replicate::{self, replicate};

use super::Args;
use super::store::Store;

/// Simulates the same cases, with what the lab was measured to do, and prints
/// both; then where everything is.
pub(super) fn print(args: &Args, loaded: Loaded, store: &Store, output: Output) -> Result<()> {
    let profile = store.profile();
    let mut studies = [loaded];
    if let Some(profile) = &profile {
        load::apply_profile(profile, &mut studies)?;
    }
    if let Some(fault) = store.profile_fault() {
        let logs = store.logs();
        output.note(&format!(
            "simulated without the lab's profile `{}`, which cannot be used: {fault}\n",
            logs.join("profile.json").display()
        ));
    }
    let [Loaded { study, .. }] = studies;
    let simulated = simulate(&study, output)?;
    let wanted = |row: &&Row| study.cases.iter().any(|case| case.id == row.case);
    let measured: Vec<Row> = store.rows().filter(wanted).cloned().collect();
    let bounds: Vec<Bound> = compare::bounds(&study);
    match compare(&simulated, &measured, &bounds, study.confidence) {
        Ok(comparison) => {
            let text = compare::text(&comparison, false, output.colors_results());
            output.result(&text)?;
        }
        Err(error) => output.note(&format!("nothing to compare: {error}\n")),
    }
    let record = store.record_path();
    let mut lines = format!("\n  record   {}\n", record.display());
    let mut with_profile = String::new();
    if let Some(profile) = profile {
        lines.push_str(&format!("  profile  {}\n", profile.display()));
        with_profile = format!(" --profile {}", profile.display());
    }
    lines.push_str(&format!("  logs     {}\n", store.logs().display()));
    lines.push_str(&format!(
        "  next     watari run {}{with_profile} --out out/simulated\n  \
         \x20        watari compare out/simulated/{name}.csv {} --out out/compared\n",
        args.file.display(),
        record.display(),
        name = study.name,
    ));
    output.result(&lines)?;
    Ok(())
}

fn simulate(study: &models::scenario::Study, output: Output) -> Result<Vec<Row>> {
    let never = AtomicBool::new(false);
    let options = replicate::Options {
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        stop: &never,
        quiet: true,
        output,
    };
    let mut rows = Vec::new();
    replicate(study, &options, |outcome| {
        rows.push(outcome.row);
        Ok(())
    })?;
    Ok(rows)
}
