//! A folder of PNG and JPEG files: which of them are training and test pictures, and of which class.
//!
//! With `train` and `test` below the folder, these are the splits; else every tenth picture is a test picture. If all
//! pictures of the splits lie in subfolders of theirs, the subfolders are the classes, numbered in the order of their
//! names. Order is that of the paths, part by part. Hidden files and folders (`.name`) are not looked at.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode::{self, Decoded, Problem};
use super::{Corrupt, Dataset, MAX_CLASSES, Preparation, Split, cache, check_memory, idx, is_test, tenth_notice};
use crate::error::{Error, Result};

const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Most pictures left out that are named one by one.
const MOST_NAMED: usize = 10;
/// Decoding that takes longer shows a bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// Part of every cache key: to be raised when the same files would be decoded to other bytes.
const FORMAT: &str = "elbo pictures 1";

/// Reads the pictures of `folder` in the form that `preparation` asks for, from the cache folder `cache` if they are
/// there.
///
/// # Errors
/// No pictures; one that cannot be decoded (unless those are skipped), is too small for the crop, or has another size
/// than the others where nothing makes the sizes equal, by name; more than fit into memory.
pub fn open(
    folder: &Path,
    preparation: &Preparation,
    cache: Option<&Path>,
    notices: &mut dyn FnMut(&str),
) -> Result<Dataset> {
    preparation.validate()?;
    let place = fs::canonicalize(folder).map_err(Error::io("open the folder", folder))?;
    if !place.is_dir() {
        return Err(Error::file(folder, "is no folder of pictures; --dataset array reads .npy and .npz files"));
    }
    let name = folder.file_name().or(place.file_name()).map_or("/".into(), |name| name.to_string_lossy());
    let listing = Listing::of(folder, notices)?;
    let (file, key) = keys(&place, &listing, preparation);
    let cached = cache.map(|cache| cache.join(file));
    if let Some(path) = &cached {
        match cache::load(path, &key) {
            Ok(Some((data, left_out))) => {
                left_out.iter().for_each(|notice| notices(notice));
                return Ok(Dataset { name: format!("folder:{name}"), ..data });
            }
            Ok(None) => {}
            Err(reason) => notices(&format!("note: the cache {} is not used and made anew: {reason}", path.display())),
        }
    }
    let (data, left_out) = listing.decode(format!("folder:{name}"), folder, preparation)?;
    left_out.iter().for_each(|notice| notices(notice));
    if let Some(path) = cached
        && let Err(error) = cache::save(&path, &key, &data, &left_out)
    {
        notices(&format!("note: the decoded pictures are not cached, so the next start takes as long: {error}"));
    }
    Ok(data)
}

/// The picture files of a folder.
struct Listing {
    /// Training and test pictures: the paths below the folder, and the label of each (0 without classes).
    splits: [Vec<(PathBuf, u8)>; 2],
    /// Empty without classes.
    classes: Vec<String>,
}

impl Listing {
    fn of(folder: &Path, notices: &mut dyn FnMut(&str)) -> Result<Listing> {
        let subfolders = ["train", "test"].map(PathBuf::from);
        let split = subfolders.iter().all(|name| folder.join(name).is_dir());
        let mut others = 0;
        // The paths of each split, and how many of their parts are the split's.
        let (splits, depth) = if split {
            let splits = subfolders.each_ref().map(|name| walk(folder, name, &mut others));
            let beside = entries(folder, Path::new(""))?.into_iter().filter(|entry| !subfolders.contains(entry));
            let beside: Vec<String> = beside.map(|entry| entry.display().to_string()).collect();
            if !beside.is_empty() {
                let what = beside[..beside.len().min(MOST_NAMED)].join(", ");
                let more = if beside.len() > MOST_NAMED { ", ..." } else { "" };
                notices(&format!("note: beside train and test, {what}{more} of {} is not read", folder.display()));
            }
            let [train, test] = splits;
            ([train?, test?], 1)
        } else {
            let all = walk(folder, Path::new(""), &mut others)?;
            notices(&tenth_notice(folder, "subfolders train and test"));
            let (test, train) = all.into_iter().enumerate().partition::<Vec<_>, _>(|(at, _)| is_test(*at));
            ([train, test].map(|split| split.into_iter().map(|(_, path)| path).collect()), 0)
        };
        if others > 0 {
            let place = folder.display();
            notices(&format!("note: {others} files of {place} are left out that are not named .png, .jpg or .jpeg"));
        }
        for ((paths, name), subfolder) in splits.iter().zip(["training", "test"]).zip(&subfolders) {
            if paths.is_empty() {
                let place = if split { folder.join(subfolder) } else { folder.to_path_buf() };
                return Err(Error::file(place, format!("no {name} picture is there (.png, .jpg, .jpeg)")));
            }
        }
        let classes = classes(&splits, depth, folder, notices);
        let label = |path: &Path| class_of(path, depth).and_then(|class| classes.binary_search(&class).ok());
        let labelled = |path: PathBuf| {
            let label = label(&path).unwrap_or(0) as u8;
            (path, label)
        };
        let splits = splits.map(|paths| paths.into_iter().map(labelled).collect());
        Ok(Listing { splits, classes })
    }
}

/// The first folder of `path` below its split, if it lies in one.
fn class_of(path: &Path, depth: usize) -> Option<String> {
    let mut parts = path.components().skip(depth);
    let first = parts.next()?;
    parts.next().map(|_| first.as_os_str().to_string_lossy().into_owned())
}

/// The sorted names of the classes, if the pictures have any that can be used.
fn classes(splits: &[Vec<PathBuf>; 2], depth: usize, folder: &Path, notices: &mut dyn FnMut(&str)) -> Vec<String> {
    let all = || splits.iter().flatten().map(|path| class_of(path, depth));
    let mut classes: Vec<String> = all().flatten().collect();
    let in_folders = classes.len();
    classes.sort();
    classes.dedup();
    let reason = if in_folders == 0 {
        return Vec::new();
    } else if in_folders < all().count() {
        format!("{} pictures lie beside the class folders", all().count() - in_folders)
    } else if classes.len() > MAX_CLASSES {
        format!("{} class folders are more than {MAX_CLASSES}", classes.len())
    } else {
        return classes;
    };
    notices(&format!("note: the pictures of {} have no labels: {reason}", folder.display()));
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
fn walk(base: &Path, below: &Path, others: &mut usize) -> Result<Vec<PathBuf>> {
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
            } else if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
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

/// The name of the cache file for this folder and preparation, and the key of the state the folder's files are in:
/// their names, sizes and times of change.
fn keys(place: &Path, listing: &Listing, preparation: &Preparation) -> (String, String) {
    let Preparation { crop, image_size, channels, corrupt } = preparation;
    let mut hash = Sha256::new();
    add(&mut hash, FORMAT.as_bytes());
    add(&mut hash, place.as_os_str().as_encoded_bytes());
    add(&mut hash, format!("{crop:?} {image_size:?} {channels:?} {corrupt:?}").as_bytes());
    let name = format!("pictures-{}.bin", &idx::hexadecimal(hash.clone())[..32]);
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
    /// Whether any is stored in colour.
    colour: bool,
    /// The pictures that could not be decoded, and why.
    skipped: Vec<(PathBuf, String)>,
}

impl Listing {
    /// Decodes all pictures, and says what was left out.
    fn decode(self, name: String, folder: &Path, preparation: &Preparation) -> Result<(Dataset, Vec<String>)> {
        let total = self.splits.iter().map(Vec::len).sum();
        let ([height, width], first) = self.size(folder, preparation)?;
        let channels = preparation.channels.unwrap_or(3);
        check_memory(folder, total, [channels, height, width])?;
        let bar = Bar::new(total);
        let shape = [channels, height, width];
        let decode = |split| decode_split(folder, split, preparation, shape, first.as_deref(), &bar);
        let pictures = [decode(&self.splits[0])?, decode(&self.splits[1])?];
        bar.0.finish_and_clear();
        let skipped = pictures.iter().flat_map(|pictures| &pictures.skipped);
        let mut notices: Vec<String> = skipped
            .map(|(path, reason)| format!("note: {} cannot be decoded and is skipped: {reason}", path.display()))
            .collect();
        if notices.len() > MOST_NAMED {
            let more = notices.len() - MOST_NAMED;
            notices.truncate(MOST_NAMED);
            notices
                .push(format!("note: {more} more pictures of {} cannot be decoded and are skipped", folder.display()));
        }
        let all_grey = preparation.channels.is_none() && !pictures.iter().any(|pictures| pictures.colour);
        let labelled = !self.classes.is_empty();
        let mut splits = Vec::new();
        for (mut pictures, what) in pictures.into_iter().zip(["training", "test"]) {
            let count = pictures.labels.len();
            if count == 0 {
                return Err(Error::file(folder, format!("none of its {what} pictures can be decoded")));
            }
            let channels = if all_grey {
                keep_first_plane(&mut pictures.pixels, shape);
                1
            } else {
                channels
            };
            let labels = labelled.then_some(pictures.labels);
            splits.push(Split { pixels: pictures.pixels, count, shape: [channels, height, width], labels });
        }
        let [train, test] = splits.try_into().expect("two splits");
        let classes = self.classes.len();
        Ok((Dataset { name, classes, class_names: self.classes, train, test }, notices))
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
    bar: &Bar,
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
            bar.step();
            outcome
        })
        .collect();

    let mut pictures = Pictures { pixels, labels: Vec::new(), colour: false, skipped: Vec::new() };
    for (at, (outcome, (path, label))) in outcomes.into_iter().zip(files).enumerate() {
        match outcome {
            Ok(colour) => {
                pictures.colour |= colour;
                let kept = pictures.labels.len();
                if kept < at {
                    pictures.pixels.copy_within(at * dims..(at + 1) * dims, kept * dims);
                }
                pictures.labels.push(*label);
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
        let first = first.map_or("the first".to_string(), |first| first.display().to_string());
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

/// A bar that appears once it is worth it.
struct Bar(ProgressBar, Instant, Once);

impl Bar {
    fn new(pictures: usize) -> Bar {
        let style = ProgressStyle::with_template("decoding {bar:30} {pos}/{len} pictures, {per_sec}, {eta} left");
        let bar = ProgressBar::with_draw_target(Some(pictures as u64), ProgressDrawTarget::hidden());
        Bar(bar.with_style(style.expect("the template is well-formed")), Instant::now(), Once::new())
    }

    fn step(&self) {
        self.0.inc(1);
        if self.1.elapsed() > PATIENCE {
            // Nothing is drawn where stderr is no terminal.
            self.2.call_once(|| self.0.set_draw_target(ProgressDrawTarget::stderr()));
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::super::decode::tests::{grey, jpeg, png};
    use super::*;

    const NONE: Preparation = Preparation { crop: None, image_size: None, channels: None, corrupt: Corrupt::Refuse };
    const SKIP: Preparation = Preparation { corrupt: Corrupt::Skip, ..NONE };

    /// A folder named `pics` of these files.
    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new(files: &[(&str, Vec<u8>)]) -> Fixture {
            let fixture = Fixture(tempfile::tempdir().unwrap());
            fs::create_dir(fixture.path()).unwrap();
            files.iter().for_each(|(name, content)| fixture.write(name, content));
            fixture
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("pics")
        }

        fn write(&self, name: &str, content: &[u8]) {
            let path = self.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn open(&self, preparation: Preparation) -> (Result<Dataset>, String) {
            self.open_cached(preparation, None)
        }

        fn open_cached(&self, preparation: Preparation, cache: Option<&Path>) -> (Result<Dataset>, String) {
            let mut said = String::new();
            let data = open(&self.path(), &preparation, cache, &mut |notice| said += &format!("{notice}\n"));
            (data, said)
        }

        #[track_caller]
        fn refused(&self, preparation: Preparation, words: &[&str]) {
            let message = self.open(preparation).0.unwrap_err().to_string();
            for word in words {
                assert!(message.contains(word), "no {word:?} in: {message}");
            }
        }
    }

    /// A grey picture of one pixel.
    fn dot(value: u8) -> Vec<u8> {
        png(image::GrayImage::from_pixel(1, 1, image::Luma([value])))
    }

    #[test]
    fn train_and_test_with_classes() {
        let fixture = Fixture::new(&[
            ("train/dog/2.png", dot(3)),
            ("train/dog/10.PNG", dot(2)),
            ("train/cat/deep/er/1.png", dot(1)),
            ("train/.hidden/1.png", dot(9)),
            ("train/cat/.1.png", dot(9)),
            ("train/readme.txt", b"text".to_vec()),
            ("test/eel/1.png", dot(4)),
            ("val/cat/1.png", dot(9)),
        ]);
        let (data, said) = fixture.open(NONE);
        let data = data.unwrap();
        assert_eq!((data.name.as_str(), data.classes), ("folder:pics", 3));
        assert_eq!(data.class_names, ["cat", "dog", "eel"]);
        assert_eq!((data.train.pixels, data.train.labels), (vec![1, 2, 3], Some(vec![0, 1, 1])));
        assert_eq!((data.test.pixels, data.test.labels), (vec![4], Some(vec![2])));
        assert_eq!((data.train.count, data.train.shape), (3, [1, 1, 1]));
        assert!(said.contains("1 files of") && said.contains("val of") && said.lines().count() == 2, "{said}");
    }

    #[test]
    fn every_tenth_picture_is_for_testing_where_nothing_else_is_said() {
        let files: Vec<(String, Vec<u8>)> = (0..21).map(|i| (format!("{i:02}.png"), dot(i))).collect();
        let fixture = Fixture::new(&[]);
        files.iter().for_each(|(name, content)| fixture.write(name, content));
        let (data, said) = fixture.open(NONE);
        let data = data.unwrap();
        assert_eq!((data.test.pixels, data.test.labels), (vec![0, 10, 20], None));
        assert_eq!((data.train.pixels[..3].to_vec(), data.train.count, data.classes), (vec![1, 2, 3], 18, 0));
        assert!(said.contains("every 10th picture"), "{said}");
        Fixture::new(&[("a.png", dot(1))]).refused(NONE, &["pics", "no training picture"]);
    }

    #[test]
    fn pictures_beside_class_folders_leave_all_without_labels() {
        let fixture = Fixture::new(&[("a/1.png", dot(1)), ("b/1.png", dot(2)), ("c.png", dot(3))]);
        let (data, said) = fixture.open(NONE);
        assert_eq!(data.unwrap().train.labels, None);
        assert!(said.contains("no labels: 1 pictures lie beside"), "{said}");
        let fixture = Fixture::new(&[]);
        (0..257).for_each(|i| fixture.write(&format!("{i}/1.png"), &dot(1)));
        let (data, said) = fixture.open(NONE);
        assert_eq!((data.unwrap().train.labels, said.contains("257 class folders")), (None, true));
    }

    #[test]
    fn folders_without_pictures_are_refused() {
        Fixture::new(&[("x.gif", vec![1])]).refused(NONE, &["pics", "no training picture"]);
        let empty_test = Fixture::new(&[("train/1.png", dot(1)), ("test/x.txt", vec![])]);
        empty_test.refused(NONE, &["test", "no test picture"]);
        let empty_train = Fixture::new(&[("train/x.txt", vec![]), ("test/1.png", dot(1))]);
        empty_train.refused(NONE, &["pics/train", "no training picture"]);
        let message = open(Path::new("/no/such"), &NONE, None, &mut |_| ()).unwrap_err().to_string();
        assert!(message.contains("/no/such"), "{message}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let message = open(file.path(), &NONE, None, &mut |_| ()).unwrap_err().to_string();
        assert!(message.contains("is no folder") && message.contains("--dataset array"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn links_in_a_circle_end() {
        let fixture = Fixture::new(&[("train/a/1.png", dot(1)), ("test/a/1.png", dot(2))]);
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, fixture.path().join(name)).unwrap();
        link(&fixture.path(), "train/a/up");
        link(&fixture.path().join("train/a"), "train/a/self");
        link(&fixture.path().join("nowhere"), "test/a/2.txt");
        let data = fixture.open(NONE).0.unwrap();
        // Through `up` the walk reaches the test picture as well, and its own once only.
        assert_eq!(data.train.pixels, [1, 2]);
        link(&fixture.path().join("nowhere"), "test/a/3.png");
        fixture.refused(NONE, &["3.png", "cannot be decoded"]);
    }

    #[test]
    fn any_colour_makes_all_three_channels() {
        let colour = png(RgbImage::from_pixel(1, 1, Rgb([5, 6, 7])));
        let fixture = Fixture::new(&[("train/1.png", dot(1)), ("train/2.png", dot(2)), ("test/1.png", colour)]);
        let data = fixture.open(NONE).0.unwrap();
        assert_eq!((data.train.shape, data.train.pixels), ([3, 1, 1], vec![1, 1, 1, 2, 2, 2]));
        assert_eq!(data.test.pixels, [5, 6, 7]);
        let grey = fixture.open(Preparation { channels: Some(1), ..NONE }).0.unwrap();
        assert_eq!((grey.train.shape, grey.train.pixels), ([1, 1, 1], vec![1, 2]));
        let fixture = Fixture::new(&[("train/1.png", png(grey_row())), ("test/1.png", png(grey_row()))]);
        let data = fixture.open(NONE).0.unwrap();
        assert_eq!((data.test.shape, data.test.pixels), ([1, 1, 3], vec![0, 1, 2]));
        let three = fixture.open(Preparation { channels: Some(3), ..NONE }).0.unwrap();
        assert_eq!(three.test.pixels, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    fn grey_row() -> image::GrayImage {
        grey(3, 1)
    }

    #[test]
    fn different_sizes_need_one() {
        let fixture = Fixture::new(&[
            ("train/1.png", png(grey(4, 3))),
            ("train/2.png", png(grey(4, 3))),
            ("train/3.png", png(grey(3, 4))),
            ("train/4.png", png(grey(9, 9))),
            ("test/1.jpg", jpeg(grey(20, 30))),
        ]);
        fixture.refused(NONE, &["train/3.png", "is 3x4", "train/1.png is 4x3", "--image-size"]);
        // A wrong size is no damage.
        fixture.refused(SKIP, &["train/3.png", "--image-size"]);
        let data = fixture.open(Preparation { image_size: Some(5), ..NONE }).0.unwrap();
        assert_eq!((data.train.shape, data.train.count), ([1, 5, 5], 4));
        let data = fixture.open(Preparation { crop: Some(3), ..NONE }).0.unwrap();
        assert_eq!((data.train.shape, &data.train.pixels[..3]), ([1, 3, 3], &[0, 1, 2][..]));
        fixture.refused(Preparation { crop: Some(4), ..NONE }, &["train/1.png", "is 4x3", "--crop 4"]);
        let both = Preparation { crop: Some(3), image_size: Some(6), ..NONE };
        assert_eq!(fixture.open(both).0.unwrap().test.shape, [1, 6, 6]);
    }

    #[test]
    fn corrupt_pictures_are_refused_or_skipped_by_name() {
        let fixture =
            Fixture::new(&[("test/a/1.png", dot(1)), ("train/a/05.png", dot(5)), ("train/b/20.png", dot(20))]);
        for i in (0..13).filter(|i| *i != 5) {
            fixture.write(&format!("train/a/{i:02}.jpg"), b"no picture");
        }
        fixture.refused(NONE, &["train/a/00.jpg", "cannot be decoded", "neither a PNG nor a JPEG", "--corrupt skip"]);
        let (data, said) = fixture.open(SKIP);
        let data = data.unwrap();
        assert_eq!((data.train.pixels, data.train.labels, data.train.count), (vec![5, 20], Some(vec![0, 1]), 2));
        assert_eq!(said.lines().count(), 11, "{said}");
        assert!(said.contains("a/00.jpg") && said.contains("a/10.jpg") && !said.contains("a/11.jpg"), "{said}");
        assert!(said.contains("note: 2 more pictures"), "{said}");
        fixture.write("test/a/1.png", b"nothing");
        fixture.refused(SKIP, &["none of its test pictures"]);
    }

    #[test]
    fn the_first_bad_picture_is_the_one_named() {
        let fixture = Fixture::new(&[("test/1.png", dot(1))]);
        (0..200).for_each(|i| fixture.write(&format!("train/{i:03}.png"), &dot(1)));
        // While the large picture is decoded, another core comes upon those behind it.
        fixture.write("train/050.png", &png(grey(1500, 1500)));
        for i in [99, 100, 150, 199] {
            fixture.write(&format!("train/{i:03}.png"), b"bad");
        }
        let small = Preparation { image_size: Some(1), ..NONE };
        (0..5).for_each(|_| fixture.refused(small, &["099.png"]));
    }

    #[test]
    fn senseless_preparations_are_refused_by_flag() {
        let fixture = Fixture::new(&[("1.png", dot(1)), ("2.png", dot(1))]);
        fixture.refused(Preparation { crop: Some(0), ..NONE }, &["--crop is 0"]);
        fixture.refused(Preparation { image_size: Some(20_000), ..NONE }, &["--image-size is 20000"]);
        fixture.refused(Preparation { channels: Some(2), ..NONE }, &["--channels is 2"]);
    }

    #[test]
    fn too_many_bytes_are_refused_before_decoding() {
        let fixture = Fixture::new(&[]);
        (0..50).for_each(|i| fixture.write(&format!("{i}.png"), b"not even a picture"));
        let large = Preparation { image_size: Some(1 << 14), ..NONE };
        fixture.refused(large, &["50 pictures of 3x16384x16384", "need 40265318400 bytes", "--channels 1"]);
    }

    #[test]
    fn the_cache_gives_the_same_and_follows_the_files() {
        let fixture = Fixture::new(&[("train/a/1.png", dot(1)), ("train/b/1.png", dot(2)), ("test/a/1.png", dot(3))]);
        fixture.write("train/a/2.png", b"bad");
        let cache = fixture.0.path().join("cache");
        let open = |preparation| fixture.open_cached(preparation, Some(&cache));
        let names = || fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        let (first, said) = open(SKIP);
        let first = first.unwrap();
        let [file] = &names()[..] else { panic!("{:?}", names()) };
        // From the cache, with the same notices, and it is not written again.
        let (again, said_again) = open(SKIP);
        assert_eq!((again.unwrap(), said_again), (first.clone(), said.clone()));
        let before = fs::metadata(file).unwrap().modified().unwrap();
        open(SKIP).0.unwrap();
        assert_eq!(fs::metadata(file).unwrap().modified().unwrap(), before);

        // Another state of the folder takes the same file, another preparation another.
        fixture.write("train/b/2.png", &dot(7));
        let (changed, _) = open(SKIP);
        assert_eq!(changed.unwrap().train.pixels, [1, 2, 7]);
        assert_eq!(names().len(), 1);
        open(Preparation { image_size: Some(2), ..SKIP }).0.unwrap();
        assert_eq!(names().len(), 2);

        let good = fs::read(file).unwrap();
        fs::write(file, &good[..good.len() - 1]).unwrap();
        let (repaired, said) = open(SKIP);
        assert_eq!(repaired.unwrap().train.pixels, [1, 2, 7]);
        assert_eq!((said.matches("made anew").count(), fs::read(file).unwrap() == good), (1, true), "{said}");
    }

    #[test]
    fn a_cached_picture_is_not_decoded_again() {
        let fixture = Fixture::new(&[("train/1.png", dot(1)), ("test/1.png", dot(3))]);
        let cache = fixture.0.path().join("cache");
        let first = fixture.open_cached(NONE, Some(&cache)).0.unwrap();
        // Other bytes of the same length and time: only a decoder would notice.
        let path = fixture.path().join("train/1.png");
        let (length, time) = (fs::metadata(&path).unwrap().len(), fs::metadata(&path).unwrap().modified().unwrap());
        fs::write(&path, vec![0; length as usize]).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(fixture.open_cached(NONE, Some(&cache)).0.unwrap(), first);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time + PATIENCE).unwrap();
        assert!(fixture.open_cached(NONE, Some(&cache)).0.is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_cache_that_cannot_be_written_is_a_note() {
        let fixture = Fixture::new(&[("train/1.png", dot(1)), ("test/1.png", dot(3))]);
        let cache = fixture.0.path().join("cache");
        fs::create_dir(&cache).unwrap();
        fixture.open_cached(NONE, Some(&cache)).0.unwrap();
        let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        fs::remove_file(&file).unwrap();
        // Every write to this device fails as on a full disk.
        std::os::unix::fs::symlink("/dev/full", crate::files::temporary(&file)).unwrap();
        let (data, said) = fixture.open_cached(NONE, Some(&cache));
        assert_eq!((data.unwrap().train.count, said.matches("not cached").count()), (1, 1), "{said}");
        let (data, said) = fixture.open_cached(NONE, Some(Path::new("/dev/null/cache")));
        assert!(data.is_ok() && said.contains("not cached"), "{said}");
    }
}
