//! What `elbo export` writes gives in ONNX Runtime the numbers that it gives here, where Python has that.

use std::path::{Path, PathBuf};
use std::process::Command;

use elbo::backend::{Device, cpu::Cpu};
use elbo::data::digits;
use elbo::data::npy::{self, Matrix};
use elbo::inference::Trained;

use crate::common::process::{fails, succeeds, succeeds_with};

/// Sums of up to some thousand products of f32, in another order.
const BOUND: f32 = 1e-5;
/// Not the rows that views are recorded for.
const ROWS: usize = 3;

fn has_onnxruntime() -> bool {
    let output = Command::new("python3").args(["-c", "import onnxruntime, numpy"]).output();
    let there = output.is_ok_and(|output| output.status.success());
    if !there {
        crate::common::say(
            "NOT RUN: exported models in ONNX Runtime. python3 has no onnxruntime: pip install onnxruntime.",
        );
    }
    there
}

fn write(folder: &Path, name: &str, values: &[f32]) {
    let columns = values.len() / ROWS;
    npy::write(&folder.join(format!("{name}.npy")), &Matrix { rows: ROWS, columns, values: values.to_vec() }).unwrap();
}

/// The outputs of these names of the ONNX file, of the inputs that lie in the folder.
#[track_caller]
fn outputs(folder: &Path, file: &str, names: &[&str]) -> Vec<Vec<f32>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/onnx_run.py");
    let output = Command::new("python3").arg(script).arg(folder.join("onnx").join(file)).arg(folder).output().unwrap();
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    names.iter().map(|name| npy::read(&folder.join(format!("out_{name}.npy"))).unwrap().values).collect()
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(worst < BOUND && got.iter().all(|v| v.is_finite()), "{what}: differs by {worst:e}");
}

const SHORT: &str =
    "--device cpu --dataset digits --train-limit 48 --test-limit 8 --batch-size 16 --epochs 1 --samples 1";

/// A short run of the preset with more arguments, exported; and where ONNX Runtime is, both files against the model.
#[track_caller]
fn the_same_numbers(preset: &str, more: &[&str], is_there: bool) {
    let desk = tempfile::tempdir().unwrap();
    let folder = desk.path();
    succeeds_with(folder, &format!("train {preset} {SHORT} --out run"), more);
    let told = succeeds(folder, "export run --onnx onnx");
    assert!(told.contains("wrote onnx/encoder.onnx: x (batch,1,28,28)"), "{told}");
    assert!(told.contains(" to mean (batch,") && told.contains(" to x (batch,1,28,28)"), "{told}");
    if !is_there {
        return;
    }
    let mut model = Trained::open(&folder.join("run"), &Device::Cpu(Cpu::Accelerated)).unwrap();
    let x = digits::split(1, ROWS).values(0..ROWS);
    let latent = model.latent().unwrap();
    let z: Vec<f32> = (0..ROWS * latent).map(|i| (i * 37 % 41) as f32 / 10.0 - 2.0).collect();
    let classes = model.classes("encode").unwrap();
    let labels = classes.map(|_| vec![3, 0, 9]);
    write(folder, "x", &x);
    write(folder, "z", &z);
    if let (Some(classes), Some(labels)) = (classes, &labels) {
        let one_hot = labels.iter().flat_map(|&label| (0..classes).map(move |k| f32::from(k == label)));
        write(folder, "label", &one_hot.collect::<Vec<f32>>());
    }
    let [mean, logvar] = model.encode(&x, labels.as_deref()).unwrap();
    let encoded = outputs(folder, "encoder.onnx", &["mean", "logvar"]);
    assert_close(&format!("{preset} {more:?}: mean"), &encoded[0], &mean);
    assert_close(&format!("{preset} {more:?}: logvar"), &encoded[1], &logvar);
    let decoded = model.decode(&z, labels.as_deref()).unwrap();
    assert_close(&format!("{preset} {more:?}: x"), &outputs(folder, "decoder.onnx", &["x"])[0], &decoded);
}

#[test]
fn exported_models_give_the_same_numbers_in_onnx_runtime() {
    let is_there = has_onnxruntime();
    for preset in ["mnist-mlp", "mnist-fused", "mnist-conv", "mnist-cvae", "mnist-cvae-conv", "mnist-denoise"] {
        the_same_numbers(preset, &[], is_there);
    }
    the_same_numbers("mnist-mlp", &["--hidden", "40,30", "--activation", "gelu", "--output", "gaussian"], is_there);
    // Every kind of layer.
    let encoder = "(conv 4 k4x3 s2 p1 nobias, batchnorm, leaky_relu), residual(conv 4 k3 p1, groupnorm 2, silu), \
                   maxpool k2, conv 6 k2 d2 g2, gelu, avgpool k3 s1 p1, tanh, flatten, layernorm, dropout 0.1, \
                   linear 8, batchnorm, elu";
    let decoder = "flatten, linear 54, view 6 3 3, elu, upsample 2, conv 4 k3 p1, layernorm, upsample 2 bilinear, \
                   softplus, conv_transpose 8 k3 s2 p1 op1 g2, batchnorm, sigmoid, conv_transpose 1 k5x5 p0 s1";
    the_same_numbers("mnist-mlp", &["--latent", "4", "--encoder", encoder, "--decoder", decoder], is_there);
}

#[test]
fn what_cannot_be_exported_is_named() {
    let desk = tempfile::tempdir().unwrap();
    let folder = desk.path();
    let small = format!("train mnist-mlp {SHORT} --hidden 8 --latent 2");
    succeeds(folder, &format!("{small} --output continuous_bernoulli --out run"));
    let words = ["its decode runs the kernel continuous_bernoulli", "no operator in ONNX"];
    fails(folder, "export run --onnx onnx", &words);
    assert!(!folder.join("onnx").exists(), "both files or none");
    fails(folder, "export nowhere --onnx onnx", &["there is no nowhere"]);
}
