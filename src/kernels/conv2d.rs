//! Convolution of pictures with channels last, both ways: `shaders/conv2d.wgsl` in a family of tiles, on the buffers of
//! `conv2d_vec4.wgsl` or `conv2d_any.wgsl`, `conv2d_direct.wgsl` for few channels, and for adapters that run on a CPU
//! `shaders/software/conv2d_eight.wgsl` and `conv2d.wgsl`.
//!
//! x (B,H,W,I) is the large picture, y (B,P,Q,O) the small one, w (O,KH,KW,I/G). [`forward`] is `torch.nn.Conv2d`;
//! [`backward_x`] is its gradient to x and the forward of `torch.nn.ConvTranspose2d`, whose weight PyTorch keeps in the
//! same order, (small, large, KH, KW). One dimension is a picture of height 1. Dumoulin & Visin, A guide to convolution
//! arithmetic for deep learning (2016, arXiv 1603.07285), chapters 2 to 5.

use bytemuck::{Pod, Zeroable};

use super::activation::Activation;
use super::matmul;
use super::tiles::{self, Forms, TILES};
use crate::check::case::{Case, uniform};
use crate::check::close::Tolerance;
use crate::check::gradient::GradientCase;
use crate::kernel::{Candidate, Constant, Cost, GradientCheck, Kernel, Lanes, Shader, Source, params};
use crate::program::{Recorder, Step};
use crate::tensor::Tensor;

mod accelerated;

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
const BINDINGS: &[&str] = &["x", "w", "b", "dy", "y", "dx", "dw", "db", "columns", "parts"];
/// The bias gradient and the fold have one form.
const WITHOUT_SUMS: &[&str] = &["x", "w", "b", "dy", "y", "dx", "dw"];

const PORTABLE: &str = include_str!("../../shaders/conv2d.wgsl");

const ANY: Source = Source {
    file: "conv2d_any.wgsl",
    text: include_str!("../../shaders/conv2d_any.wgsl"),
    common: &[PORTABLE, super::PRODUCT, super::ACTIVATION, super::INDEX],
    bindings: BINDINGS,
    constants: &[],
};

const VEC4: Source = Source {
    file: "conv2d_vec4.wgsl",
    text: include_str!("../../shaders/conv2d_vec4.wgsl"),
    common: &[PORTABLE, super::PRODUCT, super::ACTIVATION],
    bindings: &["x", "w", "b", "dy", "y", "dx", "dw", "parts"],
    constants: &[],
};

/// The most terms that [`DIRECT`] has room for.
const DIRECT_TERMS: u32 = 256;

const DIRECT: Source = Source {
    file: "conv2d_direct.wgsl",
    text: include_str!("../../shaders/conv2d_direct.wgsl"),
    common: &[super::ACTIVATION],
    bindings: &["x", "w", "b", "y"],
    constants: &[("TERMS", DIRECT_TERMS)],
};

const SOFTWARE: &str = include_str!("../../shaders/software/conv2d.wgsl");
const SCALAR: &str = include_str!("../../shaders/software/conv2d_scalar.wgsl");
const WHOLE: &str = include_str!("../../shaders/software/conv2d_whole.wgsl");

const EIGHT: Source = Source {
    file: "software/conv2d_eight.wgsl",
    text: include_str!("../../shaders/software/conv2d_eight.wgsl"),
    common: &[super::EIGHT, super::SUBGROUP_TILE, super::RECTIFIERS, super::WORDS],
    bindings: WITHOUT_SUMS,
    constants: &[],
};

const SOFTWARE_VEC4: Source = Source {
    file: "software/conv2d_vec4.wgsl",
    text: include_str!("../../shaders/software/conv2d_vec4.wgsl"),
    common: &[SOFTWARE, super::BLOCKS],
    bindings: WITHOUT_SUMS,
    constants: &[],
};

const SOFTWARE_ANY: Source = Source {
    file: "software/conv2d_any.wgsl",
    text: include_str!("../../shaders/software/conv2d_any.wgsl"),
    common: &[SCALAR, SOFTWARE, super::BLOCKS],
    bindings: WITHOUT_SUMS,
    constants: &[],
};

const NARROW: Source = Source {
    file: "software/conv2d_narrow.wgsl",
    text: include_str!("../../shaders/software/conv2d_narrow.wgsl"),
    common: &[SCALAR, WHOLE, SOFTWARE, super::BLOCKS],
    ..SOFTWARE_ANY
};

const ROWS: Source = Source {
    file: "software/conv2d_rows.wgsl",
    text: include_str!("../../shaders/software/conv2d_rows.wgsl"),
    ..NARROW
};

const NARROW_ROWS: Source = Source {
    file: "software/conv2d_narrow_rows.wgsl",
    text: include_str!("../../shaders/software/conv2d_narrow_rows.wgsl"),
    ..NARROW
};

/// x (B,H,W,I), w (O,KH,KW,I/G), b (O) to y (B,P,Q,O), assigned; recorded by [`forward`], and as the backward of a
/// transposed convolution. Each group of I/G channels meets the O/G outputs of its own.
pub static FORWARD: Kernel = Kernel {
    name: "conv2d.forward",
    formula: "y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i])",
    params: FIELDS,
    reads: &["x", "w", "b"],
    writes: &["y"],
    shader: Tiled::<0>::FAMILY[0].any.shader,
    software: Some(|lanes, p| &SOFTWARE_FORWARD.for_params(lanes, p)[0].shader),
    candidates: Some(|software, p| match software {
        Some(lanes) => SOFTWARE_FORWARD.for_params(lanes, p),
        None => portable(0, p),
    }),
    reference: forward_reference,
    accelerated: Some(accelerated::forward),
    cost,
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// dy (B,P,Q,O), w (O,KH,KW,I/G), b (I) to dx (B,H,W,I), assigned; recorded by [`backward_x`], which is a transposed
/// convolution's forward too, and only there b and act are used.
pub static BACKWARD_X: Kernel = Kernel {
    name: "conv2d.backward_x",
    formula: "dx[m,i] = act(b[i] + sum over taps and o of dy[m under tap, o] w[o,tap,i])",
    params: FIELDS,
    reads: &["w", "b", "dy"],
    writes: &["dx"],
    shader: Tiled::<0>::FAMILY[1].any.shader,
    software: Some(|lanes, p| &SOFTWARE_BACKWARD_X.for_params(lanes, p)[0].shader),
    candidates: Some(|software, p| match software {
        Some(lanes) => SOFTWARE_BACKWARD_X.for_params(lanes, p),
        None => portable(1, p),
    }),
    reference: backward_x_reference,
    accelerated: Some(accelerated::backward_x),
    cost,
    cases: backward_x_cases,
    gradients: GradientCheck::Cases(gradients),
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
        source: &Tiled::<0>::ANY,
        entry: "fold",
        workgroup: [64, 1, 1],
        grid: |p| {
            let s = params::<Params>(p).sizes();
            crate::kernel::grid_1d(s.b * s.large[0] * s.large[1] * s.i, 64)
        },
    },
    software: None,
    candidates: None,
    reference: fold_reference,
    accelerated: Some(accelerated::fold),
    cost: |p| {
        let s = params::<Params>(p).sizes();
        let [columns, pixels] =
            [s.small[0] * s.small[1] * s.taps(), s.large[0] * s.large[1]].map(|n| (s.b * n * s.i) as u64);
        Cost { flops: columns, bytes: 4 * (columns + pixels) }
    },
    cases: fold_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// x (B,H,W,I), dy (B,P,Q,O); dw (O,KH,KW,I/G) is added to. Recorded by [`backward_w`].
pub static BACKWARD_W: Kernel = Kernel {
    name: "conv2d.backward_w",
    formula: "dw[o,tap,i] += sum over places n of dy[n,o] x[n under tap, i]",
    params: FIELDS,
    reads: &["x", "dy"],
    writes: &["dw"],
    shader: Tiled::<0>::FAMILY[2].any.shader,
    software: Some(|lanes, p| &SOFTWARE_BACKWARD_W.for_params(lanes, p)[0].shader),
    candidates: Some(|software, p| match software {
        Some(lanes) => SOFTWARE_BACKWARD_W.for_params(lanes, p),
        None => portable(2, p),
    }),
    reference: backward_w_reference,
    accelerated: Some(accelerated::backward_w),
    cost,
    cases: backward_w_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// x (B,H,W,I), dy (B,P,Q,O) to parts (S,O,KH,KW,I/G), assigned; recorded by [`in_parts`] in place of [`BACKWARD_W`].
pub static BACKWARD_W_PARTS: Kernel = Kernel {
    name: "conv2d.backward_w_parts",
    formula: "parts[s,o,tap,i] = sum over the s-th share of the places n of dy[n,o] x[n under tap, i]",
    params: FIELDS,
    reads: &["x", "dy"],
    writes: &["parts"],
    shader: Tiled::<0>::FAMILY[3].any.shader,
    software: None,
    candidates: Some(|software, p| if software.is_some() { Vec::new() } else { portable(3, p) }),
    reference: backward_w_parts_reference,
    accelerated: None,
    cost,
    cases: backward_w_parts_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// dy (B,P,Q,O); db (O) is added to. Recorded by [`backward_b`], for a transposed convolution with its large picture as
/// dy, and by [`in_parts`] with the parts as dy.
pub static BACKWARD_B: Kernel = Kernel {
    name: "conv2d.backward_b",
    formula: "db[o] += sum over places n of dy[n,o]",
    params: FIELDS,
    reads: &["dy"],
    writes: &["db"],
    shader: Shader {
        source: &Tiled::<0>::ANY,
        entry: "backward_b",
        workgroup: [64, 1, 1],
        grid: |p| [params::<Params>(p).o.div_ceil(8), 1, 1],
    },
    software: None,
    candidates: None,
    reference: backward_b_reference,
    accelerated: Some(accelerated::backward_b),
    cost: |p| {
        let p: Params = params(p);
        let elements = (p.b * p.p) as u64 * (p.q * p.o) as u64;
        Cost { flops: elements, bytes: 4 * elements }
    },
    cases: backward_b_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// dy (B,P,Q,O) to parts (S,O), assigned; recorded by [`in_parts`] in place of [`BACKWARD_B`].
pub static BACKWARD_B_PARTS: Kernel = Kernel {
    name: "conv2d.backward_b_parts",
    formula: "parts[s,o] = sum over the s-th share of the places n of dy[n,o]",
    params: FIELDS,
    reads: &["dy"],
    writes: &["parts"],
    shader: Shader {
        source: &Tiled::<0>::ANY,
        entry: "backward_b_parts",
        workgroup: [256, 1, 1],
        grid: |p| {
            let s = params::<Params>(p).sizes();
            [s.o.div_ceil(64) as u32, bias_parts(&s) as u32, 1]
        },
    },
    software: None,
    candidates: None,
    reference: backward_b_parts_reference,
    accelerated: None,
    cost: BACKWARD_B.cost,
    cases: backward_b_parts_cases,
    gradients: GradientCheck::Cases(gradients),
};

/// Workgroups that a large GPU has use for, the places that are worth one of them, and the parts that are worth a second
/// dispatch.
const ENOUGH: usize = 128;
const WORTH: usize = 256;
const FEWEST: usize = 4;

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
    let wanted = ENOUGH.div_ceil(workgroups).min(s.all_places() / WORTH).max(1);
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

/// The shaders of the N-th tile.
struct Tiled<const N: usize>;

impl<const N: usize> Tiled<N> {
    const CONSTANTS: &'static [Constant] = &TILES[N].constants();
    const VEC4: Source = Source { constants: Self::CONSTANTS, ..VEC4 };
    const ANY: Source = Source { constants: Self::CONSTANTS, ..ANY };
    /// Forward, backward to x, backward to w, the same in parts.
    const FAMILY: [Forms; 4] = [
        Self::forms("forward", |p| {
            let s = params::<Params>(p).sizes();
            Self::grid(s.all_places(), s.group()[1], s.groups)
        }),
        // A product for each phase of the strides.
        Self::forms("backward_x", |p| {
            let s = params::<Params>(p).sizes();
            let [rows, columns] = [0, 1].map(|a| s.large[a].div_ceil(s.stride[a]));
            Self::grid(s.b * rows * columns, s.group()[0], s.groups * s.stride[0] * s.stride[1])
        }),
        Self::forms("backward_w", |p| {
            let s = params::<Params>(p).sizes();
            Self::grid(s.group()[1], s.taps() * s.group()[0], s.groups)
        }),
        Self::forms("backward_w_parts", |p| {
            let s = params::<Params>(p).sizes();
            Self::grid(s.group()[1], s.taps() * s.group()[0], s.groups * weight_parts(&s))
        }),
    ];

    const fn forms(entry: &'static str, grid: Grid) -> Forms {
        tiles::forms(N, [&Self::VEC4, &Self::ANY], entry, grid)
    }

    /// `products` products, each of `rows` by `columns`.
    fn grid(rows: usize, columns: usize, products: usize) -> [u32; 3] {
        let [x, y, _] = spread(rows.div_ceil(TILES[N].rows as usize) * columns.div_ceil(TILES[N].columns as usize));
        [x, y, products as u32]
    }
}

static FAMILY: [[Forms; 4]; 5] =
    [Tiled::<0>::FAMILY, Tiled::<1>::FAMILY, Tiled::<2>::FAMILY, Tiled::<3>::FAMILY, Tiled::<4>::FAMILY];

/// The forward of pictures and of other inputs with few channels.
static DIRECT_FORWARD: Candidate = Candidate {
    name: "direct",
    shader: Shader {
        source: &DIRECT,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p| {
            let s = params::<Params>(p).sizes();
            let [x, y, _] = spread(s.all_places().div_ceil(64));
            [x, y, s.o.div_ceil(16) as u32]
        },
    },
};

/// Those of the n-th of forward, backward to x, backward to w and the same in parts.
fn portable(n: usize, p: &[u32]) -> Vec<&'static Candidate> {
    let s = params::<Params>(p).sizes();
    let is_whole = s.group().iter().all(|channels| channels.is_multiple_of(4));
    let tiles = FAMILY.iter().map(|tile| tile[n].suited(is_whole));
    let is_direct = n == 0 && s.groups == 1 && s.i <= 4 && s.taps() * s.i <= DIRECT_TERMS as usize;
    tiles.chain(is_direct.then_some(&DIRECT_FORWARD)).collect()
}

/// A number of workgroups as a grid: WebGPU allows 65535 in a dimension.
fn spread(workgroups: usize) -> [u32; 3] {
    crate::kernel::grid_1d(workgroups, 1)
}

/// The forms for adapters that run on a CPU, by the tile of an invocation.
struct SoftwareForms {
    /// Where I/G and O/G are multiples of 4 and lanes share what they load.
    eight: Candidate,
    /// Where I/G and O/G are multiples of 4.
    vec4: Candidate,
    /// Where O/G is, and windows are taken row by row.
    rows: Candidate,
    narrow_rows: Candidate,
    /// Where O/G is, and the result has few columns.
    narrow: Candidate,
    any: Candidate,
    /// Which of them is usual.
    usual: fn(&Kind) -> &'static str,
    /// Columns of the result.
    columns: fn(&Kind) -> usize,
}

type Grid = fn(&[u32]) -> [u32; 3];

/// The grids launch tiles of a workgroup, tiles of 32x16, then tiles of 16 rows: of 16 columns, of 4, and both with windows taken row by row.
const fn software(
    entry: &'static str,
    [eight, tall, wide, narrow, rows, narrow_rows]: [Grid; 6],
    columns: fn(&Kind) -> usize,
    usual: fn(&Kind) -> &'static str,
) -> SoftwareForms {
    const fn form(name: &'static str, source: &'static Source, entry: &'static str, grid: Grid) -> Candidate {
        Candidate { name, shader: Shader { source, entry, workgroup: [8, 1, 1], grid } }
    }
    SoftwareForms {
        eight: form("eight", &EIGHT, entry, eight),
        vec4: form("32x16 vec4", &SOFTWARE_VEC4, entry, tall),
        rows: form("16x16 rows", &ROWS, entry, rows),
        narrow_rows: form("16x4 rows", &NARROW_ROWS, entry, narrow_rows),
        narrow: form("16x4", &NARROW, entry, narrow),
        any: form("16x16", &SOFTWARE_ANY, entry, wide),
        columns,
        usual,
    }
}

static SOFTWARE_FORWARD: SoftwareForms = software(
    "forward",
    [
        |p| forward_tiles(p, EIGHT_TILE),
        |p| forward_tiles(p, [32, 16]),
        |p| forward_tiles(p, [16, 16]),
        |p| forward_tiles(p, [16, 4]),
        |p| forward_tiles(p, [16, 16]),
        |p| forward_tiles(p, [16, 4]),
    ],
    |kind| kind.outputs,
    |kind| match kind {
        Kind { whole_inputs: true, whole_outputs: true, .. } => "32x16 vec4",
        Kind { whole_outputs: true, by_rows: true, .. } => "16x16 rows",
        _ => "16x16",
    },
);

static SOFTWARE_BACKWARD_X: SoftwareForms = software(
    "backward_x",
    [
        |p| backward_x_tiles(p, EIGHT_TILE),
        |p| backward_x_tiles(p, [32, 16]),
        |p| backward_x_tiles(p, [16, 16]),
        |p| backward_x_tiles(p, [16, 4]),
        |p| backward_x_tiles(p, [16, 16]),
        |p| backward_x_tiles(p, [16, 4]),
    ],
    |kind| kind.inputs,
    |kind| match kind {
        Kind { whole_inputs: true, whole_outputs: true, .. } => "32x16 vec4",
        Kind { whole_outputs: true, inputs: ..=4, .. } => "16x4",
        _ => "16x16",
    },
);

static SOFTWARE_BACKWARD_W: SoftwareForms = software(
    "backward_w",
    [
        |p| backward_w_tiles(p, EIGHT_TILE, false),
        |p| backward_w_tiles(p, [32, 16], false),
        |p| backward_w_tiles(p, [16, 16], false),
        |p| backward_w_tiles(p, [16, 4], false),
        |p| backward_w_tiles(p, [16, 16], true),
        |p| backward_w_tiles(p, [16, 4], true),
    ],
    |kind| kind.inputs,
    |kind| match kind {
        Kind { whole_inputs: true, whole_outputs: true, .. } => "32x16 vec4",
        Kind { whole_outputs: true, by_rows: true, row: ..=4, .. } => "16x4 rows",
        Kind { whole_outputs: true, by_rows: true, .. } => "16x16 rows",
        Kind { whole_outputs: true, inputs: ..=4, .. } => "16x4",
        _ => "16x16",
    },
);

/// What decides the form.
struct Kind {
    whole_inputs: bool,
    whole_outputs: bool,
    /// Both are multiples of 8.
    eights: bool,
    /// Windows can be taken row by row.
    by_rows: bool,
    inputs: usize,
    outputs: usize,
    row: usize,
}

impl Kind {
    fn of(p: &[u32]) -> Kind {
        let s = params::<Params>(p).sizes();
        let [inputs, outputs] = s.group();
        Kind {
            whole_inputs: inputs.is_multiple_of(4),
            whole_outputs: outputs.is_multiple_of(4),
            eights: (inputs | outputs).is_multiple_of(8),
            by_rows: s.groups == 1 && s.padding[1] == 0 && s.dilation[1] == 1,
            inputs,
            outputs,
            row: s.kernel[1] * inputs,
        }
    }
}

impl SoftwareForms {
    /// Those that may be taken, the usual one first.
    fn for_params(&'static self, lanes: Lanes, p: &[u32]) -> Vec<&'static Candidate> {
        let kind = Kind::of(p);
        let by_rows = kind.whole_outputs && kind.by_rows;
        let fours = kind.whole_inputs && kind.whole_outputs;
        let shares = kind.eights && lanes == Lanes::Eight;
        let forms = [
            (shares, &self.eight),
            (fours, &self.vec4),
            (by_rows, &self.rows),
            (by_rows, &self.narrow_rows),
            (kind.whole_outputs, &self.narrow),
            (true, &self.any),
        ];
        let mut forms: Vec<_> = forms.into_iter().filter(|(may, _)| *may).map(|(_, form)| form).collect();
        // Where lanes share, products are 1.5 times as fast, but tiles are 64 columns wide in place of 16.
        let columns = (self.columns)(&kind);
        let pays = 2 * columns.next_multiple_of(64) <= 3 * columns.next_multiple_of(16);
        let usual = if shares && pays { self.eight.name } else { (self.usual)(&kind) };
        forms.sort_by_key(|form| form.name != usual);
        forms
    }
}

/// What a workgroup owns together where its lanes share.
const EIGHT_TILE: [usize; 2] = [32, 64];

/// `count` products, each of `rows` by `columns`: an invocation owns a `tile` of one, a workgroup 8 of these tiles; or a
/// workgroup owns the whole tile.
fn software_tiles([rows, columns]: [usize; 2], count: usize, tile: [usize; 2]) -> [u32; 3] {
    let tiles = rows.div_ceil(tile[0]) * columns.div_ceil(tile[1]) * count;
    spread(if tile == EIGHT_TILE { tiles } else { tiles.div_ceil(8) })
}

/// 16 pictures by outputs at each place of the small picture.
fn forward_tiles(p: &[u32], tile: [usize; 2]) -> [u32; 3] {
    let s = params::<Params>(p).sizes();
    software_tiles([s.b, s.group()[1]], s.groups * s.small[0] * s.small[1], tile)
}

/// 16 pictures by inputs at each place of the large picture.
fn backward_x_tiles(p: &[u32], tile: [usize; 2]) -> [u32; 3] {
    let s = params::<Params>(p).sizes();
    software_tiles([s.b, s.group()[0]], s.groups * s.large[0] * s.large[1], tile)
}

/// 16 outputs by inputs for each tap, or by the inputs of a row of taps.
fn backward_w_tiles(p: &[u32], tile: [usize; 2], by_rows: bool) -> [u32; 3] {
    let s = params::<Params>(p).sizes();
    let [inputs, outputs] = s.group();
    let (columns, taps) = if by_rows { (s.kernel[1] * inputs, s.kernel[0]) } else { (inputs, s.taps()) };
    software_tiles([outputs, columns], s.groups * taps, tile)
}

// ---- Record

/// Sizes of a convolution, checked: x (B,H,W,I), y (B,P,Q,O), w (O,KH,KW,I/G).
fn sizes(name: &str, x: &[usize], y: &[usize], w: Tensor, g: Geometry) -> Params {
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

/// [`forward`] to the first (P,Q) places alone: the backward of a transposed convolution whose output padding is a stride or
/// more, so that its large picture has room for further windows. Panics where that has no room for these.
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

/// dx = act(gradient of x * w to x, plus b): dy (B,P,Q,O), w (O,KH,KW,I/G), b (I), to (B,H,W,I). A gradient has neither b
/// nor an activation, the forward of a transposed convolution may. To few channels it goes by way of the products of
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

/// What [`backward_x`] recorded in one dispatch, by the fold: for GPUs, which multiply with the zeros around a small picture as
/// well. None where these are few. A 3x3 picture that a 4x4 window makes a 6x6 one has a product for every four.
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

/// What [`backward_w`] or [`backward_b`] recorded, as the sums over shares of the places, then the sum of these: for GPUs,
/// whose workgroups one long sum leaves idle. None where one dispatch keeps them busy.
pub fn in_parts(r: &mut Recorder, step: &Step) -> Option<()> {
    let s = params::<Params>(&step.params).sizes();
    let (kernel, count) = match step.kernel.name {
        name if name == BACKWARD_W.name => (&BACKWARD_W_PARTS, weight_parts(&s)),
        name if name == BACKWARD_B.name => (&BACKWARD_B_PARTS, bias_parts(&s)),
        other => panic!("conv2d.in_parts: {other} is no gradient of a parameter"),
    };
    if count < FEWEST {
        return None;
    }
    let sum = step.writes[0];
    let parts = r.tensor("parts", &[count, 1, 1, sum.len()]);
    r.dispatch_words(kernel, step.params.clone(), &step.reads, &[parts]);
    backward_b(r, parts, sum.reshape(&[sum.len()]));
    Some(())
}

// ---- References

/// Calls `f` with the index of every product's element in x, dy and w: all places of the small picture, taps and channels
/// that meet inside the large one.
fn for_each_product(s: Sizes, mut f: impl FnMut(usize, usize, usize)) {
    let [inputs, outputs] = s.group();
    let [[h, w], [p_size, q_size]] = [s.large, s.small];
    for b in 0..s.b {
        for p in 0..p_size {
            for q in 0..q_size {
                for tap in 0..s.taps() {
                    let Some(place) = s.place_under([p, q], tap) else { continue };
                    for o in 0..s.o {
                        for i in 0..inputs {
                            let channel = o / outputs * inputs + i;
                            let x = (b * h * w + place) * s.i + channel;
                            let y = ((b * p_size + p) * q_size + q) * s.o + o;
                            f(x, y, (o * s.taps() + tap) * inputs + i);
                        }
                    }
                }
            }
        }
    }
}

/// act(sum + bias) of each element, rounded once.
fn epilogue(p: Params, sums: &[f64], b: &[f32], channels: usize, out: &mut [f32]) {
    let activation = Activation::from_number(p.activation);
    for (i, sum) in sums.iter().enumerate() {
        let bias = if p.bias != 0 { b[i % channels] as f64 } else { 0.0 };
        out[i] = activation.value(sum + bias) as f32;
    }
}

fn forward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let (x, w, b) = (reads[0], reads[1], reads[2]);
    let mut sums = vec![0f64; s.all_places() * s.o];
    for_each_product(s, |i, o, k| sums[o] += x[i] as f64 * w[k] as f64);
    epilogue(p, &sums, b, s.o, writes[0]);
}

fn backward_x_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let (w, b, dy) = (reads[0], reads[1], reads[2]);
    let mut sums = vec![0f64; s.b * s.large[0] * s.large[1] * s.i];
    for_each_product(s, |i, o, k| sums[i] += dy[o] as f64 * w[k] as f64);
    epilogue(p, &sums, b, s.i, writes[0]);
}

fn fold_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let (b, columns) = (reads[0], reads[1]);
    let [[h, w], [p_size, q_size]] = [s.large, s.small];
    let mut sums = vec![0f64; s.b * h * w * s.i];
    for n in 0..s.b * p_size * q_size {
        for tap in 0..s.taps() {
            let Some(place) = s.place_under([n / q_size % p_size, n % q_size], tap) else { continue };
            for i in 0..s.i {
                sums[(n / (p_size * q_size) * h * w + place) * s.i + i] +=
                    columns[(n * s.taps() + tap) * s.i + i] as f64;
            }
        }
    }
    epilogue(p, &sums, b, s.i, writes[0]);
}

fn backward_w_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let (x, dy) = (reads[0], reads[1]);
    let mut sums = vec![0f64; s.o * s.taps() * s.group()[0]];
    for_each_product(s, |i, o, k| sums[k] += dy[o] as f64 * x[i] as f64);
    for (dw, sum) in writes[0].iter_mut().zip(sums) {
        *dw += sum as f32;
    }
}

fn backward_w_parts_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let (x, dy) = (reads[0], reads[1]);
    let (count, weights) = (weight_parts(&s), s.o * s.taps() * s.group()[0]);
    let mut sums = vec![0f64; count * weights];
    let share = share(&s, count);
    for_each_product(s, |i, o, k| sums[o / s.o / share * weights + k] += dy[o] as f64 * x[i] as f64);
    for (part, sum) in writes[0].iter_mut().zip(sums) {
        *part = sum as f32;
    }
}

fn backward_b_parts_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let share = share(&s, bias_parts(&s));
    for (part, dy) in writes[0].chunks_exact_mut(s.o).zip(reads[0].chunks(share * s.o)) {
        for (o, part) in part.iter_mut().enumerate() {
            *part = dy.iter().skip(o).step_by(s.o).map(|&v| v as f64).sum::<f64>() as f32;
        }
    }
}

fn backward_b_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    for o in 0..s.o {
        let places = 0..s.all_places();
        writes[0][o] += places.map(|n| reads[0][n * s.o + o] as f64).sum::<f64>() as f32;
    }
}

// ---- Cases

/// B, (H,W), I, O, the window, and how many rows and columns of windows are left out.
type Sizing = (usize, [usize; 2], usize, usize, Geometry, [usize; 2]);

/// Sizes, each with something of its own: a single place; a border that the last stride does not
/// reach; several groups; a window that is nearly all padding; height 1; channels in fours, in ones and more than a tile;
/// the article's one-channel and 1x1 layers; channels that fill most of a wide tile, in groups, over its edge, and
/// with taps that meet nothing; a stride longer than the picture; one place under a window that moves further. Of
/// the last, windows are left out, as by a transposed convolution with an output padding of a stride or more.
fn geometries() -> Vec<Sizing> {
    let g = |kernel, stride, padding, dilation, groups| Geometry { kernel, stride, padding, dilation, groups };
    let whole = vec![
        (1, [1, 1], 1, 1, Geometry::square(1, 1)),
        (5, [8, 7], 3, 5, g([3, 4], [2, 1], [1, 2], [1, 1], 1)),
        (17, [5, 6], 4, 8, Geometry::square(3, 2)),
        (3, [9, 9], 6, 4, g([3, 3], [2, 2], [2, 2], [2, 1], 2)),
        (2, [6, 5], 8, 24, g([2, 3], [1, 2], [0, 1], [1, 2], 2)),
        (33, [3, 3], 20, 17, Geometry::square(3, 1)),
        (4, [1, 19], 2, 3, g([1, 5], [1, 3], [0, 2], [1, 1], 1)),
        (2, [2, 2], 3, 3, g([5, 5], [1, 1], [2, 2], [1, 1], 3)),
        (18, [13, 13], 1, 16, Geometry::square(4, 2)),
        (17, [9, 11], 3, 8, g([3, 4], [2, 2], [1, 0], [1, 1], 1)),
        (7, [8, 8], 3, 12, g([4, 4], [2, 2], [1, 1], [1, 1], 1)),
        (18, [3, 3], 68, 36, Geometry::square(3, 2)),
        (16, [7, 7], 65, 1, g([3, 3], [1, 1], [1, 1], [1, 1], 1)),
        (37, [5, 4], 96, 112, g([3, 2], [2, 1], [1, 1], [1, 2], 2)),
        (5, [3, 2], 132, 100, Geometry::square(2, 1)),
        (6, [2, 1], 64, 48, g([3, 5], [2, 1], [1, 2], [1, 1], 1)),
        (3, [1, 2], 4, 4, g([1, 1], [3, 2], [0, 0], [1, 1], 1)),
        (2, [3, 3], 3, 5, g([1, 1], [2, 2], [1, 1], [1, 1], 1)),
    ];
    let fewer = [
        (3, [4, 5], 4, 12, g([1, 1], [1, 1], [0, 0], [2, 3], 1), [1, 2]),
        (5, [9, 10], 6, 4, g([2, 3], [1, 2], [1, 0], [4, 3], 2), [3, 1]),
        (17, [6, 7], 1, 8, g([3, 2], [1, 1], [0, 1], [2, 4], 1), [1, 3]),
    ];
    whole.into_iter().map(|(b, large, i, o, g)| (b, large, i, o, g, [0, 0])).chain(fewer).collect()
}

/// A case's params and the lengths of x, y and w.
fn case((b, [h, width], i, o, g, left_out): Sizing, bias: bool, activation: Activation) -> (Case, [usize; 3], usize) {
    let [p, q] = g.small_size([h, width]).expect("a case's window fits");
    let [p, q] = [p - left_out[0], q - left_out[1]];
    let w = Tensor::new(0, 0, &[o, g.kernel[0], g.kernel[1], i / g.groups]);
    let params = sizes("case", &[b, h, width, i], &[b, p, q, o], w, g);
    let params = Params { activation: activation as u32, bias: bias.into(), ..params };
    let label = format!("{b}x{h}x{width}x{i} to {p}x{q}x{o} {g:?}");
    (Case::new(label, params), [b * h * width * i, b * p * q * o, w.len()], b * p * q)
}

fn forward_cases() -> Vec<Case> {
    let acts = [Activation::Identity, Activation::Relu, Activation::LeakyRelu].into_iter().cycle();
    let case = |(n, (g, act))| {
        let (case, [x, y, w], _) = case(g, n % 2 == 0, act);
        let terms = w / g.3;
        let case = case.read(uniform(1, x, -1.0, 1.0)).read(uniform(2, w, -1.0, 1.0));
        case.read(uniform(3, g.3, -1.0, 1.0)).assign(y, Tolerance::Dot(terms))
    };
    geometries().into_iter().zip(acts).enumerate().map(case).collect()
}

fn backward_x_cases() -> Vec<Case> {
    let acts = [Activation::Identity, Activation::Relu].into_iter().cycle();
    let case = |(n, (g, act))| {
        let (case, [x, y, w], _) = case(g, n % 3 == 1, act);
        let terms = w / (g.2 / g.4.groups);
        let case = case.read(uniform(4, w, -1.0, 1.0)).read(uniform(5, g.2, -1.0, 1.0));
        case.read(uniform(6, y, -1.0, 1.0)).assign(x, Tolerance::Dot(terms))
    };
    geometries().into_iter().zip(acts).enumerate().map(case).collect()
}

fn fold_cases() -> Vec<Case> {
    let acts = [Activation::Relu, Activation::Identity].into_iter().cycle();
    let one_group = geometries().into_iter().filter(|g| g.4.groups == 1);
    let case = |(n, (g, act))| {
        let (case, [x, ..], places) = case(g, n % 3 == 0, act);
        let taps = g.4.kernel[0] * g.4.kernel[1];
        let case = case.read(uniform(12, g.2, -1.0, 1.0)).read(uniform(13, places * taps * g.2, -1.0, 1.0));
        case.assign(x, Tolerance::Dot(taps))
    };
    one_group.zip(acts).enumerate().map(case).collect()
}

fn backward_w_cases() -> Vec<Case> {
    let case = |g| {
        let (case, [x, y, w], places) = case(g, false, Activation::Identity);
        let case = case.read(uniform(7, x, -1.0, 1.0)).read(uniform(8, y, -1.0, 1.0));
        case.update(uniform(9, w, -1.0, 1.0), Tolerance::Dot(places))
    };
    geometries().into_iter().map(case).collect()
}

/// Also several parts, of which the last is shorter, by single channels and by fours.
fn backward_w_parts_cases() -> Vec<Case> {
    let g = |kernel, stride, padding, dilation, groups| Geometry { kernel, stride, padding, dilation, groups };
    let many = [
        (64, [9, 9], 3, 5, Geometry::square(3, 1)),
        (41, [8, 8], 8, 12, g([3, 2], [1, 1], [1, 1], [1, 1], 2)),
        (70, [7, 6], 8, 68, Geometry::square(2, 1)),
    ];
    let case = |g| {
        let (case, [x, y, w], places) = case(g, false, Activation::Identity);
        let parts = weight_parts(&params::<Params>(&case.params).sizes());
        let case = case.read(uniform(14, x, -1.0, 1.0)).read(uniform(15, y, -1.0, 1.0));
        case.assign(parts * w, Tolerance::Dot(places.div_ceil(parts)))
    };
    many.into_iter().map(|(b, large, i, o, g)| (b, large, i, o, g, [0, 0])).chain(geometries()).map(case).collect()
}

fn backward_b_parts_cases() -> Vec<Case> {
    let case = |[b, p, q, o]: [usize; 4]| {
        let params = Params::small([b, p, q, o]);
        let parts = bias_parts(&params.sizes());
        Case::new(format!("{b}x{p}x{q}x{o}"), params)
            .read(uniform(16, b * p * q * o, -1.0, 1.0))
            .assign(parts * o, Tolerance::Dot((b * p * q).div_ceil(parts)))
    };
    [[1, 1, 1, 1], [2, 9, 5, 65], [17, 28, 28, 1], [41, 13, 13, 3], [30, 7, 9, 48], [12, 9, 7, 130]].map(case).into()
}

fn backward_b_cases() -> Vec<Case> {
    let case = |[b, p, q, o]: [usize; 4]| {
        let params = Params::small([b, p, q, o]);
        Case::new(format!("{b}x{p}x{q}x{o}"), params)
            .read(uniform(10, b * p * q * o, -1.0, 1.0))
            .update(uniform(11, o, -1.0, 1.0), Tolerance::Dot(b * p * q))
    };
    [[1, 1, 1, 1], [5, 3, 7, 17], [3, 28, 28, 1], [2, 9, 5, 65]].map(case).into()
}

// ---- Gradients

/// For the finite-difference check: with and without groups, transposed, by way of [`FOLD`], with output padding, and
/// [`in_parts`].
fn gradients() -> Vec<GradientCase> {
    let geometry = |groups| Geometry { kernel: [3, 2], stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups };
    let convolution = |groups: usize| GradientCase {
        label: format!("conv2d, {groups} groups"),
        inputs: vec![
            (vec![2, 5, 4, 2], uniform(1, 80, -1.0, 1.0)),
            (vec![4, 3, 2, 2 / groups], uniform(2, 48 / groups, -1.0, 1.0)),
            (vec![4], uniform(3, 4, -1.0, 1.0)),
        ],
        output: vec![2, 3, 2, 4],
        record: Box::new(move |r, inputs, dy| {
            let ([x, w, b], g) = ([inputs[0], inputs[1], inputs[2]], geometry(groups));
            let y = forward(r, x, w, Some(b), g, Activation::Identity);
            let dx = backward_x(r, dy, w, None, g, [5, 4], Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            backward_w(r, dy, x, dw, g);
            backward_b(r, dy, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // The same three kernels, each in another's place.
    let transposed = GradientCase {
        label: "conv2d transposed".into(),
        inputs: vec![
            (vec![2, 3, 2, 4], uniform(4, 48, -1.0, 1.0)),
            (vec![4, 3, 2, 2], uniform(5, 48, -1.0, 1.0)),
            (vec![2], uniform(6, 2, -1.0, 1.0)),
        ],
        output: vec![2, 6, 4, 2],
        record: Box::new(move |r, inputs, dy| {
            let ([x, w, b], g) = ([inputs[0], inputs[1], inputs[2]], geometry(1));
            let y = backward_x(r, x, w, Some(b), g, [6, 4], Activation::Identity);
            let dx = forward(r, dy, w, None, g, Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            backward_w(r, x, dy, dw, g);
            backward_b(r, dy, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // Enough outputs for the way by the fold.
    let to_few_channels = GradientCase {
        label: "conv2d to few channels".into(),
        inputs: vec![
            (vec![2, 3, 2, 8], uniform(7, 96, -1.0, 1.0)),
            (vec![8, 3, 2, 1], uniform(8, 48, -1.0, 1.0)),
            (vec![1], uniform(9, 1, -1.0, 1.0)),
        ],
        output: vec![2, 6, 4, 1],
        record: Box::new(move |r, inputs, dy| {
            let ([x, w, b], g) = ([inputs[0], inputs[1], inputs[2]], geometry(1));
            let y = backward_x(r, x, w, Some(b), g, [6, 4], Activation::Identity);
            let dx = forward(r, dy, w, None, g, Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            backward_w(r, x, dy, dw, g);
            backward_b(r, dy, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // An output padding of two strides and of one: the large picture has room for windows that the small one has not.
    let wide = Geometry { kernel: [2, 1], stride: [1, 1], padding: [0, 0], dilation: [3, 2], groups: 1 };
    let padded = GradientCase {
        label: "conv2d transposed, padded".into(),
        inputs: vec![
            (vec![2, 3, 2, 4], uniform(10, 48, -1.0, 1.0)),
            (vec![4, 2, 1, 2], uniform(11, 16, -1.0, 1.0)),
            (vec![2], uniform(12, 2, -1.0, 1.0)),
        ],
        output: vec![2, 8, 3, 2],
        record: Box::new(move |r, inputs, dy| {
            let [x, w, b] = [inputs[0], inputs[1], inputs[2]];
            let y = backward_x(r, x, w, Some(b), wide, [8, 3], Activation::Identity);
            let dx = forward_to(r, dy, w, None, wide, [3, 2], Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            backward_w(r, x, dy, dw, wide);
            backward_b(r, dy, db);
            (y, vec![dx, dw, db])
        }),
        state: vec![],
    };
    // As many places as several parts need; x is fixed, since each of its elements would take two runs.
    let in_shares = GradientCase {
        label: "conv2d in parts".into(),
        inputs: vec![(vec![2, 2, 2, 1], uniform(10, 8, -1.0, 1.0)), (vec![2], uniform(11, 2, -1.0, 1.0))],
        output: vec![1, 32, 32, 2],
        record: Box::new(move |r, inputs, dy| {
            let ([w, b, x], g) = ([inputs[0], inputs[1], inputs[2]], Geometry::square(2, 1));
            let x = x.reshape(&[1, 33, 33, 1]);
            let y = forward(r, x, w, Some(b), g, Activation::Identity);
            let (dw, db) = (r.tensor("dw", w.shape()), r.tensor("db", b.shape()));
            let of_w = sizes(BACKWARD_W.name, x.shape(), dy.shape(), dw, g);
            let of_b = Params::small([1, 32, 32, 2]);
            for (kernel, params, reads, sum) in
                [(&BACKWARD_W, of_w, vec![x, dy], dw), (&BACKWARD_B, of_b, vec![dy], db)]
            {
                let params = bytemuck::pod_collect_to_vec(&[params]);
                let step = Step { kernel, params, reads, writes: vec![sum], scope: String::new() };
                in_parts(r, &step).expect("places for several parts");
            }
            (y, vec![dw, db])
        }),
        state: vec![("x", uniform(12, 33 * 33, -1.0, 1.0).into_iter().map(f32::to_bits).collect())],
    };
    vec![convolution(1), convolution(2), transposed, to_few_channels, padded, in_shares]
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
