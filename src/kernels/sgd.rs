//! Stochastic gradient descent with momentum over the flat parameter buffer, `shaders/sgd.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::clock::{Clock, Row};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    momentum: f32,
    weight_decay: f32,
}

const SOURCE: Source = Source {
    file: "sgd.wgsl",
    text: include_str!("../../shaders/sgd.wgsl"),
    common: &[super::INDEX, super::CLOCK],
    bindings: &["grad", "clock", "p", "velocity"],
    ..PLAIN_SOURCE
};

/// grad (N) and the clock, whose row has lr; p and velocity (N) are updated in place. Recorded by [`forward`]. Polyak
/// 1964, in the form of `torch.optim.SGD`, whose velocity does not hold the learning rate.
pub static FORWARD: Kernel = Kernel {
    name: "sgd.forward",
    formula: "velocity = momentum * velocity + g + weight_decay * p, p -= lr * velocity",
    params: &["N", "momentum", "weight_decay"],
    reads: &["grad", "clock"],
    writes: &["p", "velocity"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let lr = Row::read(reads[1]).lr as f64;
        let p: Params = params(p);
        for i in 0..p.n as usize {
            let value = writes[0][i] as f64;
            let g = reads[0][i] as f64 + p.weight_decay as f64 * value;
            let velocity = p.momentum as f64 * writes[1][i] as f64 + g;
            writes[0][i] = (value - lr * velocity) as f32;
            writes[1][i] = velocity as f32;
        }
    },
    cost: |p| Cost { flops: 6 * p[0] as u64, bytes: 20 * p[0] as u64 },
    cases: || {
        let tolerance = Tolerance::Because(5e-7, "four rounded operations");
        let case = |n: usize| {
            Case::new(format!("{n}"), Params { n: n as u32, momentum: 0.9, weight_decay: 0.01 })
                .read(uniform(1, n, -1.0, 1.0))
                .read_words(Clock::example().words())
                .update(uniform(2, n, -1.0, 1.0), tolerance)
                .update(uniform(3, n, -1.0, 1.0), tolerance)
        };
        [1, 65, 1001].map(case).into()
    },
    gradients: GradientCheck::None("follows the gradients: nothing is differentiated through an update"),
    ..PLAIN
};

/// Updates `p` from `grad` and `velocity`, all of one length; the learning rate is the clock's.
pub fn forward(
    r: &mut Recorder,
    momentum: f32,
    weight_decay: f32,
    [grad, clock]: [Tensor; 2],
    [p, velocity]: [Tensor; 2],
) {
    assert!(p.len() == grad.len() && velocity.len() == grad.len(), "sgd.forward: grad {grad:?}, p {p:?}");
    r.dispatch(&FORWARD, Params { n: p.len() as u32, momentum, weight_decay }, &[grad, clock], &[p, velocity]);
}
