//! The ladder VAE: several levels of latent variables, each with a prior that the level above gives, inferred from the
//! top down (Sønderby, Raiko, Maaløe, Sønderby & Winther 2016, arXiv 1602.02282).
//!
//!   p(x,z) = p(x|z_1) p(z_1|z_2) ... p(z_L),          p(z_L) = N(0,1), p(z_l|z_l+1) = N(mean_p, e^logvar_p)
//!   q(z|x) = q(z_L|x) q(z_L-1|x,z_L) ... q(z_1|x,z_2)
//!
//! Upwards a network makes d_1, ..., d_L of x, and of each d_l what x alone says of z_l, a Gaussian s_l. Downwards
//! q(z_l|x,z_l+1) is the product of s_l and the prior: precisions add (equations 15 to 17), and q(z_L|x) is s_L.
//! Minimised is
//!
//!   -ELBO(x) = E_q[-log p(x|z_1) + sum_l KL(q(z_l|x,z_l+1) || p(z_l|z_l+1))]
//!
//! each KL in closed form, given z_l+1. To everything outside, a latent point is the noise of all levels side by side,
//! level 1 first: z_l = mean_p + e^(logvar_p/2) eps_l, eps ~ N(0,1), so that the prior of eps is that of any VAE. B
//! batch, D = C H W pixels or numbers of a row, L levels, Z_l numbers of level l.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::level::{Level, Sampled};
use super::parts::likelihood::Likelihood;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, LARGEST_SIZE, require};
use super::parts::pair::Pair;
use super::parts::{complete, read, reads};
use super::vae::RECON;
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::{joint, reparameterise};
use crate::keys;
use crate::layers::linear::{self, Linear};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The most levels: as many as there are terms.
const MOST_LEVELS: usize = 5;

const fn kl(name: &'static str) -> Term {
    Term {
        name,
        weight: Weight::Knob("kl_weight"),
        about: "KL(q(z_l|x,z_l+1) || p(z_l|z_l+1)) of level l, 1 the lowest",
    }
}

/// The terms of five levels; of fewer the first.
static TERMS: [Term; 6] = [RECON, kl("kl_1"), kl("kl_2"), kl("kl_3"), kl("kl_4"), kl("kl_5")];

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "ladder",
    about: "a VAE of two to five levels of latents, each the prior of the one below (Sønderby et al. 2016)",
    formula: "-ELBO(x) = E_q[-log p(x|z_1)] + kl_weight sum_l KL(q(z_l|x,z_l+1) || p(z_l|z_l+1))   (arXiv 1602.02282)",
    takes: &[PICTURES],
    terms: Levels::terms,
    keys: &[Levels::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: |_, _| {},
    fill_in: |_, _| Ok(()),
    presets: &presets::LADDER,
    open: |arena, table, columns| Ok(Box::new(Ladder::open(arena, read(table)?, columns)?)),
};

keys! {
    /// The levels and their networks.
    Levels {
        "Model" {
            hidden: Vec<usize> = vec![400, 200], "N",
                "Sizes of the hidden layers, one a level, the lowest first; the way down has the same";
            latent: Vec<usize> = vec![32, 10], "N",
                "Numbers of latent dimensions, one a level, the lowest first: 2 to 5 levels";
            activation: Activation = Activation::Relu, "NAME", "Nonlinearity after each hidden layer";
            output: Likelihood = Likelihood::Bernoulli, "NAME", "Distribution of a pixel: as of the model `vae`";
            sigma: f64 = 1.0, "X", "Scale of the outputs that have one";
        }
    }
}

impl Levels {
    /// The reconstruction, and a KL a level.
    fn terms(settings: &Table) -> &'static [Term] {
        let levels = settings.get("latent").and_then(|latent| latent.as_array()).map_or(2, Vec::len);
        &TERMS[..1 + levels.clamp(1, MOST_LEVELS)]
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The levels.
    #[serde(flatten)]
    pub levels: Levels,
    /// The KL terms.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        let Levels { hidden, latent, sigma, .. } = &self.levels;
        let (levels, size) = (latent.len(), format!("must be 1 to {LARGEST_SIZE}"));
        let few = format!("must be the sizes of 2 to {MOST_LEVELS} levels, as in 32,10");
        require((2..=MOST_LEVELS).contains(&levels), "latent", listed(latent), &few)?;
        let one_each = format!("must be a size a level, and latent has {levels}");
        require(hidden.len() == levels, "hidden", listed(hidden), &one_each)?;
        for (key, &width) in hidden.iter().map(|n| ("hidden", n)).chain(latent.iter().map(|n| ("latent", n))) {
            require((1..=LARGEST_SIZE).contains(&width), key, width, &size)?;
        }
        require(*sigma > 0.0 && sigma.is_finite(), "sigma", sigma, "must be a positive number")?;
        self.divergence.check_without_free_bits("here: the levels warm up by kl_schedule")
    }
}

/// As in `400,200`; `empty` of none.
fn listed(sizes: &[usize]) -> String {
    if sizes.is_empty() { "empty".into() } else { sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(",") }
}

/// The model.
pub struct Ladder {
    config: Config,
    /// Pictures or vectors.
    x: Kind,
    /// Level 1 first.
    levels: Vec<Level>,
    decoder: Pair,
}

impl Ladder {
    /// Declares the parameters for pictures or vectors of the columns. Errors: settings out of range, an output that is
    /// no distribution of vectors.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Ladder> {
        let x = columns.values(PICTURES)?;
        config.check()?;
        let Levels { ref hidden, ref latent, activation, output, .. } = config.levels;
        output.check(x)?;
        let numbers = Shape::of(x).len();
        let mut levels = Vec::new();
        for (i, (&width, &size)) in hidden.iter().zip(latent).enumerate() {
            let (name, inputs) = (i + 1, if i == 0 { numbers } else { hidden[i - 1] });
            let encoder = Linear::new(arena, &format!("encoder.{name}"), inputs, width, activation);
            let seen = Linear::new(arena, &format!("posterior.{name}"), width, 2 * size, Activation::Identity);
            let sizes = |above: &usize| [*above, hidden[i + 1], 2 * size];
            let prior = latent.get(i + 1).map(sizes);
            let prior = prior.map(|sizes| Pair::new(arena, &format!("prior.{name}"), sizes, activation));
            levels.push(Level { latent: size, encoder, seen, prior });
        }
        let decoder = Pair::new(arena, "decoder", [latent[0], hidden[0], numbers], activation);
        Ok(Ladder { config, x, levels, decoder })
    }

    // ANCHOR: up
    /// What x (B,D) says of each level's z, s_1 to s_L: mean and logvar, (B,Z_l) each.
    fn up(&self, r: &mut Recorder, x: Tensor) -> (Vec<[Tensor; 2]>, Vec<[linear::Saved; 2]>) {
        r.scope("encoder");
        let mut d = x;
        let level = |level: &Level| {
            let (above, encoder) = level.encoder.forward(r, d);
            let (h, seen) = level.seen.forward(r, above);
            d = above;
            let (mean, logvar) = joint::split(r, h, level.latent);
            ([mean, logvar], [encoder, seen])
        };
        self.levels.iter().map(level).unzip()
    }

    /// The networks' gradients, from those of s_1 to s_L.
    fn up_backward(&self, r: &mut Recorder, saved: Vec<[linear::Saved; 2]>, dseen: Vec<[Tensor; 2]>) {
        let mut from_above: Option<Tensor> = None;
        let levels = self.levels.iter().zip(saved).zip(dseen).enumerate();
        for (i, ((level, [encoder, seen]), [dmean, dlogvar])) in levels.rev() {
            r.scope("encoder");
            let dh = joint::concat(r, dmean, dlogvar);
            // d_l feeds s_l and d_l+1: the level above has assigned, this one adds.
            let dd = match from_above {
                None => level.seen.backward(r, seen, dh),
                Some(dd) => {
                    level.seen.backward_into(r, seen, dh, dd);
                    dd
                }
            };
            from_above = match i {
                0 => {
                    level.encoder.backward_parameters(r, encoder, dd);
                    None
                }
                _ => Some(level.encoder.backward(r, encoder, dd)),
            };
        }
    }
    // ANCHOR_END: up

    /// From the top: z_l ~ q(z_l|x,z_l+1) of each level. Level 1 is the first.
    fn down(&self, r: &mut Recorder, seen: &[[Tensor; 2]], draw: &mut Draw) -> Vec<Sampled> {
        let mut sampled: Vec<Sampled> = Vec::new();
        for (level, &seen) in self.levels.iter().zip(seen).rev() {
            let above = sampled.last().map(|above| above.z);
            sampled.push(level.sample(r, seen, above, draw));
        }
        sampled.reverse();
        sampled
    }

    /// The latent point of x (B,D): mean and logvar of the noise eps of every level, (B, Z_1 + .. + Z_L) each, the z
    /// above being the mean of its q. Of q in units of the prior, from its mean on, KL(q || p) is the KL to N(0,1).
    fn encode(&self, r: &mut Recorder, x: Tensor) -> [Tensor; 2] {
        let (seen, _) = self.up(r, x);
        let (mut point, mut above): (Option<[Tensor; 2]>, Option<Tensor>) = (None, None);
        for (level, &seen) in self.levels.iter().zip(&seen).rev() {
            let (q, prior) = level.posterior(r, seen, above);
            let eps = prior.map_or(q, |(p, _)| whitened(r, q, p));
            point = Some(point.map_or(eps, |upper| [0, 1].map(|i| joint::concat(r, eps[i], upper[i]))));
            above = Some(q[0]);
        }
        point.expect("a ladder has levels")
    }

    // ANCHOR: ancestral
    /// z_1 (B,Z_1) of a latent point, the noise of every level: z_L is its own, each other one is drawn from its prior.
    fn ancestral(&self, r: &mut Recorder, point: Tensor) -> Tensor {
        let (mut rest, mut noise) = (point, Vec::new());
        for level in &self.levels[..self.levels.len() - 1] {
            let (of_level, above) = joint::split(r, rest, level.latent);
            noise.push(of_level);
            rest = above;
        }
        let below = self.levels.iter().zip(noise).rev();
        below.fold(rest, |above, (level, noise)| {
            let ([mean, logvar], _) = level.prior(r, above);
            reparameterise::forward(r, mean, logvar, noise)
        })
    }
    // ANCHOR_END: ancestral

    /// The decoder's output for a latent point, (B,D): logits or means.
    fn output_of(&self, r: &mut Recorder, point: Tensor) -> Tensor {
        let z = self.ancestral(r, point);
        self.decoder.forward(r, z).0
    }

    /// The picture of a latent point, (B,D).
    fn decode(&self, r: &mut Recorder, point: Tensor) -> Tensor {
        let y = self.output_of(r, point);
        self.config.levels.output.generate(r, y)
    }

    /// The width of a latent point.
    fn width(&self) -> usize {
        self.config.levels.latent.iter().sum()
    }
}

/// q in units of p's deviation, from its mean on: mean and logvar of eps in z = mean_p + e^(logvar_p/2) eps.
fn whitened(r: &mut Recorder, [mean, logvar]: [Tensor; 2], [mean_p, logvar_p]: [Tensor; 2]) -> [Tensor; 2] {
    // (mean - mean_p) e^(-logvar_p/2) is how noise becomes a sample of N(0, e^-logvar_p). Nothing writes the zeros.
    let zeros = r.tensor("zeros", mean.shape());
    let (apart, inverse) = (joint::add(r, mean, mean_p, -1.0), joint::scale(r, logvar_p, -1.0));
    [reparameterise::forward(r, zeros, inverse, apart), joint::add(r, logvar, logvar_p, -1.0)]
}

impl Model for Ladder {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let Levels { output, sigma, .. } = self.config.levels;
        let x = batch.values(r, PICTURES); // (B,D)

        let (seen, encoder) = self.up(r, x); // s_1 to s_L: what x says of each z_l
        let sampled = self.down(r, &seen, draw); // z_L ~ q(z_L|x), then z_l ~ q(z_l|x,z_l+1)
        let (y, decoder) = self.decoder.forward(r, sampled[0].z); // (B,D): logits or means
        r.scope("loss");
        let recon = output.loss(r, y, x, sigma); // (B): -log p(x|z_1)
        let levels = || self.levels.iter();
        let kl: Vec<Tensor> = levels().zip(&sampled).map(|(level, s)| level.kl(r, s)).collect(); // (B) each

        r.scope("loss");
        let dy = output.backward(r, recon, batch.weight);
        let mut dz = Some(self.decoder.backward(r, decoder, dy)); // of z_1, and then of each level above
        let mut dseen = Vec::new();
        for (level, s) in levels().zip(sampled) {
            let (of_level, above) = level.backward(r, s, dz.expect("the level below has one above"), batch);
            dseen.push(of_level);
            dz = above;
        }
        self.up_backward(r, encoder, dseen);
        [vec![recon.rows], kl].concat()
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let Levels { output, sigma, .. } = self.config.levels;
        let x = batch.values(r, PICTURES);
        let (seen, _) = self.up(r, x);
        let sampled = self.down(r, &seen, draw);
        let (y, _) = self.decoder.forward(r, sampled[0].z);
        r.scope("loss");
        let recon = output.loss(r, y, x, sigma).rows;
        let kl = self.levels.iter().zip(&sampled).map(|(level, s)| level.kl(r, s));
        std::iter::once(recon).chain(kl).collect()
    }

    fn views(&self) -> Vec<View> {
        let (x, z) = (self.x, Kind::Vector(self.width()));
        vec![
            View::new("encode").takes("x", x).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("reconstruction", x),
            View::new("likelihood").takes("x", x).takes("z", z).gives("recon", Kind::Vector(1)),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("encode", &[x]) => self.encode(r, x).into(),
            ("decode", &[z]) => vec![self.decode(r, z)],
            ("reconstruct", &[x]) => {
                let [mean, _] = self.encode(r, x);
                vec![self.decode(r, mean)]
            }
            ("likelihood", &[x, z]) => {
                let Levels { output, sigma, .. } = self.config.levels;
                let y = self.output_of(r, z);
                let rows = output.loss(r, y, x, sigma).rows;
                vec![rows.reshape(&[rows.len(), 1])]
            }
            _ => panic!("ladder has no view {name} of {} inputs", inputs.len()),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let Levels { hidden, latent, .. } = &self.config.levels;
        let level = |(hidden, latent): (&usize, &usize)| format!("-{hidden}({latent})");
        format!("{}{}", Shape::of(self.x).len(), hidden.iter().zip(latent).map(level).collect::<String>())
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let mut values = Vec::new();
        for level in &self.levels {
            values.extend(level.encoder.initial(rng));
            values.extend(level.seen.initial(rng));
            values.extend(level.prior.iter().flat_map(|prior| prior.initial(rng)));
        }
        values.extend(self.decoder.initial(rng));
        values
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }

    fn output(&self) -> Option<Likelihood> {
        Some(self.config.levels.output)
    }
}
