//! The ends of a run: patience, the best epoch, divergence, and what does not begin.

use std::fs;
use std::path::PathBuf;

use elbo::error::Error;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Trainer};

use crate::runs::{Run, assert_same, cpu, data, devices, kl, small, small_with, trained};

#[test]
fn patience_ends_a_run() {
    let data = data(20, 10);
    // No epoch is better by a million nats, so the first stays the reference.
    let settings = small_with("epochs = 9\npatience = 2\nmin_delta = 1e6");
    let run = Run::new();
    assert_eq!(run.train(&settings, &data, &cpu()).unwrap(), Ending::Stopped);
    assert_eq!(run.metrics().len(), 3);
}

#[test]
fn the_best_epoch_is_kept_beside_the_last() {
    let data = data(20, 10);
    // Without a weight the KL grows, so that an early epoch stays the best by it.
    let settings = small_with("kl_weight = 0.0\nmonitor = 'test_kl'\nepochs = 4\nlr = 1e-2");
    let run = trained(&settings, &data, &cpu());
    let best = run.metrics().into_iter().min_by(|a, b| kl(&a.test).total_cmp(&kl(&b.test))).unwrap().epoch;
    assert!(best < 4, "{:?}", run.metrics());
    let epoch_of = |path: PathBuf| Checkpoint::read(&path).unwrap().card(&path).unwrap().epoch;
    assert_eq!((epoch_of(run.folder.best()), epoch_of(run.folder.model())), (best, 4));
    let shorter = trained(&settings.with(&format!("epochs = {best}")).unwrap(), &data, &cpu());
    assert!(fs::read(run.folder.best()).unwrap() == fs::read(shorter.folder.model()).unwrap());
}

#[test]
fn a_run_that_diverges_names_step_and_tensor_and_keeps_its_files() {
    let data = data(20, 10);
    for device in devices() {
        let diverges = |run: &Run, settings: &Settings| match run.train(settings, &data, &device) {
            Err(Error::Diverged(message)) => {
                assert!(message.contains("First offending tensor: ") && !message.contains("not found"), "{message}");
                message
            }
            other => panic!("expected divergence, got {other:?}"),
        };
        let run = Run::new();
        let message = diverges(&run, &small_with("lr = 1e30"));
        assert!(message.contains("step 2 (epoch 1, batch 2)") && message.contains("Nothing was saved"), "{message}");
        // The first step leaves parameters of 1e30, with which the second one's encoder overflows.
        let recorded = message.contains("fc21.y") && message.contains("matmul.forward");
        let fused = message.contains("latent.q") && message.contains("fused_latent.forward");
        assert!(recorded || fused, "{message}");
        assert!(!run.folder.state().exists() && !run.folder.model().exists());

        let run = trained(&small_with("epochs = 1"), &data, &device);
        let files = [run.folder.state(), run.folder.model(), run.folder.best(), run.folder.metrics()];
        let before = files.clone().map(|path| fs::read(path).unwrap());
        let message = diverges(&run, &small_with("lr = 1e30"));
        assert!(message.contains("step 5 (epoch 2, batch 2)") && message.contains("of epoch 1 are"), "{message}");
        assert!(files.map(|path| fs::read(path).unwrap()) == before);
        // And so the run can still go on.
        run.train(&small(), &data, &device).unwrap();
        assert_same(&run, &trained(&small(), &data, &device), &device.description());
    }
}

#[test]
fn a_batch_larger_than_the_data_is_refused() {
    let run = Run::new();
    let settings = small_with("batch_size = 21");
    match Trainer::new(settings, data(20, 10), &cpu(), run.folder.clone(), false) {
        Err(Error::Usage(message)) => assert!(message.contains("21") && message.contains("20 training"), "{message}"),
        other => panic!("expected a usage error, got {:?}", other.map(|_| ())),
    }
    // A test set smaller than the batch is one short batch.
    trained(&small_with("batch_size = 20\nepochs = 1"), &data(20, 3), &cpu());
}
