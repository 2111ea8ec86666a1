//! The CPU device's matrix product: C = A B or C += A B, in tiles of 8 rows by 48 columns whose sums stay in vector
//! registers. After Goto & Van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008), without packing A:
//! its numbers are read one by one and spread over a vector, in whatever order they lie.
//!
//! An element's sum is made in one order, which the sizes fix and the threads do not: results are the same to the bit
//! for any number of threads.

use std::cell::RefCell;

use faer::{MatMut, RowMut};
use pulp::{Arch, Simd, WithSimd};

/// Rows and columns of a tile: 24 sums of 16 lanes, 3 vectors of B and one of A are 28 of AVX-512's 32 registers.
/// Where vectors are shorter or fewer, a tile is taken in pieces.
const ROWS: usize = 8;
const COLUMNS: usize = 48;

/// Terms of a sum that are added up in registers at a time: 48 columns of so many rows of B stay in the second cache.
const DEPTH: usize = 1024;

/// Multiply-adds that are worth handing to another thread: a few microseconds, what waking one costs.
const SHARE: usize = 1 << 18;

/// Rows of A that are multiplied with a packed panel of B before the next: they stay in the second cache.
const BAND: usize = 256;

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
    c: MatMut<'_, f32>,
    [a, b]: [View; 2],
    k: usize,
    store: Store,
    finish: &(impl Fn(usize, usize, &mut [f32]) + Sync),
) {
    let (m, n) = (c.nrows(), c.ncols());
    let share = (m * n * k).div_ceil(rayon::current_num_threads()).max(SHARE);
    Product { a, b, k, store, finish }.split(c, [0, 0], share);
}

struct Product<'a, F> {
    a: View<'a>,
    b: View<'a>,
    k: usize,
    store: Store,
    finish: &'a F,
}

thread_local! {
    /// 48 columns of B, each of its rows side by side. It is made once a thread and kept.
    static PANEL: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl<F: Fn(usize, usize, &mut [f32]) + Sync> Product<'_, F> {
    /// The part of C that begins at (row, column), halved until a half is a thread's share. Columns first: then no two
    /// threads pack the same part of B.
    fn split(&self, c: MatMut<'_, f32>, [row, column]: [usize; 2], share: usize) {
        let (m, n) = (c.nrows(), c.ncols());
        let small = m * n * self.k < share + share / 2;
        if small || (n < 2 * COLUMNS && m < 2 * ROWS) {
            return self.part(c, [row, column]);
        }
        if n >= 2 * COLUMNS {
            let at = half(n, 16);
            let (left, right) = c.split_at_col_mut(at);
            rayon::join(|| self.split(left, [row, column], share), || self.split(right, [row, column + at], share));
        } else {
            let at = half(m, ROWS);
            let (top, bottom) = c.split_at_row_mut(at);
            rayon::join(|| self.split(top, [row, column], share), || self.split(bottom, [row + at, column], share));
        }
    }

    /// One thread's part of C.
    fn part(&self, mut c: MatMut<'_, f32>, [row, column]: [usize; 2]) {
        let (m, n, arch) = (c.nrows(), c.ncols(), Arch::new());
        PANEL.with_borrow_mut(|panel| {
            panel.resize(DEPTH * COLUMNS + 16, 0.0);
            let aligned = panel.as_ptr().align_offset(64);
            let panel = &mut panel[aligned..];
            for band in (0..m).step_by(BAND) {
                let bottom = m.min(band + BAND);
                for left in (0..n).step_by(COLUMNS) {
                    let width = COLUMNS.min(n - left);
                    for first in (0..self.k).step_by(DEPTH) {
                        let depth = DEPTH.min(self.k - first);
                        let panel = &mut panel[..depth * COLUMNS];
                        arch.dispatch(Pack { b: self.b.from([first, column + left]), width, panel });
                        let c = c.as_mut().submatrix_mut(band, left, bottom - band, width);
                        let a = self.a.from([row + band, first]);
                        let assign = self.store == Store::Assign && first == 0;
                        arch.dispatch(Band { a, panel, depth, c, assign });
                    }
                    let mut c = c.as_mut().submatrix_mut(band, left, bottom - band, width);
                    for i in 0..c.nrows() {
                        (self.finish)(row + band + i, column + left, as_slice(c.as_mut().row_mut(i)));
                    }
                }
            }
        });
    }
}

/// A row, or a part of one, whose elements lie side by side.
#[inline(always)]
fn as_slice(row: RowMut<'_, f32>) -> &mut [f32] {
    row.try_as_row_major_mut().expect("C has contiguous rows").as_slice_mut()
}

/// About half, a multiple of `unit`.
fn half(n: usize, unit: usize) -> usize {
    (n / 2).next_multiple_of(unit)
}

/// A transposition is made of squares of so many rows.
const SQUARE: usize = 16;

/// Copies `width` columns of B so that 48 of a row lie side by side; what lies beyond `width` means nothing.
struct Pack<'a> {
    b: View<'a>,
    width: usize,
    panel: &'a mut [f32],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Pack { b, width, panel } = self;
        if b.strides[1] == 1 {
            for (i, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                let b = &b.values[i * b.strides[0]..][..width];
                if width == COLUMNS {
                    row[..COLUMNS].copy_from_slice(&b[..COLUMNS]);
                } else {
                    row[..width].copy_from_slice(b);
                }
            }
            return;
        }
        let depth = panel.len() / COLUMNS;
        for left in (0..width).step_by(SQUARE) {
            let filled = SQUARE.min(width - left);
            // Beyond the last column stands that column again: its sums are not used.
            let columns: [&[f32]; SQUARE] =
                std::array::from_fn(|j| &b.values[(left + j.min(filled - 1)) * b.strides[1]..][..depth]);
            let mut rest = 0;
            for (square, panel) in panel.chunks_exact_mut(SQUARE * COLUMNS).enumerate() {
                let column = |j: usize| columns[j][square * SQUARE..].first_chunk().expect("a whole square");
                let square: [&[f32; SQUARE]; SQUARE] = std::array::from_fn(column);
                for (i, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                    let row: &mut [f32; SQUARE] = row[left..].first_chunk_mut().expect("a row of the panel");
                    *row = std::array::from_fn(|j| square[j][i]);
                }
                rest += SQUARE;
            }
            for i in rest..depth {
                for (j, column) in columns.iter().enumerate() {
                    panel[i * COLUMNS + left + j] = column[i];
                }
            }
        }
    }
}

/// Rows of A times a panel, to the columns of C that the panel has.
struct Band<'a> {
    a: View<'a>,
    panel: &'a [f32],
    depth: usize,
    c: MatMut<'a, f32>,
    assign: bool,
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let tall = S::REGISTER_COUNT >= 32;
        let (mut row, mut tile) = (0, [0.0; ROWS * COLUMNS]);
        while row < self.c.nrows() {
            let rows = match self.c.nrows() - row {
                8.. if tall => self.rows_of::<S, 8>(simd, row, &mut tile),
                4.. => self.rows_of::<S, 4>(simd, row, &mut tile),
                _ => self.rows_of::<S, 1>(simd, row, &mut tile),
            };
            for (i, sums) in tile.chunks_exact(COLUMNS).enumerate().take(rows) {
                let c = as_slice(self.c.as_mut().row_mut(row + i));
                for (c, &sum) in c.iter_mut().zip(sums) {
                    *c = if self.assign { sum } else { *c + sum };
                }
            }
            row += rows;
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    fn rows_of<S: Simd, const M: usize>(&mut self, simd: S, row: usize, tile: &mut [f32; ROWS * COLUMNS]) -> usize {
        let mut column = 0;
        while column < self.c.ncols() {
            let vectors = (self.c.ncols() - column).div_ceil(S::F32_LANES);
            column += S::F32_LANES
                * match vectors {
                    3.. => self.block::<S, M, 3>(simd, [row, column], tile),
                    2 => self.block::<S, M, 2>(simd, [row, column], tile),
                    _ => self.block::<S, M, 1>(simd, [row, column], tile),
                };
        }
        M
    }

    #[inline(always)]
    fn block<S: Simd, const M: usize, const V: usize>(
        &self,
        simd: S,
        [row, column]: [usize; 2],
        tile: &mut [f32; ROWS * COLUMNS],
    ) -> usize {
        let a = self.a.from([row, 0]);
        let sums = if a.strides[1] == 1 {
            let rows: [&[f32]; M] = std::array::from_fn(|i| &a.values[i * a.strides[0]..][..self.depth]);
            sums::<S, M, V>(simd, self.panel, self.depth, column, |k, i| rows[i][k])
        } else {
            let columns = &a.values[..(self.depth - 1) * a.strides[1] + M];
            sums::<S, M, V>(simd, self.panel, self.depth, column, |k, i| columns[k * a.strides[1] + i])
        };
        for i in 0..M {
            let (out, _) = S::as_mut_simd_f32s(&mut tile[i * COLUMNS + column..][..V * S::F32_LANES]);
            out.copy_from_slice(&sums[i]);
        }
        V
    }
}

#[inline(always)]
fn sums<S: Simd, const M: usize, const V: usize>(
    simd: S,
    panel: &[f32],
    depth: usize,
    column: usize,
    a: impl Fn(usize, usize) -> f32,
) -> [[S::f32s; V]; M] {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    for (k, row) in panel.chunks_exact(COLUMNS).enumerate().take(depth) {
        let (b, _) = S::as_simd_f32s(&row[column..][..V * S::F32_LANES]);
        let b: [S::f32s; V] = std::array::from_fn(|j| b[j]);
        for i in 0..M {
            let a = simd.splat_f32s(a(k, i));
            for j in 0..V {
                sums[i][j] = simd.mul_add_e_f32s(a, b[j], sums[i][j]);
            }
        }
    }
    sums
}
