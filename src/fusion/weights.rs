//! What is left of the weights' gradients to `fused_weights.backward`, three layers a dispatch, at the end of the
//! backward pass: only the optimiser waits for them.
//!
//! It asks of each that no other step writes its gradients, which are assigned, that all are of the same rows, and that
//! nothing changes what they read on the way to the last. Those of a shared weight stay as they are.

use super::steps::{Steps, is};
use crate::kernels::fused_weights::{self, Gradients, MOST};
use crate::kernels::matmul;

pub fn apply(steps: &mut Steps) -> Option<()> {
    let mut found = steps.all(&matmul::BACKWARD_W);
    found.retain(|&i| steps.makes_alone(i, &steps.list[i].writes));
    if found.is_empty() {
        return None;
    }
    // Those of the latent rule are merged with them.
    found.extend(steps.all(&fused_weights::BACKWARD));
    found.sort();
    let last = *found.last()?;
    let layers: Vec<Gradients> = found
        .iter()
        .flat_map(|&i| {
            let step = &steps.list[i];
            if is(step, &fused_weights::BACKWARD) { fused_weights::layers(step) } else { single(step) }
        })
        .collect();
    let rows = layers[0].dy.shape()[0];
    let reads = found.iter().flat_map(|&i| &steps.list[i].reads);
    let is_of_rows = |t: &crate::tensor::Tensor| t.shape().len() == 2 && t.shape()[0] == rows;
    if !reads.into_iter().all(is_of_rows) || !steps.can_meet(&found, last) {
        return None;
    }
    let gradients = steps.gradients();
    let (_, put) = steps.record("gradients", |r| {
        for layers in layers.chunks(MOST) {
            fused_weights::backward(r, layers, gradients);
        }
    })?;
    steps.replace(&found, vec![(last, put)]);
    Some(())
}

fn single(step: &crate::program::Step) -> Vec<Gradients> {
    let to = [step.writes[0], step.writes[1]];
    vec![Gradients { x: step.reads[0], dy: step.reads[1], to: [to, to] }]
}
