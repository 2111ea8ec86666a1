//! An activation's backward to the epilogue of the `matmul.backward_x` before it, where `linear` has not taken both.
//!
//! It asks that this one is the last to add to the gradient, that nothing else reads it, and that the activation's
//! backward may run there: its result then lies in the gradient's place, under either name.

use super::steps::{Steps, is, param, same};
use crate::kernels::activation::{self, Activation};
use crate::kernels::matmul;

pub fn apply(steps: &mut Steps) -> Option<()> {
    // Places change with every one that is replaced.
    while steps.all(&activation::BACKWARD).into_iter().find_map(|slope| epilogue(steps, slope)).is_some() {}
    Some(())
}

fn epilogue(steps: &mut Steps, slope: usize) -> Option<()> {
    let ([x, dx], dh) = (*steps.list[slope].reads.first_chunk()?, steps.list[slope].writes[0]);
    let activation = Activation::from_number(param(&steps.list[slope], "kind"));
    let uses_dx = |i: usize| steps.list[i].reads.iter().chain(&steps.list[i].writes).any(|t| t.buffer == dx.buffer);
    // Where several layers add their parts of dx up, the last of them.
    let backward_x = (0..slope).rev().find(|&i| uses_dx(i))?;
    let step = &steps.list[backward_x];
    let is_last = !(slope + 1..steps.list.len()).any(uses_dx);
    let is_free = steps.can_meet(&[backward_x, slope], backward_x) && steps.writers(dh).first() == Some(&slope);
    if !is(step, &matmul::BACKWARD_X)
        || param(step, "activation") != 0
        || !activation.saves_output()
        || !is_last
        || !is_free
    {
        return None;
    }
    let ([w, dy], sum) = (*step.reads.first_chunk()?, step.writes[0]);
    let (adds, scope) = (param(step, "accumulate") != 0, step.scope.clone());
    if !same(sum, dx) {
        return None;
    }
    let x = x.reshape(sum.shape());
    let (_, put) = steps.record(&scope, |r| matmul::backward_x_with_slope(r, [x, w, dy], sum, activation, adds))?;
    steps.replace(&[backward_x, slope], vec![(backward_x, put)]);
    steps.rewire(dh, dx.reshape(dh.shape()));
    Some(())
}
