//! `elbo bench` as its user meets it, on the CPU device with few of the built-in digits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use elbo::instruments::bench::compare::{BEGIN, END};
use elbo::instruments::bench::file;
use elbo::instruments::bench::row::{COLUMNS, Row};

/// Runs in a folder where there is no data set.
fn bench(folder: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
    command.current_dir(folder).arg("bench").args(args.split_whitespace()).stdin(Stdio::null());
    command.env_remove("ELBO_DATA").env("NODEVICE_SELECT", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn succeeds(folder: &Path, args: &str) -> String {
    let output = bench(folder, args);
    assert_eq!(output.status.code(), Some(0), "elbo bench {args}\n{}", text(&output.stderr));
    text(&output.stdout)
}

/// Exit code 2, and a message with all of `words`.
#[track_caller]
fn fails(folder: &Path, args: &str, words: &[&str]) {
    let output = bench(folder, args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "elbo bench {args}\n{stderr}");
    let message = &stderr[stderr.find("error: ").unwrap_or(0)..];
    assert!(words.iter().all(|word| message.contains(word)), "{words:?} from elbo bench {args}\n{stderr}");
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().to_path_buf();
    (temporary, path)
}

/// The rows of a metric.
fn of<'a>(rows: &'a [Row], metric: &'a str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.metric == metric).collect()
}

// ---- Measuring

#[test]
fn a_quick_run_measures_and_leaves_its_folder() {
    let (_temporary, desk) = folder();
    let args = "--device cpu --threads 1 --quick --only steps,start,scale --batch 32,64 --out results";
    let begin = Instant::now();
    let stdout = succeeds(&desk, args);
    let elapsed = begin.elapsed().as_secs_f64();
    let rows = file::read(&desk.join("results/elbo.csv")).unwrap();
    for row in &rows {
        let own = (row.peer.as_str(), row.device.as_str(), row.threads);
        assert_eq!(own, ("elbo", "cpu", Some(1)), "{row:?}");
        assert!(row.median > 0.0 && row.note == "digits; quick: not for results", "{row:?}");
        // What was measured fits, all windows of it, into the time that the program took.
        assert!(row.unit != "s" || row.windows as f64 * row.low < elapsed, "{row:?} within {elapsed} s");
    }
    let step = |batch| {
        let steps = of(&rows, "step");
        let found: Vec<_> = steps.into_iter().filter(|r| r.case == "mnist-mlp" && r.batch == Some(batch)).collect();
        assert_eq!((found.len(), found[0].windows), (1, 3), "batch {batch}");
        found[0].median
    };
    // A step on 2,048 pictures at a time is longer than one on 32, by far.
    assert!(step(2048) > 3.0 * step(32), "{} and {}", step(2048), step(32));
    for metric in ["loss", "dispatches", "peak_rss"] {
        let batches: Vec<_> = of(&rows, metric).iter().map(|row| row.batch.unwrap()).collect();
        assert_eq!(batches, if metric == "peak_rss" && !cfg!(target_os = "linux") { vec![] } else { vec![32, 64] });
    }
    // Guessing grey everywhere costs 784 ln 2 = 543 nats.
    assert!(of(&rows, "loss").iter().all(|row| row.median < 543.0));
    // A start is more than its parts: the process itself, too.
    let start = |metric: &str| of(&rows, metric)[0].median;
    let parts: f64 = ["device", "data", "load", "step"].iter().map(|part| start(&format!("start_{part}"))).sum();
    assert!(start("start_warm") > parts / 2.0 && start("start_cold") > 0.0, "{parts}");
    // Nothing is recorded on the CPU.
    assert!(of(&rows, "recording").is_empty());

    assert!(stdout.contains("wrote results") && stdout.contains("pictures"), "{stdout}");
    let machine: toml::Table = fs::read_to_string(desk.join("results/machine.toml")).unwrap().parse().unwrap();
    assert_eq!(machine["windows"].as_integer(), Some(3));
    assert!(machine["data"].as_str().unwrap().starts_with("digits, 2048"));
    for sweep in ["batch", "hidden", "latent"] {
        let picture = fs::read(desk.join(format!("results/scale_{sweep}.png"))).unwrap();
        image::load_from_memory(&picture).unwrap_or_else(|e| panic!("{sweep}: {e}"));
    }

    // Measured again, a case is replaced and the others stay.
    let output = succeeds(&desk, "--device cpu --threads 1 --quick --only steps --batch 32 --out results --json");
    let json: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 4);
    let again = file::read(&desk.join("results/elbo.csv")).unwrap();
    assert_eq!(again.len(), rows.len());
}

#[test]
fn a_batch_larger_than_the_data_is_named_and_the_rest_measured() {
    let (_temporary, desk) = folder();
    let output = bench(&desk, "--device cpu --quick --only steps --batch 4096,64 --out results");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("not measured: mnist-mlp, batch 4096: a batch of 4096 cannot be taken"), "{stderr}");
    assert_eq!(of(&file::read(&desk.join("results/elbo.csv")).unwrap(), "step").len(), 1);
}

#[test]
fn mistyped_names_get_the_nearest() {
    let (_temporary, desk) = folder();
    fails(&desk, "--only step", &["no part `step`", "did you mean `steps`?", "kernels"]);
    fails(&desk, "--model mnist-mpl", &["did you mean `mnist-mlp`?"]);
    fails(&desk, "--model cifar-conv", &["3x32x32"]);
    fails(&desk, "--device no-such-device --quick", &["no device matches 'no-such-device'", "cpu"]);
    fails(&desk, "compare x.csv --metric stp", &["no metric is called `stp`; did you mean `step`?"]);
    fails(&desk, "--quick --batch 0", &["--batch is 0"]);
    fails(&desk, "--quick --windows 0", &["--windows is 0"]);
    fails(&desk, "--quick --to-loss --device cpu", &["--to-loss is of MNIST"]);
    fails(&desk, "--data nowhere --device cpu", &["nowhere", "none of MNIST's files"]);
    assert_eq!(fs::read_dir(&desk).unwrap().count(), 0, "something was written");
}

#[test]
fn inputs_of_the_peers_are_written() {
    let (_temporary, desk) = folder();
    let stdout = succeeds(&desk, "inputs inputs.safetensors --pictures 60");
    assert!(stdout.contains("60 digits pictures"), "{stdout}");
    let bytes = fs::read(desk.join("inputs.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for name in ["train", "order", "mnist-mlp/fc4.bias", "mnist-2d/fc1.weight", "mnist-conv/decoder.3.0.weight"] {
        assert!(file.tensor(name).is_ok(), "{name}");
    }
}

// ---- Comparing

/// A result file: each line is peer, device, case, metric with its unit, median.
fn put(desk: &Path, name: &str, lines: &[[&str; 5]]) {
    let row = |[peer, device, case, metric, median]: &[&str; 5]| {
        format!("2026-01-31,{peer},1.0,{device},driver,2,{case},128,{metric},{median},{median},{median},5,digits")
    };
    let rows: Vec<String> = lines.iter().map(row).collect();
    let path = desk.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{}\n{}\n", COLUMNS.join(","), rows.join("\n"))).unwrap();
}

fn results(desk: &Path) {
    let ours = [["elbo", "cpu", "mnist-mlp", "step,s", "0.002"], ["elbo", "cpu", "mnist-mlp", "start_warm,s", "0.2"]];
    put(desk, "results/elbo.csv", &ours);
    put(desk, "results/libtorch-1.csv", &[["libtorch", "cpu", "mnist-mlp", "step,s", "0.003"]]);
    put(desk, "results/libtorch-2.csv", &[["libtorch", "cpu", "mnist-mlp", "step,s", "0.005"]]);
    put(desk, "other.csv", &[["pytorch-eager", "cpu", "mnist-mlp", "start_warm,s", "3"]]);
}

#[test]
fn results_of_files_and_folders_are_compared() {
    let (_temporary, desk) = folder();
    results(&desk);
    let stdout = succeeds(&desk, "compare results other.csv");
    let line = |name: &str| stdout.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{stdout}"));
    let words = |name: &str| line(name).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words("mnist-mlp: step"), "mnist-mlp: step 128 2 ms 4 ms 2.00");
    assert_eq!(words("mnist-mlp: start_warm"), "mnist-mlp: start_warm 128 200 ms 3 s 15.00");

    let json = succeeds(&desk, "compare results other.csv --metric step --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let lines = json[0]["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["peers"][0]["ratio"].as_f64(), Some(2.0));
}

#[test]
fn tables_are_put_between_the_markers() {
    let (_temporary, desk) = folder();
    results(&desk);
    fs::write(desk.join("README.md"), format!("# Title\n\n{BEGIN}\nold\n{END}\n\nEnd\n")).unwrap();
    succeeds(&desk, "compare results --write README.md");
    let expected = format!(
        "# Title\n\n{BEGIN}\n\
         | case | batch | elbo, cpu (2 threads) | libtorch, cpu (2 threads) | ratio |\n\
         |---|---:|---:|---:|---:|\n\
         | mnist-mlp: step | 128 | 2 ms | 4 ms | **2.00** |\n\
         {END}\n\nEnd\n"
    );
    assert_eq!(fs::read_to_string(desk.join("README.md")).unwrap(), expected);
    fs::write(desk.join("plain.md"), "no markers").unwrap();
    fails(&desk, "compare results --write plain.md", &["plain.md", BEGIN, "0 times"]);
    fails(&desk, "compare results --write missing.md", &["cannot read missing.md"]);
}

#[test]
fn files_that_are_no_results_are_refused_by_line() {
    let (_temporary, desk) = folder();
    results(&desk);
    put(
        &desk,
        "bad.csv",
        &[["burn", "cpu", "mnist-mlp", "step,s", "0.1"], ["burn", "cpu", "mnist-mlp", "step,ms", "1"]],
    );
    fails(&desk, "compare results bad.csv", &["bad.csv: line 3:", "`ms`"]);
    put(&desk, "bad.csv", &[["burn", "cpu", "mnist-mlp", "step,s", "fast"]]);
    fails(&desk, "compare results bad.csv", &["bad.csv: line 2: median", "invalid float"]);
    fs::write(desk.join("bad.csv"), "a,b\n1,2\n").unwrap();
    fails(&desk, "compare results bad.csv", &["bad.csv: line 1: column `a` where `date` is expected"]);
    fails(&desk, "compare nowhere.csv", &["cannot open nowhere.csv"]);
    fails(&desk, "compare results/elbo.csv", &["no results of a peer"]);
    fails(&desk, "compare", &["required"]);
}
