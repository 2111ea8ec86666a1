//! A kernel is one WGSL entry point **and** its CPU reference under one name, `stem.entry`.

use crate::check::case::Case;

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
}

impl Source {
    /// The WGSL that is compiled: the file's, then that of `common`.
    pub fn full_text(&self) -> String {
        let mut text = self.text.to_string();
        for common in self.common {
            text.push_str(common);
        }
        text
    }

    /// Whether it needs an adapter with subgroups. WGSL's `enable subgroups;` would say so, but naga does not take it yet.
    pub fn uses_subgroups(&self) -> bool {
        self.text.contains("@builtin(subgroup_")
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// Nothing: each loads what it needs.
    Apart,
    /// Subgroups of exactly 8, in which one hands a value to all (`subgroupBroadcast`).
    Eight,
}

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
    /// The specification: obvious loops, sums in f64.
    pub reference: Reference,
    /// The CPU device's form, where the reference is too slow to train with.
    pub accelerated: Option<Reference>,
    /// Floating-point operations and bytes moved at least, from the params' words.
    pub cost: fn(&[u32]) -> Cost,
    /// Inputs on which all forms must agree; benches time them too.
    pub cases: fn() -> Vec<Case>,
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

    /// The portable shader, and the software ones that the cases use, each file once.
    pub fn shaders(&'static self) -> Vec<&'static Shader> {
        let lanes = [Lanes::Apart, Lanes::Eight];
        let cases = lanes.into_iter().flat_map(|lanes| (self.cases)().into_iter().map(move |case| (lanes, case)));
        let software = cases.map(|(lanes, case)| self.shader_for(Some(lanes), &case.params));
        let mut shaders: Vec<&Shader> = Vec::new();
        for shader in std::iter::once(&self.shader).chain(software) {
            if shaders.iter().all(|s| s.source.file != shader.source.file) {
                shaders.push(shader);
            }
        }
        shaders
    }

    /// The shader for the params: a software form on lanes, where there is one, else the portable form.
    pub fn shader_for(&'static self, software: Option<Lanes>, params: &[u32]) -> &'static Shader {
        match (self.software, software) {
            (Some(choose), Some(lanes)) => choose(lanes, params),
            _ => &self.shader,
        }
    }
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
