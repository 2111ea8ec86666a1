//! The gradient of a convolution to its input, where most taps of the window meet nothing, as a product and a fold, on
//! GPUs: a second rule that adds dispatches. It asks nothing of its neighbours: what is read and written is the same.

use super::Fusion;
use super::steps::Steps;
use crate::kernels::conv2d;

pub fn apply(steps: &mut Steps) -> Option<()> {
    // The CPU device's form skips those taps.
    if steps.fusion() == Fusion::Full {
        steps.replace_each(&[&conv2d::BACKWARD_X], conv2d::by_fold);
    }
    Some(())
}
