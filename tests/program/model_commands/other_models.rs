//! Models that need another's folder: few labels (M1, M2 on its latents), codes and a prior over them.

use std::fs;
use std::path::Path;

use elbo::data::npy;

use super::running::{elbo, succeeds, text};

/// M1, M2 on its latents without its folder, and what each takes the test pictures for.
#[test]
fn few_labels_are_enough_to_train_and_classify() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let train = |preset: &str, out: &str, more: &[&str]| {
        let data = ["--dataset", "digits", "--train-limit", "60", "--test-limit", "20"];
        let run = ["train", preset, "--epochs", "1", "--batch-size", "16", "--samples", "0", "--out", &path(out)];
        elbo(&[&run[..], &data, &["--device", "cpu"], more].concat())
    };
    assert!(train("mnist-m1", "m1", &["--labels", "20", "--hidden", "12,10", "--latent", "4"]).status.success());
    let sizes = [
        "--labels",
        "20",
        "--set",
        "feature-hidden=12,10",
        "--set",
        "feature-latent=4",
        "--hidden",
        "12",
        "--latent",
        "3",
    ];
    let [here, nowhere] = ["m1", "m0"].map(|name| format!("features={}", path(name)));
    let both = |features: &str| train("mnist-m1m2", "both", &[&sizes[..], &["--set", features]].concat());

    let refused = both(&nowhere);
    let stderr = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("features: there is no ") && stderr.contains("elbo train mnist-m1"), "{stderr}");
    assert!(!folder.path().join("both").exists());
    let trained = both(&here);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let all = train("mnist-m2", "m2", &["--labels", "70", "--hidden", "12"]);
    assert_eq!(all.status.code(), Some(2));
    assert!(text(&all.stderr).contains("--labels is 70, 7 of each class"), "{}", text(&all.stderr));

    // The features are the model's own now, for whoever opens it or goes on.
    fs::rename(path("m1"), path("m0")).unwrap();
    for run in ["m0", "both"] {
        let said = succeeds(&["classify", &path(run), "--test-limit", "20", "--json"]);
        let found: serde_json::Value = serde_json::from_str(&said).unwrap();
        let rows: Vec<Vec<u64>> = serde_json::from_value(found["confusion"].clone()).unwrap();
        assert_eq!((found["pictures"].as_u64(), rows.iter().flatten().sum::<u64>()), (Some(20), 20));
        assert!(folder.path().join(run).join("confusion.png").is_file());
    }
    let on = elbo(&["train", "--resume", &path("both"), "--epochs", "2", "--device", "cpu"]);
    assert!(on.status.success(), "{}", text(&on.stderr));
    succeeds(&["sample", &path("both"), "--label", "3"]);
    succeeds(&["reconstruct", &path("both"), "--label", "3"]);
}

/// A VQ-VAE's codes are written and read back, and a prior that is trained on them draws others.
#[test]
fn codes_are_encoded_decoded_and_drawn_from_a_prior() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let [vq, prior] = ["vq", "prior"].map(path);
    let run =
        ["--dataset", "digits", "--train-limit", "64", "--test-limit", "20", "--epochs", "2", "--batch-size", "32"];
    let sizes = ["--hidden", "16", "--latent", "3", "--set", "codes=8", "--set", "code_dim=4", "--out", &vq];
    let printed = succeeds(&[&["train", "mnist-vq"], &run[..], &sizes].concat());
    assert!(printed.contains("perplexity") && printed.contains("commit"), "{printed}");
    // Its settings are taken over, not those of the preset.
    let of_prior = ["--set", &format!("vq={vq}"), "--set", "width=8", "--set", "blocks=1", "--out", &prior];
    succeeds(&[&["train", "mnist-vq-prior"], &run[..], &of_prior].concat());
    assert!(
        !Path::new(&prior).join("samples").exists() || fs::read_dir(path("prior/samples")).unwrap().next().is_none()
    );

    for run in [&vq, &prior] {
        let codes = format!("{run}/latents.npy");
        let told = succeeds(&["encode", run, "--limit", "20"]);
        assert!(told.contains("codes of 20 test pictures"), "{told}");
        let read = npy::read(Path::new(&codes)).unwrap();
        assert_eq!((read.rows, read.columns), (20, 3));
        assert!(read.values.iter().all(|&code| code.fract() == 0.0 && (0.0..8.0).contains(&code)));
        succeeds(&["decode", run, &codes]);
        succeeds(&["reconstruct", run]);
        succeeds(&["sample", run, "--rows", "2", "--columns", "3"]);
        assert!(Path::new(run).join("samples.png").exists());
    }
    let read = |run: &str| fs::read(format!("{run}/latents.npy")).unwrap();
    assert!(read(&vq) == read(&prior), "the prior's VQ-VAE is the one that was trained");
    let drawn = |out: &str, temperature: &str| {
        let out = path(out);
        let grid = ["--rows", "1", "--columns", "4", "--temperature", temperature, "--npy", &out];
        succeeds(&[&["sample", &prior], &grid[..]].concat());
        npy::read(Path::new(&out)).unwrap().values
    };
    assert!(drawn("a.npy", "1") == drawn("b.npy", "1") && drawn("c.npy", "1") != drawn("d.npy", "0.1"));
    let likeliest = drawn("e.npy", "0");
    assert!(likeliest.chunks(784).all(|picture| picture == &likeliest[..784]));

    let failing = |args: &[&str], words: &[&str]| {
        let output = elbo(&[args, &["--device", "cpu"]].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{args:?}: {stderr}");
    };
    let matrix = npy::Matrix { rows: 1, columns: 3, values: vec![0.0, 8.0, 1.0] };
    npy::write(Path::new(&path("beyond.npy")), &matrix).unwrap();
    failing(&["decode", &vq, &path("beyond.npy")], &["row 0, column 1 is 8", "whole numbers from 0 to 7"]);
    failing(&["sample", &vq, "--temperature", "0.5"], &["--temperature narrows a normal prior", "codes of 8"]);
    failing(&["traverse", &vq, "--prior"], &["latent points that are numbers", "1x3 codes of 8"]);
    let nowhere = ["--dataset", "digits", "--out", &path("none")];
    failing(
        &[&["train", "mnist-vq-prior", "--set", "vq=nowhere"], &nowhere[..]].concat(),
        &["vq: there is no nowhere"],
    );
    failing(&[&["train", "mnist-vq-prior", "--set", &format!("vq={prior}")], &nowhere[..]].concat(), &["not a VQ-VAE"]);
}
