//! Training on some classes alone, so that all others are anomalies of the test set.

use super::Dataset;
use crate::error::{Error, Result};

impl Dataset {
    /// With the training examples of these classes alone; the test set keeps all. No classes keep everything.
    ///
    /// # Errors
    /// A data set without labels, a class that it does not have, classes without a training example.
    pub fn normal_alone(mut self, classes: &[usize]) -> Result<Dataset> {
        if classes.is_empty() {
            return Ok(self);
        }
        let labels = self.train.labels().ok_or_else(|| {
            Error::Usage(format!("--normal names classes, and {} has no labels: leave it out", self.name))
        })?;
        let known = self.columns().label(super::table::LABELS)?;
        if let Some(class) = classes.iter().find(|&&class| class >= known) {
            return Err(Error::Usage(format!(
                "--normal names the class {class}, and those of {} are 0 to {}",
                self.name,
                known - 1
            )));
        }
        let is_normal = |&at: &usize| classes.contains(&usize::from(labels[at]));
        let kept: Vec<usize> = (0..self.train.count).filter(is_normal).collect();
        if kept.is_empty() {
            let classes: Vec<String> = classes.iter().map(usize::to_string).collect();
            return Err(Error::Usage(format!(
                "--normal is {}, and {} has no training {} of it",
                classes.join(","),
                self.name,
                self.example()
            )));
        }
        self.train = self.train.kept(&kept);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;

    fn data() -> Dataset {
        let split = || Table::of_pictures([1, 1, 1], vec![10, 11, 12, 13], Some((vec![0, 1, 2, 1], 4)));
        Dataset {
            name: "array:x".into(),
            class_names: Vec::new(),
            vocabulary: None,
            spectrogram: None,
            train: split(),
            test: split(),
        }
    }

    #[test]
    fn training_keeps_the_normal_classes_and_testing_all() {
        let normal = data().normal_alone(&[1, 2]).unwrap();
        assert_eq!((normal.train.pixels(), normal.train.labels()), (&[11, 12, 13][..], Some(&[1, 2, 1][..])));
        assert_eq!(normal.test, data().test);
        assert_eq!(data().normal_alone(&[]).unwrap(), data());
    }

    #[test]
    fn classes_that_are_not_there_are_refused() {
        let message = |data: Dataset, classes: &[usize]| data.normal_alone(classes).unwrap_err().to_string();
        assert!(message(data(), &[1, 4]).contains("names the class 4, and those of array:x are 0 to 3"));
        assert!(message(data(), &[3]).contains("--normal is 3, and array:x has no training picture of it"));
        let mut bare = data();
        bare.train.columns.pop();
        assert!(message(bare, &[0]).contains("has no labels"));
    }
}
