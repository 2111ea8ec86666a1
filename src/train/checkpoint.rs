//! Checkpoints: safetensors files that PyTorch loads under the names and shapes of its `state_dict`, and the reverse.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors};
use toml::Table;

use super::fit::LARGEST_PICTURE;
use super::foreign;
use super::tensor_file::{self, Outgoing};
use crate::arena::{Arena, Layout};
use crate::backend::Backend;
use crate::data::audio::spectrogram::Spectrogram;
use crate::data::features::Features;
use crate::data::table::{Columns, Kind, PICTURES, TEXT};
use crate::data::text::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::files::{read_regular, write_atomic_by};
use crate::models::parts::complete;
use crate::models::parts::networks::{Head, Networks};
use crate::models::{Model, find, presets, vae};
use crate::tensor::Tensor;

/// Larger files are not checkpoints of these models; nothing of that size is read into memory.
const LARGEST_FILE: u64 = 8 << 30;

/// Characters of a damaged card that are shown.
const MOST_SHOWN: usize = 1000;

/// Named f32 tensors with text beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Name to shape and values.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Text by key, at most one entry: [`MODEL`], or how far a run has come in its state file.
    pub metadata: BTreeMap<String, String>,
    /// What was done to a file that was read, for the user: numbers of another kind, other names. Not written.
    pub notices: Vec<String>,
}

/// What a model file says of itself beside its parameters, under the metadata key [`MODEL`].
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ModelCard {
    /// The model's name in [`MODELS`](crate::models::MODELS).
    pub model: String,
    /// Its settings, all of them: what the parameters' names and shapes follow from, with the columns.
    pub settings: Table,
    /// The columns of the data that it takes.
    pub columns: Columns,
    /// Of a model of vectors what their numbers are, and the scale on which it takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// Of a model of sentences what their ids stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Vocabulary>,
    /// Of a model of recordings how these become its pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectrogram: Option<Spectrogram>,
    /// The data set it was trained on.
    pub dataset: String,
    /// Epochs it was trained; 0 where the file does not say.
    pub epoch: usize,
}

impl ModelCard {
    /// The model that it describes, declared in the arena. Errors: it describes none.
    pub fn open(&self, arena: &mut Arena) -> Result<Box<dyn Model>> {
        let entry = find(&self.model)?;
        (entry.check)(&self.settings)?;
        (entry.open)(arena, &self.settings, &self.columns)
    }

    /// (C,H,W) of its pictures. Errors: it takes none.
    pub fn picture(&self) -> Result<[usize; 3]> {
        match self.columns.0.get(PICTURES) {
            Some(&Kind::Picture(shape)) => Ok(shape),
            _ => Err(Error::Usage(format!("this model is of {}: it has no pictures to draw", self.columns))),
        }
    }

    /// Of a file that says nothing of itself: a VAE of these settings for pictures of this shape.
    fn foreign(settings: Table, shape: [usize; 3]) -> ModelCard {
        let (model, columns) = (vae::ENTRY.name.to_string(), Columns::of_pictures(shape, 0));
        let dataset = "unknown".into();
        ModelCard { model, settings, columns, features: None, vocabulary: None, spectrogram: None, dataset, epoch: 0 }
    }

    /// From JSON. Cards of older versions are of the only model there was, and have the pictures' shape among its
    /// settings.
    fn parse(text: &str) -> std::result::Result<ModelCard, String> {
        let mut card: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if let Some(mut config) = card.get_mut("config").map(serde_json::Value::take) {
            let config = config.as_object_mut().ok_or("its settings are no table")?;
            config.retain(|_, value| !value.is_null());
            let shape = config.remove("shape").ok_or("it has no shape")?;
            card["columns"] = serde_json::json!({ PICTURES: { "picture": shape } });
            let settings: Table = serde_json::from_value(config.clone().into()).map_err(|e| e.to_string())?;
            let mut complete = (vae::ENTRY.defaults)();
            complete.extend(settings);
            card["settings"] = serde_json::to_value(complete).map_err(|e| e.to_string())?;
            card["model"] = vae::ENTRY.name.into();
        }
        serde_json::from_value(card).map_err(|e| e.to_string())
    }
}

/// Whether a tensor of this name is a whole number: i64 in files, as PyTorch has it.
fn is_count(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What wrappers put before the names of a model's tensors: DataParallel and its like, torch.compile, and a module that
/// keeps the model as `self.model`, as many of Lightning do.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// The tensors without the wrappers that all their names begin with, and these.
fn unwrapped(mut tensors: Tensors) -> (Tensors, Option<String>) {
    let mut wrapped = String::new();
    while let Some(wrapper) = WRAPPERS.into_iter().find(|w| tensors.keys().all(|name| name.starts_with(w))) {
        if tensors.is_empty() {
            break;
        }
        tensors = tensors.into_iter().map(|(name, tensor)| (name[wrapper.len()..].to_string(), tensor)).collect();
        wrapped += wrapper;
    }
    (tensors, (!wrapped.is_empty()).then_some(wrapped))
}

/// Everything of a model that files keep: name, tensor on the device, its order there, shape in a file.
fn entries(arena: &Arena) -> impl Iterator<Item = (&str, Tensor, Layout, Vec<usize>)> {
    let parameters =
        arena.parameters().iter().map(|p| (&*p.name, p.value, p.layout, p.layout.file_shape(p.value.shape())));
    parameters.chain(arena.statistics().iter().map(|s| (&*s.name, s.value, s.layout, s.file_shape())))
}

/// Metadata key of a [`ModelCard`], as JSON.
pub const MODEL: &str = "elbo.model";

/// A tensor that is in the file's order already.
fn outgoing<'a>(name: &'a str, shape: &'a [usize], values: &'a [f32]) -> Outgoing<'a> {
    Outgoing { name, values, shape, layout: Layout::Same, file_shape: shape.to_vec(), is_count: is_count(name) }
}

/// Writes the bytes of [`Checkpoint::of_model`] straight from the flat buffers' values, without a copy of them, and
/// with them `more` flat tensors by name; `metadata` is text under a key. Errors: those of the writer.
pub fn write_model(
    out: &mut dyn io::Write,
    arena: &Arena,
    [parameters, statistics]: [&[f32]; 2],
    more: &[(&str, &[f32])],
    metadata: (&str, &str),
) -> io::Result<()> {
    let kept: Vec<_> = entries(arena).collect();
    let more: Vec<_> = more.iter().map(|&(name, values)| (name, [values.len()], values)).collect();
    let of_model = kept.iter().map(|(name, tensor, layout, shape)| {
        let flat = if arena.flat_parameters().buffer == tensor.buffer { parameters } else { statistics };
        let values = &flat[tensor.offset..][..tensor.len()];
        let (layout, file_shape) = (*layout, shape.clone());
        Outgoing { name, values, shape: tensor.shape(), layout, file_shape, is_count: is_count(name) }
    });
    let tensors = of_model.chain(more.iter().map(|(name, shape, values)| outgoing(name, shape, values)));
    tensor_file::write(out, tensors.collect(), Some(metadata))
}

impl Checkpoint {
    /// Numbers of 16 and 64 bits become f32, and names lose what a wrapper has put in front of them, each with a
    /// notice. Errors: no such file, none that is regular, no memory for it, not safetensors, truncated, a tensor of
    /// whole numbers, one that holds NaN or infinity.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        Checkpoint::parse(&read_regular(path, LARGEST_FILE)?, path)
    }

    /// What a file's bytes hold; `path` is for messages. Errors: those of [`read`](Checkpoint::read) but of the file.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Checkpoint> {
        let damaged = |e| match foreign::kind(bytes) {
            Some(kind) => Error::file(path, format!("not a safetensors file: {kind}")),
            None => Error::file(path, format!("not a whole safetensors file: {e}")),
        };
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let (mut tensors, mut notices, mut converted) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (name, view) in file.tensors() {
            let mut values = Vec::new();
            let count = view.data().len() / view.dtype().bitsize().div_ceil(8);
            if values.try_reserve_exact(count).is_err() {
                return Err(Error::file(path, format!("there is no memory for {name} of {} MiB", count >> 18)));
            }
            let bytes = view.data();
            match view.dtype() {
                Dtype::F32 => values.extend(bytes.as_chunks().0.iter().map(|&word| f32::from_ne_bytes(word))),
                Dtype::F64 => values.extend(bytes.as_chunks().0.iter().map(|&word| f64::from_ne_bytes(word) as f32)),
                Dtype::F16 => values.extend(bytes.as_chunks().0.iter().map(|&word| f16::from_ne_bytes(word).to_f32())),
                Dtype::BF16 => {
                    values.extend(bytes.as_chunks().0.iter().map(|&word| bf16::from_ne_bytes(word).to_f32()))
                }
                Dtype::I64 if is_count(&name) => {
                    values.extend(bytes.as_chunks().0.iter().map(|&word| i64::from_ne_bytes(word) as f32));
                }
                other => return Err(Error::file(path, format!("{name} is {other:?}; save it as float32"))),
            }
            if !matches!(view.dtype(), Dtype::F32 | Dtype::I64) && !converted.contains(&view.dtype()) {
                converted.push(view.dtype());
            }
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                return Err(Error::file(path, format!("{name}[{i}] is {}: this model cannot be used", values[i])));
            }
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        if !converted.is_empty() {
            let kinds: Vec<String> = converted.iter().map(|kind| format!("{kind:?}")).collect();
            notices.push(format!("note: {} has numbers of {}, taken as F32", path.display(), kinds.join(" and ")));
        }
        let (tensors, wrapped) = unwrapped(tensors);
        if let Some(wrapped) = wrapped {
            notices.push(format!("note: {}: the names of its tensors are taken without `{wrapped}`", path.display()));
        }
        Ok(Checkpoint { tensors, metadata, notices })
    }

    /// Replaces the file as a whole. The bytes depend on the content alone. Errors: those of
    /// [`write_atomic`](crate::files::write_atomic). Panics on more than one metadata entry.
    pub fn write(&self, path: &Path) -> Result<()> {
        let tensors = self.tensors.iter().map(|(name, (shape, values))| outgoing(name, shape, values));
        assert!(self.metadata.len() <= 1, "a checkpoint has one metadata entry");
        let metadata = self.metadata.iter().next().map(|(key, text)| (key.as_str(), text.as_str()));
        write_atomic_by(path, |file| tensor_file::write(file, tensors.collect(), metadata))
    }

    /// The parameters and statistics of an arena, by name and in PyTorch's order, from the flat buffers' values.
    pub fn of_model(arena: &Arena, parameters: &[f32], statistics: &[f32]) -> Checkpoint {
        let tensors = entries(arena).map(|(name, tensor, layout, shape)| {
            let flat = if arena.flat_parameters().buffer == tensor.buffer { parameters } else { statistics };
            let values = layout.to_file(&flat[tensor.offset..][..tensor.len()], tensor.shape());
            (name.to_string(), (shape, values))
        });
        Checkpoint { tensors: tensors.collect(), ..Checkpoint::default() }
    }

    /// The values of the tensor of this name, row-major. Errors, naming the file `path`: no such tensor, another shape.
    pub fn tensor(&self, name: &str, shape: &[usize], path: &Path) -> Result<&[f32]> {
        let Some((found, values)) = self.tensors.get(name) else {
            return Err(Error::file(path, format!("has no tensor {name} {shape:?}; it holds {}", self.names())));
        };
        if found != shape {
            return Err(Error::file(path, format!("{name} has shape {found:?}, the model needs {shape:?}")));
        }
        Ok(values)
    }

    /// That every parameter and statistic of the arena is here, with its shape, and nothing else. Errors: the first
    /// tensor that is missing, too many, or of another shape.
    pub fn check_model(&self, arena: &Arena, path: &Path) -> Result<()> {
        for name in self.tensors.keys() {
            if !entries(arena).any(|(known, ..)| known == name) {
                return Err(Error::file(path, format!("holds {name}, which the model does not have")));
            }
        }
        self.for_each_of_model(arena, path, |_, _| ())
    }

    /// Writes every parameter and statistic of the arena to the device. Errors: those of
    /// [`check_model`](Checkpoint::check_model); then nothing is written.
    pub fn load_model(&self, arena: &Arena, backend: &mut Backend, path: &Path) -> Result<()> {
        self.check_model(arena, path)?;
        self.for_each_of_model(arena, path, |tensor, values| backend.write(tensor, &values))
    }

    /// Calls `f` with every parameter and statistic of the arena and its values in the device's order. Errors: a tensor
    /// that is not here or has another shape.
    pub fn for_each_of_model(&self, arena: &Arena, path: &Path, mut f: impl FnMut(Tensor, Vec<f32>)) -> Result<()> {
        for (name, tensor, layout, shape) in entries(arena) {
            f(tensor, layout.from_file(self.tensor(name, &shape, path)?, tensor.shape()));
        }
        Ok(())
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.tensors.keys().map(String::as_str).collect();
        if names.is_empty() { "nothing".into() } else { names.join(", ") }
    }

    /// What the model is: from the card where this program wrote the file, else from the names and shapes of a PyTorch
    /// `state_dict` (then with relu and a Bernoulli output, as in pytorch/examples).
    ///
    /// Errors: a card that is damaged or describes no model; without a card, names of no model known here.
    pub fn card(&self, path: &Path) -> Result<ModelCard> {
        if let Some(text) = self.metadata.get(MODEL) {
            let card =
                ModelCard::parse(text).map_err(|e| Error::file(path, format!("its model card is damaged: {e}")))?;
            let numbers = |kind: &Kind| match kind {
                Kind::Picture(shape) => shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0),
                Kind::Label(n) | Kind::Vector(n) | Kind::Items(n) => *n,
                Kind::Tokens { vocabulary, longest } => *vocabulary.max(longest),
                Kind::Steps { channels, longest } => channels.checked_mul(*longest).unwrap_or(0),
                // Of no data set, and so no column of a model.
                Kind::Categorical { .. } | Kind::Codes { .. } => 0,
            };
            let is_sized = card.columns.0.values().all(|kind| (1..=LARGEST_PICTURE).contains(&numbers(kind)));
            let hidden = card.settings.get("hidden").and_then(|hidden| hidden.as_array()).map_or(1, Vec::len);
            let is_layered = (1..=self.tensors.len()).contains(&hidden);
            let is_scaled = match (&card.features, card.columns.modelled()) {
                (Some(features), Some(Kind::Vector(width))) => features.is_whole(width),
                (Some(features), Some(Kind::Steps { channels, .. })) => features.is_whole(channels),
                (None, Some(Kind::Steps { .. })) => false,
                (features, _) => features.is_none(),
            };
            let is_spelt = match (&card.vocabulary, card.columns.0.get(TEXT)) {
                (Some(vocabulary), Some(&Kind::Tokens { vocabulary: ids, longest })) => {
                    longest > 0 && vocabulary.is_whole(ids)
                }
                (vocabulary, kind) => vocabulary.is_none() && kind.is_none(),
            };
            let is_heard = match (&card.spectrogram, card.columns.0.get(PICTURES)) {
                (Some(spectrogram), Some(&Kind::Picture(shape))) => spectrogram.is_whole(shape),
                (spectrogram, _) => spectrogram.is_none(),
            };
            if !is_sized || !is_scaled || !is_spelt || !is_heard || !is_layered || card.open(&mut Arena::new()).is_err()
            {
                // A vocabulary is long.
                let shown: String = text.chars().take(MOST_SHOWN).collect();
                return Err(Error::file(path, format!("its model card does not fit together: {shown}")));
            }
            return Ok(card);
        }
        if self.tensors.get("encoder.0.0.weight").is_some_and(|(shape, _)| shape.len() == 4) {
            // The strides are nowhere in a state_dict: of listed networks only the article's is known by its names.
            let (_, article) = presets::find("mnist-conv")?;
            return Ok(ModelCard::foreign(article.settings().own, article.x.as_picture()));
        }
        let rows_of = |name: &str| match self.tensors.get(name) {
            Some((shape, _)) if shape.len() == 2 && shape.iter().all(|&d| d > 0) => Some([shape[0], shape[1]]),
            _ => None,
        };
        let unknown = || {
            Error::file(
                path,
                format!("is not a VAE this program knows (fc1, fc21, fc22, ...); it holds {}", self.names()),
            )
        };
        let hidden: Vec<[usize; 2]> = match rows_of("fc1.weight") {
            Some(first) => vec![first],
            None => (0..).map_while(|i| rows_of(&format!("encoder.{}.weight", 2 * i))).collect(),
        };
        let [_, input] = *hidden.first().ok_or_else(unknown)?;
        let (head, latent) = match (rows_of("fc21.weight"), rows_of("fc2.weight")) {
            (Some([latent, _]), _) => (Head::Split, latent),
            (_, Some([both, _])) if both > 1 => (Head::Fused, both / 2),
            _ => return Err(unknown()),
        };
        let side = input.isqrt();
        let networks =
            Networks { hidden: hidden.iter().map(|[rows, _]| *rows).collect(), latent, head, ..Networks::default() };
        let config = vae::Config { networks, ..vae::Config::default() };
        let shape = if side * side == input { [1, side, side] } else { [1, 1, input] };
        Ok(ModelCard::foreign(complete(&config), shape))
    }
}

#[cfg(test)]
mod tests;
