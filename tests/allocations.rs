//! A training step on the CPU device allocates nothing once it has run a few times. The allocator that counts is the
//! whole process's, so this file holds one test.

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::instruments::subject::{REPLAYS, Subject};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Allocations of the whole process so far, those that only grew or shrank included.
fn allocations() -> usize {
    let counted = COUNTING.stats();
    counted.allocations + counted.reallocations
}

#[test]
fn a_step_allocates_nothing() {
    let before = allocations();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(allocations() == before + 1, "the allocator counts");
    for (name, batch) in [("mnist-mlp", 32), ("mnist-conv", 8)] {
        let subject = Subject::open(name, Some(batch)).unwrap();
        let mut backend = Device::Cpu(Cpu::Accelerated).backend();
        let step = subject.load(&mut backend).unwrap();
        let mut rounds = Vec::with_capacity(32);
        for _ in 0..32 {
            subject.write_inputs(&mut backend);
            let before = allocations();
            backend.run(&[(step, REPLAYS)]).unwrap();
            rounds.push(allocations() - before);
        }
        // Which thread takes which part changes from step to step, so that a thread may need its buffers for the first
        // time late, all of a kernel's in one round. And rayon keeps the work that is handed to its threads from
        // outside, one piece a step, in blocks of 63. So a round is counted, not what is in it: even an allocation in
        // every eighth step would be in each of them.
        let steady = &rounds[16..];
        let without = steady.iter().filter(|&&count| count == 0).count();
        assert!(2 * without > steady.len(), "{name}: {without} rounds of {REPLAYS} steps allocate nothing: {rounds:?}");
    }
}
