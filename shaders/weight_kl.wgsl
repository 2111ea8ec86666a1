// KL(N(weight, e^logvar) || N(0, s^2)) of a matrix of weights, log_prior = log s^2 (Blundell et al. 2015, with a
// Gaussian prior).

struct Params { O: u32, I: u32, scale: f32, inverse_variance: f32, log_prior: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<f32>;              // (O,I), the means
@group(0) @binding(2) var<storage, read> logvar: array<f32>;              // (O,I)
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;          // (O), nats times scale
@group(0) @binding(4) var<storage, read_write> dweight: array<f32>;       // (O,I)
@group(0) @binding(5) var<storage, read_write> dlogvar: array<f32>;       // (O,I)

// loss: rows[o] = scale * sum_i (e^d - 1 - d + weight^2 / s^2) / 2, d = logvar - log s^2. A workgroup owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var i = index; i < params.I; i += 64u) {
        let w = weight[group.x * params.I + i];
        let d = logvar[group.x * params.I + i] - params.log_prior;
        sum += 0.5 * (exp(d) - 1.0 - d + params.inverse_variance * w * w);
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { rows[group.x] = params.scale * shares[0]; }
}

// backward of the sum of the rows: dweight += scale * weight / s^2, dlogvar += scale * (e^d - 1) / 2.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.O * params.I {
        dweight[i] += params.scale * params.inverse_variance * weight[i];
        dlogvar[i] += 0.5 * params.scale * (exp(logvar[i] - params.log_prior) - 1.0);
    }
}
