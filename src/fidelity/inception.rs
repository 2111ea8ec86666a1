//! Inception v3 (Szegedy et al. 2015, arXiv 1512.00567) as pytorch-fid runs it: the features that published Fréchet
//! distances are of. The user brings its weights, a safetensors file with torchvision's names.
//!
//! It differs from torchvision's network after the TensorFlow graph that the first distances were taken with: averages
//! of three by three leave out the border, and the last block takes the largest of three by three in the place of the
//! average. The features are what the last average leaves. The classes are softmax(W f) without a bias, as the
//! inception score is taken. Pictures are resized to 299 x 299, bilinear without corners aligned and without
//! antialiasing, values to -1 to 1.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::{Features, products, wide};
use crate::arena::{Arena, Layout};
use crate::backend::{Backend, Device, Loaded};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::conv2d::Geometry;
use crate::kernels::pool::Window;
use crate::kernels::{joint, pool};
use crate::layers::conv2d::Conv2d;
use crate::program::Recorder;
use crate::tensor::Tensor;
use crate::train::checkpoint::Checkpoint;

/// Side of the pictures that the network takes.
const SIDE: usize = 299;
/// Pictures that go through it at once.
const ROWS: usize = 4;
/// F
const FEATURES: usize = 2048;
/// Of the batch norms.
const EPS: f64 = 1e-3;

// ---- The network as a list

/// A convolution without bias, its batch norm and rectifier: torchvision's name, channels out, window, stride, padding.
type Conv = (&'static str, usize, [usize; 2], usize, [usize; 2]);

/// What a branch of a block takes of the block's input.
#[derive(Clone, Copy, PartialEq)]
enum Taken {
    All,
    /// The mean of three by three without the border.
    Average,
    /// The largest of three by three.
    Largest,
    /// The same of every second place, where nothing follows.
    Smaller,
}

/// Convolutions one after the other; those of `fork` beside each other at the end.
struct Branch {
    taken: Taken,
    convs: Vec<Conv>,
    fork: Option<[Conv; 2]>,
}

/// Stride 1, the size is kept.
fn kept(name: &'static str, outputs: usize, window: [usize; 2]) -> Conv {
    (name, outputs, window, 1, window.map(|k| k / 2))
}

/// Stride 2, no padding.
fn halved(name: &'static str, outputs: usize) -> Conv {
    (name, outputs, [3, 3], 2, [0, 0])
}

fn branch(taken: Taken, convs: Vec<Conv>) -> Branch {
    Branch { taken, convs, fork: None }
}

const ONE: [usize; 2] = [1, 1];
const THREE: [usize; 2] = [3, 3];
const ROW: [usize; 2] = [1, 7];
const COLUMN: [usize; 2] = [7, 1];

/// 35 x 35 places.
fn block_a(pooled: usize) -> Vec<Branch> {
    vec![
        branch(Taken::All, vec![kept("branch1x1", 64, ONE)]),
        branch(Taken::All, vec![kept("branch5x5_1", 48, ONE), kept("branch5x5_2", 64, [5, 5])]),
        branch(
            Taken::All,
            vec![kept("branch3x3dbl_1", 64, ONE), kept("branch3x3dbl_2", 96, THREE), kept("branch3x3dbl_3", 96, THREE)],
        ),
        branch(Taken::Average, vec![kept("branch_pool", pooled, ONE)]),
    ]
}

/// To 17 x 17 places.
fn block_b() -> Vec<Branch> {
    vec![
        branch(Taken::All, vec![halved("branch3x3", 384)]),
        branch(
            Taken::All,
            vec![kept("branch3x3dbl_1", 64, ONE), kept("branch3x3dbl_2", 96, THREE), halved("branch3x3dbl_3", 96)],
        ),
        branch(Taken::Smaller, vec![]),
    ]
}

fn block_c(width: usize) -> Vec<Branch> {
    vec![
        branch(Taken::All, vec![kept("branch1x1", 192, ONE)]),
        branch(
            Taken::All,
            vec![kept("branch7x7_1", width, ONE), kept("branch7x7_2", width, ROW), kept("branch7x7_3", 192, COLUMN)],
        ),
        branch(
            Taken::All,
            vec![
                kept("branch7x7dbl_1", width, ONE),
                kept("branch7x7dbl_2", width, COLUMN),
                kept("branch7x7dbl_3", width, ROW),
                kept("branch7x7dbl_4", width, COLUMN),
                kept("branch7x7dbl_5", 192, ROW),
            ],
        ),
        branch(Taken::Average, vec![kept("branch_pool", 192, ONE)]),
    ]
}

/// To 8 x 8 places.
fn block_d() -> Vec<Branch> {
    vec![
        branch(Taken::All, vec![kept("branch3x3_1", 192, ONE), halved("branch3x3_2", 320)]),
        branch(
            Taken::All,
            vec![
                kept("branch7x7x3_1", 192, ONE),
                kept("branch7x7x3_2", 192, ROW),
                kept("branch7x7x3_3", 192, COLUMN),
                halved("branch7x7x3_4", 192),
            ],
        ),
        branch(Taken::Smaller, vec![]),
    ]
}

fn block_e(pooled: Taken) -> Vec<Branch> {
    let fork = |names: [&'static str; 2]| Some([kept(names[0], 384, [1, 3]), kept(names[1], 384, [3, 1])]);
    vec![
        branch(Taken::All, vec![kept("branch1x1", 320, ONE)]),
        Branch {
            fork: fork(["branch3x3_2a", "branch3x3_2b"]),
            ..branch(Taken::All, vec![kept("branch3x3_1", 384, ONE)])
        },
        Branch {
            fork: fork(["branch3x3dbl_3a", "branch3x3dbl_3b"]),
            ..branch(Taken::All, vec![kept("branch3x3dbl_1", 448, ONE), kept("branch3x3dbl_2", 384, THREE)])
        },
        branch(pooled, vec![kept("branch_pool", 192, ONE)]),
    ]
}

/// Every block in order. The stem is blocks of one branch, whose convolutions have no block's name before their own.
fn blocks() -> Vec<(&'static str, Vec<Branch>)> {
    let stem = |convs: Vec<Conv>| ("", vec![branch(Taken::All, convs)]);
    let smaller = || ("", vec![branch(Taken::Smaller, vec![])]);
    vec![
        stem(vec![
            halved("Conv2d_1a_3x3", 32),
            ("Conv2d_2a_3x3", 32, THREE, 1, [0, 0]),
            kept("Conv2d_2b_3x3", 64, THREE),
        ]),
        smaller(),
        stem(vec![kept("Conv2d_3b_1x1", 80, ONE), ("Conv2d_4a_3x3", 192, THREE, 1, [0, 0])]),
        smaller(),
        ("Mixed_5b.", block_a(32)),
        ("Mixed_5c.", block_a(64)),
        ("Mixed_5d.", block_a(64)),
        ("Mixed_6a.", block_b()),
        ("Mixed_6b.", block_c(128)),
        ("Mixed_6c.", block_c(160)),
        ("Mixed_6d.", block_c(160)),
        ("Mixed_6e.", block_c(192)),
        ("Mixed_7a.", block_d()),
        ("Mixed_7b.", block_e(Taken::Average)),
        ("Mixed_7c.", block_e(Taken::Largest)),
    ]
}

/// The tensors that a file of weights holds, in torchvision's names, with their shapes; in the order of the names.
pub fn tensors() -> BTreeMap<String, Vec<usize>> {
    let mut tensors = BTreeMap::from([("fc.weight".to_string(), vec![1008, FEATURES])]);
    let mut channels = 3;
    for (block, branches) in blocks() {
        let mut left = 0;
        for Branch { convs, fork, .. } in branches {
            let mut inputs = channels;
            let mut add = |inputs: usize, (name, outputs, [kh, kw], ..): Conv| {
                tensors.insert(format!("{block}{name}.conv.weight"), vec![outputs, inputs, kh, kw]);
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    tensors.insert(format!("{block}{name}.bn.{part}"), vec![outputs]);
                }
                outputs
            };
            for conv in convs {
                inputs = add(inputs, conv);
            }
            left += match fork {
                None => inputs,
                Some([a, b]) => add(inputs, a) + add(inputs, b),
            };
        }
        channels = left;
    }
    tensors
}

// ---- Running it

/// The network on a device.
pub struct Inception {
    backend: Backend,
    program: Loaded,
    /// (ROWS,SIDE,SIDE,3)
    x: Tensor,
    /// (ROWS,FEATURES)
    y: Tensor,
    /// W (K,FEATURES)
    classes: Vec<f64>,
}

impl Inception {
    /// Errors: no file, one that lacks a tensor of the network or has it in another shape; no room on the device.
    pub fn open(path: &Path, device: &Device) -> Result<Inception> {
        let checkpoint = Checkpoint::read(path)?;
        let mut arena = Arena::new();
        let x = arena.tensor("x", &[ROWS, SIDE, SIDE, 3]);
        let Convolutions { by_name, values } = declare(&mut arena, &checkpoint, path)?;
        let borders: BTreeMap<usize, Tensor> =
            [35, 17, 8].map(|side| (side, arena.tensor(format!("border.{side}"), &[ROWS * side * side]))).into();
        let mut r = Recorder::new(&mut arena);
        let y = record(&mut r, x, &by_name, &borders);
        let program = r.finish("inception");
        let mut backend = device.backend();
        let program = backend.load(&arena, &program)?;
        values.iter().for_each(|(tensor, values)| backend.write(*tensor, values));
        borders.iter().for_each(|(&side, &tensor)| backend.write(tensor, &border(side).repeat(ROWS)));
        let classes = wide(last(&checkpoint, path)?);
        Ok(Inception { backend, program, x, y, classes })
    }

    /// Features and classes of pictures (N,D) of this (C,H,W), grey or in colour, with values in `[0,1]`. Errors: those
    /// of the device.
    pub fn judge(&mut self, pictures: &[f32], shape: [usize; 3]) -> Result<Features> {
        let dims = shape.iter().product();
        let mut features = Vec::new();
        for rows in pictures.chunks(ROWS * dims) {
            let mut x: Vec<f32> = rows.par_chunks(dims).flat_map_iter(|picture| resized(picture, shape)).collect();
            x.resize(self.x.len(), 0.0);
            self.backend.write(self.x, &x);
            self.backend.run(&[(self.program, 1)])?;
            let y = self.backend.read_one(self.y)?;
            features.extend(&y[..rows.len() / dims * FEATURES]);
        }
        let classes = self.classes.len() / FEATURES;
        let logits = products(&wide(&features), &self.classes, FEATURES);
        let probabilities = logits.chunks(classes).flat_map(|logits| {
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|l| (l - largest).exp()).sum();
            logits.iter().map(move |l| ((l - largest).exp() / sum) as f32)
        });
        Ok(Features { probabilities: probabilities.collect(), features, width: FEATURES, classes })
    }
}

/// W (K,FEATURES), of however many classes.
fn last<'a>(checkpoint: &'a Checkpoint, path: &Path) -> Result<&'a [f32]> {
    let classes = checkpoint.tensors.get("fc.weight").map_or(1008, |(shape, _)| shape[0]);
    checkpoint.tensor("fc.weight", &[classes, FEATURES], path)
}

/// Every convolution by name, and the values of its weight (O,KH,KW,I) and bias (O).
struct Convolutions {
    by_name: BTreeMap<String, Conv2d>,
    values: Vec<(Tensor, Vec<f32>)>,
}

/// Declares them. A batch norm in evaluation is a factor a channel, which the weight takes in, and a sum.
fn declare(arena: &mut Arena, checkpoint: &Checkpoint, path: &Path) -> Result<Convolutions> {
    let shapes = tensors();
    let (mut by_name, mut values) = (BTreeMap::new(), Vec::new());
    for (block, branches) in blocks() {
        let all = branches.iter().flat_map(|branch| branch.convs.iter().chain(branch.fork.iter().flatten()));
        for &(name, outputs, kernel, stride, padding) in all {
            let name = format!("{block}{name}");
            let of = |part: &str| {
                let name = format!("{name}.{part}");
                checkpoint.tensor(&name, &shapes[&name], path)
            };
            let (weight, gamma, beta) = (of("conv.weight")?, of("bn.weight")?, of("bn.bias")?);
            let (mean, var) = (of("bn.running_mean")?, of("bn.running_var")?);
            let factor = |o: usize| f64::from(gamma[o]) / (f64::from(var[o]) + EPS).sqrt();
            let an_output = weight.len() / outputs;
            let weight: Vec<f32> =
                weight.iter().enumerate().map(|(i, &w)| (f64::from(w) * factor(i / an_output)) as f32).collect();
            let bias = (0..outputs).map(|o| (f64::from(beta[o]) - f64::from(mean[o]) * factor(o)) as f32).collect();

            let inputs = shapes[&format!("{name}.conv.weight")][1];
            let geometry = Geometry { kernel, stride: [stride; 2], padding, dilation: [1, 1], groups: 1 };
            let first = arena.parameters().len();
            let conv = Conv2d::new(arena, &name, [inputs, outputs], geometry, true, Activation::Relu);
            by_name.insert(name, conv);
            let [w, b] = [0, 1].map(|i| arena.parameters()[first + i].value);
            values.extend([(w, Layout::ChannelsLast.from_file(&weight, w.shape())), (b, bias)]);
        }
    }
    Ok(Convolutions { by_name, values })
}

/// x (B,SIDE,SIDE,3) to the features (B,F).
fn record(
    r: &mut Recorder,
    mut x: Tensor,
    convs: &BTreeMap<String, Conv2d>,
    borders: &BTreeMap<usize, Tensor>,
) -> Tensor {
    for (block, branches) in blocks() {
        let run = |r: &mut Recorder, x: Tensor, conv: &Conv| convs[&format!("{block}{}", conv.0)].forward(r, x).0;
        let mut left: Option<Tensor> = None;
        for Branch { taken, convs: sequence, fork } in branches {
            let taken = match taken {
                Taken::All => x,
                Taken::Average => average(r, x, borders),
                Taken::Largest => pool::max(r, x, Window::new(THREE, [1, 1], [1, 1])).0,
                Taken::Smaller => pool::max(r, x, Window::new(THREE, [2, 2], [0, 0])).0,
            };
            let y = sequence.iter().fold(taken, |x, conv| run(r, x, conv));
            let y = match fork {
                None => y,
                Some([a, b]) => {
                    let (a, b) = (run(r, y, &a), run(r, y, &b));
                    beside(r, a, b)
                }
            };
            left = Some(left.map_or(y, |left| beside(r, left, y)));
        }
        x = left.expect("a block has branches");
    }
    let side = x.shape()[1];
    let y = pool::average(r, x, Window::new([side; 2], [side; 2], [0, 0]));
    y.reshape(&[ROWS, FEATURES])
}

/// Channels of two pictures (B,H,W,I) and (B,H,W,O) in one.
fn beside(r: &mut Recorder, a: Tensor, b: Tensor) -> Tensor {
    let [n, h, w, i] = a.shape().try_into().expect("a picture");
    let o = b.shape()[3];
    joint::concat(r, a.reshape(&[n * h * w, i]), b.reshape(&[n * h * w, o])).reshape(&[n, h, w, i + o])
}

/// The mean of three by three, the border left out: that with the border as zeros, times 9 over the places inside.
fn average(r: &mut Recorder, x: Tensor, borders: &BTreeMap<usize, Tensor>) -> Tensor {
    let [n, h, w, c] = x.shape().try_into().expect("a picture");
    let y = pool::average(r, x, Window::new(THREE, [1, 1], [1, 1]));
    joint::weigh(r, y.reshape(&[n * h * w, c]), borders[&h]).reshape(&[n, h, w, c])
}

/// Of each place of a square, 9 over the places inside it of the three by three around it.
fn border(side: usize) -> Vec<f32> {
    let inside = |at: usize| if at == 0 || at == side - 1 { 2.0 } else { 3.0 };
    (0..side * side).map(|place| 9.0 / (inside(place / side) * inside(place % side))).collect()
}

/// A picture (C,H,W) as the network takes it, (SIDE,SIDE,3): bilinear between the centres of pixels, values -1 to 1.
fn resized(picture: &[f32], [c, h, w]: [usize; 3]) -> Vec<f32> {
    let ends = |at: usize, size: usize| {
        let centre = ((at as f64 + 0.5) * size as f64 / SIDE as f64 - 0.5).max(0.0);
        let first = (centre as usize).min(size - 1);
        (first, (first + 1).min(size - 1), (centre - first as f64) as f32)
    };
    let mut resized = Vec::with_capacity(SIDE * SIDE * 3);
    for y in 0..SIDE {
        let (top, bottom, down) = ends(y, h);
        for x in 0..SIDE {
            let (left, right, along) = ends(x, w);
            for channel in 0..3 {
                let plane = &picture[(channel % c) * h * w..][..h * w];
                let row = |y: usize| plane[y * w + left] * (1.0 - along) + plane[y * w + right] * along;
                resized.push(2.0 * (row(top) * (1.0 - down) + row(bottom) * down) - 1.0);
            }
        }
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_counts_the_places_inside() {
        assert_eq!(border(3), [2.25, 1.5, 2.25, 1.5, 1.0, 1.5, 2.25, 1.5, 2.25]);
    }

    #[test]
    fn the_list_has_94_convolutions() {
        let of = |branch: &Branch| branch.convs.len() + 2 * usize::from(branch.fork.is_some());
        assert_eq!(blocks().iter().flat_map(|(_, branches)| branches).map(of).sum::<usize>(), 94);
    }

    #[test]
    fn a_flat_picture_is_resized_to_a_flat_one() {
        assert!(resized(&[0.75; 12], [1, 3, 4]).iter().all(|&v| (v - 0.5).abs() < 1e-6));
        assert_eq!(resized(&[0.0; 30], [3, 2, 5]).len(), SIDE * SIDE * 3);
    }
}
