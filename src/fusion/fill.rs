//! Gradients that one dispatch alone makes are assigned; where all are, no dispatch has to clear them first. A gradient
//! that several dispatches add to, as that of a shared weight, is cleared as before.

use super::steps::{Steps, is, same};
use crate::kernels::{clip, fill, fused_linear, fused_weights, matmul};
use crate::program::Step;

pub fn apply(steps: &mut Steps) -> Option<()> {
    let gradients = steps.gradients();
    let accumulate =
        matmul::BACKWARD_W.params.iter().position(|field| *field == "accumulate").expect("it has this field");
    for i in steps.all(&matmul::BACKWARD_W) {
        if steps.makes_alone(i, &steps.list[i].writes) {
            steps.list[i].params[accumulate] = 0;
        }
    }
    let [fill] = *steps.all(&fill::FORWARD) else { return None };
    let writes = |step: &Step| step.writes.iter().any(|t| t.buffer == gradients.buffer);
    let assigns = |step: &Step| {
        is(step, &fused_linear::BACKWARD)
            || is(step, &fused_weights::BACKWARD)
            || is(step, &clip::FORWARD)
            || (is(step, &matmul::BACKWARD_W) && step.param("accumulate") == 0)
    };
    let others = steps.list.iter().enumerate().filter(|&(i, _)| i != fill).map(|(_, step)| step);
    if same(steps.list[fill].writes[0], gradients) && others.filter(|step| writes(step)).all(assigns) {
        steps.replace(&[fill], vec![]);
    }
    Some(())
}
