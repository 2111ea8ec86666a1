//! A model's training steps on given pictures and given noise, one at a time: to take the steps that somebody else
//! takes too, such as PyTorch.

use crate::arena::{Arena, Parameter};
use crate::backend::{Backend, Device, Loaded};
use crate::data::table::Columns;
use crate::error::Result;
use crate::kernels::clock::Clock;
use crate::kernels::fill;
use crate::kernels::rows::Rows;
use crate::layers::Mode;
use crate::models::batch::{Augmentation, Batch, Source};
use crate::models::draw::Draw;
use crate::models::{Entry, Model};
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;
use crate::train::checkpoint::Checkpoint;
use crate::train::optimizer::OptimizerState;
use crate::train::programs::record_update;
use crate::train::rows::rows;
use crate::train::settings::Settings;

/// A recorded training step on a device, with room for its inputs.
pub struct Replay {
    /// The memory of the model, the step and its inputs.
    pub arena: Arena,
    /// What the step trains.
    pub model: Box<dyn Model>,
    /// Where the step runs; it holds parameters, statistics and moments.
    pub backend: Backend,
    /// The step that is replayed.
    pub step: Program,
    /// The columns of the next step's batch, (B, width) each, in the order of [`Entry::takes`].
    pub inputs: Vec<Tensor>,
    /// Its random numbers, in the order in which the model asks for them.
    pub noise: Vec<Tensor>,
    loaded: Loaded,
    /// (steps, T+2), see [`clock::tally`](crate::kernels::clock::tally).
    losses: Tensor,
    /// dL/drow.
    scale: f32,
    rows: usize,
    taken: usize,
}

/// What a step leaves. Losses and gradients are those of the parameters before the update.
pub struct Taken {
    /// What was minimised: the weighted terms of the batch, in nats; divided by B with reduction `mean`.
    pub loss: f32,
    /// The model's terms, summed over the batch, in nats.
    pub terms: Vec<f32>,
    /// What the optimiser got (after clipping), by name, in PyTorch's order. The statistics lie among them.
    pub gradients: Checkpoint,
    /// Parameters and statistics after the update.
    pub parameters: Checkpoint,
}

/// Room for a batch of the columns that a model takes, in the order of [`Entry::takes`]. Panics on a column that is not
/// there.
pub(super) fn given(arena: &mut Arena, model: &Entry, columns: &Columns, rows: usize) -> Vec<(String, Source)> {
    let tensor = |name: &&str| {
        let width = columns.0.get(*name).unwrap_or_else(|| panic!("there is no column {name}")).width();
        (name.to_string(), Source::Given(arena.tensor(*name, &[rows, width])))
    };
    model.takes.iter().map(tensor).collect()
}

/// A training batch of given columns, with sentences or sequences of `longest` steps.
pub(super) fn training_batch(
    settings: &Settings,
    columns: Vec<(String, Source)>,
    longest: usize,
    clock: Tensor,
) -> Batch {
    let rows = settings.batch_size;
    let weight = Rows::Scale(settings.reduction.scale(rows));
    let augmentation = Augmentation::default();
    Batch { rows, clock, mode: Mode::Train { clock }, weight, order: None, columns, augmentation, longest }
}

impl Replay {
    /// `steps` steps of the settings' batch size; their schedules run once over these. Parameters are zero until
    /// [`write_parameters`](Replay::write_parameters). Errors: a model that does not fit the columns, no room on the
    /// device.
    pub fn new(settings: &Settings, columns: &Columns, steps: usize, device: &Device) -> Result<Replay> {
        let arena = &mut Arena::new();
        let model = (settings.entry()?.open)(arena, &settings.own, columns)?;
        let optimizer = OptimizerState::new(arena, settings.optimizer);
        let clock = Clock::tensor(arena, "clock", steps);
        let sources = given(arena, model.entry(), columns, settings.batch_size);
        let inputs = sources.iter().filter_map(|(_, source)| match source {
            Source::Given(tensor) => Some(*tensor),
            _ => None,
        });
        let inputs = inputs.collect();
        let batch = training_batch(settings, sources, columns.longest(), clock);
        let losses = arena.tensor("losses", &[steps, model.terms().len() + 2]);
        let gradients = arena.flat_gradients();
        let mut r = Recorder::new(arena);
        fill::forward(&mut r, gradients, 0.0);
        let mut draw = Draw::Given(Vec::new());
        record_update(&mut r, &*model, &optimizer, settings, &batch, &mut draw, losses);
        let step = r.finish("step on given columns and noise");
        let Draw::Given(noise) = draw else { unreachable!("it was given") };
        let noise = noise.into_iter().map(|(tensor, _)| tensor).collect();

        let mut backend = device.backend();
        let loaded = backend.load(arena, &step)?;
        for statistic in arena.statistics() {
            backend.write(statistic.value, &vec![statistic.initial; statistic.value.len()]);
        }
        let rows = rows(settings, &model.knobs(), 0, steps, steps as u64);
        let clock_now = Clock { seed: settings.seed, step: 0, batch: 0, epoch: 0, rows };
        backend.write_words(clock, &clock_now.words());
        let (arena, rows) = (arena.clone(), settings.batch_size);
        let scale = settings.reduction.scale(rows);
        Ok(Replay { arena, model, backend, step, inputs, noise, loaded, losses, scale, rows, taken: 0 })
    }

    /// Writes every parameter. `values` gives one's in PyTorch's order.
    pub fn write_parameters(&mut self, values: impl Fn(&Parameter) -> Vec<f32>) {
        for p in self.arena.parameters() {
            self.backend.write(p.value, &p.layout.from_file(&values(p), p.value.shape()));
        }
    }

    /// Writes the statistics of which `values` knows where they start, by name and in PyTorch's order.
    pub fn write_constants<'a>(&mut self, values: impl Fn(&str) -> Option<&'a [f32]>) {
        for statistic in self.arena.statistics() {
            if let Some(values) = values(&statistic.name) {
                self.backend.write(statistic.value, &statistic.layout.from_file(values, statistic.value.shape()));
            }
        }
    }

    /// Takes the next step, on columns (B, width) and random numbers, in the order of [`inputs`](Replay::inputs) and
    /// [`noise`](Replay::noise). Errors: the device was lost. Panics where there are not as many as those.
    pub fn take(&mut self, columns: &[Vec<f32>], noise: &[&[f32]]) -> Result<Taken> {
        let counts = [(columns.len(), self.inputs.len()), (noise.len(), self.noise.len())];
        assert!(
            counts.iter().all(|(given, wanted)| given == wanted),
            "columns and noise, given and wanted: {counts:?}"
        );
        self.inputs.iter().zip(columns).for_each(|(&tensor, values)| self.backend.write(tensor, values));
        self.noise.iter().zip(noise).for_each(|(&tensor, values)| self.backend.write(tensor, values));
        self.backend.run(&[(self.loaded, 1)])?;
        let wanted = [self.losses, self.arena.flat_gradients(), self.arena.flat_parameters()];
        let wanted: Vec<Tensor> = wanted.into_iter().chain(self.arena.flat_statistics()).collect();
        let mut read = self.backend.read(&wanted)?.into_iter();
        let [losses, gradients, parameters, statistics] = [(); 4].map(|()| read.next().unwrap_or_default());

        let terms = self.model.terms();
        let row = losses.chunks(terms.len() + 2).nth(self.taken).expect("a row for each step");
        let (values, rest) = row.split_at(terms.len());
        self.taken += 1;
        assert!(rest[1] as usize == self.rows, "{} rows were tallied", rest[1]);
        let weighted = |(term, value): (&crate::models::Term, &f32)| term.weight.of(f64::from(rest[0])) as f32 * value;
        let loss = self.scale * terms.iter().zip(values).map(weighted).sum::<f32>();
        let terms = values.to_vec();
        let named = |flat: &[f32]| Checkpoint::of_model(&self.arena, flat, &statistics);
        Ok(Taken { loss, terms, gradients: named(&gradients), parameters: named(&parameters) })
    }

    /// The parameters whose gradient nothing computes: biases in front of a batch norm, which takes them away again.
    /// Their gradient is zero, and what a sum would find is its rounding.
    pub fn without_gradient(&self) -> Vec<String> {
        let writes = |p: &Parameter| self.step.steps.iter().any(|step| step.writes.contains(&p.grad));
        self.arena.parameters().iter().filter(|p| !writes(p)).map(|p| p.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::models::presets;

    #[test]
    fn only_biases_in_front_of_batch_norm_have_no_gradient() {
        let without = |preset: &str| {
            let (_, preset) = presets::find(preset).unwrap();
            let settings = preset.settings().with("batch_size = 2").unwrap();
            let device = Device::Cpu(Cpu::Accelerated);
            Replay::new(&settings, &preset.columns(), 1, &device).unwrap().without_gradient()
        };
        assert!(without("mnist-mlp").is_empty());
        let expected = ["encoder.0.0", "encoder.1.0", "decoder.0.0", "decoder.1.0", "decoder.2.0"]
            .map(|layer| format!("{layer}.bias"));
        assert_eq!(without("mnist-conv"), expected);
    }
}
