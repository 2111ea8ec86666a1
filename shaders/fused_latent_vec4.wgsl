// The buffers of fused_latent.wgsl that are read in fours, where I, Z and the places of the weights are multiples of 4:
// a four is one load of 16 bytes.

@group(0) @binding(1) var<storage, read> h: array<vec4<f32>>;             // (B,I/4)
@group(0) @binding(2) var<storage, read> parameters: array<vec4<f32>>;    // (words/4): all parameters, flat
@group(0) @binding(11) var<storage, read_write> dh: array<vec4<f32>>;     // (B,I/4), before the activation

fn load_h(row: u32, k: u32) -> vec4<f32> { return h[(row * params.I + k) / 4u]; }

fn load_weight(word: u32) -> f32 { return parameters[word / 4u][word % 4u]; }

// Four weights of a row that has `left` from there on.
fn load_weights(word: u32, left: u32) -> vec4<f32> { return parameters[word / 4u]; }

fn store_dh(row: u32, k: u32, sum: vec4<f32>) {
    let i = (row * params.I + k) / 4u;
    dh[i] = sum * activate_slope4(params.before, h[i]);
}
