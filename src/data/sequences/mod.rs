//! Sequences of numbers as a data set: each example is some steps of C numbers, of which some may be missing. Examples
//! may overlap, as the windows of a series do: kept are the steps, and where each example begins and ends.

pub mod piano_rolls;
pub mod series;
pub mod strokes;

use std::ops::Range;
use std::path::Path;

use super::Dataset;
use super::features::Features;
use super::table::Table;
use crate::error::{Error, Result};

/// The most steps of an example.
pub const MOST_STEPS: usize = 1 << 16;

/// N examples of S steps of C numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequences {
    /// (N): the first step of each example.
    starts: Vec<u32>,
    /// (N): its steps, at least 1.
    counts: Vec<u32>,
    /// (S,C), row-major, on the scale that the features say; NaN where a number is missing.
    numbers: Numbers,
    /// C of them: what the numbers are called, and what they were before they were standardised.
    features: Features,
}

/// Numbers that are equal where their bits are: a missing one is NaN.
#[derive(Debug, Clone)]
struct Numbers(Vec<f32>);

impl PartialEq for Numbers {
    fn eq(&self, other: &Numbers) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.to_bits() == b.to_bits())
    }
}

impl Sequences {
    /// The examples that are these steps of `numbers` (S,C), NaN where one is missing. Panics on an example without a
    /// step or beyond the last, on an infinite number, and on 2^32 numbers.
    pub fn new(examples: &[Range<usize>], mut numbers: Vec<f32>, features: Features) -> Sequences {
        let steps = numbers.len() / features.len();
        assert!(
            numbers.len() == steps * features.len(),
            "{} numbers are no steps of {}",
            numbers.len(),
            features.len()
        );
        assert!(u32::try_from(numbers.len()).is_ok(), "{} numbers: they are numbered by 32 bits", numbers.len());
        let is_there = |example: &Range<usize>| example.start < example.end && example.end <= steps;
        assert!(examples.iter().all(is_there), "an example of {examples:?} is not within {steps} steps");
        for x in &mut numbers {
            assert!(!x.is_infinite(), "a number of a sequence is {x}");
            if x.is_nan() {
                // One of them, so that equal data are equal bits.
                *x = f32::NAN;
            }
        }
        let starts = examples.iter().map(|example| example.start as u32).collect();
        let counts = examples.iter().map(|example| example.len() as u32).collect();
        Sequences { starts, counts, numbers: Numbers(numbers), features }
    }

    /// Of whole sequences, each (steps,C), one after the other, the shortest first.
    pub fn of_rows(mut rows: Vec<Vec<f32>>, features: Features) -> Sequences {
        rows.sort_by_key(Vec::len);
        let mut end = 0;
        let mut next = |row: &Vec<f32>| {
            let start = end;
            end += row.len() / features.len();
            start..end
        };
        let examples: Vec<Range<usize>> = rows.iter().map(&mut next).collect();
        Sequences::new(&examples, rows.concat(), features)
    }

    /// N
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// (N): the first step of each example.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// (N): the steps of each example.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// (S,C): the numbers of all steps, NaN where one is missing.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers.0
    }

    /// What the numbers are.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The numbers of an example, (steps,C).
    pub fn row(&self, n: usize) -> &[f32] {
        let [start, count] = [self.starts[n], self.counts[n]].map(|n| n as usize * self.features.len());
        &self.numbers.0[start..start + count]
    }

    /// (examples, length*C): the numbers of each example, then NaN. Panics on a longer example.
    pub fn padded(&self, examples: Range<usize>, length: usize) -> Vec<f32> {
        let width = length * self.features.len();
        let mut x = vec![f32::NAN; examples.len() * width];
        for (x, n) in x.chunks_mut(width).zip(examples) {
            let row = self.row(n);
            x[..row.len()].copy_from_slice(row);
        }
        x
    }

    /// A copy of these examples. Steps that no example has any more stay.
    pub fn chosen(&self, examples: &[usize]) -> Sequences {
        let of = |values: &[u32]| examples.iter().map(|&n| values[n]).collect();
        Sequences { starts: of(&self.starts), counts: of(&self.counts), ..self.clone() }
    }

    /// Drops all but the first examples.
    pub fn truncate(&mut self, count: usize) {
        self.starts.truncate(count);
        self.counts.truncate(count);
        let ends = self.starts.iter().zip(&self.counts).map(|(start, count)| (start + count) as usize);
        self.numbers.0.truncate(ends.max().unwrap_or(0) * self.features.len());
        self.numbers.0.shrink_to_fit();
    }
}

/// A data set of whole sequences, each (steps,C). `longest` is what a trained model takes at most; `None` takes the
/// longest of all. Errors: none to train or to test on; one that is longer.
fn dataset(
    name: String,
    [train, test]: [Vec<Vec<f32>>; 2],
    features: Features,
    longest: Option<usize>,
    place: &Path,
) -> Result<Dataset> {
    for (rows, what) in [(&train, "train"), (&test, "test")] {
        if rows.is_empty() {
            return Err(Error::file(place, format!("has no sequence to {what} on")));
        }
    }
    let steps = |rows: &[Vec<f32>]| rows.iter().map(|row| row.len() / features.len()).max().unwrap_or(0);
    let there = steps(&train).max(steps(&test));
    let most = longest.unwrap_or(MOST_STEPS);
    if there > most {
        let whose = if longest.is_some() { "the model takes" } else { "a sequence may have" };
        return Err(Error::file(place, format!("has a sequence of {there} steps, and {whose} {most} at most")));
    }
    let longest = longest.unwrap_or(there);
    let table = |rows| Table::of_sequences(Sequences::of_rows(rows, features.clone()), longest);
    let (train, test) = (table(train), table(test));
    Ok(Dataset { name, class_names: Vec::new(), vocabulary: None, spectrogram: None, train, test })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(names: &[&str]) -> Features {
        Features::unscaled(names.iter().map(|name| name.to_string()).collect())
    }

    #[test]
    fn whole_sequences_lie_one_after_the_other_by_length() {
        let rows = vec![vec![1.0, 2.0, 3.0, 4.0], vec![5.0, f32::NAN]];
        let mut sequences = Sequences::of_rows(rows, features(&["a", "b"]));
        assert_eq!((sequences.count(), sequences.starts(), sequences.counts()), (2, &[0, 1][..], &[1, 2][..]));
        assert!(sequences.row(0)[0] == 5.0 && sequences.row(0)[1].is_nan());
        assert_eq!(sequences.row(1), [1.0, 2.0, 3.0, 4.0]);
        let padded = sequences.padded(0..2, 3);
        assert_eq!(padded.iter().map(|x| x.is_nan()).filter(|&nan| nan).count(), 1 + 4 + 2);
        assert_eq!(sequences.chosen(&[1, 0, 1]).counts(), [2, 1, 2]);
        assert!(sequences == sequences.clone() && sequences != sequences.chosen(&[0, 1, 1]));
        sequences.truncate(1);
        assert_eq!((sequences.count(), sequences.numbers().len()), (1, 2));
        sequences.truncate(0);
        assert_eq!((sequences.count(), sequences.numbers().len()), (0, 0));
    }

    #[test]
    fn windows_of_a_series_overlap() {
        let windows = Sequences::new(&[0..3, 1..4], vec![1.0, 2.0, 3.0, 4.0], features(&["load"]));
        assert_eq!((windows.row(0), windows.row(1)), (&[1.0, 2.0, 3.0][..], &[2.0, 3.0, 4.0][..]));
    }

    #[test]
    #[should_panic(expected = "not within 2 steps")]
    fn a_window_beyond_the_end_is_a_mistake() {
        let beyond = 0..3;
        Sequences::new(&[beyond], vec![1.0, 2.0], features(&["load"]));
    }
}
