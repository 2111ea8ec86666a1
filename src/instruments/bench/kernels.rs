//! Single operations: those that every framework has, at the sizes of models and beyond, and this project's kernels on
//! the larger ones of their own cases.

use super::windows::{Spread, Windows};
use super::{Bench, Item};
use crate::arena::Arena;
use crate::backend::Device;
use crate::cases::{Case, uniform};
use crate::check::case::{self, Prepared};
use crate::error::{Error, Result};
use crate::instruments::ladder;
use crate::kernel::Kernel;
use crate::kernels::adam::{self, Adam};
use crate::kernels::clock::Clock;
use crate::kernels::ladder::{Ladder, batch_norm, conv2d, matmul, reduce};
use crate::kernels::{ALL, clock};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Names of operations, the ladders whose production kernels do them, and the sizes they are timed at, the same on
/// every device and for every peer: the products of `mnist-mlp` and a large one; a first layer, a narrow and two wider
/// convolutions; a sum, and mean and variance of each column, over more than caches hold.
const OPERATIONS: [(&str, &Ladder, &[usize]); 9] = [
    ("matmul", &matmul::LADDER, &[128, 784, 400]),
    ("matmul", &matmul::LADDER, &[4096, 784, 400]),
    ("matmul", &matmul::LADDER, &[2048, 2048, 2048]),
    ("conv2d", &conv2d::LADDER, &[128, 28, 1, 16, 4, 2, 0]),
    ("conv2d", &conv2d::LADDER, &[128, 28, 8, 8, 3, 1, 1]),
    ("conv2d", &conv2d::LADDER, &[128, 14, 32, 32, 3, 1, 1]),
    ("conv2d", &conv2d::LADDER, &[128, 28, 64, 64, 3, 1, 1]),
    ("reduce", &reduce::LADDER, &[1 << 25]),
    ("column_moments", &batch_norm::LADDER, &[401_408, 64]),
];
/// Parameters of the update that is timed.
const PARAMETERS: usize = 1 << 22;

/// A case is large enough where it computes or moves at least this much: below, the time is that of a dispatch.
const LEAST_FLOPS: u64 = 1_000_000;
const LEAST_BYTES: u64 = 1_000_000;
/// Windows of kernels are this part of the others': there are many.
const SHORTER: f64 = 0.1;

/// Every operation, then every kernel on the cases that are large enough.
pub fn items(bench: &Bench) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    for (operation, ladder, size) in OPERATIONS {
        let numbers: Vec<String> = size.iter().map(usize::to_string).collect();
        let name = format!("{operation} {}", numbers.join(","));
        items.push(Item::new(name.clone(), move || {
            let inputs = ladder::inputs(ladder, size);
            let mut prepared = ladder::Prepared::new(ladder, &ladder.production, &bench.device, size, &inputs)?;
            let time = bench.windows.measure(&mut |n| prepared.take(n))?;
            Ok(vec![bench.origin.row(&name, None, "operation", time, &bench.remark)])
        }));
    }
    let name = format!("adam {PARAMETERS}");
    items.push(Item::new(name.clone(), move || {
        Ok(vec![bench.origin.row(&name, None, "operation", update(bench)?, &bench.remark)])
    }));
    for (kernel, case) in cases(&bench.device) {
        let name = format!("{} [{}]", kernel.name, case.label);
        items.push(Item::new(name.clone(), move || {
            let Prepared { mut backend, program, writes } = case::prepare(&bench.device, kernel, &case)?;
            let word = Tensor::new(writes[0].buffer, writes[0].offset, &[1]);
            let windows = Windows { seconds: SHORTER * bench.windows.seconds, ..bench.windows };
            let time = windows.measure(&mut |n| {
                backend.run(&[(program, n)])?;
                backend.read_one(word).map(|_| ())
            })?;
            Ok(vec![bench.origin.row(&name, None, "kernel", time, &bench.remark)])
        }));
    }
    items
}

/// The cases that are large enough, of the kernels that models run and this device has.
fn cases(device: &Device) -> Vec<(&'static Kernel, Case)> {
    let is_timed = |kernel: &&'static Kernel| {
        let file = kernel.shader.source.file;
        !file.starts_with("ladder/") && !file.starts_with("probe") && device.lacks(kernel).is_none()
    };
    let large = |kernel: &Kernel, case: &Case| {
        let cost = (kernel.cost)(&case.params);
        cost.flops >= LEAST_FLOPS || cost.bytes >= LEAST_BYTES
    };
    let kernels = ALL.iter().copied().filter(is_timed);
    let of_kernel = |kernel: &'static Kernel| {
        (kernel.cases)().into_iter().filter(move |case| large(kernel, case)).map(move |case| (kernel, case))
    };
    kernels.flat_map(of_kernel).collect()
}

/// Adam over [`PARAMETERS`], as at the end of a step.
fn update(bench: &Bench) -> Result<Spread> {
    let mut arena = Arena::new();
    let [grad, p, m, v] = ["grad", "p", "m", "v"].map(|name| arena.tensor(name, &[PARAMETERS]));
    let unit = Clock::unit();
    let clock = clock::Clock::tensor(&mut arena, "clock", unit.rows.len());
    let mut r = Recorder::new(&mut arena);
    let adam = Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, decoupled: false };
    adam::forward(&mut r, adam, grad, clock, [p, m, v]);
    let program = r.finish("adam");
    let mut backend = bench.device.backend();
    let program = backend.load(&arena, &program)?;
    backend.write_words(clock, &unit.words());
    backend.write(grad, &uniform(1, PARAMETERS, -1.0, 1.0));
    backend.write(p, &uniform(2, PARAMETERS, -1.0, 1.0));
    let word = Tensor::new(p.buffer, 0, &[1]);
    bench.windows.measure(&mut |n| {
        backend.run(&[(program, n)])?;
        backend.read_one(word).map(|_| ())?;
        Ok::<(), Error>(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;

    #[test]
    fn operations_have_sizes_their_ladders_take() {
        for (_, ladder, size) in OPERATIONS {
            ladder.check(size).unwrap();
        }
    }

    /// Matrix products and batch norms are among them, a tick of the clock and the rungs of ladders are not.
    #[test]
    fn large_cases_are_found() {
        let cases = cases(&Device::Cpu(Cpu::Accelerated));
        for name in ["matmul.forward", "batch_norm.forward"] {
            assert!(cases.iter().any(|(kernel, _)| kernel.name == name), "{name}");
        }
        assert!(cases.iter().all(|(kernel, _)| kernel.name != "clock.tick" && !kernel.name.contains("_1_")));
    }
}
