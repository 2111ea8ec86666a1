// The continuous Bernoulli distribution from logits (Loaiza-Ganem & Cunningham 2019, 1907.06845), for any logit.
// -log p(x) = log((e^l - 1) / l) - l*x; the derivation is in src/kernels/continuous_bernoulli.rs.

struct Params { B: u32, D: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;           // (B,D)
@group(0) @binding(2) var<storage, read> x: array<f32>;                // (B,D), in [0,1]
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;       // (B), nats
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;    // (B,D)
@group(0) @binding(5) var<storage, read_write> means: array<f32>;      // (B,D)

// log((1 - e^-a) / a) for a >= 0: its series below 1, where the difference would cancel.
fn log_share(a: f32) -> f32 {
    let q = a * a;
    let series = a * -0.5 + q * (1.0 / 24.0 + q * (-1.0 / 2880.0 + q / 181440.0));
    // Not max(a, 1.0), which may turn NaN into 1.
    let w = select(a, 1.0, a < 1.0);
    return select(log((1.0 - exp(-w)) / w), series, a < 1.0);
}

// E[x] = 1 / (1 - e^-l) - 1 / l: its series for |l| < 1, where the poles would cancel.
fn mean_of(l: f32) -> f32 {
    let a = abs(l);
    let q = l * l;
    let series = 0.5 + l * (1.0 / 12.0 + q * (-1.0 / 720.0 + q * (1.0 / 30240.0 - q / 1209600.0)));
    let w = select(a, 1.0, a < 1.0);
    let e = exp(-w);
    let above = 1.0 / (1.0 - e) - 1.0 / w;
    let below = 1.0 / w - e / (1.0 - e);
    return select(select(below, above, l > 0.0), series, a < 1.0);
}

// loss: rows[r] = sum_d |l| * (x, or 1 - x where l > 0) + log((1 - e^-|l|) / |l|). A workgroup owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var d = index; d < params.D; d += 64u) {
        let l = logits[group.x * params.D + d];
        let v = x[group.x * params.D + d];
        sum += abs(l) * select(v, 1.0 - v, l > 0.0) + log_share(abs(l));
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { rows[group.x] = shares[0]; }
}

// backward of the loss times scale: dl = scale * (E[x] - x).
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D { dlogits[i] = params.scale * (mean_of(logits[i]) - x[i]); }
}

// mean: means = E[x].
@compute @workgroup_size(64)
fn mean(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D { means[i] = mean_of(logits[i]); }
}
