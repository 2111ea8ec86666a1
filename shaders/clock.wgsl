// The end of a step: its losses are written down and the clock moves on. Nothing else on the device counts.

struct Params { B: u32, recon: u32, kl: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> recon: array<f32>;            // (recon), nats: parts of -log p(x|z)
@group(0) @binding(2) var<storage, read> kl: array<f32>;               // (kl), nats: parts of the KL
@group(0) @binding(3) var<storage, read> time: array<u32>;             // (8+4*batches): the clock, read
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;     // (batches, 4): recon, kl, kl_weight, rows
@group(0) @binding(5) var<storage, read_write> clock: array<u32>;      // (8+4*batches): the clock, moved

var<workgroup> shares: array<vec2<f32>, 64>;

// tally: losses[batch] = (sum of recon, sum of kl, kl_weight, B). One workgroup.
@compute @workgroup_size(64)
fn tally(@builtin(local_invocation_index) index: u32) {
    var sum = vec2<f32>(0.0);
    for (var i = index; i < params.recon; i += 64u) { sum.x += recon[i]; }
    for (var i = index; i < params.kl; i += 64u) { sum.y += kl[i]; }
    shares[index] = sum;
    workgroupBarrier();
    for (var width = 32u; width > 0u; width /= 2u) {
        if index < width { shares[index] += shares[index + width]; }
        workgroupBarrier();
    }
    if index == 0u {
        let row = 4u * time[3];
        if row + 3u >= arrayLength(&losses) || row + 9u >= arrayLength(&time) { return; }
        losses[row] = shares[0].x;
        losses[row + 1u] = shares[0].y;
        losses[row + 2u] = bitcast<f32>(time[row + 9u]);
        losses[row + 3u] = f32(params.B);
    }
}

// tick: the next step, the next batch.
@compute @workgroup_size(1)
fn tick() {
    clock[2] += 1u;
    clock[3] += 1u;
}
