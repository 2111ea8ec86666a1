//! The messages of an ONNX file that are written here, with the numbers of github.com/onnx/onnx's `onnx.proto`.

use prost::{Message, Oneof};

/// `TensorProto.DataType`
const FLOAT: i32 = 1;
const INT64: i32 = 7;
/// Version of the file's form, and of the operators: the first that has LayerNormalization.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(string, tag = "6")]
    pub doc_string: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OperatorSet {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Constant>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
}

/// Its kind is one of `AttributeProto.AttributeType`.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

/// `TensorProto`: a parameter, or a shape.
#[derive(Clone, PartialEq, Message)]
pub struct Constant {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Type {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    #[prost(oneof = "Size", tags = "1, 2")]
    pub size: Option<Size>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Size {
    #[prost(int64, tag = "1")]
    Number(i64),
    #[prost(string, tag = "2")]
    Open(String),
}

impl Model {
    /// The file of a graph.
    pub fn of(graph: GraphProto, about: String) -> Model {
        Model {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: about,
            graph: Some(graph),
            opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        }
    }
}

impl Attribute {
    pub fn float(name: &str, f: f32) -> Attribute {
        Attribute { name: name.into(), f: Some(f), kind: 1, ..Attribute::default() }
    }

    pub fn int(name: &str, i: usize) -> Attribute {
        Attribute { name: name.into(), i: Some(i as i64), kind: 2, ..Attribute::default() }
    }

    pub fn text(name: &str, text: &str) -> Attribute {
        Attribute { name: name.into(), s: Some(text.as_bytes().into()), kind: 3, ..Attribute::default() }
    }

    pub fn ints(name: &str, ints: &[usize]) -> Attribute {
        Attribute { name: name.into(), ints: ints.iter().map(|&i| i as i64).collect(), kind: 7, ..Attribute::default() }
    }
}

impl Constant {
    pub fn numbers(name: &str, shape: &[usize], values: &[f32]) -> Constant {
        let dims = shape.iter().map(|&d| d as i64).collect();
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Constant { dims, data_type: FLOAT, name: name.into(), raw_data }
    }

    pub fn ints(name: &str, values: &[i64]) -> Constant {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Constant { dims: vec![values.len() as i64], data_type: INT64, name: name.into(), raw_data }
    }
}

impl ValueInfo {
    /// Of (batch, shape), the batch of any size.
    pub fn of_numbers(name: &str, shape: &[usize]) -> ValueInfo {
        let batch = Dimension { size: Some(Size::Open("batch".into())) };
        let sizes = shape.iter().map(|&d| Dimension { size: Some(Size::Number(d as i64)) });
        let shape = Shape { dim: std::iter::once(batch).chain(sizes).collect() };
        let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(shape) });
        ValueInfo { name: name.into(), r#type: Some(Type { tensor_type }) }
    }
}
