// KL(N(mean, e^logvar) || N(0, 1)) of each row, or of each latent dimension with free bits (Kingma et al. 2016,
// 1606.04934).
// Z latent dimensions; a dimension whose KL, averaged over the batch, is below `free` nats costs `free` and gets no
// gradient. free = 0 is the plain KL of Kingma & Welling 2013, appendix B.

struct Params { B: u32, Z: u32, scale: f32, free: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mean: array<f32>;             // (B,Z)
@group(0) @binding(2) var<storage, read> logvar: array<f32>;           // (B,Z)
@group(0) @binding(3) var<storage, read> kl: array<f32>;               // (Z): what loss wrote
@group(0) @binding(4) var<storage, read> clock: array<u32>;            // (8+8*batches): the KL weight of this step
@group(0) @binding(5) var<storage, read_write> loss_kl: array<f32>;    // (Z), nats summed over the batch
@group(0) @binding(6) var<storage, read_write> dmean: array<f32>;      // (B,Z)
@group(0) @binding(7) var<storage, read_write> dlogvar: array<f32>;    // (B,Z)
@group(0) @binding(8) var<storage, read_write> row_kl: array<f32>;     // (B), nats summed over the dimensions

// loss: kl[j] = max(sum_b -(1 + logvar - mean^2 - e^logvar) / 2, B * free). A workgroup owns a latent dimension.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var r = index; r < params.B; r += 64u) {
        let i = r * params.Z + group.x;
        sum += 0.5 * (mean[i] * mean[i] + exp(logvar[i]) - 1.0 - logvar[i]);
    }
    shares[index] = sum;
    sum_shares(index);
    // Not `max`, which would turn a NaN into a KL of 0 and hide a diverged encoder.
    let floor = f32(params.B) * params.free;
    if index == 0u { loss_kl[group.x] = select(shares[0], floor, shares[0] < floor); }
}

// rows: row_kl[r] = sum_j -(1 + logvar - mean^2 - e^logvar) / 2, without free bits. An invocation owns a row.
@compute @workgroup_size(64)
fn rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B { return; }
    var sum = 0.0;
    for (var i = r * params.Z; i < (r + 1u) * params.Z; i++) {
        sum += 0.5 * (mean[i] * mean[i] + exp(logvar[i]) - 1.0 - logvar[i]);
    }
    row_kl[r] = sum;
}

// backward of the KL times scale * kl_weight: dmean = w * mean; dlogvar = w * (e^logvar - 1) / 2; 0 where kl[j] rests
// on its free bits.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.Z {
        var weight = params.scale * clock_row(1u);
        if params.free > 0.0 && kl[i % params.Z] <= f32(params.B) * params.free { weight = 0.0; }
        dmean[i] = weight * mean[i];
        dlogvar[i] = 0.5 * weight * (exp(logvar[i]) - 1.0);
    }
}
