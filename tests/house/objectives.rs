//! What a single model's step promises beyond its gradients: what it sees, and what each term is.

use std::collections::BTreeSet;

use elbo::cases::uniform;
use elbo::data::table::{Kind, LABELS, PICTURES};
use elbo::kernels::gaussian_kl::divergence;
use elbo::models::draw::Distribution;
use elbo::models::m2;
use elbo::train::pictures::one_hot;

use crate::step::{CLASSES, CONNECTED, LADDER, LISTED, ROWS, Step, of_model, prior_step, viewed};

/// Shifts the three parts, each by a constant, and not what is learned of them.
#[test]
fn the_number_of_examples_changes_no_gradient() {
    let run = |examples: usize| {
        let settings = of_model("vae", CONNECTED).with(&format!("tc_weight = 3.0\nexamples = {examples}")).unwrap();
        let mut step = Step::new(&settings, [1, 4, 4]);
        let sums: Vec<f32> = step.run().iter().map(|rows| rows.iter().sum()).collect();
        let gradients = step.arena.flat_gradients();
        (sums, step.backend.read_one(gradients).unwrap())
    };
    let ((few, of_few), (many, of_many)) = (run(3), run(3000));
    assert_eq!(of_few, of_many);
    // log 1000 a row for each of the two dimensions and of q(z).
    let shift = ROWS as f32 * 1000f32.ln();
    for (part, shifts) in [(1, 1.0), (2, 1.0), (3, -2.0)] {
        let apart = many[part] - few[part] - shifts * shift;
        assert!(apart.abs() < 1e-3, "{part}: {few:?}, {many:?}");
    }
}

/// Where every z is the mean of its q, the KL of a level is that of its share of the latent point to N(0,1).
#[test]
fn a_ladders_latent_point_is_the_noise_of_its_levels() {
    let settings = of_model("ladder", LADDER);
    let mut step = Step::new(&settings, [1, 4, 4]);
    let shapes: Vec<&[usize]> = step.noise.iter().map(|(tensor, _)| tensor.shape()).collect();
    assert_eq!(shapes, [[ROWS, 2], [ROWS, 3]], "the top level is drawn first");
    for (tensor, _) in step.noise.clone() {
        step.backend.write(tensor, &vec![0.0; tensor.len()]);
    }
    let x = uniform(1, ROWS * 16, 0.0, 1.0);
    let [mean, logvar] = viewed(&settings, [1, 4, 4], "encode", &[&x]).try_into().unwrap();
    let parts = step.run();
    for (kl, dimensions) in parts[1..].iter().zip([0..3, 3..5]) {
        for (row, kl) in kl.iter().enumerate() {
            let of = |j: usize| divergence(f64::from(mean[row * 5 + j]), f64::from(logvar[row * 5 + j]));
            let expected: f64 = dimensions.clone().map(of).sum();
            assert!((f64::from(*kl) - expected).abs() < 1e-5, "row {row}, {dimensions:?}: {kl} {expected}");
        }
    }
    let [recon] = viewed(&settings, [1, 4, 4], "likelihood", &[&x, &mean]).try_into().unwrap();
    for (a, b) in recon.iter().zip(&parts[0]) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(of_model("ladder", "latent = [4, 3, 2]\nhidden = [4, 3, 2]").terms().unwrap().len() == 4);
    for (text, word) in [
        ("latent = [3]", "latent is 3, but must be the sizes of 2 to 5 levels"),
        ("latent = []", "latent is empty"),
        ("latent = [3, 0]", "latent is 0"),
        ("hidden = [5]", "hidden is 5, but must be a size a level, and latent has 2"),
        ("free_bits = 0.1", "free_bits is 0.1"),
    ] {
        let problem = settings.with(text).unwrap_err().to_string();
        assert!(problem.starts_with(word) && !problem.contains('\n'), "{problem}");
    }
}

/// By averages the codes are no parameter: a step moves them, and they start on vectors of its batch.
#[test]
fn a_step_moves_the_codes_by_averages_and_without_a_gradient() {
    let settings = of_model("vq", CONNECTED).with("code_dim = 2\ncodes = 5").unwrap();
    let mut step = Step::new(&settings, [1, 4, 4]);
    assert!(step.arena.parameters().iter().all(|p| !p.name.starts_with("codebook")));
    let codes = step.arena.statistics().iter().find(|s| s.name == "codebook.weight").unwrap().value;
    assert!(step.backend.read_one(codes).unwrap().iter().all(|&v| v == 0.0));
    let [first, second] = [0, 1].map(|_| {
        let terms = step.run();
        (terms, step.backend.read_one(codes).unwrap())
    });
    let distinct: BTreeSet<Vec<u32>> =
        first.1.chunks(2).map(|code| code.iter().map(|v| v.to_bits()).collect()).collect();
    assert_eq!(distinct.len(), 5, "{:?}", first.1);
    // All vectors had the same code, then several, and nearer ones. Terms: recon, codebook, commit, perplexity, used.
    let sum = |values: &[f32]| values.iter().sum::<f32>();
    assert_eq!((first.0[1].as_slice(), first.0[3][0], first.0[4][0]), (&[0.0; ROWS][..], ROWS as f32, ROWS as f32));
    assert!(sum(&second.0[2]) < 0.5 * sum(&first.0[2]) && second.0[4][0] > ROWS as f32, "{:?} {:?}", first.0, second.0);
}

#[test]
fn what_a_prior_does_not_see_has_no_gradient() {
    let mut step = prior_step("sum");
    step.loss();
    for (name, middle) in [("network.0.weight", 0), ("network.1.body.3.weight", 1)] {
        let p = step.arena.parameters().iter().find(|p| p.name == name).unwrap().clone();
        let &[_, 3, 3, inputs] = p.value.shape() else { panic!("{:?}", p.value) };
        let gradient = step.backend.read_one(p.grad).unwrap();
        // The places of a 3x3 window, in the order of reading; the middle is the fourth.
        let at =
            |place: usize| gradient.iter().enumerate().filter(move |(i, _)| i / inputs % 9 == place).map(|(_, &g)| g);
        for place in 0..9 {
            assert_eq!(at(place).all(|g| g == 0.0), place >= 4 + middle, "{name} at {place}");
        }
    }
    let names: Vec<&str> = step.arena.parameters().iter().map(|p| p.name.as_str()).collect();
    assert!(names.iter().all(|name| name.starts_with("network.")), "the VQ-VAE is trained: {names:?}");
}

/// The lesson of estimator argmax: the decoder learns, and the encoder's gradient is 0 to the bit.
#[test]
fn no_gradient_passes_an_argmax() {
    for (networks, of_encoder) in [(CONNECTED, &["fc1.", "fc2."][..]), (LISTED, &["encoder."][..])] {
        let settings = of_model("gumbel", networks).with("categories = 2\nestimator = 'argmax'").unwrap();
        let mut step = Step::new(&settings, [1, 4, 4]);
        step.loss();
        for p in step.arena.parameters() {
            let is_zero = step.backend.read_one(p.grad).unwrap().iter().all(|&g| g == 0.0);
            assert_eq!(is_zero, of_encoder.iter().any(|stem| p.name.starts_with(stem)), "{}", p.name);
        }
    }
}

/// What the encoder sees does not grow with the number of a user's items, and those that are dropped are not seen.
#[test]
fn a_recommender_sees_users_at_one_length_and_without_what_is_dropped() {
    let small = of_model("recommendation", "hidden = [6]\nlatent = 2");
    let mut step = Step::of(&small, Kind::Items(11));
    let [(dropped, distribution), (noise, _)] = step.noise[..] else { panic!("a mask and z are drawn") };
    assert_eq!(
        (dropped.shape(), distribution, noise.shape()),
        (&[ROWS, 11][..], Distribution::Uniform, &[ROWS, 2][..])
    );
    let mut kl_of = |x: &[f32], mask: &[f32]| {
        step.write(PICTURES, x);
        step.backend.write(dropped, mask);
        step.loss();
        step.run().remove(1)
    };
    let x = |value: f32| (0..ROWS * 11).map(|i| if i % 3 == 0 { value } else { 0.0 }).collect::<Vec<f32>>();
    let (kept, first_dropped) = (vec![1.0; ROWS * 11], (0..ROWS * 11).map(|i| if i % 11 == 0 { 0.0 } else { 1.0 }));
    let whole = kl_of(&x(1.0), &kept);
    assert_eq!(whole, kl_of(&x(4.0), &kept));
    assert_ne!(whole, kl_of(&x(1.0), &first_dropped.collect::<Vec<f32>>()));
    let problem = small.with("normalise = false").unwrap_err().to_string();
    assert!(problem.contains("dropout is 0.5, but must be 0 where normalise is false"), "{problem}");
}

/// The loss is of the clean picture: the corrupted one moves it through z alone, and is drawn before z is.
#[test]
fn a_denoising_model_is_judged_by_the_clean_picture() {
    for noise in ["gaussian:0.4", "salt_and_pepper:0.3", "mask:0.4"] {
        let text = format!("{CONNECTED}\nnoise = '{noise}'");
        let mut step = Step::new(&of_model("denoising", &text), [1, 4, 4]);
        let [(corruption, _), (latent, distribution)] = step.noise[..] else { panic!("two noises are drawn") };
        assert_eq!((corruption.shape(), latent.shape()), (&[ROWS, 16][..], &[ROWS, 2][..]));
        assert_eq!(distribution, Distribution::Normal);
        let noisy = step.loss();
        let drawn_noise = step.backend.read_one(corruption).unwrap();
        // Noise that leaves the picture as it is: 0 of a normal; a half of a uniform between the two cuts.
        let none = if noise.starts_with("gaussian") { 0.0 } else { 0.5 };
        step.backend.write(corruption, &vec![none; corruption.len()]);
        let clean = step.loss();
        assert_ne!(noisy, clean, "{noise}");
        // Then it is the VAE's, to the bit, from the same parameters, pictures and z.
        let mut vae = Step::new(&of_model("vae", CONNECTED), [1, 4, 4]);
        let drawn = step.backend.read_one(latent).unwrap();
        vae.backend.write(vae.noise[0].0, &drawn);
        assert_eq!(clean, vae.loss(), "{noise}");
        // A decoder that does not look at z has the same reconstruction of every corruption, and q does not.
        let weight = step.arena.parameters().iter().find(|p| p.name == "fc4.weight").unwrap().value;
        step.backend.write(weight, &vec![0.0; weight.len()]);
        let [recon, kl] = step.run().try_into().unwrap();
        step.backend.write(corruption, &drawn_noise);
        let [noisy_recon, noisy_kl] = step.run().try_into().unwrap();
        assert_eq!(recon, noisy_recon, "{noise}");
        assert_ne!(kl, noisy_kl, "{noise}");
    }
}

/// With `detach` encoder and decoder learn what a VAE learns, to the bit, and the classifier what it learns anyway.
#[test]
fn a_detached_classifier_teaches_the_vae_nothing() {
    let gradients = |model: &str, text: &str| {
        let mut step = Step::new(&of_model(model, &format!("{CONNECTED}\n{text}")), [1, 4, 4]);
        step.loss();
        let gradient = |p: &elbo::arena::Parameter| (p.name.clone(), step.backend.read_one(p.grad).unwrap());
        step.arena.parameters().iter().map(gradient).collect::<Vec<_>>()
    };
    let vae = gradients("vae", "");
    let [detached, joined] =
        ["true", "false"].map(|detach| gradients("latent_classifier", &format!("labels = 2\ndetach = {detach}")));
    assert_eq!(detached[..vae.len()], vae);
    assert_eq!(detached[vae.len()..], joined[vae.len()..]);
    assert!(joined[0].1 != vae[0].1 && detached.len() > vae.len());
}

/// U(x) is the sum over y of q(y|x) L(x,y), each of them from a step that is told y, and what q(y|x) costs.
#[test]
fn a_label_that_is_summed_out_is_the_sum_of_all_that_are_told() {
    let settings = of_model(m2::ENTRY.name, &format!("{CONNECTED}\nclassifier = [3]\nlabels = 2"));
    let mut step = Step::new(&settings, [1, 4, 4]);
    let [x, none] = [uniform(1, ROWS * 16, 0.0, 1.0), vec![0.0; ROWS * CLASSES]];
    // recon + kl + kl_y of each row.
    let mut bounds = |labels: &[f32]| {
        step.write(LABELS, labels);
        let parts = step.run();
        let row = |r: usize| {
            let sum = |term: usize, width: usize| {
                parts[term][r * width..][..width].iter().map(|&v| f64::from(v)).sum::<f64>()
            };
            sum(0, CLASSES) + sum(1, CLASSES) + sum(2, 1)
        };
        [0, 1, 2].map(row)
    };
    let summed = bounds(&none);
    let told: Vec<[f64; ROWS]> = (0..CLASSES).map(|k| bounds(&one_hot([k; ROWS], CLASSES))).collect();
    let pi = viewed(&settings, [1, 4, 4], "classify", &[&x]).remove(0);
    for (r, &bound) in summed.iter().enumerate() {
        let part = |k: usize| {
            let pi = f64::from(pi[r * CLASSES + k]);
            pi * (told[k][r] + pi.ln())
        };
        let expected: f64 = (0..CLASSES).map(part).sum();
        assert!((bound - expected).abs() < 1e-5 * expected, "row {r}: {bound}, {expected}");
    }
}

#[test]
fn another_label_gives_another_loss() {
    for networks in [CONNECTED, LISTED] {
        let mut step = Step::new(&of_model("conditional", networks), [1, 4, 4]);
        let right = step.loss();
        assert_eq!(step.loss(), right, "it repeats itself");
        let mut seen = vec![right];
        for labels in [[0, 3, 2], [3, 2, 0], [1, 1, 1]] {
            step.write(LABELS, &one_hot(labels, CLASSES));
            let loss = step.loss();
            assert!(seen.iter().all(|other| (other - loss).abs() > 1e-4 * loss), "{labels:?}: {loss} in {seen:?}");
            seen.push(loss);
        }
        step.write(LABELS, &one_hot([2, 0, 3], CLASSES));
        assert_eq!(step.loss(), right);
        // Rows in another order, all of them, are the same batch.
        let turned = |values: Vec<f32>| {
            let width = values.len() / ROWS;
            [&values[width..], &values[..width]].concat()
        };
        let tensors = step.inputs.iter().map(|&(_, tensor)| tensor).chain(step.noise.iter().map(|&(tensor, _)| tensor));
        for tensor in tensors.collect::<Vec<_>>() {
            let values = step.backend.read_one(tensor).unwrap();
            step.backend.write(tensor, &turned(values));
        }
        // But for the order of sums over the batch, in a batch norm or of the KL.
        let loss = step.loss();
        assert!((loss - right).abs() < 1e-5 * right, "{loss} {right}");
    }
}
