//! Where streams of numbers meet or part: sums, products, weights of rows, concatenation, `shaders/joint.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::threads::{chunk, chunks};
use super::{CHUNK, math, reduce};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{
    Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params,
};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// a is (B,I); b is (B,O) for concat and split, else (B,I).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    i: u32,
    o: u32,
    scale: f32,
}

impl Params {
    fn elements(self) -> usize {
        self.b as usize * self.i as usize
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "joint.wgsl",
    text: include_str!("../../shaders/joint.wgsl"),
    common: &[super::INDEX],
    bindings: &["a", "b", "dy", "joined", "y", "da", "db", "w"],
    ..PLAIN_SOURCE
};

/// a and b of one shape to y, assigned; recorded by [`add`]: a residual connection, and where two gradients meet.
pub static ADD: Kernel = kernel(
    "joint.add",
    "add",
    "y = a + scale * b",
    &["a", "b"],
    &["y"],
    |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.elements() {
            writes[0][i] = (reads[0][i] as f64 + p.scale as f64 * reads[1][i] as f64) as f32;
        }
    },
    add_cases,
);

/// a of any shape to y, assigned; recorded by [`scale`].
pub static SCALE: Kernel = kernel(
    "joint.scale",
    "scale",
    "y = scale * a",
    &["a"],
    &["y"],
    |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.elements() {
            writes[0][i] = p.scale * reads[0][i];
        }
    },
    scale_cases,
);

/// a and b of one shape to y, assigned; recorded by [`multiply`].
pub static MULTIPLY: Kernel = kernel(
    "joint.multiply",
    "multiply",
    "y = a * b",
    &["a", "b"],
    &["y"],
    |p, reads, writes| {
        for i in 0..params::<Params>(p).elements() {
            writes[0][i] = reads[0][i] * reads[1][i];
        }
    },
    multiply_cases,
);

/// a, b and dy of one shape to da and db, assigned; recorded by [`backward_multiply`].
pub static BACKWARD_MULTIPLY: Kernel = kernel(
    "joint.backward_multiply",
    "backward_multiply",
    "da = dy * b, db = dy * a",
    &["a", "b", "dy"],
    &["da", "db"],
    |p, reads, writes| {
        for i in 0..params::<Params>(p).elements() {
            writes[0][i] = reads[2][i] * reads[1][i];
            writes[1][i] = reads[2][i] * reads[0][i];
        }
    },
    backward_multiply_cases,
);

/// w (B) and a (B,I) to y (B,I), assigned; recorded by [`weigh`].
pub static WEIGH: Kernel = Kernel {
    accelerated: Some(weigh_accelerated),
    ..kernel(
        "joint.weigh",
        "weigh",
        "y[r,i] = w[r] * a[r,i]",
        &["w", "a"],
        &["y"],
        |p, reads, writes| {
            let p: Params = params(p);
            for i in 0..p.elements() {
                writes[0][i] = reads[0][i / p.i as usize] * reads[1][i];
            }
        },
        weigh_cases,
    )
};

/// a (B,I), b (B,O) to y (B,I+O), assigned; recorded by [`concat()`].
pub static CONCAT: Kernel = kernel(
    "joint.concat",
    "concat",
    "y[r] = (a[r], b[r])",
    &["a", "b"],
    &["y"],
    |p, reads, writes| {
        let p: Params = params(p);
        let [i, o] = [p.i as usize, p.o as usize];
        for r in 0..p.b as usize {
            let y = &mut writes[0][r * (i + o)..][..i + o];
            y[..i].copy_from_slice(&reads[0][r * i..][..i]);
            y[i..].copy_from_slice(&reads[1][r * o..][..o]);
        }
    },
    concat_cases,
);

/// joined (B,I+O) to da (B,I), db (B,O), assigned; recorded by [`split`].
pub static SPLIT: Kernel = kernel(
    "joint.split",
    "split",
    "(da[r], db[r]) = joined[r]",
    &["joined"],
    &["da", "db"],
    |p, reads, writes| {
        let p: Params = params(p);
        let [i, o] = [p.i as usize, p.o as usize];
        for r in 0..p.b as usize {
            let joined = &reads[0][r * (i + o)..][..i + o];
            writes[0][r * i..][..i].copy_from_slice(&joined[..i]);
            writes[1][r * o..][..o].copy_from_slice(&joined[i..]);
        }
    },
    split_cases,
);

const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    reference: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["B", "I", "O", "scale"],
        reads,
        writes,
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid },
        reference,
        cost: |p| {
            let elements = p[0] as u64 * (p[1] + p[2]) as u64;
            Cost { flops: elements, bytes: 12 * elements }
        },
        cases,
        gradients: GradientCheck::Cases(gradients),
        ..PLAIN
    }
}

/// An invocation an element of (B, I + O); O is 0 but for concat and split.
fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[0] as usize * (p[1] + p[2]) as usize, 64)
}

// ---- Record

fn flat(a: Tensor, scale: f32) -> Params {
    Params { b: 1, i: a.len() as u32, o: 0, scale }
}

/// y = a + scale * b, equal shapes.
pub fn add(r: &mut Recorder, a: Tensor, b: Tensor, scale: f32) -> Tensor {
    assert!(a.shape() == b.shape(), "joint.add: a {a:?}, b {b:?}");
    let y = r.tensor("y", a.shape());
    r.dispatch(&ADD, flat(a, scale), &[a, b], &[y]);
    y
}

/// y = s * a, any shape.
pub fn scale(r: &mut Recorder, a: Tensor, s: f32) -> Tensor {
    let y = r.tensor("y", a.shape());
    r.dispatch(&SCALE, flat(a, s), &[a], &[y]);
    y
}

/// y = a * b, equal shapes.
pub fn multiply(r: &mut Recorder, a: Tensor, b: Tensor) -> Tensor {
    assert!(a.shape() == b.shape(), "joint.multiply: a {a:?}, b {b:?}");
    let y = r.tensor("y", a.shape());
    r.dispatch(&MULTIPLY, flat(a, 1.0), &[a, b], &[y]);
    y
}

/// (da, db) of y = a * b, all of one shape.
pub fn backward_multiply(r: &mut Recorder, a: Tensor, b: Tensor, dy: Tensor) -> (Tensor, Tensor) {
    assert!(a.shape() == dy.shape(), "joint.backward_multiply: a {a:?}, dy {dy:?}");
    let (da, db) = (r.tensor("da", a.shape()), r.tensor("db", b.shape()));
    r.dispatch(&BACKWARD_MULTIPLY, flat(a, 1.0), &[a, b, dy], &[da, db]);
    (da, db)
}

/// `y[r,i] = w[r] * a[r,i]`: rows that count as much as their weights w (B) say, of a (B,I). Its backward to a is
/// itself: da = weigh(dy, w).
pub fn weigh(r: &mut Recorder, a: Tensor, w: Tensor) -> Tensor {
    let [b, i] = a.matrix();
    assert!(w.shape() == [b], "joint.weigh: a {a:?}, w {w:?}");
    let y = r.tensor("y", &[b, i]);
    r.dispatch(&WEIGH, Params { b: b as u32, i: i as u32, o: 0, scale: 1.0 }, &[w, a], &[y]);
    y
}

/// Each element as a plane of `places` (P), to stand beside a picture's channels: a (B,K) to y (B,K*P),
/// `y[r, k*P + p] = a[r,k]`. Rows are channels first. Its backward is [`reduce::rows`] of dy as (B*K, P).
pub fn planes(r: &mut Recorder, a: Tensor, places: usize) -> Tensor {
    let [b, k] = a.matrix();
    reduce::backward_rows(r, a.reshape(&[b * k]), [b * k, places]).reshape(&[b, k * places])
}

/// (B,I) and (B,O) side by side: (B,I+O). Its backward is [`split`].
pub fn concat(r: &mut Recorder, a: Tensor, b: Tensor) -> Tensor {
    let ([rows, i], [b_rows, o]) = (a.matrix(), b.matrix());
    assert!(rows == b_rows, "joint.concat: a {a:?}, b {b:?}");
    let y = r.tensor("joined", &[rows, i + o]);
    r.dispatch(&CONCAT, Params { b: rows as u32, i: i as u32, o: o as u32, scale: 1.0 }, &[a, b], &[y]);
    y
}

/// The first `i` columns and the rest of (B,I+O). Its backward is [`concat()`].
pub fn split(r: &mut Recorder, joined: Tensor, i: usize) -> (Tensor, Tensor) {
    let [rows, width] = joined.matrix();
    assert!(i > 0 && i < width, "joint.split: {i} columns of {joined:?}");
    let (a, b) = (r.tensor("left", &[rows, i]), r.tensor("right", &[rows, width - i]));
    let params = Params { b: rows as u32, i: i as u32, o: (width - i) as u32, scale: 1.0 };
    r.dispatch(&SPLIT, params, &[joined], &[a, b]);
    (a, b)
}

// ---- Accelerated

fn weigh_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [n, i] = [p.elements(), p.i as usize];
    chunks([(&mut writes[0][..n], i)], (CHUNK / i).max(1), |r, [y]| {
        let (w, a) = (reads[0][r], chunk(reads[1], i, r));
        math::vectorised(|| y.iter_mut().zip(a).for_each(|(y, a)| *y = w * a));
    });
}

// ---- Cases

const SIZES: [usize; 4] = [1, 63, 65, 1001];

fn flat_case(n: usize, scale: f32, inputs: u64) -> Case {
    let case = Case::new(format!("{n}"), Params { b: 1, i: n as u32, o: 0, scale });
    (0..inputs).fold(case, |case, seed| case.read(uniform(seed, n, -1.0, 1.0)))
}

fn add_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-7, "one fused or unfused multiply-add");
    SIZES.map(|n| flat_case(n, -0.7, 2).assign(n, tolerance)).into()
}

fn scale_cases() -> Vec<Case> {
    SIZES.map(|n| flat_case(n, 0.3, 1).assign(n, Tolerance::Exact)).into()
}

fn multiply_cases() -> Vec<Case> {
    SIZES.map(|n| flat_case(n, 1.0, 2).assign(n, Tolerance::Exact)).into()
}

fn backward_multiply_cases() -> Vec<Case> {
    SIZES.map(|n| flat_case(n, 1.0, 3).assign(n, Tolerance::Exact).assign(n, Tolerance::Exact)).into()
}

fn weigh_cases() -> Vec<Case> {
    let case = |[b, i]: [usize; 2]| {
        let params = Params { b: b as u32, i: i as u32, o: 0, scale: 1.0 };
        let case = Case::new(format!("{b}x{i}"), params).read(uniform(1, b, -1.0, 1.0));
        case.read(uniform(2, b * i, -1.0, 1.0)).assign(b * i, Tolerance::Exact)
    };
    [[1, 1], [17, 20], [65, 3], [257, 65], [128, 784]].map(case).into()
}

/// Equal and unequal widths; the last is pictures and their labels.
const PAIRS: [[usize; 3]; 5] = [[1, 1, 1], [17, 20, 20], [65, 3, 11], [128, 1, 64], [128, 784, 10]];

fn pair_case([b, i, o]: [usize; 3]) -> Case {
    Case::new(format!("{b}x({i}+{o})"), Params { b: b as u32, i: i as u32, o: o as u32, scale: 1.0 })
}

fn concat_cases() -> Vec<Case> {
    let case = |[b, i, o]: [usize; 3]| {
        let case = pair_case([b, i, o]).read(uniform(1, b * i, -1.0, 1.0)).read(uniform(2, b * o, -1.0, 1.0));
        case.assign(b * (i + o), Tolerance::Exact)
    };
    PAIRS.map(case).into()
}

fn split_cases() -> Vec<Case> {
    let case = |[b, i, o]: [usize; 3]| {
        let case = pair_case([b, i, o]).read(uniform(3, b * (i + o), -1.0, 1.0));
        case.assign(b * i, Tolerance::Exact).assign(b * o, Tolerance::Exact)
    };
    PAIRS.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: add, multiply, weigh, planes and concat.
fn gradients() -> Vec<GradientCase> {
    let input = |seed| (vec![4, 6], uniform(seed, 24, -1.0, 1.0));
    vec![
        GradientCase {
            label: "joint.add".into(),
            inputs: vec![input(1), input(2)],
            output: vec![4, 6],
            record: Box::new(|r, inputs, dy| {
                let db = scale(r, dy, -0.7);
                (add(r, inputs[0], inputs[1], -0.7), vec![dy, db])
            }),
            state: vec![],
        },
        GradientCase {
            label: "joint.multiply".into(),
            inputs: vec![input(1), input(2)],
            output: vec![4, 6],
            record: Box::new(|r, inputs, dy| {
                let (da, db) = backward_multiply(r, inputs[0], inputs[1], dy);
                (multiply(r, inputs[0], inputs[1]), vec![da, db])
            }),
            state: vec![],
        },
        GradientCase {
            label: "joint.weigh".into(),
            inputs: vec![input(1)],
            output: vec![4, 6],
            record: Box::new(|r, inputs, dy| (weigh(r, inputs[0], inputs[1]), vec![weigh(r, dy, inputs[1])])),
            state: vec![("w", uniform(3, 4, -2.0, 2.0).into_iter().map(f32::to_bits).collect())],
        },
        GradientCase {
            label: "joint.planes".into(),
            inputs: vec![input(1)],
            output: vec![4, 18],
            record: Box::new(|r, inputs, dy| {
                let da = reduce::rows(r, dy.reshape(&[24, 3])).reshape(&[4, 6]);
                (planes(r, inputs[0], 3), vec![da])
            }),
            state: vec![],
        },
        GradientCase {
            label: "joint.concat".into(),
            inputs: vec![input(1), input(2)],
            output: vec![4, 12],
            record: Box::new(|r, inputs, dy| {
                let (da, db) = split(r, dy, 6);
                (concat(r, inputs[0], inputs[1]), vec![da, db])
            }),
            state: vec![],
        },
    ]
}
