//! The text of a network to its items.

use super::{Item, Parsed};
use crate::error::nearest;
use crate::kernels::activation::Activation;
use crate::kernels::conv2d::Geometry;
use crate::kernels::pool::Window;
use crate::layers::{pool, upsample};

/// Larger numbers in a network's text are typing errors, and products of them would not fit.
const LARGEST_NUMBER: usize = 1 << 16;
const DEEPEST: usize = 16;

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

/// Items up to the end or a `)`, which is left.
pub(super) fn parse_items(rest: &mut &str, depth: usize) -> Parsed<Vec<Item>> {
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
