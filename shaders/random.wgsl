// Random tensors keyed by (seed, step, site, element): the same numbers on every device, in any order, twice.
// An invocation makes four elements from one Philox block.

struct Params { N: u32, site: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> clock: array<u32>;            // (8+8*batches): words 0,1: seed, 2: step
@group(0) @binding(2) var<storage, read_write> y: array<f32>;          // (N)
@group(0) @binding(3) var<storage, read_write> bits: array<u32>;       // (N)

fn block(index: u32) -> vec4<u32> {
    return philox(vec4<u32>(index, params.site, clock[2], 0u), vec2<u32>(clock[0], clock[1]));
}

// bits: the Philox words themselves.
@compute @workgroup_size(64)
fn integers(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if 4u * i >= params.N { return; }
    let words = block(i);
    for (var j = 0u; j < min(4u, params.N - 4u * i); j++) { bits[4u * i + j] = words[j]; }
}

// unit: strictly inside (0, 1).
@compute @workgroup_size(64)
fn unit(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if 4u * i >= params.N { return; }
    let words = block(i);
    for (var j = 0u; j < min(4u, params.N - 4u * i); j++) { y[4u * i + j] = to_uniform(words[j]); }
}

// ANCHOR: normal
// normal: mean 0, variance 1.
@compute @workgroup_size(64)
fn normal(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if 4u * i >= params.N { return; }
    let words = block(i);
    let four = vec4<f32>(to_normal(words.x, words.y), to_normal(words.z, words.w));
    for (var j = 0u; j < min(4u, params.N - 4u * i); j++) { y[4u * i + j] = four[j]; }
}
// ANCHOR_END: normal
