//! Pictures in a NumPy file: an array in a `.npy`, or arrays by name in a `.npz`, which is a zip archive of `.npy`.
//!
//! An array is (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3, or (N, D) of square pictures, of any type of whole or
//! floating-point numbers and in either order. What number is white, its largest says. In memory is one byte for each.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::npy::Header;
use super::numbers::Number;
use super::pixels::{Form, Member, at_end, damaged, exact_length, note_dark};
use super::{Dataset, MAX_CLASSES, Selection, Split, place};
use crate::error::{Error, Result, plain, shown};
use crate::files::open_regular;

/// Deflate makes nothing shorter than by this factor.
const MOST_DEFLATED: u64 = 1032;

/// Reads the pictures of the `.npy` or `.npz` file `path`; which of the two says its content. Where the file does not split
/// them, `selection` does.
///
/// # Errors
/// Arrays that are missing, of another type or shape, too short or too long, or with values that are no pixels, each by the
/// names of file and array.
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
            parted(pictures, None, path, selection, notices)?
        }
        b"PK\x03\x04" => named(&mut Arrays::archive(file, path)?, path, selection, notices)?,
        _ => return Err(Error::file(path, "is neither a NumPy .npy nor a .npz file")),
    };
    if train.shape != test.shape {
        let [train, test] = [train.shape, test.shape];
        return Err(Error::file(
            path,
            format!("has training pictures of {train:?} (C, H, W), but test ones of {test:?}"),
        ));
    }
    note_dark(train.pixels.iter().chain(&test.pixels), path, notices);
    let largest = [&train, &test].into_iter().filter_map(|split| split.labels.as_ref()?.iter().max()).max();
    let classes = largest.map_or(0, |&label| label as usize + 1);
    let stem = plain(&path.file_stem().unwrap_or_default().to_string_lossy());
    Ok(Dataset { name: format!("array:{stem}"), classes, class_names: Vec::new(), train, test })
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
) -> Result<[Split; N]> {
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
            let pixels = form.pixels(member, scale)?;
            Ok(Split { pixels, count: form.count, shape: form.shape, labels: None })
        })?);
    }
    Ok(splits.try_into().expect("a split for each name"))
}

/// The pictures of one array as the selection parts them: training and test pictures. Those for testing are moved out, so
/// that there is no moment with two copies of all.
fn parted(
    mut all: Split,
    labels: Option<Vec<u8>>,
    path: &Path,
    selection: Selection,
    notices: &mut dyn FnMut(&str),
) -> Result<[Split; 2]> {
    notices(&selection.notice(&shown(path), "separate test array", false));
    all.labels = labels;
    let (shape, dims, count) = (all.shape, all.dims(), all.count);
    let none = || Split { pixels: Vec::new(), count: 0, shape, labels: all.labels.as_ref().map(|_| Vec::new()) };
    if selection == Selection::All {
        return Ok([none(), all]);
    }
    if count < 2 {
        return Err(Error::file(path, "has only one picture, but needs one for training and one for testing"));
    }
    let mut test = none();
    test.pixels.reserve_exact((0..count).filter(|&at| selection.is_test(at)).count() * dims);
    for at in 0..count {
        let picture = at * dims..(at + 1) * dims;
        if selection.is_test(at) {
            test.pixels.extend_from_slice(&all.pixels[picture]);
            test.count += 1;
        } else {
            all.pixels.copy_within(picture, (at - test.count) * dims);
        }
    }
    all.count -= test.count;
    all.pixels.truncate(all.count * dims);
    all.pixels.shrink_to_fit();
    if let Some(labels) = &all.labels {
        let half = |test| (0..count).filter(|&at| selection.is_test(at) == test).map(|at| labels[at]).collect();
        (test.labels, all.labels) = (Some(half(true)), Some(half(false)));
    }
    Ok([all, test])
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

/// What its name says of an array: its split, and its content. `x_train`, `Train_Images` and `train` are training pictures.
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
fn named(arrays: &mut Arrays, path: &Path, selection: Selection, notices: &mut dyn FnMut(&str)) -> Result<[Split; 2]> {
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
            if train_labels.is_some() != test_labels.is_some() {
                return Err(Error::file(path, "has labels for only one of the training and test pictures"));
            }
            let splits = [Split { labels: train_labels, ..train_split }, Split { labels: test_labels, ..test_split }];
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
            let labels = arrays.labels(label_name.clone(), all.count)?;
            (vec![Some(name), label_name], parted(all, labels, path, selection, notices)?)
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
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;

    use super::*;

    /// A `.npy` file of this type, shape and content.
    fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), content].concat()
    }

    fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (i, (name, content)) in arrays.iter().enumerate() {
            let method = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated][i % 2];
            archive.start_file(format!("{name}.npy"), SimpleFileOptions::default().compression_method(method)).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn open_bytes(bytes: &[u8]) -> (Result<Dataset>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pics.np");
        std::fs::write(&path, bytes).unwrap();
        let mut said = String::new();
        let data = open(&path, Selection::ByName, &mut |notice| said += &format!("{notice}\n"));
        (data, said)
    }

    #[track_caller]
    fn refused(bytes: &[u8], words: &[&str]) {
        let message = open_bytes(bytes).0.unwrap_err().to_string();
        for word in words.iter().chain(&["pics.np"]) {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn f64s(values: &[f64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn every_tenth_picture_of_one_array_is_for_testing() {
        let (data, said) = open_bytes(&npy("|u1", "(12, 1, 2)", &(100..124).collect::<Vec<u8>>()));
        let data = data.unwrap();
        assert_eq!((data.name.as_str(), data.classes, data.train.shape), ("array:pics", 0, [1, 1, 2]));
        assert_eq!((data.test.pixels, data.test.count), (vec![100, 101, 120, 121], 2));
        assert_eq!((&data.train.pixels[..3], data.train.count), (&[102, 103, 104][..], 10));
        assert_eq!((said.contains("every 10th"), said.lines().count()), (true, 1), "{said}");
        refused(&npy("|u1", "(1, 1, 2)", &[1, 2]), &["only one picture"]);
    }

    #[test]
    fn channels_come_last_or_first() {
        let pixels: Vec<u8> = (0..24).collect();
        let (last, _) = open_bytes(&npy("|u1", "(2, 2, 2, 3)", &pixels));
        let last = last.unwrap();
        assert_eq!((last.train.shape, last.train.pixels[..5].to_vec()), ([3, 2, 2], vec![12, 15, 18, 21, 13]));
        let (first, said) = open_bytes(&npy("|u1", "(2, 3, 2, 2)", &pixels));
        let first = first.unwrap();
        assert_eq!((first.train.shape, first.train.pixels), ([3, 2, 2], (12..24).collect()));
        assert!(!said.contains("the last size"), "{said}");
        // Both could be: the last wins, and it is said.
        let (both, said) = open_bytes(&npy("|u1", "(2, 3, 4, 1)", &pixels));
        assert_eq!((both.unwrap().train.shape, said.contains("the last size of [2, 3, 4, 1]")), ([1, 3, 4], true));
        for shape in ["(2, 2, 2, 2)", "(2, 12)", "(24,)", "()", "(2, 3, 2, 2, 1)", "(x, 2)"] {
            refused(&npy("|u1", shape, &pixels), &["expected a shape (N,H,W)", shape]);
        }
        for shape in ["(0, 2, 2)", "(2, 0, 2)", "(1, 1, 16385)"] {
            refused(&npy("|u1", shape, &pixels), &["at least one picture", shape]);
        }
    }

    #[test]
    fn numbers_of_every_type_become_grey_levels_on_a_scale_that_is_said() {
        let f16s = [0x0000u16, 0x3c00, 0x3800, 0x3266].map(u16::to_le_bytes).concat();
        let unit = [0.0, 1.0, 0.5, 0.2];
        let levels = [0.0, 255.0, 128.4, 51.0];
        let big = unit.map(|v: f64| (v as f32).to_be_bytes()).concat();
        let wide = |levels: [i64; 4]| levels.map(i64::to_le_bytes).concat();
        for (descr, content, expected, words) in [
            ("<f4", f32s(&unit.map(|v| v as f32)), [0, 255, 128, 51], "from 0 (black) to 1 (white)"),
            ("<f8", f64s(&unit), [0, 255, 128, 51], "rounded to 255ths"),
            ("<f2", f16s, [0, 255, 128, 51], "rounded to 255ths"),
            (">f4", big, [0, 255, 128, 51], "rounded to 255ths"),
            ("<f8", f64s(&levels), [0, 255, 128, 51], "grey levels of 0 to 255"),
            ("<i8", wide([0, 255, 128, 51]), [0, 255, 128, 51], "grey levels of 0 to 255"),
            ("<u2", [0u16, 65535, 32896, 13107].map(u16::to_le_bytes).concat(), [0, 255, 128, 51], "to 65535 (white)"),
            ("|b1", vec![0, 1, 1, 0], [0, 255, 255, 0], "true is 255"),
            ("|u1", vec![0, 1, 1, 0], [0, 255, 255, 0], "only 0 and 1, so 1 is taken as white"),
            ("<i8", wide([0, 1, 1, 0]), [0, 255, 255, 0], "only 0 and 1"),
        ] {
            let (data, said) = open_bytes(&npy(descr, "(2, 1, 2)", &content));
            let data = data.unwrap();
            assert_eq!([data.test.pixels, data.train.pixels].concat(), expected, "{descr}");
            assert!(said.contains(words) && said.lines().count() == 2, "{descr}: {said}");
        }
    }

    #[test]
    fn numbers_that_are_no_pixels_are_refused_by_their_place() {
        for (bad, shown) in [(-0.25, "-0.25"), (f64::NAN, "NaN"), (f64::INFINITY, "inf"), (70000.0, "70000")] {
            let mut values = [0.0; 12];
            values[9] = bad;
            let words = [&format!("value {shown} at [1, 1, 1]"), "pixels must be 0 to 1"];
            refused(&npy("<f8", "(2, 3, 2)", &f64s(&values)), &words);
            refused(&npy("<f4", "(2, 3, 2)", &f32s(&values.map(|v| v as f32))), &words);
        }
        refused(&npy("|i1", "(2, 1, 1)", &[5, 255]), &["value -1 at [1, 0, 0]"]);
        // Neither 1 nor 255 is white: scikit-learn's digits, and pictures with a few pixels above 1.
        for largest in [16.0, 1.2, 300.0] {
            refused(
                &npy("<f8", "(2, 1, 1)", &f64s(&[0.5, largest])),
                &[&format!("largest value is {largest}"), "x / x.max()"],
            );
        }
    }

    #[test]
    fn dark_pictures_are_noted_and_older_runs_keep_theirs() {
        let (_, said) = open_bytes(&npy("|u1", "(2, 1, 2)", &[0, 3, 16, 0]));
        assert!(said.contains("no pixel of") && said.contains("above 16 of 255"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, npy("|u1", "(2, 1, 2)", &[0, 1, 1, 0])).unwrap();
        let data = open(&path, Selection::ByOrder, &mut |_| ()).unwrap();
        assert_eq!((data.test.pixels, data.train.pixels), (vec![0, 1], vec![1, 0]));
    }

    #[test]
    fn the_scale_is_one_for_training_and_test_pictures() {
        let arrays = [("x_train", npy("|u1", "(1, 1, 2)", &[0, 200])), ("x_test", npy("|u1", "(1, 1, 2)", &[0, 1]))];
        assert_eq!(open_bytes(&npz(&arrays)).0.unwrap().test.pixels, [0, 1]);
        let arrays = [("x_train", npy("|u1", "(1, 1, 2)", &[0, 1])), ("x_test", npy("|u1", "(1, 1, 2)", &[0, 0]))];
        assert_eq!(open_bytes(&npz(&arrays)).0.unwrap().train.pixels, [0, 255]);
    }

    /// The same array in Fortran's order.
    fn fortran(descr: &str, sizes: &[usize], values: &[u8]) -> Vec<u8> {
        let strides: Vec<usize> = (0..sizes.len()).map(|axis| sizes[axis + 1..].iter().product()).collect();
        let turned = (0..values.len()).map(|at| {
            let mut rest = at;
            let index = sizes.iter().map(|size| (rest % size, rest /= size).0).collect::<Vec<_>>();
            values[index.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>()]
        });
        let shape = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let c = npy(descr, &format!("({shape})"), &turned.collect::<Vec<u8>>());
        let text = String::from_utf8_lossy(&c[10..c.len() - values.len()]).replace("False", "True ");
        let length = (text.len() as u16).to_le_bytes();
        [&c[..8], &length, text.as_bytes(), &c[c.len() - values.len()..]].concat()
    }

    #[test]
    fn fortran_order_is_turned() {
        let values: Vec<u8> = (0..72).collect();
        for sizes in [&[3, 4, 6][..], &[3, 2, 4, 3], &[3, 3, 2, 4], &[6, 1, 3, 4], &[8, 9]] {
            let shape = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            let c = open_bytes(&npy("|u1", &format!("({shape})"), &values)).0.unwrap();
            assert_eq!(open_bytes(&fortran("|u1", sizes, &values)).0.unwrap(), c, "{sizes:?}");
        }
        let mut bad = [0u8; 12];
        bad[9] = 200;
        refused(&fortran("|i1", &[2, 3, 2], &bad), &["value -56 at [1, 1, 1]"]);
    }

    #[test]
    fn rows_of_square_pictures_are_known() {
        let (data, said) = open_bytes(&npy("|u1", "(2, 9)", &(60..78).collect::<Vec<u8>>()));
        assert_eq!(data.unwrap().train.shape, [1, 3, 3]);
        assert!(said.contains("grey pictures of 3x3"), "{said}");
    }

    #[test]
    fn all_pictures_can_be_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, npy("|u1", "(1, 1, 2)", &[70, 80])).unwrap();
        let data = open(&path, Selection::All, &mut |_| ()).unwrap();
        assert_eq!((data.train.count, data.test.pixels, data.test.count), (0, vec![70, 80], 1));
    }

    #[test]
    fn other_types_and_lengths_are_refused() {
        for descr in ["<c8", "|O", "<U3", "<f16", "<M8"] {
            refused(&npy(descr, "(2, 1, 2)", &[0; 64]), &["expected pictures of bool", descr]);
        }
        let good = npy("|u1", "(2, 1, 2)", &[9, 8, 7, 6]);
        refused(&good[..good.len() - 1], &["fits the 3 bytes", "needs 4"]);
        refused(&[&good[..], &[1]].concat(), &["fits the 5 bytes"]);
        refused(&npy("|u1", "(4000000000, 1000, 1000)", &[0; 4]), &["need 4000000000000000 bytes of memory"]);
        refused(b"", &["neither"]);
        refused(b"some text", &["neither a NumPy .npy nor a .npz"]);
        let message = open(Path::new("src"), Selection::ByName, &mut |_| ()).unwrap_err().to_string();
        assert!(message.contains("is a folder") && message.contains("--dataset folder"), "{message}");
    }

    #[test]
    fn arrays_are_known_by_their_names() {
        for (name, split, content) in [
            ("x_train", Some("train"), Content::Pictures),
            ("X_Test", Some("test"), Content::Pictures),
            ("train", Some("train"), Content::Pictures),
            ("val_images", Some("val"), Content::Pictures),
            ("training/labels", Some("train"), Content::Labels),
            ("y_valid", Some("val"), Content::Labels),
            ("imgs", None, Content::Pictures),
            ("target", None, Content::Labels),
            ("arr_0", None, Content::Open),
            ("train_ids", Some("train"), Content::Open),
        ] {
            assert_eq!(meaning(name), (split, content), "{name}");
        }
        let picture = || npy("|u1", "(2, 1, 2)", &[70, 80, 90, 99]);
        // MedMNIST's names, without its test pictures and with them; numpy.savez(file, pictures, numbers).
        let (data, said) = open_bytes(&npz(&[("train_images", picture()), ("val_images", picture())]));
        assert_eq!((data.unwrap().test.count, said.contains("val_images has the test pictures")), (2, true), "{said}");
        let (data, said) =
            open_bytes(&npz(&[("train_images", picture()), ("test_images", picture()), ("val_images", picture())]));
        assert_eq!((data.unwrap().train.count, said.contains("val_images of")), (2, true), "{said}");
        let (data, said) = open_bytes(&npz(&[("arr_0", picture()), ("arr_1", npy("<f8", "(2,)", &[0; 16]))]));
        assert_eq!((data.unwrap().train.count, said.contains("arr_1 of")), (1, true), "{said}");
        refused(&npz(&[("x", picture()), ("images", picture())]), &["x, images may each be"]);
    }

    /// As Keras' mnist.npz.
    fn keras() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("x_test", npy("|u1", "(1, 1, 2)", &[5, 6])),
            ("x_train", npy("|u1", "(2, 1, 2)", &[1, 2, 3, 4])),
            ("y_train", npy("<i8", "(2,)", &[[7u8, 0, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0]].concat())),
            ("y_test", npy("|u1", "(1,)", &[3])),
        ]
    }

    #[test]
    fn an_archive_has_splits_and_labels() {
        let (data, said) = open_bytes(&npz(&keras()));
        let data = data.unwrap();
        assert_eq!((data.train.pixels, data.train.labels), (vec![1, 2, 3, 4], Some(vec![7, 9])));
        assert_eq!((data.test.pixels, data.test.labels, data.classes), (vec![5, 6], Some(vec![3]), 10));
        assert!(said.lines().all(|line| line.contains("no pixel of")), "{said}");
        for (from, to) in [("x_train", "train"), ("x_train", "train_images")] {
            let renamed: Vec<(&str, Vec<u8>)> = keras()
                .into_iter()
                .map(|(name, array)| match (name, to) {
                    (name, _) if name == from => (to, array),
                    ("x_test", "train") => ("test", array),
                    ("x_test", _) => ("test_images", array),
                    ("y_train", _) => ("train_labels", array),
                    (_, _) => ("test_labels", array),
                })
                .collect();
            let data = open_bytes(&npz(&renamed)).0.unwrap();
            assert_eq!((data.train.labels, data.test.labels), (Some(vec![7, 9]), Some(vec![3])));
        }
        let data = open_bytes(&npz(&keras()[..2])).0.unwrap();
        assert_eq!((data.train.labels, data.classes), (None, 0));
    }

    #[test]
    fn a_single_array_is_split_with_its_labels() {
        let pixels: Vec<u8> = (10..22).collect();
        for name in ["x", "images", "arr_0"] {
            let arrays = [
                ("labels", npy("<i4", "(12, 1)", &(0..12).flat_map(|i: u32| i.to_le_bytes()).collect::<Vec<u8>>())),
                (name, npy("|u1", "(12, 1, 1)", &pixels)),
            ];
            let (data, said) = open_bytes(&npz(&arrays));
            let data = data.unwrap();
            assert_eq!((data.test.pixels, data.test.labels), (vec![10, 20], Some(vec![0, 10])));
            assert_eq!((data.train.labels.unwrap()[..2].to_vec(), data.classes), (vec![1, 2], 12));
            assert!(said.contains("every 10th"), "{said}");
        }
    }

    #[test]
    fn wrong_archives_are_refused_by_array() {
        let with = |name: &str, array: Vec<u8>| {
            npz(&keras().into_iter().map(|(n, a)| (n, if n == name { array.clone() } else { a })).collect::<Vec<_>>())
        };
        let good = npz(&keras());
        refused(&good[..good.len() - 10], &["archive is damaged"]);
        refused(&npz(&[("a", vec![]), ("b", vec![])]), &["expected the arrays x_train and x_test", "found a, b"]);
        refused(&npz(&[]), &["neither"]);
        refused(&npz(&keras()[..3]), &["labels for only one"]);
        refused(&with("y_test", npy("<f4", "(1,)", &f32s(&[0.5]))), &["y_test.npy", "label 0.5 of picture 0"]);
        refused(&with("y_test", npy("<U1", "(1,)", &[0; 4])), &["y_test.npy", "type of numbers"]);
        refused(&with("y_test", npy("|u1", "(2,)", &[0; 2])), &["y_test.npy", "each of the 1 pictures"]);
        refused(&with("y_train", npy("<i2", "(2,)", &[1, 0, 0, 1])), &["y_train.npy", "label 256 of picture 1"]);
        refused(&with("y_train", npy("|i1", "(2,)", &[255, 1])), &["label -1 of picture 0"]);
        refused(&with("x_test", npy("|u1", "(1, 2, 1)", &[5, 6])), &["[1, 1, 2]", "[1, 2, 1]"]);
        refused(&with("x_test", npy("|u1", "(1, 1, 3)", &[5, 6])), &["x_test.npy", "needs 3"]);
        refused(&with("x_test", b"text".to_vec()), &["x_test.npy", "expected a NumPy .npy file"]);
        // A changed pixel does not fit the checksum of the archive.
        let mut flipped = good.clone();
        let at = good.windows(2).position(|pair| pair == [5, 6]).unwrap();
        flipped[at] = 99;
        refused(&flipped, &["x_test.npy", "damaged"]);
        let mut flipped = good.clone();
        let at = good.windows(8).position(|word| word == [9, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        flipped[at] = 8;
        refused(&flipped, &["y_train.npy", "damaged"]);
    }

    #[test]
    fn an_archive_that_claims_too_much_is_refused() {
        // The claimed size of the first array stands in the central directory, 24 bytes from its signature.
        let mut bomb = npz(&[("x", npy("|u1", "(60000, 100, 100)", &[1, 2, 3, 4]))]);
        let entry = bomb.windows(4).rposition(|word| word == b"PK\x01\x02").unwrap();
        bomb[entry + 24..entry + 28].copy_from_slice(&600_000_074u32.to_le_bytes());
        refused(&bomb, &["x.npy", "claims to be 600000074 bytes"]);
        let fit = npz(&[("x", npy("|u1", "(60000, 100, 100)", &[1, 2, 3, 4]))]);
        refused(&fit, &["x.npy", "needs 600000000"]);
    }
}
