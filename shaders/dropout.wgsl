// Each element dropped with probability p, the others scaled by 1 / (1 - p) (Srivastava et al. 2014), torch.nn.Dropout.
// The mask is keyed by (seed, step, site, element): backward draws it again, nothing is stored. An invocation makes
// four elements from one Philox block.

// threshold is p * 2^32, scale 1 / (1 - p).
struct Params { N: u32, site: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (N)
@group(0) @binding(2) var<storage, read> dy: array<f32>;         // (N)
@group(0) @binding(3) var<storage, read> clock: array<u32>;      // (8+8*batches): words 0,1: seed, 2: step
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // (N)
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;   // (N)

// What four elements are multiplied by. A product, not a choice, so that a NaN stays one where it is dropped.
fn factors(block: u32) -> vec4<f32> {
    let words = philox(vec4<u32>(block, params.site, clock[2], 0u), vec2<u32>(clock[0], clock[1]));
    return select(vec4<f32>(0.0), vec4<f32>(params.scale), words >= vec4<u32>(params.threshold));
}

// forward: y = x * keep / (1 - p).
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if 4u * i >= params.N { return; }
    let four = factors(i);
    for (var j = 0u; j < min(4u, params.N - 4u * i); j++) { y[4u * i + j] = x[4u * i + j] * four[j]; }
}

// backward of forward: dx = dy * keep / (1 - p), keep as in the forward of this site and step.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if 4u * i >= params.N { return; }
    let four = factors(i);
    for (var j = 0u; j < min(4u, params.N - 4u * i); j++) { dx[4u * i + j] = dy[4u * i + j] * four[j]; }
}
