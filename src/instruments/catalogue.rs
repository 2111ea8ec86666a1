//! What there is to know of a kernel without running it, from the kernel itself: `elbo kernels`.

use serde::Serialize;

use crate::kernel::{Candidate, Kernel, Lanes, Shader};

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
    /// The files of the forms for adapters that run on a CPU, each once; one file may have several forms.
    pub software: Vec<String>,
    /// What the other shaders for the same work are called, of which a device is given the fastest; the first is the usual one.
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
        software: files(&software(kernel))
            .into_iter()
            .filter(|file| *file != kernel.shader.source.file)
            .map(path)
            .collect(),
        candidates: candidates(kernel).iter().map(|candidate| candidate.name).collect(),
        reference: kernel.rust_file(),
        is_accelerated: kernel.accelerated.is_some(),
        cases: (kernel.cases)().len(),
    }
}

/// The files of these shaders, each once.
fn files(shaders: &[&Shader]) -> Vec<&'static str> {
    let mut files: Vec<&str> = Vec::new();
    for shader in shaders {
        if !files.contains(&shader.source.file) {
            files.push(shader.source.file);
        }
    }
    files
}

const LANES: [Lanes; 2] = [Lanes::Apart, Lanes::Eight];

/// The forms for adapters that run on a CPU, where they are others.
pub fn software(kernel: &'static Kernel) -> Vec<&'static Shader> {
    let portable: Vec<_> = kernel.forms(None).iter().map(|shader| shader.id()).collect();
    let software = LANES.into_iter().flat_map(|lanes| kernel.forms(Some(lanes)));
    let mut others: Vec<&Shader> = Vec::new();
    for shader in software.filter(|shader| !portable.contains(&shader.id())) {
        if others.iter().all(|other| other.id() != shader.id()) {
            others.push(shader);
        }
    }
    others
}

/// One candidate of each name, on whatever adapter.
pub fn candidates(kernel: &'static Kernel) -> Vec<&'static Candidate> {
    let mut named: Vec<&Candidate> = Vec::new();
    for case in (kernel.cases)() {
        let adapters = [None].into_iter().chain(LANES.map(Some));
        for candidate in adapters.flat_map(|adapter| kernel.candidates_for(adapter, &case.params)) {
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
    // A family's forms share a text that has most of their bindings.
    let text = kernel.shader.source.full_text();
    let (_, comment) = text.lines().find(declares)?.split_once("// ")?;
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
    fn every_shader_of_a_kernel_is_listed_once() {
        for &kernel in kernels::ALL {
            let Entry { name, shader, software, .. } = entry(kernel);
            let listed: Vec<String> = std::iter::once(shader).chain(software).collect();
            let distinct: std::collections::BTreeSet<_> = listed.iter().collect();
            assert_eq!(distinct.len(), listed.len(), "{name}: {listed:?}");
        }
    }

    #[test]
    fn the_rungs_of_a_ladder_share_a_file() {
        let of = |name: &str| entry(kernels::find(name).unwrap()[0]).reference;
        assert_eq!(of("batch_norm.forward"), "src/kernels/batch_norm.rs");
        assert_eq!(of("batch_norm_2_welford.statistics"), "src/kernels/ladder/batch_norm.rs");
        assert_eq!(of("conv2d_1_naive"), "src/kernels/ladder/conv2d.rs");
    }
}
