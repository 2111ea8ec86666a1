//! `elbo tune`, and the tuning that `elbo train` starts with.

use elbo::backend::{Device, choose};
use elbo::data::table::Columns;
use elbo::error::Result;
use elbo::files::cache_folder;
use elbo::fusion::Fusion;
use elbo::instruments::subject;
use elbo::messages::notice;
use elbo::models::presets;
use elbo::program::{Program, Step};
use elbo::train::programs::training_step;
use elbo::train::settings::Settings;
use elbo::tuning::{self, Entry, How, Shape, Tuning};
use elbo::units::metric;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::table::{Column, table};

/// A matrix product or a convolution has several shaders here, in tiles of many sizes, and which is fastest depends on
/// the device and on the shape. `train` measures those of its own step for up to two seconds the first time, and from
/// then on takes them from a file in the folder of caches ($ELBO_CACHE, else the user's). This command measures all of
/// them, as long as it takes, and writes that file anew. Another shader may add in another order: after tuning, runs
/// with the same seed agree with each other bit for bit, and with earlier ones but for rounding.
#[derive(clap::Args)]
pub struct Args {
    /// Presets, as in mnist-mlp, and run folders, whose training steps are tuned [default: every preset]
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Pictures a step [default: as the preset or the run has it]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// auto (a real GPU, else the CPU), cpu, gpu, or part of an adapter's name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let all = || presets::all().map(|(_, preset)| preset.name.to_string()).collect();
        let models = if self.models.is_empty() { all() } else { self.models };
        let device = choose::open(&self.device)?;
        let mut steps = Vec::new();
        for model in &models {
            let (mut settings, columns) = subject::settings(model)?;
            settings.batch_size = self.batch_size.unwrap_or(settings.batch_size);
            subject::check_batch_size(settings.batch_size)?;
            steps.extend(training_step(&settings, &columns, Fusion::of(&device))?.steps);
        }
        let program = Program { name: models.join(", "), steps };
        notice(&format!("device: {}", device.description()));
        let tuning = measure(&device, &program)?;
        tuning.notices.iter().for_each(|line| notice(line));
        if self.json {
            super::print_json(&json!({
                "device": device.description(), "models": models, "cache": tuning.cache, "seconds": tuning.seconds,
                "shapes": tuning.shapes.iter().map(to_json).collect::<Vec<_>>(),
            }));
            return Ok(());
        }
        tuning.shapes.iter().for_each(print);
        super::print(&match (&device, &tuning.cache) {
            (Device::Cpu(_), _) => "The CPU device has one form of each kernel: there is nothing to tune.".into(),
            _ if tuning.shapes.is_empty() => {
                "No dispatch has a choice on this device: there is nothing to tune.".into()
            }
            (_, Some(path)) if tuning.is_kept => {
                format!("wrote {}: what `elbo train` runs from now on", path.display())
            }
            _ => "What was measured is not kept: `elbo train` will not know of it.".into(),
        });
        Ok(())
    }
}

/// Everything, under a progress bar.
fn measure(device: &Device, program: &Program) -> Result<Tuning> {
    let Device::Gpu(gpu) = device else { return Ok(Tuning::default()) };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}").expect("a valid template");
    let bar = ProgressBar::new(1).with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let how = How { caches: cache_folder(), limit: None, again: true };
    let tuning = tuning::tune(gpu, program, &how, &mut |step, done, count| {
        bar.set_length(count as u64);
        bar.set_position(done as u64);
        bar.set_message(format!("{} {}", step.kernel.name, params(step)));
    });
    bar.finish_and_clear();
    tuning
}

/// What `train` runs: the choices of the run that it goes on with, else those of the cache, else those measured now.
/// With lines on stderr where there is something to say.
pub fn before_training(
    device: &Device,
    settings: &Settings,
    columns: &Columns,
    recorded: Option<&[Entry]>,
) -> Result<Vec<Entry>> {
    let Device::Gpu(gpu) = device else { return Ok(Vec::new()) };
    if let Some(recorded) = recorded {
        let unknown = tuning::apply(gpu, recorded);
        if unknown > 0 {
            notice(&format!("tuning: {unknown} of the run's {} choices do not exist on this device", recorded.len()));
        }
        return Ok(recorded.to_vec());
    }
    let step = training_step(settings, columns, Fusion::of(device))?;
    let tuning = tuning::tune(gpu, &step, &How::at_start(), &mut |_, _, _| {})?;
    tuning.notices.iter().for_each(|line| notice(line));
    if tuning.shapes.is_empty() {
        return Ok(Vec::new());
    }
    let count = |wanted: fn(&&Shape) -> bool| tuning.shapes.iter().filter(wanted).count();
    let (cached, measured) = (count(|s| s.is_cached), count(|s| !s.measured.is_empty()));
    let left = tuning.shapes.len() - cached - measured;
    let mut parts = Vec::new();
    if cached > 0 {
        parts.push(format!("{cached} from the cache"));
    }
    if measured > 0 {
        parts.push(format!("{measured} measured in {:.1} s", tuning.seconds));
    }
    if left > 0 {
        parts.push(format!("{left} as shipped"));
    }
    notice(&format!("tuning: {} shapes, {}", tuning.shapes.len(), parts.join(", ")));
    Ok(tuning.entries())
}

/// As in `B 128, I 784, O 400, activation 1, accumulate 0`.
fn params(step: &Step) -> String {
    let named = step.kernel.params.iter().zip(&step.params).map(|(name, value)| format!("{name} {value}"));
    named.collect::<Vec<_>>().join(", ")
}

fn usual_seconds(shape: &Shape) -> Option<f64> {
    let usual = shape.measured.iter().find(|measured| measured.candidate == shape.usual)?;
    usual.seconds.as_ref().ok().copied()
}

fn print(shape: &Shape) {
    let Shape { step, dispatches, measured, usual, chosen, .. } = shape;
    let flops = step.cost().flops as f64;
    let times = if *dispatches == 1 { "once".into() } else { format!("{dispatches} times") };
    super::print(&format!("{}, {}FLOP, {times} in these steps", step.kernel.name, metric(flops)));
    super::print(&format!("  {}", params(step)));
    let heads = [
        ("candidate", Column::Left),
        ("ms", Column::Right),
        ("GFLOP/s", Column::Right),
        ("over shipped", Column::Right),
        ("", Column::Left),
    ];
    let before = usual_seconds(shape);
    let row = |m: &tuning::Measured| {
        let is = |name: &str, what| (m.candidate == name).then_some(what);
        let marks: Vec<&str> = [is(usual, "shipped"), is(&chosen.candidate, "chosen")].into_iter().flatten().collect();
        let numbers = match &m.seconds {
            Ok(s) => [
                format!("{:.4}", s * 1e3),
                format!("{:.1}", flops / s / 1e9),
                before.map_or("-".into(), |before| format!("{:.2} x", before / s)),
            ],
            Err(_) => ["-".into(), "-".into(), "-".into()],
        };
        [vec![m.candidate.to_string()], numbers.into(), vec![marks.join(", ")]].concat()
    };
    super::print(&table(&heads, &measured.iter().map(row).collect::<Vec<_>>()));
    super::print("");
}

fn to_json(shape: &Shape) -> Value {
    let Shape { step, dispatches, measured, usual, chosen, .. } = shape;
    let flops = step.cost().flops;
    let before = usual_seconds(shape);
    let named: serde_json::Map<String, Value> =
        step.kernel.params.iter().zip(&step.params).map(|(name, value)| (name.to_string(), json!(value))).collect();
    let candidate = |m: &tuning::Measured| {
        let seconds = m.seconds.as_ref().ok();
        json!({
            "name": m.candidate,
            "ms": seconds.map(|s| s * 1e3),
            "gflops": seconds.map(|s| flops as f64 / s / 1e9),
            "over_shipped": seconds.zip(before).map(|(s, before)| before / s),
            "problem": m.seconds.as_ref().err(),
        })
    };
    json!({
        "kernel": step.kernel.name, "params": named, "flops": flops, "dispatches": dispatches,
        "shipped": usual, "chosen": chosen.candidate,
        "candidates": measured.iter().map(candidate).collect::<Vec<_>>(),
    })
}
