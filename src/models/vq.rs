//! The VQ-VAE of van den Oord, Vinyals & Kavukcuoglu (2017, arXiv 1711.00937): the latent is a grid of codes, each one
//! of K vectors that all places share.
//!
//!   L = -log p(x|q) + |sg(z) - q|^2 + commitment |z - sg(q)|^2,   q = the code nearest to z(x), sg: no gradient passes
//!
//! in nats, summed over pixels, places and numbers. The nearest code moves in steps, so the decoder's gradient dq is
//! handed to the encoder as it is (straight through). The second part moves the codes; running averages may do that in
//! its place. q(z|x) is certain of one code, and under a uniform prior costs V log K nats whatever x is: a constant
//! that is left out. A prior over the codes that is better than uniform is a model of its own. Finite scalar
//! quantisation (FSQ) is the same with codes that stay where they are: [`parts::codebook`](super::parts::codebook).
//! B batch, D' = C H W pixels, V codes a picture, D numbers of a code, K codes.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::codebook::{Codebook, CodebookKeys, Movement};
use super::parts::decoder::Decoder;
use super::parts::encoder::Encoder;
use super::parts::network::Shape;
use super::parts::networks::{Head, Networks};
use super::parts::{complete, read, reads};
use super::vae::RECON;
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::{Error, Result};
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "vq",
    about: "the VQ-VAE: a grid of codes, the nearest of a codebook, straight through (van den Oord et al. 2017)",
    formula: "-log p(x|q) + |sg(z) - q|^2 + commitment |z - sg(q)|^2, q nearest to z   (arXiv 1711.00937)",
    takes: &[PICTURES],
    terms: |_| {
        &[
            RECON,
            Term { name: "codebook", weight: Weight::One, about: "|sg(z) - q|^2; 0 where averages move the codes" },
            Term { name: "commit", weight: Weight::Knob("commitment"), about: "|z - sg(q)|^2" },
            Term { name: "perplexity", weight: Weight::Zero, about: "e^entropy of the codes of a batch, in codes" },
            Term { name: "used", weight: Weight::Zero, about: "how many codes a batch takes" },
        ]
    },
    keys: &[Networks::KEYS, CodebookKeys::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: CodebookKeys::fill_in,
    presets: &presets::VQ,
    open: |arena, table, columns| Ok(Box::new(Vq::open(arena, read(table)?, columns)?)),
};

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Encoder and decoder; `latent` is V.
    #[serde(flatten)]
    pub networks: Networks,
    /// The codebook.
    #[serde(flatten)]
    pub codebook: CodebookKeys,
}

impl Config {
    pub(super) fn check(&self) -> Result<()> {
        self.networks.check()?;
        self.codebook.check()
    }

    /// (D,H,W) of the codes of pictures of this (C,H,W), H W = V, and what the decoder takes, (C,H,W): the same, but
    /// where the encoder leaves no picture the codes are in a row, and a listed decoder sees one place. Errors:
    /// settings out of range, networks that do not fit.
    pub(super) fn grid(&self, picture: [usize; 3]) -> Result<[[usize; 3]; 2]> {
        self.check()?;
        let (places, dim) = (self.networks.latent, self.codebook.code_dim);
        let left = match &self.networks.encoder {
            Some(encoder) if self.networks.head == Head::Direct => encoder.sizes("encoder", Shape::Picture(picture))?.0,
            _ => Shape::Vector(places * dim),
        };
        match left {
            Shape::Picture([c, h, w]) if c == dim && h * w == places => Ok([[c, h, w]; 2]),
            Shape::Vector(numbers) if numbers == places * dim => Ok([[dim, 1, places], [numbers, 1, 1]]),
            _ => Err(Error::Usage(format!(
                "the encoder must leave {dim} channels (code_dim) of {places} places (latent), but it leaves {left}"
            ))),
        }
    }
}

/// The model.
pub struct Vq {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    /// (D,H,W) of the codes.
    grid: [usize; 3],
    /// (C,H,W) that the decoder takes.
    decoded: [usize; 3],
    encoder: Encoder,
    codebook: Codebook,
    decoder: Decoder,
}

impl Vq {
    /// Declares the parameters for pictures of the columns' shape. Errors: settings out of range, networks that do not
    /// fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Vq> {
        let config = Config { codebook: config.codebook.settled(), ..config };
        let shape = columns.picture(PICTURES)?;
        let [grid, decoded] = config.grid(shape)?;
        let (networks, numbers) = (&config.networks, grid.iter().product());
        let left = (numbers, format!("{} x {} numbers", networks.latent, config.codebook.code_dim));
        networks.fit_to(Shape::Picture(shape), left, Shape::Picture(decoded), shape)?;
        let encoder = Encoder::new(arena, networks, shape, numbers);
        let codebook = Codebook::new(arena, &config.codebook);
        let decoder = Decoder::over(arena, networks, decoded, shape);
        Ok(Vq { config, shape, grid, decoded, encoder, codebook, decoder })
    }

    /// What its latent points are.
    pub(super) fn codes(&self) -> Kind {
        let [_, h, w] = self.grid;
        Kind::Codes { places: [h, w], codes: self.config.codebook.codes }
    }

    /// x (B,D') to the numbers of its codes, (B,V).
    pub(super) fn encode(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        let (z, _) = self.encoder.forward(r, x, Mode::Evaluate);
        self.codebook.encode(r, z).reshape(&[x.matrix()[0], self.config.networks.latent])
    }

    /// Numbers of codes (B,V) to the vectors of the codes, (B,V*D).
    pub(super) fn vectors(&self, r: &mut Recorder, ids: Tensor) -> Tensor {
        self.codebook.gather(r, ids)
    }

    /// Numbers of codes (B,V) to pictures (B,D').
    pub(super) fn decode(&self, r: &mut Recorder, ids: Tensor) -> Tensor {
        let q = self.vectors(r, ids);
        self.decoder.generate(r, q)
    }
}

impl Model for Vq {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES); // (B,D')

        let (z, encoder) = self.encoder.forward(r, x, batch.mode); // (B,V*D)
        let quantised = self.codebook.forward(r, z);
        let (y, decoder) = self.decoder.forward(r, quantised.q, batch.mode); // (B,D'): logits or means
        let recon = self.decoder.loss(r, y, x); // (B): -log p(x|q)
        let [codes, commit, perplexity, used] = self.codebook.terms(r, &quantised);

        let dy = self.decoder.loss_backward(r, recon, batch.weight);
        let dq = self.decoder.backward(r, decoder, dy);
        let dz = self.codebook.backward(r, quantised, dq, batch); // straight through, and from the commitment
        self.encoder.backward(r, encoder, dz);
        vec![recon.rows, codes, commit, perplexity, used]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES);
        let (z, _) = self.encoder.forward(r, x, Mode::Evaluate);
        let quantised = self.codebook.forward(r, z);
        let (y, _) = self.decoder.forward(r, quantised.q, Mode::Evaluate);
        let recon = self.decoder.loss(r, y, x);
        let [codes, commit, perplexity, used] = self.codebook.terms(r, &quantised);
        vec![recon.rows, codes, commit, perplexity, used]
    }

    fn views(&self) -> Vec<View> {
        let (x, codes) = (Kind::Picture(self.shape), self.codes());
        vec![
            View::new("encode").takes("x", x).gives("codes", codes),
            View::new("decode").takes("z", codes).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("reconstruction", x),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        let &[input] = inputs else { panic!("vq has no view {name} of {} inputs", inputs.len()) };
        match name {
            "encode" => vec![self.encode(r, input)],
            "decode" => vec![self.decode(r, input)],
            "reconstruct" => {
                let ids = self.encode(r, input);
                vec![self.decode(r, ids)]
            }
            _ => panic!("vq has no view {name}"),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let CodebookKeys { codes, code_dim, .. } = self.config.codebook;
        format!("{}x{code_dim} of {codes} codes", self.config.networks.describe(Shape::Picture(self.shape)))
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [self.encoder.initial(rng), self.codebook.initial(rng), self.decoder.initial(rng)].concat()
    }

    fn constants(&self) -> Result<Vec<(Tensor, Vec<f32>)>> {
        Ok(self.codebook.constants())
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.codebook.knob()]
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        self.config.networks.check_batch_of(batch_size, Shape::Picture(self.shape), Shape::Picture(self.decoded))
    }

    fn check_examples(&self, count: usize) -> Result<()> {
        let (codes, places) = (self.config.codebook.codes, self.config.networks.latent);
        if codes <= count.saturating_mul(places) || self.config.codebook.codebook == Movement::Fsq {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "codes is {codes}, but {count} training pictures of {places} places each have only {} vectors to put codes \
             onto: take fewer (--set codes=N) or more pictures",
            count * places
        )))
    }
}
