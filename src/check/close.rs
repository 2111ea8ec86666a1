//! The one comparison. It is written so that NaN fails.

use super::ulp::{self, Histogram};
use crate::cases::Tolerance;

/// Two arrays beside each other: how far they are apart, and the verdict.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// How many there are in each array.
    pub elements: usize,
    /// The largest |got - want|.
    pub absolute: Worst,
    /// The largest |got - want| as a share of the larger magnitude.
    pub relative: Worst,
    /// The largest |got - want| as a share of the accepted one; infinite where the comparison fails.
    pub of_accepted: f32,
    /// Elements by their distance in units in the last place.
    pub ulps: Histogram,
    /// What failed, if anything did.
    pub mismatch: Option<Mismatch>,
}

/// Where an error is largest; infinite where one of the two is NaN.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worst {
    /// The error, absolute or relative as [`Comparison`] says.
    pub error: f32,
    /// The element that has it, counted through the array.
    pub index: usize,
    /// What was computed there.
    pub got: f32,
    /// What it should be.
    pub want: f32,
}

impl Worst {
    fn see(&mut self, error: f32, index: usize, got: f32, want: f32) {
        let error = if error.is_nan() { f32::INFINITY } else { error };
        if index == 0 || error > self.error {
            *self = Worst { error, index, got, want };
        }
    }
}

/// The worst disagreement between two arrays.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The element that is furthest beyond its accepted difference.
    pub index: usize,
    /// What was computed there.
    pub got: f32,
    /// What it should be.
    pub want: f32,
    /// The |got - want| that is accepted there.
    pub bound: f32,
    /// How many elements fail.
    pub count: usize,
    /// The first element that fails.
    pub first: usize,
}

// ANCHOR: compare
/// The verdict on one element. Identical bits pass, be they a NaN, infinite, a poisoned word left alone or an integer;
/// any other NaN or infinite difference fails whatever the bound.
fn passes(got: f32, want: f32, bound: f32) -> bool {
    let difference = (got - want).abs();
    got.to_bits() == want.to_bits() || (difference.is_finite() && difference <= bound)
}
// ANCHOR_END: compare

/// Compares element by element; `Err` holds the worst element and how many failed. Unequal lengths panic.
pub fn compare(got: &[f32], want: &[f32], tolerance: Tolerance) -> Result<(), Mismatch> {
    measure(got, want, tolerance, 1.0).mismatch.map_or(Ok(()), Err)
}

/// Compares element by element, numbers that count as 1 where they are `unit` large. Unequal lengths panic.
pub fn measure(got: &[f32], want: &[f32], tolerance: Tolerance, unit: f32) -> Comparison {
    assert!(got.len() == want.len(), "comparing {} elements with {}", got.len(), want.len());
    let mut comparison = Comparison { elements: got.len(), ..Comparison::default() };
    let mut worst: Option<(f32, Mismatch)> = None;
    let (mut count, mut first) = (0, 0);
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let magnitude = got.abs().max(want.abs());
        let bound = unit * tolerance.bound(magnitude / unit);
        let difference = if got.to_bits() == want.to_bits() { 0.0 } else { (got - want).abs() };
        comparison.ulps.add(ulp::distance(got, want));
        comparison.absolute.see(difference, index, got, want);
        comparison.relative.see(if difference == 0.0 { 0.0 } else { difference / magnitude }, index, got, want);
        if passes(got, want, bound) {
            if difference > 0.0 {
                comparison.of_accepted = comparison.of_accepted.max(difference / bound);
            }
            continue;
        }
        comparison.of_accepted = f32::INFINITY;
        first = if count == 0 { index } else { first };
        count += 1;
        let excess = if difference.is_nan() { f32::INFINITY } else { difference - bound };
        if worst.as_ref().is_none_or(|(e, _)| excess > *e) {
            worst = Some((excess, Mismatch { index, got, want, bound, count: 0, first: 0 }));
        }
    }
    comparison.mismatch = worst.map(|(_, mismatch)| Mismatch { count, first, ..mismatch });
    comparison
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Mismatch { index, got, want, bound, count, .. } = self;
        write!(
            f,
            "{count} elements differ, worst at {index}: got {got:e}, want {want:e}, accepted difference {bound:e}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_infinity_fail() {
        let loose = Tolerance::Because(1e9, "test");
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(compare(&[bad], &[1.0], loose).is_err(), "{bad}");
            assert!(compare(&[1.0], &[bad], loose).is_err(), "{bad}");
        }
        assert!(compare(&[f32::INFINITY], &[f32::NEG_INFINITY], loose).is_err());
    }

    #[test]
    fn the_worst_element_is_named() {
        let m = compare(&[1.0, 2.5, 3.1], &[1.0, 2.0, 3.0], Tolerance::Because(1e-3, "test")).unwrap_err();
        assert_eq!((m.index, m.count), (1, 2));
    }

    #[test]
    fn exact_means_bits() {
        assert!(compare(&[1.0], &[1.0 + f32::EPSILON], Tolerance::Exact).is_err());
        assert!(compare(&[1.0], &[1.0], Tolerance::Exact).is_ok());
    }

    #[test]
    fn the_statistics_are_those_of_the_verdict() {
        let tolerance = Tolerance::Because(1e-3, "test");
        let c = measure(&[100.0, 2.0005, 0.0, 1e-6], &[100.01, 2.0, 0.0, 2e-6], tolerance, 1.0);
        assert!(c.mismatch.is_none() && (0.24..0.26).contains(&c.of_accepted), "{c:?}");
        assert_eq!((c.elements, c.absolute.index, c.relative.index, c.relative.error), (4, 0, 3, 0.5));
        assert_eq!((c.ulps.total(), c.ulps.counts[0]), (4, 1));
        let c = measure(&[1.0, f32::NAN, 1.5], &[1.0, 1.0, 1.0], tolerance, 1.0);
        let m = c.mismatch.unwrap();
        assert_eq!((m.count, m.first, c.absolute.index, c.absolute.error), (2, 1, 1, f32::INFINITY));
    }

    #[test]
    fn a_unit_moves_the_bound_with_the_numbers() {
        let tolerance = Tolerance::Because(1e-3, "test");
        let [got, want] = [[1e-3, 1e-6], [1e-3, 2e-6]];
        assert!(measure(&got, &want, tolerance, 1.0).mismatch.is_none());
        assert!(measure(&got, &want, tolerance, 1e-3).mismatch.is_none());
        assert!(measure(&got, &want, tolerance, 5e-4).mismatch.is_some());
    }
}
