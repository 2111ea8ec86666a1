//! Editing pictures by their latent points. N pictures, Z latent dimensions, D pixels.

use super::Trained;
use crate::error::{Error, Result};
use crate::train::pictures::one_hot;

/// Steps of the search for a latent point.
pub const STEPS: usize = 300;
/// Adam's rate and decays there.
const RATE: f64 = 0.05;
const FIRST: f64 = 0.9;
const SECOND: f64 = 0.999;

/// The weighted sum of latent points, (N,Z) to (Z). Panics where there is not a weight a point.
pub fn mix(points: &[f32], weights: &[f32]) -> Vec<f32> {
    let latent = points.len() / weights.len();
    assert!(points.len() == latent * weights.len(), "{} numbers for {} weights", points.len(), weights.len());
    (0..latent).map(|k| weights.iter().zip(points.chunks(latent)).map(|(w, z)| w * z[k]).sum()).collect()
}

/// From the mean of the points without a label to that of those with it, (Z): the direction of an attribute. `None`
/// where all have it or none.
pub fn direction(points: &[f32], latent: usize, has: impl Fn(usize) -> bool) -> Option<Vec<f32>> {
    let mut sums = [vec![0.0; latent], vec![0.0; latent]];
    let mut counts = [0usize; 2];
    for (i, z) in points.chunks(latent).enumerate() {
        let side = usize::from(has(i));
        counts[side] += 1;
        sums[side].iter_mut().zip(z).for_each(|(sum, &z)| *sum += f64::from(z));
    }
    let [without, with] = counts.map(|n| n as f64);
    let difference = |k: usize| (sums[1][k] / with - sums[0][k] / without) as f32;
    (counts.iter().all(|&n| n > 0)).then(|| (0..latent).map(difference).collect())
}

/// How much of each dimension's variance the labels explain, 0 to 1 (Z): the variance of the classes' means over that
/// of all points. What it explains is content; the rest is style.
pub fn explained(points: &[f32], labels: &[usize], latent: usize) -> Vec<f64> {
    let n = labels.len() as f64;
    let classes = labels.iter().max().map_or(0, |&most| most + 1);
    (0..latent)
        .map(|k| {
            let values = || points.chunks(latent).map(|z| f64::from(z[k]));
            let mean = values().sum::<f64>() / n;
            let total: f64 = values().map(|z| (z - mean).powi(2)).sum();
            let mut of_class = vec![(0.0, 0.0); classes];
            for (z, &label) in values().zip(labels) {
                of_class[label] = (of_class[label].0 + z - mean, of_class[label].1 + 1.0);
            }
            let between: f64 = of_class.iter().filter(|(_, n)| *n > 0.0).map(|(sum, n)| sum * sum / n).sum();
            if total > 0.0 { between / total } else { 0.0 }
        })
        .collect()
}

impl Trained {
    /// The pictures (N,D) with their unknown pixels filled in, and the latent points that they are of: each z is what
    ///
    ///   -log p(x_seen|z) + |z|^2 / 2
    ///
    /// is least at, as 300 steps of Adam find it from the mean of q(z|x), with unknown pixels black. `seen` (N,D) is 1
    /// where a pixel is known and 0 where it is not, and a model that is told labels has those of the pictures.
    /// `progress` is told the steps that were made, of [`STEPS`].
    ///
    /// Errors: a model without the view `fill`; those of the device; a point that is not finite. Panics where labels
    /// are missing.
    pub fn fill(
        &mut self,
        [x, seen]: [&[f32]; 2],
        labels: Option<&[usize]>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let classes = self.classes("fill")?;
        let known: Vec<f32> = x.iter().zip(seen).map(|(x, seen)| x * seen).collect();
        let [mut z, _] = self.encode(&known, labels)?;
        let told = classes.zip(labels).map(|(classes, labels)| one_hot(labels.iter().copied(), classes));
        let label = told.as_deref().map(|told| ("label", told));
        let filled_at = |model: &mut Trained, z: &[f32]| {
            let inputs = [("x", known.as_slice()), ("seen", seen), ("z", z)];
            model.view("fill", &inputs.into_iter().chain(label).collect::<Vec<_>>(), 0)
        };
        let mut moments = vec![[0.0f64; 2]; z.len()];
        for step in 1..=STEPS {
            let dz = filled_at(self, &z)?.swap_remove(1);
            for ((z, dz), [m, v]) in z.iter_mut().zip(dz).zip(&mut moments) {
                // Of the prior N(0,1): d(z^2/2)/dz = z.
                let gradient = f64::from(dz + *z);
                *m += (1.0 - FIRST) * (gradient - *m);
                *v += (1.0 - SECOND) * (gradient * gradient - *v);
                let [m, v] = [*m / (1.0 - FIRST.powi(step as i32)), *v / (1.0 - SECOND.powi(step as i32))];
                *z -= (RATE * m / (v.sqrt() + 1e-8)) as f32;
            }
            progress(step);
        }
        if z.iter().any(|z| !z.is_finite()) {
            return Err(Error::file(&self.path, "the search for a latent point ends in numbers that are not finite"));
        }
        let filled = filled_at(self, &z)?.swap_remove(0);
        Ok((filled, z))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_the_weighted_sum() {
        assert_eq!(mix(&[1.0, 2.0, 3.0, -4.0], &[0.5, 0.25]), [1.25, 0.0]);
    }

    #[test]
    fn a_direction_is_the_difference_of_means() {
        let points = [0.0, 1.0, 2.0, 3.0, 10.0, 5.0];
        assert_eq!(direction(&points, 2, |i| i == 2), Some(vec![9.0, 3.0]));
        assert_eq!(direction(&points, 2, |_| true), None);
    }

    #[test]
    fn labels_explain_the_dimension_that_parts_them() {
        // The first dimension is the label, the second is not; the third does not vary.
        let points = [0.0, 1.0, 7.0, 0.0, -1.0, 7.0, 2.0, 1.0, 7.0, 2.0, -1.0, 7.0];
        assert_eq!(explained(&points, &[0, 0, 1, 1], 3), [1.0, 0.0, 0.0]);
    }
}
