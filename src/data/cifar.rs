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
use super::progress::{Progress, Report};
use super::sets::{Places, Published};
use super::table::Table;
use super::{Dataset, idx, place};
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
    pub(super) fn open(&self, places: &Places, client: &Client, report: &mut Report) -> Result<Dataset> {
        let found = match self.locate(places) {
            Some(found) => found,
            None => Found::Archive(self.download(places, client, report)?),
        };
        let (place, files) = match found {
            Found::Folder(folder) => {
                let files = self.names().map(|name| self.read_file(&folder.join(name), name)).collect::<Result<_>>()?;
                (folder, files)
            }
            Found::Archive(path) => {
                let files = self.read_archive(&path, report)?;
                (path, files)
            }
        };
        let files: Vec<Vec<u8>> = files;
        let (train, test) = files.split_at(self.train.0.len());
        Ok(Dataset {
            name: self.name.to_string(),
            class_names: self.class_names.iter().map(|name| name.to_string()).collect(),
            vocabulary: None,
            spectrogram: None,
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

    fn download(&self, places: &Places, client: &Client, report: &mut Report) -> Result<PathBuf> {
        let folder = &places.download;
        let names: Vec<&str> = self.names().collect();
        let lacks = format!("the data set {} has neither {} nor all of {}", self.name, self.archive, names.join(", "));
        if places.given
            && let Some(refusal) = place::refusal(folder, |name| self.is_own(name))
        {
            return Err(Error::file(folder, format!("{lacks}. {refusal}")));
        }
        let sources = self.sources.join(" or ");
        report(Progress::Notice(&format!("downloading {} to {} from {sources}", self.name, shown(folder))));
        let wanted = [Wanted::as_it_is(self.archive.to_string(), self.published)];
        download::fetch(self.sources, &wanted, folder, client, report).map_err(|reason| {
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
    fn read_archive(&self, path: &Path, report: &mut Report) -> Result<Vec<Vec<u8>>> {
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
            report(Progress::Notice(&format!(
                "note: not the published archive of {}, so results do not compare with others': {}",
                self.name,
                shown(path)
            )));
        }
        Ok(files.into_iter().flatten().collect())
    }

    /// Records to pictures and labels. The `files`, called `names`, are as long as they should be.
    fn split(&self, place: &Path, names: &[&str], files: &[Vec<u8>]) -> Result<Table> {
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
        Ok(Table::of_pictures(SHAPE, pixels, Some((labels, self.classes))))
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
mod tests;
