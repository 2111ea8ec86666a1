// Samples of categorical variables, and their relaxation, which has a gradient (Jang et al. 2016, 1611.01144; Maddison
// et al. 2016, 1611.00712). R rows, each a variable of K classes; g = -log(-log u) for u ~ U(0,1). An invocation owns a
// row.

struct Params { R: u32, K: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;           // (R,K)
@group(0) @binding(2) var<storage, read> noise: array<f32>;            // (R,K), U(0,1)
@group(0) @binding(3) var<storage, read> clock: array<u32>;            // (8+8*batches): knob 0 is the temperature
@group(0) @binding(4) var<storage, read> soft: array<f32>;             // (R,K): what forward wrote
@group(0) @binding(5) var<storage, read> dy: array<f32>;               // (R,K)
@group(0) @binding(6) var<storage, read_write> y: array<f32>;          // (R,K)
@group(0) @binding(7) var<storage, read_write> dlogits: array<f32>;    // (R,K)

// g for u, held off 0 and 1. WGSL's log is good to 2^-21 near 1, where -log u itself is smaller: a series stands there.
fn gumbel(u: f32) -> f32 {
    let v = clamp(u, 5.9604645e-8, 0.99999994);
    let t = 1.0 - v;
    let series = t * (1.0 + t * (0.5 + t * (0.33333333 + t * 0.25)));
    return -log(select(-log(v), series, t < 0.015625));
}

// forward: y = softmax((logits + g) / temperature), row by row.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    let scale = 1.0 / clock_row(4u);
    let first = r * params.K;
    var most = (logits[first] + gumbel(noise[first])) * scale;
    for (var i = first; i < first + params.K; i++) {
        y[i] = (logits[i] + gumbel(noise[i])) * scale;
        if y[i] > most { most = y[i]; }
    }
    var sum = 0.0;
    for (var i = first; i < first + params.K; i++) {
        y[i] = exp(y[i] - most);
        sum += y[i];
    }
    for (var i = first; i < first + params.K; i++) { y[i] /= sum; }
}

// backward: dlogits += soft * (dy - <soft, dy>) / temperature.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    let scale = 1.0 / clock_row(4u);
    let first = r * params.K;
    var inner = 0.0;
    for (var i = first; i < first + params.K; i++) { inner += soft[i] * dy[i]; }
    for (var i = first; i < first + params.K; i++) { dlogits[i] += scale * soft[i] * (dy[i] - inner); }
}

// sample: y = 1 at the largest logits + g, else 0: a sample of softmax(logits), exactly (the Gumbel-max trick). Of
// equal ones the first is taken.
@compute @workgroup_size(64)
fn sample(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    let first = r * params.K;
    var best = first;
    var most = logits[first] + gumbel(noise[first]);
    for (var i = first + 1u; i < first + params.K; i++) {
        let score = logits[i] + gumbel(noise[i]);
        if score > most { most = score; best = i; }
    }
    for (var i = first; i < first + params.K; i++) { y[i] = select(0.0, 1.0, i == best); }
}

// mode: y = 1 at the largest logit, else 0. Of equal ones the first is taken.
@compute @workgroup_size(64)
fn mode(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    let first = r * params.K;
    var best = first;
    for (var i = first + 1u; i < first + params.K; i++) {
        if logits[i] > logits[best] { best = i; }
    }
    for (var i = first; i < first + params.K; i++) { y[i] = select(0.0, 1.0, i == best); }
}
