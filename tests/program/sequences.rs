//! Models of sequences with a latent at each step as their user meets them: train, go on, draw, judge; and what is
//! refused.

use std::fs;
use std::path::Path;

use crate::common::gpu;
use crate::common::process::{fails, succeeds};
use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::Options;
use elbo::inference::Trained;
use elbo::picture::Picture;
use serde_json::{Value, json};

/// A folder with scales as piano rolls, and with squares as pen strokes.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    let piece = |n: usize| (0..4 + n % 5).map(|t| vec![50 + (n + 2 * t) % 12, 62 + t]).collect::<Vec<_>>();
    let pieces = |range: std::ops::Range<usize>| range.map(piece).collect::<Vec<_>>();
    fs::write(desk.path().join("songs.json"), json!({ "train": pieces(0..30), "test": pieces(3..12) }).to_string())
        .unwrap();
    let square = |n: usize| {
        let side = 1.0 + n as f64 / 10.0;
        json!([[side, 0, 0], [0, side, 0], [-side, 0, 0], [0, -side, 1]]).to_string() + "\n"
    };
    fs::create_dir(desk.path().join("squares")).unwrap();
    for (name, range) in [("train", 0..30), ("test", 30..36)] {
        fs::write(desk.path().join(format!("squares/{name}.ndjson")), range.map(square).collect::<String>()).unwrap();
    }
    desk
}

const SMALL: &str = "--batch-size 8 --device cpu --lr 1e-2 --seed 3";

fn eval(folder: &Path, run: &str) -> Value {
    serde_json::from_str(&succeeds(folder, &format!("eval {run} --json --device cpu"))).unwrap()
}

#[test]
fn piano_rolls_are_trained_on_drawn_and_judged() {
    let desk = desk();
    let here = desk.path();
    let sizes = [
        ("chorales-vrnn", "--set features=8 --hidden 8 --latent 2"),
        ("chorales-dmm", "--hidden 8 --latent 2 --set transition=4 --set emitter=8"),
    ];
    for (preset, sizes) in sizes {
        let train =
            format!("train {preset} --data songs.json {sizes} {SMALL} --kl-schedule constant --lr-schedule constant");
        succeeds(here, &format!("{train} --epochs 12 --out whole"));
        // A run that goes on is the run that never stopped, to the bit.
        succeeds(here, &format!("{train} --epochs 5 --out parted"));
        succeeds(here, "train --resume parted --epochs 12");
        let model = |run: &str| fs::read(here.join(run).join("model.safetensors")).unwrap();
        assert!(model("whole") == model("parted"), "{preset}");

        let judged = eval(here, "whole");
        let of = |key: &str| judged[key].as_f64().unwrap();
        // Two of 88 keys at each step: at their frequency alone 2 log 44 + 86 log(88/86) = 9.5 nats, at p = 1/2 61.
        assert!(of("nats_a_step") < 9.5, "{preset}: {judged}");
        assert!((of("nats_a_step") - of("nats") / of("test_steps")).abs() < 1e-9);
        // The pieces 3 to 11: seven, eight and four to eight steps, then four and five.
        assert!((of("test_steps") - 54.0 / 9.0).abs() < 1e-6, "{judged}");
        assert!(succeeds(here, "eval whole --device cpu").contains("nats a step, 6.00 steps a sequence"));

        succeeds(here, "sample whole --count 3 --steps 7 --npy notes.npy --device cpu --out samples.png");
        let picture = Picture::read_png(here.join("samples.png")).unwrap();
        assert_eq!([picture.width, picture.height], [2 * (2 + 3 * (7 + 2)), 2 * (2 + 88 + 2)]);
        let notes = elbo::data::npy::read(&here.join("notes.npy")).unwrap();
        assert_eq!((notes.rows, notes.columns), (3, 7 * 88));
        assert!(notes.values.iter().all(|&x| x == 0.0 || x == 1.0) && notes.values.contains(&1.0));
        succeeds(here, "reconstruct whole --count 2 --device cpu --out made.png");
        assert!(Picture::read_png(here.join("made.png")).unwrap().height > picture.height);
        for run in ["whole", "parted"] {
            fs::remove_dir_all(here.join(run)).unwrap();
        }
    }
}

#[test]
fn strokes_are_trained_on_and_drawn() {
    let desk = desk();
    let here = desk.path();
    let sizes = "--set features=8 --hidden 12 --latent 2 --set mixture=3";
    succeeds(here, &format!("train strokes-vrnn --data squares {sizes} {SMALL} --epochs 20 --out pen"));
    let curve = fs::read_to_string(here.join("pen/metrics.csv")).unwrap();
    let losses: Vec<f64> = curve.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert!(losses[19] < losses[0] - 4.0, "{losses:?}");
    succeeds(here, "sample pen --count 5 --steps 4 --temperature 0.1 --device cpu --out samples.png");
    let picture = Picture::read_png(here.join("samples.png")).unwrap();
    assert_eq!([picture.width, picture.height], [4 * 96, 2 * 96]);
    // Samples of a seed are the same, whatever is drawn beside them.
    let mut model = Trained::open(&here.join("pen"), &Device::Cpu(Cpu::Accelerated)).unwrap();
    let [one, three] = [1, 3].map(|count| model.generate(count, 4, 1.0, 9).unwrap());
    assert_eq!(one, three[..12]);
    assert!(three[..12] != three[12..24]);
}

#[test]
fn a_gpu_trains_and_draws_too() {
    if gpu(Options::default()).is_none() {
        return;
    }
    let desk = desk();
    let here = desk.path();
    let sizes = "--set features=8 --hidden 8 --latent 2 --batch-size 8 --seed 3 --epochs 2";
    let losses = ["cpu", "gpu"].map(|device| {
        let train = format!("train chorales-vrnn --data songs.json {sizes} --device {device} --no-tune --out {device}");
        succeeds(here, &train);
        let judged = eval(here, device);
        // The noise of an evaluation is the same on every device.
        judged["nats_a_step"].as_f64().unwrap()
    });
    assert!((losses[0] - losses[1]).abs() < 1e-3 * losses[0], "{losses:?}");
    succeeds(here, "sample gpu --device gpu --count 2 --steps 3 --out samples.png");
    assert_eq!(Picture::read_png(here.join("samples.png")).unwrap().height, 2 * (2 + 88 + 2));
}

#[test]
fn what_cannot_be_is_refused_in_a_line() {
    let desk = desk();
    let here = desk.path();
    let train = |args: &str| format!("train {args} {SMALL} --epochs 1");
    fails(here, &train("chorales-vrnn"), &["--dataset piano-rolls needs its FILE"]);
    fails(here, &train("chorales-vrnn --data squares"), &["is a folder", "--data FILE.json"]);
    fails(here, &train("strokes-vrnn --data songs.json"), &["is no folder", "train.ndjson"]);
    fails(here, &train("chorales-vrnn --data songs.json --set emission=strokes"), &["emission", "88 numbers"]);
    fails(here, &train("chorales-dmm --data songs.json --free-bits 1"), &["free_bits", "kl_schedule"]);
    fails(here, &train("chorales-dmm --data songs.json --latent 0"), &["latent is 0"]);
    let as_notes = train("strokes-vrnn --data squares --set emission=bernoulli");
    fails(here, &as_notes, &["emission is bernoulli", "`dx`", "must be 0 or 1"]);
    fs::write(here.join("gap.csv"), format!("a\n{}", "1\n,\n".replace(',', "nan").repeat(200))).unwrap();
    let of_gaps = "--dataset series --data gap.csv --window-length 8 --set emission=bernoulli";
    fails(here, &train(&format!("chorales-vrnn {of_gaps}")), &["emission is bernoulli", "`a`"]);
    fails(
        here,
        &train("mnist-mlp --dataset piano-rolls --data songs.json"),
        &["needs pictures", "sequences of up to 8"],
    );
    fs::write(here.join("high.json"), r#"{"train": [[[200]]], "test": [[[60]]]}"#).unwrap();
    fails(here, &train("chorales-vrnn --data high.json"), &["high.json", "the note 200"]);

    let sizes = "--set features=4 --hidden 4 --latent 2";
    succeeds(here, &train(&format!("chorales-vrnn --data songs.json {sizes} --out run")));
    fails(here, "sample run --steps 0 --device cpu", &["--steps is 0"]);
    fails(here, "sample run --top-k 3 --device cpu", &["--top-k", "sequences"]);
    fails(here, "sample run --temperature 0 --device cpu", &["--temperature is 0"]);
    fails(here, "reconstruct run --count 10 --device cpu", &["--count is 10", "9 test sequences"]);
    fails(here, "encode run --device cpu", &["cannot encode"]);
    let longer: Vec<Vec<u8>> = vec![vec![60]; 9];
    fs::write(here.join("long.json"), json!({ "train": [longer], "test": [longer] }).to_string()).unwrap();
    fails(here, "eval run --data long.json --device cpu", &["9 steps", "the model takes 8 at most"]);
}
