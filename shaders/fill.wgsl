// Sets every element, four an invocation. The flat gradient buffer is cleared with it once a step.

struct Params { N: u32, value: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;    // (N)

// forward: y = value.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = 4u * linear_index(id, groups);
    for (var i = first; i < min(first + 4u, params.N); i++) { y[i] = params.value; }
}
