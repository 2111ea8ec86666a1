//! A shader in the languages that adapters are given, by naga, which wgpu uses too: SPIR-V for Vulkan, MSL for Metal,
//! HLSL for DX12. As the devices open by default get it: without bounds checks, and workgroup memory is not cleared.

use naga::back::{hlsl, msl, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};
use rspirv::binary::Disassemble;

use crate::kernel::{Shader, Source};

/// The shader as naga holds it. The crate's own shaders are valid; the tests see to that.
fn module(shader: &Shader) -> (Module, ModuleInfo) {
    let text = shader.source.full_text();
    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text)));
    let info = Validator::new(ValidationFlags::all(), capabilities(shader.source))
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text)));
    (module, info)
}

/// What naga must allow a source beside WebGPU's core.
pub fn capabilities(source: &Source) -> Capabilities {
    let mut needs = Capabilities::empty();
    needs.set(Capabilities::SUBGROUP, source.uses_subgroups());
    needs
}

/// The words of a SPIR-V module with this one entry point.
pub fn spirv(shader: &Shader) -> Vec<u32> {
    let (module, info) = module(shader);
    let options = spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::DEBUG,
        bounds_check_policies: BoundsCheckPolicies::default(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: shader.entry.into() };
    spv::write_vec(&module, &info, &options, Some(&pipeline)).unwrap_or_else(|e| panic!("{}: {e}", shader.source.file))
}

/// SPIR-V in its assembly language.
pub fn disassemble(spirv: &[u32]) -> String {
    rspirv::dr::load_words(spirv).expect("naga writes whole modules").disassemble()
}

/// Metal's shading language.
pub fn msl(shader: &Shader) -> String {
    let (module, info) = module(shader);
    let options = msl::Options {
        lang_version: (2, 4),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..msl::Options::default()
    };
    let entry_point = Some((ShaderStage::Compute, shader.entry.to_string()));
    let pipeline = msl::PipelineOptions { entry_point, ..Default::default() };
    let written = msl::write_string(&module, &info, &options, &pipeline);
    written.unwrap_or_else(|e| panic!("{}: {e}", shader.source.file)).0
}

/// DirectX's shading language.
pub fn hlsl(shader: &Shader) -> String {
    let (module, info) = module(shader);
    let options = hlsl::Options {
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, shader.entry.to_string())) };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .unwrap_or_else(|e| panic!("{}: {e}", shader.source.file));
    text
}
