// Adam for adapters that run on a CPU, the formula of adam.wgsl. Loads go lane by lane there, so an invocation takes
// vec4s, and 16 of them, which share the six loads from the clock. N is a multiple of 64, as in the flat buffer.
// Measured at N = 653056 on 2 cores, Mesa 22.3 lavapipe, in processor time: 1.5 ms against 4.6 of the portable form.

struct Params { N: u32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32, decoupled: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<vec4<f32>>;           // (N/4)
@group(0) @binding(2) var<storage, read> clock: array<u32>;                // (8+4*batches): lr, bias corrections
@group(0) @binding(3) var<storage, read_write> p: array<vec4<f32>>;        // (N/4)
@group(0) @binding(4) var<storage, read_write> m: array<vec4<f32>>;        // (N/4), mean of the gradient
@group(0) @binding(5) var<storage, read_write> v: array<vec4<f32>>;        // (N/4), mean of its square

// forward: m += (1-b1)(g-m); v = b2 v + (1-b2) g^2; p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps).
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let first = 16u * linear_index(id, groups);
    if 4u * first >= params.N { return; }
    let lr = clock_row(0u);
    let shrink = select(1.0, 1.0 - lr * params.weight_decay, params.decoupled != 0u);
    let l2 = select(params.weight_decay, 0.0, params.decoupled != 0u);
    let rate = lr / clock_row(2u);
    let root = 1.0 / clock_row(3u);
    for (var i = first; i < first + 16u; i++) {
        let value = p[i];
        let g = grad[i] + l2 * value;
        let mean = m[i] + (1.0 - params.beta1) * (g - m[i]);
        let square = params.beta2 * v[i] + (1.0 - params.beta2) * g * g;
        m[i] = mean;
        v[i] = square;
        p[i] = shrink * value - rate * mean / (root * sqrt(square) + params.eps);
    }
}
