// Rung 3 of batch norm's statistics: 32 invocations share a channel, each with every 32nd row, and merge what they
// found: count, mean and sum of squares of two sets give those of both together (Chan, Golub & LeVeque 1979).
//
// Memory: x is read once, and 32 times as many loads are under way. A workgroup owns 8 channels: its loads are pieces
// of 32 bytes, the smallest that GPUs fetch.
// Next: C / 8 workgroups are still few. The production kernels, shaders/batch_norm.wgsl, also cut the rows into chunks
// with a workgroup each, and merge the chunks by the same formula in a second dispatch.

struct Params { R: u32, C: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // (R,C)
@group(0) @binding(2) var<storage, read_write> moments: array<f32>;   // (2,C): mean, rstd

var<workgroup> shares: array<vec3<f32>, 256>;   // (32,8): count, mean, squares of every 32nd row by 8 channels

// p and q, each (count, mean, squares), of two disjoint sets, to those of both.
fn merge(p: vec3<f32>, q: vec3<f32>) -> vec3<f32> {
    let count = p.x + q.x;
    let share = q.x / max(count, 1.0);
    let d = q.y - p.y;
    return vec3<f32>(count, p.y + d * share, p.z + q.z + d * d * p.x * share);
}

// statistics: mean[c] = sum_r x[r,c] / R, rstd[c] = 1 / sqrt(sum_r (x[r,c] - mean[c])^2 / R + eps).
@compute @workgroup_size(256)
fn statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let c = 8u * group.x + index % 8u;
    var moment = vec3<f32>();
    if c < params.C {
        for (var r = index / 8u; r < params.R; r += 32u) {
            moment = merge(moment, vec3<f32>(1.0, x[r * params.C + c], 0.0));
        }
    }
    shares[index] = moment;
    workgroupBarrier();
    for (var half = 128u; half >= 8u; half /= 2u) {
        if index < half { shares[index] = merge(shares[index], shares[index + half]); }
        workgroupBarrier();
    }
    if index < 8u && c < params.C {
        moments[c] = shares[index].y;
        moments[params.C + c] = inverseSqrt(shares[index].z / f32(params.R) + params.eps);
    }
}
