//! The candidates of one dispatch, timed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use web_time::Instant;

use crate::arena::Arena;
use crate::backend::gpu::Gpu;
use crate::backend::{Backend, Device, Loaded};
use crate::error::Result;
use crate::kernel::Candidate;
use crate::program::{Program, Recorder, Step};
use crate::tensor::Tensor;

/// Seconds that a sample should take: long against the way to the device and back.
const SAMPLE: f64 = 0.002;
const MOST_REPLAYS: usize = 256;
/// Samples of a candidate that is no more than so many times slower than the best one; of the others there is one.
const SAMPLES: usize = 3;
const CONTENDER: f64 = 1.5;
/// Difference from the first candidate, as a share of the whole, that tells a wrong result from another order of a sum.
const TOLERANCE: f64 = 1e-4;

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Its name.
    pub candidate: &'static str,
    /// Seconds of a dispatch among many, or why the candidate is not to be used here.
    pub seconds: std::result::Result<f64, String>,
}

/// Times the candidates in their order, until all are or the deadline has passed. Results that differ from the first
/// one's are a driver's mistake, and such a candidate is not timed.
pub fn measure(
    gpu: &Gpu,
    step: &Step,
    candidates: &[&'static Candidate],
    deadline: Option<Instant>,
) -> Result<Vec<Measured>> {
    let is_late = || deadline.is_some_and(|deadline| Instant::now() > deadline);
    let mut bench = Bench::new(gpu, step);
    // All at once, on all cores; what a driver refuses is found again below, where it is said.
    let shaders = candidates.iter().map(|candidate| (step.kernel, &candidate.shader)).collect();
    let _ = catch_unwind(AssertUnwindSafe(|| pollster::block_on(gpu.build(shaders))));
    let mut measured: Vec<(Measured, Option<Loaded>)> = Vec::new();
    let mut first: Option<Vec<Vec<f32>>> = None;
    for candidate in candidates {
        if is_late() {
            break;
        }
        let (seconds, loaded) = match bench.try_out(candidate, &mut first) {
            Ok(loaded) => (Ok(bench.sample(loaded)?), Some(loaded)),
            Err(problem) => (Err(problem), None),
        };
        measured.push((Measured { candidate: candidate.name, seconds }, loaded));
    }
    for _ in 1..SAMPLES {
        let best = measured.iter().filter_map(|(m, _)| m.seconds.clone().ok()).fold(f64::INFINITY, f64::min);
        for (Measured { seconds, .. }, loaded) in &mut measured {
            let (Ok(seconds), Some(loaded)) = (seconds, loaded) else { continue };
            if *seconds <= CONTENDER * best && !is_late() {
                *seconds = seconds.min(bench.sample(*loaded)?);
            }
        }
    }
    Ok(measured.into_iter().map(|(measured, _)| measured).collect())
}

/// The step alone on memory of its own.
struct Bench {
    gpu: Arc<Gpu>,
    backend: Backend,
    arena: Arena,
    program: Program,
    reads: Vec<Tensor>,
    writes: Vec<Tensor>,
}

impl Bench {
    fn new(gpu: &Gpu, step: &Step) -> Bench {
        let mut arena = Arena::new();
        let mut tensors = |like: &[Tensor]| like.iter().map(|t| arena.tensor("tensor", t.shape())).collect::<Vec<_>>();
        let (reads, writes) = (tensors(&step.reads), tensors(&step.writes));
        let mut r = Recorder::new(&mut arena);
        r.dispatch_words(step.kernel, step.params.clone(), &reads, &writes);
        let program = r.finish(step.kernel.name);
        let gpu = Arc::new(gpu.without_choices());
        let backend = Device::Gpu(gpu.clone()).backend();
        Bench { gpu, backend, arena, program, reads, writes }
    }

    /// Runs the candidate once and compares with what the first one made. Errors: why it cannot be used, in words.
    fn try_out(
        &mut self,
        candidate: &'static Candidate,
        first: &mut Option<Vec<Vec<f32>>>,
    ) -> std::result::Result<Loaded, String> {
        let Step { kernel, params, .. } = &self.program.steps[0];
        self.gpu.choose(kernel.name, params, candidate);
        // A driver that refuses a shader makes loading panic.
        let load = AssertUnwindSafe(|| self.backend.load(&self.arena, &self.program));
        let loaded = catch_unwind(load).map_err(|_| "the driver refuses it")?.map_err(|e| e.to_string())?;
        for (seed, tensor) in self.reads.iter().enumerate().filter(|_| first.is_none()) {
            self.backend.write(*tensor, &values(seed, tensor.len()));
        }
        for tensor in &self.writes {
            self.backend.write(*tensor, &vec![0.0; tensor.len()]);
        }
        self.backend.run(&[(loaded, 1)]).map_err(|e| e.to_string())?;
        let outputs = self.backend.read(&self.writes).map_err(|e| e.to_string())?;
        let first = first.get_or_insert_with(|| outputs.clone());
        let off = first.iter().zip(&outputs).map(|(a, b)| difference(a, b)).fold(0.0, f64::max);
        // NaN is no small difference.
        if off <= TOLERANCE { Ok(loaded) } else { Err(format!("its results are {off:.1e} off")) }
    }

    /// Seconds of a replay among many.
    fn sample(&mut self, loaded: Loaded) -> Result<f64> {
        let once = self.time(loaded, 1)?;
        let replays = ((SAMPLE / once) as usize).clamp(1, MOST_REPLAYS);
        if replays == 1 {
            return Ok(once);
        }
        Ok(self.time(loaded, replays)? / replays as f64)
    }

    fn time(&mut self, loaded: Loaded, replays: usize) -> Result<f64> {
        let word = Tensor::new(self.writes[0].buffer, self.writes[0].offset, &[1]);
        let start = Instant::now();
        self.backend.run(&[(loaded, replays)])?;
        // A word is read to wait for the device.
        self.backend.read_one(word)?;
        Ok(start.elapsed().as_secs_f64().max(1e-9))
    }
}

/// Numbers in [-1, 1) without a pattern; fast, since there may be millions.
fn values(seed: usize, len: usize) -> Vec<f32> {
    let number = |i: usize| {
        let mixed = (i as u32).wrapping_add(7919 * (1 + seed as u32)).wrapping_mul(0x9e37_79b9);
        (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b) as i32 as f32 / (1u32 << 31) as f32
    };
    (0..len).map(number).collect()
}

/// |a - b| / |a|, lengths of vectors.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let sum = |terms: &mut dyn Iterator<Item = f64>| terms.map(|t| t * t).sum::<f64>().sqrt();
    let off = sum(&mut a.iter().zip(b).map(|(a, b)| (a - b) as f64));
    if off == 0.0 { 0.0 } else { off / sum(&mut a.iter().map(|&a| a as f64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spread_and_differ_by_seed() {
        let (a, b) = (values(0, 10_000), values(1, 10_000));
        let mean = a.iter().sum::<f32>() / 10_000.0;
        let square = a.iter().map(|v| v * v).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.03 && (square - 1.0 / 3.0).abs() < 0.02, "{mean} {square}");
        assert!(a.iter().all(|v| (-1.0..=1.0).contains(v)) && a != b);
    }

    #[test]
    fn a_difference_is_a_share_of_the_whole() {
        assert_eq!(difference(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((difference(&[3.0, 4.0], &[3.0, 4.5]) - 0.1).abs() < 1e-9);
        assert_eq!(difference(&[0.0], &[0.0]), 0.0);
        assert!(difference(&[0.0], &[1.0]) > TOLERANCE);
        assert!(difference(&[1.0], &[f32::NAN]).is_nan());
    }
}
