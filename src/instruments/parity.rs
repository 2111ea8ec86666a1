//! PyTorch parity: the same training steps taken by elbo and by PyTorch, and how far apart they end.
//!
//! An [`Exchange`] holds what a run starts from and is fed with: settings, initial parameters, and the pictures and the
//! noise of every step. Each side makes a [`Recording`] of it: elbo [takes](Recording::take) the steps on a device,
//! `scripts/pytorch_parity.py` takes them in PyTorch. [`Report::new`] sets two recordings side by side.
//!
//! Two runs that differ by rounding drift apart. Where an input of a rectifier is within rounding of zero, one run
//! has a gradient that the other lacks, and Adam's first steps, lr times the sign of the gradient, turn small gradients
//! into whole steps. A perceptron's losses still agree to 1e-5 and better after 100 steps; networks with millions of
//! rectifiers end 1e-3 apart, as PyTorch's own float32 and float64 do. So a recording can follow another one: each step then
//! starts from that one's parameters, and every difference is of a single step.
//!
//! Files go to one folder: `exchange.safetensors`, the script, and what it leaves, `pytorch.safetensors`.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::replay::Replay;
use crate::arena::Arena;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Device};
use crate::data::Split;
use crate::error::{Error, Result};
use crate::files::{read_regular, write_atomic};
use crate::kernels::clock::{self, Clock, Row};
use crate::kernels::{random, shuffle};
use crate::models::vae::Vae;
use crate::program::Recorder;
use crate::train::checkpoint::Checkpoint;
use crate::train::schedule;
use crate::train::settings::{Reduction, Settings};
use crate::train::trainer;

/// The largest relative difference of the loss, at any step, that counts as the same training.
pub const TARGET: f64 = 1e-4;

/// What PyTorch records, in the exchange's folder.
pub const RECORDING: &str = "pytorch.safetensors";
const EXCHANGE: &str = "exchange.safetensors";
/// The script that records, and the module it imports; both are written beside the exchange.
pub const SCRIPT: &str = "pytorch_parity.py";
const SCRIPTS: [(&str, &str); 2] = [
    (SCRIPT, include_str!("../../scripts/pytorch_parity.py")),
    ("pytorch_network.py", include_str!("../../scripts/pytorch_network.py")),
];

/// Metadata key of [`About`], as JSON.
/// Largest file read, in bytes: a recording has every tensor of every step.
const LARGEST_FILE: u64 = 32 << 30;
const ABOUT: &str = "elbo.parity";
/// The most bytes of pictures an exchange may hold.
const MOST_BYTES: usize = 2 << 30;
/// Where elbo computes no gradient because it is zero but for rounding, PyTorch's may have at most this share of the norm
/// of its layer's weight gradient; more is a gradient, and is compared.
const ROUNDING: f64 = 1e-3;

// ---- What both sides start from

/// Settings, initial parameters, pictures and noise of a number of training steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// What is trained, and how.
    pub about: About,
    /// Training steps, at least 1.
    pub steps: usize,
    /// (steps,B,C,H,W), one byte a pixel.
    pictures: Vec<u8>,
    /// (steps,B,Z)
    noise: Vec<f32>,
    /// Parameters before the first step, in PyTorch's order.
    initial: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// SHA-256 of the file.
    digest: String,
}

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The preset's name, or the run's folder.
    pub name: String,
    /// Where the pictures are from.
    pub data: String,
    /// All settings, with the seed of the initial parameters, the order and the noise.
    pub settings: Settings,
    /// (C,H,W) of a picture.
    pub shape: [usize; 3],
}

impl Exchange {
    /// The first steps of a training run with these settings, seed included: the order and the noise are those of
    /// `elbo train` without augmentation on these pictures, which start over when they are used up.
    ///
    /// Errors: no step or batch, a network that does not fit the pictures, one with dropout, more than 2 GiB of pictures.
    pub fn new(name: &str, data: &str, settings: &Settings, pictures: &Split, steps: usize) -> Result<Exchange> {
        let (batch, shape) = (settings.batch_size, pictures.shape);
        for (option, value) in [("steps", steps), ("batch-size", batch)] {
            if value == 0 {
                return Err(Error::Usage(format!("--{option} is 0, but must be at least 1")));
            }
        }
        let rows = steps.saturating_mul(batch);
        let bytes = rows.saturating_mul(pictures.dims());
        if bytes > MOST_BYTES {
            return Err(Error::Usage(format!(
                "the pictures of {steps} steps of {batch} are {} MiB; take fewer --steps or a smaller --batch-size, \
                 up to {} MiB",
                bytes >> 20,
                MOST_BYTES >> 20
            )));
        }
        let config = trainer::config(settings, shape);
        config.check()?;
        let networks = [&settings.encoder, &settings.decoder].into_iter().flatten();
        if networks.map(ToString::to_string).any(|text| text.contains("dropout")) {
            return Err(Error::Usage(format!(
                "{name} has dropout, and PyTorch draws its masks from other random numbers: \
                 only networks without it can be compared"
            )));
        }

        let mut arena = Arena::new();
        let model = Vae::new(&mut arena, &config);
        let mut parameters = vec![0.0; arena.flat_parameters().len()];
        for (tensor, values) in model.initial(settings.seed) {
            parameters[tensor.offset..][..values.len()].copy_from_slice(&values);
        }
        let statistics = vec![0.0; arena.flat_statistics().map_or(0, |s| s.len())];
        let mut initial = Checkpoint::of_model(&arena, &parameters, &statistics).tensors;
        initial.retain(|name, _| arena.parameters().iter().any(|p| p.name == *name));

        let (order, noise) = draw(settings, pictures.count, steps)?;
        let dims = pictures.dims();
        let picture = |n: usize| &pictures.pixels[order[n % order.len()] as usize * dims..][..dims];
        let pictures = (0..rows).flat_map(picture).copied().collect();
        let about = About { name: name.into(), data: data.into(), settings: settings.clone(), shape };
        let mut exchange = Exchange { about, steps, pictures, noise, initial, digest: String::new() };
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
        let (shape, pictures) = file.bytes("x", Dtype::U8)?;
        let steps = shape.first().copied().unwrap_or(0);
        let initial = file.tensors.names().into_iter().filter_map(|name| name.strip_prefix("init."));
        let initial = initial.map(|name| {
            let (shape, bytes) = file.bytes(&format!("init.{name}"), Dtype::F32)?;
            Ok((name.to_string(), (shape, bytemuck::pod_collect_to_vec(bytes))))
        });
        let exchange = Exchange {
            steps,
            pictures: pictures.to_vec(),
            noise: bytemuck::pod_collect_to_vec(file.bytes("noise", Dtype::F32)?.1),
            initial: initial.collect::<Result<_>>()?,
            digest: digest(&bytes),
            about,
        };
        let Settings { batch_size, latent, .. } = exchange.about.settings;
        let fits = [exchange.pictures.len(), exchange.noise.len()]
            == [exchange.dims(), latent].map(|n| steps * batch_size * n);
        if steps == 0 || !fits || trainer::config(&exchange.about.settings, exchange.about.shape).check().is_err() {
            return Err(Error::file(&path, "its pictures and noise are not those of its settings"));
        }
        Ok(exchange)
    }

    /// D, pixels of a picture.
    fn dims(&self) -> usize {
        self.about.shape.iter().product()
    }

    /// What is minimised, times this, is nats a picture.
    fn per_picture(&self) -> f64 {
        match self.about.settings.reduction {
            Reduction::Sum => 1.0 / self.about.settings.batch_size as f64,
            Reduction::Mean => 1.0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Settings { batch_size, latent, .. } = self.about.settings;
        let [c, h, w] = self.about.shape;
        let rows = schedule::rows(&self.about.settings, 0, self.steps, self.steps as u64);
        let rows: Vec<f32> = rows.iter().flat_map(|[lr, kl_weight, ..]| [*lr, *kl_weight]).collect();
        let mut tensors = vec![
            ("x".to_string(), Dtype::U8, vec![self.steps, batch_size, c, h, w], &self.pictures[..]),
            ("noise".into(), Dtype::F32, vec![self.steps, batch_size, latent], bytemuck::cast_slice(&self.noise)),
            ("rows".into(), Dtype::F32, vec![self.steps, 2], bytemuck::cast_slice(&rows)),
        ];
        for (name, (shape, values)) in &self.initial {
            tensors.push((format!("init.{name}"), Dtype::F32, shape.clone(), bytemuck::cast_slice(values)));
        }
        let views = tensors.into_iter().map(|(name, dtype, shape, bytes)| {
            (name, TensorView::new(dtype, shape, bytes).expect("values fill their shape"))
        });
        let about = serde_json::to_string(&self.about).expect("plain data");
        let metadata = HashMap::from([(ABOUT.to_string(), about)]);
        safetensors::serialize(views, Some(metadata)).expect("names and shapes are valid")
    }
}

/// The order of the first epoch over `count` pictures, and (steps,B,Z) the noise of the first steps, from the settings' seed.
fn draw(settings: &Settings, count: usize, steps: usize) -> Result<(Vec<u32>, Vec<f32>)> {
    let mut arena = Arena::new();
    let order = arena.tensor("order", &[count]);
    let clock = Clock::tensor(&mut arena, "clock", steps);
    let mut r = Recorder::new(&mut arena);
    shuffle::forward(&mut r, clock, order, true);
    let shuffled = r.finish("order");
    let mut r = Recorder::new(&mut arena);
    let noise = random::normal(&mut r, clock, &[settings.batch_size, settings.latent]);
    clock::tick(&mut r, clock);
    let drawn = r.finish("noise");

    let mut backend: Backend = Device::Cpu(Cpu::Accelerated).backend();
    let (shuffled, drawn) = (backend.load(&arena, &shuffled)?, backend.load(&arena, &drawn)?);
    let rows = vec![Row { lr: 0.0, kl_weight: 0.0, bias_correction1: 1.0, bias_correction2_sqrt: 1.0 }; steps];
    backend.write_words(clock, &Clock { seed: settings.seed, step: 0, batch: 0, epoch: 0, rows }.words());
    backend.run(&[(shuffled, 1)])?;
    let order = pollster::block_on(backend.read_words_async(&[order]))?.remove(0);
    let mut all = Vec::new();
    for _ in 0..steps {
        backend.run(&[(drawn, 1)])?;
        all.extend(backend.read_one(noise)?);
    }
    Ok((order, all))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A safetensors file in memory.
struct File<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

impl<'a> File<'a> {
    fn open(path: &Path, bytes: &'a [u8]) -> Result<File<'a>> {
        let damaged = |e| Error::file(path, format!("not a whole safetensors file: {e}"));
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        Ok(File { path: path.into(), tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    fn view(&self, name: &str) -> Result<TensorView<'a>> {
        self.tensors.tensor(name).map_err(|_| Error::file(&self.path, format!("has no tensor {name}")))
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> Result<(Vec<usize>, &'a [u8])> {
        let view = self.view(name)?;
        if view.dtype() != dtype {
            return Err(Error::file(&self.path, format!("{name} is {:?}, expected {dtype:?}", view.dtype())));
        }
        Ok((view.shape().to_vec(), view.data()))
    }

    /// The values of a tensor of floating point numbers that must have `len` of them.
    fn numbers(&self, name: &str, len: usize) -> Result<Vec<f64>> {
        let view = self.view(name)?;
        let values: Vec<f64> = match view.dtype() {
            Dtype::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(view.data()).into_iter().map(f64::from).collect(),
            Dtype::F64 => bytemuck::pod_collect_to_vec(view.data()),
            other => return Err(Error::file(&self.path, format!("{name} is {other:?}, expected F32 or F64"))),
        };
        match values.len() == len {
            true => Ok(values),
            false => Err(Error::file(&self.path, format!("{name} has {} elements, expected {len}", values.len()))),
        }
    }
}

// ---- What each side makes of it

/// What is kept of the steps: all losses; of every gradient and parameter its norm and some elements at each step, and all
/// elements at the last. Of parameters it can be all at each.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Who took the steps.
    pub by: String,
    /// Of each step the minimised loss, then recon and KL summed over the batch, in nats.
    pub losses: Vec<[f64; 3]>,
    tensors: BTreeMap<String, [Trace; 2]>,
    /// The parameters without a gradient, see [`Replay::without_gradient`].
    without_gradient: Vec<String>,
}

/// Gradient and parameter, in this order, in [`Recording::tensors`] and in the names of a recorded file.
const KINDS: [&str; 2] = ["gradient", "parameter"];

/// One tensor over the steps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Trace {
    /// The Euclidean norm of all its elements, at each step.
    norms: Vec<f64>,
    /// At each step some of its elements, or all; at the last, all.
    elements: Vec<Vec<f32>>,
}

/// Of more than 512 elements about 256: 0, k, 2k, ..., k odd so that it is no multiple of a row's length. As in the script.
fn stride(len: usize) -> usize {
    if len > 512 { (len / 256) | 1 } else { 1 }
}

impl Recording {
    /// Takes the steps on a device, from the exchange's parameters or, following a recording with all parameters, from
    /// those that it has at each step. `progress` hears how many are done.
    /// Errors: a recording that cannot be followed, no room on the device, the device was lost.
    pub fn take(
        exchange: &Exchange,
        device: &Device,
        follow: Option<&Recording>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Recording> {
        if follow.is_some_and(|recording| !recording.has_all_parameters()) {
            let problem = format!("to follow it, all parameters must be recorded: {SCRIPT} FOLDER --whole");
            return Err(Error::Usage(problem));
        }
        let settings = &exchange.about.settings;
        let mut replay = Replay::new(settings, exchange.about.shape, exchange.steps, device)?;
        replay.write_parameters(|p| exchange.initial[&p.name].1.clone());
        let names: Vec<String> = replay.arena.parameters().iter().map(|p| p.name.clone()).collect();
        let mut recording = Recording {
            by: device.description(),
            losses: Vec::new(),
            tensors: BTreeMap::new(),
            without_gradient: replay.without_gradient(),
        };
        let (pixels, latents) = (settings.batch_size * exchange.dims(), settings.batch_size * settings.latent);
        for step in 0..exchange.steps {
            let pictures = exchange.pictures[step * pixels..][..pixels].iter().map(|&byte| f32::from(byte) / 255.0);
            let noise = &exchange.noise[step * latents..][..latents];
            let taken = replay.take(&pictures.collect::<Vec<f32>>(), noise)?;
            recording.losses.push([taken.loss, taken.recon, taken.kl].map(f64::from));
            for name in &names {
                let traces = recording.tensors.entry(name.clone()).or_default();
                let kept = [(&taken.gradients, false), (&taken.parameters, follow.is_some())];
                for (trace, (file, is_whole)) in traces.iter_mut().zip(kept) {
                    let (_, values) = &file.tensors[name];
                    let is_whole = is_whole || step + 1 == exchange.steps;
                    let stride = if is_whole { 1 } else { stride(values.len()) };
                    trace.norms.push(norm(values.iter().map(|&v| f64::from(v))));
                    trace.elements.push(values.iter().copied().step_by(stride).collect());
                }
            }
            if let Some(there) = follow {
                replay.write_parameters(|p| there.tensors[&p.name][1].elements[step].clone());
            }
            progress(step + 1);
        }
        Ok(recording)
    }

    /// Whether every parameter is there at each step, so that a run can [follow](Recording::take) it.
    pub fn has_all_parameters(&self) -> bool {
        let is_whole =
            |trace: &Trace| trace.elements.iter().all(|e| Some(e.len()) == trace.elements.last().map(Vec::len));
        self.tensors.values().all(|[_, parameter]| is_whole(parameter))
    }

    /// Reads what PyTorch recorded in the exchange's folder. Errors: no recording, one of another exchange, a damaged one.
    pub fn read(folder: &Path, exchange: &Exchange) -> Result<Recording> {
        let path = folder.join(RECORDING);
        let bytes = read_regular(&path, LARGEST_FILE)?;
        let file = File::open(&path, &bytes)?;
        if file.metadata.get("exchange") != Some(&exchange.digest) {
            return Err(Error::file(&path, format!("was recorded from another exchange; run {SCRIPT} again")));
        }
        let steps = exchange.steps;
        let [loss, recon, kl] = ["loss", "recon", "kl"].map(|name| file.numbers(name, steps));
        let (loss, recon, kl) = (loss?, recon?, kl?);
        let trace = |kind: &str, name: &str, len: usize| -> Result<Trace> {
            let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
            let sample = format!("{kind}.sample.{name}");
            // All elements, or as many as the stride leaves.
            let is_whole = file.view(&sample)?.shape() == [steps, len];
            let sampled = if is_whole { len } else { len.div_ceil(stride(len)) };
            let samples = file.numbers(&sample, steps * sampled)?;
            let mut elements: Vec<Vec<f32>> = samples.chunks(sampled).map(narrow).collect();
            elements[steps - 1] = narrow(&file.numbers(&format!("{kind}.last.{name}"), len)?);
            Ok(Trace { norms: file.numbers(&format!("{kind}.norm.{name}"), steps)?, elements })
        };
        let both = |(name, (_, values)): (&String, &(Vec<usize>, Vec<f32>))| {
            let [gradient, parameter] = KINDS.map(|kind| trace(kind, name, values.len()));
            Ok((name.clone(), [gradient?, parameter?]))
        };
        Ok(Recording {
            by: file.metadata.get("by").cloned().unwrap_or_else(|| "PyTorch".into()),
            losses: (0..steps).map(|s| [loss[s], recon[s], kl[s]]).collect(),
            tensors: exchange.initial.iter().map(both).collect::<Result<_>>()?,
            without_gradient: Vec::new(),
        })
    }
}

// ---- The comparison

/// How far two recordings of one exchange are apart.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`About::name`]
    pub model: String,
    /// [`About::data`]
    pub data: String,
    /// B, pictures a step.
    pub batch_size: usize,
    /// Who took the steps here: the device, in words.
    pub here: String,
    /// Who took them there: PyTorch with its version, device and precision.
    pub there: String,
    /// Whether each step here starts from the parameters there.
    pub follows: bool,
    /// [`TARGET`]
    pub target: f64,
    /// Whether the loss keeps to the target at every step.
    pub passes: bool,
    /// From the first to the last.
    pub steps: Vec<Difference>,
    /// Biases in front of a batch norm, not compared: their gradient is zero, and there they move by its rounding.
    pub left_out: Vec<String>,
    /// The largest norm of such a gradient there, by that of its layer's weight.
    pub left_out_gradient: f64,
}

/// One step. Losses are nats a picture, here and there.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// From 1.
    pub step: usize,
    /// recon + kl_weight * kl, what training minimises.
    pub loss: [f64; 2],
    /// -log p(x|z).
    pub recon: [f64; 2],
    /// KL(q(z|x) || p(z)), without its weight.
    pub kl: [f64; 2],
    /// |here - there| / |there| of the loss.
    pub loss_difference: f64,
    /// Relative, of the gradient that is furthest apart: the root mean square of the differences of its recorded elements
    /// over that of the gradient, or the difference of the norms over the norm, if that is larger.
    pub gradient: Worst,
    /// Absolute, of the recorded element of a parameter that is furthest apart after the step.
    pub parameter: Worst,
}

/// The largest difference among the tensors.
#[derive(Clone, Debug, Serialize)]
pub struct Worst {
    /// Relative for a gradient, absolute for a parameter; NaN counts as the largest.
    pub difference: f64,
    /// Whose it is.
    pub tensor: String,
}

impl Report {
    /// Compares what was done here, following or not, with what was done there, by step. Panics on recordings of
    /// different exchanges.
    pub fn new(exchange: &Exchange, here: &Recording, there: &Recording, follows: bool) -> Report {
        let names = here.tensors.keys().eq(there.tensors.keys());
        assert!(names && here.losses.len() == there.losses.len(), "these are recordings of different exchanges");
        let share = |name: &String| rounding_share(there, name);
        let left_out: Vec<String> = here.without_gradient.iter().filter(|n| share(n) <= ROUNDING).cloned().collect();
        let left_out_gradient = largest(left_out.iter().map(share));

        let per_picture = exchange.per_picture();
        let batch_size = exchange.about.settings.batch_size;
        let difference = |s: usize| {
            let pair = |i: usize, scale: f64| [here, there].map(|recording| scale * recording.losses[s][i]);
            let compared = here.tensors.iter().filter(|(name, _)| !left_out.contains(name));
            let compared = compared.map(|(name, traces)| (name, traces, &there.tensors[name]));
            let gradients = compared.clone().map(|(name, here, there)| (relative(&here[0], &there[0], s), name));
            let parameters =
                compared.map(|(name, here, there)| (absolute(&here[1].elements[s], &there[1].elements[s]), name));
            let loss = pair(0, per_picture);
            Difference {
                step: s + 1,
                loss,
                recon: pair(1, 1.0 / batch_size as f64),
                kl: pair(2, 1.0 / batch_size as f64),
                loss_difference: (loss[0] - loss[1]).abs() / loss[1].abs(),
                gradient: worst(gradients),
                parameter: worst(parameters),
            }
        };
        let steps: Vec<Difference> = (0..here.losses.len()).map(difference).collect();
        Report {
            model: exchange.about.name.clone(),
            data: exchange.about.data.clone(),
            batch_size,
            here: here.by.clone(),
            there: there.by.clone(),
            follows,
            target: TARGET,
            passes: steps.iter().all(|step| step.loss_difference <= TARGET),
            steps,
            left_out,
            left_out_gradient,
        }
    }

    /// The step at which a difference is largest; NaN is larger than any.
    pub fn worst(&self, of: impl Fn(&Difference) -> f64) -> &Difference {
        self.steps.iter().max_by(|a, b| order(of(a), of(b))).expect("an exchange has a step")
    }
}

/// NaN last.
fn order(a: f64, b: f64) -> std::cmp::Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(&b))
}

fn worst<'a>(differences: impl Iterator<Item = (f64, &'a String)>) -> Worst {
    let (difference, tensor) = differences.max_by(|a, b| order(a.0, b.0)).expect("a model has parameters");
    Worst { difference, tensor: tensor.clone() }
}

/// The largest norm of a bias's gradient over the steps, by that of its layer's weight at the same step.
fn rounding_share(recording: &Recording, bias: &str) -> f64 {
    let norms = |name: &str| recording.tensors.get(name).map(|[gradient, _]| gradient.norms.as_slice());
    let (Some(bias), Some(weight)) = (norms(bias), norms(&bias.replace(".bias", ".weight"))) else {
        return f64::INFINITY;
    };
    largest(bias.iter().zip(weight).map(|(b, w)| b / w))
}

/// Of numbers from 0 on; NaN is larger than any.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.max_by(|a, b| order(*a, *b)).unwrap_or(0.0)
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Of two gradients at step `s`: [`Difference::gradient`] says how.
fn relative(here: &Trace, there: &Trace, s: usize) -> f64 {
    let reference = there.norms[s];
    let differences = here.elements[s].iter().zip(&there.elements[s]).map(|(&a, &b)| f64::from(a) - f64::from(b));
    // The last step has all elements, and its count of them; the steps before it have a sample.
    let share = here.elements[s].len() as f64 / here.elements.last().expect("a step").len() as f64;
    let apart = [norm(differences) / share.sqrt(), (here.norms[s] - reference).abs()];
    // A gradient that is zero on both sides (of a unit that nothing activates) is the same.
    largest(apart.map(|difference| if difference == 0.0 { 0.0 } else { difference / reference }).into_iter())
}

fn absolute(here: &[f32], there: &[f32]) -> f64 {
    assert!(here.len() == there.len(), "both sides keep the same elements");
    largest(here.iter().zip(there).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruments::subject;
    use crate::train::presets;

    fn exchange(preset: &str, batch_size: usize, steps: usize) -> Result<Exchange> {
        let preset = presets::find(preset)?;
        let settings = Settings { batch_size, hidden: vec![700], latent: 3, ..preset.settings() };
        Exchange::new(preset.name, "drawn", &settings, &subject::pictures(5, preset.picture), steps)
    }

    fn take(exchange: &Exchange, cpu: Cpu) -> Recording {
        let mut heard = Vec::new();
        let recording = Recording::take(exchange, &Device::Cpu(cpu), None, &mut |done| heard.push(done)).unwrap();
        assert!(heard.into_iter().eq(1..=exchange.steps));
        recording
    }

    /// Writes what the script would: norms and losses in float64, elements in float32.
    fn write(recording: &Recording, exchange: &str, folder: &Path) {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let steps = recording.losses.len();
        let wide = |values: Vec<f64>| (Dtype::F64, vec![values.len()], bytemuck::pod_collect_to_vec(&values));
        let narrow = |values: Vec<f32>, shape| (Dtype::F32, shape, bytemuck::pod_collect_to_vec(&values));
        let mut put = |name: String, (dtype, shape, bytes)| tensors.push((name, dtype, shape, bytes));
        for (i, name) in ["loss", "recon", "kl"].into_iter().enumerate() {
            put(name.into(), wide(recording.losses.iter().map(|terms| terms[i]).collect()));
        }
        for (name, traces) in &recording.tensors {
            for (kind, trace) in KINDS.into_iter().zip(traces) {
                let last = trace.elements.last().unwrap().clone();
                let (_, before) = trace.elements.split_last().unwrap();
                let stride = if before[0].len() == last.len() { 1 } else { stride(last.len()) };
                let sampled: Vec<f32> =
                    before.iter().flatten().copied().chain(last.iter().copied().step_by(stride)).collect();
                let shape = vec![steps, sampled.len() / steps];
                put(format!("{kind}.norm.{name}"), wide(trace.norms.clone()));
                put(format!("{kind}.sample.{name}"), narrow(sampled, shape));
                put(format!("{kind}.last.{name}"), narrow(last.clone(), vec![last.len()]));
            }
        }
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        let metadata = [("by", "somebody"), ("exchange", exchange)].map(|(k, v)| (k.to_string(), v.to_string()));
        let bytes = safetensors::serialize(views, Some(HashMap::from(metadata))).unwrap();
        fs::write(folder.join(RECORDING), bytes).unwrap();
    }

    #[test]
    fn an_exchange_is_a_files_bytes_and_the_start_of_a_run() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RECORDING), "of an older exchange").unwrap();
        let written = exchange("mnist-mlp", 3, 4).unwrap();
        written.write(folder.path()).unwrap();
        assert_eq!(Exchange::read(folder.path()).unwrap(), written);
        assert!(!folder.path().join(RECORDING).exists() && folder.path().join(SCRIPT).exists());
        assert_eq!(exchange("mnist-mlp", 3, 4).unwrap().digest, written.digest);

        // 12 of 5 pictures: each is there twice before any comes a third time, and the second round repeats the first.
        let dims = written.dims();
        let pictures: Vec<&[u8]> = written.pictures.chunks(dims).collect();
        let drawn = subject::pictures(5, [1, 28, 28]);
        assert!(drawn.pixels.chunks(dims).all(|picture| pictures[..5].contains(&picture)));
        assert!(pictures[..5] == pictures[5..10] && pictures[..2] == pictures[10..]);
        assert!(pictures[..5].iter().zip(drawn.pixels.chunks(dims)).any(|(a, b)| *a != b), "they are shuffled");
        // Each step has a noise of its own.
        assert!(written.noise.len() == 4 * 3 * 3 && written.noise[..9] != written.noise[9..18]);
        assert_eq!(written.initial.len(), 10);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let message = |exchange: Result<Exchange>| exchange.unwrap_err().to_string();
        assert!(message(exchange("mnist-mlp", 3, 0)).contains("--steps is 0"));
        assert!(message(exchange("mnist-mlp", 0, 3)).contains("--batch-size is 0"));
        assert!(message(exchange("mnist-mlp", 1 << 20, 1 << 20)).contains("fewer --steps"));
        let preset = presets::find("mnist-mlp").unwrap();
        let settings = Settings {
            encoder: Some("flatten, dropout 0.5, linear 9, relu".parse().unwrap()),
            decoder: Some("flatten, linear 784".parse().unwrap()),
            ..preset.settings()
        };
        let dropout = Exchange::new("mine", "drawn", &settings, &subject::pictures(2, [1, 28, 28]), 1);
        assert!(message(dropout).contains("mine has dropout"));

        let folder = tempfile::tempdir().unwrap();
        assert!(message(Exchange::read(folder.path())).contains(EXCHANGE));
        fs::write(folder.path().join(EXCHANGE), [1; 20]).unwrap();
        assert!(message(Exchange::read(folder.path())).contains("not a whole safetensors file"));
    }

    #[test]
    fn a_recording_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let exchange = exchange("mnist-mlp", 3, 3).unwrap();
        exchange.write(folder.path()).unwrap();
        let missing = Recording::read(folder.path(), &exchange).unwrap_err().to_string();
        assert!(missing.contains(RECORDING), "{missing}");

        let taken = take(&exchange, Cpu::Reference);
        write(&taken, &exchange.digest, folder.path());
        assert_eq!(
            Recording::read(folder.path(), &exchange).unwrap(),
            Recording { by: "somebody".into(), ..taken.clone() }
        );

        write(&taken, "another", folder.path());
        let stale = Recording::read(folder.path(), &exchange).unwrap_err().to_string();
        assert!(stale.contains("another exchange"), "{stale}");
        let mut short = taken;
        short.tensors.get_mut("fc1.weight").unwrap()[1].norms.pop();
        write(&short, &exchange.digest, folder.path());
        let damaged = Recording::read(folder.path(), &exchange).unwrap_err().to_string();
        assert!(damaged.contains("parameter.norm.fc1.weight has 2 elements, expected 3"), "{damaged}");
    }

    #[test]
    fn forms_of_one_kernel_train_alike() {
        let exchange = exchange("mnist-mlp", 4, 5).unwrap();
        let [here, there] = [Cpu::Accelerated, Cpu::Reference].map(|cpu| take(&exchange, cpu));
        let report = Report::new(&exchange, &here, &there, false);
        assert!(report.passes && report.steps.len() == 5 && report.left_out.is_empty());
        assert!(report.worst(|d| d.loss_difference).loss_difference < 1e-6);
        assert!(report.worst(|d| d.gradient.difference).gradient.difference < 1e-4);
        let parameter = report.worst(|d| d.parameter.difference).parameter.difference;
        // Where a gradient is rounding, Adam goes a whole step of 1e-3 in either direction.
        assert!(0.0 < parameter && parameter < 1e-2, "{parameter}");
        // A picture of 784 pixels costs some hundreds of nats before training.
        assert!((300.0..800.0).contains(&report.steps[0].loss[0]), "{:?}", report.steps[0]);
        let [loss, recon, kl] = [report.steps[0].loss[1], report.steps[0].recon[1], report.steps[0].kl[1]];
        assert!((loss - recon - kl).abs() < 1e-6 * loss);
    }

    /// All parameters zero: logits of 0, a KL of 0.
    #[test]
    fn a_step_that_follows_starts_from_the_others_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let exchange = exchange("mnist-mlp", 3, 3).unwrap();
        exchange.write(folder.path()).unwrap();
        let free = take(&exchange, Cpu::Accelerated);
        assert!(!free.has_all_parameters());
        let device = Device::Cpu(Cpu::Accelerated);
        let message = Recording::take(&exchange, &device, Some(&free), &mut |_| ()).unwrap_err().to_string();
        assert!(message.contains("--whole"), "{message}");

        let mut zero = free.clone();
        for [_, parameter] in zero.tensors.values_mut() {
            let len = parameter.elements[2].len();
            parameter.elements = vec![vec![0.0; len]; 3];
        }
        write(&zero, &exchange.digest, folder.path());
        let zero = Recording::read(folder.path(), &exchange).unwrap();
        assert!(zero.has_all_parameters());
        let here = Recording::take(&exchange, &device, Some(&zero), &mut |_| ()).unwrap();
        assert_eq!(here.losses[0], free.losses[0]);
        let expected = 3.0 * 784.0 * std::f64::consts::LN_2;
        for [loss, recon, kl] in &here.losses[1..] {
            assert!((loss - expected).abs() < 1e-3 && loss == recon && *kl == 0.0, "{loss} {recon} {kl}");
        }
        // From zero, Adam moves no parameter by more than the learning rate's share that its moments leave.
        let report = Report::new(&exchange, &here, &zero, true);
        assert!(report.follows && report.steps[2].parameter.difference < 2e-3, "{:?}", report.steps[2]);
    }

    #[test]
    fn a_difference_is_found_where_it_is() {
        let exchange = exchange("mnist-mlp", 3, 3).unwrap();
        let there = take(&exchange, Cpu::Accelerated);
        let report = |change: &dyn Fn(&mut Recording)| {
            let mut here = there.clone();
            change(&mut here);
            Report::new(&exchange, &here, &there, false)
        };
        let same = report(&|_| ());
        let all = |d: &Difference| [d.loss_difference, d.gradient.difference, d.parameter.difference];
        assert!(same.passes && same.steps.iter().all(|d| all(d) == [0.0; 3]));

        for (factor, passes) in [(1.0 + 0.9e-4, true), (1.0 + 1.1e-4, false), (1.0 - 1.1e-4, false), (f64::NAN, false)]
        {
            let changed = report(&|here| here.losses[1][0] *= factor);
            assert_eq!(changed.passes, passes, "{factor}");
            let worst = changed.worst(|d| d.loss_difference);
            let difference = worst.loss_difference;
            assert!(worst.step == 2 && (difference.is_nan() || (difference - (factor - 1.0).abs()).abs() < 1e-12));
        }

        // All elements of a gradient a percent larger: a percent, in a sample as in the whole, and in the norm alone.
        for step in [0, 2] {
            let larger = report(&|here| {
                here.tensors.get_mut("fc1.weight").unwrap()[0].elements[step].iter_mut().for_each(|v| *v *= 1.01);
            });
            let d = &larger.steps[step];
            assert!(d.gradient.tensor == "fc1.weight" && (0.003..0.03).contains(&d.gradient.difference), "{d:?}");
            let norm = report(&|here| here.tensors.get_mut("fc4.bias").unwrap()[0].norms[step] *= 1.01);
            let d = &norm.steps[step].gradient;
            assert!(d.tensor == "fc4.bias" && (d.difference - 0.01).abs() < 1e-9, "{d:?}");
        }
        let moved = report(&|here| here.tensors.get_mut("fc3.bias").unwrap()[1].elements[2][699] += 0.5);
        let d = &moved.steps[2].parameter;
        assert!(d.tensor == "fc3.bias" && (d.difference - 0.5).abs() < 1e-6 && moved.passes, "{d:?}");
        let lost = report(&|here| here.tensors.get_mut("fc3.bias").unwrap()[1].elements[0][0] = f32::NAN);
        assert!(lost.worst(|d| d.parameter.difference).parameter.tensor == "fc3.bias");
    }

    /// Only a gradient that is rounding there, too, is left out.
    #[test]
    fn a_bias_in_front_of_batch_norm_is_left_out() {
        let exchange = exchange("mnist-mlp", 3, 2).unwrap();
        let mut here = take(&exchange, Cpu::Accelerated);
        here.without_gradient = vec!["fc1.bias".into()];
        here.tensors.get_mut("fc1.bias").unwrap()[0] =
            Trace { norms: vec![0.0; 2], elements: vec![vec![0.0; 234], vec![0.0; 700]] };
        let there = |share: f64| {
            let mut there = take(&exchange, Cpu::Accelerated);
            let weight = there.tensors["fc1.weight"][0].norms.clone();
            let bias = &mut there.tensors.get_mut("fc1.bias").unwrap()[0];
            bias.norms = weight.iter().map(|norm| share * norm).collect();
            there
        };
        let rounding = Report::new(&exchange, &here, &there(1e-6), false);
        assert_eq!(rounding.left_out, ["fc1.bias"]);
        assert!((rounding.left_out_gradient - 1e-6).abs() < 1e-12);
        assert!(rounding.steps.iter().all(|d| d.gradient.difference == 0.0));
        let gradient = Report::new(&exchange, &here, &there(0.5), false);
        assert!(gradient.left_out.is_empty());
        assert!(gradient.steps.iter().all(|d| d.gradient.tensor == "fc1.bias" && d.gradient.difference > 0.01));
    }
}
