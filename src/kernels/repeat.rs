//! Each row K times, one after the other, `shaders/repeat.wgsl`: `torch.repeat_interleave`. What several samples of z
//! share: the picture that each is to explain, and its label.

use bytemuck::{Pod, Zeroable};

use super::threads::chunks;
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    i: u32,
    k: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "repeat.wgsl",
    text: include_str!("../../shaders/repeat.wgsl"),
    common: &[super::INDEX],
    bindings: &["a", "y"],
    ..PLAIN_SOURCE
};

/// a (B,I) to y (B*K,I), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "repeat.forward",
    formula: "y[b*K + k, i] = a[b, i]",
    params: &["B", "I", "K"],
    reads: &["a"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize * p[2] as usize, 64),
    },
    reference: |p, reads, writes| {
        let [b, i, k] = [0, 1, 2].map(|n| p[n] as usize);
        for row in 0..b * k {
            writes[0][row * i..][..i].copy_from_slice(&reads[0][row / k * i..][..i]);
        }
    },
    accelerated: Some(accelerated),
    cost: |p| {
        let written = p[0] as u64 * p[1] as u64 * p[2] as u64;
        Cost { flops: 0, bytes: 4 * (written + p[0] as u64 * p[1] as u64) }
    },
    cases,
    gradients: GradientCheck::None("repeats pictures and labels, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// (B,I) to (B*K,I): row b*K + k is row b.
pub fn forward(r: &mut Recorder, a: Tensor, times: usize) -> Tensor {
    let [b, i] = a.matrix();
    let y = r.tensor("repeated", &[b * times, i]);
    r.dispatch(&FORWARD, Params { b: b as u32, i: i as u32, k: times as u32 }, &[a], &[y]);
    y
}

// ---- Accelerated

fn accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, i, k] = [0, 1, 2].map(|n| p[n] as usize);
    chunks([(&mut writes[0][..b * k * i], i)], (super::CHUNK / i).max(1), |row, [y]| {
        y.copy_from_slice(&reads[0][row / k * i..][..i]);
    });
}

// ---- Cases

fn cases() -> Vec<Case> {
    let case = |[b, i, k]: [usize; 3]| {
        Case::new(format!("{b}x{i} {k} times"), Params { b: b as u32, i: i as u32, k: k as u32 })
            .read(uniform(1, b * i, -1.0, 1.0))
            .assign(b * i * k, Tolerance::Exact)
    };
    [[1, 1, 1], [17, 65, 3], [3, 257, 5], [65, 10, 1], [20, 784, 5]].map(case).into()
}
