// The order of an epoch: a permutation of 0..N computed element by element, so nothing is sorted or uploaded.
// A Feistel network permutes the power of four above N; a value that falls outside is sent through again until it
// falls inside (cycle walking; Black & Rogaway, Ciphers with Arbitrary Finite Domains, 2002).

struct Params { N: u32, half_bits: u32, shuffled: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> clock: array<u32>;            // (8+8*batches): words 0,1: seed, 4: epoch
@group(0) @binding(2) var<storage, read_write> order: array<u32>;      // (N)

// Murmur3's finaliser: a good 32-bit mix.
fn scramble(value: u32) -> u32 {
    var h = value;
    h = (h ^ (h >> 16u)) * 0x85ebca6bu;
    h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
    return h ^ (h >> 16u);
}

fn permute(value: u32, keys: vec4<u32>) -> u32 {
    let mask = (1u << params.half_bits) - 1u;
    var left = value >> params.half_bits;
    var right = value & mask;
    for (var turn = 0u; turn < 8u; turn++) {
        let next = left ^ (scramble(right ^ keys[turn & 3u] ^ (turn * 0x9E3779B9u)) & mask);
        left = right;
        right = next;
    }
    return (left << params.half_bits) | right;
}

// forward: order[i] = the i-th of the epoch's permutation, or i itself unshuffled.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.N { return; }
    if params.shuffled == 0u {
        order[i] = i;
        return;
    }
    let keys = philox(vec4<u32>(clock[4], 0u, 0u, 0x5u), vec2<u32>(clock[0], clock[1]));
    var value = permute(i, keys);
    while value >= params.N { value = permute(value, keys); }
    order[i] = value;
}
