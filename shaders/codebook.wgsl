// A codebook: K vectors of D numbers, of which the nearest stands for a vector z (van den Oord et al. 2017,
// 1711.00937). R vectors a batch, R = B * places. The number of a code is stored as a float; whoever reads one holds it
// below K.

struct Params { R: u32, D: u32, K: u32, scale: f32, decay: f32, restart: f32 }

// Of the counts, in Laplace's smoothing.
const EPSILON: f32 = 1e-5;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;                // (R,D); distance: (B,N)
@group(0) @binding(2) var<storage, read> codebook: array<f32>;         // (K,D)
@group(0) @binding(3) var<storage, read> ids: array<f32>;              // (R), 0 to K-1
@group(0) @binding(4) var<storage, read> counts: array<f32>;           // (K)
@group(0) @binding(5) var<storage, read> sums: array<f32>;             // (K,D)
@group(0) @binding(6) var<storage, read> clock: array<u32>;            // (8+8*batches): word 2 is the step
@group(0) @binding(7) var<storage, read> q: array<f32>;                // (R,D); distance: (B,N)
@group(0) @binding(8) var<storage, read> dq: array<f32>;               // (R,D)
@group(0) @binding(9) var<storage, read_write> nearest_ids: array<f32>;    // (R)
@group(0) @binding(10) var<storage, read_write> y: array<f32>; // (R,D); one_hot: (R,K); distance: (B); perplexity: (1)
@group(0) @binding(11) var<storage, read_write> n: array<f32>;         // (K)
@group(0) @binding(12) var<storage, read_write> m: array<f32>;         // (K,D)
@group(0) @binding(13) var<storage, read_write> dz: array<f32>;        // (R,D)
@group(0) @binding(14) var<storage, read_write> dcodebook: array<f32>; // (K,D)
@group(0) @binding(15) var<storage, read_write> codes: array<f32>;     // (K,D)
@group(0) @binding(16) var<storage, read_write> used: array<f32>;      // (1)

// ANCHOR: nearest
// nearest: ids[r] = argmin_k |z[r] - codebook[k]|^2, the first of equal ones. An invocation owns a vector.
@compute @workgroup_size(64)
fn nearest(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups);
    if r >= params.R { return; }
    var best = 0u;
    var least = 0.0;
    for (var k = 0u; k < params.K; k++) {
        var distance = 0.0;
        for (var d = 0u; d < params.D; d++) {
            let difference = z[r * params.D + d] - codebook[k * params.D + d];
            distance += difference * difference;
        }
        if k == 0u || distance < least { least = distance; best = k; }
    }
    nearest_ids[r] = f32(best);
}
// ANCHOR_END: nearest

// gather: y[r] = codebook[ids[r]].
@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.R * params.D {
        let k = min(u32(ids[i / params.D]), params.K - 1u);
        y[i] = codebook[k * params.D + i % params.D];
    }
}

// one_hot: y[r,k] = 1 where ids[r] is k, else 0.
@compute @workgroup_size(64)
fn one_hot(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.R * params.K { y[i] = select(0.0, 1.0, u32(ids[i / params.K]) == i % params.K); }
}

// distance: y[b] = |z[b] - q[b]|^2, over R examples of D numbers. A workgroup owns an example.
@compute @workgroup_size(64)
fn distance(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let b = group.x + group.y * groups.x;
    var sum = 0.0;
    if b < params.R {
        for (var d = index; d < params.D; d += 64u) {
            let difference = z[b * params.D + d] - q[b * params.D + d];
            sum += difference * difference;
        }
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u && b < params.R { y[b] = shares[0]; }
}

// ANCHOR: tally
// tally: n[k] = how many of the ids are k, m[k] = the sum of the z that are theirs, in the order of the rows. An
// invocation owns a number of a code.
@compute @workgroup_size(64)
fn tally(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.K * params.D { return; }
    let k = i / params.D;
    let d = i % params.D;
    var sum = 0.0;
    var count = 0.0;
    for (var r = 0u; r < params.R; r++) {
        if u32(ids[r]) == k {
            sum += z[r * params.D + d];
            count += 1.0;
        }
    }
    m[i] = sum;
    if d == 0u { n[k] = count; }
}
// ANCHOR_END: tally

// backward of scale * sum_r |sg(z[r]) - codebook[ids[r]]|^2: dcodebook[k] += 2 scale (counts[k] codebook[k] - sums[k]).
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.K * params.D {
        dcodebook[i] += 2.0 * params.scale * (counts[i / params.D] * codebook[i] - sums[i]);
    }
}

// straight_through: dz = dq + 2 scale commitment (z - q), the step's commitment being the clock's first knob.
@compute @workgroup_size(64)
fn straight_through(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.R * params.D { dz[i] = dq[i] + 2.0 * params.scale * clock_row(1u) * (z[i] - q[i]); }
}

// update: n[k] and m[k] are the running count of the vectors that are k's, and their running sum. A code whose count
// falls below `restart` of an equal share is put onto a vector of this batch, with an equal share. Then
// codes[k] = m[k] / n^[k], n^ the counts after Laplace's smoothing. One workgroup, of which an invocation owns every
// 64th code: what they share is the sum of the counts.
@compute @workgroup_size(64)
fn update(@builtin(local_invocation_index) index: u32) {
    let equal = f32(params.R) / f32(params.K);
    var sum = 0.0;
    for (var k = index; k < params.K; k += 64u) {
        let count = params.decay * n[k] + (1.0 - params.decay) * counts[k];
        let restarts = count < params.restart * equal;
        let row = min((k * 7919u + clock[2] * 104729u) % params.R, params.R - 1u);
        for (var d = 0u; d < params.D; d++) {
            let i = k * params.D + d;
            if restarts {
                m[i] = equal * z[row * params.D + d];
            } else {
                m[i] = params.decay * m[i] + (1.0 - params.decay) * sums[i];
            }
        }
        n[k] = select(count, equal, restarts);
        sum += n[k];
    }
    shares[index] = sum;
    sum_shares(index);
    let total = shares[0];
    for (var k = index; k < params.K; k += 64u) {
        let smoothed = (n[k] + EPSILON) / (total + f32(params.K) * EPSILON) * total;
        for (var i = k * params.D; i < (k + 1u) * params.D; i++) { codes[i] = m[i] / smoothed; }
    }
}

// perplexity: y = scale * exp(-sum_k p_k log p_k), p_k = counts[k] / R; used = scale * how many p_k are above 0. One
// workgroup.
@compute @workgroup_size(64)
fn perplexity(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    var taken = 0.0;
    for (var k = index; k < params.K; k += 64u) {
        let p = counts[k] / f32(params.R);
        if counts[k] > 0.0 {
            sum -= p * log(p);
            taken += 1.0;
        }
    }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { y[0] = params.scale * exp(shares[0]); }
    workgroupBarrier();
    shares[index] = taken;
    sum_shares(index);
    if index == 0u { used[0] = params.scale * shares[0]; }
}
