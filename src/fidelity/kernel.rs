//! The kernel distance: the squared maximum mean discrepancy of two sets of features under k(x,y) = (x y / F + 1)^3,
//! estimated without bias, so that it does not hang on the number of pictures as the Fréchet distance does
//! (Bińkowski et al. 2018, arXiv 1801.01401, eq. 4):
//!
//!   mean of k(x_i,x_j) over i != j + mean of k(y_i,y_j) over i != j - 2 mean of k(x_i,y_j)

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{Features, products};
use crate::mean::Spread;

/// Parts that it is taken of, and pictures in each, as published.
const PARTS: usize = 100;
const SIZE: usize = 1000;

/// Mean and standard deviation over parts of both sets, drawn by the seed: 100 of 1000 pictures, or one of all where
/// there are not so many.
pub fn kernel_distance(a: &Features, b: &Features, seed: u64) -> Spread {
    let size = SIZE.min(a.count()).min(b.count());
    let is_drawn = size == SIZE;
    let parts = if is_drawn { PARTS } else { 1 };
    let values: Vec<f64> = (0..parts)
        .into_par_iter()
        .map(|part| {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(part as u64);
            let [x, y] = [a, b].map(|features| match is_drawn {
                true => {
                    let mut order: Vec<usize> = (0..features.count()).collect();
                    rows(features, order.partial_shuffle(rng, size).0.iter().copied())
                }
                false => rows(features, 0..features.count()),
            });
            discrepancy(&x, &y, a.width)
        })
        .collect();
    Spread::of_all(&values)
}

fn rows(features: &Features, wanted: impl Iterator<Item = usize>) -> Vec<f64> {
    let row = |i: usize| &features.features[i * features.width..(i + 1) * features.width];
    wanted.flat_map(|i| row(i).iter().map(|&v| f64::from(v))).collect()
}

fn discrepancy(x: &[f64], y: &[f64], width: usize) -> f64 {
    let kernel = |product: f64| (product / width as f64 + 1.0).powi(3);
    let [n, m] = [x, y].map(|rows| (rows.len() / width) as f64);
    // Over all pairs; the pairs of a picture with itself are no part of the estimate.
    let all = |a: &[f64], b: &[f64]| products(a, b, width).into_iter().map(kernel).sum::<f64>();
    let itself = |a: &[f64]| a.chunks(width).map(|row| kernel(row.iter().map(|v| v * v).sum())).sum::<f64>();
    let within = |a: &[f64], n: f64| (all(a, a) - itself(a)) / (n * (n - 1.0));
    within(x, n) + within(y, m) - 2.0 * all(x, y) / (n * m)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(values: &[f32]) -> Features {
        Features { features: values.to_vec(), width: 2, ..Features::default() }
    }

    #[test]
    fn few_pictures_are_taken_whole() {
        let (a, b) = (features(&[1.0, 0.0, 0.0, 2.0]), features(&[1.0, 1.0, 3.0, -1.0, 0.0, 0.5]));
        let k = |x: [f64; 2], y: [f64; 2]| ((x[0] * y[0] + x[1] * y[1]) / 2.0 + 1.0).powi(3);
        let (xs, ys) = ([[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [3.0, -1.0], [0.0, 0.5]]);
        let within_y = (k(ys[0], ys[1]) + k(ys[0], ys[2]) + k(ys[1], ys[2])) / 3.0;
        let across = xs.iter().flat_map(|&x| ys.iter().map(move |&y| k(x, y))).sum::<f64>() / 6.0;
        let found = kernel_distance(&a, &b, 1);
        assert!(
            (found.mean - (k(xs[0], xs[1]) + within_y - 2.0 * across)).abs() < 1e-12 && found.standard_deviation == 0.0
        );
    }

    #[test]
    fn parts_of_many_are_drawn_by_the_seed() {
        let many = |shift: f32| {
            let value = |i: usize| ((i * 7919) % 1013) as f32 / 1013.0 + shift;
            features(&(0..2 * 1500).map(value).collect::<Vec<_>>())
        };
        let (a, b) = (many(0.0), many(0.5));
        let apart = kernel_distance(&a, &b, 1);
        assert_eq!(apart, kernel_distance(&a, &b, 1));
        assert_ne!(apart, kernel_distance(&a, &b, 2));
        assert!(apart.mean > 0.5 && apart.standard_deviation > 0.0, "{apart:?}");
        assert!(kernel_distance(&a, &a, 1).mean.abs() < 1e-2);
    }
}
