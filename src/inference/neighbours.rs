//! Whether latent points that are near each other are of the same class.

use rayon::prelude::*;

/// The share of test points (N,Z) whose nearest training point (M,Z), by Euclidean distance, has their label; of two
/// that are as near the first one counts. 1-NN accuracy, in `[0,1]`. Panics without a training point.
pub fn accuracy(train: (&[f32], &[u8]), test: (&[f32], &[u8]), width: usize) -> f64 {
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    let is_right = |(point, label): (&[f32], &u8)| {
        let of = train.0.chunks_exact(width).map(|other| distance(point, other));
        let (nearest, _) = of.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).expect("there are training points");
        train.1[nearest] == *label
    };
    let right = test.0.par_chunks_exact(width).zip(test.1).filter(|&pair| is_right(pair)).count();
    right as f64 / test.1.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_point_decides() {
        let train = ([0.0, 0.0, 10.0, 0.0, 0.0, 10.0], [0, 1, 2]);
        let test = ([1.0, 1.0, 9.0, 2.0, 4.0, 6.0, 6.0, 1.0], [0, 1, 2, 0]);
        assert_eq!(accuracy((&train.0, &train.1), (&test.0, &test.1), 2), 0.75);
    }
}
