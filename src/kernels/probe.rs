//! What a device can do at most, `shaders/probe.wgsl`: the kernels that `instruments::peak` times.

use bytemuck::{Pod, Zeroable};
use pulp::{Simd, WithSimd};

use super::CHUNK;
use super::threads::chunks;
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    rounds: u32,
}

const PARAMS: &[&str] = &["N", "rounds"];
/// Chains of multiply-adds of an element.
const CHAINS: usize = 32;
/// Steps of a chain in a round.
const STEPS: usize = 8;

const SOURCE: Source = Source {
    file: "probe.wgsl",
    text: include_str!("../../shaders/probe.wgsl"),
    common: &[super::INDEX],
    bindings: &["x", "y"],
    ..PLAIN_SOURCE
};

/// The kernel whose floating-point rate is the device's.
pub static MULTIPLY_ADD: Kernel = Kernel {
    name: "probe.multiply_add",
    formula: "y = sum of 32 chains of 8*rounds steps a = x a + (1-x)",
    params: PARAMS,
    reads: &["x"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "multiply_add",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.n as usize {
            let s = reads[0][i] as f64;
            let mut sum = 0.0;
            for c in 0..CHAINS {
                let mut a = c as f64;
                for _ in 0..STEPS * p.rounds as usize {
                    a = s * a + (1.0 - s);
                }
                sum += a;
            }
            writes[0][i] = sum as f32;
        }
    },
    accelerated: Some(multiply_add_accelerated),
    cost: |p| Cost { flops: flops(p[0] as usize, p[1] as usize), bytes: 8 * p[0] as u64 },
    cases: || {
        let tolerance =
            Tolerance::Because(1e-5, "40 steps of positive terms, each rounded at most twice, and their sum");
        let case = |(n, rounds): (usize, u32)| {
            Case::new(format!("{n}, {rounds} rounds"), Params { n: n as u32, rounds })
                .read(uniform(1, n, 0.8, 1.0))
                .assign(n, tolerance)
        };
        [(1, 0), (7, 1), (65, 2), (257, 5)].map(case).into()
    },
    gradients: GradientCheck::None("measures a device and is in no model"),
    ..PLAIN
};

/// The kernel whose memory traffic is the device's.
pub static COPY: Kernel = Kernel {
    name: "probe.copy",
    formula: "y = x",
    params: PARAMS,
    reads: &["x"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "copy",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d((p[0] as usize).div_ceil(8), 64),
    },
    reference: |p, reads, writes| {
        let n = p[0] as usize;
        writes[0][..n].copy_from_slice(&reads[0][..n]);
    },
    accelerated: Some(|p, reads, writes| {
        let n = p[0] as usize;
        chunks([(&mut writes[0][..n], CHUNK)], 1, |i, [y]| y.copy_from_slice(&reads[0][i * CHUNK..][..y.len()]));
    }),
    cost: |p| Cost { flops: 0, bytes: 8 * p[0] as u64 },
    cases: || {
        let case = |n: usize| {
            Case::new(format!("{n}"), Params { n: n as u32, rounds: 0 })
                .read(uniform(1, n, -1.0, 1.0))
                .assign(n, Tolerance::Exact)
        };
        [1, 65, 511, 1024, 4099, 4160].map(case).into()
    },
    gradients: GradientCheck::None("measures a device and is in no model"),
    ..PLAIN
};

/// The kernel whose time is that of a dispatch itself.
pub static EMPTY: Kernel = Kernel {
    name: "probe.empty",
    formula: "y[0] += 1",
    params: PARAMS,
    reads: &[],
    writes: &["y"],
    shader: Shader { source: &SOURCE, entry: "empty", workgroup: [1, 1, 1], grid: |_, _| [1, 1, 1] },
    reference: |_, _, writes| writes[0][0] += 1.0,
    cost: |_| Cost { flops: 1, bytes: 8 },
    cases: || {
        let case = |n: usize| {
            Case::new(format!("{n}"), Params { n: n as u32, rounds: 0 })
                .update(uniform(1, n, -1.0, 1.0), Tolerance::Exact)
        };
        [1, 5].map(case).into()
    },
    gradients: GradientCheck::None("measures a device and is in no model"),
    ..PLAIN
};

/// Floating-point operations of [`multiply_add`] on `n` elements, a multiply-add counted as two.
pub fn flops(n: usize, rounds: usize) -> u64 {
    2 * (CHAINS * STEPS) as u64 * n as u64 * rounds as u64
}

/// 32 chains of 8 * `rounds` multiply-adds of each element of `x`, from 0 to 1; their sums in `y`.
pub fn multiply_add(r: &mut Recorder, x: Tensor, y: Tensor, rounds: usize) {
    assert!(x.len() == y.len(), "probe.multiply_add: x {x:?}, y {y:?}");
    r.dispatch(&MULTIPLY_ADD, Params { n: x.len() as u32, rounds: rounds as u32 }, &[x], &[y]);
}

/// `y` becomes `x`.
pub fn copy(r: &mut Recorder, x: Tensor, y: Tensor) {
    assert!(x.len() == y.len(), "probe.copy: x {x:?}, y {y:?}");
    r.dispatch(&COPY, Params { n: x.len() as u32, rounds: 0 }, &[x], &[y]);
}

/// Adds 1 to the first element of `y`.
pub fn empty(r: &mut Recorder, y: Tensor) {
    r.dispatch(&EMPTY, Params { n: y.len() as u32, rounds: 0 }, &[], &[y]);
}

fn multiply_add_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.n as usize;
    let arch = pulp::Arch::new();
    chunks([(&mut writes[0][..n], 256)], 1, |i, [y]| {
        let x = &reads[0][i * 256..][..y.len()];
        arch.dispatch(Chains { x, y, steps: STEPS * p.rounds as usize });
    });
}

/// The chains of some elements, as many elements at a time as a vector holds.
struct Chains<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    steps: usize,
}

impl WithSimd for Chains<'_> {
    type Output = ();

    /// A multiply-add takes about four cycles, and two are begun in each: eight chains at once keep a core busy, more
    /// of them better so, as long as they stay in registers.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (y, x) in self.y.chunks_mut(S::F32_LANES).zip(self.x.chunks(S::F32_LANES)) {
            let s = simd.partial_load_f32s(x);
            let sum = if S::REGISTER_COUNT > 16 {
                chains::<S, 16>(simd, s, self.steps)
            } else {
                chains::<S, 8>(simd, s, self.steps)
            };
            simd.partial_store_f32s(y, sum);
        }
    }
}

/// The sum of the chains of one vector of elements, `AT_ONCE` of them side by side.
#[inline(always)]
fn chains<S: Simd, const AT_ONCE: usize>(simd: S, s: S::f32s, steps: usize) -> S::f32s {
    let t = simd.sub_f32s(simd.splat_f32s(1.0), s);
    let mut sum = simd.splat_f32s(0.0);
    for first in (0..CHAINS).step_by(AT_ONCE) {
        let mut chains: [_; AT_ONCE] = std::array::from_fn(|c| simd.splat_f32s((first + c) as f32));
        for _ in 0..steps {
            for a in &mut chains {
                *a = simd.mul_add_e_f32s(*a, s, t);
            }
        }
        for a in chains {
            sum = simd.add_f32s(sum, a);
        }
    }
    sum
}
