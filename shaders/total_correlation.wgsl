// The KL of a batch in three parts (Chen et al. 2018, 1802.04942): log q(z) is estimated from the batch's own q(z|x_j)
// by minibatch-weighted sampling, log q(z_i) = log sum_j q(z_i|x_j) - log(N M), and likewise each log q(z_id). N
// examples of the data set, M = B rows; row i of z is the sample of q(z|x_i). Logarithms are in nats.

struct Params { B: u32, Z: u32, log_nm: f32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;                 // (B,Z)
@group(0) @binding(2) var<storage, read> mean: array<f32>;              // (B,Z)
@group(0) @binding(3) var<storage, read> logvar: array<f32>;            // (B,Z)
@group(0) @binding(4) var<storage, read> pairs: array<f32>;             // (B,B), log q(z_i|x_j): mixture.pairs
@group(0) @binding(5) var<storage, read> sums: array<f32>;              // (B,Z+1), what marginals wrote
@group(0) @binding(6) var<storage, read> clock: array<u32>;             // (8+8*batches): the TC weight of this step
@group(0) @binding(7) var<storage, read_write> log_sums: array<f32>;    // (B,Z+1)
@group(0) @binding(8) var<storage, read_write> information: array<f32>; // (B)
@group(0) @binding(9) var<storage, read_write> correlation: array<f32>; // (B)
@group(0) @binding(10) var<storage, read_write> dimensions: array<f32>; // (B)
@group(0) @binding(11) var<storage, read_write> dz: array<f32>;         // (B,Z)
@group(0) @binding(12) var<storage, read_write> dmean: array<f32>;      // (B,Z)
@group(0) @binding(13) var<storage, read_write> dlogvar: array<f32>;    // (B,Z)

const LOG_2PI = 1.8378770664093453;

// log q(z_id|x_j)
fn element(i: u32, j: u32, d: u32) -> f32 {
    let at = j * params.Z + d;
    let away = z[i * params.Z + d] - mean[at];
    return -0.5 * (LOG_2PI + logvar[at] + away * away * exp(-logvar[at]));
}

// A term of a sum over j: of one dimension, or in column Z of all of them together.
fn term(i: u32, j: u32, column: u32) -> f32 {
    if column == params.Z { return pairs[i * params.B + j]; }
    return element(i, j, column);
}

// marginals: log sum_j q(z_id|x_j), and in column Z log sum_j q(z_i|x_j), from the largest on. An invocation owns an
// element.
@compute @workgroup_size(64)
fn marginals(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups);
    if index >= params.B * (params.Z + 1u) { return; }
    let i = index / (params.Z + 1u);
    let column = index % (params.Z + 1u);
    var most = term(i, 0u, column);
    for (var j = 1u; j < params.B; j++) {
        // Not `max`, which may drop a NaN. One that is not the first is in the sum.
        let next = term(i, j, column);
        most = select(most, next, next > most);
    }
    var sum = 0.0;
    for (var j = 0u; j < params.B; j++) { sum += exp(term(i, j, column) - most); }
    log_sums[index] = most + log(sum);
}

// terms: log q(z|x) - log q(z), log q(z) - sum_d log q(z_d), sum_d log q(z_d) - log p(z), p = N(0,1). Together they
// are log q(z|x) - log p(z), whatever N is. An invocation owns a row.
@compute @workgroup_size(64)
fn terms(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B { return; }
    var marginal = 0.0;
    var prior = 0.0;
    for (var d = 0u; d < params.Z; d++) {
        marginal += sums[i * (params.Z + 1u) + d] - params.log_nm;
        prior -= 0.5 * (LOG_2PI + z[i * params.Z + d] * z[i * params.Z + d]);
    }
    let together = sums[i * (params.Z + 1u) + params.Z] - params.log_nm;
    information[i] = pairs[i * params.B + i] - together;
    correlation[i] = together - marginal;
    dimensions[i] = marginal - prior;
}

// ANCHOR: share
// What log q(z_id|x_j) counts in (beta - 1) (log q(z_i) - log q(z_id)): (beta - 1) times the difference of x_j's shares
// of the two sums.
fn share(i: u32, j: u32, d: u32) -> f32 {
    let row = i * (params.Z + 1u);
    let together = exp(pairs[i * params.B + j] - sums[row + params.Z]);
    return (clock_row(1u) - 1.0) * (together - exp(element(i, j, d) - sums[row + d]));
}
// ANCHOR_END: share

// backward_z of scale * (information + beta correlation + dimensions), of which log q(z|x) - log p(z) counts once and
// log q(z) - sum_d log q(z_d) beta - 1 times: dz += scale (z - sum_j share (z - mean_j) e^-logvar_j). An invocation
// owns an element of z.
@compute @workgroup_size(64)
fn backward_z(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups);
    if index >= params.B * params.Z { return; }
    let i = index / params.Z;
    let d = index % params.Z;
    var sum = z[index];
    for (var j = 0u; j < params.B; j++) {
        let at = j * params.Z + d;
        sum -= share(i, j, d) * (z[index] - mean[at]) * exp(-logvar[at]);
    }
    dz[index] += params.scale * sum;
}

// backward_q of the same, the noise fixed: dmean = scale sum_i share (z_i - mean) e^-logvar, dlogvar = scale/2
// (sum_i share ((z_i - mean)^2 e^-logvar - 1) - 1), the last 1 of q's entropy. What z is of mean and logvar is added
// later. An invocation owns an element of mean.
@compute @workgroup_size(64)
fn backward_q(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups);
    if index >= params.B * params.Z { return; }
    let j = index / params.Z;
    let d = index % params.Z;
    let sharpness = exp(-logvar[index]);
    var to_mean = 0.0;
    var to_logvar = -1.0;
    for (var i = 0u; i < params.B; i++) {
        let away = z[i * params.Z + d] - mean[index];
        let counts = share(i, j, d);
        to_mean += counts * away * sharpness;
        to_logvar += counts * (away * away * sharpness - 1.0);
    }
    dmean[index] = params.scale * to_mean;
    dlogvar[index] = 0.5 * params.scale * to_logvar;
}
