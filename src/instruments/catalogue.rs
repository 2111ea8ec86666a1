//! What there is to know of a kernel without running it, from the kernel itself: `elbo kernels`.

use serde::Serialize;

use crate::kernel::{Candidate, Kernel, Shader};

/// One kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// `stem.entry`, e.g. `matmul.forward`.
    pub name: &'static str,
    /// What it computes, in one line, in the names of its tensors and the letters of the params.
    pub formula: &'static str,
    /// Fields of the params uniform; shapes are written in them.
    pub params: &'static [&'static str],
    /// What it reads, in the order that its reference takes it.
    pub reads: Vec<Operand>,
    /// What it writes or adds to, likewise.
    pub writes: Vec<Operand>,
    /// Invocations of a workgroup of the portable form.
    pub workgroup: [u32; 3],
    /// The portable form, from the root of the repository.
    pub shader: String,
    /// The file of the form for adapters that run on a CPU, where there is one, likewise.
    pub software: Option<String>,
    /// What the other shaders for the same work are called, of which a device is given the fastest; the first is the
    /// usual one.
    pub candidates: Vec<&'static str>,
    /// Where the reference, the cases and the recording function are.
    pub reference: String,
    /// Whether the CPU device has a form beside the reference.
    pub is_accelerated: bool,
    /// Inputs that `elbo check` and the tests run it on, against its reference.
    pub cases: usize,
}

/// A tensor of a kernel, its shape in the letters of the params.
#[derive(Clone, Debug, Serialize)]
pub struct Operand {
    /// The kernel's name for it, as in the shader.
    pub name: &'static str,
    /// As in `(B,I)`; `None` where the shader states none.
    pub shape: Option<String>,
}

/// Everything from the kernel's declaration, its cases and the text of its shader. Nothing runs.
pub fn entry(kernel: &'static Kernel) -> Entry {
    let operands =
        |names: &[&'static str]| names.iter().map(|&name| Operand { name, shape: shape(kernel, name) }).collect();
    let path = |file: &str| format!("shaders/{file}");
    Entry {
        name: kernel.name,
        formula: kernel.formula,
        params: kernel.params,
        reads: operands(kernel.reads),
        writes: operands(kernel.writes),
        workgroup: kernel.shader.workgroup,
        shader: path(kernel.shader.source.file),
        software: software(kernel).map(|shader| path(shader.source.file)),
        candidates: candidates(kernel).iter().map(|candidate| candidate.name).collect(),
        reference: kernel.rust_file(),
        is_accelerated: kernel.accelerated.is_some(),
        cases: (kernel.cases)().len(),
    }
}

/// The form for adapters that run on a CPU, where there is one.
pub fn software(kernel: &'static Kernel) -> Option<&'static Shader> {
    let form = kernel.software?;
    (kernel.cases)().iter().find_map(|case| form(&case.params)).map(|candidate| &candidate.shader)
}

/// One portable candidate of each name.
pub fn candidates(kernel: &'static Kernel) -> Vec<&'static Candidate> {
    let mut named: Vec<&Candidate> = Vec::new();
    for case in (kernel.cases)() {
        for candidate in kernel.candidates_for(false, &case.params) {
            if named.iter().all(|c| c.name != candidate.name) {
                named.push(candidate);
            }
        }
    }
    named
}

/// The shape that the comment of the tensor's binding states, as in `(B,I)`. Where entry points of a file differ, the
/// comment says so: `// (B,I); concat, split: (B,O)`.
pub fn shape(kernel: &Kernel, tensor: &str) -> Option<String> {
    let declares = |line: &&str| line.contains("@binding(") && line.contains(&format!("> {tensor}:"));
    let mut lines = kernel.shader.source.texts().flat_map(|text| text.text.lines());
    let (_, comment) = lines.find(declares)?.split_once("// ")?;
    let own = comment.split(';').skip(1).find_map(|part| {
        let (entries, shape) = part.split_once(':')?;
        let is_own = entries.split(',').any(|entry| entry.trim() == kernel.shader.entry);
        is_own.then_some(shape.trim())
    });
    leading_group(own.unwrap_or(comment))
}

/// `(B,I)` of `(B,I), in nats`.
fn leading_group(text: &str) -> Option<String> {
    let inside = text.strip_prefix('(')?;
    inside.split_once(')').map(|(shape, _)| format!("({shape})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn shapes_are_those_of_the_entry_point() {
        let of = |name: &str, tensor: &str| shape(kernels::find(name).unwrap()[0], tensor);
        assert_eq!(of("matmul.forward", "w").as_deref(), Some("(O,I)"));
        assert_eq!(of("conv2d.forward", "b").as_deref(), Some("(O)"));
        assert_eq!(of("conv2d.fold", "b").as_deref(), Some("(I)"));
        assert_eq!(of("joint.add", "y").as_deref(), Some("(B,I)"));
        assert_eq!(of("joint.concat", "y").as_deref(), Some("(B,I+O)"));
        assert_eq!(of("bce.loss", "rows").as_deref(), Some("(B)"));
        assert_eq!(of("bce.loss", "row"), None);
    }

    #[test]
    fn the_rungs_of_a_ladder_share_a_file() {
        let of = |name: &str| entry(kernels::find(name).unwrap()[0]).reference;
        assert_eq!(of("batch_norm.forward"), "src/kernels/batch_norm.rs");
        assert_eq!(of("batch_norm_2_welford.statistics"), "src/kernels/ladder/batch_norm.rs");
        assert_eq!(of("conv2d_1_naive"), "src/kernels/ladder/conv2d.rs");
    }
}
