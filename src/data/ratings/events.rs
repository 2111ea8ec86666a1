//! A CSV file of ratings, or of pairs of user and item, as events: who liked what.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::Path;

use csv::{Position, StringRecord};

use crate::data::MAX_BYTES;
use crate::data::idx::decompressed;
use crate::error::{Error, Result, plain};
use crate::files::open_regular;

/// The names that a column may have in the first line, in the order in which they are looked for.
const USER: [&str; 3] = ["userId", "user_id", "user"];
pub(super) const ITEM: [&str; 5] = ["movieId", "itemId", "movie_id", "item_id", "item"];
const RATING: [&str; 2] = ["rating", "score"];

/// Who liked what. Users and items are numbered as they first appear among the events.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Events {
    /// The file's names of users.
    pub users: Vec<String>,
    /// The file's names of items.
    pub items: Vec<String>,
    /// By user: items without repetition, in the order of the file.
    pub liked: Vec<Vec<u32>>,
}

/// Reads a CSV file, plain or compressed by gzip, whose first line names its columns: a user, an item, and if it has
/// one a rating, of which those above `liked_above` count. Without a rating every pair does.
///
/// # Errors
/// A missing column, text where a number is wanted, an empty name, a damaged row: file, line and column in one line.
pub(super) fn read(path: &Path, liked_above: f64) -> Result<Events> {
    let mut reader = reader(path)?;
    let columns = Columns::of(path, &reader.headers().map_err(|e| damaged(path, e))?.clone())?;
    let mut events = Events::default();
    let (mut users, mut items) = (Numbers::default(), Numbers::default());
    let mut row = StringRecord::new();
    while reader.read_record(&mut row).map_err(|e| damaged(path, e))? {
        let wrong = |name: &str, problem: String| {
            let line = row.position().map_or(0, Position::line);
            Error::file(path, format!("line {line}, column {}: {problem}", plain(name)))
        };
        let text = |(at, name): &(usize, String)| match row[*at].trim() {
            "" => Err(wrong(name, "is empty".into())),
            text => Ok(text),
        };
        let (user, item) = (text(&columns.user)?, text(&columns.item)?);
        if let Some(column) = &columns.rating {
            let given = text(column)?;
            let rating: Option<f64> = given.parse().ok().filter(|rating: &f64| rating.is_finite());
            let rating = rating.ok_or_else(|| wrong(&column.1, format!("\"{}\" is no number", plain(given))))?;
            if rating <= liked_above {
                continue;
            }
        }
        let (user, item) = (users.of(user, &mut events.users), items.of(item, &mut events.items));
        if user as usize == events.liked.len() {
            events.liked.push(Vec::new());
        }
        events.liked[user as usize].push(item);
    }
    events.liked.iter_mut().for_each(without_repetition);
    Ok(events)
}

/// A CSV reader of the file's content.
pub(super) fn reader(path: &Path) -> Result<csv::Reader<impl Read>> {
    let (file, _) = open_regular(path)?;
    let content = decompressed(BufReader::with_capacity(1 << 16, file)).map_err(Error::io("read", path))?;
    Ok(csv::Reader::from_reader(BufReader::new(content.take(MAX_BYTES))))
}

/// What the CSV reader found wrong.
pub(super) fn damaged(path: &Path, error: csv::Error) -> Error {
    let line = error.position().map_or(String::new(), |at| format!("line {}: ", at.line()));
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} columns, but the first line {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".into(),
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => format!("is no CSV: {error}"),
    };
    Error::file(path, format!("{line}{problem}"))
}

/// Where the columns are, and what the file calls them.
struct Columns {
    user: (usize, String),
    item: (usize, String),
    rating: Option<(usize, String)>,
}

impl Columns {
    fn of(path: &Path, heads: &StringRecord) -> Result<Columns> {
        let needed = |what: &str, names: &[&str]| {
            find(heads, names).ok_or_else(|| {
                let found: Vec<String> = heads.iter().map(plain).collect();
                let problem = format!(
                    "has no column of {what} ({}): its first line is \"{}\", that of ratings is userId,movieId,rating",
                    names.join(", "),
                    found.join(",")
                );
                Error::file(path, problem)
            })
        };
        Ok(Columns { user: needed("users", &USER)?, item: needed("items", &ITEM)?, rating: find(heads, &RATING) })
    }
}

/// The first of the columns that has one of the names, and its name.
pub(super) fn find(heads: &StringRecord, names: &[&str]) -> Option<(usize, String)> {
    let place = |name: &&str| heads.iter().position(|head| head.trim().trim_start_matches('\u{feff}') == *name);
    names.iter().find_map(|name| Some((place(name)?, name.to_string())))
}

/// Names as numbers, in the order in which they first appear.
#[derive(Default)]
struct Numbers(HashMap<String, u32>);

impl Numbers {
    /// The number of a name, which is added to `names` where it is new.
    fn of(&mut self, name: &str, names: &mut Vec<String>) -> u32 {
        if let Some(&number) = self.0.get(name) {
            return number;
        }
        let number = names.len() as u32;
        self.0.insert(name.into(), number);
        names.push(name.into());
        number
    }
}

/// Leaves the first of each item.
fn without_repetition(items: &mut Vec<u32>) {
    let mut seen = std::collections::HashSet::new();
    items.retain(|&item| seen.insert(item));
}
