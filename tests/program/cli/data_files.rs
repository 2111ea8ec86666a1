//! The files of a data set: damaged, compressed, elsewhere or not there.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::desk::{
    Desk, SMALL, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, files_below, gzip, idx, images, labels, text_of,
};

#[test]
fn damaged_data_is_named_and_nothing_is_trained() {
    let desk = Desk::new();
    let refused = |name: &str, content: &[u8], words: &[&str]| {
        let good = desk.read(name);
        desk.put(name, content);
        let file = name.split('/').next_back().unwrap();
        desk.fails(&format!("{SMALL} --out run"), &[&[file], words].concat());
        // Neither does `auto` fall back where there are files.
        desk.fails("train --device cpu --data data --out run", &[file]);
        assert!(!desk.path("run/run.toml").exists());
        desk.put(name, &good);
    };
    let whole = images(20);
    refused(TRAIN_IMAGES, &whole[..whole.len() - 1], &["truncated"]);
    refused(TRAIN_IMAGES, &[whole.clone(), vec![0]].concat(), &["oversized"]);
    refused(TRAIN_IMAGES, &labels(20), &["expected an IDX file of images", "found a file of labels"]);
    refused(TRAIN_IMAGES, &gzip(&whole)[..100], &["truncated"]);
    refused(TRAIN_IMAGES, b"", &["only 0 bytes"]);
    refused(TRAIN_IMAGES, b"<!DOCTYPE html><html>not found</html>", &["something else"]);
    refused(TRAIN_IMAGES, &idx(&[u32::MAX, 28, 28], &[]), &["claims sizes"]);
    refused(TRAIN_LABELS, &labels(19), &["19 labels", "20 pictures"]);
    refused(TRAIN_LABELS, &idx(&[20], &[10; 20]), &["label 10"]);
    refused(TEST_IMAGES, &idx(&[10, 5, 5], &[0; 250]), &["[1, 5, 5]"]);

    fs::remove_file(desk.path(TEST_LABELS)).unwrap();
    desk.fails(&format!("{SMALL} --out run"), &["mnist lacks t10k-labels-idx1-ubyte"]);
}

#[test]
fn a_gzip_bomb_costs_nothing() {
    let desk = Desk::new();
    // 20 pictures as the header says, and then 256 MiB of zeros in a megabyte.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&images(20)).unwrap();
    for _ in 0..64 {
        encoder.write_all(&[0; 4 << 20]).unwrap();
    }
    desk.put(TRAIN_IMAGES, &encoder.finish().unwrap());
    let started = std::time::Instant::now();
    desk.fails(&format!("{SMALL} --out run"), &["train-images-idx3-ubyte", "oversized"]);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

#[test]
fn compressed_data_trains_to_the_same_model() {
    let desk = Desk::new();
    desk.succeeds(&format!("{SMALL} --epochs 1 --out plain"));
    for name in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
        let content = gzip(&desk.read(name));
        fs::remove_file(desk.path(name)).unwrap();
        desk.put(&format!("{name}.gz"), &content);
    }
    desk.succeeds(&format!("{SMALL} --epochs 1 --out compressed"));
    assert!(desk.read("plain/model.safetensors") == desk.read("compressed/model.safetensors"));
}

#[test]
fn mnist_by_name_never_falls_back() {
    let desk = Desk::empty();
    let started = std::time::Instant::now();
    let stderr = desk.fails(
        "train --device cpu --dataset mnist --out run",
        &["mnist lacks train-images-idx3-ubyte", "download failed", "--data DIR", "--dataset digits"],
    );
    assert!(started.elapsed().as_secs() < 10, "{:?}\n{stderr}", started.elapsed());
    assert!(files_below(desk.folder.path()).is_empty());
    desk.fails("train --device cpu --dataset kmnist --out run", &["kmnist lacks", "get the files from"]);
}

#[test]
fn a_set_in_its_usual_place_is_found_from_another_folder() {
    let desk = Desk::new();
    fs::create_dir(desk.path("usual")).unwrap();
    fs::rename(desk.path("data"), desk.path("usual/mnist")).unwrap();
    fs::rename(desk.path("usual"), desk.path("data")).unwrap();
    desk.succeeds(&SMALL.replace("--data data", "--epochs 1 --out run"));
    let elsewhere = |args: &str| {
        fs::create_dir_all(desk.path("elsewhere")).unwrap();
        let output = desk.command(args).current_dir(desk.path("elsewhere")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args}: {}", text_of(&output.stderr));
    };
    elsewhere("eval ../run --device cpu");
    elsewhere("train --resume ../run --epochs 2");
    // Moved, it is found where it is looked for by default.
    fs::rename(desk.path("data"), desk.path("elsewhere/data")).unwrap();
    elsewhere("train --resume ../run --epochs 3");
    elsewhere("eval ../run --device cpu");
}
