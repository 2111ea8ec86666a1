//! The presets: named starting points, each a complete [`Settings`].

use std::path::Path;

use crate::data::Corrupt;
use crate::error::nearest;
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::models::network::Network;
use crate::train::schedule::{KlSchedule, LrSchedule};
use crate::train::settings::{Head, Likelihood, Monitor, Optimizer, Reduction, Settings};

/// A complete set of settings under a name.
pub struct Preset {
    /// The argument of `elbo train`, and of `elbo plan` and the like.
    pub name: &'static str,
    /// One line for lists and help.
    pub about: &'static str,
    /// Channels, height, width of the pictures it is made for.
    pub picture: [usize; 3],
    values: fn() -> Settings,
}

/// What `elbo train` without arguments trains.
pub const DEFAULT: &str = "mnist-mlp";

/// All of them, in the order that lists show.
pub static PRESETS: [Preset; 7] = [
    Preset {
        name: "mnist-mlp",
        about: "784-400-20, two heads, batch 128, Adam 1e-3, 10 epochs: the VAE of pytorch/examples",
        picture: [1, 28, 28],
        values: mnist_mlp,
    },
    Preset {
        name: "mnist-fused",
        about: "784-400-2x20, mean and logvar from one layer, 100 epochs",
        picture: [1, 28, 28],
        values: mnist_fused,
    },
    Preset {
        name: "mnist-2d",
        about: "784-256-2, batch 64, Adam betas 0.9 and 0.99, L2 1e-5, early stopping: latents one can draw on a plane",
        picture: [1, 28, 28],
        values: mnist_2d,
    },
    Preset {
        name: "mnist-conv",
        about: "convolutions 16-32-64 down to 1x1, transposed 256-128-64-1 back up, batch norm, 32 latents",
        picture: [1, 28, 28],
        values: mnist_conv,
    },
    Preset {
        name: "cifar-conv",
        about: "colour pictures of 32x32, convolutions 32-64-128 with residual blocks, 128 latents, optimal sigma",
        picture: [3, 32, 32],
        values: cifar_conv,
    },
    Preset {
        name: "faces-conv",
        about: "colour pictures of 64x64 from a folder (--data), convolutions 32-64-128-256, 100 latents, optimal sigma",
        picture: [3, 64, 64],
        values: faces_conv,
    },
    Preset {
        name: "faces-mlp",
        about: "12288-400-100 on colour pictures of 64x64 from a folder (--data)",
        picture: [3, 64, 64],
        values: faces_mlp,
    },
];

impl Preset {
    /// The preset's settings; the run goes to `runs/<name>`.
    pub fn settings(&self) -> Settings {
        Settings { preset: self.name.into(), out: Path::new("runs").join(self.name), ..(self.values)() }
    }
}

/// The preset of that name, or a usage error with the nearest name and the list.
pub fn find(name: &str) -> Result<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let hint = nearest(name, names.iter().copied()).map_or(".".into(), |n| format!("; did you mean `{n}`?"));
        Error::Usage(format!("no preset is called `{name}`{hint} The presets are {}.", names.join(", ")))
    })
}

fn mnist_mlp() -> Settings {
    Settings {
        preset: String::new(),

        dataset: "auto".into(),
        data: None,
        crop: None,
        image_size: None,
        channels: None,
        corrupt: Corrupt::Refuse,
        train_limit: None,
        test_limit: None,
        flip: false,
        shift: 0,

        hidden: vec![400],
        latent: 20,
        head: Head::Split,
        activation: Activation::Relu,
        output: Likelihood::Bernoulli,
        sigma: 1.0,
        encoder: None,
        decoder: None,

        epochs: 10,
        batch_size: 128,
        seed: 1,
        device: "auto".into(),
        no_fuse: false,

        reduction: Reduction::Sum,
        kl_weight: 1.0,
        free_bits: 0.0,
        kl_schedule: KlSchedule::Constant,

        optimizer: Optimizer::Adam,
        lr: 1e-3,
        betas: [0.9, 0.999],
        eps: 1e-8,
        momentum: 0.0,
        weight_decay: 0.0,
        clip_norm: None,
        lr_schedule: LrSchedule::Constant,
        warmup_epochs: 0.0,

        patience: None,
        monitor: Monitor::TestLoss,
        min_delta: 0.0,

        out: Default::default(),
        samples: 64,
    }
}

fn mnist_fused() -> Settings {
    Settings { head: Head::Fused, epochs: 100, ..mnist_mlp() }
}

fn mnist_2d() -> Settings {
    Settings {
        hidden: vec![256],
        latent: 2,
        batch_size: 64,
        betas: [0.9, 0.99],
        weight_decay: 1e-5,
        patience: Some(5),
        ..mnist_mlp()
    }
}

fn mnist_conv() -> Settings {
    Settings {
        latent: 32,
        head: Head::Direct,
        encoder: network("(conv 16 k4 s2, batchnorm, relu), (conv 32 k4 s2, batchnorm, relu), (conv 64 k4 s2)"),
        decoder: network(
            "(conv_transpose 256 k3 s2, batchnorm, relu), (conv_transpose 128 k4, batchnorm, relu), \
             (conv_transpose 64 k3 s2, batchnorm, relu), (conv_transpose 1 k4 s2)",
        ),
        ..mnist_mlp()
    }
}

fn cifar_conv() -> Settings {
    Settings {
        dataset: "cifar10".into(),
        latent: 128,
        encoder: network(&down(&[32, 64, 128])),
        decoder: network(&up(&[128, 64, 32])),
        output: Likelihood::OptimalSigma,
        epochs: 30,
        batch_size: 64,
        lr_schedule: LrSchedule::Cosine { last: 0.0 },
        ..mnist_mlp()
    }
}

/// Faces of 64 x 64 from a folder, cut as is usual for CelebA.
fn faces() -> Settings {
    Settings {
        dataset: "folder".into(),
        crop: Some(148),
        image_size: Some(64),
        channels: Some(3),
        latent: 100,
        ..mnist_mlp()
    }
}

fn faces_conv() -> Settings {
    Settings {
        encoder: network(&down(&[32, 64, 128, 256])),
        decoder: network(&up(&[256, 128, 64, 32])),
        output: Likelihood::OptimalSigma,
        batch_size: 64,
        lr_schedule: LrSchedule::Cosine { last: 0.0 },
        ..faces()
    }
}

fn faces_mlp() -> Settings {
    faces()
}

fn network(text: &str) -> Option<Network> {
    Some(text.parse().expect("a preset's network parses"))
}

/// Halves the picture once for each width, each time with a residual block behind, and ends in 4 x 4 places.
fn down(widths: &[usize]) -> String {
    let stage = |c: &usize| format!("(conv {c} k4 s2 p1, batchnorm, relu), {}", block(*c));
    format!("{}, flatten", widths.iter().map(stage).collect::<Vec<_>>().join(", "))
}

/// From z to 4 x 4 places and the way of [`down`] back.
fn up(widths: &[usize]) -> String {
    let first = widths[0];
    let start = format!("flatten, linear {}, view {first} 4 4, batchnorm, relu, {}", 16 * first, block(first));
    let stage = |c: &usize| format!("(conv_transpose {c} k4 s2 p1, batchnorm, relu), {}", block(*c));
    let stages: Vec<String> = widths[1..].iter().map(stage).collect();
    format!("{start}, {}, conv_transpose 3 k4 s2 p1", stages.join(", "))
}

/// Two convolutions beside the identity (He et al. 2015, arXiv 1512.03385).
fn block(c: usize) -> String {
    format!("residual(conv {c} k3 p1 nobias, batchnorm, relu, conv {c} k3 p1 nobias, batchnorm), relu")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::models::vae::Vae;
    use crate::train::overrides::Overrides;
    use crate::train::trainer::config;

    #[test]
    fn every_preset_is_valid_and_goes_to_its_own_folder() {
        for preset in &PRESETS {
            let asked = Overrides { preset: Some(preset.name.into()), ..Overrides::default() };
            let settings = Settings::resolve(None, asked).unwrap();
            assert_eq!(settings, preset.settings());
            assert_eq!(settings.preset, preset.name);
            assert_eq!(settings.out, Path::new("runs").join(preset.name));
        }
        assert!(find(DEFAULT).is_ok());
    }

    #[test]
    fn the_published_recipes_stand() {
        let s = find("mnist-mlp").unwrap().settings();
        assert_eq!((s.hidden, s.latent, s.head, s.batch_size, s.epochs), (vec![400], 20, Head::Split, 128, 10));
        assert_eq!((s.optimizer, s.lr, s.betas, s.eps), (Optimizer::Adam, 1e-3, [0.9, 0.999], 1e-8));
        assert_eq!((s.reduction, s.kl_weight, s.weight_decay, s.patience), (Reduction::Sum, 1.0, 0.0, None));

        let s = find("mnist-fused").unwrap().settings();
        assert_eq!((s.hidden, s.latent, s.head, s.batch_size, s.epochs), (vec![400], 20, Head::Fused, 128, 100));

        let s = find("mnist-conv").unwrap().settings();
        assert_eq!((s.latent, s.head, s.batch_size, s.lr, s.epochs), (32, Head::Direct, 128, 1e-3, 10));

        let s = find("mnist-2d").unwrap().settings();
        assert_eq!((s.hidden, s.latent, s.head, s.batch_size, s.epochs), (vec![256], 2, Head::Split, 64, 10));
        assert_eq!((s.optimizer, s.lr, s.betas, s.weight_decay), (Optimizer::Adam, 1e-3, [0.9, 0.99], 1e-5));
        assert_eq!((s.patience, s.monitor, s.min_delta), (Some(5), Monitor::TestLoss, 0.0));
    }

    #[test]
    fn a_mistyped_name_gets_the_nearest_and_the_list() {
        let message = find("mnist-fusd").err().unwrap().to_string();
        assert!(message.contains("did you mean `mnist-fused`?") && message.contains("mnist-2d"), "{message}");
        let message = find("zzz").err().unwrap().to_string();
        assert!(!message.contains("did you mean") && message.contains("mnist-mlp, mnist-fused"), "{message}");
    }

    #[test]
    fn the_networks_fit_their_pictures() {
        for (name, parameters) in [
            ("mnist-mlp", 652_824),
            ("mnist-conv", 715_537),
            ("cifar-conv", 1_896_643),
            ("faces-conv", 5_752_331),
            ("faces-mlp", 9_963_688),
        ] {
            let preset = find(name).unwrap();
            let config = config(&preset.settings(), preset.picture);
            config.check().unwrap();
            let arena = &mut Arena::new();
            Vae::new(arena, &config);
            assert_eq!(arena.parameters().iter().map(|p| p.value.len()).sum::<usize>(), parameters, "{name}");
        }
    }
}
