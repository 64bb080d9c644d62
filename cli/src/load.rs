//! Scenario files from disk: found, read, parsed, and all their faults shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use models::profile::Profile;
use models::scenario::{self, Study, fault};
use serde::Serialize;

use crate::files;
use crate::output::{Output, count};

/// Longest scenario file.
const SCENARIO_BYTES: u64 = 1 << 20;
/// Longest profile of a lab.
const PROFILE_BYTES: u64 = 1 << 20;
/// Longest file that a scenario names.
const TRACE_BYTES: u64 = 64 << 20;

/// A scenario that has no faults.
pub(crate) struct Loaded {
    /// Its file as the user named it.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) study: Study,
    /// The files it was made of, itself first.
    pub(crate) inputs: Vec<Input>,
}

/// A file that went into a study.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Input {
    /// Its name, as seen from the scenario's folder.
    pub(crate) file: String,
    /// Its SHA-256 in hexadecimal digits.
    pub(crate) sha256: String,
}

/// Loads every scenario of `paths`, files or folders. Prints every fault of
/// every file, and fails if there is one.
pub(crate) fn studies(paths: &[PathBuf], output: Output) -> Result<Vec<Loaded>> {
    let files = find(paths)?;
    let mut loaded = Vec::new();
    for path in &files {
        match study(path, output) {
            Ok(study) => loaded.push(study),
            Err(Rejected::Faults(text)) => output.note(&text),
            Err(Rejected::Unreadable(error)) => output.error(&format!("{error:#}")),
        }
    }
    let rejected = files.len() - loaded.len();
    ensure!(
        rejected == 0,
        "{rejected} of {} cannot be used; see above",
        count(files.len(), "scenario")
    );
    Ok(loaded)
}

/// Replaces parameters of every scenario by what a lab was measured to do.
pub(crate) fn apply_profile(path: &Path, studies: &mut [Loaded]) -> Result<()> {
    let text = files::read_text(path, PROFILE_BYTES)?;
    let json = path.extension().is_some_and(|end| end == "json");
    let read = if json {
        Profile::from_json
    } else {
        Profile::from_toml
    };
    let context = || format!("cannot use the profile `{}`", path.display());
    let profile = read(&text).with_context(context)?;
    for loaded in studies {
        for case in &mut loaded.study.cases {
            profile.apply(&mut case.scenario).with_context(context)?;
        }
        loaded.inputs.push(Input {
            file: files::name(path),
            sha256: files::sha256(&text),
        });
    }
    Ok(())
}

/// Keeps the cases with these ids, and the scenarios that have one.
pub(crate) fn choose(studies: &mut Vec<Loaded>, wanted: &[String]) -> Result<()> {
    for id in wanted {
        let known = |loaded: &Loaded| loaded.study.cases.iter().any(|case| case.id == *id);
        if !studies.iter().any(known) {
            let example = studies
                .first()
                .and_then(|loaded| loaded.study.cases.first());
            let example = example.map_or("base", |case| case.id.as_str());
            bail!("no scenario has a case `{id}`; a case is called, for example, `{example}`");
        }
    }
    for Loaded { study, .. } in studies.iter_mut() {
        study.cases.retain(|case| wanted.contains(&case.id));
    }
    studies.retain(|loaded| !loaded.study.cases.is_empty());
    Ok(())
}

fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        let found = files::walk(path, &|file| {
            file.extension().is_some_and(|end| end == "toml")
        })?;
        if found.is_empty() {
            bail!("there is no scenario (*.toml) in `{}`", path.display());
        }
        for file in found {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Why a file is no scenario.
enum Rejected {
    /// The rendered faults.
    Faults(String),
    /// It was never parsed.
    Unreadable(anyhow::Error),
}

fn study(path: &Path, output: Output) -> Result<Loaded, Rejected> {
    let text = files::read_text(path, SCENARIO_BYTES).map_err(Rejected::Unreadable)?;
    let mut traces = BTreeMap::new();
    let mut load = |name: &str| trace(files::folder(path), name, &mut traces);
    let study = scenario::parse(&text, &mut load).map_err(|faults| {
        let file = path.display().to_string();
        let text = fault::render(&file, &text, &faults, output.colors_notes());
        Rejected::Faults(format!("{}\n", text.trim_end()))
    })?;
    let scenario = Input {
        file: files::name(path),
        sha256: files::sha256(&text),
    };
    let traces = traces.into_iter().map(|(file, text)| Input {
        file,
        sha256: files::sha256(&text),
    });
    Ok(Loaded {
        path: path.to_owned(),
        study,
        inputs: [scenario].into_iter().chain(traces).collect(),
    })
}

/// Reads a file that a scenario names. It has to be in the scenario's folder:
/// a scenario from elsewhere must not be able to read what it likes.
fn trace(
    folder: &Path,
    name: &str,
    traces: &mut BTreeMap<String, String>,
) -> Result<String, String> {
    if let Some(text) = traces.get(name) {
        return Ok(text.clone());
    }
    let read = || {
        let reason = |error| anyhow!("cannot read `{name}` beside the scenario: {error}");
        let folder = folder.canonicalize().map_err(reason)?;
        let path = folder.join(name).canonicalize().map_err(reason)?;
        ensure!(
            path.starts_with(&folder),
            "`{name}` is not in the folder of the scenario; put it there"
        );
        files::read_text(&path, TRACE_BYTES)
    };
    let text = read().map_err(|error: anyhow::Error| format!("{error:#}"))?;
    traces.insert(name.to_owned(), text.clone());
    Ok(text)
}
