//! `elbo parity`

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use elbo::backend::choose;
use elbo::data::Selection;
use elbo::error::{Error, Result};
use elbo::instruments::parity::{Exchange, RECORDING, Recording, Report, SCRIPT};
use elbo::instruments::subject;
use elbo::messages::notice;
use elbo::models::presets;
use elbo::picture::{self, Series, curves};
use indicatif::{ProgressBar, ProgressStyle};

use super::shared::wrote;

#[derive(clap::Args)]
#[command(after_help = "\
Both sides start from the same parameters and get the same pictures and the same noise at each step. A line of the table
is a step: its loss in nats a picture here and in PyTorch, the relative difference of the two, the largest relative
difference of a gradient (root mean square over the tensor) and the largest absolute difference of a parameter after
the step, each with its tensor. Of tensors of more than 512 elements about 256 are compared, at the last step all.
Exit code 1: at some step the losses differ by more than 1e-4.

Runs that differ by rounding drift apart, the faster the larger a network of rectifiers: PyTorch's own float32 and
float64 (--float64) are 1e-3 apart after 100 steps of mnist-conv. With --follow each step here starts from PyTorch's
parameters, and the differences are those of single steps. It keeps all parameters of every step in the folder.

Without PyTorch here: the folder that is written (--out) holds the script too. Run it where PyTorch is,

    python3 FOLDER/pytorch_parity.py FOLDER

and compare with what it left in the folder: elbo parity --from FOLDER --device cpu,gpu")]
pub struct Args {
    /// A preset or a run folder, whose settings are taken; parameters start anew [default: mnist-mlp]
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Training steps [default: 100]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Pictures a step [default: the model's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Seed of the initial parameters, the order and the noise [default: the model's]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Take the examples of the model's data set in this folder or file [default: drawn ones]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The devices to compare, with commas between: auto, cpu, gpu, or parts of adapters' names
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "auto")]
    device: Vec<String>,
    /// A Python with PyTorch and safetensors [default: python3]
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// Let PyTorch compute in float64, whose rounding is out of sight
    #[arg(long)]
    float64: bool,
    /// Start each step here from PyTorch's parameters, so that no difference adds up
    #[arg(long)]
    follow: bool,
    /// The folder for what is exchanged with PyTorch [default: runs/parity-MODEL]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare with what PyTorch has recorded in this folder, on the steps that lie there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "steps", "batch_size", "seed", "data", "python", "float64", "out"])]
    from: Option<PathBuf>,
    /// Draw the differences over the steps, a PNG or JPEG file
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Print JSON for a program to read: a list with a report for each device
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        // Before anything takes time.
        self.chart.as_ref().map(picture::Format::of).transpose()?;
        let devices = self.device.iter().map(|name| choose::open(name)).collect::<Result<Vec<_>>>()?;
        let (folder, exchange) = match &self.from {
            Some(folder) => (folder.clone(), Exchange::read(folder)?),
            None => self.ask_pytorch()?,
        };
        let there = Recording::read(&folder, &exchange)?;
        let mut reports = Vec::new();
        for device in &devices {
            notice(&format!("device: {}", device.description()));
            let bar = bar("here", exchange.steps);
            let follow = self.follow.then_some(&there);
            let here = Recording::take(&exchange, device, follow, &mut |done| bar.set_position(done as u64));
            bar.finish_and_clear();
            let report = Report::new(&exchange, &here?, &there, self.follow);
            if !self.json {
                print_table(&report);
            }
            reports.push(report);
        }
        if self.json {
            super::print(&serde_json::to_string_pretty(&reports).expect("plain data"));
        }
        if let Some(path) = &self.chart {
            chart(&reports).save(path)?;
            if !self.json {
                wrote(path, "the differences over the steps");
            }
        }
        let failed: Vec<&str> = reports.iter().filter(|r| !r.passes).map(|r| r.here.as_str()).collect();
        match failed.is_empty() {
            true => Ok(()),
            false => Err(Error::Failed(format!(
                "the loss differs from PyTorch's by more than {:e} on {}{}",
                reports[0].target,
                failed.join(" and "),
                if self.follow { "" } else { ". Rounding alone can do that: --follow takes each step by itself" }
            ))),
        }
    }

    /// Writes the exchange and has the script answer it.
    fn ask_pytorch(&self) -> Result<(PathBuf, Exchange)> {
        let name = self.model.as_deref().unwrap_or(presets::DEFAULT);
        let steps = self.steps.unwrap_or(100);
        let (mut settings, columns) = subject::settings(name)?;
        settings.batch_size = self.batch_size.unwrap_or(settings.batch_size);
        subject::check_batch_size(settings.batch_size)?;
        settings.seed = self.seed.unwrap_or(settings.seed);
        let (data, pictures, columns) = match &self.data {
            Some(data) => {
                let (preparation, form) = (settings.preparation(), settings.form(&settings.dataset)?);
                let (name, by_name) = (&settings.dataset, Selection::ByName);
                let dataset = super::data::open_data(name, Some(data), &preparation, &form, by_name, [None; 2])?;
                let columns = dataset.columns();
                (dataset.name, dataset.train, columns)
            }
            None => {
                let count = steps.saturating_mul(settings.batch_size).clamp(1, MOST_DRAWN);
                ("drawn examples".into(), subject::drawn(count, &columns), columns)
            }
        };
        let pictures = settings.binarise.fixed(pictures, settings.seed);
        let exchange = Exchange::new(name, &data, &settings, (&pictures, &columns), steps)?;
        let folder = self.out.clone().unwrap_or_else(|| {
            let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
            Path::new("runs").join(format!("parity-{name}"))
        });
        exchange.write(&folder)?;
        notice(&format!("exchange: {}, {steps} steps of {} examples", folder.display(), settings.batch_size));
        self.run_script(&folder, steps)?;
        Ok((folder, exchange))
    }

    fn run_script(&self, folder: &Path, steps: usize) -> Result<()> {
        let python = self.python.as_deref().unwrap_or(Path::new("python3"));
        let mut command = Command::new(python);
        command.arg(folder.join(SCRIPT)).arg(folder);
        command.args(self.float64.then_some("--float64")).args(self.follow.then_some("--whole"));
        let shown: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
        let shown = shown.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let instead = format!(
            "Everything it needs is in {}. Where PyTorch and safetensors are installed, run\n  {shown}\nthen\n  \
             elbo parity --from {}{}",
            folder.display(),
            folder.display(),
            if self.follow { " --follow" } else { "" }
        );
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| {
            Error::Usage(format!("cannot start {} ({e}); --python names another Python. {instead}", python.display()))
        })?;
        let bar = bar("PyTorch", steps);
        for line in BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(|line| line.ok()) {
            if let Some(step) = line.strip_prefix("step ").and_then(|rest| rest.split(' ').next()?.parse().ok()) {
                bar.set_position(step);
            }
        }
        bar.finish_and_clear();
        let status = child.wait().map_err(Error::io("run", python))?;
        match (status.success(), status.code()) {
            (true, _) => Ok(()),
            (_, Some(3)) => Err(Error::Usage(format!(
                "{} lacks PyTorch or safetensors; --python names another Python. {instead}",
                python.display()
            ))),
            _ => Err(Error::Usage(format!("the script left no {RECORDING} ({status}); it was\n  {shown}"))),
        }
    }
}

/// Drawn pictures that are all different; more steps see them again.
const MOST_DRAWN: usize = 60_000;

fn bar(who: &'static str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} steps, {eta} left").expect("a valid template");
    ProgressBar::new(steps as u64).with_style(style).with_message(who)
}

fn print_table(report: &Report) {
    super::print(&format!(
        "{} on {}, batch {}{}\nhere:  {}\nthere: {}",
        report.model,
        report.data,
        report.batch_size,
        if report.follows { ", each step from the parameters there" } else { "" },
        report.here,
        report.there
    ));
    super::print("step  loss here    loss there   differ   gradients differ by           parameters differ by");
    for d in &report.steps {
        super::print(&format!(
            "{:>4}  {:<11.5}  {:<11.5}  {:<7.1e}  {:<7.1e} {:<20}  {:<7.1e} {}",
            d.step,
            d.loss[0],
            d.loss[1],
            d.loss_difference,
            d.gradient.difference,
            d.gradient.tensor,
            d.parameter.difference,
            d.parameter.tensor
        ));
    }
    if !report.left_out.is_empty() {
        super::print(&format!(
            "not compared: {}. A batch norm takes these biases away again, so their gradient is zero and here they stay; \
             PyTorch's is rounding (at most {:.1e} of the weight's) that Adam makes steps of.",
            report.left_out.join(", "),
            report.left_out_gradient
        ));
    }
    let [loss, gradient, parameter] = [
        report.worst(|d| d.loss_difference),
        report.worst(|d| d.gradient.difference),
        report.worst(|d| d.parameter.difference),
    ];
    super::print(&format!(
        "largest: loss {:.1e} at step {}, gradient {:.1e} at step {}, parameter {:.1e} at step {}",
        loss.loss_difference,
        loss.step,
        gradient.gradient.difference,
        gradient.step,
        parameter.parameter.difference,
        parameter.step
    ));
    let verdict = if report.passes { "ok: at no step" } else { "FAILED: at some step" };
    super::print(&format!("{verdict} the losses differ by more than {:e}", report.target));
}

/// The powers of ten of every difference, and of the target. A difference of zero has none.
fn chart(reports: &[Report]) -> elbo::picture::Picture {
    let target = reports[0].target.log10();
    let last = reports[0].steps.len() as f64;
    let mut series: Vec<Series> = vec![("target".into(), vec![(1.0, target), (last, target)])];
    for report in reports {
        let device = report.here.split(['(', ' ']).next().unwrap_or_default();
        let mut line = |what: &str, of: fn(&elbo::instruments::parity::Difference) -> f64| {
            let points = report.steps.iter().map(|d| (d.step as f64, of(d).log10())).collect();
            series.push((format!("{what}, {device}"), points));
        };
        line("loss", |d| d.loss_difference);
        line("gradient", |d| d.gradient.difference);
        line("parameter", |d| d.parameter.difference);
    }
    let title = format!("{}: elbo and PyTorch apart", reports[0].model);
    curves(&series, &title, "step", "difference, power of ten")
}
