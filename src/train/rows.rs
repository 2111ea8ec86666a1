//! The rows of numbers that a step reads on the device: learning rate, knobs, Adam's bias corrections.

use crate::kernels::clock::Row;
use crate::models::{Knob, weighs_bound};
use crate::picture::Series;
use crate::train::settings::Settings;

/// A row for each step from `first_step` on (s, counted from 0 over the whole run), computed in f64; t = s + 1 in
/// Adam's bias corrections 1 - beta1^t and sqrt(1 - beta2^t) (Kingma and Ba 2015, algorithm 1). `total_steps` is
/// `settings.epochs` epochs of equal length. The first of the model's knobs is the KL weight; kernels
/// know the others by their number.
pub fn rows(settings: &Settings, knobs: &[Knob], first_step: u64, steps: usize, total_steps: u64) -> Vec<Row> {
    let steps_per_epoch = total_steps as f64 / settings.epochs as f64;
    let warmup_steps = settings.warmup_epochs * steps_per_epoch;
    // The betas as the device holds them. 1 - 0.999 is off by 1.3e-5 in f32, and so are the device's moments: a
    // correction by the same betas takes that out again.
    let [beta1, beta2] = settings.betas.map(|beta| beta as f32 as f64);
    (first_step..first_step + steps as u64)
        .map(|step| {
            let t = (step + 1) as f64;
            let lr = settings.lr * settings.lr_schedule.factor(step, warmup_steps, total_steps);
            let value = |knob: &Knob| (knob.value * knob.schedule.factor(step, steps_per_epoch, total_steps)) as f32;
            Row {
                lr: lr as f32,
                kl_weight: knobs.first().map_or(0.0, value),
                bias_correction1: (1.0 - beta1.powf(t)) as f32,
                bias_correction2_sqrt: (1.0 - beta2.powf(t)).sqrt() as f32,
                knobs: std::array::from_fn(|i| knobs.get(i + 1).map_or(0.0, value)),
            }
        })
        .collect()
}

/// The most points of a schedule that is drawn.
const DRAWN: u64 = 240;

/// What the learning rate and each knob were over the first `epochs` epochs of `steps_per_epoch` steps: a name and
/// points (epochs, value), at even distances where there are many.
pub fn schedules(settings: &Settings, knobs: &[Knob], steps_per_epoch: usize, epochs: usize) -> Vec<Series> {
    let steps = (steps_per_epoch * epochs) as u64;
    let total = steps_per_epoch as u64 * settings.epochs as u64;
    let count = steps.min(DRAWN);
    let drawn: Vec<(f64, Row)> = (0..count)
        .map(|i| i * (steps - 1) / (count - 1).max(1))
        .map(|step| (step as f64 / steps_per_epoch as f64, rows(settings, knobs, step, 1, total)[0]))
        .collect();
    let series = |name: &str, value: &dyn Fn(&Row) -> f32| {
        (name.to_string(), drawn.iter().map(|(at, row)| (*at, f64::from(value(row)))).collect::<Vec<_>>())
    };
    let mut all = vec![series("learning rate", &|row| row.lr)];
    all.extend(
        knobs
            .iter()
            .enumerate()
            .map(|(i, knob)| series(knob.name, &|row| if i == 0 { row.kl_weight } else { row.knobs[i - 1] })),
    );
    all
}

/// A row of an evaluation, which has every knob at its value, whatever its schedule says.
pub fn whole(knobs: &[Knob]) -> Row {
    let value = |i: usize| knobs.get(i).map_or(0.0, |knob| knob.value as f32);
    Row { kl_weight: value(0), knobs: std::array::from_fn(|i| value(i + 1)), ..Row::default() }
}

/// The same with 1 for the weight of a part of -ELBO, so that the loss is the bound.
pub fn of_bound(knobs: &[Knob]) -> Row {
    match knobs.first() {
        Some(first) if !weighs_bound(first.name) => whole(knobs),
        _ => Row { kl_weight: 1.0, ..whole(knobs) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Settings, Vec<Knob>) {
        let settings = Settings::of_preset("mnist-mlp").unwrap().with(text).unwrap();
        let knobs = settings.outline(&crate::models::presets::VAE[0].columns()).unwrap().knobs();
        (settings, knobs)
    }

    #[test]
    fn rows_hold_rate_weight_and_bias_corrections() {
        let (settings, knobs) =
            of("kl_weight = 2.0\nkl_schedule = 'linear:5'\nlr_schedule = 'linear'\nwarmup_epochs = 1.0");
        let rows = rows(&settings, &knobs, 20, 2, 100);
        assert_eq!(rows.len(), 2);
        // Epoch 2 of 10 with 10 steps each; 10 steps of warm-up; t = 21.
        assert_eq!(rows[0].lr, (1e-3 * (1.0 - 10.0 / 90.0)) as f32);
        assert_eq!(rows[0].kl_weight, (2.0 * 20.0 / 50.0) as f32);
        assert!((rows[0].bias_correction1 as f64 - (1.0 - 0.9f64.powi(21))).abs() < 1e-7);
        assert!((rows[0].bias_correction2_sqrt as f64 - (1.0 - (0.999f32 as f64).powi(21)).sqrt()).abs() < 1e-7);
        assert!(rows[1].kl_weight > rows[0].kl_weight && rows[1].bias_correction1 > rows[0].bias_correction1);
    }

    #[test]
    fn the_first_row_corrects_by_one_minus_beta() {
        let (settings, knobs) = of("");
        let first = rows(&settings, &knobs, 0, 1, 4690)[0];
        // Adam's first corrections, by the f32 betas that its moments use: 1 - 0.9 and sqrt(1 - 0.999).
        let corrections = [first.bias_correction1, first.bias_correction2_sqrt];
        assert_eq!((first.lr, first.kl_weight), (1e-3, 1.0));
        assert_eq!(corrections, [1.0 - 0.9f32, (1.0 - 0.999f32 as f64).sqrt() as f32]);
        let (sgd, _) = of("betas = [0.0, 0.0]");
        let first = rows(&sgd, &knobs, 0, 1, 10)[0];
        assert_eq!([first.bias_correction1, first.bias_correction2_sqrt], [1.0, 1.0]);
    }

    #[test]
    fn an_epoch_at_a_time_gives_the_rows_of_the_whole_run() {
        let (settings, knobs) = of("kl_schedule = 'cyclical'\nlr_schedule = 'cosine:0.1'");
        let whole = rows(&settings, &knobs, 0, 70, 70);
        let parts: Vec<_> = (0..10).flat_map(|epoch| rows(&settings, &knobs, epoch * 7, 7, 70)).collect();
        assert_eq!(whole, parts);
    }

    #[test]
    fn schedules_are_the_rows_of_the_epochs_so_far() {
        let (settings, knobs) = of("epochs = 10\nlr = 0.5\nlr_schedule = 'linear'\nkl_schedule = 'linear:5'");
        let drawn = schedules(&settings, &knobs, 7, 3);
        let names: Vec<&str> = drawn.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["learning rate", "kl_weight"]);
        let all = rows(&settings, &knobs, 0, 21, 70);
        let expected = |value: fn(&Row) -> f32| {
            all.iter().enumerate().map(|(i, row)| (i as f64 / 7.0, f64::from(value(row)))).collect::<Vec<_>>()
        };
        assert_eq!(drawn[0].1, expected(|row| row.lr));
        assert_eq!(drawn[1].1, expected(|row| row.kl_weight));
        // Of a long run a part of the steps, both ends among them.
        let long = schedules(&settings, &knobs, 1000, 10).remove(0).1;
        assert_eq!((long.len() as u64, long[0].0, long[239].0), (DRAWN, 0.0, 9.999));
        assert!(schedules(&settings, &knobs, 7, 0).iter().all(|(_, points)| points.is_empty()));
    }
}
