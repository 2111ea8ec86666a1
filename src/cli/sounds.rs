//! The sounds of a model of recordings: pictures that become .wav files, and .wav files in the place of test pictures.

use std::path::{Path, PathBuf};

use elbo::data::Dataset;
use elbo::data::audio::{self, Reading, wav};
use elbo::error::Result;
use elbo::inference::Trained;
use elbo::messages::notice;
use rayon::prelude::*;

/// Writes sets of pictures (N,D) as sounds, `007_original.wav` for the eighth of the set `original`, or `007.wav` of a
/// set without a name. Errors: no model of recordings; those of the disk.
pub fn write(folder: &Path, model: &Trained, sets: &[(&str, &[f32])]) -> Result<()> {
    let spectrogram = model.spectrogram()?;
    let (size, rate) = (spectrogram.analysis.shape().iter().product(), spectrogram.analysis.sample_rate);
    for (name, pictures) in sets {
        let ending = if name.is_empty() { String::new() } else { format!("_{name}") };
        let written: Vec<Result<()>> = pictures
            .par_chunks_exact(size)
            .enumerate()
            .map(|(n, picture)| {
                wav::write(&folder.join(format!("{n:03}{ending}.wav")), &spectrogram.sound(picture), rate)
            })
            .collect();
        written.into_iter().collect::<Result<()>>()?;
    }
    let count: usize = sets.iter().map(|(_, pictures)| pictures.len() / size).sum();
    notice(&format!("wrote {}: {count} sounds of {rate} Hz, by Griffin-Lim", folder.display()));
    Ok(())
}

/// The recordings of these files as the model's test pictures. Errors: no model of recordings; a file that cannot be
/// read.
pub fn read(model: &Trained, files: &[String]) -> Result<Dataset> {
    let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    audio::of_files(&files, &Reading::of(model.spectrogram()?))
}
