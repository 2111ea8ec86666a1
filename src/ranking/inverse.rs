//! The inverse of a symmetric positive definite matrix in f64, by Cholesky's factor: M = L L^T, M^-1 = L^-T L^-1.
//! Threads share rows of the factor, then columns of the inverse.

use rayon::prelude::*;

use crate::kernels::math::vectorised;

/// Columns of the factor that are made before the rest is updated.
const BLOCK: usize = 64;
/// Columns of the inverse that are solved side by side.
const COLUMNS: usize = 16;

/// Puts the inverse of `m` (n,n), row-major, in its place. `None` where it is not positive definite.
pub fn invert(m: &mut Vec<f64>, n: usize) -> Option<()> {
    assert!(m.len() == n * n, "{} numbers are no matrix of {n} x {n}", m.len());
    factor(m, n)?;
    let l = &m[..];
    let mut inverse = vec![0.0; n * n];
    // A share is whole rows of the inverse, which are its columns: it is symmetric.
    inverse.par_chunks_mut(COLUMNS * n).enumerate().for_each(|(share, rows)| {
        let first = share * COLUMNS;
        let solved = vectorised(|| solve(l, n, first));
        for (at, row) in rows.chunks_mut(n).enumerate() {
            row.iter_mut().zip(&solved).for_each(|(value, solved)| *value = solved[at]);
        }
    });
    *m = inverse;
    Some(())
}

/// The lower triangle of `m` becomes that of L. Block by block: its own columns, then what lies to their right.
fn factor(m: &mut [f64], n: usize) -> Option<()> {
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (above, below) = m.split_at_mut(end * n);
        let diagonal = &mut above[start * n..];
        for i in start..end {
            let (done, row) = diagonal.split_at_mut((i - start) * n);
            for j in start..i {
                let other = &done[(j - start) * n..][..n];
                row[j] = (row[j] - dot(&row[start..j], &other[start..j])) / other[j];
            }
            let square = row[i] - dot(&row[start..i], &row[start..i]);
            // Not `square <= 0`, which a NaN passes.
            if !(square > 0.0 && square.is_finite()) {
                return None;
            }
            row[i] = square.sqrt();
        }
        let diagonal = &*diagonal;
        below.par_chunks_mut(n).for_each(|row| {
            for j in start..end {
                let other = &diagonal[(j - start) * n..][..n];
                row[j] = (row[j] - dot(&row[start..j], &other[start..j])) / other[j];
            }
        });
        // What the block's columns contribute to the rest. The panel is copied: rows change while others read it.
        let panel: Vec<f64> = below.chunks(n).flat_map(|row| row[start..end].to_vec()).collect();
        let width = end - start;
        below.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
            let own = &panel[i * width..][..width];
            let others = panel.chunks(width).take(i + 1);
            vectorised(|| row[end..].iter_mut().zip(others).for_each(|(value, other)| *value -= dot(own, other)));
        });
    }
    Some(())
}

#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    rest + sums.iter().sum::<f64>()
}

/// Columns `first` and the following of (L L^T)^-1: row i has the i-th element of each. Columns past the last are not
/// used.
#[inline(always)]
fn solve(l: &[f64], n: usize, first: usize) -> Vec<[f64; COLUMNS]> {
    let mut y = vec![[0.0; COLUMNS]; n];
    // L y = e, where e is 1 at the column's own place; above that y is 0.
    for i in first..n {
        let row = &l[i * n..][..n];
        let mut value = [0.0; COLUMNS];
        if i - first < COLUMNS {
            value[i - first] = 1.0;
        }
        for (l, y) in row[first..i].iter().zip(&y[first..i]) {
            value.iter_mut().zip(y).for_each(|(value, y)| *value -= l * y);
        }
        y[i] = value.map(|value| value / row[i]);
    }
    // L^T x = y, from the last on: each x is taken out of those before it.
    for i in (0..n).rev() {
        let row = &l[i * n..][..n];
        let (before, value) = y.split_at_mut(i);
        value[0] = value[0].map(|value| value / row[i]);
        for (l, before) in row[..i].iter().zip(before) {
            before.iter_mut().zip(&value[0]).for_each(|(before, value)| *before -= l * value);
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::uniform;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        for n in [1, 2, 17, 64, 65, 200] {
            let a: Vec<f64> = uniform(1, n * n, -1.0, 1.0).into_iter().map(f64::from).collect();
            let product = |a: &[f64], b: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
                let element = |i: usize, j: usize| (0..n).map(|k| a[i * n + k] * b(k, j)).sum::<f64>();
                (0..n * n).map(|at| element(at / n, at % n)).collect()
            };
            let mut m = product(&a, &|k, j| a[j * n + k]);
            (0..n).for_each(|i| m[i * n + i] += 1.0);
            let mut inverse = m.clone();
            invert(&mut inverse, n).unwrap();
            let one = product(&m, &|k, j| inverse[k * n + j]);
            let worst = (0..n * n).map(|at| (one[at] - f64::from(at / n == at % n)).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-10, "{n}: {worst}");
        }
    }

    #[test]
    fn a_matrix_without_a_factor_has_none() {
        assert!(invert(&mut vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(invert(&mut vec![f64::NAN], 1).is_none());
        assert!(invert(&mut vec![0.0], 1).is_none());
    }
}
