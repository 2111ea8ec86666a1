// Layer normalisation (Ba, Kiros & Hinton 2016, 1607.06450) over the F features of each of B rows.
// xhat = (x - mean) * rstd, y = w * xhat + b.

struct Params { B: u32, F: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;                // (B,F)
@group(0) @binding(2) var<storage, read> w: array<f32>;                // (F)
@group(0) @binding(3) var<storage, read> b: array<f32>;                // (F)
@group(0) @binding(4) var<storage, read> moments: array<f32>;          // (B,2): mean, rstd
@group(0) @binding(5) var<storage, read> dy: array<f32>;               // (B,F)
@group(0) @binding(6) var<storage, read_write> y: array<f32>;          // (B,F)
@group(0) @binding(7) var<storage, read_write> row: array<f32>;        // (B,2): mean, rstd
@group(0) @binding(8) var<storage, read_write> dx: array<f32>;         // (B,F)
@group(0) @binding(9) var<storage, read_write> dw: array<f32>;         // (F)
@group(0) @binding(10) var<storage, read_write> db: array<f32>;        // (F)

var<workgroup> pairs: array<vec2<f32>, 256>;

// forward: y = w * (x - mean) * rstd + b, rstd = 1 / sqrt(var + eps) with the biased variance, in two passes. A
// workgroup owns a row. Saved for backward: x, mean and rstd.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first = group.x * params.F;
    // Sums of distances from one of the numbers keep the digits of numbers far from 0.
    let origin = x[first];
    var sum = 0.0;
    for (var f = index; f < params.F; f += 64u) { sum += x[first + f] - origin; }
    let mean = origin + total(index, sum) / f32(params.F);
    var squares = 0.0;
    for (var f = index; f < params.F; f += 64u) {
        let d = x[first + f] - mean;
        squares += d * d;
    }
    let rstd = 1.0 / sqrt(total(index, squares) / f32(params.F) + params.eps);
    if index == 0u {
        row[2u * group.x] = mean;
        row[2u * group.x + 1u] = rstd;
    }
    for (var f = index; f < params.F; f += 64u) { y[first + f] = w[f] * ((x[first + f] - mean) * rstd) + b[f]; }
}

// backward to x: dx = rstd * (g - mean of g - xhat * mean of (g * xhat)), g = w * dy, means over the row. A workgroup
// owns a row.
@compute @workgroup_size(64)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first = group.x * params.F;
    let mean = moments[2u * group.x];
    let rstd = moments[2u * group.x + 1u];
    var sum = 0.0;
    var product = 0.0;
    for (var f = index; f < params.F; f += 64u) {
        let g = w[f] * dy[first + f];
        sum += g;
        product += g * (x[first + f] - mean) * rstd;
    }
    let mean_g = total(index, sum) / f32(params.F);
    let slope = rstd * total(index, product) / f32(params.F);
    for (var f = index; f < params.F; f += 64u) {
        dx[first + f] = rstd * (w[f] * dy[first + f] - mean_g - (x[first + f] - mean) * slope);
    }
}

// backward to w and b: dw += sum over rows of dy * xhat, db += sum of dy. A workgroup owns 32 features, 8 invocations
// a feature.
@compute @workgroup_size(256)
fn backward_w(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let f = 32u * group.x + index % 32u;
    var pair = vec2<f32>(0.0);
    if f < params.F {
        for (var r = index / 32u; r < params.B; r += 8u) {
            let g = dy[r * params.F + f];
            pair += vec2<f32>(g, g * (x[r * params.F + f] - moments[2u * r]) * moments[2u * r + 1u]);
        }
    }
    pairs[index] = pair;
    workgroupBarrier();
    for (var width = 128u; width >= 32u; width /= 2u) {
        if index < width { pairs[index] += pairs[index + width]; }
        workgroupBarrier();
    }
    if index < 32u && f < params.F {
        db[f] += pairs[index].x;
        dw[f] += pairs[index].y;
    }
}
