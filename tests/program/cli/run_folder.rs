//! A run and its folder: what a run leaves there, what goes on from it, and which folders are refused.

use std::path::Path;

use elbo::train::checkpoint::Checkpoint;
use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, ImageDecoder};

use super::desk::{DATA, Desk, SMALL, TEST_IMAGES, TRAIN_IMAGES, epochs, files_below, idx, text_of};

#[test]
fn a_run_leaves_its_folder() {
    let desk = Desk::new();
    let output = desk.run(&format!("{SMALL} --epochs 2 --out run"));
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| text_of(bytes));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.starts_with("device: CPU ("), "{stderr}");
    assert!(stderr.contains("data: mnist, 20 training and 10 test pictures"), "{stderr}");
    assert!(stderr.contains("not the published files of mnist"), "{stderr}");
    assert_eq!(stdout.lines().count(), 3, "{stdout}");

    let expected = [
        "best.safetensors",
        "curves.png",
        "metrics.csv",
        "model.safetensors",
        "reconstructions/epoch_001.png",
        "reconstructions/epoch_002.png",
        "report.html",
        "run.toml",
        "samples.gif",
        "samples/epoch_001.png",
        "samples/epoch_002.png",
        "state.safetensors",
    ];
    assert_eq!(files_below(&desk.path("run")), expected);
    for name in expected.iter().filter(|name| name.ends_with(".png")) {
        image::load_from_memory(&desk.read(&format!("run/{name}"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    let metrics = desk.text("run/metrics.csv");
    let header = "epoch,train_loss,train_recon,train_kl,test_loss,test_recon,test_kl,seconds";
    assert_eq!(metrics.lines().next(), Some(header));
    for line in metrics.lines().skip(1) {
        let row: Vec<f64> = line.split(',').map(|value| value.parse().unwrap()).collect();
        assert_eq!(row.len(), 8);
        assert!((row[1] - row[2] - row[3]).abs() < 1e-3 && (row[4] - row[5] - row[6]).abs() < 1e-3, "{line}");
        assert!(row.iter().all(|value| *value > 0.0), "{line}");
    }
    assert_eq!(epochs(&desk, "run"), [1, 2]);
    // What the loss is, at the end.
    let last: Vec<f64> = metrics.lines().last().unwrap().split(',').map(|value| value.parse().unwrap()).collect();
    let loss = format!("test of epoch 2: {:.4} nats a picture, a cross-entropy", last[5] + last[6]);
    assert!(stderr.contains(&loss) && stderr.contains("not a likelihood") && !stderr.contains("ELBO"), "{stderr}");

    let record: toml::Table = desk.text("run/run.toml").parse().unwrap();
    let settings = record["settings"].as_table().unwrap();
    assert_eq!((record["dataset"].as_str(), record["backend"].as_str()), (Some("mnist"), Some("cpu")));
    assert_eq!((settings["batch_size"].as_integer(), settings["seed"].as_integer()), (Some(8), Some(1)));
}

#[test]
fn the_built_in_digits_stand_in_only_where_asked_or_announced() {
    let desk = Desk::empty();
    let tiny = "--device cpu --train-limit 40 --test-limit 10 --hidden 8 --latent 2 --epochs 1 --batch-size 16";
    let stderr = desk.succeeds(&format!("train {tiny} --dataset digits --out named"));
    assert!(!stderr.contains("NOT mnist"), "{stderr}");
    let stderr = desk.succeeds(&format!("train {tiny} --out fallback"));
    assert!(stderr.contains("NOT mnist") && stderr.contains("do not compare with mnist's"), "{stderr}");
    assert!(stderr.contains("data: digits, 40 training and 10 test pictures"), "{stderr}");
    let record: toml::Table = desk.text("fallback/run.toml").parse().unwrap();
    assert_eq!(record["dataset"].as_str(), Some("digits"));
    assert_eq!(record["settings"]["dataset"].as_str(), Some("auto"));
    assert!(desk.read("fallback/model.safetensors") == desk.read("named/model.safetensors"));
    // The model's own record names its data.
    assert!(String::from_utf8_lossy(&desk.read("fallback/model.safetensors")).contains("digits"));
}

#[test]
fn each_epoch_can_be_a_line_of_json() {
    let desk = Desk::new();
    let output = desk.run(&format!("{SMALL} --epochs 2 --out run --json"));
    let lines: Vec<serde_json::Value> =
        text_of(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[1]["epoch"].as_u64(), lines[1]["test_loss"].is_f64()), (Some(2), true));
}

#[test]
fn a_resumed_run_ends_where_an_uninterrupted_one_does() {
    let desk = Desk::new();
    desk.succeeds(&format!("{SMALL} --epochs 4 --out whole"));
    desk.succeeds(&format!("{SMALL} --epochs 2 --out parts"));
    desk.succeeds("train --resume parts --epochs 4");
    assert_eq!(epochs(&desk, "parts"), [1, 2, 3, 4]);
    for file in ["model.safetensors", "best.safetensors", "state.safetensors", "samples/epoch_004.png"] {
        assert!(desk.read(&format!("whole/{file}")) == desk.read(&format!("parts/{file}")), "{file} differs");
    }
    // Nothing is left to do, and nothing is done.
    let before = desk.read("parts/metrics.csv");
    desk.succeeds("train --resume parts");
    assert!(desk.read("parts/metrics.csv") == before);

    desk.fails("train --resume parts --latent 3", &["latent cannot change", "was 2 and would be 3", "--out"]);
    desk.fails("train --resume nowhere", &["nowhere holds no run"]);
    desk.fails("train --resume parts --config my.toml", &["cannot be used with"]);
}

/// Width and height, and how many milliseconds each frame is shown.
fn animation(bytes: Vec<u8>) -> ((u32, u32), Vec<u32>) {
    let decoder = GifDecoder::new(std::io::Cursor::new(bytes)).unwrap();
    let size = decoder.dimensions();
    let frames = decoder.into_frames().collect_frames().unwrap();
    (size, frames.iter().map(|frame| frame.delay().numer_denom_ms().0).collect())
}

#[test]
fn the_pictures_of_a_run_become_an_animation() {
    let desk = Desk::new();
    let stderr = desk.succeeds(&format!("{SMALL} --epochs 2 --out run"));
    assert!(stderr.contains("animation: run/samples.gif"), "{stderr}");
    let size = |name: &str| image::image_dimensions(desk.path(name)).unwrap();
    let samples = desk.read("run/samples.gif");
    assert_eq!(animation(samples.clone()), (size("run/samples/epoch_001.png"), vec![300, 2000]));
    desk.put("run/samples.gif", b"older");
    desk.succeeds("animate run");
    assert!(desk.read("run/samples.gif") == samples);
    let output = desk.run("animate run --reconstructions --milliseconds 120 --out new/r.gif");
    let stdout = text_of(&output.stdout);
    assert!(stdout.starts_with("wrote new/r.gif: 2 of 2 epochs of reconstructions"), "{stdout}");
    assert_eq!(animation(desk.read("new/r.gif")), (size("run/reconstructions/epoch_001.png"), vec![120, 2000]));

    let good = desk.read("run/samples/epoch_002.png");
    desk.put("run/samples/epoch_002.png", &good[..good.len() / 2]);
    desk.fails("animate run", &["epoch_002.png: not a whole PNG picture"]);
    desk.put("run/samples/epoch_002.png", &desk.read("run/reconstructions/epoch_002.png"));
    desk.fails("animate run", &["epoch_002.png: this picture is", "pictures of one size"]);
    assert!(desk.read("run/samples.gif") == samples);
    desk.put("run/samples/epoch_002.png", &good);
    desk.fails("animate run --out new", &["new: this is a folder"]);
    desk.fails("animate run --milliseconds 1", &["--milliseconds"]);
    desk.fails("animate new", &["new holds no run"]);

    // Samples of another number end an animation but not a run.
    let stderr = desk.succeeds("train --resume run --epochs 3 --samples 9");
    assert!(stderr.contains("no animation of the samples") && stderr.contains("epoch_003.png"), "{stderr}");
    desk.succeeds(&format!("{DATA} --hidden 8 --batch-size 8 --epochs 1 --samples 0 --out none"));
    assert!(!desk.path("none/samples.gif").exists());
    desk.fails("animate none", &["none holds no samples to animate"]);
    desk.succeeds("animate none --reconstructions");
}

#[test]
fn every_output_trains_and_says_what_its_loss_is() {
    let desk = Desk::new();
    for output in ["gaussian", "optimal_sigma", "laplace", "continuous_bernoulli", "discretised_logistic"] {
        let stderr = desk.succeeds(&format!("{SMALL} --epochs 1 --out {output} --output {output} --sigma 0.2"));
        assert!(stderr.contains("test of epoch 1: -ELBO "), "{output}: {stderr}");
        let metrics = desk.text(&format!("{output}/metrics.csv"));
        let row: Vec<f64> = metrics.lines().last().unwrap().split(',').map(|value| value.parse().unwrap()).collect();
        let density = if output == "discretised_logistic" { 0.0 } else { 8.0 };
        let bits = (row[5] + row[6]) / (30.0 * std::f64::consts::LN_2) + density;
        assert!(stderr.contains(&format!("{bits:.4} bits a dimension")), "{output}: {bits} {stderr}");
    }
    desk.fails(&format!("{SMALL} --out run --output lapalce"), &["lapalce", "laplace"]);
}

#[test]
fn a_state_that_is_damaged_is_refused_and_left_alone() {
    let desk = Desk::new();
    desk.succeeds(&format!("{SMALL} --epochs 1 --out run"));
    let good = desk.read("run/state.safetensors");
    let mut with_nan = good.clone();
    let last = with_nan.len() - 4;
    with_nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    for (bad, word) in [(&good[..good.len() / 2], "not a whole safetensors file"), (&with_nan[..], "is NaN")] {
        desk.put("run/state.safetensors", bad);
        let before: Vec<_> = files_below(&desk.path("run")).iter().map(|f| desk.read(&format!("run/{f}"))).collect();
        desk.fails("train --resume run --epochs 2", &["state.safetensors", word]);
        let after: Vec<_> = files_below(&desk.path("run")).iter().map(|f| desk.read(&format!("run/{f}"))).collect();
        assert!(before == after, "a refused run changed its files");
    }
    // The data must be those of the run, too.
    desk.put("run/state.safetensors", &good);
    desk.put(TRAIN_IMAGES, &idx(&[20, 7, 5], &[9; 700]));
    desk.put(TEST_IMAGES, &idx(&[10, 7, 5], &[9; 350]));
    desk.fails("train --resume run --epochs 2", &["the run was trained on other pictures of mnist"]);
    // And of a run from before that was recorded.
    let record = text_of(&desk.read("run/run.toml"));
    let start = record.find("[pictures]").expect("a record of the pictures");
    let end = record[start + 1..].find('[').map_or(record.len(), |next| start + 1 + next);
    desk.put("run/run.toml", format!("{}{}", &record[..start], &record[end..]).as_bytes());
    desk.fails("train --resume run --epochs 2", &["state.safetensors", "has shape"]);
}

#[test]
fn a_folder_in_use_is_not_touched() {
    let desk = Desk::new();
    let run = format!("{SMALL} --epochs 1 --out run");
    desk.succeeds(&run);
    let before = desk.read("run/state.safetensors");
    desk.fails(&run, &["run already holds a run", "--resume run", "--out"]);
    assert!(desk.read("run/state.safetensors") == before);

    desk.put("thesis/chapter.tex", b"years");
    desk.fails(&format!("{SMALL} --out thesis"), &["chapter.tex", "--out"]);
    assert_eq!(files_below(&desk.path("thesis")), ["chapter.tex"]);

    // Without --out each run gets a folder of its own.
    for name in ["runs/vae", "runs/vae-2"] {
        let stderr = desk.succeeds(&format!("{SMALL} --epochs 1"));
        assert!(desk.path(name).join("run.toml").exists(), "{name}: {stderr}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let desk = Desk::new();
    desk.put("file", b"");
    desk.fails(&format!("{SMALL} --out file"), &["file is a file"]);
    desk.fails(&format!("{SMALL} --out file/run"), &["cannot create the folder"]);
    // No one, not even root, makes folders there.
    if cfg!(target_os = "linux") {
        desk.fails(&format!("{SMALL} --out /proc/run"), &["cannot create the folder /proc/run"]);
    }
}

#[test]
fn a_run_starts_from_a_trained_model() {
    let desk = Desk::new();
    let norm = ["--encoder", "flatten, linear 8, batchnorm, relu", "--decoder", "flatten, linear 30"];
    let train = |args: &str| {
        let output = desk.command(&format!("{SMALL} --epochs 1 {args}")).args(norm).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
        text_of(&output.stderr)
    };
    train("--out first");
    // Steps that are too small to change a number.
    let stderr = train("--init first --lr 1e-30 --kl-weight 2 --out second");
    let start = stderr.lines().find(|line| line.starts_with("start: the parameters of")).unwrap();
    assert!(start.ends_with("/first/model.safetensors"), "{start}");
    let model = |run: &str| Checkpoint::read(&desk.path(&format!("{run}/model.safetensors"))).unwrap().tensors;
    let (first, second) = (model("first"), model("second"));
    assert!(first.keys().eq(second.keys()));
    for (name, tensor) in &first {
        // The running statistics go on from the file's.
        let is_running = name.contains("running_") || name.ends_with("num_batches_tracked");
        assert_eq!(tensor == &second[name], !is_running, "{name}");
    }
    let count = "encoder.2.num_batches_tracked";
    assert_eq!([&first[count].1, &second[count].1], [&[3.0], &[6.0]], "three batches an epoch");

    let record: toml::Table = desk.text("second/run.toml").parse().unwrap();
    let init = record["settings"]["init"].as_str().unwrap();
    assert!(init.ends_with("/first") && Path::new(init).is_absolute(), "{init}");
    desk.succeeds("train --resume second --epochs 2");
    assert_eq!(epochs(&desk, "second"), [1, 2]);
    desk.fails("train --resume second --init first --epochs 3", &["--init starts a new run", "leave one of them out"]);
    let words = ["--init wants the network of this run", "--config RUN/run.toml"];
    desk.fails(&format!("{SMALL} --init first --epochs 1 --out other"), &words);
    let wider = ["--encoder", "flatten, linear 9, batchnorm, relu", "--decoder", "flatten, linear 30"];
    let shapes = "encoder.1.weight has shape [8, 30], the model needs [9, 30]";
    desk.fails_for(&format!("{SMALL} --init first --out other"), &wider, &[shapes, words[0]]);
    desk.fails(&format!("{SMALL} --init nowhere --out other"), &["there is no", "nowhere"]);
    assert!(!desk.path("other/metrics.csv").exists());
}
