//! Every form of every kernel against its reference, and every backward against finite differences. The mutants show
//! that these instruments can fail.

#[path = "../common/mod.rs"]
mod common;
mod mutants;

use elbo::arena::Arena;
use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::{Checks, Form, Options};
use elbo::cases::{Case, GradientCase, Tolerance, uniform};
use elbo::check::case;
use elbo::check::gradient;
use elbo::check::report;
use elbo::kernel::{GradientCheck, Kernel};
use elbo::kernels::clock::Clock;
use elbo::kernels::{self, activation, matmul, shuffle};
use elbo::program::Recorder;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Holds the device against the reference on every case that `wanted` picks.
fn check_cases(device: &Device, wanted: impl Fn(&'static Kernel, &Case) -> bool) {
    let mut failures = Vec::new();
    let (mut cases, mut failed) = (0, 0);
    for &kernel in kernels::ALL {
        if let Some(what) = device.lacks(kernel) {
            common::say(&format!("NOT RUN: {}, which needs {what}. {} has none.", kernel.name, device.description()));
            continue;
        }
        let report = report::kernel(kernel, &[("", device.clone())], |case| wanted(kernel, case)).unwrap();
        cases += report.cases;
        failed += report.failed;
        failures.extend(report.failures);
    }
    assert!(cases > 0, "no case was run");
    assert!(failed == 0, "{failed} of {cases} cases failed:\n{}", failures.join("\n"));
}

fn check_gpu(checks: Checks, form: Form) {
    let Some(device) = common::gpu(Options { checks, form }) else { return };
    // Where there is no software form, the portable one is what the other test runs.
    let is_own =
        |kernel: &'static Kernel, case: &Case| kernel.software.is_some_and(|form| form(&case.params).is_some());
    check_cases(&device, |kernel, case| form == Form::Portable || is_own(kernel, case));
}

#[test]
fn adapter_present() {
    if let Some(device) = common::gpu(Options::default()) {
        common::say(&format!("GPU tests run on {}.", device.description()));
    }
}

#[test]
fn accelerated_cpu_agrees_with_the_references() {
    check_cases(&Device::Cpu(Cpu::Accelerated), |kernel, _| kernel.accelerated.is_some());
}

#[test]
fn gpu_agrees_with_the_references_checked() {
    check_gpu(Checks::On, Form::Portable);
}

#[test]
fn gpu_agrees_with_the_references_unchecked() {
    check_gpu(Checks::Off, Form::Portable);
}

#[test]
fn gpu_software_forms_agree_with_the_references_checked() {
    check_gpu(Checks::On, Form::Software);
}

#[test]
fn gpu_software_forms_agree_with_the_references_unchecked() {
    check_gpu(Checks::Off, Form::Software);
}

/// A NaN that an activation turned into a number would hide where a run went wrong.
#[test]
fn activations_keep_nan_and_make_none_of_large_numbers() {
    for (name, device) in common::devices() {
        for act in activation::Activation::ALL {
            // The kernel on 16 times this number.
            let of = |kernel: &'static Kernel, x: f32| {
                let mut case = Case::new(format!("{x}"), [16, act as u32]).read(vec![x; 16]);
                if kernel.reads.len() == 2 {
                    case = case.read(vec![1.0; 16]);
                }
                let mut outputs = case::run(&device, kernel, &case.assign(16, Tolerance::Exact)).unwrap();
                outputs.remove(0)[..16].to_vec()
            };
            let all = |kernel, x, holds: fn(f32) -> bool| {
                let y = of(kernel, x);
                assert!(y.iter().all(|&y| holds(y)), "{} of {act:?} on the {name}: {x} gives {y:?}", kernel.name);
            };
            all(&activation::FORWARD, f32::NAN, f32::is_nan);
            // The slopes of the first three are steps; what they would hide, the forward has shown.
            if act as u32 > 2 {
                all(&activation::BACKWARD, f32::NAN, f32::is_nan);
            }
            for large in [1e4, 1e30, f32::MAX] {
                all(&activation::FORWARD, large, f32::is_finite);
                all(&activation::FORWARD, -large, f32::is_finite);
            }
        }
    }
}

#[test]
fn backward_references_are_the_gradients_of_the_forward() {
    let failures: Vec<_> = kernels::gradients().iter().filter_map(|case| gradient::check(case).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Whether the output is a gradient: all of a backward's, and what another kernel calls one.
fn is_gradient(kernel: &Kernel, output: &str) -> bool {
    kernel.name.contains(".backward") || output == "dy"
}

/// What a kernel says of its gradients is so: it runs in one of its cases, and none that makes a gradient is without.
#[test]
fn every_kernel_has_gradient_cases_that_run_it_or_says_why_not() {
    let is_wrong = |kernel: &&&Kernel| match kernel.gradients {
        GradientCheck::Cases(cases) => {
            let recorded: Vec<_> = cases().iter().map(GradientCase::recorded).collect();
            recorded.iter().flat_map(|r| &r.program.steps).all(|step| step.kernel.name != kernel.name)
        }
        GradientCheck::None(reason) => reason.is_empty() || kernel.writes.iter().any(|name| is_gradient(kernel, name)),
    };
    let wrong: Vec<_> = kernels::ALL.iter().filter(is_wrong).map(|kernel| kernel.name).collect();
    assert!(wrong.is_empty(), "no gradient case runs {wrong:?}");
}

// ---- Properties

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Sizes on every side of the tiles' edges, not only those of the cases.
#[test]
fn products_of_any_shape_agree_with_the_reference() {
    for (name, device) in common::devices() {
        let sizes = (1usize..100, 1usize..100, 1usize..100, proptest::sample::select(vec![1usize, 4]));
        let property = |(b, i, o, by): (usize, usize, usize, usize)| {
            // Multiples of 4 have shaders of their own.
            let [b, i, o] = [b, i, o].map(|size| size.next_multiple_of(by));
            let case = || Case::new(format!("{b}x{i}x{o} on {name}"), [b as u32, i as u32, o as u32, 0, 0]);
            let [x, w, dy] = [(1, b * i), (2, o * i), (3, b * o)].map(|(seed, n)| uniform(seed, n, -1.0, 1.0));
            let forward = case().read(x.clone()).read(w.clone()).read(uniform(4, o, -1.0, 1.0));
            let forward = forward.assign(b * o, Tolerance::Dot(i));
            let backward_x = case().read(w).read(dy.clone()).read(dy.clone()).assign(b * i, Tolerance::Dot(o));
            let backward_w = case().read(x).read(dy);
            let backward_w =
                backward_w.update(vec![0.5; o * i], Tolerance::Dot(b)).update(vec![0.5; o], Tolerance::Dot(b));
            for (kernel, case) in
                [(&matmul::FORWARD, forward), (&matmul::BACKWARD_X, backward_x), (&matmul::BACKWARD_W, backward_w)]
            {
                case::check(&device, kernel, &case).map_err(TestCaseError::fail)?;
            }
            Ok(())
        };
        TestRunner::new(config(24)).run(&sizes, property).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Each tile of the family on sizes on every side of its edges, and twice: what it adds up, it adds up in one order.
#[test]
fn every_tile_takes_any_shape_and_repeats() {
    let Some(device) = common::gpu(Options { checks: Checks::Off, form: Form::Portable }) else { return };
    let count = matmul::FORWARD.candidates_for(false, &[4, 4, 4, 0, 0]).len();
    assert!(count > 1, "there is no family");
    let sizes = (0..count, 1usize..150, 1usize..150, 1usize..150, any::<bool>());
    let property = |(n, b, i, o, by_four): (usize, usize, usize, usize, bool)| {
        let [b, i, o] = [b, i, o].map(|size| if by_four { size.next_multiple_of(4) } else { size });
        let case = || Case::new(format!("{b}x{i}x{o}"), [b as u32, i as u32, o as u32, 0, 0]);
        let [x, w, dy] = [(1, b * i), (2, o * i), (3, b * o)].map(|(seed, n)| uniform(seed, n, -1.0, 1.0));
        let forward = case().read(x.clone()).read(w.clone()).read(uniform(4, o, -1.0, 1.0));
        let backward_w = case().read(x).read(dy.clone()).update(vec![0.5; o * i], Tolerance::Dot(b));
        for (kernel, case) in [
            (&matmul::FORWARD, forward.assign(b * o, Tolerance::Dot(i))),
            (&matmul::BACKWARD_X, case().read(w).read(dy.clone()).read(dy).assign(b * i, Tolerance::Dot(o))),
            (&matmul::BACKWARD_W, backward_w.update(vec![0.5; o], Tolerance::Dot(b))),
        ] {
            let (name, device) = device.with_each_candidate(kernel, &case.params).swap_remove(n);
            case::check(&device, kernel, &case).map_err(|e| TestCaseError::fail(format!("{name}: {e}")))?;
            let bits = || {
                let outputs = case::run(&device, kernel, &case).unwrap();
                outputs.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            prop_assert!(bits() == bits(), "{} of {name} differs from run to run", kernel.name);
        }
        Ok(())
    };
    TestRunner::new(config(24)).run(&sizes, property).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn an_epochs_order_holds_every_picture_once() {
    let property = |(n, seed, epoch): (usize, u64, u32)| {
        let mut arena = Arena::new();
        let (clock, order) = (Clock::tensor(&mut arena, "clock", 1), arena.tensor("order", &[n]));
        let mut recorder = Recorder::new(&mut arena);
        shuffle::forward(&mut recorder, clock, order, true);
        let program = recorder.finish("shuffle");
        let mut backend = Device::Cpu(Cpu::Reference).backend();
        let loaded = backend.load(&arena, &program).unwrap();
        backend.write_words(clock, &Clock { seed, epoch, ..Clock::unit() }.words());
        backend.run(&[(loaded, 1)]).unwrap();
        let mut pictures = pollster::block_on(backend.read_words_async(&[order])).unwrap().remove(0);
        pictures.sort();
        prop_assert!(pictures.into_iter().eq(0..n as u32));
        Ok(())
    };
    TestRunner::new(config(64)).run(&(1usize..5000, any::<u64>(), any::<u32>()), property).unwrap();
}
