//! KL(N(weight, e^logvar) || N(0, s^2)) of Gaussian weights, `shaders/weight_kl.wgsl` (Blundell et al. 2015, arXiv
//! 1505.05424, with a Gaussian prior, for which it is exact).

use bytemuck::{Pod, Zeroable};

use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::weighted;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `inverse_variance` is 1/s^2, `log_prior` log s^2.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    o: u32,
    i: u32,
    scale: f32,
    inverse_variance: f32,
    log_prior: f32,
}

// ---- Kernels

const FIELDS: &[&str] = &["O", "I", "scale", "inverse_variance", "log_prior"];

const SOURCE: Source = Source {
    file: "weight_kl.wgsl",
    text: include_str!("../../shaders/weight_kl.wgsl"),
    common: &[super::INDEX, super::SUM],
    bindings: &["weight", "logvar", "rows", "dweight", "dlogvar"],
    ..PLAIN_SOURCE
};

/// weight and logvar (O,I) to rows (O) in nats times scale, assigned; recorded by [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "weight_kl.loss",
    formula: "rows[o] = scale * sum_i (e^d - 1 - d + weight^2 / s^2)/2, d = logvar - log s^2",
    params: FIELDS,
    reads: &["weight", "logvar"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [o, i] = [p.o as usize, p.i as usize];
        for row in 0..o {
            let term = |n: usize| {
                let [weight, logvar] = [reads[0][n], reads[1][n]].map(f64::from);
                let d = logvar - p.log_prior as f64;
                0.5 * (d.exp_m1() - d + p.inverse_variance as f64 * weight * weight)
            };
            writes[0][row] = (p.scale as f64 * (row * i..(row + 1) * i).map(term).sum::<f64>()) as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 8 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// weight and logvar (O,I); dweight and dlogvar (O,I) are added to. Recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "weight_kl.backward",
    formula: "dweight += scale * weight / s^2, dlogvar += scale * (e^d - 1)/2, d = logvar - log s^2",
    params: FIELDS,
    reads: &["weight", "logvar"],
    writes: &["dweight", "dlogvar"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let scale = p.scale as f64;
        for n in 0..p.o as usize * p.i as usize {
            let [weight, logvar] = [reads[0][n], reads[1][n]].map(f64::from);
            writes[0][n] += (scale * p.inverse_variance as f64 * weight) as f32;
            writes[1][n] += (0.5 * scale * (logvar - p.log_prior as f64).exp_m1()) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 7 * p[0] as u64 * p[1] as u64, bytes: 24 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

fn sizes(weight: Tensor, logvar: Tensor, sigma: f64, scale: f32) -> Params {
    assert!(weight.shape() == logvar.shape(), "weight_kl: weight {weight:?}, logvar {logvar:?}");
    let [o, i] = weight.matrix();
    let (inverse_variance, log_prior) = ((1.0 / (sigma * sigma)) as f32, (2.0 * sigma.ln()) as f32);
    Params { o: o as u32, i: i as u32, scale, inverse_variance, log_prior }
}

/// scale * KL(N(weight, e^logvar) || N(0, sigma^2)) of each row in nats: weight and logvar (O,I) to (O).
pub fn loss(r: &mut Recorder, weight: Tensor, logvar: Tensor, sigma: f64, scale: f32) -> Tensor {
    let params = sizes(weight, logvar, sigma, scale);
    let rows = r.tensor("weight_kl", &[params.o as usize]);
    r.dispatch(&LOSS, params, &[weight, logvar], &[rows]);
    rows
}

/// Adds the gradients of scale times the sum of the rows to `dweight` and `dlogvar`, both (O,I).
pub fn backward(
    r: &mut Recorder,
    [weight, logvar]: [Tensor; 2],
    [dweight, dlogvar]: [Tensor; 2],
    sigma: f64,
    scale: f32,
) {
    for gradient in [dweight, dlogvar] {
        assert!(gradient.shape() == weight.shape(), "weight_kl.backward: weight {weight:?}, gradient {gradient:?}");
    }
    r.dispatch(&BACKWARD, sizes(weight, logvar, sigma, scale), &[weight, logvar], &[dweight, dlogvar]);
}

// ---- Accelerated

fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let (half, inverse_variance, log_prior) = (0.5 * p.scale, p.inverse_variance, p.log_prior);
    math::row_sums(&mut writes[0][..p.o as usize], [reads[0], reads[1]], p.i as usize, move |weight, logvar| {
        let d = logvar - log_prior;
        half * (inverse_variance * weight * weight + (math::expm1(d) - d))
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.o as usize * p.i as usize;
    let (factor, half, log_prior) = (p.scale * p.inverse_variance, 0.5 * p.scale, p.log_prior);
    let [dweight, dlogvar] = writes else { unreachable!("weight_kl.backward writes dweight and dlogvar") };
    let [weight, logvar] = [reads[0], reads[1]];
    math::update_all_pairs(&mut dweight[..n], [weight, weight], move |sum, weight, _| sum + factor * weight);
    math::update_all_pairs(&mut dlogvar[..n], [logvar, logvar], move |sum, logvar, _| {
        sum + half * math::expm1(logvar - log_prior)
    });
}

// ---- Cases

const SIZES: [[usize; 2]; 5] = [[1, 1], [17, 65], [1, 784], [65, 20], [400, 257]];

fn inputs([o, i]: [usize; 2]) -> Case {
    let params = Params { o: o as u32, i: i as u32, scale: 0.5, inverse_variance: 4.0, log_prior: -1.386_294_4 };
    let of = |seed, low, high| uniform(seed, o * i, low, high);
    Case::new(format!("{o}x{i}"), params).read(of(1, -1.0, 1.0)).read(of(2, -8.0, 0.0))
}

fn loss_cases() -> Vec<Case> {
    SIZES.map(|size| inputs(size).assign(size[0], Tolerance::Dot(4 * size[1]))).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-6, "exp - 1 near 0, and a sum");
    let sum = |seed, n| uniform(seed, n, -1.0, 1.0);
    SIZES.map(|[o, i]| inputs([o, i]).update(sum(3, o * i), tolerance).update(sum(4, o * i), tolerance)).into()
}

// ---- Gradients

/// For the finite-difference check: the sum of the rows.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "weight_kl".into(),
        inputs: vec![(vec![3, 5], uniform(1, 15, -1.0, 1.0)), (vec![3, 5], uniform(2, 15, -2.0, 1.0))],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let rows = loss(r, inputs[0], inputs[1], 0.7, 1.0);
            let y = super::reduce::whole(r, rows.reshape(&[1, 3]));
            let gradients = ["dweight", "dlogvar"].map(|name| r.tensor(name, &[3, 5]));
            gradients.iter().for_each(|&gradient| super::fill::forward(r, gradient, 0.0));
            backward(r, [inputs[0], inputs[1]], gradients, 0.7, 1.0);
            (y, gradients.map(|gradient| weighted(r, dy, gradient)).into())
        }),
        state: vec![],
    }]
}
