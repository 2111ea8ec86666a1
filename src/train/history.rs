//! Runs read back from their folders, finished or still under way, and what they come to beside each other.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::metrics::{EpochMetrics, Means, read_metrics};
use super::run_folder::{RunFolder, RunRecord};
use crate::error::Result;
use crate::models::Term;

/// What a run's folder says of it.
#[derive(Clone, Debug)]
pub struct History {
    /// The folder, as the user gave it.
    pub name: String,
    /// What ran.
    pub record: RunRecord,
    /// The terms of its loss.
    pub terms: &'static [Term],
    /// Its epochs so far; none before the first has ended.
    pub rows: Vec<EpochMetrics>,
}

impl History {
    /// Reads `run.toml` and `metrics.csv`, both of which are whole at any moment of the run. Errors: no run there, a
    /// file of it that was edited to something invalid.
    pub fn read(root: &Path) -> Result<History> {
        let folder = RunFolder::open(root)?;
        let record = RunRecord::read(&folder)?;
        let terms = record.settings.terms()?;
        let rows = read_metrics(&folder.metrics(), terms)?;
        // Without the slash that a shell puts behind the name of a folder.
        let name = root.components().collect::<PathBuf>().display().to_string();
        Ok(History { name, record, terms, rows })
    }

    /// The epoch of the lowest test loss; `None` before the first has ended.
    pub fn best(&self) -> Option<&EpochMetrics> {
        self.rows.iter().min_by(|a, b| a.test.loss.total_cmp(&b.test.loss))
    }

    /// Wall-clock seconds of all epochs: training and evaluation.
    pub fn seconds(&self) -> f64 {
        self.rows.iter().map(|row| row.seconds).sum()
    }

    /// The value of a column, `loss` or a term, in these means. Panics on a name that is neither.
    pub fn value(&self, column: &str, means: &Means) -> f64 {
        if column == "loss" {
            return means.loss;
        }
        let term = self.terms.iter().position(|term| term.name == column);
        means.terms[term.unwrap_or_else(|| panic!("the loss of {} has no term {column}", self.record.settings.model))]
    }

    /// Every setting of the run, with the data set that was really used.
    fn settings(&self) -> Table {
        let mut table = self.record.settings.to_table();
        table.insert("dataset".into(), Value::String(self.record.dataset.clone()));
        table
    }
}

/// Keys that say where a run is and how long it may take: no settings to compare by.
const NO_SETTINGS: [&str; 3] = ["out", "preset", "seed"];

/// Runs beside each other. Every list of runs is in the order they were given.
pub struct Comparison {
    /// Those compared.
    pub runs: Vec<History>,
    /// The keys in which they differ, the seed last.
    pub differing: Vec<String>,
    /// `loss`, and the terms that all of them have.
    pub columns: Vec<String>,
    /// The runs that differ in nothing but their seed, by index: each run is in one of them.
    pub groups: Vec<Vec<usize>>,
}

impl Comparison {
    /// Of these runs.
    pub fn of(runs: Vec<History>) -> Comparison {
        let settings: Vec<Table> = runs.iter().map(History::settings).collect();
        let mut keys: Vec<String> = Vec::new();
        for key in settings.iter().flat_map(|table| table.keys()) {
            if !keys.contains(key) && !NO_SETTINGS.contains(&key.as_str()) {
                keys.push(key.clone());
            }
        }
        let differs = |key: &String| settings.iter().any(|table| table.get(key) != settings[0].get(key));
        let seed = "seed".to_string();
        let mut differing: Vec<String> = keys.into_iter().filter(&differs).collect();
        let alike = |a: usize, b: usize| differing.iter().all(|key| settings[a].get(key) == settings[b].get(key));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for run in 0..runs.len() {
            match groups.iter_mut().find(|group| alike(group[0], run)) {
                Some(group) => group.push(run),
                None => groups.push(vec![run]),
            }
        }
        differing.extend(differs(&seed).then_some(seed));
        let is_common = |name: &&str| runs.iter().all(|run| run.terms.iter().any(|term| term.name == *name));
        let terms = runs.first().map_or(&[][..], |run| run.terms).iter().map(|term| term.name).filter(is_common);
        let columns = std::iter::once("loss").chain(terms).map(String::from).collect();
        Comparison { runs, differing, columns, groups }
    }

    /// A run's value of a key, `-` where its model has none or it is off.
    pub fn setting(&self, run: usize, key: &str) -> String {
        match self.runs[run].settings().get(key) {
            None => "-".into(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        }
    }

    /// The groups of several runs that have an epoch each.
    pub fn repeated(&self) -> impl Iterator<Item = &Vec<usize>> {
        let has_epochs = |group: &&Vec<usize>| group.iter().all(|run| !self.runs[*run].rows.is_empty());
        self.groups.iter().filter(|group| group.len() > 1).filter(has_epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Selection;
    use crate::train::settings::Settings;

    fn run(preset: &str, text: &str, losses: &[f64]) -> History {
        let settings = Settings::of_preset(preset).unwrap().with(text).unwrap();
        let terms = settings.terms().unwrap();
        let means = |loss: f64| Means { loss, terms: (0..terms.len()).map(|i| loss + i as f64 + 1.0).collect() };
        let row = |(i, &loss): (usize, &f64)| EpochMetrics {
            epoch: i + 1,
            train: means(loss),
            test: means(loss),
            seconds: 2.0,
        };
        let record = RunRecord {
            started: String::new(),
            dataset: "mnist".into(),
            device: String::new(),
            driver: String::new(),
            backend: String::new(),
            elbo: String::new(),
            wgpu: String::new(),
            git: None,
            selection: Selection::ByName,
            pictures: None,
            settings,
            tuning: Vec::new(),
        };
        History { name: text.into(), record, terms, rows: losses.iter().enumerate().map(row).collect() }
    }

    #[test]
    fn runs_that_differ_in_their_seed_alone_are_a_group() {
        let runs = vec![
            run("mnist-mlp", "seed = 1\nlr = 0.1", &[5.0, 3.0, 4.0]),
            run("mnist-mlp", "seed = 1\nlr = 0.2", &[]),
            run("mnist-mlp", "seed = 2\nlr = 0.1", &[6.0]),
        ];
        let compared = Comparison::of(runs);
        assert_eq!(compared.differing, ["lr", "seed"]);
        assert_eq!(compared.groups, [vec![0, 2], vec![1]]);
        assert_eq!(compared.columns, ["loss", "recon", "kl"]);
        assert_eq!(compared.repeated().count(), 1);
        let first = &compared.runs[0];
        let best = first.best().unwrap();
        assert_eq!((best.epoch, first.value("kl", &best.test), first.seconds()), (2, 5.0, 6.0));
        assert_eq!(compared.runs[1].best(), None);
    }

    #[test]
    fn runs_of_other_models_share_the_columns_they_have_in_common() {
        let compared = Comparison::of(vec![run("mnist-mlp", "", &[1.0]), run("mnist-vae-gan", "", &[1.0])]);
        assert!(compared.columns.len() < 1 + compared.runs[1].terms.len(), "{:?}", compared.columns);
        assert!(compared.differing.contains(&"model".to_string()));
        let own = compared.differing.iter().find(|key| compared.setting(0, key) == "-");
        assert!(own.is_some(), "{:?}", compared.differing);
        assert_eq!(compared.groups.len(), 2);
    }
}
