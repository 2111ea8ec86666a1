//! `elbo eval --metrics`: how near reconstructions are, and how well they and samples stand for the data.

use std::path::PathBuf;

use elbo::data::Dataset;
use elbo::error::Result;
use elbo::fidelity::Judge;
use elbo::inference::Trained;
use elbo::inference::pictures::{Measured, Measuring, Metric};
use serde_json::{Value, json};

use super::super::progress;
use super::super::shared::require;
use super::super::table::{Column, table};

#[derive(clap::Args)]
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
    classifier: Option<PathBuf>,
    /// Take the features of Inception v3 with these weights, a .safetensors file in torchvision's names, resized and
    /// counted as pytorch-fid does: the metrics are then called fid, kid and so on, as published ones are
    #[arg(long, value_name = "FILE", requires = "metrics", conflicts_with = "classifier")]
    inception: Option<PathBuf>,
}

fn metric(name: &str) -> std::result::Result<Vec<Metric>, String> {
    if name == "all" { Ok(Metric::ALL.into()) } else { Ok(vec![name.parse()?]) }
}

impl MetricArgs {
    /// Opens the classifier where a metric needs one, before anything is computed.
    pub fn prepare(&self, model: &Trained, data: &Dataset, seed: u64) -> Result<Option<Asked>> {
        let metrics = self.metrics.concat();
        if metrics.is_empty() {
            return Ok(None);
        }
        let shape = model.card.picture()?;
        let samples = self.metric_samples.unwrap_or(data.test.count);
        require(samples > 0, "--metric-samples is 0, but must be at least 1")?;
        let is_judged = metrics.iter().any(|metric| metric.is_judged());
        let judge = match is_judged {
            true => Some(match &self.inception {
                Some(weights) => Judge::inception(weights, shape, model.device())?,
                None => Judge::open(self.classifier.as_deref(), &data.name, shape, model.device())?,
            }),
            false => None,
        };
        Ok(Some(Asked { metrics, judge, samples, seed }))
    }
}

/// What is to be measured.
pub struct Asked {
    metrics: Vec<Metric>,
    judge: Option<Judge>,
    samples: usize,
    seed: u64,
}

impl Asked {
    /// Measures, with a bar.
    pub fn measure(self, model: &mut Trained, data: &Dataset) -> Result<Vec<Measured>> {
        let samples = if self.judge.is_some() { self.samples } else { 0 };
        let bar = progress::counting("", "pictures", model.to_measure(&data.test, samples));
        let Asked { metrics, judge, seed, .. } = self;
        let asked = Measuring { metrics: &metrics, judge, samples, seed };
        let found = model.measure(&data.test, asked, &mut |done| bar.set_position(done as u64));
        bar.finish_and_clear();
        found
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
    super::super::print(&format!("\n{}", table(&heads, &measured.iter().map(row).collect::<Vec<_>>())));
}
