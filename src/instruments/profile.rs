//! Where the time of a training step goes: each dispatch timed on the device, held against the device's measured peak.

use std::time::Instant;

use serde::Serialize;

use super::peak::{self, Peak};
use super::plan::{Dispatch, plan};
use super::subject::{REPLAYS, Subject};
use crate::backend::{Backend, Device, Loaded, TimingClock};
use crate::error::Result;
use crate::kernel::Cost;
use crate::kernels::probe;
use crate::program::{Program, Recorder};

/// Replays of which each dispatch's time is the median: at least, at most, and as many as fit in some seconds.
const LEAST_SAMPLES: usize = 3;
const MOST_SAMPLES: usize = 5 * REPLAYS;
const SAMPLING: f64 = 2.0;
/// Seconds that a measurement of the whole step should take at least, and measurements of which the median counts.
const MEASUREMENT: f64 = 0.2;
const MEASUREMENTS: usize = 5;
/// A clock whose sum is this many times too long or too short for the step is not to be trusted.
const CREDIBLE: f64 = 3.0;

/// A dispatch and its time.
#[derive(Clone, Debug, Serialize)]
pub struct Timed {
    /// Kernel, tensors and grid, and the least it does.
    #[serde(flatten)]
    pub dispatch: Dispatch,
    /// Seconds, the median over the replays.
    pub seconds: f64,
    /// Of the sum of all dispatches, 0 to 100.
    pub percent: f64,
    /// Its rates, of the least work and the median time.
    #[serde(flatten)]
    pub reached: Reached,
}

/// What some work reached in some time, and which part of the peak that is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reached {
    /// The least operations by the time; work done twice does not count.
    pub flops_per_second: f64,
    /// The least bytes by the time.
    pub bytes_per_second: f64,
    /// Part of the peak's operations a second, from 0 to 1.
    pub flops_share: f64,
    /// Likewise of the peak's bytes a second; above 1 where a cache held them.
    pub bytes_share: f64,
    /// Which of the two bounds this work by the roofline.
    pub bound: Bound,
}

/// What the work would wait for at the peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Its operations, which are the larger share of their peak.
    Arithmetic,
    /// Its bytes; also where it does nothing at all.
    Memory,
}

impl Reached {
    fn new(cost: Cost, seconds: f64, peak: &Peak) -> Reached {
        // A clock may tick too slowly for a short dispatch.
        let seconds = seconds.max(1e-9);
        let (flops, bytes) = (cost.flops as f64 / seconds, cost.bytes as f64 / seconds);
        let (flops_share, bytes_share) = (flops / peak.flops_per_second, bytes / peak.bytes_per_second);
        let bound = if flops_share > bytes_share { Bound::Arithmetic } else { Bound::Memory };
        Reached { flops_per_second: flops, bytes_per_second: bytes, flops_share, bytes_share, bound }
    }

    /// The share of the peak that bounds the work.
    pub fn share(&self) -> f64 {
        self.flops_share.max(self.bytes_share)
    }
}

/// All dispatches of one kernel together.
#[derive(Clone, Debug, Serialize)]
pub struct OfKernel {
    /// `stem.entry`, e.g. `matmul.forward`.
    pub kernel: &'static str,
    /// Dispatches of it in a step.
    pub dispatches: usize,
    /// Sum of their medians.
    pub seconds: f64,
    /// Of the sum of all dispatches, 0 to 100.
    pub percent: f64,
    /// Operations a byte.
    pub intensity: f64,
    /// The rates of all its work in all its time.
    #[serde(flatten)]
    pub reached: Reached,
}

/// A step on a device, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// The roof, measured just before.
    pub peak: Peak,
    /// What the dispatches are timed by.
    pub clock: TimingClock,
    /// Why the adapter's timestamps are not what they are timed by, where it has some.
    pub distrust: Option<String>,
    /// Replays that the medians are of.
    pub replays: usize,
    /// In the order of the step.
    pub dispatches: Vec<Timed>,
    /// The slowest first.
    pub kernels: Vec<OfKernel>,
    /// Seconds of all dispatches, each timed alone.
    pub sum: f64,
    /// Seconds of the step as training runs it, many replays a submission.
    pub step: f64,
    /// Seconds that the step would take if each dispatch were at the peak: an empty dispatch, and its arithmetic or its
    /// memory traffic, whichever takes longer.
    pub floor: f64,
}

/// Profiles the subject's step. `progress` hears what is being done, and how many of how many parts are. Errors: a
/// device that is lost or has no room.
pub fn profile(subject: &Subject, device: &Device, progress: &mut dyn FnMut(&str, usize, usize)) -> Result<Profile> {
    let parts = MEASUREMENTS + 2;
    progress("the device's peak", 0, parts);
    let peak = peak::measure(device)?;
    let mut backend = device.backend();
    let program = subject.load(&mut backend)?;
    progress("each dispatch", 1, parts);
    let (mut samples, mut clock) = sample(subject, &mut backend, program, Backend::time)?;
    let step = step_seconds(subject, &mut backend, program, &mut |done| progress("the step", 2 + done, parts))?;

    let costs: Vec<Cost> = subject.step.steps.iter().map(|step| step.cost()).collect();
    let empty = costs.len() as f64 * peak.empty_dispatch;
    let distrust = distrust(clock, samples.iter().map(|s| median(s)).sum(), step, empty);
    if distrust.is_some() {
        (samples, clock) = sample(subject, &mut backend, program, Backend::time_by_wall)?;
    }
    let seconds: Vec<f64> = samples.iter().map(|s| median(s)).collect();
    let sum: f64 = seconds.iter().sum();
    let percent = |seconds: f64| 100.0 * seconds / sum;
    let timed = |(dispatch, (&cost, &seconds)): (Dispatch, (&Cost, &f64))| Timed {
        dispatch,
        seconds,
        percent: percent(seconds),
        reached: Reached::new(cost, seconds, &peak),
    };
    let dispatches: Vec<Timed> =
        plan(subject, device).dispatches.into_iter().zip(costs.iter().zip(&seconds)).map(timed).collect();
    Ok(Profile {
        clock,
        distrust,
        replays: samples[0].len(),
        kernels: by_kernel(&dispatches, &peak, percent),
        dispatches,
        sum,
        step,
        floor: empty + costs.iter().map(|&cost| peak.seconds(cost)).sum::<f64>(),
        peak,
    })
}

/// Times of each dispatch in several replays, and by which clock.
fn sample(
    subject: &Subject,
    backend: &mut Backend,
    program: Loaded,
    time: fn(&mut Backend, Loaded) -> Result<crate::backend::Timings>,
) -> Result<(Vec<Vec<f64>>, TimingClock)> {
    subject.write_inputs(backend);
    // The first replay pays for what drivers put off.
    time(backend, program)?;
    let mut samples = vec![Vec::new(); subject.step.steps.len()];
    let start = Instant::now();
    for replay in 1.. {
        if replay % REPLAYS == 0 {
            subject.write_inputs(backend);
        }
        let timings = time(backend, program)?;
        for (samples, seconds) in samples.iter_mut().zip(timings.seconds) {
            samples.push(seconds);
        }
        let is_enough = replay >= LEAST_SAMPLES && start.elapsed().as_secs_f64() > SAMPLING;
        if is_enough || replay == MOST_SAMPLES {
            return Ok((samples, timings.clock));
        }
    }
    unreachable!("the last replay returns")
}

/// Seconds of a step among many in a row, with its pictures and its clock starting over every few steps.
fn step_seconds(
    subject: &Subject,
    backend: &mut Backend,
    program: Loaded,
    progress: &mut dyn FnMut(usize),
) -> Result<f64> {
    let clock = subject.data.clock;
    let mut arena = subject.arena.clone();
    let start = arena.tensor("start of the clock", clock.shape());
    let mut r = Recorder::new(&mut arena);
    probe::copy(&mut r, clock, start);
    let keep = r.finish("keep the clock");
    let keep = backend.load(&arena, &keep)?;

    subject.write_inputs(backend);
    backend.run(&[(keep, 1)])?;
    let time = |backend: &mut Backend, program: Loaded, times: usize| -> Result<f64> {
        backend.read_one(start)?;
        let begin = Instant::now();
        backend.run(&[(program, times)])?;
        backend.read_one(start)?;
        Ok(begin.elapsed().as_secs_f64())
    };
    let estimate = time(backend, program, 2)? / 2.0;
    // As many steps as an epoch of the drawn pictures has, fewer where they are slow.
    let steps = ((MEASUREMENT / estimate) as usize).clamp(1, REPLAYS);
    let mut r = Recorder::new(&mut arena);
    probe::copy(&mut r, start, clock);
    let rewind = r.finish("rewind").steps;
    let epoch = Program {
        name: format!("{steps} steps"),
        steps: rewind.into_iter().chain((0..steps).flat_map(|_| subject.step.steps.clone())).collect(),
    };
    let epoch = backend.load(&arena, &epoch)?;
    let epochs = ((MEASUREMENT / time(backend, epoch, 1)?) as usize).max(1);
    let mut seconds = Vec::new();
    for done in 0..MEASUREMENTS {
        progress(done);
        seconds.push(time(backend, epoch, epochs)? / (epochs * steps) as f64);
    }
    Ok(median(&seconds))
}

/// Why a clock of the device cannot be right, if it cannot: the sum of its times and the step differ too much, even
/// when the gaps between dispatches, each as long as an empty one, are counted in.
fn distrust(clock: TimingClock, sum: f64, step: f64, empty: f64) -> Option<String> {
    let too_long = sum > CREDIBLE * step;
    let too_short = CREDIBLE * (sum + empty) < step;
    let is_distrusted = clock == TimingClock::Timestamps && (too_long || too_short);
    is_distrusted.then(|| {
        format!("the adapter's timestamps add up to {:.3} ms, while the step takes {:.3} ms", sum * 1e3, step * 1e3)
    })
}

fn by_kernel(dispatches: &[Timed], peak: &Peak, percent: impl Fn(f64) -> f64) -> Vec<OfKernel> {
    let mut names: Vec<&'static str> = dispatches.iter().map(|timed| timed.dispatch.kernel).collect();
    names.sort();
    names.dedup();
    let of_kernel = |kernel: &'static str| {
        let own = || dispatches.iter().filter(move |timed| timed.dispatch.kernel == kernel);
        let seconds = own().map(|timed| timed.seconds).sum();
        let cost = Cost {
            flops: own().map(|timed| timed.dispatch.flops).sum(),
            bytes: own().map(|timed| timed.dispatch.bytes).sum(),
        };
        OfKernel {
            kernel,
            dispatches: own().count(),
            seconds,
            percent: percent(seconds),
            intensity: cost.flops as f64 / cost.bytes.max(1) as f64,
            reached: Reached::new(cost, seconds, peak),
        }
    };
    let mut kernels: Vec<OfKernel> = names.into_iter().map(of_kernel).collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kernels
}

/// The upper one of two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

impl Profile {
    /// The step as a Chrome trace, for chrome://tracing and Perfetto: the layers, and below them the dispatches, one
    /// after the other. Only lengths are measured; where each starts follows from those before it. Times in
    /// microseconds.
    pub fn trace(&self, process: &str) -> serde_json::Value {
        let name = |what: &str, thread: usize, name: &str| serde_json::json!({ "name": what, "ph": "M", "pid": 1, "tid": thread, "args": { "name": name } });
        let mut events = vec![
            name("process_name", 0, process),
            name("thread_name", 1, "layers"),
            name("thread_name", 2, "dispatches"),
        ];
        let mut now = 0.0;
        for layer in self.dispatches.chunk_by(|a, b| a.dispatch.layer == b.dispatch.layer) {
            let start = now;
            for timed in layer {
                let Timed { dispatch, seconds, percent, reached } = timed;
                events.push(serde_json::json!({
                    "name": dispatch.kernel, "cat": dispatch.layer, "ph": "X", "pid": 1, "tid": 2,
                    "ts": 1e6 * now, "dur": 1e6 * seconds,
                    "args": {
                        "number": dispatch.number,
                        "form": dispatch.form,
                        "reads": dispatch.reads.iter().map(|o| o.to_string()).collect::<Vec<_>>(),
                        "writes": dispatch.writes.iter().map(|o| o.to_string()).collect::<Vec<_>>(),
                        "grid": dispatch.grid,
                        "workgroup": dispatch.workgroup,
                        "flops": dispatch.flops,
                        "bytes": dispatch.bytes,
                        "flops_per_second": reached.flops_per_second,
                        "bytes_per_second": reached.bytes_per_second,
                        "share_of_peak": reached.share(),
                        "percent_of_sum": percent,
                    },
                }));
                now += seconds;
            }
            events.push(serde_json::json!({
                "name": layer[0].dispatch.layer, "cat": "layer", "ph": "X", "pid": 1, "tid": 1,
                "ts": 1e6 * start, "dur": 1e6 * (now - start),
            }));
        }
        serde_json::json!({ "traceEvents": events, "displayTimeUnit": "ms" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAK: Peak = Peak { flops_per_second: 100.0, bytes_per_second: 10.0, empty_dispatch: 0.5 };

    #[test]
    fn the_roofline_says_what_bounds() {
        let dense = Reached::new(Cost { flops: 200, bytes: 10 }, 4.0, &PEAK);
        assert_eq!((dense.bound, dense.share(), dense.bytes_share), (Bound::Arithmetic, 0.5, 0.25));
        let thin = Reached::new(Cost { flops: 10, bytes: 10 }, 4.0, &PEAK);
        assert_eq!((thin.bound, thin.share(), thin.flops_share), (Bound::Memory, 0.25, 0.025));
    }

    #[test]
    fn a_clock_that_contradicts_the_step_is_distrusted() {
        let (timestamps, wall) = (TimingClock::Timestamps, TimingClock::Wall);
        assert_eq!(distrust(timestamps, 1.0, 1.1, 0.05), None);
        // Short dispatches: the step is mostly gaps.
        assert_eq!(distrust(timestamps, 0.1, 1.0, 0.9), None);
        assert!(distrust(timestamps, 0.1, 1.0, 0.05).unwrap().contains("timestamps"));
        assert!(distrust(timestamps, 10.0, 1.0, 0.05).is_some());
        assert_eq!(distrust(wall, 10.0, 1.0, 0.05), None);
    }

    #[test]
    fn the_median_is_no_outlier() {
        assert_eq!(median(&[5.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[100.0]), 100.0);
    }
}
