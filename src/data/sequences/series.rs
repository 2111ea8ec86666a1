//! Series of numbers in CSV files, a row a step: files become windows of equally many steps, which overlap without a
//! copy. A file is a series of its own, and no window crosses from one to the next. In each, training comes before
//! testing, so that nothing is trained on that is later than what it is tested on.

mod file;

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Sequences;
use crate::data::Dataset;
use crate::data::csv_table::{Form, Split};
use crate::data::features::Features;
use crate::data::progress::{Progress, Report};
use crate::data::selection::Selection;
use crate::data::table::Table;
use crate::error::{Error, Result, plain, shown};

/// The most numbers of all series: they are numbered by 32 bits.
const MOST_NUMBERS: usize = u32::MAX as usize;

/// How series become windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// W, steps of a window.
    pub length: usize,
    /// Steps from one training window to the next; `None` takes half a window. Test windows lie side by side.
    pub stride: Option<usize>,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows { length: 64, stride: None }
    }
}

impl Windows {
    /// Steps from one training window to the next.
    pub fn stride(self) -> usize {
        self.stride.unwrap_or(self.length / 2).max(1)
    }

    /// The first step of each window of some steps, `stride` apart; where that leaves steps at the end, one more window
    /// ends with the last. None where there are fewer steps than a window has.
    pub fn starts(self, steps: Range<usize>, stride: usize) -> Vec<usize> {
        let Some(last) = steps.end.checked_sub(self.length).filter(|last| *last >= steps.start) else {
            return Vec::new();
        };
        let mut starts: Vec<usize> = (steps.start..=last).step_by(stride).collect();
        if starts.last() != Some(&last) {
            starts.push(last);
        }
        starts
    }
}

/// A file's series. N steps, C channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The file's name, below the folder that was given.
    pub name: String,
    /// The channels (C).
    pub channels: Vec<String>,
    /// (N,C), NaN where a number is missing.
    pub values: Vec<f64>,
    /// What its first column says of each step (N), where that is a time or a text.
    pub times: Option<Vec<String>>,
    /// Whether each step (N) is labelled as an anomaly, by a label other than 0; `None` without a column of labels.
    pub labels: Option<Vec<bool>>,
    /// Its steps that are for training.
    pub train: Range<usize>,
    /// Those that are for testing.
    pub test: Range<usize>,
}

impl Series {
    /// N
    pub fn steps(&self) -> usize {
        self.values.len() / self.channels.len()
    }
}

/// Reads the file `place`, or every `.csv` and `.csv.gz` of a folder and the folders in it, and parts each by the
/// form's split; a folder with `train.csv` and `test.csv` is parted so. Under [`Selection::All`] all steps are for
/// testing.
///
/// # Errors
/// A file that is no table of numbers, by line and column; files of other channels than the first; a folder without a
/// file; a split that leaves nothing.
pub fn read(place: &Path, form: &Form, selection: Selection) -> Result<Vec<Series>> {
    let parted = place.is_dir().then(|| file::halves_in(place)).flatten().filter(|_| selection != Selection::All);
    let files = match (&parted, place.is_dir()) {
        (Some(halves), _) => halves.to_vec(),
        (None, true) => file::files_in(place)?,
        (None, false) => vec![place.to_path_buf()],
    };
    let mut all: Vec<Series> = Vec::with_capacity(files.len());
    for (number, path) in files.iter().enumerate() {
        let mut series = file::read(path, form, selection != Selection::All)?;
        if place.is_dir() {
            series.name = plain(&path.strip_prefix(place).unwrap_or(path).to_string_lossy());
        }
        let steps = series.steps();
        (series.train, series.test) = match (&parted, selection) {
            (Some(_), _) if number == 0 => (0..steps, steps..steps),
            (Some(_), _) | (None, Selection::All) => (0..0, 0..steps),
            (None, _) => parts(steps, form.split, path)?,
        };
        if let Some(first) = all.first().filter(|first| first.channels != series.channels) {
            let problem = format!("has other channels than {}", shown(&first.name));
            return Err(Error::file(path, problem));
        }
        all.push(series);
    }
    let numbers: usize = all.iter().map(|series| series.values.len()).sum();
    match numbers {
        ..=MOST_NUMBERS => Ok(all),
        _ => Err(Error::file(place, format!("has {numbers} numbers, and a data set holds {MOST_NUMBERS} at most"))),
    }
}

/// The training and the test steps of a file: the last ones are for testing.
fn parts(steps: usize, split: Split, path: &Path) -> Result<(Range<usize>, Range<usize>)> {
    let first = match split {
        Split::Share { test, .. } => steps - ((steps as f64 * test).round() as usize).max(1),
        Split::First(first) => first,
        Split::Normal(_) => {
            let rule = "of a series share:0.2 tests on the last fifth, first:400 trains on the first 400 rows";
            return Err(Error::Usage(format!("--split {split} is for tables: {rule}")));
        }
    };
    match first {
        0 => Err(Error::file(path, format!("has {steps} rows, of which {split} leaves none to train"))),
        first if first >= steps => {
            Err(Error::file(path, format!("has {steps} rows, of which {split} leaves none to test on")))
        }
        first => Ok((0..first, first..steps)),
    }
}

/// Windows of the series of `place`, as [`read`] takes them, standardised by the form's scale, or channel by channel by
/// the training steps, or by all where there are none.
///
/// # Errors
/// Those of [`read`]; a file with fewer steps than a window, in either part; a channel without a number to train on;
/// channels that are not those of the form's scale.
pub fn open(place: &Path, form: &Form, selection: Selection, report: &mut Report) -> Result<Dataset> {
    let all = read(place, form, selection)?;
    let name = format!("series:{}", file::name_of(place));
    let features = scale(&all, form, place)?;
    let mut numbers = Vec::new();
    let mut offsets = Vec::new();
    for series in &all {
        offsets.push(numbers.len() / features.len());
        let of_series = features.standardised(&series.values);
        features.check(&of_series, &format!("{name} ({})", series.name))?;
        numbers.extend(of_series);
    }
    // A trained model's windows are as long as they were in its training.
    let length = form.longest_sequence.unwrap_or(form.windows.length);
    let windows = Windows { length, ..form.windows };
    let table = |part: fn(&Series) -> Range<usize>, stride: usize, purpose: &str| -> Result<Table> {
        let mut examples = Vec::new();
        for (series, offset) in all.iter().zip(&offsets).filter(|(series, _)| !part(series).is_empty()) {
            let starts = windows.starts(part(series), stride);
            if starts.is_empty() {
                let steps = part(series).len();
                let problem = format!(
                    "has {steps} rows {purpose}, fewer than the {length} of a window: give a smaller --window-length"
                );
                return Err(Error::file(path_of(place, series), problem));
            }
            examples.extend(starts.into_iter().map(|start| offset + start..offset + start + length));
        }
        // The steps of both splits lie in each: a window is where it begins.
        Ok(Table::of_sequences(Sequences::new(&examples, numbers.clone(), features.clone()), length))
    };
    let train = table(|series| series.train.clone(), windows.stride(), "to train on")?;
    let test = table(|series| series.test.clone(), length, "to test on")?;
    report(Progress::Notice(&format!("{name}: {}", describe(&all, form, selection))));
    Ok(Dataset { name, class_names: Vec::new(), vocabulary: None, spectrogram: None, train, test })
}

/// The form's scale, or that of the steps that are trained on. Errors: other channels; one without a number.
pub fn scale(all: &[Series], form: &Form, place: &Path) -> Result<Features> {
    let channels = &all[0].channels;
    if let Some(scale) = &form.scale {
        scale.check_names(channels, &shown(place))?;
        return Ok(scale.clone());
    }
    let width = channels.len();
    let is_trained = all.iter().any(|series| !series.train.is_empty());
    let part = |series: &Series| if is_trained { series.train.clone() } else { series.test.clone() };
    let rows: Vec<f64> = all
        .iter()
        .flat_map(|series| {
            let Range { start, end } = part(series);
            series.values[start * width..end * width].iter().copied()
        })
        .collect();
    let is_empty = |channel: &usize| rows.iter().skip(*channel).step_by(width).all(|value| value.is_nan());
    match (0..width).find(is_empty) {
        None => Ok(Features::of(channels.clone(), &rows)),
        Some(channel) => {
            let problem = format!("its column {} has no number in the rows to train on", plain(&channels[channel]));
            Err(Error::file(place, problem))
        }
    }
}

fn path_of(place: &Path, series: &Series) -> PathBuf {
    if place.is_dir() { place.join(&series.name) } else { place.to_path_buf() }
}

/// What was read, in a line.
fn describe(all: &[Series], form: &Form, selection: Selection) -> String {
    let steps: usize = all.iter().map(Series::steps).sum();
    let files = if all.len() == 1 { String::new() } else { format!(" in {} files", all.len()) };
    let first = &all[0];
    let missing = all.iter().flat_map(|series| &series.values).filter(|value| value.is_nan()).count();
    let gaps = if missing == 0 { String::new() } else { format!(", {missing} numbers missing") };
    let how = match (selection, form.split) {
        (Selection::All, _) => "all of them are taken".to_string(),
        _ if first.test.is_empty() => "train.csv and test.csv".into(),
        (_, Split::First(rows)) => format!("the first {rows} of each file train, the others test"),
        _ => "the last ones of each file test, the others train".into(),
    };
    let channels: Vec<String> = first.channels.iter().map(|name| plain(name)).collect();
    let labels = if first.labels.is_some() { ", with labels" } else { "" };
    format!("{steps} rows{files} of {} ({}){gaps}{labels}; {how}", channels.len(), channels.join(", "))
}

#[cfg(test)]
mod tests;
