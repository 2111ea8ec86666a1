//! A folder of picture files, or a single one: from the files that its listing names to pictures of one size.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode::{self, Decoded, Problem};
use super::listing::{Listing, MOST_NAMED, PICTURES};
use super::progress::{Progress, Report};
use super::table::Table;
use super::{Corrupt, Dataset, Preparation, Selection, cache, check_memory, idx, place};
use crate::error::{Error, Result, plain, shown};

/// Part of the name of every cache file: to be raised when its form changes.
const FORMAT: &str = "elbo pictures 1";
/// Part of every cache key: to be raised when the same files would be decoded to other bytes, or be refused.
const DECODER: &str = "3";

/// Reads the pictures of `folder` in the form that `preparation` asks for, from the cache folder `cache` if they are
/// there. `selection` parts those that no folders part; under [`Selection::All`], `folder` may be a single picture.
///
/// # Errors
/// No pictures; one that cannot be decoded (unless those are skipped), is too small for the crop, or has another size
/// than the others where nothing makes the sizes equal, by name; more than fit into memory.
pub fn open(
    folder: &Path,
    preparation: &Preparation,
    selection: Selection,
    cache: Option<&Path>,
    report: &mut Report,
) -> Result<Dataset> {
    preparation.validate()?;
    let place = fs::canonicalize(folder).map_err(Error::io("open the folder", folder))?;
    let name = folder.file_name().or(place.file_name()).map_or("/".into(), |name| plain(&name.to_string_lossy()));
    let name = format!("folder:{name}");
    if !place.is_dir() {
        let listing = single(folder, selection)?;
        let (data, ..) = listing.decode(name, folder.parent().unwrap_or(folder), preparation, report)?;
        return Ok(data);
    }
    let mut notices = |text: &str| report(Progress::Notice(text));
    let listing = Listing::of(folder, &PICTURES, selection, &mut notices)?;
    let (file, key) = keys(&place, &listing, preparation, selection);
    let cached = cache.map(|cache| cache.join(file));
    if let Some(path) = &cached {
        match cache::load(path, &key) {
            Ok(Some((data, left_out))) => {
                left_out.iter().for_each(|notice| notices(notice));
                return Ok(Dataset { name, ..data });
            }
            Ok(None) => {}
            Err(reason) => {
                notices(&format!("note: the cache {} is not used and made anew: {reason}", shown(path)));
            }
        }
    }
    let (data, left_out, _) = listing.decode(name, folder, preparation, report)?;
    left_out.iter().for_each(|notice| report(Progress::Notice(notice)));
    if let Some(path) = cached
        && let Err(error) = cache::save(&path, &key, &data, &left_out)
    {
        let notice = format!("note: the decoded pictures are not cached, so the next start takes as long: {error}");
        report(Progress::Notice(&notice));
    }
    Ok(data)
}

/// The pictures of these files and folders, all of them as test pictures, and where each lies. A folder alone keeps its
/// classes. Nothing is cached.
///
/// # Errors
/// As [`open`], and a file that is no picture.
pub fn of_files(paths: &[PathBuf], preparation: &Preparation, report: &mut Report) -> Result<(Dataset, Vec<PathBuf>)> {
    preparation.validate()?;
    let (mut all, mut classes) = (Vec::new(), Vec::new());
    for path in paths {
        if fs::metadata(path).map_err(Error::io("open", path))?.is_dir() {
            let mut notices = |text: &str| report(Progress::Notice(text));
            let listing = Listing::of(path, &PICTURES, Selection::All, &mut notices)?;
            all.extend(listing.splits.into_iter().flatten().map(|(below, label)| (path.join(below), label)));
            classes = listing.classes;
        } else {
            single(path, Selection::All)?;
            all.push((path.clone(), 0));
        }
    }
    if paths.len() > 1 {
        // Each folder numbers its classes by itself.
        classes.clear();
    }
    let name = match paths {
        [one] => format!("folder:{}", one.file_name().map_or("/".into(), |name| plain(&name.to_string_lossy()))),
        _ => format!("folder:{} and more", shown(&paths[0])),
    };
    let listing = Listing { splits: [Vec::new(), all], classes, split: false };
    let (data, left_out, [_, files]) = listing.decode(name, Path::new(""), preparation, report)?;
    left_out.iter().for_each(|notice| report(Progress::Notice(notice)));
    Ok((data, files))
}

/// The files of a folder's training and test pictures, below it, where there are as many as were read of it: none was
/// left out. Of a single picture its name. Errors: those of the listing.
pub fn files(folder: &Path, selection: Selection, counts: [usize; 2]) -> Result<Option<[Vec<PathBuf>; 2]>> {
    if !folder.is_dir() {
        return Ok(folder.file_name().map(|name| [Vec::new(), vec![name.into()]]));
    }
    let listing = Listing::of(folder, &PICTURES, selection, &mut |_| ())?;
    let files = listing.splits.map(|split| split.into_iter().map(|(path, _)| path).collect::<Vec<_>>());
    Ok((files.each_ref().map(Vec::len) == counts).then_some(files))
}

/// The listing of a file that was given in the place of a folder.
fn single(file: &Path, selection: Selection) -> Result<Listing> {
    match place::is_picture(file) {
        true if selection == Selection::All => Ok(Listing::single(file.file_name().unwrap_or_default().into())),
        true => Err(Error::file(file, "is a single picture, but training needs a folder of them")),
        false => {
            let advice = place::advice(file).map_or(String::new(), |advice| format!(": it {advice}"));
            Err(Error::file(file, format!("is no folder of pictures{advice}")))
        }
    }
}

/// The name of the cache file for this folder and preparation, and the key of the state the folder's files are in:
/// their names, sizes and times of change.
fn keys(place: &Path, listing: &Listing, preparation: &Preparation, selection: Selection) -> (String, String) {
    let Preparation { crop, image_size, channels, corrupt, background, orientation } = preparation;
    let mut hash = Sha256::new();
    add(&mut hash, FORMAT.as_bytes());
    add(&mut hash, place.as_os_str().as_encoded_bytes());
    let prepared = format!("{crop:?} {image_size:?} {channels:?} {corrupt:?} {background} {orientation:?}");
    add(&mut hash, prepared.as_bytes());
    // Else a run on a folder and the use of another model with it would take turns in making the one file.
    if !listing.split && selection == Selection::All {
        add(&mut hash, b"all");
    }
    let name = format!("pictures-{}.bin", &idx::hexadecimal(hash.clone())[..32]);
    add(&mut hash, DECODER.as_bytes());
    for split in &listing.splits {
        add(&mut hash, &(split.len() as u64).to_le_bytes());
        for (path, _) in split {
            add(&mut hash, path.as_os_str().as_encoded_bytes());
            let state = fs::metadata(place.join(path)).ok();
            let modified = state.as_ref().and_then(|s| s.modified().ok()?.duration_since(UNIX_EPOCH).ok());
            add(&mut hash, &state.map_or(0, |state| state.len()).to_le_bytes());
            add(&mut hash, &modified.map_or(0, |time| time.as_nanos()).to_le_bytes());
        }
    }
    (name, idx::hexadecimal(hash))
}

/// Adds `bytes` and where they end.
fn add(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

// ---- Decoding

/// The pictures of one split, decoded to three channels, or as many as were asked for.
struct Pictures {
    pixels: Vec<u8>,
    labels: Vec<u8>,
    /// Where each lies.
    files: Vec<PathBuf>,
    /// Whether any is stored in colour.
    colour: bool,
    /// The pictures that could not be decoded, and why.
    skipped: Vec<(PathBuf, String)>,
}

impl Listing {
    /// Decodes all pictures; with them what was left out, and where the pictures of each split lie.
    fn decode(
        self,
        name: String,
        folder: &Path,
        preparation: &Preparation,
        report: &mut Report,
    ) -> Result<(Dataset, Vec<String>, [Vec<PathBuf>; 2])> {
        let listed = self.splits.each_ref().map(Vec::len);
        let total = listed.iter().sum();
        let ([height, width], first) = self.size(folder, preparation)?;
        let channels = preparation.channels.unwrap_or(3);
        check_memory(folder, total, [channels, height, width])?;
        let decoded = Tally::new(total, report);
        let shape = [channels, height, width];
        let decode = |split| decode_split(folder, split, preparation, shape, first.as_deref(), &decoded);
        let mut pictures = [decode(&self.splits[0])?, decode(&self.splits[1])?];
        let files = pictures.each_mut().map(|pictures| std::mem::take(&mut pictures.files));
        let skipped = pictures.iter().flat_map(|pictures| &pictures.skipped);
        let mut notices: Vec<String> = skipped
            .map(|(path, reason)| format!("note: {} cannot be decoded and is skipped: {reason}", shown(path)))
            .collect();
        if notices.len() > MOST_NAMED {
            let more = notices.len() - MOST_NAMED;
            notices.truncate(MOST_NAMED);
            notices.push(format!("note: {more} more pictures of {} cannot be decoded and are skipped", shown(folder)));
        }
        let all_grey = preparation.channels.is_none() && !pictures.iter().any(|pictures| pictures.colour);
        let classes = self.classes.len();
        let mut splits = Vec::new();
        for ((mut pictures, what), listed) in pictures.into_iter().zip(["training", "test"]).zip(listed) {
            let count = pictures.labels.len();
            if count == 0 && listed > 0 {
                return Err(Error::file(folder, format!("none of its {what} pictures can be decoded")));
            }
            let channels = if all_grey {
                keep_first_plane(&mut pictures.pixels, shape);
                1
            } else {
                channels
            };
            let labels = (classes > 0).then_some((pictures.labels, classes));
            splits.push(Table::of_pictures([channels, height, width], pictures.pixels, labels));
        }
        let [train, test] = splits.try_into().expect("two splits");
        let data = Dataset { name, class_names: self.classes, vocabulary: None, spectrogram: None, train, test };
        Ok((data, notices, files))
    }

    /// Height and width of all pictures, and the picture this is known from, unless the preparation says it.
    fn size(&self, folder: &Path, preparation: &Preparation) -> Result<([usize; 2], Option<PathBuf>)> {
        if let Some(side) = preparation.image_size.or(preparation.crop) {
            return Ok(([side; 2], None));
        }
        for (path, _) in self.splits.iter().flatten() {
            let path = folder.join(path);
            match decode::decode(&path, preparation) {
                Ok(Decoded { height, width, .. }) => return Ok(([height, width], Some(path))),
                Err(Problem::Corrupt(_)) if preparation.corrupt == Corrupt::Skip => {}
                Err(problem) => return Err(refusal(path, problem)),
            }
        }
        Err(Error::file(folder, "none of its pictures can be decoded"))
    }
}

fn refusal(path: PathBuf, problem: Problem) -> Error {
    match problem {
        Problem::Corrupt(reason) => {
            Error::file(path, format!("cannot be decoded: {reason} (--corrupt skip goes on without such pictures)"))
        }
        Problem::Unfit(reason) => Error::file(path, reason),
    }
}

/// Decodes the files of a split to pictures of `shape`, on all cores. The error is that of the first bad picture.
fn decode_split(
    folder: &Path,
    files: &[(PathBuf, u8)],
    preparation: &Preparation,
    shape: [usize; 3],
    first: Option<&Path>,
    decoded: &Tally,
) -> Result<Pictures> {
    let dims = shape.iter().product::<usize>();
    let mut pixels: Vec<u8> = Vec::new();
    pixels
        .try_reserve_exact(files.len() * dims)
        .map_err(|_| Error::file(folder, format!("no memory for {} bytes of pictures", files.len() * dims)))?;
    pixels.resize(files.len() * dims, 0);
    let fatal = |problem: &Problem| matches!(problem, Problem::Unfit(_)) || preparation.corrupt == Corrupt::Refuse;
    // Pictures behind one that ends it all need no decoding; those before it may hold an earlier one.
    let first_fatal = AtomicUsize::new(usize::MAX);
    let outcomes: Vec<std::result::Result<bool, Problem>> = pixels
        .par_chunks_exact_mut(dims)
        .zip(files)
        .enumerate()
        .map(|(at, (picture, (path, _)))| {
            if at > first_fatal.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let outcome = decode::decode(&folder.join(path), preparation)
                .and_then(|decoded| place(decoded, picture, shape, first));
            if outcome.as_ref().is_err_and(fatal) {
                first_fatal.fetch_min(at, Ordering::Relaxed);
            }
            decoded.step();
            outcome
        })
        .collect();

    let mut pictures = Pictures { pixels, labels: Vec::new(), files: Vec::new(), colour: false, skipped: Vec::new() };
    for (at, (outcome, (path, label))) in outcomes.into_iter().zip(files).enumerate() {
        match outcome {
            Ok(colour) => {
                pictures.colour |= colour;
                let kept = pictures.labels.len();
                if kept < at {
                    pictures.pixels.copy_within(at * dims..(at + 1) * dims, kept * dims);
                }
                pictures.labels.push(*label);
                pictures.files.push(folder.join(path));
            }
            Err(Problem::Corrupt(reason)) if preparation.corrupt == Corrupt::Skip => {
                pictures.skipped.push((folder.join(path), reason));
            }
            Err(problem) => return Err(refusal(folder.join(path), problem)),
        }
    }
    pictures.pixels.truncate(pictures.labels.len() * dims);
    Ok(pictures)
}

/// Puts a decoded picture into its place, a grey one into every channel. Returns whether it is in colour.
fn place(
    decoded: Decoded,
    place: &mut [u8],
    [_, height, width]: [usize; 3],
    first: Option<&Path>,
) -> std::result::Result<bool, Problem> {
    if (decoded.height, decoded.width) != (height, width) {
        let first = first.map_or("the first".to_string(), shown);
        return Err(Problem::Unfit(format!(
            "is {}x{} (width x height), but {first} is {width}x{height}: --image-size N brings all pictures to one size",
            decoded.width, decoded.height
        )));
    }
    place.chunks_exact_mut(height * width * decoded.channels).for_each(|plane| plane.copy_from_slice(&decoded.planes));
    Ok(decoded.channels == 3)
}

/// (N, C, H, W) to (N, 1, H, W).
fn keep_first_plane(pixels: &mut Vec<u8>, [channels, height, width]: [usize; 3]) {
    let plane = height * width;
    let count = pixels.len() / (channels * plane);
    for at in 1..count {
        pixels.copy_within(at * channels * plane..(at * channels + 1) * plane, at * plane);
    }
    pixels.truncate(count * plane);
    pixels.shrink_to_fit();
}

/// How many pictures are decoded, counted by all threads.
struct Tally<'a> {
    done: AtomicUsize,
    total: usize,
    report: Mutex<&'a mut Report<'a>>,
}

impl<'a> Tally<'a> {
    fn new(total: usize, report: &'a mut Report) -> Tally<'a> {
        report(Progress::Pictures { done: 0, total });
        Tally { done: AtomicUsize::new(0), total, report: Mutex::new(report) }
    }

    /// One more. Threads wait for each other with the last picture alone, else who finds another telling leaves it to
    /// that.
    fn step(&self) {
        let done = 1 + self.done.fetch_add(1, Ordering::Relaxed);
        let report = if done == self.total { self.report.lock().ok() } else { self.report.try_lock().ok() };
        if let Some(mut report) = report {
            // As it is by now: what is told never falls.
            report(Progress::Pictures { done: self.done.load(Ordering::Relaxed), total: self.total });
        }
    }
}

#[cfg(test)]
mod tests;
