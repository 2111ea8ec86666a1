//! The products of a linear layer, `shaders/matmul.wgsl` in a family of tiles; for adapters that run on a CPU,
//! `shaders/software/matmul.wgsl`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::activation::Activation;
use super::gemm::{Store, Target, View, product};
use super::math;
use super::threads::chunks;
use super::tiles::{self, Family, Texts};
use crate::kernel::{
    Candidate, Constant, Cost, GradientCheck, Grid, Kernel, PLAIN_SOURCE, Shader, Source, Text, params,
};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod cases;

// ---- Params

/// B rows of the batch, I inputs, O outputs; with `accumulate` a gradient is added to what is there, else assigned.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    i: u32,
    o: u32,
    activation: u32,
    accumulate: u32,
}

impl Params {
    fn sizes(self) -> [usize; 3] {
        [self.b as usize, self.i as usize, self.o as usize]
    }
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "I", "O", "activation", "accumulate"];
const BINDINGS: &[&str] = &["x", "w", "b", "dy", "y", "dx", "dw", "db"];

const ENTRIES: Text = Text { file: "matmul.wgsl", text: include_str!("../../shaders/matmul.wgsl") };

/// What is appended to the buffers, given how these read x and w.
const fn products(operands: Text) -> [Text; 7] {
    let [x, w] = [super::PRODUCT_BACKWARD_X, super::PRODUCT_BACKWARD_W];
    [ENTRIES, operands, super::PRODUCT_FORWARD, x, w, super::PRODUCT, super::ACTIVATION]
}

/// Its buffers serve `linear` too.
pub(super) const VEC4: Source = Source {
    file: "matmul_vec4.wgsl",
    text: include_str!("../../shaders/matmul_vec4.wgsl"),
    common: &products(super::OPERANDS_VEC4),
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

/// [`VEC4`] for any sizes.
pub(super) const ANY: Source = Source {
    file: "matmul_any.wgsl",
    text: include_str!("../../shaders/matmul_any.wgsl"),
    common: &products(super::OPERANDS_ANY),
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

const SOFTWARE_TEXT: Source = Source {
    file: "software/matmul.wgsl",
    text: include_str!("../../shaders/software/matmul.wgsl"),
    common: &[super::SOFTWARE_TILE, super::ACTIVATION],
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

/// x (B,I), w (O,I), b (O) to y (B,O), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "matmul.forward",
    formula: "y = act(x W^T + b)",
    params: FIELDS,
    reads: &["x", "w", "b"],
    writes: &["y"],
    shader: FAMILIES[0][0].any.shader,
    software: Some(|p| software(0, p)),
    candidates: Some(|p| candidates(0, p)),
    reference: forward_reference,
    accelerated: Some(forward_accelerated),
    cost,
    cases: cases::forward,
    gradients: GradientCheck::Cases(cases::gradients),
};

/// dy (B,O), w (O,I) to dx (B,I): assigned where [`backward_x`] records it, added to where [`backward_x_into`] does.
/// With an activation dx goes on to what that read, as [`backward_x_with_slope`] records it; x (B,I) is what it left.
/// Without one x is not read, and dy stands in its place.
pub static BACKWARD_X: Kernel = Kernel {
    name: "matmul.backward_x",
    formula: "dx = (dx + dy W) * act'",
    params: FIELDS,
    reads: &["w", "dy", "x"],
    writes: &["dx"],
    shader: FAMILIES[1][0].any.shader,
    software: Some(|p| software(1, p)),
    candidates: Some(|p| candidates(1, p)),
    reference: backward_x_reference,
    accelerated: Some(backward_x_accelerated),
    cost,
    cases: cases::backward_x,
    gradients: GradientCheck::Cases(cases::gradients),
};

/// x (B,I), dy (B,O); dw (O,I) and db (O) are added to. Recorded by [`backward_w`].
pub static BACKWARD_W: Kernel = Kernel {
    name: "matmul.backward_w",
    formula: "dW (+)= dy^T x, db (+)= sum over rows of dy",
    params: FIELDS,
    reads: &["x", "dy"],
    writes: &["dw", "db"],
    shader: FAMILIES[2][0].any.shader,
    software: Some(|p| software(2, p)),
    candidates: Some(|p| candidates(2, p)),
    reference: backward_w_reference,
    accelerated: Some(backward_w_accelerated),
    cost,
    cases: cases::backward_w,
    gradients: GradientCheck::Cases(cases::gradients),
};

static VEC4_TEXTS: Texts = tiles::texts(VEC4);
static ANY_TEXTS: Texts = tiles::texts(ANY);

/// Forward, backward to x, backward to w.
static FAMILIES: [Family; 3] = [
    tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "forward", |p, tile| grid(tile, [p[0], p[2]])),
    tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "backward_x", |p, tile| grid(tile, [p[0], p[1]])),
    tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "backward_w", |p, tile| grid(tile, [p[2], p[1]])),
];

fn grid(tile: &[Constant], size: [u32; 2]) -> [u32; 3] {
    let [x, y] = tiles::across_and_down(tile, size);
    [x, y, 1]
}

/// Whether B, I and O, which come first, are multiples of 4.
pub(super) fn is_whole(p: &[u32]) -> bool {
    p[..3].iter().all(|size| size.is_multiple_of(4))
}

/// For adapters that run on a CPU, where I and O are multiples of 4.
static SOFTWARE: [Candidate; 3] = [
    in_software("forward", |p, _| tiles::software([p[0], p[2]].map(|n| n as usize), 1)),
    in_software("backward_x", |p, _| tiles::software([p[0], p[1]].map(|n| n as usize), 1)),
    in_software("backward_w", |p, _| tiles::software([p[2], p[1]].map(|n| n as usize), 1)),
];

const fn in_software(entry: &'static str, grid: Grid) -> Candidate {
    Candidate { name: "software", shader: Shader { source: &SOFTWARE_TEXT, entry, workgroup: [8, 1, 1], grid } }
}

/// The n-th of forward, backward to x and backward to w.
fn software(n: usize, p: &[u32]) -> Option<&'static Candidate> {
    p[1..3].iter().all(|size| size.is_multiple_of(4)).then_some(&SOFTWARE[n])
}

/// Those of the n-th of forward, backward to x and backward to w.
fn candidates(n: usize, p: &[u32]) -> Vec<&'static Candidate> {
    tiles::candidates(&FAMILIES[n], &tiles::OF_PRODUCTS, is_whole(p))
}

fn cost(p: &[u32]) -> Cost {
    let [b, i, o] = params::<Params>(p).sizes().map(|v| v as u64);
    Cost { flops: 2 * b * i * o, bytes: 4 * (b * i + o * i + b * o) }
}

// ---- Record

/// y = act(x W^T + b): x (B,I), w (O,I), b (O) to (B,O). The activation must be one whose backward reads the output.
pub fn forward(r: &mut Recorder, x: Tensor, w: Tensor, b: Tensor, activation: Activation) -> Tensor {
    let y = r.tensor("y", &[x.matrix()[0], w.matrix()[0]]);
    forward_into(r, x, w, b, activation, y);
    y
}

/// [`forward`] into a tensor y (B,O) that is there: the steps of a recurrent layer share one.
pub fn forward_into(r: &mut Recorder, x: Tensor, w: Tensor, b: Tensor, activation: Activation, y: Tensor) {
    let ([rows, inputs], [outputs, w_inputs]) = (x.matrix(), w.matrix());
    assert!(inputs == w_inputs, "matmul.forward: x {x:?} does not fit w {w:?}");
    assert!(b.shape() == [outputs], "matmul.forward: b {b:?} does not fit w {w:?}");
    assert!(y.shape() == [rows, outputs], "matmul.forward: y {y:?} does not fit x {x:?} and w {w:?}");
    assert!(activation.saves_output(), "{activation:?} cannot be an epilogue: its backward needs x W^T + b");
    r.dispatch(&FORWARD, sizes(rows, inputs, outputs, activation, false), &[x, w, b], &[y]);
}

/// dx = dy W: dy (B,O), w (O,I) to (B,I).
pub fn backward_x(r: &mut Recorder, dy: Tensor, w: Tensor) -> Tensor {
    let dx = r.tensor("dx", &[dy.matrix()[0], w.matrix()[1]]);
    backward_x_to(r, dy, w, dx);
    dx
}

/// [`backward_x`] to dx (B,I), which is assigned.
pub fn backward_x_to(r: &mut Recorder, dy: Tensor, w: Tensor, dx: Tensor) {
    record_backward_x(r, dy, w, dx, false);
}

/// dx += dy W, where x feeds a second layer whose gradient `dx` already holds: dy (B,O), w (O,I), dx (B,I).
pub fn backward_x_into(r: &mut Recorder, dy: Tensor, w: Tensor, dx: Tensor) {
    record_backward_x(r, dy, w, dx, true);
}

fn record_backward_x(r: &mut Recorder, dy: Tensor, w: Tensor, dx: Tensor, adds: bool) {
    let ([rows, outputs], [w_outputs, inputs]) = (dy.matrix(), w.matrix());
    assert!(outputs == w_outputs, "matmul.backward_x: dy {dy:?} does not fit w {w:?}");
    assert!(dx.shape() == [rows, inputs], "matmul.backward_x: dx {dx:?} does not fit dy {dy:?} and w {w:?}");
    r.dispatch(&BACKWARD_X, sizes(rows, inputs, outputs, Activation::Identity, adds), &[w, dy, dy], &[dx]);
}

/// dh = (dx + dy W) * act', the gradient of what the activation that left x (B,I) read: dy (B,O), w (O,I), dh (B,I).
/// Where x feeds a second layer `dh` already holds its part of dx. [`fusion`](crate::fusion) records it.
pub fn backward_x_with_slope(
    r: &mut Recorder,
    [x, w, dy]: [Tensor; 3],
    dh: Tensor,
    activation: Activation,
    adds: bool,
) {
    let ([rows, outputs], [w_outputs, inputs]) = (dy.matrix(), w.matrix());
    assert!(outputs == w_outputs, "matmul.backward_x: dy {dy:?} does not fit w {w:?}");
    assert!([x, dh].iter().all(|t| t.shape() == [rows, inputs]), "matmul.backward_x: x {x:?}, dh {dh:?}, dy {dy:?}");
    assert!(activation.saves_output(), "{activation:?} cannot be an epilogue: its slope needs what it read");
    r.dispatch(&BACKWARD_X, sizes(rows, inputs, outputs, activation, adds), &[w, dy, x], &[dh]);
}

/// dw += dy^T x, db += column sums of dy: dy (B,O), x (B,I) to (O,I) and (O).
pub fn backward_w(r: &mut Recorder, dy: Tensor, x: Tensor, dw: Tensor, db: Tensor) {
    let ([rows, outputs], [x_rows, inputs]) = (dy.matrix(), x.matrix());
    assert!(rows == x_rows, "matmul.backward_w: dy {dy:?} does not fit x {x:?}");
    assert!(dw.shape() == [outputs, inputs], "matmul.backward_w: dw {dw:?} does not fit dy {dy:?} and x {x:?}");
    assert!(db.shape() == [outputs], "matmul.backward_w: db {db:?} does not fit dy {dy:?}");
    r.dispatch(&BACKWARD_W, sizes(rows, inputs, outputs, Activation::Identity, true), &[x, dy], &[dw, db]);
}

fn sizes(b: usize, i: usize, o: usize, activation: Activation, accumulate: bool) -> Params {
    Params { b: b as u32, i: i as u32, o: o as u32, activation: activation as u32, accumulate: accumulate as u32 }
}

// ---- References

fn forward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, inputs, outputs] = p.sizes();
    let (x, w, b) = (reads[0], reads[1], reads[2]);
    let activation = Activation::from_number(p.activation);
    for m in 0..rows {
        for n in 0..outputs {
            let sum: f64 = (0..inputs).map(|k| x[m * inputs + k] as f64 * w[n * inputs + k] as f64).sum();
            writes[0][m * outputs + n] = activation.value(sum + b[n] as f64) as f32;
        }
    }
}

fn backward_x_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, inputs, outputs] = p.sizes();
    let (w, dy, x) = (reads[0], reads[1], reads[2]);
    let activation = Activation::from_number(p.activation);
    for m in 0..rows {
        for n in 0..inputs {
            let sum: f64 = (0..outputs).map(|k| dy[m * outputs + k] as f64 * w[k * inputs + n] as f64).sum();
            let i = m * inputs + n;
            let before = if p.accumulate != 0 { writes[0][i] as f64 } else { 0.0 };
            let slope = if activation == Activation::Identity { 1.0 } else { activation.slope(x[i] as f64) };
            writes[0][i] = ((before + sum) * slope) as f32;
        }
    }
}

fn backward_w_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, inputs, outputs] = p.sizes();
    let (x, dy) = (reads[0], reads[1]);
    let store = |place: &mut f32, sum: f64| *place = if p.accumulate != 0 { *place + sum as f32 } else { sum as f32 };
    for m in 0..outputs {
        for n in 0..inputs {
            let sum = (0..rows).map(|k| dy[k * outputs + m] as f64 * x[k * inputs + n] as f64).sum();
            store(&mut writes[0][m * inputs + n], sum);
        }
        store(&mut writes[1][m], (0..rows).map(|k| dy[k * outputs + m] as f64).sum());
    }
}

// ---- Accelerated

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, inputs, outputs] = p.sizes();
    let (x, w, b) = (View::rows(reads[0], inputs), View::rows(reads[1], inputs), reads[2]);
    let activation = Activation::from_number(p.activation);
    product(matrix(writes[0], rows, outputs), [x, w.transposed()], inputs, Store::Assign, &|_, column, y| {
        bias_and_activation(y, &b[column..], activation);
    });
}

/// y = act(y + b) over a piece of a row.
pub(crate) fn bias_and_activation(y: &mut [f32], b: &[f32], activation: Activation) {
    math::vectorised(|| y.iter_mut().zip(b).for_each(|(y, b)| *y += b));
    activation.apply(y);
}

fn backward_x_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, inputs, outputs] = p.sizes();
    let (w, dy) = (View::rows(reads[0], inputs), View::rows(reads[1], outputs));
    let store = if p.accumulate != 0 { Store::Add } else { Store::Assign };
    let activation = Activation::from_number(p.activation);
    product(matrix(writes[0], rows, inputs), [dy, w], outputs, store, &|row, column, dx| {
        if activation != Activation::Identity {
            activation.multiply_slope(dx, &reads[2][row * inputs + column..]);
        }
    });
}

fn backward_w_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let store = if p.accumulate != 0 { Store::Add } else { Store::Assign };
    let [dw, db] = writes else { unreachable!("backward_w writes dw and db") };
    weight_gradients(p.sizes(), [reads[0], reads[1]], 0..p.o as usize, [dw, db], store);
}

/// Numbers of dy that are worth another thread for the bias's gradient.
const SUMMED: usize = 1 << 14;

/// dw and db of some of the outputs of a layer of B rows, I inputs and O outputs: x (B,I), dy (B,O).
pub(super) fn weight_gradients(
    [rows, inputs, outputs]: [usize; 3],
    [x, dy]: [&[f32]; 2],
    wanted: Range<usize>,
    [dw, db]: [&mut [f32]; 2],
    store: Store,
) {
    let dy_columns = View::rows(&dy[wanted.start..], outputs).transposed();
    product(matrix(dw, wanted.len(), inputs), [dy_columns, View::rows(x, inputs)], rows, store, &|_, _, _| ());
    // A thread some of the outputs, so that each is summed in one order.
    let share = wanted.len().div_ceil(rayon::current_num_threads()).next_multiple_of(16).max(SUMMED / rows.max(1));
    chunks([(&mut db[..wanted.len()], share)], 1, |i, [db]| {
        if store == Store::Assign {
            db.fill(0.0);
        }
        let first = wanted.start + i * share;
        math::vectorised(|| {
            for row in dy.chunks_exact(outputs).take(rows) {
                db.iter_mut().zip(&row[first..]).for_each(|(db, dy)| *db += dy);
            }
        });
    });
}

/// The first rows * columns values as a matrix.
pub(super) fn matrix(values: &mut [f32], rows: usize, columns: usize) -> Target<'_> {
    Target::rows(&mut values[..rows * columns], columns)
}
