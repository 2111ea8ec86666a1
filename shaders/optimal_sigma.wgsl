// Squared error as a Gaussian likelihood whose sigma is the best one for the batch (Rybkin et al. 2020, 2006.13202):
// sigma*^2 = mean squared error over batch and dimensions, log sigma = -6 + softplus(log sigma* + 6).
// What the soft clip does, and why sigma needs no gradient, is in src/kernels/optimal_sigma.rs.

struct Params { B: u32, D: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;                    // (B,D), the mean
@group(0) @binding(2) var<storage, read> x: array<f32>;                    // (B,D)
@group(0) @binding(3) var<storage, read> errors: array<f32>;               // (B): what squares wrote
@group(0) @binding(4) var<storage, read> sigma: array<f32>;                // (1): what loss wrote
@group(0) @binding(5) var<storage, read_write> row_errors: array<f32>;     // (B)
@group(0) @binding(6) var<storage, read_write> rows: array<f32>;           // (B), nats
@group(0) @binding(7) var<storage, read_write> batch_sigma: array<f32>;    // (1)
@group(0) @binding(8) var<storage, read_write> dy: array<f32>;             // (B,D)

const HALF_LOG_2_PI: f32 = 0.9189385332;

// squares: row_errors[r] = sum_d (y - x)^2. A workgroup owns a row.
@compute @workgroup_size(64)
fn squares(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var d = index; d < params.D; d += 64u) {
        let e = y[group.x * params.D + d] - x[group.x * params.D + d];
        sum += e * e;
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { row_errors[group.x] = shares[0]; }
}

// loss: rows[r] = D * (log sigma + log(2 pi)/2) + errors[r] / (2 sigma^2), and sigma. One workgroup.
@compute @workgroup_size(64)
fn loss(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var r = index; r < params.B; r += 64u) { sum += errors[r]; }
    shares[index] = sum;
    sum_shares(index);
    let mean = shares[0] / (f32(params.B) * f32(params.D));
    // A batch without any error has log sigma* = -inf, which WGSL need not have; not max, which may hide NaN.
    let optimal = 0.5 * log(select(mean, 1e-30, mean < 1e-30));
    // -6 + softplus(optimal + 6) without adding what it takes away again.
    let log_sigma = select(optimal, -6.0, optimal < -6.0) + log(1.0 + exp(-abs(optimal + 6.0)));
    let inverse = exp(-2.0 * log_sigma);
    for (var r = index; r < params.B; r += 64u) {
        rows[r] = f32(params.D) * (log_sigma + HALF_LOG_2_PI) + 0.5 * inverse * errors[r];
    }
    if index == 0u { batch_sigma[0] = exp(log_sigma); }
}

// backward of the loss times scale: dy = scale * (y - x) / sigma^2.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D { dy[i] = params.scale * (y[i] - x[i]) / (sigma[0] * sigma[0]); }
}
