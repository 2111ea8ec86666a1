//! The decoder's last layer, binary cross-entropy and its backward to `matmul_bce.forward`: the logits are never
//! written.
//!
//! It asks that nothing else uses the logits, that the tally alone reads the loss, which gets another shape, and that
//! the three may run where the last of them does.

use super::steps::{Steps, same};
use crate::kernels::activation::Activation;
use crate::kernels::{bce, matmul, matmul_bce};

pub fn apply(steps: &mut Steps) -> Option<()> {
    let [backward] = *steps.all(&bce::BACKWARD) else { return None };
    let [logits, picture] = *steps.list[backward].reads else { return None };
    let loss = steps.only(&bce::LOSS, logits, |s| same(s.reads[0], logits) && same(s.reads[1], picture))?;
    let layer = steps.writer(&matmul::FORWARD, logits)?;
    let is_linear = steps.list[layer].param("activation") == Activation::Identity as u32;
    let gone = [layer, loss, backward];
    let (recon, dy) = (steps.list[loss].writes[0], steps.list[backward].writes[0]);
    let is_free = steps.makes_alone(loss, &[recon]) && steps.can_meet(&gone, backward);
    if !is_linear || !is_free || !steps.is_private(logits, &gone) || !steps.is_only_tallied(recon, &gone) {
        return None;
    }
    let scale = f32::from_bits(steps.list[backward].param("scale"));
    let [x, w, b] = *steps.list[layer].reads else { return None };
    let scope = steps.list[layer].scope.clone();
    let (parts, put) =
        steps.record(&scope, |r| matmul_bce::forward(r, [x, w, b], picture, dy.reshape(logits.shape()), scale))?;
    steps.replace(&gone, vec![(backward, put)]);
    steps.rewire(&[[recon, parts]]);
    Some(())
}
