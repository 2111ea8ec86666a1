// Pictures that are parameters: u = 1 / (1 + e^-w), so that each pixel stays within 0 and 1.

struct Params { N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;         // (N)
@group(0) @binding(2) var<storage, read> u: array<f32>;         // (N), what forward wrote
@group(0) @binding(3) var<storage, read> du: array<f32>;        // (N)
@group(0) @binding(4) var<storage, read_write> y: array<f32>;   // (N), u
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;  // (N)

// forward: y = 1 / (1 + e^-w)
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { y[i] = sigmoid(w[i]); }
}

// backward: dw += du u (1 - u)
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { dw[i] += du[i] * u[i] * (1.0 - u[i]); }
}
