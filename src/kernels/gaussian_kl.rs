//! KL(N(mean, e^logvar) || N(0,1)) by row, or by latent dimension with free bits, `shaders/gaussian_kl.wgsl`.

use bytemuck::{Pod, Zeroable};
use pulp::{Arch, Simd, WithSimd};

use super::rows::Rows;
use super::{clock, math, threads};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::weighted;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient beside the KL weight of the step; `free` is in nats a dimension.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    z: u32,
    scale: f32,
    free: f32,
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "Z", "scale", "free"];

const SOURCE: Source = Source {
    file: "gaussian_kl.wgsl",
    text: include_str!("../../shaders/gaussian_kl.wgsl"),
    common: &[super::INDEX, super::SUM, super::CLOCK],
    bindings: &["mean", "logvar", "kl", "clock", "loss_kl", "dmean", "dlogvar", "row_kl"],
    ..PLAIN_SOURCE
};

/// mean (B,Z), logvar (B,Z) to loss_kl (Z) in nats summed over the batch, assigned; recorded by [`loss`]. Kingma &
/// Welling 2013, appendix B; free bits, a floor for each dimension's KL, Kingma et al. 2016 (arXiv 1606.04934).
pub static LOSS: Kernel = Kernel {
    name: "gaussian_kl.loss",
    formula: "kl[j] = max(sum_b -(1 + logvar - mean^2 - e^logvar)/2, B * free), NaN where the sum is",
    params: FIELDS,
    reads: &["mean", "logvar"],
    writes: &["loss_kl"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[1], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [b, z] = [p.b as usize, p.z as usize];
        for j in 0..z {
            let sum: f64 = (0..b).map(|r| divergence(reads[0][r * z + j] as f64, reads[1][r * z + j] as f64)).sum();
            // Not `max`, which would turn a NaN into a KL of 0 and hide a diverged encoder.
            let floor = b as f64 * p.free as f64;
            writes[0][j] = (if sum < floor { floor } else { sum }) as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 6 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// mean (B,Z), logvar (B,Z) to row_kl (B) in nats summed over the dimensions, assigned; free bits, which are those of a
/// batch's dimensions, have no part in it. Recorded by [`rows`].
pub static ROWS: Kernel = Kernel {
    name: "gaussian_kl.rows",
    formula: "row_kl[r] = sum_j -(1 + logvar - mean^2 - e^logvar)/2",
    params: FIELDS,
    reads: &["mean", "logvar"],
    writes: &["row_kl"],
    shader: Shader { source: &SOURCE, entry: "rows", workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
    reference: |p, reads, writes| {
        let [b, z] = [p[0] as usize, p[1] as usize];
        for r in 0..b {
            let terms = (r * z..(r + 1) * z).map(|i| divergence(reads[0][i] as f64, reads[1][i] as f64));
            writes[0][r] = terms.sum::<f64>() as f32;
        }
    },
    accelerated: Some(rows_accelerated),
    cost: |p| Cost { flops: 6 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: rows_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// mean (B,Z), logvar (B,Z), the loss's kl (Z), and the clock, whose row has the KL weight, to dmean and dlogvar (B,Z),
/// assigned; recorded by [`backward`], before the gradient through z is added.
pub static BACKWARD: Kernel = Kernel {
    name: "gaussian_kl.backward",
    formula: "dmean = w * mean, dlogvar = w * (e^logvar - 1)/2, w = scale * kl_weight, 0 on free bits",
    params: FIELDS,
    reads: &["mean", "logvar", "kl", "clock"],
    writes: &["dmean", "dlogvar"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let weight = clock::Row::read(reads[3]).kl_weight;
        let p: Params = params(p);
        let [b, z] = [p.b as usize, p.z as usize];
        for i in 0..b * z {
            let rests = p.free > 0.0 && reads[2][i % z] <= b as f32 * p.free;
            let w = if rests { 0.0 } else { p.scale as f64 * weight as f64 };
            writes[0][i] = (w * reads[0][i] as f64) as f32;
            writes[1][i] = (0.5 * w * (reads[1][i] as f64).exp_m1()) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 5 * p[0] as u64 * p[1] as u64, bytes: 16 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// KL(N(mean, e^logvar) || N(0,1)) in nats (Kingma & Welling 2013, appendix B).
pub fn divergence(mean: f64, logvar: f64) -> f64 {
    0.5 * (mean * mean + logvar.exp_m1() - logvar)
}

// ---- Record

fn sizes(mean: Tensor, logvar: Tensor, scale: f32, free: f32) -> Params {
    assert!(mean.shape() == logvar.shape(), "gaussian_kl: mean {mean:?}, logvar {logvar:?}");
    let [b, z] = mean.matrix();
    Params { b: b as u32, z: z as u32, scale, free }
}

/// KL of each latent dimension in nats, summed over the batch: (B,Z) and (B,Z) to (Z).
pub fn loss(r: &mut Recorder, mean: Tensor, logvar: Tensor, free: f32) -> Tensor {
    let params = sizes(mean, logvar, 1.0, free);
    let kl = r.tensor("kl", &[params.z as usize]);
    r.dispatch(&LOSS, params, &[mean, logvar], &[kl]);
    kl
}

/// (dmean, dlogvar) of scale * kl_weight * KL, both (B,Z) and assigned; the KL weight is the clock's for this step.
pub fn backward(
    r: &mut Recorder,
    [mean, logvar, kl]: [Tensor; 3],
    clock: Tensor,
    scale: f32,
    free: f32,
) -> (Tensor, Tensor) {
    let params = sizes(mean, logvar, scale, free);
    assert!(kl.shape() == [params.z as usize], "gaussian_kl.backward: mean {mean:?}, kl {kl:?}");
    let (dmean, dlogvar) = (r.tensor("dmean", mean.shape()), r.tensor("dlogvar", mean.shape()));
    r.dispatch(&BACKWARD, params, &[mean, logvar, kl, clock], &[dmean, dlogvar]);
    (dmean, dlogvar)
}

/// KL of each row in nats, summed over the dimensions: (B,Z) and (B,Z) to (B).
pub fn rows(r: &mut Recorder, mean: Tensor, logvar: Tensor) -> Tensor {
    let params = sizes(mean, logvar, 1.0, 0.0);
    let kl = r.tensor("kl", &[params.b as usize]);
    r.dispatch(&ROWS, params, &[mean, logvar], &[kl]);
    kl
}

/// (dmean, dlogvar), both (B,Z) and assigned, of kl_weight times the [`rows`], of which each counts as `rows` says.
pub fn backward_rows(r: &mut Recorder, [mean, logvar]: [Tensor; 2], clock: Tensor, rows: Rows) -> (Tensor, Tensor) {
    let [dmean, dlogvar] = rows.apply(r, |r, scale| {
        let (dmean, dlogvar) = (r.tensor("dmean", mean.shape()), r.tensor("dlogvar", mean.shape()));
        // Without free bits nothing reads the KL: the mean stands in for it.
        r.dispatch(&BACKWARD, sizes(mean, logvar, scale, 0.0), &[mean, logvar, mean, clock], &[dmean, dlogvar]);
        [dmean, dlogvar]
    });
    (dmean, dlogvar)
}

// ---- Accelerated

fn rows_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, z] = [p[0] as usize, p[1] as usize];
    let term = |mean: f32, logvar: f32| 0.5 * (mean * mean + (math::expm1(logvar) - logvar));
    math::row_sums(&mut writes[0][..b], [reads[0], reads[1]], z, term);
}

/// Dimensions that a thread adds up side by side.
const LANES: usize = 16;

/// Threads share the dimensions: an element's sum is made by one of them, in the order of the rows.
fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, z] = [p.b as usize, p.z as usize];
    let floor = b as f32 * p.free;
    let share = (super::CHUNK / b).div_ceil(LANES).max(1);
    threads::chunks([(&mut writes[0][..z], LANES)], share, |i, [kl]| {
        let sums = Arch::new().dispatch(Sums { mean: reads[0], logvar: reads[1], b, z, first: i * LANES });
        for (kl, sum) in kl.iter_mut().zip(sums) {
            *kl = if sum < floor { floor } else { sum };
        }
    });
}

/// The divergences of 16 dimensions from `first` on, summed over the rows.
struct Sums<'a> {
    mean: &'a [f32],
    logvar: &'a [f32],
    b: usize,
    z: usize,
    first: usize,
}

impl WithSimd for Sums<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f32; LANES] {
        let width = LANES.min(self.z - self.first);
        let mut totals = [0f64; LANES];
        // Some rows in f32, these sums in f64: the error does not grow with the batch.
        for top in (0..self.b).step_by(64) {
            let mut sums = [0f32; LANES];
            for row in top..self.b.min(top + 64) {
                let at = row * self.z + self.first;
                let (mean, logvar) = (&self.mean[at..][..width], &self.logvar[at..][..width]);
                for ((sum, &mean), &logvar) in sums.iter_mut().zip(mean).zip(logvar) {
                    *sum += mean * mean + (math::expm1(logvar) - logvar);
                }
            }
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum as f64);
        }
        totals.map(|total| (0.5 * total) as f32)
    }
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let weight = clock::Row::read(reads[3]).kl_weight;
    let p: Params = params(p);
    let [b, z] = [p.b as usize, p.z as usize];
    let (w, bound) = (p.scale * weight, b as f32 * p.free);
    let kl = &reads[2][..z];
    let [dmean, dlogvar] = writes else { unreachable!("gaussian_kl.backward writes dmean and dlogvar") };
    let chunk = z * (super::CHUNK / z).max(1);
    threads::chunks([(&mut dmean[..b * z], chunk), (&mut dlogvar[..b * z], chunk)], 1, |i, [dmean, dlogvar]| {
        let [mean, logvar] = [0, 1].map(|t| &reads[t][i * chunk..][..dmean.len()]);
        dmean.copy_from_slice(mean);
        math::update(dmean, move |mean| w * mean);
        dlogvar.copy_from_slice(logvar);
        math::update(dlogvar, move |logvar| 0.5 * w * math::expm1(logvar));
        if p.free > 0.0 {
            for (j, _) in kl.iter().enumerate().filter(|&(_, &kl)| kl <= bound) {
                dmean[j..].iter_mut().step_by(z).for_each(|d| *d = 0.0);
                dlogvar[j..].iter_mut().step_by(z).for_each(|d| *d = 0.0);
            }
        }
    });
}

// ---- Cases

/// (B, Z, free): the presets' latents, odd sizes, free bits that bind on some dimensions.
const SIZES: [(usize, usize, f32); 5] = [(1, 1, 0.0), (128, 20, 0.0), (65, 3, 0.6), (17, 65, 0.9), (257, 2, 0.0)];

fn params_of((b, z, free): (usize, usize, f32)) -> Params {
    Params { b: b as u32, z: z as u32, scale: 0.7, free }
}

fn loss_cases() -> Vec<Case> {
    let case = |(b, z, free): (usize, usize, f32)| {
        Case::new(format!("{b}x{z} free {free}"), params_of((b, z, free)))
            .read(uniform(1, b * z, -1.0, 1.0))
            .read(uniform(2, b * z, -2.0, 2.0))
            .assign(z, Tolerance::Dot(4 * b))
    };
    SIZES.map(case).into()
}

fn rows_cases() -> Vec<Case> {
    let case = |(b, z, _): (usize, usize, f32)| {
        Case::new(format!("{b}x{z}"), params_of((b, z, 0.0)))
            .read(uniform(1, b * z, -1.0, 1.0))
            .read(uniform(2, b * z, -2.0, 2.0))
            .assign(b, Tolerance::Dot(4 * z))
    };
    SIZES.map(case).into()
}

fn backward_cases() -> Vec<Case> {
    let case = |(b, z, free): (usize, usize, f32)| {
        let tolerance = Tolerance::Because(2e-6, "exp - 1 near 0 and exp of an argument of size 2");
        Case::new(format!("{b}x{z} free {free}"), params_of((b, z, free)))
            .read(uniform(3, b * z, -1.0, 1.0))
            .read(uniform(4, b * z, -2.0, 2.0))
            .read(uniform(5, z, 0.0, 2.0 * b as f32 * free.max(0.1)))
            .read_words(clock::Clock::example().words())
            .assign(b * z, tolerance)
            .assign(b * z, tolerance)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: with and without free bits, and by row.
fn gradients() -> Vec<GradientCase> {
    let inputs = || vec![(vec![6, 3], uniform(1, 18, -1.0, 1.0)), (vec![6, 3], uniform(2, 18, -1.0, 1.0))];
    let case = |free: f32| GradientCase {
        label: format!("gaussian_kl free {free}"),
        inputs: inputs(),
        output: vec![1],
        record: Box::new(move |r, inputs, dy| {
            let [mean, logvar, clock] = [inputs[0], inputs[1], inputs[2]];
            let kl = loss(r, mean, logvar, free);
            let y = super::reduce::whole(r, kl.reshape(&[1, 3]));
            let (dmean, dlogvar) = backward(r, [mean, logvar, kl], clock, 1.0, free);
            (y, vec![weighted(r, dy, dmean), weighted(r, dy, dlogvar)])
        }),
        state: vec![("clock", clock::Clock::unit().words())],
    };
    let by_row = GradientCase {
        label: "gaussian_kl by row".into(),
        inputs: inputs(),
        output: vec![6],
        record: Box::new(|r, inputs, dy| {
            let [mean, logvar, clock] = [inputs[0], inputs[1], inputs[2]];
            let (dmean, dlogvar) = backward_rows(r, [mean, logvar], clock, Rows::Weights(dy));
            (rows(r, mean, logvar), vec![dmean, dlogvar])
        }),
        state: vec![("clock", clock::Clock::unit().words())],
    };
    // 0.33 binds on some of the three dimensions and not on others.
    vec![case(0.0), case(0.33), by_row]
}
