//! Inputs on which all forms agree, and operations for the finite-difference check.

use super::{Middle, Params};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernels::activation::{self, Activation};
use crate::kernels::clock::Clock;
use crate::kernels::{fused_weights, joint, reduce, weighted};
use crate::tensor::Tensor;

/// (B, I, Z, O), before, after: presets' sizes, an odd batch, one of everything, the largest Z, more outputs than
/// invocations.
const SIZES: [([usize; 4], Activation, Activation); 8] = [
    ([1, 1, 1, 1], Activation::Relu, Activation::Relu),
    ([128, 60, 20, 84], Activation::Relu, Activation::Relu),
    ([17, 33, 2, 65], Activation::Tanh, Activation::Elu),
    ([5, 300, 64, 7], Activation::Identity, Activation::Sigmoid),
    ([2, 7, 3, 515], Activation::LeakyRelu, Activation::Softplus),
    ([33, 257, 33, 20], Activation::Softplus, Activation::Tanh),
    ([33, 68, 64, 136], Activation::LeakyRelu, Activation::Softplus),
    ([70, 136, 8, 60], Activation::Elu, Activation::LeakyRelu),
];

/// Weights with gaps between them, and where they are.
fn example([b, i, z, o]: [usize; 4], before: Activation, after: Activation) -> (Params, Vec<f32>) {
    let is_whole = [i, z, o].iter().all(|size| size.is_multiple_of(4));
    let mut words = 0;
    let mut take = |n: usize| {
        let first = words;
        // Whole sizes have whole places.
        words += n + if is_whole { 4 } else { 3 };
        first as u32
    };
    // The heads in this order, so that the logvar's does not simply follow the mean's.
    let [logvar, mean, mean_b, w, logvar_b, bias] = [z * i, z * i, z, o * z, z, o].map(&mut take);
    let [b, i, z, o] = [b, i, z, o].map(|v| v as u32);
    let (before, after) = (before as u32, after as u32);
    let params = Params { b, i, z, o, before, after, site: 5, mean, mean_b, logvar, logvar_b, w, bias, scale: 0.7 };
    // Small enough for e^logvar to stay of size 1.
    let reach = 1.0 / (i as f32).sqrt();
    (params, uniform(1, words, -reach, reach))
}

/// Sums of products, then an exponential and a few operations on what they give.
const TOLERANCE: Tolerance = Tolerance::Because(2e-5, "dot products of up to 515 terms, one through an exponential");

pub(super) fn forward() -> Vec<Case> {
    let case = |(sizes, before, after): ([usize; 4], Activation, Activation)| {
        let [b, i, z, o] = sizes;
        let (params, parameters) = example(sizes, before, after);
        Case::new(format!("{b}x{i}x{z}x{o} {after:?}"), params)
            .read(uniform(2, b * i, -1.0, 1.0))
            .read(parameters)
            .read_words(Clock::example().words())
            .assign(b * 2 * z, Tolerance::Dot(i))
            .assign(b * z, TOLERANCE)
            .assign(b * o, TOLERANCE)
            .assign(b, TOLERANCE)
    };
    SIZES.map(case).into()
}

pub(super) fn backward() -> Vec<Case> {
    let case = |(sizes, before, after): ([usize; 4], Activation, Activation)| {
        let [b, i, z, o] = sizes;
        let (params, parameters) = example(sizes, before, after);
        Case::new(format!("{b}x{i}x{z}x{o} {before:?}"), params)
            .read(uniform(3, b * o, -1.0, 1.0))
            .read(parameters)
            .read(uniform(4, b * 2 * z, -1.0, 1.0))
            .read(uniform(2, b * i, -0.9, 0.9))
            .read_words(Clock::example().words())
            .assign(b * 2 * z, TOLERANCE)
            .assign(b * i, TOLERANCE)
    };
    SIZES.map(case).into()
}

/// For the finite-difference check: y, weighted, and the weighted KL as one number, as a function of what the encoder's
/// last activation reads and of all parameters. The noise is drawn anew from the clock each time, the same.
pub(super) fn gradients() -> Vec<GradientCase> {
    let case = |[b, i, z, o]: [usize; 4], before: Activation, after: Activation| {
        // The parameters one behind the other, so that their gradients fill the flat ones.
        let mut words = 0;
        let places = [z * i, z, z * i, z, o * z, o].map(|length| {
            let first = words;
            words += length;
            first
        });
        let clock = Clock::example();
        let scale = 0.7;
        let kl_weight = scale * clock.rows[clock.batch as usize].kl_weight;
        GradientCase {
            label: format!("latent {b}x{i}x{z}x{o} {before:?} {after:?}"),
            inputs: vec![(vec![b, i], uniform(1, b * i, -1.0, 1.0)), (vec![words], uniform(2, words, -0.7, 0.7))],
            output: vec![1],
            record: Box::new(move |r, inputs, dy| {
                let [read, parameters, clock, of_y] = *inputs else { unreachable!("two inputs and two of the state") };
                let of_y = of_y.reshape(&[b, o]);
                let of = |buffer: usize| {
                    let part = |n: usize, shape: &[usize]| Tensor::new(buffer, places[n], shape);
                    [
                        [part(0, &[z, i]), part(1, &[z])],
                        [part(2, &[z, i]), part(3, &[z])],
                        [part(4, &[o, z]), part(5, &[o])],
                    ]
                };
                let [mean, logvar, layer] = of(parameters.buffer);
                let middle = Middle { mean, logvar, layer, before, after, site: 5, scale };
                let h = activation::forward(r, read, before);
                let [sample, y] = [r.tensor("z", &[b, z]), r.tensor("y", &[b, o])];
                let [q, kl] = super::forward(r, &middle, [h, parameters, clock], [sample, y]);
                let weighted_y = joint::multiply(r, y, of_y);
                let [whole_y, whole_kl] = [weighted_y, kl.reshape(&[1, b])].map(|part| reduce::whole(r, part));
                let objective = joint::add(r, whole_y, whole_kl, kl_weight);

                let dlayer = activation::backward(r, y, of_y, after);
                let dh = r.tensor("dh", &[b, i]);
                let dq = super::backward(r, &middle, [dlayer, q], [h, parameters, clock], dh);
                let gradients = r.tensor("gradients", &[words]);
                let [dmean, dlogvar, dparameters] = of(gradients.buffer);
                let heads = fused_weights::Gradients { x: h, dy: dq, to: [dmean, dlogvar] };
                let layer = fused_weights::Gradients { x: sample, dy: dlayer, to: [dparameters; 2] };
                fused_weights::backward(r, &[heads, layer], gradients);
                (objective, vec![weighted(r, dy, dh), weighted(r, dy, gradients.reshape(&[1, words]))])
            }),
            state: vec![
                ("clock", clock.words()),
                ("weights of y", uniform(3, b * o, -1.0, 1.0).into_iter().map(f32::to_bits).collect()),
            ],
        }
    };
    // Activations without a kink; the second has sizes and activations that the form for multiples of 4 takes.
    vec![
        case([3, 5, 2, 4], Activation::Tanh, Activation::Softplus),
        case([4, 8, 4, 4], Activation::Identity, Activation::Identity),
    ]
}
