// Buffers of latent.wgsl for any sizes and places: fours are read and stored word by word.

struct Params {
    B: u32, I: u32, Z: u32, O: u32,
    before: u32, after: u32,                             // activations: the one that left h, the first layer's
    site: u32,
    mean: u32, mean_b: u32, logvar: u32, logvar_b: u32,  // where (Z,I) and (Z) of the heads start, in words
    w: u32, b: u32,                                      // where (O,Z) and (O) of the first layer start
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<f32>;             // (B,I)
@group(0) @binding(2) var<storage, read> parameters: array<f32>;    // (words): all parameters, flat
@group(0) @binding(3) var<storage, read> clock: array<u32>;         // (8+4*batches): seed, step, KL weight
@group(0) @binding(4) var<storage, read_write> q: array<f32>;       // (B,2*Z): means, then logvars
@group(0) @binding(5) var<storage, read_write> z: array<f32>;       // (B,Z)
@group(0) @binding(6) var<storage, read_write> y: array<f32>;       // (B,O)
@group(0) @binding(7) var<storage, read_write> kl: array<f32>;      // (B), nats
@group(0) @binding(8) var<storage, read> dy: array<f32>;            // (B,O)
@group(0) @binding(9) var<storage, read> saved: array<f32>;         // (B,2*Z): q as the forward wrote it
@group(0) @binding(10) var<storage, read_write> dq: array<f32>;     // (B,2*Z)
@group(0) @binding(11) var<storage, read_write> dh: array<f32>;     // (B,I), before the activation

fn load_h(row: u32, k: u32) -> vec4<f32> {
    var four: vec4<f32>;
    for (var i = 0u; i < 4u && k + i < params.I; i++) { four[i] = h[row * params.I + k + i]; }
    return four;
}

fn load_weight(word: u32) -> f32 { return parameters[word]; }

// Four weights of a row that has `left` from there on, zeros past its end.
fn load_weights(word: u32, left: u32) -> vec4<f32> {
    var four: vec4<f32>;
    for (var i = 0u; i < min(left, 4u); i++) { four[i] = parameters[word + i]; }
    return four;
}

fn store_dh(row: u32, k: u32, sum: vec4<f32>) {
    for (var i = 0u; i < 4u && k + i < params.I; i++) {
        let at = row * params.I + k + i;
        dh[at] = sum[i] * activate_slope(params.before, h[at]);
    }
}
