//! A linear layer's backward, and that of the activation in front of it, to `fused_linear.backward`.
//!
//! It asks that the layer alone makes the gradients of its weight and bias and of its input, since it assigns them;
//! that only the activation's backward reads the latter; and that the three may run where the last of them does.

use super::steps::{Steps, same};
use crate::kernels::activation::{self, Activation};
use crate::kernels::{fused_linear, matmul};

pub fn apply(steps: &mut Steps) -> Option<()> {
    // Places change with every layer that is replaced.
    while steps.all(&matmul::BACKWARD_X).into_iter().find_map(|backward_x| layer(steps, backward_x)).is_some() {}
    Some(())
}

fn layer(steps: &mut Steps, backward_x: usize) -> Option<()> {
    let step = &steps.list[backward_x];
    let ([w, dy], dx) = (*step.reads.first_chunk()?, step.writes[0]);
    if step.param("accumulate") != 0 {
        return None;
    }
    let backward_w = steps.only(&matmul::BACKWARD_W, dy, |s| same(s.reads[1], dy))?;
    let (x, [dw, db]) = (steps.list[backward_w].reads[0], *steps.list[backward_w].writes.first_chunk()?);
    let slope = steps.only(&activation::BACKWARD, dx, |s| same(s.reads[0], x) && same(s.reads[1], dx))?;
    let activation = Activation::from_number(steps.list[slope].param("kind"));
    let gone = [backward_w, backward_x, slope];
    let is_alone = steps.makes_alone(backward_w, &[dw, db]) && steps.makes_alone(backward_x, &[dx]);
    if !activation.saves_output() || !is_alone || !steps.is_private(dx, &gone) || !steps.can_meet(&gone, slope) {
        return None;
    }
    let dh = steps.list[slope].writes[0].reshape(x.shape());
    let scope = steps.list[backward_x].scope.clone();
    let (_, put) = steps.record(&scope, |r| fused_linear::backward_to(r, [x, w, dy], [dh, dw, db], activation))?;
    steps.replace(&gone, vec![(slope, put)]);
    Some(())
}
