//! `elbo devices`

use elbo::backend::choose;
use elbo::error::Result;

#[derive(clap::Args)]
pub struct Args {
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let adapters = pollster::block_on(choose::adapters());
        let auto = choose::auto(&adapters);
        if self.json {
            let mut list: Vec<_> = adapters.iter().map(json).collect();
            list.push(cpu_json());
            for (i, device) in list.iter_mut().enumerate() {
                device["auto"] = (i == auto.unwrap_or(adapters.len())).into();
            }
            super::print_json(&list);
            return Ok(());
        }
        for (i, adapter) in adapters.iter().enumerate() {
            let mark = if auto == Some(i) { "  <- auto" } else { "" };
            super::print(&format!("{}{mark}", choose::describe(&adapter.get_info())));
            super::print(&format!("    {}", limits(adapter)));
        }
        let mark = if auto.is_none() { "  <- auto" } else { "" };
        super::print(&format!("cpu ({} threads){mark}", rayon::current_num_threads()));
        if adapters.is_empty() {
            super::print("No Vulkan, Metal or DX12 adapter was found.");
        }
        Ok(())
    }
}

/// The limits that decide what runs, in one line.
pub fn limits(adapter: &wgpu::Adapter) -> String {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    format!(
        "largest buffer {} MiB, largest binding {} MiB, workgroup {} invocations and {} KiB, {} storage buffers, subgroups {} to {}",
        limits.max_buffer_size >> 20,
        limits.max_storage_buffer_binding_size >> 20,
        limits.max_compute_invocations_per_workgroup,
        limits.max_compute_workgroup_storage_size >> 10,
        limits.max_storage_buffers_per_shader_stage,
        info.subgroup_min_size,
        info.subgroup_max_size,
    )
}

pub fn cpu_json() -> serde_json::Value {
    serde_json::json!({ "name": "cpu", "backend": "cpu", "threads": rayon::current_num_threads() })
}

pub fn json(adapter: &wgpu::Adapter) -> serde_json::Value {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    serde_json::json!({
        "name": info.name,
        "kind": format!("{:?}", info.device_type),
        "backend": format!("{:?}", info.backend),
        "driver": info.driver,
        "driver_info": info.driver_info,
        "max_buffer_size": limits.max_buffer_size,
        "max_storage_buffer_binding_size": limits.max_storage_buffer_binding_size,
        "max_compute_invocations_per_workgroup": limits.max_compute_invocations_per_workgroup,
        "max_compute_workgroup_storage_size": limits.max_compute_workgroup_storage_size,
        "max_storage_buffers_per_shader_stage": limits.max_storage_buffers_per_shader_stage,
        "subgroup_min_size": info.subgroup_min_size,
        "subgroup_max_size": info.subgroup_max_size,
    })
}
