//! Many rows in one statement: a statement costs more than a row.

use sqlx::{Postgres, Sqlite, Transaction};

/// Rows of one statement. Few different sizes, so that each is prepared once.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// `rows` in pieces of the sizes that statements are prepared for.
pub(super) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}

/// How a database is told the places of values in a statement.
pub(super) trait Places {
    /// By number. SQLite knows numbers as names, and looks each of a thousand names up among all others.
    const NUMBERED: bool;
}

impl Places for Transaction<'_, Sqlite> {
    const NUMBERED: bool = false;
}

impl Places for Transaction<'_, Postgres> {
    const NUMBERED: bool = true;
}

/// `(?,?),(?,?)` or `($1,$2),($3,$4)`: places for so many rows, in a statement that has no others.
pub(super) fn values<Of: Places>(_statement_of: &Of, rows: usize, columns: usize) -> String {
    let first = Of::NUMBERED.then_some(1);
    places(first, rows, columns)
}

/// `($3,$4),($5,$6)`: places for so many rows, numbered from `first` on, because there are others before them.
pub(super) fn values_from(first: usize, rows: usize, columns: usize) -> String {
    places(Some(first), rows, columns)
}

fn places(first: Option<usize>, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * (3 + columns * 6));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..columns {
            text.push_str(if column == 0 { "" } else { "," });
            match first {
                Some(first) => text.push_str(&format!("${}", first + row * columns + column)),
                None => text.push('?'),
            }
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_piece() {
        for count in [0, 1, 7, 8, 40, 127, 128, 300] {
            let rows: Vec<_> = (0..count).collect();
            let again: Vec<_> = pieces(&rows).flatten().copied().collect();
            assert_eq!(again, rows);
        }
    }

    #[test]
    fn each_value_has_its_place() {
        assert_eq!(places(Some(1), 2, 2), "($1,$2),($3,$4)");
        assert_eq!(values_from(3, 1, 1), "($3)");
        assert_eq!(places(None, 2, 2), "(?,?),(?,?)");
    }
}
