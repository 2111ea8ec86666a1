//! A kernel is one WGSL entry point **and** its CPU reference under one name, `stem.entry`.

use crate::check::case::Case;
use crate::check::gradient::GradientCase;

/// The name and the value of a constant in WGSL.
pub type Constant = (&'static str, u32);

/// [`Shader::id`]
pub type ShaderId = (&'static str, &'static str, &'static [Constant]);

/// A `.wgsl` file, embedded.
pub struct Source {
    /// Path below `shaders/`, e.g. `matmul.wgsl`.
    pub file: &'static str,
    /// The WGSL of `file` alone.
    pub text: &'static str,
    /// Files of `shaders/common/`, appended so that line numbers in messages stay those of `file`.
    pub common: &'static [&'static str],
    /// Tensors of the file in binding order: the first is `@binding(1)`. Binding 0 is the params uniform.
    pub bindings: &'static [&'static str],
    /// What the texts leave open, as in `("ROWS", 64)`: appended as `const ROWS = 64u;`. One text with several sets of them
    /// is a family of shaders.
    pub constants: &'static [Constant],
}

impl Source {
    /// The WGSL that is compiled: the file's, then that of `common`.
    pub fn full_text(&self) -> String {
        let mut text = self.text.to_string();
        for common in self.common {
            text.push_str(common);
        }
        for (name, value) in self.constants {
            text.push_str(&format!("const {name} = {value}u;\n"));
        }
        text
    }

    /// Whether it needs an adapter with subgroups. WGSL's `enable subgroups;` would say so, but naga does not take it yet.
    pub fn uses_subgroups(&self) -> bool {
        self.text.contains("@builtin(subgroup_")
    }

    /// Whether it needs an adapter with 64-bit integers.
    pub fn uses_int64(&self) -> bool {
        self.text.contains("u64")
    }

    /// The `@binding` number of a tensor.
    pub fn binding(&self, tensor: &str) -> u32 {
        let index = self.bindings.iter().position(|b| *b == tensor);
        index.unwrap_or_else(|| panic!("{} binds no tensor {tensor}", self.file)) as u32 + 1
    }
}

/// One entry point and how it is dispatched.
#[derive(Clone, Copy)]
pub struct Shader {
    /// The file that holds the entry point.
    pub source: &'static Source,
    /// The name of the `@compute` function.
    pub entry: &'static str,
    /// Invocations of a workgroup along x, y and z, as the entry point's `@workgroup_size` says.
    pub workgroup: [u32; 3],
    /// Workgroups to launch, from the params' words.
    pub grid: fn(&[u32]) -> [u32; 3],
}

/// What the invocations of a software form can share, on an adapter that runs on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lanes {
    /// Nothing: each loads what it needs.
    Apart,
    /// Subgroups of exactly 8, in which one hands a value to all (`subgroupBroadcast`); and 64-bit integers, in which two
    /// f32 are loaded at once.
    Eight,
}

impl Shader {
    /// What tells it from the other shaders of its kernel: its file, its entry point, and the constants that the file was
    /// completed with.
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
pub struct Candidate {
    /// What tables, caches and reports call it. No two of a kernel's candidates for the same params share a name.
    pub name: &'static str,
    /// What runs.
    pub shader: Shader,
}

/// Those for lanes of an adapter that runs on a CPU, or for another adapter, and these params.
pub type Candidates = fn(software: Option<Lanes>, params: &[u32]) -> Vec<&'static Candidate>;

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
    /// The form for adapters that run on a CPU (lavapipe, WARP), where the portable one is much slower. Which one may
    /// depend on what the adapter's lanes can share, and on the params: on whether sizes are multiples of 4.
    pub software: Option<fn(Lanes, &[u32]) -> &'static Shader>,
    /// All shaders that a device may choose among. The first is what runs where nothing is known of the device. Empty where
    /// there is no choice.
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

    /// Where its Rust side is, from the root of the repository. The rungs of a ladder, `matmul_1_naive` and so on, share a
    /// file.
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

    /// The portable shader, then the other forms that the cases use: candidates, and software forms and theirs.
    pub fn shaders(&'static self) -> Vec<&'static Shader> {
        let adapters = [None, Some(Lanes::Apart), Some(Lanes::Eight)].map(|software| self.forms(software));
        distinct(std::iter::once(&self.shader).chain(adapters.into_iter().flatten()))
    }

    /// The shaders that the cases use on lanes of adapters that run on a CPU, or on other adapters: what runs there unless
    /// another is chosen, and the candidates.
    pub fn forms(&'static self, software: Option<Lanes>) -> Vec<&'static Shader> {
        let cases = (self.cases)();
        let usual = cases.iter().map(|case| self.shader_for(software, &case.params));
        let candidates = cases.iter().flat_map(|case| self.candidates_for(software, &case.params));
        distinct(usual.chain(candidates.map(|candidate| &candidate.shader)))
    }

    /// The shader that suits the adapter and the params, where nothing else is known of the device: a software form on
    /// lanes, where there is one.
    pub fn shader_for(&'static self, software: Option<Lanes>, params: &[u32]) -> &'static Shader {
        match (self.candidates_for(software, params).first(), self.software, software) {
            (Some(first), _, _) => &first.shader,
            (None, Some(choose), Some(lanes)) => choose(lanes, params),
            _ => &self.shader,
        }
    }

    /// [`candidates`](Kernel::candidates), none where the kernel has none.
    pub fn candidates_for(&self, software: Option<Lanes>, params: &[u32]) -> Vec<&'static Candidate> {
        self.candidates.map_or(Vec::new(), |candidates| candidates(software, params))
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
