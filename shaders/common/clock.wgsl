
// The clock: words 0,1 seed; 2 step since the start of training; 3 batch of this epoch; 4 epoch; from word 8 on, a row
// of eight f32 for each batch: lr, kl_weight, 1 - beta1^t, sqrt(1 - beta2^t), four knobs. See src/kernels/clock.rs.
// The batch is read from a buffer, and shaders run without wgpu's checks: a batch that has no row reads the last word.
fn clock_row(column: u32) -> f32 {
    return bitcast<f32>(clock[min(8u + 8u * clock[3] + column, arrayLength(&clock) - 1u)]);
}
