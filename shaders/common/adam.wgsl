
// Adam's update of element i (adam.wgsl): correction1 is 1 - beta1^t, correction2_sqrt the root of 1 - beta2^t.
fn update(i: u32, lr: f32, correction1: f32, correction2_sqrt: f32) {
    if i >= params.N { return; }
    var value = p[i];
    var g = grad[i];
    if params.decoupled != 0u { value *= 1.0 - lr * params.weight_decay; } else { g += params.weight_decay * value; }
    let mean = m[i] + (1.0 - params.beta1) * (g - m[i]);
    let square = params.beta2 * v[i] + (1.0 - params.beta2) * g * g;
    m[i] = mean;
    v[i] = square;
    p[i] = value - lr / correction1 * mean / (sqrt(square) / correction2_sqrt + params.eps);
}
