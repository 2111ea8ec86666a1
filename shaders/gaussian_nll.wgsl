// -log N(x; mean, e^logvar) of rows of numbers of which some are missing, in nats: GaussianNLLLoss of PyTorch with
// full=True, of a log variance, summed over the numbers of a row that were seen.

struct Params { R: u32, C: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mean: array<f32>;             // (R,C)
@group(0) @binding(2) var<storage, read> logvar: array<f32>;           // (R,C)
@group(0) @binding(3) var<storage, read> x: array<f32>;                // (R,C)
@group(0) @binding(4) var<storage, read> seen: array<f32>;             // (R,C): 0 where x is missing, else 1
@group(0) @binding(5) var<storage, read_write> rows: array<f32>;       // (R), nats
@group(0) @binding(6) var<storage, read_write> dmean: array<f32>;      // (R,C)
@group(0) @binding(7) var<storage, read_write> dlogvar: array<f32>;    // (R,C)

const LOG_2PI = 1.8378770664093453;

// loss: rows[r] = sum over seen c of (log 2 pi + logvar + (x - mean)^2 e^-logvar) / 2. An invocation owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    var sum = 0.0;
    for (var i = r * params.C; i < (r + 1u) * params.C; i++) {
        let away = x[i] - mean[i];
        let nats = 0.5 * (LOG_2PI + logvar[i] + away * away * exp(-logvar[i]));
        sum += select(nats, 0.0, seen[i] == 0.0);
    }
    rows[r] = sum;
}

// ANCHOR: backward
// backward of the loss times scale: dmean = -scale (x - mean) e^-logvar,
// dlogvar = scale (1 - (x - mean)^2 e^-logvar)/2, both 0 where x is missing. An invocation owns a number.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.R * params.C { return; }
    let away = x[i] - mean[i];
    let inverse = exp(-logvar[i]);
    let is_missing = seen[i] == 0.0;
    dmean[i] = select(-params.scale * away * inverse, 0.0, is_missing);
    dlogvar[i] = select(0.5 * params.scale * (1.0 - away * away * inverse), 0.0, is_missing);
}
// ANCHOR_END: backward
