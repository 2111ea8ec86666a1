// The Gaussian of which the density is proportional to the product of two: precisions add, and the mean is theirs,
// weighted by precision (Sonderby et al. 2016, 1602.02282, eq. 15 to 17). share = sigmoid(logvar_b - logvar_a) is the
// share of a in the precision.

struct Params { N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mean_a: array<f32>;           // (N) = (B,Z)
@group(0) @binding(2) var<storage, read> logvar_a: array<f32>;         // (N)
@group(0) @binding(3) var<storage, read> mean_b: array<f32>;           // (N)
@group(0) @binding(4) var<storage, read> logvar_b: array<f32>;         // (N)
@group(0) @binding(5) var<storage, read> dmean: array<f32>;            // (N)
@group(0) @binding(6) var<storage, read> dlogvar: array<f32>;          // (N)
@group(0) @binding(7) var<storage, read_write> mean: array<f32>;       // (N)
@group(0) @binding(8) var<storage, read_write> logvar: array<f32>;     // (N)
@group(0) @binding(9) var<storage, read_write> dmean_a: array<f32>;    // (N)
@group(0) @binding(10) var<storage, read_write> dlogvar_a: array<f32>; // (N)

// e^x / (1 + e^x), by whichever exponential cannot overflow.
fn sigmoid_of(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// ANCHOR: forward
// forward: mean = share mean_a + (1 - share) mean_b; logvar = -log(e^-logvar_a + e^-logvar_b), from the smaller one on.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.N { return; }
    let d = logvar_b[i] - logvar_a[i];
    mean[i] = sigmoid_of(d) * mean_a[i] + sigmoid_of(-d) * mean_b[i];
    logvar[i] = min(logvar_a[i], logvar_b[i]) - log(1.0 + exp(-abs(d)));
}
// ANCHOR_END: forward

// ANCHOR: backward
// backward to a: dmean_a = share dmean; dlogvar_a = share (dlogvar - (1 - share) (mean_a - mean_b) dmean). The product
// is the same with a and b exchanged, and so is its backward to b.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.N { return; }
    let d = logvar_b[i] - logvar_a[i];
    let share = sigmoid_of(d);
    dmean_a[i] = share * dmean[i];
    dlogvar_a[i] = share * (dlogvar[i] - sigmoid_of(-d) * (mean_a[i] - mean_b[i]) * dmean[i]);
}
// ANCHOR_END: backward
