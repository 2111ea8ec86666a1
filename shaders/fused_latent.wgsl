// The middle of a VAE in one dispatch each way: the two heads, a sample of q(z|x) (Kingma & Welling 2013), its KL to
// N(0,1), and the decoder's first layer. Each is far too small to fill a GPU, and as dispatches of their own they would
// wait for each other five times.
// B rows of the batch, I inputs, Z latent dimensions, O outputs of the decoder's first layer. A workgroup owns two
// rows: they share every weight that is loaded, and stand in the two halves of a vec2. The noise is not stored: both
// passes draw it from the counter (common/philox.wgsl), as random.normal would for element (row, dimension) of a (B,Z)
// tensor. So few workgroups wait for their loads more than they compute: weights come in fours, and a sum is shared out
// among as many invocations as there are. It is appended to fused_latent_vec4.wgsl or to fused_latent_any.wgsl, which
// declare h, the parameters and dh, and read and store fours of them: load_h, load_weights, store_dh.

struct Params {
    B: u32, I: u32, Z: u32, O: u32,
    before: u32, after: u32,                             // activations: the one that left h, the first layer's
    site: u32,
    mean: u32, mean_b: u32, logvar: u32, logvar_b: u32,  // where (Z,I) and (Z) of the heads start, in words
    w: u32, b: u32,                                      // where (O,Z) and (O) of the first layer start
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> clock: array<u32>;         // (8+8*batches): seed, step, KL weight
@group(0) @binding(4) var<storage, read_write> q: array<f32>;       // (B,2*Z): means, then logvars
@group(0) @binding(5) var<storage, read_write> z: array<f32>;       // (B,Z)
@group(0) @binding(6) var<storage, read_write> y: array<f32>;       // (B,O)
@group(0) @binding(7) var<storage, read_write> kl: array<f32>;      // (B), nats
@group(0) @binding(8) var<storage, read> dy: array<f32>;            // (B,O)
@group(0) @binding(9) var<storage, read> saved: array<f32>;         // (B,2*Z): q as the forward wrote it
@group(0) @binding(10) var<storage, read_write> dq: array<f32>;     // (B,2*Z)

var<workgroup> shares: array<vec2<f32>, 256>;
var<workgroup> fours: array<mat2x4<f32>, 256>;        // four sums of each row
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

// ANCHOR: forward
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
            for (var k = 4u * (index % 4u); k < params.I; k += 16u) {
                let w = load_weights(weight + k, params.I - k);
                sum += vec2<f32>(dot(w, load_h(rows.x, k)), dot(w, load_h(rows.y, k)));
            }
        }
        shares[index] = sum;
        workgroupBarrier();
        if index % 4u == 0u && j < 2u * params.Z {
            let bias = select(params.mean_b + j, params.logvar_b + j - params.Z, j >= params.Z);
            let value = load_weight(bias) + ((shares[index] + shares[index + 1u]) + (shares[index + 2u] + shares[index + 3u]));
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
    } else if index < 64u {
        drawn[index] = vec2<f32>();
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
        for (var j = 0u; j < params.Z; j += 4u) {
            let w = load_weights(params.w + o * params.Z + j, params.Z - j);
            sum += (w.x * drawn[j] + w.y * drawn[j + 1u]) + (w.z * drawn[j + 2u] + w.w * drawn[j + 3u]);
        }
        sum += load_weight(params.b + o);
        y[rows.x * params.O + o] = activate(params.after, sum.x);
        if is_two { y[rows.y * params.O + o] = activate(params.after, sum.y); }
    }
}
// ANCHOR_END: forward

// backward: dz = dy W; dmean = w mean + dz; dlogvar = w (e^logvar - 1)/2 + dz noise e^(logvar/2)/2, w = scale *
// kl_weight; dh = (dmean W_mean + dlogvar W_logvar) * slope(h).
@compute @workgroup_size(256)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let rows = rows_of(group.x);
    let is_two = 2u * group.x + 1u < params.B;

    // Four dimensions are summed in parts, as many as fit the workgroup.
    let across = (params.Z + 3u) / 4u;
    let parts = power_below(256u / across);
    let j = 4u * (index % across);
    var sum: mat2x4<f32>;
    if index < parts * across {
        for (var o = index / across; o < params.O; o += parts) {
            let w = load_weights(params.w + o * params.Z + j, params.Z - j);
            sum[0] += w * dy[rows.x * params.O + o];
            sum[1] += w * dy[rows.y * params.O + o];
        }
    }
    add_parts(index, across, parts, sum);
    if index < params.Z {
        let dz = vec2<f32>(fours[index / 4u][0][index % 4u], fours[index / 4u][1][index % 4u]);
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

    // The same for four inputs, where they are few enough for parts.
    let wide = (params.I + 3u) / 4u;
    if wide > 128u {
        for (var k = 4u * index; k < params.I; k += 1024u) { store_both(rows, is_two, k, sums_of_dh(k, 0u, 1u)); }
        return;
    }
    let shares_of_dh = power_below(256u / wide);
    let k = 4u * (index % wide);
    var sums: mat2x4<f32>;
    if index < shares_of_dh * wide { sums = sums_of_dh(k, index / wide, shares_of_dh); }
    add_parts(index, wide, shares_of_dh, sums);
    if index < wide { store_both(rows, is_two, k, fours[index]); }
}

// Of dh, before the slope: four inputs from k on, both rows, over every `step`-th head output from `first` on.
fn sums_of_dh(k: u32, first: u32, step: u32) -> mat2x4<f32> {
    var sum: mat2x4<f32>;
    for (var l = first; l < 2u * params.Z; l += step) {
        let w = load_weights(head_weight(l) + k, params.I - k);
        sum[0] += w * heads[l].x;
        sum[1] += w * heads[l].y;
    }
    return sum;
}

fn store_both(rows: vec2<u32>, is_two: bool, k: u32, sum: mat2x4<f32>) {
    store_dh(rows.x, k, sum[0]);
    if is_two { store_dh(rows.y, k, sum[1]); }
}

// The largest power of two that is not above n.
fn power_below(n: u32) -> u32 { return 1u << firstLeadingBit(n); }

// Adds up what invocations i, i + across, i + 2 across, ... have, for `parts` of them, a power of two, into fours[i].
// All invocations call it.
fn add_parts(index: u32, across: u32, parts: u32, sum: mat2x4<f32>) {
    fours[index] = sum;
    workgroupBarrier();
    for (var half = parts / 2u; half > 0u; half /= 2u) {
        if index < half * across { fours[index] += fours[index + half * across]; }
        workgroupBarrier();
    }
}
