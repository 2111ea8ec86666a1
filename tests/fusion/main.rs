//! The fused step is the recorded one in fewer dispatches: after some steps everything that training keeps is the same, but
//! for rounding, on every device.

#[path = "../common/mod.rs"]
mod common;
mod shared;

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::{Checks, Form, Options};
use elbo::check::close::{self, Tolerance};
use elbo::fusion::Fusion;
use elbo::instruments::subject::Subject;
use elbo::kernels::activation::Activation;
use elbo::tensor::Tensor;
use elbo::train::presets;
use elbo::train::settings::{Head, Optimizer, Settings};

const STEPS: usize = 4;

/// Parameters, moments, losses and clock after some steps.
fn state(device: &Device, subject: &Subject) -> Vec<Vec<f32>> {
    let mut backend = device.backend();
    let step = subject.load(&mut backend).unwrap();
    backend.run(&[(step, STEPS)]).unwrap();
    let moments = subject.optimizer.moments.iter().map(|&(_, t)| t);
    let kept: Vec<Tensor> = [subject.arena.flat_parameters(), subject.data.losses, subject.data.clock]
        .into_iter()
        .chain(subject.arena.flat_statistics())
        .chain(moments)
        .collect();
    backend.read(&kept).unwrap()
}

fn subject(settings: &Settings, shape: [usize; 3], fusion: Fusion) -> Subject {
    Subject::record("test", settings.clone(), shape).unwrap().fused(fusion)
}

/// Returns the kernels of the fused step.
fn compare(device: &Device, settings: &Settings, shape: [usize; 3], fusion: Fusion) -> Vec<&'static str> {
    let (recorded, fused) = (subject(settings, shape, Fusion::None), subject(settings, shape, fusion));
    // Adam divides by the gradient's own size: where that is rounding, a step may go either way, by at most the
    // learning rate a step. Elsewhere parameters differ by rounding.
    let tolerance =
        Tolerance::Because(2e-4, "four steps of Adam at 1e-3, which amplify the rounding of tiny gradients");
    let kernels: Vec<&'static str> = fused.step.steps.iter().map(|s| s.kernel.name).collect();
    for (i, (got, want)) in state(device, &fused).iter().zip(&state(device, &recorded)).enumerate() {
        assert!(want.iter().all(|v| v.is_finite()) || i == 2, "the recorded step diverges");
        close::compare(got, want, tolerance).unwrap_or_else(|e| panic!("tensor {i} of {kernels:?}: {e}"));
    }
    kernels
}

fn small() -> Settings {
    let base = presets::find("mnist-mlp").unwrap().settings();
    Settings { hidden: vec![40], latent: 6, batch_size: 20, ..base }
}

fn devices() -> Vec<(&'static str, Device)> {
    let mut devices = vec![("reference", Device::Cpu(Cpu::Reference)), ("cpu", Device::Cpu(Cpu::Accelerated))];
    for checks in [Checks::On, Checks::Off] {
        for (name, form) in [("gpu", Form::Portable), ("gpu in its own form", Form::Suited)] {
            devices.extend(common::gpu(Options { checks, form }).map(|device| (name, device)));
        }
    }
    devices
}

#[test]
fn mlps_train_the_same_fused_and_recorded() {
    let base = small();
    let variants = [
        ("split heads", base.clone()),
        ("fused heads", Settings { head: Head::Fused, ..base.clone() }),
        ("two hidden layers", Settings { hidden: vec![40, 24], ..base.clone() }),
        (
            "three hidden layers, tanh",
            Settings { hidden: vec![40, 24, 12], activation: Activation::Tanh, ..base.clone() },
        ),
        ("silu, whose slope needs its input", Settings { activation: Activation::Silu, ..base.clone() }),
        ("free bits", Settings { free_bits: 0.1, ..base.clone() }),
        (
            "AdamW and clipping",
            Settings { optimizer: Optimizer::AdamW, weight_decay: 0.1, clip_norm: Some(1.0), ..base.clone() },
        ),
        ("SGD", Settings { optimizer: Optimizer::Sgd, lr: 1e-5, ..base.clone() }),
        ("many latents", Settings { latent: 70, ..base.clone() }),
        ("an odd batch", Settings { batch_size: 17, ..base.clone() }),
        ("one row", Settings { batch_size: 1, ..base }),
    ];
    for (name, device) in devices() {
        for (what, settings) in &variants {
            let recorded = subject(settings, [1, 12, 12], Fusion::None).step.steps.len();
            let fused = compare(&device, settings, [1, 12, 12], device.fusion()).len();
            // Software forms are for sizes that are multiples of 4.
            let fuses = !matches!(device.fusion(), Fusion::Software(_)) || settings.batch_size.is_multiple_of(4);
            assert!(fused < recorded || !fuses, "{what} on the {name}: nothing was fused");
        }
    }
}

#[test]
fn a_conv_model_and_augmentation_train_the_same() {
    let conv = presets::find("mnist-conv").unwrap();
    let settings = Settings { batch_size: 7, shift: 2, ..conv.settings() };
    for (name, device) in devices().into_iter().filter(|(name, _)| *name != "reference") {
        let kernels = compare(&device, &settings, conv.picture, device.fusion());
        let count = |kernel| kernels.iter().filter(|name| **name == kernel).count();
        let is_gpu = device.fusion() == Fusion::Full;
        // Those with the fewest weights: the encoder's first and the decoder's last layer, and the latter's bias.
        assert_eq!(count("conv2d.backward_w_parts"), if is_gpu { 2 } else { 0 }, "{name}: {kernels:?}");
        assert_eq!(count("conv2d.backward_b_parts"), if is_gpu { 1 } else { 0 }, "{name}: {kernels:?}");
        let is_software = matches!(device.fusion(), Fusion::Software(_));
        assert!(is_software || count("update.adam") == 1, "mnist-conv on the {name}: nothing was fused: {kernels:?}");
    }
}

/// The presets of fully connected layers take eight dispatches a step, and use no buffer that the fused step has no use for.
#[test]
fn the_presets_of_mlps_take_eight_dispatches() {
    for name in ["mnist-mlp", "mnist-fused", "mnist-2d"] {
        let preset = presets::find(name).unwrap();
        let recorded = subject(&preset.settings(), preset.picture, Fusion::None);
        let fused = subject(&preset.settings(), preset.picture, Fusion::Full);
        let kernels: Vec<&str> = fused.step.steps.iter().map(|s| s.kernel.name).collect();
        let want = [
            "batch.begin",
            "matmul.forward",
            "latent.forward",
            "matmul_bce.forward",
            "linear.backward",
            "latent.backward",
            "weights.backward",
            "update.adam",
        ];
        assert_eq!(kernels, want, "{name}");
        assert!(fused.arena.bytes() < recorded.arena.bytes(), "{name}");
    }
}
