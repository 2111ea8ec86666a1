//! A decoder's last layer with binary cross-entropy and its gradient, `shaders/matmul_bce.wgsl` in a family of tiles:
//! what [`matmul::forward`], [`bce::loss`] and [`bce::backward`] do in three dispatches, without writing
//! the logits. [`fusion`](crate::fusion) records it in their place.

use bytemuck::{Pod, Zeroable};
use pulp::{Arch, Simd, WithSimd};

use super::gemm::{Store, View, product};
use super::threads::{chunk, chunks};
use super::tiles::{self, Family, Texts};
use super::{activation, bce, fill, joint, math, matmul, reduce};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Source, Text, params};
use crate::kernels::weighted;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Columns whose losses are summed into one number.
pub const COLUMNS: usize = 32;

// ---- Params

/// B rows of the batch, I inputs, O outputs; `scale` multiplies the gradient, as in [`bce`].
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    i: u32,
    o: u32,
    scale: f32,
}

impl Params {
    fn sizes(self) -> [usize; 3] {
        [self.b as usize, self.i as usize, self.o as usize]
    }
}

// ---- Kernels

const ENTRY: Text = Text { file: "matmul_bce.wgsl", text: include_str!("../../shaders/matmul_bce.wgsl") };
const BINDINGS: &[&str] = &["x", "w", "b", "picture", "dy", "loss"];

const VEC4: Source = Source {
    file: "matmul_bce_vec4.wgsl",
    text: include_str!("../../shaders/matmul_bce_vec4.wgsl"),
    common: &[ENTRY, super::OPERANDS_VEC4, super::PRODUCT_FORWARD, super::PRODUCT],
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

const ANY: Source = Source {
    file: "matmul_bce_any.wgsl",
    text: include_str!("../../shaders/matmul_bce_any.wgsl"),
    common: &[ENTRY, super::OPERANDS_ANY, super::PRODUCT_FORWARD, super::PRODUCT],
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

/// x (B,I), w (O,I), b (O) and the picture (B,O) to dy (B,O) and loss (B, ceil(O/32)), both assigned; recorded by
/// [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "matmul_bce.forward",
    formula: "l = x W^T + b, dy = scale * (sigmoid(l) - picture), loss = sum of 32 max(l,0) - l*picture + log(1 + e^-|l|)",
    params: &["B", "I", "O", "scale"],
    reads: &["x", "w", "b", "picture"],
    writes: &["dy", "loss"],
    shader: FAMILY[0].any.shader,
    candidates: Some(|p| tiles::candidates(&FAMILY, &WIDE, matmul::is_whole(p))),
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [rows, inputs, outputs] = p.sizes();
        let [x, w, b, picture] = [reads[0], reads[1], reads[2], reads[3]];
        let tiles = outputs.div_ceil(COLUMNS);
        for m in 0..rows {
            let mut sums = vec![0.0; tiles];
            for n in 0..outputs {
                let sum: f64 = (0..inputs).map(|k| x[m * inputs + k] as f64 * w[n * inputs + k] as f64).sum();
                let (l, want) = (sum + b[n] as f64, picture[m * outputs + n] as f64);
                writes[0][m * outputs + n] = (p.scale as f64 * (activation::sigmoid(l) - want)) as f32;
                sums[n / COLUMNS] += bce::cross_entropy(l, want);
            }
            for (loss, sum) in writes[1][m * tiles..][..tiles].iter_mut().zip(sums) {
                *loss = sum as f32;
            }
        }
    },
    accelerated: Some(forward_accelerated),
    cost: |p| {
        let [b, i, o] = params::<Params>(p).sizes().map(|v| v as u64);
        Cost { flops: b * o * (2 * i + 11), bytes: 4 * (b * i + o * i + 2 * b * o) }
    },
    cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

static VEC4_TEXTS: Texts = tiles::texts(VEC4);
static ANY_TEXTS: Texts = tiles::texts(ANY);

static FAMILY: Family = tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "forward", |p, tile| {
    let [x, y] = tiles::across_and_down(tile, [p[0], p[2]]);
    [x, y, 1]
});

/// Without 16x16, which has no whole part of the loss: a tile must be as wide as [`COLUMNS`] or wider.
const WIDE: [usize; 5] = [0, 1, 2, 5, 7];

const _: () = {
    let mut n = 0;
    while n < WIDE.len() {
        assert!(tiles::TILES[WIDE[n]].columns as usize >= COLUMNS, "a tile is too narrow");
        n += 1;
    }
};

// ---- Record

/// The gradient of scale * the loss to the logits x W^T + b, (B,O), and the loss in nats, summed over each 32 columns,
/// (B, ceil(O/32)): x (B,I), w (O,I), b (O), picture (B,O) of values in `[0,1]`.
pub fn forward(r: &mut Recorder, [x, w, b]: [Tensor; 3], picture: Tensor, dy: Tensor, scale: f32) -> Tensor {
    let ([rows, inputs], [outputs, w_inputs]) = (x.matrix(), w.matrix());
    assert!(inputs == w_inputs && b.shape() == [outputs], "matmul_bce.forward: x {x:?}, w {w:?}, b {b:?}");
    assert!(picture.shape() == [rows, outputs], "matmul_bce.forward: picture {picture:?}, x {x:?}, w {w:?}");
    assert!(dy.shape() == [rows, outputs], "matmul_bce.forward: dy {dy:?}, x {x:?}, w {w:?}");
    let loss = r.tensor("recon", &[rows, outputs.div_ceil(COLUMNS)]);
    let params = Params { b: rows as u32, i: inputs as u32, o: outputs as u32, scale };
    r.dispatch(&FORWARD, params, &[x, w, b, picture], &[dy, loss]);
    loss
}

// ---- Accelerated

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, inputs, outputs] = p.sizes();
    let (x, w) = (View::rows(reads[0], inputs), View::rows(reads[1], inputs));
    let (b, picture) = (&reads[2][..outputs], reads[3]);
    let [dy, loss] = writes else { unreachable!("matmul_bce.forward writes dy and loss") };
    let dy = &mut dy[..rows * outputs];
    product(matmul::matrix(dy, rows, outputs), [x, w.transposed()], inputs, Store::Assign, &|_, _, _| ());
    let tiles = outputs.div_ceil(COLUMNS);
    let (loss, least) = (&mut loss[..rows * tiles], (super::CHUNK / outputs).max(1));
    chunks([(dy, outputs), (loss, tiles)], least, |r, [dy, loss]| {
        let picture = chunk(picture, outputs, r);
        Arch::new().dispatch(Row { sums: dy, b, picture, scale: p.scale, loss });
    });
}

/// A row of x W^T, which becomes the gradient, and its losses.
struct Row<'a> {
    sums: &'a mut [f32],
    b: &'a [f32],
    picture: &'a [f32],
    scale: f32,
    loss: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Row { sums, b, picture, scale, loss } = self;
        let gradient = move |sum: &mut f32, b: f32, x: f32| {
            let l = *sum + b;
            let (positive, e) = (if l <= 0.0 { 0.0 } else { l }, math::exp_negative(-l.abs()));
            *sum = scale * ((if l >= 0.0 { 1.0 } else { e }) / (1.0 + e) - x);
            positive - l * x + math::log1p_unit(e)
        };
        let (sums, last_sums) = sums.as_chunks_mut::<COLUMNS>();
        let ((b, last_b), (picture, last_picture)) = (b.as_chunks::<COLUMNS>(), picture.as_chunks::<COLUMNS>());
        let (loss, last_loss) = loss.split_at_mut(sums.len());
        for (((sums, b), picture), loss) in sums.iter_mut().zip(b).zip(picture).zip(loss) {
            let mut parts = [0f32; COLUMNS];
            for (((part, sum), &b), &x) in parts.iter_mut().zip(sums).zip(b).zip(picture) {
                *part = gradient(sum, b, x);
            }
            *loss = math::total(parts);
        }
        if let Some(loss) = last_loss.first_mut() {
            let last = last_sums.iter_mut().zip(last_b).zip(last_picture);
            *loss = last.map(|((sum, &b), &x)| gradient(sum, b, x)).sum();
        }
    }
}

// ---- Cases

fn cases() -> Vec<Case> {
    const SIZES: [[usize; 3]; 7] =
        [[1, 1, 1], [65, 33, 65], [17, 20, 129], [64, 64, 64], [128, 100, 196], [3, 257, 60], [40, 104, 136]];
    let case = |[b, i, o]: [usize; 3]| {
        let tiles = o.div_ceil(COLUMNS);
        Case::new(format!("{b}x{i}x{o}"), Params { b: b as u32, i: i as u32, o: o as u32, scale: 0.5 })
            .read(uniform(1, b * i, -2.0, 2.0))
            .read(uniform(2, o * i, -1.0, 1.0))
            .read(uniform(3, o, -1.0, 1.0))
            .read(uniform(4, b * o, 0.0, 1.0))
            // A slope of at most a quarter behind a dot product.
            .assign(b * o, Tolerance::Dot(i.max(8)))
            // Terms as large as the logits, of which there are 32.
            .assign(b * tiles, Tolerance::Dot(COLUMNS * i.max(8)))
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: the sum of all losses, times the scale, as a function of x, w and b.
fn gradients() -> Vec<GradientCase> {
    let case = |[rows, inputs, outputs]: [usize; 3]| GradientCase {
        label: format!("matmul_bce {rows}x{inputs}x{outputs}"),
        inputs: vec![
            (vec![rows, inputs], uniform(1, rows * inputs, -1.0, 1.0)),
            (vec![outputs, inputs], uniform(2, outputs * inputs, -1.0, 1.0)),
            (vec![outputs], uniform(3, outputs, -1.0, 1.0)),
        ],
        output: vec![1],
        record: Box::new(move |r, parts, dy| {
            let [x, w, b] = *parts else { unreachable!("three inputs") };
            let (picture, dlogits) = (r.tensor("picture", &[rows, outputs]), r.tensor("dlogits", &[rows, outputs]));
            fill::forward(r, picture, 0.3);
            let losses = forward(r, [x, w, b], picture, dlogits, 0.5);
            let whole = reduce::whole(r, losses);
            let y = joint::scale(r, whole, 0.5);
            let dlogits = weighted(r, dy, dlogits);
            let dx = matmul::backward_x(r, dlogits, w);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            matmul::backward_w(r, dlogits, x, dw, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // More than one piece of the loss; sizes that the form for multiples of 4 takes.
    vec![case([2, 3, COLUMNS + 3]), case([8, 8, 8])]
}
