//! Channels-last matrices on the CPU device: loops over rows that vectorise over the channels of a row, or of several
//! rows where one has few.

use super::scratch::{self, Scratch};

/// Elements of the whole rows that are worked on as one: at least 64, which fills the vectors whatever C is.
pub fn width(c: usize) -> usize {
    c * 64usize.div_ceil(c)
}

/// A number for each channel, laid beside the rows of a piece of [`width`] elements.
pub fn repeat(values: impl Iterator<Item = f32>, c: usize) -> Scratch {
    let mut repeated = scratch::any(width(c));
    let (first, others) = repeated.split_at_mut(c);
    first.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    others.chunks_mut(c).for_each(|row| row.copy_from_slice(first));
    repeated
}

/// The sum for channel `j` of running sums over pieces.
pub fn folded(sums: &[f32], c: usize, j: usize) -> f32 {
    sums[j..].iter().step_by(c).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_rows() {
        for c in [1, 3, 16, 48, 64, 65, 1000] {
            assert!(width(c).is_multiple_of(c) && (64..64 + c).contains(&width(c)), "{c}: {}", width(c));
        }
        let repeated = repeat([1.0, 2.0, 3.0].into_iter(), 3);
        assert_eq!((repeated.len(), &repeated[..4]), (66, &[1.0, 2.0, 3.0, 1.0][..]));
        assert_eq!([0, 1, 2].map(|j| folded(&repeated, 3, j)), [22.0, 44.0, 66.0]);
    }
}
