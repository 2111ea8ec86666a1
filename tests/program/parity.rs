//! `elbo parity` as its user meets it, and PyTorch itself where it is installed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use elbo::backend::{Device, cpu::Cpu};
use elbo::data::Dataset;
use elbo::data::table::Columns;
use elbo::instruments::parity::{Exchange, Recording, Report, SCRIPT};
use elbo::instruments::subject;
use elbo::models::{presets, vae_gan};
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::Settings;
use elbo::train::trainer::Trainer;

fn parity(folder: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
    command.arg("parity").args(args.split_whitespace()).current_dir(folder).env("NODEVICE_SELECT", "1");
    command.output().unwrap()
}

/// Runs to an error of exit code 2; stderr.
#[track_caller]
fn fails(folder: &Path, args: &str, words: &[&str]) -> String {
    let output = parity(folder, args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "elbo parity {args}\n{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} from elbo parity {args}\n{stderr}");
    }
    stderr
}

#[test]
fn a_wrong_question_gets_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fails(here, "mnist-mpl --device cpu", &["did you mean `mnist-mlp`?"]);
    fails(here, "--device nonesuch", &["no device matches 'nonesuch'"]);
    fails(here, "--device cpu --steps 0", &["--steps is 0"]);
    fails(here, "--device cpu --batch-size 0", &["--batch-size is 0"]);
    fails(here, "--device cpu --from nowhere", &["nowhere/exchange.safetensors"]);
    fails(here, "mnist-2d --from nowhere", &["cannot be used with"]);
    assert!(fs::read_dir(here).unwrap().next().is_none(), "nothing is left behind");
}

/// Without PyTorch everything is written, and the message says how to go on.
#[test]
fn without_python_there_is_a_way() {
    let folder = tempfile::tempdir().unwrap();
    let args = "mnist-2d --device cpu --steps 2 --batch-size 3 --float64 --python /nonesuch/python";
    let go_on = ["/nonesuch/python runs/parity-mnist-2d/pytorch_parity.py runs/parity-mnist-2d --float64"];
    let stderr = fails(folder.path(), args, &go_on);
    assert!(stderr.contains("elbo parity --from runs/parity-mnist-2d"), "{stderr}");
    for file in ["exchange.safetensors", "pytorch_parity.py", "pytorch_network.py"] {
        assert!(folder.path().join("runs/parity-mnist-2d").join(file).exists(), "{file}");
    }
    fails(folder.path(), "--device cpu --from runs/parity-mnist-2d", &["pytorch.safetensors"]);
}

#[cfg(unix)]
#[test]
fn a_python_without_pytorch_is_told_from_a_script_that_failed() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    for (code, words) in [(3, "lacks PyTorch or safetensors"), (1, "the script left no pytorch.safetensors")] {
        let python = folder.path().join(format!("python{code}"));
        fs::write(&python, format!("#!/bin/sh\necho step 1 of 2\nexit {code}\n")).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let args = format!("--device cpu --steps 2 --batch-size 3 --out o --python {}", python.display());
        fails(folder.path(), &args, &[words, "o/pytorch_parity.py o"]);
    }
}

// ---- With PyTorch

fn has_pytorch() -> bool {
    let output = Command::new("python3").args(["-c", "import torch, safetensors"]).output();
    let there = output.is_ok_and(|output| output.status.success());
    if !there {
        crate::common::say("NOT RUN: parity with PyTorch itself. python3 has no torch and safetensors.");
    }
    there
}

/// Trains the VQ-VAE that settings of a prior name, on drawn pictures, until its codes differ.
fn train_codes(run: &Path, prior: &Settings) {
    let base = Settings::of_model(elbo::models::find("vq").unwrap());
    let mut settings = base.with("batch_size = 5\nsamples = 0\nepochs = 20\nlr = 1e-2").unwrap();
    let keys: Vec<&str> = settings.entry().unwrap().key_names().collect();
    settings.own = prior.own.clone().into_iter().filter(|(key, _)| keys.contains(&key.as_str())).collect();
    let [train, test] = [23, 5].map(|count| subject::drawn(count, &Columns::of_pictures([1, 8, 8], 0)));
    let data = Dataset { name: "drawn".into(), class_names: vec![], vocabulary: None, spectrogram: None, train, test };
    let folder = RunFolder::create(run).unwrap();
    let mut trainer = Trainer::new(settings, data, &Device::Cpu(Cpu::Accelerated), folder, false).unwrap();
    trainer.train(&AtomicBool::new(false), &mut |_| ()).unwrap();
}

/// Every output, optimiser, reduction, kind of model and layer, a few steps of each on the reference.
#[test]
fn pytorch_takes_the_same_steps() {
    if !has_pytorch() {
        return;
    }
    let small = |preset: &str, text: &str| {
        let settings = match preset {
            "vae_gan" => Settings::of_model(&vae_gan::ENTRY),
            _ => Settings::of_preset(preset).unwrap(),
        };
        let base = settings.with("batch_size = 5").unwrap();
        // A ladder's sizes are its own.
        let sizes = if preset == "mnist-ladder" { "" } else { "hidden = [17]\nlatent = 3" };
        base.with(sizes).unwrap().with(text).unwrap()
    };
    let base = |text: &str| small(presets::DEFAULT, text);
    let listed = r#"head = 'direct'
        encoder = """
            (conv 4 k4x3 s2 p1 nobias, batchnorm, leaky_relu), residual(conv 4 k3 p1, groupnorm 2, silu), maxpool k2,
            conv 5 k2 d2 g1, gelu, flatten, layernorm, linear 6"""
        decoder = """
            flatten, linear 24, view 6 2 2, elu, upsample 2, conv 4 k3 p1, upsample 2 bilinear, softplus,
            avgpool k3 s1 p1, conv_transpose 3 k4 s2 p1 op1, batchnorm, sigmoid, conv_transpose 2 k2x1 s1"""
        output = 'optimal_sigma'"#;
    let cases = [
        ("split", [1, 6, 5], base("")),
        (
            "fused, deep, L2, free bits",
            [1, 6, 5],
            base(
                "head = 'fused'\nhidden = [19, 11]\nactivation = 'tanh'\noutput = 'continuous_bernoulli'\n\
                 weight_decay = 1e-2\nbetas = [0.9, 0.99]\nfree_bits = 0.05",
            ),
        ),
        (
            "AdamW, mean, warm-up",
            [1, 6, 5],
            base(
                "output = 'laplace'\nsigma = 0.3\nreduction = 'mean'\noptimizer = 'adamw'\nweight_decay = 0.1\n\
                 kl_weight = 0.5\nkl_schedule = 'linear:5'\nlr = 1e-2",
            ),
        ),
        (
            "SGD, clipping",
            [1, 6, 5],
            base(
                "output = 'discretised_logistic'\nsigma = 0.2\noptimizer = 'sgd'\nmomentum = 0.9\nlr = 1e-3\n\
                 clip_norm = 30.0",
            ),
        ),
        ("listed", [2, 18, 17], base(listed)),
        ("Gaussian", [3, 4, 4], base("output = 'gaussian'\nsigma = 0.7")),
        ("conditional", [1, 6, 5], small("mnist-cvae", "")),
        ("conditional, listed", [2, 18, 17], small("mnist-cvae", listed)),
        ("Gaussian corruption", [1, 6, 5], small("mnist-denoise", "")),
        ("salt and pepper", [1, 6, 5], small("mnist-denoise", "noise = 'salt_and_pepper:0.3'")),
        ("several samples", [1, 6, 5], small("mnist-iwae", "")),
        ("doubly reparameterised", [1, 6, 5], small("mnist-iwae", "estimator = 'dreg'\nreduction = 'mean'")),
        ("several samples, conditional", [1, 6, 5], small("mnist-cvae", "importance = 7\noutput = 'laplace'")),
        ("several samples, denoising", [1, 6, 5], small("mnist-denoise", "importance = 2\nhead = 'fused'")),
        ("a capacity", [1, 6, 5], small("mnist-capacity", "capacity = 0.7\ncapacity_schedule = 'linear:5'")),
        ("a KL in parts", [1, 6, 5], small("mnist-beta-tc", "examples = 50")),
        ("a KL in parts, mean", [1, 6, 5], small("mnist-beta-tc", "reduction = 'mean'\nkl_schedule = 'linear:5'")),
        ("a learned prior", [1, 6, 5], small("mnist-vamp", "components = 6")),
        (
            "a learned prior, listed",
            [2, 18, 17],
            small("mnist-vamp", &listed.replace("batchnorm", "groupnorm 1")).with("components = 3").unwrap(),
        ),
        ("Gaussian weights", [1, 6, 5], small("mnist-bayes", "initial_logvar = -4.0")),
        (
            "Gaussian weights, both",
            [1, 6, 5],
            small("mnist-bayes", "inferred = 'both'\nhidden = [9, 7]\nexamples = 50"),
        ),
        ("Gumbel-softmax", [1, 6, 5], small("mnist-gumbel", "categories = 4")),
        ("straight through", [1, 6, 5], small("mnist-gumbel", "estimator = 'straight_through'\nhidden = [19, 11]")),
        ("argmax", [1, 6, 5], small("mnist-gumbel", "estimator = 'argmax'")),
        ("Gumbel-softmax, listed", [2, 18, 17], small("mnist-gumbel", listed).with("categories = 2").unwrap()),
        ("codes by averages", [1, 6, 5], small("mnist-vq", "codes = 6\ncode_dim = 4")),
        (
            "codes by the gradient, two layers, mean",
            [1, 6, 5],
            small("mnist-vq", "codebook = 'gradient'\ncodes = 6\ncode_dim = 4\nhidden = [19, 11]\nreduction = 'mean'"),
        ),
        ("a grid of codes", [1, 8, 8], small("mnist-vq-conv", "latent = 4\ncodes = 9\nrestart = 0.2")),
        ("levels", [1, 8, 8], small("mnist-fsq", "latent = 4\nlevels = [4, 3, 2]\ncodes = 24")),
        (
            "levels in a row, mean",
            [1, 6, 5],
            small("mnist-vq", "codebook = 'fsq'\nlevels = [3, 5]\ncodes = 15\ncode_dim = 2\nreduction = 'mean'"),
        ),
        ("a mask, listed", [2, 18, 17], small("mnist-denoise", listed).with("noise = 'mask:0.3'").unwrap()),
        ("a classifier on z", [1, 6, 5], small("mnist-ss-z", "labels = 12\nclassifier = [7]")),
        ("a classifier beside z", [1, 6, 5], small("mnist-m1", "labels = 12")),
        ("a label summed out", [1, 6, 5], small("mnist-m2", "labels = 12\nclassifier = [7]")),
        (
            "a label summed out, listed",
            [2, 18, 17],
            small("mnist-m2", &listed.replace("optimal_sigma", "gaussian")).with("labels = 12").unwrap(),
        ),
        ("a ladder", [1, 6, 5], small("mnist-ladder", "hidden = [9, 7]\nlatent = [4, 3]")),
        (
            "a ladder of three levels",
            [1, 6, 5],
            small("mnist-ladder", "hidden = [11, 9, 7]\nlatent = [5, 4, 3]\nactivation = 'tanh'\nreduction = 'mean'"),
        ),
        ("a VAE-GAN", [1, 6, 5], small("vae_gan", "gamma = 0.3\nkl_weight = 0.7")),
        (
            "a VAE-GAN as published, mean",
            [1, 6, 5],
            small(
                "vae_gan",
                "generator = 'minimax'\nreduction = 'mean'\ndiscriminator_head = [5]\noutput = 'gaussian'",
            ),
        ),
        (
            "a VAE-GAN, listed",
            [2, 18, 17],
            small("vae_gan", &listed.replace("optimal_sigma", "bernoulli"))
                .with(
                    "discriminator = '(conv 3 k4 s2, batchnorm, leaky_relu), conv 2 k3, groupnorm 1, elu, maxpool k2'",
                )
                .unwrap(),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let vq = folder.path().join("vq");
    let of_prior = format!("latent = 4\ncodes = 9\nwidth = 8\nblocks = 2\nwindow = 3\nvq = '{}'", vq.display());
    let prior = small("mnist-vq-prior", &of_prior);
    train_codes(&vq, &prior);
    let cases = cases.into_iter().chain([("a prior over a grid of codes", [1, 8, 8], prior)]);
    for (name, shape, settings) in cases {
        let columns = Columns::of_pictures(shape, 4);
        let pictures = subject::drawn(23, &columns);
        let exchange = Exchange::new(name, "drawn", &settings, (&pictures, &columns), 6).unwrap();
        exchange.write(folder.path()).unwrap();
        // In float64: what is seen is the rounding here, not that of both.
        let mut script = Command::new("python3");
        let output = script.arg(folder.path().join(SCRIPT)).arg(folder.path()).arg("--float64").output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let there = Recording::read(folder.path(), &exchange).unwrap();
        let here = Recording::take(&exchange, &Device::Cpu(Cpu::Reference), None, &mut |_| ()).unwrap();
        let report = Report::new(&exchange, &here, &there, false);
        let loss = report.worst(|d| d.loss_difference);
        let gradient = report.worst(|d| d.gradient.difference);
        assert!(loss.loss_difference < 1e-5 && gradient.gradient.difference < 1e-3, "{name}: {loss:?}\n{gradient:?}");
        // Training moves: six steps of one model are not one step six times.
        assert!(report.steps[5].loss[0] != report.steps[0].loss[0], "{name}");
    }
}
