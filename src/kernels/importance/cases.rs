//! Inputs on which all forms agree, and operations for the finite-difference check.

use super::{EMPTY, Params};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernels::{joint, mse, reduce};
use crate::tensor::Tensor;

/// (B, K, Z): one of each, odd sizes, Burda's latent, several workgroups.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [17, 3, 5], [3, 65, 2], [20, 5, 50], [65, 17, 3]];

fn case([b, k, z]: [usize; 3]) -> Case {
    Case::new(format!("{b} of {k}x{z}"), Params { b: b as u32, k: k as u32, z: z as u32 })
}

pub(super) fn sample() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-6, "exp of an argument of size 2: 3 + 2|x| ulp");
    let of = |[b, k, z]: [usize; 3]| {
        case([b, k, z])
            .read(uniform(1, b * z, -2.0, 2.0))
            .read(uniform(2, b * z, -4.0, 4.0))
            .read(uniform(3, b * k * z, -3.0, 3.0))
            .assign(b * k * z, tolerance)
    };
    SIZES.map(of).into()
}

pub(super) fn log_weights() -> Vec<Case> {
    let of = |[b, k, z]: [usize; 3]| {
        case([b, k, z])
            .read(uniform(1, b * k, 0.0, 1.0))
            .read(uniform(2, b * z, -1.0, 1.0))
            .read(uniform(3, b * k * z, -1.0, 1.0))
            .read(uniform(4, b * k * z, -1.0, 1.0))
            .assign(b * k, Tolerance::Dot(3 * z))
    };
    SIZES.map(of).into()
}

/// Log weights of -10 to 10, and of what a picture of 784 pixels has.
fn log_w(seed: u64, b: usize, k: usize) -> [Vec<f32>; 2] {
    [uniform(seed, b * k, -10.0, 10.0), uniform(seed, b * k, -120.0, -80.0)]
}

const EXPONENTIALS: Tolerance =
    Tolerance::Because(4e-6, "exp of differences of up to 40, themselves rounded, and a log of their sum");

pub(super) fn bound() -> Vec<Case> {
    let of = |[b, k, _]: [usize; 3]| {
        log_w(5, b, k).map(|log_w| case([b, k, 1]).read(log_w).assign(b, EXPONENTIALS).assign(b * k, EXPONENTIALS))
    };
    SIZES.into_iter().flat_map(of).collect()
}

/// Of pictures of which nothing was known, and of such with a larger or a smaller maximum.
pub(super) fn accumulate() -> Vec<Case> {
    let of = |[b, k, _]: [usize; 3]| {
        let known = |b: usize| if b.is_multiple_of(3) { EMPTY } else { [(b % 7) as f32 * 4.0 - 12.0, 2.5, 1.5] };
        let [log_w, _] = log_w(6, b, k);
        case([b, k, 1]).read(log_w).update((0..b).flat_map(known).collect(), EXPONENTIALS)
    };
    SIZES.map(of).into()
}

const BACKWARD: Tolerance = Tolerance::Because(4e-6, "a sum of up to 65 products with an exp of size up to e");

fn backward_reads([b, k, z]: [usize; 3]) -> Case {
    let case = [7, 8, 9].into_iter().fold(case([b, k, z]), |case, seed| case.read(uniform(seed, b * k * z, -1.0, 1.0)));
    case.read(uniform(10, b * z, -1.0, 1.0))
}

pub(super) fn backward_iwae() -> Vec<Case> {
    let of = |[b, k, z]: [usize; 3]| {
        let case = backward_reads([b, k, z]).read(uniform(11, b * k, 0.0, 1.0));
        case.assign(b * z, BACKWARD).assign(b * z, BACKWARD)
    };
    SIZES.map(of).into()
}

pub(super) fn backward_dreg() -> Vec<Case> {
    let of = |[b, k, z]: [usize; 3]| {
        let case = backward_reads([b, k, z]).read(uniform(12, b * k, 0.0, 1.0)).read(uniform(11, b * k, 0.0, 1.0));
        case.assign(b * z, BACKWARD).assign(b * z, BACKWARD)
    };
    SIZES.map(of).into()
}

/// For the finite-difference check: the bound with a reconstruction that depends on z, and the objective whose gradient
/// the doubly reparameterised one is.
pub(super) fn gradients() -> Vec<GradientCase> {
    const B: usize = 3;
    const K: usize = 4;
    const Z: usize = 2;
    let inputs = || vec![(vec![B, Z], uniform(1, B * Z, -1.0, 1.0)), (vec![B, Z], uniform(2, B * Z, -0.5, 0.5))];
    let words = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    let samples = |seed, low, high| words(uniform(seed, B * K * Z, low, high));
    let matrix = |tensor: Tensor| tensor.reshape(&[B * K, Z]);
    vec![
        GradientCase {
            label: "importance".into(),
            inputs: inputs(),
            output: vec![B],
            record: Box::new(move |r, inputs, dy| {
                let [mean, logvar, noise, x] = [inputs[0], inputs[1], matrix(inputs[2]), matrix(inputs[3])];
                let z = super::sample(r, mean, logvar, noise);
                let recon = mse::loss(r, z, x, 0.8);
                let log_w = super::log_weights(r, recon, logvar, [noise, z]);
                let (bound, shares) = super::bound(r, log_w, B);
                let weights = joint::weigh(r, shares.reshape(&[B, K]), dy).reshape(&[B * K]);
                let dz = mse::backward(r, z, x, 0.8, 1.0);
                let dz = joint::weigh(r, dz, weights);
                (bound, super::backward_iwae(r, dz, [z, noise, logvar], weights).into())
            }),
            state: vec![("noise", samples(3, -2.0, 2.0)), ("x", samples(4, -1.0, 1.0))],
        },
        // q's density is that of the state, which the inputs do not move: -sum_k share^2 log w_k.
        GradientCase {
            label: "importance, doubly reparameterised".into(),
            inputs: inputs(),
            output: vec![B],
            record: Box::new(move |r, inputs, dy| {
                let [mean, logvar, noise, x] = [inputs[0], inputs[1], matrix(inputs[2]), matrix(inputs[3])];
                let [still_logvar, still_mean, precision, shares] =
                    [inputs[4].reshape(&[B, Z]), matrix(inputs[5]), matrix(inputs[6]), inputs[7]];
                let z = super::sample(r, mean, logvar, noise);
                let recon = mse::loss(r, z, x, 0.8);
                let away = joint::add(r, z, still_mean, -1.0);
                let still_noise = joint::multiply(r, away, precision);
                let log_w = super::log_weights(r, recon, still_logvar, [still_noise, z]);
                let squares = joint::multiply(r, shares, shares);
                let counted = joint::multiply(r, squares, log_w).reshape(&[B, K]);
                let sum = reduce::rows(r, counted);
                let y = joint::scale(r, sum, -1.0);
                let weights = joint::weigh(r, shares.reshape(&[B, K]), dy).reshape(&[B * K]);
                let dz = mse::backward(r, z, x, 0.8, 1.0);
                let dz = joint::weigh(r, dz, weights);
                (y, super::backward_dreg(r, dz, [z, noise, logvar], [shares, weights]).into())
            }),
            state: {
                let [(_, mean), (_, logvar)] = inputs().try_into().expect("two inputs");
                let repeated = |values: &[f32]| values.chunks(Z).flat_map(|row| row.repeat(K)).collect::<Vec<f32>>();
                let precision = repeated(&logvar).into_iter().map(|logvar| (-0.5 * logvar).exp()).collect();
                vec![
                    ("noise", samples(3, -2.0, 2.0)),
                    ("x", samples(4, -1.0, 1.0)),
                    ("still_logvar", words(logvar)),
                    ("still_mean", words(repeated(&mean))),
                    ("precision", words(precision)),
                    ("shares", words(uniform(5, B * K, 0.1, 0.9))),
                ]
            },
        },
    ]
}
