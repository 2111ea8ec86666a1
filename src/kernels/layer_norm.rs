//! Layer normalisation of vectors, `shaders/layer_norm.wgsl`: `torch.nn.LayerNorm` over the last dimension.

use bytemuck::{Pod, Zeroable};

use super::math;
use super::threads::{chunk, chunks};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// PyTorch's default.
const EPS: f32 = 1e-5;

/// x is (B,F).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    f: u32,
    eps: f32,
}

impl Params {
    fn sizes(self) -> [usize; 2] {
        [self.b as usize, self.f as usize]
    }
}

fn sizes([b, f]: [usize; 2]) -> Params {
    Params { b: b as u32, f: f as u32, eps: EPS }
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "F", "eps"];

const SOURCE: Source = Source {
    file: "layer_norm.wgsl",
    text: include_str!("../../shaders/layer_norm.wgsl"),
    common: &[super::SUM],
    bindings: &["x", "w", "b", "moments", "dy", "y", "row", "dx", "dw", "db"],
    ..PLAIN_SOURCE
};

/// x (B,F), w (F), b (F) to y (B,F) and row (B,2), mean and rstd, both assigned; recorded by [`forward`]. Ba, Kiros &
/// Hinton 2016 (arXiv 1607.06450).
pub static FORWARD: Kernel = Kernel {
    name: "layer_norm.forward",
    formula: "y = w * (x - mean) / sqrt(var + eps) + b, a row",
    params: FIELDS,
    reads: &["x", "w", "b"],
    writes: &["y", "row"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: forward_reference,
    accelerated: Some(forward_accelerated),
    cost: |p| cost(p, 2, 8),
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// x and dy (B,F), w (F), moments (B,2) to dx (B,F), assigned; recorded by [`backward_x`].
pub static BACKWARD_X: Kernel = Kernel {
    name: "layer_norm.backward_x",
    formula: "dx = rstd * (g - mean of g - xhat * mean of (g * xhat)), g = w * dy",
    params: FIELDS,
    reads: &["x", "w", "moments", "dy"],
    writes: &["dx"],
    shader: Shader { source: &SOURCE, entry: "backward_x", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: backward_x_reference,
    accelerated: Some(backward_x_accelerated),
    cost: |p| cost(p, 3, 11),
    cases: backward_x_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// x and dy (B,F), moments (B,2); dw and db (F) are added to. Recorded by [`backward_w`].
pub static BACKWARD_W: Kernel = Kernel {
    name: "layer_norm.backward_w",
    formula: "dw += sum over rows of dy * xhat, db += sum over rows of dy",
    params: FIELDS,
    reads: &["x", "moments", "dy"],
    writes: &["dw", "db"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward_w",
        workgroup: [256, 1, 1],
        grid: |p, _| [p[1].div_ceil(32), 1, 1],
    },
    reference: backward_w_reference,
    accelerated: Some(backward_w_accelerated),
    cost: |p| cost(p, 2, 5),
    cases: backward_w_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

fn cost(p: &[u32], tensors: u64, flops: u64) -> Cost {
    let elements = p[0] as u64 * p[1] as u64;
    Cost { flops: flops * elements, bytes: 4 * tensors * elements }
}

// ---- Record

/// What the backward needs of the forward.
#[derive(Clone, Copy, Debug)]
pub struct Saved {
    x: Tensor,
    /// (B,2): mean and rstd of each row.
    moments: Tensor,
}

/// y = w * xhat + b: x (B,F), w (F), b (F) to (B,F).
pub fn forward(r: &mut Recorder, x: Tensor, w: Tensor, b: Tensor) -> (Tensor, Saved) {
    let [rows, f] = x.matrix();
    assert!(w.shape() == [f] && b.shape() == [f], "layer_norm.forward: w {w:?} and b {b:?} do not fit x {x:?}");
    let (y, moments) = (r.tensor("y", &[rows, f]), r.tensor("moments", &[rows, 2]));
    r.dispatch(&FORWARD, sizes([rows, f]), &[x, w, b], &[y, moments]);
    (y, Saved { x, moments })
}

/// dy (B,F), w (F) to dx (B,F).
pub fn backward_x(r: &mut Recorder, Saved { x, moments }: Saved, dy: Tensor, w: Tensor) -> Tensor {
    assert!(dy.shape() == x.shape(), "layer_norm.backward_x: dy {dy:?} does not fit x {x:?}");
    assert!(w.shape() == [x.matrix()[1]], "layer_norm.backward_x: w {w:?} does not fit x {x:?}");
    let dx = r.tensor("dx", x.shape());
    r.dispatch(&BACKWARD_X, sizes(x.matrix()), &[x, w, moments, dy], &[dx]);
    dx
}

/// dw += sum over rows of dy * xhat, db += sum over rows of dy, both (F).
pub fn backward_w(r: &mut Recorder, Saved { x, moments }: Saved, dy: Tensor, dw: Tensor, db: Tensor) {
    assert!(dy.shape() == x.shape(), "layer_norm.backward_w: dy {dy:?} does not fit x {x:?}");
    let f = [x.matrix()[1]];
    assert!(dw.shape() == f && db.shape() == f, "layer_norm.backward_w: dw {dw:?} and db {db:?} do not fit x {x:?}");
    r.dispatch(&BACKWARD_W, sizes(x.matrix()), &[x, moments, dy], &[dw, db]);
}

// ---- References

fn forward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, f] = p.sizes();
    for r in 0..b {
        let x = &reads[0][r * f..][..f];
        let mean = x.iter().map(|&x| x as f64).sum::<f64>() / f as f64;
        let variance = x.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / f as f64;
        let rstd = 1.0 / (variance + p.eps as f64).sqrt();
        for j in 0..f {
            let xhat = (x[j] as f64 - mean) * rstd;
            writes[0][r * f + j] = (reads[1][j] as f64 * xhat + reads[2][j] as f64) as f32;
        }
        writes[1][2 * r] = mean as f32;
        writes[1][2 * r + 1] = rstd as f32;
    }
}

fn backward_x_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    let [x, w, moments, dy] = *reads else { unreachable!("backward_x reads four tensors") };
    for r in 0..b {
        let (mean, rstd) = (moments[2 * r] as f64, moments[2 * r + 1] as f64);
        let g = |j: usize| w[j] as f64 * dy[r * f + j] as f64;
        let xhat = |j: usize| (x[r * f + j] as f64 - mean) * rstd;
        let mean_g = (0..f).map(g).sum::<f64>() / f as f64;
        let mean_product = (0..f).map(|j| g(j) * xhat(j)).sum::<f64>() / f as f64;
        for j in 0..f {
            writes[0][r * f + j] = (rstd * (g(j) - mean_g - xhat(j) * mean_product)) as f32;
        }
    }
}

fn backward_w_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    let [x, moments, dy] = *reads else { unreachable!("backward_w reads three tensors") };
    for j in 0..f {
        let xhat = |r: usize| (x[r * f + j] as f64 - moments[2 * r] as f64) * moments[2 * r + 1] as f64;
        writes[0][j] += (0..b).map(|r| dy[r * f + j] as f64 * xhat(r)).sum::<f64>() as f32;
        writes[1][j] += (0..b).map(|r| dy[r * f + j] as f64).sum::<f64>() as f32;
    }
}

// ---- Accelerated

/// Rows a thread takes at least.
fn share(f: usize) -> usize {
    super::CHUNK.div_ceil(f)
}

/// The sum of f over three slices of one length, as sixteen running sums, so that the loop vectorises.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let (a, b, c) = (a.chunks_exact(LANES), b.chunks_exact(LANES), c.chunks_exact(LANES));
    let tail = a.remainder().iter().zip(b.remainder()).zip(c.remainder());
    let tail: f32 = tail.map(|((&a, &b), &c)| f(a, b, c)).sum();
    let mut sums = [0f32; LANES];
    for ((a, b), c) in a.zip(b).zip(c) {
        for j in 0..LANES {
            sums[j] += f(a[j], b[j], c[j]);
        }
    }
    sums.iter().sum::<f32>() + tail
}

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, f] = p.sizes();
    let (weight, bias) = (&reads[1][..f], &reads[2][..f]);
    let [y, moments] = writes else { unreachable!("forward writes y and the moments") };
    chunks([(&mut y[..b * f], f), (&mut moments[..2 * b], 2)], share(f), |r, [y, moments]| {
        let x = chunk(reads[0], f, r);
        math::vectorised(|| {
            let origin = x[0];
            let mean = origin + sum(x, x, x, |x, _, _| x - origin) / f as f32;
            let variance = sum(x, x, x, |x, _, _| (x - mean) * (x - mean)) / f as f32;
            let rstd = 1.0 / (variance + p.eps).sqrt();
            moments.copy_from_slice(&[mean, rstd]);
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = w * ((x - mean) * rstd) + b;
            }
        })
    });
}

fn backward_x_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    let weight = &reads[1][..f];
    chunks([(&mut writes[0][..b * f], f)], share(f), |r, [dx]| {
        let (x, moments, dy) = (chunk(reads[0], f, r), chunk(reads[2], 2, r), chunk(reads[3], f, r));
        math::vectorised(|| {
            let (mean, rstd) = (moments[0], moments[1]);
            let mean_g = sum(weight, dy, x, |w, dy, _| w * dy) / f as f32;
            let slope = rstd * rstd * sum(weight, dy, x, |w, dy, x| w * dy * (x - mean)) / f as f32;
            for (((dx, x), w), dy) in dx.iter_mut().zip(x).zip(weight).zip(dy) {
                *dx = rstd * (w * dy - mean_g - (x - mean) * slope);
            }
        })
    });
}

/// Row after row into the gradients of some features, which stay in the first cache.
fn backward_w_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    const FEATURES: usize = 1024;
    let [b, f] = params::<Params>(p).sizes();
    let [x, moments, dy] = *reads else { unreachable!("backward_w reads three tensors") };
    let [dw, db] = writes else { unreachable!("backward_w writes dw and db") };
    chunks([(&mut dw[..f], FEATURES), (&mut db[..f], FEATURES)], 1, |block, [dw, db]| {
        math::vectorised(|| {
            for r in 0..b {
                let first = r * f + block * FEATURES;
                let (mean, rstd) = (moments[2 * r], moments[2 * r + 1]);
                let gradients = dw.iter_mut().zip(db.iter_mut());
                for (((dw, db), x), dy) in gradients.zip(&x[first..]).zip(&dy[first..]) {
                    *dw += dy * ((x - mean) * rstd);
                    *db += dy;
                }
            }
        })
    });
}

// ---- Cases

/// (B,F): a single feature has no variance; rows shorter and longer than a workgroup; more than one block of features.
const SIZES: [[usize; 2]; 6] = [[1, 1], [17, 65], [65, 257], [128, 20], [257, 1], [5, 1500]];

fn case([b, f]: [usize; 2]) -> Case {
    Case::new(format!("{b}x{f}"), sizes([b, f]))
}

/// (B,2): means of size 1, rstd around 1.
fn moments(b: usize) -> Vec<f32> {
    let (mean, rstd) = (uniform(4, b, -1.0, 1.0), uniform(5, b, 0.5, 1.5));
    mean.into_iter().zip(rstd).flat_map(|(mean, rstd)| [mean, rstd]).collect()
}

/// Around 1000, E[x^2] - E[x]^2 would leave no digit of a variance of 1/3.
fn forward_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shift, tolerance) in [
        (0.0, Tolerance::Because(4e-6, "sums of hundreds of terms, a square root and a division")),
        (1000.0, Tolerance::Because(4e-4, "the mean of numbers near 1000 to one ulp, 6e-5, times rstd")),
    ] {
        for [b, f] in SIZES {
            let mut case = case([b, f]);
            case.label += &format!(" around {shift}");
            let case = case.read(uniform(1, b * f, shift - 1.0, shift + 1.0));
            let case = case.read(uniform(2, f, -1.0, 1.0)).read(uniform(3, f, -1.0, 1.0));
            cases.push(case.assign(b * f, tolerance).assign(2 * b, tolerance));
        }
    }
    cases
}

fn backward_x_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "two means of products and ten rounded operations");
    let case = |[b, f]: [usize; 2]| {
        case([b, f])
            .read(uniform(6, b * f, -1.0, 1.0))
            .read(uniform(2, f, -1.0, 1.0))
            .read(moments(b))
            .read(uniform(7, b * f, -1.0, 1.0))
            .assign(b * f, tolerance)
    };
    SIZES.map(case).into()
}

fn backward_w_cases() -> Vec<Case> {
    let case = |[b, f]: [usize; 2]| {
        case([b, f])
            .read(uniform(6, b * f, -1.0, 1.0))
            .read(moments(b))
            .read(uniform(7, b * f, -1.0, 1.0))
            .update(uniform(8, f, -1.0, 1.0), Tolerance::Dot(b))
            .update(uniform(9, f, -1.0, 1.0), Tolerance::Dot(b))
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: x, w and b.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "layer_norm".into(),
        inputs: vec![
            (vec![3, 7], uniform(1, 21, -1.0, 1.0)),
            (vec![7], uniform(2, 7, 0.5, 1.5)),
            (vec![7], uniform(3, 7, -1.0, 1.0)),
        ],
        output: vec![3, 7],
        record: Box::new(|r, inputs, dy| {
            let [x, w, b] = [inputs[0], inputs[1], inputs[2]];
            let (y, saved) = forward(r, x, w, b);
            let dx = backward_x(r, saved, dy, w);
            let (dw, db) = (r.tensor("dw", &[7]), r.tensor("db", &[7]));
            backward_w(r, saved, dy, dw, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, 3, 5, 7 has mean 4 and biased variance 5.
    #[test]
    fn a_row_is_normalised_with_the_biased_variance() {
        let p = sizes([1, 4]);
        for form in [FORWARD.reference, forward_accelerated] {
            let (mut y, mut moments) = ([0.0; 4], [0.0; 2]);
            let x = [1.0, 3.0, 5.0, 7.0];
            form(bytemuck::cast_slice(&[p]), &[&x, &[2.0; 4], &[0.0, 0.0, 0.0, 100.0]], &mut [&mut y, &mut moments]);
            let rstd = 1.0 / (5.0 + EPS).sqrt();
            let want = [-6.0 * rstd, -2.0 * rstd, 2.0 * rstd, 100.0 + 6.0 * rstd, 4.0, rstd];
            for (got, want) in y.iter().chain(&moments).zip(want) {
                assert!((got - want).abs() < 1e-5, "{y:?}, {moments:?}");
            }
        }
    }
}
