
// Four neighbouring places of y in the rungs of the convolution: where they meet x, and how they are stored.
const NOWHERE = 0xffffffffu;

// The places of x, as indices into (B,H,W), that places n to n + 3 of y meet under a tap; NOWHERE outside the pictures.
fn places_under(n: u32, tap: u32) -> vec4<u32> {
    return vec4<u32>(place_under(n, tap), place_under(n + 1u, tap), place_under(n + 2u, tap), place_under(n + 3u, tap));
}

// Below 0 wraps to far above H.
fn place_under(n: u32, tap: u32) -> u32 {
    let picture = n / (params.P * params.Q);
    let h = n / params.Q % params.P * params.stride + tap / params.KW - params.padding;
    let c = n % params.Q * params.stride + tap % params.KW - params.padding;
    if picture >= params.B || h >= params.H || c >= params.W { return NOWHERE; }
    return (picture * params.H + h) * params.W + c;
}

// Channels o to o + 3 of place n, where they are there.
fn store(n: u32, o: u32, sum: vec4<f32>) {
    if n >= params.B * params.P * params.Q { return; }
    for (var j = 0u; j < 4u; j++) {
        if o + j < params.O { y[n * params.O + o + j] = sum[j]; }
    }
}
