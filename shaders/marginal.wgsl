// A label that is summed out (Kingma et al. 2014, 1406.5298): how much each class of a row counts, and the gradient of
// that. R[r,k] is what row r costs under label k, and pi the label where it is known, else q(y|x) = softmax(logits):
//   cost[r] = sum_k pi[r,k] R[r,k] + KL(pi[r] || uniform),   R = recon + kl_weight * kl

struct Params { B: u32, K: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;           // (B,K)
@group(0) @binding(2) var<storage, read> y: array<f32>;                // (B,K): 1 at the label, or all 0
@group(0) @binding(3) var<storage, read> pi: array<f32>;               // (B,K): what weights wrote
@group(0) @binding(4) var<storage, read> recon: array<f32>;            // (B,K), nats
@group(0) @binding(5) var<storage, read> kl: array<f32>;               // (B,K), nats
@group(0) @binding(6) var<storage, read> clock: array<u32>;            // (8+8*batches): the KL weight of this step
@group(0) @binding(7) var<storage, read_write> weights_pi: array<f32>; // (B,K)
@group(0) @binding(8) var<storage, read_write> rows: array<f32>;       // (B), nats
@group(0) @binding(9) var<storage, read_write> dlogits: array<f32>;    // (B,K)

// weights: pi[r] = y[r], or softmax(logits[r]) where y[r] is all 0. An invocation owns a row.
@compute @workgroup_size(64)
fn weights(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B { return; }
    let first = r * params.K;
    var most = logits[first];
    var labelled = 0.0;
    for (var i = first; i < first + params.K; i++) {
        most = max(most, logits[i]);
        labelled += y[i];
    }
    var sum = 0.0;
    for (var i = first; i < first + params.K; i++) { sum += exp(logits[i] - most); }
    for (var i = first; i < first + params.K; i++) {
        weights_pi[i] = select(exp(logits[i] - most) / sum, y[i], labelled > 0.0);
    }
}

// p log p, 0 at 0.
fn times_log(p: f32) -> f32 {
    return select(p * log(p), 0.0, p == 0.0);
}

// loss: rows[r] = KL(pi[r] || uniform) = log K + sum_k pi log pi. An invocation owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B { return; }
    var row = log(f32(params.K));
    for (var i = r * params.K; i < (r + 1u) * params.K; i++) { row += times_log(pi[i]); }
    rows[r] = row;
}

// backward of scale * cost through q(y|x): dl = scale * (pi R + pi log pi - pi sum_j (pi R + pi log pi)[j]), which is 0
// where the label is known. An invocation owns a row.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B { return; }
    let w = clock_row(1u);
    var mean = 0.0;
    for (var i = r * params.K; i < (r + 1u) * params.K; i++) {
        mean += pi[i] * (recon[i] + w * kl[i]) + times_log(pi[i]);
    }
    for (var i = r * params.K; i < (r + 1u) * params.K; i++) {
        dlogits[i] = params.scale * (pi[i] * (recon[i] + w * kl[i] - mean) + times_log(pi[i]));
    }
}
