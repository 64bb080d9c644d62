//! How far a run is: a bar on a terminal, and a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// A run shorter than this shows no bar.
const QUIET_START: Duration = Duration::from_secs(1);
/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Counts replications, and says so.
pub(crate) struct Progress {
    name: String,
    total: u64,
    done: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
    terminal: bool,
    quiet: bool,
    output: Output,
}

impl Progress {
    /// `total` replications of the scenario `name`.
    pub(crate) fn new(name: &str, total: u64, quiet: bool, output: Output) -> Self {
        let started = Instant::now();
        let terminal = !ProgressDrawTarget::stderr().is_hidden();
        let name = name.to_owned();
        let (done, last_line, bar) = (0, started, None);
        Self {
            name,
            total,
            done,
            started,
            last_line,
            bar,
            terminal,
            quiet,
            output,
        }
    }

    /// One more replication is done.
    pub(crate) fn advance(&mut self) {
        self.done += 1;
        // Reading the clock costs more than some replications.
        if self.quiet || !(self.done.is_multiple_of(16) || self.total < 1000) {
            return;
        }
        if self.terminal {
            self.show_bar();
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            self.output.note(&self.line());
        }
    }

    fn show_bar(&mut self) {
        if self.bar.is_none() && self.started.elapsed() >= QUIET_START {
            let template = "{msg} [{bar:30}] {pos} of {len} replications, {eta} left";
            let style = ProgressStyle::with_template(template).expect("the template is right");
            let bar = ProgressBar::new(self.total).with_style(style.progress_chars("=> "));
            bar.set_message(self.name.clone());
            self.bar = Some(bar.with_elapsed(self.started.elapsed()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    fn line(&self) -> String {
        let left = self.started.elapsed().as_secs_f64() / self.done as f64
            * (self.total - self.done) as f64;
        format!(
            "{}: {} of {} replications, about {left:.0} s left\n",
            self.name, self.done, self.total
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
