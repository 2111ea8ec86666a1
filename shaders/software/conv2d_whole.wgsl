
// Buffers of the outputs for software/conv2d.wgsl where O/G is a multiple of 4: four channels are one load. It goes with
// conv2d_scalar.wgsl.

@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;         // (B,P,Q,O/4)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;    // (B,P,Q,O/4)

fn load_dy(i: u32, left: u32) -> vec4<f32> { return dy[i / 4u]; }
fn store_y(i: u32, left: u32, four: vec4<f32>) { y[i / 4u] = four; }
