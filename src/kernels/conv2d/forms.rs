//! The shaders of a convolution: texts, tiles, grids, and which of them suit some params.

use super::{Params, weight_parts};
use crate::kernel::{Candidate, Constant, Grid, PLAIN_SOURCE, Shader, Source, Text, grid_1d, params};
use crate::kernels::tiles::{self, Family, Texts};
use crate::kernels::{ACTIVATION, INDEX, PRODUCT, SOFTWARE_TILE};

const BINDINGS: &[&str] = &["x", "w", "b", "dy", "y", "dx", "dw", "db", "columns", "parts"];
const PORTABLE: Text = Text { file: "conv2d.wgsl", text: include_str!("../../../shaders/conv2d.wgsl") };

const ANY: Source = Source {
    file: "conv2d_any.wgsl",
    text: include_str!("../../../shaders/conv2d_any.wgsl"),
    common: &[PORTABLE, PRODUCT, ACTIVATION, INDEX],
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

const VEC4: Source = Source {
    file: "conv2d_vec4.wgsl",
    text: include_str!("../../../shaders/conv2d_vec4.wgsl"),
    common: &[PORTABLE, PRODUCT, ACTIVATION],
    bindings: &["x", "w", "b", "dy", "y", "dx", "dw", "parts"],
    ..PLAIN_SOURCE
};

/// The most terms that [`DIRECT`] has room for.
const DIRECT_TERMS: u32 = 256;

const DIRECT: Source = Source {
    file: "conv2d_direct.wgsl",
    text: include_str!("../../../shaders/conv2d_direct.wgsl"),
    common: &[ACTIVATION],
    bindings: &["x", "w", "b", "y"],
    constants: &[("TERMS", DIRECT_TERMS)],
};

const SOFTWARE_TEXT: Source = Source {
    file: "software/conv2d.wgsl",
    text: include_str!("../../../shaders/software/conv2d.wgsl"),
    common: &[SOFTWARE_TILE],
    bindings: &["x", "w", "b", "dy", "y", "dx", "dw"],
    ..PLAIN_SOURCE
};

/// For adapters that run on a CPU. The rows of forward and of backward to x are pictures; there is a product for each
/// place.
pub(super) static SOFTWARE: [Candidate; 3] = [
    in_software("forward", |p, _| {
        let s = params::<Params>(p).sizes();
        tiles::software([s.b, s.group()[1]], s.groups * s.small[0] * s.small[1])
    }),
    in_software("backward_x", |p, _| {
        let s = params::<Params>(p).sizes();
        tiles::software([s.b, s.group()[0]], s.groups * s.large[0] * s.large[1])
    }),
    in_software("backward_w", |p, _| {
        let s = params::<Params>(p).sizes();
        tiles::software([s.group()[1], s.taps() * s.group()[0]], s.groups)
    }),
];

const fn in_software(entry: &'static str, grid: Grid) -> Candidate {
    Candidate { name: "software", shader: Shader { source: &SOFTWARE_TEXT, entry, workgroup: [8, 1, 1], grid } }
}

static VEC4_TEXTS: Texts = tiles::texts(VEC4);
pub(super) static ANY_TEXTS: Texts = tiles::texts(ANY);

/// Forward, backward to x, backward to w, the same in parts.
pub(super) static FAMILIES: [Family; 4] = [
    tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "forward", |p, tile| {
        let s = params::<Params>(p).sizes();
        grid(tile, [s.all_places(), s.group()[1]], s.groups)
    }),
    // A product for each phase of the strides.
    tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "backward_x", |p, tile| {
        let s = params::<Params>(p).sizes();
        let [rows, columns] = [0, 1].map(|a| s.large[a].div_ceil(s.stride[a]));
        grid(tile, [s.b * rows * columns, s.group()[0]], s.groups * s.stride[0] * s.stride[1])
    }),
    tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "backward_w", |p, tile| {
        let s = params::<Params>(p).sizes();
        grid(tile, [s.group()[1], s.taps() * s.group()[0]], s.groups)
    }),
    tiles::family(&VEC4_TEXTS, &ANY_TEXTS, "backward_w_parts", |p, tile| {
        let s = params::<Params>(p).sizes();
        grid(tile, [s.group()[1], s.taps() * s.group()[0]], s.groups * weight_parts(&s))
    }),
];

/// The tiles of a convolution, as places in [`TILES`](tiles::TILES).
const WANTED: [usize; 5] = [0, 1, 2, 3, 4];

/// `products` products, each of `size` rows and columns.
fn grid(tile: &[Constant], size: [usize; 2], products: usize) -> [u32; 3] {
    let [across, down] = tiles::across_and_down(tile, size.map(|n| n as u32));
    let [x, y, _] = spread(across as usize * down as usize);
    [x, y, products as u32]
}

/// The forward of pictures and of other inputs with few channels.
static DIRECT_FORWARD: Candidate = Candidate {
    name: "direct",
    shader: Shader {
        source: &DIRECT,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| {
            let s = params::<Params>(p).sizes();
            let [x, y, _] = spread(s.all_places().div_ceil(64));
            [x, y, s.o.div_ceil(16) as u32]
        },
    },
};

/// Those of the n-th of forward, backward to x, backward to w and the same in parts.
pub(super) fn candidates(n: usize, p: &[u32]) -> Vec<&'static Candidate> {
    let s = params::<Params>(p).sizes();
    let is_whole = s.group().iter().all(|channels| channels.is_multiple_of(4));
    let tiles = tiles::candidates(&FAMILIES[n], &WANTED, is_whole);
    let is_direct = n == 0 && s.groups == 1 && s.i <= 4 && s.taps() * s.i <= DIRECT_TERMS as usize;
    tiles.into_iter().chain(is_direct.then_some(&DIRECT_FORWARD)).collect()
}

/// A number of workgroups as a grid: WebGPU allows 65535 in a dimension.
fn spread(workgroups: usize) -> [u32; 3] {
    grid_1d(workgroups, 1)
}
