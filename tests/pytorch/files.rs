//! A `state_dict` that PyTorch saved must give here the numbers it gives there, and a file of ours be one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use elbo::arena::Arena;
use elbo::backend::gpu::Options;
use elbo::backend::{Device, cpu::Cpu};
use elbo::data::table::{Columns, Table};
use elbo::data::{Dataset, digits};
use elbo::inference::Trained;
use elbo::models::vae;
use elbo::train::checkpoint;
use elbo::train::evaluation::Latent;
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::Settings;
use elbo::train::trainer::Trainer;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::common::golden::{Golden, initial_by_formula, unit};

const CPU: Device = Device::Cpu(Cpu::Accelerated);

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// 784 products of about 0.1: the rounding of f32 is some 1e-6.
const MLP: f32 = 1e-5;
/// Five layers of batch norm, whose small variances here multiply what rounding there is, behind sums of up to 4096
/// products.
const CONV: f32 = 5e-6;

#[track_caller]
fn assert_close(what: &str, got: &[f32], want: &[f32], bound: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(worst < bound, "{what}: differs by {worst:e}");
    assert!(got.iter().all(|g| g.is_finite()), "{what}");
}

/// The model does with three pictures what PyTorch recorded.
#[track_caller]
fn assert_same_numbers(model: &mut Trained, expected: &Golden, bound: f32) {
    let latent = model.latent().unwrap();
    let tensor = |name: &str, shape: &[usize]| expected.tensor(name, shape);
    let x = tensor("x", &[3, 784]);
    let [mean, logvar] = model.encode(x, None).unwrap();
    assert_close("mean", &mean, tensor("mean", &[3, latent]), bound);
    assert_close("logvar", &logvar, tensor("logvar", &[3, latent]), bound);
    let decoded = model.decode(tensor("mean", &[3, latent]), None).unwrap();
    assert_close("decoded", &decoded, tensor("decoded", &[3, 784]), bound);

    let pixels = x.iter().map(|value| (value * 255.0).round() as u8).collect();
    let split = Table::of_pictures([1, 28, 28], pixels, None);
    let means = model.evaluate(&split, Latent::Mean, 1, 2).unwrap();
    let &[recon, kl] = &means.terms[..] else { panic!("a VAE has two terms") };
    for (what, got, want) in [("recon", recon, tensor("recon", &[3])), ("kl", kl, tensor("kl", &[3]))] {
        let want = want.iter().map(|&v| f64::from(v)).sum::<f64>() / 3.0;
        assert!((got - want).abs() < 1e-5 * want, "{what}: {got} here, {want} in PyTorch");
    }
    // Means of sums and sums of means: rounding of f64 apart.
    assert!((means.loss - recon - kl).abs() < 1e-12 * means.loss.abs(), "{}", means.loss);
}

#[test]
fn a_pytorch_state_dict_encodes_decodes_and_evaluates_as_in_pytorch() {
    let expected = Golden::read("pytorch_vae_expected");
    for cpu in [Cpu::Accelerated, Cpu::Reference] {
        let mut model = Trained::open(&golden("pytorch_vae.safetensors"), &Device::Cpu(cpu)).unwrap();
        let config: vae::Config = model.card.settings.clone().try_into().unwrap();
        assert_eq!((model.card.model.as_str(), config.networks.hidden.as_slice()), ("vae", [16].as_slice()));
        assert_eq!((config.networks.latent, model.latent().unwrap()), (4, 4));
        assert_eq!(model.card.picture().unwrap(), [1, 28, 28]);
        assert_same_numbers(&mut model, &expected, MLP);
    }
}

// ---- The article's convolutional network

/// The `state_dict` of the network of preset mnist-conv, as PyTorch lists it.
const CONVOLUTIONS: [(&str, &[usize], usize); 7] = [
    ("encoder.0", &[16, 1, 4, 4], 16),
    ("encoder.1", &[32, 16, 4, 4], 32),
    ("encoder.2", &[64, 32, 4, 4], 64),
    ("decoder.0", &[32, 256, 3, 3], 256),
    ("decoder.1", &[256, 128, 4, 4], 128),
    ("decoder.2", &[128, 64, 3, 3], 64),
    ("decoder.3", &[64, 1, 4, 4], 1),
];

/// A file's tensors: name to dtype, shape and bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Name to dtype and shape.
fn article() -> BTreeMap<String, (Dtype, Vec<usize>)> {
    let mut all = BTreeMap::new();
    for (block, weight, channels) in CONVOLUTIONS {
        let mut put =
            |name: &str, dtype, shape: &[usize]| all.insert(format!("{block}.{name}"), (dtype, shape.to_vec()));
        put("0.weight", Dtype::F32, weight);
        put("0.bias", Dtype::F32, &[channels]);
        if block != "encoder.2" && block != "decoder.3" {
            for name in ["1.weight", "1.bias", "1.running_mean", "1.running_var"] {
                put(name, Dtype::F32, &[channels]);
            }
            put("1.num_batches_tracked", Dtype::I64, &[]);
        }
    }
    all
}

fn article_settings() -> Settings {
    Settings::of_preset("mnist-conv").unwrap()
}

fn article_columns() -> Columns {
    Columns::of_pictures([1, 28, 28], 0)
}

/// The bytes of each tensor of the file whose numbers `pytorch_conv_vae_expected` has.
fn state_dict() -> Tensors {
    let arena = &mut Arena::new();
    (vae::ENTRY.open)(arena, &article_settings().own, &article_columns()).unwrap();
    let mut values = initial_by_formula(arena);
    let first = values.len();
    for (stream, statistic) in arena.statistics().iter().enumerate() {
        let (low, width) = match statistic.name.rsplit('.').next() {
            Some("running_mean") => (-0.05, 0.1),
            Some("running_var") => (0.02, 0.04),
            _ => continue,
        };
        let value = |i| (low + width * unit(first + stream, i)) as f32;
        values.insert(statistic.name.clone(), (0..statistic.value.len()).map(value).collect());
    }
    let tensor = |(name, (dtype, shape)): (String, (Dtype, Vec<usize>))| {
        let bytes = match dtype {
            Dtype::I64 => 7i64.to_le_bytes().to_vec(),
            _ => values[&name].iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        (name, (dtype, shape, bytes))
    };
    article().into_iter().map(tensor).collect()
}

/// As safetensors' own library for PyTorch writes it: no metadata but the format's.
fn save(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("the bytes fill the shape"))
    });
    let metadata = [("format".to_string(), "pt".to_string())].into();
    fs::write(path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

#[test]
fn the_articles_state_dict_is_known_by_its_names_and_gives_pytorchs_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("article.safetensors");
    save(&path, &state_dict());
    let expected = Golden::read("pytorch_conv_vae_expected");
    for device in std::iter::once(CPU).chain(crate::common::gpu(Options::default())) {
        let name = device.description();
        let mut model = Trained::open(&path, &device).unwrap();
        let card = (model.card.model.as_str(), &model.card.settings, &model.card.columns);
        assert_eq!(card, ("vae", &article_settings().own, &article_columns()), "{name}");
        assert_eq!((model.card.dataset.as_str(), model.card.epoch), ("unknown", 0), "{name}");
        assert_same_numbers(&mut model, &expected, CONV);
    }
}

#[test]
fn a_file_of_the_articles_network_that_is_not_whole_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("article.safetensors");
    let problem = || Trained::open(&path, &CPU).err().expect("it is refused").to_string();
    save(&path, &state_dict());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, b"").unwrap();
    assert!(problem().contains("article.safetensors: not a safetensors file: the file is empty"), "{}", problem());
    for length in [7, 8, 1000, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(problem().contains("article.safetensors: not a whole safetensors file"), "{length}: {}", problem());
    }
    let refused = |change: &dyn Fn(&mut Tensors), words: &[&str]| {
        let mut tensors = state_dict();
        change(&mut tensors);
        save(&path, &tensors);
        let message = problem();
        assert!(words.iter().all(|word| message.contains(word)), "{words:?} in {message}");
    };
    // The same number of elements, as the device orders them.
    let turned = &["encoder.1.0.weight has shape [32, 4, 4, 16], the model needs [32, 16, 4, 4]"];
    refused(&|t| t.get_mut("encoder.1.0.weight").unwrap().1 = vec![32, 4, 4, 16], turned);
    let count = "decoder.0.1.num_batches_tracked";
    refused(&|t| t.get_mut(count).unwrap().1 = vec![1], &[count, "has shape [1], the model needs []"]);
    refused(&|t| drop(t.remove(count)), &["has no tensor", count]);
    refused(&|t| t.get_mut(count).unwrap().0 = Dtype::U64, &[count, "U64"]);
    refused(&|t| drop(t.remove("encoder.0.1.running_var")), &["has no tensor encoder.0.1.running_var [16]"]);
    let more = (Dtype::F32, vec![1], vec![0; 4]);
    refused(&|t| drop(t.insert("decoder.4.0.bias".into(), more.clone())), &["holds decoder.4.0.bias"]);
    let nan = f32::NAN.to_le_bytes();
    let poison = |t: &mut Tensors| {
        t.get_mut("encoder.0.1.running_var").unwrap().2[8..12].copy_from_slice(&nan);
    };
    refused(&poison, &["encoder.0.1.running_var[2] is NaN"]);
}

/// What a trained model's file holds, read by safetensors' own library.
#[test]
fn a_model_file_is_the_articles_state_dict() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path().join("run")).unwrap();
    let settings = article_settings().with("epochs = 1\nbatch_size = 4\nsamples = 1").unwrap();
    let (train, test) = (digits::split(0, 10), digits::split(1, 3));
    let data = Dataset { name: "digits".into(), class_names: vec![], vocabulary: None, spectrogram: None, train, test };
    let mut trainer = Trainer::new(settings, data.clone(), &CPU, run.clone(), false).unwrap();
    trainer.train(&AtomicBool::new(false), &mut |_| ()).unwrap();

    let bytes = fs::read(run.model()).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Tensors = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        .collect();
    let kinds: BTreeMap<_, _> =
        tensors.iter().map(|(name, (dtype, shape, _))| (name.clone(), (*dtype, shape.clone()))).collect();
    assert_eq!(kinds, article());
    // Batches of 4, 4 and 2.
    for (name, (dtype, _, bytes)) in &tensors {
        assert!(*dtype != Dtype::I64 || *bytes == 3i64.to_le_bytes(), "{name}: {bytes:?}");
    }

    // Without its card it is the file of a stranger, and the same model.
    let stranger = folder.path().join("stranger.safetensors");
    save(&stranger, &tensors);
    assert!(!String::from_utf8_lossy(&fs::read(&stranger).unwrap()).contains(checkpoint::MODEL));
    let pixels = data.test.values(0..3);
    let [ours, theirs] =
        [run.model(), stranger].map(|path| Trained::open(&path, &CPU).unwrap().encode(&pixels, None).unwrap());
    assert!(ours == theirs);
}
