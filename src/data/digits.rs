//! Built-in handwritten-looking digits: a stand-in for MNIST that needs no file and no network.
//!
//! Each digit is a few pen strokes, drawn below on a grid of 20 by 20 pixels (x to the right, y down), the box MNIST
//! fits its digits into. A picture takes one style of its digit and
//!
//! 1. moves every control point a little, and lays a Catmull-Rom curve through them;
//! 2. bends (a quadratic map), shears, scales and turns the curve;
//! 3. fits it into the 20 by 20 box, and the box off-centre into 28 by 28;
//! 4. inks every pixel by its distance to the curve, with a pen of random width, softness and pressure.
//!
//! Every picture has a random stream of its own, so pictures are made in parallel and in any order. The arithmetic is
//! `+ - * /` and `sqrt` only, which IEEE 754 rounds the same everywhere, so the bytes are the same on every platform.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Dataset;
use super::table::Table;

const SIDE: usize = 28;
/// Side of the box a digit is fitted into, in pixels.
const BOX: f32 = 20.0;
/// Straight pieces between two control points of a curve.
const PIECES: usize = 5;

type Point = [f32; 2];
/// Control points of one pen stroke. A point given twice is a sharp corner.
type Stroke = &'static [Point];

/// For each digit, its styles; for each style, its strokes.
#[rustfmt::skip]
const GLYPHS: [&[&[Stroke]]; 10] = [
    // 0
    &[
        &[
            &[[11.0, 0.8], [6.6, 3.0], [4.2, 9.0], [5.2, 15.6], [9.6, 19.2], [14.0, 16.6], [15.8, 10.0], [14.6, 3.8],
              [11.0, 0.8]],
        ],
        &[
            &[[12.6, 2.2], [9.0, 0.9], [5.0, 5.0], [3.8, 11.5], [6.2, 17.6], [11.2, 18.8], [15.6, 14.0], [16.0, 6.4],
              [12.8, 1.6], [9.2, 1.8]],
        ],
    ],
    // 1
    &[
        &[
            &[[10.4, 0.6], [10.1, 10.0], [9.6, 19.4]],
        ],
        &[
            &[[6.6, 4.8], [9.0, 3.2], [11.0, 0.8], [11.0, 0.8], [10.6, 10.0], [10.2, 19.4]],
        ],
    ],
    // 2
    &[
        &[
            &[[4.6, 5.0], [7.2, 1.4], [11.6, 0.8], [14.8, 3.6], [14.2, 7.8], [10.2, 13.0], [4.0, 18.8], [4.0, 18.8],
              [10.0, 18.6], [16.2, 18.8]],
        ],
        &[
            &[[4.6, 4.4], [8.2, 1.0], [12.8, 1.2], [14.6, 5.2], [12.2, 10.6], [8.0, 16.6], [4.6, 18.8], [3.4, 16.8],
              [6.4, 15.4], [10.4, 17.6], [16.6, 18.2]],
        ],
    ],
    // 3
    &[
        &[
            &[[4.8, 3.2], [8.4, 0.8], [13.0, 1.4], [14.4, 4.8], [12.4, 8.0], [8.4, 9.4], [8.4, 9.4], [13.0, 10.4],
              [15.4, 13.8], [13.4, 17.8], [8.6, 19.2], [4.2, 17.0]],
        ],
        &[
            &[[5.0, 1.2], [10.0, 0.9], [14.6, 1.2], [14.6, 1.2], [9.4, 8.0], [9.4, 8.0], [14.0, 9.8], [15.4, 13.8],
              [12.8, 18.0], [8.4, 19.2], [4.4, 17.2]],
        ],
    ],
    // 4
    &[
        &[
            &[[5.4, 1.2], [4.6, 6.0], [4.8, 10.6], [4.8, 10.6], [10.0, 11.2], [15.2, 10.4]],
            &[[15.0, 0.8], [14.6, 9.4], [13.8, 19.4]],
        ],
        &[
            &[[12.6, 0.6], [8.6, 6.4], [3.6, 13.0], [3.6, 13.0], [10.0, 13.0], [16.6, 12.8]],
            &[[12.6, 0.6], [12.4, 10.0], [12.0, 19.4]],
        ],
    ],
    // 5
    &[
        &[
            &[[6.4, 1.2], [5.4, 8.8], [5.4, 8.8], [9.4, 7.6], [13.8, 9.4], [15.0, 13.4], [12.8, 17.6], [8.4, 19.2],
              [4.4, 17.4]],
            &[[6.4, 1.2], [11.0, 1.0], [15.4, 0.8]],
        ],
        &[
            &[[15.6, 1.4], [11.0, 1.4], [7.6, 2.4], [7.6, 2.4], [6.0, 7.8], [9.8, 9.4], [13.4, 12.2], [12.6, 16.8],
              [8.6, 19.2], [4.0, 18.4]],
        ],
    ],
    // 6
    &[
        &[
            &[[13.0, 0.8], [8.4, 4.6], [5.4, 10.0], [5.2, 15.4], [8.2, 19.0], [12.6, 18.2], [14.8, 14.6],
              [12.8, 11.0], [9.0, 11.0], [5.8, 14.4]],
        ],
        &[
            &[[10.0, 0.6], [6.4, 6.8], [4.8, 13.4], [6.8, 18.2], [11.0, 19.2], [14.8, 16.6], [13.8, 12.8],
              [9.6, 11.8], [5.8, 14.8]],
        ],
    ],
    // 7
    &[
        &[
            &[[4.2, 2.4], [9.6, 1.6], [15.6, 1.4], [15.6, 1.4], [12.0, 9.0], [9.0, 19.4]],
        ],
        &[
            &[[4.2, 1.6], [9.6, 1.8], [15.6, 1.2], [15.6, 1.2], [11.4, 9.0], [8.6, 19.4]],
            &[[7.0, 10.2], [10.8, 9.8], [14.6, 9.6]],
        ],
    ],
    // 8
    &[
        &[
            &[[14.2, 3.6], [10.4, 0.8], [6.2, 2.8], [6.6, 6.6], [10.6, 9.8], [14.4, 13.6], [13.4, 17.8], [9.6, 19.2],
              [5.8, 17.4], [5.8, 13.6], [9.8, 9.8], [13.6, 6.6], [14.2, 3.6]],
        ],
        &[
            &[[10.2, 9.2], [6.4, 7.2], [6.4, 2.8], [10.2, 0.9], [14.0, 2.8], [14.0, 7.0], [10.2, 9.2]],
            &[[10.2, 9.2], [5.8, 11.8], [5.4, 16.6], [10.0, 19.2], [14.6, 16.6], [14.4, 11.8], [10.2, 9.2]],
        ],
    ],
    // 9
    &[
        &[
            &[[14.6, 4.2], [11.0, 0.9], [6.8, 2.2], [5.2, 6.2], [7.2, 9.6], [11.2, 9.2], [14.6, 4.2], [14.6, 4.2],
              [14.2, 11.0], [13.0, 19.4]],
        ],
        &[
            &[[13.8, 3.0], [9.8, 0.9], [6.0, 3.4], [5.8, 7.6], [9.6, 9.4], [13.4, 7.2], [14.4, 3.6], [14.4, 3.6],
              [14.8, 11.0], [12.2, 17.4], [6.6, 18.8]],
        ],
    ],
];

/// The data set in MNIST's sizes: 60,000 training and 10,000 test pictures of shape (1, 28, 28). With `limits`, only
/// the first of each split are drawn.
pub fn dataset(limits: [Option<usize>; 2]) -> Dataset {
    let [train, test] = [60_000, 10_000];
    Dataset {
        name: "digits".to_string(),
        class_names: Vec::new(),
        vocabulary: None,
        spectrogram: None,
        train: split(0, limits[0].map_or(train, |limit| limit.min(train))),
        test: split(1, limits[1].map_or(test, |limit| limit.min(test))),
    }
}

/// The first `count` pictures of the endless sequence `seed`, shape (1, 28, 28), and their digits 0 to 9.
pub fn split(seed: u64, count: usize) -> Table {
    let mut pixels = vec![0; count * SIDE * SIDE];
    let labels = pixels
        .par_chunks_exact_mut(SIDE * SIDE)
        .enumerate()
        .map(|(index, picture)| {
            let mut pen = Pen::new(seed, index as u64);
            let digit = pen.below(10);
            draw(&mut pen, digit, picture);
            digit as u8
        })
        .collect();
    Table::of_pictures([1, SIDE, SIDE], pixels, Some((labels, 10)))
}

/// The random numbers of one picture.
struct Pen(ChaCha8Rng);

impl Pen {
    fn new(seed: u64, index: u64) -> Pen {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_stream(index);
        Pen(random)
    }

    /// Uniform over `0..n`.
    fn below(&mut self, n: usize) -> usize {
        ((self.0.next_u32() as u64 * n as u64) >> 32) as usize
    }

    /// Uniform over `[low, high)`. The top 24 bits are an f32 without rounding.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.0.next_u32() >> 8) as f32 / (1 << 24) as f32)
    }

    /// Triangular over `(-reach, reach)`: small values are more likely than large ones.
    fn around_zero(&mut self, reach: f32) -> f32 {
        self.between(-reach, 0.0) + self.between(0.0, reach)
    }
}

/// Draws `digit` on `picture` (28 * 28, all zero).
fn draw(pen: &mut Pen, digit: usize, picture: &mut [u8]) {
    let styles = GLYPHS[digit];
    let style = styles[pen.below(styles.len())];
    let mut curves: Vec<Vec<Point>> = style.iter().map(|stroke| curve(pen, stroke)).collect();
    distort(pen, &mut curves);
    fit(pen, &mut curves);
    ink(pen, &curves, picture);
}

/// Catmull-Rom curve through the stroke's control points, each moved by up to 0.8 pixels.
fn curve(pen: &mut Pen, stroke: Stroke) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::with_capacity(stroke.len());
    for (i, &[x, y]) in stroke.iter().enumerate() {
        let corner = i > 0 && stroke[i - 1] == [x, y];
        points.push(if corner { points[i - 1] } else { [x + pen.around_zero(0.8), y + pen.around_zero(0.8)] });
    }
    let last = points.len() - 1;
    let mut curve = vec![points[0]];
    for i in 0..last {
        if points[i] == points[i + 1] {
            continue;
        }
        let [before, from, to, after] =
            [points[i.saturating_sub(1)], points[i], points[i + 1], points[(i + 2).min(last)]];
        for piece in 1..=PIECES {
            let t = piece as f32 / PIECES as f32;
            curve.push([0, 1].map(|axis| {
                // The cubic with value `from`, `to` and slope `(to - before)/2`, `(after - from)/2` at t = 0, 1.
                let (a, b) = (from[axis], to[axis]);
                let (da, db) = ((b - before[axis]) / 2.0, (after[axis] - a) / 2.0);
                let (c2, c3) = (3.0 * (b - a) - 2.0 * da - db, 2.0 * (a - b) + da + db);
                a + t * (da + t * (c2 + t * c3))
            }));
        }
    }
    curve
}

/// Bends, shears, scales and turns the curves about the middle of the box.
fn distort(pen: &mut Pen, curves: &mut [Vec<Point>]) {
    let [xx, xy, yy, yx] = [(); 4].map(|()| pen.around_zero(1.5));
    let shear = pen.around_zero(0.3);
    let [width, height] = [pen.between(0.75, 1.15), pen.between(0.85, 1.05)];
    // cos and sin of the angle from t = tan(angle / 2), without a call that platforms round differently;
    // |t| < 0.1317 is an angle within 15 degrees.
    let t = pen.around_zero(0.1317);
    let [cos, sin] = [(1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)];
    for [x, y] in curves.iter_mut().flatten() {
        let [u, v] = [*x - BOX / 2.0, *y - BOX / 2.0];
        let [p, q] = [u / (BOX / 2.0), v / (BOX / 2.0)];
        let bent = [u + xx * q * q + xy * p * q, v + yy * p * p + yx * p * q];
        let [u, v] = [width * (bent[0] - shear * bent[1]), height * bent[1]];
        [*x, *y] = [cos * u - sin * v, sin * u + cos * v];
    }
}

/// Shrinks curves larger than the box, and puts their middle within 2 pixels of the picture's.
fn fit(pen: &mut Pen, curves: &mut [Vec<Point>]) {
    for axis in [0, 1] {
        let all = || curves.iter().flatten().map(|point| point[axis]);
        let (low, high) = (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
        let scale = (BOX / (high - low)).min(1.0);
        let middle = SIDE as f32 / 2.0 + pen.around_zero(2.0);
        for point in curves.iter_mut().flatten() {
            point[axis] = middle + scale * (point[axis] - (low + high) / 2.0);
        }
    }
}

/// Inks the pixels near the curves: full within the pen's radius, falling to exactly 0 over its soft edge.
fn ink(pen: &mut Pen, curves: &[Vec<Point>], picture: &mut [u8]) {
    let (radius, soft) = (pen.between(0.5, 1.45), pen.between(0.6, 1.0));
    let pressure = pen.between(230.0, 256.0);
    let reach = radius + soft;
    // Squared distance of each pixel's centre to the nearest curve; beyond `reach` it does not matter.
    let mut nearest = [reach * reach; SIDE * SIDE];
    let pixels =
        |low: f32, high: f32| (low - reach - 0.5).max(0.0) as usize..((high + reach + 0.5).max(0.0) as usize).min(SIDE);
    for segment in curves.iter().flat_map(|curve| curve.windows(2)) {
        let [[ax, ay], [bx, by]] = [segment[0], segment[1]];
        let [dx, dy] = [bx - ax, by - ay];
        let length2 = (dx * dx + dy * dy).max(1e-12);
        for row in pixels(ay.min(by), ay.max(by)) {
            for column in pixels(ax.min(bx), ax.max(bx)) {
                let [px, py] = [column as f32 + 0.5 - ax, row as f32 + 0.5 - ay];
                let along = ((px * dx + py * dy) / length2).clamp(0.0, 1.0);
                let [ex, ey] = [px - along * dx, py - along * dy];
                let distance2 = ex * ex + ey * ey;
                let best = &mut nearest[row * SIDE + column];
                *best = best.min(distance2);
            }
        }
    }
    for (pixel, distance2) in picture.iter_mut().zip(nearest) {
        if distance2 < reach * reach {
            let cover = ((reach - distance2.sqrt()) / soft).min(1.0);
            *pixel = (cover * pressure * pen.between(0.93, 1.0)) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn centroids(split: &Table) -> Vec<Vec<f64>> {
        let labels = split.labels().unwrap();
        let mut sums = vec![vec![0.0; split.dims()]; 10];
        let mut counts = [0.0; 10];
        for (picture, &label) in split.pixels().chunks_exact(split.dims()).zip(labels) {
            counts[label as usize] += 1.0;
            sums[label as usize].iter_mut().zip(picture).for_each(|(sum, &p)| *sum += p as f64);
        }
        for (sum, count) in sums.iter_mut().zip(counts) {
            sum.iter_mut().for_each(|s| *s /= count);
        }
        sums
    }

    #[test]
    fn bytes_are_the_same_everywhere() {
        let split = split(0, 100);
        let content = [split.pixels(), split.labels().unwrap()].concat();
        let sha256: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sha256, "eca8b8a123f3fceeb41c9c02a86b3a8a93b8fda1dacdf75660adc2ab7777a6d1");
    }

    #[test]
    fn a_picture_depends_on_its_seed_and_index_only() {
        let (short, long, other) = (split(0, 10), split(0, 300), split(1, 10));
        assert_eq!(short.pixels(), &long.pixels()[..10 * 784]);
        assert_eq!(short.labels().unwrap(), &long.labels().unwrap()[..10]);
        assert_ne!(short.pixels(), other.pixels());
    }

    #[test]
    fn statistics_are_near_those_of_mnist() {
        let split = split(0, 2000);
        let n = split.pixels().len() as f64;
        let mean = split.pixels().iter().map(|&p| p as f64 / 255.0).sum::<f64>() / n;
        let square = split.pixels().iter().map(|&p| (p as f64 / 255.0).powi(2)).sum::<f64>() / n;
        let empty = split.pixels().iter().filter(|&&p| p == 0).count() as f64 / n;
        // MNIST's training pictures: mean 0.1307, standard deviation 0.3081, 81 % of the pixels exactly 0.
        assert!((mean - 0.1307).abs() < 0.01, "mean {mean}");
        assert!(((square - mean * mean).sqrt() - 0.3081).abs() < 0.02, "deviation {}", (square - mean * mean).sqrt());
        assert!((empty - 0.81).abs() < 0.03, "empty {empty}");
        let labels = split.labels().unwrap();
        for digit in 0..10 {
            let count = labels.iter().filter(|&&l| l == digit).count();
            assert!((150..250).contains(&count), "{count} of digit {digit}");
        }
    }

    #[test]
    fn digits_can_be_told_apart() {
        let centroids = centroids(&split(0, 2000));
        let test = split(1, 1000);
        let right = test
            .pixels()
            .chunks_exact(784)
            .zip(test.labels().unwrap())
            .filter(|(picture, label)| {
                let distance = |centroid: &Vec<f64>| -> f64 {
                    centroid.iter().zip(*picture).map(|(c, &p)| (c - p as f64).powi(2)).sum()
                };
                let nearest = (0..10).min_by(|&a, &b| distance(&centroids[a]).total_cmp(&distance(&centroids[b])));
                nearest == Some(**label as usize)
            })
            .count();
        // The same classifier gets 820 of 1000 on MNIST.
        assert!(right > 700, "{right} of 1000");
    }
}
