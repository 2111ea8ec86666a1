use std::fs;
use std::time::Duration;

use super::super::idx::tests::{gzip, idx};
use super::super::progress::tests::{notices, silence};
use super::super::table::Columns;
use super::*;

/// A small set in MNIST's format, of 5 training and 3 test pictures of 2 by 3, with a folder of its own.
pub struct Fixture {
    pub set: Set,
    pub files: [Vec<u8>; 4],
    folder: tempfile::TempDir,
}

/// A client for tests in which nothing listens at the set's sources.
pub fn offline() -> Client {
    Client { connecting: Duration::from_secs(2), stall: Duration::from_secs(1), proxy: None }
}

impl Fixture {
    pub fn new() -> Fixture {
        let files = [
            idx(&[5, 2, 3], &(0..30).collect::<Vec<u8>>()),
            idx(&[5], &[0, 1, 2, 3, 9]),
            idx(&[3, 2, 3], &(100..118).collect::<Vec<u8>>()),
            idx(&[3], &[4, 5, 6]),
        ];
        let published = [0, 1, 2, 3].map(|i| {
            let kind = FILES[i].1;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            fs::write(&path, &files[i]).unwrap();
            let sha256 = Idx::read(&path, kind).unwrap().sha256();
            Published { bytes: files[i].len() as u64, sha256: sha256.leak() }
        });
        // Port 9 of the loopback address refuses connections.
        let set = Set { sources: &["http://127.0.0.1:9/"], published: Some(published), ..MNIST };
        Fixture { set, files, folder: tempfile::tempdir().unwrap() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn places(&self) -> Places {
        Places::new(self.set.name, Some(self.folder()), None)
    }

    pub fn name(&self, file: usize) -> String {
        self.set.file_name(FILES[file])
    }

    pub fn write_all(&self) {
        (0..4).for_each(|file| fs::write(self.folder().join(self.name(file)), &self.files[file]).unwrap());
    }

    fn open(&self) -> Result<Dataset> {
        self.set.open(&self.places(), &offline(), &mut silence)
    }
}

#[track_caller]
fn refused(result: Result<Dataset>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[test]
fn plain_and_compressed_files_are_read() {
    let fixture = Fixture::new();
    fixture.write_all();
    let plain = fixture.open().unwrap();
    assert_eq!((plain.name.as_str(), plain.train.count), ("mnist", 5));
    assert_eq!(plain.columns(), Columns::of_pictures([1, 2, 3], 10));
    assert_eq!(plain.train.pixels(), (0..30).collect::<Vec<u8>>());
    assert_eq!(plain.test.labels(), Some(&[4, 5, 6][..]));
    // Compressed under the plain name, and in the subfolder, which comes first.
    fs::create_dir(fixture.folder().join("mnist")).unwrap();
    for file in 0..4 {
        let name = fixture.name(file);
        fs::write(fixture.folder().join("mnist").join(&name), gzip(&fixture.files[file])).unwrap();
        fs::write(fixture.folder().join(&name), b"not read").unwrap();
    }
    assert_eq!(fixture.open().unwrap(), plain);
}

#[test]
fn the_layouts_that_others_leave_are_read() {
    let fixture = Fixture::new();
    fixture.write_all();
    let plain = fixture.open().unwrap();
    let put = |folder: &Path, dotted: bool, compressed: bool| {
        fs::create_dir_all(folder).unwrap();
        for file in 0..4 {
            let name = &fixture.set.file_names(FILES[file])[dotted as usize];
            match compressed {
                true => fs::write(folder.join(format!("{name}.gz")), gzip(&fixture.files[file])).unwrap(),
                false => fs::write(folder.join(name), &fixture.files[file]).unwrap(),
            }
        }
    };
    let open = |folder: &Path| {
        let places = Places::new("mnist", Some(folder), None);
        fixture.set.open(&places, &offline(), &mut silence)
    };
    for (inside, dotted, compressed) in [
        ("MNIST/raw", false, false),
        ("raw", false, true),
        ("mnist/MNIST/raw", false, false),
        ("MNIST", true, false),
        ("", true, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        put(&folder.path().join(inside), dotted, compressed);
        fs::write(folder.path().join("notes.txt"), "other files do not matter").unwrap();
        assert_eq!(open(folder.path()).unwrap(), plain, "{inside}");
    }
    // Kaggle's archive has both forms of each name, one as a folder; other unpackers leave the file in it alone.
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), true, false);
    (0..4).for_each(|file| fs::create_dir(folder.path().join(fixture.name(file))).unwrap());
    assert_eq!(open(folder.path()).unwrap(), plain);
    let folder = tempfile::tempdir().unwrap();
    for file in 0..4 {
        let [outer, name] = fixture.set.file_names(FILES[file]);
        fs::create_dir(folder.path().join(&outer)).unwrap();
        fs::write(folder.path().join(&outer).join(name), &fixture.files[file]).unwrap();
    }
    assert_eq!(open(folder.path()).unwrap(), plain);
    // A whole set comes before a part of one.
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("MNIST/raw"), false, false);
    fs::write(folder.path().join(fixture.name(0)), b"interrupted").unwrap();
    assert_eq!(open(folder.path()).unwrap(), plain);
}

#[test]
fn every_set_is_found_where_torchvision_leaves_it() {
    for (set, folder) in [
        (SetName::FashionMnist, "FashionMNIST/raw"),
        (SetName::Kmnist, "KMNIST/raw"),
        (SetName::EmnistLetters, "EMNIST/raw"),
        (SetName::EmnistLetters, "gzip"),
    ] {
        let set = Set::of(set).unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        for (file, content) in FILES.into_iter().zip([idx(&[2, 1, 1], &[1, 2]), idx(&[2], &[1, 2])].iter().cycle()) {
            fs::write(folder.join(set.file_name(file)), content).unwrap();
        }
        let places = Places::new(set.name, Some(place.path()), None);
        assert_eq!(set.open(&places, &offline(), &mut |_| ()).unwrap().train.count, 2);
        assert!(set.is_in(place.path()));
        let mnist = Places::new("mnist", Some(place.path()), None);
        refused(MNIST.open(&mnist, &offline(), &mut |_| ()), &[&format!("add --dataset {}", set.name)]);
    }
}

#[test]
fn nothing_is_downloaded_among_other_files() {
    let fixture = Fixture::new();
    for (name, content, words) in [
        (
            "a/b/c.PNG",
            &b"x"[..],
            &["holds a, so nothing is downloaded", "pictures (a/b/c.PNG): add --dataset folder"][..],
        ),
        ("x.npz", b"PK\x03\x04", &["--dataset array --data", "x.npz"]),
        ("data_batch_1.bin", b"x", &["add --dataset cifar10"]),
        ("esc\u{1b}[2J.txt", b"x", &["holds esc\\u{1b}[2J.txt", "an empty or a new folder"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let places = Places::new("mnist", Some(folder.path()), None);
        let message = fixture.set.open(&places, &offline(), &mut silence).unwrap_err().to_string();
        for word in words.iter().chain(&["mnist lacks train-images-idx3-ubyte"]) {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }
    // What is missing of the set alone is fetched.
    fs::write(fixture.folder().join(fixture.name(0)), &fixture.files[0]).unwrap();
    let message = fixture.set.open(&fixture.places(), &offline(), &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("download failed"), "{message}");
    // A file in the place of the folder.
    let file = fixture.folder().join(fixture.name(0));
    let places = Places::new("mnist", Some(&file), None);
    refused(fixture.set.open(&places, &offline(), &mut |_| ()), &["of MNIST's form: give the folder"]);
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let fixture = Fixture::new();
    let write = |file: usize, content: Vec<u8>| {
        fixture.write_all();
        fs::write(fixture.folder().join(fixture.name(file)), content).unwrap();
    };
    write(1, idx(&[4], &[0, 1, 2, 3]));
    refused(fixture.open(), &["train-labels-idx1-ubyte", "4 labels", "train-images-idx3-ubyte has 5 pictures"]);
    write(3, idx(&[3], &[4, 10, 6]));
    refused(fixture.open(), &["t10k-labels-idx1-ubyte", "label 10 of picture 1", "below 10"]);
    write(2, idx(&[3, 3, 3], &[0; 27]));
    refused(fixture.open(), &["t10k-images-idx3-ubyte", "[1, 3, 3]", "[1, 2, 3]"]);
    write(1, fixture.files[0].clone());
    refused(fixture.open(), &["train-labels-idx1-ubyte", "expected an IDX file of labels", "found a file of images"]);
}

#[test]
fn other_content_than_the_published_is_noted() {
    let fixture = Fixture::new();
    fixture.write_all();
    let mut notice = String::new();
    for labels in [idx(&[3], &[4, 5, 7]), idx(&[3], &[4, 5, 6])] {
        fs::write(fixture.folder().join(fixture.name(3)), labels).unwrap();
        fixture.set.open(&fixture.places(), &offline(), &mut notices(&mut notice)).unwrap();
    }
    assert_eq!(notice.matches("not the published files").count(), 1, "{notice}");
    assert!(notice.contains("t10k-labels") && !notice.contains("train-"), "{notice}");
}

#[test]
fn emnist_pictures_are_turned_upright() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("emnist-letters-train-images-idx3-ubyte", idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16])),
        ("emnist-letters-train-labels-idx1-ubyte", idx(&[2], &[1, 26])),
        ("emnist-letters-test-images-idx3-ubyte.gz", gzip(&idx(&[1, 2, 3], &[1, 2, 3, 4, 5, 6]))),
        ("emnist-letters-test-labels-idx1-ubyte.gz", gzip(&idx(&[1], &[7]))),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let set = Set::of(SetName::EmnistLetters).unwrap();
    let places = Places::new(set.name, Some(folder.path()), None);
    let data = set.open(&places, &offline(), &mut silence).unwrap();
    assert_eq!(data.train.pixels(), [1, 4, 2, 5, 3, 6, 11, 14, 12, 15, 13, 16]);
    assert_eq!(data.train.shape(), Some([1, 3, 2]));
    assert_eq!(data.train.labels(), Some(&[1, 26][..]));
}

#[test]
fn a_set_without_checksums_is_not_downloaded_but_explained() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t10k-labels-idx1-ubyte.gz"), b"").unwrap();
    let set = Set::of(SetName::FashionMnist).unwrap();
    let places = Places::new(set.name, Some(folder.path()), None);
    let message = set.open(&places, &offline(), &mut |_| ()).unwrap_err().to_string();
    for word in ["fashion-mnist lacks", "train-images-idx3-ubyte,", "get the files from http", "--data DIR"] {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    let (lacks, holds) = message.split_once("(it holds").unwrap();
    assert!(!lacks.contains("t10k-labels") && holds.contains("t10k-labels-idx1-ubyte.gz"), "{message}");
}

#[test]
fn a_named_set_never_falls_back() {
    let fixture = Fixture::new();
    let message = fixture.set.open(&fixture.places(), &offline(), &mut |_| ()).unwrap_err().to_string();
    for word in ["mnist lacks train-images", "127.0.0.1:9", "--data DIR", "--dataset digits"] {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert_eq!(fs::read_dir(fixture.folder()).unwrap().count(), 0);
}

#[test]
fn a_published_file_in_the_place_of_another_is_named() {
    let fixture = Fixture::new();
    for (name, file) in [(1, 3), (3, 1)] {
        fixture.write_all();
        fs::write(fixture.folder().join(fixture.name(name)), &fixture.files[file]).unwrap();
        let expected = format!("expected {} of mnist, found {} of mnist", fixture.name(name), fixture.name(file));
        refused(fixture.open(), &[&expected]);
    }
}

#[test]
fn places_prefer_the_argument_then_the_variable() {
    let [a, b] = [Path::new("a"), Path::new("b")];
    let places = Places::new("kmnist", Some(a), Some(b));
    assert_eq!(places.folders, [a.join("kmnist"), a.to_path_buf()]);
    assert_eq!(places.download, a);
    let places = Places::new("kmnist", None, Some(b));
    assert_eq!(places.folders, [b.join("kmnist"), b.to_path_buf()]);
    assert_eq!(places.download, b.join("kmnist"));
    let places = Places::new("kmnist", None, None);
    assert_eq!((places.folders, places.download), (vec!["data/kmnist".into(), "data".into()], "data/kmnist".into()));
}

#[test]
fn every_name_but_digits_has_one_row() {
    for name in SetName::ALL {
        let rows = SETS.iter().filter(|set| set.id == name).count();
        assert_eq!(rows, (name != SetName::Digits) as usize, "{name:?}");
    }
    let names: std::collections::HashSet<&str> = SetName::ALL.iter().map(|name| name.as_str()).collect();
    assert_eq!(names.len(), SetName::ALL.len());
}
