//! The logistic distribution cut into the 256 grey levels, `shaders/discretised_logistic.wgsl`: the single component of
//! PixelCNN++ (Salimans et al. 2017, arXiv 1701.05517), as in IAF (Kingma et al. 2016, arXiv 1606.04934).
//!
//! With mean y and scale s, the grey level x = k/255 has the probability of the bin of width 1/255 around it,
//!
//! ```text
//! P(x) = sigmoid(a) - sigmoid(b),   a = (x + 1/510 - y) / s,   b = (x - 1/510 - y) / s
//! ```
//!
//! where at x = 0 the lower edge b is -infinity and at x = 1 the upper edge a is +infinity. Far from the mean both
//! sigmoids round to the same number, so the difference is written as a product first:
//!
//! ```text
//! 1/(1 + e^-a) - 1/(1 + e^-b) = (e^-b - e^-a) / ((1 + e^-a)(1 + e^-b)) = sigmoid(a) sigmoid(-b) (1 - e^(b-a))
//! ```
//!
//! As a - b = 1/(255 s) is the same for all pixels, the last factor is a constant; with log sigmoid(t) = -softplus(-t)
//!
//! ```text
//! -log P(x) = softplus(-a) + softplus(b) - log(1 - e^(-1/(255 s)))
//! ```
//!
//! at x = 0 only softplus(-a), at x = 1 only softplus(b). Every term is positive, so nothing cancels, and the loss
//! grows linearly with the distance. The derivative by y is (sigmoid(-a) - sigmoid(b)) / s, each part where its edge
//! is.

use bytemuck::{Pod, Zeroable};

use super::{activation, math};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::weighted;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient; `inverse_s` is 1/s, `half` half a bin over s, `constant` -log(1 - e^(-2 half)).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    scale: f32,
    inverse_s: f32,
    half: f32,
    constant: f32,
}

impl Params {
    fn new([b, d]: [usize; 2], width: f32, scale: f32) -> Params {
        let inverse_s = 1.0 / width as f64;
        let constant = -(-(-inverse_s / 255.0).exp_m1()).ln();
        let [inverse_s, half, constant] = [inverse_s, inverse_s / 510.0, constant].map(|v| v as f32);
        Params { b: b as u32, d: d as u32, scale, inverse_s, half, constant }
    }
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "D", "scale", "inverse_s", "half", "constant"];

const SOURCE: Source = Source {
    file: "discretised_logistic.wgsl",
    text: include_str!("../../shaders/discretised_logistic.wgsl"),
    common: &[super::INDEX, super::SUM, super::ACTIVATION],
    bindings: &["y", "x", "rows", "dy"],
    ..PLAIN_SOURCE
};

/// Means y (B,D), grey levels over 255 x (B,D) to rows (B) in nats, assigned; recorded by [`loss`]. At x = 0 and 1 the
/// bin reaches to infinity, and its sigmoid is 0 or 1. Salimans et al. 2017.
pub static LOSS: Kernel = Kernel {
    name: "discretised_logistic.loss",
    formula: "rows[r] = sum_d -log(sigmoid((x + 1/510 - y)/s) - sigmoid((x - 1/510 - y)/s))",
    params: FIELDS,
    reads: &["y", "x"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [b, d] = [p.b as usize, p.d as usize];
        for r in 0..b {
            let terms = (r * d..(r + 1) * d).map(|i| negative_log(p, reads[0][i], reads[1][i]));
            writes[0][r] = terms.sum::<f64>() as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 14 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// y (B,D), x (B,D) to dy (B,D), assigned; recorded by [`backward`]. An edge at infinity adds nothing.
pub static BACKWARD: Kernel = Kernel {
    name: "discretised_logistic.backward",
    formula: "dy = scale / s * (sigmoid(-(x + 1/510 - y)/s) - sigmoid((x - 1/510 - y)/s))",
    params: FIELDS,
    reads: &["y", "x"],
    writes: &["dy"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.b as usize * p.d as usize {
            let x = reads[1][i];
            let [upper, lower] = edges(p, reads[0][i], x);
            let upper = if x > HIGHEST { 0.0 } else { activation::sigmoid(-upper) };
            let lower = if x < LOWEST { 0.0 } else { activation::sigmoid(lower) };
            writes[0][i] = (p.scale as f64 * p.inverse_s as f64 * (upper - lower)) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 13 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// Where the outer bins begin.
const LOWEST: f32 = 1.0 / 510.0;
const HIGHEST: f32 = 509.0 / 510.0;

// ---- Record

fn sizes(y: Tensor, x: Tensor, width: f32, scale: f32) -> Params {
    assert!(y.shape() == x.shape(), "discretised_logistic: y {y:?}, x {x:?}");
    Params::new(y.matrix(), width, scale)
}

/// -log P(x) of each row in nats: means y (B,D), grey levels over 255 x (B,D), to (B). `width` is s.
pub fn loss(r: &mut Recorder, y: Tensor, x: Tensor, width: f32) -> Tensor {
    let params = sizes(y, x, width, 1.0);
    let rows = r.tensor("recon", &[params.b as usize]);
    r.dispatch(&LOSS, params, &[y, x], &[rows]);
    rows
}

/// dy of scale * sum of the rows: (B,D).
pub fn backward(r: &mut Recorder, y: Tensor, x: Tensor, width: f32, scale: f32) -> Tensor {
    let params = sizes(y, x, width, scale);
    let dy = r.tensor("dy", y.shape());
    r.dispatch(&BACKWARD, params, &[y, x], &[dy]);
    dy
}

// ---- References

/// Upper and lower edge of the bin of x as the logistic distribution of mean 0 and scale 1 sees them.
fn edges(p: Params, y: f32, x: f32) -> [f64; 2] {
    let c = (x as f64 - y as f64) * p.inverse_s as f64;
    [c + p.half as f64, c - p.half as f64]
}

fn negative_log(p: Params, y: f32, x: f32) -> f64 {
    let softplus = |t: f64| t.max(0.0) + (-t.abs()).exp().ln_1p();
    let [upper, lower] = edges(p, y, x);
    if x < LOWEST {
        softplus(-upper)
    } else if x > HIGHEST {
        softplus(lower)
    } else {
        softplus(-upper) + softplus(lower) + p.constant as f64
    }
}

// ---- Accelerated

fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    math::row_sums(&mut writes[0][..p.b as usize], [reads[0], reads[1]], p.d as usize, move |y, x| {
        let c = (x - y) * p.inverse_s;
        let upper = if x > HIGHEST { 0.0 } else { math::softplus(-c - p.half) };
        let lower = if x < LOWEST { 0.0 } else { math::softplus(c - p.half) };
        upper + lower + (if (LOWEST..=HIGHEST).contains(&x) { p.constant } else { 0.0 })
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.b as usize * p.d as usize;
    let factor = p.scale * p.inverse_s;
    math::map_pairs(&mut writes[0][..n], [reads[0], reads[1]], move |y, x| {
        let c = (x - y) * p.inverse_s;
        let upper = if x > HIGHEST { 0.0 } else { math::sigmoid(-c - p.half) };
        let lower = if x < LOWEST { 0.0 } else { math::sigmoid(c - p.half) };
        factor * (upper - lower)
    });
}

// ---- Cases

/// Scales of a wide, a usual and a narrow distribution, the last one narrower than a bin.
const SIZES: [([usize; 2], f32); 6] =
    [([1, 1], 0.1), ([17, 65], 0.1), ([128, 784], 0.05), ([3, 257], 3.0), ([5, 33], 0.01), ([2, 65], 1e-3)];

fn inputs([b, d]: [usize; 2], width: f32) -> Case {
    let n = b * d;
    let mut y = uniform(1, n, -0.2, 1.2);
    let mut x: Vec<f32> = uniform(2, n, 0.0, 256.0).into_iter().map(|level| level.floor().min(255.0) / 255.0).collect();
    let extremes = [[0.5, 0.0], [0.5, 1.0], [0.4, 0.4], [40.0, 0.6], [-40.0, 0.6], [40.0, 0.0], [-40.0, 1.0]];
    for ((y, x), extreme) in y.iter_mut().zip(&mut x).zip(extremes) {
        [*y, *x] = extreme;
    }
    Case::new(format!("{b}x{d}, s {width}"), Params::new([b, d], width, 0.5)).read(y).read(x)
}

fn loss_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(3e-6, "hundreds of terms through exp and log, relative to their sum");
    SIZES.map(|([b, d], width)| inputs([b, d], width).assign(b, tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    let case = |([b, d], width): ([usize; 2], f32)| {
        // A distance of up to 1.2 / s that is rounded to 1e-7 of itself moves a sigmoid by at most 2e-7.
        let tolerance = Tolerance::Because(5e-7 * (1.0 / width).max(1.0), "a difference of two sigmoids, times 1/s");
        inputs([b, d], width).assign(b * d, tolerance)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: the sum of the rows, at black, at white and between.
fn gradients() -> Vec<GradientCase> {
    // An inner grey level and the outer ones, and with the wide scale means far outside.
    [(0.4, 0.3, 1.0), (0.0, 0.5, 2.0), (1.0, 0.5, 2.0)]
        .map(|(level, width, reach)| GradientCase {
            label: format!("discretised_logistic at {level}"),
            inputs: vec![(vec![3, 7], uniform(1, 21, -reach, 1.0 + reach))],
            output: vec![1],
            record: Box::new(move |r, inputs, dy| {
                let x = r.tensor("x", &[3, 7]);
                super::fill::forward(r, x, level);
                let rows = loss(r, inputs[0], x, width);
                let y = super::reduce::whole(r, rows.reshape(&[1, 3]));
                let gradient = backward(r, inputs[0], x, width, 1.0);
                (y, vec![weighted(r, dy, gradient)])
            }),
            state: vec![],
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Reference;

    /// -log P of every grey level by one form of the loss.
    fn nats(form: Reference, mean: f32, width: f32) -> Vec<f32> {
        let x: Vec<f32> = (0..256).map(|level| level as f32 / 255.0).collect();
        let mut nats = vec![0.0; 256];
        let words = bytemuck::pod_collect_to_vec(&[Params::new([256, 1], width, 1.0)]);
        form(&words, &[&[mean; 256], &x], &mut [&mut nats]);
        nats
    }

    #[test]
    fn the_probabilities_of_the_grey_levels_sum_to_1() {
        for form in [LOSS.reference, loss_accelerated] {
            for mean in [0.0, 0.5, 1.0, 0.1234, -3.0, 7.0] {
                for width in [1e-3, 0.02, 0.3, 5.0] {
                    let sum: f64 = nats(form, mean, width).into_iter().map(|n| (-f64::from(n)).exp()).sum();
                    // A grey level that f32 rounds by 3e-8 moves its bin's edges away from its neighbours'.
                    let rounding = 3e-8 / f64::from(width);
                    assert!((sum - 1.0).abs() < 2e-6 + rounding, "mean {mean}, scale {width}: {sum}");
                }
            }
        }
    }

    #[test]
    fn they_are_the_differences_of_the_distribution_function() {
        let [mean, width] = [0.3, 0.08];
        let below = |edge: f64| activation::sigmoid((edge - f64::from(mean)) / f64::from(width));
        for (level, nats) in nats(LOSS.reference, mean, width).into_iter().enumerate().take(255).skip(1) {
            let center = level as f64 / 255.0;
            let want = below(center + 1.0 / 510.0) - below(center - 1.0 / 510.0);
            assert!(((-f64::from(nats)).exp() / want - 1.0).abs() < 1e-4, "level {level}");
        }
    }

    #[test]
    fn a_mean_far_away_costs_its_distance() {
        for form in [LOSS.reference, loss_accelerated] {
            let far = nats(form, 101.0, 0.1);
            // Between 0.2 and 0.6 lie 0.4 / 0.1 nats, at a distance where e^-distance is 0 in f32.
            assert!(far.iter().all(|n| n.is_finite()) && (far[51] - far[153] - 4.0).abs() < 1e-3, "{far:?}");
        }
    }
}
