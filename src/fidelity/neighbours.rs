//! Precision, recall, density and coverage of made pictures among real ones, by balls around features that reach to the
//! k-th nearest of their own set (Kynkäänniemi et al. 2019, arXiv 1904.06991; Naeem et al. 2020, arXiv 2002.09797):
//!
//! - precision: the share of the made pictures in the ball of any real one. Are they like real ones?
//! - recall: the share of the real pictures in the ball of any made one. Can all be made?
//! - density: in how many real balls a made picture lies, over k. An outlier's wide ball counts once.
//! - coverage: the share of the real balls in which any made picture lies.

use rayon::prelude::*;

use super::{Features, products, wide};

/// k, as in the paper of density and coverage.
pub const NEAREST: usize = 5;
/// Rows of a block of distances.
const BLOCK: usize = 256;

/// The four of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbours {
    /// 0 to 1
    pub precision: f64,
    /// 0 to 1
    pub recall: f64,
    /// From 0; near 1 where the two sets are alike.
    pub density: f64,
    /// 0 to 1
    pub coverage: f64,
}

/// What a block of made pictures adds up: those in any real ball, the balls that they lie in.
#[derive(Default)]
struct Made {
    inside: usize,
    balls: usize,
}

/// The four of them for real and made pictures, with balls to the `k`-th nearest. `None` where a set has not more than
/// k pictures.
pub fn prdc(real: &Features, made: &Features, k: usize) -> Option<Neighbours> {
    let width = real.width;
    if real.count() <= k || made.count() <= k {
        return None;
    }
    let [x, y] = [real, made].map(|features| wide(&features.features));
    let [real_radii, made_radii] = [radii(&x, width, k), radii(&y, width, k)];
    let made_blocks: Vec<Made> = y
        .par_chunks(BLOCK * width)
        .map(|block| {
            distances(block, &x, width).chunks(real.count()).fold(Made::default(), |sum, row| {
                let balls = row.iter().zip(&real_radii).filter(|(d, radius)| d < radius).count();
                Made { inside: sum.inside + usize::from(balls > 0), balls: sum.balls + balls }
            })
        })
        .collect();
    // Of each real picture: whether it lies in a made ball, and whether a made one lies in its own.
    let real_blocks: Vec<[usize; 2]> = x
        .par_chunks(BLOCK * width)
        .zip(real_radii.par_chunks(BLOCK))
        .map(|(block, own)| {
            distances(block, &y, width).chunks(made.count()).zip(own).fold([0; 2], |[inside, covered], (row, own)| {
                let is_inside = row.iter().zip(&made_radii).any(|(d, radius)| d < radius);
                [inside + usize::from(is_inside), covered + usize::from(row.iter().any(|d| d < own))]
            })
        })
        .collect();
    let [n, m] = [real.count() as f64, made.count() as f64];
    let of_made = |f: fn(&Made) -> usize| made_blocks.iter().map(f).sum::<usize>() as f64;
    let of_real = |i: usize| real_blocks.iter().map(|sums| sums[i]).sum::<usize>() as f64;
    Some(Neighbours {
        precision: of_made(|made| made.inside) / m,
        recall: of_real(0) / n,
        density: of_made(|made| made.balls) / (k as f64 * m),
        coverage: of_real(1) / n,
    })
}

/// The squared distance of each row to the k-th nearest other one.
fn radii(x: &[f64], width: usize, k: usize) -> Vec<f64> {
    let n = x.len() / width;
    let blocks = x.par_chunks(BLOCK * width).map(|block| {
        let mut distances = distances(block, x, width);
        // The nearest is the row itself.
        distances.chunks_mut(n).map(|row| *row.select_nth_unstable_by(k, f64::total_cmp).1).collect::<Vec<f64>>()
    });
    blocks.flatten_iter().collect()
}

/// |a_i - b_j|^2, (N,M).
fn distances(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    let squares = |rows: &[f64]| rows.chunks(width).map(|row| row.iter().map(|v| v * v).sum()).collect::<Vec<f64>>();
    let (of_a, of_b) = (squares(a), squares(b));
    let mut products = products(a, b, width);
    for (row, of_a) in products.chunks_mut(of_b.len()).zip(of_a) {
        row.iter_mut().zip(&of_b).for_each(|(product, of_b)| *product = (of_a + of_b - 2.0 * *product).max(0.0));
    }
    products
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f32]) -> Features {
        Features { features: values.to_vec(), width: 1, ..Features::default() }
    }

    #[test]
    fn balls_on_a_line() {
        // Real balls to the nearest: radii 1, 1, 2, 7 around 0, 1, 3, 10. Made ones: 0.5, 0.5, 93.5 around 6, 6.5, 100.
        let (real, made) = (line(&[0.0, 1.0, 3.0, 10.0]), line(&[6.0, 6.5, 100.0]));
        let found = prdc(&real, &made, 1).unwrap();
        // 6 and 6.5 lie in the ball of 10 alone.
        assert_eq!((found.precision, found.density, found.coverage), (2.0 / 3.0, 2.0 / 3.0, 0.25));
        // The ball of 100 reaches to 6.5: 10 lies in it.
        assert_eq!(found.recall, 0.25);
        assert_eq!(prdc(&real, &made, 3), None);
    }

    #[test]
    fn a_set_covers_itself() {
        let value = |i: usize| ((i * 7919) % 1013) as f32;
        let set = line(&(0..600).map(value).collect::<Vec<_>>());
        let found = prdc(&set, &set, 5).unwrap();
        assert_eq!((found.precision, found.recall, found.coverage), (1.0, 1.0, 1.0));
    }
}
