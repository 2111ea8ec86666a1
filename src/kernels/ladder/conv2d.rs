//! The ladder of the convolution, `shaders/ladder/conv2d_*.wgsl`: square pictures and windows, channels last, without
//! dilation, groups and bias, which the production kernel `conv2d.forward` has beside.

use bytemuck::{Pod, Zeroable};

use super::{Ladder, Rung, Single, source, takes_any};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Constant, Cost, Grid, Kernel, Shader, Source, Text, grid_1d, params};
use crate::kernels::INDEX;
use crate::kernels::activation::Activation;
use crate::kernels::conv2d::{self, Geometry};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// x (B,H,W,I), w (O,KH,KW,I), y (B,P,Q,O).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
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
    stride: u32,
    padding: u32,
}

impl Params {
    /// Words of x, w and y.
    fn words(self) -> [usize; 3] {
        let n = |lengths: &[u32]| lengths.iter().map(|&l| l as usize).product();
        let Params { b, h, w, i, p, q, o, kh, kw, .. } = self;
        [n(&[b, h, w, i]), n(&[o, kh, kw, i]), n(&[b, p, q, o])]
    }

    /// Products a sum has.
    fn terms(self) -> usize {
        (self.kh * self.kw * self.i) as usize
    }
}

// ---- Kernels

const BINDINGS: &[&str] = &["x", "w", "y"];
const PLACES: Text =
    Text { file: "ladder/conv2d_places.wgsl", text: include_str!("../../../shaders/ladder/conv2d_places.wgsl") };

const NAIVE_SOURCE: Source = source(
    "ladder/conv2d_1_naive.wgsl",
    include_str!("../../../shaders/ladder/conv2d_1_naive.wgsl"),
    &[INDEX],
    BINDINGS,
);
const REGISTERS_SOURCE: Source = source(
    "ladder/conv2d_2_registers.wgsl",
    include_str!("../../../shaders/ladder/conv2d_2_registers.wgsl"),
    &[PLACES, INDEX],
    BINDINGS,
);
const VEC4_SOURCE: Source = source(
    "ladder/conv2d_3_vec4.wgsl",
    include_str!("../../../shaders/ladder/conv2d_3_vec4.wgsl"),
    &[PLACES, INDEX],
    BINDINGS,
);
const IMPLICIT_SOURCE: Source = source(
    "ladder/conv2d_4_implicit.wgsl",
    include_str!("../../../shaders/ladder/conv2d_4_implicit.wgsl"),
    &[PLACES],
    BINDINGS,
);

const SINGLE: Single = Single {
    params: &["B", "H", "W", "I", "P", "Q", "O", "KH", "KW", "stride", "padding"],
    reads: &["x", "w"],
    writes: &["y"],
    formula: "y[n,o] = sum over taps and i of x[n under tap, i] w[o,tap,i]",
    reference,
    cost: |p| cost(params(p)),
};

/// x (B,H,W,I), w (O,KH,KW,I) to y (B,P,Q,O), assigned: an invocation an element of y.
pub static NAIVE: Kernel = SINGLE.kernel(
    "conv2d_1_naive.forward",
    linear(&NAIVE_SOURCE, |p, _| grid_1d(params::<Params>(p).words()[2], 64)),
    cases,
);
/// As [`NAIVE`]: an invocation four places by four channels of y.
pub static REGISTERS: Kernel =
    SINGLE.kernel("conv2d_2_registers.forward", linear(&REGISTERS_SOURCE, grid_of_fours), cases);
/// As [`REGISTERS`], with loads of four channels: I must be a multiple of 4.
pub static VEC4: Kernel = SINGLE.kernel("conv2d_3_vec4.forward", linear(&VEC4_SOURCE, grid_of_fours), cases_of_fours);
/// As [`NAIVE`]: a workgroup 64 places by 64 channels of y. I must be a multiple of 4. Implicit GEMM: Chetlur et al.
/// 2014 (arXiv 1410.0759).
pub static IMPLICIT: Kernel = SINGLE.kernel(
    "conv2d_4_implicit.forward",
    Shader {
        source: &IMPLICIT_SOURCE,
        entry: "forward",
        workgroup: [16, 16, 1],
        grid: |p, _| {
            let p: Params = params(p);
            [p.o.div_ceil(64), (p.b * p.p * p.q).div_ceil(64), 1]
        },
    },
    cases_of_fours,
);

const fn linear(source: &'static Source, grid: Grid) -> Shader {
    Shader { source, entry: "forward", workgroup: [64, 1, 1], grid }
}

/// An invocation four places by four channels.
fn grid_of_fours(p: &[u32], _: &[Constant]) -> [u32; 3] {
    let p: Params = params(p);
    grid_1d((p.b * p.p * p.q).div_ceil(4) as usize * p.o.div_ceil(4) as usize, 64)
}

/// As the production kernel's: taps outside the picture count too.
fn cost(p: Params) -> Cost {
    let [x, w, y] = p.words().map(|words| words as u64);
    Cost { flops: 2 * y * p.terms() as u64, bytes: 4 * (x + w + y) }
}

// ---- Record

/// The numbers of a size.
fn geometry(size: &[usize]) -> ([usize; 4], Geometry) {
    let &[b, h, i, o, k, stride, padding] = size else { panic!("conv2d ladder: size {size:?}") };
    ([b, h, i, o], Geometry { padding: [padding, padding], ..Geometry::square(k, stride) })
}

fn sized(size: &[usize]) -> Option<Params> {
    let ([b, h, i, o], geometry) = geometry(size);
    let [p, q] = geometry.small_size([h, h])?;
    let [k, _] = geometry.kernel;
    let [b, h, i, p, q, o, k] = [b, h, i, p, q, o, k].map(|n| n as u32);
    let [stride, padding] = [geometry.stride[0], geometry.padding[0]].map(|n| n as u32);
    Some(Params { b, h, w: h, i, p, q, o, kh: k, kw: k, stride, padding })
}

/// A size is B,H,I,O,K,stride,padding, square pictures and windows. A rung returns y (B,P,P,O).
pub static LADDER: Ladder = Ladder {
    name: "conv2d",
    formula: "y = x * w, x (B,H,H,I), w (O,K,K,I)",
    dimensions: &["B", "H", "I", "O", "K", "stride", "padding"],
    sizes: [&[32, 14, 32, 32, 3, 1, 1], &[32, 28, 64, 64, 3, 1, 1], &[128, 28, 64, 64, 3, 1, 1]],
    inputs: |s| {
        let ([b, h, i, o], g) = geometry(s);
        let [p, q] = g.small_size([h, h]).ok_or("the window does not fit the picture")?;
        if b as u128 * p as u128 * q as u128 > 1 << 22 {
            return Err("more than 2^22 places".into());
        }
        Ok(vec![vec![b, h, h, i], vec![o, g.kernel[0], g.kernel[1], i]])
    },
    range: [-1.0, 1.0],
    cost: |s| cost(sized(s).expect("a size that was checked")),
    bound_by_memory: false,
    tolerance: |s| Tolerance::Dot(s[2] * s[4] * s[4]),
    rungs: &[
        Rung {
            name: "conv2d_1_naive",
            adds: "an invocation an element",
            refuses: takes_any,
            record: |r, s, t| convolution(r, &NAIVE, s, t),
        },
        Rung {
            name: "conv2d_2_registers",
            adds: "4 places by 4 channels in registers",
            refuses: takes_any,
            record: |r, s, t| convolution(r, &REGISTERS, s, t),
        },
        Rung {
            name: "conv2d_3_vec4",
            adds: "loads of 16 bytes, along channels",
            refuses: needs_fours,
            record: |r, s, t| convolution(r, &VEC4, s, t),
        },
        Rung {
            name: "conv2d_4_implicit",
            adds: "implicit GEMM: tiles in workgroup memory",
            refuses: needs_fours,
            record: |r, s, t| convolution(r, &IMPLICIT, s, t),
        },
    ],
    production: Rung {
        name: "conv2d.forward",
        adds: "any window and channels, epilogues",
        refuses: takes_any,
        record: |r, s, t| conv2d::forward(r, t[0], t[1], None, geometry(s).1, Activation::Identity),
    },
    software: "a place in 16 pictures, tiles in registers",
    advice: "With 1 or 3 input channels, as of grey and colour pictures, rungs of 16 bytes cannot run: --size 128,28,1,32,4,2,1.",
};

fn needs_fours(size: &[usize]) -> Option<&'static str> {
    (!size[2].is_multiple_of(4)).then_some("I must be a multiple of 4")
}

fn convolution(r: &mut Recorder, kernel: &'static Kernel, size: &[usize], inputs: &[Tensor]) -> Tensor {
    let p = sized(size).expect("a size that was checked");
    let y = r.tensor("y", &[p.b, p.p, p.q, p.o].map(|n| n as usize));
    r.dispatch(kernel, p, inputs, &[y]);
    y
}

// ---- References

fn reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s: Params = params(p);
    let [x, w] = [reads[0], reads[1]];
    let mut at = 0;
    for b in 0..s.b {
        for p in 0..s.p {
            for q in 0..s.q {
                for o in 0..s.o {
                    let mut sum = 0f64;
                    for u in 0..s.kh {
                        for v in 0..s.kw {
                            let place = |at: u32, tap: u32| (at * s.stride + tap).checked_sub(s.padding);
                            let (Some(h), Some(c)) = (place(p, u), place(q, v)) else { continue };
                            if h >= s.h || c >= s.w {
                                continue;
                            }
                            for i in 0..s.i {
                                let x_at = ((b * s.h + h) * s.w + c) * s.i + i;
                                let w_at = ((o * s.kh + u) * s.kw + v) * s.i + i;
                                sum += x[x_at as usize] as f64 * w[w_at as usize] as f64;
                            }
                        }
                    }
                    writes[0][at] = sum as f32;
                    at += 1;
                }
            }
        }
    }
}

// ---- Cases

/// Each with something of its own: a single place; a window that is not square and a border that the last stride does
/// not reach; more than a tile of channels; more than a tile of places; a window that is nearly all padding.
const SHAPES: [[u32; 9]; 6] = [
    // b, h, w, i, o, kh, kw, stride, padding
    [1, 1, 1, 1, 1, 1, 1, 1, 0],
    [3, 8, 7, 3, 5, 3, 2, 2, 1],
    [17, 5, 3, 1, 65, 2, 3, 1, 0],
    [2, 5, 4, 20, 67, 3, 3, 1, 1],
    [5, 9, 9, 4, 3, 4, 4, 2, 1],
    [1, 2, 2, 8, 17, 5, 5, 1, 2],
];

fn cases_where(wanted: fn(Params) -> bool) -> Vec<Case> {
    let shape = |[b, h, w, i, o, kh, kw, stride, padding]: [u32; 9]| {
        let small = |large: u32, k: u32| (large + 2 * padding - k) / stride + 1;
        Params { b, h, w, i, p: small(h, kh), q: small(w, kw), o, kh, kw, stride, padding }
    };
    let case = |p: Params| {
        let [x, w, y] = p.words();
        let label = format!("{}x{}x{}x{} to {}x{}x{}", p.b, p.h, p.w, p.i, p.p, p.q, p.o);
        Case::new(label, p)
            .read(uniform(1, x, -1.0, 1.0))
            .read(uniform(2, w, -1.0, 1.0))
            .assign(y, Tolerance::Dot(p.terms()))
    };
    SHAPES.into_iter().map(shape).filter(|p| wanted(*p)).map(case).collect()
}

fn cases() -> Vec<Case> {
    cases_where(|_| true)
}

/// Those that the rungs with 16-byte loads can take.
fn cases_of_fours() -> Vec<Case> {
    cases_where(|p| p.i.is_multiple_of(4))
}
