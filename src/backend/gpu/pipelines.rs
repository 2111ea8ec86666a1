//! Shaders to pipelines: built once a kernel and form, on all cores.

use std::collections::HashMap;
use std::sync::Arc;

#[cfg(not(target_arch = "wasm32"))]
use rayon::prelude::*;

use super::{Checks, Gpu};
use crate::kernel::{Kernel, Shader, ShaderId};
use crate::program::Program;

/// By kernel, and by what tells its shaders apart: a kernel may have many.
pub(super) type Pipelines = HashMap<(&'static str, ShaderId), Arc<Pipeline>>;

pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl Gpu {
    pub(super) fn pipeline(&self, kernel: &'static Kernel, shader: &'static Shader) -> Arc<Pipeline> {
        let key = (kernel.name, shader.id());
        if let Some(pipeline) = self.pipelines.lock().unwrap().get(&key) {
            return pipeline.clone();
        }
        // Not under the lock: several threads build pipelines at a time.
        let built = Arc::new(self.build_pipeline(kernel, shader));
        self.pipelines.lock().unwrap().entry(key).or_insert(built).clone()
    }

    /// Builds the pipelines of programs that there are not yet, on all cores: most of a start is spent here.
    pub(super) async fn build_pipelines(&self, programs: &[&Program]) {
        let mut missing: Vec<(&'static Kernel, &'static Shader)> = Vec::new();
        let steps = programs.iter().flat_map(|program| &program.steps);
        for step in steps.filter(|step| self.lacks(step.kernel).is_none()) {
            let (kernel, shader) = (step.kernel, self.shader(step));
            if missing.iter().all(|(k, s)| (k.name, s.id()) != (kernel.name, shader.id())) {
                missing.push((kernel, shader));
            }
        }
        if let Some((kernel, problem)) = self.build(missing).await.first() {
            panic!("{} does not validate: {problem}", kernel.name);
        }
    }

    /// Builds pipelines on all cores; those that do not validate, with wgpu's words, are not kept.
    pub(crate) async fn build(
        &self,
        wanted: Vec<(&'static Kernel, &'static Shader)>,
    ) -> Vec<(&'static Kernel, String)> {
        // A thread hears of errors in its own scopes alone.
        let begin = |(kernel, shader): (&'static Kernel, &'static Shader)| {
            let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
            self.pipeline(kernel, shader);
            (kernel, shader, validation.pop())
        };
        let judge = |kernel: &'static Kernel, shader: &Shader, problem: Option<wgpu::Error>| {
            let problem = problem?;
            self.pipelines.lock().unwrap().remove(&(kernel.name, shader.id()));
            Some((kernel, problem.to_string()))
        };
        // One by one: a pipeline may take a hundred times as long as another.
        #[cfg(not(target_arch = "wasm32"))]
        let built = wanted.into_par_iter().with_max_len(1).filter_map(|each| {
            let (kernel, shader, problem) = begin(each);
            judge(kernel, shader, pollster::block_on(problem))
        });
        #[cfg(not(target_arch = "wasm32"))]
        return built.collect();
        // A browser compiles on threads of its own once it is asked, and tells later.
        #[cfg(target_arch = "wasm32")]
        {
            let begun: Vec<_> = wanted.into_iter().map(begin).collect();
            let mut refused = Vec::new();
            for (kernel, shader, problem) in begun {
                refused.extend(judge(kernel, shader, problem.await));
            }
            refused
        }
    }

    fn build_pipeline(&self, kernel: &Kernel, shader: &Shader) -> Pipeline {
        let source = shader.source;
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(source.file),
            source: wgpu::ShaderSource::Wgsl(source.full_text().into()),
        };
        let module = match self.checks {
            Checks::On => self.device.create_shader_module(descriptor),
            // SAFETY: without wgpu's checks an out-of-bounds index or an endless loop would be undefined behaviour.
            // The shaders are the crate's own, embedded at build time; every kernel guards its stores and loads by
            // its params, and the tests run each over sizes that do not divide its tiles with the checks on and
            // off, with guard bands behind every output. What indexes a buffer and is itself read from one, the
            // clock's batch and the order's pictures, is held within the buffer's length in the shader; a test in
            // tests/shaders finds any other. The checks cost 35 % and more.
            Checks::Off => unsafe {
                self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            },
        };
        let storage = |names: &'static [&'static str], read_only: bool| {
            names.iter().map(move |name| wgpu::BindGroupLayoutEntry {
                binding: source.binding(name),
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
        };
        let params = wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries: Vec<_> =
            std::iter::once(params).chain(storage(kernel.reads, true)).chain(storage(kernel.writes, false)).collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(shader.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}
