//! What of a record becomes x, lines and panels.
//!
//! The cases of a scenario are points of a sweep: `rtt=20ms,method=diff`. The numeric axis with
//! most values is x; the axis `method`, or else the one with fewest labels, gives the lines; the
//! others give panels, as many as fit on a page. Without a numeric axis x is a row of groups.

use crate::style::{LOOKS, label as spoken, words};
use crate::unit::{self, Unit};

/// More panels than this do not fit a page.
const PANELS: usize = 6;
/// An axis with fewer different values is no axis of numbers.
const NUMERIC: usize = 3;
const METHOD: &str = "method";

/// The axis along the bottom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct X {
    /// Name as in the record; empty if there is but one place.
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    /// The labels as numbers, with their unit.
    pub(crate) numeric: Option<(Vec<f64>, Unit)>,
}

/// A case and where it is drawn, as indices into the selection's lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) case: String,
    pub(crate) panel: usize,
    pub(crate) line: usize,
    pub(crate) x: usize,
}

/// What is drawn where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selection {
    pub(crate) x: X,
    /// Axis of the lines; empty if there is but one line.
    pub(crate) line_axis: String,
    pub(crate) lines: Vec<String>,
    /// One title a panel; a single empty one if there is but one panel.
    pub(crate) panels: Vec<String>,
    /// Panels side by side.
    pub(crate) columns: usize,
    pub(crate) cells: Vec<Cell>,
    /// A sentence for each thing that is not drawn.
    pub(crate) omitted: Vec<String>,
}

impl Selection {
    /// The case at a place.
    pub(crate) fn case(&self, panel: usize, line: usize, x: usize) -> Option<&str> {
        let here = |cell: &&Cell| (cell.panel, cell.line, cell.x) == (panel, line, x);
        self.cells.iter().find(here).map(|cell| cell.case.as_str())
    }

    /// Indices into the x labels in the order of their numbers, or in their own.
    pub(crate) fn x_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.x.labels.len()).collect();
        if let Some((values, _)) = &self.x.numeric {
            order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        }
        order
    }
}

#[derive(Clone, Debug)]
struct Axis {
    name: String,
    /// In order of first appearance.
    labels: Vec<String>,
}

/// Chooses from the cases of one scenario, in their order in the record.
pub(crate) fn select(cases: &[&str]) -> Selection {
    let mut axes = axes(cases);
    axes.retain(|axis| axis.labels.len() > 1);
    let x_at = numeric_axis(&axes);
    let x = x_at.map(|at| axes.remove(at));
    let lines_at = axes
        .iter()
        .position(|axis| axis.name == METHOD)
        .or_else(|| {
            // A lone axis without numbers is x: one bar a label.
            // Of two alike, the later one varies faster in the record.
            let fewest = (0..axes.len())
                .rev()
                .min_by_key(|&at| axes[at].labels.len());
            fewest.filter(|_| axes.len() > 1 || x.is_some())
        });
    let mut lines = lines_at.map(|at| axes.remove(at));
    let x = x.or_else(|| {
        let most = (0..axes.len()).max_by_key(|&at| (axes[at].labels.len(), axes.len() - at));
        most.map(|at| axes.remove(at))
    });
    let mut omitted = Vec::new();
    if let Some(lines) = &mut lines
        && lines.labels.len() > LOOKS
    {
        omitted.push(format!(
            "Only the first {LOOKS} labels of {} are shown.",
            words(&lines.name)
        ));
        lines.labels.truncate(LOOKS);
    }
    let mut panels = 1;
    for axis in &mut axes {
        if panels * axis.labels.len() > PANELS {
            let (name, label) = (words(&axis.name), spoken(&axis.labels[0]));
            omitted.push(format!("Only cases with {name} = {label} are shown."));
            axis.labels.truncate(1);
        }
        panels *= axis.labels.len();
    }
    // The axis with most labels goes across, the other one down.
    axes.sort_by_key(|axis| axis.labels.len());
    place(cases, x, lines, &axes, omitted)
}

/// Labels of a case that lacks an axis.
fn label<'a>(case: &'a str, axis: &str) -> &'a str {
    models::record::axis(case, axis).unwrap_or("none")
}

fn axes(cases: &[&str]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    let names = cases
        .iter()
        .flat_map(|case| case.split(','))
        .filter_map(|part| part.split_once('='));
    for (name, _) in names {
        if axes.iter().all(|axis| axis.name != name) {
            axes.push(Axis {
                name: name.to_owned(),
                labels: Vec::new(),
            });
        }
    }
    for axis in &mut axes {
        for case in cases {
            let label = label(case, &axis.name);
            if axis.labels.iter().all(|known| known != label) {
                axis.labels.push(label.to_owned());
            }
        }
    }
    axes
}

fn numeric_axis(axes: &[Axis]) -> Option<usize> {
    let different = |axis: &Axis| {
        let (mut values, _) = unit::parse_all(&axis.labels)?;
        values.sort_by(f64::total_cmp);
        values.dedup();
        (values.len() >= NUMERIC).then_some(values.len())
    };
    let candidates = axes
        .iter()
        .enumerate()
        .filter(|(_, axis)| axis.name != METHOD);
    let counted = candidates.filter_map(|(at, axis)| Some((different(axis)?, axes.len() - at, at)));
    counted.max().map(|(_, _, at)| at)
}

fn place(
    cases: &[&str],
    x: Option<Axis>,
    lines: Option<Axis>,
    panel_axes: &[Axis],
    omitted: Vec<String>,
) -> Selection {
    let nothing = || Axis {
        name: String::new(),
        labels: vec![String::new()],
    };
    let (x, lines) = (x.unwrap_or_else(nothing), lines.unwrap_or_else(nothing));
    let index = |axis: &Axis, case: &str| {
        if axis.name.is_empty() {
            return Some(0);
        }
        let label = label(case, &axis.name);
        axis.labels.iter().position(|known| known == label)
    };
    let panel = |case: &str| {
        let step = |at: usize, axis: &Axis| Some(at * axis.labels.len() + index(axis, case)?);
        panel_axes.iter().try_fold(0, step)
    };
    let cell = |&case: &&str| {
        let (panel, line, x) = (panel(case)?, index(&lines, case)?, index(&x, case)?);
        Some(Cell {
            case: case.to_owned(),
            panel,
            line,
            x,
        })
    };
    let mut panels = vec![String::new()];
    for axis in panel_axes.iter().filter(|axis| axis.labels.len() > 1) {
        let with = |title: &String, label: &String| {
            let comma = if title.is_empty() { "" } else { ", " };
            format!("{title}{comma}{} {}", words(&axis.name), spoken(label))
        };
        panels = panels
            .iter()
            .flat_map(|t| axis.labels.iter().map(move |l| with(t, l)))
            .collect();
    }
    let across = panel_axes.last().map_or(1, |axis| axis.labels.len());
    let columns = match panels.len() {
        n if n > across => across,
        4 => 2,
        n => n.min(3),
    };
    let numeric = unit::parse_all(&x.labels).filter(|(values, _)| {
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values.len() >= NUMERIC
    });
    Selection {
        cells: cases.iter().filter_map(cell).collect(),
        x: X {
            numeric,
            name: x.name,
            labels: x.labels,
        },
        line_axis: lines.name,
        lines: lines.labels,
        panels,
        columns,
        omitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(axes: &[(&str, &[&str])]) -> Vec<String> {
        let mut cases = vec![String::new()];
        for (name, labels) in axes {
            let with = |case: &String, label: &&str| {
                format!(
                    "{case}{}{name}={label}",
                    if case.is_empty() { "" } else { "," }
                )
            };
            cases = cases
                .iter()
                .flat_map(|c| labels.iter().map(move |l| with(c, l)))
                .collect();
        }
        cases
    }

    fn selection(axes: &[(&str, &[&str])]) -> Selection {
        let cases = sweep(axes);
        select(&cases.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn the_numeric_axis_with_most_values_is_x_and_method_gives_the_lines() {
        let s = selection(&[
            ("loss", &["0%", "0.1%", "1%"]),
            ("method", &["existing", "diff"]),
            ("rtt", &["0ms", "200ms", "20ms", "100ms"]),
        ]);
        assert_eq!((s.x.name.as_str(), s.line_axis.as_str()), ("rtt", "method"));
        assert_eq!(
            s.panels,
            ["packet loss 0 %", "packet loss 0.1 %", "packet loss 1 %"]
        );
        assert_eq!(s.x_order(), [0, 2, 3, 1]);
        assert_eq!(s.case(1, 1, 2), Some("loss=0.1%,method=diff,rtt=20ms"));
        assert_eq!(s.cells.len(), 24);
    }

    #[test]
    fn two_values_make_no_numeric_axis() {
        let s = selection(&[("rtt", &["0ms", "20ms"]), ("method", &["a", "b", "c"])]);
        assert_eq!(s.x.numeric, None);
        assert_eq!((s.x.name.as_str(), s.line_axis.as_str()), ("rtt", "method"));
    }

    #[test]
    fn without_a_method_the_axis_with_fewest_labels_gives_the_lines() {
        let s = selection(&[("gateway", &["a", "b", "c"]), ("client", &["x", "y"])]);
        assert_eq!(
            (s.x.name.as_str(), s.line_axis.as_str()),
            ("gateway", "client")
        );
        let s = selection(&[("client", &["x", "y", "z"])]);
        assert_eq!((s.x.name.as_str(), s.line_axis.as_str()), ("client", ""));
    }

    #[test]
    fn an_axis_that_never_changes_is_no_axis_and_base_is_one_place() {
        let s = selection(&[("rtt", &["1ms", "2ms", "3ms"]), ("method", &["diff"])]);
        assert_eq!((s.line_axis.as_str(), s.lines.len()), ("", 1));
        let s = select(&["base"]);
        assert_eq!(
            (
                s.x.labels.len(),
                s.lines.len(),
                s.panels.len(),
                s.cells.len()
            ),
            (1, 1, 1, 1)
        );
    }

    #[test]
    fn panels_beyond_a_page_are_left_out_and_said() {
        let s = selection(&[
            ("rtt", &["1ms", "2ms", "3ms", "4ms"]),
            ("method", &["a", "b"]),
            ("memory", &["1GiB", "2GiB", "4GiB"]),
            ("tunnel", &["none", "esp"]),
            ("disk", &["thin", "thick"]),
        ]);
        assert_eq!((s.panels.len(), s.columns), (6, 3));
        assert_eq!(s.panels[4], "tunnel esp, memory 2 GiB");
        assert_eq!(s.omitted, ["Only cases with disk = thin are shown."]);
        assert_eq!(
            s.case(5, 1, 3),
            Some("rtt=4ms,method=b,memory=4GiB,tunnel=esp,disk=thin")
        );
        assert_eq!(s.cells.len(), 48);
    }
}
