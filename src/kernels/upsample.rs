//! Pictures, channels last, made larger by a whole factor, `shaders/upsample.wgsl`: `torch.nn.Upsample`, nearest, and
//! bilinear with `align_corners=False`.

use bytemuck::{Pod, Zeroable};

use super::threads::chunks;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// x is (B,H,W,C), y (B,FH,FW,C).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    h: u32,
    w: u32,
    c: u32,
    f: u32,
}

/// [`Params`] to count with.
#[derive(Clone, Copy)]
struct Sizes {
    b: usize,
    h: usize,
    w: usize,
    c: usize,
    f: usize,
}

impl Params {
    fn new([b, h, w, c]: [usize; 4], f: usize) -> Params {
        assert!(f > 0, "upsample: factor 0");
        Params { b: b as u32, h: h as u32, w: w as u32, c: c as u32, f: f as u32 }
    }

    fn sizes(self) -> Sizes {
        let [b, h, w, c, f] = [self.b, self.h, self.w, self.c, self.f].map(|n| n as usize);
        Sizes { b, h, w, c, f }
    }
}

impl Sizes {
    /// The shape of y.
    fn enlarged(self) -> [usize; 4] {
        [self.b, self.f * self.h, self.f * self.w, self.c]
    }

    /// Of x and of y.
    fn elements(self) -> [usize; 2] {
        let x = self.b * self.h * self.w * self.c;
        [x, x * self.f * self.f]
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "upsample.wgsl",
    text: include_str!("../../shaders/upsample.wgsl"),
    common: &[super::INDEX],
    bindings: &["x", "dy", "y", "dx"],
    ..PLAIN_SOURCE
};

/// x (B,H,W,C) to y (B,FH,FW,C), assigned; recorded by [`nearest`].
pub static NEAREST: Kernel = forward_kernel(
    "upsample.nearest",
    "nearest",
    "y[h,w] = x[h/F, w/F]",
    |p, reads, writes| forward_reference(p, reads, writes, nearest_taps),
    nearest_accelerated,
    || forward_cases(Tolerance::Exact),
);

/// dy (B,FH,FW,C) to dx (B,H,W,C), assigned; recorded by [`backward_nearest`].
pub static BACKWARD_NEAREST: Kernel = backward_kernel(
    "upsample.backward_nearest",
    "backward_nearest",
    "dx[h,w] = sum of dy over the F x F places that show it",
    |p, reads, writes| backward_reference(p, reads, writes, nearest_taps),
    backward_nearest_accelerated,
    || backward_cases(|f| Tolerance::Dot(f * f)),
);

/// x (B,H,W,C) to y (B,FH,FW,C), assigned, places beyond the edge as at the edge; recorded by [`bilinear`].
pub static BILINEAR: Kernel = forward_kernel(
    "upsample.bilinear",
    "bilinear",
    "y[h,w] = x interpolated at ((h + 1/2) / F - 1/2, (w + 1/2) / F - 1/2)",
    |p, reads, writes| forward_reference(p, reads, writes, linear_taps),
    bilinear_accelerated,
    || forward_cases(Tolerance::Dot(4)),
);

/// dy (B,FH,FW,C) to dx (B,H,W,C), assigned; recorded by [`backward_bilinear`].
pub static BACKWARD_BILINEAR: Kernel = backward_kernel(
    "upsample.backward_bilinear",
    "backward_bilinear",
    "dx[h,w] = sum of dy times its share in y",
    |p, reads, writes| backward_reference(p, reads, writes, linear_taps),
    backward_bilinear_accelerated,
    || backward_cases(|f| Tolerance::Dot(9 * f * f)),
);

/// An invocation an element of y.
const fn forward_kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reference: Reference,
    accelerated: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["B", "H", "W", "C", "F"],
        reads: &["x"],
        writes: &["y"],
        shader: Shader {
            source: &SOURCE,
            entry,
            workgroup: [64, 1, 1],
            grid: |p, _| grid_1d(params::<Params>(p).sizes().elements()[1], 64),
        },
        software: None,
        candidates: None,
        reference,
        accelerated: Some(accelerated),
        cost: |p| {
            let [x, y] = params::<Params>(p).sizes().elements().map(|n| n as u64);
            Cost { flops: y, bytes: 4 * (x + y) }
        },
        cases,
        gradients: GradientCheck::Cases(gradients),
    }
}

/// An invocation an element of x.
const fn backward_kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reference: Reference,
    accelerated: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    let mut kernel = forward_kernel(name, entry, formula, reference, accelerated, cases);
    kernel.reads = &["dy"];
    kernel.writes = &["dx"];
    kernel.shader.grid = |p, _| grid_1d(params::<Params>(p).sizes().elements()[0], 64);
    kernel
}

// ---- Record

/// Each place shown `factor` x `factor` times: (B,H,W,C) to (B,FH,FW,C).
pub fn nearest(r: &mut Recorder, x: Tensor, factor: usize) -> Tensor {
    forward(r, &NEAREST, x, factor)
}

/// dy (B,FH,FW,C) to dx (B,H,W,C).
pub fn backward_nearest(r: &mut Recorder, dy: Tensor, factor: usize) -> Tensor {
    backward(r, &BACKWARD_NEAREST, dy, factor)
}

/// Between the four nearest places: (B,H,W,C) to (B,FH,FW,C).
pub fn bilinear(r: &mut Recorder, x: Tensor, factor: usize) -> Tensor {
    forward(r, &BILINEAR, x, factor)
}

/// dy (B,FH,FW,C) to dx (B,H,W,C).
pub fn backward_bilinear(r: &mut Recorder, dy: Tensor, factor: usize) -> Tensor {
    backward(r, &BACKWARD_BILINEAR, dy, factor)
}

fn forward(r: &mut Recorder, kernel: &'static Kernel, x: Tensor, factor: usize) -> Tensor {
    let shape = x.shape().try_into().unwrap_or_else(|_| panic!("{}: x {x:?} is not (B,H,W,C)", kernel.name));
    let params = Params::new(shape, factor);
    let y = r.tensor("y", &params.sizes().enlarged());
    r.dispatch(kernel, params, &[x], &[y]);
    y
}

fn backward(r: &mut Recorder, kernel: &'static Kernel, dy: Tensor, factor: usize) -> Tensor {
    let &[b, p, q, c] = dy.shape() else { panic!("{}: dy {dy:?} is not (B,FH,FW,C)", kernel.name) };
    let whole = factor > 0 && p % factor == 0 && q % factor == 0;
    assert!(whole, "{}: dy {dy:?} is not {factor} times a size", kernel.name);
    let shape = [b, p / factor, q / factor, c];
    let dx = r.tensor("dx", &shape);
    r.dispatch(kernel, Params::new(shape, factor), &[dy], &[dx]);
    dx
}

// ---- References

/// The places along one axis of x, with weights, that make place `p` of y: (p, F, size of x).
type Taps = fn(usize, usize, usize) -> Vec<(usize, f64)>;

fn nearest_taps(p: usize, f: usize, _: usize) -> Vec<(usize, f64)> {
    vec![(p / f, 1.0)]
}

fn linear_taps(p: usize, f: usize, size: usize) -> Vec<(usize, f64)> {
    let at = ((p as f64 + 0.5) / f as f64 - 0.5).max(0.0);
    let (first, share) = (at.floor() as usize, at.fract());
    vec![(first, 1.0 - share), ((first + 1).min(size - 1), share)]
}

/// Visits each element of y with each element of x that it is made of, and the weight.
fn each_tap(s: Sizes, taps: Taps, mut visit: impl FnMut(usize, usize, f64)) {
    let [_, p, q, _] = s.enlarged();
    for place in 0..s.b * p * q {
        for (h, down) in taps(place / q % p, s.f, s.h) {
            for (w, right) in taps(place % q, s.f, s.w) {
                let source = (place / (p * q) * s.h + h) * s.w + w;
                (0..s.c).for_each(|c| visit(place * s.c + c, source * s.c + c, down * right));
            }
        }
    }
}

fn forward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]], taps: Taps) {
    let s = params::<Params>(p).sizes();
    let mut sums = vec![0f64; s.elements()[1]];
    each_tap(s, taps, |y, x, weight| sums[y] += weight * reads[0][x] as f64);
    writes[0].iter_mut().zip(sums).for_each(|(y, sum)| *y = sum as f32);
}

fn backward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]], taps: Taps) {
    let s = params::<Params>(p).sizes();
    let mut sums = vec![0f64; s.elements()[0]];
    each_tap(s, taps, |y, x, weight| sums[x] += weight * reads[0][y] as f64);
    writes[0].iter_mut().zip(sums).for_each(|(dx, sum)| *dx = sum as f32);
}

// ---- Accelerated

// A row of y (or dx) a task; in it, the channels of one place are a vector.

/// Calls `fill(row of the batch, its elements)` for rows of `row` elements, in parallel and vectorised.
fn each_row(out: &mut [f32], row: usize, fill: impl Fn(usize, &mut [f32]) + Sync) {
    chunks([(out, row)], super::CHUNK.div_ceil(row), |r, [out]| super::math::vectorised(|| fill(r, out)));
}

fn nearest_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    // Row r of y shows row r / F of x, counted through the batch.
    each_row(&mut writes[0][..s.elements()[1]], s.f * s.w * s.c, |r, y| {
        let x = reads[0][r / s.f * s.w * s.c..][..s.w * s.c].chunks_exact(s.c);
        for (y, x) in y.chunks_exact_mut(s.f * s.c).zip(x) {
            y.chunks_exact_mut(s.c).for_each(|y| y.copy_from_slice(x));
        }
    });
}

fn backward_nearest_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let line = s.f * s.w * s.c;
    each_row(&mut writes[0][..s.elements()[0]], s.w * s.c, |r, dx| {
        dx.fill(0.0);
        for dy in reads[0][r * s.f * line..][..s.f * line].chunks_exact(line) {
            for (dx, dy) in dx.chunks_exact_mut(s.c).zip(dy.chunks_exact(s.f * s.c)) {
                for dy in dy.chunks_exact(s.c) {
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
                }
            }
        }
    });
}

/// Centres in steps of 1 / (2F) of x: place p of y lies at 2p + 1 - F, kept within x, place h of x at 2Fh.
#[inline(always)]
fn centre(p: usize, f: usize, size: usize) -> usize {
    (2 * p + 1).saturating_sub(f).min(2 * f * (size - 1))
}

fn bilinear_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let (f, line) = (s.f, s.w * s.c);
    each_row(&mut writes[0][..s.elements()[1]], f * line, |r, y| {
        let (picture, row) = (r / (f * s.h), r % (f * s.h));
        let tap = |p: usize, size: usize| {
            let at = centre(p, f, size);
            let first = at / (2 * f);
            (first, (first + 1).min(size - 1), (at % (2 * f)) as f32 / (2 * f) as f32)
        };
        let (h0, h1, down) = tap(row, s.h);
        let [upper, lower] = [h0, h1].map(|h| &reads[0][(picture * s.h + h) * line..][..line]);
        for (q, y) in y.chunks_exact_mut(s.c).enumerate() {
            let (w0, w1, right) = tap(q, s.w);
            let [a, b] = [w0, w1].map(|w| &upper[w * s.c..][..s.c]);
            let [c, d] = [w0, w1].map(|w| &lower[w * s.c..][..s.c]);
            for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                let (above, below) = ((1.0 - right) * a + right * b, (1.0 - right) * c + right * d);
                *y = (1.0 - down) * above + down * below;
            }
        }
    });
}

fn backward_bilinear_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let (f, line) = (s.f, s.f * s.w * s.c);
    // The places of y that place h of x has a share in, and the share.
    let shared_by = |h: usize, size: usize| (f * h).saturating_sub(f / 2)..(f * h + (3 * f - 2) / 2 + 1).min(f * size);
    let share =
        |p: usize, h: usize, size: usize| (2 * f - centre(p, f, size).abs_diff(2 * f * h)) as f32 / (2 * f) as f32;
    each_row(&mut writes[0][..s.elements()[0]], s.w * s.c, |r, dx| {
        let (picture, h) = (r / s.h, r % s.h);
        dx.fill(0.0);
        for p in shared_by(h, s.h) {
            let dy = &reads[0][(picture * f * s.h + p) * line..][..line];
            let down = share(p, h, s.h);
            for (w, dx) in dx.chunks_exact_mut(s.c).enumerate() {
                for q in shared_by(w, s.w) {
                    let weight = down * share(q, w, s.w);
                    dx.iter_mut().zip(&dy[q * s.c..][..s.c]).for_each(|(dx, dy)| *dx += weight * dy);
                }
            }
        }
    });
}

// ---- Cases

/// Shapes of x and factors: a single place, a single row, even and odd factors, several tasks.
const LAYOUTS: [([usize; 4], usize); 6] = [
    ([1, 1, 1, 1], 3),
    ([3, 5, 7, 3], 2),
    ([2, 1, 17, 5], 3),
    ([2, 4, 3, 65], 4),
    ([3, 9, 6, 1], 1),
    ([2, 13, 11, 17], 5),
];

fn forward_cases(tolerance: Tolerance) -> Vec<Case> {
    let case = |(shape, f): ([usize; 4], usize)| {
        let params = Params::new(shape, f);
        let [x, y] = params.sizes().elements();
        Case::new(format!("{shape:?} by {f}"), params).read(uniform(1, x, -1.0, 1.0)).assign(y, tolerance)
    };
    LAYOUTS.map(case).into()
}

fn backward_cases(tolerance: fn(usize) -> Tolerance) -> Vec<Case> {
    let case = |(shape, f): ([usize; 4], usize)| {
        let params = Params::new(shape, f);
        let [x, y] = params.sizes().elements();
        Case::new(format!("{shape:?} by {f}"), params).read(uniform(2, y, -1.0, 1.0)).assign(x, tolerance(f))
    };
    LAYOUTS.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: nearest by 2, bilinear by 2 and 3.
fn gradients() -> Vec<GradientCase> {
    type Pass = fn(&mut Recorder, Tensor, usize) -> Tensor;
    let case = |label: &str, factor: usize, forward: Pass, backward: Pass| GradientCase {
        label: format!("{label} by {factor}"),
        inputs: vec![(vec![2, 3, 4, 2], uniform(3, 48, -1.0, 1.0))],
        output: vec![2, 3 * factor, 4 * factor, 2],
        record: Box::new(move |r, inputs, dy| (forward(r, inputs[0], factor), vec![backward(r, dy, factor)])),
        state: vec![],
    };
    vec![
        case("upsample.nearest", 2, nearest, backward_nearest),
        case("upsample.bilinear", 2, bilinear, backward_bilinear),
        case("upsample.bilinear", 3, bilinear, backward_bilinear),
    ]
}
