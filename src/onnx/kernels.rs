//! Kernels as ONNX's operators, by the kernels' names and params: a match arm each.

use std::collections::BTreeMap;

use super::graph::Graph;
use super::proto::Attribute;
use crate::kernels::activation::Activation;
use crate::program::{Program, Step};
use crate::tensor::Tensor;

/// Adds the program's nodes to the graph, in whose values its inputs are. Errors: the name of a kernel that has no
/// operator here.
pub fn translate(program: &Program, graph: &mut Graph) -> Result<(), &'static str> {
    // The products that a fold sums, by place: with it they are one transposed convolution.
    let mut products = BTreeMap::new();
    for step in &program.steps {
        let word = |name: &str| step.param(name);
        match (step.kernel.name, &step.reads[..], &step.writes[..]) {
            // ANCHOR: gemm
            ("matmul.forward", &[x, w, b], &[y]) => {
                let (x, w, b) = (graph.rows(x), graph.parameter(w, w.shape()), graph.parameter(b, b.shape()));
                let h = graph.node("Gemm", &[&x, &w, &b], vec![Attribute::int("transB", 1)]);
                let h = activated(graph, h, word("activation"));
                graph.put(y, h);
            }
            // ANCHOR_END: gemm
            ("matmul.backward_x", &[w, dy, _], &[columns]) => {
                products.insert([columns.buffer, columns.offset], [w, dy]);
            }
            ("conv2d.fold", &[b, columns], &[y]) => {
                let [w, x] = products.remove(&[columns.buffer, columns.offset]).ok_or(step.kernel.name)?;
                transposed(graph, step, [w, b, x], y);
            }
            ("conv2d.backward_x", &[w, b, x], &[y]) => transposed(graph, step, [w, b, x], y),
            ("conv2d.forward", &[x, w, b], &[y]) => {
                let x = graph.picture(x);
                let w = graph.parameter(w, w.shape());
                let mut inputs = vec![x, w];
                if word("bias") != 0 {
                    inputs.push(graph.parameter(b, b.shape()));
                }
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let h = graph.node("Conv", &inputs, geometry(step));
                let h = activated(graph, h, word("activation"));
                graph.put_picture(y, h);
            }
            ("batch_norm.evaluate", &[x, w, b, mean, var], &[y]) => {
                let is_picture = x.shape().len() == 4;
                let value = if is_picture { graph.picture(x) } else { graph.rows(x) };
                let [w, b, mean, var] = [w, b, mean, var].map(|t| graph.parameter(t, t.shape()));
                let eps = vec![Attribute::float("epsilon", f32::from_bits(word("eps")))];
                let h = graph.node("BatchNormalization", &[&value, &w, &b, &mean, &var], eps);
                let h = activated(graph, h, word("activation"));
                put_like(graph, is_picture, y, h);
            }
            ("layer_norm.forward", &[x, w, b], &[y, _]) => {
                let (x, w, b) = (graph.rows(x), graph.parameter(w, w.shape()), graph.parameter(b, b.shape()));
                let attributes =
                    vec![Attribute::int("axis", 1), Attribute::float("epsilon", f32::from_bits(word("eps")))];
                let h = graph.node("LayerNormalization", &[&x, &w, &b], attributes);
                graph.put(y, h);
            }
            ("group_norm.forward", &[x, w, b], &[y, _]) => {
                let h = group_norm(graph, step, [x, w, b]);
                put_like(graph, x.shape().len() == 4, y, h);
            }
            ("activation.forward", &[x], &[y]) => {
                let is_picture = graph.is_picture(x);
                let value = if is_picture { graph.picture(x) } else { graph.rows(x) };
                let h = activated(graph, value, word("kind"));
                put_like(graph, is_picture, y, h);
            }
            ("pool.max" | "pool.average", &[x], &[y, ..]) => {
                let x = graph.picture(x);
                let [top, left] = [word("TH"), word("TW")].map(|n| n as usize);
                let mut attributes = vec![
                    Attribute::ints("kernel_shape", &[word("KH") as usize, word("KW") as usize]),
                    Attribute::ints("strides", &[word("SH") as usize, word("SW") as usize]),
                    Attribute::ints("pads", &[top, left, top, left]),
                ];
                let h = if step.kernel.name == "pool.max" {
                    graph.node("MaxPool", &[&x], attributes)
                } else {
                    attributes.push(Attribute::int("count_include_pad", 1));
                    graph.node("AveragePool", &[&x], attributes)
                };
                graph.put_picture(y, h);
            }
            ("upsample.nearest" | "upsample.bilinear", &[x], &[y]) => {
                let x = graph.picture(x);
                let factor = word("F") as f32;
                let scales = graph.numbers(&format!("scales_{factor}"), &[4], &[1.0, 1.0, factor, factor]);
                let attributes = match step.kernel.name {
                    "upsample.nearest" => vec![
                        Attribute::text("mode", "nearest"),
                        Attribute::text("nearest_mode", "floor"),
                        Attribute::text("coordinate_transformation_mode", "asymmetric"),
                    ],
                    _ => vec![
                        Attribute::text("mode", "linear"),
                        Attribute::text("coordinate_transformation_mode", "half_pixel"),
                    ],
                };
                let h = graph.node("Resize", &[&x, "", &scales], attributes);
                graph.put_picture(y, h);
            }
            ("channels.last", &[x], &[y]) => {
                let &[_, h, w, c] = y.shape() else { return Err(step.kernel.name) };
                let rows = graph.rows(x);
                let picture = graph.reshape(rows, &[c, h, w]);
                graph.put_picture(y, picture);
            }
            ("channels.first", &[x], &[y]) => {
                let picture = graph.picture(x);
                let rows = graph.reshape(picture, &y.shape()[1..]);
                graph.put(y, rows);
            }
            ("joint.add", &[a, b], &[y]) if f32::from_bits(word("scale")) == 1.0 => {
                // Of a residual connection one of the two was a picture just now.
                let is_picture = a.shape().len() == 4 && (graph.is_picture(a) || graph.is_picture(b));
                let [a, b] = [a, b].map(|t| if is_picture { graph.picture(t) } else { graph.rows(t) });
                let h = graph.node("Add", &[&a, &b], Vec::new());
                put_like(graph, is_picture, y, h);
            }
            ("joint.concat", &[a, b], &[y]) => {
                let [a, b] = [a, b].map(|t| graph.rows(t));
                let h = graph.node("Concat", &[&a, &b], vec![Attribute::int("axis", 1)]);
                graph.put(y, h);
            }
            ("joint.split", &[joined], &[a, b]) => {
                let joined = graph.rows(joined);
                let sizes = graph.ints(&[a, b].map(|t| t.shape()[1] as i64));
                let parts = graph.node_of("Split", &[&joined, &sizes], vec![Attribute::int("axis", 1)], 2);
                [a, b].into_iter().zip(parts).for_each(|(t, part)| graph.put(t, part));
            }
            // Each number as often as a plane has places.
            ("reduce.backward_rows", &[x], &[y]) => {
                let rows = graph.rows(x);
                let column = graph.reshape(rows, &[1]);
                let times = graph.ints(&[1, y.shape()[1] as i64]);
                let h = graph.node("Tile", &[&column, &times], Vec::new());
                graph.put(y, h);
            }
            _ => return Err(step.kernel.name),
        }
    }
    Ok(())
}

fn put_like(graph: &mut Graph, is_picture: bool, tensor: Tensor, value: String) {
    if is_picture { graph.put_picture(tensor, value) } else { graph.put(tensor, value) }
}

/// act(x), by the activation's number.
fn activated(graph: &mut Graph, x: String, number: u32) -> String {
    let (op, attributes) = match Activation::from_number(number) {
        Activation::Identity => return x,
        Activation::Relu => ("Relu", Vec::new()),
        Activation::LeakyRelu => ("LeakyRelu", vec![Attribute::float("alpha", 0.01)]),
        Activation::Elu => ("Elu", vec![Attribute::float("alpha", 1.0)]),
        Activation::Sigmoid => ("Sigmoid", Vec::new()),
        Activation::Tanh => ("Tanh", Vec::new()),
        Activation::Softplus => ("Softplus", Vec::new()),
        Activation::Silu => {
            let sigmoid = graph.node("Sigmoid", &[&x], Vec::new());
            return graph.node("Mul", &[&x, &sigmoid], Vec::new());
        }
        // x (1 + erf(x / sqrt 2)) / 2: the operator Gelu is of later versions.
        Activation::Gelu => {
            let [root, one, half] = [("sqrt_half", std::f32::consts::FRAC_1_SQRT_2), ("one", 1.0), ("half", 0.5)]
                .map(|(name, value)| graph.numbers(name, &[], &[value]));
            let scaled = graph.node("Mul", &[&x, &root], Vec::new());
            let erf = graph.node("Erf", &[&scaled], Vec::new());
            let above = graph.node("Add", &[&erf, &one], Vec::new());
            let product = graph.node("Mul", &[&x, &above], Vec::new());
            return graph.node("Mul", &[&product, &half], Vec::new());
        }
    };
    graph.node(op, &[&x], attributes)
}

/// Kernel, stride, padding, dilation and groups of a convolution.
fn geometry(step: &Step) -> Vec<Attribute> {
    let pair = |name: &str| [format!("{name}_h"), format!("{name}_w")].map(|name| step.param(&name) as usize);
    let [top, left] = pair("padding");
    vec![
        Attribute::ints("kernel_shape", &[step.param("KH") as usize, step.param("KW") as usize]),
        Attribute::ints("strides", &pair("stride")),
        Attribute::ints("pads", &[top, left, top, left]),
        Attribute::ints("dilations", &pair("dilation")),
        Attribute::int("group", step.param("groups") as usize),
    ]
}

/// A convolution read backwards: w (I,KH,KW,O/G), b (O), x (B,P,Q,I) to y (B,H,W,O). The output padding is what the
/// large picture has beyond the last window.
fn transposed(graph: &mut Graph, step: &Step, [w, b, x]: [Tensor; 3], y: Tensor) {
    let word = |name: &str| step.param(name) as usize;
    // The products before a fold took it as a matrix of places.
    let x = x.reshape(&[y.shape()[0], word("P"), word("Q"), word("O")]);
    let x = graph.picture(x);
    let mut inputs = vec![x, graph.parameter(w, &[0; 4])];
    if word("bias") != 0 {
        inputs.push(graph.parameter(b, b.shape()));
    }
    let along = |[large, small, kernel, name]: [&str; 4]| {
        let [stride, padding, dilation] = ["stride", "padding", "dilation"].map(|what| word(&format!("{what}_{name}")));
        word(large) + 2 * padding - (word(small) - 1) * stride - dilation * (word(kernel) - 1) - 1
    };
    let beyond = [along(["H", "P", "KH", "h"]), along(["W", "Q", "KW", "w"])];
    let mut attributes = geometry(step);
    attributes.push(Attribute::ints("output_padding", &beyond));
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let h = graph.node("ConvTranspose", &inputs, attributes);
    let h = activated(graph, h, word("activation") as u32);
    graph.put_picture(y, h);
}

/// Each group is an instance of its own: (B,G,C/G*H*W). Of a picture the result is (B,C,H,W), of a vector (B,C).
fn group_norm(graph: &mut Graph, step: &Step, [x, w, b]: [Tensor; 3]) -> String {
    let [channels, groups] = [step.param("C") as usize, step.param("G") as usize];
    let is_picture = x.shape().len() == 4;
    let value = if is_picture { graph.picture(x) } else { graph.rows(x) };
    let elements = x.shape()[1..].iter().product::<usize>();
    let instances = graph.reshape(value, &[groups, elements / groups]);
    let ones = graph.numbers(&format!("ones_{groups}"), &[groups], &vec![1.0; groups]);
    let zeros = graph.numbers(&format!("zeros_{groups}"), &[groups], &vec![0.0; groups]);
    let eps = vec![Attribute::float("epsilon", f32::from_bits(step.param("eps")))];
    let h = graph.node("InstanceNormalization", &[&instances, &ones, &zeros], eps);
    let (shape, of_channel) = match *x.shape() {
        [_, height, width, _] => (vec![channels, height, width], vec![channels, 1, 1]),
        _ => (vec![channels], vec![channels]),
    };
    let h = graph.reshape(h, &shape);
    let [w, b] = [w, b].map(|t| graph.parameter(t, &of_channel));
    let h = graph.node("Mul", &[&h, &w], Vec::new());
    graph.node("Add", &[&h, &b], Vec::new())
}
