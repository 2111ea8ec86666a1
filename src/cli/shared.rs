//! What the commands that use a trained model have in common: which model, which data, which file to write.

use std::path::{Path, PathBuf};

use elbo::backend::{Device, choose, room};
use elbo::data::audio::Reading;
use elbo::data::sequences::series::{self, Series};
use elbo::data::table::Kind;
use elbo::data::{Binarise, Choice, Corrupt, Dataset, Form, Preparation, Selection};
use elbo::error::{Error, Result};
use elbo::files::cache_folder;
use elbo::fusion::Fusion;
use elbo::inference::{Trained, model_file};
use elbo::instruments::subject::Subject;
use elbo::keys::one_line;
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

// ---- The data

#[derive(clap::Args, Clone, Default)]
pub struct DataArgs {
    /// The data set [default: the one the model was trained on, auto if that is not known]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// The folder (of array: the file; of folder and audio also one picture or recording) of the data set. Pictures that
    /// are not split are all taken, unless they are the run's own [default: that of the run, else $ELBO_DATA, else data/DATASET]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Cut a square of N x N from the middle of each picture of a folder; 0 cuts none [default: as in the run]
    #[arg(long, value_name = "N")]
    crop: Option<usize>,
    /// Resize each picture of a folder to N x N; 0 leaves the size [default: as in the run]
    #[arg(long, value_name = "N")]
    image_size: Option<usize>,
    /// Channels of a folder's pictures: 1 (grey) or 3; 0 takes 3 if any is in colour, else 1 [default: those of the
    /// model]
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// A picture of a folder that cannot be decoded is an error or left out by name [default: as in the run]
    #[arg(long)]
    corrupt: Option<Skip>,
    /// Make every pixel black or white: none, threshold (white from a half on), static or dynamic (drawn once, as the
    /// run's evaluation has them) [default: as in the run]
    #[arg(long, value_name = "NAME", value_parser = binarise)]
    binarise: Option<Binarise>,
}

/// A way to binarise by its name. Errors: there is none, with the nearest.
fn binarise(name: &str) -> std::result::Result<Binarise, String> {
    toml::Value::String(name.into()).try_into().map_err(|e: toml::de::Error| one_line(e.message()))
}

impl DataArgs {
    /// For one file or folder, read as what it is: a table, a text, an array or a recording by its ending, else
    /// pictures.
    pub fn of(place: &Path) -> DataArgs {
        let name = place.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let dataset = match () {
            () if ends(&[".csv", ".csv.gz"]) => "table",
            () if ends(&[".txt", ".txt.gz"]) => "text",
            () if ends(&[".npy", ".npz"]) => "array",
            () if ends(&[".wav"]) => "audio",
            () => "folder",
        };
        DataArgs { dataset: Some(dataset.into()), data: Some(place.into()), ..DataArgs::default() }
    }

    /// For a file or a folder of series.
    pub fn of_series(place: &Path) -> DataArgs {
        DataArgs { dataset: Some("series".into()), data: Some(place.into()), ..DataArgs::default() }
    }

    /// Opens the data set, with a line about it on stderr. Its pictures have the model's shape.
    ///
    /// Of pictures that are not split, all are test pictures, unless they are those the run was trained on: its
    /// training pictures say nothing about it. With `parted` they are parted in any case.
    pub fn open(&self, args: &ModelArgs, model: &Trained, parted: bool) -> Result<Dataset> {
        let kind = model.card.columns.modelled().expect("a model is of something");
        let Asked { name, place, form, selection, record } = self.asked(args, model, parted)?;
        let name = name.as_str();
        let preparation = self.preparation(name, record.as_ref(), kind.as_picture()[0]);
        let data = super::train::open_data(name, place.as_deref(), &preparation, &form, selection)?;
        let settings = record.as_ref().map(|record| &record.settings);
        let binarise = self.binarise.or(settings.map(|settings| settings.binarise)).unwrap_or_default();
        let data = binarise.shown(data, settings.map_or(1, |settings| settings.seed));
        let ([train, test], examples) = ([data.train.count, data.test.count], data.examples());
        match train {
            0 => notice(&format!("data: {}, {test} {examples}", data.name)),
            _ => notice(&format!("data: {}, {train} training and {test} test {examples}", data.name)),
        }
        let found = data.columns().modelled().expect("a data set is of something");
        if found != kind {
            let (Kind::Picture([c, h, w]), Kind::Picture([model_c, model_h, model_w])) = (found, kind) else {
                return Err(Error::Usage(format!("the model is of {kind}, and {} has {found}", data.name)));
            };
            let advice = if is_folder(name) {
                "give the --crop, --image-size and --channels it was trained with"
            } else {
                "choose another --dataset"
            };
            return Err(Error::Usage(format!(
                "the pictures of {} are {c}x{h}x{w} (channels, height, width), the model's {model_c}x{model_h}x{model_w}: \
                 {advice}",
                data.name
            )));
        }
        Ok(data)
    }

    /// The series of a model of series: those of the run, parted as they were in its training, or those of `--data`.
    ///
    /// Errors: no model of series, no place of data, and those of [`series::read`].
    pub fn series(&self, args: &ModelArgs, model: &Trained) -> Result<Vec<Series>> {
        model.series_sizes()?;
        let series = DataArgs { dataset: self.dataset.clone().or(Some("series".into())), ..self.clone() };
        let Asked { place, form, selection, .. } = series.asked(args, model, false)?;
        let lacking =
            || Error::Usage("the model file has no run folder that says where its data are: --data PATH".into());
        series::read(&place.ok_or_else(lacking)?, &form, selection)
    }

    /// Which data are asked for, and how they are read.
    fn asked(&self, args: &ModelArgs, model: &Trained, parted: bool) -> Result<Asked> {
        let card = &model.card;
        let name = match &self.dataset {
            Some(name) => name,
            None if card.dataset == "unknown" => "auto",
            None => &card.dataset,
        };
        let record = args.record()?;
        let run = record.as_ref().and_then(|record| run_data(record, name));
        let place = self.data.clone().or_else(|| run.clone());
        let same =
            |a: &PathBuf, b: &PathBuf| a.canonicalize().ok().is_some_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        let selection = match (&record, &self.data, &run) {
            (Some(record), None, _) => record.selection,
            (Some(record), Some(given), Some(run)) if same(given, run) => record.selection,
            _ if parted => Selection::ByName,
            _ => Selection::All,
        };
        let mut form = Form { scale: card.features.clone(), ..self.form(name, record.as_ref()) };
        match card.columns.modelled() {
            Some(Kind::Tokens { longest, .. }) => {
                form.text.longest = longest;
                form.text.vocabulary = card.vocabulary.clone();
            }
            Some(Kind::Steps { longest, .. }) => form.longest_sequence = Some(longest),
            _ => {}
        }
        if let Some(spectrogram) = &card.spectrogram {
            form.audio = Reading::of(spectrogram);
        }
        Ok(Asked { name: name.into(), place, form, selection, record })
    }

    /// The run's way to read a table, ratings, a text, series or recordings, where both it and this data set are the same of
    /// these.
    fn form(&self, name: &str, record: Option<&RunRecord>) -> Form {
        let formed = [Choice::Table, Choice::Ratings, Choice::Text, Choice::Series, Choice::Audio];
        let is_formed = |kind: &Choice| formed.contains(kind);
        let kind = |name: &str| name.parse().ok().filter(is_formed);
        let run = record.filter(|record| kind(name).is_some() && kind(name) == kind(&record.dataset));
        run.and_then(|record| record.settings.form(&record.dataset).ok()).unwrap_or_default()
    }

    /// The run's preparation where both it and this data set are folders of pictures, so that these get the model's
    /// shape too, and what the options say over it. Pictures of a folder get the model's channels: which they are
    /// stored with, each may do as it likes.
    fn preparation(&self, name: &str, record: Option<&RunRecord>, channels: usize) -> Preparation {
        let run = record.filter(|record| is_folder(name) && is_folder(&record.dataset));
        let run = run.map(|record| record.settings.preparation()).unwrap_or_default();
        let channels = is_folder(name).then_some(channels);
        let over = |given: Option<usize>, run: Option<usize>| given.or(run).filter(|&n| n != 0);
        Preparation {
            crop: over(self.crop, run.crop),
            image_size: over(self.image_size, run.image_size),
            channels: over(self.channels, run.channels.or(channels)),
            corrupt: self.corrupt.map_or(run.corrupt, Corrupt::from),
        }
    }
}

/// Which data a model is asked about, and how they are read.
struct Asked {
    name: String,
    place: Option<PathBuf>,
    form: Form,
    selection: Selection,
    record: Option<RunRecord>,
}

/// [`Corrupt`] as an option.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Skip {
    Refuse,
    Skip,
}

impl From<Skip> for Corrupt {
    fn from(skip: Skip) -> Corrupt {
        match skip {
            Skip::Refuse => Corrupt::Refuse,
            Skip::Skip => Corrupt::Skip,
        }
    }
}

fn is_folder(dataset: &str) -> bool {
    matches!(dataset.parse(), Ok(Choice::Folder))
}

/// The run's place of its data, if it was given one for this data set and it is still there. The drawn digits have
/// none, even if one was given.
fn run_data(record: &RunRecord, name: &str) -> Option<PathBuf> {
    let own = |dataset: &str| record.dataset == dataset || record.dataset.split(':').next() == Some(dataset);
    let place = record.settings.data.clone().filter(|_| own(name) && name != "digits");
    place.filter(|place| place.exists())
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
}

impl PictureArgs {
    /// Its flags, and whether each was given.
    pub fn given(&self) -> [(&'static str, bool); 3] {
        [("--out", self.out.is_some()), ("--scale", self.scale.is_some()), ("--sound", self.sound.is_some())]
    }

    pub fn scale(&self) -> usize {
        self.scale.unwrap_or(2)
    }

    /// Refuses a grid that is too large to draw or empty, before its pictures are made. `options` set its size.
    pub fn check(&self, [rows, columns]: [usize; 2], options: &str, model: &Trained) -> Result<()> {
        self.out.as_ref().map(Format::of).transpose()?;
        require(self.scale() > 0, "--scale is 0, but must be at least 1")?;
        self.sound.as_ref().map(|_| model.spectrogram()).transpose()?;
        require(rows > 0 && columns > 0, &format!("{options} must be at least 1"))?;
        let [c, h, w] = model.card.picture()?;
        picture::grid_size([rows, columns], [h, w], self.scale())
            .map_err(|e| Error::Usage(format!("{e} ({options}, --scale)")))?;
        // The points, their pictures in numbers, and the picture that they make; enlarged, it may have more pixels.
        let [latent, values] = [model.latent()?, c * h * w];
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
        self.write_sounds(model, &[("", values)])?;
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
        self.write_sounds(model, sets)?;
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

    /// Writes pictures as the sounds that they stand for, where that is asked for.
    fn write_sounds(&self, model: &Trained, sets: &[(&str, &[f32])]) -> Result<()> {
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

/// `count` values from `low` to `high`, both included.
pub fn evenly(low: f32, high: f32, count: usize) -> Vec<f32> {
    (0..count).map(|i| low + (high - low) * i as f32 / (count - 1).max(1) as f32).collect()
}
