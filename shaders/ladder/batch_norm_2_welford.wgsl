// Rung 2 of batch norm's statistics: both moments in one pass (Welford 1962). Each element moves the mean by its share
// of the distance, and adds to the sum of squares what it adds whatever the mean will be. The short formula,
// E[x^2] - E[x]^2, takes one pass too but subtracts two large numbers where the mean is far from 0, and loses all
// digits.
//
// Memory: x is read once, half of rung 1. The price is a division an element, in a chain in which each step waits for
// the one before.
// Next: rows are still walked through one by one; many can be taken at a time, batch_norm_3_chan.wgsl.

struct Params { R: u32, C: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // (R,C)
@group(0) @binding(2) var<storage, read_write> moments: array<f32>;   // (2,C): mean, rstd

// statistics: mean[c] = sum_r x[r,c] / R, rstd[c] = 1 / sqrt(sum_r (x[r,c] - mean[c])^2 / R + eps).
@compute @workgroup_size(64)
fn statistics(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    if c >= params.C { return; }
    var mean = 0.0;
    var squares = 0.0;
    for (var r = 0u; r < params.R; r++) {
        let value = x[r * params.C + c];
        let d = value - mean;
        mean += d / f32(r + 1u);
        squares += d * (value - mean);
    }
    moments[c] = mean;
    moments[params.C + c] = inverseSqrt(squares / f32(params.R) + params.eps);
}
