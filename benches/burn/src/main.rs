//! The peer on burn: its wgpu backend with fusion and autotune, on the same adapter as `elbo bench`. From this folder:
//!
//!     cargo run --release -- --inputs inputs.safetensors --out burn.csv
//!
//! Data are on the device in float32, in the order of the first epoch, so that a batch is a slice and needs no gather,
//! which is in burn's favour. Losses add up on the device and nothing is read back within a window.

mod model;
mod training;

use std::process::ExitCode;

use burn::backend::wgpu::{RuntimeOptions, WgpuDevice, graphics::AutoGraphicsApi, init_setup};
use burn::backend::{Autodiff, Wgpu};
use clap::Parser;
use elbo_bench_peer::row::Origin;
use elbo_bench_peer::windows::Spread;
use elbo_bench_peer::{Inputs, Model, Options, Result, Results, start, today};
use model::{Conv, Mlp, Network};
use training::Training;

pub type Backend = Autodiff<Wgpu>;

#[derive(Parser)]
#[command(about = "Measures burn on wgpu on the training steps that elbo bench measures")]
struct Args {
    #[command(flatten)]
    options: Options,
}

/// Steps whose mean loss is reported.
const JUDGED: usize = 20;
/// Steps after the first before the memory is read, as many as elbo's.
const SETTLING: usize = 4;

fn main() -> ExitCode {
    match run(&Args::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let models = options.models()?;
    let device = WgpuDevice::default();
    let info = init_setup::<AutoGraphicsApi>(&device, RuntimeOptions::default()).adapter.get_info();
    let inputs = Inputs::open(&options.inputs)?;
    if options.first_step {
        let mut training = open(models[0], &inputs, options.batch[0], &device);
        training.take(1);
        start::say("step");
        training.take(SETTLING);
        start::say_memory();
        return Ok(());
    }
    let is_software = format!("{:?}", info.device_type) == "Cpu";
    let cores = std::thread::available_parallelism().ok().map(usize::from);
    let origin = Origin {
        date: today(),
        peer: "burn".into(),
        version: "0.21.0".into(),
        device: info.name,
        driver: format!("{} {}", info.driver, info.driver_info),
        threads: cores.filter(|_| is_software),
    };
    let mut results = Results::new(origin, &inputs.data, &options.out);
    if options.measures("steps") {
        for model in &models {
            for &batch in &options.batch {
                let mut training = open(model, &inputs, batch, &device);
                let time = options.windows().measure(&mut |n| -> Result<()> {
                    training.take(n);
                    Ok(())
                })?;
                results.add(model.name, Some(batch), "step", time)?;
                results.add(model.name, Some(batch), "loss", Spread::single(training.loss(JUDGED)))?;
            }
        }
    }
    if options.measures("start") {
        for model in &models {
            let starts = start::measure(options, &[], model.name, model.batch)?;
            results.add(model.name, Some(model.batch), "start_warm", starts.seconds)?;
            if let Some(memory) = starts.peak_rss {
                results.add(model.name, Some(model.batch), "peak_rss", memory)?;
            }
        }
    }
    Ok(())
}

/// Training of either kind of model.
trait Steps {
    fn take(&mut self, n: usize);
    fn loss(&mut self, steps: usize) -> f64;
}

impl<N: Network> Steps for Training<N> {
    fn take(&mut self, n: usize) {
        Training::take(self, n);
    }

    fn loss(&mut self, steps: usize) -> f64 {
        Training::loss(self, steps)
    }
}

fn open(model: &Model, inputs: &Inputs, batch: usize, device: &WgpuDevice) -> Box<dyn Steps> {
    let initial = inputs.parameters(model.name);
    match model.name {
        "mnist-conv" => Box::new(Training::new(Conv::new(&initial, device), model, inputs, batch, device)),
        _ => Box::new(Training::new(Mlp::new(&initial, device), model, inputs, batch, device)),
    }
}
