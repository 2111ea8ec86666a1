
// ANCHOR: philox
// The high 32 bits of a * b, from 16-bit halves: WGSL has no 64-bit integers.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu; let a1 = a >> 16u;
    let b0 = b & 0xffffu; let b1 = b >> 16u;
    let low = a0 * b0;
    let mid1 = a1 * b0 + (low >> 16u);
    let mid2 = a0 * b1 + (mid1 & 0xffffu);
    return a1 * b1 + (mid1 >> 16u) + (mid2 >> 16u);
}

// Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011): four random words from a
// counter and a key, the same on every device.
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var turn = 0u; turn < 10u; turn++) {
        c = vec4<u32>(
            multiply_high(0xCD9E8D57u, c.z) ^ c.y ^ k.x,
            0xCD9E8D57u * c.z,
            multiply_high(0xD2511F53u, c.x) ^ c.w ^ k.y,
            0xD2511F53u * c.x,
        );
        k = k + vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}
// ANCHOR_END: philox

// ANCHOR: normal
// A uniform number strictly inside (0, 1): 23 bits and half a step, so log never sees 0 or 1.
fn to_uniform(bits: u32) -> f32 {
    return (f32(bits >> 9u) + 0.5) * exp2(-23.0);
}

// Two normal numbers from two words (Box & Muller 1958). The angle is reduced by hand, since WGSL promises sin and cos
// only to 2^-11: quarter turns are exact, the rest of at most an eighth of a turn goes through a Taylor polynomial.
fn to_normal(a: u32, b: u32) -> vec2<f32> {
    let radius = sqrt(-2.0 * log(to_uniform(a)));
    let turn = to_uniform(b);
    let quarter = floor(4.0 * turn + 0.5);
    let t = (turn - 0.25 * quarter) * 6.283185307;
    let t2 = t * t;
    let s = t * (1.0 + t2 * (-1.0 / 6.0 + t2 * (1.0 / 120.0 + t2 * (-1.0 / 5040.0 + t2 / 362880.0))));
    let c = 1.0 + t2 * (-0.5 + t2 * (1.0 / 24.0 + t2 * (-1.0 / 720.0 + t2 / 40320.0)));
    switch u32(quarter) & 3u {
        case 0u: { return radius * vec2<f32>(c, s); }
        case 1u: { return radius * vec2<f32>(-s, c); }
        case 2u: { return radius * vec2<f32>(-c, -s); }
        default: { return radius * vec2<f32>(s, -c); }
    }
}
// ANCHOR_END: normal
