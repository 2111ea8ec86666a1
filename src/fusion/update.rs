//! Adam, the tally of the losses and the tick of the clock to `fused_update.adam`, and the gather of the batch to
//! `fused_batch.begin`, whose moment every kernel in between reads in place of the clock: only so may the update move
//! it. The labels, which like the pictures are those of the clock's batch, keep to the clock; the moment's batch is 0.
//!
//! It asks that the losses are two terms, and that these may become views of one buffer: every step that uses one uses
//! all of it, and none reads one where it writes the other.

use super::steps::{Steps, is, same};
use crate::kernels::adam::{self, Adam};
use crate::kernels::fused_update::{self, Terms};
use crate::kernels::{clock, fused_batch, gather, one_hot};
use crate::program::Step;
use crate::tensor::Tensor;

pub fn apply(steps: &mut Steps) -> Option<()> {
    let [gather] = *steps.all(&gather::FORWARD) else { return None };
    let [adam] = *steps.all(&adam::FORWARD) else { return None };
    let [tally] = *steps.all(&clock::TALLY) else { return None };
    let [tick] = *steps.all(&clock::TICK) else { return None };
    let [data, order, clock] = *steps.list[gather].reads else { return None };
    let is_whole = steps.list[gather].param("first") == 0;
    let in_order = (0..gather).all(|i| !steps.list[i].reads.iter().any(|&t| same(t, clock)));
    if !is_whole || !in_order || adam + 2 != tick || tally + 1 != tick || tick + 1 != steps.list.len() {
        return None;
    }
    let ([recon, kl], losses) = (*steps.list[tally].reads.first_chunk()?, steps.list[tally].writes[0]);
    let of_terms = |t: &&Tensor| [recon, kl].iter().any(|term| term.buffer == t.buffer);
    let is_apart = |step: &Step| {
        let [reads, writes] = [&step.reads, &step.writes].map(|of| of.iter().filter(of_terms).collect::<Vec<_>>());
        let is_whole = |t: &&Tensor| same(**t, recon) || same(**t, kl);
        (reads.is_empty() || writes.is_empty()) && reads.iter().chain(&writes).all(is_whole)
    };
    if steps.list[tally].param("width") != 4 || same(recon, kl) || !steps.list.iter().all(is_apart) {
        return None;
    }
    let x = steps.list[gather].writes[0];
    let stride = steps.list[gather].param("stride") as usize;
    let step = &steps.list[adam];
    let real = |name| f32::from_bits(step.param(name));
    let settings = Adam {
        betas: [real("beta1"), real("beta2")],
        eps: real("eps"),
        weight_decay: real("weight_decay"),
        decoupled: step.param("decoupled") != 0,
    };
    let (gradients, state) = (step.reads[0], *step.writes.first_chunk()?);
    let rows = steps.list[tally].param("B") as usize;

    let scope = steps.list[gather].scope.clone();
    let (moment, begin) = steps.record(&scope, |r| fused_batch::begin(r, [data, order, clock], x, stride))?;
    let (terms, end) = steps.record("optimizer", |r| {
        let terms = Terms::new(r, recon.shape(), kl.shape());
        fused_update::adam(r, settings, [gradients, moment], &terms, rows, state, [losses, clock]);
        terms
    })?;
    steps.rewire(&[[recon, terms.recon], [kl, terms.kl]]);
    for step in steps.list[gather + 1..].iter_mut().filter(|step| !is(step, &one_hot::FORWARD)) {
        for read in &mut step.reads {
            if same(*read, clock) {
                *read = moment;
            }
        }
    }
    steps.replace(&[gather, adam, tally, tick], vec![(gather, begin), (tick, end)]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::{Device, cpu::Cpu};
    use crate::fusion::{Fusion, fuse};
    use crate::kernels::clock::Clock;
    use crate::kernels::{joint, reduce};
    use crate::program::Recorder;

    /// A step on three of seven pictures and their labels with these terms, taken twice as recorded and fused: both
    /// leave the same. Whether it was fused.
    fn is_fused(terms: fn(&mut Recorder, Tensor) -> Vec<Tensor>) -> bool {
        let mut arena = Arena::new();
        arena.parameter("p", &[5]);
        let [m, v] = ["m", "v"].map(|name| arena.tensor(name, arena.flat_parameters().shape()));
        let parts = gather::parts(&mut arena, "train", [7, 4], usize::MAX);
        let [labels, order] = [("labels", 2), ("order", 7)].map(|(name, len)| arena.tensor(name, &[len]));
        let clock = Clock::tensor(&mut arena, "clock", 3);
        let first = arena.buffers().len();
        let [p, grad] = [arena.flat_parameters(), arena.flat_gradients()];
        let mut r = Recorder::new(&mut arena);
        let x = gather::forward(&mut r, &parts, [order, clock], [3, 4], 3);
        let classes = one_hot::forward(&mut r, labels, [order, clock], [3, 7], 3);
        let terms = terms(&mut r, x);
        let losses = r.tensor("losses", &[3, terms.len() + 2]);
        let settings = Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1, decoupled: false };
        adam::forward(&mut r, settings, grad, clock, [p, m, v]);
        clock::tally(&mut r, 3, &terms, clock, losses);
        clock::tick(&mut r, clock);
        let recorded = r.finish("step");

        let mut fused_arena = arena.clone();
        let fused = fuse(&mut fused_arena, recorded.clone(), Fusion::Full, first);
        let run = |arena: &Arena, program| {
            let mut backend = Device::Cpu(Cpu::Reference).backend();
            let loaded = backend.load(arena, program).unwrap();
            backend.write_words(parts[0].data, &gather::pack(&(0..28).collect::<Vec<u8>>()));
            backend.write_words(labels, &gather::pack(&[0, 1, 2, 3, 4, 5, 6, 9]));
            backend.write_words(order, &[6, 5, 4, 3, 2, 1, 0]);
            backend.write_words(clock, &Clock { batch: 0, ..Clock::example() }.words());
            backend.write(p, &vec![1.0; p.len()]);
            backend.run(&[(loaded, 2)]).unwrap();
            backend.read(&[p, classes, losses, clock]).unwrap()
        };
        let want = run(&arena, &recorded);
        let labels: Vec<_> = (0..21).filter(|&i| want[1][i] == 1.0).collect();
        assert_eq!(labels, [3, 7 + 2, 14 + 1], "the second batch");
        let bits = |values: Vec<Vec<f32>>| values.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(run(&fused_arena, &fused)), bits(want));
        fused.steps.iter().any(|step| is(step, &fused_update::ADAM))
    }

    #[test]
    fn two_terms_apart_are_fused_and_labels_stay_those_of_the_batch() {
        assert!(is_fused(|r, x| vec![reduce::rows(r, x), reduce::columns(r, x)]));
    }

    #[test]
    fn other_terms_are_left_alone() {
        assert!(!is_fused(|r, x| vec![reduce::rows(r, x)]), "one");
        assert!(!is_fused(|r, x| vec![reduce::rows(r, x), reduce::columns(r, x), reduce::whole(r, x)]), "three");
        assert!(!is_fused(|r, x| [reduce::rows(r, x); 2].into()), "the same twice");
        let one_of_the_other = |r: &mut Recorder, x| {
            let rows = reduce::rows(r, x);
            vec![rows, joint::scale(r, rows, 2.0)]
        };
        assert!(!is_fused(one_of_the_other), "one of the other");
        let read_in_part = |r: &mut Recorder, x| {
            let rows = reduce::rows(r, x);
            let first = joint::scale(r, Tensor::new(rows.buffer, rows.offset, &[1]), 2.0);
            vec![rows, reduce::columns(r, first.reshape(&[1, 1]))]
        };
        assert!(!is_fused(read_in_part), "read in part");
    }
}
