// latent.wgsl for adapters that run on a CPU and have subgroups of 8, where I, Z and O are multiples of 4. A workgroup, one subgroup,
// owns 32 rows; fours.wgsl, which is appended, has the products. What one lane computes for a row and others need goes through
// q and dq, which are results anyway.

struct Params {
    B: u32, I: u32, Z: u32, O: u32,
    before: u32, after: u32,                             // activations: the one that left h, the first layer's
    site: u32,
    mean: u32, mean_b: u32, logvar: u32, logvar_b: u32,  // where (Z,I) and (Z) of the heads start, in words
    w: u32, b: u32,                                      // where (O,Z) and (O) of the first layer start
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<vec4<f32>>;             // (B,I/4)
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;    // (words/4): all parameters, flat
@group(0) @binding(3) var<storage, read> clock: array<u32>;               // (8+4*batches): seed, step, KL weight
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;       // (B,2*Z/4): means, then logvars
@group(0) @binding(5) var<storage, read_write> z: array<vec4<f32>>;       // (B,Z/4)
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;       // (B,O/4)
@group(0) @binding(7) var<storage, read_write> kl: array<f32>;            // (B), nats
@group(0) @binding(8) var<storage, read> dy: array<vec4<f32>>;            // (B,O/4)
@group(0) @binding(9) var<storage, read> saved: array<vec4<f32>>;         // (B,2*Z/4): q as the forward wrote it
@group(0) @binding(10) var<storage, read_write> dq: array<vec4<f32>>;     // (B,2*Z/4)
@group(0) @binding(11) var<storage, read_write> dh: array<vec4<f32>>;     // (B,I/4), before the activation

// Four neighbours of the noise, `four` counted in fours of a row.
fn noise(row: u32, four: u32) -> vec4<f32> {
    let words = philox(vec4<u32>(row * params.Z / 4u + four, params.site, clock[2], 0u), vec2<u32>(clock[0], clock[1]));
    return vec4<f32>(to_normal(words.x, words.y), to_normal(words.z, words.w));
}

// Where the weights of a head's output start, and its bias, in words.
fn head_weight(j: u32) -> u32 {
    return select(params.mean + j * params.I, params.logvar + (j - params.Z) * params.I, j >= params.Z);
}

fn head_bias(j: u32) -> u32 { return select(params.mean_b + j, params.logvar_b + j - params.Z, j >= params.Z); }

// Four terms, of four columns each.
fn terms(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(parameters[at.x], parameters[at.y], parameters[at.z], parameters[at.w]);
}

// The same where these are four columns, of four terms each.
fn turned(at: vec4<u32>) -> mat4x4<f32> { return transpose(terms(at)); }

// forward: q = h W^T + b of both heads; z = mean + e^(logvar/2) noise; kl = sum_j (mean^2 + e^logvar - 1 - logvar)/2;
// y = act(z W^T + b). Saved for backward: h, q, z, y.
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let first = 32u * group.x;
    let rows = own_rows(first + lane, params.B);
    for (var part = 0u; 64u * part < 2u * params.Z; part++) {
        let column = 64u * part + 8u * lane;
        let own = own_columns(column, 2u * params.Z);
        // A four of columns is of one head.
        let low = head_weight(4u * own.x) + vec4<u32>(0u, 1u, 2u, 3u) * params.I;
        let high = head_weight(4u * own.y) + vec4<u32>(0u, 1u, 2u, 3u) * params.I;
        clear();
        for (var k = 0u; 4u * k < params.I; k++) {
            right[0] = turned(low / 4u + k);
            right[1] = turned(high / 4u + k);
            multiply_rows(0u, h[rows.x * (params.I / 4u) + k]);
            multiply_rows(8u, h[rows.y * (params.I / 4u) + k]);
            multiply_rows(16u, h[rows.z * (params.I / 4u) + k]);
            multiply_rows(24u, h[rows.w * (params.I / 4u) + k]);
        }
        let bias = mat2x4<f32>(parameters[head_bias(4u * own.x) / 4u], parameters[head_bias(4u * own.y) / 4u]);
        store_q(first, own, 0u, bias);
        store_q(first, own, 8u, bias);
        store_q(first, own, 16u, bias);
        store_q(first, own, 24u, bias);
    }
    storageBarrier();
    for (var row = first + lane; row < min(first + 32u, params.B); row += 8u) { sample(row); }
    // Lanes past the end read the last row's z, which is another's.
    storageBarrier();
    for (var part = 0u; 64u * part < params.O; part++) {
        let column = 64u * part + 8u * lane;
        let own = own_columns(column, params.O);
        let low = params.w + (4u * own.x + vec4<u32>(0u, 1u, 2u, 3u)) * params.Z;
        let high = params.w + (4u * own.y + vec4<u32>(0u, 1u, 2u, 3u)) * params.Z;
        clear();
        for (var k = 0u; 4u * k < params.Z; k++) {
            right[0] = turned(low / 4u + k);
            right[1] = turned(high / 4u + k);
            multiply_rows(0u, z[rows.x * (params.Z / 4u) + k]);
            multiply_rows(8u, z[rows.y * (params.Z / 4u) + k]);
            multiply_rows(16u, z[rows.z * (params.Z / 4u) + k]);
            multiply_rows(24u, z[rows.w * (params.Z / 4u) + k]);
        }
        let bias = mat2x4<f32>(parameters[params.b / 4u + own.x], parameters[params.b / 4u + own.y]);
        store_y(first, own, 0u, bias);
        store_y(first, own, 8u, bias);
        store_y(first, own, 16u, bias);
        store_y(first, own, 24u, bias);
    }
}

fn store_q(row: u32, own: vec2<u32>, first: u32, bias: mat2x4<f32>) {
    store_q_row(row, own, first, bias);
    store_q_row(row, own, first + 1u, bias);
    store_q_row(row, own, first + 2u, bias);
    store_q_row(row, own, first + 3u, bias);
    store_q_row(row, own, first + 4u, bias);
    store_q_row(row, own, first + 5u, bias);
    store_q_row(row, own, first + 6u, bias);
    store_q_row(row, own, first + 7u, bias);
}

fn store_q_row(row: u32, own: vec2<u32>, r: u32, bias: mat2x4<f32>) {
    let i = own + min(row + r, params.B - 1u) * params.Z / 2u;
    q[i.x] = sums[r][0] + bias[0];
    q[i.y] = sums[r][1] + bias[1];
}

// z and kl of a row, by one lane.
fn sample(row: u32) {
    let fours = params.Z / 4u;
    var total = 0.0;
    for (var j = 0u; 4u * j < params.Z; j++) {
        let mean = q[row * 2u * fours + j];
        let logvar = q[row * 2u * fours + fours + j];
        z[row * fours + j] = mean + exp(0.5 * logvar) * noise(row, j);
        total += dot(mean * mean + exp(logvar) - 1.0 - logvar, vec4<f32>(0.5));
    }
    kl[row] = total;
}

fn store_y(row: u32, own: vec2<u32>, first: u32, bias: mat2x4<f32>) {
    store_y_row(row, own, first, bias);
    store_y_row(row, own, first + 1u, bias);
    store_y_row(row, own, first + 2u, bias);
    store_y_row(row, own, first + 3u, bias);
    store_y_row(row, own, first + 4u, bias);
    store_y_row(row, own, first + 5u, bias);
    store_y_row(row, own, first + 6u, bias);
    store_y_row(row, own, first + 7u, bias);
}

fn store_y_row(row: u32, own: vec2<u32>, r: u32, bias: mat2x4<f32>) {
    let i = own + min(row + r, params.B - 1u) * params.O / 4u;
    y[i.x] = rectify4(params.after, sums[r][0] + bias[0]);
    y[i.y] = rectify4(params.after, sums[r][1] + bias[1]);
}

// backward: dz = dy W; dmean = w mean + dz; dlogvar = w (e^logvar - 1)/2 + dz noise e^(logvar/2)/2, w = scale * kl_weight;
// dh = (dmean W_mean + dlogvar W_logvar) * slope(h).
@compute @workgroup_size(8)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let first = 32u * group.x;
    let rows = own_rows(first + lane, params.B);
    for (var part = 0u; 64u * part < params.Z; part++) {
        let column = 64u * part + 8u * lane;
        let own = own_columns(column, params.Z);
        clear();
        for (var k = 0u; 4u * k < params.O; k++) {
            // Most lanes have no column here, and load nothing.
            if column < params.Z {
                let at = (params.w + (4u * k + vec4<u32>(0u, 1u, 2u, 3u)) * params.Z) / 4u;
                right[0] = terms(at + own.x);
                right[1] = terms(at + own.y);
            }
            multiply_rows(0u, dy[rows.x * (params.O / 4u) + k]);
            multiply_rows(8u, dy[rows.y * (params.O / 4u) + k]);
            multiply_rows(16u, dy[rows.z * (params.O / 4u) + k]);
            multiply_rows(24u, dy[rows.w * (params.O / 4u) + k]);
        }
        if column < params.Z {
            store_dz(first, own, 0u);
            store_dz(first, own, 8u);
            store_dz(first, own, 16u);
            store_dz(first, own, 24u);
        }
    }
    storageBarrier();
    for (var row = first + lane; row < min(first + 32u, params.B); row += 8u) { slope_of_sample(row); }
    // Lanes past the end read the last row's dq, which is another's.
    storageBarrier();
    for (var part = 0u; 64u * part < params.I; part++) {
        let column = 64u * part + 8u * lane;
        let own = own_columns(column, params.I);
        clear();
        for (var j = 0u; 4u * j < 2u * params.Z; j++) {
            // A four of terms is of one head.
            let at = (head_weight(4u * j) + vec4<u32>(0u, 1u, 2u, 3u) * params.I) / 4u;
            right[0] = terms(at + own.x);
            right[1] = terms(at + own.y);
            multiply_rows(0u, dq[rows.x * (params.Z / 2u) + j]);
            multiply_rows(8u, dq[rows.y * (params.Z / 2u) + j]);
            multiply_rows(16u, dq[rows.z * (params.Z / 2u) + j]);
            multiply_rows(24u, dq[rows.w * (params.Z / 2u) + j]);
        }
        store_dh(first, own, 0u);
        store_dh(first, own, 8u);
        store_dh(first, own, 16u);
        store_dh(first, own, 24u);
    }
}

// dz waits where dmean will be.
fn store_dz(row: u32, own: vec2<u32>, first: u32) {
    store_dz_row(row, own, first);
    store_dz_row(row, own, first + 1u);
    store_dz_row(row, own, first + 2u);
    store_dz_row(row, own, first + 3u);
    store_dz_row(row, own, first + 4u);
    store_dz_row(row, own, first + 5u);
    store_dz_row(row, own, first + 6u);
    store_dz_row(row, own, first + 7u);
}

fn store_dz_row(row: u32, own: vec2<u32>, r: u32) {
    let i = own + min(row + r, params.B - 1u) * params.Z / 2u;
    dq[i.x] = sums[r][0];
    dq[i.y] = sums[r][1];
}

// dq of a row, by one lane.
fn slope_of_sample(row: u32) {
    let fours = params.Z / 4u;
    let weight = params.scale * clock_row(1u);
    for (var j = 0u; 4u * j < params.Z; j++) {
        let i = row * 2u * fours + j;
        let logvar = saved[i + fours];
        let dz = dq[i];
        let spread = noise(row, j) * exp(0.5 * logvar);
        dq[i] = weight * saved[i] + dz;
        dq[i + fours] = 0.5 * weight * (exp(logvar) - 1.0) + 0.5 * dz * spread;
    }
}

fn store_dh(row: u32, own: vec2<u32>, first: u32) {
    store_dh_row(row, own, first);
    store_dh_row(row, own, first + 1u);
    store_dh_row(row, own, first + 2u);
    store_dh_row(row, own, first + 3u);
    store_dh_row(row, own, first + 4u);
    store_dh_row(row, own, first + 5u);
    store_dh_row(row, own, first + 6u);
    store_dh_row(row, own, first + 7u);
}

fn store_dh_row(row: u32, own: vec2<u32>, r: u32) {
    let i = own + min(row + r, params.B - 1u) * params.I / 4u;
    dh[i.x] = through(params.before, sums[r][0], h[i.x]);
    dh[i.y] = through(params.before, sums[r][1], h[i.y]);
}
