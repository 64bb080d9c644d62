//! Tolerances: how far a measurement may be from the simulation.

use serde::Deserialize;
use toml::Value;

use super::Tolerance;
use super::document::{Node, Table, find};
use super::fault::{Fault, Faults, quote};
use super::file::ToleranceFile;
use crate::record::{MEASURES, Measure};
use crate::units::{BIT_RATE, DURATION, Kind, SIZE};

/// Checks the tolerances of a document.
pub(crate) fn read(tree: &Table<'_>, faults: &mut Faults) -> Vec<Tolerance> {
    let Some(table) = find(tree, &["tolerance"]).and_then(|node| node.get_ref().as_table()) else {
        return Vec::new();
    };
    let mut tolerances = Vec::with_capacity(table.len());
    for (key, node) in table {
        let Some(measure) = Measure::by_name(key.get_ref()) else {
            let names = MEASURES.iter().map(|info| info.name);
            let help = faults.did_you_mean(key.get_ref(), names, "measures");
            let message = format!("there is no measure `{}` to tolerate", quote(key.get_ref()));
            faults.push(Fault::new(key.span(), message, "not a column of the record").help(help));
            continue;
        };
        match tolerance(measure, node) {
            Ok(tolerance) => tolerances.push(tolerance),
            Err(fault) => faults.push(fault),
        }
    }
    tolerances.sort_by_key(|tolerance| tolerance.measure);
    tolerances
}

fn tolerance(measure: Measure, node: &Node<'_>) -> Result<Tolerance, Fault> {
    let deserializer = toml::de::ValueDeserializer::from(node.clone());
    let file = ToleranceFile::deserialize(deserializer)
        .map_err(|error| Fault::new(error.span().unwrap_or(node.span()), error.message(), ""))?;
    let name = measure.info().name;
    if file.relative.is_none() && file.absolute.is_none() {
        let message = format!("the tolerance of `{name}` has no bound");
        let help = "add `relative = 0.05`, or `absolute` in the unit of the measure, or both";
        return Err(Fault::new(node.span(), message, "").help(help));
    }
    let absolute = file.absolute.map(|value| {
        distance(measure, &value).map_err(|(message, help)| {
            let table = node.get_ref().as_table();
            let span = table.and_then(|table| table.get("absolute"));
            let span = span.map_or(node.span(), toml::Spanned::span);
            Fault::new(span, format!("`tolerance.{name}.absolute`: {message}"), "").help(help)
        })
    });
    Ok(Tolerance {
        measure,
        relative: file.relative,
        absolute: absolute.transpose()?,
    })
}

/// A distance in the unit of the measure, or what is wrong and how to mend it.
fn distance(measure: Measure, value: &Value) -> Result<f64, (String, String)> {
    let unit = measure.info().unit;
    let kind = kind(unit);
    let wanted = kind.map_or_else(String::new, |(kind, _)| format!(" or {}", kind.wanted()));
    let number = match (value, kind) {
        (Value::Integer(number), _) => *number as f64,
        (Value::Float(number), _) => *number,
        (Value::String(text), Some((kind, smallest))) => {
            let read = kind
                .read(text)
                .map_err(|error| (error.message, error.help))?;
            return Ok(read as f64 / smallest);
        }
        _ => {
            let message = format!("expected a number in the unit of the measure ({unit}){wanted}");
            return Err((message, "as in `absolute = 2`".to_owned()));
        }
    };
    if number.is_finite() && number >= 0.0 {
        return Ok(number);
    }
    Err((
        format!("{number} is no distance"),
        format!("give a number from 0, in the unit of the measure ({unit}){wanted}"),
    ))
}

/// The kind of quantity with this unit in the record, and how many of its
/// smallest unit make one of the record's.
fn kind(unit: &str) -> Option<(&'static Kind, f64)> {
    match unit {
        "ms" => Some((&DURATION, 1e6)),
        "byte" => Some((&SIZE, 1.0)),
        "Mbit/s" => Some((&BIT_RATE, 1e6)),
        _ => None,
    }
}
