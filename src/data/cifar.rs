//! CIFAR-10 and CIFAR-100 in their binary form (A. Krizhevsky, "Learning multiple layers of features from tiny
//! images", 2009; the form is described at <https://www.cs.toronto.edu/~kriz/cifar.html>).
//!
//! A file is a row of records: one label byte (CIFAR-100: the coarse label, then the fine one, which is used), then
//! 3072 bytes, the red, green and blue planes of 32 x 32. The files lie in a folder, or in the published archive.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::download::{self, Client, Wanted};
use super::sets::{Places, Published};
use super::{Dataset, Split, idx, place};
use crate::error::{Error, Result, shown};
use crate::files::{open_regular, read_regular};

/// C, H, W.
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
/// What an archive may hold beside the wanted files: headers, class names, a page of text.
const SPARE_BYTES: u64 = 1 << 24;

/// One of the two sets.
#[derive(Debug, Clone, Copy)]
pub struct Cifar {
    /// The argument of `--dataset`, the folder below `data/`, the name in outputs.
    pub name: &'static str,
    /// The files, and how many records each has.
    train: (&'static [&'static str], usize),
    test: (&'static [&'static str], usize),
    /// The last of them is the label.
    label_bytes: usize,
    classes: usize,
    class_names: &'static [&'static str],
    /// The published archive, and the folder in it.
    archive: &'static str,
    subfolder: &'static str,
    published: Published,
    sources: &'static [&'static str],
}

/// 60 000 colour pictures of 10 classes, 50 000 of them for training. The archive has 170 MB.
pub const CIFAR10: Cifar = Cifar {
    name: "cifar10",
    train: (
        &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        10_000,
    ),
    test: (&["test_batch.bin"], 10_000),
    label_bytes: 1,
    classes: 10,
    class_names: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    archive: "cifar-10-binary.tar.gz",
    subfolder: "cifar-10-batches-bin",
    published: Published {
        bytes: 170_052_171,
        sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    },
    sources: &["https://www.cs.toronto.edu/~kriz/"],
};

/// 60 000 colour pictures of 100 classes (the fine ones, without their names), 50 000 of them for training. The archive
/// has 169 MB.
pub const CIFAR100: Cifar = Cifar {
    name: "cifar100",
    train: (&["train.bin"], 50_000),
    test: (&["test.bin"], 10_000),
    label_bytes: 2,
    classes: 100,
    class_names: &[],
    archive: "cifar-100-binary.tar.gz",
    subfolder: "cifar-100-binary",
    published: Published {
        bytes: 168_513_733,
        sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    },
    ..CIFAR10
};

/// Where a set's files are.
enum Found {
    Folder(PathBuf),
    Archive(PathBuf),
}

impl Cifar {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.train.0.iter().chain(self.test.0).copied()
    }

    /// Length of the file `name` in bytes.
    fn bytes(&self, name: &str) -> usize {
        let records = if self.test.0.contains(&name) { self.test.1 } else { self.train.1 };
        records * (self.label_bytes + PIXELS)
    }

    /// A folder with all files comes before an archive.
    fn locate(&self, places: &Places) -> Option<Found> {
        let folders = places.folders.iter().flat_map(|folder| [folder.clone(), folder.join(self.subfolder)]);
        let mut whole = folders.filter(|folder| self.names().all(|name| folder.join(name).is_file()));
        let mut archives = places.folders.iter().map(|folder| folder.join(self.archive)).filter(|path| path.is_file());
        whole.next().map(Found::Folder).or_else(|| archives.next().map(Found::Archive))
    }

    /// Reads the set, and downloads its archive first where neither that nor all of its files are there.
    ///
    /// # Errors
    /// Files of a wrong length or with a wrong label, by name; a failed download, and what else the user can do.
    pub(super) fn open(&self, places: &Places, client: &Client, notices: &mut dyn FnMut(&str)) -> Result<Dataset> {
        let found = match self.locate(places) {
            Some(found) => found,
            None => Found::Archive(self.download(places, client, notices)?),
        };
        let (place, files) = match found {
            Found::Folder(folder) => {
                let files = self.names().map(|name| self.read_file(&folder.join(name), name)).collect::<Result<_>>()?;
                (folder, files)
            }
            Found::Archive(path) => {
                let files = self.read_archive(&path, notices)?;
                (path, files)
            }
        };
        let files: Vec<Vec<u8>> = files;
        let (train, test) = files.split_at(self.train.0.len());
        Ok(Dataset {
            name: self.name.to_string(),
            classes: self.classes,
            class_names: self.class_names.iter().map(|name| name.to_string()).collect(),
            train: self.split(&place, self.train.0, train)?,
            test: self.split(&place, self.test.0, test)?,
        })
    }

    /// Whether any file of the set is in `folder`, and where it lies in that.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        let names = || self.names().chain([self.archive]);
        [folder.to_path_buf(), folder.join(self.name), folder.join(self.subfolder)]
            .iter()
            .any(|folder| names().any(|name| folder.join(name).is_file()))
    }

    fn is_own(&self, name: &str) -> bool {
        name == self.archive || name == self.subfolder || self.names().any(|own| own == name)
    }

    fn download(&self, places: &Places, client: &Client, notices: &mut dyn FnMut(&str)) -> Result<PathBuf> {
        let folder = &places.download;
        let names: Vec<&str> = self.names().collect();
        let lacks = format!("the data set {} has neither {} nor all of {}", self.name, self.archive, names.join(", "));
        if places.given
            && let Some(refusal) = place::refusal(folder, |name| self.is_own(name))
        {
            return Err(Error::file(folder, format!("{lacks}. {refusal}")));
        }
        let sources = self.sources.join(" or ");
        notices(&format!("downloading {} to {} from {sources}", self.name, shown(folder)));
        let wanted = [Wanted::as_it_is(self.archive.to_string(), self.published)];
        download::fetch(self.sources, &wanted, folder, client).map_err(|reason| {
            Error::Network(format!(
                "{}: {lacks}, and the download failed:\n{reason}\n\
                 Give a folder that has them by --data DIR, or use the built-in set: --dataset digits",
                shown(folder)
            ))
        })?;
        Ok(folder.join(self.archive))
    }

    fn read_file(&self, path: &Path, name: &str) -> Result<Vec<u8>> {
        let (_, found) = open_regular(path)?;
        self.check_length(path, name, found)?;
        let content = read_regular(path, found)?;
        self.check_length(path, name, content.len() as u64)?;
        Ok(content)
    }

    fn check_length(&self, path: &Path, name: &str, found: u64) -> Result<()> {
        let expected = self.bytes(name);
        if found == expected as u64 {
            return Ok(());
        }
        let record = self.label_bytes + PIXELS;
        let records = expected / record;
        Err(Error::file(
            path,
            format!("has {found} bytes, but {name} of {} has {expected}: {records} records of {record}", self.name),
        ))
    }

    /// The wanted files of the archive, whatever folder they are in. No more than their known sizes is held in memory.
    fn read_archive(&self, path: &Path, notices: &mut dyn FnMut(&str)) -> Result<Vec<Vec<u8>>> {
        let damaged = |error: io::Error| Error::file(path, format!("the archive is damaged: {error}"));
        let mut hash = Sha256::new();
        let file = Hashed { file: open_regular(path)?.0, hash: &mut hash };
        let content = idx::decompressed(BufReader::new(file)).map_err(Error::io("read", path))?;
        let names: Vec<&str> = self.names().collect();
        let limit = names.iter().map(|name| self.bytes(name) as u64).sum::<u64>() + SPARE_BYTES;
        let mut files: Vec<Option<Vec<u8>>> = vec![None; names.len()];
        let mut archive = tar::Archive::new(content.take(limit));
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let inside = entry.path().map_err(damaged)?.into_owned();
            let Some(at) = names.iter().position(|name| inside.file_name().is_some_and(|file| file == *name)) else {
                continue;
            };
            self.check_length(&path.join(&inside), names[at], entry.size())?;
            let mut bytes = Vec::with_capacity(self.bytes(names[at]));
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            self.check_length(&path.join(&inside), names[at], bytes.len() as u64)?;
            files[at] = Some(bytes);
        }
        // To the end, so that gzip's own checksum is looked at and the whole file is hashed.
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
        let full = rest.limit() == 0;
        drop(rest);
        let missing: Vec<&str> = names.iter().zip(&files).filter(|(_, file)| file.is_none()).map(|(n, _)| *n).collect();
        if full || !missing.is_empty() {
            let what =
                if missing.is_empty() { "files too large".to_string() } else { format!("no {}", missing.join(", ")) };
            return Err(Error::file(
                path,
                format!("expected the archive {} of {}, found {what}", self.archive, self.name),
            ));
        }
        if idx::hexadecimal(hash) != self.published.sha256 {
            notices(&format!(
                "note: not the published archive of {}, so results do not compare with others': {}",
                self.name,
                shown(path)
            ));
        }
        Ok(files.into_iter().flatten().collect())
    }

    /// Records to pictures and labels. The `files`, called `names`, are as long as they should be.
    fn split(&self, place: &Path, names: &[&str], files: &[Vec<u8>]) -> Result<Split> {
        let record = self.label_bytes + PIXELS;
        let count = files.iter().map(|file| file.len() / record).sum();
        let mut pixels = Vec::with_capacity(count * PIXELS);
        let mut labels = Vec::with_capacity(count);
        for (name, file) in names.iter().zip(files) {
            for (at, record) in file.chunks_exact(record).enumerate() {
                let label = record[self.label_bytes - 1];
                if label as usize >= self.classes {
                    return Err(Error::file(
                        place.join(name),
                        format!(
                            "label {label} of record {at}: expected labels below {} in {}",
                            self.classes, self.name
                        ),
                    ));
                }
                labels.push(label);
                pixels.extend_from_slice(&record[self.label_bytes..]);
            }
        }
        Ok(Split { pixels, count, shape: SHAPE, labels: Some(labels) })
    }
}

/// A file, and the hash of what was read of it.
struct Hashed<'a> {
    file: File,
    hash: &'a mut Sha256,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::download::tests::{Reply, serve};
    use super::super::idx::tests::gzip;
    use super::super::sets::tests::offline;
    use super::*;

    /// The two sets with 2 records a training file and 1 a test file, from port 9 of the loopback address, which
    /// refuses connections.
    fn small(set: Cifar) -> Cifar {
        let train = (set.train.0, 2);
        Cifar { train, test: (set.test.0, 1), sources: &["http://127.0.0.1:9/"], ..set }
    }

    /// Records whose label bytes are 7, 3 or only 3, and whose pixels start with `first`.
    fn file(set: &Cifar, name: &str, first: u8) -> Vec<u8> {
        let record = |i: usize| {
            let pixels = (0..PIXELS).map(move |p| if p == 0 { first + i as u8 } else { (p / 1024) as u8 });
            [7, 3][2 - set.label_bytes..].iter().copied().chain(pixels)
        };
        (0..set.bytes(name) / (set.label_bytes + PIXELS)).flat_map(record).collect()
    }

    fn write_all(set: &Cifar, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        set.names().enumerate().for_each(|(i, n)| fs::write(folder.join(n), file(set, n, 10 * i as u8)).unwrap());
    }

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content.as_slice()).unwrap();
        }
        gzip(&builder.into_inner().unwrap())
    }

    fn whole_archive(set: &Cifar) -> Vec<u8> {
        let readme = ("cifar/readme.html".to_string(), b"text".to_vec());
        let files = set.names().enumerate().map(|(i, n)| (format!("cifar/{n}"), file(set, n, 10 * i as u8)));
        archive(&std::iter::once(readme).chain(files).collect::<Vec<_>>())
    }

    fn open(set: &Cifar, folder: &Path, notices: &mut dyn FnMut(&str)) -> Result<Dataset> {
        set.open(&Places::new(set.name, Some(folder), None), &offline(), notices)
    }

    fn silent(set: &Cifar, folder: &Path) -> Result<Dataset> {
        open(set, folder, &mut |notice| panic!("{notice}"))
    }

    #[track_caller]
    fn refused(result: Result<Dataset>, words: &[&str]) {
        let message = result.unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }

    #[test]
    fn files_are_found_in_the_folder_and_both_subfolders() {
        for set in [small(CIFAR10), small(CIFAR100)] {
            for below in ["", set.name, set.subfolder, &format!("{}/{}", set.name, set.subfolder)] {
                let folder = tempfile::tempdir().unwrap();
                write_all(&set, &folder.path().join(below));
                let data = silent(&set, folder.path()).unwrap();
                let files = set.train.0.len();
                assert_eq!((data.name.as_str(), data.train.count, data.test.count), (set.name, 2 * files, 1));
                assert_eq!((data.train.shape, data.train.labels), ([3, 32, 32], Some(vec![3; 2 * files])));
                assert_eq!(data.train.pixels.len(), 2 * files * PIXELS);
                // Planes stay planes, records and files in order.
                let second = &data.train.pixels[PIXELS..2 * PIXELS];
                assert_eq!([second[0], second[1], second[1024], second[3071]], [1, 0, 1, 2]);
                assert_eq!(data.test.pixels[0], 10 * files as u8);
            }
        }
    }

    #[test]
    fn the_published_numbers_are_those_of_the_files() {
        assert_eq!((CIFAR10.bytes("data_batch_3.bin"), CIFAR10.bytes("test_batch.bin")), (30_730_000, 30_730_000));
        assert_eq!((CIFAR100.bytes("train.bin"), CIFAR100.bytes("test.bin")), (153_700_000, 30_740_000));
    }

    #[test]
    fn the_archive_is_read_as_it_is_and_noted_if_unknown() {
        for set in [small(CIFAR10), small(CIFAR100)] {
            let folder = tempfile::tempdir().unwrap();
            write_all(&set, &folder.path().join("files"));
            let plain = silent(&set, &folder.path().join("files")).unwrap();
            let path = folder.path().join(set.archive);
            fs::write(&path, whole_archive(&set)).unwrap();
            let mut notice = String::new();
            assert_eq!(open(&set, folder.path(), &mut |text| notice += text).unwrap(), plain);
            assert!(notice.starts_with("note: not the published archive of cifar"), "{notice}");
            let sha256 = idx::hexadecimal(Sha256::new().chain_update(fs::read(&path).unwrap()));
            let set = Cifar { published: Published { bytes: 0, sha256: sha256.leak() }, ..set };
            assert_eq!(silent(&set, folder.path()).unwrap(), plain);
        }
    }

    #[test]
    fn wrong_lengths_and_labels_are_refused_by_name() {
        let set = small(CIFAR10);
        let folder = tempfile::tempdir().unwrap();
        write_all(&set, folder.path());
        let good = file(&set, "data_batch_4.bin", 0);
        let path = folder.path().join("data_batch_4.bin");
        fs::write(&path, &good[1..]).unwrap();
        refused(silent(&set, folder.path()), &["data_batch_4.bin: has 6145 bytes", "has 6146: 2 records of 3073"]);
        let mut wrong = good;
        wrong[3073] = 10;
        fs::write(&path, &wrong).unwrap();
        refused(silent(&set, folder.path()), &["data_batch_4.bin: label 10 of record 1", "below 10 in cifar10"]);
        // The fine label counts, which comes second.
        let set = small(CIFAR100);
        write_all(&set, folder.path());
        let mut wrong = file(&set, "test.bin", 0);
        wrong[..2].copy_from_slice(&[99, 100]);
        fs::write(folder.path().join("test.bin"), &wrong).unwrap();
        refused(silent(&set, folder.path()), &["test.bin: label 100 of record 0", "below 100"]);
    }

    #[test]
    fn a_wrong_archive_is_refused() {
        let set = small(CIFAR100);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(set.archive);
        let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
        let whole = whole_archive(&set);
        write(&whole[..whole.len() / 2]);
        refused(silent(&set, folder.path()), &["cifar-100-binary.tar.gz", "damaged"]);
        let mut wrong_sum = whole.clone();
        wrong_sum[whole.len() - 8] ^= 1;
        write(&wrong_sum);
        refused(silent(&set, folder.path()), &["damaged"]);
        write(&archive(&[("x/train.bin".into(), file(&set, "train.bin", 0))]));
        refused(silent(&set, folder.path()), &["expected the archive cifar-100-binary.tar.gz", "found no test.bin"]);
        write(&archive(&[("x/train.bin".into(), vec![0; 100])]));
        refused(silent(&set, folder.path()), &["tar.gz/x/train.bin: has 100 bytes", "train.bin of cifar100 has 6148"]);
        // What lies beside the files is read only so far.
        let files = ["train.bin", "test.bin"].map(|n| (n.to_string(), file(&set, n, 0)));
        let large = ("large".to_string(), vec![0; 2 * SPARE_BYTES as usize]);
        write(&archive(&[files[0].clone(), files[1].clone(), large]));
        refused(silent(&set, folder.path()), &["cifar-100-binary.tar.gz"]);
    }

    #[test]
    fn the_archive_is_downloaded_and_checked() {
        let set = small(CIFAR10);
        let content = whole_archive(&set);
        let sha256 = &*idx::hexadecimal(Sha256::new().chain_update(&content)).leak();
        let published = Published { bytes: content.len() as u64, sha256 };
        let with = |content: Vec<u8>| {
            let address = serve(move |name| match name {
                "cifar-10-binary.tar.gz" => Reply::Whole(content.clone()),
                _ => Reply::Missing,
            });
            Cifar { published, sources: vec![&*address.leak()].leak(), ..set }
        };
        let folder = tempfile::tempdir().unwrap();
        let mut corrupt = content.clone();
        corrupt[20] ^= 1;
        let mut long = content.clone();
        long.push(0);
        // Equal after decompression, but not the published file.
        let mut other = content.clone();
        other[4] ^= 1;
        for (file, word) in [(corrupt, "SHA-256"), (long, "longer than"), (other, "of the file, found")] {
            refused(open(&with(file), folder.path(), &mut |_| ()), &["cifar10", word, "--data DIR"]);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        let mut notice = String::new();
        let data = open(&with(content), folder.path(), &mut |text| notice += text).unwrap();
        assert!(notice.starts_with("downloading cifar10 to") && !notice.contains("note:"), "{notice}");
        assert_eq!((data.train.count, data.class_names[9].as_str()), (10, "truck"));
        // The second time nothing is fetched.
        assert_eq!(silent(&Cifar { published, ..set }, folder.path()).unwrap(), data);
    }

    #[test]
    fn without_files_and_network_the_user_is_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let set = small(CIFAR100);
        fs::write(folder.path().join("test.bin"), file(&set, "test.bin", 0)).unwrap();
        let words = ["neither cifar-100-binary.tar.gz nor all of train.bin, test.bin", "127.0.0.1:9", "--data DIR"];
        refused(open(&set, folder.path(), &mut |_| ()), &words);
    }
}
