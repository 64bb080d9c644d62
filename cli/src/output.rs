//! What is printed, where, and in which colour.
//!
//! Results go to standard output and everything else to standard error. A
//! reader of standard output that went away is an [`io::Error`] that
//! [`crate::exit`] turns into success.

use std::io::{self, IsTerminal as _, Write as _};

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// When a terminal reads it.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    color: Color,
    results_to_stderr: bool,
}

impl Output {
    /// Results on standard output.
    pub(crate) fn new(color: Color) -> Self {
        Self {
            color,
            results_to_stderr: false,
        }
    }

    /// The same with results on standard error, as records take standard output.
    pub(crate) fn with_results_on_stderr(self) -> Self {
        Self {
            results_to_stderr: true,
            ..self
        }
    }

    /// Prints a result; `text` ends its own lines.
    pub(crate) fn result(self, text: &str) -> io::Result<()> {
        if self.results_to_stderr {
            self.note(text);
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Prints something beside the result; `text` ends its own lines.
    pub(crate) fn note(self, text: &str) {
        // Nobody is left to tell when standard error is gone.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Prints what went wrong as one paragraph.
    pub(crate) fn error(self, message: &str) {
        let word = paint("error:", RED, self.colors_notes());
        self.note(&format!("{word} {message}\n"));
    }

    /// Whether notes are coloured.
    pub(crate) fn colors_notes(self) -> bool {
        self.colors(io::stderr().is_terminal())
    }

    /// Whether results are coloured.
    pub(crate) fn colors_results(self) -> bool {
        let terminal = if self.results_to_stderr {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        };
        self.colors(terminal)
    }

    fn colors(self, terminal: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color(),
        }
    }
}

/// <https://no-color.org>: set and not empty.
fn no_color() -> bool {
    let set = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    set || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// The ANSI code of bold text.
pub(crate) const BOLD: &str = "1";
/// The ANSI code of something good.
pub(crate) const GREEN: &str = "32";
/// The ANSI code of something bad.
pub(crate) const RED: &str = "1;31";

/// `text` in a colour, or as it is.
pub(crate) fn paint(text: &str, code: &str, color: bool) -> String {
    if color {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// `1 case`, `2 cases`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}
