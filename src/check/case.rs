//! A case of a kernel, run: every form of the kernel against the reference on it.

use super::close::{self, Comparison};
use crate::arena::Arena;
use crate::backend::{Backend, Device, Loaded, cpu};
use crate::cases::{Case, POISON};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;

/// Words behind every output: an out-of-bounds store in WGSL is silent, these make it heard.
pub const GUARD: usize = 67;
/// What the guard band holds: a number, so that an update in place changes it too.
const GUARD_WORD: u32 = 0xc0de_cafe;

/// A case on a device, ready to run: what a test compares and a bench times.
pub struct Prepared {
    /// Its memory holds the inputs, and the outputs as they are before.
    pub backend: Backend,
    /// One dispatch of the kernel.
    pub program: Loaded,
    /// The outputs, each with its guard band.
    pub writes: Vec<Tensor>,
}

/// The case's dispatch, and the tensors that it reads and writes. Panics on a case that has not the kernel's params.
fn record(arena: &mut Arena, kernel: &'static Kernel, case: &Case) -> (Program, Vec<Tensor>, Vec<Tensor>) {
    assert!(case.params.len() == kernel.params.len(), "{} {}: params do not fit", kernel.name, case.label);
    let mut tensor = |name: &str, len: usize| arena.tensor(name, &[len]);
    let reads: Vec<_> = case.reads.iter().zip(kernel.reads).map(|(v, name)| tensor(name, v.len())).collect();
    let writes: Vec<_> =
        case.writes.iter().zip(kernel.writes).map(|(o, name)| tensor(name, o.before.len() + GUARD)).collect();
    let mut recorder = Recorder::new(arena);
    recorder.dispatch_words(kernel, case.params.clone(), &reads, &writes);
    (recorder.finish(kernel.name), reads, writes)
}

/// Builds the pipeline of the case's dispatch: loading it then takes no time. Panics where the driver refuses it.
pub fn build(device: &Device, kernel: &'static Kernel, case: &Case) {
    let (program, ..) = record(&mut Arena::new(), kernel, case);
    pollster::block_on(device.backend().prepare(&[&program]));
}

/// Loads the case's dispatch and writes its inputs. Errors: those of [`Backend::load`]. Panics on a case that has not
/// the kernel's params.
pub async fn prepare_async(device: &Device, kernel: &'static Kernel, case: &Case) -> Result<Prepared> {
    let mut arena = Arena::new();
    let (program, reads, writes) = record(&mut arena, kernel, case);
    let mut backend = device.backend();
    let program = backend.load_async(&arena, &program).await?;
    for (tensor, values) in reads.iter().zip(&case.reads) {
        backend.write(*tensor, values);
    }
    for (tensor, output) in writes.iter().zip(&case.writes) {
        let mut before = output.before.clone();
        before.resize(tensor.len(), f32::from_bits(GUARD_WORD));
        backend.write(*tensor, &before);
    }
    Ok(Prepared { backend, program, writes })
}

/// [`prepare_async`], blocking. Errors and panics: the same.
pub fn prepare(device: &Device, kernel: &'static Kernel, case: &Case) -> Result<Prepared> {
    pollster::block_on(prepare_async(device, kernel, case))
}

/// Runs the case once and returns each output with its guard band. Errors: the device cannot load the kernel, or is
/// lost.
pub async fn run_async(device: &Device, kernel: &'static Kernel, case: &Case) -> Result<Vec<Vec<f32>>> {
    let Prepared { mut backend, program, writes } = prepare_async(device, kernel, case).await?;
    backend.run_async(&[(program, 1)], &mut |_| true).await?;
    backend.read_async(&writes).await
}

/// [`run_async`], blocking. Errors: the same.
pub fn run(device: &Device, kernel: &'static Kernel, case: &Case) -> Result<Vec<Vec<f32>>> {
    pollster::block_on(run_async(device, kernel, case))
}

/// The outputs of a case on a device beside the reference's.
pub struct Outcome {
    /// One for each output; none where the device could not run the case.
    pub outputs: Vec<Comparison>,
    /// The first thing that is wrong: which output and where.
    pub failure: Option<String>,
}

/// What the reference makes of the case, with the guard bands. Errors: no memory for it.
pub fn reference(kernel: &'static Kernel, case: &Case) -> Result<Vec<Vec<f32>>> {
    run(&Device::Cpu(cpu::Cpu::Reference), kernel, case)
}

/// Runs the case on `device` and compares with `want`, what [`reference()`] returned for it.
pub fn measure(device: &Device, kernel: &'static Kernel, case: &Case, want: &[Vec<f32>]) -> Outcome {
    pollster::block_on(measure_async(device, kernel, case, want))
}

/// [`measure`], where nothing may block.
pub async fn measure_async(device: &Device, kernel: &'static Kernel, case: &Case, want: &[Vec<f32>]) -> Outcome {
    let where_ = |what: String| format!("{} [{}]: {what}", kernel.name, case.label);
    let got = match run_async(device, kernel, case).await {
        Ok(got) => got,
        Err(e) => return Outcome { outputs: Vec::new(), failure: Some(where_(e.to_string())) },
    };
    let mut outcome = Outcome { outputs: Vec::new(), failure: None };
    for (((got, want), output), name) in got.iter().zip(want).zip(&case.writes).zip(kernel.writes) {
        let len = output.before.len();
        let comparison = close::measure(&got[..len], &want[..len], output.tolerance, 1.0);
        let problem = if got[len..].iter().any(|v| v.to_bits() != GUARD_WORD) {
            Some(format!("{name} is written past its end"))
        } else if let Some(i) = want[..len].iter().position(|v| v.to_bits() == POISON) {
            Some(format!("the reference leaves {name}[{i}] unwritten"))
        } else {
            comparison.mismatch.as_ref().map(|m| format!("{name}: {m}"))
        };
        outcome.failure = outcome.failure.or(problem.map(where_));
        outcome.outputs.push(comparison);
    }
    outcome
}

/// Runs the case on `device` and on the reference and compares. `Err` says which output differs and where.
pub fn check(device: &Device, kernel: &'static Kernel, case: &Case) -> std::result::Result<(), String> {
    let want = reference(kernel, case).map_err(|e| format!("{} [{}]: {e}", kernel.name, case.label))?;
    measure(device, kernel, case, &want).failure.map_or(Ok(()), Err)
}
