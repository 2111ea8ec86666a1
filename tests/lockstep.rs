//! A step in lockstep with the references, right and with known faults, on every device.

mod common;

use std::collections::BTreeSet;

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::Options;
use elbo::instruments::faults::{self, FAULTS};
use elbo::instruments::lockstep::{self, Dispatch};
use elbo::instruments::subject::Subject;
use elbo::train::presets;

/// Models that together dispatch every kernel that a fault is known for: products alone, and a small network with all
/// that the convolutional presets are made of.
fn models() -> [Subject; 2] {
    let preset = presets::find("cifar-conv").unwrap();
    let mut settings = preset.settings();
    settings.batch_size = 4;
    settings.latent = 4;
    settings.encoder = Some(
        "(conv 8 k4 s2 p1, batchnorm, relu), residual(conv 8 k3 p1, relu, conv 8 k3 p1), flatten".parse().unwrap(),
    );
    settings.decoder = Some(
        "flatten, linear 128, view 8 4 4, batchnorm, relu, conv_transpose 8 k3 p1, relu, conv_transpose 3 k4 s2 p1"
            .parse()
            .unwrap(),
    );
    [Subject::open("mnist-mlp", Some(5)).unwrap(), Subject::record("small", settings, [3, 8, 8]).unwrap()]
}

/// The whole step, whatever differs.
fn whole_step(model: &Subject, device: &Device, fault: Option<&faults::Fault>) -> Vec<Dispatch> {
    lockstep::run(model, device, fault.map(|fault| fault.broken()), &mut |_| true).unwrap()
}

#[test]
fn a_step_in_lockstep_agrees_on_every_device() {
    let models = models();
    for (name, device) in common::devices() {
        for model in &models {
            let dispatches = whole_step(model, &device, None);
            assert_eq!(dispatches.len(), model.step.steps.len());
            let difference = dispatches.iter().find_map(Dispatch::difference);
            assert_eq!(difference, None, "{name}, {}", model.name);
            // Something is compared: sums in f32 are not those in f64.
            let inexact = dispatches.iter().flat_map(|d| &d.outputs).any(|o| o.comparison.of_accepted > 0.0);
            assert_eq!(inexact, name != "CPU reference", "{name}, {}", model.name);
        }
    }
}

/// Each fault differs where its kernel runs and nowhere else, however many dispatches follow; those that a first step
/// cannot show are not shown.
#[test]
fn lockstep_names_the_broken_kernel() {
    let models = models();
    let gpu = common::gpu(Options::default());
    for (name, device) in [("CPU", Some(Device::Cpu(Cpu::Accelerated))), ("GPU", gpu)] {
        let Some(device) = device else { continue };
        for fault in FAULTS {
            let dispatched = |model: &&Subject| model.step.steps.iter().any(|s| s.kernel.name == fault.kernel.name);
            let model = models.iter().find(dispatched).expect("a model for each fault");
            let dispatches = whole_step(model, &device, Some(fault));
            let differ: BTreeSet<_> = dispatches.iter().filter(|d| !d.agrees()).map(|d| d.kernel.name).collect();
            let expected: BTreeSet<_> = fault.shows_in_a_step.then_some(fault.kernel.name).into_iter().collect();
            assert_eq!(differ, expected, "{} on the {name}", fault.id());
            if let Some(first) = dispatches.iter().find_map(Dispatch::difference) {
                assert!(first.contains(fault.kernel.name) && first.contains("the reference has"), "{first}");
            }
        }
    }
}

#[test]
fn a_difference_has_layer_tensor_element_and_both_values() {
    let model = Subject::open("mnist-mlp", Some(2)).unwrap();
    let device = Device::Cpu(Cpu::Accelerated);
    let stopped = |id: &str| {
        let fault = faults::find(id).unwrap();
        let mut seen = 0;
        let dispatches = lockstep::run(&model, &device, Some(fault.broken()), &mut |dispatch| {
            seen += 1;
            dispatch.agrees()
        })
        .unwrap();
        assert!(dispatches.len() == seen && seen < model.step.steps.len());
        dispatches.last().unwrap().difference().unwrap()
    };
    let message = stopped("matmul.forward:no_bias");
    assert!(message.contains("matmul.forward in fc1: y = fc1.y["), "{message}");
    let message = stopped("adam.forward:no_correction");
    assert!(message.contains("adam.forward in optimizer: p = fc"), "{message}");
}
