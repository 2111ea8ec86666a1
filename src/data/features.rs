//! What the numbers of a table's rows are called, and how they were standardised: x = (value - mean) / deviation. A
//! model keeps this, so that rows of another file come to it on the scale that it was trained on.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, plain};

/// Deviations from the mean of the training rows at most.
const FURTHEST: f32 = 1e12;

/// The F numbers of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// As in the header of their table.
    pub names: Vec<String>,
    /// What is taken away of each.
    pub mean: Vec<f64>,
    /// What each is then divided by, positive.
    pub deviation: Vec<f64>,
}

impl Features {
    /// Numbers that are as they were.
    pub fn unscaled(names: Vec<String>) -> Features {
        let (mean, deviation) = (vec![0.0; names.len()], vec![1.0; names.len()]);
        Features { names, mean, deviation }
    }

    /// F
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Mean and deviation of rows (N,F): the population's, divided by N, as in scikit-learn's StandardScaler. A number
    /// that is the same in all rows is only shifted. NaN is a number that is missing, and passed over.
    pub fn of(names: Vec<String>, rows: &[f64]) -> Features {
        let width = names.len();
        let column = |j: usize| rows.iter().skip(j).step_by(width).filter(|value| !value.is_nan());
        let count = |j: usize| column(j).count().max(1) as f64;
        let mean: Vec<f64> = (0..width).map(|j| column(j).sum::<f64>() / count(j)).collect();
        let deviation = |j: usize| {
            let variance = column(j).map(|value| (value - mean[j]).powi(2)).sum::<f64>() / count(j);
            // What rounding leaves of a column of equal numbers is no deviation.
            let least = 1e-12 * mean[j].abs().max(f64::MIN_POSITIVE);
            if variance.sqrt() > least { variance.sqrt() } else { 1.0 }
        };
        let deviation = (0..width).map(deviation).collect();
        Features { names, mean, deviation }
    }

    /// Rows (N,F) as models take them.
    pub fn standardised(&self, rows: &[f64]) -> Vec<f32> {
        let scaled = |(j, value): (usize, &f64)| ((value - self.mean[j]) / self.deviation[j]) as f32;
        rows.chunks(self.len()).flat_map(|row| row.iter().enumerate().map(scaled)).collect()
    }

    /// Refuses standardised rows (N,F) with a number so far from the training rows that its square is no f32. Errors:
    /// the first one, by row and column. NaN is a number that is missing.
    pub fn check(&self, rows: &[f32], data: &str) -> Result<()> {
        let Some(at) = rows.iter().position(|x| x.abs() > FURTHEST) else { return Ok(()) };
        let [row, column] = [at / self.len(), at % self.len()];
        Err(Error::Usage(format!(
            "row {row} of {data}: column {} is more than {FURTHEST:e} deviations of the training rows from their mean",
            plain(&self.names[column])
        )))
    }

    /// Refuses numbers of other names, or in another order. Errors: the first name that is not there or elsewhere.
    pub fn check_names(&self, found: &[String], data: &str) -> Result<()> {
        let problem = |text: String| Err(Error::Usage(text));
        if let Some(lacking) = self.names.iter().find(|name| !found.contains(name)) {
            return problem(format!("{data} has no column `{}`, which the model takes", plain(lacking)));
        }
        if found.len() != self.len() {
            return problem(format!("the rows of {data} have {} numbers, the model's {}", found.len(), self.len()));
        }
        match found.iter().zip(&self.names).position(|(found, own)| found != own) {
            None => Ok(()),
            Some(at) => problem(format!(
                "column {} of {data} is called `{}`, the model's `{}`: put them into the model's order",
                at + 1,
                plain(&found[at]),
                plain(&self.names[at])
            )),
        }
    }

    /// What standardised rows (N,F) were before.
    pub fn original(&self, rows: &[f32]) -> Vec<f64> {
        let value = |(j, x): (usize, &f32)| f64::from(*x) * self.deviation[j] + self.mean[j];
        rows.chunks(self.len()).flat_map(|row| row.iter().enumerate().map(value)).collect()
    }

    /// Whether a file that claims them can be taken at its word: as many of each, and scales that can be computed with.
    pub fn is_whole(&self, width: usize) -> bool {
        let lengths = [self.names.len(), self.mean.len(), self.deviation.len()];
        lengths == [width; 3]
            && self.mean.iter().all(|mean| mean.is_finite())
            && self.deviation.iter().all(|deviation| deviation.is_finite() && *deviation > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn rows_are_standardised_and_come_back() {
        let rows = [1e9, 5.0, 2.0, 1e9 + 2.0, 5.0, 4.0, 1e9 + 4.0, 5.0, 6.0];
        let features = Features::of(names(&["time", "constant", "c"]), &rows);
        assert_eq!(features.mean, [1e9 + 2.0, 5.0, 4.0]);
        assert_eq!(features.deviation, [(8.0f64 / 3.0).sqrt(), 1.0, (8.0f64 / 3.0).sqrt()]);
        let x = features.standardised(&rows);
        let edge = 2.0 / (8.0f64 / 3.0).sqrt() as f32;
        assert!((x[0] + edge).abs() < 1e-6 && x[1] == 0.0 && (x[8] - edge).abs() < 1e-6, "{x:?}");
        assert!(features.original(&x).iter().zip(rows).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(features.is_whole(3) && !features.is_whole(2));
        let with_gaps = Features::of(names(&["a", "b"]), &[1.0, f64::NAN, f64::NAN, 4.0, 3.0, 8.0]);
        assert_eq!((with_gaps.mean, with_gaps.deviation), (vec![2.0, 6.0], vec![1.0, 2.0]));
        let broken = Features { deviation: vec![1.0, 0.0, 1.0], ..features };
        assert!(!broken.is_whole(3));
    }

    #[test]
    fn numbers_of_other_names_are_refused() {
        let model = Features::unscaled(names(&["a", "b"]));
        let message = |found: &[&str]| model.check_names(&names(found), "x.csv").unwrap_err().to_string();
        assert!(model.check_names(&names(&["a", "b"]), "x.csv").is_ok());
        assert!(message(&["a", "c"]).contains("x.csv has no column `b`, which the model takes"));
        assert!(message(&["b", "a"]).contains("column 1 of x.csv is called `b`, the model's `a`"));
        assert!(message(&["a", "b", "c"]).contains("have 3 numbers, the model's 2"));
    }

    #[test]
    fn numbers_that_f32_cannot_square_are_refused() {
        let model = Features::unscaled(names(&["a", "b"]));
        assert!(model.check(&[1.0, -9e11, f32::NAN, 0.0], "x.csv").is_ok());
        for wrong in [f32::INFINITY, -2e12] {
            let message = model.check(&[1.0, 2.0, 3.0, wrong], "x.csv").unwrap_err().to_string();
            assert!(message.contains("row 1 of x.csv: column b is more than 1e12 deviations"), "{message}");
        }
    }
}
