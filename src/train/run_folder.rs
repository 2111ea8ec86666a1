//! The folder of a run: where each file lies, and `run.toml`.
//!
//! ```text
//! run.toml             what ran: every setting, device, versions
//! metrics.csv          one row an epoch
//! model.safetensors    the parameters after the last epoch
//! best.safetensors     those of the best epoch
//! state.safetensors    what --resume needs: parameters, optimiser's moments, progress
//! curves.png           samples/epoch_001.png   reconstructions/epoch_001.png
//! samples.gif          the samples, epoch after epoch
//! picture_metrics.csv  metrics of pictures, a row for each epoch that was measured
//! report.html          all of it, to look at in a browser
//! ```
//!
//! Nothing here deletes a file that someone may want: a folder in use is refused, not emptied.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::data::{Fingerprint, Selection};
use crate::error::{Error, Result};
use crate::files::{is_leftover_of, write_atomic};
use crate::train::given::{describe, read_text};
use crate::train::hold::Hold;
use crate::train::settings::Settings;
use crate::tuning::Entry;

/// The path of a run's folder; the methods name the files in it, whether they are there or not. One that was created or
/// resumed belongs to this process until its last clone is dropped: no other process can train in it.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
    /// None of a folder that is only looked at.
    _hold: Option<Arc<Hold>>,
}

impl RunFolder {
    /// Takes a folder for a new run: made if missing, and removed again if nothing was put into it. One that holds a
    /// run or anything else, or belongs to another process, is an [`Error::Usage`].
    pub fn create(root: impl Into<PathBuf>) -> Result<RunFolder> {
        let root = root.into();
        if root.exists() && !root.is_dir() {
            return Err(Error::Usage(format!(
                "{} is a file, so no run can go there: choose another --out",
                root.display()
            )));
        }
        let Some(hold) = Hold::take(&root)? else {
            return Err(Error::Usage(format!(
                "another process is training in {}: choose another --out",
                root.display()
            )));
        };
        let folder = RunFolder { root, _hold: Some(Arc::new(hold)) };
        let root = &folder.root;
        if folder.run_toml().exists() {
            let root = root.display();
            return Err(Error::Usage(format!(
                "{root} already holds a run: go on with it by --resume {root}, or choose another --out"
            )));
        }
        for entry in fs::read_dir(root).map_err(Error::io("list", root))? {
            let entry = entry.map_err(Error::io("list", root))?;
            // A run killed in its first moment leaves this and nothing else.
            if !is_leftover_of(&entry.file_name().to_string_lossy(), "run.toml") {
                return Err(Error::Usage(format!(
                    "{} holds other files ({}), so a run there could mix with them: choose another --out",
                    root.display(),
                    entry.file_name().display()
                )));
            }
        }
        folder.remove_leftovers();
        Ok(folder)
    }

    /// [`create`](RunFolder::create) of the wanted folder, or with -2, -3, ... of the first that is free: runs that
    /// start at the same moment get one each. Errors: a folder that cannot be made.
    pub fn create_free(wanted: &Path) -> Result<RunFolder> {
        let name = wanted.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut root = wanted.to_path_buf();
        for i in 2.. {
            match RunFolder::create(&root) {
                Err(Error::Usage(_)) => root = wanted.with_file_name(format!("{name}-{i}")),
                taken => return taken,
            }
        }
        unreachable!("there are more numbers than folders")
    }

    /// The folder of a run that exists, to look at. One without `run.toml` is an [`Error::Usage`].
    pub fn open(root: impl Into<PathBuf>) -> Result<RunFolder> {
        let folder = RunFolder { root: root.into(), _hold: None };
        if folder.run_toml().is_file() {
            return Ok(folder);
        }
        let root = folder.root.display();
        Err(Error::Usage(format!("{root} holds no run: there is no {}", folder.run_toml().display())))
    }

    /// [`open`](RunFolder::open) to go on with the run. Also an [`Error::Usage`]: a run that another process is
    /// training.
    pub fn resume(root: impl Into<PathBuf>) -> Result<RunFolder> {
        let RunFolder { root, .. } = RunFolder::open(root)?;
        let Some(hold) = Hold::of(&root)? else {
            let problem = "another process is training this run: wait until it ends, or stop it";
            return Err(Error::Usage(format!("{}: {problem}", root.display())));
        };
        let folder = RunFolder { root, _hold: Some(Arc::new(hold)) };
        folder.remove_leftovers();
        Ok(folder)
    }

    /// Removes what a killed run left of files that it was writing. Best effort: they are in nobody's way.
    fn remove_leftovers(&self) {
        let own = [
            self.run_toml(),
            self.metrics(),
            self.picture_metrics(),
            self.model(),
            self.best(),
            self.state(),
            self.curves(),
            self.report(),
        ];
        let own: Vec<_> = own.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        let is_own = |found: &str| own.iter().any(|name| is_leftover_of(found, name));
        let is_picture = |found: &str| found.starts_with(".epoch_") && found.ends_with(".tmp");
        let root = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let pictures = ["samples", "reconstructions"].map(|kind| fs::read_dir(self.root.join(kind)));
        let pictures = pictures.into_iter().flatten().flatten().flatten();
        let leftovers = root.filter(|entry| is_own(&entry.file_name().to_string_lossy()));
        for entry in leftovers.chain(pictures.filter(|entry| is_picture(&entry.file_name().to_string_lossy()))) {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `run.toml`, a [`RunRecord`]. A folder with this file is a run's.
    pub fn run_toml(&self) -> PathBuf {
        self.root.join("run.toml")
    }

    /// `metrics.csv`, a [`MetricsLog`](crate::train::metrics::MetricsLog).
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.csv")
    }

    /// The metrics of pictures, a row for each epoch that was measured.
    pub fn picture_metrics(&self) -> PathBuf {
        self.root.join("picture_metrics.csv")
    }

    /// The parameters after the last epoch.
    pub fn model(&self) -> PathBuf {
        self.root.join("model.safetensors")
    }

    /// The parameters of the epoch whose monitored loss is lowest.
    pub fn best(&self) -> PathBuf {
        self.root.join("best.safetensors")
    }

    /// What a resumed run starts from. Missing until the first epoch has ended.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.safetensors")
    }

    /// The losses over the epochs, a PNG file.
    pub fn curves(&self) -> PathBuf {
        self.root.join("curves.png")
    }

    /// Pictures decoded from the run's latent points after an epoch (from 1), a PNG file.
    pub fn samples(&self, epoch: usize) -> PathBuf {
        self.root.join("samples").join(format!("epoch_{epoch:03}.png"))
    }

    /// Test pictures above their reconstructions after an epoch (from 1), a PNG file.
    pub fn reconstructions(&self, epoch: usize) -> PathBuf {
        self.root.join("reconstructions").join(format!("epoch_{epoch:03}.png"))
    }

    /// The pictures of a kind, `samples` or `reconstructions`, that are there, in the order of their epochs; none where
    /// the folder of the kind is missing. Errors: a folder that cannot be listed.
    pub fn pictures(&self, kind: &str) -> Result<Vec<PathBuf>> {
        let folder = self.root.join(kind);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut pictures = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let epoch = name.strip_prefix("epoch_").and_then(|name| name.strip_suffix(".png"));
            if let Some(epoch) = epoch.and_then(|epoch| epoch.parse::<usize>().ok()) {
                pictures.push((epoch, path));
            }
        }
        // By number: as text, epoch_1000 stands before epoch_999.
        pictures.sort();
        Ok(pictures.into_iter().map(|(_, path)| path).collect())
    }

    /// The run as one HTML file.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// The animation of such pictures, a GIF file.
    pub fn animation(&self, kind: &str) -> PathBuf {
        self.root.join(format!("{kind}.gif"))
    }
}

/// `run.toml`: what ran, so that it can be understood, repeated and resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Start of the run, UTC, as in 2026-01-31T09:30:00Z.
    pub started: String,
    /// The data set that was really used, where `settings.dataset` may say `auto`.
    pub dataset: String,
    /// The adapter's name; of the CPU device its description.
    pub device: String,
    /// Name and version of its driver; `none` on the CPU device.
    pub driver: String,
    /// `Vulkan`, `Metal`, `Dx12`, ..., or `cpu`.
    pub backend: String,
    /// Version of this program.
    pub elbo: String,
    /// Version of the GPU library.
    pub wgpu: String,
    /// Revision of the source that the program was built from, with `-dirty` if it had changes; absent where that was
    /// not known.
    pub git: Option<String>,
    /// How one's own pictures were chosen for training and testing; absent from records of when there was one way.
    #[serde(default)]
    pub selection: Selection,
    /// The pictures trained and tested on; absent from older records, whose data are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Fingerprint>,
    /// Every setting of the run, the defaults among them.
    pub settings: Settings,
    /// Which candidates were chosen, so that a resumed run computes as it did. Empty where the shipped table's were
    /// taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tuning: Vec<Entry>,
}

impl RunRecord {
    /// Replaces the folder's `run.toml`. Errors: those of [`write_atomic`].
    pub fn write(&self, folder: &RunFolder) -> Result<()> {
        let text = toml::to_string(self).map_err(|e| Error::file(folder.run_toml(), e.to_string()))?;
        write_atomic(&folder.run_toml(), text.as_bytes())
    }

    /// Reads the record of a run. One that was edited to something invalid is an [`Error::File`].
    pub fn read(folder: &RunFolder) -> Result<RunRecord> {
        RunRecord::parse(&folder.run_toml(), &read_text(&folder.run_toml())?)
    }

    /// The record in a file that may be one: `None` where it has no table of settings, as a settings file has none. One
    /// that was edited to something invalid is an [`Error::File`].
    pub fn in_file(path: &Path) -> Result<Option<RunRecord>> {
        let text = read_text(path)?;
        let is_record =
            text.parse::<toml::Table>().is_ok_and(|table| table.get("settings").is_some_and(|s| s.is_table()));
        is_record.then(|| RunRecord::parse(path, &text)).transpose()
    }

    fn parse(path: &Path, text: &str) -> Result<RunRecord> {
        let record: RunRecord = toml::from_str(text).map_err(|e| Error::file(path, describe(&e, text)))?;
        record.settings.validate().map_err(|e| Error::file(path, e.to_string()))?;
        Ok(record)
    }
}

/// The revision of the source that this program was built from, `-dirty` after it where the source was not that of the
/// commit; none where it was built without git. Found when it is built, by `build.rs`.
pub fn git_revision() -> Option<String> {
    Some(env!("ELBO_REVISION")).filter(|revision| !revision.is_empty()).map(str::to_string)
}

/// The present time in UTC, as in 2026-01-31T09:30:00Z.
pub fn now_utc() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}

/// ISO 8601 form of seconds since 1970-01-01T00:00:00Z, by the Gregorian calendar.
fn utc(seconds: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let (mut day, time) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while day >= 365 + leap(year) as u64 {
        day -= 365 + leap(year) as u64;
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + leap(year) as u64, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z", day + 1, time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests;
