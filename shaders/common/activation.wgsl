
// Activations of torch.nn.functional with their default constants, by the numbers of src/kernels/activation.rs.
// The exponentials see arguments clamped to where f32 still resolves them, so nothing overflows on any device.

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-clamp(x, -87.0, 87.0)));
}

// log(1 + e^x) without overflow.
fn softplus(x: f32) -> f32 {
    return max(x, 0.0) + log(1.0 + exp(-abs(x)));
}

// Metal's fast tanh is NaN beyond 44; f32 tanh is 1 from 9.01 on.
fn tanh_clamped(x: f32) -> f32 {
    return tanh(clamp(x, -15.0, 15.0));
}

// Abramowitz & Stegun 7.1.26, absolute error below 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let y = 1.0 - p * exp(-min(x * x, 87.0));
    return select(-y, y, x >= 0.0);
}

fn activate(kind: u32, x: f32) -> f32 {
    switch kind {
        // Not max(x, 0.0), which turns NaN into 0 and would hide where a run went wrong.
        case 1u: { return select(x, 0.0, x <= 0.0); }
        case 2u: { return select(0.01 * x, x, x > 0.0); }
        case 3u: { return select(exp(min(x, 0.0)) - 1.0, x, x > 0.0); }
        case 4u: { return sigmoid(x); }
        case 5u: { return tanh_clamped(x); }
        case 6u: { return softplus(x); }
        case 7u: { return x * sigmoid(x); }
        case 8u: { return 0.5 * x * (1.0 + erf(x * 0.70710678)); }
        default: { return x; }
    }
}

// dy/dx from what the forward saved: its output y, but its input x for silu and gelu.
fn activate_slope(kind: u32, saved: f32) -> f32 {
    switch kind {
        case 1u: { return select(0.0, 1.0, saved > 0.0); }
        case 2u: { return select(0.01, 1.0, saved > 0.0); }
        case 3u: { return select(saved + 1.0, 1.0, saved > 0.0); }
        case 4u: { return saved * (1.0 - saved); }
        case 5u: { return 1.0 - saved * saved; }
        case 6u: { return 1.0 - exp(-saved); }
        case 7u: { let s = sigmoid(saved); return s * (1.0 + saved * (1.0 - s)); }
        case 8u: {
            let density = 0.39894228 * exp(-0.5 * min(saved * saved, 170.0));
            return 0.5 * (1.0 + erf(saved * 0.70710678)) + saved * density;
        }
        default: { return 1.0; }
    }
}
