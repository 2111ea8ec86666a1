// What a device can do at most, for shares and floors: multiply-adds from registers, a copy, and nothing at all.

struct Params { N: u32, rounds: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (N)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // (N)

// Eight multiply-adds of each of four chains; they can be neither merged nor left out.
fn eight(a: vec4<f32>, s: vec4<f32>, t: vec4<f32>) -> vec4<f32> {
    let b = fma(fma(fma(fma(a, s, t), s, t), s, t), s, t);
    return fma(fma(fma(fma(b, s, t), s, t), s, t), s, t);
}

// multiply_add: y = the sum of 32 chains, of which the c-th starts at c and takes 8 * rounds steps a = s a + (1-s), s =
// x. The chains are independent of each other, so that a device with few invocations under way is kept busy as well.
@compute @workgroup_size(64)
fn multiply_add(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.N { return; }
    let s = vec4(x[i]);
    let t = 1.0 - s;
    var a = vec4(0.0, 1.0, 2.0, 3.0);
    var b = a + 4.0;
    var c = a + 8.0;
    var d = a + 12.0;
    var e = a + 16.0;
    var f = a + 20.0;
    var g = a + 24.0;
    var h = a + 28.0;
    for (var round = 0u; round < params.rounds; round++) {
        a = eight(a, s, t);
        b = eight(b, s, t);
        c = eight(c, s, t);
        d = eight(d, s, t);
        e = eight(e, s, t);
        f = eight(f, s, t);
        g = eight(g, s, t);
        h = eight(h, s, t);
    }
    y[i] = dot(vec4(1.0), a + b + c + d + e + f + g + h);
}

// copy: y = x, eight elements an invocation, neighbours beside each other.
@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    let first = i / 64u * 512u + i % 64u;
    for (var j = first; j < min(first + 512u, params.N); j += 64u) { y[j] = x[j]; }
}

// empty: y += 1, one invocation. Each of several waits for the one before, as the dispatches of a step do.
@compute @workgroup_size(1)
fn empty() { y[0] += 1.0; }
