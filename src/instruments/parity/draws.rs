//! The random numbers of the first steps of a run: which ones its model asks for, and their values.

use crate::arena::Arena;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Device};
use crate::data::table::Columns;
use crate::error::Result;
use crate::instruments::replay::{given, training_batch};
use crate::kernels::clock::Clock;
use crate::kernels::{random, shuffle};
use crate::models::Model;
use crate::models::draw::Draw;
use crate::program::{Program, Recorder, Step};
use crate::train::settings::Settings;

/// Random numbers that a model asks for: the shape of a step's, and (steps, shape) the values.
pub(super) type Noise = (Vec<usize>, Vec<f32>);

/// The draws of random numbers that a model of these settings asks for at each step, as recorded dispatches. Errors:
/// settings that do not fit together or the columns.
pub(super) fn asks(settings: &Settings, columns: &Columns) -> Result<Vec<Step>> {
    let mut arena = Arena::new();
    let model: Box<dyn Model> = (settings.entry()?.open)(&mut arena, &settings.own, columns)?;
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let sources = given(&mut arena, model.entry(), columns, settings.batch_size);
    let batch = training_batch(settings, sources, columns.longest(), clock);
    let mut r = Recorder::new(&mut arena);
    model.step(&mut r, &batch, &mut Draw::Clock(clock));
    let drawn = |step: &Step| [&random::NORMAL, &random::UNIT].iter().any(|kernel| std::ptr::eq(step.kernel, *kernel));
    Ok(r.finish("step").steps.into_iter().filter(drawn).collect())
}

/// The order of the first epoch over `count` pictures, and the random numbers of the first steps, from the settings'
/// seed.
pub(super) fn draw(
    settings: &Settings,
    columns: &Columns,
    count: usize,
    steps: usize,
) -> Result<(Vec<u32>, Vec<Noise>)> {
    let asked = asks(settings, columns)?;
    // The draws alone, in an arena without the model: by kernel, params and shape.
    let mut arena = Arena::new();
    let order = arena.tensor("order", &[count]);
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let mut r = Recorder::new(&mut arena);
    shuffle::forward(&mut r, clock, order, true);
    let shuffled = r.finish("order");
    let mut r = Recorder::new(&mut arena);
    let draw = |r: &mut Recorder, step: &Step| {
        let y = r.tensor("noise", step.writes[0].shape());
        r.dispatch_words(step.kernel, step.params.clone(), &[clock], &[y]);
        y
    };
    let tensors: Vec<_> = asked.iter().map(|step| draw(&mut r, step)).collect();
    let drawn: Program = r.finish("noise");

    let mut backend: Backend = Device::Cpu(Cpu::Accelerated).backend();
    let (shuffled, drawn) = (backend.load(&arena, &shuffled)?, backend.load(&arena, &drawn)?);
    let time = |step| Clock { seed: settings.seed, step, batch: 0, epoch: 0, rows: vec![Clock::unit().rows[0]] };
    backend.write_words(clock, &time(0).words());
    backend.run(&[(shuffled, 1)])?;
    let order = pollster::block_on(backend.read_words_async(&[order]))?.remove(0);
    let mut noise: Vec<_> = tensors.iter().map(|tensor| (tensor.shape().to_vec(), Vec::new())).collect();
    for step in 0..steps as u32 {
        backend.write_words(clock, &time(step).words());
        backend.run(&[(drawn, 1)])?;
        for ((_, all), values) in noise.iter_mut().zip(backend.read(&tensors)?) {
            all.extend(values);
        }
    }
    Ok((order, noise))
}
