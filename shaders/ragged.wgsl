// The batch's rows of a ragged column, dense: zeros, with a one for each item that the example has.
// Example n has the items number starts[n] to starts[n+1] - 1 of all, E in all, each below I.

struct Params { B: u32, I: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;           // (N+1)
@group(0) @binding(2) var<storage, read> items: array<u32>;            // (E)
@group(0) @binding(3) var<storage, read> order: array<u32>;            // (N), the epoch's order
@group(0) @binding(4) var<storage, read> clock: array<u32>;            // (8+8*batches): word 3 is the batch
@group(0) @binding(5) var<storage, read_write> y: array<f32>;          // (B,I)

// ANCHOR: forward
// forward: y[r,i] = 1 where example order[batch * stride + r] has item i, else 0. stride is the size of a full batch, B
// of this one. A workgroup owns a row: it writes zeros, waits, writes ones. Indices that are read from a buffer are
// held within the next one.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    for (var i = index; i < params.I; i += 64u) { y[group.x * params.I + i] = 0.0; }
    storageBarrier();
    let last = arrayLength(&starts) - 1u;
    let n = order[min(clock[3] * params.stride + group.x, arrayLength(&order) - 1u)];
    let end = min(starts[min(n + 1u, last)], arrayLength(&items));
    for (var e = starts[min(n, last)] + index; e < end; e += 64u) {
        let item = items[e];
        if item < params.I { y[group.x * params.I + item] = 1.0; }
    }
}
// ANCHOR_END: forward
