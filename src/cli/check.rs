//! `elbo check`

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::{Checks, Form, Gpu, Options};
use elbo::backend::{Device, choose};
use elbo::check::gradient;
use elbo::check::report::{self, Place, Report};
use elbo::check::ulp::BUCKETS;
use elbo::error::{Error, Result, nearest};
use elbo::instruments::lockstep;
use elbo::instruments::subject::Subject;
use elbo::kernel::Kernel;
use elbo::kernels;
use elbo::messages::notice;
use elbo::models::presets;
use elbo::program::{Program, Step};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::devices;
use super::table::{Column, table};

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// What to check: a kernel (adam.forward), all kernels of a file (matmul), or a model (a preset or a run folder)
    /// [default: every kernel]
    #[arg(value_name = "KERNEL|MODEL")]
    name: Option<String>,
    /// best (a GPU, else a software adapter, else the CPU), auto, cpu, gpu, or part of an adapter's name
    #[arg(long, value_name = "NAME", default_value = "best")]
    device: String,
    /// Check on each adapter of this machine, then on the CPU device
    #[arg(long, conflicts_with = "device")]
    all_adapters: bool,
    /// Pictures a step of a model; its references are plain loops in f64
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch_size: usize,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Runs the cases of each kernel on the device and compares with the kernel's reference, with wgpu's bounds checks on and \
off; takes the gradient of each operation and compares with finite differences of what the device makes of its forward; of \
a model, also runs a training step dispatch by dispatch. The CPU device has its accelerated forms checked.

Columns: the worst absolute error, the worst relative one, the worst as a share of the accepted one; then in percent how \
many results are 0, 1, 2-3, ... units in the last place from the reference; the verdict; where the worst errors are. A \
result that is the small difference of large terms may be many units off and right: the verdict goes by the tolerance.

Some drivers take minutes to compile a kernel: stderr says which one is being built.

Exit code 1 if anything fails. For a bug report, send the whole output.";

/// What the argument names.
struct Scope {
    kernels: Vec<&'static Kernel>,
    model: Option<Subject>,
}

/// A device of this machine, not opened yet.
enum Target<'a> {
    Adapter(&'a wgpu::Adapter),
    Cpu,
}

/// What a device's checks found.
struct Findings {
    kernels: Vec<Report>,
    /// Kernels whose reference is all that the device runs.
    references: usize,
    /// Kernels that need what the device has not, and what that is.
    lacking: Vec<(&'static str, &'static str)>,
    /// One for each operation.
    gradients: Vec<Report>,
    /// A model's step, one for each kernel.
    step: Vec<Report>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let scope = Scope::find(self.name.as_deref(), self.batch_size)?;
        let adapters = pollster::block_on(choose::adapters());
        let targets = if self.all_adapters {
            adapters.iter().map(Target::Adapter).chain([Target::Cpu]).collect()
        } else {
            vec![choose::find(&adapters, &self.device)?.map_or(Target::Cpu, |i| Target::Adapter(&adapters[i]))]
        };
        let [version, os, arch] = [env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH];
        if !self.json {
            super::print(&format!("elbo {version}, wgpu {}, {os} {arch}", super::WGPU));
        }
        let (mut list, mut failed) = (Vec::new(), Vec::new());
        for target in &targets {
            if !self.json {
                target.print();
            }
            let found = match target.open() {
                Ok(devices) => scope.check(&devices)?,
                // Of several adapters one that cannot be opened is a finding; the one asked for is the caller's to
                // mend.
                Err(e) if targets.len() > 1 => {
                    notice(&e.to_string());
                    failed.push(format!("{} cannot be opened", target.name()));
                    list.push(json!({ "device": target.json(), "passed": false, "error": e.to_string() }));
                    continue;
                }
                Err(e) => return Err(e),
            };
            if self.json {
                list.push(found.json(target));
            } else {
                found.print(&scope);
            }
            let wrong = found.failures();
            if !wrong.is_empty() {
                failed.push(format!("on {}: {}", target.name(), wrong.join(", ")));
            }
        }
        if self.json {
            let program = json!({
                "elbo": version, "wgpu": super::WGPU, "os": os, "arch": arch,
                "passed": failed.is_empty(), "devices": list,
            });
            super::print_json(&program);
        }
        if failed.is_empty() { Ok(()) } else { Err(Error::Failed(format!("checks failed {}", failed.join("; ")))) }
    }
}

impl Target<'_> {
    fn name(&self) -> String {
        match self {
            Target::Adapter(adapter) => adapter.get_info().name,
            Target::Cpu => "cpu".into(),
        }
    }

    /// The forms to check, each with what its cases are called; the last is what users run. Errors: an adapter that
    /// cannot be opened.
    fn open(&self) -> Result<Vec<(&'static str, Device)>> {
        let Target::Adapter(adapter) = self else { return Ok(vec![("", Device::Cpu(Cpu::Accelerated))]) };
        let open = |checks| {
            let gpu = pollster::block_on(Gpu::open(adapter, Options { checks, form: Form::Suited }))?;
            Ok(Device::Gpu(Arc::new(gpu)))
        };
        Ok(vec![("checks on", open(Checks::On)?), ("checks off", open(Checks::Off)?)])
    }

    fn print(&self) {
        match self {
            Target::Adapter(adapter) => {
                let info = adapter.get_info();
                super::print(&format!("\n{}, device {:04x}:{:04x}", choose::describe(&info), info.vendor, info.device));
                super::print(&format!("    {}", devices::limits(adapter)));
            }
            Target::Cpu => {
                super::print(&format!("\n{}, accelerated forms", Device::Cpu(Cpu::Accelerated).description()));
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Target::Adapter(adapter) => devices::json(adapter),
            Target::Cpu => devices::cpu_json(),
        }
    }
}

impl Scope {
    /// Errors: neither a kernel nor a model, with the nearest.
    fn find(name: Option<&str>, batch_size: usize) -> Result<Scope> {
        let Some(name) = name else { return Ok(Scope { kernels: kernels::ALL.to_vec(), model: None }) };
        if let Ok(kernels) = kernels::find(name) {
            return Ok(Scope { kernels, model: None });
        }
        let presets = presets::all().map(|(_, preset)| preset.name);
        if !Path::new(name).exists() && !presets.clone().any(|preset| preset == name) {
            let known = kernels::ALL.iter().flat_map(|kernel| [kernel.name, kernel.stem()]).chain(presets);
            let hint = nearest(name, known).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            return Err(Error::Usage(format!("`{name}` is no kernel, no preset and no run folder{hint}")));
        }
        let model = Subject::open(name, Some(batch_size))?;
        let names: HashSet<&str> = model.step.steps.iter().map(|step| step.kernel.name).collect();
        let kernels = kernels::ALL.iter().copied().filter(|kernel| names.contains(kernel.name)).collect();
        Ok(Scope { kernels, model: Some(model) })
    }

    /// Runs all checks. Errors: no room for the model on the device.
    fn check(&self, devices: &[(&'static str, Device)]) -> Result<Findings> {
        let suited = &devices.last().expect("a target opens a device").1;
        let is_cpu = matches!(suited, Device::Cpu(_));
        let lacking: Vec<_> =
            self.kernels.iter().filter_map(|kernel| suited.lacks(kernel).map(|what| (kernel.name, what))).collect();
        let is_there = |kernel: &Kernel| lacking.iter().all(|(name, _)| *name != kernel.name);
        let kernels: Vec<_> =
            self.kernels.iter().filter(|k| is_there(k) && (!is_cpu || k.accelerated.is_some())).collect();
        let operations: Vec<_> = kernels::gradients().into_iter().map(|case| (case.recorded(), case)).collect();
        let is_wanted = |name| self.kernels.iter().any(|kernel| kernel.name == name);
        let operations: Vec<_> =
            operations.iter().filter(|(r, _)| r.program.steps.iter().any(|s| is_wanted(s.kernel.name))).collect();

        let dispatches = self.model.as_ref().map_or(0, |model| model.step.steps.len());
        let bar = ProgressBar::new((kernels.len() + operations.len() + dispatches) as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}").expect("a valid template"));
        // Also while a driver compiles, when nothing else moves.
        bar.enable_steady_tick(Duration::from_millis(200));
        let mut found = Findings {
            kernels: vec![],
            references: self.kernels.len() - kernels.len() - lacking.len(),
            lacking: lacking.clone(),
            gradients: vec![],
            step: vec![],
        };
        for kernel in kernels {
            building(&bar, kernel.name, || report::build(kernel, devices));
            bar.set_message(kernel.name);
            found.kernels.push(report::kernel(kernel, devices, |_| true)?);
            bar.inc(1);
        }
        for (recorded, case) in operations {
            build(&bar, suited, &recorded.program.steps);
            bar.set_message(case.label.clone());
            let mut report = Report::new(&case.label);
            match gradient::measure(suited, case, recorded) {
                Ok(inputs) => {
                    let named: Vec<String> = (0..inputs.len()).map(|i| format!("d input {i}")).collect();
                    let outputs = named.iter().map(String::as_str).zip(&inputs);
                    report.add("", outputs, gradient::failure(case, &inputs));
                }
                Err(e) => report.add("", [], Some(format!("{}: {e}", case.label))),
            }
            found.gradients.push(report);
            bar.inc(1);
        }
        if let Some(model) = &self.model {
            build(&bar, suited, &model.step.steps);
            found.step = self.kernels.iter().map(|kernel| Report::new(kernel.name)).collect();
            lockstep::run(model, suited, None, &mut |dispatch| {
                bar.set_message(dispatch.kernel.name);
                let report = found.step.iter_mut().find(|report| report.name == dispatch.kernel.name);
                let outputs = dispatch.outputs.iter().map(|o| (o.tensor.as_str(), &o.comparison));
                let label = format!("dispatch {}", dispatch.index + 1);
                report.expect("a report for each kernel").add(&label, outputs, dispatch.difference());
                bar.inc(1);
                true
            })?;
        }
        bar.finish_and_clear();
        Ok(found)
    }
}

/// Until it is said, even where no bar is drawn, what a driver is busy with.
const PATIENCE: Duration = Duration::from_secs(10);

/// Builds the pipelines of the dispatches. What a driver refuses is left to the checks.
fn build(bar: &ProgressBar, device: &Device, steps: &[Step]) {
    for step in steps {
        let program = Program { name: step.kernel.name.into(), steps: vec![step.clone()] };
        building(bar, step.kernel.name, || {
            let _ = catch_unwind(AssertUnwindSafe(|| pollster::block_on(device.backend().prepare(&[&program]))));
        });
    }
}

/// Says on the bar what is being built, and where it takes long in a line too.
fn building(bar: &ProgressBar, name: &str, work: impl FnOnce()) {
    bar.set_message(format!("building {name}"));
    let late =
        |waited: Duration| bar.suspend(|| notice(&format!("{name}: still being built after {} s", waited.as_secs())));
    patiently(PATIENCE, late, work);
}

/// Does the work, and calls `late` once if it takes longer than `patience`.
fn patiently<T>(patience: Duration, late: impl FnOnce(Duration) + Send, work: impl FnOnce() -> T) -> T {
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if wait.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                late(patience);
            }
        });
        let result = work();
        drop(done);
        result
    })
}

// ---- Showing it

impl Findings {
    fn reports(&self) -> impl Iterator<Item = &Report> {
        self.kernels.iter().chain(&self.gradients).chain(&self.step)
    }

    /// What failed, each once.
    fn failures(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for report in self.reports().filter(|report| !report.passed()) {
            if !names.contains(&report.name.as_str()) {
                names.push(&report.name);
            }
        }
        names
    }

    fn json(&self, target: &Target) -> Value {
        json!({
            "device": target.json(), "passed": self.failures().is_empty(), "kernels": self.kernels,
            "without_another_form": self.references, "not_run": self.lacking, "gradients": self.gradients, "step": self.step,
        })
    }

    fn print(&self, scope: &Scope) {
        super::print(&reports("kernel", &self.kernels, true));
        if self.references > 0 {
            super::print(&format!(
                "{} more kernels have no accelerated form: this device runs their references.",
                self.references
            ));
        }
        for (kernel, what) in &self.lacking {
            super::print(&format!("{kernel:<28} not run: it needs {what}, which this device has not"));
        }
        if !self.gradients.is_empty() {
            super::print("");
            super::print(&reports("gradient of", &self.gradients, false));
        }
        if let Some(model) = &scope.model {
            super::print("");
            super::print(&reports(&format!("in a step of {}", model.name), &self.step, true));
        }
        super::print("");
        for failure in self.reports().flat_map(|report| &report.failures) {
            super::print(failure);
        }
        let (runs, failed) = self.reports().fold((0, 0), |(runs, failed), r| (runs + r.cases, failed + r.failed));
        super::print(&match failed {
            0 => format!("{runs} comparisons, all within their tolerances"),
            _ => format!("{failed} of {runs} comparisons failed"),
        });
    }
}

/// A table of reports. Finite differences are no numbers to count units in the last place of.
fn reports(of: &str, reports: &[Report], with_ulps: bool) -> String {
    let buckets = BUCKETS.iter().filter(|_| with_ulps).map(|&(label, _)| (label, Column::Right));
    let errors = ["cases", "absolute", "relative", "accepted"].map(|head| (head, Column::Right));
    let last = [("verdict", Column::Left), ("worst at", Column::Left)];
    let heads: Vec<_> = [(of, Column::Left)].into_iter().chain(errors).chain(buckets).chain(last).collect();
    let row = |report: &Report| {
        let error = |place: &Option<Place>| place.as_ref().map_or("-".into(), |p| short(p.error));
        let mut row = vec![report.name.clone(), report.cases.to_string()];
        row.extend([error(&report.absolute), error(&report.relative)]);
        row.push(format!("{} %", percent(report.of_accepted as f64)));
        if with_ulps {
            row.extend(report.ulps.shares().map(percent));
        }
        row.push(if report.passed() { "ok".into() } else { format!("{} FAILED", report.failed) });
        row.push(worst(report));
        row
    };
    table(&heads, &reports.iter().map(row).collect::<Vec<_>>())
}

/// Where the worst errors are, if there are any.
fn worst(report: &Report) -> String {
    let errors = [("absolute", &report.absolute), ("relative", &report.relative)];
    let places = errors.iter().filter_map(|(name, place)| {
        place.as_ref().filter(|place| place.error > 0.0).map(|place| format!("{name} {place}"))
    });
    places.collect::<Vec<_>>().join("; ")
}

fn short(error: f32) -> String {
    if error == 0.0 { "0".into() } else { format!("{error:.1e}") }
}

/// A share in percent; a point for none.
fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => ".".into(),
        p if p < 0.05 => "<0.1".into(),
        p if p < 99.95 => format!("{p:.1}"),
        p => format!("{p:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_that_takes_long_is_named_and_once() {
        let heard = |work: Duration| {
            let mut heard = 0;
            patiently(Duration::from_millis(30), |_| heard += 1, || thread::sleep(work));
            heard
        };
        assert_eq!((heard(Duration::from_millis(200)), heard(Duration::ZERO)), (1, 0));
    }
}
