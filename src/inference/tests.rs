use super::scores::Score;
use super::stages::CHUNK;
use super::*;
use crate::backend::cpu::Cpu;
use crate::data::digits;

const DEVICE: Device = Device::Cpu(Cpu::Accelerated);

/// A PyTorch-like file of a 784-5-3 model without a card, its values small and all different.
fn write_model(path: &Path, change: impl FnOnce(&mut Checkpoint)) {
    let mut checkpoint = Checkpoint::default();
    let shapes: [(&str, &[usize]); 10] = [
        ("fc1.weight", &[5, 784]),
        ("fc1.bias", &[5]),
        ("fc21.weight", &[3, 5]),
        ("fc21.bias", &[3]),
        ("fc22.weight", &[3, 5]),
        ("fc22.bias", &[3]),
        ("fc3.weight", &[5, 3]),
        ("fc3.bias", &[5]),
        ("fc4.weight", &[784, 5]),
        ("fc4.bias", &[784]),
    ];
    for (i, (name, shape)) in shapes.into_iter().enumerate() {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|j| ((i * 31 + j * 17) % 101) as f32 / 500.0 - 0.1).collect();
        checkpoint.tensors.insert(name.into(), (shape.to_vec(), values));
    }
    change(&mut checkpoint);
    checkpoint.write(path).unwrap();
}

fn open(change: impl FnOnce(&mut Checkpoint)) -> Result<Trained> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    write_model(&path, change);
    Trained::open(&path, &DEVICE)
}

#[test]
fn chunks_give_the_numbers_of_each_row_alone() {
    let mut model = open(|_| ()).unwrap();
    let split = digits::split(7, 2 * CHUNK + 3);
    let [mean, logvar] = model.encode_split(&split).unwrap();
    assert_eq!((mean.len(), logvar.len()), (3 * split.count, 3 * split.count));
    assert_eq!(model.encode(&split.values(0..split.count), None).unwrap(), [mean.clone(), logvar.clone()]);
    let pictures = model.decode(&mean, None).unwrap();
    assert_eq!(pictures, model.decode(&mean, None).unwrap(), "a second pass gives the same bits");
    let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    for i in [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 2] {
        let [m, v] = model.encode(&split.values(i..i + 1), None).unwrap();
        assert!(close(&m, &mean[3 * i..3 * i + 3]) && close(&v, &logvar[3 * i..3 * i + 3]), "picture {i}");
        assert!(close(&model.decode(&m, None).unwrap(), &pictures[784 * i..784 * (i + 1)]), "point {i}");
    }
    assert!(!close(&mean[..3], &mean[3..6]), "the pictures differ");
    assert!(pictures.iter().all(|p| (0.0..=1.0).contains(p)));
    assert!(model.decode(&[], None).unwrap().is_empty());
}

#[test]
fn the_loss_depends_on_the_seed_alone_and_its_kl_is_that_of_the_encodings() {
    let mut model = open(|_| ()).unwrap();
    let split = digits::split(7, 100);
    let loss = |seed, batch| model.evaluate(&split, Latent::Sampled, seed, batch).unwrap().loss;
    assert_eq!(loss(1, 32), loss(1, 32));
    assert_ne!(loss(1, 32), loss(2, 32));
    assert!((loss(1, 32) - loss(2, 1000)).abs() < 0.5, "{} {}", loss(1, 32), loss(2, 1000));
    let at_mean = model.evaluate(&split, Latent::Mean, 1, 32).unwrap();
    assert_eq!(at_mean.loss, model.evaluate(&split, Latent::Mean, 2, 32).unwrap().loss);

    // Recomputed from encode and decode, by the definitions.
    let [mean, logvar] = model.encode_split(&split).unwrap();
    let kl: f64 = kl_by_dimension(&mean, &logvar, 3).iter().sum();
    assert!((kl - at_mean.terms[1]).abs() < 1e-5 * kl, "{kl} {at_mean:?}");
    let pixels = split.values(0..split.count);
    let log_p = |(p, x): (f32, f32)| f64::from(x * p.ln() + (1.0 - x) * (1.0 - p).ln());
    let recon = -model.decode(&mean, None).unwrap().into_iter().zip(pixels).map(log_p).sum::<f64>() / 100.0;
    assert!((recon - at_mean.terms[0]).abs() < 1e-4 * recon, "{recon} {at_mean:?}");
}

#[test]
fn parameters_of_another_model_are_refused_by_name() {
    let problem = |change: fn(&mut Checkpoint)| open(change).err().expect("it is refused").to_string();
    let message = problem(|c| drop(c.tensors.remove("fc22.bias")));
    assert!(message.contains("has no tensor fc22.bias [3]"), "{message}");
    let message = problem(|c| c.tensors.get_mut("fc3.weight").unwrap().0 = vec![3, 5]);
    assert!(message.contains("fc3.weight has shape [3, 5], the model needs [5, 3]"), "{message}");
    let message = problem(|c| drop(c.tensors.insert("fc5.bias".into(), (vec![1], vec![0.0]))));
    assert!(message.contains("holds fc5.bias"), "{message}");
    let message = problem(|c| c.tensors.get_mut("fc1.bias").unwrap().1[0] = f32::INFINITY);
    assert!(message.contains("fc1.bias[0] is inf"), "{message}");
}

#[test]
fn a_loss_that_is_not_finite_is_an_error() {
    let model = open(|c| c.tensors.get_mut("fc22.bias").unwrap().1.fill(1e4)).unwrap();
    let message = model.evaluate(&digits::split(7, 8), Latent::Sampled, 1, 8).err().unwrap().to_string();
    assert!(message.contains("m.safetensors: its loss is"), "{message}");
}

#[test]
fn chunks_of_large_pictures_are_small() {
    assert_eq!([1, 784, 12_288, 1 << 16].map(chunk), [CHUNK; 4]);
    assert_eq!([3 * 600 * 600, 1 << 26].map(chunk), [15, 1]);
}

#[test]
fn a_path_means_a_file_or_the_model_of_a_run_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let problem = |path: &Path, best| model_file(path, best).unwrap_err().to_string();
    assert!(problem(&root.join("nothing"), false).contains("there is no "));
    assert!(problem(root, false).contains("holds no model.safetensors"));
    write_model(&root.join("model.safetensors"), |_| ());
    assert_eq!(model_file(root, false).unwrap(), root.join("model.safetensors"));
    assert!(problem(root, true).contains("holds no best.safetensors"));
    assert!(problem(&root.join("model.safetensors"), true).contains("is a file"));
    assert_eq!(Trained::open(root, &DEVICE).unwrap().latent().unwrap(), 3);
}

#[test]
fn a_bound_is_tighter_than_the_elbo_which_is_that_of_an_evaluation() {
    let mut model = open(|_| ()).unwrap();
    let split = digits::split(7, CHUNK + 44);
    let scores = model.scores(&split, 16, 1, &mut |_| ()).unwrap();
    assert_eq!(scores, model.scores(&split, 16, 1, &mut |_| ()).unwrap(), "the seed decides");
    let mean = |score: Score| {
        let values = scores.of(score).unwrap();
        assert_eq!(values.len(), split.count);
        values.iter().sum::<f64>() / values.len() as f64
    };
    let [error, probability, elbo, bound] = Score::ALL.map(mean);
    let [mean, logvar] = model.encode_split(&split).unwrap();
    let kl = kl_by_row(&mean, &logvar, 3).iter().sum::<f64>() / split.count as f64;
    assert!((elbo - probability - kl).abs() < 1e-9 && error > 0.0);
    let evaluated = model.evaluate(&split, Latent::Sampled, 1, 50).unwrap().loss;
    assert!((elbo - evaluated).abs() < 1e-3 * evaluated, "{elbo} {evaluated}");
    // By Jensen, and the more samples the tighter.
    let more = model.scores(&split, 128, 1, &mut |_| ()).unwrap();
    let tighter = more.of(Score::Bound).unwrap().iter().sum::<f64>() / split.count as f64;
    assert!(tighter < bound && bound < elbo, "{tighter} {bound} {elbo}");
    assert!(model.scores(&split, 0, 1, &mut |_| ()).unwrap_err().to_string().contains("at least 1 sample"));
}

#[test]
fn kl_by_dimension_is_the_closed_form_and_its_mean() {
    // Of N(2,1): 2 nats; of N(0,e): (e - 2)/2; of N(0,1): 0.
    let kl = kl_by_dimension(&[2.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 0.0, 0.0], 2);
    assert_eq!(kl[0], 1.0);
    assert!((kl[1] - (std::f64::consts::E - 2.0) / 4.0).abs() < 1e-12);
}
