//! Statistics beside the parameters: runs with batch norm, which keep and use what it has seen.

use std::fs;

use elbo::error::Error;
use elbo::inference::Trained;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::evaluation::Latent;
use elbo::train::trainer::{Ending, Trainer};

use crate::runs::{Run, assert_near, assert_same, convolutional, cpu, data, devices, trained};

const BATCH_NORMS: [&str; 3] = ["encoder.0.1", "decoder.2", "decoder.5.1"];

/// Running mean, running variance and number of batches of a batch norm, from the state.
fn statistics(run: &Run, layer: &str) -> [Vec<f32>; 3] {
    let mut state = Checkpoint::read(&run.folder.state()).unwrap();
    let kinds = ["running_mean", "running_var", "num_batches_tracked"];
    kinds.map(|kind| state.tensors.remove(&format!("{layer}.{kind}")).unwrap().1)
}

#[test]
fn a_convolutional_run_repeats_and_goes_on_bit_by_bit() {
    let data = data(20, 10);
    for device in devices() {
        let what = device.description();
        let whole = trained(&convolutional(), &data, &device);
        assert_same(&whole, &trained(&convolutional(), &data, &device), &what);
        let other = trained(&convolutional().with("seed = 2").unwrap(), &data, &device);
        assert_ne!(whole.parameters(), other.parameters(), "{what}");
        // Two epochs of three batches.
        for layer in BATCH_NORMS {
            let [mean, var, count] = statistics(&whole, layer);
            assert!(mean.iter().all(|&m| m != 0.0) && var.iter().all(|&v| v > 0.0 && v != 1.0), "{what}, {layer}");
            assert_eq!(count, [6.0], "{what}, {layer}");
        }

        let parts = trained(&convolutional().with("epochs = 1").unwrap(), &data, &device);
        let halfway = BATCH_NORMS.map(|layer| statistics(&parts, layer));
        assert!(halfway.iter().all(|[_, _, count]| *count == [3.0]), "{what}: {halfway:?}");
        assert_eq!(parts.train(&convolutional(), &data, &device).unwrap(), Ending::Finished);
        assert_same(&parts, &whole, &what);
        for (layer, before) in BATCH_NORMS.into_iter().zip(&halfway) {
            assert_ne!(statistics(&parts, layer)[..2], before[..2], "{what}: {layer} stood still");
        }

        // After the order alone, and after the first batch.
        for batches in [0, 1] {
            let run = Run::new();
            run.interrupt(&convolutional(), &data, &device, batches);
            for layer in BATCH_NORMS {
                assert_eq!(statistics(&run, layer)[2], [batches as f32], "{what}, {layer}");
            }
            assert_eq!(run.train(&convolutional(), &data, &device).unwrap(), Ending::Finished);
            assert_same(&run, &whole, &what);
        }
    }
}

#[test]
fn evaluation_uses_the_running_statistics_and_leaves_them() {
    for device in devices() {
        let what = device.description();
        // What is tested on between two epochs must not show in the model.
        let runs = [10, 3].map(|test| trained(&convolutional(), &data(20, test), &device));
        let [tensors, others] = runs.each_ref().map(|run| Checkpoint::read(&run.folder.model()).unwrap().tensors);
        assert!(tensors == others, "{what}");
        assert_ne!(runs[0].metrics()[1].test.loss, runs[1].metrics()[1].test.loss, "{what}");
        // With a batch's own statistics a loss would depend on the batch.
        let path = runs[0].folder.model();
        let model = Trained::open(&path, &device).unwrap();
        let before = fs::read(&path).unwrap();
        let test = data(20, 10).test;
        let loss = |batch| model.evaluate(&test, Latent::Mean, 1, batch).unwrap().loss;
        assert_near(loss(10), loss(3), 1e-6);
        assert_near(loss(10), loss(1), 1e-6);
        assert_eq!(loss(10), loss(10), "{what}");
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn a_state_without_its_statistics_is_refused() {
    let data = data(20, 10);
    let run = trained(&convolutional().with("epochs = 1").unwrap(), &data, &cpu());
    let whole = Checkpoint::read(&run.folder.state()).unwrap();
    for kind in ["running_mean", "running_var", "num_batches_tracked"] {
        let name = format!("decoder.2.{kind}");
        let mut state = whole.clone();
        state.tensors.remove(&name).unwrap();
        state.write(&run.folder.state()).unwrap();
        match Trainer::new(convolutional(), data.clone(), &cpu(), run.folder.clone(), true) {
            Err(Error::File { problem, .. }) => assert!(problem.contains(&name), "{problem}"),
            other => panic!("expected a file error, got {:?}", other.map(|_| ())),
        }
    }
}
