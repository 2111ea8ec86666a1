// KL(N(mean_q, e^logvar_q) || N(mean_p, e^logvar_p)) of each row, both Gaussians given by networks. With
// d = logvar_q - logvar_p and m = mean_q - mean_p a dimension costs (e^d - 1 - d + m^2 e^-logvar_p) / 2.

struct Params { B: u32, Z: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mean_q: array<f32>;           // (B,Z)
@group(0) @binding(2) var<storage, read> logvar_q: array<f32>;         // (B,Z)
@group(0) @binding(3) var<storage, read> mean_p: array<f32>;           // (B,Z)
@group(0) @binding(4) var<storage, read> logvar_p: array<f32>;         // (B,Z)
@group(0) @binding(5) var<storage, read> clock: array<u32>;            // (8+8*batches): the KL weight of this step
@group(0) @binding(6) var<storage, read_write> row_kl: array<f32>;     // (B), nats summed over the dimensions
@group(0) @binding(7) var<storage, read_write> dmean: array<f32>;      // (B,Z)
@group(0) @binding(8) var<storage, read_write> dlogvar: array<f32>;    // (B,Z)

// rows: row_kl[r] = sum_j (e^d - 1 - d + m^2 e^-logvar_p) / 2. An invocation owns a row.
@compute @workgroup_size(64)
fn rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B { return; }
    var sum = 0.0;
    for (var i = r * params.Z; i < (r + 1u) * params.Z; i++) {
        let d = logvar_q[i] - logvar_p[i];
        let m = mean_q[i] - mean_p[i];
        sum += 0.5 * (exp(d) - 1.0 - d + m * m * exp(-logvar_p[i]));
    }
    row_kl[r] = sum;
}

// ANCHOR: backward
// backward to q of the KL times w = scale * kl_weight: dmean = w m e^-logvar_p; dlogvar = w (e^d - 1) / 2.
@compute @workgroup_size(64)
fn backward_q(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.Z { return; }
    let w = params.scale * clock_row(1u);
    dmean[i] = w * (mean_q[i] - mean_p[i]) * exp(-logvar_p[i]);
    dlogvar[i] = 0.5 * w * (exp(logvar_q[i] - logvar_p[i]) - 1.0);
}

// backward to p: dmean = -w m e^-logvar_p; dlogvar = w (1 - e^d - m^2 e^-logvar_p) / 2.
@compute @workgroup_size(64)
fn backward_p(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.Z { return; }
    let w = params.scale * clock_row(1u);
    let m = mean_q[i] - mean_p[i];
    let inverse = exp(-logvar_p[i]);
    dmean[i] = -w * m * inverse;
    dlogvar[i] = 0.5 * w * (1.0 - exp(logvar_q[i] - logvar_p[i]) - m * m * inverse);
}
// ANCHOR_END: backward
