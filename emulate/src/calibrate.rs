//! Measures a lab before its first case: [`plan::profile`] applied, as an event.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use models::scenario::Case;

use crate::apply::apply;
use crate::clean;
use crate::event::Event;
use crate::measure;
use crate::plan::{self, migration};
use crate::run::Host;

/// Measures what the lab does with the guest of a case; nothing where the case
/// has none.
///
/// # Errors
///
/// When a step fails or `stop` is set.
pub fn run(
    case: &Case,
    host: &Host,
    stop: &AtomicBool,
    event: &mut dyn FnMut(Event),
) -> Result<()> {
    let Some((order, _)) = migration::order(&case.scenario) else {
        return Ok(());
    };
    let vm = &case.scenario.vms[order.vm];
    let name = format!("{}{:x}cal", clean::PREFIX, std::process::id());
    let assets = host.assets(&name, case);
    let _claim = clean::claim(Path::new(&assets.folder))
        .with_context(|| format!("cannot use `{}`", assets.folder))?;
    let plan = plan::profile::plan(vm, &assets);
    let mut progress = |title: &str| {
        event(Event::Step {
            case: "calibration".to_owned(),
            repeat: 0,
            title: title.to_owned(),
        });
    };
    let outputs = apply(&plan, &assets, stop, &mut progress).context("the lab's calibration")?;
    event(Event::Log {
        name: "calibration.json".to_owned(),
        text: serde_json::to_string_pretty(&outputs)?,
    });
    event(Event::Profile {
        json: measure::profile(&outputs).to_json(),
    });
    Ok(())
}
