//! Memory does not grow with the steps. One test alone in its program: what others allocate would be counted too.

mod common;

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::Options;
use elbo::instruments::bench::steps::Steps;
use elbo::instruments::bench::{data, memory};
use elbo::train::settings::Settings;

/// Steps that are taken on the CPU device and on a GPU, after a tenth of them have filled what drivers and allocators
/// keep. A software adapter takes 9 ms for each.
const STEPS: [usize; 2] = [10_000, 2_500];
/// Bytes that a step may gain: less than any tensor or command that would be kept.
const GAIN: usize = 400;
/// Bytes that come and go with anything else in the process.
const NOISE: usize = 4 << 20;

/// What is allocated and written is seen, and that it is gone: else the test below could not fail.
fn sees_memory() {
    const BLOCK: usize = 256 << 20;
    let before = memory::resident().unwrap();
    let block = vec![1u8; BLOCK];
    let with = memory::resident().unwrap();
    assert!(block[BLOCK / 3] == 1 && with > before + BLOCK / 2, "{before} to {with}");
    drop(block);
    let after = memory::resident().unwrap();
    assert!(after < before + NOISE && memory::peak().unwrap() > before + BLOCK / 2, "{before} to {with} to {after}");
}

#[test]
fn many_steps_need_no_more_memory_than_a_tenth_of_them() {
    if memory::resident().is_none() {
        common::say("NOT RUN: this system does not tell a process its memory in /proc/self/status");
        return;
    }
    sees_memory();
    let data = data(None, Some(256), &mut |_| ()).unwrap();
    let preset = Settings::of_preset("mnist-mlp").unwrap();
    let settings = preset.with("hidden = [8]\nlatent = 2\nbatch_size = 8").unwrap();
    let devices = std::iter::once(Device::Cpu(Cpu::Accelerated)).chain(common::gpu(Options::default()));
    for (device, count) in devices.zip(STEPS) {
        let mut steps = Steps::new(&device, &settings, &data).unwrap();
        steps.take(count / 10).unwrap();
        let before = memory::resident().unwrap();
        steps.take(count).unwrap();
        let gained = memory::resident().unwrap().saturating_sub(before);
        assert!(gained < GAIN * count, "{}: {gained} bytes more after {count} steps", device.description());
        // They were steps: the loss has fallen far below that of grey, 784 ln 2 = 543 nats.
        assert!(steps.loss().unwrap() < 400.0, "{}", device.description());
    }
}
