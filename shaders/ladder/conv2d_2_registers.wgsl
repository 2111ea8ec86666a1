// Rung 2 of the convolution: an invocation owns four neighbouring places of y by four channels, in registers.
//
// Memory: 4 + 4 loads feed 16 multiply-adds, where rung 1 needs 32: 1 byte a flop. The sums are independent, so that 16
// multiply-adds are under way at a time, and the arithmetic of indices is done once for 16 elements.
// Next: the same loads in fewer instructions, conv2d_3_vec4.wgsl.

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
    let across = (params.O + 3u) / 4u;
    let n = index / across * 4u;
    let o = index % across * 4u;
    if n >= params.B * params.P * params.Q { return; }
    // The first weights of the four channels.
    let w_at = min(vec4<u32>(o, o + 1u, o + 2u, o + 3u), vec4<u32>(params.O - 1u)) * params.KH * params.KW * params.I;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var tap = 0u; tap < params.KH * params.KW; tap++) {
        let places = places_under(n, tap);
        let meets = places != vec4<u32>(NOWHERE);
        let x_at = select(vec4<u32>(), places, meets) * params.I;
        for (var i = 0u; i < params.I; i++) {
            let four = vec4<f32>(x[x_at.x + i], x[x_at.y + i], x[x_at.z + i], x[x_at.w + i]);
            let values = select(vec4<f32>(), four, meets);
            let k = vec4<u32>(tap * params.I + i) + w_at;
            let weights = vec4<f32>(w[k.x], w[k.y], w[k.z], w[k.w]);
            sum0 += values.x * weights;
            sum1 += values.y * weights;
            sum2 += values.z * weights;
            sum3 += values.w * weights;
        }
    }
    store(n, o, sum0);
    store(n + 1u, o, sum1);
    store(n + 2u, o, sum2);
    store(n + 3u, o, sum3);
}
