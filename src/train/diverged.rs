//! Where a run went wrong: replays the step whose loss is not finite, dispatch by dispatch, and names the first tensor
//! that holds a NaN or an infinity. The replay is exact, because a run is deterministic on its device.

use crate::arena::Arena;
use crate::backend::{Backend, Loaded};
use crate::error::Result;
use crate::program::Program;
use crate::tensor::Tensor;

/// What kernels call tensors of whole numbers: seeds and counts, places, orders. Their bits can look like a NaN.
const INTEGERS: [&str; 4] = ["clock", "moment", "order", "index"];

/// The name of the tensor, and where in it element `i` is; in a flat one the parameter's.
fn place(arena: &Arena, tensor: Tensor, i: usize) -> (String, String) {
    let name = arena.name(tensor);
    let shaped = |i: usize, tensor: Tensor| format!("{i} of {:?}", tensor.shape());
    let is_flat = tensor.shape() == arena.flat_parameters().shape();
    let own = arena.parameters().iter().find(|p| (p.value.offset..p.value.offset + p.value.len()).contains(&i));
    match own.filter(|_| is_flat) {
        Some(p) => (format!("{}, of the {name}", p.name), shaped(i - p.value.offset, p.value)),
        None => (name, shaped(i, tensor)),
    }
}

/// Runs the program once, one dispatch at a time. The text names tensor, element, kernel and layer; `None`: everything
/// it wrote is finite. Errors: a device that is lost or has no room.
pub async fn first_offender(backend: &mut Backend, arena: &Arena, program: &Program) -> Result<Option<String>> {
    for step in &program.steps {
        let one = Program { name: step.kernel.name.into(), steps: vec![step.clone()] };
        let loaded: Loaded = backend.load_async(arena, &one).await?;
        backend.run_async(&[(loaded, 1)], &mut |_| true).await?;
        let values = backend.read_async(&step.writes).await?;
        for ((tensor, values), name) in step.writes.iter().zip(values).zip(step.kernel.writes) {
            if INTEGERS.contains(name) {
                continue;
            }
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                let scope = if step.scope.is_empty() { "the step" } else { &step.scope };
                let (place, i) = place(arena, *tensor, i);
                return Ok(Some(format!(
                    "{place} (element {i} is {}), written as {name} by {} in {scope}",
                    values.iter().find(|v| !v.is_finite()).expect("one was found"),
                    step.kernel.name,
                )));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Device, cpu::Cpu};
    use crate::kernels::clock::{Clock, Row};
    use crate::kernels::{adam, clock};
    use crate::program::Recorder;

    /// A step that counts on, then moves two parameters of which the second is infinite, in a clock whose seed is a
    /// NaN.
    fn offender(seed: u64, second: f32) -> Option<String> {
        let mut arena = Arena::new();
        let parameters = [arena.parameter("fc1.weight", &[3, 5]), arena.parameter("fc2.bias", &[4])];
        let [p, grad] = [arena.flat_parameters(), arena.flat_gradients()];
        let [m, v] = ["exp_avg", "exp_avg_sq"].map(|name| arena.tensor(name, p.shape()));
        let time = Clock::tensor(&mut arena, "train.clock", 2);
        let mut r = Recorder::new(&mut arena);
        clock::tick(&mut r, time);
        r.scope("optimizer");
        let adam = adam::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, decoupled: false };
        adam::forward(&mut r, adam, grad, time, [p, m, v]);
        let program = r.finish("step");
        let mut backend = Device::Cpu(Cpu::Reference).backend();
        backend.load(&arena, &program).unwrap();
        let row = || Row { lr: 0.1, kl_weight: 1.0, ..Row::default() };
        let clock = Clock { seed, step: u32::MAX - 1, batch: 0, epoch: 0, rows: vec![row(), row()] };
        backend.write_words(time, &clock.words());
        let mut values = vec![0.0; p.len()];
        values[parameters[1].value.offset + 2] = second;
        backend.write(p, &values);
        pollster::block_on(first_offender(&mut backend, &arena, &program)).unwrap()
    }

    #[test]
    fn a_clock_is_no_culprit_and_a_parameter_is_called_by_its_name() {
        assert_eq!(offender(u64::MAX, 0.0), None);
        // Its decay, 0 times infinity, is no number.
        let found = offender(u64::MAX, f32::INFINITY).unwrap();
        assert!(found.starts_with("fc2.bias, of the parameters (element 2 of [4] is NaN)"), "{found}");
    }
}
