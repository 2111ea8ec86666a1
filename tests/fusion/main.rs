//! The fused step is the recorded one in fewer dispatches: after some steps everything that training keeps is the same,
//! but for rounding, on every device.

#[path = "../common/mod.rs"]
mod common;
mod shared;

use std::time::Instant;

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::{Checks, Form, Options};
use elbo::cases::Tolerance;
use elbo::check::close;
use elbo::data::table::{Columns, Kind};
use elbo::fusion::Fusion;
use elbo::instruments::subject::Subject;
use elbo::models::presets;
use elbo::tensor::Tensor;
use elbo::train::settings::Settings;

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
    Subject::record("test", settings.clone(), Columns::of_pictures(shape, 10)).unwrap().fused(fusion)
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
    of_preset("mnist-mlp", "hidden = [40]\nlatent = 6\nbatch_size = 20")
}

fn of_preset(name: &str, text: &str) -> Settings {
    Settings::of_preset(name).unwrap().with(text).unwrap()
}

fn devices() -> Vec<(&'static str, Device)> {
    let mut devices = vec![("reference", Device::Cpu(Cpu::Reference)), ("cpu", Device::Cpu(Cpu::Accelerated))];
    for checks in [Checks::On, Checks::Off] {
        devices.extend(common::gpu(Options { checks, form: Form::Portable }).map(|device| ("gpu", device)));
    }
    devices
}

#[test]
fn mlps_train_the_same_fused_and_recorded() {
    let variant = |text: &str| small().with(text).unwrap();
    let variants = [
        ("split heads", small()),
        ("fused heads", variant("head = 'fused'")),
        ("two hidden layers", variant("hidden = [40, 24]")),
        ("three hidden layers, tanh", variant("hidden = [40, 24, 12]\nactivation = 'tanh'")),
        ("silu, whose slope needs its input", variant("activation = 'silu'")),
        ("free bits", variant("free_bits = 0.1")),
        ("AdamW and clipping", variant("optimizer = 'adamw'\nweight_decay = 0.1\nclip_norm = 1.0")),
        ("SGD", variant("optimizer = 'sgd'\nlr = 1e-5")),
        ("many latents", variant("latent = 70")),
        ("an odd batch", variant("batch_size = 17")),
        ("one row", variant("batch_size = 1")),
        ("the label beside", of_preset("mnist-cvae", "hidden = [40]\nlatent = 6\nbatch_size = 20")),
        ("noise on the pictures", of_preset("mnist-denoise", "hidden = [40]\nlatent = 6\nbatch_size = 20")),
        ("a classifier on z", of_preset("mnist-ss-z", "hidden = [40]\nlatent = 6\nbatch_size = 20")),
        ("the label summed out", of_preset("mnist-m2", "hidden = [40]\nlatent = 6\nbatch_size = 20")),
    ];
    for (name, device) in devices() {
        for (what, settings) in &variants {
            let recorded = subject(settings, [1, 12, 12], Fusion::None).step.steps.len();
            let fused = compare(&device, settings, [1, 12, 12], Fusion::of(&device)).len();
            assert!(fused < recorded, "{what} on the {name}: nothing was fused");
        }
    }
}

/// Where the heads are not part of a fused middle, both add to the gradient of what the encoder's activation left; the
/// last one takes that activation's slope.
#[test]
fn an_activations_backward_goes_into_the_last_part_of_its_gradient() {
    let label = of_preset("mnist-cvae", "hidden = [40]\nlatent = 6\nbatch_size = 20");
    for settings in [small().with("free_bits = 0.1").unwrap(), small().with("latent = 70").unwrap(), label] {
        let steps = subject(&settings, [1, 12, 12], Fusion::Full).step.steps;
        assert!(steps.iter().all(|step| step.kernel.name != "activation.backward"), "{}", settings.model);
        let with_slope =
            |step: &&elbo::program::Step| step.kernel.name == "matmul.backward_x" && step.param("activation") != 0;
        assert!(steps.iter().filter(with_slope).count() > 0, "{}", settings.model);
    }
}

#[test]
fn a_conv_model_and_augmentation_train_the_same() {
    let settings = of_preset("mnist-conv", "batch_size = 7\nshift = 2");
    for (name, device) in devices().into_iter().filter(|(name, _)| *name != "reference") {
        let kernels = compare(&device, &settings, [1, 28, 28], Fusion::of(&device));
        let count = |kernel| kernels.iter().filter(|name| **name == kernel).count();
        let is_gpu = Fusion::of(&device) == Fusion::Full;
        // Those with the fewest weights: the encoder's first and the decoder's last layer, and the latter's bias.
        assert_eq!(count("conv2d.backward_w_parts"), if is_gpu { 2 } else { 0 }, "{name}: {kernels:?}");
        assert_eq!(count("conv2d.backward_b_parts"), if is_gpu { 1 } else { 0 }, "{name}: {kernels:?}");
        assert!(count("fused_update.adam") == 1, "mnist-conv on the {name}: nothing was fused: {kernels:?}");
    }
}

/// A loop over time has dispatches for each of its steps. Questions about each of them that look at all of them would
/// take longer than an epoch.
#[test]
fn a_long_loop_is_fused_in_linear_time() {
    let (_, preset) = presets::find("chorales-vrnn").unwrap();
    let seconds = |steps: usize| {
        let mut columns = preset.columns();
        for kind in columns.0.values_mut() {
            if let Kind::Steps { longest, .. } = kind {
                *longest = steps;
            }
        }
        let settings = preset.settings().with("batch_size = 2").unwrap();
        let recorded = Subject::record("test", settings, columns).unwrap();
        let (before, start) = (recorded.step.steps.len(), Instant::now());
        assert!(recorded.fused(Fusion::Full).step.steps.len() < before - steps, "each step has something to fuse");
        start.elapsed().as_secs_f64()
    };
    let [short, long] = [100, 1600].map(seconds);
    // 16 where it is linear, 256 where it is quadratic.
    assert!(long < 60.0 * short, "{short:.3} s for 100 steps, {long:.3} s for 1600");
}

/// The presets of fully connected layers take eight dispatches a step, and use no buffer that the fused step has no use
/// for.
#[test]
fn the_presets_of_mlps_take_eight_dispatches() {
    for name in ["mnist-mlp", "mnist-fused", "mnist-2d"] {
        let (_, preset) = presets::find(name).unwrap();
        let recorded = subject(&preset.settings(), preset.x.as_picture(), Fusion::None);
        let fused = subject(&preset.settings(), preset.x.as_picture(), Fusion::Full);
        let kernels: Vec<&str> = fused.step.steps.iter().map(|s| s.kernel.name).collect();
        let want = [
            "fused_batch.begin",
            "matmul.forward",
            "fused_latent.forward",
            "matmul_bce.forward",
            "fused_linear.backward",
            "fused_latent.backward",
            "fused_weights.backward",
            "fused_update.adam",
        ];
        assert_eq!(kernels, want, "{name}");
        assert!(fused.arena.bytes() < recorded.arena.bytes(), "{name}");
    }
}
