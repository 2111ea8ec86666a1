// software/conv2d.wgsl for any number of channels.

const LEFT = 4u;
const RIGHT = 4u;
const WHOLE_ROWS = false;

@group(0) @binding(4) var<storage, read> dy: array<f32>;         // (B,P,Q,O)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;    // (B,P,Q,O)

fn load_dy(i: u32, left: u32) -> vec4<f32> {
    return there(vec4<f32>(dy[i], dy[at(i, 1u, left)], dy[at(i, 2u, left)], dy[at(i, 3u, left)]), left);
}

fn store_y(i: u32, left: u32, four: vec4<f32>) {
    y[i] = four.x;
    if left > 1u { y[i + 1u] = four.y; }
    if left > 2u { y[i + 2u] = four.z; }
    if left > 3u { y[i + 3u] = four.w; }
}
