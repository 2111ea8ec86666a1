//! Adam, the tally of the losses and the tick of the clock to `update.adam`, and the gather of the batch to `batch.begin`,
//! whose moment every kernel in between reads in place of the clock: only so may the update move it.

use super::steps::{Steps, param, same};
use crate::kernels::adam::{self, Adam};
use crate::kernels::update::{self, Terms};
use crate::kernels::{batch, clock, gather};

pub fn apply(steps: &mut Steps) -> Option<()> {
    let [gather] = *steps.all(&gather::FORWARD) else { return None };
    let [adam] = *steps.all(&adam::FORWARD) else { return None };
    let [tally] = *steps.all(&clock::TALLY) else { return None };
    let [tick] = *steps.all(&clock::TICK) else { return None };
    let [data, order, clock] = *steps.list[gather].reads else { return None };
    let is_whole = param(&steps.list[gather], "first") == 0;
    let in_order = (0..gather).all(|i| !steps.list[i].reads.iter().any(|&t| same(t, clock)));
    if !is_whole || !in_order || adam + 2 != tick || tally + 1 != tick || tick + 1 != steps.list.len() {
        return None;
    }
    let x = steps.list[gather].writes[0];
    let stride = param(&steps.list[gather], "stride") as usize;
    let step = &steps.list[adam];
    let real = |name| f32::from_bits(param(step, name));
    let settings = Adam {
        betas: [real("beta1"), real("beta2")],
        eps: real("eps"),
        weight_decay: real("weight_decay"),
        decoupled: param(step, "decoupled") != 0,
    };
    let (gradients, state) = (step.reads[0], *step.writes.first_chunk()?);
    let ([recon, kl], losses) = (*steps.list[tally].reads.first_chunk()?, steps.list[tally].writes[0]);
    let rows = param(&steps.list[tally], "B") as usize;

    let scope = steps.list[gather].scope.clone();
    let (moment, begin) = steps.record(&scope, |r| batch::begin(r, [data, order, clock], x, stride))?;
    let (terms, end) = steps.record("optimizer", |r| {
        let terms = Terms::new(r, recon.shape(), kl.shape());
        update::adam(r, settings, [gradients, moment], &terms, rows, state, [losses, clock]);
        terms
    })?;
    steps.rewire(recon, terms.recon);
    steps.rewire(kl, terms.kl);
    for step in &mut steps.list[gather + 1..] {
        for read in &mut step.reads {
            if same(*read, clock) {
                *read = moment;
            }
        }
    }
    steps.replace(&[gather, adam, tally, tick], vec![(gather, begin), (tick, end)]);
    Some(())
}
