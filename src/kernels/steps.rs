//! The sequences of a batch as numbers, `shaders/steps.wgsl`: time-major (T*B,C), step t of row b at row t*B+b, with
//! zeros where a number is missing and behind each end, which numbers there are, and the rows' lengths. Examples are
//! picked as [`tokens`](super::tokens) picks sentences.

use bytemuck::{Pod, Zeroable};

use super::clock::Clock;
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// B rows of T steps of C numbers; `stride` is the size of a full batch, where batch k starts in the order, or of given
/// rows their length L. `scale` is what a step counts in a mask.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    t: u32,
    c: u32,
    stride: u32,
    scale: f32,
}

impl Params {
    fn new([rows, longest, channels]: [usize; 3], stride: usize) -> Params {
        let [b, t, c, stride] = [rows, longest, channels, stride].map(|n| n as u32);
        Params { b, t, c, stride, scale: 1.0 }
    }

    fn elements(self) -> usize {
        self.t as usize * self.b as usize * self.c as usize
    }
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "T", "C", "stride", "scale"];

const SOURCE: Source = Source {
    file: "steps.wgsl",
    text: include_str!("../../shaders/steps.wgsl"),
    common: &[super::INDEX],
    bindings: &[
        "starts", "counts", "numbers", "order", "clock", "rows", "x", "seen", "lengths", "ends", "counted", "a", "y",
    ],
    ..PLAIN_SOURCE
};

/// starts and counts (N), numbers (S,C), NaN where one is missing, order (N) as integers, and the clock, to x and seen
/// (T*B,C) and lengths (B), integers, all assigned; a longer row is cut at T. Recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "steps.forward",
    formula: "x[t*B+b] = step t of example order[batch*stride + b], 0 where missing and behind its end, seen 1 at a \
              number; lengths[b] its steps",
    params: FIELDS,
    reads: &["starts", "counts", "numbers", "order", "clock"],
    writes: &["x", "seen", "lengths"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(params::<Params>(p).elements(), 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let first = reads[4][3].to_bits() as usize * p.stride as usize;
        for b in 0..p.b as usize {
            let n = reads[3][first + b].to_bits() as usize;
            let [start, count] = [0, 1].map(|of| reads[of][n].to_bits() as usize);
            let c = p.c as usize;
            write_row(p, b, &reads[2][start * c..(start + count) * c], writes);
        }
    },
    cost: |p| Cost { flops: 0, bytes: 12 * params::<Params>(p).elements() as u64 },
    cases,
    gradients: GradientCheck::None("copies data, which nothing trains"),
    ..PLAIN
};

/// rows (B,L*C), NaN where a number is missing and behind the end, to x and seen (T*B,C) and lengths (B), integers, all
/// assigned; a row ends behind its last number, and a longer one is cut at T. Recorded by [`given`].
pub static GIVEN: Kernel = Kernel {
    name: "steps.given",
    formula: "x[t*B+b] = rows[b,t], 0 where missing, seen 1 at a number; lengths[b] its steps up to the last number",
    params: FIELDS,
    reads: &["rows"],
    writes: &["x", "seen", "lengths"],
    shader: Shader { source: &SOURCE, entry: "given", workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [c, width] = [p.c as usize, p.stride as usize * p.c as usize];
        for (b, row) in reads[0].chunks(width).take(p.b as usize).enumerate() {
            let end = row.iter().rposition(|x| !x.is_nan()).map_or(0, |at| at / c + 1);
            write_row(p, b, &row[..end * c], writes);
        }
    },
    cost: |p| Cost { flops: 0, bytes: 12 * params::<Params>(p).elements() as u64 },
    cases: given_cases,
    gradients: GradientCheck::None("copies data, which nothing trains"),
    ..PLAIN
};

/// ends (B), lengths as integers, to counted (T*B), assigned; recorded by [`mask`].
pub static MASK: Kernel = Kernel {
    name: "steps.mask",
    formula: "counted[t*B+b] = scale where t < ends[b], else 0",
    params: FIELDS,
    reads: &["ends"],
    writes: &["counted"],
    shader: Shader {
        source: &SOURCE,
        entry: "mask",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for (i, mask) in writes[0].iter_mut().take((p.t * p.b) as usize).enumerate() {
            let [t, b] = [i as u32 / p.b, i as u32 % p.b];
            *mask = if t < reads[0][b as usize].to_bits() { p.scale } else { 0.0 };
        }
    },
    cost: |p| Cost { flops: 0, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: mask_cases,
    gradients: GradientCheck::None("of lengths, which nothing trains"),
    ..PLAIN
};

/// a (T*B,C) to y (B,T*C), assigned; recorded by [`by_row`].
pub static BY_ROW: Kernel = Kernel {
    name: "steps.by_row",
    formula: "y[b, t*C + c] = a[t*B+b, c]",
    params: FIELDS,
    reads: &["a"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "by_row",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(params::<Params>(p).elements(), 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [rows, longest, channels] = [p.b, p.t, p.c].map(|n| n as usize);
        for (i, step) in reads[0].chunks(channels).take(longest * rows).enumerate() {
            let [t, b] = [i / rows, i % rows];
            writes[0][(b * longest + t) * channels..][..channels].copy_from_slice(step);
        }
    },
    cost: |p| Cost { flops: 0, bytes: 8 * params::<Params>(p).elements() as u64 },
    cases: by_row_cases,
    gradients: GradientCheck::None("of views, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// Where a data set's sequences are.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// (N): the first step of each example.
    pub starts: Tensor,
    /// (N): its steps.
    pub counts: Tensor,
    /// (S,C): the numbers of all steps, NaN where one is missing.
    pub numbers: Tensor,
}

/// The sequences of the batch's `rows` examples: x and seen (longest*rows,C), and lengths (rows), integers. `order` is
/// (N), and `stride` the size of a full batch. The host has checked that the steps of every example are there.
pub fn forward(
    r: &mut Recorder,
    Stored { starts, counts, numbers }: Stored,
    [order, clock]: [Tensor; 2],
    [rows, longest]: [usize; 2],
    stride: usize,
) -> [Tensor; 3] {
    let [_, channels] = numbers.matrix();
    assert!(longest > 0 && starts.len() == counts.len(), "steps.forward: {starts:?}, {counts:?}, {longest} steps");
    let outputs = outputs(r, [rows, longest, channels]);
    let params = Params::new([rows, longest, channels], stride);
    r.dispatch(&FORWARD, params, &[starts, counts, numbers, order, clock], &outputs);
    outputs
}

/// The same of rows (B,L*C) that somebody wrote, with NaN for what is missing and behind the end.
pub fn given(r: &mut Recorder, rows: Tensor, [channels, longest]: [usize; 2]) -> [Tensor; 3] {
    let [b, width] = rows.matrix();
    assert!(longest > 0 && width % channels == 0, "steps.given: {rows:?} in {longest} steps of {channels}");
    let outputs = outputs(r, [b, longest, channels]);
    r.dispatch(&GIVEN, Params::new([b, longest, channels], width / channels), &[rows], &outputs);
    outputs
}

/// What each step counts, (T*B): `scale` where its row has it, else 0. Lengths (B) are integers.
pub fn mask(r: &mut Recorder, lengths: Tensor, longest: usize, scale: f32) -> Tensor {
    let rows = lengths.len();
    let mask = r.tensor("mask", &[longest * rows]);
    r.dispatch(&MASK, Params { scale, ..Params::new([rows, longest, 1], 0) }, &[lengths], &[mask]);
    mask
}

/// The steps of each of B rows one after the other, (B,T*C), from a (T*B,C).
pub fn by_row(r: &mut Recorder, a: Tensor, b: usize) -> Tensor {
    let [rows, channels] = a.matrix();
    assert!(rows % b == 0, "steps.by_row: {a:?} of {b} rows");
    let y = r.tensor("y", &[b, rows / b * channels]);
    r.dispatch(&BY_ROW, Params::new([b, rows / b, channels], 0), &[a], &[y]);
    y
}

fn outputs(r: &mut Recorder, [rows, longest, channels]: [usize; 3]) -> [Tensor; 3] {
    let [x, seen] = ["x", "seen"].map(|name| r.tensor(name, &[longest * rows, channels]));
    [x, seen, r.tensor("lengths", &[rows])]
}

// ---- References

/// Row `b` of x, seen and lengths, from its numbers.
fn write_row(p: Params, b: usize, numbers: &[f32], writes: &mut [&mut [f32]]) {
    let [rows, longest, channels] = [p.b, p.t, p.c].map(|n| n as usize);
    let length = (numbers.len() / channels).min(longest);
    writes[2][b] = f32::from_bits(length as u32);
    for t in 0..longest {
        for c in 0..channels {
            let number = if t < length { numbers[t * channels + c] } else { f32::NAN };
            let at = (t * rows + b) * channels + c;
            (writes[0][at], writes[1][at]) = if number.is_nan() { (0.0, 0.0) } else { (number, 1.0) };
        }
    }
}

// ---- Cases

/// Numbers of which some are missing.
fn with_gaps(seed: u64, count: usize) -> Vec<f32> {
    let numbers = uniform(seed, count, -3.0, 3.0);
    numbers.into_iter().enumerate().map(|(i, x)| if i % 7 == 3 { f32::NAN } else { x }).collect()
}

/// The bits of numbers, since a NaN must come through as it is.
fn bits(numbers: Vec<f32>) -> Vec<u32> {
    bytemuck::allocation::cast_vec(numbers)
}

/// The second batch of an order of N examples, which have no step, one, or more than T, and overlap.
fn cases() -> Vec<Case> {
    let case = |[n, b, t, c, stride]: [usize; 5]| {
        let steps = 2 * t + 5;
        let count = |example: usize| (example * 13) % (t + 3);
        let start = |example: usize| (example * 5) % (steps - count(example));
        let order = (0..n).map(|k| ((k * 7 + 3) % n) as u32).collect();
        Case::new(format!("{b}x{t}x{c} of {n}"), Params::new([b, t, c], stride))
            .read_words((0..n).map(|example| start(example) as u32).collect())
            .read_words((0..n).map(|example| count(example) as u32).collect())
            .read_words(bits(with_gaps(1, steps * c)))
            .read_words(order)
            .read_words(Clock::example().words())
            .assign(t * b * c, Tolerance::Exact)
            .assign(t * b * c, Tolerance::Exact)
            .assign(b, Tolerance::Exact)
    };
    [[5, 1, 1, 1, 2], [41, 17, 9, 3, 17], [33, 5, 65, 7, 20], [257, 20, 60, 88, 20]].map(case).into()
}

/// B rows of length L, some of them empty, cut at T where that is less.
fn given_cases() -> Vec<Case> {
    let case = |[b, t, c, l]: [usize; 4]| {
        let mut rows = with_gaps(2, b * l * c);
        for (row, numbers) in rows.chunks_mut(l * c).enumerate() {
            numbers[(row * 5) % (l + 2) * c % (l * c)..].fill(f32::NAN);
        }
        Case::new(format!("{b}x{t}x{c} of rows of {l}"), Params::new([b, t, c], l))
            .read_words(bits(rows))
            .assign(t * b * c, Tolerance::Exact)
            .assign(t * b * c, Tolerance::Exact)
            .assign(b, Tolerance::Exact)
    };
    [[1, 1, 1, 1], [5, 3, 2, 7], [65, 17, 3, 17], [130, 9, 5, 4]].map(case).into()
}

fn mask_cases() -> Vec<Case> {
    let case = |[b, t]: [usize; 2]| {
        let lengths = (0..b).map(|row| (row * 5 % (t + 2)) as u32).collect();
        let params = Params { scale: 0.3, ..Params::new([b, t, 1], 0) };
        Case::new(format!("{b}x{t}"), params).read_words(lengths).assign(t * b, Tolerance::Exact)
    };
    [[1, 1], [17, 9], [65, 33], [130, 61]].map(case).into()
}

fn by_row_cases() -> Vec<Case> {
    let case = |[b, t, c]: [usize; 3]| {
        let case = Case::new(format!("{b}x{t}x{c}"), Params::new([b, t, c], 0));
        case.read(uniform(3, t * b * c, -1.0, 1.0)).assign(t * b * c, Tolerance::Exact)
    };
    [[1, 1, 1], [17, 9, 3], [3, 65, 7]].map(case).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kernel: &Kernel, p: Params, reads: &[Vec<u32>]) -> [Vec<f32>; 3] {
        let reads: Vec<Vec<f32>> = reads.iter().map(|words| bytemuck::pod_collect_to_vec(words)).collect();
        let reads: Vec<&[f32]> = reads.iter().map(Vec::as_slice).collect();
        let mut writes = [p.elements(), p.elements(), p.b as usize].map(|n| vec![9.0; n]);
        let mut slices: Vec<&mut [f32]> = writes.iter_mut().map(Vec::as_mut_slice).collect();
        (kernel.reference)(&bytemuck::pod_collect_to_vec(&[p]), &reads, &mut slices);
        writes
    }

    #[test]
    fn numbers_lie_time_by_time_with_zeros_for_what_is_missing() {
        let clock = Clock { seed: 0, step: 0, batch: 0, epoch: 0, rows: vec![Default::default()] };
        let nan = f32::NAN;
        // Two windows of a series of four steps that overlap, and one of a single step.
        let numbers = bits(vec![1.0, 2.0, 3.0, nan, 5.0, 6.0, 7.0, 8.0]);
        let reads = [vec![0, 1, 3], vec![3, 2, 1], numbers, vec![1, 2, 0], clock.words()];
        let [x, seen, lengths] = run(&FORWARD, Params::new([3, 2, 2], 3), &reads);
        assert_eq!(x, [3.0, 0.0, 7.0, 8.0, 1.0, 2.0, 5.0, 6.0, 0.0, 0.0, 3.0, 0.0]);
        assert_eq!(seen, [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(lengths.iter().map(|n| n.to_bits()).collect::<Vec<_>>(), [2, 1, 2]);
        let rows = bits(vec![3.0, nan, 5.0, 6.0, 7.0, 8.0, nan, nan, 1.0, 2.0, 3.0, nan]);
        let given = run(&GIVEN, Params::new([3, 2, 2], 2), &[rows]);
        assert_eq!(given, [x, seen, lengths]);
    }
}
