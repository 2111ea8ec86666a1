//! Maxima and means over windows of pictures, channels last, `shaders/pool.wgsl`: `torch.nn.MaxPool2d` and `AvgPool2d`
//! with their defaults (sizes rounded down, the border counted in the mean). Pooling of sequences has height 1.

use bytemuck::{Pod, Zeroable};

use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod accelerated;
mod cases;

// ---- Params

/// How windows lie on a picture, each as (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Places that a window covers.
    pub kernel: [usize; 2],
    /// Places from one window to the next.
    pub stride: [usize; 2],
    /// Places around the picture that windows may cover; at most half a window, as in PyTorch.
    pub padding: [usize; 2],
}

impl Window {
    /// Panics where PyTorch refuses too: an empty window, a stride of 0, a border wider than half a window.
    pub fn new(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Window {
        assert!(kernel.iter().chain(&stride).all(|&n| n > 0), "pool: kernel {kernel:?}, stride {stride:?}");
        let narrow = padding.iter().zip(&kernel).all(|(padding, kernel)| 2 * padding <= *kernel);
        assert!(narrow, "pool: padding {padding:?} is more than half of kernel {kernel:?}");
        Window { kernel, stride, padding }
    }

    /// Size after pooling; none where no window fits.
    pub fn output_size(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let room = (size[axis] + 2 * self.padding[axis]).checked_sub(self.kernel[axis])?;
            Some(room / self.stride[axis] + 1)
        };
        Some([along(0)?, along(1)?])
    }
}

/// H x W is the size before pooling, P x Q after; kernel, stride and border as (rows, columns).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    h: u32,
    w: u32,
    c: u32,
    p: u32,
    q: u32,
    kernel: [u32; 2],
    stride: [u32; 2],
    border: [u32; 2],
}

impl Params {
    /// Panics where no window fits the picture.
    fn new(shape: [usize; 4], window: Window) -> Params {
        let [b, h, w, c] = shape.map(|n| n as u32);
        let size = window.output_size([shape[1], shape[2]]);
        let [p, q] = size.unwrap_or_else(|| panic!("pool: {window:?} does not fit x {shape:?}")).map(|n| n as u32);
        let words = |n: [usize; 2]| n.map(|n| n as u32);
        let [kernel, stride, border] = [words(window.kernel), words(window.stride), words(window.padding)];
        Params { b, h, w, c, p, q, kernel, stride, border }
    }

    fn sizes(self) -> Sizes {
        let [b, h, w, c, p, q] = [self.b, self.h, self.w, self.c, self.p, self.q].map(|n| n as usize);
        let [kernel, stride, border] = [self.kernel, self.stride, self.border].map(|pair| pair.map(|n| n as usize));
        Sizes { b, h, w, c, p, q, kernel, stride, border, area: (kernel[0] * kernel[1]) as f32 }
    }
}

/// [`Params`] to count with.
#[derive(Clone, Copy)]
struct Sizes {
    b: usize,
    h: usize,
    w: usize,
    c: usize,
    p: usize,
    q: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    border: [usize; 2],
    area: f32,
}

impl Sizes {
    /// Of x and of y.
    fn elements(&self) -> [usize; 2] {
        [self.b * self.h * self.w * self.c, self.b * self.p * self.q * self.c]
    }

    /// The most windows that cover a place.
    fn overlap(&self) -> usize {
        (0..2).map(|axis| self.kernel[axis].div_ceil(self.stride[axis])).product()
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "pool.wgsl",
    text: include_str!("../../shaders/pool.wgsl"),
    common: &[super::INDEX],
    bindings: &["x", "saved", "dy", "y", "index", "dx"],
    ..PLAIN_SOURCE
};

/// x (B,H,W,C) to y and index (B,P,Q,C), assigned; index is h*W + w of the maximum as an integer, the first where
/// several are. Recorded by [`max`].
pub static MAX: Kernel = Kernel {
    reads: &["x"],
    writes: &["y", "index"],
    cases: cases::max,
    ..kernel("pool.max", "max", "y = max of x over the window, index = its place", max_reference, accelerated::max)
};

/// saved, the index of [`MAX`], and dy (B,P,Q,C) to dx (B,H,W,C), assigned; recorded by [`backward_max`].
pub static BACKWARD_MAX: Kernel = Kernel {
    reads: &["saved", "dy"],
    writes: &["dx"],
    cases: cases::backward_max,
    ..kernel(
        "pool.backward_max",
        "backward_max",
        "dx = sum of dy over the windows whose maximum it is",
        backward_max_reference,
        accelerated::backward_max,
    )
};

/// x (B,H,W,C) to y (B,P,Q,C), assigned; recorded by [`average`].
pub static AVERAGE: Kernel = Kernel {
    reads: &["x"],
    writes: &["y"],
    cases: cases::average,
    ..kernel(
        "pool.average",
        "average",
        "y = sum of x over the window / window",
        average_reference,
        accelerated::average,
    )
};

/// dy (B,P,Q,C) to dx (B,H,W,C), assigned; recorded by [`backward_average`].
pub static BACKWARD_AVERAGE: Kernel = Kernel {
    reads: &["dy"],
    writes: &["dx"],
    cases: cases::backward_average,
    ..kernel(
        "pool.backward_average",
        "backward_average",
        "dx = sum of dy over the windows that cover it / window",
        backward_average_reference,
        accelerated::backward_average,
    )
};

/// What the four share. A backward has an invocation for each element of x, a forward for each of y.
const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reference: Reference,
    accelerated: Reference,
) -> Kernel {
    let backward = entry.len() > "average".len();
    Kernel {
        name,
        formula,
        params: &["B", "H", "W", "C", "P", "Q", "KH", "KW", "SH", "SW", "TH", "TW"],
        reads: &[],
        writes: &[],
        shader: Shader {
            source: &SOURCE,
            entry,
            workgroup: [64, 1, 1],
            grid: if backward { |p, _| grid_1d(elements(p)[0], 64) } else { |p, _| grid_1d(elements(p)[1], 64) },
        },
        software: None,
        candidates: None,
        reference,
        accelerated: Some(accelerated),
        cost: |p| {
            let [x, y] = elements(p).map(|n| n as u64);
            Cost { flops: y * p[6] as u64 * p[7] as u64, bytes: 4 * (x + y) }
        },
        cases: Vec::new,
        gradients: GradientCheck::Cases(cases::gradients),
    }
}

fn elements(p: &[u32]) -> [usize; 2] {
    params::<Params>(p).sizes().elements()
}

// ---- Record

/// The largest of each window, with the places that [`backward_max`] needs: (B,H,W,C) to twice (B,P,Q,C).
pub fn max(r: &mut Recorder, x: Tensor, window: Window) -> (Tensor, Tensor) {
    let shape = picture_shape("pool.max", x);
    let params = Params::new(shape, window);
    let pooled = pooled_shape(params);
    let (y, index) = (r.tensor("y", &pooled), r.tensor("index", &pooled));
    r.dispatch(&MAX, params, &[x], &[y, index]);
    (y, index)
}

/// dx (B,H,W,C) of this shape from the index that [`max`] returned and dy, both (B,P,Q,C).
pub fn backward_max(r: &mut Recorder, index: Tensor, dy: Tensor, shape: [usize; 4], window: Window) -> Tensor {
    assert!(index.shape() == dy.shape(), "pool.backward_max: index {index:?}, dy {dy:?}");
    backward(r, &BACKWARD_MAX, &[index, dy], shape, window)
}

/// The mean of each window, the border counted as zeros: (B,H,W,C) to (B,P,Q,C).
pub fn average(r: &mut Recorder, x: Tensor, window: Window) -> Tensor {
    let params = Params::new(picture_shape("pool.average", x), window);
    let y = r.tensor("y", &pooled_shape(params));
    r.dispatch(&AVERAGE, params, &[x], &[y]);
    y
}

/// dx (B,H,W,C) of this shape from dy (B,P,Q,C).
pub fn backward_average(r: &mut Recorder, dy: Tensor, shape: [usize; 4], window: Window) -> Tensor {
    backward(r, &BACKWARD_AVERAGE, &[dy], shape, window)
}

fn backward(r: &mut Recorder, kernel: &'static Kernel, reads: &[Tensor], shape: [usize; 4], window: Window) -> Tensor {
    let params = Params::new(shape, window);
    let dy = reads[reads.len() - 1];
    assert!(dy.shape() == pooled_shape(params), "{}: dy {dy:?}, x {shape:?}, {window:?}", kernel.name);
    let dx = r.tensor("dx", &shape);
    r.dispatch(kernel, params, reads, &[dx]);
    dx
}

fn picture_shape(kernel: &str, x: Tensor) -> [usize; 4] {
    x.shape().try_into().unwrap_or_else(|_| panic!("{kernel}: x {x:?} is not (B,H,W,C)"))
}

fn pooled_shape(params: Params) -> [usize; 4] {
    let Sizes { b, p, q, c, .. } = params.sizes();
    [b, p, q, c]
}

// ---- References

/// Visits each place of y with each place of x that its window covers, in row-major order. Places count through the
/// batch.
fn each_pair(s: Sizes, mut visit: impl FnMut(usize, usize)) {
    for (b, p) in (0..s.b).flat_map(|b| (0..s.p).map(move |p| (b, p))) {
        for q in 0..s.q {
            for (i, j) in (0..s.kernel[0]).flat_map(|i| (0..s.kernel[1]).map(move |j| (i, j))) {
                // In the picture with its border.
                let [h, w] = [p * s.stride[0] + i, q * s.stride[1] + j];
                let inside = |at: usize, border: usize, size: usize| at >= border && at - border < size;
                if inside(h, s.border[0], s.h) && inside(w, s.border[1], s.w) {
                    visit((b * s.p + p) * s.q + q, (b * s.h + h - s.border[0]) * s.w + w - s.border[1]);
                }
            }
        }
    }
}

fn max_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let [y, index] = writes else { panic!("pool.max writes y and index") };
    let index: &mut [u32] = bytemuck::cast_slice_mut(index);
    index[..s.b * s.p * s.q * s.c].fill(u32::MAX);
    each_pair(s, |out, place| {
        for c in 0..s.c {
            let (o, v) = (out * s.c + c, reads[0][place * s.c + c]);
            if index[o] == u32::MAX || v > y[o] || v.is_nan() {
                y[o] = v;
                index[o] = (place % (s.h * s.w)) as u32;
            }
        }
    });
}

fn backward_max_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let mut sums = vec![0f64; s.b * s.h * s.w * s.c];
    each_pair(s, |out, place| {
        for c in 0..s.c {
            if reads[0][out * s.c + c].to_bits() as usize == place % (s.h * s.w) {
                sums[place * s.c + c] += reads[1][out * s.c + c] as f64;
            }
        }
    });
    writes[0].iter_mut().zip(sums).for_each(|(dx, sum)| *dx = sum as f32);
}

fn average_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let mut sums = vec![0f64; s.b * s.p * s.q * s.c];
    each_pair(s, |out, place| (0..s.c).for_each(|c| sums[out * s.c + c] += reads[0][place * s.c + c] as f64));
    writes[0].iter_mut().zip(sums).for_each(|(y, sum)| *y = (sum / s.area as f64) as f32);
}

fn backward_average_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let mut sums = vec![0f64; s.b * s.h * s.w * s.c];
    each_pair(s, |out, place| (0..s.c).for_each(|c| sums[place * s.c + c] += reads[0][out * s.c + c] as f64));
    writes[0].iter_mut().zip(sums).for_each(|(dx, sum)| *dx = (sum / s.area as f64) as f32);
}
