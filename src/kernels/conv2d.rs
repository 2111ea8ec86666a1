//! Convolution of pictures with channels last, both ways: `shaders/conv2d.wgsl` in a family of tiles, on the buffers of
//! `conv2d_vec4.wgsl` or `conv2d_any.wgsl`, `conv2d_direct.wgsl` for few channels, and for adapters that run on a CPU
//! `shaders/software/conv2d.wgsl`.
//!
//! x (B,H,W,I) is the large picture, y (B,P,Q,O) the small one, w (O,KH,KW,I/G). [`forward`] is `torch.nn.Conv2d`;
//! [`backward_x`] is its gradient to x and the forward of `torch.nn.ConvTranspose2d`, whose weight PyTorch keeps in the
//! same order, (small, large, KH, KW). One dimension is a picture of height 1. Dumoulin & Visin, A guide to convolution
//! arithmetic for deep learning (2016, arXiv 1603.07285), chapters 2 to 5.

use bytemuck::{Pod, Zeroable};

use super::activation::Activation;
use super::tiles::TILES;
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, Shader, grid_1d, params};

mod accelerated;
mod cases;
mod forms;
mod record;
mod reference;

use forms::{ANY_TEXTS, FAMILIES, SOFTWARE, candidates};
pub use record::{backward_b, backward_w, backward_x, by_fold, forward, forward_to, with_partial_sums};

// ---- Params

/// How the window moves: [height, width] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// KH, KW
    pub kernel: [usize; 2],
    /// Places of the large picture from one window to the next.
    pub stride: [usize; 2],
    /// Zeros around the large picture.
    pub padding: [usize; 2],
    /// Distance of two taps.
    pub dilation: [usize; 2],
    /// G: groups of channels that do not see each other.
    pub groups: usize,
}

impl Geometry {
    /// A square window of side k that moves by `stride`, without padding.
    pub fn square(k: usize, stride: usize) -> Geometry {
        Geometry { kernel: [k, k], stride: [stride, stride], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }

    /// (P,Q) of a large picture (H,W): floor((H + 2 padding - dilation (K - 1) - 1) / stride) + 1. `None` where the
    /// window does not fit.
    pub fn small_size(&self, large: [usize; 2]) -> Option<[usize; 2]> {
        let mut size = [0; 2];
        for a in 0..2 {
            let span = self.dilation[a] * (self.kernel[a] - 1) + 1;
            size[a] = (large[a] + 2 * self.padding[a]).checked_sub(span)? / self.stride[a] + 1;
        }
        Some(size)
    }

    /// Whether every window of a small picture (P,Q) fits the padded large one (H,W). It may have room for more.
    fn meets(&self, large: [usize; 2], small: [usize; 2]) -> bool {
        self.small_size(large).is_some_and(|most| (0..2).all(|a| small[a] <= most[a]))
    }

    /// (H,W) of a small picture (P,Q): (P - 1) stride - 2 padding + dilation (K - 1) + 1 + extra. Several large sizes
    /// have the same small one; `extra`, PyTorch's output_padding, says which. `None` where nothing is left.
    pub fn large_size(&self, small: [usize; 2], extra: [usize; 2]) -> Option<[usize; 2]> {
        let mut size = [0; 2];
        for a in 0..2 {
            let span = self.dilation[a] * (self.kernel[a] - 1) + 1;
            size[a] = ((small[a] - 1) * self.stride[a] + span + extra[a]).checked_sub(2 * self.padding[a])?;
        }
        (size[0] > 0 && size[1] > 0).then_some(size)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Params {
    b: u32,
    h: u32,
    w: u32,
    i: u32,
    p: u32,
    q: u32,
    o: u32,
    kh: u32,
    kw: u32,
    stride: [u32; 2],
    padding: [u32; 2],
    dilation: [u32; 2],
    groups: u32,
    activation: u32,
    bias: u32,
}

/// The params as indices.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sizes {
    b: usize,
    /// (H,W)
    large: [usize; 2],
    i: usize,
    /// (P,Q)
    small: [usize; 2],
    o: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

impl Params {
    /// Of a small picture alone, (B,P,Q,O): all that a bias has to do with.
    fn small(sizes: [usize; 4]) -> Params {
        let [b, p, q, o] = sizes.map(|n| n as u32);
        Params { b, p, q, o, ..Params::zeroed() }
    }

    fn sizes(self) -> Sizes {
        let n = |v: u32| v as usize;
        Sizes {
            b: n(self.b),
            large: [n(self.h), n(self.w)],
            i: n(self.i),
            small: [n(self.p), n(self.q)],
            o: n(self.o),
            kernel: [n(self.kh), n(self.kw)],
            stride: self.stride.map(n),
            padding: self.padding.map(n),
            dilation: self.dilation.map(n),
            groups: n(self.groups),
        }
    }
}

impl Sizes {
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Channels of a group: inputs, outputs.
    fn group(&self) -> [usize; 2] {
        [self.i / self.groups, self.o / self.groups]
    }

    /// B P Q: places of the small picture, in all pictures.
    fn all_places(&self) -> usize {
        self.b * self.small[0] * self.small[1]
    }

    /// Index of the place of the large picture, h * W + w, that place (p,q) of the small one meets under a tap.
    fn place_under(&self, [p, q]: [usize; 2], tap: usize) -> Option<usize> {
        let axis = |a: usize, at: usize, tap: usize| {
            let place = (at * self.stride[a] + tap * self.dilation[a]).checked_sub(self.padding[a])?;
            (place < self.large[a]).then_some(place)
        };
        let h = axis(0, p, tap / self.kernel[1])?;
        Some(h * self.large[1] + axis(1, q, tap % self.kernel[1])?)
    }
}

// ---- Kernels

const FIELDS: &[&str] = &[
    "B",
    "H",
    "W",
    "I",
    "P",
    "Q",
    "O",
    "KH",
    "KW",
    "stride_h",
    "stride_w",
    "padding_h",
    "padding_w",
    "dilation_h",
    "dilation_w",
    "groups",
    "activation",
    "bias",
];
/// x (B,H,W,I), w (O,KH,KW,I/G), b (O) to y (B,P,Q,O), assigned; recorded by [`forward`], and as the backward of a
/// transposed convolution. Each group of I/G channels meets the O/G outputs of its own.
pub static FORWARD: Kernel = Kernel {
    name: "conv2d.forward",
    formula: "y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i])",
    params: FIELDS,
    reads: &["x", "w", "b"],
    writes: &["y"],
    shader: FAMILIES[0][0].any.shader,
    software: Some(|_| Some(&SOFTWARE[0])),
    candidates: Some(|p| candidates(0, p)),
    reference: reference::forward,
    accelerated: Some(accelerated::forward),
    cost,
    cases: cases::forward_cases,
    gradients: GradientCheck::Cases(cases::gradients),
};

/// dy (B,P,Q,O), w (O,KH,KW,I/G), b (I) to dx (B,H,W,I), assigned; recorded by [`backward_x`], which is a transposed
/// convolution's forward too, and only there b and act are used.
pub static BACKWARD_X: Kernel = Kernel {
    name: "conv2d.backward_x",
    formula: "dx[m,i] = act(b[i] + sum over taps and o of dy[m under tap, o] w[o,tap,i])",
    params: FIELDS,
    reads: &["w", "b", "dy"],
    writes: &["dx"],
    shader: FAMILIES[1][0].any.shader,
    software: Some(|_| Some(&SOFTWARE[1])),
    candidates: Some(|p| candidates(1, p)),
    reference: reference::backward_x,
    accelerated: Some(accelerated::backward_x),
    cost,
    cases: cases::backward_x_cases,
    gradients: GradientCheck::Cases(cases::gradients),
};

/// columns (B,P,Q,KH,KW,I), the products dy w of each place with each tap, and b (I) to dx (B,H,W,I), assigned;
/// recorded by [`backward_x`] after a matmul, where dx has at most 4 channels.
pub static FOLD: Kernel = Kernel {
    name: "conv2d.fold",
    formula: "dx[m,i] = act(b[i] + sum over taps of columns[m under tap, tap, i])",
    params: FIELDS,
    reads: &["b", "columns"],
    writes: &["dx"],
    shader: Shader {
        source: &ANY_TEXTS[0],
        entry: "fold",
        workgroup: [64, 1, 1],
        grid: |p, _| {
            let s = params::<Params>(p).sizes();
            grid_1d(s.b * s.large[0] * s.large[1] * s.i, 64)
        },
    },
    reference: reference::fold,
    accelerated: Some(accelerated::fold),
    cost: |p| {
        let s = params::<Params>(p).sizes();
        let [columns, pixels] =
            [s.small[0] * s.small[1] * s.taps(), s.large[0] * s.large[1]].map(|n| (s.b * n * s.i) as u64);
        Cost { flops: columns, bytes: 4 * (columns + pixels) }
    },
    cases: cases::fold_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

/// x (B,H,W,I), dy (B,P,Q,O); dw (O,KH,KW,I/G) is added to. Recorded by [`backward_w`].
pub static BACKWARD_W: Kernel = Kernel {
    name: "conv2d.backward_w",
    formula: "dw[o,tap,i] += sum over places n of dy[n,o] x[n under tap, i]",
    params: FIELDS,
    reads: &["x", "dy"],
    writes: &["dw"],
    shader: FAMILIES[2][0].any.shader,
    software: Some(|_| Some(&SOFTWARE[2])),
    candidates: Some(|p| candidates(2, p)),
    reference: reference::backward_w,
    accelerated: Some(accelerated::backward_w),
    cost,
    cases: cases::backward_w_cases,
    gradients: GradientCheck::Cases(cases::gradients),
};

/// x (B,H,W,I), dy (B,P,Q,O) to parts (S,O,KH,KW,I/G), assigned; recorded by [`with_partial_sums`] in place of
/// [`BACKWARD_W`].
pub static BACKWARD_W_PARTS: Kernel = Kernel {
    name: "conv2d.backward_w_parts",
    formula: "parts[s,o,tap,i] = sum over the s-th share of the places n of dy[n,o] x[n under tap, i]",
    params: FIELDS,
    reads: &["x", "dy"],
    writes: &["parts"],
    shader: FAMILIES[3][0].any.shader,
    candidates: Some(|p| candidates(3, p)),
    reference: reference::backward_w_parts,
    cost,
    cases: cases::backward_w_parts_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

/// dy (B,P,Q,O); db (O) is added to. Recorded by [`backward_b`], for a transposed convolution with its large picture as
/// dy, and by [`with_partial_sums`] with the parts as dy.
pub static BACKWARD_B: Kernel = Kernel {
    name: "conv2d.backward_b",
    formula: "db[o] += sum over places n of dy[n,o]",
    params: FIELDS,
    reads: &["dy"],
    writes: &["db"],
    shader: Shader {
        source: &ANY_TEXTS[0],
        entry: "backward_b",
        workgroup: [64, 1, 1],
        grid: |p, _| [params::<Params>(p).o.div_ceil(8), 1, 1],
    },
    reference: reference::backward_b,
    accelerated: Some(accelerated::backward_b),
    cost: |p| {
        let p: Params = params(p);
        let elements = (p.b * p.p) as u64 * (p.q * p.o) as u64;
        Cost { flops: elements, bytes: 4 * elements }
    },
    cases: cases::backward_b_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

/// dy (B,P,Q,O) to parts (S,O), assigned; recorded by [`with_partial_sums`] in place of [`BACKWARD_B`].
pub static BACKWARD_B_PARTS: Kernel = Kernel {
    name: "conv2d.backward_b_parts",
    formula: "parts[s,o] = sum over the s-th share of the places n of dy[n,o]",
    params: FIELDS,
    reads: &["dy"],
    writes: &["parts"],
    shader: Shader {
        source: &ANY_TEXTS[0],
        entry: "backward_b_parts",
        workgroup: [256, 1, 1],
        grid: |p, _| {
            let s = params::<Params>(p).sizes();
            [s.o.div_ceil(64) as u32, bias_parts(&s) as u32, 1]
        },
    },
    reference: reference::backward_b_parts,
    cost: BACKWARD_B.cost,
    cases: cases::backward_b_parts_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

/// Workgroups that a large GPU has use for, the places that are worth one of them, and the parts that are worth a
/// second dispatch.
const WORKGROUPS_WANTED: usize = 128;
const PLACES_A_WORKGROUP: usize = 256;
const FEWEST_PARTS: usize = 4;

/// S: of how many sums the gradient of the weights is made in [`BACKWARD_W_PARTS`]. The fewer tiles, the more.
fn weight_parts(s: &Sizes) -> usize {
    let [inputs, outputs] = s.group();
    let [rows, columns] = [TILES[0].rows, TILES[0].columns].map(|n| n as usize);
    parts(s, s.groups * outputs.div_ceil(rows) * (s.taps() * inputs).div_ceil(columns))
}

/// S: of how many sums the gradient of the bias is made in [`BACKWARD_B_PARTS`].
fn bias_parts(s: &Sizes) -> usize {
    parts(s, s.o.div_ceil(64))
}

fn parts(s: &Sizes, workgroups: usize) -> usize {
    let wanted = WORKGROUPS_WANTED.div_ceil(workgroups).min(s.all_places() / PLACES_A_WORKGROUP).max(1);
    s.all_places().div_ceil(share(s, wanted))
}

/// Places of a part: `share_of` in `conv2d.wgsl`.
fn share(s: &Sizes, parts: usize) -> usize {
    s.all_places().div_ceil(parts).next_multiple_of(64)
}

/// Multiply-adds of every place of the small picture with every tap: what is outside the large one counts too.
fn cost(p: &[u32]) -> Cost {
    let s = params::<Params>(p).sizes();
    let [places, pixels] = [s.small, s.large].map(|[h, w]| (s.b * h * w) as u64);
    let weights = (s.o * s.taps() * s.group()[0]) as u64;
    Cost { flops: 2 * places * weights, bytes: 4 * (places * s.o as u64 + pixels * s.i as u64 + weights) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_pytorchs_both_ways() {
        // The article's decoder: 1-3-6-13-28, and its encoder back: 28-13-5-1.
        let sizes = [(3, 2, 1, 3), (4, 1, 3, 6), (3, 2, 6, 13), (4, 2, 13, 28)];
        for (k, stride, small, large) in sizes {
            let g = Geometry::square(k, stride);
            assert_eq!(g.large_size([small; 2], [0; 2]), Some([large; 2]));
            assert_eq!(g.small_size([large; 2]), Some([small; 2]));
        }
        let g = Geometry { padding: [1, 0], dilation: [2, 1], ..Geometry::square(3, 2) };
        assert_eq!(g.small_size([9, 9]), Some([4, 4]));
        assert_eq!(g.large_size([4, 4], [1, 1]), Some([10, 10]));
        assert_eq!(Geometry::square(4, 1).small_size([3, 9]), None);
        assert_eq!(Geometry { padding: [1, 1], ..Geometry::square(2, 1) }.large_size([1, 1], [0, 0]), None);
    }
}
