//! Gradient-norm clipping, `shaders/clip.wgsl`: `torch.nn.utils.clip_grad_norm_`.

use bytemuck::{Pod, Zeroable};

use super::threads::chunks;
use super::{CHUNK, math};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// `groups` workgroups share the sum of squares; their number is fixed, so the sum's order is too.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    groups: u32,
    max_norm: f32,
}

const GROUPS: usize = 64;

const SOURCE: Source = Source {
    file: "clip.wgsl",
    text: include_str!("../../shaders/clip.wgsl"),
    common: &[super::INDEX, super::SUM],
    bindings: &["x", "squares", "partials", "grad"],
    ..PLAIN_SOURCE
};

/// x (N), the gradients, to partials (groups), assigned: sums that a fixed number of workgroups find, so that the order
/// of the sum is fixed. Recorded by [`forward`].
pub static NORM: Kernel = Kernel {
    name: "clip.norm",
    formula: "partials[g] = sum of x^2 over the g-th share",
    params: &["N", "groups", "max_norm"],
    reads: &["x"],
    writes: &["partials"],
    shader: Shader { source: &SOURCE, entry: "norm", workgroup: [64, 1, 1], grid: |p, _| [p[1], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for g in 0..p.groups as usize {
            // A workgroup of 64 takes 64 neighbours, then the 64 that lie `groups` workgroups further on.
            let share = (0..p.n as usize).filter(|i| i / 64 % p.groups as usize == g);
            writes[0][g] = share.map(|i| (reads[0][i] as f64).powi(2)).sum::<f64>() as f32;
        }
    },
    accelerated: Some(|p, reads, writes| {
        let p: Params = params(p);
        let groups = p.groups as usize;
        // A thread takes neighbouring groups, whose elements lie side by side.
        const NEIGHBOURS: usize = 8;
        chunks([(&mut writes[0][..groups], NEIGHBOURS)], 1, |share, [partials]| {
            let mut sums = [0f32; 64 * NEIGHBOURS];
            let sums = &mut sums[..64 * partials.len()];
            for x in reads[0][..p.n as usize].chunks(64 * groups) {
                let x = x.get(64 * NEIGHBOURS * share..).unwrap_or_default();
                math::vectorised(|| sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x));
            }
            for (partial, sums) in partials.iter_mut().zip(sums.chunks(64)) {
                *partial = sums.iter().map(|&sum| sum as f64).sum::<f64>() as f32;
            }
        });
    }),
    cost: |p| Cost { flops: 2 * p[0] as u64, bytes: 4 * p[0] as u64 },
    cases: || {
        let case = |[n, groups]: [usize; 2]| {
            Case::new(format!("{n} by {groups}"), Params { n: n as u32, groups: groups as u32, max_norm: 1.0 })
                .read(uniform(1, n, -1.0, 1.0))
                .assign(groups, Tolerance::Dot(n))
        };
        [[1, 1], [65, 2], [1001, 3], [5000, 64]].map(case).into()
    },
    gradients: GradientCheck::None("scales gradients: nothing is differentiated through it"),
    ..PLAIN
};

/// squares (groups), which [`NORM`] wrote; grad (N) is scaled in place, by 1 where its norm is small enough. Recorded
/// by [`forward`]. Pascanu, Mikolov & Bengio 2013 (arXiv 1211.5063).
pub static FORWARD: Kernel = Kernel {
    name: "clip.forward",
    formula: "grad *= min(1, max_norm / (norm + 1e-6))",
    params: &["N", "groups", "max_norm"],
    reads: &["squares"],
    writes: &["grad"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let factor = factor(p, reads[0]);
        for g in &mut writes[0][..p.n as usize] {
            *g = (*g as f64 * factor) as f32;
        }
    },
    accelerated: Some(|p, reads, writes| {
        let p: Params = params(p);
        let factor = factor(p, reads[0]) as f32;
        chunks([(&mut writes[0][..p.n as usize], CHUNK)], 1, |_, [grad]| math::update(grad, move |g| g * factor));
    }),
    cost: |p| Cost { flops: p[0] as u64, bytes: 8 * p[0] as u64 },
    cases: || {
        let case = |(n, groups, max_norm): (usize, usize, f32)| {
            Case::new(format!("{n} to {max_norm}"), Params { n: n as u32, groups: groups as u32, max_norm })
                .read(uniform(1, groups, 0.0, 4.0))
                .update(uniform(2, n, -1.0, 1.0), Tolerance::Because(1e-6, "square root and division"))
        };
        [(1, 1, 0.5), (65, 2, 100.0), (1001, 64, 1.5)].map(case).into()
    },
    gradients: GradientCheck::None("scales gradients: nothing is differentiated through it"),
    ..PLAIN
};

/// What the gradients are multiplied by, from the partial sums of their squares.
fn factor(p: Params, squares: &[f32]) -> f64 {
    let norm = squares[..p.groups as usize].iter().map(|&s| s as f64).sum::<f64>().sqrt();
    (p.max_norm as f64 / (norm + 1e-6)).min(1.0)
}

/// Scales `grad`, of any shape, so that its Euclidean norm is at most `max_norm`.
pub fn forward(r: &mut Recorder, grad: Tensor, max_norm: f32) {
    let params = Params { n: grad.len() as u32, groups: GROUPS as u32, max_norm };
    let squares = r.tensor("squares", &[GROUPS]);
    r.dispatch(&NORM, params, &[grad], &[squares]);
    r.dispatch(&FORWARD, params, &[squares], &[grad]);
}
