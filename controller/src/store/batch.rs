//! Many rows in one statement: a statement costs more than a row.

use sqlx::{Postgres, Sqlite, Transaction};

/// Rows of one statement at most.
const ROWS_MAX: usize = 256;

/// Prepared statements that a connection keeps: there are some dozens, and some of them in nine sizes.
pub(super) const STATEMENTS_KEPT: usize = 256;

/// Rows for one statement. Statements are prepared for 1, 2, 4 rows and so on, and one that has more places than there are rows
/// is cheaper than two: each is a way to the database and back.
#[derive(Debug)]
pub(super) struct Piece<'a, T> {
    rows: &'a [T],
    places: usize,
}

impl<'a, T> Piece<'a, T> {
    /// Rows that the statement has places for.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What goes into each place, with the last row as often as there are places left: for statements to which a row means the
    /// same twice.
    pub(super) fn repeating_the_last(&self) -> impl Iterator<Item = &'a T> {
        let again = self.rows.last().into_iter().cycle();
        self.rows.iter().chain(again).take(self.places)
    }

    /// What goes into each place, with nothing in the places that are left.
    pub(super) fn padded(&self) -> impl Iterator<Item = Option<&'a T>> {
        let nothing = std::iter::repeat_with(|| None);
        self.rows.iter().map(Some).chain(nothing).take(self.places)
    }
}

/// `rows` in pieces of the sizes that statements are prepared for.
pub(super) fn pieces<T>(rows: &[T]) -> impl Iterator<Item = Piece<'_, T>> {
    rows.chunks(ROWS_MAX).map(|rows| Piece {
        rows,
        places: rows.len().next_power_of_two(),
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
    fn every_row_is_in_one_piece_and_every_place_is_filled() {
        for count in [0, 1, 2, 3, 7, 8, 40, 127, 128, 256, 257, 300] {
            let rows: Vec<_> = (0..count).collect();
            let (mut again, mut padded) = (Vec::new(), Vec::new());
            for piece in pieces(&rows) {
                let filled: Vec<_> = piece.repeating_the_last().copied().collect();
                assert_eq!(filled.len(), piece.places());
                assert!(
                    filled[piece.len() - 1..]
                        .iter()
                        .all(|row| *row == filled[piece.len() - 1])
                );
                again.extend_from_slice(&filled[..piece.len()]);
                assert_eq!(piece.padded().count(), piece.places());
                padded.extend(piece.padded().flatten().copied());
            }
            assert_eq!((&again, &padded), (&rows, &rows));
        }
    }

    #[test]
    fn each_value_has_its_place() {
        assert_eq!(places(Some(1), 2, 2), "($1,$2),($3,$4)");
        assert_eq!(values_from(3, 1, 1), "($3)");
        assert_eq!(places(None, 2, 2), "(?,?),(?,?)");
    }
}
