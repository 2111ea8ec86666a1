//! A mean, and how far it may be off.

use serde::Serialize;

/// The mean of independent values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its standard error: the standard deviation of the values, divided by the root of their number. NaN of a single
    /// value, which says nothing of it.
    pub standard_error: f64,
}

impl Mean {
    /// Of some values.
    pub fn of(values: &[f64]) -> Mean {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Mean { mean, standard_error: (variance / n).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_standard_error_where_there_are_two_values() {
        let mean = Mean::of(&[1.0, 2.0, 3.0, 6.0]);
        // Deviations -2, -1, 0, 3: variance 14/3.
        assert_eq!((mean.mean, mean.standard_error), (3.0, (14.0f64 / 3.0 / 4.0).sqrt()));
        let one = Mean::of(&[2.0]);
        assert!(one.mean == 2.0 && one.standard_error.is_nan());
    }
}
