//! The continuous Bernoulli distribution from logits, `shaders/continuous_bernoulli.wgsl` (Loaiza-Ganem & Cunningham
//! 2019, arXiv 1907.06845): what binary cross-entropy of values between 0 and 1 lacks to be a likelihood.
//!
//! With r = sigmoid(l), p(x) = C r^x (1-r)^(1-x) on `[0,1]`, C = 2 artanh(1-2r) / (1-2r). As 1-2r = -tanh(l/2), that is
//! C = l coth(l/2) = l (e^l + 1) / (e^l - 1), and the cross-entropy is log(1 + e^l) - l x, so that together
//!
//! ```text
//! -log p(x) = log(1 + e^l) - l x - log C = log((e^l - 1) / l) - l x
//! ```
//!
//! For l = a > 0 the first term is a + log((1 - e^-a) / a), for l = -a it is log((1 - e^-a) / a). So for |l| = a
//!
//! ```text
//! -log p(x) = a (1 - x where l > 0, else x) + log((1 - e^-a) / a)
//! ```
//!
//! in which nothing overflows and nothing cancels but 1 - e^-a near 0, where the series of the logarithm stands:
//! -a/2 + log(sinh(a/2) / (a/2)) = -a/2 + a^2/24 - a^4/2880 + a^6/181440 - ... Its derivative by l gives the gradient
//! m - x with the mean m = 1/(1 - e^-l) - 1/l = 1/2 + l/12 - l^3/720 + l^5/30240 - l^7/1209600 + ... Both series are
//! taken below 1, where the first term left out is below 1.1e-7.

use bytemuck::{Pod, Zeroable};

use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
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
    file: "continuous_bernoulli.wgsl",
    text: include_str!("../../shaders/continuous_bernoulli.wgsl"),
    common: &[super::INDEX, super::SUM],
    bindings: &["logits", "x", "rows", "dlogits", "means"],
    ..PLAIN_SOURCE
};

/// logits (B,D), x (B,D) in `[0,1]` to rows (B) in nats, assigned; recorded by [`loss`]. Loaiza-Ganem & Cunningham
/// 2019.
pub static LOSS: Kernel = Kernel {
    name: "continuous_bernoulli.loss",
    formula: "rows[r] = sum_d log((e^l - 1) / l) - l*x",
    params: FIELDS,
    reads: &["logits", "x"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let [b, d] = [p[0] as usize, p[1] as usize];
        for r in 0..b {
            let terms = (r * d..(r + 1) * d).map(|i| negative_log(reads[0][i] as f64, reads[1][i] as f64));
            writes[0][r] = terms.sum::<f64>() as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 10 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// logits (B,D), x (B,D) to dlogits (B,D), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "continuous_bernoulli.backward",
    formula: "dl = scale * (1/(1 - e^-l) - 1/l - x)",
    params: FIELDS,
    reads: &["logits", "x"],
    writes: &["dlogits"],
    shader: Shader { source: &SOURCE, entry: "backward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.b as usize * p.d as usize {
            writes[0][i] = (p.scale as f64 * (mean_of(reads[0][i] as f64) - reads[1][i] as f64)) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 9 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// logits (B,D) to means (B,D) in (0, 1), assigned: the picture to show, since the mean is not sigmoid(l). Recorded by
/// [`mean`].
pub static MEAN: Kernel = Kernel {
    name: "continuous_bernoulli.mean",
    formula: "means = 1/(1 - e^-l) - 1/l",
    params: FIELDS,
    reads: &["logits"],
    writes: &["means"],
    shader: Shader { source: &SOURCE, entry: "mean", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        for i in 0..p[0] as usize * p[1] as usize {
            writes[0][i] = mean_of(reads[0][i] as f64) as f32;
        }
    },
    cost: |p| Cost { flops: 7 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: mean_cases,
    gradients: GradientCheck::None("makes pictures to look at, through which nothing is trained"),
    ..PLAIN
};

fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[0] as usize * p[1] as usize, 64)
}

// ---- Record

fn sizes(logits: Tensor, scale: f32) -> Params {
    let [b, d] = logits.matrix();
    Params { b: b as u32, d: d as u32, scale }
}

/// -log p(x) of each row in nats: logits (B,D), x (B,D) in `[0,1]`, to (B).
pub fn loss(r: &mut Recorder, logits: Tensor, x: Tensor) -> Tensor {
    assert!(logits.shape() == x.shape(), "continuous_bernoulli.loss: logits {logits:?}, x {x:?}");
    let params = sizes(logits, 1.0);
    let rows = r.tensor("recon", &[params.b as usize]);
    r.dispatch(&LOSS, params, &[logits, x], &[rows]);
    rows
}

/// dlogits of scale * sum of the rows: (B,D).
pub fn backward(r: &mut Recorder, logits: Tensor, x: Tensor, scale: f32) -> Tensor {
    assert!(logits.shape() == x.shape(), "continuous_bernoulli.backward: logits {logits:?}, x {x:?}");
    let dlogits = r.tensor("dlogits", logits.shape());
    r.dispatch(&BACKWARD, sizes(logits, scale), &[logits, x], &[dlogits]);
    dlogits
}

/// `E[x]` of logits (B,D): (B,D).
pub fn mean(r: &mut Recorder, logits: Tensor) -> Tensor {
    let means = r.tensor("means", logits.shape());
    r.dispatch(&MEAN, sizes(logits, 1.0), &[logits], &[means]);
    means
}

// ---- References

/// -log p(x).
fn negative_log(l: f64, x: f64) -> f64 {
    l.abs() * (if l > 0.0 { 1.0 - x } else { x }) + log_share(l.abs())
}

/// log((1 - e^-a) / a).
fn log_share(a: f64) -> f64 {
    let q = a * a;
    // With a longer series than f32 needs, and only where f64 needs one.
    if a < 0.1 { -0.5 * a + q * (1.0 / 24.0 + q * (-1.0 / 2880.0 + q / 181440.0)) } else { (-(-a).exp_m1() / a).ln() }
}

/// `E[x]`.
fn mean_of(l: f64) -> f64 {
    let q = l * l;
    if l.abs() < 0.1 {
        0.5 + l * (1.0 / 12.0 + q * (-1.0 / 720.0 + q * (1.0 / 30240.0 - q / 1209600.0)))
    } else {
        -1.0 / (-l).exp_m1() - 1.0 / l
    }
}

// ---- Accelerated

fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, d] = [p[0] as usize, p[1] as usize];
    math::row_sums(&mut writes[0][..b], [reads[0], reads[1]], d, move |l, x| {
        let a = l.abs();
        let q = a * a;
        let series = -0.5 * a + q * (1.0 / 24.0 + q * (-1.0 / 2880.0 + q * (1.0 / 181440.0)));
        let w = if a < 1.0 { 1.0 } else { a };
        let log = math::ln((1.0 - math::exp_negative(-w)) / w);
        // `ln` does not keep NaN, the product does.
        a * (if l > 0.0 { 1.0 - x } else { x }) + (if a < 1.0 { series } else { log })
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.b as usize * p.d as usize;
    math::map_pairs(&mut writes[0][..n], [reads[0], reads[1]], move |l, x| {
        let (a, q) = (l.abs(), l * l);
        let series = 0.5 + l * (1.0 / 12.0 + q * (-1.0 / 720.0 + q * (1.0 / 30240.0 - q * (1.0 / 1209600.0))));
        let w = if a < 1.0 { 1.0 } else { a };
        let e = math::exp_negative(-w);
        let (pole, inverse) = (1.0 / (1.0 - e), 1.0 / w);
        let far = if l > 0.0 { pole - inverse } else { inverse - e * pole };
        p.scale * ((if a < 1.0 { series } else { far }) - x)
    });
}

// ---- Cases

const SIZES: [[usize; 2]; 4] = [[1, 1], [17, 65], [128, 784], [3, 257]];

/// On both sides of the series' end, and at 0.
const LOGITS: [f32; 12] = [0.0, 100.0, -100.0, 1e4, -1e4, 1e-3, -1e-3, 0.999, -0.999, 1.0, -1.0, 1.001];
/// As likely as any where the logits are huge, so that these do not drown the rest of the sum.
const PIXELS: [f32; 5] = [0.5, 1.0, 0.0, 1.0, 0.0];

fn logits(n: usize) -> Vec<f32> {
    let mut logits = uniform(1, n, -12.0, 12.0);
    logits.iter_mut().zip(LOGITS).for_each(|(l, extreme)| *l = extreme);
    logits
}

fn inputs([b, d]: [usize; 2]) -> Case {
    let mut x = uniform(2, b * d, 0.0, 1.0);
    x.iter_mut().zip(PIXELS).for_each(|(x, extreme)| *x = extreme);
    let params = Params { b: b as u32, d: d as u32, scale: 0.5 };
    Case::new(format!("{b}x{d}"), params).read(logits(b * d)).read(x)
}

fn loss_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(3e-6, "hundreds of terms through exp and log, relative to their sum");
    SIZES.map(|[b, d]| inputs([b, d]).assign(b, tolerance)).into()
}

const MEANS: Tolerance =
    Tolerance::Because(1e-6, "exp to 5 ulp and two divisions to 2.5, whose results of 1 to 1.6 are subtracted");

fn backward_cases() -> Vec<Case> {
    SIZES.map(|[b, d]| inputs([b, d]).assign(b * d, MEANS)).into()
}

fn mean_cases() -> Vec<Case> {
    let case = |[b, d]: [usize; 2]| {
        let params = Params { b: b as u32, d: d as u32, scale: 1.0 };
        Case::new(format!("{b}x{d}"), params).read(logits(b * d)).assign(b * d, MEANS)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: the sum of the rows.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "continuous_bernoulli".into(),
        inputs: vec![(vec![3, 7], uniform(1, 21, -3.0, 3.0))],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let x = r.tensor("x", &[3, 7]);
            super::fill::forward(r, x, 0.3);
            let rows = loss(r, inputs[0], x);
            let y = super::reduce::whole(r, rows.reshape(&[1, 3]));
            let dlogits = backward(r, inputs[0], x, 1.0);
            (y, vec![weighted(r, dy, dlogits)])
        }),
        state: vec![],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Reference;

    const EACH: [f32; 14] =
        [0.0, 1e-6, 1e-3, -0.05, 0.0999, 0.1001, -0.5, 0.9999, 1.0001, -3.0, 8.0, -20.0, 60.0, -60.0];

    /// The densities at `count` even points of `[0,1]` by one form of the loss.
    fn densities(form: Reference, l: f32, count: usize) -> Vec<f64> {
        let x: Vec<f32> = (0..count).map(|i| i as f32 / (count - 1) as f32).collect();
        let mut nats = vec![0.0; count];
        form(&[count as u32, 1, 0], &[&vec![l; count], &x], &mut [&mut nats]);
        nats.into_iter().map(|n| (-f64::from(n)).exp()).collect()
    }

    /// Simpson's rule over `[0,1]`.
    fn integral(values: &[f64]) -> f64 {
        let last = values.len() - 1;
        let weight = |i: usize| if i == 0 || i == last { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
        values.iter().enumerate().map(|(i, v)| weight(i) * v).sum::<f64>() / (3 * last) as f64
    }

    #[test]
    fn the_density_integrates_to_1_and_its_mean_is_the_mean() {
        for form in [LOSS.reference, loss_accelerated] {
            for l in EACH {
                let mut density = densities(form, l, 4001);
                let whole = integral(&density);
                assert!((whole - 1.0).abs() < 2e-6, "logit {l}: {whole}");
                density.iter_mut().enumerate().for_each(|(i, p)| *p *= i as f64 / 4000.0);
                let (quadrature, mean) = (integral(&density), mean_of(f64::from(l)));
                assert!((quadrature - mean).abs() < 2e-6, "logit {l}: {quadrature} {mean}");
            }
        }
    }

    #[test]
    fn it_is_the_cross_entropy_less_log_c() {
        for l in EACH.into_iter().map(f64::from).filter(|l| l.abs() > 1e-2) {
            let log_c = (l / (l / 2.0).tanh()).ln();
            for x in [0.0, 0.3, 1.0] {
                let cross_entropy = l.max(0.0) - l * x + (-l.abs()).exp().ln_1p();
                assert!((negative_log(l, x) - (cross_entropy - log_c)).abs() < 1e-10, "logit {l}, x {x}");
            }
        }
    }
}
