//! Random tensors from Philox4x32-10, `shaders/random.wgsl`: keyed by (seed, step, site, element), so the same on every
//! device and recomputable. Source: Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).

use bytemuck::{Pod, Zeroable};
use pulp::{Arch, Simd, WithSimd};

use super::clock::Clock;
use super::math;
use super::threads::chunks;
use crate::cases::{Case, Tolerance};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `site` tells the draws of one program apart.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    site: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "random.wgsl",
    text: include_str!("../../shaders/random.wgsl"),
    common: &[super::INDEX, super::PHILOX],
    bindings: &["clock", "y", "bits"],
    ..PLAIN_SOURCE
};

/// The clock to bits (N), assigned: uniform 32-bit words. No model records it; its cases hold the generator to the
/// reference bit for bit.
pub static INTEGERS: Kernel = kernel(
    "random.integers",
    "integers",
    "bits = Philox words",
    &["bits"],
    |p, reads, writes| draw(p, reads, writes, |words| words.map(f32::from_bits)),
    None,
    || cases(Tolerance::Exact),
);

/// The clock to y (N), assigned: the upper 23 bits of a word and half a step, so neither 0 nor 1. Recorded by
/// [`unit()`].
pub static UNIT: Kernel = kernel(
    "random.unit",
    "unit",
    "y ~ U(0, 1)",
    &["y"],
    |p, reads, writes| draw(p, reads, writes, |words| words.map(|w| to_uniform(w) as f32)),
    Some(unit_accelerated),
    || cases(Tolerance::Exact),
);

/// The clock to y (N), assigned; recorded by [`normal`]. Box & Muller 1958: two words to two numbers.
pub static NORMAL: Kernel = kernel(
    "random.normal",
    "normal",
    "y ~ N(0, 1)",
    &["y"],
    |p, reads, writes| draw(p, reads, writes, to_normals),
    Some(normal_accelerated),
    || cases(Tolerance::Because(2e-6, "log to 3 ulp (2^-21 near 1), sine and cosine by polynomial")),
);

const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    writes: &'static [&'static str],
    reference: Reference,
    accelerated: Option<Reference>,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["N", "site"],
        reads: &["clock"],
        writes,
        shader: Shader {
            source: &SOURCE,
            entry,
            workgroup: [64, 1, 1],
            grid: |p, _| grid_1d((p[0] as usize).div_ceil(4), 64),
        },
        reference,
        accelerated,
        cost: |p| Cost { flops: 25 * p[0] as u64, bytes: 4 * p[0] as u64 },
        cases,
        gradients: GradientCheck::None("draws by counter, from nothing that is trained"),
        ..PLAIN
    }
}

// ---- Record

/// Standard normal numbers of this shape, new at each step.
pub fn normal(r: &mut Recorder, clock: Tensor, shape: &[usize]) -> Tensor {
    record(r, &NORMAL, clock, shape)
}

/// Uniform numbers strictly inside (0, 1), new at each step.
pub fn unit(r: &mut Recorder, clock: Tensor, shape: &[usize]) -> Tensor {
    record(r, &UNIT, clock, shape)
}

fn record(r: &mut Recorder, kernel: &'static Kernel, clock: Tensor, shape: &[usize]) -> Tensor {
    let y = r.tensor("noise", shape);
    let site = r.random_site();
    r.dispatch(kernel, Params { n: y.len() as u32, site }, &[clock], &[y]);
    y
}

// ---- References

/// Four random words from a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        c = philox_round(c, k);
        k = next_key(k);
    }
    c
}

#[inline(always)]
fn philox_round(c: [u32; 4], k: [u32; 2]) -> [u32; 4] {
    let a = 0xD251_1F53_u64 * c[0] as u64;
    let b = 0xCD9E_8D57_u64 * c[2] as u64;
    [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32]
}

#[inline(always)]
fn next_key(k: [u32; 2]) -> [u32; 2] {
    [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)]
}

/// Strictly inside (0, 1): 23 bits and half a step.
pub fn to_uniform(bits: u32) -> f64 {
    ((bits >> 9) as f64 + 0.5) / (1 << 23) as f64
}

/// Box and Muller (1958): each two words to two normal numbers.
fn to_normals(words: [u32; 4]) -> [f32; 4] {
    let pair = |a: u32, b: u32| {
        let radius = (-2.0 * to_uniform(a).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * to_uniform(b)).sin_cos();
        [(radius * cos) as f32, (radius * sin) as f32]
    };
    let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
    [a, b, c, d]
}

/// What random.normal draws for element `i` at that site, at the step of the clock.
pub(super) fn normal_at(i: usize, site: u32, clock: &[f32]) -> f32 {
    let clock = |i: usize| clock[i].to_bits();
    to_normals(philox([i as u32 / 4, site, clock(2), 0], [clock(0), clock(1)]))[i % 4]
}

/// Standard normal numbers on the host, from the same generator at step 0: for latent points to draw.
pub fn host_normal(seed: u64, site: u32, n: usize) -> Vec<f32> {
    let blocks = (0..n.div_ceil(4) as u32).map(|i| philox([i, site, 0, 0], [seed as u32, (seed >> 32) as u32]));
    blocks.flat_map(to_normals).take(n).collect()
}

/// Uniform numbers in (0,1) on the host, likewise.
pub fn host_uniform(seed: u64, site: u32, n: usize) -> Vec<f64> {
    let blocks = (0..n.div_ceil(4) as u32).map(|i| philox([i, site, 0, 0], [seed as u32, (seed >> 32) as u32]));
    blocks.flat_map(|words| words.map(to_uniform)).take(n).collect()
}

fn draw(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]], convert: impl Fn([u32; 4]) -> [f32; 4]) {
    let p: Params = params(p);
    let clock = |i: usize| reads[0][i].to_bits();
    for (block, four) in writes[0][..p.n as usize].chunks_mut(4).enumerate() {
        let words = philox([block as u32, p.site, clock(2), 0], [clock(0), clock(1)]);
        four.copy_from_slice(&convert(words)[..four.len()]);
    }
}

// ---- Accelerated

/// Blocks of four of them.
const LANES: usize = 64;

fn unit_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [low, high, step] = [0, 1, 2].map(|i: usize| reads[0][i].to_bits());
    chunks([(&mut writes[0][..p.n as usize], 4 * LANES)], 8, |i, [y]| {
        math::vectorised(|| {
            for (block, four) in y.chunks_mut(4).enumerate() {
                let words = philox([(i * LANES + block) as u32, p.site, step, 0], [low, high]);
                four.iter_mut().zip(words).for_each(|(y, word)| *y = to_uniform(word) as f32);
            }
        });
    });
}

fn normal_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    chunks([(&mut writes[0][..p.n as usize], 4 * LANES)], 8, |i, [y]| normals(4 * i * LANES, y, p.site, reads[0]));
}

/// What random.normal draws for the elements from `first` on: [`to_normals`] by polynomials, error below 2e-6. A number
/// depends on its index alone, not on where the piece begins.
pub(super) fn normals(first: usize, mut y: &mut [f32], site: u32, clock: &[f32]) {
    let word = |i: usize| clock[i].to_bits();
    let (mut block, mut skip) = (first / 4, first % 4);
    while !y.is_empty() {
        let blocks = (skip + y.len()).div_ceil(4).min(LANES);
        let (now, later) = y.split_at_mut(y.len().min(4 * blocks - skip));
        let counter = [block as u32, site, word(2), 0];
        Arch::new().dispatch(Normals { y: now, skip, blocks, counter, key: [word(0), word(1)] });
        (y, block, skip) = (later, block + blocks, 0);
    }
}

/// Numbers of at most [`LANES`] blocks, without the first `skip` of them.
struct Normals<'a> {
    y: &'a mut [f32],
    skip: usize,
    blocks: usize,
    counter: [u32; 4],
    key: [u32; 2],
}

impl WithSimd for Normals<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Whole vectors.
        let lanes = self.blocks.next_multiple_of(16);
        let [mut w0, mut w1, mut w2, mut w3] = self.counter.map(|word| [word; LANES]);
        for (j, word) in w0.iter_mut().enumerate() {
            *word = word.wrapping_add(j as u32);
        }
        let mut key = self.key;
        for _ in 0..10 {
            for j in 0..lanes {
                [w0[j], w1[j], w2[j], w3[j]] = philox_round([w0[j], w1[j], w2[j], w3[j]], key);
            }
            key = next_key(key);
        }
        let mut numbers = [0f32; 4 * LANES];
        for (half, [a, b]) in [[&w0, &w1], [&w2, &w3]].into_iter().enumerate() {
            let (mut cos, mut sin) = ([0f32; LANES], [0f32; LANES]);
            for j in 0..lanes {
                let unit = |bits: u32| ((bits >> 9) as f32 + 0.5) * (1.0 / (1 << 23) as f32);
                let radius = (-2.0 * math::ln(unit(a[j]))).sqrt();
                let (s, c) = math::sin_cos_turn(unit(b[j]));
                (cos[j], sin[j]) = (radius * c, radius * s);
            }
            for (j, four) in numbers.chunks_exact_mut(4).enumerate() {
                (four[2 * half], four[2 * half + 1]) = (cos[j], sin[j]);
            }
        }
        self.y.copy_from_slice(&numbers[self.skip..][..self.y.len()]);
    }
}

// ---- Cases

fn cases(tolerance: Tolerance) -> Vec<Case> {
    let case = |n: usize| {
        Case::new(format!("{n}"), Params { n: n as u32, site: 5 })
            .read_words(Clock::example().words())
            .assign(n, tolerance)
    };
    [1, 6, 257, 4099].map(case).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the authors' Random123 distribution, file kat_vectors.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn normal_numbers_have_the_moments_of_a_normal() {
        let n = 400_000;
        let mut sums = [0f64; 4];
        for block in 0..n / 4 {
            for v in to_normals(philox([block as u32, 1, 2, 0], [3, 4])) {
                (1..=4).for_each(|k| sums[k - 1] += (v as f64).powi(k as i32) / n as f64);
            }
        }
        // Four standard errors: sqrt(E[x^2k] - E[x^k]^2) / sqrt(n) = 1, 1.41, 3.87, 9.80 over 632.
        for (sum, (want, deviation)) in sums.iter().zip([(0.0, 1.0), (1.0, 1.41), (0.0, 3.87), (3.0, 9.80)]) {
            assert!((sum - want).abs() < 4.0 * deviation / (n as f64).sqrt(), "{sums:?}");
        }
    }
}
