//! `elbo lockstep`

use elbo::backend::{Device, choose};
use elbo::error::{Error, Result};
use elbo::fusion::Fusion;
use elbo::instruments::faults::{self, FAULTS, Fault, Verdict};
use elbo::instruments::lockstep::{self, Dispatch, Output};
use elbo::instruments::subject::Subject;
use elbo::messages::notice;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::table::{Column, table};

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A preset, or the folder of a run for its settings
    #[arg(value_name = "MODEL", required_unless_present = "faults")]
    model: Option<String>,
    /// Go on after a difference, to the end of the step, and print every dispatch
    #[arg(long)]
    all: bool,
    /// Put a known mistake into a kernel first; a kernel alone takes its first one
    #[arg(long = "break", value_name = "KERNEL[:FAULT]")]
    fault: Option<String>,
    /// List the mistakes that --break knows
    #[arg(long)]
    faults: bool,
    /// Look at the step with fused kernels, as it trains, and not as the model records it
    #[arg(long)]
    fused: bool,
    /// best (a GPU, else a software adapter, else the CPU), auto, cpu, gpu, or part of an adapter's name
    #[arg(long, value_name = "NAME", default_value = "best")]
    device: String,
    /// Pictures a step; the references are plain loops in f64
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch_size: usize,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
The first step of training on drawn pictures. Before each dispatch the device gets the references' values of all that \
it reads or updates, so an error cannot travel: the kernel that is named is the one that is wrong. Values are compared \
with the tolerance of the kernel's cases, in units of the largest number of the tensor.

    elbo lockstep mnist-mlp --all
    elbo lockstep mnist-mlp --break adam.forward           # which instruments notice?
    elbo lockstep mnist-mlp --break matmul.backward_w:assign

With --break the kernel runs in its portable form, and its cases and finite differences are asked too.
Exit code 1 if something differs.";

impl Args {
    pub fn run(self) -> Result<()> {
        if self.faults {
            list_faults(self.json);
            return Ok(());
        }
        let fault = self.fault.as_deref().map(faults::find).transpose()?;
        let model = Subject::open(self.model.as_deref().expect("clap asks for it"), Some(self.batch_size))?;
        let device = choose::open(&self.device)?;
        notice(&format!("device: {}", device.description()));
        let model = if self.fused { model.fused(Fusion::of(&device)) } else { model };
        let steps = model.step.steps.len();
        let bar = ProgressBar::new(steps as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("a valid template"));

        let broken = fault.map(|fault| (fault, fault.broken()));
        let mut verdicts = Vec::new();
        if let Some((_, broken)) = broken {
            bar.set_message("cases");
            verdicts.push(faults::by_cases(broken, &device)?);
            bar.set_message("finite differences");
            verdicts.push(faults::by_gradients(broken, &device)?);
        }
        let dispatches = lockstep::run(&model, &device, broken.map(|(_, kernel)| kernel), &mut |dispatch| {
            bar.set_message(dispatch.kernel.name);
            bar.inc(1);
            self.all || dispatch.agrees()
        })?;
        bar.finish_and_clear();

        let first = dispatches.iter().find_map(Dispatch::difference);
        if let Some((fault, _)) = broken {
            verdicts.push(by_lockstep(fault, &model, first.clone()));
        }
        if self.json {
            let object = json!({
                "model": model.name, "batch_size": self.batch_size, "device": device.description(),
                "steps": steps, "agrees": first.is_none(), "first_difference": first,
                "dispatches": dispatches.iter().map(dispatch_json).collect::<Vec<_>>(),
                "fault": fault.map(fault_json),
                "instruments": verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
            });
            super::print_json(&object);
        } else {
            if self.all {
                print_table(&dispatches);
            }
            if let Some(fault) = fault {
                print_verdicts(fault, &verdicts);
            }
        }
        self.verdict(&model, &device, &dispatches, first, &verdicts)
    }

    /// The last line, or the error.
    fn verdict(
        &self,
        model: &Subject,
        device: &Device,
        dispatches: &[Dispatch],
        first: Option<String>,
        verdicts: &[Verdict],
    ) -> Result<()> {
        let noticed: Vec<&str> = verdicts.iter().filter(|v| v.noticed == Some(true)).map(|v| v.instrument).collect();
        if !noticed.is_empty() {
            return Err(Error::Failed(format!("a broken kernel, noticed by {}", noticed.join(", "))));
        }
        if let Some(first) = first {
            let differ = dispatches.iter().filter(|dispatch| !dispatch.agrees()).count();
            let count = if self.all {
                format!("{differ} of {} dispatches differ, the first: ", dispatches.len())
            } else {
                String::new()
            };
            return Err(Error::Failed(format!("{count}{first}")));
        }
        if !self.json {
            super::print(&format!(
                "{} dispatches agree: a step of {} with {} pictures on {}",
                dispatches.len(),
                model.name,
                self.batch_size,
                device.description()
            ));
        }
        Ok(())
    }
}

/// What running in lockstep says of a broken kernel.
fn by_lockstep(fault: &Fault, model: &Subject, first: Option<String>) -> Verdict {
    let times = model.step.steps.iter().filter(|step| step.kernel.name == fault.kernel.name).count();
    let noticed = (times > 0).then_some(first.is_some());
    let what = match (times, first) {
        (0, _) => format!("a step of {} does not dispatch it", model.name),
        (_, Some(first)) => first,
        (times, None) => format!("{times} dispatches of it agree with the reference"),
    };
    Verdict { instrument: "lockstep", noticed, what }
}

// ---- Showing it

fn list_faults(json: bool) {
    if json {
        let list: Vec<Value> = FAULTS.iter().map(fault_json).collect();
        super::print_json(&list);
        return;
    }
    for fault in FAULTS {
        super::print(&format!("{:<40} {}", fault.id(), fault.about));
    }
}

fn print_table(dispatches: &[Dispatch]) {
    let left = ["layer", "kernel", "tensor"].map(|head| (head, Column::Left));
    let right = ["absolute", "relative", "accepted"].map(|head| (head, Column::Right));
    let heads: Vec<_> =
        [("#", Column::Right)].into_iter().chain(left).chain(right).chain([("", Column::Left)]).collect();
    let mut rows = Vec::new();
    for dispatch in dispatches {
        for (i, output) in dispatch.outputs.iter().enumerate() {
            // A dispatch is named once.
            let mut row = match i {
                0 => vec![(dispatch.index + 1).to_string(), dispatch.scope.clone(), dispatch.kernel.name.into()],
                _ => vec![String::new(); 3],
            };
            let Output { tensor, shape, comparison, difference, .. } = output;
            row.push(format!("{tensor} {shape:?}"));
            row.extend([comparison.absolute.error, comparison.relative.error].map(|error| format!("{error:.1e}")));
            row.push(format!("{:.1} %", 100.0 * comparison.of_accepted));
            row.push(if difference.is_some() { "DIFFERS".into() } else { "agrees".into() });
            rows.push(row);
        }
    }
    super::print(&table(&heads, &rows));
}

fn print_verdicts(fault: &Fault, verdicts: &[Verdict]) {
    super::print(&format!("{}: {}", fault.id(), fault.about));
    for Verdict { instrument, noticed, what } in verdicts {
        super::print(&format!("    {:<20} {:<10} {what}", instrument, answer(*noticed)));
    }
    super::print(&format!("    {}", fault.lesson));
}

fn answer(noticed: Option<bool>) -> &'static str {
    match noticed {
        Some(true) => "notices",
        Some(false) => "is content",
        None => "is blind",
    }
}

fn fault_json(fault: &Fault) -> Value {
    json!({
        "id": fault.id(), "kernel": fault.kernel.name, "name": fault.name, "about": fault.about,
        "lesson": fault.lesson, "shows_in_a_step": fault.shows_in_a_step,
    })
}

fn verdict_json(verdict: &Verdict) -> Value {
    json!({ "instrument": verdict.instrument, "noticed": verdict.noticed, "what": verdict.what })
}

fn dispatch_json(dispatch: &Dispatch) -> Value {
    let output = |output: &Output| {
        let Output { binding, tensor, shape, tolerance, comparison: c, difference } = output;
        json!({
            "binding": binding, "tensor": tensor, "shape": shape, "tolerance": format!("{tolerance:?}"),
            "absolute": c.absolute.error, "relative": c.relative.error, "of_accepted": c.of_accepted,
            "ulps": c.ulps.counts, "difference": difference,
        })
    };
    json!({
        "dispatch": dispatch.index + 1, "kernel": dispatch.kernel.name, "layer": dispatch.scope,
        "agrees": dispatch.agrees(), "outputs": dispatch.outputs.iter().map(output).collect::<Vec<_>>(),
    })
}
