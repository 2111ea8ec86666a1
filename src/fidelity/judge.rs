//! The classifier whose features hold pictures against each other: one that this program trained, or Inception v3 with
//! the user's weights.

use std::path::Path;

use super::{Features, Inception};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::inference::Trained;
use crate::train::checkpoint::Checkpoint;

/// What `elbo train digits-classifier --seed 1` on MNIST left: an error of 0.52 % on its test pictures.
const DIGITS: &[u8] = include_bytes!("digits-classifier.safetensors");
/// Data sets of digits of 28 x 28 pixels, which the built-in classifier knows.
const OF_DIGITS: [&str; 3] = ["mnist", "binarized-mnist", "digits"];

/// A classifier, and what stands in front of the names of its metrics, as in `mnist-fid`.
pub struct Judge {
    of: Of,
    /// Nothing of Inception v3, which the published numbers are of.
    pub prefix: String,
}

enum Of {
    Classifier(Box<Trained>),
    /// With (C,H,W) of the pictures.
    Inception(Box<Inception>, [usize; 3]),
}

impl Judge {
    /// The built-in classifier of digits, or that of a run folder or model file.
    ///
    /// `dataset` and `shape` (C,H,W) are of the pictures to be judged. Errors: no file, and pictures that are no
    /// digits; a file that is no classifier, or one of other pictures.
    pub fn open(file: Option<&Path>, dataset: &str, shape: [usize; 3], device: &Device) -> Result<Judge> {
        let Some(file) = file else {
            if shape != [1, 28, 28] || !OF_DIGITS.contains(&dataset) {
                return Err(Error::Usage(format!(
                    "the built-in classifier is of digits, and the pictures are {dataset}: train one of them by `elbo \
                     train digits-classifier --dataset NAME` or `elbo train cifar-classifier`, and name its run by \
                     --judge RUN"
                )));
            }
            let path = Path::new("src/fidelity/digits-classifier.safetensors");
            let classifier = Trained::of(Checkpoint::parse(DIGITS, path)?, path.into(), device)?;
            return Ok(Judge::of(classifier));
        };
        let classifier = Trained::open(file, device)?;
        if classifier.find_view("features").is_err() {
            let problem = format!("a model of the kind {}, and no classifier", classifier.card.model);
            return Err(Error::Usage(format!("--judge: {} is {problem}", file.display())));
        }
        let own = classifier.card.picture()?;
        if own != shape {
            let [[c, h, w], [own_c, own_h, own_w]] = [shape, own];
            return Err(Error::Usage(format!(
                "{} judges pictures of {own_c}x{own_h}x{own_w} (channels, height, width), and these are {c}x{h}x{w}",
                file.display()
            )));
        }
        Ok(Judge::of(classifier))
    }

    fn of(classifier: Trained) -> Judge {
        let prefix = format!("{}-", classifier.card.dataset);
        Judge { of: Of::Classifier(Box::new(classifier)), prefix }
    }

    /// Inception v3 with the weights of a file, for pictures of this (C,H,W). Its errors are those of
    /// [`Inception::open`].
    pub fn inception(file: &Path, shape: [usize; 3], device: &Device) -> Result<Judge> {
        Ok(Judge { of: Of::Inception(Box::new(Inception::open(file, device)?), shape), prefix: String::new() })
    }

    /// Features and classes of pictures (N,D) with values in `[0,1]`. Errors: those of the device.
    pub fn features(&mut self, pictures: &[f32]) -> Result<Features> {
        match &mut self.of {
            Of::Inception(network, shape) => network.judge(pictures, *shape),
            Of::Classifier(model) => {
                let width = |view: &str, port: &str| -> Result<usize> {
                    Ok(model.find_view(view)?.output(port).map_or(0, |kind| kind.width()))
                };
                let [width, classes] = [width("features", "features")?, width("classify", "label")?];
                let features = model.view("features", &[("x", pictures)], 0)?.remove(0);
                let probabilities = model.view("classify", &[("x", pictures)], 0)?.remove(0);
                Ok(Features { features, width, probabilities, classes })
            }
        }
    }
}
