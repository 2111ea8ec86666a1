//! One's own pictures: folders and arrays, found again, noticed when they changed, used by a trained model.

use std::fs;

use super::desk::{Desk, files_below, json, plain};

#[test]
fn a_folder_of_pictures_trains_resumes_and_is_found_again() {
    let desk = Desk::empty();
    for i in 0..12 {
        desk.put(&format!("faces/train/{}/{i:02}.png", i % 2), &plain([20 * i, 100, 3]));
    }
    let tests = [[250, 100, 3], [3, 100, 250], [100, 250, 3]];
    for (i, colour) in tests.into_iter().enumerate() {
        desk.put(&format!("faces/test/{}/{i}.png", i % 2), &plain(colour));
    }
    let tiny = "--hidden 8 --latent 2 --batch-size 4 --samples 4";
    let folder = "train --device cpu --dataset folder --data faces";
    let stderr = desk.succeeds(&format!("{folder} --image-size 3 {tiny} --epochs 2 --out run"));
    assert!(stderr.contains("data: folder:faces, 12 training and 3 test pictures"), "{stderr}");
    let record: toml::Table = desk.text("run/run.toml").parse().unwrap();
    assert_eq!(record["dataset"].as_str(), Some("folder:faces"));
    assert_eq!(record["settings"]["image_size"].as_integer(), Some(3));

    // Neither resume nor the commands that use the model need to be told what was done to the pictures.
    desk.succeeds("train --resume run --epochs 3");
    desk.succeeds("eval run --device cpu");
    desk.succeeds("reconstruct run --device cpu --count 3 --scale 1");
    let grid = image::load_from_memory(&desk.read("run/reconstructions.png")).unwrap().to_rgb8();
    // The originals, each 3 x 3 after a line of 2: those of class 0 come first.
    for (column, colour) in [tests[0], tests[2], tests[1]].into_iter().enumerate() {
        for (x, y) in [(0, 0), (2, 2)] {
            assert_eq!(grid.get_pixel(2 + 5 * column as u32 + x, 2 + y).0, colour, "picture {column}");
        }
    }
    desk.succeeds("eval run --device cpu --dataset folder --data faces/test");
    desk.succeeds("eval run/model.safetensors --device cpu --data faces --image-size 3");
    let needed = "give --image-size 3, and the --crop it was trained with";
    desk.fails("eval run/model.safetensors --device cpu --data faces", &["are 3x4x6", "the model's 3x3x3", needed]);
    desk.fails("eval run --device cpu --crop 2 --image-size 0", &["are 3x2x2", "the model's 3x3x3", needed]);
    let words = ["the model's 3x3x3", "leave --channels out, or give --channels 3"];
    desk.fails("eval run --device cpu --channels 1", &words);
    desk.fails("eval run --device cpu --channels 4", &["1 (grey) or 3 (colour)", "--background says what is behind"]);
    desk.fails("train --resume run --image-size 4", &["image_size cannot change"]);

    desk.put("faces/train/0/broken.png", b"no picture");
    desk.fails(&format!("{folder} {tiny} --epochs 1 --out other"), &["broken.png"]);
    let stderr = desk.succeeds(&format!("{folder} {tiny} --corrupt skip --channels 1 --epochs 1 --out other"));
    assert!(stderr.contains("broken.png") && stderr.contains("12 training"), "{stderr}");
    desk.succeeds("eval other --device cpu");
    desk.fails("train --device cpu --dataset digits --crop 8 --out third", &["--crop is for --dataset folder"]);
}

#[test]
fn an_array_of_pictures_trains_and_is_found_again() {
    let desk = Desk::empty();
    let mut header = "{'descr': '|u1', 'fortran_order': False, 'shape': (30, 4, 5, 3), }".to_string();
    header += &" ".repeat(127 - 10 - header.len());
    let pixels: Vec<u8> = (0..30 * 4 * 5 * 3).map(|i| (i * 37 % 251) as u8).collect();
    let npy = [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), b"\n", &pixels].concat();
    desk.put("my/pictures.npy", &npy);
    let tiny = "--hidden 8 --latent 2 --batch-size 4 --samples 4 --epochs 1";
    let stderr = desk.succeeds(&format!("train --device cpu --dataset array --data my/pictures.npy {tiny} --out run"));
    assert!(stderr.contains("data: array:pictures, 27 training and 3 test pictures"), "{stderr}");
    let stderr = desk.succeeds("eval run --device cpu");
    assert!(stderr.contains("data: array:pictures, 27 training and 3 test pictures"), "{stderr}");
    desk.fails("train --device cpu --dataset array --out other", &["--data FILE"]);
}

#[test]
fn data_named_without_their_kind_are_answered_with_it() {
    let desk = Desk::empty();
    desk.put("photos/a.png", &plain([1, 2, 3]));
    desk.put("x.npz", b"PK\x03\x04");
    let before = files_below(desk.folder.path());
    for (place, words) in [
        ("photos", &["photos", "holds pictures (a.png): add --dataset folder"][..]),
        ("photos/a.png", &["is a picture: add --dataset folder"]),
        ("x.npz", &["is a NumPy file: add --dataset array"]),
    ] {
        for dataset in ["", "--dataset mnist", "--dataset kmnist", "--dataset cifar10", "--dataset digits"] {
            desk.fails(&format!("train --device cpu --data {place} {dataset} --epochs 1 --out run"), words);
        }
    }
    // Where there is nothing, the set may go, but nothing stands in for it.
    desk.fails("train --device cpu --data new --epochs 1 --out run", &["mnist lacks", "download failed"]);
    assert_eq!(files_below(desk.folder.path()), before);
}

/// The first pixel of the only picture that `reconstruct` draws of `place`.
fn first_pixel(desk: &Desk, place: &str) -> [u8; 3] {
    desk.succeeds(&format!("reconstruct run --device cpu --data {place} --count 1 --scale 1 --out r.png"));
    let grid = image::load_from_memory(&desk.read("r.png")).unwrap().to_rgb8();
    grid.get_pixel(2, 2).0
}

#[test]
fn transparent_pictures_are_laid_over_a_background_that_the_run_keeps() {
    let desk = Desk::empty();
    let clear = image::DynamicImage::from(image::RgbaImage::from_pixel(6, 4, image::Rgba([200, 0, 0, 0])));
    for (name, format) in [("p/1.webp", image::ImageFormat::WebP), ("p/2.tif", image::ImageFormat::Tiff)] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        clear.write_to(&mut bytes, format).unwrap();
        desk.put(name, bytes.get_ref());
    }
    let tiny = "--device cpu --hidden 8 --latent 2 --batch-size 1 --samples 4 --epochs 1";
    let folder = format!("train --dataset folder --data p {tiny}");
    desk.succeeds(&format!("{folder} --background #0a1400 --out run"));
    let record: toml::Table = desk.text("run/run.toml").parse().unwrap();
    assert_eq!(record["settings"]["background"].as_str(), Some("#0a1400"));
    assert_eq!(first_pixel(&desk, "p/1.webp"), [10, 20, 0]);
    assert_eq!(first_pixel(&desk, "p/1.webp --background white"), [255; 3]);
    assert_eq!(first_pixel(&desk, "p/2.tif --background none"), [200, 0, 0]);
    desk.succeeds("train --resume run --epochs 2");
    desk.fails("train --resume run --background black --epochs 3", &["background cannot change"]);
    desk.fails(&format!("{folder} --background grey --out other"), &["background", "such as #ff8000"]);
    desk.fails(
        "train --device cpu --dataset digits --background black --out other",
        &["--background is for --dataset folder"],
    );
}

/// A folder `pics` of so many pictures, each of another colour.
fn pictures(desk: &Desk, numbers: std::ops::Range<u8>) {
    numbers.for_each(|i| desk.put(&format!("pics/p{i:03}.png"), &plain([5 * i, 200 - i, i])));
}

#[test]
fn data_that_changed_are_noticed_before_a_run_goes_on() {
    let desk = Desk::empty();
    pictures(&desk, 0..20);
    let tiny = "--device cpu --hidden 8 --latent 2 --batch-size 2 --samples 4 --epochs 1";
    desk.succeeds(&format!("train --dataset folder --data pics {tiny} --out run"));
    let record: toml::Table = desk.text("run/run.toml").parse().unwrap();
    let [train, test] = ["training", "test"].map(|split| record["pictures"][split].as_integer().unwrap());
    assert!(train + test == 20 && test > 0 && record["selection"].as_str() == Some("by_name"), "{record}");

    let state = desk.read("run/state.safetensors");
    pictures(&desk, 20..40);
    let counts = format!("{train} training and {test} test pictures");
    desk.fails("train --resume run --epochs 2", &[&format!("was trained on {counts}"), "folder:pics now has"]);
    (20..40).for_each(|i| fs::remove_file(desk.path(&format!("pics/p{i:03}.png"))).unwrap());
    desk.put("pics/p007.png", &plain([9, 9, 9]));
    desk.fails("train --resume run --epochs 2", &["other pictures of folder:pics", &format!("still {counts}")]);
    assert!(desk.read("run/state.safetensors") == state);
    pictures(&desk, 7..8);
    desk.succeeds("train --resume run --epochs 2");
}

#[test]
fn a_run_from_before_goes_on_with_the_split_it_had() {
    let desk = Desk::empty();
    pictures(&desk, 0..20);
    let tiny = "--device cpu --hidden 8 --latent 2 --batch-size 2 --samples 4 --epochs 1 --train-limit 6";
    desk.succeeds(&format!("train --dataset folder --data pics {tiny} --test-limit 1 --out run"));
    let record = desk.text("run/run.toml");
    let older: String = record
        .split("\n[pictures]\n")
        .enumerate()
        .map(|(i, part)| if i == 0 { part } else { &part[part.find("\n[").unwrap()..] })
        .collect();
    desk.put("run/run.toml", older.replace("selection = \"by_name\"\n", "").as_bytes());
    let stderr = desk.succeeds("train --resume run --epochs 2");
    assert!(stderr.contains("every 10th picture in order"), "{stderr}");
    assert!(desk.text("run/run.toml").contains("selection = \"by_order\""));
    assert!(desk.succeeds("eval run --device cpu").contains("18 training and 2 test pictures"));
}

#[test]
fn a_model_is_used_on_every_picture_of_ones_own() {
    let desk = Desk::empty();
    pictures(&desk, 0..20);
    let tiny = "--device cpu --hidden 8 --latent 2 --batch-size 2 --samples 4 --epochs 1";
    desk.succeeds(&format!("train --dataset folder --data pics {tiny} --out run"));
    desk.put("one/mine.png", &plain([50, 60, 70]));
    let mut grey = std::io::Cursor::new(Vec::new());
    let picture = image::GrayImage::from_pixel(6, 4, image::Luma([90]));
    picture.write_to(&mut grey, image::ImageFormat::Png).unwrap();
    desk.put("grey/1.png", grey.get_ref());
    desk.put("grey/2.png", grey.get_ref());
    for (place, rows) in [("one", 1), ("one/mine.png", 1), ("grey", 2)] {
        let stderr = desk.succeeds(&format!("encode run --device cpu --data {place} --out z.npy"));
        assert!(stderr.contains(&format!(", {rows} pictures\n")), "{stderr}");
        assert_eq!(desk.text("z.csv").lines().count(), 1 + rows, "{place}");
        desk.succeeds(&format!("eval run --device cpu --data {place}"));
        desk.succeeds(&format!("reconstruct run --device cpu --data {place} --count {rows}"));
        desk.succeeds(&format!("interpolate run --device cpu --data {place} --to 0"));
    }
    // The run's own pictures stay parted, wherever they are named, and others where a split is asked for.
    let own = desk.succeeds("encode run --device cpu");
    assert!(own.contains(" training and "), "{own}");
    assert!(desk.succeeds("encode run --device cpu --data ./pics").contains(" training and "));
    assert!(desk.succeeds("encode run --device cpu --data grey --split train").contains("1 training and 1 test"));
    desk.fails("train --device cpu --dataset folder --data one --out other", &["has only one picture"]);
    desk.fails("train --device cpu --dataset folder --data one/mine.png --out other", &["is a single picture"]);
}

#[test]
fn validation_folders_are_the_test_pictures() {
    let desk = Desk::empty();
    for (i, name) in ["train/cat/1", "train/dog/2", "train/dog/3", "val/cat/1", "val/dog/2"].iter().enumerate() {
        desk.put(&format!("pics/{name}.png"), &plain([40 * i as u8, 0, 0]));
    }
    let tiny = "--device cpu --hidden 8 --latent 2 --batch-size 2 --samples 4 --epochs 1";
    let stderr = desk.succeeds(&format!("train --dataset folder --data pics {tiny} --out run"));
    assert!(stderr.contains("3 training and 2 test pictures"), "{stderr}");
    desk.succeeds("encode run --device cpu");
    let labels: Vec<String> = desk.text("run/latents.csv").lines().skip(1).map(|row| row[..1].to_string()).collect();
    assert_eq!(labels, ["0", "1"]);
}

/// A run on the drawn digits, 28 x 28.
const OF_DIGITS: &str = "--device cpu --dataset digits --train-limit 32 --test-limit 8 --batch-size 8 --samples 4 \
                         --epochs 1 --hidden 8 --latent 2";

/// The rows of a CSV file, its header first.
fn csv_rows(desk: &Desk, name: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(desk.path(name)).unwrap();
    reader.records().map(|row| row.unwrap().iter().map(String::from).collect()).collect()
}

#[test]
fn pictures_of_ones_own_stand_in_the_place_of_the_test_set() {
    let desk = Desk::empty();
    desk.succeeds(&format!("train mnist-mlp {OF_DIGITS} --out run"));
    desk.put("a.png", &plain([200, 10, 10]));
    desk.put("more/cat/b, c.png", &plain([0; 3]));
    desk.put("more/dog/d.png", &plain([255; 3]));
    let files = ["a.png", "more/cat/b, c.png", "more/dog/d.png"];

    // In colour and of 6 x 4, they become grey and 28 x 28.
    desk.succeeds("reconstruct run --device cpu --pictures a.png more --each each --out r.png");
    for n in 0..3 {
        for kind in ["original", "reconstruction"] {
            let picture = image::load_from_memory(&desk.read(&format!("each/00{n}_{kind}.png"))).unwrap();
            assert_eq!((picture.width(), picture.height(), picture.color().has_color()), (28, 28, false));
        }
    }
    let originals = elbo::data::npy::read(&desk.path("each/original.npy")).unwrap();
    assert_eq!((originals.rows, originals.columns), (3, 784));
    assert_eq!((originals.values[784], originals.values[2 * 784]), (0.0, 1.0));

    desk.succeeds("encode run --device cpu --pictures a.png more --out z.npy");
    let rows = csv_rows(&desk, "z.csv");
    assert_eq!(rows[0][..4], ["label", "class", "file", "mean_0"]);
    // Several places number their classes each by itself, so there are none.
    let first = |row: &Vec<String>| row[..3].to_vec();
    assert_eq!(
        rows[1..].iter().map(first).collect::<Vec<_>>(),
        files.map(|file| ["", "", file].map(String::from).to_vec())
    );
    desk.succeeds("encode run --device cpu --pictures more --out z.npy");
    let rows = csv_rows(&desk, "z.csv");
    assert_eq!([&rows[1][..3], &rows[2][..3]], [["0", "cat", files[1]], ["1", "dog", files[2]]]);

    for given in ["--pictures more", "more"] {
        desk.succeeds(&format!("score run --device cpu --samples 2 --threshold 100 --out s.csv {given}"));
        let rows = csv_rows(&desk, "s.csv");
        let last = |row: &Vec<String>| row[row.len() - 2..].to_vec();
        assert_eq!(
            rows.iter().map(last).collect::<Vec<_>>(),
            [["class", "file"], ["cat", files[1]], ["dog", files[2]]]
        );
    }
    desk.succeeds("interpolate run --device cpu --pictures a.png more/dog/d.png --steps 3 --each way");
    assert_eq!(files_below(&desk.path("way")).len(), 7, "two ways of three pictures, and their values");

    desk.fails("encode run --device cpu --pictures nowhere.png", &["nowhere.png"]);
    desk.fails("encode run --device cpu --pictures a.png --split train", &["--split", "leave it out"]);
    desk.fails("encode run --device cpu --pictures run/run.toml", &["run.toml", "is no folder of pictures"]);
    desk.fails("encode run --device cpu --pictures a.png --data more", &["cannot be used with"]);
}

#[test]
fn each_picture_of_ones_own_is_classified() {
    let desk = Desk::empty();
    desk.succeeds(&format!("train mnist-cvae {OF_DIGITS} --out run"));
    ["a", "b"].iter().for_each(|name| desk.put(&format!("{name}.png"), &plain([90; 3])));
    let printed = json(&desk.run("classify run --device cpu --json --pictures a.png b.png"));
    let each = printed["each"].as_array().unwrap();
    assert_eq!(each.iter().map(|one| one["file"].as_str().unwrap()).collect::<Vec<_>>(), ["a.png", "b.png"]);
    assert!(each.iter().all(|one| one["label"].as_u64().unwrap() < 10), "{printed}");
    desk.fails("classify run --device cpu --pictures a.png --out c.png", &["--out is of a confusion matrix"]);
}
