//! Data sets: files, or the built-in generator, become two splits resident in memory, one byte a pixel.
//!
//! Reading order: `sets` (which sets there are, and how their files are found), `idx` (the file format), `download`,
//! `digits` (the generator). `npy` writes and reads arrays for other programs.

pub mod digits;
pub mod download;
pub mod idx;
pub mod npy;
pub mod sets;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result, nearest};
use download::Client;
use sets::{Places, Set, SetName};

/// One split: N pictures of shape (C, H, W), one byte a pixel, and their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// N * C * H * W bytes, row-major.
    pub pixels: Vec<u8>,
    /// N, at least 1.
    pub count: usize,
    /// C, H, W.
    pub shape: [usize; 3],
    /// N labels, each below the data set's `classes`.
    pub labels: Option<Vec<u8>>,
}

impl Split {
    /// Bytes a picture: C * H * W.
    pub fn dims(&self) -> usize {
        self.shape.iter().product()
    }

    /// These pictures as the models take them: (rows, C * H * W) values in `[0,1]`.
    pub fn values(&self, pictures: Range<usize>) -> Vec<f32> {
        let bytes = &self.pixels[pictures.start * self.dims()..pictures.end * self.dims()];
        bytes.iter().map(|&byte| byte as f32 / 255.0).collect()
    }

    /// The first `n` pictures, or all where there are fewer.
    pub fn truncated(mut self, n: usize) -> Split {
        self.count = self.count.min(n);
        self.pixels.truncate(self.count * self.dims());
        if let Some(labels) = &mut self.labels {
            labels.truncate(self.count);
        }
        self
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// `mnist`, `digits`, ...: stands in every output, so that no result is taken for another set's.
    pub name: String,
    /// Every label is below this. A set whose labels start at 1 leaves label 0 unused.
    pub classes: usize,
    pub train: Split,
    pub test: Split,
}

/// Which data set was asked for. Parses from `auto` or the name of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// MNIST, or the built-in digits with a loud notice where it is neither on disk nor to be downloaded.
    Auto,
    Named(SetName),
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Choice> {
        if name == "auto" {
            return Ok(Choice::Auto);
        }
        SetName::ALL.iter().find(|set| set.as_str() == name).map(|&set| Choice::Named(set)).ok_or_else(|| {
            let names: Vec<&str> = SetName::ALL.iter().map(|set| set.as_str()).collect();
            let meant = nearest(name, names.iter().copied()).map_or(String::new(), |n| format!(" Did you mean {n}?"));
            Error::Usage(format!("there is no data set \"{name}\".{meant} There are: auto, {}", names.join(", ")))
        })
    }
}

/// Reads a data set into memory, and downloads it first where that is possible and needed.
///
/// Files are looked for in `data_dir` and its subfolder of the set's name; without it, in the folder of the
/// environment variable `ELBO_DATA`, likewise; without that, in `data/<set>`. `notices` is told what the user should
/// know (a download, a stand-in data set), some of it several lines long.
///
/// # Errors
/// Files that are missing, unreadable or not what they should be, each by name, and what to do about it. A damaged
/// file is always an error; only `Choice::Auto` without any file or network falls back.
pub fn open(choice: Choice, data_dir: Option<&Path>, notices: &mut dyn FnMut(&str)) -> Result<Dataset> {
    let variable = std::env::var_os("ELBO_DATA").filter(|value| !value.is_empty()).map(PathBuf::from);
    let name = match choice {
        Choice::Auto => SetName::Mnist,
        Choice::Named(name) => name,
    };
    let Some(set) = Set::of(name) else {
        return Ok(digits::dataset());
    };
    let places = Places::new(set, data_dir, variable.as_deref());
    match choice {
        Choice::Auto => open_or_digits(set, &places, &Client::default(), notices),
        Choice::Named(_) => set.open(&places, &Client::default(), notices),
    }
}

/// `set`, or the built-in digits where no file of it is there and none can be downloaded.
fn open_or_digits(set: &Set, places: &Places, client: &Client, notices: &mut dyn FnMut(&str)) -> Result<Dataset> {
    if let Err(reason) = set.make_available(places, client, notices) {
        if set.any_file_in(places) {
            return Err(reason);
        }
        notices(&format!(
            "****************************************************************\n\
             NOT {}: using the built-in, computer-drawn \"digits\" instead.\n\
             Numbers and pictures of this run do not compare with {}'s.\n\
             Reason: {reason}\n\
             ****************************************************************",
            set.name, set.name
        ));
        return Ok(digits::dataset());
    }
    set.open(places, client, notices)
}

#[cfg(test)]
mod tests {
    use super::sets::tests::{Fixture, offline};
    use super::*;

    #[test]
    fn truncated_keeps_whole_pictures_and_their_labels() {
        let split = Split { pixels: (0..12).collect(), count: 3, shape: [1, 2, 2], labels: Some(vec![7, 8, 9]) };
        let two = split.clone().truncated(2);
        assert_eq!(two, Split { pixels: (0..8).collect(), count: 2, shape: [1, 2, 2], labels: Some(vec![7, 8]) });
        assert_eq!(split.clone().truncated(9), split);
    }

    #[test]
    fn values_are_those_of_the_pictures_asked_for() {
        let split = Split { pixels: vec![0, 255, 51, 102, 1, 2], count: 3, shape: [1, 1, 2], labels: None };
        assert_eq!(split.values(0..2), [0.0, 1.0, 0.2, 0.4]);
        assert_eq!(split.values(1..3), [0.2, 0.4, 1.0 / 255.0, 2.0 / 255.0]);
    }

    #[test]
    fn names_parse_and_a_wrong_one_lists_the_right_ones() {
        assert_eq!("auto".parse::<Choice>().unwrap(), Choice::Auto);
        assert_eq!("emnist-letters".parse::<Choice>().unwrap(), Choice::Named(SetName::EmnistLetters));
        assert_eq!("digits".parse::<Choice>().unwrap(), Choice::Named(SetName::Digits));
        let message = "cifar".parse::<Choice>().unwrap_err().to_string();
        assert!(message.contains("fashion-mnist") && message.contains("digits"), "{message}");
    }

    #[test]
    fn the_built_in_digits_need_no_file() {
        let digits = open(Choice::Named(SetName::Digits), Some(Path::new("/nowhere")), &mut |_| ()).unwrap();
        assert_eq!((digits.name.as_str(), digits.train.count, digits.test.count), ("digits", 60_000, 10_000));
    }

    #[test]
    fn without_files_and_network_auto_gives_digits_loudly() {
        let fixture = Fixture::new();
        let mut notice = String::new();
        let places = fixture.places();
        let data = open_or_digits(&fixture.set, &places, &offline(), &mut |text| notice += text).unwrap();
        assert_eq!(data.name, "digits");
        assert!(notice.contains("NOT mnist") && notice.contains("do not compare"), "{notice}");
        assert!(notice.lines().count() > 4, "{notice}");
    }

    #[test]
    fn a_damaged_or_incomplete_set_is_an_error_not_a_fallback() {
        let fixture = Fixture::new();
        fixture.write_all();
        let labels = fixture.folder().join("t10k-labels-idx1-ubyte");
        std::fs::write(&labels, b"garbage").unwrap();
        let open = || open_or_digits(&fixture.set, &fixture.places(), &offline(), &mut |_| ());
        assert!(open().unwrap_err().to_string().contains("t10k-labels-idx1-ubyte"));
        std::fs::remove_file(&labels).unwrap();
        let message = open().unwrap_err().to_string();
        assert!(message.contains("t10k-labels-idx1-ubyte") && !message.contains("train-images"), "{message}");
    }
}
