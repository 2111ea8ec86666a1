//! `elbo bench`

mod compare;
mod inputs;
mod results;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use elbo::backend::{Device, choose};
use elbo::data::table::Kind;
use elbo::error::{Error, Result, nearest};
use elbo::instruments::bench::row::Row;
use elbo::instruments::bench::windows::Windows;
use elbo::instruments::bench::{Bench, Item, data, kernels, probes, scale, start, steps};
use elbo::messages::notice;
use elbo::models::presets::{DEFAULT, find};
use elbo::train::run_folder::git_revision;
use elbo::train::settings::Settings;
use indicatif::{ProgressBar, ProgressStyle};

use super::progress;
use super::shared::require;
use results::Results;

/// Measures this program on one device: training steps, single operations and kernels, starts, memory, the device's own
/// peak, and how steps grow with batch, hidden layer and latent space. Each number is the median of several windows of
/// time after a warm-up, with quartiles. Rows go to elbo.csv in --out, whose schema the peers in benches/ share: `elbo
/// bench compare` makes ratios of them. On a device that is busy with something else the numbers mean nothing.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    where_: Where,
    /// Measure only these: steps, kernels, start, probes, scale [default: all]
    #[arg(long, value_name = "PART,..", value_delimiter = ',')]
    only: Vec<String>,
    /// Presets whose steps and starts are measured [default: mnist-mlp,mnist-2d,mnist-conv]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    model: Vec<String>,
    /// Pictures a step [default: 64,128,512,4096]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    batch: Vec<usize>,
    /// Windows of each measurement [default: 5]
    #[arg(long, value_name = "N")]
    windows: Option<usize>,
    /// Seconds of a window; of one of this project's kernels a tenth of it [default: 1]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Train mnist-mlp too until its test loss on MNIST is this, and time that [default without a number: 106]
    #[arg(long, value_name = "NATS", num_args = 0..=1, default_missing_value = "106")]
    to_loss: Option<f64>,
    /// The folder for results [default: benches/results/DATE-DEVICE]; what it has and is not measured again stays
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A look in seconds, not for results: mnist-mlp, few pictures, 3 windows of 20 ms, a third of the scale
    #[arg(long)]
    quick: bool,
    /// Print the rows as JSON for a program to read
    #[arg(long)]
    json: bool,
}

/// Which device, which data.
#[derive(clap::Args, Clone)]
struct Where {
    /// auto (a real GPU, else the CPU), cpu, gpu, or part of an adapter's name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Threads of the CPU device [default: one a core]; lavapipe takes LP_NUM_THREADS from the environment
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// MNIST's folder [default: $ELBO_DATA, else data/mnist, and the built-in digits where it is in neither]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Sub {
    /// Print how far ahead results of this program are of results of others
    Compare(compare::Args),
    /// Write what the peers in benches/ start from: pictures, order of batches, initial parameters
    Inputs(inputs::Args),
    /// Take a training step and say when it is finished: what `elbo bench` starts to time a start
    #[command(hide = true)]
    FirstStep(FirstStep),
}

#[derive(clap::Args)]
struct FirstStep {
    model: String,
    #[arg(long)]
    batch: usize,
    /// Training pictures at most
    #[arg(long)]
    pictures: Option<usize>,
    #[command(flatten)]
    where_: Where,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Steps,
    Kernels,
    Start,
    Probes,
    Scale,
}

const PARTS: [(&str, Part); 5] = [
    ("probes", Part::Probes),
    ("steps", Part::Steps),
    ("kernels", Part::Kernels),
    ("start", Part::Start),
    ("scale", Part::Scale),
];
const MODELS: [&str; 3] = ["mnist-mlp", "mnist-2d", "mnist-conv"];
const BATCHES: [usize; 4] = [64, 128, 512, 4096];
const QUICK_BATCHES: [usize; 2] = [64, 128];
/// Training pictures of a quick run.
const QUICK_PICTURES: usize = 2048;
/// Epochs in which the loss of `--to-loss` must be reached.
const MOST_EPOCHS: usize = 30;

impl Where {
    /// Opens the device, after its threads are set.
    fn open(&self) -> Result<Device> {
        if let Some(threads) = self.threads {
            require(threads > 0, "--threads is 0, but must be at least 1")?;
            // Fails only if the threads are there already, and nothing has used them yet.
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("no thread was started before");
        }
        choose::open(&self.device)
    }
}

impl Args {
    pub fn run(self) -> Result<()> {
        match self.command {
            Some(Sub::Compare(args)) => args.run(),
            Some(Sub::Inputs(args)) => args.run(),
            Some(Sub::FirstStep(args)) => args.run(),
            None => self.measure(),
        }
    }

    fn measure(self) -> Result<()> {
        let parts = self.parts()?;
        let models = self.models()?;
        let windows = self.windows()?;
        let batches = if self.batch.is_empty() { self.usual_batches() } else { self.batch.clone() };
        require(batches.iter().all(|&n| n > 0), "--batch is 0, but must be at least 1")?;
        let pictures = self.quick.then_some(QUICK_PICTURES);
        let device = self.where_.open()?;
        notice(&format!("device: {}", device.description()));
        let data = data(self.where_.data.as_deref(), pictures, &mut progress::shown())?;
        notice(&format!("data: {}, {} training pictures", data.name, data.train.count));
        let is_mnist = data.name == "mnist" && !self.quick;
        require(
            self.to_loss.is_none() || is_mnist,
            "--to-loss is of MNIST: give its folder by --data, without --quick",
        )?;

        let remark = if self.quick { "quick: not for results" } else { "" };
        let bench = Bench::new(device, version(), windows, remark);
        let out = self.out.clone().unwrap_or_else(|| usual_folder(&bench));
        let mut results = Results::open(&out, &bench, &data)?;
        let command = |model: &str, batch: usize| self.first_step(model, batch, pictures);
        let default = find(DEFAULT)?.1.settings();
        let mut to_loss = default.clone();
        to_loss.epochs = MOST_EPOCHS;
        let mut items = Vec::new();
        for (_, part) in PARTS.iter().filter(|(_, part)| parts.contains(part)) {
            items.extend(match part {
                Part::Probes => probes::items(&bench),
                Part::Steps => steps::items(&bench, &models, &batches, &data),
                Part::Kernels => kernels::items(&bench),
                Part::Start => start::items(&bench, &models, &batches, &data, &command),
                Part::Scale => scale::items(&bench, &default, &data, self.quick),
            });
        }
        if let Some(target) = self.to_loss {
            items.push(steps::to_loss_item(&bench, &to_loss, &data, target));
        }
        run(items, &mut results)?;
        results.finish(&bench, &data, self.json)
    }

    fn parts(&self) -> Result<Vec<Part>> {
        if self.only.is_empty() {
            return Ok(PARTS.map(|(_, part)| part).into());
        }
        let part = |name: &String| {
            PARTS.iter().find(|(known, _)| known == name).map(|(_, part)| *part).ok_or_else(|| {
                let names = PARTS.map(|(name, _)| name);
                let hint = nearest(name, names).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
                Error::Usage(format!("--only has no part `{name}`{hint} (there are {})", names.join(", ")))
            })
        };
        self.only.iter().map(part).collect()
    }

    fn models(&self) -> Result<Vec<Settings>> {
        let usual = if self.quick { &MODELS[..1] } else { &MODELS[..] };
        let names: Vec<&str> = match self.model.is_empty() {
            true => usual.into(),
            false => self.model.iter().map(String::as_str).collect(),
        };
        names.into_iter().map(settings).collect()
    }

    fn usual_batches(&self) -> Vec<usize> {
        if self.quick { QUICK_BATCHES.into() } else { BATCHES.into() }
    }

    fn windows(&self) -> Result<Windows> {
        let (count, seconds) = if self.quick { (3, 0.02) } else { (5, 1.0) };
        let windows = Windows { count: self.windows.unwrap_or(count), seconds: self.seconds.unwrap_or(seconds) };
        require(windows.count > 0, "--windows is 0, but must be at least 1")?;
        require((0.0..=3600.0).contains(&windows.seconds), "--seconds must be from 0 to 3600")?;
        Ok(windows)
    }

    /// This program, as the process whose start is measured.
    fn first_step(&self, model: &str, batch: usize, pictures: Option<usize>) -> Command {
        let program = std::env::current_exe().unwrap_or_else(|_| "elbo".into());
        let mut command = Command::new(program);
        command.args(["bench", "first-step", model, "--batch", &batch.to_string(), "--device", &self.where_.device]);
        for (option, value) in [("--threads", self.where_.threads), ("--pictures", pictures)] {
            if let Some(value) = value {
                command.args([option, &value.to_string()]);
            }
        }
        if let Some(folder) = &self.where_.data {
            command.arg("--data").arg(folder);
        }
        command
    }
}

impl FirstStep {
    fn run(self) -> Result<()> {
        let mut settings = settings(&self.model)?;
        settings.batch_size = self.batch;
        start::first_step(
            || self.where_.open(),
            &settings,
            || data(self.where_.data.as_deref(), self.pictures, &mut progress::shown()),
        )
    }
}

/// The settings of a preset of MNIST. Errors: no such preset, with the nearest; one for other pictures.
fn settings(name: &str) -> Result<Settings> {
    let (_, preset) = find(name)?;
    let problem = format!("{name} is made for {}, and what is measured here has 1x28x28", preset.x);
    require(preset.x == Kind::Picture([1, 28, 28]), &problem)?;
    Ok(preset.settings())
}

/// As in `0.1.0 (04e9eed)`.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let short = |revision: String| {
        let (hash, dirty) = revision.split_once('-').unwrap_or((&revision, ""));
        let mark = if dirty.is_empty() { "" } else { "+" };
        format!("{version} ({}{mark})", &hash[..hash.len().min(7)])
    };
    git_revision().map_or(version.into(), short)
}

/// As in `benches/results/2026-01-31-cpu`.
fn usual_folder(bench: &Bench) -> PathBuf {
    let device = super::shared::plain_name(&[bench.device.name()]);
    Path::new("benches/results").join(format!("{}-{device}", bench.origin.date))
}

/// Measures one after the other, under a progress bar; each is in the file before the next begins.
fn run(items: Vec<Item>, results: &mut Results) -> Result<()> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}").expect("a valid template");
    let bar = ProgressBar::new(items.len() as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    for item in items {
        bar.set_message(item.label.clone());
        let outcome: Result<Vec<Row>> = (item.run)();
        results.add(&item.label, outcome)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_of_other_pictures_are_refused() {
        assert!(settings("mnist-conv").is_ok());
        assert!(settings("cifar-conv").unwrap_err().to_string().contains("3x32x32"));
        assert!(settings("mnist-mpl").unwrap_err().to_string().contains("did you mean `mnist-mlp`?"));
    }
}
