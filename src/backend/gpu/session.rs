//! The memory and the loaded programs of one arena on an adapter: one bind group a step, many replays a submission.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use web_time::Instant;

use super::pipelines::Pipeline;
use super::{Gpu, Submission, room};
use crate::arena::Arena;
use crate::backend::{Counters, Plan};
use crate::error::{Error, Result};
use crate::program::{Program, Step};
use crate::tensor::Tensor;
use crate::units::memory;

/// The largest uniform offset alignment an adapter may ask for, so every step's params fit one slot.
const PARAMS_SLOT: usize = 256;
/// A submission is sized to take about this long: long enough to hide the submit, short enough that a window system
/// does not kill it (about 2 s on Windows) and that progress and Ctrl-C feel immediate.
const SUBMISSION: Duration = Duration::from_millis(80);
/// Words of a write that is worth a submission of its own.
const LARGE_WRITE: usize = 1 << 18;

pub(super) struct LoadedStep {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: [u32; 3],
}

// ANCHOR: dispatch
impl LoadedStep {
    pub(super) fn dispatch(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}
// ANCHOR_END: dispatch

/// Buffers and loaded programs of one arena.
pub struct Session {
    pub(super) gpu: Arc<Gpu>,
    buffers: Vec<wgpu::Buffer>,
    pub(super) programs: Vec<Vec<LoadedStep>>,
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

    /// [`Backend::prepare`](crate::backend::Backend::prepare)
    pub async fn prepare(&self, programs: &[&Program]) {
        self.gpu.build_pipelines(programs).await;
    }

    /// Makes buffers, pipelines and bind groups, and writes all params. Returns the program's number. Errors: a buffer
    /// larger than a binding may be, more workgroups than a dimension holds, a feature that the adapter lacks, out of
    /// memory, a lost device. Panics on a shader that does not validate.
    pub async fn load(&mut self, arena: &Arena, program: &Program) -> Result<usize> {
        self.gpu.build_pipelines(&[program]).await;
        let device = &self.gpu.device;
        let allocation = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let outcome = self.load_steps(arena, program);
        // Both are asked for before one is waited for: scopes are a stack.
        let (invalid, out_of_memory) = (validation.pop(), allocation.pop());
        let (invalid, out_of_memory) = (invalid.await, out_of_memory.await);
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
        let mut under_way: VecDeque<(Submission, usize, usize)> = VecDeque::new();
        let mut handed = 0;
        let mut go_on = true;
        let mut last_end = Instant::now();
        'plan: for &(program, times) in plan {
            let mut left = times;
            while left > 0 {
                let replays = self.replays_a_submission(program.0).min(left);
                let start = Instant::now();
                let submission = self.submit(program.0, replays);
                self.counters.recording += start.elapsed();
                under_way.push_back((submission, program.0, replays));
                left -= replays;
                handed += replays;
                // A program not yet measured is waited for, so that its next submission can be sized.
                while under_way.len() > 2 || (self.seconds[program.0].is_none() && !under_way.is_empty()) {
                    self.finish_oldest(&mut under_way, &mut last_end).await?;
                }
                go_on = progress(handed);
                if !go_on {
                    break 'plan;
                }
            }
        }
        if !go_on {
            while !under_way.is_empty() {
                self.finish_oldest(&mut under_way, &mut last_end).await?;
            }
        }
        self.gpu.health()?;
        Ok(handed)
    }

    async fn finish_oldest(
        &mut self,
        under_way: &mut VecDeque<(Submission, usize, usize)>,
        last_end: &mut Instant,
    ) -> Result<()> {
        let Some((submission, program, replays)) = under_way.pop_front() else { return Ok(()) };
        self.gpu.wait(submission).await?;
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
    fn submit(&mut self, program: usize, replays: usize) -> Submission {
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
        self.gpu.submit(encoder)
    }
    // ANCHOR_END: submit

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
    pub(super) async fn map<T>(&self, staging: &wgpu::Buffer, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let name = &self.gpu.info.name;
        let (sender, receiver) = oneshot::channel();
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
