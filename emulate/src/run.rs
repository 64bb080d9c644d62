//! Runs the cases of a scenario on this machine, one after the other.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use models::record;
use models::scenario::{Case, Study};

use crate::apply::{ApplyError, apply};
use crate::clean;
use crate::event::Event;
use crate::measure::{self, PathFacts};
use crate::plan::{Assets, Plan, Unsupported, failover, migration};

/// What the runs need from the machine.
#[derive(Clone, Debug)]
pub struct Host {
    /// The watari program.
    pub watari: PathBuf,
    /// Folder with `vmlinuz`, `guest.cpio` and saved states.
    pub guest: PathBuf,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// The word for its clock in the record: `virtual` or `real`.
    pub clock: String,
    /// Folder for the folders of runs.
    pub runs: PathBuf,
}

impl Host {
    /// What a plan of this scenario refers to.
    pub fn assets(&self, run: &str, case: &Case) -> Assets {
        let guest = |name: &str| self.guest.join(name).display().to_string();
        let memory = memory_mib(case);
        let state = self.guest.join(format!("guest-{memory}.state"));
        // States are saved by TCG, and KVM cannot go on from them.
        let usable = self.accel == "tcg" && state.exists();
        Assets {
            run: run.to_owned(),
            folder: self.runs.join(run).display().to_string(),
            watari: self.watari.display().to_string(),
            kernel: guest("vmlinuz"),
            initrd: guest("guest.cpio"),
            state: usable.then(|| state.display().to_string()),
            accel: self.accel.clone(),
        }
    }
}

/// Memory of the guest of a case, in MiB.
pub fn memory_mib(case: &Case) -> u64 {
    let order = migration::order(&case.scenario);
    order.map_or(0, |(order, _)| {
        case.scenario.vms[order.vm].memory.get() >> 20
    })
}

/// The plan of one run of a case.
///
/// # Errors
///
/// When the case has no counterpart on real systems.
pub fn plan(
    study: &Study,
    case: &Case,
    repeat: u32,
    calibrated: bool,
    assets: &Assets,
) -> Result<Plan, Unsupported> {
    if migration::order(&case.scenario).is_some() {
        migration::plan(case, calibrated, assets)
    } else {
        failover::plan(study, case, repeat, calibrated, assets)
    }
}

/// Runs every case as many times as `repeats` says, with these numbers; tells
/// `event` what happens. A run that fails is a row with an error.
///
/// # Errors
///
/// When a case has no counterpart on real systems, or `stop` is set.
pub fn run(
    study: &Study,
    repeats: &dyn Fn(&Case) -> Vec<u32>,
    host: &Host,
    stop: &AtomicBool,
    event: &mut dyn FnMut(Event),
) -> Result<()> {
    for case in &study.cases {
        let mut facts = None;
        for repeat in repeats(case) {
            let assets = host.assets(&name(), case);
            let _claim = clean::claim(std::path::Path::new(&assets.folder))
                .with_context(|| format!("cannot use `{}`", assets.folder))?;
            let of = Of {
                study,
                case,
                repeat,
                clock: &host.clock,
            };
            one(&of, &mut facts, &assets, stop, event)?;
        }
    }
    Ok(())
}

/// A name that no other run has.
fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{}{:x}x{number:x}", clean::PREFIX, std::process::id())
}

/// Which run it is.
struct Of<'a> {
    study: &'a Study,
    case: &'a Case,
    repeat: u32,
    clock: &'a str,
}

fn one(
    of: &Of<'_>,
    facts: &mut Option<PathFacts>,
    assets: &Assets,
    stop: &AtomicBool,
    event: &mut dyn FnMut(Event),
) -> Result<()> {
    let &Of {
        study,
        case,
        repeat,
        clock,
    } = of;
    let plan = plan(study, case, repeat, facts.is_some(), assets)
        .with_context(|| format!("case {}", case.id))?;
    let mut progress = |title: &str| {
        event(Event::Step {
            case: case.id.clone(),
            repeat,
            title: title.to_owned(),
        });
    };
    let (outputs, error) = match apply(&plan, assets, stop, &mut progress) {
        Ok(outputs) => (outputs, None),
        Err(error @ ApplyError::Interrupted) => return Err(error.into()),
        Err(error) => (Default::default(), Some(error.to_string())),
    };
    if facts.is_none() && error.is_none() {
        *facts = Some(measure::path_facts(&outputs));
    }
    let mut row = measure::row(study, case, repeat, &outputs, error);
    row.params.clock = Some(clock.to_owned());
    if row.error.is_none()
        && let Some(facts) = facts
    {
        facts.put(&mut row.values);
    }
    let points = if repeat == 0 && row.error.is_none() {
        measure::series(study, case, repeat, &outputs)
    } else {
        Vec::new()
    };
    let (mut rows, mut series) = (Vec::new(), Vec::new());
    record::write(std::slice::from_ref(&row), &mut rows)?;
    if !points.is_empty() {
        record::write_series(&points, &mut series)?;
    }
    event(Event::Record {
        rows: String::from_utf8(rows)?,
        series: String::from_utf8(series)?,
    });
    event(Event::Log {
        name: format!("{}.{repeat}.json", case.id),
        text: serde_json::to_string_pretty(&outputs)?,
    });
    Ok(())
}
