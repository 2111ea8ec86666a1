//! The GPU device through wgpu: how an adapter is opened, and which shader of a kernel runs on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_channel::oneshot;

use super::{room, shipped};
use crate::error::{Error, Result};
use crate::kernel::{Candidate, Kernel, Shader};
use crate::program::Step;

mod pipelines;
mod session;
mod timing;

use pipelines::Pipelines;
pub use session::Session;

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

/// Work that was handed to the device.
struct Submission {
    index: wgpu::SubmissionIndex,
    done: oneshot::Receiver<()>,
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

    /// Hands the encoder's work over.
    fn submit(&self, encoder: wgpu::CommandEncoder) -> Submission {
        let index = self.queue.submit([encoder.finish()]);
        let (sender, done) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        Submission { index, done }
    }

    /// Waits until work that was handed over is done. A browser tells of it by itself; elsewhere the message is there
    /// after `poll`.
    async fn wait(&self, submission: Submission) -> Result<()> {
        self.poll(wgpu::PollType::Wait { submission_index: Some(submission.index), timeout: None })?;
        submission.done.await.map_err(|_| Error::Device("waiting for the device failed: it fell silent".into()))?;
        self.health()
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
