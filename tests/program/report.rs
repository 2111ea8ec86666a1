//! What a run leaves for a browser and for TensorBoard.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::process::{TINY, desk, elbo, fails, succeeds};
use serde_json::Value;

fn page(here: &Path, name: &str) -> String {
    fs::read_to_string(here.join(name)).unwrap()
}

fn headings(page: &str) -> Vec<&str> {
    page.split("<h2>").skip(1).map(|rest| rest.split("</h2>").next().unwrap()).collect()
}

#[test]
fn a_run_of_pictures_leaves_a_report_with_every_section() {
    let desk = desk();
    let here = desk.path();
    fs::rename(here.join("data"), here.join("da<b>ta&")).unwrap();
    let train = TINY.replace("--data data", "--data da<b>ta&");
    succeeds(here, &format!("{train} --epochs 2 --out run"));
    let page = page(here, "run/report.html");
    let expected = [
        "What came out",
        "Curves",
        "Samples",
        "Reconstructions",
        "Latent space",
        "Traversals",
        "KL of each dimension",
        "Health",
        "Parameters and gradients",
        "The training step",
        "Settings",
        "Machine",
    ];
    assert_eq!(headings(&page), expected);
    assert!(!page.contains("Not shown"), "{page}");
    // The numbers are those of the log, once in the curves and once in their table.
    let log = fs::read_to_string(here.join("run/metrics.csv")).unwrap();
    let loss: f64 = log.lines().last().unwrap().split(',').nth(4).unwrap().parse().unwrap();
    assert!(page.contains(&format!("test {loss:.4}")) && page.contains(&format!("<td>{loss:.4}</td>")), "{loss}");
    // Two dimensions of eleven pictures, the samples, the reconstructions.
    assert_eq!(page.matches("data:image/png;base64,").count(), 2 * 11 + 2);
    assert_eq!(page.matches("<input type=\"range\"").count(), 2);
    assert_eq!(page.matches("<circle cx").count(), 10, "the ten test pictures");
    // No text of a user becomes a tag, and nothing is fetched.
    assert!(page.contains("da&lt;b&gt;ta&amp;") && !page.contains("<b>ta"), "it is escaped");
    assert!(!page.contains("http:") && !page.contains("https:"));
    assert!(page.len() < 5_000_000);

    // Written again from the folder alone it is the same but for what is measured: nothing.
    succeeds(here, "report run --out again.html --device cpu");
    assert_eq!(self::page(here, "again.html"), page);
    fails(here, "report run --out again.pdf", &["again.pdf", ".html"]);
    fails(here, "report nothing", &["nothing holds no run"]);
}

#[test]
fn a_report_that_cannot_be_written_or_is_not_wanted_is_no_error_of_the_run() {
    let desk = desk();
    let here = desk.path();
    succeeds(here, &format!("{TINY} --epochs 1 --no-report --out bare"));
    assert!(!here.join("bare/report.html").exists());
    // A run that is resumed after its end gets what it lacks.
    fs::create_dir(here.join("bare/report.html")).unwrap();
    let output = elbo(here, "train --resume bare").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.contains("no report of the run: "), "{stderr}");
    fs::remove_dir(here.join("bare/report.html")).unwrap();
    succeeds(here, "train --resume bare");
    assert!(here.join("bare/report.html").is_file());

    // Without its data a run has a report without latents.
    fs::rename(here.join("data"), here.join("elsewhere")).unwrap();
    let output = elbo(here, "report bare --device cpu").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.contains("no latents in the report"), "{stderr}");
    let page = page(here, "bare/report.html");
    assert!(!headings(&page).contains(&"Latent space") && headings(&page).contains(&"Curves"));
}

/// Models without pictures have the sections that they have.
#[test]
fn sentences_tables_and_sequences_are_reported_too() {
    let desk = tempfile::tempdir().unwrap();
    let here = desk.path();
    let lines = (0..40).map(|i| format!("the {} cat sees <{i}> dogs\n", ["old", "young", "grey"][i % 3]));
    fs::write(here.join("train.txt"), lines.collect::<String>()).unwrap();
    succeeds(
        here,
        "train text-vae --device cpu --data train.txt --set embedding=4 --hidden 8 --latent 2 --batch-size 8 \
         --epochs 1 --out words",
    );
    let words = page(here, "words/report.html");
    assert!(
        headings(&words).contains(&"Sentences") && headings(&words).contains(&"KL of each dimension"),
        "{:?}",
        headings(&words)
    );
    assert!(!headings(&words).contains(&"Traversals") && !words.contains("Not shown"));

    let row = |i: usize| format!("{},{},{}\n", i % 7, (i * 3) % 5, i % 2);
    fs::write(here.join("t.csv"), "a,b,c\n".to_string() + &(0..80).map(row).collect::<String>()).unwrap();
    succeeds(
        here,
        "train table-vae --device cpu --data t.csv --hidden 8 --latent 3 --batch-size 8 --epochs 1 --out rows",
    );
    let rows = page(here, "rows/report.html");
    assert!(headings(&rows).contains(&"Latent space") && headings(&rows).contains(&"Health"), "{:?}", headings(&rows));
    assert!(!headings(&rows).contains(&"Samples") && !rows.contains("Not shown"));

    let square = |n: usize| {
        let side = 1.0 + n as f64 / 10.0;
        serde_json::json!([[side, 0, 0], [0, side, 0], [-side, 0, 0], [0, -side, 1]]).to_string() + "\n"
    };
    fs::create_dir(here.join("squares")).unwrap();
    for (name, range) in [("train", 0..30), ("test", 30..36)] {
        fs::write(here.join(format!("squares/{name}.ndjson")), range.map(square).collect::<String>()).unwrap();
    }
    succeeds(
        here,
        "train strokes-vrnn --device cpu --data squares --set features=8 --hidden 8 --latent 2 --batch-size 8 \
         --epochs 1 --out signs",
    );
    let signs = page(here, "signs/report.html");
    assert!(headings(&signs).contains(&"Sequences") && !signs.contains("Not shown"), "{:?}", headings(&signs));
}

/// The page's script runs without a word on the console, and what it does is there.
#[test]
fn a_browser_shows_the_report() {
    let Ok(version) = Command::new("chromium").arg("--version").output() else {
        crate::common::say("NOT RUN: the report in a browser. There is no chromium here.");
        return;
    };
    assert!(version.status.success());
    let desk = desk();
    let here = desk.path();
    succeeds(here, &format!("{TINY} --epochs 2 --out run"));
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", here.join("profile").display()))
        .arg(format!("file://{}", here.join("run/report.html").canonicalize().unwrap().display()))
        .output()
        .unwrap();
    let [page, log] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(!log.contains("CONSOLE"), "{log}");
    assert_eq!(page.matches("class=\"slider moved\"").count(), 2);
    assert_eq!(page.matches("class=\"pixel chosen\"").count(), 2);
}

const READER: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
sizes = {'scalars': 0, 'images': 0, 'histograms': 0}
events = EventAccumulator(sys.argv[1], size_guidance=sizes)
events.Reload()
tags = events.Tags()
print(json.dumps({
    'scalars': {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags['scalars']},
    'images': {tag: [[e.step, e.width, e.height, len(e.encoded_image_string)] for e in events.Images(tag)]
               for tag in tags['images']},
    'histograms': {tag: [[e.step, e.histogram_value.num, sum(e.histogram_value.bucket)] for e in events.Histograms(tag)]
                   for tag in tags['histograms']},
}))
";

#[test]
fn tensorboard_reads_what_a_run_writes_for_it() {
    let desk = desk();
    let here = desk.path();
    succeeds(here, &format!("{TINY} --epochs 1 --kl-schedule linear:4 --tensorboard --out run"));
    succeeds(here, "train --resume run --epochs 2 --tensorboard");
    let files = fs::read_dir(here.join("run")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.filter(|name| name.contains("tfevents")).count(), 2);
    let has = Command::new("python3").args(["-c", "import tensorboard"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        crate::common::say("NOT RUN: TensorBoard's own reader of event files. python3 has no tensorboard.");
        return;
    }
    let output = Command::new("python3").args(["-c", READER, "run"]).current_dir(here).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let log = fs::read_to_string(here.join("run/metrics.csv")).unwrap();
    for (row, line) in log.lines().skip(1).enumerate() {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        for (tag, column) in [("loss/train", 1), ("kl/train", 3), ("loss/test", 4), ("recon/test", 5)] {
            let event = &read["scalars"][tag][row];
            assert_eq!(event[0], row as u64 + 1, "{tag}: {read}");
            assert_eq!(event[1].as_f64().unwrap() as f32, cells[column] as f32, "{tag}");
        }
    }
    // Three steps an epoch: the last of the first is the third of twelve.
    let weight = read["scalars"]["schedules/kl_weight"][0][1].as_f64().unwrap();
    assert!((weight - 2.0 / 12.0).abs() < 1e-6, "{weight}");
    for kind in ["samples", "reconstructions"] {
        for epoch in 1..=2 {
            let file = here.join(format!("run/{kind}/epoch_{epoch:03}.png"));
            let picture = elbo::picture::Picture::read_png(&file).unwrap();
            let expected = serde_json::json!([epoch, picture.width, picture.height, fs::metadata(file).unwrap().len()]);
            assert_eq!(read["images"][kind][epoch - 1], expected);
        }
    }
    assert_eq!(read["histograms"]["parameters/fc1.weight"][1], serde_json::json!([2, 240.0, 240.0]));
}
