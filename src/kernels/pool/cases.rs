//! Inputs on which all forms agree, and operations for the finite-difference check.

use super::{Params, Sizes, Window};
use crate::cases::{Case, GradientCase, Tolerance, uniform};

/// Shapes of x with a window: overlapping and disjoint windows, gaps between them, places at the end that none covers,
/// borders, height 1, several rows to a task and several tasks.
fn layouts() -> Vec<([usize; 4], Window)> {
    vec![
        ([1, 1, 1, 1], Window::new([1, 1], [1, 1], [0, 0])),
        ([3, 5, 7, 3], Window::new([2, 2], [2, 2], [0, 0])),
        ([2, 9, 8, 17], Window::new([3, 3], [2, 2], [1, 1])),
        ([3, 1, 65, 5], Window::new([1, 3], [1, 2], [0, 1])),
        ([2, 7, 5, 1], Window::new([2, 1], [3, 2], [1, 0])),
        ([5, 17, 13, 65], Window::new([3, 2], [1, 1], [1, 1])),
        ([2, 6, 11, 4], Window::new([4, 5], [1, 3], [2, 0])),
    ]
}

/// A case for each layout.
fn each(fill: impl Fn(Case, Sizes) -> Case) -> Vec<Case> {
    let case = |(shape, window): ([usize; 4], Window)| {
        let params = Params::new(shape, window);
        fill(Case::new(format!("{shape:?}, {window:?}"), params), params.sizes())
    };
    layouts().into_iter().map(case).collect()
}

/// Few different values, so that most windows have several maxima.
fn with_ties(n: usize) -> Vec<f32> {
    uniform(1, n, -3.0, 3.0).into_iter().map(f32::round).collect()
}

pub(super) fn max() -> Vec<Case> {
    let mut cases = each(|case, s| {
        let [x, y] = s.elements();
        case.read(with_ties(x)).assign(y, Tolerance::Exact).assign(y, Tolerance::Exact)
    });
    // Two NaN (the later one counts), minus infinity alone, plain numbers.
    let mut x = [uniform(2, 20, -1.0, 1.0), vec![f32::NEG_INFINITY; 20], uniform(3, 20, -1.0, 1.0)].concat();
    x[6] = f32::NAN;
    x[12] = f32::NAN;
    let params = Params::new([3, 4, 5, 1], Window::new([3, 3], [1, 1], [1, 1]));
    let case = Case::new("NaN and infinity", params).read(x);
    cases.push(case.assign(60, Tolerance::Exact).assign(60, Tolerance::Exact));
    cases
}

pub(super) fn backward_max() -> Vec<Case> {
    each(|case, s| {
        let [x, y] = s.elements();
        let (mut maxima, mut index) = (vec![0.0; y], vec![0.0; y]);
        super::max_reference(&case.params, &[&with_ties(x)], &mut [&mut maxima, &mut index]);
        case.read(index).read(uniform(4, y, -1.0, 1.0)).assign(x, Tolerance::Dot(s.overlap()))
    })
}

pub(super) fn average() -> Vec<Case> {
    each(|case, s| {
        let [x, y] = s.elements();
        case.read(uniform(5, x, -1.0, 1.0)).assign(y, Tolerance::Dot(s.area as usize))
    })
}

pub(super) fn backward_average() -> Vec<Case> {
    each(|case, s| {
        let [x, y] = s.elements();
        case.read(uniform(6, y, -1.0, 1.0)).assign(x, Tolerance::Dot(s.overlap()))
    })
}

/// For the finite-difference check: windows that overlap and reach over the border.
pub(super) fn gradients() -> Vec<GradientCase> {
    let shape = [2, 5, 6, 2];
    // Different numbers further apart than the check's steps, in a mixed order.
    let x: Vec<f32> = (0..120).map(|i| (i * 43 % 120) as f32 * 0.02 - 1.2).collect();
    let window = Window::new([3, 2], [2, 2], [1, 0]);
    let inputs = vec![(shape.to_vec(), x)];
    let output = vec![2, 3, 3, 2];
    vec![
        GradientCase {
            label: "pool.max".into(),
            inputs: inputs.clone(),
            output: output.clone(),
            record: Box::new(move |r, inputs, dy| {
                let (y, index) = super::max(r, inputs[0], window);
                (y, vec![super::backward_max(r, index, dy, shape, window)])
            }),
            state: vec![],
        },
        GradientCase {
            label: "pool.average".into(),
            inputs,
            output,
            record: Box::new(move |r, inputs, dy| {
                (super::average(r, inputs[0], window), vec![super::backward_average(r, dy, shape, window)])
            }),
            state: vec![],
        },
    ]
}
