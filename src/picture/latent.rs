//! Latent points worth decoding: between two codes, along one axis, over the plane of a 2-D latent.

/// Straight line between `a` (t = 0) and `b` (t = 1), both of length Z.
///
/// # Panics
/// If the lengths differ.
pub fn lerp(a: &[f32], b: &[f32], t: f32) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "cannot interpolate between latents of different length");
    // This form, unlike a + t(b - a), gives b exactly at t = 1.
    a.iter().zip(b).map(|(a, b)| (1.0 - t) * a + t * b).collect()
}

/// Angles in radians, to 0 and to π, below which slerp's division by sin Ω stops making sense. The direction of an
/// f32 vector is known to about 1e-7.
const SMALL_ANGLE: f64 = 1e-6;

/// Great-circle interpolation between `a` (t = 0) and `b` (t = 1), both of length Z, with Ω the angle between them:
///
///   slerp(a, b, t) = sin((1-t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b
///
/// A Gaussian latent of many dimensions lies near a sphere of radius √Z. A straight line cuts through its empty
/// inside, this path stays near the shell (White 2016, "Sampling Generative Networks", section 2.1).
///
/// Where the formula is 0/0:
/// - a zero vector has no direction and a tiny angle no arc: [`lerp`];
/// - opposite vectors have no single great circle: the path takes the half circle through a fixed direction
///   perpendicular to `a`, its radius going evenly from |a| to |b|. One dimension has no such direction: [`lerp`].
///
/// # Panics
/// If the lengths differ.
pub fn slerp(a: &[f32], b: &[f32], t: f32) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "cannot interpolate between latents of different length");
    let (norm_a, norm_b) = (norm(a), norm(b));
    if norm_a == 0.0 || norm_b == 0.0 {
        return lerp(a, b, t);
    }
    let omega = angle(a, norm_a, b, norm_b);
    if omega < SMALL_ANGLE {
        return lerp(a, b, t);
    }
    let t64 = f64::from(t);
    if std::f64::consts::PI - omega < SMALL_ANGLE {
        let Some(side) = perpendicular(a, norm_a) else { return lerp(a, b, t) };
        let radius = (1.0 - t64) * norm_a + t64 * norm_b;
        let (sin, cos) = (t64 * std::f64::consts::PI).sin_cos();
        return a
            .iter()
            .zip(side)
            .map(|(a, side)| (radius * (cos * f64::from(*a) / norm_a + sin * side)) as f32)
            .collect();
    }
    let weight_a = ((1.0 - t64) * omega).sin() / omega.sin();
    let weight_b = (t64 * omega).sin() / omega.sin();
    a.iter().zip(b).map(|(a, b)| (weight_a * f64::from(*a) + weight_b * f64::from(*b)) as f32).collect()
}

fn norm(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// Angle between two vectors in [0, π]: with unit u and v, Ω = 2 atan2(|u - v|, |u + v|), which keeps its digits near
/// 0 and π where the arc cosine loses half of them.
fn angle(a: &[f32], norm_a: f64, b: &[f32], norm_b: f64) -> f64 {
    let (mut difference, mut sum) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (u, v) = (f64::from(*a) / norm_a, f64::from(*b) / norm_b);
        difference += (u - v).powi(2);
        sum += (u + v).powi(2);
    }
    2.0 * difference.sqrt().atan2(sum.sqrt())
}

/// A unit vector perpendicular to `a`: the axis that `a` leans to least, made perpendicular. None in one dimension.
fn perpendicular(a: &[f32], norm_a: f64) -> Option<Vec<f64>> {
    if a.len() < 2 {
        return None;
    }
    let axis = (0..a.len()).min_by(|i, j| a[*i].abs().total_cmp(&a[*j].abs()))?;
    let along = f64::from(a[axis]) / norm_a;
    // e - (e·u)u has length √(1 - (e·u)²).
    let length = (1.0 - along * along).sqrt();
    let component = |(i, a): (usize, &f32)| (f64::from(u8::from(i == axis)) - along * f64::from(*a) / norm_a) / length;
    Some(a.iter().enumerate().map(component).collect())
}

/// Where the manifold of a 2-D latent begins, as a quantile of the standard normal.
pub const MANIFOLD_LOW: f64 = 0.05;
/// Where it ends.
pub const MANIFOLD_HIGH: f64 = 0.95;

/// n x n points of a 2-D latent, evenly spaced in probability: quantiles from `low` to `high` of N(0,1) on each axis
/// (Kingma and Welling 2013, figure 4). The middle quantile for n = 1.
///
/// Row by row for a grid of n columns, laid out like the axes of a chart: z1 grows to the right, z2 grows upwards, so
/// row 0, the top of the picture, has the highest z2.
///
/// # Panics
/// Unless 0 < `low` <= `high` < 1: the ends of the quantile function are infinite.
pub fn manifold_points(n: usize, low: f64, high: f64) -> Vec<[f32; 2]> {
    assert!(0.0 < low && low <= high && high < 1.0, "manifold from quantile {low} to {high}: both lie inside (0,1)");
    let quantile = |i: usize| if n == 1 { (low + high) / 2.0 } else { low + (high - low) * i as f64 / (n - 1) as f64 };
    let axis: Vec<f32> = (0..n).map(|i| inverse_normal_cdf(quantile(i)) as f32).collect();
    axis.iter().rev().flat_map(|z2| axis.iter().map(move |z1| [*z1, *z2])).collect()
}

/// Latent traversal: for each of the Z dimensions of `base`, in order, one point for each of `values`, with that
/// dimension replaced by the value. Z * values.len() points: as a grid of values.len() columns, a row is a dimension.
pub fn traverse_points(base: &[f32], values: &[f32]) -> Vec<Vec<f32>> {
    let replaced = |dimension: usize, value: f32| {
        let mut point = base.to_vec();
        point[dimension] = value;
        point
    };
    (0..base.len()).flat_map(|dimension| values.iter().map(move |value| replaced(dimension, *value))).collect()
}

/// Quantile function of N(0,1): the z with P(Z <= z) = `p`.
///
/// Algorithm AS 241, routine PPND16: M. J. Wichura 1988, "The Percentage Points of the Normal Distribution", Applied
/// Statistics 37(3), 477-484. Three ratios of polynomials of degree 7, relative error about 1e-16.
/// 0 and 1 give the infinities; NaN and what lies outside `[0,1]` give NaN.
pub fn inverse_normal_cdf(p: f64) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&CENTRAL, 0.180625 - q * q);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail == 0.0 {
        return f64::INFINITY.copysign(q);
    }
    let r = (-tail.ln()).sqrt();
    let z = if r <= 5.0 { ratio(&TAIL, r - 1.6) } else { ratio(&FAR_TAIL, r - 5.0) };
    z.copysign(q)
}

/// Numerator and denominator, constant term first.
type Ratio = ([f64; 8], [f64; 8]);

fn ratio((numerator, denominator): &Ratio, r: f64) -> f64 {
    let polynomial = |coefficients: &[f64; 8]| coefficients.iter().rev().fold(0.0, |sum, c| sum * r + c);
    polynomial(numerator) / polynomial(denominator)
}

// Coefficients as published; some have more digits than an f64 keeps.
#[allow(clippy::excessive_precision)]
mod coefficients {
    use super::Ratio;

    /// |p - 1/2| <= 0.425, in 0.180625 - (p - 1/2)².
    pub const CENTRAL: Ratio = (
        [
            3.3871328727963666080e0,
            1.3314166789178437745e2,
            1.9715909503065514427e3,
            1.3731693765509461125e4,
            4.5921953931549871457e4,
            6.7265770927008700853e4,
            3.3430575583588128105e4,
            2.5090809287301226727e3,
        ],
        [
            1.0,
            4.2313330701600911252e1,
            6.8718700749205790830e2,
            5.3941960214247511077e3,
            2.1213794301586595867e4,
            3.9307895800092710610e4,
            2.8729085735721942674e4,
            5.2264952788528545610e3,
        ],
    );
    /// Tails down to e^-25, in √(-ln tail) - 1.6.
    pub const TAIL: Ratio = (
        [
            1.42343711074968357734e0,
            4.63033784615654529590e0,
            5.76949722146069140550e0,
            3.64784832476320460504e0,
            1.27045825245236838258e0,
            2.41780725177450611770e-1,
            2.27238449892691845833e-2,
            7.74545014278341407640e-4,
        ],
        [
            1.0,
            2.05319162663775882187e0,
            1.67638483018380384940e0,
            6.89767334985100004550e-1,
            1.48103976427480074590e-1,
            1.51986665636164571966e-2,
            5.47593808499534494600e-4,
            1.05075007164441684324e-9,
        ],
    );
    /// Tails below e^-25, in √(-ln tail) - 5.
    pub const FAR_TAIL: Ratio = (
        [
            6.65790464350110377720e0,
            5.46378491116411436990e0,
            1.78482653991729133580e0,
            2.96560571828504891230e-1,
            2.65321895265761230930e-2,
            1.24266094738807843860e-3,
            2.71155556874348757815e-5,
            2.01033439929228813265e-7,
        ],
        [
            1.0,
            5.99832206555887937690e-1,
            1.36929880922735805310e-1,
            1.48753612908506148525e-2,
            7.86869131145613259100e-4,
            1.84631831751005468180e-5,
            1.42151175831644588870e-7,
            2.04426310338993978564e-15,
        ],
    );
}
use coefficients::{CENTRAL, FAR_TAIL, TAIL};

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(actual.len(), expected.len());
        let close = actual.iter().zip(expected).all(|(a, e)| (a - e).abs() <= tolerance);
        assert!(close, "{actual:?} is not {expected:?}");
    }

    #[test]
    fn lerp_is_a_straight_line_with_exact_ends() {
        let (a, b) = ([0.1, -3.0], [0.7, 1e-8]);
        assert_eq!(lerp(&a, &b, 0.0), a);
        assert_eq!(lerp(&a, &b, 1.0), b);
        assert_close(&lerp(&[0.0, 2.0], &[4.0, 0.0], 0.25), &[1.0, 1.5], 1e-7);
    }

    #[test]
    fn slerp_follows_the_circle_with_exact_ends() {
        let (a, b) = ([2.0, 0.0, 0.0], [0.0, 2.0, 0.0]);
        let third = std::f32::consts::FRAC_PI_6;
        assert_close(&slerp(&a, &b, 1.0 / 3.0), &[2.0 * third.cos(), 2.0 * third.sin(), 0.0], 1e-6);
        assert_eq!(slerp(&a, &b, 0.0), a);
        assert_eq!(slerp(&a, &b, 1.0), b);
        // The angle is that of the directions: unequal lengths keep the formula's weights, here 1/√2 each.
        assert_close(&slerp(&[1.0, 0.0], &[0.0, 3.0], 0.5), &[0.5f32.sqrt(), 3.0 * 0.5f32.sqrt()], 1e-6);
    }

    #[test]
    fn slerp_is_lerp_where_there_is_no_angle() {
        for (a, b) in [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0, 2.0], [2.0, 4.0])] {
            assert_eq!(slerp(&a, &b, 0.3), lerp(&a, &b, 0.3), "{a:?} to {b:?}");
        }
        assert_eq!(slerp(&[1.0], &[-1.0], 0.5), [0.0]);
        assert!(slerp(&[], &[], 0.5).is_empty());
    }

    #[test]
    fn slerp_between_opposite_points_goes_round_the_sphere() {
        let a = [0.3f32, -0.4, 1.2];
        let b = a.map(|x| -2.0 * x);
        let radius = |v: &[f32]| norm(v) as f32;
        for t in [0.0f32, 0.25, 0.5, 0.75, 1.0] {
            let point = slerp(&a, &b, t);
            let expected = 1.3 * (1.0 + t);
            assert!((radius(&point) - expected).abs() < 1e-5, "t = {t}: radius {} is not {expected}", radius(&point));
            let cosine = point.iter().zip(a).map(|(p, a)| p * a).sum::<f32>() / (radius(&point) * 1.3);
            assert!((cosine - (t * std::f32::consts::PI).cos()).abs() < 1e-5, "t = {t}: cosine {cosine}");
        }
        assert_close(&slerp(&a, &b, 1.0), &b, 1e-5);
    }

    /// Φ(z) for z <= 0, from erfc: its Maclaurin series for small |z|, its continued fraction (Abramowitz and Stegun
    /// 7.1.14, evaluated backwards) for the tail.
    fn lower_tail(z: f64) -> f64 {
        let x = -z / std::f64::consts::SQRT_2;
        let erfc = if x < 1.5 {
            let (mut term, mut sum) = (x, x);
            for k in 1..60 {
                term *= -x * x / f64::from(k);
                sum += term / f64::from(2 * k + 1);
            }
            1.0 - 2.0 / std::f64::consts::PI.sqrt() * sum
        } else {
            let fraction = (1..200).rev().fold(x, |below, k| x + f64::from(k) / 2.0 / below);
            (-x * x).exp() / (std::f64::consts::PI.sqrt() * fraction)
        };
        erfc / 2.0
    }

    #[test]
    fn inverse_normal_cdf_has_the_known_quantiles() {
        // From mpmath with 40 digits, rounded to f64.
        let known = [
            (0.5, 0.0),
            (0.6, 0.2533471031357998),
            (0.25, -0.6744897501960817),
            (0.975, 1.9599639845400543),
            (0.05, -1.6448536269514726),
            (1e-3, -3.0902323061678136),
            (1e-9, -5.9978070150076865),
            (1e-12, -7.034483825301132),
            (1e-15, -7.941345326170997),
            (1e-300, -37.0470962993612),
        ];
        for (p, z) in known {
            let actual = inverse_normal_cdf(p);
            assert!((actual - z).abs() <= 4e-15 * z.abs(), "quantile {p}: {actual} is not {z}");
        }
    }

    #[test]
    fn inverse_normal_cdf_undoes_the_cdf() {
        // 2000 probabilities, evenly spaced in their logarithm, from 1e-12 to 1/2, and their mirror images.
        for i in 0..=2000 {
            let p = 0.5 * 2e-12f64.powf(f64::from(i) / 2000.0);
            let z = inverse_normal_cdf(p);
            let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let error = (lower_tail(z) - p) / density;
            assert!(error.abs() < 1e-13, "quantile {p}: {z} is off by {error}");
            let upper = inverse_normal_cdf(1.0 - p);
            let mirrored = -inverse_normal_cdf(1.0 - (1.0 - p));
            assert!((upper - mirrored).abs() < 1e-13, "quantile 1 - {p}: {upper} is not {mirrored}");
        }
    }

    #[test]
    fn inverse_normal_cdf_of_the_ends_and_beyond() {
        assert_eq!(inverse_normal_cdf(0.0), f64::NEG_INFINITY);
        assert_eq!(inverse_normal_cdf(1.0), f64::INFINITY);
        assert!([-0.1, 1.1, f64::NAN].into_iter().all(|p| inverse_normal_cdf(p).is_nan()));
    }

    #[test]
    fn the_manifold_has_z1_to_the_right_and_z2_upwards() {
        let points = manifold_points(3, MANIFOLD_LOW, MANIFOLD_HIGH);
        let q = 1.6448536f32;
        let expected = [[-q, q], [0.0, q], [q, q], [-q, 0.0], [0.0, 0.0], [q, 0.0], [-q, -q], [0.0, -q], [q, -q]];
        assert_close(points.as_flattened(), expected.as_flattened(), 1e-6);
        assert_close(manifold_points(1, 0.05, 0.95).as_flattened(), &[0.0, 0.0], 1e-6);
        assert!(manifold_points(0, 0.05, 0.95).is_empty());
    }

    #[test]
    #[should_panic(expected = "both lie inside (0,1)")]
    fn a_manifold_to_infinity_is_a_program_error() {
        manifold_points(3, 0.0, 0.95);
    }

    #[test]
    fn a_traversal_replaces_one_dimension_a_row() {
        let points = traverse_points(&[1.0, 2.0], &[-3.0, 0.0, 3.0]);
        assert_eq!(points, [[-3.0, 2.0], [0.0, 2.0], [3.0, 2.0], [1.0, -3.0], [1.0, 0.0], [1.0, 3.0]]);
    }
}
