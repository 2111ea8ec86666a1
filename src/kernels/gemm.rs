//! The CPU device's matrix product: C = A B or C += A B, in tiles whose sums stay in vector registers. After Goto &
//! Van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008): B is packed in the order in which a tile
//! reads it, and so is A where that pays. From the outside in: threads share C here, `gemm/band.rs` goes through the
//! caches, `gemm/pack.rs` packs, `gemm/tile.rs` adds up. `gemm/cut.rs` has the sizes of the pieces.
//!
//! An element's sum is made in one order, which the sizes fix and the threads do not: results are the same to the bit
//! for any number of threads.

use pulp::Arch;

use super::scratch;

mod band;
mod cut;
mod pack;
mod target;
mod tile;

use band::Band;
pub(crate) use target::Target;

/// No thread's part of C is cut below so many rows and columns: tiles of any CPU go into them.
const ROWS: usize = 8;
const COLUMNS: usize = 48;

/// Rows of C that are made and finished before the next.
const HEIGHT: usize = 512;

/// Numbers of a cache line.
const LINE: usize = 16;

/// Multiply-adds that are worth handing to another thread: a few microseconds, what waking one costs.
const SHARE: usize = 1 << 18;

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

    /// The first `length` elements of row i, which are contiguous.
    #[inline(always)]
    fn row(self, i: usize, length: usize) -> &'a [f32] {
        &self.values[i * self.strides[0]..][..length]
    }

    /// Whether rows are contiguous. Columns are where they are not.
    fn has_rows(self) -> bool {
        self.strides[1] == 1
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

    /// One thread's part of C.
    fn part(&self, mut c: Target, [row, column]: [usize; 2]) {
        let [m, n] = c.size();
        for top in (0..m).step_by(HEIGHT) {
            let mut c = c.block([top, 0], [HEIGHT.min(m - top), n]);
            let [a, b] = [self.a.from([row + top, 0]), self.b.from([0, column])];
            Arch::new().dispatch(Band { c: c.whole(), a, b, k: self.k, store: self.store });
            for i in 0..c.size()[0] {
                (self.finish)(row + top + i, column, c.row(i));
            }
        }
    }
}

/// About half, a multiple of `unit`.
fn half(n: usize, unit: usize) -> usize {
    (n / 2).next_multiple_of(unit)
}

#[cfg(test)]
mod tests;
