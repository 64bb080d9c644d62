//! What a record was made of and how, beside the record.
//!
//! Two files: `<scenario>.manifest.json` holds what is the same on every
//! machine and in every run, so that it can be committed and compared byte by
//! byte; `<scenario>.run.json` holds the rest.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use emulate::doctor::Lab;
use jiff::Timestamp;
use models::scenario::Axis;
use serde::Serialize;

use crate::files::{self, Written};
use crate::load::{Input, Loaded};

/// Version of the layout of the manifest.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Manifest<'a> {
    format: u32,
    tool: &'static str,
    version: &'static str,
    scenario: &'a str,
    scenario_hash: &'a str,
    inputs: &'a [Input],
    seed: u64,
    replications: u32,
    confidence: f64,
    cases: usize,
    axes: Vec<AxisEntry<'a>>,
    status: &'static str,
    rows: u64,
    errors: usize,
    outputs: &'a [Written],
    #[serde(skip_serializing_if = "Option::is_none")]
    lab: Option<&'a LabFacts>,
}

/// What a lab was made of.
#[derive(Serialize)]
pub(crate) struct LabFacts {
    /// Which lab.
    pub(crate) lab: Lab,
    /// How time passed.
    pub(crate) clock: &'static str,
    /// How guests were executed.
    pub(crate) accelerator: &'static str,
    /// Name of the lab VM's image, which guests come from too.
    pub(crate) image: String,
    /// Kernel, QEMU and strongSwan of the lab VM.
    pub(crate) packages: Vec<String>,
    /// Kernel of the host.
    pub(crate) host_kernel: String,
    /// QEMU of the host.
    pub(crate) host_qemu: String,
}

#[derive(Serialize)]
struct AxisEntry<'a> {
    name: &'a str,
    labels: &'a [String],
}

#[derive(Serialize)]
struct Run {
    started: String,
    duration_s: f64,
    jobs: usize,
    host: Option<String>,
    arguments: Vec<String>,
}

/// How the run of a scenario went.
pub(crate) struct Facts<'a> {
    /// Whether all replications were done.
    pub(crate) complete: bool,
    /// Rows written.
    pub(crate) rows: u64,
    /// Rows with an error.
    pub(crate) errors: usize,
    /// Files written.
    pub(crate) outputs: &'a [Written],
    /// When it started.
    pub(crate) started: Timestamp,
    /// How long it took.
    pub(crate) duration: Duration,
    /// Threads.
    pub(crate) jobs: usize,
    /// Replications of every case.
    pub(crate) replications: u32,
    /// The lab, unless it was simulated.
    pub(crate) lab: Option<LabFacts>,
}

/// Writes both files.
pub(crate) fn write(folder: &Path, loaded: &Loaded, facts: &Facts<'_>) -> Result<()> {
    let study = &loaded.study;
    let manifest = Manifest {
        format: FORMAT,
        tool: "watari",
        version: env!("CARGO_PKG_VERSION"),
        scenario: &study.name,
        scenario_hash: &study.hash,
        inputs: &loaded.inputs,
        seed: study.seed,
        replications: facts.replications,
        confidence: study.confidence,
        cases: study.cases.len(),
        axes: study.axes.iter().map(entry).collect(),
        status: if facts.complete {
            "complete"
        } else {
            "interrupted"
        },
        rows: facts.rows,
        errors: facts.errors,
        outputs: facts.outputs,
        lab: facts.lab.as_ref(),
    };
    let run = Run {
        started: facts.started.to_string(),
        duration_s: facts.duration.as_secs_f64(),
        jobs: facts.jobs,
        host: host(),
        arguments: std::env::args_os()
            .map(|text| text.to_string_lossy().into_owned())
            .collect(),
    };
    write_json(
        &folder.join(format!("{}.manifest.json", study.name)),
        &manifest,
    )?;
    write_json(&folder.join(format!("{}.run.json", study.name)), &run)
}

fn entry(axis: &Axis) -> AxisEntry<'_> {
    AxisEntry {
        name: &axis.name,
        labels: &axis.labels,
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    files::write(path, text.as_bytes()).map(|_| ())
}

/// The name of this machine where the kernel tells it.
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned())
}
