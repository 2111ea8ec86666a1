//! Picks a batch from the resident data set, `shaders/gather.wgsl`, which lies in one buffer or, where it is larger
//! than the device binds at once, in several: pictures, a byte a pixel, or vectors, a word a number. Data has no
//! gradient.

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};

use super::clock::Clock;
use super::threads::chunks;
use crate::arena::Arena;
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// `stride` is the size of a full batch: where batch k starts in the order. `first` and `count` are the pictures of the
/// part.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    stride: u32,
    first: u32,
    count: u32,
}

const SOURCE: Source = Source {
    file: "gather.wgsl",
    text: include_str!("../../shaders/gather.wgsl"),
    common: &[super::INDEX],
    bindings: &["data", "order", "clock", "x"],
    ..PLAIN_SOURCE
};

/// data (words of four pixels), order (N) as integers, and the clock; rows of x (B,D) whose picture lies in this part
/// are assigned, in `[0,1]`, and the others stay. Recorded by [`forward`], once a part.
pub static FORWARD: Kernel = Kernel {
    name: "gather.forward",
    formula: "x[r,d] = data[order[batch*stride + r] - first, d] / 255, where that picture is one of count",
    params: &["B", "D", "stride", "first", "count"],
    reads: &["data", "order", "clock"],
    writes: &["x"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let Params { first, count, .. } = params(p);
        let [b, d, stride] = params::<Params>(p).sizes();
        let (data, order, clock): (&[u8], &[f32], &[f32]) = (bytemuck::cast_slice(reads[0]), reads[1], reads[2]);
        let batch = clock[3].to_bits() as usize;
        for r in 0..b {
            let n = order[batch * stride + r].to_bits();
            if n < first || n >= first + count {
                continue;
            }
            let n = (n - first) as usize;
            for c in 0..d {
                writes[0][r * d + c] = data[n * d + c] as f32 / 255.0;
            }
        }
    },
    accelerated: Some(forward_accelerated),
    cost: |p| Cost { flops: p[0] as u64 * p[1] as u64, bytes: 5 * p[0] as u64 * p[1] as u64 },
    cases,
    gradients: GradientCheck::None("copies pictures, which nothing trains"),
    ..PLAIN
};

/// data (words of a number), order (N) as integers, and the clock; rows of x (B,D) whose vector lies in this part are
/// assigned and the others stay. Recorded by [`vectors`], once a part.
pub static VECTORS: Kernel = Kernel {
    name: "gather.vectors",
    formula: "x[r,d] = data[order[batch*stride + r] - first, d], where that vector is one of count",
    params: FORWARD.params,
    reads: FORWARD.reads,
    writes: FORWARD.writes,
    shader: Shader {
        source: &SOURCE,
        entry: "vectors",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let Params { first, count, .. } = params(p);
        let [b, d, stride] = params::<Params>(p).sizes();
        let (data, order, clock) = (reads[0], reads[1], reads[2]);
        let batch = clock[3].to_bits() as usize;
        for r in 0..b {
            let n = order[batch * stride + r].to_bits();
            if n < first || n >= first + count {
                continue;
            }
            let n = (n - first) as usize;
            for c in 0..d {
                writes[0][r * d + c] = data[n * d + c];
            }
        }
    },
    cost: |p| Cost { flops: 0, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: vector_cases,
    gradients: GradientCheck::None("copies vectors, which nothing trains"),
    ..PLAIN
};

impl Params {
    fn sizes(self) -> [usize; 3] {
        [self.b as usize, self.d as usize, self.stride as usize]
    }
}

/// Pictures as the device holds them: four bytes a word, the last word padded with zeros.
pub fn pack(pixels: &[u8]) -> Cow<'_, [u32]> {
    // Mostly they lie in memory like this already, and a data set is worth not copying.
    if let Ok(words) = bytemuck::try_cast_slice(pixels) {
        return words.into();
    }
    let mut words = vec![0; pixels.len().div_ceil(4)];
    bytemuck::cast_slice_mut(&mut words)[..pixels.len()].copy_from_slice(pixels);
    words.into()
}

/// Pictures or vectors of a data set that follow each other, in a buffer of their own.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Packed bytes, or numbers.
    pub data: Tensor,
    /// The data set's number of its first example.
    pub first: usize,
    /// How many examples it has.
    pub count: usize,
}

/// The most bytes of a part: the shader counts them in 32 bits.
const LARGEST_PART: usize = 1 << 31;

/// Room for `count` pictures or vectors of `d` bytes, in parts of at most `largest` bytes and at least one of them.
pub fn parts(arena: &mut Arena, name: &str, [count, d]: [usize; 2], largest: usize) -> Vec<Part> {
    // A buffer is whole words.
    let pictures = (largest.min(LARGEST_PART) / 4 * 4 / d).max(1);
    let part = |first: usize| {
        let count = pictures.min(count - first);
        Part { data: arena.tensor(format!("{name}.data"), &[(count * d).div_ceil(4)]), first, count }
    };
    (0..count).step_by(pictures).map(part).collect()
}

/// The next `rows` pictures of `d` pixels in `[0,1]`: (rows, d). `order` is (N), N the pictures of all parts; `stride`
/// is the size of a full batch.
pub fn forward(
    r: &mut Recorder,
    parts: &[Part],
    [order, clock]: [Tensor; 2],
    [rows, d]: [usize; 2],
    stride: usize,
) -> Tensor {
    for &Part { data, count, .. } in parts {
        let bytes = data.len() * 4;
        assert!(bytes / d >= count, "gather.forward: data of {bytes} bytes has no {count} pictures of {d}");
    }
    rows_of_parts(r, &FORWARD, parts, [order, clock], [rows, d], stride)
}

/// The next `rows` vectors of `d` numbers: (rows, d). `order` is (N), N the vectors of all parts; `stride` is the size
/// of a full batch.
pub fn vectors(
    r: &mut Recorder,
    parts: &[Part],
    [order, clock]: [Tensor; 2],
    [rows, d]: [usize; 2],
    stride: usize,
) -> Tensor {
    for &Part { data, count, .. } in parts {
        assert!(data.len() == count * d, "gather.vectors: {} numbers are not {count} vectors of {d}", data.len());
    }
    rows_of_parts(r, &VECTORS, parts, [order, clock], [rows, d], stride)
}

/// x (rows, d), of which each part's dispatch writes the rows that lie in it. Panics on parts that leave a gap.
fn rows_of_parts(
    r: &mut Recorder,
    kernel: &'static Kernel,
    parts: &[Part],
    [order, clock]: [Tensor; 2],
    [rows, d]: [usize; 2],
    stride: usize,
) -> Tensor {
    let x = r.tensor("x", &[rows, d]);
    let (name, mut next) = (kernel.name, 0);
    for &Part { data, first, count } in parts {
        assert!(first == next, "{name}: a part starts at row {first}, the one before ends at {next}");
        next += count;
        let [b, d, stride, first, count] = [rows, d, stride, first, count].map(|n| n as u32);
        r.dispatch(kernel, Params { b, d, stride, first, count }, &[data, order, clock], &[x]);
    }
    assert!(next == order.len(), "{name}: {next} rows, but an order of {}", order.len());
    x
}

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let Params { first, count, .. } = params(p);
    let [b, d, stride] = params::<Params>(p).sizes();
    let data: &[u8] = bytemuck::cast_slice(reads[0]);
    let batch = reads[2][3].to_bits() as usize;
    let order = &reads[1][batch * stride..][..b];
    chunks([(&mut writes[0][..b * d], d)], 32, |r, [x]| {
        let n = order[r].to_bits().wrapping_sub(first);
        if n >= count {
            return;
        }
        let picture = &data[n as usize * d..][..d];
        super::math::vectorised(|| x.iter_mut().zip(picture).for_each(|(x, &byte)| *x = byte as f32 / 255.0));
    });
}

const TOLERANCE: Tolerance = Tolerance::Because(1.2e-7, "a division of 8-bit integers may be off by an ulp");

/// Sizes of a case: N, B, D and the stride.
const SIZES: [[usize; 4]; 5] = [[5, 1, 1, 2], [41, 17, 65, 17], [33, 5, 784, 20], [257, 128, 3, 128], [70, 33, 16, 33]];
/// Parts of a case's data set: which case, the first example, how many.
const PARTS: [(usize, usize, usize); 5] = [(1, 0, 20), (1, 20, 11), (1, 31, 10), (3, 101, 100), (4, 30, 25)];

/// The second batch of an order of N pictures, odd picture sizes included: from one part that holds all, and from parts
/// at the start, in the middle and at the end, which leave the rows of other pictures as they were.
fn cases() -> Vec<Case> {
    let case = |[n, b, d, stride]: [usize; 4], first: usize, count: usize| {
        let pixels: Vec<u8> = (first * d..(first + count) * d).map(|i| (i * 37 + i / 11) as u8).collect();
        let order = (0..n).map(|i| ((i * 7 + 3) % n) as u32).collect();
        let label = format!("{b}x{d} of {first}..{} of {n}", first + count);
        let [b, d, stride, first, count] = [b, d, stride, first, count].map(|n| n as u32);
        Case::new(label, Params { b, d, stride, first, count })
            .read_words(pack(&pixels).into_owned())
            .read_words(order)
            .read_words(Clock::example().words())
    };
    all_cases(case, TOLERANCE)
}

/// The same of vectors.
fn vector_cases() -> Vec<Case> {
    let case = |[n, b, d, stride]: [usize; 4], first: usize, count: usize| {
        let order = (0..n).map(|i| ((i * 7 + 3) % n) as u32).collect();
        let label = format!("{b}x{d} of {first}..{} of {n}", first + count);
        let [b, d, stride, first, count] = [b, d, stride, first, count].map(|n| n as u32);
        Case::new(label, Params { b, d, stride, first, count })
            .read(uniform(2, (count * d) as usize, -3.0, 3.0))
            .read_words(order)
            .read_words(Clock::example().words())
    };
    all_cases(case, Tolerance::Exact)
}

/// A case of each size from one part that holds all, and from parts that leave some rows as they were.
fn all_cases(case: impl Fn([usize; 4], usize, usize) -> Case, tolerance: Tolerance) -> Vec<Case> {
    let whole = SIZES.map(|s| case(s, 0, s[0]).assign(s[1] * s[2], tolerance));
    let part = |s: [usize; 4], first, count| case(s, first, count).update(uniform(1, s[1] * s[2], 2.0, 3.0), tolerance);
    let parts = PARTS.map(|(n, first, count)| part(SIZES[n], first, count));
    whole.into_iter().chain(parts).collect()
}
