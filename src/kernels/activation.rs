//! Elementwise activations, `shaders/activation.wgsl`. The same functions are the matmul's epilogue.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::threads::chunks;
use super::{CHUNK, math};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// The activations of `torch.nn.functional`, with their default constants. The numbers are those of
/// `shaders/common/activation.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// y = x
    Identity = 0,
    /// y = max(x, 0)
    Relu = 1,
    /// y = x, or 0.01 x below 0
    LeakyRelu = 2,
    /// y = x, or e^x - 1 below 0
    Elu = 3,
    /// y = 1 / (1 + e^-x)
    Sigmoid = 4,
    /// y = tanh(x)
    Tanh = 5,
    /// y = log(1 + e^x)
    Softplus = 6,
    /// y = x sigmoid(x)
    Silu = 7,
    /// y = x Phi(x), the exact form with erf
    Gelu = 8,
}

impl Activation {
    /// In the order of their numbers.
    pub const ALL: [Activation; 9] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softplus,
        Activation::Silu,
        Activation::Gelu,
    ];

    /// As in settings and networks: `leaky_relu`.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::LeakyRelu => "leaky_relu",
            Activation::Elu => "elu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Softplus => "softplus",
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
        }
    }

    /// Whether the backward reads the output, so that the activation can be a matmul's epilogue.
    /// Silu and gelu are not monotone: their slope needs the input.
    pub fn saves_output(self) -> bool {
        !matches!(self, Activation::Silu | Activation::Gelu)
    }

    /// Whether it is made of two straight lines, so that an epilogue costs next to nothing.
    pub fn is_rectifier(self) -> bool {
        matches!(self, Activation::Identity | Activation::Relu | Activation::LeakyRelu)
    }

    /// y = act(x), in f64.
    pub fn value(self, x: f64) -> f64 {
        match self {
            Activation::Identity => x,
            // Not max, which turns NaN into 0 and would hide where a run went wrong.
            Activation::Relu => {
                if x <= 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Activation::LeakyRelu => {
                if x > 0.0 {
                    x
                } else {
                    0.01 * x
                }
            }
            Activation::Elu => {
                if x > 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Activation::Silu => x * sigmoid(x),
            Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        }
    }

    /// dy/dx from what the forward saved: y, or x for silu and gelu.
    pub fn slope(self, saved: f64) -> f64 {
        let step = |low: f64| if saved > 0.0 { 1.0 } else { low };
        match self {
            Activation::Identity => 1.0,
            Activation::Relu => step(0.0),
            Activation::LeakyRelu => step(0.01),
            Activation::Elu => step(saved + 1.0),
            Activation::Sigmoid => saved * (1.0 - saved),
            Activation::Tanh => 1.0 - saved * saved,
            Activation::Softplus => 1.0 - (-saved).exp(),
            Activation::Silu => {
                let s = sigmoid(saved);
                s * (1.0 + saved * (1.0 - s))
            }
            Activation::Gelu => {
                let density = (-0.5 * saved * saved).exp() / (2.0 * std::f64::consts::PI).sqrt();
                0.5 * (1.0 + libm::erf(saved * std::f64::consts::FRAC_1_SQRT_2)) + saved * density
            }
        }
    }

    /// y = act(y) in one thread, by the polynomials of [`math`].
    pub(crate) fn apply(self, y: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => math::update(y, |x| if x <= 0.0 { 0.0 } else { x }),
            Activation::LeakyRelu => math::update(y, |x| if x > 0.0 { x } else { 0.01 * x }),
            Activation::Elu => math::update(y, |x| if x > 0.0 { x } else { math::expm1(x) }),
            Activation::Sigmoid => math::update(y, math::sigmoid),
            Activation::Tanh => math::update(y, math::tanh),
            Activation::Softplus => math::update(y, math::softplus),
            Activation::Silu => math::update(y, |x| x * math::sigmoid(x)),
            Activation::Gelu => math::update(y, |x| 0.5 * x * (1.0 + math::erf(x * FRAC_1_SQRT_2))),
        }
    }

    /// dx = dy * act'(x) in one thread, from what the forward saved, by the polynomials of [`math`].
    pub(crate) fn apply_slope(self, dx: &mut [f32], saved: &[f32], dy: &[f32]) {
        let of = [saved, dy];
        match self {
            Activation::Identity => dx.copy_from_slice(dy),
            Activation::Relu => math::update_pairs(dx, of, |_, s, dy| if s > 0.0 { dy } else { 0.0 }),
            Activation::LeakyRelu => math::update_pairs(dx, of, |_, s, dy| if s > 0.0 { dy } else { 0.01 * dy }),
            Activation::Elu => math::update_pairs(dx, of, |_, s, dy| if s > 0.0 { dy } else { dy * (s + 1.0) }),
            Activation::Sigmoid => math::update_pairs(dx, of, |_, s, dy| dy * (s * (1.0 - s))),
            Activation::Tanh => math::update_pairs(dx, of, |_, s, dy| dy * (1.0 - s * s)),
            Activation::Softplus => math::update_pairs(dx, of, |_, s, dy| -dy * math::expm1(-s)),
            Activation::Silu => math::update_pairs(dx, of, |_, x, dy| {
                let s = math::sigmoid(x);
                dy * (s * (1.0 + x * (1.0 - s)))
            }),
            Activation::Gelu => math::update_pairs(dx, of, |_, x, dy| {
                let density = math::exp_negative(-0.5 * x * x) * (0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI);
                dy * (0.5 * (1.0 + math::erf(x * FRAC_1_SQRT_2)) + x * density)
            }),
        }
    }

    /// dx = dx * slope, element by element, from what the forward saved.
    pub(crate) fn multiply_slope(self, dx: &mut [f32], saved: &[f32]) {
        let mut dy = [0.0; 64];
        for (dx, saved) in dx.chunks_mut(64).zip(saved.chunks(64)) {
            let dy = &mut dy[..dx.len()];
            dy.copy_from_slice(dx);
            self.apply_slope(dx, &saved[..dy.len()], dy);
        }
    }

    /// The activation of this number. Panics on a number no activation has.
    pub fn from_number(number: u32) -> Activation {
        Activation::ALL[number as usize]
    }
}

/// 1 / (1 + e^-x), in f64 for the references.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    kind: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "activation.wgsl",
    text: include_str!("../../shaders/activation.wgsl"),
    common: &[super::INDEX, super::ACTIVATION],
    bindings: &["x", "saved", "dy", "y", "dx"],
    ..PLAIN_SOURCE
};

/// x (N) to y (N), assigned; recorded by [`forward`]. Sources of the three that are younger than the textbooks: elu
/// Clevert et al. 2015 (arXiv 1511.07289), gelu Hendrycks & Gimpel 2016 (arXiv 1606.08415), silu Elfwing et al. 2017
/// (arXiv 1702.03118).
pub static FORWARD: Kernel = Kernel {
    name: "activation.forward",
    formula: "y = act(x)",
    params: &["N", "kind"],
    reads: &["x"],
    writes: &["y"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        let act = Activation::from_number(p[1]);
        for i in 0..p[0] as usize {
            writes[0][i] = act.value(reads[0][i] as f64) as f32;
        }
    },
    accelerated: Some(forward_accelerated),
    cost: |p| Cost { flops: p[0] as u64, bytes: 8 * p[0] as u64 },
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// saved (N), which is y where [`Activation::saves_output`] and else x, and dy (N) to dx (N), assigned; recorded by
/// [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "activation.backward",
    formula: "dx = dy * act'(x)",
    params: &["N", "kind"],
    reads: &["saved", "dy"],
    writes: &["dx"],
    shader: Shader { source: &SOURCE, entry: "backward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        let act = Activation::from_number(p[1]);
        for i in 0..p[0] as usize {
            writes[0][i] = (reads[1][i] as f64 * act.slope(reads[0][i] as f64)) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: p[0] as u64, bytes: 12 * p[0] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[0] as usize, 64)
}

// ---- Record

/// y = act(x), any shape.
pub fn forward(r: &mut Recorder, x: Tensor, activation: Activation) -> Tensor {
    let y = r.tensor("y", x.shape());
    r.dispatch(&FORWARD, Params { n: x.len() as u32, kind: activation as u32 }, &[x], &[y]);
    y
}

/// dx = dy * act'(x). `saved` is y where [`Activation::saves_output`], else x.
pub fn backward(r: &mut Recorder, saved: Tensor, dy: Tensor, activation: Activation) -> Tensor {
    assert!(saved.shape() == dy.shape(), "activation.backward: saved {saved:?}, dy {dy:?}");
    let dx = r.tensor("dx", dy.shape());
    r.dispatch(&BACKWARD, Params { n: dy.len() as u32, kind: activation as u32 }, &[saved, dy], &[dx]);
    dx
}

// ---- Accelerated

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let n = p[0] as usize;
    let act = Activation::from_number(p[1]);
    chunks([(&mut writes[0][..n], CHUNK)], 1, |i, [y]| {
        y.copy_from_slice(&reads[0][i * CHUNK..][..y.len()]);
        act.apply(y);
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let n = p[0] as usize;
    let act = Activation::from_number(p[1]);
    chunks([(&mut writes[0][..n], CHUNK)], 1, |i, [dx]| {
        let [saved, dy] = [0, 1].map(|t| &reads[t][i * CHUNK..][..dx.len()]);
        act.apply_slope(dx, saved, dy);
    });
}

// ---- Cases

/// WGSL grants exp 3 + 2|x| ulp and division 2.5; erf is a polynomial with error 1.5e-7.
const TOLERANCE: Tolerance = Tolerance::Because(4e-6, "exp and division by WGSL's precision table, erf by polynomial");

fn forward_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for act in Activation::ALL {
        let mut x = uniform(1, 257, -6.0, 6.0);
        x[..8].copy_from_slice(&[0.0, -0.0, 1e-8, -1e-8, 50.0, -50.0, 120.0, -120.0]);
        let params = Params { n: 257, kind: act as u32 };
        cases.push(Case::new(format!("{act:?} 257"), params).read(x).assign(257, TOLERANCE));
    }
    cases
}

fn backward_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for act in Activation::ALL {
        let mut saved = uniform(2, 1001, -6.0, 6.0);
        saved[..4].copy_from_slice(&[0.0, -0.0, 30.0, -30.0]);
        if act.saves_output() {
            saved.iter_mut().for_each(|s| *s = act.value(*s as f64) as f32);
        }
        let case = Case::new(format!("{act:?} 1001"), Params { n: 1001, kind: act as u32 }).read(saved);
        cases.push(case.read(uniform(3, 1001, -1.0, 1.0)).assign(1001, TOLERANCE));
    }
    cases
}

// ---- Gradients

/// For the finite-difference check: each activation, away from its kink.
fn gradients() -> Vec<GradientCase> {
    Activation::ALL
        .into_iter()
        .map(|act| GradientCase {
            label: format!("activation {act:?}"),
            // Away from the kinks at 0, where a finite difference straddles two slopes.
            inputs: vec![(vec![16], (0..16).map(|i| (i as f32 - 7.5) * 0.4).collect())],
            output: vec![16],
            record: Box::new(move |r, inputs, dy| {
                let y = forward(r, inputs[0], act);
                let saved = if act.saves_output() { y } else { inputs[0] };
                (y, vec![backward(r, saved, dy, act)])
            }),
            state: vec![],
        })
        .collect()
}
