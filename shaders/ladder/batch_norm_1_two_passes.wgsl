// Rung 1 of batch norm's statistics: an invocation owns a channel and takes mean and variance as they are defined,
// first the one, then the other.
//
// Memory: x is read twice, 8 bytes an element. Neighbours read neighbouring channels, so lines are used whole; but C
// invocations are all there are, 64 perhaps on a GPU that wants ten thousand, and each waits for one load at a time.
// Next: both moments in one pass, batch_norm_2_welford.wgsl.

struct Params { R: u32, C: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // (R,C)
@group(0) @binding(2) var<storage, read_write> moments: array<f32>;   // (2,C): mean, rstd

// statistics: mean[c] = sum_r x[r,c] / R, rstd[c] = 1 / sqrt(sum_r (x[r,c] - mean[c])^2 / R + eps).
@compute @workgroup_size(64)
fn statistics(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    if c >= params.C { return; }
    var sum = 0.0;
    for (var r = 0u; r < params.R; r++) { sum += x[r * params.C + c]; }
    let mean = sum / f32(params.R);
    var squares = 0.0;
    for (var r = 0u; r < params.R; r++) {
        let d = x[r * params.C + c] - mean;
        squares += d * d;
    }
    moments[c] = mean;
    moments[params.C + c] = inverseSqrt(squares / f32(params.R) + params.eps);
}
