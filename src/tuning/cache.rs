//! What was measured, kept on disk: one JSON file for each adapter, `tuning/<adapter>.json` in the folder of caches.
//!
//! It holds for one version of this program on one adapter with one driver, by exact shape. Nothing depends on it: what
//! does not fit is ignored as a whole, with a line that says so, and written anew.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::error::Result;
use crate::files::{read_regular, write_atomic};
use crate::kernel::Candidate;
use crate::kernels;

/// Largest file read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;

/// What the measurements are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of this program.
    pub elbo: String,
    /// The adapter's name.
    pub adapter: String,
    /// PCI numbers of the vendor and the device.
    pub pci: [u32; 2],
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// Its name and version.
    pub driver: String,
    /// Whether it runs the forms for adapters that run on a CPU.
    pub software: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(flatten)]
    identity: Identity,
    entries: Vec<Entry>,
}

impl Identity {
    /// Where its file lies: the adapter's name in small letters and digits.
    pub fn path(&self, caches: &Path) -> PathBuf {
        let plain = format!("{} {}", self.adapter, self.backend).to_lowercase();
        let words: Vec<&str> =
            plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        caches.join("tuning").join(format!("{}.json", words.join("-")))
    }
}

/// The entries of a file. None if it is not there.
///
/// # Errors
/// Why it is not to be used, in words.
pub fn read(path: &Path, identity: &Identity) -> std::result::Result<Vec<Entry>, String> {
    let bytes = match fs::metadata(path).map(|_| read_regular(path, LARGEST_FILE)) {
        Ok(read) => read.map_err(|error| error.to_string())?,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let file: File = serde_json::from_slice(&bytes).map_err(|error| format!("it cannot be read: {error}"))?;
    let (it, here) = (&file.identity, identity);
    if it.elbo != here.elbo {
        return Err(format!("it is of version {}, not {}", it.elbo, here.elbo));
    }
    if it.driver != here.driver {
        return Err(format!("it is of the driver {}, not {}", it.driver, here.driver));
    }
    if it != here {
        return Err(format!("it is of another adapter or backend, {} through {}", it.adapter, it.backend));
    }
    match file.entries.iter().find(|entry| entry.resolve(here.software).is_none()) {
        Some(Entry { kernel, candidate, .. }) => Err(format!("{kernel} has no candidate `{candidate}`")),
        None => Ok(file.entries),
    }
}

/// Writes the file whole. Errors: those of the file system.
pub fn write(path: &Path, identity: &Identity, entries: &[Entry]) -> Result<()> {
    let file = File { identity: identity.clone(), entries: entries.to_vec() };
    write_atomic(path, &serde_json::to_vec_pretty(&file).expect("plain data"))
}

impl Entry {
    /// The candidate that it names. None where this program has no such kernel, params or candidate.
    pub fn resolve(&self, software: bool) -> Option<&'static Candidate> {
        let kernel = kernels::ALL.iter().find(|kernel| kernel.name == self.kernel)?;
        if kernel.params.len() != self.params.len() {
            return None;
        }
        let candidates = kernel.candidates_for(software, &self.params);
        candidates.into_iter().find(|candidate| candidate.name == self.candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::Origin;

    fn identity() -> Identity {
        Identity {
            elbo: "0.1.0".into(),
            adapter: "Some GPU (R) 4000".into(),
            pci: [0x10de, 1],
            backend: "Vulkan".into(),
            driver: "driver 1.2".into(),
            software: false,
        }
    }

    fn entry(candidate: &str) -> Entry {
        let params = vec![128, 784, 400, 1, 0];
        Entry { kernel: "matmul.forward".into(), params, candidate: candidate.into(), origin: Origin::Measured }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = identity().path(folder.path());
        assert!(path.ends_with("tuning/some-gpu-r-4000-vulkan.json"), "{}", path.display());
        assert_eq!(read(&path, &identity()), Ok(vec![]), "a cache that is not there is no error");
        let entries = vec![entry("32x32 in 4 deep"), Entry { origin: Origin::Table, ..entry("64x64") }];
        write(&path, &identity(), &entries).unwrap();
        assert_eq!(read(&path, &identity()), Ok(entries));
    }

    #[test]
    fn a_corrupt_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = identity().path(folder.path());
        write(&path, &identity(), &[entry("64x64")]).unwrap();
        let good = fs::read(&path).unwrap();
        let halves = [&good[..good.len() / 2], b"", b"{}", b"\xff\xfe", b"[1,2", b"null"];
        for bytes in halves {
            fs::write(&path, bytes).unwrap();
            let problem = read(&path, &identity()).unwrap_err();
            assert!(problem.contains("it cannot be read") && !problem.contains('\n'), "{problem}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(read(&path, &identity()).is_err());
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = identity().path(folder.path());
        write(&path, &identity(), &[entry("64x64")]).unwrap();
        let refused = |identity: Identity, why: &str| {
            let problem = read(&path, &identity).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        };
        refused(Identity { elbo: "0.2.0".into(), ..identity() }, "version 0.1.0, not 0.2.0");
        refused(Identity { driver: "driver 1.3".into(), ..identity() }, "driver 1.2, not driver 1.3");
        refused(Identity { pci: [0x10de, 2], ..identity() }, "another adapter");
        refused(Identity { backend: "Dx12".into(), ..identity() }, "another adapter or backend");
        refused(Identity { software: true, ..identity() }, "another adapter");
    }

    #[test]
    fn a_file_that_names_what_is_not_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = identity().path(folder.path());
        let wrong = [
            entry("65x64"),
            Entry { kernel: "matmul.sideways".into(), ..entry("64x64") },
            Entry { kernel: "fill.forward".into(), ..entry("64x64") },
            Entry { params: vec![1, 2, 3], ..entry("64x64") },
        ];
        for wrong in wrong {
            write(&path, &identity(), &[entry("64x64"), wrong.clone()]).unwrap();
            let problem = read(&path, &identity()).unwrap_err();
            assert!(problem.contains(&wrong.kernel) && problem.contains("no candidate"), "{problem}");
        }
    }
}
