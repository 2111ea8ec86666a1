// Negative log-likelihood of a multinomial from logits, in nats: each of the items that a row chose was drawn from
// softmax(logits) (Liang, Krishnan, Hoffman & Jebara 2018, 1802.05814). The multinomial coefficient, which no parameter
// moves, is left out.

struct Params { B: u32, I: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;           // (B,I)
@group(0) @binding(2) var<storage, read> x: array<f32>;                // (B,I), how often row r chose item i
@group(0) @binding(3) var<storage, read> sums: array<f32>;             // (B,2): what loss wrote
@group(0) @binding(4) var<storage, read_write> rows: array<f32>;       // (B), nats
@group(0) @binding(5) var<storage, read_write> row: array<f32>;        // (B,2): log sum_i e^logits, sum_i x
@group(0) @binding(6) var<storage, read_write> dlogits: array<f32>;    // (B,I)

// loss: rows[r] = -sum_i x log softmax(logits) = n log sum_i e^(l-m) + sum_i x (m-l), m = max_i l, n = sum_i x. No
// exponential overflows, and no term is negative, so that nothing cancels. A workgroup owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first = group.x * params.I;
    var share = logits[first];
    for (var i = index; i < params.I; i += 64u) { share = max(share, logits[first + i]); }
    let most = largest(index, share);
    var exponentials = 0.0;
    var chosen = 0.0;
    var below = 0.0;
    for (var i = index; i < params.I; i += 64u) {
        let l = logits[first + i];
        exponentials += exp(l - most);
        chosen += x[first + i];
        below += x[first + i] * (most - l);
    }
    let log_sum = log(total(index, exponentials));
    let n = total(index, chosen);
    let distance = total(index, below);
    if index == 0u {
        rows[group.x] = n * log_sum + distance;
        row[2u * group.x] = most + log_sum;
        row[2u * group.x + 1u] = n;
    }
}

// ANCHOR: backward
// backward of the loss times scale: dl = scale * (n softmax(logits) - x).
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.I {
        let r = i / params.I;
        dlogits[i] = params.scale * (sums[2u * r + 1u] * exp(logits[i] - sums[2u * r]) - x[i]);
    }
}
// ANCHOR_END: backward
