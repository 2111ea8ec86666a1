// Group normalisation (Wu & He 2018, 1803.08494): each of B pictures of S places by C channels is normalised over its
// places and the C/G channels of each of G groups. xhat = (x - mean) * rstd, y = w * xhat + b with w and b a channel.
//
// A workgroup of 64 owns one group of one picture. Its invocations stand on `width` = min(C/G, 64) neighbouring
// channels, 64 / width of them on each at different places. More invocations would have less to do between barriers.

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

var<workgroup> pairs: array<vec2<f32>, 64>;

// The sum of a pair over the workgroup. The first barrier is for those who still read the sum before this one.
fn total(index: u32, pair: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    pairs[index] = pair;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if index < half { pairs[index] += pairs[index + half]; }
        workgroupBarrier();
    }
    return pairs[0];
}

// Four neighbours in a walk of `step` words: four loads under way.
fn four(i: u32, step: u32) -> vec4<u32> {
    return vec4<u32>(i, i + step, i + 2u * step, i + 3u * step);
}

fn x4(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(x[i.x], x[i.y], x[i.z], x[i.w]); }

fn dy4(i: vec4<u32>) -> vec4<f32> { return vec4<f32>(dy[i.x], dy[i.y], dy[i.z], dy[i.w]); }

// Where an invocation walks: from word `start` of its first channel by `step` to `end`, then the same `width` channels
// on.
struct Walk { start: u32, step: u32, end: u32, width: u32 }

fn walk(group: vec3<u32>, index: u32) -> Walk {
    let channels = params.C / params.G;
    let width = min(channels, 64u);
    let places = 64u / width;
    let first = group.y * params.S * params.C + group.x * channels;
    let end = first + params.S * params.C;
    let place = index / width;
    // Invocations left over have nowhere to go.
    let start = select(end, first + place * params.C, place < places);
    return Walk(start, places * params.C, end, width);
}

// forward: y = w * (x - mean) * rstd + b, rstd = 1 / sqrt(var + eps) with the biased variance, in two passes.
// Saved for backward: x, mean and rstd.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let channels = params.C / params.G;
    let way = walk(group, index);
    let step = way.step;
    let c0 = group.x * channels;
    let count = f32(params.S * channels);
    // Sums of distances from one of the numbers keep the digits of numbers far from 0.
    let origin = x[group.y * params.S * params.C + c0];
    var sum = 0.0;
    for (var c = index % way.width; c < channels; c += way.width) {
        var i = way.start + c;
        for (; i + 3u * step < way.end + c; i += 4u * step) { sum += dot(x4(four(i, step)) - origin, vec4<f32>(1.0)); }
        for (; i < way.end + c; i += step) { sum += x[i] - origin; }
    }
    let mean = origin + total(index, vec2<f32>(sum, 0.0)).x / count;
    var squares = 0.0;
    for (var c = index % way.width; c < channels; c += way.width) {
        var i = way.start + c;
        for (; i + 3u * step < way.end + c; i += 4u * step) {
            let d = x4(four(i, step)) - mean;
            squares += dot(d, d);
        }
        for (; i < way.end + c; i += step) { squares += (x[i] - mean) * (x[i] - mean); }
    }
    let rstd = 1.0 / sqrt(total(index, vec2<f32>(squares, 0.0)).x / count + params.eps);
    if index == 0u {
        let i = 2u * (group.y * params.G + group.x);
        whole[i] = mean;
        whole[i + 1u] = rstd;
    }
    for (var c = index % way.width; c < channels; c += way.width) {
        let scale = w[c0 + c] * rstd;
        let shift = b[c0 + c];
        var i = way.start + c;
        for (; i + 3u * step < way.end + c; i += 4u * step) {
            let at = four(i, step);
            let v = (x4(at) - mean) * scale + shift;
            y[at.x] = v.x;
            y[at.y] = v.y;
            y[at.z] = v.z;
            y[at.w] = v.w;
        }
        for (; i < way.end + c; i += step) { y[i] = (x[i] - mean) * scale + shift; }
    }
}

// backward to x: dx = rstd * (g - mean of g - xhat * mean of (g * xhat)), g = w * dy, means over the group. The sums of
// each channel, of which those means are made, are kept for backward_w.
@compute @workgroup_size(64)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let channels = params.C / params.G;
    let width = min(channels, 64u);
    let way = walk(group, index);
    let step = way.step;
    let c0 = group.x * channels;
    let moment = 2u * (group.y * params.G + group.x);
    let mean = moments[moment];
    let rstd = moments[moment + 1u];
    var means = vec2<f32>(0.0);
    for (var block = 0u; block < channels; block += width) {
        let c = block + index % width;
        var pair = vec2<f32>(0.0);
        if c < channels {
            var i = way.start + c;
            for (; i + 3u * step < way.end + c; i += 4u * step) {
                let at = four(i, step);
                let g = dy4(at);
                pair += vec2<f32>(dot(g, vec4<f32>(1.0)), dot(g, x4(at) - mean) * rstd);
            }
            for (; i < way.end + c; i += step) { pair += dy[i] * vec2<f32>(1.0, (x[i] - mean) * rstd); }
        }
        workgroupBarrier();
        pairs[index] = pair;
        workgroupBarrier();
        // The pairs of a channel are `width` apart.
        for (var half = 32u; half > 0u; half /= 2u) {
            let place = index / width;
            if place < half && place + half < 64u / width { pairs[index] += pairs[index + half * width]; }
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
    let slope = rstd * means.y;
    for (var c = index % width; c < channels; c += width) {
        let weight = w[c0 + c];
        var i = way.start + c;
        for (; i + 3u * step < way.end + c; i += 4u * step) {
            let at = four(i, step);
            let v = rstd * (weight * dy4(at) - means.x - (x4(at) - mean) * slope);
            dx[at.x] = v.x;
            dx[at.y] = v.y;
            dx[at.z] = v.z;
            dx[at.w] = v.w;
        }
        for (; i < way.end + c; i += step) { dx[i] = rstd * (weight * dy[i] - means.x - (x[i] - mean) * slope); }
    }
}

// backward to w and b: dw += sum over pictures of their sums of dy * xhat, db += of dy. A workgroup owns 8 channels, 8
// invocations a channel.
@compute @workgroup_size(64)
fn backward_w(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let c = 8u * group.x + index % 8u;
    var pair = vec2<f32>(0.0);
    if c < params.C {
        for (var n = index / 8u; n < params.B; n += 8u) {
            let i = 2u * n * params.C + c;
            pair += vec2<f32>(parts[i], parts[i + params.C]);
        }
    }
    pairs[index] = pair;
    workgroupBarrier();
    for (var half = 32u; half >= 8u; half /= 2u) {
        if index < half { pairs[index] += pairs[index + half]; }
        workgroupBarrier();
    }
    if index < 8u && c < params.C {
        db[c] += pairs[index].x;
        dw[c] += pairs[index].y;
    }
}
