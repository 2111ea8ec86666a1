//! The fixed binarisation of MNIST (Salakhutdinov & Murray 2008; the files of H. Larochelle), as IDX files of pictures
//! alone: 50,000 to train on, 10,000 to test on, values 0 and 255. Its order is not MNIST's, so there are no labels.
//! The 10,000 pictures for validation, where they are there, are not read.

use std::path::{Path, PathBuf};

use super::Dataset;
use super::binarise::is_binary;
use super::idx::{Idx, Kind};
use super::sets::Places;
use super::table::Table;
use crate::error::{Error, Result, shown};

/// The argument of `--dataset`, the folder below `data/`, the name in outputs.
pub const NAME: &str = "binarized-mnist";

/// Training and test pictures; each may be compressed, with `.gz` behind its name.
const FILES: [&str; 2] = ["train-images-idx3-ubyte", "test-images-idx3-ubyte"];

fn file_in(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

/// Whether both files are in the folder, and no labels, which MNIST would have.
pub(super) fn is_in(folder: &Path) -> bool {
    FILES.iter().all(|name| file_in(folder, name).is_some()) && file_in(folder, "train-labels-idx1-ubyte").is_none()
}

/// Reads both splits from the first folder that has them.
///
/// # Errors
/// No folder with both files, and what to do; a damaged file; pictures of different sizes, or with grey levels.
pub(super) fn open(places: &Places) -> Result<Dataset> {
    let Some(folder) = places.folders.iter().find(|folder| is_in(folder)) else {
        let looked: Vec<String> = places.folders.iter().map(shown).collect();
        return Err(Error::Usage(format!(
            "the data set {NAME} lacks {} (or .gz), looked for in {}. It is not downloaded: convert the published \
             .amat files to IDX and give their folder by --data DIR, or draw one of your own: --dataset mnist \
             --binarise static",
            FILES.join(" and "),
            looked.join(" and ")
        )));
    };
    let [train, test] = FILES.map(|name| split(&file_in(folder, name).expect("it is in this folder")));
    let (train, test) = (train?, test?);
    if train.shape() != test.shape() {
        let problem =
            format!("its training pictures are {:?} (C, H, W), its test pictures {:?}", train.shape(), test.shape());
        return Err(Error::file(folder, problem));
    }
    Ok(Dataset { name: NAME.into(), class_names: Vec::new(), vocabulary: None, spectrogram: None, train, test })
}

fn split(path: &Path) -> Result<Table> {
    let content = Idx::read(path, Kind::Images)?;
    let &[_, height, width] = content.sizes.as_slice() else {
        panic!("an IDX file of images has three sizes, not {:?}", content.sizes);
    };
    let table = Table::of_pictures([1, height, width], content.body, None);
    match is_binary(&table) {
        true => Ok(table),
        false => Err(Error::file(
            path,
            format!(
                "has other values than 0 and 255, so it is no file of {NAME}: grey pictures are made black and white \
                 by --binarise"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::idx::tests::{gzip, idx};
    use super::*;

    fn open_in(folder: &Path) -> Result<Dataset> {
        open(&Places::new(NAME, Some(folder), None))
    }

    #[test]
    fn pictures_are_read_without_labels() {
        let folder = tempfile::tempdir().unwrap();
        let [train, test] = FILES.map(|name| folder.path().join(name));
        fs::write(&train, idx(&[2, 1, 3], &[0, 255, 0, 255, 255, 0])).unwrap();
        fs::write(test.with_extension("gz"), gzip(&idx(&[1, 1, 3], &[0, 0, 255]))).unwrap();
        let data = open_in(folder.path()).unwrap();
        assert_eq!((data.name.as_str(), data.train.count, data.test.count), (NAME, 2, 1));
        assert_eq!((data.train.labels(), data.test.pixels()), (None, &[0, 0, 255][..]));
        assert!(is_in(folder.path()));
        // A folder of MNIST is not taken for it.
        fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(&[2], &[1, 2])).unwrap();
        assert!(!is_in(folder.path()));
    }

    #[test]
    fn what_is_not_this_set_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let message = |folder: &Path| open_in(folder).unwrap_err().to_string();
        let missing = message(folder.path());
        assert!(missing.contains("lacks train-images-idx3-ubyte and test") && missing.contains("--binarise static"));
        let write = |name: &str, bytes| fs::write(folder.path().join(name), bytes).unwrap();
        write(FILES[0], idx(&[1, 1, 3], &[0, 7, 255]));
        write(FILES[1], idx(&[1, 1, 3], &[0, 0, 255]));
        assert!(message(folder.path()).contains("other values than 0 and 255"), "{}", message(folder.path()));
        write(FILES[0], idx(&[1, 1, 2], &[0, 255]));
        assert!(message(folder.path()).contains("training pictures are"), "{}", message(folder.path()));
    }
}
