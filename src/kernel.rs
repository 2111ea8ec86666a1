//! A kernel is one WGSL entry point **and** its CPU reference under one name, `stem.entry`.

use crate::cases::{Case, GradientCase};

/// The name and the value of a constant in WGSL.
pub type Constant = (&'static str, u32);

/// [`Shader::id`]
pub type ShaderId = (&'static str, &'static str, &'static [Constant]);

/// A `.wgsl` file that is appended to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    /// Path below `shaders/`, e.g. `common/index.wgsl`.
    pub file: &'static str,
    /// Its WGSL.
    pub text: &'static str,
}

/// A `.wgsl` file, embedded.
#[derive(Clone, Copy)]
pub struct Source {
    /// Path below `shaders/`, e.g. `matmul.wgsl`.
    pub file: &'static str,
    /// The WGSL of `file` alone.
    pub text: &'static str,
    /// What is appended, so that line numbers in messages stay those of `file`.
    pub common: &'static [Text],
    /// Tensors of the file in binding order: the first is `@binding(1)`. Binding 0 is the params uniform.
    pub bindings: &'static [&'static str],
    /// What the texts leave open, as in `("ROWS", 64)`: appended as `const ROWS = 64u;`. One text with several sets of
    /// them is a family of shaders.
    pub constants: &'static [Constant],
}

impl Source {
    /// The WGSL that is compiled: the file's, then that of `common`, then the constants, each of these under a comment
    /// with its origin.
    pub fn full_text(&self) -> String {
        let mut text = self.text.to_string();
        for Text { file, text: common } in self.common {
            text.push_str(&format!("\n// ---- shaders/{file}\n{common}"));
        }
        if !self.constants.is_empty() {
            text.push_str("\n// ---- constants, from the kernel's Rust file\n");
        }
        for (name, value) in self.constants {
            text.push_str(&format!("const {name} = {value}u;\n"));
        }
        text
    }

    /// The texts that it is made of, its own first.
    pub fn texts(&self) -> impl Iterator<Item = Text> {
        [Text { file: self.file, text: self.text }].into_iter().chain(self.common.iter().copied())
    }

    /// Whether it needs an adapter with subgroups. WGSL's `enable subgroups;` would say so, but naga does not take it
    /// yet.
    pub fn uses_subgroups(&self) -> bool {
        self.text.contains("@builtin(subgroup_")
    }

    /// The `@binding` number of a tensor.
    pub fn binding(&self, tensor: &str) -> u32 {
        let index = self.bindings.iter().position(|b| *b == tensor);
        index.unwrap_or_else(|| panic!("{} binds no tensor {tensor}", self.file)) as u32 + 1
    }
}

/// What most sources leave empty.
pub const PLAIN_SOURCE: Source = Source { file: "", text: "", common: &[], bindings: &[], constants: &[] };

/// Workgroups along x, y and z, from the params' words and the constants that the text was completed with: the size of
/// a tile.
pub type Grid = fn(params: &[u32], constants: &[Constant]) -> [u32; 3];

/// One entry point and how it is dispatched.
#[derive(Clone, Copy)]
pub struct Shader {
    /// The file that holds the entry point.
    pub source: &'static Source,
    /// The name of the `@compute` function.
    pub entry: &'static str,
    /// Invocations of a workgroup along x, y and z, as the entry point's `@workgroup_size` says.
    pub workgroup: [u32; 3],
    /// Workgroups to launch; [`Shader::workgroups`] asks it.
    pub grid: Grid,
}

impl Shader {
    /// Workgroups to launch along x, y and z.
    pub fn workgroups(&self, params: &[u32]) -> [u32; 3] {
        (self.grid)(params, self.source.constants)
    }

    /// What tells it from the other shaders of its kernel: its file, its entry point, and the constants that the file
    /// was completed with.
    pub fn id(&self) -> ShaderId {
        (self.source.file, self.entry, self.source.constants)
    }

    /// As in `matmul_vec4.wgsl (ROWS 64, COLUMNS 64, DEPTH 16)`.
    pub fn describe(&self) -> String {
        let constants: Vec<_> = self.source.constants.iter().map(|(name, value)| format!("{name} {value}")).collect();
        match constants.is_empty() {
            true => self.source.file.into(),
            false => format!("{} ({})", self.source.file, constants.join(", ")),
        }
    }
}

/// One of several shaders for the same work, of which a device may be given the one that it is fastest with.
#[derive(Clone, Copy)]
pub struct Candidate {
    /// What tables, caches and reports call it. No two of a kernel's candidates for the same params share a name.
    pub name: &'static str,
    /// What runs.
    pub shader: Shader,
}

/// The form for adapters that run on a CPU and these params; none where it does not take them.
pub type Software = fn(params: &[u32]) -> Option<&'static Candidate>;

/// Those for these params.
pub type Candidates = fn(params: &[u32]) -> Vec<&'static Candidate>;

/// The whole dispatch on the CPU: params, the tensors read, the tensors written, in the kernel's order.
pub type Reference = fn(params: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]);

/// One operation on the device, in the forms that are checked against each other.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// `stem.entry`, e.g. `matmul.backward_w`: debug label, test name, bench id, error prefix.
    pub name: &'static str,
    /// What is computed, in one line.
    pub formula: &'static str,
    /// Fields of the params uniform, each one 32-bit word.
    pub params: &'static [&'static str],
    /// Tensors that are only read, by their names in [`Source::bindings`] and in the order of the reference's slices.
    pub reads: &'static [&'static str],
    /// Tensors that are assigned, added to or updated in place, likewise.
    pub writes: &'static [&'static str],
    /// The portable form: WebGPU's default limits.
    pub shader: Shader,
    /// The form for adapters that run on a CPU (lavapipe, WARP): of products and convolutions, with whose portable
    /// forms nobody could train there.
    pub software: Option<Software>,
    /// Portable shaders that a device may choose among. The first is what runs where nothing is known of the device.
    pub candidates: Option<Candidates>,
    /// The specification: obvious loops, sums in f64.
    pub reference: Reference,
    /// The CPU device's form, where the reference is too slow to train with.
    pub accelerated: Option<Reference>,
    /// Floating-point operations and bytes moved at least, from the params' words.
    pub cost: fn(&[u32]) -> Cost,
    /// Inputs on which all forms must agree; benches time them too.
    pub cases: fn() -> Vec<Case>,
    /// What holds the calculus: that a backward is the derivative of its forward.
    pub gradients: GradientCheck,
}

/// What most kernels leave out: no software form, no candidates, no accelerated form. The rest every kernel has to say,
/// and tests see to it.
pub const PLAIN: Kernel = Kernel {
    name: "",
    formula: "",
    params: &[],
    reads: &[],
    writes: &[],
    shader: Shader { source: &PLAIN_SOURCE, entry: "", workgroup: [1, 1, 1], grid: |_, _| [1, 1, 1] },
    software: None,
    candidates: None,
    reference: |_, _, _| (),
    accelerated: None,
    cost: |_| Cost { flops: 0, bytes: 0 },
    cases: Vec::new,
    gradients: GradientCheck::None(""),
};

/// What the check by finite differences has of a kernel. Every kernel says it, so that none is left out unseen.
#[derive(Clone, Copy)]
pub enum GradientCheck {
    /// Operations of which some dispatch the kernel, forward or backward. Kernels of an operation share them.
    Cases(fn() -> Vec<GradientCase>),
    /// Why there are none.
    None(&'static str),
}

/// The least work a dispatch does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add is two.
    pub flops: u64,
    /// Bytes read and written, each word counted once however often it is used.
    pub bytes: u64,
}

impl Kernel {
    /// The part of the name before the dot: the stem of its files.
    pub fn stem(&self) -> &'static str {
        self.name.split('.').next().expect("split yields at least one part")
    }

    /// Where its Rust side is, from the root of the repository. The rungs of a ladder, `matmul_1_naive` and so on,
    /// share a file.
    pub fn rust_file(&self) -> String {
        let stem = self.stem();
        let number = |end: &usize| stem[end + 1..].starts_with(|c: char| c.is_ascii_digit());
        let operation = stem.match_indices('_').map(|(end, _)| end).find(number);
        match operation {
            Some(end) if self.shader.source.file.starts_with("ladder/") => {
                format!("src/kernels/ladder/{}.rs", &stem[..end])
            }
            _ => format!("src/kernels/{stem}.rs"),
        }
    }

    /// The portable shader, then the other forms that the cases use: candidates, and software forms.
    pub fn shaders(&'static self) -> Vec<&'static Shader> {
        let adapters = [false, true].map(|software| self.forms(software));
        distinct(std::iter::once(&self.shader).chain(adapters.into_iter().flatten()))
    }

    /// The shaders that the cases use on adapters that run on a CPU, or on others: what runs there unless another is
    /// chosen, and the candidates.
    pub fn forms(&'static self, software: bool) -> Vec<&'static Shader> {
        let cases = (self.cases)();
        let usual = cases.iter().map(|case| self.shader_for(software, &case.params));
        let candidates = cases.iter().flat_map(|case| self.candidates_for(software, &case.params));
        distinct(usual.chain(candidates.map(|candidate| &candidate.shader)))
    }

    /// The shader that suits the adapter and the params, where nothing else is known of the device.
    pub fn shader_for(&'static self, software: bool, params: &[u32]) -> &'static Shader {
        self.candidates_for(software, params).first().map_or(&self.shader, |first| &first.shader)
    }

    /// What an adapter may choose among: [`candidates`](Kernel::candidates); one that runs on a CPU the software form
    /// and the first of these, since it would spend minutes on measuring the others. Empty where the kernel has
    /// neither.
    pub fn candidates_for(&'static self, software: bool, params: &[u32]) -> Vec<&'static Candidate> {
        let portable = self.candidates.map_or(Vec::new(), |candidates| candidates(params));
        match software {
            false => portable,
            true => {
                let software = self.software.and_then(|software| software(params));
                software.into_iter().chain(portable.into_iter().take(1)).collect()
            }
        }
    }
}

/// Each shader once.
fn distinct(shaders: impl Iterator<Item = &'static Shader>) -> Vec<&'static Shader> {
    let mut distinct: Vec<&Shader> = Vec::new();
    for shader in shaders {
        if distinct.iter().all(|s| s.id() != shader.id()) {
            distinct.push(shader);
        }
    }
    distinct
}

/// Reads a kernel's params struct back from its words.
pub fn params<P: bytemuck::Pod>(words: &[u32]) -> P {
    *bytemuck::from_bytes(bytemuck::cast_slice(words))
}

/// Workgroups that cover `n` invocations along x, spilling into y past the 65535 WebGPU allows in one dimension.
/// Shaders recover the index as `id.x + id.y * groups.x * workgroup`.
pub fn grid_1d(n: usize, workgroup: usize) -> [u32; 3] {
    let groups = n.div_ceil(workgroup).max(1);
    let y = groups.div_ceil(65535);
    [groups.div_ceil(y) as u32, y as u32, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_covers_every_element_within_the_limit() {
        for n in [1, 64, 65, 65535 * 64, 65535 * 64 + 1, 1 << 30] {
            let [x, y, z] = grid_1d(n, 64);
            assert!(x <= 65535 && y <= 65535 && z == 1, "{n}: {x} {y}");
            assert!(x as usize * y as usize * 64 >= n, "{n}");
        }
    }
}
