//! The commands that use a trained model, run as a user runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use elbo::data::npy;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::metrics::read_metrics;

// ---- Running

fn elbo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_elbo")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs on the CPU device, which must go well, and returns what was printed.
#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = elbo(&[args, &["--device", "cpu"]].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).into()
}

/// A tiny run on the digits, trained once: a 784-16-2 model, epoch 1, batches of 32, 64 test pictures, seed 1.
fn trained() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("model_commands");
        let _ = fs::remove_dir_all(&folder);
        let sizes = ["--train-limit", "256", "--test-limit", "64", "--hidden", "16", "--latent", "2"];
        let run = ["train", "--dataset", "digits", "--epochs", "1", "--batch-size", "32", "--seed", "1"];
        succeeds(&[&run[..], &sizes, &["--out", folder.to_str().unwrap()]].concat());
        folder
    })
}

/// A copy of the run folder, for one test to write into.
struct Run(tempfile::TempDir);

impl Run {
    fn copy() -> Run {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run.toml", "metrics.csv", "model.safetensors", "best.safetensors"] {
            fs::copy(trained().join(name), folder.path().join(name)).unwrap();
        }
        Run(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().into()
    }

    fn root(&self) -> String {
        self.path("")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs a command that must be refused: exit code 2, one line of error with `word` in it, nothing written.
    #[track_caller]
    fn refused(&self, args: &[&str], word: &str) {
        let before = self.names();
        let output = elbo(&[args, &["--device", "cpu"]].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        let lines: Vec<&str> = stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
        assert!(lines.len() == 1 && lines[0].contains(word), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert_eq!(self.names(), before, "{args:?}");
    }

    /// Writes the model changed, as `name`.
    fn changed(&self, name: &str, change: impl FnOnce(&mut Checkpoint)) -> String {
        let mut model = Checkpoint::read(&self.file("model.safetensors")).unwrap();
        change(&mut model);
        model.write(&self.file(name)).unwrap();
        self.path(name)
    }
}

/// A PyTorch state_dict with 4 latent dimensions.
fn four_dimensions(run: &Run) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pytorch_vae.safetensors");
    fs::copy(golden, run.file("pytorch.safetensors")).unwrap();
    run.path("pytorch.safetensors")
}

/// Width and height of a grid of 28 x 28 pictures.
fn grid(columns: u32, rows: u32, scale: u32) -> (u32, u32) {
    (scale * (2 + 30 * columns), scale * (2 + 30 * rows))
}

#[track_caller]
fn assert_picture(path: &Path, size: (u32, u32)) {
    assert_eq!(image::image_dimensions(path).unwrap(), size, "{}", path.display());
}

// ---- eval

fn losses(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&succeeds(&[args, &["--json"]].concat())).unwrap()
}

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

// ---- Pictures

#[test]
fn every_picture_has_its_size_and_its_place_in_the_run_folder() {
    let run = Run::copy();
    let root = run.root();
    for (command, name, size) in [
        ("sample", "samples.png", grid(8, 8, 2)),
        ("reconstruct", "reconstructions.png", grid(16, 2, 2)),
        ("interpolate", "interpolation.png", grid(10, 2, 2)),
        ("traverse", "traversal.png", grid(9, 2, 2)),
        ("manifold", "manifold.png", grid(15, 15, 2)),
    ] {
        let printed = succeeds(&[command, &root]);
        let line = format!("wrote {}: ", run.file(name).display());
        assert!(printed.starts_with(&line) && printed.contains("digits"), "{printed}");
        assert_picture(&run.file(name), size);
    }
    succeeds(&["sample", &root, "--best"]);
    assert_eq!(fs::read(run.file("samples.png")).unwrap(), fs::read(run.file("best_samples.png")).unwrap());
}

#[test]
fn a_model_file_gets_its_pictures_beside_it() {
    let run = Run::copy();
    succeeds(&["sample", &run.path("model.safetensors"), "--rows", "2", "--columns", "3", "--scale", "1"]);
    assert_picture(&run.file("model_samples.png"), grid(3, 2, 1));
}

#[test]
fn options_shape_the_pictures() {
    let run = Run::copy();
    let root = run.root();
    let out = run.path("out.png");
    let drawn = |args: &[&str], size| {
        let printed = succeeds(&[&[args[0], &root], &args[1..], &["--out", &out]].concat());
        assert_picture(Path::new(&out), size);
        (printed, fs::read(&out).unwrap())
    };
    let plain = drawn(&["sample"], grid(8, 8, 2)).1;
    assert_eq!(drawn(&["sample", "--seed", "1", "--temperature", "1"], grid(8, 8, 2)).1, plain);
    assert_ne!(drawn(&["sample", "--seed", "2"], grid(8, 8, 2)).1, plain);
    // At temperature 0 every sample is the picture of z = 0.
    let frozen = drawn(&["sample", "--temperature", "0"], grid(8, 8, 2)).1;
    assert_eq!(drawn(&["sample", "--temperature", "0", "--seed", "2"], grid(8, 8, 2)).1, frozen);

    drawn(&["reconstruct", "--count", "20", "--scale", "1"], grid(16, 4, 1));
    let (printed, _) = drawn(&["interpolate", "--from", "3", "--to", "9", "--method", "linear"], grid(10, 1, 2));
    assert!(printed.contains("test picture 3 (label") && printed.contains("to 9 (label"), "{printed}");
    drawn(&["interpolate", "--steps", "2", "--method", "spherical"], grid(2, 1, 2));
    let around = drawn(&["traverse", "--index", "5", "--low", "-1", "--steps", "4"], grid(4, 2, 2)).1;
    assert_ne!(drawn(&["traverse", "--prior", "--low", "-1", "--steps", "4"], grid(4, 2, 2)).1, around);
    drawn(&["manifold", "--size", "3", "--low", "0.2", "--high", "0.8"], grid(3, 3, 2));
}

// ---- Latents

#[test]
fn latents_go_out_and_come_back() {
    let run = Run::copy();
    let root = run.root();
    let printed = succeeds(&["encode", &root, "--limit", "40"]);
    assert_eq!(printed.lines().count(), 3, "{printed}");
    let latents = npy::read(&run.file("latents.npy")).unwrap();
    assert_eq!((latents.rows, latents.columns), (40, 2));

    let mut table = csv::Reader::from_path(run.file("latents.csv")).unwrap();
    let header = table.headers().unwrap().iter().collect::<Vec<_>>().join(",");
    assert_eq!(header, "label,mean_0,mean_1,logvar_0,logvar_1");
    let rows: Vec<Vec<f32>> =
        table.records().map(|row| row.unwrap().iter().map(|cell| cell.parse().unwrap()).collect()).collect();
    let means: Vec<f32> = rows.iter().flat_map(|row| row[1..3].to_vec()).collect();
    assert_eq!(means, latents.values, "the same bits in both");
    assert!(rows.iter().all(|row| (0.0..10.0).contains(&row[0])) && rows.iter().any(|row| row[0] != rows[0][0]));
    assert_eq!(image::image_dimensions(run.file("latents.png")).unwrap().1, 740);

    succeeds(&["decode", &root, &run.path("latents.npy")]);
    assert_picture(&run.file("decoded.png"), grid(16, 3, 2));

    succeeds(&["encode", &root, "--split", "train", "--limit", "3", "--out", &run.path("train.npy")]);
    let train = npy::read(&run.file("train.npy")).unwrap();
    assert!(train.rows == 3 && train.values[..2] != latents.values[..2], "the training pictures are others");
    succeeds(&["decode", &root, &run.path("train.npy"), "--columns", "1", "--scale", "1"]);
    assert_picture(&run.file("decoded.png"), grid(1, 3, 1));
}

#[test]
fn a_model_of_more_dimensions_has_no_scatter() {
    let run = Run::copy();
    let pytorch = four_dimensions(&run);
    succeeds(&["encode", &pytorch, "--dataset", "digits", "--limit", "5"]);
    assert_eq!(npy::read(&run.file("pytorch_latents.npy")).unwrap().columns, 4);
    assert!(run.file("pytorch_latents.csv").exists() && !run.file("pytorch_latents.png").exists());
    run.refused(&["manifold", &pytorch], "4 latent dimensions, a manifold needs 2: take `elbo traverse`");
    run.refused(&["decode", &run.root(), &run.path("pytorch_latents.npy")], "rows have 4 numbers, the model has 2");
}

// ---- What cannot be done

// ---- score

/// A table of three numbers a row: normal rows have a, 2a and noise; of anomalies, labelled 1, the second is 2a + 9.
fn rows(count: usize) -> String {
    let row = |i: usize| {
        let [a, noise] = [(i * 37 % 101) as f64 / 25.0 - 2.0, (i * 53 % 97) as f64 / 97.0];
        let is_anomaly = i % 5 == 4;
        format!("{a},{},{noise},{}\n", if is_anomaly { 2.0 * a + 9.0 } else { 2.0 * a }, u8::from(is_anomaly))
    };
    std::iter::once("first,second,third,anomaly\n".into()).chain((0..count).map(row)).collect()
}

#[test]
fn a_table_is_trained_on_and_its_rows_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    fs::write(path("t.csv"), rows(400)).unwrap();
    let table = ["--data", &path("t.csv"), "--split", "normal:0.5", "--epochs", "20", "--batch-size", "16"];
    succeeds(&[&["train", "table-vae", "--out", &path("run")], &table[..]].concat());
    let scored = losses(&["score", &path("run")]);
    // 320 normal rows, of which 160 train; 80 anomalies.
    assert_eq!(scored["sets"][0]["count"], 240);
    let areas = ["error", "probability", "elbo", "bound"].map(|name| {
        let area = &scored["sets"][0]["ranking"][name];
        assert!(area["auprc"].as_f64().unwrap() > 0.5, "{name}: {area}");
        area["auroc"].as_f64().unwrap()
    });
    assert!(areas.iter().all(|area| *area > 0.8), "{areas:?}");
    for name in ["scores.csv", "scores.png", "scores.worst.png"] {
        assert!(folder.path().join("run").join(name).exists(), "{name}");
    }
    let printed = succeeds(&["score", &path("run"), "--by", "error", "--quantile", "0.9"]);
    assert!(printed.contains("80 of them anomalies") && printed.contains("the 0.9 quantile of 160 training rows"));

    // Another file, without labels, on the scale of the run.
    fs::write(path("new.csv"), "first,second,third\n1,2,0.5\n1,11,0.5\n").unwrap();
    let new = losses(&["score", &path("run"), &path("new.csv"), "--out", &path("new-scores.csv")]);
    let elbo = |row: usize| new["sets"][0]["rows"][row]["elbo"].as_f64().unwrap();
    assert!(elbo(1) > elbo(0) && new["sets"][0]["ranking"].is_null() && new["threshold"].is_f64(), "{new}");
    let lines = fs::read_to_string(path("new-scores.csv")).unwrap();
    assert!(lines.starts_with("dataset,row,error,probability,elbo,bound,label,is_anomaly,is_flagged\ntable:new,0,"));
    assert_eq!(lines.lines().count(), 3);

    // With the labels the other way round every score inverts.
    let turned = elbo_output(&["score", &path("run"), "--normal", "1"]);
    assert!(text(&turned.stderr).contains("warning: the likelihood inverts"), "{}", text(&turned.stderr));
}

fn elbo_output(args: &[&str]) -> Output {
    elbo(&[args, &["--device", "cpu"]].concat())
}

#[test]
fn tables_that_cannot_be_trained_on_or_scored_are_refused() {
    let run = Run::copy();
    let file = |name: &str, content: &str| {
        fs::write(run.file(name), content).unwrap();
        run.path(name)
    };
    let out = run.path("out");
    for (content, word) in [
        ("a,b\n1,2\n3,x\n", "line 3, column b: `x` is no number"),
        ("a,b\n1,2\n3,nan\n", "`nan` is no finite number"),
        ("a,b\n1,2\n3\n", "line 3 has 1 values"),
        ("1,2\n3,4\n", "begins with a header"),
    ] {
        let table = file("t.csv", content);
        run.refused(&["train", "table-vae", "--data", &table, "--out", &out], word);
    }
    let table = file("t.csv", &rows(40));
    let train = ["train", "table-vae", "--data", &table, "--out", &out];
    let refused = |more: &[&str], word: &str| run.refused(&[&train[..], more].concat(), word);
    refused(&["--label-column", "class"], "has no column `class`");
    refused(&["--split", "half"], "`half` is no split");
    refused(&["--normal", "7"], "--normal names the class 7");
    refused(&["--output", "bernoulli"], "a distribution of pixel values");
    refused(&["--flip"], "--flip and --shift move pictures");
    // The run is of pictures.
    run.refused(&["score", &run.root(), &table], "the model is of pictures");
    run.refused(&["score", &run.root(), "--by", "elbo", "--samples", "0"], "--samples is 0");
    run.refused(&["score", &run.root(), "--quantile", "1.5"], "--quantile is a share");
    run.refused(&["score", &run.root(), "--normal", "77"], "names the class 77");
}

#[test]
fn unusable_models_are_refused() {
    let run = Run::copy();
    let truncated = run.path("truncated.safetensors");
    let bytes = fs::read(run.file("model.safetensors")).unwrap();
    fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    let nan = run.changed("nan.safetensors", |model| model.tensors.get_mut("fc3.bias").unwrap().1[2] = f32::NAN);
    let cut = run.changed("cut.safetensors", |model| drop(model.tensors.remove("fc4.bias")));
    let text = run.path("notes.txt");
    fs::write(&text, "not a model").unwrap();
    let nothing = run.path("nothing");
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    let latents = run.path("latents.npy");
    npy::write(&run.file("latents.npy"), &npy::Matrix { rows: 1, columns: 2, values: vec![0.0; 2] }).unwrap();

    for command in ["eval", "sample", "reconstruct", "interpolate", "traverse", "manifold", "encode", "decode"] {
        let refused = |model: &str, word: &str| {
            let mut args = vec![command, model];
            args.extend((command == "decode").then_some(latents.as_str()));
            run.refused(&args, word);
        };
        refused(&nothing, "there is no ");
        refused(empty, "holds no model.safetensors");
        refused(&truncated, "truncated.safetensors: not a whole safetensors file");
        refused(&nan, "nan.safetensors: fc3.bias[2] is NaN");
        refused(&cut, "has no tensor fc4.bias [784]");
        refused(&text, "not a whole safetensors file");
    }
}

#[test]
fn data_of_another_picture_size_is_refused_with_both_sizes() {
    let run = Run::copy();
    let small = run.changed("small.safetensors", |model| {
        model.metadata.clear();
        for (name, shape) in [("fc1.weight", vec![16, 16]), ("fc4.weight", vec![16, 16]), ("fc4.bias", vec![16])] {
            let count = shape.iter().product();
            model.tensors.insert(name.into(), (shape, vec![0.0; count]));
        }
    });
    for command in ["eval", "reconstruct", "interpolate", "traverse", "encode"] {
        run.refused(
            &[command, &small, "--dataset", "digits"],
            "digits are 1x28x28 (channels, height, width), the model's 1x4x4",
        );
    }
    run.refused(&["eval", &small, "--dataset", "cifar"], "no data set");
}

#[test]
fn arguments_out_of_range_are_refused() {
    let run = Run::copy();
    let root = run.root();
    let refused = |args: &[&str], word: &str| run.refused(&[&[args[0], root.as_str()], &args[1..]].concat(), word);
    refused(&["eval", "--batch-size", "0"], "--batch-size is 0");
    refused(&["sample", "--rows", "0"], "--rows and --columns must be at least 1");
    refused(&["sample", "--columns", "0"], "--rows and --columns must be at least 1");
    refused(&["sample", "--scale", "0"], "--scale is 0");
    refused(&["sample", "--rows", "10000", "--columns", "10000"], "ask for fewer images");
    refused(&["sample", "--rows", "18446744073709551615", "--columns", "2"], "ask for fewer images");
    refused(&["sample", "--temperature", "NaN"], "--temperature is NaN");
    refused(&["sample", "--temperature", "-1"], "--temperature is -1");
    refused(&["reconstruct", "--count", "0"], "--count must be at least 1");
    refused(
        &["reconstruct", "--count", "10001", "--scale", "1"],
        "--count is 10001, but digits has 10000 test pictures",
    );
    refused(&["reconstruct", "--count", "18446744073709551615"], "ask for fewer images");
    refused(&["interpolate", "--from", "10000"], "--from is 10000, but the test pictures of digits are 0 to 9999");
    refused(&["interpolate", "--to", "10000"], "--to is 10000");
    refused(&["interpolate", "--steps", "1"], "--steps is 1");
    refused(&["traverse", "--index", "10000"], "--index is 10000");
    refused(&["traverse", "--low", "3", "--high", "3"], "the lower first");
    refused(&["traverse", "--high", "inf"], "the lower first");
    refused(&["traverse", "--steps", "1"], "--steps is 1");
    refused(&["manifold", "--size", "0"], "--size must be at least 1");
    refused(&["manifold", "--low", "0"], "inside (0,1)");
    refused(&["manifold", "--high", "1"], "inside (0,1)");
    refused(&["manifold", "--low", "0.9", "--high", "0.1"], "the lower first");
    refused(&["manifold", "--low", "NaN"], "inside (0,1)");
    refused(&["encode", "--out", &run.path("z.csv")], "must end in .npy");

    let latents = run.path("bad.npy");
    refused(&["decode", &latents], "cannot open");
    fs::write(&latents, "PK").unwrap();
    refused(&["decode", &latents], "bad.npy: expected a NumPy .npy file");
    let write = |rows, values| npy::write(Path::new(&latents), &npy::Matrix { rows, columns: 2, values }).unwrap();
    write(0, vec![]);
    refused(&["decode", &latents], "holds no rows");
    write(2, vec![0.0, 0.0, 1.0, f32::NAN]);
    refused(&["decode", &latents], "row 1, column 1 is NaN");
    write(1, vec![0.0, 0.0]);
    refused(&["decode", &latents, "--columns", "0"], "--columns is 0");
}

#[test]
fn a_device_that_is_not_there_is_an_error_with_the_list() {
    let run = Run::copy();
    let output = elbo(&["sample", &run.root(), "--device", "nosuch"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("no device matches 'nosuch'") && stderr.contains("cpu (always there)"), "{stderr}");
    assert!(!stderr.contains("panicked") && !run.file("samples.png").exists(), "{stderr}");
}

// ---- Few labels

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

// ---- Codes

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
