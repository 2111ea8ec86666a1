use std::time::Duration;

use image::{Rgb, RgbImage};

use super::super::decode::tests::{NONE, grey, jpeg, png};
use super::super::progress::tests::notices;
use super::super::table::Columns;
use super::super::{Background, Orientation};
use super::*;

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
        let data = open(&self.path(), &preparation, selection, cache, &mut notices(&mut said));
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

/// What such pictures of these values become, with labels and their classes.
fn dots(values: &[u8], labels: Option<(Vec<u8>, usize)>) -> Table {
    Table::of_pictures([1, 1, 1], values.to_vec(), labels)
}

#[test]
fn decoding_is_told_from_nothing_to_all() {
    let fixture = Fixture::new(&[]);
    (0..50).for_each(|i| fixture.write(&format!("train/{i}.png"), &dot(i)));
    (0..7).for_each(|i| fixture.write(&format!("test/{i}.png"), &dot(i)));
    let mut told = Vec::new();
    let mut report = |progress: Progress| match progress {
        Progress::Pictures { done, total } => told.push((done, total)),
        other => panic!("{other:?}"),
    };
    open(&fixture.path(), &NONE, Selection::ByName, None, &mut report).unwrap();
    assert_eq!((told.first(), told.last()), (Some(&(0, 57)), Some(&(57, 57))));
    assert!(told.is_sorted() && told.iter().all(|&(_, total)| total == 57), "{told:?}");
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
    assert_eq!((data.name.as_str(), data.columns()), ("folder:pics", Columns::of_pictures([1, 1, 1], 3)));
    assert_eq!(data.class_names, ["cat", "dog", "eel"]);
    assert_eq!(data.train, dots(&[1, 2, 3], Some((vec![0, 1, 1], 3))));
    assert_eq!(data.test, dots(&[4], Some((vec![2], 3))));
    assert!(said.contains("1 files of") && said.contains("val of") && said.lines().count() == 2, "{said}");
}

#[test]
fn a_selection_parts_what_folders_do_not() {
    let files: Vec<(String, Vec<u8>)> = (0..21).map(|i| (format!("{i:02}.png"), dot(i))).collect();
    let fixture = Fixture::new(&[]);
    files.iter().for_each(|(name, content)| fixture.write(name, content));
    let (data, said) = fixture.open_by(Selection::ByOrder);
    let data = data.unwrap();
    assert_eq!(data.test, dots(&[0, 10, 20], None));
    assert_eq!((&data.train.pixels()[..3], data.train.count), (&[1, 2, 3][..], 18));
    assert!(said.contains("every 10th picture in order"), "{said}");

    let (data, said) = fixture.open(NONE);
    let data = data.unwrap();
    let both = [data.train.pixels(), data.test.pixels()].concat();
    assert_eq!((both.len(), data.test.count > 0, said.contains("chosen by its name")), (21, true, true), "{said}");
    // A new first picture leaves the others where they were.
    fixture.write("00_first.png", &dot(99));
    let more = fixture.open(NONE).0.unwrap();
    let old = |pixels: &[u8]| pixels.iter().copied().filter(|&p| p != 99).collect::<Vec<u8>>();
    assert_eq!(old(more.test.pixels()), data.test.pixels());

    let (all, said) = fixture.open_by(Selection::All);
    let all = all.unwrap();
    assert_eq!((all.train.count, all.test.count, said.contains("all its pictures are taken")), (0, 22, true), "{said}");
}

#[test]
fn one_picture_can_be_used_but_not_trained_on() {
    let fixture = Fixture::new(&[("a.png", dot(7))]);
    fixture.refused(NONE, &["pics", "only one picture"]);
    assert_eq!(fixture.open_by(Selection::All).0.unwrap().test.pixels(), [7]);
    let file = fixture.path().join("a.png");
    let open = |selection| open(&file, &NONE, selection, None, &mut |_| ());
    let data = open(Selection::All).unwrap();
    assert_eq!((data.name.as_str(), data.test), ("folder:a.png", dots(&[7], None)));
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
    assert_eq!((data.unwrap().train.pixels(), said.contains("no regular file")), (&[1][..], true), "{said}");
}

#[cfg(unix)]
#[test]
fn names_cannot_steer_the_terminal() {
    let fixture = Fixture::new(&[("train/1.png", dot(1)), ("test/1.png", dot(2)), ("train/e\u{1b}[2Jx.png", vec![])]);
    let (_, said) = fixture.open(SKIP);
    assert!(said.contains("e\\u{1b}[2Jx.png") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn pictures_beside_class_folders_leave_all_without_labels() {
    let fixture = Fixture::new(&[("a/1.png", dot(1)), ("b/1.png", dot(2)), ("c.png", dot(3))]);
    let (data, said) = fixture.open(NONE);
    assert_eq!(data.unwrap().train.labels(), None);
    assert!(said.contains("no labels: 1 pictures lie beside"), "{said}");
    let fixture = Fixture::new(&[]);
    (0..257).for_each(|i| fixture.write(&format!("{i}/1.png"), &dot(1)));
    let (data, said) = fixture.open(NONE);
    assert_eq!((data.unwrap().train.labels(), said.contains("257 class folders")), (None, true));
}

#[test]
fn folders_without_pictures_are_refused() {
    Fixture::new(&[("x.svg", vec![1])]).refused(NONE, &["pics", "no picture is there"]);
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
    assert_eq!(data.train.pixels(), [1, 2]);
    link(&fixture.path().join("nowhere"), "test/a/3.png");
    fixture.refused(NONE, &["3.png", "cannot be decoded"]);
}

#[test]
fn any_colour_makes_all_three_channels() {
    let colour = png(RgbImage::from_pixel(1, 1, Rgb([5, 6, 7])));
    let fixture = Fixture::new(&[("train/1.png", dot(1)), ("train/2.png", dot(2)), ("test/1.png", colour)]);
    let data = fixture.open(NONE).0.unwrap();
    assert_eq!((data.train.shape(), data.train.pixels()), (Some([3, 1, 1]), &[1, 1, 1, 2, 2, 2][..]));
    assert_eq!(data.test.pixels(), [5, 6, 7]);
    let grey = fixture.open(Preparation { channels: Some(1), ..NONE }).0.unwrap();
    assert_eq!(grey.train, dots(&[1, 2], None));
    let fixture = Fixture::new(&[("train/1.png", png(grey_row())), ("test/1.png", png(grey_row()))]);
    let data = fixture.open(NONE).0.unwrap();
    assert_eq!((data.test.shape(), data.test.pixels()), (Some([1, 1, 3]), &[0, 1, 2][..]));
    let three = fixture.open(Preparation { channels: Some(3), ..NONE }).0.unwrap();
    assert_eq!(three.test.pixels(), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
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
    assert_eq!((data.train.shape(), data.train.count), (Some([1, 5, 5]), 4));
    let data = fixture.open(Preparation { crop: Some(3), ..NONE }).0.unwrap();
    assert_eq!((data.train.shape(), &data.train.pixels()[..3]), (Some([1, 3, 3]), &[0, 1, 2][..]));
    fixture.refused(Preparation { crop: Some(4), ..NONE }, &["train/1.png", "is 4x3", "--crop 4"]);
    let both = Preparation { crop: Some(3), image_size: Some(6), ..NONE };
    assert_eq!(fixture.open(both).0.unwrap().test.shape(), Some([1, 6, 6]));
}

#[test]
fn corrupt_pictures_are_refused_or_skipped_by_name() {
    let fixture = Fixture::new(&[("test/a/1.png", dot(1)), ("train/a/05.png", dot(5)), ("train/b/20.png", dot(20))]);
    for i in (0..13).filter(|i| *i != 5) {
        fixture.write(&format!("train/a/{i:02}.jpg"), b"no picture");
    }
    fixture.refused(
        NONE,
        &["train/a/00.jpg", "cannot be decoded", "no PNG, JPEG, WebP, BMP, TIFF or GIF file", "--corrupt skip"],
    );
    let (data, said) = fixture.open(SKIP);
    let data = data.unwrap();
    assert_eq!(data.train, dots(&[5, 20], Some((vec![0, 1], 2))));
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
    assert_eq!(changed.unwrap().train.pixels(), [1, 2, 7]);
    assert_eq!(names().len(), 1);
    open(Preparation { image_size: Some(2), ..SKIP }).0.unwrap();
    assert_eq!(names().len(), 2);

    let good = fs::read(file).unwrap();
    fs::write(file, &good[..good.len() - 1]).unwrap();
    let (repaired, said) = open(SKIP);
    assert_eq!(repaired.unwrap().train.pixels(), [1, 2, 7]);
    assert_eq!((said.matches("made anew").count(), fs::read(file).unwrap() == good), (1, true), "{said}");
}

#[test]
fn the_cache_keeps_backgrounds_and_orientations_apart() {
    let clear = image::GrayAlphaImage::from_pixel(1, 1, image::LumaA([7, 0]));
    let fixture = Fixture::new(&[("train/1.png", png(clear)), ("test/1.png", dot(9))]);
    let cache = fixture.0.path().join("cache");
    let black = Preparation { background: Background::BLACK, ..NONE };
    let stored = Preparation { orientation: Orientation::Stored, ..black };
    // Twice, the second time from the cache.
    for _ in 0..2 {
        for (preparation, level) in [(NONE, 255), (black, 0), (stored, 0)] {
            let data = fixture.open_cached(preparation, Some(&cache)).0.unwrap();
            assert_eq!(data.train.pixels(), [level], "{preparation:?}");
        }
    }
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 3);
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
    fs::File::options().write(true).open(&path).unwrap().set_modified(time + Duration::from_secs(1)).unwrap();
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
