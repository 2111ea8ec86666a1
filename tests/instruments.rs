//! The instruments, on every device.

mod common;

use elbo::backend::gpu::Options;
use elbo::instruments::ladder::{Verdict, climb};
use elbo::instruments::peak::Peak;
use elbo::instruments::subject::Subject;
use elbo::kernels::ladder;

/// Timing a step is running it: the same parameters come out, and every dispatch has its time.
#[test]
fn a_timed_step_is_a_step() {
    let subject = Subject::open("mnist-mlp", Some(4)).unwrap();
    let parameters = subject.arena.flat_parameters();
    for (name, device) in common::devices() {
        let mut backend = device.backend();
        let step = subject.load(&mut backend).unwrap();
        backend.run(&[(step, 1)]).unwrap();
        let run = backend.read_one(parameters).unwrap();
        subject.write_inputs(&mut backend);
        let timings = backend.time(step).unwrap();
        assert!(backend.read_one(parameters).unwrap() == run, "{name}");
        assert_eq!(timings.seconds.len(), subject.step.steps.len(), "{name}");
        let total: f64 = timings.seconds.iter().sum();
        assert!(timings.seconds.iter().all(|&s| s >= 0.0) && total > 0.0 && total < 60.0, "{name}: {timings:?}");
    }
}

/// Every rung agrees with its reference and is timed, but those that need fours at a size that is none and those that
/// need what the adapter has not. The last are the production kernel, and one of them is what models run.
#[test]
fn a_ladder_has_every_rung_and_ends_with_the_production_kernel() {
    let Some(device) = common::gpu(Options::default()) else { return };
    let peak = Peak { flops_per_second: 1e9, bytes_per_second: 1e9, empty_dispatch: 1e-6 };
    for (name, size, rungs, refused) in [("matmul", &[65, 33, 17][..], 8, 2), ("reduce", &[5003][..], 6, 0)] {
        let ladder = ladder::find(name).unwrap();
        let mut heard = Vec::new();
        let climb = climb(ladder, &device, size, peak, &mut |rung| heard.push(rung.to_string())).unwrap();
        assert_eq!(climb.rungs.iter().map(|rung| rung.name.as_str()).collect::<Vec<_>>(), heard);
        assert_eq!(climb.rungs.len(), rungs, "{heard:?}");
        let mut skipped = 0;
        for (index, rung) in climb.rungs.iter().enumerate() {
            match &rung.verdict {
                Verdict::Seconds(_) => assert!(climb.rate(index).unwrap() > 0.0),
                Verdict::Skipped(why) if why.contains("multiples of 4") => skipped += 1,
                Verdict::Skipped(why) => assert!(rung.name.contains("subgroup") && why.contains("subgroups"), "{why}"),
                Verdict::Wrong(what) => panic!("{}: {what}", rung.name),
            }
        }
        assert_eq!(skipped, refused, "{name}");
        let last = climb.rungs.last().unwrap();
        assert_eq!(last.kernels[0], ladder.production.name);
        assert_eq!(climb.rungs.iter().filter(|rung| rung.is_used).count(), 1);
        assert!(climb.rungs.iter().all(|rung| !rung.is_used || rung.kernels == last.kernels));
    }
}
