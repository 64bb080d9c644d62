//! What the labs said, on disk as soon as it is known.
//!
//! The record is written anew with every run, in the order of cases and
//! repeats: it is whole whenever the program ends, however that comes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use emulate::event::Event;
use emulate::lab::vm::Clock;
use models::profile::Profile;
use models::record::{self, Row, SeriesPoint};
use models::scenario::Study;

use crate::files::{self, Written};
use crate::records::{record_path, series_path};

/// What to do about a record that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Refuse.
    New,
    /// Keep what is in it.
    Resume,
    /// Write over it.
    Replace,
}

/// Place of a run in the record: number of its case, and repeat.
type Key = (usize, u32);

/// The record of a scenario and what is beside it.
pub(super) struct Store {
    folder: PathBuf,
    name: String,
    /// All cases of the scenario in their order.
    ids: Vec<String>,
    rows: BTreeMap<Key, Row>,
    series: BTreeMap<Key, Vec<SeriesPoint>>,
    written: BTreeMap<String, Written>,
    /// Whether the profile on disk is of this lab.
    profile: bool,
    /// Why the profile that a lab sent cannot be used.
    profile_fault: Option<String>,
}

impl Store {
    /// The record of a study in a folder.
    pub(super) fn open(
        folder: &Path,
        study: &Study,
        ids: Vec<String>,
        clock: Clock,
        mode: Mode,
    ) -> Result<Self> {
        let mut store = Self {
            folder: folder.to_owned(),
            name: study.name.clone(),
            ids,
            rows: BTreeMap::new(),
            series: BTreeMap::new(),
            written: BTreeMap::new(),
            profile: false,
            profile_fault: None,
        };
        let path = store.record_path();
        if mode == Mode::New && path.exists() {
            bail!(
                "nothing was run, as there is a record `{}`; --resume adds what it lacks, \
                 --force replaces it, --out names another folder",
                path.display()
            );
        }
        files::create_folder(&store.logs())?;
        if mode == Mode::Resume && path.exists() {
            store
                .read(study, clock)
                .with_context(|| format!("cannot go on with `{}`", path.display()))?;
            store.profile = store.profile_path().exists();
        }
        // What is replaced stays until there is something in its place.
        Ok(store)
    }

    /// Takes over what is on disk.
    fn read(&mut self, study: &Study, clock: Clock) -> Result<()> {
        let (rows, series) = crate::plot::read(&self.record_path())?;
        for row in rows {
            ensure!(
                row.scenario_hash == study.hash,
                "the scenario has changed since; use another --out, or --force to begin again"
            );
            ensure!(
                row.params.clock.as_deref() == Some(clock.name()),
                "its clock was {}, and now it is {}; use another --out, or --clock",
                row.params.clock.as_deref().unwrap_or("another"),
                clock.name()
            );
            let key = self.key(&row.case, row.replication)?;
            self.rows.insert(key, row);
        }
        for point in series {
            let key = self.key(&point.case, point.replication)?;
            self.series.entry(key).or_default().push(point);
        }
        Ok(())
    }

    fn key(&self, case: &str, repeat: u32) -> Result<Key> {
        let number = self.ids.iter().position(|id| id == case);
        let number = number.with_context(|| format!("the scenario has no case `{case}`"))?;
        Ok((number, repeat))
    }

    /// Whether a run is in the record, without an error.
    pub(super) fn has(&self, case: &str, repeat: u32) -> bool {
        let key = self.key(case, repeat).ok();
        let row = key.and_then(|key| self.rows.get(&key));
        row.is_some_and(|row| row.error.is_none())
    }

    /// The rows in their order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// The files, with their sizes and digests.
    pub(super) fn written(&self) -> Vec<Written> {
        self.written.values().cloned().collect()
    }

    /// Where the record is.
    pub(super) fn record_path(&self) -> PathBuf {
        record_path(&self.folder, &self.name)
    }

    /// The profile of the lab, if it sent one.
    pub(super) fn profile(&self) -> Option<PathBuf> {
        self.profile.then(|| self.profile_path())
    }

    /// Why the profile that a lab sent cannot be used.
    pub(super) fn profile_fault(&self) -> Option<&str> {
        self.profile_fault.as_deref()
    }

    fn profile_path(&self) -> PathBuf {
        self.folder.join(format!("{}.profile.json", self.name))
    }

    /// Where the logs are.
    pub(super) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Keeps what a lab said; gives the rows that came with it.
    pub(super) fn take(&mut self, event: &Event) -> Result<Vec<Row>> {
        match event {
            Event::Record { rows, series } => self.add(rows, series),
            Event::Log { name, text } => {
                let name = Path::new(name)
                    .file_name()
                    .context("a log without a name")?;
                files::write(&self.logs().join(name), text.as_bytes())?;
                Ok(Vec::new())
            }
            Event::Profile { json } => {
                if let Err(error) = Profile::from_json(json) {
                    // The measurements are good without it.
                    self.profile_fault = Some(error.to_string());
                    files::write(&self.logs().join("profile.json"), json.as_bytes())?;
                    return Ok(Vec::new());
                }
                // Labs side by side measure the same: the first one will do.
                if !self.profile {
                    self.write(&self.profile_path(), json.as_bytes())?;
                    self.profile = true;
                }
                Ok(Vec::new())
            }
            Event::Step { .. } | Event::Failed(_) | Event::End => Ok(Vec::new()),
        }
    }

    fn add(&mut self, rows: &str, series: &str) -> Result<Vec<Row>> {
        let context = "the lab sent a record that is none";
        let rows = record::read(rows.as_bytes()).context(context)?;
        for row in &rows {
            let key = self.key(&row.case, row.replication)?;
            self.series.remove(&key);
            self.rows.insert(key, row.clone());
        }
        if !series.is_empty() {
            for point in record::read_series(series.as_bytes()).context(context)? {
                let key = self.key(&point.case, point.replication)?;
                self.series.entry(key).or_default().push(point);
            }
        }
        self.save()?;
        Ok(rows)
    }

    fn save(&mut self) -> Result<()> {
        let path = self.record_path();
        let rows: Vec<Row> = self.rows.values().cloned().collect();
        let mut bytes = Vec::new();
        record::write(&rows, &mut bytes)?;
        self.write(&path, &bytes)?;
        if !self.profile {
            files::remove(&self.profile_path())?;
        }
        if self.series.is_empty() {
            return files::remove(&series_path(&path));
        }
        let points: Vec<SeriesPoint> = self.series.values().flatten().cloned().collect();
        let mut bytes = Vec::new();
        record::write_series(&points, &mut bytes)?;
        self.write(&series_path(&path), &bytes)
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let written = files::write(path, bytes)?;
        self.written.insert(written.file.clone(), written);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::record::{Backend, Params, Values};

    fn study(hash: &str) -> Study {
        Study {
            name: "small".into(),
            description: String::new(),
            hash: hash.into(),
            seed: 1,
            replications: 1,
            confidence: 0.95,
            axes: Vec::new(),
            cases: Vec::new(),
            expectations: Vec::new(),
            tolerances: Vec::new(),
        }
    }

    fn open(folder: &Path, hash: &str, clock: Clock, mode: Mode) -> Result<Store> {
        let ids = ["rtt=2ms", "rtt=10ms"].map(str::to_owned).to_vec();
        Store::open(folder, &study(hash), ids, clock, mode)
    }

    fn event(case: &str, repeat: u32, error: Option<&str>) -> Event {
        let row = Row {
            scenario: "small".into(),
            scenario_hash: "aa".into(),
            case: case.into(),
            replication: repeat,
            seed: 1,
            backend: Backend::Emulated,
            params: Params {
                clock: Some("virtual".into()),
                ..Params::default()
            },
            error: error.map(str::to_owned),
            values: Values::default(),
        };
        let mut rows = Vec::new();
        record::write(&[row], &mut rows).unwrap();
        Event::Record {
            rows: String::from_utf8(rows).unwrap(),
            series: String::new(),
        }
    }

    #[test]
    fn the_record_is_on_disk_after_every_run_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path(), "aa", Clock::Virtual, Mode::New).unwrap();
        for (case, repeat) in [("rtt=10ms", 0), ("rtt=2ms", 1), ("rtt=2ms", 0)] {
            store.take(&event(case, repeat, None)).unwrap();
        }
        let (rows, _) = crate::plot::read(&store.record_path()).unwrap();
        let order: Vec<_> = rows
            .iter()
            .map(|r| (r.case.as_str(), r.replication))
            .collect();
        assert_eq!(order, [("rtt=2ms", 0), ("rtt=2ms", 1), ("rtt=10ms", 0)]);
    }

    #[test]
    fn resuming_keeps_what_went_well_and_repeats_what_failed() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path(), "aa", Clock::Virtual, Mode::New).unwrap();
        store.take(&event("rtt=2ms", 0, None)).unwrap();
        store.take(&event("rtt=2ms", 1, Some("no route"))).unwrap();
        assert!(open(folder.path(), "aa", Clock::Virtual, Mode::New).is_err());
        let mut store = open(folder.path(), "aa", Clock::Virtual, Mode::Resume).unwrap();
        assert!(store.has("rtt=2ms", 0));
        assert!(!store.has("rtt=2ms", 1));
        assert!(!store.has("rtt=10ms", 0));
        store.take(&event("rtt=2ms", 1, None)).unwrap();
        assert!(store.has("rtt=2ms", 1));
        assert_eq!(store.rows().count(), 2);
    }

    #[test]
    fn a_profile_that_cannot_be_used_does_not_end_the_runs() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path(), "aa", Clock::Virtual, Mode::New).unwrap();
        let profile = |json: &str| Event::Profile {
            json: json.to_owned(),
        };
        store.take(&profile("{\"compressed\": 1.5}")).unwrap();
        assert_eq!(store.profile(), None);
        assert!(store.profile_fault().unwrap().starts_with("`compressed`"));
        store.take(&profile("{\"compressed\": 0.5}")).unwrap();
        assert!(store.profile().unwrap().exists());
    }

    #[test]
    fn a_record_of_something_else_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path(), "aa", Clock::Virtual, Mode::New).unwrap();
        store.take(&event("rtt=2ms", 0, None)).unwrap();
        let fault = |hash, clock| {
            let error = open(folder.path(), hash, clock, Mode::Resume)
                .err()
                .unwrap();
            format!("{error:#}")
        };
        assert!(fault("bb", Clock::Virtual).contains("has changed since"));
        assert!(fault("aa", Clock::Real).contains("clock was virtual"));
        let mut store = open(folder.path(), "aa", Clock::Virtual, Mode::Replace).unwrap();
        assert!(
            store.record_path().exists(),
            "it goes when there is another one"
        );
        store.take(&event("rtt=10ms", 0, None)).unwrap();
        let (rows, _) = crate::plot::read(&store.record_path()).unwrap();
        assert_eq!(rows.len(), 1);
    }
}
