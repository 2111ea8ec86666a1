//! An activation's backward to the epilogue of the `matmul.backward_x` before it, where `linear` has not taken both.
//!
//! It asks that this one is the last to add to the gradient, that nothing else reads it, and that the activation's
//! backward may run there: its result then lies in the gradient's place, under either name.

use super::steps::{Steps, is, same};
use crate::kernels::activation::{self, Activation};
use crate::kernels::matmul;
use crate::program::Step;
use crate::tensor::Tensor;

/// A backward pass of an activation at the end of a product.
struct Joined {
    /// Places of the product and of the activation's backward.
    gone: [usize; 2],
    put: Vec<Step>,
    /// The activation's result, and the tensor it now lies in.
    renamed: [Tensor; 2],
}

pub fn apply(steps: &mut Steps) -> Option<()> {
    let slopes = steps.all(&activation::BACKWARD);
    let joined: Vec<Joined> = slopes.into_iter().filter_map(|slope| epilogue(steps, slope)).collect();
    let gone: Vec<usize> = joined.iter().flat_map(|joined| joined.gone).collect();
    let renamed: Vec<[Tensor; 2]> = joined.iter().map(|joined| joined.renamed).collect();
    steps.replace(&gone, joined.into_iter().map(|joined| (joined.gone[0], joined.put)).collect());
    steps.rewire(&renamed);
    Some(())
}

fn epilogue(steps: &mut Steps, slope: usize) -> Option<Joined> {
    let ([x, dx], dh) = (*steps.list[slope].reads.first_chunk()?, steps.list[slope].writes[0]);
    let activation = Activation::from_number(steps.list[slope].param("kind"));
    // Where several layers add their parts of dx up, the last of them.
    let backward_x = steps.users(dx).rev().find(|&i| i < slope)?;
    let step = &steps.list[backward_x];
    if !is(step, &matmul::BACKWARD_X) || step.param("activation") != 0 || !activation.saves_output() {
        return None;
    }
    let ([w, dy], sum) = (*step.reads.first_chunk()?, step.writes[0]);
    let (adds, scope) = (step.param("accumulate") != 0, step.scope.clone());
    let is_last = steps.users(dx).next_back() == Some(slope);
    let is_free = steps.can_meet(&[backward_x, slope], backward_x) && steps.writers(dh).next() == Some(slope);
    if !same(sum, dx) || !is_last || !is_free {
        return None;
    }
    let x = x.reshape(sum.shape());
    let (_, put) = steps.record(&scope, |r| matmul::backward_x_with_slope(r, [x, w, dy], sum, activation, adds))?;
    Some(Joined { gone: [backward_x, slope], put, renamed: [dh, dx.reshape(dh.shape())] })
}
