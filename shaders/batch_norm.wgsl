// Batch normalisation (Ioffe & Szegedy 2015, 1502.03167) with the activation that follows it. x is a matrix of R rows,
// the places of all pictures or the vectors of a batch, by C channels. xhat = (x - mean) * rstd, y = act(w * xhat + b).
//
// Rows are summed in K chunks of `rows`. A workgroup of 256 owns `width` <= 64 channels, so that 256 / width of its
// invocations share a channel; neighbours are neighbouring channels, then the next row. An invocation keeps its channel
// and takes four of its rows at a time: four loads under way, and no division for an index.

struct Params {
    R: u32, C: u32, width: u32, rows: u32, chunks: u32, activation: u32, eps: f32, momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;                           // (R,C)
@group(0) @binding(2) var<storage, read> w: array<f32>;                           // (C)
@group(0) @binding(3) var<storage, read> b: array<f32>;                           // (C)
@group(0) @binding(4) var<storage, read> fixed_mean: array<f32>;                  // (C): running_mean, read
@group(0) @binding(5) var<storage, read> fixed_var: array<f32>;                   // (C): running_var, read
@group(0) @binding(6) var<storage, read> saved: array<f32>;                       // (R,C): what forward wrote
@group(0) @binding(7) var<storage, read> dy: array<f32>;                          // (R,C)
@group(0) @binding(8) var<storage, read> parts: array<f32>;                       // (K,2,C): what the chunks wrote
@group(0) @binding(9) var<storage, read> moments: array<f32>;                     // (2,C): mean and rstd of the batch
@group(0) @binding(10) var<storage, read> sums: array<f32>;                       // (2,C): sums of g and of g * xhat
@group(0) @binding(11) var<storage, read_write> y: array<f32>;                    // (R,C)
@group(0) @binding(12) var<storage, read_write> chunk: array<f32>;                // (K,2,C): mean and M2, or two sums
@group(0) @binding(13) var<storage, read_write> batch: array<f32>;                // (2,C): mean, rstd
@group(0) @binding(14) var<storage, read_write> running_mean: array<f32>;         // (C)
@group(0) @binding(15) var<storage, read_write> running_var: array<f32>;          // (C)
@group(0) @binding(16) var<storage, read_write> num_batches_tracked: array<f32>;  // (1)
@group(0) @binding(17) var<storage, read_write> dw: array<f32>;                   // (C)
@group(0) @binding(18) var<storage, read_write> db: array<f32>;                   // (C)
@group(0) @binding(19) var<storage, read_write> totals: array<f32>;               // (2,C): sums of g and of g * xhat
@group(0) @binding(20) var<storage, read_write> dx: array<f32>;                   // (R,C)

var<workgroup> shares: array<vec3<f32>, 256>;

// Channels of a workgroup that merges chunks: the words of one 32-byte sector.
const MERGED: u32 = 8u;

// Where an invocation stands: its channel, its row among the `lanes` that share the channel, and whether it has work.
struct Place { c: u32, row: u32, lanes: u32, works: bool }

fn place(group: u32, index: u32, width: u32) -> Place {
    let row = index / width;
    let c = group * width + index - row * width;
    let lanes = 256u / width;
    return Place(c, row, lanes, row < lanes && c < params.C);
}

// ANCHOR: merge
// Moments of two disjoint sets of numbers, (count, mean, M2) with M2 the sum of squared distances from the mean, to
// those of their union (Chan, Golub & LeVeque 1979). Nothing cancels, as in E[x^2] - E[x]^2.
fn merge(p: vec3<f32>, q: vec3<f32>) -> vec3<f32> {
    let count = p.x + q.x;
    let share = q.x / max(count, 1.0);
    let d = q.y - p.y;
    return vec3<f32>(count, p.y + d * share, p.z + q.z + d * d * p.x * share);
}
// ANCHOR_END: merge

// Combines the shares of the invocations of each channel, by halves: the first of them ends with the whole.
fn merge_shares(index: u32, at: Place, width: u32) {
    workgroupBarrier();
    // `width` is uniform, and so is the number of turns.
    for (var half = 1u << firstLeadingBit(256u / width - 1u); half > 0u; half /= 2u) {
        if at.row < half && at.row + half < at.lanes {
            shares[index] = merge(shares[index], shares[index + half * width]);
        }
        workgroupBarrier();
    }
}

fn add_shares(index: u32, at: Place, width: u32) {
    workgroupBarrier();
    for (var half = 1u << firstLeadingBit(256u / width - 1u); half > 0u; half /= 2u) {
        if at.row < half && at.row + half < at.lanes { shares[index] += shares[index + half * width]; }
        workgroupBarrier();
    }
}

// ---- Forward

// partials: chunk[k] = mean and M2 of each channel over the k-th `rows` rows. Computed on x minus the chunk's first
// row, which keeps the digits of numbers far from 0.
@compute @workgroup_size(256)
fn partials(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = place(group.x, index, params.width);
    let first = group.y * params.rows;
    let end = min(first + params.rows, params.R);
    var moment = vec3<f32>(0.0);
    var origin = 0.0;
    if at.works {
        origin = x[first * params.C + at.c];
        let step = at.lanes * params.C;
        var row = first + at.row;
        var i = row * params.C + at.c;
        for (; row + 3u * at.lanes < end; row += 4u * at.lanes) {
            let v = vec4<f32>(x[i], x[i + step], x[i + 2u * step], x[i + 3u * step]) - origin;
            let mean = 0.25 * (v.x + v.y + v.z + v.w);
            let d = v - mean;
            moment = merge(moment, vec3<f32>(4.0, mean, dot(d, d)));
            i += 4u * step;
        }
        for (; row < end; row += at.lanes) {
            moment = merge(moment, vec3<f32>(1.0, x[i] - origin, 0.0));
            i += step;
        }
    }
    shares[index] = moment;
    merge_shares(index, at, params.width);
    if at.works && at.row == 0u {
        let i = 2u * group.y * params.C + at.c;
        chunk[i] = origin + shares[index].y;
        chunk[i + params.C] = shares[index].z;
    }
}

// statistics: merges the chunks to mean and rstd = 1 / sqrt(var + eps), var = M2 / R, and moves the running statistics:
// running += momentum * (batch - running), with the unbiased variance M2 / max(R - 1, 1).
@compute @workgroup_size(256)
fn statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let width = min(params.C, MERGED);
    let at = place(group.x, index, width);
    var moment = vec3<f32>(0.0);
    if at.works {
        for (var k = at.row; k < params.chunks; k += at.lanes) {
            let count = f32(min(params.rows, params.R - k * params.rows));
            let i = 2u * k * params.C + at.c;
            moment = merge(moment, vec3<f32>(count, parts[i], parts[i + params.C]));
        }
    }
    shares[index] = moment;
    merge_shares(index, at, width);
    if at.works && at.row == 0u {
        let mean = shares[index].y;
        let squares = shares[index].z;
        batch[at.c] = mean;
        batch[params.C + at.c] = 1.0 / sqrt(squares / f32(params.R) + params.eps);
        let variance = squares / f32(max(params.R, 2u) - 1u);
        running_mean[at.c] += params.momentum * (mean - running_mean[at.c]);
        running_var[at.c] += params.momentum * (variance - running_var[at.c]);
    }
    if group.x == 0u && index == 0u { num_batches_tracked[0] += 1.0; }
}

// y = act((x - mean) * scale + shift) for the rows of an invocation, of which there are at most eight in a turn.
fn normalise(at: Place, group: u32, groups: u32, mean: f32, scale: f32, shift: f32) {
    let step = at.lanes * params.C;
    for (var row = 4u * at.lanes * group + at.row; row < params.R; row += 4u * at.lanes * groups) {
        let i = row * params.C + at.c;
        if row + 3u * at.lanes < params.R {
            let v = vec4<f32>(x[i], x[i + step], x[i + 2u * step], x[i + 3u * step]);
            let u = (v - mean) * scale + shift;
            y[i] = activate(params.activation, u.x);
            y[i + step] = activate(params.activation, u.y);
            y[i + 2u * step] = activate(params.activation, u.z);
            y[i + 3u * step] = activate(params.activation, u.w);
        } else {
            for (var j = i; j < params.R * params.C; j += step) {
                y[j] = activate(params.activation, (x[j] - mean) * scale + shift);
            }
        }
    }
}

// forward: y = act(w * (x - mean) * rstd + b) with the moments of the batch. Saved for backward: x, y and the moments.
@compute @workgroup_size(256)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32,
           @builtin(num_workgroups) groups: vec3<u32>) {
    let at = place(group.x, index, params.width);
    if !at.works { return; }
    normalise(at, group.y, groups.y, moments[at.c], w[at.c] * moments[params.C + at.c], b[at.c]);
}

// evaluate: the same with the running statistics, rstd = 1 / sqrt(running_var + eps).
@compute @workgroup_size(256)
fn evaluate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32,
            @builtin(num_workgroups) groups: vec3<u32>) {
    let at = place(group.x, index, params.width);
    if !at.works { return; }
    let scale = w[at.c] / sqrt(fixed_var[at.c] + params.eps);
    normalise(at, group.y, groups.y, fixed_mean[at.c], scale, b[at.c]);
}

// ---- Backward of forward, with g = dy * act'(y)

fn slopes(v: vec4<f32>) -> vec4<f32> {
    let kind = params.activation;
    return vec4<f32>(activate_slope(kind, v.x), activate_slope(kind, v.y),
                     activate_slope(kind, v.z), activate_slope(kind, v.w));
}

// backward_partials: chunk[k] = sums of g and of g * xhat over the k-th `rows` rows.
@compute @workgroup_size(256)
fn backward_partials(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = place(group.x, index, params.width);
    let first = group.y * params.rows;
    let end = min(first + params.rows, params.R);
    var sum = vec3<f32>(0.0);
    if at.works {
        let mean = moments[at.c];
        let step = at.lanes * params.C;
        var row = first + at.row;
        var i = row * params.C + at.c;
        for (; row + 3u * at.lanes < end; row += 4u * at.lanes) {
            let j = vec4<u32>(i, i + step, i + 2u * step, i + 3u * step);
            let s = vec4<f32>(saved[j.x], saved[j.y], saved[j.z], saved[j.w]);
            let g = vec4<f32>(dy[j.x], dy[j.y], dy[j.z], dy[j.w]) * slopes(s);
            let d = vec4<f32>(x[j.x], x[j.y], x[j.z], x[j.w]) - mean;
            sum += vec3<f32>(g.x + g.y + g.z + g.w, dot(g, d), 0.0);
            i += 4u * step;
        }
        for (; row < end; row += at.lanes) {
            let g = dy[i] * activate_slope(params.activation, saved[i]);
            sum += vec3<f32>(g, g * (x[i] - mean), 0.0);
            i += step;
        }
        sum.y *= moments[params.C + at.c];
    }
    shares[index] = sum;
    add_shares(index, at, params.width);
    if at.works && at.row == 0u {
        let i = 2u * group.y * params.C + at.c;
        chunk[i] = shares[index].x;
        chunk[i + params.C] = shares[index].y;
    }
}

// backward to w and b: totals = sums of g and of g * xhat over all chunks; db += the first, dw += the second.
@compute @workgroup_size(256)
fn backward_w(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let width = min(params.C, MERGED);
    let at = place(group.x, index, width);
    var sum = vec3<f32>(0.0);
    if at.works {
        for (var k = at.row; k < params.chunks; k += at.lanes) {
            let i = 2u * k * params.C + at.c;
            sum += vec3<f32>(parts[i], parts[i + params.C], 0.0);
        }
    }
    shares[index] = sum;
    add_shares(index, at, width);
    if at.works && at.row == 0u {
        totals[at.c] = shares[index].x;
        totals[params.C + at.c] = shares[index].y;
        db[at.c] += shares[index].x;
        dw[at.c] += shares[index].y;
    }
}

// ANCHOR: backward_x
// backward to x: dx = w * rstd * (g - mean of g - xhat * mean of (g * xhat)); mean and rstd depend on x too.
@compute @workgroup_size(256)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32,
              @builtin(num_workgroups) groups: vec3<u32>) {
    let at = place(group.x, index, params.width);
    if !at.works { return; }
    let mean = moments[at.c];
    let rstd = moments[params.C + at.c];
    let scale = w[at.c] * rstd;
    let mean_g = sums[at.c] / f32(params.R);
    let slope = rstd * sums[params.C + at.c] / f32(params.R);
    let step = at.lanes * params.C;
    for (var row = 4u * at.lanes * group.y + at.row; row < params.R; row += 4u * at.lanes * groups.y) {
        let i = row * params.C + at.c;
        if row + 3u * at.lanes < params.R {
            let j = vec4<u32>(i, i + step, i + 2u * step, i + 3u * step);
            let s = vec4<f32>(saved[j.x], saved[j.y], saved[j.z], saved[j.w]);
            let g = vec4<f32>(dy[j.x], dy[j.y], dy[j.z], dy[j.w]) * slopes(s);
            let d = vec4<f32>(x[j.x], x[j.y], x[j.z], x[j.w]) - mean;
            let v = scale * (g - mean_g - d * slope);
            dx[j.x] = v.x;
            dx[j.y] = v.y;
            dx[j.z] = v.z;
            dx[j.w] = v.w;
        } else {
            for (var j = i; j < params.R * params.C; j += step) {
                let g = dy[j] * activate_slope(params.activation, saved[j]);
                dx[j] = scale * (g - mean_g - (x[j] - mean) * slope);
            }
        }
    }
}
// ANCHOR_END: backward_x
