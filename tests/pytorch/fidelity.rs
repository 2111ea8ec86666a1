//! Metrics of pictures beside torchmetrics, pytorch-fid and prdc, and the built-in classifier.

use std::collections::BTreeSet;

use crate::common::golden::{Golden, unit};
use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::data::digits;
use elbo::fidelity::{Features, Judge, inception, inception_score, kernel_distance, prdc};
use elbo::kernels::cross_entropy::largest;
use elbo::picture::quality;
use elbo::train::checkpoint::Checkpoint;

/// Relative.
const TOLERANCE: f64 = 1e-4;

fn features(golden: &Golden, name: &str) -> Features {
    let (shape, values) = golden.any(name);
    Features { features: values.to_vec(), width: shape[1], ..Features::default() }
}

#[test]
fn metrics_are_those_of_torchmetrics() {
    let golden = Golden::read("fidelity");
    let check = |name: &str, found: f64, at: usize| {
        let wanted = f64::from(golden.any(name).1[at]);
        assert!((found - wanted).abs() <= TOLERANCE * wanted.abs(), "{name}: {found} and not {wanted}");
    };
    let [real, made] = ["real", "made"].map(|name| features(&golden, name));
    check("fid", real.frechet(&made).unwrap(), 0);
    let as_many = Features { features: real.features[..made.features.len()].to_vec(), ..real.clone() };
    check("kid", kernel_distance(&as_many, &made, 1).mean, 0);
    let found = prdc(&real, &made, 5).unwrap();
    check("precision", found.precision, 0);
    check("recall", found.recall, 0);
    check("density", found.density, 0);
    check("coverage", found.coverage, 0);

    let (shape, probabilities) = golden.any("probabilities");
    let judged = Features { probabilities: probabilities.to_vec(), classes: shape[1], ..made.clone() };
    let score = inception_score(&judged);
    check("is", score.mean, 0);
    // torchmetrics divides by the number of parts less one.
    check("is", score.standard_deviation * (10.0f64 / 9.0).sqrt(), 1);

    let [a, b] = ["a", "b"].map(|name| golden.any(name).1);
    for (i, (a, b)) in a.chunks(3 * 20 * 24).zip(b.chunks(3 * 20 * 24)).enumerate() {
        check("ssim", quality::ssim(a, b, [3, 20, 24]).unwrap(), i);
        check("psnr", quality::psnr(a, b), i);
    }
}

/// The drawn digits are no MNIST, and it knows most of them.
#[test]
fn the_built_in_classifier_knows_digits() {
    let device = Device::Cpu(Cpu::Accelerated);
    let mut judge = Judge::open(None, "digits", [1, 28, 28], &device).unwrap();
    assert_eq!(judge.prefix, "mnist-");
    let table = digits::split(1, 200);
    let found = judge.features(&table.values(0..200)).unwrap();
    assert_eq!((found.count(), found.width, found.classes), (200, 64, 10));
    let classes = found.probabilities.chunks(10).map(largest);
    let right = classes.zip(table.labels().unwrap()).filter(|&(class, &label)| class == usize::from(label)).count();
    assert!(right > 150, "{right} of 200");
    let message = Judge::open(None, "fashion-mnist", [1, 28, 28], &device).err().unwrap().to_string();
    assert!(message.contains("the built-in classifier is of digits") && message.contains("--judge"), "{message}");
}

/// The weights are numbers by a formula, the same as `record_inception.py` has them.
#[test]
fn inception_has_the_features_of_pytorch_fid() {
    let golden = Golden::read("inception");
    let mut file = Checkpoint::default();
    // The bias of the classes counts in the order of the names, and is not needed.
    let names: BTreeSet<String> = inception::tensors().into_keys().chain(["fc.bias".to_string()]).collect();
    for (name, shape) in inception::tensors() {
        let stream = names.iter().position(|known| *known == name).unwrap();
        let count: usize = shape.iter().product();
        let bound = (6.0 * shape[0] as f64 / count as f64).sqrt();
        let value = |unit: f64| match name.rsplit_once('.').unwrap() {
            (_, "running_var") => 0.5 + unit,
            (layer, "weight") if layer.ends_with(".bn") => 1.0 + 0.2 * (unit - 0.5),
            _ if shape.len() > 1 => bound * (2.0 * unit - 1.0),
            _ => 0.2 * (unit - 0.5),
        };
        let values = (0..count).map(|i| value(unit(stream, i)) as f32).collect();
        file.tensors.insert(name, (shape, values));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    file.write(&path).unwrap();

    let device = Device::Cpu(Cpu::Accelerated);
    let mut judge = Judge::inception(&path, [3, 40, 36], &device).unwrap();
    let found = judge.features(golden.tensor("pictures", &[2, 3, 40, 36])).unwrap();
    assert_eq!((judge.prefix.as_str(), found.count(), found.width, found.classes), ("", 2, 2048, 1008));
    let wanted = golden.tensor("features", &[2, 2048]);
    let largest = wanted.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    for (i, (found, wanted)) in found.features.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() <= 1e-4 * largest, "feature {i}: {found} and not {wanted}");
    }

    file.tensors.remove("Mixed_6a.branch3x3.conv.weight");
    file.write(&path).unwrap();
    let message = Judge::inception(&path, [3, 40, 36], &device).err().unwrap().to_string();
    assert!(message.contains("has no tensor Mixed_6a.branch3x3.conv.weight [384, 288, 3, 3]"), "{message}");
}
