//! Runs cases in labs, several side by side, and hands on what they say.

use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context as _, Result};
use emulate::calibrate;
use emulate::clean;
use emulate::doctor::Lab;
use emulate::event::Event;
use emulate::lab::vm::{self, Job};
use emulate::run::{self as host, Host, memory_mib};
use models::scenario::Case;

use crate::exit::Failure;
use crate::files;
use crate::load::Loaded;

use super::choose::Chosen;
use super::store::Store;
use super::{Args, inside};

/// A case and the runs of it that are to be done.
type Share<'a> = Vec<(&'a Case, Vec<u32>)>;

/// What is to be run, and where.
pub(super) struct Work<'a> {
    loaded: &'a Loaded,
    chosen: &'a Chosen,
    todo: Share<'a>,
    /// Labs side by side.
    pub(super) jobs: usize,
    /// Whether the first lab measures itself before its first case.
    calibrate: bool,
}

impl<'a> Work<'a> {
    /// The runs that are not in the store.
    pub(super) fn new(args: &Args, loaded: &'a Loaded, chosen: &'a Chosen, store: &Store) -> Self {
        let missing = |case: &'a Case| {
            let runs = (0..args.repeat).filter(|&repeat| !store.has(&case.id, repeat));
            (case, runs.collect::<Vec<u32>>())
        };
        let mut todo: Share<'a> = loaded.study.cases.iter().map(missing).collect();
        todo.retain(|(_, runs)| !runs.is_empty());
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = match chosen.lab {
            Lab::Host => 1,
            Lab::Vm => args.jobs.map_or_else(processors, usize::from),
        };
        let jobs = jobs.min(todo.len()).max(1);
        Self {
            loaded,
            chosen,
            todo,
            jobs,
            calibrate: store.profile().is_none(),
        }
    }

    /// How many runs there are.
    pub(super) fn runs(&self) -> usize {
        self.todo.iter().map(|(_, runs)| runs.len()).sum()
    }

    /// Runs everything; `take` gets every event with the number of its lab. A
    /// lab that fails does not end the others.
    pub(super) fn run(
        &self,
        stop: &AtomicBool,
        take: &mut dyn FnMut(usize, Event) -> Result<()>,
    ) -> Result<(), Failure> {
        if self.chosen.lab == Lab::Vm {
            self.prepare_guests(stop, take).map_err(Failure::of_lab)?;
        }
        let (sender, events) = channel();
        std::thread::scope(|scope| {
            let start = |lab: usize| {
                let sender = sender.clone();
                scope.spawn(move || self.lab(lab, stop, &sender))
            };
            let labs: Vec<_> = (0..self.jobs).map(start).collect();
            drop(sender);
            let mut taken = Ok(());
            for (lab, event) in events {
                if taken.is_ok() {
                    taken = take(lab, event);
                    // What cannot be kept need not be measured.
                    stop.fetch_or(taken.is_err(), Ordering::Relaxed);
                }
            }
            let ended = labs.into_iter().map(|lab| match lab.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            let results: Vec<Result<()>> = ended.collect();
            taken.map_err(Failure::Work)?;
            let all: Result<()> = results.into_iter().collect();
            all.map_err(Failure::of_lab)
        })
    }

    /// Boots every size of guest once.
    fn prepare_guests(
        &self,
        stop: &AtomicBool,
        take: &mut dyn FnMut(usize, Event) -> Result<()>,
    ) -> Result<()> {
        for size in self.memory_sizes() {
            vm::guest_state(&self.chosen.image, size, stop, &mut |title| {
                // Nothing is kept of a step, so nothing can fail.
                let _ = take(0, preparation(title));
            })?;
        }
        Ok(())
    }

    fn memory_sizes(&self) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.todo.iter().map(|(case, _)| memory_mib(case)).collect();
        sizes.retain(|&size| size > 0);
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Runs the cases of one lab.
    fn lab(&self, lab: usize, stop: &AtomicBool, sender: &Sender<(usize, Event)>) -> Result<()> {
        let own = self.todo.iter().skip(lab).step_by(self.jobs);
        let share: Share<'_> = own.cloned().collect();
        let mut event = |event| {
            // Whoever listens listens to the end.
            let _ = sender.send((lab, event));
        };
        match self.chosen.lab {
            Lab::Host => self.on_host(&share, stop, &mut event),
            Lab::Vm => {
                event(preparation("booting the lab VM"));
                let job = self.job(&share, self.calibrate && lab == 0)?;
                vm::run(
                    &self.chosen.image,
                    &job,
                    self.chosen.clock,
                    stop,
                    &mut event,
                )
            }
        }
    }

    fn on_host(
        &self,
        share: &Share<'_>,
        stop: &AtomicBool,
        event: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let host = Host {
            watari: std::env::current_exe().context("cannot find this program")?,
            guest: self.chosen.image.folder.clone(),
            accel: self.chosen.accel.to_owned(),
            clock: self.chosen.clock.name().to_owned(),
            runs: PathBuf::from(clean::FOLDER),
        };
        if let Some((case, _)) = share.first().filter(|_| self.calibrate) {
            calibrate::run(case, &host, stop, event)?;
        }
        let repeats = |case: &Case| {
            let own = share.iter().find(|(of, _)| of.id == case.id);
            own.map_or_else(Vec::new, |(_, runs)| runs.clone())
        };
        host::run(&self.loaded.study, &repeats, &host, stop, event)
    }

    /// The job of a lab VM.
    fn job(&self, share: &Share<'_>, calibrate: bool) -> Result<Job> {
        let image = &self.chosen.image;
        let mut files = vm::guest_files(image)?;
        for size in self.memory_sizes() {
            let state = image.state(size);
            let bytes = std::fs::read(&state)
                .with_context(|| format!("cannot read `{}`", state.display()))?;
            files.push((format!("guest-{size}.state"), bytes));
        }
        let folder = files::folder(&self.loaded.path);
        let scenario = PathBuf::from(files::name(&self.loaded.path));
        let traces = self.loaded.inputs.iter().skip(1);
        let traces = traces.map(|input| PathBuf::from(&input.file));
        for input in std::iter::once(scenario).chain(traces) {
            let path = folder.join(&input);
            let bytes = std::fs::read(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            files.push((format!("scenario/{}", plain(&input)), bytes));
        }
        let file = format!("/job/scenario/{}", files::name(&self.loaded.path));
        let clock = self.chosen.clock.name();
        let mut arguments = ["emulate", &file, "--events", "--clock", clock]
            .map(str::to_owned)
            .to_vec();
        if calibrate {
            arguments.push("--calibrate".to_owned());
        }
        for (case, runs) in share {
            arguments.extend(["--case".to_owned(), case.id.clone()]);
            arguments.extend(runs.iter().flat_map(|&run| inside::only(&case.id, run)));
        }
        Ok(Job {
            arguments,
            files,
            disk: None,
        })
    }
}

/// A step that belongs to no run.
fn preparation(title: &str) -> Event {
    Event::Step {
        case: String::new(),
        repeat: 0,
        title: title.to_owned(),
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::plain;
    use std::path::Path;

    #[test]
    fn a_trace_is_put_where_its_name_leads() {
        assert_eq!(plain(Path::new("traces/a.csv")), "traces/a.csv");
        assert_eq!(plain(Path::new("./x/../b.csv")), "b.csv");
    }
}
