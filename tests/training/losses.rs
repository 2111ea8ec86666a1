//! What is trained and measured: the loss and its parts, batches, the schedule of the learning rate.

use elbo::backend::Device;
use elbo::models::parts::divergence::{HELD, PARTED};
use elbo::models::parts::likelihood::Likelihood;
use elbo::train::metrics::read_metrics;
use elbo::train::settings::Settings;

use crate::runs::{
    OTHER_MODELS, Run, assert_near, convolutional, cpu, data, data_of, devices, gpu, kl, recon, small, small_of,
    small_with, still, trained,
};

#[test]
fn both_devices_compute_the_same_run() {
    let Some(gpu) = gpu() else { return };
    let deep = small_with(
        "hidden = [16, 12]\nhead = 'fused'\noutput = 'gaussian'\nsigma = 0.5\nactivation = 'silu'\n\
         optimizer = 'adamw'\nweight_decay = 0.01",
    );
    let of = |output| small_with(&format!("output = '{output}'\nsigma = 0.2"));
    let others = ["optimal_sigma", "laplace", "continuous_bernoulli", "discretised_logistic"];
    let models = OTHER_MODELS.map(|model| (small_of(model), data_of(model)));
    let vaes = [small(), deep, convolutional()].into_iter().chain(others.map(of));
    for (settings, data) in vaes.map(|settings| (settings, data(20, 10))).chain(models) {
        let [on_cpu, on_gpu] = [cpu(), gpu.clone()].map(|device| trained(&settings, &data, &device));
        // Six steps of Adam: rounding differs, the numbers of an epoch hardly.
        for (a, b) in on_cpu.metrics().iter().zip(on_gpu.metrics()) {
            for (a, b) in [(&a.train, &b.train), (&a.test, &b.test)] {
                assert_near(a.loss, b.loss, 1e-4);
                assert_near(kl(a), kl(b), 1e-3);
            }
        }
    }
}

#[test]
fn every_output_is_learnt() {
    let data = data(200, 20);
    for output in Likelihood::ALL {
        let mut settings = small_with("sigma = 0.2\nbatch_size = 20\nlr = 3e-3\nepochs = 4\nhidden = [32]");
        settings.own.insert("output".into(), toml::Value::try_from(output).unwrap());
        let losses: Vec<f64> = trained(&settings, &data, &cpu()).metrics().iter().map(|m| m.test.loss).collect();
        // By a hundredth of a nat a pixel at the least, whose number is 784.
        assert!(losses[3] < losses[0] - 7.84 && losses[3].is_finite(), "{output:?}: {losses:?}");
    }
}

#[test]
fn every_picture_counts_once_whatever_the_batch() {
    let data = data(20, 10);
    let still = still().with("epochs = 1").unwrap();
    for device in devices() {
        let of = |batch_size| {
            let run = trained(&still.with(&format!("batch_size = {batch_size}")).unwrap(), &data, &device);
            let rows = run.losses().iter().map(|row| row[3] as usize).collect::<Vec<_>>();
            (run.metrics().remove(0), rows)
        };
        let (whole, rows) = of(20);
        assert_eq!(rows, [20]);
        for (batch, expected) in [(7, vec![7, 7, 6]), (19, vec![19, 1]), (4, vec![4; 5])] {
            let (parts, rows) = of(batch);
            assert_eq!(rows, expected);
            assert_near(kl(&whole.train), kl(&parts.train), 1e-5);
            assert_near(kl(&whole.test), kl(&parts.test), 1e-5);
            // Each batch size has noise of its own.
            assert_near(recon(&whole.train), recon(&parts.train), 0.01);
            assert_near(recon(&whole.test), recon(&parts.test), 0.01);
        }
    }
}

#[test]
fn the_shorter_last_batch_is_trained_on() {
    let data = data(20, 10);
    let settings = small_with("epochs = 1\noptimizer = 'sgd'\nlr = 1e-4");
    for device in devices() {
        let mut moved = Vec::new();
        let mut before = Vec::new();
        // The state after each batch: on the CPU device a run can stop after any of them.
        for batches in if matches!(device, Device::Cpu(_)) { 0..3 } else { 0..2 } {
            let run = Run::new();
            run.interrupt(&settings, &data, &device, batches);
            moved.push(run.parameters() != before);
            before = run.parameters();
        }
        moved.push(trained(&settings, &data, &device).parameters() != before);
        assert!(moved.iter().all(|&m| m), "{}: {moved:?}", device.description());
    }
}

#[test]
fn the_learning_rate_reaches_each_step() {
    let data = data(20, 10);
    let plain = small_with("optimizer = 'sgd'\nlr = 1e-4\nbatch_size = 10\nepochs = 1");
    for device in devices() {
        let start = Run::new();
        start.interrupt(&plain, &data, &device, 0);
        let start = start.parameters();
        let step =
            |from: &[f32], to: &[f32]| -> Vec<f64> { to.iter().zip(from).map(|(b, a)| (b - a) as f64).collect() };
        // Of two vectors along one line, how long the first is in units of the second.
        let ratio = |a: &[f64], b: &[f64]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(a, b) / dot(b, b)
        };
        let two_steps = |settings: &Settings| {
            let run = Run::new();
            run.interrupt(settings, &data, &device, 1);
            let middle = run.parameters();
            run.train(settings, &data, &device).unwrap();
            (step(&start, &middle), step(&middle, &run.parameters()))
        };
        let (first, second) = two_steps(&plain);
        // Linear from 1 to 0 over the two steps: 1, 1/2.
        let (a, b) = two_steps(&plain.with("lr_schedule = 'linear'").unwrap());
        assert_eq!(a, first);
        assert_near(ratio(&b, &second), 0.5, 1e-2);
        // Warm-up over four steps: 1/4 first.
        let (a, _) = two_steps(&plain.with("warmup_epochs = 2.0").unwrap());
        assert_near(ratio(&a, &first), 0.25, 1e-2);
    }
}

#[test]
fn a_loss_is_reconstruction_and_weighted_kl() {
    let data = data(20, 10);
    let settings = small_with("kl_weight = 0.5\nkl_schedule = 'linear:2'");
    for device in devices() {
        let run = trained(&settings, &data, &device);
        let losses = run.losses();
        // Steps 3 to 5 of a ramp over 6.
        let weights: Vec<f32> = losses.iter().map(|row| row[2]).collect();
        assert_eq!(weights, [3.0, 4.0, 5.0].map(|s| (0.5 * s / 6.0) as f32));
        let last = run.metrics().remove(1);
        let sum: f64 = losses.iter().map(|&[recon, kl, weight, _]| (recon + weight * kl) as f64).sum();
        assert_near(last.train.loss, sum / 20.0, 1e-6);
        // The test set is judged with the whole weight.
        assert_near(last.test.loss, recon(&last.test) + 0.5 * kl(&last.test), 1e-6);
    }
}

/// The training loss is what is minimised: recon + kl_weight |KL - C|, the KL beside it as it is.
#[test]
fn a_capacity_counts_in_the_place_of_the_kl() {
    let settings = small_with("capacity = 4.0\nkl_weight = 10.0\nbatch_size = 20\nepochs = 1");
    let run = trained(&settings, &data(20, 10), &cpu());
    let row = read_metrics(&run.folder.metrics(), HELD).unwrap().remove(0);
    for means in [&row.train, &row.test] {
        let [recon, kl, gap] = means.terms[..] else { panic!("three terms") };
        assert!((gap - (kl - 4.0).abs()).abs() < 1e-5 && gap > 1.0, "{means:?}");
        assert!((means.loss - (recon + 10.0 * gap)).abs() < 1e-3, "{means:?}");
    }
}

/// N is written down for whoever goes on with the run, and changes what is reported alone.
#[test]
fn the_parts_of_a_kl_know_the_number_of_examples() {
    let data = data(20, 10);
    let [counted, one] = ["tc_weight = 4.0\nexamples = 20", "tc_weight = 4.0\nexamples = 1"].map(|text| {
        let run = trained(&small_with(text), &data, &cpu());
        let rows = read_metrics(&run.folder.metrics(), PARTED).unwrap();
        (run.parameters(), rows[1].train.terms.clone())
    });
    assert!(counted.0 == one.0);
    let sum = |terms: &[f64]| terms[1..].iter().sum::<f64>();
    assert!((sum(&counted.1) - sum(&one.1)).abs() < 1e-3, "{counted:?} {one:?}");
    assert!((counted.1[1] - one.1[1] - 20f64.ln()).abs() < 1e-3, "{counted:?} {one:?}");
}

#[test]
fn the_kl_weight_decides_between_picture_and_prior() {
    let data = data(200, 20);
    let with = |kl_weight: f64| {
        let size = "hidden = [32]\nlatent = 4\nbatch_size = 20\nlr = 3e-3\nepochs = 6";
        let run = trained(&small_with(&format!("{size}\nkl_weight = {kl_weight:?}")), &data, &cpu());
        run.metrics().iter().map(|m| kl(&m.train)).collect::<Vec<_>>()
    };
    let free = with(0.0);
    assert!(free[5] > 10.0 * free[0], "{free:?}");
    let bound = with(1000.0);
    assert!(bound[5] < 0.01, "{bound:?}");
    let usual = with(1.0);
    assert!(usual[5] > 0.1 && usual[5] < 0.5 * free[5], "{usual:?}");
}

#[test]
fn free_bits_are_free() {
    let data = data(20, 10);
    for device in devices() {
        let of = |kl_weight: f64, free_bits: f64| {
            // Free bits are not fused, so neither is what they are compared with.
            let loss = format!("kl_weight = {kl_weight:?}\nfree_bits = {free_bits:?}");
            let settings = small_with(&format!("{loss}\nlr = 1e-2\nno_fuse = true"));
            trained(&settings, &data, &device).parameters()
        };
        // All of the KL free is a KL without weight, to the bit.
        assert!(of(1.0, 1e6) == of(0.0, 0.0), "{}", device.description());
        assert!(of(1.0, 1e6) != of(1.0, 0.0), "{}", device.description());
        assert!(of(1.0, 1e-30) == of(1.0, 0.0), "{}", device.description());
    }
}
