// Cross-entropy of classes from logits, in nats, without overflow for any logit. A row of y that is all 0 costs
// nothing and has no gradient: that is how an example without a label stands in a batch.

struct Params { B: u32, K: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;           // (B,K)
@group(0) @binding(2) var<storage, read> y: array<f32>;                // (B,K): 1 at the label, or all 0
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;       // (B): nats, or 0 and 1 of errors
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;    // (B,K)

// The largest logit of the row from `first` on.
fn largest(first: u32) -> f32 {
    var most = logits[first];
    for (var i = first + 1u; i < first + params.K; i++) { most = max(most, logits[i]); }
    return most;
}

// loss: rows[r] = sum_k y[r,k] (log sum_j e^l[r,j] - l[r,k]). An invocation owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B { return; }
    let first = r * params.K;
    let most = largest(first);
    var sum = 0.0;
    for (var i = first; i < first + params.K; i++) { sum += exp(logits[i] - most); }
    var row = 0.0;
    for (var i = first; i < first + params.K; i++) { row += y[i] * (most + log(sum) - logits[i]); }
    rows[r] = row;
}

// errors: rows[r] = sum_k y[r,k] where k is not the place of the largest logit, the first one of equals. An invocation
// owns a row.
@compute @workgroup_size(64)
fn errors(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B { return; }
    let first = r * params.K;
    var place = first;
    for (var i = first; i < first + params.K; i++) { if logits[i] > logits[place] { place = i; } }
    var row = 0.0;
    for (var i = first; i < first + params.K; i++) { row += select(y[i], 0.0, i == place); }
    rows[r] = row;
}

// backward of the loss times scale: dl[r,k] = scale * (sum_j y[r,j] * softmax(l[r])[k] - y[r,k]). An invocation owns a
// row.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.B { return; }
    let first = r * params.K;
    let most = largest(first);
    var sum = 0.0;
    var labelled = 0.0;
    for (var i = first; i < first + params.K; i++) {
        sum += exp(logits[i] - most);
        labelled += y[i];
    }
    for (var i = first; i < first + params.K; i++) {
        dlogits[i] = params.scale * (labelled * exp(logits[i] - most) / sum - y[i]);
    }
}
