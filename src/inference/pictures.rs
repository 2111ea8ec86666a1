//! Metrics of pictures: how near reconstructions are to what they reconstruct, and how well samples and reconstructions
//! stand for the data.

use std::str::FromStr;

use super::Trained;
use super::stages::chunk;
use crate::data::table::{PICTURES, Table};
use crate::error::{Error, Result};
use crate::fidelity::{Features, Judge, NEAREST, inception_score, kernel_distance, prdc};
use crate::models::View;
use crate::models::parts::networks::require;
use crate::picture::quality::Near;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Mean squared and mean absolute error of reconstructions, a pixel.
    Recon,
    /// Structural similarity of reconstructions.
    Ssim,
    /// Peak signal-to-noise ratio of reconstructions in decibels.
    Psnr,
    /// The Fréchet distance.
    Fid,
    /// The kernel distance.
    Kid,
    /// The inception score.
    Is,
    /// Precision, recall, density and coverage.
    Prdc,
}

impl Metric {
    /// All of them, in the order that tables show.
    pub const ALL: [Metric; 7] =
        [Metric::Recon, Metric::Psnr, Metric::Ssim, Metric::Fid, Metric::Kid, Metric::Is, Metric::Prdc];

    /// As in options.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Recon => "recon",
            Metric::Ssim => "ssim",
            Metric::Psnr => "psnr",
            Metric::Fid => "fid",
            Metric::Kid => "kid",
            Metric::Is => "is",
            Metric::Prdc => "prdc",
        }
    }

    /// Whether a classifier says it.
    pub fn is_judged(self) -> bool {
        !matches!(self, Metric::Recon | Metric::Ssim | Metric::Psnr)
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Metric, String> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name).ok_or_else(|| {
            let names = Metric::ALL.map(Metric::name).join(", ");
            format!("no metric is called `{name}`: they are {names}")
        })
    }
}

/// A metric's value.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// As in `psnr` or `mnist-fid`.
    pub name: String,
    /// `reconstructions`, `samples`, or `test` where it is of the data themselves.
    pub of: &'static str,
    /// Its value: decibels of PSNR, else without a unit.
    pub value: f64,
    /// Where it is a mean over parts of the pictures, the standard deviation over them.
    pub deviation: Option<f64>,
    /// Pictures that it is of.
    pub count: usize,
}

/// Which pictures are measured, and by whom.
pub struct Measuring<'a> {
    /// What is measured.
    pub metrics: &'a [Metric],
    /// The classifier, where one of the metrics is [judged](Metric::is_judged).
    pub judge: Option<&'a mut Judge>,
    /// Samples that are drawn.
    pub samples: usize,
    /// Of the samples, and of the parts that a kernel distance is the mean over.
    pub seed: u64,
}

/// That these metrics can be taken: of reconstructions, or of samples where a classifier judges them, and of enough
/// pictures. Errors: which cannot, and why.
pub fn check(metrics: &[Metric], views: &[View], pictures: usize, samples: usize) -> Result<()> {
    let has = |name: &str| views.iter().any(|view| view.name == name);
    let is_judged = metrics.iter().any(|metric| metric.is_judged());
    if !(has("reconstruct") || has("decode") && is_judged) {
        let of = if is_judged {
            "reconstructions and samples, and this model gives neither"
        } else {
            "reconstructions, and this model gives none"
        };
        let names: Vec<&str> = views.iter().map(|view| view.name).collect();
        return Err(Error::Usage(format!("these metrics are of {of}: it can {}", names.join(", "))));
    }
    let fewest = if has("decode") { pictures.min(samples) } else { pictures };
    if metrics.contains(&Metric::Prdc) && fewest <= NEAREST {
        let problem = format!("precision and recall ask for the {NEAREST} nearest of more pictures than {fewest}");
        return Err(Error::Usage(problem));
    }
    require(!is_judged || fewest > 1, "the number of pictures to measure by a classifier", fewest, "must be at least 2")
}

impl Trained {
    /// The metrics of the model's reconstructions of a split's pictures, and of as many samples as are asked for
    /// against these pictures. `progress` is told how many pictures are done, of [`to_measure`](Trained::to_measure).
    ///
    /// What the model cannot be asked is left out: one that does not reconstruct is judged by its samples alone.
    /// Errors: those of [`check`] and of the device.
    pub fn measure(
        &mut self,
        split: &Table,
        asked: Measuring,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Measured>> {
        let Measuring { metrics, mut judge, samples, seed } = asked;
        let shape = self.card.picture()?;
        let (dims, rows) = (split.dims(), chunk(split.dims()));
        let [reconstructs, draws] = ["reconstruct", "decode"].map(|view| self.find_view(view).is_ok());
        check(metrics, &self.views, split.count, samples)?;
        let mut done = 0;
        let mut near = Near::default();
        let [mut real, mut again, mut drawn] = [const { None }; 3];
        for start in (0..split.count).step_by(rows) {
            let range = start..(start + rows).min(split.count);
            let x = split.values(range.clone());
            if let Some(judge) = &mut judge {
                append(&mut real, judge.features(&x)?);
            }
            if reconstructs {
                let labels = self.labels_of("reconstruct", split, range.clone())?;
                let view = self.find_view("reconstruct")?;
                let place = view.outputs.iter().position(|port| port.name == "reconstruction").unwrap_or(0);
                let y = self.told("reconstruct", (PICTURES, &x), labels.as_deref(), seed)?.swap_remove(place);
                for (x, y) in x.chunks(dims).zip(y.chunks(dims)) {
                    near.add(y, x, shape);
                }
                if let Some(judge) = &mut judge {
                    append(&mut again, judge.features(&y)?);
                }
            }
            done += range.len();
            progress(done);
        }
        if let Some(judge) = judge.as_mut().filter(|_| draws) {
            for (number, start) in (0..samples).step_by(rows).enumerate() {
                let count = rows.min(samples - start);
                // Each chunk has latent points of its own.
                let pictures = self.draw_pictures(count, seed.wrapping_add((number as u64) << 32))?;
                append(&mut drawn, judge.features(&pictures)?);
                done += count;
                progress(done);
            }
        }

        let mut found = if reconstructs { of_reconstructions(&near, metrics, split.count) } else { Vec::new() };
        let (Some(judge), Some(real)) = (judge, real) else { return Ok(found) };
        let prefix = &judge.prefix;
        let sets = [("reconstructions", &again), ("samples", &drawn)];
        for metric in Metric::ALL.into_iter().filter(|metric| metric.is_judged() && metrics.contains(metric)) {
            if metric == Metric::Is {
                found.extend(judged(metric, prefix, "test", &real, &real, seed)?);
            }
            for (of, set) in sets {
                if let Some(set) = set {
                    found.extend(judged(metric, prefix, of, &real, set, seed)?);
                }
            }
        }
        Ok(found)
    }

    /// Pictures that [`measure`](Trained::measure) goes through.
    pub fn to_measure(&self, split: &Table, samples: usize) -> usize {
        split.count + if self.find_view("decode").is_ok() { samples } else { 0 }
    }
}

fn append(all: &mut Option<Features>, more: Features) {
    match all {
        None => *all = Some(more),
        Some(all) => {
            all.features.extend(more.features);
            all.probabilities.extend(more.probabilities);
        }
    }
}

/// The values of a metric of made pictures against real ones.
fn judged(
    metric: Metric,
    prefix: &str,
    of: &'static str,
    real: &Features,
    made: &Features,
    seed: u64,
) -> Result<Vec<Measured>> {
    let value = |name: &str, value: f64, deviation: Option<f64>| Measured {
        name: format!("{prefix}{name}"),
        of,
        value,
        deviation,
        count: made.count(),
    };
    Ok(match metric {
        Metric::Fid => vec![value("fid", real.frechet(made)?, None)],
        Metric::Kid => {
            let spread = kernel_distance(real, made, seed);
            vec![value("kid", spread.mean, Some(spread.standard_deviation))]
        }
        Metric::Is => {
            let spread = inception_score(made);
            vec![value("is", spread.mean, Some(spread.standard_deviation))]
        }
        Metric::Prdc => {
            let found = prdc(real, made, NEAREST).expect("there are enough pictures");
            let shares = [
                ("precision", found.precision),
                ("recall", found.recall),
                ("density", found.density),
                ("coverage", found.coverage),
            ];
            shares.map(|(name, share)| value(name, share, None)).into()
        }
        Metric::Recon | Metric::Ssim | Metric::Psnr => Vec::new(),
    })
}

/// The metrics that need no classifier.
fn of_reconstructions(near: &Near, metrics: &[Metric], count: usize) -> Vec<Measured> {
    let value =
        |name: &str, value: f64| Measured { name: name.into(), of: "reconstructions", value, deviation: None, count };
    let mut found = Vec::new();
    if metrics.contains(&Metric::Recon) {
        found.extend([value("mse", near.mean_squared()), value("mae", near.mean_absolute())]);
    }
    if metrics.contains(&Metric::Psnr) {
        found.push(value("psnr", near.psnr()));
    }
    found.extend(near.ssim().filter(|_| metrics.contains(&Metric::Ssim)).map(|ssim| value("ssim", ssim)));
    found
}
