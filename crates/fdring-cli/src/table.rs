//! Tables: columns as wide as what stands in them, and fewer of them where the terminal is narrow.

use crate::output::Colour;
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The width that a column of text keeps in any case.
const TEXT_MIN: usize = 8;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) is_right: bool,
    /// Where the terminal is too narrow, the columns of the highest number go first; those of 0 always stay.
    pub(crate) expendable: u8,
}

impl Column {
    /// A column of text, which begins at its left.
    pub(crate) const fn left(title: &'static str, expendable: u8) -> Self {
        Self { title, is_right: false, expendable }
    }

    /// A column of numbers, which end at its right.
    pub(crate) const fn right(title: &'static str, expendable: u8) -> Self {
        Self { title, is_right: true, expendable }
    }
}

/// A cell of a table. Its text is safe for a terminal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) colour: Colour,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), colour: Colour::None }
    }
}

/// Rows of cells below a heading.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Prints it, as wide as the terminal at most; all of it if there is no terminal.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        self.print_within(out, terminal_columns())
    }

    fn print_within(&self, out: &mut impl Write, columns_max: Option<usize>) -> io::Result<()> {
        let shown = self.shown(columns_max);
        let titles = self.columns.map(|column| Cell { text: column.title.to_owned(), colour: Colour::Bold });
        for row in std::iter::once(&titles).chain(&self.rows) {
            writeln!(out, "{}", self.line(row, &shown))?;
        }
        Ok(())
    }

    /// The columns that are shown, with their widths.
    fn shown(&self, columns_max: Option<usize>) -> Vec<(usize, usize)> {
        let width_of = |index: usize| {
            let cells = self.rows.iter().map(|row| row[index].text.width());
            cells.chain([self.columns[index].title.width()]).max().unwrap_or_default()
        };
        let mut shown: Vec<(usize, usize)> = (0..N).map(|index| (index, width_of(index))).collect();
        // A column in which nothing stands says nothing.
        shown.retain(|(index, _)| {
            self.columns[*index].expendable == 0 || self.rows.iter().any(|row| !row[*index].text.is_empty())
        });
        let total =
            |shown: &[(usize, usize)]| shown.iter().map(|(_, width)| width + 2).sum::<usize>().saturating_sub(2);
        while columns_max.is_some_and(|max| total(&shown) > max) {
            let least = shown.iter().enumerate().max_by_key(|(_, (index, _))| self.columns[*index].expendable);
            match least {
                Some((at, (index, _))) if self.columns[*index].expendable > 0 => drop(shown.remove(at)),
                _ => break,
            }
        }
        // Then the widest text is cut.
        while let Some(excess) = columns_max.map(|max| total(&shown).saturating_sub(max)).filter(|excess| *excess > 0) {
            let texts = shown.iter_mut().filter(|(index, _)| !self.columns[*index].is_right);
            match texts.max_by_key(|(_, width)| *width).filter(|(_, width)| *width > TEXT_MIN) {
                Some((_, width)) => *width -= excess.min(*width / 4).max(1),
                None => break,
            }
        }
        shown
    }

    fn line(&self, row: &[Cell; N], shown: &[(usize, usize)]) -> String {
        let mut line = String::new();
        for (place, &(index, width)) in shown.iter().enumerate() {
            let Cell { text, colour } = &row[index];
            let text = &*shortened(text, width);
            let space = " ".repeat(width.saturating_sub(text.width()));
            let is_last = place + 1 == shown.len();
            match self.columns[index].is_right {
                true => line.extend([&*space, &colour.paint(text)]),
                false if is_last => line.push_str(&colour.paint(text)),
                false => line.extend([&*colour.paint(text), &space]),
            }
            if !is_last {
                line.push_str("  ");
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The text, or its beginning and a sign that there is more, where it is wider than `width`.
fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    let mut short = String::new();
    for c in text.chars() {
        if short.width() + c.width().unwrap_or(0) + 1 > width {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short.into()
}

/// How many characters fit in a line of the terminal, if standard output is one.
pub(crate) fn terminal_columns() -> Option<usize> {
    let stdout = io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|size| size.ws_col > 0);
    size.filter(|_| stdout.is_terminal()).map(|size| usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(columns_max: Option<usize>) -> String {
        let columns =
            [Column::left("NAME", 0), Column::right("SIZE", 2), Column::left("NOTE", 3), Column::left("END", 1)];
        let mut table = Table::new(columns);
        table.push(["a".into(), "10 B".into(), Cell::default(), "x".into()]);
        table.push(["日本".into(), "5".into(), Cell::default(), Cell::default()]);
        let mut out = Vec::new();
        table.print_within(&mut out, columns_max).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them_and_empty_ones_are_left_out() {
        assert_eq!(printed(None), "NAME  SIZE  END\na     10 B  x\n日本     5\n");
        assert_eq!(printed(Some(15)), printed(None));
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_columns() {
        assert_eq!(printed(Some(14)), "NAME  END\na     x\n日本\n");
        assert_eq!(printed(Some(1)), "NAME\na\n日本\n");
    }

    #[test]
    fn text_is_cut_where_columns_are_still_too_wide() {
        assert_eq!(["日本語", "abc", "abcd"].map(|text| shortened(text, 3).into_owned()), ["日…", "abc", "ab…"]);
        let mut table = Table::new([Column::left("NAME", 0), Column::right("SIZE", 0)]);
        table.push(["a lane of a long name".into(), "10 B".into()]);
        let mut out = Vec::new();
        table.print_within(&mut out, Some(20)).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME            SIZE\na lane of a l…  10 B\n");
    }
}
