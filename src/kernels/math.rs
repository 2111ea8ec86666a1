//! Elementary functions for the CPU device's loops: polynomials without branches, which the compiler vectorises; and
//! the two loops that the losses share. The references use the standard library; the tests hold these against it.

use rayon::prelude::*;

use super::CHUNK;

/// Runs a loop as compiled for the widest vectors this CPU has, found at run time. The instructions differ, the numbers
/// do not: without fused multiply-adds a vector computes what its elements would.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// `rows[r] = sum of term(y, x)` over the row r of two matrices whose rows have length `d`. Threads share the rows.
pub fn row_sums(rows: &mut [f32], [y, x]: [&[f32]; 2], d: usize, term: impl Fn(f32, f32) -> f32 + Sync) {
    let rows = rows.par_iter_mut().with_min_len((CHUNK / d).max(1));
    rows.zip(y.par_chunks(d)).zip(x.par_chunks(d)).for_each(|((row, y), x)| {
        *row = vectorised(|| sum_pairs(y, x, &term));
    });
}

/// Sixteen running sums, so that the loop vectorises; and each adds up few enough terms for f32.
#[inline(always)]
fn sum_pairs(y: &[f32], x: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let (y, x) = (y.chunks_exact(LANES), x.chunks_exact(LANES));
    let tail: f32 = y.remainder().iter().zip(x.remainder()).map(|(&y, &x)| term(y, x)).sum();
    let mut sums = [0f32; LANES];
    for (y, x) in y.zip(x) {
        for j in 0..LANES {
            sums[j] += term(y[j], x[j]);
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// `out[i] = value(y[i], x[i])`. Threads share the elements.
pub fn map_pairs(out: &mut [f32], [y, x]: [&[f32]; 2], value: impl Fn(f32, f32) -> f32 + Sync) {
    let chunks = out.par_chunks_mut(CHUNK);
    chunks.zip(y.par_chunks(CHUNK)).zip(x.par_chunks(CHUNK)).for_each(|((out, y), x)| {
        vectorised(|| {
            for ((out, &y), &x) in out.iter_mut().zip(y).zip(x) {
                *out = value(y, x);
            }
        })
    });
}

/// e^x for x <= 0, relative error below 3e-7 (below -87 it stays e^-87). x = n ln 2 + r, e^r by a degree-6 Taylor polynomial, |r| <= 0.35.
#[inline(always)]
pub fn exp_negative(x: f32) -> f32 {
    // Not `max`, which turns NaN into -87.
    let x = if x < -87.0 { -87.0 } else { x };
    // Adding 1.5 * 2^23 rounds to an integer that stands in the low bits of the sum.
    let shifted = x * std::f32::consts::LOG2_E + 12582912.0;
    let n = shifted - 12582912.0;
    // ln 2 in two parts: n times the first is exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(0x4B40_0000).wrapping_add(127) << 23);
    p * scale
}

/// e^x, relative error below 3e-7 for x of -87 to 87.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let e = exp_negative(-x.abs());
    if x > 0.0 { 1.0 / e } else { e }
}

/// log(1 + y) for y in [0, 1], absolute error below 3e-7: 2 artanh(y / (2 + y)) by its series, argument at most 1/3.
#[inline(always)]
pub fn log1p_unit(y: f32) -> f32 {
    let s = y / (2.0 + y);
    let q = s * s;
    2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0))))))
}

/// log(1 + e^x), absolute error below 3e-7 + 6e-8 |x|.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    (if x <= 0.0 { 0.0 } else { x }) + log1p_unit(exp_negative(-x.abs()))
}

/// log x for a positive normal number (of anything else it is some number), error below 2e-7 times the larger of 1 and
/// |log x|. x = m 2^k with m from sqrt(1/2) to sqrt(2); log m = 2 artanh((m - 1) / (m + 1)), argument at most 0.172.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3F35_04F3;
    let bits = x.to_bits().wrapping_sub(SQRT_HALF);
    let k = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x007F_FFFF) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    k * std::f32::consts::LN_2 + 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0)))))
}

/// 1 / (1 + e^-x), absolute error below 2e-7.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp_negative(-x.abs());
    (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_hold_their_stated_errors() {
        for i in 0..200_000 {
            let x = -88.0 * (i as f32 / 200_000.0);
            let exact = (x.max(-87.0) as f64).exp();
            assert!((exp_negative(x) as f64 - exact).abs() <= 3e-7 * exact, "exp({x})");
            let y = i as f32 / 200_000.0;
            assert!((log1p_unit(y) as f64 - (y as f64).ln_1p()).abs() < 3e-7, "log1p({y})");
            let t = -20.0 + 40.0 * y;
            assert!((sigmoid(t) as f64 - 1.0 / (1.0 + (-t as f64).exp())).abs() < 2e-7, "sigmoid({t})");
            let exact = (t as f64).exp().ln_1p();
            assert!((softplus(t) as f64 - exact).abs() < 3e-7 + 6e-8 * (t as f64).abs(), "softplus({t})");
            // From 1e-9 to 1e9, and close to 1.
            for v in [(t as f64 * 1.04).exp() as f32, 1.0 + 0.05 * t] {
                let exact = (v as f64).ln();
                assert!(v <= 0.0 || (ln(v) as f64 - exact).abs() < 2e-7 * exact.abs().max(1.0), "ln({v})");
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        assert!(exp_negative(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan() && softplus(f32::NAN).is_nan());
    }

    #[test]
    fn the_loops_take_every_element_and_no_more() {
        for (b, d) in [(1, 1), (3, 17), (5, 64), (2, 2 * CHUNK + 5)] {
            let [y, x]: [Vec<f32>; 2] = [3, 7].map(|k| (0..b * d).map(|i| (i % k) as f32).collect());
            let (mut rows, mut out) = (vec![-1.0; b], vec![-1.0; b * d]);
            row_sums(&mut rows, [&y, &x], d, |y, x| 10.0 * y + x);
            map_pairs(&mut out, [&y, &x], |y, x| 10.0 * y + x);
            for r in 0..b {
                assert_eq!(rows[r], out[r * d..(r + 1) * d].iter().sum::<f32>(), "{b}x{d}, row {r}");
            }
            assert!((0..b * d).all(|i| out[i] == 10.0 * y[i] + x[i]), "{b}x{d}");
        }
    }
}
