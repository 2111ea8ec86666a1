//! The gradients of a convolution's weights and bias in parts, on GPUs: a rule that adds dispatches. There are few
//! weights and many places to sum over, and a dispatch that keeps one workgroup busy keeps a large GPU waiting.

use super::steps::Steps;
use crate::kernels::conv2d;

pub fn apply(steps: &mut Steps) -> Option<()> {
    steps.replace_each(&[&conv2d::BACKWARD_W, &conv2d::BACKWARD_B], conv2d::with_partial_sums);
    Some(())
}
