//! The views of a model, each recorded for a chunk of rows when it is first asked for.

use std::collections::BTreeMap;

use crate::arena::Arena;
use crate::backend::{Backend, Loaded};
use crate::data::table::Kind;
use crate::error::Result;
use crate::kernels::clock::{Clock, Row};
use crate::models::draw::Draw;
use crate::models::{Model, Port, View};
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;

/// Rows a replay encodes or decodes. More go through in chunks of it; the last one is filled up with zeros.
pub(super) const CHUNK: usize = 256;
/// The most values of a chunk's pictures; of larger pictures a chunk has fewer.
const CHUNK_VALUES: usize = 1 << 24;
/// The most steps of a chunk's sequences.
const CHUNK_STEPS: usize = 1 << 13;

/// Rows of a chunk of pictures of `input` values.
pub(super) fn chunk(input: usize) -> usize {
    (CHUNK_VALUES / input).clamp(1, CHUNK)
}

/// The views that were asked for.
pub struct Stages {
    /// Of the views' noise.
    clock: Tensor,
    /// By name.
    loaded: BTreeMap<String, Stage>,
}

/// A program from a chunk's rows to others.
struct Stage {
    program: Loaded,
    rows: usize,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Stages {
    /// None yet, of a model in this arena.
    pub fn new(arena: &mut Arena) -> Stages {
        Stages { clock: Clock::tensor(arena, "clock", 1), loaded: BTreeMap::new() }
    }

    /// Whether none was asked for.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    /// Records a view for so many rows: the program, its inputs and its outputs, (rows, width of its kind) each.
    pub fn record(
        &self,
        arena: &mut Arena,
        model: &dyn Model,
        view: &View,
        rows: usize,
    ) -> (Program, Vec<Tensor>, Vec<Tensor>) {
        let mut r = Recorder::new(arena);
        r.scope(view.name);
        let tensor = |port: &Port| r.tensor(port.name, &[rows, port.kind.width()]);
        let inputs: Vec<Tensor> = view.inputs.iter().map(tensor).collect();
        let outputs = model.view(&mut r, view.name, &inputs, &mut Draw::Clock(self.clock));
        (r.finish(view.name), inputs, outputs)
    }

    /// Records and loads a view, if that has not been done. Errors: no room on the device.
    pub async fn load(
        &mut self,
        arena: &mut Arena,
        model: &dyn Model,
        backend: &mut Backend,
        view: &View,
    ) -> Result<()> {
        if self.loaded.contains_key(view.name) {
            return Ok(());
        }
        let rows = view.inputs.iter().chain(&view.outputs).map(|port| chunk(port.kind.width())).min().unwrap_or(1);
        // Each step of a sequence passes through layers of its own.
        let steps = view.inputs.iter().map(|port| match port.kind {
            Kind::Steps { longest, .. } => longest,
            _ => 1,
        });
        let rows = steps.max().map_or(rows, |steps| rows.min(CHUNK_STEPS / steps)).max(1);
        let (program, inputs, outputs) = self.record(arena, model, view, rows);
        let program = backend.load_async(arena, &program).await?;
        self.loaded.insert(view.name.into(), Stage { program, rows, inputs, outputs });
        Ok(())
    }

    /// What a view that is loaded makes of its inputs by name, each (N, width of its kind): its outputs, in its order.
    /// `seed` is of its noise. Errors: those of the device. Panics where an input is missing, or not N whole rows.
    pub async fn run(
        &self,
        backend: &mut Backend,
        view: &View,
        inputs: &[(&str, &[f32])],
        seed: u64,
    ) -> Result<Vec<Vec<f32>>> {
        let name = view.name;
        let given = |port: &Port| {
            let found = inputs.iter().find(|(name, _)| *name == port.name);
            let values = found.unwrap_or_else(|| panic!("{name} takes {}, which is not given", port.name)).1;
            let width = port.kind.width();
            assert!(values.len().is_multiple_of(width), "{} values are no rows of {width}", values.len());
            values
        };
        let given: Vec<&[f32]> = view.inputs.iter().map(given).collect();
        let rows = given[0].len() / view.inputs[0].kind.width();
        let in_step = view.inputs.iter().zip(&given).all(|(port, values)| values.len() == rows * port.kind.width());
        assert!(in_step, "the inputs of {name} are of different numbers of rows");
        let row = Row { kl_weight: 1.0, ..Row::default() };
        self.loaded[name]
            .run(backend, &given, rows, |backend, chunk| {
                let time = Clock { seed, step: chunk, batch: 0, epoch: 0, rows: vec![row] };
                backend.write_words(self.clock, &time.words());
            })
            .await
    }
}

impl Stage {
    /// The outputs for so many rows. `before` is called before each chunk, with its number.
    async fn run(
        &self,
        backend: &mut Backend,
        inputs: &[&[f32]],
        rows: usize,
        before: impl Fn(&mut Backend, u32),
    ) -> Result<Vec<Vec<f32>>> {
        let mut results = vec![Vec::new(); self.outputs.len()];
        for (chunk, first) in (0..rows).step_by(self.rows).enumerate() {
            let count = self.rows.min(rows - first);
            for (&tensor, values) in self.inputs.iter().zip(inputs) {
                let width = tensor.matrix()[1];
                let mut filled = values[first * width..(first + count) * width].to_vec();
                filled.resize(tensor.len(), 0.0);
                backend.write(tensor, &filled);
            }
            before(backend, chunk as u32);
            backend.run_async(&[(self.program, 1)], &mut |_| true).await?;
            let read = backend.read_async(&self.outputs).await?;
            for (result, (values, output)) in results.iter_mut().zip(read.iter().zip(&self.outputs)) {
                result.extend(&values[..count * output.matrix()[1]]);
            }
        }
        Ok(results)
    }
}
