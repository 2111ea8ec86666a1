//! What an entry says of its model holds: settings, names, keys, columns, views.

use std::collections::BTreeSet;

use elbo::arena::Arena;
use elbo::backend::Loaded;
use elbo::data::table::{Columns, PICTURES};
use elbo::kernels::clock::Clock;
use elbo::models::draw::Draw;
use elbo::models::{Entry, MODELS, Weight, presets};
use elbo::program::Recorder;
use elbo::tensor::Tensor;
use elbo::train::metrics::monitors;
use elbo::train::settings::{Run, Settings};

use crate::step::{CPU, has_listed_networks, write_start};

/// The columns that a model is made for: MNIST's with labels, or those of its first preset.
fn columns_for(entry: &Entry) -> Columns {
    let mnist = Columns::of_pictures([1, 28, 28], 10);
    let other = entry.presets.first().map(|preset| preset.columns());
    other.filter(|columns| columns.picture(PICTURES).is_err()).unwrap_or(mnist)
}

#[test]
fn a_model_keeps_the_settings_that_it_was_opened_with() {
    for entry in MODELS {
        let default = (Settings::of_model(entry), columns_for(entry));
        let presets = entry.presets.iter().map(|preset| (preset.settings(), preset.columns()));
        for (settings, columns) in std::iter::once(default).chain(presets) {
            let name = &settings.preset;
            assert_eq!(settings.model, entry.name, "{name}");
            let model = settings.outline(&columns).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(model.settings(), settings.own, "{name}");
            assert!(std::ptr::eq(model.entry(), *entry), "{name}");
            // What a model file keeps opens the same model again.
            let again = entry.outline(&model.settings(), &columns).unwrap();
            assert_eq!((again.settings(), again.describe()), (model.settings(), model.describe()), "{name}");
        }
    }
}

#[test]
fn a_settings_text_means_the_same_however_its_numbers_are_written() {
    for entry in MODELS {
        let base = Settings::of_model(entry);
        let Some(weight) = entry.key_names().find(|key| ["kl_weight", "commitment"].contains(key)) else {
            assert_eq!(entry.name, "classifier", "it has no such number");
            continue;
        };
        let [whole, decimal] = ["2", "2.0"].map(|n| base.with(&format!("{weight} = {n}\nlr = {n}")).unwrap());
        assert_eq!(whole, decimal, "{}", entry.name);
        if !has_listed_networks(entry) {
            continue;
        }
        let networks = |encoder: &str| {
            let text = format!("latent = 3\nencoder = \"\"\"{encoder}\"\"\"\ndecoder = 'flatten, linear 784'");
            base.with(&text).unwrap()
        };
        assert_eq!(networks("flatten, linear 6"), networks("\n  flatten,\n  linear 6"), "{}", entry.name);
    }
}

#[test]
fn names_are_unique_and_keys_have_defaults() {
    for entry in MODELS {
        let own: Vec<&str> = entry.key_names().collect();
        let all: Vec<&str> =
            ["preset", "model"].into_iter().chain(Run::KEYS.iter().map(|key| key.name)).chain(own.clone()).collect();
        let distinct: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len(), "{}: {all:?}", entry.name);
        let defaults = (entry.defaults)();
        assert!(defaults.keys().all(|key| own.contains(&key.as_str())), "{}: {defaults}", entry.name);
        (entry.check)(&defaults).unwrap();

        // Each term has its monitors, and one that is weighted a knob, which is a key.
        let all = (entry.terms)(&(entry.defaults)());
        let terms: BTreeSet<&str> = all.iter().map(|term| term.name).collect();
        assert_eq!(terms.len(), all.len(), "{}", entry.name);
        let monitors = monitors(all);
        let model = entry.outline(&defaults, &columns_for(entry)).unwrap();
        for term in all {
            for split in ["train", "test"] {
                assert!(monitors.contains(&format!("{split}_{}", term.name)), "{}: {monitors:?}", entry.name);
            }
            if let Weight::Knob(knob) = term.weight {
                assert!(model.knobs().iter().any(|k| k.name == knob) && own.contains(&knob), "{}: {knob}", entry.name);
            }
        }
    }
    let names: BTreeSet<&str> = MODELS.iter().map(|entry| entry.name).collect();
    let presets: BTreeSet<&str> = presets::all().map(|(_, preset)| preset.name).collect();
    assert_eq!((names.len(), presets.len()), (MODELS.len(), presets::all().count()));
    assert!(names.is_disjoint(&presets), "a run of a model's defaults would have a preset's name");
}

#[test]
fn a_model_without_a_column_that_it_takes_is_refused_by_name() {
    for entry in MODELS {
        for column in entry.takes {
            let mut columns = columns_for(entry);
            columns.0.remove(*column).unwrap();
            let problem = Settings::of_model(entry).outline(&columns).err().expect("it lacks a column").to_string();
            assert!(problem.contains(&format!("column {column}")), "{}: {problem}", entry.name);
        }
    }
}

/// With two rows of zeros, from the initial parameters and statistics.
#[test]
fn every_view_gives_what_its_ports_say() {
    const ROWS: usize = 2;
    for (entry, preset) in presets::all() {
        let settings = preset.settings();
        let mut arena = Arena::new();
        let model = (entry.open)(&mut arena, &settings.own, &preset.columns()).unwrap();
        let clock = Clock::tensor(&mut arena, "clock", 1);
        let views = model.views();
        let names: BTreeSet<&str> = views.iter().map(|view| view.name).collect();
        assert_eq!(names.len(), views.len(), "{}", preset.name);
        let mut programs = Vec::new();
        for view in &views {
            let mut r = Recorder::new(&mut arena);
            let inputs: Vec<Tensor> =
                view.inputs.iter().map(|port| r.tensor(port.name, &[ROWS, port.kind.width()])).collect();
            let outputs = model.view(&mut r, view.name, &inputs, &mut Draw::Clock(clock));
            programs.push((r.finish(view.name), outputs));
        }
        let mut backend = CPU.backend();
        let loaded: Vec<Loaded> = programs.iter().map(|(program, _)| backend.load(&arena, program).unwrap()).collect();
        write_start(&mut backend, &arena, &*model, clock);
        for ((view, (_, outputs)), loaded) in views.iter().zip(&programs).zip(loaded) {
            let what = format!("{} of {}", view.name, preset.name);
            backend.run(&[(loaded, 1)]).unwrap();
            assert_eq!(outputs.len(), view.outputs.len(), "{what}");
            for (output, port) in outputs.iter().zip(&view.outputs) {
                assert_eq!(output.matrix(), [ROWS, port.kind.width()], "{} of {what}", port.name);
                let values = backend.read_one(*output).unwrap();
                assert_eq!(values.len(), output.len(), "{} of {what}", port.name);
                assert!(values.iter().all(|v| v.is_finite()), "{} of {what}", port.name);
            }
        }
    }
}
