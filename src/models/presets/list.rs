//! The list of presets, by model: what each is, what it is made for, its file.

use super::Preset;
use crate::data::table::Kind;

const MNIST: Kind = Kind::Picture([1, 28, 28]);
/// A spectrogram of 64 mel filters and 64 frames.
const SPECTROGRAM: Kind = Kind::Picture([1, 64, 64]);
/// About as many as the training users of MovieLens' small set like.
const ITEMS: Kind = Kind::Items(5_000);

/// As many words as some ten thousand short sentences have, and 16 of them in a sentence at most.
const SENTENCES: Kind = Kind::Tokens { vocabulary: 5_000, longest: 16 };

/// The 88 keys of a piano, and as many quarter notes as the longest of Bach's chorales has.
const PIANO_ROLLS: Kind = Kind::Steps { channels: 88, longest: 160 };

/// Points of drawings such as signs of a script.
const DRAWINGS: Kind = Kind::Steps { channels: 3, longest: 64 };

/// Windows of as many steps as the preset's, of a handful of sensors.
const WINDOWS: Kind = Kind::Steps { channels: 8, longest: 64 };

// The five tutorials.
const MLP: &str = "the MLP VAE and its variants";
const CONV: &str = "the convolutional VAE";
const OVERVIEW: &str = "an overview with variants and metrics";
const FUSED: &str = "the VAE whose encoder ends in one layer";
const ANOMALIES: &str = "anomaly detection";
const PLANE: &str = "the VAE of a 2-D latent space";

/// Of the model `vae`.
pub static VAE: [Preset; 15] = [
    Preset {
        name: "mnist-mlp",
        about: "784-400-20, two heads, batch 128, Adam 1e-3, 10 epochs: the VAE of pytorch/examples",
        article: MLP,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-mlp.toml"),
    },
    Preset {
        name: "mnist-fused",
        about: "784-400-2x20, mean and logvar from one layer, 100 epochs",
        article: FUSED,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-fused.toml"),
    },
    Preset {
        name: "mnist-2d",
        about: "784-256-2, batch 64, Adam betas 0.9 and 0.99, L2 1e-5, early stopping: latents one can draw on a plane",
        article: PLANE,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-2d.toml"),
    },
    Preset {
        name: "mnist-conv",
        about: "convolutions 16-32-64 down to 1x1, transposed 256-128-64-1 back up, batch norm, 32 latents",
        article: CONV,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-conv.toml"),
    },
    Preset {
        name: "cifar-conv",
        about: "colour pictures of 32x32, convolutions 32-64-128 with residual blocks, 128 latents, optimal sigma",
        article: OVERVIEW,
        x: Kind::Picture([3, 32, 32]),
        classes: 0,
        text: include_str!("cifar-conv.toml"),
    },
    Preset {
        name: "faces-conv",
        about: "colour pictures of 64x64 from a folder (--data), convolutions 32-64-128-256, 100 latents, optimal sigma",
        article: MLP,
        x: Kind::Picture([3, 64, 64]),
        classes: 0,
        text: include_str!("faces-conv.toml"),
    },
    Preset {
        name: "faces-mlp",
        about: "12288-400-100 on colour pictures of 64x64 from a folder (--data)",
        article: MLP,
        x: Kind::Picture([3, 64, 64]),
        classes: 0,
        text: include_str!("faces-mlp.toml"),
    },
    Preset {
        name: "audio-spec",
        about: "log-mel spectrograms of recordings (--data FOLDER), convolutions 16-32-64-128, 32 latents, optimal sigma",
        article: OVERVIEW,
        x: SPECTROGRAM,
        classes: 0,
        text: include_str!("audio-spec.toml"),
    },
    Preset {
        name: "mnist-iwae",
        about: "784-200-200-50, tanh, importance-weighted, 5 samples, pixels drawn black or white at each step",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-iwae.toml"),
    },
    Preset {
        name: "binarized-mnist",
        about: "784-256-256-128 on the fixed binarisation of MNIST from a folder (--data)",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("binarized-mnist.toml"),
    },
    Preset {
        name: "table-vae",
        about: "n-32-16-2 on the n numbers of a table's rows (--data FILE.csv), Gaussian output, 100 epochs",
        article: ANOMALIES,
        x: Kind::Vector(16),
        classes: 0,
        text: include_str!("table-vae.toml"),
    },
    Preset {
        name: "mnist-anomaly",
        about: "784-400-2 trained without the digit 9 (--normal names those that it sees), for `elbo score`",
        article: ANOMALIES,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-anomaly.toml"),
    },
    Preset {
        name: "mnist-beta-tc",
        about: "784-400-10, the KL in three parts and the total correlation times 6, 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-beta-tc.toml"),
    },
    Preset {
        name: "mnist-capacity",
        about: "784-400-10, the KL held at a capacity that grows from 0 to 25 nats over 8 of 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-capacity.toml"),
    },
    Preset {
        name: "mnist-vamp",
        about: "784-300-300-40 under a mixture of 100 trained pseudo-inputs, pixels drawn black or white at each step",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-vamp.toml"),
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
        text: include_str!("mnist-cvae.toml"),
    },
    Preset {
        name: "mnist-cvae-256",
        about: "784+10-256-128-20, the same with two hidden layers",
        article: OVERVIEW,
        x: MNIST,
        classes: 10,
        text: include_str!("mnist-cvae-256.toml"),
    },
    Preset {
        name: "mnist-cvae-conv",
        about: "the networks of mnist-conv, the label as ten more channels of the picture",
        article: OVERVIEW,
        x: MNIST,
        classes: 10,
        text: include_str!("mnist-cvae-conv.toml"),
    },
];

/// Of the model `denoising`.
pub static DENOISING: [Preset; 3] = [
    Preset {
        name: "mnist-denoise",
        about: "784-400-20 on pictures with Gaussian noise of 0.5, drawn anew at each step; the clean one is wanted",
        article: MLP,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-denoise.toml"),
    },
    Preset {
        name: "mnist-denoise-conv",
        about: "the networks of mnist-conv, likewise",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-denoise-conv.toml"),
    },
    Preset {
        name: "audio-denoise",
        about: "the networks of audio-spec on spectrograms of recordings with Gaussian noise of 0.2 (--data FOLDER)",
        article: OVERVIEW,
        x: SPECTROGRAM,
        classes: 0,
        text: include_str!("audio-denoise.toml"),
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
        text: include_str!("mnist-ss-z.toml"),
    },
    Preset {
        name: "mnist-m1",
        about: "M1: 784-600-600-50, and a classifier on what it finds, which the VAE learns nothing from; 100 labels",
        article: MLP,
        x: MNIST,
        classes: 10,
        text: include_str!("mnist-m1.toml"),
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
        text: include_str!("mnist-m2.toml"),
    },
    Preset {
        name: "mnist-m1m2",
        about: "M1+M2: M2 on the 50 latents of a trained mnist-m1; 100 labels",
        article: MLP,
        x: MNIST,
        classes: 10,
        text: include_str!("mnist-m1m2.toml"),
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
        text: include_str!("mnist-gumbel.toml"),
    },
    Preset {
        name: "mnist-gumbel-conv",
        about: "the networks of mnist-conv over the same variables",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-gumbel-conv.toml"),
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
        text: include_str!("ml-small.toml"),
    },
    Preset {
        name: "ml-small-bernoulli",
        about: "relu 600-200 on zeros and ones as they are, a Bernoulli for each item, likewise",
        article: OVERVIEW,
        x: ITEMS,
        classes: 0,
        text: include_str!("ml-small-bernoulli.toml"),
    },
    Preset {
        name: "ml20m-multvae",
        about: "Mult-VAE as published for MovieLens-20M: batch 500, KL weight up to 0.2 over 40,000 steps, 200 epochs",
        article: OVERVIEW,
        x: Kind::Items(20_108),
        classes: 0,
        text: include_str!("ml20m-multvae.toml"),
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
        text: include_str!("text-vae.toml"),
    },
    Preset {
        name: "text-inputless",
        about: "the same whose decoder is told no words: what is written hangs on the 32 latents alone",
        article: OVERVIEW,
        x: SENTENCES,
        classes: 0,
        text: include_str!("text-inputless.toml"),
    },
];

/// Of the model `vrnn`.
pub static VRNN: [Preset; 2] = [
    Preset {
        name: "chorales-vrnn",
        about: "chorales as piano rolls (--data FILE.json), a latent of 16 at each step beside a GRU of 256",
        article: OVERVIEW,
        x: PIANO_ROLLS,
        classes: 0,
        text: include_str!("chorales-vrnn.toml"),
    },
    Preset {
        name: "strokes-vrnn",
        about: "pen strokes from a mixture of 20 normals (--data FOLDER), a latent of 16 at each step",
        article: OVERVIEW,
        x: DRAWINGS,
        classes: 0,
        text: include_str!("strokes-vrnn.toml"),
    },
];

/// Of the model `deep_markov`.
pub static DEEP_MARKOV: [Preset; 1] = [Preset {
    name: "chorales-dmm",
    about: "the same data, a state of 64 that moves from step to step, inferred by a GRU that reads what follows",
    article: OVERVIEW,
    x: PIANO_ROLLS,
    classes: 0,
    text: include_str!("chorales-dmm.toml"),
}];

/// Of the model `series`.
pub static SERIES: [Preset; 1] = [Preset {
    name: "series-rvae",
    about: "windows of series in CSV files (--data FILE or FOLDER), LSTMs of 64, 8 latents: gaps, anomalies, forecasts",
    article: OVERVIEW,
    x: WINDOWS,
    classes: 0,
    text: include_str!("series-rvae.toml"),
}];

/// Of the model `bayesian`.
pub static BAYESIAN: [Preset; 1] = [Preset {
    name: "mnist-bayes",
    about: "784-400-20 with a Gaussian for every weight of the decoder: a picture of where they disagree",
    article: OVERVIEW,
    x: MNIST,
    classes: 0,
    text: include_str!("mnist-bayes.toml"),
}];

/// Of the model `vq`.
pub static VQ: [Preset; 3] = [
    Preset {
        name: "mnist-vq",
        about: "784-400-20x16: 20 codes a picture of a codebook of 256, which averages move, 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-vq.toml"),
    },
    Preset {
        name: "mnist-vq-conv",
        about: "7x7 codes a picture of a codebook of 128, convolutions 32-64 with residual blocks, 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-vq-conv.toml"),
    },
    Preset {
        name: "mnist-fsq",
        about: "the same convolutions, each number of a code rounded to 8, 5 and 5 levels: 200 codes, 10 epochs",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("mnist-fsq.toml"),
    },
];

/// Of the model `pixelcnn`.
pub static PIXELCNN: [Preset; 1] = [Preset {
    name: "mnist-vq-prior",
    about: "the codes of a trained mnist-vq-conv one after the other, masked convolutions of 64 channels, 10 epochs",
    article: OVERVIEW,
    x: MNIST,
    classes: 0,
    text: include_str!("mnist-vq-prior.toml"),
}];

/// Of the model `ladder`.
pub static LADDER: [Preset; 1] = [Preset {
    name: "mnist-ladder",
    about: "784-400(32)-200(10): two levels of latents, inferred from the top down, pixels drawn black or white",
    article: OVERVIEW,
    x: MNIST,
    classes: 0,
    text: include_str!("mnist-ladder.toml"),
}];

/// Of the model `vae_gan`.
pub static VAE_GAN: [Preset; 1] = [Preset {
    name: "mnist-vae-gan",
    about: "convolutions and a discriminator whose features compare the pictures, 32 latents: sharp digits",
    article: OVERVIEW,
    x: MNIST,
    classes: 0,
    text: include_str!("mnist-vae-gan.toml"),
}];

/// Of the model `classifier`.
pub static CLASSIFIER: [Preset; 2] = [
    Preset {
        name: "digits-classifier",
        about: "convolutions 16-32-64, 64 features, 10 classes: the metrics of digits are of it",
        article: OVERVIEW,
        x: MNIST,
        classes: 10,
        text: include_str!("digits-classifier.toml"),
    },
    Preset {
        name: "cifar-classifier",
        about: "colour pictures of 32x32, convolutions 32-64-128 with residual blocks, 128 features, likewise",
        article: OVERVIEW,
        x: Kind::Picture([3, 32, 32]),
        classes: 10,
        text: include_str!("cifar-classifier.toml"),
    },
];

/// Of the model `super_resolution`.
pub static SUPER_RESOLUTION: [Preset; 3] = [
    Preset {
        name: "digits-super",
        about: "digits of 28x28 from 14x14, convolutions of 32 channels, 8 latents, optimal sigma",
        article: OVERVIEW,
        x: MNIST,
        classes: 0,
        text: include_str!("digits-super.toml"),
    },
    Preset {
        name: "cifar-super",
        about: "colour pictures of 32x32 from 16x16, residual blocks of 48 channels, 16 latents, optimal sigma",
        article: OVERVIEW,
        x: Kind::Picture([3, 32, 32]),
        classes: 0,
        text: include_str!("cifar-super.toml"),
    },
    Preset {
        name: "faces-super",
        about: "colour pictures of 64x64 from 32x32, of a folder (--data), likewise with 32 latents",
        article: OVERVIEW,
        x: Kind::Picture([3, 64, 64]),
        classes: 0,
        text: include_str!("faces-super.toml"),
    },
];
