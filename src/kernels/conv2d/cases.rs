//! Inputs on which all forms agree, and operations for the finite-difference check.

use super::record::sizes;
use super::*;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::program::Step;
use crate::tensor::Tensor;

/// B, (H,W), I, O, the window, and how many rows and columns of windows are left out.
type Sizing = (usize, [usize; 2], usize, usize, Geometry, [usize; 2]);

/// Sizes, each with something of its own: a single place; a border that the last stride does not
/// reach; several groups; a window that is nearly all padding; height 1; channels in fours, in ones and more than a
/// tile; the article's one-channel and 1x1 layers; channels that fill most of a wide tile, in groups, over its edge,
/// and with taps that meet nothing; a stride longer than the picture; one place under a window that moves further. Of
/// the last, windows are left out, as by a transposed convolution with an output padding of a stride or more.
fn geometries() -> Vec<Sizing> {
    let g = |kernel, stride, padding, dilation, groups| Geometry { kernel, stride, padding, dilation, groups };
    let whole = vec![
        (1, [1, 1], 1, 1, Geometry::square(1, 1)),
        (5, [8, 7], 3, 5, g([3, 4], [2, 1], [1, 2], [1, 1], 1)),
        (17, [5, 6], 4, 8, Geometry::square(3, 2)),
        (3, [9, 9], 6, 4, g([3, 3], [2, 2], [2, 2], [2, 1], 2)),
        (2, [6, 5], 8, 24, g([2, 3], [1, 2], [0, 1], [1, 2], 2)),
        (33, [3, 3], 20, 17, Geometry::square(3, 1)),
        (4, [1, 19], 2, 3, g([1, 5], [1, 3], [0, 2], [1, 1], 1)),
        (2, [2, 2], 3, 3, g([5, 5], [1, 1], [2, 2], [1, 1], 3)),
        (18, [13, 13], 1, 16, Geometry::square(4, 2)),
        (17, [9, 11], 3, 8, g([3, 4], [2, 2], [1, 0], [1, 1], 1)),
        (7, [8, 8], 3, 12, g([4, 4], [2, 2], [1, 1], [1, 1], 1)),
        (18, [3, 3], 68, 36, Geometry::square(3, 2)),
        (16, [7, 7], 65, 1, g([3, 3], [1, 1], [1, 1], [1, 1], 1)),
        (37, [5, 4], 96, 112, g([3, 2], [2, 1], [1, 1], [1, 2], 2)),
        (5, [3, 2], 132, 100, Geometry::square(2, 1)),
        (6, [2, 1], 64, 48, g([3, 5], [2, 1], [1, 2], [1, 1], 1)),
        (3, [1, 2], 4, 4, g([1, 1], [3, 2], [0, 0], [1, 1], 1)),
        (2, [3, 3], 3, 5, g([1, 1], [2, 2], [1, 1], [1, 1], 1)),
    ];
    let fewer = [
        (3, [4, 5], 4, 12, g([1, 1], [1, 1], [0, 0], [2, 3], 1), [1, 2]),
        (5, [9, 10], 6, 4, g([2, 3], [1, 2], [1, 0], [4, 3], 2), [3, 1]),
        (17, [6, 7], 1, 8, g([3, 2], [1, 1], [0, 1], [2, 4], 1), [1, 3]),
    ];
    whole.into_iter().map(|(b, large, i, o, g)| (b, large, i, o, g, [0, 0])).chain(fewer).collect()
}

/// A case's params and the lengths of x, y and w.
fn case((b, [h, width], i, o, g, left_out): Sizing, bias: bool, activation: Activation) -> (Case, [usize; 3], usize) {
    let [p, q] = g.small_size([h, width]).expect("a case's window fits");
    let [p, q] = [p - left_out[0], q - left_out[1]];
    let w = Tensor::new(0, 0, &[o, g.kernel[0], g.kernel[1], i / g.groups]);
    let params = sizes("case", &[b, h, width, i], &[b, p, q, o], w, g);
    let params = Params { activation: activation as u32, bias: bias.into(), ..params };
    let label = format!("{b}x{h}x{width}x{i} to {p}x{q}x{o} {g:?}");
    (Case::new(label, params), [b * h * width * i, b * p * q * o, w.len()], b * p * q)
}

pub(super) fn forward_cases() -> Vec<Case> {
    let acts = [Activation::Identity, Activation::Relu, Activation::LeakyRelu].into_iter().cycle();
    let case = |(n, (g, act))| {
        let (case, [x, y, w], _) = case(g, n % 2 == 0, act);
        let terms = w / g.3;
        let case = case.read(uniform(1, x, -1.0, 1.0)).read(uniform(2, w, -1.0, 1.0));
        case.read(uniform(3, g.3, -1.0, 1.0)).assign(y, Tolerance::Dot(terms))
    };
    geometries().into_iter().zip(acts).enumerate().map(case).collect()
}

pub(super) fn backward_x_cases() -> Vec<Case> {
    let acts = [Activation::Identity, Activation::Relu].into_iter().cycle();
    let case = |(n, (g, act))| {
        let (case, [x, y, w], _) = case(g, n % 3 == 1, act);
        let terms = w / (g.2 / g.4.groups);
        let case = case.read(uniform(4, w, -1.0, 1.0)).read(uniform(5, g.2, -1.0, 1.0));
        case.read(uniform(6, y, -1.0, 1.0)).assign(x, Tolerance::Dot(terms))
    };
    geometries().into_iter().zip(acts).enumerate().map(case).collect()
}

pub(super) fn fold_cases() -> Vec<Case> {
    let acts = [Activation::Relu, Activation::Identity].into_iter().cycle();
    let one_group = geometries().into_iter().filter(|g| g.4.groups == 1);
    let case = |(n, (g, act))| {
        let (case, [x, ..], places) = case(g, n % 3 == 0, act);
        let taps = g.4.kernel[0] * g.4.kernel[1];
        let case = case.read(uniform(12, g.2, -1.0, 1.0)).read(uniform(13, places * taps * g.2, -1.0, 1.0));
        case.assign(x, Tolerance::Dot(taps))
    };
    one_group.zip(acts).enumerate().map(case).collect()
}

pub(super) fn backward_w_cases() -> Vec<Case> {
    let case = |g| {
        let (case, [x, y, w], places) = case(g, false, Activation::Identity);
        let case = case.read(uniform(7, x, -1.0, 1.0)).read(uniform(8, y, -1.0, 1.0));
        case.update(uniform(9, w, -1.0, 1.0), Tolerance::Dot(places))
    };
    geometries().into_iter().map(case).collect()
}

/// Also several parts, of which the last is shorter, by single channels and by fours.
pub(super) fn backward_w_parts_cases() -> Vec<Case> {
    let g = |kernel, stride, padding, dilation, groups| Geometry { kernel, stride, padding, dilation, groups };
    let many = [
        (64, [9, 9], 3, 5, Geometry::square(3, 1)),
        (41, [8, 8], 8, 12, g([3, 2], [1, 1], [1, 1], [1, 1], 2)),
        (70, [7, 6], 8, 68, Geometry::square(2, 1)),
    ];
    let case = |g| {
        let (case, [x, y, w], places) = case(g, false, Activation::Identity);
        let parts = weight_parts(&params::<Params>(&case.params).sizes());
        let case = case.read(uniform(14, x, -1.0, 1.0)).read(uniform(15, y, -1.0, 1.0));
        case.assign(parts * w, Tolerance::Dot(places.div_ceil(parts)))
    };
    many.into_iter().map(|(b, large, i, o, g)| (b, large, i, o, g, [0, 0])).chain(geometries()).map(case).collect()
}

pub(super) fn backward_b_parts_cases() -> Vec<Case> {
    let case = |[b, p, q, o]: [usize; 4]| {
        let params = Params::small([b, p, q, o]);
        let parts = bias_parts(&params.sizes());
        Case::new(format!("{b}x{p}x{q}x{o}"), params)
            .read(uniform(16, b * p * q * o, -1.0, 1.0))
            .assign(parts * o, Tolerance::Dot((b * p * q).div_ceil(parts)))
    };
    [[1, 1, 1, 1], [2, 9, 5, 65], [17, 28, 28, 1], [41, 13, 13, 3], [30, 7, 9, 48], [12, 9, 7, 130]].map(case).into()
}

pub(super) fn backward_b_cases() -> Vec<Case> {
    let case = |[b, p, q, o]: [usize; 4]| {
        let params = Params::small([b, p, q, o]);
        Case::new(format!("{b}x{p}x{q}x{o}"), params)
            .read(uniform(10, b * p * q * o, -1.0, 1.0))
            .update(uniform(11, o, -1.0, 1.0), Tolerance::Dot(b * p * q))
    };
    [[1, 1, 1, 1], [5, 3, 7, 17], [3, 28, 28, 1], [2, 9, 5, 65]].map(case).into()
}

// ---- Gradients

/// For the finite-difference check: with and without groups, transposed, by way of [`FOLD`], with output padding, and
/// [`with_partial_sums`].
pub(super) fn gradients() -> Vec<GradientCase> {
    let geometry = |groups| Geometry { kernel: [3, 2], stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups };
    let convolution = |groups: usize| GradientCase {
        label: format!("conv2d, {groups} groups"),
        inputs: vec![
            (vec![2, 5, 4, 2], uniform(1, 80, -1.0, 1.0)),
            (vec![4, 3, 2, 2 / groups], uniform(2, 48 / groups, -1.0, 1.0)),
            (vec![4], uniform(3, 4, -1.0, 1.0)),
        ],
        output: vec![2, 3, 2, 4],
        record: Box::new(move |r, inputs, dy| {
            let ([x, w, b], g) = ([inputs[0], inputs[1], inputs[2]], geometry(groups));
            let y = forward(r, x, w, Some(b), g, Activation::Identity);
            let dx = backward_x(r, dy, w, None, g, [5, 4], Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            backward_w(r, dy, x, dw, g);
            backward_b(r, dy, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // The same three kernels, each in another's place.
    let transposed = GradientCase {
        label: "conv2d transposed".into(),
        inputs: vec![
            (vec![2, 3, 2, 4], uniform(4, 48, -1.0, 1.0)),
            (vec![4, 3, 2, 2], uniform(5, 48, -1.0, 1.0)),
            (vec![2], uniform(6, 2, -1.0, 1.0)),
        ],
        output: vec![2, 6, 4, 2],
        record: Box::new(move |r, inputs, dy| {
            let ([x, w, b], g) = ([inputs[0], inputs[1], inputs[2]], geometry(1));
            let y = backward_x(r, x, w, Some(b), g, [6, 4], Activation::Identity);
            let dx = forward(r, dy, w, None, g, Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            backward_w(r, x, dy, dw, g);
            backward_b(r, dy, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // Enough outputs for the way by the fold.
    let to_few_channels = GradientCase {
        label: "conv2d to few channels".into(),
        inputs: vec![
            (vec![2, 3, 2, 8], uniform(7, 96, -1.0, 1.0)),
            (vec![8, 3, 2, 1], uniform(8, 48, -1.0, 1.0)),
            (vec![1], uniform(9, 1, -1.0, 1.0)),
        ],
        output: vec![2, 6, 4, 1],
        record: Box::new(move |r, inputs, dy| {
            let ([x, w, b], g) = ([inputs[0], inputs[1], inputs[2]], geometry(1));
            let y = backward_x(r, x, w, Some(b), g, [6, 4], Activation::Identity);
            let dx = forward(r, dy, w, None, g, Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            backward_w(r, x, dy, dw, g);
            backward_b(r, dy, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // An output padding of two strides and of one: the large picture has room for windows that the small one has not.
    let wide = Geometry { kernel: [2, 1], stride: [1, 1], padding: [0, 0], dilation: [3, 2], groups: 1 };
    let padded = GradientCase {
        label: "conv2d transposed, padded".into(),
        inputs: vec![
            (vec![2, 3, 2, 4], uniform(10, 48, -1.0, 1.0)),
            (vec![4, 2, 1, 2], uniform(11, 16, -1.0, 1.0)),
            (vec![2], uniform(12, 2, -1.0, 1.0)),
        ],
        output: vec![2, 8, 3, 2],
        record: Box::new(move |r, inputs, dy| {
            let [x, w, b] = [inputs[0], inputs[1], inputs[2]];
            let y = backward_x(r, x, w, Some(b), wide, [8, 3], Activation::Identity);
            let dx = forward_to(r, dy, w, None, wide, [3, 2], Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            backward_w(r, x, dy, dw, wide);
            backward_b(r, dy, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // As many places as several parts need; x is fixed, since each of its elements would take two runs.
    let in_shares = GradientCase {
        label: "conv2d in parts".into(),
        inputs: vec![(vec![2, 2, 2, 1], uniform(10, 8, -1.0, 1.0)), (vec![2], uniform(11, 2, -1.0, 1.0))],
        output: vec![1, 32, 32, 2],
        record: Box::new(move |r, inputs, dy| {
            let ([w, b, x], g) = ([inputs[0], inputs[1], inputs[2]], Geometry::square(2, 1));
            let x = x.reshape(&[1, 33, 33, 1]);
            let y = forward(r, x, w, Some(b), g, Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            let of_w = sizes(BACKWARD_W.name, x.shape(), dy.shape(), dw, g);
            let of_b = Params::small([1, 32, 32, 2]);
            for (kernel, params, reads, sum) in
                [(&BACKWARD_W, of_w, vec![x, dy], dw), (&BACKWARD_B, of_b, vec![dy], db)]
            {
                let params = bytemuck::pod_collect_to_vec(&[params]);
                let step = Step { kernel, params, reads, writes: vec![sum], scope: String::new() };
                with_partial_sums(r, &step).expect("places for several parts");
            }
            (y, vec![dw, db])
        }),
        state: vec![("x", uniform(12, 33 * 33, -1.0, 1.0).into_iter().map(f32::to_bits).collect())],
    };
    vec![convolution(1), convolution(2), transposed, to_few_channels, padded, in_shares]
}
