//! The ladder of a sum over everything, `shaders/ladder/reduce_*.wgsl`. Each rung leaves the sums of about 4096
//! workgroups and a second dispatch, `reduce.whole`, adds those up. In production it is `reduce.rows` on the vector as
//! a matrix.

use bytemuck::{Pod, Zeroable};

use super::{Ladder, Rung, Single, source, takes_any};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, Kernel, Shader, Source, params};
use crate::kernels::{SUM, reduce};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// Workgroups: several times what the largest GPUs hold at once.
const WORKGROUPS: usize = 4096;

/// x is (N), cut into pieces of `span` words.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    span: u32,
}

impl Params {
    fn parts(self) -> u32 {
        self.n.div_ceil(self.span)
    }
}

// ---- Kernels

const BINDINGS: &[&str] = &["x", "parts"];

const NAIVE_SOURCE: Source =
    source("ladder/reduce_1_naive.wgsl", include_str!("../../../shaders/ladder/reduce_1_naive.wgsl"), &[], BINDINGS);
const COALESCED_SOURCE: Source = source(
    "ladder/reduce_2_coalesced.wgsl",
    include_str!("../../../shaders/ladder/reduce_2_coalesced.wgsl"),
    &[],
    BINDINGS,
);
const TREE_SOURCE: Source =
    source("ladder/reduce_3_tree.wgsl", include_str!("../../../shaders/ladder/reduce_3_tree.wgsl"), &[SUM], BINDINGS);
const UNROLLED_SOURCE: Source = source(
    "ladder/reduce_4_unrolled.wgsl",
    include_str!("../../../shaders/ladder/reduce_4_unrolled.wgsl"),
    &[SUM],
    BINDINGS,
);
const SUBGROUP_SOURCE: Source = source(
    "ladder/reduce_5_subgroup.wgsl",
    include_str!("../../../shaders/ladder/reduce_5_subgroup.wgsl"),
    &[],
    BINDINGS,
);

const SINGLE: Single = Single {
    params: &["N", "span"],
    reads: &["x"],
    writes: &["parts"],
    formula: "parts[g] = sum of the g-th `span` words of x",
    reference,
    cost: |p| Cost { flops: p[0] as u64, bytes: 4 * p[0] as u64 },
};

/// x (N) to parts (ceil(N / span)), assigned: an invocation a run of neighbouring words.
pub static NAIVE: Kernel = SINGLE.kernel("reduce_1_naive.forward", shader(&NAIVE_SOURCE), cases);
/// As [`NAIVE`], neighbouring invocations taking neighbouring words.
pub static COALESCED: Kernel = SINGLE.kernel("reduce_2_coalesced.forward", shader(&COALESCED_SOURCE), cases);
/// As [`COALESCED`], the 64 shares of a workgroup summed by halves (Harris, Optimizing Parallel Reduction in CUDA,
/// 2007).
pub static TREE: Kernel = SINGLE.kernel("reduce_3_tree.forward", shader(&TREE_SOURCE), cases);
/// As [`TREE`], four words a turn, with a sum for each.
pub static UNROLLED: Kernel = SINGLE.kernel("reduce_4_unrolled.forward", shader(&UNROLLED_SOURCE), cases);
/// As [`UNROLLED`], summed by `subgroupAdd`: needs an adapter with subgroups.
pub static SUBGROUP: Kernel = SINGLE.kernel("reduce_5_subgroup.forward", shader(&SUBGROUP_SOURCE), cases);

const fn shader(source: &'static Source) -> Shader {
    Shader { source, entry: "forward", workgroup: [64, 1, 1], grid: |p, _| [params::<Params>(p).parts(), 1, 1] }
}

// ---- Record

/// A size is N. A rung returns the sum (1).
pub static LADDER: Ladder = Ladder {
    name: "reduce",
    formula: "y = sum of x, x (N)",
    dimensions: &["N"],
    sizes: [&[1 << 23], &[1 << 24], &[1 << 25]],
    inputs: |s| Ok(vec![vec![s[0]]]),
    range: [0.0, 1.0],
    cost: |s| Cost { flops: s[0] as u64, bytes: 4 * s[0] as u64 },
    bound_by_memory: true,
    tolerance: |_| Tolerance::Because(1e-5, "a sum of positive numbers, in thousands of short sums"),
    rungs: &[
        Rung {
            name: "reduce_1_naive",
            adds: "a run of words an invocation",
            refuses: takes_any,
            record: |r, s, t| sum(r, &NAIVE, s, t),
        },
        Rung {
            name: "reduce_2_coalesced",
            adds: "neighbours take neighbouring words",
            refuses: takes_any,
            record: |r, s, t| sum(r, &COALESCED, s, t),
        },
        Rung {
            name: "reduce_3_tree",
            adds: "shares added up by halves",
            refuses: takes_any,
            record: |r, s, t| sum(r, &TREE, s, t),
        },
        Rung {
            name: "reduce_4_unrolled",
            adds: "four loads under way",
            refuses: takes_any,
            record: |r, s, t| sum(r, &UNROLLED, s, t),
        },
        Rung {
            name: "reduce_5_subgroup",
            adds: "subgroups add up without barriers",
            refuses: takes_any,
            record: |r, s, t| sum(r, &SUBGROUP, s, t),
        },
    ],
    production: Rung {
        name: "reduce.rows",
        adds: "the tree, on the rows of a matrix",
        refuses: takes_any,
        record: |r, s, t| {
            let rows = (1..=WORKGROUPS).rev().find(|rows| s[0].is_multiple_of(*rows)).expect("1 divides everything");
            let sums = reduce::rows(r, t[0].reshape(&[rows, s[0] / rows]));
            reduce::whole(r, sums.reshape(&[1, rows]))
        },
    },
    software: "",
    advice: "What fits a cache is faster than the measured peak, which is of memory: --size 100000.",
};

fn sum(r: &mut Recorder, kernel: &'static Kernel, size: &[usize], inputs: &[Tensor]) -> Tensor {
    let span = size[0].div_ceil(WORKGROUPS).next_multiple_of(256);
    let p = Params { n: size[0] as u32, span: span as u32 };
    let parts = r.tensor("parts", &[p.parts() as usize]);
    r.dispatch(kernel, p, inputs, &[parts]);
    reduce::whole(r, parts.reshape(&[1, parts.len()]))
}

// ---- References

fn reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let pieces = reads[0][..p.n as usize].chunks(p.span as usize);
    for (part, piece) in writes[0].iter_mut().zip(pieces) {
        *part = piece.iter().map(|&v| v as f64).sum::<f64>() as f32;
    }
}

// ---- Cases

fn cases() -> Vec<Case> {
    let case = |[n, span]: [u32; 2]| {
        let p = Params { n, span };
        Case::new(format!("{n} by {span}"), p)
            .read(uniform(1, n as usize, -1.0, 1.0))
            .assign(p.parts() as usize, Tolerance::Dot(span as usize))
    };
    [[1, 64], [17, 1], [65, 64], [257, 100], [4099, 1024]].map(case).into()
}
