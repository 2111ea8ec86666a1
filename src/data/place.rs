//! What lies in a place that the user named, so that data which are not what was asked for are named with the option
//! that reads them, and nothing is downloaded in among them.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::listing::{MOST_NAMED, PICTURES};
use super::sets::SETS;
use super::{audio, binarized_mnist, cifar, decode, text};
use crate::error::shown;
use crate::files::open_regular;

/// Entries of a folder that are looked at, and folders below it: enough to know what it is.
const MOST_SEEN: usize = 1000;
/// How deep pictures are looked for: `train/class/picture.png`.
const DEPTH: usize = 3;

/// What `place` is or holds and how it is read, as a clause: `holds pictures (a.png): add --dataset folder`. None where
/// there is nothing that could be read.
pub(super) fn advice(place: &Path) -> Option<String> {
    if place.is_file() {
        return file_advice(place);
    }
    if binarized_mnist::is_in(place) {
        return Some(format!("holds files of {0}: add --dataset {0}", binarized_mnist::NAME));
    }
    // MNIST, the first, last: others have files of its names, in folders of their own.
    if let Some(set) = SETS.iter().rev().find(|set| set.is_in(place)) {
        return Some(format!("holds files of {0}: add --dataset {0}", set.name));
    }
    if let Some(cifar) = [cifar::CIFAR10, cifar::CIFAR100].into_iter().find(|cifar| cifar.is_in(place)) {
        return Some(format!("holds files of {0}: add --dataset {0}", cifar.name));
    }
    let mut left = MOST_SEEN;
    if let Some(picture) = first_of(place, PICTURES.endings, DEPTH, &mut left) {
        return Some(format!("holds pictures ({picture}): add --dataset folder"));
    }
    if let Some(recording) = first_of(place, audio::SOUGHT.endings, DEPTH, &mut left) {
        return Some(format!("holds recordings ({recording}): add --dataset audio"));
    }
    if let Some(array) = first_of(place, &["npy", "npz"], 1, &mut left) {
        return Some(format!("holds a NumPy file: give it, as in --dataset array --data {}", shown(place.join(array))));
    }
    let [train, _] = text::files_in(place, "txt").ok()?;
    Some(format!("holds a text ({}): add --dataset text", shown(train.file_name().unwrap_or_default())))
}

fn file_advice(file: &Path) -> Option<String> {
    if is_picture(file) {
        return Some("is a picture: add --dataset folder (to train, with the folder of the pictures)".into());
    }
    if is_recording(file) {
        return Some("is a recording: add --dataset audio (to train, with the folder of the recordings)".into());
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if ["csv", "csv.gz"].iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
        return Some("is a table: add --dataset table".into());
    }
    if ["txt", "txt.gz"].iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
        return Some("is a text: add --dataset text".into());
    }
    let form = match start(file) {
        [0x93, b'N', b'U', b'M', ..] => return Some("is a NumPy file: add --dataset array".into()),
        [b'P', b'K', 3 | 5, ..] if name.ends_with(".npz") => {
            return Some("is a NumPy file: add --dataset array".into());
        }
        [0, 0, 8, 1 | 3, ..] => "of MNIST's form",
        _ if SETS.iter().any(|set| set.is_own(&name)) => "of MNIST's form",
        _ if name.starts_with("cifar-10") => "of CIFAR",
        _ => return None,
    };
    Some(format!("is a file {form}: give the folder that it lies in"))
}

/// Whether the content of the regular file is that of a picture.
pub(super) fn is_picture(file: &Path) -> bool {
    decode::format(&start(file)).is_some()
}

/// Whether the file is named or begins like a WAV file.
pub(super) fn is_recording(file: &Path) -> bool {
    let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    // WebP files begin so too.
    let is_riff = || start(file).starts_with(b"RIFF") && !is_picture(file);
    file.is_file() && (ending.is_some_and(|ending| ending == "wav") || is_riff())
}

/// The first bytes; zeros where the file has fewer or cannot be read.
fn start(file: &Path) -> [u8; 12] {
    let mut start = [0; 12];
    let read = |(mut file, _): (File, u64)| file.read(&mut start);
    // What cannot be read is nothing that could be advised.
    let _ = open_regular(file).map(read);
    start
}

/// The name below `folder` of the first file found with one of the endings, down to `depth` folders, of at most `left`
/// entries.
fn first_of(folder: &Path, endings: &[&str], depth: usize, left: &mut usize) -> Option<String> {
    let mut folders = Vec::new();
    for name in names(folder) {
        if *left == 0 {
            return None;
        }
        *left -= 1;
        let path = folder.join(&name);
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        if path.is_dir() {
            folders.push(name);
        } else if ending.is_some_and(|ending| endings.contains(&ending.as_str())) {
            return Some(shown(name));
        }
    }
    if depth <= 1 {
        return None;
    }
    let below = |name: String| {
        let found = first_of(&folder.join(&name), endings, depth - 1, left)?;
        Some(format!("{}/{found}", shown(name)))
    };
    folders.into_iter().find_map(below)
}

/// The names of what a folder holds, sorted, without hidden ones; none where it is missing or cannot be listed.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// What `folder` holds beside files whose names are `own`, as a list for a message; None where that is nothing.
pub(super) fn others(folder: &Path, own: impl Fn(&str) -> bool) -> Option<String> {
    let others: Vec<String> = names(folder).into_iter().filter(|name| !own(name)).collect();
    let shown: Vec<String> = others.iter().take(MOST_NAMED).map(shown).collect();
    let more =
        if others.len() > MOST_NAMED { format!(" and {} more", others.len() - MOST_NAMED) } else { String::new() };
    (!others.is_empty()).then(|| shown.join(", ") + &more)
}

/// Why nothing is downloaded to `place`, which the user named: something other than the set's `own` files is there.
/// None where there is not.
pub(super) fn refusal(place: &Path, own: impl Fn(&str) -> bool) -> Option<String> {
    if place.exists() && !place.is_dir() {
        let advice = advice(place).unwrap_or("is no folder".into());
        return Some(format!("{} {advice}", shown(place)));
    }
    let there = others(place, own)?;
    let advice = advice(place).map_or(String::new(), |advice| format!(". It {advice}"));
    Some(format!(
        "The folder holds {there}, so nothing is downloaded there{advice}. To download, name an empty or a new folder"
    ))
}
