// The order of an epoch: a permutation of 0..N computed element by element, so nothing is sorted or uploaded.
// A Feistel network permutes the power of four above N; a value that falls outside is sent through again until it
// falls inside (cycle walking; Black & Rogaway, Ciphers with Arbitrary Finite Domains, 2002).

// N is the length of the order; buckets has `rows` of a full batch.
struct Params { N: u32, rows: u32, shuffled: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> clock: array<u32>;            // (8+8*batches): words 0,1: seed, 4: epoch
@group(0) @binding(2) var<storage, read> slots: array<u32>;            // (S,3): see buckets
@group(0) @binding(3) var<storage, read_write> order: array<u32>;      // (N)

// Murmur3's finaliser: a good 32-bit mix.
fn scramble(value: u32) -> u32 {
    var h = value;
    h = (h ^ (h >> 16u)) * 0x85ebca6bu;
    h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
    return h ^ (h >> 16u);
}

fn permute(value: u32, half_bits: u32, keys: vec4<u32>) -> u32 {
    let mask = (1u << half_bits) - 1u;
    var left = value >> half_bits;
    var right = value & mask;
    for (var turn = 0u; turn < 8u; turn++) {
        let next = left ^ (scramble(right ^ keys[turn & 3u] ^ (turn * 0x9E3779B9u)) & mask);
        left = right;
        right = next;
    }
    return (left << half_bits) | right;
}

// Where the permutation of 0..n puts a value. It permutes 0..4^half_bits, the least power of four that is at least n.
fn walk(start: u32, n: u32, keys: vec4<u32>) -> u32 {
    var half_bits = 1u;
    while (1u << (2u * half_bits)) < n { half_bits++; }
    var value = permute(start, half_bits, keys);
    while value >= n { value = permute(value, half_bits, keys); }
    return value;
}

// The permutation's keys, of the bucket that begins at example `first`.
fn keys(first: u32) -> vec4<u32> {
    return philox(vec4<u32>(clock[4], first, 0u, 0x5u), vec2<u32>(clock[0], clock[1]));
}

// forward: order[i] = the i-th of the epoch's permutation, or i itself unshuffled.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.N { return; }
    order[i] = i;
    if params.shuffled != 0u { order[i] = walk(i, params.N, keys(0u)); }
}

// buckets: the order where batches are of examples alike, sentences of one length for instance. A slot is the place of a
// batch: the first example of its bucket, how many that has, and which of the bucket's batches it is. Each bucket is
// shuffled by itself; places of a batch that is not full are left at 0.
@compute @workgroup_size(64)
fn buckets(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.N { return; }
    let slot = 3u * (i / params.rows);
    let first = slots[slot];
    let count = slots[slot + 1u];
    var value = slots[slot + 2u] * params.rows + i % params.rows;
    if value >= count {
        order[i] = 0u;
        return;
    }
    if params.shuffled != 0u { value = walk(value, count, keys(first)); }
    order[i] = first + value;
}
