// Elementwise activations. N elements, one an invocation.

struct Params { N: u32, kind: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (N)
@group(0) @binding(2) var<storage, read> saved: array<f32>;      // (N): y, or x for silu and gelu
@group(0) @binding(3) var<storage, read> dy: array<f32>;         // (N)
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // (N)
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;   // (N)

// forward: y = act(x).
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { y[i] = activate(params.kind, x[i]); }
}

// backward of y = act(x): dx = dy * act'(x).
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { dx[i] = dy[i] * activate_slope(params.kind, saved[i]); }
}
