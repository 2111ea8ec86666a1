//! Inputs on which all forms agree, and operations for the finite-difference check.

use super::{Params, log_sum};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernels::mixture::log_density;
use crate::kernels::{clock, fill, joint, reduce, reparameterise, weighted};

/// (B, Z): one row, odd sizes, a preset's batch and latent, several workgroups.
const SIZES: [[usize; 2]; 4] = [[1, 1], [17, 3], [128, 10], [33, 65]];

fn case([b, z]: [usize; 2]) -> Case {
    let params = Params { b: b as u32, z: z as u32, log_nm: ((b * 1000) as f32).ln(), scale: 0.7 };
    Case::new(format!("{b}x{z}"), params)
}

/// z, mean, logvar (B,Z); pairs (B,B) and log_sums (B,Z+1) of them.
fn values([b, z]: [usize; 2]) -> [Vec<f32>; 5] {
    let [rows, mean, logvar] = [(1, 2.0), (2, 1.0), (3, 1.0)].map(|(seed, most)| uniform(seed, b * z, -most, most));
    let element = |i: usize, j: usize, d: usize| log_density(rows[i * z + d], mean[j * z + d], logvar[j * z + d]);
    let pair = |i: usize, j: usize| (0..z).map(|d| element(i, j, d)).sum::<f64>();
    let pairs = (0..b * b).map(|at| pair(at / b, at % b) as f32).collect();
    let sum = |at: usize| match (at / (z + 1), at % (z + 1)) {
        (i, d) if d == z => log_sum((0..b).map(|j| pair(i, j))) as f32,
        (i, d) => log_sum((0..b).map(|j| element(i, j, d))) as f32,
    };
    let sums = (0..b * (z + 1)).map(sum).collect();
    [rows, mean, logvar, pairs, sums]
}

pub(super) fn marginals() -> Vec<Case> {
    let tolerance = Tolerance::Because(8e-6, "exp of rounded differences and a log of a sum of up to 128 of them");
    let of = |[b, z]: [usize; 2]| {
        let [rows, mean, logvar, pairs, _] = values([b, z]);
        case([b, z]).read(rows).read(mean).read(logvar).read(pairs).assign(b * (z + 1), tolerance)
    };
    SIZES.map(of).into()
}

pub(super) fn terms() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-5, "differences of sums of up to 65 numbers of up to 12 nats");
    let of = |[b, z]: [usize; 2]| {
        let [rows, _, _, pairs, sums] = values([b, z]);
        let case = case([b, z]).read(rows).read(pairs).read(sums);
        case.assign(b, tolerance).assign(b, tolerance).assign(b, tolerance)
    };
    SIZES.map(of).into()
}

const BACKWARD: Tolerance =
    Tolerance::Because(3e-5, "exp of differences of pairs of up to 150 nats, rounded there, and a sum of up to 128");

fn backward([b, z]: [usize; 2]) -> Case {
    let case = values([b, z]).into_iter().fold(case([b, z]), Case::read);
    // Beta is 1.75 there, and not 1, which would leave nothing to see.
    let mut clock = clock::Clock::example();
    clock.rows[1].kl_weight = 1.75;
    case.read_words(clock.words())
}

pub(super) fn backward_z() -> Vec<Case> {
    SIZES.map(|[b, z]| backward([b, z]).update(uniform(4, b * z, -1.0, 1.0), BACKWARD)).into()
}

pub(super) fn backward_q() -> Vec<Case> {
    SIZES.map(|[b, z]| backward([b, z]).assign(b * z, BACKWARD).assign(b * z, BACKWARD)).into()
}

/// For the finite-difference check: the three parts with beta 3, and with beta 1, where they are log q(z|x) - log p(z).
pub(super) fn gradients() -> Vec<GradientCase> {
    const B: usize = 5;
    const Z: usize = 2;
    let inputs = || vec![(vec![B, Z], uniform(1, B * Z, -1.0, 1.0)), (vec![B, Z], uniform(2, B * Z, -0.5, 0.5))];
    let case = |beta: f32| GradientCase {
        label: format!("total_correlation beta {beta}"),
        inputs: inputs(),
        output: vec![1],
        record: Box::new(move |r, inputs, dy| {
            let [mean, logvar, noise, clock] = [inputs[0], inputs[1], inputs[2].reshape(&[B, Z]), inputs[3]];
            let z = reparameterise::forward(r, mean, logvar, noise);
            let parts = super::terms(r, z, [mean, logvar], 100);
            let [information, correlation, dimensions] = parts.terms;
            let sum = joint::add(r, information, correlation, beta);
            let sum = joint::add(r, sum, dimensions, 1.0);
            let y = reduce::whole(r, sum.reshape(&[1, B]));
            let dz = r.tensor("dz", &[B, Z]);
            fill::forward(r, dz, 0.0); // nothing else is of z
            let [dmean, dlogvar] = super::backward(r, &parts, [z, dz], [mean, logvar], clock, 1.0);
            // What z is of the two is added by the side, so that only kernels from here are looked at.
            let through_z = ["dmean", "dlogvar"].map(|name| r.tensor(name, &[B, Z]));
            through_z.iter().for_each(|&gradient| fill::forward(r, gradient, 0.0));
            reparameterise::backward(r, logvar, noise, dz, through_z[0], through_z[1]);
            let sum = [(dmean, through_z[0]), (dlogvar, through_z[1])].map(|(a, b)| joint::add(r, a, b, 1.0));
            (y, sum.map(|gradient| weighted(r, dy, gradient)).into())
        }),
        state: {
            let mut clock = clock::Clock::unit();
            clock.rows[0].kl_weight = beta;
            let noise = uniform(3, B * Z, -2.0, 2.0).into_iter().map(f32::to_bits).collect();
            vec![("noise", noise), ("clock", clock.words())]
        },
    };
    vec![case(3.0), case(1.0)]
}
