//! Units in the last place: how far apart two results are, counted in floating-point numbers.
//!
//! The count says how well a device rounds, not whether a result is right: a small difference of large numbers may be
//! many units off and still be as exact as its terms were.

/// Steps from one f32 to the next that lead from `a` to `b`: 0 for equal numbers (0 and -0 are), 1 for neighbours. A
/// NaN is as far away as can be, unless both have the same bits.
pub fn distance(a: f32, b: f32) -> u64 {
    if a.to_bits() == b.to_bits() {
        return 0;
    }
    if a.is_nan() || b.is_nan() {
        return u64::MAX;
    }
    // Bits of one sign are in the order of the numbers; those of negative numbers count downwards from 0.
    let place = |x: f32| {
        let magnitude = (x.to_bits() & 0x7fff_ffff) as i64;
        if x.is_sign_negative() { -magnitude } else { magnitude }
    };
    place(a).abs_diff(place(b))
}

/// How many pairs of results are how far apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Pairs of each of [`BUCKETS`], in their order.
    pub counts: [u64; BUCKETS.len()],
}

/// The distances of each column: its heading and the least of them.
pub const BUCKETS: [(&str, u64); 6] = [("0", 0), ("1", 1), ("2-3", 2), ("4-15", 4), ("16-255", 16), ("256+", 256)];

impl Histogram {
    /// Counts a pair this far apart.
    pub fn add(&mut self, distance: u64) {
        let bucket = BUCKETS.iter().rposition(|&(_, least)| distance >= least);
        self.counts[bucket.expect("the first bucket begins at 0")] += 1;
    }

    /// Adds the pairs of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// Pairs of all distances.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The share of each column, from 0 to 1.
    pub fn shares(&self) -> [f64; BUCKETS.len()] {
        self.counts.map(|count| count as f64 / self.total().max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_apart_across_zero_and_powers_of_two() {
        assert_eq!(distance(1.0, 1.0f32.next_up()), 1);
        assert_eq!(distance(2.0, 2.0f32.next_down()), 1);
        assert_eq!(distance(0.0, -0.0), 0);
        assert_eq!(distance(f32::from_bits(1), -f32::from_bits(1)), 2);
        assert_eq!(distance(-1.0, -1.0 - f32::EPSILON), 1);
        assert_eq!(distance(1.0, 2.0), 1 << 23);
        assert_eq!(distance(f32::MAX, f32::INFINITY), 1);
    }

    #[test]
    fn nan_is_far_from_everything_but_itself() {
        assert_eq!(distance(f32::NAN, f32::NAN), 0);
        assert_eq!(distance(f32::NAN, 1.0), u64::MAX);
        assert_eq!(distance(1.0, f32::NAN), u64::MAX);
    }

    #[test]
    fn each_distance_has_its_column() {
        let mut histogram = Histogram::default();
        for distance in [0, 0, 1, 2, 3, 4, 15, 16, 255, 256, u64::MAX] {
            histogram.add(distance);
        }
        assert_eq!(histogram.counts, [2, 1, 2, 2, 2, 2]);
        let mut twice = histogram;
        twice.merge(&histogram);
        assert_eq!(twice.total(), 22);
        assert_eq!(twice.shares()[0], 4.0 / 22.0);
        assert_eq!(Histogram::default().shares(), [0.0; 6]);
    }
}
