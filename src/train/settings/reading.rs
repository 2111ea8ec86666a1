//! What the settings of a run say of how its data are read.

use super::Settings;
use crate::data::audio::spectrogram::Analysis;
use crate::data::ratings::Protocol;
use crate::data::sequences::series::Windows;
use crate::data::text::Reading;
use crate::data::{Form, Preparation, Split, audio};
use crate::error::{Error, Result};
use crate::train::given::flag;

impl Settings {
    /// What is done to the pictures of a folder.
    pub fn preparation(&self) -> Preparation {
        Preparation {
            crop: self.crop,
            image_size: self.image_size,
            channels: self.channels,
            corrupt: self.corrupt,
            background: self.background,
            orientation: self.orientation,
        }
    }

    /// How recordings become pictures.
    pub fn analysis(&self) -> Analysis {
        Analysis {
            sample_rate: self.sample_rate,
            n_fft: self.n_fft,
            hop_length: self.hop_length,
            n_mels: self.n_mels,
            frames: self.frames,
            top_db: self.top_db,
        }
    }

    /// How a table, ratings, a text, series or recordings are read and parted. Errors: something is said of them, and
    /// the data set is none.
    pub fn form(&self, dataset: &str) -> Result<Form> {
        let ratings = Protocol { liked_above: self.liked_above, split_seed: self.split_seed };
        let (label_column, normal) = (self.label_column.clone(), self.normal.clone());
        let usual = Reading::default();
        let text = Reading { tokens: self.tokens, min_count: self.min_count, longest: self.longest, vocabulary: None };
        let (analysis, usual_analysis) = (self.analysis(), Analysis::default());
        let said = [
            ("label_column", &["table", "series"][..], self.label_column.is_some()),
            ("split", &["table", "text", "series"], self.split != Split::default()),
            ("liked_above", &["ratings"], ratings.liked_above != Protocol::default().liked_above),
            ("split_seed", &["ratings"], ratings.split_seed != Protocol::default().split_seed),
            ("tokens", &["text"], text.tokens != usual.tokens),
            ("min_count", &["text"], text.min_count != usual.min_count),
            ("longest", &["text"], text.longest != usual.longest),
            ("sample_rate", &["audio"], analysis.sample_rate != usual_analysis.sample_rate),
            ("n_fft", &["audio"], analysis.n_fft != usual_analysis.n_fft),
            ("hop_length", &["audio"], analysis.hop_length != usual_analysis.hop_length),
            ("n_mels", &["audio"], analysis.n_mels != usual_analysis.n_mels),
            ("frames", &["audio"], analysis.frames != usual_analysis.frames),
            ("top_db", &["audio"], analysis.top_db != usual_analysis.top_db),
            ("window_length", &["series"], self.window_length != Windows::default().length),
            ("window_stride", &["series"], self.window_stride.is_some()),
        ];
        let kind = dataset.split(':').next().unwrap_or_default();
        match said.into_iter().find(|(_, kinds, is_said)| *is_said && !kinds.contains(&kind)) {
            Some((key, kinds, _)) => Err(Error::Usage(format!(
                "{} is of the data set {}, and this one is {dataset}: leave it out, or use --dataset {}",
                flag(key),
                kinds.join(" or "),
                kinds[0]
            ))),
            None => {
                let audio = audio::Reading { analysis, peak: None };
                let windows = Windows { length: self.window_length, stride: self.window_stride };
                let form = Form { label_column, split: self.split, normal, ratings, text, windows, ..Form::default() };
                Ok(Form { audio, ..form })
            }
        }
    }
}
