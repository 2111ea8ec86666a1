//! How well a score tells anomalies from normal rows. A score is larger the less a row is like what a model was trained
//! on.

/// The area under the receiver operating characteristic: of an anomaly and a normal row, drawn at random, how often the
/// anomaly has the larger score. Ties count half. From the ranks (Mann & Whitney 1947), in N log N:
///
///   AUROC = (sum of the anomalies' ranks - A (A + 1) / 2) / (A (N - A)),   A anomalies of N rows
///
/// `None` where all rows are of one kind. Panics where there is not a label a score.
pub fn auroc(scores: &[f64], is_anomaly: &[bool]) -> Option<f64> {
    let (order, anomalies) = descending(scores, is_anomaly);
    let normal = scores.len() - anomalies;
    if anomalies == 0 || normal == 0 {
        return None;
    }
    // ANCHOR: auroc
    // Pairs won by the anomalies, from the largest score down: each wins over all normal rows that are still to come.
    let (mut wins, mut left) = (0.0, normal as f64);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let found = tied.iter().filter(|&&row| is_anomaly[row]).count() as f64;
        let others = tied.len() as f64 - found;
        left -= others;
        wins += found * (left + 0.5 * others);
    }
    Some(wins / (anomalies as f64 * normal as f64))
    // ANCHOR_END: auroc
}

/// The area under precision over recall, as the average precision: sum over thresholds of (gain in recall) x
/// precision, tied scores at one threshold. A score that says nothing gets the share of anomalies. `None` where all
/// rows are of one kind. Panics where there is not a label a score.
pub fn auprc(scores: &[f64], is_anomaly: &[bool]) -> Option<f64> {
    let (order, anomalies) = descending(scores, is_anomaly);
    if anomalies == 0 || anomalies == scores.len() {
        return None;
    }
    let (mut area, mut taken, mut found) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let gain = tied.iter().filter(|&&row| is_anomaly[row]).count() as f64;
        taken += tied.len() as f64;
        found += gain;
        area += gain / anomalies as f64 * found / taken;
    }
    Some(area)
}

/// The value below which this share of the values lies, between two of them on the line through both. Panics on no
/// values, and on a share outside 0 to 1.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    assert!(!values.is_empty() && (0.0..=1.0).contains(&share), "{share} of {} values", values.len());
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The rows by their scores, the largest first, and the number of anomalies.
fn descending(scores: &[f64], is_anomaly: &[bool]) -> (Vec<usize>, usize) {
    assert!(scores.len() == is_anomaly.len(), "{} scores and {} labels", scores.len(), is_anomaly.len());
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    (order, is_anomaly.iter().filter(|&&is_anomaly| is_anomaly).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::uniform;

    /// The definition, pair by pair.
    fn pairs(scores: &[f64], is_anomaly: &[bool]) -> f64 {
        let of =
            |kind: bool| scores.iter().zip(is_anomaly).filter(move |(_, is)| **is == kind).map(|(score, _)| *score);
        let (mut wins, mut count) = (0.0, 0.0);
        for anomaly in of(true) {
            for normal in of(false) {
                wins += if anomaly > normal {
                    1.0
                } else if anomaly == normal {
                    0.5
                } else {
                    0.0
                };
                count += 1.0;
            }
        }
        wins / count
    }

    #[test]
    fn auroc_counts_pairs() {
        for seed in 0..20 {
            // Twenty values for 65 rows: many ties.
            let scores: Vec<f64> = uniform(seed, 65, 0.0, 20.0).iter().map(|v| f64::from(v.floor())).collect();
            let is_anomaly: Vec<bool> = uniform(100 + seed, 65, 0.0, 1.0).iter().map(|v| *v > 0.7).collect();
            let expected = pairs(&scores, &is_anomaly);
            assert!((auroc(&scores, &is_anomaly).unwrap() - expected).abs() < 1e-12);
            let turned: Vec<f64> = scores.iter().map(|score| -score).collect();
            assert!((auroc(&turned, &is_anomaly).unwrap() - (1.0 - expected)).abs() < 1e-12);
        }
    }

    #[test]
    fn rankings_worked_out_by_hand() {
        // scikit-learn's example of average_precision_score: 0.83; its roc_auc_score of the same is 0.75.
        let (scores, is_anomaly) = ([0.1, 0.4, 0.35, 0.8], [false, false, true, true]);
        assert!((auprc(&scores, &is_anomaly).unwrap() - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        assert_eq!(auroc(&scores, &is_anomaly), Some(0.75));
        // A score that says nothing.
        assert_eq!((auroc(&[1.0; 4], &is_anomaly), auprc(&[1.0; 4], &is_anomaly)), (Some(0.5), Some(0.5)));
        for kind in [true, false] {
            assert_eq!((auroc(&scores, &[kind; 4]), auprc(&scores, &[kind; 4])), (None, None));
        }
    }

    #[test]
    fn quantiles_lie_between_the_values() {
        let values = [3.0, 1.0, 2.0, 5.0, 4.0];
        let of = |share: f64| quantile(&values, share);
        assert_eq!((of(0.0), of(0.5), of(1.0), of(0.875)), (1.0, 3.0, 5.0, 4.5));
        assert_eq!(quantile(&[7.0], 0.95), 7.0);
    }
}
