//! Kernels to read, to check and to time.

use elbo::arena::Arena;
use elbo::backend::Device;
use elbo::cases::uniform;
use elbo::check::case;
use elbo::kernel::Kernel;
use elbo::kernels::ladder::matmul::LADDER;
use elbo::program::{Program, Recorder};
use elbo::tensor::Tensor;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::told;

/// Seconds that a sample of a rung should take at least.
const SAMPLE: f64 = 0.05;
/// Cases of more multiplications and additions are left to the program: a tab would take minutes for them.
const MOST_FLOPS: u64 = 300_000;

fn find(name: &str) -> Result<&'static Kernel, JsError> {
    let found = elbo::kernels::ALL.iter().find(|kernel| kernel.name == name);
    found.copied().ok_or_else(|| told(format!("There is no kernel {name}.")))
}

/// A kernel's formula, the WGSL of its portable form, and where its reference is, as JSON.
#[wasm_bindgen]
pub fn kernel(name: &str) -> Result<String, JsError> {
    let kernel = find(name)?;
    let source = kernel.shader.source;
    Ok(json!({
        "name": kernel.name,
        "file": format!("shaders/{}", source.file),
        "formula": kernel.formula,
        "wgsl": source.full_text(),
        "entry": kernel.shader.entry,
        "reference": kernel.rust_file(),
    })
    .to_string())
}

/// A recorded step as JSON: for each dispatch its kernel, the layer that it is of, what it reads and writes, its flops.
pub fn program(program: &Program) -> String {
    let step = |step: &elbo::program::Step| {
        let shape = |(name, tensor): (&&str, &Tensor)| {
            format!("{name} {}", tensor.shape().iter().map(usize::to_string).collect::<Vec<_>>().join("x"))
        };
        let reads: Vec<String> = step.kernel.reads.iter().zip(&step.reads).map(shape).collect();
        let writes: Vec<String> = step.kernel.writes.iter().zip(&step.writes).map(shape).collect();
        json!({
            "kernel": step.kernel.name,
            "scope": step.scope,
            "shapes": format!("{} → {}", reads.join(", "), writes.join(", ")),
            "flops": (step.kernel.cost)(&step.params).flops,
        })
    };
    serde_json::Value::from_iter(program.steps.iter().map(step)).to_string()
}

/// Runs a kernel's cases on the device in every form that it may run there, each against the reference, as JSON.
pub async fn check(device: &Device, name: &str) -> Result<String, JsError> {
    let kernel = find(name)?;
    let (mut cases, mut skipped, mut elements, mut worst, mut failures) = (0, 0, 0, 0f32, Vec::new());
    let lacks = device.lacks(kernel);
    for case in (kernel.cases)().iter().filter(|_| lacks.is_none()) {
        if (kernel.cost)(&case.params).flops > MOST_FLOPS {
            skipped += 1;
            continue;
        }
        let want = case::reference(kernel, case).map_err(told)?;
        let mut forms = device.with_each_candidate(kernel, &case.params);
        if forms.is_empty() {
            forms.push(("", device.clone()));
        }
        for (form, device) in forms {
            let outcome = case::measure_async(&device, kernel, case, &want).await;
            cases += 1;
            for output in &outcome.outputs {
                elements += output.elements;
                worst = worst.max(output.of_accepted);
            }
            failures.extend(outcome.failure.map(|failure| format!("{form} {failure}").trim().to_string()));
        }
    }
    Ok(json!({
        "cases": cases,
        "skipped": skipped,
        "elements": elements,
        "worst": worst,
        "failures": failures,
        "lacks": lacks,
    })
    .to_string())
}

/// Times a rung of the matmul ladder on the device, as JSON. Errors: the rung is a shader, and this is the CPU device.
pub async fn rung(device: &Device, name: &str) -> Result<String, JsError> {
    let rungs = || LADDER.rungs.iter().chain([&LADDER.production]);
    let rung = rungs().find(|rung| rung.name == name).ok_or_else(|| told(format!("There is no rung {name}.")))?;
    if matches!(device, Device::Cpu(_)) && !std::ptr::eq(rung, &LADDER.production) {
        return Err(told("The rungs are shaders, and the CPU device has functions: the ladder needs WebGPU."));
    }
    let size = match device {
        Device::Gpu(gpu) if !gpu.runs_software_forms() => LADDER.sizes[1],
        _ => LADDER.sizes[0],
    };
    if let Some(why) = (rung.refuses)(size) {
        return Err(told(why));
    }
    let mut arena = Arena::new();
    let shapes = (LADDER.inputs)(size).map_err(told)?;
    let inputs: Vec<Tensor> = shapes.iter().map(|shape| arena.tensor("input", shape)).collect();
    let mut recorder = Recorder::new(&mut arena);
    let result = (rung.record)(&mut recorder, size, &inputs);
    let program = recorder.finish(rung.name);
    let mut backend = device.backend();
    let loaded = backend.load_async(&arena, &program).await.map_err(told)?;
    for (seed, tensor) in (1..).zip(&inputs) {
        backend.write(*tensor, &uniform(seed, tensor.len(), LADDER.range[0], LADDER.range[1]));
    }
    let word = Tensor::new(result.buffer, result.offset, &[1]);
    let (mut best, mut replays) = (f64::INFINITY, 1);
    // The first sample pays for compilation, and the loop ends with one that is long enough.
    for _ in 0..12 {
        let start = js_sys::Date::now();
        backend.run_async(&[(loaded, replays)], &mut |_| true).await.map_err(told)?;
        backend.read_words_async(&[word]).await.map_err(told)?;
        let seconds = (js_sys::Date::now() - start) * 1e-3;
        if replays > 1 || seconds > SAMPLE {
            best = best.min(seconds / replays as f64);
        }
        if seconds > SAMPLE && best.is_finite() {
            break;
        }
        replays *= 4;
    }
    let gflops = (LADDER.cost)(size).flops as f64 / best * 1e-9;
    Ok(json!({ "name": rung.name, "about": rung.adds, "gflops": gflops, "size": size }).to_string())
}

/// Every shader that can run in a browser, as JSON, each once: what a test compiles. WGSL has no integers of 64 bits,
/// and of subgroups the browser wants to be told in the text.
#[wasm_bindgen]
pub fn shaders() -> String {
    let mut all: Vec<serde_json::Value> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for kernel in elbo::kernels::ALL {
        for shader in kernel.shaders() {
            let text = shader.source.full_text();
            let runs = !shader.source.uses_subgroups() && !shader.source.file.starts_with("software/");
            if runs && seen.insert((text.clone(), shader.entry)) {
                all.push(json!({ "kernel": kernel.name, "entry": shader.entry, "text": text }));
            }
        }
    }
    serde_json::Value::from(all).to_string()
}
