//! A `state_dict` that PyTorch saved must give here the numbers it gives there.

use std::path::PathBuf;

use elbo::backend::{Device, cpu::Cpu};
use elbo::data::Split;
use elbo::inference::Trained;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::programs::Latent;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    // 784 products of about 0.1: the rounding of f32 is some 1e-6.
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{what}: differs by {worst:e}");
}

#[test]
fn a_pytorch_state_dict_encodes_decodes_and_evaluates_as_in_pytorch() {
    let path = golden("pytorch_vae_expected.safetensors");
    let expected = Checkpoint::read(&path).unwrap();
    let tensor = |name: &str, shape: &[usize]| expected.tensor(name, shape, &path).unwrap();
    let x = tensor("x", &[3, 784]);

    for cpu in [Cpu::Accelerated, Cpu::Reference] {
        let mut model = Trained::open(&golden("pytorch_vae.safetensors"), &Device::Cpu(cpu)).unwrap();
        assert_eq!((model.card.config.hidden.as_slice(), model.card.config.latent), ([16].as_slice(), 4));
        assert_eq!(model.card.config.shape, [1, 28, 28]);
        let (mean, logvar) = model.encode(x).unwrap();
        assert_close("mean", &mean, tensor("mean", &[3, 4]));
        assert_close("logvar", &logvar, tensor("logvar", &[3, 4]));
        assert_close("decoded", &model.decode(tensor("mean", &[3, 4])).unwrap(), tensor("decoded", &[3, 784]));

        let pixels = x.iter().map(|value| (value * 255.0).round() as u8).collect();
        let split = Split { pixels, count: 3, shape: [1, 28, 28], labels: None };
        let means = model.evaluate(&split, Latent::Mean, 1, 2).unwrap();
        for (what, got, want) in [("recon", means.recon, tensor("recon", &[3])), ("kl", means.kl, tensor("kl", &[3]))] {
            let want = want.iter().map(|&v| f64::from(v)).sum::<f64>() / 3.0;
            assert!((got - want).abs() < 1e-5 * want, "{what}: {got} here, {want} in PyTorch");
        }
        assert_eq!(means.loss, means.recon + means.kl);
    }
}
