//! `elbo sample`

use std::path::PathBuf;

use elbo::data::npy;
use elbo::data::table::{Kind, STEPS};
use elbo::error::Result;
use elbo::inference::Trained;
use elbo::inference::sentences::Writing;
use elbo::inference::sequences::drawing;
use elbo::messages::{notice, print};
use elbo::picture;
use elbo::train::pictures::{one_hot, prior};

use super::sentences::{refuse, written_by};
use super::series::{Drawn, check_panels, panels};
use super::shared::{LabelArgs, ModelArgs, PictureArgs, describe, require, wrote};

/// Sequences where no count is given.
const SEQUENCES: usize = 16;
/// Steps of each where none are given.
const STEPS_DRAWN: usize = 64;
/// Sequences or steps at most.
const MOST_DRAWN: usize = 4096;

#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// Rows of the grid [default: 8; of a model that is told the label and without --label, a row a class]
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    /// Columns of the grid [default: 8]
    #[arg(long, value_name = "N")]
    columns: Option<usize>,
    /// Of a model of sentences, of sequences or of series, how many are written or drawn [default: 10 sentences, 16
    /// sequences, 2 windows of series]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Of a model of sequences, the steps of each [default: 64, or the longest that the model knows]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Seed of the latent points
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Standard deviation of the latent points as a share of the prior's; less than 1 gives plainer pictures. Of a
    /// prior over codes, of the words of a sentence and of a step's numbers, what divides the logits
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    temperature: f32,
    /// Draw the pseudo-inputs of a learned prior in the place of samples
    #[arg(long, conflicts_with = "temperature")]
    pseudo_inputs: bool,
    /// Of a model of sentences, draw each of the N most probable words alone
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Of a model of sentences, keep the N most probable beginnings after each word, and write the best sentence found
    #[arg(long, value_name = "N", conflicts_with_all = ["top_k", "temperature"])]
    beam: Option<usize>,
    /// Of a model of sentences, write the most probable word each time
    #[arg(long, conflicts_with_all = ["top_k", "temperature", "beam"])]
    greedy: bool,
    /// Write the pictures' values too, 0 to 1, as a .npy file of float32 and shape (N, channels x height x width); of
    /// sequences the numbers of their steps, (N, steps x numbers)
    #[arg(long, value_name = "FILE")]
    npy: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let Args { seed, temperature, .. } = self;
        let columns = self.columns.unwrap_or(8);
        let problem = format!("--temperature is {temperature}, but must be 0 or a positive number");
        require(temperature >= 0.0 && temperature.is_finite(), &problem)?;
        let mut model = self.model.open()?;
        if model.is_of_sentences() {
            return self.write_sentences(&mut model);
        }
        if model.is_of_series() {
            return self.draw_windows(&mut model);
        }
        if model.is_of_steps() {
            return self.draw_sequences(&mut model);
        }
        refuse(&model, "sequences", &[("--steps", self.steps.is_some())])?;
        let flags = [
            ("--count", self.count.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--beam", self.beam.is_some()),
            ("--greedy", self.greedy),
        ];
        refuse(&model, "sentences or series", &flags)?;
        if self.pseudo_inputs {
            return self.draw_pseudo_inputs(&mut model);
        }
        let (classes, label) = (model.classes("decode")?, self.label.given(&model, "decode")?);
        // A row a class shows what the label does: each row has the same latent points.
        let row_a_class = label.is_none().then_some(classes).flatten();
        let rows = match (row_a_class, self.rows) {
            (Some(classes), None) => classes,
            (Some(classes), Some(rows)) => {
                require(
                    rows <= classes,
                    &format!("--rows is {rows}, but the model knows {classes} labels, a row each"),
                )?;
                rows
            }
            (None, rows) => rows.unwrap_or(8),
        };
        self.picture.check([rows, columns], "--rows and --columns", &model)?;
        let count = rows * columns;
        let points = if row_a_class.is_some() { columns } else { count };
        // With the seed of a run, these are its latent points.
        let kind = model.latent_kind()?;
        match kind {
            Kind::Vector(_) => {}
            Kind::Codes { .. } if model.has_prior() => {}
            _ => {
                require(
                    temperature == 1.0,
                    &format!("--temperature narrows a normal prior, and this model's latent points are {kind}"),
                )?;
                if let Kind::Codes { .. } = kind {
                    notice(
                        "note: the codes are drawn all equally often, as no picture has them; `elbo train \
                         mnist-vq-prior --set vq=RUN` learns which follow which, and draws from that",
                    );
                }
            }
        }
        let z = model.draw_latents(points, seed, temperature)?.repeat(count / points);
        let labels = match (row_a_class, label) {
            (Some(_), _) => Some((0..count).map(|i| i / columns).collect()),
            (None, label) => label.map(|label| vec![label; count]),
        };
        let pictures = model.decode(&z, labels.as_deref())?;
        let path = self.picture.write(&self.model, "samples.png", &model, &pictures, columns)?;
        self.write_values(count, pictures)?;
        let of = match (row_a_class, label) {
            (Some(_), _) => ", a row a label".to_string(),
            (None, label) => label.map_or(String::new(), |label| format!(" of label {label}")),
        };
        let what = format!("{count} samples{of}, seed {seed}, temperature {temperature}");
        wrote(&path, &format!("{what}; model {}", describe(&model)));
        Ok(())
    }

    /// Prints sentences of latent points of the prior, one a line.
    fn write_sentences(&self, model: &mut Trained) -> Result<()> {
        let flags = [
            ("--rows", self.rows.is_some()),
            ("--columns", self.columns.is_some()),
            ("--npy", self.npy.is_some()),
            ("--label", self.label.label.is_some()),
            ("--pseudo-inputs", self.pseudo_inputs),
        ];
        refuse(model, "pictures", &[&flags[..], &self.picture.given()].concat())?;
        let count = self.count.unwrap_or(10);
        require(count > 0, "--count is 0, but must be at least 1")?;
        require(self.top_k != Some(0), "--top-k is 0, but must be at least 1")?;
        let Args { seed, temperature, top_k, .. } = *self;
        let rule = "--temperature is 0, but must be above 0 for sentences: --greedy takes the most probable words";
        require(temperature > 0.0, rule)?;
        let writing = match self.greedy || self.beam.is_some() {
            true => written_by(self.beam)?,
            false => Writing::Sampled { temperature, top_k, seed },
        };
        let z = prior(seed, count, model.latent_kind()?);
        model.write(&z, writing)?.iter().for_each(|sentence| print(sentence));
        Ok(())
    }

    /// Draws sequences of the prior, a step at a time.
    fn draw_sequences(&self, model: &mut Trained) -> Result<()> {
        let of_others = [
            ("--rows", self.rows.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--beam", self.beam.is_some()),
            ("--greedy", self.greedy),
            ("--label", self.label.label.is_some()),
            ("--pseudo-inputs", self.pseudo_inputs),
        ];
        refuse(model, "other models", &of_others)?;
        self.picture.check_output(model)?;
        require(self.columns != Some(0), "--columns is 0, but must be at least 1")?;
        require(self.temperature > 0.0, "--temperature is 0, but must be above 0 for sequences")?;
        let [channels, longest] = model.card.columns.steps(STEPS)?;
        let (count, steps) = (self.count.unwrap_or(SEQUENCES), self.steps.unwrap_or(STEPS_DRAWN.min(longest)));
        for (option, value) in [("--count", count), ("--steps", steps)] {
            require((1..=MOST_DRAWN).contains(&value), &format!("{option} is {value}, but must be 1 to {MOST_DRAWN}"))?;
        }
        let values = model.generate(count, steps, f64::from(self.temperature), self.seed)?;
        let rows: Vec<Vec<f32>> = values.chunks(steps * channels).map(<[f32]>::to_vec).collect();
        let picture = drawing::drawn(model, &[rows], self.columns.unwrap_or(4), self.picture.scale())?;
        let path = self.picture.save(&self.model, "samples.png", &picture)?;
        self.write_values(count, values)?;
        let what = format!("{count} samples of {steps} steps, seed {}, temperature {}", self.seed, self.temperature);
        wrote(&path, &format!("{what}; model {}", describe(model)));
        Ok(())
    }

    /// Draws windows of latent points of the prior, channel by channel, with the band of each number.
    fn draw_windows(&self, model: &mut Trained) -> Result<()> {
        let flags = [
            ("--rows", self.rows.is_some()),
            ("--columns", self.columns.is_some()),
            ("--npy", self.npy.is_some()),
            ("--steps", self.steps.is_some()),
            ("--label", self.label.label.is_some()),
            ("--pseudo-inputs", self.pseudo_inputs),
            ("--top-k", self.top_k.is_some()),
            ("--beam", self.beam.is_some()),
            ("--greedy", self.greedy),
            self.picture.given()[1],
            self.picture.given()[3],
        ];
        refuse(model, "pictures or sentences", &flags)?;
        let (count, features) = (self.count.unwrap_or(2), model.step_features().clone());
        check_panels(count * features.len(), "ask for fewer by --count")?;
        let mut z = prior(self.seed, count, model.latent_kind()?);
        z.iter_mut().for_each(|z| *z *= self.temperature);
        let made = model.view("decode", &[("z", &z)], self.seed)?;
        let width = made[0].len() / count;
        let charts = (0..count).flat_map(|n| {
            let of = n * width..(n + 1) * width;
            let drawn = Drawn::of([&made[0][of.clone()], &made[1][of]]);
            panels(&format!("{}: ", n + 1), &[], &drawn, &features, 0, false)
        });
        let names = ["series".into(), "drawn".into()];
        let title = format!("windows of the prior, seed {}", self.seed);
        let drawn = picture::panels(&charts.collect::<Vec<_>>(), &names, 0, &title);
        let path = self.picture.save(&self.model, "samples.png", &drawn)?;
        wrote(&path, &format!("{count} windows, seed {}; model {}", self.seed, describe(model)));
        Ok(())
    }

    fn write_values(&self, count: usize, values: Vec<f32>) -> Result<()> {
        let Some(path) = &self.npy else { return Ok(()) };
        let matrix = npy::Matrix { rows: count, columns: values.len() / count, values };
        npy::write(path, &matrix)?;
        wrote(path, &format!("the values of the pictures, shape ({count}, {})", matrix.columns));
        Ok(())
    }

    /// The first pseudo-inputs, as many as the grid holds.
    fn draw_pseudo_inputs(&self, model: &mut Trained) -> Result<()> {
        let Some(Kind::Label(all)) = model.find_view("pseudo_inputs")?.input("component") else {
            unreachable!("a pseudo-input is one of some")
        };
        let asked = [self.rows.unwrap_or(8), self.columns.unwrap_or(8)];
        self.picture.check(asked, "--rows and --columns", model)?;
        let columns = asked[1].min(all);
        let rows = asked[0].min(all / columns);
        let count = rows * columns;
        let pictures = model.view("pseudo_inputs", &[("component", &one_hot(0..count, all))], self.seed)?.remove(0);
        let path = self.picture.write(&self.model, "pseudo_inputs.png", model, &pictures, columns)?;
        self.write_values(count, pictures)?;
        wrote(&path, &format!("{count} of {all} pseudo-inputs; model {}", describe(model)));
        Ok(())
    }
}
