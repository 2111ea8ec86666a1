//! Inputs on which all forms agree, and an operation for the finite-difference check.

use super::*;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernels::{joint, reduce, weighted};

/// (R,D,K): one of each, odd sizes, more codes than vectors, the convolutional preset's.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [17, 5, 65], [257, 3, 17], [65, 65, 33], [1568, 64, 128]];

fn case([r, d, k]: [usize; 3]) -> Case {
    Case::new(
        format!("{r}x{d} of {k}"),
        Params { r: r as u32, d: d as u32, k: k as u32, scale: 0.7, decay: 0.9, restart: 0.3 },
    )
}

/// Numbers of codes that leave some out and take some often.
fn ids(r: usize, k: usize) -> Vec<f32> {
    (0..r).map(|row| ((row * row / 3) % (k * 3 / 4).max(1)) as f32).collect()
}

/// Random ones, and vectors and codes on a coarse grid, so that many distances are equal to the bit.
pub(super) fn nearest_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(uniform(1, r * d, -1.0, 1.0)).read(uniform(2, k * d, -1.0, 1.0));
        case.assign(r, Tolerance::Exact)
    };
    let on_grid = |seed, n| uniform(seed, n, -1.5, 1.5).into_iter().map(f32::round).collect();
    let ties = Case { label: "257x3 of 65, ties".into(), ..case([257, 3, 65]) };
    let ties = ties.read(on_grid(3, 257 * 3)).read(on_grid(4, 65 * 3)).assign(257, Tolerance::Exact);
    SIZES.map(of).into_iter().chain([ties]).collect()
}

pub(super) fn gather_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let mut ids = ids(r, k);
        ids[r - 1] = k as f32; // beyond the last
        case([r, d, k]).read(ids).read(uniform(2, k * d, -1.0, 1.0)).assign(r * d, Tolerance::Exact)
    };
    SIZES.map(of).into()
}

pub(super) fn one_hot_cases() -> Vec<Case> {
    SIZES.map(|[r, d, k]| case([r, d, k]).read(ids(r, k)).assign(r * k, Tolerance::Exact)).into()
}

pub(super) fn distance_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(uniform(1, r * d, -1.0, 1.0)).read(uniform(2, r * d, -1.0, 1.0));
        case.assign(r, Tolerance::Dot(4 * d))
    };
    SIZES.map(of).into()
}

pub(super) fn tally_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(ids(r, k)).read(uniform(1, r * d, -1.0, 1.0));
        case.assign(k, Tolerance::Exact).assign(k * d, Tolerance::Dot(r))
    };
    SIZES.map(of).into()
}

pub(super) fn backward_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(uniform(3, k, 0.0, 9.0).into_iter().map(f32::floor).collect());
        let case = case.read(uniform(4, k * d, -9.0, 9.0)).read(uniform(2, k * d, -1.0, 1.0));
        case.update(uniform(5, k * d, -1.0, 1.0), Tolerance::Because(1e-6, "a difference of numbers of size 20"))
    };
    SIZES.map(of).into()
}

pub(super) fn straight_through_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let given = [1, 2, 3].map(|seed| uniform(seed, r * d, -1.0, 1.0));
        let case = given.into_iter().fold(case([r, d, k]), Case::read).read_words(clock::Clock::example().words());
        case.assign(r * d, Tolerance::Because(1e-6, "a sum of two products"))
    };
    SIZES.map(of).into()
}

pub(super) fn update_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-5, "a quotient of sums of two products, no count near the threshold");
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(counts(r, k));
        let case = case.read(uniform(4, k * d, -2.0, 2.0)).read(uniform(1, r * d, -1.0, 1.0));
        let case = case.read_words(clock::Clock::example().words());
        let running = uniform(6, k, 0.0, 2.0 * r as f32 / k as f32);
        let case = case.update(running, tolerance).update(uniform(2, k * d, -1.0, 1.0), tolerance);
        case.update(uniform(7, k * d, -1.0, 1.0), tolerance)
    };
    SIZES.map(of).into()
}

pub(super) fn perplexity_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-5, "exp of a sum of K logs");
    let of =
        |[r, d, k]: [usize; 3]| case([r, d, k]).read(counts(r, k)).assign(1, tolerance).assign(1, Tolerance::Exact);
    SIZES.map(of).into()
}

/// (K): how many of [`ids`] are each code's.
fn counts(r: usize, k: usize) -> Vec<f32> {
    let ids = ids(r, k);
    (0..k).map(|code| ids.iter().filter(|&&id| id == code as f32).count() as f32).collect()
}

/// For the finite-difference check: the summed squared distances of vectors to their nearest codes, by both. The
/// commitment, of which straight_through is the backward, is 1 here, and nothing comes from behind the codes.
pub(super) fn gradients() -> Vec<GradientCase> {
    let clock = clock::Clock::unit().words();
    vec![GradientCase {
        label: "codebook".into(),
        inputs: vec![(vec![7, 3], uniform(1, 21, -1.0, 1.0)), (vec![4, 3], uniform(2, 12, -1.0, 1.0))],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let [z, codebook, clock] = [inputs[0], inputs[1], inputs[2]];
            let ids = nearest(r, z, codebook);
            let q = gather(r, ids, codebook);
            let rows = distance(r, z, q);
            let y = reduce::whole(r, rows.reshape(&[1, 7]));
            let [none, dcodebook] = [z, codebook].map(|like| joint::scale(r, like, 0.0));
            let dz = straight_through(r, none, [z, q, clock], 1.0);
            let of_codes = tally(r, ids, z, 4);
            backward(r, of_codes, codebook, dcodebook, 1.0);
            (y, vec![weighted(r, dy, dz), weighted(r, dy, dcodebook)])
        }),
        state: vec![("clock", clock)],
    }]
}
