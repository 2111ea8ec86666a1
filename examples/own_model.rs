//! A model of one's own, with a kernel of one's own: a plain autoencoder whose loss is the Charbonnier loss of
//! own_kernel.rs.
//!
//!   L(x) = sum_d sqrt((g(f(x)) - x)^2 + epsilon^2) - epsilon
//!
//!     cargo run --release --example own_model
//!
//! Once it is on the list, everything that is written against [`Model`] works with it: the trainer, metrics,
//! checkpoints, resume, pictures, inference. B batch, D pixels, Z the numbers in the middle.

mod own_kernel;

use std::sync::atomic::AtomicBool;

use elbo::arena::Arena;
use elbo::backend::{Device, cpu::Cpu};
use elbo::data::digits;
use elbo::data::table::{Columns, Kind, PICTURES};
use elbo::error::Result;
use elbo::inference::Trained;
use elbo::kernels::activation::Activation;
use elbo::keys;
use elbo::layers::{Mode, linear::Linear, sequential::Layer, sequential::Sequential};
use elbo::models::parts::{complete, read, reads};
use elbo::models::{self, Entry, Losses, Model, Term, View, Weight, batch::Batch, draw::Draw};
use elbo::program::Recorder;
use elbo::tensor::Tensor;
use elbo::train::{run_folder::RunFolder, settings::Settings, trainer::Event, trainer::Trainer};
use rand_chacha::ChaCha8Rng;
use toml::Table;

// ANCHOR: entry
static ENTRY: Entry = Entry {
    name: "autoencoder",
    about: "a plain autoencoder with a smooth absolute error",
    formula: "L(x) = sum_d sqrt((g(f(x)) - x)^2 + epsilon^2) - epsilon",
    takes: &[PICTURES],
    terms: |_| &[Term { name: "error", weight: Weight::One, about: "the Charbonnier loss, which is not in nats" }],
    keys: &[Config::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table).map(drop),
    overlay: |_, _| {},
    fill_in: |_, _| Ok(()),
    presets: &[],
    open: |arena, table, columns| Ok(Box::new(Autoencoder::open(arena, read(table)?, columns)?)),
};
// ANCHOR_END: entry

// ANCHOR: keys
keys! {
    /// Its settings.
    Config {
        "Model" {
            hidden: usize = 100, "N", "Size of the hidden layer on each side";
            code: usize = 8, "N", "Numbers in the middle";
            epsilon: f64 = 0.1, "X", "Where the error turns from square to absolute";
        }
    }
}
// ANCHOR_END: keys

struct Autoencoder {
    config: Config,
    picture: [usize; 3],
    encoder: Sequential,
    decoder: Sequential,
}

impl Autoencoder {
    fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Autoencoder> {
        let picture = columns.picture(PICTURES)?;
        let (d, h, z) = (picture.iter().product(), config.hidden, config.code);
        let mut linear = |name, i, o, activation| Layer::Linear(Linear::new(arena, name, i, o, activation));
        let encoder = [linear("f.0", d, h, Activation::Relu), linear("f.2", h, z, Activation::Identity)];
        let decoder = [linear("g.0", z, h, Activation::Relu), linear("g.2", h, d, Activation::Sigmoid)];
        let [encoder, decoder] = [encoder, decoder].map(|layers| Sequential::new(layers.into()));
        Ok(Autoencoder { config, picture, encoder, decoder })
    }
}

impl Model for Autoencoder {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let (x, epsilon) = (batch.pictures(r, PICTURES), self.config.epsilon as f32); // (B,D)
        let (z, encoder) = self.encoder.forward(r, x, batch.mode); // (B,Z)
        let (y, decoder) = self.decoder.forward(r, z, batch.mode); // (B,D)
        let rows = own_kernel::loss(r, y, x, epsilon); // (B)

        let [dy] = batch.weight.apply(r, |r, scale| [own_kernel::backward(r, y, x, epsilon, scale)]);
        let dz = self.decoder.backward(r, decoder, dy);
        self.encoder.backward_parameters(r, encoder, dz);
        vec![rows]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES);
        let y = self.view(r, "reconstruct", &[x], draw)[0];
        vec![own_kernel::loss(r, y, x, self.config.epsilon as f32)]
    }

    // ANCHOR: views
    fn views(&self) -> Vec<View> {
        let x = Kind::Picture(self.picture);
        vec![View::new("reconstruct").takes("x", x).gives("reconstruction", x)]
    }

    fn view(&self, r: &mut Recorder, _: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        let (z, _) = self.encoder.forward(r, inputs[0], Mode::Evaluate);
        vec![self.decoder.forward(r, z, Mode::Evaluate).0]
    }
    // ANCHOR_END: views

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [self.encoder.initial(rng), self.decoder.initial(rng)].concat()
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        format!("{}-{}-{}", Kind::Picture(self.picture).width(), self.config.hidden, self.config.code)
    }
}

// ANCHOR: run
/// Trains on the built-in digits, and reconstructs one with what was saved. The test loss after each epoch.
fn run(folder: &std::path::Path) -> Result<Vec<f64>> {
    models::add(&ENTRY);
    let settings = Settings::of_model(&ENTRY).with("epochs = 3\nsamples = 0")?;
    let (data, device) = (digits::dataset([Some(12_000), Some(2_000)]), Device::Cpu(Cpu::Accelerated));
    let first = data.test.values(0..1);
    let run = RunFolder::create(folder)?;
    let mut trainer = Trainer::new(settings, data, &device, run, false)?;
    let mut losses = Vec::new();
    trainer.train(&AtomicBool::new(false), &mut |event| {
        if let Event::Epoch { metrics, .. } = event {
            println!("epoch {}: {:.2} a picture", metrics.epoch, metrics.test.loss);
            losses.push(metrics.test.loss);
        }
    })?;
    let again = Trained::open(folder, &device)?.view("reconstruct", &[("x", &first)], 0)?.remove(0);
    let apart = again.iter().zip(&first).map(|(a, b)| (a - b).abs()).sum::<f32>() / 784.0;
    println!("the first test picture comes back {apart:.3} apart in the mean of its pixels");
    Ok(losses)
}
// ANCHOR_END: run

fn main() -> Result<()> {
    run(std::path::Path::new("runs/own_model")).map(drop)
}

#[test]
fn it_learns_and_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let losses = run(&folder.path().join("run")).unwrap();
    assert!(losses.len() == 3 && losses[2] < 0.8 * losses[0], "{losses:?}");
}
