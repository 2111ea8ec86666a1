//! Which pictures are for training and which for testing where the files do not say it, and which of them a limit
//! keeps.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::table::Table;
use super::{Choice, Dataset};

/// Where a set is not split by its files, about one picture of this many is a test picture.
const TEST_EVERY: usize = 10;

/// The rule by which pictures are chosen. A run records it, so that it never trains on a former test picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// That of runs which record none: every tenth picture in the order of their names is a test picture, only folders
    /// called exactly `train` and `test` are splits, and a limit keeps the first pictures.
    #[default]
    ByOrder,
    /// The hash of a picture's name decides, so that a new file moves no other from one split to the other. Of one's
    /// own pictures, which often come class by class, a limit keeps a share drawn from all of them.
    ByName,
    /// All of one's own pictures that are not split are test pictures, and none is a training picture: for using a
    /// model.
    All,
}

impl Selection {
    /// Whether each of the pictures of a folder is a test picture, by their names.
    pub(super) fn tests_by_name<'a>(self, names: impl Iterator<Item = &'a [u8]>) -> Vec<bool> {
        match self {
            Selection::ByOrder => names.enumerate().map(|(at, _)| is_tenth(at)).collect(),
            Selection::ByName => hashed(&names.map(hash).collect::<Vec<u64>>()),
            Selection::All => names.map(|_| true).collect(),
        }
    }

    /// Whether picture number `at` of an array is a test picture. Its pictures have no names, and new ones come behind.
    pub(super) fn is_test(self, at: usize) -> bool {
        self == Selection::All || is_tenth(at)
    }

    /// What the user is told about one's own pictures of `place` that are not split: it lacks `missing`. `one` is what
    /// one of them is called.
    pub(super) fn notice(self, place: &str, one: &str, missing: &str, named: bool) -> String {
        let rule = match self {
            Selection::All => format!("all its {one}s are taken"),
            Selection::ByName if named => {
                format!("about every {TEST_EVERY}th {one}, chosen by its name, is a test {one}")
            }
            _ => format!("every {TEST_EVERY}th {one} in order, the first one included, is a test {one}"),
        };
        format!("note: {place} has no {missing}: {rule}")
    }
}

impl Dataset {
    /// At most so many training and test pictures: the first ones, or of one's own pictures, unless the selection is by
    /// order, a share of all, in their order. The same numbers give the same share.
    pub fn limited(mut self, selection: Selection, [train, test]: [Option<usize>; 2]) -> Dataset {
        let own = self.name.parse().is_ok_and(Choice::is_own);
        let limit = |table: Table, n: Option<usize>| match n {
            Some(n) if own && selection != Selection::ByOrder => share(table, n),
            Some(n) => table.truncated(n),
            None => table,
        };
        self.train = limit(self.train, train);
        self.test = limit(self.test, test);
        self
    }
}

/// `n` examples in their order, drawn by the hashes of their numbers, or all where there are fewer.
fn share(table: Table, n: usize) -> Table {
    if n >= table.count {
        return table;
    }
    let mut drawn: Vec<usize> = (0..table.count).collect();
    drawn.sort_by_cached_key(|&at| hash(&(at as u64).to_le_bytes()));
    drawn.truncate(n);
    drawn.sort();
    table.kept(&drawn)
}

fn is_tenth(at: usize) -> bool {
    at.is_multiple_of(TEST_EVERY)
}

/// The same on every machine and in every version.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    u64::from_be_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"))
}

/// Those with the lowest tenth of hashes, but at least one and not all.
fn hashed(hashes: &[u64]) -> Vec<bool> {
    let mut tests: Vec<bool> = hashes.iter().map(|&hash| hash < u64::MAX / TEST_EVERY as u64).collect();
    if hashes.len() < 2 {
        return vec![false; hashes.len()];
    }
    let by_hash = |&at: &usize| hashes[at];
    if tests.iter().all(|&test| !test) {
        tests[(0..hashes.len()).min_by_key(by_hash).expect("two at least")] = true;
    }
    if tests.iter().all(|&test| test) {
        tests[(0..hashes.len()).max_by_key(by_hash).expect("two at least")] = false;
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests_of(names: &[String]) -> Vec<&String> {
        let tests = Selection::ByName.tests_by_name(names.iter().map(|name| name.as_bytes()));
        names.iter().zip(tests).filter(|(_, test)| *test).map(|(name, _)| name).collect()
    }

    #[test]
    fn about_a_tenth_is_for_testing_and_a_new_file_moves_none() {
        let mut names: Vec<String> = (0..1000).map(|i| format!("cats/p{i:03}.png")).collect();
        let before: Vec<String> = tests_of(&names).into_iter().cloned().collect();
        assert!((70..130).contains(&before.len()), "{}", before.len());
        names.insert(0, "a_first.png".into());
        names.retain(|name| name != "cats/p500.png");
        let now = tests_of(&names);
        let unmoved = |name: &&String| name.as_str() != "a_first.png" && name.as_str() != "cats/p500.png";
        assert!(now.into_iter().filter(unmoved).eq(before.iter().filter(unmoved)));
    }

    #[test]
    fn few_pictures_have_one_of_each_kind() {
        for i in 0..300 {
            let two = [format!("{i}.png"), format!("other{i}.png")];
            assert_eq!(tests_of(&two).len(), 1, "{i}");
        }
        assert_eq!(tests_of(&["1.png".into()]).len(), 0);
        assert!(tests_of(&[]).is_empty());
    }

    #[test]
    fn a_share_of_pictures_in_order_of_class_has_all_classes() {
        let labels: Vec<u8> = (0..100).map(|i| i / 10).collect();
        let split = Table::of_pictures([1, 1, 1], labels.clone(), Some((labels, 10)));
        let data = |name: &str| Dataset {
            name: name.into(),
            class_names: Vec::new(),
            vocabulary: None,
            spectrogram: None,
            train: split.clone(),
            test: split.clone(),
        };
        let limits = [Some(40), Some(1000)];
        for name in ["folder:pics", "array:x"] {
            let limited = data(name).limited(Selection::ByName, limits);
            let train = &limited.train;
            assert_eq!((train.count, train.pixels().len(), &limited.test), (40, 40, &split));
            assert!(train.pixels().is_sorted() && train.labels() == Some(train.pixels()));
            let mut classes = train.pixels().to_vec();
            classes.dedup();
            assert_eq!(classes.len(), 10, "{:?}", train.pixels());
            assert_eq!(data(name).limited(Selection::ByName, limits), limited);
            assert_eq!(data(name).limited(Selection::ByOrder, limits).train, split.clone().truncated(40));
        }
        assert_eq!(data("mnist").limited(Selection::ByName, limits).train, split.clone().truncated(40));
    }
}
