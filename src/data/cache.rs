//! Decoded pictures on disk, so that a folder is decoded once and not at every start.
//!
//! A file holds the bytes `ELBOPICS`, a SHA-256 of all that follows, the header's length as little-endian u32, the
//! header as JSON, then the training pixels, their labels, the test pixels, their labels. Which folder and preparation
//! it is of says its name; which state of the folder's files, the `key` in its header. Nothing depends on the cache:
//! it may be removed at any time, and whatever is wrong with it, the folder is decoded.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::table::{LABELS, PICTURES, Table};
use super::{Dataset, MAX_BYTES};
use crate::error::{Error, Result};
use crate::files;

const MAGIC: &[u8; 8] = b"ELBOPICS";
/// Magic, hash, length of the header.
const START: u64 = 8 + 32 + 4;
/// Largest header read; one has a few hundred bytes for each class, and as many for each of 11 notices.
const MAX_HEADER: u32 = 1 << 24;
/// Hashed in pieces of this size, on all cores.
const PIECE: usize = 1 << 24;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    key: String,
    shape: [usize; 3],
    /// Pictures for training and for testing.
    counts: [usize; 2],
    labelled: bool,
    classes: usize,
    class_names: Vec<String>,
    notices: Vec<String>,
}

/// The splits, in a data set without a name, and the notices of when they were decoded.
pub type Cached = (Dataset, Vec<String>);

/// Writes the splits of `data` to `path`, whole or not at all.
///
/// # Errors
/// Those of the file system; data without pictures.
pub fn save(path: &Path, key: &str, data: &Dataset, notices: &[String]) -> Result<()> {
    let Dataset { class_names, train, test, .. } = data;
    let columns = train.columns();
    let header = Header {
        key: key.to_string(),
        shape: columns.picture(PICTURES)?,
        counts: [train.count, test.count],
        labelled: train.labels().is_some(),
        classes: columns.label(LABELS).unwrap_or(0),
        class_names: class_names.clone(),
        notices: notices.to_vec(),
    };
    let header = serde_json::to_vec(&header).expect("plain data");
    let length = (header.len() as u32).to_le_bytes();
    let [train_labels, test_labels] = [train, test].map(|table| table.labels().unwrap_or_default());
    let parts = [&length[..], &header, train.pixels(), train_labels, test.pixels(), test_labels];
    let hash = hash(&parts);
    files::write_parts_atomic(path, &[&[&MAGIC[..], &hash], &parts[..]].concat())
}

/// Reads `path`. None if it is not there, or of an earlier state of the folder.
///
/// # Errors
/// What is wrong with the file.
pub fn load(path: &Path, key: &str) -> std::result::Result<Option<Cached>, String> {
    match files::open_regular(path) {
        Ok((file, _)) => read(file, key),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn read(file: File, key: &str) -> std::result::Result<Option<Cached>, String> {
    let io = |error: std::io::Error| error.to_string();
    let file_bytes = file.metadata().map_err(io)?.len();
    let mut file = BufReader::new(file);
    let (mut magic, mut expected, mut length) = ([0; 8], [0; 32], [0; 4]);
    for part in [&mut magic[..], &mut expected, &mut length] {
        file.read_exact(part).map_err(io)?;
    }
    let header_bytes = u32::from_le_bytes(length);
    if magic != *MAGIC || header_bytes > MAX_HEADER || header_bytes as u64 > file_bytes {
        return Err("it does not start like one".to_string());
    }
    let mut text = vec![0; header_bytes as usize];
    file.read_exact(&mut text).map_err(io)?;
    let header: Header = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if header.key != key {
        return Ok(None);
    }
    // Allocations are no longer than the file.
    let dims = header.shape.iter().try_fold(1u64, |dims, &size| dims.checked_mul(size as u64)).unwrap_or(u64::MAX);
    let size = |count: usize| (count as u64).checked_mul(dims).filter(|&bytes| dims > 0 && bytes <= MAX_BYTES);
    let sizes = header.counts.map(size);
    let [Some(train), Some(test)] = sizes else { return Err("its sizes are absurd".to_string()) };
    let labels = header.counts.map(|count| if header.labelled { count as u64 } else { 0 });
    let needed = [train, labels[0], test, labels[1]];
    if START + header_bytes as u64 + needed.iter().sum::<u64>() != file_bytes {
        return Err("its length is not the one its header says".to_string());
    }
    let mut bodies = needed.map(|bytes| vec![0; bytes as usize]);
    for body in &mut bodies {
        file.read_exact(body).map_err(io)?;
    }
    let [train, train_labels, test, test_labels] = &bodies;
    if hash(&[&length, &text, train, train_labels, test, test_labels]) != expected {
        return Err("its checksum is wrong".to_string());
    }
    let [train, train_labels, test, test_labels] = bodies;
    let table =
        |pixels, labels| Table::of_pictures(header.shape, pixels, header.labelled.then_some((labels, header.classes)));
    let data = Dataset {
        name: String::new(),
        train: table(train, train_labels),
        test: table(test, test_labels),
        class_names: header.class_names,
        vocabulary: None,
        spectrogram: None,
    };
    Ok(Some((data, header.notices)))
}

/// SHA-256 of the SHA-256 of every piece of every part.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let pieces: Vec<&[u8]> = parts.iter().flat_map(|part| part.chunks(PIECE)).collect();
    let hashes: Vec<[u8; 32]> = pieces.par_iter().map(|piece| Sha256::digest(piece).into()).collect();
    Sha256::digest(hashes.concat()).into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn data(labelled: bool) -> Dataset {
        let labels = |values: &[u8]| labelled.then(|| (values.to_vec(), 2));
        Dataset {
            name: String::new(),
            class_names: vec!["a".into(), "b".into()],
            vocabulary: None,
            spectrogram: None,
            train: Table::of_pictures([1, 2, 2], (0..12).collect(), labels(&[0, 1, 0])),
            test: Table::of_pictures([1, 2, 2], (50..54).collect(), labels(&[1])),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_for_its_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/c.bin");
        assert_eq!(load(&path, "k"), Ok(None));
        for labelled in [true, false] {
            save(&path, "k", &data(labelled), &["skipped".into()]).unwrap();
            assert_eq!(load(&path, "k"), Ok(Some((data(labelled), vec!["skipped".into()]))));
            assert_eq!(load(&path, "other"), Ok(None));
        }
    }

    #[test]
    fn any_change_of_the_file_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.bin");
        save(&path, "k", &data(true), &[]).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            // A changed key in the header is another key's file.
            assert!(!matches!(load(&path, "k"), Ok(Some(_))), "byte {at}");
        }
        for bad in [&good[..good.len() - 1], &good[..50], &good[..10], b"", &[&good[..], b"x"].concat()] {
            fs::write(&path, bad).unwrap();
            assert!(load(&path, "k").is_err(), "{} bytes", bad.len());
        }
    }

    #[test]
    fn a_hostile_header_allocates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.bin");
        let write = |header: &str| {
            let length = (header.len() as u32).to_le_bytes();
            fs::write(&path, [&MAGIC[..], &[0; 32], &length, header.as_bytes()].concat()).unwrap();
        };
        for (shape, counts) in
            [("1,2,2", "1000000000,1"), ("0,2,2", "1,1"), ("4294967296,4294967296,4294967296", "1,1")]
        {
            write(&format!(
                r#"{{"key":"k","shape":[{shape}],"counts":[{counts}],"labelled":false,"classes":0,"class_names":[],"notices":[]}}"#
            ));
            assert!(load(&path, "k").is_err());
        }
    }
}
