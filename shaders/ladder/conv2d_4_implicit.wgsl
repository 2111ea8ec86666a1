// Rung 4 of the convolution: the product of two matrices, of which one is never written down (implicit GEMM). Row n of
// the first holds the window of x under place n of y, KH * KW * I words; row o of the second holds the weights of
// channel o. A workgroup owns 64 places by 64 channels and passes both through workgroup memory, 16 words deep, in
// vec4; an invocation owns 4 places by every 16th channel. I is a multiple of 4.
//
// Memory: a fetched word is used 64 times: 1/16 byte a flop, and the windows' overlap, KH * KW times each word of x, is
// left to the cache. Everything matmul_5_vec4.wgsl says holds here too; the arithmetic of indices is new, and it is
// done while filling, once for 64 uses.
// Next: the production kernels, shaders/conv2d.wgsl (implicit GEMM too, for any channels, strides, dilations and
// groups) and, for adapters that run on a CPU, shaders/software/conv2d.wgsl: no workgroup memory, large tiles in
// registers.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32, stride: u32, padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;    // (B,H,W,I), in fours
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;    // (O,KH,KW,I), in fours
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // (B,P,Q,O)

var<workgroup> left: array<vec4<f32>, 256>;     // (4,64): four words of the window deep, 64 places across
var<workgroup> right: array<vec4<f32>, 256>;    // (4,64): the same by 64 channels

// forward: y[n,o] = sum over taps and i of x[n under tap, i] w[o,tap,i], n a place of y.
@compute @workgroup_size(16, 16)
fn forward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
           @builtin(local_invocation_index) index: u32) {
    let fours = params.I / 4u;
    let depth = params.KH * params.KW * fours;
    let n = 64u * tile.y + index / 4u;
    let o = 64u * tile.x + index / 4u;
    let slot = 64u * (index % 4u) + index / 4u;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var k0 = 0u; k0 < depth; k0 += 4u) {
        let k = k0 + index % 4u;
        left[slot] = vec4<f32>();
        right[slot] = vec4<f32>();
        if k < depth {
            let place = place_under(n, k / fours);
            if place != NOWHERE { left[slot] = x[place * fours + k % fours]; }
            if o < params.O { right[slot] = w[o * depth + k]; }
        }
        workgroupBarrier();
        for (var d = 0u; d < 256u; d += 64u) {
            let r = d + t.x;
            let weights = mat4x4<f32>(right[r], right[r + 16u], right[r + 32u], right[r + 48u]);
            let l = d + 4u * t.y;
            sum0 += left[l] * weights;
            sum1 += left[l + 1u] * weights;
            sum2 += left[l + 2u] * weights;
            sum3 += left[l + 3u] * weights;
        }
        workgroupBarrier();
    }
    let sums = mat4x4<f32>(sum0, sum1, sum2, sum3);
    for (var r = 0u; r < 4u; r++) {
        for (var j = 0u; j < 4u; j++) {
            let place = 64u * tile.y + 4u * t.y + r;
            let channel = 64u * tile.x + t.x + 16u * j;
            if place < params.B * params.P * params.Q && channel < params.O {
                y[place * params.O + channel] = sums[r][j];
            }
        }
    }
}
