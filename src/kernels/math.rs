//! Elementary functions for the CPU device's loops: polynomials without branches, which the compiler vectorises; and
//! the two loops that the losses share. The references use the standard library; the tests hold these against it.

use std::f32::consts::FRAC_2_SQRT_PI;

use pulp::{Arch, Simd, WithSimd};

use super::CHUNK;
use super::threads::{chunk, chunks};

/// Runs a loop as compiled for the widest vectors this CPU has, found at run time. The instructions differ, the numbers
/// do not: without fused multiply-adds a vector computes what its elements would. For short loops: the compiler may
/// leave a long closure out of line, where it has no vectors. Those are a [`WithSimd`] of their own, as below.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(f)
}

/// `rows[r] = sum of term(y, x)` over the row r of two matrices whose rows have length `d`. Threads share the rows.
pub fn row_sums(rows: &mut [f32], [y, x]: [&[f32]; 2], d: usize, term: impl Fn(f32, f32) -> f32 + Sync + Copy) {
    chunks([(rows, 1)], (CHUNK / d).max(1), |r, [row]| row[0] = sum_pairs([y, x].map(|t| chunk(t, d, r)), term));
}

/// `out[i] = value(y[i], x[i])`. Threads share the elements.
pub fn map_pairs(out: &mut [f32], yx: [&[f32]; 2], value: impl Fn(f32, f32) -> f32 + Sync + Copy) {
    update_all_pairs(out, yx, move |_, y, x| value(y, x));
}

/// `out[i] = value(out[i], y[i], x[i])`. Threads share the elements.
pub fn update_all_pairs(out: &mut [f32], yx: [&[f32]; 2], value: impl Fn(f32, f32, f32) -> f32 + Sync + Copy) {
    chunks([(out, CHUNK)], 1, |i, [out]| update_pairs(out, yx.map(|t| &t[i * CHUNK..][..out.len()]), value));
}

/// `[first[i], second[i]] = value(inputs[i])` for the first `n` elements of two outputs. Threads share the elements.
pub fn map_all<const N: usize>(
    n: usize,
    outputs: &mut [&mut [f32]],
    inputs: [&[f32]; N],
    value: impl Fn([f32; N]) -> [f32; 2] + Sync + Copy,
) {
    let [first, second] = outputs else { panic!("{} outputs are not two", outputs.len()) };
    chunks([(&mut first[..n], CHUNK), (&mut second[..n], CHUNK)], 1, |i, outputs| {
        let inputs = inputs.map(|input| &input[i * CHUNK..][..outputs[0].len()]);
        Arch::new().dispatch(MapAll(outputs, inputs, value));
    });
}

/// The sum of `term(y[i], x[i])` in one thread. What `term` captures it must capture by value: a loop that reads its
/// constants through a reference does not vectorise.
pub(crate) fn sum_pairs(yx: [&[f32]; 2], term: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    assert!(yx[0].len() == yx[1].len(), "sum_pairs: {} and {} elements", yx[0].len(), yx[1].len());
    Arch::new().dispatch(SumPairs(yx, term))
}

/// `out[i] = value(out[i], y[i], x[i])` in one thread. Captured by value, as in [`sum_pairs`].
pub(crate) fn update_pairs(out: &mut [f32], yx: [&[f32]; 2], value: impl Fn(f32, f32, f32) -> f32 + Copy) {
    Arch::new().dispatch(UpdatePairs(out, yx, value));
}

/// `out[i] = value(out[i])` in one thread. Captured by value, as in [`sum_pairs`].
pub(crate) fn update(out: &mut [f32], value: impl Fn(f32) -> f32 + Copy) {
    Arch::new().dispatch(Update(out, value));
}

/// The largest of some numbers in one thread, NaN passed over; of none -inf.
pub(crate) fn largest(values: &[f32]) -> f32 {
    Arch::new().dispatch(Largest(values))
}

struct Largest<'a>(&'a [f32]);
struct SumPairs<'a, F>([&'a [f32]; 2], F);
struct UpdatePairs<'a, F>(&'a mut [f32], [&'a [f32]; 2], F);
struct Update<'a, F>(&'a mut [f32], F);
struct MapAll<'a, const N: usize, F>([&'a mut [f32]; 2], [&'a [f32]; N], F);

/// Running sums of a row: they fill the vectors, and each adds up few enough terms for f32.
const SUMS: usize = 128;

impl WithSimd for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let mut most = [f32::NEG_INFINITY; SUMS];
        for values in self.0.chunks(SUMS) {
            most.iter_mut().zip(values).for_each(|(most, &v)| *most = if v > *most { v } else { *most });
        }
        most.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
    }
}

impl<F: Fn(f32, f32) -> f32> WithSimd for SumPairs<'_, F> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let SumPairs([y, x], term) = self;
        // Pieces of a known length, whose loops vectorise without a remainder.
        let ((y, last_y), (x, last_x)) = (y.as_chunks::<SUMS>(), x.as_chunks::<SUMS>());
        let mut sums = [0f32; SUMS];
        for (y, x) in y.iter().zip(x) {
            sums.iter_mut().zip(y).zip(x).for_each(|((sum, &y), &x)| *sum += term(y, x));
        }
        sums.iter_mut().zip(last_y).zip(last_x).for_each(|((sum, &y), &x)| *sum += term(y, x));
        total(sums)
    }
}

impl<F: Fn(f32, f32, f32) -> f32> WithSimd for UpdatePairs<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let UpdatePairs(out, [y, x], value) = self;
        for ((out, &y), &x) in out.iter_mut().zip(y).zip(x) {
            *out = value(*out, y, x);
        }
    }
}

impl<F: Fn(f32) -> f32> WithSimd for Update<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Update(out, value) = self;
        out.iter_mut().for_each(|out| *out = value(*out));
    }
}

impl<const N: usize, F: Fn([f32; N]) -> [f32; 2]> WithSimd for MapAll<'_, N, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let MapAll([first, second], inputs, value) = self;
        for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
            [*first, *second] = value(inputs.map(|input| input[i]));
        }
    }
}

/// The sum of running sums, whose number is a power of two, by halves.
#[inline(always)]
pub(crate) fn total<const N: usize>(mut sums: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        let (low, high) = sums.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        half /= 2;
    }
    sums[0]
}

/// 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// x = n ln 2 + r with |r| <= 0.35: n as a number, n in the low bits, e^r - 1 by its Taylor polynomial of degree 7.
/// ln 2 is taken in two parts, of which n times the first is exact.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, u32, f32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let tail = 1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0))));
    (n, shifted.to_bits(), r + r * r * (0.5 + r * tail))
}

/// 2^n from a sum with [`ROUND`], for n from -126 to 127.
#[inline(always)]
fn power_of_two(rounded: u32) -> f32 {
    f32::from_bits(rounded.wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
}

/// e^x within 1.2 ulp, subnormal results included: infinity above 88.72, 0 below -103.97.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (n, _, p) = exp_parts(x);
    // 2^n in two factors, each of which is a normal number.
    let half = 0.5 * n + ROUND;
    let rest = n - (half - ROUND) + ROUND;
    let first = power_of_two(half.to_bits());
    (first + first * p) * power_of_two(rest.to_bits())
}

/// e^x for x <= 0 within 1.2 ulp down to -87; below it is 0.
#[inline(always)]
pub fn exp_negative(x: f32) -> f32 {
    // Not `max`, which turns NaN into -87.
    let clamped = if x < -87.0 { -87.0 } else { x };
    let (_, n, p) = exp_parts(clamped);
    let scale = if x < -87.0 { 0.0 } else { power_of_two(n) };
    scale + scale * p
}

/// e^x - 1 within 2 ulp: infinity above 88.72, -1 far below.
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (n, _, p) = exp_parts(x);
    // 2^n in two factors: n is up to 128.
    let half = power_of_two((n - 1.0 + ROUND).to_bits());
    ((half - 0.5) + half * p) * 2.0
}

/// log(1 + y) for y in [0, 1], absolute error below 3e-7: 2 artanh(y / (2 + y)) by its series, argument at most 1/3.
#[inline(always)]
pub fn log1p_unit(y: f32) -> f32 {
    let s = y / (2.0 + y);
    let q = s * s;
    2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0))))))
}

/// log(1 + e^x) within 5 ulp down to -87; below it is 0.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    (if x <= 0.0 { 0.0 } else { x }) + log1p_unit(exp_negative(-x.abs()))
}

/// log x, error below 2e-7 times the larger of 1 and |log x|: subnormal numbers included, -infinity at 0, NaN below.
/// x = m 2^k with m from sqrt(1/2) to sqrt(2); log m = 2 artanh((m - 1) / (m + 1)), argument at most 0.172.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3F35_04F3;
    let small = x < f32::MIN_POSITIVE;
    let bits = (if small { x * 8_388_608.0 } else { x }).to_bits().wrapping_sub(SQRT_HALF);
    let k = (bits as i32 >> 23) as f32 - (if small { 23.0 } else { 0.0 });
    let m = f32::from_bits((bits & 0x007F_FFFF) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let log = 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0)))));
    let log = k * std::f32::consts::LN_2 + log;
    // Infinity and NaN are their own logarithms.
    let log = if x < f32::INFINITY { log } else { x };
    let below = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    if x <= 0.0 { below } else { log }
}

/// 1 / (1 + e^-x) within 3 ulp down to -87; below it is 0.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp_negative(-x.abs());
    (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// tanh x within 4 ulp: -t / (2 + t) of t = e^(-2 |x|) - 1, with the sign of x.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let t = expm1(-2.0 * x.abs());
    (-t / (2.0 + t)).copysign(x)
}

/// erf x, absolute error below 2.5e-7: its Taylor series up to 1, then Abramowitz & Stegun, Handbook of Mathematical
/// Functions (1964), 7.1.26, whose own error is 1.5e-7.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let q = x * x;
    let t = 1.0 / 216.0
        + q * (-1.0 / 1320.0
            + q * (1.0 / 9360.0 + q * (-1.0 / 75600.0 + q * (1.0 / 685_440.0 + q * (-1.0 / 6_894_720.0)))));
    let near = x * FRAC_2_SQRT_PI * (1.0 + q * (-1.0 / 3.0 + q * (1.0 / 10.0 + q * (-1.0 / 42.0 + q * t))));
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    let far = (1.0 - p * exp_negative(-q)).copysign(x);
    if x.abs() < 1.0 { near } else { far }
}

/// (sin, cos) of 2 pi u for u in [0, 1], absolute error below 1.5e-7: u = q / 4 + f with |f| <= 1/8, Taylor polynomials
/// of 2 pi f, and q quarter turns.
#[inline(always)]
pub fn sin_cos_turn(u: f32) -> (f32, f32) {
    let shifted = 4.0 * u + ROUND;
    let r = (u - 0.25 * (shifted - ROUND)) * std::f32::consts::TAU;
    let q = r * r;
    let sin = r * (1.0 + q * (-1.0 / 6.0 + q * (1.0 / 120.0 + q * (-1.0 / 5040.0 + q * (1.0 / 362_880.0)))));
    let cos = 1.0 + q * (-0.5 + q * (1.0 / 24.0 + q * (-1.0 / 720.0 + q * (1.0 / 40320.0))));
    let quarter = shifted.to_bits();
    let (s, c) = if quarter & 1 == 0 { (sin, cos) } else { (cos, sin) };
    // The sine changes its sign in the third and fourth quarter, the cosine in the second and third.
    let sign = |value: f32, turned: u32| f32::from_bits(value.to_bits() ^ (turned & 2) << 30);
    (sign(s, quarter), sign(c, quarter.wrapping_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every so many of the 2^32 numbers: all exponents, both signs, subnormal numbers and infinities.
    fn numbers() -> impl Iterator<Item = f32> {
        (0..=u32::MAX).step_by(2081).chain([0x7F80_0000, 0xFF80_0000]).map(f32::from_bits).filter(|x| !x.is_nan())
    }

    /// The largest error in units of the last place of what is exact; where that has no finite neighbour, the function
    /// has to be infinite too.
    fn worst_ulp(from: f32, to: f32, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
        let error = |x: f32| {
            let (got, want) = (f(x), exact(x as f64));
            let rounded = (want as f32).abs();
            if rounded.is_infinite() {
                return if got == want as f32 { 0.0 } else { f64::INFINITY };
            }
            let unit = f32::from_bits(rounded.max(f32::MIN_POSITIVE).to_bits() + 1) as f64
                - rounded.max(f32::MIN_POSITIVE) as f64;
            let error = (got as f64 - want).abs() / unit;
            if error.is_nan() { f64::INFINITY } else { error }
        };
        numbers().filter(|&x| from <= x && x <= to).map(error).fold(0.0, f64::max)
    }

    const INF: f32 = f32::INFINITY;

    #[test]
    fn polynomials_are_within_their_stated_units_in_the_last_place() {
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let soft = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        for (name, from, to, f, exact, stated) in [
            ("exp", -INF, INF, exp as fn(f32) -> f32, f64::exp as fn(f64) -> f64, 1.2),
            ("exp_negative", -87.0, 0.0, exp_negative, f64::exp, 1.2),
            ("expm1", -INF, INF, expm1, f64::exp_m1, 2.0),
            ("softplus", -87.0, INF, softplus, soft, 5.0),
            ("sigmoid", -87.0, INF, sigmoid, logistic, 3.0),
            ("tanh", -INF, INF, tanh, f64::tanh, 4.0),
        ] {
            let worst = worst_ulp(from, to, f, exact);
            assert!(worst <= stated, "{name}: {worst} ulp");
            // What is stated is close to what is.
            assert!(worst >= 0.4 * stated, "{name}: {worst} ulp, and {stated} are stated");
        }
    }

    #[test]
    fn polynomials_are_within_their_stated_absolute_errors() {
        let worst = |from: f32, to: f32, error: &dyn Fn(f32) -> f64| {
            let steps = (0..=200_000).map(|i| from + (to - from) * (i as f32 / 200_000.0));
            numbers().filter(|&x| from <= x && x <= to).chain(steps).map(error).fold(0.0, f64::max)
        };
        let near = |got: f32, want: f64| (got as f64 - want).abs();
        assert!(worst(0.0, 1.0, &|y| near(log1p_unit(y), (y as f64).ln_1p())) < 3e-7);
        assert!(worst(-7.0, 7.0, &|x| near(erf(x), libm::erf(x as f64))) < 2.5e-7);
        let angle = |u: f32| std::f64::consts::TAU * u as f64;
        assert!(worst(0.0, 1.0, &|u| near(sin_cos_turn(u).0, angle(u).sin())) < 1.5e-7);
        assert!(worst(0.0, 1.0, &|u| near(sin_cos_turn(u).1, angle(u).cos())) < 1.5e-7);
        let log = |x: f32| near(ln(x), (x as f64).ln()) / (x as f64).ln().abs().max(1.0);
        assert!(worst(f32::from_bits(1), f32::MAX, &log) < 2e-7);
    }

    #[test]
    fn the_ends_of_the_line() {
        assert_eq!((exp(INF), exp(-INF), exp(88.73), exp(-104.0)), (INF, 0.0, INF, 0.0));
        assert_eq!((exp_negative(-INF), exp_negative(-87.1), exp_negative(0.0)), (0.0, 0.0, 1.0));
        assert_eq!((expm1(INF), expm1(-INF), expm1(0.0)), (INF, -1.0, 0.0));
        assert_eq!((sigmoid(INF), sigmoid(-INF), sigmoid(0.0)), (1.0, 0.0, 0.5));
        assert_eq!((softplus(INF), softplus(-INF)), (INF, 0.0));
        assert_eq!((tanh(INF), tanh(-INF), erf(INF), erf(-INF)), (1.0, -1.0, 1.0, -1.0));
        assert_eq!((ln(INF), ln(0.0), ln(1.0)), (INF, -INF, 0.0));
        assert!(ln(-1.0).is_nan() && ln(-INF).is_nan());
    }

    #[test]
    fn nan_stays_nan() {
        for f in [exp, exp_negative, expm1, log1p_unit, softplus, ln, sigmoid, tanh, erf] {
            assert!(f(f32::NAN).is_nan());
        }
        let (sin, cos) = sin_cos_turn(f32::NAN);
        assert!(sin.is_nan() && cos.is_nan());
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
