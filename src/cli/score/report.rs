//! What `elbo score` prints and writes of its rows.

use elbo::inference::ranking::{auprc, auroc, quantile};
use elbo::inference::scores::Score;
use elbo::messages::{notice, print};
use serde_json::{Value, json};

use super::super::table::{Column, table};
use super::{Scored, Threshold};

/// All rows as CSV; where it is known of any which files they are of, with the name of the class and the file at the
/// end.
pub fn lines(sets: &[Scored], by: Score, threshold: Option<&Threshold>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let scores = sets[0].scores.rows.iter().map(|(score, _)| score.name());
    let has_files = sets.iter().any(|scored| !scored.files.is_empty());
    let last: &[&str] = if has_files { &["class", "file"] } else { &[] };
    let heads = ["dataset", "row"].into_iter().chain(scores).chain(["label", "is_anomaly", "is_flagged"]);
    writer.write_record(heads.chain(last.iter().copied())).expect("memory takes every row");
    for scored in sets {
        let labels = scored.data.test.labels();
        for row in 0..scored.data.test.count {
            let or_empty = |value: Option<String>| value.unwrap_or_default();
            let flags = [
                or_empty(labels.map(|labels| labels[row].to_string())),
                or_empty(scored.is_anomaly.as_ref().map(|is| u8::from(is[row]).to_string())),
                or_empty(threshold.map(|threshold| u8::from(scored.by(by)[row] > threshold.value).to_string())),
            ];
            let first = [scored.data.name.clone(), row.to_string()].into_iter();
            let values = scored.scores.rows.iter().map(|(_, values)| values[row].to_string());
            let file = scored.files.get(row).map(|file| file.display().to_string());
            let named = has_files.then(|| [or_empty(class_of(scored, row)), or_empty(file)]);
            let record = first.chain(values).chain(flags).chain(named.into_iter().flatten());
            writer.write_record(record).expect("every row has the header's length");
        }
    }
    writer.into_inner().expect("memory takes every row")
}

/// The name of a row's class, where the classes have names.
fn class_of(scored: &Scored, row: usize) -> Option<String> {
    let label = scored.data.test.labels()?[row];
    scored.data.class_names.get(usize::from(label)).cloned()
}

pub fn print_set(scored: &Scored, by: Score, threshold: Option<&Threshold>) {
    let Scored { data, is_anomaly, .. } = scored;
    let (count, examples) = (data.test.count, data.examples());
    let found = is_anomaly.as_ref().map(|is| is.iter().filter(|is| **is).count());
    let of_them = found.map_or("without labels".into(), |found| format!("{found} of them anomalies"));
    print(&format!("{count} {examples} of {}, {of_them}\n", data.name));

    let median = |kind: Option<bool>, values: &[f64]| {
        let is_of = |row: usize| kind.is_none_or(|kind| is_anomaly.as_ref().is_some_and(|is| is[row] == kind));
        let of: Vec<f64> = (0..count).filter(|&row| is_of(row)).map(|row| values[row]).collect();
        if of.is_empty() { "-".into() } else { format!("{:.4}", quantile(&of, 0.5)) }
    };
    let area = |area: Option<f64>| area.map_or("-".into(), |area| format!("{area:.4}"));
    let heads = ["score", "median", "of normal", "of anomalies", "AUROC", "AUPRC"];
    let rows: Vec<Vec<String>> = scored
        .scores
        .rows
        .iter()
        .map(|(score, values)| {
            let areas = is_anomaly.as_ref().map(|is| [auroc(values, is), auprc(values, is)]).unwrap_or_default();
            let medians = [None, Some(false), Some(true)].map(|kind| median(kind, values));
            [score.name().to_string()].into_iter().chain(medians).chain(areas.map(area)).collect()
        })
        .collect();
    print(&table(&heads.map(|head| (head, if head == "score" { Column::Left } else { Column::Right })), &rows));

    let label = |row: usize| data.test.labels().map_or(String::new(), |labels| labels[row].to_string());
    let worst: Vec<Vec<String>> = scored
        .worst(by)
        .into_iter()
        .map(|row| {
            let file = scored.files.get(row).map(|file| file.display().to_string());
            let first = vec![row.to_string(), format!("{:.4}", scored.by(by)[row]), label(row)];
            first.into_iter().chain(file).collect()
        })
        .collect();
    let mut heads = vec![(data.example(), Column::Right), (by.name(), Column::Right), ("label", Column::Right)];
    if !scored.files.is_empty() {
        heads.push(("file", Column::Left));
    }
    print(&format!("\nthe largest by {}:\n{}", by.name(), table(&heads, &worst)));

    if let Some(threshold) = threshold {
        let flagged: Vec<bool> = scored.by(by).iter().map(|score| *score > threshold.value).collect();
        let all = flagged.iter().filter(|is| **is).count();
        let split = is_anomaly.as_ref().map_or(String::new(), |is_anomaly| {
            let of = |kind: bool| {
                let of_kind = || is_anomaly.iter().zip(&flagged).filter(move |(is, _)| **is == kind);
                (of_kind().filter(|(_, flagged)| **flagged).count(), of_kind().count())
            };
            let ((hits, anomalies), (alarms, normal)) = (of(true), of(false));
            format!(": {hits} of {anomalies} anomalies and {alarms} of {normal} normal {examples}")
        });
        print(&format!(
            "\nthreshold {:.4} by {}, {}: {all} {examples} lie above{split}",
            threshold.value,
            by.name(),
            threshold.from
        ));
    }
}

/// A score of likelihood that finds anomalies likelier than normal rows is turned around: it must not be used as it is.
pub fn warn_of_inversion(scored: &Scored) {
    let Some(is_anomaly) = &scored.is_anomaly else { return };
    for (score, values) in &scored.scores.rows {
        match auroc(values, is_anomaly) {
            Some(area) if area < 0.5 => {
                let what = if score.is_of_likelihood() { "the likelihood inverts" } else { "the error inverts" };
                notice(&format!(
                    "warning: {what}: by {} the anomalies of {} look more normal than normal {} (AUROC {area:.3} < \
                     0.5): do not trust this score here",
                    score.name(),
                    scored.data.name,
                    scored.data.examples()
                ));
            }
            _ => {}
        }
    }
}

/// All rows, and how well each score ranks them, as JSON.
pub fn object(sets: &[Scored], by: Score, threshold: Option<&Threshold>) -> Value {
    let of_set = |scored: &Scored| {
        let row = |row: usize| {
            let mut object = json!({ "row": row });
            for (score, values) in &scored.scores.rows {
                object[score.name()] = values[row].into();
            }
            if let Some(file) = scored.files.get(row) {
                object["file"] = file.display().to_string().into();
            }
            if let Some(labels) = scored.data.test.labels() {
                object["label"] = labels[row].into();
            }
            if let Some(is_anomaly) = &scored.is_anomaly {
                object["is_anomaly"] = is_anomaly[row].into();
            }
            if let Some(threshold) = threshold {
                object["is_flagged"] = (scored.scores.of(by).expect("it is known")[row] > threshold.value).into();
            }
            object
        };
        let ranking = scored.is_anomaly.as_ref().map(|is_anomaly| {
            let of = |(score, values): &(Score, Vec<f64>)| {
                let areas = json!({ "auroc": auroc(values, is_anomaly), "auprc": auprc(values, is_anomaly) });
                (score.name().to_string(), areas)
            };
            scored.scores.rows.iter().map(of).collect::<serde_json::Map<_, _>>()
        });
        json!({
            "dataset": scored.data.name, "count": scored.data.test.count, "ranking": ranking,
            "rows": (0..scored.data.test.count).map(row).collect::<Vec<_>>(),
        })
    };
    let value = threshold.map(|threshold| threshold.value);
    json!({ "by": by.name(), "threshold": value, "sets": sets.iter().map(of_set).collect::<Vec<_>>() })
}
