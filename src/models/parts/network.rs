//! Networks as text: `conv 32 k4 s2 p1, batchnorm, relu, ...` becomes a [`Sequential`], with the sizes checked first.
//!
//! [`HELP`] has the items. C, H and W are channels, rows and columns of what the item before leaves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::arena::Arena;
use crate::data::table::Kind;
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::kernels::conv2d::Geometry;
use crate::kernels::pool::Window;
use crate::layers::sequential::Sequential;
use crate::layers::{pool, upsample};

mod build;
mod sizes;
mod text;

/// What a network's text may hold.
pub const HELP: &str = "\
Networks (--encoder, --decoder) are items separated by commas. They become the children 0, 1, 2, ... of an nn.Sequential;
C is the number of channels that the item before leaves.

  conv 16 k4 s2 p1 d2 g1 nobias       Conv2d(C, 16, 4, stride 2, padding 1, dilation 2, groups 1, no bias)
  conv_transpose 16 k4 s2 p1 op1      ConvTranspose2d, op the output padding; d, g and nobias as for conv
  linear 100                          Linear
  batchnorm                           BatchNorm2d(C), of vectors BatchNorm1d
  groupnorm 2, layernorm              GroupNorm(2, C), LayerNorm over the whole example
  relu, leaky_relu, elu, sigmoid, tanh, softplus, silu, gelu
  maxpool k2 s2 p0, avgpool k2        MaxPool2d, AvgPool2d; without s the stride is k
  upsample 2, upsample 2 bilinear     Upsample, nearest or bilinear (corners not aligned)
  dropout 0.5                         Dropout
  flatten, view 16 4 4                Flatten, Unflatten(1, (16, 4, 4))
  ( ... ), residual( ... )            a nested Sequential; x + body(x) of one

k, s, p, d and op take one number, or height x width as in k3x5. Without s, p, d, g and op they are 1, 0, 1, 1 and 0.
A sequence is a picture of height 1: conv 16 k1x5 p0x2 is Conv1d(C, 16, 5, padding 2).
The encoder takes a picture (channels, rows, columns), the decoder z as a picture (latent, 1, 1).";

/// A network that was parsed; its text is what it was parsed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    items: Vec<Item>,
    text: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Conv { channels: usize, geometry: Geometry, has_bias: bool },
    ConvTranspose { channels: usize, geometry: Geometry, output_padding: [usize; 2], has_bias: bool },
    Linear(usize),
    BatchNorm,
    GroupNorm(usize),
    LayerNorm,
    Activation(Activation),
    Pool { kind: pool::Kind, window: Window },
    Upsample { kind: upsample::Kind, factor: usize },
    Dropout(f32),
    Flatten,
    View([usize; 3]),
    Nested(Vec<Item>),
    Residual(Vec<Item>),
}

/// What an item takes or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// (C,H,W)
    Picture([usize; 3]),
    /// F
    Vector(usize),
}

impl Shape {
    /// That of an example of this kind.
    pub fn of(kind: Kind) -> Shape {
        match kind {
            Kind::Picture(shape) => Shape::Picture(shape),
            other => Shape::Vector(other.width()),
        }
    }

    /// Elements of one example: C H W, or F.
    pub fn len(self) -> usize {
        match self {
            Shape::Picture(sizes) => sizes.iter().product(),
            Shape::Vector(features) => features,
        }
    }

    /// Never: no size is 0.
    pub fn is_empty(self) -> bool {
        false
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Shape::Picture([c, h, w]) => write!(f, "{c}x{h}x{w}"),
            Shape::Vector(features) => write!(f, "{features}"),
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Network> {
        let mut rest = text.trim();
        let items = text::parse_items(&mut rest, 0)
            .and_then(|items| if rest.is_empty() { Ok(items) } else { Err("a `)` has no `(`".into()) })
            .map_err(|problem| Error::Usage(format!("network `{}`: {problem}", text.trim())))?;
        Ok(Network { items, text: text.split_whitespace().collect::<Vec<_>>().join(" ") })
    }
}

impl TryFrom<String> for Network {
    type Error = Error;

    fn try_from(text: String) -> Result<Network> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.text
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

type Parsed<T> = std::result::Result<T, String>;

impl Network {
    /// What the network leaves of `input`, and a line for each layer: name, item, shape. `prefix` names the whole.
    ///
    /// Errors: a layer that cannot take what the one before leaves, with the lines up to it.
    pub fn sizes(&self, prefix: &str, input: Shape) -> Result<(Shape, Vec<String>)> {
        let mut lines = vec![format!("  {prefix:<57} {input}")];
        match sizes::walk(&self.items, prefix, input, &mut lines) {
            Ok(shape) => Ok((shape, lines)),
            Err(problem) => Err(Error::Usage(format!("the {prefix} does not close: {problem}\n{}", lines.join("\n")))),
        }
    }

    /// Whether any layer has something to train.
    pub fn has_parameters(&self) -> bool {
        fn any(items: &[Item]) -> bool {
            items.iter().any(|item| match item {
                Item::Nested(body) | Item::Residual(body) => any(body),
                Item::Conv { .. } | Item::ConvTranspose { .. } | Item::Linear(_) => true,
                Item::BatchNorm | Item::GroupNorm(_) | Item::LayerNorm => true,
                Item::Activation(_) | Item::Pool { .. } | Item::Upsample { .. } => false,
                Item::Dropout(_) | Item::Flatten | Item::View(_) => false,
            })
        }
        any(&self.items)
    }

    /// The first batch norm that sees a single place of each example, by name: in a batch of one it has one value a
    /// channel. Panics where [`sizes`](Network::sizes) gives an error.
    pub fn lone_batch_norm(&self, prefix: &str, input: Shape) -> Option<String> {
        sizes::lone_batch_norm(&self.items, prefix, &mut { input })
    }

    /// Declares the parameters of all layers, under the names an `nn.Sequential` called `prefix` gives them. Panics
    /// where [`sizes`](Network::sizes) gives an error.
    pub fn build(&self, arena: &mut Arena, prefix: &str, input: Shape) -> Sequential {
        build::build(arena, &self.items, prefix, input).0
    }
}

#[cfg(test)]
mod tests;
