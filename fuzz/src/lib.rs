//! Everything that reads bytes of others, each as a target: whatever the bytes are, it returns what is whole or an error. The
//! fuzzer's binaries and `tests/program/mutations.rs` share them.

use std::cell::LazyCell;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::data::audio::{self, spectrogram::Analysis};
use elbo::data::idx::{Idx, Kind};
use elbo::data::sequences::series::Windows;
use elbo::data::table::{Columns, LABELS, STEPS, Table};
use elbo::data::text::Reading;
use elbo::data::text::vocabulary::Tokenisation;
use elbo::data::{self, Background, Choice, Corrupt, Dataset, Form, Preparation, Selection};
use elbo::fusion::Fusion;
use elbo::inference::Trained;
use elbo::models::MODELS;
use elbo::models::parts::network::Network;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::given::Given;
use elbo::train::metrics::read_metrics;
use elbo::train::programs;
use elbo::train::run_folder::{RunFolder, RunRecord};
use elbo::train::settings::Settings;
use elbo::train::trainer::Trainer;

/// Every target, as [`run`] takes it.
pub const TARGETS: [&str; 14] = [
    "idx",
    "npy",
    "npz",
    "table",
    "text",
    "series",
    "safetensors",
    "state",
    "run",
    "settings",
    "network",
    "cifar",
    "picture",
    "wav",
];

thread_local! {
    /// Where the bytes are put for readers of files.
    static FOLDER: LazyCell<tempfile::TempDir> =
        LazyCell::new(|| tempfile::tempdir().expect("a temporary folder can be made"));
}

/// Gives the bytes to a target. Panics where the target does, and where what it read is not whole.
pub fn run(target: &str, data: &[u8]) {
    match target {
        "idx" => idx(data),
        "npy" => array("x.npy", data),
        "npz" => array("x.npz", data),
        "table" => table(data),
        "text" => text(data),
        "series" => series(data),
        "safetensors" => safetensors(data),
        "state" => state(data),
        "run" => run_record(data),
        "settings" => settings(data),
        "network" => network(data),
        "cifar" => cifar(data),
        "picture" => picture(data),
        "wav" => wav(data),
        other => panic!("there is no target {other}"),
    }
}

fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.with(|folder| folder.path().join(name));
    std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("the folder is writable");
    std::fs::write(&path, bytes).expect("the folder is writable");
    path
}

// ---- Targets

fn idx(data: &[u8]) {
    let path = put("idx/x", data);
    for kind in [Kind::Images, Kind::Labels] {
        if let Ok(idx) = Idx::read(&path, kind) {
            assert_eq!(idx.sizes.iter().product::<usize>(), idx.body.len());
        }
    }
}

fn array(name: &str, data: &[u8]) {
    let path = put(&format!("array/{name}"), data);
    if let Ok(matrix) = data::npy::read(&path) {
        assert_eq!(matrix.values.len(), matrix.rows * matrix.columns);
    }
    open(Choice::Array, &path, &Form::default(), Selection::ByName);
}

/// As a table that is parted either way, and as one whose rows are all for a trained model.
fn table(data: &[u8]) {
    let normal = Form { split: "normal:0.5".parse().expect("a split"), ..Form::default() };
    for path in [put("table/x.csv", data), put("table/x.csv.gz", data)] {
        open(Choice::Table, &path, &Form::default(), Selection::ByName);
        open(Choice::Table, &path, &normal, Selection::ByName);
        open(Choice::Table, &path, &Form::default(), Selection::All);
    }
}

/// As a text that is parted and one that is read whole, by words and by characters, with a bound that leaves some out.
fn text(data: &[u8]) {
    let path = put("text/x.txt", data);
    for tokens in [Tokenisation::Words, Tokenisation::Characters] {
        let text = Reading { tokens, min_count: 1, longest: 9, vocabulary: None };
        let form = Form { text, ..Form::default() };
        open(Choice::Text, &path, &form, Selection::ByName);
        open(Choice::Text, &path, &form, Selection::All);
    }
}

/// As a recording of its own rate and as one that is resampled.
fn wav(data: &[u8]) {
    let path = put("wav/x.wav", data);
    for sample_rate in [8000, 11_025] {
        let analysis = Analysis { sample_rate, n_fft: 16, hop_length: 8, n_mels: 3, frames: 9, ..Analysis::default() };
        let form = Form { audio: audio::Reading { analysis, peak: Some(0.0) }, ..Form::default() };
        open(Choice::Audio, &path, &form, Selection::All);
    }
}

/// As a series that is parted, and as one that a trained model takes whole.
fn series(data: &[u8]) {
    let windows = Windows { length: 2, stride: Some(1) };
    let form = Form { windows, split: "first:3".parse().expect("a split"), ..Form::default() };
    for path in [put("series/x.csv", data), put("series/x.csv.gz", data)] {
        open(Choice::Series, &path, &form, Selection::ByName);
        open(Choice::Series, &path, &form, Selection::All);
    }
}

fn open(choice: Choice, path: &Path, form: &Form, selection: Selection) {
    if let Ok(dataset) =
        data::open(choice, Some(path), &Preparation::default(), form, selection, [None; 2], &mut |_| ())
    {
        is_whole(&dataset);
    }
}

fn safetensors(data: &[u8]) {
    let path = put("model/x.safetensors", data);
    if let Ok(checkpoint) = Checkpoint::read(&path)
        && checkpoint.card(&path).is_ok()
    {
        let _ = Trained::open(&path, &Device::Cpu(Cpu::Accelerated));
    }
}

/// A resumed run takes its parameters, moments and progress from the file, and goes on.
fn state(data: &[u8]) {
    let root = put("state/state.safetensors", data).parent().expect("a folder").to_path_buf();
    put("state/run.toml", b"");
    let _ = std::fs::remove_file(root.join("metrics.csv"));
    let folder = RunFolder::open(&root).expect("a folder with a run.toml is one");
    let device = Device::Cpu(Cpu::Accelerated);
    if let Ok(mut trainer) = Trainer::new(tiny_settings(&root), tiny_data(), &device, folder, true) {
        let _ = trainer.train(&AtomicBool::new(false), &mut |_| ());
    }
}

fn run_record(data: &[u8]) {
    let path = put("run/run.toml", data);
    let folder = RunFolder::open(path.parent().expect("a folder")).expect("a folder with a run.toml is one");
    if let Ok(record) = RunRecord::read(&folder) {
        record.write(&folder).expect("what was read can be written");
        assert_eq!(RunRecord::read(&folder).expect("what was written can be read"), record);
        let _ = Settings::resume(record.settings, &Given::default());
    }
    for model in MODELS {
        let _ = read_metrics(&put("run/metrics.csv", data), (model.terms)(&(model.defaults)()));
    }
}

fn settings(data: &[u8]) {
    let path = put("settings/x.toml", data);
    let Ok(given) = Given::from_file(&path) else { return };
    let Ok(settings) = Settings::resolve(Some(given), Given::default()) else { return };
    let text = settings.to_toml().expect("settings can be written down");
    assert_eq!(Settings::from_toml(&text).expect("what was written can be read"), settings);
    let _ = settings.outline(&Columns::of_pictures([1, 28, 28], 10));
}

/// Two lines: the encoder and the decoder. One that fits is recorded: then every layer knows what to do with its sizes.
fn network(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (encoder, decoder) = text.split_once('\n').unwrap_or((text, "flatten, linear 784"));
    let (Ok(encoder), Ok(decoder)) = (encoder.parse::<Network>(), decoder.parse::<Network>()) else { return };
    let again: Network = String::from(encoder.clone()).parse().expect("what was written can be read");
    assert_eq!(again, encoder);
    for model in MODELS {
        let mut given = Given::default();
        let networks = [("encoder", String::from(encoder.clone())), ("decoder", String::from(decoder.clone()))];
        let sizes = [("model", model.name.to_string()), ("latent", "4".into()), ("batch_size", "2".into())];
        sizes.iter().chain(&networks).for_each(|(name, text)| given.flag(name, text));
        let Ok(settings) = Settings::resolve(None, given) else { return };
        for shape in [[1, 28, 28], [3, 8, 8]] {
            let _ = programs::training_step(&settings, &Columns::of_pictures(shape, 3), Fusion::Accelerated);
        }
    }
}

fn cifar(data: &[u8]) {
    for (choice, name) in [(Choice::Cifar10, "cifar-10-binary.tar.gz"), (Choice::Cifar100, "cifar-100-binary.tar.gz")] {
        let path = put(&format!("{name}.folder/{name}"), data);
        open(choice, path.parent().expect("a folder"), &Form::default(), Selection::ByName);
    }
}

fn picture(data: &[u8]) {
    let path = put("picture/x.png", data);
    for preparation in [
        Preparation { corrupt: Corrupt::Refuse, ..Preparation::default() },
        Preparation {
            crop: Some(4),
            image_size: Some(8),
            channels: Some(1),
            corrupt: Corrupt::Skip,
            background: Background(Some([1, 2, 3])),
            ..Preparation::default()
        },
        Preparation { image_size: Some(5), channels: Some(3), ..Preparation::default() },
    ] {
        if let Ok(decoded) = data::decode::decode(&path, &preparation) {
            assert_eq!(decoded.planes.len(), decoded.channels * decoded.height * decoded.width);
        }
    }
}

fn is_whole(dataset: &Dataset) {
    for split in [&dataset.train, &dataset.test] {
        let values = split.values(0..split.count);
        assert_eq!(values.len(), split.count * split.dims());
        let has_gaps = split.columns().steps(STEPS).is_ok();
        assert!(values.iter().all(|value| value.is_finite() || (has_gaps && value.is_nan())));
        if let Some(labels) = split.labels() {
            let classes = dataset.columns().label(LABELS).expect("both splits have labels of the same classes");
            assert_eq!(labels.len(), split.count);
            assert!(labels.iter().all(|&label| (label as usize) < classes));
        }
    }
}

fn tiny_data() -> Dataset {
    let pixels = |count: usize| (0..count * 4).map(|i| (i * 37 % 256) as u8).collect();
    let split = |count| Table::of_pictures([1, 2, 2], pixels(count), None);
    Dataset {
        name: "tiny".into(),
        class_names: vec![],
        vocabulary: None,
        spectrogram: None,
        train: split(8),
        test: split(4),
    }
}

fn tiny_settings(out: &Path) -> Settings {
    let text = "hidden = [3]\nlatent = 2\nbatch_size = 4\nepochs = 2\nsamples = 0\ndevice = 'cpu'";
    let given = Given::from_text(text).expect("a settings text");
    let mut settings = Settings::resolve(None, given).expect("settings of a small network");
    settings.out = out.into();
    settings
}

// ---- Seeds

/// Whole inputs of a target, from which a fuzzer starts.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "idx" => vec![idx_bytes(0x803, &[2, 3, 4]), idx_bytes(0x801, &[5])],
        "npy" => {
            vec![npy_bytes("|u1", "2, 3, 4", 24), npy_bytes("<f4", "3, 2", 24), npy_bytes("|u1", "2, 4, 4, 3", 96)]
        }
        "npz" => vec![zip_bytes(&[
            ("x_train.npy", npy_bytes("|u1", "4, 3, 3", 36)),
            ("y_train.npy", npy_bytes("|u1", "4", 4)),
        ])],
        "table" => TABLES.map(|text| text.as_bytes().to_vec()).into(),
        "series" => SERIES.map(|text| text.as_bytes().to_vec()).into(),
        "text" => TEXTS.map(|text| text.as_bytes().to_vec()).into(),
        "safetensors" => vec![of_a_run("model.safetensors"), of_a_run("best.safetensors")],
        "state" => vec![of_a_run("state.safetensors")],
        "run" => vec![of_a_run("run.toml"), of_a_run("metrics.csv")],
        "settings" => SETTINGS.map(|text| text.as_bytes().to_vec()).into(),
        "network" => NETWORKS.map(|text| text.as_bytes().to_vec()).into(),
        "cifar" => vec![zip_bytes(&[]), vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
        "picture" => {
            use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
            [Png, Jpeg, WebP, Bmp, Tiff, Gif].map(picture_bytes).into()
        }
        "wav" => [[1, 1, 8], [1, 2, 16], [1, 1, 24], [3, 2, 32]].map(wav_bytes).into(),
        other => panic!("there is no target {other}"),
    }
}

const TEXTS: [&str; 2] = ["A cat sat.\nThe cat, the mat!\r\n\n  on\n", "\u{feff}caf\u{e9} \u{130}\u{1f642}\nx\ny\nx\n"];

const SERIES: [&str; 2] = [
    "time;load;heat;anomaly\n00:00;1;2;0\n00:01;;3;0\n00:02;4;nan;1\n00:03;5;6;0\n00:04;7;8;0\n00:05;9;1;0\n",
    "a,b\r\n1,-2.5e3\r\n\"3\",4\r\n,\r\n5,6\r\n7,8\r\n",
];

const SETTINGS: [&str; 4] = [
    "preset = \"mnist-2d\"\nepochs = 3\nlr = 0.01\nhidden = [32, 16]\nbetas = [0.9, 0.99]\nkl_schedule = \"linear:5\"\n",
    "encoder = \"flatten, linear 8, relu\"\ndecoder = \"linear 784\"\nlatent = 2\noutput = \"gaussian\"\nflip = true\n",
    "model = \"conditional\"\nhidden = [9]\nkl_weight = 2\nmonitor = \"train_kl\"\n",
    "preset = \"mnist-denoise-conv\"\nnoise = \"salt_and_pepper:0.3\"\nfree_bits = 0.5\n",
];

const TABLES: [&str; 3] = [
    "a,b,anomaly\n1,-2.5,0\n2,1e3,0\n3,0.25,1\n4,7,0\n",
    "x;label\r\n0;3\r\n2;0\r\n5;1\r\n",
    "\u{feff}only\n1\n2\n3\n4\n5\n",
];

const NETWORKS: [&str; 3] = [
    "conv 4 k4 s2 p1, batchnorm, relu, residual(conv 4 k3 p1, relu, conv 4 k3 p1), flatten, linear 8, relu\nflatten, linear 784",
    "conv 4 k3 p1 d2 g1, groupnorm 2, maxpool k2 s2, avgpool k2, flatten\nflatten, linear 98, view 2 7 7, upsample 2 bilinear, conv_transpose 1 k4 s2 p1",
    "flatten, (linear 9, layernorm, gelu), dropout 0.2\nlinear 192, view 3 8 8",
];

fn idx_bytes(magic: u32, sizes: &[usize]) -> Vec<u8> {
    let words = [magic].into_iter().chain(sizes.iter().map(|&size| size as u32));
    let body = (0..sizes.iter().product::<usize>()).map(|i| (i % 10) as u8);
    words.flat_map(u32::to_be_bytes).chain(body).collect()
}

fn npy_bytes(kind: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape},), }}");
    header.push_str(&" ".repeat((64 - (header.len() + 11) % 64) % 64));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend((0..bytes).map(|i| if kind == "<f4" { [0, 0, 0, 62][i % 4] } else { (i % 3) as u8 }));
    file
}

/// A recording of whole numbers (1) or floats (3), so many channels and bits.
fn wav_bytes([form, channels, bits]: [u16; 3]) -> Vec<u8> {
    let samples: Vec<u8> = (0..96).map(|i| if form == 3 { [0, 0, 0, 62][i % 4] } else { (i * 37) as u8 }).collect();
    let frame = channels * bits / 8;
    let mut file = b"RIFF\x84\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    [form, channels].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [8000, 8000 * u32::from(frame)].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [frame, bits].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(b"data\x60\0\0\0");
    file.extend(samples);
    file
}

fn zip_bytes(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).expect("memory takes all");
        archive.write_all(bytes).expect("memory takes all");
    }
    archive.finish().expect("memory takes all").into_inner()
}

fn picture_bytes(format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = image::RgbaImage::from_fn(9, 7, |x, y| image::Rgba([x as u8 * 20, y as u8 * 30, 90, 31 * x as u8]));
    let picture = image::DynamicImage::from(picture);
    let is_opaque = matches!(format, image::ImageFormat::Jpeg);
    let picture = if is_opaque { picture.into_rgb8().into() } else { picture };
    picture.write_to(&mut bytes, format).expect("memory takes all");
    bytes.into_inner()
}

/// A file of a run of two epochs.
fn of_a_run(name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let root = folder.path().join("run");
    let device = Device::Cpu(Cpu::Accelerated);
    let run = RunFolder::create(&root).expect("a new folder");
    let mut trainer = Trainer::new(tiny_settings(&root), tiny_data(), &device, run, false).expect("a small run");
    trainer.train(&AtomicBool::new(false), &mut |_| ()).expect("a small run");
    std::fs::read(root.join(name)).unwrap_or_default()
}
