//! What a panel of B is multiplied with, tile by tile: sums in vector registers, then C.

use pulp::{Simd, WithSimd};

use super::{COLUMNS, ROWS, Target, View};

/// Rows of A times a panel, to the columns of C that the panel has.
pub(super) struct Band<'a> {
    pub a: View<'a>,
    pub panel: &'a [f32],
    pub depth: usize,
    pub c: Target<'a>,
    pub assign: bool,
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let tall = S::REGISTER_COUNT >= 32;
        let [rows, _] = self.c.size();
        let mut row = 0;
        while row < rows {
            row += match rows - row {
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
        let [_, columns] = self.c.size();
        let mut column = 0;
        while column < columns {
            let vectors = (columns - column).div_ceil(S::F32_LANES);
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
        store(simd, &mut self.c, [row, column], sums, self.assign);
        V
    }
}

/// A packed block of 8 rows of A times a panel, to the columns of C that the panel has.
pub(super) struct Tile<'a> {
    pub block: &'a [f32],
    pub panel: &'a [f32],
    pub c: Target<'a>,
    pub assign: bool,
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let [_, columns] = self.c.size();
        let mut column = 0;
        while column < columns {
            let vectors = (columns - column).div_ceil(S::F32_LANES);
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
        store(simd, &mut self.c, place, sums, self.assign);
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
    c: &mut Target,
    [row, column]: [usize; 2],
    sums: [[S::f32s; V]; M],
    assign: bool,
) {
    for (i, sums) in sums.iter().enumerate() {
        let c = &mut c.row(row + i)[column..];
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
