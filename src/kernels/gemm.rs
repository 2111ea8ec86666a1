//! The CPU device's matrix product: C = A B or C += A B, in tiles of 8 rows by 48 columns whose sums stay in vector
//! registers. After Goto & Van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008): both operands are
//! packed in the order in which a tile reads them. Only where A serves one or two panels of B it is read where it lies.
//!
//! An element's sum is made in one order, which the sizes fix and the threads do not: results are the same to the bit
//! for any number of threads.

use pulp::Arch;

use super::scratch;

mod pack;
mod target;
mod tile;

use pack::{PackA, PackB};
pub(crate) use target::Target;
use tile::{Band, Tile};

/// Rows and columns of a tile: 24 sums of 16 lanes, 3 vectors of B and one of A are 28 of AVX-512's 32 registers.
/// Where vectors are shorter or fewer, a tile is taken in pieces.
const ROWS: usize = 8;
const COLUMNS: usize = 48;

/// Terms of a sum that are added up in registers at a time: 48 columns of so many rows of B stay in the second cache.
const DEPTH: usize = 1024;

/// The same where A's columns lie one after the other, as in the gradient of weights, whose sums are as long as the
/// batch.
const COLUMN_DEPTH: usize = 256;

/// Panels of B that a packed A must serve.
const WORTH_PACKING: usize = 3;

/// Numbers of a cache line, at whose start a panel begins.
const LINE: usize = 16;

/// Multiply-adds that are worth handing to another thread: a few microseconds, what waking one costs.
const SHARE: usize = 1 << 18;

/// Rows of A that are multiplied with a packed panel of B before the next: they stay in the second cache.
const BAND: usize = 512;

/// A matrix in memory: element (i, j) is `values[i * strides[0] + j * strides[1]]`, and one of the strides is 1.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    values: &'a [f32],
    strides: [usize; 2],
}

impl<'a> View<'a> {
    /// Rows of length `columns`, one after the other.
    pub fn rows(values: &'a [f32], columns: usize) -> View<'a> {
        View { values, strides: [columns, 1] }
    }

    pub fn transposed(self) -> View<'a> {
        View { values: self.values, strides: [self.strides[1], self.strides[0]] }
    }

    /// The matrix without its first rows and columns.
    pub fn from(self, [i, j]: [usize; 2]) -> View<'a> {
        View { values: &self.values[i * self.strides[0] + j * self.strides[1]..], strides: self.strides }
    }
}

/// What happens to C.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Assign,
    Add,
}

/// C = A B or C += A B: C (m,n) with contiguous rows, A (m,k), B (k,n). `finish(row, column, values)` then gets each
/// piece of a row of C, from that column on, while it is in the cache, once.
pub(crate) fn product(
    c: Target,
    [a, b]: [View; 2],
    k: usize,
    store: Store,
    finish: &(impl Fn(usize, usize, &mut [f32]) + Sync),
) {
    let [m, n] = c.size();
    let share = (m * n * k).div_ceil(rayon::current_num_threads()).max(SHARE);
    Product { a, b, k, store, finish }.split(c, [0, 0], share);
}

/// [`product`] in this thread alone, for one that has its share of a larger work.
pub(crate) fn product_here(
    c: Target,
    [a, b]: [View; 2],
    k: usize,
    store: Store,
    finish: &(impl Fn(usize, usize, &mut [f32]) + Sync),
) {
    Product { a, b, k, store, finish }.part(c, [0, 0]);
}

struct Product<'a, F> {
    a: View<'a>,
    b: View<'a>,
    k: usize,
    store: Store,
    finish: &'a F,
}

impl<F: Fn(usize, usize, &mut [f32]) + Sync> Product<'_, F> {
    /// The part of C that begins at (row, column), halved until a half is a thread's share: the columns, then no two
    /// threads pack the same part of B, or where there are more of them the rows, for A.
    fn split(&self, mut c: Target, [row, column]: [usize; 2], share: usize) {
        let [m, n] = c.size();
        let small = m * n * self.k < share + share / 2;
        if small || (n < 2 * COLUMNS && m < 2 * ROWS) {
            return self.part(c, [row, column]);
        }
        if n >= 2 * COLUMNS && (n >= m || m < 2 * ROWS) {
            let at = half(n, 16);
            let (left, right) = c.split_columns(at);
            rayon::join(|| self.split(left, [row, column], share), || self.split(right, [row, column + at], share));
        } else {
            let at = half(m, ROWS);
            let (top, bottom) = c.split_rows(at);
            rayon::join(|| self.split(top, [row, column], share), || self.split(bottom, [row + at, column], share));
        }
    }

    /// One thread's part of C. Whether A is packed for it changes no sum.
    fn part(&self, c: Target, place: [usize; 2]) {
        let [m, n] = c.size();
        if m > ROWS && n.div_ceil(COLUMNS) >= WORTH_PACKING {
            self.part_packed(c, place);
        } else {
            self.part_in_place(c, place);
        }
    }

    /// Terms that are added up in registers at a time.
    fn depth(&self) -> usize {
        if self.a.strides[0] == 1 { COLUMN_DEPTH } else { DEPTH }.min(self.k)
    }

    fn part_packed(&self, mut c: Target, [row, column]: [usize; 2]) {
        let ([m, n], arch) = (c.size(), Arch::new());
        let deepest = self.depth();
        let mut panel = scratch::any(deepest * COLUMNS + LINE);
        let panel = from_a_line(&mut panel);
        // A line more than a block has, so that blocks do not fall on the same lines of the cache.
        let stride = deepest * ROWS + LINE;
        let mut blocks = scratch::any(BAND.min(m).div_ceil(ROWS) * stride);
        for band in (0..m).step_by(BAND) {
            let height = BAND.min(m - band);
            let mut c = c.block([band, 0], [height, n]);
            for first in (0..self.k).step_by(deepest) {
                let depth = deepest.min(self.k - first);
                arch.dispatch(PackA {
                    a: self.a.from([row + band, first]),
                    size: [height, depth],
                    stride,
                    blocks: &mut blocks,
                });
                for left in (0..n).step_by(COLUMNS) {
                    let width = COLUMNS.min(n - left);
                    let panel = &mut panel[..depth * COLUMNS];
                    arch.dispatch(PackB { b: self.b.from([first, column + left]), width, panel });
                    let assign = self.store == Store::Assign && first == 0;
                    for (block, top) in blocks.chunks(stride).zip((0..height).step_by(ROWS)) {
                        let block = &block[..depth * ROWS];
                        let c = c.block([top, left], [ROWS.min(height - top), width]);
                        if height - top >= ROWS {
                            arch.dispatch(Tile { block, panel, c, assign });
                        } else {
                            let a = View { values: block, strides: [1, ROWS] };
                            arch.dispatch(Band { a, panel, depth, c, assign });
                        }
                    }
                }
            }
            for i in 0..height {
                (self.finish)(row + band + i, column, c.row(i));
            }
        }
    }

    fn part_in_place(&self, mut c: Target, [row, column]: [usize; 2]) {
        let ([m, n], arch) = (c.size(), Arch::new());
        let deepest = self.depth();
        let mut panel = scratch::any(deepest * COLUMNS + LINE);
        let panel = from_a_line(&mut panel);
        // One panel of B serves all rows.
        let height = if n <= COLUMNS && self.k <= deepest { m } else { BAND };
        for band in (0..m).step_by(height) {
            let bottom = m.min(band + height);
            for left in (0..n).step_by(COLUMNS) {
                let width = COLUMNS.min(n - left);
                let mut c = c.block([band, left], [bottom - band, width]);
                for first in (0..self.k).step_by(deepest) {
                    let depth = deepest.min(self.k - first);
                    let panel = &mut panel[..depth * COLUMNS];
                    arch.dispatch(PackB { b: self.b.from([first, column + left]), width, panel });
                    let a = self.a.from([row + band, first]);
                    let assign = self.store == Store::Assign && first == 0;
                    arch.dispatch(Band { a, panel, depth, c: c.whole(), assign });
                }
                for i in 0..bottom - band {
                    (self.finish)(row + band + i, column + left, c.row(i));
                }
            }
        }
    }
}

/// Without the first numbers, where they are before the start of a cache line.
fn from_a_line(values: &mut [f32]) -> &mut [f32] {
    let before = values.as_ptr().align_offset(4 * LINE);
    &mut values[before..]
}

/// About half, a multiple of `unit`.
fn half(n: usize, unit: usize) -> usize {
    (n / 2).next_multiple_of(unit)
}

#[cfg(test)]
mod tests;
