// The weight of a convolution that sees only what comes before, in the order of reading: of its window the rows above
// the middle, and of the middle row the places left of the middle one, which `middle` (0 or 1) adds. An invocation owns
// an element.

struct Params { O: u32, KH: u32, KW: u32, I: u32, middle: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;           // (O,KH,KW,I)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;     // (O,KH,KW,I)
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;    // (O,KH,KW,I)

// ANCHOR: forward
// Whether element i is of a place that comes before.
fn is_before(i: u32) -> bool {
    let column = i / params.I % params.KW;
    let row = i / (params.I * params.KW) % params.KH;
    let is_left = row == params.KH / 2u && column < params.KW / 2u + params.middle;
    return row < params.KH / 2u || is_left;
}

// forward: y = w where it sees what comes before, 0 elsewhere.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.O * params.KH * params.KW * params.I { y[i] = select(0.0, w[i], is_before(i)); }
}
// ANCHOR_END: forward

// backward, in place: dw is the gradient of y, and becomes that of w.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.O * params.KH * params.KW * params.I && !is_before(i) { dw[i] = 0.0; }
}
