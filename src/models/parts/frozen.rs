//! A trained model within another, which nothing trains any more: M1 under M2, the VQ-VAE under a prior of its codes.
//!
//! Its numbers are constants of the model around it, among that one's statistics: checkpoints keep them, and the file
//! that they come from is read once, when training starts.

use std::path::{Path, PathBuf};

use crate::arena::{Arena, Statistic};
use crate::error::{Error, Result};
use crate::inference::model_file;
use crate::tensor::Tensor;
use crate::train::checkpoint::{Checkpoint, ModelCard};

/// The constants of a trained model.
pub struct Frozen {
    /// What their names begin with, before the names in the model's own file.
    prefix: &'static str,
    constants: Vec<Statistic>,
}

impl Frozen {
    /// What `declare` declares, as constants whose names begin with the prefix.
    pub fn declare<T>(arena: &mut Arena, prefix: &'static str, declare: impl FnOnce(&mut Arena) -> T) -> (T, Frozen) {
        let before = arena.statistics().len();
        let declared = arena.frozen(prefix, declare);
        (declared, Frozen { prefix, constants: arena.statistics()[before..].to_vec() })
    }

    /// The constants' values, in the device's order. Errors: the file lacks one, or has it in another shape.
    pub fn values(&self, checkpoint: &Checkpoint, path: &Path) -> Result<Vec<(Tensor, Vec<f32>)>> {
        let value = |s: &Statistic| {
            let values = checkpoint.tensor(&s.name[self.prefix.len()..], &s.file_shape(), path)?;
            Ok((s.value, s.layout.from_file(values, s.value.shape())))
        };
        self.constants.iter().map(value).collect()
    }
}

/// The trained model that a setting names, a run folder or a model file: its file, what that holds, and its card.
/// `kind` is what it must be, `preset` one that trains such a model. Errors: no file is named or there, or it is no model.
pub fn open([key, kind, preset]: [&str; 3], file: &Option<PathBuf>) -> Result<(PathBuf, Checkpoint, ModelCard)> {
    let ask = format!("`elbo train {preset}` makes one, --set {key}=RUN names its run folder");
    let Some(file) = file else {
        return Err(Error::Usage(format!("the model needs {key}, a trained {kind}: {ask}")));
    };
    if !file.exists() {
        return Err(Error::Usage(format!("{key}: there is no {}, a trained {kind}: {ask}", file.display())));
    }
    let path = model_file(file, false)?;
    let checkpoint = Checkpoint::read(&path)?;
    let card = checkpoint.card(&path)?;
    Ok((path, checkpoint, card))
}
