//! Data sets: files, or the built-in generator, become two tables in memory, one byte a pixel.
//!
//! Reading order: `kind`, `columns`, `table` and `features` (what a data set is made of), `choice` (which one is asked
//! for), `progress` (what is told while one is opened); `sets` (the sets in MNIST's format, and how their files are
//! found), `idx` (that format), `download`, `binarized_mnist`, `digits` (the generator), `cifar`; then the user's own
//! pictures: `selection` (which are for testing), `listing` (which files), `preparation`, `folder`, `decode` and `jpeg`
//! (one file), `cache`, and `array`, `pixels` (one array), `numbers`; `csv_table` (tables of numbers); `normal`
//! (training on some classes alone); `ratings` and `ragged` (who liked what); `text` (sentences and their vocabulary);
//! `sequences` (steps of numbers); `audio` (recordings and their spectrograms). `binarise` makes grey pictures black
//! and white. `place` says what lies where something else was expected; `fingerprint` is what a run keeps of its data.
//! `npy` writes and reads arrays for other programs.

pub mod array;
pub mod audio;
pub mod binarise;
pub mod binarized_mnist;
pub mod cache;
mod choice;
pub mod cifar;
mod columns;
pub mod csv_table;
pub mod decode;
pub mod digits;
pub mod download;
pub mod features;
pub mod fingerprint;
pub mod folder;
pub mod idx;
mod jpeg;
mod kind;
pub mod labelled;
mod listing;
mod normal;
pub mod npy;
mod numbers;
mod pixels;
mod place;
mod preparation;
pub mod progress;
pub mod ragged;
pub mod ratings;
mod selection;
pub mod sequences;
pub mod sets;
pub mod table;
pub mod text;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use audio::spectrogram::Spectrogram;
pub use binarise::Binarise;
pub use choice::Choice;
use cifar::Cifar;
pub use csv_table::{Form, Split};
use download::Client;
pub use fingerprint::Fingerprint;
pub use preparation::{Background, Corrupt, Orientation, Preparation};
use progress::{Progress, Report};
use ratings::Ratings;
pub use selection::Selection;
use sequences::{piano_rolls, strokes};
use sets::{Places, Set, SetName};
use table::{Columns, Kind, Table};
use text::vocabulary::Vocabulary;

/// Largest data set read into memory, in bytes.
pub const MAX_BYTES: u64 = 32 << 30;
/// Largest side of a picture, in pixels.
pub const MAX_SIDE: usize = 1 << 14;
/// Labels are bytes.
const MAX_CLASSES: usize = 256;

/// A data set in memory: two splits of the same columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// `mnist`, `digits`, ...: stands in every output, so that no result is taken for another set's.
    pub name: String,
    /// The name of each class, or empty where they are not known.
    pub class_names: Vec<String>,
    /// What the ids of its sentences stand for; `None` where it has none.
    pub vocabulary: Option<Vocabulary>,
    /// What sounds its pictures stand for; `None` where they stand for none.
    pub spectrogram: Option<Spectrogram>,
    /// What parameters are fitted to, in a new order each epoch.
    pub train: Table,
    /// What is never trained on, but evaluated and drawn.
    pub test: Table,
}

impl Dataset {
    /// What its examples are called in messages: pictures, recordings, rows, users, sentences, or sequences.
    pub fn examples(&self) -> &'static str {
        match self.columns().modelled() {
            _ if self.spectrogram.is_some() => "recordings",
            Some(Kind::Picture(_)) => "pictures",
            Some(Kind::Items(_)) => "users",
            Some(Kind::Tokens { .. }) => "sentences",
            Some(Kind::Steps { .. }) => "sequences",
            _ => "rows",
        }
    }

    /// The same of one: a picture, a recording, a row, a user, a sentence, or a sequence.
    pub fn example(&self) -> &'static str {
        self.examples().trim_end_matches('s')
    }

    /// The columns of both splits.
    pub fn columns(&self) -> Columns {
        let test = self.test.columns();
        let mut both = self.train.columns();
        both.0.retain(|name, kind| test.0.get(name) == Some(kind));
        both
    }
}

/// Reads a data set into memory, and downloads it first where that is possible and needed.
///
/// `data_dir` is the folder of a `Folder` or of an `Audio` (under [`Selection::All`] also one file of it), the file of
/// an `Array`, of `PianoRolls` or of a `Table`, of which `form` says how it is read; of `Ratings`, a `Text` and
/// `Series` a file or a folder, of `Strokes` a folder. The files of the other sets are looked for in `data_dir` and its
/// subfolder of the set's name; without it, in the folder of the environment variable `ELBO_DATA`, likewise; without
/// that, in `data`. `selection` parts one's own pictures where they are not split. `limits` are how many training and
/// test pictures are enough where they are drawn; what is read is read as a whole, and [`Dataset::limited`] limits it.
/// `report` is told what the user should know, and how far long work has come.
///
/// # Errors
/// Files that are missing, unreadable or not what they should be, each by name, and what to do about it; a `data_dir`
/// that holds something else, with the choice that reads it. A damaged file is always an error; only `Choice::Auto`
/// without a `data_dir`, any file or network falls back.
pub fn open(
    choice: Choice,
    data_dir: Option<&Path>,
    preparation: &Preparation,
    form: &Form,
    selection: Selection,
    limits: [Option<usize>; 2],
    report: &mut Report,
) -> Result<Dataset> {
    let variable = variable();
    let (name, _) = Choice::all().find(|(_, known)| *known == choice).expect("all choices have a name");
    if choice != Choice::Folder {
        preparation.refuse_for(name)?;
    }
    let given =
        |what: &str| data_dir.ok_or_else(|| Error::Usage(format!("--dataset {name} needs its {what}: --data {what}")));
    let open_cifar = |cifar: &Cifar, report: &mut Report| {
        cifar.open(&Places::new(cifar.name, data_dir, variable.as_deref()), &Client::default(), report)
    };
    let id = match choice {
        Choice::Auto => SetName::Mnist,
        Choice::Named(id) => id,
        Choice::BinarizedMnist => {
            return binarized_mnist::open(&Places::new(binarized_mnist::NAME, data_dir, variable.as_deref()));
        }
        Choice::Cifar10 => return open_cifar(&cifar::CIFAR10, report),
        Choice::Cifar100 => return open_cifar(&cifar::CIFAR100, report),
        Choice::Folder => {
            return folder::open(given("DIR")?, preparation, selection, files::cache_folder().as_deref(), report);
        }
        Choice::Array => {
            return array::open(given("FILE")?, selection, &mut |text| report(Progress::Notice(text)));
        }
        Choice::Table => return csv_table::open(given("FILE")?, form, selection, report),
        Choice::Audio => return audio::open(given("PATH")?, &form.audio, selection, report),
        Choice::Text => return text::open(given("PATH")?, &form.text, form.split, selection, report),
        Choice::PianoRolls => return piano_rolls::open(given("FILE")?, form.longest_sequence, report),
        Choice::Strokes => return strokes::open(given("DIR")?, form, report),
        Choice::Series => return sequences::series::open(given("PATH")?, form, selection, report),
        Choice::Ratings => return Ok(Ratings::open(given("PATH")?, form.ratings, report)?.dataset()),
    };
    let Some(set) = Set::of(id) else {
        return match data_dir {
            None => Ok(digits::dataset(limits)),
            Some(place) => {
                let advice = place::advice(place).map_or(String::new(), |advice| format!(". It {advice}"));
                Err(Error::file(place, format!("is not read for the digits, which this program draws{advice}")))
            }
        };
    };
    let places = Places::new(set.name, data_dir, variable.as_deref());
    match choice {
        Choice::Auto if !places.given => open_or_digits(set, &places, &Client::default(), limits, report),
        _ => set.open(&places, &Client::default(), report),
    }
}

/// MNIST where its files are (in `data_dir`, else where [`open`] looks), else the built-in digits. Nothing is
/// downloaded; the data set's name says which it is.
///
/// # Errors
/// Files that are damaged or not MNIST's; a `data_dir` without any.
pub fn mnist_or_digits(data_dir: Option<&Path>, report: &mut Report) -> Result<Dataset> {
    let variable = variable();
    let set = Set::of(SetName::Mnist).expect("MNIST is in the table");
    let places = Places::new(set.name, data_dir, variable.as_deref());
    match data_dir {
        _ if set.any_file_in(&places) => set.open(&places, &Client::default(), report),
        Some(folder) => Err(Error::file(folder, "holds none of MNIST's files")),
        None => Ok(digits::dataset([None; 2])),
    }
}

/// The folder that `ELBO_DATA` names.
fn variable() -> Option<PathBuf> {
    std::env::var_os("ELBO_DATA").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The absolute path of the folder in which [`open`] looks for a set of this name where no place is given, so that a
/// record of it is right from any folder. None for the drawn digits, and where there is no such folder.
pub fn usual_place(set: &str) -> Option<PathBuf> {
    let place = variable().unwrap_or_else(|| Path::new("data").join(set));
    std::path::absolute(place).ok().filter(|place| set != "digits" && place.is_dir())
}

/// Refuses pictures that do not fit into memory, before they are read.
fn check_memory(place: &Path, pictures: usize, shape: [usize; 3]) -> Result<()> {
    let bytes = shape.iter().fold(pictures as u128, |bytes, &size| bytes * size as u128);
    if bytes <= MAX_BYTES as u128 {
        return Ok(());
    }
    let [c, h, w] = shape;
    Err(Error::file(
        place,
        format!(
            "{pictures} pictures of {c}x{h}x{w} (channels, height, width) need {bytes} bytes of memory, more than the \
             {MAX_BYTES} a data set may have: take fewer or smaller ones (of a folder, --image-size N, --channels 1)"
        ),
    ))
}

/// `set`, or the built-in digits where no file of it is there and none can be downloaded.
fn open_or_digits(
    set: &Set,
    places: &Places,
    client: &Client,
    limits: [Option<usize>; 2],
    report: &mut Report,
) -> Result<Dataset> {
    if let Err(reason) = set.make_available(places, client, report) {
        if set.any_file_in(places) {
            return Err(reason);
        }
        let notice = format!(
            "****************************************************************\n\
             NOT {}: using the built-in, computer-drawn \"digits\" instead.\n\
             Numbers and pictures of this run do not compare with {}'s.\n\
             Reason: {reason}\n\
             ****************************************************************",
            set.name, set.name
        );
        report(Progress::Notice(&notice));
        return Ok(digits::dataset(limits));
    }
    set.open(places, client, report)
}

#[cfg(test)]
mod tests {
    use super::progress::tests::{notices, silence};
    use super::sets::tests::{Fixture, offline};
    use super::*;

    #[test]
    fn preparing_another_set_than_a_folder_is_refused_by_flag() {
        let (none, form) = (Preparation::default(), Form::default());
        for (flag, preparation) in [
            ("--crop", Preparation { crop: Some(8), ..none }),
            ("--image-size", Preparation { image_size: Some(8), ..none }),
            ("--channels", Preparation { channels: Some(1), ..none }),
        ] {
            let choices = [Choice::Auto, Choice::Named(SetName::Digits), Choice::Cifar10, Choice::Array, Choice::Table];
            for choice in choices {
                let message = open(choice, None, &preparation, &form, Selection::ByName, [None; 2], &mut |_| ())
                    .unwrap_err()
                    .to_string();
                assert!(message.starts_with(flag) && message.contains("--dataset folder"), "{message}");
            }
        }
    }

    #[test]
    fn own_pictures_need_their_place() {
        let choices = [(Choice::Folder, "--data DIR"), (Choice::Array, "--data FILE"), (Choice::Table, "--data FILE")];
        for (choice, word) in choices {
            let message = open(
                choice,
                None,
                &Preparation::default(),
                &Form::default(),
                Selection::ByName,
                [None; 2],
                &mut |_| (),
            )
            .unwrap_err()
            .to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn the_bound_on_memory_is_exact() {
        let place = Path::new("pictures");
        assert!(check_memory(place, 1 << 19, [1, 256, 256]).is_ok());
        let message = check_memory(place, (1 << 19) + 1, [1, 256, 256]).unwrap_err().to_string();
        assert!(message.contains("need 34359803904 bytes") && message.contains("--image-size"), "{message}");
        assert!(check_memory(place, usize::MAX, [usize::MAX, 1, 1]).is_err());
    }

    #[test]
    fn the_built_in_digits_need_no_file() {
        let skip = Preparation { corrupt: Corrupt::Skip, ..Preparation::default() };
        let (digits, form) = (Choice::Named(SetName::Digits), Form::default());
        let open = |place| open(digits, place, &skip, &form, Selection::ByName, [None, Some(10)], &mut |_| ());
        let digits = open(None).unwrap();
        assert_eq!((digits.name.as_str(), digits.train.count, digits.test.count), ("digits", 60_000, 10));
        // Whoever names files wants them to be read.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), "").unwrap();
        let message = open(Some(folder.path())).unwrap_err().to_string();
        assert!(message.contains("is not read for the digits") && message.contains("--dataset folder"), "{message}");
    }

    #[test]
    fn without_files_and_network_auto_gives_digits_loudly() {
        let fixture = Fixture::new();
        let mut notice = String::new();
        let places = Places::new("mnist", None, Some(fixture.folder()));
        let data =
            open_or_digits(&fixture.set, &places, &offline(), [Some(7), None], &mut notices(&mut notice)).unwrap();
        assert_eq!((&*data.name, data.train.count, data.test.count), ("digits", 7, 10_000));
        assert!(notice.contains("NOT mnist") && notice.contains("do not compare"), "{notice}");
        assert!(notice.lines().count() > 4, "{notice}");
    }

    #[test]
    fn a_named_place_is_looked_at_and_never_replaced_by_digits() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write("photos/cat/a.jpg", b"\xff\xd8\xff");
        write("arrays/x.npy", b"\x93NUMPY");
        write("text/notes.txt", b"x");
        write("text/notes.md", b"x");
        let names = || {
            let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let before = names();
        for (place, words) in [
            ("photos", &["holds pictures (cat/a.jpg): add --dataset folder", "nothing is downloaded there"][..]),
            ("photos/cat/a.jpg", &["is a picture: add --dataset folder"]),
            ("arrays", &["--dataset array --data", "arrays/x.npy"]),
            ("arrays/x.npy", &["is a NumPy file: add --dataset array"]),
            ("text", &["holds notes.md, notes.txt", "name an empty or a new folder"]),
            ("text/notes.txt", &["is a text: add --dataset text"]),
            ("text/notes.md", &["is no folder"]),
        ] {
            let place = folder.path().join(place);
            for choice in [Choice::Auto, Choice::Named(SetName::Kmnist), Choice::Cifar10] {
                let none = Preparation::default();
                let result =
                    open(choice, Some(&place), &none, &Form::default(), Selection::ByName, [None; 2], &mut silence);
                let message = result.unwrap_err().to_string();
                for word in words {
                    assert!(message.contains(word), "no {word:?} in: {message}");
                }
            }
        }
        assert_eq!(names(), before);
    }

    #[test]
    fn a_damaged_or_incomplete_set_is_an_error_not_a_fallback() {
        let fixture = Fixture::new();
        fixture.write_all();
        let labels = fixture.folder().join("t10k-labels-idx1-ubyte");
        std::fs::write(&labels, b"garbage").unwrap();
        let open = || open_or_digits(&fixture.set, &fixture.places(), &offline(), [None; 2], &mut |_| ());
        assert!(open().unwrap_err().to_string().contains("t10k-labels-idx1-ubyte"));
        std::fs::remove_file(&labels).unwrap();
        let message = open().unwrap_err().to_string();
        assert!(message.contains("t10k-labels-idx1-ubyte") && !message.contains("train-images"), "{message}");
    }
}
