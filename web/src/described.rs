//! What the page shows of a run or a model, as JSON.

use elbo::inference::Trained;
use elbo::models::{Term, View};
use elbo::train::epochs::Epochs;
use serde_json::{Value, json};

fn names(views: &[View]) -> Vec<&'static str> {
    views.iter().map(|view| view.name).collect()
}

fn of_terms(terms: &[Term]) -> Vec<Value> {
    terms.iter().map(|term| json!({ "name": term.name, "help": term.about })).collect()
}

/// A run in training.
pub fn of_run(epochs: &Epochs) -> Value {
    let (settings, programs) = (&epochs.settings, &epochs.programs);
    let lr = json!({
        "key": "lr", "value": settings.lr, "help": "Learning rate", "min": 1e-5, "max": 0.1, "log": true,
    });
    let knob = |knob: &elbo::models::Knob| {
        let key = epochs
            .settings
            .entry()
            .ok()
            .and_then(|entry| entry.keys.iter().flat_map(|group| group.iter()).find(|key| key.name == knob.name));
        json!({
            "key": knob.name, "value": knob.value, "help": key.map_or("", |key| key.help),
            "min": 0.0, "max": (4.0 * knob.value).max(4.0), "log": false,
        })
    };
    let knobs: Vec<Value> = std::iter::once(lr).chain(epochs.knobs().iter().map(knob)).collect();
    json!({
        "preset": settings.preset,
        "model": settings.model,
        "described": programs.model.describe(),
        "parameters": programs.arena.parameter_count(),
        "dispatches": programs.dispatches_a_step(),
        "batches": epochs.batches(),
        "batch_size": settings.batch_size,
        "views": names(&programs.model.views()),
        "terms": of_terms(programs.model.terms()),
        "knobs": knobs,
        "epoch": epochs.progress.epoch,
        "batch": epochs.progress.batch,
        "epochs": settings.epochs,
        "shape": programs.pictures.layout.shape,
    })
}

/// A trained model, in the same form.
pub fn of_model(trained: &Trained) -> Value {
    let (arena, _) = trained.parameters();
    let shape = trained.card.picture().ok();
    json!({
        "preset": trained.card.model,
        "model": trained.card.model,
        "described": trained.described,
        "parameters": arena.parameter_count(),
        "dispatches": 0,
        "batches": 0,
        "batch_size": 0,
        "views": names(&trained.views),
        "terms": of_terms(trained.terms()),
        "knobs": [],
        "epoch": trained.card.epoch,
        "batch": 0,
        "epochs": trained.card.epoch,
        "shape": shape,
    })
}
