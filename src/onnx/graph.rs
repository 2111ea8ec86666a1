//! An ONNX graph under way: its nodes, its constants, and which of its values a recorded tensor is.
//!
//! A recorded picture is (B,H,W,C), and ONNX's operators take (B,C,H,W). A value is kept in the order it was made in,
//! and turned when something takes it in the other one.

use std::collections::BTreeMap;

use super::proto::{Attribute, Constant, GraphProto, Model, Node, ValueInfo};
use crate::arena::Arena;
use crate::tensor::Tensor;
use crate::train::checkpoint::Checkpoint;

/// What a tensor's words are called in the graph.
#[derive(Clone)]
struct Value {
    /// As they were recorded when the value was made: (B, ...).
    shape: Vec<usize>,
    /// Its name in the recorded order.
    rows: Option<String>,
    /// Its name as (B,C,H,W), where the shape is (B,H,W,C).
    picture: Option<String>,
}

/// A graph of a recorded view.
pub struct Graph<'a> {
    arena: &'a Arena,
    checkpoint: &'a Checkpoint,
    proto: GraphProto,
    /// By buffer and offset.
    values: BTreeMap<[usize; 2], Value>,
}

impl<'a> Graph<'a> {
    /// Of no nodes. Parameters are those of the arena, with the checkpoint's values.
    pub fn new(arena: &'a Arena, checkpoint: &'a Checkpoint) -> Graph<'a> {
        Graph { arena, checkpoint, proto: GraphProto::default(), values: BTreeMap::new() }
    }

    /// Declares an input (batch, shape) that is the tensor (B, shape).
    pub fn takes(&mut self, info: ValueInfo, tensor: Tensor, shape: &[usize]) {
        debug_assert_eq!(tensor.shape()[1..], *shape);
        self.put(tensor, info.name.clone());
        self.proto.input.push(info);
    }

    /// Declares an input (batch,C,H,W) that is the tensor (B,C*H*W).
    pub fn takes_picture(&mut self, info: ValueInfo, tensor: Tensor) {
        let name = info.name.clone();
        self.proto.input.push(info);
        let rows = self.reshape(name, &tensor.shape()[1..]);
        self.put(tensor, rows);
    }

    /// Declares an output (batch, shape) that is the tensor, whose rows hold as many numbers.
    pub fn gives(&mut self, info: ValueInfo, tensor: Tensor, shape: &[usize]) {
        let rows = self.rows(tensor);
        let shape = self.open_shape(shape);
        self.proto.node.push(Node {
            input: vec![rows, shape],
            output: vec![info.name.clone()],
            name: info.name.clone(),
            op_type: "Reshape".into(),
            attribute: Vec::new(),
        });
        self.proto.output.push(info);
    }

    /// The file.
    pub fn into_model(self, name: &str, about: String) -> Model {
        Model::of(GraphProto { name: name.into(), ..self.proto }, about)
    }

    // ---- Nodes

    /// A node of these inputs with one output; the output's name.
    pub fn node(&mut self, op: &str, input: &[&str], attribute: Vec<Attribute>) -> String {
        self.node_of(op, input, attribute, 1).remove(0)
    }

    /// A node with so many outputs.
    pub fn node_of(&mut self, op: &str, input: &[&str], attribute: Vec<Attribute>, outputs: usize) -> Vec<String> {
        let name = format!("{}_{}", op.to_lowercase(), self.proto.node.len());
        let output: Vec<String> =
            (0..outputs).map(|i| if i == 0 { name.clone() } else { format!("{name}_{i}") }).collect();
        let input = input.iter().map(|input| input.to_string()).collect();
        self.proto.node.push(Node { input, output: output.clone(), name, op_type: op.into(), attribute });
        output
    }

    /// The value with rows of this shape, whatever the batch.
    pub fn reshape(&mut self, value: String, shape: &[usize]) -> String {
        let shape = self.open_shape(shape);
        self.node("Reshape", &[&value, &shape], Vec::new())
    }

    /// The constant (-1, shape).
    fn open_shape(&mut self, shape: &[usize]) -> String {
        let sizes: Vec<i64> = std::iter::once(-1).chain(shape.iter().map(|&d| d as i64)).collect();
        self.ints(&sizes)
    }

    /// A constant of whole numbers.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let parts: Vec<String> = values.iter().map(i64::to_string).collect();
        let name = format!("ints_{}", parts.join("_"));
        self.constant(Constant::ints(&name, values))
    }

    /// A constant of numbers, under a name that says which.
    pub fn numbers(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.constant(Constant::numbers(name, shape, values))
    }

    fn constant(&mut self, constant: Constant) -> String {
        let name = constant.name.clone();
        if !self.proto.initializer.iter().any(|known| known.name == name) {
            self.proto.initializer.push(constant);
        }
        name
    }

    // ---- Tensors

    /// The parameter or running statistic that the tensor is, in the order of files: convolutions' weights are
    /// (O,I,KH,KW). Others have the given shape. Panics on a tensor that is none.
    pub fn parameter(&mut self, tensor: Tensor, shape: &[usize]) -> String {
        let place = |of: Tensor| (of.buffer, of.offset) == (tensor.buffer, tensor.offset);
        let parameter = self.arena.parameters().iter().find(|p| place(p.value)).map(|p| &p.name);
        let statistic = || self.arena.statistics().iter().find(|s| place(s.value)).map(|s| &s.name);
        let name = parameter.or_else(statistic).unwrap_or_else(|| panic!("{tensor:?} is no parameter"));
        let (file_shape, values) = &self.checkpoint.tensors[name];
        let shape = if shape.len() == 4 { file_shape } else { shape };
        // One that is used in several shapes is there once for each.
        let known = self.proto.initializer.iter().find(|known| known.name == *name);
        let is_other = known.is_some_and(|known| known.dims.iter().map(|&d| d as usize).ne(shape.iter().copied()));
        let name = if is_other { format!("{name}.{}", shape.len()) } else { name.clone() };
        self.constant(Constant::numbers(&name, shape, values))
    }

    /// Says that the tensor is this value.
    pub fn put(&mut self, tensor: Tensor, rows: String) {
        let value = Value { shape: tensor.shape().into(), rows: Some(rows), picture: None };
        self.values.insert([tensor.buffer, tensor.offset], value);
    }

    /// Says that the tensor (B,H,W,C) is this value (B,C,H,W).
    pub fn put_picture(&mut self, tensor: Tensor, picture: String) {
        let value = Value { shape: tensor.shape().into(), rows: None, picture: Some(picture) };
        self.values.insert([tensor.buffer, tensor.offset], value);
    }

    fn value(&self, tensor: Tensor) -> Value {
        let value = self.values.get(&[tensor.buffer, tensor.offset]);
        value.unwrap_or_else(|| panic!("{tensor:?} was not written before")).clone()
    }

    /// Whether the tensor is kept as (B,C,H,W), and not in the recorded order.
    pub fn is_picture(&self, tensor: Tensor) -> bool {
        let value = self.value(tensor);
        value.rows.is_none() && value.shape == tensor.shape()
    }

    /// The tensor in its recorded order and shape.
    pub fn rows(&mut self, tensor: Tensor) -> String {
        let value = self.value(tensor);
        let rows = match (value.rows, value.picture) {
            (Some(rows), _) => rows,
            (None, picture) => {
                let picture = picture.expect("a value has a name");
                let rows = self.node("Transpose", &[&picture], vec![Attribute::ints("perm", &[0, 2, 3, 1])]);
                self.values.get_mut(&[tensor.buffer, tensor.offset]).expect("it was found").rows = Some(rows.clone());
                rows
            }
        };
        if value.shape == tensor.shape() { rows } else { self.reshape(rows, &tensor.shape()[1..]) }
    }

    /// The tensor (B,H,W,C) as (B,C,H,W). Panics on one that is no picture.
    pub fn picture(&mut self, tensor: Tensor) -> String {
        let &[_, h, w, c] = tensor.shape() else { panic!("{tensor:?} is no picture") };
        let value = self.value(tensor);
        if let Some(picture) = value.picture.filter(|_| value.shape == tensor.shape()) {
            return picture;
        }
        if c == 1 || h * w == 1 {
            // The orders agree.
            let rows = value.rows.unwrap_or_else(|| self.rows(tensor));
            return self.reshape(rows, &[c, h, w]);
        }
        let rows = self.rows(tensor);
        self.node("Transpose", &[&rows], vec![Attribute::ints("perm", &[0, 3, 1, 2])])
    }
}
