//! `elbo plan`

use elbo::error::Result;
use elbo::instruments::plan::{Dispatch, Group, Operand, Plan, plan};
use elbo::instruments::rounds::{Rounds, rounds};
use elbo::instruments::subject::Subject;
use elbo::units;

use super::shared::SubjectArgs;
use super::table::{Column, table};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let (subject, device) = self.subject.open()?;
        let plan = plan(&subject, &device);
        if self.json {
            super::print_json(&serde_json::json!({
                "model": subject.name,
                "batch_size": subject.settings.batch_size,
                "device": device.description(),
                "plan": plan,
            }));
            return Ok(());
        }
        print(&subject, &plan);
        Ok(())
    }
}

fn print(subject: &Subject, plan: &Plan) {
    let Plan { dispatches, flops, bytes, memory, groups, largest_buffer, largest_binding, problems } = plan;
    super::print(&format!("{}, {}: {} dispatches", subject.name, subject.step.name, dispatches.len()));
    super::print("");
    let heads = [
        ("#", Column::Right),
        ("layer", Column::Left),
        ("kernel", Column::Left),
        ("grid x workgroup", Column::Left),
        ("FLOP", Column::Right),
        ("bytes", Column::Right),
        ("FLOP/B", Column::Right),
        ("reads -> writes", Column::Left),
    ];
    super::print(&table(&heads, &rows(dispatches)));
    super::print("");
    super::print(&format!(
        "a step at least: {}FLOP and {}B, {:.1} FLOP a byte",
        units::metric(*flops as f64),
        units::metric(*bytes as f64),
        *flops as f64 / *bytes as f64
    ));
    super::print("");
    super::print(&format!("memory: {} in all, without a data set's own pictures", units::memory(*memory)));
    groups.iter().for_each(print_group);
    super::print("");
    if *largest_binding == usize::MAX {
        super::print("limits: the CPU device takes what the system has");
    } else {
        super::print(&format!(
            "limits: a buffer has at most {}, and a kernel sees at most {} of it",
            units::memory(*largest_buffer),
            units::memory(*largest_binding)
        ));
    }
    if problems.is_empty() {
        super::print("every buffer fits");
    }
    for problem in problems {
        super::print(&format!("DOES NOT FIT: {problem}"));
    }
}

/// A row a dispatch; of a loop those of one round, and a row that says how often they come.
fn rows(dispatches: &[Dispatch]) -> Vec<Vec<String>> {
    let shapes = |d: &Dispatch| {
        let of = |operands: &[Operand]| operands.iter().map(|operand| operand.shape.clone()).collect::<Vec<_>>();
        (d.kernel, d.layer.clone(), d.grid, [of(&d.reads), of(&d.writes)])
    };
    let shapes: Vec<_> = dispatches.iter().map(shapes).collect();
    let of_round = |round: Rounds| {
        let mut rows: Vec<Vec<String>> = dispatches[round.first.clone()].iter().map(row).collect();
        if round.times > 1 {
            let all = &dispatches[round.first.start..round.end()];
            let sum = |of: fn(&Dispatch) -> u64| all.iter().map(of).sum::<u64>() as f64;
            let (flops, bytes) = (sum(|d| d.flops), sum(|d| d.bytes));
            let told = match round.first.len() {
                1 => format!("this one {} times", round.times),
                length => format!("these {length} together {} times", round.times),
            };
            let empty = String::new();
            let [flops_told, bytes_told] = [flops, bytes].map(units::metric);
            let intensity = format!("{:.2}", flops / bytes);
            let end = format!("to {}", round.end());
            rows.push(vec![end, empty.clone(), told, empty.clone(), flops_told, bytes_told, intensity, empty]);
        }
        rows
    };
    rounds(dispatches.len(), |a, b| shapes[a] == shapes[b]).into_iter().flat_map(of_round).collect()
}

fn row(dispatch: &Dispatch) -> Vec<String> {
    let sizes = |[x, y, z]: [u32; 3]| match [y, z] {
        [1, 1] => x.to_string(),
        [_, 1] => format!("({x},{y})"),
        _ => format!("({x},{y},{z})"),
    };
    let grid = dispatch.grid.zip(dispatch.workgroup);
    let names =
        |operands: &[Operand]| operands.iter().map(|operand| operand.to_string()).collect::<Vec<_>>().join(", ");
    vec![
        dispatch.number.to_string(),
        dispatch.layer.clone(),
        dispatch.kernel.into(),
        grid.map_or(dispatch.form.clone(), |(grid, workgroup)| format!("{} x {}", sizes(grid), sizes(workgroup))),
        units::metric(dispatch.flops as f64),
        units::metric(dispatch.bytes as f64),
        format!("{:.2}", dispatch.intensity),
        format!("{} -> {}", names(&dispatch.reads), names(&dispatch.writes)).trim_start().into(),
    ]
}

fn print_group(group: &Group) {
    super::print(&format!("  {}: {}", group.name, units::memory(group.bytes)));
    // Each round of a loop has tensors of its own.
    for same in group.tensors.chunk_by(|a, b| (&a.name, a.bytes) == (&b.name, b.bytes)) {
        let times = if same.len() > 1 { format!(", {} of them", same.len()) } else { String::new() };
        super::print(&format!("    {:>10}  {}{times}", units::memory(same[0].bytes), same[0].name));
    }
}
