//! Batch normalisation with the activation that follows it, `shaders/batch_norm.wgsl`: `torch.nn.BatchNorm1d` and
//! `BatchNorm2d`, which are one operation where channels come last.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::activation::Activation;
use super::columns::{folded, repeat, width};
use super::{math, scratch};
use crate::check::case::{Case, uniform};
use crate::check::close::Tolerance;
use crate::check::gradient::GradientCase;
use crate::kernel::{Cost, GradientCheck, Kernel, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// PyTorch's defaults.
pub const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// x is (R,C), R places of pictures or vectors. It is summed in `chunks` K of `rows` each, the last one perhaps shorter.
/// `width` is how many channels a workgroup of the shader owns.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    r: u32,
    c: u32,
    width: u32,
    rows: u32,
    chunks: u32,
    activation: u32,
    eps: f32,
    momentum: f32,
}

impl Params {
    /// (R, C)
    fn sizes(self) -> [usize; 2] {
        [self.r as usize, self.c as usize]
    }

    /// Words of a chunk.
    fn chunk(self) -> usize {
        self.rows as usize * self.c as usize
    }

    /// How many rows the `k`-th chunk has.
    fn count(self, k: usize) -> usize {
        let rows = self.rows as usize;
        rows.min(self.r as usize - k * rows)
    }

    fn activation(self) -> Activation {
        Activation::from_number(self.activation)
    }

    /// Invocations of a workgroup of the shader that share a channel.
    fn lanes(self) -> u32 {
        256 / self.width
    }
}

/// How R x C is shared out: at most 64 channels a workgroup, about 256 workgroups where there is that much, and at least
/// 8 rows an invocation.
fn sizes(r: usize, c: usize, activation: Activation) -> Params {
    let width = c.div_ceil(c.div_ceil(64));
    let (groups, lanes) = (c.div_ceil(width), 256 / width);
    let most = (256 / groups).max(1);
    let rows = r.div_ceil(most).max(8 * lanes).next_multiple_of(4 * lanes).min(r);
    Params {
        r: r as u32,
        c: c as u32,
        width: width as u32,
        rows: rows as u32,
        chunks: r.div_ceil(rows) as u32,
        activation: activation as u32,
        eps: EPS,
        momentum: MOMENTUM,
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "batch_norm.wgsl",
    text: include_str!("../../shaders/batch_norm.wgsl"),
    common: &[super::ACTIVATION],
    bindings: &[
        "x",
        "w",
        "b",
        "fixed_mean",
        "fixed_var",
        "saved",
        "dy",
        "parts",
        "moments",
        "sums",
        "y",
        "chunk",
        "batch",
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "dw",
        "db",
        "totals",
        "dx",
    ],
    constants: &[],
};

const SOFTWARE: Source = Source {
    file: "software/batch_norm.wgsl",
    text: include_str!("../../shaders/software/batch_norm.wgsl"),
    common: &[],
    bindings: &["x", "w", "b", "fixed_mean", "fixed_var", "saved", "dy", "moments", "sums", "y", "chunk", "dx"],
    constants: &[],
};

const FIELDS: &[&str] = &["R", "C", "width", "rows", "chunks", "activation", "eps", "momentum"];

/// x (R,C) to chunk (K,2,C), assigned: the mean and M2, the sum of squared distances from it, of each channel in each
/// of K chunks of rows. Recorded by [`statistics`]. Ioffe & Szegedy 2015 (arXiv 1502.03167).
pub static PARTIALS: Kernel = Kernel {
    name: "batch_norm.partials",
    formula: "chunk[k] = mean and M2 of each channel of the k-th rows",
    params: FIELDS,
    reads: &["x"],
    writes: &["chunk"],
    shader: shader("partials", chunk_grid),
    software: Some(|_, p| {
        static SHADER: Shader = software("partials", software_chunk_grid);
        if suits_software(p) { &SHADER } else { &PARTIALS.shader }
    }),
    candidates: None,
    reference: partials_reference,
    accelerated: Some(partials_accelerated),
    cost: |p| cost(p, 1, 4),
    cases: partials_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// parts (K,2,C), which [`PARTIALS`] wrote, to batch (2,C), assigned: mean and rstd. The running mean (C) and unbiased
/// variance (C) are moved, the count of batches (1) grows by 1. Recorded by [`statistics`]. Chunks are merged as in
/// Chan, Golub & LeVeque 1979.
pub static STATISTICS: Kernel = Kernel {
    name: "batch_norm.statistics",
    formula: "mean, rstd = 1/sqrt(var + eps); running += momentum * (batch - running)",
    params: FIELDS,
    reads: &["parts"],
    writes: &["batch", "running_mean", "running_var", "num_batches_tracked"],
    shader: shader("statistics", merge_grid),
    software: None,
    candidates: None,
    reference: statistics_reference,
    accelerated: Some(statistics_accelerated),
    cost: merge_cost,
    cases: statistics_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// x (R,C), w (C), b (C), moments (2,C) to y (R,C), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "batch_norm.forward",
    formula: "y = act(w * (x - mean) * rstd + b)",
    params: FIELDS,
    reads: &["x", "w", "b", "moments"],
    writes: &["y"],
    shader: shader("forward", row_grid),
    software: Some(|_, p| {
        static SHADER: Shader = software("forward", software_row_grid);
        if suits_software(p) { &SHADER } else { &FORWARD.shader }
    }),
    candidates: None,
    reference: forward_reference,
    accelerated: Some(forward_accelerated),
    cost: |p| cost(p, 2, 4),
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// [`FORWARD`] with the running mean (C) and variance (C), which are only read: x (R,C) to y (R,C), assigned. Recorded
/// by [`evaluate`].
pub static EVALUATE: Kernel = Kernel {
    name: "batch_norm.evaluate",
    formula: "y = act(w * (x - running_mean) / sqrt(running_var + eps) + b)",
    params: FIELDS,
    reads: &["x", "w", "b", "fixed_mean", "fixed_var"],
    writes: &["y"],
    shader: shader("evaluate", row_grid),
    software: Some(|_, p| {
        static SHADER: Shader = software("evaluate", software_row_grid);
        if suits_software(p) { &SHADER } else { &EVALUATE.shader }
    }),
    candidates: None,
    reference: evaluate_reference,
    accelerated: Some(evaluate_accelerated),
    cost: |p| cost(p, 2, 4),
    cases: evaluate_cases,
    gradients: GradientCheck::None("evaluates a model, through which nothing is trained"),
};

/// x, saved (the forward's y) and dy (R,C), moments (2,C) to chunk (K,2,C), assigned; recorded by [`backward`].
pub static BACKWARD_PARTIALS: Kernel = Kernel {
    name: "batch_norm.backward_partials",
    formula: "chunk[k] = sums of g and of g * xhat of the k-th rows, g = dy * act'(y)",
    params: FIELDS,
    reads: &["x", "saved", "dy", "moments"],
    writes: &["chunk"],
    shader: shader("backward_partials", chunk_grid),
    software: Some(|_, p| {
        static SHADER: Shader = software("backward_partials", software_chunk_grid);
        if suits_software(p) { &SHADER } else { &BACKWARD_PARTIALS.shader }
    }),
    candidates: None,
    reference: backward_partials_reference,
    accelerated: Some(backward_partials_accelerated),
    cost: |p| cost(p, 3, 6),
    cases: backward_partials_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// parts (K,2,C), which [`BACKWARD_PARTIALS`] wrote, to totals (2,C), assigned; dw and db (C) are added to. Recorded by
/// [`backward`].
pub static BACKWARD_W: Kernel = Kernel {
    name: "batch_norm.backward_w",
    formula: "totals = sums of g and of g * xhat; dw += sum g * xhat, db += sum g",
    params: FIELDS,
    reads: &["parts"],
    writes: &["totals", "dw", "db"],
    shader: shader("backward_w", merge_grid),
    software: None,
    candidates: None,
    reference: backward_w_reference,
    accelerated: Some(backward_w_accelerated),
    cost: merge_cost,
    cases: backward_w_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// x, saved and dy (R,C), w (C), moments and sums (2,C) to dx (R,C), assigned; recorded by [`backward`]. The two means
/// are the gradient's way through mean and variance, over all R rows.
pub static BACKWARD_X: Kernel = Kernel {
    name: "batch_norm.backward_x",
    formula: "dx = w * rstd * (g - mean of g - xhat * mean of (g * xhat))",
    params: FIELDS,
    reads: &["x", "w", "saved", "dy", "moments", "sums"],
    writes: &["dx"],
    shader: shader("backward_x", row_grid),
    software: Some(|_, p| {
        static SHADER: Shader = software("backward_x", software_row_grid);
        if suits_software(p) { &SHADER } else { &BACKWARD_X.shader }
    }),
    candidates: None,
    reference: backward_x_reference,
    accelerated: Some(backward_x_accelerated),
    cost: |p| cost(p, 4, 7),
    cases: backward_x_cases,
    gradients: GradientCheck::Cases(gradients),
};

const fn shader(entry: &'static str, grid: fn(&[u32]) -> [u32; 3]) -> Shader {
    Shader { source: &SOURCE, entry, workgroup: [256, 1, 1], grid }
}

/// A workgroup a chunk of rows and `width` channels.
fn chunk_grid(p: &[u32]) -> [u32; 3] {
    let p: Params = params(p);
    [p.c.div_ceil(p.width), p.chunks, 1]
}

/// A workgroup 8 rows an invocation; more where the rows would need more workgroups than there may be.
fn row_grid(p: &[u32]) -> [u32; 3] {
    let p: Params = params(p);
    [p.c.div_ceil(p.width), p.r.div_ceil(8 * p.lanes()).min(65535), 1]
}

/// A workgroup 8 channels: all chunks of them.
fn merge_grid(p: &[u32]) -> [u32; 3] {
    [p[1].div_ceil(8), 1, 1]
}

const fn software(entry: &'static str, grid: fn(&[u32]) -> [u32; 3]) -> Shader {
    Shader { source: &SOFTWARE, entry, workgroup: [8, 1, 1], grid }
}

/// Whether four channels can be taken at a time and the activation is linear on both sides of 0.
fn suits_software(p: &[u32]) -> bool {
    use Activation::{Identity, LeakyRelu, Relu};
    let p: Params = params(p);
    p.c.is_multiple_of(4) && matches!(p.activation(), Identity | Relu | LeakyRelu)
}

/// An invocation four channels of a chunk.
fn software_chunk_grid(p: &[u32]) -> [u32; 3] {
    let p: Params = params(p);
    [(p.chunks * (p.c / 4)).div_ceil(8), 1, 1]
}

/// An invocation four channels of 16 rows.
fn software_row_grid(p: &[u32]) -> [u32; 3] {
    let [r, c] = params::<Params>(p).sizes();
    grid_1d(r.div_ceil(16) * (c / 4), 8)
}

fn cost(p: &[u32], tensors: u64, flops: u64) -> Cost {
    let elements = p[0] as u64 * p[1] as u64;
    Cost { flops: flops * elements, bytes: 4 * tensors * elements }
}

fn merge_cost(p: &[u32]) -> Cost {
    let p: Params = params(p);
    let words = 2 * p.chunks as u64 * p.c as u64;
    Cost { flops: 4 * words, bytes: 4 * words }
}

// ---- Record

/// What the forward moves and evaluation reads: `running_mean` (C), `running_var` (C), `num_batches_tracked` (1).
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// (C): moved by a tenth of the distance to each batch's mean.
    pub mean: Tensor,
    /// (C): moved likewise, by the unbiased variance of each batch.
    pub var: Tensor,
    /// (1): batches seen, as an f32.
    pub count: Tensor,
}

/// What the backward needs of the forward.
#[derive(Clone, Copy, Debug)]
pub struct Saved {
    x: Tensor,
    y: Tensor,
    /// (2,C): mean and rstd of the batch.
    moments: Tensor,
}

/// y = act(w * xhat + b) with the statistics of the batch, which also move the running ones: x (.., C), w (C), b (C) to
/// y in x's shape. The activation must be one whose backward reads the output. A batch of one row has no unbiased
/// variance; it counts as 0 (PyTorch refuses such a batch).
pub fn forward(
    r: &mut Recorder,
    x: Tensor,
    w: Tensor,
    b: Tensor,
    running: Running,
    activation: Activation,
) -> (Tensor, Saved) {
    let p = fitting("batch_norm.forward", x, [w, b, running.mean, running.var], activation);
    let moments = statistics(r, x, running);
    let y = r.tensor("y", x.shape());
    r.dispatch(&FORWARD, p, &[x, w, b, moments], &[y]);
    (y, Saved { x, y, moments })
}

/// Mean and rstd = 1 / sqrt(var + eps) of each channel of x (.., C), as (2,C); moves the running statistics.
pub fn statistics(r: &mut Recorder, x: Tensor, running: Running) -> Tensor {
    let p = fitting(
        "batch_norm.statistics",
        x,
        [running.mean, running.var, running.mean, running.var],
        Activation::Identity,
    );
    assert!(running.count.len() == 1, "batch_norm.statistics: num_batches_tracked is {:?}", running.count);
    let chunk = r.tensor("chunks", &[p.chunks as usize, 2, p.c as usize]);
    r.dispatch(&PARTIALS, p, &[x], &[chunk]);
    let moments = r.tensor("moments", &[2, p.c as usize]);
    r.dispatch(&STATISTICS, p, &[chunk], &[moments, running.mean, running.var, running.count]);
    moments
}

/// [`forward`] with the running statistics, which stay as they are.
pub fn evaluate(r: &mut Recorder, x: Tensor, w: Tensor, b: Tensor, running: Running, activation: Activation) -> Tensor {
    let p = fitting("batch_norm.evaluate", x, [w, b, running.mean, running.var], activation);
    let y = r.tensor("y", x.shape());
    r.dispatch(&EVALUATE, p, &[x, w, b, running.mean, running.var], &[y]);
    y
}

/// dy to dx, both in x's shape; dw += and db +=, both (C).
pub fn backward(
    r: &mut Recorder,
    Saved { x, y, moments }: Saved,
    dy: Tensor,
    w: Tensor,
    [dw, db]: [Tensor; 2],
    activation: Activation,
) -> Tensor {
    assert!(dy.shape() == x.shape(), "batch_norm.backward: dy {dy:?} does not fit x {x:?}");
    let p = fitting("batch_norm.backward", x, [w, w, dw, db], activation);
    let chunk = r.tensor("backward_chunks", &[p.chunks as usize, 2, p.c as usize]);
    r.dispatch(&BACKWARD_PARTIALS, p, &[x, y, dy, moments], &[chunk]);
    let totals = r.tensor("sums", &[2, p.c as usize]);
    r.dispatch(&BACKWARD_W, p, &[chunk], &[totals, dw, db]);
    let dx = r.tensor("dx", x.shape());
    r.dispatch(&BACKWARD_X, p, &[x, w, y, dy, moments, totals], &[dx]);
    dx
}

fn fitting(name: &str, x: Tensor, of_channels: [Tensor; 4], activation: Activation) -> Params {
    let &[_, .., c] = x.shape() else { panic!("{name}: x {x:?} has no rows of channels") };
    assert!(activation.saves_output(), "{activation:?} cannot be an epilogue: its backward needs w * xhat + b");
    for tensor in of_channels {
        assert!(tensor.shape() == [c], "{name}: {tensor:?} does not fit the channels of x {x:?}");
    }
    sizes(x.len() / c, c, activation)
}

// ---- References

/// Mean and M2, the sum of squared distances from the mean, of numbers: two passes.
fn mean_and_squares(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (count, sum) = values.clone().fold((0.0, 0.0), |(n, s), v| (n + 1.0, s + v));
    let mean: f64 = sum / count;
    (mean, values.map(|v| (v - mean) * (v - mean)).sum())
}

fn partials_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [_, c] = p.sizes();
    for k in 0..p.chunks as usize {
        let x = &reads[0][k * p.chunk()..];
        for j in 0..c {
            let (mean, squares) = mean_and_squares((0..p.count(k)).map(|r| x[r * c + j] as f64));
            writes[0][2 * k * c + j] = mean as f32;
            writes[0][(2 * k + 1) * c + j] = squares as f32;
        }
    }
}

fn statistics_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    for j in 0..c {
        let chunks = (0..p.chunks as usize)
            .map(|k| (p.count(k) as f64, reads[0][2 * k * c + j] as f64, reads[0][(2 * k + 1) * c + j] as f64));
        let mean = chunks.clone().map(|(n, mean, _)| n * mean).sum::<f64>() / r as f64;
        let squares = chunks.map(|(n, m, squares)| squares + n * (m - mean) * (m - mean)).sum();
        write_statistics(p, writes, j, mean, squares);
    }
    writes[3][0] += 1.0;
}

/// Channel `j` of everything `statistics` writes.
fn write_statistics(p: Params, writes: &mut [&mut [f32]], j: usize, mean: f64, squares: f64) {
    let [r, c] = p.sizes();
    let unbiased = squares / (r.max(2) - 1) as f64;
    writes[0][j] = mean as f32;
    writes[0][c + j] = (1.0 / (squares / r as f64 + p.eps as f64).sqrt()) as f32;
    for (running, batch) in [(1, mean), (2, unbiased)] {
        let running = &mut writes[running][j];
        *running = (*running as f64 + p.momentum as f64 * (batch - *running as f64)) as f32;
    }
}

fn forward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    for i in 0..r * c {
        let j = i % c;
        let xhat = (reads[0][i] as f64 - reads[3][j] as f64) * reads[3][c + j] as f64;
        writes[0][i] = p.activation().value(reads[1][j] as f64 * xhat + reads[2][j] as f64) as f32;
    }
}

fn evaluate_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    for i in 0..r * c {
        let j = i % c;
        let xhat = (reads[0][i] as f64 - reads[3][j] as f64) / (reads[4][j] as f64 + p.eps as f64).sqrt();
        writes[0][i] = p.activation().value(reads[1][j] as f64 * xhat + reads[2][j] as f64) as f32;
    }
}

fn backward_partials_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [_, c] = p.sizes();
    let [x, y, dy, moments] = *reads else { unreachable!("backward_partials reads four tensors") };
    for k in 0..p.chunks as usize {
        for j in 0..c {
            let (mut sum, mut product) = (0.0, 0.0);
            for i in (0..p.count(k)).map(|r| k * p.chunk() + r * c + j) {
                let g = dy[i] as f64 * p.activation().slope(y[i] as f64);
                sum += g;
                product += g * (x[i] as f64 - moments[j] as f64) * moments[c + j] as f64;
            }
            writes[0][2 * k * c + j] = sum as f32;
            writes[0][(2 * k + 1) * c + j] = product as f32;
        }
    }
}

fn backward_w_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [_, c] = p.sizes();
    let sum = |i: usize| (0..p.chunks as usize).map(|k| reads[0][2 * k * c + i] as f64).sum::<f64>() as f32;
    for j in 0..c {
        (writes[0][j], writes[0][c + j]) = (sum(j), sum(c + j));
        writes[1][j] += sum(c + j);
        writes[2][j] += sum(j);
    }
}

fn backward_x_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let [x, w, y, dy, moments, sums] = *reads else { unreachable!("backward_x reads six tensors") };
    for i in 0..r * c {
        let j = i % c;
        let [mean, rstd, sum, product] = [moments[j], moments[c + j], sums[j], sums[c + j]].map(f64::from);
        let g = dy[i] as f64 * p.activation().slope(y[i] as f64);
        let xhat = (x[i] as f64 - mean) * rstd;
        writes[0][i] = (w[j] as f64 * rstd * (g - sum / r as f64 - xhat * product / r as f64)) as f32;
    }
}

// ---- Accelerated: chunks of rows in parallel, vectorised over channels

fn partials_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let parts = writes[0][..2 * p.chunks as usize * c].par_chunks_mut(2 * c);
    parts.zip(reads[0][..r * c].par_chunks(p.chunk())).for_each(|(parts, x)| {
        math::vectorised(|| chunk_moments(x, c, parts));
    });
}

/// Two passes over a chunk that fits the first cache, on x minus its first row as the shader does.
#[inline(always)]
fn chunk_moments(x: &[f32], c: usize, parts: &mut [f32]) {
    let (means, squares) = parts.split_at_mut(c);
    let count = (x.len() / c) as f32;
    let mut sums = scratch::zeros(width(c));
    let mut centre = repeat(x[..c].iter().copied(), c);
    for piece in x.chunks(width(c)) {
        for ((sum, x), origin) in sums.iter_mut().zip(piece).zip(centre.iter()) {
            *sum += x - origin;
        }
    }
    for (j, mean) in means.iter_mut().enumerate() {
        *mean = x[j] + folded(&sums, c, j) / count;
    }
    centre.chunks_mut(c).for_each(|centre| centre.copy_from_slice(means));
    sums.fill(0.0);
    for piece in x.chunks(width(c)) {
        for ((sum, x), mean) in sums.iter_mut().zip(piece).zip(centre.iter()) {
            *sum += (x - mean) * (x - mean);
        }
    }
    for (j, square) in squares.iter_mut().enumerate() {
        *square = folded(&sums, c, j);
    }
}

/// Channels whose sums are made side by side.
const CHANNELS: usize = 64;

fn statistics_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let parts = || reads[0][..2 * p.chunks as usize * c].chunks(2 * c).enumerate();
    for first in (0..c).step_by(CHANNELS) {
        let of = first..c.min(first + CHANNELS);
        let (mut means, mut squares) = ([0f64; CHANNELS], [0f64; CHANNELS]);
        for (k, part) in parts() {
            let count = p.count(k) as f64;
            means.iter_mut().zip(&part[of.clone()]).for_each(|(mean, part)| *mean += count * *part as f64);
        }
        means.iter_mut().for_each(|mean| *mean /= r as f64);
        for (k, part) in parts() {
            let count = p.count(k) as f64;
            let part = part[of.clone()].iter().zip(&part[c..][of.clone()]);
            for ((sum, mean), (m, square)) in squares.iter_mut().zip(&means).zip(part) {
                let d = *m as f64 - mean;
                *sum += *square as f64 + count * d * d;
            }
        }
        for j in of {
            write_statistics(p, writes, j, means[j - first], squares[j - first]);
        }
    }
    writes[3][0] += 1.0;
}

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let c = params::<Params>(p).c as usize;
    let [x, w, b, moments] = *reads else { unreachable!("forward reads four tensors") };
    normalise(p, x, moments, |j| w[j] * moments[c + j], b, writes[0]);
}

fn evaluate_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let eps = params::<Params>(p).eps;
    let [x, w, b, mean, var] = *reads else { unreachable!("evaluate reads five tensors") };
    normalise(p, x, mean, |j| w[j] / (var[j] + eps).sqrt(), b, writes[0]);
}

/// y = act((x - mean) * scale + shift).
fn normalise(p: &[u32], x: &[f32], mean: &[f32], scale: impl Fn(usize) -> f32, shift: &[f32], y: &mut [f32]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let mean = repeat(mean[..c].iter().copied(), c);
    let scale = repeat((0..c).map(scale), c);
    let shift = repeat(shift[..c].iter().copied(), c);
    let of_channels = [&mean[..], &scale[..], &shift[..]];
    y[..r * c].par_chunks_mut(p.chunk()).zip(x[..r * c].par_chunks(p.chunk())).for_each(|(y, x)| {
        math::vectorised(|| match p.activation() {
            Activation::Identity => normalise_chunk(y, x, of_channels, |v| v),
            Activation::Relu => normalise_chunk(y, x, of_channels, |v| if v <= 0.0 { 0.0 } else { v }),
            Activation::LeakyRelu => normalise_chunk(y, x, of_channels, |v| if v > 0.0 { v } else { 0.01 * v }),
            Activation::Elu => normalise_chunk(y, x, of_channels, elu),
            other => normalise_chunk(y, x, of_channels, |v| other.value(v as f64) as f32),
        });
    });
}

/// NaN passes: it is not below 0.
#[inline(always)]
fn elu(v: f32) -> f32 {
    let below = math::exp_negative(v.min(0.0)) - 1.0;
    if v <= 0.0 { below } else { v }
}

#[inline(always)]
fn normalise_chunk(y: &mut [f32], x: &[f32], [mean, scale, shift]: [&[f32]; 3], activation: impl Fn(f32) -> f32) {
    for (y, x) in y.chunks_mut(mean.len()).zip(x.chunks(mean.len())) {
        for ((((y, x), mean), scale), shift) in y.iter_mut().zip(x).zip(mean).zip(scale).zip(shift) {
            *y = activation((x - mean) * scale + shift);
        }
    }
}

fn backward_partials_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let [x, y, dy] = [0, 1, 2].map(|i| reads[i][..r * c].par_chunks(p.chunk()));
    let moments = &reads[3][..2 * c];
    let mean = repeat(moments[..c].iter().copied(), c);
    let parts = writes[0][..2 * p.chunks as usize * c].par_chunks_mut(2 * c);
    parts.zip(x.zip(y).zip(dy)).for_each(|(parts, ((x, y), dy))| {
        let inputs = [x, y, dy, &mean[..]];
        math::vectorised(|| {
            match p.activation() {
                Activation::Identity => chunk_sums(parts, c, inputs, |dy, _| dy),
                Activation::Relu => chunk_sums(parts, c, inputs, relu_gradient),
                Activation::LeakyRelu => chunk_sums(parts, c, inputs, leaky_relu_gradient),
                Activation::Elu => chunk_sums(parts, c, inputs, elu_gradient),
                other => chunk_sums(parts, c, inputs, |dy, y| (dy as f64 * other.slope(y as f64)) as f32),
            }
            parts[c..].iter_mut().zip(&moments[c..]).for_each(|(product, rstd)| *product *= rstd);
        });
    });
}

#[inline(always)]
fn relu_gradient(dy: f32, y: f32) -> f32 {
    if y > 0.0 { dy } else { 0.0 }
}

#[inline(always)]
fn leaky_relu_gradient(dy: f32, y: f32) -> f32 {
    if y > 0.0 { dy } else { 0.01 * dy }
}

#[inline(always)]
fn elu_gradient(dy: f32, y: f32) -> f32 {
    if y > 0.0 { dy } else { dy * (y + 1.0) }
}

/// The sums of g and of g * (x - mean) of a chunk.
#[inline(always)]
fn chunk_sums(parts: &mut [f32], c: usize, [x, y, dy, mean]: [&[f32]; 4], gradient: impl Fn(f32, f32) -> f32) {
    let piece = width(c);
    let (mut sums, mut products) = (scratch::zeros(piece), scratch::zeros(piece));
    for ((x, y), dy) in x.chunks(piece).zip(y.chunks(piece)).zip(dy.chunks(piece)) {
        let sums = sums.iter_mut().zip(products.iter_mut());
        for ((((x, y), dy), mean), (sum, product)) in x.iter().zip(y).zip(dy).zip(mean).zip(sums) {
            let g = gradient(*dy, *y);
            *sum += g;
            *product += g * (x - mean);
        }
    }
    for j in 0..c {
        (parts[j], parts[c + j]) = (folded(&sums, c, j), folded(&products, c, j));
    }
}

fn backward_w_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [_, c] = p.sizes();
    for first in (0..c).step_by(CHANNELS) {
        let (mut sums, mut products) = ([0f64; CHANNELS], [0f64; CHANNELS]);
        let of = first..c.min(first + CHANNELS);
        for part in reads[0][..2 * p.chunks as usize * c].chunks(2 * c) {
            sums.iter_mut().zip(&part[of.clone()]).for_each(|(sum, part)| *sum += *part as f64);
            products.iter_mut().zip(&part[c..][of.clone()]).for_each(|(product, part)| *product += *part as f64);
        }
        for j in of {
            let (sum, product) = (sums[j - first] as f32, products[j - first] as f32);
            (writes[0][j], writes[0][c + j]) = (sum, product);
            writes[1][j] += product;
            writes[2][j] += sum;
        }
    }
}

fn backward_x_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let [x, w, y, dy, moments, sums] = *reads else { unreachable!("backward_x reads six tensors") };
    let share = 1.0 / r as f32;
    let mean = repeat(moments[..c].iter().copied(), c);
    let scale = repeat(w[..c].iter().zip(&moments[c..2 * c]).map(|(w, rstd)| w * rstd), c);
    let mean_g = repeat(sums[..c].iter().map(|sum| sum * share), c);
    let slope = repeat(sums[c..2 * c].iter().zip(&moments[c..2 * c]).map(|(sum, rstd)| sum * rstd * share), c);
    let of_channels = [&mean[..], &scale[..], &mean_g[..], &slope[..]];
    let [x, y, dy] = [x, y, dy].map(|t| t[..r * c].par_chunks(p.chunk()));
    writes[0][..r * c].par_chunks_mut(p.chunk()).zip(x.zip(y).zip(dy)).for_each(|(dx, ((x, y), dy))| {
        let inputs = [x, y, dy];
        math::vectorised(|| match p.activation() {
            Activation::Identity => chunk_gradient(dx, inputs, of_channels, |dy, _| dy),
            Activation::Relu => chunk_gradient(dx, inputs, of_channels, relu_gradient),
            Activation::LeakyRelu => chunk_gradient(dx, inputs, of_channels, leaky_relu_gradient),
            Activation::Elu => chunk_gradient(dx, inputs, of_channels, elu_gradient),
            other => {
                chunk_gradient(dx, inputs, of_channels, |dy, y| (dy as f64 * other.slope(y as f64)) as f32);
            }
        });
    });
}

/// dx = scale * (g - mean_g - (x - mean) * slope).
#[inline(always)]
fn chunk_gradient(
    dx: &mut [f32],
    [x, y, dy]: [&[f32]; 3],
    [mean, scale, mean_g, slope]: [&[f32]; 4],
    gradient: impl Fn(f32, f32) -> f32,
) {
    let piece = mean.len();
    for (((dx, x), y), dy) in dx.chunks_mut(piece).zip(x.chunks(piece)).zip(y.chunks(piece)).zip(dy.chunks(piece)) {
        let channels = mean.iter().zip(scale).zip(mean_g).zip(slope);
        for ((((dx, x), y), dy), (((mean, scale), mean_g), slope)) in dx.iter_mut().zip(x).zip(y).zip(dy).zip(channels)
        {
            *dx = scale * (gradient(*dy, *y) - mean_g - (x - mean) * slope);
        }
    }
}

// ---- Cases

/// (R, C): one element, one row, few channels, which share a row's lanes unevenly, several chunks with a short last one,
/// more than one workgroup of channels, multiples of 4, a layer of a convolutional network.
const SIZES: [[usize; 2]; 9] =
    [[1, 1], [1, 65], [17, 5], [1001, 3], [2501, 1], [257, 65], [1003, 12], [67, 68], [1152, 128]];

/// Activations for the sizes: all that are epilogues, and the linear ones with multiples of 4 channels.
const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Relu,
    Activation::Softplus,
    Activation::Elu,
    Activation::LeakyRelu,
    Activation::Identity,
    Activation::Relu,
];

fn shapes() -> impl Iterator<Item = (Params, Case)> {
    SIZES.into_iter().zip(ACTIVATIONS).map(|([r, c], activation)| {
        let p = sizes(r, c, activation);
        (p, Case::new(format!("{r}x{c} {activation:?}"), p))
    })
}

/// Shapes at which the activation does not matter, with numbers around 0 and around 1000: E[x^2] - E[x]^2 would leave
/// no digit of a variance of 1/3 there.
fn partials_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shift, tolerance) in [
        (0.0, Tolerance::Because(2e-6, "a sum of at most a hundred squares a lane, and halves of the lanes")),
        (1000.0, Tolerance::Because(1e-4, "the mean of numbers near 1000 to one ulp, 6e-5, in distances of size 1")),
    ] {
        for (p, mut case) in shapes() {
            let [r, c] = p.sizes();
            case.label += &format!(" around {shift}");
            let x = uniform(1, r * c, shift - 1.0, shift + 1.0);
            cases.push(case.read(x).assign(2 * p.chunks as usize * c, tolerance));
        }
    }
    cases
}

/// What `partials` writes for numbers of size 1: (K,2,C).
fn moments_of_chunks(p: Params) -> Vec<f32> {
    let [r, c] = p.sizes();
    let mut parts = vec![0.0; 2 * p.chunks as usize * c];
    partials_reference(bytemuck::cast_slice(&[p]), &[&uniform(2, r * c, -1.0, 2.0)], &mut [&mut parts]);
    parts
}

fn statistics_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "means of at most 256 chunks merged, a square root and a division");
    let mut cases = Vec::new();
    for (p, case) in shapes() {
        let [r, c] = p.sizes();
        // Without variance 1 / sqrt(eps) = 316.
        let case = if r == 1 { Case { label: case.label + " without variance", ..case } } else { case };
        cases.push(
            case.read(moments_of_chunks(p))
                .assign(2 * c, tolerance)
                .update(uniform(3, c, -1.0, 1.0), tolerance)
                .update(uniform(4, c, 0.5, 1.5), tolerance)
                .update(vec![41.0], Tolerance::Exact),
        );
    }
    cases
}

/// (2,C): means of size 1, rstd around 1.
fn moments(c: usize) -> Vec<f32> {
    [uniform(5, c, -1.0, 1.0), uniform(6, c, 0.5, 1.5)].concat()
}

const NORMALISED: Tolerance = Tolerance::Because(4e-6, "three rounded operations, then exp by WGSL's precision table");

fn forward_cases() -> Vec<Case> {
    let case = |(p, case): (Params, Case)| {
        let [r, c] = p.sizes();
        case.read(uniform(7, r * c, -2.0, 2.0))
            .read(uniform(8, c, -1.0, 1.0))
            .read(uniform(9, c, -1.0, 1.0))
            .read(moments(c))
            .assign(r * c, NORMALISED)
    };
    shapes().map(case).collect()
}

fn evaluate_cases() -> Vec<Case> {
    let case = |(p, case): (Params, Case)| {
        let [r, c] = p.sizes();
        case.read(uniform(7, r * c, -2.0, 2.0))
            .read(uniform(8, c, -1.0, 1.0))
            .read(uniform(9, c, -1.0, 1.0))
            .read(uniform(5, c, -1.0, 1.0))
            .read(uniform(6, c, 0.5, 1.5))
            .assign(r * c, NORMALISED)
    };
    shapes().map(case).collect()
}

/// Outputs of the activation, some of them at a kink.
fn outputs(p: Params) -> Vec<f32> {
    let [r, c] = p.sizes();
    let mut u = uniform(10, r * c, -2.0, 2.0);
    u[0] = 0.0;
    u.iter().map(|&u| p.activation().value(u as f64) as f32).collect()
}

fn backward_partials_cases() -> Vec<Case> {
    let case = |(p, case): (Params, Case)| {
        let [r, c] = p.sizes();
        case.read(uniform(7, r * c, -2.0, 2.0))
            .read(outputs(p))
            .read(uniform(11, r * c, -1.0, 1.0))
            .read(moments(c))
            .assign(2 * p.chunks as usize * c, Tolerance::Dot(2 * p.rows as usize))
    };
    shapes().map(case).collect()
}

fn backward_w_cases() -> Vec<Case> {
    let case = |(p, case): (Params, Case)| {
        let [_, c] = p.sizes();
        let tolerance = Tolerance::Dot(2 * p.chunks as usize);
        case.read(uniform(12, 2 * p.chunks as usize * c, -1.0, 1.0))
            .assign(2 * c, tolerance)
            .update(uniform(13, c, -1.0, 1.0), tolerance)
            .update(uniform(14, c, -1.0, 1.0), tolerance)
    };
    shapes().map(case).collect()
}

fn backward_x_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "ten rounded operations on numbers of size at most 10");
    let case = |(p, case): (Params, Case)| {
        let [r, c] = p.sizes();
        let size = r as f32;
        case.read(uniform(7, r * c, -2.0, 2.0))
            .read(uniform(8, c, -1.0, 1.0))
            .read(outputs(p))
            .read(uniform(11, r * c, -1.0, 1.0))
            .read(moments(c))
            .read(uniform(15, 2 * c, -size, size))
            .assign(r * c, tolerance)
    };
    shapes().map(case).collect()
}

// ---- Gradients

/// For the finite-difference check: pictures and vectors, with activations whose slope has no jump.
fn gradients() -> Vec<GradientCase> {
    let case = |shape: &[usize], activation: Activation| {
        let (shape, c) = (shape.to_vec(), shape[shape.len() - 1]);
        let n = shape.iter().product();
        GradientCase {
            label: format!("batch_norm {shape:?} {activation:?}"),
            inputs: vec![
                (shape.clone(), uniform(1, n, -1.0, 1.0)),
                (vec![c], uniform(2, c, 0.5, 1.5)),
                (vec![c], uniform(3, c, -1.0, 1.0)),
            ],
            output: shape,
            record: Box::new(move |r, inputs, dy| {
                let [x, w, b] = [inputs[0], inputs[1], inputs[2]];
                let mut of_channels = |name: &str, len: usize| r.tensor(name, &[len]);
                let running = Running {
                    mean: of_channels("mean", c),
                    var: of_channels("var", c),
                    count: of_channels("count", 1),
                };
                let grads = [of_channels("dw", c), of_channels("db", c)];
                let (y, saved) = forward(r, x, w, b, running, activation);
                let dx = backward(r, saved, dy, w, grads, activation);
                (y, vec![dx, grads[0], grads[1]])
            }),
            state: vec![],
        }
    };
    // Without the activations that have a kink, where a finite difference straddles two slopes; elu's is only of the
    // second derivative.
    vec![
        case(&[9, 3], Activation::Identity),
        case(&[2, 3, 2, 3], Activation::Tanh),
        case(&[2, 2, 3, 2], Activation::Elu),
        case(&[13, 2], Activation::Softplus),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::{Device, cpu::Cpu};

    /// Channel 0 is 1, 3, 5, 7: mean 4, M2 20, biased variance 5, unbiased 20/3. Channel 1 is 2 everywhere.
    #[test]
    fn running_statistics_move_by_a_tenth_towards_the_unbiased_ones() {
        for cpu in [Cpu::Reference, Cpu::Accelerated] {
            let mut arena = Arena::new();
            let x = arena.tensor("x", &[2, 1, 2, 2]);
            let [w, b, mean, var] = ["w", "b", "mean", "var"].map(|name| arena.tensor(name, &[2]));
            let running = Running { mean, var, count: arena.count("count") };
            let mut r = Recorder::new(&mut arena);
            let (y, _) = forward(&mut r, x, w, b, running, Activation::Identity);
            let evaluated = evaluate(&mut r, x, w, b, running, Activation::Identity);
            let program = r.finish("batch_norm");
            let mut backend = Device::Cpu(cpu).backend();
            let loaded = backend.load(&arena, &program).unwrap();
            backend.write(x, &[1.0, 2.0, 3.0, 2.0, 5.0, 2.0, 7.0, 2.0]);
            backend.write(w, &[2.0, 1.0]);
            backend.write(b, &[10.0, 20.0]);
            backend.write(var, &[1.0, 1.0]);
            let close = |got: &[f32], want: &[f64]| {
                assert_eq!(got.len(), want.len());
                got.iter().zip(want).for_each(|(g, w)| assert!((*g as f64 - w).abs() < 1e-5, "{got:?}, {want:?}"));
            };
            let mut expected = [[0.0, 0.0], [1.0, 1.0]];
            for batch in 1..=2 {
                backend.run(&[(loaded, 1)]).unwrap();
                for (channel, [m, v]) in [[4.0, 20.0 / 3.0], [2.0, 0.0]].into_iter().enumerate() {
                    expected[0][channel] = 0.9 * expected[0][channel] + 0.1 * m;
                    expected[1][channel] = 0.9 * expected[1][channel] + 0.1 * v;
                }
                close(&backend.read_one(mean).unwrap(), &expected[0]);
                close(&backend.read_one(var).unwrap(), &expected[1]);
                close(&backend.read_one(running.count).unwrap(), &[batch as f64]);
            }
            let rstd = 1.0 / (5.0 + EPS as f64).sqrt();
            let [low, high] = [1.0, 3.0].map(|d| 2.0 * d * rstd);
            let y = backend.read_one(y).unwrap();
            close(&y, &[10.0 - high, 20.0, 10.0 - low, 20.0, 10.0 + low, 20.0, 10.0 + high, 20.0]);
            let rstd = expected[1].map(|v| 1.0 / (v + EPS as f64).sqrt());
            let evaluated = backend.read_one(evaluated).unwrap();
            let first = [10.0 + 2.0 * (1.0 - expected[0][0]) * rstd[0], 20.0 + (2.0 - expected[0][1]) * rstd[1]];
            close(&evaluated[..2], &first);
        }
    }

    /// A number that is not one must be seen in every channel that has it, in no other, and in the statistics.
    #[test]
    fn nan_is_not_hidden() {
        let p = sizes(3, 2, Activation::Relu);
        let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&p));
        let x = [1.0, 2.0, f32::NAN, 3.0, 4.0, 5.0];
        let reads: [&[f32]; 5] = [&x, &[1.0; 2], &[0.0; 2], &[0.0, 0.0, 1.0, 1.0], &[1.0; 2]];
        for kernel in [&FORWARD, &EVALUATE] {
            for form in [kernel.reference, kernel.accelerated.unwrap()] {
                let mut y = [0.0; 6];
                form(words, &reads[..kernel.reads.len()], &mut [&mut y]);
                assert_eq!(y.map(f32::is_nan), x.map(f32::is_nan), "{}", kernel.name);
            }
        }
        assert!(elu(f32::NAN).is_nan());
        for form in [PARTIALS.reference, PARTIALS.accelerated.unwrap()] {
            let mut parts = [0.0; 4];
            form(words, &[&x], &mut [&mut parts]);
            assert_eq!(parts.map(f32::is_nan), [true, false, true, false]);
        }
    }
}
