//! Pictures in a NumPy file: an array in a `.npy`, or arrays by name in a `.npz`, which is a zip archive of `.npy`.
//!
//! An array is (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3, or (N, D) of square pictures, of any type of
//! whole or floating-point numbers and in either order. What number is white, its largest says. In memory is one byte
//! for each.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::npy::Header;
use super::numbers::Number;
use super::pixels::{Form, Member, at_end, damaged, exact_length, note_dark};
use super::table::Table;
use super::{Dataset, MAX_CLASSES, Selection, place};
use crate::error::{Error, Result, plain, shown};
use crate::files::open_regular;

/// Deflate makes nothing shorter than by this factor.
const MOST_DEFLATED: u64 = 1032;

/// Reads the pictures of the `.npy` or `.npz` file `path`; which of the two says its content. Where the file does not
/// split them, `selection` does.
///
/// # Errors
/// Arrays that are missing, of another type or shape, too short or too long, or with values that are no pixels, each by
/// the names of file and array.
pub fn open(path: &Path, selection: Selection, notices: &mut dyn FnMut(&str)) -> Result<Dataset> {
    if path.is_dir() {
        let advice = place::advice(path).map_or("or --dataset folder".into(), |advice| format!("it {advice}"));
        return Err(Error::file(
            path,
            format!("is a folder, but --dataset array reads a .npy or .npz file ({advice})"),
        ));
    }
    let (mut file, length) = open_regular(path)?;
    let mut start = [0; 4];
    // A shorter file is neither.
    let _ = file.read_exact(&mut start);
    file.seek(SeekFrom::Start(0)).map_err(Error::io("read", path))?;
    let [train, test] = match &start {
        b"\x93NUM" => {
            let [pictures] = pictures(&mut Arrays::File { file, length, path }, [""], selection, notices)?;
            parted(pictures, path, selection, notices)?
        }
        b"PK\x03\x04" => named(&mut Arrays::archive(file, path)?, path, selection, notices)?,
        _ => return Err(Error::file(path, "is neither a NumPy .npy nor a .npz file")),
    };
    if let (Some(train), Some(test)) = (train.shape(), test.shape())
        && train != test
    {
        return Err(Error::file(
            path,
            format!("has training pictures of {train:?} (C, H, W), but test ones of {test:?}"),
        ));
    }
    note_dark(train.pixels().iter().chain(test.pixels()), path, notices);
    let stem = plain(&path.file_stem().unwrap_or_default().to_string_lossy());
    Ok(Dataset {
        name: format!("array:{stem}"),
        class_names: Vec::new(),
        vocabulary: None,
        spectrogram: None,
        train,
        test,
    })
}

/// Where arrays are read from, each as often as need be.
enum Arrays<'a> {
    /// A `.npy` file, its only array.
    File { file: File, length: u64, path: &'a Path },
    /// A `.npz` file.
    Archive {
        archive: ZipArchive<BufReader<File>>,
        file_bytes: u64,
        path: &'a Path,
        /// Of the arrays, without `.npy`.
        names: Vec<String>,
    },
}

impl Arrays<'_> {
    fn archive(file: File, path: &Path) -> Result<Arrays<'_>> {
        let broken = |error: zip::result::ZipError| Error::file(path, format!("the .npz archive is damaged: {error}"));
        let file_bytes = file.metadata().map_err(Error::io("read", path))?.len();
        let archive = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
        let mut names = Vec::new();
        for name in archive.file_names() {
            let name = name.map_err(broken)?;
            names.extend(name.strip_suffix(".npy").map(str::to_string));
        }
        Ok(Arrays::Archive { archive, file_bytes, path, names })
    }

    fn names(&self) -> Vec<String> {
        match self {
            Arrays::File { .. } => Vec::new(),
            Arrays::Archive { names, .. } => names.clone(),
        }
    }

    /// Gives the array `name`, from its start, to `read`.
    fn with<T>(&mut self, name: &str, read: impl FnOnce(Member<&mut dyn Read>) -> Result<T>) -> Result<T> {
        match self {
            Arrays::File { file, length, path } => {
                file.seek(SeekFrom::Start(0)).map_err(Error::io("read", *path))?;
                read(Member { content: &mut BufReader::with_capacity(1 << 16, file), length: *length, path })
            }
            Arrays::Archive { archive, file_bytes, path, .. } => {
                let path: PathBuf = path.join(format!("{name}.npy"));
                let broken =
                    |error: zip::result::ZipError| Error::file(&path, format!("the .npz archive is damaged: {error}"));
                let mut entry = archive.by_name(&format!("{name}.npy")).map_err(broken)?;
                let (length, packed) = (entry.size(), entry.compressed_size());
                if packed > *file_bytes || length / MOST_DEFLATED > packed {
                    return Err(Error::file(
                        &path,
                        format!("claims to be {length} bytes, packed into {packed}: no such array"),
                    ));
                }
                let mut content = BufReader::with_capacity(1 << 16, &mut entry);
                read(Member { content: &mut content, length, path: &path })
            }
        }
    }

    /// Labels of `count` pictures.
    fn labels(&mut self, name: Option<String>, count: usize) -> Result<Option<Vec<u8>>> {
        name.map(|name| self.with(&name, |member| read_labels(member, count))).transpose()
    }
}

// ---- Pictures

/// Reads the arrays `names` of pictures, on one scale where their types are equal.
fn pictures<const N: usize>(
    arrays: &mut Arrays,
    names: [&str; N],
    selection: Selection,
    notices: &mut dyn FnMut(&str),
) -> Result<[Table; N]> {
    let mut forms: Vec<(Form, f64)> = Vec::new();
    for name in names {
        forms.push(arrays.with(name, |mut member| {
            let form = Form::read(&mut member, notices)?;
            let largest = form.largest(member)?;
            Ok((form, largest))
        })?);
    }
    let mut splits = Vec::new();
    for (name, (form, _)) in names.iter().zip(&forms) {
        let alike = forms.iter().filter(|(other, _)| other.number == form.number);
        let largest = alike.map(|(_, largest)| *largest).fold(0.0, f64::max);
        splits.push(arrays.with(name, |mut member| {
            let scale = form.scale(largest, selection, member.path, notices)?;
            Form::read(&mut member, &mut |_| ())?;
            Ok(Table::of_pictures(form.shape, form.pixels(member, scale)?, None))
        })?);
    }
    Ok(splits.try_into().expect("a split for each name"))
}

/// The examples of one array as the selection parts them: training and test table. Those for testing are moved out, so
/// that there is no moment with two copies of all.
fn parted(all: Table, path: &Path, selection: Selection, notices: &mut dyn FnMut(&str)) -> Result<[Table; 2]> {
    notices(&selection.notice(&shown(path), "picture", "separate test array", false));
    if selection == Selection::All {
        return Ok([all.copied(&[]), all]);
    }
    if all.count < 2 {
        return Err(Error::file(path, "has only one picture, but needs one for training and one for testing"));
    }
    let (test, train): (Vec<usize>, Vec<usize>) = (0..all.count).partition(|&at| selection.is_test(at));
    let test = all.copied(&test);
    Ok([all.kept(&train), test])
}

// ---- Names

/// What an array of an archive is by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    Pictures,
    Labels,
    /// The name does not say.
    Open,
}

/// What its name says of an array: its split, and its content. `x_train`, `Train_Images` and `train` are training
/// pictures.
fn meaning(name: &str) -> (Option<&'static str>, Content) {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let any = |known: &[&str]| words.iter().any(|word| known.contains(word));
    let split = match () {
        _ if any(&["train", "training"]) => Some("train"),
        _ if any(&["test", "testing"]) => Some("test"),
        _ if any(&["val", "valid", "validation"]) => Some("val"),
        _ => None,
    };
    let content = match () {
        _ if any(&["y", "label", "labels", "target", "targets"]) => Content::Labels,
        _ if any(&["x", "image", "images", "img", "imgs", "data", "picture", "pictures", "pixels"]) => {
            Content::Pictures
        }
        // A split without a word for what it is.
        _ if split.is_some() && words.len() == 1 => Content::Pictures,
        _ => Content::Open,
    };
    (split, content)
}

/// Reads the arrays of an archive by their names.
fn named(arrays: &mut Arrays, path: &Path, selection: Selection, notices: &mut dyn FnMut(&str)) -> Result<[Table; 2]> {
    let names = arrays.names();
    // The one array of a split and content.
    let only = |split: Option<&str>, content: Content| {
        let fits: Vec<&String> = names.iter().filter(|name| meaning(name) == (split, content)).collect();
        match fits[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            _ => {
                let fits = fits.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
                Err(Error::file(path, format!("{fits} may each be what is read: leave one of them in the file")))
            }
        }
    };
    let train = only(Some("train"), Content::Pictures)?;
    let testing = only(Some("test"), Content::Pictures)?;
    let (test, of) = if testing.is_some() { (testing, "test") } else { (only(Some("val"), Content::Pictures)?, "val") };
    let (read, splits) = match (train, test) {
        (Some(train), Some(test)) => {
            if of == "val" {
                notices(&format!("note: {} has no test array: {} has the test pictures", shown(path), plain(&test)));
            }
            let [train_names, test_names] = [only(Some("train"), Content::Labels)?, only(Some(of), Content::Labels)?];
            let [train_split, test_split] = pictures(arrays, [&train, &test], selection, notices)?;
            let train_labels = arrays.labels(train_names.clone(), train_split.count)?;
            let test_labels = arrays.labels(test_names.clone(), test_split.count)?;
            let splits = match (train_labels, test_labels) {
                (Some(train), Some(test)) => {
                    let classes = classes([&train, &test]);
                    [train_split.with_labels(train, classes), test_split.with_labels(test, classes)]
                }
                (None, None) => [train_split, test_split],
                _ => return Err(Error::file(path, "has labels for only one of the training and test pictures")),
            };
            (vec![Some(train), Some(test), train_names, test_names], splits)
        }
        (train, test) => {
            // One split alone is all there is.
            let (alone, split) = match (train, test) {
                (Some(train), _) => (Some(train), Some("train")),
                (None, Some(test)) => (Some(test), Some(of)),
                _ => (only(None, Content::Pictures)?, None),
            };
            let name = match alone {
                Some(name) => name,
                None => unnamed(arrays, path, &names)?,
            };
            let label_name = only(split, Content::Labels)?;
            let [all] = pictures(arrays, [&name], selection, notices)?;
            let all = match arrays.labels(label_name.clone(), all.count)? {
                Some(labels) => {
                    let classes = classes([&labels]);
                    all.with_labels(labels, classes)
                }
                None => all,
            };
            (vec![Some(name), label_name], parted(all, path, selection, notices)?)
        }
    };
    let rest: Vec<String> =
        names.iter().filter(|name| !read.iter().flatten().any(|r| r == *name)).map(|n| plain(n)).collect();
    if !rest.is_empty() {
        notices(&format!("note: beside the pictures, {} of {} is not read", rest.join(", "), shown(path)));
    }
    Ok(splits)
}

/// The array of pictures where no name says which it is: the only one, or the only one that has the sizes of pictures.
fn unnamed(arrays: &mut Arrays, path: &Path, names: &[String]) -> Result<String> {
    let open: Vec<&String> = names.iter().filter(|name| meaning(name).1 == Content::Open).collect();
    if let [only] = open[..] {
        return Ok(only.clone());
    }
    let mut fits = Vec::new();
    for name in open {
        let sizes = arrays.with(name, |mut member| Ok(Header::read(&mut member.content, member.path)?.shape()));
        // What is no array is none of pictures.
        if sizes.is_ok_and(|sizes| sizes.is_some_and(|sizes| sizes.len() >= 2)) {
            fits.push(name);
        }
    }
    if let [only] = fits[..] {
        return Ok(only.clone());
    }
    let found = names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
    let found = if found.is_empty() { "none".to_string() } else { found };
    Err(Error::file(path, format!("expected the arrays x_train and x_test, or x, or a single one, found {found}")))
}

// ---- Labels

/// The classes that all of these labels are below.
fn classes<const N: usize>(labels: [&Vec<u8>; N]) -> usize {
    labels.into_iter().flatten().max().map_or(0, |&label| usize::from(label) + 1)
}

/// Reads an array of `count` labels (N) or (N, 1): whole numbers, of whatever type.
fn read_labels(mut member: Member<impl Read>, count: usize) -> Result<Vec<u8>> {
    let path = member.path;
    let header = Header::read(&mut member.content, path)?;
    let number = header.descr().and_then(Number::parse);
    let number = number.ok_or_else(|| header.unexpected("labels of a type of numbers", path))?;
    match header.shape().as_deref() {
        Some([n] | [n, 1]) if *n == count as u64 => {}
        _ => return Err(header.unexpected(&format!("one label for each of the {count} pictures"), path)),
    }
    exact_length(&header, &member, (count * number.bytes) as u64)?;
    let mut raw = vec![0; count * number.bytes];
    member.content.read_exact(&mut raw).map_err(|error| damaged(path, error))?;
    at_end(member)?;
    let labels = raw.chunks_exact(number.bytes).map(number.reader()).enumerate().map(|(at, label)| {
        let whole = label.fract() == 0.0 && (0.0..MAX_CLASSES as f64).contains(&label);
        let problem = || {
            Error::file(
                path,
                format!("label {label} of picture {at}: expected whole labels of 0 to {}", MAX_CLASSES - 1),
            )
        };
        if whole { Ok(label as u8) } else { Err(problem()) }
    });
    labels.collect()
}

#[cfg(test)]
mod tests;
