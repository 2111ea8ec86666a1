//! `elbo train`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use elbo::backend::{Device, choose};
use elbo::data::{self, Dataset, Preparation};
use elbo::error::{Error, Result};
use elbo::models::network::HELP;
use elbo::train::metrics::EpochMetrics;
use elbo::train::overrides::Overrides;
use elbo::train::run_folder::{RunFolder, RunRecord, git_revision, now_utc};
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Event, Trainer};
use indicatif::{ProgressBar, ProgressStyle};

use super::shared::describe_loss;
use super::{animate, tune};

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[command(flatten)]
    overrides: Overrides,
    /// A settings file (TOML) with any of these options as keys; the command line wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with the run in this folder; its settings are kept
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    resume: Option<PathBuf>,
    /// Neither measure which shaders suit this device nor use what was measured: take the shipped choice
    #[arg(long)]
    no_tune: bool,
    /// Print a JSON object for each epoch instead of a table
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let (settings, resumed) = match &self.resume {
            Some(root) => {
                let folder = RunFolder::open(root)?;
                let record = RunRecord::read(&folder)?;
                (Settings::resume(record.settings.clone(), &self.overrides)?, Some((folder, record)))
            }
            None => {
                let file = self.config.as_deref().map(Overrides::from_toml).transpose()?;
                let chosen = self.overrides.out.is_some() || file.as_ref().is_some_and(|f| f.out.is_some());
                let mut settings = Settings::resolve(file, self.overrides)?;
                if !chosen {
                    settings.out = free_folder(&settings.out);
                }
                (settings, None)
            }
        };
        let device = choose::open(&settings.device)?;
        eprintln!("device: {}", device.description());
        let dataset = match &resumed {
            // The set that was used, not `auto`: a run never changes its data.
            Some((_, record)) => record.dataset.clone(),
            None => settings.dataset.clone(),
        };
        let (folder, limits) = (settings.data.as_deref(), [settings.train_limit, settings.test_limit]);
        let data = open_data(&dataset, folder, &settings.preparation(), limits)?;
        eprintln!("data: {}, {} training and {} test pictures", data.name, data.train.count, data.test.count);
        let resume = resumed.is_some();
        let recorded = resumed.as_ref().map(|(_, record)| record.tuning.as_slice());
        let tuning = match self.no_tune || settings.batch_size > data.train.count {
            true => Vec::new(),
            false => tune::before_training(&device, &settings, data.train.shape, recorded)?,
        };
        let record = RunRecord { tuning, ..new_record(&settings, &data, &device) };
        let (folder, record) = match resumed {
            Some((folder, first)) => (folder, RunRecord { started: first.started, ..record }),
            None => (RunFolder::create(&settings.out)?, record),
        };
        let mut trainer = Trainer::new(settings.clone(), &data, &device, folder.clone(), resume)?;
        record.write(&folder)?;
        eprintln!(
            "model: {}, {} parameters, {} dispatches a step\nrun folder: {}",
            settings.preset,
            trainer.parameters(),
            trainer.dispatches_a_step(),
            folder.root().display()
        );
        let [parts, test_parts] = trainer.data_parts();
        if parts > 1 || test_parts > 1 {
            eprintln!(
                "data: larger than this device binds at once, so the training pictures lie in {parts} buffers, the \
                 test pictures in {test_parts}"
            );
        }
        let (ending, last) = train(&mut trainer, &settings, data.train.count, self.json)?;
        let root = folder.root().display();
        match ending {
            Ending::Finished => {}
            Ending::Stopped => {
                eprintln!("stopped early: {} epochs without a better loss", settings.patience.unwrap_or(0))
            }
            Ending::Interrupted => {
                eprintln!("interrupted, everything is saved: go on with `elbo train --resume {root}`")
            }
        }
        if let Some(metrics) = last {
            let loss = describe_loss(settings.output, metrics.test_recon + metrics.test_kl, data.test.dims());
            eprintln!("test of epoch {}: {loss}", metrics.epoch);
            // The model is saved: pictures that cannot be shown together do not make the run a failure.
            match animate::samples(&folder) {
                Ok(Some(path)) => eprintln!("animation: {}", path.display()),
                Ok(None) => {}
                Err(e) => eprintln!("no animation of the samples: {e}"),
            }
        }
        if ending != Ending::Interrupted {
            eprintln!("pictures: {root}/samples, {root}/reconstructions, {root}/curves.png\nnext: elbo sample {root}");
        }
        Ok(())
    }
}

/// Trains with a progress bar and a line an epoch; how it ended, and the last epoch if one has ended.
fn train(
    trainer: &mut Trainer,
    settings: &Settings,
    pictures: usize,
    json: bool,
) -> Result<(Ending, Option<EpochMetrics>)> {
    let stop = stop_on_interrupt();
    let bar = ProgressBar::new(0);
    let style = "epoch {prefix} {bar:30} {pos}/{len} batches, {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    let (mut shown, mut last) = (String::new(), None);
    let mut epoch_start = std::time::Instant::now();
    if !json {
        super::print("epoch   train loss  recon     kl       test loss  recon     kl       seconds  images/s");
    }
    let ending = trainer.train(&stop, &mut |event| match event {
        Event::Batches { epoch, done, total } => {
            if done <= 1 {
                epoch_start = std::time::Instant::now();
            }
            let images = (done * settings.batch_size) as f64 / epoch_start.elapsed().as_secs_f64().max(1e-3);
            bar.set_prefix(format!("{epoch}/{}", settings.epochs));
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(format!("{images:.0} images/s{shown}"));
        }
        Event::Epoch { metrics, is_best } => {
            last = Some(*metrics);
            shown = format!(", train {:.2}, test {:.2}", metrics.train_loss, metrics.test_loss);
            let line = if json { json_line(metrics, is_best) } else { table_line(metrics, pictures, is_best) };
            bar.suspend(|| super::print(&line));
        }
    });
    bar.finish_and_clear();
    Ok((ending?, last))
}

fn table_line(m: &EpochMetrics, pictures: usize, is_best: bool) -> String {
    format!(
        "{:>5}   {:<10.4}  {:<8.4}  {:<7.4}  {:<9.4}  {:<8.4}  {:<7.4}  {:<7.2}  {:<8.0}{}",
        m.epoch,
        m.train_loss,
        m.train_recon,
        m.train_kl,
        m.test_loss,
        m.test_recon,
        m.test_kl,
        m.seconds,
        pictures as f64 / m.seconds,
        if is_best { "  best" } else { "" }
    )
}

fn json_line(m: &EpochMetrics, is_best: bool) -> String {
    serde_json::json!({
        "epoch": m.epoch, "train_loss": m.train_loss, "train_recon": m.train_recon, "train_kl": m.train_kl,
        "test_loss": m.test_loss, "test_recon": m.test_recon, "test_kl": m.test_kl, "seconds": m.seconds,
        "is_best": is_best,
    })
    .to_string()
}

/// Set by the first Ctrl-C, which lets the step finish and saves; the second one ends the program at once.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // Installing fails only if a handler is there already; then Ctrl-C does what that one says.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; once more to stop at once");
    });
    stop
}

/// The wanted folder, or with -2, -3, ... the first that holds nothing: a second `elbo train` never meets the first.
fn free_folder(wanted: &Path) -> PathBuf {
    let taken =
        |path: &Path| path.exists() && std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    let name = wanted.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut path = wanted.to_path_buf();
    for i in 2.. {
        if !taken(&path) {
            break;
        }
        path = wanted.with_file_name(format!("{name}-{i}"));
    }
    path
}

/// Opens a data set by name, with notices on stderr, and keeps the first pictures where limits are set.
pub fn open_data(
    name: &str,
    folder: Option<&Path>,
    preparation: &Preparation,
    [train, test]: [Option<usize>; 2],
) -> Result<Dataset> {
    let choice: data::Choice = name.parse().map_err(|e| Error::Usage(format!("{e}")))?;
    let mut data = data::open(choice, folder, preparation, &mut |notice| eprintln!("{notice}"))?;
    let limit = |split: data::Split, n: Option<usize>| match n {
        Some(n) => split.truncated(n),
        None => split,
    };
    data.train = limit(data.train, train);
    data.test = limit(data.test, test);
    Ok(data)
}

fn new_record(settings: &Settings, data: &Dataset, device: &Device) -> RunRecord {
    let (name, driver, backend) = match device {
        Device::Gpu(gpu) => {
            let info = &gpu.info;
            (info.name.clone(), format!("{} {}", info.driver, info.driver_info), format!("{:?}", info.backend))
        }
        Device::Cpu(_) => (device.description(), "none".into(), "cpu".into()),
    };
    RunRecord {
        started: now_utc(),
        dataset: data.name.clone(),
        device: name,
        driver,
        backend,
        elbo: env!("CARGO_PKG_VERSION").into(),
        wgpu: super::WGPU.into(),
        git: git_revision(),
        settings: settings.clone(),
        tuning: Vec::new(),
    }
}
