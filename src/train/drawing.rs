//! The pictures of a run folder: samples, reconstructions, curves.

use super::metrics::{EpochMetrics, Means};
use super::pictures::EpochPictures;
use super::run_folder::RunFolder;
use crate::error::Result;
use crate::models::Term;
use crate::picture::{self, Curves, Series};

/// Draws the values of an epoch's pictures: a result for each picture. Errors: a file that cannot be written.
pub fn save_pictures(
    pictures: &EpochPictures,
    folder: &RunFolder,
    epoch: usize,
    values: &[Vec<f32>],
) -> Vec<Result<()>> {
    let [c, h, w] = pictures.layout.shape;
    let files = [folder.samples(epoch), folder.reconstructions(epoch)];
    let parted = pictures.parted(values).into_iter().zip(files);
    let drawn = parted.filter_map(|(part, file)| {
        let (bands, fit) = part?;
        let bands: Vec<&[f32]> = bands.iter().map(Vec::as_slice).collect();
        Some(picture::bands(&bands, [fit.count, c, h, w], fit.columns, fit.upscale).and_then(|drawn| drawn.save(file)))
    });
    drawn.collect()
}

/// Draws the loss and each of the model's terms of all epochs so far, of training and test in one chart, and below
/// them the `schedules` of the learning rate and the knobs. Errors: a file that cannot be written.
pub fn save_curves(
    folder: &RunFolder,
    title: &str,
    terms: &[Term],
    rows: &[EpochMetrics],
    schedules: Vec<Series>,
) -> Result<()> {
    let schedules = schedules.into_iter().map(|series| Curves { title: series.0.clone(), series: vec![series] });
    let blocks = [loss_curves(terms, rows), schedules.collect()];
    picture::curve_panels(&blocks, &["train", "test"].map(String::from), title, "epoch").save(folder.curves())
}

/// A chart of the loss and one of each term, with a line of the training and one of the test set.
pub fn loss_curves(terms: &[Term], rows: &[EpochMetrics]) -> Vec<Curves> {
    let names = std::iter::once("loss").chain(terms.iter().map(|term| term.name));
    let chart = |(number, name): (usize, &str)| {
        let line = |split: &str, of: fn(&EpochMetrics) -> &Means| {
            let value = |m: &Means| if number == 0 { m.loss } else { m.terms[number - 1] };
            (split.to_string(), rows.iter().map(|row| (row.epoch as f64, value(of(row)))).collect())
        };
        Curves { title: name.to_string(), series: vec![line("train", |m| &m.train), line("test", |m| &m.test)] }
    };
    names.enumerate().map(chart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_and_each_term_have_a_chart_with_training_and_test() {
        let terms = [crate::models::vae::RECON, crate::models::vae::KL];
        let means = |loss: f64| Means { loss, terms: vec![loss + 1.0, loss + 2.0] };
        let row = |epoch: usize| EpochMetrics { epoch, train: means(10.0), test: means(20.0), seconds: 1.0 };
        let charts = loss_curves(&terms, &[row(1), row(2)]);
        let titles: Vec<&str> = charts.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(titles, ["loss", "recon", "kl"]);
        assert_eq!(charts[2].series[0], ("train".into(), vec![(1.0, 12.0), (2.0, 12.0)]));
        assert_eq!(charts[1].series[1], ("test".into(), vec![(1.0, 21.0), (2.0, 21.0)]));
    }
}
