//! Text to a tree of TOML values that know their places.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults};

/// A table of the document.
pub(crate) type Table<'t> = DeTable<'t>;
/// A value of the document and its place.
pub(crate) type Node<'t> = Spanned<DeValue<'t>>;

/// Longest scenario.
const LONGEST: usize = 1 << 20;
/// Deepest nesting. The format needs 6. The `toml` crate limits brackets and
/// the parts of one key to 80 each, which together could exhaust the stack.
const DEEPEST: usize = 32;

/// Reads the text; `None` if it is no TOML document at all.
pub(crate) fn read<'t>(text: &'t str, faults: &mut Faults) -> Option<Table<'t>> {
    if text.len() > LONGEST {
        let fault = Fault::new(0..0, "the file is larger than 1 MiB", "")
            .help("put traces into CSV files, or split the scenario");
        faults.push(fault);
        return None;
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    let tree = tree.into_inner();
    if let Some(span) = deep_place(&tree) {
        dismantle(tree);
        let fault = Fault::new(span, "the nesting is too deep", "")
            .help("no value of a scenario is nested more than 6 deep");
        faults.push(fault);
        return None;
    }
    if !report(text, &errors, faults) {
        return None;
    }
    let braced = |span: &Range<usize>| text[span.clone()].starts_with('{');
    for_each_node(&tree, &mut |key, node| {
        newer_escape(text, &key, faults);
        newer_escape(text, &node.span(), faults);
        if braced(&node.span()) && !faults.is_full() {
            newer_inline_table(text, node, faults);
        }
    });
    Some(tree)
}

/// The value at a path of keys and array indices.
pub(crate) fn find<'a, 't>(table: &'a Table<'t>, path: &[&str]) -> Option<&'a Node<'t>> {
    let (first, rest) = path.split_first()?;
    let mut node = table.get(*first)?;
    for part in rest {
        node = match node.get_ref() {
            DeValue::Table(table) => table.get(*part)?,
            DeValue::Array(array) => array.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(node)
}

/// The place of the value at a path, or of the nearest thing around it that exists.
pub(crate) fn place(table: &Table<'_>, path: &[&str]) -> Range<usize> {
    (1..=path.len())
        .rev()
        .find_map(|length| find(table, &path[..length]))
        .map_or_else(|| start(table), Spanned::span)
}

/// The first key of the document: where something missing at the top is shown.
pub(crate) fn start(table: &Table<'_>) -> Range<usize> {
    table
        .keys()
        .map(Spanned::span)
        .min_by_key(|span| span.start)
        .unwrap_or(0..0)
}

/// Reports the faults of the parser; `false` if the tree cannot be relied on.
fn report(text: &str, errors: &[toml::de::Error], faults: &mut Faults) -> bool {
    let mut places: Vec<(Range<usize>, &str)> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message()))
        .collect();
    places.sort_by_key(|(span, _)| span.start);
    let mut usable = true;
    let mut reported_until = None;
    let mut in_array = false;
    let endless_array = places
        .iter()
        .any(|(_, message)| message.starts_with("unclosed array"));
    for (span, message) in places {
        if message == "duplicate key" {
            let key = super::fault::quote(&text[span.clone()]);
            let fault = Fault::new(span, format!("`{key}` is there a second time"), "")
                .help("a key may stand only once in a table; remove or rename one");
            faults.push(fault);
            continue;
        }
        usable = false;
        // What follows on the same line is mostly a consequence of the first fault, and what
        // follows an array that is never closed always is.
        let repeated = in_array && (endless_array || message.contains("array"));
        if !repeated && reported_until.is_none_or(|until| span.start >= until) {
            in_array |= message.contains("array");
            let rest = &text[span.start.min(text.len())..];
            reported_until = Some(rest.find('\n').map_or(usize::MAX, |at| span.start + at + 1));
            faults.push(syntax(span, message));
        }
    }
    usable
}

fn syntax(span: Range<usize>, message: &str) -> Fault {
    let (what, wanted) = message.split_once(", expected ").unwrap_or((message, ""));
    let label = match wanted {
        "" | "nothing" | "literal string" => String::new(),
        _ => format!("expected {wanted}"),
    };
    let help = if what.contains("must be quoted") {
        Some("put the text into double quotes")
    } else if what.contains("leading zero") {
        Some("write the number without zeros in front")
    } else if what.contains("array") {
        Some("is the `]` of an array missing before this place?")
    } else {
        None
    };
    Fault::new(span, format!("not TOML: {what}"), label).maybe_help(help.map(str::to_owned))
}

/// The place of the first value below the deepest level allowed.
fn deep_place(tree: &Table<'_>) -> Option<Range<usize>> {
    let mut rest: Vec<(&Node<'_>, usize)> = tree.values().map(|node| (node, 1)).collect();
    while let Some((node, depth)) = rest.pop() {
        if depth > DEEPEST {
            return Some(node.span());
        }
        match node.get_ref() {
            DeValue::Table(table) => rest.extend(table.values().map(|node| (node, depth + 1))),
            DeValue::Array(array) => rest.extend(array.iter().map(|node| (node, depth + 1))),
            _ => {}
        }
    }
    None
}

/// Drops a tree without recursion.
fn dismantle(tree: Table<'_>) {
    let mut rest: Vec<DeValue<'_>> = vec![DeValue::Table(tree)];
    while let Some(value) = rest.pop() {
        match value {
            DeValue::Table(table) => rest.extend(table.into_iter().map(|(_, v)| v.into_inner())),
            DeValue::Array(array) => rest.extend(array.into_iter().map(Spanned::into_inner)),
            _ => {}
        }
    }
}

fn for_each_node<'t>(table: &Table<'t>, visit: &mut impl FnMut(Range<usize>, &Node<'t>)) {
    for (key, node) in table {
        visit_node(key.span(), node, visit);
    }
}

fn visit_node<'t>(
    key: Range<usize>,
    node: &Node<'t>,
    visit: &mut impl FnMut(Range<usize>, &Node<'t>),
) {
    visit(key, node);
    match node.get_ref() {
        DeValue::Table(table) => for_each_node(table, visit),
        DeValue::Array(array) => {
            for item in array {
                visit_node(item.span(), item, visit);
            }
        }
        _ => {}
    }
}

/// Scenarios are read by other tools too, and many of them know TOML 1.0 only:
/// no `\e` and `\x` in strings.
fn newer_escape(text: &str, span: &Range<usize>, faults: &mut Faults) {
    let source = &text[span.clone()];
    if !source.starts_with('"') || !source.contains('\\') {
        return;
    }
    let mut bytes = source.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte != b'\\' {
            continue;
        }
        if let Some((_, escaped @ (b'e' | b'x'))) = bytes.next() {
            let at = span.start + at;
            let escape = char::from(escaped);
            let fault = Fault::new(at..at + 2, format!("`\\{escape}` is TOML 1.1"), "")
                .help("many tools read TOML 1.0 only; write `\\u00XX`");
            faults.push(fault);
        }
    }
}

/// No line breaks and no comma at the end in inline tables either.
fn newer_inline_table(text: &str, node: &Node<'_>, faults: &mut Faults) {
    let DeValue::Table(table) = node.get_ref() else {
        return;
    };
    let mut inside: Vec<Range<usize>> = Vec::new();
    entries(text, table, &mut inside);
    inside.sort_by_key(|span| span.start);
    let close = node.span().end - 1;
    let mut from = node.span().start + 1;
    for entry in &inside {
        if line_break(text, from..entry.start, faults) {
            return;
        }
        from = entry.end.max(from);
    }
    if line_break(text, from..close, faults) {
        return;
    }
    if let Some(comma) = text[from..close].find(',') {
        let at = from + comma;
        let fault = Fault::new(
            at..at + 1,
            "a comma at the end of an inline table is TOML 1.1",
            "",
        )
        .help("many tools read TOML 1.0 only; remove the comma");
        faults.push(fault);
    }
}

fn line_break(text: &str, gap: Range<usize>, faults: &mut Faults) -> bool {
    let Some(at) = text.get(gap.clone()).and_then(|between| between.find('\n')) else {
        return false;
    };
    let at = gap.start + at;
    let fault = Fault::new(at..at, "an inline table over several lines is TOML 1.1", "")
        .help("many tools read TOML 1.0 only; write it in one line or as a [table]");
    faults.push(fault);
    true
}

/// The places of the keys and values written directly between the braces;
/// `a.b = 1` makes a table that has no braces of its own.
fn entries(text: &str, table: &Table<'_>, into: &mut Vec<Range<usize>>) {
    for (key, node) in table {
        into.push(key.span());
        match node.get_ref() {
            DeValue::Table(inner) if !text[node.span()].starts_with('{') => {
                entries(text, inner, into);
            }
            _ => into.push(node.span()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let mut faults = Faults::new();
        read(text, &mut faults);
        faults
            .into_vec()
            .into_iter()
            .map(|fault| fault.message)
            .collect()
    }

    #[test]
    fn several_syntax_faults_are_found_at_once() {
        assert_eq!(messages("a = \nb = 1\nc == 2\nd = x\n").len(), 3);
    }

    #[test]
    fn newer_syntax_is_found_and_old_syntax_is_not() {
        assert!(messages("a = {b = 1, c.d = [\n1,\n], e = {}, f = \"\"\"\n\"\"\"}\n").is_empty());
        assert!(messages("a = \"\\\\e\\u0041\"").is_empty());
        assert_eq!(
            messages("a = {b = 1,}"),
            ["a comma at the end of an inline table is TOML 1.1"]
        );
        assert_eq!(
            messages("a = {b = 1\n}"),
            ["an inline table over several lines is TOML 1.1"]
        );
        assert_eq!(messages("a = {c.d = 1,\nb = 1}").len(), 1);
        assert_eq!(messages("a = \"\\e\""), ["`\\e` is TOML 1.1"]);
    }

    #[test]
    fn deep_nesting_is_a_fault_and_no_overflow() {
        let part = "a.".repeat(70);
        let deep = format!("{}1{}", format!("{{{part}a = ").repeat(70), "}".repeat(70));
        assert_eq!(
            messages(&format!("x = {deep}")),
            ["the nesting is too deep"]
        );
        assert!(!messages(&format!("{}a = 1", "a.".repeat(400_000))).is_empty());
    }
}
