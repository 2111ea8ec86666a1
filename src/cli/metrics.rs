//! `--metrics` of `elbo eval` and `elbo train`: how near reconstructions are, and how well they and samples stand for
//! the data.

use std::path::PathBuf;

use elbo::backend::Device;
use elbo::data::Dataset;
use elbo::data::table::Table;
use elbo::error::{Error, Result};
use elbo::fidelity::Judge;
use elbo::inference::Trained;
use elbo::inference::pictures::{self, Measured, Measuring, Metric};
use elbo::models::View;
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
    /// What is asked for of a data set's test pictures and a model of these views, with the classifier opened where a
    /// metric needs one. Errors: no pictures; those of [`pictures::check`] and of opening the classifier.
    pub fn prepare(&self, data: &Dataset, views: &[View], seed: u64, device: &Device) -> Result<Option<Asked>> {
        let metrics = self.metrics.concat();
        if metrics.is_empty() {
            return Ok(None);
        }
        let Dataset { name: dataset, test, .. } = data;
        let none = || Error::Usage(format!("--metrics are of pictures, and {dataset} has none"));
        let shape = test.shape().ok_or_else(none)?;
        let samples = self.metric_samples.unwrap_or(test.count);
        require(samples > 0, "--metric-samples is 0, but must be at least 1")?;
        pictures::check(&metrics, views, test.count, samples)?;
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
    let row = |Measured { name, of, value, deviation, count }: &Measured| {
        json!({
            "metric": name, "of": of, "value": value, "deviation": deviation, "pictures": count,
        })
    };
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
