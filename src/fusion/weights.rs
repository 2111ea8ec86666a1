//! What is left of the weights' gradients to `weights.backward`, three layers a dispatch, at the end of the backward pass:
//! only the optimiser waits for them.

use super::steps::{Steps, is};
use crate::kernels::weights::{self, Gradients, MOST};
use crate::kernels::{fill, matmul};

pub fn apply(steps: &mut Steps) -> Option<()> {
    let mut found = steps.all(&matmul::BACKWARD_W);
    found.extend(steps.all(&weights::BACKWARD));
    found.sort();
    // Done where nothing is left to merge, or all that is left is merged already.
    let merged = found.len().div_ceil(MOST).max(1);
    if found.is_empty() || (steps.all(&matmul::BACKWARD_W).is_empty() && found.len() <= merged) {
        return None;
    }
    let last = *found.last()?;
    let layers: Vec<Gradients> = found
        .iter()
        .flat_map(|&i| {
            let step = &steps.list[i];
            if is(step, &weights::BACKWARD) { weights::layers(step) } else { single(step) }
        })
        .collect();
    let rows = layers[0].x.matrix()[0];
    for (&i, step) in found.iter().zip(found.iter().map(|&i| &steps.list[i])) {
        let moved = step.reads.iter().any(|&t| steps.is_written_between(t, [i, last]));
        if moved || step.reads.iter().any(|t| t.shape()[0] != rows || t.shape().len() != 2) {
            return None;
        }
    }
    let alone = |l: &Gradients| {
        let writers = steps.list.iter().enumerate().filter(|(i, s)| {
            !found.contains(i)
                && !is(s, &fill::FORWARD)
                && s.writes.iter().any(|t| *t == l.to[0][0] || *t == l.to[1][0])
        });
        writers.count() == 0
    };
    if !layers.iter().all(alone) {
        return None;
    }
    let gradients = steps.gradients();
    let (_, put) = steps.record("gradients", |r| {
        for layers in layers.chunks(MOST) {
            weights::backward(r, layers, gradients);
        }
    })?;
    steps.replace(&found, vec![(last, put)]);
    None
}

fn single(step: &crate::program::Step) -> Vec<Gradients> {
    let to = [step.writes[0], step.writes[1]];
    vec![Gradients { x: step.reads[0], dy: step.reads[1], to: [to, to] }]
}
