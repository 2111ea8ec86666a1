//! `elbo animate`

use std::path::{Path, PathBuf};

use elbo::error::{Error, Result};
use elbo::picture::{Picture, save_gif_of};
use elbo::train::run_folder::RunFolder;

use super::shared::{evenly, wrote};

/// Of a longer run the epochs are taken at even distances. More frames would be a large file that nobody watches.
const MOST_FRAMES: usize = 100;
/// How long each epoch is shown unless the user says otherwise.
const MILLISECONDS: u32 = 300;

/// The pictures that a run leaves each epoch, by the name of their folder.
const SAMPLES: &str = "samples";
const RECONSTRUCTIONS: &str = "reconstructions";

#[derive(clap::Args)]
pub struct Args {
    /// A run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The GIF file to write [default: samples.gif or reconstructions.gif in the run folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long an epoch is shown, in milliseconds; the last one stays for two seconds
    #[arg(long, value_name = "N", default_value_t = MILLISECONDS, value_parser = clap::value_parser!(u32).range(20..=60_000))]
    milliseconds: u32,
    /// Show the reconstructions of test pictures instead of the samples
    #[arg(long)]
    reconstructions: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let folder = RunFolder::open(&self.run)?;
        let kind = if self.reconstructions { RECONSTRUCTIONS } else { SAMPLES };
        let pictures = folder.pictures(kind)?;
        if pictures.is_empty() {
            let none = format!("{} holds no {kind} to animate", folder.root().display());
            return Err(Error::Usage(format!("{none}: its first epoch has not ended, or it was trained to draw none")));
        }
        let out = self.out.unwrap_or_else(|| folder.animation(kind));
        let frames = write(&pictures, &out, self.milliseconds)?;
        wrote(&out, &format!("{frames} of {} epochs of {kind}, {} ms each", pictures.len(), self.milliseconds));
        Ok(())
    }
}

/// The animation of a run's samples, where it has any: what `elbo train` ends with.
pub fn samples(folder: &RunFolder) -> Result<Option<PathBuf>> {
    let pictures = folder.pictures(SAMPLES)?;
    if pictures.is_empty() {
        return Ok(None);
    }
    let out = folder.animation(SAMPLES);
    write(&pictures, &out, MILLISECONDS)?;
    Ok(Some(out))
}

/// Whether the animation that [`samples`] makes is there, and younger than every picture of its epochs; also where it
/// would make none.
pub fn is_up_to_date(folder: &RunFolder) -> Result<bool> {
    let pictures = folder.pictures(SAMPLES)?;
    let written = |path: &PathBuf| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let made = written(&folder.animation(SAMPLES));
    Ok(pictures.last().is_none_or(|last| made.is_some() && made >= written(last)))
}

/// Writes the pictures as a GIF and returns how many it shows.
fn write(pictures: &[PathBuf], out: &Path, milliseconds: u32) -> Result<usize> {
    let frames = chosen(pictures.len());
    let mut first = None;
    let frame = |i: usize| {
        let path = &pictures[frames[i]];
        let picture = Picture::read_png(path)?;
        let size = (picture.width, picture.height);
        let (width, height) = *first.get_or_insert(size);
        if size == (width, height) {
            return Ok(picture);
        }
        let before = format!("those before it {width}x{height}: an animation needs pictures of one size");
        Err(Error::file(path, format!("this picture is {}x{} pixels, {before}", size.0, size.1)))
    };
    save_gif_of(frames.len(), frame, out, milliseconds)?;
    Ok(frames.len())
}

/// Which of `count` pictures are shown: all, or as many as may be, the first and the last among them.
fn chosen(count: usize) -> Vec<usize> {
    let last = count.saturating_sub(1) as f32;
    evenly(0.0, last, count.min(MOST_FRAMES)).into_iter().map(|i| i.round() as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_show_even_steps_from_the_first_epoch_to_the_last() {
        assert_eq!(chosen(1), [0]);
        assert_eq!(chosen(MOST_FRAMES), (0..MOST_FRAMES).collect::<Vec<_>>());
        for count in [MOST_FRAMES + 1, 1000, 123_457] {
            let frames = chosen(count);
            assert_eq!((frames.len(), frames[0], frames[MOST_FRAMES - 1]), (MOST_FRAMES, 0, count - 1));
            let steps: Vec<usize> = frames.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (steps.iter().min().unwrap(), steps.iter().max().unwrap());
            assert!(*least >= 1 && most - least <= 1, "{count}: {least} to {most}");
        }
    }
}
