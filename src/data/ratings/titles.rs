//! What items are called: the table beside the ratings, and items by what somebody typed.

use std::collections::HashMap;
use std::path::Path;

use super::events::{ITEM, damaged, find, reader};
use crate::error::{Result, nearest, plain};
use crate::files::folder_of;

/// The files that are looked for beside the ratings, plain before compressed.
const FILES: [&str; 4] = ["movies.csv", "movies.csv.gz", "items.csv", "items.csv.gz"];
const TITLE: [&str; 2] = ["title", "name"];

/// Something that users like.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// As in the file of ratings.
    pub id: String,
    /// The id where no title is known.
    pub title: String,
}

/// Titles by id.
#[derive(Debug, Default)]
pub(super) struct Titles(HashMap<String, String>);

impl Titles {
    pub fn item(&self, id: &str) -> Item {
        Item { id: id.into(), title: self.0.get(id).map_or_else(|| id.into(), |title| plain(title)) }
    }
}

/// The titles in the folder of the ratings; none where there is no such file.
///
/// # Errors
/// A file without a column of items and one of titles, damaged rows.
pub(super) fn read(ratings: &Path) -> Result<Titles> {
    let files = FILES.map(|name| folder_of(ratings).join(name));
    let Some(path) = files.iter().find(|path| path.is_file() && *path != ratings) else { return Ok(Titles::default()) };
    let mut reader = reader(path)?;
    let heads = reader.headers().map_err(|e| damaged(path, e))?.clone();
    let (Some((item, _)), Some((title, _))) = (find(&heads, &ITEM), find(&heads, &TITLE)) else {
        let problem = "has no column movieId and no column title: remove it, or give it a first line movieId,title";
        return Err(crate::error::Error::file(path, problem));
    };
    let row = |row: csv::Result<csv::StringRecord>| {
        let row = row.map_err(|e| damaged(path, e))?;
        Ok((row[item].trim().to_string(), row[title].trim().to_string()))
    };
    Ok(Titles(reader.records().map(row).collect::<Result<_>>()?))
}

/// The numbers of items that somebody listed with commas between, by id or title. Titles have commas too, so that the
/// longest run of parts that is a name counts. A title may lack its year.
///
/// # Errors
/// In words, after the option's name: a part that is no item, with the title most like it.
pub fn listed(items: &[Item], text: &str) -> std::result::Result<Vec<u32>, String> {
    let names = Names::of(items);
    let parts: Vec<&str> = text.split(',').collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < parts.len() {
        let run = |end: usize| Some((names.get(&parts[at..end].join(","))?, end));
        let (item, end) = (at + 1..=parts.len()).rev().find_map(run).ok_or_else(|| names.unknown(parts[at].trim()))?;
        if !found.contains(&item) {
            found.push(item);
        }
        at = end;
    }
    Ok(found)
}

/// Numbers of items by their ids and titles, in small letters.
struct Names(HashMap<String, u32>);

impl Names {
    fn of(items: &[Item]) -> Names {
        let mut names = HashMap::new();
        // What comes first stays: ids before titles, titles before those without a year.
        let kinds = [|item: &Item| item.id.clone(), |item: &Item| item.title.clone(), |item: &Item| short(&item.title)];
        for name in kinds {
            for (number, item) in items.iter().enumerate() {
                names.entry(name(item).to_lowercase()).or_insert(number as u32);
            }
        }
        Names(names)
    }

    fn get(&self, name: &str) -> Option<u32> {
        self.0.get(&name.trim().to_lowercase()).copied()
    }

    fn unknown(&self, name: &str) -> String {
        let hint = nearest(name, self.0.keys().map(String::as_str));
        let hint = hint.map_or(String::new(), |hint| format!("; did you mean \"{hint}\"?"));
        format!("no training user liked an item \"{}\"{hint}", plain(name))
    }
}

/// A title without the year at its end: `Toy Story (1995)` is `Toy Story`.
fn short(title: &str) -> String {
    let is_year = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let before = title.rsplit_once(" (").filter(|(_, end)| end.strip_suffix(')').is_some_and(is_year));
    before.map_or(title, |(before, _)| before).to_string()
}
