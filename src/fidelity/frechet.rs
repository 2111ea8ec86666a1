//! The Fréchet distance between two Gaussians of features: with means m and n, covariances A and B
//!
//!   d^2 = |m - n|^2 + tr(A + B - 2 (A B)^(1/2))
//!
//! (Dowson & Landau 1982; as a metric of pictures Heusel et al. 2017, arXiv 1706.08500). The trace of (A B)^(1/2) is
//! the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric: no root of a general matrix is
//! needed.

use nalgebra::DMatrix;

use super::{Features, products};
use crate::error::{Error, Result};

/// Mean and covariance of features.
#[derive(Clone, Debug, PartialEq)]
struct Gaussian {
    /// (F)
    mean: Vec<f64>,
    /// (F,F), divided by N - 1.
    covariance: Vec<f64>,
}

/// Pictures whose products are added up at once.
const BLOCK: usize = 1024;
/// Turns of the iteration for each eigenvalue at most.
const MOST_TURNS: usize = 100;

impl Gaussian {
    /// Of two pictures or more. Errors: there are fewer.
    fn of(features: &Features) -> Result<Gaussian> {
        let (n, width) = (features.count(), features.width);
        if n < 2 {
            return Err(Error::Usage(format!("a covariance needs at least 2 pictures, and there are {n}")));
        }
        let mut mean = vec![0.0; width];
        for row in features.features.chunks(width) {
            mean.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
        }
        mean.iter_mut().for_each(|sum| *sum /= n as f64);
        let mut covariance = vec![0.0; width * width];
        for rows in features.features.chunks(BLOCK * width) {
            let mut transposed = vec![0.0; rows.len()]; // (F, rows)
            let count = rows.len() / width;
            for (i, row) in rows.chunks(width).enumerate() {
                for (f, (&value, mean)) in row.iter().zip(&mean).enumerate() {
                    transposed[f * count + i] = f64::from(value) - mean;
                }
            }
            let part = products(&transposed, &transposed, count);
            covariance.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        covariance.iter_mut().for_each(|sum| *sum /= (n - 1) as f64);
        Ok(Gaussian { mean, covariance })
    }
}

/// d^2 of two Gaussians of the same F. Errors: the eigenvalues do not converge, or a feature is no number.
fn frechet(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    let n = a.mean.len();
    assert!(n == b.mean.len(), "Gaussians of {n} and {} features", b.mean.len());
    let failed = || Error::Usage("the eigenvalues of the features' covariance do not converge".into());
    // Symmetric: rows are columns.
    let matrix = |m: &[f64]| DMatrix::from_column_slice(n, n, m);
    let eigen = |m: DMatrix<f64>| m.try_symmetric_eigen(f64::EPSILON, MOST_TURNS * n).ok_or_else(failed);
    let trace = |m: &[f64]| (0..n).map(|i| m[i * n + i]).sum::<f64>();
    let decomposed = eigen(matrix(&a.covariance))?;
    let roots = decomposed.eigenvalues.map(|v| v.max(0.0).sqrt());
    // A^(1/2) = U sqrt(L) U^T. U^T (A^(1/2) B A^(1/2)) U has the same eigenvalues, and needs no last product.
    let u = decomposed.eigenvectors;
    let rotated = u.tr_mul(&(matrix(&b.covariance) * &u));
    let inner = DMatrix::from_fn(n, n, |i, j| roots[i] * rotated[(i, j)] * roots[j]);
    let eigenvalues = eigen(inner)?.eigenvalues;
    // Rounding leaves some of those that are 0 below it.
    let root_trace: f64 = eigenvalues.iter().map(|&v| v.max(0.0).sqrt()).sum();
    let means: f64 = a.mean.iter().zip(&b.mean).map(|(m, n)| (m - n).powi(2)).sum();
    Ok(means + trace(&a.covariance) + trace(&b.covariance) - 2.0 * root_trace)
}

impl Features {
    /// The Fréchet distance to another set of features. Errors: fewer than two pictures.
    pub fn frechet(&self, other: &Features) -> Result<f64> {
        frechet(&Gaussian::of(self)?, &Gaussian::of(other)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wide;
    use super::*;

    fn features(values: Vec<f32>, width: usize) -> Features {
        Features { features: values, width, ..Features::default() }
    }

    #[test]
    fn diagonal_gaussians_have_the_distance_of_their_parts() {
        let of = |mean: [f64; 2], variance: [f64; 2]| Gaussian {
            mean: mean.into(),
            covariance: vec![variance[0], 0.0, 0.0, variance[1]],
        };
        let (a, b) = (of([1.0, 2.0], [4.0, 9.0]), of([0.0, 4.0], [1.0, 0.0]));
        // |m - n|^2 = 1 + 4; (2 - 1)^2 + (3 - 0)^2.
        assert!((frechet(&a, &b).unwrap() - 15.0).abs() < 1e-9);
        assert!(frechet(&a, &a).unwrap().abs() < 1e-9);
    }

    /// In two dimensions tr (A B)^(1/2) = sqrt(tr(A B) + 2 sqrt(det A det B)).
    #[test]
    fn correlated_gaussians_have_the_trace_in_closed_form() {
        let [a, b] = [[2.0, 0.7, 0.7, 1.0], [1.5, -0.4, -0.4, 3.0]];
        let det = |m: [f64; 4]| m[0] * m[3] - m[1] * m[2];
        let product: f64 = a[0] * b[0] + a[1] * b[2] + a[2] * b[1] + a[3] * b[3];
        let root = (product + 2.0 * (det(a) * det(b)).sqrt()).sqrt();
        let of = |m: [f64; 4]| Gaussian { mean: vec![0.0; 2], covariance: m.into() };
        let expected = a[0] + a[3] + b[0] + b[3] - 2.0 * root;
        assert!((frechet(&of(a), &of(b)).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn a_covariance_is_the_mean_product_of_deviations() {
        let gaussian = Gaussian::of(&features(vec![1.0, 2.0, 3.0, 0.0, 2.0, 4.0], 2)).unwrap();
        assert_eq!(gaussian.mean, [2.0, 2.0]);
        assert_eq!(gaussian.covariance, [1.0, -1.0, -1.0, 4.0]);
        let message = Gaussian::of(&features(vec![1.0, 2.0], 2)).unwrap_err().to_string();
        assert!(message.contains("at least 2 pictures, and there are 1"), "{message}");
    }

    #[test]
    fn blocks_add_up() {
        let value = |i: usize| ((i * 7919) % 1013) as f32 / 1013.0;
        let all = features((0..3 * 2500).map(value).collect(), 3);
        let gaussian = Gaussian::of(&all).unwrap();
        let column = |f: usize| wide(&all.features.iter().skip(f).step_by(3).copied().collect::<Vec<_>>());
        let (x, y) = (column(0), column(2));
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let expected: f64 = x.iter().zip(&y).map(|(a, b)| (a - mean(&x)) * (b - mean(&y))).sum::<f64>() / 2499.0;
        assert!((gaussian.covariance[2] - expected).abs() < 1e-12 && gaussian.covariance[6] == gaussian.covariance[2]);
    }
}
