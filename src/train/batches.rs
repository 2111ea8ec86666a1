//! The batches of an epoch: how many rows each has, and in how many steps its sentences are read.
//!
//! Sentences lie sorted by length, and a batch is of neighbours, so that little of it is padding. A run of lengths is a
//! bucket. Each bucket has full batches; what is left over of it goes to the next, longer one, so that the last bucket
//! alone has a batch that is not full. In training the order of the batches is drawn anew each epoch, and a bucket's
//! examples are shuffled among its batches. Data without lengths are one bucket.

use std::fmt;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::arena::Arena;
use crate::kernels::clock::Clock;
use crate::kernels::shuffle::{self, Slot};
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;

/// Buckets are of this share of all examples at least, where their lengths are near enough.
const BUCKETS: usize = 16;
/// A bucket's longest row is at most so many times its shortest, where there is a batch of these.
const SPREAD: f64 = 1.25;

/// The size of a batch, which a program is recorded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// B, or less in a batch that is not full.
    pub rows: usize,
    /// T, the steps in which its sentences are read; 0 where it has none.
    pub longest: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.longest {
            0 => write!(f, "{}", self.rows),
            longest => write!(f, "{} x {longest}", self.rows),
        }
    }
}

/// The batches of an epoch.
pub(crate) struct Batches {
    /// B of a full batch.
    full: usize,
    /// Every size there is, the largest first.
    pub sizes: Vec<Size>,
    /// Which of the sizes each batch has, and where its examples are from: those of every bucket spread evenly.
    all: Vec<(usize, Slot)>,
    /// Which of them come one after the other in the epoch.
    turns: Vec<usize>,
    /// More than one bucket.
    is_parted: bool,
}

impl Batches {
    /// Of examples without lengths, or of which each is read in `longest` steps: full batches, then the rest.
    pub fn plain(count: usize, full: usize, longest: usize) -> Batches {
        Batches::of_buckets(full, &[(count, longest)])
    }

    /// Of rows of these lengths, shortest first.
    pub fn of_lengths(lengths: &[usize], full: usize) -> Batches {
        assert!(lengths.is_sorted(), "rows are sorted by length");
        let enough = (lengths.len() / BUCKETS).max(full);
        let mut buckets = Vec::new();
        let mut first = 0;
        for (end, pair) in (1..).zip(lengths.windows(2)) {
            let count = end - first;
            let is_far = pair[1] as f64 > SPREAD * lengths[first] as f64;
            if pair[0] < pair[1] && (count >= enough || (is_far && count >= full)) {
                // What does not fill a batch is left to the next bucket.
                let whole = count / full * full;
                buckets.push((whole, lengths[first + whole - 1]));
                first += whole;
            }
        }
        buckets.push((lengths.len() - first, lengths.last().copied().unwrap_or(0)));
        Batches::of_buckets(full, &buckets)
    }

    /// Of so many examples a bucket, read in so many steps.
    fn of_buckets(full: usize, buckets: &[(usize, usize)]) -> Batches {
        let mut batches = Vec::new();
        let mut first = 0;
        for &(count, longest) in buckets {
            let of_bucket = count.div_ceil(full);
            for number in 0..of_bucket {
                let size = Size { rows: full.min(count - number * full), longest };
                let slot = Slot { first: first as u32, count: count as u32, number: number as u32 };
                // How far through its bucket it is, by which all are ordered.
                batches.push(((2 * number + 1) as f64 / (2 * of_bucket) as f64, size, slot));
            }
            first += count;
        }
        batches.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
        let mut sizes: Vec<Size> = Vec::new();
        batches.iter().for_each(|(_, size, _)| {
            if !sizes.contains(size) {
                sizes.push(*size);
            }
        });
        // Programs share the buffers of the first.
        sizes.sort_by_key(|size| std::cmp::Reverse((size.longest, size.rows)));
        let number = |size: &Size| sizes.iter().position(|s| s == size).expect("every size is listed");
        let all: Vec<(usize, Slot)> = batches.iter().map(|(_, size, slot)| (number(size), *slot)).collect();
        let turns = (0..all.len()).collect();
        Batches { full, sizes, all, turns, is_parted: buckets.len() > 1 }
    }

    /// Puts the batches into the order of an epoch of a run of that seed. Those of one bucket stay as they are.
    pub fn shuffle(&mut self, seed: u64, epoch: usize) {
        if !self.is_parted {
            return;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(epoch as u64);
        self.turns = (0..self.all.len()).collect();
        self.turns.shuffle(&mut rng);
    }

    /// Batches of an epoch.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether batches are of several buckets.
    pub fn is_parted(&self) -> bool {
        self.is_parted
    }

    /// The size of a batch, by its number in [`sizes`](Batches::sizes).
    pub fn size_of(&self, batch: usize) -> usize {
        self.all[self.turns[batch]].0
    }

    /// Where the examples of a batch are from.
    fn slot(&self, batch: usize) -> Slot {
        self.all[self.turns[batch]].1
    }

    /// The numbers of the sizes of the batches from `first` on, each with how many of it come in a row.
    pub fn plan(&self, first: usize) -> Vec<(usize, usize)> {
        let sizes: Vec<usize> = (first..self.len()).map(|batch| self.size_of(batch)).collect();
        sizes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
    }

    /// Room for the order of an epoch: a place for each example, and for what batches of several buckets leave free.
    pub fn order(&self, arena: &mut Arena, name: &str, count: usize) -> Tensor {
        arena.tensor(name, &[if self.is_parted { self.len() * self.full } else { count }])
    }

    /// Room for the clock of an epoch.
    pub fn clock(&self, arena: &mut Arena, name: &str) -> Tensor {
        Clock::tensor(arena, name, self.len())
    }

    /// Room for the slots, which [`slot_words`](Batches::slot_words) are written to: of one bucket there are none.
    pub fn slots(&self, arena: &mut Arena, name: &str) -> Option<Tensor> {
        self.is_parted.then(|| arena.tensor(name, &[self.len(), 3]))
    }

    /// The slots as the device has them.
    pub fn slot_words(&self) -> Vec<u32> {
        let slots: Vec<Slot> = (0..self.len()).map(|batch| self.slot(batch)).collect();
        shuffle::slot_words(&slots)
    }

    /// What writes the order of an epoch.
    pub fn record_order(
        &self,
        arena: &mut Arena,
        [clock, order]: [Tensor; 2],
        slots: Option<Tensor>,
        is_shuffled: bool,
    ) -> Program {
        let mut r = Recorder::new(arena);
        match slots {
            Some(slots) => shuffle::buckets(&mut r, [clock, slots], order, self.full, is_shuffled),
            None => shuffle::forward(&mut r, clock, order, is_shuffled),
        }
        r.finish("order")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_without_lengths_are_full_batches_and_a_rest() {
        let batches = Batches::plain(10, 4, 0);
        let size = |rows| Size { rows, longest: 0 };
        assert_eq!((batches.len(), &batches.sizes[..]), (3, &[size(4), size(2)][..]));
        assert_eq!((batches.plan(0), batches.plan(2), batches.plan(3)), (vec![(0, 2), (1, 1)], vec![(1, 1)], vec![]));
        assert!(!batches.is_parted());
        assert_eq!((Batches::plain(8, 4, 0).plan(1), Batches::plain(3, 4, 0).sizes), (vec![(0, 1)], vec![size(3)]));
    }

    #[test]
    fn every_sentence_is_in_one_batch_that_is_long_enough() {
        // A few short ones, many of some lengths, a long tail.
        let counts = [3, 40, 90, 200, 150, 60, 20, 9, 0, 5, 1, 1, 0, 0, 2];
        let lengths: Vec<usize> = counts.iter().enumerate().flat_map(|(l, &n)| vec![l + 1; n]).collect();
        let batches = Batches::of_lengths(&lengths, 16);
        let mut seen = vec![0; lengths.len()];
        for batch in 0..batches.len() {
            let (size, slot) = (batches.sizes[batches.size_of(batch)], batches.slot(batch));
            let first = (slot.first + 16 * slot.number) as usize;
            assert!(size.rows == 16.min((slot.count - 16 * slot.number) as usize));
            (first..first + size.rows).for_each(|row| seen[row] += 1);
            // Shuffled within its bucket, a batch may have any of it.
            let bucket = &lengths[slot.first as usize..][..slot.count as usize];
            assert!(bucket.iter().all(|&length| length <= size.longest), "{size:?} {bucket:?}");
        }
        assert!(seen.iter().all(|&times| times == 1));
        let not_full = batches.sizes.iter().filter(|size| size.rows < 16).count();
        assert!(not_full <= 1 && batches.is_parted(), "{:?}", batches.sizes);
        assert!(batches.sizes.is_sorted_by_key(|size| std::cmp::Reverse(size.longest)));
        let padded: usize =
            (0..batches.len()).map(|b| batches.sizes[batches.size_of(b)]).map(|s| s.rows * s.longest).sum();
        let tokens: usize = lengths.iter().sum();
        assert!((padded as f64) < 1.15 * tokens as f64, "{padded} steps for {tokens} tokens");
    }

    #[test]
    fn lengths_come_in_turns() {
        let lengths: Vec<usize> = [vec![4; 64], vec![9; 64]].concat();
        let batches = Batches::of_lengths(&lengths, 16);
        assert_eq!(batches.plan(0).iter().map(|(_, times)| times).sum::<usize>(), 8);
        assert!(batches.plan(0).len() == 8, "{:?}", batches.plan(0));
    }

    #[test]
    fn an_epoch_has_an_order_of_its_own() {
        let lengths: Vec<usize> = (0..8).flat_map(|bucket| vec![4 << bucket; 16]).collect();
        let mut batches = Batches::of_lengths(&lengths, 16);
        let mut of = |seed, epoch| {
            batches.shuffle(seed, epoch);
            let longest = |batch| batches.sizes[batches.size_of(batch)].longest;
            // A batch's rows are of the length that it is read in.
            assert!((0..8).all(|batch| longest(batch) == 4 << (batches.slot(batch).first / 16)));
            (0..8).map(longest).collect::<Vec<usize>>()
        };
        let first = of(1, 0);
        assert!(of(1, 1) != first && of(2, 0) != first && of(1, 0) == first, "{first:?}");
        let mut sorted = first.clone();
        sorted.sort();
        assert_eq!(sorted, [4, 8, 16, 32, 64, 128, 256, 512]);
        // The batch that is not full stays last where there is one bucket.
        let mut plain = Batches::plain(10, 4, 0);
        plain.shuffle(1, 1);
        assert_eq!(plain.plan(0), [(0, 2), (1, 1)]);
    }

    #[test]
    fn a_set_smaller_than_a_batch_is_one() {
        let batches = Batches::of_lengths(&[2, 3, 7], 16);
        assert_eq!((batches.len(), batches.sizes.clone()), (1, vec![Size { rows: 3, longest: 7 }]));
        assert!(!batches.is_parted());
    }
}
