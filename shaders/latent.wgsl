// The middle of a VAE in one dispatch each way: the two heads, a sample of q(z|x) (Kingma & Welling 2013), its KL to N(0,1),
// and the decoder's first layer. Each is far too small to fill a GPU, and as dispatches of their own they would wait for
// each other five times.
// B rows of the batch, I inputs, Z latent dimensions, O outputs of the decoder's first layer. A workgroup owns two rows: they
// share every weight that is loaded, and stand in the two halves of a vec2. The noise is not stored: both passes draw
// it from the counter (common/philox.wgsl), as random.normal would for element (row, dimension) of a (B,Z) tensor.

struct Params {
    B: u32, I: u32, Z: u32, O: u32,
    before: u32, after: u32,                             // activations: the one that left h, the first layer's
    site: u32,
    mean: u32, mean_b: u32, logvar: u32, logvar_b: u32,  // where (Z,I) and (Z) of the heads start, in words
    w: u32, b: u32,                                      // where (O,Z) and (O) of the first layer start
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<f32>;             // (B,I)
@group(0) @binding(2) var<storage, read> parameters: array<f32>;    // (words): all parameters, flat
@group(0) @binding(3) var<storage, read> clock: array<u32>;         // (8+4*batches): seed, step, KL weight
@group(0) @binding(4) var<storage, read_write> q: array<f32>;       // (B,2*Z): means, then logvars
@group(0) @binding(5) var<storage, read_write> z: array<f32>;       // (B,Z)
@group(0) @binding(6) var<storage, read_write> y: array<f32>;       // (B,O)
@group(0) @binding(7) var<storage, read_write> kl: array<f32>;      // (B), nats
@group(0) @binding(8) var<storage, read> dy: array<f32>;            // (B,O)
@group(0) @binding(9) var<storage, read> saved: array<f32>;         // (B,2*Z): q as the forward wrote it
@group(0) @binding(10) var<storage, read_write> dq: array<f32>;     // (B,2*Z)
@group(0) @binding(11) var<storage, read_write> dh: array<f32>;     // (B,I), before the activation


var<workgroup> shares: array<vec2<f32>, 256>;
var<workgroup> heads: array<vec2<f32>, 128>;          // (2*Z): of q or of dq, both rows
var<workgroup> drawn: array<vec2<f32>, 64>;          // (Z): z, both rows

fn noise(row: u32, j: u32) -> f32 {
    let i = row * params.Z + j;
    let words = philox(vec4<u32>(i / 4u, params.site, clock[2], 0u), vec2<u32>(clock[0], clock[1]));
    let pair = select(words.xy, words.zw, (i & 2u) != 0u);
    return to_normal(pair.x, pair.y)[i & 1u];
}

// Rows 2g and 2g + 1; where B is odd the last workgroup computes its row twice and stores it once.
fn rows_of(group: u32) -> vec2<u32> { return min(2u * group + vec2<u32>(0u, 1u), vec2<u32>(params.B - 1u)); }

fn head_weight(j: u32) -> u32 {
    return select(params.mean + j * params.I, params.logvar + (j - params.Z) * params.I, j >= params.Z);
}

// forward: q = h W^T + b of both heads; z = mean + e^(logvar/2) noise; kl = sum_j (mean^2 + e^logvar - 1 - logvar)/2;
// y = act(z W^T + b). Saved for backward: h, q, z, y.
@compute @workgroup_size(256)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let rows = rows_of(group.x);
    let is_two = 2u * group.x + 1u < params.B;

    // Four invocations share a head's output: neighbours read neighbouring weights.
    for (var j0 = 0u; j0 < 2u * params.Z; j0 += 64u) {
        let j = j0 + index / 4u;
        var sum = vec2<f32>(0.0);
        if j < 2u * params.Z {
            let weight = head_weight(j);
            for (var k = index % 4u; k < params.I; k += 4u) {
                sum += parameters[weight + k] * vec2<f32>(h[rows.x * params.I + k], h[rows.y * params.I + k]);
            }
        }
        shares[index] = sum;
        workgroupBarrier();
        if index % 4u == 0u && j < 2u * params.Z {
            let bias = select(params.mean_b + j, params.logvar_b + j - params.Z, j >= params.Z);
            let value = parameters[bias] + ((shares[index] + shares[index + 1u]) + (shares[index + 2u] + shares[index + 3u]));
            heads[j] = value;
            q[rows.x * 2u * params.Z + j] = value.x;
            if is_two { q[rows.y * 2u * params.Z + j] = value.y; }
        }
        workgroupBarrier();
    }

    if index < params.Z {
        let mean = heads[index];
        let logvar = heads[params.Z + index];
        let value = mean + exp(0.5 * logvar) * vec2<f32>(noise(rows.x, index), noise(rows.y, index));
        drawn[index] = value;
        z[rows.x * params.Z + index] = value.x;
        if is_two { z[rows.y * params.Z + index] = value.y; }
        shares[index] = 0.5 * (mean * mean + exp(logvar) - 1.0 - logvar);
    }
    workgroupBarrier();

    if index == 0u {
        var sum = vec2<f32>(0.0);
        for (var j = 0u; j < params.Z; j++) { sum += shares[j]; }
        kl[rows.x] = sum.x;
        if is_two { kl[rows.y] = sum.y; }
    }
    for (var o = index; o < params.O; o += 256u) {
        var sum = vec2<f32>(0.0);
        for (var j = 0u; j < params.Z; j++) { sum += parameters[params.w + o * params.Z + j] * drawn[j]; }
        sum += parameters[params.b + o];
        y[rows.x * params.O + o] = activate(params.after, sum.x);
        if is_two { y[rows.y * params.O + o] = activate(params.after, sum.y); }
    }
}

// backward: dz = dy W; dmean = w mean + dz; dlogvar = w (e^logvar - 1)/2 + dz noise e^(logvar/2)/2, w = scale * kl_weight;
// dh = (dmean W_mean + dlogvar W_logvar) * slope(h).
@compute @workgroup_size(256)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let rows = rows_of(group.x);
    let is_two = 2u * group.x + 1u < params.B;

    // Each dimension is summed in parts, as many as fit the workgroup; neighbours read neighbouring weights.
    let parts = 256u / params.Z;
    let j = index % params.Z;
    let part = index / params.Z;
    var sum = vec2<f32>(0.0);
    if part < parts {
        for (var o = part; o < params.O; o += parts) {
            sum += parameters[params.w + o * params.Z + j] * vec2<f32>(dy[rows.x * params.O + o], dy[rows.y * params.O + o]);
        }
    }
    shares[index] = sum;
    workgroupBarrier();
    if index < params.Z {
        var dz = vec2<f32>(0.0);
        for (var i = 0u; i < parts; i++) { dz += shares[i * params.Z + index]; }
        let first = rows * 2u * params.Z + index;
        let mean = vec2<f32>(saved[first.x], saved[first.y]);
        let logvar = vec2<f32>(saved[first.x + params.Z], saved[first.y + params.Z]);
        let weight = params.scale * clock_row(1u);
        let dmean = weight * mean + dz;
        let spread = vec2<f32>(noise(rows.x, index), noise(rows.y, index)) * exp(0.5 * logvar);
        let dlogvar = 0.5 * weight * (exp(logvar) - 1.0) + 0.5 * dz * spread;
        heads[index] = dmean;
        heads[params.Z + index] = dlogvar;
        dq[first.x] = dmean.x;
        dq[first.x + params.Z] = dlogvar.x;
        if is_two {
            dq[first.y] = dmean.y;
            dq[first.y + params.Z] = dlogvar.y;
        }
    }
    workgroupBarrier();

    for (var k = index; k < params.I; k += 256u) {
        var sum = vec2<f32>(0.0);
        for (var l = 0u; l < 2u * params.Z; l++) { sum += parameters[head_weight(l) + k] * heads[l]; }
        let i = rows * params.I + k;
        dh[i.x] = sum.x * activate_slope(params.before, h[i.x]);
        if is_two { dh[i.y] = sum.y * activate_slope(params.before, h[i.y]); }
    }
}
