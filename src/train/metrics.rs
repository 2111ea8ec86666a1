//! `metrics.csv`: one row an epoch.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{read_regular, write_atomic};
use crate::models::{Term, Weight, weighs_bound};

/// An epoch's numbers, in nats, summed over dimensions and averaged over examples.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochMetrics {
    /// From 1.
    pub epoch: usize,
    /// While it was trained: each batch with the weights it had and the parameters of its moment. Under free bits the
    /// KL is what is optimised: each latent dimension counts as at least those, in the mean over a batch.
    pub train: Means,
    /// Of the test set by the parameters at the end of the epoch, with whole weights whatever their schedules say, a
    /// sampled z and without free bits.
    pub test: Means,
    /// Wall-clock time of training and evaluation, until their numbers were back; saving is not in it.
    pub seconds: f64,
}

/// Means over examples of a model's loss and its terms, in nats.
#[derive(Clone, Debug, PartialEq)]
pub struct Means {
    /// The sum of the terms, each times its weight.
    pub loss: f64,
    /// In the order of the model's [terms](crate::models::Entry::terms), without their weights.
    pub terms: Vec<f64>,
}

impl Means {
    /// `losses` is (batches, T+2): the terms, the weight of those that have one, rows.
    pub fn of(losses: &[f32], terms: &[Term]) -> Means {
        let (mut loss, mut sums, mut rows) = (0.0, vec![0f64; terms.len()], 0.0);
        for row in losses.chunks(terms.len() + 2) {
            let weight = f64::from(row[terms.len()]);
            // Added up for a batch before the batches are, as it was minimised.
            let mut of_batch = 0.0;
            for ((term, &value), sum) in terms.iter().zip(row).zip(&mut sums) {
                let value = f64::from(value);
                of_batch += term.weight.of(weight) * value;
                *sum += value;
            }
            loss += of_batch;
            rows += f64::from(row[terms.len() + 1]);
        }
        Means { loss: loss / rows, terms: sums.into_iter().map(|sum| sum / rows).collect() }
    }

    /// -ELBO of a model whose terms are that: the sum of the terms that count in the loss, without weights; of one
    /// that another [replaces](Weight::Replaced) there, itself. Of a model that weighs a term by anything but the
    /// weight of a part of -ELBO it is the loss.
    pub fn sum(&self, terms: &[Term]) -> f64 {
        if terms.iter().any(|term| matches!(term.weight, Weight::Knob(knob) if !weighs_bound(knob))) {
            return self.loss;
        }
        let counts = |term: &Term| !matches!(term.weight, Weight::Zero | Weight::Instead(_));
        self.terms.iter().zip(terms).filter(|(_, term)| counts(term)).map(|(value, _)| value).sum()
    }
}

/// Largest file read, in bytes: half a million epochs.
const LARGEST_LOG: u64 = 64 << 20;

/// What early stopping can follow for a model of these terms, and the columns of its log between `epoch` and `seconds`:
/// `train_loss`, `train_recon`, ..., `test_loss`, `test_recon`, ...
pub fn monitors(terms: &[Term]) -> Vec<String> {
    let of = |split: &'static str| {
        std::iter::once("loss").chain(terms.iter().map(|term| term.name)).map(move |name| format!("{split}_{name}"))
    };
    of("train").chain(of("test")).collect()
}

fn header(terms: &[Term]) -> Vec<String> {
    std::iter::once("epoch".into()).chain(monitors(terms)).chain(["seconds".into()]).collect()
}

impl EpochMetrics {
    /// The losses in the order of [`monitors`].
    pub fn values(&self) -> Vec<f64> {
        [&self.train, &self.test].into_iter().flat_map(|m| std::iter::once(m.loss).chain(m.terms.clone())).collect()
    }

    /// The value that a monitor of a model of these terms follows. Panics on a name that is none.
    pub fn get(&self, monitor: &str, terms: &[Term]) -> f64 {
        let index = monitors(terms).iter().position(|name| name == monitor);
        self.values()[index.unwrap_or_else(|| panic!("there is no metric {monitor}"))]
    }

    fn cells(&self) -> Vec<String> {
        // As serde writes a float: 80.0, not 80.
        let values = self.values().into_iter().chain([self.seconds]).map(|value| format!("{value:?}"));
        std::iter::once(self.epoch.to_string()).chain(values).collect()
    }

    fn of_cells(row: &csv::StringRecord, terms: usize) -> std::result::Result<EpochMetrics, String> {
        let number = |i: usize| row[i].trim().parse::<f64>().map_err(|_| format!("`{}` is no number", &row[i]));
        let means = |first: usize| {
            let terms = (first + 1..=first + terms).map(number).collect::<std::result::Result<_, _>>()?;
            Ok::<_, String>(Means { loss: number(first)?, terms })
        };
        Ok(EpochMetrics {
            epoch: row[0].parse().map_err(|_| format!("`{}` is no epoch", &row[0]))?,
            train: means(1)?,
            test: means(2 + terms)?,
            seconds: number(3 + 2 * terms)?,
        })
    }
}

/// The file and its rows. Each new row rewrites the small file whole under another name and renames it, so that a
/// reader, a kill or a full disk never sees half a row.
pub struct MetricsLog {
    path: PathBuf,
    terms: &'static [Term],
    rows: Vec<EpochMetrics>,
}

impl MetricsLog {
    /// Goes on after epoch `last_epoch` (0 for a new run): keeps the rows up to it and drops later ones, which belong
    /// to epochs that will be trained again. A missing file counts as empty and is not made before the first row.
    /// Errors: those of [`read_metrics`] and [`write_atomic`].
    pub fn open(path: impl Into<PathBuf>, terms: &'static [Term], last_epoch: usize) -> Result<MetricsLog> {
        let path = path.into();
        let mut rows = read_metrics(&path, terms)?;
        rows.retain(|row| row.epoch <= last_epoch);
        let log = MetricsLog { path, terms, rows };
        if log.path.exists() {
            log.write()?;
        }
        Ok(log)
    }

    /// Adds an epoch's row. Do this before the checkpoint of that epoch is published: a kill between the two then
    /// leaves a row too many, which [`MetricsLog::open`] drops, and never one too few. Errors: those of
    /// [`write_atomic`].
    pub fn push(&mut self, row: EpochMetrics) -> Result<()> {
        self.rows.push(row);
        self.write()
    }

    /// All epochs so far, the first one first.
    pub fn rows(&self) -> &[EpochMetrics] {
        &self.rows
    }

    fn write(&self) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in std::iter::once(header(self.terms)).chain(self.rows.iter().map(EpochMetrics::cells)) {
            writer.write_record(row).expect("memory takes every row");
        }
        write_atomic(&self.path, &writer.into_inner().expect("a Vec takes every byte"))
    }
}

/// The rows of a log. A last line that does not end is the trace of a write that was cut off, and is left out.
/// A missing file has no rows; a line that is not a row of this log is an [`Error::File`] that names it.
pub fn read_metrics(path: &Path, terms: &[Term]) -> Result<Vec<EpochMetrics>> {
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
    let (found, wanted) = (reader.headers(), header(terms));
    let found = found.map_err(|e| Error::file(path, format!("not a metrics log: {e}")))?;
    if !found.iter().eq(wanted.iter()) {
        return Err(Error::file(path, format!("not a metrics log: its first line is not `{}`", wanted.join(","))));
    }
    let row = |row: csv::Result<csv::StringRecord>| {
        let row = row.map_err(|e| Error::file(path, e.to_string()))?;
        let line = row.position().map_or(0, csv::Position::line);
        EpochMetrics::of_cells(&row, terms.len()).map_err(|e| Error::file(path, format!("line: {line}, {e}")))
    };
    reader.into_records().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::vae;

    const HEADER: &str = "epoch,train_loss,train_recon,train_kl,test_loss,test_recon,test_kl,seconds";
    const TERMS: &[Term] = &[vae::RECON, vae::KL];

    fn row(epoch: usize) -> EpochMetrics {
        let train = Means { loss: 106.3 + 0.1 * epoch as f64, terms: vec![81.25, 25.0 / 3.0] };
        EpochMetrics { epoch, train, test: Means { loss: 105.6, terms: vec![80.0, 25.6] }, seconds: 1.5 }
    }

    fn log(rows: usize) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let mut log = MetricsLog::open(&path, TERMS, 0).unwrap();
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
        assert_eq!(read_metrics(&path, TERMS).unwrap(), [row(1), row(2)]);
    }

    #[test]
    fn a_new_log_has_no_file_before_its_first_row() {
        let (_folder, path) = log(0);
        assert!(!path.exists());
        assert_eq!(read_metrics(&path, TERMS).unwrap(), []);
    }

    #[test]
    fn resuming_drops_the_epochs_that_will_come_again() {
        let (_folder, path) = log(3);
        let mut log = MetricsLog::open(&path, TERMS, 2).unwrap();
        assert_eq!(read_metrics(&path, TERMS).unwrap(), [row(1), row(2)]);
        log.push(row(3)).unwrap();
        log.push(row(4)).unwrap();
        assert_eq!(log.rows(), [row(1), row(2), row(3), row(4)]);
        assert_eq!(read_metrics(&path, TERMS).unwrap(), log.rows());
    }

    #[test]
    fn a_torn_last_line_is_left_out_at_every_length() {
        let (_folder, path) = log(2);
        let whole = fs::read(&path).unwrap();
        let first_two_lines = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).unwrap().0 + 1;
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let rows = read_metrics(&path, TERMS).unwrap();
            assert_eq!(rows.len(), (length >= first_two_lines) as usize, "cut at {length}");
        }
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let (_folder, path) = log(1);
        let fails = |bytes: &[u8], part: &str| {
            fs::write(&path, bytes).unwrap();
            let message = read_metrics(&path, TERMS).unwrap_err().to_string();
            assert!(message.contains("metrics.csv: ") && message.contains(part), "{message}");
            // Nothing is overwritten by the refusal.
            assert!(MetricsLog::open(&path, TERMS, 1).is_err());
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
        let mut log = MetricsLog::open(&path, TERMS, 0).unwrap();
        log.push(EpochMetrics { test: Means { loss: f64::INFINITY, terms: vec![1.0, f64::NAN] }, ..row(1) }).unwrap();
        let back = &read_metrics(&path, TERMS).unwrap()[0].test;
        assert!(back.terms[1].is_nan() && back.loss == f64::INFINITY);
    }

    #[test]
    fn each_monitor_names_its_own_column() {
        let names = monitors(TERMS);
        assert_eq!(format!("epoch,{},seconds", names.join(",")), HEADER);
        let cells = csv::StringRecord::from((0..8).map(|i| i.to_string()).collect::<Vec<_>>());
        let row = EpochMetrics::of_cells(&cells, 2).unwrap();
        for (i, name) in names.iter().enumerate() {
            assert_eq!(row.get(name, TERMS), (i + 1) as f64, "{name}");
        }
        assert_eq!((row.epoch, row.seconds), (0, 7.0));
    }

    #[test]
    fn means_weigh_batches_by_their_rows_and_the_kl_by_its_weight() {
        // Two batches of 3 and 1 pictures.
        let means = Means::of(&[30.0, 6.0, 0.5, 3.0, 2.0, 4.0, 1.0, 1.0], TERMS);
        assert_eq!((means.loss, means.terms.clone()), ((30.0 + 3.0 + 2.0 + 4.0) / 4.0, vec![8.0, 2.5]));
        assert_eq!(means.sum(TERMS), 10.5);
        let committed = [vae::RECON, Term { weight: Weight::Knob("commitment"), ..vae::KL }];
        assert_eq!(means.sum(&committed), means.loss);
    }
}
