//! A training step of each preset at its batch size, on the CPU device and on the best adapter:
//! `cargo bench --bench training [-- PRESET]`. The data are noise of the preset's shape.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use elbo::backend::{Device, choose, cpu::Cpu};
use elbo::data::{Dataset, Split};
use elbo::kernels::clock::{Clock, Row};
use elbo::train::presets::PRESETS;
use elbo::train::programs::Programs;
use elbo::train::trainer::config;

/// Batches the clock has rows for: a replay beyond them starts the epoch again.
fn rewind(batches: usize) -> Clock {
    let row = Row { lr: 1e-4, kl_weight: 1.0, bias_correction1: 1.0, bias_correction2_sqrt: 1.0 };
    Clock { seed: 1, step: 0, batch: 0, epoch: 0, rows: vec![row; batches] }
}

/// Grey levels without a pattern.
fn noise(count: usize, shape: [usize; 3]) -> Split {
    let levels = (0..count * shape.iter().product::<usize>()).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8);
    Split { pixels: levels.collect(), count, shape, labels: None }
}

fn training(c: &mut Criterion) {
    let mut devices = vec![("cpu", Device::Cpu(Cpu::Accelerated))];
    match choose::open("gpu") {
        Ok(gpu) => devices.push(("gpu", gpu)),
        Err(e) => eprintln!("the CPU device alone is timed: {e}"),
    }
    for (name, device) in &devices {
        eprintln!("{name}: {}", device.description());
        let mut group = c.benchmark_group(format!("{name}/training_step"));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
        for preset in &PRESETS {
            let settings = preset.settings();
            let (train, test) = (noise(50 * settings.batch_size, preset.picture), noise(64, preset.picture));
            let data = Dataset { name: "noise".into(), classes: 0, class_names: vec![], train, test };
            let mut backend = device.backend();
            let config = config(&settings, data.train.shape);
            let programs = Programs::new(&mut backend, &settings, &config, &data).expect("the data fit every device");
            let parameters = programs.arena.flat_parameters();
            let mut initial = vec![0.0; parameters.len()];
            for (tensor, values) in programs.model.initial(1) {
                initial[tensor.offset..][..values.len()].copy_from_slice(&values);
            }
            backend.write(parameters, &initial);
            let (clock, batches) = (programs.train.clock, programs.train.batches());
            let step = backend.load(&programs.arena, &programs.step).expect("recorded and loaded before");
            group.throughput(Throughput::Elements(settings.batch_size as u64));
            group.bench_function(preset.name, |b| {
                b.iter_custom(|times| {
                    let mut elapsed = Duration::ZERO;
                    let mut left = times as usize;
                    while left > 0 {
                        let replays = left.min(batches);
                        backend.write_words(clock, &rewind(batches).words());
                        let start = Instant::now();
                        backend.run(&[(step, replays)]).expect("the device is there");
                        backend.read(&[clock]).expect("the device is there");
                        elapsed += start.elapsed();
                        left -= replays;
                    }
                    elapsed
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, training);
criterion_main!(benches);
