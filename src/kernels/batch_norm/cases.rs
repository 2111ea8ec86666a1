//! Inputs on which all forms agree, and operations for the finite-difference check.

use super::*;
use crate::cases::{Case, GradientCase, Tolerance, uniform};

/// (R, C): one element, one row, few channels, which share a row's lanes unevenly, several chunks with a short last
/// one, more than one workgroup of channels, multiples of 4, a layer of a convolutional network.
const SIZES: [[usize; 2]; 9] =
    [[1, 1], [1, 65], [17, 5], [1001, 3], [2501, 1], [257, 65], [1003, 12], [67, 68], [1152, 128]];

/// Activations for the sizes: all that are epilogues, and the linear ones with multiples of 4 channels.
const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Relu,
    Activation::Softplus,
    Activation::Elu,
    Activation::LeakyRelu,
    Activation::Identity,
    Activation::Relu,
];

fn shapes() -> impl Iterator<Item = (Params, Case)> {
    SIZES.into_iter().zip(ACTIVATIONS).map(|([r, c], activation)| {
        let p = sizes(r, c, activation);
        (p, Case::new(format!("{r}x{c} {activation:?}"), p))
    })
}

/// Shapes at which the activation does not matter, with numbers around 0 and around 1000: E[x^2] - E[x]^2 would leave
/// no digit of a variance of 1/3 there.
pub(super) fn partials_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shift, tolerance) in [
        (0.0, Tolerance::Because(2e-6, "a sum of at most a hundred squares a lane, and halves of the lanes")),
        (1000.0, Tolerance::Because(1e-4, "the mean of numbers near 1000 to one ulp, 6e-5, in distances of size 1")),
    ] {
        for (p, mut case) in shapes() {
            let [r, c] = p.sizes();
            case.label += &format!(" around {shift}");
            let x = uniform(1, r * c, shift - 1.0, shift + 1.0);
            cases.push(case.read(x).assign(2 * p.chunks as usize * c, tolerance));
        }
    }
    cases
}

/// What `partials` writes for numbers of size 1: (K,2,C).
fn moments_of_chunks(p: Params) -> Vec<f32> {
    let [r, c] = p.sizes();
    let mut parts = vec![0.0; 2 * p.chunks as usize * c];
    reference::partials(bytemuck::cast_slice(&[p]), &[&uniform(2, r * c, -1.0, 2.0)], &mut [&mut parts]);
    parts
}

pub(super) fn statistics_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "means of at most 256 chunks merged, a square root and a division");
    let mut cases = Vec::new();
    for (p, case) in shapes() {
        let [r, c] = p.sizes();
        // Without variance 1 / sqrt(eps) = 316.
        let case = if r == 1 { Case { label: case.label + " without variance", ..case } } else { case };
        cases.push(
            case.read(moments_of_chunks(p))
                .assign(2 * c, tolerance)
                .update(uniform(3, c, -1.0, 1.0), tolerance)
                .update(uniform(4, c, 0.5, 1.5), tolerance)
                .update(vec![41.0], Tolerance::Exact),
        );
    }
    cases
}

/// (2,C): means of size 1, rstd around 1.
fn moments(c: usize) -> Vec<f32> {
    [uniform(5, c, -1.0, 1.0), uniform(6, c, 0.5, 1.5)].concat()
}

const NORMALISED: Tolerance = Tolerance::Because(4e-6, "three rounded operations, then exp by WGSL's precision table");

pub(super) fn forward_cases() -> Vec<Case> {
    let case = |(p, case): (Params, Case)| {
        let [r, c] = p.sizes();
        case.read(uniform(7, r * c, -2.0, 2.0))
            .read(uniform(8, c, -1.0, 1.0))
            .read(uniform(9, c, -1.0, 1.0))
            .read(moments(c))
            .assign(r * c, NORMALISED)
    };
    shapes().map(case).collect()
}

pub(super) fn evaluate_cases() -> Vec<Case> {
    let case = |(p, case): (Params, Case)| {
        let [r, c] = p.sizes();
        case.read(uniform(7, r * c, -2.0, 2.0))
            .read(uniform(8, c, -1.0, 1.0))
            .read(uniform(9, c, -1.0, 1.0))
            .read(uniform(5, c, -1.0, 1.0))
            .read(uniform(6, c, 0.5, 1.5))
            .assign(r * c, NORMALISED)
    };
    shapes().map(case).collect()
}

/// Outputs of the activation, some of them at a kink.
fn outputs(p: Params) -> Vec<f32> {
    let [r, c] = p.sizes();
    let mut u = uniform(10, r * c, -2.0, 2.0);
    u[0] = 0.0;
    u.iter().map(|&u| p.activation().value(u as f64) as f32).collect()
}

pub(super) fn backward_partials_cases() -> Vec<Case> {
    let case = |(p, case): (Params, Case)| {
        let [r, c] = p.sizes();
        case.read(uniform(7, r * c, -2.0, 2.0))
            .read(outputs(p))
            .read(uniform(11, r * c, -1.0, 1.0))
            .read(moments(c))
            .assign(2 * p.chunks as usize * c, Tolerance::Dot(2 * p.rows as usize))
    };
    shapes().map(case).collect()
}

pub(super) fn backward_w_cases() -> Vec<Case> {
    let case = |(p, case): (Params, Case)| {
        let [_, c] = p.sizes();
        let tolerance = Tolerance::Dot(2 * p.chunks as usize);
        case.read(uniform(12, 2 * p.chunks as usize * c, -1.0, 1.0))
            .assign(2 * c, tolerance)
            .update(uniform(13, c, -1.0, 1.0), tolerance)
            .update(uniform(14, c, -1.0, 1.0), tolerance)
    };
    shapes().map(case).collect()
}

pub(super) fn backward_x_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "ten rounded operations on numbers of size at most 10");
    let case = |(p, case): (Params, Case)| {
        let [r, c] = p.sizes();
        let size = r as f32;
        case.read(uniform(7, r * c, -2.0, 2.0))
            .read(uniform(8, c, -1.0, 1.0))
            .read(outputs(p))
            .read(uniform(11, r * c, -1.0, 1.0))
            .read(moments(c))
            .read(uniform(15, 2 * c, -size, size))
            .assign(r * c, tolerance)
    };
    shapes().map(case).collect()
}

// ---- Gradients

/// For the finite-difference check: pictures and vectors, with activations whose slope has no jump.
pub(super) fn gradients() -> Vec<GradientCase> {
    let case = |shape: &[usize], activation: Activation| {
        let (shape, c) = (shape.to_vec(), shape[shape.len() - 1]);
        let n = shape.iter().product();
        GradientCase {
            label: format!("batch_norm {shape:?} {activation:?}"),
            inputs: vec![
                (shape.clone(), uniform(1, n, -1.0, 1.0)),
                (vec![c], uniform(2, c, 0.5, 1.5)),
                (vec![c], uniform(3, c, -1.0, 1.0)),
            ],
            output: shape,
            record: Box::new(move |r, inputs, dy| {
                let [x, w, b] = [inputs[0], inputs[1], inputs[2]];
                let mut of_channels = |name: &str, len: usize| r.tensor(name, &[len]);
                let running = Running {
                    mean: of_channels("mean", c),
                    var: of_channels("var", c),
                    count: of_channels("count", 1),
                };
                let grads = [of_channels("dw", c), of_channels("db", c)];
                let (y, saved) = forward(r, x, w, b, running, activation);
                let dx = backward(r, saved, dy, w, grads, activation);
                (y, vec![dx, grads[0], grads[1]])
            }),
            state: vec![],
        }
    };
    // Without the activations that have a kink, where a finite difference straddles two slopes; elu's is only of the
    // second derivative.
    vec![
        case(&[9, 3], Activation::Identity),
        case(&[2, 3, 2, 3], Activation::Tanh),
        case(&[2, 2, 3, 2], Activation::Elu),
        case(&[13, 2], Activation::Softplus),
    ]
}
