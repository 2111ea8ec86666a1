//! What saving a run takes. The allocator that counts is the whole process's, so this file holds one test.

use std::sync::atomic::{AtomicBool, Ordering};

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::data::{Dataset, digits};
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::Settings;
use elbo::train::trainer::{Event, Trainer};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

#[global_allocator]
static COUNTING: &PeakMemAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// What is allocated while an epoch, or an interrupted one, ends and is saved, over the size of what is saved.
fn share(settings: &Settings, data: &Dataset, is_interrupted: bool) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path().join("run")).unwrap();
    let device = Device::Cpu(Cpu::Accelerated);
    let mut trainer = Trainer::new(settings.clone(), data.clone(), &device, run.clone(), false).unwrap();
    let stop = AtomicBool::new(false);
    trainer
        .train(&stop, &mut |event| {
            // What was there before is not counted: the device's memory, what the epoch started from, and what the
            // first epoch's steps and pictures keep.
            if matches!(event, Event::Batches { epoch: 2, done: 2, .. }) {
                COUNTING.reset_peak_memory();
                stop.store(is_interrupted, Ordering::Relaxed);
            }
        })
        .unwrap();
    let most = COUNTING.get_peak_memory();
    let state = std::fs::metadata(run.state()).unwrap().len();
    // Adam's: the parameters and two moments.
    assert!(state as usize >= 3 * 4 * trainer.parameters() && state > 70 << 20, "{state} bytes");
    most as f64 / state as f64
}

#[test]
fn a_save_takes_little_more_memory_than_what_it_saves() {
    let data = Dataset {
        name: "digits".into(),
        class_names: Vec::new(),
        vocabulary: None,
        spectrogram: None,
        train: digits::split(1, 24),
        test: digits::split(2, 8),
    };
    let preset = Settings::of_preset("mnist-mlp").unwrap();
    // So large that the chart of the losses, which is as large whatever the model, is a small part of it.
    let base = preset.with("batch_size = 8\nsamples = 4\nlatent = 8\nepochs = 2").unwrap();
    let dense = base.with("hidden = [4500]").unwrap();
    // Nearly all of it in one convolution, whose order in a file is another than on the device.
    let networks = "encoder = 'conv 64 k4 s4, relu, conv 3072 k7, relu, flatten'\n\
                    decoder = 'flatten, linear 784, view 1 28 28'";
    let convolutional = base.with(networks).unwrap();
    // A thread keeps its own scratch memory. With several of them, one that takes a kernel for the first time while an
    // epoch ends would be counted as part of the save.
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (name, settings) in [("dense", dense), ("convolutional", convolutional)] {
        for is_interrupted in [false, true] {
            let share = one_thread.install(|| share(&settings, &data, is_interrupted));
            assert!(share > 0.9, "{name}: what is saved is counted: {share}");
            assert!(share < 1.3, "{name}, interrupted {is_interrupted}: {share} times what is saved");
        }
    }
}
