//! What layers and fusion record.

use super::*;
use crate::kernels::matmul;
use crate::program::{Recorder, Step};
use crate::tensor::Tensor;

/// Sizes of a convolution, checked: x (B,H,W,I), y (B,P,Q,O), w (O,KH,KW,I/G).
pub(super) fn sizes(name: &str, x: &[usize], y: &[usize], w: Tensor, g: Geometry) -> Params {
    let (&[b, h, width, i], &[y_b, p, q, o]) = (x, y) else {
        panic!("{name}: x {x:?} and y {y:?} are not pictures with channels last");
    };
    assert!(
        g.groups > 0 && i % g.groups == 0 && o % g.groups == 0,
        "{name}: {i} and {o} channels in {} groups",
        g.groups
    );
    let [kh, kw] = g.kernel;
    assert!(w.shape() == [o, kh, kw, i / g.groups], "{name}: w {w:?} does not fit x {x:?} and y {y:?} in {g:?}");
    assert!(b == y_b, "{name}: x {x:?} and y {y:?} are of different batches");
    let n = |v: usize| v as u32;
    Params {
        b: n(b),
        h: n(h),
        w: n(width),
        i: n(i),
        p: n(p),
        q: n(q),
        o: n(o),
        kh: n(kh),
        kw: n(kw),
        stride: g.stride.map(n),
        padding: g.padding.map(n),
        dilation: g.dilation.map(n),
        groups: n(g.groups),
        activation: 0,
        bias: 0,
    }
}

impl Params {
    /// With the epilogue act(. + b); returns what binds to `b`, which is not read where there is no bias.
    fn with(self, w: Tensor, bias: Option<Tensor>, channels: u32, activation: Activation) -> (Params, Tensor) {
        if let Some(b) = bias {
            assert!(b.shape() == [channels as usize], "conv2d: b {b:?} is not of {channels} channels");
        }
        assert!(activation.is_rectifier(), "{activation:?} cannot be an epilogue of conv2d");
        let params = Params { activation: activation as u32, bias: u32::from(bias.is_some()), ..self };
        (params, bias.unwrap_or(w))
    }
}

/// y = act(x * w + b): x (B,H,W,I), w (O,KH,KW,I/G), b (O), to (B,P,Q,O). Panics where the window does not fit x, and
/// on an activation that is no rectifier.
pub fn forward(
    r: &mut Recorder,
    x: Tensor,
    w: Tensor,
    b: Option<Tensor>,
    geometry: Geometry,
    activation: Activation,
) -> Tensor {
    let &[_, h, width, _] = x.shape() else { panic!("conv2d.forward: x {x:?} is no picture with channels last") };
    let fits = geometry.small_size([h, width]);
    let small = fits.unwrap_or_else(|| panic!("conv2d.forward: {geometry:?} does not fit x {x:?}"));
    forward_to(r, x, w, b, geometry, small, activation)
}

/// [`forward`] to the first (P,Q) places alone: the backward of a transposed convolution whose output padding is a
/// stride or more, so that its large picture has room for further windows. Panics where that has no room for these.
pub fn forward_to(
    r: &mut Recorder,
    x: Tensor,
    w: Tensor,
    b: Option<Tensor>,
    geometry: Geometry,
    [p, q]: [usize; 2],
    activation: Activation,
) -> Tensor {
    let &[batch, h, width, _] = x.shape() else { panic!("conv2d.forward: x {x:?} is no picture with channels last") };
    assert!(geometry.meets([h, width], [p, q]), "conv2d.forward: {geometry:?} makes no {p}x{q} of x {x:?}");
    let shape = [batch, p, q, w.shape()[0]];
    let params = sizes(FORWARD.name, x.shape(), &shape, w, geometry);
    let (params, b) = params.with(w, b, params.o, activation);
    let y = r.tensor("y", &shape);
    r.dispatch(&FORWARD, params, &[x, w, b], &[y]);
    y
}

/// dx = act(gradient of x * w to x, plus b): dy (B,P,Q,O), w (O,KH,KW,I/G), b (I), to (B,H,W,I). A gradient has neither
/// b nor an activation, the forward of a transposed convolution may. To few channels it goes by way of the products of
/// every place with every tap, which [`FOLD`] then sums.
pub fn backward_x(
    r: &mut Recorder,
    dy: Tensor,
    w: Tensor,
    b: Option<Tensor>,
    geometry: Geometry,
    [h, width]: [usize; 2],
    activation: Activation,
) -> Tensor {
    let &[batch, p, q, _] = dy.shape() else { panic!("conv2d.backward_x: dy {dy:?} is no picture with channels last") };
    let fits = geometry.meets([h, width], [p, q]);
    assert!(fits, "conv2d.backward_x: dy {dy:?} is not what {geometry:?} makes of {h}x{width}");
    let shape = [batch, h, width, w.shape()[3] * geometry.groups];
    let params = sizes(BACKWARD_X.name, &shape, dy.shape(), w, geometry);
    let (params, b) = params.with(w, b, params.i, activation);
    let dx = r.tensor("dx", &shape);
    if geometry.groups == 1 && params.i <= 4 && params.o >= 8 {
        fold(r, params, [w, b, dy], dx);
    } else {
        r.dispatch(&BACKWARD_X, params, &[w, b, dy], &[dx]);
    }
    dx
}

/// The products of every place with every tap, then their sums.
fn fold(r: &mut Recorder, params: Params, [w, b, dy]: [Tensor; 3], dx: Tensor) {
    let (places, o) = (params.sizes().all_places(), params.o as usize);
    let columns = matmul::backward_x(r, dy.reshape(&[places, o]), w.reshape(&[o, w.len() / o]));
    r.dispatch(&FOLD, params, &[b, columns], &[dx]);
}

/// How many more products a GPU's [`BACKWARD_X`] may take than the fold has: those with taps that meet no place of dy.
const MISSES: usize = 3;
/// Bytes that every adapter of WebGPU binds at once.
const SMALLEST_BINDING: usize = 128 << 20;

/// What [`backward_x`] recorded in one dispatch, by the fold: for GPUs, which multiply with the zeros around a small
/// picture as well. None where these are few. A 3x3 picture that a 4x4 window makes a 6x6 one has a product for every
/// four.
pub fn by_fold(r: &mut Recorder, step: &Step) -> Option<()> {
    assert!(step.kernel.name == BACKWARD_X.name, "conv2d.by_fold: {} has no fold", step.kernel.name);
    let params: Params = params(&step.params);
    let s = params.sizes();
    let [multiplied, needed] = [s.large[0] * s.large[1], s.small[0] * s.small[1] * s.stride[0] * s.stride[1]];
    let bytes = 4 * s.all_places() * s.taps() * s.i;
    if s.groups > 1 || multiplied < MISSES * needed || bytes > SMALLEST_BINDING {
        return None;
    }
    fold(r, params, *step.reads.first_chunk()?, step.writes[0]);
    Some(())
}

/// dw += gradient of x * w to w: dy (B,P,Q,O), x (B,H,W,I) to (O,KH,KW,I/G).
pub fn backward_w(r: &mut Recorder, dy: Tensor, x: Tensor, dw: Tensor, geometry: Geometry) {
    r.dispatch(&BACKWARD_W, sizes(BACKWARD_W.name, x.shape(), dy.shape(), dw, geometry), &[x, dy], &[dw]);
}

/// db += sums of dy (B,H,W,C) over all places: (C).
pub fn backward_b(r: &mut Recorder, dy: Tensor, db: Tensor) {
    let &[b, p, q, o] = dy.shape() else { panic!("conv2d.backward_b: dy {dy:?} is no picture with channels last") };
    assert!(db.shape() == [o], "conv2d.backward_b: db {db:?} does not fit dy {dy:?}");
    r.dispatch(&BACKWARD_B, Params::small([b, p, q, o]), &[dy], &[db]);
}

/// What [`backward_w`] or [`backward_b`] recorded, as the sums over shares of the places, then the sum of these: for
/// GPUs, whose workgroups one long sum leaves idle. None where one dispatch keeps them busy.
pub fn with_partial_sums(r: &mut Recorder, step: &Step) -> Option<()> {
    let s = params::<Params>(&step.params).sizes();
    let (kernel, count) = match step.kernel.name {
        name if name == BACKWARD_W.name => (&BACKWARD_W_PARTS, weight_parts(&s)),
        name if name == BACKWARD_B.name => (&BACKWARD_B_PARTS, bias_parts(&s)),
        other => panic!("conv2d.with_partial_sums: {other} is no gradient of a parameter"),
    };
    if count < FEWEST_PARTS {
        return None;
    }
    let sum = step.writes[0];
    let parts = r.tensor("parts", &[count, 1, 1, sum.len()]);
    r.dispatch_words(kernel, step.params.clone(), &step.reads, &[parts]);
    backward_b(r, parts, sum.reshape(&[sum.len()]));
    Some(())
}
