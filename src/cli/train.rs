//! `elbo train`

mod beside;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use elbo::backend::{Device, choose};
use elbo::data::binarise::is_binary;
use elbo::data::{self, Binarise, Choice, Dataset, Fingerprint, Selection};
use elbo::error::{Error, Result};
use elbo::messages::notice;
use elbo::models::Term;
use elbo::models::parts::network::HELP;
use elbo::report::{self, Examples};
use elbo::train::checkpoint::Checkpoint;
use elbo::train::fit::{self, Asked};
use elbo::train::given::Given;
use elbo::train::init::Init;
use elbo::train::metrics::{self, EpochMetrics, Means};
use elbo::train::run_folder::{RunFolder, RunRecord, git_revision, now_utc};
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Event, Trainer};
use indicatif::{ProgressBar, ProgressStyle};

use super::data::{enough, open_data};
use super::flags::Flags;
use super::metrics::MetricArgs;
use super::shared::{bound_name, describe_loss, require};
use super::signals::Stop;
use super::{animate, tune};
use beside::{Beside, Board, Gauge, Reporting};

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// A settings file (TOML) with any of these options as keys, or a run's run.toml; the command line wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with the run in this folder; its settings are kept
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    resume: Option<PathBuf>,
    /// Neither measure which shaders suit this device nor use what was measured: take the shipped choice
    #[arg(long)]
    no_tune: bool,
    /// Write an event file for TensorBoard into the run folder: losses, schedules, pictures, histograms of parameters
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    metrics: MetricArgs,
    /// Measure these metrics after every N epochs, into picture_metrics.csv of the run folder
    #[arg(long, value_name = "N", default_value_t = 1, requires = "metrics", help_heading = "Metrics of pictures")]
    metrics_every: usize,
    /// Write no report.html at the end
    #[arg(long)]
    no_report: bool,
    /// Print a JSON object for each epoch instead of a table
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        require(self.metrics_every > 0, "--metrics-every is 0, but must be at least 1")?;
        let Flags(given) = self.flags;
        let given_data = given.has("data") || self.resume.is_none();
        // The folder is taken before anything takes time: of two runs that start together each has its own.
        let (mut settings, asked, folder, resumed) = match &self.resume {
            Some(root) => {
                if given.has("init") {
                    let problem = "--init starts a new run, and --resume goes on with one: leave one of them out";
                    return Err(Error::Usage(problem.into()));
                }
                let folder = RunFolder::resume(root)?;
                let record = RunRecord::read(&folder)?;
                let settings = Settings::resume(record.settings.clone(), &given)?;
                (settings, Asked::resumed(&given), folder, Some(record))
            }
            None => {
                let (mut settings, asked, has_out) = new_settings(self.config.as_deref(), given)?;
                let out = &settings.out;
                let folder = if has_out { RunFolder::create(out)? } else { RunFolder::create_free(out)? };
                settings.out = folder.root().to_path_buf();
                (settings, asked, folder, None)
            }
        };
        // A run that goes on starts from its own state.
        let init = if resumed.is_none() { Init::read(&settings)? } else { None };
        let device = choose::open(&settings.device)?;
        notice(&format!("device: {}", device.description()));
        let dataset = match &resumed {
            // The set that was used, not `auto`: a run never changes its data.
            Some(record) => record.dataset.clone(),
            None => settings.dataset.clone(),
        };
        let place = if given_data { settings.data.clone() } else { still_there(&settings, &dataset) };
        let selection = resumed.as_ref().map_or(Selection::ByName, |record| record.selection);
        let mut form = settings.form(&dataset)?;
        if dataset.parse().is_ok_and(|of: Choice| of == Choice::Text) {
            let model = folder.model();
            // That of the parameters: a new one of other sentences would number the words anew.
            form.text.vocabulary = match &init {
                Some(init) => init.card()?.vocabulary,
                None if resumed.is_some() && model.is_file() => Checkpoint::read(&model)?.card(&model)?.vocabulary,
                None => None,
            };
        }
        let preparation = settings.preparation();
        let data = open_data(&dataset, place.as_deref(), &preparation, &form, selection, enough(&settings))?;
        let data = data.normal_alone(&settings.normal)?.limited(selection, [settings.train_limit, settings.test_limit]);
        if settings.data.is_none() {
            settings.data = data::usual_place(&data.name);
        }
        let (examples, example) = (data.examples(), data.example());
        notice(&format!("data: {}, {} training and {} test {examples}", data.name, data.train.count, data.test.count));
        let pictures = Fingerprint::of(&data);
        if let Some(before) = resumed.as_ref().and_then(|record| record.pictures.as_ref()) {
            before.check(&pictures, &data.name)?;
        }
        if resumed.is_none() {
            (settings.entry()?.fill_in)(&mut settings.own, data.train.count)?;
        }
        fit::to_data(&mut settings, asked, &data)?.iter().for_each(|note| notice(note));
        fit::check(&settings, &data)?;
        if let Some(init) = &init {
            init.check(&settings, &data.columns())?;
            init.checkpoint.notices.iter().for_each(|line| notice(line));
            notice(&format!("start: the parameters of {}", init.path.display()));
        }
        let recorded = resumed.as_ref().map(|record| record.tuning.as_slice());
        let tuning = match self.no_tune {
            true => Vec::new(),
            false => tune::before_training(&device, &settings, &data.columns(), recorded)?,
        };
        let record = RunRecord { tuning, selection, pictures: Some(pictures), ..new_record(&settings, &data, &device) };
        let resume = resumed.is_some();
        let record = match resumed {
            Some(first) => RunRecord { started: first.started, ..record },
            None => record,
        };
        let (count, shape) = (data.train.count, data.test.shape());
        let binary = shape.is_some() && (settings.binarise != Binarise::None || is_binary(&data.test));
        let outline = settings.outline(&data.columns())?;
        let (output, told, knobs) = (outline.output(), outline.notice(), outline.knobs());
        let asked = self.metrics.prepare(&data, &outline.views(), settings.seed, &device)?;
        drop(outline);
        let (test, class_names) = (data.test.spread_table(report::EXAMPLES), data.class_names.clone());
        let reporting = Reporting {
            is_asked: !self.no_report,
            examples: Examples { test: &test, class_names: &class_names },
            device: &device,
        };
        let gauge = asked.map(|asked| Gauge::new(asked, self.metrics_every, data.test.clone(), &device, &folder));
        let mut trainer = Trainer::new(settings.clone(), data, &device, folder.clone(), resume)?;
        let (done, root) = (trainer.epochs_done(), folder.root().display());
        if done >= settings.epochs {
            complete(&trainer, &folder, &reporting)?;
            notice(&format!(
                "all {done} epochs of this run are trained: `elbo train --resume {root} --epochs N` goes on to N"
            ));
            return Ok(ExitCode::SUCCESS);
        }
        record.write(&folder)?;
        trainer.note().iter().chain(&told).for_each(|note| notice(note));
        if let Some(free) = settings.own("free_bits").and_then(|free| free.as_float()).filter(|&free| free > 0.0) {
            notice(&format!(
                "note: with --free-bits the train kl and loss count each latent dimension as at least {free} nats, as they \
                 are optimised; those of the test count it as it is"
            ));
        }
        notice(&format!(
            "model: {}, {} parameters, {} dispatches a step\nrun folder: {}",
            settings.preset,
            trainer.parameters(),
            trainer.dispatches_a_step(),
            folder.root().display()
        ));
        let [parts, test_parts] = trainer.data_parts();
        if parts > 1 || test_parts > 1 {
            notice(&format!(
                "data: larger than this device binds at once, so the training pictures lie in {parts} buffers, the \
                 test pictures in {test_parts}"
            ));
        }
        let stop = Stop::on_signals();
        let board =
            self.tensorboard.then(|| Board::open(&folder, &settings, knobs, trainer.steps_an_epoch())).transpose()?;
        let beside = Beside { board, gauge };
        let (ending, last) = train(&mut trainer, &settings, (count, examples), &stop, self.json, beside)?;
        let root = folder.root().display();
        match ending {
            Ending::Finished => {}
            Ending::Stopped => {
                let patience = settings.patience.unwrap_or(0);
                notice(&format!("stopped early: {patience} epochs without a better loss"));
            }
            Ending::Interrupted => {
                notice(&format!("interrupted, everything is saved: go on with `elbo train --resume {root}`"));
            }
        }
        if let Some(metrics) = last {
            let bound = bound_name(&settings.own);
            let nats = metrics.test.sum(settings.terms()?);
            let loss = describe_loss(output, &bound, nats, example, shape, binary);
            notice(&format!("test of epoch {}: {loss}", metrics.epoch));
        }
        // Whoever stops a run waits for its end.
        if ending != Ending::Interrupted {
            complete(&trainer, &folder, &reporting)?;
            notice(&match shape {
                Some(_) => {
                    let drawn = ["samples", "reconstructions", "curves.png"].map(|name| folder.root().join(name));
                    let drawn = drawn.iter().filter(|path| path.exists()).map(|path| path.display().to_string());
                    // What has no samples cannot be sampled.
                    let next = if folder.root().join("samples").exists() { "sample" } else { "eval" };
                    format!("pictures: {}\nnext: elbo {next} {root}", drawn.collect::<Vec<_>>().join(", "))
                }
                None => format!("curves: {root}/curves.png\nnext: elbo eval {root}"),
            });
            if stop.exit_code().is_some() {
                notice("the run had come to its end when it was interrupted: there is nothing to go on with");
            }
        }
        Ok(stop.exit_code().unwrap_or(ExitCode::SUCCESS))
    }
}

/// Makes what a run's folder has at its end and does not have yet: the animation always, and of a run that is resumed
/// after its end whatever was lost.
fn complete(trainer: &Trainer, folder: &RunFolder, reporting: &Reporting) -> Result<()> {
    for path in trainer.write_missing()? {
        notice(&format!("was missing, made again: {}", path.display()));
    }
    // The model is saved: pictures that cannot be shown together do not make the run a failure.
    if !animate::is_up_to_date(folder)? {
        match animate::samples(folder) {
            Ok(Some(path)) => notice(&format!("animation: {}", path.display())),
            Ok(None) => {}
            Err(e) => notice(&format!("no animation of the samples: {e}")),
        }
    }
    reporting.write(folder);
    Ok(())
}

/// The settings of a new run, and which of them were given: the preset's with a settings file's over them, or those of
/// a run that is repeated, and over both the command line's. And whether its folder was given.
fn new_settings(config: Option<&Path>, cli: Given) -> Result<(Settings, Asked, bool)> {
    let has_out = cli.has("out");
    match config.map(RunRecord::in_file).transpose()?.flatten() {
        Some(record) => {
            // The set that was used, not `auto`.
            let mut saved = record.settings;
            saved.dataset = record.dataset;
            let asked = Asked::of([&cli]);
            Ok((Settings::repeat(saved, cli)?, asked, has_out))
        }
        None => {
            let file = config.map(Given::from_file).transpose()?;
            let has_out = has_out || file.as_ref().is_some_and(|file| file.has("out"));
            let asked = Asked::of(file.iter().chain([&cli]));
            Ok((Settings::resolve(file, cli)?, asked, has_out))
        }
    }
}

/// The recorded place of the data. One that is gone is looked for anew, where the set has a usual place. The drawn
/// digits lie nowhere: a run that took them had no use for the folder it was given.
fn still_there(settings: &Settings, dataset: &str) -> Option<PathBuf> {
    if dataset == "digits" {
        return None;
    }
    let has_none = dataset.parse().is_ok_and(Choice::is_own);
    settings.data.clone().filter(|place| has_none || place.exists())
}

/// Trains with a progress bar and a line an epoch; how it ended, and the last epoch if one has ended.
fn train(
    trainer: &mut Trainer,
    settings: &Settings,
    (count, examples): (usize, &str),
    stop: &Stop,
    json: bool,
    mut beside: Beside,
) -> Result<(Ending, Option<EpochMetrics>)> {
    let bar = ProgressBar::new(0);
    let style = "epoch {prefix} {bar:30} {pos}/{len} batches, {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    let (mut shown, mut last, mut notes) = (String::new(), None, Vec::new());
    let mut epoch_start = std::time::Instant::now();
    let terms = settings.terms()?;
    if !json {
        super::print(&head(terms, rate(examples)));
    }
    let mut is_stopping = false;
    let ending = trainer.train(stop.asked(), &mut |event| {
        if stop.exit_code().is_some() && !is_stopping {
            is_stopping = true;
            bar.suspend(|| notice("stopping after this step; Ctrl-C once more to stop at once"));
        }
        match event {
            Event::Batches { epoch, done, total } => {
                if done <= 1 {
                    epoch_start = std::time::Instant::now();
                }
                let rows = (done * settings.batch_size) as f64 / epoch_start.elapsed().as_secs_f64().max(1e-3);
                bar.set_prefix(format!("{epoch}/{}", settings.epochs));
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                bar.set_message(format!("{rows:.0} {}{shown}", rate(examples)));
            }
            Event::Evaluation => {}
            Event::NotDrawn { problem } => {
                let note = format!("note: a picture is missing, the run goes on: {problem}");
                // Once, and not after each epoch again.
                if !notes.contains(&note) {
                    bar.suspend(|| notice(&note));
                    notes.push(note);
                }
            }
            Event::Epoch { metrics, is_best } => {
                last = Some(metrics.clone());
                shown = format!(", train {:.2}, test {:.2}", metrics.train.loss, metrics.test.loss);
                let line = if json { json_line(metrics, terms, is_best) } else { table_line(metrics, count, is_best) };
                bar.suspend(|| super::print(&line));
                for problem in beside.epoch(metrics) {
                    bar.suspend(|| notice(&format!("note: epoch {} is missing {problem}", metrics.epoch)));
                }
            }
        }
    });
    bar.finish_and_clear();
    Ok((ending?, last))
}

/// The unit of how fast examples are trained on.
fn rate(examples: &str) -> &'static str {
    if examples == "pictures" { "images/s" } else { "rows/s" }
}

/// The columns of the table: epoch, the losses and their terms, seconds, images or rows a second.
fn head(terms: &[Term], rate: &str) -> String {
    let of = |split: &str| {
        let terms: Vec<String> = terms.iter().map(|term| format!("{:<8}", term.name)).collect();
        format!("{:<10}  {}", format!("{split} loss"), terms.join("  "))
    };
    format!("epoch   {}  {}  seconds  {rate}", of("train"), of("test"))
}

fn table_line(m: &EpochMetrics, count: usize, is_best: bool) -> String {
    let of = |means: &Means| {
        let terms: Vec<String> = means.terms.iter().map(|value| format!("{value:<8.4}")).collect();
        format!("{:<10.4}  {}", means.loss, terms.join("  "))
    };
    format!(
        "{:>5}   {}  {}  {:<7.2}  {:<8.0}{}",
        m.epoch,
        of(&m.train),
        of(&m.test),
        m.seconds,
        count as f64 / m.seconds,
        if is_best { "  best" } else { "" }
    )
}

fn json_line(m: &EpochMetrics, terms: &[Term], is_best: bool) -> String {
    let mut object = serde_json::json!({ "epoch": m.epoch, "seconds": m.seconds, "is_best": is_best });
    for (name, value) in metrics::monitors(terms).into_iter().zip(m.values()) {
        object[name] = value.into();
    }
    object.to_string()
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
        selection: Selection::ByName,
        pictures: None,
        settings: settings.clone(),
        tuning: Vec::new(),
    }
}
