use pulp::{Scalar, Simd};

use super::cut::{LARGE, SMALL};
use super::*;
use crate::cases::Tolerance;
use crate::cases::uniform;

/// (m, n, k): one element, pieces of a tile on all sides, several panels, several bands, sums of several depths,
/// the same where A may be packed.
const SIZES: [[usize; 3]; 8] = [
    [1, 1, 1],
    [3, 47, 5],
    [8, 48, 16],
    [13, 97, 31],
    [2 * HEIGHT + 9, 50, 33],
    [HEIGHT + 1, 30, 7],
    [5, 17, 2 * LARGE.depth + 3],
    [19, 150, 2 * LARGE.column_depth + 3],
];

/// C of this size, as made by `threads` threads: both operands as they are or transposed, to zeros or to ones.
fn made(threads: usize, [m, n, k]: [usize; 3], [turn_a, turn_b]: [bool; 2], store: Store) -> Vec<f32> {
    let (a, b) = (uniform(1, m * k, -1.0, 1.0), uniform(2, k * n, -1.0, 1.0));
    let a = if turn_a { View::rows(&a, m).transposed() } else { View::rows(&a, k) };
    let b = if turn_b { View::rows(&b, k).transposed() } else { View::rows(&b, n) };
    let mut c = vec![1.0; m * n];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let c = Target::rows(&mut c, n);
        product(c, [a, b], k, store, &|i, j, values| {
            values.iter_mut().enumerate().for_each(|(at, v)| *v += ((i * n + j + at) % 5) as f32);
        });
    });
    c
}

#[test]
fn products_are_the_sums_they_stand_for_and_each_element_is_finished_once() {
    for (size, turn_a, turn_b) in SIZES
        .into_iter()
        .flat_map(|s| [false, true].map(|a| (s, a, !a)))
        .chain(SIZES.into_iter().flat_map(|s| [false, true].map(|a| (s, a, a))))
    {
        let [m, n, k] = size;
        let (a, b) = (uniform(1, m * k, -1.0, 1.0), uniform(2, k * n, -1.0, 1.0));
        for (store, old) in [(Store::Assign, 0.0), (Store::Add, 1.0)] {
            let c = made(2, size, [turn_a, turn_b], store);
            for (at, &got) in c.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let a = |p: usize| a[if turn_a { p * m + i } else { i * k + p }] as f64;
                let b = |p: usize| b[if turn_b { j * k + p } else { p * n + j }] as f64;
                let want = (0..k).map(|p| a(p) * b(p)).sum::<f64>() + old + (at % 5) as f64;
                let bound = Tolerance::Dot(k).bound(want.abs() as f32) as f64;
                assert!((got as f64 - want).abs() <= bound, "{size:?} {turn_a} {turn_b}, {i} {j}: {got}, not {want}");
            }
        }
    }
}

/// Holds C of this size, made with the vectors of `simd` in the pieces of both kinds of CPU, against the sums that it
/// stands for.
fn with<S: Simd>(simd: S, [m, n, k]: [usize; 3], turned: [bool; 2], store: Store) {
    let (a, b) = (uniform(1, m * k, -1.0, 1.0), uniform(2, k * n, -1.0, 1.0));
    let views = [
        if turned[0] { View::rows(&a, m).transposed() } else { View::rows(&a, k) },
        if turned[1] { View::rows(&b, k).transposed() } else { View::rows(&b, n) },
    ];
    let mut large = vec![1.0; m * n];
    let mut small = large.clone();
    let band = |c| Band { c, a: views[0], b: views[1], k, store };
    band(Target::rows(&mut large, n)).in_pieces::<S, { LARGE.rows }, { LARGE.vectors }>(simd, &LARGE);
    band(Target::rows(&mut small, n)).in_pieces::<S, { SMALL.rows }, { SMALL.vectors }>(simd, &SMALL);
    let at = |view: View, i: usize, j: usize| view.values[i * view.strides[0] + j * view.strides[1]] as f64;
    for (place, &got) in large.iter().enumerate().chain(small.iter().enumerate()) {
        let (i, j) = (place / n, place % n);
        let sum = (0..k).map(|p| at(views[0], i, p) * at(views[1], p, j)).sum::<f64>();
        let want = sum + if store == Store::Add { 1.0 } else { 0.0 };
        let bound = Tolerance::Dot(k).bound(want.abs() as f32) as f64;
        assert!((got as f64 - want).abs() <= bound, "{m} {n} {k}, {turned:?}, {i} {j}: {got}, not {want}");
    }
}

/// A CPU with fewer registers has smaller tiles, one with shorter vectors narrower panels: one number to a vector, 8
/// (AVX2) and 16 (AVX-512), as far as this CPU has them.
#[test]
fn products_are_their_sums_with_vectors_of_each_width() {
    // Fewer and more rows than a tile and than a band has, columns for each number of a tile's vectors and more than a
    // group has, packed rows of A and not.
    for size in [[1, 1, 1], [5, 3, 7], [6, 9, 37], [13, 40, 18], [31, 48, 33], [20, 150, 35], [101, 490, 9]] {
        for turned in [[false, false], [false, true], [true, false], [true, true]] {
            for store in [Store::Assign, Store::Add] {
                with(Scalar, size, turned, store);
                #[cfg(target_arch = "x86_64")]
                {
                    pulp::x86::V3::try_new().into_iter().for_each(|simd| with(simd, size, turned, store));
                    pulp::x86::V4::try_new().into_iter().for_each(|simd| with(simd, size, turned, store));
                }
                #[cfg(target_arch = "aarch64")]
                pulp::aarch64::Neon::try_new().into_iter().for_each(|simd| with(simd, size, turned, store));
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    // Large enough for a share for each of 64 threads.
    for size in [[128, 400, 784], [400, 784, 128], [2048, 20, 500], [400, 784, 512]] {
        for turned in [[false, true], [true, false]] {
            let one = made(1, size, turned, Store::Add);
            for threads in [2, 3, 64] {
                let several = made(threads, size, turned, Store::Add);
                assert!(several == one, "{size:?}, turned {turned:?}, with {threads} threads");
            }
        }
    }
}
