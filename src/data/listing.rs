//! Which picture files or recordings a folder has: which are for training and which for testing, and of which class.
//! What is said of pictures here holds for recordings too.
//!
//! A folder `train` (or `training`) and one `test` (`testing`, or where there is none `val`, `valid` or `validation`),
//! in any case of letters, are the splits; else a [`Selection`] splits. If all pictures of the splits lie in subfolders
//! of theirs, the subfolders are the classes, numbered in the order of their names. Order is that of the paths, part by
//! part. Hidden files and folders (`.name`) are not looked at.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{MAX_CLASSES, Selection, place};
use crate::error::{Error, Result, plain, shown};

/// Which files a listing is of.
#[derive(Debug)]
pub(super) struct Sought {
    /// What their names end in, in small letters.
    pub endings: &'static [&'static str],
    /// What one is called.
    pub one: &'static str,
    /// The endings as a list.
    pub listed: &'static str,
    /// The endings as a choice.
    pub either: &'static str,
}

/// Picture files.
pub(super) const PICTURES: Sought = Sought {
    endings: &["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif"],
    one: "picture",
    listed: ".png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff, .gif",
    either: ".png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff or .gif",
};
/// Most entries that a notice names one by one.
pub(super) const MOST_NAMED: usize = 10;

const TRAIN: &[&str] = &["train", "training"];
const TEST: &[&str] = &["test", "testing"];
/// Taken as the test pictures where no folder is called by a name of those.
const VALIDATION: &[&str] = &["val", "valid", "validation"];

/// The picture files of a folder.
pub(super) struct Listing {
    /// Training and test pictures: the paths below the folder, and the label of each (0 without classes).
    pub splits: [Vec<(PathBuf, u8)>; 2],
    /// Empty without classes.
    pub classes: Vec<String>,
    /// Whether subfolders are the splits, and not a selection.
    pub split: bool,
}

/// Where below a folder its pictures lie.
enum Layout {
    /// The folders of the training and the test pictures.
    Split([PathBuf; 2]),
    /// One folder of all, the folder itself or the only one in it.
    Whole(PathBuf),
}

impl Listing {
    /// The single picture `file`, a test picture.
    pub fn single(file: PathBuf) -> Listing {
        Listing { splits: [Vec::new(), vec![(file, 0)]], classes: Vec::new(), split: false }
    }

    /// The pictures of `folder`.
    ///
    /// # Errors
    /// Folders whose names leave open which split they are; too few pictures.
    pub fn of(folder: &Path, sought: &Sought, selection: Selection, notices: &mut dyn FnMut(&str)) -> Result<Listing> {
        let Sought { one, listed, either, .. } = sought;
        let layout = Layout::of(folder, sought, selection, notices)?;
        let mut others = 0;
        // The paths of each split, and how many of their parts are not below its folder.
        let (splits, depth) = match &layout {
            Layout::Split(subfolders) => {
                let [train, test] = subfolders.each_ref().map(|name| walk(folder, name, sought, &mut others));
                ([train?, test?], 1)
            }
            Layout::Whole(base) => {
                let all = walk(folder, base, sought, &mut others)?;
                let depth = base.components().count();
                let splits = parted(all, depth, selection);
                enough(&splits, &below(folder, base), sought, selection)?;
                notices(&selection.notice(&shown(below(folder, base)), one, "folders train and test", true));
                (splits, depth)
            }
        };
        if others > 0 {
            let place = shown(folder);
            notices(&format!("note: {others} files of {place} are left out that are not named {either}"));
        }
        if let Layout::Split(subfolders) = &layout {
            for ((paths, what), subfolder) in splits.iter().zip(["training", "test"]).zip(subfolders) {
                if paths.is_empty() {
                    let place = folder.join(subfolder);
                    let advice = place::advice(&place).map_or(String::new(), |advice| format!(". It {advice}"));
                    return Err(Error::file(place, format!("no {what} {one} is there ({listed}){advice}")));
                }
            }
        }
        let classes = classes(&splits, depth, folder, sought, notices);
        let label = |path: &Path| class_of(path, depth).and_then(|class| classes.binary_search(&class).ok());
        let labelled = |path: PathBuf| {
            let label = label(&path).unwrap_or(0) as u8;
            (path, label)
        };
        let splits = splits.map(|paths| paths.into_iter().map(labelled).collect());
        Ok(Listing { splits, classes, split: matches!(layout, Layout::Split(_)) })
    }
}

impl Layout {
    fn of(folder: &Path, sought: &Sought, selection: Selection, notices: &mut dyn FnMut(&str)) -> Result<Layout> {
        let one = sought.one;
        let entries = entries(folder, Path::new(""))?;
        let folders: Vec<&PathBuf> = entries.iter().filter(|entry| folder.join(entry).is_dir()).collect();
        let by_order = selection == Selection::ByOrder;
        let named = |names: &[&str], what: &str| match by_order {
            true => Ok(folders.iter().find(|entry| entry.as_os_str() == names[0]).map(|entry| entry.to_path_buf())),
            false => one_named(folder, &folders, names, &format!("{what} {one}s")),
        };
        let train = named(TRAIN, "training")?;
        let mut test = named(TEST, "test")?;
        let mut instead = false;
        if test.is_none() && !by_order {
            test = named(VALIDATION, "validation")?;
            instead = test.is_some();
        }
        let layout = match (train, test) {
            (Some(train), Some(test)) => {
                if instead {
                    let (place, name) = (shown(folder), shown(&test));
                    notices(&format!("note: {place} has no folder test: the {one}s of {name} are the test {one}s"));
                }
                Layout::Split([train, test])
            }
            (Some(train), None) if !by_order && alone(folder, &folders, &train, sought)? => Layout::Whole(train),
            (None, Some(test)) if selection == Selection::All => Layout::Whole(test),
            (None, Some(test)) if !by_order => {
                return Err(Error::file(
                    folder,
                    format!(
                        "has a folder {} but none called train, so which {one}s to train on is not known. It has {}: \
                         call one train, or where {0} is a class, that one otherwise",
                        shown(&test),
                        list(&folders)
                    ),
                ));
            }
            _ => return Ok(Layout::Whole(PathBuf::new())),
        };
        let used: Vec<&PathBuf> = match &layout {
            Layout::Split(both) => both.iter().collect(),
            Layout::Whole(base) => vec![base],
        };
        let beside: Vec<&PathBuf> = entries.iter().filter(|entry| !used.contains(entry)).collect();
        if !beside.is_empty() {
            let (used, what, place) = (used.iter().map(shown).collect::<Vec<_>>(), list(&beside), shown(folder));
            notices(&format!("note: beside {}, {what} of {place} is not read", used.join(" and ")));
        }
        Ok(layout)
    }
}

/// Whether no other of the folders has pictures.
fn alone(place: &Path, folders: &[&PathBuf], one: &Path, sought: &Sought) -> Result<bool> {
    for other in folders.iter().filter(|other| other.as_path() != one) {
        if !walk(place, other, sought, &mut 0)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `base`, or a folder in it: joined to an empty path it would end in a slash.
fn below(folder: &Path, base: &Path) -> PathBuf {
    if base.as_os_str().is_empty() { folder.to_path_buf() } else { folder.join(base) }
}

/// The one of `folders` that has one of the names, in any case of letters.
fn one_named(place: &Path, folders: &[&PathBuf], names: &[&str], what: &str) -> Result<Option<PathBuf>> {
    let is_named = |entry: &&&PathBuf| names.contains(&entry.to_string_lossy().to_lowercase().as_str());
    match folders.iter().filter(is_named).copied().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        ref several => Err(Error::file(
            place,
            format!("has {}, and which of them holds the {what} is not known: rename the others", list(several)),
        )),
    }
}

/// The first entries by name.
fn list(entries: &[&PathBuf]) -> String {
    let names: Vec<String> = entries.iter().take(MOST_NAMED).map(shown).collect();
    names.join(", ") + if entries.len() > MOST_NAMED { ", ..." } else { "" }
}

/// Training and test pictures of `all`, as the selection parts them by their names below the folder that they all lie
/// in.
fn parted(all: Vec<PathBuf>, depth: usize, selection: Selection) -> [Vec<PathBuf>; 2] {
    let names: Vec<Vec<u8>> = all.iter().map(|path| name_below(path, depth)).collect();
    let tests = selection.tests_by_name(names.iter().map(Vec::as_slice));
    let (test, train) = all.into_iter().zip(tests).partition::<Vec<_>, _>(|(_, test)| *test);
    [train, test].map(|split| split.into_iter().map(|(path, _)| path).collect())
}

/// The path without its first parts, the same on every system.
fn name_below(path: &Path, depth: usize) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.components().skip(depth).map(|part| part.as_os_str().as_encoded_bytes()).collect();
    parts.join(&b'/')
}

fn enough([train, test]: &[Vec<PathBuf>; 2], place: &Path, sought: &Sought, selection: Selection) -> Result<()> {
    let Sought { one, listed, .. } = sought;
    let needed = if selection == Selection::All { 1 } else { 2 };
    match train.len() + test.len() {
        count if count >= needed => Ok(()),
        0 => {
            let advice = place::advice(place).map_or(String::new(), |advice| format!(". It {advice}"));
            Err(Error::file(place, format!("no {one} is there ({listed}){advice}")))
        }
        _ => Err(Error::file(place, format!("has only one {one}, but needs one for training and one for testing"))),
    }
}

/// The first folder of `path` below its split, if it lies in one.
fn class_of(path: &Path, depth: usize) -> Option<String> {
    let mut parts = path.components().skip(depth);
    let first = parts.next()?;
    parts.next().map(|_| plain(&first.as_os_str().to_string_lossy()))
}

/// The sorted names of the classes, if the pictures have any that can be used.
fn classes(
    splits: &[Vec<PathBuf>; 2],
    depth: usize,
    folder: &Path,
    sought: &Sought,
    notices: &mut dyn FnMut(&str),
) -> Vec<String> {
    let one = sought.one;
    let all = || splits.iter().flatten().map(|path| class_of(path, depth));
    let mut classes: Vec<String> = all().flatten().collect();
    let in_folders = classes.len();
    classes.sort();
    classes.dedup();
    let reason = if in_folders == 0 {
        return Vec::new();
    } else if in_folders < all().count() {
        format!("{} {one}s lie beside the class folders", all().count() - in_folders)
    } else if classes.len() > MAX_CLASSES {
        format!("{} class folders are more than {MAX_CLASSES}", classes.len())
    } else {
        return classes;
    };
    notices(&format!("note: the {one}s of {} have no labels: {reason}", shown(folder)));
    Vec::new()
}

/// What the folder `base/below` holds, as sorted paths below `base`, without hidden entries.
fn entries(base: &Path, below: &Path) -> Result<Vec<PathBuf>> {
    let folder = base.join(below);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io("read the folder", &folder))? {
        let name = entry.map_err(Error::io("read the folder", &folder))?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            paths.push(below.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

/// The sorted picture files in `base/below` and the folders in it. A folder that several links lead to is read once,
/// so that links in a circle end. Adds the number of other files to `others`.
fn walk(base: &Path, below: &Path, sought: &Sought, others: &mut usize) -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    let mut visited = HashSet::new();
    let mut folders = vec![below.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let real = fs::canonicalize(base.join(&folder)).map_err(Error::io("open the folder", base.join(&folder)))?;
        if !visited.insert(real) {
            continue;
        }
        let mut inside = Vec::new();
        for path in entries(base, &folder)? {
            let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
            if base.join(&path).is_dir() {
                inside.push(path);
            } else if ending.is_some_and(|ending| sought.endings.contains(&ending.as_str())) {
                pictures.push(path);
            } else {
                *others += 1;
            }
        }
        folders.extend(inside.into_iter().rev());
    }
    pictures.sort();
    Ok(pictures)
}

#[cfg(test)]
mod tests;
