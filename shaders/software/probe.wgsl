// The copy of probe.wgsl for adapters that run on a CPU: an invocation takes 16 vec4s, since starting one costs more there
// than copying a word. N is a multiple of 64.

struct Params { N: u32, rounds: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (N/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;    // (N/4)

// copy: y = x.
@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = 16u * linear_index(id, groups);
    if 4u * first >= params.N { return; }
    for (var i = first; i < first + 16u; i++) { y[i] = x[i]; }
}
