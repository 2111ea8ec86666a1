//! Loops over chunks of tensors that the threads of the CPU device share.
//!
//! `part` shares the work out. It is compiled once for each number of outputs and calls the loop's body through a
//! pointer. Rayon's iterators would be compiled anew for each body, of which there are about eighty.

use std::mem::take;

/// Parts that each thread gets, so that one which is held up leaves some to the others.
const PARTS_A_THREAD: usize = 4;

/// Calls `body(i, [chunk i of each output])` for all chunks. An output comes with the length of its chunks; the last
/// chunk may be shorter. All outputs have as many chunks. No part that is handed to a thread has fewer than `least`
/// chunks, so that it is worth the few microseconds of handing it on. Which thread takes a part changes no result.
pub fn chunks<const N: usize>(
    outputs: [(&mut [f32], usize); N],
    least: usize,
    body: impl Fn(usize, [&mut [f32]; N]) + Sync,
) {
    let counts = outputs.each_ref().map(|(output, size)| output.len().div_ceil(*size));
    let count = counts[0];
    assert!(counts.iter().all(|&other| other == count), "chunks: outputs of {counts:?} chunks");
    let share = count.div_ceil(PARTS_A_THREAD * rayon::current_num_threads()).max(least).max(1);
    part(outputs, 0..count, share, &body);
}

/// Chunk i of an input that is parted like an output.
#[inline(always)]
pub fn chunk(input: &[f32], size: usize, i: usize) -> &[f32] {
    &input[i * size..input.len().min((i + 1) * size)]
}

fn part<const N: usize>(
    mut outputs: [(&mut [f32], usize); N],
    chunks: std::ops::Range<usize>,
    share: usize,
    body: &(dyn Fn(usize, [&mut [f32]; N]) + Sync),
) {
    if chunks.len() / 2 >= share {
        let half = chunks.len() / 2;
        let first = outputs.each_mut().map(|(output, size)| (cut(output, half * *size), *size));
        let middle = chunks.start + half;
        rayon::join(
            || part(first, chunks.start..middle, share, body),
            || part(outputs, middle..chunks.end, share, body),
        );
        return;
    }
    for i in chunks {
        body(i, outputs.each_mut().map(|(output, size)| cut(output, *size)));
    }
}

/// Takes the first `n` elements, or all, off a slice.
fn cut<'a>(slice: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let n = n.min(slice.len());
    let (first, rest) = take(slice).split_at_mut(n);
    *slice = rest;
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_met_once_with_its_number() {
        for (count, least) in [(0usize, 0), (0, 1), (1, 1), (7, 1), (100, 1), (100, 33), (1000, 7)] {
            // Chunks of 3 with a last one of 2, and chunks of 1.
            let (mut a, mut b) = (vec![0.0; (3 * count).saturating_sub(1)], vec![0.0; count]);
            chunks([(&mut a, 3), (&mut b, 1)], least, |i, [a, b]| {
                a.iter_mut().for_each(|a| *a += (i + 1) as f32);
                b[0] += a.len() as f32;
            });
            assert!(a.iter().enumerate().all(|(at, &a)| a == (at / 3 + 1) as f32), "{count}, {least}");
            let length = |i: usize| if i + 1 == count { 2.0 } else { 3.0 };
            assert!(b.iter().enumerate().all(|(i, &b)| b == length(i)), "{count}, {least}");
        }
    }

    #[test]
    fn an_input_is_parted_like_an_output() {
        let x = [0.0, 1.0, 2.0, 3.0, 4.0];
        assert_eq!([0, 1, 2].map(|i| chunk(&x, 2, i)), [&x[..2], &x[2..4], &x[4..]]);
    }

    #[test]
    #[should_panic(expected = "chunks: outputs of [2, 3] chunks")]
    fn outputs_of_other_numbers_of_chunks_are_refused() {
        chunks([(&mut [0.0; 4], 2), (&mut [0.0; 3], 1)], 1, |_, _| ());
    }
}
