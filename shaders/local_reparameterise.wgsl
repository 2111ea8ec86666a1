// A linear layer whose weights are Gaussian, sampled where they act: its outputs are Gaussian too, and each row of a
// batch draws its own (Kingma, Salimans & Welling 2015, section 2.1).

// ANCHOR: forward
struct Params { N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logvar: array<f32>;             // (N), of a weight
@group(0) @binding(2) var<storage, read> mean: array<f32>;               // (N) = (B,O), of an output
@group(0) @binding(3) var<storage, read> variance: array<f32>;           // (N), of an output or of a weight
@group(0) @binding(4) var<storage, read> noise: array<f32>;              // (N), standard normal
@group(0) @binding(5) var<storage, read> x: array<f32>;                  // (N) = (B,I)
@group(0) @binding(6) var<storage, read> dy: array<f32>;                 // (N), of whatever is assigned forward
@group(0) @binding(7) var<storage, read_write> y: array<f32>;            // (N)
@group(0) @binding(8) var<storage, read_write> sum: array<f32>;          // (N), a gradient that is added to

// variances: y = e^logvar.
@compute @workgroup_size(64)
fn variances(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { y[i] = exp(logvar[i]); }
}

// forward: y = mean + sqrt(variance) * noise. Saved for backward: variance and noise.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { y[i] = mean[i] + sqrt(variance[i]) * noise[i]; }
}
// ANCHOR_END: forward

// ANCHOR: backward
// backward of it: the mean's gradient is dy itself, the variance's y = dy * noise / (2 sqrt(variance)), and 0 where
// nothing varies.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N {
        let v = variance[i];
        y[i] = select(0.0, 0.5 * dy[i] * noise[i] / sqrt(v), v > 0.0);
    }
}

// backward_logvar of y = e^logvar: dlogvar (sum) += y * dy, y given as variance.
@compute @workgroup_size(64)
fn backward_logvar(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { sum[i] += variance[i] * dy[i]; }
}

// backward_x of y = x^2: dx (sum) += 2 * x * dy.
@compute @workgroup_size(64)
fn backward_x(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { sum[i] += 2.0 * x[i] * dy[i]; }
}
// ANCHOR_END: backward
