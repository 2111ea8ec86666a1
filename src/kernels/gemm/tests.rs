use pulp::Simd;

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
    [2 * BAND + 9, 50, 33],
    [BAND + 1, 30, 7],
    [5, 17, 2 * DEPTH + 3],
    [19, 150, 2 * COLUMN_DEPTH + 3],
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

/// A CPU with fewer registers takes the tile in pieces, one with shorter vectors more of these.
#[test]
fn a_tile_is_the_same_in_pieces_of_any_size() {
    let (depth, width) = (37, COLUMNS - 5);
    let (block, panel) = (uniform(1, depth * ROWS, -1.0, 1.0), uniform(2, depth * COLUMNS, -1.0, 1.0));
    fn run(tile: Tile, vectors: bool) {
        if vectors { Arch::new().dispatch(tile) } else { pulp::Scalar.vectorize(tile) }
    }
    for assign in [true, false] {
        for vectors in [true, false] {
            let mut c = vec![1.0; ROWS * width];
            let to = Target::rows(&mut c, width);
            run(Tile { block: &block, panel: &panel, c: to, assign }, vectors);
            for (at, &got) in c.iter().enumerate() {
                let (i, j) = (at / width, at % width);
                let terms = (0..depth).map(|k| block[k * ROWS + i] as f64 * panel[k * COLUMNS + j] as f64);
                let want = terms.sum::<f64>() + if assign { 0.0 } else { 1.0 };
                let bound = Tolerance::Dot(depth).bound(want.abs() as f32) as f64;
                assert!((got as f64 - want).abs() <= bound, "{i} {j}, {assign} {vectors}: {got}, not {want}");
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
