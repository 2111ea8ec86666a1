//! What cannot be done: models, data and arguments that are refused, and nothing is written.

use std::fs;
use std::path::Path;

use elbo::data::npy;

use super::running::{Run, elbo, text};

#[test]
fn unusable_models_are_refused() {
    let run = Run::copy();
    let truncated = run.path("truncated.safetensors");
    let bytes = fs::read(run.file("model.safetensors")).unwrap();
    fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    let nan = run.changed("nan.safetensors", |model| model.tensors.get_mut("fc3.bias").unwrap().1[2] = f32::NAN);
    let cut = run.changed("cut.safetensors", |model| drop(model.tensors.remove("fc4.bias")));
    let text = run.path("notes.txt");
    fs::write(&text, "not a model").unwrap();
    let nothing = run.path("nothing");
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    let latents = run.path("latents.npy");
    npy::write(&run.file("latents.npy"), &npy::Matrix { rows: 1, columns: 2, values: vec![0.0; 2] }).unwrap();

    for command in ["eval", "sample", "reconstruct", "interpolate", "traverse", "manifold", "encode", "decode"] {
        let refused = |model: &str, word: &str| {
            let mut args = vec![command, model];
            args.extend((command == "decode").then_some(latents.as_str()));
            run.refused(&args, word);
        };
        refused(&nothing, "there is no ");
        refused(empty, "holds no model.safetensors");
        refused(&truncated, "truncated.safetensors: not a whole safetensors file");
        refused(&nan, "nan.safetensors: fc3.bias[2] is NaN");
        refused(&cut, "has no tensor fc4.bias [784]");
        refused(&text, "not a whole safetensors file");
    }
}

#[test]
fn data_of_another_picture_size_is_refused_with_both_sizes() {
    let run = Run::copy();
    let small = run.changed("small.safetensors", |model| {
        model.metadata.clear();
        for (name, shape) in [("fc1.weight", vec![16, 16]), ("fc4.weight", vec![16, 16]), ("fc4.bias", vec![16])] {
            let count = shape.iter().product();
            model.tensors.insert(name.into(), (shape, vec![0.0; count]));
        }
    });
    for command in ["eval", "reconstruct", "interpolate", "traverse", "encode"] {
        run.refused(
            &[command, &small, "--dataset", "digits"],
            "digits are 1x28x28 (channels, height, width), the model's 1x4x4",
        );
    }
    run.refused(&["eval", &small, "--dataset", "cifar"], "no data set");
}

#[test]
fn arguments_out_of_range_are_refused() {
    let run = Run::copy();
    let root = run.root();
    let refused = |args: &[&str], word: &str| run.refused(&[&[args[0], root.as_str()], &args[1..]].concat(), word);
    refused(&["eval", "--batch-size", "0"], "--batch-size is 0");
    refused(&["sample", "--rows", "0"], "--rows and --columns must be at least 1");
    refused(&["sample", "--columns", "0"], "--rows and --columns must be at least 1");
    refused(&["sample", "--scale", "0"], "--scale is 0");
    refused(&["sample", "--rows", "10000", "--columns", "10000"], "ask for fewer images");
    refused(&["sample", "--rows", "18446744073709551615", "--columns", "2"], "ask for fewer images");
    refused(&["sample", "--temperature", "NaN"], "--temperature is NaN");
    refused(&["sample", "--temperature", "-1"], "--temperature is -1");
    refused(&["reconstruct", "--count", "0"], "--count must be at least 1");
    refused(
        &["reconstruct", "--count", "10001", "--scale", "1"],
        "--count is 10001, but digits has 10000 test pictures",
    );
    refused(&["reconstruct", "--count", "18446744073709551615"], "ask for fewer images");
    refused(&["interpolate", "--from", "10000"], "--from is 10000, but the test pictures of digits are 0 to 9999");
    refused(&["interpolate", "--to", "10000"], "--to is 10000");
    refused(&["interpolate", "--steps", "1"], "--steps is 1");
    refused(&["traverse", "--index", "10000"], "--index is 10000");
    refused(&["traverse", "--low", "3", "--high", "3"], "the lower first");
    refused(&["traverse", "--high", "inf"], "the lower first");
    refused(&["traverse", "--steps", "1"], "--steps is 1");
    refused(&["manifold", "--size", "0"], "--size must be at least 1");
    refused(&["manifold", "--low", "0"], "inside (0,1)");
    refused(&["manifold", "--high", "1"], "inside (0,1)");
    refused(&["manifold", "--low", "0.9", "--high", "0.1"], "the lower first");
    refused(&["manifold", "--low", "NaN"], "inside (0,1)");
    refused(&["encode", "--out", &run.path("z.csv")], "must end in .npy");

    let latents = run.path("bad.npy");
    refused(&["decode", &latents], "cannot open");
    fs::write(&latents, "PK").unwrap();
    refused(&["decode", &latents], "bad.npy: expected a NumPy .npy file");
    let write = |rows, values| npy::write(Path::new(&latents), &npy::Matrix { rows, columns: 2, values }).unwrap();
    write(0, vec![]);
    refused(&["decode", &latents], "holds no rows");
    write(2, vec![0.0, 0.0, 1.0, f32::NAN]);
    refused(&["decode", &latents], "row 1, column 1 is NaN");
    write(1, vec![0.0, 0.0]);
    refused(&["decode", &latents, "--columns", "0"], "--columns is 0");
}

#[test]
fn a_device_that_is_not_there_is_an_error_with_the_list() {
    let run = Run::copy();
    let output = elbo(&["sample", &run.root(), "--device", "nosuch"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("no device matches 'nosuch'") && stderr.contains("cpu (always there)"), "{stderr}");
    assert!(!stderr.contains("panicked") && !run.file("samples.png").exists(), "{stderr}");
}
