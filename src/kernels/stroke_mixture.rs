//! -log p of pen strokes, `shaders/stroke_mixture.wgsl`: the offset to the next point from a mixture of bivariate
//! normals, and whether the pen is lifted after it (Graves 2013, arXiv 1308.0850; Ha & Eck 2017, arXiv 1704.03477).
//!
//! A row of outputs is M logits of the weights, M numbers each of mu1, mu2, log sigma1, log sigma2 and rho-hat, and the
//! pen's logit: 6M + 1. As the shader says, log sigma and rho-hat are held to a range by v -> L tanh(v/L), and rho is
//! tanh of the held rho-hat.

use bytemuck::{Pod, Zeroable};

use super::rows::Rows;
use super::{activation, bce};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod accelerated;
mod cases;

// ---- Params

/// M components. `scale` multiplies the gradient: 1 for a summed loss, 1/B for a mean over the batch.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    r: u32,
    m: u32,
    scale: f32,
}

// ---- Kernels

/// The numbers of a component: its logit, mu1, mu2, log sigma1, log sigma2, rho-hat.
const NUMBERS: usize = 6;

/// What log sigma1, log sigma2 and rho-hat are held to: sigma from 0.0025 to 403, rho from -0.9993 to 0.9993.
const RANGES: [f64; 3] = [6.0, 6.0, 4.0];

const FIELDS: &[&str] = &["R", "M", "scale"];

const SOURCE: Source = Source {
    file: "stroke_mixture.wgsl",
    text: include_str!("../../shaders/stroke_mixture.wgsl"),
    common: &[super::INDEX, super::ACTIVATION],
    bindings: &["outputs", "x", "rows", "doutputs"],
    ..PLAIN_SOURCE
};

/// outputs (R,6M+1) and x (R,3), which is dx, dy and pen, to rows (R) in nats, assigned; recorded by [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "stroke_mixture.loss",
    formula: "rows[r] = -log sum_m weight_m N(dx, dy; mu_m, sigma_m, rho_m) + max(l,0) - l*pen + log(1 + e^-|l|)",
    params: FIELDS,
    reads: &["outputs", "x"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
    reference: |p, reads, writes| {
        let [r, m] = [p[0] as usize, p[1] as usize];
        for row in 0..r {
            let (outputs, x) = row_of(reads, row, m);
            let [of_weights, of_point] = log_sums(&outputs, x);
            writes[0][row] = (of_weights - of_point + bce::cross_entropy(outputs[NUMBERS * m], x[2])) as f32;
        }
    },
    accelerated: Some(accelerated::loss),
    cost: |p| Cost { flops: 60 * p[0] as u64 * p[1] as u64, bytes: 24 * p[0] as u64 * p[1] as u64 },
    cases: cases::loss,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

/// The same to doutputs (R,6M+1), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "stroke_mixture.backward",
    formula: "dlogit_m = scale (weight_m - g_m), dparameter_m = -scale g_m dlog N_m, g_m = weight_m N_m / sum weight N",
    params: FIELDS,
    reads: &["outputs", "x"],
    writes: &["doutputs"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let (m, scale) = (p.m as usize, p.scale as f64);
        for row in 0..p.r as usize {
            let (outputs, x) = row_of(reads, row, m);
            let [of_weights, of_point] = log_sums(&outputs, x);
            let gradients = &mut writes[0][row * outputs.len()..][..outputs.len()];
            for of in 0..m {
                let [weight, share] = [outputs[of] - of_weights, outputs[of] + log_density(&outputs, of, x) - of_point];
                let (weight, share) = (weight.exp(), share.exp());
                gradients[of] = (scale * (weight - share)) as f32;
                for (n, d) in slopes(&outputs, of, x).into_iter().enumerate() {
                    gradients[(n + 1) * m + of] = (-scale * share * d) as f32;
                }
            }
            gradients[NUMBERS * m] = (scale * (activation::sigmoid(outputs[NUMBERS * m]) - x[2])) as f32;
        }
    },
    accelerated: Some(accelerated::backward),
    cost: |p| Cost { flops: 120 * p[0] as u64 * p[1] as u64, bytes: 48 * p[0] as u64 * p[1] as u64 },
    cases: cases::backward,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

// ---- Record

fn sizes(outputs: Tensor, x: Tensor, scale: f32) -> Params {
    let ([r, width], [rows, numbers]) = (outputs.matrix(), x.matrix());
    let fits = rows == r && numbers == 3 && width > NUMBERS && width % NUMBERS == 1;
    assert!(fits, "stroke_mixture: outputs {outputs:?}, x {x:?}");
    Params { r: r as u32, m: (width / NUMBERS) as u32, scale }
}

/// -log p of each point in nats: outputs (R,6M+1), x (R,3) with dx, dy and whether the pen is lifted, 0 or 1, to (R).
pub fn loss(r: &mut Recorder, outputs: Tensor, x: Tensor) -> Tensor {
    let params = sizes(outputs, x, 1.0);
    let rows = r.tensor("recon", &[params.r as usize]);
    r.dispatch(&LOSS, params, &[outputs, x], &[rows]);
    rows
}

/// doutputs (R,6M+1) of the rows of [`loss`], of which each counts as `weight` says.
pub fn backward(r: &mut Recorder, outputs: Tensor, x: Tensor, weight: Rows) -> Tensor {
    let [doutputs] = weight.apply(r, |r, scale| {
        let doutputs = r.tensor("doutputs", outputs.shape());
        r.dispatch(&BACKWARD, sizes(outputs, x, scale), &[outputs, x], &[doutputs]);
        [doutputs]
    });
    doutputs
}

// ---- Sampling

/// The distribution of a point that a row of outputs says.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// The components.
    pub components: Vec<Component>,
    /// How probable it is that the pen is lifted after the point.
    pub pen: f64,
}

/// A bivariate normal of the mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// Its share of the mixture.
    pub weight: f64,
    /// The means of dx and dy.
    pub mean: [f64; 2],
    /// Their standard deviations.
    pub sigma: [f64; 2],
    /// Their correlation.
    pub rho: f64,
}

/// What a row of 6M + 1 outputs says, to draw points from.
pub fn mixture(outputs: &[f32]) -> Mixture {
    let outputs: Vec<f64> = outputs.iter().map(|&v| v as f64).collect();
    let m = outputs.len() / NUMBERS;
    let sum = log_sum(&outputs[..m]);
    let component = |of: usize| {
        let [log_sigma1, log_sigma2, t] = held(&outputs, of);
        Component {
            weight: (outputs[of] - sum).exp(),
            mean: [outputs[m + of], outputs[2 * m + of]],
            sigma: [log_sigma1.exp(), log_sigma2.exp()],
            rho: t.tanh(),
        }
    };
    Mixture { components: (0..m).map(component).collect(), pen: activation::sigmoid(outputs[NUMBERS * m]) }
}

// ---- References

/// A row's outputs (6M+1) and point (3).
fn row_of(reads: &[&[f32]], row: usize, m: usize) -> (Vec<f64>, [f64; 3]) {
    let width = NUMBERS * m + 1;
    let outputs = reads[0][row * width..][..width].iter().map(|&v| v as f64).collect();
    (outputs, [0, 1, 2].map(|n| reads[1][3 * row + n] as f64))
}

/// log sigma1, log sigma2 and t of a component.
fn held(outputs: &[f64], of: usize) -> [f64; 3] {
    let m = outputs.len() / NUMBERS;
    [0, 1, 2].map(|n| RANGES[n] * (outputs[(3 + n) * m + of] / RANGES[n]).tanh())
}

/// a, b and u of a component at a point, as the shader says.
fn whitened(outputs: &[f64], of: usize, x: [f64; 3]) -> [f64; 3] {
    let m = outputs.len() / NUMBERS;
    let [log_sigma1, log_sigma2, t] = held(outputs, of);
    let [a, b] = [(x[0] - outputs[m + of]) * (-log_sigma1).exp(), (x[1] - outputs[2 * m + of]) * (-log_sigma2).exp()];
    [a, b, a * t.cosh() - b * t.sinh()]
}

fn log_density(outputs: &[f64], of: usize, x: [f64; 3]) -> f64 {
    let [log_sigma1, log_sigma2, t] = held(outputs, of);
    let [_, b, u] = whitened(outputs, of, x);
    t.cosh().ln() - 0.5 * (u * u + b * b) - log_sigma1 - log_sigma2 - (2.0 * std::f64::consts::PI).ln()
}

/// The derivatives of log N to mu1, mu2, log sigma1, log sigma2 and rho-hat, the last three through their range.
fn slopes(outputs: &[f64], of: usize, x: [f64; 3]) -> [f64; 5] {
    let held = held(outputs, of);
    let [a, b, u] = whitened(outputs, of, x);
    let [log_sigma1, log_sigma2, t] = held;
    let [to_a, to_b] = [u * t.cosh(), b - u * t.sinh()];
    let [held1, held2, held3] = [0, 1, 2].map(|n| 1.0 - (held[n] / RANGES[n]).powi(2));
    [
        to_a * (-log_sigma1).exp(),
        to_b * (-log_sigma2).exp(),
        (a * to_a - 1.0) * held1,
        (b * to_b - 1.0) * held2,
        (t.tanh() - u * (a * t.sinh() - b * t.cosh())) * held3,
    ]
}

/// log sum_m e^logit and log sum_m e^logit N_m.
fn log_sums(outputs: &[f64], x: [f64; 3]) -> [f64; 2] {
    let m = outputs.len() / NUMBERS;
    let of_point: Vec<f64> = (0..m).map(|of| outputs[of] + log_density(outputs, of, x)).collect();
    [log_sum(&outputs[..m]), log_sum(&of_point)]
}

fn log_sum(logits: &[f64]) -> f64 {
    // Not `f64::max`, which would pass over a NaN; the sum has it in any case.
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, &l| if l > most { l } else { most });
    most + logits.iter().map(|l| (l - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two components and the pen.
    const OUTPUTS: [f32; 13] = [0.3, -0.6, 0.5, -1.2, 0.1, 0.8, -0.4, 0.25, 0.6, -0.9, 0.7, -1.4, 1.1];

    /// Recorded by tests/golden/record_strokes.py: a point, its loss and the gradient, by torch.distributions.
    #[rustfmt::skip]
    const GOLDEN: [([f32; 3], f64, [f64; 13]); 2] = [
        ([0.4, -0.3, 0.0], 3.5630028063001338, [
            -0.2856914357, 0.2856914357, 0.0397989822, 0.0120971562, 0.1117468041, 0.0551815704, 0.9882622599,
            0.0226751156, 0.9424859046, -0.0560696179, -0.5832906488, -0.019430872, 0.7502601101,
        ]),
        ([-1.1, 0.9, 1.0], 2.2099935706653513, [
            0.7079557466, -0.7079557466, 0.0184730692, -0.9505326107, -0.0048114076, -3.1979656417, -0.0264454382,
            0.9003888729, -0.0008468657, 0.6621982454, 0.0207433537, 0.4338848845, -0.2497398899,
        ]),
    ];

    #[test]
    fn loss_and_gradient_are_those_of_pytorch() {
        let params = bytemuck::pod_collect_to_vec(&[Params { r: 1, m: 2, scale: 1.0 }]);
        for (x, nats, gradient) in GOLDEN {
            let (mut rows, mut doutputs) = ([0.0; 1], [0.0; 13]);
            (LOSS.reference)(&params, &[&OUTPUTS, &x], &mut [&mut rows]);
            (BACKWARD.reference)(&params, &[&OUTPUTS, &x], &mut [&mut doutputs]);
            // The results are f32 here.
            assert!((rows[0] as f64 - nats).abs() < 1e-6, "{x:?}: {} {nats}", rows[0]);
            for (got, want) in doutputs.into_iter().zip(gradient) {
                assert!((got as f64 - want).abs() < 1e-6, "{x:?}: {got} {want}");
            }
        }
    }

    /// The density that [`mixture`] describes, written with its own numbers, is that of the loss.
    #[test]
    fn the_mixture_to_draw_from_is_that_of_the_loss() {
        let Mixture { components, pen } = mixture(&OUTPUTS);
        let of = |c: &Component, x: [f64; 2]| {
            let [a, b] = [0, 1].map(|n| (x[n] - c.mean[n]) / c.sigma[n]);
            let rest = 1.0 - c.rho * c.rho;
            let area = 2.0 * std::f64::consts::PI * c.sigma[0] * c.sigma[1] * rest.sqrt();
            c.weight * (-(a * a + b * b - 2.0 * c.rho * a * b) / (2.0 * rest)).exp() / area
        };
        for (x, nats, _) in GOLDEN {
            let density: f64 = components.iter().map(|c| of(c, [x[0] as f64, x[1] as f64])).sum();
            let of_pen = if x[2] == 1.0 { pen } else { 1.0 - pen };
            assert!((-(density * of_pen).ln() - nats).abs() < 1e-6, "{x:?}");
        }
        let sum: f64 = components.iter().map(|c| c.weight).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }

    /// However far the network goes: a point on a line, at its very mean, costs no less than the ranges allow.
    #[test]
    fn no_density_grows_without_end() {
        let outputs = [0.0, 0.0, 0.0, -1e4, -1e4, 1e4, 0.0].map(f64::from);
        let nats = -log_density(&outputs, 0, [0.0; 3]);
        let least = (2.0 * std::f64::consts::PI).ln() - 12.0 - 4f64.cosh().ln();
        assert!((nats - least).abs() < 1e-9, "{nats} {least}");
    }
}
