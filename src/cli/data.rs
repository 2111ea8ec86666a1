//! The data set that a command is asked for: which one, where, and how it is prepared; by default that of the run.

use std::path::{Path, PathBuf};

use elbo::data::audio::Reading;
use elbo::data::folder;
use elbo::data::sequences::series::{self, Series};
use elbo::data::table::Kind;
use elbo::data::{self, Background, Binarise, Choice, Corrupt, Dataset, Form, Orientation, Preparation, Selection};
use elbo::error::{Error, Result};
use elbo::inference::Trained;
use elbo::keys::one_line;
use elbo::messages::notice;
use elbo::train::run_folder::RunRecord;
use elbo::train::settings::Settings;
use serde::de::DeserializeOwned;

use super::progress;
use super::shared::ModelArgs;

/// Where each training and each test picture lies; empty where that is not known.
pub type Files = [Vec<PathBuf>; 2];

#[derive(clap::Args, Clone, Default)]
pub struct DataArgs {
    /// The data set [default: the one the model was trained on, auto if that is not known]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// The folder (of array: the file; of folder and audio also one picture or recording) of the data set. Pictures
    /// that are not split are all taken, unless they are the run's own [default: that of the run, else $ELBO_DATA, else
    /// data/DATASET]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Picture files and folders of pictures, in the place of the test set. They are prepared as the run's were; where
    /// that says nothing of their size, the middle square is resized to the model's
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["dataset", "data"])]
    pictures: Vec<PathBuf>,
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
    /// What a transparent picture of a folder is laid over: white, black, none or a colour such as #ff8000 [default: as
    /// in the run]
    #[arg(long, value_name = "COLOUR", value_parser = value::<Background>)]
    background: Option<Background>,
    /// Which way up a picture of a folder is taken: exif (as its EXIF orientation says) or stored [default: as in the
    /// run]
    #[arg(long, value_name = "NAME", value_parser = value::<Orientation>)]
    orientation: Option<Orientation>,
    /// A picture of a folder that cannot be decoded is an error (refuse) or left out by name (skip) [default: as in
    /// the run]
    #[arg(long, value_name = "NAME", value_parser = value::<Corrupt>)]
    corrupt: Option<Corrupt>,
    /// Make every pixel black or white: none, threshold (white from a half on), static or dynamic (drawn once, as the
    /// run's evaluation has them) [default: as in the run]
    #[arg(long, value_name = "NAME", value_parser = value::<Binarise>)]
    binarise: Option<Binarise>,
}

/// The value of a setting by its name. Errors: there is none, with the nearest.
fn value<T: DeserializeOwned>(name: &str) -> std::result::Result<T, String> {
    toml::Value::String(name.into()).try_into().map_err(|e: toml::de::Error| one_line(e.message()))
}

impl DataArgs {
    /// For one file or folder, read as what it is: a table, a text, an array or a recording by its ending, else
    /// pictures.
    pub fn of(place: &Path) -> DataArgs {
        let pictures = || DataArgs { pictures: vec![place.into()], ..DataArgs::default() };
        let name = place.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let dataset = match () {
            () if ends(&[".csv", ".csv.gz"]) => "table",
            () if ends(&[".txt", ".txt.gz"]) => "text",
            () if ends(&[".npy", ".npz"]) => "array",
            () if ends(&[".wav"]) => "audio",
            () => return pictures(),
        };
        DataArgs { dataset: Some(dataset.into()), data: Some(place.into()), ..DataArgs::default() }
    }

    /// Pictures of a file or folder in so many channels, of whatever size they are. Errors: those of reading it.
    pub fn read(place: &Path, channels: usize) -> Result<Dataset> {
        let preparation = Preparation { channels: Some(channels), ..Preparation::default() };
        Ok(folder::of_files(&[place.into()], &preparation, &mut progress::shown())?.0)
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
        Ok(self.open_with_files(args, model, parted)?.0)
    }

    /// [`open`](DataArgs::open), and where the pictures of a folder lie. Its errors are the same.
    pub fn open_with_files(&self, args: &ModelArgs, model: &Trained, parted: bool) -> Result<(Dataset, Files)> {
        let kind = model.card.columns.modelled().expect("a model is of something");
        let (name, data, files, record) = match self.has_pictures() {
            true => {
                let (data, files, record) = self.open_pictures(args, model)?;
                ("folder".to_string(), data, [Vec::new(), files], record)
            }
            false => {
                let Asked { name, place, form, selection, record } = self.asked(args, model, parted)?;
                let preparation = self.preparation(&name, record.as_ref(), kind.as_picture()[0]);
                // The training pictures of the run are enough. For test pictures a command has a limit of its own.
                let train = record.as_ref().and_then(|record| enough(&record.settings)[0]);
                let limits = [train, None];
                let data = open_data(&name, place.as_deref(), &preparation, &form, selection, limits)?;
                let counts = [data.train.count, data.test.count];
                let files = match place.filter(|_| is_folder(&name)) {
                    Some(place) => folder::files(&place, selection, counts)?,
                    None => None,
                };
                (name, data, files.unwrap_or_default(), record)
            }
        };
        let name = name.as_str();
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
            let advice = match is_folder(name) {
                true if c != model_c => format!("leave --channels out, or give --channels {model_c}"),
                true if model_h == model_w => {
                    format!("give --image-size {model_h}, and the --crop it was trained with, if any")
                }
                true => format!("give pictures of {model_w}x{model_h} (width x height)"),
                false => "choose another --dataset".into(),
            };
            return Err(Error::Usage(format!(
                "the pictures of {} are {c}x{h}x{w} (channels, height, width), the model's \
                 {model_c}x{model_h}x{model_w}: {advice}",
                data.name
            )));
        }
        Ok((data, files))
    }

    /// Whether pictures of one's own stand in the place of the test set.
    pub fn has_pictures(&self) -> bool {
        !self.pictures.is_empty()
    }

    /// The pictures of `--pictures`, where each lies, and the record of the model's run. Errors: a model of something
    /// else, and those of [`folder::of_files`].
    fn open_pictures(&self, args: &ModelArgs, model: &Trained) -> Result<(Dataset, Vec<PathBuf>, Option<RunRecord>)> {
        let [c, h, w] = model.card.picture()?;
        if model.card.spectrogram.is_some() {
            let problem = "this model is of recordings, and --pictures are pictures: --data PATH takes .wav files";
            return Err(Error::Usage(problem.into()));
        }
        let record = args.record()?;
        let mut preparation = self.preparation("folder", record.as_ref(), c);
        if h == w && preparation.crop.is_none() {
            preparation.image_size = preparation.image_size.or(Some(h));
        }
        let (data, files) = folder::of_files(&self.pictures, &preparation, &mut progress::shown())?;
        Ok((data, files, record))
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

    /// The run's way to read a table, ratings, a text, series or recordings, where both it and this data set are the
    /// same of these.
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
            corrupt: self.corrupt.unwrap_or(run.corrupt),
            background: self.background.unwrap_or(run.background),
            orientation: self.orientation.unwrap_or(run.orientation),
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

/// Opens a data set by name, with notices and bars on stderr.
pub fn open_data(
    name: &str,
    place: Option<&Path>,
    preparation: &Preparation,
    form: &Form,
    selection: Selection,
    limits: [Option<usize>; 2],
) -> Result<Dataset> {
    data::open(name.parse()?, place, preparation, form, selection, limits, &mut progress::shown())
}

/// How many examples of each split are enough to draw for a run: its limits. A run without some classes limits what is
/// left of them, so it needs all.
pub fn enough(settings: &Settings) -> [Option<usize>; 2] {
    if settings.normal.is_empty() { [settings.train_limit, settings.test_limit] } else { [None; 2] }
}
