//! How well pictures of a model stand for those of the data: distances between two sets of pictures by the features
//! that a classifier has of them. N pictures, F features, K classes.
//!
//! | metric | of | better | source |
//! |---|---|---|---|
//! | `fid` | two Gaussians, fitted to the features | lower | Heusel et al. 2017, arXiv 1706.08500 |
//! | `kid` | the features, through a polynomial kernel | lower | Bińkowski et al. 2018, arXiv 1801.01401 |
//! | `is` | the classes that one set is taken for | higher | Salimans et al. 2016, arXiv 1606.03498 |
//! | `prdc` | neighbours among the features | higher | arXiv 1904.06991 and 2002.09797 (see `neighbours`) |
//!
//! Each is biased by the number of pictures, which stands beside it for that reason. Published numbers are of a network
//! trained on ImageNet; those of another classifier have its data set in front of their names, as in `mnist-fid`.

mod frechet;
pub mod inception;
mod inception_score;
mod judge;
mod kernel;
mod neighbours;

use nalgebra::{DMatrixView, DMatrixViewMut};

pub use inception::Inception;
pub use inception_score::inception_score;
pub use judge::Judge;
pub use kernel::kernel_distance;
pub use neighbours::{NEAREST, Neighbours, prdc};

/// What a classifier makes of N pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// (N,F)
    pub features: Vec<f32>,
    /// F
    pub width: usize,
    /// q(y|x), (N,K)
    pub probabilities: Vec<f32>,
    /// K
    pub classes: usize,
}

impl Features {
    /// N
    pub fn count(&self) -> usize {
        self.features.len() / self.width
    }
}

/// `a` (N,F) times the transpose of `b` (M,F): (N,M) in f64, row by row.
fn products(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    let [n, m] = [a, b].map(|rows| rows.len() / width);
    let mut product = vec![0.0; n * m];
    // nalgebra's matrices go column by column: these are the transposes, and so is the product, B A^T.
    let [a, b] = [(a, n), (b, m)].map(|(rows, count)| DMatrixView::from_slice(rows, width, count));
    b.tr_mul_to(&a, &mut DMatrixViewMut::from_slice(&mut product, m, n));
    product
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}
