//! The sets that come as IDX files: one table, and how a set's four files are found, fetched, read and checked.

use std::path::{Path, PathBuf};

use super::download::{self, Client, Wanted};
use super::idx::{Idx, Kind};
use super::{Dataset, Split, place};
use crate::error::{Error, Result, shown};

/// The data sets in MNIST's format, and its stand-in. All but `Digits`, which is drawn, have a row in [`SETS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetName {
    /// Handwritten digits, 60 000 to train on and 10 000 to test on, 28 x 28 (LeCun et al. 1998).
    Mnist,
    /// Clothing in MNIST's numbers and sizes (Xiao et al. 2017, arXiv 1708.07747).
    FashionMnist,
    /// Cursive Japanese characters in MNIST's numbers and sizes (Clanuwat et al. 2018, arXiv 1812.01718).
    Kmnist,
    /// EMNIST (Cohen et al. 2017, arXiv 1702.05373), digits and letters, 47 classes equally often.
    EmnistBalanced,
    /// EMNIST, digits, capital and small letters as they were written: 62 classes.
    EmnistByclass,
    /// EMNIST, letters whose capital and small forms look alike merged: 47 classes.
    EmnistBymerge,
    /// EMNIST, digits alone, equally often.
    EmnistDigits,
    /// EMNIST, the 26 letters, capital and small ones together, labels 1 to 26.
    EmnistLetters,
    /// EMNIST, digits in MNIST's numbers.
    EmnistMnist,
    /// Drawn by this program in MNIST's numbers and sizes; needs neither files nor network.
    Digits,
}

impl SetName {
    /// Every set, in the order that messages list them.
    pub const ALL: [SetName; 10] = [
        SetName::Mnist,
        SetName::FashionMnist,
        SetName::Kmnist,
        SetName::EmnistBalanced,
        SetName::EmnistByclass,
        SetName::EmnistBymerge,
        SetName::EmnistDigits,
        SetName::EmnistLetters,
        SetName::EmnistMnist,
        SetName::Digits,
    ];

    /// The argument of `--dataset`, e.g. `fashion-mnist`.
    pub fn as_str(self) -> &'static str {
        Set::of(self).map_or("digits", |set| set.name)
    }
}

/// One row of [`SETS`].
#[derive(Debug, Clone, Copy)]
pub struct Set {
    /// The set that this row is of.
    pub id: SetName,
    /// The argument of `--dataset`, the folder below `data/`, the name in outputs.
    pub name: &'static str,
    /// The folder of torchvision's copy, whose files lie in its subfolder `raw`.
    torchvision: &'static str,
    /// Start of the four file names; see [`Set::file_name`].
    prefix: &'static str,
    /// What the test files' names have where the training files' have `train`.
    test: &'static str,
    /// Every label is below this.
    classes: usize,
    /// EMNIST stores the pictures column by column.
    transposed: bool,
    /// Base addresses the files are published at: for download where `published` is known, else to tell the user.
    pub(super) sources: &'static [&'static str],
    /// Size and checksum of the four files, in the order of [`FILES`]. Only files that can be checked are downloaded.
    pub(super) published: Option<[Published; 4]>,
}

/// An uncompressed file as its authors published it, so that a copy is known however it was compressed.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// Length; no more than that, and what gzip may add, is downloaded.
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: &'static str,
}

/// The four files of a set: whether for training, and what they hold.
const FILES: [(bool, Kind); 4] =
    [(true, Kind::Images), (true, Kind::Labels), (false, Kind::Images), (false, Kind::Labels)];

const MNIST: Set = Set {
    id: SetName::Mnist,
    name: "mnist",
    torchvision: "MNIST",
    prefix: "",
    test: "t10k",
    classes: 10,
    transposed: false,
    sources: &["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"],
    published: Some([
        Published { bytes: 47_040_016, sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db" },
        Published { bytes: 60_008, sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5" },
        Published { bytes: 7_840_016, sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7" },
        Published { bytes: 10_008, sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2" },
    ]),
};

const fn emnist(id: SetName, name: &'static str, prefix: &'static str, classes: usize) -> Set {
    let sources = &["https://www.nist.gov/itl/products-and-services/emnist-dataset"];
    let torchvision = "EMNIST";
    Set { id, name, torchvision, prefix, test: "test", classes, transposed: true, sources, published: None }
}

/// The one list of sets in files; everything about a set is derived from its row.
pub const SETS: [Set; 9] = [
    MNIST,
    Set {
        id: SetName::FashionMnist,
        name: "fashion-mnist",
        torchvision: "FashionMNIST",
        sources: &["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"],
        published: None,
        ..MNIST
    },
    Set {
        id: SetName::Kmnist,
        name: "kmnist",
        torchvision: "KMNIST",
        sources: &["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"],
        published: None,
        ..MNIST
    },
    emnist(SetName::EmnistBalanced, "emnist-balanced", "emnist-balanced-", 47),
    emnist(SetName::EmnistByclass, "emnist-byclass", "emnist-byclass-", 62),
    emnist(SetName::EmnistBymerge, "emnist-bymerge", "emnist-bymerge-", 47),
    emnist(SetName::EmnistDigits, "emnist-digits", "emnist-digits-", 10),
    // The 26 letters have the labels 1 to 26.
    emnist(SetName::EmnistLetters, "emnist-letters", "emnist-letters-", 27),
    emnist(SetName::EmnistMnist, "emnist-mnist", "emnist-mnist-", 10),
];

/// Where a set's files may be.
#[derive(Debug)]
pub struct Places {
    /// The set is looked for in these, and in folders in them that others leave it in.
    pub(super) folders: Vec<PathBuf>,
    /// Where files go that are downloaded because no folder has any.
    pub(super) download: PathBuf,
    /// Whether the user named the folder. What lies in it may be anything, so nothing is downloaded in among it.
    pub(super) given: bool,
}

impl Places {
    /// `set` is the set's name, `data_dir` the user's argument, `variable` the value of `ELBO_DATA`.
    ///
    /// The subfolder comes first: file names of several sets are equal, and a folder of all sets may itself hold one.
    pub fn new(set: &str, data_dir: Option<&Path>, variable: Option<&Path>) -> Places {
        let parent = data_dir.or(variable).unwrap_or(Path::new("data"));
        Places {
            folders: vec![parent.join(set), parent.to_path_buf()],
            download: data_dir.map_or_else(|| parent.join(set), Path::to_path_buf),
            given: data_dir.is_some(),
        }
    }
}

impl Set {
    /// The row of `name`; none for the built-in digits.
    pub fn of(name: SetName) -> Option<&'static Set> {
        SETS.iter().find(|set| set.id == name)
    }

    /// `train-images-idx3-ubyte` and the like, without `.gz`.
    fn file_name(&self, (train, kind): (bool, Kind)) -> String {
        let split = if train { "train" } else { self.test };
        let content = match kind {
            Kind::Images => "images-idx3-ubyte",
            Kind::Labels => "labels-idx1-ubyte",
        };
        format!("{}{split}-{content}", self.prefix)
    }

    /// The names that the file goes by: Kaggle and some unpackers put a dot before its form.
    fn file_names(&self, file: (bool, Kind)) -> [String; 2] {
        let name = self.file_name(file);
        let dotted = name.replace("-idx", ".idx");
        [name, dotted]
    }

    /// Whether a file of this name, plain or compressed, is one of the set's.
    pub(super) fn is_own(&self, name: &str) -> bool {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        FILES.into_iter().any(|file| self.file_names(file).iter().any(|known| known == plain))
    }

    /// The path of each of the set's files that `folder` has, plain or compressed.
    fn files_in(&self, folder: &Path) -> [Option<PathBuf>; 4] {
        FILES.map(|file| {
            let names = self.file_names(file);
            let beside = names.iter().flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]);
            // Some unpackers make a folder of the file's name around it.
            let inside = names.iter().flat_map(|outer| names.iter().map(move |name| folder.join(outer).join(name)));
            beside.chain(inside).find(|path| path.is_file())
        })
    }

    /// `folder`, and the folders in it that torchvision and the published archive of EMNIST leave the files in.
    fn below(&self, folder: &Path) -> [PathBuf; 5] {
        let torchvision = folder.join(self.torchvision);
        [folder.to_path_buf(), folder.join("raw"), folder.join("gzip"), torchvision.join("raw"), torchvision]
    }

    /// Whether files of this set, and not those of another that has the same names, are in `place` or folders in it.
    pub(super) fn is_in(&self, place: &Path) -> bool {
        let [here, raw, gzip, own] =
            [place.to_path_buf(), place.join("raw"), place.join("gzip"), place.join(self.name)];
        let torchvision = place.join(self.torchvision);
        let mut folders = vec![torchvision.join("raw"), torchvision, own];
        if self.id == SetName::Mnist || !self.prefix.is_empty() {
            folders.extend([here, raw, gzip]);
        }
        folders.iter().any(|folder| self.files_in(folder).iter().any(Option::is_some))
    }

    /// The folder to read, and what it has: the first with all files, else the first with any.
    fn locate(&self, places: &Places) -> (PathBuf, [Option<PathBuf>; 4]) {
        let folders = places.folders.iter().flat_map(|folder| self.below(folder));
        let found: Vec<_> = folders.map(|folder| (self.files_in(&folder), folder)).collect();
        let whole = found.iter().find(|(files, _)| files.iter().all(Option::is_some));
        let part = || found.iter().find(|(files, _)| files.iter().any(Option::is_some));
        let nothing = || (places.download.clone(), [const { None }; 4]);
        whole.or_else(part).map_or_else(nothing, |(files, folder)| (folder.clone(), files.clone()))
    }

    pub(super) fn any_file_in(&self, places: &Places) -> bool {
        self.locate(places).1.iter().any(Option::is_some)
    }

    /// Downloads what is missing of the set, where it can be.
    ///
    /// # Errors
    /// Which files are missing where, what was tried to get them, and what else the user can do.
    pub(super) fn make_available(&self, places: &Places, client: &Client, notices: &mut dyn FnMut(&str)) -> Result<()> {
        let (folder, files) = self.locate(places);
        let missing: Vec<usize> = (0..4).filter(|&i| files[i].is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = missing.iter().map(|&i| self.file_name(FILES[i])).collect();
        let lacks = format!("the data set {} lacks {} (or .gz)", self.name, names.join(", "));
        if places.given
            && let Some(refusal) = place::refusal(&folder, |name| self.is_own(name))
        {
            return Err(Error::file(&folder, format!("{lacks}. {refusal}")));
        }
        let Some(published) = self.published else {
            let sources = self.sources.join(", ");
            let seen = place::others(&folder, |_| false).map_or(String::new(), |seen| format!(" (it holds {seen})"));
            return Err(Error::file(
                &folder,
                format!(
                    "{lacks}{seen}. It is not downloaded automatically: get the files from {sources} and put them there, \
                     or give their folder by --data DIR, or use another set, such as --dataset digits"
                ),
            ));
        };
        notices(&format!("downloading {} to {} from {}", self.name, shown(&folder), self.sources.join(" or ")));
        let wanted: Vec<Wanted> =
            missing.iter().zip(&names).map(|(&i, name)| Wanted::new(format!("{name}.gz"), published[i])).collect();
        download::fetch(self.sources, &wanted, &folder, client).map_err(|reason| {
            Error::Network(format!(
                "{}: {lacks}, and the download failed:\n{reason}\n\
                 Give a folder that has the files by --data DIR, or use the built-in set: --dataset digits",
                shown(&folder)
            ))
        })
    }

    /// Reads the set, and downloads it first where needed and possible.
    pub(super) fn open(&self, places: &Places, client: &Client, notices: &mut dyn FnMut(&str)) -> Result<Dataset> {
        self.make_available(places, client, notices)?;
        let (folder, files) = self.locate(places);
        let [Some(train_images), Some(train_labels), Some(test_images), Some(test_labels)] = files else {
            return Err(Error::file(folder, format!("files of the data set {} have just vanished", self.name)));
        };
        let (train, test) = rayon::join(
            || self.read_split(0, &train_images, &train_labels),
            || self.read_split(2, &test_images, &test_labels),
        );
        let ((train, mut unknown), (test, unknown_test)) = (train?, test?);
        unknown.extend(unknown_test);
        if train.shape != test.shape {
            return Err(Error::file(
                &test_images,
                format!(
                    "has pictures of {:?} (C, H, W), but {} of {:?}",
                    test.shape,
                    shown(&train_images),
                    train.shape
                ),
            ));
        }
        if !unknown.is_empty() {
            notices(&format!(
                "note: not the published files of {}, so results do not compare with others': {}",
                self.name,
                unknown.join(", ")
            ));
        }
        Ok(Dataset { name: self.name.to_string(), classes: self.classes, class_names: Vec::new(), train, test })
    }

    /// Reads the images, file number `first` of [`FILES`], and the labels, the file after it. Also returns the paths whose
    /// content is not the published one.
    fn read_split(&self, first: usize, images: &Path, labels: &Path) -> Result<(Split, Vec<String>)> {
        let mut unknown = Vec::new();
        let mut read = |file: usize, path: &Path| {
            let content = Idx::read(path, FILES[file].1)?;
            if !self.recognise(file, path, &content)? {
                unknown.push(shown(path));
            }
            Ok(content)
        };
        let pictures = read(first, images)?;
        let names = read(first + 1, labels)?;
        let &[count, height, width] = pictures.sizes.as_slice() else {
            panic!("an IDX file of images has three sizes, not {:?}", pictures.sizes);
        };
        if names.body.len() != count {
            return Err(Error::file(
                labels,
                format!("has {} labels, but {} has {count} pictures", names.body.len(), shown(images)),
            ));
        }
        if let Some(at) = names.body.iter().position(|&label| label as usize >= self.classes) {
            let label = names.body[at];
            return Err(Error::file(
                labels,
                format!("label {label} of picture {at}: expected labels below {} in {}", self.classes, self.name),
            ));
        }
        let (pixels, shape) = if self.transposed {
            (transposed(&pictures.body, height, width), [1, width, height])
        } else {
            (pictures.body, [1, height, width])
        };
        Ok((Split { pixels, count, shape, labels: Some(names.body) }, unknown))
    }

    /// Whether `content` is what was published as this set's file number `file`; true where nothing is known.
    ///
    /// # Errors
    /// It is another published file: the sets share file names, so a file in the wrong folder would go unnoticed.
    fn recognise(&self, file: usize, path: &Path, content: &Idx) -> Result<bool> {
        let of_same_size: Vec<(&Set, (bool, Kind), &Published)> = std::iter::once(self)
            .chain(&SETS)
            .flat_map(|set| FILES.into_iter().zip(set.published.iter().flatten()).map(move |(f, p)| (set, f, p)))
            .filter(|(_, _, published)| published.bytes == content.file_bytes())
            .collect();
        if of_same_size.is_empty() {
            return Ok(self.published.is_none());
        }
        let sha256 = content.sha256();
        match of_same_size.iter().find(|(_, _, published)| published.sha256 == sha256) {
            None => Ok(self.published.is_none()),
            Some((set, role, _)) if set.id == self.id && *role == FILES[file] => Ok(true),
            Some((set, role, _)) => {
                let [expected, found] = [self.file_name(FILES[file]), set.file_name(*role)];
                Err(Error::file(path, format!("expected {expected} of {}, found {found} of {}", self.name, set.name)))
            }
        }
    }
}

/// Swaps rows and columns of each picture: (N, H, W) to (N, W, H).
fn transposed(pixels: &[u8], height: usize, width: usize) -> Vec<u8> {
    let mut turned = Vec::with_capacity(pixels.len());
    for picture in pixels.chunks_exact(height * width) {
        for column in 0..width {
            turned.extend((0..height).map(|row| picture[row * width + column]));
        }
    }
    turned
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::idx::tests::{gzip, idx};
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
            self.set.open(&self.places(), &offline(), &mut |notice| panic!("{notice}"))
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
        assert_eq!((plain.name.as_str(), plain.classes), ("mnist", 10));
        assert_eq!(plain.train.pixels, (0..30).collect::<Vec<u8>>());
        assert_eq!((plain.train.count, plain.train.shape), (5, [1, 2, 3]));
        assert_eq!(plain.test.labels, Some(vec![4, 5, 6]));
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
            fixture.set.open(&places, &offline(), &mut |notice| panic!("{notice}"))
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
            for (file, content) in FILES.into_iter().zip([idx(&[2, 1, 1], &[1, 2]), idx(&[2], &[1, 2])].iter().cycle())
            {
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
            let message = fixture.set.open(&places, &offline(), &mut |text| panic!("{text}")).unwrap_err().to_string();
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
        refused(
            fixture.open(),
            &["train-labels-idx1-ubyte", "expected an IDX file of labels", "found a file of images"],
        );
    }

    #[test]
    fn other_content_than_the_published_is_noted() {
        let fixture = Fixture::new();
        fixture.write_all();
        let mut notice = String::new();
        for labels in [idx(&[3], &[4, 5, 7]), idx(&[3], &[4, 5, 6])] {
            fs::write(fixture.folder().join(fixture.name(3)), labels).unwrap();
            fixture.set.open(&fixture.places(), &offline(), &mut |text| notice += text).unwrap();
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
        let data = set.open(&places, &offline(), &mut |notice| panic!("{notice}")).unwrap();
        assert_eq!(data.train.pixels, [1, 4, 2, 5, 3, 6, 11, 14, 12, 15, 13, 16]);
        assert_eq!(data.train.shape, [1, 3, 2]);
        assert_eq!(data.train.labels, Some(vec![1, 26]));
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
        assert_eq!(
            (places.folders, places.download),
            (vec!["data/kmnist".into(), "data".into()], "data/kmnist".into())
        );
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
}
