// The last layer of a decoder with the loss behind it: logits l = x W^T + b go no further than the registers they are summed
// in. What leaves is the gradient of binary cross-entropy (bce.wgsl) and its value, summed over 32 columns.
// B rows of the batch, I inputs, O outputs, T = ceil(O/32). A workgroup owns a 64x64 tile (common/tile.wgsl); rows and columns
// past the edge are read as zero and never stored.

struct Params { B: u32, I: u32, O: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // (B,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;              // (O,I)
@group(0) @binding(3) var<storage, read> b: array<f32>;              // (O)
@group(0) @binding(4) var<storage, read> picture: array<f32>;        // (B,O), in [0,1]
@group(0) @binding(5) var<storage, read_write> dy: array<f32>;       // (B,O)
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;     // (B,T), nats

var<workgroup> shares: array<f32, 1024>;    // (64,16): a row's loss over the 4 columns of an invocation

// forward: l = x W^T + b; dy = scale * (sigmoid(l) - picture); loss[m,t] = sum over 32 columns of max(l,0) - l*picture + log(1 + e^-|l|).
@compute @workgroup_size(16, 16)
fn forward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
           @builtin(local_invocation_index) index: u32) {
    let row0 = tile.y * TILE;
    let column0 = tile.x * TILE;
    for (var k0 = 0u; k0 < params.I; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let k = k0 + e % DEPTH;
            let i = e / DEPTH;
            let slot = (e % DEPTH) * TILE + i;
            left[slot] = 0.0;
            right[slot] = 0.0;
            if k < params.I && row0 + i < params.B { left[slot] = x[(row0 + i) * params.I + k]; }
            if k < params.I && column0 + i < params.O { right[slot] = w[(column0 + i) * params.I + k]; }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        workgroupBarrier();
    }
    let row = 4u * t.y;
    let column = column0 + 4u * t.x;
    shares[row * 16u + t.x] = store(row0 + row, column, sum0);
    shares[(row + 1u) * 16u + t.x] = store(row0 + row + 1u, column, sum1);
    shares[(row + 2u) * 16u + t.x] = store(row0 + row + 2u, column, sum2);
    shares[(row + 3u) * 16u + t.x] = store(row0 + row + 3u, column, sum3);
    workgroupBarrier();
    // Two sums of 8 shares a row.
    let parts = (params.O + 31u) / 32u;
    let part = 2u * tile.x + index % 2u;
    if index < 2u * TILE && row0 + index / 2u < params.B && part < parts {
        var sum = 0.0;
        for (var i = 0u; i < 8u; i++) { sum += shares[index * 8u + i]; }
        loss[(row0 + index / 2u) * parts + part] = sum;
    }
}

// Stores dy of four logits, but for their bias, and returns their loss.
fn store(m: u32, n: u32, sum: vec4<f32>) -> f32 {
    var total = 0.0;
    if m < params.B {
        for (var j = 0u; j < 4u; j++) {
            if n + j < params.O {
                let l = sum[j] + b[n + j];
                let want = picture[m * params.O + n + j];
                dy[m * params.O + n + j] = params.scale * (sigmoid(l) - want);
                total += max(l, 0.0) - l * want + log(1.0 + exp(-abs(l)));
            }
        }
    }
    return total;
}
