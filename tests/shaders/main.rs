//! What can be known of the shaders without running them. No adapter is needed.
//!
//! Every kernel is held against naga's reflection of its shaders: names, params, bindings, workgroup sizes, the limits
//! of WebGPU's default device, barriers, and the translation to the languages of Vulkan, Metal and DX12.

mod indices;
mod together;
mod uniformity;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use elbo::instruments::catalogue;
use elbo::kernel::{Kernel, Shader};
use elbo::kernels;
use naga::back::{hlsl, msl, spv};
use naga::valid::{GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{
    AddressSpace, EntryPoint, GlobalVariable, Handle, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner,
};

/// A shader of a kernel, parsed and validated.
struct Parsed {
    kernel: &'static Kernel,
    shader: &'static Shader,
    text: String,
    module: Module,
    info: ModuleInfo,
}

fn parse_all() -> Vec<Parsed> {
    let parse = |(kernel, shader): (&'static Kernel, &'static Shader)| {
        let text = shader.source.full_text();
        let file = shader.source.file;
        let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text)));
        // No capability beyond WebGPU's core, but subgroups where a kernel says that it needs them.
        let needs = elbo::instruments::translate::capabilities(shader.source);
        let mut validator = Validator::new(ValidationFlags::all(), needs);
        let info = validator.validate(&module).unwrap_or_else(|e| panic!("{file}: {}", e.emit_to_string(&text)));
        Parsed { kernel, shader, text, module, info }
    };
    let forms = |&kernel: &&'static Kernel| kernel.shaders().into_iter().map(move |shader| (kernel, shader));
    kernels::ALL.iter().flat_map(forms).map(parse).collect()
}

impl Parsed {
    /// `matmul.forward in software/matmul.wgsl`
    fn label(&self) -> String {
        format!("{} in {}", self.kernel.name, self.shader.describe())
    }

    fn entry_index(&self) -> usize {
        let index = self.module.entry_points.iter().position(|e| e.name == self.shader.entry);
        index.unwrap_or_else(|| panic!("{}: there is no entry point {}", self.label(), self.shader.entry))
    }

    fn entry(&self) -> &EntryPoint {
        &self.module.entry_points[self.entry_index()]
    }

    /// The module's variables that the entry point, or a function it calls, uses.
    fn used(&self) -> impl Iterator<Item = (Handle<GlobalVariable>, &GlobalVariable, GlobalUse)> {
        let info = self.info.get_entry_point(self.entry_index());
        let globals = self.module.global_variables.iter();
        globals.map(|(handle, variable)| (handle, variable, info[handle])).filter(|(_, _, uses)| !uses.is_empty())
    }

    fn bytes(&self, variable: &GlobalVariable) -> u32 {
        self.module.types[variable.ty].inner.size(self.module.to_ctx())
    }
}

fn name(variable: &GlobalVariable) -> &str {
    variable.name.as_deref().expect("WGSL variables have names")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder, as paths relative to it.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap().to_path_buf());
            }
        }
    }
    files.sort();
    files
}

// ---- Each shader alone

#[test]
fn every_shader_translates_to_vulkan_metal_and_dx12() {
    for shader in parse_all() {
        let (module, info, label) = (&shader.module, &shader.info, shader.label());
        let entry = shader.shader.entry.to_string();

        let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.clone() };
        let spirv = spv::write_vec(module, info, &spv::Options::default(), Some(&pipeline))
            .unwrap_or_else(|e| panic!("{label} to SPIR-V: {e}"));
        assert_eq!(spirv[0], 0x0723_0203, "{label}: SPIR-V begins with its magic number");

        let pipeline =
            msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.clone())), ..Default::default() };
        let (metal, translation) = msl::write_string(module, info, &msl::Options::default(), &pipeline)
            .unwrap_or_else(|e| panic!("{label} to MSL: {e}"));
        for name in translation.entry_point_names {
            let name = name.unwrap_or_else(|e| panic!("{label} to MSL: {e}"));
            assert!(metal.contains(&format!("kernel void {name}(")), "{label}: MSL has no kernel {name}");
        }

        let (options, mut text) = (hlsl::Options::default(), String::new());
        let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry)) };
        let reflection = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(module, info, None)
            .unwrap_or_else(|e| panic!("{label} to HLSL: {e}"));
        for name in reflection.entry_point_names {
            let name = name.unwrap_or_else(|e| panic!("{label} to HLSL: {e}"));
            assert!(text.contains(&format!("void {name}(")), "{label}: HLSL has no function {name}");
        }
    }
}

/// WebGPU's default limits, which every adapter has.
#[test]
fn every_shader_holds_the_portable_limits() {
    for shader in parse_all() {
        let label = shader.label();
        let storage = shader.used().filter(|(_, v, _)| matches!(v.space, AddressSpace::Storage { .. })).count();
        assert!(storage <= 8, "{label} binds {storage} storage buffers; 8 are portable");

        let [x, y, z] = shader.entry().workgroup_size;
        assert!(x * y * z <= 256, "{label} has {x}x{y}x{z} invocations; 256 are portable");
        assert!(x <= 256 && y <= 256 && z <= 64, "{label}: {x}x{y}x{z} is portable up to 256x256x64");

        let workgroup = shader.used().filter(|(_, v, _)| v.space == AddressSpace::WorkGroup);
        let bytes: u32 = workgroup.map(|(_, v, _)| shader.bytes(v).next_multiple_of(16)).sum();
        assert!(bytes <= 16384, "{label} uses {bytes} bytes of workgroup memory; 16384 are portable");
    }
}

#[test]
fn every_barrier_is_reached_by_all_invocations() {
    for shader in parse_all() {
        let found = uniformity::divergent_barriers(&shader.module, shader.entry(), &shader.text);
        assert!(found.is_empty(), "{}: {found:?}", shader.label());
    }
}

// ---- Each shader and its Rust declaration

/// One stem everywhere: `reduce.rows`, src/kernels/reduce.rs, shaders/reduce.wgsl; of several forms each carries a
/// suffix, shaders/matmul_any.wgsl. A kernel on another's buffers has a text of its own appended:
/// shaders/fused_linear.wgsl to shaders/matmul_any.wgsl. The rungs of a ladder share a file: `matmul_1_naive.forward`,
/// src/kernels/ladder/matmul.rs, shaders/ladder/matmul_1_naive.wgsl.
/// Indices that are read from a buffer are held by `min`, or stand here with what holds them.
#[test]
fn indices_that_are_read_are_held() {
    // Behind an `if`: a picture of another part, a batch that has no row, an entry behind the end, an unknown item.
    const HELD: [(&str, &[&str]); 4] = [
        ("clock.wgsl", &["losses", "time"]),
        ("gather.wgsl", &["data"]),
        ("fused_update.wgsl", &["losses"]),
        ("ragged.wgsl", &["items", "y"]),
    ];
    let mut held = BTreeSet::new();
    for parsed in parse_all() {
        let file = parsed.shader.source.file;
        let buffers = indices::unheld(&parsed.module);
        match HELD.iter().find(|(held, names)| *held == file && buffers == *names) {
            Some((file, _)) => drop(held.insert(*file)),
            None => assert!(buffers.is_empty(), "{} indexes {buffers:?} by what it has read", parsed.label()),
        }
    }
    assert_eq!(held.len(), HELD.len(), "an exception that nothing needs: {held:?}");
    // The test can fail: the picture of an order, and one that went through a variable.
    for index in ["order[id.x]", "n"] {
        let text = format!(
            "@group(0) @binding(1) var<storage, read> order: array<u32>;
             @group(0) @binding(2) var<storage, read_write> x: array<u32>;
             @compute @workgroup_size(1) fn forward(@builtin(global_invocation_id) id: vec3<u32>) {{
                 var n = 0u;
                 if id.x > 3u {{ n = 2u * order[id.x]; }}
                 x[{index}] = 1u;
             }}"
        );
        assert_eq!(indices::unheld(&naga::front::wgsl::parse_str(&text).unwrap()), ["x"]);
    }
}

#[test]
fn names_agree() {
    for shader in parse_all() {
        let (label, stem) = (shader.label(), shader.kernel.stem());
        assert_eq!(shader.kernel.name, format!("{stem}.{}", shader.shader.entry), "{label}");
        let file = shader.shader.source.file;
        let rust = shader.kernel.rust_file();
        assert!(root().join(&rust).is_file(), "{label}: {rust} is missing");
        let variant = |name: &str| name == stem || name.starts_with(&format!("{stem}_"));
        let fits = match file.strip_suffix(".wgsl").unwrap().split_once('/') {
            None => variant(file.strip_suffix(".wgsl").unwrap()),
            Some(("software", name)) => variant(name),
            Some((folder, name)) => folder == "ladder" && name == stem,
        };
        let own = format!("{stem}.wgsl");
        let is_appended = shader.shader.source.common.iter().any(|text| text.file == own);
        assert!(fits || is_appended, "{label}: neither the file nor a text in it is named after the kernel");
    }
}

#[test]
fn workgroup_sizes_agree() {
    for shader in parse_all() {
        assert_eq!(shader.entry().workgroup_size, shader.shader.workgroup, "{}", shader.label());
    }
}

/// A software form has what such an adapter runs fast, or at all: no barriers, no workgroup memory, no subgroups.
#[test]
fn software_forms_are_plain() {
    let software = parse_all().into_iter().filter(|parsed| parsed.shader.source.file.starts_with("software/"));
    let mut forms = 0;
    for form in software {
        forms += 1;
        let label = form.label();
        assert!(!form.text.contains("Barrier(") && !form.shader.source.uses_subgroups(), "{label}");
        assert!(form.used().all(|(_, v, _)| v.space != AddressSpace::WorkGroup), "{label} has workgroup memory");
    }
    assert_eq!(forms, kernels::ALL.iter().filter(|kernel| kernel.software.is_some()).count());
}

/// The first of a kernel's candidates is what runs where nothing is known, and each has a name and a text of its own.
#[test]
fn candidates_are_told_apart() {
    let mut lists = 0;
    for kernel in kernels::ALL {
        for (software, case) in
            [false, true].into_iter().flat_map(|s| (kernel.cases)().into_iter().map(move |case| (s, case)))
        {
            let candidates = kernel.candidates_for(software, &case.params);
            let Some(first) = candidates.first() else { continue };
            lists += 1;
            assert_eq!(kernel.shader_for(software, &case.params).id(), first.shader.id(), "{}", kernel.name);
            let names: BTreeSet<&str> = candidates.iter().map(|candidate| candidate.name).collect();
            let texts: BTreeSet<_> = candidates.iter().map(|candidate| candidate.shader.id()).collect();
            assert_eq!([names.len(), texts.len()], [candidates.len(); 2], "{} [{}]", kernel.name, case.label);
        }
    }
    assert!(lists > 0, "no kernel has candidates");
}

/// The params uniform is written word by word in the declared order.
#[test]
fn params_agree() {
    for shader in parse_all() {
        let label = shader.label();
        let binding_0 = |v: &GlobalVariable| v.binding.as_ref().is_some_and(|b| (b.group, b.binding) == (0, 0));
        let (_, params) =
            shader.module.global_variables.iter().find(|(_, v)| binding_0(v)).expect("binding 0 is the params");
        assert_eq!((name(params), params.space), ("params", AddressSpace::Uniform), "{label}");
        let TypeInner::Struct { members, .. } = &shader.module.types[params.ty].inner else {
            panic!("{label}: params is no struct");
        };
        let names: Vec<&str> = members.iter().map(|m| m.name.as_deref().unwrap()).collect();
        assert_eq!(names, shader.kernel.params, "{label}");
        for (i, member) in members.iter().enumerate() {
            let TypeInner::Scalar(scalar) = shader.module.types[member.ty].inner else {
                panic!("{label}: {} is no scalar", names[i]);
            };
            let word = matches!(scalar.kind, ScalarKind::Uint | ScalarKind::Sint | ScalarKind::Float);
            assert!(word && scalar.width == 4, "{label}: {} is no 32-bit word", names[i]);
            assert_eq!(member.offset, 4 * i as u32, "{label}: {}", names[i]);
        }
    }
}

/// An entry point uses the tensors its kernel declares, each under its number and with its access, and no others.
#[test]
fn bindings_agree() {
    for shader in parse_all() {
        let (label, kernel, source) = (shader.label(), shader.kernel, shader.shader.source);
        let mut used = BTreeMap::new();
        for (_, variable, uses) in shader.used() {
            let AddressSpace::Storage { access } = variable.space else { continue };
            let binding = variable.binding.as_ref().expect("storage has a binding");
            assert_eq!(
                (binding.group, binding.binding),
                (0, source.binding(name(variable))),
                "{label}: {}",
                name(variable)
            );
            used.insert(name(variable), (access, uses));
        }
        let declared: BTreeSet<&str> = kernel.reads.iter().chain(kernel.writes).copied().collect();
        assert_eq!(declared.len(), kernel.reads.len() + kernel.writes.len(), "{label}: a tensor is declared twice");
        assert_eq!(used.keys().copied().collect::<BTreeSet<_>>(), declared, "{label}: used, then declared");
        for tensor in kernel.reads {
            assert_eq!(used[tensor].0, StorageAccess::LOAD, "{label}: {tensor} is read");
        }
        for tensor in kernel.writes {
            assert_eq!(used[tensor].0, StorageAccess::LOAD | StorageAccess::STORE, "{label}: {tensor} is written");
            assert!(used[tensor].1.contains(GlobalUse::WRITE), "{label}: {tensor} is declared written and never is");
        }
    }
}

/// Each binding's comment begins with the tensor's shape, and where it is written in params alone it is that of the
/// cases.
#[test]
fn shapes_are_those_of_the_cases() {
    let (mut computed, mut wrong) = (0, Vec::new());
    for kernel in kernels::ALL {
        let shape = |tensor: &str| {
            let missing = || panic!("{}: the binding of {tensor} has no comment with its shape", kernel.name);
            catalogue::shape(kernel, tensor).unwrap_or_else(missing)
        };
        for case in (kernel.cases)() {
            let reads = case.reads.iter().map(Vec::len);
            let writes = case.writes.iter().map(|output| output.before.len());
            for (tensor, len) in kernel.reads.iter().chain(kernel.writes).zip(reads.chain(writes)) {
                let Some(elements) = elements(&shape(tensor), kernel, &case.params) else { continue };
                computed += 1;
                if elements != len {
                    let (name, label) = (kernel.name, &case.label);
                    wrong.push(format!("{name} [{label}]: {tensor} {} is {elements}, not {len}", shape(tensor)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(computed > 1000, "{computed} tensors have shapes written in params");
}

/// The product of a shape such as `(B,I+O)`, if all its letters are params.
fn elements(shape: &str, kernel: &Kernel, params: &[u32]) -> Option<usize> {
    let value = |letter: &str| match letter.trim().parse() {
        Ok(number) => Some(number),
        Err(_) => kernel.params.iter().position(|p| *p == letter.trim()).map(|i| params[i] as usize),
    };
    let product = |text: &str| {
        text.split('*').try_fold(1, |product, factor| {
            let mut parts = factor.split('/').map(value);
            parts.next()?.and_then(|first| parts.try_fold(first, |n, part| Some(n / part?))).map(|n| product * n)
        })
    };
    let sum = |text: &str| text.split('+').try_fold(0, |sum, term| Some(sum + product(term)?));
    shape.trim_matches(['(', ')']).split(',').try_fold(1, |product, size| Some(product * sum(size)?))
}
