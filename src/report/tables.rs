//! The sections that are tables: what came out, parameters, the plan of the step, settings, machine.

use super::html::{details, number, section, table};
use crate::error::Result;
use crate::instruments::plan::{Operand, Plan};
use crate::instruments::subject::Subject;
use crate::train::checkpoint::Checkpoint;
use crate::train::history::History;
use crate::train::run_folder::RunFolder;
use crate::units;

/// Dispatches that are listed; `elbo plan` has them all.
const MOST_DISPATCHES: usize = 150;

/// What the run came to.
pub fn outcome(history: &History) -> String {
    let settings = &history.record.settings;
    let mut rows = vec![
        vec!["model".to_string(), settings.model.clone()],
        vec!["data".into(), history.record.dataset.clone()],
        vec!["epochs".into(), format!("{} of {}", history.rows.len(), settings.epochs)],
        vec!["started".into(), history.record.started.clone()],
        vec!["seconds in all epochs".into(), format!("{:.1}", history.seconds())],
    ];
    if let (Some(last), Some(best)) = (history.rows.last(), history.best()) {
        rows.push(vec!["test loss of the last epoch".into(), number(last.test.loss)]);
        rows.push(vec!["lowest test loss".into(), format!("{}, of epoch {}", number(best.test.loss), best.epoch)]);
    }
    section("What came out", &table(&["", ""], &rows))
}

/// The size of each parameter, and of its gradient as far as the optimiser remembers it. `None` before there is a
/// state.
pub fn parameters(folder: &RunFolder, subject: &Subject) -> Result<Option<String>> {
    let path = folder.state();
    if !path.exists() {
        return Ok(None);
    }
    let state = Checkpoint::read(&path)?;
    let flat = subject.arena.flat_parameters().len();
    // Adam's mean of squared gradients; SGD has none of squares.
    let squares = state.tensor("exp_avg_sq", &[flat], &path).ok();
    let mut values = std::collections::HashMap::new();
    state.for_each_of_model(&subject.arena, &path, |tensor, read| {
        values.insert((tensor.buffer, tensor.offset), read);
    })?;
    let row = |parameter: &crate::arena::Parameter| {
        let tensor = parameter.value;
        let own = &values[&(tensor.buffer, tensor.offset)];
        let rms =
            |values: &[f32]| (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        let largest = own.iter().fold(0f32, |most, v| most.max(v.abs()));
        let gradient = squares.map(|squares| {
            let squares = &squares[tensor.offset..][..tensor.len()];
            (squares.iter().map(|v| f64::from(*v)).sum::<f64>() / squares.len() as f64).sqrt()
        });
        let shape = tensor.shape().iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        vec![
            parameter.name.clone(),
            shape,
            number(rms(own)),
            number(f64::from(largest)),
            gradient.map_or("-".into(), number),
        ]
    };
    let rows: Vec<Vec<String>> = subject.arena.parameters().iter().map(row).collect();
    let told = match squares {
        Some(_) => {
            "The gradient is the root of Adam's running mean of squares, its last steps: 0 is a parameter that \
                    nothing reaches."
        }
        None => "This optimiser keeps no size of the gradients.",
    };
    let heads = ["parameter", "shape", "root mean square", "largest", "gradient (rms)"];
    Ok(Some(format!("<p>{told}</p>{}", table(&heads, &rows))))
}

/// The dispatches of a step and their least operations and bytes.
pub fn plan(plan: &Plan) -> String {
    let names = |operands: &[Operand]| operands.iter().map(Operand::to_string).collect::<Vec<_>>().join(", ");
    let row = |d: &crate::instruments::plan::Dispatch| {
        vec![
            d.number.to_string(),
            d.layer.clone(),
            d.kernel.to_string(),
            units::metric(d.flops as f64),
            units::metric(d.bytes as f64),
            format!("{} → {}", names(&d.reads), names(&d.writes)),
        ]
    };
    let rows: Vec<Vec<String>> = plan.dispatches.iter().take(MOST_DISPATCHES).map(row).collect();
    let more = match plan.dispatches.len() {
        all if all > MOST_DISPATCHES => format!("<p>The first {MOST_DISPATCHES}; elbo plan lists all {all}.</p>"),
        _ => String::new(),
    };
    format!(
        "<p>{} dispatches a step, at least {}FLOP and {}B; {} of memory without the data.</p>{}",
        plan.dispatches.len(),
        units::metric(plan.flops as f64),
        units::metric(plan.bytes as f64),
        units::memory(plan.memory),
        details(
            "The dispatches",
            &(table(&["#", "layer", "kernel", "FLOP", "bytes", "reads → writes"], &rows) + &more)
        )
    )
}

/// Every setting of the run.
pub fn settings(history: &History) -> String {
    let settings = history.record.settings.to_table();
    let rows: Vec<Vec<String>> = settings.iter().map(|(key, value)| vec![key.clone(), value.to_string()]).collect();
    table(&["key", "value"], &rows)
}

/// On what it ran.
pub fn machine(history: &History) -> String {
    let record = &history.record;
    let unknown = || "unknown".to_string();
    let rows = [
        ("device", record.device.clone()),
        ("driver", record.driver.clone()),
        ("backend", record.backend.clone()),
        ("elbo", record.elbo.clone()),
        ("wgpu", record.wgpu.clone()),
        ("revision of the source", record.git.clone().unwrap_or_else(unknown)),
    ];
    table(&["", ""], &rows.map(|(name, value)| vec![name.to_string(), value]))
}
