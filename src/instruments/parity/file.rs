//! The safetensors files that both sides exchange.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};

/// Largest file read, in bytes: a recording has every tensor of every step.
pub const LARGEST_FILE: u64 = 32 << 30;

/// A safetensors file in memory.
pub struct File<'a> {
    path: PathBuf,
    /// By name.
    pub tensors: SafeTensors<'a>,
    /// Text by key.
    pub metadata: HashMap<String, String>,
}

impl<'a> File<'a> {
    pub fn open(path: &Path, bytes: &'a [u8]) -> Result<File<'a>> {
        let damaged = |e| Error::file(path, format!("not a whole safetensors file: {e}"));
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        Ok(File { path: path.into(), tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    pub fn view(&self, name: &str) -> Result<TensorView<'a>> {
        self.tensors.tensor(name).map_err(|_| Error::file(&self.path, format!("has no tensor {name}")))
    }

    pub fn bytes(&self, name: &str, dtype: Dtype) -> Result<(Vec<usize>, &'a [u8])> {
        let view = self.view(name)?;
        if view.dtype() != dtype {
            return Err(Error::file(&self.path, format!("{name} is {:?}, expected {dtype:?}", view.dtype())));
        }
        Ok((view.shape().to_vec(), view.data()))
    }

    /// The values of a tensor of floating point numbers that must have `len` of them.
    pub fn numbers(&self, name: &str, len: usize) -> Result<Vec<f64>> {
        let view = self.view(name)?;
        let values: Vec<f64> = match view.dtype() {
            Dtype::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(view.data()).into_iter().map(f64::from).collect(),
            Dtype::F64 => bytemuck::pod_collect_to_vec(view.data()),
            other => return Err(Error::file(&self.path, format!("{name} is {other:?}, expected F32 or F64"))),
        };
        match values.len() == len {
            true => Ok(values),
            false => Err(Error::file(&self.path, format!("{name} has {} elements, expected {len}", values.len()))),
        }
    }
}
