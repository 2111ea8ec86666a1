//! What is done beside a run that trains: event files, metrics of pictures, the report. None of their failures ends the
//! run.

use std::path::PathBuf;

use elbo::backend::Device;
use elbo::data::table::Table;
use elbo::error::{Error, Result};
use elbo::files::{read_regular, write_atomic};
use elbo::inference::Trained;
use elbo::messages::notice;
use elbo::models::Knob;
use elbo::report::{self, Examples};
use elbo::train::metrics::EpochMetrics;
use elbo::train::rows::schedules;
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::Settings;
use elbo::train::tensorboard::EventFile;
use indicatif::ProgressBar;

use super::super::metrics::Asked;

/// What is done with each epoch beside the run itself, which its failures do not end.
pub struct Beside {
    pub board: Option<Board>,
    pub gauge: Option<Gauge>,
}

impl Beside {
    /// What went wrong.
    pub fn epoch(&mut self, metrics: &EpochMetrics) -> Vec<String> {
        let board = self.board.as_mut().and_then(|board| board.write(metrics).err());
        let gauge = self.gauge.as_mut().and_then(|gauge| gauge.epoch(metrics.epoch).err());
        let for_board = board.map(|e| format!("for TensorBoard: {e}"));
        for_board.into_iter().chain(gauge.map(|e| format!("in the metrics of pictures: {e}"))).collect()
    }
}

/// What a run writes for TensorBoard.
pub struct Board {
    events: EventFile,
    folder: RunFolder,
    settings: Settings,
    knobs: Vec<Knob>,
    steps: usize,
}

impl Board {
    pub fn open(folder: &RunFolder, settings: &Settings, knobs: Vec<Knob>, steps: usize) -> Result<Board> {
        let events = EventFile::create(folder.root())?;
        Ok(Board { events, folder: folder.clone(), settings: settings.clone(), knobs, steps })
    }

    fn write(&mut self, metrics: &EpochMetrics) -> Result<()> {
        let Board { events, folder, settings, knobs, steps } = self;
        let schedules = schedules(settings, knobs, *steps, metrics.epoch).into_iter();
        let at_end = schedules.filter_map(|(name, points)| Some((name, points.last()?.1)));
        events.epoch(folder, settings.terms()?, metrics, &at_end.collect::<Vec<_>>())
    }
}

/// Largest log of metrics that is read, in bytes.
const LARGEST_LOG: u64 = 64 << 20;

/// The metrics of pictures of a run's epochs, in `picture_metrics.csv` of its folder: a row for each epoch that was
/// measured.
pub struct Gauge {
    asked: Asked,
    every: usize,
    test: Table,
    device: Device,
    folder: RunFolder,
}

impl Gauge {
    pub fn new(asked: Asked, every: usize, test: Table, device: &Device, folder: &RunFolder) -> Gauge {
        Gauge { asked, every, test, device: device.clone(), folder: folder.clone() }
    }

    /// Measures the model that this epoch has left in the folder, if the epoch is one of every N. Rows of epochs that
    /// are trained again go. Errors: those of measuring and of the disk; a file of other metrics, which stays.
    fn epoch(&mut self, epoch: usize) -> Result<()> {
        if !epoch.is_multiple_of(self.every) {
            return Ok(());
        }
        let mut model = Trained::open(&self.folder.model(), &self.device)?;
        let measured = self.asked.measure(&mut model, &self.test, &ProgressBar::hidden())?;
        let columns = measured.iter().map(|m| format!("{}_{}", m.of, m.name));
        let heads: Vec<String> = std::iter::once("epoch".into()).chain(columns).collect();
        let values = measured.iter().map(|m| format!("{:?}", m.value));
        let row: Vec<String> = std::iter::once(epoch.to_string()).chain(values).collect();

        let path = self.folder.picture_metrics();
        let mut rows: Vec<csv::StringRecord> = Vec::new();
        if path.exists() {
            let bytes = read_regular(&path, LARGEST_LOG)?;
            let invalid = |e: csv::Error| Error::file(&path, e.to_string());
            let mut reader = csv::Reader::from_reader(bytes.as_slice());
            if !reader.headers().map_err(invalid)?.iter().eq(&heads) {
                let problem = format!("is of other metrics than {}: move it away", heads[1..].join(", "));
                return Err(Error::file(&path, problem));
            }
            rows = reader.into_records().collect::<csv::Result<_>>().map_err(invalid)?;
            rows.retain(|row| row[0].parse().is_ok_and(|earlier: usize| earlier < epoch));
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        let rows = rows.iter().map(|row| row.iter().map(String::from).collect());
        for row in std::iter::once(heads).chain(rows).chain([row]) {
            writer.write_record(&row).expect("memory takes every row");
        }
        write_atomic(&path, &writer.into_inner().expect("a Vec takes every byte"))
    }
}

/// The report at the end of a run.
pub struct Reporting<'a> {
    pub is_asked: bool,
    pub examples: Examples<'a>,
    pub device: &'a Device,
}

impl Reporting<'_> {
    /// Writes it where it is missing or older than the model. A failure is a note: the run went well.
    pub fn write(&self, folder: &RunFolder) {
        let written = |path: PathBuf| {
            std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).and_then(|found| found.modified().ok())
        };
        let out = folder.report();
        if !self.is_asked || written(out.clone()).is_some_and(|made| Some(made) >= written(folder.model())) {
            return;
        }
        match report::write(folder.root(), Some(self.examples), self.device, &out) {
            Ok(()) => notice(&format!("report: {}", out.display())),
            Err(e) => notice(&format!("no report of the run: {e}")),
        }
    }
}
