//! The gradients of every model are those of its loss: the second leg of trust, under whole models.

use elbo::data::table::{Columns, Kind};
use elbo::models::Weight;
use elbo::train::settings::Settings;

use crate::step::{CONNECTED, KL_WEIGHT, LADDER, LISTED, Step, of_model, prior_step};

/// Half the width of a central difference.
const SHIFT: f32 = 1.0 / 64.0;
/// Of the largest gradient of the model. The difference has an error of SHIFT^2/6 of the third derivative, 4e-5 of it,
/// and the rounding of f32 between kernels: losses of 20 nats and more are off by some 1e-6 each, over a width of 1/32.
const TOLERANCE: f64 = 1e-3;

/// Every parameter's gradient against the central difference of the loss.
fn check_gradients(what: &str, settings: &Settings, shape: [usize; 3]) {
    check_gradients_of(what, Step::new(settings, shape), |_| true);
}

/// The same of the parameters of these names.
fn check_gradients_of(what: &str, mut step: Step, of: impl Fn(&str) -> bool) {
    step.loss();
    let parameters = step.arena.parameters().to_vec();
    let gradients: Vec<Vec<f32>> = parameters.iter().map(|p| step.backend.read_one(p.grad).unwrap()).collect();
    let largest = gradients.iter().flatten().fold(0.0f64, |most, &g| most.max(f64::from(g).abs()));
    for (p, gradient) in parameters.iter().zip(&gradients).filter(|(p, _)| of(&p.name)) {
        let values = step.backend.read_one(p.value).unwrap();
        let mut moved = values.clone();
        for (i, &gradient) in gradient.iter().enumerate() {
            let mut at = |shift: f32| {
                moved[i] = values[i] + shift;
                step.backend.write(p.value, &moved);
                step.loss()
            };
            let width = f64::from(values[i] + SHIFT) - f64::from(values[i] - SHIFT);
            let difference = (at(SHIFT) - at(-SHIFT)) / width;
            moved[i] = values[i];
            let apart = (difference - f64::from(gradient)).abs();
            let place = format!("{what}: {}[{i}]", p.name);
            assert!(
                apart <= TOLERANCE * largest,
                "{place} is {gradient}, the difference {difference}; up to {largest}"
            );
        }
        step.backend.write(p.value, &values);
        // A bias in front of a batch norm has none.
        let is_still = p.name.ends_with(".0.0.bias");
        assert_eq!(gradient.iter().all(|&g| g == 0.0), is_still, "{what}: {}", p.name);
    }
}

/// Through time, with rows that end before others, of each distribution of a step.
#[test]
fn gradients_through_time_are_those_of_the_loss() {
    let steps = Kind::Steps { channels: 3, longest: 3 };
    let sizes = [("vrnn", "features = 4\nhidden = 3"), ("deep_markov", "hidden = 4\ntransition = 3\nemitter = 4")];
    for (model, sizes) in sizes {
        for emission in ["bernoulli", "gaussian", "strokes"] {
            let settings = of_model(model, sizes)
                .with(&format!("latent = 2\nactivation = 'tanh'\nemission = '{emission}'\nmixture = 2"));
            let step = Step::of(&settings.unwrap(), steps);
            check_gradients_of(&format!("{model}, {emission}"), step, |_| true);
        }
    }
}

#[test]
fn a_vaes_gradients_are_those_of_its_loss() {
    for (what, text) in [("connected", CONNECTED), ("listed", LISTED)] {
        check_gradients(what, &of_model("vae", text), [1, 4, 4]);
    }
}

/// A capacity above the KL, the KL in parts, and a prior whose pseudo-inputs go through the encoder, too.
#[test]
fn the_gradients_of_a_vae_with_another_kl_are_those_of_its_loss() {
    for form in ["capacity = 0.8", "tc_weight = 3.0\nexamples = 50", "prior = 'vamp'\ncomponents = 4"] {
        for (kind, networks) in [("connected", CONNECTED), ("listed", LISTED)] {
            // A batch norm of pseudo-inputs is refused.
            let networks = match form.contains("vamp") {
                true => networks.replace("(conv 3 k3 s1 p1, batchnorm, silu)", "conv 3 k3 s1 p1, silu"),
                false => networks.to_string(),
            };
            let settings = of_model("vae", &networks).with(form).unwrap();
            check_gradients(&format!("{form}, {kind}"), &settings, [1, 4, 4]);
            let mean = settings.with("reduction = 'mean'").unwrap();
            check_gradients(&format!("{form}, {kind}, mean"), &mean, [1, 4, 4]);
        }
    }
}

#[test]
fn a_vae_of_vectors_has_the_gradients_of_its_loss() {
    let listed = "head = 'direct'\nlatent = 2\nencoder = 'linear 6, tanh, linear 4'\ndecoder = 'flatten, linear 7'";
    for (what, text) in [
        ("connected", format!("{CONNECTED}\noutput = 'gaussian'\nsigma = 0.7")),
        ("listed", format!("{listed}\noutput = 'gaussian'\nsigma = 0.9")),
    ] {
        check_gradients_of(what, Step::of(&of_model("vae", &text), Kind::Vector(7)), |_| true);
    }
    let pixels = of_model("vae", CONNECTED).outline(&Columns::of(Kind::Vector(7), 0)).err().unwrap().to_string();
    assert!(pixels.contains("output is \"bernoulli\"") && pixels.contains("vectors of 7"), "{pixels}");
}

#[test]
fn a_conditional_models_gradients_are_those_of_its_loss() {
    let connected = of_model("conditional", CONNECTED);
    let variant = |text: &str| connected.with(text).unwrap();
    for (what, settings, shape) in [
        ("split heads", connected.clone(), [1, 4, 4]),
        ("one head, two layers, mean", variant("head = 'fused'\nhidden = [6, 5]\nreduction = 'mean'"), [1, 4, 4]),
        ("colours, Gaussian", variant("output = 'gaussian'\nsigma = 0.6"), [3, 2, 3]),
        ("label planes", of_model("conditional", LISTED), [1, 4, 4]),
    ] {
        check_gradients(what, &settings, shape);
    }
}

#[test]
fn a_denoising_models_gradients_are_those_of_its_loss() {
    for (kind, networks) in [("connected", CONNECTED), ("listed", LISTED)] {
        for noise in ["gaussian:0.4", "salt_and_pepper:0.3", "mask:0.4"] {
            let settings = of_model("denoising", networks).with(&format!("noise = '{noise}'")).unwrap();
            check_gradients(&format!("{noise}, {kind}"), &settings, [1, 4, 4]);
        }
    }
}

#[test]
fn a_super_resolutions_gradients_are_those_of_its_loss() {
    let listed = "head = 'direct'\nencoder = 'conv 2 k2 s2, tanh, flatten, linear 4'\n\
                  decoder = 'conv 3 k3 p1, tanh, conv_transpose 1 k2 s2'";
    for networks in [CONNECTED.to_string(), format!("latent = 2\n{listed}")] {
        let text = format!("{networks}\noutput = 'gaussian'\nsigma = 0.6");
        check_gradients(&networks, &of_model("super_resolution", &text), [1, 4, 4]);
    }
}

#[test]
fn a_classifiers_gradients_are_those_of_its_loss() {
    for body in ["flatten, linear 5, tanh", "(conv 3 k3 s1 p1, batchnorm, silu), conv 2 k2 s2, tanh"] {
        let settings = of_model("classifier", &format!("body = '{body}'"));
        check_gradients(body, &settings, [1, 4, 4]);
    }
}

#[test]
fn a_bayesian_models_gradients_are_those_of_its_loss() {
    for (inferred, more) in [("decoder", ""), ("both", "hidden = [6, 5]\nreduction = 'mean'\nexamples = 7")] {
        let text = format!("{CONNECTED}\ninferred = '{inferred}'\ninitial_logvar = -3.0\nprior_sigma = 0.5");
        let settings = of_model("bayesian", &text).with(more).unwrap();
        check_gradients(inferred, &settings, [1, 4, 4]);
    }
}

#[test]
fn a_ladders_gradients_are_those_of_its_loss() {
    let three = "hidden = [6, 5, 4]\nlatent = [3, 2, 2]\nreduction = 'mean'\noutput = 'gaussian'\nsigma = 0.7";
    for (what, more) in [("two levels", ""), ("three levels, mean", three)] {
        check_gradients(what, &of_model("ladder", LADDER).with(more).unwrap(), [1, 4, 4]);
    }
    check_gradients_of("vectors", Step::of(&of_model("ladder", LADDER).with(three).unwrap(), Kind::Vector(7)), |_| {
        true
    });
}

/// Each of the three has the gradient of its own loss, whatever else passes through it.
#[test]
fn each_network_of_a_vae_gan_has_the_gradient_of_its_own_loss() {
    let owner = |name: &str| match name.split('.').next() {
        Some("discriminator") => "discriminator",
        Some("decoder" | "fc3" | "fc4") => "decoder",
        _ => "encoder",
    };
    // gamma is the knob of the KL, so that the decoder's loss can be written with the weights that there are.
    let gamma = Weight::Knob("kl_weight");
    let losses = [
        ("encoder", vec![("recon", Weight::One), ("kl", Weight::Knob("kl_weight"))]),
        ("decoder", vec![("recon", gamma), ("gen", Weight::One)]),
        ("discriminator", vec![("dis_real", Weight::One), ("dis_fake", Weight::One)]),
    ];
    let connected = format!("{CONNECTED}\ndiscriminator_hidden = [5]\ndiscriminator_head = [3]\nreduction = 'mean'");
    let listed = "discriminator = 'conv 3 k3 s1 p1, silu, conv 2 k2 s2, tanh'\ngenerator = 'minimax'";
    for (what, text) in [("connected", connected), ("listed", format!("{LISTED}\n{listed}"))] {
        let settings = of_model("vae_gan", &text).with(&format!("gamma = {KL_WEIGHT:?}")).unwrap();
        for (network, terms) in &losses {
            let mut step = Step::new(&settings, [1, 4, 4]);
            for (term, _) in &mut step.terms {
                let weight = terms.iter().find(|(name, _)| *name == term.name);
                term.weight = weight.map_or(Weight::Zero, |(_, weight)| *weight);
            }
            check_gradients_of(&format!("{network}, {what}"), step, |name| owner(name) == *network);
        }
    }
}

/// With several samples a picture the loss is the bound, of which no sample's share is left out. The encoder's
/// doubly reparameterised gradient is that of the loss only in the mean: the decoder's is looked at.
#[test]
fn the_gradients_of_a_bound_of_several_samples_are_those_of_the_loss() {
    for model in ["vae", "conditional", "denoising"] {
        for (networks, reduction, estimator) in
            [(CONNECTED, "sum", "iwae"), (CONNECTED, "mean", "dreg"), (LISTED, "mean", "iwae")]
        {
            let text = format!("{networks}\nimportance = 3\nestimator = '{estimator}'\nreduction = '{reduction}'");
            let settings = of_model(model, &text);
            let decoder =
                |name: &str| name.starts_with("decoder") || name.starts_with("fc3") || name.starts_with("fc4");
            let looked_at = |name: &str| estimator == "iwae" || decoder(name);
            check_gradients_of(&format!("{estimator} of a {model}"), Step::new(&settings, [1, 4, 4]), looked_at);
        }
    }
}

/// Of the relaxed sample's. Straight through, the gradient is not that of the loss, which moves in steps: parity with
/// PyTorch's autograd holds it.
#[test]
fn a_gumbel_models_gradients_are_those_of_its_loss() {
    // A temperature below 1 bends more than the other models do, so the networks are small and the classes few.
    for (what, text) in [("connected", CONNECTED), ("listed", LISTED)] {
        check_gradients(what, &of_model("gumbel", text).with("categories = 2").unwrap(), [1, 4, 4]);
    }
}

/// Of the decoder. The encoder's gradient passes the codes as if they were not there, and theirs knows nothing of what
/// the decoder makes of them: parity with PyTorch's autograd holds these.
#[test]
fn the_gradients_of_a_decoder_of_codes_are_those_of_its_loss() {
    for (networks, decoder) in [(CONNECTED, ["fc3.", "fc4."]), (LISTED, ["decoder."; 2])] {
        let text = "code_dim = 2\ncodes = 5\ncodebook = 'gradient'\ncommitment = 0.7";
        let settings = of_model("vq", networks).with(text).unwrap();
        let is_decoder = |name: &str| decoder.iter().any(|stem| name.starts_with(stem));
        check_gradients_of(networks, Step::new(&settings, [1, 4, 4]), is_decoder);
    }
}

/// Of the last layer, behind which nothing has a corner; parity with PyTorch holds the others.
#[test]
fn the_gradients_of_a_prior_are_those_of_its_loss() {
    for reduction in ["sum", "mean"] {
        check_gradients_of(reduction, prior_step(reduction), |name| name.starts_with("network.5."));
    }
}

#[test]
fn a_recommenders_gradients_are_those_of_its_loss() {
    let small = "hidden = [6]\nlatent = 2\nkl_weight = 0.7";
    for text in
        ["", "hidden = [6, 5]\nreduction = 'mean'", "likelihood = 'bernoulli'\nnormalise = false\ndropout = 0.0"]
    {
        let settings = of_model("recommendation", small).with(text).unwrap();
        check_gradients_of(text, Step::of(&settings, Kind::Items(11)), |_| true);
    }
}

#[test]
fn a_latent_classifiers_gradients_are_those_of_its_loss() {
    for (what, text) in [
        ("some labels", format!("{CONNECTED}\nlabels = 2\nclassifier = [3]")),
        ("all labels, mean", format!("{CONNECTED}\nreduction = 'mean'\nalpha = 3.0")),
        ("listed", format!("{LISTED}\nlabels = 2")),
    ] {
        check_gradients(what, &of_model("latent_classifier", &text), [1, 4, 4]);
    }
}

#[test]
fn gradients_of_m2_are_those_of_its_loss() {
    // The constants are zeros, and so are the means of the features: the noise is what is modelled.
    let features =
        "feature_hidden = [6, 5]\nfeature_latent = 3\nfeature_noise = true\noutput = 'gaussian'\nsigma = 0.6";
    for (what, text, shape) in [
        ("some labels", format!("{CONNECTED}\nlabels = 2"), [1, 4, 4]),
        ("all labels, mean", format!("{CONNECTED}\nreduction = 'mean'\nclassifier = [3]"), [1, 4, 4]),
        ("mean", format!("{CONNECTED}\nlabels = 2\nreduction = 'mean'\nhead = 'fused'"), [1, 4, 4]),
        ("label planes", format!("{LISTED}\nlabels = 2"), [1, 4, 4]),
        ("features", format!("{CONNECTED}\nlabels = 2\nclassifier = [3]\n{features}"), [3, 2, 3]),
    ] {
        check_gradients(what, &of_model("m2", &text), shape);
    }
}

#[test]
fn the_gradients_of_a_series_are_those_of_its_loss() {
    for text in ["", "hide = 3\nreduction = 'mean'"] {
        let small = format!("hidden = 5\nlatent = 2\nkl_weight = {KL_WEIGHT:?}");
        let settings = of_model("series", &small).with(text).unwrap();
        // The log variance is six times as steep as its layer, so that the difference of that one is off by more than
        // the tolerance; parity with PyTorch holds it.
        let of = |name: &str| !name.starts_with("logvar.");
        check_gradients_of(text, Step::of(&settings, Kind::Steps { channels: 3, longest: 6 }), of);
    }
}
