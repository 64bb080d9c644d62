//! Tables of text for people.

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header, each column as wide as its widest cell.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

/// Longest table that is printed whole.
const WHOLE: usize = 40;
/// Rows at each end of a longer one.
const ENDS: usize = 10;

impl Table {
    /// Adds a column; before the rows.
    pub(crate) fn column(&mut self, header: impl Into<String>, align: Align) {
        self.header.push(header.into());
        self.align.push(align);
    }

    /// Adds a row. A cell of several lines makes the row as many lines high.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.header.len(), "a cell for every column");
        self.rows.push(cells);
    }

    /// The table without the middle of a long one, `cut` naming the rows left out.
    pub(crate) fn shortened(mut self, cut: impl Fn(usize) -> String) -> String {
        if self.rows.len() <= WHOLE {
            return self.text();
        }
        let tail = self.rows.split_off(self.rows.len() - ENDS);
        let left_out = self.rows.split_off(ENDS).len();
        self.rows.extend(tail);
        let lines = self.text();
        // One line for the header, and one a row.
        let after = lines
            .match_indices('\n')
            .nth(ENDS)
            .map_or(lines.len(), |(at, _)| at + 1);
        format!("{}{}\n{}", &lines[..after], cut(left_out), &lines[after..])
    }

    /// The table, two blanks between columns.
    pub(crate) fn text(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            for line in 0..row
                .iter()
                .map(|cell| cell.lines().count())
                .max()
                .unwrap_or(0)
            {
                let cells = row.iter().map(|cell| cell.lines().nth(line).unwrap_or(""));
                text.push_str(self.line(cells, &widths).trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// The table as Markdown; for cells of one line.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = self.align.iter().map(|align| match align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        });
        let mut text = line(&self.header) + &line(&rule.collect::<Vec<_>>());
        self.rows.iter().for_each(|row| text.push_str(&line(row)));
        text
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, &width), align) in cells.zip(widths).zip(&self.align) {
            let cell = match align {
                Align::Left => format!("{cell:width$}  "),
                Align::Right => format!("{cell:>width$}  "),
            };
            line.push_str(&cell);
        }
        line
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = std::iter::once(&self.header)
                .chain(&self.rows)
                .map(|row| &row[column]);
            cells
                .flat_map(|cell| cell.lines())
                .map(|line| line.chars().count())
                .max()
                .unwrap_or(0)
        };
        (0..self.header.len()).map(width).collect()
    }
}

/// Breaks `text` into lines of at most `width` characters, where words allow.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 {
            let fits = used + 1 + length <= width;
            lines.push(if fits { ' ' } else { '\n' });
            used = if fits { used + 1 } else { 0 };
        }
        lines.push_str(word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize) -> Table {
        let mut table = Table::default();
        table.column("name", Align::Left);
        table.column("time", Align::Right);
        (0..rows).for_each(|row| table.row(vec![format!("a{row}"), format!("{row}.5 ± 0.1")]));
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        assert_eq!(
            table(2).text(),
            "name       time\na0    0.5 ± 0.1\na1    1.5 ± 0.1\n"
        );
    }

    #[test]
    fn the_middle_of_a_long_table_is_left_out() {
        assert_eq!(table(40).shortened(|_| unreachable!()).lines().count(), 41);
        let text = table(41).shortened(|more| format!("... {more} more"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 22);
        assert_eq!(lines[11], "... 21 more");
        assert!(lines[10].starts_with("a9 ") && lines[12].starts_with("a31 "));
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("one two  three", 7), "one two\nthree");
        assert_eq!(wrap("unbreakable is it", 4), "unbreakable\nis\nit");
    }
}
