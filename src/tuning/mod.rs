//! Which of a kernel's candidates a device runs: what a run's record says, what the cache on disk says, what is
//! measured now, or, where none of these is, the table that is shipped (`backend/shipped.rs`).
//!
//! Candidates add the same terms in different orders, so another choice is another last bit. Runs repeat because the
//! first run's choice is kept: in the cache for later runs, in `run.toml` for `--resume`. What cannot be kept is not
//! measured. Instruments measure no candidates: they look at what the cache holds, else at the table's. Tests take the
//! table's.

mod cache;
mod measure;

use std::path::{Path, PathBuf};
use std::time::Duration;

use web_time::Instant;

use serde::{Deserialize, Serialize};

pub use cache::Identity;
pub use measure::Measured;

use crate::backend::gpu::Gpu;
use crate::backend::shipped;
use crate::error::Result;
use crate::files::cache_folder;
use crate::kernel::Candidate;
use crate::program::{Program, Step};

/// Measuring at the start of a run takes at most this long.
pub const LIMIT: Duration = Duration::from_secs(2);
/// The table's choice stays unless another is faster by this factor: noise alone should change nothing.
const LEAST_GAIN: f64 = 1.03;

/// The choice for one shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name of a kernel with candidates.
    pub kernel: String,
    /// The params uniform, word by word.
    pub params: Vec<u32>,
    /// The name of the candidate that runs.
    pub candidate: String,
    /// How it was chosen first.
    pub origin: Origin,
}

/// Where a choice comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It was the fastest here.
    Measured,
    /// There was no time left to measure it.
    Table,
}

/// How to tune.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// The folder of caches; without one nothing is measured.
    pub caches: Option<PathBuf>,
    /// How long measuring may take; what is left takes the table's.
    pub limit: Option<Duration>,
    /// Measure what the cache holds too.
    pub again: bool,
}

impl How {
    /// At the start of a run: from the cache, and measured for a moment where it has nothing.
    pub fn at_start() -> How {
        How { caches: cache_folder(), limit: Some(LIMIT), again: false }
    }
}

/// A shape of a program that has candidates, and what was found for it.
#[derive(Clone)]
pub struct Shape {
    /// The first dispatch of that shape.
    pub step: Step,
    /// Dispatches of this shape.
    pub dispatches: usize,
    /// The table's choice.
    pub usual: &'static str,
    /// What runs.
    pub chosen: Entry,
    /// It came from the cache.
    pub is_cached: bool,
    /// In the order in which they were tried; empty where nothing was measured.
    pub measured: Vec<Measured>,
}

/// What tuning came to.
#[derive(Clone, Default)]
pub struct Tuning {
    /// Those with the most work first.
    pub shapes: Vec<Shape>,
    /// The cache's file, where there is a folder for it.
    pub cache: Option<PathBuf>,
    /// Whether what was found now is in it.
    pub is_kept: bool,
    /// Lines for the user, each about something that was left out or ignored.
    pub notices: Vec<String>,
    /// Time that measuring took.
    pub seconds: f64,
}

/// Chooses a candidate for every dispatch of the program that has some, and tells the device: programs that are loaded
/// from now on run them. `progress` hears the shape being measured, how many are done and how many there are.
/// Errors: the device is lost.
pub fn tune(gpu: &Gpu, program: &Program, how: &How, progress: &mut dyn FnMut(&Step, usize, usize)) -> Result<Tuning> {
    let mut tuning = Tuning { shapes: shapes(gpu, program), ..Tuning::default() };
    if tuning.shapes.is_empty() {
        return Ok(tuning);
    }
    let identity = identity(gpu);
    tuning.cache = how.caches.as_deref().map(|caches| identity.path(caches));
    let mut known = tuning.read(&identity);
    for shape in tuning.shapes.iter_mut().filter(|_| !how.again) {
        if let Some(entry) = known.iter().find(|entry| entry.is_of(&shape.step)) {
            shape.chosen = entry.clone();
            shape.is_cached = true;
        }
    }
    if tuning.shapes.iter().any(|shape| !shape.is_cached) {
        // Before the work, whether it can be kept: what cannot would be another choice at each start.
        let can_keep = tuning.write(&identity, &known);
        if can_keep || how.again {
            tuning.measure(gpu, how, progress)?;
        }
        for Shape { chosen, step, .. } in &tuning.shapes {
            known.retain(|entry| !entry.is_of(step));
            known.push(chosen.clone());
        }
        tuning.is_kept = can_keep && tuning.write(&identity, &known);
        if !tuning.is_kept && !how.again {
            tuning.shapes.iter_mut().filter(|shape| !shape.is_cached).for_each(Shape::take_the_usual);
        }
    }
    apply(gpu, &tuning.entries());
    Ok(tuning)
}

/// Gives the device what the cache in this folder holds for the program's shapes. A cache that is wrong is as none.
pub fn recall(gpu: &Gpu, program: &Program, caches: Option<&Path>) {
    let identity = identity(gpu);
    let known = caches.and_then(|caches| cache::read(&identity.path(caches), &identity).ok()).unwrap_or_default();
    let wanted = |entry: &Entry| program.steps.iter().any(|step| entry.is_of(step));
    apply(gpu, &known.into_iter().filter(wanted).collect::<Vec<_>>());
}

/// Gives the device the choices of a record, as of a run that is resumed. Returns how many of them this device does not
/// have.
pub fn apply(gpu: &Gpu, entries: &[Entry]) -> usize {
    let resolved = entries.iter().filter_map(|entry| Some((entry, entry.resolve(gpu.runs_software_forms())?)));
    let known = resolved.map(|(entry, candidate)| gpu.choose(&entry.kernel, &entry.params, candidate)).count();
    entries.len() - known
}

/// What a cache must be of to hold for this device.
pub fn identity(gpu: &Gpu) -> Identity {
    let info = &gpu.info;
    Identity {
        elbo: env!("CARGO_PKG_VERSION").into(),
        adapter: info.name.clone(),
        pci: [info.vendor, info.device],
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
        software: gpu.runs_software_forms(),
    }
}

impl Entry {
    fn is_of(&self, step: &Step) -> bool {
        self.kernel == step.kernel.name && self.params == step.params
    }
}

/// Every shape of the program that has a choice, with the table's, the most work first.
fn shapes(gpu: &Gpu, program: &Program) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::new();
    for step in &program.steps {
        if let Some(shape) = shapes.iter_mut().find(|shape| shape.chosen.is_of(step)) {
            shape.dispatches += 1;
            continue;
        }
        let candidates = gpu.candidates(step.kernel, &step.params);
        let Some(usual) = shipped::choose(&gpu.info, &candidates, &step.params).filter(|_| candidates.len() > 1) else {
            continue;
        };
        let chosen = Entry {
            kernel: step.kernel.name.into(),
            params: step.params.clone(),
            candidate: usual.name.into(),
            origin: Origin::Table,
        };
        let step = step.clone();
        shapes.push(Shape { step, dispatches: 1, usual: usual.name, chosen, is_cached: false, measured: Vec::new() });
    }
    shapes.sort_by_key(|shape| std::cmp::Reverse(shape.step.cost().flops * shape.dispatches as u64));
    shapes
}

impl Shape {
    fn take_the_usual(&mut self) {
        self.chosen.candidate = self.usual.into();
        self.chosen.origin = Origin::Table;
    }
}

impl Tuning {
    /// What the cache holds, nothing where it is not to be used.
    fn read(&mut self, identity: &Identity) -> Vec<Entry> {
        let Some(path) = &self.cache else { return Vec::new() };
        cache::read(path, identity).unwrap_or_else(|problem| {
            self.notices.push(format!("the tuning in {} is ignored: {problem}", path.display()));
            Vec::new()
        })
    }

    /// Whether it could be kept.
    fn write(&mut self, identity: &Identity, entries: &[Entry]) -> bool {
        let problem = match &self.cache {
            Some(path) => cache::write(path, identity, entries).err().map(|e| e.to_string()),
            None => Some("no folder for caches is known; ELBO_CACHE names one".into()),
        };
        self.notices.extend(problem.iter().map(|problem| format!("the tuning cannot be kept: {problem}")));
        problem.is_none()
    }

    /// The choices alone, as a cache or a run's record keeps them.
    pub fn entries(&self) -> Vec<Entry> {
        self.shapes.iter().map(|shape| shape.chosen.clone()).collect()
    }

    fn measure(&mut self, gpu: &Gpu, how: &How, progress: &mut dyn FnMut(&Step, usize, usize)) -> Result<()> {
        let start = Instant::now();
        let deadline = how.limit.map(|limit| start + limit);
        let count = self.shapes.iter().filter(|shape| !shape.is_cached).count();
        for (done, shape) in self.shapes.iter_mut().filter(|shape| !shape.is_cached).enumerate() {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                break;
            }
            progress(&shape.step, done, count);
            let mut candidates: Vec<&'static Candidate> = gpu.candidates(shape.step.kernel, &shape.step.params);
            // The table's first: the others must beat it.
            candidates.sort_by_key(|candidate| candidate.name != shape.usual);
            shape.measured = measure::measure(gpu, &shape.step, &candidates, deadline)?;
            for Measured { candidate, seconds } in &shape.measured {
                if let Err(problem) = seconds {
                    self.notices.push(format!("{} of {} is left out: {problem}", candidate, shape.step.kernel.name));
                }
            }
            if let Some(best) = best(&shape.measured) {
                shape.chosen.candidate = best.into();
                shape.chosen.origin = Origin::Measured;
            }
        }
        self.seconds = start.elapsed().as_secs_f64();
        Ok(())
    }
}

/// The fastest, or the first where none is much faster. None where there is nothing to compare.
fn best(measured: &[Measured]) -> Option<&'static str> {
    let mut timed = measured.iter().filter_map(|m| Some((m.candidate, m.seconds.clone().ok()?)));
    let first = timed.next().filter(|_| measured.len() > 1)?;
    let fastest = timed.fold(first, |a, b| if b.1 < a.1 { b } else { a });
    Some(if fastest.1 * LEAST_GAIN < first.1 { fastest.0 } else { first.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stays_unless_another_is_clearly_faster() {
        let of = |seconds: &[f64]| {
            const NAMES: [&str; 3] = ["first", "second", "third"];
            let measured = |(&candidate, &seconds): (&&'static str, &f64)| Measured { candidate, seconds: Ok(seconds) };
            best(&NAMES.iter().zip(seconds).map(measured).collect::<Vec<_>>())
        };
        assert_eq!(of(&[1.0, 0.98, 0.99]), Some("first"));
        assert_eq!(of(&[1.0, 0.9, 0.5]), Some("third"));
        assert_eq!(of(&[1.0]), None, "nothing to compare with");
        let broken = Measured { candidate: "broken", seconds: Err("so".into()) };
        let right = Measured { candidate: "right", seconds: Ok(2.0) };
        assert_eq!(best(&[broken.clone(), right.clone()]), Some("right"));
        assert_eq!(best(&[broken.clone(), broken]), None);
    }
}
