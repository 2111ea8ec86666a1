//! The one comparison. It is written so that NaN fails.

/// How far two results of the same formula may be apart, with the reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Bit for bit: moves, integers, copies.
    Exact,
    /// A sum of `k` products of numbers of magnitude at most about 1. Rounding walks: each of k additions errs by half
    /// an ulp of a partial sum of size about sqrt(k), errors add like a random walk, hence k * epsilon; times 4 for
    /// fused, reordered and blocked forms.
    Dot(usize),
    /// Anything else, relative to the larger magnitude (at least 1).
    Because(f32, &'static str),
}

// ANCHOR: bound
impl Tolerance {
    /// The largest accepted difference near magnitude `scale`.
    pub fn bound(&self, scale: f32) -> f32 {
        match *self {
            Tolerance::Exact => 0.0,
            Tolerance::Dot(k) => 4.0 * f32::EPSILON * (k.max(4) as f32) * scale.max(1.0),
            Tolerance::Because(relative, _) => relative * scale.max(1.0),
        }
    }
}
// ANCHOR_END: bound

/// The worst disagreement between two arrays.
#[derive(Clone, Debug)]
pub struct Mismatch {
    pub index: usize,
    pub got: f32,
    pub want: f32,
    pub bound: f32,
    pub count: usize,
}

// ANCHOR: compare
/// Compares element by element; `Err` holds the worst element and how many failed. Unequal lengths panic.
pub fn compare(got: &[f32], want: &[f32], tolerance: Tolerance) -> Result<(), Mismatch> {
    assert!(got.len() == want.len(), "comparing {} elements with {}", got.len(), want.len());
    let mut worst: Option<(f32, Mismatch)> = None;
    let mut count = 0;
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let bound = tolerance.bound(got.abs().max(want.abs()));
        let difference = (got - want).abs();
        // A NaN or infinite difference fails whatever the bound; identical bits (a poisoned word left alone) pass.
        if got.to_bits() == want.to_bits() || (difference.is_finite() && difference <= bound) {
            continue;
        }
        count += 1;
        let excess = if difference.is_nan() { f32::INFINITY } else { difference - bound };
        if worst.as_ref().is_none_or(|(e, _)| excess > *e) {
            worst = Some((excess, Mismatch { index, got, want, bound, count: 0 }));
        }
    }
    match worst {
        None => Ok(()),
        Some((_, mismatch)) => Err(Mismatch { count, ..mismatch }),
    }
}
// ANCHOR_END: compare

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Mismatch { index, got, want, bound, count } = self;
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
}
