//! What each side makes of an exchange.

use std::collections::BTreeMap;
use std::path::Path;

use super::exchange::Exchange;
use super::file::{File, LARGEST_FILE};
use super::{RECORDING, SCRIPT};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::files::read_regular;
use crate::instruments::replay::Replay;

/// What is kept of the steps: all losses; of every gradient and parameter its norm and some elements at each step, and
/// all elements at the last. Of parameters it can be all at each.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Who took the steps.
    pub by: String,
    /// Of each step the minimised loss, then the model's terms summed over the batch, in nats.
    pub losses: Vec<Vec<f64>>,
    pub(super) tensors: BTreeMap<String, [Trace; 2]>,
    /// The parameters without a gradient, see [`Replay::without_gradient`].
    pub(super) without_gradient: Vec<String>,
}

/// Gradient and parameter, in this order, in [`Recording::tensors`] and in the names of a recorded file.
pub(super) const KINDS: [&str; 2] = ["gradient", "parameter"];

/// One tensor over the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trace {
    /// The Euclidean norm of all its elements, at each step.
    pub norms: Vec<f64>,
    /// At each step some of its elements, or all; at the last, all.
    pub elements: Vec<Vec<f32>>,
}

/// Of more than 512 elements about 256: 0, k, 2k, ..., k odd so that it is no multiple of a row's length. As in the
/// script.
pub(super) fn stride(len: usize) -> usize {
    if len > 512 { (len / 256) | 1 } else { 1 }
}

impl Recording {
    /// Takes the steps on a device, from the exchange's parameters or, following a recording with all parameters, from
    /// those that it has at each step. `progress` hears how many are done.
    /// Errors: a recording that cannot be followed, no room on the device, the device was lost.
    pub fn take(
        exchange: &Exchange,
        device: &Device,
        follow: Option<&Recording>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Recording> {
        if follow.is_some_and(|recording| !recording.has_all_parameters()) {
            let problem = format!("to follow it, all parameters must be recorded: {SCRIPT} FOLDER --whole");
            return Err(Error::Usage(problem));
        }
        let mut replay = Replay::new(&exchange.about.settings, &exchange.about.columns, exchange.steps, device)?;
        replay.write_parameters(|p| exchange.initial[&p.name].1.clone());
        replay.write_constants(|name| exchange.constants.get(name).map(|(_, values)| values.as_slice()));
        let names: Vec<String> = replay.arena.parameters().iter().map(|p| p.name.clone()).collect();
        let mut recording = Recording {
            by: device.description(),
            losses: Vec::new(),
            tensors: BTreeMap::new(),
            without_gradient: replay.without_gradient(),
        };
        for step in 0..exchange.steps {
            let taken = replay.take(&exchange.columns_of(step), &exchange.noise_of(step))?;
            let losses = std::iter::once(taken.loss).chain(taken.terms);
            recording.losses.push(losses.map(f64::from).collect());
            for name in &names {
                let traces = recording.tensors.entry(name.clone()).or_default();
                let kept = [(&taken.gradients, false), (&taken.parameters, follow.is_some())];
                for (trace, (file, is_whole)) in traces.iter_mut().zip(kept) {
                    let (_, values) = &file.tensors[name];
                    let is_whole = is_whole || step + 1 == exchange.steps;
                    let stride = if is_whole { 1 } else { stride(values.len()) };
                    trace.norms.push(norm(values.iter().map(|&v| f64::from(v))));
                    trace.elements.push(values.iter().copied().step_by(stride).collect());
                }
            }
            if let Some(there) = follow {
                replay.write_parameters(|p| there.tensors[&p.name][1].elements[step].clone());
            }
            progress(step + 1);
        }
        Ok(recording)
    }

    /// Whether every parameter is there at each step, so that a run can [follow](Recording::take) it.
    pub fn has_all_parameters(&self) -> bool {
        let is_whole =
            |trace: &Trace| trace.elements.iter().all(|e| Some(e.len()) == trace.elements.last().map(Vec::len));
        self.tensors.values().all(|[_, parameter]| is_whole(parameter))
    }

    /// Reads what PyTorch recorded in the exchange's folder. Errors: no recording, one of another exchange, a damaged
    /// one.
    pub fn read(folder: &Path, exchange: &Exchange) -> Result<Recording> {
        let path = folder.join(RECORDING);
        let bytes = read_regular(&path, LARGEST_FILE)?;
        let file = File::open(&path, &bytes)?;
        if file.metadata.get("exchange") != Some(&exchange.digest) {
            return Err(Error::file(&path, format!("was recorded from another exchange; run {SCRIPT} again")));
        }
        let steps = exchange.steps;
        let names = std::iter::once("loss").chain(exchange.terms().iter().map(|term| term.name));
        let losses: Vec<Vec<f64>> = names.map(|name| file.numbers(name, steps)).collect::<Result<_>>()?;
        let trace = |kind: &str, name: &str, len: usize| -> Result<Trace> {
            let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
            let sample = format!("{kind}.sample.{name}");
            // All elements, or as many as the stride leaves.
            let is_whole = file.view(&sample)?.shape() == [steps, len];
            let sampled = if is_whole { len } else { len.div_ceil(stride(len)) };
            let samples = file.numbers(&sample, steps * sampled)?;
            let mut elements: Vec<Vec<f32>> = samples.chunks(sampled).map(narrow).collect();
            elements[steps - 1] = narrow(&file.numbers(&format!("{kind}.last.{name}"), len)?);
            Ok(Trace { norms: file.numbers(&format!("{kind}.norm.{name}"), steps)?, elements })
        };
        let both = |(name, (_, values)): (&String, &(Vec<usize>, Vec<f32>))| {
            let [gradient, parameter] = KINDS.map(|kind| trace(kind, name, values.len()));
            Ok((name.clone(), [gradient?, parameter?]))
        };
        Ok(Recording {
            by: file.metadata.get("by").cloned().unwrap_or_else(|| "PyTorch".into()),
            losses: (0..steps).map(|s| losses.iter().map(|of| of[s]).collect()).collect(),
            tensors: exchange.initial.iter().map(both).collect::<Result<_>>()?,
            without_gradient: Vec::new(),
        })
    }
}

/// The Euclidean norm.
pub fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}
