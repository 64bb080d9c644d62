//! How far an emulation is: one line a lab on a terminal, and elsewhere one
//! line when a run starts and one when it has ended.

use std::time::{Duration, Instant};

use emulate::event::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use models::record::{Measure, Row};

use crate::output::{Output, RED, paint};
use crate::quantity::Unit;

/// How often a terminal shows that time goes on.
const TICK: Duration = Duration::from_millis(500);

/// What is shown of the labs.
pub(super) struct Show {
    labs: Vec<Lab>,
    runs: usize,
    done: usize,
    verbose: bool,
    terminal: Option<MultiProgress>,
    output: Output,
}

#[derive(Default)]
struct Lab {
    run: Option<(String, u32)>,
    since: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Show {
    /// So many labs that do so many runs.
    pub(super) fn new(labs: usize, runs: usize, verbose: bool, output: Output) -> Self {
        let hidden = ProgressDrawTarget::stderr().is_hidden();
        let terminal = (!hidden).then(MultiProgress::new);
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let style = style.expect("the template is right");
        let lab = |_| Lab {
            bar: terminal.as_ref().map(|all| {
                let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
                bar.enable_steady_tick(TICK);
                bar
            }),
            ..Lab::default()
        };
        Self {
            labs: (0..labs).map(lab).collect(),
            runs,
            done: 0,
            verbose,
            terminal,
            output,
        }
    }

    /// A lab said something; `rows` came with it.
    pub(super) fn event(&mut self, lab: usize, event: &Event, rows: &[Row]) {
        if let Event::Step {
            case,
            repeat,
            title,
        } = event
        {
            self.step(lab, case, *repeat, title);
        }
        for row in rows {
            self.done += 1;
            let took = self.labs[lab].since.map(|since| since.elapsed());
            let line = self.ended(lab, row, took);
            self.line(&line);
        }
    }

    fn step(&mut self, lab: usize, case: &str, repeat: u32, title: &str) {
        let run = Some((case.to_owned(), repeat));
        let begins = self.labs[lab].run != run;
        let own = &mut self.labs[lab];
        if begins {
            own.run = run;
            own.since = Some(Instant::now());
        }
        let name = name(lab, case, repeat);
        if let Some(bar) = &own.bar {
            if begins {
                bar.reset_elapsed();
            }
            bar.set_message(format!("{name}: {title}"));
        }
        if self.verbose || (self.terminal.is_none() && case.is_empty()) {
            self.line(&format!("{name}: {title}"));
        } else if begins && self.terminal.is_none() {
            self.line(&format!("{name}: started"));
        }
    }

    fn line(&self, text: &str) {
        let text = text.trim_end();
        match &self.terminal {
            // It fails when the terminal is gone, and then nobody reads it.
            Some(terminal) => drop(terminal.println(text)),
            None => self.output.note(&format!("{text}\n")),
        }
    }

    /// What is said of a run that has ended.
    fn ended(&self, lab: usize, row: &Row, took: Option<Duration>) -> String {
        let took = took.map_or_else(String::new, |t| format!(", took {:.0} s", t.as_secs_f64()));
        let result = match &row.error {
            Some(error) => {
                let word = paint("FAILED", RED, self.output.colors_notes());
                format!("{word}: {}", error.replace('\n', "\n    "))
            }
            None => results(row),
        };
        format!(
            "{}: {result} ({} of {}{took})",
            name(lab, &row.case, row.replication),
            self.done,
            self.runs
        )
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        for bar in self.labs.iter().filter_map(|lab| lab.bar.as_ref()) {
            bar.finish_and_clear();
        }
    }
}

/// Labs and repeats are counted from 1 for people.
fn name(lab: usize, case: &str, repeat: u32) -> String {
    match case {
        "" => format!("lab {}", lab + 1),
        case => format!("lab {}, {case} #{}", lab + 1, repeat + 1),
    }
}

/// The measures that say most.
fn results(row: &Row) -> String {
    let wanted = [
        (Measure::TotalTime, "total time"),
        (Measure::Downtime, "downtime"),
        (Measure::FailoverRecover, "recovery"),
    ];
    let shown = wanted.into_iter().filter_map(|(measure, words)| {
        let value = row.values.get(measure)?;
        let unit = Unit::fitting(measure.info().unit, value);
        Some(format!("{words} {:.2} {}", unit.of(value), unit.symbol))
    });
    let shown: Vec<String> = shown.collect();
    match shown.as_slice() {
        [] => "done".to_owned(),
        some => some.join(", "),
    }
}
