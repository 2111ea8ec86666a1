//! Convolution on the CPU device: a thread takes some pictures, writes the windows of the large picture down as the
//! rows of a matrix (im2col), and leaves the product to `gemm.rs`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, RwLock};

use super::{Activation, Params, Sizes};
use crate::kernel::params;
use crate::kernels::columns;
use crate::kernels::gemm::{Store, View, product_here};
use crate::kernels::math::vectorised;
use crate::kernels::matmul;
use crate::kernels::scratch;
use crate::kernels::threads::{chunk, chunks};

/// Elements of the matrix of windows that a thread makes at a time: it stays in the cache until it is multiplied.
const WINDOWS: usize = 1 << 17;

/// Elements that lie side by side both in the windows and in the picture.
struct Run {
    length: usize,
    /// Its start in the picture, in the first group of channels; none where the window reaches beyond.
    picture: Option<usize>,
}

/// The runs of each geometry and range of taps so far.
type Found = RwLock<HashMap<(Sizes, Range<usize>), Arc<[Run]>>>;

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

    /// The runs of one picture's windows under `taps`, in order. The windows are a matrix of P * Q by taps * I/G. Each
    /// geometry's are found once and kept.
    fn runs(&self, taps: Range<usize>) -> Arc<[Run]> {
        static FOUND: LazyLock<Found> = LazyLock::new(Found::default);
        // The batch has no part in them.
        let key = (Sizes { b: 0, ..*self }, taps.clone());
        let known = FOUND.read().expect("no thread fails with it").get(&key).cloned();
        known.unwrap_or_else(|| {
            let runs: Arc<[Run]> = self.find_runs(taps).into();
            FOUND.write().expect("no thread fails with it").insert(key, runs.clone());
            runs
        })
    }

    fn find_runs(&self, taps: Range<usize>) -> Vec<Run> {
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
    fn unfold(&self, runs: &[Run], x: &[f32], group: usize, windows: &mut [f32]) {
        let width = runs.iter().map(|run| run.length).sum::<usize>();
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
            piece.iter_mut().zip(bias.iter()).for_each(|(value, b)| *value += b);
        }
    });
    activation.apply(out);
}

pub fn forward(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let ([inputs, outputs], [large, small], width) = (s.group(), s.pictures(), s.taps() * s.group()[0]);
    let (share, runs) = (s.share(width), s.runs(0..s.taps()));
    chunks([(&mut writes[0][..s.b * small], share * small)], 1, |i, [y]| {
        let x = chunk(&reads[0][..s.b * large], share * large, i);
        let rows = y.len() / s.o;
        // A window of one place that moves place by place: the picture is its own matrix of windows.
        let is_own = s.large == s.small && s.taps() == 1 && s.stride == [1, 1] && s.padding == [0, 0];
        let mut windows = scratch::any(if is_own { 0 } else { rows * width });
        for g in 0..s.groups {
            let windows = if is_own {
                View::rows(&x[g * inputs..], s.i)
            } else {
                s.unfold(&runs, x, g, &mut windows);
                View::rows(&windows, width)
            };
            let w = View::rows(&reads[1][g * outputs * width..], width).transposed();
            let mut y = matmul::matrix(y, rows, s.o);
            product_here(y.columns(g * outputs, outputs), [windows, w], width, Store::Assign, &|_, _, _| ());
        }
        epilogue(p, reads[2], s.o, y);
    });
}

pub fn backward_x(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let ([_, outputs], [large, small], width) = (s.group(), s.pictures(), s.taps() * s.group()[0]);
    let (share, runs) = (s.share(width), s.runs(0..s.taps()));
    chunks([(&mut writes[0][..s.b * large], share * large)], 1, |i, [dx]| {
        let dy = chunk(&reads[2][..s.b * small], share * small, i);
        let rows = dy.len() / s.o;
        let mut windows = scratch::any(rows * width);
        dx.fill(0.0);
        for g in 0..s.groups {
            let w = View::rows(&reads[0][g * outputs * width..], width);
            let dy = View::rows(&dy[g * outputs..], s.o);
            let product = matmul::matrix(&mut windows, rows, width);
            product_here(product, [dy, w], outputs, Store::Assign, &|_, _, _| ());
            vectorised(|| s.fold(&runs, &windows, g, dx));
        }
        epilogue(p, reads[1], s.i, dx);
    });
}

pub fn fold(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let (large, columns) = (s.pictures()[0], s.places() * s.taps() * s.i);
    let runs = s.runs(0..s.taps());
    chunks([(&mut writes[0][..s.b * large], large)], 1, |i, [dx]| {
        dx.fill(0.0);
        vectorised(|| s.fold(&runs, chunk(reads[1], columns, i), 0, dx));
        epilogue(p, reads[0], s.i, dx);
    });
}

/// dw's terms in parts that threads take: a small dw, or one of few taps, is summed over a fixed number of parts of the
/// batch, another tap by tap. Neither depends on the number of threads.
struct Parts {
    /// Taps and pictures of a part.
    taps: usize,
    pictures: usize,
    /// Parts of the taps, of the batch.
    of_taps: usize,
    of_batch: usize,
}

impl Parts {
    fn of(s: Sizes) -> Parts {
        let small = s.o * s.taps() * s.group()[0] <= 1 << 16 || s.taps() < 8;
        let (taps, pictures) = if small { (s.taps(), s.b.div_ceil(8)) } else { (1, s.b) };
        Parts { taps, pictures, of_taps: s.taps() / taps, of_batch: s.b.div_ceil(pictures) }
    }

    /// The group, the first tap and the first picture of a part.
    fn part(&self, index: usize) -> [usize; 3] {
        let (tap, batch) = (index / self.of_batch % self.of_taps, index % self.of_batch);
        [index / self.of_batch / self.of_taps, tap * self.taps, batch * self.pictures]
    }
}

pub fn backward_w(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let ([inputs, outputs], [large, small], parts) = (s.group(), s.pictures(), Parts::of(s));
    let width = parts.taps * inputs;
    let count = s.groups * parts.of_taps * parts.of_batch;
    // Pictures whose windows are made at a time; the number of threads has no part in it, since sums depend on it.
    let share = (WINDOWS / (s.places() * width)).max(1).min(parts.pictures);
    let mut sums = scratch::zeros(count * outputs * width);
    chunks([(&mut sums, outputs * width)], 1, |index, [sums]| {
        let [group, tap, picture] = parts.part(index);
        let runs = s.runs(tap..tap + parts.taps);
        let mut windows = scratch::any(share * s.places() * width);
        let pictures = picture..s.b.min(picture + parts.pictures);
        let [x, dy] = [(reads[0], large), (reads[1], small)]
            .map(|(v, length)| &v[pictures.start * length..pictures.end * length]);
        for (x, dy) in x.chunks(share * large).zip(dy.chunks(share * small)) {
            let places = dy.len() / s.o;
            s.unfold(&runs, x, group, &mut windows);
            let dy = View::rows(&dy[group * outputs..], s.o).transposed();
            let sums = matmul::matrix(sums, outputs, width);
            product_here(sums, [dy, View::rows(&windows, width)], places, Store::Add, &|_, _, _| ());
        }
    });
    for (index, sums) in sums.chunks(outputs * width).enumerate() {
        let [group, tap, _] = parts.part(index);
        for (o, sums) in sums.chunks(width).enumerate() {
            let first = ((group * outputs + o) * s.taps() + tap) * inputs;
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
    let width = columns::width(s.o);
    let mut sums = scratch::zeros(dy.len().div_ceil(ROWS * s.o) * width);
    chunks([(&mut sums, width)], 1, |i, [sums]| {
        let rows = chunk(dy, ROWS * s.o, i);
        vectorised(|| {
            for piece in rows.chunks(sums.len()) {
                for (sum, dy) in sums.iter_mut().zip(piece) {
                    *sum += dy;
                }
            }
        });
    });
    for o in 0..s.o {
        writes[0][o] += sums.chunks(width).map(|sums| columns::folded(sums, s.o, o)).sum::<f32>();
    }
}
