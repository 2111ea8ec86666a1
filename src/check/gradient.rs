//! Reference backward against finite differences of the reference forward.

use super::case::uniform;
use super::close::Tolerance;
use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// An operation as a function of its inputs, with its backward.
pub struct GradientCase {
    pub label: String,
    /// Shape and values of each differentiable input.
    pub inputs: Vec<(Vec<usize>, Vec<f32>)>,
    /// Shape of the output y.
    pub output: Vec<usize>,
    /// Records y = f(inputs) and, from dy, a gradient for each input. `inputs` is followed by `state`.
    pub record: Record,
    /// Fixed device state the operation reads, e.g. the clock: written before each run.
    pub state: Vec<(&'static str, Vec<u32>)>,
}

/// (recorder, inputs, dy) to (y, a gradient for each input).
pub type Record = Box<dyn Fn(&mut Recorder, &[Tensor], Tensor) -> (Tensor, Vec<Tensor>)>;

/// Central differences with this step: the rounding of f32 outputs (6e-8 / STEP) and the truncation (STEP^2 / 6)
/// are both below 1e-4 for outputs of size 1.
const STEP: f32 = 4e-3;

/// What the two errors add up to over the cases' sums of up to a hundred terms.
const TOLERANCE: Tolerance = Tolerance::Because(2e-3, "f32 rounding over the step, plus the third derivative");

/// `Err` names the input and element whose gradient is wrong.
pub fn check(case: &GradientCase) -> Result<(), String> {
    let mut arena = Arena::new();
    let state: Vec<Tensor> = case.state.iter().map(|(name, words)| arena.tensor(*name, &[words.len()])).collect();
    let inputs: Vec<Tensor> = case.inputs.iter().map(|(shape, _)| arena.tensor("input", shape)).collect();
    let dy = arena.tensor("dy", &case.output);
    let mut recorder = Recorder::new(&mut arena);
    let arguments: Vec<Tensor> = inputs.iter().chain(&state).copied().collect();
    let (y, gradients) = (case.record)(&mut recorder, &arguments, dy);
    let program = recorder.finish(&case.label);
    assert!(y.shape() == case.output, "{}: y is {y:?}, expected {:?}", case.label, case.output);
    let mut backend = Device::Cpu(Cpu::Reference).backend();
    let loaded = backend.load(&arena, &program).map_err(|e| e.to_string())?;
    let weights = uniform(77, dy.len(), -1.0, 1.0);
    backend.write(dy, &weights);
    for (tensor, (_, words)) in state.iter().zip(&case.state) {
        backend.write_words(*tensor, words);
    }
    for (tensor, (_, values)) in inputs.iter().zip(&case.inputs) {
        backend.write(*tensor, values);
    }
    backend.run(&[(loaded, 1)]).map_err(|e| e.to_string())?;
    let analytic = backend.read(&gradients).map_err(|e| e.to_string())?;

    // ANCHOR: difference
    for (index, (_, values)) in case.inputs.iter().enumerate() {
        for element in 0..values.len() {
            let mut objective = |shift: f32| -> Result<f64, String> {
                let mut moved = values.clone();
                moved[element] += shift;
                backend.write(inputs[index], &moved);
                backend.run(&[(loaded, 1)]).map_err(|e| e.to_string())?;
                let y = backend.read_one(y).map_err(|e| e.to_string())?;
                Ok(y.iter().zip(&weights).map(|(y, w)| *y as f64 * *w as f64).sum())
            };
            let width = ((values[element] + STEP) as f64) - ((values[element] - STEP) as f64);
            let numeric = ((objective(STEP)? - objective(-STEP)?) / width) as f32;
            let got = analytic[index][element];
            let bound = TOLERANCE.bound(numeric.abs().max(got.abs()));
            if (got - numeric).is_nan() || (got - numeric).abs() > bound {
                return Err(format!(
                    "{}: d input {index}[{element}] is {got}, finite difference {numeric}",
                    case.label
                ));
            }
        }
        backend.write(inputs[index], values);
    }
    // ANCHOR_END: difference
    Ok(())
}

/// The gradient of a loss whose kernel assumes dy = 1, times the dy of the check.
pub fn weighted(r: &mut Recorder, dy: Tensor, gradient: Tensor) -> Tensor {
    let weights = crate::kernels::reduce::backward_whole(r, dy, gradient.matrix());
    crate::kernels::joint::multiply(r, weights, gradient)
}
