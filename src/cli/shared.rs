//! What the commands that use a trained model have in common: which model, which file to write.

use std::path::{Path, PathBuf};

use elbo::backend::{Device, choose, room};
use elbo::data::{Dataset, npy};
use elbo::error::{Error, Result};
use elbo::files::cache_folder;
use elbo::fusion::Fusion;
use elbo::inference::{Trained, model_file};
use elbo::instruments::subject::Subject;
use elbo::messages::notice;
use elbo::models::parts::bound::Importance;
use elbo::models::parts::likelihood::Likelihood;
use elbo::picture::{self, Format, Picture};
use elbo::train::run_folder::{RunFolder, RunRecord};
use elbo::tuning;
use elbo::units;

use super::sounds;

// ---- The model

#[derive(clap::Args)]
pub struct ModelArgs {
    /// A run folder, or a model file: one of this program's, or a PyTorch state_dict of the same VAE (.safetensors)
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Of a run folder, take the model of the best epoch instead of the last one's
    #[arg(long)]
    best: bool,
    /// auto (a real GPU, else the CPU), cpu, gpu, or part of an adapter's name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
}

impl ModelArgs {
    /// Of a run folder's last model.
    pub fn of_run(run: &Path, device: &Device) -> ModelArgs {
        ModelArgs { model: run.into(), best: false, device: device.name().into() }
    }

    /// Opens the model, with a line about the device and one about the model on stderr.
    pub fn open(&self) -> Result<Trained> {
        let file = model_file(&self.model, self.best)?;
        let device = choose::open(&self.device)?;
        notice(&format!("device: {}", device.description()));
        let model = Trained::open(&file, &device)?;
        model.notices().iter().for_each(|line| notice(line));
        notice(&format!("model: {}, {}", file.display(), describe(&model)));
        Ok(model)
    }

    /// Where `name` goes by default: into the run folder, `best_` before the best model's; beside a model file, after
    /// that file's name.
    fn default_output(&self, name: &str) -> PathBuf {
        if self.model.is_dir() {
            return self.model.join(if self.best { format!("best_{name}") } else { name.to_string() });
        }
        let stem = self.model.file_stem().unwrap_or_default().to_string_lossy();
        self.model.with_file_name(format!("{stem}_{name}"))
    }

    pub fn output(&self, out: &Option<PathBuf>, name: &str) -> PathBuf {
        out.clone().unwrap_or_else(|| self.default_output(name))
    }

    /// The record of the run, where the model is a run's.
    pub fn record(&self) -> Result<Option<RunRecord>> {
        RunFolder::open(&self.model).ok().map(|folder| RunRecord::read(&folder)).transpose()
    }
}

/// As in `784-400-20, epoch 10 on mnist`; a model of another kind than the VAE begins with its name.
pub fn describe(model: &Trained) -> String {
    let card = &model.card;
    let kind = if card.model == "vae" { String::new() } else { format!("{} ", card.model) };
    let origin = match card.epoch {
        0 => "of unknown training".to_string(),
        epoch => format!("epoch {epoch} on {}", card.dataset),
    };
    format!("{kind}{}, {origin}", model.described)
}

/// A model for the instruments: its training step on drawn pictures.
#[derive(clap::Args)]
pub struct SubjectArgs {
    /// A preset, as in mnist-mlp, or a run folder
    #[arg(value_name = "MODEL")]
    model: String,
    /// Pictures a step [default: as the preset or the run has it]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// auto (a real GPU, else the CPU), cpu, gpu, or part of an adapter's name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Look at the step as the model records it, one kernel an operation, without fused kernels
    #[arg(long)]
    no_fuse: bool,
}

impl SubjectArgs {
    /// The step as it would train on the device, whose name is said on stderr.
    pub fn open(&self) -> Result<(Subject, Device)> {
        let subject = Subject::open(&self.model, self.batch_size)?;
        let device = choose::open(&self.device)?;
        notice(&format!("device: {}", device.description()));
        let fusion = if self.no_fuse { Fusion::None } else { subject.settings.fusion(Fusion::of(&device)) };
        let subject = subject.fused(fusion);
        if let Device::Gpu(gpu) = &device {
            tuning::recall(gpu, &subject.step, cache_folder().as_deref());
        }
        Ok((subject, device))
    }
}

// ---- The label

/// For a model that is told the label.
#[derive(clap::Args)]
pub struct LabelArgs {
    /// Of a model that is told the label, tell it this one
    #[arg(long, value_name = "K")]
    pub label: Option<usize>,
}

impl LabelArgs {
    /// The label that was given for this view of the model, looked at. Errors: a label that it does not know, one for a
    /// model that is told none.
    pub fn given(&self, model: &Trained, view: &str) -> Result<Option<usize>> {
        let Some(label) = self.label else { return Ok(None) };
        match model.classes(view)? {
            Some(classes) if label < classes => Ok(Some(label)),
            Some(classes) => {
                Err(Error::Usage(format!("--label is {label}, but the model knows the labels 0 to {}", classes - 1)))
            }
            None => {
                Err(Error::Usage(format!("--label is given, but a model of the kind {} takes none", model.card.model)))
            }
        }
    }

    /// The label of each of `count` pictures that have none of their own; `None` for a model that takes none. Errors:
    /// none was given.
    pub fn needed(&self, model: &Trained, view: &str, count: usize) -> Result<Option<Vec<usize>>> {
        match (model.classes(view)?, self.given(model, view)?) {
            (None, _) => Ok(None),
            (Some(_), Some(label)) => Ok(Some(vec![label; count])),
            (Some(classes), None) => {
                Err(Error::Usage(format!("the model is told the label: give one by --label 0 to {}", classes - 1)))
            }
        }
    }
}

// ---- Pictures out

#[derive(clap::Args)]
pub struct PictureArgs {
    /// The PNG or JPEG file to write, by its ending [default: named after the command, in the run folder or beside the
    /// model file]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Draw each pixel as N x N [default: 2]
    #[arg(long, value_name = "N")]
    scale: Option<usize>,
    /// Of a model of recordings, also write each picture as the sound that it stands for, a .wav file in this folder
    #[arg(long, value_name = "DIR")]
    sound: Option<PathBuf>,
    /// Also write each picture by itself into this folder, a PNG file of its number and without a scale, and the values
    /// of all of them, 0 to 1, as .npy files of float32 and shape (N, channels x height x width)
    #[arg(long, value_name = "DIR")]
    each: Option<PathBuf>,
}

impl PictureArgs {
    /// Its flags, and whether each was given.
    pub fn given(&self) -> [(&'static str, bool); 4] {
        [
            ("--out", self.out.is_some()),
            ("--scale", self.scale.is_some()),
            ("--sound", self.sound.is_some()),
            ("--each", self.each.is_some()),
        ]
    }

    pub fn scale(&self) -> usize {
        self.scale.unwrap_or(2)
    }

    /// Refuses an output that cannot be written, before what it is to show is made.
    pub fn check_output(&self, model: &Trained) -> Result<()> {
        self.out.as_ref().map(Format::of).transpose()?;
        require(self.scale() > 0, "--scale is 0, but must be at least 1")?;
        self.each.as_ref().map_or(Ok(()), |_| model.card.picture().map(drop))?;
        self.sound.as_ref().map_or(Ok(()), |_| model.spectrogram().map(drop))
    }

    /// Refuses a grid that is too large to draw or empty, before its pictures are made. `options` set its size.
    pub fn check(&self, [rows, columns]: [usize; 2], options: &str, model: &Trained) -> Result<()> {
        self.check_output(model)?;
        require(rows > 0 && columns > 0, &format!("{options} must be at least 1"))?;
        let [c, h, w] = model.card.picture()?;
        picture::grid_size([rows, columns], [h, w], self.scale())
            .map_err(|e| Error::Usage(format!("{e} ({options}, --scale)")))?;
        // The points, their pictures in numbers, and the picture that they make; enlarged, it may have more pixels.
        // A model that only reconstructs has no latent point of its own to decode.
        let [latent, values] = [model.latent().unwrap_or(0), c * h * w];
        let numbers = latent.saturating_mul(2).saturating_add(values.saturating_mul(3));
        let bytes = (rows * columns).saturating_mul(numbers).saturating_mul(4);
        let what = format!("{} for {rows} x {columns} pictures", units::memory(bytes));
        room::require(bytes, &what, &format!("ask for fewer by {options}"))
    }

    /// Writes pictures (N,D) of the model's shape as a grid, and their sounds where they are asked for.
    pub fn write(
        &self,
        args: &ModelArgs,
        name: &str,
        model: &Trained,
        values: &[f32],
        columns: usize,
    ) -> Result<PathBuf> {
        let grid = picture::grid(values, self.shape(model, values)?, columns, self.scale())?;
        self.write_apart(model, &[("", values)])?;
        self.save(args, name, &grid)
    }

    /// Writes named sets of pictures (N,D) in bands, originals over what was made of them, and their sounds where they
    /// are asked for.
    pub fn write_bands(
        &self,
        args: &ModelArgs,
        name: &str,
        model: &Trained,
        sets: &[(&str, &[f32])],
        columns: usize,
    ) -> Result<PathBuf> {
        let pictures: Vec<&[f32]> = sets.iter().map(|(_, pictures)| *pictures).collect();
        let bands = picture::bands(&pictures, self.shape(model, pictures[0])?, columns, self.scale())?;
        self.write_apart(model, sets)?;
        self.save(args, name, &bands)
    }

    fn shape(&self, model: &Trained, values: &[f32]) -> Result<[usize; 4]> {
        let [c, h, w] = model.card.picture()?;
        Ok([values.len() / (c * h * w), c, h, w])
    }

    /// Writes a picture where it was asked for, else into the run's folder under this name.
    pub fn save(&self, args: &ModelArgs, name: &str, picture: &Picture) -> Result<PathBuf> {
        let path = args.output(&self.out, name);
        picture.save(&path)?;
        Ok(path)
    }

    /// Writes sets of pictures one by one, and as the sounds that they stand for, where that is asked for. The eighth
    /// of the set `original` is `007_original.png`, and the set's values are `original.npy`; of a set without a name
    /// they are `007.png` and `pictures.npy`.
    fn write_apart(&self, model: &Trained, sets: &[(&str, &[f32])]) -> Result<()> {
        if let Some(folder) = &self.each {
            std::fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
            let shape = model.card.picture()?;
            let columns = shape.iter().product();
            for (name, values) in sets {
                let ending = if name.is_empty() { String::new() } else { format!("_{name}") };
                for (n, values) in values.chunks_exact(columns).enumerate() {
                    picture::plain(values, shape)?.save(folder.join(format!("{n:03}{ending}.png")))?;
                }
                let file = folder.join(format!("{}.npy", if name.is_empty() { "pictures" } else { name }));
                npy::write(&file, &npy::Matrix { rows: values.len() / columns, columns, values: values.to_vec() })?;
            }
            wrote(folder, "each picture by itself");
        }
        self.sound.as_ref().map_or(Ok(()), |folder| sounds::write(folder, model, sets))
    }
}

/// The line each command ends with: what was written where.
pub fn wrote(path: &Path, what: &str) {
    super::print(&format!("wrote {}: {what}", path.display()));
}

/// A test loss of sampled z, as what it is: a bound by its name, with bits a dimension where those are defined, or a
/// number that only compares models on the same data. `example` is what those of the data are called, `shape` is (C,H,W) of pictures; `binary`: every pixel of them is
/// black or white.
pub fn describe_loss(
    output: Option<Likelihood>,
    bound: &str,
    nats: f64,
    example: &str,
    shape: Option<[usize; 3]>,
    binary: bool,
) -> String {
    let Some(output) = output else { return format!("{nats:.4} nats a {example}") };
    // A density of numbers that are no grey levels has no bits to compare with others'.
    let Some([c, h, w]) = shape else { return format!("{bound} {nats:.4} nats a {example}") };
    match output.bits_per_dimension(nats, c * h * w) {
        Some(bits) => format!("{bound} {nats:.4} nats a picture, {bits:.4} bits a dimension"),
        None if binary => format!("{bound} {nats:.4} nats a picture of black and white pixels"),
        None => format!("{nats:.4} nats a picture, {CROSS_ENTROPY}"),
    }
}

/// What the loss of a model of these settings bounds log p(x) by: `-ELBO`, or `-L_5` of five samples.
pub fn bound_name(settings: &toml::Table) -> String {
    match Importance::samples(settings) {
        1 => "-ELBO".into(),
        samples => format!("-L_{samples}"),
    }
}

/// What the loss of a Bernoulli output is on grey levels.
pub const CROSS_ENTROPY: &str = "a cross-entropy of grey levels and not a likelihood";

/// A folder's name of words, in small letters and digits: as in `mnist-mlp-cpu`.
pub fn plain_name(words: &[&str]) -> String {
    let plain = words.join(" ").to_lowercase();
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

// ---- Arguments

pub fn require(holds: bool, problem: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Usage(problem.into())) }
}

/// Refuses the index of a test picture that is not there.
pub fn require_picture(option: &str, index: usize, data: &Dataset) -> Result<()> {
    let count = data.test.count;
    let problem = || format!("{option} is {index}, but the test pictures of {} are 0 to {}", data.name, count - 1);
    if index < count { Ok(()) } else { Err(Error::Usage(problem())) }
}

/// A test picture in words, as in `7 (label 9)`.
pub fn picture_name(index: usize, data: &Dataset) -> String {
    match data.test.labels() {
        Some(labels) => format!("{index} (label {})", labels[index]),
        None => index.to_string(),
    }
}

/// The labels that a view is told of test pictures that are spread over the set; `None` where it takes none. Errors:
/// those of [`Trained::labels_of`].
pub fn spread_labels(model: &Trained, view: &str, data: &Dataset, count: usize) -> Result<Option<Vec<usize>>> {
    let labels = data.test.spread_indices(count).map(|i| model.labels_of(view, &data.test, i..i + 1));
    labels.map(|label| Ok(label?.map(|label| label[0]))).collect()
}

/// `count` values from `low` to `high`, both included.
pub fn evenly(low: f32, high: f32, count: usize) -> Vec<f32> {
    (0..count).map(|i| low + (high - low) * i as f32 / (count - 1).max(1) as f32).collect()
}
