// The forward of conv2d.wgsl where x has few channels, as pictures have, and one group: no product of matrices, which
// would be mostly edge. An invocation owns a place of y and 16 of its channels. It reads each word of x once, its
// neighbours read the places beside it, and the weights come from workgroup memory, where all read the same word.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32, dilation_h: u32, dilation_w: u32,
    groups: u32, activation: u32, bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,H,W,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,KH,KW,I)
@group(0) @binding(3) var<storage, read> b: array<f32>;          // (O). Not read where bias is 0
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // (B,P,Q,O)

// (KH*KW*I,4): 16 channels of each term. So KH*KW*I is at most TERMS.
var<workgroup> weights: array<vec4<f32>, 4u * TERMS>;

// forward: y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i]). Saved for backward: x and y.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) index: u32) {
    let depth = params.KH * params.KW * params.I;
    let o = 16u * group.z;
    for (var e = index; e < 4u * depth; e += 64u) {
        let first = o + e % 4u * 4u;
        let k = e / 4u;
        weights[e] = vec4<f32>(weight(first, k), weight(first + 1u, k), weight(first + 2u, k), weight(first + 3u, k));
    }
    workgroupBarrier();
    let n = 64u * (group.x + group.y * groups.x) + index;
    if n >= params.B * params.P * params.Q { return; }
    let picture = n / (params.P * params.Q) * params.H;
    let h0 = n / params.Q % params.P * params.stride_h - params.padding_h;
    let v0 = n % params.Q * params.stride_w - params.padding_w;
    var sum0: vec4<f32>;
    var sum1: vec4<f32>;
    var sum2: vec4<f32>;
    var sum3: vec4<f32>;
    for (var u = 0u; u < params.KH; u++) {
        let h = h0 + u * params.dilation_h;
        if h >= params.H { continue; }
        for (var s = 0u; s < params.KW; s++) {
            let v = v0 + s * params.dilation_w;
            if v >= params.W { continue; }
            for (var i = 0u; i < params.I; i++) {
                let word = vec4<f32>(x[((picture + h) * params.W + v) * params.I + i]);
                let k = 4u * ((u * params.KW + s) * params.I + i);
                sum0 = fma(word, weights[k], sum0);
                sum1 = fma(word, weights[k + 1u], sum1);
                sum2 = fma(word, weights[k + 2u], sum2);
                sum3 = fma(word, weights[k + 3u], sum3);
            }
        }
    }
    store(n, o, sum0);
    store(n, o + 4u, sum1);
    store(n, o + 8u, sum2);
    store(n, o + 12u, sum3);
}

fn weight(o: u32, k: u32) -> f32 {
    if o >= params.O { return 0.0; }
    return w[o * (params.KH * params.KW * params.I) + k];
}

fn store(n: u32, o: u32, sum: vec4<f32>) {
    for (var j = 0u; j < 4u && o + j < params.O; j++) {
        var one = sum[j];
        if params.bias != 0u { one += b[o + j]; }
        y[n * params.O + o + j] = activate(params.activation, one);
    }
}
