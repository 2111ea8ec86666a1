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
use crate::train::early_stopping::EarlyStopping;
use crate::train::hold::Hold;
use crate::train::overrides::{describe, read_text};
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
    /// Takes a folder for a new run: made if missing, and removed again if nothing was put into it. One that holds a run or
    /// anything else, or belongs to another process, is an [`Error::Usage`].
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

    /// [`create`](RunFolder::create) of the wanted folder, or with -2, -3, ... of the first that is free: runs that start at
    /// the same moment get one each. Errors: a folder that cannot be made.
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

    /// [`open`](RunFolder::open) to go on with the run. Also an [`Error::Usage`]: a run that another process is training.
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
        let own = [self.run_toml(), self.metrics(), self.model(), self.best(), self.state(), self.curves()];
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

    /// The pictures of a kind, `samples` or `reconstructions`, that are there, in the order of their epochs; none where the
    /// folder of the kind is missing. Errors: a folder that cannot be listed.
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
    /// Revision of the source that the program was built from, with `-dirty` if it had changes; absent where that was not
    /// known.
    pub git: Option<String>,
    /// How one's own pictures were chosen for training and testing; absent from records of when there was one way.
    #[serde(default)]
    pub selection: Selection,
    /// The pictures trained and tested on; absent from older records, whose data are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Fingerprint>,
    /// Every setting of the run, the defaults among them.
    pub settings: Settings,
    /// Which candidates were chosen, so that a resumed run computes as it did. Empty where the shipped table's were taken.
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

/// How far a run has come. It travels as text inside `state.safetensors`, so that one rename publishes both the
/// tensors and the place they belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs completed.
    pub epoch: usize,
    /// Batches completed of the epoch under way: 0 unless the run was interrupted inside an epoch.
    pub batch: usize,
    /// What has been seen of the monitored loss.
    pub early_stopping: EarlyStopping,
}

impl Progress {
    /// TOML, which [`Progress::from_text`] reads back to an equal value.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("counts and floats always have a TOML form")
    }

    /// Reads what [`Progress::to_text`] wrote; `path` is the file that it came from, for the error.
    pub fn from_text(text: &str, path: &Path) -> Result<Progress> {
        toml::from_str(text).map_err(|e| Error::file(path, format!("its progress cannot be read: {}", e.message())))
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
mod tests {
    use super::*;
    use crate::train::presets;
    use crate::tuning::Origin;

    fn settings() -> Settings {
        presets::find("mnist-2d").unwrap().settings()
    }

    fn record() -> RunRecord {
        RunRecord {
            started: "2026-01-31T09:30:00Z".into(),
            dataset: "digits".into(),
            device: "CPU, 2 threads".into(),
            driver: "none".into(),
            backend: "cpu".into(),
            elbo: "0.1.0".into(),
            wgpu: "30.0.1".into(),
            git: None,
            selection: Selection::ByName,
            pictures: None,
            settings: settings(),
            tuning: Vec::new(),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn usage(result: Result<RunFolder>) -> String {
        match result {
            Err(Error::Usage(message)) => message,
            other => panic!("expected a usage error, got {other:?}"),
        }
    }

    #[test]
    fn a_new_and_an_empty_folder_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("runs/deep");
        let first = RunFolder::create(&root).unwrap();
        assert!(root.is_dir());
        assert!(usage(RunFolder::create(&root)).contains("another process is training in"));
        assert!(usage(RunFolder::create(&root)).contains("--out"));
        drop(first);
        assert!(!root.exists(), "nothing was put into it");
        fs::create_dir_all(&root).unwrap();
        RunFolder::create(&root).unwrap();
        for leftover in [".run.toml.tmp", ".run.toml.Ab12Cd.tmp"] {
            fs::write(root.join(leftover), "").unwrap();
            RunFolder::create(&root).unwrap();
            assert_eq!(names(&root), [""; 0]);
        }
    }

    #[test]
    fn the_next_free_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("runs/a");
        let taken: Vec<_> = (0..3).map(|_| RunFolder::create_free(&wanted).unwrap()).collect();
        record().write(&taken[1]).unwrap();
        assert_eq!(names(&folder.path().join("runs")), ["a", "a-2", "a-3"]);
        drop(taken);
        assert_eq!(names(&folder.path().join("runs")), ["a-2"]);
        let again: Vec<_> = (0..2).map(|_| RunFolder::create_free(&wanted).unwrap()).collect();
        assert_eq!(
            again.iter().map(|taken| taken.root().to_path_buf()).collect::<Vec<_>>(),
            [wanted.clone(), folder.path().join("runs/a-3")]
        );
    }

    #[test]
    fn one_process_goes_on_with_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let first = RunFolder::create(&root).unwrap();
        record().write(&first).unwrap();
        let message = usage(RunFolder::resume(&root));
        assert!(message.contains("run: another process is training this run"), "{message}");
        assert!(RunFolder::open(&root).is_ok(), "looking at it is free");
        let clone = first.clone();
        drop(first);
        assert!(RunFolder::resume(&root).is_err());
        drop(clone);
        fs::create_dir(root.join("samples")).unwrap();
        for leftover in [".state.safetensors.Ab12Cd.tmp", ".model.safetensors.tmp", "samples/.epoch_001.png.Ab12Cd.tmp"]
        {
            fs::write(root.join(leftover), "").unwrap();
        }
        fs::write(root.join(".notes.tmp"), "").unwrap();
        RunFolder::resume(&root).unwrap();
        assert_eq!(
            (names(&root).join(" "), names(&root.join("samples")).len()),
            (".notes.tmp run.toml samples".into(), 0)
        );
    }

    #[test]
    fn a_folder_in_use_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        record().write(&RunFolder::create(&root).unwrap()).unwrap();
        let message = usage(RunFolder::create(&root));
        assert!(message.contains(&format!("--resume {}", root.display())) && message.contains("--out"), "{message}");

        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("thesis.tex"), "years").unwrap();
        let message = usage(RunFolder::create(&other));
        assert!(message.contains("thesis.tex") && message.contains("--out"), "{message}");
        assert_eq!(fs::read(other.join("thesis.tex")).unwrap(), b"years");

        let message = usage(RunFolder::create(other.join("thesis.tex")));
        assert!(message.contains("is a file"), "{message}");
        assert_eq!(names(folder.path()), ["other", "run"]);
    }

    #[test]
    fn a_folder_under_a_file_cannot_be_made() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(RunFolder::create(folder.path().join("file/run")), Err(Error::Io { .. })));
    }

    #[test]
    fn only_a_run_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(usage(RunFolder::open(folder.path())).contains("holds no run"));
        assert!(usage(RunFolder::open(folder.path().join("missing"))).contains("holds no run"));
        record().write(&RunFolder::create(folder.path()).unwrap()).unwrap();
        assert_eq!(RunFolder::open(folder.path()).unwrap().root(), folder.path());
    }

    #[test]
    fn members_have_their_names() {
        let folder = RunFolder { root: "r".into(), _hold: None };
        assert_eq!(folder.run_toml(), Path::new("r/run.toml"));
        assert_eq!(folder.metrics(), Path::new("r/metrics.csv"));
        assert_eq!(folder.model(), Path::new("r/model.safetensors"));
        assert_eq!(folder.best(), Path::new("r/best.safetensors"));
        assert_eq!(folder.state(), Path::new("r/state.safetensors"));
        assert_eq!(folder.curves(), Path::new("r/curves.png"));
        assert_eq!(folder.samples(1), Path::new("r/samples/epoch_001.png"));
        assert_eq!(folder.reconstructions(1234), Path::new("r/reconstructions/epoch_1234.png"));
        assert_eq!(folder.animation("samples"), Path::new("r/samples.gif"));
    }

    #[test]
    fn pictures_come_in_the_order_of_their_epochs() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(root.path()).unwrap();
        assert!(folder.pictures("samples").unwrap().is_empty());
        fs::create_dir(root.path().join("samples")).unwrap();
        let epochs = [10_000, 2, 999, 1000, 1];
        let others = ["notes.txt", "epoch_x.png", ".epoch_007.png.tmp", "epoch_7.jpg"];
        let others = others.map(|name| root.path().join("samples").join(name));
        for path in epochs.iter().map(|&epoch| folder.samples(epoch)).chain(others) {
            fs::write(path, "").unwrap();
        }
        let expected = [1, 2, 999, 1000, 10_000].map(|epoch| folder.samples(epoch));
        assert_eq!(folder.pictures("samples").unwrap(), expected);
    }

    #[test]
    fn the_record_reads_back() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(root.path()).unwrap();
        let with_git = RunRecord { git: Some("0123abc-dirty".into()), ..record() };
        let params = vec![128, 784, 400, 1, 0];
        let entry = Entry { kernel: "matmul.forward".into(), params, candidate: "32x32".into(), origin: Origin::Table };
        let tuned = RunRecord { tuning: vec![entry.clone(), entry], ..record() };
        let pictures = Fingerprint { training: 36, test: 4, checksum: "00c0ffee".into() };
        let with_pictures = RunRecord { pictures: Some(pictures), ..record() };
        for record in [record(), with_git, tuned, with_pictures] {
            record.write(&folder).unwrap();
            assert_eq!(RunRecord::read(&folder).unwrap(), record);
        }
        // One of when neither was recorded.
        record().write(&folder).unwrap();
        let older = fs::read_to_string(folder.run_toml()).unwrap().replace("selection = \"by_name\"\n", "");
        fs::write(folder.run_toml(), older).unwrap();
        assert_eq!(RunRecord::read(&folder).unwrap(), RunRecord { selection: Selection::ByOrder, ..record() });
        let text = fs::read_to_string(folder.run_toml()).unwrap();
        assert!(text.contains("\n[settings]\n") && text.contains("dataset = \"digits\""), "{text}");
    }

    #[test]
    fn a_spoilt_record_is_an_error_that_names_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(root.path()).unwrap();
        record().write(&folder).unwrap();
        let good = fs::read_to_string(folder.run_toml()).unwrap();
        for (from, to, part) in [
            ("latent = 2", "latent = 0", "latent is 0"),
            ("latent = 2", "latnet = 2", "did you mean `latent`?"),
            ("latent = 2\n", "", "missing field `latent`"),
        ] {
            fs::write(folder.run_toml(), good.replace(from, to)).unwrap();
            let message = RunRecord::read(&folder).unwrap_err().to_string();
            assert!(message.contains("run.toml: ") && message.contains(part), "{message}");
        }
        fs::write(folder.run_toml(), &good[..good.len() / 2]).unwrap();
        assert!(matches!(RunRecord::read(&folder), Err(Error::File { .. })));
    }

    #[test]
    fn progress_reads_back_exactly() {
        let mut early_stopping = EarlyStopping::new(&settings());
        early_stopping.update(1, 155.0 / 7.0);
        early_stopping.update(2, f64::NAN);
        let progress = Progress { epoch: 2, batch: 17, early_stopping };
        assert_eq!(Progress::from_text(&progress.to_text(), Path::new("s")).unwrap(), progress);
        let message = Progress::from_text("epoch = 2", Path::new("s")).unwrap_err().to_string();
        assert!(message.starts_with("s: ") && message.contains("missing field `batch`"), "{message}");
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc(1_735_689_600), "2025-01-01T00:00:00Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
