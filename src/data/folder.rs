//! A folder of PNG and JPEG files, or a single one: from the files that its listing names to pictures of one size.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode::{self, Decoded, Problem};
use super::listing::{Listing, MOST_NAMED};
use super::{Corrupt, Dataset, Preparation, Selection, Split, cache, check_memory, idx, place};
use crate::error::{Error, Result, plain, shown};

/// Decoding that takes longer shows a bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// Part of the name of every cache file: to be raised when its form changes.
const FORMAT: &str = "elbo pictures 1";
/// Part of every cache key: to be raised when the same files would be decoded to other bytes, or be refused.
const DECODER: &str = "2";

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
    notices: &mut dyn FnMut(&str),
) -> Result<Dataset> {
    preparation.validate()?;
    let place = fs::canonicalize(folder).map_err(Error::io("open the folder", folder))?;
    let name = folder.file_name().or(place.file_name()).map_or("/".into(), |name| plain(&name.to_string_lossy()));
    let name = format!("folder:{name}");
    if !place.is_dir() {
        let listing = single(folder, selection)?;
        let (data, _) = listing.decode(name, folder.parent().unwrap_or(folder), preparation)?;
        return Ok(data);
    }
    let listing = Listing::of(folder, selection, notices)?;
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
    let (data, left_out) = listing.decode(name, folder, preparation)?;
    left_out.iter().for_each(|notice| notices(notice));
    if let Some(path) = cached
        && let Err(error) = cache::save(&path, &key, &data, &left_out)
    {
        notices(&format!("note: the decoded pictures are not cached, so the next start takes as long: {error}"));
    }
    Ok(data)
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
    let Preparation { crop, image_size, channels, corrupt } = preparation;
    let mut hash = Sha256::new();
    add(&mut hash, FORMAT.as_bytes());
    add(&mut hash, place.as_os_str().as_encoded_bytes());
    add(&mut hash, format!("{crop:?} {image_size:?} {channels:?} {corrupt:?}").as_bytes());
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
    /// Whether any is stored in colour.
    colour: bool,
    /// The pictures that could not be decoded, and why.
    skipped: Vec<(PathBuf, String)>,
}

impl Listing {
    /// Decodes all pictures, and says what was left out.
    fn decode(self, name: String, folder: &Path, preparation: &Preparation) -> Result<(Dataset, Vec<String>)> {
        let listed = self.splits.each_ref().map(Vec::len);
        let total = listed.iter().sum();
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
            .map(|(path, reason)| format!("note: {} cannot be decoded and is skipped: {reason}", shown(path)))
            .collect();
        if notices.len() > MOST_NAMED {
            let more = notices.len() - MOST_NAMED;
            notices.truncate(MOST_NAMED);
            notices.push(format!("note: {more} more pictures of {} cannot be decoded and are skipped", shown(folder)));
        }
        let all_grey = preparation.channels.is_none() && !pictures.iter().any(|pictures| pictures.colour);
        let labelled = !self.classes.is_empty();
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
            self.open_with(preparation, Selection::ByName, cache)
        }

        fn open_by(&self, selection: Selection) -> (Result<Dataset>, String) {
            self.open_with(NONE, selection, None)
        }

        fn open_with(
            &self,
            preparation: Preparation,
            selection: Selection,
            cache: Option<&Path>,
        ) -> (Result<Dataset>, String) {
            let mut said = String::new();
            let mut note = |notice: &str| said += &format!("{notice}\n");
            let data = open(&self.path(), &preparation, selection, cache, &mut note);
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
    fn a_selection_parts_what_folders_do_not() {
        let files: Vec<(String, Vec<u8>)> = (0..21).map(|i| (format!("{i:02}.png"), dot(i))).collect();
        let fixture = Fixture::new(&[]);
        files.iter().for_each(|(name, content)| fixture.write(name, content));
        let (data, said) = fixture.open_by(Selection::ByOrder);
        let data = data.unwrap();
        assert_eq!((data.test.pixels, data.test.labels), (vec![0, 10, 20], None));
        assert_eq!((data.train.pixels[..3].to_vec(), data.train.count, data.classes), (vec![1, 2, 3], 18, 0));
        assert!(said.contains("every 10th picture in order"), "{said}");

        let (data, said) = fixture.open(NONE);
        let data = data.unwrap();
        let both = [&data.train.pixels[..], &data.test.pixels].concat();
        assert_eq!((both.len(), data.test.count > 0, said.contains("chosen by its name")), (21, true, true), "{said}");
        // A new first picture leaves the others where they were.
        fixture.write("00_first.png", &dot(99));
        let more = fixture.open(NONE).0.unwrap();
        let old = |pixels: &[u8]| pixels.iter().copied().filter(|&p| p != 99).collect::<Vec<u8>>();
        assert_eq!(old(&more.test.pixels), data.test.pixels);

        let (all, said) = fixture.open_by(Selection::All);
        let all = all.unwrap();
        assert_eq!(
            (all.train.count, all.test.count, said.contains("all its pictures are taken")),
            (0, 22, true),
            "{said}"
        );
    }

    #[test]
    fn one_picture_can_be_used_but_not_trained_on() {
        let fixture = Fixture::new(&[("a.png", dot(7))]);
        fixture.refused(NONE, &["pics", "only one picture"]);
        assert_eq!(fixture.open_by(Selection::All).0.unwrap().test.pixels, [7]);
        let file = fixture.path().join("a.png");
        let open = |selection| open(&file, &NONE, selection, None, &mut |_| ());
        let data = open(Selection::All).unwrap();
        assert_eq!((data.name.as_str(), data.test.pixels, data.test.shape), ("folder:a.png", vec![7], [1, 1, 1]));
        let message = open(Selection::ByName).unwrap_err().to_string();
        assert!(message.contains("is a single picture"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_no_picture() {
        let fixture = Fixture::new(&[("train/1.png", dot(1)), ("test/1.png", dot(2))]);
        let pipe = fixture.path().join("train/2.png");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fixture.refused(NONE, &["train/2.png", "no regular file"]);
        let (data, said) = fixture.open(SKIP);
        assert_eq!((data.unwrap().train.pixels, said.contains("no regular file")), (vec![1], true), "{said}");
    }

    #[cfg(unix)]
    #[test]
    fn names_cannot_steer_the_terminal() {
        let fixture =
            Fixture::new(&[("train/1.png", dot(1)), ("test/1.png", dot(2)), ("train/e\u{1b}[2Jx.png", vec![])]);
        let (_, said) = fixture.open(SKIP);
        assert!(said.contains("e\\u{1b}[2Jx.png") && !said.contains('\u{1b}'), "{said}");
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
        Fixture::new(&[("x.gif", vec![1])]).refused(NONE, &["pics", "no picture is there"]);
        let empty_test = Fixture::new(&[("train/1.png", dot(1)), ("test/x.txt", vec![])]);
        empty_test.refused(NONE, &["test", "no test picture"]);
        let empty_train = Fixture::new(&[("train/x.txt", vec![]), ("test/1.png", dot(1))]);
        empty_train.refused(NONE, &["pics/train", "no training picture"]);
        let message = open(Path::new("/no/such"), &NONE, Selection::ByName, None, &mut |_| ()).unwrap_err().to_string();
        assert!(message.contains("/no/such"), "{message}");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"\x93NUMPY").unwrap();
        let message = open(file.path(), &NONE, Selection::ByName, None, &mut |_| ()).unwrap_err().to_string();
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
        // A file cannot take the place of a folder.
        fs::create_dir(&file).unwrap();
        let (data, said) = fixture.open_cached(NONE, Some(&cache));
        assert_eq!((data.unwrap().train.count, said.matches("not cached").count()), (1, 1), "{said}");
        let (data, said) = fixture.open_cached(NONE, Some(Path::new("/dev/null/cache")));
        assert!(data.is_ok() && said.contains("not cached"), "{said}");
    }
}
