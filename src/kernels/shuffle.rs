//! The order of an epoch, `shaders/shuffle.wgsl`: a Feistel permutation with cycle walking, computed by element.

use bytemuck::{Pod, Zeroable};

use super::{clock::Clock, random::philox};
use crate::cases::{Case, Tolerance};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The network permutes 0..4^half_bits, the least power of four that is at least N.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    half_bits: u32,
    shuffled: u32,
}

const SOURCE: Source = Source {
    file: "shuffle.wgsl",
    text: include_str!("../../shaders/shuffle.wgsl"),
    common: &[super::INDEX, super::PHILOX],
    bindings: &["clock", "order"],
    ..PLAIN_SOURCE
};

/// The clock to order (N), assigned, as integers; recorded by [`forward`], once an epoch. Cycle walking: Black &
/// Rogaway 2002.
pub static FORWARD: Kernel = Kernel {
    name: "shuffle.forward",
    formula: "order = a permutation of 0..N keyed by (seed, epoch)",
    params: &["N", "half_bits", "shuffled"],
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
        let clock = |i: usize| reads[0][i].to_bits();
        let keys = philox([clock(4), 0, 0, 5], [clock(0), clock(1)]);
        for i in 0..p.n {
            let mut value = i;
            if p.shuffled != 0 {
                value = permute(value, p.half_bits, keys);
                while value >= p.n {
                    value = permute(value, p.half_bits, keys);
                }
            }
            writes[0][i as usize] = f32::from_bits(value);
        }
    },
    cost: |p| Cost { flops: 100 * p[0] as u64, bytes: 4 * p[0] as u64 },
    cases,
    gradients: GradientCheck::None("writes an order of whole numbers"),
    ..PLAIN
};

fn sizes(n: usize, shuffled: bool) -> Params {
    let half_bits = (1..16).find(|h| 1usize << (2 * h) >= n).expect("data sets have fewer than 2^30 pictures");
    Params { n: n as u32, half_bits, shuffled: shuffled as u32 }
}

/// Writes the epoch's order of 0..N into `order` (N): 0, 1, 2, ... unless shuffled.
pub fn forward(r: &mut Recorder, clock: Tensor, order: Tensor, shuffled: bool) {
    r.dispatch(&FORWARD, sizes(order.len(), shuffled), &[clock], &[order]);
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
}
