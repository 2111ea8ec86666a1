//! What `elbo score` draws of its rows.

use elbo::error::Result;
use elbo::inference::Trained;
use elbo::inference::scores::Score;
use elbo::picture::{Heap, Picture, bands, heat, histogram};

use super::{Scored, Threshold, WORST};

/// Deviations from which a cell of the worst rows has its full colour.
const FULL: f64 = 5.0;

pub fn draw_histogram(sets: &[Scored], by: Score, threshold: Option<&Threshold>) -> Picture {
    let of = |kind: Option<bool>| -> Vec<f64> {
        let rows = sets.iter().flat_map(|scored| {
            let kinds = scored
                .is_anomaly
                .clone()
                .map_or(vec![None; scored.data.test.count], |is| is.into_iter().map(Some).collect());
            scored.by(by).iter().copied().zip(kinds)
        });
        rows.filter(|(_, found)| *found == kind).map(|(score, _)| score).collect()
    };
    let kinds = [("normal", Some(false)), ("anomalies", Some(true)), ("without label", None)];
    let heaps: Vec<Heap> = kinds.map(|(name, kind)| Heap { name, values: of(kind) }).into();
    let heaps: Vec<Heap> = heaps.into_iter().filter(|heap| !heap.values.is_empty()).collect();
    let unit = if by.is_of_likelihood() { " (nats)" } else { "" };
    let names: Vec<&str> = sets.iter().map(|scored| scored.data.name.as_str()).collect();
    let title = format!("scores of {}", names.join(", "));
    histogram(&heaps, threshold.map(|threshold| threshold.value), &format!("{}{unit}", by.name()), &title)
}

/// The worst rows of the first set: pictures above their reconstructions; of vectors how far each number is from its
/// reconstruction, in standard deviations of the training rows.
pub fn draw_worst(model: &mut Trained, sets: &[Scored], by: Score) -> Result<Picture> {
    let scored = &sets[0];
    let (split, worst) = (&scored.data.test, scored.worst(by));
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for &row in &worst {
        let values = split.values(row..row + 1);
        let labels = model.labels_of("reconstruct", split, row..row + 1)?;
        let mut made = model.told("reconstruct", ("x", &values), labels.as_deref(), 0)?;
        x.extend(values);
        y.extend(made.pop().expect("a reconstruction"));
    }
    if let Some([c, h, w]) = split.shape() {
        return bands(&[&x, &y], [worst.len(), c, h, w], WORST, 2);
    }
    let dims = split.dims();
    let names = split.features().map(|features| features.names.clone()).unwrap_or_default();
    let rows: Vec<(String, Vec<f64>)> = worst
        .iter()
        .zip(x.chunks(dims).zip(y.chunks(dims)))
        .map(|(&row, (x, y))| {
            let label = split.labels().map_or(String::new(), |labels| format!(", label {}", labels[row]));
            (format!("row {row}{label}"), x.iter().zip(y).map(|(x, y)| f64::from(x - y)).collect())
        })
        .collect();
    let title = format!("worst rows of {}: value - reconstruction, in deviations", scored.data.name);
    Ok(heat(&names, &rows, FULL, &title))
}
