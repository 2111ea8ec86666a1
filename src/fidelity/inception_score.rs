//! The inception score, exp E_x KL(q(y|x) || q(y)), where q(y) is the mean of q(y|x): 1 where all pictures are taken
//! for the same, K where each is surely of one class and all classes are as frequent.

use super::Features;
use crate::mean::Spread;

/// Parts of the pictures that a score is taken of, as by Salimans et al.
const PARTS: usize = 10;

/// Over ten parts, or over as many as there are pictures. Published tables have the deviation of all parts, too.
pub fn inception_score(features: &Features) -> Spread {
    let (n, classes) = (features.count(), features.classes);
    let parts = PARTS.min(n);
    // Parts of the original are consecutive, and differ by at most one picture.
    let scores: Vec<f64> = (0..parts)
        .map(|part| of(&features.probabilities[part * n / parts * classes..(part + 1) * n / parts * classes], classes))
        .collect();
    Spread::of_all(&scores)
}

fn of(probabilities: &[f32], classes: usize) -> f64 {
    let n = (probabilities.len() / classes) as f64;
    let mut mean = vec![0.0; classes];
    for row in probabilities.chunks(classes) {
        mean.iter_mut().zip(row).for_each(|(sum, &p)| *sum += f64::from(p) / n);
    }
    let divergence = |row: &[f32]| -> f64 {
        let terms = row.iter().zip(&mean).filter(|&(&p, _)| p > 0.0);
        terms.map(|(&p, mean)| f64::from(p) * (f64::from(p).ln() - mean.ln())).sum()
    };
    (probabilities.chunks(classes).map(divergence).sum::<f64>() / n).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(rows: &[[f32; 2]], times: usize) -> Spread {
        let probabilities: Vec<f32> = rows.iter().cycle().take(rows.len() * times).flatten().copied().collect();
        let features = vec![0.0; rows.len() * times];
        inception_score(&Features { features, width: 1, probabilities, classes: 2 })
    }

    #[test]
    fn sure_and_varied_pictures_score_the_classes() {
        let sure = score(&[[1.0, 0.0], [0.0, 1.0]], 10);
        assert!((sure.mean - 2.0).abs() < 1e-12 && sure.standard_deviation < 1e-12);
        assert!((score(&[[1.0, 0.0]], 20).mean - 1.0).abs() < 1e-12, "all the same");
        assert!((score(&[[0.5, 0.5]], 20).mean - 1.0).abs() < 1e-12, "none is sure");
    }

    #[test]
    fn a_score_is_of_its_definition() {
        // q(y) = (0.6, 0.4)
        let kl = |p: f64| p * (p / 0.6).ln() + (1.0 - p) * ((1.0 - p) / 0.4).ln();
        let expected = ((kl(0.9) + kl(0.3)) / 2.0).exp();
        assert!((score(&[[0.9, 0.1], [0.3, 0.7]], 10).mean - expected).abs() < 1e-6);
    }
}
