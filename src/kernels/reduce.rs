//! Sums over rows, columns or everything, and their backward, `shaders/reduce.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::threads::{chunk, chunks};
use super::{math, scratch};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Grid, Kernel, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// x is (B,F).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    f: u32,
}

impl Params {
    fn sizes(self) -> [usize; 2] {
        [self.b as usize, self.f as usize]
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "reduce.wgsl",
    text: include_str!("../../shaders/reduce.wgsl"),
    common: &[super::INDEX, super::SUM],
    bindings: &["x", "dy", "y", "dx"],
    ..PLAIN_SOURCE
};

/// x (B,F) to y (B), assigned; recorded by [`rows`].
pub static ROWS: Kernel = Kernel {
    accelerated: Some(rows_accelerated),
    ..reduction("reduce.rows", "rows", "y[r] = sum_f x[r,f]", |p, _| [p[0], 1, 1], rows_reference, rows_cases)
};
/// x (B,F) to y (F), assigned; recorded by [`columns`].
pub static COLUMNS: Kernel = reduction(
    "reduce.columns",
    "columns",
    "y[f] = sum_r x[r,f]",
    |p, _| [p[1].div_ceil(64), 1, 1],
    columns_reference,
    columns_cases,
);
/// x (B,F) to y (1), assigned, by one workgroup; recorded by [`whole`].
pub static WHOLE: Kernel = Kernel {
    accelerated: Some(whole_accelerated),
    ..reduction("reduce.whole", "whole", "y = sum of x", |_, _| [1, 1, 1], whole_reference, whole_cases)
};
/// dy (B) to dx (B,F), assigned; recorded by [`backward_rows`].
pub static BACKWARD_ROWS: Kernel = Kernel {
    accelerated: Some(backward_rows_accelerated),
    ..broadcast("reduce.backward_rows", "backward_rows", "dx[r,f] = dy[r]", backward_rows_reference, || {
        broadcast_cases(|b, _| b)
    })
};
/// dy (F) to dx (B,F), assigned; recorded by [`backward_columns`].
pub static BACKWARD_COLUMNS: Kernel =
    broadcast("reduce.backward_columns", "backward_columns", "dx[r,f] = dy[f]", backward_columns_reference, || {
        broadcast_cases(|_, f| f)
    });
/// dy (1) to dx (B,F), assigned; recorded by [`backward_whole`].
pub static BACKWARD_WHOLE: Kernel =
    broadcast("reduce.backward_whole", "backward_whole", "dx[r,f] = dy", backward_whole_reference, || {
        broadcast_cases(|_, _| 1)
    });

const fn reduction(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    grid: Grid,
    reference: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["B", "F"],
        reads: &["x"],
        writes: &["y"],
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid },
        software: None,
        candidates: None,
        reference,
        accelerated: None,
        cost,
        cases,
        gradients: GradientCheck::Cases(gradients),
    }
}

const fn broadcast(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reference: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["B", "F"],
        reads: &["dy"],
        writes: &["dx"],
        shader: Shader {
            source: &SOURCE,
            entry,
            workgroup: [64, 1, 1],
            grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
        },
        software: None,
        candidates: None,
        reference,
        accelerated: None,
        cost,
        cases,
        gradients: GradientCheck::Cases(gradients),
    }
}

fn cost(p: &[u32]) -> Cost {
    let elements = p[0] as u64 * p[1] as u64;
    Cost { flops: elements, bytes: 4 * elements }
}

// ---- Record

fn sizes(x: Tensor) -> Params {
    let [b, f] = x.matrix();
    Params { b: b as u32, f: f as u32 }
}

/// `y[r] = sum_f x[r,f]`: (B,F) to (B).
pub fn rows(r: &mut Recorder, x: Tensor) -> Tensor {
    let y = r.tensor("rows", &[x.matrix()[0]]);
    r.dispatch(&ROWS, sizes(x), &[x], &[y]);
    y
}

/// `y[f] = sum_r x[r,f]`: (B,F) to (F).
pub fn columns(r: &mut Recorder, x: Tensor) -> Tensor {
    let y = r.tensor("columns", &[x.matrix()[1]]);
    r.dispatch(&COLUMNS, sizes(x), &[x], &[y]);
    y
}

/// y = sum of x: (B,F) to (1).
pub fn whole(r: &mut Recorder, x: Tensor) -> Tensor {
    let y = r.tensor("sum", &[1]);
    r.dispatch(&WHOLE, sizes(x), &[x], &[y]);
    y
}

/// `dx[r,f] = dy[r]`, for x of shape (B,F).
pub fn backward_rows(r: &mut Recorder, dy: Tensor, [b, f]: [usize; 2]) -> Tensor {
    backward(r, &BACKWARD_ROWS, dy, b, [b, f])
}

/// `dx[r,f] = dy[f]`, for x of shape (B,F).
pub fn backward_columns(r: &mut Recorder, dy: Tensor, [b, f]: [usize; 2]) -> Tensor {
    backward(r, &BACKWARD_COLUMNS, dy, f, [b, f])
}

/// `dx[r,f] = dy`, for x of shape (B,F).
pub fn backward_whole(r: &mut Recorder, dy: Tensor, shape: [usize; 2]) -> Tensor {
    backward(r, &BACKWARD_WHOLE, dy, 1, shape)
}

fn backward(r: &mut Recorder, kernel: &'static Kernel, dy: Tensor, len: usize, shape: [usize; 2]) -> Tensor {
    assert!(dy.shape() == [len], "{}: dy {dy:?} does not fit x {shape:?}", kernel.name);
    let dx = r.tensor("dx", &shape);
    r.dispatch(kernel, sizes(dx), &[dy], &[dx]);
    dx
}

// ---- References

fn rows_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    for r in 0..b {
        writes[0][r] = reads[0][r * f..][..f].iter().map(|&v| v as f64).sum::<f64>() as f32;
    }
}

fn columns_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    for c in 0..f {
        writes[0][c] = (0..b).map(|r| reads[0][r * f + c] as f64).sum::<f64>() as f32;
    }
}

fn whole_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    writes[0][0] = reads[0][..b * f].iter().map(|&v| v as f64).sum::<f64>() as f32;
}

fn backward_rows_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    for i in 0..b * f {
        writes[0][i] = reads[0][i / f];
    }
}

fn backward_columns_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    for i in 0..b * f {
        writes[0][i] = reads[0][i % f];
    }
}

fn backward_whole_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    for i in 0..b * f {
        writes[0][i] = reads[0][0];
    }
}

// ---- Accelerated

fn rows_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    let x = &reads[0][..b * f];
    math::row_sums(&mut writes[0][..b], [x, x], f, |x, _| x);
}

/// Pieces of one length, whatever the threads are, then their sums in order.
fn whole_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    const PIECE: usize = 1 << 16;
    let [b, f] = params::<Params>(p).sizes();
    let x = &reads[0][..b * f];
    let mut sums = scratch::any(x.len().div_ceil(PIECE));
    chunks([(&mut sums, 1)], 1, |i, [sum]| sum[0] = math::sum_pairs([chunk(x, PIECE, i); 2], |x, _| x));
    writes[0][0] = sums.iter().map(|&sum| sum as f64).sum::<f64>() as f32;
}

fn backward_rows_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, f] = params::<Params>(p).sizes();
    chunks([(&mut writes[0][..b * f], f)], (super::CHUNK / f).max(1), |r, [dx]| dx.fill(reads[0][r]));
}

// ---- Cases

const SIZES: [[usize; 2]; 5] = [[1, 1], [17, 65], [65, 257], [128, 20], [257, 1]];

fn rows_cases() -> Vec<Case> {
    SIZES.map(|[b, f]| reduction_case(b, f, b, f)).into()
}

fn columns_cases() -> Vec<Case> {
    SIZES.map(|[b, f]| reduction_case(b, f, f, b)).into()
}

fn whole_cases() -> Vec<Case> {
    SIZES.map(|[b, f]| reduction_case(b, f, 1, b * f)).into()
}

fn reduction_case(b: usize, f: usize, outputs: usize, terms: usize) -> Case {
    Case::new(format!("{b}x{f}"), Params { b: b as u32, f: f as u32 })
        .read(uniform(1, b * f, -1.0, 1.0))
        .assign(outputs, Tolerance::Dot(terms))
}

fn broadcast_cases(length: fn(usize, usize) -> usize) -> Vec<Case> {
    let case = |[b, f]: [usize; 2]| {
        Case::new(format!("{b}x{f}"), Params { b: b as u32, f: f as u32 })
            .read(uniform(2, length(b, f), -1.0, 1.0))
            .assign(b * f, Tolerance::Exact)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: each of the three sums.
fn gradients() -> Vec<GradientCase> {
    type Forward = fn(&mut Recorder, Tensor) -> Tensor;
    type Backward = fn(&mut Recorder, Tensor, [usize; 2]) -> Tensor;
    let case = |label: &str, output: usize, forward: Forward, backward: Backward| GradientCase {
        label: label.into(),
        inputs: vec![(vec![5, 7], uniform(1, 35, -1.0, 1.0))],
        output: vec![output],
        record: Box::new(move |r, inputs, dy| (forward(r, inputs[0]), vec![backward(r, dy, [5, 7])])),
        state: vec![],
    };
    vec![
        case("reduce.rows", 5, rows, backward_rows),
        case("reduce.columns", 7, columns, backward_columns),
        case("reduce.whole", 1, whole, backward_whole),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than one piece, and a short one: too long a sum for the cases, whose tolerance grows with it.
    #[test]
    fn a_sum_has_all_pieces() {
        let x: Vec<f32> = (0..3 * 50_000).map(|i| (i % 7) as f32).collect();
        let mut y = [0.0];
        whole_accelerated(&[3, 50_000], &[&x], &mut [&mut y]);
        // Whole numbers below 2^24: no rounding.
        assert_eq!(y[0] as f64, x.iter().map(|&x| x as f64).sum::<f64>());
    }
}
