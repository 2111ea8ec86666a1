// Squared error as a Gaussian likelihood of fixed sigma: inverse_variance = 1 / sigma^2, constant = log(2 pi sigma^2) /
// 2.

struct Params { B: u32, D: u32, scale: f32, inverse_variance: f32, constant: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;                // (B,D), the mean
@group(0) @binding(2) var<storage, read> x: array<f32>;                // (B,D)
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;       // (B), nats
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;         // (B,D)

// loss: rows[r] = sum_d inverse_variance/2 * (y - x)^2 + constant. A workgroup owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var d = index; d < params.D; d += 64u) {
        let e = y[group.x * params.D + d] - x[group.x * params.D + d];
        sum += 0.5 * params.inverse_variance * e * e + params.constant;
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { rows[group.x] = shares[0]; }
}

// backward of the loss times scale: dy = scale * inverse_variance * (y - x).
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D { dy[i] = params.scale * params.inverse_variance * (y[i] - x[i]); }
}
