//! Batch normalisation with the activation that follows it, `shaders/batch_norm.wgsl`: `torch.nn.BatchNorm1d` and
//! `BatchNorm2d`, which are one operation where channels come last.

use bytemuck::{Pod, Zeroable};

use super::activation::Activation;
use super::reduce;
use crate::kernel::{Constant, Cost, GradientCheck, Grid, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod accelerated;
mod cases;
mod reference;

// ---- Params

/// PyTorch's defaults.
pub const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// x is (R,C), R places of pictures or vectors. It is summed in `chunks` K of `rows` each, the last one perhaps
/// shorter. `width` is how many channels a workgroup of the shader owns.
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

/// How R x C is shared out: at most 64 channels a workgroup, about 256 workgroups where there is that much, and at
/// least 8 rows an invocation.
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
    ..PLAIN_SOURCE
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
    reference: reference::partials,
    accelerated: Some(accelerated::partials),
    cost: |p| cost(p, 1, 4),
    cases: cases::partials_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
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
    reference: reference::statistics,
    accelerated: Some(accelerated::statistics),
    cost: merge_cost,
    cases: cases::statistics_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

/// x (R,C), w (C), b (C), moments (2,C) to y (R,C), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "batch_norm.forward",
    formula: "y = act(w * (x - mean) * rstd + b)",
    params: FIELDS,
    reads: &["x", "w", "b", "moments"],
    writes: &["y"],
    shader: shader("forward", row_grid),
    reference: reference::forward,
    accelerated: Some(accelerated::forward),
    cost: |p| cost(p, 2, 4),
    cases: cases::forward_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
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
    reference: reference::evaluate,
    accelerated: Some(accelerated::evaluate),
    cost: |p| cost(p, 2, 4),
    cases: cases::evaluate_cases,
    gradients: GradientCheck::None("evaluates a model, through which nothing is trained"),
    ..PLAIN
};

/// x, saved (the forward's y) and dy (R,C), moments (2,C) to chunk (K,2,C), assigned; recorded by [`backward`].
pub static BACKWARD_PARTIALS: Kernel = Kernel {
    name: "batch_norm.backward_partials",
    formula: "chunk[k] = sums of g and of g * xhat of the k-th rows, g = dy * act'(y)",
    params: FIELDS,
    reads: &["x", "saved", "dy", "moments"],
    writes: &["chunk"],
    shader: shader("backward_partials", chunk_grid),
    reference: reference::backward_partials,
    accelerated: Some(accelerated::backward_partials),
    cost: |p| cost(p, 3, 6),
    cases: cases::backward_partials_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
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
    reference: reference::backward_w,
    accelerated: Some(accelerated::backward_w),
    cost: merge_cost,
    cases: cases::backward_w_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
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
    reference: reference::backward_x,
    accelerated: Some(accelerated::backward_x),
    cost: |p| cost(p, 4, 7),
    cases: cases::backward_x_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

const fn shader(entry: &'static str, grid: Grid) -> Shader {
    Shader { source: &SOURCE, entry, workgroup: [256, 1, 1], grid }
}

/// A workgroup a chunk of rows and `width` channels.
fn chunk_grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    let p: Params = params(p);
    [p.c.div_ceil(p.width), p.chunks, 1]
}

/// A workgroup 8 rows an invocation; more where the rows would need more workgroups than there may be.
fn row_grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    let p: Params = params(p);
    [p.c.div_ceil(p.width), p.r.div_ceil(8 * p.lanes()).min(65535), 1]
}

/// A workgroup 8 channels: all chunks of them.
fn merge_grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    [p[1].div_ceil(8), 1, 1]
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
    saved: Saved,
    dy: Tensor,
    w: Tensor,
    [dw, db]: [Tensor; 2],
    activation: Activation,
) -> Tensor {
    let p = fitting("batch_norm.backward", saved.x, [w, w, dw, db], activation);
    let chunk = backward_partials(r, p, saved, dy);
    let totals = r.tensor("sums", &[2, p.c as usize]);
    r.dispatch(&BACKWARD_W, p, &[chunk], &[totals, dw, db]);
    backward_x(r, p, saved, dy, w, totals)
}

/// dy to dx, both in x's shape, the parameters held.
pub fn backward_input(r: &mut Recorder, saved: Saved, dy: Tensor, w: Tensor, activation: Activation) -> Tensor {
    let p = fitting("batch_norm.backward_input", saved.x, [w; 4], activation);
    let chunk = backward_partials(r, p, saved, dy);
    let totals = reduce::columns(r, chunk.reshape(&[p.chunks as usize, 2 * p.c as usize]));
    backward_x(r, p, saved, dy, w, totals.reshape(&[2, p.c as usize]))
}

/// Sums of g and of g * xhat over parts of the rows, (chunks,2,C).
fn backward_partials(r: &mut Recorder, p: Params, Saved { x, y, moments }: Saved, dy: Tensor) -> Tensor {
    assert!(dy.shape() == x.shape(), "batch_norm.backward: dy {dy:?} does not fit x {x:?}");
    let chunk = r.tensor("backward_chunks", &[p.chunks as usize, 2, p.c as usize]);
    r.dispatch(&BACKWARD_PARTIALS, p, &[x, y, dy, moments], &[chunk]);
    chunk
}

/// dx from these sums over all rows, (2,C).
fn backward_x(
    r: &mut Recorder,
    p: Params,
    Saved { x, y, moments }: Saved,
    dy: Tensor,
    w: Tensor,
    totals: Tensor,
) -> Tensor {
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

#[cfg(test)]
mod tests;
