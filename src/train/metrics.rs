//! `metrics.csv`: one row an epoch.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{read_regular, write_atomic};
use crate::train::settings::Monitor;

/// An epoch's numbers. Losses are in nats, summed over dimensions and averaged over pictures; `loss` is
/// reconstruction + KL weight x KL as trained; the test loss is taken with a sampled z. `seconds` is the epoch's time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// From 1.
    pub epoch: usize,
    /// `train_recon` + KL weight * `train_kl`, each batch with the weight it had; parameters move from batch to batch.
    pub train_loss: f64,
    /// -log p(x|z) of a training picture.
    pub train_recon: f64,
    /// KL(q(z|x) || p(z)) of a training picture, without its weight. Under free bits it is what is optimised: each latent
    /// dimension counts as at least those, in the mean over a batch.
    pub train_kl: f64,
    /// `test_recon` + `kl_weight` * `test_kl`, with the whole weight whatever the schedule says.
    pub test_loss: f64,
    /// -log p(x|z) of a test picture, by the parameters at the end of the epoch.
    pub test_recon: f64,
    /// KL(q(z|x) || p(z)) of a test picture, without its weight and without free bits.
    pub test_kl: f64,
    /// Wall-clock time of training and evaluation, until their numbers were back; saving is not in it.
    pub seconds: f64,
}

/// Largest file read, in bytes: half a million epochs.
const LARGEST_LOG: u64 = 64 << 20;

const HEADER: &str = "epoch,train_loss,train_recon,train_kl,test_loss,test_recon,test_kl,seconds";

impl EpochMetrics {
    /// The column of that name; all of them are nats.
    pub fn get(&self, monitor: Monitor) -> f64 {
        match monitor {
            Monitor::TrainLoss => self.train_loss,
            Monitor::TrainRecon => self.train_recon,
            Monitor::TrainKl => self.train_kl,
            Monitor::TestLoss => self.test_loss,
            Monitor::TestRecon => self.test_recon,
            Monitor::TestKl => self.test_kl,
        }
    }
}

/// The file and its rows. Each new row rewrites the small file whole under another name and renames it, so that a
/// reader, a kill or a full disk never sees half a row.
pub struct MetricsLog {
    path: PathBuf,
    rows: Vec<EpochMetrics>,
}

impl MetricsLog {
    /// Goes on after epoch `last_epoch` (0 for a new run): keeps the rows up to it and drops later ones, which belong
    /// to epochs that will be trained again. A missing file counts as empty and is not made before the first row. Errors:
    /// those of [`read_metrics`] and [`write_atomic`].
    pub fn open(path: impl Into<PathBuf>, last_epoch: usize) -> Result<MetricsLog> {
        let path = path.into();
        let mut rows = read_metrics(&path)?;
        rows.retain(|row| row.epoch <= last_epoch);
        let log = MetricsLog { path, rows };
        if log.path.exists() {
            log.write()?;
        }
        Ok(log)
    }

    /// Adds an epoch's row. Do this before the checkpoint of that epoch is published: a kill between the two then
    /// leaves a row too many, which [`MetricsLog::open`] drops, and never one too few. Errors: those of [`write_atomic`].
    pub fn push(&mut self, row: EpochMetrics) -> Result<()> {
        self.rows.push(row);
        self.write()
    }

    /// All epochs so far, the first one first.
    pub fn rows(&self) -> &[EpochMetrics] {
        &self.rows
    }

    fn write(&self) -> Result<()> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(format!("{HEADER}\n").into_bytes());
        for row in &self.rows {
            writer.serialize(row).expect("numbers always fit a CSV row in memory");
        }
        write_atomic(&self.path, &writer.into_inner().expect("a Vec takes every byte"))
    }
}

/// The rows of a log. A last line that does not end is the trace of a write that was cut off, and is left out.
/// A missing file has no rows; a line that is not a row of this log is an [`Error::File`] that names it.
pub fn read_metrics(path: &Path) -> Result<Vec<EpochMetrics>> {
    if matches!(fs::metadata(path), Err(e) if e.kind() == ErrorKind::NotFound) {
        return Ok(Vec::new());
    }
    let text = String::from_utf8(read_regular(path, LARGEST_LOG)?)
        .map_err(|_| Error::file(path, "not a metrics log: not text"))?;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    if whole.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = csv::Reader::from_reader(whole.as_bytes());
    let header = reader.headers().map_err(|e| Error::file(path, format!("not a metrics log: {e}")))?;
    if header.iter().collect::<Vec<_>>().join(",") != HEADER {
        return Err(Error::file(path, format!("not a metrics log: its first line is not `{HEADER}`")));
    }
    reader.deserialize().map(|row| row.map_err(|e| Error::file(path, e.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: usize) -> EpochMetrics {
        EpochMetrics {
            epoch,
            train_loss: 106.3 + 0.1 * epoch as f64,
            train_recon: 81.25,
            train_kl: 25.0 / 3.0,
            test_loss: 105.6,
            test_recon: 80.0,
            test_kl: 25.6,
            seconds: 1.5,
        }
    }

    fn log(rows: usize) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        (1..=rows).for_each(|epoch| log.push(row(epoch)).unwrap());
        (folder, path)
    }

    #[test]
    fn the_file_has_exactly_the_columns_and_reads_back() {
        let (_folder, path) = log(2);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some(HEADER));
        assert_eq!(text.lines().nth(1), Some("1,106.39999999999999,81.25,8.333333333333334,105.6,80.0,25.6,1.5"));
        assert_eq!(text.lines().count(), 3);
        assert_eq!(read_metrics(&path).unwrap(), [row(1), row(2)]);
    }

    #[test]
    fn a_new_log_has_no_file_before_its_first_row() {
        let (_folder, path) = log(0);
        assert!(!path.exists());
        assert_eq!(read_metrics(&path).unwrap(), []);
    }

    #[test]
    fn resuming_drops_the_epochs_that_will_come_again() {
        let (_folder, path) = log(3);
        let mut log = MetricsLog::open(&path, 2).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [row(1), row(2)]);
        log.push(row(3)).unwrap();
        log.push(row(4)).unwrap();
        assert_eq!(log.rows(), [row(1), row(2), row(3), row(4)]);
        assert_eq!(read_metrics(&path).unwrap(), log.rows());
    }

    #[test]
    fn a_torn_last_line_is_left_out_at_every_length() {
        let (_folder, path) = log(2);
        let whole = fs::read(&path).unwrap();
        let first_two_lines = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).unwrap().0 + 1;
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let rows = read_metrics(&path).unwrap();
            assert_eq!(rows.len(), (length >= first_two_lines) as usize, "cut at {length}");
        }
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let (_folder, path) = log(1);
        let fails = |bytes: &[u8], part: &str| {
            fs::write(&path, bytes).unwrap();
            let message = read_metrics(&path).unwrap_err().to_string();
            assert!(message.contains("metrics.csv: ") && message.contains(part), "{message}");
            // Nothing is overwritten by the refusal.
            assert!(MetricsLog::open(&path, 1).is_err());
            assert_eq!(fs::read(&path).unwrap(), bytes);
        };
        fails(b"epoch,loss\n1,2\n", "first line");
        fails(format!("{HEADER}\n1,2,3\n2,1,1,1,1,1,1,1\n").as_bytes(), "line: 2");
        fails(format!("{HEADER}\n1,a,1,1,1,1,1,1\n").as_bytes(), "line: 2");
        fails(&[0xff, 0xfe, b'\n'], "not text");
    }

    #[test]
    fn nan_survives_the_file() {
        let (_folder, path) = log(0);
        let mut log = MetricsLog::open(&path, 0).unwrap();
        log.push(EpochMetrics { test_kl: f64::NAN, test_loss: f64::INFINITY, ..row(1) }).unwrap();
        let back = read_metrics(&path).unwrap()[0];
        assert!(back.test_kl.is_nan() && back.test_loss == f64::INFINITY);
    }

    #[test]
    fn each_monitor_names_its_own_column() {
        let columns: Vec<&str> = HEADER.split(',').collect();
        let text: Vec<String> = (0..8).map(|i| i.to_string()).collect();
        let row: EpochMetrics = csv::StringRecord::from(text).deserialize(Some(&columns.clone().into())).unwrap();
        for (index, monitor) in [
            (1, Monitor::TrainLoss),
            (2, Monitor::TrainRecon),
            (3, Monitor::TrainKl),
            (4, Monitor::TestLoss),
            (5, Monitor::TestRecon),
            (6, Monitor::TestKl),
        ] {
            assert_eq!(row.get(monitor), index as f64, "{}", columns[index]);
        }
    }
}
