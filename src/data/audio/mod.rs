//! Recordings as a data set: WAV files become log-mel spectrograms, pictures of one channel, so that all that is made
//! for pictures works for sounds. The names of the files may begin with the label, as in `7_jackson_32.wav`.

mod griffin_lim;
mod mel;
mod resample;
pub mod spectrogram;
mod stft;
pub mod wav;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::listing::{Listing, Sought};
use super::progress::{Progress, Report};
use super::selection::Selection;
use super::table::Table;
use super::{Dataset, MAX_CLASSES, check_memory, place};
use crate::error::{Error, Result, plain};
use spectrogram::{Analyser, Analysis, Spectrogram};

/// What the names of recordings end in.
pub(super) const SOUGHT: Sought = Sought { endings: &["wav"], one: "recording", listed: ".wav", either: ".wav" };

/// How recordings become pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// How they are cut into spectra.
    pub analysis: Analysis,
    /// The level of white of a trained model in dB; `None` takes the loudest of the training recordings.
    pub peak: Option<f64>,
}

impl Reading {
    /// That of a trained model.
    pub fn of(spectrogram: &Spectrogram) -> Reading {
        Reading { analysis: spectrogram.analysis.clone(), peak: Some(spectrogram.peak) }
    }
}

/// Levels in dB of the recordings of a split, one picture after the other, and how many had another sampling rate.
struct Heard {
    levels: Vec<f32>,
    resampled: usize,
}

/// Reads the recordings of the folder `place`, which are parted and labelled like pictures of a folder; where no
/// folders are classes, by the numbers that their names begin with. Under [`Selection::All`], `place` may be a single
/// recording.
///
/// # Errors
/// No recordings; one that cannot be read, by name; recordings that are all silent; more than fit into memory.
pub fn open(place: &Path, reading: &Reading, selection: Selection, report: &mut Report) -> Result<Dataset> {
    reading.analysis.check()?;
    if !place.is_dir() {
        single(place, selection)?;
        return of_files(&[place.to_path_buf()], reading);
    }
    let mut notices = |text: &str| report(Progress::Notice(text));
    let listing = Listing::of(place, &SOUGHT, selection, &mut notices)?;
    let whole = place.canonicalize().map_err(Error::io("open the folder", place))?;
    let name = format!("audio:{}", name_of(place.file_name().map_or(whole.as_path(), Path::new)));
    let splits = listing.splits.each_ref().map(|split| split.iter().map(|(path, _)| place.join(path)).collect());
    let labels = match listing.classes.is_empty() {
        true => numbered(&splits),
        false => {
            let labels = listing.splits.map(|split| split.into_iter().map(|(_, label)| label).collect());
            Some((labels, listing.classes))
        }
    };
    dataset(name, splits, labels, reading, place, &mut notices)
}

/// These recordings, as the pictures of a trained model: all of them test pictures. Its errors are those of [`open`].
pub fn of_files(files: &[PathBuf], reading: &Reading) -> Result<Dataset> {
    let names: Vec<String> = files.iter().map(|file| name_of(file)).collect();
    let name = format!("audio:{}", names.join(", "));
    let splits = [Vec::new(), files.to_vec()];
    let labels = numbered(&splits);
    dataset(name, splits, labels, reading, &files[0], &mut |_| ())
}

/// The last part of a path, for messages.
fn name_of(path: &Path) -> String {
    plain(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

/// Whether a file that was given in the place of a folder is one to listen to. Errors: it is not, or it is to be
/// trained on.
fn single(file: &Path, selection: Selection) -> Result<()> {
    match place::is_recording(file) {
        true if selection == Selection::All => Ok(()),
        true => Err(Error::file(file, "is a single recording, but training needs a folder of them")),
        false if !file.exists() => Err(Error::file(file, "is not there")),
        false => {
            let advice = place::advice(file).map_or(String::new(), |advice| format!(": it {advice}"));
            Err(Error::file(file, format!("is no folder of recordings and no WAV file{advice}")))
        }
    }
}

/// The number before the first `_` of each file's name, and the names of the classes; `None` where a file has none.
fn numbered(splits: &[Vec<PathBuf>; 2]) -> Option<([Vec<u8>; 2], Vec<String>)> {
    let number = |path: &PathBuf| -> Option<u8> { path.file_name()?.to_str()?.split_once('_')?.0.parse().ok() };
    let labels = |split: &Vec<PathBuf>| split.iter().map(number).collect::<Option<Vec<u8>>>();
    let [train, test] = splits.each_ref().map(labels);
    let labels = [train?, test?];
    let largest = usize::from(*labels.iter().flatten().max()?);
    (largest < MAX_CLASSES).then(|| (labels, (0..=largest).map(|class| class.to_string()).collect()))
}

/// Listens to the files of both splits.
fn dataset(
    name: String,
    splits: [Vec<PathBuf>; 2],
    labels: Option<([Vec<u8>; 2], Vec<String>)>,
    reading: &Reading,
    place: &Path,
    notices: &mut dyn FnMut(&str),
) -> Result<Dataset> {
    let analysis = &reading.analysis;
    // While they are read a value has four bytes.
    let [_, mels, frames] = analysis.shape();
    check_memory(place, splits.iter().map(Vec::len).sum(), [4, mels, frames])?;
    let [train, test] = [heard(&splits[0], analysis)?, heard(&splits[1], analysis)?];
    if train.resampled + test.resampled > 0 {
        let (resampled, rate) = (train.resampled + test.resampled, analysis.sample_rate);
        notices(&format!("note: {name}: {resampled} recordings of another rate are resampled to {rate} Hz"));
    }
    let trained_on = if train.levels.is_empty() { &test } else { &train };
    let loudest = f64::from(trained_on.levels.iter().copied().fold(f32::MIN, f32::max));
    if reading.peak.is_none() && loudest <= f64::from(spectrogram::SILENT) {
        return Err(Error::file(place, "its recordings are all silent"));
    }
    let spectrogram = Spectrogram { analysis: analysis.clone(), peak: reading.peak.unwrap_or(loudest) };
    notices(&format!(
        "{name}: {} Hz, {:.2} seconds of each, longer ones cut and shorter ones followed by silence; white is {:.1} dB",
        analysis.sample_rate,
        analysis.seconds(),
        spectrogram.peak
    ));
    let (labels, class_names) = match labels {
        Some((labels, classes)) => (labels.map(Some), classes),
        None => ([None, None], Vec::new()),
    };
    let table = |heard: Heard, labels: Option<Vec<u8>>| {
        let labels = labels.map(|labels| (labels, class_names.len()));
        Table::of_pictures(analysis.shape(), spectrogram.bytes(&heard.levels), labels)
    };
    let [train_labels, test_labels] = labels;
    let (train, test) = (table(train, train_labels), table(test, test_labels));
    Ok(Dataset { name, class_names, vocabulary: None, spectrogram: Some(spectrogram), train, test })
}

/// Listens to files, on all cores. The error is that of the first file that cannot be read.
fn heard(files: &[PathBuf], analysis: &Analysis) -> Result<Heard> {
    let analyser = Analyser::new(analysis);
    let hear = |file: &PathBuf| {
        let (samples, rate) = wav::read(file, analysis.sample_rate, analysis.seconds())?;
        Ok((analyser.levels(&samples), rate != analysis.sample_rate))
    };
    let all: Vec<Result<(Vec<f32>, bool)>> = files.par_iter().map(hear).collect();
    let mut heard = Heard { levels: Vec::new(), resampled: 0 };
    for one in all {
        let (levels, is_resampled) = one?;
        heard.levels.extend(levels);
        heard.resampled += usize::from(is_resampled);
    }
    Ok(heard)
}
