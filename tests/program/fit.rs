//! What the program makes of runs that do not fit: pictures, sets, memory, files and settings that are too large, too
//! small or something else. As its user meets it, on the CPU device, in folders of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use elbo::train::checkpoint::Checkpoint;
use elbo::train::run_folder::{RunFolder, RunRecord};

// ---- Running the program

struct Desk(tempfile::TempDir);

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn settings(&self, run: &str) -> toml::Table {
        let record: toml::Table = fs::read_to_string(self.path(run).join("run.toml")).unwrap().parse().unwrap();
        record["settings"].as_table().unwrap().clone()
    }

    /// Grey pictures of a folder, no two alike.
    fn pictures(&self, folder: &str, count: u32, [width, height]: [u32; 2]) {
        fs::create_dir_all(self.path(folder)).unwrap();
        for i in 0..count {
            let shade = image::GrayImage::from_fn(width, height, |x, y| image::Luma([(x / 7 + y / 5 + 40 * i) as u8]));
            shade.save(self.path(folder).join(format!("{i:03}.png"))).unwrap();
        }
    }

    fn run_in(&self, folder: &str, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
        command.current_dir(self.path(folder)).args(args).env_remove("ELBO_DATA").env("NODEVICE_SELECT", "1");
        command.env("ELBO_CACHE", self.path("cache")).output().unwrap()
    }

    /// Runs `args`, parted at spaces, to success: stdout and stderr.
    #[track_caller]
    fn succeeds(&self, args: &str) -> [String; 2] {
        let output = self.run_in("", &args.split_whitespace().collect::<Vec<_>>());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "elbo {args}\n{stderr}");
        [text(&output.stdout), stderr]
    }

    /// Runs to an error of exit code 2 in one `error: ` line with all of `words`.
    #[track_caller]
    fn fails(&self, args: &str, words: &[&str]) -> String {
        self.fails_for(&args.split_whitespace().collect::<Vec<_>>(), words)
    }

    #[track_caller]
    fn fails_for(&self, args: &[&str], words: &[&str]) -> String {
        let output = self.run_in("", args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "elbo {args:?}\n{stderr}");
        let message = &stderr[stderr.find("error: ").unwrap_or_else(|| panic!("elbo {args:?}\n{stderr}"))..];
        for word in words {
            assert!(message.contains(word), "no {word:?} from elbo {args:?}\n{stderr}");
        }
        stderr
    }
}

/// A tiny model on the built-in digits.
const DIGITS: &str = "train --device cpu --dataset digits --train-limit 40 --test-limit 10 --hidden 8 --latent 2 \
    --batch-size 8 --samples 4";

// ---- Pictures

#[test]
fn large_pictures_train_are_drawn_as_they_fit_and_open_again() {
    let desk = Desk::new();
    // Wide enough that 64 samples, even as they are, and 8 test pictures enlarged are more than a picture holds.
    desk.pictures("pics/train", 3, [1100, 1100]);
    desk.pictures("pics/test", 16, [1100, 1100]);
    let run = "train --dataset folder --data pics --device cpu --hidden 2 --latent 2 --batch-size 2";
    let [_, stderr] = desk.succeeds(&format!("{run} --epochs 1 --out run"));
    assert!(stderr.contains("samples of 1100x1100 pixels are more than a picture holds: --samples is"), "{stderr}");
    for picture in ["samples/epoch_001.png", "reconstructions/epoch_001.png", "curves.png"] {
        let (width, height) = image::image_dimensions(desk.path("run").join(picture)).unwrap();
        assert!(width as usize * height as usize <= 1 << 26, "{picture}");
    }
    // More than 2^20 values a picture: what was trained is used.
    desk.succeeds("sample run --device cpu --rows 1 --columns 2 --scale 1 --out two.jpg");
    assert_eq!(image::ImageFormat::from_path(desk.path("two.jpg")).unwrap(), image::ImageFormat::Jpeg);
    assert_eq!(image::guess_format(&fs::read(desk.path("two.jpg")).unwrap()).unwrap(), image::ImageFormat::Jpeg);
    desk.succeeds("eval run --device cpu");
    desk.fails(&format!("{run} --samples 64 --out other"), &["--samples is 64, but a picture holds at most"]);
    assert!(!desk.path("other").exists());
}

#[test]
fn samples_that_can_never_be_drawn_are_refused_before_the_first_step() {
    let desk = Desk::new();
    for samples in ["1048576", "100000"] {
        let few = DIGITS.replace("--samples 4", &format!("--samples {samples}"));
        desk.fails(&format!("{few} --epochs 1 --out run"), &["--samples is", "28x28"]);
    }
    assert!(!desk.path("run").exists());
}

#[test]
fn a_picture_in_the_way_takes_nothing_of_the_run() {
    let desk = Desk::new();
    desk.succeeds(&format!("{DIGITS} --epochs 1 --out run"));
    // No picture can be written there any more.
    fs::remove_file(desk.path("run/curves.png")).unwrap();
    fs::create_dir(desk.path("run/curves.png")).unwrap();
    fs::write(desk.path("run/kept"), "").unwrap();
    fs::rename(desk.path("run/samples"), desk.path("run/before")).unwrap();
    fs::rename(desk.path("run/kept"), desk.path("run/samples")).unwrap();
    let [stdout, stderr] = desk.succeeds("train --resume run --epochs 3");
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    assert!(stderr.matches("curves.png").count() == 2 && stderr.contains("samples"), "once, and at the end: {stderr}");
    assert!(desk.path("run/reconstructions/epoch_003.png").exists());
}

#[test]
fn the_ending_of_a_picture_decides_or_is_refused() {
    let desk = Desk::new();
    desk.succeeds(&format!("{DIGITS} --epochs 1 --out run"));
    let data = "--device cpu --dataset digits";
    for (command, ending) in [
        ("sample run --device cpu", ".jpeg"),
        (&*format!("reconstruct run {data}"), ".jpeg"),
        (&*format!("interpolate run {data}"), ".jpeg"),
        (&*format!("traverse run {data}"), ".jpeg"),
        ("manifold run --device cpu", ".jpeg"),
        ("animate run", ".gif"),
    ] {
        for out in ["a.bmp", "a", "a.webp"] {
            desk.fails(&format!("{command} --out {out}"), &[out, ending]);
        }
        for out in ["/", "..", "run"] {
            desk.fails(&format!("{command} --out {out}"), &["folder"]);
        }
        assert!(!desk.path("a.bmp").exists());
    }
    for out in ["/", ".", "..", "run/.."] {
        desk.fails(&format!("kernels show matmul.forward --out {out}"), &["no file"]);
        desk.fails(&format!("encode run {data} --out {out}"), &[".npy"]);
        desk.fails(&format!("{DIGITS} --out {out}"), &["--out"]);
    }
}

// ---- Memory

#[test]
fn a_plan_draws_no_pictures_and_says_what_does_not_fit() {
    let desk = Desk::new();
    let [stdout, _] = desk.succeeds("plan faces-mlp --batch-size 1000000 --device cpu");
    assert!(stdout.contains("DOES NOT FIT") && stdout.contains("--batch-size"), "{stdout}");
    for (_, preset) in elbo::models::presets::all() {
        desk.succeeds(&format!("plan {} --batch-size 1048576 --device cpu --json", preset.name));
    }
    for command in ["plan", "profile", "lockstep", "tune", "check"] {
        for size in ["0", "1048577", "18446744073709551615"] {
            desk.fails(
                &format!("{command} mnist-mlp --device cpu --batch-size {size}"),
                &["--batch-size is", "1048576"],
            );
        }
    }
    desk.fails("profile faces-mlp --device cpu --batch-size 1000000", &["no memory", "--batch-size"]);
}

#[test]
fn sizes_without_memory_are_refused_by_their_cause() {
    let desk = Desk::new();
    let plain = "train --device cpu --dataset digits --train-limit 40 --test-limit 10 --epochs 1 --out run";
    desk.fails(&format!("{plain} --batch-size 8 --hidden 1048576,1048576"), &["no memory for parameters", "--hidden"]);
    desk.fails(&format!("{plain} --batch-size 8 --latent 1048576 --hidden 4096"), &["no memory", "--latent"]);
    desk.fails_for(
        &[
            &plain.split_whitespace().collect::<Vec<_>>()[..],
            &["--batch-size", "8", "--encoder", "flatten, linear 65536, linear 65536, linear 65536"],
            &["--decoder", "flatten, linear 784"],
        ]
        .concat(),
        &["its weights are more than"],
    );
}

// ---- Small sets

#[test]
fn defaults_shrink_to_a_small_set_and_what_was_given_does_not() {
    let desk = Desk::new();
    desk.pictures("pics/train", 12, [9, 7]);
    desk.pictures("pics/test", 4, [9, 7]);
    let run = "train --dataset folder --data pics --device cpu --hidden 4 --latent 2 --epochs 1";
    let [_, stderr] = desk.succeeds(&format!("{run} --out run"));
    assert!(stderr.contains("12 training pictures, fewer than a batch of 128: --batch-size is 12"), "{stderr}");
    assert_eq!(desk.settings("run")["batch_size"].as_integer(), Some(12));
    desk.fails(&format!("{run} --batch-size 13 --out other"), &["--batch-size 13 is larger than the 12"]);

    let [_, stderr] = desk.succeeds("reconstruct run --device cpu");
    assert!(stderr.contains("4 test pictures, fewer than 16: all of them are drawn"), "{stderr}");
    desk.fails("reconstruct run --device cpu --count 5", &["--count is 5", "4 test pictures"]);
    for command in ["interpolate", "traverse", "eval", "encode"] {
        desk.succeeds(&format!("{command} run --device cpu"));
    }
}

#[test]
fn a_batch_norm_of_one_value_is_refused_and_a_last_batch_of_one_row_is_not() {
    let desk = Desk::new();
    let train = |batch: &str, limit: &str, out: &str| {
        let args =
            ["train", "--dataset", "digits", "--device", "cpu", "--epochs", "2", "--samples", "4", "--latent", "4"];
        let sizes = ["--batch-size", batch, "--train-limit", limit, "--test-limit", "9", "--out", out];
        let encoder = ["--encoder", "flatten, linear 8, batchnorm, relu"];
        let decoder = ["--decoder", "flatten, linear 8, batchnorm, relu, linear 784"];
        [&args[..], &sizes, &encoder, &decoder].concat().into_iter().map(String::from).collect::<Vec<_>>()
    };
    let args = |list: &[String]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    let one = args(&train("1", "33", "run"));
    let words = ["--batch-size is 1", "encoder.2, a batch norm", "one value a channel"];
    desk.fails_for(&one.iter().map(String::as_str).collect::<Vec<_>>(), &words);
    assert!(!desk.path("run").exists());
    let last = args(&train("8", "33", "run"));
    let output = desk.run_in("", &last.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let terms = (elbo::models::vae::ENTRY.terms)(&toml::Table::new());
    let losses = elbo::train::metrics::read_metrics(&desk.path("run/metrics.csv"), terms).unwrap();
    assert!(losses.iter().all(|row| row.test.loss < 1000.0), "{losses:?}");
}

// ---- Files in a checkpoint's place

#[test]
fn what_is_no_checkpoint_is_called_by_its_name() {
    let desk = Desk::new();
    for (name, content, word) in [
        ("model.pth", &b"PK\x03\x04\0\0\0\0model/data.pkl"[..], "torch.save"),
        ("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        ("page.safetensors", b"<!doctype html><html><title>Sign in</title></html>", "HTML page"),
    ] {
        fs::write(desk.path(name), content).unwrap();
        for command in ["sample", "eval", "encode"] {
            desk.fails(&format!("{command} {name} --device cpu"), &[name, word]);
        }
    }
}

/// Writes the tensors of `from` in another kind of number, under names with something in front.
fn rewritten(from: &Path, to: &Path, kind: safetensors::Dtype, before: &str) {
    let model = Checkpoint::read(from).unwrap();
    let bytes = |v: &[f32]| -> Vec<u8> {
        match kind {
            safetensors::Dtype::F64 => v.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
            safetensors::Dtype::F16 => v.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
            safetensors::Dtype::BF16 => v.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
            _ => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    };
    let tensors: Vec<_> =
        model.tensors.iter().map(|(name, (shape, v))| (format!("{before}{name}"), shape.clone(), bytes(v))).collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), safetensors::tensor::TensorView::new(kind, shape.clone(), bytes).unwrap())
    });
    fs::write(to, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn checkpoints_of_other_numbers_and_wrapped_names_are_taken_with_a_notice() {
    let desk = Desk::new();
    desk.succeeds(&format!("{DIGITS} --epochs 1 --out run"));
    let model = desk.path("run/model.safetensors");
    let eval = |file: &str| desk.succeeds(&format!("eval {file} --device cpu --dataset digits --test-limit 10"));
    let loss = |stdout: &str| -> f64 {
        stdout.lines().find_map(|line| line.strip_prefix("test_loss ")?.split(' ').next()?.parse().ok()).unwrap()
    };
    let [plain, quiet] = eval("run");
    assert!(!quiet.contains("note:"), "{quiet}");
    use safetensors::Dtype;
    for (kind, before, near, words) in [
        (Dtype::F32, "module.", 1e-4, ["without `module.`", ""]),
        (Dtype::F32, "module._orig_mod.", 1e-4, ["without `module._orig_mod.`", ""]),
        (Dtype::F32, "model._orig_mod.module.", 1e-4, ["without `model._orig_mod.module.`", ""]),
        (Dtype::F64, "", 1e-4, ["numbers of F64", "F32"]),
        (Dtype::F16, "_orig_mod.", 1.0, ["numbers of F16", "without `_orig_mod.`"]),
        (Dtype::BF16, "", 5.0, ["numbers of BF16", "F32"]),
    ] {
        rewritten(&model, &desk.path("other.safetensors"), kind, before);
        let [stdout, stderr] = eval("other.safetensors");
        assert!((loss(&stdout) - loss(&plain)).abs() <= near, "{kind:?}: {stdout}{plain}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{kind:?} {before}: {stderr}");
    }
}

#[test]
fn a_network_without_parameters_is_refused() {
    let desk = Desk::new();
    let one = DIGITS.replace("--latent 2", "--latent 1");
    let args: Vec<&str> = one.split_whitespace().collect();
    let networks = ["--encoder", "maxpool k14, avgpool k2x1, flatten", "--decoder", "upsample 28, flatten"];
    let more = ["--head", "direct", "--out", "run"];
    desk.fails_for(&[&args[..], &networks, &more].concat(), &["nothing to train"]);
}

// ---- Settings and runs

#[test]
fn a_finished_run_says_so_and_keeps_its_record() {
    let desk = Desk::new();
    desk.succeeds(&format!("{DIGITS} --epochs 3 --out run"));
    let record = fs::read(desk.path("run/run.toml")).unwrap();
    let [stdout, stderr] = desk.succeeds("train --resume run");
    assert!(stderr.contains("all 3 epochs of this run are trained") && stderr.contains("--epochs N"), "{stderr}");
    assert!(stdout.is_empty() && !stderr.contains("next:"), "{stdout}{stderr}");
    desk.fails("train --resume run --epochs 2", &["--epochs is 2", "3 are trained"]);
    assert!(fs::read(desk.path("run/run.toml")).unwrap() == record);
    let [stdout, _] = desk.succeeds("train --resume run --epochs 4");
    assert!(stdout.contains("\n    4 "), "{stdout}");
}

#[test]
fn a_run_is_repeated_from_its_record() {
    let desk = Desk::new();
    desk.succeeds(&format!("{DIGITS} --epochs 1 --out run"));
    desk.succeeds("train --config run/run.toml --out again");
    let model = |run: &str| fs::read(desk.path(run).join("model.safetensors")).unwrap();
    assert!(model("again") == model("run"));
    // Without --out it has a folder of its own, and the command line wins.
    let [_, stderr] = desk.succeeds("train --config run/run.toml --seed 2");
    assert!(stderr.contains("run folder: runs/vae") && model("runs/vae") != model("run"), "{stderr}");
    desk.fails("train mnist-2d --config run/run.toml", &["mnist-2d cannot be put under"]);
    let edited = fs::read_to_string(desk.path("run/run.toml")).unwrap().replace("epochs = 1", "epochs = \"many\"");
    fs::write(desk.path("edited.toml"), edited).unwrap();
    desk.fails("train --config edited.toml", &["edited.toml", "many"]);
}

#[test]
fn a_run_is_found_and_goes_on_from_another_folder() {
    let desk = Desk::new();
    desk.pictures("here/pics/train", 6, [5, 4]);
    desk.pictures("here/pics/test", 2, [5, 4]);
    fs::create_dir(desk.path("there")).unwrap();
    let run = |folder: &str, args: &str| {
        let output = desk.run_in(folder, &args.split_whitespace().collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{args}: {}", text(&output.stderr));
    };
    run(
        "here",
        "train --dataset folder --data pics --device cpu --hidden 4 --latent 2 --batch-size 3 --epochs 1 --out run",
    );
    run("there", "train --resume ../here/run --epochs 2");
    run("there", "eval ../here/run --device cpu");
    let record = RunRecord::read(&RunFolder::open(desk.path("here/run")).unwrap()).unwrap();
    assert!(record.settings.data.as_ref().unwrap().is_absolute());
}

#[test]
fn a_network_of_ones_own_has_no_presets_name() {
    let desk = Desk::new();
    let [_, stderr] = desk.succeeds(&format!("{DIGITS} --epochs 1"));
    assert!(stderr.contains("model: vae, ") && stderr.contains("run folder: runs/vae\n"), "{stderr}");
    assert_eq!(desk.settings("runs/vae")["preset"].as_str(), Some("vae"));
    let preset = "train mnist-2d --device cpu --dataset digits --train-limit 64 --test-limit 4 --epochs 1";
    let [_, stderr] = desk.succeeds(preset);
    assert!(stderr.contains("model: mnist-2d, ") && stderr.contains("run folder: runs/mnist-2d\n"), "{stderr}");
}

#[test]
fn free_bits_are_said_where_they_count() {
    let desk = Desk::new();
    let [_, stderr] = desk.succeeds(&format!("{DIGITS} --epochs 1 --free-bits 0.5 --out run"));
    assert!(stderr.contains("train kl and loss count each latent dimension as at least 0.5 nats"), "{stderr}");
}
