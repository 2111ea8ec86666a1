//! Using a trained model: encode pictures, decode latent points, take the loss on a data set.

use std::path::{Path, PathBuf};

use crate::arena::Arena;
use crate::backend::{Backend, Device, Loaded};
use crate::data::Split;
use crate::error::{Error, Result};
use crate::kernels::gaussian_kl::divergence;
use crate::layers::Mode;
use crate::models::vae::Vae;
use crate::program::Recorder;
use crate::tensor::Tensor;
use crate::train::checkpoint::{Checkpoint, ModelCard};
use crate::train::programs::{Evaluation, Latent};
use crate::train::trainer::Means;

/// Rows a replay encodes or decodes. More go through in chunks of it; the last one is filled up with zeros.
const CHUNK: usize = 256;
/// The most values of a chunk's pictures; of larger pictures a chunk has fewer.
const CHUNK_VALUES: usize = 1 << 24;

/// Rows of a chunk of pictures of `input` values.
fn chunk(input: usize) -> usize {
    (CHUNK_VALUES / input).clamp(1, CHUNK)
}

/// A model file opened on a device.
pub struct Trained {
    /// The model file.
    pub path: PathBuf,
    /// What the file says of the model: configuration, data set, epochs trained.
    pub card: ModelCard,
    device: Device,
    checkpoint: Checkpoint,
    backend: Backend,
    encoder: Stage,
    decoder: Stage,
}

/// A program from one tensor of a chunk's rows to others.
struct Stage {
    program: Loaded,
    input: Tensor,
    outputs: Vec<Tensor>,
}

/// The model file that `path` means: itself, or in a run folder `model.safetensors`, or `best.safetensors` if `best`.
///
/// Errors: nothing there; a folder without that file.
pub fn model_file(path: &Path, best: bool) -> Result<PathBuf> {
    let shown = path.display();
    if !path.exists() {
        return Err(Error::Usage(format!("there is no {shown}: give a run folder or a .safetensors file")));
    }
    if !path.is_dir() {
        return if best {
            Err(Error::Usage(format!("--best chooses a file of a run folder, and {shown} is a file")))
        } else {
            Ok(path.to_path_buf())
        };
    }
    let name = if best { "best.safetensors" } else { "model.safetensors" };
    let file = path.join(name);
    if file.is_file() {
        return Ok(file);
    }
    Err(Error::Usage(format!("{shown} holds no {name}: it is no run folder, or its first epoch has not ended")))
}

impl Trained {
    /// Opens a run folder's last model, or a model file: one of this program, or a PyTorch `state_dict` of the VAE of
    /// pytorch/examples saved as safetensors.
    ///
    /// Errors: those of [`model_file`] and [`Checkpoint::read`]; parameters that are not the model's; no room on the
    /// device.
    pub fn open(path: &Path, device: &Device) -> Result<Trained> {
        let path = model_file(path, false)?;
        let checkpoint = Checkpoint::read(&path)?;
        let card = checkpoint.card(&path)?;
        let arena = &mut Arena::new();
        let model = Vae::new(arena, &card.config);
        // Before anything of the sizes that the card claims is allocated.
        checkpoint.check_model(arena, &path)?;

        let chunk = chunk(card.config.input());
        let mut r = Recorder::new(arena);
        r.scope("encode");
        let x = r.tensor("x", &[chunk, card.config.input()]);
        let q = model.encode(&mut r, x, Mode::Evaluate);
        let encode = r.finish("encode");
        let mut r = Recorder::new(arena);
        r.scope("decode");
        let z = r.tensor("z", &[chunk, card.config.latent]);
        let pictures = model.generate(&mut r, z);
        let decode = r.finish("decode");

        let mut backend = device.backend();
        let encoder = Stage { program: backend.load(arena, &encode)?, input: x, outputs: vec![q.mean, q.logvar] };
        let decoder = Stage { program: backend.load(arena, &decode)?, input: z, outputs: vec![pictures] };
        checkpoint.load_model(arena, &mut backend, &path)?;
        Ok(Trained { path, card, device: device.clone(), checkpoint, backend, encoder, decoder })
    }

    /// What was done to the model file as it was read, for the user.
    pub fn notices(&self) -> &[String] {
        &self.checkpoint.notices
    }

    /// Mean and logvar of q(z|x), (N,Z) each, of pictures (N,D) with values in `[0,1]`.
    ///
    /// Errors: those of the device. Panics where `pixels` is not whole pictures.
    pub fn encode(&mut self, pixels: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let outputs = self.encoder.run(&mut self.backend, pixels)?;
        let [mean, logvar] = outputs.try_into().unwrap_or_else(|_| unreachable!("the encoder has two outputs"));
        Ok((mean, logvar))
    }

    /// [`encode`](Trained::encode) of all pictures of a split, without holding all of them as f32. Errors are its.
    pub fn encode_split(&mut self, split: &Split) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut mean, mut logvar) = (Vec::new(), Vec::new());
        let chunk = chunk(self.card.config.input());
        for start in (0..split.count).step_by(chunk) {
            let (m, v) = self.encode(&split.values(start..(start + chunk).min(split.count)))?;
            mean.extend(m);
            logvar.extend(v);
        }
        Ok((mean, logvar))
    }

    /// Means of p(x|z), (N,D), of latent points (N,Z): the pictures to look at.
    ///
    /// Errors: those of the device. Panics where `z` is not whole points.
    pub fn decode(&mut self, z: &[f32]) -> Result<Vec<f32>> {
        Ok(self.decoder.run(&mut self.backend, z)?.remove(0))
    }

    /// The loss on a split, as the trainer takes it but with a KL weight of 1: -ELBO in nats for [`Latent::Sampled`],
    /// where the output is a likelihood. One z is drawn for each picture; seed and batch size decide which. With those
    /// of a run, the loss of its first epoch's model is the one in the run's metrics.
    ///
    /// Errors: no room on the device; a loss that is not finite, because the parameters are too large to compute with.
    pub fn evaluate(&self, split: &Split, latent: Latent, seed: u64, batch_size: usize) -> Result<Means> {
        let arena = &mut Arena::new();
        let model = Vae::new(arena, &self.card.config);
        let mut backend = self.device.backend();
        let largest_part = backend.largest_binding();
        let evaluation = Evaluation::new(arena, &mut backend, &model, split, batch_size, latent, largest_part)?;
        self.checkpoint.load_model(arena, &mut backend, &self.path)?;
        evaluation.write_clock(&mut backend, seed, 0, 1.0);
        backend.run(&evaluation.plan())?;
        let means = Means::of(&backend.read_one(evaluation.data.losses)?);
        if means.loss.is_finite() {
            return Ok(means);
        }
        Err(Error::file(&self.path, format!("its loss is {}: this model cannot be used", means.loss)))
    }
}

impl Stage {
    /// The outputs for `rows`, as many rows each as that has.
    fn run(&self, backend: &mut Backend, rows: &[f32]) -> Result<Vec<Vec<f32>>> {
        let [chunk, width] = self.input.matrix();
        assert!(rows.len().is_multiple_of(width), "{} values are no rows of {width}", rows.len());
        let mut results = vec![Vec::new(); self.outputs.len()];
        for rows in rows.chunks(chunk * width) {
            let mut input = rows.to_vec();
            input.resize(self.input.len(), 0.0);
            backend.write(self.input, &input);
            backend.run(&[(self.program, 1)])?;
            for (result, (values, output)) in
                results.iter_mut().zip(backend.read(&self.outputs)?.iter().zip(&self.outputs))
            {
                result.extend(&values[..rows.len() / width * output.matrix()[1]]);
            }
        }
        Ok(results)
    }
}

/// KL(q(z|x) || N(0,1)) of each latent dimension in nats, averaged over N encodings: `mean` and `logvar` are (N,Z).
pub fn kl_by_dimension(mean: &[f32], logvar: &[f32], latent: usize) -> Vec<f64> {
    let mut sums = vec![0.0; latent];
    for (m, v) in mean.chunks(latent).zip(logvar.chunks(latent)) {
        for (sum, (&m, &v)) in sums.iter_mut().zip(m.iter().zip(v)) {
            *sum += divergence(f64::from(m), f64::from(v));
        }
    }
    let count = (mean.len() / latent) as f64;
    sums.into_iter().map(|sum| sum / count).collect()
}

#[cfg(test)]
mod tests {
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
        let (mean, logvar) = model.encode_split(&split).unwrap();
        assert_eq!((mean.len(), logvar.len()), (3 * split.count, 3 * split.count));
        assert_eq!(model.encode(&split.values(0..split.count)).unwrap(), (mean.clone(), logvar.clone()));
        let pictures = model.decode(&mean).unwrap();
        assert_eq!(pictures, model.decode(&mean).unwrap(), "a second pass gives the same bits");
        let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        for i in [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 2] {
            let (m, v) = model.encode(&split.values(i..i + 1)).unwrap();
            assert!(close(&m, &mean[3 * i..3 * i + 3]) && close(&v, &logvar[3 * i..3 * i + 3]), "picture {i}");
            assert!(close(&model.decode(&m).unwrap(), &pictures[784 * i..784 * (i + 1)]), "point {i}");
        }
        assert!(!close(&mean[..3], &mean[3..6]), "the pictures differ");
        assert!(pictures.iter().all(|p| (0.0..=1.0).contains(p)));
        assert!(model.decode(&[]).unwrap().is_empty());
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
        let (mean, logvar) = model.encode_split(&split).unwrap();
        let kl: f64 = kl_by_dimension(&mean, &logvar, 3).iter().sum();
        assert!((kl - at_mean.kl).abs() < 1e-5 * kl, "{kl} {}", at_mean.kl);
        let pixels = split.values(0..split.count);
        let log_p = |(p, x): (f32, f32)| f64::from(x * p.ln() + (1.0 - x) * (1.0 - p).ln());
        let recon = -model.decode(&mean).unwrap().into_iter().zip(pixels).map(log_p).sum::<f64>() / 100.0;
        assert!((recon - at_mean.recon).abs() < 1e-4 * recon, "{recon} {}", at_mean.recon);
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
        assert_eq!(Trained::open(root, &DEVICE).unwrap().card.config.latent, 3);
    }

    #[test]
    fn kl_by_dimension_is_the_closed_form_and_its_mean() {
        // Of N(2,1): 2 nats; of N(0,e): (e - 2)/2; of N(0,1): 0.
        let kl = kl_by_dimension(&[2.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 0.0, 0.0], 2);
        assert_eq!(kl[0], 1.0);
        assert!((kl[1] - (std::f64::consts::E - 2.0) / 4.0).abs() < 1e-12);
    }
}
