//! The sets that come as IDX files: one table, and how a set's four files are found, fetched, read and checked.

use std::path::{Path, PathBuf};

use super::download::{self, Client, Wanted};
use super::idx::{Idx, Kind};
use super::progress::{Progress, Report};
use super::table::Table;
use super::{Dataset, place};
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
    pub(super) fn make_available(&self, places: &Places, client: &Client, report: &mut Report) -> Result<()> {
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
        let from = self.sources.join(" or ");
        report(Progress::Notice(&format!("downloading {} to {} from {from}", self.name, shown(&folder))));
        let wanted: Vec<Wanted> =
            missing.iter().zip(&names).map(|(&i, name)| Wanted::new(format!("{name}.gz"), published[i])).collect();
        download::fetch(self.sources, &wanted, &folder, client, report).map_err(|reason| {
            Error::Network(format!(
                "{}: {lacks}, and the download failed:\n{reason}\n\
                 Give a folder that has the files by --data DIR, or use the built-in set: --dataset digits",
                shown(&folder)
            ))
        })
    }

    /// Reads the set, and downloads it first where needed and possible.
    pub(super) fn open(&self, places: &Places, client: &Client, report: &mut Report) -> Result<Dataset> {
        self.make_available(places, client, report)?;
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
        if let (Some(train), Some(test)) = (train.shape(), test.shape())
            && train != test
        {
            return Err(Error::file(
                &test_images,
                format!("has pictures of {test:?} (C, H, W), but {} of {train:?}", shown(&train_images)),
            ));
        }
        if !unknown.is_empty() {
            report(Progress::Notice(&format!(
                "note: not the published files of {}, so results do not compare with others': {}",
                self.name,
                unknown.join(", ")
            )));
        }
        Ok(Dataset {
            name: self.name.to_string(),
            class_names: Vec::new(),
            vocabulary: None,
            spectrogram: None,
            train,
            test,
        })
    }

    /// Reads the images, file number `first` of [`FILES`], and the labels, the file after it. Also returns the paths
    /// whose content is not the published one.
    fn read_split(&self, first: usize, images: &Path, labels: &Path) -> Result<(Table, Vec<String>)> {
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
        Ok((Table::of_pictures(shape, pixels, Some((names.body, self.classes))), unknown))
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
pub(super) mod tests;
