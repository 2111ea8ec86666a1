// The end of a step: its losses are written down and the clock moves on. Nothing else on the device counts.

// The terms are called after those of a VAE; the second may be missing, its count 0.
struct Params { B: u32, recon: u32, kl: u32, column: u32, width: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> recon: array<f32>;            // (recon), nats: parts of -log p(x|z)
@group(0) @binding(2) var<storage, read> kl: array<f32>;               // (parts), nats: kl parts of the KL, or none
@group(0) @binding(3) var<storage, read> time: array<u32>;             // (8+8*batches): the clock, read
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;     // (batches, width): terms, kl_weight, rows
@group(0) @binding(5) var<storage, read_write> clock: array<u32>;      // (8+8*batches): the clock, moved

var<workgroup> shares: array<vec2<f32>, 64>;

// tally: losses[batch] = (.., sum of recon, sum of kl, .., kl_weight, B), the first of them in column `column`.
// One workgroup.
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
        let row = params.width * time[3];
        let weight = 8u + 8u * time[3] + 1u;
        if row + params.width > arrayLength(&losses) || weight >= arrayLength(&time) { return; }
        losses[row + params.column] = shares[0].x;
        if params.kl > 0u { losses[row + params.column + 1u] = shares[0].y; }
        losses[row + params.width - 2u] = bitcast<f32>(time[weight]);
        losses[row + params.width - 1u] = f32(params.B);
    }
}

// tick: the next step, the next batch.
@compute @workgroup_size(1)
fn tick() {
    clock[2] += 1u;
    clock[3] += 1u;
}
