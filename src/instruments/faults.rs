//! Known mistakes to put into a kernel, so that a learner sees which instrument notices what.
//!
//! A fault is a small edit of the kernel's WGSL, and the same mistake for the CPU device. Only the device under test
//! gets the broken kernel; references and cases stay as they are.

use crate::backend::Device;
use crate::check::{gradient, report};
use crate::error::{Error, Result, nearest};
use crate::kernel::{Kernel, Reference, Shader, Source, Text};
use crate::kernels;

mod list;

pub use list::FAULTS;

/// A mistake in a kernel.
pub struct Fault {
    /// The kernel it is put into.
    pub kernel: &'static Kernel,
    /// What [`Fault::id`] has after the kernel's name, e.g. `sign`.
    pub name: &'static str,
    /// What is wrong.
    pub about: &'static str,
    /// What to learn from who notices.
    pub lesson: &'static str,
    /// Whether the first step of a model that dispatches the kernel has other numbers.
    pub shows_in_a_step: bool,
    /// Text of the portable shader or of what is appended to it, there exactly once, and what takes its place.
    from: &'static str,
    to: &'static str,
    /// The same mistake on the CPU.
    wrong: Reference,
}

impl Fault {
    /// As `--break` takes it.
    pub fn id(&self) -> String {
        format!("{}:{}", self.kernel.name, self.name)
    }

    /// The kernel with the mistake, under its own name. It has no software form and no candidates: the portable form is
    /// what is broken. Lives as long as the program, as kernels do.
    pub fn broken(&self) -> &'static Kernel {
        let source = self.kernel.shader.source;
        let count: usize = source.texts().map(|text| text.text.matches(self.from).count()).sum();
        assert_eq!(count, 1, "{}: `{}` in {} and what is appended to it", self.id(), self.from, source.file);
        // Pipelines are kept by kernel name and file.
        let file = Box::leak(format!("{} with {}", source.file, self.name).into_boxed_str());
        let edited = |text: &str| -> &'static str { Box::leak(text.replace(self.from, self.to).into_boxed_str()) };
        let common: Vec<Text> = source.common.iter().map(|t| Text { text: edited(t.text), ..*t }).collect();
        let source =
            Source { file, text: edited(source.text), common: Box::leak(common.into_boxed_slice()), ..*source };
        let source = Box::leak(Box::new(source));
        let shader = Shader { source, ..self.kernel.shader };
        Box::leak(Box::new(Kernel {
            shader,
            software: None,
            candidates: None,
            accelerated: Some(self.wrong),
            ..*self.kernel
        }))
    }
}

/// The fault of that name: `kernel:fault`, or `kernel` for its first. Errors: none, with the nearest.
pub fn find(wanted: &str) -> Result<&'static Fault> {
    if let Some(fault) = FAULTS.iter().find(|fault| fault.id() == wanted || fault.kernel.name == wanted) {
        return Ok(fault);
    }
    let ids: Vec<String> = FAULTS.iter().map(Fault::id).collect();
    let known = ids.iter().map(String::as_str).chain(FAULTS.iter().map(|fault| fault.kernel.name));
    let hint = nearest(wanted, known).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
    Err(Error::Usage(format!("there is no fault `{wanted}`{hint} (`elbo lockstep --faults` lists them)")))
}

/// What an instrument says of a broken kernel.
pub struct Verdict {
    /// Its name in the table: `cases`, `finite differences`, `lockstep`.
    pub instrument: &'static str,
    /// None where it does not look at this kernel.
    pub noticed: Option<bool>,
    /// What it saw.
    pub what: String,
}

/// The cases of a broken kernel, against its reference. Errors: a device that is lost or has no room.
pub fn by_cases(broken: &'static Kernel, device: &Device) -> Result<Verdict> {
    let report = report::kernel(broken, &[("", device.clone())], |_| true)?;
    let first = report.failures.first().map(|failure| format!("; the first: {failure}")).unwrap_or_default();
    let what = format!("{} of {} cases fail{first}", report.failed, report.cases);
    Ok(Verdict { instrument: "cases", noticed: Some(!report.passed()), what })
}

/// Finite differences of every operation that dispatches a broken kernel, forward or backward. Errors: a device that is
/// lost or has no room.
pub fn by_gradients(broken: &'static Kernel, device: &Device) -> Result<Verdict> {
    let (mut operations, mut failures) = (0, Vec::new());
    for case in kernels::gradients() {
        let mut recorded = case.recorded();
        let steps = recorded.program.steps.iter_mut().filter(|step| step.kernel.name == broken.name);
        if steps.map(|step| step.kernel = broken).count() > 0 {
            operations += 1;
            failures.extend(gradient::failure(&case, &gradient::measure(device, &case, &recorded)?));
        }
    }
    let first = failures.first().map(|failure| format!("; the first: {failure}")).unwrap_or_default();
    let (noticed, what) = match operations {
        0 => (None, "no operation with a backward dispatches it".into()),
        _ => (Some(!failures.is_empty()), format!("{} of {operations} backwards are wrong{first}", failures.len())),
    };
    Ok(Verdict { instrument: "finite differences", noticed, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;

    #[test]
    fn every_fault_edits_its_shader_and_has_a_name_of_its_own() {
        let mut ids: Vec<String> = FAULTS.iter().map(Fault::id).collect();
        for fault in FAULTS {
            let broken = fault.broken();
            assert!(broken.shader.source.full_text() != fault.kernel.shader.source.full_text(), "{}", fault.id());
            assert!(kernels::ALL.iter().any(|kernel| kernel.name == broken.name), "{}", fault.id());
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), FAULTS.len());
    }

    #[test]
    fn faults_are_found_by_kernel_and_by_name() {
        assert_eq!(find("adam.forward").unwrap().id(), "adam.forward:no_correction");
        assert_eq!(find("adam.forward:sign").unwrap().id(), "adam.forward:sign");
        let message = find("adam.forwrad").err().unwrap().to_string();
        assert!(message.contains("did you mean `adam.forward`?"), "{message}");
    }

    /// Cases are made to notice every fault, on a machine without a GPU too.
    #[test]
    fn cases_notice_every_fault() {
        for fault in FAULTS {
            let verdict = by_cases(fault.broken(), &Device::Cpu(Cpu::Accelerated)).unwrap();
            assert_eq!(verdict.noticed, Some(true), "{}: {}", fault.id(), verdict.what);
        }
    }

    #[test]
    fn finite_differences_notice_a_wrong_derivative_and_look_at_no_optimiser() {
        let verdict = |id: &str| by_gradients(find(id).unwrap().broken(), &Device::Cpu(Cpu::Accelerated)).unwrap();
        for id in ["batch_norm.backward_x:constant_mean", "reparameterise.forward:whole_logvar", "bce.backward:sign"] {
            assert_eq!(verdict(id).noticed, Some(true), "{id}");
        }
        assert_eq!(verdict("reparameterise.backward:assign").noticed, Some(false));
        assert_eq!(verdict("adam.forward:sign").noticed, None);
    }
}
