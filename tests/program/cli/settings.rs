//! Settings: which of flag, file and preset wins, and what is refused with the nearest word or the sizes.

use super::desk::{DATA, Desk, text_of};

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
