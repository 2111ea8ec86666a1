//! Pictures in a NumPy file: an array in a `.npy`, or arrays by name in a `.npz`, which is a zip archive of `.npy`.
//!
//! An array is (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3, of u8, or of f32 or f64 in `[0,1]`, which are
//! rounded to 255ths. Numbers are converted as they arrive: in memory is only one byte for each.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use byteorder::{ByteOrder, LittleEndian};
use zip::ZipArchive;

use super::npy::Header;
use super::{Dataset, MAX_CLASSES, MAX_SIDE, Split, check_memory, decode, is_test, tenth_notice};
use crate::error::{Error, Result};

/// Names of arrays, in the order in which they are looked for: training pictures, their labels, test pictures, theirs.
const SPLIT_NAMES: [[&str; 4]; 3] = [
    ["x_train", "y_train", "x_test", "y_test"],
    ["train_images", "train_labels", "test_images", "test_labels"],
    ["train", "y_train", "test", "y_test"],
];
/// Pictures in one array, and labels.
const WHOLE_NAMES: [&str; 3] = ["x", "images", "data"];
const LABEL_NAMES: [&str; 2] = ["labels", "y"];
/// Deflate makes nothing shorter than by this factor.
const MOST_DEFLATED: u64 = 1032;

/// Reads the pictures of the `.npy` or `.npz` file `path`; which of the two says its content.
///
/// # Errors
/// Arrays that are missing, of another type, order or shape, too short or too long, or with values that are no
/// pixels, each by the names of file and array.
pub fn open(path: &Path, notices: &mut dyn FnMut(&str)) -> Result<Dataset> {
    if path.is_dir() {
        return Err(Error::file(
            path,
            "is a folder, but --dataset array reads a .npy or .npz file (or --dataset folder)",
        ));
    }
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut start = [0; 4];
    // A shorter file is neither.
    let _ = file.read_exact(&mut start);
    file.seek(SeekFrom::Start(0)).map_err(Error::io("read", path))?;
    let [train, test] = match &start {
        b"\x93NUM" => {
            let length = file.metadata().map_err(Error::io("read", path))?.len();
            let member = Member { content: BufReader::new(file), length, path };
            let pictures = Pictures::read(member, true, notices)?;
            notices(&tenth_notice(path, "separate test array"));
            pictures.splits([None, None])
        }
        b"PK\x03\x04" => Npz::open(file, path)?.read(notices)?,
        _ => return Err(Error::file(path, "is neither a NumPy .npy nor a .npz file")),
    };
    if train.count == 0 {
        return Err(Error::file(path, "has only one picture, but needs one for training and one for testing"));
    }
    if train.shape != test.shape {
        let [train, test] = [train.shape, test.shape];
        return Err(Error::file(
            path,
            format!("has training pictures of {train:?} (C, H, W), but test ones of {test:?}"),
        ));
    }
    let largest = [&train, &test].into_iter().filter_map(|split| split.labels.as_ref()?.iter().max()).max();
    let classes = largest.map_or(0, |&label| label as usize + 1);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Dataset { name: format!("array:{stem}"), classes, class_names: Vec::new(), train, test })
}

/// One array on its way in.
struct Member<'a, R> {
    content: R,
    /// All of it, the header included.
    length: u64,
    /// For errors.
    path: &'a Path,
}

// ---- Pictures

/// The pictures of one array: every tenth apart, or all in the first half.
struct Pictures {
    halves: [Vec<u8>; 2],
    shape: [usize; 3],
}

#[derive(Clone, Copy)]
enum Pixel {
    U8,
    F32,
    F64,
}

impl Pixel {
    fn bytes(self) -> usize {
        match self {
            Pixel::U8 => 1,
            Pixel::F32 => 4,
            Pixel::F64 => 8,
        }
    }

    /// The numbers in `raw` as bytes, or the first number that is no pixel, and where it is.
    fn convert(self, raw: &[u8], bytes: &mut Vec<u8>) -> std::result::Result<(), (usize, f64)> {
        bytes.clear();
        let number = match self {
            Pixel::U8 => {
                bytes.extend_from_slice(raw);
                return Ok(());
            }
            Pixel::F32 => |word: &[u8]| LittleEndian::read_f32(word) as f64,
            Pixel::F64 => |word: &[u8]| LittleEndian::read_f64(word),
        };
        for (at, word) in raw.chunks_exact(self.bytes()).enumerate() {
            let value = number(word);
            if !(0.0..=1.0).contains(&value) {
                return Err((at, value));
            }
            bytes.push((value * 255.0).round() as u8);
        }
        Ok(())
    }
}

impl Pictures {
    /// Reads an array of pictures. With `tenth`, every tenth goes into the second half.
    fn read(mut member: Member<impl Read>, tenth: bool, notices: &mut dyn FnMut(&str)) -> Result<Pictures> {
        let path = member.path;
        let header = Header::read(&mut member.content, path)?;
        let pixel = match header.descr() {
            Some("|u1" | "<u1") => Pixel::U8,
            Some("<f4") => Pixel::F32,
            Some("<f8") => Pixel::F64,
            _ => {
                return Err(
                    header.unexpected("pictures of u8 ('|u1'), or of f32 or f64 ('<f4', '<f8') in [0, 1]", path)
                );
            }
        };
        c_order(&header, path)?;
        let sizes = header.shape().unwrap_or_default();
        let fits = |c: u64| c == 1 || c == 3;
        let (shape, last) = match sizes[..] {
            [_, h, w] => ([1, h, w], false),
            [_, h, w, c] if fits(c) => ([c, h, w], true),
            [_, c, h, w] if fits(c) => ([c, h, w], false),
            _ => return Err(header.unexpected("a shape (N,H,W), (N,H,W,C) or (N,C,H,W) with C = 1 or 3", path)),
        };
        if sizes[0] == 0 || shape.iter().any(|&size| size == 0 || size > MAX_SIDE as u64) {
            return Err(header.unexpected(&format!("at least one picture and sides of 1 to {MAX_SIDE}"), path));
        }
        let shape = shape.map(|size| size as usize);
        let count = usize::try_from(sizes[0]).unwrap_or(usize::MAX);
        check_memory(path, count, shape)?;
        let dims = shape.iter().product::<usize>();
        exact_length(&header, &member, (count * dims * pixel.bytes()) as u64)?;
        if last && sizes.len() == 4 && fits(sizes[1]) {
            notices(&format!(
                "note: the last size of {sizes:?} in {} is taken for the channels, though the second could be",
                path.display()
            ));
        }

        // As long as the file is, or up to 1032 times as long where it is compressed.
        let mut halves = [Vec::new(), Vec::new()];
        let tests = if tenth { (0..count).filter(|&at| is_test(at)).count() } else { 0 };
        for (half, pictures) in halves.iter_mut().zip([count - tests, tests]) {
            let bytes = pictures * dims;
            half.try_reserve_exact(bytes)
                .map_err(|_| Error::file(path, format!("no memory for {bytes} bytes of pictures")))?;
        }
        let mut raw = vec![0; dims * pixel.bytes()];
        let mut bytes = Vec::with_capacity(dims);
        for picture in 0..count {
            member.content.read_exact(&mut raw).map_err(|error| damaged(path, error))?;
            pixel.convert(&raw, &mut bytes).map_err(|(at, value)| {
                let index = index_of(&sizes, picture, at);
                Error::file(path, format!("value {value} at {index:?}: floating-point pixels must lie in [0, 1]"))
            })?;
            let half = &mut halves[(tenth && is_test(picture)) as usize];
            if last { half.extend(decode::planes(&bytes, shape[0])) } else { half.extend(&bytes) }
        }
        at_end(member)?;
        match pixel {
            Pixel::U8 if halves.iter().flatten().all(|&byte| byte <= 1) => {
                notices(&format!("note: no byte of {} is above 1 of 255: the pictures are black", path.display()));
            }
            Pixel::U8 => {}
            Pixel::F32 | Pixel::F64 => {
                notices(&format!("note: the values of {} are rounded to 255ths", path.display()));
            }
        }
        Ok(Pictures { halves, shape })
    }

    fn counts(&self) -> [usize; 2] {
        self.halves.each_ref().map(|half| half.len() / self.shape.iter().product::<usize>())
    }

    fn splits(self, labels: [Option<Vec<u8>>; 2]) -> [Split; 2] {
        let counts = self.counts();
        let [train, test] = self.halves;
        let [train_labels, test_labels] = labels;
        let split = |pixels, count, labels| Split { pixels, count, shape: self.shape, labels };
        [split(train, counts[0], train_labels), split(test, counts[1], test_labels)]
    }
}

/// NumPy's index of number `at` of a picture.
fn index_of(sizes: &[u64], picture: usize, at: usize) -> Vec<usize> {
    let mut rest = at;
    let mut index: Vec<usize> = Vec::new();
    for &size in sizes[1..].iter().rev() {
        index.push(rest % size as usize);
        rest /= size as usize;
    }
    index.push(picture);
    index.reverse();
    index
}

fn c_order(header: &Header, path: &Path) -> Result<()> {
    let expected = "C order, 'fortran_order': False (numpy.ascontiguousarray(x) has it)";
    header.require("'fortran_order'", "False", path).map_err(|_| header.unexpected(expected, path))
}

fn exact_length<R>(header: &Header, member: &Member<R>, needed: u64) -> Result<()> {
    let found = member.length.saturating_sub(header.bytes);
    if found == needed {
        return Ok(());
    }
    Err(header
        .unexpected(&format!("a shape that fits the {found} bytes after the header (it needs {needed})"), member.path))
}

/// Reads past the end, where zip's checksum is looked at.
fn at_end(mut member: Member<impl Read>) -> Result<()> {
    match member.content.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::file(member.path, "is longer than it says")),
        Err(error) => Err(damaged(member.path, error)),
    }
}

fn damaged(path: &Path, error: std::io::Error) -> Error {
    Error::file(path, format!("the array is damaged: {error}"))
}

// ---- Labels

/// Reads an array of `count` labels (N) or (N, 1), of any integer type.
fn read_labels(mut member: Member<impl Read>, count: usize) -> Result<Vec<u8>> {
    let path = member.path;
    let header = Header::read(&mut member.content, path)?;
    let (signed, bytes) = match header.descr() {
        Some("|i1") => (true, 1),
        Some("<i2") => (true, 2),
        Some("<i4") => (true, 4),
        Some("<i8") => (true, 8),
        Some("|u1") => (false, 1),
        Some("<u2") => (false, 2),
        Some("<u4") => (false, 4),
        Some("<u8") => (false, 8),
        _ => return Err(header.unexpected("labels of a little-endian integer type", path)),
    };
    match header.shape().as_deref() {
        Some([n] | [n, 1]) if *n == count as u64 => {}
        _ => return Err(header.unexpected(&format!("one label for each of the {count} pictures"), path)),
    }
    exact_length(&header, &member, (count * bytes) as u64)?;
    let mut raw = vec![0; count * bytes];
    member.content.read_exact(&mut raw).map_err(|error| damaged(path, error))?;
    at_end(member)?;
    let number = |word: &[u8]| -> i128 {
        if signed { LittleEndian::read_int(word, bytes) as i128 } else { LittleEndian::read_uint(word, bytes) as i128 }
    };
    let labels = raw.chunks_exact(bytes).map(number).enumerate().map(|(at, label)| {
        u8::try_from(label).map_err(|_| {
            Error::file(path, format!("label {label} of picture {at}: expected labels of 0 to {}", MAX_CLASSES - 1))
        })
    });
    labels.collect()
}

// ---- Archives

struct Npz<'a> {
    archive: ZipArchive<BufReader<File>>,
    file_bytes: u64,
    path: &'a Path,
    /// Names of the arrays, without `.npy`.
    names: Vec<String>,
}

impl Npz<'_> {
    fn open(file: File, path: &Path) -> Result<Npz<'_>> {
        let broken = |error: zip::result::ZipError| Error::file(path, format!("the .npz archive is damaged: {error}"));
        let file_bytes = file.metadata().map_err(Error::io("read", path))?.len();
        let archive = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
        let mut names = Vec::new();
        for name in archive.file_names() {
            let name = name.map_err(broken)?;
            names.extend(name.strip_suffix(".npy").map(str::to_string));
        }
        Ok(Npz { archive, file_bytes, path, names })
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Gives the array `name` to `read`.
    fn with<T>(&mut self, name: &str, read: impl FnOnce(Member<&mut dyn Read>) -> Result<T>) -> Result<T> {
        let path: PathBuf = self.path.join(format!("{name}.npy"));
        let broken = |error: zip::result::ZipError| Error::file(&path, format!("the .npz archive is damaged: {error}"));
        let mut entry = self.archive.by_name(&format!("{name}.npy")).map_err(broken)?;
        let (length, packed) = (entry.size(), entry.compressed_size());
        if packed > self.file_bytes || length / MOST_DEFLATED > packed {
            return Err(Error::file(
                &path,
                format!("claims to be {length} bytes, packed into {packed}: no such array"),
            ));
        }
        let mut content = BufReader::with_capacity(1 << 16, &mut entry);
        read(Member { content: &mut content, length, path: &path })
    }

    fn read(mut self, notices: &mut dyn FnMut(&str)) -> Result<[Split; 2]> {
        for [x_train, y_train, x_test, y_test] in SPLIT_NAMES {
            if self.has(x_train) && self.has(x_test) {
                // `train` and `test` may go with either of the first two rows' labels.
                let label_names = [[y_train, "train_labels"], [y_test, "test_labels"]];
                let [train, _] = self.pictures(x_train, false, notices)?.splits([None, None]);
                let [test, _] = self.pictures(x_test, false, notices)?.splits([None, None]);
                let train_labels = self.labels(label_names[0], train.count)?;
                let test_labels = self.labels(label_names[1], test.count)?;
                if train_labels.is_some() != test_labels.is_some() {
                    return Err(Error::file(self.path, "has labels for only one of the training and test pictures"));
                }
                return Ok([Split { labels: train_labels, ..train }, Split { labels: test_labels, ..test }]);
            }
        }
        let unlabelled: Vec<&String> = self.names.iter().filter(|name| !LABEL_NAMES.contains(&name.as_str())).collect();
        let named = WHOLE_NAMES.into_iter().find(|name| self.has(name)).map(str::to_string);
        let name = match (named, unlabelled[..].first()) {
            (Some(name), _) => name,
            (None, Some(only)) if unlabelled.len() == 1 => only.to_string(),
            _ => {
                let found = if self.names.is_empty() { "none".to_string() } else { self.names.join(", ") };
                return Err(Error::file(
                    self.path,
                    format!("expected the arrays x_train and x_test, or x, or a single one, found {found}"),
                ));
            }
        };
        let pictures = self.pictures(&name, true, notices)?;
        notices(&tenth_notice(self.path, "separate test array"));
        let count = pictures.counts().iter().sum();
        let labels = match self.labels(LABEL_NAMES, count)? {
            None => [None, None],
            Some(labels) => {
                let half = |test| (0..count).filter(|&at| is_test(at) == test).map(|at| labels[at]).collect();
                [Some(half(false)), Some(half(true))]
            }
        };
        Ok(pictures.splits(labels))
    }

    fn pictures(&mut self, name: &str, tenth: bool, notices: &mut dyn FnMut(&str)) -> Result<Pictures> {
        self.with(name, |member| Pictures::read(member, tenth, notices))
    }

    /// The labels under the first of `names` that is there.
    fn labels(&mut self, names: [&str; 2], count: usize) -> Result<Option<Vec<u8>>> {
        let name = names.into_iter().find(|name| self.has(name));
        name.map(|name| self.with(name, |member| read_labels(member, count))).transpose()
    }
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
        let data = open(&path, &mut |notice| said += &format!("{notice}\n"));
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
        let (data, said) = open_bytes(&npy("|u1", "(12, 1, 2)", &(0..24).collect::<Vec<u8>>()));
        let data = data.unwrap();
        assert_eq!((data.name.as_str(), data.classes, data.train.shape), ("array:pics", 0, [1, 1, 2]));
        assert_eq!((data.test.pixels, data.test.count), (vec![0, 1, 20, 21], 2));
        assert_eq!((&data.train.pixels[..3], data.train.count), (&[2, 3, 4][..], 10));
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
        assert_eq!((first.train.shape, first.train.pixels, said.lines().count()), ([3, 2, 2], (12..24).collect(), 1));
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
    fn floating_point_pixels_are_rounded_within_their_range() {
        for (descr, content) in [("<f4", f32s(&[0.0, 1.0, 0.5, 0.2])), ("<f8", f64s(&[0.0, 1.0, 0.5, 0.2]))] {
            let (data, said) = open_bytes(&npy(descr, "(2, 1, 2)", &content));
            let data = data.unwrap();
            assert_eq!((data.test.pixels, data.train.pixels), (vec![0, 255], vec![128, 51]));
            assert!(said.contains("rounded to 255ths"), "{said}");
        }
        for (bad, shown) in [(1.5, "1.5"), (-0.25, "-0.25"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            let mut values = [0.0; 12];
            values[9] = bad;
            let words = [&format!("value {shown} at [1, 1, 1]"), "[0, 1]"];
            refused(&npy("<f8", "(2, 3, 2)", &f64s(&values)), &words);
            refused(&npy("<f4", "(2, 3, 2)", &f32s(&values.map(|v| v as f32))), &words);
        }
    }

    #[test]
    fn black_pictures_are_noted() {
        let (_, said) = open_bytes(&npy("|u1", "(2, 1, 2)", &[0, 1, 1, 0]));
        assert!(said.contains("no byte"), "{said}");
    }

    #[test]
    fn other_types_orders_and_lengths_are_refused() {
        for descr in [">f4", "<i8", "|b1", "<f2", "<U3"] {
            refused(&npy(descr, "(2, 1, 2)", &[0; 64]), &["expected pictures of u8", descr]);
        }
        let good = npy("|u1", "(2, 1, 2)", &[9, 8, 7, 6]);
        let fortran = String::from_utf8_lossy(&good[10..]).replace("False", "True ");
        refused(&[&good[..10], fortran.as_bytes()].concat(), &["'fortran_order': False", "ascontiguousarray"]);
        refused(&good[..good.len() - 1], &["fits the 3 bytes", "needs 4"]);
        refused(&[&good[..], &[1]].concat(), &["fits the 5 bytes"]);
        refused(&npy("|u1", "(4000000000, 1000, 1000)", &[0; 4]), &["need 4000000000000000 bytes of memory"]);
        refused(b"", &["neither"]);
        refused(b"some text", &["neither a NumPy .npy nor a .npz"]);
        let message = open(Path::new("src"), &mut |_| ()).unwrap_err().to_string();
        assert!(message.contains("is a folder") && message.contains("--dataset folder"), "{message}");
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
        assert_eq!(said, "");
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
        refused(&with("y_test", npy("<f4", "(1,)", &[0; 4])), &["y_test.npy", "integer type"]);
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
