// Rung 3 of the convolution: rung 2 with loads of 16 bytes, four input channels at a time, where I is a multiple of 4.
// Channels last is what makes this possible: the channels of a place, and the weights of a tap, lie side by side.
//
// Memory: the same bytes as rung 2, in a quarter of the loads: 4 + 4 of them for 64 multiply-adds.
// Next: invocations of a workgroup still load what their neighbours load, conv2d_4_implicit.wgsl.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32, stride: u32, padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;    // (B,H,W,I), in fours
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;    // (O,KH,KW,I), in fours
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // (B,P,Q,O)

// forward: y[n,o] = sum over taps and i of x[n under tap, i] w[o,tap,i], n a place of y.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups);
    let across = (params.O + 3u) / 4u;
    let n = index / across * 4u;
    let o = index % across * 4u;
    if n >= params.B * params.P * params.Q { return; }
    let fours = params.I / 4u;
    // The first weights of the four channels.
    let w_at = min(vec4<u32>(o, o + 1u, o + 2u, o + 3u), vec4<u32>(params.O - 1u)) * params.KH * params.KW * fours;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var tap = 0u; tap < params.KH * params.KW; tap++) {
        let places = places_under(n, tap);
        let meets = select(vec4<f32>(), vec4<f32>(1.0), places != vec4<u32>(NOWHERE));
        let x_at = select(vec4<u32>(), places, places != vec4<u32>(NOWHERE)) * fours;
        for (var i = 0u; i < fours; i++) {
            let k = vec4<u32>(tap * fours + i) + w_at;
            let weights = mat4x4<f32>(w[k.x], w[k.y], w[k.z], w[k.w]);
            // A row times a matrix: its products with the four columns, which are the weights of the four channels.
            sum0 += (meets.x * x[x_at.x + i]) * weights;
            sum1 += (meets.y * x[x_at.y + i]) * weights;
            sum2 += (meets.z * x[x_at.z + i]) * weights;
            sum3 += (meets.w * x[x_at.w + i]) * weights;
        }
    }
    store(n, o, sum0);
    store(n + 1u, o, sum1);
    store(n + 2u, o, sum2);
    store(n + 3u, o, sum3);
}
