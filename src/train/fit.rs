//! What settings and a data set have to do with each other: defaults that shrink to what is there, and what can never
//! work, refused before the first step.

use super::given::Given;
use super::pictures;
use super::settings::{Run, Settings};
use crate::data::table::{Columns, LABELS};
use crate::data::{Binarise, Dataset, labelled};
use crate::error::{Error, Result};

/// The most values of a picture, channels x height x width: 2^26, those of a grey one of 8192 x 8192.
pub const LARGEST_PICTURE: usize = 1 << 26;

/// The settings that [`to_data`] may change, by whether the user gave them. What was given is refused where it does not
/// fit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    batch_size: bool,
    samples: bool,
}

impl Asked {
    /// What these say, from a file or a command line; the rest are defaults.
    pub fn of<'a>(given: impl IntoIterator<Item = &'a Given>) -> Asked {
        let add = |asked: Asked, o: &Given| Asked {
            batch_size: asked.batch_size || o.has("batch_size"),
            samples: asked.samples || o.has("samples"),
        };
        given.into_iter().fold(Asked::default(), add)
    }

    /// On a run that goes on. Its batch stays what it was, whoever chose it.
    pub fn resumed(cli: &Given) -> Asked {
        Asked { batch_size: true, ..Asked::of([cli]) }
    }
}

/// Shrinks defaults that are more than the data has, or than a picture holds, with a note for each.
pub fn to_data(settings: &mut Settings, asked: Asked, data: &Dataset) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let count = data.train.count;
    if settings.batch_size > count && !asked.batch_size {
        notes.push(format!(
            "note: {} has {count} training {}, fewer than a batch of {}: --batch-size is {count}",
            data.name,
            data.examples(),
            settings.batch_size
        ));
        settings.batch_size = count;
    }
    let Some([_, h, w]) = data.train.shape() else { return Ok(notes) };
    let fit = pictures::samples(settings.samples, [h, w], None).map_or(0, |fit| fit.count);
    if settings.samples > fit && !asked.samples {
        notes.push(format!(
            "note: {} samples of {h}x{w} pixels are more than a picture holds: --samples is {fit}",
            settings.samples
        ));
        settings.samples = fit;
    }
    Ok(notes)
}

/// That a run with these settings can work on this data. Errors: what cannot, by the name of its option.
pub fn check(settings: &Settings, data: &Dataset) -> Result<()> {
    let usage = |problem: String| Err(Error::Usage(problem));
    let Run { batch_size, shift, flip, .. } = settings.run;
    if batch_size > data.train.count {
        return usage(format!(
            "--batch-size {batch_size} is larger than the {} training {} of {}",
            data.train.count,
            data.examples(),
            data.name
        ));
    }
    if data.train.dims() > LARGEST_PICTURE {
        let columns = data.train.columns();
        return usage(format!(
            "{} has {}, {} values each, and a model takes at most {LARGEST_PICTURE}: of a folder, --image-size N makes \
             them smaller",
            data.name,
            Columns(columns.0.into_iter().filter(|(name, _)| name != LABELS).collect()),
            data.train.dims()
        ));
    }
    let model = settings.outline(&data.columns())?;
    if let Some(count) = settings.labels() {
        labelled::labels(&data.train, count, settings.seed, &data.name)?;
    }
    match data.train.shape() {
        Some([_, h, w]) => check_pictures(&settings.run, [h, w])?,
        None if shift > 0 || flip => {
            return usage(format!("--flip and --shift move pictures, and {} has none: leave them out", data.name));
        }
        None if settings.binarise != Binarise::None => {
            return usage(format!("--binarise is for pictures, and {} has none: leave it out", data.name));
        }
        None => {}
    }
    model.check_examples(data.train.count)?;
    model.check_values(&data.train)?;
    model.check_batch(batch_size)
}

/// That pictures of (H,W) can be moved and drawn as the settings say.
fn check_pictures(run: &Run, [h, w]: [usize; 2]) -> Result<()> {
    let usage = |problem: String| Err(Error::Usage(problem));
    let Run { shift, samples, .. } = *run;
    if shift >= h.min(w) {
        return usage(format!(
            "--shift {shift} moves pictures of {h}x{w} (height, width) out of sight: it must be below {}",
            h.min(w)
        ));
    }
    let fit = pictures::samples(samples, [h, w], None).map_or(0, |fit| fit.count);
    if samples > fit {
        return usage(format!("--samples is {samples}, but a picture holds at most {fit} samples of {h}x{w} pixels"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::{Column, Kind, PICTURES, Table};

    fn data(count: usize, shape: [usize; 3]) -> Dataset {
        // Nothing looks at the pictures.
        let pictures = || Column::of_bytes(PICTURES, Kind::Picture(shape), Vec::new());
        let split = |count| Table { count, columns: vec![pictures()] };
        Dataset {
            name: "drawn".into(),
            class_names: Vec::new(),
            vocabulary: None,
            spectrogram: None,
            train: split(count),
            test: split(1),
        }
    }

    fn settings() -> Settings {
        Settings::of_preset("mnist-mlp").unwrap()
    }

    #[test]
    fn defaults_shrink_with_a_note_and_what_was_given_is_refused() {
        let (mut fitted, data) = (settings(), data(36, [1, 3000, 3000]));
        let notes = to_data(&mut fitted, Asked::default(), &data).unwrap();
        assert_eq!(fitted.batch_size, 36);
        assert!((1..64).contains(&fitted.samples), "{}", fitted.samples);
        assert!(notes.len() == 2 && notes[0].contains("--batch-size is 36") && notes[1].contains("--samples is"));
        assert!(check(&fitted, &data).is_ok());
        assert!(to_data(&mut fitted, Asked::default(), &data).unwrap().is_empty());

        let given = Given::from_text("batch_size = 128\nsamples = 64").unwrap();
        let mut kept = settings();
        assert!(to_data(&mut kept, Asked::of([&Given::default(), &given]), &data).unwrap().is_empty());
        assert_eq!(kept, settings());
        assert!(check(&kept, &data).unwrap_err().to_string().contains("--batch-size 128 is larger than the 36"));
        kept.batch_size = 36;
        assert!(check(&kept, &data).unwrap_err().to_string().contains("--samples is 64, but"));
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut kept = settings();
        assert!(to_data(&mut kept, Asked::default(), &data(128, [1, 28, 28])).unwrap().is_empty());
        assert_eq!(kept, settings());
        assert!(check(&kept, &data(128, [1, 28, 28])).is_ok());
        // Pictures of more than 2^20 values train, and can be opened again.
        let one = settings().with("batch_size = 1\nsamples = 0").unwrap();
        assert!(check(&one, &data(1, [3, 600, 600])).is_ok());
        let message = check(&one, &data(1, [3, 8192, 8192])).unwrap_err().to_string();
        assert!(message.contains("3x8192x8192") && message.contains("--image-size"), "{message}");
        assert!(check(&one.with("samples = 1048576").unwrap(), &data(1, [1, 28, 28])).is_err());
    }

    #[test]
    fn more_codes_than_there_are_vectors_are_refused() {
        let of = |count: usize| {
            let settings = Settings::of_preset("mnist-vq").unwrap().with("batch_size = 2").unwrap();
            check(&settings, &data(count, [1, 28, 28])).map_err(|e| e.to_string())
        };
        // 20 codes a picture, 256 in the codebook.
        assert_eq!(of(13), Ok(()));
        let message = of(12).unwrap_err();
        assert!(message.contains("codes is 256, but 12 training pictures of 20 places"), "{message}");
        assert!(message.contains("--set codes=N") && !message.contains("--codes"), "{message}");
        assert!(message.lines().count() == 1 && message.contains("only 240 vectors"), "{message}");
    }

    #[test]
    fn a_batch_norm_that_sees_one_row_is_refused() {
        let vectors = |encoder: &str, batch_size| {
            let text = format!("encoder = '{encoder}'\ndecoder = 'flatten, linear 784'\nbatch_size = {batch_size}");
            let settings = settings().with(&text).unwrap();
            check(&settings, &data(9, [1, 28, 28])).map_err(|e| e.to_string())
        };
        for encoder in [
            "flatten, linear 32, batchnorm, relu",
            "conv 4 k28, (relu, batchnorm)",
            "flatten, residual(linear 784, relu, batchnorm)",
        ] {
            let message = vectors(encoder, 1).unwrap_err();
            assert!(message.contains("--batch-size") && message.contains("one value a channel"), "{message}");
            assert_eq!(vectors(encoder, 2), Ok(()), "{encoder}");
        }
        assert!(vectors("flatten, residual(linear 784, relu, batchnorm)", 1).unwrap_err().contains("encoder.1.body.2"));
        // A picture of several places is enough.
        assert_eq!(vectors("conv 4 k27, batchnorm, relu", 1), Ok(()));
        assert_eq!(vectors("flatten, linear 8, layernorm", 1), Ok(()));
    }
}
