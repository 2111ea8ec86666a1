// The importance-weighted bound (Burda et al. 2015, 1509.00519) from K samples of q(z|x) a picture. Row b*K + k holds
// sample k of picture b. Logarithms are in nats.

struct Params { B: u32, K: u32, Z: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mean: array<f32>;              // (B,Z)
@group(0) @binding(2) var<storage, read> logvar: array<f32>;            // (B,Z)
@group(0) @binding(3) var<storage, read> noise: array<f32>;             // (B*K,Z), standard normal
@group(0) @binding(4) var<storage, read> recon: array<f32>;             // (B*K), -log p(x|z)
@group(0) @binding(5) var<storage, read> z: array<f32>;                 // (B*K,Z)
@group(0) @binding(6) var<storage, read> log_w: array<f32>;             // (B*K)
@group(0) @binding(7) var<storage, read> shares: array<f32>;            // (B*K), w~
@group(0) @binding(8) var<storage, read> weights: array<f32>;           // (B*K), dL/drecon
@group(0) @binding(9) var<storage, read> dz: array<f32>;                // (B*K,Z), of the reconstruction
@group(0) @binding(10) var<storage, read_write> sampled: array<f32>;    // (B*K,Z)
@group(0) @binding(11) var<storage, read_write> row_log_w: array<f32>;  // (B*K)
@group(0) @binding(12) var<storage, read_write> row_bound: array<f32>;  // (B), -L_K
@group(0) @binding(13) var<storage, read_write> row_shares: array<f32>; // (B*K)
@group(0) @binding(14) var<storage, read_write> state: array<f32>;      // (B,3): a maximum, and two sums
@group(0) @binding(15) var<storage, read_write> dmean: array<f32>;      // (B,Z)
@group(0) @binding(16) var<storage, read_write> dlogvar: array<f32>;    // (B,Z)

// sample: z = mean + e^(logvar/2) * noise. An invocation owns an element of z.
@compute @workgroup_size(64)
fn sample(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.K * params.Z {
        let q = i / (params.K * params.Z) * params.Z + i % params.Z;
        sampled[i] = mean[q] + exp(0.5 * logvar[q]) * noise[i];
    }
}

// log_weights: log w = log p(x|z) + log p(z) - log q(z|x) = -recon + 1/2 sum_j (noise^2 + logvar - z^2); both normal
// densities have the same log 2 pi. An invocation owns a row.
@compute @workgroup_size(64)
fn log_weights(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B * params.K { return; }
    var sum = 0.0;
    for (var j = 0u; j < params.Z; j++) {
        let i = r * params.Z + j;
        sum += 0.5 * (noise[i] * noise[i] + logvar[r / params.K * params.Z + j] - z[i] * z[i]);
    }
    row_log_w[r] = sum - recon[r];
}

// The largest log w of a picture's samples.
fn largest(picture: u32) -> f32 {
    var most = log_w[picture * params.K];
    for (var k = 1u; k < params.K; k++) {
        // Not `max`, which may drop a NaN. One that is not the first is in the sums.
        let next = log_w[picture * params.K + k];
        most = select(most, next, next > most);
    }
    return most;
}

// bound: -L_K = log K - log sum_k w_k and w~_k = w_k / sum w, from the largest on. An invocation owns a picture.
@compute @workgroup_size(64)
fn bound(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let b = linear_index(id, groups);
    if b >= params.B { return; }
    let most = largest(b);
    var sum = 0.0;
    for (var k = 0u; k < params.K; k++) {
        let w = exp(log_w[b * params.K + k] - most);
        row_shares[b * params.K + k] = w;
        sum += w;
    }
    for (var k = 0u; k < params.K; k++) { row_shares[b * params.K + k] /= sum; }
    row_bound[b] = log(f32(params.K)) - log(sum) - most;
}

// accumulate: K samples more of each picture in (m, s, t) = (max log w, sum w e^-m, sum w^2 e^-2m), however many there
// were before. An invocation owns a picture.
@compute @workgroup_size(64)
fn accumulate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let b = linear_index(id, groups);
    if b >= params.B { return; }
    let before = state[3u * b];
    let next = largest(b);
    let most = select(before, next, next > before);
    let kept = exp(before - most);
    var sum = state[3u * b + 1u] * kept;
    var squares = state[3u * b + 2u] * kept * kept;
    for (var k = 0u; k < params.K; k++) {
        let w = exp(log_w[b * params.K + k] - most);
        sum += w;
        squares += w * w;
    }
    state[3u * b] = most;
    state[3u * b + 1u] = sum;
    state[3u * b + 2u] = squares;
}

// backward_iwae of sum_b -L_K, of which row r counts as weights[r]: the total derivative through z, the noise fixed.
// d = dz + w z; dmean = sum_k d; dlogvar = 1/2 sum_k (d e^(logvar/2) noise - w). An invocation owns an element of mean.
@compute @workgroup_size(64)
fn backward_iwae(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let q = linear_index(id, groups);
    if q >= params.B * params.Z { return; }
    let deviation = exp(0.5 * logvar[q]);
    var to_mean = 0.0;
    var to_logvar = 0.0;
    for (var k = 0u; k < params.K; k++) {
        let r = q / params.Z * params.K + k;
        let i = r * params.Z + q % params.Z;
        let d = dz[i] + weights[r] * z[i];
        to_mean += d;
        to_logvar += 0.5 * (d * deviation * noise[i] - weights[r]);
    }
    dmean[q] = to_mean;
    dlogvar[q] = to_logvar;
}

// backward_dreg: the same, doubly reparameterised (Tucker et al. 2018, 1810.04152). q's density does not follow mean
// and logvar, and a row counts as its share once more: d = w~ (dz + w (z - noise e^(-logvar/2))).
@compute @workgroup_size(64)
fn backward_dreg(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let q = linear_index(id, groups);
    if q >= params.B * params.Z { return; }
    let deviation = exp(0.5 * logvar[q]);
    var to_mean = 0.0;
    var to_logvar = 0.0;
    for (var k = 0u; k < params.K; k++) {
        let r = q / params.Z * params.K + k;
        let i = r * params.Z + q % params.Z;
        let d = shares[r] * (dz[i] + weights[r] * (z[i] - noise[i] / deviation));
        to_mean += d;
        to_logvar += 0.5 * d * deviation * noise[i];
    }
    dmean[q] = to_mean;
    dlogvar[q] = to_logvar;
}
