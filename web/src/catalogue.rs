//! What the page can offer: presets with their settings, kernels, rungs.

use elbo::data::table::{Kind, LABELS, PICTURES};
use elbo::kernels::ladder::matmul;
use elbo::models::presets::{self, Preset};
use elbo::models::{Entry, Model};
use elbo::train::settings::{Run, Settings};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

/// The sections of the run's keys that mean something in a tab; its data and its files are the page's.
const SECTIONS: [&str; 4] = ["Training", "Loss", "Optimiser", "Stopping"];
/// Keys of these sections that do not, and of the others those that do.
const NOT_HERE: [&str; 2] = ["device", "init"];
const TOO: [&str; 3] = ["flip", "shift", "binarise"];
/// What most want to change.
const COMMON: [&str; 7] = ["epochs", "batch_size", "lr", "kl_weight", "latent", "hidden", "seed"];

/// Presets, kernels, rungs, as JSON.
#[wasm_bindgen]
pub fn catalogue() -> String {
    let presets: Vec<Value> = presets::all().filter(|(entry, preset)| fits(entry, preset)).map(described).collect();
    let kernels: Vec<&str> = elbo::kernels::ALL.iter().map(|kernel| kernel.name).collect();
    let production = std::iter::once(&matmul::LADDER.production);
    let rungs: Vec<&str> = matmul::LADDER.rungs.iter().chain(production).map(|rung| rung.name).collect();
    json!({ "presets": presets, "kernels": kernels, "ladder": rungs }).to_string()
}

/// Whether it trains on pictures and labels alone and decodes, and stands on no trained model: a tab has no file of
/// one, and the constants that such a model gives cannot be read.
fn fits(entry: &'static Entry, preset: &'static Preset) -> bool {
    let takes = entry.takes.iter().all(|column| [PICTURES, LABELS].contains(column));
    let works = |model: Box<dyn Model>| model.find_view("decode").is_some() && model.constants().is_ok();
    takes && matches!(preset.x, Kind::Picture(_)) && preset.settings().outline(&preset.columns()).is_ok_and(works)
}

fn described((entry, preset): (&'static Entry, &'static Preset)) -> Value {
    let settings = preset.settings();
    let table = settings.to_table();
    let of_run = Run::KEYS
        .iter()
        .filter(|key| TOO.contains(&key.name) || SECTIONS.contains(&key.section) && !NOT_HERE.contains(&key.name));
    let of_model = entry.keys.iter().flat_map(|group| group.iter());
    let key = |key: &elbo::keys::Key| {
        json!({
            "key": key.name,
            "value": table.get(key.name).map_or(String::new(), text),
            "help": key.help,
            "common": COMMON.contains(&key.name),
        })
    };
    let settings: Vec<Value> = of_run.chain(of_model).map(key).collect();
    let shape = match preset.x {
        Kind::Picture(shape) => shape,
        _ => [0; 3],
    };
    json!({
        "name": preset.name,
        "about": preset.about,
        "model": entry.name,
        "formula": entry.formula,
        "shape": shape,
        "settings": settings,
    })
}

/// A setting's value as a command line has it.
pub fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The settings of a preset with some of them changed, as the page has them: `{"lr": "0.001"}`. Errors: an unknown key,
/// a value out of its range.
pub fn settings(preset: &str, changed: &str) -> elbo::error::Result<Settings> {
    let mut given = elbo::train::given::Given::default();
    given.flag("preset", preset);
    let changed: serde_json::Map<String, Value> = serde_json::from_str(changed)
        .map_err(|e| elbo::error::Error::Usage(format!("the settings cannot be read: {e}")))?;
    for (key, value) in &changed {
        given.flag(key, value.as_str().unwrap_or(&value.to_string()));
    }
    Settings::resolve(None, given)
}
