//! What the tests share: devices here, PyTorch's recordings and how to follow them in the files beside.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod golden;
pub mod process;
pub mod trajectory;

use std::io::Write;
use std::sync::Arc;

use elbo::backend::Device;
use elbo::backend::choose;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::{Checks, Form, Gpu, Options};

/// The best adapter wgpu finds, opened. Where there is none the calling test cannot run: this says so and returns
/// `None`, or panics where `ELBO_REQUIRE_GPU` is 1.
pub fn gpu(options: Options) -> Option<Device> {
    let Some(adapter) = pollster::block_on(choose::adapters()).into_iter().next() else {
        let test = std::thread::current().name().unwrap_or("a test").to_string();
        let missing = format!(
            "NOT RUN on a GPU: {test}. No Vulkan, Metal or DX12 adapter was found. \
             Install a driver; Mesa's software driver (lavapipe) needs no hardware."
        );
        assert!(std::env::var("ELBO_REQUIRE_GPU").as_deref() != Ok("1"), "{missing}");
        say(&missing);
        return None;
    };
    let gpu = pollster::block_on(Gpu::open(&adapter, options)).expect("an adapter that is listed can be opened");
    Some(Device::Gpu(Arc::new(gpu)))
}

/// Writes a line to stderr itself: the test harness swallows what `eprintln` prints in a passing test.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Every device that must come to the same results, named: the CPU in both forms and, where there is an adapter, the
/// GPU in both forms, as users run it (checks off).
pub fn devices() -> Vec<(&'static str, Device)> {
    let mut devices =
        vec![("CPU reference", Device::Cpu(Cpu::Reference)), ("CPU accelerated", Device::Cpu(Cpu::Accelerated))];
    let Some(portable) = gpu(Options { checks: Checks::Off, form: Form::Portable }) else { return devices };
    let Device::Gpu(gpu) = &portable else { unreachable!("a GPU was opened") };
    let software = Device::Gpu(Arc::new(gpu.in_form(Form::Software)));
    devices.extend([("GPU portable", portable), ("GPU software", software)]);
    devices
}
