//! The little arithmetic that figures need.

/// The middle one, or the upper of the two in the middle; not a number when there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The smallest value that at least `percent` of all values do not exceed.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// The median of what `a` is beside `b`, round by round: a slow minute of the machine hits both.
pub(crate) fn paired(a: &[f64], b: &[f64], compare: impl Fn(f64, f64) -> f64) -> f64 {
    median(a.iter().zip(b).map(|(a, b)| compare(*a, *b)))
}

pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_mind_one_bad_round() {
        assert_eq!(median([3.0, 900.0, 1.0]), 3.0);
        assert_eq!(median([1.0, 2.0]), 2.0);
        assert!(median([]).is_nan());
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50.0, 99.0));
        assert_eq!(percentile(&[7.0, 8.0], 99), 8.0);
        assert_eq!(percentile(&[7.0], 0), 7.0);
    }

    #[test]
    fn pairs_are_compared_within_their_round() {
        assert_eq!(paired(&[10.0, 2.0, 30.0], &[5.0, 1.0, 10.0], |a, b| a / b), 2.0);
    }
}
