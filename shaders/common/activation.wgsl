
// Activations of torch.nn.functional with their default constants, by the numbers of src/kernels/activation.rs.
// Exponentials of numbers that are not positive cannot overflow on any device. min, max and clamp may turn NaN into a
// number, which would hide where a run went wrong: here a NaN takes the branch that computes with it.

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// log(1 + e^x) without overflow.
fn softplus(x: f32) -> f32 {
    return select(x, 0.0, x <= 0.0) + log(1.0 + exp(-abs(x)));
}

// Not the built-in, which is NaN beyond 44 on Metal and whose clamp hides NaN in Mesa. Near 0, where 1 - e^-2|x|
// cancels, its series to x^7: the next term is below an ulp.
fn tanh_of(x: f32) -> f32 {
    let e = exp(-2.0 * abs(x));
    let far = (1.0 - e) / (1.0 + e);
    let s = x * x;
    let near = x - x * s * (0.33333333 - s * (0.13333333 - s * 0.053968254));
    return select(select(far, -far, x < 0.0), near, abs(x) < 0.2);
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
        case 1u: { return select(x, 0.0, x <= 0.0); }
        case 2u: { return select(0.01 * x, x, x > 0.0); }
        case 3u: { return select(x, exp(-abs(x)) - 1.0, x <= 0.0); }
        case 4u: { return sigmoid(x); }
        case 5u: { return tanh_of(x); }
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

fn activate4(kind: u32, x: vec4<f32>) -> vec4<f32> {
    var y = x;
    for (var j = 0u; j < 4u; j++) { y[j] = activate(kind, x[j]); }
    return y;
}

fn activate_slope4(kind: u32, saved: vec4<f32>) -> vec4<f32> {
    var slope: vec4<f32>;
    for (var j = 0u; j < 4u; j++) { slope[j] = activate_slope(kind, saved[j]); }
    return slope;
}
