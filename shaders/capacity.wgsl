// The KL of a batch held at a capacity of C nats (Burgess et al. 2018, 1804.03599): B |KL/B - C|, KL/B the mean over
// the batch's rows, and what the KL of a row counts in it.

struct Params { B: u32, P: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> kl: array<f32>;             // (P): the KL in parts, nats summed over the batch
@group(0) @binding(2) var<storage, read> clock: array<u32>;          // (8+8*batches): C is the first knob of this step
@group(0) @binding(3) var<storage, read_write> gap: array<f32>;      // (1)
@group(0) @binding(4) var<storage, read_write> weights: array<f32>;  // (B)

// forward: gap = |KL - B C|; weights = scale * sign(KL - B C), 0 where they are equal. One workgroup.
@compute @workgroup_size(64)
fn forward(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var i = index; i < params.P; i += 64u) { sum += kl[i]; }
    shares[index] = sum;
    sum_shares(index);
    let over = shares[0] - f32(params.B) * clock_row(4u);
    // Not `sign`, which may turn a NaN into a number.
    let side = select(select(over, -1.0, over < 0.0), 1.0, over > 0.0);
    if index == 0u { gap[0] = side * over; }
    for (var i = index; i < params.B; i += 64u) { weights[i] = params.scale * side; }
}
