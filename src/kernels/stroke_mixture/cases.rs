//! Inputs on which all forms agree, and the operation for the finite-difference check.

use super::{NUMBERS, Params};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernels::rows::Rows;

/// (R, M): one normal, twenty as in the papers, odd sizes.
const SIZES: [[usize; 2]; 4] = [[1, 1], [129, 20], [65, 3], [300, 7]];

/// Deviations from 1/e to e, correlations to 0.96; the first row's pen and weight are extreme.
fn inputs([r, m]: [usize; 2]) -> Case {
    let width = NUMBERS * m + 1;
    let mut outputs = uniform(1, r * width, -2.0, 2.0);
    for row in outputs.chunks_mut(width) {
        row[3 * m..5 * m].iter_mut().for_each(|log_sigma| *log_sigma *= 0.5);
        row[NUMBERS * m] *= 6.0;
    }
    outputs[0] = 60.0;
    outputs[NUMBERS * m] = -80.0;
    let mut x = uniform(2, 3 * r, -1.5, 1.5);
    x.chunks_mut(3).enumerate().for_each(|(row, x)| x[2] = (row % 2) as f32);
    Case::new(format!("{r}x{m}"), Params { r: r as u32, m: m as u32, scale: 0.7 }).read(outputs).read(x)
}

pub fn loss() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-5, "squares of numbers of size 40 that are differences of larger ones");
    SIZES.map(|size| inputs(size).assign(size[0], tolerance)).into()
}

pub fn backward() -> Vec<Case> {
    let tolerance = Tolerance::Because(6e-5, "exp of differences of log densities of size 100, times squares of that");
    SIZES.map(|[r, m]| inputs([r, m]).assign(r * (NUMBERS * m + 1), tolerance)).into()
}

/// For the finite-difference check: three components, each row with a weight of its own.
pub fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "stroke_mixture".into(),
        inputs: vec![(vec![4, 19], uniform(1, 76, -1.5, 1.5))],
        output: vec![4],
        record: Box::new(|r, inputs, dy| {
            let x = inputs[1].reshape(&[4, 3]);
            (super::loss(r, inputs[0], x), vec![super::backward(r, inputs[0], x, Rows::Weights(dy))])
        }),
        state: vec![("x", POINTS.iter().flatten().map(|v| v.to_bits()).collect())],
    }]
}

const POINTS: [[f32; 3]; 4] = [[0.4, -0.3, 0.0], [-1.1, 0.2, 1.0], [0.0, 0.7, 1.0], [1.3, -0.9, 0.0]];
