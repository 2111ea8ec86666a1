// The buffers of fused_latent.wgsl that are read in fours, for any sizes and places: word by word.

@group(0) @binding(1) var<storage, read> h: array<f32>;             // (B,I)
@group(0) @binding(2) var<storage, read> parameters: array<f32>;    // (words): all parameters, flat
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
