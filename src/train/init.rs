//! A new run that starts from a trained model's parameters and statistics, `--init`. Its optimiser starts anew.

use std::path::PathBuf;

use super::checkpoint::{Checkpoint, ModelCard};
use super::settings::Settings;
use crate::arena::Arena;
use crate::data::table::Columns;
use crate::error::{Error, Result};
use crate::inference::model_file;

/// What a run starts from.
pub struct Init {
    /// The model file.
    pub path: PathBuf,
    /// What it holds.
    pub checkpoint: Checkpoint,
}

impl Init {
    /// The file that the settings name, a model file or that of a run folder; `None` where they name none. Errors:
    /// nothing is there; those of [`Checkpoint::read`].
    pub fn read(settings: &Settings) -> Result<Option<Init>> {
        let Some(file) = &settings.init else { return Ok(None) };
        let path = model_file(file, false)?;
        let checkpoint = Checkpoint::read(&path)?;
        Ok(Some(Init { path, checkpoint }))
    }

    /// That the file is of the network that these settings make for data of these columns. Errors: the first tensor
    /// that is missing, too many, or of another shape, with both shapes.
    pub fn check(&self, settings: &Settings, columns: &Columns) -> Result<()> {
        let mut arena = Arena::new();
        (settings.entry()?.open)(&mut arena, &settings.own, columns)?;
        self.checkpoint.check_model(&arena, &self.path).map_err(|error| match error {
            Error::File { path, problem } => {
                let advice = "--init wants the network of this run: give the settings that the file was trained with \
                              (of a run, --config RUN/run.toml)";
                Error::file(path, format!("{problem}. {advice}"))
            }
            other => other,
        })
    }

    /// What the file says of itself. Errors: those of [`Checkpoint::card`].
    pub fn card(&self) -> Result<ModelCard> {
        self.checkpoint.card(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::checkpoint::{MODEL, write_model};
    use crate::train::programs::initial;

    /// A model file with the initial parameters of these settings for pictures of 4 x 4.
    fn file(settings: &Settings) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut arena = Arena::new();
        let model = (settings.entry().unwrap().open)(&mut arena, &settings.own, &columns()).unwrap();
        let parameters = initial(&arena, &*model, 7);
        let statistics = vec![0.0; arena.flat_statistics().map_or(0, |flat| flat.len())];
        write_model(&mut std::fs::File::create(&path).unwrap(), &arena, [&parameters, &statistics], &[], (MODEL, "{}"))
            .unwrap();
        (folder, path)
    }

    fn columns() -> Columns {
        Columns::of_pictures([1, 4, 4], 0)
    }

    fn with_init(settings: &Settings, path: PathBuf) -> Settings {
        let mut settings = settings.clone();
        settings.init = Some(path);
        settings
    }

    #[test]
    fn a_file_of_another_network_is_refused_with_the_tensor_and_both_shapes() {
        let settings = Settings::of_preset("mnist-mlp").unwrap().with("hidden = [5]\nlatent = 2").unwrap();
        let (_folder, path) = file(&settings);
        let init = |text: &str| {
            let settings = with_init(&settings, path.clone()).with(text).unwrap();
            Init::read(&settings).unwrap().unwrap().check(&settings, &columns())
        };
        init("lr = 0.5\nkl_weight = 4.0").unwrap();
        for (text, words) in [
            ("hidden = [6]", "fc1.weight has shape [5, 16], the model needs [6, 16]"),
            ("latent = 3", "fc21.weight has shape [2, 5], the model needs [3, 5]"),
            ("hidden = [5, 5]", "holds fc1.bias, which the model does not have"),
        ] {
            let message = init(text).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("--config RUN/run.toml"), "{message}");
        }
        let none = with_init(&settings, "/no/such".into());
        assert!(Init::read(&none).err().unwrap().to_string().contains("there is no /no/such"));
        assert!(Init::read(&settings).unwrap().is_none());
    }
}
