//! `eval`: the loss of the run, bits, the estimate of log p(x), the latent dimensions.

use elbo::train::metrics::read_metrics;

use super::running::{Run, four_dimensions, losses, succeeds};

#[test]
fn eval_gives_the_loss_of_the_run() {
    let run = Run::copy();
    let root = run.root();
    let metrics =
        read_metrics(&run.file("metrics.csv"), (elbo::models::vae::ENTRY.terms)(&toml::Table::new())).unwrap();
    let want = &metrics.last().unwrap().test;
    let &[want_recon, want_kl] = &want.terms[..] else { panic!("a VAE has two terms") };
    let number = |object: &serde_json::Value, key: &str| object[key].as_f64().unwrap();

    // The same pictures, batches and noise as the run's first epoch: the same number.
    let same = ["eval", &root, "--test-limit", "64", "--batch-size", "32", "--seed", "1"];
    let got = losses(&same);
    assert_eq!(got, losses(&same), "it is deterministic");
    assert!((number(&got, "test_loss") - want.loss).abs() < 1e-6 * want.loss, "{got} {want:?}");
    assert!((number(&got, "test_kl") - want_kl).abs() < 1e-6, "{got} {want:?}");
    assert_eq!((got["dataset"].as_str(), got["pictures"].as_u64()), (Some("digits"), Some(64)));

    // Other noise moves the loss, but little; the KL does not depend on it.
    let other = losses(&["eval", &root, "--test-limit", "64", "--seed", "2"]);
    let difference = (number(&other, "test_loss") - want.loss).abs();
    assert!(difference > 1e-4 && difference < 1.0, "{other} {want:?}");
    assert!((number(&other, "test_kl") - want_kl).abs() < 1e-5, "{other} {want:?}");

    let mean = losses(&["eval", &root, "--test-limit", "64", "--mean", "--dimensions"]);
    // The cross-entropy of grey levels is no likelihood, so its sum with the KL bounds none.
    assert_eq!((mean["is_bound"].as_bool(), got["is_bound"].as_bool()), (Some(false), Some(false)));
    assert!(got["bits_per_dimension"].is_null(), "{got}");
    assert!((number(&got, "nats") - want_recon - want_kl).abs() < 1e-6 * want.loss, "{got} {want:?}");
    let dimensions: Vec<f64> = mean["dimensions"].as_array().unwrap().iter().map(|d| number(d, "kl")).collect();
    assert!(dimensions.len() == 2 && dimensions[0] >= dimensions[1], "{mean}");
    assert!((dimensions.iter().sum::<f64>() - number(&mean, "test_kl")).abs() < 1e-5, "{mean}");
}

#[test]
fn eval_prints_lines_and_takes_the_best_model_too() {
    let run = Run::copy();
    let printed = succeeds(&["eval", &run.root(), "--best", "--test-limit", "64", "--dimensions"]);
    assert!(printed.starts_with("64 test pictures of digits, nats a picture, z sampled with seed 1: a cross-entropy "));
    assert!(printed.contains("not a likelihood\n") && !printed.contains("bits"), "{printed}");
    assert!(printed.contains("\ntest_loss ") && printed.contains("kl of dimension 1: "), "{printed}");
    let printed = succeeds(&["eval", &run.path("best.safetensors"), "--test-limit", "64", "--mean"]);
    assert!(printed.contains("z is the mean: a cross-entropy"), "{printed}");
}

/// The estimate of -log p(x) lies below the bound, and is one of a likelihood where the pixels are black or white.
#[test]
fn eval_estimates_log_p_and_reports_on_the_latent_dimensions() {
    let run = Run::copy();
    let root = run.root();
    let black_and_white = ["eval", &root, "--limit", "64", "--binarise", "static", "--nll", "200", "--latent-report"];
    let got = losses(&black_and_white);
    let number = |object: &serde_json::Value, key: &str| object[key].as_f64().unwrap();
    let (nll, latents) = (&got["nll"], &got["latents"]);
    assert!(number(nll, "nats") < number(&got, "test_loss") && number(nll, "standard_error") > 0.0, "{got}");
    assert_eq!((nll["samples"].as_u64(), nll["pictures"].as_u64()), (Some(200), Some(64)), "{got}");
    assert_eq!([&nll["is_likelihood"], &got["is_bound"]].map(|is| is.as_bool()), [Some(true); 2], "{got}");
    let dimensions = latents["dimensions"].as_array().unwrap();
    let kl: f64 = dimensions.iter().map(|dimension| number(dimension, "kl")).sum();
    assert!((kl - number(&got, "test_kl")).abs() < 1e-4 && (kl - number(latents, "kl")).abs() < 1e-4, "{got}");
    assert!(dimensions.len() == 2 && latents["active"].as_u64().unwrap() <= 2, "{got}");
    let parts = number(latents, "information") + number(latents, "marginal_kl");
    assert!((parts - kl).abs() < 1e-4 && number(latents, "information") < 64f64.ln() + 0.5, "{got}");

    let printed = succeeds(&["eval", &root, "--limit", "64", "--nll", "20", "--latent-report"]);
    assert!(printed.contains("\nnll ") && printed.contains(", of a cross-entropy of grey levels, "), "{printed}");
    assert!(printed.contains(" of 2 dimensions are active") && printed.contains("variance of q(z)"), "{printed}");
    run.refused(&["eval", &root, "--nll", "0"], "--nll is 0, but must be at least 1");
}

#[test]
fn eval_gives_bits_where_the_output_is_a_likelihood() {
    let run = Run::copy();
    // The same parameters, read as the means of other distributions.
    for (output, density, of) in
        [("gaussian", 8.0, "of a density"), ("discretised_logistic", 0.0, "of probabilities of the grey levels")]
    {
        let file = run.changed("other.safetensors", |model| {
            let card = model.metadata.get_mut("elbo.model").unwrap();
            *card = card.replace("\"bernoulli\"", &format!("\"{output}\""));
        });
        let args = ["eval", &file, "--test-limit", "64"];
        let got = losses(&args);
        let [nats, bits] = ["nats", "bits_per_dimension"].map(|key| got[key].as_f64().unwrap());
        assert!((bits - density - nats / (784.0 * std::f64::consts::LN_2)).abs() < 1e-9, "{got}");
        assert_eq!((got["output"].as_str(), got["is_bound"].as_bool()), (Some(output), Some(true)));
        let printed = succeeds(&args);
        assert!(printed.contains(": -ELBO\n") && printed.contains(&format!("{bits:.4}, {of}")), "{printed}");
        let printed = succeeds(&[&args[..], &["--mean"]].concat());
        assert!(printed.contains("not a bound on log p(x)"), "{printed}");
    }
}

#[test]
fn eval_takes_a_pytorch_state_dict() {
    let run = Run::copy();
    let pytorch = four_dimensions(&run);
    let printed = succeeds(&["eval", &pytorch, "--dataset", "digits", "--test-limit", "50", "--dimensions"]);
    assert!(printed.contains("50 test pictures of digits") && printed.contains("kl of dimension 3: "), "{printed}");
}
