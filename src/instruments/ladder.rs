//! Climbs a ladder: every rung checked, timed and held against what the device can do.

use std::sync::Arc;
use std::time::Instant;

use crate::arena::Arena;
use crate::backend::cpu::Cpu;
use crate::backend::gpu::{Form, Gpu};
use crate::backend::{Backend, Device, Loaded};
use crate::cases::uniform;
use crate::check::case;
use crate::check::close::compare;
use crate::error::Result;
use crate::instruments::peak::Peak;
use crate::kernel::Cost;
use crate::kernels::ladder::{Ladder, Rung};
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;

/// Seconds that a sample takes at least.
const SAMPLE: f64 = 0.05;
/// Samples of a rung, of which the best counts: noise only adds.
const SAMPLES: usize = 5;
/// Seconds after which a slow rung gets no further sample.
const BUDGET: f64 = 1.0;

/// A ladder as one device climbed it.
pub struct Climb {
    /// The operation and its rungs.
    pub ladder: &'static Ladder,
    /// In the order of [`Ladder::dimensions`].
    pub size: Vec<usize>,
    /// The device, in words.
    pub device: String,
    /// It is an adapter that runs on a CPU.
    pub is_software: bool,
    /// What rates are shares of, measured on the same device.
    pub peak: Peak,
    /// In the order of the ladder, the production kernel in its forms last.
    pub rungs: Vec<Outcome>,
}

/// What became of a rung.
pub struct Outcome {
    /// The rung's name; the production kernel's with its form.
    pub name: String,
    /// What it does that the one before does not, in a few words.
    pub adds: &'static str,
    /// The kernels it dispatches, in their order.
    pub kernels: Vec<&'static str>,
    /// The files of their portable or software forms, below `shaders/`; none on the CPU device.
    pub shaders: Vec<&'static str>,
    /// Models on this device use it.
    pub is_used: bool,
    /// Its time, or why it has none.
    pub verdict: Verdict,
}

/// What a rung came to. Only one that agrees with the reference is timed.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It agrees with the reference; seconds it takes.
    Seconds(f64),
    /// Why it was not run.
    Skipped(String),
    /// How it disagrees with the reference. It was not timed.
    Wrong(String),
}

/// A rung on a device.
struct Entry {
    rung: &'static Rung,
    name: String,
    adds: &'static str,
    device: Device,
    is_used: bool,
}

/// The size a ladder is climbed at on a device unless another is asked for.
pub fn usual_size(ladder: &Ladder, device: &Device) -> &'static [usize] {
    match device {
        Device::Cpu(_) => ladder.sizes[0],
        Device::Gpu(gpu) => match gpu.info.device_type {
            wgpu::DeviceType::Cpu => ladder.sizes[0],
            wgpu::DeviceType::IntegratedGpu => ladder.sizes[1],
            _ => ladder.sizes[2],
        },
    }
}

/// How many rungs [`climb`] will take.
pub fn rungs(ladder: &'static Ladder, device: &Device) -> usize {
    entries(ladder, device, ladder.sizes[0]).len()
}

/// Climbs the ladder at a size; `progress` hears the name of each rung before it is taken. On an adapter these are the
/// rungs' shaders and the production kernel in each of its forms, on the CPU device the production kernel's reference
/// and accelerated form. Errors: a size that is none, no memory, a lost device.
pub fn climb(
    ladder: &'static Ladder,
    device: &Device,
    size: &[usize],
    peak: Peak,
    progress: &mut dyn FnMut(&str),
) -> Result<Climb> {
    ladder.check(size)?;
    let inputs = inputs(ladder, size);
    // Tests hold the accelerated form against the reference, which would take minutes at a GPU's sizes.
    let mut truth = Prepared::new(ladder, &ladder.production, &Device::Cpu(Cpu::Accelerated), size, &inputs)?;
    truth.backend.run(&[(truth.loaded, 1)])?;
    let want = truth.backend.read_one(truth.result)?;
    let mut outcomes = Vec::new();
    for entry in entries(ladder, device, size) {
        progress(&entry.name);
        outcomes.push(entry.take(ladder, size, &inputs, &want)?);
    }
    let is_software = matches!(device, Device::Gpu(gpu) if gpu.info.device_type == wgpu::DeviceType::Cpu);
    let device = device.description();
    Ok(Climb { ladder, size: size.into(), device, is_software, peak, rungs: outcomes })
}

/// What its rungs read, drawn.
pub(super) fn inputs(ladder: &Ladder, size: &[usize]) -> Vec<Vec<f32>> {
    let shapes = (ladder.inputs)(size).expect("a size that was checked");
    let [low, high] = ladder.range;
    (1..).zip(&shapes).map(|(seed, shape)| uniform(seed, shape.iter().product(), low, high)).collect()
}

fn entries(ladder: &'static Ladder, device: &Device, size: &[usize]) -> Vec<Entry> {
    let production = &ladder.production;
    let of_production = |form: &str, adds: &'static str, device: Device, is_used: bool| Entry {
        rung: production,
        name: if form.is_empty() { production.name.into() } else { format!("{}, {form}", production.name) },
        adds,
        device,
        is_used,
    };
    let gpu = match device {
        Device::Gpu(gpu) => gpu,
        Device::Cpu(_) => {
            let (program, ..) = record(ladder, production, size);
            let mut entries = vec![of_production(
                "reference",
                "the formula in f64, on one thread",
                Device::Cpu(Cpu::Reference),
                false,
            )];
            if program.steps.iter().any(|step| step.kernel.accelerated.is_some()) {
                entries.push(of_production(
                    "accelerated",
                    "all cores, vectorised",
                    Device::Cpu(Cpu::Accelerated),
                    true,
                ));
            }
            return entries;
        }
    };
    let own = |rung: &'static Rung| Entry {
        rung,
        name: rung.name.into(),
        adds: rung.adds,
        device: device.clone(),
        is_used: false,
    };
    let mut entries: Vec<Entry> = ladder.rungs.iter().map(own).collect();
    let (program, ..) = record(ladder, production, size);
    if program.steps.iter().any(|step| step.kernel.software.is_some()) {
        let in_form = |form: Form| Device::Gpu(Arc::new(Gpu::in_form(gpu, form)));
        let software = gpu.runs_software_forms();
        entries.push(of_production("portable", production.adds, in_form(Form::Portable), !software));
        entries.push(of_production("software", ladder.software, in_form(Form::Software), software));
    } else {
        entries.push(of_production("", production.adds, device.clone(), true));
    }
    entries
}

/// The rung's program at a size, with its inputs and its result.
fn record(ladder: &Ladder, rung: &Rung, size: &[usize]) -> (Program, Arena, Vec<Tensor>, Tensor) {
    let mut arena = Arena::new();
    let shapes = (ladder.inputs)(size).expect("a size that was checked");
    let inputs: Vec<_> = shapes.iter().map(|shape| arena.tensor("input", shape)).collect();
    let mut recorder = Recorder::new(&mut arena);
    let result = (rung.record)(&mut recorder, size, &inputs);
    (recorder.finish(rung.name), arena, inputs, result)
}

/// A rung's program on a device, its inputs written.
pub(super) struct Prepared {
    backend: Backend,
    loaded: Loaded,
    result: Tensor,
}

impl Prepared {
    pub(super) fn new(
        ladder: &Ladder,
        rung: &Rung,
        device: &Device,
        size: &[usize],
        inputs: &[Vec<f32>],
    ) -> Result<Prepared> {
        let (program, arena, tensors, result) = record(ladder, rung, size);
        let mut backend = device.backend();
        let loaded = backend.load(&arena, &program)?;
        for (tensor, values) in tensors.iter().zip(inputs) {
            backend.write(*tensor, values);
        }
        Ok(Prepared { backend, loaded, result })
    }

    /// Runs it and waits for the device.
    pub(super) fn take(&mut self, replays: usize) -> Result<()> {
        self.backend.run(&[(self.loaded, replays)])?;
        // A word is read to wait for the device.
        let word = Tensor::new(self.result.buffer, self.result.offset, &[1]);
        self.backend.read_one(word).map(|_| ())
    }

    /// Seconds of a replay: the best of several samples, each of as many replays as last long enough.
    fn seconds(&mut self) -> Result<f64> {
        let mut sample = |replays: usize| -> Result<f64> {
            let start = Instant::now();
            self.take(replays)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let start = Instant::now();
        let mut replays = 1;
        let mut seconds = sample(replays)?;
        while seconds < SAMPLE {
            let wanted = 1.2 * SAMPLE / seconds.max(1e-9) * replays as f64;
            replays = (wanted.ceil() as usize).clamp(replays + 1, 16 * replays);
            seconds = sample(replays)?;
        }
        for _ in 1..SAMPLES {
            if start.elapsed().as_secs_f64() > BUDGET {
                break;
            }
            seconds = seconds.min(sample(replays)?);
        }
        Ok(seconds / replays as f64)
    }
}

impl Entry {
    fn take(self, ladder: &Ladder, size: &[usize], inputs: &[Vec<f32>], want: &[f32]) -> Result<Outcome> {
        let (program, ..) = record(ladder, self.rung, size);
        let steps = program.steps.iter();
        let shaders = steps.clone().filter_map(|step| self.device.shader(step)).map(|s| s.source.file).collect();
        let kernels = steps.map(|step| step.kernel.name).collect();
        let verdict = self.judge(&program, ladder, size, inputs, want)?;
        Ok(Outcome { name: self.name, adds: self.adds, kernels, shaders, is_used: self.is_used, verdict })
    }

    fn judge(
        &self,
        program: &Program,
        ladder: &Ladder,
        size: &[usize],
        inputs: &[Vec<f32>],
        want: &[f32],
    ) -> Result<Verdict> {
        if let Some(why) = (self.rung.refuses)(size) {
            return Ok(Verdict::Skipped(why.into()));
        }
        for step in &program.steps {
            if let Some(what) = self.device.lacks(step.kernel) {
                return Ok(Verdict::Skipped(format!("the adapter has no {what}")));
            }
            // The production kernels' cases are for `elbo check`: here they run at one size.
            let is_rung = step.kernel.shader.source.file.starts_with("ladder/");
            for case in (step.kernel.cases)().iter().filter(|_| is_rung) {
                if let Err(what) = case::check(&self.device, step.kernel, case) {
                    return Ok(Verdict::Wrong(what));
                }
            }
        }
        let mut prepared = Prepared::new(ladder, self.rung, &self.device, size, inputs)?;
        prepared.backend.run(&[(prepared.loaded, 1)])?;
        let got = prepared.backend.read_one(prepared.result)?;
        if let Err(mismatch) = compare(&got, want, (ladder.tolerance)(size)) {
            return Ok(Verdict::Wrong(format!("at this size {mismatch}")));
        }
        prepared.seconds().map(Verdict::Seconds)
    }
}

impl Outcome {
    /// Seconds of one run, the best of several samples; `None` where it was skipped or wrong.
    pub fn seconds(&self) -> Option<f64> {
        match self.verdict {
            Verdict::Seconds(seconds) => Some(seconds),
            _ => None,
        }
    }
}

impl Climb {
    /// The least flops and bytes at this size, the same for all rungs.
    pub fn cost(&self) -> Cost {
        (self.ladder.cost)(&self.size)
    }

    /// Floating-point operations or, where memory bounds the ladder, bytes, of the least work.
    fn work(&self) -> f64 {
        let Cost { flops, bytes } = self.cost();
        (if self.ladder.bound_by_memory { bytes } else { flops }) as f64
    }

    /// GFLOP/s or GB/s, as `elbo ladder` prints them.
    pub fn unit(&self) -> &'static str {
        if self.ladder.bound_by_memory { "GB/s" } else { "GFLOP/s" }
    }

    /// The device's peak in [`unit`](Climb::unit)s.
    pub fn peak_rate(&self) -> f64 {
        let Peak { flops_per_second, bytes_per_second, .. } = self.peak;
        (if self.ladder.bound_by_memory { bytes_per_second } else { flops_per_second }) / 1e9
    }

    /// A rung's rate in [`unit`](Climb::unit)s, where it was timed.
    pub fn rate(&self, rung: usize) -> Option<f64> {
        self.rungs[rung].seconds().map(|seconds| self.work() / seconds / 1e9)
    }

    /// How many times as fast as the timed rung before it, and as the first timed one.
    pub fn speed_ups(&self, rung: usize) -> Option<[f64; 2]> {
        let seconds = self.rungs[rung].seconds()?;
        let mut before = self.rungs[..rung].iter().filter_map(Outcome::seconds);
        let first = before.next()?;
        Some([before.next_back().unwrap_or(first) / seconds, first / seconds])
    }

    /// Whether a rung disagrees with the reference.
    pub fn is_wrong(&self) -> bool {
        self.rungs.iter().any(|rung| matches!(rung.verdict, Verdict::Wrong(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::ladder::{LADDERS, matmul};

    const PEAK: Peak = Peak { flops_per_second: 1e9, bytes_per_second: 1e9, empty_dispatch: 1e-6 };

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome { name: "rung".into(), adds: "", kernels: vec![], shaders: vec![], is_used: false, verdict }
    }

    #[test]
    fn rates_and_speed_ups_pass_over_rungs_that_were_not_timed() {
        let verdicts = [
            Verdict::Seconds(8.0),
            Verdict::Wrong("so".into()),
            Verdict::Seconds(2.0),
            Verdict::Skipped("so".into()),
            Verdict::Seconds(4.0),
        ];
        let climb = Climb {
            ladder: &matmul::LADDER,
            size: vec![1000, 1000, 1000],
            device: "none".into(),
            is_software: false,
            peak: PEAK,
            rungs: verdicts.map(outcome).into(),
        };
        assert_eq!([0, 1, 2, 3, 4].map(|i| climb.rate(i)), [Some(0.25), None, Some(1.0), None, Some(0.5)]);
        assert_eq!(climb.speed_ups(0), None);
        assert_eq!(climb.speed_ups(2), Some([4.0, 4.0]));
        assert_eq!(climb.speed_ups(3), None);
        assert_eq!(climb.speed_ups(4), Some([0.5, 2.0]));
        assert!(climb.is_wrong() && climb.peak_rate() == 1.0);
    }

    /// On the CPU device: the reference and, where there is one, the accelerated form, which come to the same result.
    #[test]
    fn the_cpu_climbs_what_it_has() {
        for (ladder, size) in LADDERS.into_iter().zip([&[9, 8, 7][..], &[2, 5, 3, 4, 3, 1, 1], &[1001], &[50, 3]]) {
            let climb = climb(ladder, &Device::Cpu(Cpu::Accelerated), size, PEAK, &mut |_| {}).unwrap();
            assert!(climb.rungs.iter().all(|rung| rung.seconds().is_some_and(|s| s > 0.0)), "{}", ladder.name);
            assert!(climb.rungs.iter().all(|rung| rung.kernels[0] == ladder.production.name));
        }
    }

    #[test]
    fn a_rung_that_is_wrong_is_not_timed() {
        let ladder = &matmul::LADDER;
        let (size, inputs) = ([3, 2, 3], [vec![1.0; 6], vec![1.0; 6]]);
        let entry = || entries(ladder, &Device::Cpu(Cpu::Reference), &size).remove(0);
        let right = entry().take(ladder, &size, &inputs, &[2.0; 9]).unwrap();
        assert!(right.seconds().is_some(), "{:?}", right.verdict);
        let mut want = [2.0; 9];
        want[8] = 2.1;
        let wrong = entry().take(ladder, &size, &inputs, &want).unwrap();
        let Verdict::Wrong(what) = &wrong.verdict else { panic!("{:?}", wrong.verdict) };
        assert!(what.contains("worst at 8") && wrong.seconds().is_none(), "{what}");
    }
}
