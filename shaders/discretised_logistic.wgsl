// The logistic distribution of mean y and fixed scale s in 256 bins around the grey levels 0, 1/255, ..., 1; the outer
// bins reach to infinity. inverse_s = 1/s, half = half a bin / s, constant = -log(1 - e^(-2 half)).
// The formula is derived in src/kernels/discretised_logistic.rs.

struct Params { B: u32, D: u32, scale: f32, inverse_s: f32, half: f32, constant: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;                // (B,D), the mean
@group(0) @binding(2) var<storage, read> x: array<f32>;                // (B,D), a grey level / 255
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;       // (B), nats
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;         // (B,D)

// Where the outer bins begin.
const LOWEST: f32 = 1.0 / 510.0;
const HIGHEST: f32 = 509.0 / 510.0;

// loss: rows[r] = sum_d softplus(-upper) + softplus(lower) + constant, edges upper, lower = (x - y) / s +- half; the
// outer bins lack their outer edge and the constant. A workgroup owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var d = index; d < params.D; d += 64u) {
        let v = x[group.x * params.D + d];
        let c = (v - y[group.x * params.D + d]) * params.inverse_s;
        let upper = select(softplus(-c - params.half), 0.0, v > HIGHEST);
        let lower = select(softplus(c - params.half), 0.0, v < LOWEST);
        sum += upper + lower + select(params.constant, 0.0, v > HIGHEST || v < LOWEST);
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { rows[group.x] = shares[0]; }
}

// backward of the loss times scale: dy = scale / s * (sigmoid(-upper) - sigmoid(lower)), each only where its edge is.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D {
        let c = (x[i] - y[i]) * params.inverse_s;
        let upper = select(sigmoid(-c - params.half), 0.0, x[i] > HIGHEST);
        let lower = select(sigmoid(c - params.half), 0.0, x[i] < LOWEST);
        dy[i] = params.scale * params.inverse_s * (upper - lower);
    }
}
