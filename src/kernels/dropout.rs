//! Each element dropped with probability p, the others scaled by 1 / (1 - p), `shaders/dropout.wgsl`:
//! `torch.nn.Dropout` (Srivastava et al. 2014). The mask is keyed by (seed, step, site, element), so that the backward
//! draws it again and nothing is stored.

use bytemuck::{Pod, Zeroable};

use super::clock::Clock;
use super::random::philox;
use super::threads::chunks;
use super::{CHUNK, math};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// An element is dropped where its random word is below `threshold`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    site: u32,
    threshold: u32,
    scale: f32,
}

impl Params {
    /// Panics where p is outside [0, 1).
    fn new(n: usize, p: f32, site: u32) -> Params {
        assert!((0.0..1.0).contains(&p), "dropout: probability {p} is not in [0, 1)");
        let threshold = (p as f64 * (1u64 << 32) as f64) as u32;
        Params { n: n as u32, site, threshold, scale: (1.0 / (1.0 - p as f64)) as f32 }
    }

    /// What the four elements of a block are multiplied by. A product, not a choice, so that a NaN stays one where it
    /// is dropped.
    #[inline(always)]
    fn factors(&self, clock: [u32; 3], block: usize) -> [f32; 4] {
        let words = philox([block as u32, self.site, clock[2], 0], [clock[0], clock[1]]);
        words.map(|word| if word >= self.threshold { self.scale } else { 0.0 })
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "dropout.wgsl",
    text: include_str!("../../shaders/dropout.wgsl"),
    common: &[super::INDEX, super::PHILOX],
    bindings: &["x", "dy", "clock", "y", "dx"],
    ..PLAIN_SOURCE
};

/// x (N) and the clock to y (N), assigned; keep is 0 or 1, from one Philox word an element. Recorded by [`forward`].
pub static FORWARD: Kernel =
    kernel("dropout.forward", "forward", "y = x * keep / (1 - p)", &["x", "clock"], &["y"], || cases(1));
/// dy (N) and the clock to dx (N), assigned, with the forward's keep drawn again; recorded by [`backward`].
pub static BACKWARD: Kernel =
    kernel("dropout.backward", "backward", "dx = dy * keep / (1 - p)", &["dy", "clock"], &["dx"], || cases(2));

/// Both are the same product; they differ in the names of their tensors.
const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["N", "site", "threshold", "scale"],
        reads,
        writes,
        shader: Shader {
            source: &SOURCE,
            entry,
            workgroup: [64, 1, 1],
            grid: |p, _| grid_1d((p[0] as usize).div_ceil(4), 64),
        },
        software: None,
        candidates: None,
        reference: |p, reads, writes| {
            let p: Params = params(p);
            let clock = [0, 1, 2].map(|i: usize| reads[1][i].to_bits());
            for i in 0..p.n as usize {
                writes[0][i] = reads[0][i] * p.factors(clock, i / 4)[i % 4];
            }
        },
        accelerated: Some(accelerated),
        cost: |p| Cost { flops: 25 * p[0] as u64, bytes: 8 * p[0] as u64 },
        cases,
        gradients: GradientCheck::Cases(gradients),
    }
}

// ---- Record

/// y = x * keep / (1 - p), any shape, p in `[0,1)`. A site of the recorder's own for each dropout.
pub fn forward(r: &mut Recorder, x: Tensor, clock: Tensor, p: f32, site: u32) -> Tensor {
    let y = r.tensor("y", x.shape());
    r.dispatch(&FORWARD, Params::new(x.len(), p, site), &[x, clock], &[y]);
    y
}

/// dx = dy * keep / (1 - p), with the p and the site of the forward.
pub fn backward(r: &mut Recorder, dy: Tensor, clock: Tensor, p: f32, site: u32) -> Tensor {
    let dx = r.tensor("dx", dy.shape());
    r.dispatch(&BACKWARD, Params::new(dy.len(), p, site), &[dy, clock], &[dx]);
    dx
}

// ---- Accelerated

fn accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.n as usize;
    let clock = [0, 1, 2].map(|i: usize| reads[1][i].to_bits());
    chunks([(&mut writes[0][..n], CHUNK)], 1, |i, [y]| {
        let x = &reads[0][i * CHUNK..][..y.len()];
        let first = i * CHUNK / 4;
        math::vectorised(|| {
            for (block, (y, x)) in y.chunks_mut(4).zip(x.chunks(4)).enumerate() {
                let factors = p.factors(clock, first + block);
                y.iter_mut().zip(x).zip(factors).for_each(|((y, x), factor)| *y = x * factor);
            }
        });
    });
}

// ---- Cases

fn cases(seed: u64) -> Vec<Case> {
    let case = |(n, p): (usize, f32)| {
        Case::new(format!("{n}, p = {p}"), Params::new(n, p, 7))
            .read(uniform(seed, n, 0.5, 1.5))
            .read_words(Clock::example().words())
            .assign(n, Tolerance::Exact)
    };
    // The last of 20003 lies in the third chunk of the CPU's.
    [(1, 0.0), (6, 0.5), (257, 0.1), (1001, 0.9), (20003, 0.3)].map(case).into()
}

// ---- Gradients

/// For the finite-difference check: a mask that the clock fixes.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "dropout".into(),
        inputs: vec![(vec![5, 7], uniform(1, 35, -1.0, 1.0))],
        output: vec![5, 7],
        record: Box::new(|r, inputs, dy| {
            let site = r.random_site();
            (forward(r, inputs[0], inputs[1], 0.4, site), vec![backward(r, dy, inputs[1], 0.4, site)])
        }),
        state: vec![("clock", Clock::example().words())],
    }]
}
