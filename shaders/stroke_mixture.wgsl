// -log p of pen strokes in nats, one point a row: the offset (dx, dy) from a mixture of M bivariate normals (Graves
// 2013, 1308.0850; Ha & Eck 2017, 1704.03477), and from a logit whether the pen is lifted after it. A row of outputs is
// M logits of the weights, M of mu1, mu2, log sigma1, log sigma2 and rho-hat each, and the pen's logit. With
//
//   a = (dx - mu1)/sigma1, b = (dy - mu2)/sigma2, rho = tanh t, u = a cosh t - b sinh t
//
// the density is log N = log cosh t - (u^2 + b^2)/2 - log sigma1 - log sigma2 - log 2pi, without a division by
// 1 - rho^2 = 1/cosh^2 t, which rounds to 0 where the points lie on a line. So that no density grows without end, what
// the network says of log sigma and of t is held to (-L, L) by v -> L tanh(v/L), which near 0 changes nothing.

struct Params { R: u32, M: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> outputs: array<f32>;          // (R,6*M+1)
@group(0) @binding(2) var<storage, read> x: array<f32>;                // (R,3): dx, dy, pen, which is 0 or 1
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;       // (R), nats
@group(0) @binding(4) var<storage, read_write> doutputs: array<f32>;   // (R,6*M+1)

const LOG_2PI = 1.8378770664093453;
const SIGMA_RANGE = 6.0;
const RHO_RANGE = 4.0;

// A component at the row's point: log N and what its gradient is made of.
struct Component {
    log_density: f32,
    a: f32,
    b: f32,
    u: f32,
    cosh_t: f32,
    sinh_t: f32,
    // log sigma1, log sigma2 and t, held
    held: vec3<f32>,
}

fn component(r: u32, m: u32) -> Component {
    let first = r * (6u * params.M + 1u) + m;
    let mu = vec2(outputs[first + params.M], outputs[first + 2u * params.M]);
    let held = vec3(
        SIGMA_RANGE * tanh_of(outputs[first + 3u * params.M] / SIGMA_RANGE),
        SIGMA_RANGE * tanh_of(outputs[first + 4u * params.M] / SIGMA_RANGE),
        RHO_RANGE * tanh_of(outputs[first + 5u * params.M] / RHO_RANGE),
    );
    let a = (x[3u * r] - mu.x) * exp(-held.x);
    let b = (x[3u * r + 1u] - mu.y) * exp(-held.y);
    let grown = exp(held.z);
    let cosh_t = 0.5 * (grown + 1.0 / grown);
    let sinh_t = 0.5 * (grown - 1.0 / grown);
    let u = a * cosh_t - b * sinh_t;
    let log_density = log(cosh_t) - 0.5 * (u * u + b * b) - held.x - held.y - LOG_2PI;
    return Component(log_density, a, b, u, cosh_t, sinh_t, held);
}

// log sum_m e^logit and log sum_m e^logit N_m of a row, whose difference is the mixture's log density.
fn log_sums(r: u32) -> vec2<f32> {
    let first = r * (6u * params.M + 1u);
    var most = vec2(outputs[first], outputs[first] + component(r, 0u).log_density);
    for (var m = 1u; m < params.M; m++) {
        let next = vec2(outputs[first + m], outputs[first + m] + component(r, m).log_density);
        // Not `max`, which may drop a NaN. One that is not the first is in the sum.
        most = select(most, next, next > most);
    }
    var sum = vec2(0.0, 0.0);
    for (var m = 0u; m < params.M; m++) {
        let logit = outputs[first + m];
        sum += exp(vec2(logit, logit + component(r, m).log_density) - most);
    }
    return most + log(sum);
}

// loss: rows[r] = -log sum_m weight_m N_m(dx, dy) + cross-entropy of the pen. An invocation owns a row.
@compute @workgroup_size(64)
fn loss(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    let sums = log_sums(r);
    let pen = outputs[r * (6u * params.M + 1u) + 6u * params.M];
    rows[r] = sums.x - sums.y + softplus(pen) - pen * x[3u * r + 2u];
}

// backward of the loss times scale. A component answers for the share g = weight N / sum_m weight_m N_m of the point:
// its gradient is g times that of -log N, and its logit's is weight - g. An invocation owns a row.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    let sums = log_sums(r);
    let first = r * (6u * params.M + 1u);
    for (var m = 0u; m < params.M; m++) {
        let c = component(r, m);
        let at = first + m;
        let weight = exp(outputs[at] - sums.x);
        let g = exp(outputs[at] + c.log_density - sums.y);
        let w = params.scale * g;
        let to_a = c.u * c.cosh_t;
        let to_b = c.b - c.u * c.sinh_t;
        let share_of_range = c.held / vec3(SIGMA_RANGE, SIGMA_RANGE, RHO_RANGE);
        let slopes = vec3(1.0) - share_of_range * share_of_range;
        doutputs[at] = params.scale * (weight - g);
        doutputs[at + params.M] = -w * to_a * exp(-c.held.x);
        doutputs[at + 2u * params.M] = -w * to_b * exp(-c.held.y);
        doutputs[at + 3u * params.M] = w * (1.0 - c.a * to_a) * slopes.x;
        doutputs[at + 4u * params.M] = w * (1.0 - c.b * to_b) * slopes.y;
        doutputs[at + 5u * params.M] = w * (c.u * (c.a * c.sinh_t - c.b * c.cosh_t) - c.sinh_t / c.cosh_t) * slopes.z;
    }
    let pen = first + 6u * params.M;
    doutputs[pen] = params.scale * (sigmoid(outputs[pen]) - x[3u * r + 2u]);
}
