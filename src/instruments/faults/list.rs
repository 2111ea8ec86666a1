//! The known mistakes, kernel by kernel.

use super::Fault;
use crate::kernel::Kernel;
use crate::kernels::{
    activation, adam, batch_norm, bce, channels, clock, conv2d, fill, gather, gaussian_kl, joint, matmul,
    optimal_sigma, random, reparameterise,
};

/// All of them. The first of a kernel is the one that the kernel's name alone stands for.
pub static FAULTS: &[Fault] = &[
    Fault {
        kernel: &matmul::FORWARD,
        name: "no_bias",
        about: "the bias is left out",
        lesson: "the model trains all the same; its bias gets gradients that change nothing",
        shows_in_a_step: true,
        from: "sum[j] + b[column + j])",
        to: "sum[j])",
        wrong: |p, r, w| on(&matmul::FORWARD, p, r, w, |reads| reads[2].fill(0.0)),
    },
    Fault {
        kernel: &matmul::FORWARD,
        name: "last_term",
        about: "the sum stops one term early",
        lesson: "one of many terms: a loose tolerance on a long sum would let it pass",
        shows_in_a_step: true,
        from: "& (column < params.I);\n    return select(0.0, x[",
        to: "& (column + 1u < params.I);\n    return select(0.0, x[",
        wrong: |p, r, w| on(&matmul::FORWARD, p, r, w, |reads| clear_last_of_rows(&mut reads[0], p[1])),
    },
    Fault {
        kernel: &matmul::BACKWARD_X,
        name: "transposed",
        about: "W is read as if it were its transpose",
        lesson: "every index is in range and every number of the right size; only their places are wrong",
        shows_in_a_step: true,
        from: "w[select(0u, row * params.I + column, is_inside)]",
        to: "w[select(0u, column * params.O + row, is_inside)]",
        wrong: |p, r, w| {
            on(&matmul::BACKWARD_X, p, r, w, |reads| {
                let [inputs, outputs] = [p[1] as usize, p[2] as usize];
                let right = reads[0].clone();
                for k in 0..outputs {
                    for n in 0..inputs {
                        reads[0][k * inputs + n] = right[n * outputs + k];
                    }
                }
            })
        },
    },
    Fault {
        kernel: &matmul::BACKWARD_W,
        name: "last_row",
        about: "the gradient leaves out the last picture of the batch",
        lesson: "training hardly changes: it is the gradient of a slightly smaller batch",
        shows_in_a_step: true,
        from: "(row < params.B) & (column < params.O)",
        to: "(row + 1u < params.B) & (column < params.O)",
        wrong: |p, r, w| {
            on(&matmul::BACKWARD_W, p, r, w, |reads| {
                let kept = (p[0] - 1) as usize * p[2] as usize;
                reads[1][kept..].fill(0.0);
            })
        },
    },
    Fault {
        kernel: &matmul::BACKWARD_W,
        name: "assign",
        about: "dW is assigned, not added to",
        lesson: "no step of a model that uses each weight once can show it: gradients are cleared before. Only a case \
                 that starts with numbers in dW does",
        shows_in_a_step: false,
        from: "dw[i] += sum[j];",
        to: "dw[i] = sum[j];",
        wrong: |p, r, w| {
            w[0][..p[1] as usize * p[2] as usize].fill(0.0);
            (matmul::BACKWARD_W.reference)(p, r, w);
        },
    },
    Fault {
        kernel: &activation::BACKWARD,
        name: "no_slope",
        about: "dy is passed on as if the activation were the identity",
        lesson: "for ReLU half of the gradient is too much; the loss still falls",
        shows_in_a_step: true,
        from: "dx[i] = dy[i] * activate_slope(params.kind, saved[i]);",
        to: "dx[i] = dy[i];",
        wrong: |p, r, w| w[0][..p[0] as usize].copy_from_slice(&r[1][..p[0] as usize]),
    },
    Fault {
        kernel: &reparameterise::FORWARD,
        name: "whole_logvar",
        about: "the logarithm of the variance is taken for that of the standard deviation",
        lesson: "a wrong definition: its forward and backward no longer belong together, which finite differences see",
        shows_in_a_step: true,
        from: "exp(0.5 * logvar[i]) * noise[i];",
        to: "exp(logvar[i]) * noise[i];",
        wrong: |p, r, w| {
            on(&reparameterise::FORWARD, p, r, w, |reads| reads[1].iter_mut().for_each(|logvar| *logvar *= 2.0))
        },
    },
    Fault {
        kernel: &reparameterise::BACKWARD,
        name: "assign",
        about: "dmean is assigned, not added to",
        lesson: "the mean loses the KL's gradient, which was there first; alone, as finite differences take it, the \
                 kernel is right",
        shows_in_a_step: true,
        from: "dmean[i] += dz[i];",
        to: "dmean[i] = dz[i];",
        wrong: |p, r, w| {
            w[0][..p[0] as usize].fill(0.0);
            (reparameterise::BACKWARD.reference)(p, r, w);
        },
    },
    Fault {
        kernel: &reparameterise::BACKWARD,
        name: "sign",
        about: "dlogvar has the wrong sign",
        lesson: "the variance moves away from where reconstruction wants it, the KL pulls on: training looks noisy",
        shows_in_a_step: true,
        from: "dlogvar[i] += 0.5",
        to: "dlogvar[i] -= 0.5",
        wrong: |p, r, w| {
            let before = w[1].to_vec();
            (reparameterise::BACKWARD.reference)(p, r, w);
            for (dlogvar, before) in w[1][..p[0] as usize].iter_mut().zip(before) {
                *dlogvar = 2.0 * before - *dlogvar;
            }
        },
    },
    Fault {
        kernel: &gaussian_kl::LOSS,
        name: "last_row",
        about: "the last picture of the batch is left out of the loss",
        lesson: "gradients come from another kernel: training is right and only the number in the log is not",
        shows_in_a_step: true,
        from: "r < params.B; r += 64u",
        to: "r + 1u < params.B; r += 64u",
        wrong: |p, r, w| {
            on(&gaussian_kl::LOSS, p, r, w, |reads| {
                let kept = (p[0] - 1) as usize * p[1] as usize;
                reads[0][kept..].fill(0.0);
                reads[1][kept..].fill(0.0);
            })
        },
    },
    Fault {
        kernel: &gaussian_kl::BACKWARD,
        name: "sign",
        about: "dlogvar has the wrong sign",
        lesson: "variances run away from 1 instead of towards it",
        shows_in_a_step: true,
        from: "(exp(logvar[i]) - 1.0);",
        to: "(1.0 - exp(logvar[i]));",
        wrong: |p, r, w| {
            (gaussian_kl::BACKWARD.reference)(p, r, w);
            w[1][..(p[0] * p[1]) as usize].iter_mut().for_each(|dlogvar| *dlogvar = -*dlogvar);
        },
    },
    Fault {
        kernel: &bce::LOSS,
        name: "last_pixel",
        about: "the sum over the pixels stops one early",
        lesson: "gradients come from another kernel: training is right and only the number in the log is not",
        shows_in_a_step: true,
        from: "d < params.D; d += 64u",
        to: "d + 1u < params.D; d += 64u",
        // A logit of minus infinity, or near it, on a black pixel costs nothing.
        wrong: |p, r, w| {
            on(&bce::LOSS, p, r, w, |reads| {
                clear_last_of_rows(&mut reads[1], p[1]);
                reads[0].chunks_exact_mut(p[1] as usize).for_each(|row| row[p[1] as usize - 1] = -1e30);
            })
        },
    },
    Fault {
        kernel: &bce::BACKWARD,
        name: "sign",
        about: "the gradient points uphill",
        lesson: "the loss grows: the one fault that a look at the curve finds at once",
        shows_in_a_step: true,
        from: "(sigmoid(logits[i]) - x[i]);",
        to: "(x[i] - sigmoid(logits[i]));",
        wrong: |p, r, w| {
            (bce::BACKWARD.reference)(p, r, w);
            w[0][..(p[0] * p[1]) as usize].iter_mut().for_each(|d| *d = -*d);
        },
    },
    Fault {
        kernel: &optimal_sigma::BACKWARD,
        name: "one_sigma",
        about: "the error is divided by sigma once, not twice",
        lesson: "a wrong weight of reconstruction against the KL, as beta is: pictures get blurred, nothing breaks",
        shows_in_a_step: true,
        from: "/ (sigma[0] * sigma[0]);",
        to: "/ sigma[0];",
        wrong: |p, r, w| {
            (optimal_sigma::BACKWARD.reference)(p, r, w);
            w[0][..(p[0] * p[1]) as usize].iter_mut().for_each(|dy| *dy *= r[2][0]);
        },
    },
    Fault {
        kernel: &adam::FORWARD,
        name: "no_correction",
        about: "the first moment is used without its bias correction",
        lesson: "the first steps are a tenth as long as they should be, later ones nearly right: the final loss hides it",
        shows_in_a_step: true,
        from: "lr / correction1 * mean",
        to: "lr * mean",
        wrong: |p, r, w| {
            on(&adam::FORWARD, p, r, w, |reads| *bias_correction1(&mut reads[1]) = 1.0);
        },
    },
    Fault {
        kernel: &adam::FORWARD,
        name: "sign",
        about: "the step goes uphill",
        lesson: "the loss grows although every gradient is right: finite differences do not look at the optimiser",
        shows_in_a_step: true,
        from: "p[i] = value - lr",
        to: "p[i] = value + lr",
        wrong: |p, r, w| {
            on(&adam::FORWARD, p, r, w, |reads| *bias_correction1(&mut reads[1]) *= -1.0);
        },
    },
    Fault {
        kernel: &fill::FORWARD,
        name: "every_fourth",
        about: "each invocation stops one element early, so every fourth gradient is never cleared",
        lesson: "the first step starts from zeros and is right; from the second on, gradients pile up",
        shows_in_a_step: false,
        from: "min(first + 4u, params.N)",
        to: "min(first + 3u, params.N)",
        wrong: |p, r, w| {
            let before = w[0].to_vec();
            (fill::FORWARD.reference)(p, r, w);
            for i in (3..p[0] as usize).step_by(4) {
                w[0][i] = before[i];
            }
        },
    },
    Fault {
        kernel: &gather::FORWARD,
        name: "divisor",
        about: "pixels are divided by 256, not by 255",
        lesson: "every picture is darker by 0.4 %: no curve tells, only numbers beside numbers",
        shows_in_a_step: true,
        from: "/ 255.0",
        to: "/ 256.0",
        wrong: |p, r, w| {
            let before = w[0].to_vec();
            (gather::FORWARD.reference)(p, r, w);
            // A part of the data set leaves the rows of the other parts alone.
            for (x, before) in w[0][..(p[0] * p[1]) as usize].iter_mut().zip(before) {
                *x = if x.to_bits() == before.to_bits() { *x } else { *x * (255.0 / 256.0) };
            }
        },
    },
    Fault {
        kernel: &random::NORMAL,
        name: "repeated",
        about: "both pairs of a block are made from the same two words",
        lesson: "mean and variance are right and the noise is correlated: statistics of single numbers cannot see it",
        shows_in_a_step: true,
        from: "to_normal(words.z, words.w)",
        to: "to_normal(words.x, words.y)",
        wrong: |p, r, w| {
            (random::NORMAL.reference)(p, r, w);
            for i in (0..p[0] as usize).filter(|i| i % 4 >= 2) {
                w[0][i] = w[0][i - 2];
            }
        },
    },
    Fault {
        kernel: &clock::TICK,
        name: "same_batch",
        about: "the batch is not counted",
        lesson: "an epoch is one batch again and again: a training loss too good to be true",
        shows_in_a_step: true,
        from: "clock[3] += 1u;",
        to: "clock[3] += 0u;",
        wrong: |p, r, w| {
            let batch = w[0][3];
            (clock::TICK.reference)(p, r, w);
            w[0][3] = batch;
        },
    },
    Fault {
        kernel: &conv2d::FORWARD,
        name: "mirrored",
        about: "the window is read backwards",
        lesson: "a convolution as mathematicians define it: it trains as well, and loads no checkpoint of PyTorch's",
        shows_in_a_step: true,
        from: "return w[(group * outputs + o) * depth + k];",
        to: "return w[(group * outputs + o) * depth + depth - 1u - k];",
        wrong: |p, r, w| {
            on(&conv2d::FORWARD, p, r, w, |reads| {
                let depth = reads[1].len() / p[6] as usize;
                reads[1].chunks_exact_mut(depth).for_each(|window| window.reverse());
            })
        },
    },
    Fault {
        kernel: &conv2d::FORWARD,
        name: "no_padding",
        about: "rows are not moved by the padding",
        lesson: "pictures shift from layer to layer, and the backward no longer fits; a network without padding is right",
        shows_in_a_step: true,
        from: "params.stride_h - params.padding_h,",
        to: "params.stride_h,",
        wrong: |p, r, w| {
            let mut p = p.to_vec();
            p[11] = 0;
            (conv2d::FORWARD.reference)(&p, r, w);
        },
    },
    Fault {
        kernel: &conv2d::BACKWARD_X,
        name: "sign",
        about: "the result has the wrong sign",
        lesson: "layers behind it train uphill and those in front downhill",
        shows_in_a_step: true,
        from: "dx[m * params.I + channel] = activate(params.activation, one);",
        to: "dx[m * params.I + channel] = activate(params.activation, -one);",
        wrong: |p, r, w| {
            on(&conv2d::BACKWARD_X, p, r, w, |reads| {
                reads.iter_mut().skip(1).flatten().for_each(|value| *value = -*value);
            })
        },
    },
    Fault {
        kernel: &conv2d::BACKWARD_W,
        name: "last_place",
        about: "the sum over all places of all pictures stops one early",
        lesson: "one of thousands of terms: with many pictures it hides below the rounding that is accepted of so long \
                 a sum; the cases' sums are short",
        shows_in_a_step: true,
        from: "if n >= params.B * params.P * params.Q || o >= outputs { return 0.0; }",
        to: "if n + 1u >= params.B * params.P * params.Q || o >= outputs { return 0.0; }",
        wrong: |p, r, w| {
            on(&conv2d::BACKWARD_W, p, r, w, |reads| {
                let kept = reads[1].len() - p[6] as usize;
                reads[1][kept..].fill(0.0);
            })
        },
    },
    Fault {
        kernel: &conv2d::BACKWARD_B,
        name: "last_eighth",
        about: "the last of eight partial sums is not added",
        lesson: "a bound of a loop over partial results: an eighth of the gradient is missing",
        shows_in_a_step: true,
        from: "r < 8u; r++",
        to: "r < 7u; r++",
        wrong: |p, r, w| {
            on(&conv2d::BACKWARD_B, p, r, w, |reads| {
                reads[0].chunks_exact_mut(p[6] as usize).skip(7).step_by(8).for_each(|row| row.fill(0.0));
            })
        },
    },
    Fault {
        kernel: &batch_norm::STATISTICS,
        name: "momentum",
        about: "the running mean keeps the share that it should give away",
        lesson: "momentum has two conventions, 0.1 here is 0.9 elsewhere: training never reads the running mean, so only \
                 evaluation is wrong",
        shows_in_a_step: true,
        from: "running_mean[at.c] += params.momentum *",
        to: "running_mean[at.c] += (1.0 - params.momentum) *",
        wrong: |p, r, w| {
            let momentum = f32::from_bits(p[7]);
            let before = w[1].to_vec();
            (batch_norm::STATISTICS.reference)(p, r, w);
            for (mean, before) in w[1][..p[1] as usize].iter_mut().zip(before) {
                *mean = before + (*mean - before) * (1.0 - momentum) / momentum;
            }
        },
    },
    Fault {
        kernel: &batch_norm::BACKWARD_X,
        name: "constant_mean",
        about: "the mean is treated as a constant: its own gradient is left out",
        lesson: "the classical mistake in batch norm's backward; it trains, worse",
        shows_in_a_step: true,
        from: "let mean_g = sums[at.c] / f32(params.R);",
        to: "let mean_g = 0.0;",
        wrong: |p, r, w| on(&batch_norm::BACKWARD_X, p, r, w, |reads| reads[5][..p[1] as usize].fill(0.0)),
    },
    Fault {
        kernel: &channels::LAST,
        name: "copied",
        about: "the numbers keep their order",
        lesson: "every number is there, under the index of another",
        shows_in_a_step: true,
        from: "{ transpose(i, params.C, params.S); }",
        to: "{ y[i] = x[i]; }",
        wrong: |_, r, w| w[0][..r[0].len()].copy_from_slice(r[0]),
    },
    Fault {
        kernel: &joint::ADD,
        name: "sign",
        about: "b is subtracted",
        lesson: "a residual block trains with it, having learned the opposite",
        shows_in_a_step: true,
        from: "y[i] = a[i] + params.scale * b[i];",
        to: "y[i] = a[i] - params.scale * b[i];",
        wrong: |p, r, w| on(&joint::ADD, p, r, w, |reads| reads[1].iter_mut().for_each(|b| *b = -*b)),
    },
];

/// The reference on changed inputs.
fn on(kernel: &Kernel, params: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]], change: impl Fn(&mut [Vec<f32>])) {
    let mut changed: Vec<Vec<f32>> = reads.iter().map(|read| read.to_vec()).collect();
    change(&mut changed);
    let reads: Vec<&[f32]> = changed.iter().map(Vec::as_slice).collect();
    (kernel.reference)(params, &reads, writes);
}

/// That of the clock's batch.
fn bias_correction1(words: &mut [f32]) -> &mut f32 {
    let batch = words[3].to_bits() as usize;
    &mut words[clock::HEADER + clock::ROW * batch + 2]
}

fn clear_last_of_rows(matrix: &mut [f32], columns: u32) {
    matrix.chunks_exact_mut(columns as usize).for_each(|row| row[columns as usize - 1] = 0.0);
}
