//! The memory plan: every buffer a model and its programs use, decided before anything runs.
//!
//! Activations get a buffer each, so that independent dispatches need no barrier between them.
//! All parameters share one flat buffer, their gradients another of the same layout, and so do the
//! optimiser's moments: one Adam dispatch then updates the whole model.

use crate::tensor::Tensor;

/// Views start at multiples of this many words: 256 bytes, the largest offset alignment WebGPU lets an adapter ask for.
const ALIGNMENT: usize = 64;
const PARAMETERS: usize = 0;
const GRADIENTS: usize = 1;

/// One allocation on the device.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub name: String,
    /// Size in 32-bit words.
    pub words: usize,
}

/// A trainable tensor and the place of its gradient, which backward kernels add to.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// PyTorch's name, e.g. `fc1.weight`.
    pub name: String,
    pub value: Tensor,
    pub grad: Tensor,
}

#[derive(Clone, Debug)]
pub struct Arena {
    buffers: Vec<Buffer>,
    parameters: Vec<Parameter>,
}

impl Default for Arena {
    fn default() -> Arena {
        Arena::new()
    }
}

impl Arena {
    pub fn new() -> Arena {
        let empty = |name: &str| Buffer { name: name.into(), words: 0 };
        Arena { buffers: vec![empty("parameters"), empty("gradients")], parameters: Vec::new() }
    }

    /// A buffer of its own for a tensor of this shape. It holds zeros until written.
    pub fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) -> Tensor {
        let tensor = Tensor::new(self.buffers.len(), 0, shape);
        self.buffers.push(Buffer { name: name.into(), words: tensor.len() });
        tensor
    }

    /// A trainable tensor in the flat parameter buffer. Declare every parameter before the first program is loaded.
    pub fn parameter(&mut self, name: impl Into<String>, shape: &[usize]) -> Parameter {
        let name = name.into();
        assert!(self.parameters.iter().all(|p| p.name != name), "parameter {name} is declared twice");
        let offset = self.buffers[PARAMETERS].words;
        let value = Tensor::new(PARAMETERS, offset, shape);
        let grad = Tensor::new(GRADIENTS, offset, shape);
        let words = (offset + value.len()).next_multiple_of(ALIGNMENT);
        self.buffers[PARAMETERS].words = words;
        self.buffers[GRADIENTS].words = words;
        let parameter = Parameter { name, value, grad };
        self.parameters.push(parameter.clone());
        parameter
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// All parameters as one flat tensor, the padding between them included (it stays zero).
    pub fn flat_parameters(&self) -> Tensor {
        Tensor::new(PARAMETERS, 0, &[self.buffers[PARAMETERS].words])
    }

    /// All gradients as one flat tensor, laid out as [`flat_parameters`](Arena::flat_parameters).
    pub fn flat_gradients(&self) -> Tensor {
        Tensor::new(GRADIENTS, 0, &[self.buffers[GRADIENTS].words])
    }

    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// What a message calls the tensor: its parameter's name where it is one, else its buffer's.
    pub fn name(&self, tensor: Tensor) -> String {
        let in_flat = |flat: usize, suffix: &str| {
            let p = self.parameters.iter().find(|p| p.value.offset == tensor.offset && tensor.buffer == flat)?;
            (tensor.len() == p.value.len()).then(|| format!("{}{suffix}", p.name))
        };
        in_flat(PARAMETERS, "")
            .or_else(|| in_flat(GRADIENTS, ".grad"))
            .unwrap_or_else(|| self.buffers[tensor.buffer].name.clone())
    }

    /// Device memory in bytes.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().map(|b| b.words * 4).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_aligned_and_named() {
        let mut arena = Arena::new();
        let a = arena.parameter("a", &[3, 5]);
        let b = arena.parameter("b", &[65]);
        assert_eq!((a.value.offset, b.value.offset, arena.flat_parameters().len()), (0, 64, 192));
        assert_eq!(arena.name(a.value), "a");
        assert_eq!(arena.name(b.grad), "b.grad");
        assert_eq!(arena.name(arena.flat_gradients()), "gradients");
    }
}
