//! The peer on libtorch, eager, by its C++ interface: the same models, initial parameters, batches and operations as
//! `elbo bench`, in the same windows, to the same schema. From this folder:
//!
//!     LIBTORCH_USE_PYTORCH=1 cargo run --release -- --inputs inputs.safetensors --out libtorch.csv --threads 2
//!
//! Data are on the device in float32, losses add up there, and nothing is read back within a window. On CUDA set
//! NVIDIA_TF32_OVERRIDE=0, which keeps every library of NVIDIA at float32.

mod model;
mod operations;

use std::process::{Command, ExitCode};

use clap::Parser;
use elbo_bench_peer::row::{Origin, processor};
use elbo_bench_peer::windows::Spread;
use elbo_bench_peer::{Inputs, Options, Result, Results, start, today};
use model::Training;
use tch::{Cuda, Device};

#[derive(Parser)]
#[command(about = "Measures libtorch, eager, on what elbo bench measures")]
struct Args {
    #[command(flatten)]
    options: Options,
    /// cpu or cuda
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Steps whose mean loss is reported.
const JUDGED: usize = 100;
/// Steps after the first before the memory is read, as many as elbo's.
const SETTLING: usize = 4;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let options = &args.options;
    let device = device(&args.device)?;
    if let Some(threads) = options.threads {
        tch::set_num_threads(threads as i32);
    }
    let models = options.models()?;
    let inputs = Inputs::open(&options.inputs)?;
    if options.first_step {
        let mut training = Training::new(models[0], &inputs, options.batch[0], device);
        training.take(1);
        start::say("step");
        training.take(SETTLING);
        start::say_memory();
        return Ok(());
    }
    let mut results = Results::new(origin(device), &inputs.data, &options.out);
    let windows = options.windows();
    if options.measures("steps") {
        for model in &models {
            for &batch in &options.batch {
                let mut training = Training::new(model, &inputs, batch, device);
                let time = windows.measure(&mut |n| -> Result<()> {
                    training.take(n);
                    Ok(())
                })?;
                results.add(model.name, Some(batch), "step", time)?;
                results.add(model.name, Some(batch), "loss", Spread::single(training.loss(JUDGED)))?;
            }
        }
    }
    if options.measures("operations") {
        for operation in operations::all(device) {
            let mut run = operation.run;
            let time = windows.measure(&mut |n| -> Result<()> {
                (0..n).for_each(|_| run());
                wait(device);
                Ok(())
            })?;
            results.add(&operation.name, None, "operation", time)?;
        }
    }
    if options.measures("start") {
        let own = ["--device".to_string(), args.device.clone()];
        for model in &models {
            let starts = start::measure(options, &own, model.name, model.batch)?;
            results.add(model.name, Some(model.batch), "start_warm", starts.seconds)?;
            if let Some(memory) = starts.peak_rss {
                results.add(model.name, Some(model.batch), "peak_rss", memory)?;
            }
        }
    }
    Ok(())
}

fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" if !Cuda::is_available() => Err("libtorch finds no CUDA device".into()),
        "cuda" if std::env::var("NVIDIA_TF32_OVERRIDE").as_deref() != Ok("0") => {
            Err("set NVIDIA_TF32_OVERRIDE=0: products in TF32 are not products in float32".into())
        }
        "cuda" => Ok(Device::Cuda(0)),
        other => Err(format!("no device is called `{other}`: there are cpu and cuda")),
    }
}

/// Waits until the device has done everything.
pub fn wait(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

fn origin(device: Device) -> Origin {
    let output = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_string();
        (!text.is_empty()).then_some(text)
    };
    let torch = output("python3", &["-c", "import torch; print(torch.__version__)"]);
    let query = |what: &str| output("nvidia-smi", &[&format!("--query-gpu={what}"), "--format=csv,noheader"]);
    let unknown = || "unknown".to_string();
    let (name, driver, threads) = if device.is_cuda() {
        (query("name").unwrap_or_else(unknown), query("driver_version").unwrap_or_else(unknown), None)
    } else {
        ("cpu".into(), processor(), Some(tch::get_num_threads() as usize))
    };
    Origin {
        date: today(),
        peer: "libtorch".into(),
        version: torch.unwrap_or_else(unknown),
        device: name,
        driver,
        threads,
    }
}
