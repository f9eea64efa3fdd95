//! Tables without lines. Of what does not fit on the terminal, whole columns are left out, from the right.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, TableStyle};

use super::escape::escape_line;

/// Space between two columns, in characters.
const GAP: u16 = 2;

/// Rows of text under a header. The most important columns stand left.
#[derive(Debug)]
pub(crate) struct Table {
    inner: comfy_table::Table,
}

impl Table {
    /// An empty table.
    pub(crate) fn new<S: AsRef<str>>(header: &[S]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner
            .load_style(TableStyle::new())
            .set_header(header.iter().map(S::as_ref));
        for column in inner.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        Self { inner }
    }

    /// Puts the columns from `first` on flush right.
    pub(crate) fn numbers_from(mut self, first: usize) -> Self {
        for column in self.inner.column_iter_mut().skip(first) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self
    }

    /// Adds a row; the cells may hold anything.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.inner.add_row(cells.into_iter().map(|cell| escape_line(&cell)));
    }

    /// The lines of the table with cells broken so that they fit: for prose, where nothing may be left out.
    pub(crate) fn render_wrapped(mut self, width_max: Option<u16>) -> String {
        if let Some(width_max) = width_max {
            self.inner
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width_max);
        }
        self.inner.trim_fmt()
    }

    /// The lines of the table, at most `width_max` characters wide when at least one column is that narrow.
    pub(crate) fn render(mut self, width_max: Option<u16>) -> String {
        let mut width: u16 = 0;
        let widths = self.inner.column_max_content_widths();
        for (index, (column, content)) in self.inner.column_iter_mut().zip(widths).enumerate() {
            width = width.saturating_add(content);
            if index > 0 && width_max.is_some_and(|width_max| width > width_max) {
                column.set_constraint(ColumnConstraint::Hidden);
            }
            width = width.saturating_add(GAP);
        }
        self.inner.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "CALLS", "NOTE"]).numbers_from(1);
        table.row(["a".to_owned(), "10".to_owned(), "first".to_owned()]);
        table.row(["longer".to_owned(), "9".to_owned(), "\x1b[2J".to_owned()]);
        table
    }

    #[test]
    fn columns_line_up_and_cells_are_escaped() {
        let expected = "NAME    CALLS     NOTE\na          10    first\nlonger      9  \\x1b[2J";
        assert_eq!(table().render(None), expected);
        assert_eq!(table().render(Some(22)), expected);
    }

    #[test]
    fn columns_that_do_not_fit_are_left_out() {
        assert_eq!(table().render(Some(21)), "NAME    CALLS\na          10\nlonger      9");
        assert_eq!(table().render(Some(1)), "NAME\na\nlonger");
    }
}
