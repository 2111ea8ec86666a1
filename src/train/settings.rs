//! The settings of a training run: every number and choice, with nothing left open.
//!
//! Three layers make one: the preset's settings file, over it the user's, over that the command line. `run.toml` keeps
//! the result: the keys of the run, [`Run`], and those of its model, which are the model's.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::data::Background;
use crate::data::table::Columns;
use crate::error::{Error, Result};
use crate::fusion::Fusion;
use crate::keys::{hint, is_off, one_line};
pub use crate::models::parts::networks::LARGEST_SIZE;
use crate::models::presets::{self, Preset};
use crate::models::{Entry, Model, Term, find};
use crate::train::given::Given;

mod ranges;
mod reading;
mod run;

pub use run::{Optimizer, Reduction, Run};

/// The keys that records of older runs lack, whose defaults are what was done then.
const LATER: [&str; 29] = [
    "model",
    "corrupt",
    "background",
    "orientation",
    "init",
    "flip",
    "shift",
    "no_fuse",
    "binarise",
    "importance",
    "estimator",
    "split",
    "normal",
    "liked_above",
    "split_seed",
    "tokens",
    "min_count",
    "longest",
    "sample_rate",
    "n_fft",
    "hop_length",
    "n_mels",
    "frames",
    "top_db",
    "window_length",
    "window_stride",
    "prior",
    "components",
    "capacity_schedule",
];

/// The keys that `--resume` may change. None changes what the epochs already trained would have been, but `epochs`
/// under a schedule that spans the whole run (any lr_schedule but constant, a cyclical kl_schedule), which it
/// stretches.
const RESUME_MAY_CHANGE: [&str; 8] =
    ["data", "device", "no_fuse", "epochs", "patience", "monitor", "min_delta", "samples"];

/// Every setting of a run: the run's own keys, and its model's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Table", try_from = "Table")]
pub struct Settings {
    /// The preset whose model this is, or the model's name where it is none's. Runs recorded by older versions have the
    /// preset that the others started from.
    pub preset: String,
    /// The model's name in [`MODELS`](crate::models::MODELS).
    pub model: String,
    /// The run's own keys. They can be read and written as fields of the settings too.
    pub run: Run,
    /// The model's keys, all of them.
    pub own: Table,
}

impl Deref for Settings {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

impl DerefMut for Settings {
    fn deref_mut(&mut self) -> &mut Run {
        &mut self.run
    }
}

impl From<Settings> for Table {
    fn from(settings: Settings) -> Table {
        settings.to_table()
    }
}

impl TryFrom<Table> for Settings {
    type Error = Error;

    /// Complete settings, as a record has them. Errors: those of [`from_table`](Settings::from_table); a key that is
    /// missing, but for those that records of older runs lack.
    fn try_from(mut table: Table) -> Result<Settings> {
        // Folders of pictures were read so before there were these keys.
        if table.get("dataset").and_then(Value::as_str).is_some_and(|dataset| dataset == "folder") {
            table.entry("background").or_insert_with(|| Background::NONE.to_string().into());
            table.entry("orientation").or_insert_with(|| "stored".into());
        }
        let settings = Settings::from_table(table.clone())?;
        // What a default filled in: a setting that is off has none.
        let complete = settings.to_table();
        match complete.keys().find(|key| !table.contains_key(*key) && !LATER.contains(&key.as_str())) {
            None => Ok(settings),
            Some(key) => Err(Error::Usage(format!("missing key `{key}`"))),
        }
    }
}

impl Settings {
    /// Settings from some of their keys; the others have their defaults. Errors: a key that neither the run nor the
    /// model has, a value that is not of its key's kind. Ranges are not looked at.
    pub fn from_table(mut table: Table) -> Result<Settings> {
        let mut text = |key: &str, default: &str| match table.remove(key) {
            None => Ok(default.to_string()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(Error::Usage(format!("{key} is {other}, which is not a text"))),
        };
        let model = text("model", "vae")?;
        let preset = text("preset", &model)?;
        let entry = find(&model)?;
        let (mut run, mut own) = (Table::new(), Table::new());
        for (key, value) in table {
            if Run::KEYS.iter().any(|k| k.name == key) {
                run.insert(key, value);
            } else if entry.key_names().any(|name| name == key) {
                own.insert(key, value);
            } else {
                let known = Run::KEYS.iter().map(|key| key.name).chain(entry.key_names());
                return Err(Error::Usage(format!("unknown key `{key}`{}", hint(&key, known))));
            }
        }
        let run_defaults = Table::try_from(Run::default()).expect("defaults have a TOML form");
        run.retain(|key, value| !is_off(value) || run_defaults.contains_key(key));
        let own = complete(entry, own)?;
        let run: Run = run.try_into().map_err(|e: toml::de::Error| Error::Usage(one_line(e.message())))?;
        Ok(Settings { preset, model, run, own })
    }
}

/// A model's keys, each value in its one form, with the defaults of those that are not there. Errors: a value that is
/// not of its key's kind.
fn complete(entry: &Entry, mut given: Table) -> Result<Table> {
    let defaults = (entry.defaults)();
    given.retain(|key, value| !is_off(value) || defaults.contains_key(key));
    (entry.reads)(given).map_err(Error::Usage)
}

/// The path from the root, so that it is found from any folder. Where the present folder is not known it stays.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

impl Preset {
    /// Its settings; the run goes to `runs/<name>`.
    pub fn settings(&self) -> Settings {
        let table: Table = self.text.parse().unwrap_or_else(|e| panic!("preset {}: {e}", self.name));
        let settings = Settings::from_table(table).unwrap_or_else(|e| panic!("preset {}: {e}", self.name));
        Settings { preset: self.name.into(), ..settings }.in_usual_folder()
    }
}

impl Settings {
    /// Those of the preset that has this name. Errors: there is none, with the nearest.
    pub fn of_preset(name: &str) -> Result<Settings> {
        Ok(presets::find(name)?.1.settings())
    }

    /// A preset's (named by the command line, else by the file, else the default one; of a file that names a model and
    /// no preset the model's defaults), then the file's, then the command line's.
    /// Errors: an unknown preset or key, with the nearest; a value out of its range.
    pub fn resolve(file: Option<Given>, cli: Given) -> Result<Settings> {
        let file = file.unwrap_or_default();
        let given = |key: &str| Ok::<_, Error>(cli.text(key)?.or(file.text(key)?));
        let (preset, model) = (given("preset")?, given("model")?);
        let base = match (preset, model) {
            (None, Some(model)) => Settings::of_model(find(&model)?),
            (preset, model) => {
                let (entry, preset) = presets::find(preset.as_deref().unwrap_or(presets::DEFAULT))?;
                if let Some(other) = model.filter(|model| model != entry.name) {
                    return Err(Error::Usage(format!(
                        "preset {} is of the model {}, not of {other}: leave one of them out",
                        preset.name, entry.name
                    )));
                }
                preset.settings()
            }
        };
        let has_out = file.has("out") || cli.has("out");
        base.over(&file)?.over(&cli)?.named(has_out)
    }

    /// A model's defaults.
    pub fn of_model(entry: &'static Entry) -> Settings {
        let (preset, model) = (entry.name.to_string(), entry.name.to_string());
        Settings { preset, model, run: Run::default(), own: (entry.defaults)() }.in_usual_folder()
    }

    fn in_usual_folder(mut self) -> Settings {
        self.run.out = PathBuf::from("runs").join(&self.preset);
        self
    }

    /// The settings of a recorded run, to run it again, with the command line's over them. It goes to a folder of its
    /// own. An [`Error::Usage`]: a preset, a value out of its range.
    pub fn repeat(saved: Settings, cli: Given) -> Result<Settings> {
        if let Some(preset) = cli.text("preset")?.filter(|preset| *preset != saved.preset) {
            return Err(Error::Usage(format!(
                "{preset} cannot be put under the settings of a run, which has all of its own: leave one of them out"
            )));
        }
        let mut again = saved.in_usual_folder();
        // The recorded place is that of the recorded set.
        if cli.has("dataset") {
            again.data = None;
        }
        again.over(&cli)?.named(cli.has("out"))
    }

    /// Validated, under the preset's name only where the model is the preset's; and with the places of the data and of
    /// what it starts from as they are found from any folder.
    fn named(mut self, has_out: bool) -> Result<Settings> {
        let same = |(entry, preset): &(&'static Entry, &'static Preset)| {
            entry.name == self.model && preset.settings().own == self.own
        };
        let is_own = presets::find(&self.preset).is_ok_and(|preset| same(&preset));
        if !is_own {
            self.preset = self.model.clone();
            if !has_out {
                self = self.in_usual_folder();
            }
        }
        self.run.data = self.run.data.map(absolute);
        self.run.init = self.run.init.map(absolute);
        self.validate()?;
        Ok(self)
    }

    /// The model's entry. Errors: a record that names a model which this program does not have.
    pub fn entry(&self) -> Result<&'static Entry> {
        find(&self.model)
    }

    /// The terms of the model's loss. Errors: a record that names a model which this program does not have.
    pub fn terms(&self) -> Result<&'static [Term]> {
        Ok((self.entry()?.terms)(&self.own))
    }

    /// The model for data of these columns, declared in an arena that is thrown away. Errors: settings that do not fit
    /// together or the columns.
    pub fn outline(&self, columns: &Columns) -> Result<Box<dyn Model>> {
        self.entry()?.outline(&self.own, columns)
    }

    /// A key of the model.
    pub fn own(&self, key: &str) -> Option<&Value> {
        self.own.get(key)
    }

    /// Training examples that keep their label, where the model has such a key and it is on.
    pub fn labels(&self) -> Option<usize> {
        self.own("labels").and_then(|labels| labels.as_integer()).map(|labels| labels as usize)
    }

    /// How a device of this fusion runs a step.
    pub fn fusion(&self, device: Fusion) -> Fusion {
        if self.no_fuse { Fusion::None } else { device }
    }

    /// The settings of a run that goes on: those of its record, and from the command line only what may still change.
    /// An [`Error::Usage`]: another key with another value, a value out of its range.
    pub fn resume(saved: Settings, cli: &Given) -> Result<Settings> {
        let before = saved.to_table();
        let model = saved.entry()?;
        let mut settings = saved.over(cli)?;
        if cli.has("data") {
            settings.run.data = settings.run.data.map(absolute);
        }
        let after = settings.to_table();
        let mut given: Vec<String> = cli.table(model)?.keys().cloned().collect();
        given.extend(["preset", "model"].into_iter().filter(|key| cli.has(key)).map(String::from));
        for key in given.iter().filter(|key| !RESUME_MAY_CHANGE.contains(&key.as_str())) {
            let asked = cli.text(key).ok().flatten().filter(|_| ["preset", "model"].contains(&key.as_str()));
            let wanted = asked.map(Value::String).or_else(|| after.get(key).cloned());
            if before.get(key) != wanted.as_ref() {
                let shown = |value: Option<&Value>| value.map_or("off".into(), |v| v.to_string());
                return Err(Error::Usage(format!(
                    "{key} cannot change when a run is resumed: it was {} and would be {}. What can: {}. \
                     Or start a new run with another --out.",
                    shown(before.get(key)),
                    shown(wanted.as_ref()),
                    RESUME_MAY_CHANGE.join(", ")
                )));
            }
        }
        settings.validate()?;
        Ok(settings)
    }

    /// The text of a table that [`Settings::from_toml`] reads back to an equal value. A setting that is off has no
    /// line. Errors: a path that is not UTF-8, a seed above 2^63 - 1.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Usage(format!("these settings cannot be written down: {e}")))
    }

    /// Reads what [`Settings::to_toml`] wrote. An [`Error::Usage`]: a key that is unknown or out of range.
    pub fn from_toml(text: &str) -> Result<Settings> {
        let settings: Settings =
            toml::from_str(text).map_err(|e| Error::Usage(format!("not the settings of a run: {}", e.message())))?;
        settings.validate()?;
        Ok(settings)
    }

    /// These settings with those of a settings text over them: `batch_size = 8`. Errors: an unknown key, a value out of
    /// its range.
    pub fn with(&self, text: &str) -> Result<Settings> {
        let given = Given::from_text(text).map_err(|e| Error::Usage(one_line(e.message())))?;
        let settings = self.clone().over(&given)?;
        settings.validate()?;
        Ok(settings)
    }

    /// These settings with the given ones over them, not yet validated. 0 turns off what has no value by default.
    fn over(self, given: &Given) -> Result<Settings> {
        let entry = self.entry()?;
        let (mut table, over) = (self.to_table(), given.table(entry)?);
        (entry.overlay)(&mut table, &over);
        table.extend(over);
        Settings::from_table(table)
    }

    /// All keys, those of the run before those of the model.
    pub fn to_table(&self) -> Table {
        let mut table = Table::new();
        table.insert("preset".into(), self.preset.clone().into());
        table.insert("model".into(), self.model.clone().into());
        table.extend(Table::try_from(&self.run).unwrap_or_else(|e| panic!("a setting is out of range: {e}")));
        table.extend(self.own.clone());
        table
    }
}

#[cfg(test)]
mod tests;
