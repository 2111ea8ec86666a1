//! The backward of a linear layer behind an activation in one dispatch, `shaders/fused_linear.wgsl` in a family of
//! tiles: what [`matmul::backward_x`], [`matmul::backward_w`] and [`activation::backward`] do in three.
//! [`fusion`](crate::fusion) records it in their place.

use bytemuck::{Pod, Zeroable};

use super::activation::{self, Activation};
use super::gemm::{Store, View, product};
use super::matmul;
use super::tiles::{self, Family, Texts};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, Source, Text, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// B rows of the batch, I inputs, O outputs; `activation` is the one that left x. Gradients are assigned, `accumulate`
/// is 0.
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

const ENTRY: Text = Text { file: "fused_linear.wgsl", text: include_str!("../../shaders/fused_linear.wgsl") };

/// What is appended to the buffers of `matmul`, given how these read x and w.
const fn products(operands: Text) -> [Text; 6] {
    [ENTRY, operands, super::PRODUCT_BACKWARD_X, super::PRODUCT_BACKWARD_W, super::PRODUCT, super::ACTIVATION]
}

const VEC4: Source = Source { common: &products(super::OPERANDS_VEC4), ..matmul::VEC4 };
const ANY: Source = Source { common: &products(super::OPERANDS_ANY), ..matmul::ANY };

/// x (B,I), w (O,I), dy (B,O) to dx (B,I), dw (O,I) and db (O), all assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "fused_linear.backward",
    formula: "dx = (dy W) * slope(x), dW = dy^T x, db = sum over rows of dy",
    params: &["B", "I", "O", "activation", "accumulate"],
    reads: &["x", "w", "dy"],
    writes: &["dx", "dw", "db"],
    shader: FAMILY[0].any.shader,
    candidates: Some(|p| tiles::candidates(&FAMILY, &tiles::OF_PRODUCTS, matmul::is_whole(p))),
    reference: backward_reference,
    accelerated: Some(backward_accelerated),
    cost: |p| {
        let [b, i, o] = params::<Params>(p).sizes().map(|v| v as u64);
        Cost { flops: 4 * b * i * o, bytes: 4 * (2 * b * i + 2 * o * i + b * o) }
    },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

static VEC4_TEXTS: Texts = tiles::texts(VEC4);
static ANY_TEXTS: Texts = tiles::texts(ANY);

/// Rows of tiles of dx, then of dW.
static FAMILY: Family = tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "backward", |p, tile| {
    let [[x, of_dx], [_, of_dw]] = [p[0], p[2]].map(|rows| tiles::across_and_down(tile, [rows, p[1]]));
    [x, of_dx + of_dw, 1]
});

// ---- Record

/// The gradients of y = x W^T + b, where x = act(h): dy (B,O) to dh (B,I), and to dw (O,I) and db (O), which are
/// assigned. The activation must be one whose slope its output tells.
pub fn backward(r: &mut Recorder, [x, w, dy]: [Tensor; 3], [dw, db]: [Tensor; 2], activation: Activation) -> Tensor {
    let dx = r.tensor("dx", x.shape());
    backward_to(r, [x, w, dy], [dx, dw, db], activation);
    dx
}

/// [`backward`] to a dx (B,I) there is already.
pub(crate) fn backward_to(
    r: &mut Recorder,
    [x, w, dy]: [Tensor; 3],
    [dx, dw, db]: [Tensor; 3],
    activation: Activation,
) {
    let ([rows, inputs], [outputs, w_inputs]) = (x.matrix(), w.matrix());
    assert!(inputs == w_inputs && dy.shape() == [rows, outputs], "fused_linear.backward: x {x:?}, w {w:?}, dy {dy:?}");
    assert!(dx.shape() == x.shape(), "fused_linear.backward: x {x:?}, dx {dx:?}");
    assert!(dw.shape() == w.shape() && db.shape() == [outputs], "fused_linear.backward: w {w:?}, dw {dw:?}, db {db:?}");
    assert!(
        activation.saves_output(),
        "fused_linear.backward: the slope of {activation:?} needs what the activation read"
    );
    r.dispatch(&BACKWARD, sizes([rows, inputs, outputs], activation), &[x, w, dy], &[dx, dw, db]);
}

fn sizes([b, i, o]: [usize; 3], activation: Activation) -> Params {
    Params { b: b as u32, i: i as u32, o: o as u32, activation: activation as u32, accumulate: 0 }
}

// ---- Reference

fn backward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, inputs, outputs] = p.sizes();
    let [x, w, dy] = [reads[0], reads[1], reads[2]];
    let activation = Activation::from_number(p.activation);
    for m in 0..rows {
        for n in 0..inputs {
            let sum: f64 = (0..outputs).map(|k| dy[m * outputs + k] as f64 * w[k * inputs + n] as f64).sum();
            writes[0][m * inputs + n] = (sum * activation.slope(x[m * inputs + n] as f64)) as f32;
        }
    }
    let [_, dw, db] = writes else { unreachable!("fused_linear.backward writes dx, dw and db") };
    (matmul::BACKWARD_W.reference)(&[p.b, p.i, p.o, 0, 0], &[x, dy], &mut [dw, db]);
}

// ---- Accelerated

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [x, w, dy] = [reads[0], reads[1], reads[2]];
    let [dx, dw, db] = writes else { unreachable!("fused_linear.backward writes dx, dw and db") };
    let [rows, inputs, outputs] = p.sizes();
    let activation = Activation::from_number(p.activation);
    let (w, dy_rows) = (View::rows(w, inputs), View::rows(dy, outputs));
    product(matmul::matrix(dx, rows, inputs), [dy_rows, w], outputs, Store::Assign, &|row, column, dx| {
        activation.multiply_slope(dx, &x[row * inputs + column..]);
    });
    matmul::weight_gradients(p.sizes(), [x, dy], 0..outputs, [dw, db], Store::Assign);
}

// ---- Cases

/// (B, I, O): tiles exactly filled, one more, one less, a single element, the presets' layers.
const SIZES: [[usize; 3]; 8] =
    [[1, 1, 1], [1, 65, 17], [17, 1, 65], [64, 64, 64], [65, 257, 17], [63, 15, 129], [128, 400, 96], [36, 44, 52]];

fn backward_cases() -> Vec<Case> {
    let activations = Activation::ALL.into_iter().filter(|act| act.saves_output());
    let case = |([b, i, o], act): ([usize; 3], Activation)| {
        let tolerance = Tolerance::Dot(o.max(4));
        Case::new(format!("{b}x{i}x{o} {act:?}"), sizes([b, i, o], act))
            .read(uniform(1, b * i, -1.0, 1.0))
            .read(uniform(2, o * i, -1.0, 1.0))
            .read(uniform(3, b * o, -1.0, 1.0))
            .assign(b * i, tolerance)
            .assign(o * i, Tolerance::Dot(b))
            .assign(o, Tolerance::Dot(b))
    };
    SIZES.into_iter().zip(activations.cycle()).map(case).collect()
}

// ---- Gradients

/// Through the activation in front of the layer: dx is the gradient of what that read.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "linear".into(),
        inputs: vec![
            (vec![3, 5], uniform(1, 15, -1.0, 1.0)),
            (vec![4, 5], uniform(2, 20, -1.0, 1.0)),
            (vec![4], uniform(3, 4, -1.0, 1.0)),
        ],
        output: vec![3, 4],
        record: Box::new(|r, inputs, dy| {
            let [h, w, b] = [inputs[0], inputs[1], inputs[2]];
            let x = activation::forward(r, h, Activation::Tanh);
            let y = matmul::forward(r, x, w, b, Activation::Identity);
            let (dw, db) = (r.tensor("dw", &[4, 5]), r.tensor("db", &[4]));
            let dx = backward(r, [x, w, dy], [dw, db], Activation::Tanh);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    }]
}
