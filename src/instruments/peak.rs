//! What a device reaches on the simplest programs, by the kernels of `shaders/probe.wgsl`: the roof that other kernels
//! are held against.
//!
//! A dispatch is taken to last as long as an empty one, plus its work at the device's rate. All three are measured by
//! the host's clock over many dispatches handed over at once, each of which waits for the one before.

use std::time::Instant;

use crate::arena::Arena;
use crate::backend::Device;
use crate::error::Result;
use crate::kernel::Cost;
use crate::kernels::{fill, probe};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Bytes of each of the two tensors that are copied: larger than the caches, and what every adapter can bind.
const COPIED: usize = 128 << 20;
/// Empty dispatches in a program.
const EMPTY: usize = 256;
/// More replays than any probe needs.
const MOST_REPLAYS: usize = 1 << 20;
/// Measurements of each, of which the best counts: noise only adds.
const MEASUREMENTS: usize = 12;

/// Elements and rounds of the multiply-adds that are tried first: enough rounds that what surrounds them takes no time.
const ELEMENTS: usize = 1 << 14;
const ROUNDS: usize = 16;
/// More elements are of no use: several for each lane of the largest GPUs.
const MOST_ELEMENTS: usize = 1 << 20;

/// Seconds that one measurement takes at least; a dispatch of multiply-adds takes a fifth of it. Long against the way
/// to a GPU and back. The CPU device is measured in moments short enough that some go by undisturbed on a machine that
/// does other things too.
fn measurement(device: &Device) -> f64 {
    match device {
        Device::Gpu(_) => 0.01,
        Device::Cpu(_) => 0.001,
    }
}

/// The roof: no dispatch of this device is expected to do better.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Peak {
    /// Floating-point operations a second, a multiply-add counted as two.
    pub flops_per_second: f64,
    /// Bytes read and written a second, from memory that no cache holds.
    pub bytes_per_second: f64,
    /// Seconds of a dispatch that does nothing and waits for the one before.
    pub empty_dispatch: f64,
}

impl Peak {
    /// Seconds that a dispatch of this work takes at least, beside [`empty_dispatch`](Peak::empty_dispatch): arithmetic
    /// and memory at once, whichever takes longer.
    pub fn seconds(&self, cost: Cost) -> f64 {
        (cost.flops as f64 / self.flops_per_second).max(cost.bytes as f64 / self.bytes_per_second)
    }
}

/// Measures the device, in about a second. Errors: no room for 256 MiB, the device is lost.
pub fn measure(device: &Device) -> Result<Peak> {
    let empty_dispatch = seconds(device, 1, |r, [_, y]| (0..EMPTY).for_each(|_| probe::empty(r, y)))? / EMPTY as f64;
    let own = |seconds: f64| (seconds - empty_dispatch).max(seconds / 2.0);
    let words = COPIED.min(device.largest_binding()) / 4;
    let copy = seconds(device, words, |r, [x, y]| probe::copy(r, x, y))?;
    let chains = |[elements, rounds]: [usize; 2]| {
        let seconds = seconds(device, elements, |r, [x, y]| probe::multiply_add(r, x, y, rounds))?;
        Ok(probe::flops(elements, rounds) as f64 / own(seconds))
    };
    let enough = chains([ELEMENTS, ROUNDS])? * measurement(device) / 5.0 / probe::flops(1, 1) as f64;
    let elements = ((enough / ROUNDS as f64) as usize).clamp(ELEMENTS, MOST_ELEMENTS);
    let rounds = ((enough / elements as f64) as usize).max(ROUNDS);
    Ok(Peak {
        flops_per_second: chains([elements, rounds])?,
        bytes_per_second: 8.0 * words as f64 / own(copy),
        empty_dispatch,
    })
}

/// Seconds of a replay of what is recorded on two tensors of `words`, whose elements are slightly below 1.
fn seconds(device: &Device, words: usize, record: impl FnOnce(&mut Recorder, [Tensor; 2])) -> Result<f64> {
    let mut arena = Arena::new();
    let tensors = ["x", "y"].map(|name| arena.tensor(name, &[words]));
    // Written once, since memory that never was may have no place yet.
    let mut r = Recorder::new(&mut arena);
    for tensor in tensors {
        fill::forward(&mut r, tensor, 1.0 - 1.0 / 1024.0);
    }
    let fill = r.finish("fill");
    let mut r = Recorder::new(&mut arena);
    record(&mut r, tensors);
    let probe = r.finish("probe");
    let mut backend = device.backend();
    let fill = backend.load(&arena, &fill)?;
    let probe = backend.load(&arena, &probe)?;
    let word = Tensor::new(tensors[1].buffer, 0, &[1]);
    backend.run(&[(fill, 1), (probe, 1)])?;
    let mut time = |replays: usize| -> Result<f64> {
        backend.read_one(word)?;
        let start = Instant::now();
        backend.run(&[(probe, replays)])?;
        backend.read_one(word)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let mut best = |replays: usize, measurements: usize| {
        (0..measurements).try_fold(f64::INFINITY, |best: f64, _| Ok(best.min(time(replays)?)))
    };
    // The way to the device and back is none of the probe's.
    let way = best(0, MEASUREMENTS)?;
    let measurement = measurement(device);
    let mut replays = 1;
    loop {
        let seconds = best(replays, 3)? - way;
        if seconds >= measurement || replays == MOST_REPLAYS {
            break;
        }
        let factor = (1.2 * measurement / seconds.max(1e-9)).min(16.0);
        replays = ((replays as f64 * factor).ceil() as usize).min(MOST_REPLAYS);
    }
    Ok((best(replays, MEASUREMENTS)? - way).max(1e-9) / replays as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_as_long_as_the_slower_of_arithmetic_and_memory() {
        let peak = Peak { flops_per_second: 100.0, bytes_per_second: 10.0, empty_dispatch: 1.0 };
        assert_eq!(peak.seconds(Cost { flops: 200, bytes: 10 }), 2.0);
        assert_eq!(peak.seconds(Cost { flops: 200, bytes: 50 }), 5.0);
    }
}
