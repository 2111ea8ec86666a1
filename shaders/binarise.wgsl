// Pictures of black and white pixels, drawn anew at each step: a pixel is 1 as often as its grey level says. An
// invocation makes four of them from one Philox block.

struct Params { N: u32, site: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (N), in [0,1]
@group(0) @binding(2) var<storage, read> clock: array<u32>;      // (8+8*batches): words 0,1: seed, 2: step
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // (N), 0 or 1

// forward: y = 1 where u < x, else 0, u uniform inside (0, 1). A NaN stays one.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if 4u * i >= params.N { return; }
    let words = philox(vec4<u32>(i, params.site, clock[2], 0u), vec2<u32>(clock[0], clock[1]));
    for (var j = 0u; j < min(4u, params.N - 4u * i); j++) {
        let n = 4u * i + j;
        let u = to_uniform(words[j]);
        y[n] = select(select(x[n], 0.0, u >= x[n]), 1.0, u < x[n]);
    }
}
