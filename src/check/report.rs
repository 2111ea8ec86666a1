//! What checking says of a kernel: the worst errors and where they are, how the results round, the verdict.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::case::{self, Outcome};
use super::close::{Comparison, Worst};
use super::ulp::{BUCKETS, Histogram};
use crate::backend::Device;
use crate::cases::Case;
use crate::error::Result;
use crate::kernel::Kernel;

/// Failures a report quotes; of the others it has the number.
const QUOTED: usize = 3;

/// The comparisons of one kernel, or of one backward, put together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The kernel, or the gradient case's label.
    pub name: String,
    /// Comparisons, each of all outputs of one run.
    pub cases: usize,
    /// How many of the cases failed.
    pub failed: usize,
    /// Elements compared.
    pub elements: u64,
    /// The largest |got - want|; none before the first comparison.
    pub absolute: Option<Place>,
    /// The largest |got - want| as a share of the larger magnitude.
    pub relative: Option<Place>,
    /// The worst difference as a share of the accepted one, where nothing failed.
    pub of_accepted: f32,
    /// All elements by their distance in units in the last place.
    #[serde(serialize_with = "by_bucket")]
    pub ulps: Histogram,
    /// The messages of the first failures, at most three.
    pub failures: Vec<String>,
}

/// An error, and the element that has it.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// The error, absolute or relative as [`Report`] says; infinite where one of the two is NaN.
    pub error: f32,
    /// What was computed there.
    pub got: f32,
    /// What it should be.
    pub want: f32,
    /// The label of the case, with the device's name where there are several; may be empty.
    pub case: String,
    /// The tensor, as the kernel names it.
    pub output: String,
    /// The element of the tensor.
    pub index: usize,
}

impl Report {
    /// A report of no run yet.
    pub fn new(name: impl Into<String>) -> Report {
        Report { name: name.into(), ..Report::default() }
    }

    /// Adds a run: its outputs, named, and what is wrong with it.
    pub fn add<'a>(
        &mut self,
        case: &str,
        outputs: impl IntoIterator<Item = (&'a str, &'a Comparison)>,
        failure: Option<String>,
    ) {
        self.cases += 1;
        for (output, comparison) in outputs {
            self.elements += comparison.elements as u64;
            self.of_accepted = self.of_accepted.max(comparison.of_accepted);
            self.ulps.merge(&comparison.ulps);
            for (place, worst) in [(&mut self.absolute, comparison.absolute), (&mut self.relative, comparison.relative)]
            {
                if place.as_ref().is_none_or(|p| worst.error > p.error) {
                    *place = Some(Place::new(worst, case, output));
                }
            }
        }
        if let Some(failure) = failure {
            self.failed += 1;
            if self.failures.len() < QUOTED {
                self.failures.push(failure);
            }
        }
    }

    /// Whether no run failed.
    pub fn passed(&self) -> bool {
        self.failed == 0
    }
}

impl Place {
    fn new(Worst { error, index, got, want }: Worst, case: &str, output: &str) -> Place {
        Place { error, got, want, case: case.into(), output: output.into(), index }
    }
}

/// As in `y[12] of 65x257x17`; without the case where it has no label.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Place { output, index, case, .. } = self;
        if case.is_empty() { write!(f, "{output}[{index}]") } else { write!(f, "{output}[{index}] of {case}") }
    }
}

/// Runs those cases of a kernel that `wanted` picks on each of the devices, against its reference, and where a device
/// has several shaders to choose from, each of them. The names of the device and of the shader follow the label of the
/// case. Errors: no memory for the reference; what a device cannot do is a failure in the report.
pub fn kernel(kernel: &'static Kernel, devices: &[(&str, Device)], wanted: impl Fn(&Case) -> bool) -> Result<Report> {
    let mut report = Report::new(kernel.name);
    for case in (kernel.cases)().iter().filter(|case| wanted(case)) {
        let want = case::reference(kernel, case)?;
        for (name, device) in devices {
            for (candidate, device) in forms(device, kernel, case) {
                // A shader that the driver refuses panics; here it is a result, and the other kernels are checked all
                // the same.
                let outcome = catch_unwind(AssertUnwindSafe(|| case::measure(&device, kernel, case, &want)))
                    .unwrap_or_else(|panic| Outcome { outputs: Vec::new(), failure: Some(said(&*panic)) });
                let named: Vec<&str> = [name, candidate].into_iter().filter(|name| !name.is_empty()).collect();
                let named = named.join(", ");
                let label = if named.is_empty() { case.label.clone() } else { format!("{}, {named}", case.label) };
                let failure = outcome.failure.map(|f| if named.is_empty() { f } else { format!("{named}: {f}") });
                report.add(&label, kernel.writes.iter().copied().zip(&outcome.outputs), failure);
            }
        }
    }
    Ok(report)
}

/// Builds the pipelines that [`kernel`] needs on the devices, which may take a driver minutes. What a driver refuses is
/// left to the report.
pub fn build(kernel: &'static Kernel, devices: &[(&str, Device)]) {
    for case in (kernel.cases)() {
        for (_, device) in devices.iter().flat_map(|(_, device)| forms(device, kernel, &case)) {
            let _ = catch_unwind(AssertUnwindSafe(|| case::build(&device, kernel, &case)));
        }
    }
}

/// The device once for each shader that it may choose for the case, named; itself where there is no choice.
fn forms(device: &Device, kernel: &'static Kernel, case: &Case) -> Vec<(&'static str, Device)> {
    let mut forms = device.with_each_candidate(kernel, &case.params);
    if forms.is_empty() {
        forms.push(("", device.clone()));
    }
    forms
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_else(|| "a panic".into())
}

fn by_bucket<S: serde::Serializer>(ulps: &Histogram, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(BUCKETS.iter().map(|&(label, _)| label).zip(ulps.counts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::kernels::matmul;

    #[test]
    fn a_report_holds_every_case_and_the_worst_place() {
        let devices = [("one", Device::Cpu(Cpu::Accelerated)), ("other", Device::Cpu(Cpu::Reference))];
        let report = kernel(&matmul::BACKWARD_W, &devices, |_| true).unwrap();
        let cases = (matmul::BACKWARD_W.cases)();
        assert_eq!((report.cases, report.failed), (2 * cases.len(), 0));
        let elements: usize = cases.iter().flat_map(|c| &c.writes).map(|o| o.before.len()).sum();
        assert_eq!((report.elements, report.ulps.total()), (2 * elements as u64, 2 * elements as u64));
        let worst = report.absolute.unwrap();
        assert!(worst.error > 0.0 && worst.error == (worst.got - worst.want).abs(), "{worst:?}");
        assert!(worst.case.ends_with(", one") && report.of_accepted > 0.0 && report.of_accepted < 1.0, "{worst:?}");
        let json = serde_json::to_value(kernel(&matmul::FORWARD, &devices[..1], |_| true).unwrap()).unwrap();
        assert!(json["ulps"]["2-3"].is_u64() && json["relative"]["output"] == "y", "{json}");
    }

    #[test]
    fn failures_are_counted_and_the_first_are_quoted() {
        let mut report = Report::new("k");
        for n in 0..5 {
            report.add("c", [], (n > 0).then(|| n.to_string()));
        }
        assert_eq!((report.cases, report.failed, report.passed()), (5, 4, false));
        assert_eq!(report.failures, ["1", "2", "3"]);
    }
}
