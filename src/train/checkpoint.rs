//! Checkpoints: safetensors files that PyTorch loads under the names and shapes of its `state_dict`, and the reverse.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors};

use super::fit::LARGEST_PICTURE;
use super::settings::LARGEST_SIZE;
use super::tensor_file::{self, Outgoing};
use super::{foreign, presets, trainer};
use crate::arena::{Arena, Layout, Statistic};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::files::read_regular;
use crate::kernels::activation::Activation;
use crate::models::likelihood::Likelihood;
use crate::models::vae::{Config, Head};
use crate::tensor::Tensor;

/// Larger files are not checkpoints of these models; nothing of that size is read into memory.
const LARGEST_FILE: u64 = 8 << 30;

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
    /// What the parameters' names and shapes follow from.
    pub config: Config,
    /// The data set it was trained on.
    pub dataset: String,
    /// Epochs it was trained; 0 where the file does not say.
    pub epoch: usize,
}

/// Whether a tensor of this name is a whole number: i64 in files, as PyTorch has it.
fn is_count(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}

/// The numbers of a tensor as f32, where they are floating-point ones of 16, 32 or 64 bits.
fn floats(kind: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match kind {
        Dtype::F32 => bytemuck::pod_collect_to_vec(bytes),
        Dtype::F64 => bytemuck::pod_collect_to_vec::<u8, f64>(bytes).into_iter().map(|v| v as f32).collect(),
        Dtype::F16 => halves(bytes).map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => halves(bytes).map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        _ => return None,
    })
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytemuck::pod_collect_to_vec::<u8, u16>(bytes).into_iter()
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What PyTorch's wrappers put before the names of a model's tensors: DataParallel and its like, torch.compile.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

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
    let shape = |s: &Statistic| if s.is_count { Vec::new() } else { s.value.shape().to_vec() };
    parameters.chain(arena.statistics().iter().map(move |s| (&*s.name, s.value, Layout::Same, shape(s))))
}

/// Metadata key of a [`ModelCard`], as JSON.
pub const MODEL: &str = "elbo.model";

/// A tensor that is in the file's order already.
fn outgoing<'a>(name: &'a str, shape: &'a [usize], values: &'a [f32]) -> Outgoing<'a> {
    Outgoing { name, values, shape, layout: Layout::Same, file_shape: shape.to_vec(), is_count: is_count(name) }
}

/// Writes [`Checkpoint::of_model`] straight from the flat buffers' values, without a copy of them, and with it `more` flat
/// tensors by name; `metadata` is text under a key. Errors: those of [`write_atomic`](crate::files::write_atomic).
pub fn write_model(
    path: &Path,
    arena: &Arena,
    [parameters, statistics]: [&[f32]; 2],
    more: &[(&str, &[f32])],
    metadata: (&str, &str),
) -> Result<()> {
    let kept: Vec<_> = entries(arena).collect();
    let more: Vec<_> = more.iter().map(|&(name, values)| (name, [values.len()], values)).collect();
    let of_model = kept.iter().map(|(name, tensor, layout, shape)| {
        let flat = if arena.flat_parameters().buffer == tensor.buffer { parameters } else { statistics };
        let values = &flat[tensor.offset..][..tensor.len()];
        let (layout, file_shape) = (*layout, shape.clone());
        Outgoing { name, values, shape: tensor.shape(), layout, file_shape, is_count: is_count(name) }
    });
    let tensors = of_model.chain(more.iter().map(|(name, shape, values)| outgoing(name, shape, values)));
    tensor_file::write(path, tensors.collect(), Some(metadata))
}

impl Checkpoint {
    /// Numbers of 16 and 64 bits become f32, and names lose what a wrapper has put in front of them, each with a notice.
    /// Errors: no such file, none that is regular, no memory for it, not safetensors, truncated, a tensor of whole numbers, one
    /// that holds NaN or infinity.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        let bytes = read_regular(path, LARGEST_FILE)?;
        let damaged = |e| match foreign::kind(&bytes) {
            Some(kind) => Error::file(path, format!("not a safetensors file: {kind}")),
            None => Error::file(path, format!("not a whole safetensors file: {e}")),
        };
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let (mut tensors, mut notices, mut converted) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (name, view) in file.tensors() {
            let mut values = Vec::new();
            let count = view.data().len() / view.dtype().bitsize().div_ceil(8);
            if values.try_reserve_exact(count).is_err() {
                return Err(Error::file(path, format!("there is no memory for {name} of {} MiB", count >> 18)));
            }
            match view.dtype() {
                Dtype::F32 => values.extend(view.data().as_chunks().0.iter().map(|&word| f32::from_ne_bytes(word))),
                Dtype::I64 if is_count(&name) => {
                    values.extend(view.data().as_chunks().0.iter().map(|&word| i64::from_ne_bytes(word) as f32));
                }
                other => match floats(other, view.data()) {
                    Some(floats) => values = floats,
                    None => return Err(Error::file(path, format!("{name} is {other:?}; save it as float32"))),
                },
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
        tensor_file::write(path, tensors.collect(), metadata)
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

    /// That every parameter and statistic of the arena is here, with its shape, and nothing else. Errors: the first tensor
    /// that is missing, too many, or of another shape.
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
            let card: ModelCard =
                serde_json::from_str(text).map_err(|e| Error::file(path, format!("its model card is damaged: {e}")))?;
            let Config { shape, ref hidden, latent, sigma, .. } = card.config;
            let pixels = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0);
            let sized = hidden.iter().chain([&latent]).all(|n| (1..=LARGEST_SIZE).contains(n))
                && (1..=LARGEST_PICTURE).contains(&pixels);
            let layered = (1..=self.tensors.len()).contains(&hidden.len());
            let scaled = sigma > 0.0 && sigma.is_finite();
            if !sized || !layered || !scaled || card.config.check().is_err() {
                return Err(Error::file(path, format!("its model card does not fit together: {text}")));
            }
            return Ok(card);
        }
        if self.tensors.get("encoder.0.0.weight").is_some_and(|(shape, _)| shape.len() == 4) {
            // The strides are nowhere in a state_dict: of listed networks only the article's is known by its names.
            let article = trainer::config(&presets::find("mnist-conv")?.settings(), [1, 28, 28]);
            return Ok(ModelCard { config: article, dataset: "unknown".into(), epoch: 0 });
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
        Ok(ModelCard {
            config: Config {
                shape: if side * side == input { [1, side, side] } else { [1, 1, input] },
                encoder: None,
                decoder: None,
                hidden: hidden.iter().map(|[rows, _]| *rows).collect(),
                latent,
                head,
                activation: Activation::Relu,
                output: Likelihood::Bernoulli,
                sigma: 1.0,
            },
            dataset: "unknown".into(),
            epoch: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::tensor::TensorView;

    use super::*;

    fn example() -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        checkpoint.tensors.insert("fc1.weight".into(), (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        checkpoint.metadata.insert(MODEL.into(), "text".into());
        checkpoint
    }

    fn problem(path: &Path) -> String {
        Checkpoint::read(path).unwrap_err().to_string()
    }

    #[test]
    fn round_trip_and_stable_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        example().write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), example());
        example().write(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        assert!(problem(&path).contains("cannot open"));
        example().write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, b"").unwrap();
        assert!(problem(&path).contains("the file is empty"));
        for length in 1..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(problem(&path).contains("not a whole safetensors file"), "{length} bytes");
        }
        let mut bad = example();
        bad.tensors.get_mut("fc1.weight").unwrap().1[4] = f32::NAN;
        bad.write(&path).unwrap();
        assert!(problem(&path).contains("fc1.weight[4] is NaN"));
    }

    #[test]
    fn counts_are_whole_numbers_of_64_bits_without_dimensions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let name = "encoder.1.num_batches_tracked";
        let mut checkpoint = example();
        // 2^24: up to there f32 counts.
        checkpoint.tensors.insert(name.into(), (vec![], vec![16_777_216.0]));
        checkpoint.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor(name).unwrap();
        assert_eq!((view.dtype(), view.shape(), view.data()), (Dtype::I64, &[][..], &16_777_216i64.to_le_bytes()[..]));
        assert_eq!(file.tensor("fc1.weight").unwrap().dtype(), Dtype::F32);

        let read = |name: &str, dtype, bytes: &[u8]| {
            let view = TensorView::new(dtype, vec![], bytes).unwrap();
            fs::write(&path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
            Checkpoint::read(&path)
        };
        assert_eq!(read(name, Dtype::I64, &7i64.to_le_bytes()).unwrap().tensors[name], (vec![], vec![7.0]));
        for (dtype, bytes) in [(Dtype::U64, 8), (Dtype::I32, 4), (Dtype::U8, 1), (Dtype::BOOL, 1)] {
            let message = read(name, dtype, &vec![0; bytes]).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(&format!("is {dtype:?}")), "{message}");
        }
        // Whole numbers are for counts alone.
        let message = read("fc1.bias", Dtype::I64, &[0; 8]).unwrap_err().to_string();
        assert!(message.contains("fc1.bias is I64; save it as float32"), "{message}");
    }

    #[test]
    fn a_model_goes_to_a_file_in_pytorchs_order_and_comes_back_in_the_devices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let arena = &mut Arena::new();
        arena.parameter("fc.bias", &[3]);
        // (O,H,W,I) = (1,1,3,2)
        let weight = arena.parameter_in(Layout::ChannelsLast, "conv.weight", &[1, 1, 3, 2]).value;
        arena.statistic("bn.running_mean", 2, 0.0);
        let count = arena.count("bn.num_batches_tracked");
        // The padding between the tensors has numbers of its own, which no file holds.
        let mut parameters = vec![-1.0; arena.flat_parameters().len()];
        let mut statistics = vec![-2.0; arena.flat_statistics().unwrap().len()];
        parameters[..3].copy_from_slice(&[10.0, 11.0, 12.0]);
        parameters[weight.offset..][..6].copy_from_slice(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        statistics[..2].copy_from_slice(&[20.0, 21.0]);
        statistics[count.offset] = 9.0;

        Checkpoint::of_model(arena, &parameters, &statistics).write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        write_model(&path, arena, [&parameters, &statistics], &[], ("key", "text")).unwrap();
        let straight = Checkpoint::read(&path).unwrap();
        assert_eq!(straight.metadata, BTreeMap::from([("key".into(), "text".into())]));
        Checkpoint { metadata: BTreeMap::new(), ..straight }.write(&path).unwrap();
        assert!(fs::read(&path).unwrap() == bytes, "straight from the buffers it is the same file");
        let file = Checkpoint::read(&path).unwrap();
        let expected: [(&str, Vec<usize>, Vec<f32>); 4] = [
            ("bn.num_batches_tracked", vec![], vec![9.0]),
            ("bn.running_mean", vec![2], vec![20.0, 21.0]),
            ("conv.weight", vec![1, 2, 1, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            ("fc.bias", vec![3], vec![10.0, 11.0, 12.0]),
        ];
        let expected = expected.map(|(name, shape, values)| (name.to_string(), (shape, values)));
        assert_eq!(file.tensors, BTreeMap::from(expected));

        let mut back = Vec::new();
        file.for_each_of_model(arena, &path, |tensor, values| back.push((tensor, values))).unwrap();
        assert_eq!(back.len(), 4);
        for (tensor, values) in back {
            let flat = if tensor.buffer == weight.buffer { &parameters } else { &statistics };
            assert_eq!(values, flat[tensor.offset..][..tensor.len()], "{}", arena.name(tensor));
        }
        // A number without dimensions is not a vector of one.
        let mut vector = file;
        vector.tensors.get_mut("bn.num_batches_tracked").unwrap().0 = vec![1];
        let message = vector.check_model(arena, &path).unwrap_err().to_string();
        assert!(message.contains("bn.num_batches_tracked has shape [1], the model needs []"), "{message}");
    }

    #[test]
    fn a_model_card_that_does_not_fit_together_is_refused() {
        let card = r#"{"config":{"shape":[1,2,2],"hidden":[3],"latent":2,"head":"split","activation":"relu",
            "output":"bernoulli","sigma":1.0},"dataset":"digits","epoch":1}"#;
        let read = |text: String| {
            let mut checkpoint = example();
            checkpoint.metadata.insert(MODEL.into(), text);
            checkpoint.card(Path::new("a.safetensors")).map_err(|e| e.to_string())
        };
        assert_eq!(read(card.into()).unwrap().config.hidden, [3]);
        for (good, bad) in [
            ("[1,2,2]", "[1,2,0]"),
            (r#""head":"split""#, r#""head":"direct""#),
            (r#""sigma":1.0"#, r#""sigma":1.0,"encoder":"conv 2 k2","decoder":"conv_transpose 1 k3""#),
            ("[1,2,2]", "[4294967296,4294967296,1]"),
            ("[3]", "[]"),
            ("[3]", "[0]"),
            ("[3]", "[1152921504606846976]"),
            ("[3]", "[3,3]"),
            (r#""latent":2"#, r#""latent":0"#),
            (r#""sigma":1.0"#, r#""sigma":0.0"#),
        ] {
            let message = read(card.replace(good, bad)).unwrap_err();
            assert!(message.contains("does not fit together"), "{bad}: {message}");
        }
        assert!(read("{".into()).unwrap_err().contains("damaged"));
    }

    #[test]
    fn a_wrong_shape_names_both() {
        let path = Path::new("a.safetensors");
        let message = example().tensor("fc1.weight", &[3, 2], path).unwrap_err().to_string();
        assert!(message.contains("[2, 3]") && message.contains("[3, 2]"), "{message}");
        let message = example().tensor("fc9.weight", &[1], path).unwrap_err().to_string();
        assert!(message.contains("fc9.weight") && message.contains("fc1.weight"), "{message}");
    }
}
