//! Text as a data set: a line is a sentence, and a sentence a row of ids, each of a word of the vocabulary, with the
//! end symbol last. The vocabulary is that of the training sentences, or of the model that is to read them.
//!
//! The rows of each split lie by their length, the shortest first, so that neighbours make a batch of one length.

mod lines;
pub mod vocabulary;

use std::path::Path;

use super::Dataset;
use super::csv_table::{Split, drawn};
use super::progress::{Progress, Report};
use super::ragged::Ragged;
use super::selection::Selection;
use super::table::Table;
use crate::error::{Error, Result, shown};
use lines::Lines;
pub(super) use lines::{files_in, name_of, read};
use vocabulary::{Tokenisation, UNK, Vocabulary};

/// The most words of a vocabulary.
pub const MOST_WORDS: usize = 1 << 20;
/// The longest that a sentence may be allowed to be.
pub const MOST_TOKENS: usize = 1 << 16;
/// The shortest that a sentence can be: a word and the end.
pub const FEWEST_TOKENS: usize = 2;

/// How lines become rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What a token is.
    pub tokens: Tokenisation,
    /// A word that training sentences have less often is unknown.
    pub min_count: usize,
    /// Sentences of more tokens, the end counted, are left out.
    pub longest: usize,
    /// The vocabulary of a trained model, which also says what a token is; `None` makes one of the training sentences.
    pub vocabulary: Option<Vocabulary>,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { tokens: Tokenisation::Words, min_count: 2, longest: 60, vocabulary: None }
    }
}

/// Reads the file `place`, parted by `split`, or the files `train.txt` and `test.txt` of a folder, plain or compressed.
/// Under [`Selection::All`] all lines of a file are test sentences.
///
/// # Errors
/// A file that is no text, by its line; a split that leaves nothing; a folder without the files; no sentence that is
/// short enough; a vocabulary without words, or of too many.
pub fn open(
    place: &Path,
    reading: &Reading,
    split: Split,
    selection: Selection,
    report: &mut Report,
) -> Result<Dataset> {
    let name = format!("text:{}", lines::name_of(place));
    let mut note = |text: String| report(Progress::Notice(&format!("note: {name}: {text}")));
    let (files, [train, test], empty) = match place.is_dir() {
        true => {
            let files = files_in(place, "txt")?;
            let [train, test] = [lines::read(&files[0])?, lines::read(&files[1])?];
            if !files[1].file_name().is_some_and(|name| name.to_string_lossy().starts_with("test")) {
                note(format!("has no test.txt, so {} is tested on", shown(&files[1])));
            }
            (files, [train.sentences, test.sentences], train.empty + test.empty)
        }
        false => {
            let Lines { sentences, empty } = lines::read(place)?;
            let (parts, how) = parted(sentences, split, selection, place)?;
            note(format!("is one text: {how}"));
            ([place.to_path_buf(), place.to_path_buf()], parts, empty)
        }
    };
    if empty > 0 {
        note(format!("{empty} empty lines are left out"));
    }
    let tokens = reading.vocabulary.as_ref().map_or(reading.tokens, Vocabulary::tokens);
    let is_all = train.is_empty();
    let (train, too_long) = short_enough(train, tokens, reading.longest);
    let (test, too_long_to_test) = short_enough(test, tokens, reading.longest);
    let rule = format!("more than {} tokens, the end counted (--longest)", reading.longest);
    if too_long + too_long_to_test > 0 {
        let sentences = too_long + too_long_to_test;
        note(format!("{sentences} sentences of {rule}, are left out"));
    }
    let left = [train.len() + usize::from(is_all), test.len()];
    if let Some((_, file)) = left.iter().zip(&files).find(|(left, _)| **left == 0) {
        return Err(Error::file(file, format!("has no sentence left: each has {rule}")));
    }
    let vocabulary = match &reading.vocabulary {
        Some(vocabulary) => vocabulary.clone(),
        None => new_vocabulary(if is_all { &test } else { &train }, reading, &files[0])?,
    };
    let sizes = [vocabulary.len(), reading.longest];
    let (train, test) = (rows(&train, &vocabulary, &files[0])?, rows(&test, &vocabulary, &files[1])?);
    let told = describe([&train, &test], &vocabulary, reading);
    report(Progress::Notice(&format!("{name}: {told}")));
    let (train, test) = (Table::of_tokens(train, sizes), Table::of_tokens(test, sizes));
    Ok(Dataset { name, class_names: Vec::new(), vocabulary: Some(vocabulary), spectrogram: None, train, test })
}

/// The training and the test sentences of one file, and the rule in words.
fn parted(
    sentences: Vec<String>,
    split: Split,
    selection: Selection,
    path: &Path,
) -> Result<([Vec<String>; 2], String)> {
    if selection == Selection::All {
        return Ok(([Vec::new(), sentences], "all its sentences are taken".into()));
    }
    let Split::Share { test, seed } = split else {
        return Err(Error::Usage(format!(
            "--split {split} is for tables, and the test sentences of a text are drawn: share:0.2"
        )));
    };
    let count = sentences.len();
    let (is_train, wanted) = drawn(count, test, seed);
    let mut is_train = is_train.into_iter();
    let (train, test): (Vec<String>, Vec<String>) =
        sentences.into_iter().partition(|_| is_train.next().expect("one for each sentence"));
    if train.is_empty() || test.is_empty() {
        let problem = format!("has {count} sentences, of which {split} leaves none to train or none to test on");
        return Err(Error::file(path, problem));
    }
    Ok(([train, test], format!("{wanted} of {count} sentences, drawn at random, are for testing")))
}

/// The sentences of `longest` tokens at most, the end counted, and how many others there were.
fn short_enough(sentences: Vec<String>, tokens: Tokenisation, longest: usize) -> (Vec<String>, usize) {
    let count = sentences.len();
    let kept: Vec<String> = sentences.into_iter().filter(|line| tokens.count(line) < longest).collect();
    let left_out = count - kept.len();
    (kept, left_out)
}

/// The vocabulary of these sentences. Errors: no word, or too many, for the file that they are of.
fn new_vocabulary(sentences: &[String], reading: &Reading, file: &Path) -> Result<Vocabulary> {
    let lines = sentences.iter().map(String::as_str);
    let vocabulary = Vocabulary::of(lines, reading.tokens, reading.min_count);
    let of = format!("of its {} training sentences are seen {} times or more", sentences.len(), reading.min_count);
    match vocabulary.words().len() {
        0 => Err(Error::file(file, format!("no words {of}: make --min-count smaller"))),
        words if words > MOST_WORDS => {
            let problem =
                format!("{words} words {of}, and a vocabulary has {MOST_WORDS} at most: make --min-count larger");
            Err(Error::file(file, problem))
        }
        _ => Ok(vocabulary),
    }
}

/// The rows of sentences, the shortest first, those of one length in the order of the file. Errors: more tokens than
/// 32 bits number.
fn rows(sentences: &[String], vocabulary: &Vocabulary, file: &Path) -> Result<Ragged> {
    let mut rows: Vec<Vec<u32>> = sentences.iter().map(|line| vocabulary.encode(line)).collect();
    rows.sort_by_key(Vec::len);
    let tokens: usize = rows.iter().map(Vec::len).sum();
    if u32::try_from(tokens).is_err() {
        return Err(Error::file(file, format!("has {tokens} tokens, and a data set holds {} at most", u32::MAX)));
    }
    Ok(Ragged::new(rows.iter().map(Vec::as_slice), vocabulary.len()))
}

/// Vocabulary, lengths and unknown words in a line.
fn describe([train, test]: [&Ragged; 2], vocabulary: &Vocabulary, reading: &Reading) -> String {
    let words = vocabulary.words().len();
    let seen = match (&reading.vocabulary, reading.min_count) {
        (Some(_), _) => "the model's".to_string(),
        (None, 1) => "all of training".to_string(),
        (None, count) => format!("seen {count} times or more"),
    };
    let kind = if vocabulary.tokens() == Tokenisation::Words { "words" } else { "characters" };
    let mean = |rows: &Ragged| rows.entries().len() as f64 / rows.count() as f64;
    let lengths = match train.count() {
        0 => format!("{:.2} tokens a sentence", mean(test)),
        _ => format!("{:.2} tokens a training and {:.2} a test sentence", mean(train), mean(test)),
    };
    let unknown = test.entries().iter().filter(|&&id| id == UNK).count() as f64 / test.entries().len() as f64;
    format!(
        "a vocabulary of {} ({words} {kind}, {seen}; <unk> and the end); {lengths}, the end counted; {:.1} % of the \
         test tokens are unknown",
        words + 2,
        100.0 * unknown
    )
}

#[cfg(test)]
mod tests;
