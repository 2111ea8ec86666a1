//! What models share: pairs of forward and backward lines, and the settings that describe them.
//!
//! [`networks`] has the settings of two networks, [`gaussian`] and [`decoder`] make them: q(z|x) and p(x|z). [`bound`]
//! is the loss that they have together, of one sample of z or of several; [`divergence`] has other forms of the KL in
//! it, [`prior`] a p(z) that is learned. [`encoder`] is a network to any other numbers: [`categorical`] makes q(z|x) of
//! categorical variables of it, [`codebook`] codes. [`discriminator`] judges pictures. [`network`] is a network as
//! text, [`mlp`] one of hidden sizes, [`bayesian`] one whose weights are Gaussian, [`likelihood`] the distribution of a
//! pixel. [`beside`] puts a label where an encoder reads it, [`classifier`] is q(y|x). [`frozen`] is a trained model
//! that nothing trains any more, [`features`] such a VAE between pictures and a model of its latents. [`vocabulary`] is
//! the distribution of a word. [`emission`] is the distribution of a step of a sequence, [`transition`] of the state
//! after a state. [`level`] is a level of a ladder of latents, [`pair`] the two layers that it has for a prior.

pub mod bayesian;
pub mod beside;
pub mod bound;
pub mod categorical;
pub mod classifier;
pub mod codebook;
pub mod decoder;
pub mod discriminator;
pub mod divergence;
pub mod emission;
pub mod encoder;
pub mod features;
pub mod frozen;
pub mod gaussian;
pub mod level;
pub mod likelihood;
pub mod mlp;
pub mod network;
pub mod networks;
pub mod pair;
pub mod prior;
pub mod transition;
pub mod vocabulary;

use serde::{Serialize, de::DeserializeOwned};
use toml::Table;

use crate::error::{Error, Result};
use crate::keys::one_line;
pub use crate::keys::reads;

/// All settings of a model as a table. Those that are off have no line.
pub fn complete(config: &impl Serialize) -> Table {
    Table::try_from(config).expect("settings that were checked have a TOML form")
}

/// Fills in the key `examples` of a model that spreads something over all training examples, where none is given.
pub fn count_examples(own: &mut Table, examples: usize) -> Result<()> {
    let count = i64::try_from(examples).expect("examples in memory");
    own.entry("examples").or_insert(count.into());
    Ok(())
}

/// A model's settings from a table, with the default for what is not there. Errors: a value of another type.
pub fn read<T: DeserializeOwned>(table: &Table) -> Result<T> {
    table.clone().try_into().map_err(|e: toml::de::Error| Error::Usage(one_line(e.message())))
}
