//! The kernels, a file an operation: Params, Kernels, Record, References, Accelerated, Cases, Gradients. Of the
//! longest, `conv2d` and `batch_norm`, the parts are files in a folder beside it.
//! The WGSL of `kernels/<stem>.rs` is `shaders/<stem>.wgsl`.
//!
//! What a kernel computes stands in its `formula`; its documentation says the shapes, what is assigned and what is
//! added to, and which function records it. Shapes: B batch, D pixels, I and O features or channels in and out, Z
//! latent dimensions, H W rows and columns of a large picture and P Q of a small one, KH KW of a window, C channels, G
//! groups, R rows of a matrix, F features of a row, N elements of a tensor of any shape, T steps of sequences whose
//! state has H numbers. Pictures are channels last and sequences time-major where nothing else is said. `dt` is the
//! gradient of `t`. Losses are in nats. "The clock" is a [`clock::Clock`] on the device, as words.
//!
//! Functions that record panic where shapes do not fit, naming the kernel and the shapes; what they return is assigned.

pub mod activation;
pub mod adam;
pub mod augment;
pub mod batch_norm;
pub mod bce;
pub mod binarise;
pub mod capacity;
pub mod categorical_kl;
pub mod channels;
pub mod clip;
pub mod clock;
pub mod codebook;
mod columns;
pub mod continuous_bernoulli;
pub mod conv2d;
pub mod corrupt;
pub mod cross_entropy;
pub mod discretised_logistic;
pub mod dropout;
pub mod embedding;
pub mod enumerate;
pub mod fill;
pub mod fused_batch;
pub mod fused_latent;
pub mod fused_linear;
pub mod fused_update;
pub mod fused_weights;
pub mod gather;
pub mod gaussian_kl;
pub mod gaussian_nll;
pub mod gaussian_pair_kl;
pub mod gaussian_product;
mod gemm;
pub mod group_norm;
pub mod gru;
pub mod gumbel_softmax;
pub mod importance;
pub mod joint;
pub mod ladder;
pub mod laplace;
pub mod layer_norm;
pub mod local_reparameterise;
pub mod lstm;
pub mod marginal;
pub mod masked_weight;
pub mod math;
pub mod matmul;
pub mod matmul_bce;
pub mod mixture;
pub mod mse;
pub mod multinomial;
pub mod normalise;
pub mod one_hot;
pub mod optimal_sigma;
pub mod pool;
pub mod probe;
pub mod pseudo_inputs;
pub mod ragged;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod reparameterise;
pub mod repeat;
pub mod rows;
mod scratch;
pub mod sgd;
pub mod shuffle;
pub mod slots;
pub mod spread;
pub mod steps;
pub mod stroke_mixture;
pub mod tail_dropout;
mod threads;
pub mod tiles;
pub mod token_cross_entropy;
pub mod tokens;
pub mod total_correlation;
pub mod upsample;
pub mod weight_kl;
pub mod word_dropout;

use crate::cases::GradientCase;
use crate::error::{Error, Result, nearest};
use crate::kernel::{GradientCheck, Kernel, Text};

const ADAM: Text = Text { file: "common/adam.wgsl", text: include_str!("../../shaders/common/adam.wgsl") };
const ACTIVATION: Text =
    Text { file: "common/activation.wgsl", text: include_str!("../../shaders/common/activation.wgsl") };
const CLOCK: Text = Text { file: "common/clock.wgsl", text: include_str!("../../shaders/common/clock.wgsl") };
const INDEX: Text = Text { file: "common/index.wgsl", text: include_str!("../../shaders/common/index.wgsl") };
const LAYERS: Text = Text { file: "common/layers.wgsl", text: include_str!("../../shaders/common/layers.wgsl") };
const OPERANDS_VEC4: Text =
    Text { file: "common/operands_vec4.wgsl", text: include_str!("../../shaders/common/operands_vec4.wgsl") };
const OPERANDS_ANY: Text =
    Text { file: "common/operands_any.wgsl", text: include_str!("../../shaders/common/operands_any.wgsl") };
const PHILOX: Text = Text { file: "common/philox.wgsl", text: include_str!("../../shaders/common/philox.wgsl") };
const PRODUCT: Text = Text { file: "common/product.wgsl", text: include_str!("../../shaders/common/product.wgsl") };
const PRODUCT_FORWARD: Text =
    Text { file: "common/product_forward.wgsl", text: include_str!("../../shaders/common/product_forward.wgsl") };
const PRODUCT_BACKWARD_X: Text =
    Text { file: "common/product_backward_x.wgsl", text: include_str!("../../shaders/common/product_backward_x.wgsl") };
const PRODUCT_BACKWARD_W: Text =
    Text { file: "common/product_backward_w.wgsl", text: include_str!("../../shaders/common/product_backward_w.wgsl") };
const SOFTWARE_TILE: Text = Text { file: "software/tile.wgsl", text: include_str!("../../shaders/software/tile.wgsl") };
const SUM: Text = Text { file: "common/sum.wgsl", text: include_str!("../../shaders/common/sum.wgsl") };
const LARGEST: Text = Text { file: "common/largest.wgsl", text: include_str!("../../shaders/common/largest.wgsl") };

/// Elements a thread of the CPU device takes at a time: small enough to share a batch out, large enough to be worth it.
const CHUNK: usize = 8192;

/// Every kernel. Tests, benches and lists are made from it.
pub static ALL: &[&Kernel] = &[
    &matmul::FORWARD,
    &matmul::BACKWARD_X,
    &matmul::BACKWARD_W,
    &conv2d::FORWARD,
    &conv2d::BACKWARD_X,
    &conv2d::FOLD,
    &conv2d::BACKWARD_W,
    &conv2d::BACKWARD_W_PARTS,
    &conv2d::BACKWARD_B,
    &conv2d::BACKWARD_B_PARTS,
    &activation::FORWARD,
    &activation::BACKWARD,
    &reduce::ROWS,
    &reduce::COLUMNS,
    &reduce::WHOLE,
    &reduce::BACKWARD_ROWS,
    &reduce::BACKWARD_COLUMNS,
    &reduce::BACKWARD_WHOLE,
    &joint::ADD,
    &joint::SCALE,
    &joint::MULTIPLY,
    &joint::BACKWARD_MULTIPLY,
    &joint::WEIGH,
    &joint::CONCAT,
    &joint::SPLIT,
    &batch_norm::PARTIALS,
    &batch_norm::STATISTICS,
    &batch_norm::FORWARD,
    &batch_norm::EVALUATE,
    &batch_norm::BACKWARD_PARTIALS,
    &batch_norm::BACKWARD_W,
    &batch_norm::BACKWARD_X,
    &layer_norm::FORWARD,
    &layer_norm::BACKWARD_X,
    &layer_norm::BACKWARD_W,
    &group_norm::FORWARD,
    &group_norm::BACKWARD_X,
    &group_norm::BACKWARD_W,
    &lstm::CELL,
    &lstm::BACKWARD_CELL,
    &gru::CELL,
    &gru::BACKWARD_CELL,
    &fill::FORWARD,
    &channels::LAST,
    &channels::FIRST,
    &pool::MAX,
    &pool::BACKWARD_MAX,
    &pool::AVERAGE,
    &pool::BACKWARD_AVERAGE,
    &upsample::NEAREST,
    &upsample::BACKWARD_NEAREST,
    &upsample::BILINEAR,
    &upsample::BACKWARD_BILINEAR,
    &dropout::FORWARD,
    &dropout::BACKWARD,
    &reparameterise::FORWARD,
    &reparameterise::BACKWARD,
    &local_reparameterise::VARIANCES,
    &local_reparameterise::FORWARD,
    &local_reparameterise::BACKWARD,
    &local_reparameterise::BACKWARD_LOGVAR,
    &local_reparameterise::BACKWARD_X,
    &weight_kl::LOSS,
    &weight_kl::BACKWARD,
    &word_dropout::FORWARD,
    &tail_dropout::FORWARD,
    &spread::FORWARD,
    &repeat::FORWARD,
    &importance::SAMPLE,
    &importance::LOG_WEIGHTS,
    &importance::BOUND,
    &importance::ACCUMULATE,
    &importance::BACKWARD_IWAE,
    &importance::BACKWARD_DREG,
    &gaussian_kl::LOSS,
    &gaussian_kl::ROWS,
    &gaussian_kl::BACKWARD,
    &gaussian_pair_kl::ROWS,
    &gaussian_pair_kl::BACKWARD_Q,
    &gaussian_pair_kl::BACKWARD_P,
    &gaussian_product::FORWARD,
    &gaussian_product::BACKWARD,
    &capacity::FORWARD,
    &mixture::PAIRS,
    &mixture::DENSITY,
    &mixture::KL,
    &mixture::BACKWARD_Z,
    &mixture::BACKWARD_COMPONENTS,
    &pseudo_inputs::FORWARD,
    &pseudo_inputs::BACKWARD,
    &token_cross_entropy::LOSS,
    &token_cross_entropy::BACKWARD,
    &total_correlation::MARGINALS,
    &total_correlation::TERMS,
    &total_correlation::BACKWARD_Z,
    &total_correlation::BACKWARD_Q,
    &gumbel_softmax::FORWARD,
    &gumbel_softmax::BACKWARD,
    &gumbel_softmax::SAMPLE,
    &gumbel_softmax::MODE,
    &categorical_kl::LOSS,
    &categorical_kl::BACKWARD,
    &codebook::NEAREST,
    &codebook::GATHER,
    &codebook::DISTANCE,
    &codebook::TALLY,
    &codebook::BACKWARD,
    &codebook::STRAIGHT_THROUGH,
    &codebook::UPDATE,
    &codebook::PERPLEXITY,
    &codebook::ONE_HOT,
    &masked_weight::FORWARD,
    &masked_weight::BACKWARD,
    &bce::LOSS,
    &bce::BACKWARD,
    &mse::LOSS,
    &mse::BACKWARD,
    &optimal_sigma::SQUARES,
    &optimal_sigma::LOSS,
    &optimal_sigma::BACKWARD,
    &laplace::LOSS,
    &laplace::BACKWARD,
    &continuous_bernoulli::LOSS,
    &continuous_bernoulli::BACKWARD,
    &continuous_bernoulli::MEAN,
    &discretised_logistic::LOSS,
    &discretised_logistic::BACKWARD,
    &gaussian_nll::LOSS,
    &gaussian_nll::BACKWARD,
    &stroke_mixture::LOSS,
    &stroke_mixture::BACKWARD,
    &multinomial::LOSS,
    &multinomial::BACKWARD,
    &cross_entropy::LOSS,
    &cross_entropy::ERRORS,
    &cross_entropy::BACKWARD,
    &marginal::WEIGHTS,
    &marginal::LOSS,
    &marginal::BACKWARD,
    &gather::FORWARD,
    &gather::VECTORS,
    &one_hot::FORWARD,
    &ragged::FORWARD,
    &tokens::FORWARD,
    &tokens::GIVEN,
    &steps::FORWARD,
    &steps::GIVEN,
    &steps::MASK,
    &steps::BY_ROW,
    &slots::TAKE,
    &slots::PUT,
    &normalise::FORWARD,
    &embedding::FORWARD,
    &embedding::SORT,
    &embedding::BACKWARD,
    &enumerate::ROWS,
    &enumerate::LABELS,
    &corrupt::GAUSSIAN,
    &corrupt::SALT_AND_PEPPER,
    &corrupt::MASK,
    &augment::FORWARD,
    &augment::CENTER,
    &binarise::FORWARD,
    &shuffle::FORWARD,
    &shuffle::BUCKETS,
    &random::INTEGERS,
    &random::UNIT,
    &random::NORMAL,
    &adam::FORWARD,
    &sgd::FORWARD,
    &clip::NORM,
    &clip::FORWARD,
    &clock::TALLY,
    &clock::TICK,
    &fused_batch::BEGIN,
    &fused_latent::FORWARD,
    &fused_latent::BACKWARD,
    &fused_linear::BACKWARD,
    &matmul_bce::FORWARD,
    &fused_weights::BACKWARD,
    &fused_update::ADAM,
    &probe::MULTIPLY_ADD,
    &probe::COPY,
    &probe::EMPTY,
    &ladder::matmul::NAIVE,
    &ladder::matmul::COALESCED,
    &ladder::matmul::TILE,
    &ladder::matmul::REGISTERS,
    &ladder::matmul::VEC4,
    &ladder::matmul::PARTIALS,
    &ladder::matmul::SUM,
    &ladder::conv2d::NAIVE,
    &ladder::conv2d::REGISTERS,
    &ladder::conv2d::VEC4,
    &ladder::conv2d::IMPLICIT,
    &ladder::reduce::NAIVE,
    &ladder::reduce::COALESCED,
    &ladder::reduce::TREE,
    &ladder::reduce::UNROLLED,
    &ladder::reduce::SUBGROUP,
    &ladder::batch_norm::TWO_PASSES,
    &ladder::batch_norm::WELFORD,
    &ladder::batch_norm::CHAN,
];

/// The kernels of a name: one of `stem.entry`, all of a `stem`. Errors: no such kernel, with the nearest.
pub fn find(name: &str) -> Result<Vec<&'static Kernel>> {
    let found: Vec<&Kernel> = ALL.iter().copied().filter(|k| k.name == name || k.stem() == name).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let known = ALL.iter().flat_map(|k| [k.name, k.stem()]);
    let hint = nearest(name, known).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
    Err(Error::Usage(format!("no kernel is called `{name}`{hint} (`elbo kernels` lists them)")))
}

/// The gradient of a loss whose kernel assumes dy = 1, times the dy of the check.
fn weighted(
    r: &mut crate::program::Recorder,
    dy: crate::tensor::Tensor,
    gradient: crate::tensor::Tensor,
) -> crate::tensor::Tensor {
    let weights = reduce::backward_whole(r, dy, gradient.matrix());
    joint::multiply(r, weights, gradient)
}

/// Every operation with a backward, for the finite-difference check: what the kernels name, each once.
pub fn gradients() -> Vec<GradientCase> {
    let mut cases: Vec<GradientCase> = Vec::new();
    for kernel in ALL {
        let GradientCheck::Cases(of_kernel) = kernel.gradients else { continue };
        for case in of_kernel() {
            if cases.iter().all(|known| known.label != case.label) {
                cases.push(case);
            }
        }
    }
    cases
}
