//! Sets every element, `shaders/fill.wgsl`. It has no backward: its output depends on nothing.

use bytemuck::{Pod, Zeroable};

use super::threads::chunks;
use crate::cases::{Case, Tolerance};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    value: f32,
}

const SOURCE: Source = Source {
    file: "fill.wgsl",
    text: include_str!("../../shaders/fill.wgsl"),
    common: &[super::INDEX],
    bindings: &["y"],
    ..PLAIN_SOURCE
};

/// y (N), assigned; recorded by [`forward`], first in a step to clear the gradients.
pub static FORWARD: Kernel = Kernel {
    name: "fill.forward",
    formula: "y = value",
    params: &["N", "value"],
    reads: &[],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d((p[0] as usize).div_ceil(4), 64),
    },
    reference: |p, _, writes| {
        let p: Params = params(p);
        writes[0][..p.n as usize].fill(p.value);
    },
    accelerated: Some(|p, _, writes| {
        let p: Params = params(p);
        chunks([(&mut writes[0][..p.n as usize], 4 * super::CHUNK)], 1, |_, [y]| y.fill(p.value));
    }),
    cost: |p| Cost { flops: 0, bytes: 4 * p[0] as u64 },
    cases: || {
        let case =
            |n: usize| Case::new(format!("{n}"), Params { n: n as u32, value: 0.25 }).assign(n, Tolerance::Exact);
        [1, 4, 65, 257, 1023, 40_000].map(case).into()
    },
    gradients: GradientCheck::None("assigns a constant, which depends on nothing"),
    ..PLAIN
};

/// Every element of `y` becomes `value`.
pub fn forward(r: &mut Recorder, y: Tensor, value: f32) {
    r.dispatch(&FORWARD, Params { n: y.len() as u32, value }, &[], &[y]);
}
