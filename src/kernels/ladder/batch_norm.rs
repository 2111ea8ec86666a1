//! The ladder of batch norm's statistics, `shaders/ladder/batch_norm_*.wgsl`. In production they are
//! `batch_norm.partials` and `batch_norm.statistics`, which also move the running statistics.

use bytemuck::{Pod, Zeroable};

use super::{Ladder, Rung, Single, source, takes_any};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Constant, Cost, Grid, Kernel, Shader, Source, params};
use crate::kernels::batch_norm::{self, EPS, Running};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// x is (R,C).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    r: u32,
    c: u32,
    eps: f32,
}

// ---- Kernels

const BINDINGS: &[&str] = &["x", "moments"];

const TWO_PASSES_SOURCE: Source = source(
    "ladder/batch_norm_1_two_passes.wgsl",
    include_str!("../../../shaders/ladder/batch_norm_1_two_passes.wgsl"),
    &[],
    BINDINGS,
);
const WELFORD_SOURCE: Source = source(
    "ladder/batch_norm_2_welford.wgsl",
    include_str!("../../../shaders/ladder/batch_norm_2_welford.wgsl"),
    &[],
    BINDINGS,
);
const CHAN_SOURCE: Source = source(
    "ladder/batch_norm_3_chan.wgsl",
    include_str!("../../../shaders/ladder/batch_norm_3_chan.wgsl"),
    &[],
    BINDINGS,
);

const SINGLE: Single = Single {
    params: &["R", "C", "eps"],
    reads: &["x"],
    writes: &["moments"],
    formula: "mean[c] = sum_r x[r,c] / R, rstd[c] = 1 / sqrt(sum_r (x[r,c] - mean[c])^2 / R + eps)",
    reference,
    cost: |p| cost(p[0] as u64, p[1] as u64),
};

/// x (R,C) to moments (2,C), mean and rstd, assigned: an invocation a channel, x read twice.
pub static TWO_PASSES: Kernel =
    SINGLE.kernel("batch_norm_1_two_passes.statistics", shader(&TWO_PASSES_SOURCE, 64, by_64), cases);
/// x (R,C) to moments (2,C), assigned: mean and squares move together, Welford 1962.
pub static WELFORD: Kernel =
    SINGLE.kernel("batch_norm_2_welford.statistics", shader(&WELFORD_SOURCE, 64, by_64), cases);
/// x (R,C) to moments (2,C), assigned: 32 invocations a channel, merged as in Chan, Golub & LeVeque 1979.
pub static CHAN: Kernel =
    SINGLE.kernel("batch_norm_3_chan.statistics", shader(&CHAN_SOURCE, 256, |p, _| [p[1].div_ceil(8), 1, 1]), cases);

const fn shader(source: &'static Source, lanes: u32, grid: Grid) -> Shader {
    Shader { source, entry: "statistics", workgroup: [lanes, 1, 1], grid }
}

fn by_64(p: &[u32], _: &[Constant]) -> [u32; 3] {
    [p[1].div_ceil(64), 1, 1]
}

/// A subtraction, a multiplication and two additions an element, each of which is read at least once.
fn cost(r: u64, c: u64) -> Cost {
    Cost { flops: 4 * r * c, bytes: 4 * r * c }
}

// ---- Record

/// A size is R,C. A rung returns the moments (2,C).
pub static LADDER: Ladder = Ladder {
    name: "batch_norm",
    formula: "mean and 1 / sqrt(var + eps) of the columns of x (R,C)",
    dimensions: &["R", "C"],
    sizes: [&[25088, 64], &[100_352, 64], &[401_408, 64]],
    inputs: |s| Ok(vec![vec![s[0], s[1]]]),
    range: [0.0, 2.0],
    cost: |s| cost(s[0] as u64, s[1] as u64),
    bound_by_memory: true,
    tolerance: |_| Tolerance::Because(1e-4, "the first rung sums a whole column in one f32, whose rounding walks"),
    rungs: &[
        Rung {
            name: "batch_norm_1_two_passes",
            adds: "an invocation a channel, mean then variance",
            refuses: takes_any,
            record: |r, _, t| statistics(r, &TWO_PASSES, t),
        },
        Rung {
            name: "batch_norm_2_welford",
            adds: "both moments in one pass",
            refuses: takes_any,
            record: |r, _, t| statistics(r, &WELFORD, t),
        },
        Rung {
            name: "batch_norm_3_chan",
            adds: "32 invocations a channel, merged",
            refuses: takes_any,
            record: |r, _, t| statistics(r, &CHAN, t),
        },
    ],
    production: Rung {
        name: "batch_norm.partials",
        adds: "rows in chunks, merged by a second dispatch",
        refuses: takes_any,
        record: |r, s, t| {
            let of_channels = |r: &mut Recorder, name: &str| r.tensor(name, &[s[1]]);
            let running = Running {
                mean: of_channels(r, "running_mean"),
                var: of_channels(r, "running_var"),
                count: r.tensor("num_batches_tracked", &[1]),
            };
            batch_norm::statistics(r, t[0], running)
        },
    },
    software: "",
    advice: "Pictures have many rows and few channels, linear layers few rows and many channels: --size 128,4096.",
};

fn statistics(r: &mut Recorder, kernel: &'static Kernel, inputs: &[Tensor]) -> Tensor {
    let [rows, c] = inputs[0].matrix();
    let moments = r.tensor("moments", &[2, c]);
    r.dispatch(kernel, Params { r: rows as u32, c: c as u32, eps: EPS }, inputs, &[moments]);
    moments
}

// ---- References

fn reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, channels] = [p.r, p.c].map(|size| size as usize);
    for c in 0..channels {
        let column = (0..rows).map(|r| reads[0][r * channels + c] as f64);
        let mean = column.clone().sum::<f64>() / rows as f64;
        let squares: f64 = column.map(|v| (v - mean) * (v - mean)).sum();
        writes[0][c] = mean as f32;
        writes[0][channels + c] = (1.0 / (squares / rows as f64 + p.eps as f64).sqrt()) as f32;
    }
}

// ---- Cases

/// A single row, whose variance is 0; numbers far from 0, whose squares would lose the variance.
fn cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-5, "a mean of numbers up to 5, and the spread around it");
    let case = |[r, c]: [usize; 2]| {
        Case::new(format!("{r}x{c}"), Params { r: r as u32, c: c as u32, eps: EPS })
            .read(uniform(1, r * c, 3.0, 5.0))
            .assign(2 * c, tolerance)
    };
    [[1, 1], [17, 65], [65, 8], [257, 9], [500, 3]].map(case).into()
}
