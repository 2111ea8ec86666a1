use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::exchange::EXCHANGE;
use super::recording::{KINDS, Trace, stride};
use super::*;
use crate::backend::Device;
use crate::backend::cpu::Cpu;
use crate::error::Result;
use crate::instruments::subject;
use crate::models::presets;
use crate::train::settings::{Run, Settings};

fn exchange(preset: &str, batch_size: usize, steps: usize) -> Result<Exchange> {
    let (_, preset) = presets::find(preset)?;
    let settings = preset.settings().with("hidden = [700]\nlatent = 3")?;
    let settings = Settings { run: Run { batch_size, ..settings.run }, ..settings };
    let columns = preset.columns();
    Exchange::new(preset.name, "drawn", &settings, (&subject::drawn(5, &columns), &columns), steps)
}

fn take(exchange: &Exchange, cpu: Cpu) -> Recording {
    let mut heard = Vec::new();
    let recording = Recording::take(exchange, &Device::Cpu(cpu), None, &mut |done| heard.push(done)).unwrap();
    assert!(heard.into_iter().eq(1..=exchange.steps));
    recording
}

/// Writes what the script would: norms and losses in float64, elements in float32.
fn write(recording: &Recording, exchange: &str, folder: &Path) {
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let steps = recording.losses.len();
    let wide = |values: Vec<f64>| (Dtype::F64, vec![values.len()], bytemuck::pod_collect_to_vec(&values));
    let narrow = |values: Vec<f32>, shape| (Dtype::F32, shape, bytemuck::pod_collect_to_vec(&values));
    let mut put = |name: String, (dtype, shape, bytes)| tensors.push((name, dtype, shape, bytes));
    for (i, name) in ["loss", "recon", "kl"].into_iter().enumerate() {
        put(name.into(), wide(recording.losses.iter().map(|terms| terms[i]).collect()));
    }
    for (name, traces) in &recording.tensors {
        for (kind, trace) in KINDS.into_iter().zip(traces) {
            let last = trace.elements.last().unwrap().clone();
            let (_, before) = trace.elements.split_last().unwrap();
            let stride = if before[0].len() == last.len() { 1 } else { stride(last.len()) };
            let sampled: Vec<f32> =
                before.iter().flatten().copied().chain(last.iter().copied().step_by(stride)).collect();
            let shape = vec![steps, sampled.len() / steps];
            put(format!("{kind}.norm.{name}"), wide(trace.norms.clone()));
            put(format!("{kind}.sample.{name}"), narrow(sampled, shape));
            put(format!("{kind}.last.{name}"), narrow(last.clone(), vec![last.len()]));
        }
    }
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let metadata = [("by", "somebody"), ("exchange", exchange)].map(|(k, v)| (k.to_string(), v.to_string()));
    let bytes = safetensors::serialize(views, Some(HashMap::from(metadata))).unwrap();
    fs::write(folder.join(RECORDING), bytes).unwrap();
}

#[test]
fn an_exchange_is_a_files_bytes_and_the_start_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(RECORDING), "of an older exchange").unwrap();
    let written = exchange("mnist-mlp", 3, 4).unwrap();
    written.write(folder.path()).unwrap();
    assert_eq!(Exchange::read(folder.path()).unwrap(), written);
    assert!(!folder.path().join(RECORDING).exists() && folder.path().join(SCRIPT).exists());
    assert_eq!(exchange("mnist-mlp", 3, 4).unwrap().digest, written.digest);

    // 12 of 5 pictures: each is there twice before any comes a third time, and the second round repeats the first.
    let dims = written.dims();
    let pictures: Vec<&[u8]> = written.pixels().chunks(dims).collect();
    let drawn = subject::drawn(5, &presets::VAE[0].columns());
    assert!(drawn.pixels().chunks(dims).all(|picture| pictures[..5].contains(&picture)));
    assert!(pictures[..5] == pictures[5..10] && pictures[..2] == pictures[10..]);
    assert!(pictures[..5].iter().zip(drawn.pixels().chunks(dims)).any(|(a, b)| *a != b), "they are shuffled");
    // Each step has a noise of its own.
    assert!(written.noise[0].1.len() == 4 * 3 * 3 && written.noise[0].1[..9] != written.noise[0].1[9..18]);
    assert_eq!(written.initial.len(), 10);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let message = |exchange: Result<Exchange>| exchange.unwrap_err().to_string();
    assert!(message(exchange("mnist-mlp", 3, 0)).contains("--steps is 0"));
    assert!(message(exchange("mnist-mlp", 0, 3)).contains("--batch-size is 0"));
    assert!(message(exchange("mnist-mlp", 1 << 20, 1 << 20)).contains("fewer --steps"));
    let (_, preset) = presets::find("mnist-mlp").unwrap();
    let text = "encoder = 'flatten, dropout 0.5, linear 9, relu'\ndecoder = 'flatten, linear 784'";
    let (settings, columns) = (preset.settings().with(text).unwrap(), preset.columns());
    let dropout = Exchange::new("mine", "drawn", &settings, (&subject::drawn(2, &columns), &columns), 1);
    assert!(message(dropout).contains("mine has dropout"));

    let folder = tempfile::tempdir().unwrap();
    assert!(message(Exchange::read(folder.path())).contains(EXCHANGE));
    fs::write(folder.path().join(EXCHANGE), [1; 20]).unwrap();
    assert!(message(Exchange::read(folder.path())).contains("not a whole safetensors file"));
}

#[test]
fn a_recording_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = exchange("mnist-mlp", 3, 3).unwrap();
    exchange.write(folder.path()).unwrap();
    let missing = Recording::read(folder.path(), &exchange).unwrap_err().to_string();
    assert!(missing.contains(RECORDING), "{missing}");

    let taken = take(&exchange, Cpu::Reference);
    write(&taken, &exchange.digest, folder.path());
    assert_eq!(
        Recording::read(folder.path(), &exchange).unwrap(),
        Recording { by: "somebody".into(), ..taken.clone() }
    );

    write(&taken, "another", folder.path());
    let stale = Recording::read(folder.path(), &exchange).unwrap_err().to_string();
    assert!(stale.contains("another exchange"), "{stale}");
    let mut short = taken;
    short.tensors.get_mut("fc1.weight").unwrap()[1].norms.pop();
    write(&short, &exchange.digest, folder.path());
    let damaged = Recording::read(folder.path(), &exchange).unwrap_err().to_string();
    assert!(damaged.contains("parameter.norm.fc1.weight has 2 elements, expected 3"), "{damaged}");
}

#[test]
fn forms_of_one_kernel_train_alike() {
    let exchange = exchange("mnist-mlp", 4, 5).unwrap();
    let [here, there] = [Cpu::Accelerated, Cpu::Reference].map(|cpu| take(&exchange, cpu));
    let report = Report::new(&exchange, &here, &there, false);
    assert!(report.passes && report.steps.len() == 5 && report.left_out.is_empty());
    assert!(report.worst(|d| d.loss_difference).loss_difference < 1e-6);
    assert!(report.worst(|d| d.gradient.difference).gradient.difference < 1e-4);
    let parameter = report.worst(|d| d.parameter.difference).parameter.difference;
    // Where a gradient is rounding, Adam goes a whole step of 1e-3 in either direction.
    assert!(0.0 < parameter && parameter < 1e-2, "{parameter}");
    // A picture of 784 pixels costs some hundreds of nats before training.
    assert!((300.0..800.0).contains(&report.steps[0].loss[0]), "{:?}", report.steps[0]);
    let [loss, recon, kl] =
        [report.steps[0].loss[1], report.steps[0].terms["recon"][1], report.steps[0].terms["kl"][1]];
    assert!((loss - recon - kl).abs() < 1e-6 * loss);
}

/// All parameters zero: logits of 0, a KL of 0.
#[test]
fn a_step_that_follows_starts_from_the_others_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = exchange("mnist-mlp", 3, 3).unwrap();
    exchange.write(folder.path()).unwrap();
    let free = take(&exchange, Cpu::Accelerated);
    assert!(!free.has_all_parameters());
    let device = Device::Cpu(Cpu::Accelerated);
    let message = Recording::take(&exchange, &device, Some(&free), &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("--whole"), "{message}");

    let mut zero = free.clone();
    for [_, parameter] in zero.tensors.values_mut() {
        let len = parameter.elements[2].len();
        parameter.elements = vec![vec![0.0; len]; 3];
    }
    write(&zero, &exchange.digest, folder.path());
    let zero = Recording::read(folder.path(), &exchange).unwrap();
    assert!(zero.has_all_parameters());
    let here = Recording::take(&exchange, &device, Some(&zero), &mut |_| ()).unwrap();
    assert_eq!(here.losses[0], free.losses[0]);
    let expected = 3.0 * 784.0 * std::f64::consts::LN_2;
    for losses in &here.losses[1..] {
        let [loss, recon, kl] = losses[..].try_into().unwrap();
        assert!((loss - expected).abs() < 1e-3 && loss == recon && kl == 0.0, "{loss} {recon} {kl}");
    }
    // From zero, Adam moves no parameter by more than the learning rate's share that its moments leave.
    let report = Report::new(&exchange, &here, &zero, true);
    assert!(report.follows && report.steps[2].parameter.difference < 2e-3, "{:?}", report.steps[2]);
}

#[test]
fn a_difference_is_found_where_it_is() {
    let exchange = exchange("mnist-mlp", 3, 3).unwrap();
    let there = take(&exchange, Cpu::Accelerated);
    let report = |change: &dyn Fn(&mut Recording)| {
        let mut here = there.clone();
        change(&mut here);
        Report::new(&exchange, &here, &there, false)
    };
    let same = report(&|_| ());
    let all = |d: &Difference| [d.loss_difference, d.gradient.difference, d.parameter.difference];
    assert!(same.passes && same.steps.iter().all(|d| all(d) == [0.0; 3]));

    for (factor, passes) in [(1.0 + 0.9e-4, true), (1.0 + 1.1e-4, false), (1.0 - 1.1e-4, false), (f64::NAN, false)] {
        let changed = report(&|here| here.losses[1][0] *= factor);
        assert_eq!(changed.passes, passes, "{factor}");
        let worst = changed.worst(|d| d.loss_difference);
        let difference = worst.loss_difference;
        assert!(worst.step == 2 && (difference.is_nan() || (difference - (factor - 1.0).abs()).abs() < 1e-12));
    }

    // All elements of a gradient a percent larger: a percent, in a sample as in the whole, and in the norm alone.
    for step in [0, 2] {
        let larger = report(&|here| {
            here.tensors.get_mut("fc1.weight").unwrap()[0].elements[step].iter_mut().for_each(|v| *v *= 1.01);
        });
        let d = &larger.steps[step];
        assert!(d.gradient.tensor == "fc1.weight" && (0.003..0.03).contains(&d.gradient.difference), "{d:?}");
        let norm = report(&|here| here.tensors.get_mut("fc4.bias").unwrap()[0].norms[step] *= 1.01);
        let d = &norm.steps[step].gradient;
        assert!(d.tensor == "fc4.bias" && (d.difference - 0.01).abs() < 1e-9, "{d:?}");
    }
    let moved = report(&|here| here.tensors.get_mut("fc3.bias").unwrap()[1].elements[2][699] += 0.5);
    let d = &moved.steps[2].parameter;
    assert!(d.tensor == "fc3.bias" && (d.difference - 0.5).abs() < 1e-6 && moved.passes, "{d:?}");
    let lost = report(&|here| here.tensors.get_mut("fc3.bias").unwrap()[1].elements[0][0] = f32::NAN);
    assert!(lost.worst(|d| d.parameter.difference).parameter.tensor == "fc3.bias");
}

/// Only a gradient that is rounding there, too, is left out.
#[test]
fn a_bias_in_front_of_batch_norm_is_left_out() {
    let exchange = exchange("mnist-mlp", 3, 2).unwrap();
    let mut here = take(&exchange, Cpu::Accelerated);
    here.without_gradient = vec!["fc1.bias".into()];
    here.tensors.get_mut("fc1.bias").unwrap()[0] =
        Trace { norms: vec![0.0; 2], elements: vec![vec![0.0; 234], vec![0.0; 700]] };
    let there = |share: f64| {
        let mut there = take(&exchange, Cpu::Accelerated);
        let weight = there.tensors["fc1.weight"][0].norms.clone();
        let bias = &mut there.tensors.get_mut("fc1.bias").unwrap()[0];
        bias.norms = weight.iter().map(|norm| share * norm).collect();
        there
    };
    let rounding = Report::new(&exchange, &here, &there(1e-6), false);
    assert_eq!(rounding.left_out, ["fc1.bias"]);
    assert!((rounding.left_out_gradient - 1e-6).abs() < 1e-12);
    assert!(rounding.steps.iter().all(|d| d.gradient.difference == 0.0));
    let gradient = Report::new(&exchange, &here, &there(0.5), false);
    assert!(gradient.left_out.is_empty());
    assert!(gradient.steps.iter().all(|d| d.gradient.tensor == "fc1.bias" && d.gradient.difference > 0.01));
}
