//! Expectations: that what they look at exists, and that they bound it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::document::{Node, Table, find, place};
use super::fault::{Fault, Faults, quote};
use super::file::{AlongFile, ExpectFile, QuantityFile};
use super::{Axis, Expectation};
use crate::record::{MEASURES, Measure};

/// Checks the expectations of a document against the cases of its sweep.
pub(crate) fn read(
    tree: &Table<'_>,
    axes: &[Axis],
    ids: &BTreeSet<&str>,
    faults: &mut Faults,
) -> Vec<Expectation> {
    let Some(array) = find(tree, &["expect"]).and_then(|node| node.get_ref().as_array()) else {
        return Vec::new();
    };
    let mut expectations = Vec::with_capacity(array.len());
    for (index, node) in array.iter().enumerate() {
        let file = match parse(node) {
            Ok(file) => file,
            Err(error) => {
                faults.push(Fault::new(
                    error.span().unwrap_or(node.span()),
                    error.message(),
                    "",
                ));
                continue;
            }
        };
        let index = index.to_string();
        let mut check = CheckOne {
            tree,
            axes,
            ids,
            faults,
            index: &index,
        };
        check.quantity(&file.quantity);
        let (min, max) = check.bounds(&file);
        expectations.push(Expectation {
            claim: file.claim,
            source: file.source,
            basis: file.basis,
            quantity: file.quantity,
            published: file.equals,
            min,
            max,
        });
    }
    expectations
}

fn parse(node: &Node<'_>) -> Result<ExpectFile, toml::de::Error> {
    ExpectFile::deserialize(toml::de::ValueDeserializer::from(node.clone()))
}

struct CheckOne<'a, 't> {
    tree: &'a Table<'t>,
    axes: &'a [Axis],
    ids: &'a BTreeSet<&'a str>,
    faults: &'a mut Faults,
    index: &'a str,
}

impl CheckOne<'_, '_> {
    /// The place of a key of this expectation.
    fn span(&self, path: &[&str]) -> std::ops::Range<usize> {
        let full: Vec<&str> = ["expect", self.index].iter().chain(path).copied().collect();
        place(self.tree, &full)
    }

    fn quantity(&mut self, quantity: &QuantityFile) {
        let tag = match quantity {
            QuantityFile::Value(_) => "value",
            QuantityFile::Ratio(_) => "ratio",
            QuantityFile::Difference(_) => "difference",
            QuantityFile::Loss(_) => "loss",
            QuantityFile::Crossover(_) => "crossover",
            QuantityFile::Linearity(_) => "linearity",
            QuantityFile::LargestRise(_) => "largest_rise",
        };
        match quantity {
            QuantityFile::Value(value) => {
                self.measure(tag, &value.measure);
                self.case(tag, "case", &value.case);
            }
            QuantityFile::Ratio(pair)
            | QuantityFile::Difference(pair)
            | QuantityFile::Loss(pair) => {
                self.measure(tag, &pair.measure);
                self.case(tag, "case", &pair.case);
                self.case(tag, "to", &pair.to);
                if pair.case == pair.to {
                    let span = self.span(&["quantity", tag, "to"]);
                    let fault =
                        Fault::new(span, "a case is compared with itself", "the same as `case`");
                    self.faults.push(fault.help("name two different cases"));
                }
            }
            QuantityFile::Crossover(along)
            | QuantityFile::Linearity(along)
            | QuantityFile::LargestRise(along) => {
                self.measure(tag, &along.measure);
                self.along(tag, along);
                if tag == "crossover" && along.to.is_none() {
                    let span = self.span(&["quantity", tag]);
                    let fault = Fault::new(span, "a crossover needs two cases", "`to` is missing");
                    self.faults
                        .push(fault.help("add `to`: the cases that `case` gets below"));
                }
            }
        }
    }

    fn measure(&mut self, tag: &str, name: &str) {
        if Measure::by_name(name).is_none() {
            let span = self.span(&["quantity", tag, "measure"]);
            let names = MEASURES.iter().map(|info| info.name);
            let help = self.faults.did_you_mean(name, names, "measures");
            let message = format!("there is no measure `{}`", quote(name));
            self.faults
                .push(Fault::new(span, message, "not a column of the record").help(help));
        }
    }

    fn case(&mut self, tag: &str, key: &str, id: &str) {
        if self.ids.contains(id) {
            return;
        }
        let span = self.span(&["quantity", tag, key]);
        // Of thousands of cases the near ones are a matter of the labels.
        let near = self.faults.suggest(id, self.ids.iter().copied().take(1000));
        let help = match (near, self.ids.first()) {
            (_, Some(first)) if id == "base" => format!("add, for example, `{key} = \"{first}\"`"),
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(first)) => format!("a case is named like `{first}`"),
            (None, None) => return,
        };
        let message = if id == "base" {
            "the scenario has a sweep, so there is no case `base`".to_owned()
        } else {
            format!("there is no case `{}`", quote(id))
        };
        self.faults.push(Fault::new(span, message, "").help(help));
    }

    fn along(&mut self, tag: &str, along: &AlongFile) {
        let Some(axis) = self.axes.iter().find(|axis| axis.name == along.axis) else {
            let span = self.span(&["quantity", tag, "axis"]);
            let names = self.axes.iter().map(|axis| axis.name.as_str());
            let help = self.faults.did_you_mean(&along.axis, names, "axes");
            let message = format!("the sweep has no axis `{}`", quote(&along.axis));
            self.faults.push(Fault::new(span, message, "").help(help));
            return;
        };
        let first = along
            .from
            .as_ref()
            .and_then(|from| axis.labels.iter().position(|l| l == from));
        let used = &axis.labels[first.unwrap_or(0)..];
        if let Some(label) = used
            .iter()
            .find(|label| !label.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
        {
            let span = self.span(&["quantity", tag, "axis"]);
            let message = format!(
                "the label `{}` of axis `{}` is no number",
                quote(label),
                axis.name
            );
            let help = "what runs along an axis needs numbers as labels, such as `20ms` or `4`";
            self.faults.push(Fault::new(span, message, "").help(help));
        }
        self.others(tag, "case", axis, &along.case);
        if let Some(to) = &along.to {
            self.others(tag, "to", axis, to);
        }
        if let Some(from) = &along.from
            && !axis.labels.contains(from)
        {
            let span = self.span(&["quantity", tag, "from"]);
            let labels = axis.labels.iter().map(String::as_str);
            let help = self.faults.did_you_mean(from, labels, "labels");
            let message = format!("the axis `{}` has no point `{}`", axis.name, quote(from));
            self.faults.push(Fault::new(span, message, "").help(help));
        }
    }

    /// Checks that `id` names one label of every axis but `along`.
    fn others(&mut self, tag: &str, key: &str, along: &Axis, id: &str) {
        let others: Vec<&Axis> = self
            .axes
            .iter()
            .filter(|axis| axis.name != along.name)
            .collect();
        let parts: Vec<&str> = if id.is_empty() {
            Vec::new()
        } else {
            id.split(',').collect()
        };
        let picks = |part: &&str, axis: &&&Axis| {
            part.split_once('=').is_some_and(|(name, label)| {
                name == axis.name && axis.labels.iter().any(|known| known == label)
            })
        };
        let fits = parts.len() == others.len()
            && others
                .iter()
                .all(|axis| parts.iter().any(|part| picks(part, &axis)));
        if fits {
            return;
        }
        let span = self.span(&["quantity", tag, key]);
        let example: Vec<String> = others
            .iter()
            .map(|axis| format!("{}={}", axis.name, axis.labels[0]))
            .collect();
        let fault = if others.is_empty() {
            let message = format!(
                "`{}` is the only axis, so `{key}` picks nothing",
                along.name
            );
            Fault::new(span, message, "").help(format!("remove `{key}`"))
        } else {
            let message = format!("`{key}` does not pick one point of every other axis");
            Fault::new(span, message, "").help(format!(
                "write `{key} = \"{}\"` or another point",
                example.join(",")
            ))
        };
        self.faults.push(fault);
    }

    /// The interval that the expectation allows.
    fn bounds(&mut self, file: &ExpectFile) -> (Option<f64>, Option<f64>) {
        let distance = match (file.equals, file.within, file.within_percent) {
            (None, None, None) => None,
            (Some(_), Some(within), None) => Some(within),
            (Some(equals), None, Some(percent)) => Some(equals.abs() * percent / 100.0),
            (Some(_), None, None) => {
                self.bound_fault(
                    "equals",
                    "`equals` does not say how close",
                    "add `within` or `within_percent`",
                );
                None
            }
            (None, within, _) => {
                let key = if within.is_some() {
                    "within"
                } else {
                    "within_percent"
                };
                self.bound_fault(key, &format!("`{key}` of what?"), "add `equals`");
                None
            }
            (Some(_), Some(_), Some(_)) => {
                let problem = "`within` and `within_percent` exclude each other";
                self.bound_fault("within_percent", problem, "remove one of them");
                None
            }
        };
        if file.equals.is_none()
            && file.min.is_none()
            && file.max.is_none()
            && file.within.is_none()
            && file.within_percent.is_none()
        {
            let help = "add `equals` with `within` or `within_percent`, or `min`, or `max`";
            self.bound_fault("", "the expectation allows every value", help);
        }
        let low = file
            .equals
            .zip(distance)
            .map(|(equals, distance)| equals - distance);
        let high = file
            .equals
            .zip(distance)
            .map(|(equals, distance)| equals + distance);
        // `None` is smaller than any number to `Option`, so take the tighter one by hand.
        let min = [low, file.min].into_iter().flatten().reduce(f64::max);
        let max = [high, file.max].into_iter().flatten().reduce(f64::min);
        if let (Some(low), Some(high)) = (min, max)
            && low > high
        {
            let key = if file.max.is_some() { "max" } else { "min" };
            self.bound_fault(
                key,
                "the expectation allows no value",
                "the smallest value allowed is above the largest",
            );
        }
        (min, max)
    }

    fn bound_fault(&mut self, key: &str, message: &str, help: &str) {
        let span = if key.is_empty() {
            self.span(&[])
        } else {
            self.span(&[key])
        };
        self.faults.push(Fault::new(span, message, "").help(help));
    }
}
