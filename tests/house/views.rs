//! A model's views agree with each other and with its step.

use elbo::arena::Arena;
use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::cases::uniform;
use elbo::data::table::Columns;
use elbo::kernels::clock::Clock;
use elbo::kernels::random::host_normal;
use elbo::models::draw::Draw;
use elbo::models::{Entry, MODELS};
use elbo::program::Recorder;
use elbo::train::pictures::one_hot;

use crate::step::{CLASSES, CONNECTED, CPU, LADDER, LISTED, ROWS, has_listed_networks, of_model, viewed, write_start};

/// The mixture's density by hand, and its samples, from what the encoder makes of the pseudo-inputs.
#[test]
fn a_learned_prior_is_the_mean_of_q_over_its_pseudo_inputs() {
    for networks in [CONNECTED.to_string(), LISTED.replace("batchnorm", "groupnorm 1")] {
        let settings = of_model("vae", &networks).with(&format!("prior = 'vamp'\ncomponents = {ROWS}")).unwrap();
        let view = |name: &str, inputs: &[&[f32]]| viewed(&settings, [1, 4, 4], name, inputs);
        let all = one_hot(0..ROWS, ROWS);
        let [u] = view("pseudo_inputs", &[&all]).try_into().unwrap();
        assert!(u.iter().all(|u| (0.0..1.0).contains(u)));
        let [mean, logvar] = view("encode", &[&u]).try_into().unwrap();
        let z = host_normal(2, 0, ROWS * 2);
        let [drawn] = view("prior", &[&z, &all]).try_into().unwrap();
        for (i, &drawn) in drawn.iter().enumerate() {
            assert!((drawn - (mean[i] + (0.5 * logvar[i]).exp() * z[i])).abs() < 1e-6);
        }
        let [log_p] = view("log_prior", &[&z]).try_into().unwrap();
        for (z, &log_p) in z.chunks(2).zip(&log_p) {
            let density = |k: usize| {
                let of = |j: usize| {
                    let [z, mean, logvar] = [z[j], mean[2 * k + j], logvar[2 * k + j]].map(f64::from);
                    -0.5 * (std::f64::consts::TAU.ln() + logvar + (z - mean).powi(2) / logvar.exp())
                };
                (of(0) + of(1)).exp()
            };
            let expected = ((0..ROWS).map(density).sum::<f64>() / ROWS as f64).ln();
            assert!((f64::from(log_p) - expected).abs() < 1e-5, "{log_p} {expected}");
        }
    }
}

/// Encoder and decoder are told the label, each row its own.
#[test]
fn another_label_gives_another_q_and_another_picture() {
    let (x, z) = (uniform(1, ROWS * 16, 0.0, 1.0), host_normal(2, 0, ROWS * 2));
    let [labels, others] = [[2, 0, 3], [2, 1, 3]].map(|labels| one_hot(labels, CLASSES));
    for networks in [CONNECTED, LISTED] {
        let settings = of_model("conditional", networks);
        for (view, input) in [("encode", &x), ("decode", &z)] {
            let [told, other] = [&labels, &others].map(|label| viewed(&settings, [1, 4, 4], view, &[input, label]));
            for (a, b) in told.iter().zip(&other) {
                let width = a.len() / ROWS;
                let differs: Vec<bool> = a.chunks(width).zip(b.chunks(width)).map(|(a, b)| a != b).collect();
                assert_eq!(differs, [false, true, false], "{view}");
            }
        }
    }
}

fn takes_pictures(entry: &Entry) -> bool {
    entry.outline(&(entry.defaults)(), &Columns::of_pictures([1, 28, 28], 10)).is_ok()
}

/// A reconstruction is the picture of the mean, and likelihood and score are -log p of it.
#[test]
fn views_agree_with_each_other() {
    let (x, label) = (uniform(1, ROWS * 16, 0.0, 1.0), one_hot([2, 0, 3], CLASSES));
    // Others: `a_discrete_reconstruction_is_the_picture_of_its_code`, and below.
    let of_others = ["gumbel", "vq", "pixelcnn", "super_resolution", "classifier"];
    let has_mean = |entry: &&&Entry| takes_pictures(entry) && !of_others.contains(&entry.name);
    for entry in MODELS.iter().filter(has_mean) {
        for networks in [CONNECTED, LISTED] {
            if networks == LISTED && !has_listed_networks(entry) {
                continue;
            }
            let settings = of_model(entry.name, if entry.name == "ladder" { LADDER } else { networks });
            let views = settings.outline(&Columns::of_pictures([1, 4, 4], CLASSES)).unwrap().views();
            let view = |name: &str, input: &[f32]| {
                let found = views.iter().find(|view| view.name == name).expect("the model has it");
                viewed(&settings, [1, 4, 4], name, &[input, &label][..found.inputs.len()])
            };
            let [mean, logvar] = view("encode", &x).try_into().unwrap();
            let [decoded] = view("decode", &mean).try_into().unwrap();
            // What is noisy is taken as it is.
            let name = if entry.name == "denoising" { "denoise" } else { "reconstruct" };
            assert_eq!(view(name, &x), std::slice::from_ref(&decoded), "{}", entry.name);
            let inputs = [&x[..], &mean, &label];
            let Some(likelihood) = views.iter().find(|view| view.name == "likelihood") else { continue };
            let given = &inputs[..likelihood.inputs.len()];
            let [recon] = viewed(&settings, [1, 4, 4], "likelihood", given).try_into().unwrap();
            if views.iter().any(|view| view.name == "score") {
                let [scored, scored_mean, scored_logvar] = view("score", &x).try_into().unwrap();
                assert_eq!([&scored, &scored_mean, &scored_logvar], [&recon, &mean, &logvar]);
            }
            for ((row, x), p) in recon.iter().zip(x.chunks(16)).zip(decoded.chunks(16)) {
                let nats = |(&x, &p): (&f32, &f32)| {
                    let [x, p] = [x, p].map(f64::from);
                    -(x * p.ln() + (1.0 - x) * (1.0 - p).ln())
                };
                let expected: f64 = x.iter().zip(p).map(nats).sum();
                // 16 pixels of about half a nat, from probabilities in f32.
                assert!((f64::from(*row) - expected).abs() < 1e-5, "{row} {expected}");
            }
        }
    }
}

/// Where nothing is uncertain draws agree, and a weight that is uncertain shows.
#[test]
fn disagreement_is_the_spread_of_the_weights() {
    let x = uniform(1, ROWS * 16, 0.0, 1.0);
    let spread = |logvar: f64| {
        let settings = of_model("bayesian", &format!("{CONNECTED}\ninitial_logvar = {logvar:.1}"));
        let [mean, deviation] = viewed(&settings, [1, 4, 4], "disagreement", &[&x]).try_into().unwrap();
        let [plain] = viewed(&settings, [1, 4, 4], "reconstruct", &[&x]).try_into().unwrap();
        let apart = mean.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        (apart, deviation.iter().sum::<f32>() / deviation.len() as f32)
    };
    let [(apart, none), (_, some), (_, more)] = [-30.0, -6.0, -2.0].map(spread);
    assert!(apart < 1e-5 && none < 1e-5, "{apart} {none}");
    assert!(some > 1e-3 && more > 3.0 * some, "{some} {more}");
}

/// To the bit: a place's logits do not depend on its own code nor on later ones, and some do on each earlier one.
#[test]
fn a_prior_sees_only_what_comes_before() {
    let mut arena = Arena::new();
    let settings = of_model("pixelcnn", "latent = 9\ncodes = 5\ncode_dim = 3\nhidden = [5]\nwidth = 6\nblocks = 2")
        .with("window = 5\nencoder = 'conv 3 k4 s4'\ndecoder = 'conv_transpose 1 k4 s4'\nhead = 'direct'");
    let settings = settings.unwrap();
    let model =
        (settings.entry().unwrap().open)(&mut arena, &settings.own, &Columns::of_pictures([1, 12, 12], 0)).unwrap();
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let mut r = Recorder::new(&mut arena);
    let ids = r.tensor("codes", &[ROWS, 9]);
    let [logits] = model.view(&mut r, "next", &[ids], &mut Draw::Clock(clock)).try_into().unwrap();
    let program = r.finish("next");
    for device in [CPU, Device::Cpu(Cpu::Reference)] {
        let mut backend = device.backend();
        let loaded = backend.load(&arena, &program).unwrap();
        write_start(&mut backend, &arena, &*model, clock);
        arena.statistics().iter().for_each(|s| backend.write(s.value, &uniform(7, s.value.len(), -0.6, 0.6)));
        let mut logits_of = |codes: &[f32]| {
            backend.write(ids, codes);
            backend.run(&[(loaded, 1)]).unwrap();
            backend.read_one(logits).unwrap()
        };
        let codes: Vec<f32> = (0..ROWS * 9).map(|i| (i * 7 % 5) as f32).collect();
        let before = logits_of(&codes);
        for place in 0..9 {
            let mut other = codes.clone();
            other[9 + place] = (other[9 + place] + 1.0) % 5.0;
            let after = logits_of(&other);
            let differs = |at: &usize| before[at * 5..][..5] != after[at * 5..][..5];
            let changed: Vec<usize> = (0..ROWS * 9).filter(differs).collect();
            assert!(changed.iter().all(|&at| (9 + place + 1..18).contains(&at)), "{place}: {changed:?}");
            assert!(place == 8 || changed.contains(&(9 + place + 1)), "{place}: {changed:?}");
        }
    }
}

/// Of the latent point that the picture's encoding says: the one-hot vectors of the largest logits.
#[test]
fn a_discrete_reconstruction_is_the_picture_of_its_code() {
    let x = uniform(1, ROWS * 16, 0.0, 1.0);
    for networks in [CONNECTED, LISTED] {
        let settings = of_model("gumbel", networks).with("categories = 2").unwrap();
        let view = |name: &str, input: &[f32]| viewed(&settings, [1, 4, 4], name, &[input]);
        let [logits] = view("encode", &x).try_into().unwrap();
        let z: Vec<f32> = logits.chunks(2).flat_map(|l| if l[1] > l[0] { [0.0, 1.0] } else { [1.0, 0.0] }).collect();
        assert_eq!(view("reconstruct", &x), view("decode", &z));

        let settings = of_model("vq", networks).with("code_dim = 2\ncodes = 5\ncodebook = 'gradient'").unwrap();
        let view = |name: &str, input: &[f32]| viewed(&settings, [1, 4, 4], name, &[input]);
        let [codes] = view("encode", &x).try_into().unwrap();
        assert!(codes.iter().all(|&code| code.fract() == 0.0 && (0.0..5.0).contains(&code)), "{codes:?}");
        assert_eq!(view("reconstruct", &x), view("decode", &codes));
    }
}

/// Known pixels stay, unknown ones get the mean, and dz is the slope of -log p of the known ones alone.
#[test]
fn unknown_pixels_are_filled_and_pull_at_nothing() {
    let x = uniform(1, ROWS * 16, 0.05, 0.95);
    let z = host_normal(2, 0, ROWS * 2);
    let seen: Vec<f32> = (0..ROWS * 16).map(|i| f32::from(i % 3 != 0)).collect();
    let label = one_hot([2, 0, 3], CLASSES);
    // A batch norm in evaluation, too.
    let listed = LISTED.replace("linear 8, silu", "linear 8, batchnorm, silu");
    let models = ["vae", "conditional", "denoising", "latent_classifier", "vae_gan"];
    for (name, networks) in models.into_iter().flat_map(|name| [(name, CONNECTED), (name, &listed)]) {
        let settings = of_model(name, networks);
        let view = |name: &str, inputs: &[&[f32]]| {
            let told = (settings.model == "conditional").then_some(label.as_slice());
            viewed(&settings, [1, 4, 4], name, &inputs.iter().copied().chain(told).collect::<Vec<_>>())
        };
        let networks = format!("{name}: {networks}");
        let [filled, dz] = view("fill", &[&x, &seen, &z]).try_into().unwrap();
        let [mean] = view("decode", &[&z]).try_into().unwrap();
        for (i, &seen) in seen.iter().enumerate() {
            let expected = if seen == 1.0 { x[i] } else { mean[i] };
            assert!((filled[i] - expected).abs() < 1e-6, "{networks}: {i}");
        }
        let loss = |z: &[f32], row: usize| -> f64 {
            let [p] = view("decode", &[z]).try_into().unwrap();
            let of = |i: usize| {
                let [x, p] = [x[i], p[i]].map(f64::from);
                -x * p.ln() - (1.0 - x) * (1.0 - p).ln()
            };
            (row * 16..(row + 1) * 16).filter(|&i| seen[i] == 1.0).map(of).sum()
        };
        for (at, &dz) in dz.iter().enumerate() {
            let moved = |shift: f32| {
                let mut z = z.clone();
                z[at] += shift;
                loss(&z, at / 2)
            };
            let slope = (moved(0.01) - moved(-0.01)) / 0.02;
            // The difference has an error of 1e-4 of the third derivative, and the rounding of p.
            assert!((slope - f64::from(dz)).abs() < 2e-3, "{networks}: dz[{at}] is {dz}, the difference {slope}");
        }
    }
}

/// The small picture is the mean of each square, and the reconstruction what it and the mean of q(z|x) become.
#[test]
fn super_resolution_draws_what_the_small_picture_lacks() {
    let settings = of_model("super_resolution", CONNECTED);
    let x = uniform(1, ROWS * 16, 0.0, 1.0);
    let view = |name: &str, inputs: &[&[f32]]| viewed(&settings, [1, 4, 4], name, inputs);
    let [low] = view("shrink", &[&x]).try_into().unwrap();
    let [mean, _] = view("encode", &[&x]).try_into().unwrap();
    for (row, low) in low.chunks(4).enumerate() {
        for (at, &low) in low.iter().enumerate() {
            let first = row * 16 + at / 2 * 8 + at % 2 * 2;
            let square = [first, first + 1, first + 4, first + 5].map(|i| x[i]);
            assert!((low - square.iter().sum::<f32>() / 4.0).abs() < 1e-6);
        }
    }
    let [again] = view("enlarge", &[&low, &mean]).try_into().unwrap();
    let [reconstruction] = view("reconstruct", &[&x]).try_into().unwrap();
    assert_eq!(again, reconstruction);
}
