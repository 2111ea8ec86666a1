//! Tables: trained on, and their rows scored.

use std::fs;

use super::running::{Run, elbo_output, losses, succeeds, text};

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
