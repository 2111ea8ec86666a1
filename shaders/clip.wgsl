// Gradient-norm clipping as torch.nn.utils.clip_grad_norm_: first the norm, then the scaling.

struct Params { N: u32, groups: u32, max_norm: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;                // (N)
@group(0) @binding(2) var<storage, read> squares: array<f32>;          // (groups)
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;   // (groups)
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;       // (N)

// norm: partials[g] = sum of x^2 over the g-th share of x. A fixed number of workgroups, summed in a fixed order.
@compute @workgroup_size(64)
fn norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var i = group.x * 64u + index; i < params.N; i += params.groups * 64u) { sum += x[i] * x[i]; }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { partials[group.x] = shares[0]; }
}

// forward: grad *= min(1, max_norm / (norm + 1e-6)), norm = sqrt(sum of squares).
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32,
           @builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    var sum = 0.0;
    for (var i = index; i < params.groups; i += 64u) { sum += squares[i]; }
    shares[index] = sum;
    sum_shares(index);
    let factor = min(1.0, params.max_norm / (sqrt(shares[0]) + 1e-6));
    let i = linear_index(id, groups);
    if i < params.N { grad[i] *= factor; }
}
