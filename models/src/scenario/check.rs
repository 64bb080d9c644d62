//! The tree against the JSON Schema of the format.
//!
//! serde stops at the first fault and cannot say "did you mean". The schema
//! that schemars makes of the same types knows every key, range and word, so
//! this file walks the tree against it and reports all faults of structure. It
//! understands the part of draft-07 that schemars writes for [`super::file`],
//! and no more.

use std::ops::Range;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::DeValue;

use super::document::{Node, Table, start};
use super::fault::{Fault, Faults, LONGEST_NAME, quote};
use crate::units::Kind;

/// Most entries of one kind, and most values in one list.
const MOST_ENTRIES: usize = 10_000;

/// The JSON Schema of the scenario format (draft-07).
pub fn schema() -> Value {
    static_schema().clone()
}

fn static_schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        schemars::generate::SchemaSettings::draft07()
            .into_generator()
            .into_root_schema_for::<super::file::ScenarioFile>()
            .to_value()
    })
}

/// What the schema says about one value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A table with known keys.
    Table(&'static Map<String, Value>),
    /// A table of named entries of one shape.
    Named(&'static Value),
    /// One of several words or tables with one key.
    Choice(&'static [Value]),
    /// A text.
    Text,
    /// A quantity with a unit.
    Quantity(&'static Kind),
    /// One of several words.
    Words(&'static [Value]),
    /// A whole number.
    Integer(&'static Map<String, Value>),
    /// A number.
    Number(&'static Map<String, Value>),
    /// `true` or `false`.
    Boolean,
    /// A list of values of one shape.
    List(&'static Map<String, Value>),
    /// Anything.
    Any,
}

impl Shape {
    /// The shape of the whole document.
    pub(crate) fn root() -> Self {
        Self::of(static_schema())
    }

    fn of(schema: &'static Value) -> Self {
        let Some(schema) = resolve(schema).as_object() else {
            return Self::Any;
        };
        if let Some(choice) = schema.get("oneOf").and_then(Value::as_array) {
            return Self::Choice(choice);
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return Self::Words(words);
        }
        match type_of(schema) {
            "object" => match schema.get("additionalProperties") {
                Some(entry) if entry.is_object() => Self::Named(entry),
                _ if schema.contains_key("properties") => Self::Table(schema),
                _ => Self::Any,
            },
            "string" => {
                let format = schema.get("format").and_then(Value::as_str);
                format
                    .and_then(Kind::by_format)
                    .map_or(Self::Text, Self::Quantity)
            }
            "integer" => Self::Integer(schema),
            "number" => Self::Number(schema),
            "boolean" => Self::Boolean,
            "array" => Self::List(schema),
            _ => Self::Any,
        }
    }

    /// The shape of the value with this key, and the keys that there are.
    pub(crate) fn child(self, key: &str) -> Result<Self, Vec<&'static str>> {
        match self {
            Self::Table(table) => match properties(table).and_then(|keys| keys.get(key)) {
                Some(child) => Ok(Self::of(child)),
                None => Err(keys(table)),
            },
            Self::Named(entry) => Ok(Self::of(entry)),
            Self::Choice(choice) => {
                let tables = || choice.iter().filter_map(tagged);
                match tables().find(|(tag, _)| *tag == key) {
                    Some((_, child)) => Ok(Self::of(child)),
                    None => Err(tables().map(|(tag, _)| tag).collect()),
                }
            }
            Self::List(list) if key.parse::<usize>().is_ok() => {
                Ok(list.get("items").map_or(Self::Any, Self::of))
            }
            _ => Err(Vec::new()),
        }
    }

    /// Whether a table of this shape must have this key.
    pub(crate) fn requires(self, key: &str) -> bool {
        match self {
            Self::Table(table) => required(table).any(|needed| needed == key),
            _ => false,
        }
    }

    /// The shape in words: `a duration such as "20ms"`.
    fn wanted(self) -> String {
        match self {
            Self::Table(_) => "a table".into(),
            Self::Named(_) => "a table of named entries".into(),
            Self::Choice(choice) => {
                let words: Vec<String> = choice.iter().filter_map(word).map(quoted_word).collect();
                let tables: Vec<String> = choice
                    .iter()
                    .filter_map(tagged)
                    .map(|(tag, _)| format!("`{tag}`"))
                    .collect();
                match (words.is_empty(), tables.is_empty()) {
                    (false, true) => format!("one of {}", words.join(", ")),
                    (true, _) => format!("a table with one of the keys {}", tables.join(", ")),
                    _ => format!(
                        "{} or a table with {}",
                        words.join(", "),
                        tables.join(" or ")
                    ),
                }
            }
            Self::Text => "a text".into(),
            Self::Quantity(kind) => kind.wanted(),
            Self::Words(words) => {
                let words: Vec<String> = words
                    .iter()
                    .filter_map(Value::as_str)
                    .map(quoted_word)
                    .collect();
                format!("one of {}", words.join(", "))
            }
            Self::Integer(_) => "a whole number".into(),
            Self::Number(_) => "a number".into(),
            Self::Boolean => "true or false".into(),
            Self::List(list) => match exact_length(list) {
                Some(length) => format!("an array of {length} values"),
                None => "an array".into(),
            },
            Self::Any => "a value".into(),
        }
    }
}

/// Follows references and looks through the wrappers schemars puts around a
/// reference with a description and around an optional value.
fn resolve(mut schema: &'static Value) -> &'static Value {
    loop {
        let inner = if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            reference
                .strip_prefix('#')
                .and_then(|pointer| static_pointer(pointer))
        } else if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            all.first()
        } else if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
            any.iter()
                .find(|one| one.get("type").and_then(Value::as_str) != Some("null"))
        } else {
            None
        };
        match inner {
            Some(inner) => schema = inner,
            None => return schema,
        }
    }
}

fn static_pointer(pointer: &str) -> Option<&'static Value> {
    static_schema().pointer(pointer)
}

fn type_of(schema: &'static Map<String, Value>) -> &'static str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        // An optional value: `["number", "null"]`.
        Some(Value::Array(names)) => names.first().and_then(Value::as_str).unwrap_or_default(),
        _ => "",
    }
}

fn properties(table: &'static Map<String, Value>) -> Option<&'static Map<String, Value>> {
    table.get("properties").and_then(Value::as_object)
}

fn keys(table: &'static Map<String, Value>) -> Vec<&'static str> {
    properties(table)
        .into_iter()
        .flat_map(|keys| keys.keys().map(String::as_str))
        .collect()
}

fn required(table: &'static Map<String, Value>) -> impl Iterator<Item = &'static str> {
    let names = table.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

/// The key and the content of a choice that is a table.
fn tagged(choice: &'static Value) -> Option<(&'static str, &'static Value)> {
    let (tag, content) = choice.get("properties")?.as_object()?.iter().next()?;
    Some((tag, content))
}

/// A choice that is a word.
fn word(choice: &'static Value) -> Option<&'static str> {
    choice.get("const").and_then(Value::as_str)
}

fn quoted_word(word: &str) -> String {
    format!("\"{word}\"")
}

/// Walks a tree and reports.
pub(crate) struct Check<'f> {
    /// Where faults go.
    pub(crate) faults: &'f mut Faults,
    /// Whether something else provides the key that is missing at a path.
    pub(crate) provided: &'f dyn Fn(&str) -> bool,
}

impl Check<'_> {
    /// Checks the whole document but for `sweep`, which is checked apart.
    pub(crate) fn document(&mut self, tree: &Table<'_>) {
        if let Shape::Table(shape) = Shape::root() {
            self.table(tree, shape, start(tree), "");
        }
        if let Some(name) = tree.get("name")
            && let Some(text) = name.get_ref().as_str()
        {
            self.name(text, name.span());
        }
    }

    /// Checks one value; `path` is for messages and for `provided`.
    pub(crate) fn value(&mut self, node: &Node<'_>, shape: Shape, path: &str) {
        if self.faults.is_full() {
            return;
        }
        match (shape, node.get_ref()) {
            (Shape::Any, _)
            | (Shape::Text, DeValue::String(_))
            | (Shape::Boolean, DeValue::Boolean(_)) => {}
            (Shape::Table(shape), DeValue::Table(table)) => {
                self.table(table, shape, node.span(), path);
            }
            (Shape::Named(entry), DeValue::Table(table)) => self.named(table, entry, path),
            (Shape::Choice(choice), _) => self.choice(node, choice, path),
            (Shape::Quantity(kind), DeValue::String(text)) => {
                if let Err(error) = kind.read(text) {
                    let label = format!("expected {}", kind.noun);
                    let fault = Fault::new(
                        node.span(),
                        format!("{}: {}", shown(path), error.message),
                        label,
                    );
                    self.faults.push(fault.help(error.help));
                }
            }
            (Shape::Words(words), DeValue::String(text)) => {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                if !words.contains(&text.as_ref()) {
                    self.unknown_word(node.span(), text, &words, path);
                }
            }
            (Shape::Integer(limits), DeValue::Integer(number)) => {
                let value = i128::from_str_radix(number.as_str(), number.radix());
                self.integer(node.span(), value.unwrap_or(i128::MAX), limits, path);
            }
            (Shape::Number(limits), DeValue::Integer(number)) => {
                let value = i128::from_str_radix(number.as_str(), number.radix());
                // TOML integers have 64 bits; what serde would refuse is out of range here.
                let value = value.ok().filter(|value| i64::try_from(*value).is_ok());
                self.number(
                    node.span(),
                    value.map_or(f64::INFINITY, |v| v as f64),
                    limits,
                    path,
                );
            }
            (Shape::Number(limits), DeValue::Float(number)) => {
                let value = number.as_str().parse().unwrap_or(f64::NAN);
                self.number(node.span(), value, limits, path);
            }
            (Shape::List(list), DeValue::Array(array)) => self.list(node.span(), array, list, path),
            _ => self.wrong_type(node, shape, path),
        }
    }

    fn table(
        &mut self,
        table: &Table<'_>,
        shape: &'static Map<String, Value>,
        span: Range<usize>,
        path: &str,
    ) {
        let known = properties(shape);
        let mut unknown: Vec<&str> = Vec::new();
        for (key, node) in table {
            match known.and_then(|known| known.get(key.get_ref().as_ref())) {
                // `sweep` has its own file.
                Some(_) if path.is_empty() && key.get_ref() == "sweep" => {}
                Some(child) => self.value(node, Shape::of(child), &join(path, key.get_ref())),
                None => {
                    unknown.push(key.get_ref());
                    let keys = keys(shape);
                    self.unknown_key(key, &keys, path);
                }
            }
            if self.faults.is_full() {
                return;
            }
        }
        for key in required(shape) {
            if table.contains_key(key) || (self.provided)(&join(path, key)) {
                continue;
            }
            // A misspelt key has been reported, and is what is missing here.
            if unknown
                .iter()
                .any(|word| self.faults.suggest(word, [key]).is_some())
            {
                continue;
            }
            let place = if path.is_empty() {
                "the scenario".into()
            } else {
                shown(path)
            };
            let meaning = known
                .and_then(|known| known.get(key))
                .map(meaning)
                .unwrap_or_default();
            let fault = Fault::new(
                span.clone(),
                format!("{place} has no `{key}`"),
                format!("`{key}` is missing"),
            );
            self.faults
                .push(fault.help(format!("add `{key}`: {meaning}")));
        }
    }

    fn named(&mut self, table: &Table<'_>, entry: &'static Value, path: &str) {
        if table.len() > MOST_ENTRIES {
            let span = start(table);
            let message = format!("{} has {} entries", shown(path), table.len());
            self.faults
                .push(Fault::new(span, message, "").help("at most 10,000 are allowed"));
            return;
        }
        for (key, node) in table {
            let shape = Shape::of(entry);
            // `[link] rate = "1 Gbit/s"`: the name was left out.
            if let (Shape::Table(fields), false) = (shape, node.get_ref().is_table())
                && properties(fields).is_some_and(|keys| keys.contains_key(key.get_ref().as_ref()))
            {
                let (key, span) = (key.get_ref(), key.span());
                let fault = Fault::new(
                    span,
                    format!("`{key}` stands directly in {}", shown(path)),
                    "",
                )
                .help(format!(
                    "every entry has a name: put the keys under `[{path}.NAME]`"
                ));
                self.faults.push(fault);
                // One for all keys of the table.
                return;
            }
            self.name(key.get_ref(), key.span());
            self.value(node, shape, &join(path, key.get_ref()));
            if self.faults.is_full() {
                return;
            }
        }
    }

    /// Checks a name that people choose.
    pub(crate) fn name(&mut self, name: &str, span: Range<usize>) {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let fault = if name.is_empty() {
            Fault::new(span, "a name is empty", "")
        } else if name.len() > LONGEST_NAME {
            Fault::new(
                span,
                format!("the name `{}` is longer than 64 characters", quote(name)),
                "",
            )
        } else if let Some(odd) = name.chars().find(|c| !fits(*c)) {
            Fault::new(
                span,
                format!("the name `{}` contains {odd:?}", quote(name)),
                "",
            )
        } else {
            return;
        };
        self.faults
            .push(fault.help("names are made of ASCII letters, digits, `-` and `_`"));
    }

    fn choice(&mut self, node: &Node<'_>, choice: &'static [Value], path: &str) {
        let shape = Shape::Choice(choice);
        let words = || choice.iter().filter_map(word);
        let tables = || choice.iter().filter_map(tagged);
        match node.get_ref() {
            DeValue::String(text) if words().any(|word| word == text) => {}
            DeValue::String(text) => match tables().find(|(tag, _)| tag == text) {
                Some((tag, _)) => {
                    let message = format!("{} must be a table, not a text", shown(path));
                    let fault = Fault::new(node.span(), message, "expected a table").help(format!(
                        "write `{{ {tag} = {{ … }} }}`; without keys, `{tag} = {{}}`"
                    ));
                    self.faults.push(fault);
                }
                None if words().next().is_some() => {
                    let known: Vec<&str> = words().chain(tables().map(|(tag, _)| tag)).collect();
                    self.unknown_word(node.span(), text, &known, path);
                }
                None => self.wrong_type(node, shape, path),
            },
            DeValue::Table(table) if tables().next().is_some() => {
                self.tagged_table(node, table, choice, path);
            }
            _ => self.wrong_type(node, shape, path),
        }
    }

    fn tagged_table(
        &mut self,
        node: &Node<'_>,
        table: &Table<'_>,
        choice: &'static [Value],
        path: &str,
    ) {
        let tags: Vec<&str> = choice
            .iter()
            .filter_map(tagged)
            .map(|(tag, _)| tag)
            .collect();
        let mut first: Option<&Spanned<_>> = None;
        for (key, child) in table {
            match choice
                .iter()
                .filter_map(tagged)
                .find(|(tag, _)| tag == key.get_ref())
            {
                Some((tag, shape)) => {
                    self.value(child, Shape::of(shape), &join(path, tag));
                    if let Some(other) = first {
                        let message =
                            format!("{} has both `{}` and `{tag}`", shown(path), other.get_ref());
                        let fault = Fault::new(key.span(), message, "the second one")
                            .related(other.span(), "the first one")
                            .help("exactly one is allowed; remove the other");
                        self.faults.push(fault);
                    }
                    first = first.or(Some(key));
                }
                None if choice
                    .iter()
                    .filter_map(word)
                    .any(|word| word == key.get_ref()) =>
                {
                    let word = key.get_ref();
                    let message = format!("`{word}` has no keys of its own");
                    let key_name = path.rsplit('.').next().unwrap_or(path);
                    let fault = Fault::new(key.span(), message, "");
                    self.faults
                        .push(fault.help(format!("write `{key_name} = \"{word}\"`")));
                }
                None => self.unknown_key(key, &tags, path),
            }
        }
        if table.is_empty() {
            let message = format!("{} is empty", shown(path));
            let list: Vec<String> = tags.iter().map(|tag| format!("`{tag}`")).collect();
            let fault = Fault::new(node.span(), message, "expected one key");
            self.faults
                .push(fault.help(format!("give one of {}", list.join(", "))));
        }
    }

    fn unknown_key<'t>(&mut self, key: &Spanned<impl AsRef<str> + 't>, keys: &[&str], path: &str) {
        let word = key.get_ref().as_ref();
        let place = if path.is_empty() {
            "the scenario".into()
        } else {
            shown(path)
        };
        let help = self.faults.did_you_mean(word, keys.iter().copied(), "keys");
        let message = format!("{place} has no key `{}`", quote(word));
        self.faults
            .push(Fault::new(key.span(), message, "unknown key").help(help));
    }

    fn unknown_word(&mut self, span: Range<usize>, word: &str, words: &[&str], path: &str) {
        let help = self
            .faults
            .did_you_mean(word, words.iter().copied(), "choices");
        let message = format!("{} cannot be \"{}\"", shown(path), quote(word));
        self.faults
            .push(Fault::new(span, message, "unknown word").help(help));
    }

    fn integer(
        &mut self,
        span: Range<usize>,
        value: i128,
        limits: &'static Map<String, Value>,
        path: &str,
    ) {
        let bound = |key: &str| {
            limits
                .get(key)
                .and_then(Value::as_f64)
                .map(|bound| bound as i128)
        };
        let largest = match limits.get("format").and_then(Value::as_str) {
            Some("uint32") => i128::from(u32::MAX),
            // TOML promises 64 bits with a sign, and other readers keep to that.
            _ => i128::from(i64::MAX),
        };
        let (low, high) = (
            bound("minimum").unwrap_or(0),
            bound("maximum").unwrap_or(largest),
        );
        if value < low || value > high {
            let label = format!("expected {low} to {high}");
            let message = format!("{} is out of range", shown(path));
            self.faults.push(Fault::new(span, message, label));
        }
    }

    fn number(
        &mut self,
        span: Range<usize>,
        value: f64,
        limits: &'static Map<String, Value>,
        path: &str,
    ) {
        let bound = |key: &str| limits.get(key).and_then(Value::as_f64);
        let (low, high) = (bound("minimum"), bound("maximum"));
        let inside = low.is_none_or(|low| value >= low) && high.is_none_or(|high| value <= high);
        if inside && value.is_finite() {
            return;
        }
        let label = match (low, high) {
            (Some(low), Some(high)) => format!("expected {low} to {high}"),
            (Some(low), None) => format!("expected {low} or more"),
            _ => "expected a finite number".to_owned(),
        };
        // The highest bound of a share is 1, so what is above it was meant in percent.
        let percent = high.is_some_and(|high| high <= 1.0) && value > 1.0 && value <= 100.0;
        let help = percent.then(|| format!("this is a share: {value} % is {}", value / 100.0));
        let message = format!("{} is out of range", shown(path));
        self.faults
            .push(Fault::new(span, message, label).maybe_help(help));
    }

    fn list(
        &mut self,
        span: Range<usize>,
        array: &[Node<'_>],
        list: &'static Map<String, Value>,
        path: &str,
    ) {
        let count = |key: &str| {
            list.get(key)
                .and_then(Value::as_u64)
                .map(|count| count as usize)
        };
        let (low, high) = (count("minItems"), count("maxItems"));
        let high = high.unwrap_or(MOST_ENTRIES);
        if array.len() > high || low.is_some_and(|low| array.len() < low) {
            let wanted = match low {
                Some(low) if low == high => format!("expected exactly {low}"),
                _ => format!("expected at most {high}"),
            };
            let message = format!("{} has {} values", shown(path), array.len());
            self.faults.push(Fault::new(span, message, wanted));
            return;
        }
        let Some(items) = list.get("items") else {
            return;
        };
        for (index, item) in array.iter().enumerate() {
            self.value(item, Shape::of(items), &join(path, &index.to_string()));
        }
    }

    fn wrong_type(&mut self, node: &Node<'_>, shape: Shape, path: &str) {
        let found = found(node.get_ref());
        let message = format!("{} must be {}, not {found}", shown(path), shape.wanted());
        let help = match (shape, node.get_ref()) {
            (Shape::Quantity(kind), DeValue::Integer(number)) => kind
                .read(number.as_str())
                .err()
                .map(|error| format!("a quantity is a text with a unit: {}", error.help)),
            (Shape::Quantity(kind), DeValue::Float(number)) => kind
                .read(number.as_str())
                .err()
                .map(|error| format!("a quantity is a text with a unit: {}", error.help)),
            (Shape::Integer(_) | Shape::Number(_), DeValue::String(text))
                if text.parse::<f64>().is_ok() =>
            {
                Some("write it without quotes".to_owned())
            }
            (Shape::Boolean, DeValue::String(text)) if text == "true" || text == "false" => {
                Some("write it without quotes".to_owned())
            }
            (Shape::Named(_), _) => Some(format!("write `[{path}.NAME]` and its keys below")),
            (Shape::Table(_), DeValue::Array(_)) => {
                Some("write `[…]` with single brackets".to_owned())
            }
            (Shape::List(_), DeValue::Table(_)) if path == "expect" => {
                Some("write `[[expect]]` with double brackets".to_owned())
            }
            (Shape::List(list), DeValue::String(_)) => {
                let items = vec!["\"…\""; exact_length(list).unwrap_or(1)];
                Some(format!("write `[{}]`", items.join(", ")))
            }
            _ => None,
        };
        let label = match shape {
            Shape::Quantity(kind) => format!("expected {}", kind.noun),
            _ => format!("found {}", type_name(node.get_ref())),
        };
        self.faults
            .push(Fault::new(node.span(), message, label).maybe_help(help));
    }
}

/// The number of values a list must have, where that is fixed.
fn exact_length(list: &'static Map<String, Value>) -> Option<usize> {
    let length = list.get("minItems")?;
    (list.get("maxItems") == Some(length)).then(|| length.as_u64().unwrap_or(0) as usize)
}

/// A path as it stands in messages.
pub(crate) fn shown(path: &str) -> String {
    format!("`{}`", quote_path(path))
}

fn quote_path(path: &str) -> String {
    const LONGEST_PATH: usize = 200;
    match path.char_indices().nth(LONGEST_PATH) {
        Some((at, _)) => format!("{}…", &path[..at]),
        None => path.to_owned(),
    }
}

/// The path of a key of a table.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn meaning(schema: &Value) -> String {
    let text = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = text.trim_end_matches('.').replace('\n', " ");
    // As part of a sentence it starts with a small letter, unless with an abbreviation.
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_ascii_lowercase() => {
            format!(
                "{}{}",
                first.to_ascii_lowercase(),
                &text[first.len_utf8()..]
            )
        }
        _ => text,
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The value in words: `the integer 20`.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", quote(text)),
        DeValue::Integer(number) => format!("the integer {}", quote(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", quote(number.as_str())),
        DeValue::Boolean(value) => value.to_string(),
        other => type_name(other).to_owned(),
    }
}
