//! Tuning on an adapter: what is measured is kept, what is kept is taken, and nothing that is wrong with a cache stops
//! a run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use elbo::arena::Arena;
use elbo::backend::Device;
use elbo::backend::gpu::{Checks, Form, Gpu, Options};
use elbo::data::Dataset;
use elbo::fusion::Fusion;
use elbo::instruments::subject;
use elbo::kernel::{Candidate, Kernel};
use elbo::kernels::activation::Activation;
use elbo::kernels::{joint, matmul};
use elbo::models::presets;
use elbo::program::{Program, Recorder, Step};
use elbo::train::programs::{Programs, training_step};
use elbo::tuning::{How, Origin, Tuning, apply, tune};

/// The forms for GPUs, on whatever adapter there is.
fn gpu() -> Option<Arc<Gpu>> {
    let device = crate::common::gpu(Options { checks: Checks::Off, form: Form::Portable })?;
    let Device::Gpu(gpu) = device else { unreachable!("an adapter was opened") };
    Some(gpu)
}

/// Two products, one of them twice.
fn program() -> Program {
    let mut arena = Arena::new();
    let [x, w, b] = [arena.tensor("x", &[33, 48]), arena.tensor("w", &[20, 48]), arena.tensor("b", &[20])];
    let mut r = Recorder::new(&mut arena);
    let y = matmul::forward(&mut r, x, w, b, Activation::Identity);
    matmul::forward(&mut r, x, w, b, Activation::Identity);
    matmul::backward_x(&mut r, y, w);
    r.finish("two products")
}

fn without_limit(caches: &Path) -> How {
    How { caches: Some(caches.into()), ..How::default() }
}

fn run(gpu: &Gpu, how: &How) -> Tuning {
    tune(gpu, &program(), how, &mut |_, _, _| {}).unwrap()
}

#[test]
fn what_was_measured_is_kept_and_taken() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let first = run(&gpu, &without_limit(folder.path()));
    assert!(first.is_kept && first.notices.is_empty(), "{:?}", first.notices);
    assert_eq!(first.shapes.iter().map(|shape| shape.dispatches).collect::<Vec<_>>(), [2, 1], "the most work first");
    for shape in &first.shapes {
        let candidates = gpu.candidates(shape.step.kernel, &shape.step.params);
        assert_eq!(shape.measured.len(), candidates.len());
        assert_eq!(shape.measured[0].candidate, shape.usual);
        assert!(shape.measured.iter().all(|m| m.seconds.as_ref().is_ok_and(|s| *s > 0.0)), "{:?}", shape.measured);
        assert_eq!(shape.chosen.origin, Origin::Measured);
        // It is what runs.
        let chosen = candidates.iter().find(|c| c.name == shape.chosen.candidate).unwrap();
        assert_eq!(gpu.shader(&shape.step).id(), chosen.shader.id());
    }
    // Another opening of the same device, as in the next run.
    let second = run(&gpu.without_choices(), &without_limit(folder.path()));
    assert!(second.shapes.iter().all(|shape| shape.is_cached && shape.measured.is_empty()));
    assert_eq!(second.entries(), first.entries());
    let again = run(&gpu.without_choices(), &How { again: true, ..without_limit(folder.path()) });
    assert!(again.shapes.iter().all(|shape| !shape.is_cached && !shape.measured.is_empty()));
}

/// What there was no time for is the table's, and stays it: the next run is no other.
#[test]
fn what_is_left_is_the_tables_and_stays() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let none = How { limit: Some(Duration::ZERO), ..without_limit(folder.path()) };
    let first = run(&gpu, &none);
    let is_usual = |tuning: &Tuning| tuning.shapes.iter().all(|shape| shape.chosen.candidate == shape.usual);
    assert!(is_usual(&first) && first.shapes.iter().all(|shape| shape.chosen.origin == Origin::Table));
    let second = run(&gpu, &without_limit(folder.path()));
    assert!(is_usual(&second) && second.shapes.iter().all(|shape| shape.is_cached && shape.measured.is_empty()));
}

#[test]
fn a_cache_that_is_wrong_is_ignored_with_a_line() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let quick = How { limit: Some(Duration::ZERO), ..without_limit(folder.path()) };
    let path = run(&gpu, &quick).cache.unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let version = format!("\"elbo\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let wrong = [
        (good[..good.len() / 2].to_string(), "cannot be read"),
        (good.replace(&version, "\"elbo\": \"0.0.0\""), "version 0.0.0"),
        (good.replace("64x64", "65x64"), "has no candidate `65x64`"),
    ];
    for (text, part) in wrong {
        assert_ne!(text, good);
        fs::write(&path, text).unwrap();
        let tuning = run(&gpu, &quick);
        let [notice] = &tuning.notices[..] else { panic!("{:?}", tuning.notices) };
        assert!(notice.contains(part) && notice.contains("is ignored") && !notice.contains('\n'), "{notice}");
        assert!(tuning.shapes.iter().all(|shape| !shape.is_cached));
        assert_eq!(fs::read_to_string(&path).unwrap(), good, "it is written anew");
    }
}

/// Choices that cannot be kept would be others at each start.
#[test]
fn what_cannot_be_kept_is_not_measured() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for caches in [Some(file), None] {
        let tuning = run(&gpu, &How { caches, ..How::default() });
        let [notice] = &tuning.notices[..] else { panic!("{:?}", tuning.notices) };
        assert!(notice.contains("the tuning cannot be kept"), "{notice}");
        assert!(!tuning.is_kept);
        let as_shipped =
            |shape: &elbo::tuning::Shape| shape.chosen.candidate == shape.usual && shape.measured.is_empty();
        assert!(tuning.shapes.iter().all(as_shipped));
    }
}

/// A driver that makes something else of a shader would train something else.
#[test]
fn a_candidate_with_other_results_is_left_out() {
    static CANDIDATES: [Candidate; 2] = [
        Candidate { name: "right", shader: joint::MULTIPLY.shader },
        Candidate { name: "wrong", shader: joint::ADD.shader },
    ];
    static MUTANT: Kernel =
        Kernel { name: "mutant.candidate", candidates: Some(|_| CANDIDATES.iter().collect()), ..joint::MULTIPLY };
    let Some(gpu) = gpu() else { return };
    let case = &(joint::MULTIPLY.cases)()[0];
    let mut arena = Arena::new();
    let mut tensors = |lengths: Vec<usize>| lengths.iter().map(|&n| arena.tensor("t", &[n])).collect::<Vec<_>>();
    let reads = tensors(case.reads.iter().map(Vec::len).collect());
    let writes = tensors(case.writes.iter().map(|output| output.before.len()).collect());
    let mut r = Recorder::new(&mut arena);
    r.dispatch_words(&MUTANT, case.params.clone(), &reads, &writes);
    let folder = tempfile::tempdir().unwrap();
    let tuning = tune(&gpu, &r.finish("mutant"), &without_limit(folder.path()), &mut |_, _, _| {}).unwrap();
    assert_eq!(tuning.shapes[0].chosen.candidate, "right");
    assert!(tuning.shapes[0].measured[1].seconds.is_err());
    let [notice] = &tuning.notices[..] else { panic!("{:?}", tuning.notices) };
    assert!(notice.contains("wrong of mutant.candidate is left out: its results are"), "{notice}");
}

#[test]
fn a_record_is_applied_and_what_is_unknown_is_counted() {
    let Some(gpu) = gpu() else { return };
    let program = program();
    let step = &program.steps[0];
    let folder = tempfile::tempdir().unwrap();
    let quick = How { limit: Some(Duration::ZERO), ..without_limit(folder.path()) };
    let mut entries = run(&gpu, &quick).entries();
    let other = gpu.candidates(step.kernel, &step.params).into_iter().find(|c| c.name == "16x16 in 16 deep").unwrap();
    let of_step = entries.iter_mut().find(|entry| entry.kernel == step.kernel.name).unwrap();
    of_step.candidate = other.name.into();
    assert_eq!(apply(&gpu, &entries), 0);
    assert_eq!(gpu.shader(step).id(), other.shader.id());
    entries[0].candidate = "of another device".into();
    assert_eq!(apply(&gpu, &entries), 1);
}

/// What is tuned is what training loads: the fused step, on a GPU with the sums in parts.
#[test]
fn the_step_that_trains_is_tuned() {
    let Some(gpu) = gpu() else { return };
    let device = Device::Gpu(gpu.clone());
    for (preset, kernels) in [
        ("mnist-mlp", &["fused_linear.backward", "matmul_bce.forward", "fused_weights.backward"][..]),
        ("mnist-conv", &["conv2d.backward_w_parts"]),
    ] {
        let (_, preset) = presets::find(preset).unwrap();
        let settings = preset.settings().with("batch_size = 8").unwrap();
        let pictures = subject::drawn(8, &preset.columns());
        let (train, test) = (pictures.clone(), pictures);
        let data =
            Dataset { name: "drawn".into(), class_names: Vec::new(), vocabulary: None, spectrogram: None, train, test };
        let programs = Programs::new(&mut device.backend(), &settings, data).unwrap();
        let choices = |program: &Program| {
            let has_choice = |step: &&Step| gpu.candidates(step.kernel, &step.params).len() > 1;
            let steps = program.steps.iter().filter(has_choice);
            steps.map(|step| (step.kernel.name, step.params.clone())).collect::<Vec<_>>()
        };
        let tuned = training_step(&settings, &preset.columns(), Fusion::of(&device)).unwrap();
        assert_eq!(choices(&tuned), choices(&programs.steps[0]));
        for kernel in kernels {
            assert!(choices(&tuned).iter().any(|(name, _)| name == kernel), "{kernel}: {:?}", choices(&tuned));
        }
    }
}

// ---- The program

/// A network whose convolutions have a choice on every adapter (one that runs on a CPU has its own form beside the
/// portable one), and a moment's training of it.
const TRAIN: &str = "train --device gpu --dataset digits --train-limit 40 --test-limit 10 --batch-size 8 --latent 2 \
                     --samples 4 --epochs 1";
const NETWORK: [&str; 4] =
    ["--encoder", "conv 8 k3 s2, relu, flatten", "--decoder", "flatten, linear 784, view 1 28 28, conv 1 k3 p1"];

fn elbo(folder: &Path, args: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
    command.current_dir(folder).args(args.split_whitespace()).args(more);
    command.env("ELBO_CACHE", folder.join("cache")).env("NODEVICE_SELECT", "1");
    command.output().unwrap()
}

/// Trains into `out`; stderr.
#[track_caller]
fn train(folder: &Path, out: &str, more: &str) -> String {
    let output = elbo(folder, &format!("{TRAIN} --out {out} {more}"), &NETWORK);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    stderr
}

fn choices(folder: &Path, run: &str) -> Option<toml::Value> {
    let record: toml::Table = fs::read_to_string(folder.join(run).join("run.toml")).unwrap().parse().unwrap();
    record.get("tuning").cloned()
}

/// The line about tuning, without the rest of stderr.
fn line(stderr: &str) -> Option<&str> {
    stderr.lines().find(|line| line.starts_with("tuning: "))
}

#[test]
fn training_tunes_once_and_repeats() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let same = |a: &str, b: &str| {
        let model = |run: &str| fs::read(folder.join(run).join("model.safetensors")).unwrap();
        assert!(model(a) == model(b), "{a} and {b} differ");
        assert_eq!(choices(folder, a), choices(folder, b));
    };
    let first = train(folder, "first", "");
    assert!(line(&first).is_some_and(|line| line.contains("measured in")), "{first}");
    assert!(choices(folder, "first").is_some_and(|tuning| tuning.as_array().unwrap().len() >= 2));
    let second = train(folder, "second", "");
    assert!(line(&second).is_some_and(|line| line.ends_with("from the cache")), "{second}");
    same("first", "second");

    // Resuming goes on with the run's own choices, whatever the cache says by then.
    fs::remove_dir_all(folder.join("cache")).unwrap();
    let go_on = |run: &str| elbo(folder, &format!("train --resume {run} --epochs 2"), &[]);
    for run in ["first", "second"] {
        let output = go_on(run);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(line(&String::from_utf8(output.stderr).unwrap()), None);
    }
    assert!(!folder.join("cache").exists());
    same("first", "second");

    let untuned = train(folder, "untuned", "--no-tune");
    assert_eq!((line(&untuned), choices(folder, "untuned")), (None, None));
    assert!(!folder.join("cache").exists());
}

#[test]
fn training_goes_on_over_a_corrupt_cache() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, "first", "");
    let cache = fs::read_dir(folder.join("cache/tuning")).unwrap().next().unwrap().unwrap().path();
    fs::write(&cache, "{\"elbo\": ").unwrap();
    let stderr = train(folder, "second", "");
    let about: Vec<&str> = stderr.lines().filter(|line| line.contains("is ignored")).collect();
    assert!(about.len() == 1 && about[0].contains(cache.file_name().unwrap().to_str().unwrap()), "{stderr}");
    assert!(line(&stderr).is_some_and(|line| line.contains("measured in")), "{stderr}");
    // A file where the folder should be: nothing is measured, and the run goes on.
    fs::remove_dir_all(folder.join("cache")).unwrap();
    fs::write(folder.join("cache"), "").unwrap();
    let stderr = train(folder, "third", "");
    assert!(stderr.contains("the tuning cannot be kept") && line(&stderr).unwrap().ends_with("as shipped"), "{stderr}");
}

#[test]
fn the_command_measures_every_candidate_and_writes_the_cache() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = elbo(folder.path(), "tune mnist-conv --batch-size 2 --device gpu --json", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let tuned: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let shapes = tuned["shapes"].as_array().unwrap();
    assert!(shapes.len() > 3);
    for shape in shapes {
        let candidates = shape["candidates"].as_array().unwrap();
        assert!(candidates.len() > 1, "{shape}");
        assert_eq!(candidates[0]["name"], shape["shipped"]);
        assert!(candidates.iter().any(|c| c["name"] == shape["chosen"]), "{shape}");
        assert!(candidates.iter().all(|c| c["ms"].as_f64().is_some_and(|ms| ms > 0.0)), "{shape}");
        assert_eq!(candidates[0]["over_shipped"], 1.0);
    }
    let cache: serde_json::Value =
        serde_json::from_slice(&fs::read(tuned["cache"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(cache["entries"].as_array().unwrap().len(), shapes.len());
    let text = elbo(folder.path(), "tune mnist-conv --batch-size 2 --device gpu", &[]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("over shipped") && text.contains("conv2d.backward_w") && text.contains("wrote "), "{text}");
}
