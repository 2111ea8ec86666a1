// Adam for adapters that run on a CPU and have subgroups of 8 and 64-bit integers, the formula of adam.wgsl. Loads go lane by lane
// there, and two f32 as one u64 take less than one after the other (eight.wgsl). An invocation takes 8 times 8 elements,
// which share the six loads from the clock; the lanes of a subgroup take neighbours. N is a multiple of 64, as in the flat
// buffer. Measured at N = 653056 on 2 cores, Mesa 22.3 lavapipe: 1.2 ms; with an invocation's elements side by side 1.3, with
// loads of vec4<f32> too 1.65, the portable form 4.6.

struct Params { N: u32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32, decoupled: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<vec4<u64>>;           // (N/8)
@group(0) @binding(2) var<storage, read> clock: array<u32>;                // (8+4*batches): lr, bias corrections
@group(0) @binding(3) var<storage, read_write> p: array<vec4<u64>>;        // (N/8)
@group(0) @binding(4) var<storage, read_write> m: array<vec4<u64>>;        // (N/8), mean of the gradient
@group(0) @binding(5) var<storage, read_write> v: array<vec4<u64>>;        // (N/8), mean of its square

// forward: m += (1-b1)(g-m); v = b2 v + (1-b2) g^2; p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps).
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups);
    let first = index / 8u * 64u + index % 8u;
    let lr = clock_row(0u);
    let rates = Rates(select(1.0, 1.0 - lr * params.weight_decay, params.decoupled != 0u),
                      select(params.weight_decay, 0.0, params.decoupled != 0u),
                      lr / clock_row(2u), 1.0 / clock_row(3u));
    for (var i = first; i < min(first + 64u, params.N / 8u); i += 8u) {
        let value = eight(p[i]);
        let g = eight(grad[i]);
        let mean = eight(m[i]);
        let square = eight(v[i]);
        let even = updated(rates, value[0], g[0], mean[0], square[0]);
        let odd = updated(rates, value[1], g[1], mean[1], square[1]);
        p[i] = words(mat2x4<f32>(even[0], odd[0]));
        m[i] = words(mat2x4<f32>(even[1], odd[1]));
        v[i] = words(mat2x4<f32>(even[2], odd[2]));
    }
}

struct Rates { shrink: f32, l2: f32, rate: f32, root: f32 }

// The new p, m and v.
fn updated(r: Rates, value: vec4<f32>, gradient: vec4<f32>, m: vec4<f32>, v: vec4<f32>) -> mat3x4<f32> {
    let g = gradient + r.l2 * value;
    let decayed = m + (1.0 - params.beta1) * (g - m);
    // A mean that decays to where numbers lose their digits takes a CPU a hundred times as long: pixels that are seldom lit
    // leave many. It moves nothing by then. A NaN stays.
    let mean = select(decayed, vec4<f32>(0.0), abs(decayed) < vec4<f32>(1.1754944e-38));
    let square = params.beta2 * v + (1.0 - params.beta2) * g * g;
    return mat3x4<f32>(r.shrink * value - r.rate * mean / (r.root * sqrt(square) + params.eps), mean, square);
}
