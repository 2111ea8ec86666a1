//! Rows of different lengths: which of I items each example has, or the tokens of a sentence. Kept are the items alone,
//! one row after the other, so that what there is of a user costs as much as the user has chosen. Rows keep their order
//! and what they have twice: both are a sentence's.

use std::ops::Range;

/// The items of N examples, E in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Ragged {
    /// (N+1): example n has the entries `starts[n]` to `starts[n+1]`.
    starts: Vec<u32>,
    /// (E), each below `width`.
    entries: Vec<u32>,
    /// I
    width: usize,
}

impl Ragged {
    /// The rows in this order. Panics on an item of `width` or more, and on 2^32 entries.
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a [u32]>, width: usize) -> Ragged {
        let mut ragged = Ragged { starts: vec![0], entries: Vec::new(), width };
        for row in rows {
            assert!(row.iter().all(|&item| (item as usize) < width), "an item of {row:?} is not below {width}");
            ragged.entries.extend(row);
            ragged.starts.push(u32::try_from(ragged.entries.len()).expect("entries are numbered by 32 bits"));
        }
        ragged
    }

    /// N
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// (N+1): where each example begins, and the end of the last one.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// (E): the items of all examples.
    pub fn entries(&self) -> &[u32] {
        &self.entries
    }

    /// The items of an example.
    pub fn row(&self, n: usize) -> &[u32] {
        &self.entries[self.starts[n] as usize..self.starts[n + 1] as usize]
    }

    /// (rows, I): 1 where the example has the item, else 0.
    pub fn dense(&self, examples: Range<usize>) -> Vec<f32> {
        let mut x = vec![0.0; examples.len() * self.width];
        for (x, n) in x.chunks_mut(self.width).zip(examples) {
            self.row(n).iter().for_each(|&item| x[item as usize] = 1.0);
        }
        x
    }

    /// (rows, length): the bits of each example's entries, then zeros. Panics on a longer example.
    pub fn padded(&self, examples: Range<usize>, length: usize) -> Vec<f32> {
        let mut x = vec![0.0; examples.len() * length];
        for (x, n) in x.chunks_mut(length).zip(examples) {
            let row = self.row(n);
            x[..row.len()].copy_from_slice(bytemuck::cast_slice(row));
        }
        x
    }

    /// A copy of these examples.
    pub fn chosen(&self, examples: &[usize]) -> Ragged {
        Ragged::new(examples.iter().map(|&n| self.row(n)), self.width)
    }

    /// Drops all but the first examples.
    pub fn truncate(&mut self, count: usize) {
        self.starts.truncate(count + 1);
        self.entries.truncate(self.starts[self.starts.len() - 1] as usize);
        self.entries.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_chosen_and_written_out() {
        let rows: [&[u32]; 4] = [&[2, 0], &[], &[1], &[0, 1, 3]];
        let mut ragged = Ragged::new(rows, 4);
        assert_eq!((ragged.count(), ragged.starts(), ragged.entries().len()), (4, &[0, 2, 2, 3, 6][..], 6));
        assert!((0..4).all(|n| ragged.row(n) == rows[n]));
        assert_eq!(ragged.dense(0..2), [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let bits: Vec<u32> = ragged.padded(2..4, 3).iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [1, 0, 0, 0, 1, 3]);
        assert_eq!(ragged.chosen(&[3, 1]), Ragged::new([rows[3], rows[1]], 4));
        ragged.truncate(3);
        assert_eq!(ragged, Ragged::new([rows[0], rows[1], rows[2]], 4));
        ragged.truncate(9);
        assert_eq!(ragged.count(), 3);
        ragged.truncate(0);
        assert_eq!(ragged, Ragged::new([], 4));
    }

    #[test]
    fn rows_keep_their_order_and_what_they_have_twice() {
        let rows: [&[u32]; 2] = [&[3, 1, 3, 1, 0], &[2, 2]];
        let ragged = Ragged::new(rows, 4);
        assert_eq!((ragged.row(0), ragged.row(1)), (rows[0], rows[1]));
        assert_eq!(ragged.chosen(&[1, 0, 1]).row(1), rows[0]);
    }

    #[test]
    #[should_panic(expected = "not below 4")]
    fn an_item_beyond_the_last_is_a_mistake() {
        Ragged::new([&[4u32][..]], 4);
    }
}
