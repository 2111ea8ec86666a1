// Buffers of latent.wgsl where I, Z and the places of the weights are multiples of 4: a four is one load of 16 bytes.

struct Params {
    B: u32, I: u32, Z: u32, O: u32,
    before: u32, after: u32,                             // activations: the one that left h, the first layer's
    site: u32,
    mean: u32, mean_b: u32, logvar: u32, logvar_b: u32,  // where (Z,I) and (Z) of the heads start, in words
    w: u32, b: u32,                                      // where (O,Z) and (O) of the first layer start
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<vec4<f32>>;             // (B,I/4)
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;    // (words/4): all parameters, flat
@group(0) @binding(3) var<storage, read> clock: array<u32>;         // (8+4*batches): seed, step, KL weight
@group(0) @binding(4) var<storage, read_write> q: array<f32>;       // (B,2*Z): means, then logvars
@group(0) @binding(5) var<storage, read_write> z: array<f32>;       // (B,Z)
@group(0) @binding(6) var<storage, read_write> y: array<f32>;       // (B,O)
@group(0) @binding(7) var<storage, read_write> kl: array<f32>;      // (B), nats
@group(0) @binding(8) var<storage, read> dy: array<f32>;            // (B,O)
@group(0) @binding(9) var<storage, read> saved: array<f32>;         // (B,2*Z): q as the forward wrote it
@group(0) @binding(10) var<storage, read_write> dq: array<f32>;     // (B,2*Z)
@group(0) @binding(11) var<storage, read_write> dh: array<vec4<f32>>;     // (B,I/4), before the activation

fn load_h(row: u32, k: u32) -> vec4<f32> { return h[(row * params.I + k) / 4u]; }

fn load_weight(word: u32) -> f32 { return parameters[word / 4u][word % 4u]; }

// Four weights of a row that has `left` from there on.
fn load_weights(word: u32, left: u32) -> vec4<f32> { return parameters[word / 4u]; }

fn store_dh(row: u32, k: u32, sum: vec4<f32>) {
    let i = (row * params.I + k) / 4u;
    dh[i] = sum * activate_slope4(params.before, h[i]);
}
