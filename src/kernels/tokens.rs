//! The sentences of a batch as ids, `shaders/tokens.wgsl`: time-major (T*B), token t of row b at t*B+b, with the pad
//! symbol behind each end, and the rows' lengths. Examples are picked as [`gather`](super::gather) picks pictures.

use bytemuck::{Pod, Zeroable};

use super::clock::Clock;
use crate::cases::{Case, Tolerance};
use crate::data::text::vocabulary::PAD;
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// B rows of T ids; `stride` is the size of a full batch, where batch k starts in the order, or of given rows their
/// length L.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    t: u32,
    stride: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "tokens.wgsl",
    text: include_str!("../../shaders/tokens.wgsl"),
    common: &[super::INDEX],
    bindings: &["starts", "entries", "order", "clock", "x", "ids", "lengths"],
    ..PLAIN_SOURCE
};

/// starts (N+1), entries (E) and order (N) as integers, and the clock, to ids (T*B) and lengths (B), assigned, as
/// integers; a longer row is cut at T. Recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "tokens.forward",
    formula: "ids[t*B+b] = token t of example order[batch*stride + b], 0 behind its end; lengths[b] its tokens",
    params: &["B", "T", "stride"],
    reads: &["starts", "entries", "order", "clock"],
    writes: &["ids", "lengths"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let first = reads[3][3].to_bits() as usize * p.stride as usize;
        for b in 0..p.b as usize {
            let n = reads[2][first + b].to_bits() as usize;
            let [start, end] = [n, n + 1].map(|n| reads[0][n].to_bits() as usize);
            write_row(p, b, &reads[1][start..end], writes);
        }
    },
    cost: |p| Cost { flops: 0, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases,
    gradients: GradientCheck::None("copies ids, which nothing trains"),
    ..PLAIN
};

/// x (B,L), ids as integers with 0 behind the end, to ids (T*B) and lengths (B), assigned, as integers; a row ends
/// before its first 0, and a longer one is cut at T. Recorded by [`given`].
pub static GIVEN: Kernel = Kernel {
    name: "tokens.given",
    formula: "ids[t*B+b] = x[b,t], 0 from the row's first 0 on; lengths[b] its tokens before that",
    params: &["B", "T", "stride"],
    reads: &["x"],
    writes: &["ids", "lengths"],
    shader: Shader { source: &SOURCE, entry: "given", workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for (b, row) in reads[0].chunks(p.stride as usize).take(p.b as usize).enumerate() {
            let end = row.iter().position(|id| id.to_bits() == PAD).unwrap_or(row.len());
            write_row(p, b, &row[..end], writes);
        }
    },
    cost: |p| Cost { flops: 0, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: given_cases,
    gradients: GradientCheck::None("copies ids, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// The sentences of the batch's `rows` examples: ids (longest*rows) and lengths (rows), integers. Example n has the
/// entries `starts[n]` to `starts[n+1]`, where `starts` is (N+1) and `entries` (E), integers that the host has checked;
/// `order` is (N), and `stride` the size of a full batch.
pub fn forward(
    r: &mut Recorder,
    [starts, entries]: [Tensor; 2],
    [order, clock]: [Tensor; 2],
    [rows, longest]: [usize; 2],
    stride: usize,
) -> [Tensor; 2] {
    assert!(longest > 0, "tokens.forward: {starts:?} in rows of no length");
    let outputs = outputs(r, [rows, longest]);
    let params = Params { b: rows as u32, t: longest as u32, stride: stride as u32 };
    r.dispatch(&FORWARD, params, &[starts, entries, order, clock], &outputs);
    outputs
}

/// The same of rows x (B,L) that somebody wrote: the bits of ids, with the pad symbol behind the end. Whoever writes
/// them has checked that each id is below V.
pub fn given(r: &mut Recorder, x: Tensor, longest: usize) -> [Tensor; 2] {
    let [rows, width] = x.matrix();
    assert!(longest > 0, "tokens.given: {x:?} in rows of no length");
    let outputs = outputs(r, [rows, longest]);
    let params = Params { b: rows as u32, t: longest as u32, stride: width as u32 };
    r.dispatch(&GIVEN, params, &[x], &outputs);
    outputs
}

fn outputs(r: &mut Recorder, [rows, longest]: [usize; 2]) -> [Tensor; 2] {
    [r.tensor("ids", &[longest * rows]), r.tensor("lengths", &[rows])]
}

// ---- References

/// Row `b` of ids and of lengths.
fn write_row(p: Params, b: usize, row: &[f32], writes: &mut [&mut [f32]]) {
    let [rows, longest] = [p.b, p.t].map(|n| n as usize);
    let length = row.len().min(longest);
    writes[1][b] = f32::from_bits(length as u32);
    for t in 0..longest {
        writes[0][t * rows + b] = if t < length { row[t] } else { f32::from_bits(PAD) };
    }
}

// ---- Cases

/// Token `t` of example `n`.
fn token(n: usize, t: usize) -> u32 {
    (1 + (n * 31 + t * 7) % 1000) as u32
}

/// The second batch of an order of N examples, which have no token, one, or more than T; the last ends with all.
fn cases() -> Vec<Case> {
    let case = |[n, b, t, stride]: [usize; 4]| {
        let mut starts = vec![0];
        let mut entries = Vec::new();
        for example in 0..n {
            entries.extend((0..(example * 13) % (t + 3)).map(|t| token(example, t)));
            starts.push(entries.len() as u32);
        }
        let order = (0..n).map(|k| ((k * 7 + 3) % n) as u32).collect();
        let params = Params { b: b as u32, t: t as u32, stride: stride as u32 };
        Case::new(format!("{b}x{t} of {n}"), params)
            .read_words(starts)
            .read_words(entries)
            .read_words(order)
            .read_words(Clock::example().words())
            .assign(b * t, Tolerance::Exact)
            .assign(b, Tolerance::Exact)
    };
    [[5, 1, 1, 2], [41, 17, 9, 17], [33, 5, 65, 20], [257, 128, 17, 128], [70, 33, 101, 33]].map(case).into()
}

/// B rows of length L, some of them empty, some without an end, cut at T where that is less.
fn given_cases() -> Vec<Case> {
    let case = |[b, t, l]: [usize; 3]| {
        let id = |row: usize, at: usize| if at < (row * 5) % (l + 2) { token(row, at) } else { PAD };
        let x = (0..b).flat_map(|row| (0..l).map(move |at| id(row, at))).collect();
        let params = Params { b: b as u32, t: t as u32, stride: l as u32 };
        Case::new(format!("{b}x{t} of rows of {l}"), params)
            .read_words(x)
            .assign(b * t, Tolerance::Exact)
            .assign(b, Tolerance::Exact)
    };
    [[1, 1, 1], [5, 3, 7], [65, 17, 17], [130, 9, 4]].map(case).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kernel: &Kernel, params: Params, reads: &[Vec<u32>]) -> [Vec<u32>; 2] {
        let reads: Vec<Vec<f32>> = reads.iter().map(|words| bytemuck::pod_collect_to_vec(words)).collect();
        let reads: Vec<&[f32]> = reads.iter().map(Vec::as_slice).collect();
        let (mut ids, mut lengths) = (vec![1.0; (params.b * params.t) as usize], vec![1.0; params.b as usize]);
        (kernel.reference)(&bytemuck::pod_collect_to_vec(&[params]), &reads, &mut [&mut ids, &mut lengths]);
        [ids, lengths].map(bytemuck::allocation::cast_vec)
    }

    #[test]
    fn ids_lie_time_by_time_and_are_padded_and_cut() {
        let clock = Clock { seed: 0, step: 0, batch: 0, epoch: 0, rows: vec![Default::default()] };
        let reads = [vec![0, 2, 5, 6], vec![7, 3, 8, 9, 3, 3], vec![1, 2, 0], clock.words()];
        let params = |b, t| Params { b, t, stride: 3 };
        let of = |b, t| run(&FORWARD, params(b, t), &reads);
        assert_eq!(of(3, 3), [vec![8, 3, 7, 9, 0, 3, 3, 0, 0], vec![3, 1, 2]]);
        assert_eq!(of(2, 2), [vec![8, 3, 9, 0], vec![2, 1]]);
        let x = vec![8, 9, 3, 3, 0, 0, 7, 3, 0];
        let x = [x];
        assert_eq!(run(&GIVEN, params(3, 3), &x), of(3, 3));
        assert_eq!(run(&GIVEN, params(3, 2), &x)[1], [2, 1, 2]);
    }
}
