// z ~ N(mean, e^logvar) as a differentiable function of noise (Kingma & Welling 2013, section 2.4).

// ANCHOR: forward
struct Params { N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mean: array<f32>;            // (N) = (B,Z)
@group(0) @binding(2) var<storage, read> logvar: array<f32>;          // (N)
@group(0) @binding(3) var<storage, read> noise: array<f32>;           // (N), standard normal
@group(0) @binding(4) var<storage, read> dz: array<f32>;              // (N)
@group(0) @binding(5) var<storage, read_write> z: array<f32>;         // (N)
@group(0) @binding(6) var<storage, read_write> dmean: array<f32>;     // (N)
@group(0) @binding(7) var<storage, read_write> dlogvar: array<f32>;   // (N)

// forward: z = mean + e^(logvar/2) * noise. Saved for backward: logvar and noise.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { z[i] = mean[i] + exp(0.5 * logvar[i]) * noise[i]; }
}
// ANCHOR_END: forward

// ANCHOR: backward
// backward of z = mean + e^(logvar/2) * noise: dmean += dz; dlogvar += dz * noise * e^(logvar/2) / 2.
// Added: mean and logvar also feed the KL term, whose backward comes first and assigns.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N {
        dmean[i] += dz[i];
        dlogvar[i] += 0.5 * dz[i] * noise[i] * exp(0.5 * logvar[i]);
    }
}
// ANCHOR_END: backward
