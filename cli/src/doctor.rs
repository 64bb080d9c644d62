//! `watari doctor`: what this machine can do.

use emulate::doctor::{self, Lab, Probe};
use serde_json::json;

use crate::emulation::FIRST;
use crate::exit::{Exit, Failure};
use crate::output::{BOLD, GREEN, Output, RED, paint};
use crate::table::{Align, Table, wrap};

/// Widest cell of the table.
const WIDTH: usize = 40;

/// Find out what this machine can do, and what to install for the rest.
///
/// Everything is tried, in network namespaces that end with the attempt;
/// nothing is changed. Ends with 3 when no lab can be used.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watari doctor           as the user who will run `watari emulate`
  sudo watari doctor      what root could do
  watari doctor --json    for programs")]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let probes = doctor::all();
    if args.json {
        let text = serde_json::to_string_pretty(&json!({
            "labs": { "host": usable(&probes, Lab::Host), "vm": usable(&probes, Lab::Vm) },
            "probes": probes,
        }));
        output.result(&(text.map_err(anyhow::Error::from)? + "\n"))?;
    } else {
        output.result(&text(&probes, output.colors_results()))?;
    }
    if usable(&probes, Lab::Host) || usable(&probes, Lab::Vm) {
        return Ok(Exit::Success);
    }
    Err(Failure::Lacks(anyhow::anyhow!("no lab can be used yet")))
}

fn usable(probes: &[Probe], lab: Lab) -> bool {
    !probes.iter().any(|probe| probe.stops(lab))
}

fn text(probes: &[Probe], color: bool) -> String {
    let mut table = Table::default();
    for title in ["probe", "found", "needed for", "if not: what to do"] {
        table.column(title, Align::Left);
    }
    for probe in probes {
        let missing = probe.found != Some(true);
        table.row(vec![
            wrap(probe.what, WIDTH),
            found(probe, color),
            wrap(probe.purpose, WIDTH),
            if missing {
                wrap(probe.fix, WIDTH)
            } else {
                String::new()
            },
        ]);
    }
    let mut text = table.text();
    text.push('\n');
    for (lab, words) in [(Lab::Vm, "the lab VM"), (Lab::Host, "this host as a lab")] {
        text.push_str(&format!("{}\n", verdict(probes, lab, words, color)));
    }
    if usable(probes, Lab::Vm) || usable(probes, Lab::Host) {
        text.push_str(&format!("  next  {FIRST}\n"));
    }
    text
}

fn found(probe: &Probe, color: bool) -> String {
    let (word, code) = match probe.found {
        Some(true) => ("yes", GREEN),
        Some(false) => ("NO", RED),
        None => ("unknown", BOLD),
    };
    let word = paint(word, code, color);
    if probe.detail.is_empty() {
        word
    } else {
        wrap(&format!("{word}: {}", probe.detail), WIDTH)
    }
}

/// Whether a lab can be used, else what it lacks.
fn verdict(probes: &[Probe], lab: Lab, words: &str, color: bool) -> String {
    let lacking: Vec<&str> = probes
        .iter()
        .filter(|probe| probe.stops(lab))
        .map(|probe| probe.what)
        .collect();
    if lacking.is_empty() {
        format!("{words}: {}", paint("can be used", GREEN, color))
    } else {
        format!("{words}: lacks {}", lacking.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(what: &'static str, found: Option<bool>) -> Probe {
        Probe {
            what,
            found,
            detail: String::new(),
            purpose: "guests",
            fix: "apt-get install it",
            needed_by: &[Lab::Vm],
        }
    }

    #[test]
    fn what_is_missing_is_shown_with_what_to_do_and_what_is_there_without() {
        let text = text(&[probe("QEMU", Some(true)), probe("image", None)], false);
        let line = |word: &str| text.lines().find(|line| line.starts_with(word)).unwrap();
        assert!(!line("QEMU").contains("apt-get"), "{text}");
        assert!(line("image").contains("unknown"), "{text}");
        assert!(line("image").contains("apt-get install it"), "{text}");
        assert!(text.contains("the lab VM: lacks image"), "{text}");
        assert!(text.contains("this host as a lab: can be used"), "{text}");
    }
}
