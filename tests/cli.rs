//! The program as its user meets it: files, exit codes, messages. All on the CPU device, in folders of their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, ImageDecoder};

// ---- Running the program

/// A working folder with a small data set in MNIST's form: 20 training and 10 test pictures of 6 by 5.
struct Desk {
    folder: tempfile::TempDir,
}

const TRAIN_IMAGES: &str = "data/train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "data/train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "data/t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "data/t10k-labels-idx1-ubyte";

/// The desk's data.
const DATA: &str = "train --device cpu --dataset mnist --data data";
/// A tiny model on them.
const SMALL: &str = "train --device cpu --dataset mnist --data data --hidden 8 --latent 2 --batch-size 8 --samples 4";

/// Nothing listens at port 1 of the loopback address, so every connection through it fails at once.
const DEAD_PROXY: &str = "http://127.0.0.1:1";

impl Desk {
    fn new() -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap() };
        desk.put(TRAIN_IMAGES, &images(20));
        desk.put(TRAIN_LABELS, &labels(20));
        desk.put(TEST_IMAGES, &images(10));
        desk.put(TEST_LABELS, &labels(10));
        desk
    }

    /// A desk without data.
    fn empty() -> Desk {
        Desk { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// `args` are parted at spaces. No network can be reached.
    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
        command.current_dir(&self.folder).args(args.split_whitespace()).env_remove("ELBO_DATA").stdin(Stdio::null());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env(name, DEAD_PROXY);
        }
        command.env("ELBO_CACHE", self.path("cache"));
        // Mesa's device-select layer writes a line like an error where there is no desktop session.
        command.env_remove("NO_PROXY").env_remove("no_proxy").env("NODEVICE_SELECT", "1");
        command
    }

    fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs to success; stderr.
    #[track_caller]
    fn succeeds(&self, args: &str) -> String {
        let output = self.run(args);
        let stderr = text_of(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "elbo {args}\n{stderr}");
        stderr
    }

    /// Runs to an error of exit code 2 whose message has all of `words`; stderr.
    #[track_caller]
    fn fails(&self, args: &str, words: &[&str]) -> String {
        self.fails_with(2, args, words)
    }

    #[track_caller]
    fn fails_with(&self, code: i32, args: &str, words: &[&str]) -> String {
        self.refused(self.run(args), code, args, words)
    }

    /// As [`fails`](Desk::fails), with more arguments, which may hold spaces.
    #[track_caller]
    fn fails_for(&self, args: &str, more: &[&str], words: &[&str]) -> String {
        let output = self.command(args).args(more).output().unwrap();
        self.refused(output, 2, &format!("{args} {more:?}"), words)
    }

    #[track_caller]
    fn refused(&self, output: Output, code: i32, args: &str, words: &[&str]) -> String {
        let stderr = text_of(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "elbo {args}\n{stderr}");
        assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "elbo {args}\n{stderr}");
        assert!(!stderr.contains("panicked"), "elbo {args}\n{stderr}");
        let message = &stderr[stderr.find("error: ").unwrap()..];
        for word in words {
            assert!(message.contains(word), "no {word:?} from elbo {args}\n{stderr}");
        }
        stderr
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn idx(sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let magic = 0x800 + sizes.len() as u32;
    let header = std::iter::once(&magic).chain(sizes).flat_map(|n| n.to_be_bytes());
    header.chain(body.iter().copied()).collect()
}

fn images(count: u32) -> Vec<u8> {
    let body: Vec<u8> = (0..count * 30).map(|i| (i * 37 % 251) as u8).collect();
    idx(&[count, 6, 5], &body)
}

fn labels(count: u32) -> Vec<u8> {
    idx(&[count], &(0..count).map(|i| (i % 10) as u8).collect::<Vec<_>>())
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Every file below `folder`, by its path from there.
fn files_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => names.push(path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/")),
            }
        }
    }
    names.sort();
    names
}

/// The epochs that `metrics.csv` has.
fn epochs(desk: &Desk, run: &str) -> Vec<usize> {
    let text = desk.text(&format!("{run}/metrics.csv"));
    text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

// ---- A run and its folder

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

// ---- One's own pictures

/// A PNG of 6 by 4 in one colour.
fn plain(colour: [u8; 3]) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(6, 4, image::Rgb(colour)).write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

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
    let needed = "give the --crop, --image-size and --channels";
    desk.fails("eval run/model.safetensors --device cpu --data faces", &["are 3x4x6", "the model's 3x3x3", needed]);
    desk.fails("eval run --device cpu --crop 2 --image-size 0", &["are 3x2x2", "the model's 3x3x3", needed]);
    desk.fails("train --resume run --image-size 4", &["image_size cannot change"]);

    desk.put("faces/train/0/broken.png", b"no picture");
    desk.fails(&format!("{folder} {tiny} --epochs 1 --out other"), &["broken.png"]);
    let stderr = desk.succeeds(&format!("{folder} {tiny} --corrupt skip --channels 1 --epochs 1 --out other"));
    assert!(stderr.contains("broken.png") && stderr.contains("12 training"), "{stderr}");
    desk.succeeds("eval other --device cpu");
    desk.fails("train --device cpu --dataset digits --crop 8 --out third", &["--crop is for --dataset folder"]);
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

// ---- Settings

#[test]
fn the_command_line_wins_over_the_file_and_the_file_over_the_preset() {
    let desk = Desk::new();
    desk.put(
        "my.toml",
        b"preset = \"mnist-2d\"\ndataset = \"mnist\"\ndata = \"data\"\ndevice = \"cpu\"\nhidden = [8, 4]\n\
          epochs = 7\nbatch_size = 5\nlr = 0.01\nsamples = 0\nout = \"run\"\n",
    );
    desk.succeeds("train --config my.toml --epochs 1 --lr 0.02");
    let record: toml::Table = desk.text("run/run.toml").parse().unwrap();
    let settings = record["settings"].as_table().unwrap();
    assert_eq!((settings["epochs"].as_integer(), settings["lr"].as_float()), (Some(1), Some(0.02)));
    assert_eq!((settings["batch_size"].as_integer(), settings["latent"].as_integer()), (Some(5), Some(2)));
    // The layers are no longer the preset's.
    assert_eq!(settings["preset"].as_str(), Some("vae"));
    assert!(!desk.path("run/samples").exists());
}

#[test]
fn mistyped_settings_get_the_nearest_word() {
    let desk = Desk::new();
    let config = |text: &str| {
        desk.put("my.toml", text.as_bytes());
        "train --config my.toml"
    };
    desk.fails(config("epohcs = 3\n"), &["my.toml: line 1: unknown key `epohcs`", "did you mean `epochs`?"]);
    desk.fails(config("lr = 1\nactivation = \"rleu\"\n"), &["line 2", "did you mean `relu`?"]);
    desk.fails(config("lr = \n"), &["my.toml: line 1"]);
    desk.fails(config("epochs = \"ten\"\n"), &["my.toml: line 1", "ten"]);
    desk.fails(config("preset = \"mnist-3d\"\n"), &["did you mean `mnist-2d`?"]);
    desk.fails("train --config nothing.toml", &["cannot open nothing.toml"]);
    desk.fails("train mnist-mpl", &["did you mean `mnist-mlp`?", "mnist-fused"]);
    desk.fails("train --epoch 3", &["--epochs"]);
    desk.fails("train --activation rleu", &["rleu", "relu"]);
    desk.fails("train --lr-schedule consine", &["did you mean `cosine`?"]);
    desk.fails("trian", &["train"]);
    desk.fails("train --dataset mnits", &["mnits", "fashion-mnist"]);
}

/// Two networks that fit the desk's pictures of 6 by 5.
const ENCODER: &str = "(conv 3 k3 s2 p1 nobias, batchnorm, relu), flatten";
const DECODER: &str = "flatten, linear 30, view 1 6 5, batchnorm, silu, conv 1 k3 p1";

#[test]
fn networks_listed_layer_by_layer_train_resume_and_are_used() {
    let desk = Desk::new();
    let tiny = format!("{DATA} --latent 2 --batch-size 8 --samples 4");
    let train = |args: &str| {
        let output =
            desk.command(&format!("{tiny} {args}")).args(["--encoder", ENCODER, "--decoder", DECODER]).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    };
    train("--epochs 3 --out whole");
    train("--epochs 1 --out parts");
    // The loss of the first epoch's model can be taken again.
    let json: serde_json::Value =
        serde_json::from_slice(&desk.run("eval parts --device cpu --batch-size 8 --json").stdout).unwrap();
    let metrics = desk.text("parts/metrics.csv");
    let trained: f64 = metrics.lines().last().unwrap().split(',').nth(4).unwrap().parse().unwrap();
    assert!((json["test_loss"].as_f64().unwrap() - trained).abs() < 1e-6 * trained, "{json} {metrics}");
    desk.succeeds("train --resume parts --epochs 3");
    for file in ["model.safetensors", "best.safetensors", "state.safetensors", "samples/epoch_003.png"] {
        assert!(desk.read(&format!("whole/{file}")) == desk.read(&format!("parts/{file}")), "{file} differs");
    }
    let record: toml::Table = desk.text("whole/run.toml").parse().unwrap();
    assert_eq!(record["settings"]["encoder"].as_str(), Some(ENCODER));
    desk.succeeds("reconstruct whole --device cpu --count 4");
    desk.succeeds("sample whole --device cpu");

    desk.fails_for("train --resume whole --epochs 4", &["--encoder", "conv 3 k3, flatten"], &["encoder cannot change"]);
    // A settings file may list them, over several lines.
    let lines = |text: &str| text.replace(", ", ",\n");
    let toml = format!("encoder = \"\"\"{}\"\"\"\ndecoder = \"{DECODER}\"\n", lines(ENCODER));
    desk.put("my.toml", toml.as_bytes());
    desk.succeeds(&format!("{tiny} --config my.toml --epochs 3 --out file"));
    assert!(desk.read("file/model.safetensors") == desk.read("whole/model.safetensors"));
}

#[test]
fn networks_that_do_not_fit_are_refused_with_their_sizes() {
    let desk = Desk::new();
    let train = format!("{DATA} --latent 2 --batch-size 8 --out run");
    let fails = |args: &str, [encoder, decoder]: [&str; 2], words: &[&str]| {
        desk.fails_for(&format!("{train} {args}"), &["--encoder", encoder, "--decoder", decoder], words);
    };
    let together = ["encoder and decoder are listed together or not at all"];
    desk.fails_for(&train, &["--encoder", ENCODER], &together);
    desk.fails_for(&train, &["--decoder", DECODER], &together);

    // Each layer's size stands there, up to the one that does not fit.
    let deep = "conv 8 k3 s2, conv 16 k3";
    let sizes = ["the encoder does not close: encoder.1: the window is larger", "1x6x5", "8x2x2", "conv 16 k3"];
    fails("", [deep, DECODER], &sizes);
    let other = ["the decoder must leave the picture's 1x6x5, but it leaves 1x6x6", "decoder.0", "conv_transpose 1 k6"];
    fails("", [ENCODER, "conv_transpose 1 k6"], &other);
    fails("", [ENCODER, "linear 30"], &["the decoder does not close: decoder.0", "put `flatten` before it", "2x1x1"]);
    let direct = ["with head direct the encoder must leave 2 x 2 numbers", "but it leaves 27", "3x3x3"];
    fails("--head direct", [ENCODER, DECODER], &direct);
    desk.fails(&format!("{train} --head direct"), &["head is direct", "split or fused"]);

    fails("", ["conv 3 k3, batchnrom, relu", DECODER], &["no layer `batchnrom`; did you mean `batchnorm`?"]);
    fails("", ["(conv 3 k3, relu", DECODER], &["a `(` has no `)`"]);
    fails("", [ENCODER, "conv_transpose 1"], &["`conv_transpose 1` lacks the size of its window, as in k3"]);
    desk.put("my.toml", b"lr = 1\nencoder = \"cnov 3 k3\"\n");
    desk.fails(&format!("{train} --config my.toml"), &["my.toml: line 2", "no layer `cnov`; did you mean `conv`?"]);
    assert!(!desk.path("run/run.toml").exists());
}

#[test]
fn numbers_out_of_range_are_refused_before_anything_is_made() {
    let desk = Desk::new();
    for (flag, word) in [
        ("--epochs 0", "epochs is 0"),
        ("--batch-size 0", "batch_size is 0"),
        ("--hidden 0", "hidden is 0"),
        ("--lr -1", "lr is -1"),
        ("--lr nan", "lr is NaN"),
        ("--kl-weight inf", "kl_weight is inf"),
        ("--epochs many", "many"),
        ("--seed -1", "-1"),
    ] {
        desk.fails(&format!("{DATA} --out run {flag}"), &[word]);
    }
    desk.fails(&format!("{DATA} --out run --batch-size 21"), &["21", "20 training pictures"]);
    assert!(!desk.path("run/run.toml").exists());
}

// ---- Folders and devices

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
fn an_unknown_device_is_answered_with_the_list() {
    let desk = Desk::new();
    desk.fails(
        "train --device vodoo2 --dataset mnist --data data",
        &["no device matches 'vodoo2'", "cpu (always there)"],
    );
}

#[test]
fn devices_marks_one_as_auto() {
    let output = Desk::empty().run("devices --json");
    assert_eq!(output.status.code(), Some(0));
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.iter().filter(|device| device["auto"] == true).count(), 1, "{list:?}");
    assert!(list.iter().any(|device| device["name"] == "cpu"));
    let lines = text_of(&Desk::empty().run("devices").stdout);
    assert_eq!(lines.matches("<- auto").count(), 1, "{lines}");
}

// ---- Instruments

#[test]
fn a_ladder_is_climbed_in_json_and_bars() {
    let desk = Desk::empty();
    let output = desk.run("ladder reduce --json --size 1001 --device cpu --chart bars/reduce.png");
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    let climbs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let climb = &climbs[0];
    assert_eq!(
        (climbs.as_array().unwrap().len(), &climb["ladder"], &climb["unit"]),
        (1, &"reduce".into(), &"GB/s".into())
    );
    assert_eq!((&climb["size"], &climb["flops"]), (&serde_json::json!([1001]), &1001.into()));
    let rung = climb["rungs"].as_array().unwrap().last().unwrap();
    assert_eq!((&rung["kernels"][0], &rung["status"]), (&"reduce.rows".into(), &"timed".into()));
    let [ms, rate, share, peak] =
        [&rung["ms"], &rung["rate"], &rung["share_of_peak"], &climb["peak"]].map(|v| v.as_f64().unwrap());
    let close = |a: f64, b: f64| a > 0.0 && (a - b).abs() < 1e-6 * b;
    assert!(close(rate, 4004.0 / (ms * 1e6)) && close(share, rate / peak), "{rung} {peak}");
    assert_eq!(image::open(desk.path("bars/reduce.png")).unwrap().width(), 900);
}

#[test]
fn ladders_that_are_none_are_answered_with_what_there_is() {
    let desk = Desk::empty();
    desk.fails("ladder matmull", &["no ladder is called `matmull`", "did you mean `matmul`?", "conv2d"]);
    desk.fails("ladder matmul --size 12,13", &["M,K,N", "3 numbers are needed and 2 given"]);
    desk.fails("ladder conv2d --size 1,3,4,4,5,1,0", &["B,H,I,O,K,stride,padding", "does not fit"]);
    desk.fails("ladder reduce --size 0", &["N is 0"]);
    desk.fails("ladder reduce --device vodoo2", &["no device matches 'vodoo2'"]);
    desk.fails("ladder reduce --chart bars.bmp --device cpu", &["bars.bmp", ".png, .jpg or .jpeg"]);
    desk.fails_with(2, "ladder --size 5", &[]);
}

// ---- Data

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

// ---- Ends of a run

#[test]
fn a_run_that_diverges_exits_with_1_and_records_no_epoch() {
    let desk = Desk::new();
    let stderr = desk.fails_with(1, &format!("{SMALL} --epochs 2 --out run --lr 1e30"), &["step 2 (epoch 1, batch 2)"]);
    assert!(stderr.contains("First offending tensor: ") && stderr.contains("--lr"), "{stderr}");
    assert!(desk.path("run/run.toml").exists() && !desk.path("run/metrics.csv").exists());
}

#[test]
fn a_model_beyond_all_memory_is_refused() {
    let desk = Desk::new();
    let huge = SMALL.replace("--hidden 8", "");
    desk.fails_with(2, &format!("{huge} --hidden 1048576,1048576 --out run"), &["no memory for parameters"]);
}

/// Starts a run without end and returns it after `epochs` lines of its table.
fn endless(desk: &Desk, epochs: usize) -> std::process::Child {
    let mut command = desk.command(&format!("{SMALL} --epochs 1000000 --out run --json"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..epochs {
        lines.next().expect("the run goes on").unwrap();
    }
    child
}

/// Resumes the stopped run for two more epochs, and trains the same ones in one go: the ends are equal.
fn goes_on_as_if_uninterrupted(desk: &Desk) {
    let done = epochs(desk, "run").len();
    let end = done + 2;
    desk.succeeds(&format!("train --resume run --epochs {end}"));
    assert_eq!(epochs(desk, "run"), (1..=end).collect::<Vec<_>>());
    desk.succeeds(&format!("{SMALL} --epochs {end} --out whole"));
    for file in ["model.safetensors", "best.safetensors", "state.safetensors"] {
        assert!(desk.read(&format!("run/{file}")) == desk.read(&format!("whole/{file}")), "{file} differs");
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_epoch() {
    let desk = Desk::new();
    let mut child = endless(&desk, 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(epochs(&desk, "run").len() >= 3);
    goes_on_as_if_uninterrupted(&desk);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_ends_with_130() {
    let desk = Desk::new();
    let child = endless(&desk, 1);
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    let stderr = text_of(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("everything is saved") && stderr.contains("elbo train --resume run"), "{stderr}");
    goes_on_as_if_uninterrupted(&desk);
}

// ---- check and lockstep

#[test]
fn check_prints_a_table_and_json_of_one_kernel() {
    let desk = Desk::empty();
    let output = desk.run("check adam.forward --device cpu");
    let table = text_of(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.starts_with(concat!("elbo ", env!("CARGO_PKG_VERSION"), ", wgpu 30, ")), "{table}");
    let line = table.lines().find(|line| line.starts_with("adam.forward ")).unwrap_or_else(|| panic!("{table}"));
    assert!(line.contains(" ok ") && line.contains("absolute p["), "{line}");
    assert!(table.contains("6 comparisons, all within their tolerances"), "{table}");

    let output = desk.run("check matmul --device cpu --json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["passed"] == true && json["devices"][0]["device"]["name"] == "cpu", "{json}");
    let kernels = json["devices"][0]["kernels"].as_array().unwrap();
    let names: Vec<_> = kernels.iter().map(|k| k["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["matmul.forward", "matmul.backward_x", "matmul.backward_w"]);
    assert!(kernels.iter().all(|k| k["failed"] == 0 && k["relative"]["case"].is_string()), "{json}");
    assert!(!json["devices"][0]["gradients"].as_array().unwrap().is_empty(), "{json}");
}

#[test]
fn check_takes_a_model_and_names_the_nearest() {
    let desk = Desk::empty();
    let output = desk.run("check mnist-2d --batch-size 2 --device cpu --json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let step = json["devices"][0]["step"].as_array().unwrap();
    let adam = step.iter().find(|k| k["name"] == "adam.forward").unwrap();
    assert!(adam["cases"] == 1 && adam["failed"] == 0 && adam["elements"].as_u64() > Some(300_000), "{adam}");
    desk.fails("check adam.forwrad", &["did you mean `adam.forward`?"]);
    desk.fails("check mnist-mpl", &["did you mean `mnist-mlp`?"]);
    desk.fails("check adam --device nonesuch", &["no device matches 'nonesuch'"]);
}

#[test]
fn lockstep_agrees_and_a_broken_kernel_fails() {
    let desk = Desk::empty();
    let output = desk.run("lockstep mnist-mlp --batch-size 2 --device cpu --all");
    let table = text_of(&output.stdout);
    assert!(output.status.success() && table.contains("dispatches agree"), "{table}");
    assert!(table.contains("matmul.backward_w") && table.contains("fc1.weight.grad"), "{table}");

    let broken = "lockstep mnist-mlp --batch-size 2 --device cpu --break adam.forward:no_correction";
    desk.fails_with(1, broken, &["noticed by cases, lockstep"]);
    let output = desk.run(&format!("{broken} --json"));
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["first_difference"].as_str().unwrap().contains("adam.forward in optimizer"), "{json}");
    let noticed: Vec<_> = json["instruments"].as_array().unwrap().iter().map(|i| &i["noticed"]).collect();
    assert_eq!(noticed, [&serde_json::json!(true), &serde_json::Value::Null, &serde_json::json!(true)]);

    desk.fails("lockstep mnist-mlp --break adam.forwad", &["did you mean `adam.forward`?"]);
    desk.fails("lockstep mnist-mpl", &["did you mean `mnist-mlp`?"]);
    let output = desk.run("lockstep --faults");
    assert!(output.status.success() && text_of(&output.stdout).contains("adam.forward:no_correction"));
}

// ---- Plan, profile, kernels

fn json(output: &Output) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text_of(&output.stdout)))
}

#[test]
fn kernels_lists_each_with_its_files() {
    let desk = Desk::empty();
    let list = json(&desk.run("kernels --json"));
    let list = list.as_array().unwrap();
    let text = text_of(&desk.run("kernels").stdout);
    assert_eq!(list.len(), elbo::kernels::ALL.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (entry, kernel) in list.iter().zip(elbo::kernels::ALL) {
        assert_eq!(entry["name"], kernel.name);
        assert_eq!(entry["cases"], (kernel.cases)().len());
        assert!(text.contains(&format!("{}: {}\n", kernel.name, kernel.formula)), "{}", kernel.name);
        for file in [&entry["shader"], &entry["software"], &entry["reference"]].into_iter().filter(|f| !f.is_null()) {
            assert!(root.join(file.as_str().unwrap()).is_file(), "{file}");
        }
    }
    let matmul = json(&desk.run("kernels matmul --json"));
    assert_eq!(matmul.as_array().unwrap().len(), 3);
    assert_eq!(matmul[2]["name"], "matmul.backward_w");
    assert_eq!(matmul[2]["writes"][0], serde_json::json!({ "name": "dw", "shape": "(O,I)" }));
    let candidates = matmul[0]["candidates"].as_array().unwrap();
    assert!(candidates[0] == "64x64" && candidates.contains(&"32x32 in 4 deep".into()), "{candidates:?}");
    desk.fails("kernels mattmul", &["mattmul", "did you mean `matmul`?"]);
}

#[test]
fn kernels_show_prints_the_code_that_runs() {
    let desk = Desk::empty();
    let show = |args: &str| {
        let output = desk.run(&format!("kernels show {args}"));
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
        text_of(&output.stdout)
    };
    let wgsl = show("conv2d.backward_w");
    assert!(wgsl.starts_with("// conv2d.backward_w: entry point backward_w of shaders/conv2d_any.wgsl, "), "{wgsl}");
    assert!(wgsl.trim_end().ends_with(elbo::kernels::conv2d::BACKWARD_W.shader.source.full_text().trim_end()));
    // Each part says where it is from.
    for part in ["conv2d_any.wgsl", "conv2d.wgsl", "common/product.wgsl", "common/index.wgsl"] {
        assert_eq!(wgsl.matches(&format!("\n// ---- shaders/{part}\n")).count(), 1, "{part}: {wgsl}");
    }
    let software = show("matmul.forward --form software");
    assert!(software.contains("shaders/software/matmul.wgsl") && software.contains("fn add_term("), "{software}");
    let output = desk.command("kernels show matmul.forward --candidate").arg("32x32 in 4 deep").output().unwrap();
    let tile = text_of(&output.stdout);
    assert!(tile.contains("const ROWS = 32u;") && tile.trim_end().ends_with("const GAP = 0u;"), "{tile}");
    desk.fails("kernels show matmul.forward --candidate 64x63", &["no candidate `64x63`; did you mean `64x64`?"]);
    assert!(show("conv2d.backward_w --as spirv").contains("OpEntryPoint GLCompute"));
    assert!(show("conv2d.backward_w --as msl").contains("#include <metal_stdlib>"));
    assert!(show("conv2d.backward_w --as hlsl").contains("[numthreads(16, 16, 1)]"));
    show("fill.forward --as spirv --out fill.spv");
    assert_eq!(desk.read("fill.spv")[..4], 0x0723_0203u32.to_le_bytes());

    desk.fails("kernels show conv2d.bakward_w", &["did you mean `conv2d.backward_w`?"]);
    desk.fails("kernels show conv2d", &["several kernels", "conv2d.fold"]);
    desk.fails("kernels show fill.forward --form software", &["fill.forward has no software form"]);
}

/// What there is on an adapter, tests/tuning.rs has.
#[test]
fn the_cpu_device_has_nothing_to_tune() {
    let desk = Desk::empty();
    let stdout = text_of(&desk.run("tune mnist-mlp --device cpu").stdout);
    assert!(stdout.contains("one form of each kernel: there is nothing to tune"), "{stdout}");
    let tuned = json(&desk.run("tune mnist-2d mnist-mlp --device cpu --json"));
    assert_eq!((&tuned["shapes"], &tuned["cache"]), (&serde_json::json!([]), &serde_json::Value::Null));
    assert_eq!(tuned["models"], serde_json::json!(["mnist-2d", "mnist-mlp"]));
    assert!(!desk.path("cache").exists());
    desk.fails("tune mnist-mpl", &["did you mean `mnist-mlp`?"]);
    desk.fails("tune --batch-size 0", &["--batch-size is 0"]);
}

#[test]
fn plan_prints_a_step_and_its_memory() {
    let desk = Desk::empty();
    let output = desk.run("plan mnist-mlp --batch-size 6 --device cpu --no-fuse --json");
    let plan = &json(&output)["plan"];
    let dispatches = plan["dispatches"].as_array().unwrap();
    assert_eq!(dispatches[2]["kernel"], "matmul.forward");
    assert_eq!(dispatches[2]["reads"][0], serde_json::json!({ "name": "batch.x", "shape": [6, 784] }));
    assert_eq!(plan["problems"], serde_json::json!([]));
    let text = text_of(&desk.run("plan mnist-mlp --batch-size 6 --device cpu").stdout);
    assert!(text.starts_with("mnist-mlp, train step of 6: 8 dispatches"), "{text}");
    for line in [
        "batch.x (6,784), fc1.weight (400,784), fc1.bias (400) -> fc1.y (6,400)",
        "every buffer fits",
        "fc1.weight.grad",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert_eq!(fs::read_dir(desk.folder.path()).unwrap().count(), 0, "a plan writes nothing");
    desk.fails("plan mnist-mpl", &["did you mean `mnist-mlp`?"]);
    desk.fails("plan mnist-mlp --batch-size 0", &["--batch-size"]);
    desk.fails("plan mnist-mlp --device nothing-like-it", &["no device matches 'nothing-like-it'"]);
}

#[test]
fn profile_prints_a_table_and_writes_a_trace_and_a_picture() {
    let desk = Desk::empty();
    let output = desk.run("profile mnist-mlp --batch-size 8 --device cpu");
    let text = text_of(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    for part in ["peak, measured just now", "fused_update.adam", "its floor", "wrote profiles/mnist-mlp-cpu/trace.json"]
    {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    // The CPU device has no other clock, so there is nothing to warn of.
    assert!(text.contains("by the host's clock") && !text.contains("WALL CLOCK"), "{text}");
    let trace: serde_json::Value = serde_json::from_slice(&desk.read("profiles/mnist-mlp-cpu/trace.json")).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 8);
    let picture = image::open(desk.path("profiles/mnist-mlp-cpu/roofline.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (1000, 640));

    let profile = json(&desk.run("profile mnist-mlp --batch-size 8 --device cpu --out here --json"));
    assert_eq!(profile["profile"]["clock"], "wall");
    assert_eq!(profile["profile"]["dispatches"].as_array().unwrap().len(), 8);
    assert!(desk.path("here/trace.json").is_file() && desk.path("here/roofline.png").is_file());
}
