//! Where a run went wrong: replays the step whose loss is not finite, dispatch by dispatch, and names the first tensor
//! that holds a NaN or an infinity. The replay is exact, because a run is deterministic on its device.

use crate::arena::Arena;
use crate::backend::{Backend, Loaded};
use crate::error::Result;
use crate::program::Program;

/// Runs the program once, one dispatch at a time. The text names tensor, element, kernel and layer; `None`: everything it
/// wrote is finite. Errors: a device that is lost or has no room.
pub fn first_offender(backend: &mut Backend, arena: &Arena, program: &Program) -> Result<Option<String>> {
    for step in &program.steps {
        let one = Program { name: step.kernel.name.into(), steps: vec![step.clone()] };
        let loaded: Loaded = backend.load(arena, &one)?;
        backend.run(&[(loaded, 1)])?;
        // Kernels that write integers (the clock, an order) are no place for a NaN.
        if matches!(step.kernel.stem(), "clock" | "shuffle") {
            continue;
        }
        let values = backend.read(&step.writes)?;
        for ((tensor, values), name) in step.writes.iter().zip(values).zip(step.kernel.writes) {
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                let scope = if step.scope.is_empty() { "the step" } else { &step.scope };
                return Ok(Some(format!(
                    "{} (element {i} of {:?} is {}), written as {name} by {} in {scope}",
                    arena.name(*tensor),
                    tensor.shape(),
                    values[i],
                    step.kernel.name,
                )));
            }
        }
    }
    Ok(None)
}
