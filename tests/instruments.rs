//! The instruments, on every device.

mod common;

use elbo::instruments::subject::Subject;

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
