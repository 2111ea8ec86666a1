//! Networks as text: `conv 32 k4 s2 p1, batchnorm, relu, ...` becomes a [`Sequential`], with the sizes checked first.
//!
//! [`HELP`] has the items. C, H and W are channels, rows and columns of what the item before leaves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::arena::Arena;
use crate::data::table::Kind;
use crate::error::{Error, Result, nearest};
use crate::kernels::activation::Activation;
use crate::kernels::conv2d::Geometry;
use crate::kernels::pool::Window;
use crate::layers::batch_norm::BatchNorm;
use crate::layers::conv_transpose2d::ConvTranspose2d;
use crate::layers::conv2d::Conv2d;
use crate::layers::dropout::Dropout;
use crate::layers::group_norm::GroupNorm;
use crate::layers::layer_norm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::pool::{self, Pool};
use crate::layers::sequential::{Layer, Sequential};
use crate::layers::upsample::{self, Upsample};

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
            Kind::Label(n) | Kind::Vector(n) => Shape::Vector(n),
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

/// Larger numbers in a network's text are typing errors, and products of them would not fit.
const LARGEST_NUMBER: usize = 1 << 16;
/// The most elements an item may leave of one example: 2^26, a picture of 8192 x 8192.
const LARGEST_EXAMPLE: usize = 1 << 26;
const DEEPEST: usize = 16;

// ---- Text

const WORDS: [&str; 12] = [
    "conv",
    "conv_transpose",
    "linear",
    "batchnorm",
    "groupnorm",
    "layernorm",
    "maxpool",
    "avgpool",
    "upsample",
    "dropout",
    "flatten",
    "view",
];

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Network> {
        let mut rest = text.trim();
        let items = parse_items(&mut rest, 0)
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

/// Items up to the end or a `)`, which is left.
fn parse_items(rest: &mut &str, depth: usize) -> Parsed<Vec<Item>> {
    if depth > DEEPEST {
        return Err(format!("nested more than {DEEPEST} deep"));
    }
    let mut items = Vec::new();
    loop {
        let end = rest.find([',', '(', ')']).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        let word = word.trim();
        *rest = tail.trim_start();
        items.push(match rest.strip_prefix('(') {
            Some(inner) => {
                *rest = inner.trim_start();
                let body = parse_items(rest, depth + 1)?;
                *rest = rest.strip_prefix(')').ok_or("a `(` has no `)`")?.trim_start();
                match word {
                    "" => Item::Nested(body),
                    "residual" => Item::Residual(body),
                    other => return Err(format!("before `(` stands `{other}`, but only `residual` may")),
                }
            }
            None => parse_item(word)?,
        });
        match rest.strip_prefix(',') {
            Some(tail) => *rest = tail.trim_start(),
            None if rest.is_empty() || rest.starts_with(')') => return Ok(items),
            None => return Err(format!("after `)` a comma is missing before `{rest}`")),
        }
    }
}

fn parse_item(text: &str) -> Parsed<Item> {
    let mut words = text.split_whitespace();
    let name = words.next().ok_or("an item is empty")?;
    let mut words = Words { item: text, words: words.collect() };
    let item = match name {
        "conv" => {
            let channels = words.first("the number of channels")?;
            let has_bias = !words.flag("nobias");
            Item::Conv { channels, geometry: words.geometry()?, has_bias }
        }
        "conv_transpose" => {
            let channels = words.first("the number of channels")?;
            let has_bias = !words.flag("nobias");
            let output_padding = words.pair("op")?.unwrap_or([0, 0]);
            let geometry = words.geometry()?;
            let smaller = |a: usize| output_padding[a] < geometry.stride[a].max(geometry.dilation[a]);
            if !smaller(0) || !smaller(1) {
                return Err(format!("`{text}`: the output padding must be smaller than the stride or the dilation"));
            }
            Item::ConvTranspose { channels, geometry, output_padding, has_bias }
        }
        "linear" => Item::Linear(words.first("the number of features")?),
        "batchnorm" => Item::BatchNorm,
        "groupnorm" => Item::GroupNorm(words.first("the number of groups")?),
        "layernorm" => Item::LayerNorm,
        "maxpool" | "avgpool" => {
            let kind = if name == "maxpool" { pool::Kind::Max } else { pool::Kind::Average };
            let kernel = words.pair("k")?.ok_or(format!("`{text}` lacks the size of its window, as in k2"))?;
            let stride = words.pair("s")?.unwrap_or(kernel);
            let padding = words.pair("p")?.unwrap_or([0, 0]);
            positive(text, &[kernel, stride])?;
            if (0..2).any(|a| 2 * padding[a] > kernel[a]) {
                return Err(format!("`{text}`: the padding must be at most half the window"));
            }
            Item::Pool { kind, window: Window::new(kernel, stride, padding) }
        }
        "upsample" => {
            let factor = words.first("its factor")?;
            let bilinear = words.flag("bilinear");
            // The default may be said, but not with its opposite: then `nearest` is left over.
            let kind = if bilinear { upsample::Kind::Bilinear } else { upsample::Kind::Nearest };
            if !bilinear {
                words.flag("nearest");
            }
            Item::Upsample { kind, factor }
        }
        "dropout" => {
            let p = words.words.first().and_then(|p| p.parse::<f32>().ok()).filter(|p| (0.0..1.0).contains(p));
            words.words.drain(..words.words.len().min(1));
            Item::Dropout(p.ok_or(format!("`{text}`: the share to drop is at least 0 and below 1, as in dropout 0.5"))?)
        }
        "flatten" => Item::Flatten,
        "view" => {
            let mut size = || words.first("channels, rows and columns");
            Item::View([size()?, size()?, size()?])
        }
        other => match Activation::ALL.into_iter().find(|activation| activation.name() == other) {
            Some(activation) => Item::Activation(activation),
            None => {
                let known: Vec<&str> = WORDS.into_iter().chain(Activation::ALL.map(Activation::name)).collect();
                let hint = nearest(other, known.iter().copied()).map(|n| format!("; did you mean `{n}`?"));
                let list = hint.unwrap_or(format!(". There are: residual(...), {}", known.join(", ")));
                return Err(format!("there is no layer `{other}`{list}"));
            }
        },
    };
    match words.words.first() {
        None => Ok(item),
        Some(word) => Err(format!("`{text}`: `{word}` means nothing there")),
    }
}

/// The words of an item that are not understood yet.
struct Words<'a> {
    item: &'a str,
    words: Vec<&'a str>,
}

impl Words<'_> {
    fn number(&self, text: &str) -> Parsed<usize> {
        let number = text.parse().ok().filter(|n| *n <= LARGEST_NUMBER);
        number.ok_or_else(|| format!("`{}`: `{text}` is no whole number up to {LARGEST_NUMBER}", self.item))
    }

    /// Takes the first word, a positive number.
    fn first(&mut self, what: &str) -> Parsed<usize> {
        if self.words.is_empty() {
            return Err(format!("`{}` lacks {what}", self.item));
        }
        let word = self.words.remove(0);
        match self.number(word)? {
            0 => Err(format!("`{}`: {what} cannot be 0", self.item)),
            n => Ok(n),
        }
    }

    fn flag(&mut self, word: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|w| *w != word);
        self.words.len() < before
    }

    /// Takes a word as in `k4` or `k3x5`.
    fn pair(&mut self, key: &str) -> Parsed<Option<[usize; 2]>> {
        let value = |word: &str| word.strip_prefix(key).is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
        let Some(at) = self.words.iter().position(|word| value(word)) else { return Ok(None) };
        let word = self.words.remove(at);
        let (h, w) = word[key.len()..].split_once('x').unwrap_or((&word[key.len()..], &word[key.len()..]));
        Ok(Some([self.number(h)?, self.number(w)?]))
    }

    fn geometry(&mut self) -> Parsed<Geometry> {
        let kernel = self.pair("k")?.ok_or(format!("`{}` lacks the size of its window, as in k3", self.item))?;
        let stride = self.pair("s")?.unwrap_or([1, 1]);
        let padding = self.pair("p")?.unwrap_or([0, 0]);
        let dilation = self.pair("d")?.unwrap_or([1, 1]);
        let groups = self.pair("g")?.unwrap_or([1, 1])[0];
        positive(self.item, &[kernel, stride, dilation, [groups, groups]])?;
        Ok(Geometry { kernel, stride, padding, dilation, groups })
    }
}

fn positive(item: &str, pairs: &[[usize; 2]]) -> Parsed<()> {
    match pairs.iter().flatten().all(|&n| n > 0) {
        true => Ok(()),
        false => Err(format!("`{item}`: window, stride, dilation and groups cannot be 0")),
    }
}

// ---- Sizes

impl Item {
    /// What the item leaves of `shape`; `Err` says why it cannot take it.
    fn after(&self, shape: Shape) -> Parsed<Shape> {
        let picture = |what: &str| match shape {
            Shape::Picture(sizes) => Ok(sizes),
            Shape::Vector(_) => Err(format!("{what} takes pictures; put `view C H W` before it")),
        };
        let grouped = |groups: usize, channels: &[usize]| match channels.iter().find(|c| *c % groups != 0) {
            Some(c) => Err(format!("{c} channels are not divided by {groups} groups")),
            None => Ok(()),
        };
        let weighs = |sizes: &[usize]| match sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)) {
            Some(n) if n <= u32::MAX as usize => Ok(()),
            _ => Err(format!("its weights are more than {} numbers", u32::MAX)),
        };
        let after = match self {
            Item::Conv { channels, geometry, .. } => {
                let [c, h, w] = picture("conv")?;
                grouped(geometry.groups, &[c, *channels])?;
                weighs(&[*channels, geometry.kernel[0], geometry.kernel[1], c / geometry.groups])?;
                let size = geometry.small_size([h, w]).ok_or("the window is larger than the padded picture")?;
                Shape::Picture([*channels, size[0], size[1]])
            }
            Item::ConvTranspose { channels, geometry, output_padding, .. } => {
                let [c, h, w] = picture("conv_transpose")?;
                grouped(geometry.groups, &[c, *channels])?;
                weighs(&[c, geometry.kernel[0], geometry.kernel[1], *channels / geometry.groups])?;
                let size = geometry.large_size([h, w], *output_padding).ok_or("the padding leaves nothing")?;
                Shape::Picture([*channels, size[0], size[1]])
            }
            Item::Linear(features) => match shape {
                Shape::Vector(inputs) => {
                    weighs(&[inputs, *features])?;
                    Shape::Vector(*features)
                }
                Shape::Picture(_) => return Err("linear takes vectors; put `flatten` before it".into()),
            },
            Item::GroupNorm(groups) => {
                let channels = if let Shape::Picture([c, ..]) = shape { c } else { shape.len() };
                grouped(*groups, &[channels])?;
                shape
            }
            Item::BatchNorm | Item::LayerNorm | Item::Activation(_) | Item::Dropout(_) => shape,
            Item::Pool { window, .. } => {
                let [c, h, w] = picture("a pool")?;
                let size = window.output_size([h, w]).ok_or("the window is larger than the padded picture")?;
                Shape::Picture([c, size[0], size[1]])
            }
            Item::Upsample { factor, .. } => {
                let [c, h, w] = picture("upsample")?;
                Shape::Picture([c, h * factor, w * factor])
            }
            Item::Flatten => {
                picture("flatten")?;
                Shape::Vector(shape.len())
            }
            Item::View([c, h, w]) => match (shape, c.checked_mul(*h).and_then(|n| n.checked_mul(*w))) {
                (Shape::Vector(n), Some(size)) if n == size => Shape::Picture([*c, *h, *w]),
                (Shape::Vector(n), _) => return Err(format!("{n} features do not make {c}x{h}x{w}")),
                (Shape::Picture(_), _) => return Err("view takes vectors; put `flatten` before it".into()),
            },
            Item::Nested(_) | Item::Residual(_) => unreachable!("a nested list is walked through item by item"),
        };
        let elements = match after {
            Shape::Picture(sizes) => sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)),
            Shape::Vector(features) => Some(features),
        };
        match elements {
            Some(n) if n <= LARGEST_EXAMPLE => Ok(after),
            _ => Err(format!("{after} is too large for one example")),
        }
    }

    fn name(&self) -> String {
        let pair = |[h, w]: [usize; 2]| if h == w { h.to_string() } else { format!("{h}x{w}") };
        let window = |g: &Geometry| {
            let mut text = format!("k{} s{} p{}", pair(g.kernel), pair(g.stride), pair(g.padding));
            if g.dilation != [1, 1] {
                text += &format!(" d{}", pair(g.dilation));
            }
            if g.groups != 1 {
                text += &format!(" g{}", g.groups);
            }
            text
        };
        match self {
            Item::Conv { channels, geometry, .. } => format!("conv {channels} {}", window(geometry)),
            Item::ConvTranspose { channels, geometry, output_padding, .. } => {
                format!("conv_transpose {channels} {} op{}", window(geometry), pair(*output_padding))
            }
            Item::Linear(features) => format!("linear {features}"),
            Item::BatchNorm => "batchnorm".into(),
            Item::GroupNorm(groups) => format!("groupnorm {groups}"),
            Item::LayerNorm => "layernorm".into(),
            Item::Activation(activation) => activation.name().into(),
            Item::Pool { kind, window } => {
                format!(
                    "{} k{} s{}",
                    if *kind == pool::Kind::Max { "maxpool" } else { "avgpool" },
                    pair(window.kernel),
                    pair(window.stride)
                )
            }
            Item::Upsample { kind, factor } => format!("upsample {factor} {kind:?}").to_lowercase(),
            Item::Dropout(p) => format!("dropout {p}"),
            Item::Flatten => "flatten".into(),
            Item::View([c, h, w]) => format!("view {c} {h} {w}"),
            Item::Nested(_) => "( )".into(),
            Item::Residual(_) => "residual( )".into(),
        }
    }
}

/// Walks through the items and adds a line for each. `Err` says what does not fit; its item's line is there.
fn walk(items: &[Item], prefix: &str, input: Shape, lines: &mut Vec<String>) -> Parsed<Shape> {
    let mut shape = input;
    for (index, item) in items.iter().enumerate() {
        let name = format!("{prefix}.{index}");
        let line = |after: &str| format!("  {name:<22} {:<34} {after}", item.name());
        shape = match item {
            Item::Nested(body) => walk(body, &name, shape, lines)?,
            Item::Residual(body) => {
                let after = walk(body, &format!("{name}.body"), shape, lines)?;
                lines.push(line(&after.to_string()));
                if after != shape {
                    return Err(format!(
                        "{name}: a residual's body must leave the shape it takes, {shape}, not {after}"
                    ));
                }
                after
            }
            _ => match item.after(shape) {
                Ok(after) => {
                    lines.push(line(&after.to_string()));
                    after
                }
                Err(problem) => {
                    lines.push(line("?"));
                    return Err(format!("{name}: {problem}"));
                }
            },
        };
    }
    Ok(shape)
}

impl Network {
    /// What the network leaves of `input`, and a line for each layer: name, item, shape. `prefix` names the whole.
    ///
    /// Errors: a layer that cannot take what the one before leaves, with the lines up to it.
    pub fn sizes(&self, prefix: &str, input: Shape) -> Result<(Shape, Vec<String>)> {
        let mut lines = vec![format!("  {prefix:<57} {input}")];
        match walk(&self.items, prefix, input, &mut lines) {
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
        lone_batch_norm(&self.items, prefix, &mut { input })
    }

    /// Declares the parameters of all layers, under the names an `nn.Sequential` called `prefix` gives them. Panics
    /// where [`sizes`](Network::sizes) gives an error.
    pub fn build(&self, arena: &mut Arena, prefix: &str, input: Shape) -> Sequential {
        build(arena, &self.items, prefix, input).0
    }
}

/// Walks through the items like [`walk`], which has found that they fit; `shape` is what the last one leaves.
fn lone_batch_norm(items: &[Item], prefix: &str, shape: &mut Shape) -> Option<String> {
    items.iter().enumerate().find_map(|(index, item)| {
        let name = format!("{prefix}.{index}");
        match item {
            Item::Nested(body) => return lone_batch_norm(body, &name, shape),
            Item::Residual(body) => return lone_batch_norm(body, &format!("{name}.body"), shape),
            _ => {}
        }
        let is_lone = matches!(*shape, Shape::Vector(_) | Shape::Picture([_, 1, 1]));
        *shape = item.after(*shape).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        (is_lone && *item == Item::BatchNorm).then_some(name)
    })
}

// ---- Layers

fn build(arena: &mut Arena, items: &[Item], prefix: &str, input: Shape) -> (Sequential, Shape) {
    let (mut layers, mut shape) = (Vec::new(), input);
    let mut index = 0;
    while let Some(item) = items.get(index) {
        let name = format!("{prefix}.{index}");
        // An activation that follows can be the layer's epilogue; it keeps its number.
        let epilogue = match items.get(index + 1) {
            Some(Item::Activation(activation)) if item.takes_as_epilogue(*activation) => Some(*activation),
            _ => None,
        };
        let (layer, after) = item.layer(arena, &name, shape, epilogue.unwrap_or(Activation::Identity));
        let layer = match (layer, items.get(index + 1)) {
            (Layer::Conv2d(layer), Some(Item::BatchNorm)) => Layer::Conv2d(layer.before_batch_norm()),
            (Layer::ConvTranspose2d(layer), Some(Item::BatchNorm)) => Layer::ConvTranspose2d(layer.before_batch_norm()),
            (layer, _) => layer,
        };
        layers.push(layer);
        shape = after;
        index += 1 + usize::from(epilogue.is_some());
    }
    (Sequential::new(layers), shape)
}

impl Item {
    fn takes_as_epilogue(&self, activation: Activation) -> bool {
        match self {
            Item::Conv { .. } | Item::ConvTranspose { .. } => activation.is_rectifier(),
            Item::Linear(_) | Item::BatchNorm => activation.saves_output(),
            _ => false,
        }
    }

    fn layer(&self, arena: &mut Arena, name: &str, shape: Shape, epilogue: Activation) -> (Layer, Shape) {
        match self {
            Item::Nested(body) => {
                let (body, after) = build(arena, body, name, shape);
                return (Layer::Sequential(body), after);
            }
            Item::Residual(body) => {
                let (body, after) = build(arena, body, &format!("{name}.body"), shape);
                return (Layer::Residual(body), after);
            }
            _ => {}
        }
        let after = self.after(shape).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let (channels, dims) = match shape {
            Shape::Picture([c, h, w]) => (c, vec![c, h, w]),
            Shape::Vector(features) => (features, vec![features]),
        };
        let layer = match *self {
            Item::Conv { channels: outputs, geometry, has_bias } => {
                Layer::Conv2d(Conv2d::new(arena, name, [channels, outputs], geometry, has_bias, epilogue))
            }
            Item::ConvTranspose { channels: outputs, geometry, output_padding, has_bias } => {
                let sizes = [channels, outputs];
                let layer = ConvTranspose2d::new(arena, name, sizes, geometry, output_padding, has_bias, epilogue);
                Layer::ConvTranspose2d(layer)
            }
            Item::Linear(features) => Layer::Linear(Linear::new(arena, name, channels, features, epilogue)),
            Item::BatchNorm => Layer::BatchNorm(BatchNorm::new(arena, name, channels, epilogue)),
            Item::GroupNorm(groups) => Layer::GroupNorm(GroupNorm::new(arena, name, groups, channels)),
            Item::LayerNorm => Layer::LayerNorm(LayerNorm::new(arena, name, &dims)),
            Item::Activation(activation) => Layer::Activation(activation),
            Item::Pool { kind, window } => Layer::Pool(Pool::new(kind, window.kernel, window.stride, window.padding)),
            Item::Upsample { kind, factor } => Layer::Upsample(Upsample::new(kind, factor)),
            Item::Dropout(p) => Layer::Dropout(Dropout::new(p)),
            Item::Flatten => Layer::Flatten,
            Item::View(sizes) => Layer::View(sizes),
            Item::Nested(_) | Item::Residual(_) => unreachable!("returned above"),
        };
        (layer, after)
    }
}

#[cfg(test)]
mod tests;
