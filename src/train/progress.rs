//! How far a run has come.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::checkpoint::Checkpoint;
use super::early_stopping::EarlyStopping;
use super::settings::Settings;
use crate::error::{Error, Result};

/// Metadata key of the progress in a state file.
pub(super) const PROGRESS: &str = "elbo.progress";

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
    /// The run's settings without places of this machine, filled in when the state is written: they open a state that
    /// has no run folder beside it. Absent in states of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Table>,
}

/// Keys of a run that are places of one machine.
const PLACES: [&str; 4] = ["data", "device", "init", "out"];

/// Settings that are the same on every machine.
pub(super) fn portable(settings: &Settings) -> Table {
    let mut table = settings.to_table();
    PLACES.iter().for_each(|key| drop(table.remove(*key)));
    table
}

impl Progress {
    /// TOML, which [`Progress::from_text`] reads back to an equal value.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("counts and floats always have a TOML form")
    }

    /// That in the state file of a run; `None` before its first epoch has ended or was interrupted. Errors: a file that
    /// cannot be read or is no state.
    pub fn read(path: &Path) -> Result<Option<Progress>> {
        path.exists().then(|| Progress::of(&Checkpoint::read(path)?, path)).transpose()
    }

    /// That in a state that was read from `path`. Errors: it has none.
    pub fn of(state: &Checkpoint, path: &Path) -> Result<Progress> {
        let text = state.metadata.get(PROGRESS).ok_or_else(|| Error::file(path, "holds no progress"))?;
        Progress::from_text(text, path)
    }

    /// Reads what [`Progress::to_text`] wrote; `path` is the file that it came from, for the error.
    pub fn from_text(text: &str, path: &Path) -> Result<Progress> {
        toml::from_str(text).map_err(|e| Error::file(path, format!("its progress cannot be read: {}", e.message())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_back_exactly() {
        let mut early_stopping = EarlyStopping::new(&Settings::of_preset("mnist-mlp").unwrap());
        early_stopping.update(1, 155.0 / 7.0);
        early_stopping.update(2, f64::NAN);
        let settings = Some(portable(&Settings::of_preset("mnist-mlp").unwrap()));
        assert!(settings.as_ref().is_some_and(|settings| !settings.contains_key("out") && settings.contains_key("lr")));
        let progress = Progress { epoch: 2, batch: 17, early_stopping, settings };
        assert_eq!(Progress::from_text(&progress.to_text(), Path::new("s")).unwrap(), progress);
        let message = Progress::from_text("epoch = 2", Path::new("s")).unwrap_err().to_string();
        assert!(message.starts_with("s: ") && message.contains("missing field `batch`"), "{message}");
    }
}
