
// The clock: words 0,1 seed; 2 step since the start of training; 3 batch of this epoch; 4 epoch; from word 8 on, a row
// of four f32 for each batch: lr, kl_weight, 1 - beta1^t, sqrt(1 - beta2^t). See src/kernels/clock.rs.
fn clock_row(column: u32) -> f32 {
    return bitcast<f32>(clock[8u + 4u * clock[3] + column]);
}
