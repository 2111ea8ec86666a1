//! Inputs on which all forms agree, and operations for the finite-difference check.

use super::Params;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernels::{clock, fill, reduce, reparameterise, weighted};

/// (B, K, Z): one of each, odd sizes, the pairs of a batch with itself, several workgroups.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [17, 5, 3], [65, 65, 2], [3, 129, 40], [128, 7, 20]];

fn case([b, k, z]: [usize; 3]) -> Case {
    Case::new(format!("{b} in {k} of {z}"), Params { b: b as u32, k: k as u32, z: z as u32, scale: 0.7 })
}

/// z (B,Z), mean and logvar (K,Z)
fn rows([b, k, z]: [usize; 3]) -> Case {
    case([b, k, z]).read(uniform(1, b * z, -2.0, 2.0)).read(uniform(2, k * z, -1.0, 1.0)).read(uniform(
        3,
        k * z,
        -1.5,
        1.0,
    ))
}

pub(super) fn pairs() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "a sum of up to 40 terms of size up to 40, of one sign nearly all");
    SIZES.map(|[b, k, z]| rows([b, k, z]).assign(b * k, tolerance)).into()
}

const EXPONENTIALS: Tolerance =
    Tolerance::Because(8e-6, "exp of differences of up to 40, themselves rounded, and a log of their sum");

/// Pairs near each other, and as far apart as those of a trained encoder are.
pub(super) fn density() -> Vec<Case> {
    let of = |[b, k, _]: [usize; 3]| {
        let ranges = [(-10.0, 10.0), (-90.0, -50.0), (-4000.0, -40.0)];
        ranges.map(|(low, high)| {
            case([b, k, 1]).read(uniform(4, b * k, low, high)).assign(b, EXPONENTIALS).assign(b * k, EXPONENTIALS)
        })
    };
    SIZES.into_iter().flat_map(of).collect()
}

pub(super) fn kl() -> Vec<Case> {
    let of = |[b, _, z]: [usize; 3]| {
        let case = case([b, 1, z]).read(uniform(5, b * z, -3.0, 3.0)).read(uniform(6, b * z, -4.0, 1.0));
        case.read(uniform(7, b, -60.0, -20.0))
            .assign(b, Tolerance::Because(2e-5, "a difference of sums of up to 60 nats"))
    };
    SIZES.map(of).into()
}

/// As reads of both backward kernels: shares that add up to 1.
fn backward([b, k, z]: [usize; 3]) -> Case {
    let shares = uniform(8, b * k, 0.0, 1.0);
    let normalised = shares.chunks(k).flat_map(|row| {
        let sum: f32 = row.iter().sum();
        row.iter().map(move |share| share / sum)
    });
    rows([b, k, z]).read(normalised.collect()).read_words(clock::Clock::example().words())
}

const BACKWARD: Tolerance = Tolerance::Because(1e-5, "a sum of up to 129 products with an exp of size up to 4");

pub(super) fn backward_z() -> Vec<Case> {
    let of = |[b, k, z]: [usize; 3]| {
        let case = backward([b, k, z]).update(uniform(9, b * z, -1.0, 1.0), BACKWARD);
        case.assign(b * z, Tolerance::Dot(1))
    };
    SIZES.map(of).into()
}

pub(super) fn backward_components() -> Vec<Case> {
    let of = |[b, k, z]: [usize; 3]| backward([b, k, z]).assign(k * z, BACKWARD).assign(k * z, BACKWARD);
    SIZES.map(of).into()
}

/// For the finite-difference check: the sampled KL from q to the mixture, of q and of the components.
pub(super) fn gradients() -> Vec<GradientCase> {
    const B: usize = 4;
    const K: usize = 3;
    const Z: usize = 2;
    let input = |seed, rows, low, high| (vec![rows, Z], uniform(seed, rows * Z, low, high));
    vec![GradientCase {
        label: "mixture".into(),
        inputs: vec![input(1, B, -1.0, 1.0), input(2, B, -0.5, 0.5), input(3, K, -1.0, 1.0), input(4, K, -0.5, 0.5)],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let [mean, logvar, noise, clock] = [inputs[0], inputs[1], inputs[4].reshape(&[B, Z]), inputs[5]];
            let components = [inputs[2], inputs[3]];
            let z = reparameterise::forward(r, mean, logvar, noise);
            let pairs = super::pairs(r, z, components);
            let [log_p, shares] = super::density(r, pairs);
            let kl = super::kl(r, noise, logvar, log_p);
            let y = reduce::whole(r, kl.reshape(&[1, B]));
            let dz = r.tensor("dz", &[B, Z]);
            fill::forward(r, dz, 0.0); // nothing else is of z
            let [of_q, of_components] = super::backward(r, [z, shares, dz], components, clock, 1.0);
            reparameterise::backward(r, logvar, noise, dz, of_q[0], of_q[1]);
            (y, [of_q, of_components].concat().into_iter().map(|gradient| weighted(r, dy, gradient)).collect())
        }),
        state: vec![
            ("noise", uniform(5, B * Z, -2.0, 2.0).into_iter().map(f32::to_bits).collect()),
            ("clock", clock::Clock::unit().words()),
        ],
    }]
}
