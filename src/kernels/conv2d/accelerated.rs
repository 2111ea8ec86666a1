//! Convolution on the CPU device: a thread takes some pictures, writes the windows of the large picture down as the rows
//! of a matrix (im2col), and leaves the product to a GEMM library.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::{Activation, Params, Sizes};
use crate::kernel::params;
use crate::kernels::columns;
use crate::kernels::math::vectorised;

/// Elements of the matrix of windows that a thread makes at a time: it stays in the cache until it is multiplied.
const WINDOWS: usize = 1 << 17;

/// Elements that lie side by side both in the windows and in the picture.
struct Run {
    length: usize,
    /// Its start in the picture, in the first group of channels; none where the window reaches beyond.
    picture: Option<usize>,
}

impl Sizes {
    /// Elements of one large picture, of one small picture.
    fn pictures(&self) -> [usize; 2] {
        [self.large[0] * self.large[1] * self.i, self.small[0] * self.small[1] * self.o]
    }

    fn places(&self) -> usize {
        self.small[0] * self.small[1]
    }

    /// Pictures a thread takes at a time, where a place has windows of `width` elements.
    fn share(&self, width: usize) -> usize {
        (WINDOWS / (self.places() * width)).clamp(1, self.b.div_ceil(rayon::current_num_threads()))
    }

    /// The runs of one picture's windows under `taps`, in order. The windows are a matrix of P * Q by taps * I/G.
    fn runs(&self, taps: Range<usize>) -> Vec<Run> {
        let [inputs, _] = self.group();
        let [kh, kw] = self.kernel;
        // A row of the window is one run where its taps are neighbours and whole pixels are taken.
        let whole_rows = self.dilation[1] == 1 && self.groups == 1 && taps == (0..kh * kw);
        let mut runs = Vec::new();
        for p in 0..self.small[0] {
            for q in 0..self.small[1] {
                let mut tap = taps.start;
                while tap < taps.end {
                    let place = self.place_under([p, q], tap);
                    let inside = || place.and(self.place_under([p, q], tap + kw - 1)).is_some();
                    let count = if whole_rows && tap.is_multiple_of(kw) && inside() { kw } else { 1 };
                    runs.push(Run { length: count * inputs, picture: place.map(|place| place * self.i) });
                    tap += count;
                }
            }
        }
        runs
    }

    /// The windows of some pictures, for one group of channels.
    fn unfold(&self, runs: &[Run], x: &[f32], group: usize, windows: &mut Vec<f32>) {
        let width = runs.iter().map(|run| run.length).sum::<usize>();
        let pictures = x.len() / self.pictures()[0];
        windows.resize(pictures * width, 0.0);
        for (x, mut windows) in x.chunks(self.pictures()[0]).zip(windows.chunks_mut(width)) {
            for run in runs {
                let window = windows.split_off_mut(..run.length).expect("the runs fill the windows");
                match run.picture {
                    Some(at) => window.copy_from_slice(&x[at + group * self.group()[0]..][..run.length]),
                    None => window.fill(0.0),
                }
            }
        }
    }

    /// Adds windows to the pictures they are windows of. The pictures are one thread's own, and the order is fixed.
    fn fold(&self, runs: &[Run], windows: &[f32], group: usize, x: &mut [f32]) {
        let width = runs.iter().map(|run| run.length).sum::<usize>();
        for (x, mut windows) in x.chunks_mut(self.pictures()[0]).zip(windows.chunks(width)) {
            for run in runs {
                let window = windows.split_off(..run.length).expect("the runs fill the windows");
                let Some(at) = run.picture else { continue };
                let x = &mut x[at + group * self.group()[0]..][..run.length];
                x.iter_mut().zip(window).for_each(|(x, window)| *x += window);
            }
        }
    }
}

fn matrix(values: &[f32], rows: usize, columns: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(&values[..rows * columns], rows, columns)
}

/// act(sum + bias) in place, row by row of `channels`.
fn epilogue(p: Params, b: &[f32], channels: usize, out: &mut [f32]) {
    let activation = Activation::from_number(p.activation);
    if p.bias == 0 && activation == Activation::Identity {
        return;
    }
    let bias = match p.bias {
        0 => columns::repeat(std::iter::repeat(0.0), channels),
        _ => columns::repeat(b.iter().copied(), channels),
    };
    vectorised(|| {
        for piece in out.chunks_mut(bias.len()) {
            for (value, b) in piece.iter_mut().zip(&bias) {
                *value = match activation {
                    Activation::Identity => *value + b,
                    Activation::Relu if *value + b <= 0.0 => 0.0,
                    Activation::Relu => *value + b,
                    other => other.value((*value + b) as f64) as f32,
                };
            }
        }
    });
}

pub fn forward(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let ([inputs, outputs], [large, small], width) = (s.group(), s.pictures(), s.taps() * s.group()[0]);
    let (share, runs) = (s.share(width), s.runs(0..s.taps()));
    let y = writes[0][..s.b * small].par_chunks_mut(share * small);
    y.zip(reads[0][..s.b * large].par_chunks(share * large)).for_each_init(Vec::new, |windows, (y, x)| {
        let rows = y.len() / s.o;
        for g in 0..s.groups {
            // A window of one place that moves place by place: the picture is its own matrix of windows.
            let windows = if s.large == s.small && s.taps() == 1 {
                matrix(x, rows, s.i).subcols(g * inputs, inputs)
            } else {
                s.unfold(&runs, x, g, windows);
                matrix(windows, rows, width)
            };
            let w = matrix(&reads[1][g * outputs * width..], outputs, width);
            let y = MatMut::from_row_major_slice_mut(&mut *y, rows, s.o).subcols_mut(g * outputs, outputs);
            matmul(y, Accum::Replace, windows, w.transpose(), 1.0, Par::Seq);
        }
        epilogue(p, reads[2], s.o, y);
    });
}

pub fn backward_x(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let ([_, outputs], [large, small], width) = (s.group(), s.pictures(), s.taps() * s.group()[0]);
    let (share, runs) = (s.share(width), s.runs(0..s.taps()));
    let dx = writes[0][..s.b * large].par_chunks_mut(share * large);
    dx.zip(reads[2][..s.b * small].par_chunks(share * small)).for_each_init(Vec::new, |windows, (dx, dy)| {
        let rows = dy.len() / s.o;
        windows.resize(rows * width, 0.0);
        dx.fill(0.0);
        for g in 0..s.groups {
            let w = matrix(&reads[0][g * outputs * width..], outputs, width);
            let dy = matrix(dy, rows, s.o).subcols(g * outputs, outputs);
            let product = MatMut::from_row_major_slice_mut(&mut windows[..rows * width], rows, width);
            matmul(product, Accum::Replace, dy, w, 1.0, Par::Seq);
            vectorised(|| s.fold(&runs, windows, g, dx));
        }
        epilogue(p, reads[1], s.i, dx);
    });
}

pub fn fold(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let (large, columns) = (s.pictures()[0], s.places() * s.taps() * s.i);
    let runs = s.runs(0..s.taps());
    let dx = writes[0][..s.b * large].par_chunks_mut(large);
    dx.zip(reads[1].par_chunks(columns)).for_each(|(dx, columns)| {
        dx.fill(0.0);
        vectorised(|| s.fold(&runs, columns, 0, dx));
        epilogue(p, reads[0], s.i, dx);
    });
}

/// A part of dw's terms that a thread takes: a group, some of its taps, some of the pictures.
struct Part {
    group: usize,
    taps: Range<usize>,
    pictures: Range<usize>,
}

/// A small dw, or one of few taps, is summed over a fixed number of parts of the batch, another tap by tap: neither depends
/// on the number of threads.
fn parts(s: Sizes) -> Vec<Part> {
    let small = s.o * s.taps() * s.group()[0] <= 1 << 16 || s.taps() < 8;
    let (taps, pictures) = if small { (s.taps(), s.b.div_ceil(8)) } else { (1, s.b) };
    let mut parts = Vec::new();
    for group in 0..s.groups {
        for tap in (0..s.taps()).step_by(taps) {
            for b in (0..s.b).step_by(pictures) {
                parts.push(Part { group, taps: tap..tap + taps, pictures: b..(b + pictures).min(s.b) });
            }
        }
    }
    parts
}

pub fn backward_w(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let ([inputs, outputs], [large, small]) = (s.group(), s.pictures());
    let parts = parts(s);
    let sums = |windows: &mut Vec<f32>, part: &Part| {
        let width = part.taps.len() * inputs;
        let runs = s.runs(part.taps.clone());
        let mut sums = vec![0.0; outputs * width];
        let share = s.share(width);
        let [x, dy] = [(reads[0], large), (reads[1], small)]
            .map(|(values, length)| &values[part.pictures.start * length..part.pictures.end * length]);
        for (x, dy) in x.chunks(share * large).zip(dy.chunks(share * small)) {
            let places = dy.len() / s.o;
            s.unfold(&runs, x, part.group, windows);
            let dy = matrix(dy, places, s.o).subcols(part.group * outputs, outputs);
            let sums = MatMut::from_row_major_slice_mut(&mut sums, outputs, width);
            matmul(sums, Accum::Add, dy.transpose(), matrix(windows, places, width), 1.0, Par::Seq);
        }
        sums
    };
    let sums: Vec<Vec<f32>> = parts.par_iter().map_init(Vec::new, sums).collect();
    for (part, sums) in parts.iter().zip(sums) {
        let width = part.taps.len() * inputs;
        for (o, sums) in sums.chunks(width).enumerate() {
            let first = ((part.group * outputs + o) * s.taps() + part.taps.start) * inputs;
            for (dw, sum) in writes[0][first..first + width].iter_mut().zip(sums) {
                *dw += sum;
            }
        }
    }
}

/// Rows whose sums a thread takes at a time. It is fixed, so that the sums do not depend on the number of threads.
const ROWS: usize = 2048;

pub fn backward_b(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let dy = &reads[0][..s.b * s.pictures()[1]];
    let sums = |rows: &[f32]| {
        let mut sums = vec![0.0; columns::width(s.o)];
        vectorised(|| {
            for piece in rows.chunks(sums.len()) {
                for (sum, dy) in sums.iter_mut().zip(piece) {
                    *sum += dy;
                }
            }
        });
        sums
    };
    let sums: Vec<Vec<f32>> = dy.par_chunks(ROWS * s.o).map(sums).collect();
    for o in 0..s.o {
        writes[0][o] += sums.iter().map(|sums| columns::folded(sums, s.o, o)).sum::<f32>();
    }
}
