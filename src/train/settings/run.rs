//! The keys of a run, whatever its model.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::text::vocabulary::Tokenisation;
use crate::data::{Background, Binarise, Corrupt, Orientation, Split};
use crate::keys;
use crate::schedule::LrSchedule;

keys! {
    /// The keys of a run, whatever its model.
    Run {
        "Data" {
            dataset: String = "auto".into(), "NAME",
                "The data set: auto (MNIST, or the built-in digits where MNIST is neither here nor can be fetched), \
                 mnist, fashion-mnist, kmnist, emnist-..., binarized-mnist, cifar10, cifar100, digits, or one's own: \
                 folder, array, table, ratings, text, audio";
            data: Option<PathBuf> = None, "PATH",
                "The folder of the data set's files; of folder its pictures, of array the .npy or .npz file, of table \
                 the .csv or .csv.gz file, or a folder with train.csv and test.csv; of ratings the .csv or .csv.gz file, \
                 or a folder with ratings.csv; of text the .txt or .txt.gz file, or a folder with train.txt and test.txt; \
                 of series the .csv or .csv.gz file, or a folder of them; of audio the folder of the .wav files \
                 [default: $ELBO_DATA, else \
                 data/DATASET]";
            crop: Option<usize> = None, "N",
                "Cut a square of N x N from the middle of each picture of a folder, before any resizing; 0 cuts none";
            image_size: Option<usize> = None, "N",
                "Resize each picture of a folder to N x N, without --crop its middle square; 0 leaves the size";
            channels: Option<usize> = None, "N",
                "Channels of a folder's pictures: 1 (grey) or 3; 0 takes 3 if any is in colour, else 1";
            background: Background = Background::WHITE, "COLOUR",
                "What a transparent picture of a folder is laid over: white, black, a colour such as #ff8000, or none: \
                 then the transparency is dropped, and the colours are those stored";
            orientation: Orientation = Orientation::Exif, "NAME",
                "Which way up a picture of a folder is taken: as its EXIF orientation says (exif) or as its pixels are \
                 stored (stored)";
            corrupt: Corrupt = Corrupt::Refuse, "NAME",
                "A picture of a folder that cannot be decoded is an error (refuse) or left out by name (skip)";
            label_column: Option<String> = None, "NAME",
                "The column of a table or of series that holds labels, whole numbers from 0; of series several by commas, of \
                 which the first is the label and none is a channel [default: anomaly or label, if there is one]";
            split: Split = Split::default(), "FORM",
                "How one table, text or series is parted: share:0.2 tests on that share of its rows, drawn at random \
                 (share:0.2:SEED), of a series on the last ones; first:400 trains on the first 400 rows; normal:0.5 trains \
                 on the first half of the normal rows and tests on the others and all anomalies";
            normal: Vec<usize> = Vec::new(), "K",
                "Train on examples of these labels alone, for instance 0,1; the others of the test set are anomalies \
                 for `elbo score` [default: all]";
            liked_above: f64 = 3.5, "X", "Of ratings, those above X count as liked";
            split_seed: u64 = 1, "N",
                "Which users of ratings are held out, and which of their items are hidden";
            tokens: Tokenisation = Tokenisation::Words, "NAME",
                "Of a text, what a token is: words (lower case; runs of a to z and digits, any other sign by itself) or \
                 characters";
            min_count: usize = 2, "N",
                "Of a text, words that its training sentences have less often than N times are unknown";
            longest: usize = 60, "N",
                "Of a text, sentences of more than N tokens, the end symbol counted, are left out";
            window_length: usize = 64, "N", "Of series, the steps of a window";
            window_stride: Option<usize> = None, "N",
                "Of series, the steps from one training window to the next; test windows lie side by side; 0 is half a \
                 window";
            sample_rate: u32 = 8000, "HZ",
                "Of recordings, samples a second; those of another rate are resampled";
            n_fft: usize = 256, "N", "Of recordings, samples of a window, which has N/2+1 frequencies";
            hop_length: usize = 96, "N", "Of recordings, samples from one window to the next";
            n_mels: usize = 64, "N", "Of recordings, mel filters: the height of the picture";
            frames: usize = 64, "N",
                "Of recordings, windows: the width of the picture; longer ones are cut, shorter ones followed by silence";
            top_db: f64 = 80.0, "DB",
                "Of recordings, decibels from black to white, the loudest level of the training recordings";
            train_limit: Option<usize> = None, "N",
                "Train on N pictures only: the first ones, of a folder or array a share of all, always the same; 0 \
                 takes all";
            test_limit: Option<usize> = None, "N", "Test on N pictures only, chosen likewise; 0 takes all";
            flip: bool = false, "BOOL",
                "Mirror half of the training pictures left to right, chosen anew at each step; `--flip false` turns \
                 it off";
            shift: usize = 0, "N",
                "Shift each training picture by up to N pixels each way, anew at each step; what comes in is black";
            binarise: Binarise = Binarise::None, "NAME",
                "Make every pixel black or white: none, threshold (white from a half on), static (drawn once, white as \
                 often as its grey level says) or dynamic (drawn anew at each step; test pictures once)";
        }
        "Training" {
            epochs: usize = 10, "N", "Passes over the training data";
            batch_size: usize = 128, "N", "Pictures a step";
            init: Option<PathBuf> = None, "PATH",
                "Start from the parameters and running statistics of a trained model of the same network, a \
                 .safetensors file (PyTorch's too) or a run folder; the optimiser starts anew [default: drawn]";
            seed: u64 = 1, "N", "Seed of the initial weights, the order of the pictures and every noise";
            device: String = "auto".into(), "NAME", "auto (a real GPU, else the CPU), cpu, gpu, or part of an adapter's name";
            no_fuse: bool = false, "BOOL",
                "Run a step as the model records it, one kernel an operation, without fused kernels";
        }
        "Loss" {
            reduction: Reduction = Reduction::Sum, "NAME",
                "Optimise the sum of a batch's losses (sum) or their mean (mean); reports are means either way";
        }
        "Optimiser" {
            optimizer: Optimizer = Optimizer::Adam, "NAME",
                "adam, adamw or sgd; weight decay is L2 in adam and sgd, decoupled in adamw";
            lr: f64 = 1e-3, "X", "Learning rate";
            betas: [f64; 2] = [0.9, 0.999], "X,X", "Adam's two decay rates, for instance 0.9,0.99";
            eps: f64 = 1e-8, "X", "Adam's term against division by zero";
            momentum: f64 = 0.0, "X", "Momentum of sgd";
            weight_decay: f64 = 0.0, "X", "Weight decay";
            clip_norm: Option<f64> = None, "X", "Scale the gradient down to this L2 norm; 0 turns it off";
            lr_schedule: LrSchedule = LrSchedule::Constant, "FORM",
                "constant, linear[:FINAL], cosine[:FINAL] or cyclical[:CYCLES[:FINAL]], times the learning rate";
            warmup_epochs: f64 = 0.0, "X",
                "Epochs, or a part of one, over which the learning rate rises from 0 before its schedule starts";
        }
        "Stopping" {
            patience: Option<usize> = None, "N", "Stop after N epochs in a row without an improvement; 0 turns it off";
            monitor: String = "test_loss".into(), "METRIC",
                "The metric that stopping and best.safetensors follow: train_ or test_ and loss or a term of the model";
            min_delta: f64 = 0.0, "NATS", "Nats by which an epoch must be lower to count as an improvement";
        }
        "Output" {
            out: PathBuf = PathBuf::new(), "DIR",
                "The run's folder, with -2, -3, ... where it is not given and taken [default: runs/ and the preset's \
                 or the model's name]";
            samples: usize = 64, "N", "Pictures in the sample grid drawn after each epoch; 0 draws none";
        }
    }
}

/// Whether the optimised loss is the batch's sum (`Sum`) or its mean (`Mean`). Reported losses are means over pictures
/// either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Sum over the batch.
    Sum,
    /// Mean over the batch.
    Mean,
}

impl Reduction {
    /// dL/drow for a batch of so many rows.
    pub fn scale(self, rows: usize) -> f32 {
        match self {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / rows as f32,
        }
    }
}

/// The rule of the parameter update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Kingma and Ba 2015 (arXiv 1412.6980), weight decay added to the gradient (L2).
    Adam,
    /// Loshchilov and Hutter 2019 (arXiv 1711.05101), which shrinks the weights directly (decoupled).
    AdamW,
    /// With momentum as in PyTorch; weight decay as in Adam.
    Sgd,
}
