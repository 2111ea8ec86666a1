//! Drawings as pen strokes: a folder with `train.ndjson` and `test.ndjson` (or `valid.ndjson`), plain or compressed, a
//! drawing a line: `[[dx, dy, pen], ...]`, how far the pen moves to the next point, and whether it is lifted after that
//! (1) or stays down (0). The form of sketch-rnn's data (Ha & Eck 2017, arXiv 1704.03477).
//!
//! dx and dy are divided by one number, the standard deviation of both over the training drawings, as there.

use std::path::Path;

use super::dataset;
use crate::data::Dataset;
use crate::data::csv_table::Form;
use crate::data::features::Features;
use crate::data::progress::{Progress, Report};
use crate::data::text::{files_in, name_of, read};
use crate::error::{Error, Result};

/// Numbers of a point: dx, dy, pen.
pub const CHANNELS: usize = 3;
const NAMES: [&str; CHANNELS] = ["dx", "dy", "pen"];
/// Further than this many deviations a pen does not move: its square would be no f32.
const FURTHEST: f64 = 1e12;

/// Points of a drawing.
type Drawing = Vec<[f64; CHANNELS]>;

/// Reads the folder.
///
/// # Errors
/// A folder without the files; a line in another form, by its number; a pen that is neither 0 nor 1; a drawing longer
/// than a trained model takes.
pub fn open(place: &Path, form: &Form, report: &mut Report) -> Result<Dataset> {
    if !place.is_dir() {
        return Err(Error::file(place, "is no folder: of strokes a folder with train.ndjson and test.ndjson is given"));
    }
    let name = format!("strokes:{}", name_of(place));
    let files = files_in(place, "ndjson")?;
    if files[1].file_name().is_some_and(|file| file.to_string_lossy().starts_with("valid")) {
        report(Progress::Notice(&format!("note: {name}: has no test.ndjson, so valid.ndjson is tested on")));
    }
    let [train, test] = [drawings(&files[0])?, drawings(&files[1])?];
    let features = match &form.scale {
        Some(scale) => {
            scale.check_names(&NAMES.map(String::from), &name)?;
            scale.clone()
        }
        None => scale_of(&train),
    };
    let rows = |drawings: Vec<Drawing>| -> Vec<Vec<f32>> {
        drawings.into_iter().map(|drawing| features.standardised(drawing.as_flattened())).collect()
    };
    dataset(name, [rows(train), rows(test)], features.clone(), form.longest_sequence, place)
}

/// One deviation for dx and dy together, about 0.
fn scale_of(drawings: &[Drawing]) -> Features {
    let moves = || drawings.iter().flatten().flat_map(|&[dx, dy, _]| [dx, dy]);
    let count = moves().count().max(1) as f64;
    let mean = moves().sum::<f64>() / count;
    let deviation = (moves().map(|move_| (move_ - mean).powi(2)).sum::<f64>() / count).sqrt();
    let deviation = if deviation > 0.0 { deviation } else { 1.0 };
    Features { deviation: vec![deviation, deviation, 1.0], ..Features::unscaled(NAMES.map(String::from).into()) }
}

/// The drawings of a file. A line without points is left out.
fn drawings(path: &Path) -> Result<Vec<Drawing>> {
    let drawing = |(number, line): (usize, &String)| {
        let wrong = |problem: String| Error::file(path, format!("drawing {}: {problem}", number + 1));
        let drawing: Drawing =
            serde_json::from_str(line).map_err(|e| wrong(format!("is not of the form [[dx, dy, pen], ...]: {e}")))?;
        for [dx, dy, pen] in &drawing {
            if ![0.0, 1.0].contains(pen) {
                return Err(wrong(format!("a pen is {pen}, but must be 0 (down) or 1 (lifted after the point)")));
            }
            if dx.abs().max(dy.abs()) > FURTHEST {
                return Err(wrong(format!("a pen moves by ({dx}, {dy}), further than {FURTHEST:e}")));
            }
        }
        Ok(drawing)
    };
    let lines = read(path)?.sentences;
    let all: Vec<Drawing> = lines.iter().enumerate().map(drawing).collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|drawing| !drawing.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::{Columns, Kind};

    fn opened(train: &str, test: &str, form: &Form) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.ndjson"), train).unwrap();
        std::fs::write(folder.path().join("test.ndjson"), test).unwrap();
        open(folder.path(), form, &mut |_| ())
    }

    #[test]
    fn both_directions_have_one_scale() {
        let data = opened("[[3, 0, 0], [0, -1, 1]]\n[]\n[[-3, 1, 1]]\n", "[[6, 1.5, 0]]", &Form::default()).unwrap();
        assert_eq!(data.columns(), Columns::of(Kind::Steps { channels: 3, longest: 2 }, 0));
        let features = data.train.features().unwrap().clone();
        let deviation = (20.0f64 / 6.0).sqrt();
        assert_eq!((&features.mean, &features.deviation), (&vec![0.0; 3], &vec![deviation, deviation, 1.0]));
        assert_eq!(data.train.lengths(), [1, 2]);
        let scaled = [6.0 / deviation, 1.5 / deviation, 0.0].map(|x| x as f32);
        assert_eq!(data.test.values(0..1)[..3], scaled);
        // The scale of a model stays.
        let form = Form { scale: Some(features.clone()), longest_sequence: Some(9), ..Form::default() };
        let other = opened("[[1, 1, 1]]", "[[6, 1.5, 0]]", &form).unwrap();
        assert_eq!((other.test.values(0..1)[..3].to_vec(), other.train.dims()), (scaled.to_vec(), 27));
    }

    #[test]
    fn what_is_no_drawing_is_refused_by_its_line() {
        let fine = "[[1, 1, 1]]\n";
        for (train, words) in [
            ("[[1, 1]]", &["train.ndjson", "drawing 1: is not of the form [[dx, dy, pen], ...]"][..]),
            ("[[1, 1, 1]]\n{}", &["drawing 2"]),
            ("[[1, 1, 2]]", &["a pen is 2, but must be 0"]),
            ("[[1e13, 1, 1]]", &["further than 1e12"]),
            ("[]", &["has no sequence to train on"]),
        ] {
            let message = opened(train, fine, &Form::default()).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{train}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
