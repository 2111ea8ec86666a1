//! `elbo score` of series: how strange each step and each window is, and where labels are, how many steps a threshold
//! finds.

use std::path::Path;

use elbo::data::sequences::series::{Series, Windows};
use elbo::error::{Error, Result};
use elbo::files::write_atomic;
use elbo::inference::Trained;
use elbo::inference::ranking::{auroc, quantile};
use elbo::inference::scores::Score;
use elbo::inference::series::{SCORES, SeriesScores};
use elbo::messages::{notice, print};
use elbo::picture::{self, Panel};
use serde_json::{Value, json};

use super::super::data::DataArgs;
use super::super::sentences::refuse;
use super::super::shared::wrote;
use super::super::table::{Column, table};
use super::{Args, Name, Threshold};

/// The share of training steps below a threshold, where none is given.
const QUANTILE: f64 = 0.99;
/// Windows that cover a step, but at the ends.
const OVERLAP: usize = 4;
/// Series that the picture shows.
const DRAWN: usize = 6;

/// A series and the scores of its steps that are for testing.
struct Scored {
    series: Series,
    /// Of the score that is asked for, by step from the first test step on; NaN where nothing was seen.
    values: Vec<f64>,
    all: SeriesScores,
}

/// How a threshold tells labelled steps: found, falsely flagged, rightly left, missed.
#[derive(Clone, Copy, Default)]
struct Counts {
    tp: usize,
    fp: usize,
    tn: usize,
    fn_: usize,
}

impl Counts {
    /// F1, and in percent false alarms (of normal steps) and missed ones (of anomalies).
    fn rates(self) -> [f64; 3] {
        let [tp, fp, tn, fn_] = [self.tp, self.fp, self.tn, self.fn_].map(|n| n as f64);
        [2.0 * tp / (2.0 * tp + fp + fn_), 100.0 * fp / (fp + tn), 100.0 * fn_ / (fn_ + tp)]
    }
}

impl Args {
    /// Scores the files that are given, or the test steps of the run's series.
    pub fn score_series(&self, model: &mut Trained, out: &Path) -> Result<()> {
        let flags = [("--samples", self.samples.is_some()), ("--normal", !self.normal.is_empty())];
        refuse(model, "models whose rows are no windows", &flags)?;
        let by = Score::from(self.by.unwrap_or(Name::Error));
        let place = SCORES.iter().position(|score| *score == by).ok_or_else(|| {
            let names = SCORES.map(Score::name).join(", ");
            Error::Usage(format!("series cannot be scored by {}: they can by {names}", by.name()))
        })?;
        let [_, length] = model.series_sizes()?;
        let windows = Windows { length, stride: None };
        let stride = (length / OVERLAP).max(1);

        let own = || self.data.series(&self.model, model);
        let (given, own) = match self.files.is_empty() {
            true => (own()?, None),
            false => {
                let open = |file: &std::path::PathBuf| DataArgs::of_series(file).series(&self.model, model);
                let given: Vec<Vec<Series>> = self.files.iter().map(open).collect::<Result<_>>()?;
                (given.concat(), Some(own()))
            }
        };
        let of_threshold = match &own {
            None => Ok(&given),
            Some(Ok(own)) => Ok(own),
            Some(Err(e)) => Err(Error::Usage(e.to_string())),
        };
        let threshold = self.series_threshold(model, of_threshold, place, (windows, stride))?;
        let mut sets = Vec::new();
        for series in given.into_iter().filter(|series| !series.test.is_empty()) {
            let starts = windows.starts(series.test.clone(), stride);
            if starts.is_empty() {
                let problem = format!("has {} steps to score, fewer than the {length} of a window", series.test.len());
                return Err(Error::file(&series.name, problem));
            }
            let all = model.series_scores(&model.standardised(&series)?, &starts)?;
            let values = all.steps[series.test.clone()].iter().map(|scores| scores[place]).collect();
            sets.push(Scored { series, values, all });
        }

        let threshold = threshold.as_ref();
        write_atomic(out, lines(&sets, threshold).as_bytes())?;
        let of_windows = out.with_extension("windows.csv");
        write_atomic(&of_windows, window_lines(&sets).as_bytes())?;
        let chart = out.with_extension("png");
        draw(&sets, by, threshold).save(&chart)?;
        if self.json {
            super::super::print_json(&object(&sets, by, threshold));
            return Ok(());
        }
        print_sets(&sets, by, threshold);
        wrote(out, "a line a step");
        wrote(&of_windows, "a line a window");
        wrote(&chart, &format!("the scores of {} series over their steps", sets.len().min(DRAWN)));
        Ok(())
    }

    /// The threshold that is given, or the quantile of the training steps' scores. `None`, with a notice, where there
    /// are none.
    fn series_threshold(
        &self,
        model: &mut Trained,
        series: Result<&Vec<Series>>,
        place: usize,
        (windows, stride): (Windows, usize),
    ) -> Result<Option<Threshold>> {
        if let Some(value) = self.threshold {
            return Ok(Some(Threshold { value, from: "as given".into() }));
        }
        let mut values = Vec::new();
        let without = |reason: &str| notice(&format!("no threshold: {reason}. --threshold gives one"));
        let series = match series {
            Ok(series) => series,
            Err(reason) => {
                without(&reason.to_string());
                return Ok(None);
            }
        };
        for series in series {
            let starts = windows.starts(series.train.clone(), stride);
            if !starts.is_empty() {
                let scores = model.series_scores(&model.standardised(series)?, &starts)?;
                let of_steps = scores.steps[series.train.clone()].iter().map(|scores| scores[place]);
                values.extend(of_steps.filter(|value| !value.is_nan()));
            }
        }
        if values.is_empty() {
            without("no training steps are at hand");
            return Ok(None);
        }
        let share = self.quantile.unwrap_or(QUANTILE);
        let from = format!("the {share} quantile of {} training steps", values.len());
        Ok(Some(Threshold { value: quantile(&values, share), from }))
    }
}

impl Scored {
    /// Whether each step is flagged; one of which nothing was seen is not.
    fn flagged(&self, threshold: &Threshold) -> Vec<bool> {
        self.values.iter().map(|value| *value > threshold.value).collect()
    }

    /// Labels of the steps that are scored.
    fn labels(&self) -> Option<&[bool]> {
        self.series.labels.as_ref().map(|labels| &labels[self.series.test.clone()])
    }

    fn counts(&self, threshold: &Threshold) -> Option<Counts> {
        let mut counts = Counts::default();
        for (flagged, is_anomaly) in self.flagged(threshold).into_iter().zip(self.labels()?) {
            *match (flagged, is_anomaly) {
                (true, true) => &mut counts.tp,
                (true, false) => &mut counts.fp,
                (false, false) => &mut counts.tn,
                (false, true) => &mut counts.fn_,
            } += 1;
        }
        Some(counts)
    }
}

/// Of all series together; `None` where one has no labels.
fn total(sets: &[Scored], threshold: &Threshold) -> Option<Counts> {
    let mut total = Counts::default();
    for scored in sets {
        let Counts { tp, fp, tn, fn_ } = scored.counts(threshold)?;
        total = Counts { tp: total.tp + tp, fp: total.fp + fp, tn: total.tn + tn, fn_: total.fn_ + fn_ };
    }
    Some(total)
}

/// A comma in a name would be another column.
fn plain(name: &str) -> String {
    name.replace([',', '"', '\n'], "_")
}

/// All steps as CSV. A score of which there is none is empty.
fn lines(sets: &[Scored], threshold: Option<&Threshold>) -> String {
    let mut text = String::from("series,step,time,error,probability,elbo,label,is_flagged\n");
    for scored in sets {
        let Scored { series, all, .. } = scored;
        let flagged = threshold.map(|threshold| scored.flagged(threshold));
        for (row, step) in series.test.clone().enumerate() {
            let time = series.times.as_ref().map_or(String::new(), |times| plain(&times[step]));
            text += &format!("{},{step},{time}", plain(&series.name));
            for score in all.steps[step] {
                text += &if score.is_nan() { ",".into() } else { format!(",{score}") };
            }
            let label = scored.labels().map_or(String::new(), |labels| u8::from(labels[row]).to_string());
            let flag = flagged.as_ref().map_or(String::new(), |flagged| u8::from(flagged[row]).to_string());
            text += &format!(",{label},{flag}\n");
        }
    }
    text
}

/// All windows as CSV.
fn window_lines(sets: &[Scored]) -> String {
    let mut text = String::from("series,first_step,error,probability,elbo\n");
    for Scored { series, all, .. } in sets {
        for (start, scores) in &all.windows {
            text += &format!("{},{start}", plain(&series.name));
            scores.iter().for_each(|score| text += &if score.is_nan() { ",".into() } else { format!(",{score}") });
            text.push('\n');
        }
    }
    text
}

fn print_sets(sets: &[Scored], by: Score, threshold: Option<&Threshold>) {
    let mut heads = vec![("series", Column::Left), ("steps", Column::Right), ("median", Column::Right)];
    heads.extend(threshold.map(|_| ("flagged", Column::Right)));
    let has_labels = sets.iter().all(|scored| scored.labels().is_some());
    if has_labels {
        heads.push(("AUROC", Column::Right));
    }
    if has_labels && threshold.is_some() {
        heads.extend(["F1", "false alarms", "missed"].map(|head| (head, Column::Right)));
    }
    let shown = |rates: [f64; 3]| {
        let [f1, false_alarms, missed] = rates;
        [format!("{f1:.3}"), format!("{false_alarms:.2} %"), format!("{missed:.2} %")]
    };
    let row = |scored: &Scored| {
        let there: Vec<f64> = scored.values.iter().copied().filter(|value| !value.is_nan()).collect();
        let median = if there.is_empty() { "-".into() } else { format!("{:.4}", quantile(&there, 0.5)) };
        let mut cells = vec![scored.series.name.clone(), scored.values.len().to_string(), median];
        cells.extend(threshold.map(|of| scored.flagged(of).iter().filter(|is| **is).count().to_string()));
        if has_labels {
            let area = auroc(&scored.values, scored.labels().expect("all have labels"));
            cells.push(area.map_or("-".into(), |area| format!("{area:.4}")));
            cells.extend(
                threshold.and_then(|of| scored.counts(of)).map(|counts| shown(counts.rates())).into_iter().flatten(),
            );
        }
        cells
    };
    print(&table(&heads, &sets.iter().map(row).collect::<Vec<_>>()));
    if let Some(Threshold { value, from }) = threshold {
        print(&format!("\nthreshold of the {} {value:.4}: {from}", by.name()));
    }
    if let Some(counts) = threshold.and_then(|threshold| total(sets, threshold)) {
        let [f1, false_alarms, missed] = shown(counts.rates());
        print(&format!("all steps: F1 {f1}, false alarms {false_alarms}, missed {missed}"));
    }
}

fn object(sets: &[Scored], by: Score, threshold: Option<&Threshold>) -> Value {
    let counted = |counts: Counts| {
        let [f1, false_alarms, missed] = counts.rates();
        json!({
            "tp": counts.tp, "fp": counts.fp, "tn": counts.tn, "fn": counts.fn_,
            "f1": f1, "false_alarm_percent": false_alarms, "missed_percent": missed,
        })
    };
    let set = |scored: &Scored| {
        let steps: Vec<Value> = scored.values.iter().map(|value| json!(value)).collect();
        let counts = threshold.and_then(|threshold| scored.counts(threshold)).map(counted);
        json!({
            "series": scored.series.name, "first_step": scored.series.test.start, "scores": steps,
            "labels": scored.labels(), "counts": counts,
        })
    };
    json!({
        "by": by.name(),
        "threshold": threshold.map(|threshold| threshold.value),
        "series": sets.iter().map(set).collect::<Vec<_>>(),
        "counts": threshold.and_then(|threshold| total(sets, threshold)).map(counted),
    })
}

/// The scores of the first series over their steps, the threshold, and labelled steps on another ground.
fn draw(sets: &[Scored], by: Score, threshold: Option<&Threshold>) -> picture::Picture {
    let panel = |scored: &Scored| {
        let mut lines = vec![(0, scored.values.clone())];
        lines.extend(threshold.map(|threshold| (1, vec![threshold.value; scored.values.len()])));
        let mut marked = Vec::new();
        let mut first = 0;
        for of_kind in scored.labels().unwrap_or_default().chunk_by(|a, b| a == b) {
            if of_kind[0] {
                marked.push(first..first + of_kind.len());
            }
            first += of_kind.len();
        }
        Panel { label: scored.series.name.clone(), lines, band: Vec::new(), marked }
    };
    let panels: Vec<Panel> = sets.iter().take(DRAWN).map(panel).collect();
    let first = sets.first().map_or(0, |scored| scored.series.test.start);
    picture::panels(&panels, &[by.name().to_string(), "threshold".into()], first, "scores of steps")
}
