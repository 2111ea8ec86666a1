//! The ladder of the matrix product, `shaders/ladder/matmul_*.wgsl`.
//!
//! C = A B, plain and row-major, since there one operand's rows and the other's columns are walked along and coalescing
//! shows. In production it is `matmul.backward_x`, dx = dy W; y = x W^T differs in how a tile is filled.

use bytemuck::{Pod, Zeroable};

use super::{Ladder, Rung, SHARED, Single, source, takes_any};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Grid, Kernel, PLAIN, Shader, Source, Text, grid_1d, params};
use crate::kernels::{INDEX, matmul};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// A is (M,K), B is (K,N), C is (M,N).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    m: u32,
    k: u32,
    n: u32,
}

/// Slice s of S sums over k from s * depth to (s + 1) * depth. `depth` is a multiple of 4.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SplitParams {
    m: u32,
    k: u32,
    n: u32,
    depth: u32,
    slices: u32,
}

/// About 256 tiles' worth of workgroups, in 2 to 16 slices.
fn split(m: usize, k: usize, n: usize) -> SplitParams {
    let tiles = m.div_ceil(64) * n.div_ceil(64);
    let depth = k.div_ceil((256 / tiles).clamp(2, 16)).next_multiple_of(16);
    let [slices, m, k, n, depth] = [k.div_ceil(depth), m, k, n, depth].map(|size| size as u32);
    SplitParams { m, k, n, depth, slices }
}

// ---- Kernels

const BINDINGS: &[&str] = &["a", "b", "c"];
const TILE_TEXT: Text =
    Text { file: "ladder/matmul_tile.wgsl", text: include_str!("../../../shaders/ladder/matmul_tile.wgsl") };
const FOURS: Text =
    Text { file: "ladder/matmul_fours.wgsl", text: include_str!("../../../shaders/ladder/matmul_fours.wgsl") };

const NAIVE_SOURCE: Source =
    source("ladder/matmul_1_naive.wgsl", include_str!("../../../shaders/ladder/matmul_1_naive.wgsl"), &[], BINDINGS);
const COALESCED_SOURCE: Source = source(
    "ladder/matmul_2_coalesced.wgsl",
    include_str!("../../../shaders/ladder/matmul_2_coalesced.wgsl"),
    &[],
    BINDINGS,
);
const TILE_SOURCE: Source =
    source("ladder/matmul_3_tile.wgsl", include_str!("../../../shaders/ladder/matmul_3_tile.wgsl"), &[], BINDINGS);
const REGISTERS_SOURCE: Source = source(
    "ladder/matmul_4_registers.wgsl",
    include_str!("../../../shaders/ladder/matmul_4_registers.wgsl"),
    &[TILE_TEXT],
    BINDINGS,
);
const VEC4_SOURCE: Source =
    source("ladder/matmul_5_vec4.wgsl", include_str!("../../../shaders/ladder/matmul_5_vec4.wgsl"), &[FOURS], BINDINGS);
const SPLIT_K_SOURCE: Source = source(
    "ladder/matmul_6_split_k.wgsl",
    include_str!("../../../shaders/ladder/matmul_6_split_k.wgsl"),
    &[FOURS, INDEX],
    &["a", "b", "parts", "slices", "c"],
);

const SINGLE: Single = Single {
    params: &["M", "K", "N"],
    reads: &["a", "b"],
    writes: &["c"],
    formula: "c[m,n] = sum_k a[m,k] b[k,n]",
    reference,
    cost: |p| cost([p[0], p[1], p[2]].map(|size| size as usize)),
};

/// a (M,K), b (K,N) to c (M,N), assigned: an invocation an element, neighbours in different rows of c.
pub static NAIVE: Kernel = SINGLE.kernel(
    "matmul_1_naive.forward",
    tiled(&NAIVE_SOURCE, |p, _| [p[0].div_ceil(16), p[2].div_ceil(16), 1]),
    cases,
);
/// As [`NAIVE`], neighbours in different columns of c.
pub static COALESCED: Kernel = SINGLE.kernel(
    "matmul_2_coalesced.forward",
    tiled(&COALESCED_SOURCE, |p, _| [p[2].div_ceil(16), p[0].div_ceil(16), 1]),
    cases,
);
/// As [`NAIVE`]: a workgroup 16x16 elements of c, a and b passed through workgroup memory.
pub static TILE: Kernel = SINGLE.kernel(
    "matmul_3_tile.forward",
    tiled(&TILE_SOURCE, |p, _| [p[2].div_ceil(16), p[0].div_ceil(16), 1]),
    cases,
);
/// As [`NAIVE`]: a workgroup 64x64 elements of c, an invocation 4x4 of them.
pub static REGISTERS: Kernel = SINGLE.kernel(
    "matmul_4_registers.forward",
    tiled(&REGISTERS_SOURCE, |p, _| [p[2].div_ceil(64), p[0].div_ceil(64), 1]),
    cases,
);
/// As [`REGISTERS`], with loads and stores of four words: K and N must be multiples of 4.
pub static VEC4: Kernel = SINGLE.kernel(
    "matmul_5_vec4.forward",
    tiled(&VEC4_SOURCE, |p, _| [p[2].div_ceil(64), p[0].div_ceil(64), 1]),
    cases_of_fours,
);

const SPLIT_FIELDS: &[&str] = &["M", "K", "N", "depth", "S"];

/// a (M,K), b (K,N) to slices (S,M,N), assigned: each of the S slices of k as [`VEC4`] does all of it.
pub static PARTIALS: Kernel = Kernel {
    name: "matmul_6_split_k.partials",
    formula: "slices[s,m,n] = sum over the s-th `depth` k of a[m,k] b[k,n]",
    params: SPLIT_FIELDS,
    reads: &["a", "b"],
    writes: &["slices"],
    shader: Shader {
        source: &SPLIT_K_SOURCE,
        entry: "partials",
        workgroup: [16, 16, 1],
        grid: |p, _| [p[2].div_ceil(64), p[0].div_ceil(64), p[4]],
    },
    reference: partials_reference,
    cost: |p| {
        let [m, k, n, slices] = [p[0], p[1], p[2], p[4]].map(u64::from);
        Cost { flops: 2 * m * k * n, bytes: 4 * (m * k + k * n + slices * m * n) }
    },
    cases: partials_cases,
    gradients: GradientCheck::None(SHARED),
    ..PLAIN
};

/// parts (S,M,N), which [`PARTIALS`] wrote, to c (M,N), assigned; summed in the order of the slices.
pub static SUM: Kernel = Kernel {
    name: "matmul_6_split_k.sum",
    formula: "c[m,n] = sum over s of parts[s,m,n]",
    params: SPLIT_FIELDS,
    reads: &["parts"],
    writes: &["c"],
    shader: Shader {
        source: &SPLIT_K_SOURCE,
        entry: "sum",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[2] as usize / 4, 64),
    },
    reference: sum_reference,
    cost: |p| {
        let [elements, slices] = [p[0] as u64 * p[2] as u64, p[4] as u64];
        Cost { flops: slices * elements, bytes: 4 * (slices + 1) * elements }
    },
    cases: sum_cases,
    gradients: GradientCheck::None(SHARED),
    ..PLAIN
};

const fn tiled(source: &'static Source, grid: Grid) -> Shader {
    Shader { source, entry: "forward", workgroup: [16, 16, 1], grid }
}

fn cost([m, k, n]: [usize; 3]) -> Cost {
    let [m, k, n] = [m, k, n].map(|size| size as u64);
    Cost { flops: 2 * m * k * n, bytes: 4 * (m * k + k * n + m * n) }
}

// ---- Record

/// A size is M,K,N. A rung returns C (M,N).
pub static LADDER: Ladder = Ladder {
    name: "matmul",
    formula: "C = A B, A (M,K), B (K,N)",
    dimensions: &["M", "K", "N"],
    sizes: [&[384, 384, 384], &[1024, 1024, 1024], &[2048, 2048, 2048]],
    inputs: |s| Ok(vec![vec![s[0], s[1]], vec![s[1], s[2]]]),
    range: [-1.0, 1.0],
    cost: |s| cost([s[0], s[1], s[2]]),
    bound_by_memory: false,
    tolerance: |s| Tolerance::Dot(s[1]),
    rungs: &[
        Rung {
            name: "matmul_1_naive",
            adds: "an invocation an element",
            refuses: takes_any,
            record: |r, _, t| product(r, &NAIVE, t),
        },
        Rung {
            name: "matmul_2_coalesced",
            adds: "neighbours take neighbouring columns",
            refuses: takes_any,
            record: |r, _, t| product(r, &COALESCED, t),
        },
        Rung {
            name: "matmul_3_tile",
            adds: "16x16 tiles in workgroup memory",
            refuses: takes_any,
            record: |r, _, t| product(r, &TILE, t),
        },
        Rung {
            name: "matmul_4_registers",
            adds: "4x4 elements in registers, 64x64 tiles",
            refuses: takes_any,
            record: |r, _, t| product(r, &REGISTERS, t),
        },
        Rung {
            name: "matmul_5_vec4",
            adds: "loads and stores of 16 bytes",
            refuses: needs_fours,
            record: |r, _, t| product(r, &VEC4, t),
        },
        Rung {
            name: "matmul_6_split_k",
            adds: "the sum in slices, added up in order",
            refuses: needs_fours,
            record: |r, s, t| product_in_slices(r, split(s[0], s[1], s[2]), t),
        },
    ],
    production: Rung {
        name: "matmul.backward_x",
        adds: "any size, with epilogues",
        refuses: takes_any,
        record: |r, _, t| matmul::backward_x(r, t[0], t[1]),
    },
    software: "tiles in registers, no workgroup memory",
    advice: "Slices pay where C is small and K long: --size 128,8192,128. The MNIST preset's products are 128,400,784.",
};

fn needs_fours(size: &[usize]) -> Option<&'static str> {
    let whole = size[1].is_multiple_of(4) && size[2].is_multiple_of(4);
    (!whole).then_some("K and N must be multiples of 4")
}

/// C = A B by one kernel.
fn product(r: &mut Recorder, kernel: &'static Kernel, inputs: &[Tensor]) -> Tensor {
    let ([m, k], [_, n]) = (inputs[0].matrix(), inputs[1].matrix());
    let c = r.tensor("c", &[m, n]);
    r.dispatch(kernel, Params { m: m as u32, k: k as u32, n: n as u32 }, inputs, &[c]);
    c
}

fn product_in_slices(r: &mut Recorder, p: SplitParams, inputs: &[Tensor]) -> Tensor {
    let [slices, m, n] = [p.slices, p.m, p.n].map(|size| size as usize);
    let parts = r.tensor("slices", &[slices, m, n]);
    r.dispatch(&PARTIALS, p, inputs, &[parts]);
    let c = r.tensor("c", &[m, n]);
    r.dispatch(&SUM, p, &[parts], &[c]);
    c
}

// ---- References

fn reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let one_slice = SplitParams { m: p.m, k: p.k, n: p.n, depth: p.k, slices: 1 };
    partials_reference(bytemuck::cast_slice(&[one_slice]), reads, writes);
}

fn partials_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: SplitParams = params(p);
    let [rows, depth, columns, width] = [p.m, p.k, p.n, p.depth].map(|size| size as usize);
    for s in 0..p.slices as usize {
        for m in 0..rows {
            for n in 0..columns {
                let term = |k: usize| reads[0][m * depth + k] as f64 * reads[1][k * columns + n] as f64;
                let sum: f64 = (s * width..depth.min((s + 1) * width)).map(term).sum();
                writes[0][(s * rows + m) * columns + n] = sum as f32;
            }
        }
    }
}

fn sum_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: SplitParams = params(p);
    let elements = (p.m * p.n) as usize;
    for i in 0..elements {
        writes[0][i] = (0..p.slices as usize).map(|s| reads[0][s * elements + i] as f64).sum::<f64>() as f32;
    }
}

// ---- Cases

/// (M,K,N), those of whole fours last.
const SIZES: [[usize; 3]; 7] =
    [[1, 1, 1], [17, 65, 257], [65, 7, 17], [3, 12, 4], [65, 36, 68], [17, 4, 132], [130, 68, 20]];

fn cases_with(sizes: impl Iterator<Item = [usize; 3]>) -> Vec<Case> {
    sizes
        .map(|[m, k, n]| {
            Case::new(format!("{m}x{k}x{n}"), Params { m: m as u32, k: k as u32, n: n as u32 })
                .read(uniform(1, m * k, -1.0, 1.0))
                .read(uniform(2, k * n, -1.0, 1.0))
                .assign(m * n, Tolerance::Dot(k))
        })
        .collect()
}

fn cases() -> Vec<Case> {
    cases_with(SIZES.into_iter())
}

/// Those that the rungs with 16-byte loads can take.
fn fours() -> impl Iterator<Item = [usize; 3]> {
    SIZES.into_iter().filter(|size| needs_fours(size).is_none())
}

fn cases_of_fours() -> Vec<Case> {
    cases_with(fours())
}

/// In slices of `depth`, the last one shorter but where it divides K.
fn split_cases(case: fn(Case, [usize; 4], usize) -> Case) -> Vec<Case> {
    fours()
        .zip([4, 16, 16, 32])
        .map(|([m, k, n], depth)| {
            let slices = k.div_ceil(depth);
            let [p_m, p_k, p_n, p_depth, p_slices] = [m, k, n, depth, slices].map(|size| size as u32);
            let p = SplitParams { m: p_m, k: p_k, n: p_n, depth: p_depth, slices: p_slices };
            case(Case::new(format!("{m}x{k}x{n} in {slices}"), p), [m, k, n, slices], depth)
        })
        .collect()
}

fn partials_cases() -> Vec<Case> {
    split_cases(|case, [m, k, n, slices], depth| {
        let case = case.read(uniform(3, m * k, -1.0, 1.0)).read(uniform(4, k * n, -1.0, 1.0));
        case.assign(slices * m * n, Tolerance::Dot(depth))
    })
}

fn sum_cases() -> Vec<Case> {
    split_cases(|case, [m, _, n, slices], _| {
        case.read(uniform(5, slices * m * n, -1.0, 1.0)).assign(m * n, Tolerance::Dot(slices))
    })
}
