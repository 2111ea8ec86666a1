//! Inputs on which all forms agree, and operations for the finite-difference check.

use super::sizes;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernels::activation::Activation;

/// (B, I, O): tiles exactly filled, one more, one less, a single element, long and short sums, the presets' layers,
/// multiples of 4 that are none of 16.
const SIZES: [[usize; 3]; 13] = [
    [1, 1, 1],
    [1, 65, 17],
    [17, 1, 65],
    [64, 64, 64],
    [65, 257, 17],
    [63, 15, 129],
    [128, 20, 400],
    [96, 784, 33],
    [257, 33, 2],
    [36, 44, 52],
    [8, 8, 8],
    [40, 72, 88],
    [104, 200, 136],
];

/// Inputs of magnitude sqrt(3)/2 on average: sums of k products stay near sqrt(k)/3.
pub(super) fn forward() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([b, i, o], act) in SIZES.into_iter().zip([0, 1, 2, 3, 4, 5, 6, 0, 1, 1, 2, 6, 1]) {
        let act = Activation::from_number(act);
        let case = Case::new(format!("{b}x{i}x{o} {act:?}"), sizes(b, i, o, act, false))
            .read(uniform(1, b * i, -1.0, 1.0))
            .read(uniform(2, o * i, -1.0, 1.0))
            .read(uniform(3, o, -1.0, 1.0));
        let tolerance = match act {
            Activation::Identity | Activation::Relu | Activation::LeakyRelu => Tolerance::Dot(i),
            _ => Tolerance::Because(1e-5, "a dot product through an exponential"),
        };
        cases.push(case.assign(b * o, tolerance));
    }
    cases
}

pub(super) fn backward_x() -> Vec<Case> {
    let mut cases = Vec::new();
    let kinds = [(0, false), (0, true), (1, false), (2, true), (4, false)].into_iter().cycle();
    // No rectifier, on multiples of 4, which has shaders of its own; assigned and added.
    let bends = [([104, 200, 136], (5, false)), ([40, 72, 88], (4, true)), ([36, 44, 52], (6, true))];
    for ([b, i, o], (act, accumulate)) in SIZES.into_iter().zip(kinds).chain(bends) {
        let act = Activation::from_number(act);
        let label = format!("{b}x{i}x{o} {act:?}{}", if accumulate { " added" } else { "" });
        let dy = uniform(5, b * o, -1.0, 1.0);
        // Values that the activation can have left; without one there is no x.
        let x = match act {
            Activation::Identity => dy.clone(),
            _ => uniform(3, b * i, -0.9, 0.9).into_iter().map(|x| act.value(x as f64) as f32).collect(),
        };
        let case =
            Case::new(label, sizes(b, i, o, act, accumulate)).read(uniform(4, o * i, -1.0, 1.0)).read(dy).read(x);
        cases.push(if accumulate {
            case.update(uniform(6, b * i, -1.0, 1.0), Tolerance::Dot(o))
        } else {
            case.assign(b * i, Tolerance::Dot(o))
        });
    }
    cases
}

pub(super) fn backward_w() -> Vec<Case> {
    let case = |([b, i, o], accumulate): ([usize; 3], bool)| {
        let label = format!("{b}x{i}x{o}{}", if accumulate { " added" } else { "" });
        let case = Case::new(label, sizes(b, i, o, Activation::Identity, accumulate))
            .read(uniform(7, b * i, -1.0, 1.0))
            .read(uniform(8, b * o, -1.0, 1.0));
        if accumulate {
            case.update(uniform(9, o * i, -1.0, 1.0), Tolerance::Dot(b))
                .update(uniform(10, o, -1.0, 1.0), Tolerance::Dot(b))
        } else {
            case.assign(o * i, Tolerance::Dot(b)).assign(o, Tolerance::Dot(b))
        }
    };
    // Sizes of both kinds, whole and not, are added and assigned.
    SIZES.into_iter().flat_map(|sizes| [(sizes, true), (sizes, false)]).map(case).collect()
}

/// For the finite-difference check: x, w and b, without an activation.
pub(super) fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "matmul".into(),
        inputs: vec![
            (vec![3, 5], uniform(1, 15, -1.0, 1.0)),
            (vec![4, 5], uniform(2, 20, -1.0, 1.0)),
            (vec![4], uniform(3, 4, -1.0, 1.0)),
        ],
        output: vec![3, 4],
        record: Box::new(|r, inputs, dy| {
            let [x, w, b] = [inputs[0], inputs[1], inputs[2]];
            let y = super::forward(r, x, w, b, Activation::Identity);
            let dx = super::backward_x(r, dy, w);
            let (dw, db) = (r.tensor("dw", &[4, 5]), r.tensor("db", &[4]));
            super::backward_w(r, dy, x, dw, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    }]
}
