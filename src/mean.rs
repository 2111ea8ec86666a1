//! A mean, how far it may be off, and how far the values lie apart.

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
        let (mean, squares) = squares(values);
        let n = values.len() as f64;
        Mean { mean, standard_error: (squares / (n - 1.0) / n).sqrt() }
    }
}

/// A mean of values, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean; NaN of no values.
    pub mean: f64,
    /// The standard deviation.
    pub standard_deviation: f64,
}

impl Spread {
    /// Of a sample of values: the squares are divided by one less than there are. NaN of a single value.
    pub fn of_sample(values: &[f64]) -> Spread {
        let (mean, squares) = squares(values);
        Spread { mean, standard_deviation: (squares / (values.len() as f64 - 1.0)).sqrt() }
    }

    /// Of all the values that there are: the squares are divided by their number.
    pub fn of_all(values: &[f64]) -> Spread {
        let (mean, squares) = squares(values);
        Spread { mean, standard_deviation: (squares / values.len() as f64).sqrt() }
    }
}

/// The mean, and the sum of the squared deviations from it.
fn squares(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum())
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

    #[test]
    fn a_spread_is_of_a_sample() {
        let Spread { mean, standard_deviation } = Spread::of_sample(&[1.0, 2.0, 4.0]);
        assert!((mean - 7.0 / 3.0).abs() < 1e-12 && (standard_deviation - (7f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!(Spread::of_sample(&[1.0]).standard_deviation.is_nan());
    }
}
