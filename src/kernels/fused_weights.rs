//! The weights' gradients of up to three linear layers in one dispatch, `shaders/fused_weights.wgsl` in a family of
//! tiles: what as many [`matmul::backward_w`] do. [`fusion`](crate::fusion) records it in their place.

use bytemuck::{Pod, Zeroable};

use super::activation::Activation;
use super::gemm::Store;
use super::tiles::{self, Family, Texts};
use super::{joint, matmul};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Source, Text, grid_1d, params};
use crate::program::{Recorder, Step};
use crate::tensor::Tensor;

/// Layers a dispatch takes: with two tensors each and the gradients they fill 7 of the 8 bindings there are.
pub const MOST: usize = 3;

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    layers: [Layer; MOST],
}

/// I inputs, O outputs; dW and db of the first `split` outputs start at the words dw and db of the gradients, those of
/// the others at dv and dc. A layer that is not there has O = 0.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Layer {
    i: u32,
    o: u32,
    split: u32,
    dw: u32,
    dv: u32,
    db: u32,
    dc: u32,
}

impl Layer {
    fn tiles(self, tile: &[Constant]) -> u32 {
        tiles::across_and_down(tile, [self.o, self.i]).iter().product()
    }

    fn is_whole(self) -> bool {
        [self.i, self.o, self.split, self.dw, self.dv, self.db, self.dc].iter().all(|n| n.is_multiple_of(4))
    }

    /// Where dW's row m starts, and db's element m.
    fn places(self, m: usize) -> [usize; 2] {
        let [i, split, dw, dv, db, dc] = [self.i, self.split, self.dw, self.dv, self.db, self.dc].map(|v| v as usize);
        if m < split { [dw + m * i, db + m] } else { [dv + (m - split) * i, dc + m - split] }
    }
}

// ---- Kernels

const ENTRIES: Text = Text { file: "fused_weights.wgsl", text: include_str!("../../shaders/fused_weights.wgsl") };
const COMMON: &[Text] = &[ENTRIES, super::LAYERS, super::PRODUCT_BACKWARD_W, super::PRODUCT];
const BINDINGS: &[&str] = &["x0", "dy0", "x1", "dy1", "x2", "dy2", "gradients"];

const VEC4: Source = Source {
    file: "fused_weights_vec4.wgsl",
    text: include_str!("../../shaders/fused_weights_vec4.wgsl"),
    common: COMMON,
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

const ANY: Source = Source {
    file: "fused_weights_any.wgsl",
    text: include_str!("../../shaders/fused_weights_any.wgsl"),
    common: COMMON,
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

/// Whether all layers' sizes and places are multiples of 4.
fn is_whole(p: &[u32]) -> bool {
    params::<Params>(p).layers.into_iter().all(Layer::is_whole)
}

/// For each layer x (B,I) and dy (B,O) to its dW and db in the flat gradients, assigned, the rest of which is left
/// alone; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "fused_weights.backward",
    formula: "dW = dy^T x, db = sum over rows of dy, for up to three layers",
    params: &[
        "B", "I0", "O0", "split0", "dw0", "dv0", "db0", "dc0", "I1", "O1", "split1", "dw1", "dv1", "db1", "dc1", "I2",
        "O2", "split2", "dw2", "dv2", "db2", "dc2",
    ],
    reads: &["x0", "dy0", "x1", "dy1", "x2", "dy2"],
    writes: &["gradients"],
    shader: FAMILY[0].any.shader,
    candidates: Some(|p| tiles::candidates(&FAMILY, &tiles::OF_PRODUCTS, is_whole(p))),
    reference: |p, reads, writes| {
        let Params { b, layers } = params(p);
        for (l, layer) in layers.into_iter().enumerate() {
            let (x, dy) = (reads[2 * l], reads[2 * l + 1]);
            let [b, i, o] = [b as usize, layer.i as usize, layer.o as usize];
            for m in 0..o {
                let [dw, db] = layer.places(m);
                for n in 0..i {
                    let sum: f64 = (0..b).map(|k| dy[k * o + m] as f64 * x[k * i + n] as f64).sum();
                    writes[0][dw + n] = sum as f32;
                }
                writes[0][db] = (0..b).map(|k| dy[k * o + m] as f64).sum::<f64>() as f32;
            }
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| {
        let Params { b, layers } = params(p);
        let sum = |of: fn(u64, u64, u64) -> u64| layers.iter().map(|l| of(b as u64, l.i as u64, l.o as u64)).sum();
        Cost { flops: sum(|b, i, o| 2 * b * i * o), bytes: sum(|b, i, o| 4 * (b * i + b * o + i * o)) }
    },
    cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

static VEC4_TEXTS: Texts = tiles::texts(VEC4);
static ANY_TEXTS: Texts = tiles::texts(ANY);

static FAMILY: Family = tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "backward", |p, tile| {
    let tiles = params::<Params>(p).layers.map(|layer| layer.tiles(tile));
    grid_1d(tiles.iter().sum::<u32>() as usize, 1)
});

// ---- Record

/// A layer y = x W^T + b whose gradients are wanted.
#[derive(Clone, Copy)]
pub struct Gradients {
    /// (B,I)
    pub x: Tensor,
    /// (B,O)
    pub dy: Tensor,
    /// dW (O,I) and db (O) in the flat gradients; two pairs where the outputs belong to two parameters, one after the
    /// other.
    pub to: [[Tensor; 2]; 2],
}

/// Assigns dW and db of one to [`MOST`] layers of one batch; `gradients` is the flat buffer that they lie in.
pub fn backward(r: &mut Recorder, layers: &[Gradients], gradients: Tensor) {
    assert!((1..=MOST).contains(&layers.len()), "fused_weights.backward: {} layers", layers.len());
    let rows = layers[0].x.matrix()[0];
    let mut params = Params { b: rows as u32, layers: [Layer::default(); MOST] };
    // A layer that is not there binds the tensors of the first.
    let mut reads = [layers[0].x, layers[0].dy].repeat(MOST);
    for (l, layer) in layers.iter().enumerate() {
        let Gradients { x, dy, to: [[dw, db], [dv, dc]] } = *layer;
        let ([x_rows, i], [dy_rows, o]) = (x.matrix(), dy.matrix());
        assert!(x_rows == rows && dy_rows == rows, "fused_weights.backward: x {x:?}, dy {dy:?} beside {rows} rows");
        let split = db.len();
        let fits = dw.len() == split * i && (split == o || (split + dc.len() == o && dv.len() == dc.len() * i));
        assert!(fits, "fused_weights.backward: x {x:?}, dy {dy:?}, dw {dw:?} and {dv:?}");
        for part in [dw, db, dv, dc] {
            assert!(part.buffer == gradients.buffer, "fused_weights.backward: {part:?} is no part of {gradients:?}");
        }
        let [i, o, split, dw, dv, db, dc] = [i, o, split, dw.offset, dv.offset, db.offset, dc.offset].map(|v| v as u32);
        params.layers[l] = Layer { i, o, split, dw, dv, db, dc };
        [reads[2 * l], reads[2 * l + 1]] = [x, dy];
    }
    r.dispatch(&BACKWARD, params, &reads, &[gradients]);
}

/// The layers that a recorded dispatch takes.
pub(crate) fn layers(step: &Step) -> Vec<Gradients> {
    let gradients = step.writes[0].buffer;
    let params: Params = params(&step.params);
    let there = params.layers.into_iter().zip(step.reads.chunks_exact(2)).filter(|(layer, _)| layer.o > 0);
    let layer = |(layer, reads): (Layer, &[Tensor])| {
        let [i, o, split, dw, dv, db, dc] =
            [layer.i, layer.o, layer.split, layer.dw, layer.dv, layer.db, layer.dc].map(|v| v as usize);
        let part =
            |outputs, dw, db| [Tensor::new(gradients, dw, &[outputs, i]), Tensor::new(gradients, db, &[outputs])];
        let second = if split < o { part(o - split, dv, dc) } else { part(split, dw, db) };
        Gradients { x: reads[0], dy: reads[1], to: [part(split, dw, db), second] }
    };
    there.map(layer).collect()
}

// ---- Accelerated

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let Params { b, layers } = params(p);
    for (l, layer) in layers.into_iter().enumerate() {
        let [rows, inputs, outputs, split] = [b, layer.i, layer.o, layer.split].map(|v| v as usize);
        for part in [0..split, split..outputs].into_iter().filter(|part| !part.is_empty()) {
            let [dw_at, db_at] = layer.places(part.start);
            let (low, high) = writes[0].split_at_mut(dw_at.max(db_at));
            let [dw, db] = if dw_at < db_at { [&mut low[dw_at..], high] } else { [high, &mut low[db_at..]] };
            let sizes = [rows, inputs, outputs];
            matmul::weight_gradients(sizes, [reads[2 * l], reads[2 * l + 1]], part, [dw, db], Store::Assign);
        }
    }
}

// ---- Cases

fn cases() -> Vec<Case> {
    // (B, layers of (I, O, split)); one layer's gradients lie behind the other's, with a gap.
    type Sizes = (usize, &'static [[usize; 3]]);
    const SIZES: [Sizes; 5] = [
        (1, &[[1, 1, 1]]),
        (65, &[[17, 33, 33], [64, 64, 10]]),
        (128, &[[20, 96, 96], [100, 40, 20], [196, 100, 100]]),
        (40, &[[100, 40, 20], [20, 100, 100]]),
        (17, &[[5, 70, 65], [129, 3, 3], [2, 4, 2]]),
    ];
    let case = |(b, sizes): Sizes| {
        let mut params = Params { b: b as u32, layers: [Layer::default(); MOST] };
        let is_whole = sizes.as_flattened().iter().all(|size| size.is_multiple_of(4));
        let mut words = 0;
        let mut take = |n: usize| {
            let first = words;
            // Whole sizes have whole places.
            words += n.next_multiple_of(if is_whole { 4 } else { 1 }) + if is_whole { 4 } else { 3 };
            first as u32
        };
        for (layer, &[i, o, split]) in params.layers.iter_mut().zip(sizes) {
            let [dw, db] = [take(split * i), take(split)];
            let [dv, dc] = if split < o { [take((o - split) * i), take(o - split)] } else { [dw, db] };
            let [i, o, split] = [i, o, split].map(|v| v as u32);
            *layer = Layer { i, o, split, dw, dv, db, dc };
        }
        let mut case = Case::new(format!("{b} rows of {sizes:?}"), params);
        for l in 0..MOST {
            let [i, o, _] = *sizes.get(l).unwrap_or(&sizes[0]);
            case = case.read(uniform(2 * l as u64, b * i, -1.0, 1.0)).read(uniform(2 * l as u64 + 1, b * o, -1.0, 1.0));
        }
        case.update(uniform(9, words, -1.0, 1.0), Tolerance::Dot(b))
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: two layers, the first with outputs of two parameters.
fn gradients() -> Vec<GradientCase> {
    let case = |[b, i, o, p, q]: [usize; 5]| {
        let shapes = [vec![o, i], vec![o], vec![p, i], vec![p], vec![q, o + p], vec![q]];
        let input =
            |(n, shape): (usize, &Vec<usize>)| (shape.clone(), uniform(n as u64, shape.iter().product(), -1.0, 1.0));
        GradientCase {
            label: format!("weights {b}x{i}x{o}+{p}x{q}"),
            inputs: shapes.iter().enumerate().map(input).collect(),
            output: vec![b, q],
            record: Box::new(move |r, inputs, dy| {
                let [w, b_w, v, b_v, u, b_u, x] = *inputs else { unreachable!("six parameters and the pictures") };
                let x = x.reshape(&[b, i]);
                let halves = [(w, b_w), (v, b_v)].map(|(w, b)| matmul::forward(r, x, w, b, Activation::Identity));
                let h = joint::concat(r, halves[0], halves[1]);
                let y = matmul::forward(r, h, u, b_u, Activation::Identity);

                let dh = matmul::backward_x(r, dy, u);
                let parameters = [w, b_w, v, b_v, u, b_u];
                let gradients = r.tensor("gradients", &[parameters.iter().map(Tensor::len).sum()]);
                let mut words = 0;
                let [dw, db, dv, dc, du, dd] = parameters.map(|parameter| {
                    let part = Tensor::new(gradients.buffer, words, parameter.shape());
                    words += part.len();
                    part
                });
                let first = Gradients { x, dy: dh, to: [[dw, db], [dv, dc]] };
                backward(r, &[first, Gradients { x: h, dy, to: [[du, dd]; 2] }], gradients);
                (y, vec![dw, db, dv, dc, du, dd])
            }),
            state: vec![("x", uniform(9, b * i, -1.0, 1.0).into_iter().map(f32::to_bits).collect())],
        }
    };
    // The second has sizes that the form for multiples of 4 takes.
    vec![case([3, 5, 2, 3, 4]), case([4, 8, 4, 8, 4])]
}
