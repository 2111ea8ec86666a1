//! Many runs from one file: a base, and what varies over it as a grid, as a list, or as both.
//!
//! ```toml
//! out = "runs/weights"          # the folder of the runs' folders; by default runs/ and the file's name
//! [base]                        # any keys of a settings file
//! preset = "mnist-mlp"
//! epochs = 5
//! [grid]                        # every combination
//! kl_weight = [0.5, 1.0, 4.0]
//! seed = [1, 2, 3]
//! [[runs]]                      # each of these with every combination
//! lr = 1e-3
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::given::{Given, describe, read_text};
use super::progress::Progress;
use super::run_folder::{RunFolder, RunRecord};
use super::settings::Settings;
use crate::error::{Error, Result};

/// More runs than anybody waits for.
const MOST_RUNS: usize = 10_000;
/// The most characters of a value in the name of a folder.
const LONGEST_VALUE: usize = 40;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    out: Option<PathBuf>,
    #[serde(default)]
    base: Table,
    #[serde(default)]
    grid: Table,
    #[serde(default)]
    runs: Vec<Table>,
}

/// The runs of a sweep, and where they go.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The folder of their folders.
    pub out: PathBuf,
    /// The keys that vary, in the order of the file.
    pub varied: Vec<String>,
    /// In the order in which they are to run.
    pub runs: Vec<Planned>,
}

/// A run of a sweep.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What varies, as the name of its folder: `kl_weight-0.5_seed-1`.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Every key that the file gives it, with the text of its value.
    keys: Vec<(String, String)>,
}

/// How far a run of a sweep has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no run in its folder.
    New,
    /// It has begun and has epochs left.
    Begun,
    /// All its epochs are trained, or it was stopped early.
    Finished,
}

impl Sweep {
    /// Reads a file. Errors: it is no sweep; settings of a run that do not fit together, by the name of the run.
    pub fn read(path: &Path) -> Result<Sweep> {
        let text = read_text(path)?;
        let file: File = toml::from_str(&text).map_err(|e| Error::file(path, describe(&e, &text)))?;
        let problem = |problem: String| Error::file(path, problem);
        let usual = || PathBuf::from("runs").join(path.file_stem().unwrap_or_default());
        let out = file.out.clone().unwrap_or_else(usual);
        let mut sweep = file.combined(&out).map_err(problem)?;
        for run in &mut sweep.runs {
            Settings::resolve(None, run.given()).map_err(|e| problem(format!("run {}: {e}", run.name)))?;
        }
        Ok(sweep)
    }
}

impl File {
    /// Every run. Errors: what is wrong with the file, in words.
    fn combined(self, out: &Path) -> std::result::Result<Sweep, String> {
        let lists = if self.runs.is_empty() { vec![Table::new()] } else { self.runs };
        let mut varied: Vec<Table> = lists;
        for (key, values) in &self.grid {
            let Value::Array(values) = values else {
                return Err(format!("[grid] {key} is {values}, which is no list of values, as in {key} = [{values}]"));
            };
            if values.is_empty() {
                return Err(format!("[grid] {key} is an empty list, so there would be no run"));
            }
            if varied.len() * values.len() > MOST_RUNS {
                return Err(format!("[grid] makes more than {MOST_RUNS} runs"));
            }
            let with = |run: &Table, value: &Value| {
                let mut run = run.clone();
                run.insert(key.clone(), value.clone());
                run
            };
            varied = varied.iter().flat_map(|run| values.iter().map(move |value| with(run, value))).collect();
        }
        let mut keys: Vec<String> = Vec::new();
        for key in varied.iter().flat_map(Table::keys) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        if self.base.contains_key("out") || keys.contains(&"out".to_string()) {
            return Err("the runs' folders follow from what varies: give `out` at the top, for all of them".into());
        }
        let mut runs: Vec<Planned> = Vec::new();
        for table in varied {
            let wanted = name(&table);
            let is_taken = |name: &str| runs.iter().any(|run| run.name == name);
            let numbered = || (2..).map(|i| format!("{wanted}-{i}")).find(|name| !is_taken(name));
            let name = if is_taken(&wanted) { numbered().expect("a free number") } else { wanted };
            let mut all = self.base.clone();
            all.extend(table);
            let keys = all.into_iter().map(|(key, value)| (key, text(&value))).collect();
            runs.push(Planned { folder: out.join(&name), name, keys });
        }
        Ok(Sweep { out: out.to_path_buf(), varied: keys, runs })
    }
}

/// As in `kl_weight-0.5_hidden-512-256`: letters, digits, dots and dashes, which no shell takes for anything else.
fn name(varied: &Table) -> String {
    let plain = |value: &Value| {
        let text = text(value);
        let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c)));
        let joined = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        joined.chars().take(LONGEST_VALUE).collect::<String>()
    };
    let parts: Vec<String> = varied.iter().map(|(key, value)| format!("{key}-{}", plain(value))).collect();
    if parts.is_empty() { "run".into() } else { parts.join("_") }
}

/// A value as a command line has it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Planned {
    /// The text of a key; empty where the file gives it none.
    pub fn text(&self, key: &str) -> &str {
        self.keys.iter().find(|(name, _)| name == key).map_or("", |(_, text)| text)
    }

    fn given(&self) -> Given {
        let mut given = Given::default();
        self.keys.iter().for_each(|(key, text)| given.flag(key, text));
        given
    }

    /// How far it has come. Errors: a folder whose run has other settings; a file of the run that cannot be read.
    pub fn state(&self) -> Result<State> {
        let Ok(folder) = RunFolder::open(&self.folder) else { return Ok(State::New) };
        let record = RunRecord::read(&folder)?;
        let other = |problem: String| {
            Error::Usage(format!(
                "{} holds a run of other settings: {problem}. Give the sweep another `out`, or remove that folder",
                self.folder.display()
            ))
        };
        let (before, now) = (&record.settings.preset, Settings::resolve(None, self.given())?.preset);
        if *before != now {
            return Err(other(format!("its preset is {before}, and that of the sweep {now}")));
        }
        let mut given = Given::default();
        self.changeable().for_each(|(key, text)| given.flag(key, text));
        let settings = Settings::resume(record.settings, &given).map_err(|e| other(e.to_string()))?;
        let Some(progress) = Progress::read(&folder.state())? else { return Ok(State::Begun) };
        let stopping = progress.early_stopping.resume(&settings);
        let is_finished = progress.epoch >= settings.epochs || stopping.is_out_of_patience();
        Ok(if is_finished { State::Finished } else { State::Begun })
    }

    /// The keys that `--resume` takes: it has the preset and the model already.
    fn changeable(&self) -> impl Iterator<Item = &(String, String)> {
        self.keys.iter().filter(|(key, _)| !["preset", "model"].contains(&key.as_str()))
    }

    /// The arguments of the program that train it from this state on.
    pub fn arguments(&self, state: State) -> Vec<String> {
        let set = |(key, text): &(String, String)| ["--set".to_string(), format!("{key}={text}")];
        let folder = self.folder.display().to_string();
        let mut arguments = vec!["train".to_string()];
        match state {
            State::New => {
                arguments.extend(self.keys.iter().filter(|(key, _)| key == "preset").map(|(_, text)| text.clone()));
                for (_, text) in self.keys.iter().filter(|(key, _)| key == "model") {
                    arguments.extend(["--model".to_string(), text.clone()]);
                }
                arguments.extend(["--out".to_string(), folder]);
            }
            State::Begun | State::Finished => arguments.extend(["--resume".to_string(), folder]),
        }
        arguments.extend(self.changeable().flat_map(set));
        arguments
    }
}

/// A command as a line for a POSIX shell.
pub fn shell_line(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quoted = |word: &String| match word.chars().all(is_plain) && !word.is_empty() {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sweep> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.toml");
        std::fs::write(&path, text).unwrap();
        Sweep::read(&path)
    }

    #[test]
    fn a_grid_is_every_combination_and_a_list_is_each_with_all_of_them() {
        let sweep = read(
            "[base]\npreset = 'mnist-mlp'\nseed = 9\n[grid]\nseed = [1, 2]\nhidden = [[512, 256], [8]]\n\
             [[runs]]\nlr = 0.1\n[[runs]]\nkl_schedule = 'linear:5'\n",
        )
        .unwrap();
        assert_eq!((sweep.runs.len(), sweep.out.clone()), (8, PathBuf::from("runs/weights")));
        assert_eq!(sweep.varied, ["lr", "seed", "hidden", "kl_schedule"]);
        assert_eq!(sweep.runs[0].name, "lr-0.1_seed-1_hidden-512-256");
        assert_eq!(sweep.runs[7].name, "kl_schedule-linear-5_seed-2_hidden-8");
        assert_eq!((sweep.runs[7].text("seed"), sweep.runs[7].text("lr")), ("2", ""));
        let words = sweep.runs[0].arguments(State::New);
        let line = "train mnist-mlp --out runs/weights/lr-0.1_seed-1_hidden-512-256 --set seed=1 --set lr=0.1 \
                    --set 'hidden=[512, 256]'";
        assert_eq!(shell_line(&words), line);
        assert!(shell_line(&sweep.runs[0].arguments(State::Begun)).starts_with("train --resume runs/weights/lr-0.1"));
        assert_eq!(sweep.runs[0].state().unwrap(), State::New);
    }

    #[test]
    fn a_base_alone_is_one_run_and_equal_runs_have_folders_of_their_own() {
        let sweep = read("out = 'here'\n[base]\nmodel = 'vae'\n").unwrap();
        assert_eq!((sweep.runs.len(), sweep.runs[0].folder.clone()), (1, PathBuf::from("here/run")));
        assert_eq!(sweep.runs[0].arguments(State::New), ["train", "--model", "vae", "--out", "here/run"]);
        let twice = read("[grid]\nseed = [1, 1]\n").unwrap();
        assert_eq!(twice.runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(), ["seed-1", "seed-1-2"]);
    }

    #[test]
    fn what_is_no_sweep_is_refused_before_anything_runs() {
        let cases = [
            ("[grid]\nlr = 0.1\n", "[grid] lr is 0.1, which is no list"),
            ("[grid]\nlr = []\n", "an empty list"),
            ("[gird]\nlr = [0.1]\n", "unknown key `gird`; did you mean `grid`?"),
            ("[base]\nout = 'x'\n", "give `out` at the top"),
            ("[grid]\nlr = [0.1, 'x']\n", "run lr-x: --lr is `x`"),
            ("[base]\nepohcs = 1\n", "did you mean `epochs`?"),
            ("[grid]\nkl_weight = [1, -1]\n", "run kl_weight--1: "),
        ];
        for (text, part) in cases {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains("weights.toml: ") && message.contains(part), "{message}");
        }
        let many: Vec<String> = (0..200).map(|i| i.to_string()).collect();
        let many = many.join(",");
        let message = read(&format!("[grid]\nseed = [{many}]\nlatent = [{many}]\n")).unwrap_err().to_string();
        assert!(message.contains("more than 10000 runs"), "{message}");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        let words = ["a", "it's", "", "x y", "k=v"].map(String::from);
        assert_eq!(shell_line(&words), r"a 'it'\''s' '' 'x y' k=v");
    }
}
