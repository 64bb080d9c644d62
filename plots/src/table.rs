//! Markdown and plain-text tables, and the place in a document where they go.

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Why a document was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// A marker is not in the document.
    #[error("`{0}` is not in the document")]
    Missing(String),
    /// A marker is in the document more than once.
    #[error("`{0}` is in the document more than once")]
    Repeated(String),
    /// The end stands before the beginning.
    #[error("`{0}` stands before its beginning")]
    Order(String),
    /// The new text holds a marker, so that the next splice would go wrong.
    #[error("the new text holds `{0}`")]
    Nested(String),
}

/// A Markdown table that is also aligned as plain text. Missing cells are empty, surplus ones and
/// alignments are dropped; a column without an alignment stands left.
pub fn markdown(header: &[&str], rows: &[Vec<String>], align: &[Align]) -> String {
    let header: Vec<String> = header.iter().map(|cell| markdown_cell(cell)).collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| markdown_cell(cell)).collect())
        .collect();
    let widths: Vec<usize> = widths(&header, &rows)
        .into_iter()
        .map(|w| w.max(3))
        .collect();
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, &width)| match side(align, column) {
            Align::Left => "-".repeat(width),
            Align::Right => format!("{}:", "-".repeat(width - 1)),
        })
        .collect();
    let mut text = String::new();
    for row in [&header, &rule].into_iter().chain(&rows) {
        text.push_str("| ");
        text.push_str(&padded(row, &widths, align).join(" | "));
        text.push_str(" |\n");
    }
    text
}

/// A table for the terminal: columns two blanks apart, a rule under the header, no blanks at the
/// ends of lines. Cells follow the rules of [`markdown`]; control characters become blanks.
pub fn text(header: &[&str], rows: &[Vec<String>], align: &[Align]) -> String {
    let header: Vec<String> = header.iter().map(|cell| text_cell(cell)).collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| text_cell(cell)).collect())
        .collect();
    let widths = widths(&header, &rows);
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    let mut text = String::new();
    for row in [&header, &rule].into_iter().chain(&rows) {
        text.push_str(padded(row, &widths, align).join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Replaces what stands between `<!-- BEGIN: marker -->` and `<!-- END: marker -->`; the markers
/// stay, each on its own line.
///
/// # Errors
/// If either marker is missing, repeated or out of order, or `body` holds one of them.
pub fn splice(document: &str, marker: &str, body: &str) -> Result<String, SpliceError> {
    let begin = format!("<!-- BEGIN: {marker} -->");
    let end = format!("<!-- END: {marker} -->");
    let start = only(document, &begin)? + begin.len();
    let stop = only(document, &end)?;
    if stop < start {
        return Err(SpliceError::Order(end));
    }
    if let Some(nested) = [begin, end]
        .into_iter()
        .find(|tag| body.contains(tag.as_str()))
    {
        return Err(SpliceError::Nested(nested));
    }
    let body = body.trim_matches('\n');
    let middle = if body.is_empty() {
        "\n".to_owned()
    } else {
        format!("\n\n{body}\n\n")
    };
    Ok([&document[..start], &middle, &document[stop..]].concat())
}

fn only(document: &str, tag: &str) -> Result<usize, SpliceError> {
    let mut places = document.match_indices(tag);
    let (place, _) = places
        .next()
        .ok_or_else(|| SpliceError::Missing(tag.to_owned()))?;
    match places.next() {
        None => Ok(place),
        Some(_) => Err(SpliceError::Repeated(tag.to_owned())),
    }
}

fn side(align: &[Align], column: usize) -> Align {
    align.get(column).copied().unwrap_or(Align::Left)
}

/// Names come from files that anybody may have written: a cell cannot end its row, open a tag or
/// start another cell.
fn markdown_cell(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for character in text_cell(cell).chars() {
        match character {
            '|' => text.push_str("\\|"),
            '\\' => text.push_str("\\\\"),
            '<' => text.push_str("&lt;"),
            '&' => text.push_str("&amp;"),
            other => text.push(other),
        }
    }
    text
}

fn text_cell(cell: &str) -> String {
    let blank = |c: char| if c.is_control() { ' ' } else { c };
    cell.chars()
        .map(blank)
        .collect::<String>()
        .trim()
        .to_owned()
}

fn widths(header: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .chain(header.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..header.len()).map(width).collect()
}

fn padded(row: &[String], widths: &[usize], align: &[Align]) -> Vec<String> {
    let cell = |(column, &width): (usize, &usize)| {
        let text = row.get(column).map_or("", String::as_str);
        match side(align, column) {
            Align::Left => format!("{text:<width$}"),
            Align::Right => format!("{text:>width$}"),
        }
    };
    widths.iter().enumerate().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        vec![vec!["diff".into(), "68.5".into()], vec!["a|b<i>".into()]]
    }

    #[test]
    fn a_markdown_table_lines_up_and_cells_cannot_break_out() {
        assert_eq!(
            markdown(&["method", "time"], &rows(), &[Align::Left, Align::Right]),
            "| method     | time |\n\
             | ---------- | ---: |\n\
             | diff       | 68.5 |\n\
             | a\\|b&lt;i> |      |\n"
        );
    }

    #[test]
    fn a_text_table_has_no_blanks_at_line_ends() {
        assert_eq!(
            text(&["method", "time"], &rows(), &[Align::Left, Align::Right]),
            "method  time\n\
             ------  ----\n\
             diff    68.5\n\
             a|b<i>\n"
        );
    }

    #[test]
    fn a_line_break_in_a_cell_becomes_a_blank() {
        let table = text(&["name"], &[vec!["a\r\nb\u{1b}[31m".into()]], &[]);
        assert_eq!(table.lines().last(), Some("a  b [31m"));
    }

    #[test]
    fn a_splice_replaces_the_middle_and_can_be_repeated() {
        let document = "x\n<!-- BEGIN: t -->\nold\n<!-- END: t -->\ny\n";
        let once = splice(document, "t", "| new |\n").unwrap();
        assert_eq!(
            once,
            "x\n<!-- BEGIN: t -->\n\n| new |\n\n<!-- END: t -->\ny\n"
        );
        assert_eq!(splice(&once, "t", "| new |\n").unwrap(), once);
        assert_eq!(
            splice(&once, "t", "").unwrap(),
            "x\n<!-- BEGIN: t -->\n<!-- END: t -->\ny\n"
        );
    }

    #[test]
    fn a_splice_without_a_clear_place_is_refused() {
        let (begin, end) = ("<!-- BEGIN: t -->", "<!-- END: t -->");
        let splice = |document: &str| splice(document, "t", "new");
        assert_eq!(splice(end), Err(SpliceError::Missing(begin.into())));
        assert_eq!(splice(begin), Err(SpliceError::Missing(end.into())));
        assert_eq!(
            splice(&[begin, end, end].concat()),
            Err(SpliceError::Repeated(end.into()))
        );
        assert_eq!(
            splice(&[end, begin].concat()),
            Err(SpliceError::Order(end.into()))
        );
        let nested = super::splice(&[begin, end].concat(), "t", end);
        assert_eq!(nested, Err(SpliceError::Nested(end.into())));
    }
}
