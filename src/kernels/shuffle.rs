//! The order of an epoch, `shaders/shuffle.wgsl`: a Feistel permutation with cycle walking, computed by element.

use bytemuck::{Pod, Zeroable};

use super::{clock::Clock, random::philox};
use crate::cases::{Case, Tolerance};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// N is the length of the order; buckets have `rows` of a full batch, of which the forward has none.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    rows: u32,
    shuffled: u32,
}

/// The place of a batch in an order by buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The first example of its bucket.
    pub first: u32,
    /// Examples of its bucket.
    pub count: u32,
    /// Which of the bucket's batches it is.
    pub number: u32,
}

const FIELDS: &[&str] = &["N", "rows", "shuffled"];

const SOURCE: Source = Source {
    file: "shuffle.wgsl",
    text: include_str!("../../shaders/shuffle.wgsl"),
    common: &[super::INDEX, super::PHILOX],
    bindings: &["clock", "slots", "order"],
    ..PLAIN_SOURCE
};

/// The clock to order (N), assigned, as integers; recorded by [`forward`], once an epoch. Cycle walking: Black &
/// Rogaway 2002.
pub static FORWARD: Kernel = Kernel {
    name: "shuffle.forward",
    formula: "order = a permutation of 0..N keyed by (seed, epoch)",
    params: FIELDS,
    reads: &["clock"],
    writes: &["order"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let keys = keys(reads[0], 0);
        for i in 0..p.n {
            let value = if p.shuffled != 0 { walk(i, p.n, keys) } else { i };
            writes[0][i as usize] = f32::from_bits(value);
        }
    },
    cost: |p| Cost { flops: 100 * p[0] as u64, bytes: 4 * p[0] as u64 },
    cases,
    gradients: GradientCheck::None("writes an order of whole numbers"),
    ..PLAIN
};

/// The clock and slots (S,3), integers, to order (S*B), assigned, as integers; recorded by [`buckets`], once an epoch.
pub static BUCKETS: Kernel = Kernel {
    name: "shuffle.buckets",
    formula: "order = of each slot's bucket a permutation's next B, keyed by (seed, epoch, bucket)",
    params: FIELDS,
    reads: &["clock", "slots"],
    writes: &["order"],
    shader: Shader {
        source: &SOURCE,
        entry: "buckets",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let slots = reads[1].chunks(3).map(|slot| [0, 1, 2].map(|k: usize| slot[k].to_bits()));
        for (order, [first, count, number]) in writes[0].chunks_mut(p.rows as usize).zip(slots) {
            let keys = keys(reads[0], first);
            for (i, place) in (0..).zip(order) {
                let value = number * p.rows + i;
                let value = match value < count {
                    true if p.shuffled != 0 => first + walk(value, count, keys),
                    true => first + value,
                    false => 0,
                };
                *place = f32::from_bits(value);
            }
        }
    },
    cost: |p| Cost { flops: 100 * p[0] as u64, bytes: 4 * p[0] as u64 },
    cases: bucket_cases,
    gradients: GradientCheck::None("writes an order of whole numbers"),
    ..PLAIN
};

fn sizes(n: usize, shuffled: bool) -> Params {
    Params { n: n as u32, rows: 0, shuffled: shuffled as u32 }
}

/// Half the bits of the least power of four that is at least n.
fn half_bits(n: u32) -> u32 {
    (1..16).find(|h| 1u64 << (2 * h) >= n as u64).expect("data sets have fewer than 2^30 examples")
}

/// What keys the permutation of the bucket that begins at example `first`.
fn keys(clock: &[f32], first: u32) -> [u32; 4] {
    let clock = |i: usize| clock[i].to_bits();
    philox([clock(4), first, 0, 5], [clock(0), clock(1)])
}

/// Where the permutation of 0..n puts a value: it is sent through again until it falls inside.
fn walk(value: u32, n: u32, keys: [u32; 4]) -> u32 {
    let half_bits = half_bits(n);
    let mut value = permute(value, half_bits, keys);
    while value >= n {
        value = permute(value, half_bits, keys);
    }
    value
}

/// Writes the epoch's order of 0..N into `order` (N): 0, 1, 2, ... unless shuffled.
pub fn forward(r: &mut Recorder, clock: Tensor, order: Tensor, shuffled: bool) {
    r.dispatch(&FORWARD, sizes(order.len(), shuffled), &[clock], &[order]);
}

/// Writes the epoch's order into `order` (S*B), B `rows` of a full batch: batch s has the next of its bucket's
/// examples, shuffled or as they are; `slots` (S,3) holds the [`Slot`]s as integers. Places that a batch does not fill
/// are 0.
pub fn buckets(r: &mut Recorder, [clock, slots]: [Tensor; 2], order: Tensor, rows: usize, shuffled: bool) {
    assert!(3 * order.len() == rows * slots.len(), "shuffle.buckets: slots {slots:?}, order {order:?}, {rows} rows");
    let params = Params { n: order.len() as u32, rows: rows as u32, shuffled: shuffled as u32 };
    r.dispatch(&BUCKETS, params, &[clock, slots], &[order]);
}

/// Slots as the device has them, (S,3).
pub fn slot_words(slots: &[Slot]) -> Vec<u32> {
    slots.iter().flat_map(|slot| [slot.first, slot.count, slot.number]).collect()
}

/// Murmur3's finaliser.
fn scramble(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

fn permute(value: u32, half_bits: u32, keys: [u32; 4]) -> u32 {
    let mask = (1 << half_bits) - 1;
    let (mut left, mut right) = (value >> half_bits, value & mask);
    for turn in 0..8u32 {
        let mixed = scramble(right ^ keys[turn as usize & 3] ^ turn.wrapping_mul(0x9E37_79B9));
        (left, right) = (right, left ^ (mixed & mask));
    }
    (left << half_bits) | right
}

fn cases() -> Vec<Case> {
    let case = |(n, shuffled): (usize, bool)| {
        Case::new(format!("{n} {}", if shuffled { "shuffled" } else { "in order" }), sizes(n, shuffled))
            .read_words(Clock::example().words())
            .assign(n, Tolerance::Exact)
    };
    [(1, true), (2, true), (65, true), (257, false), (1000, true), (60_000, true)].map(case).into()
}

/// Slots of three buckets in turns, of which the last batches are not full.
fn example_slots() -> Vec<Slot> {
    let slot = |(first, count, number)| Slot { first, count, number };
    [(0, 10, 0), (10, 7, 0), (17, 1, 0), (0, 10, 1), (10, 7, 1), (0, 10, 2)].map(slot).into()
}

fn bucket_cases() -> Vec<Case> {
    let case = |slots: Vec<Slot>, rows: usize, shuffled: bool| {
        let n = rows * slots.len();
        let params = Params { n: n as u32, rows: rows as u32, shuffled: shuffled as u32 };
        let how = if shuffled { "shuffled" } else { "in order" };
        Case::new(format!("{} slots of {rows} {how}", slots.len()), params)
            .read_words(Clock::example().words())
            .read_words(slot_words(&slots))
            .assign(n, Tolerance::Exact)
    };
    let lone = vec![Slot { first: 7, count: 4, number: 0 }];
    vec![case(example_slots(), 4, true), case(example_slots(), 4, false), case(lone, 5, true)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: usize, epoch: u32) -> Vec<usize> {
        let mut clock = Clock::example();
        clock.epoch = epoch;
        let words: Vec<f32> = bytemuck::allocation::cast_vec(clock.words());
        let mut order = vec![0f32; n];
        let params = bytemuck::pod_collect_to_vec(&[sizes(n, true)]);
        (FORWARD.reference)(&params, &[&words], &mut [&mut order]);
        order.iter().map(|v| v.to_bits() as usize).collect()
    }

    #[test]
    fn every_picture_comes_once_and_epochs_differ() {
        for n in [1, 2, 3, 64, 65, 1000, 10_007] {
            let mut sorted = order(n, 0);
            sorted.sort();
            assert!(sorted.into_iter().eq(0..n), "{n}");
        }
        assert_ne!(order(1000, 0), order(1000, 1));
    }

    /// Where each element lands is uniform and neighbours do not stay neighbours.
    #[test]
    fn the_order_looks_random() {
        let n = 1000;
        let (mut first_third, mut adjacent) = (0, 0);
        for epoch in 0..300 {
            let order = order(n, epoch);
            first_third += (order[7] < n / 3) as usize;
            adjacent += order.windows(2).filter(|w| w[0].abs_diff(w[1]) == 1).count();
        }
        assert!((70..=130).contains(&first_third), "{first_third} of 300, expected 100");
        assert!((500..=700).contains(&adjacent), "{adjacent}, expected 2 in each of 300");
    }

    #[test]
    fn every_example_of_a_bucket_comes_once_in_its_slots() {
        let slots = example_slots();
        for case in &bucket_cases()[..2] {
            let mut order = vec![0f32; 4 * slots.len()];
            (BUCKETS.reference)(&case.params, &[&case.reads[0], &case.reads[1]], &mut [&mut order]);
            for (first, count) in [(0, 10), (10, 7), (17, 1)] {
                let of_bucket = slots.iter().zip(order.chunks(4)).filter(|(slot, _)| slot.first == first);
                let rows = of_bucket.flat_map(|(slot, rows)| &rows[..(slot.count - 4 * slot.number).min(4) as usize]);
                let mut rows: Vec<u32> = rows.map(|row| row.to_bits()).collect();
                rows.sort();
                assert!(rows.into_iter().eq(first..first + count), "{first}: {order:?}");
            }
        }
    }
}
