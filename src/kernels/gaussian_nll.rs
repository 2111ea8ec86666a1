//! -log N(x; mean, e^logvar) of rows of numbers of which some are missing, `shaders/gaussian_nll.wgsl`:
//! `GaussianNLLLoss` of PyTorch with `full=True`, of a log variance, summed a row.

use bytemuck::{Pod, Zeroable};

use super::rows::Rows;
use super::threads::chunks;
use super::{CHUNK, math};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient: 1 for a summed loss, 1/B for a mean over the batch.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    r: u32,
    c: u32,
    scale: f32,
}

// ---- Kernels

const FIELDS: &[&str] = &["R", "C", "scale"];
const READS: &[&str] = &["mean", "logvar", "x", "seen"];

const SOURCE: Source = Source {
    file: "gaussian_nll.wgsl",
    text: include_str!("../../shaders/gaussian_nll.wgsl"),
    common: &[super::INDEX],
    bindings: &["mean", "logvar", "x", "seen", "rows", "dmean", "dlogvar"],
    ..PLAIN_SOURCE
};

/// mean, logvar, x and seen, which is 0 where x is missing, (R,C) each, to rows (R) in nats, assigned; recorded by
/// [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "gaussian_nll.loss",
    formula: "rows[r] = sum_c (log 2pi + logvar + (x - mean)^2 e^-logvar)/2 where seen",
    params: FIELDS,
    reads: READS,
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
    reference: |p, reads, writes| {
        let [r, c] = [p[0] as usize, p[1] as usize];
        for row in 0..r {
            let seen = (row * c..(row + 1) * c).filter(|&i| reads[3][i] != 0.0);
            writes[0][row] = seen.map(|i| nats([0, 1, 2].map(|t| reads[t][i] as f64))).sum::<f64>() as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 7 * p[0] as u64 * p[1] as u64, bytes: 16 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// The same to dmean and dlogvar (R,C), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "gaussian_nll.backward",
    formula: "dmean = -scale (x - mean) e^-logvar, dlogvar = scale (1 - (x - mean)^2 e^-logvar)/2, 0 where not seen",
    params: FIELDS,
    reads: READS,
    writes: &["dmean", "dlogvar"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.r as usize * p.c as usize {
            let [mean, logvar, x] = [0, 1, 2].map(|t| reads[t][i] as f64);
            let (away, precision, scale) = (x - mean, (-logvar).exp(), p.scale as f64);
            let is_missing = reads[3][i] == 0.0;
            writes[0][i] = if is_missing { 0.0 } else { (-scale * away * precision) as f32 };
            writes[1][i] = if is_missing { 0.0 } else { (0.5 * scale * (1.0 - away * away * precision)) as f32 };
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 8 * p[0] as u64 * p[1] as u64, bytes: 24 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// -log N(x; mean, e^logvar).
fn nats([mean, logvar, x]: [f64; 3]) -> f64 {
    0.5 * ((2.0 * std::f64::consts::PI).ln() + logvar + (x - mean).powi(2) * (-logvar).exp())
}

// ---- Record

fn sizes([mean, logvar]: [Tensor; 2], x: Tensor, seen: Tensor, scale: f32) -> Params {
    let fits = [logvar, x, seen].iter().all(|t| t.shape() == mean.shape());
    assert!(fits, "gaussian_nll: mean {mean:?}, logvar {logvar:?}, x {x:?}, seen {seen:?}");
    let [r, c] = mean.matrix();
    Params { r: r as u32, c: c as u32, scale }
}

/// -log N(x; mean, e^logvar) of each row in nats, summed over the numbers that were seen: mean, logvar, x and seen
/// (R,C), the last 0 where x is missing and else 1, to (R).
pub fn loss(r: &mut Recorder, [mean, logvar]: [Tensor; 2], x: Tensor, seen: Tensor) -> Tensor {
    let params = sizes([mean, logvar], x, seen, 1.0);
    let rows = r.tensor("recon", &[params.r as usize]);
    r.dispatch(&LOSS, params, &[mean, logvar, x, seen], &[rows]);
    rows
}

/// dmean and dlogvar, (R,C) each and 0 where x is missing, of the rows of [`loss`], of which each counts as `weight`
/// says.
pub fn backward(r: &mut Recorder, [mean, logvar]: [Tensor; 2], x: Tensor, seen: Tensor, weight: Rows) -> [Tensor; 2] {
    weight.apply(r, |r, scale| {
        let params = sizes([mean, logvar], x, seen, scale);
        let gradients = ["dmean", "dlogvar"].map(|name| r.tensor(name, mean.shape()));
        r.dispatch(&BACKWARD, params, &[mean, logvar, x, seen], &gradients);
        gradients
    })
}

// ---- Accelerated

fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    const LOG_2PI: f32 = 1.837_877_1;
    let [r, c] = [p[0] as usize, p[1] as usize];
    chunks([(&mut writes[0][..r], 1)], (CHUNK / c).max(1), |row, [sum]| {
        let term = |i: usize| {
            let [mean, logvar, x, seen] = [0, 1, 2, 3].map(|t| reads[t][i]);
            let nats = 0.5 * (LOG_2PI + logvar + (x - mean) * (x - mean) * math::exp(-logvar));
            f64::from(if seen == 0.0 { 0.0 } else { nats })
        };
        sum[0] = (row * c..(row + 1) * c).map(term).sum::<f64>() as f32;
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let inputs = [reads[0], reads[1], reads[2], reads[3]];
    math::map_all(p.r as usize * p.c as usize, writes, inputs, move |[mean, logvar, x, seen]| {
        let (away, precision) = (x - mean, math::exp(-logvar));
        let gradients = [-p.scale * away * precision, 0.5 * p.scale * (1.0 - away * away * precision)];
        gradients.map(|gradient| if seen == 0.0 { 0.0 } else { gradient })
    });
}

// ---- Cases

/// (R, C): a window of series, odd sizes.
const SIZES: [[usize; 2]; 5] = [[1, 1], [2048, 8], [65, 3], [17, 65], [257, 1]];

/// A quarter of the numbers are missing, of the first row all; a missing one is NaN here, and must not be used.
fn inputs([r, c]: [usize; 2]) -> Case {
    let of = |seed, size: f32| uniform(seed, r * c, -size, size);
    let seen: Vec<f32> =
        uniform(4, r * c, 0.0, 1.0).iter().enumerate().map(|(i, u)| f32::from(i >= c && *u > 0.25)).collect();
    let mut x = of(3, 2.0);
    x.iter_mut().zip(&seen).for_each(|(x, seen)| *x = if *seen == 0.0 { f32::NAN } else { *x });
    let case = Case::new(format!("{r}x{c}"), Params { r: r as u32, c: c as u32, scale: 0.7 });
    case.read(of(1, 1.0)).read(of(2, 3.0)).read(x).read(seen)
}

fn loss_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "exponentials of arguments of size 3, summed up");
    SIZES.map(|size| inputs(size).assign(size[0], tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "exp of arguments of size 3, and 1 minus a number near 1");
    SIZES.map(|[r, c]| inputs([r, c]).assign(r * c, tolerance).assign(r * c, tolerance)).into()
}

// ---- Gradients

/// For the finite-difference check: each row with a weight of its own, one number missing.
fn gradients() -> Vec<GradientCase> {
    let input = |seed| (vec![5, 3], uniform(seed, 15, -1.0, 1.0));
    vec![GradientCase {
        label: "gaussian_nll".into(),
        inputs: vec![input(1), input(2)],
        output: vec![5],
        record: Box::new(|r, inputs, dy| {
            let ([mean, logvar], x) = ([inputs[0], inputs[1]], r.tensor("x", &[5, 3]));
            super::fill::forward(r, x, 0.3);
            let seen = inputs[2].reshape(&[5, 3]);
            let rows = loss(r, [mean, logvar], x, seen);
            let gradients = backward(r, [mean, logvar], x, seen, Rows::Weights(dy));
            (rows, gradients.into())
        }),
        state: vec![("seen", (0..15).map(|i| f32::from(i != 4).to_bits()).collect())],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (mean, logvar, x) and `GaussianNLLLoss(full=True, reduction="none", eps=0)(mean, x, logvar.exp())` of PyTorch
    /// 2.15.0 in float64.
    #[test]
    fn it_is_that_of_pytorch() {
        for (values, want) in [
            ([0.0, 0.0, 0.0], 0.9189385332046727),
            ([0.4, -1.5, -0.8], 3.3957546638480802),
            ([-2.0, 1.2, 3.0], 5.283866182107198),
        ] {
            assert!((nats(values) - want).abs() < 1e-12, "{values:?}: {} {want}", nats(values));
        }
    }
}
