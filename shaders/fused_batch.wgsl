// The start of a step: the pictures of its batch, as gather.wgsl picks them from a data set in one buffer, and the
// moment, a clock of this step alone. Kernels that read the moment leave the clock to the end of the step, which can
// then move it in the dispatch that updates the parameters. Indices that are read from a buffer are held within the
// next one.

struct Params { B: u32, D: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> data: array<u32>;             // (words): four pixels each
@group(0) @binding(2) var<storage, read> order: array<u32>;            // (N), the epoch's order
@group(0) @binding(3) var<storage, read> clock: array<u32>;            // (8+8*batches): word 3 is the batch
@group(0) @binding(4) var<storage, read_write> x: array<f32>;          // (B,D)
@group(0) @binding(5) var<storage, read_write> moment: array<u32>;     // (16): seed, step, 0, epoch, 0, 0, 0, the row

// begin: x[r,d] = data[order[batch * stride + r], d] / 255; moment = the clock's header with batch 0, then the batch's
// row.
@compute @workgroup_size(64)
fn begin(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < 16u {
        let word = min(select(i, i + 8u * clock[3], i >= 8u), arrayLength(&clock) - 1u);
        moment[i] = select(clock[word], 0u, i == 3u);
    }
    if i < params.B * params.D {
        let n = order[min(clock[3] * params.stride + i / params.D, arrayLength(&order) - 1u)];
        let byte = n * params.D + i % params.D;
        x[i] = f32((data[min(byte / 4u, arrayLength(&data) - 1u)] >> (8u * (byte % 4u))) & 0xffu) / 255.0;
    }
}
