//! A prior over the codes of a trained VQ-VAE, by the masked convolutions of PixelCNN (van den Oord, Kalchbrenner &
//! Kavukcuoglu 2016, arXiv 1601.06759), as van den Oord et al. 2017 (arXiv 1711.00937) draw from theirs.
//!
//!   -log p(k) = sum_v -log p(k_v | k_1 .. k_(v-1)),   k the numbers of the codes of x, in the order of reading
//!
//! in nats. A convolution whose window is masked sees only what comes before, so one pass gives the distributions of
//! all places at once; to draw takes a pass a place. With the VQ-VAE's -log p(x|q) it makes a bound on -log p(x).
//! The VQ-VAE is a part of the model that nothing trains, so that its file draws pictures on its own.
//! B batch, D' pixels, V = H W codes a picture, D numbers of a code, K codes, C channels.

use std::path::PathBuf;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::codebook::{CodebookKeys, Movement};
use super::parts::frozen::{self, Frozen};
use super::parts::network::Shape;
use super::parts::networks::{Networks, require};
use super::parts::{complete, read, reads};
use super::vq::{self, Vq};
use super::{Entry, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::kernels::conv2d::Geometry;
use crate::kernels::masked_weight::Mask;
use crate::kernels::rows::Rows;
use crate::kernels::{codebook, cross_entropy};
use crate::keys;
use crate::layers::Mode;
use crate::layers::conv2d::Conv2d;
use crate::layers::sequential::{self, Layer, Sequential};
use crate::program::Recorder;
use crate::tensor::Tensor;
use crate::train::checkpoint::{Checkpoint, ModelCard};

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "pixelcnn",
    about: "a prior over the codes of a trained VQ-VAE, from which it draws pictures (van den Oord et al. 2016)",
    formula: "-log p(k) = sum_v -log p(k_v | k_1 .. k_(v-1)), k the codes of x   (arXiv 1601.06759)",
    takes: &[PICTURES],
    terms: |_| &[Term { name: "codes", weight: Weight::One, about: "-log p(k), k the codes of x" }],
    keys: &[PriorKeys::KEYS, Networks::KEYS, CodebookKeys::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: adopt,
    presets: &presets::PIXELCNN,
    open: |arena, table, columns| Ok(Box::new(PixelCnn::open(arena, read(table)?, columns)?)),
};

keys! {
    /// The prior.
    PriorKeys {
        "Model" {
            vq: Option<PathBuf> = None, "RUN",
                "A run folder or model file of a VQ-VAE, over whose codes this is a prior; its settings are taken over";
            width: usize = 64, "N", "Channels of the prior's convolutions, an even number";
            blocks: usize = 4, "N", "Residual blocks of the prior";
            window: usize = 7, "N", "Side of the first convolution's window, an odd number";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The prior.
    #[serde(flatten)]
    pub prior: PriorKeys,
    /// The VQ-VAE.
    #[serde(flatten)]
    pub vq: vq::Config,
}

/// Larger ones are typing errors.
const LARGEST: usize = 1 << 12;

impl Config {
    fn check(&self) -> Result<()> {
        let PriorKeys { width, blocks, window, .. } = self.prior;
        let holds = (2..=LARGEST).contains(&width) && width % 2 == 0;
        require(holds, "width", width, &format!("must be an even number, 2 to {LARGEST}"))?;
        require(blocks <= LARGEST, "blocks", blocks, &format!("must be 0 to {LARGEST}"))?;
        let holds = (3..=LARGEST).contains(&window) && window % 2 == 1;
        require(holds, "window", window, &format!("must be an odd number, 3 to {LARGEST}"))?;
        self.vq.check()
    }
}

/// Takes over the settings of the VQ-VAE that these settings of a prior name. Errors: it is not there, or is none.
fn adopt(own: &mut Table, _: usize) -> Result<()> {
    let config: Config = read(own)?;
    let (_, _, card) = trained(&config)?;
    vq::ENTRY.key_names().for_each(|key| drop(own.remove(key)));
    own.extend(card.settings);
    Ok(())
}

/// The VQ-VAE's file, what it holds, and its card. Errors: no file is named or there, or it is of another model.
fn trained(config: &Config) -> Result<(PathBuf, Checkpoint, ModelCard)> {
    let (path, checkpoint, card) = frozen::open(["vq", "VQ-VAE", "mnist-vq-conv"], &config.prior.vq)?;
    if card.model != vq::ENTRY.name {
        return Err(Error::Usage(format!(
            "vq: {} is a model of the kind {}, not a VQ-VAE: `elbo train mnist-vq-conv` makes one",
            path.display(),
            card.model
        )));
    }
    Ok((path, checkpoint, card))
}

/// The model.
pub struct PixelCnn {
    config: Config,
    /// (C,H,W) of the pictures.
    shape: [usize; 3],
    /// (D,H,W) of the codes.
    grid: [usize; 3],
    vq: Vq,
    /// The VQ-VAE's numbers.
    constants: Frozen,
    network: Sequential,
}

impl PixelCnn {
    /// Declares the parameters and constants for pictures of the columns' shape. Errors: settings out of range,
    /// networks that do not fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<PixelCnn> {
        config.check()?;
        let vq = vq::Config { codebook: config.vq.codebook.settled(), ..config.vq };
        let config = Config { vq, ..config };
        let shape = columns.picture(PICTURES)?;
        // Of a codebook that averages moved the codes alone are needed.
        let mut frozen = config.vq.clone();
        if frozen.codebook.codebook == Movement::Ema {
            frozen.codebook.codebook = Movement::Gradient;
        }
        let (vq, constants) = Frozen::declare(arena, "vq.", |arena| Vq::open(arena, frozen, columns));
        let vq = vq?;
        let [grid @ [dim, ..], _] = config.vq.grid(shape)?;
        let network = network(arena, &config.prior, dim, config.vq.codebook.codes);
        Ok(PixelCnn { config, shape, grid, vq, constants, network })
    }

    /// K
    fn codes(&self) -> usize {
        self.config.vq.codebook.codes
    }

    /// Numbers of codes (B,V) to the logits of each place given those before it, (B*V,K).
    fn logits(&self, r: &mut Recorder, ids: Tensor, mode: Mode) -> (Tensor, sequential::Saved) {
        let [d, h, w] = self.grid;
        let vectors = self.vq.vectors(r, ids).reshape(&[ids.matrix()[0], h, w, d]);
        let (y, saved) = self.network.forward(r, vectors, mode);
        (y.reshape(&[ids.len(), self.codes()]), saved)
    }
}

/// A masked convolution that does not see the middle of its window, residual blocks that see up to it, and two layers
/// that see one place: (B,H,W,D) to (B,H,W,K). The modules of an nn.Sequential called `network`.
fn network(arena: &mut Arena, keys: &PriorKeys, dim: usize, codes: usize) -> Sequential {
    let PriorKeys { width: c, blocks, window, .. } = *keys;
    let mut conv = |name: String, sizes: [usize; 2], window: usize, activation: Activation| {
        let geometry = Geometry { padding: [window / 2; 2], ..Geometry::square(window, 1) };
        Conv2d::new(arena, &name, sizes, geometry, true, activation)
    };
    let (relu, identity) = (Activation::Relu, Activation::Identity);
    let first = conv("network.0".into(), [dim, c], window, identity).masked(Mask::Before);
    let mut layers = vec![Layer::Conv2d(first)];
    for block in 1..=blocks {
        let name = |i: usize| format!("network.{block}.body.{i}");
        layers.push(Layer::Residual(Sequential::new(vec![
            Layer::Activation(relu),
            Layer::Conv2d(conv(name(1), [c, c / 2], 1, relu)),
            Layer::Conv2d(conv(name(3), [c / 2, c / 2], 3, relu).masked(Mask::UpTo)),
            Layer::Conv2d(conv(name(5), [c / 2, c], 1, identity)),
        ])));
    }
    layers.push(Layer::Activation(relu));
    layers.push(Layer::Conv2d(conv(format!("network.{}", blocks + 2), [c, c], 1, relu)));
    layers.push(Layer::Conv2d(conv(format!("network.{}", blocks + 4), [c, codes], 1, identity)));
    Sequential::new(layers)
}

impl Model for PixelCnn {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES); // (B,D')
        let ids = self.vq.encode(r, x); // (B,V): what is modelled

        let (logits, network) = self.logits(r, ids, batch.mode); // (B*V,K)
        r.scope("loss");
        let targets = codebook::one_hot(r, ids, self.codes());
        let loss = cross_entropy::loss(r, logits, targets); // (B*V): -log p(k_v | those before)

        let Rows::Scale(scale) = batch.weight else { panic!("every picture of a prior counts the same") };
        let dlogits = cross_entropy::backward(r, logits, targets, scale);
        let [_, h, w] = self.grid;
        self.network.backward_parameters(r, network, dlogits.reshape(&[batch.rows, h, w, self.codes()]));
        vec![loss]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES);
        let ids = self.vq.encode(r, x);
        let (logits, _) = self.logits(r, ids, Mode::Evaluate);
        r.scope("loss");
        let targets = codebook::one_hot(r, ids, self.codes());
        vec![cross_entropy::loss(r, logits, targets)]
    }

    fn views(&self) -> Vec<View> {
        let codes = self.vq.codes();
        let next = View::new("next").takes("codes", codes).gives("logits", Kind::Vector(codes.width() * self.codes()));
        [self.vq.views(), vec![next]].concat()
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], draw: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("next", &[ids]) => {
                let (logits, _) = self.logits(r, ids, Mode::Evaluate);
                vec![logits.reshape(&[ids.matrix()[0], logits.len() / ids.matrix()[0]])]
            }
            _ => self.vq.view(r, name, inputs, draw),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let PriorKeys { width, blocks, .. } = self.config.prior;
        format!("{} channels, {blocks} blocks over {}", width, self.vq.describe())
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.network.initial(rng)
    }

    fn constants(&self) -> Result<Vec<(Tensor, Vec<f32>)>> {
        let (path, checkpoint, card) = trained(&self.config)?;
        let theirs: vq::Config = read(&card.settings)?;
        if theirs != self.config.vq || card.columns.picture(PICTURES)? != self.shape {
            return Err(Error::Usage(format!(
                "vq: {} is {} for {}, which is not what these settings say for {}",
                path.display(),
                card.open(&mut Arena::new())?.describe(),
                card.columns,
                Shape::Picture(self.shape)
            )));
        }
        self.constants.values(&checkpoint, &path)
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        self.vq.check_batch(batch_size)
    }
}
