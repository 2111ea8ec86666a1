//! A training step, dispatch by dispatch, on a device and on the references: the search that names the first tensor
//! gone wrong.
//!
//! Before each dispatch the device gets the references' values of everything that it reads or updates. An error can
//! therefore not travel: the dispatch that differs is the one that is wrong, however late in the step its effect would
//! have shown.

use std::collections::HashMap;

use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};
use crate::cases::Tolerance;
use crate::check::close::{self, Comparison};
use crate::error::Result;
use crate::instruments::subject::Subject;
use crate::kernel::Kernel;
use crate::program::{Program, Step};
use crate::tensor::Tensor;

/// One dispatch on both.
pub struct Dispatch {
    /// Its place in the step, from 0.
    pub index: usize,
    /// The model's own, also where a broken one ran in its place.
    pub kernel: &'static Kernel,
    /// The layer it belongs to.
    pub scope: String,
    /// What it wrote, in the kernel's order.
    pub outputs: Vec<Output>,
}

/// A tensor that a dispatch wrote.
pub struct Output {
    /// The kernel's name for it.
    pub binding: &'static str,
    /// The model's name for it.
    pub tensor: String,
    /// Its dimensions in the model.
    pub shape: Vec<usize>,
    /// The widest of the kernel's cases; that of a sum is made for this dispatch's length.
    pub tolerance: Tolerance,
    /// The device's values beside the reference's.
    pub comparison: Comparison,
    /// What failed, in words: the element with both values.
    pub difference: Option<String>,
}

impl Dispatch {
    /// Whether everything it wrote is within its tolerance.
    pub fn agrees(&self) -> bool {
        self.outputs.iter().all(|output| output.difference.is_none())
    }

    /// The first difference in words: dispatch, kernel, layer, tensor, element, both values.
    pub fn difference(&self) -> Option<String> {
        let output = self.outputs.iter().find(|output| output.difference.is_some())?;
        let Dispatch { index, kernel, scope, .. } = self;
        let layer = if scope.is_empty() { String::new() } else { format!(" in {scope}") };
        Some(format!("dispatch {}, {}{layer}: {}", index + 1, kernel.name, output.difference.as_deref()?))
    }
}

/// Runs the subject's training step. A kernel that has the name of `broken` is replaced by it on the device, not on the
/// reference. `see` gets each dispatch and says whether to go on. Errors: no room on the device.
pub fn run(
    subject: &Subject,
    device: &Device,
    broken: Option<&'static Kernel>,
    see: &mut dyn FnMut(&Dispatch) -> bool,
) -> Result<Vec<Dispatch>> {
    let arena = &subject.arena;
    let mut reference = Device::Cpu(Cpu::Reference).backend();
    subject.load(&mut reference)?;
    let mut tested = device.backend();
    let mut accepted = HashMap::new();
    let mut dispatches = Vec::new();
    for (index, step) in subject.step.steps.iter().enumerate() {
        let right = reference.load(arena, &alone(step, step.kernel))?;
        let kernel = broken.filter(|broken| broken.name == step.kernel.name).unwrap_or(step.kernel);
        let loaded = tested.load(arena, &alone(step, kernel))?;
        let inputs: Vec<Tensor> = step.reads.iter().chain(&step.writes).copied().collect();
        for (&tensor, values) in inputs.iter().zip(reference.read(&inputs)?) {
            tested.write(tensor, &values);
        }
        reference.run(&[(right, 1)])?;
        tested.run(&[(loaded, 1)])?;
        let (got, want) = (tested.read(&step.writes)?, reference.read(&step.writes)?);
        let accepted = accepted.entry(step.kernel.name).or_insert_with(|| tolerances(step.kernel));
        let outputs = (0..step.writes.len())
            .map(|i| output(arena, step, i, tolerance(step, &accepted[i]), &got[i], &want[i]))
            .collect();
        let dispatch = Dispatch { index, kernel: step.kernel, scope: step.scope.clone(), outputs };
        let go_on = see(&dispatch);
        dispatches.push(dispatch);
        if !go_on {
            break;
        }
    }
    Ok(dispatches)
}

/// The dispatch as a program of its own.
fn alone(step: &Step, kernel: &'static Kernel) -> Program {
    Program { name: kernel.name.into(), steps: vec![Step { kernel, ..step.clone() }] }
}

fn output(arena: &Arena, step: &Step, i: usize, tolerance: Tolerance, got: &[f32], want: &[f32]) -> Output {
    let (tensor, binding) = (step.writes[i], step.kernel.writes[i]);
    let comparison = close::measure(got, want, tolerance, unit(step.kernel, tolerance, want));
    let difference = comparison.mismatch.as_ref().map(|m| {
        let worst = element(arena, tensor, m.index);
        let first = if m.first == m.index { String::new() } else { element(arena, tensor, m.first) };
        let first = if first.is_empty() { first } else { format!(", the first at {first}") };
        format!(
            "{binding} = {worst} is {:e}, the reference has {:e} (accepted difference {:e}); {} of {} elements differ{first}",
            m.got,
            m.want,
            m.bound,
            m.count,
            want.len()
        )
    });
    Output { binding, tensor: arena.name(tensor), shape: tensor.shape().into(), tolerance, comparison, difference }
}

// ---- How far apart the two may be

/// What the kernel's cases accept, for each output the tolerances of all cases.
fn tolerances(kernel: &Kernel) -> Vec<Vec<Tolerance>> {
    let cases = (kernel.cases)();
    (0..kernel.writes.len()).map(|i| cases.iter().map(|case| case.writes[i].tolerance).collect()).collect()
}

/// The tolerance of a dispatch: the widest of the cases, but a sum's is as long as this dispatch makes it. Each flop
/// behind an element rounds once, so the flops per element of the largest output stand for its terms.
fn tolerance(step: &Step, of_the_cases: &[Tolerance]) -> Tolerance {
    let elements = step.writes.iter().map(Tensor::len).max().expect("a kernel writes something");
    let terms = step.cost().flops.div_ceil(elements as u64) as usize;
    let here = of_the_cases.iter().map(|&tolerance| match tolerance {
        Tolerance::Dot(_) => Tolerance::Dot(terms),
        other => other,
    });
    here.max_by(|a, b| a.bound(1.0).total_cmp(&b.bound(1.0))).expect("a kernel has cases")
}

/// What counts as 1 in a tensor. Tolerances are made for numbers of magnitude 1, as the cases have them; those of a
/// model may all be a thousandth or a thousand. The power of two below the largest of the tensor takes its place, so
/// that neither small gradients pass unseen nor large ones fail for their last digits. It goes below 1 only for sums of
/// products and for kernels that read a gradient, which are linear in it: others compute with a 1 on the way, as e^x -
/// 1 does, and its rounding stays however small the result is. An exact comparison has no unit.
fn unit(kernel: &Kernel, tolerance: Tolerance, want: &[f32]) -> f32 {
    let largest = want.iter().filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
    if tolerance == Tolerance::Exact || !largest.is_normal() {
        return 1.0;
    }
    // The exponent alone.
    let unit = f32::from_bits(largest.to_bits() & 0x7f80_0000);
    let is_sum = matches!(tolerance, Tolerance::Dot(_));
    let is_linear = is_sum || kernel.reads.iter().any(|name| ["dy", "dz", "grad"].contains(name));
    if is_linear { unit } else { unit.max(1.0) }
}

// ---- Names

/// The name of an element, as in `fc1.weight[3,77]`; of a flat tensor the parameter that it belongs to.
pub fn element(arena: &Arena, tensor: Tensor, index: usize) -> String {
    let (flat, gradients) = (arena.flat_parameters(), arena.flat_gradients());
    let name = arena.name(tensor);
    if tensor.shape() == flat.shape() {
        let owner =
            arena.parameters().iter().find(|p| (p.value.offset..p.value.offset + p.value.len()).contains(&index));
        return match owner {
            None => format!("{name}[{index}], which is padding"),
            Some(p) => {
                let within = at(p.value.shape(), index - p.value.offset);
                match tensor.buffer {
                    buffer if buffer == flat.buffer => format!("{}{within}", p.name),
                    buffer if buffer == gradients.buffer => format!("{}.grad{within}", p.name),
                    _ => format!("{name} of {}{within}", p.name),
                }
            }
        };
    }
    format!("{name}{}", at(tensor.shape(), index))
}

/// The indices of an element along each dimension.
fn at(shape: &[usize], mut index: usize) -> String {
    let mut indices = Vec::new();
    for &size in shape.iter().rev() {
        indices.push((index % size).to_string());
        index /= size;
    }
    indices.reverse();
    format!("[{}]", indices.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{adam, gaussian_kl, matmul, random};

    #[test]
    fn elements_have_the_names_of_their_parameters() {
        let mut arena = Arena::new();
        arena.parameter("a", &[3, 5]);
        let b = arena.parameter("b", &[2, 4]);
        let moment = arena.tensor("exp_avg", arena.flat_parameters().shape());
        let y = arena.tensor("fc1.y", &[2, 3, 4]);
        assert_eq!(element(&arena, arena.flat_parameters(), 7), "a[1,2]");
        assert_eq!(element(&arena, arena.flat_gradients(), 64 + 6), "b.grad[1,2]");
        assert_eq!(element(&arena, moment, 64), "exp_avg of b[0,0]");
        assert_eq!(element(&arena, moment, 20), "exp_avg[20], which is padding");
        assert_eq!(element(&arena, b.grad, 5), "b.grad[1,1]");
        assert_eq!(element(&arena, y, 23), "fc1.y[1,2,3]");
    }

    #[test]
    fn a_sums_tolerance_grows_with_the_dispatch() {
        let step = |kernel, params: &[u32], shape: &[usize]| Step {
            kernel,
            params: params.into(),
            reads: vec![],
            writes: vec![Tensor::new(0, 0, shape)],
            scope: String::new(),
        };
        // 2 flops for each of the 784 products behind an element.
        let product = step(&matmul::FORWARD, &[8, 784, 400, 0, 0], &[8, 400]);
        assert_eq!(tolerance(&product, &tolerances(&matmul::FORWARD)[0]), Tolerance::Dot(2 * 784));
        // So short a sum is no better than the exponential behind it.
        let short = step(&matmul::FORWARD, &[8, 2, 400, 5, 0], &[8, 400]);
        assert!(matches!(tolerance(&short, &tolerances(&matmul::FORWARD)[0]), Tolerance::Because(..)));
        let bits = step(&random::INTEGERS, &[8, 1], &[8]);
        assert_eq!(tolerance(&bits, &tolerances(&random::INTEGERS)[0]), Tolerance::Exact);
    }

    #[test]
    fn a_tensors_unit_is_the_power_of_two_below_its_largest() {
        let [sum, other] = [Tolerance::Dot(4), Tolerance::Because(1e-6, "test")];
        assert_eq!(unit(&matmul::FORWARD, sum, &[0.3, -5.0, f32::NAN, f32::INFINITY]), 4.0);
        assert_eq!(unit(&matmul::FORWARD, sum, &[1e-6]), 2f32.powi(-20));
        assert_eq!(unit(&matmul::FORWARD, sum, &[0.0, f32::NAN]), 1.0);
        assert_eq!(unit(&matmul::FORWARD, Tolerance::Exact, &[8.0]), 1.0);
        assert_eq!(unit(&adam::FORWARD, other, &[1e-6]), 2f32.powi(-20));
        assert_eq!([&[1e-6], &[5.0]].map(|v| unit(&gaussian_kl::BACKWARD, other, v)), [1.0, 4.0]);
    }
}
