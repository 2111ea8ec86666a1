//! `elbo reconstruct`

use elbo::data::table::STEPS;
use elbo::error::Result;
use elbo::inference::Trained;
use elbo::inference::sequences::drawing;
use elbo::messages::{notice, print};
use elbo::picture;

use super::data::DataArgs;
use super::sentences::{note_unknown, refuse, written_by};
use super::series::{Drawn, check_panels, panels};
use super::shared::{LabelArgs, ModelArgs, PictureArgs, require, spread_labels, wrote};
use super::sounds;

/// Pictures side by side at most.
const COLUMNS: usize = 16;
/// Pictures where no count is given and there are as many.
const COUNT: usize = 16;
/// Sequences likewise.
const SEQUENCES: usize = 4;
/// Sentences likewise.
const SENTENCES: usize = 10;
/// Windows of series likewise.
const WINDOWS: usize = 2;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Of a model of sentences, what to read and write again; of a model of recordings .wav files [default: those of
    /// the test set]
    #[arg(value_name = "SENTENCE")]
    given: Vec<String>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// How many test pictures, sentences or windows, spread evenly over the set [default: 16 pictures, 10 sentences or
    /// 2 windows, or all where there are fewer, and all --pictures]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Seed of the noise that a denoising model puts on the pictures
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Of a model of sentences, keep the N most probable beginnings after each word, and write the best sentence found
    /// [default: the most probable word each time]
    #[arg(long, value_name = "N")]
    beam: Option<usize>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let mut model = self.model.open()?;
        if model.is_of_sentences() {
            return self.write_sentences(&mut model);
        }
        let has_files = !self.given.is_empty();
        let is_of_sentences = has_files && model.spectrogram().is_err();
        refuse(&model, "sentences", &[("SENTENCE", is_of_sentences), ("--beam", self.beam.is_some())])?;
        if model.is_of_series() {
            return self.draw_windows(&mut model);
        }
        if model.is_of_steps() {
            return self.draw_sequences(&mut model);
        }
        let view = model.find_view("reconstruct")?.clone();
        let label = self.label.given(&model, "decode")?;
        let check = |count: usize, model: &Trained| {
            let bands = 1 + view.outputs.len();
            let grid = [count.div_ceil(COLUMNS).saturating_mul(bands), COLUMNS.min(count)];
            self.picture.check(grid, "--count", model)
        };
        if let Some(count) = self.count {
            check(count, &model)?;
        }
        let data = match has_files {
            true => sounds::read(&model, &self.given)?,
            false => self.data.open(&self.model, &model, false)?,
        };
        let there = data.test.count;
        let has_own = has_files || self.data.has_pictures();
        if !has_own && there < COUNT && self.count.is_none() {
            notice(&format!(
                "note: {} has {there} test pictures, fewer than {COUNT}: all of them are drawn",
                data.name
            ));
        }
        let count = self.count.unwrap_or(if self.data.has_pictures() { there } else { COUNT.min(there) });
        require(count <= there, &format!("--count is {count}, but {} has {there} test pictures", data.name))?;
        check(count, &model)?;
        let originals = data.test.spread(count);
        // Encoded under its own label; under another the same z becomes another digit in the same hand.
        let own = spread_labels(&model, "reconstruct", &data, count)?;
        let (made, names, what) = match label {
            Some(label) => {
                let [mean, _] = model.encode(&originals, own.as_deref())?;
                let labels = vec![label; count];
                let made = vec![model.decode(&mean, Some(&labels))?];
                (made, vec!["reconstruction"], format!("their reconstructions under label {label}"))
            }
            None => {
                let made = model.told("reconstruct", ("x", &originals), own.as_deref(), self.seed)?;
                let names: Vec<&str> = view.outputs.iter().map(|port| port.name).collect();
                let plain = names == ["reconstruction"];
                let what =
                    if plain { "their reconstructions".into() } else { format!("{} of each", names.join(" and ")) };
                (made, names, what)
            }
        };
        let named = std::iter::once("original").chain(names);
        let sets: Vec<(&str, &[f32])> =
            named.zip(std::iter::once(&originals).chain(&made).map(Vec::as_slice)).collect();
        let path = self.picture.write_bands(&self.model, "reconstructions.png", &model, &sets, COLUMNS)?;
        wrote(&path, &format!("{count} test {} of {} above {what}", data.examples(), data.name));
        Ok(())
    }

    /// Draws test sequences above the means of what the model infers of them.
    fn draw_sequences(&self, model: &mut Trained) -> Result<()> {
        refuse(model, "pictures", &[("--label", self.label.label.is_some()), self.picture.given()[3]])?;
        self.picture.check_output(model)?;
        let data = self.data.open(&self.model, model, false)?;
        let there = data.test.count;
        let count = self.count.unwrap_or(SEQUENCES.min(there));
        let problem = format!("--count is {count}, but {} has {there} test sequences", data.name);
        require((1..=there).contains(&count), &problem)?;
        let width = data.test.dims();
        let originals = data.test.spread(count);
        let made = model.step_means(&originals)?;
        // Up to its end.
        let [channels, _] = model.card.columns.steps(STEPS)?;
        let end = |row: &[f32]| row.iter().rposition(|x| !x.is_nan()).map_or(0, |at| (at / channels + 1) * channels);
        let rows = |values: &[f32]| -> Vec<Vec<f32>> {
            let of = originals.chunks(width).zip(values.chunks(width));
            of.map(|(original, row)| row[..end(original)].to_vec()).collect()
        };
        let sets = [rows(&originals), rows(&made)];
        let picture = drawing::drawn(model, &sets, 4, self.picture.scale())?;
        let path = self.picture.save(&self.model, "reconstructions.png", &picture)?;
        wrote(&path, &format!("{count} test sequences of {} above the means of their reconstructions", data.name));
        Ok(())
    }

    /// Draws windows of series with what is drawn of the mean of q(z|x), channel by channel.
    fn draw_windows(&self, model: &mut Trained) -> Result<()> {
        let [_, scale, _, each] = self.picture.given();
        let flags = [("--label", self.label.label.is_some()), scale, each];
        refuse(model, "pictures", &flags)?;
        let data = self.data.open(&self.model, model, false)?;
        let there = data.test.count;
        let count = self.count.unwrap_or(WINDOWS.min(there));
        let problem = format!("--count is {count}, but {} has {there} test windows", data.name);
        require((1..=there).contains(&count), &problem)?;
        let features = model.step_features().clone();
        check_panels(count * features.len(), "ask for fewer by --count")?;
        let x = data.test.spread(count);
        let made = model.view("reconstruct", &[("steps", &x)], 0)?;
        let width = x.len() / count;
        let seen = features.original(&x);
        let charts = (0..count).flat_map(|n| {
            let of = n * width..(n + 1) * width;
            let drawn = Drawn::of([&made[0][of.clone()], &made[1][of.clone()]]);
            panels(&format!("{}: ", n + 1), &seen[of], &drawn, &features, 0, false)
        });
        let title = format!("test windows of {}", data.name);
        let names = ["series".into(), "drawn again".into()];
        let drawn = picture::panels(&charts.collect::<Vec<_>>(), &names, 0, &title);
        let path = self.picture.save(&self.model, "reconstructions.png", &drawn)?;
        wrote(&path, &format!("{count} test windows of {}, and what is drawn of their latent points", data.name));
        Ok(())
    }

    /// Prints each sentence above what is written from the mean of q(z|x).
    fn write_sentences(&self, model: &mut Trained) -> Result<()> {
        let label = [("--label", self.label.label.is_some())];
        refuse(model, "pictures", &[&label[..], &self.picture.given()].concat())?;
        let writing = written_by(self.beam)?;
        let (shown, x) = if self.given.is_empty() {
            let data = self.data.open(&self.model, model, false)?;
            let there = data.test.count;
            let count = self.count.unwrap_or(SENTENCES.min(there));
            let problem = format!("--count is {count}, but {} has {there} test sentences", data.name);
            require((1..=there).contains(&count), &problem)?;
            let all = model.shown(&data.test)?;
            let shown: Vec<String> = data.test.spread_indices(count).map(|i| all[i].clone()).collect();
            (shown, data.test.spread(count))
        } else {
            require(self.count.is_none(), "--count is of test sentences: leave it out where sentences are given")?;
            let read = model.read_lines(&self.given)?;
            note_unknown(model, &self.given)?;
            (model.shown(&read)?, read.values(0..read.count))
        };
        let [mean, _] = model.encode(&x, None)?;
        let written = model.write(&mean, writing)?;
        let pairs = shown.iter().zip(&written).map(|(sentence, written)| format!("{sentence}\n  {written}"));
        print(&pairs.collect::<Vec<_>>().join("\n\n"));
        Ok(())
    }
}
