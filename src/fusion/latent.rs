//! A VAE's middle to `fused_latent.forward` and `fused_latent.backward`: heads, noise, reparameterise, KL, the
//! decoder's first layer.
//!
//! It asks that each of its layers alone makes the gradients of its weight and bias, which are assigned; that nothing
//! else uses what lies between them; that the tally alone reads the KL, which gets another shape; and that the forward
//! steps may run where the decoder's first layer does, the backward steps where the last of them does.

use super::steps::{Steps, is, same};
use crate::kernels::activation::{self, Activation};
use crate::kernels::fused_latent::{self, LARGEST, Middle};
use crate::kernels::fused_weights::{self, Gradients};
use crate::kernels::{gaussian_kl, joint, matmul, random, reparameterise};
use crate::tensor::Tensor;

/// The two heads: one linear layer each, or one of both whose output is split.
struct Heads {
    /// What they read, (B,I).
    h: Tensor,
    /// Weight and bias of each; of one layer the halves.
    parameters: [[Tensor; 2]; 2],
    /// The gradients of these.
    gradients: [[Tensor; 2]; 2],
    /// The gradient of h.
    dh: Tensor,
    forward: Vec<usize>,
    backward: Vec<usize>,
    /// Tensors that only these steps use.
    between: Vec<Tensor>,
}

pub fn apply(steps: &mut Steps) -> Option<()> {
    let [sample] = *steps.all(&reparameterise::FORWARD) else { return None };
    let [mean, logvar, noise] = *steps.list[sample].reads else { return None };
    let z = steps.list[sample].writes[0];
    let normal = steps.writer(&random::NORMAL, noise)?;
    let kl = steps.only(&gaussian_kl::LOSS, mean, |s| same(s.reads[0], mean) && same(s.reads[1], logvar))?;
    let layer = steps.only(&matmul::FORWARD, z, |s| same(s.reads[0], z))?;
    let kl_backward =
        steps.only(&gaussian_kl::BACKWARD, mean, |s| same(s.reads[0], mean) && same(s.reads[1], logvar))?;
    let sample_backward = steps.only(&reparameterise::BACKWARD, noise, |s| same(s.reads[1], noise))?;
    let [dmean, dlogvar] = *steps.list[kl_backward].writes else { return None };
    let dz = steps.list[sample_backward].reads[2];
    let layer_backward_x = steps.writer(&matmul::BACKWARD_X, dz)?;
    let layer_backward_w = steps.only(&matmul::BACKWARD_W, z, |s| same(s.reads[0], z))?;
    let heads =
        split(steps, [mean, logvar], [dmean, dlogvar]).or_else(|| joined(steps, [mean, logvar], [dmean, dlogvar]))?;

    let [clock, kl_clock] = [steps.list[normal].reads[0], steps.list[kl_backward].reads[3]];
    let [layer_w, layer_b] = [steps.list[layer].reads[1], steps.list[layer].reads[2]];
    let after = Activation::from_number(steps.list[layer].param("activation"));
    let free = [kl, kl_backward].map(|i| f32::from_bits(steps.list[i].param("free")));
    let latent = z.matrix()[1];
    if latent > LARGEST || free != [0.0, 0.0] || !same(clock, kl_clock) || !after.saves_output() {
        return None;
    }
    // The activation that left h, whose backward follows; where there is none, dh is what the heads leave.
    let slope =
        steps.only(&activation::BACKWARD, heads.dh, |s| same(s.reads[0], heads.h) && same(s.reads[1], heads.dh));
    let before = slope.map_or(Activation::Identity, |i| Activation::from_number(steps.list[i].param("kind")));
    if !before.saves_output() {
        return None;
    }
    let dh = slope.map_or(heads.dh, |i| steps.list[i].writes[0]);

    let mut gone = vec![normal, sample, kl, layer];
    gone.extend(&heads.forward);
    if !steps.can_meet(&gone, layer) {
        return None;
    }
    let mut gone_backward = vec![kl_backward, layer_backward_w, layer_backward_x, sample_backward];
    gone_backward.extend(&heads.backward);
    gone_backward.extend(slope);
    let last = *gone_backward.iter().max()?;
    let makes = |&i: &usize| !is(&steps.list[i], &matmul::BACKWARD_W) || steps.makes_alone(i, &steps.list[i].writes);
    if !steps.can_meet(&gone_backward, last) || !gone_backward.iter().all(makes) {
        return None;
    }
    gone.extend(&gone_backward);
    let between = heads.between.iter().chain([&mean, &logvar, &noise, &dmean, &dlogvar, &dz]);
    let unmasked = slope.map(|_| heads.dh);
    let old_kl = steps.list[kl].writes[0];
    let is_tallied = steps.makes_alone(kl, &[old_kl]) && steps.is_only_tallied(old_kl, &gone);
    if !is_tallied || !between.chain([&z]).chain(&unmasked).all(|&t| steps.is_private(t, &gone)) {
        return None;
    }

    let middle = Middle {
        mean: heads.parameters[0],
        logvar: heads.parameters[1],
        layer: [layer_w, layer_b],
        before,
        after,
        site: steps.list[normal].param("site"),
        scale: f32::from_bits(steps.list[kl_backward].param("scale")),
    };
    let (y, dy) = (steps.list[layer].writes[0], steps.list[layer_backward_w].reads[1]);
    let [layer_dw, layer_db] = *steps.list[layer_backward_w].writes else { return None };
    let (parameters, gradients) = (steps.parameters(), steps.gradients());
    let ([q, kl], forward) =
        steps.record("latent", |r| fused_latent::forward(r, &middle, [heads.h, parameters, clock], [z, y]))?;
    let (_, backward) = steps.record("latent", |r| {
        let dq = fused_latent::backward(r, &middle, [dy, q], [heads.h, parameters, clock], dh.reshape(heads.h.shape()));
        let of_heads = Gradients { x: heads.h, dy: dq, to: heads.gradients };
        let of_layer = Gradients { x: z, dy, to: [[layer_dw, layer_db]; 2] };
        fused_weights::backward(r, &[of_heads, of_layer], gradients);
    })?;
    steps.replace(&gone, vec![(layer, forward), (last, backward)]);
    steps.rewire(&[[old_kl, kl]]);
    Some(())
}

fn is_linear(steps: &Steps, i: usize) -> bool {
    steps.list[i].param("activation") == Activation::Identity as u32
}

/// One layer for the mean and one for the logvar, both of h; the first assigns dh, the second adds to it.
fn split(steps: &Steps, q: [Tensor; 2], dq: [Tensor; 2]) -> Option<Heads> {
    let [m, v] = [steps.writer(&matmul::FORWARD, q[0])?, steps.writer(&matmul::FORWARD, q[1])?];
    let reads = |i: usize| <[Tensor; 3]>::try_from(steps.list[i].reads.as_slice()).ok();
    let ([h, w_mean, b_mean], [h_too, w_logvar, b_logvar]) = (reads(m)?, reads(v)?);
    let backward_w = |dy| steps.only(&matmul::BACKWARD_W, dy, |s| same(s.reads[1], dy));
    let backward_x = |dy| steps.only(&matmul::BACKWARD_X, dy, |s| same(s.reads[1], dy));
    let [mw, vw] = [backward_w(dq[0])?, backward_w(dq[1])?];
    let [mx, vx] = [backward_x(dq[0])?, backward_x(dq[1])?];
    let dh = steps.list[mx].writes[0];
    let adds = [mx, vx].map(|i| steps.list[i].param("accumulate"));
    let fits = same(h, h_too) && same(dh, steps.list[vx].writes[0]) && adds == [0, 1] && mx < vx;
    if !fits || !is_linear(steps, m) || !is_linear(steps, v) {
        return None;
    }
    let writes = |i: usize| <[Tensor; 2]>::try_from(steps.list[i].writes.as_slice()).ok();
    Some(Heads {
        h,
        parameters: [[w_mean, b_mean], [w_logvar, b_logvar]],
        gradients: [writes(mw)?, writes(vw)?],
        dh,
        forward: vec![m, v],
        backward: vec![mw, vw, mx, vx],
        between: vec![],
    })
}

/// One layer of twice the width, whose output is split.
fn joined(steps: &Steps, [mean, logvar]: [Tensor; 2], [dmean, dlogvar]: [Tensor; 2]) -> Option<Heads> {
    let split = steps.only(&joint::SPLIT, mean, |s| same(s.writes[0], mean) && same(s.writes[1], logvar))?;
    let both = steps.list[split].reads[0];
    let layer = steps.writer(&matmul::FORWARD, both)?;
    let [h, w, b] = *steps.list[layer].reads else { return None };
    let concat = steps.only(&joint::CONCAT, dmean, |s| same(s.reads[0], dmean) && same(s.reads[1], dlogvar))?;
    let dboth = steps.list[concat].writes[0];
    let backward_w = steps.only(&matmul::BACKWARD_W, dboth, |s| same(s.reads[1], dboth))?;
    let backward_x = steps.only(&matmul::BACKWARD_X, dboth, |s| same(s.reads[1], dboth))?;
    if !is_linear(steps, layer) || steps.list[backward_x].param("accumulate") != 0 {
        return None;
    }
    let [dw, db] = *steps.list[backward_w].writes else { return None };
    Some(Heads {
        h,
        parameters: halves([w, b]),
        gradients: halves([dw, db]),
        dh: steps.list[backward_x].writes[0],
        forward: vec![split, layer],
        backward: vec![concat, backward_w, backward_x],
        between: vec![both, dboth],
    })
}

/// The parameters (2Z,I) and (2Z) of one layer as those of two.
fn halves([w, b]: [Tensor; 2]) -> [[Tensor; 2]; 2] {
    let [outputs, inputs] = w.matrix();
    let z = outputs / 2;
    [0, 1].map(|half| {
        let w = Tensor::new(w.buffer, w.offset + half * z * inputs, &[z, inputs]);
        [w, Tensor::new(b.buffer, b.offset + half * z, &[z])]
    })
}
