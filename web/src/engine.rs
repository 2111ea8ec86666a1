//! One device, one data set, one model in training or trained: what the page asks of them.

use std::path::{Path, PathBuf};

use elbo::backend::Device;
use elbo::data::Dataset;
use elbo::data::table::Table;
use elbo::error::{Error, Result as Outcome};
use elbo::inference::{Trained, kl_by_dimension, kl_by_row};
use elbo::models::parts::likelihood::Likelihood;
use elbo::models::View;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::epochs::Epochs;
use elbo::train::fit::{self, Asked};
use elbo::train::metrics::Means;
use elbo::train::pictures::{classes, one_hot};
use elbo::train::progress::Progress;
use elbo::train::settings::Settings;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use crate::{bytes, catalogue, described, device, floats, inspect, object, pictures, told};

/// Test pictures that the page shows as points.
const POINTS: usize = 2000;
/// Drawn digits where no other data were given.
const DIGITS: [usize; 2] = [10_000, 2000];

/// What is open.
enum Open {
    Nothing,
    Training(Box<Epochs>),
    Trained(Box<Trained>),
}

/// A device with a data set and a model.
#[wasm_bindgen]
pub struct Engine {
    device: Device,
    words: String,
    data: Option<Dataset>,
    /// Test pictures spread over the set.
    test: Option<Table>,
    open: Open,
    /// When the epoch under way began.
    started: Option<web_time::Instant>,
    pixels: Vec<f32>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device: see [`device::open`].
    pub async fn open(wanted: String) -> Result<Engine, JsError> {
        let (device, words) = device::open(&wanted).await?;
        let (data, test, open) = (None, None, Open::Nothing);
        Ok(Engine { device, words, data, test, open, started: None, pixels: Vec::new() })
    }

    /// The device's own words.
    pub fn description(&self) -> String {
        self.words.clone()
    }

    // ---- Data

    /// Takes so many drawn digits.
    pub fn use_digits(&mut self, train: usize, test: usize) -> String {
        self.take(pictures::drawn(train, test))
    }

    /// Takes the files of a set in MNIST's format, plain or compressed.
    pub fn use_idx(&mut self, names: Vec<String>, files: Vec<js_sys::Uint8Array>) -> Result<String, JsError> {
        let files: Vec<Vec<u8>> = files.iter().map(js_sys::Uint8Array::to_vec).collect();
        Ok(self.take(pictures::idx(&names, &files).map_err(told)?))
    }

    /// Takes pictures that the browser decoded, (N,C,H,W) bytes.
    #[allow(clippy::too_many_arguments, reason = "JavaScript has no tuples")]
    pub fn use_pictures(
        &mut self,
        name: String,
        train: Vec<u8>,
        test: Vec<u8>,
        train_labels: Vec<u8>,
        test_labels: Vec<u8>,
        class_names: Vec<String>,
        channels: usize,
        height: usize,
        width: usize,
    ) -> Result<String, JsError> {
        let (labels, shape) = ([train_labels, test_labels], [channels, height, width]);
        Ok(self.take(pictures::decoded(&name, [train, test], labels, class_names, shape).map_err(told)?))
    }

    fn take(&mut self, data: Dataset) -> String {
        let described = pictures::described(&data);
        self.test = Some(data.test.spread_table(POINTS));
        self.data = Some(data);
        described
    }

    // ---- A run

    /// Begins a run of a preset, with the settings that were changed.
    pub async fn start(&mut self, preset: String, changed: String) -> Result<String, JsError> {
        let settings = catalogue::settings(&preset, &changed).map_err(told)?;
        self.begin(settings, None).await.map_err(told)
    }

    /// Goes on with a run from its state. The data must be the run's.
    pub async fn open_state(&mut self, bytes: Vec<u8>) -> Result<String, JsError> {
        let path = PathBuf::from("state.safetensors");
        let opened = || {
            let state = Checkpoint::parse(&bytes, &path)?;
            let lacking = || Error::file(&path, "does not say of which settings it is: an older version wrote it");
            let settings = Progress::of(&state, &path)?.settings.ok_or_else(lacking)?;
            Ok((Settings::from_table(settings)?, state))
        };
        let (settings, state) = opened().map_err(|e: Error| told(e))?;
        self.begin(settings, Some((&state, &path))).await.map_err(told)
    }

    /// Opens a trained model. It can be asked everything, but not trained on.
    pub fn open_model(&mut self, bytes: Vec<u8>) -> Result<String, JsError> {
        let path = PathBuf::from("model.safetensors");
        let trained = Checkpoint::parse(&bytes, &path).and_then(|file| Trained::of(file, path, &self.device));
        let trained = trained.map_err(told)?;
        trained.card.picture().map_err(told)?;
        self.open = Open::Trained(Box::new(trained));
        Ok(self.described())
    }

    async fn begin(&mut self, mut settings: Settings, state: Option<(&Checkpoint, &Path)>) -> Outcome<String> {
        if self.data.is_none() {
            self.use_digits(DIGITS[0], DIGITS[1]);
        }
        let data = self.data.clone().expect("there are data now");
        // The page has no file names to say what a state was trained on; another size of pictures does not open.
        if state.is_none() {
            (settings.entry()?.fill_in)(&mut settings.own, data.train.count)?;
            fit::to_data(&mut settings, Asked::default(), &data)?;
        }
        // What was there gives its memory back first.
        (self.open, self.started) = (Open::Nothing, None);
        let largest = self.device.largest_binding();
        let epochs = Epochs::new(settings, data, &self.device, largest, state).await?;
        self.open = Open::Training(Box::new(epochs));
        Ok(self.described())
    }

    /// Trains at most so many batches of the epoch under way, and ends the epoch where none is left.
    pub async fn train(&mut self, most: usize) -> Result<String, JsError> {
        let from = web_time::Instant::now();
        let started = *self.started.get_or_insert(from);
        let epochs = self.epochs()?;
        let terms = epochs.programs.model.terms();
        let (first, batches) = (epochs.progress.batch, epochs.batches());
        let is_over = epochs.train(most, &mut |_| true).await.map_err(told)?;
        let losses = epochs.losses(first).await.map_err(told)?;
        let (losses, total): (Vec<Vec<f64>>, Vec<f64>) =
            losses.chunks(terms.len() + 2).map(|batch| Means::of(batch, terms)).map(|m| (m.terms, m.loss)).unzip();
        let mut news = json!({
            "epoch": epochs.progress.epoch, "batch": epochs.progress.batch, "batches": batches,
            "losses": losses, "total": total,
        });
        if is_over {
            epochs.evaluate(&mut || true).await.map_err(told)?;
            let metrics = epochs.finish(started).await.map_err(told)?.metrics;
            let means = |means: &Means| json!({ "total": means.loss, "terms": means.terms });
            let [train, test] = [&metrics.train, &metrics.test].map(means);
            news["finished"] = json!({ "epoch": metrics.epoch, "train": train, "test": test });
            news["epoch"] = metrics.epoch.into();
            news["batch"] = 0.into();
            self.started = None;
        }
        news["seconds"] = from.elapsed().as_secs_f64().into();
        Ok(news.to_string())
    }

    /// Sets the learning rate or a knob, from the next batch on.
    pub fn set(&mut self, key: String, value: f64) -> Result<(), JsError> {
        self.epochs()?.set(&key, value).map_err(told)
    }

    /// Samples, test pictures and their reconstructions, with the parameters as they are.
    pub async fn pictures(&mut self) -> Result<JsValue, JsError> {
        let mut all: [&[f32]; 3] = [&[]; 3];
        let values;
        if let Open::Training(epochs) = &mut self.open {
            values = epochs.pictures().await.map_err(told)?;
            let [samples, made] = epochs.programs.pictures.parted(&values);
            if let Some((samples, _)) = samples {
                all[0] = &samples[0];
            }
            if let Some((made, _)) = made {
                (all[1], all[2]) = (&made[0], &made[made.len() - 1]);
            }
        }
        let names = ["samples", "originals", "reconstructions"];
        Ok(object(&[0, 1, 2].map(|i| (names[i], floats(all[i])))))
    }

    /// `model.safetensors`.
    pub async fn model(&mut self) -> Result<Vec<u8>, JsError> {
        let epochs = self.epochs()?;
        epochs.pause().await.map_err(told)?;
        let mut file = Vec::new();
        epochs.write_model(&mut file).map_err(told)?;
        Ok(file)
    }

    /// `state.safetensors`.
    pub async fn state(&mut self) -> Result<Vec<u8>, JsError> {
        let epochs = self.epochs()?;
        epochs.pause().await.map_err(told)?;
        let mut file = Vec::new();
        epochs.write_state(&mut file).map_err(told)?;
        Ok(file)
    }

    // ---- What the model makes of something

    /// Pictures of latent points (N,Z), with a label each where the model is told it.
    pub async fn decode(&mut self, z: Vec<f32>, labels: Vec<u32>) -> Result<Vec<f32>, JsError> {
        Ok(self.view("decode", &[("z", &z)], &labels).await.map_err(told)?.remove(0))
    }

    /// Mean and logvar of q(z|x).
    pub async fn encode(&mut self, x: Vec<f32>, labels: Vec<u32>) -> Result<JsValue, JsError> {
        let [mean, logvar] = self.gaussian(&x, &labels).await.map_err(told)?;
        Ok(object(&[("mean", floats(&mean)), ("logvar", floats(&logvar))]))
    }

    /// The encodings and losses of the test pictures.
    pub async fn points(&mut self) -> Result<JsValue, JsError> {
        let Some(test) = &self.test else { return Err(told("There are no test pictures.")) };
        let (x, labels) = (test.values(0..test.count), test.labels().unwrap_or_default().to_vec());
        let told_labels: Vec<u32> = labels.iter().map(|&label| u32::from(label)).collect();
        let [mean, logvar] = self.gaussian(&x, &told_labels).await.map_err(told)?;
        let latent = self.latent();
        let kl: Vec<f32> = kl_by_dimension(&mean, &logvar, latent).into_iter().map(|kl| kl as f32).collect();
        let terms = self.loss_by_row(&x, &told_labels, &mean, &logvar).await.map_err(told)?;
        let losses: Vec<f32> = terms.iter().map(|[recon, kl]| (recon + kl) as f32).collect();
        Ok(object(&[
            ("mean", floats(&mean)),
            ("logvar", floats(&logvar)),
            ("labels", bytes(&labels)),
            ("kl", floats(&kl)),
            ("losses", floats(&losses)),
        ]))
    }

    /// The loss of one picture at the mean of q(z|x), as JSON; [`pixels`](Engine::pixels) has it by pixel then.
    pub async fn loss(&mut self, x: Vec<f32>, labels: Vec<u32>) -> Result<String, JsError> {
        let [mean, logvar] = self.gaussian(&x, &labels).await.map_err(told)?;
        let terms = self.loss_by_row(&x, &labels, &mean, &logvar).await.map_err(told)?;
        let made = self.view("decode", &[("z", &mean)], &labels).await.map_err(told)?.remove(0);
        let is_bernoulli = matches!(self.output(), Some(Likelihood::Bernoulli));
        let by_pixel = |(x, p): (&f32, &f32)| match is_bernoulli {
            true => -(x * p.max(1e-7).ln() + (1.0 - x) * (1.0 - p).max(1e-7).ln()),
            false => (x - p) * (x - p),
        };
        self.pixels = x.iter().zip(&made).map(by_pixel).collect();
        Ok(match terms.first() {
            Some([recon, kl]) => json!({ "total": recon + kl, "terms": [recon, kl] }).to_string(),
            None => json!({ "total": null, "terms": [] }).to_string(),
        })
    }

    /// -log p(x|z) by pixel of the picture that [`loss`](Engine::loss) was asked of last; its squared error where the
    /// output is no Bernoulli.
    pub fn pixels(&self) -> Vec<f32> {
        self.pixels.clone()
    }

    /// Some of the test pictures.
    pub fn test_pictures(&self, first: usize, count: usize) -> Result<JsValue, JsError> {
        let Some(test) = &self.test else { return Err(told("There are no test pictures.")) };
        let rows = first.min(test.count)..(first + count).min(test.count);
        let labels = test.labels().map(|labels| &labels[rows.clone()]).unwrap_or_default();
        Ok(object(&[("pictures", floats(&test.values(rows))), ("labels", bytes(labels))]))
    }

    // ---- Inside

    /// The recorded training step, as JSON.
    pub fn program(&mut self) -> Result<String, JsError> {
        Ok(inspect::program(&self.epochs()?.programs.steps[0]))
    }

    /// Seconds of each dispatch of a step. The parameters stay as they are.
    pub async fn time(&mut self) -> Result<Vec<f32>, JsError> {
        let epochs = self.epochs()?;
        epochs.pause().await.map_err(told)?;
        let loaded =
            epochs.backend.load_async(&epochs.programs.arena, &epochs.programs.steps[0]).await.map_err(told)?;
        let timed = epochs.backend.time_async(loaded).await;
        epochs.restore();
        Ok(timed.map_err(told)?.seconds.into_iter().map(|seconds| seconds as f32).collect())
    }

    /// Runs a kernel's cases: see [`inspect::check`].
    pub async fn check(&self, kernel: String) -> Result<String, JsError> {
        inspect::check(&self.device, &kernel).await
    }

    /// Times a rung of the ladder of products: see [`inspect::rung`].
    pub async fn rung(&self, name: String) -> Result<String, JsError> {
        inspect::rung(&self.device, &name).await
    }
}

impl Engine {
    fn epochs(&mut self) -> Result<&mut Epochs, JsError> {
        match &mut self.open {
            Open::Training(epochs) => Ok(epochs),
            Open::Trained(_) => Err(told("This is a trained model, without the state that training goes on from.")),
            Open::Nothing => Err(told("There is no run: choose a preset and start one.")),
        }
    }

    fn find_view(&self, name: &str) -> Option<View> {
        match &self.open {
            Open::Training(epochs) => epochs.programs.model.find_view(name),
            Open::Trained(trained) => trained.find_view(name).ok().cloned(),
            Open::Nothing => None,
        }
    }

    fn output(&self) -> Option<Likelihood> {
        match &self.open {
            Open::Training(epochs) => epochs.programs.model.output(),
            Open::Trained(trained) => trained.output,
            Open::Nothing => None,
        }
    }

    /// Z, where a latent point is numbers that are encoded to a Gaussian; else 0.
    fn latent(&self) -> usize {
        let Some(encode) = self.find_view("encode") else { return 0 };
        match encode.outputs[..] {
            [mean, logvar] if [mean.name, logvar.name] == ["mean", "logvar"] => mean.kind.width(),
            _ => 0,
        }
    }

    /// A view of inputs by name, and of labels where it takes them. Errors: no such view, labels that are missing or
    /// beyond the model's classes, another size of the first input.
    async fn view(&mut self, name: &str, inputs: &[(&str, &[f32])], labels: &[u32]) -> Outcome<Vec<Vec<f32>>> {
        let view = self.find_view(name).ok_or_else(|| Error::Usage(format!("This model cannot {name}.")))?;
        let (first, values) = inputs[0];
        let width = view.input(first).map_or(1, |kind| kind.width());
        if !values.len().is_multiple_of(width) {
            return Err(Error::Usage(format!("{} numbers are no rows of {width}: another size.", values.len())));
        }
        let rows = values.len() / width;
        let one_hot = match classes(&view) {
            None => Vec::new(),
            Some(classes) if labels.len() == rows && labels.iter().all(|&label| (label as usize) < classes) => {
                one_hot(labels.iter().map(|&label| label as usize), classes)
            }
            Some(classes) => {
                return Err(Error::Usage(format!("This model is told a label, 0 to {}, with each.", classes - 1)));
            }
        };
        // A view that takes no labels does not look at these.
        let inputs = [inputs, &[("label", one_hot.as_slice())]].concat();
        match &mut self.open {
            Open::Training(epochs) => epochs.view(name, &inputs, 0).await,
            Open::Trained(trained) => trained.view_async(name, &inputs, 0).await,
            Open::Nothing => unreachable!("what is not open has no view"),
        }
    }

    async fn gaussian(&mut self, x: &[f32], labels: &[u32]) -> Outcome<[Vec<f32>; 2]> {
        if self.latent() == 0 {
            return Err(Error::Usage("This model does not encode to a Gaussian.".into()));
        }
        let outputs = self.view("encode", &[("x", x)], labels).await?;
        Ok(outputs.try_into().unwrap_or_else(|_| unreachable!("the encoder has two outputs")))
    }

    /// -log p(x|z) at the mean of q(z|x), and KL(q(z|x) || N(0,1)), of each row; nothing of a model that cannot say.
    async fn loss_by_row(&mut self, x: &[f32], labels: &[u32], mean: &[f32], logvar: &[f32]) -> Outcome<Vec<[f64; 2]>> {
        if self.find_view("likelihood").is_none() {
            return Ok(Vec::new());
        }
        let outputs = self.view("likelihood", &[("x", x), ("z", mean)], labels).await?;
        let kl = kl_by_row(mean, logvar, self.latent());
        Ok(outputs[0].iter().zip(kl).map(|(&recon, kl)| [f64::from(recon), kl]).collect())
    }

    /// What the page shows of a run or a model, as JSON.
    fn described(&self) -> String {
        let mut described = match &self.open {
            Open::Training(epochs) => described::of_run(epochs),
            Open::Trained(trained) => described::of_model(trained),
            Open::Nothing => Value::Null,
        };
        let told = self.find_view("decode").as_ref().and_then(classes).unwrap_or(0);
        described["latent"] = self.latent().into();
        described["classes"] = told.into();
        described.to_string()
    }
}
