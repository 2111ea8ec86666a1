//! Every form of every kernel against its reference, and every backward against finite differences. The mutants at the
//! end show that these instruments can fail.

mod common;

use std::sync::Mutex;

use elbo::arena::Arena;
use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::{Checks, Form, Options};
use elbo::cases::{Case, GradientCase, Tolerance, uniform};
use elbo::check::case::{self, GUARD};
use elbo::check::gradient;
use elbo::check::report;
use elbo::kernel::{Candidate, GradientCheck, Kernel, Reference, Source};
use elbo::kernels::clock::Clock;
use elbo::kernels::{self, activation, joint, matmul, reduce, shuffle};
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

// ---- Mutants: wrong kernels that the checks above must catch

/// What the mutant at work is made from: the right function, and the output that it spoils. The CPU device runs it on
/// threads of its own.
static ORIGINAL: Mutex<(Reference, usize)> = Mutex::new((|_, _, _| {}, 0));

/// Held while a mutant is at work.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The output that the mutant spoils, after the right function has run, and the index of its last element, which the
/// guard band follows.
fn run_original<'a>(params: &[u32], reads: &[&[f32]], writes: &'a mut [&mut [f32]]) -> (&'a mut [f32], usize) {
    let (right, output) = *ORIGINAL.lock().unwrap();
    right(params, reads, writes);
    let last = writes[output].len() - GUARD - 1;
    (&mut writes[output], last)
}

/// The right result but for the last element, which is 1 % off: less than the smallest mistake in a formula.
fn last_element_off(params: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let (output, last) = run_original(params, reads, writes);
    output[last] += 0.01 * output[last].abs().max(1.0);
}

fn last_element_nan(params: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let (output, last) = run_original(params, reads, writes);
    output[last] = f32::NAN;
}

fn one_element_too_many(params: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let (output, last) = run_original(params, reads, writes);
    output[last + 1] = 0.0;
}

fn nothing_written(_: &[u32], _: &[&[f32]], _: &mut [&mut [f32]]) {}

/// The check's verdict on each case of a kernel whose accelerated form is the mutant.
fn verdicts(kernel: &'static Kernel, output: usize, mutant: Reference) -> Vec<Result<(), String>> {
    let _turn = ONE_AT_A_TIME.lock();
    *ORIGINAL.lock().unwrap() = (kernel.reference, output);
    let mutated: &'static Kernel = Box::leak(Box::new(Kernel { accelerated: Some(mutant), ..*kernel }));
    (kernel.cases)().iter().map(|case| case::check(&Device::Cpu(Cpu::Accelerated), mutated, case)).collect()
}

#[test]
fn every_case_of_every_kernel_catches_a_wrong_output() {
    let mutants: [(&str, Reference); 3] = [
        ("last element off", last_element_off),
        ("last element NaN", last_element_nan),
        ("one element too many", one_element_too_many),
    ];
    for &kernel in kernels::ALL {
        for (output, name) in kernel.writes.iter().enumerate() {
            for (mutant, function) in mutants {
                for (case, verdict) in (kernel.cases)().iter().zip(verdicts(kernel, output, function)) {
                    let message = verdict.expect_err(&format!("{} [{}]: {name} {mutant}", kernel.name, case.label));
                    assert!(message.contains(name), "{message}: names another output than {name}");
                }
            }
        }
        // Some case each: scaling by 1 leaves a clipped gradient as it is.
        let caught = verdicts(kernel, 0, nothing_written).iter().any(|verdict| verdict.is_err());
        assert!(caught, "{}: writing nothing passes", kernel.name);
    }
}

/// A sum that leaves out its last term.
#[test]
fn a_missing_term_of_a_sum_is_caught() {
    fn short_forward(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
        let [rows, inputs, outputs] = [p[0], p[1], p[2]].map(|size| size as usize);
        let activation = activation::Activation::from_number(p[3]);
        for m in 0..rows {
            for n in 0..outputs {
                let term = |k: usize| reads[0][m * inputs + k] as f64 * reads[1][n * inputs + k] as f64;
                let sum = (0..inputs - 1).map(term).sum::<f64>() + reads[2][n] as f64;
                writes[0][m * outputs + n] = activation.value(sum) as f32;
            }
        }
    }
    for (case, verdict) in (matmul::FORWARD.cases)().iter().zip(verdicts(&matmul::FORWARD, 0, short_forward)) {
        assert!(verdict.is_err(), "{}", case.label);
    }
}

/// The kernel under another name (pipelines are kept by name) with `from` in its shader replaced.
fn with_shader_text(kernel: &'static Kernel, name: &'static str, from: &str, to: &str) -> &'static Kernel {
    let source = kernel.shader.source;
    assert_eq!(source.text.matches(from).count(), 1, "{}: `{from}`", source.file);
    let text = Box::leak(source.text.replace(from, to).into_boxed_str());
    let source = Box::leak(Box::new(Source { text, ..*source }));
    let mut mutated = Kernel { name, software: None, ..*kernel };
    mutated.shader.source = source;
    Box::leak(Box::new(mutated))
}

fn gpu_errors(device: &Device, kernel: &'static Kernel) -> Vec<String> {
    (kernel.cases)().iter().filter_map(|case| case::check(device, kernel, case).err()).collect()
}

#[test]
fn a_shader_with_an_unguarded_store_is_caught() {
    // With checks: without them the loads past the end are undefined.
    let Some(device) = common::gpu(Options { checks: Checks::On, form: Form::Portable }) else { return };
    let mutant = with_shader_text(&activation::FORWARD, "mutant.unguarded", "if i < params.N { y[i] =", "{ y[i] =");
    let errors = gpu_errors(&device, mutant);
    assert_eq!(errors.len(), (mutant.cases)().len(), "{errors:?}");
    assert!(errors.iter().all(|e| e.contains("y is written past its end")), "{errors:?}");
}

#[test]
fn a_shader_that_leaves_out_a_term_is_caught() {
    let Some(device) = common::gpu(Options { checks: Checks::On, form: Form::Portable }) else { return };
    let mutant =
        with_shader_text(&reduce::ROWS, "mutant.short", "f < params.F; f += 64u", "f + 1u < params.F; f += 64u");
    let errors = gpu_errors(&device, mutant);
    assert_eq!(errors.len(), (mutant.cases)().len(), "{errors:?}");
}

/// Both forms are really run: a wrong software form fails as the software form and only as that.
#[test]
fn a_wrong_software_form_is_caught_where_it_runs() {
    static WRONG: Candidate = Candidate { name: "software", shader: joint::ADD.shader };
    static MUTANT: Kernel = Kernel { name: "mutant.software", software: Some(|_| Some(&WRONG)), ..joint::MULTIPLY };
    for (form, expected) in [(Form::Portable, 0), (Form::Software, (MUTANT.cases)().len())] {
        let Some(device) = common::gpu(Options { checks: Checks::On, form }) else { return };
        let errors = gpu_errors(&device, &MUTANT);
        assert_eq!(errors.len(), expected, "{form:?}: {errors:?}");
    }
}

/// Every candidate is run and named, whichever is chosen where nothing is known.
#[test]
fn a_wrong_candidate_is_caught_and_named() {
    static CANDIDATES: [Candidate; 2] = [
        Candidate { name: "a right one", shader: joint::MULTIPLY.shader },
        Candidate { name: "a wrong one", shader: joint::ADD.shader },
    ];
    static MUTANT: Kernel =
        Kernel { name: "mutant.candidate", candidates: Some(|_| CANDIDATES.iter().collect()), ..joint::MULTIPLY };
    let Some(device) = common::gpu(Options { checks: Checks::On, form: Form::Portable }) else { return };
    assert!(gpu_errors(&device, &MUTANT).is_empty(), "the first is what runs");
    let cases = (MUTANT.cases)().len();
    let report = report::kernel(&MUTANT, &[("checks on", device)], |_| true).unwrap();
    assert_eq!((report.cases, report.failed), (2 * cases, cases));
    let named = |failure: &String| failure.starts_with("checks on, a wrong one: mutant.candidate [");
    assert!(report.failures.iter().all(named), "{:?}", report.failures);
}

#[test]
fn a_wrong_backward_is_caught() {
    let case = |label: &str, scale: f32, swapped: bool| GradientCase {
        label: label.into(),
        inputs: vec![(vec![4, 6], uniform(1, 24, -1.0, 1.0)), (vec![4, 6], uniform(2, 24, -1.0, 1.0))],
        output: vec![4, 6],
        record: Box::new(move |r, inputs, dy| {
            let (da, db) = joint::backward_multiply(r, inputs[0], inputs[1], dy);
            let (da, db) = if swapped { (db, da) } else { (da, db) };
            let db = joint::scale(r, db, scale);
            (joint::multiply(r, inputs[0], inputs[1]), vec![da, db])
        }),
        state: vec![],
    };
    assert_eq!(gradient::check(&case("right", 1.0, false)), Ok(()));
    assert!(gradient::check(&case("2 % too large", 1.02, false)).is_err());
    assert!(gradient::check(&case("for the other input", 1.0, true)).is_err());
}

/// The right result, 2 % too large.
fn two_percent_off(params: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let (right, output) = *ORIGINAL.lock().unwrap();
    right(params, reads, writes);
    writes[output].iter_mut().for_each(|value| *value *= 1.02);
}

/// Finite differences look at every output of every backward: none may be 2 % too large.
#[test]
fn finite_differences_catch_every_wrong_backward() {
    let _turn = ONE_AT_A_TIME.lock();
    let mut passed = Vec::new();
    for &kernel in kernels::ALL {
        let GradientCheck::Cases(cases) = kernel.gradients else { continue };
        let mutant: &'static Kernel = Box::leak(Box::new(Kernel { reference: two_percent_off, ..*kernel }));
        let outputs = kernel.writes.iter().enumerate().filter(|(_, name)| is_gradient(kernel, name));
        for (output, name) in outputs {
            *ORIGINAL.lock().unwrap() = (kernel.reference, output);
            let is_caught = cases().iter().any(|case| {
                let mut recorded = case.recorded();
                let steps = recorded.program.steps.iter_mut().filter(|step| step.kernel.name == kernel.name);
                if steps.map(|step| step.kernel = mutant).count() == 0 {
                    return false;
                }
                let measured = gradient::measure(&Device::Cpu(Cpu::Reference), case, &recorded).unwrap();
                gradient::failure(case, &measured).is_some()
            });
            if !is_caught {
                passed.push(format!("{}: {name}", kernel.name));
            }
        }
    }
    assert!(passed.is_empty(), "2 % too large passes: {passed:?}");
}
