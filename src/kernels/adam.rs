//! Adam and AdamW over the flat parameter buffer, `shaders/adam.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::clock::{Clock, Row};
use super::threads::chunks;
use super::{CHUNK, math};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// `decoupled` 1: AdamW (Loshchilov & Hutter 2017); 0: Adam with weight decay as L2, added to the gradient.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    n: u32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    weight_decay: f32,
    decoupled: u32,
}

/// Settings of `torch.optim.Adam` and `torch.optim.AdamW`; the learning rate is the clock's.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// How much of the first moment m and of the second v a step keeps; each in [0, 1).
    pub betas: [f32; 2],
    /// Added to the root of the corrected second moment, so in the unit of a gradient.
    pub eps: f32,
    /// Decoupled: a step takes lr * weight_decay of each parameter away. Else the gradient grows by weight_decay times
    /// the parameter.
    pub weight_decay: f32,
    /// AdamW; else Adam.
    pub decoupled: bool,
}

impl Adam {
    /// The params of an update of `n` elements.
    pub(super) fn params(&self, n: usize) -> Params {
        Params {
            n: n as u32,
            beta1: self.betas[0],
            beta2: self.betas[1],
            eps: self.eps,
            weight_decay: self.weight_decay,
            decoupled: self.decoupled as u32,
        }
    }
}

const SOURCE: Source = Source {
    file: "adam.wgsl",
    text: include_str!("../../shaders/adam.wgsl"),
    common: &[super::INDEX, super::CLOCK, super::ADAM],
    bindings: &["grad", "clock", "p", "m", "v"],
    ..PLAIN_SOURCE
};

/// grad (N) and the clock, whose row has lr and the bias corrections; p, m and v (N) are updated in place. Recorded by
/// [`forward`]. Kingma & Ba 2015 (arXiv 1412.6980); decoupled, Loshchilov & Hutter 2017 (arXiv 1711.05101).
pub static FORWARD: Kernel = Kernel {
    name: "adam.forward",
    formula: "p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps)",
    params: &["N", "beta1", "beta2", "eps", "weight_decay", "decoupled"],
    reads: &["grad", "clock"],
    writes: &["p", "m", "v"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let row = Row::read(reads[1]);
        let p: Params = params(p);
        let [beta1, beta2, eps, decay] = [p.beta1, p.beta2, p.eps, p.weight_decay].map(f64::from);
        let [lr, correction1, correction2] = [row.lr, row.bias_correction1, row.bias_correction2_sqrt].map(f64::from);
        for i in 0..p.n as usize {
            let (mut value, mut g) = (writes[0][i] as f64, reads[0][i] as f64);
            if p.decoupled != 0 {
                value *= 1.0 - lr * decay;
            } else {
                g += decay * value;
            }
            let m = writes[1][i] as f64 + (1.0 - beta1) * (g - writes[1][i] as f64);
            let v = beta2 * writes[2][i] as f64 + (1.0 - beta2) * g * g;
            writes[0][i] = (value - lr / correction1 * m / (v.sqrt() / correction2 + eps)) as f32;
            writes[1][i] = m as f32;
            writes[2][i] = v as f32;
        }
    },
    accelerated: Some(forward_accelerated),
    cost: |p| Cost { flops: 12 * p[0] as u64, bytes: 28 * p[0] as u64 },
    cases,
    gradients: GradientCheck::None("follows the gradients: nothing is differentiated through an update"),
    ..PLAIN
};

/// Updates `p` from `grad` and the moments `m` and `v`, all of one length.
pub fn forward(r: &mut Recorder, adam: Adam, grad: Tensor, clock: Tensor, [p, m, v]: [Tensor; 3]) {
    assert!([p, m, v].iter().all(|t| t.len() == grad.len()), "adam.forward: grad {grad:?}, p {p:?}, m {m:?}, v {v:?}");
    r.dispatch(&FORWARD, adam.params(p.len()), &[grad, clock], &[p, m, v]);
}

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let row = Row::read(reads[1]);
    let p: Params = params(p);
    let n = p.n as usize;
    let (shrink, l2) = if p.decoupled != 0 { (1.0 - row.lr * p.weight_decay, 0.0) } else { (1.0, p.weight_decay) };
    let (rate, root) = (row.lr / row.bias_correction1, 1.0 / row.bias_correction2_sqrt);
    let [values, means, squares] = writes else { unreachable!("adam writes p, m and v") };
    let outputs = [(&mut values[..n], CHUNK), (&mut means[..n], CHUNK), (&mut squares[..n], CHUNK)];
    chunks(outputs, 1, |i, [values, means, squares]| {
        let gradients = &reads[0][i * CHUNK..][..values.len()];
        math::vectorised(|| {
            for (((value, m), v), g) in values.iter_mut().zip(means).zip(squares).zip(gradients) {
                let g = g + l2 * *value;
                let mean = *m + (1.0 - p.beta1) * (g - *m);
                // A mean that decays to where numbers lose their digits takes a CPU a hundred times as long: pixels
                // that are seldom lit leave many. It moves nothing by then. A NaN stays.
                *m = if mean.abs() < f32::MIN_POSITIVE { 0.0 } else { mean };
                *v = p.beta2 * *v + (1.0 - p.beta2) * g * g;
                *value = *value * shrink - rate * *m / (v.sqrt() * root + p.eps);
            }
        })
    });
}

fn cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-6, "division 2.5 ulp, square root and five rounded operations");
    let case = |(n, weight_decay, decoupled): (usize, f32, u32)| {
        let label = format!("{n} {} decay {weight_decay}", if decoupled != 0 { "AdamW" } else { "Adam" });
        let (beta1, beta2, eps) = (0.9, 0.99, 1e-8);
        Case::new(label, Params { n: n as u32, beta1, beta2, eps, weight_decay, decoupled })
            .read(uniform(1, n, -1.0, 1.0))
            .read_words(Clock::example().words())
            .update(uniform(2, n, -1.0, 1.0), tolerance)
            .update(uniform(3, n, -0.1, 0.1), tolerance)
            .update(uniform(4, n, 0.0, 0.1), tolerance)
    };
    [(1, 0.0, 0), (65, 0.0, 0), (1001, 0.1, 0), (257, 0.1, 1), (4160, 0.1, 0), (4160, 0.0, 1)].map(case).into()
}
