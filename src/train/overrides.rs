//! The settings someone asked for: the flags of `train` and the keys of a settings file. Both are this one struct.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::Corrupt;
use crate::error::{Error, Result, nearest};
use crate::files::open_regular;
use crate::kernels::activation::Activation;
use crate::models::network::Network;
use crate::train::schedule::{KlSchedule, LrSchedule};
use crate::train::settings::{Head, Likelihood, Monitor, Optimizer, Reduction};

/// The keys of [`Settings`](crate::train::settings::Settings), each optional. The help names the defaults of `mnist-mlp`; other presets differ.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[command(allow_negative_numbers = true)]
#[serde(deny_unknown_fields)]
#[allow(rustdoc::broken_intra_doc_links, reason = "brackets in the help are optional parts, not links")]
pub struct Overrides {
    /// The preset to start from: mnist-mlp, mnist-fused, mnist-2d, mnist-conv, cifar-conv, faces-conv or faces-mlp
    /// [default: mnist-mlp]
    #[arg(value_name = "PRESET")]
    pub preset: Option<String>,

    /// The data set: auto (MNIST, or the built-in digits where MNIST is neither here nor can be fetched), mnist,
    /// fashion-mnist, kmnist, emnist-..., cifar10, cifar100, digits, or one's own: folder, array [default: auto]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub dataset: Option<String>,
    /// The folder of the data set's files; of folder its pictures, of array the .npy or .npz file
    /// [default: $ELBO_DATA, else data/DATASET]
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub data: Option<PathBuf>,
    /// Cut a square of N x N from the middle of each picture of a folder, before any resizing; 0 cuts none [default: 0]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub crop: Option<usize>,
    /// Resize each picture of a folder to N x N, without --crop its middle square; 0 leaves the size [default: 0]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub image_size: Option<usize>,
    /// Channels of a folder's pictures: 1 (grey) or 3; 0 takes 3 if any is in colour, else 1 [default: 0]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub channels: Option<usize>,
    /// A picture of a folder that cannot be decoded is an error (refuse) or left out by name (skip) [default: refuse]
    #[arg(long, help_heading = "Data")]
    pub corrupt: Option<Corrupt>,
    /// Train on N pictures only: the first ones, of a folder or array a share of all, always the same; 0 takes all [default: 0]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub train_limit: Option<usize>,
    /// Test on N pictures only, chosen likewise; 0 takes all [default: 0]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub test_limit: Option<usize>,
    /// Mirror half of the training pictures left to right, chosen anew at each step; `--flip false` turns it off [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    pub flip: Option<bool>,
    /// Shift each training picture by up to N pixels each way, anew at each step; what comes in is black [default: 0]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub shift: Option<usize>,

    /// Sizes of the encoder's hidden layers, for instance 512,256; the decoder mirrors them [default: 400]
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Model")]
    pub hidden: Option<Vec<usize>>,
    /// Number of latent dimensions [default: 20]
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub latent: Option<usize>,
    /// Mean and logvar from two layers (split), from one (fused), or the listed encoder's own output (direct) [default: split]
    #[arg(long, help_heading = "Model")]
    pub head: Option<Head>,
    /// Nonlinearity after each hidden layer [default: relu]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub activation: Option<Activation>,
    /// Distribution of a pixel; bernoulli is a cross-entropy, and a likelihood only of binary pixels [default: bernoulli]
    #[arg(long, help_heading = "Model")]
    pub output: Option<Likelihood>,
    /// Scale of the gaussian, laplace (its b) and discretised_logistic (its s) outputs in pixel values of 0 to 1; the others do not use it [default: 1.0]
    #[arg(long, value_name = "X", help_heading = "Model")]
    pub sigma: Option<f64>,
    /// The encoder layer by layer, in place of --hidden, for instance `conv 32 k4 s2 p1, batchnorm, relu`: see Networks below
    #[arg(long, value_name = "LAYERS", help_heading = "Model")]
    pub encoder: Option<Network>,
    /// The decoder layer by layer, from z as a picture of 1 x 1 to a picture of the data
    #[arg(long, value_name = "LAYERS", help_heading = "Model")]
    pub decoder: Option<Network>,

    /// Passes over the training data [default: 10]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Pictures a step [default: 128]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Seed of the initial weights, the order of the pictures and every noise [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = "Training")]
    pub seed: Option<u64>,
    /// auto (a real GPU, else the CPU), cpu, gpu, or part of an adapter's name [default: auto]
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub device: Option<String>,
    /// Run a step as the model records it, one kernel an operation, without fused kernels [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    pub no_fuse: Option<bool>,

    /// Optimise the sum of a batch's losses or their mean; reports are means either way [default: sum]
    #[arg(long, help_heading = "Loss")]
    pub reduction: Option<Reduction>,
    /// Weight of the KL term against the reconstruction summed over pixels (beta) [default: 1.0]
    #[arg(long, value_name = "X", help_heading = "Loss")]
    pub kl_weight: Option<f64>,
    /// Nats of KL a latent dimension may have without cost; the train kl, as optimised, counts it as at least that, the test kl as it is [default: 0.0]
    #[arg(long, value_name = "NATS", help_heading = "Loss")]
    pub free_bits: Option<f64>,
    /// constant, linear:EPOCHS, cosine:EPOCHS or cyclical:CYCLES:RAMP, times the KL weight [default: constant]
    #[arg(long, value_name = "FORM", help_heading = "Loss")]
    pub kl_schedule: Option<KlSchedule>,

    /// Optimiser; weight decay is L2 in adam and sgd, decoupled in adamw [default: adam]
    #[arg(long, help_heading = "Optimiser")]
    pub optimizer: Option<Optimizer>,
    /// Learning rate [default: 0.001]
    #[arg(long, value_name = "X", help_heading = "Optimiser")]
    pub lr: Option<f64>,
    /// Adam's two decay rates, for instance 0.9,0.99 [default: 0.9,0.999]
    #[arg(long, value_name = "X,X", value_parser = parse_betas, help_heading = "Optimiser")]
    pub betas: Option<[f64; 2]>,
    /// Adam's term against division by zero [default: 1e-8]
    #[arg(long, value_name = "X", help_heading = "Optimiser")]
    pub eps: Option<f64>,
    /// Momentum of sgd [default: 0.0]
    #[arg(long, value_name = "X", help_heading = "Optimiser")]
    pub momentum: Option<f64>,
    /// Weight decay [default: 0.0]
    #[arg(long, value_name = "X", help_heading = "Optimiser")]
    pub weight_decay: Option<f64>,
    /// Scale the gradient down to this L2 norm; 0 turns it off [default: 0]
    #[arg(long, value_name = "X", help_heading = "Optimiser")]
    pub clip_norm: Option<f64>,
    /// constant, linear[:FINAL], cosine[:FINAL] or cyclical[:CYCLES[:FINAL]], times the learning rate [default: constant]
    #[arg(long, value_name = "FORM", help_heading = "Optimiser")]
    pub lr_schedule: Option<LrSchedule>,
    /// Epochs, or a part of one, over which the learning rate rises from 0 before its schedule starts [default: 0.0]
    #[arg(long, value_name = "X", help_heading = "Optimiser")]
    pub warmup_epochs: Option<f64>,

    /// Stop after N epochs in a row without an improvement; 0 turns it off [default: 0]
    #[arg(long, value_name = "N", help_heading = "Stopping")]
    pub patience: Option<usize>,
    /// The metric that stopping and best.safetensors follow [default: test_loss]
    #[arg(long, value_name = "METRIC", help_heading = "Stopping")]
    pub monitor: Option<Monitor>,
    /// Nats by which an epoch must be lower to count as an improvement [default: 0.0]
    #[arg(long, value_name = "NATS", help_heading = "Stopping")]
    pub min_delta: Option<f64>,

    /// The run's folder; runs/vae where the network is no preset's; with -2, -3, ... where it is not given and taken
    /// [default: runs/mnist-mlp]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Pictures in the sample grid drawn after each epoch; 0 draws none [default: 64]
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub samples: Option<usize>,
}

impl Overrides {
    /// Reads a settings file: TOML whose keys are the fields above. Errors name the file, the line and the nearest key.
    pub fn from_toml(path: &Path) -> Result<Overrides> {
        let text = read_text(path)?;
        toml::from_str(&text).map_err(|e| Error::file(path, describe(&e, &text)))
    }

    /// The keys that are set, and only those.
    pub(super) fn to_table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|e| Error::Usage(format!("a setting is out of range: {e}")))
    }
}

fn parse_betas(text: &str) -> std::result::Result<[f64; 2], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers.and_then(|n| n.try_into().ok()).ok_or_else(|| "expected two numbers, for instance 0.9,0.999".into())
}

/// Largest text file read whole, in bytes. No settings come near it; a device file or a data set given by mistake does.
const LARGEST_TEXT: u64 = 1 << 20;

/// The text of a small file: settings, a run record.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let (file, _) = open_regular(path)?;
    file.take(LARGEST_TEXT + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(Error::file(path, "larger than 1 MiB, so not a settings file"));
    }
    String::from_utf8(bytes).map_err(|_| Error::file(path, "not UTF-8 text, so not a settings file"))
}

/// One line for what TOML or a field found wrong: where, what, and the nearest word that would have been right.
pub(super) fn describe(error: &toml::de::Error, text: &str) -> String {
    let place = match error.span() {
        Some(span) => {
            let before = &text[..span.start.min(text.len())];
            format!("line {}: ", before.matches('\n').count() + 1)
        }
        None => String::new(),
    };
    let message = error.message().trim().replace('\n', ", ");
    // serde writes: unknown field `x`, expected one of `a`, `b` (or: expected `a` or `b`).
    let mut quoted = message.split('`').skip(1).step_by(2);
    let suggestion = match quoted.next() {
        Some(given) if message.starts_with("unknown") => nearest(given, quoted),
        _ => None,
    };
    match suggestion {
        Some(word) => {
            let found = message.split(", expected").next().unwrap_or(&message).replace("field", "key");
            format!("{place}{}; did you mean `{word}`?", found.replace("variant", "value"))
        }
        None => format!("{place}{}", message.replace("unknown field", "unknown key")),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::train::settings::Settings;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        overrides: Overrides,
    }

    fn cli(args: &[&str]) -> std::result::Result<Overrides, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"train").chain(args)).map(|c| c.overrides)
    }

    fn file(text: &str) -> Result<Overrides> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.toml");
        std::fs::write(&path, text).unwrap();
        Overrides::from_toml(&path)
    }

    #[test]
    fn flags_and_keys_say_the_same() {
        let flags = cli(&[
            "mnist-2d",
            "--hidden",
            "512,256",
            "--betas",
            "0.9,0.99",
            "--kl-schedule",
            "linear:5",
            "--activation",
            "leaky_relu",
            "--lr",
            "1e-2",
            "--batch-size",
            "32",
        ]);
        let keys = file(
            "preset = \"mnist-2d\"\nhidden = [512, 256]\nbetas = [0.9, 0.99]\nkl_schedule = \"linear:5\"\n\
             activation = \"leaky_relu\"\nlr = 0.01\nbatch_size = 32\n",
        );
        assert_eq!(flags.unwrap(), keys.unwrap());
        let flip = |args: &[&str]| cli(args).unwrap().flip;
        assert_eq!([flip(&[]), flip(&["--flip", "false"])], [None, Some(false)]);
        assert_eq!([flip(&["--flip"]), flip(&["mnist-2d", "--flip", "--lr", "1"])], [Some(true); 2]);
        assert_eq!(cli(&["--hidden", "8", "--hidden", "4"]).unwrap().hidden, Some(vec![8, 4]));
        assert_eq!(cli(&[]).unwrap(), file("").unwrap());
        assert_eq!(file("lr = 1").unwrap().lr, Some(1.0));
    }

    #[test]
    fn the_help_names_the_defaults() {
        let command = Cli::command();
        let defaults = Settings::resolve(None, Overrides::default()).unwrap();
        let table: toml::Table = defaults.to_toml().unwrap().parse().unwrap();
        for (key, value) in &table {
            let help = command.get_arguments().find(|a| a.get_id() == key.as_str()).unwrap().get_help().unwrap();
            let help = help.to_string();
            let named = help.split("[default: ").nth(1).unwrap_or_else(|| panic!("{key}: {help}"));
            let named = named.trim_end_matches(']');
            let shown = value.to_string().replace(['"', '[', ']', ' '], "");
            let equal =
                named == shown || matches!((named.parse::<f64>(), shown.parse::<f64>()), (Ok(a), Ok(b)) if a == b);
            assert!(equal, "{key}: the help says {named}, the default is {shown}");
        }
        for arg in command.get_arguments().filter(|a| a.get_long().is_some_and(|l| l != "help")) {
            assert!(arg.get_help_heading().is_some(), "{} has no heading", arg.get_id());
        }
    }

    #[test]
    fn the_help_names_every_preset() {
        let command = Cli::command();
        let help = command.get_arguments().find(|a| a.get_id() == "preset").unwrap().get_help().unwrap().to_string();
        for preset in &crate::train::presets::PRESETS {
            assert!(help.contains(preset.name), "{help}");
        }
    }

    #[test]
    fn a_bad_flag_is_refused() {
        for bad in [
            ["--betas", "0.9"],
            ["--betas", "0.9,x"],
            ["--betas", "1,2,3"],
            ["--activation", "rleu"],
            ["--seed", "9223372036854775808"],
            ["--kl-schedule", "liner:5"],
        ] {
            assert!(cli(&bad).is_err(), "{bad:?}");
        }
        // Negative numbers are values, so that the message is about the range and not about an unknown flag.
        assert_eq!(cli(&["--kl-weight", "-1"]).unwrap().kl_weight, Some(-1.0));
    }

    #[test]
    fn an_error_in_a_file_names_file_line_and_nearest() {
        let message = |text| file(text).unwrap_err().to_string();
        let unknown = message("lr = 0.1\n\nepohcs = 3\n");
        assert!(unknown.ends_with("my.toml: line 3: unknown key `epohcs`; did you mean `epochs`?"), "{unknown}");
        let kebab = message("batch-size = 3");
        assert!(kebab.ends_with("unknown key `batch-size`; did you mean `batch_size`?"), "{kebab}");
        let value = message("lr = 0.1\nactivation = \"rleu\"\n");
        assert!(value.ends_with("line 2: unknown value `rleu`; did you mean `relu`?"), "{value}");
        let two = message("head = \"fusd\"\n");
        assert!(two.ends_with("line 1: unknown value `fusd`; did you mean `fused`?"), "{two}");
        let far = message("zzz = 1\n");
        assert!(far.contains("line 1: unknown key `zzz`, expected one of `preset`"), "{far}");
        let kind = message("epochs = \"ten\"\n");
        assert!(kind.contains("line 1: invalid type: string \"ten\""), "{kind}");
        let schedule = message("seed = 1\nkl_schedule = \"liner:5\"\n");
        assert!(schedule.contains("line 2: ") && schedule.contains("did you mean `linear`?"), "{schedule}");
        let syntax = message("lr = \n");
        assert!(syntax.contains("line 1: "), "{syntax}");
        assert!(message("betas = [0.9]\n").contains("line 1: "));
    }

    #[test]
    fn a_file_that_is_no_settings_file_is_refused() {
        assert!(matches!(Overrides::from_toml(Path::new("no/such.toml")), Err(Error::Io { action: "open", .. })));
        assert!(file(&"#".repeat(LARGEST_TEXT as usize + 1)).unwrap_err().to_string().contains("larger than 1 MiB"));
        assert!(file(&"#".repeat(LARGEST_TEXT as usize)).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(Overrides::from_toml(&path).unwrap_err().to_string().contains("not UTF-8"));
    }
}
