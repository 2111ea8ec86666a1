//! Group normalisation, `shaders/group_norm.wgsl`: `torch.nn.GroupNorm`, channels last.

use bytemuck::{Pod, Zeroable};

use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod accelerated;

// ---- Params

/// PyTorch's default.
const EPS: f32 = 1e-5;

/// x is (B,S,C): pictures of S places. The C channels fall in G groups of neighbours.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    s: u32,
    c: u32,
    g: u32,
    eps: f32,
}

impl Params {
    /// (B, S, C, channels of a group)
    fn sizes(self) -> [usize; 4] {
        [self.b, self.s, self.c, self.c / self.g].map(|size| size as usize)
    }
}

fn sizes([b, s, c, g]: [usize; 4]) -> Params {
    Params { b: b as u32, s: s as u32, c: c as u32, g: g as u32, eps: EPS }
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "S", "C", "G", "eps"];

const SOURCE: Source = Source {
    file: "group_norm.wgsl",
    text: include_str!("../../shaders/group_norm.wgsl"),
    bindings: &["x", "w", "b", "moments", "dy", "parts", "y", "whole", "sums", "dx", "dw", "db"],
    ..PLAIN_SOURCE
};

/// x (B,S,C), w (C), b (C) to y (B,S,C) and whole (B,G,2), mean and rstd over the S places and C/G channels of a group,
/// both assigned; recorded by [`forward`]. Wu & He 2018 (arXiv 1803.08494).
pub static FORWARD: Kernel = Kernel {
    name: "group_norm.forward",
    formula: "y = w * (x - mean) / sqrt(var + eps) + b, a picture and group",
    params: FIELDS,
    reads: &["x", "w", "b"],
    writes: &["y", "whole"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid: |p, _| [p[3], p[0], 1] },
    reference: forward_reference,
    accelerated: Some(accelerated::forward),
    cost: |p| cost(p, 2, 8),
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// x and dy (B,S,C), w (C), moments (B,G,2) to dx (B,S,C) and sums (B,2,C) over the places, both assigned; recorded by
/// [`backward_x`].
pub static BACKWARD_X: Kernel = Kernel {
    name: "group_norm.backward_x",
    formula: "dx = rstd * (g - mean of g - xhat * mean of (g * xhat)), g = w * dy; sums of dy and of dy * xhat",
    params: FIELDS,
    reads: &["x", "w", "moments", "dy"],
    writes: &["dx", "sums"],
    shader: Shader { source: &SOURCE, entry: "backward_x", workgroup: [64, 1, 1], grid: |p, _| [p[3], p[0], 1] },
    reference: backward_x_reference,
    accelerated: Some(accelerated::backward_x),
    cost: |p| cost(p, 3, 11),
    cases: backward_x_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// parts (B,2,C), the sums of [`BACKWARD_X`]; dw and db (C) are added to. Recorded by [`backward_w`].
pub static BACKWARD_W: Kernel = Kernel {
    name: "group_norm.backward_w",
    formula: "dw += sum over pictures of dy * xhat, db += sum over pictures of dy",
    params: FIELDS,
    reads: &["parts"],
    writes: &["dw", "db"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward_w",
        workgroup: [64, 1, 1],
        grid: |p, _| [p[2].div_ceil(8), 1, 1],
    },
    reference: backward_w_reference,
    accelerated: Some(accelerated::backward_w),
    cost: |p| Cost { flops: 2 * p[0] as u64 * p[2] as u64, bytes: 8 * p[0] as u64 * p[2] as u64 },
    cases: backward_w_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

fn cost(p: &[u32], tensors: u64, flops: u64) -> Cost {
    let elements = p[0] as u64 * p[1] as u64 * p[2] as u64;
    Cost { flops: flops * elements, bytes: 4 * tensors * elements }
}

// ---- Record

/// What the backward needs of the forward.
#[derive(Clone, Copy, Debug)]
pub struct Saved {
    x: Tensor,
    groups: usize,
    /// (B,G,2): mean and rstd of each group of each picture.
    moments: Tensor,
}

/// y = w * xhat + b: x (B,..,C), w (C), b (C) to y in x's shape. The channels must divide into the groups.
pub fn forward(r: &mut Recorder, x: Tensor, w: Tensor, b: Tensor, groups: usize) -> (Tensor, Saved) {
    let p = fitting("group_norm.forward", x, [w, b], groups);
    let (y, moments) = (r.tensor("y", x.shape()), r.tensor("moments", &[p.b as usize, groups, 2]));
    r.dispatch(&FORWARD, p, &[x, w, b], &[y, moments]);
    (y, Saved { x, groups, moments })
}

/// dy to dx, both in x's shape, and what [`backward_w`] needs: sums over the places of each picture, (B,2,C).
pub fn backward_x(r: &mut Recorder, saved: Saved, dy: Tensor, w: Tensor) -> (Tensor, Tensor) {
    let Saved { x, groups, moments } = saved;
    assert!(dy.shape() == x.shape(), "group_norm.backward_x: dy {dy:?} does not fit x {x:?}");
    let p = fitting("group_norm.backward_x", x, [w, w], groups);
    let (dx, sums) = (r.tensor("dx", x.shape()), r.tensor("sums", &[p.b as usize, 2, p.c as usize]));
    r.dispatch(&BACKWARD_X, p, &[x, w, moments, dy], &[dx, sums]);
    (dx, sums)
}

/// dw += sum of dy * xhat, db += sum of dy, both (C), from the sums of [`backward_x`].
pub fn backward_w(r: &mut Recorder, sums: Tensor, dw: Tensor, db: Tensor) {
    let &[b, 2, c] = sums.shape() else { panic!("group_norm.backward_w: {sums:?} are no sums of backward_x") };
    assert!(dw.shape() == [c] && db.shape() == [c], "group_norm.backward_w: dw {dw:?}, db {db:?}, sums {sums:?}");
    r.dispatch(&BACKWARD_W, sizes([b, 1, c, 1]), &[sums], &[dw, db]);
}

fn fitting(name: &str, x: Tensor, of_channels: [Tensor; 2], groups: usize) -> Params {
    let &[b, .., c] = x.shape() else { panic!("{name}: x {x:?} has no rows of channels") };
    assert!(groups > 0 && c % groups == 0, "{name}: {c} channels do not divide into {groups} groups");
    for tensor in of_channels {
        assert!(tensor.shape() == [c], "{name}: {tensor:?} does not fit the channels of x {x:?}");
    }
    sizes([b, x.len() / (b * c), c, groups])
}

// ---- References

/// Indices of the elements of each group of each picture: (which group of all, index of the channel, index in x).
fn elements(p: Params, group: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let [_, s, c, channels] = p.sizes();
    let (picture, first) = (group / p.g as usize, group % p.g as usize * channels);
    (0..s * channels).map(move |i| (first + i % channels, (picture * s + i / channels) * c + first + i % channels))
}

fn forward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, s, _, channels] = p.sizes();
    let [x, weight, bias] = *reads else { unreachable!("forward reads three tensors") };
    let count = (s * channels) as f64;
    for group in 0..b * p.g as usize {
        let mean = elements(p, group).map(|(_, i)| x[i] as f64).sum::<f64>() / count;
        let variance = elements(p, group).map(|(_, i)| (x[i] as f64 - mean).powi(2)).sum::<f64>() / count;
        let rstd = 1.0 / (variance + p.eps as f64).sqrt();
        for (j, i) in elements(p, group) {
            writes[0][i] = (weight[j] as f64 * (x[i] as f64 - mean) * rstd + bias[j] as f64) as f32;
        }
        writes[1][2 * group] = mean as f32;
        writes[1][2 * group + 1] = rstd as f32;
    }
}

fn backward_x_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, s, c, channels] = p.sizes();
    let [x, w, moments, dy] = *reads else { unreachable!("backward_x reads four tensors") };
    let count = (s * channels) as f64;
    for group in 0..b * p.g as usize {
        let (mean, rstd) = (moments[2 * group] as f64, moments[2 * group + 1] as f64);
        let g = |j: usize, i: usize| w[j] as f64 * dy[i] as f64;
        let xhat = |i: usize| (x[i] as f64 - mean) * rstd;
        let mean_g = elements(p, group).map(|(j, i)| g(j, i)).sum::<f64>() / count;
        let mean_product = elements(p, group).map(|(j, i)| g(j, i) * xhat(i)).sum::<f64>() / count;
        for (j, i) in elements(p, group) {
            writes[0][i] = (rstd * (g(j, i) - mean_g - xhat(i) * mean_product)) as f32;
        }
        let picture = group / p.g as usize;
        for (j, _) in elements(p, group).take(channels) {
            let places = (0..s).map(|place| (picture * s + place) * c + j);
            writes[1][2 * picture * c + j] = places.clone().map(|i| dy[i] as f64).sum::<f64>() as f32;
            writes[1][(2 * picture + 1) * c + j] = places.map(|i| dy[i] as f64 * xhat(i)).sum::<f64>() as f32;
        }
    }
}

fn backward_w_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, _, c, _] = params::<Params>(p).sizes();
    for j in 0..c {
        writes[1][j] += (0..b).map(|n| reads[0][2 * n * c + j] as f64).sum::<f64>() as f32;
        writes[0][j] += (0..b).map(|n| reads[0][(2 * n + 1) * c + j] as f64).sum::<f64>() as f32;
    }
}

// ---- Cases

/// (B, S, C, G): one element; vectors; one group; a group a channel; groups that a workgroup's lanes do not divide
/// into; a group of more channels than a workgroup has invocations; a layer of a convolutional network.
const SIZES: [[usize; 4]; 7] =
    [[1, 1, 1, 1], [17, 1, 65, 5], [3, 49, 12, 1], [5, 17, 7, 7], [2, 257, 39, 3], [3, 5, 1026, 2], [9, 36, 128, 8]];

fn case(shape: [usize; 4]) -> Case {
    let [b, s, c, g] = shape;
    Case::new(format!("{b}x{s}x{c} in {g}"), sizes(shape))
}

/// (B,G,2): means of size 1, rstd around 1.
fn moments(groups: usize) -> Vec<f32> {
    let (mean, rstd) = (uniform(4, groups, -1.0, 1.0), uniform(5, groups, 0.5, 1.5));
    mean.into_iter().zip(rstd).flat_map(|(mean, rstd)| [mean, rstd]).collect()
}

/// Around 1000, E[x^2] - E[x]^2 would leave no digit of a variance of 1/3.
fn forward_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shift, tolerance) in [
        (0.0, Tolerance::Because(4e-6, "sums of thousands of terms, a square root and a division")),
        (1000.0, Tolerance::Because(4e-4, "the mean of numbers near 1000 to one ulp, 6e-5, times rstd")),
    ] {
        for [b, s, c, g] in SIZES {
            let mut case = case([b, s, c, g]);
            case.label += &format!(" around {shift}");
            let case = case.read(uniform(1, b * s * c, shift - 1.0, shift + 1.0));
            let case = case.read(uniform(2, c, -1.0, 1.0)).read(uniform(3, c, -1.0, 1.0));
            cases.push(case.assign(b * s * c, tolerance).assign(2 * b * g, tolerance));
        }
    }
    cases
}

fn backward_x_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "two means of products and ten rounded operations");
    let case = |[b, s, c, g]: [usize; 4]| {
        case([b, s, c, g])
            .read(uniform(6, b * s * c, -1.0, 1.0))
            .read(uniform(2, c, -1.0, 1.0))
            .read(moments(b * g))
            .read(uniform(7, b * s * c, -1.0, 1.0))
            .assign(b * s * c, tolerance)
            .assign(2 * b * c, Tolerance::Dot(2 * s))
    };
    SIZES.map(case).into()
}

fn backward_w_cases() -> Vec<Case> {
    let case = |[b, s, c, g]: [usize; 4]| {
        case([b, s, c, g])
            .read(uniform(8, 2 * b * c, -1.0, 1.0))
            .update(uniform(9, c, -1.0, 1.0), Tolerance::Dot(b))
            .update(uniform(10, c, -1.0, 1.0), Tolerance::Dot(b))
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: pictures and vectors, in one group and in several.
fn gradients() -> Vec<GradientCase> {
    let case = |shape: &[usize], groups: usize| {
        let (shape, c) = (shape.to_vec(), shape[shape.len() - 1]);
        let n = shape.iter().product();
        GradientCase {
            label: format!("group_norm {shape:?} in {groups}"),
            inputs: vec![
                (shape.clone(), uniform(1, n, -1.0, 1.0)),
                (vec![c], uniform(2, c, 0.5, 1.5)),
                (vec![c], uniform(3, c, -1.0, 1.0)),
            ],
            output: shape,
            record: Box::new(move |r, inputs, dy| {
                let [x, w, b] = [inputs[0], inputs[1], inputs[2]];
                let (y, saved) = forward(r, x, w, b, groups);
                let (dx, sums) = backward_x(r, saved, dy, w);
                let (dw, db) = (r.tensor("dw", &[c]), r.tensor("db", &[c]));
                backward_w(r, sums, dw, db);
                (y, vec![dx, dw, db])
            }),
            state: vec![],
        }
    };
    vec![case(&[2, 2, 3, 4], 2), case(&[2, 8], 2), case(&[2, 2, 3, 2], 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;

    /// One picture of two places, four channels in two groups: 1, 3, 5, 7 with mean 4 and biased variance 5, and 2
    /// everywhere.
    #[test]
    fn a_group_is_neighbouring_channels_at_all_places() {
        let p = sizes([1, 2, 4, 2]);
        for form in [FORWARD.reference, accelerated::forward] {
            let (mut y, mut moments) = ([0.0; 8], [0.0; 4]);
            let x = [1.0, 3.0, 2.0, 2.0, 5.0, 7.0, 2.0, 2.0];
            let (w, b) = ([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 10.0, 20.0]);
            form(bytemuck::cast_slice(&[p]), &[&x, &w, &b], &mut [&mut y, &mut moments]);
            let rstd = 1.0 / (5.0 + EPS).sqrt();
            let want = [-3.0 * rstd, -2.0 * rstd, 10.0, 20.0, rstd, 6.0 * rstd, 10.0, 20.0];
            for (got, want) in y.iter().zip(want).chain(moments.iter().zip([4.0, rstd, 2.0, 1.0 / EPS.sqrt()])) {
                assert!((got - want).abs() < 1e-3, "{y:?}, {moments:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "10 channels do not divide into 4 groups")]
    fn channels_that_do_not_divide_are_refused() {
        let mut arena = Arena::new();
        let (x, w) = (arena.tensor("x", &[2, 10]), arena.tensor("w", &[10]));
        forward(&mut Recorder::new(&mut arena), x, w, w, 4);
    }
}
