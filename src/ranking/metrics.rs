//! Recall and truncated normalised discounted cumulative gain of a ranking, by the definitions of Liang, Krishnan,
//! Hoffman & Jebara (2018, arXiv 1802.05814), section 4.2. What a user shows is never ranked. H are the hidden items,
//! and rel_r is 1 where the item at rank r, counted from 1, is one of them:
//!
//!   Recall@R = sum_{r<=R} rel_r / min(R, |H|)
//!   DCG@R    = sum_{r<=R} rel_r / log2(r + 1),   NDCG@R = DCG@R / the DCG@R of a ranking with H first

use crate::data::ratings::HeldOut;
use crate::mean::Mean;

/// The three metrics of the paper, in its order.
pub const NAMES: [&str; 3] = ["NDCG@100", "Recall@20", "Recall@50"];
/// The longest ranking that a metric looks at.
const DEPTH: usize = 100;

/// The metrics of every user.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Table {
    rows: Vec<[f64; 3]>,
}

impl Table {
    /// Judges the scores (items) of one more user, who hides something.
    pub fn add(&mut self, user: &HeldOut, scores: &[f32]) {
        let ranked = ranked(scores, &user.shown, DEPTH);
        self.rows.push([
            ndcg(&ranked, &user.hidden, 100),
            recall(&ranked, &user.hidden, 20),
            recall(&ranked, &user.hidden, 50),
        ]);
    }

    /// Users judged so far.
    pub fn users(&self) -> usize {
        self.rows.len()
    }

    /// Over all users, in the order of [`NAMES`].
    pub fn means(&self) -> [Mean; 3] {
        [0, 1, 2].map(|metric| Mean::of(&self.rows.iter().map(|row| row[metric]).collect::<Vec<f64>>()))
    }
}

/// The `depth` items of the highest scores, the highest first, without those that are `shown`. Of equal scores the item
/// of the lower number stands first; a score that is no number stands last.
pub fn ranked(scores: &[f32], shown: &[u32], depth: usize) -> Vec<u32> {
    let is_shown = |item: &u32| shown.binary_search(item).is_ok();
    let mut items: Vec<u32> = (0..scores.len() as u32).filter(|item| !is_shown(item)).collect();
    let score = |item: u32| Some(scores[item as usize]).filter(|score| !score.is_nan()).unwrap_or(f32::NEG_INFINITY);
    let higher_first = |&a: &u32, &b: &u32| score(b).total_cmp(&score(a)).then(a.cmp(&b));
    if items.len() > depth && depth > 0 {
        items.select_nth_unstable_by(depth - 1, higher_first);
    }
    items.truncate(depth);
    items.sort_by(higher_first);
    items
}

/// The share of the hidden items among the first `depth` that are ranked; of as many as could be there.
pub fn recall(ranked: &[u32], hidden: &[u32], depth: usize) -> f64 {
    let hits = ranked.iter().take(depth).filter(|item| hidden.contains(item)).count();
    hits as f64 / depth.min(hidden.len()) as f64
}

/// Discounted hits among the first `depth` that are ranked, as a share of those of the best ranking.
pub fn ndcg(ranked: &[u32], hidden: &[u32], depth: usize) -> f64 {
    let gain = |at: usize| 1.0 / (at as f64 + 2.0).log2();
    let hits = ranked.iter().take(depth).enumerate().filter(|(_, item)| hidden.contains(item));
    let best: f64 = (0..depth.min(hidden.len())).map(gain).sum();
    hits.map(|(at, _)| gain(at)).sum::<f64>() / best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_not_ranked_and_ties_go_by_number() {
        let scores = [0.5, 0.9, f32::NAN, 0.5, 1.0, 0.5];
        assert_eq!(ranked(&scores, &[4], 10), [1, 0, 3, 5, 2]);
        assert_eq!(ranked(&scores, &[4], 3), [1, 0, 3]);
        assert_eq!(ranked(&scores, &[0, 1, 2, 3, 4, 5], 3), [0; 0]);
    }

    #[test]
    fn recall_is_of_as_many_as_could_be_there() {
        // Hits at ranks 1 and 4.
        let ranked = [7, 1, 2, 9, 3];
        assert_eq!(recall(&ranked, &[7, 9, 8, 6], 2), 1.0 / 2.0);
        assert_eq!(recall(&ranked, &[7, 9, 8, 6], 5), 2.0 / 4.0);
        assert_eq!(recall(&ranked, &[7], 5), 1.0);
        assert_eq!(recall(&ranked, &[5], 5), 0.0);
    }

    /// By hand: gains 1, 1/log2 3 = 0.63093, 1/2, 1/log2 5 = 0.43068.
    #[test]
    fn ndcg_discounts_by_rank_and_divides_by_the_best() {
        let ranked = [7, 1, 2, 9, 3];
        let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-5, "{got} {want}");
        close(ndcg(&ranked, &[7, 9], 100), (1.0 + 0.43068) / (1.0 + 0.63093));
        close(ndcg(&ranked, &[7, 9], 3), 1.0 / (1.0 + 0.63093));
        // Of three hidden items two could be among two.
        close(ndcg(&ranked, &[7, 9, 8], 2), 1.0 / (1.0 + 0.63093));
        close(ndcg(&ranked, &[1], 100), 0.63093);
        assert_eq!(ndcg(&ranked, &[7], 100), 1.0);
        assert_eq!(ndcg(&ranked, &[5], 100), 0.0);
    }

    #[test]
    fn means_have_standard_errors() {
        let mut table = Table::default();
        let user = |shown: Vec<u32>, hidden| HeldOut { id: "u".into(), shown, hidden };
        table.add(&user(vec![0], vec![1]), &[9.0, 2.0, 1.0]);
        table.add(&user(vec![0], vec![2]), &[9.0, 2.0, 1.0]);
        assert_eq!(table.users(), 2);
        let [ndcg, recall, _] = table.means();
        assert!((ndcg.mean - (1.0 + 0.630_929_753_571) / 2.0).abs() < 1e-9, "{ndcg:?}");
        assert_eq!((recall.mean, recall.standard_error), (1.0, 0.0));
    }
}
