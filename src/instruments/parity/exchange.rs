//! What both sides start from and are fed with.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::{File, LARGEST_FILE};
use super::{RECORDING, SCRIPT};
use crate::arena::Arena;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Device};
use crate::data::table::{Columns, LABELS, PICTURES, Table};
use crate::error::{Error, Result};
use crate::files::{read_regular, write_atomic};
use crate::instruments::replay::{given, training_batch};
use crate::kernels::clock::{Clock, Row};
use crate::kernels::{random, shuffle};
use crate::models::draw::Draw;
use crate::models::{Model, Term};
use crate::program::{Program, Recorder, Step};
use crate::train::checkpoint::Checkpoint;
use crate::train::pictures::one_hot;
use crate::train::programs;
use crate::train::rows::rows;
use crate::train::settings::{Reduction, Settings};

pub(super) const EXCHANGE: &str = "exchange.safetensors";
const SCRIPTS: [(&str, &str); 3] = [
    (SCRIPT, include_str!("../../../scripts/pytorch_parity.py")),
    ("pytorch_network.py", include_str!("../../../scripts/pytorch_network.py")),
    ("pytorch_codes.py", include_str!("../../../scripts/pytorch_codes.py")),
];

/// Metadata key of [`About`], as JSON.
const ABOUT: &str = "elbo.parity";
/// The most bytes of pictures an exchange may hold.
const MOST_BYTES: usize = 2 << 30;

/// Settings, initial parameters, pictures and noise of a number of training steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// What is trained, and how.
    pub about: About,
    /// Training steps, at least 1.
    pub steps: usize,
    /// (steps,B,C,H,W), one byte a pixel.
    pub(super) pictures: Vec<u8>,
    /// (steps,B); `None` where the model takes no labels.
    labels: Option<Vec<u8>>,
    /// The random numbers that the model asks for, in order: the shape of a step's, and (steps, shape) the values.
    pub(super) noise: Vec<Noise>,
    /// Parameters before the first step, in PyTorch's order.
    pub(super) initial: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// SHA-256 of the file.
    pub(super) digest: String,
}

/// Random numbers that a model asks for: the shape of a step's, and (steps, shape) the values.
pub(super) type Noise = (Vec<usize>, Vec<f32>);

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The preset's name, or the run's folder.
    pub name: String,
    /// Where the pictures are from.
    pub data: String,
    /// All settings, with the seed of the initial parameters, the order and the noise.
    pub settings: Settings,
    /// The columns of the data that the model takes.
    pub columns: Columns,
}

impl Exchange {
    /// The first steps of a training run with these settings, seed included: the order and the noise are those of
    /// `elbo train` without augmentation on these pictures, which start over when they are used up.
    ///
    /// Errors: no step or batch, a network that does not fit the pictures, one with dropout, more than 2 GiB of
    /// pictures.
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
        let bytes = rows.saturating_mul(split.dims());
        if bytes > MOST_BYTES {
            return Err(Error::Usage(format!(
                "the pictures of {steps} steps of {batch} are {} MiB; take fewer --steps or a smaller --batch-size, \
                 up to {} MiB",
                bytes >> 20,
                MOST_BYTES >> 20
            )));
        }
        let mut arena = Arena::new();
        let entry = settings.entry()?;
        let columns = columns.only(entry.takes)?;
        let model = (entry.open)(&mut arena, &settings.own, &columns)?;
        let mut networks = ["encoder", "decoder"].into_iter().filter_map(|key| settings.own(key)?.as_str());
        if networks.any(|text| text.contains("dropout")) {
            return Err(Error::Usage(format!(
                "{name} has dropout, and PyTorch draws its masks from other random numbers: \
                 only networks without it can be compared"
            )));
        }

        let parameters = programs::initial(&arena, &*model, settings.seed);
        let statistics = vec![0.0; arena.flat_statistics().map_or(0, |s| s.len())];
        let mut initial = Checkpoint::of_model(&arena, &parameters, &statistics).tensors;
        initial.retain(|name, _| arena.parameters().iter().any(|p| p.name == *name));

        let (order, noise) = draw(settings, &columns, split.count, steps)?;
        let dims = split.dims();
        let example = |n: usize| order[n % order.len()] as usize;
        let pictures = (0..rows).flat_map(|n| &split.pixels()[example(n) * dims..][..dims]).copied().collect();
        let labels = columns.0.contains_key(LABELS).then(|| {
            let labels = split.labels().expect("columns of labels have labels");
            (0..rows).map(|n| labels[example(n)]).collect()
        });
        let about = About { name: name.into(), data: data.into(), settings: settings.clone(), columns };
        let mut exchange = Exchange { about, steps, pictures, labels, noise, initial, digest: String::new() };
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
            pictures: pictures.to_vec(),
            labels,
            noise: drawn.collect::<Result<_>>()?,
            initial: initial.collect::<Result<_>>()?,
            digest: digest(&bytes),
            about,
        };
        match exchange.fits() {
            true => Ok(exchange),
            false => Err(Error::file(&path, "its pictures and noise are not those of its settings")),
        }
    }

    /// Whether pictures, labels and noise are those of a model that the settings describe.
    fn fits(&self) -> bool {
        let (settings, batch) = (&self.about.settings, self.about.settings.batch_size);
        let drawn = settings.entry().and_then(|entry| (entry.check)(&settings.own));
        let Ok(asked) = drawn.and_then(|()| asks(settings, &self.about.columns)) else { return false };
        let rows = self.steps * batch;
        let labels = self.labels.as_ref().is_none_or(|labels| {
            labels.len() == rows && labels.iter().all(|&label| usize::from(label) < self.classes())
        });
        let values = |shape: &[usize]| self.steps * shape.iter().product::<usize>();
        let shapes = self.noise.iter().map(|(shape, _)| shape.as_slice());
        self.steps > 0
            && self.pictures.len() == rows * self.dims()
            && labels
            && shapes.eq(asked.iter().map(|step| step.writes[0].shape()))
            && self.noise.iter().all(|(shape, noise)| noise.len() == values(shape))
    }

    /// D, pixels of a picture.
    pub(super) fn dims(&self) -> usize {
        self.about.columns.picture(PICTURES).map_or(0, |shape| shape.iter().product())
    }

    /// K; 0 where the model takes no labels.
    fn classes(&self) -> usize {
        self.about.columns.label(LABELS).unwrap_or(0)
    }

    /// The terms of the model's loss.
    pub fn terms(&self) -> &'static [Term] {
        self.about.settings.entry().expect("looked up before").terms
    }

    /// The columns of a step's batch, as [`given`] orders them.
    pub(super) fn columns_of(&self, step: usize) -> Vec<Vec<f32>> {
        let batch = self.about.settings.batch_size;
        let pixels = batch * self.dims();
        let pictures = self.pictures[step * pixels..][..pixels].iter().map(|&byte| f32::from(byte) / 255.0);
        let labels = self.labels.as_ref().map(|labels| {
            one_hot(labels[step * batch..][..batch].iter().map(|&label| usize::from(label)), self.classes())
        });
        std::iter::once(pictures.collect()).chain(labels).collect()
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

    /// What is minimised, times this, is nats a picture.
    pub(super) fn per_picture(&self) -> f64 {
        match self.about.settings.reduction {
            Reduction::Sum => 1.0 / self.about.settings.batch_size as f64,
            Reduction::Mean => 1.0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let (settings, columns) = (&self.about.settings, &self.about.columns);
        let [c, h, w] = columns.picture(PICTURES).expect("looked up before");
        let knobs = settings.outline(columns).expect("opened before").knobs();
        let rows = rows(settings, &knobs, 0, self.steps, self.steps as u64);
        // The learning rate and each knob.
        let width = 1 + knobs.len().max(1);
        let row = |row: &Row| [&[row.lr, row.kl_weight], &row.knobs[..]].concat()[..width].to_vec();
        let rows: Vec<f32> = rows.iter().flat_map(row).collect();
        let batch = settings.batch_size;
        let mut tensors = vec![
            (PICTURES.to_string(), Dtype::U8, vec![self.steps, batch, c, h, w], &self.pictures[..]),
            ("rows".into(), Dtype::F32, vec![self.steps, width], bytemuck::cast_slice(&rows)),
        ];
        if let Some(labels) = &self.labels {
            tensors.push((LABELS.into(), Dtype::U8, vec![self.steps, batch], labels));
        }
        for (i, (shape, values)) in self.noise.iter().enumerate() {
            let shape = [&[self.steps], &shape[..]].concat();
            tensors.push((format!("noise.{i}"), Dtype::F32, shape, bytemuck::cast_slice(values)));
        }
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

/// The draws of random numbers that a model of these settings asks for at each step, as recorded dispatches. Errors:
/// settings that do not fit together or the columns.
fn asks(settings: &Settings, columns: &Columns) -> Result<Vec<Step>> {
    let mut arena = Arena::new();
    let model: Box<dyn Model> = (settings.entry()?.open)(&mut arena, &settings.own, columns)?;
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let sources = given(&mut arena, model.entry(), columns, settings.batch_size);
    let batch = training_batch(settings, sources, clock);
    let mut r = Recorder::new(&mut arena);
    model.step(&mut r, &batch, &mut Draw::Clock(clock));
    let drawn = |step: &Step| [&random::NORMAL, &random::UNIT].iter().any(|kernel| std::ptr::eq(step.kernel, *kernel));
    Ok(r.finish("step").steps.into_iter().filter(drawn).collect())
}

/// The order of the first epoch over `count` pictures, and the random numbers of the first steps, from the settings'
/// seed.
fn draw(settings: &Settings, columns: &Columns, count: usize, steps: usize) -> Result<(Vec<u32>, Vec<Noise>)> {
    let asked = asks(settings, columns)?;
    // The draws alone, in an arena without the model: by kernel, params and shape.
    let mut arena = Arena::new();
    let order = arena.tensor("order", &[count]);
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let mut r = Recorder::new(&mut arena);
    shuffle::forward(&mut r, clock, order, true);
    let shuffled = r.finish("order");
    let mut r = Recorder::new(&mut arena);
    let draw = |r: &mut Recorder, step: &Step| {
        let y = r.tensor("noise", step.writes[0].shape());
        r.dispatch_words(step.kernel, step.params.clone(), &[clock], &[y]);
        y
    };
    let tensors: Vec<_> = asked.iter().map(|step| draw(&mut r, step)).collect();
    let drawn: Program = r.finish("noise");

    let mut backend: Backend = Device::Cpu(Cpu::Accelerated).backend();
    let (shuffled, drawn) = (backend.load(&arena, &shuffled)?, backend.load(&arena, &drawn)?);
    let time = |step| Clock { seed: settings.seed, step, batch: 0, epoch: 0, rows: vec![Clock::unit().rows[0]] };
    backend.write_words(clock, &time(0).words());
    backend.run(&[(shuffled, 1)])?;
    let order = pollster::block_on(backend.read_words_async(&[order]))?.remove(0);
    let mut noise: Vec<_> = tensors.iter().map(|tensor| (tensor.shape().to_vec(), Vec::new())).collect();
    for step in 0..steps as u32 {
        backend.write_words(clock, &time(step).words());
        backend.run(&[(drawn, 1)])?;
        for ((_, all), values) in noise.iter_mut().zip(backend.read(&tensors)?) {
            all.extend(values);
        }
    }
    Ok((order, noise))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
