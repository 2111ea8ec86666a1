// -log softmax(logits)[target] of each row, in nats, where the target is a number: cross_entropy of
// torch.nn.functional with ignore_index. Rows are words of sentences, and V, the vocabulary, is thousands. No
// probabilities are stored: the gradient is computed from the logits and their log-sum, and takes the logits' place.
// A dispatch has C rows of all R, from row `first` on, so that the logits of all rows need never be there at once.
// Row r is of the sentence r % B, whose weight it has.

struct Params { C: u32, V: u32, first: u32, ignored: u32, B: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;           // (C,V)
@group(0) @binding(2) var<storage, read> targets: array<u32>;          // (R), each below V
@group(0) @binding(3) var<storage, read> sums: array<f32>;             // (R): what loss wrote
@group(0) @binding(4) var<storage, read> weights: array<f32>;          // (sentences), B of them; none where B is 0
@group(0) @binding(5) var<storage, read_write> rows: array<f32>;       // (R), nats
@group(0) @binding(6) var<storage, read_write> counted: array<f32>;    // (R): 1, or 0 where a row counts nothing
@group(0) @binding(7) var<storage, read_write> log_sums: array<f32>;   // (R)
@group(0) @binding(8) var<storage, read_write> dlogits: array<f32>;    // (C,V): the logits before

// loss: rows[r] = log sum_v e^logits[r,v] - logits[r,target], 0 where the target is `ignored`. A workgroup owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let from_word = group.x * params.V;
    var share = logits[from_word];
    for (var v = index; v < params.V; v += 64u) { share = max(share, logits[from_word + v]); }
    let most = largest(index, share);
    var exponentials = 0.0;
    for (var v = index; v < params.V; v += 64u) { exponentials += exp(logits[from_word + v] - most); }
    let sum = total(index, exponentials);
    if index == 0u {
        let r = params.first + group.x;
        let target_word = targets[r];
        let log_sum = log(sum);
        // Twice a difference of near numbers, no sum of far ones.
        let nats = log_sum + (most - logits[from_word + min(target_word, params.V - 1u)]);
        let is_ignored = target_word == params.ignored;
        rows[r] = select(nats, 0.0, is_ignored);
        counted[r] = select(1.0, 0.0, is_ignored);
        log_sums[r] = most + log_sum;
    }
}

// ANCHOR: backward
// backward: dl[r,v] = scale * weight * (softmax(logits[r])[v] - [v = target]), 0 where the target is `ignored`.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.C * params.V {
        let r = params.first + i / params.V;
        var scale = params.scale;
        if params.B > 0u { scale *= weights[r % params.B]; }
        let is_target = targets[r] == i % params.V;
        let d = scale * (exp(dlogits[i] - sums[r]) - select(0.0, 1.0, is_target));
        dlogits[i] = select(d, 0.0, targets[r] == params.ignored);
    }
}
// ANCHOR_END: backward
