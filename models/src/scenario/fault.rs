//! What is wrong with a scenario, where, and what to do about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One mistake in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the text it is about.
    pub span: Range<usize>,
    /// What is wrong, a sentence fragment.
    pub message: String,
    /// Short text at the place; may be empty.
    pub label: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Other places that matter, with a short text each.
    pub related: Vec<(Range<usize>, String)>,
}

impl Fault {
    /// A fault without help.
    pub(crate) fn new(
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self {
            span,
            message: message.into(),
            label: label.into(),
            help: None,
            related: Vec::new(),
        }
    }

    /// Says how to mend it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says how to mend it, where that is known.
    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Points at another place.
    pub(crate) fn related(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.related.push((span, text.into()));
        self
    }
}

/// More faults than this are only counted.
const PRINTED: usize = 100;
/// More faults than this are not even collected.
const COLLECTED: usize = 1_000;
/// Comparisons of names spent on "did you mean", so that 10,000 wrong names
/// against 10,000 right ones do not take minutes.
const COMPARISONS: usize = 100_000;
/// Longest name that is quoted or compared.
pub(crate) const LONGEST_NAME: usize = 64;

/// The faults found so far. The same fault found again, as in every case of a
/// sweep, is kept once.
#[derive(Debug)]
pub(crate) struct Faults {
    found: BTreeMap<(usize, usize, String), Found>,
    comparisons: usize,
}

/// A fault and where it turned up.
#[derive(Debug)]
struct Found {
    fault: Fault,
    /// Number of cases that have it.
    cases: usize,
    /// The first of them.
    first: Option<String>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            found: BTreeMap::new(),
            comparisons: COMPARISONS,
        }
    }

    pub(crate) fn push(&mut self, fault: Fault) {
        let key = (fault.span.start, fault.span.end, fault.message.clone());
        if !self.is_full() {
            self.found.entry(key).or_insert(Found {
                fault,
                cases: 0,
                first: None,
            });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= COLLECTED
    }

    /// The faults in the order of their places.
    pub(crate) fn into_vec(self) -> Vec<Fault> {
        self.found.into_values().map(|found| found.fault).collect()
    }

    /// An empty collection for one case of a sweep, to be given to [`Faults::absorb`].
    pub(crate) fn for_case(&mut self) -> Self {
        Self {
            found: BTreeMap::new(),
            comparisons: std::mem::take(&mut self.comparisons),
        }
    }

    /// Adds the faults of one case.
    pub(crate) fn absorb(&mut self, case: Self, id: &str) {
        self.comparisons = case.comparisons;
        for (key, found) in case.found {
            if let Some(known) = self.found.get_mut(&key) {
                known.cases += 1;
            } else if !self.is_full() {
                let first = Some(id.to_owned());
                self.found.insert(
                    key,
                    Found {
                        fault: found.fault,
                        cases: 1,
                        first,
                    },
                );
            }
        }
    }

    /// Adds to each fault that only some of the cases have the first of these.
    pub(crate) fn name_cases(&mut self, cases: usize) {
        for found in self.found.values_mut() {
            if let Some(first) = found.first.take_if(|_| found.cases < cases) {
                let note = format!("found in case `{first}`");
                found.fault.help = Some(match found.fault.help.take() {
                    Some(help) => format!("{help}\n{note}"),
                    None => note,
                });
            }
        }
    }

    /// The candidate that looks most like `word`, if one does.
    pub(crate) fn suggest<'c>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        if word.len() > LONGEST_NAME {
            return None;
        }
        let mut best: Option<(f64, &str)> = None;
        for candidate in candidates {
            if self.comparisons == 0 {
                return None;
            }
            self.comparisons -= 1;
            let likeness = if candidate.eq_ignore_ascii_case(word) {
                1.0
            } else if candidate.len() > LONGEST_NAME {
                0.0
            } else {
                likeness(candidate, word)
            };
            if likeness > 0.8 && best.is_none_or(|(most, _)| likeness > most) {
                best = Some((likeness, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// Help for a word that is none of `known`: the likely one, else the list.
    pub(crate) fn did_you_mean<'c>(
        &mut self,
        word: &str,
        known: impl IntoIterator<Item = &'c str> + Clone,
        nouns: &str,
    ) -> String {
        if let Some(close) = self.suggest(word, known.clone()) {
            return format!("did you mean `{close}`?");
        }
        const LISTED: usize = 30;
        let mut names = known.into_iter();
        let list: Vec<String> = names
            .by_ref()
            .take(LISTED)
            .map(|name| format!("`{name}`"))
            .collect();
        match (list.len(), names.count()) {
            (0, _) => format!("there are no {nouns}"),
            (1, 0) => format!("there is only {}", list[0]),
            (_, 0) => format!("the {nouns} are {}", list.join(", ")),
            (_, more) => format!("the {nouns} are {} and {more} more", list.join(", ")),
        }
    }
}

/// From 0 to 1; above 0.8 a slip of the finger is likely.
fn likeness(candidate: &str, word: &str) -> f64 {
    let likeness = strsim::jaro_winkler(candidate, word);
    // Jaro-Winkler is too strict with short names: `rrt` for `rtt`.
    let one_slip = word.len() >= 3 && strsim::osa_distance(candidate, word) <= 1;
    if one_slip {
        likeness.max(0.81)
    } else {
        likeness
    }
}

/// A text of the file, fit for a message: short and printable.
pub(crate) fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST_NAME).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    printable(&short)
}

/// Prints faults for people, with the lines they are about.
pub fn render(file: &str, text: &str, faults: &[Fault], color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let file = printable(file);
    let lines = Lines::new(text);
    let mut sorted: Vec<&Fault> = faults.iter().collect();
    sorted.sort_by_key(|fault| (fault.span.start, fault.span.end, &fault.message));
    let mut out = String::new();
    for fault in sorted.iter().take(PRINTED) {
        let report = [report(&file, &lines, fault)];
        out.push_str(&renderer.render(&report));
        out.push_str("\n\n");
    }
    if let Some(more) = sorted.len().checked_sub(PRINTED).filter(|more| *more > 0) {
        let _ = writeln!(out, "and {more} more");
    }
    out
}

fn report<'a>(file: &'a str, lines: &Lines<'_>, fault: &Fault) -> Group<'a> {
    let title = Level::ERROR.primary_title(printable(&fault.message));
    let primary = lines.clip(&fault.span);
    let related: Vec<(Range<usize>, &str)> = fault
        .related
        .iter()
        .map(|(span, text)| (lines.clip(span), text.as_str()))
        .collect();
    let all = || related.iter().map(|(span, _)| span).chain([&primary]);
    let from = all().map(|span| span.start).min().unwrap_or(0);
    let to = all().map(|span| span.end).max().unwrap_or(0);
    let mut group = match (lines.excerpt(&(from..to)), lines.excerpt(&primary)) {
        (Some(excerpt), _) => {
            let others = related.iter().map(|(span, text)| {
                AnnotationKind::Context
                    .span(excerpt.within(span))
                    .label(printable(text))
            });
            title.element(
                excerpt
                    .snippet(file, &primary, &fault.label)
                    .annotations(others),
            )
        }
        // The other places are far away: name their lines instead of showing them.
        (None, Some(excerpt)) => {
            let others = related.iter().map(|(span, text)| {
                let (line, _) = lines.position(span.start);
                Level::NOTE.message(format!("line {line}: {}", printable(text)))
            });
            title
                .element(excerpt.snippet(file, &primary, &fault.label))
                .elements(others)
        }
        // The line is too long to show.
        (None, None) => {
            let (line, column) = lines.position(primary.start);
            title.element(Origin::path(file).line(line).char_column(column))
        }
    };
    for help in fault.help.iter().flat_map(|help| help.lines()) {
        group = group.element(Level::HELP.message(printable(help)));
    }
    group
}

/// Where the lines of a text start.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

/// Some whole lines of the text.
struct Excerpt {
    text: String,
    start: usize,
    line: usize,
}

/// Longest excerpt that is printed.
const LONGEST_EXCERPT: usize = 16 << 10;
/// Longest line that is printed.
const LONGEST_LINE: usize = 1 << 10;

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            text,
            starts: [0]
                .into_iter()
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// Index of the line with this byte.
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at) - 1
    }

    /// Line and column for people.
    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.line(at);
        (
            line + 1,
            self.text[self.starts[line]..at].chars().count() + 1,
        )
    }

    /// Byte after the line's last visible one.
    fn end(&self, line: usize) -> usize {
        let end = self
            .starts
            .get(line + 1)
            .map_or(self.text.len(), |next| next - 1);
        let start = self.starts[line];
        start + self.text[start..end].trim_end().len()
    }

    /// A span inside the text, on character boundaries and within one line. One
    /// that starts behind the last line moves to its end.
    fn clip(&self, span: &Range<usize>) -> Range<usize> {
        let boundary = |at: usize| self.text.floor_char_boundary(at.min(self.text.len()));
        let mut start = boundary(span.start);
        if self.text[start..].trim().is_empty() && span.start >= span.end {
            start = self.text.trim_end().len();
        }
        let end = self.end(self.line(start)).max(start);
        start..boundary(span.end).clamp(start, end)
    }

    /// The lines of a span, unless that is too much to print.
    fn excerpt(&self, span: &Range<usize>) -> Option<Excerpt> {
        let (first, last) = (self.line(span.start), self.line(span.end));
        let start = self.starts[first];
        let end = self.end(last).max(span.end);
        if end - start > LONGEST_EXCERPT {
            return None;
        }
        let text = &self.text[start..end];
        if text.lines().any(|line| line.len() > LONGEST_LINE) {
            return None;
        }
        // Each stand-in is as many bytes long as what it replaces, so that spans stay right.
        let stand_in = |c: char| match c.len_utf8() {
            _ if c == '\n' || c == '\t' || c == '\r' || !is_hidden(c) => c,
            1 => '?',
            2 => '¿',
            3 => '\u{fffd}',
            _ => '\u{1f6ab}',
        };
        Some(Excerpt {
            text: text.chars().map(stand_in).collect(),
            start,
            line: first + 1,
        })
    }
}

impl Excerpt {
    fn within(&self, span: &Range<usize>) -> Range<usize> {
        span.start - self.start..span.end - self.start
    }

    fn snippet<'a>(
        &self,
        file: &'a str,
        primary: &Range<usize>,
        label: &str,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let label = (!label.is_empty()).then(|| printable(label));
        Snippet::source(self.text.clone())
            .path(file)
            .line_start(self.line)
            .annotation(
                AnnotationKind::Primary
                    .span(self.within(primary))
                    .label(label),
            )
    }
}

/// Characters that steer a terminal or turn the order of what follows.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text with what a terminal would obey written as an escape.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_reaches_the_terminal() {
        let text = "a\u{9b}31m\u{202e}\u{1b}[2J = 1\n";
        let fault = Fault::new(0..text.len(), text, text)
            .help(text)
            .related(0..1, text);
        let out = render("x\u{1b}[2J.toml", text, &[fault], false);
        assert!(out.chars().all(|c| c == '\n' || !is_hidden(c)), "{out:?}");
    }

    #[test]
    fn the_hundred_and_first_fault_is_counted() {
        let text = "x\n".repeat(101);
        let faults: Vec<Fault> = (0..101)
            .map(|i| Fault::new(2 * i..2 * i + 1, "no", ""))
            .collect();
        let out = render("x.toml", &text, &faults, false);
        assert_eq!(out.matches("error: no").count(), 100);
        assert!(out.ends_with("and 1 more\n"));
    }

    #[test]
    fn any_span_can_be_rendered() {
        for text in [
            "",
            "é",
            "\n\n",
            "a = \"\u{200d}\"\r\nb\r\n",
            "x",
            "[a\n\n\n",
        ] {
            for start in 0..text.len() + 3 {
                for end in 0..text.len() + 3 {
                    let fault = Fault::new(start..end, "m", "l").related(end..start, "r");
                    render("x.toml", text, &[fault], true);
                }
            }
        }
    }
}
