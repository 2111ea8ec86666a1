//! In f32, the same steps as the shader's.

use super::{NUMBERS, Params, RANGES};
use crate::kernel::params;
use crate::kernels::threads::{chunk, chunks};
use crate::kernels::{CHUNK, bce, math};

/// A component at a point in f32, as in the shader.
struct At {
    log_density: f32,
    a: f32,
    b: f32,
    u: f32,
    cosh_t: f32,
    sinh_t: f32,
    held: [f32; 3],
}

#[inline(always)]
fn at(outputs: &[f32], of: usize, x: &[f32]) -> At {
    const LOG_2PI: f32 = 1.837_877_1;
    let m = outputs.len() / NUMBERS;
    let held = [0, 1, 2].map(|n| RANGES[n] as f32 * math::tanh(outputs[(3 + n) * m + of] / RANGES[n] as f32));
    let a = (x[0] - outputs[m + of]) * math::exp(-held[0]);
    let b = (x[1] - outputs[2 * m + of]) * math::exp(-held[1]);
    let grown = math::exp(held[2]);
    let (cosh_t, sinh_t) = (0.5 * (grown + 1.0 / grown), 0.5 * (grown - 1.0 / grown));
    let u = a * cosh_t - b * sinh_t;
    let log_density = math::ln(cosh_t) - 0.5 * (u * u + b * b) - held[0] - held[1] - LOG_2PI;
    At { log_density, a, b, u, cosh_t, sinh_t, held }
}

fn log_sums(outputs: &[f32], x: &[f32]) -> [f32; 2] {
    let m = outputs.len() / NUMBERS;
    let pair = |of: usize| [outputs[of], outputs[of] + at(outputs, of, x).log_density];
    let mut most = pair(0);
    for of in 1..m {
        most.iter_mut().zip(pair(of)).for_each(|(most, next)| *most = if next > *most { next } else { *most });
    }
    let mut sums = [0f32; 2];
    for of in 0..m {
        let terms = pair(of);
        (0..2).for_each(|n| sums[n] += math::exp_negative(terms[n] - most[n]));
    }
    [0, 1].map(|n| most[n] + math::ln(sums[n]))
}

/// Threads share the rows.
pub fn loss(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [r, m] = [p[0] as usize, p[1] as usize];
    let width = NUMBERS * m + 1;
    chunks([(&mut writes[0][..r], 1)], (CHUNK / width).max(1), |i, [row]| {
        let (outputs, x) = (chunk(reads[0], width, i), chunk(reads[1], 3, i));
        let [of_weights, of_point] = log_sums(outputs, x);
        row[0] = of_weights - of_point + bce::loss_of(outputs[NUMBERS * m], x[2]);
    });
}

/// Threads share the rows.
pub fn backward(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let (r, m, scale) = (p.r as usize, p.m as usize, p.scale);
    let width = NUMBERS * m + 1;
    chunks([(&mut writes[0][..r * width], width)], (CHUNK / width).max(1), |i, [gradients]| {
        let (outputs, x) = (chunk(reads[0], width, i), chunk(reads[1], 3, i));
        let [of_weights, of_point] = log_sums(outputs, x);
        for of in 0..m {
            let At { log_density, a, b, u, cosh_t, sinh_t, held } = at(outputs, of, x);
            let weight = math::exp_negative(outputs[of] - of_weights);
            let share = math::exp(outputs[of] + log_density - of_point);
            let (to_a, to_b, w) = (u * cosh_t, b - u * sinh_t, scale * share);
            let slopes = [0, 1, 2].map(|n| 1.0 - held[n] * held[n] / (RANGES[n] * RANGES[n]) as f32);
            gradients[of] = scale * (weight - share);
            gradients[m + of] = -w * to_a * math::exp(-held[0]);
            gradients[2 * m + of] = -w * to_b * math::exp(-held[1]);
            gradients[3 * m + of] = w * (1.0 - a * to_a) * slopes[0];
            gradients[4 * m + of] = w * (1.0 - b * to_b) * slopes[1];
            gradients[5 * m + of] = w * (u * (a * sinh_t - b * cosh_t) - sinh_t / cosh_t) * slopes[2];
        }
        gradients[NUMBERS * m] = scale * (math::sigmoid(outputs[NUMBERS * m]) - x[2]);
    });
}
