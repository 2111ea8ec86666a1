// Each example of a batch under each of K labels: its values K times in a row, and the labels beside them.

struct Params { B: u32, D: u32, K: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,D)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // (B*K,D); labels: (B*K,K)

// rows: y[r*K + k] = x[r].
@compute @workgroup_size(64)
fn rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.K * params.D { y[i] = x[i / params.D / params.K * params.D + i % params.D]; }
}

// labels: y[r*K + k] is 1 at k, else 0. D is K.
@compute @workgroup_size(64)
fn labels(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.K * params.D { y[i] = select(0.0, 1.0, i / params.D % params.K == i % params.D); }
}
