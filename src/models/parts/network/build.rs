//! A network's items to layers, whose parameters are declared.

use super::{Item, Shape};
use crate::arena::Arena;
use crate::kernels::activation::Activation;
use crate::layers::batch_norm::BatchNorm;
use crate::layers::conv_transpose2d::ConvTranspose2d;
use crate::layers::conv2d::Conv2d;
use crate::layers::dropout::Dropout;
use crate::layers::group_norm::GroupNorm;
use crate::layers::layer_norm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::pool::Pool;
use crate::layers::sequential::{Layer, Sequential};
use crate::layers::upsample::Upsample;

/// The layers of these items, and what the last one leaves.
pub(super) fn build(arena: &mut Arena, items: &[Item], prefix: &str, input: Shape) -> (Sequential, Shape) {
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
