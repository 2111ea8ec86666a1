//! Where programs run. A [`Device`] is opened once; a [`Backend`] is the memory and the loaded programs of one arena on
//! it.
//!
//! Opening, running and reading are async, because a browser can only wait that way; the blocking forms beside them
//! are `pollster::block_on` of the same functions.

pub mod choose;
pub mod cpu;
pub mod gpu;
pub mod room;
pub mod shipped;

use std::sync::Arc;
use std::time::Duration;

use crate::arena::Arena;
use crate::error::Result;
use crate::kernel::{Candidate, Kernel, Shader};
use crate::program::{Program, Step};
use crate::tensor::Tensor;

/// An opened device.
#[derive(Clone)]
pub enum Device {
    /// An adapter that wgpu opened; clones share it.
    Gpu(Arc<gpu::Gpu>),
    /// No adapter: kernels are functions on the host's threads.
    Cpu(cpu::Cpu),
}

/// A program loaded on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded(usize);

/// Runs `times` replays of a program.
pub type Plan = [(Loaded, usize)];

/// What the host did, for reports: the fewer, the better.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Kernels run, in every replay.
    pub dispatches: u64,
    /// Times that dispatches were handed to a GPU.
    pub submits: u64,
    /// Times the host waited for the device to finish everything and read memory back.
    pub synchronisations: u64,
    /// What it took the host to record submissions and hand them over.
    pub recording: Duration,
}

/// How long each dispatch of one replay took, in seconds, and by which clock.
#[derive(Clone, Debug)]
pub struct Timings {
    /// One for each dispatch, in the program's order.
    pub seconds: Vec<f64>,
    /// What they were measured with.
    pub clock: TimingClock,
}

/// Who measures the time of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimingClock {
    /// The device's own: a dispatch's time alone.
    Timestamps,
    /// The host's: on a GPU a dispatch's time with the way there and back.
    Wall,
}

/// Memory and programs of one arena on one device.
pub enum Backend {
    /// wgpu's buffers, pipelines and bind groups.
    Gpu(gpu::Session),
    /// Words in the host's memory.
    Cpu(cpu::Session),
}

impl Device {
    /// A backend on this device, without memory and programs yet.
    pub fn backend(&self) -> Backend {
        match self {
            Device::Gpu(gpu) => Backend::Gpu(gpu::Session::new(gpu.clone())),
            Device::Cpu(cpu) => Backend::Cpu(cpu::Session::new(*cpu)),
        }
    }

    /// Bytes of the largest buffer a kernel can read or write.
    pub fn largest_binding(&self) -> usize {
        match self {
            Device::Gpu(gpu) => gpu.largest_binding(),
            Device::Cpu(_) => usize::MAX,
        }
    }

    /// Bytes of the largest buffer there can be.
    pub fn largest_buffer(&self) -> usize {
        match self {
            Device::Gpu(gpu) => gpu.limits.max_buffer_size.try_into().unwrap_or(usize::MAX),
            Device::Cpu(_) => usize::MAX,
        }
    }

    /// The shader that a dispatch runs here; none on the CPU device.
    pub fn shader(&self, step: &Step) -> Option<&'static Shader> {
        match self {
            Device::Gpu(gpu) => Some(gpu.shader(step)),
            Device::Cpu(_) => None,
        }
    }

    /// The device once for each shader that it may choose for a kernel and params, named, where there are several.
    pub fn with_each_candidate(&self, kernel: &'static Kernel, params: &[u32]) -> Vec<(&'static str, Device)> {
        let Device::Gpu(gpu) = self else { return Vec::new() };
        let with = |candidate: &'static Candidate| {
            let gpu = gpu.without_choices();
            gpu.choose(kernel.name, params, candidate);
            (candidate.name, Device::Gpu(Arc::new(gpu)))
        };
        gpu.candidates(kernel, params).into_iter().map(with).collect()
    }

    /// What the kernel needs and the device has not, e.g. subgroups: it cannot be loaded.
    pub fn lacks(&self, kernel: &Kernel) -> Option<&'static str> {
        match self {
            Device::Gpu(gpu) => gpu.lacks(kernel),
            Device::Cpu(_) => None,
        }
    }

    /// The name alone: of the adapter, or `cpu`.
    pub fn name(&self) -> &str {
        match self {
            Device::Gpu(gpu) => &gpu.info.name,
            Device::Cpu(_) => "cpu",
        }
    }

    /// One line for the user: name, kind, backend, driver.
    pub fn description(&self) -> String {
        match self {
            Device::Gpu(gpu) => choose::describe(&gpu.info),
            Device::Cpu(_) => format!("CPU ({} threads)", rayon::current_num_threads()),
        }
    }
}

impl Backend {
    /// [`Device::largest_binding`]
    pub fn largest_binding(&self) -> usize {
        match self {
            Backend::Gpu(session) => session.largest_binding(),
            Backend::Cpu(_) => usize::MAX,
        }
    }

    /// What it runs on.
    pub fn device(&self) -> Device {
        match self {
            Backend::Gpu(session) => Device::Gpu(session.gpu().clone()),
            Backend::Cpu(session) => Device::Cpu(session.cpu()),
        }
    }

    /// Makes the program ready to run: memory for the arena's buffers, one pipeline a kernel, all params written.
    /// Programs of one arena share its buffers. Errors: a buffer larger than the device binds, out of memory.
    pub async fn load_async(&mut self, arena: &Arena, program: &Program) -> Result<Loaded> {
        match self {
            Backend::Gpu(session) => session.load(arena, program).await.map(Loaded),
            Backend::Cpu(session) => session.load(arena, program).map(Loaded),
        }
    }

    /// [`load_async`](Backend::load_async), blocking. Errors: the same.
    pub fn load(&mut self, arena: &Arena, program: &Program) -> Result<Loaded> {
        pollster::block_on(self.load_async(arena, program))
    }

    /// Builds what programs need that are loaded next, all on all cores at once: sooner than one program after the
    /// other.
    pub async fn prepare(&self, programs: &[&Program]) {
        match self {
            Backend::Gpu(session) => session.prepare(programs).await,
            Backend::Cpu(_) => {}
        }
    }

    /// Runs the plan in order. `progress` hears how many replays have been handed to the device since the start and
    /// returns false to stop after the current submission. Returns the replays run. Nothing is read back. Errors: the
    /// device was lost or reported an error.
    pub async fn run_async(&mut self, plan: &Plan, progress: &mut dyn FnMut(usize) -> bool) -> Result<usize> {
        match self {
            Backend::Gpu(session) => session.run(plan, progress).await,
            Backend::Cpu(session) => Ok(session.run(plan, progress)),
        }
    }

    /// [`run_async`](Backend::run_async) of all replays, blocking until they are handed over. Errors: the same.
    pub fn run(&mut self, plan: &Plan) -> Result<()> {
        pollster::block_on(self.run_async(plan, &mut |_| true)).map(|_| ())
    }

    /// [`run_async`](Backend::run_async), blocking. Errors: the same.
    pub fn run_with(&mut self, plan: &Plan, progress: &mut dyn FnMut(usize) -> bool) -> Result<usize> {
        pollster::block_on(self.run_async(plan, progress))
    }

    /// Runs the program once and times each of its dispatches. Errors: the device was lost.
    pub async fn time_async(&mut self, program: Loaded) -> Result<Timings> {
        match self {
            Backend::Gpu(session) => session.time(program.0).await,
            Backend::Cpu(session) => Ok(session.time(program.0)),
        }
    }

    /// [`time_async`](Backend::time_async), blocking. Errors: the same.
    pub fn time(&mut self, program: Loaded) -> Result<Timings> {
        pollster::block_on(self.time_async(program))
    }

    /// [`time`](Backend::time) by the host's clock, where the device's own is not to be trusted. Errors: the same.
    pub fn time_by_wall(&mut self, program: Loaded) -> Result<Timings> {
        match self {
            Backend::Gpu(session) => pollster::block_on(session.time_by_wall(program.0)),
            Backend::Cpu(session) => Ok(session.time(program.0)),
        }
    }

    /// Overwrites a tensor with f32 values. Panics when the lengths differ.
    pub fn write(&mut self, tensor: Tensor, values: &[f32]) {
        self.write_words(tensor, bytemuck::cast_slice(values));
    }

    /// Overwrites a tensor with 32-bit words: integers, or the bits of f32. Panics when the lengths differ.
    pub fn write_words(&mut self, tensor: Tensor, words: &[u32]) {
        assert!(tensor.len() == words.len(), "writing {} words to {tensor:?}", words.len());
        match self {
            Backend::Gpu(session) => session.write(tensor, words),
            Backend::Cpu(session) => session.write(tensor, words),
        }
    }

    /// Waits for the device and reads the tensors, all in one synchronisation: a vector for each, in their order.
    /// Errors: the device was lost, or its memory cannot be mapped.
    pub async fn read_words_async(&mut self, tensors: &[Tensor]) -> Result<Vec<Vec<u32>>> {
        match self {
            Backend::Gpu(session) => session.read(tensors).await,
            Backend::Cpu(session) => Ok(session.read(tensors)),
        }
    }

    /// [`read_words_async`](Backend::read_words_async), the words as f32. Errors: the same.
    pub async fn read_async(&mut self, tensors: &[Tensor]) -> Result<Vec<Vec<f32>>> {
        let words = self.read_words_async(tensors).await?;
        Ok(words.into_iter().map(bytemuck::allocation::cast_vec).collect())
    }

    /// [`read_async`](Backend::read_async), blocking. Errors: the same.
    pub fn read(&mut self, tensors: &[Tensor]) -> Result<Vec<Vec<f32>>> {
        pollster::block_on(self.read_async(tensors))
    }

    /// [`read`](Backend::read) of a single tensor. Errors: the same.
    pub fn read_one(&mut self, tensor: Tensor) -> Result<Vec<f32>> {
        Ok(self.read(&[tensor])?.remove(0))
    }

    /// What the host did since this backend was made.
    pub fn counters(&self) -> Counters {
        match self {
            Backend::Gpu(session) => session.counters,
            Backend::Cpu(session) => session.counters,
        }
    }
}
