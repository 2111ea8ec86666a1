//! `elbo score` of sentences: what each costs, a word.

use std::path::Path;

use elbo::data::table::Table;
use elbo::error::Result;
use elbo::files::write_atomic;
use elbo::inference::Trained;
use elbo::inference::scores::Score;
use elbo::mean::Mean;
use elbo::messages::print;
use serde_json::json;

use super::super::data::DataArgs;
use super::super::sentences::{note_unknown, refuse};
use super::super::shared::wrote;
use super::super::table::{Column, table};
use super::{Args, WORST};

/// Samples of z a sentence, where no number is given.
const SAMPLES: usize = 8;

/// A sentence as the model knows it.
struct Row {
    sentence: String,
    /// Its words, the end counted.
    words: usize,
    /// Of the score that is asked for.
    nats: f64,
}

impl Row {
    fn nats_a_word(&self) -> f64 {
        self.nats / self.words as f64
    }
}

impl Args {
    /// Scores the sentences and text files that are given, or the test set.
    pub fn score_sentences(&self, model: &mut Trained, by: Score, out: &Path) -> Result<()> {
        let flags = [
            ("--quantile", self.quantile.is_some()),
            ("--threshold", self.threshold.is_some()),
            ("--normal", !self.normal.is_empty()),
        ];
        refuse(model, "rows of numbers and pictures", &flags)?;
        let given: Vec<String> = self.files.iter().map(|given| given.to_string_lossy().into_owned()).collect();
        let is_file = |given: &String| given.ends_with(".txt") || given.ends_with(".txt.gz");
        let lines: Vec<String> = given.iter().filter(|given| !is_file(given)).cloned().collect();
        // As many lines as somebody typed are shown in their order, and of files the worst.
        let is_typed = !given.is_empty() && lines.len() == given.len();
        let mut rows = Vec::new();
        if !lines.is_empty() {
            let read = model.read_lines(&lines)?;
            note_unknown(model, &lines)?;
            rows.extend(self.rows_of(model, &read, by)?);
        }
        for file in given.iter().filter(|given| is_file(given)) {
            let data = DataArgs::of(Path::new(file)).open(&self.model, model, false)?;
            rows.extend(self.rows_of(model, &data.test, by)?);
        }
        if given.is_empty() {
            let data = self.data.open(&self.model, model, false)?;
            rows.extend(self.rows_of(model, &data.test, by)?);
        }
        let name = if by == Score::Elbo { "-ELBO" } else { by.name() };
        let is_written = !is_typed || self.out.is_some();
        if is_written {
            write_atomic(out, &csv_of(&rows, by))?;
        }
        if self.json {
            let row = |row: &Row| {
                json!({
                    "sentence": row.sentence, "words": row.words, "nats": row.nats, "nats_a_word": row.nats_a_word(),
                })
            };
            let rows: Vec<_> = rows.iter().map(row).collect();
            super::super::print_json(&json!({ "by": by.name(), "samples": self.sentence_samples(), "rows": rows }));
            return Ok(());
        }
        let mut shown: Vec<&Row> = rows.iter().collect();
        if !is_typed {
            let Mean { mean, .. } = Mean::of(&rows.iter().map(|row| row.nats).collect::<Vec<_>>());
            let words: usize = rows.iter().map(|row| row.words).sum();
            let a_word = mean * rows.len() as f64 / words as f64;
            print(&format!("{} sentences, {name} {mean:.4} nats a sentence, {a_word:.4} a word\n", rows.len()));
            shown.sort_by(|a, b| b.nats_a_word().total_cmp(&a.nats_a_word()));
            shown.truncate(WORST);
            print("the largest a word:");
        }
        let heads = [
            (name, Column::Right),
            ("words", Column::Right),
            ("nats a word", Column::Right),
            ("sentence", Column::Left),
        ];
        let line = |row: &&Row| {
            let [nats, a_word] = [row.nats, row.nats_a_word()].map(|nats| format!("{nats:.4}"));
            vec![nats, row.words.to_string(), a_word, row.sentence.clone()]
        };
        print(&table(&heads, &shown.iter().map(line).collect::<Vec<_>>()));
        if is_written {
            wrote(out, "a line a sentence");
        }
        Ok(())
    }

    fn sentence_samples(&self) -> usize {
        self.samples.unwrap_or(SAMPLES)
    }

    fn rows_of(&self, model: &mut Trained, split: &Table, by: Score) -> Result<Vec<Row>> {
        let scores = self.scored(model, split, self.sentence_samples())?;
        let nats = scores.of(by).expect("it is known");
        let rows = model.shown(split)?.into_iter().zip(split.lengths()).zip(nats);
        Ok(rows.map(|((sentence, words), &nats)| Row { sentence, words, nats }).collect())
    }
}

/// `sentence,words,elbo,nats_a_word`, a line a sentence.
fn csv_of(rows: &[Row], by: Score) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["sentence", "words", by.name(), "nats_a_word"]).expect("memory takes every row");
    for row in rows {
        let [words, nats, a_word] = [row.words.to_string(), row.nats.to_string(), row.nats_a_word().to_string()];
        writer.write_record([&row.sentence, &words, &nats, &a_word]).expect("memory takes every row");
    }
    writer.into_inner().expect("memory takes every row")
}
