//! The presets: settings files under a name, embedded. `elbo models show NAME` prints one, to be edited and passed back
//! by `--config`.

use super::{Entry, MODELS};
use crate::data::table::{Columns, Kind};
use crate::error::{Error, Result, nearest};

mod list;

pub use list::{
    BAYESIAN, CLASSIFIER, CONDITIONAL, DEEP_MARKOV, DENOISING, GUMBEL, LADDER, LATENT_CLASSIFIER, M2, PIXELCNN,
    RECOMMENDATION, SENTENCE, SERIES, SUPER_RESOLUTION, VAE, VAE_GAN, VQ, VRNN,
};

/// A settings file under a name.
#[derive(Debug)]
pub struct Preset {
    /// The argument of `elbo train`, and of `elbo plan` and the like.
    pub name: &'static str,
    /// One line for lists and help.
    pub about: &'static str,
    /// The tutorial whose model it is.
    pub article: &'static str,
    /// What it is made for: pictures of this (C,H,W), vectors, or choices among items.
    pub x: Kind,
    /// The classes of their labels; 0 where none are used.
    pub classes: usize,
    /// The settings file. A key that it lacks has its default.
    pub text: &'static str,
}

/// What `elbo train` without arguments trains.
pub const DEFAULT: &str = "mnist-mlp";

impl Preset {
    /// The columns of the data that it is made for.
    pub fn columns(&self) -> Columns {
        Columns::of(self.x, self.classes)
    }
}

/// All of them with their models, in the order that lists show.
pub fn all() -> impl Iterator<Item = (&'static Entry, &'static Preset)> + Clone {
    MODELS.iter().flat_map(|&entry| entry.presets.iter().map(move |preset| (entry, preset)))
}

/// The preset of that name, or a usage error with the nearest name and the list.
pub fn find(name: &str) -> Result<(&'static Entry, &'static Preset)> {
    all().find(|(_, preset)| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = all().map(|(_, preset)| preset.name).collect();
        let hint = nearest(name, names.iter().copied()).map_or(".".into(), |n| format!("; did you mean `{n}`?"));
        Error::Usage(format!("no preset is called `{name}`{hint} The presets are {}.", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::train::given::Given;
    use crate::train::settings::{Optimizer, Reduction, Settings};

    fn settings(name: &str) -> Settings {
        find(name).unwrap().1.settings()
    }

    fn own(settings: &Settings, keys: [&str; 3]) -> [String; 3] {
        keys.map(|key| settings.own(key).map_or("off".into(), |value| value.to_string()))
    }

    #[test]
    fn every_preset_is_valid_and_goes_to_its_own_folder() {
        for (entry, preset) in all() {
            let mut asked = Given::default();
            asked.flag("preset", preset.name);
            let settings = Settings::resolve(None, asked).unwrap();
            assert_eq!(settings, preset.settings());
            assert_eq!((settings.preset.as_str(), settings.model.as_str()), (preset.name, entry.name));
            assert_eq!(settings.out, std::path::Path::new("runs").join(preset.name));
            assert!(preset.text.starts_with("# "), "{}: a file says what it is", preset.name);
        }
        assert!(find(DEFAULT).is_ok());
    }

    #[test]
    fn the_published_recipes_stand() {
        let sizes = ["hidden", "latent", "head"];
        for (name, expected, batch, epochs) in [
            ("mnist-mlp", ["[400]", "20", "\"split\""], 128, 10),
            ("mnist-fused", ["[400]", "20", "\"fused\""], 128, 100),
            ("mnist-2d", ["[256]", "2", "\"split\""], 64, 10),
            ("mnist-cvae", ["[400]", "20", "\"split\""], 128, 10),
            ("mnist-cvae-256", ["[256, 128]", "20", "\"split\""], 128, 10),
            ("mnist-denoise", ["[400]", "20", "\"split\""], 128, 10),
        ] {
            let s = settings(name);
            assert_eq!((own(&s, sizes), s.batch_size, s.epochs), (expected.map(String::from), batch, epochs), "{name}");
            assert_eq!((s.optimizer, s.lr, s.eps, s.reduction), (Optimizer::Adam, 1e-3, 1e-8, Reduction::Sum));
            assert_eq!(own(&s, ["kl_weight", "output", "activation"]), ["1.0", "\"bernoulli\"", "\"relu\""]);
        }
        let s = settings("mnist-mlp");
        assert_eq!((s.betas, s.weight_decay, s.patience), ([0.9, 0.999], 0.0, None));
        let s = settings("mnist-2d");
        assert_eq!((s.betas, s.weight_decay, s.patience), ([0.9, 0.99], 1e-5, Some(5)));
        assert_eq!((s.monitor.as_str(), s.min_delta), ("test_loss", 0.0));
        let s = settings("mnist-conv");
        assert_eq!((own(&s, ["latent", "head", "output"])[0].as_str(), s.batch_size, s.epochs), ("32", 128, 10));
        assert_eq!(settings("mnist-denoise").own("noise").unwrap().as_str(), Some("gaussian:0.5"));
    }

    #[test]
    fn a_mistyped_name_gets_the_nearest_and_the_list() {
        let message = find("mnist-fusd").err().unwrap().to_string();
        assert!(message.contains("did you mean `mnist-fused`?") && message.contains("mnist-2d"), "{message}");
        let message = find("zzz").err().unwrap().to_string();
        assert!(!message.contains("did you mean") && message.contains("mnist-mlp, mnist-fused"), "{message}");
    }

    #[test]
    fn the_networks_fit_their_data() {
        for (name, parameters) in [
            ("mnist-mlp", 652_824),
            ("mnist-conv", 715_537),
            ("cifar-conv", 1_896_643),
            ("faces-conv", 5_752_331),
            ("faces-mlp", 9_963_688),
            // Ten more inputs of each network: 4,000 weights each.
            ("mnist-cvae", 652_824 + 8_000),
            ("mnist-denoise", 652_824),
            // 784-400-200, 200-400-784.
            ("mnist-gumbel", 314_000 + 80_200 + 80_400 + 314_384),
            // 784-400-320, 320-400-784; averages move the codes, which are no parameters.
            ("mnist-vq", 314_000 + 128_320 + 128_400 + 314_384),
        ] {
            let (entry, preset) = find(name).unwrap();
            let arena = &mut Arena::new();
            (entry.open)(arena, &preset.settings().own, &preset.columns()).unwrap();
            assert_eq!(arena.parameter_count(), parameters, "{name}");
        }
    }
}
