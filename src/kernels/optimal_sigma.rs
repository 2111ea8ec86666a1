//! Squared error as the negative log-likelihood of a Gaussian whose sigma is the best one for the batch,
//! `shaders/optimal_sigma.wgsl`: the optimal sigma-VAE (Rybkin, Daniilidis & Levine 2020, arXiv 2006.13202).
//!
//! With N = B D pixels and S the sum of their squared errors, a batch costs
//!
//! ```text
//! L(y, sigma) = N log sigma + N/2 log(2 pi) + S / (2 sigma^2),   dL/dsigma = N/sigma - S/sigma^3
//! ```
//!
//! so the best sigma is sigma*^2 = S/N, and L there is N/2 (log(2 pi sigma*^2) + 1). As dL/dsigma = 0 at sigma*, the
//! way from y to L through sigma* adds nothing to the gradient (the envelope theorem): dL/dy = (y - x) / sigma*^2.
//!
//! Perfect pictures would send sigma* to 0 and the loss to minus infinity, so log sigma is clipped softly at -6:
//! log sigma = -6 + softplus(u), u = log sigma* + 6, that is sigma = sigma* (1 + e^-u). Then dL/dsigma is no longer 0
//! and the loss as a function of y alone has the gradient
//!
//! ```text
//! (y - x) / sigma^2 * (1 + sigmoid(u) ((1 + e^-u)^2 - 1))
//! ```
//!
//! of which `backward` gives the part before the bracket: sigma is held fixed. The direction is the same for the whole
//! batch and its length differs by 2 e^-u, which is below 1 % for sigma* above 0.5, 12 % at 1/25.5 (10 of 255 grey
//! levels), and 2.5 times at the clip itself.

use bytemuck::{Pod, Zeroable};

use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::weighted;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    scale: f32,
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "D", "scale"];

const SOURCE: Source = Source {
    file: "optimal_sigma.wgsl",
    text: include_str!("../../shaders/optimal_sigma.wgsl"),
    common: &[super::INDEX, super::SUM],
    bindings: &["y", "x", "errors", "sigma", "row_errors", "rows", "batch_sigma", "dy"],
    ..PLAIN_SOURCE
};

/// Means y (B,D), x (B,D) to row_errors (B), assigned; recorded by [`loss`].
pub static SQUARES: Kernel = Kernel {
    name: "optimal_sigma.squares",
    formula: "row_errors[r] = sum_d (y - x)^2",
    params: FIELDS,
    reads: &["y", "x"],
    writes: &["row_errors"],
    shader: Shader { source: &SOURCE, entry: "squares", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let [b, d] = [p[0] as usize, p[1] as usize];
        for r in 0..b {
            let squares = (r * d..(r + 1) * d).map(|i| (reads[0][i] as f64 - reads[1][i] as f64).powi(2));
            writes[0][r] = squares.sum::<f64>() as f32;
        }
    },
    accelerated: Some(squares_accelerated),
    cost: |p| Cost { flops: 3 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: squares_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// errors (B), which [`SQUARES`] wrote, to rows (B) in nats and batch_sigma (1), both assigned; sigma*^2 is the mean of
/// the B*D squared errors. Recorded by [`loss`]. Rybkin et al. 2020.
pub static LOSS: Kernel = Kernel {
    name: "optimal_sigma.loss",
    formula: "log sigma = -6 + softplus(log sigma* + 6); rows[r] = D/2 log(2 pi sigma^2) + errors[r] / (2 sigma^2)",
    params: FIELDS,
    reads: &["errors"],
    writes: &["rows", "batch_sigma"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |_, _| [1, 1, 1] },
    reference: |p, reads, writes| {
        let [b, d] = [p[0] as usize, p[1] as usize];
        let log_sigma = log_sigma(reads[0][..b].iter().map(|&e| e as f64).sum::<f64>() / (b * d) as f64);
        for r in 0..b {
            let normalisation = d as f64 * (log_sigma + 0.5 * (2.0 * std::f64::consts::PI).ln());
            writes[0][r] = (normalisation + 0.5 * (-2.0 * log_sigma).exp() * reads[0][r] as f64) as f32;
        }
        writes[1][0] = log_sigma.exp() as f32;
    },
    cost: |p| Cost { flops: 4 * p[0] as u64, bytes: 8 * p[0] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// y (B,D), x (B,D), sigma (1), which [`LOSS`] wrote, to dy (B,D), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "optimal_sigma.backward",
    formula: "dy = scale * (y - x) / sigma^2",
    params: FIELDS,
    reads: &["y", "x", "sigma"],
    writes: &["dy"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let variance = (reads[2][0] as f64).powi(2);
        for i in 0..p.b as usize * p.d as usize {
            let e = reads[0][i] as f64 - reads[1][i] as f64;
            writes[0][i] = (p.scale as f64 * e / variance) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 3 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

fn sizes(y: Tensor, x: Tensor, scale: f32) -> Params {
    assert!(y.shape() == x.shape(), "optimal_sigma: y {y:?}, x {x:?}");
    let [b, d] = y.matrix();
    Params { b: b as u32, d: d as u32, scale }
}

/// -log N(x; y, sigma^2) of each row in nats, and the sigma of this batch: y (B,D), x (B,D) to (B) and (1).
pub fn loss(r: &mut Recorder, y: Tensor, x: Tensor) -> (Tensor, Tensor) {
    let params = sizes(y, x, 1.0);
    let rows = params.b as usize;
    let (errors, recon, sigma) = (r.tensor("errors", &[rows]), r.tensor("recon", &[rows]), r.tensor("sigma", &[1]));
    r.dispatch(&SQUARES, params, &[y, x], &[errors]);
    r.dispatch(&LOSS, params, &[errors], &[recon, sigma]);
    (recon, sigma)
}

/// dy of scale * sum of the rows with the sigma (1) that `loss` gave: (B,D).
pub fn backward(r: &mut Recorder, y: Tensor, x: Tensor, sigma: Tensor, scale: f32) -> Tensor {
    assert!(sigma.shape() == [1], "optimal_sigma.backward: sigma {sigma:?} is not one number");
    let dy = r.tensor("dy", y.shape());
    r.dispatch(&BACKWARD, sizes(y, x, scale), &[y, x, sigma], &[dy]);
    dy
}

// ---- References

/// log sigma for a mean squared error. -6 + softplus(u) is max(log sigma*, -6) + log(1 + e^-|u|).
fn log_sigma(mean: f64) -> f64 {
    let optimal = 0.5 * (if mean < 1e-30 { 1e-30 } else { mean }).ln();
    (if optimal < -6.0 { -6.0 } else { optimal }) + (-(optimal + 6.0).abs()).exp().ln_1p()
}

// ---- Accelerated

fn squares_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, d] = [p[0] as usize, p[1] as usize];
    math::row_sums(&mut writes[0][..b], [reads[0], reads[1]], d, move |y, x| (y - x) * (y - x));
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.b as usize * p.d as usize;
    let factor = (p.scale as f64 / (reads[2][0] as f64).powi(2)) as f32;
    math::map_pairs(&mut writes[0][..n], [reads[0], reads[1]], move |y, x| factor * (y - x));
}

// ---- Cases

const SIZES: [[usize; 2]; 4] = [[1, 1], [17, 65], [128, 784], [3, 257]];

fn new(label: String, [b, d]: [usize; 2]) -> Case {
    Case::new(label, Params { b: b as u32, d: d as u32, scale: 0.5 })
}

fn squares_cases() -> Vec<Case> {
    let case = |[b, d]: [usize; 2]| {
        let n = b * d;
        let case = new(format!("{b}x{d}"), [b, d]).read(uniform(1, n, -1.0, 1.0)).read(uniform(2, n, 0.0, 1.0));
        case.assign(b, Tolerance::Dot(2 * d))
    };
    SIZES.map(case).into()
}

fn loss_cases() -> Vec<Case> {
    let case = |([b, d], error): ([usize; 2], f32)| {
        // Of size d by the error of a logarithm, which may lie against terms of d each.
        let tolerance = Tolerance::Because(2e-6 * (1.0 + (d as f32).sqrt()), "d times a logarithm, to 2 ulp of 1");
        new(format!("{b}x{d}, errors of {error}"), [b, d])
            .read(uniform(3, b, 0.0, 2.0 * error * d as f32))
            .assign(b, tolerance)
            .assign(1, Tolerance::Because(3e-6, "log and exp of a number of size 6"))
    };
    // From no error at all over the soft clip (e^-12 = 6e-6) to one far beyond [0,1].
    [
        ([1, 1], 0.1),
        ([17, 65], 0.0),
        ([65, 257], 6e-6),
        ([128, 784], 0.05),
        ([257, 33], 1e-12),
        ([3, 12288], 0.01),
        ([63, 17], 1e6),
    ]
    .map(case)
    .into()
}

fn backward_cases() -> Vec<Case> {
    let case = |[b, d]: [usize; 2]| {
        let (n, tolerance) = (b * d, Tolerance::Because(6e-7, "five rounded operations, two of them a division"));
        let case = new(format!("{b}x{d}"), [b, d]).read(uniform(1, n, -1.0, 1.0)).read(uniform(2, n, 0.0, 1.0));
        case.read(vec![0.3]).assign(n, tolerance)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: the sum of the rows, sigma* far above the clip.
fn gradients() -> Vec<GradientCase> {
    // The finite difference moves sigma* too, which the envelope theorem makes right only far above the clip: errors of
    // size 8 put e^-u at 3e-4. The gradients are then of size 1/8, so the loss is taken three times.
    const TIMES: f32 = 3.0;
    vec![GradientCase {
        label: "optimal_sigma".into(),
        inputs: vec![(vec![2, 3], uniform(1, 6, -15.0, 15.0))],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let x = r.tensor("x", &[2, 3]);
            super::fill::forward(r, x, 0.3);
            let (rows, sigma) = loss(r, inputs[0], x);
            let y = super::reduce::whole(r, rows.reshape(&[1, 2]));
            let gradient = backward(r, inputs[0], x, sigma, TIMES);
            (super::joint::scale(r, y, TIMES), vec![weighted(r, dy, gradient)])
        }),
        state: vec![],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sum of the rows and sigma for the errors of rows of `d` pixels.
    fn batch(errors: &[f32], d: usize) -> (f64, f64) {
        let (mut rows, mut sigma) = (vec![0.0; errors.len()], [0.0]);
        (LOSS.reference)(&[errors.len() as u32, d as u32, 0], &[errors], &mut [&mut rows, &mut sigma]);
        (rows.into_iter().map(f64::from).sum(), f64::from(sigma[0]))
    }

    #[test]
    fn far_above_the_clip_it_is_the_closed_form() {
        let errors = [30.0, 10.0, 20.0];
        let (loss, sigma) = batch(&errors, 10);
        let variance: f64 = 60.0 / 30.0;
        assert!((sigma / variance.sqrt() - 1.0).abs() < 2e-3, "{sigma}");
        let closed = 15.0 * ((2.0 * std::f64::consts::PI * variance).ln() + 1.0);
        assert!((loss - closed).abs() < 1e-3, "{loss} {closed}");
    }

    #[test]
    fn sigma_stays_above_the_clip() {
        let clip = (-6f64).exp();
        for error in [0.0, 1e-30, 1e-12] {
            let (loss, sigma) = batch(&[error; 4], 5);
            assert!(sigma >= 0.999_999 * clip && sigma < 1.001 * clip, "{sigma}");
            assert!((loss - 20.0 * (clip.ln() + 0.918_938_533)).abs() < 1e-2, "{loss}");
        }
        // At sigma* = e^-6 the clipped sigma is twice that.
        let (_, sigma) = batch(&[5.0 * (-12f32).exp(); 4], 5);
        assert!((sigma / clip - 2.0).abs() < 1e-4, "{sigma}");
        assert!(batch(&[1.0, f32::NAN], 5).1.is_nan());
    }

    /// The bracket of the header, by finite differences of the loss in f64 as a function of one pixel's error.
    #[test]
    fn the_clip_changes_the_gradients_length_as_stated() {
        let loss = |e: f64| {
            let log_sigma = log_sigma(e * e);
            log_sigma + 0.5 * e * e * (-2.0 * log_sigma).exp()
        };
        for (e, ratio) in [(0.5, 1.01), (1.0 / 25.5, 1.12), ((-6f64).exp(), 2.5)] {
            let step = 1e-5 * e;
            let whole = (loss(e + step) - loss(e - step)) / (2.0 * step);
            let given = e * (-2.0 * log_sigma(e * e)).exp();
            let u = e.ln() + 6.0;
            let bracket = 1.0 + ((1.0 + (-u).exp()).powi(2) - 1.0) / (1.0 + (-u).exp());
            assert!((whole / given - bracket).abs() < 1e-4, "error {e}: {} {bracket}", whole / given);
            assert!((bracket - ratio).abs() < 0.01, "error {e}: {bracket}");
        }
    }
}
