//! Using a trained model: encode pictures, decode latent points, take the loss on a data set.

pub mod codes;
pub mod editing;
pub mod evidence;
pub mod latents;
pub mod levels;
pub mod neighbours;
#[cfg(feature = "native")]
pub mod pictures;
pub mod ranking;
pub mod samples;
pub mod scores;
pub mod sentences;
pub mod sequences;
pub mod series;
pub mod stages;

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::arena::Arena;
use crate::backend::{Backend, Device};
use crate::data::audio::spectrogram::Spectrogram;
use crate::data::table::{Kind, LABELS, TEXT, Table};
use crate::data::text::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::kernels::gaussian_kl::divergence;
use crate::models::parts::likelihood::Likelihood;
use crate::models::{Model, Term, View, Weight};
use crate::program::Program;
use crate::tensor::Tensor;
use crate::train::checkpoint::{Checkpoint, ModelCard};
use crate::train::evaluation::{Evaluation, Latent};
use crate::train::metrics::Means;
use crate::train::pictures::{classes, one_hot};
use crate::train::rows::of_bound;
use stages::{Stages, chunk};

/// A model file opened on a device.
pub struct Trained {
    /// The model file.
    pub path: PathBuf,
    /// What the file says of the model: settings, columns, data set, epochs trained.
    pub card: ModelCard,
    /// What it can be asked.
    pub views: Vec<View>,
    /// The distribution whose -log p is its first term, where there is one.
    pub output: Option<Likelihood>,
    /// As in `784-400-20`.
    pub described: String,
    device: Device,
    checkpoint: Checkpoint,
    arena: Arena,
    model: Box<dyn Model>,
    backend: Backend,
    stages: Stages,
}

/// The model file that `path` means: itself, or in a run folder `model.safetensors`, or `best.safetensors` if `best`.
///
/// Errors: nothing there; a folder without that file.
pub fn model_file(path: &Path, best: bool) -> Result<PathBuf> {
    let shown = path.display();
    if !path.exists() {
        return Err(Error::Usage(format!("there is no {shown}: give a run folder or a .safetensors file")));
    }
    if !path.is_dir() {
        return if best {
            Err(Error::Usage(format!("--best chooses a file of a run folder, and {shown} is a file")))
        } else {
            Ok(path.to_path_buf())
        };
    }
    let name = if best { "best.safetensors" } else { "model.safetensors" };
    let file = path.join(name);
    if file.is_file() {
        return Ok(file);
    }
    Err(Error::Usage(format!("{shown} holds no {name}: it is no run folder, or its first epoch has not ended")))
}

impl Trained {
    /// Opens a run folder's last model, or a model file: one of this program, or a PyTorch `state_dict` of the VAE of
    /// pytorch/examples saved as safetensors.
    ///
    /// Errors: those of [`model_file`], [`Checkpoint::read`] and [`Trained::of`].
    pub fn open(path: &Path, device: &Device) -> Result<Trained> {
        let path = model_file(path, false)?;
        Trained::of(Checkpoint::read(&path)?, path, device)
    }

    /// Opens what a model file holds. Errors: parameters that are not the model's; no room on the device.
    pub fn of(checkpoint: Checkpoint, path: PathBuf, device: &Device) -> Result<Trained> {
        let card = checkpoint.card(&path)?;
        let mut arena = Arena::new();
        let model = card.open(&mut arena)?;
        // Before anything of the sizes that the card claims is allocated.
        checkpoint.check_model(&arena, &path)?;
        let stages = Stages::new(&mut arena);
        let (views, output, described) = (model.views(), model.output(), model.describe());
        let backend = device.backend();
        let device = device.clone();
        Ok(Trained { path, card, views, output, described, device, checkpoint, arena, model, backend, stages })
    }

    /// The terms of its loss.
    pub fn terms(&self) -> &'static [Term] {
        self.model.terms()
    }

    /// The device that it was opened on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What was done to the model file as it was read, for the user.
    pub fn notices(&self) -> &[String] {
        &self.checkpoint.notices
    }

    /// The view of that name. Errors: the model has none, with those it has.
    pub fn find_view(&self, name: &str) -> Result<&View> {
        let known: Vec<&str> = self.views.iter().map(|view| view.name).collect();
        self.views.iter().find(|view| view.name == name).ok_or_else(|| {
            let model = &self.card.model;
            Error::Usage(format!("a model of the kind {model} cannot {name}: it can {}", known.join(", ")))
        })
    }

    /// What the ids of its sentences stand for. Errors: it is no model of sentences.
    pub fn vocabulary(&self) -> Result<&Vocabulary> {
        let none = || Error::Usage(format!("this model is of {}: it has no words", self.card.columns));
        self.card.vocabulary.as_ref().ok_or_else(none)
    }

    /// What sounds its pictures stand for. Errors: it is no model of recordings.
    pub fn spectrogram(&self) -> Result<&Spectrogram> {
        let none = || Error::Usage(format!("this model is of {}: it has no sounds", self.card.columns));
        self.card.spectrogram.as_ref().ok_or_else(none)
    }

    /// Z, latent dimensions. Errors: it has no latent point to decode.
    pub fn latent(&self) -> Result<usize> {
        Ok(self.latent_kind()?.width())
    }

    /// What its latent points are: numbers, one-hot vectors, codes. Errors: it has no latent point to decode.
    pub fn latent_kind(&self) -> Result<Kind> {
        // Of a point a picture is decoded, or a sentence begun.
        let view = self.find_view("start").or_else(|_| self.find_view("decode"))?;
        Ok(view.input("z").unwrap_or(Kind::Vector(0)))
    }

    /// Whether it is a model of sentences.
    pub fn is_of_sentences(&self) -> bool {
        self.modelled() == TEXT
    }

    /// The column of what it models, which is also what its views call it.
    pub fn modelled(&self) -> &'static str {
        self.card.columns.modelled_name()
    }

    /// Z of a model that decodes latent points which are numbers. Errors: they are classes or codes, or there are none.
    pub fn numbers(&self) -> Result<usize> {
        self.find_view("decode")?;
        match self.latent_kind()? {
            Kind::Vector(latent) => Ok(latent),
            kind => {
                Err(Error::Usage(format!("this asks for latent points that are numbers, and the model has {kind}")))
            }
        }
    }

    /// K, the classes of the labels that a view is told; `None` where it takes none.
    pub fn classes(&self, view: &str) -> Result<Option<usize>> {
        Ok(classes(self.find_view(view)?))
    }

    /// What a view makes of its inputs by name, each (N, width of its kind): its outputs, in its order. `seed` is of
    /// its noise.
    ///
    /// Errors: no such view, no room on the device. Panics where an input is missing, or not N whole rows.
    pub async fn view_async(&mut self, name: &str, inputs: &[(&str, &[f32])], seed: u64) -> Result<Vec<Vec<f32>>> {
        let view = self.find_view(name)?.clone();
        let Trained { backend, arena, model, stages, checkpoint, path, .. } = self;
        let is_first = stages.is_empty();
        stages.load(arena, &**model, backend, &view).await?;
        if is_first {
            checkpoint.load_model(arena, backend, path)?;
        }
        stages.run(backend, &view, inputs, seed).await
    }

    /// [`view_async`](Trained::view_async), blocking. Errors and panics: the same.
    pub fn view(&mut self, name: &str, inputs: &[(&str, &[f32])], seed: u64) -> Result<Vec<Vec<f32>>> {
        pollster::block_on(self.view_async(name, inputs, seed))
    }

    /// Records a view for so many rows: the program, its inputs and its outputs, (rows, width of its kind) each.
    pub fn record(&mut self, view: &View, rows: usize) -> (Program, Vec<Tensor>, Vec<Tensor>) {
        self.stages.record(&mut self.arena, &*self.model, view, rows)
    }

    /// Where its parameters and statistics are declared, and what holds their values.
    pub fn parameters(&self) -> (&Arena, &Checkpoint) {
        (&self.arena, &self.checkpoint)
    }

    /// Mean and logvar of q(z|x), (N,Z) each, of pictures (N,D) with values in `[0,1]`, or of what else the model takes,
    /// as [`Table::values`] gives it; and of their labels for a model that is told them.
    ///
    /// Errors: those of the device; a model that does not encode. Panics where `x` is not whole examples, or labels are
    /// missing.
    pub fn encode(&mut self, x: &[f32], labels: Option<&[usize]>) -> Result<[Vec<f32>; 2]> {
        let names: Vec<&str> = self.find_view("encode")?.outputs.iter().map(|port| port.name).collect();
        if names != ["mean", "logvar"] {
            return Err(Error::Usage(format!(
                "this asks for the mean and logvar of a Gaussian latent, and a model of the kind {} encodes to {}",
                self.card.model,
                names.join(", ")
            )));
        }
        let outputs = self.told("encode", (self.modelled(), x), labels, 0)?;
        Ok(outputs.try_into().unwrap_or_else(|_| unreachable!("the encoder has two outputs")))
    }

    /// All outputs of the view `encode`, of all pictures of a split. Its errors are those of
    /// [`encode_split`](Trained::encode_split), but that any kind of latent will do.
    pub fn codes_split(&mut self, split: &Table) -> Result<Vec<Vec<f32>>> {
        let mut all: Vec<Vec<f32>> = vec![Vec::new(); self.find_view("encode")?.outputs.len()];
        let chunk = chunk(split.dims());
        for start in (0..split.count).step_by(chunk) {
            let rows = start..(start + chunk).min(split.count);
            let labels = self.labels_of("encode", split, rows.clone())?;
            let outputs = self.told("encode", (self.modelled(), &split.values(rows)), labels.as_deref(), 0)?;
            all.iter_mut().zip(outputs).for_each(|(all, output)| all.extend(output));
        }
        Ok(all)
    }

    /// [`encode`](Trained::encode) of all pictures of a split, without holding all of them as f32. Its errors are the
    /// same, and: a split without the labels that the model is told.
    pub fn encode_split(&mut self, split: &Table) -> Result<[Vec<f32>; 2]> {
        let (mut mean, mut logvar) = (Vec::new(), Vec::new());
        let chunk = chunk(split.dims());
        for start in (0..split.count).step_by(chunk) {
            let rows = start..(start + chunk).min(split.count);
            let labels = self.labels_of("encode", split, rows.clone())?;
            let [m, v] = self.encode(&split.values(rows), labels.as_deref())?;
            mean.extend(m);
            logvar.extend(v);
        }
        Ok([mean, logvar])
    }

    /// Refuses a question about KL(q(z|x) || N(0,1)). Errors: the model's prior is another one.
    pub fn require_normal_prior(&self, what: &str) -> Result<()> {
        match self.views.iter().any(|view| view.name == "log_prior") {
            true => Err(Error::Usage(format!("{what} holds q(z|x) against N(0,1), and this model's prior is learned"))),
            false => Ok(()),
        }
    }

    /// The labels that a view is told of these pictures of a split; `None` where it takes none. Errors: the split has
    /// none, or one beyond the model's classes.
    pub fn labels_of(&self, view: &str, split: &Table, rows: Range<usize>) -> Result<Option<Vec<usize>>> {
        let Some(classes) = self.classes(view)? else { return Ok(None) };
        labels(split, rows, classes).map(Some)
    }

    /// Means of p(x|z), (N,D), of latent points (N,Z), and of labels for a model that is told them: the pictures to
    /// look at.
    ///
    /// Errors: those of the device; a model that does not decode. Panics where `z` is not whole points, or labels are
    /// missing.
    pub fn decode(&mut self, z: &[f32], labels: Option<&[usize]>) -> Result<Vec<f32>> {
        Ok(self.told("decode", ("z", z), labels, 0)?.remove(0))
    }

    /// A view of one input, and of the labels where it takes them.
    pub fn told(
        &mut self,
        view: &str,
        input: (&str, &[f32]),
        labels: Option<&[usize]>,
        seed: u64,
    ) -> Result<Vec<Vec<f32>>> {
        match self.classes(view)? {
            None => self.view(view, &[input], seed),
            Some(classes) => {
                let labels = labels.unwrap_or_else(|| panic!("{view} takes labels, which are not given"));
                self.view(view, &[input, ("label", &one_hot(labels.iter().copied(), classes))], seed)
            }
        }
    }

    /// The loss on a split, as the trainer takes it but with a KL weight of 1 where it has one, and the KL itself where
    /// another term stands in its place: -ELBO in nats for [`Latent::Sampled`],
    /// where the output is a likelihood. One z is drawn for each picture; seed and batch size decide which. With those
    /// of a run, the loss of its first epoch's model is the one in the run's metrics.
    ///
    /// Errors: no room on the device; a split without a column that the model takes; a loss that is not finite, because
    /// the parameters are too large to compute with.
    pub fn evaluate(&self, split: &Table, latent: Latent, seed: u64, batch_size: usize) -> Result<Means> {
        if let Ok(classes) = self.card.columns.label(LABELS) {
            labels(split, 0..split.count, classes)?;
        }
        let arena = &mut Arena::new();
        let model = self.card.open(arena)?;
        let mut backend = self.device.backend();
        let largest_part = backend.largest_binding();
        let data = (split, &self.card.columns);
        let evaluation = Evaluation::new(arena, &mut backend, &*model, data, batch_size, latent, largest_part)?;
        self.checkpoint.load_model(arena, &mut backend, &self.path)?;
        evaluation.write_clock(&mut backend, seed, 0, of_bound(&model.knobs()));
        backend.run(&evaluation.plan())?;
        let means = Means::of(&backend.read_one(evaluation.data.losses)?, model.terms());
        let is_held = model.terms().iter().any(|term| matches!(term.weight, Weight::Instead(_)));
        let loss = if is_held { means.sum(model.terms()) } else { means.loss };
        let means = Means { loss, ..means };
        if means.loss.is_finite() {
            return Ok(means);
        }
        Err(Error::file(&self.path, format!("its loss is {}: this model cannot be used", means.loss)))
    }
}

/// The labels of these pictures of a split, each below `classes`. Errors: the split has none, or one beyond them.
pub fn labels(split: &Table, rows: Range<usize>, classes: usize) -> Result<Vec<usize>> {
    let labels = split.labels().ok_or_else(|| {
        Error::Usage(format!(
            "the model is told labels, and these pictures have none: give one by --label 0 to {}",
            classes - 1
        ))
    })?;
    let labels: Vec<usize> = labels[rows].iter().map(|&label| usize::from(label)).collect();
    match labels.iter().find(|&&label| label >= classes) {
        None => Ok(labels),
        Some(label) => {
            Err(Error::Usage(format!("a picture has the label {label}, and the model knows 0 to {}", classes - 1)))
        }
    }
}

/// KL(q(z|x) || N(0,1)) of each of N encodings in nats: `mean` and `logvar` are (N,Z).
pub fn kl_by_row(mean: &[f32], logvar: &[f32], latent: usize) -> Vec<f64> {
    let row = |(mean, logvar): (&[f32], &[f32])| {
        mean.iter().zip(logvar).map(|(&m, &v)| divergence(f64::from(m), f64::from(v))).sum()
    };
    mean.chunks(latent).zip(logvar.chunks(latent)).map(row).collect()
}

/// KL(q(z|x) || N(0,1)) of each latent dimension in nats, averaged over N encodings: `mean` and `logvar` are (N,Z).
pub fn kl_by_dimension(mean: &[f32], logvar: &[f32], latent: usize) -> Vec<f64> {
    let mut sums = vec![0.0; latent];
    for (m, v) in mean.chunks(latent).zip(logvar.chunks(latent)) {
        for (sum, (&m, &v)) in sums.iter_mut().zip(m.iter().zip(v)) {
            *sum += divergence(f64::from(m), f64::from(v));
        }
    }
    let count = (mean.len() / latent) as f64;
    sums.into_iter().map(|sum| sum / count).collect()
}

#[cfg(test)]
mod tests;
