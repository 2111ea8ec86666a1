//! Which device a run takes: `auto`, `best`, `cpu`, `gpu` or a part of an adapter's name.

use super::Device;
use super::cpu::Cpu;
use super::gpu::{Gpu, Options};
use crate::error::{Error, Result};

/// All adapters wgpu sees, best first: discrete, integrated, virtual or unknown, software.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    // Explicit: debug builds would otherwise turn validation layers on and change what is measured.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    adapters.sort_by_key(|a| rank(a.get_info().device_type));
    adapters
}

fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => 2,
        wgpu::DeviceType::Cpu => 3,
    }
}

/// One line: name, kind, backend, driver.
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software adapter",
        wgpu::DeviceType::Other => "unknown kind",
    };
    let driver = format!("{} {}", info.driver, info.driver_info);
    format!("{} ({kind}, {:?}, {})", info.name, info.backend, driver.trim())
}

/// What `auto` takes among the adapters: the best that is not software, else the CPU device.
pub fn auto(adapters: &[wgpu::Adapter]) -> Option<usize> {
    adapters.iter().position(|a| a.get_info().device_type != wgpu::DeviceType::Cpu)
}

/// The adapter a user asked for; `None` is the CPU device.
///
/// `auto`: a real GPU if there is one, else the CPU device. `cpu`: the CPU device. `gpu`: the best adapter, a software
/// one included. `best`: that, and the CPU device where there is no adapter. Anything else: the best adapter whose name
/// contains it, upper and lower case alike. Errors name every adapter there is.
pub fn find(adapters: &[wgpu::Adapter], wanted: &str) -> Result<Option<usize>> {
    let best = (!adapters.is_empty()).then_some(0);
    let index = match wanted {
        "cpu" => return Ok(None),
        "auto" => return Ok(auto(adapters)),
        "best" => return Ok(best),
        "gpu" => best,
        name => adapters.iter().position(|a| a.get_info().name.to_lowercase().contains(&name.to_lowercase())),
    };
    if index.is_none() {
        let mut list: Vec<String> = adapters.iter().map(|a| format!("  {}", describe(&a.get_info()))).collect();
        list.push("  cpu (always there)".into());
        return Err(Error::Adapter(format!("no device matches '{wanted}'. There are:\n{}", list.join("\n"))));
    }
    Ok(index)
}

/// Opens the device a user asked for, as [`find`] finds it. Errors: those of [`find`] and [`Gpu::open`].
pub async fn open_async(wanted: &str, options: Options) -> Result<Device> {
    if wanted == "cpu" {
        return Ok(Device::Cpu(Cpu::Accelerated));
    }
    let adapters = adapters().await;
    match find(&adapters, wanted)? {
        Some(index) => Ok(Device::Gpu(std::sync::Arc::new(Gpu::open(&adapters[index], options).await?))),
        None => Ok(Device::Cpu(Cpu::Accelerated)),
    }
}

/// [`open_async`] with the default [`Options`], blocking. Errors: those of [`find`] and [`Gpu::open`].
pub fn open(wanted: &str) -> Result<Device> {
    pollster::block_on(open_async(wanted, Options::default()))
}
