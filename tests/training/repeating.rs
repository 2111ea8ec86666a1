//! A run repeats itself bit by bit, and goes on where it stopped as if it had not.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use elbo::error::Error;
use elbo::inference::Trained;
use elbo::models::parts::bound::BOUND;
use elbo::models::parts::divergence::{HELD, PARTED};
use elbo::models::parts::prior::SAMPLED;
use elbo::train::evaluation::Latent;
use elbo::train::metrics::read_metrics;
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Event, Trainer};

use crate::runs::{Run, assert_same, convolutional, cpu, data, devices, small, small_with, trained};

#[test]
fn a_seed_decides_every_bit() {
    let data = data(20, 10);
    for device in devices() {
        let what = device.description();
        let first = trained(&small(), &data, &device);
        assert_same(&first, &trained(&small(), &data, &device), &what);
        let other = trained(&small_with("seed = 2"), &data, &device);
        assert_ne!(first.parameters(), other.parameters(), "{what}");
    }
}

#[test]
fn two_epochs_and_two_more_are_four() {
    let data = data(20, 10);
    let adam = small();
    let sgd = small_with("optimizer = 'sgd'\nlr = 1e-4\nmomentum = 0.9\nclip_norm = 50.0");
    for device in devices() {
        for settings in [&adam, &sgd] {
            let four = settings.with("epochs = 4").unwrap();
            let run = trained(settings, &data, &device);
            assert_eq!(run.train(&four, &data, &device).unwrap(), Ending::Finished);
            assert_same(&run, &trained(&four, &data, &device), &device.description());
            assert_eq!(run.metrics().iter().map(|m| m.epoch).collect::<Vec<_>>(), [1, 2, 3, 4]);
        }
    }
}

/// The draw of the pixels is the step's, as the noise is, and the bound is one term.
#[test]
fn several_samples_of_drawn_pixels_go_on_too() {
    let data = data(20, 10);
    let two = small_with("importance = 3\nestimator = 'dreg'\nbinarise = 'dynamic'");
    let four = two.with("epochs = 4").unwrap();
    for device in devices() {
        let [run, whole] = [&two, &four].map(|settings| trained(settings, &data, &device));
        assert_eq!(run.train(&four, &data, &device).unwrap(), Ending::Finished);
        assert!(run.state() == whole.state(), "{}", device.description());
        let rows = read_metrics(&run.folder.metrics(), &[BOUND]).unwrap();
        assert!(rows.len() == 4 && rows.iter().all(|row| row.train.terms == [row.train.loss]));
        let grey = trained(&four.with("binarise = 'none'").unwrap(), &data, &device);
        assert_ne!(run.parameters(), grey.parameters());
    }
}

/// A capacity, the parts of the KL, a learned prior: each with its terms, and with all of it in the files.
#[test]
fn other_forms_of_the_kl_go_on_too() {
    let data = data(20, 10);
    for (form, terms, word) in [
        ("capacity = 4.0\ncapacity_schedule = 'linear:2'\nkl_weight = 10.0", HELD, "capacity_gap"),
        ("tc_weight = 4.0", PARTED, "total_correlation"),
        ("prior = 'vamp'\ncomponents = 3", SAMPLED, "kl"),
    ] {
        let two = small_with(form);
        let four = two.with("epochs = 4").unwrap();
        for device in devices() {
            let [run, whole] = [&two, &four].map(|settings| trained(settings, &data, &device));
            assert_eq!(run.train(&four, &data, &device).unwrap(), Ending::Finished);
            assert!(run.state() == whole.state(), "{form} on {}", device.description());
            let rows = read_metrics(&run.folder.metrics(), terms).unwrap();
            assert!(rows.len() == 4 && terms.iter().any(|term| term.name == word), "{form}");
            // What a run reports of its test set is -ELBO to whoever opens the model, up to the weights.
            let model = Trained::open(run.folder.root(), &device).unwrap();
            let evaluated = model.evaluate(&data.test, Latent::Sampled, 1, 7).unwrap();
            assert!((evaluated.loss - evaluated.sum(terms)).abs() < 1e-3, "{form}: {evaluated:?}");
        }
    }
}

#[test]
fn an_interrupted_epoch_goes_on_where_it_stopped() {
    let data = data(20, 10);
    for device in devices() {
        let whole = trained(&small(), &data, &device);
        // After the order alone, and after the first batch.
        for batches in [0, 1] {
            let run = Run::new();
            run.interrupt(&small(), &data, &device, batches);
            let (_, progress) = run.state();
            assert!(
                progress.contains("epoch = 0\n") && progress.contains(&format!("batch = {batches}\n")),
                "{progress}"
            );
            assert_eq!(run.metrics(), []);
            assert_eq!(run.train(&small(), &data, &device).unwrap(), Ending::Finished);
            assert_same(&run, &whole, &device.description());
        }
    }
}

#[test]
fn a_run_stopped_between_two_epochs_goes_on_too() {
    let data = data(20, 10);
    let whole = trained(&small(), &data, &cpu());
    let run = Run::new();
    let stop = AtomicBool::new(false);
    let mut trainer = run.trainer(&small(), &data, &cpu());
    let ending = trainer.train(&stop, &mut |event| {
        if matches!(event, Event::Epoch { .. }) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert_eq!((ending.unwrap(), trainer.epochs_done()), (Ending::Interrupted, 1));
    run.train(&small(), &data, &cpu()).unwrap();
    assert_same(&run, &whole, "cpu");
}

#[test]
fn a_run_stopped_while_it_is_evaluated_has_only_that_left_to_do() {
    let data = data(20, 10);
    for (device, settings) in devices().into_iter().flat_map(|d| [(d.clone(), small()), (d, convolutional())]) {
        let whole = trained(&settings, &data, &device);
        let run = Run::new();
        let stop = AtomicBool::new(false);
        let mut trainer = run.trainer(&settings, &data, &device);
        let ending = trainer.train(&stop, &mut |event| {
            if matches!(event, Event::Evaluation) {
                stop.store(true, Ordering::Relaxed);
            }
        });
        assert_eq!((ending.unwrap(), trainer.epochs_done()), (Ending::Interrupted, 0));
        let batches = 20_usize.div_ceil(settings.batch_size);
        let (_, progress) = run.state();
        assert!(progress.contains("epoch = 0\n") && progress.contains(&format!("batch = {batches}\n")), "{progress}");
        assert_eq!(run.metrics(), []);
        drop(trainer);
        let mut trainer = run.trainer(&settings, &data, &device);
        let mut trained_batches = 0;
        let ending = trainer.train(&AtomicBool::new(false), &mut |event| {
            if let Event::Batches { epoch: 1, done, .. } = event {
                trained_batches = done - batches;
            }
        });
        assert_eq!((ending.unwrap(), trained_batches), (Ending::Finished, 0));
        assert_same(&run, &whole, &device.description());
    }
}

#[test]
fn a_run_stopped_after_its_last_epoch_is_finished() {
    let run = Run::new();
    let data = data(20, 10);
    let stop = AtomicBool::new(false);
    let mut trainer = run.trainer(&small(), &data, &cpu());
    let ending = trainer.train(&stop, &mut |event| {
        if let Event::Epoch { metrics, .. } = event {
            stop.store(metrics.epoch == small().epochs, Ordering::Relaxed);
        }
    });
    assert_eq!(ending.unwrap(), Ending::Finished);
}

#[test]
fn an_epoch_whose_state_was_not_saved_is_trained_again() {
    let data = data(20, 10);
    let run = trained(&small_with("epochs = 1"), &data, &cpu());
    let state = fs::read(run.folder.state()).unwrap();
    run.train(&small(), &data, &cpu()).unwrap();
    // As if killed after the metrics and the models of epoch 2 were written, and before its state was.
    fs::write(run.folder.state(), state).unwrap();
    run.train(&small(), &data, &cpu()).unwrap();
    assert_same(&run, &trained(&small(), &data, &cpu()), "cpu");
}

#[test]
fn the_state_of_another_model_is_refused_and_stays() {
    let data = data(20, 10);
    let run = trained(&small_with("epochs = 1"), &data, &cpu());
    let state = fs::read(run.folder.state()).unwrap();
    let refused = |settings: Settings| {
        match Trainer::new(settings, data.clone(), &cpu(), run.folder.clone(), true) {
            Err(Error::File { path, problem }) => assert!(path == run.folder.state(), "{}: {problem}", path.display()),
            Err(other) => panic!("expected a file error, got {other}"),
            Ok(_) => panic!("the state was taken"),
        }
        assert!(fs::read(run.folder.state()).unwrap() == state);
    };
    refused(small_with("latent = 4"));
    refused(small_with("optimizer = 'sgd'"));
    refused(small_with("batch_size = 5"));
}

#[test]
fn a_data_set_in_several_buffers_trains_to_the_same_bits() {
    let data = data(20, 10);
    for device in devices() {
        let whole = trained(&small(), &data, &device);
        assert_eq!(whole.trainer(&small(), &data, &device).data_parts(), [1, 1]);
        // Three pictures to a buffer; a picture alone, though the buffer is too small for it.
        for (largest, parts) in [(3 * 784 + 783, [7, 4]), (1, [20, 10])] {
            let run = Run::new();
            let folder = run.folder.clone();
            let mut trainer =
                Trainer::with_largest_part(small(), data.clone(), &device, folder, false, largest).unwrap();
            assert_eq!(trainer.data_parts(), parts);
            trainer.train(&AtomicBool::new(false), &mut |_| ()).unwrap();
            assert_same(&run, &whole, &device.description());
        }
    }
}
