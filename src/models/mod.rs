//! The models. Each is one file that reads like its paper: the objective in its header, forward lines above, mirrored
//! backward lines below. Everything that a caller must know of a model is data: the columns it takes, its terms, its
//! knobs, its views. [`MODELS`] lists them; trainer, checkpoints, inference, instruments and commands are written
//! against [`Model`] alone.
//!
//! B batch, D pixels of a picture (C,H,W), K classes, Z latent dimensions.

pub mod batch;
pub mod bayesian;
pub mod classifier;
pub mod conditional;
pub mod deep_markov;
pub mod denoising;
pub mod draw;
#[cfg(test)]
mod drawn;
pub mod gumbel;
pub mod ladder;
pub mod latent_classifier;
pub mod m2;
pub mod parts;
pub mod pixelcnn;
pub mod presets;
pub mod recommendation;
pub mod sentence;
pub mod series;
pub mod super_resolution;
pub mod vae;
pub mod vae_gan;
pub mod vq;
pub mod vrnn;

use std::sync::Mutex;

use rand_chacha::ChaCha8Rng;
use toml::Table;

use crate::arena::Arena;
use crate::data::table::{Columns, Kind, Table as Examples};
use crate::error::{Error, Result};
use crate::keys::{Key, hint};
use crate::models::batch::Batch;
use crate::models::draw::Draw;
use crate::models::parts::likelihood::Likelihood;
use crate::models::presets::Preset;
use crate::program::Recorder;
use crate::schedule::KnobSchedule;
use crate::tensor::Tensor;

/// All of them, in the order that lists show.
pub static MODELS: &[&Entry] = &[
    &vae::ENTRY,
    &conditional::ENTRY,
    &denoising::ENTRY,
    &latent_classifier::ENTRY,
    &m2::ENTRY,
    &gumbel::ENTRY,
    &recommendation::ENTRY,
    &bayesian::ENTRY,
    &vq::ENTRY,
    &pixelcnn::ENTRY,
    &ladder::ENTRY,
    &vae_gan::ENTRY,
    &super_resolution::ENTRY,
    &classifier::ENTRY,
    &sentence::ENTRY,
    &vrnn::ENTRY,
    &deep_markov::ENTRY,
    &series::ENTRY,
];

/// A model's entry in the list: what is known of it before it is opened.
pub struct Entry {
    /// The value of the settings' key `model`.
    pub name: &'static str,
    /// One line for lists and help.
    pub about: &'static str,
    /// What is minimised, and where it is from.
    pub formula: &'static str,
    /// The columns of the data that it trains on, by name.
    pub takes: &'static [&'static str],
    /// The terms of the loss with some settings, which may lack keys, in the order of [`Losses`].
    pub terms: fn(&Table) -> &'static [Term],
    /// Its settings, in groups.
    pub keys: &'static [&'static [Key]],
    /// Every one of them with its default.
    pub defaults: fn() -> Table,
    /// Every one of them, from some: see [`reads`](crate::keys::reads). Refuses values that are not of their keys'
    /// kinds, in one line.
    pub reads: fn(Table) -> std::result::Result<Table, String>,
    /// Refuses complete settings of which one is out of its range.
    pub check: fn(&Table) -> Result<()>,
    /// What a group of settings that lies over others turns off in these, such as listed networks under hidden sizes.
    pub overlay: fn(&mut Table, &Table),
    /// Fills in settings of a new run that follow from the number of training examples, or from a trained model that
    /// others name. Errors: that model is not there, or of another kind.
    pub fill_in: fn(&mut Table, usize) -> Result<()>,
    /// Its presets: complete settings under a name.
    pub presets: &'static [Preset],
    /// Declares the parameters for data of these columns. Errors: settings that do not fit together or the columns.
    pub open: fn(&mut Arena, &Table, &Columns) -> Result<Box<dyn Model>>,
}

impl Entry {
    /// The names of its settings.
    pub fn key_names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.keys.iter().flat_map(|group| group.iter()).map(|key| key.name)
    }

    /// Declares the parameters in an arena that is thrown away: for what follows from settings and columns alone.
    /// Errors: as for `open`.
    pub fn outline(&self, settings: &Table, columns: &Columns) -> Result<Box<dyn Model>> {
        (self.open)(&mut Arena::new(), settings, columns)
    }
}

/// Models that a program of its own has [added](add).
static ADDED: Mutex<Vec<&'static Entry>> = Mutex::new(Vec::new());

/// Puts a model on the list of this process, so that settings and checkpoints can name it. Panics on the name of
/// another one.
pub fn add(entry: &'static Entry) {
    let is_known = all().iter().any(|known| std::ptr::eq(*known, entry));
    if !is_known {
        assert!(find(entry.name).is_err(), "there is a model called {} already", entry.name);
        ADDED.lock().expect("nothing panics while it is held").push(entry);
    }
}

/// [`MODELS`], and those that were added.
pub fn all() -> Vec<&'static Entry> {
    let added = ADDED.lock().expect("nothing panics while it is held");
    MODELS.iter().chain(added.iter()).copied().collect()
}

/// The model of that name. Errors: there is none, with the nearest.
pub fn find(name: &str) -> Result<&'static Entry> {
    let all = all();
    let found = all.iter().find(|entry| entry.name == name).copied();
    found.ok_or_else(|| {
        Error::Usage(format!("no model is called `{name}`{}", hint(name, all.iter().map(|entry| entry.name))))
    })
}

/// A model's loss terms: each has parts in nats, whose sum over the batch is the term. One that counts nothing in the
/// loss may have another unit. One tensor for each of the model's [terms](Model::terms).
pub type Losses = Vec<Tensor>;

/// A term of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// As in the header of `metrics.csv`, after `train_` or `test_`.
    pub name: &'static str,
    /// What it is multiplied by in the loss.
    pub weight: Weight,
    /// What it is, for whoever reads the numbers.
    pub about: &'static str,
}

/// What a term counts in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Once.
    One,
    /// As much as the knob of that name says.
    Knob(&'static str),
    /// Not at all: it is reported beside the loss.
    Zero,
    /// Not at all, though it is a part of -ELBO: another term stands in its place.
    Replaced,
    /// As much as the knob of that name says, in the place of a part of -ELBO and no part of it.
    Instead(&'static str),
}

impl Weight {
    /// What a term counts where the knobs are `knob`.
    pub fn of(self, knob: f64) -> f64 {
        match self {
            Weight::One => 1.0,
            Weight::Knob(_) | Weight::Instead(_) => knob,
            Weight::Zero | Weight::Replaced => 0.0,
        }
    }
}

/// A value that changes over the run by a schedule. The device finds it in the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// Its name, also of the setting that it starts from.
    pub name: &'static str,
    /// Before its schedule.
    pub value: f64,
    /// The factor over the run.
    pub schedule: KnobSchedule,
}

/// Whether the knob of that name weighs a part of -ELBO, which is the bound where it is 1.
pub fn weighs_bound(knob: &str) -> bool {
    ["kl_weight", "tc_weight"].contains(&knob)
}

/// What a trained model can be asked: named inputs to named outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// `encode`, `decode`, `reconstruct`, `score`.
    pub name: &'static str,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
}

/// An input or an output of a view: (B, width of its kind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// As in `x`, `label`, `z`, `mean`.
    pub name: &'static str,
    /// What its rows are.
    pub kind: Kind,
}

impl View {
    /// A view of that name with no ports yet.
    pub fn new(name: &'static str) -> View {
        View { name, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// With one more input.
    pub fn takes(mut self, name: &'static str, kind: Kind) -> View {
        self.inputs.push(Port { name, kind });
        self
    }

    /// With one more output.
    pub fn gives(mut self, name: &'static str, kind: Kind) -> View {
        self.outputs.push(Port { name, kind });
        self
    }

    /// The kind of an input; `None` where it takes nothing of that name.
    pub fn input(&self, name: &str) -> Option<Kind> {
        self.inputs.iter().find(|port| port.name == name).map(|port| port.kind)
    }

    /// The kind of an output; `None` where it gives nothing of that name.
    pub fn output(&self, name: &str) -> Option<Kind> {
        self.outputs.iter().find(|port| port.name == name).map(|port| port.kind)
    }
}

/// A model. Its parameters lie in the arena it was opened in; what it does is recorded, not run.
pub trait Model {
    /// Where it stands in the list.
    fn entry(&self) -> &'static Entry;

    /// All its settings: what a checkpoint and `run.toml` keep.
    fn settings(&self) -> Table;

    /// The terms of its loss, in the order of [`Losses`].
    fn terms(&self) -> &'static [Term] {
        (self.entry().terms)(&self.settings())
    }

    /// As in `784-400-20`.
    fn describe(&self) -> String;

    /// The initial values of every parameter, the same for the same state of `rng`.
    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)>;

    /// The values of its [constants](Arena::frozen), from files that the settings name. Errors: no file is named or
    /// there, or it is not of such a model.
    fn constants(&self) -> Result<Vec<(Tensor, Vec<f32>)>> {
        Ok(Vec::new())
    }

    /// What changes over the run by a schedule. The first is the one that [`gaussian_kl`](crate::kernels::gaussian_kl)
    /// reads.
    fn knobs(&self) -> Vec<Knob> {
        Vec::new()
    }

    /// What somebody who trains it should know before it starts, in one line.
    fn notice(&self) -> Option<String> {
        None
    }

    /// The distribution whose -log p is the first term, where there is one: then a loss can be told in bits a
    /// dimension.
    fn output(&self) -> Option<Likelihood> {
        None
    }

    /// Refuses batches that cannot be trained on. Errors: why, by the name of the option or the layer.
    fn check_batch(&self, _batch_size: usize) -> Result<()> {
        Ok(())
    }

    /// Refuses so few training examples that there is nothing to learn. Errors: why, by the name of the option.
    fn check_examples(&self, _count: usize) -> Result<()> {
        Ok(())
    }

    /// Refuses training examples that the distribution of its output is none of. Errors: why, by the name of the
    /// option.
    fn check_values(&self, _train: &Examples) -> Result<()> {
        Ok(())
    }

    /// The terms for a batch, and their gradients added to the parameters': the forward lines, the loss, then the
    /// backward lines mirrored.
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses;

    /// The terms for a batch, by running statistics and without dropout or free bits.
    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses;

    /// What it can be asked once it is trained.
    fn views(&self) -> Vec<View>;

    /// Records a view; the outputs in its order. Panics on a view that it does not have.
    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], draw: &mut Draw) -> Vec<Tensor>;

    /// The view of that name.
    fn find_view(&self, name: &str) -> Option<View> {
        self.views().into_iter().find(|view| view.name == name)
    }
}
