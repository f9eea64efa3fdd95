//! Many rows in one statement: a statement costs more than a row.

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

/// `($1,$2),($3,$4)`: placeholders for so many rows, numbered from `first` on.
pub(super) fn values(first: usize, rows: usize, columns: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..columns {
            let comma = if column == 0 { "" } else { "," };
            text.push_str(&format!("{comma}${}", first + row * columns + column));
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
    fn placeholders_are_numbered_through() {
        assert_eq!(values(1, 2, 2), "($1,$2),($3,$4)");
        assert_eq!(values(3, 1, 1), "($3)");
    }
}
