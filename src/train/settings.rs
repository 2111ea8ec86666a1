//! The settings of a training run: every number and choice, with nothing left open.
//!
//! Three layers make one: the preset's values, over them the settings file's, over them the command line's. The last
//! two are [`Overrides`], the same keys with each one optional. `run.toml` keeps the result.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::data::{Corrupt, Preparation};
use crate::error::{Error, Result};
use crate::fusion::Fusion;
use crate::kernels::activation::Activation;
pub use crate::models::likelihood::Likelihood;
use crate::models::network::Network;
pub use crate::models::vae::Head;
use crate::train::overrides::Overrides;
use crate::train::presets;
use crate::train::schedule::{KlSchedule, LrSchedule};

/// What each key means, and in which unit, stands with its namesake in [`Overrides`]. A key with a default is one that
/// records of older runs lack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The preset whose network this is, or [`OWN`] where it is none's. Runs recorded by older versions have the preset
    /// that the others started from.
    pub preset: String,

    /// The data set's name, or `auto`: MNIST, or the built-in digits without it.
    pub dataset: String,
    /// Folder or file of the data set; `None` takes `$ELBO_DATA`, else `data/DATASET`.
    pub data: Option<PathBuf>,
    /// Side in pixels of the square cut from the middle of a folder's pictures; `None` cuts none.
    pub crop: Option<usize>,
    /// Side in pixels to which a folder's pictures are resized; `None` leaves their size.
    pub image_size: Option<usize>,
    /// 1 (grey) or 3 (colour) for a folder's pictures; `None` takes 3 if any is in colour.
    pub channels: Option<usize>,
    /// What happens to a picture of a folder that cannot be decoded.
    #[serde(default)]
    pub corrupt: Corrupt,
    /// Trains on so many pictures, [chosen](crate::data::Dataset::limited) by the run's selection; `None` takes all.
    pub train_limit: Option<usize>,
    /// Tests on so many pictures, chosen likewise; `None` takes all.
    pub test_limit: Option<usize>,
    /// Mirrors half of the training pictures left to right, chosen anew at each step.
    #[serde(default)]
    pub flip: bool,
    /// Shifts training pictures by up to so many pixels each way, drawn anew at each step; 0 leaves them.
    #[serde(default)]
    pub shift: usize,

    /// Sizes of the encoder's hidden layers, at least one; the decoder has them reversed. Of no effect beside listed
    /// networks.
    pub hidden: Vec<usize>,
    /// Z, latent dimensions.
    pub latent: usize,
    /// How the encoder ends.
    pub head: Head,
    /// After each hidden layer; listed networks name their own.
    pub activation: Activation,
    /// The distribution of a pixel.
    pub output: Likelihood,
    /// Scale of the outputs that have a fixed one, in pixel values of 0 to 1; above 0.
    pub sigma: f64,
    /// The encoder layer by layer; `None` is the MLP of `hidden`.
    pub encoder: Option<Network>,
    /// The decoder layer by layer; listed where the encoder is.
    pub decoder: Option<Network>,

    /// Passes over the training pictures, at least 1.
    pub epochs: usize,
    /// B, pictures of a step; at most as many as there are to train on.
    pub batch_size: usize,
    /// Of the initial weights, the order of the pictures and every noise.
    pub seed: u64,
    /// `auto` (a real GPU, else the CPU), `cpu`, `gpu`, or part of an adapter's name.
    pub device: String,
    /// Whether a step runs as the model recorded it, one kernel an operation, instead of [fused](crate::fusion).
    #[serde(default)]
    pub no_fuse: bool,

    /// What the gradient is taken of: a batch's summed loss or its mean.
    pub reduction: Reduction,
    /// Weight of the KL term (beta) against the reconstruction summed over pixels; 1 is the ELBO (Higgins et al. 2017).
    pub kl_weight: f64,
    /// Nats of KL that a latent dimension may have without cost (Kingma et al. 2016, arXiv 1606.04934); 0 is none.
    pub free_bits: f64,
    /// Factor of `kl_weight` over the run.
    pub kl_schedule: KlSchedule,

    /// The rule by which gradients move the parameters.
    pub optimizer: Optimizer,
    /// Learning rate before its schedule; above 0.
    pub lr: f64,
    /// Adam's decay rates of the first and the second moment, each at least 0 and below 1.
    pub betas: [f64; 2],
    /// What Adam adds to the root of the second moment; above 0.
    pub eps: f64,
    /// Of SGD, at least 0 and below 1; 0 is plain SGD.
    pub momentum: f64,
    /// L2 in adam and sgd, decoupled in adamw; 0 is none.
    pub weight_decay: f64,
    /// L2 norm that the whole gradient is scaled down to where it is larger; `None` never does.
    pub clip_norm: Option<f64>,
    /// Factor of `lr` over the run.
    pub lr_schedule: LrSchedule,
    /// Epochs, not always whole, over which the learning rate rises at the start; 0 is none.
    pub warmup_epochs: f64,

    /// Epochs in a row without an improvement that end the run; `None` trains all epochs.
    pub patience: Option<usize>,
    /// The metric of early stopping and `best.safetensors`.
    pub monitor: Monitor,
    /// Nats by which a value must be lower to count as an improvement.
    pub min_delta: f64,

    /// The run's folder.
    pub out: PathBuf,
    /// S, pictures of the sample grid after each epoch; 0 draws none.
    pub samples: usize,
}

/// Whether the optimised loss is the batch's sum (`Sum`) or its mean (`Mean`). Reported losses are means over pictures
/// either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[allow(missing_docs, reason = "clap would show them and spread the help of all options")]
pub enum Reduction {
    Sum,
    Mean,
}

/// The rule of the parameter update.
///
/// - `Adam`: Kingma and Ba 2015 (arXiv 1412.6980), weight decay added to the gradient (L2).
/// - `AdamW`: Loshchilov and Hutter 2019 (arXiv 1711.05101), which shrinks the weights directly (decoupled).
/// - `Sgd`: with momentum as in PyTorch; weight decay as in Adam.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[allow(missing_docs, reason = "clap would show them and spread the help of all options")]
pub enum Optimizer {
    Adam,
    #[serde(rename = "adamw")]
    #[value(name = "adamw")]
    AdamW,
    Sgd,
}

/// The column of the metrics that early stopping and `best.safetensors` follow; lower is better. Each stands for the field
/// of its name in [`EpochMetrics`](crate::train::metrics::EpochMetrics), in nats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[allow(missing_docs, reason = "clap would show them and spread the help of all options")]
pub enum Monitor {
    TrainLoss,
    TrainRecon,
    TrainKl,
    TestLoss,
    TestRecon,
    TestKl,
}

/// Largest layer, batch or grid that is taken for meant: beyond it lies a typing error, not a model.
pub const LARGEST_SIZE: usize = 1 << 20;
const MOST_EPOCHS: usize = 1 << 20;

/// The keys that `--resume` may change. None changes what the epochs already trained would have been, but `epochs` under a
/// schedule that spans the whole run (any lr_schedule but constant, a cyclical kl_schedule), which it stretches.
const RESUME_MAY_CHANGE: [&str; 8] =
    ["data", "device", "no_fuse", "epochs", "patience", "monitor", "min_delta", "samples"];

/// What a network is called that is no preset's.
pub const OWN: &str = "vae";

/// The path from the root, so that it is found from any folder. Where the present folder is not known it stays.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

impl Settings {
    /// Preset (named by the command line, else by the file, else the default one), then file, then command line.
    /// An [`Error::Usage`]: an unknown preset, with the nearest; a value out of its range.
    pub fn resolve(file: Option<Overrides>, cli: Overrides) -> Result<Settings> {
        let file = file.unwrap_or_default();
        let name = cli.preset.as_deref().or(file.preset.as_deref()).unwrap_or(presets::DEFAULT);
        let has_out = file.out.is_some() || cli.out.is_some();
        presets::find(name)?.settings().with(&file)?.with(&cli)?.named(has_out)
    }

    /// The settings of a recorded run, to run it again, with the command line's over them. It goes to a folder of its own.
    /// An [`Error::Usage`]: a preset, a value out of its range.
    pub fn repeat(saved: Settings, cli: Overrides) -> Result<Settings> {
        if let Some(preset) = cli.preset.as_ref().filter(|preset| **preset != saved.preset) {
            return Err(Error::Usage(format!(
                "{preset} cannot be put under the settings of a run, which has all of its own: leave one of them out"
            )));
        }
        let out = PathBuf::from("runs").join(&saved.preset);
        // The recorded place is that of the recorded set.
        let data = saved.data.filter(|_| cli.dataset.is_none());
        let has_out = cli.out.is_some();
        Settings { out, data, ..saved }.with(&cli)?.named(has_out)
    }

    /// Validated, under the preset's name only where the network is the preset's; and with the place of the data as it is
    /// found from any folder.
    fn named(mut self, has_out: bool) -> Result<Settings> {
        let layers = |s: &Settings| {
            let hidden = if s.encoder.is_none() { s.hidden.clone() } else { Vec::new() };
            (hidden, s.latent, s.head, s.activation, s.encoder.clone(), s.decoder.clone())
        };
        if presets::find(&self.preset).is_ok_and(|preset| layers(&preset.settings()) != layers(&self)) {
            self.preset = OWN.into();
            if !has_out {
                self.out = PathBuf::from("runs").join(OWN);
            }
        }
        self.data = self.data.map(absolute);
        self.validate()?;
        Ok(self)
    }

    /// How a device of this fusion runs a step.
    pub fn fusion(&self, device: Fusion) -> Fusion {
        if self.no_fuse { Fusion::None } else { device }
    }

    /// The settings of a run that goes on: those of its record, and from the command line only what may still change.
    /// An [`Error::Usage`]: another key with another value, a value out of its range.
    pub fn resume(saved: Settings, cli: &Overrides) -> Result<Settings> {
        let before = saved.to_table()?;
        let mut settings = saved.with(cli)?;
        if cli.data.is_some() {
            settings.data = settings.data.map(absolute);
        }
        let after = settings.to_table()?;
        for key in cli.to_table()?.keys().filter(|key| !RESUME_MAY_CHANGE.contains(&key.as_str())) {
            if before.get(key) != after.get(key) {
                let shown = |value: Option<&toml::Value>| value.map_or("off".into(), |v| v.to_string());
                return Err(Error::Usage(format!(
                    "{key} cannot change when a run is resumed: it was {} and would be {}. What can: {}. \
                     Or start a new run with another --out.",
                    shown(before.get(key)),
                    shown(after.get(key)),
                    RESUME_MAY_CHANGE.join(", ")
                )));
            }
        }
        settings.validate()?;
        Ok(settings)
    }

    /// What is done to the pictures of a folder.
    pub fn preparation(&self) -> Preparation {
        Preparation { crop: self.crop, image_size: self.image_size, channels: self.channels, corrupt: self.corrupt }
    }

    /// The text of a table that [`Settings::from_toml`] reads back to an equal value. A setting that is off has no line.
    /// Errors: a path that is not UTF-8, a seed above 2^63 - 1.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Usage(format!("these settings cannot be written down: {e}")))
    }

    /// Reads what [`Settings::to_toml`] wrote. An [`Error::Usage`]: a key that is unknown, missing or out of range.
    pub fn from_toml(text: &str) -> Result<Settings> {
        let settings: Settings =
            toml::from_str(text).map_err(|e| Error::Usage(format!("not the settings of a run: {}", e.message())))?;
        settings.validate()?;
        Ok(settings)
    }

    /// These settings with the given ones over them, not yet validated. Both go through one table by key, so that the
    /// two structs' fields need no third list here.
    fn with(self, overrides: &Overrides) -> Result<Settings> {
        let mut table = self.to_table()?;
        table.extend(overrides.to_table()?);
        let mut settings: Settings = table.try_into().map_err(|e: toml::de::Error| Error::Usage(e.to_string()))?;
        // 0 is how a file or the command line turns off what a preset turned on: TOML has no null.
        settings.crop = settings.crop.filter(|&n| n != 0);
        settings.image_size = settings.image_size.filter(|&n| n != 0);
        settings.channels = settings.channels.filter(|&n| n != 0);
        settings.train_limit = settings.train_limit.filter(|&n| n != 0);
        settings.test_limit = settings.test_limit.filter(|&n| n != 0);
        settings.patience = settings.patience.filter(|&n| n != 0);
        settings.clip_norm = settings.clip_norm.filter(|&norm| norm != 0.0);
        // Whoever gives hidden sizes to a preset of listed networks wants an MLP.
        if overrides.hidden.is_some() && overrides.encoder.is_none() {
            (settings.encoder, settings.decoder) = (None, overrides.decoder.clone());
            if overrides.head.is_none() && settings.head == Head::Direct {
                settings.head = Head::Split;
            }
        }
        Ok(settings)
    }

    fn to_table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|e| Error::Usage(format!("a setting is out of range: {e}")))
    }

    /// Each value alone within its range. What depends on the data (a batch larger than it) is checked where it is known.
    pub(super) fn validate(&self) -> Result<()> {
        let size = 1..=LARGEST_SIZE;
        let size_rule = format!("must be 1 to {LARGEST_SIZE}");
        require(size.contains(&self.batch_size), "batch_size", self.batch_size, &size_rule)?;
        require(size.contains(&self.latent), "latent", self.latent, &size_rule)?;
        require(!self.hidden.is_empty(), "hidden", "empty", "must name at least one layer's size")?;
        for &width in &self.hidden {
            require(size.contains(&width), "hidden", width, &size_rule)?;
        }
        let epochs_rule = format!("must be 1 to {MOST_EPOCHS}");
        require((1..=MOST_EPOCHS).contains(&self.epochs), "epochs", self.epochs, &epochs_rule)?;
        require(self.shift <= LARGEST_SIZE, "shift", self.shift, &format!("must be 0 to {LARGEST_SIZE}"))?;
        require(self.samples <= LARGEST_SIZE, "samples", self.samples, &format!("must be 0 to {LARGEST_SIZE}"))?;

        for (key, value) in [("lr", self.lr), ("sigma", self.sigma), ("eps", self.eps)] {
            require(value > 0.0 && value.is_finite(), key, value, "must be a positive number")?;
        }
        for (key, value) in [
            ("kl_weight", self.kl_weight),
            ("free_bits", self.free_bits),
            ("weight_decay", self.weight_decay),
            ("min_delta", self.min_delta),
            ("warmup_epochs", self.warmup_epochs),
            ("clip_norm", self.clip_norm.unwrap_or(0.0)),
        ] {
            require(value >= 0.0 && value.is_finite(), key, value, "must be 0 or a positive number")?;
        }
        for (key, value) in [("betas", self.betas[0]), ("betas", self.betas[1]), ("momentum", self.momentum)] {
            require((0.0..1.0).contains(&value), key, value, "must be at least 0 and below 1")?;
        }
        for (key, value) in [("dataset", self.dataset.as_str()), ("device", self.device.as_str())] {
            require(!value.is_empty(), key, "empty", "must name one, or be `auto`")?;
        }
        require(!self.out.as_os_str().is_empty(), "out", "empty", "must name a folder")
    }
}

fn require(holds: bool, key: &str, value: impl std::fmt::Display, rule: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Usage(format!("{key} is {value}, but {rule}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mlp() -> Settings {
        Settings::resolve(None, Overrides::default()).unwrap()
    }

    fn rejects(change: impl FnOnce(&mut Overrides)) -> String {
        let mut cli = Overrides::default();
        change(&mut cli);
        match Settings::resolve(None, cli) {
            Err(Error::Usage(message)) => message,
            other => panic!("expected a usage error, got {other:?}"),
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_preset() {
        let file = Overrides {
            preset: Some("mnist-2d".into()),
            lr: Some(0.5),
            epochs: Some(3),
            hidden: Some(vec![10, 20]),
            ..Overrides::default()
        };
        let cli = Overrides { epochs: Some(7), ..Overrides::default() };
        let settings = Settings::resolve(Some(file.clone()), cli).unwrap();
        assert_eq!((settings.epochs, settings.lr, settings.batch_size), (7, 0.5, 64));
        assert_eq!(settings.hidden, [10, 20]);

        let cli = Overrides { preset: Some("mnist-fused".into()), hidden: Some(vec![400]), ..Overrides::default() };
        let settings = Settings::resolve(Some(file), cli).unwrap();
        assert_eq!((settings.preset.as_str(), settings.head), ("mnist-fused", Head::Fused));
    }

    #[test]
    fn a_preset_lends_its_name_to_its_own_network_alone() {
        let with = |change: fn(&mut Overrides)| {
            let mut cli = Overrides { preset: Some("mnist-2d".into()), ..Overrides::default() };
            change(&mut cli);
            let settings = Settings::resolve(None, cli).unwrap();
            (settings.preset, settings.out)
        };
        let [preset, own] = ["mnist-2d", OWN].map(|name| (name.to_string(), PathBuf::from("runs").join(name)));
        assert_eq!(with(|o| (o.lr, o.epochs, o.batch_size) = (Some(0.1), Some(3), Some(9))), preset);
        assert_eq!(with(|o| (o.hidden, o.latent) = (Some(vec![256]), Some(2))), preset);
        assert_eq!(with(|o| o.hidden = Some(vec![255])), own);
        assert_eq!(with(|o| o.latent = Some(3)), own);
        assert_eq!(with(|o| o.head = Some(Head::Fused)), own);
        assert_eq!(with(|o| o.activation = Some(Activation::Elu)), own);
        assert_eq!(with(|o| o.encoder = Some("flatten, linear 9".parse().unwrap())), own);
        let (name, out) = with(|o| (o.hidden, o.out) = (Some(vec![9]), Some("mine".into())));
        assert_eq!((name.as_str(), out), (OWN, PathBuf::from("mine")));
    }

    #[test]
    fn a_recorded_run_is_repeated_with_what_it_had_turned_off() {
        let cli = Overrides { preset: Some("faces-conv".into()), crop: Some(0), ..Overrides::default() };
        let saved = Settings { out: "old".into(), ..Settings::resolve(None, cli).unwrap() };
        let again = Settings::repeat(saved.clone(), Overrides { seed: Some(7), ..Overrides::default() }).unwrap();
        assert_eq!((again.crop, again.seed, again.image_size), (None, 7, Some(64)));
        assert_eq!(again.out, PathBuf::from("runs/faces-conv"));
        let own = Settings::repeat(saved.clone(), Overrides { latent: Some(9), ..Overrides::default() }).unwrap();
        let twice = Settings::repeat(own, Overrides::default()).unwrap();
        assert_eq!((twice.preset.as_str(), twice.latent, twice.out), (OWN, 9, PathBuf::from("runs/vae")));
        let here = Settings { data: Some("/pics".into()), ..saved.clone() };
        let elsewhere = Overrides { dataset: Some("digits".into()), ..Overrides::default() };
        assert_eq!(Settings::repeat(here.clone(), elsewhere).unwrap().data, None);
        assert_eq!(Settings::repeat(here.clone(), Overrides::default()).unwrap().data, here.data);
        let other = Overrides { preset: Some("mnist-mlp".into()), ..Overrides::default() };
        assert!(Settings::repeat(saved, other).unwrap_err().to_string().contains("mnist-mlp cannot be put under"));
    }

    #[test]
    fn the_place_of_the_data_is_found_from_any_folder() {
        let here = Overrides { data: Some("pics".into()), ..Overrides::default() };
        let settings = Settings::resolve(None, here.clone()).unwrap();
        assert_eq!(settings.data, Some(std::env::current_dir().unwrap().join("pics")));
        assert_eq!(Settings::resume(mlp(), &here).unwrap().data, settings.data);
        // A run recorded before paths were whole keeps its own until another is given.
        let older = Settings { data: Some("pics".into()), ..mlp() };
        assert_eq!(Settings::resume(older.clone(), &Overrides::default()).unwrap(), older);
    }

    #[test]
    fn every_setting_can_be_overridden() {
        // A key that only one of the two structs has would make this fail: the table of the one must fill the other.
        let full = Settings {
            data: Some("d".into()),
            crop: Some(5),
            image_size: Some(6),
            channels: Some(3),
            train_limit: Some(1),
            test_limit: Some(2),
            patience: Some(3),
            clip_norm: Some(4.0),
            ..mlp()
        };
        let overrides: Overrides = full.to_table().unwrap().try_into().unwrap();
        assert_eq!(overrides.to_table().unwrap(), full.to_table().unwrap());
        assert_eq!(mlp().with(&overrides).unwrap(), full);
    }

    #[test]
    fn zero_turns_off_what_a_preset_turned_on() {
        let cli = Overrides {
            preset: Some("mnist-2d".into()),
            patience: Some(0),
            clip_norm: Some(0.0),
            train_limit: Some(0),
            test_limit: Some(0),
            crop: Some(0),
            image_size: Some(0),
            channels: Some(0),
            ..Overrides::default()
        };
        let settings = Settings::resolve(None, cli).unwrap();
        assert_eq!((settings.patience, settings.clip_norm), (None, None));
        assert_eq!((settings.crop, settings.image_size, settings.channels), (None, None, None));
        assert_eq!((settings.train_limit, settings.test_limit), (None, None));
    }

    #[test]
    fn the_text_form_reads_back_to_an_equal_value() {
        let settings = Settings {
            lr: 0.1 + 0.2,
            eps: 1e-8,
            seed: i64::MAX as u64,
            data: Some("a \"b\"\\c".into()),
            kl_schedule: "cyclical:3:0.25".parse().unwrap(),
            clip_norm: Some(1.0 / 3.0),
            optimizer: Optimizer::AdamW,
            activation: Activation::LeakyRelu,
            ..mlp()
        };
        let text = settings.to_toml().unwrap();
        assert_eq!(Settings::from_toml(&text).unwrap(), settings);
        assert!(text.contains("optimizer = \"adamw\"") && text.contains("activation = \"leaky_relu\""), "{text}");
        // A run recorded before these keys were there.
        let older =
            ["corrupt = \"refuse\"\n", "flip = false\n", "shift = 0\n"].iter().fold(text.clone(), |text, line| {
                assert!(text.contains(line), "{text}");
                text.replace(line, "")
            });
        assert!(Settings::from_toml(&older).unwrap() == settings);
        assert!(Settings::from_toml(&text.replace("epochs = 10", "epochs = 0")).is_err());
        assert!(Settings::from_toml("lr = 1").is_err());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        assert_eq!(rejects(|o| o.batch_size = Some(0)), "batch_size is 0, but must be 1 to 1048576");
        assert!(rejects(|o| o.batch_size = Some(usize::MAX)).contains("out of range"));
        assert!(rejects(|o| o.epochs = Some(0)).starts_with("epochs is 0"));
        assert!(rejects(|o| o.epochs = Some(MOST_EPOCHS + 1)).starts_with("epochs is"));
        assert!(rejects(|o| o.latent = Some(0)).starts_with("latent is 0"));
        assert!(rejects(|o| o.hidden = Some(vec![400, 0])).starts_with("hidden is 0"));
        assert!(rejects(|o| o.hidden = Some(vec![])).starts_with("hidden is empty"));
        assert!(rejects(|o| o.shift = Some(LARGEST_SIZE + 1)).starts_with("shift is"));
        assert!(rejects(|o| o.samples = Some(LARGEST_SIZE + 1)).starts_with("samples is"));
        for bad in [0.0, -1e-3, f64::NAN, f64::INFINITY] {
            assert!(rejects(|o| o.lr = Some(bad)).starts_with("lr is"));
            assert!(rejects(|o| o.sigma = Some(bad)).starts_with("sigma is"));
            assert!(rejects(|o| o.eps = Some(bad)).starts_with("eps is"));
        }
        for bad in [-1e-3, f64::NAN, f64::INFINITY] {
            assert!(rejects(|o| o.kl_weight = Some(bad)).starts_with("kl_weight is"));
            assert!(rejects(|o| o.free_bits = Some(bad)).starts_with("free_bits is"));
            assert!(rejects(|o| o.weight_decay = Some(bad)).starts_with("weight_decay is"));
            assert!(rejects(|o| o.min_delta = Some(bad)).starts_with("min_delta is"));
            assert!(rejects(|o| o.warmup_epochs = Some(bad)).starts_with("warmup_epochs is"));
            assert!(rejects(|o| o.clip_norm = Some(bad)).starts_with("clip_norm is"));
        }
        for bad in [-0.1, 1.0, f64::NAN] {
            assert!(rejects(|o| o.betas = Some([bad, 0.9])).starts_with("betas is"));
            assert!(rejects(|o| o.betas = Some([0.9, bad])).starts_with("betas is"));
            assert!(rejects(|o| o.momentum = Some(bad)).starts_with("momentum is"));
        }
        assert!(rejects(|o| o.dataset = Some(String::new())).starts_with("dataset is empty"));
        assert!(rejects(|o| o.device = Some(String::new())).starts_with("device is empty"));
        assert!(rejects(|o| o.out = Some(PathBuf::new())).starts_with("out is empty"));
        assert!(rejects(|o| o.preset = Some("mnist2d".into())).contains("did you mean `mnist-2d`?"));
    }

    #[test]
    fn a_resumed_run_changes_only_what_leaves_its_past_true() {
        let longer = Overrides { epochs: Some(20), device: Some("cpu".into()), ..Overrides::default() };
        let settings = Settings::resume(mlp(), &longer).unwrap();
        assert_eq!((settings.epochs, settings.device.as_str()), (20, "cpu"));

        let same = Overrides { lr: Some(1e-3), clip_norm: Some(0.0), ..Overrides::default() };
        assert_eq!(Settings::resume(mlp(), &same).unwrap(), mlp());

        let other = Overrides { latent: Some(3), ..Overrides::default() };
        let message = Settings::resume(mlp(), &other).unwrap_err().to_string();
        assert!(message.contains("latent cannot change") && message.contains("it was 20 and would be 3."), "{message}");
        assert!(Settings::resume(mlp(), &Overrides { epochs: Some(0), ..Overrides::default() }).is_err());
    }
}
