//! Piano rolls: the notes that sound at each step of a piece, as zeros and ones of the 88 keys of a piano. A JSON file
//! `{"train": [piece, ...], "test": [piece, ...]}`, plain or compressed, of pieces `[[note, ...], ...]` in MIDI's
//! numbers, 21 to 108: the form in which the chorales of Boulanger-Lewandowski, Bengio & Vincent 2012 (arXiv 1206.6392)
//! are passed on. A step may be silent.

use std::path::Path;

use serde::Deserialize;

use super::dataset;
use crate::data::Dataset;
use crate::data::features::Features;
use crate::data::progress::{Progress, Report};
use crate::data::text::{name_of, read};
use crate::error::{Error, Result};

/// MIDI's number of the lowest key.
pub const LOWEST: i64 = 21;
/// Keys of a piano.
pub const KEYS: usize = 88;

/// Notes of each step of each piece.
type Pieces = Vec<Vec<Vec<i64>>>;

/// The file's content; what else it has, such as pieces for validation, is not read.
#[derive(Deserialize)]
struct Content {
    train: Pieces,
    test: Pieces,
}

/// Reads the file. A piece without a step is left out.
///
/// # Errors
/// No such file, none in this form, by its line; a note that no piano has, by its piece and step; no pieces; one longer
/// than `longest`, the most that a trained model takes.
pub fn open(place: &Path, longest: Option<usize>, report: &mut Report) -> Result<Dataset> {
    if place.is_dir() {
        return Err(Error::file(place, "is a folder: of piano rolls the JSON file is given, --data FILE.json"));
    }
    let text = read(place)?.sentences.join("\n");
    let wrong = |e: serde_json::Error| {
        let form = r#"{"train": [[[60, 64], ...], ...], "test": ...}, MIDI notes of steps of pieces"#;
        Error::file(place, format!("is no file of piano rolls, {form}: {e}"))
    };
    let Content { train, test } = serde_json::from_str(&text).map_err(wrong)?;
    let rows = |pieces: &Pieces, split: &str| -> Result<Vec<Vec<f32>>> {
        let piece = |(number, piece): (usize, &Vec<Vec<i64>>)| {
            roll(piece).map_err(|problem| Error::file(place, format!("piece {number} of {split}, {problem}")))
        };
        pieces.iter().enumerate().filter(|(_, piece)| !piece.is_empty()).map(piece).collect()
    };
    let name = name_of(place);
    let name = format!("piano-rolls:{}", name.strip_suffix(".json").unwrap_or(&name));
    let rows = [rows(&train, "train")?, rows(&test, "test")?];
    let names = (0..KEYS as i64).map(|key| (LOWEST + key).to_string()).collect();
    let data = dataset(name, rows, Features::unscaled(names), longest, place)?;
    let told = format!("{}: {} training and {} test steps", data.name, data.train.entries(), data.test.entries());
    report(Progress::Notice(&told));
    Ok(data)
}

/// (steps,88): 1 where a key is struck. Errors: a note that no piano has, by its step.
fn roll(piece: &[Vec<i64>]) -> std::result::Result<Vec<f32>, String> {
    let mut roll = vec![0.0; piece.len() * KEYS];
    for (step, (notes, keys)) in piece.iter().zip(roll.chunks_mut(KEYS)).enumerate() {
        for &note in notes {
            let key = note.checked_sub(LOWEST).and_then(|key| usize::try_from(key).ok()).filter(|&key| key < KEYS);
            let key = key.ok_or_else(|| {
                format!("step {step}: the note {note} is none of a piano's, {LOWEST} to {}", LOWEST + KEYS as i64 - 1)
            })?;
            keys[key] = 1.0;
        }
    }
    Ok(roll)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::{Columns, Kind};

    fn opened(text: &str, longest: Option<usize>) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("songs.json");
        std::fs::write(&path, text).unwrap();
        open(&path, longest, &mut |_| ())
    }

    #[test]
    fn notes_are_keys_and_the_shortest_piece_comes_first() {
        let text = r#"{"train": [[[21, 108], [], [60]], [[60]], []], "valid": [], "test": [[[22], [23]]]}"#;
        let data = opened(text, None).unwrap();
        assert_eq!(data.columns(), Columns::of(Kind::Steps { channels: 88, longest: 3 }, 0));
        assert_eq!(
            (data.name.as_str(), data.train.lengths(), data.test.lengths()),
            ("piano-rolls:songs", vec![1, 3], vec![2])
        );
        let values = data.train.values(1..2);
        let struck: Vec<usize> = (0..264).filter(|&at| values[at] == 1.0).collect();
        assert_eq!(struck, [0, 87, 2 * 88 + 39]);
        assert!(values.iter().all(|x| *x == 0.0 || *x == 1.0));
        assert_eq!(opened(text, Some(5)).unwrap().train.dims(), 5 * 88);
    }

    #[test]
    fn what_is_no_piano_roll_is_refused_in_a_line() {
        for (text, longest, words) in [
            ("", None, &["is empty"][..]),
            ("[1, 2]", None, &["is no file of piano rolls", "line 1"]),
            (r#"{"train": [[[60]]]}"#, None, &["missing field `test`"]),
            (r#"{"train": [[[60.5]]], "test": []}"#, None, &["is no file of piano rolls"]),
            (r#"{"train": [[[60], [20]]], "test": []}"#, None, &["piece 0 of train, step 1: the note 20 is none"]),
            (r#"{"train": [], "test": [[[109]]]}"#, None, &["piece 0 of test", "21 to 108"]),
            (r#"{"train": [[[-9223372036854775808]]], "test": []}"#, None, &["piece 0 of train", "21 to 108"]),
            (r#"{"train": [[[60]]], "test": [[]]}"#, None, &["has no sequence to test on"]),
            (r#"{"train": [[[60], []]], "test": [[[]]]}"#, Some(1), &["2 steps, and the model takes 1 at most"]),
        ] {
            let message = opened(text, longest).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{text}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
