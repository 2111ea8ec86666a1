//! Runs beside each other, and many of them from one file: `elbo compare` and `elbo sweep` as their users meet them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::process::{TINY, desk, elbo, end, fails, json, send, set_up, succeeds};
use elbo::picture::Picture;
use serde_json::{Map, Value};

const SWEEP: &str = r#"
out = "runs/tiny"
[base]
device = "cpu"
dataset = "mnist"
data = "data"
hidden = [8]
latent = 2
batch_size = 8
samples = 4
epochs = 2
[grid]
lr = [1e-3, 1e-2]
seed = [1, 2]
"#;

fn write(here: &Path, text: &str) {
    fs::write(here.join("tiny.toml"), text).unwrap();
}

/// The rows of sweep.csv by the name of their column.
fn rows(here: &Path) -> Vec<Map<String, Value>> {
    let mut reader = csv::Reader::from_path(here.join("runs/tiny/sweep.csv")).unwrap();
    let heads = reader.headers().unwrap().clone();
    let row = |row: csv::StringRecord| heads.iter().zip(&row).map(|(k, v)| (k.to_string(), Value::from(v))).collect();
    reader.records().map(|record| row(record.unwrap())).collect()
}

#[test]
fn runs_are_compared_by_what_differs_and_by_seed() {
    let desk = desk();
    let here = desk.path();
    for (name, rest) in [("a", "--seed 1"), ("b", "--seed 2"), ("c", "--seed 1 --lr 1e-2")] {
        succeeds(here, &format!("{TINY} --epochs 2 {rest} --out {name}"));
    }
    let compared = json(here, "compare a b c --json --out all.png");
    assert_eq!(compared["differing"], serde_json::json!(["lr", "seed"]));
    assert_eq!(compared["columns"], serde_json::json!(["loss", "recon", "kl"]));
    let loss = |run: usize, which: &str| compared["runs"][run][which]["loss"].as_f64().unwrap();
    let log = fs::read_to_string(here.join("b/metrics.csv")).unwrap();
    let column = |line: &str| line.split(',').nth(4).unwrap().parse::<f64>().unwrap();
    let losses: Vec<f64> = log.lines().skip(1).map(column).collect();
    // JSON is read to within the last digit.
    assert!((loss(1, "last") - losses[1]).abs() < 1e-9);
    assert!((loss(1, "best") - losses[0].min(losses[1])).abs() < 1e-9);
    let group = &compared["groups"][0];
    assert_eq!((compared["groups"].as_array().unwrap().len(), &group["runs"]), (1, &serde_json::json!(["a", "b"])));
    let [first, second] = [loss(0, "last"), loss(1, "last")];
    let spread = |key: &str| group["last"]["loss"][key].as_f64().unwrap();
    assert!((spread("mean") - (first + second) / 2.0).abs() < 1e-9);
    assert!((spread("standard_deviation") - (first - second).abs() / 2f64.sqrt()).abs() < 1e-9);
    assert!(Picture::read_png(here.join("all.png")).unwrap().width > 1200);

    let text = succeeds(here, "compare a b c");
    assert!(text.contains("mean of 2 seeds") && text.contains(" ± "), "{text}");
    assert!(here.join("comparison.png").is_file());
    fails(here, "compare a nothing", &["nothing holds no run"]);
    fails(here, "compare a --out a.bmp", &[".png, .jpg or .jpeg"]);
}

#[test]
fn a_run_without_an_epoch_and_runs_of_other_models_are_compared_too() {
    let desk = desk();
    let here = desk.path();
    succeeds(here, &format!("{TINY} --epochs 1 --out a"));
    succeeds(here, &format!("{TINY} --model conditional --epochs 1 --out told"));
    fs::create_dir(here.join("begun")).unwrap();
    fs::copy(here.join("a/run.toml"), here.join("begun/run.toml")).unwrap();
    let output = elbo(here, "compare a told begun").output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("begun: no epoch of it has ended yet"), "{stderr}");
    assert!(stdout.contains("conditional") && stdout.contains("test recon"), "{stdout}");
}

#[test]
fn a_sweep_trains_every_run_once_and_says_what_they_came_to() {
    let desk = desk();
    let here = desk.path();
    write(here, SWEEP);
    let text = succeeds(here, "sweep tiny.toml --jobs 2");
    assert_eq!(text.matches("mean of 2 seeds").count(), 2, "{text}");
    let table = rows(here);
    assert_eq!(table.len(), 4);
    assert!(table.iter().all(|row| row["outcome"] == "finished" && row["epochs"] == "2"), "{table:?}");
    assert_eq!(
        (&table[3]["run"], &table[3]["lr"], &table[3]["seed"]),
        (&"lr-0.01_seed-2".into(), &"0.01".into(), &"2".into())
    );
    // A run of the sweep is the run of its command line.
    succeeds(here, &format!("{TINY} --epochs 2 --lr 1e-2 --seed 2 --out alone"));
    let model = |run: &str| fs::read(here.join(run).join("model.safetensors")).unwrap();
    assert!(model("alone") == model("runs/tiny/lr-0.01_seed-2"));

    // What is finished is not touched; more epochs go on.
    let changed = || fs::metadata(here.join("runs/tiny/lr-0.01_seed-2/state.safetensors")).unwrap().modified().unwrap();
    let before = changed();
    let again = json(here, "sweep tiny.toml --json");
    assert_eq!(again["runs"][0]["outcome"], "finished");
    assert_eq!(changed(), before);
    assert_eq!(succeeds(here, "sweep tiny.toml --print"), "");
    write(here, &SWEEP.replace("epochs = 2", "epochs = 3"));
    assert_eq!(succeeds(here, "sweep tiny.toml --print").matches("train --resume runs/tiny/lr-").count(), 4);
    succeeds(here, "sweep tiny.toml");
    assert!(rows(here).iter().all(|row| row["epochs"] == "3"));
    write(here, &SWEEP.replace("latent = 2", "latent = 3"));
    fails(here, "sweep tiny.toml", &["runs/tiny/lr-0.001_seed-1 holds a run of other settings", "latent"]);
}

#[test]
fn a_run_that_fails_stops_no_other() {
    let desk = desk();
    let here = desk.path();
    // 21 pictures are more than there are: known once the data are open.
    write(here, &SWEEP.replace("seed = [1, 2]", "batch_size = [8, 21]"));
    let output = elbo(here, "sweep tiny.toml --jobs 2").output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.ends_with("error: 2 of 4 runs failed; their .log files say why\n"), "{stderr}");
    assert!(stdout.contains("failed run") && stdout.contains("lr-0.001_batch_size-21"), "{stdout}");
    let table = rows(here);
    let outcomes: Vec<&Value> = table.iter().map(|row| &row["outcome"]).collect();
    assert_eq!(outcomes, ["finished", "failed", "finished", "failed"]);
    let message = table[1]["message"].as_str().unwrap();
    assert!(message.starts_with("error: ") && message.contains("21"), "{message}");
    assert_eq!(table[1]["exit_code"], "2");
    let log = fs::read_to_string(here.join("runs/tiny/lr-0.001_batch_size-21.log")).unwrap();
    assert_eq!(log.lines().last(), Some(message));
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_stopped_saves_its_runs_and_goes_on() {
    let desk = desk();
    let here = desk.path();
    write(here, &SWEEP.replace("epochs = 2", "epochs = 100000").replace("samples = 4", "samples = 0"));
    let child = elbo(here, "sweep tiny.toml --jobs 2").spawn().unwrap();
    let has_epochs = |name: &str| {
        let log = fs::read_to_string(here.join("runs/tiny").join(name).join("metrics.csv"));
        log.is_ok_and(|log| log.lines().count() > 2)
    };
    let start = std::time::Instant::now();
    while !(has_epochs("lr-0.001_seed-1") && has_epochs("lr-0.001_seed-2")) {
        assert!(start.elapsed().as_secs() < 60, "no epoch within a minute");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    send(&child, "INT");
    let output = end(child);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("lr-0.001_seed-1: stopped") && stderr.contains("the same command goes on"), "{stderr}");
    let table = rows(here);
    assert!(table.iter().all(|row| row["outcome"] == "open"), "{table:?}");
    let log = fs::read_to_string(here.join("runs/tiny/lr-0.001_seed-1.log")).unwrap();
    assert!(log.contains("interrupted, everything is saved"), "{log}");
    assert!(!here.join("runs/tiny/lr-0.01_seed-1").exists(), "no run is begun any more");
    // What was cut off goes on, with as many epochs as are asked for now.
    let trained: usize = table[0]["epochs"].as_str().unwrap().parse().unwrap();
    write(
        here,
        &SWEEP
            .replace("epochs = 2", &format!("epochs = {}", trained + 3))
            .replace("samples = 4", "samples = 0")
            .replace("seed = [1, 2]", "seed = [1]")
            .replace("[1e-3, 1e-2]", "[1e-3]"),
    );
    succeeds(here, "sweep tiny.toml");
    assert_eq!(rows(here)[0]["epochs"], (trained + 3).to_string());
}

/// The printed lines are commands for a shell: GNU parallel takes them as they are.
#[test]
fn gnu_parallel_takes_the_printed_runs() {
    let desk = desk();
    let here = desk.path();
    write(here, SWEEP);
    let list = succeeds(here, "sweep tiny.toml --print");
    assert_eq!(list.lines().count(), 4);
    assert!(list.lines().all(|line| line.contains(" train ") && line.contains(" --out runs/tiny/lr-")), "{list}");
    assert!(!here.join("runs").exists(), "printing makes nothing");
    let is_gnu = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).starts_with("GNU parallel");
    if !Command::new("parallel").arg("--version").stderr(Stdio::null()).output().is_ok_and(is_gnu) {
        crate::common::say("NOT RUN: the runs of a sweep by GNU parallel, which is not installed here.");
        return;
    }
    fs::write(here.join("runs.txt"), list).unwrap();
    let mut parallel = Command::new("parallel");
    parallel.args(["--will-cite", "--jobs", "2", "-a", "runs.txt"]);
    set_up(&mut parallel, here);
    let output = parallel.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Nothing is left to do.
    assert_eq!(succeeds(here, "sweep tiny.toml --print"), "");
    succeeds(here, "sweep tiny.toml");
    assert!(rows(here).iter().all(|row| row["outcome"] == "finished" && row["epochs"] == "2"));
}
