//! Wrong kernels that the checks must catch.

use std::sync::Mutex;

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::{Checks, Form, Options};
use elbo::cases::{GradientCase, uniform};
use elbo::check::case::{self, GUARD};
use elbo::check::gradient;
use elbo::check::report;
use elbo::kernel::{Candidate, GradientCheck, Kernel, Reference, Source};
use elbo::kernels::{self, activation, joint, matmul, reduce};

use super::is_gradient;
use crate::common;

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
