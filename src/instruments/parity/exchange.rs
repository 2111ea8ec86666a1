//! What both sides start from and are fed with.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::draws::{Noise, asks, draw};
use super::file::{File, LARGEST_FILE};
use super::{RECORDING, SCRIPT};
use crate::arena::{Arena, Statistic};
use crate::data::labelled::{self, UNLABELLED};
use crate::data::table::{Columns, Kind, LABELS, PICTURES, Table};
use crate::error::{Error, Result};
use crate::files::{read_regular, write_atomic};
use crate::kernels::clock::Row;
use crate::models::Term;
use crate::train::checkpoint::Checkpoint;
use crate::train::pictures::one_hot;
use crate::train::programs;
use crate::train::rows::rows;
use crate::train::settings::{Reduction, Settings};

pub(super) const EXCHANGE: &str = "exchange.safetensors";
const SCRIPTS: [(&str, &str); 8] = [
    (SCRIPT, include_str!("../../../scripts/pytorch_parity.py")),
    ("pytorch_network.py", include_str!("../../../scripts/pytorch_network.py")),
    ("pytorch_sequences.py", include_str!("../../../scripts/pytorch_sequences.py")),
    ("pytorch_codes.py", include_str!("../../../scripts/pytorch_codes.py")),
    ("pytorch_ladder.py", include_str!("../../../scripts/pytorch_ladder.py")),
    ("pytorch_sentence.py", include_str!("../../../scripts/pytorch_sentence.py")),
    ("pytorch_series.py", include_str!("../../../scripts/pytorch_series.py")),
    ("pytorch_vae_gan.py", include_str!("../../../scripts/pytorch_vae_gan.py")),
];

/// What the names of initial parameters and of constants begin with in the file.
const INITIAL: &str = "init.";
const CONSTANT: &str = "constant.";
/// Metadata key of [`About`], as JSON.
const ABOUT: &str = "elbo.parity";
/// The most bytes of pictures or vectors an exchange may hold.
const MOST_BYTES: usize = 2 << 30;

/// Settings, initial parameters, examples and noise of a number of training steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// What is trained, and how.
    pub about: About,
    /// Training steps, at least 1.
    pub steps: usize,
    x: Examples,
    /// (steps,B), [`UNLABELLED`] where there is none; `None` where the model takes no labels.
    labels: Option<Vec<u8>>,
    /// The random numbers that the model asks for, in order: the shape of a step's, and (steps, shape) the values.
    pub(super) noise: Vec<Noise>,
    /// Parameters before the first step, in PyTorch's order.
    pub(super) initial: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// The model's constants, likewise.
    pub(super) constants: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// SHA-256 of the file.
    pub(super) digest: String,
}

/// What the model is of, step after step.
#[derive(Clone, Debug, PartialEq)]
enum Examples {
    /// (steps,B,C,H,W), one byte a pixel.
    Pictures(Vec<u8>),
    /// (steps,B,F); of items (steps,B,I) zeros and ones; of sentences (steps,B,longest) the bits of ids.
    Vectors(Vec<f32>),
}

impl Examples {
    /// Bytes, or numbers.
    fn len(&self) -> usize {
        match self {
            Examples::Pictures(bytes) => bytes.len(),
            Examples::Vectors(numbers) => numbers.len(),
        }
    }
}

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The preset's name, or the run's folder.
    pub name: String,
    /// Where the examples are from.
    pub data: String,
    /// All settings, with the seed of the initial parameters, the order and the noise.
    pub settings: Settings,
    /// The columns of the data that the model takes.
    pub columns: Columns,
}

/// Whether what is modelled is sentences.
fn is_text(columns: &Columns) -> bool {
    matches!(columns.modelled(), Some(Kind::Tokens { .. }))
}

impl Exchange {
    /// The first steps of a training run with these settings, seed included: the order and the noise are those of
    /// `elbo train` without augmentation on these examples, which start over when they are used up.
    ///
    /// Errors: no step or batch, a network that does not fit the examples, one with dropout, more than 2 GiB of
    /// examples.
    pub fn new(
        name: &str,
        data: &str,
        settings: &Settings,
        (split, columns): (&Table, &Columns),
        steps: usize,
    ) -> Result<Exchange> {
        let batch = settings.batch_size;
        for (option, value) in [("steps", steps), ("batch-size", batch)] {
            if value == 0 {
                return Err(Error::Usage(format!("--{option} is 0, but must be at least 1")));
            }
        }
        let rows = steps.saturating_mul(batch);
        let in_value = if split.shape().is_some() { 1 } else { 4 };
        let bytes = rows.saturating_mul(split.dims()).saturating_mul(in_value);
        if bytes > MOST_BYTES {
            return Err(Error::Usage(format!(
                "the examples of {steps} steps of {batch} are {} MiB; take fewer --steps or a smaller --batch-size, \
                 up to {} MiB",
                bytes >> 20,
                MOST_BYTES >> 20
            )));
        }
        let mut arena = Arena::new();
        let entry = settings.entry()?;
        let columns = columns.only(entry.takes)?;
        let model = (entry.open)(&mut arena, &settings.own, &columns)?;
        let mut networks =
            ["encoder", "decoder", "discriminator"].into_iter().filter_map(|key| settings.own(key)?.as_str());
        if networks.any(|text| text.contains("dropout")) {
            return Err(Error::Usage(format!(
                "{name} has dropout, and PyTorch draws its masks from other random numbers: \
                 only networks without it can be compared"
            )));
        }

        let parameters = programs::initial(&arena, &*model, settings.seed);
        let mut statistics = vec![0.0; arena.flat_statistics().map_or(0, |s| s.len())];
        let constants = model.constants()?;
        for (tensor, values) in &constants {
            statistics[tensor.offset..][..values.len()].copy_from_slice(values);
        }
        let mut initial = Checkpoint::of_model(&arena, &parameters, &statistics).tensors;
        let is_constant = |s: &Statistic| constants.iter().any(|(tensor, _)| *tensor == s.value);
        let named = arena.statistics().iter().filter(|s| is_constant(s)).map(|s| &s.name);
        let constants = named.filter_map(|name| initial.remove_entry(name)).collect();
        initial.retain(|name, _| arena.parameters().iter().any(|p| p.name == *name));

        let (order, noise) = draw(settings, &columns, split.count, steps)?;
        let dims = split.dims();
        let example = |n: usize| order[n % order.len()] as usize;
        let x = match split.shape() {
            Some(_) => {
                let picture = |n: usize| &split.pixels()[example(n) * dims..][..dims];
                Examples::Pictures((0..rows).flat_map(picture).copied().collect())
            }
            None => {
                let vector = |n: usize| split.values(example(n)..example(n) + 1);
                let values = (0..rows).flat_map(vector);
                // Words lie in files as numbers, which every reader knows; a step has their bits.
                let of_words = |bits: f32| bits.to_bits() as f32;
                Examples::Vectors(if is_text(&columns) { values.map(of_words).collect() } else { values.collect() })
            }
        };
        let labels = match (columns.0.contains_key(LABELS), settings.labels()) {
            (false, _) => None,
            (true, None) => Some(split.labels().expect("columns of labels have labels").to_vec()),
            (true, Some(count)) => Some(labelled::labels(split, count, settings.seed, data)?),
        };
        let labels = labels.map(|labels| (0..rows).map(|n| labels[example(n)]).collect());
        let about = About { name: name.into(), data: data.into(), settings: settings.clone(), columns };
        let mut exchange = Exchange { about, steps, x, labels, noise, initial, constants, digest: String::new() };
        exchange.digest = digest(&exchange.bytes());
        Ok(exchange)
    }

    /// Writes `exchange.safetensors` and the script into the folder, and removes what an earlier one recorded there.
    /// Errors: a folder that cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (name, text) in SCRIPTS {
            write_atomic(&folder.join(name), text.as_bytes())?;
        }
        let old = folder.join(RECORDING);
        if old.exists() {
            fs::remove_file(&old).map_err(Error::io("remove", &old))?;
        }
        write_atomic(&folder.join(EXCHANGE), &self.bytes())
    }

    /// Errors: no exchange in the folder, or a damaged one.
    pub fn read(folder: &Path) -> Result<Exchange> {
        let path = folder.join(EXCHANGE);
        let bytes = read_regular(&path, LARGEST_FILE)?;
        let file = File::open(&path, &bytes)?;
        let text = file.metadata.get(ABOUT).ok_or_else(|| Error::file(&path, "is no exchange of elbo parity"))?;
        let about: About =
            serde_json::from_str(text).map_err(|e| Error::file(&path, format!("its settings are damaged: {e}")))?;
        let (shape, x) = match about.columns.modelled() {
            Some(Kind::Vector(_) | Kind::Items(_) | Kind::Tokens { .. } | Kind::Steps { .. }) => {
                let (shape, bytes) = file.bytes(PICTURES, Dtype::F32)?;
                (shape, Examples::Vectors(bytemuck::pod_collect_to_vec(bytes)))
            }
            _ => {
                let (shape, bytes) = file.bytes(PICTURES, Dtype::U8)?;
                (shape, Examples::Pictures(bytes.to_vec()))
            }
        };
        let steps = shape.first().copied().unwrap_or(0);
        let named = |prefix: &str| -> Result<BTreeMap<_, _>> {
            let names = file.tensors.names().into_iter().filter(|name| name.starts_with(prefix));
            let tensor = |name: &str| {
                let (shape, bytes) = file.bytes(name, Dtype::F32)?;
                Ok((name[prefix.len()..].to_string(), (shape, bytemuck::pod_collect_to_vec(bytes))))
            };
            names.map(tensor).collect()
        };
        let labels = match about.columns.0.contains_key(LABELS) {
            true => Some(file.bytes(LABELS, Dtype::U8)?.1.to_vec()),
            false => None,
        };
        let drawn = (0..).map(|i| format!("noise.{i}")).take_while(|name| file.view(name).is_ok());
        let drawn = drawn.map(|name| {
            let (shape, bytes) = file.bytes(&name, Dtype::F32)?;
            Ok((shape.get(1..).unwrap_or_default().to_vec(), bytemuck::pod_collect_to_vec(bytes)))
        });
        let exchange = Exchange {
            steps,
            x,
            labels,
            noise: drawn.collect::<Result<_>>()?,
            initial: named(INITIAL)?,
            constants: named(CONSTANT)?,
            digest: digest(&bytes),
            about,
        };
        match exchange.fits() {
            true => Ok(exchange),
            false => Err(Error::file(&path, "its examples and noise are not those of its settings")),
        }
    }

    /// Whether examples, labels and noise are those of a model that the settings describe.
    fn fits(&self) -> bool {
        let (settings, batch) = (&self.about.settings, self.about.settings.batch_size);
        let drawn = settings.entry().and_then(|entry| (entry.check)(&settings.own));
        let Ok(asked) = drawn.and_then(|()| asks(settings, &self.about.columns)) else { return false };
        let rows = self.steps * batch;
        let labels = self.labels.as_ref().is_none_or(|labels| {
            labels.len() == rows
                && labels.iter().all(|&label| label == UNLABELLED || usize::from(label) < self.classes())
        });
        let values = |shape: &[usize]| self.steps * shape.iter().product::<usize>();
        let shapes = self.noise.iter().map(|(shape, _)| shape.as_slice());
        let words = match (self.about.columns.modelled(), &self.x) {
            (Some(Kind::Tokens { vocabulary, .. }), Examples::Vectors(ids)) => {
                ids.iter().all(|&id| id.fract() == 0.0 && (0.0..vocabulary as f32).contains(&id))
            }
            _ => true,
        };
        self.steps > 0
            && words
            && self.x.len() == rows * self.dims()
            && labels
            && shapes.eq(asked.iter().map(|step| step.writes[0].shape()))
            && self.noise.iter().all(|(shape, noise)| noise.len() == values(shape))
    }

    /// D, pixels of a picture or numbers of a vector.
    pub(super) fn dims(&self) -> usize {
        self.about.columns.modelled().map_or(0, |kind| kind.width())
    }

    /// The pictures of all steps; none of a model of vectors.
    #[cfg(test)]
    pub(super) fn pixels(&self) -> &[u8] {
        match &self.x {
            Examples::Pictures(bytes) => bytes,
            Examples::Vectors(_) => &[],
        }
    }

    /// K; 0 where the model takes no labels.
    fn classes(&self) -> usize {
        self.about.columns.label(LABELS).unwrap_or(0)
    }

    /// The terms of the model's loss.
    pub fn terms(&self) -> &'static [Term] {
        self.about.settings.terms().expect("looked up before")
    }

    /// The columns of a step's batch, as [`given`](crate::instruments::replay::given) orders them.
    pub(super) fn columns_of(&self, step: usize) -> Vec<Vec<f32>> {
        let batch = self.about.settings.batch_size;
        let values = batch * self.dims();
        let of_step = step * values..(step + 1) * values;
        let x: Vec<f32> = match &self.x {
            Examples::Pictures(bytes) => bytes[of_step].iter().map(|&byte| f32::from(byte) / 255.0).collect(),
            Examples::Vectors(numbers) if is_text(&self.about.columns) => {
                numbers[of_step].iter().map(|&id| f32::from_bits(id as u32)).collect()
            }
            Examples::Vectors(numbers) => numbers[of_step].to_vec(),
        };
        let labels = self.labels.as_ref().map(|labels| {
            one_hot(labels[step * batch..][..batch].iter().map(|&label| usize::from(label)), self.classes())
        });
        std::iter::once(x).chain(labels).collect()
    }

    /// The random numbers of a step, in the order in which the model asks for them.
    pub(super) fn noise_of(&self, step: usize) -> Vec<&[f32]> {
        let of = |(shape, values): &'_ (Vec<usize>, Vec<f32>)| -> std::ops::Range<usize> {
            let len = values.len() / self.steps;
            assert!(len == shape.iter().product::<usize>(), "noise of {shape:?} has {len} numbers a step");
            step * len..(step + 1) * len
        };
        self.noise.iter().map(|noise| &noise.1[of(noise)]).collect()
    }

    /// What is minimised, times this, is nats an example.
    pub(super) fn per_picture(&self) -> f64 {
        match self.about.settings.reduction {
            Reduction::Sum => 1.0 / self.about.settings.batch_size as f64,
            Reduction::Mean => 1.0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let (settings, columns) = (&self.about.settings, &self.about.columns);
        let knobs = settings.outline(columns).expect("opened before").knobs();
        let rows = rows(settings, &knobs, 0, self.steps, self.steps as u64);
        // The learning rate and each knob.
        let width = 1 + knobs.len().max(1);
        let row = |row: &Row| [&[row.lr, row.kl_weight], &row.knobs[..]].concat()[..width].to_vec();
        let rows: Vec<f32> = rows.iter().flat_map(row).collect();
        let batch = settings.batch_size;
        let (dtype, shape, bytes) = match (&self.x, columns.modelled().expect("something is modelled")) {
            (Examples::Pictures(bytes), kind) => (Dtype::U8, kind.as_picture().to_vec(), &bytes[..]),
            (Examples::Vectors(numbers), kind) => (Dtype::F32, vec![kind.width()], bytemuck::cast_slice(numbers)),
        };
        let mut tensors = vec![
            (PICTURES.to_string(), dtype, [&[self.steps, batch], &shape[..]].concat(), bytes),
            ("rows".into(), Dtype::F32, vec![self.steps, width], bytemuck::cast_slice(&rows)),
        ];
        if let Some(labels) = &self.labels {
            tensors.push((LABELS.into(), Dtype::U8, vec![self.steps, batch], labels));
        }
        for (i, (shape, values)) in self.noise.iter().enumerate() {
            let shape = [&[self.steps], &shape[..]].concat();
            tensors.push((format!("noise.{i}"), Dtype::F32, shape, bytemuck::cast_slice(values)));
        }
        for (prefix, values) in [(INITIAL, &self.initial), (CONSTANT, &self.constants)] {
            for (name, (shape, values)) in values {
                tensors.push((format!("{prefix}{name}"), Dtype::F32, shape.clone(), bytemuck::cast_slice(values)));
            }
        }
        let views = tensors.into_iter().map(|(name, dtype, shape, bytes)| {
            (name, TensorView::new(dtype, shape, bytes).expect("values fill their shape"))
        });
        let about = serde_json::to_string(&self.about).expect("plain data");
        let metadata = HashMap::from([(ABOUT.to_string(), about)]);
        safetensors::serialize(views, Some(metadata)).expect("names and shapes are valid")
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
