//! The shapes that a network's items leave, and what does not fit.

use super::{Item, Parsed, Shape};
use crate::kernels::conv2d::Geometry;
use crate::layers::pool;

/// The most elements an item may leave of one example: 2^26, a picture of 8192 x 8192.
const LARGEST_EXAMPLE: usize = 1 << 26;
impl Item {
    /// What the item leaves of `shape`; `Err` says why it cannot take it.
    pub(super) fn after(&self, shape: Shape) -> Parsed<Shape> {
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
pub(super) fn walk(items: &[Item], prefix: &str, input: Shape, lines: &mut Vec<String>) -> Parsed<Shape> {
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

/// Walks through the items like [`walk`], which has found that they fit; `shape` is what the last one leaves.
pub(super) fn lone_batch_norm(items: &[Item], prefix: &str, shape: &mut Shape) -> Option<String> {
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
