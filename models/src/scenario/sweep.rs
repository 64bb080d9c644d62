//! The tree once for every point of the sweep.
//!
//! A swept value stays the value that stands in the array of its axis, with
//! its own place, so that a fault which shows up only at one point is reported
//! where that point was written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::Axis;
use super::check::{Check, Shape, join, shown};
use super::document::{Node, Table, find, start};
use super::fault::{Fault, Faults, quote};

/// Most points of a sweep.
const MOST_CASES: usize = 100_000;
/// Most rows of a record.
const MOST_RUNS: u64 = 10_000_000;
/// Most axes.
const MOST_AXES: usize = 16;
/// Longest label, in characters.
const LONGEST_LABEL: usize = 64;
/// As a value, takes the key away.
const ABSENT: &str = "-";

/// A sweep that can be applied to its document.
#[derive(Debug, Default)]
pub(crate) struct Sweep<'t> {
    /// The axes in the written order.
    pub(crate) axes: Vec<Axis>,
    fields: Vec<Vec<Field<'t>>>,
    paths: BTreeSet<String>,
}

/// One path and its value at each point of an axis.
#[derive(Debug)]
struct Field<'t> {
    path: String,
    /// The place of the last part of the path.
    key: Range<usize>,
    /// The place of each part of the path; those of a quoted path share one.
    parts: Vec<Range<usize>>,
    values: &'t [Node<'t>],
}

impl<'t> Sweep<'t> {
    /// Number of points; 1 without axes.
    pub(crate) fn cases(&self) -> usize {
        self.axes.iter().map(|axis| axis.labels.len()).product()
    }

    /// Whether the sweep gives a value to this path.
    pub(crate) fn provides(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// The id of a case and the document at it.
    pub(crate) fn case(&self, base: &Table<'t>, index: usize) -> (String, Table<'t>) {
        let mut tree = base.clone();
        let mut parts = Vec::with_capacity(self.axes.len());
        // The last axis runs fastest, so it is the lowest digit of the index.
        let mut rest = index;
        for (axis, fields) in self.axes.iter().zip(&self.fields).rev() {
            let point = rest % axis.labels.len();
            rest /= axis.labels.len();
            parts.push(format!("{}={}", axis.name, axis.labels[point]));
            for field in fields {
                apply(&mut tree, field, &field.values[point]);
            }
        }
        parts.reverse();
        let id = if parts.is_empty() {
            "base".to_owned()
        } else {
            parts.join(",")
        };
        (id, tree)
    }

    /// The values of each path.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &[Node<'t>]> {
        self.fields.iter().flatten().map(|field| field.values)
    }
}

fn apply<'t>(tree: &mut Table<'t>, field: &Field<'t>, value: &Node<'t>) {
    let parts: Vec<&str> = field.path.split('.').collect();
    let Some((last, parents)) = parts.split_last() else {
        return;
    };
    let mut table = tree;
    for (at, part) in parents.iter().enumerate() {
        match table.get_mut(*part).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => table = inner,
            Some(DeValue::Array(array)) if at + 1 == parents.len() => {
                if let Some(slot) = last
                    .parse()
                    .ok()
                    .and_then(|index: usize| array.get_mut(index))
                {
                    *slot = value.clone();
                }
                return;
            }
            _ => return,
        }
    }
    if is_absent(value) {
        table.remove(*last);
    } else {
        let key = Spanned::new(field.key.clone(), (*last).to_owned().into());
        table.insert(key, value.clone());
    }
}

fn is_absent(value: &Node<'_>) -> bool {
    value.get_ref().as_str() == Some(ABSENT)
}

/// Reads and checks the sweep of a document. Faults go to `faults`; what is
/// returned then is good for [`Sweep::provides`] only.
pub(crate) fn read<'t>(tree: &'t Table<'t>, faults: &mut Faults) -> Sweep<'t> {
    let Some(node) = tree.get("sweep") else {
        return Sweep::default();
    };
    let mut sweep = Sweep::default();
    let DeValue::Table(axes) = node.get_ref() else {
        let fault = Fault::new(node.span(), "`sweep` must be a table of axes", "")
            .help("write `[sweep.AXIS]` and the paths below");
        faults.push(fault);
        return sweep;
    };
    if axes.len() > MOST_AXES {
        let message = format!("the sweep has {} axes", axes.len());
        let fault = Fault::new(start(axes), message, "").help("at most 16 are allowed");
        faults.push(fault);
        return sweep;
    }
    for (name, axis) in axes {
        Check {
            faults,
            provided: &|_| false,
        }
        .name(name.get_ref(), name.span());
        let DeValue::Table(table) = axis.get_ref() else {
            let name = quote(name.get_ref());
            let message = format!("the axis `{name}` must be a table");
            let fault = Fault::new(axis.span(), message, "")
                .help(format!("write `[sweep.{name}]` and the paths below"));
            faults.push(fault);
            continue;
        };
        if let Some((axis, fields)) = read_axis(tree, name, axis.span(), table, faults) {
            sweep.axes.push(axis);
            sweep
                .paths
                .extend(fields.iter().map(|field: &Field<'_>| field.path.clone()));
            sweep.fields.push(fields);
        }
    }
    overlaps(&sweep, faults);
    counts(tree, &sweep, node.span(), faults);
    sweep
}

fn read_axis<'t>(
    tree: &Table<'t>,
    name: &Spanned<toml::de::DeString<'t>>,
    span: Range<usize>,
    table: &'t Table<'t>,
    faults: &mut Faults,
) -> Option<(Axis, Vec<Field<'t>>)> {
    let mut fields = Vec::new();
    for (key, node) in table {
        if key.get_ref() != "label" {
            collect("", &[], key, node, &mut fields, faults);
        }
    }
    let Some(first) = fields.first() else {
        let message = format!("the axis `{}` sweeps nothing", quote(name.get_ref()));
        let fault = Fault::new(span, message, "no path here").help(
            "add the path of a value and an array, such as `link.wan.rtt = [\"10ms\", \"20ms\"]`",
        );
        faults.push(fault);
        return None;
    };
    let points = first.values.len();
    for field in &fields {
        if field.values.len() == points {
            field_values(tree, field, faults);
        } else {
            let message = format!(
                "`{}` has {} values, but `{}` has {points}",
                quote(&field.path),
                field.values.len(),
                quote(&first.path)
            );
            let fault = Fault::new(field.key.clone(), message, "")
                .related(first.key.clone(), format!("{points} values"))
                .help("all arrays of an axis have the same length; a second axis multiplies");
            faults.push(fault);
        }
    }
    if points == 0 {
        let fault = Fault::new(
            first.key.clone(),
            "an axis without points",
            "the array is empty",
        );
        faults.push(fault.help("give at least one value"));
        return None;
    }
    let labels = match table.get("label") {
        Some(node) => written_labels(node, points, faults),
        None => first_labels(first, faults),
    };
    Some((
        Axis {
            name: name.get_ref().to_string(),
            labels: labels?,
        },
        fields,
    ))
}

/// Finds the arrays of an axis: `link.wan.rtt = […]` is a table of tables to
/// TOML, and the same as `"link.wan.rtt" = […]` to us.
fn collect<'t>(
    path: &str,
    parts: &[Range<usize>],
    key: &Spanned<toml::de::DeString<'t>>,
    node: &'t Node<'t>,
    fields: &mut Vec<Field<'t>>,
    faults: &mut Faults,
) {
    let path = join(path, key.get_ref());
    let of_key = key.get_ref().split('.').map(|_| key.span());
    let parts: Vec<Range<usize>> = parts.iter().cloned().chain(of_key).collect();
    match node.get_ref() {
        DeValue::Array(values) => fields.push(Field {
            path,
            key: key.span(),
            parts,
            values,
        }),
        DeValue::Table(table) if !table.is_empty() => {
            for (key, node) in table {
                collect(&path, &parts, key, node, fields, faults);
            }
        }
        _ => {
            let message = format!("{} must be an array of values", shown(&path));
            let fault = Fault::new(node.span(), message, "")
                .help("an axis gives an array with one value a point");
            faults.push(fault);
        }
    }
}

/// Checks the path of a field, and its values where the path is good.
fn field_values(tree: &Table<'_>, field: &Field<'_>, faults: &mut Faults) {
    let Some((parent, shape)) = field_shape(tree, field, faults) else {
        return;
    };
    let last = field.path.rsplit('.').next().unwrap_or_default();
    for value in field.values {
        if !is_absent(value) {
            Check {
                faults,
                provided: &|_| false,
            }
            .value(value, shape, &field.path);
        } else if parent.requires(last) || last.parse::<usize>().is_ok() {
            let message = format!(
                "\"-\" takes {} away, which must be there",
                shown(&field.path)
            );
            let fault = Fault::new(value.span(), message, "").help("give a value at every point");
            faults.push(fault);
        }
    }
}

/// The shapes of the table around a swept value and of the value.
fn field_shape(tree: &Table<'_>, field: &Field<'_>, faults: &mut Faults) -> Option<(Shape, Shape)> {
    let parts: Vec<&str> = field.path.split('.').collect();
    if matches!(
        parts[0],
        "sweep" | "expect" | "tolerance" | "name" | "description" | "seed" | "replications"
    ) {
        let fault = Fault::new(
            field.key.clone(),
            format!("`{}` cannot be swept", parts[0]),
            "",
        )
        .help("it belongs to the whole scenario and not to a case");
        faults.push(fault);
        return None;
    }
    let mut shapes = (Shape::root(), Shape::root());
    for depth in 0..parts.len() {
        let child = step(tree, &parts, depth, shapes.1, field, faults)?;
        shapes = (shapes.1, child);
    }
    Some(shapes)
}

/// The shape of a part of a path below `shape`, or a fault.
fn step(
    tree: &Table<'_>,
    parts: &[&str],
    depth: usize,
    shape: Shape,
    field: &Field<'_>,
    faults: &mut Faults,
) -> Option<Shape> {
    let (parent, part) = (&parts[..depth], parts[depth]);
    let span = |depth: usize| field.parts.get(depth).unwrap_or(&field.key).clone();
    let around = find(tree, parent).map(Spanned::get_ref);
    let exists = match around {
        Some(DeValue::Table(_)) => true,
        Some(DeValue::Array(array)) => part.parse().is_ok_and(|index: usize| index < array.len()),
        _ => depth == 0,
    };
    if !exists {
        let parent = quote(&parent.join("."));
        let message = format!("`{parent}` is no table of this scenario");
        let help = format!("add `[{parent}]`: a sweep adds keys only to tables that are there");
        faults.push(Fault::new(span(depth - 1), message, "").help(help));
        return None;
    }
    // A name in the middle of a path must be there; a last one would be a new entry.
    let is_last = depth + 1 == parts.len();
    let named = matches!(shape, Shape::Named(_));
    let known = match around {
        Some(DeValue::Table(table)) if named && !is_last && !table.contains_key(part) => {
            table.keys().map(|key| key.get_ref().as_ref()).collect()
        }
        _ => match shape.child(part) {
            Ok(child) => return Some(child),
            Err(known) => known,
        },
    };
    let nouns = if named { "entries" } else { "keys" };
    let help = faults.did_you_mean(part, known, nouns);
    let place = match depth {
        0 => "the scenario".to_owned(),
        _ => shown(&parent.join(".")),
    };
    let part = quote(part);
    let message = format!(
        "{} leads nowhere: {place} has no `{part}`",
        shown(&field.path)
    );
    faults.push(Fault::new(span(depth), message, "").help(help));
    None
}

fn written_labels(node: &Node<'_>, points: usize, faults: &mut Faults) -> Option<Vec<String>> {
    let Some(array) = node.get_ref().as_array() else {
        let fault = Fault::new(node.span(), "`label` must be an array of texts", "");
        faults.push(fault.help("give one label a point, such as `label = [\"near\", \"far\"]`"));
        return None;
    };
    if array.len() != points {
        let message = format!("there are {} labels for {points} points", array.len());
        faults.push(Fault::new(node.span(), message, "").help("give one label a point"));
        return None;
    }
    let mut labels = Vec::with_capacity(points);
    for item in array {
        let Some(label) = item.get_ref().as_str() else {
            let fault = Fault::new(item.span(), "a label must be a text", "");
            faults.push(fault.help("put it into quotes"));
            return None;
        };
        labels.push((label.to_owned(), item.span()));
    }
    fit_labels(labels, faults)
}

/// The values of the first path as labels.
fn first_labels(field: &Field<'_>, faults: &mut Faults) -> Option<Vec<String>> {
    let mut labels = Vec::with_capacity(field.values.len());
    for value in field.values {
        let label = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(value) => value.to_string(),
            _ => {
                let fault = Fault::new(value.span(), "this value cannot name its point", "");
                faults.push(fault.help("add `label = [\"…\", …]` to the axis"));
                return None;
            }
        };
        labels.push((label, value.span()));
    }
    fit_labels(labels, faults)
}

/// Labels become part of case ids, `axis=label,axis=label`.
fn fit_labels(labels: Vec<(String, Range<usize>)>, faults: &mut Faults) -> Option<Vec<String>> {
    let mut seen: BTreeMap<&str, &Range<usize>> = BTreeMap::new();
    let mut good = true;
    for (label, span) in &labels {
        let odd = label
            .chars()
            .find(|c| matches!(c, ',' | '=') || c.is_control());
        let message = if label.is_empty() {
            "a label is empty".to_owned()
        } else if label.chars().count() > LONGEST_LABEL {
            "a label is longer than 64 characters".to_owned()
        } else if let Some(odd) = odd {
            format!("a label contains {odd:?}")
        } else if let Some(first) = seen.insert(label, span) {
            let fault = Fault::new(
                span.clone(),
                format!("two points are labelled `{}`", quote(label)),
                "the second one",
            )
            .related(first.clone(), "the first one")
            .help("give every point its own `label`");
            faults.push(fault);
            good = false;
            continue;
        } else {
            continue;
        };
        let fault = Fault::new(span.clone(), message, "");
        faults.push(fault.help(
            "labels stand in case ids such as `rtt=20ms,method=diff`; choose a short `label`",
        ));
        good = false;
    }
    good.then(|| labels.into_iter().map(|(label, _)| label).collect())
}

/// Two paths of which one contains the other would make the order count.
fn overlaps(sweep: &Sweep<'_>, faults: &mut Faults) {
    let mut paths: Vec<(Vec<&str>, &Field<'_>)> = sweep
        .fields
        .iter()
        .flatten()
        .map(|field| (field.path.split('.').collect(), field))
        .collect();
    paths.sort_by(|(a, x), (b, y)| a.cmp(b).then(x.key.start.cmp(&y.key.start)));
    for pair in paths.windows(2) {
        let [(outer, first), (inner, second)] = pair else {
            continue;
        };
        if inner.starts_with(outer) {
            let message = format!("{} is swept twice", shown(&second.path));
            let fault = Fault::new(second.key.clone(), message, "again here")
                .related(
                    first.key.clone(),
                    format!("{} is swept here", shown(&first.path)),
                )
                .help("sweep a value in one axis only");
            faults.push(fault);
        }
    }
}

/// Bounds the work that a short file can ask for.
fn counts(tree: &Table<'_>, sweep: &Sweep<'_>, span: Range<usize>, faults: &mut Faults) {
    let cases = sweep
        .axes
        .iter()
        .try_fold(1_usize, |product, axis| {
            product.checked_mul(axis.labels.len())
        })
        .unwrap_or(usize::MAX);
    if cases > MOST_CASES {
        let sizes: Vec<String> = sweep
            .axes
            .iter()
            .map(|axis| axis.labels.len().to_string())
            .collect();
        let message = format!("the sweep has {} cases", sizes.join(" × "));
        let fault = Fault::new(span, message, "").help("at most 100,000 are allowed");
        faults.push(fault);
        return;
    }
    let Some(count) = find(tree, &["replications", "count"]) else {
        return;
    };
    let number = count
        .get_ref()
        .as_integer()
        .and_then(|number| number.as_str().parse::<u64>().ok());
    if number.is_some_and(|number| number.saturating_mul(cases as u64) > MOST_RUNS) {
        let message = format!(
            "{} replications of {cases} cases are too many",
            number.unwrap_or(0)
        );
        let fault = Fault::new(count.span(), message, "");
        faults.push(fault.help("replications times cases may be at most 10,000,000"));
    }
}
