// Absolute error as a Laplace likelihood of fixed scale b: inverse_b = 1 / b, constant = log(2 b).

struct Params { B: u32, D: u32, scale: f32, inverse_b: f32, constant: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;                // (B,D), the median
@group(0) @binding(2) var<storage, read> x: array<f32>;                // (B,D)
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;       // (B), nats
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;         // (B,D)

// loss: rows[r] = sum_d inverse_b * |y - x| + constant. A workgroup owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var d = index; d < params.D; d += 64u) {
        sum += params.inverse_b * abs(y[group.x * params.D + d] - x[group.x * params.D + d]) + params.constant;
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { rows[group.x] = shares[0]; }
}

// backward of the loss times scale: dy = scale * inverse_b * sign(y - x), 0 where they are equal.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D {
        let e = y[i] - x[i];
        // Not sign(), of which WGSL does not say that it keeps NaN: what is neither above nor below 0 stays.
        let side = select(select(e, -1.0, e < 0.0), 1.0, e > 0.0);
        dy[i] = params.scale * params.inverse_b * side;
    }
}
