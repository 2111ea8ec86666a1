//! The CPU device's matrix product: C = A B or C += A B, in tiles of 8 rows by 48 columns whose sums stay in vector
//! registers. After Goto & Van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008): both operands are
//! packed in the order in which a tile reads them. Only where A serves one or two panels of B it is read where it lies.
//!
//! An element's sum is made in one order, which the sizes fix and the threads do not: results are the same to the bit
//! for any number of threads.

use faer::MatMut;
use pulp::{Arch, Simd, WithSimd};

use super::scratch;

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

/// [`product`] in this thread alone, for one that has its share of a larger work.
pub(crate) fn product_here(
    c: MatMut<'_, f32>,
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
    fn split(&self, c: MatMut<'_, f32>, [row, column]: [usize; 2], share: usize) {
        let (m, n) = (c.nrows(), c.ncols());
        let small = m * n * self.k < share + share / 2;
        if small || (n < 2 * COLUMNS && m < 2 * ROWS) {
            return self.part(c, [row, column]);
        }
        if n >= 2 * COLUMNS && (n >= m || m < 2 * ROWS) {
            let at = half(n, 16);
            let (left, right) = c.split_at_col_mut(at);
            rayon::join(|| self.split(left, [row, column], share), || self.split(right, [row, column + at], share));
        } else {
            let at = half(m, ROWS);
            let (top, bottom) = c.split_at_row_mut(at);
            rayon::join(|| self.split(top, [row, column], share), || self.split(bottom, [row + at, column], share));
        }
    }

    /// One thread's part of C. Whether A is packed for it changes no sum.
    fn part(&self, c: MatMut<'_, f32>, place: [usize; 2]) {
        if c.nrows() > ROWS && c.ncols().div_ceil(COLUMNS) >= WORTH_PACKING {
            self.part_packed(c, place);
        } else {
            self.part_in_place(c, place);
        }
    }

    /// Terms that are added up in registers at a time.
    fn depth(&self) -> usize {
        if self.a.strides[0] == 1 { COLUMN_DEPTH } else { DEPTH }.min(self.k)
    }

    fn part_packed(&self, mut c: MatMut<'_, f32>, [row, column]: [usize; 2]) {
        let (m, n, arch) = (c.nrows(), c.ncols(), Arch::new());
        let deepest = self.depth();
        let mut panel = scratch::any(deepest * COLUMNS + LINE);
        let panel = from_a_line(&mut panel);
        // A line more than a block has, so that blocks do not fall on the same lines of the cache.
        let stride = deepest * ROWS + LINE;
        let mut blocks = scratch::any(BAND.min(m).div_ceil(ROWS) * stride);
        for band in (0..m).step_by(BAND) {
            let height = BAND.min(m - band);
            let mut c = c.as_mut().submatrix_mut(band, 0, height, n);
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
                        let c = c.as_mut().submatrix_mut(top, left, ROWS.min(height - top), width);
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
                (self.finish)(row + band + i, column, row_of(&mut c, i));
            }
        }
    }

    fn part_in_place(&self, mut c: MatMut<'_, f32>, [row, column]: [usize; 2]) {
        let (m, n, arch) = (c.nrows(), c.ncols(), Arch::new());
        let deepest = self.depth();
        let mut panel = scratch::any(deepest * COLUMNS + LINE);
        let panel = from_a_line(&mut panel);
        // One panel of B serves all rows.
        let height = if n <= COLUMNS && self.k <= deepest { m } else { BAND };
        for band in (0..m).step_by(height) {
            let bottom = m.min(band + height);
            for left in (0..n).step_by(COLUMNS) {
                let width = COLUMNS.min(n - left);
                let mut c = c.as_mut().submatrix_mut(band, left, bottom - band, width);
                for first in (0..self.k).step_by(deepest) {
                    let depth = deepest.min(self.k - first);
                    let panel = &mut panel[..depth * COLUMNS];
                    arch.dispatch(PackB { b: self.b.from([first, column + left]), width, panel });
                    let a = self.a.from([row + band, first]);
                    let assign = self.store == Store::Assign && first == 0;
                    arch.dispatch(Band { a, panel, depth, c: c.as_mut(), assign });
                }
                for i in 0..c.nrows() {
                    (self.finish)(row + band + i, column + left, row_of(&mut c, i));
                }
            }
        }
    }
}

/// Row i of C, or of a part of it: its elements lie side by side.
#[inline(always)]
fn row_of<'a>(c: &'a mut MatMut<'_, f32>, i: usize) -> &'a mut [f32] {
    c.as_mut().row_mut(i).try_as_row_major_mut().expect("C has contiguous rows").as_slice_mut()
}

/// Without the first numbers, where they are before the start of a cache line.
fn from_a_line(values: &mut [f32]) -> &mut [f32] {
    let before = values.as_ptr().align_offset(4 * LINE);
    &mut values[before..]
}

/// A transposition is made of squares of so many rows, and these are of stretches of columns.
const SQUARE: usize = 16;
const STRETCH: usize = 128;

/// Copies rows and columns of A so that 8 rows of a column lie side by side, and their columns follow each other: a
/// block every `stride` numbers. What lies beyond the last row means nothing.
struct PackA<'a> {
    a: View<'a>,
    /// Rows and columns.
    size: [usize; 2],
    stride: usize,
    blocks: &'a mut [f32],
}

impl WithSimd for PackA<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let PackA { a, size: [height, depth], stride, blocks } = self;
        if a.strides[0] == 1 {
            for k in 0..depth {
                let column = &a.values[k * a.strides[1]..][..height];
                for (block, eight) in blocks.chunks_mut(stride).zip(column.chunks(ROWS)) {
                    block[k * ROWS..][..eight.len()].copy_from_slice(eight);
                }
            }
            return;
        }
        for (block, top) in blocks.chunks_mut(stride).zip((0..height).step_by(ROWS)) {
            let row = |i: usize| &a.values[(top + i).min(height - 1) * a.strides[0]..][..depth];
            let rows: [&[f32]; ROWS] = std::array::from_fn(row);
            let (eights, _) = block.as_chunks_mut::<ROWS>();
            let (squares, rest) = eights[..depth].as_chunks_mut::<SQUARE>();
            for (at, square) in squares.iter_mut().enumerate() {
                let from: [&[f32; SQUARE]; ROWS] =
                    std::array::from_fn(|i| rows[i][at * SQUARE..].first_chunk().expect("a whole square"));
                for (k, eight) in square.iter_mut().enumerate() {
                    *eight = std::array::from_fn(|i| from[i][k]);
                }
            }
            let first = depth - rest.len();
            for (k, eight) in rest.iter_mut().enumerate() {
                *eight = std::array::from_fn(|i| rows[i][first + k]);
            }
        }
    }
}

/// About half, a multiple of `unit`.
fn half(n: usize, unit: usize) -> usize {
    (n / 2).next_multiple_of(unit)
}

/// Copies `width` columns of B so that 48 of a row lie side by side; what lies beyond `width` means nothing.
struct PackB<'a> {
    b: View<'a>,
    width: usize,
    panel: &'a mut [f32],
}

impl WithSimd for PackB<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let PackB { b, width, panel } = self;
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
        // Some of 16 columns at a time, read one after the other, which the memory answers fastest, then turned around.
        let mut columns = [[0f32; STRETCH]; SQUARE];
        for (stretch, panel) in panel.chunks_mut(STRETCH * COLUMNS).enumerate() {
            let depth = panel.len() / COLUMNS;
            for left in (0..width).step_by(SQUARE) {
                // Beyond the last column stands whatever stood there: its sums are not used.
                for (j, column) in columns.iter_mut().enumerate().take(width - left) {
                    let at = (left + j) * b.strides[1] + stretch * STRETCH;
                    column[..depth].copy_from_slice(&b.values[at..][..depth]);
                }
                for (square, panel) in panel.chunks_mut(SQUARE * COLUMNS).enumerate() {
                    let column = |j: usize| columns[j][square * SQUARE..].first_chunk().expect("a whole square");
                    let square: [&[f32; SQUARE]; SQUARE] = std::array::from_fn(column);
                    for (i, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                        let row: &mut [f32; SQUARE] = row[left..].first_chunk_mut().expect("a row of the panel");
                        *row = std::array::from_fn(|j| square[j][i]);
                    }
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
        let mut row = 0;
        while row < self.c.nrows() {
            row += match self.c.nrows() - row {
                8.. if tall => self.rows_of::<S, 8>(simd, row),
                4.. => self.rows_of::<S, 4>(simd, row),
                _ => self.rows_of::<S, 1>(simd, row),
            };
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    fn rows_of<S: Simd, const M: usize>(&mut self, simd: S, row: usize) -> usize {
        let mut column = 0;
        while column < self.c.ncols() {
            let vectors = (self.c.ncols() - column).div_ceil(S::F32_LANES);
            column += S::F32_LANES
                * match vectors {
                    3.. => self.block::<S, M, 3>(simd, [row, column]),
                    2 => self.block::<S, M, 2>(simd, [row, column]),
                    _ => self.block::<S, M, 1>(simd, [row, column]),
                };
        }
        M
    }

    #[inline(always)]
    fn block<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, [row, column]: [usize; 2]) -> usize {
        let a = self.a.from([row, 0]);
        let panel = &self.panel.as_chunks::<COLUMNS>().0[..self.depth];
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        if a.strides[1] == 1 {
            let a: [&[f32]; M] = std::array::from_fn(|i| &a.values[i * a.strides[0]..][..self.depth]);
            for (k, b) in panel.iter().enumerate() {
                let a: [f32; M] = std::array::from_fn(|i| a[i][k]);
                add_term(simd, &a, &b[column..], &mut sums);
            }
        } else {
            for (k, b) in panel.iter().enumerate() {
                add_term(simd, &a.values[k * a.strides[1]..], &b[column..], &mut sums);
            }
        }
        store(simd, self.c.as_mut(), [row, column], sums, self.assign);
        V
    }
}

/// A packed block of 8 rows of A times a panel, to the columns of C that the panel has.
struct Tile<'a> {
    block: &'a [f32],
    panel: &'a [f32],
    c: MatMut<'a, f32>,
    assign: bool,
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut column = 0;
        while column < self.c.ncols() {
            let vectors = (self.c.ncols() - column).div_ceil(S::F32_LANES);
            column += S::F32_LANES
                * match vectors {
                    3.. => self.columns::<S, 3>(simd, column),
                    2 => self.columns::<S, 2>(simd, column),
                    _ => self.columns::<S, 1>(simd, column),
                };
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn columns<S: Simd, const V: usize>(&mut self, simd: S, column: usize) -> usize {
        if S::REGISTER_COUNT >= 32 {
            self.piece::<S, 8, V>(simd, [0, column]);
        } else {
            self.piece::<S, 4, V>(simd, [0, column]);
            self.piece::<S, 4, V>(simd, [4, column]);
        }
        V
    }

    #[inline(always)]
    fn piece<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, place: [usize; 2]) {
        let sums = packed_sums::<S, M, V>(simd, self.block.as_chunks().0, self.panel.as_chunks().0, place);
        store(simd, self.c.as_mut(), place, sums, self.assign);
    }
}

#[inline(always)]
fn packed_sums<S: Simd, const M: usize, const V: usize>(
    simd: S,
    block: &[[f32; ROWS]],
    panel: &[[f32; COLUMNS]],
    [row, column]: [usize; 2],
) -> [[S::f32s; V]; M] {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    // Two terms in a turn, and no index to check.
    let (pairs_of_a, last_of_a) = block.as_chunks::<2>();
    let (pairs_of_b, last_of_b) = panel.as_chunks::<2>();
    for (a, b) in pairs_of_a.iter().zip(pairs_of_b) {
        add_term(simd, &a[0][row..], &b[0][column..], &mut sums);
        add_term(simd, &a[1][row..], &b[1][column..], &mut sums);
    }
    for (a, b) in last_of_a.iter().zip(last_of_b) {
        add_term(simd, &a[row..], &b[column..], &mut sums);
    }
    sums
}

/// C = sums or C += sums at (row, column), as far as C has columns.
#[inline(always)]
fn store<S: Simd, const M: usize, const V: usize>(
    simd: S,
    mut c: MatMut<f32>,
    [row, column]: [usize; 2],
    sums: [[S::f32s; V]; M],
    assign: bool,
) {
    for (i, sums) in sums.iter().enumerate() {
        let c = &mut row_of(&mut c, row + i)[column..];
        for (j, &sum) in sums.iter().enumerate() {
            let [from, to] = [j * S::F32_LANES, (j + 1) * S::F32_LANES].map(|at| at.min(c.len()));
            let c = &mut c[from..to];
            if c.len() == S::F32_LANES {
                let (c, _) = S::as_mut_simd_f32s(c);
                c[0] = if assign { sum } else { simd.add_f32s(c[0], sum) };
            } else {
                let sum = if assign { sum } else { simd.add_f32s(simd.partial_load_f32s(c), sum) };
                simd.partial_store_f32s(c, sum);
            }
        }
    }
}

/// Adds the products of M rows of A and V vectors of B for one term.
#[inline(always)]
fn add_term<S: Simd, const M: usize, const V: usize>(simd: S, a: &[f32], b: &[f32], sums: &mut [[S::f32s; V]; M]) {
    let a: &[f32; M] = a.first_chunk().expect("M rows");
    let (b, _) = S::as_simd_f32s(&b[..V * S::F32_LANES]);
    let b: [S::f32s; V] = std::array::from_fn(|j| b[j]);
    for i in 0..M {
        let a = simd.splat_f32s(a[i]);
        for j in 0..V {
            sums[i][j] = simd.mul_add_e_f32s(a, b[j], sums[i][j]);
        }
    }
}

#[cfg(test)]
mod tests;
