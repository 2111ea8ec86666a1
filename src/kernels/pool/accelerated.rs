//! Pooling on the CPU device: a row of y (or dx) a task; in it, the channels of one place are a vector.

use std::ops::Range;

use super::{Params, Sizes};
use crate::kernel::params;
use crate::kernels::threads::chunks;
use crate::kernels::{CHUNK, math};

impl Sizes {
    /// Rows (0) or columns (1) of x that a window covers.
    #[inline(always)]
    fn covered(&self, axis: usize, window: usize) -> Range<usize> {
        let start = window * self.stride[axis];
        let end = start + self.kernel[axis] - self.border[axis];
        start.saturating_sub(self.border[axis])..end.min([self.h, self.w][axis])
    }

    /// Windows that cover a row (0) or column (1) of x.
    #[inline(always)]
    fn covering(&self, axis: usize, place: usize) -> Range<usize> {
        let at = place + self.border[axis];
        let first = if at >= self.kernel[axis] { (at - self.kernel[axis]) / self.stride[axis] + 1 } else { 0 };
        first..(at / self.stride[axis] + 1).min([self.p, self.q][axis])
    }
}

pub(super) fn max(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let (n, row) = (s.b * s.p * s.q * s.c, s.q * s.c);
    let [y, index] = writes else { panic!("pool.max writes y and index") };
    chunks([(&mut y[..n], row), (&mut index[..n], row)], CHUNK.div_ceil(row), |r, [y, index]| {
        let index: &mut [u32] = bytemuck::cast_slice_mut(index);
        let x = &reads[0][r / s.p * s.h * s.w * s.c..][..s.h * s.w * s.c];
        let rows = s.covered(0, r % s.p);
        math::vectorised(|| {
            for (q, (y, index)) in y.chunks_exact_mut(s.c).zip(index.chunks_exact_mut(s.c)).enumerate() {
                let columns = s.covered(1, q);
                let first = rows.start * s.w + columns.start;
                y.copy_from_slice(&x[first * s.c..][..s.c]);
                index.fill(first as u32);
                for h in rows.clone() {
                    for place in h * s.w + columns.start..h * s.w + columns.end {
                        let channels = y.iter_mut().zip(index.iter_mut()).zip(&x[place * s.c..][..s.c]);
                        for ((best, index), &v) in channels {
                            let take = (v > *best) | v.is_nan();
                            *best = if take { v } else { *best };
                            *index = if take { place as u32 } else { *index };
                        }
                    }
                }
            }
        });
    });
}

pub(super) fn backward_max(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let (index, dy): (&[u32], &[f32]) = (bytemuck::cast_slice(reads[0]), reads[1]);
    gather_windows(s, writes[0], |dx, place, out| {
        for ((dx, &index), &dy) in dx.iter_mut().zip(&index[out..][..s.c]).zip(&dy[out..][..s.c]) {
            *dx += if index == place as u32 { dy } else { 0.0 };
        }
    });
}

pub(super) fn average(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let row = s.q * s.c;
    chunks([(&mut writes[0][..s.b * s.p * row], row)], CHUNK.div_ceil(row), |r, [y]| {
        let x = &reads[0][r / s.p * s.h * s.w * s.c..][..s.h * s.w * s.c];
        let rows = s.covered(0, r % s.p);
        math::vectorised(|| {
            for (q, y) in y.chunks_exact_mut(s.c).enumerate() {
                let columns = s.covered(1, q);
                y.fill(0.0);
                for h in rows.clone() {
                    for place in h * s.w + columns.start..h * s.w + columns.end {
                        y.iter_mut().zip(&x[place * s.c..][..s.c]).for_each(|(y, x)| *y += x);
                    }
                }
                y.iter_mut().for_each(|y| *y /= s.area);
            }
        });
    });
}

pub(super) fn backward_average(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    gather_windows(s, writes[0], |dx, _, out| {
        dx.iter_mut().zip(&reads[0][out..][..s.c]).for_each(|(dx, dy)| *dx += dy / s.area);
    });
}

/// dx = what `add` adds to it for each window that covers it: (the channels of a place, the place in its picture, the
/// first element of the window in y).
fn gather_windows(s: Sizes, dx: &mut [f32], add: impl Fn(&mut [f32], usize, usize) + Sync) {
    let row = s.w * s.c;
    chunks([(&mut dx[..s.b * s.h * row], row)], CHUNK.div_ceil(row), |r, [dx]| {
        let (picture, h) = (r / s.h, r % s.h);
        let rows = s.covering(0, h);
        math::vectorised(|| {
            for (w, dx) in dx.chunks_exact_mut(s.c).enumerate() {
                dx.fill(0.0);
                for p in rows.clone() {
                    for q in s.covering(1, w) {
                        add(dx, h * s.w + w, ((picture * s.p + p) * s.q + q) * s.c);
                    }
                }
            }
        });
    });
}
