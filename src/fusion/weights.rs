//! What is left of the weights' gradients to `weights.backward`, three layers a dispatch, at the end of the backward pass:
//! only the optimiser waits for them.

use super::steps::{Steps, is};
use crate::kernels::weights::{self, Gradients, MOST};
use crate::kernels::{fill, matmul};

pub fn apply(steps: &mut Steps) -> Option<()> {
    let mut found = steps.all(&matmul::BACKWARD_W);
    if found.is_empty() {
        return None;
    }
    // Those of the latent rule are merged with them.
    found.extend(steps.all(&weights::BACKWARD));
    found.sort();
    let last = *found.last()?;
    let layers: Vec<Gradients> = found
        .iter()
        .flat_map(|&i| {
            let step = &steps.list[i];
            if is(step, &weights::BACKWARD) { weights::layers(step) } else { single(step) }
        })
        .collect();
    let rows = layers[0].x.matrix()[0];
    for &i in &found {
        let reads = &steps.list[i].reads;
        if reads.iter().any(|&t| steps.is_written_between(t, [i, last]) || t.shape().len() != 2 || t.shape()[0] != rows)
        {
            return None;
        }
    }
    let is_shared = |l: &Gradients| {
        let others = steps.list.iter().enumerate().filter(|(i, s)| !found.contains(i) && !is(s, &fill::FORWARD));
        others.into_iter().any(|(_, s)| l.to.iter().any(|[dw, _]| s.writes.contains(dw)))
    };
    if layers.iter().any(is_shared) {
        return None;
    }
    let gradients = steps.gradients();
    let (_, put) = steps.record("gradients", |r| {
        for layers in layers.chunks(MOST) {
            weights::backward(r, layers, gradients);
        }
    })?;
    steps.replace(&found, vec![(last, put)]);
    Some(())
}

fn single(step: &crate::program::Step) -> Vec<Gradients> {
    let to = [step.writes[0], step.writes[1]];
    vec![Gradients { x: step.reads[0], dy: step.reads[1], to: [to, to] }]
}
