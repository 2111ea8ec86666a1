//! The gradients of a convolution's weights and bias in parts, on GPUs: a rule that adds dispatches. There are few weights
//! and many places to sum over, and a dispatch that keeps one workgroup busy keeps a large GPU waiting.

use super::steps::Steps;
use crate::kernels::conv2d;

pub fn apply(steps: &mut Steps) -> Option<()> {
    let mut found = [steps.all(&conv2d::BACKWARD_W), steps.all(&conv2d::BACKWARD_B)].concat();
    found.sort();
    // From the last to the first: what is put in moves the places behind it.
    for i in found.into_iter().rev() {
        let step = steps.list[i].clone();
        if let Some((Some(()), put)) = steps.record(&step.scope, |r| conv2d::in_parts(r, &step)) {
            steps.replace(&[i], vec![(i, put)]);
        }
    }
    Some(())
}
