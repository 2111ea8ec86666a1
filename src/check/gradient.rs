//! Backward against finite differences of the forward.

use super::close::{self, Comparison, Mismatch};
use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};
use crate::cases::{GradientCase, Tolerance, uniform};
use crate::error::Result;
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;

/// Central differences with this step: the rounding of f32 outputs (6e-8 / STEP) and the truncation (STEP^2 / 6)
/// are both below 1e-4 for outputs of size 1.
const STEP: f32 = 4e-3;

/// What the two errors add up to over the cases' sums of up to a hundred terms.
const TOLERANCE: Tolerance = Tolerance::Because(2e-3, "f32 rounding over the step, plus the third derivative");

/// A case's program and the tensors it works on.
pub struct Recorded {
    /// Forward, then backward.
    pub program: Program,
    arena: Arena,
    state: Vec<Tensor>,
    inputs: Vec<Tensor>,
    dy: Tensor,
    y: Tensor,
    gradients: Vec<Tensor>,
}

impl GradientCase {
    /// Records the case in an arena of its own. Panics where y has not the shape that is declared.
    pub fn recorded(&self) -> Recorded {
        let mut arena = Arena::new();
        let state: Vec<Tensor> = self.state.iter().map(|(name, words)| arena.tensor(*name, &[words.len()])).collect();
        let inputs: Vec<Tensor> = self.inputs.iter().map(|(shape, _)| arena.tensor("input", shape)).collect();
        let dy = arena.tensor("dy", &self.output);
        let mut recorder = Recorder::new(&mut arena);
        let arguments: Vec<Tensor> = inputs.iter().chain(&state).copied().collect();
        let (y, gradients) = (self.record)(&mut recorder, &arguments, dy);
        let program = recorder.finish(&self.label);
        assert!(y.shape() == self.output, "{}: y is {y:?}, expected {:?}", self.label, self.output);
        Recorded { program, arena, state, inputs, dy, y, gradients }
    }
}

/// Runs the case on `device` and compares the gradient of each input with finite differences of what the same device
/// makes of the forward: a comparison for each input. Errors: the device cannot load the case's kernels, or is lost.
pub fn measure(device: &Device, case: &GradientCase, recorded: &Recorded) -> Result<Vec<Comparison>> {
    let Recorded { program, arena, state, inputs, dy, y, gradients } = recorded;
    let mut backend = device.backend();
    let loaded = backend.load(arena, program)?;
    // Away from 0: a gradient that is multiplied by next to nothing would hide its mistakes in the tolerance.
    let weights: Vec<f32> =
        uniform(77, dy.len(), -1.0, 1.0).into_iter().map(|v| (0.5 + 0.5 * v.abs()).copysign(v)).collect();
    backend.write(*dy, &weights);
    for (tensor, (_, words)) in state.iter().zip(&case.state) {
        backend.write_words(*tensor, words);
    }
    for (tensor, (_, values)) in inputs.iter().zip(&case.inputs) {
        backend.write(*tensor, values);
    }
    backend.run(&[(loaded, 1)])?;
    let analytic = backend.read(gradients)?;

    let mut comparisons = Vec::new();
    // ANCHOR: difference
    for (index, (_, values)) in case.inputs.iter().enumerate() {
        let mut moved = values.clone();
        let mut numeric = Vec::with_capacity(values.len());
        for element in 0..values.len() {
            let mut objective = |shift: f32| -> Result<f64> {
                moved[element] = values[element] + shift;
                backend.write(inputs[index], &moved);
                backend.run(&[(loaded, 1)])?;
                let y = backend.read_one(*y)?;
                Ok(y.iter().zip(&weights).map(|(y, w)| *y as f64 * *w as f64).sum())
            };
            let width = ((values[element] + STEP) as f64) - ((values[element] - STEP) as f64);
            numeric.push(((objective(STEP)? - objective(-STEP)?) / width) as f32);
            moved[element] = values[element];
        }
        backend.write(inputs[index], values);
        comparisons.push(close::measure(&analytic[index], &numeric, TOLERANCE, 1.0));
    }
    // ANCHOR_END: difference
    Ok(comparisons)
}

/// The message of the first input whose gradient is wrong.
pub fn failure(case: &GradientCase, comparisons: &[Comparison]) -> Option<String> {
    let (index, m) = comparisons.iter().enumerate().find_map(|(i, c)| Some((i, c.mismatch.as_ref()?)))?;
    let Mismatch { index: element, got, want, .. } = m;
    Some(format!("{}: d input {index}[{element}] is {got}, finite difference {want}", case.label))
}

/// Checks the references. `Err` names the input and element whose gradient is wrong.
pub fn check(case: &GradientCase) -> std::result::Result<(), String> {
    let reference = Device::Cpu(Cpu::Reference);
    let comparisons = measure(&reference, case, &case.recorded()).map_err(|e| format!("{}: {e}", case.label))?;
    failure(case, &comparisons).map_or(Ok(()), Err)
}
