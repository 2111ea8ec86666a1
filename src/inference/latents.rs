//! What the latent dimensions are used for, from q(z|x) of N pictures: `mean` and `logvar` are (N,Z).

use rayon::prelude::*;

use super::kl_by_dimension;
use crate::kernels::random::host_normal;

/// A dimension is in use where the mean of q moves more than that from picture to picture (Burda et al. 2015).
pub const ACTIVE: f64 = 0.01;

/// A report on N encodings. Nats are means over the pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    /// By dimension.
    pub dimensions: Vec<Dimension>,
    /// KL(q(z|x) || N(0,1)).
    pub kl: f64,
    /// I(x; z) under q (Hoffman & Johnson 2016), what z tells of which picture it is: at most log N.
    pub information: f64,
    /// KL(q(z) || N(0,1)) of the mean q(z) of all q(z|x): what is left of the KL.
    pub marginal_kl: f64,
}

/// A latent dimension j.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dimension {
    /// j
    pub index: usize,
    /// KL(q(z_j|x) || N(0,1)) in nats.
    pub kl: f64,
    /// The variance over the pictures of the mean of q(z_j|x).
    pub activity: f64,
    /// Of q(z_j), the mean of all q(z_j|x): its mean.
    pub mean: f64,
    /// And its variance, 1 of a prior that is met.
    pub variance: f64,
}

impl Dimension {
    /// Whether it is in use.
    pub fn is_active(&self) -> bool {
        self.activity > ACTIVE
    }
}

impl Latents {
    /// Of these encodings, with one z drawn of each by this seed for the information. `progress` is told how many of
    /// them are done. Panics where they are not whole rows of `latent`, or none.
    pub fn of(mean: &[f32], logvar: &[f32], latent: usize, seed: u64, progress: &(dyn Fn(usize) + Sync)) -> Latents {
        assert!(!mean.is_empty() && mean.len() == logvar.len() && mean.len().is_multiple_of(latent));
        let dimensions = dimensions(mean, logvar, latent);
        let kl = dimensions.iter().map(|dimension| dimension.kl).sum();
        let information = information(mean, logvar, latent, seed, progress);
        Latents { dimensions, kl, information, marginal_kl: kl - information }
    }

    /// Dimensions in use.
    pub fn active(&self) -> usize {
        self.dimensions.iter().filter(|dimension| dimension.is_active()).count()
    }
}

/// Every dimension of encodings (N,Z), by its number.
pub fn dimensions(mean: &[f32], logvar: &[f32], latent: usize) -> Vec<Dimension> {
    let kl = kl_by_dimension(mean, logvar, latent).into_iter().enumerate();
    kl.map(|(j, kl)| dimension(mean, logvar, latent, j, kl)).collect()
}

/// The dimension of the largest KL first.
pub fn by_kl(dimensions: &[Dimension]) -> Vec<Dimension> {
    let mut dimensions = dimensions.to_vec();
    dimensions.sort_by(|a, b| b.kl.total_cmp(&a.kl));
    dimensions
}

fn dimension(mean: &[f32], logvar: &[f32], latent: usize, index: usize, kl: f64) -> Dimension {
    let column =
        |values: &'_ [f32]| values.iter().skip(index).step_by(latent).map(|&v| f64::from(v)).collect::<Vec<_>>();
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means = column(mean);
    let variances: Vec<f64> = column(logvar).into_iter().map(f64::exp).collect();
    let mean = average(&means);
    let activity = average(&means.iter().map(|m| (m - mean).powi(2)).collect::<Vec<_>>());
    Dimension { index, kl, activity, mean, variance: activity + average(&variances) }
}

/// I(x; z) = E_x E_q[log q(z|x) - log q(z)] with one z of each of N pictures, q(z) = 1/N sum_n q(z|x_n): the estimator
/// of He et al. (2019, arXiv 1901.05534). The entropy of q(z|x) is taken in closed form. N^2 densities.
fn information(mean: &[f32], logvar: &[f32], latent: usize, seed: u64, progress: &(dyn Fn(usize) + Sync)) -> f64 {
    let count = mean.len() / latent;
    let noise = host_normal(seed, 0, mean.len());
    let z: Vec<f64> = mean
        .iter()
        .zip(logvar)
        .zip(noise)
        .map(|((&mean, &logvar), noise)| f64::from(mean) + (0.5 * f64::from(logvar)).exp() * f64::from(noise))
        .collect();
    // log q(z|x_n) but for -Z/2 log 2 pi, which the entropy has too.
    let centre: Vec<f64> = mean.iter().map(|&mean| f64::from(mean)).collect();
    let precision: Vec<f64> = logvar.iter().map(|&logvar| (-f64::from(logvar)).exp()).collect();
    let spread: Vec<f64> = logvar.chunks(latent).map(|row| row.iter().map(|&v| f64::from(v)).sum()).collect();
    let log_q = |z: &[f64], n: usize| {
        let row = n * latent..(n + 1) * latent;
        let squares: f64 =
            z.iter().zip(&centre[row.clone()]).zip(&precision[row]).map(|((z, m), p)| (z - m) * (z - m) * p).sum();
        -0.5 * (squares + spread[n])
    };
    let of = |(n, z): (usize, &[f64])| {
        let densities: Vec<f64> = (0..count).map(|n| log_q(z, n)).collect();
        let most = densities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_marginal = most + (densities.iter().map(|d| (d - most).exp()).sum::<f64>() / count as f64).ln();
        progress(n);
        let negative_entropy = -0.5 * (spread[n] + latent as f64);
        negative_entropy - log_marginal
    };
    let of_each: Vec<f64> = z.par_chunks(latent).enumerate().map(of).collect();
    of_each.iter().sum::<f64>() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mean: &[f32], logvar: &[f32], latent: usize) -> Latents {
        Latents::of(mean, logvar, latent, 1, &|_| ())
    }

    #[test]
    fn a_dimension_that_says_nothing_is_not_active() {
        // One tells pictures apart, one is the prior, one stands still away from it.
        let mean: Vec<f32> = (0..400).flat_map(|n| [(n % 4) as f32 - 1.5, 0.0, 0.7]).collect();
        let logvar: Vec<f32> = (0..400).flat_map(|_| [-6.0, 0.0, 0.0]).collect();
        let latents = report(&mean, &logvar, 3);
        assert_eq!(latents.active(), 1);
        let [first, second, third] = latents.dimensions[..] else { panic!("three dimensions") };
        assert!((first.activity - 1.25).abs() < 1e-9 && (first.variance - 1.25 - (-6f64).exp()).abs() < 1e-6);
        assert_eq!((second.kl, second.activity, second.mean, second.variance), (0.0, 0.0, 0.0, 1.0));
        assert!((third.mean - 0.7).abs() < 1e-6 && third.activity < 1e-12 && (third.kl - 0.245).abs() < 1e-6);
        // Which of four groups a picture is of, and nothing more: log 4.
        assert!((latents.information - 4f64.ln()).abs() < 0.15, "{}", latents.information);
        assert!((latents.kl - latents.information - latents.marginal_kl).abs() < 1e-12);
    }

    #[test]
    fn information_is_at_most_the_logarithm_of_the_pictures_and_zero_of_one_q() {
        let mean: Vec<f32> = (0..50).map(|n| n as f32).collect();
        let apart = report(&mean, &[-9.0; 50], 1);
        assert!((apart.information - 50f64.ln()).abs() < 0.8, "{}", apart.information);
        let same = report(&[0.3; 500], &[0.2; 500], 1);
        assert!(same.information.abs() < 0.1, "{}", same.information);
    }
}
