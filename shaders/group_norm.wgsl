// Group normalisation (Wu & He 2018, 1803.08494): each of B pictures of S places by C channels is normalised over its
// places and the C/G channels of each of G groups. xhat = (x - mean) * rstd, y = w * xhat + b with w and b a channel.
//
// A workgroup of 256 owns one group of one picture. Its invocations stand on `width` = min(C/G, 256) neighbouring
// channels, 256 / width of them on each at different places.

struct Params { B: u32, S: u32, C: u32, G: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;                // (B,S,C)
@group(0) @binding(2) var<storage, read> w: array<f32>;                // (C)
@group(0) @binding(3) var<storage, read> b: array<f32>;                // (C)
@group(0) @binding(4) var<storage, read> moments: array<f32>;          // (B,G,2): mean, rstd
@group(0) @binding(5) var<storage, read> dy: array<f32>;               // (B,S,C)
@group(0) @binding(6) var<storage, read> parts: array<f32>;            // (B,2,C): what backward_x wrote
@group(0) @binding(7) var<storage, read_write> y: array<f32>;          // (B,S,C)
@group(0) @binding(8) var<storage, read_write> whole: array<f32>;      // (B,G,2): mean, rstd
@group(0) @binding(9) var<storage, read_write> sums: array<f32>;       // (B,2,C): sums of dy and of dy * xhat over places
@group(0) @binding(10) var<storage, read_write> dx: array<f32>;        // (B,S,C)
@group(0) @binding(11) var<storage, read_write> dw: array<f32>;        // (C)
@group(0) @binding(12) var<storage, read_write> db: array<f32>;        // (C)

var<workgroup> pairs: array<vec2<f32>, 256>;

// The sum of a pair over the workgroup. The first barrier is for those who still read the sum before this one.
fn total(index: u32, pair: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    pairs[index] = pair;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if index < half { pairs[index] += pairs[index + half]; }
        workgroupBarrier();
    }
    return pairs[0];
}

// forward: y = w * (x - mean) * rstd + b, rstd = 1 / sqrt(var + eps) with the biased variance, in two passes.
// Saved for backward: x, mean and rstd.
@compute @workgroup_size(256)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let channels = params.C / params.G;
    let width = min(channels, 256u);
    let places = 256u / width;
    // Invocations left over stand at no place.
    let s0 = select(params.S, index / width, index < places * width);
    let c0 = group.x * channels;
    let first = group.y * params.S * params.C + c0;
    let count = f32(params.S * channels);
    // Sums of distances from one of the numbers keep the digits of numbers far from 0.
    let origin = x[first];
    var sum = 0.0;
    for (var c = index % width; c < channels; c += width) {
        for (var s = s0; s < params.S; s += places) { sum += x[first + s * params.C + c] - origin; }
    }
    let mean = origin + total(index, vec2<f32>(sum, 0.0)).x / count;
    var squares = 0.0;
    for (var c = index % width; c < channels; c += width) {
        for (var s = s0; s < params.S; s += places) {
            let d = x[first + s * params.C + c] - mean;
            squares += d * d;
        }
    }
    let rstd = 1.0 / sqrt(total(index, vec2<f32>(squares, 0.0)).x / count + params.eps);
    if index == 0u {
        let i = 2u * (group.y * params.G + group.x);
        whole[i] = mean;
        whole[i + 1u] = rstd;
    }
    for (var c = index % width; c < channels; c += width) {
        let scale = w[c0 + c] * rstd;
        let shift = b[c0 + c];
        for (var s = s0; s < params.S; s += places) {
            let i = first + s * params.C + c;
            y[i] = (x[i] - mean) * scale + shift;
        }
    }
}

// backward to x: dx = rstd * (g - mean of g - xhat * mean of (g * xhat)), g = w * dy, means over the group. The sums of
// each channel, of which those means are made, are kept for backward_w.
@compute @workgroup_size(256)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let channels = params.C / params.G;
    let width = min(channels, 256u);
    let places = 256u / width;
    let s0 = select(params.S, index / width, index < places * width);
    let c0 = group.x * channels;
    let first = group.y * params.S * params.C + c0;
    let moment = 2u * (group.y * params.G + group.x);
    let mean = moments[moment];
    let rstd = moments[moment + 1u];
    var means = vec2<f32>(0.0);
    for (var block = 0u; block < channels; block += width) {
        let c = block + index % width;
        var pair = vec2<f32>(0.0);
        if c < channels {
            for (var s = s0; s < params.S; s += places) {
                let i = first + s * params.C + c;
                pair += dy[i] * vec2<f32>(1.0, (x[i] - mean) * rstd);
            }
        }
        workgroupBarrier();
        pairs[index] = pair;
        workgroupBarrier();
        // The pairs of a channel are `width` apart.
        for (var half = 128u; half > 0u; half /= 2u) {
            let place = index / width;
            if place < half && place + half < places { pairs[index] += pairs[index + half * width]; }
            workgroupBarrier();
        }
        if index < width && c < channels {
            let i = 2u * group.y * params.C + c0 + c;
            sums[i] = pairs[index].x;
            sums[i + params.C] = pairs[index].y;
            means += w[c0 + c] * pairs[index];
        }
    }
    means = total(index, means) / f32(params.S * channels);
    for (var c = index % width; c < channels; c += width) {
        for (var s = s0; s < params.S; s += places) {
            let i = first + s * params.C + c;
            dx[i] = rstd * (w[c0 + c] * dy[i] - means.x - (x[i] - mean) * rstd * means.y);
        }
    }
}

// backward to w and b: dw += sum over pictures of their sums of dy * xhat, db += of dy. A workgroup owns 32 channels, 8
// invocations a channel.
@compute @workgroup_size(256)
fn backward_w(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let c = 32u * group.x + index % 32u;
    var pair = vec2<f32>(0.0);
    if c < params.C {
        for (var n = index / 32u; n < params.B; n += 8u) {
            let i = 2u * n * params.C + c;
            pair += vec2<f32>(parts[i], parts[i + params.C]);
        }
    }
    pairs[index] = pair;
    workgroupBarrier();
    for (var half = 128u; half >= 32u; half /= 2u) {
        if index < half { pairs[index] += pairs[index + half]; }
        workgroupBarrier();
    }
    if index < 32u && c < params.C {
        db[c] += pairs[index].x;
        dw[c] += pairs[index].y;
    }
}
