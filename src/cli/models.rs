//! `elbo models`

use clap::Subcommand;
use elbo::error::{Error, Result};
use elbo::keys::{Key, hint};
use elbo::models::presets::{self, Preset};
use elbo::models::{Entry, MODELS, Term, Weight};
use elbo::train::metrics;
use elbo::train::settings::{Run, Settings};
use serde_json::{Value, json};
use toml::Table;

use super::table::{Column, table};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a model minimises, takes and can do, and its keys; of a preset, its settings file
    Show(Show),
}

#[derive(clap::Args)]
struct Show {
    /// A model or a preset
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        if let Some(Command::Show(show)) = self.command {
            return show.run(self.json);
        }
        if self.json {
            super::print_json(&MODELS.iter().map(|entry| summary(entry)).collect::<Vec<_>>());
            return Ok(());
        }
        let heads = [("model", Column::Left), ("what it is", Column::Left)];
        let rows: Vec<Vec<String>> = MODELS.iter().map(|entry| vec![entry.name.into(), entry.about.into()]).collect();
        super::print(&table(&heads, &rows));
        let heads = [("preset", Column::Left), ("model", Column::Left), ("what it is", Column::Left)];
        let row = |(entry, preset): (&'static Entry, &'static Preset)| {
            vec![preset.name.into(), entry.name.into(), preset.about.into()]
        };
        super::print(&format!("\n{}", table(&heads, &presets::all().map(row).collect::<Vec<_>>())));
        let mut articles: Vec<&str> = presets::all().map(|(_, preset)| preset.article).collect();
        articles.sort_unstable();
        articles.dedup();
        let of = |article: &str| {
            let names: Vec<&str> =
                presets::all().filter(|(_, preset)| preset.article == article).map(|(_, preset)| preset.name).collect();
            vec![article.to_string(), names.join(", ")]
        };
        let heads = [("tutorial", Column::Left), ("its presets", Column::Left)];
        super::print(&format!("\n{}", table(&heads, &articles.into_iter().map(of).collect::<Vec<_>>())));
        super::print(
            "\n`elbo models show NAME` says what a model minimises and has all its keys, or prints a preset to copy.",
        );
        Ok(())
    }
}

impl Show {
    fn run(self, json: bool) -> Result<()> {
        let preset = presets::all().find(|(_, preset)| preset.name == self.name);
        let entry = MODELS.iter().copied().find(|entry| entry.name == self.name);
        let (entry, preset) = match (entry, preset) {
            (Some(entry), _) => (entry, None),
            (None, Some((entry, preset))) => (entry, Some(preset)),
            (None, None) => {
                let known = MODELS.iter().map(|entry| entry.name).chain(presets::all().map(|(_, preset)| preset.name));
                return Err(Error::Usage(format!(
                    "there is no model or preset `{}`{}",
                    self.name,
                    hint(&self.name, known)
                )));
            }
        };
        let settings = preset.map_or_else(|| Settings::of_model(entry), Preset::settings);
        if json || self.json {
            let mut object = summary(entry);
            object["settings"] = json!(settings.to_table());
            super::print_json(&object);
            return Ok(());
        }
        match preset {
            // A file, and nothing else: `elbo models show NAME > mine.toml`.
            Some(preset) => super::print(preset.text.trim_end()),
            None => print(entry, &settings)?,
        }
        Ok(())
    }
}

fn print(entry: &'static Entry, settings: &Settings) -> Result<()> {
    super::print(&format!("{}: {}\n\n  {}\n", entry.name, entry.about, entry.formula));
    let term = |term: &Term| {
        let weight = times(term.weight).map_or_else(|number| number.to_string(), String::from);
        vec![term.name.to_string(), weight, term.about.to_string()]
    };
    let heads = [("term", Column::Left), ("times", Column::Left), ("what it is, in nats", Column::Left)];
    super::print(&table(&heads, &settings.terms()?.iter().map(term).collect::<Vec<_>>()));
    super::print(&format!("\ncolumns of the data: {}", entry.takes.join(", ")));
    super::print(&format!("metrics: {}", metrics::monitors(settings.terms()?).join(", ")));
    let names: Vec<&str> = entry.presets.iter().map(|preset| preset.name).collect();
    super::print(&format!("presets: {}", names.join(", ")));
    if let Some(preset) = entry.presets.first() {
        let model = preset.settings().outline(&preset.columns())?;
        let knobs: Vec<String> = model.knobs().iter().map(|knob| knob.name.to_string()).collect();
        super::print(&format!("knobs, which a schedule can change: {}", knobs.join(", ")));
        let views = model.views();
        let ports = |ports: &[elbo::models::Port]| ports.iter().map(|port| port.name).collect::<Vec<_>>().join(", ");
        let row = |view: &elbo::models::View| vec![view.name.into(), ports(&view.inputs), ports(&view.outputs)];
        let heads = [("view", Column::Left), ("takes", Column::Left), ("gives", Column::Left)];
        super::print(&format!("\n{}", table(&heads, &views.iter().map(row).collect::<Vec<_>>())));
    }
    let groups = entry.keys.iter().chain([&Run::KEYS]);
    let values = settings.to_table();
    let row = |key: &Key| vec![key.name.into(), default(key, &values), key.help.into()];
    let rows: Vec<Vec<String>> = groups.flat_map(|group| group.iter()).map(row).collect();
    let heads = [("key", Column::Left), ("default", Column::Left), ("what it means", Column::Left)];
    super::print(&format!("\n{}", table(&heads, &rows)));
    Ok(())
}

/// A key's value as a settings file has it; `off` where it has none.
pub fn default(key: &Key, values: &Table) -> String {
    values.get(key.name).map_or("off".into(), |value| value.to_string())
}

/// The knob that a term counts by in the loss, or the number.
fn times(weight: Weight) -> std::result::Result<&'static str, u8> {
    match weight {
        Weight::One => Err(1),
        Weight::Knob(name) | Weight::Instead(name) => Ok(name),
        Weight::Zero | Weight::Replaced => Err(0),
    }
}

fn summary(entry: &Entry) -> Value {
    let key = |key: &Key| {
        let default = (entry.defaults)().get(key.name).map(|value| json!(value));
        json!({ "name": key.name, "section": key.section, "value": key.value, "help": key.help, "default": default })
    };
    let term = |term: &Term| {
        let weight = times(term.weight).map_or_else(|number| json!(number), |knob| json!(knob));
        json!({ "name": term.name, "weight": weight, "about": term.about })
    };
    let preset = |preset: &Preset| json!({ "name": preset.name, "about": preset.about, "article": preset.article });
    json!({
        "name": entry.name, "about": entry.about, "formula": entry.formula, "columns": entry.takes,
        "terms": (entry.terms)(&(entry.defaults)()).iter().map(term).collect::<Vec<_>>(),
        "keys": entry.keys.iter().flat_map(|group| group.iter()).map(key).collect::<Vec<_>>(),
        "presets": entry.presets.iter().map(preset).collect::<Vec<_>>(),
    })
}
