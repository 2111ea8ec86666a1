//! Elementary functions for the CPU device's loops: polynomials without branches, which the compiler vectorises.
//! The references use the standard library; the tests hold these against it.

/// Runs a loop as compiled for the widest vectors this CPU has, found at run time. The instructions differ, the numbers
/// do not: without fused multiply-adds a vector computes what its elements would.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// e^x for x <= 0, relative error below 3e-7 (below -87 it stays e^-87). x = n ln 2 + r, e^r by a degree-6 Taylor polynomial, |r| <= 0.35.
#[inline(always)]
pub fn exp_negative(x: f32) -> f32 {
    let x = x.max(-87.0);
    // Adding 1.5 * 2^23 rounds to an integer that stands in the low bits of the sum.
    let shifted = x * std::f32::consts::LOG2_E + 12582912.0;
    let n = shifted - 12582912.0;
    // ln 2 in two parts: n times the first is exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(0x4B40_0000).wrapping_add(127) << 23);
    p * scale
}

/// log(1 + y) for y in [0, 1], absolute error below 3e-7: 2 artanh(y / (2 + y)) by its series, argument at most 1/3.
#[inline(always)]
pub fn log1p_unit(y: f32) -> f32 {
    let s = y / (2.0 + y);
    let q = s * s;
    2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0))))))
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
        }
    }
}
