// Batch normalisation for adapters that run on a CPU, the formulas of batch_norm.wgsl. It is for C a multiple of 4 and
// activations that are linear on both sides of 0. Loads go lane by lane there, so an invocation takes four channels of
// many rows, without workgroup memory or barriers; and every branch of a switch is computed for all lanes, so there is
// none. Measured at 21632x64 with relu on 2 cores, Mesa 22.3 lavapipe, against the portable form: partials 1.0 ms, 4.1;
// forward 2.0, 13; backward_partials 2.1, 12; backward_x 3.3, 16.

struct Params {
    R: u32, C: u32, width: u32, rows: u32, chunks: u32, activation: u32, eps: f32, momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;               // (R,C/4)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;               // (C/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;               // (C/4)
@group(0) @binding(4) var<storage, read> fixed_mean: array<vec4<f32>>;      // (C/4): running_mean, read
@group(0) @binding(5) var<storage, read> fixed_var: array<vec4<f32>>;       // (C/4): running_var, read
@group(0) @binding(6) var<storage, read> saved: array<vec4<f32>>;           // (R,C/4): what forward wrote
@group(0) @binding(7) var<storage, read> dy: array<vec4<f32>>;              // (R,C/4)
@group(0) @binding(8) var<storage, read> moments: array<vec4<f32>>;         // (2,C/4): mean and rstd of the batch
@group(0) @binding(9) var<storage, read> sums: array<vec4<f32>>;            // (2,C/4): sums of g and of g * xhat
@group(0) @binding(10) var<storage, read_write> y: array<vec4<f32>>;        // (R,C/4)
@group(0) @binding(11) var<storage, read_write> chunk: array<vec4<f32>>;    // (K,2,C/4): mean and M2, or two sums
@group(0) @binding(12) var<storage, read_write> dx: array<vec4<f32>>;       // (R,C/4)

// Rows of an invocation that sums nothing.
const ROWS: u32 = 16u;

// What numbers below 0 are multiplied by; by 0 they are replaced, since 0 * inf is NaN.
fn negative_slope() -> f32 {
    return select(select(0.0, 0.01, params.activation == 2u), 1.0, params.activation == 0u);
}

// y = act(u). NaN is not below 0 and passes.
fn activate4(u: vec4<f32>, slope: f32) -> vec4<f32> {
    return select(u, select(slope * u, vec4<f32>(0.0), slope == 0.0), u <= vec4<f32>(0.0));
}

// g = dy * act'(y).
fn gradient(i: u32, slope: f32) -> vec4<f32> {
    return dy[i] * select(vec4<f32>(slope), vec4<f32>(1.0), saved[i] > vec4<f32>(0.0));
}

// partials: chunk[k] = mean and M2 of each channel over the k-th `rows` rows. Four rows at a time are merged with those
// before them (Chan, Golub & LeVeque 1979), on x minus the chunk's first row.
@compute @workgroup_size(8)
fn partials(@builtin(global_invocation_id) id: vec3<u32>) {
    let columns = params.C / 4u;
    let k = id.x / columns;
    if k >= params.chunks { return; }
    let c = id.x - k * columns;
    let end = min((k + 1u) * params.rows, params.R);
    var row = k * params.rows;
    var i = row * columns + c;
    let origin = x[i];
    var count = 0.0;
    var mean = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    for (; row + 3u < end; row += 4u) {
        let v0 = x[i] - origin;
        let v1 = x[i + columns] - origin;
        let v2 = x[i + 2u * columns] - origin;
        let v3 = x[i + 3u * columns] - origin;
        let m = 0.25 * (v0 + v1 + v2 + v3);
        let d = m - mean;
        let share = 4.0 / (count + 4.0);
        squares += (v0 - m) * (v0 - m) + (v1 - m) * (v1 - m) + (v2 - m) * (v2 - m) + (v3 - m) * (v3 - m);
        squares += d * d * (count * share);
        mean += d * share;
        count += 4.0;
        i += 4u * columns;
    }
    for (; row < end; row++) {
        let d = x[i] - origin - mean;
        let share = 1.0 / (count + 1.0);
        squares += d * d * (count * share);
        mean += d * share;
        count += 1.0;
        i += columns;
    }
    let out = 2u * k * columns + c;
    chunk[out] = origin + mean;
    chunk[out + columns] = squares;
}

// y = act((x - mean) * scale + shift) for the rows of an invocation.
fn normalise(c: u32, first: u32, mean: vec4<f32>, scale: vec4<f32>, shift: vec4<f32>) {
    let columns = params.C / 4u;
    let slope = negative_slope();
    let end = min(first + ROWS, params.R) * columns;
    for (var i = first * columns + c; i < end; i += columns) {
        y[i] = activate4((x[i] - mean) * scale + shift, slope);
    }
}

// forward: y = act(w * (x - mean) * rstd + b) with the moments of the batch.
@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let columns = params.C / 4u;
    let index = id.x + id.y * groups.x * 8u;
    let block = index / columns;
    if block * ROWS >= params.R { return; }
    let c = index - block * columns;
    normalise(c, block * ROWS, moments[c], w[c] * moments[columns + c], b[c]);
}

// evaluate: the same with the running statistics, rstd = 1 / sqrt(running_var + eps).
@compute @workgroup_size(8)
fn evaluate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let columns = params.C / 4u;
    let index = id.x + id.y * groups.x * 8u;
    let block = index / columns;
    if block * ROWS >= params.R { return; }
    let c = index - block * columns;
    normalise(c, block * ROWS, fixed_mean[c], w[c] / sqrt(fixed_var[c] + params.eps), b[c]);
}

// backward_partials: chunk[k] = sums of g and of g * xhat over the k-th `rows` rows.
@compute @workgroup_size(8)
fn backward_partials(@builtin(global_invocation_id) id: vec3<u32>) {
    let columns = params.C / 4u;
    let k = id.x / columns;
    if k >= params.chunks { return; }
    let c = id.x - k * columns;
    let end = min((k + 1u) * params.rows, params.R) * columns;
    let slope = negative_slope();
    let mean = moments[c];
    var sum = vec4<f32>(0.0);
    var product = vec4<f32>(0.0);
    for (var i = k * params.rows * columns + c; i < end; i += columns) {
        let g = gradient(i, slope);
        sum += g;
        product += g * (x[i] - mean);
    }
    let out = 2u * k * columns + c;
    chunk[out] = sum;
    chunk[out + columns] = product * moments[columns + c];
}

// backward to x: dx = w * rstd * (g - mean of g - xhat * mean of (g * xhat)).
@compute @workgroup_size(8)
fn backward_x(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let columns = params.C / 4u;
    let index = id.x + id.y * groups.x * 8u;
    let block = index / columns;
    if block * ROWS >= params.R { return; }
    let c = index - block * columns;
    let slope = negative_slope();
    let mean = moments[c];
    let rstd = moments[columns + c];
    let scale = w[c] * rstd;
    let mean_g = sums[c] / f32(params.R);
    let share = rstd * sums[columns + c] / f32(params.R);
    let end = min((block + 1u) * ROWS, params.R) * columns;
    for (var i = block * ROWS * columns + c; i < end; i += columns) {
        dx[i] = scale * (gradient(i, slope) - mean_g - (x[i] - mean) * share);
    }
}
