//! `--metrics` of `elbo eval` and `elbo train`: how near reconstructions are, and how well they and samples stand for
//! the data.

use std::path::PathBuf;

use elbo::backend::Device;
use elbo::data::table::Table;
use elbo::error::{Error, Result};
use elbo::fidelity::Judge;
use elbo::files::write_atomic;
use elbo::inference::Trained;
use elbo::inference::pictures::{Measured, Measuring, Metric};
use elbo::train::run_folder::RunFolder;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::shared::require;
use super::table::{Column, table};

#[derive(clap::Args)]
#[command(next_help_heading = "Metrics of pictures")]
pub struct MetricArgs {
    /// Measure pictures: recon (squared and absolute error), psnr, ssim of reconstructions; fid, kid, is, prdc
    /// (precision, recall, density, coverage) of reconstructions and samples against the test pictures, by the features
    /// of a classifier; or all
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = metric)]
    metrics: Vec<Vec<Metric>>,
    /// Samples that the metrics are of [default: as many as test pictures]
    #[arg(long, value_name = "N", requires = "metrics")]
    metric_samples: Option<usize>,
    /// The run folder or model file of the classifier, as `elbo train digits-classifier` makes it [default: the
    /// built-in one of digits]
    #[arg(long, value_name = "RUN", requires = "metrics")]
    judge: Option<PathBuf>,
    /// Take the features of Inception v3 with these weights, a .safetensors file in torchvision's names, resized and
    /// counted as pytorch-fid does: the metrics are then called fid, kid and so on, as published ones are
    #[arg(long, value_name = "FILE", requires = "metrics", conflicts_with = "judge")]
    inception: Option<PathBuf>,
}

fn metric(name: &str) -> std::result::Result<Vec<Metric>, String> {
    if name == "all" { Ok(Metric::ALL.into()) } else { Ok(vec![name.parse()?]) }
}

impl MetricArgs {
    /// What is asked for of a data set's test pictures, with the classifier opened where a metric needs one. Errors: no
    /// pictures; those of opening the classifier.
    pub fn prepare(&self, dataset: &str, test: &Table, seed: u64, device: &Device) -> Result<Option<Asked>> {
        let metrics = self.metrics.concat();
        if metrics.is_empty() {
            return Ok(None);
        }
        let none = || Error::Usage(format!("--metrics are of pictures, and {dataset} has none"));
        let shape = test.shape().ok_or_else(none)?;
        let samples = self.metric_samples.unwrap_or(test.count);
        require(samples > 0, "--metric-samples is 0, but must be at least 1")?;
        let is_judged = metrics.iter().any(|metric| metric.is_judged());
        let judge = match (is_judged, &self.inception) {
            (false, _) => None,
            (true, Some(weights)) => Some(Judge::inception(weights, shape, device)?),
            (true, None) => Some(Judge::open(self.judge.as_deref(), dataset, shape, device)?),
        };
        let samples = if is_judged { samples } else { 0 };
        Ok(Some(Asked { metrics, judge, samples, seed }))
    }
}

/// What is to be measured.
pub struct Asked {
    metrics: Vec<Metric>,
    judge: Option<Judge>,
    /// That are drawn; none where nobody judges them.
    pub samples: usize,
    seed: u64,
}

impl Asked {
    /// Measures, and moves the bar. Its errors are those of [`Trained::measure`].
    pub fn measure(&mut self, model: &mut Trained, test: &Table, bar: &ProgressBar) -> Result<Vec<Measured>> {
        let Asked { metrics, judge, samples, seed } = self;
        let asked = Measuring { metrics, judge: judge.as_mut(), samples: *samples, seed: *seed };
        model.measure(test, asked, &mut |done| bar.set_position(done as u64))
    }
}

pub fn object(measured: &[Measured]) -> Value {
    let row = |m: &Measured| json!({ "metric": m.name, "of": m.of, "value": m.value, "deviation": m.deviation, "pictures": m.count });
    measured.iter().map(row).collect()
}

pub fn print(measured: &[Measured]) {
    let heads = [
        ("metric", Column::Left),
        ("of", Column::Left),
        ("value", Column::Right),
        ("deviation", Column::Right),
        ("pictures", Column::Right),
    ];
    let row = |m: &Measured| {
        let deviation = m.deviation.map_or(String::new(), |deviation| format!("{deviation:.5}"));
        vec![m.name.clone(), m.of.into(), format!("{:.5}", m.value), deviation, m.count.to_string()]
    };
    super::print(&format!("\n{}", table(&heads, &measured.iter().map(row).collect::<Vec<_>>())));
}

/// The metrics of a run's epochs, in `picture_metrics.csv` of its folder: a row for each epoch that was measured.
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

    /// Measures the model that this epoch has left in the folder, if the epoch is one of every N. Errors: those of
    /// [`Trained::measure`] and of the disk.
    pub fn epoch(&mut self, epoch: usize) -> Result<()> {
        if !epoch.is_multiple_of(self.every) {
            return Ok(());
        }
        let mut model = Trained::open(&self.folder.model(), &self.device)?;
        let measured = self.asked.measure(&mut model, &self.test, &ProgressBar::hidden())?;
        let columns = measured.iter().map(|m| format!("{}_{}", m.of, m.name));
        let head = std::iter::once("epoch".to_string()).chain(columns).collect::<Vec<_>>().join(",");
        let values = measured.iter().map(|m| format!("{:?}", m.value));
        let row = std::iter::once(epoch.to_string()).chain(values).collect::<Vec<_>>().join(",");
        let path = self.folder.picture_metrics();
        // Rows of epochs that are trained again, or of other metrics, go.
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let is_earlier =
            |line: &&str| line.split(',').next().and_then(|n| n.parse().ok()).is_some_and(|n: usize| n < epoch);
        let has_same = before.lines().next() == Some(&head);
        let kept = before.lines().skip(1).filter(|line| has_same && is_earlier(line));
        let lines: Vec<&str> = std::iter::once(head.as_str()).chain(kept).chain([row.as_str()]).collect();
        write_atomic(&path, format!("{}\n", lines.join("\n")).as_bytes())
    }
}
