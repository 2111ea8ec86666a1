//! Ratings, or pairs of user and item, as a data set of ragged rows, by the protocol of Liang, Krishnan, Hoffman &
//! Jebara (2018, arXiv 1802.05814), section 4: ratings above 3.5 count as liked, users need five liked items, and the
//! split is by *users*. A held-out user shows four fifths of their items, and the others are to be found.
//!
//! Which user goes where is said by a hash of the user's name, not by a stream of random numbers: the same on every
//! machine and in every language, whatever the order of the file.

mod events;
mod titles;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Dataset;
use super::progress::{Progress, Report};
use super::ragged::Ragged;
use super::table::Table;
use crate::error::{Error, Result, plain};
use events::Events;
pub use titles::{Item, listed};

/// Liked items that a user needs.
const LEAST_ITEMS: usize = 5;
/// Of the users one in so many is a test user, and as many are validation users.
const USERS_A_TEST_USER: usize = 5;
/// The most test users, as in the paper.
const MOST_TEST_USERS: usize = 10_000;
/// Of a held-out user's items one in so many is hidden.
const ITEMS_A_HIDDEN_ITEM: usize = 5;

/// What is done with a file of ratings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Ratings above this count as liked.
    pub liked_above: f64,
    /// Which of the splits by users.
    pub split_seed: u64,
}

impl Default for Protocol {
    fn default() -> Protocol {
        Protocol { liked_above: 3.5, split_seed: 1 }
    }
}

/// Users, the items that they liked, and the split.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratings {
    /// `ratings:` and the name of the folder or the file.
    pub name: String,
    /// The vocabulary: what the training users liked, in the order of the file.
    pub items: Vec<Item>,
    /// What a model is trained on.
    pub train: Vec<User>,
    /// What settings are chosen by.
    pub validation: Vec<HeldOut>,
    /// What a model is judged by.
    pub test: Vec<HeldOut>,
}

/// A user, and the numbers of the items that they liked, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// As in the file.
    pub id: String,
    /// Numbers of [`Ratings::items`].
    pub items: Vec<u32>,
}

/// A user that no model is trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// As in the file.
    pub id: String,
    /// What a model is shown, ascending.
    pub shown: Vec<u32>,
    /// What it is to find, ascending.
    pub hidden: Vec<u32>,
}

impl HeldOut {
    /// All the user's items, ascending.
    pub fn items(&self) -> Vec<u32> {
        let mut items = [&self.shown[..], &self.hidden].concat();
        items.sort();
        items
    }
}

impl Ratings {
    /// Reads `place`, a CSV file or a folder with `ratings.csv`, plain or compressed by gzip (`.csv.gz`), and the
    /// titles in `movies.csv` or `items.csv` beside it, if there are any.
    ///
    /// # Errors
    /// No such file; a missing column, text where a number is wanted: file, line and column; too few users.
    pub fn open(place: &Path, protocol: Protocol, report: &mut Report) -> Result<Ratings> {
        let file = file_in(place)?;
        let events = events::read(&file, protocol.liked_above)?;
        let (there, liked) = (events.users.len(), events.liked.iter().map(Vec::len).sum::<usize>());
        let titles = titles::read(&file)?;
        let mut ratings = Ratings::split(events, titles, protocol.split_seed).map_err(|problem| {
            let of = format!("of {there} users with {liked} liked items (ratings above {})", protocol.liked_above);
            Error::file(&file, format!("{problem}, {of}"))
        })?;
        ratings.name = format!("ratings:{}", name_of(place));
        let Ratings { name, items, train, validation, test } = &ratings;
        let [train, validation, test] = [train.len(), validation.len(), test.len()];
        report(Progress::Notice(&format!(
            "{name}: {there} users liked something; {train} training users with {} items, {validation} validation and \
             {test} test users (split {})",
            items.len(),
            protocol.split_seed
        )));
        Ok(ratings)
    }

    /// The split of a seed. Errors: too few users, after a path.
    fn split(events: Events, titles: titles::Titles, seed: u64) -> std::result::Result<Ratings, String> {
        let mut users: Vec<usize> =
            (0..events.users.len()).filter(|&user| events.liked[user].len() >= LEAST_ITEMS).collect();
        let held_out = (users.len() / USERS_A_TEST_USER).min(MOST_TEST_USERS);
        if held_out == 0 {
            return Err(format!(
                "only {} users have {LEAST_ITEMS} liked items, and {USERS_A_TEST_USER} are needed to split them",
                users.len()
            ));
        }
        users.sort_by_cached_key(|&user| digest(&format!("{seed}/{}", events.users[user])));
        let [mut train, mut validation] = [users.split_off(2 * held_out), users.split_off(held_out)];
        let mut test = users;
        [&mut train, &mut validation, &mut test].into_iter().for_each(|users| users.sort());

        // The vocabulary: number in the file to number among the items, where a training user liked it.
        let mut is_known = vec![false; events.items.len()];
        train.iter().flat_map(|&user| &events.liked[user]).for_each(|&item| is_known[item as usize] = true);
        let mut numbers = vec![None; events.items.len()];
        let mut items = Vec::new();
        for ((id, number), _) in events.items.iter().zip(&mut numbers).zip(is_known).filter(|(_, is_known)| *is_known) {
            *number = Some(items.len() as u32);
            items.push(titles.item(id));
        }
        let known = |user: usize| {
            let mut known: Vec<u32> = events.liked[user].iter().filter_map(|&item| numbers[item as usize]).collect();
            known.sort();
            known
        };
        let id = |user: usize| events.users[user].clone();
        let part = |users: Vec<usize>| {
            let held_out = users.into_iter().map(|user| parted(id(user), known(user), &items, seed));
            held_out.filter(|user| !user.hidden.is_empty()).collect::<Vec<HeldOut>>()
        };
        let (validation, test) = (part(validation), part(test));
        if validation.is_empty() || test.is_empty() {
            return Err(format!("no held-out user has {LEAST_ITEMS} items that a training user liked too"));
        }
        let train = train.into_iter().map(|user| User { id: id(user), items: known(user) }).collect();
        Ok(Ratings { name: String::new(), items, train, validation, test })
    }

    /// As a data set to train on. The users whom each epoch is tested on are the validation users, with all of their
    /// items: settings may be chosen by them, and the test users stay unseen until a ranking is judged.
    pub fn dataset(&self) -> Dataset {
        let width = self.items.len();
        let table = |rows: &[Vec<u32>]| Table::of_items(Ragged::new(rows.iter().map(|row| &row[..]), width), width);
        let train: Vec<Vec<u32>> = self.train.iter().map(|user| user.items.clone()).collect();
        let validation: Vec<Vec<u32>> = self.validation.iter().map(HeldOut::items).collect();
        Dataset {
            name: self.name.clone(),
            class_names: Vec::new(),
            vocabulary: None,
            spectrogram: None,
            train: table(&train),
            test: table(&validation),
        }
    }

    /// The items of the user of that name, all of them; `None` where there is none with enough.
    pub fn user(&self, id: &str) -> Option<Vec<u32>> {
        let trained = self.train.iter().find(|user| user.id == id).map(|user| user.items.clone());
        let held_out = || self.validation.iter().chain(&self.test).find(|user| user.id == id).map(HeldOut::items);
        trained.or_else(held_out)
    }

    /// The names of all users.
    pub fn users(&self) -> impl Iterator<Item = &str> + Clone {
        let held_out = self.validation.iter().chain(&self.test).map(|user| user.id.as_str());
        self.train.iter().map(|user| user.id.as_str()).chain(held_out)
    }
}

/// A held-out user, a fifth of whose items is hidden; none of fewer than [`LEAST_ITEMS`].
fn parted(id: String, known: Vec<u32>, items: &[Item], seed: u64) -> HeldOut {
    let count = if known.len() < LEAST_ITEMS { 0 } else { known.len() / ITEMS_A_HIDDEN_ITEM };
    let mut shown = known;
    shown.sort_by_cached_key(|&item| digest(&format!("{seed}/{id}/{}", items[item as usize].id)));
    let mut hidden: Vec<u32> = shown.drain(..count).collect();
    [&mut shown, &mut hidden].into_iter().for_each(|items| items.sort());
    HeldOut { id, shown, hidden }
}

/// The same on every machine and in every version.
fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The ratings' file that `place` means. Errors: a folder without one.
fn file_in(place: &Path) -> Result<PathBuf> {
    if !place.is_dir() {
        return Ok(place.to_path_buf());
    }
    let found = ["ratings.csv", "ratings.csv.gz"].map(|name| place.join(name)).into_iter().find(|path| path.is_file());
    let problem = "holds no ratings.csv or ratings.csv.gz: give the file with the ratings, or a folder that has one";
    found.ok_or_else(|| Error::file(place, problem))
}

/// The folder's name, or the file's without its endings.
fn name_of(place: &Path) -> String {
    let place = std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf());
    let name = plain(&place.file_name().unwrap_or_default().to_string_lossy());
    let stem = name.trim_end_matches(".gz").trim_end_matches(".csv");
    if place.is_dir() { name } else { stem.to_string() }
}

#[cfg(test)]
mod tests;
