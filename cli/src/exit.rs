//! Exit codes, in one table.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | all well; also when the reader of our output went away |
//! | 1 | an expectation or a comparison failed, a case ended in an error, or the work broke off (disk full, a bug) |
//! | 2 | bad usage or bad input: nothing was run |
//! | 3 | the lab lacks something, which is named |
//! | 4 | a step in the lab failed; everything was undone |
//! | 130 | interrupted: what was finished is on disk |

use std::io;
use std::process::ExitCode;

use emulate::lab::Lacks;

use crate::output::Output;

/// How a command ended that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All well.
    Success = 0,
    /// An expectation failed, or a case ended in an error.
    Failed = 1,
    /// A signal ended it early.
    Interrupted = 130,
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the user gave cannot be used; nothing was run.
    Input(anyhow::Error),
    /// The lab lacks something.
    Lacks(anyhow::Error),
    /// A step in the lab failed.
    Lab(anyhow::Error),
    /// The work broke off.
    Work(anyhow::Error),
}

impl Failure {
    /// The lab lacks something.
    pub(crate) fn lacks(lacks: Lacks) -> Self {
        Self::Lacks(lacks.into())
    }

    /// What a lab said: it lacks something, or a step failed.
    pub(crate) fn of_lab(error: anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<Lacks>()) {
            Self::Lacks(error)
        } else {
            Self::Lab(error)
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Work(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Work(error.into())
    }
}

/// Prints what went wrong, if anything, and gives the exit code.
pub(crate) fn conclude(result: Result<Exit, Failure>, output: Output) -> ExitCode {
    let (code, error) = match result {
        Ok(exit) => return ExitCode::from(exit as u8),
        Err(Failure::Input(error)) => (2, error),
        Err(Failure::Work(error)) => (1, error),
        Err(Failure::Lacks(error)) => (3, error),
        Err(Failure::Lab(error)) => (4, error),
    };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    output.error(&format!("{error:#}"));
    ExitCode::from(code)
}

/// Whether the reader of our output went away, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
