// Rung 1 of the convolution of pictures with channels last: an invocation owns an element of y and does what the
// formula says. Place (p,q) of y meets place (p * stride + u - padding, q * stride + v - padding) of x under tap (u,v).
//
// Memory: two loads a multiply-add, 4 bytes a flop. Neighbours own neighbouring channels of one place: they share each
// word of x, but each walks through weights of its own, KH * KW * I words apart. Caches hold this together: the window
// of a place is small.
// Next: a word of x serves O channels and a weight B * P * Q places, conv2d_2_registers.wgsl.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32, stride: u32, padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,H,W,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,KH,KW,I)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // (B,P,Q,O)

// forward: y[n,o] = sum over taps and i of x[n under tap, i] w[o,tap,i], n a place of y.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups);
    let n = index / params.O;
    let o = index % params.O;
    let picture = n / (params.P * params.Q);
    if picture >= params.B { return; }
    var sum = 0.0;
    for (var u = 0u; u < params.KH; u++) {
        // Below 0 wraps to far above H.
        let h = n / params.Q % params.P * params.stride + u - params.padding;
        if h >= params.H { continue; }
        for (var v = 0u; v < params.KW; v++) {
            let c = n % params.Q * params.stride + v - params.padding;
            if c >= params.W { continue; }
            let x_at = ((picture * params.H + h) * params.W + c) * params.I;
            let w_at = ((o * params.KH + u) * params.KW + v) * params.I;
            for (var i = 0u; i < params.I; i++) { sum += x[x_at + i] * w[w_at + i]; }
        }
    }
    y[index] = sum;
}
