//! `elbo score`

mod pictures;
mod report;
mod sentences;
mod series;

use std::path::PathBuf;

use elbo::data::table::{LABELS, Table};
use elbo::data::{Dataset, Selection};
use elbo::error::{Error, Result};
use elbo::files::write_atomic;
use elbo::inference::Trained;
use elbo::inference::ranking::quantile;
use elbo::inference::scores::{Score, Scores};
use elbo::messages::notice;

use super::data::DataArgs;
use super::progress;
use super::shared::{ModelArgs, require, wrote};

/// Training rows that a threshold is taken from at most.
const MOST_NORMAL: usize = 4096;
/// The share of normal rows below a threshold, where none is given.
const QUANTILE: f64 = 0.95;
/// Samples of z a row likewise.
const SAMPLES: usize = 64;
/// Worst rows that are printed and drawn.
const WORST: usize = 16;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// What to score: tables or series (.csv, .csv.gz) with the model's columns, pictures or folders of them, arrays
    /// (.npy), and of a model of sentences these themselves or texts (.txt) [default: the test set of the run]
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    /// The score that ranks the rows: elbo, bound (importance-weighted), probability (of the reconstruction), or error,
    /// the squared distance to the reconstruction [default: elbo, of series error]
    #[arg(long, value_name = "NAME", value_enum)]
    by: Option<Name>,
    /// Samples of z a row, of all scores but the error [default: 64, of sentences 8; of series z is the mean]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The share of normal training rows, or of a series' training steps, that lie below the threshold [default: 0.95,
    /// of series 0.99]
    #[arg(long, value_name = "SHARE")]
    quantile: Option<f64>,
    /// The threshold itself, in the place of a quantile
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f64>,
    /// The labels of normal rows; all others are anomalies [default: as the run was trained, else of tables 0]
    #[arg(long, value_name = "K", value_delimiter = ',')]
    normal: Vec<usize>,
    /// The CSV file to write, a line a row [default: scores.csv, in the run folder or beside the model file; the
    /// pictures stand beside it]
    #[arg(long, value_name = "FILE.csv")]
    out: Option<PathBuf>,
    /// Print JSON for a program to read, every row among it
    #[arg(long)]
    json: bool,
}

/// [`Score`] as an option.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Name {
    Error,
    Probability,
    Elbo,
    Bound,
}

impl From<Name> for Score {
    fn from(name: Name) -> Score {
        match name {
            Name::Error => Score::Error,
            Name::Probability => Score::Probability,
            Name::Elbo => Score::Elbo,
            Name::Bound => Score::Bound,
        }
    }
}

/// Rows of one data set with their scores.
struct Scored {
    data: Dataset,
    /// Where its pictures lie; empty where that is not known.
    files: Vec<PathBuf>,
    scores: Scores,
    /// By row; `None` where there are no labels, or nothing says which are normal.
    is_anomaly: Option<Vec<bool>>,
}

/// A threshold, and what it is.
struct Threshold {
    value: f64,
    from: String,
}

impl Args {
    pub fn run(self) -> Result<()> {
        require(self.samples != Some(0), "--samples is 0, but must be at least 1")?;
        let quantile = self.quantile.unwrap_or(QUANTILE);
        require((0.0..=1.0).contains(&quantile), "--quantile is a share of rows, from 0 to 1")?;
        let out = self.model.output(&self.out, "scores.csv");
        require(out.extension().is_some_and(|ending| ending == "csv"), "the file of --out must end in .csv")?;
        let mut model = self.model.open()?;
        if model.is_of_series() {
            return self.score_series(&mut model, &out);
        }
        let by = Score::from(self.by.unwrap_or(Name::Elbo));
        let known = model.known_scores()?;
        let names: Vec<&str> = known.iter().map(|score| score.name()).collect();
        let problem = format!("this model cannot be scored by {}: it can by {}", by.name(), names.join(", "));
        require(known.contains(&by), &problem)?;
        if model.is_of_sentences() {
            return self.score_sentences(&mut model, by, &out);
        }

        let normal = self.normal_labels()?;
        let open = |data: &DataArgs| data.open_with_files(&self.model, &model, false);
        let opened = match self.files.is_empty() {
            true => vec![open(&self.data)?],
            false => self.files.iter().map(|file| open(&DataArgs::of(file))).collect::<Result<_>>()?,
        };
        // Whose training rows may be at hand.
        let is_own = self.files.is_empty() && !self.data.has_pictures();
        let own = is_own.then(|| opened[0].0.clone());
        opened.iter().try_for_each(|(data, _)| self.check_normal(data))?;
        let threshold = self.threshold(&mut model, own, &normal, by)?;
        let samples = self.samples.unwrap_or(SAMPLES);
        let sets: Vec<Scored> = opened
            .into_iter()
            .map(|(data, [_, files])| {
                let scores = self.scored(&mut model, &data.test, samples)?;
                Ok(Scored { is_anomaly: anomalies(&data.test, &normal), scores, data, files })
            })
            .collect::<Result<_>>()?;

        write_atomic(&out, &report::lines(&sets, by, threshold.as_ref()))?;
        let [histogram, worst] = ["png", "worst.png"].map(|ending| out.with_extension(ending));
        pictures::draw_histogram(&sets, by, threshold.as_ref()).save(&histogram)?;
        let drawn = pictures::draw_worst(&mut model, &sets, by)?;
        drawn.save(&worst)?;
        if self.json {
            super::print_json(&report::object(&sets, by, threshold.as_ref()));
        } else {
            sets.iter().for_each(|scored| report::print_set(scored, by, threshold.as_ref()));
        }
        sets.iter().for_each(report::warn_of_inversion);
        if !self.json {
            wrote(&out, "a line a row");
            wrote(&histogram, "how many rows have which score");
            wrote(&worst, "the rows of the largest scores");
        }
        Ok(())
    }

    /// The labels of normal rows: those that are given, else those that the run was trained on, else 0 of a run on a
    /// table. None where nothing says it.
    fn normal_labels(&self) -> Result<Vec<usize>> {
        let record = self.model.record()?;
        let trained = record.as_ref().map(|record| record.settings.normal.clone()).unwrap_or_default();
        let is_table = record.is_none_or(|record| record.dataset.starts_with("table"));
        Ok(match () {
            () if !self.normal.is_empty() => self.normal.clone(),
            () if trained.is_empty() && is_table => vec![0],
            () => trained,
        })
    }

    /// Refuses labels of --normal that the data set does not have.
    fn check_normal(&self, data: &Dataset) -> Result<()> {
        let Ok(classes) = data.test.columns().label(LABELS) else { return Ok(()) };
        match self.normal.iter().find(|&&class| class >= classes) {
            None => Ok(()),
            Some(class) => Err(Error::Usage(format!(
                "--normal names the class {class}, and those of {} are 0 to {}",
                data.name,
                classes - 1
            ))),
        }
    }

    fn scored(&self, model: &mut Trained, split: &Table, samples: usize) -> Result<Scores> {
        let bar = progress::counting("", "rows", split.count);
        let scores = model.scores(split, samples, self.seed, &mut |done| bar.set_position(done as u64));
        bar.finish_and_clear();
        scores
    }

    /// The threshold that is given, or the quantile of the run's normal training rows. `None`, with a notice, where
    /// there are none. `own` is the run's data set, if it is open.
    fn threshold(
        &self,
        model: &mut Trained,
        own: Option<Dataset>,
        normal: &[usize],
        by: Score,
    ) -> Result<Option<Threshold>> {
        if let Some(value) = self.threshold {
            return Ok(Some(Threshold { value, from: "as given".into() }));
        }
        let own = match own {
            Some(own) => Ok(own),
            None if self.model.record()?.is_some() => DataArgs::default().open(&self.model, model, false),
            None => Err(Error::Usage("the model file has no run folder, whose training rows give it".into())),
        };
        let usable = own.and_then(|own| {
            let own = if own.train.labels().is_some() { own.normal_alone(normal)? } else { own };
            let rows = own.limited(Selection::ByName, [Some(MOST_NORMAL), None]).train;
            match rows.count {
                0 => Err(Error::Usage("no training rows are at hand".into())),
                _ => Ok(rows),
            }
        });
        match usable {
            Ok(rows) => {
                let scores = self.scored(model, &rows, self.samples.unwrap_or(SAMPLES))?;
                let share = self.quantile.unwrap_or(QUANTILE);
                let value = quantile(scores.of(by).expect("it is known"), share);
                let from = format!("the {share} quantile of {} training rows", rows.count);
                Ok(Some(Threshold { value, from }))
            }
            Err(reason) => {
                notice(&format!("no threshold: {reason}. --threshold gives one"));
                Ok(None)
            }
        }
    }
}

/// Which rows are anomalies; `None` without labels or normal ones among them.
fn anomalies(split: &Table, normal: &[usize]) -> Option<Vec<bool>> {
    let labels = split.labels().filter(|_| !normal.is_empty())?;
    Some(labels.iter().map(|&label| !normal.contains(&usize::from(label))).collect())
}

impl Scored {
    fn by(&self, by: Score) -> &[f64] {
        self.scores.of(by).expect("it is known")
    }

    /// Rows by their score, the largest first.
    fn worst(&self, by: Score) -> Vec<usize> {
        let scores = self.by(by);
        let mut rows: Vec<usize> = (0..scores.len()).collect();
        rows.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        rows.truncate(WORST);
        rows
    }
}
