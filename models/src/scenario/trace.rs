//! Traces of guest writes: CSV files beside the scenario.

use std::collections::BTreeMap;

use sim_core::{SimDuration, SimTime};

use super::DirtyPhase;
use crate::units::{ByteRate, Bytes};

const HEADER: [&str; 3] = ["start_s", "rate_mib_s", "working_set_mib"];
const MOST_ROWS: usize = 1_000_000;
const LONGEST: usize = 64 << 20;
const MOST_FILES: usize = 100;
const MIB: f64 = (1_u64 << 20) as f64;

/// The traces a scenario names, each loaded and read once.
pub(crate) struct Traces<'l> {
    load: &'l mut dyn FnMut(&str) -> Result<String, String>,
    files: BTreeMap<String, Trace>,
    /// Memory that copies of traces may still take.
    left: usize,
}

/// What is wrong with a trace, and how to mend it.
type Problem = (String, String);

/// A trace as far as it could be read.
struct Trace {
    text: String,
    phases: Result<Vec<DirtyPhase>, Problem>,
}

impl<'l> Traces<'l> {
    pub(crate) fn new(load: &'l mut dyn FnMut(&str) -> Result<String, String>) -> Self {
        Self {
            load,
            files: BTreeMap::new(),
            left: 0,
        }
    }

    /// Bounds the memory of all copies that [`Traces::get`] hands out from now on.
    pub(crate) fn limit(&mut self, bytes: usize) {
        self.left = bytes;
    }

    /// The phases of the trace with this name, which is relative to the scenario.
    pub(crate) fn get(&mut self, name: &str) -> Result<Vec<DirtyPhase>, Problem> {
        if !self.files.contains_key(name) {
            let trace = self.read(name);
            self.files.insert(name.to_owned(), trace);
        }
        let phases = self.files[name].phases.as_ref().map_err(Clone::clone)?;
        match self.left.checked_sub(size_of_val(phases.as_slice())) {
            Some(left) => self.left = left,
            None => {
                let message = "the traces of all cases would take more than 1 GiB of memory";
                return Err((
                    message.to_owned(),
                    "use fewer cases or shorter traces".to_owned(),
                ));
            }
        }
        Ok(phases.clone())
    }

    /// The files' texts in the order of their names.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.files.values().map(|trace| trace.text.as_str())
    }

    fn read(&mut self, name: &str) -> Trace {
        let failed = |message: String, help: &str| Trace {
            text: String::new(),
            phases: Err((message, help.to_owned())),
        };
        if let Some(problem) = bad_path(name) {
            let help = "name a CSV file beside the scenario, such as \"traces/web.csv\"";
            return failed(format!("the name of a trace file {problem}"), help);
        }
        if self.files.len() >= MOST_FILES {
            return failed(
                "the scenario names more than 100 trace files".to_owned(),
                "use fewer",
            );
        }
        match (self.load)(name) {
            Err(problem) => failed(
                format!("the trace file cannot be read: {problem}"),
                "is it beside the scenario?",
            ),
            Ok(text) if text.len() > LONGEST => failed(
                "the trace file is larger than 64 MiB".to_owned(),
                "make its phases longer",
            ),
            Ok(text) => {
                let phases = phases(&text).map_err(|(line, problem)| {
                    let help = "columns are `start_s,rate_mib_s,working_set_mib`; starts begin at 0 and grow";
                    (format!("line {line} of the trace file: {problem}"), help.to_owned())
                });
                Trace { text, phases }
            }
        }
    }
}

/// Keeps a scenario from reading files elsewhere on the machine.
fn bad_path(name: &str) -> Option<&'static str> {
    if name.starts_with('/') || name.contains(':') {
        Some("is not relative to the scenario")
    } else if name.contains('\\') {
        Some("contains a backslash")
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("has a part that is empty, `.` or `..`")
    } else if !name.ends_with(".csv") {
        Some("does not end in `.csv`")
    } else if name.chars().any(char::is_control) || name.len() > 1000 {
        Some("is not a plain file name")
    } else {
        None
    }
}

/// Reads the text of a trace; a fault comes with its line.
fn phases(text: &str) -> Result<Vec<DirtyPhase>, (usize, String)> {
    let mut lines = text.lines().zip(1_usize..);
    let header = lines.next().map_or("", |(line, _)| line);
    if header.split(',').ne(HEADER) {
        let found = super::fault::quote(header);
        return Err((
            1,
            format!("the header is `{found}` and not `{}`", HEADER.join(",")),
        ));
    }
    let mut phases: Vec<DirtyPhase> = Vec::new();
    for (line, number) in lines {
        if phases.len() >= MOST_ROWS {
            return Err((number, "more than 1,000,000 rows".to_owned()));
        }
        let phase = phase(line).map_err(|problem| (number, problem))?;
        match phases.last() {
            None if phase.start != SimTime::ZERO => {
                return Err((number, "the first start is not 0".to_owned()));
            }
            Some(before) if phase.start <= before.start => {
                return Err((
                    number,
                    "the start is not later than the one before".to_owned(),
                ));
            }
            _ => phases.push(phase),
        }
    }
    if phases.is_empty() {
        Err((2, "there is no row".to_owned()))
    } else {
        Ok(phases)
    }
}

fn phase(line: &str) -> Result<DirtyPhase, String> {
    let cells: Vec<&str> = line.split(',').collect();
    let [start, rate, working_set] = cells[..] else {
        return Err(format!("{} columns where 3 belong", cells.len()));
    };
    let start = number(start)? * 1e9;
    let rate = number(rate)? * MIB;
    let working_set = number(working_set)? * MIB;
    // Below 2^53 an `f64` is exact to the unit; no guest has more of anything.
    if [start, rate, working_set]
        .iter()
        .any(|value| *value >= 9e15)
    {
        return Err("a number is too large".to_owned());
    }
    Ok(DirtyPhase {
        start: SimTime::ZERO + SimDuration::from_nanos(start.round() as u64),
        rate: ByteRate::from_bytes_per_second(rate.round() as u64),
        working_set: Bytes::new(working_set.round() as u64),
    })
}

fn number(cell: &str) -> Result<f64, String> {
    let plain = !cell.is_empty()
        && cell
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    match cell.parse::<f64>() {
        Ok(value) if plain && value.is_finite() => Ok(value),
        _ => Err(format!(
            "`{}` is not a number of 0 or more, such as 12.5",
            super::fault::quote(cell)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_strictly() {
        let head = "start_s,rate_mib_s,working_set_mib\n";
        let good = phases(&format!("{head}0,10,64\n1.5,0,0\n")).unwrap();
        assert_eq!(good[1].start, SimTime::from_nanos(1_500_000_000));
        assert_eq!(good[0].rate, ByteRate::from_bytes_per_second(10 << 20));
        for (text, line, part) in [
            ("", 1, "header"),
            ("start,rate,ws\n", 1, "header"),
            (head, 2, "no row"),
            (&format!("{head}1,1,1\n"), 2, "not 0"),
            (&format!("{head}0,1,1\n0,1,1\n"), 3, "not later"),
            (&format!("{head}0,-1,1\n"), 2, "`-1`"),
            (&format!("{head}0,inf,1\n"), 2, "`inf`"),
            (&format!("{head}0,1\n"), 2, "2 columns"),
            (&format!("{head}0,1,99999999999999999999\n"), 2, "too large"),
            (&format!("{head}0,1,1\n\n"), 3, "1 columns"),
        ] {
            let (at, problem) = phases(text).unwrap_err();
            assert!(
                at == line && problem.contains(part),
                "{text:?}: line {at}: {problem}"
            );
        }
    }

    #[test]
    fn a_trace_stays_beside_its_scenario() {
        for name in [
            "/etc/x.csv",
            "../x.csv",
            "a/../x.csv",
            "a\\x.csv",
            "c:x.csv",
            "x.txt",
            "",
            "a//x.csv",
        ] {
            assert!(bad_path(name).is_some(), "{name}");
        }
        assert_eq!(bad_path("traces/web.csv"), None);
    }
}
