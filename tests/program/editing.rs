//! `elbo edit` and `elbo eval --metrics`, run as a user runs them.

use std::fs;
use std::path::Path;

use crate::common::process::{elbo, fails, json, succeeds};
use elbo::picture::Picture;

/// A run of a small model on drawn digits, with the options over it.
fn train(here: &Path, preset: &str, more: &str) {
    let data = "--dataset digits --train-limit 200 --test-limit 40 --epochs 1 --batch-size 20 --samples 0 --device cpu";
    succeeds(here, &format!("train {preset} {data} --out {preset} {more}"));
}

fn size(path: &Path) -> [usize; 2] {
    let picture = Picture::read_png(path).unwrap();
    [picture.height as usize, picture.width as usize]
}

#[test]
fn latent_points_are_mixed_moved_and_filled_in() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    train(here, "mnist-mlp", "--hidden 16 --latent 4");
    train(here, "mnist-cvae", "--hidden 16 --latent 4");
    let run = |text: &str| succeeds(here, &format!("edit mnist-mlp --device cpu --test-limit 40 --scale 1 {text}"));

    let found = json(here, "edit mnist-mlp --device cpu --test-limit 40 --fuse 0 1 --json");
    assert_eq!((found["weights"].as_array().unwrap().len(), &found["picture"]), (2, &"mnist-mlp/fused.png".into()));
    let found = json(here, "edit mnist-mlp --device cpu --test-limit 40 --style 0 --content 1 --json");
    assert_eq!(found["style_dimensions"].as_array().unwrap().len(), 2, "half of four");
    let said = run("--fuse 0 1 2 --weights 0.5,0.3,0.2");
    assert!(said.contains("by weights 0.5, 0.3, 0.2"), "{said}");
    let [height, width] = size(&here.join("mnist-mlp/fused.png"));
    assert!(height < width, "three pictures and what lies between: {height} x {width}");
    run("--attribute 7+1.5 --count 5");
    run("--attribute 7-1.5 --count 5 --out other.png");
    assert_ne!(fs::read(here.join("mnist-mlp/attribute.png")).unwrap(), fs::read(here.join("other.png")).unwrap());
    let said = run("--style 0 --content 1");
    assert!(said.contains("style, content, and both") && said.matches(", ").count() >= 2, "{said}");
    run("--style 0 --content 1 --style-dimensions 0,3");

    let mut mask = Picture { width: 28, height: 28, channels: 1, pixels: vec![0; 784] };
    mask.save(here.join("none.png")).unwrap();
    mask.pixels[..392].fill(255);
    mask.save(here.join("half.png")).unwrap();
    let found = json(here, "edit mnist-mlp --device cpu --test-limit 40 --inpaint half.png --count 4 --json");
    assert_eq!((found["hidden"].as_u64(), found["pictures"].as_u64()), (Some(392), Some(4)));
    assert!(found["psnr_hidden"].as_f64().unwrap() > 5.0, "{found}");
    // A model that is told labels has those of the pictures.
    let found = json(here, "edit mnist-cvae --device cpu --test-limit 40 --inpaint half.png --count 4 --json");
    assert!(found["psnr_hidden"].as_f64().unwrap() > 5.0, "{found}");

    let refused = |text: &str, parts: &[&str]| {
        fails(here, &format!("edit mnist-mlp --device cpu --test-limit 40 {text}"), parts);
    };
    refused("--fuse 0 400", &["--fuse is 400", "0 to 39"]);
    refused("--fuse 0 1 --weights 1", &["--weights has 1 numbers for 2 pictures"]);
    refused("--attribute smile+1", &["no training picture has the label `smile`", "0 to 9"]);
    refused("--attribute 7", &["--attribute is `7`", "7+1.5"]);
    refused("--style 0 --content 1 --style-dimensions 9", &["--style-dimensions has 9", "0 to 3"]);
    refused("--inpaint none.png", &["no pixel is white"]);
    refused("--inpaint nowhere.png", &["nowhere.png"]);
    refused("--super-resolution", &["cannot enlarge"]);
    for (text, word) in
        [("", "--fuse"), ("--style 0", "--content"), ("--fuse 0 1 --compression", "cannot be used with")]
    {
        let output = elbo(here, &format!("edit mnist-mlp --device cpu --test-limit 40 {text}")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(word), "{text}: {stderr}");
    }
    refused("--compression", &["discretised_logistic", "--binarise static"]);
}

#[test]
fn small_pictures_are_enlarged() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    train(here, "digits-super", "");
    let found = json(here, "edit digits-super --device cpu --test-limit 40 --super-resolution --count 3 --json");
    assert_eq!(found["pictures"].as_u64(), Some(40));
    let [psnr, bicubic] = ["psnr", "psnr_bicubic"].map(|key| found[key].as_f64().unwrap());
    assert!(psnr.is_finite() && bicubic > 10.0, "{found}");
    let small = Picture { width: 14, height: 14, channels: 1, pixels: (0..196).collect() };
    small.save(here.join("small.png")).unwrap();
    let said = succeeds(here, "edit digits-super --device cpu --super-resolution --small small.png");
    assert!(said.contains("1 pictures of 14x14"), "{said}");
    let large = Picture { width: 20, height: 14, channels: 1, pixels: vec![0; 280] };
    large.save(here.join("large.png")).unwrap();
    let command = "edit digits-super --device cpu --super-resolution --small large.png";
    fails(here, command, &["large.png", "a picture of 14x20", "14x14"]);
    fails(here, "edit digits-super --device cpu --fuse 0 1", &["cannot decode"]);
    let refused = "train digits-super --dataset digits --set factor=3 --out x --device cpu";
    fails(here, refused, &["factor is 3", "28 and 28"]);
    let refused = "train digits-super --dataset digits --output bernoulli --out x --device cpu";
    fails(here, refused, &["output is \"bernoulli\"", "optimal_sigma"]);
}

#[test]
fn bits_of_black_and_white_pictures_are_estimated() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    train(here, "mnist-mlp", "--hidden 16 --latent 4 --binarise static");
    let found = json(here, "edit mnist-mlp --device cpu --test-limit 40 --compression --json");
    let bits = ["bits_per_dimension", "png_bits_per_dimension", "raw_bits_per_dimension"];
    let [bits, png, raw] = bits.map(|key| found[key].as_f64().unwrap());
    let evaluated = json(here, "eval mnist-mlp --device cpu --test-limit 40 --json")["nats"].as_f64().unwrap();
    assert!((bits - evaluated / 2f64.ln() / 784.0).abs() < 1e-6, "{bits}, {evaluated} nats");
    assert!(raw == 1.0 && png > 0.1, "{found}");
}

#[test]
fn pictures_are_measured_by_a_classifier() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    train(here, "mnist-mlp", "--hidden 16 --latent 4");
    let command = "eval mnist-mlp --device cpu --test-limit 40 --metrics all --metric-samples 30 --json";
    let found = json(here, command);
    let rows = found["metrics"].as_array().unwrap();
    let row = |metric: &str, of: &str| {
        let row = rows.iter().find(|row| row["metric"] == metric && row["of"] == of);
        row.unwrap_or_else(|| panic!("no {metric} of {of} in {found}")).clone()
    };
    assert_eq!(row("mnist-fid", "samples")["pictures"], 30);
    assert_eq!(row("mnist-fid", "reconstructions")["pictures"], 40);
    assert!(row("mnist-is", "test")["value"].as_f64().unwrap() > row("mnist-is", "samples")["value"].as_f64().unwrap());
    for metric in ["mse", "mae", "psnr", "ssim"] {
        assert!(row(metric, "reconstructions")["value"].as_f64().unwrap().is_finite());
    }
    for metric in ["mnist-kid", "mnist-precision", "mnist-recall", "mnist-density", "mnist-coverage"] {
        assert!(row(metric, "samples")["value"].as_f64().unwrap().is_finite());
    }
    // Of every second epoch while it trains, the same as of the model that the last of them leaves.
    let small = "--hidden 16 --latent 4 --train-limit 200 --test-limit 40 --batch-size 20 --samples 0 --device cpu";
    let measured = "--epochs 3 --metrics psnr,fid --metrics-every 2";
    succeeds(here, &format!("train mnist-mlp --dataset digits {small} {measured} --out r"));
    let rows = fs::read_to_string(here.join("r/picture_metrics.csv")).unwrap();
    let lines: Vec<&str> = rows.lines().collect();
    assert_eq!(lines[0], "epoch,reconstructions_psnr,reconstructions_mnist-fid,samples_mnist-fid");
    assert!(lines.len() == 2 && lines[1].starts_with("2,"), "{rows}");
    succeeds(here, "train --resume r --epochs 4 --metrics psnr,fid --metrics-every 2 --device cpu");
    let rows = fs::read_to_string(here.join("r/picture_metrics.csv")).unwrap();
    let last: Vec<f64> = rows.lines().last().unwrap().split(',').map(|cell| cell.parse().unwrap()).collect();
    let found = json(here, "eval r --device cpu --test-limit 40 --metrics psnr,fid --json");
    let values: Vec<f64> =
        found["metrics"].as_array().unwrap().iter().map(|row| row["value"].as_f64().unwrap()).collect();
    assert_eq!((rows.lines().count(), last[0], last.len()), (3, 4.0, 1 + values.len()), "{rows}{found}");
    // serde_json reads a number without its last bit.
    let is_same = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * b.abs();
    assert!(last[1..].iter().zip(&values).all(is_same), "{rows}{found}");
    // What is there of other metrics stays, and the run goes on.
    let said = elbo(here, "train --resume r --epochs 5 --metrics recon --device cpu").output().unwrap();
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.success() && stderr.contains("is of other metrics than reconstructions_mse"), "{stderr}");
    assert_eq!(fs::read_to_string(here.join("r/picture_metrics.csv")).unwrap(), rows);
    // Before the first step.
    let small = format!("train mnist-mlp --dataset digits {small} --out none");
    fails(here, &format!("{small} --metrics prdc --metric-samples 4"), &["the 5 nearest of more pictures than 4"]);
    fails(here, &format!("{small} --metrics fid --metrics-every 0"), &["--metrics-every is 0"]);
    fails(here, &format!("{small} --metrics fid --judge nowhere"), &["there is no nowhere"]);
    let classifier = small.replace("mnist-mlp", "digits-classifier").replace("--hidden 16 --latent 4", "");
    fails(here, &format!("{classifier} --metrics fid"), &["this model gives neither", "classify, features"]);
    // One of its own, which has its data set's name.
    train(here, "digits-classifier", "");
    let own = format!("{command} --judge digits-classifier").replace("all", "fid");
    let found = json(here, &own);
    assert!(found["metrics"].as_array().unwrap().iter().all(|row| row["metric"] == "digits-fid"), "{found}");
    let classified = json(here, "classify digits-classifier --device cpu --test-limit 40 --json");
    assert_eq!(classified["pictures"], 40);

    let refused = |more: &str, parts: &[&str]| {
        fails(here, &format!("eval mnist-mlp --device cpu --test-limit 40 {more}"), parts);
    };
    refused("--metrics fid --judge mnist-mlp", &["--judge: mnist-mlp is a model of the kind vae, and no classifier"]);
    refused("--metrics fid --metric-samples 0", &["--metric-samples is 0"]);
    refused("--metrics fid --metric-samples 1", &["at least 2"]);
    refused("--metrics prdc --metric-samples 4", &["the 5 nearest"]);
}
