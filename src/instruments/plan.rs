//! A recorded step before anything runs: what each dispatch does at least, and the memory of all of them.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::subject::Subject;
use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu, room};
use crate::program::Step;
use crate::tensor::Tensor;
use crate::units::memory;

/// One dispatch of the step.
#[derive(Clone, Debug, Serialize)]
pub struct Dispatch {
    /// Counted from 1.
    pub number: usize,
    /// The layer, or the part of the step, that it belongs to.
    pub layer: String,
    /// `stem.entry`, e.g. `matmul.forward`.
    pub kernel: &'static str,
    /// The shader file that runs, or `accelerated` and `reference` on the CPU device.
    pub form: String,
    /// What it reads, in the kernel's order.
    pub reads: Vec<Operand>,
    /// What it writes or adds to, in the kernel's order.
    pub writes: Vec<Operand>,
    /// Workgroups; `None` on the CPU device.
    pub grid: Option<[u32; 3]>,
    /// Invocations of each workgroup; `None` on the CPU device.
    pub workgroup: Option<[u32; 3]>,
    /// Floating-point operations, at least.
    pub flops: u64,
    /// Bytes read and written, at least.
    pub bytes: u64,
    /// Operations a byte.
    pub intensity: f64,
}

/// A tensor under its name in the model.
#[derive(Clone, Debug, Serialize)]
pub struct Operand {
    /// A parameter's, e.g. `fc1.weight`, or an activation's with its layer, e.g. `fc1.y`.
    pub name: String,
    /// As on the device, where the weights of convolutions have their channels last.
    pub shape: Vec<usize>,
}

impl fmt::Display for Operand {
    /// As in `fc1.weight (400,784)`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sizes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{} ({})", self.name, sizes.join(","))
    }
}

/// Memory of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What it is for, e.g. `activations and their gradients`.
    pub name: &'static str,
    /// Of whole buffers: a flat one counts with its padding.
    pub bytes: usize,
    /// The largest first.
    pub tensors: Vec<Memory>,
}

/// A tensor's share of the memory.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// The tensor's name in the model, or its buffer's.
    pub name: String,
    /// 4 for each element, without padding.
    pub bytes: usize,
}

/// The whole step on a device.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// In the order they run.
    pub dispatches: Vec<Dispatch>,
    /// Floating-point operations of the step, at least.
    pub flops: u64,
    /// Bytes read and written by the step, at least.
    pub bytes: u64,
    /// Bytes of all buffers.
    pub memory: usize,
    /// The memory by what it is for, the largest group first.
    pub groups: Vec<Group>,
    /// Bytes of the largest buffer the device takes.
    pub largest_buffer: usize,
    /// Bytes that a kernel can see of one buffer.
    pub largest_binding: usize,
    /// What would not fit, in words; nothing else in the way of running it.
    pub problems: Vec<String>,
}

/// The plan of the subject's step on the device, of which only the limits are asked.
pub fn plan(subject: &Subject, device: &Device) -> Plan {
    let dispatches: Vec<Dispatch> =
        subject.step.steps.iter().enumerate().map(|(i, step)| dispatch(&subject.arena, device, i + 1, step)).collect();
    let groups = groups(subject);
    let (largest_buffer, largest_binding) = (device.largest_buffer(), device.largest_binding());
    let mut problems = problems(&subject.arena, &dispatches, [largest_buffer, largest_binding]);
    if let (Device::Cpu(_), Err(problem)) = (device, room::check(&subject.arena, 0)) {
        problems.push(problem.to_string());
    }
    Plan {
        flops: dispatches.iter().map(|d| d.flops).sum(),
        bytes: dispatches.iter().map(|d| d.bytes).sum(),
        dispatches,
        memory: subject.arena.bytes(),
        groups,
        largest_buffer,
        largest_binding,
        problems,
    }
}

/// What would not fit into the device, in words.
fn problems(arena: &Arena, dispatches: &[Dispatch], [largest_buffer, largest_binding]: [usize; 2]) -> Vec<String> {
    let mut problems = Vec::new();
    for buffer in arena.buffers() {
        let (name, bytes) = (&buffer.name, buffer.words * 4);
        for (limit, verb) in [(largest_buffer, "holds"), (largest_binding, "binds")] {
            if bytes > limit {
                let (bytes, limit) = (memory(bytes), memory(limit));
                problems.push(format!("{name} is one buffer of {bytes}, and the device {verb} at most {limit}"));
            }
        }
        if buffer.words > u32::MAX as usize {
            problems.push(format!("{name} is one buffer of {} words, and kernels count in 32 bits", buffer.words));
        }
    }
    for dispatch in dispatches {
        let grid = dispatch.grid.unwrap_or_default();
        if grid.iter().any(|&n| n > MOST_WORKGROUPS) {
            let Dispatch { number, kernel, .. } = dispatch;
            problems
                .push(format!("dispatch {number}, {kernel}, is {grid:?} workgroups, at most {MOST_WORKGROUPS} a side"));
        }
    }
    problems
}

/// WebGPU's default, which devices are opened with.
const MOST_WORKGROUPS: u32 = 65535;

fn dispatch(arena: &Arena, device: &Device, number: usize, step: &Step) -> Dispatch {
    let shader = device.shader(step);
    let cost = step.cost();
    let operands = |tensors: &[Tensor]| {
        tensors.iter().map(|t| Operand { name: arena.name(*t), shape: t.shape().to_vec() }).collect()
    };
    Dispatch {
        number,
        layer: step.scope.clone(),
        kernel: step.kernel.name,
        form: match (device, shader) {
            (_, Some(shader)) => format!("shaders/{}", shader.source.file),
            (Device::Cpu(Cpu::Accelerated), _) if step.kernel.accelerated.is_some() => "accelerated".into(),
            _ => "reference".into(),
        },
        reads: operands(&step.reads),
        writes: operands(&step.writes),
        grid: shader.map(|shader| shader.workgroups(&step.params)),
        workgroup: shader.map(|shader| shader.workgroup),
        flops: cost.flops,
        bytes: cost.bytes,
        intensity: cost.flops as f64 / cost.bytes.max(1) as f64,
    }
}

/// The arena's buffers by what they are for, the largest group first. The flat ones are parted into their tensors.
fn groups(subject: &Subject) -> Vec<Group> {
    let arena = &subject.arena;
    let flat = [("parameters", arena.flat_parameters().buffer), ("gradients", arena.flat_gradients().buffer)];
    let moments = subject.optimizer.moments.iter().map(|(_, tensor)| ("moments of the optimiser", tensor.buffer));
    let statistics = arena.flat_statistics().map(|tensor| ("statistics", tensor.buffer));
    let data = subject.data.buffers().into_iter().map(|buffer| ("drawn examples, their order and the clock", buffer));
    let kinds: HashMap<usize, &'static str> =
        flat.into_iter().chain(moments).chain(statistics).chain(data).map(|(kind, buffer)| (buffer, kind)).collect();
    let mut groups: Vec<Group> = Vec::new();
    for (index, buffer) in arena.buffers().iter().enumerate().filter(|(_, buffer)| buffer.words > 0) {
        let name = kinds.get(&index).copied().unwrap_or("activations and their gradients");
        let group = match groups.iter_mut().position(|group| group.name == name) {
            Some(at) => &mut groups[at],
            None => {
                groups.push(Group { name, bytes: 0, tensors: Vec::new() });
                groups.last_mut().expect("one was pushed")
            }
        };
        group.bytes += buffer.words * 4;
        let parts = parts(arena, index);
        if parts.is_empty() {
            group.tensors.push(Memory { name: buffer.name.clone(), bytes: buffer.words * 4 });
        }
        group.tensors.extend(parts);
    }
    for group in &mut groups {
        group.tensors.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
    groups
}

/// The tensors that share the buffer; none where it is one tensor's. The padding between them is no tensor's.
fn parts(arena: &Arena, buffer: usize) -> Vec<Memory> {
    let parameters = arena.parameters().iter().flat_map(|p| [p.value, p.grad]);
    let statistics = arena.statistics().iter().map(|s| s.value);
    let own = parameters.chain(statistics).filter(|tensor| tensor.buffer == buffer);
    own.map(|tensor| Memory { name: arena.name(tensor), bytes: tensor.len() * 4 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let subject = Subject::open("mnist-mlp", Some(4)).unwrap();
        let mut plan = plan(&subject, &Device::Cpu(Cpu::Accelerated));
        assert!(plan.problems.is_empty(), "{:?}", plan.problems);
        // The flat parameters, gradients and moments have 2.5 MiB each, all others less than 1.
        let found = problems(&subject.arena, &plan.dispatches, [usize::MAX, 1 << 20]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].contains("parameters") && found[0].contains("2.5 MiB"), "{found:?}");
        plan.dispatches[3].grid = Some([65536, 1, 1]);
        let found = problems(&subject.arena, &plan.dispatches, [usize::MAX; 2]);
        assert!(found.len() == 1 && found[0].contains("dispatch 4, matmul.forward"), "{found:?}");
    }

    #[test]
    fn more_than_kernels_count_does_not_fit() {
        let subject = Subject::open("faces-mlp", Some(1_000_000)).unwrap();
        let problems = plan(&subject, &Device::Cpu(Cpu::Accelerated)).problems;
        assert!(problems.iter().any(|problem| problem.contains("kernels count up to")), "{problems:?}");
    }

    #[test]
    fn all_memory_is_in_a_group() {
        let subject = Subject::open("mnist-conv", Some(2)).unwrap();
        let plan = plan(&subject, &Device::Cpu(Cpu::Accelerated));
        assert_eq!(plan.groups.iter().map(|group| group.bytes).sum::<usize>(), plan.memory);
        for group in &plan.groups {
            let tensors: usize = group.tensors.iter().map(|tensor| tensor.bytes).sum();
            // Parts of a flat buffer are padded to 256 bytes.
            assert!(tensors <= group.bytes && group.bytes < tensors + 256 * group.tensors.len(), "{group:?}");
            assert!(group.tensors.is_sorted_by(|a, b| a.bytes >= b.bytes), "{group:?}");
        }
        let of = |name: &str| plan.groups.iter().find(|group| group.name == name).unwrap();
        let names = |name: &str| of(name).tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>();
        assert!(names("parameters").contains(&"encoder.0.0.weight"), "{:?}", names("parameters"));
        assert!(names("gradients").contains(&"encoder.0.0.weight.grad"), "{:?}", names("gradients"));
        assert_eq!(of("parameters").bytes * 2, of("moments of the optimiser").bytes);
    }
}
