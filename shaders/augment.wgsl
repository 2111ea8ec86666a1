// Windows of P x Q on pictures, channels first: at random places and perhaps mirrored, or in the middle. Outside the
// picture is 0. An invocation copies every (64 * groups)th element of one picture, so that it draws once for many.

struct Params { B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32, pad: u32, flip: u32, site: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,C,H,W)
@group(0) @binding(2) var<storage, read> clock: array<u32>;      // (8+8*batches): words 0,1: seed, 2: step
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // (B,C,P,Q)

// The window whose corner lies at (top, left) of the picture with its border, from element `first` on in steps.
fn copy_window(picture: u32, first: u32, step: u32, top: u32, left: u32, mirrored: bool) {
    let size = params.C * params.P * params.Q;
    for (var i = first; i < size; i += step) {
        let row = i / params.Q;
        let c = row / params.P;
        let q = i - row * params.Q;
        // Before the picture these wrap around to numbers that no size reaches.
        let h = top + (row - c * params.P) - params.pad;
        let w = left + select(q, params.Q - 1u - q, mirrored) - params.pad;
        var v = 0.0;
        if h < params.H && w < params.W { v = x[((picture * params.C + c) * params.H + h) * params.W + w]; }
        y[picture * size + i] = v;
    }
}

// forward: the corner uniform from -pad to H - P + pad and -pad to W - Q + pad; mirrored left to right half of the time
// where flip is 1. One draw a picture, keyed by (seed, step, site, picture).
@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let picture = group.y + group.z * groups.y;
    if picture >= params.B { return; }
    let words = philox(vec4<u32>(picture, params.site, clock[2], 0u), vec2<u32>(clock[0], clock[1]));
    let top = multiply_high(words.x, params.H + 2u * params.pad - params.P + 1u);
    let left = multiply_high(words.y, params.W + 2u * params.pad - params.Q + 1u);
    let mirrored = params.flip == 1u && (words.z >> 31u) == 1u;
    copy_window(picture, group.x * 64u + index, groups.x * 64u, top, left, mirrored);
}

// center: the corner at ((H - P) / 2, (W - Q) / 2), rounded down.
@compute @workgroup_size(64)
fn center(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let picture = group.y + group.z * groups.y;
    if picture >= params.B { return; }
    let top = params.pad + (params.H - params.P) / 2u;
    let left = params.pad + (params.W - params.Q) / 2u;
    copy_window(picture, group.x * 64u + index, groups.x * 64u, top, left, false);
}
