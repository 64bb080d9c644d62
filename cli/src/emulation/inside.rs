//! What runs in a lab VM: the cases, one after the other, told as events.

use std::path::PathBuf;

use anyhow::Result;
use emulate::calibrate;
use emulate::clean;
use emulate::event::Event;
use emulate::run::{self as host, Host};
use emulate::tool::clock::emit;
use models::scenario::{Case, Study};

use crate::exit::{Exit, Failure};
use crate::interrupt;

use super::ClockWord;

/// Where the lab VM has a program that starts watari with its libraries.
const PROGRAM: &str = "/usr/local/bin/watari";

/// For watari in a lab VM.
#[derive(clap::Args)]
pub(super) struct Inside {
    /// Folder with the guest's kernel, memory image and saved states.
    #[arg(long, value_name = "DIR", hide = true, default_value = "/job")]
    guest: PathBuf,
    /// Run here and now, and say what happens as JSON, one event a line.
    #[arg(long, hide = true)]
    pub(super) events: bool,
    /// Measure what the lab does before the first case.
    #[arg(long, hide = true)]
    calibrate: bool,
    /// Only this run of a case.
    #[arg(long, value_name = "CASE#REPEAT", hide = true)]
    only: Vec<String>,
}

/// The words for `only`.
pub(super) fn only(case: &str, repeat: u32) -> [String; 2] {
    ["--only".to_owned(), format!("{case}#{repeat}")]
}

/// Runs the cases. How it ended is the last event, and no exit code.
pub(super) fn run(args: &super::Args, study: &Study) -> Result<Exit, Failure> {
    let stop = interrupt::flag()?;
    let real = args.clock == Some(ClockWord::Real);
    let lab_program = PathBuf::from(PROGRAM);
    let host = Host {
        watari: if lab_program.exists() {
            lab_program
        } else {
            std::env::current_exe()?
        },
        guest: args.inside.guest.clone(),
        accel: "tcg".to_owned(),
        clock: if real { "real" } else { "virtual" }.to_owned(),
        runs: PathBuf::from(clean::FOLDER),
    };
    let wanted = |case: &Case| repeats(&args.inside.only, &case.id, args.repeat);
    let mut event = |event| say(&event);
    let calibrated = match study.cases.first() {
        Some(case) if args.inside.calibrate => calibrate::run(case, &host, &stop, &mut event),
        _ => Ok(()),
    };
    let result = calibrated.and_then(|()| host::run(study, &wanted, &host, &stop, &mut event));
    say(&match result {
        Ok(()) => Event::End,
        Err(error) => Event::Failed(format!("{error:#}")),
    });
    Ok(Exit::Success)
}

/// The runs of a case that `only` names; all of them where it names none at all.
fn repeats(only: &[String], case: &str, repeat: u32) -> Vec<u32> {
    if only.is_empty() {
        return (0..repeat).collect();
    }
    let own = only.iter().filter_map(|word| {
        let (of, number) = word.rsplit_once('#')?;
        (of == case).then(|| number.parse().ok())?
    });
    own.collect()
}

fn say(event: &Event) {
    // Whoever listened is gone, and ends the lab.
    if let Ok(value) = serde_json::to_value(event) {
        let _ = emit(&value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_runs_of_a_case_are_done_and_no_others() {
        let words: Vec<String> = [only("rtt=2ms", 0), only("rtt=2ms", 2), only("rtt=9ms", 1)]
            .map(|[_, word]| word)
            .to_vec();
        assert_eq!(repeats(&words, "rtt=2ms", 3), [0, 2]);
        assert_eq!(repeats(&words, "rtt=5ms", 3), [0; 0]);
        assert_eq!(repeats(&[], "rtt=5ms", 3), [0, 1, 2]);
    }
}
