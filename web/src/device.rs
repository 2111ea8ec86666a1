//! Which device the tab takes: a real adapter through WebGPU, else the CPU device.

use std::sync::Arc;

use elbo::backend::gpu::{Gpu, Options};
use elbo::backend::{Device, choose, cpu::Cpu};
use wasm_bindgen::prelude::*;

use crate::told;

/// Opens `auto` (a real adapter, else the CPU device), `webgpu` (a real adapter), `software` (any adapter, for tests)
/// or `cpu`. Returns the device and its own words. Errors: there is no such device.
pub async fn open(wanted: &str) -> Result<(Device, String), JsError> {
    let cpu = || (Device::Cpu(Cpu::Accelerated), "CPU, one thread, in WebAssembly".to_string());
    if wanted == "cpu" {
        return Ok(cpu());
    }
    let adapters = if has_webgpu() { choose::adapters().await } else { Vec::new() };
    let found = match wanted {
        "software" => adapters.first(),
        _ => choose::auto(&adapters).map(|index| &adapters[index]),
    };
    let Some(adapter) = found else {
        return match wanted {
            "auto" => Ok(cpu()),
            _ if adapters.is_empty() => Err(told("This browser gives no WebGPU adapter: take the CPU device.")),
            _ => Err(told("This browser's WebGPU adapter runs on the CPU, slower than the CPU device: take that one.")),
        };
    };
    let gpu = Gpu::open(adapter, Options::default()).await.map_err(told)?;
    let words = format!("WebGPU: {}", words().await.unwrap_or_else(|| choose::describe(&gpu.info)));
    Ok((Device::Gpu(Arc::new(gpu)), words))
}

/// `navigator.gpu` of the worker.
fn webgpu() -> Option<JsValue> {
    let get =
        |of: &JsValue, name: &str| js_sys::Reflect::get(of, &name.into()).ok().filter(|value| !value.is_undefined());
    get(&get(&js_sys::global(), "navigator")?, "gpu")
}

fn has_webgpu() -> bool {
    webgpu().is_some()
}

/// What the browser says of its adapter. wgpu's own description of one is empty here.
async fn words() -> Option<String> {
    let gpu = webgpu()?;
    let get = |of: &JsValue, name: &str| js_sys::Reflect::get(of, &name.into()).ok();
    let request: js_sys::Function = get(&gpu, "requestAdapter")?.dyn_into().ok()?;
    let promise: js_sys::Promise = request.call0(&gpu).ok()?.dyn_into().ok()?;
    let adapter = wasm_bindgen_futures::JsFuture::from(promise).await.ok()?;
    let info = get(&adapter, "info")?;
    let parts = ["vendor", "architecture", "device", "description"].map(|name| get(&info, name)?.as_string());
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    let fallback = get(&info, "isFallbackAdapter")?.as_bool() == Some(true);
    let note = if fallback { " (a software adapter)" } else { "" };
    (!parts.is_empty()).then(|| format!("{}{note}", parts.join(" ")))
}
