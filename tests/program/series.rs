//! A model of series as its user meets it: train, go on, draw, score, forecast; and what is refused.

use std::fs;
use std::path::Path;

use crate::common::gpu;
use crate::common::process::{elbo, fails, json, succeeds};
use elbo::backend::gpu::Options;
use serde_json::Value;

/// A folder with 240 rows of two sensors: waves with gaps, and from row 210 on ten rows that are none.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    let row = |t: usize| {
        let is_anomaly = (210..220).contains(&t);
        let wave = |phase: f64| (t as f64 * 0.5 + phase).sin();
        let [load, heat] = if is_anomaly { [4.0, -4.0] } else { [10.0 + 2.0 * wave(0.0), 50.0 * wave(1.0)] };
        let load = if t % 37 == 5 { String::new() } else { load.to_string() };
        format!("2026-01-01 {t};{load};{heat};{}\n", u8::from(is_anomaly))
    };
    let rows: String = (0..240).map(row).collect();
    fs::write(desk.path().join("pump.csv"), format!("time;load;heat;anomaly\n{rows}")).unwrap();
    desk
}

const TRAIN: &str = "train series-rvae --data pump.csv --window-length 16 --window-stride 4 --hidden 12 --latent 3 --set hide=5 \
                     --batch-size 8 --lr 1e-2 --device cpu";

#[test]
fn a_model_trains_goes_on_and_answers_every_command() {
    let desk = desk();
    let here = desk.path();
    let output = elbo(here, &format!("{TRAIN} --epochs 12 --out whole")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    for words in ["240 rows of 2 (load, heat)", "numbers missing", "nats a sequence"] {
        assert!(output.status.success() && told.contains(words), "no {words:?} in: {told}");
    }
    succeeds(here, &format!("{TRAIN} --epochs 5 --out parts"));
    succeeds(here, "train --resume parts --epochs 12");
    for file in ["model.safetensors", "state.safetensors"] {
        assert!(fs::read(here.join("whole").join(file)).unwrap() == fs::read(here.join("parts").join(file)).unwrap());
    }
    draws(here);
    scores(here);
    forecasts(here);
    refuses(here);
}

/// The commands that draw windows.
fn draws(here: &Path) {
    let told = succeeds(here, "reconstruct whole --device cpu --count 3");
    assert!(
        told.contains("3 test windows of series:pump") && here.join("whole/reconstructions.png").exists(),
        "{told}"
    );
    succeeds(here, "sample whole --device cpu --count 2 --seed 3 --out a.png");
    succeeds(here, "sample whole --device cpu --count 2 --seed 3 --out b.png");
    succeeds(here, "sample whole --device cpu --count 2 --seed 4 --out c.png");
    let [a, b, c] = ["a.png", "b.png", "c.png"].map(|name| fs::read(here.join(name)).unwrap());
    assert!(a == b && a != c);
    let encoded = succeeds(here, "encode whole --device cpu");
    assert!(encoded.contains("3 test sequences"), "{encoded}");
    let evaluated = json(here, "eval whole --device cpu --nll 20 --json");
    let of = |name: &str| evaluated[name].as_f64().unwrap();
    // Windows of 16 steps of two numbers, of which some are missing.
    assert!((of("test_recon") + of("test_kl") - of("nats")).abs() < 1e-6 && of("test_numbers") > 28.0, "{evaluated}");
    assert!(evaluated["nll"]["nats"].as_f64().unwrap() < of("nats"));
}

fn scores(here: &Path) {
    let scored = json(here, "score whole --device cpu --json");
    let series = &scored["series"][0];
    assert_eq!((&series["first_step"], series["scores"].as_array().unwrap().len()), (&192.into(), 48));
    let values: Vec<f64> = series["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
    let mean = |steps: std::ops::Range<usize>| steps.clone().map(|t| values[t]).sum::<f64>() / steps.len() as f64;
    assert!(mean(18..28) > 2.0 * mean(0..10), "{values:?}");
    let counts = &scored["counts"];
    let of = |name: &str| counts[name].as_f64().unwrap();
    assert_eq!((of("tp") + of("fn"), of("tp") + of("fp") + of("tn") + of("fn")), (10.0, 48.0));
    assert!((of("f1") - 2.0 * of("tp") / (2.0 * of("tp") + of("fp") + of("fn"))).abs() < 1e-12);
    let told = succeeds(here, "score whole --device cpu --by probability --quantile 0.9");
    for words in ["AUROC", "threshold of the probability", "0.9 quantile of 192 training steps", "all steps: F1"] {
        assert!(told.contains(words), "no {words:?} in: {told}");
    }
    let table = fs::read_to_string(here.join("whole/scores.csv")).unwrap();
    assert!(table.starts_with("series,step,time,error,probability,elbo,label,is_flagged\npump,192,2026-01-01 192,"));
    assert_eq!(table.lines().count(), 49);
    assert!(here.join("whole/scores.windows.csv").exists() && here.join("whole/scores.png").exists());

    // Another file, without labels, by the run's threshold.
    let rows: String = (0..40).map(|t| format!("{},{}\n", 10.0 + (t as f64).sin(), t)).collect();
    fs::write(here.join("new.csv"), format!("load,heat\n{rows}")).unwrap();
    let scored = json(here, "score whole new.csv --device cpu --json");
    assert_eq!((&scored["series"][0]["series"], &scored["counts"]), (&"new".into(), &Value::Null));
    assert!(scored["threshold"].as_f64().unwrap() > 0.0);
}

fn forecasts(here: &Path) {
    let forecast = json(here, "forecast whole --steps 4 --device cpu --json");
    let steps = forecast["steps"].as_array().unwrap();
    assert_eq!((steps.len(), &steps[0]["step"], &steps[3]["channels"][1]["channel"]), (4, &240.into(), &"heat".into()));
    for step in steps {
        for channel in step["channels"].as_array().unwrap() {
            let [mean, low, high] = ["mean", "low", "high"].map(|name| channel[name].as_f64().unwrap());
            assert!(low < mean && mean < high, "{channel}");
        }
    }
    let told = succeeds(here, "forecast whole pump.csv --steps 5 --from 100 --device cpu --out next.csv");
    assert!(told.contains("5 steps from step 100 of pump"), "{told}");
    let table = fs::read_to_string(here.join("next.csv")).unwrap();
    assert!(table.starts_with("step,load,load_low,load_high,heat,heat_low,heat_high\n100,"), "{table}");
    assert!(table.lines().count() == 6 && here.join("next.png").exists());
    // What lies behind is not looked at.
    let cut: String = fs::read_to_string(here.join("pump.csv")).unwrap().split_inclusive('\n').take(101).collect();
    fs::write(here.join("cut.csv"), cut).unwrap();
    succeeds(here, "forecast whole cut.csv --steps 5 --device cpu --out cut_next.csv");
    assert_eq!(fs::read_to_string(here.join("cut_next.csv")).unwrap(), table);
}

/// Bad input, and commands and flags that are for other models.
fn refuses(here: &Path) {
    fails(here, "forecast whole --steps 6 --device cpu", &["a forecast of 6 steps", "for 1 to 5", "--set hide=6"]);
    fails(here, "forecast whole --steps 2 --from 241 --device cpu", &["--from is 241", "240 steps of pump"]);
    fails(here, "forecast whole --steps 2 --samples 0 --device cpu", &["at least 1 sample"]);
    fails(here, "score whole --by bound --device cpu", &["cannot be scored by bound", "error, probability, elbo"]);
    fails(here, "score whole --samples 3 --device cpu", &["--samples is for"]);
    fails(here, "reconstruct whole --count 4 --device cpu", &["3 test windows"]);
    fails(here, "sample whole --count 40 --device cpu", &["80 charts", "--count"]);
    fails(here, "sample whole --greedy --device cpu", &["--greedy is for pictures or sentences"]);
    fails(here, "classify whole --device cpu", &["kind series cannot"]);

    let write = |name: &str, content: &str| fs::write(here.join(name), content).unwrap();
    let train = |file: &str| TRAIN.replace("pump.csv", file) + " --epochs 1 --out refused";
    write("text.csv", "time,load\n1,2\n2,high\n3,4\n");
    fails(here, &train("text.csv"), &["text.csv", "line 3, column load: `high` is no number"]);
    write("bare.csv", "1,2\n3,4\n5,6\n");
    fails(here, &train("bare.csv"), &["bare.csv", "its first line has no names"]);
    write("ragged.csv", "time,load\n1,2\n2\n3,4\n");
    fails(here, &train("ragged.csv"), &["ragged.csv", "line 3 has 1 values, and the header 2 columns"]);
    write("short.csv", "time,load\n1,2\n2,3\n3,4\n");
    fails(here, &train("short.csv"), &["short.csv", "fewer than the 16 of a window", "--window-length"]);
    write("labels.csv", "time,anomaly\n1,0\n2,0\n3,1\n");
    fails(here, &train("labels.csv"), &["labels.csv", "no column of numbers"]);
    fails(here, &train("absent.csv"), &["absent.csv"]);
    let with = |old: &str, new: &str| TRAIN.replace(old, new) + " --out refused";
    fails(here, &with("--window-length 16", "--window-length 1"), &["window_length is 1", "must be 2 to"]);
    fails(here, &with("hide=5", "hide=16"), &["hide is 16", "less than the 16 steps"]);
    fails(here, &with("--window-stride 4", "--split normal:0.5"), &["--split normal:0.5 is for tables"]);
    fails(
        here,
        "train mnist-mlp --device cpu --dataset digits --window-length 9",
        &["--window-length is of the data set series"],
    );
    fails(here, "score whole text.csv --device cpu", &["text.csv"]);

    let tiny = "train mnist-mlp --device cpu --dataset digits --train-limit 40 --test-limit 10 --hidden 8 --latent 2 \
                --epochs 1 --out pictures";
    succeeds(here, tiny);
    fails(here, "forecast pictures --steps 2 --device cpu", &["a model of series", "pictures of 1x"]);
}

#[test]
fn a_gpu_trains_and_draws_too() {
    if gpu(Options::default()).is_none() {
        return;
    }
    let desk = desk();
    let here = desk.path();
    let train = TRAIN.replace("--device cpu", "--device gpu --no-tune");
    succeeds(here, &format!("{train} --epochs 1 --out run"));
    let scores = |device: &str| {
        let scored = json(here, &format!("score run --device {device} --json"));
        let scores = scored["series"][0]["scores"].as_array().unwrap().clone();
        scores.into_iter().map(|score| score.as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert!(scores("gpu").iter().zip(scores("cpu")).all(|(gpu, cpu)| (gpu - cpu).abs() < 1e-3 * cpu.max(1.0)));
}
