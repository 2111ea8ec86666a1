//! The presets: settings files under a name, embedded. `elbo models show NAME` prints one, to be edited and passed back
//! by `--config`.

use super::{Entry, MODELS};
use crate::data::table::{Columns, Kind};
use crate::error::{Error, Result, nearest};

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

const MNIST: Kind = Kind::Picture([1, 28, 28]);
/// About as many as the training users of MovieLens' small set like.
const ITEMS: Kind = Kind::Items(5_000);

/// As many words as some ten thousand short sentences have, and 16 of them in a sentence at most.
const SENTENCES: Kind = Kind::Tokens { vocabulary: 5_000, longest: 16 };

// The five tutorials.
const MLP: &str = "the MLP VAE and its variants";
const CONV: &str = "the convolutional VAE";
const OVERVIEW: &str = "an overview with variants and metrics";
const FUSED: &str = "the VAE whose encoder ends in one layer";
const ANOMALIES: &str = "anomaly detection";
const PLANE: &str = "the VAE of a 2-D latent space";

/// Of the model `vae`.
pub static VAE: [Preset; 14] = [
    Preset {
        name: "mnist-mlp",
        about: "784-400-20, two heads, batch 128, Adam 1e-3, 10 epochs: the VAE of pytorch/examples",
        article: MLP,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-mlp.toml"),
    },
    Preset {
        name: "mnist-fused",
        about: "784-400-2x20, mean and logvar from one layer, 100 epochs",
        article: FUSED,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-fused.toml"),
    },
    Preset {
        name: "mnist-2d",
        about: "784-256-2, batch 64, Adam betas 0.9 and 0.99, L2 1e-5, early stopping: latents one can draw on a plane",
        article: PLANE,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-2d.toml"),
    },
    Preset {
        name: "mnist-conv",
        about: "convolutions 16-32-64 down to 1x1, transposed 256-128-64-1 back up, batch norm, 32 latents",
        article: CONV,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-conv.toml"),
    },
    Preset {
        name: "cifar-conv",
        about: "colour pictures of 32x32, convolutions 32-64-128 with residual blocks, 128 latents, optimal sigma",
        article: OVERVIEW,
        x: Kind::Picture([3, 32, 32]),
        classes: 0,
        text: include_str!("presets/cifar-conv.toml"),
    },
    Preset {
        name: "faces-conv",
        about: "colour pictures of 64x64 from a folder (--data), convolutions 32-64-128-256, 100 latents, optimal sigma",
        article: MLP,
        x: Kind::Picture([3, 64, 64]),
        classes: 0,
        text: include_str!("presets/faces-conv.toml"),
    },
    Preset {
        name: "faces-mlp",
        about: "12288-400-100 on colour pictures of 64x64 from a folder (--data)",
        article: MLP,
        x: Kind::Picture([3, 64, 64]),
        classes: 0,
        text: include_str!("presets/faces-mlp.toml"),
    },
    Preset {
        name: "mnist-iwae",
        about: "784-200-200-50, tanh, importance-weighted, 5 samples, pixels drawn black or white at each step",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-iwae.toml"),
    },
    Preset {
        name: "binarized-mnist",
        about: "784-256-256-128 on the fixed binarisation of MNIST from a folder (--data)",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/binarized-mnist.toml"),
    },
    Preset {
        name: "table-vae",
        about: "n-32-16-2 on the n numbers of a table's rows (--data FILE.csv), Gaussian output, 100 epochs",
        article: ANOMALIES,
        x: Kind::Vector(16),
        classes: 0,
        text: include_str!("presets/table-vae.toml"),
    },
    Preset {
        name: "mnist-anomaly",
        about: "784-400-2 trained without the digit 9 (--normal names those that it sees), for `elbo score`",
        article: ANOMALIES,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-anomaly.toml"),
    },
    Preset {
        name: "mnist-beta-tc",
        about: "784-400-10, the KL in three parts and the total correlation times 6, 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-beta-tc.toml"),
    },
    Preset {
        name: "mnist-capacity",
        about: "784-400-10, the KL held at a capacity that grows from 0 to 25 nats over 8 of 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-capacity.toml"),
    },
    Preset {
        name: "mnist-vamp",
        about: "784-300-300-40 under a mixture of 100 trained pseudo-inputs, pixels drawn black or white at each step",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-vamp.toml"),
    },
];

/// Of the model `conditional`.
pub static CONDITIONAL: [Preset; 3] = [
    Preset {
        name: "mnist-cvae",
        about: "784+10-400-20, the label beside the input of encoder and decoder, batch 128, Adam 1e-3, 10 epochs",
        article: MLP,
        x: MNIST,
        classes: 10,
        text: include_str!("presets/mnist-cvae.toml"),
    },
    Preset {
        name: "mnist-cvae-256",
        about: "784+10-256-128-20, the same with two hidden layers",
        article: OVERVIEW,
        x: MNIST,
        classes: 10,
        text: include_str!("presets/mnist-cvae-256.toml"),
    },
    Preset {
        name: "mnist-cvae-conv",
        about: "the networks of mnist-conv, the label as ten more channels of the picture",
        article: OVERVIEW,
        x: MNIST,
        classes: 10,
        text: include_str!("presets/mnist-cvae-conv.toml"),
    },
];

/// Of the model `denoising`.
pub static DENOISING: [Preset; 2] = [
    Preset {
        name: "mnist-denoise",
        about: "784-400-20 on pictures with Gaussian noise of 0.5, drawn anew at each step; the clean one is wanted",
        article: MLP,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-denoise.toml"),
    },
    Preset {
        name: "mnist-denoise-conv",
        about: "the networks of mnist-conv, likewise",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-denoise-conv.toml"),
    },
];

/// Of the model `latent_classifier`.
pub static LATENT_CLASSIFIER: [Preset; 2] = [
    Preset {
        name: "mnist-ss-z",
        about: "784-400-20 with a linear classifier on z, 100 of the pictures with a label",
        article: MLP,
        x: MNIST,
        classes: 10,
        text: include_str!("presets/mnist-ss-z.toml"),
    },
    Preset {
        name: "mnist-m1",
        about: "M1: 784-600-600-50, and a classifier on what it finds, which the VAE learns nothing from; 100 labels",
        article: MLP,
        x: MNIST,
        classes: 10,
        text: include_str!("presets/mnist-m1.toml"),
    },
];

/// Of the model `m2`.
pub static M2: [Preset; 2] = [
    Preset {
        name: "mnist-m2",
        about: "M2: 784+10-500-50, the label summed out where it is not known; 100 labels",
        article: MLP,
        x: MNIST,
        classes: 10,
        text: include_str!("presets/mnist-m2.toml"),
    },
    Preset {
        name: "mnist-m1m2",
        about: "M1+M2: M2 on the 50 latents of a trained mnist-m1; 100 labels",
        article: MLP,
        x: MNIST,
        classes: 10,
        text: include_str!("presets/mnist-m1m2.toml"),
    },
];

/// Of the model `gumbel`.
pub static GUMBEL: [Preset; 2] = [
    Preset {
        name: "mnist-gumbel",
        about: "784-400-20x10: 20 categorical variables of 10 classes, temperature from 1 down to 0.5, 10 epochs",
        article: MLP,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-gumbel.toml"),
    },
    Preset {
        name: "mnist-gumbel-conv",
        about: "the networks of mnist-conv over the same variables",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-gumbel-conv.toml"),
    },
];

/// Of the model `recommendation`.
pub static RECOMMENDATION: [Preset; 3] = [
    Preset {
        name: "ml-small",
        about: "Mult-VAE, tanh 600-200, on the ratings of a few hundred users (--data PATH), 50 epochs",
        article: OVERVIEW,
        x: ITEMS,
        classes: 0,
        text: include_str!("presets/ml-small.toml"),
    },
    Preset {
        name: "ml-small-bernoulli",
        about: "relu 600-200 on zeros and ones as they are, a Bernoulli for each item, likewise",
        article: OVERVIEW,
        x: ITEMS,
        classes: 0,
        text: include_str!("presets/ml-small-bernoulli.toml"),
    },
    Preset {
        name: "ml20m-multvae",
        about: "Mult-VAE as published for MovieLens-20M: batch 500, KL weight up to 0.2 over 40,000 steps, 200 epochs",
        article: OVERVIEW,
        x: Kind::Items(20_108),
        classes: 0,
        text: include_str!("presets/ml20m-multvae.toml"),
    },
];

/// Of the model `sentence`.
pub static SENTENCE: [Preset; 2] = [
    Preset {
        name: "text-vae",
        about: "sentences of a text (--data FOLDER or FILE), LSTMs of 256, 32 latents, the words before told, some hidden",
        article: OVERVIEW,
        x: SENTENCES,
        classes: 0,
        text: include_str!("presets/text-vae.toml"),
    },
    Preset {
        name: "text-inputless",
        about: "the same whose decoder is told no words: what is written hangs on the 32 latents alone",
        article: OVERVIEW,
        x: SENTENCES,
        classes: 0,
        text: include_str!("presets/text-inputless.toml"),
    },
];

/// Of the model `bayesian`.
pub static BAYESIAN: [Preset; 1] = [Preset {
    name: "mnist-bayes",
    about: "784-400-20 with a Gaussian for every weight of the decoder: a picture of where they disagree",
    article: OVERVIEW,
    x: MNIST,
    classes: 0,
    text: include_str!("presets/mnist-bayes.toml"),
}];

/// Of the model `vq`.
pub static VQ: [Preset; 2] = [
    Preset {
        name: "mnist-vq",
        about: "784-400-20x16: 20 codes a picture of a codebook of 256, which averages move, 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-vq.toml"),
    },
    Preset {
        name: "mnist-vq-conv",
        about: "7x7 codes a picture of a codebook of 128, convolutions 32-64 with residual blocks, 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("presets/mnist-vq-conv.toml"),
    },
];

/// Of the model `pixelcnn`.
pub static PIXELCNN: [Preset; 1] = [Preset {
    name: "mnist-vq-prior",
    about: "the codes of a trained mnist-vq-conv one after the other, masked convolutions of 64 channels, 10 epochs",
    article: OVERVIEW,
    x: MNIST,
    classes: 0,
    text: include_str!("presets/mnist-vq-prior.toml"),
}];

/// Of the model `ladder`.
pub static LADDER: [Preset; 1] = [Preset {
    name: "mnist-ladder",
    about: "784-400(32)-200(10): two levels of latents, inferred from the top down, pixels drawn black or white",
    article: OVERVIEW,
    x: MNIST,
    classes: 0,
    text: include_str!("presets/mnist-ladder.toml"),
}];

/// Of the model `vae_gan`.
pub static VAE_GAN: [Preset; 1] = [Preset {
    name: "mnist-vae-gan",
    about: "convolutions and a discriminator whose features compare the pictures, 32 latents: sharp digits",
    article: OVERVIEW,
    x: MNIST,
    classes: 0,
    text: include_str!("presets/mnist-vae-gan.toml"),
}];

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
            assert_eq!(arena.parameters().iter().map(|p| p.value.len()).sum::<usize>(), parameters, "{name}");
        }
    }
}
