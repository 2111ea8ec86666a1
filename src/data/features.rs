//! What the numbers of a table's rows are called, and how they were standardised: x = (value - mean) / deviation. A
//! model keeps this, so that rows of another file come to it on the scale that it was trained on.

use serde::{Deserialize, Serialize};

use super::Dataset;
use super::table::{PICTURES, Table, Values};
use crate::error::{Error, Result};

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
    /// that is the same in all rows is only shifted.
    pub fn of(names: Vec<String>, rows: &[f64]) -> Features {
        let width = names.len();
        let count = (rows.len() / width).max(1) as f64;
        let column = |j: usize| rows.iter().skip(j).step_by(width);
        let mean: Vec<f64> = (0..width).map(|j| column(j).sum::<f64>() / count).collect();
        let deviation = |j: usize| {
            let variance = column(j).map(|value| (value - mean[j]).powi(2)).sum::<f64>() / count;
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

impl Table {
    /// Its vectors on the scale of other features, those that a model was trained on; a table without vectors as it is.
    /// Errors: features of other names, with the first that differs.
    pub fn on_scale_of(mut self, features: &Features, data: &str) -> Result<Table> {
        let column = self.columns.iter_mut().find(|column| column.name == PICTURES);
        let Some(Values::Numbers { rows, features: own }) = column.map(|column| &mut column.values) else {
            return Ok(self);
        };
        if own.names != features.names {
            return Err(Error::Usage(other_names(own, features, data)));
        }
        if own != features {
            *rows = features.standardised(&own.original(rows));
            *own = features.clone();
        }
        Ok(self)
    }
}

fn other_names(own: &Features, wanted: &Features, data: &str) -> String {
    if own.len() != wanted.len() {
        return format!("the rows of {data} have {} numbers, the model's {}", own.len(), wanted.len());
    }
    let at = (0..own.len()).find(|&j| own.names[j] != wanted.names[j]).expect("the names differ");
    format!("column {} of {data} is called `{}`, the model's `{}`", at + 1, own.names[at], wanted.names[at])
}

impl Dataset {
    /// Both splits [on the scale](Table::on_scale_of) of these features. Errors: features of other names.
    pub fn on_scale_of(mut self, features: &Features) -> Result<Dataset> {
        self.train = self.train.on_scale_of(features, &self.name)?;
        self.test = self.test.on_scale_of(features, &self.name)?;
        Ok(self)
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
        let broken = Features { deviation: vec![1.0, 0.0, 1.0], ..features };
        assert!(!broken.is_whole(3));
    }

    #[test]
    fn another_file_comes_on_the_models_scale() {
        let train = [0.0, 0.0, 2.0, 4.0];
        let model = Features::of(names(&["a", "b"]), &train);
        let other = [3.0, 3.0, 5.0, 9.0];
        let own = Features::of(names(&["a", "b"]), &other);
        let table = Table::of_numbers(own.standardised(&other), own.clone());
        let scaled = table.clone().on_scale_of(&model, "x.csv").unwrap();
        assert_eq!(scaled.values(0..2), [2.0, 0.5, 4.0, 3.5]);
        assert_eq!(scaled.features(), Some(&model));
        assert_eq!(table.clone().on_scale_of(&own, "x.csv").unwrap(), table);
        let message = |wanted: &[&str]| {
            let wanted = Features::unscaled(names(wanted));
            table.clone().on_scale_of(&wanted, "x.csv").unwrap_err().to_string()
        };
        assert!(message(&["a", "c"]).contains("column 2 of x.csv is called `b`, the model's `c`"));
        assert!(message(&["a"]).contains("have 2 numbers, the model's 1"));
    }
}
