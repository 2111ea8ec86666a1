// Rows z against K diagonal Gaussians N(mean_k, e^logvar_k): the log density of each pair, and the equally weighted
// mixture of all K as a prior, p(z) = 1/K sum_k N(z; mean_k, e^logvar_k) (Tomczak & Welling 2018, 1705.07120). Its KL
// from q(z|x) is estimated from one sample, z = q_mean + e^(q_logvar/2) * noise. Logarithms are in nats.

struct Params { B: u32, K: u32, Z: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;                 // (B,Z)
@group(0) @binding(2) var<storage, read> mean: array<f32>;              // (K,Z)
@group(0) @binding(3) var<storage, read> logvar: array<f32>;            // (K,Z)
@group(0) @binding(4) var<storage, read> log_pairs: array<f32>;         // (B,K), what pairs wrote
@group(0) @binding(5) var<storage, read> shares: array<f32>;            // (B,K), what density wrote
@group(0) @binding(6) var<storage, read> log_p: array<f32>;             // (B), what density wrote
@group(0) @binding(7) var<storage, read> noise: array<f32>;             // (B,Z), standard normal
@group(0) @binding(8) var<storage, read> q_logvar: array<f32>;          // (B,Z)
@group(0) @binding(9) var<storage, read> clock: array<u32>;             // (8+8*batches): the KL weight of this step
@group(0) @binding(10) var<storage, read_write> pair_densities: array<f32>; // (B,K)
@group(0) @binding(11) var<storage, read_write> row_log_p: array<f32>;  // (B)
@group(0) @binding(12) var<storage, read_write> row_shares: array<f32>; // (B,K), a row adds up to 1
@group(0) @binding(13) var<storage, read_write> row_kl: array<f32>;     // (B)
@group(0) @binding(14) var<storage, read_write> dz: array<f32>;         // (B,Z)
@group(0) @binding(15) var<storage, read_write> q_dlogvar: array<f32>;  // (B,Z)
@group(0) @binding(16) var<storage, read_write> dmean: array<f32>;      // (K,Z)
@group(0) @binding(17) var<storage, read_write> dlogvar: array<f32>;    // (K,Z)

const LOG_2PI = 1.8378770664093453;

// pairs: log N(z_b; mean_k, e^logvar_k). An invocation owns a pair.
@compute @workgroup_size(64)
fn pairs(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.K { return; }
    let row = i / params.K * params.Z;
    let component = i % params.K * params.Z;
    var sum = 0.0;
    for (var j = 0u; j < params.Z; j++) {
        let away = z[row + j] - mean[component + j];
        sum += LOG_2PI + logvar[component + j] + away * away * exp(-logvar[component + j]);
    }
    pair_densities[i] = -0.5 * sum;
}

// density: log p(z) = log sum_k e^pair - log K and each component's share of the sum, from the largest pair on. An
// invocation owns a row.
@compute @workgroup_size(64)
fn density(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let b = linear_index(id, groups);
    if b >= params.B { return; }
    let first = b * params.K;
    var most = log_pairs[first];
    for (var k = 1u; k < params.K; k++) {
        // Not `max`, which may drop a NaN. One that is not the first is in the sum.
        let next = log_pairs[first + k];
        most = select(most, next, next > most);
    }
    var sum = 0.0;
    for (var k = 0u; k < params.K; k++) {
        let share = exp(log_pairs[first + k] - most);
        row_shares[first + k] = share;
        sum += share;
    }
    for (var k = 0u; k < params.K; k++) { row_shares[first + k] /= sum; }
    row_log_p[b] = most + log(sum) - log(f32(params.K));
}

// kl: log q(z|x) - log p(z) of the sample z, log q = -1/2 sum_j (log 2 pi + q_logvar + noise^2). An invocation owns a
// row.
@compute @workgroup_size(64)
fn kl(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let b = linear_index(id, groups);
    if b >= params.B { return; }
    var sum = 0.0;
    for (var i = b * params.Z; i < (b + 1u) * params.Z; i++) {
        sum += LOG_2PI + q_logvar[i] + noise[i] * noise[i];
    }
    row_kl[b] = -0.5 * sum - log_p[b];
}

// backward_z of w kl, w = scale * kl_weight, the noise fixed: dz += w sum_k share_k (z - mean_k) e^-logvar_k, of p(z);
// q_dlogvar = -w/2, of q's entropy. What z is of mean and logvar is added later. An invocation owns an element of z.
@compute @workgroup_size(64)
fn backward_z(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.Z { return; }
    let b = i / params.Z;
    var sum = 0.0;
    for (var k = 0u; k < params.K; k++) {
        let component = k * params.Z + i % params.Z;
        sum += shares[b * params.K + k] * (z[i] - mean[component]) * exp(-logvar[component]);
    }
    let w = params.scale * clock_row(1u);
    dz[i] += w * sum;
    q_dlogvar[i] = -0.5 * w;
}

// ANCHOR: backward_components
// backward_components of the same: dmean = -w sum_b share (z - mean) e^-logvar, dlogvar = -w/2 sum_b share
// ((z - mean)^2 e^-logvar - 1). An invocation owns an element of the components' mean.
@compute @workgroup_size(64)
fn backward_components(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.K * params.Z { return; }
    let k = i / params.Z;
    let sharpness = exp(-logvar[i]);
    var to_mean = 0.0;
    var to_logvar = 0.0;
    for (var b = 0u; b < params.B; b++) {
        let share = shares[b * params.K + k];
        let away = z[b * params.Z + i % params.Z] - mean[i];
        to_mean += share * away * sharpness;
        to_logvar += share * (away * away * sharpness - 1.0);
    }
    let w = params.scale * clock_row(1u);
    dmean[i] = -w * to_mean;
    dlogvar[i] = -0.5 * w * to_logvar;
}
// ANCHOR_END: backward_components
