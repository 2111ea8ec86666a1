//! The command line, a file a command.

mod animate;
mod bench;
mod check;
mod classify;
mod compare;
mod data;
mod decode;
mod denoise;
mod devices;
mod disagreement;
mod edit;
mod encode;
mod eval;
mod export;
mod flags;
mod forecast;
mod interpolate;
mod kernels;
mod ladder;
mod lockstep;
mod manifold;
mod metrics;
mod models;
mod nearest;
mod parity;
mod plan;
mod profile;
mod progress;
mod rank;
mod ratings;
mod recommend;
mod reconstruct;
mod report;
mod sample;
mod score;
mod sentences;
mod series;
mod shared;
mod signals;
mod sounds;
mod studio;
mod sweep;
mod table;
mod train;
mod traverse;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use elbo::error::Result;
use elbo::messages::print;

/// Variational autoencoders trained by hand-written WGSL compute shaders, on any GPU and without one.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model; without arguments the MNIST VAE
    Train(Box<train::Args>),
    /// List the models and their presets, or show one with all its keys
    Models(models::Args),
    /// Take the test loss of a model
    Eval(eval::Args),
    /// Write encoder and decoder of a model of pictures as ONNX files, for other programs to run
    Export(export::Args),
    /// Draw pictures or windows of latent points sampled from the prior, or write sentences of them
    Sample(sample::Args),
    /// Draw test pictures above their reconstructions, or windows of series with theirs, or write sentences again
    Reconstruct(reconstruct::Args),
    /// Name the label under which each test picture costs least, by a model that is told the label
    Classify(classify::Args),
    /// Give clean pictures for noisy ones, by a denoising model, and measure how clean
    Denoise(denoise::Args),
    /// Show where a Bayesian model's weights disagree about test pictures: where they are unlike what it was trained on
    Disagreement(disagreement::Args),
    /// Print the items that somebody will like, by a model of recommendation
    Recommend(recommend::Args),
    /// Judge how a model ranks items for users it was not trained on, beside popularity and a linear model
    Rank(rank::Args),
    /// Give each row of a table, picture, sentence or step of a series a number that says how unlike the training data
    /// it is
    Score(score::Args),
    /// Say how a series goes on, with the band that its next numbers will lie in, by a model of series
    Forecast(forecast::Args),
    /// Draw the way through latent space between two test pictures, or write it between two sentences
    Interpolate(interpolate::Args),
    /// Print the test sentences that a model of sentences finds most like one
    Nearest(nearest::Args),
    /// Vary one latent dimension after the other
    Traverse(traverse::Args),
    /// Draw the plane of a 2-D latent space
    Manifold(manifold::Args),
    /// Edit pictures by their latent points: fuse them, move them along a label, change their style, fill them in, draw
    /// them larger, or estimate how small they can be coded
    Edit(Box<edit::Args>),
    /// Write the latent means of pictures or sentences to .npy and CSV
    Encode(encode::Args),
    /// Draw the pictures of latent points in a .npy file
    Decode(decode::Args),
    /// Show a run's samples epoch after epoch, as a GIF
    Animate(animate::Args),
    /// Train many runs from one file: a grid of settings or a list of them
    Sweep(sweep::Args),
    /// Draw runs over each other, and print in which settings they differ and what they came to
    Compare(compare::Args),
    /// Write a run as one HTML file to look at in a browser
    Report(report::Args),
    /// Serve the studio, the same engine in a browser's tab, from this machine
    Studio(studio::Args),
    /// Take the same training steps here and in PyTorch, and compare losses, gradients and parameters
    Parity(parity::Args),
    /// List the adapters of this machine and say which one `--device auto` takes
    Devices(devices::Args),
    /// List the kernels, or show the code of one
    Kernels(kernels::Args),
    /// Print a model's training step dispatch by dispatch, and its memory, before anything runs
    Plan(plan::Args),
    /// Time each dispatch of a model's training step and hold it against the device's measured peak
    Profile(profile::Args),
    /// Measure which of several shaders for the same work this device is fastest with, and keep it for training
    Tune(tune::Args),
    /// Time an operation written ever better, from three plain loops to the kernel that models run
    Ladder(ladder::Args),
    /// Measure steps, kernels, starts and memory on a device, and compare with other frameworks' results
    Bench(Box<bench::Args>),
    /// Hold every kernel against its reference on this machine's devices; the output makes a bug report
    Check(check::Args),
    /// Run a training step dispatch by dispatch beside the references and name the first element that differs
    Lockstep(lockstep::Args),
}

/// The wgpu that is built in.
const WGPU: &str = "30";

impl Cli {
    /// Runs the command; the exit code where it went well. Errors: what the command could not do.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Train(args) => return args.run(),
            Command::Sweep(args) => return args.run(),
            Command::Models(args) => args.run(),
            Command::Eval(args) => args.run(),
            Command::Export(args) => args.run(),
            Command::Classify(args) => args.run(),
            Command::Denoise(args) => args.run(),
            Command::Disagreement(args) => args.run(),
            Command::Recommend(args) => args.run(),
            Command::Rank(args) => args.run(),
            Command::Score(args) => args.run(),
            Command::Forecast(args) => args.run(),
            Command::Sample(args) => args.run(),
            Command::Reconstruct(args) => args.run(),
            Command::Interpolate(args) => args.run(),
            Command::Nearest(args) => args.run(),
            Command::Traverse(args) => args.run(),
            Command::Manifold(args) => args.run(),
            Command::Edit(args) => args.run(),
            Command::Encode(args) => args.run(),
            Command::Decode(args) => args.run(),
            Command::Animate(args) => args.run(),
            Command::Compare(args) => args.run(),
            Command::Report(args) => args.run(),
            Command::Studio(args) => args.run(),
            Command::Parity(args) => args.run(),
            Command::Devices(args) => args.run(),
            Command::Kernels(args) => args.run(),
            Command::Plan(args) => args.run(),
            Command::Profile(args) => args.run(),
            Command::Tune(args) => args.run(),
            Command::Ladder(args) => args.run(),
            Command::Bench(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Lockstep(args) => args.run(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints results for a program to read.
pub fn print_json(value: &impl serde::Serialize) {
    print(&serde_json::to_string_pretty(value).expect("plain data"));
}
