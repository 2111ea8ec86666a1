// Binary cross-entropy from logits, in nats, without overflow for any logit.

struct Params { B: u32, D: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;           // (B,D)
@group(0) @binding(2) var<storage, read> x: array<f32>;                // (B,D), in [0,1]
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;       // (B), nats
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;    // (B,D)

// loss: rows[r] = sum_d max(l,0) - l*x + log(1 + e^-|l|). A workgroup owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var d = index; d < params.D; d += 64u) {
        let l = logits[group.x * params.D + d];
        sum += max(l, 0.0) - l * x[group.x * params.D + d] + log(1.0 + exp(-abs(l)));
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { rows[group.x] = shares[0]; }
}

// backward of the loss times scale: dl = scale * (sigmoid(l) - x).
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D { dlogits[i] = params.scale * (sigmoid(logits[i]) - x[i]); }
}
