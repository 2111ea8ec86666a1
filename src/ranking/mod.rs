//! How good a ranking of items is, and two rankings that need no gradient: by popularity, and by a linear model in
//! closed form. Whoever trains a recommender should see both beside it.

pub mod ease;
mod inverse;
pub mod metrics;

use crate::data::ratings::{Ratings, User};
use crate::error::Result;
use metrics::Table;

/// How often the training users liked each item: the same ranking for everybody.
pub fn popularity(ratings: &Ratings) -> Vec<f32> {
    let mut counts = vec![0.0; ratings.items.len()];
    ratings.train.iter().flat_map(|User { items, .. }| items).for_each(|&item| counts[item as usize] += 1.0);
    counts
}

/// Held-out users whose scores are asked for at once.
const CHUNK: usize = 64;

/// The metrics of a ranking on held-out users. `scores` gives, for users by what they show, the score of each item,
/// (users, items); `done` hears how many users are judged.
///
/// Errors: those of `scores`.
pub fn judge(
    users: &[crate::data::ratings::HeldOut],
    mut scores: impl FnMut(&[&[u32]]) -> Result<Vec<f32>>,
    mut done: impl FnMut(usize),
) -> Result<Table> {
    let mut table = Table::default();
    for chunk in users.chunks(CHUNK) {
        let shown: Vec<&[u32]> = chunk.iter().map(|user| &user.shown[..]).collect();
        let scores = scores(&shown)?;
        let items = scores.len() / chunk.len();
        chunk.iter().zip(scores.chunks(items)).for_each(|(user, scores)| table.add(user, scores));
        done(table.users());
    }
    Ok(table)
}

/// What users show as rows of zeros and ones, (users, items), as models take it.
pub fn dense(shown: &[&[u32]], items: usize) -> Vec<f32> {
    let mut x = vec![0.0; shown.len() * items];
    for (row, shown) in x.chunks_mut(items).zip(shown) {
        shown.iter().for_each(|&item| row[item as usize] = 1.0);
    }
    x
}
