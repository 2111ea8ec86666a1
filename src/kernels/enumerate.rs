//! Each example of a batch under each of K labels, `shaders/enumerate.wgsl`: what a model that sums over the label runs
//! its networks on.

use bytemuck::{Pod, Zeroable};

use super::CHUNK;
use super::threads::{chunk, chunks};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// B examples of D numbers; of labels D is K.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    k: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "enumerate.wgsl",
    text: include_str!("../../shaders/enumerate.wgsl"),
    common: &[super::INDEX],
    bindings: &["x", "y"],
    ..PLAIN_SOURCE
};

/// x (B,D) to y (B*K,D), assigned; recorded by [`rows`].
pub static ROWS: Kernel = Kernel {
    name: "enumerate.rows",
    formula: "y[r*K + k] = x[r]",
    params: &["B", "D", "K"],
    reads: &["x"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "rows",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize * p[2] as usize, 64),
    },
    reference: |p, reads, writes| {
        let Params { b, d, k } = params(p);
        let [b, d, k] = [b, d, k].map(|n| n as usize);
        for row in 0..b * k {
            writes[0][row * d..][..d].copy_from_slice(&reads[0][row / k * d..][..d]);
        }
    },
    accelerated: Some(rows_accelerated),
    cost: |p| Cost { flops: 0, bytes: 4 * (p[2] as u64 + 1) * p[0] as u64 * p[1] as u64 },
    cases: rows_cases,
    gradients: GradientCheck::None("copies data, which nothing trains"),
    ..PLAIN
};

/// Nothing to y (B*K,K), assigned; recorded by [`labels`].
pub static LABELS: Kernel = Kernel {
    name: "enumerate.labels",
    formula: "y[r*K + k] is 1 at k, else 0",
    reads: &[],
    shader: Shader { entry: "labels", ..ROWS.shader },
    reference: |p, _, writes| {
        let Params { b, k, .. } = params(p);
        let [b, k] = [b, k].map(|n| n as usize);
        for row in 0..b * k {
            writes[0][row * k..][..k].fill(0.0);
            writes[0][row * k + row % k] = 1.0;
        }
    },
    accelerated: None,
    cost: |p| Cost { flops: 0, bytes: 4 * p[0] as u64 * p[1] as u64 * p[2] as u64 },
    cases: labels_cases,
    gradients: GradientCheck::None("writes labels, which nothing trains"),
    ..ROWS
};

// ---- Record

/// Each row `classes` (K) times: x (B,D) to (B*K,D).
pub fn rows(r: &mut Recorder, x: Tensor, classes: usize) -> Tensor {
    let [b, d] = x.matrix();
    let y = r.tensor("enumerated", &[b * classes, d]);
    r.dispatch(&ROWS, Params { b: b as u32, d: d as u32, k: classes as u32 }, &[x], &[y]);
    y
}

/// The labels of [`rows`] of `b` examples: (B*K,K), 1 at the label.
pub fn labels(r: &mut Recorder, b: usize, classes: usize) -> Tensor {
    let y = r.tensor("labels", &[b * classes, classes]);
    r.dispatch(&LABELS, Params { b: b as u32, d: classes as u32, k: classes as u32 }, &[], &[y]);
    y
}

// ---- Accelerated

fn rows_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let Params { b, d, k } = params(p);
    let [b, d, k] = [b, d, k].map(|n| n as usize);
    chunks([(&mut writes[0][..b * k * d], k * d)], (CHUNK / (k * d)).max(1), |r, [block]| {
        let x = chunk(reads[0], d, r);
        block.chunks_mut(d).for_each(|y| y.copy_from_slice(x));
    });
}

// ---- Cases

fn case([b, d, k]: [usize; 3]) -> Case {
    Case::new(format!("{b}x{d}, {k} labels"), Params { b: b as u32, d: d as u32, k: k as u32 })
}

fn rows_cases() -> Vec<Case> {
    let case =
        |[b, d, k]: [usize; 3]| case([b, d, k]).read(uniform(1, b * d, -1.0, 1.0)).assign(b * k * d, Tolerance::Exact);
    [[1, 1, 1], [17, 65, 3], [3, 257, 10], [65, 2, 17], [128, 784, 10]].map(case).into()
}

fn labels_cases() -> Vec<Case> {
    [[1, 1], [17, 3], [65, 10], [3, 257]].map(|[b, k]| case([b, k, k]).assign(b * k * k, Tolerance::Exact)).into()
}
