// KL(q || uniform) of categorical variables of K classes, q = softmax(logits): sum_k q_k (log q_k + log K). R rows,
// each a variable. An invocation owns a row.

struct Params { R: u32, K: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;           // (R,K)
@group(0) @binding(2) var<storage, read> clock: array<u32>;            // (8+8*batches): the KL weight of this step
@group(0) @binding(3) var<storage, read_write> kl: array<f32>;         // (R), nats
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;    // (R,K)

// A row's largest logit, the sum s of e^(logit - largest), and sum_k q_k (logit_k - largest).
fn row(first: u32) -> vec3<f32> {
    var most = logits[first];
    for (var i = first + 1u; i < first + params.K; i++) {
        if logits[i] > most { most = logits[i]; }
    }
    var sum = 0.0;
    var weighted = 0.0;
    for (var i = first; i < first + params.K; i++) {
        let d = logits[i] - most;
        let e = exp(d);
        sum += e;
        weighted += e * d;
    }
    return vec3<f32>(most, sum, weighted / sum);
}

// loss: kl[r] = sum_k q_k (log q_k + log K), with log q_k = logit_k - largest - log s.
@compute @workgroup_size(64)
fn loss(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    let parts = row(r * params.K);
    kl[r] = parts.z - log(parts.y) + log(f32(params.K));
}

// backward of scale * kl_weight * kl: dlogits_k = w q_k (log q_k - sum_j q_j log q_j).
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    let weight = params.scale * clock_row(1u);
    let first = r * params.K;
    let parts = row(first);
    for (var i = first; i < first + params.K; i++) {
        let d = logits[i] - parts.x;
        dlogits[i] = weight * (exp(d) / parts.y) * (d - parts.z);
    }
}
