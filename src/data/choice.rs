//! Which data set is asked for, by its argument of `--dataset` or by the name that a record has.

use std::str::FromStr;

use super::sets::SetName;
use super::{binarized_mnist, cifar};
use crate::error::{Error, Result, nearest};

/// Which data set was asked for. Parses from `auto`, the name of a set, or the name a
/// [`Dataset`](crate::data::Dataset) of it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// MNIST, or the built-in digits with a loud notice where it is neither on disk nor to be downloaded.
    Auto,
    /// A set in MNIST's format, or the built-in digits.
    Named(SetName),
    /// [`binarized_mnist`]
    BinarizedMnist,
    /// [`cifar::CIFAR10`]
    Cifar10,
    /// [`cifar::CIFAR100`]
    Cifar100,
    /// Picture files. The data set's name is `folder:<last part of its path>`.
    Folder,
    /// A NumPy file. The data set's name is `array:<file name without its ending>`.
    Array,
    /// A table of numbers in a CSV file. The data set's name is `table:<file name without its ending>`.
    Table,
    /// Ratings in a CSV file. The data set's name is `ratings:<name of the folder or the file>`.
    Ratings,
    /// Sentences in text files. The data set's name is `text:<name of the folder or the file>`.
    Text,
    /// Notes in a JSON file. The data set's name is `piano-rolls:<name of the file>`.
    PianoRolls,
    /// Pen strokes, a drawing a line. The data set's name is `strokes:<name of the folder>`.
    Strokes,
    /// Recordings in WAV files. The data set's name is `audio:<last part of its path>`.
    Audio,
    /// Series of numbers in CSV files. The data set's name is `series:<name of the folder or the file>`.
    Series,
}

impl Choice {
    /// Whether it is read from where the user says, and from nowhere else.
    pub fn is_own(self) -> bool {
        let others = [Choice::Auto, Choice::BinarizedMnist, Choice::Cifar10, Choice::Cifar100];
        !others.contains(&self) && !matches!(self, Choice::Named(_))
    }

    /// Every choice by its argument of `--dataset`.
    pub(super) fn all() -> impl Iterator<Item = (&'static str, Choice)> {
        let files = SetName::ALL.iter().map(|&set| (set.as_str(), Choice::Named(set)));
        let others = [
            (binarized_mnist::NAME, Choice::BinarizedMnist),
            (cifar::CIFAR10.name, Choice::Cifar10),
            (cifar::CIFAR100.name, Choice::Cifar100),
            ("folder", Choice::Folder),
            ("array", Choice::Array),
            ("table", Choice::Table),
            ("ratings", Choice::Ratings),
            ("text", Choice::Text),
            ("piano-rolls", Choice::PianoRolls),
            ("strokes", Choice::Strokes),
            ("audio", Choice::Audio),
            ("series", Choice::Series),
        ];
        std::iter::once(("auto", Choice::Auto)).chain(files).chain(others)
    }
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Choice> {
        // `folder:faces` is the name in a run's record; its folder stands there too.
        let kind = match name.split_once(':') {
            Some((kind, _)) if kind.parse().is_ok_and(Choice::is_own) => kind,
            _ => name,
        };
        Choice::all().find(|(known, _)| *known == kind).map(|(_, choice)| choice).ok_or_else(|| {
            let names: Vec<&str> = Choice::all().map(|(known, _)| known).collect();
            let meant = nearest(name, names.iter().copied()).map_or(String::new(), |n| format!(" Did you mean {n}?"));
            Error::Usage(format!("there is no data set \"{name}\".{meant} There are: {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_a_wrong_one_lists_the_right_ones() {
        assert_eq!("auto".parse::<Choice>().unwrap(), Choice::Auto);
        assert_eq!("emnist-letters".parse::<Choice>().unwrap(), Choice::Named(SetName::EmnistLetters));
        assert_eq!("digits".parse::<Choice>().unwrap(), Choice::Named(SetName::Digits));
        let message = "cifar".parse::<Choice>().unwrap_err().to_string();
        assert!(message.contains("fashion-mnist") && message.contains("digits"), "{message}");
    }

    #[test]
    fn recorded_names_parse_like_their_kind() {
        for (name, choice) in [("folder", Choice::Folder), ("folder:a:b", Choice::Folder), ("array:x", Choice::Array)] {
            assert_eq!(name.parse::<Choice>().unwrap(), choice);
        }
        assert_eq!("cifar100".parse::<Choice>().unwrap(), Choice::Cifar100);
        assert!("mnist:x".parse::<Choice>().is_err());
        let message = "cifar".parse::<Choice>().unwrap_err().to_string();
        assert!(message.contains("Did you mean cifar10?") && message.contains("folder, array, table"), "{message}");
    }
}
