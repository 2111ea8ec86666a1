//! Tables of numbers in CSV files: a header, then a row an example, `.csv` or `.csv.gz`. One column may be a label; the
//! others are the numbers of a vector, standardised by the training rows.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::audio;
use super::features::Features;
use super::progress::{Progress, Report};
use super::ratings::Protocol;
use super::selection::{Selection, hash};
use super::sequences::series::Windows;
use super::table::Table;
use super::text::Reading;
use super::{Dataset, MAX_BYTES, MAX_CLASSES};
use crate::error::{Error, Result, plain, shown};
use crate::files::open_regular;

/// Columns that are taken for labels where none is named.
pub(super) const LABEL_NAMES: [&str; 2] = ["anomaly", "label"];

/// How the rows of a file are read and parted: of a table, of ratings, of a text, of series, or of recordings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    /// The column of labels; `None` takes one that is called `anomaly` or `label`, if there is one. Of series several
    /// by commas: the first has the labels, and none is a channel.
    pub label_column: Option<String>,
    /// Which rows of one file are for training, of a table, a text or a series.
    pub split: Split,
    /// The labels of normal rows; empty for 0 alone.
    pub normal: Vec<usize>,
    /// Of ratings: what counts as liked, and which users are held out.
    pub ratings: Protocol,
    /// Of a text: what its tokens are, which of them are words of the vocabulary, how long its sentences may be.
    pub text: Reading,
    /// The most steps of a sequence that a trained model takes; `None` takes what the longest one has.
    pub longest_sequence: Option<usize>,
    /// Of recordings: how they become pictures.
    pub audio: audio::Reading,
    /// Of series: the windows.
    pub windows: Windows,
    /// The columns and the scale of a trained model; `None` takes those of the training rows. A scale that a file takes
    /// from its own rows would move with a single outlier among them.
    pub scale: Option<Features>,
}

/// Which rows of a file are for training and which for testing. A folder's `train.csv` and `test.csv` say it
/// themselves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Split {
    /// `share:0.2` or `share:0.2:SEED`: this share of the rows is for testing, drawn by the seed; of a series the last
    /// ones.
    Share {
        /// Above 0 and below 1.
        test: f64,
        /// The same one draws the same rows.
        seed: u64,
    },
    /// `normal:0.5`: the first half, in file order, of the normal rows is for training. The others and all anomalies
    /// are for testing.
    Normal(f64),
    /// `first:400`: the first 400 rows are for training, the others for testing.
    First(usize),
}

impl Default for Split {
    fn default() -> Split {
        Split::Share { test: 0.2, seed: 1 }
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Split> {
        let words: Vec<&str> = text.split(':').map(str::trim).collect();
        let share = |text: &str| text.parse().ok().filter(|share| 0.0 < *share && *share < 1.0);
        let split = match *words {
            ["share", test] => share(test).map(|test| Split::Share { test, seed: 1 }),
            ["share", test, seed] => share(test).zip(seed.parse().ok()).map(|(test, seed)| Split::Share { test, seed }),
            ["normal", train] => share(train).map(Split::Normal),
            ["first", rows] => rows.parse().ok().filter(|rows| *rows > 0).map(Split::First),
            _ => None,
        };
        split.ok_or_else(|| {
            Error::Usage(format!(
                "`{text}` is no split: share:0.2 tests on that share of the rows (share:0.2:SEED), normal:0.5 trains \
                 on that share of the normal rows, the first ones, first:400 trains on the first 400 rows"
            ))
        })
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Split::Share { test, seed: 1 } => write!(f, "share:{test}"),
            Split::Share { test, seed } => write!(f, "share:{test}:{seed}"),
            Split::Normal(train) => write!(f, "normal:{train}"),
            Split::First(rows) => write!(f, "first:{rows}"),
        }
    }
}

impl TryFrom<String> for Split {
    type Error = Error;

    fn try_from(text: String) -> Result<Split> {
        text.parse()
    }
}

impl From<Split> for String {
    fn from(split: Split) -> String {
        split.to_string()
    }
}

/// A file's rows as they are read.
struct Rows {
    /// Of the F numbers.
    names: Vec<String>,
    /// (N,F)
    values: Vec<f64>,
    /// (N); `None` without a column of labels.
    labels: Option<Vec<u8>>,
}

impl Rows {
    /// N
    fn count(&self) -> usize {
        self.values.len() / self.names.len()
    }

    /// These rows.
    fn chosen(&self, rows: &[usize]) -> Rows {
        let width = self.names.len();
        Rows {
            names: self.names.clone(),
            values: rows.iter().flat_map(|&row| &self.values[row * width..][..width]).copied().collect(),
            labels: self.labels.as_ref().map(|labels| rows.iter().map(|&row| labels[row]).collect()),
        }
    }
}

/// Reads the file `path`, or the files `train.csv` and `test.csv` of a folder. Under [`Selection::All`] all rows of a
/// file are test rows.
///
/// # Errors
/// A file that is no table of numbers, by line and column; a split that leaves nothing; a folder without the two files,
/// or whose two have other columns; columns that are not those of the form's scale.
pub fn open(path: &Path, form: &Form, selection: Selection, report: &mut Report) -> Result<Dataset> {
    let (train, test) = match path.is_dir() {
        true => {
            let [train, test] = [member(path, "train")?, member(path, "test")?];
            let [rows, test_rows] = [read(&train, form, true)?, read(&test, form, true)?];
            if rows.names != test_rows.names || rows.labels.is_some() != test_rows.labels.is_some() {
                return Err(Error::file(test, format!("has other columns than {}", shown(&train))));
            }
            (rows, test_rows)
        }
        false => {
            // Rows that a model is only to be asked about may lack the labels that it was trained with.
            let rows = read(path, form, selection != Selection::All)?;
            let (train, test, how) = parted(&rows, form, selection, path)?;
            report(Progress::Notice(&format!("note: {} is one table: {how}", shown(path))));
            (rows.chosen(&train), rows.chosen(&test))
        }
    };
    let scaled_by = if train.values.is_empty() { &test } else { &train };
    let features = match &form.scale {
        Some(scale) => {
            scale.check_names(&scaled_by.names, &shown(path))?;
            scale.clone()
        }
        None => Features::of(scaled_by.names.clone(), &scaled_by.values),
    };
    let largest = train.labels.iter().chain(&test.labels).flatten().max();
    let classes = largest.map_or(0, |&largest| (usize::from(largest) + 1).max(2));
    let name = format!("table:{}", stem(path));
    let table = |rows: Rows| {
        let numbers = features.standardised(&rows.values);
        features.check(&numbers, &name)?;
        let table = Table::of_numbers(numbers, features.clone());
        Ok(match rows.labels {
            Some(labels) => table.with_labels(labels, classes),
            None => table,
        })
    };
    let (train, test) = (table(train)?, table(test)?);
    Ok(Dataset { name, class_names: Vec::new(), vocabulary: None, spectrogram: None, train, test })
}

/// `a` of `x/a.csv.gz`.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    plain(name.strip_suffix(".csv").unwrap_or(name))
}

/// A folder's `train.csv` or `train.csv.gz`.
fn member(folder: &Path, name: &str) -> Result<PathBuf> {
    let files = [format!("{name}.csv"), format!("{name}.csv.gz")].map(|name| folder.join(name));
    files.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::file(
            folder,
            format!("holds no {name}.csv: of a folder train.csv and test.csv are read, else give a file"),
        )
    })
}

// ---- The split

/// The training rows and the test rows, and the rule in words.
fn parted(rows: &Rows, form: &Form, selection: Selection, path: &Path) -> Result<(Vec<usize>, Vec<usize>, String)> {
    let all = 0..rows.count();
    if selection == Selection::All {
        return Ok((Vec::new(), all.collect(), "all its rows are taken".into()));
    }
    let (is_train, how): (Vec<bool>, String) = match form.split {
        Split::Share { test, seed } => {
            let (is_train, wanted) = drawn(rows.count(), test, seed);
            (is_train, format!("{wanted} of {} rows, drawn at random, are for testing", rows.count()))
        }
        Split::Normal(share) => {
            let labels = rows.labels.as_ref().ok_or_else(|| {
                Error::file(path, "has no column of labels, which --split normal needs: name it by --label-column")
            })?;
            let normal: &[usize] = if form.normal.is_empty() { &[0] } else { &form.normal };
            let is_normal = |row: usize| normal.contains(&usize::from(labels[row]));
            let there = all.clone().filter(|&row| is_normal(row)).count();
            let wanted = (there as f64 * share).round_ties_even() as usize;
            let mut left = wanted;
            let mut take = |row: usize| {
                let is_taken = is_normal(row) && left > 0;
                left -= usize::from(is_taken);
                is_taken
            };
            let how = format!(
                "the first {wanted} of {there} normal rows are for training, the others and {} anomalies for testing",
                rows.count() - there
            );
            (all.clone().map(&mut take).collect(), how)
        }
        Split::First(first) => {
            let how = format!("the first {first} of {} rows are for training, the others for testing", rows.count());
            (all.clone().map(|row| row < first).collect(), how)
        }
    };
    let (train, test): (Vec<usize>, Vec<usize>) = all.partition(|&row| is_train[row]);
    if train.is_empty() || test.is_empty() {
        return Err(Error::file(
            path,
            format!("has {} rows, of which {} leaves none to train or none to test on", rows.count(), form.split),
        ));
    }
    Ok((train, test, how))
}

/// Which of `count` rows are for training where the share `test` is drawn by the seed, and how many are not.
pub(super) fn drawn(count: usize, test: f64, seed: u64) -> (Vec<bool>, usize) {
    let wanted = ((count as f64 * test).round() as usize).max(1);
    let mut drawn: Vec<usize> = (0..count).collect();
    let key = |row: usize| [seed.to_le_bytes(), (row as u64).to_le_bytes()].concat();
    drawn.sort_by_cached_key(|&row| hash(&key(row)));
    let mut is_train = vec![true; count];
    drawn.iter().take(wanted).for_each(|&row| is_train[row] = false);
    (is_train, wanted)
}

// ---- A file

fn read(path: &Path, form: &Form, is_labelled: bool) -> Result<Rows> {
    let text = text(path)?;
    let mut reader = ReaderBuilder::new().delimiter(delimiter(&text)).flexible(true).from_reader(text.as_bytes());
    let broken = |e: csv::Error| Error::file(path, format!("is no CSV table: {e}"));
    let header: Vec<String> = reader.headers().map_err(broken)?.iter().map(|name| name.trim().to_string()).collect();
    let label = check_header(path, &header, form, is_labelled)?;

    let names: Vec<String> =
        header.iter().enumerate().filter(|(j, _)| Some(*j) != label).map(|(_, n)| n.clone()).collect();
    let mut rows = Rows { names, values: Vec::new(), labels: label.map(|_| Vec::new()) };
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(broken)? {
        let line = record.position().map_or(0, |position| position.line());
        check_length(path, line, record.len(), header.len())?;
        for (j, (cell, name)) in record.iter().zip(&header).enumerate() {
            let wrong = |problem: String| Error::file(path, format!("line {line}, column {}: {problem}", plain(name)));
            if Some(j) == label {
                let value = cell
                    .trim()
                    .parse::<f64>()
                    .ok()
                    .filter(|v| v.fract() == 0.0 && (0.0..MAX_CLASSES as f64).contains(v));
                let value = value.ok_or_else(|| {
                    wrong(format!("`{}` is no label: whole numbers from 0 to {} are", plain(cell), MAX_CLASSES - 1))
                })?;
                rows.labels.as_mut().expect("there is a column of labels").push(value as u8);
            } else {
                rows.values.push(number(cell).map_err(wrong)?);
            }
        }
    }
    if rows.values.is_empty() {
        return Err(Error::file(path, "has a header and no rows"));
    }
    Ok(rows)
}

/// The place of the label's column. Errors: a header without names, with a name twice, without a number, or without the
/// label that is asked for, if it must be there.
fn check_header(path: &Path, header: &[String], form: &Form, is_labelled: bool) -> Result<Option<usize>> {
    check_names(path, header)?;
    let place = |wanted: &str| header.iter().position(|name| name == wanted);
    let label = match &form.label_column {
        Some(wanted) if !is_labelled => place(wanted),
        Some(wanted) => Some(place(wanted).ok_or_else(|| no_column(path, wanted, header))?),
        None => LABEL_NAMES.iter().find_map(|name| place(name)),
    };
    match header.len() - usize::from(label.is_some()) {
        0 => Err(Error::file(path, "has no column of numbers")),
        _ => Ok(label),
    }
}

/// Refuses a header without names, or with a name twice.
pub(super) fn check_names(path: &Path, header: &[String]) -> Result<()> {
    if header.iter().all(|name| name.parse::<f64>().is_ok()) {
        return Err(Error::file(path, "its first line has no names: a table begins with a header"));
    }
    match header.iter().enumerate().find_map(|(j, name)| header[..j].contains(name).then_some(name)) {
        None => Ok(()),
        Some(name) => Err(Error::file(path, format!("two of its columns are called `{}`", plain(name)))),
    }
}

/// Refuses a row that is longer or shorter than the header.
pub(super) fn check_length(path: &Path, line: u64, values: usize, columns: usize) -> Result<()> {
    match values == columns {
        true => Ok(()),
        false => Err(Error::file(path, format!("line {line} has {values} values, and the header {columns} columns"))),
    }
}

/// That the column of labels that is asked for is not there.
pub(super) fn no_column(path: &Path, wanted: &str, header: &[String]) -> Error {
    let known = header.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
    Error::file(path, format!("has no column `{wanted}` (--label-column); it has {known}"))
}

/// What is between the cells of a text: a comma, a semicolon or a tab, by its first line.
pub(super) fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|&sign| first.contains(char::from(sign))).unwrap_or(b',')
}

/// The largest number of a cell: its square is summed over all rows.
const LARGEST: f64 = 1e100;

pub(super) fn number(cell: &str) -> std::result::Result<f64, String> {
    let cell = cell.trim();
    match cell.parse::<f64>() {
        Ok(value) if value.abs() <= LARGEST => Ok(value),
        _ if cell.is_empty() => Err("is empty, and a number is needed".into()),
        Ok(value) if value.is_nan() || value.is_infinite() => Err(format!("`{cell}` is no finite number")),
        Ok(_) => Err(format!("`{cell}` is too large to compute with")),
        Err(_) => Err(format!("`{}` is no number", plain(cell))),
    }
}

/// The file's text, unpacked where it is gzip, without the mark that some programs begin with.
pub(super) fn text(path: &Path) -> Result<String> {
    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    let mut read = |from: &mut dyn Read| from.take(MAX_BYTES + 1).read_to_end(&mut bytes).map(|_| ());
    let is_packed = path.extension().is_some_and(|ending| ending == "gz");
    let outcome = if is_packed { read(&mut MultiGzDecoder::new(file)) } else { read(&mut &file) };
    outcome.map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::file(path, format!("is more than the {MAX_BYTES} bytes that a data set may have")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::file(path, "is not UTF-8 text, which a CSV table is"))?;
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_string()),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests;
