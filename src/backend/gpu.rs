//! The GPU device through wgpu: one pipeline a kernel, one bind group a step, many replays a submission.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::{Counters, Plan, TimingClock, Timings, room, shipped};
use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::kernel::{Candidate, Kernel, Shader, ShaderId};
use crate::program::{Program, Step};
use crate::tensor::Tensor;
use crate::units::memory;

/// The largest uniform offset alignment an adapter may ask for, so every step's params fit one slot.
const PARAMS_SLOT: usize = 256;
/// A submission is sized to take about this long: long enough to hide the submit, short enough that a window system
/// does not kill it (about 2 s on Windows) and that progress and Ctrl-C feel immediate.
const SUBMISSION: Duration = Duration::from_millis(80);

/// Dispatches timed in one query set: WebGPU's sets hold at most 4096 timestamps.
const TIMED_AT_ONCE: usize = 2048;
/// Words of a write that is worth a submission of its own.
const LARGE_WRITE: usize = 1 << 18;

/// How a device is opened. The default is what users train with; tests open the others too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether wgpu guards the shaders' accesses.
    pub checks: Checks,
    /// Which form the kernels run in.
    pub form: Form,
}

/// Whether wgpu adds checks to the shaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// Bounds and loop checks as wgpu inserts them: the tests' other half.
    On,
    /// Trusted shaders: the kernels guard their own stores, and the tests run them both ways.
    #[default]
    Off,
}

/// Which form of a kernel runs where it has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The software form on an adapter that runs on a CPU, the portable one on all others.
    #[default]
    Suited,
    /// The portable form everywhere.
    Portable,
    /// The software form everywhere.
    Software,
}

impl Form {
    fn is_software_on(self, adapter: &wgpu::AdapterInfo) -> bool {
        match self {
            Form::Suited => adapter.device_type == wgpu::DeviceType::Cpu,
            Form::Portable => false,
            Form::Software => true,
        }
    }
}

/// An opened adapter with its pipelines.
pub struct Gpu {
    /// Name, kind, backend and driver, as wgpu tells them.
    pub info: wgpu::AdapterInfo,
    /// What the device was opened with: WebGPU's defaults, and the adapter's own for the bytes of a buffer and a
    /// binding.
    pub limits: wgpu::Limits,
    device: wgpu::Device,
    queue: wgpu::Queue,
    checks: Checks,
    /// Kernels run in their software form.
    software: bool,
    /// What runs in place of the usual shader, by kernel and params.
    choices: Mutex<HashMap<(String, Vec<u32>), &'static Candidate>>,
    pipelines: Arc<Mutex<Pipelines>>,
    lost: Arc<Mutex<Option<String>>>,
}

/// By kernel, and by what tells its shaders apart: a kernel may have many.
type Pipelines = HashMap<(&'static str, ShaderId), Arc<Pipeline>>;

struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl Gpu {
    /// Opens the adapter with WebGPU's default limits, raised only where size matters: how large a buffer may be.
    /// Errors: the driver refuses.
    pub async fn open(adapter: &wgpu::Adapter, options: Options) -> Result<Gpu> {
        let available = adapter.limits();
        let limits = wgpu::Limits {
            max_storage_buffer_binding_size: available.max_storage_buffer_binding_size,
            max_buffer_size: available.max_buffer_size,
            ..wgpu::Limits::default()
        };
        let info = adapter.get_info();
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("elbo"),
                required_features: adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SUBGROUP),
                required_limits: limits.clone(),
                memory_hints: wgpu::MemoryHints::Performance,
                ..Default::default()
            })
            .await
            .map_err(|e| Error::Adapter(format!("{} cannot be opened: {e}", info.name)))?;
        let lost: Arc<Mutex<Option<String>>> = Arc::default();
        let slot = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the device at exit also "loses" it; that is no error.
            if reason != wgpu::DeviceLostReason::Destroyed {
                slot.lock().unwrap().get_or_insert(format!("the device was lost: {message}"));
            }
        });
        let slot = lost.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            slot.lock().unwrap().get_or_insert(format!("the device reported an error: {error}"));
        }));
        let software = options.form.is_software_on(&info);
        Ok(Gpu {
            info,
            limits,
            device,
            queue,
            checks: options.checks,
            software,
            choices: Mutex::default(),
            pipelines: Arc::default(),
            lost,
        })
    }

    /// The same adapter, its kernels in another form, with no other choice made.
    pub fn in_form(&self, form: Form) -> Gpu {
        Gpu { software: form.is_software_on(&self.info), ..self.without_choices() }
    }

    /// The same adapter and the same pipelines, with no choice made.
    pub fn without_choices(&self) -> Gpu {
        Gpu {
            info: self.info.clone(),
            limits: self.limits.clone(),
            device: self.device.clone(),
            queue: self.queue.clone(),
            checks: self.checks,
            software: self.software,
            choices: Mutex::default(),
            pipelines: self.pipelines.clone(),
            lost: self.lost.clone(),
        }
    }

    /// What programs that are loaded from now on run where a dispatch has this kernel and these params.
    pub fn choose(&self, kernel: &str, params: &[u32], candidate: &'static Candidate) {
        self.choices.lock().unwrap().insert((kernel.into(), params.to_vec()), candidate);
    }

    /// Whether its kernels run in their software form, where they have one.
    pub fn runs_software_forms(&self) -> bool {
        self.software
    }

    /// What the kernel needs and the adapter has not.
    pub fn lacks(&self, kernel: &Kernel) -> Option<&'static str> {
        let has_subgroups = self.device.features().contains(wgpu::Features::SUBGROUP);
        (kernel.shader.source.uses_subgroups() && !has_subgroups).then_some("subgroups")
    }

    /// Bytes of the largest buffer a kernel can read or write.
    pub fn largest_binding(&self) -> usize {
        let limit = self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size);
        limit.try_into().unwrap_or(usize::MAX)
    }

    /// The shaders that a dispatch may choose among here; none where there is no choice.
    pub fn candidates(&self, kernel: &'static Kernel, params: &[u32]) -> Vec<&'static Candidate> {
        kernel.candidates_for(self.software, params)
    }

    /// The shader that runs here: the chosen one, else the shipped table's, else the one that suits the adapter.
    pub fn shader(&self, step: &Step) -> &'static Shader {
        let Step { kernel, params, .. } = step;
        let chosen = self.choices.lock().unwrap().get(&(kernel.name.to_string(), params.clone())).copied();
        match chosen.or_else(|| shipped::choose(&self.info, &self.candidates(kernel, params), params)) {
            Some(candidate) => &candidate.shader,
            None => kernel.shader_for(self.software, params),
        }
    }

    /// The first thing that went wrong on the device, if anything did.
    fn health(&self) -> Result<()> {
        match &*self.lost.lock().unwrap() {
            None => Ok(()),
            Some(what) => Err(Error::Device(format!(
                "{what}\nWhat was saved last is whole: continue with --resume, perhaps with a smaller --batch-size or another --device."
            ))),
        }
    }

    fn pipeline(&self, kernel: &'static Kernel, shader: &'static Shader) -> Arc<Pipeline> {
        let key = (kernel.name, shader.id());
        if let Some(pipeline) = self.pipelines.lock().unwrap().get(&key) {
            return pipeline.clone();
        }
        // Not under the lock: several threads build pipelines at a time.
        let built = Arc::new(self.build_pipeline(kernel, shader));
        self.pipelines.lock().unwrap().entry(key).or_insert(built).clone()
    }

    /// Builds the pipelines of programs that there are not yet, on all cores: most of a start is spent here.
    fn build_pipelines(&self, programs: &[&Program]) {
        let mut missing: Vec<(&'static Kernel, &'static Shader)> = Vec::new();
        let steps = programs.iter().flat_map(|program| &program.steps);
        for step in steps.filter(|step| self.lacks(step.kernel).is_none()) {
            let (kernel, shader) = (step.kernel, self.shader(step));
            if missing.iter().all(|(k, s)| (k.name, s.id()) != (kernel.name, shader.id())) {
                missing.push((kernel, shader));
            }
        }
        if let Some((kernel, problem)) = self.build(missing).first() {
            panic!("{} does not validate: {problem}", kernel.name);
        }
    }

    /// Builds pipelines on all cores; those that do not validate, with wgpu's words, are not kept.
    pub(crate) fn build(&self, wanted: Vec<(&'static Kernel, &'static Shader)>) -> Vec<(&'static Kernel, String)> {
        // One by one: a pipeline may take a hundred times as long as another.
        let built = wanted.into_par_iter().with_max_len(1).filter_map(|(kernel, shader)| {
            // A thread hears of errors in its own scopes alone.
            let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
            self.pipeline(kernel, shader);
            let problem = pollster::block_on(validation.pop())?;
            self.pipelines.lock().unwrap().remove(&(kernel.name, shader.id()));
            Some((kernel, problem.to_string()))
        });
        built.collect()
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

    /// wgpu panics in `poll` when the device is gone; the program must end with a message instead.
    fn poll(&self, poll: wgpu::PollType) -> Result<()> {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.device.poll(poll)));
        self.health()?;
        match outcome {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(Error::Device(format!("waiting for the device failed: {e}"))),
            Err(_) => Err(Error::Device("waiting for the device failed: the device was lost".into())),
        }
    }
}

struct LoadedStep {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: [u32; 3],
}

// ANCHOR: dispatch
impl LoadedStep {
    fn dispatch(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}
// ANCHOR_END: dispatch

/// Buffers and loaded programs of one arena.
pub struct Session {
    gpu: Arc<Gpu>,
    buffers: Vec<wgpu::Buffer>,
    programs: Vec<Vec<LoadedStep>>,
    /// Seconds a replay of each program takes, as measured so far.
    seconds: Vec<Option<f64>>,
    /// What the host did so far.
    pub counters: Counters,
}

impl Session {
    /// Without memory and programs yet.
    pub fn new(gpu: Arc<Gpu>) -> Session {
        Session { gpu, buffers: Vec::new(), programs: Vec::new(), seconds: Vec::new(), counters: Counters::default() }
    }

    /// The adapter that it runs on.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Bytes of the largest buffer a kernel can read or write.
    pub fn largest_binding(&self) -> usize {
        self.gpu.largest_binding()
    }

    /// [`Backend::prepare`](super::Backend::prepare)
    pub fn prepare(&self, programs: &[&Program]) {
        self.gpu.build_pipelines(programs);
    }

    /// Makes buffers, pipelines and bind groups, and writes all params. Returns the program's number. Errors: a buffer
    /// larger than a binding may be, more workgroups than a dimension holds, a feature that the adapter lacks, out of
    /// memory, a lost device. Panics on a shader that does not validate.
    pub fn load(&mut self, arena: &Arena, program: &Program) -> Result<usize> {
        let device = &self.gpu.device;
        let allocation = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let outcome = self.load_steps(arena, program);
        let invalid = pollster::block_on(validation.pop());
        let out_of_memory = pollster::block_on(allocation.pop());
        let steps = outcome?;
        if let Some(e) = out_of_memory {
            return Err(Error::Device(format!(
                "{} has no room for {}: {e}\nWhat may help: {}, or --device cpu.",
                self.gpu.info.name,
                memory(arena.bytes()),
                room::advice_for(arena)
            )));
        }
        if let Some(e) = invalid {
            panic!("{} does not validate: {e}", program.name);
        }
        self.gpu.health()?;
        self.programs.push(steps);
        self.seconds.push(None);
        Ok(self.programs.len() - 1)
    }

    fn load_steps(&mut self, arena: &Arena, program: &Program) -> Result<Vec<LoadedStep>> {
        for (index, buffer) in arena.buffers().iter().enumerate() {
            let size = (buffer.words.max(1) as u64).saturating_mul(4);
            if let Some(existing) = self.buffers.get(index) {
                assert!(existing.size() == size, "{} grew after the first program was loaded", buffer.name);
                continue;
            }
            let limit = self.gpu.largest_binding() as u64;
            if size > limit {
                return Err(Error::Device(format!(
                    "{} needs {} MiB in one buffer and {} binds at most {} MiB: {}, or --device cpu",
                    buffer.name,
                    size >> 20,
                    self.gpu.info.name,
                    limit >> 20,
                    room::advice(&buffer.name)
                )));
            }
            self.buffers.push(self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(&buffer.name),
                size,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
        }
        self.gpu.build_pipelines(&[program]);
        let mut params = vec![0u8; program.steps.len().max(1) * PARAMS_SLOT];
        for (slot, step) in params.chunks_mut(PARAMS_SLOT).zip(&program.steps) {
            let bytes: &[u8] = bytemuck::cast_slice(&step.params);
            slot[..bytes.len()].copy_from_slice(bytes);
        }
        let uniforms = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: params.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.gpu.queue.write_buffer(&uniforms, 0, &params);
        program.steps.iter().enumerate().map(|(i, step)| self.load_step(step, &uniforms, i * PARAMS_SLOT)).collect()
    }

    fn load_step(&self, step: &Step, uniforms: &wgpu::Buffer, offset: usize) -> Result<LoadedStep> {
        let kernel = step.kernel;
        if let Some(what) = self.gpu.lacks(kernel) {
            return Err(Error::Adapter(format!("{} needs {what}, which {} has not", kernel.name, self.gpu.info.name)));
        }
        let shader = self.gpu.shader(step);
        let pipeline = self.gpu.pipeline(kernel, shader);
        let bind = |buffer, offset: usize, size: usize| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: offset as u64,
                size: std::num::NonZeroU64::new(size as u64),
            })
        };
        let names = kernel.reads.iter().chain(kernel.writes);
        let tensors = step.reads.iter().chain(&step.writes);
        let params = wgpu::BindGroupEntry { binding: 0, resource: bind(uniforms, offset, PARAMS_SLOT) };
        let entries: Vec<_> = std::iter::once(params)
            .chain(names.zip(tensors).map(|(name, t)| wgpu::BindGroupEntry {
                binding: shader.source.binding(name),
                resource: bind(&self.buffers[t.buffer], t.offset * 4, t.len() * 4),
            }))
            .collect();
        let bind_group = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        let grid = shader.workgroups(&step.params);
        let most = self.gpu.limits.max_compute_workgroups_per_dimension;
        if grid.iter().any(|&groups| groups > most) {
            return Err(Error::Device(format!(
                "{} would need {grid:?} workgroups and {} launches at most {most} a dimension: use a smaller --batch-size",
                kernel.name, self.gpu.info.name
            )));
        }
        Ok(LoadedStep { pipeline, bind_group, grid })
    }

    /// Records and submits replays. At most two submissions are under way: the device never runs dry, and the host
    /// hears about progress without reading anything back.
    pub async fn run(&mut self, plan: &Plan, progress: &mut dyn FnMut(usize) -> bool) -> Result<usize> {
        let mut under_way: VecDeque<(wgpu::SubmissionIndex, usize, usize)> = VecDeque::new();
        let mut handed = 0;
        let mut go_on = true;
        let mut last_end = Instant::now();
        'plan: for &(program, times) in plan {
            let mut left = times;
            while left > 0 {
                let replays = self.replays_a_submission(program.0).min(left);
                let start = Instant::now();
                let index = self.submit(program.0, replays);
                self.counters.recording += start.elapsed();
                under_way.push_back((index, program.0, replays));
                left -= replays;
                handed += replays;
                // A program not yet measured is waited for, so that its next submission can be sized.
                while under_way.len() > 2 || (self.seconds[program.0].is_none() && !under_way.is_empty()) {
                    self.finish_oldest(&mut under_way, &mut last_end)?;
                }
                go_on = progress(handed);
                if !go_on {
                    break 'plan;
                }
            }
        }
        if !go_on {
            while !under_way.is_empty() {
                self.finish_oldest(&mut under_way, &mut last_end)?;
            }
        }
        self.gpu.health()?;
        Ok(handed)
    }

    fn finish_oldest(
        &mut self,
        under_way: &mut VecDeque<(wgpu::SubmissionIndex, usize, usize)>,
        last_end: &mut Instant,
    ) -> Result<()> {
        let Some((index, program, replays)) = under_way.pop_front() else { return Ok(()) };
        self.gpu.poll(wgpu::PollType::Wait { submission_index: Some(index), timeout: None })?;
        let seconds = last_end.elapsed().as_secs_f64() / replays as f64;
        *last_end = Instant::now();
        // The first submission pays for driver compilation; later ones correct it.
        self.seconds[program] = Some(self.seconds[program].map_or(seconds, |old| old.min(seconds)));
        Ok(())
    }

    fn replays_a_submission(&self, program: usize) -> usize {
        match self.seconds[program] {
            None => 1,
            Some(seconds) => ((SUBMISSION.as_secs_f64() / seconds.max(1e-7)) as usize).clamp(1, 1024),
        }
    }

    // ANCHOR: submit
    fn submit(&mut self, program: usize, replays: usize) -> wgpu::SubmissionIndex {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for _ in 0..replays {
                for step in &self.programs[program] {
                    step.dispatch(&mut pass);
                }
            }
        }
        self.counters.dispatches += (self.programs[program].len() * replays) as u64;
        self.counters.submits += 1;
        self.gpu.queue.submit([encoder.finish()])
    }
    // ANCHOR_END: submit

    /// Runs the program once and times each of its dispatches: by timestamps, or by the wall clock where the adapter
    /// has none or reports ones that stand still (Metal on some versions of macOS).
    pub fn time(&mut self, program: usize) -> Result<Timings> {
        if self.gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            let seconds = self.timestamps(program)?;
            if seconds.iter().any(|&s| s > 0.0) {
                return Ok(Timings { seconds, clock: TimingClock::Timestamps });
            }
        }
        self.time_by_wall(program)
    }

    /// Each dispatch submitted and waited for alone.
    pub fn time_by_wall(&mut self, program: usize) -> Result<Timings> {
        let mut seconds = Vec::new();
        for index in 0..self.programs[program].len() {
            let start = Instant::now();
            let submission = self.submit_steps(program, index..index + 1, None);
            self.gpu.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(Timings { seconds, clock: TimingClock::Wall })
    }

    /// Each dispatch in a pass of its own, between two timestamps.
    fn timestamps(&mut self, program: usize) -> Result<Vec<f64>> {
        let mut seconds = Vec::new();
        let count = self.programs[program].len();
        for first in (0..count).step_by(TIMED_AT_ONCE) {
            let steps = first..(first + TIMED_AT_ONCE).min(count);
            let queries = 2 * steps.len() as u32;
            let set = self.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: queries,
            });
            let buffer = |label, usage| {
                let size = queries as u64 * 8;
                let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
                self.gpu.device.create_buffer(&descriptor)
            };
            let resolved = buffer("timestamps", wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            let staging = buffer("staging", wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            self.submit_steps(program, steps, Some(&set));
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.resolve_query_set(&set, 0..queries, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, queries as u64 * 8);
            self.gpu.queue.submit([encoder.finish()]);
            let ticks: Vec<u64> = pollster::block_on(self.map(&staging, bytemuck::pod_collect_to_vec))?;
            let period = f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9;
            seconds.extend(ticks.chunks_exact(2).map(|t| t[1].saturating_sub(t[0]) as f64 * period));
        }
        Ok(seconds)
    }

    /// Submits these dispatches of a program, each in a pass of its own, between timestamps where there is a set for
    /// them.
    fn submit_steps(
        &mut self,
        program: usize,
        steps: Range<usize>,
        timestamps: Option<&wgpu::QuerySet>,
    ) -> wgpu::SubmissionIndex {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.counters.dispatches += steps.len() as u64;
        self.counters.submits += 1;
        for (slot, step) in self.programs[program][steps].iter().enumerate() {
            let timestamp_writes = timestamps.map(|query_set| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(2 * slot as u32),
                end_of_pass_write_index: Some(2 * slot as u32 + 1),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            step.dispatch(&mut encoder.begin_compute_pass(&descriptor));
        }
        self.gpu.queue.submit([encoder.finish()])
    }

    /// Overwrites the words of a tensor, before the next submission runs.
    pub fn write(&mut self, tensor: Tensor, words: &[u32]) {
        self.gpu.queue.write_buffer(
            &self.buffers[tensor.buffer],
            tensor.offset as u64 * 4,
            bytemuck::cast_slice(words),
        );
        // Copies wait for the next submission. Long ones go on while the host does something else.
        if words.len() > LARGE_WRITE {
            self.gpu.queue.submit([]);
        }
    }

    /// Waits for the device and returns the words of each tensor. Errors: the device was lost or could not map the
    /// memory.
    pub async fn read(&mut self, tensors: &[Tensor]) -> Result<Vec<Vec<u32>>> {
        self.counters.synchronisations += 1;
        let size: usize = tensors.iter().map(|t| t.len() * 4).sum();
        let staging = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: size.max(4) as u64,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut offset = 0;
        for t in tensors {
            let bytes = t.len() as u64 * 4;
            encoder.copy_buffer_to_buffer(&self.buffers[t.buffer], t.offset as u64 * 4, &staging, offset, bytes);
            offset += bytes;
        }
        self.gpu.queue.submit([encoder.finish()]);
        // Straight from the mapped memory: the tensors of a large model are gigabytes.
        let part = |rest: &mut &[u8], t: &Tensor| {
            bytemuck::pod_collect_to_vec(rest.split_off(..t.len() * 4).expect("the buffer holds them all"))
        };
        self.map(&staging, |mut rest| tensors.iter().map(|t| part(&mut rest, t)).collect()).await
    }

    /// Waits for the device and reads a buffer that was filled to be read.
    async fn map<T>(&self, staging: &wgpu::Buffer, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let name = &self.gpu.info.name;
        let (sender, receiver) = futures_channel::oneshot::channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |outcome| {
            let _ = sender.send(outcome);
        });
        self.gpu.poll(wgpu::PollType::wait_indefinitely())?;
        match receiver.await {
            Ok(Ok(())) => {}
            _ => return Err(Error::Device(format!("reading {} bytes back from {name} failed", staging.size()))),
        }
        let view = staging
            .slice(..)
            .get_mapped_range()
            .map_err(|e| Error::Device(format!("reading back from {name} failed: {e}")))?;
        Ok(read(&view))
    }
}
