//! Which training examples keep their label where most are to have none: as many of each class, drawn by a seed.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::table::{LABELS, Table};
use crate::error::{Error, Result};

/// The label of an example that has none: no class, so that its one-hot row is all 0.
pub const UNLABELLED: u8 = u8::MAX;

/// The table's labels with [`UNLABELLED`] in the place of all but `count`, as many of each class that occurs. The same
/// for the same labels and seed. Errors: no labels, 256 classes, a count that is not the same for each class or more
/// than one has; `data` is what the set is called there.
pub fn labels(table: &Table, count: usize, seed: u64, data: &str) -> Result<Vec<u8>> {
    let usage = |problem: String| Err(Error::Usage(problem));
    let Some(labels) = table.labels() else {
        return usage(format!("--labels is {count}, but {data} has no labels"));
    };
    let mut places = vec![Vec::new(); usize::from(UNLABELLED) + 1];
    labels.iter().enumerate().for_each(|(place, &label)| places[usize::from(label)].push(place));
    if !places[usize::from(UNLABELLED)].is_empty() {
        return usage(format!("--labels is {count}, but {data} has more than {UNLABELLED} classes: keep all labels"));
    }
    let classes = places.iter().filter(|places| !places.is_empty()).count();
    if !count.is_multiple_of(classes) {
        return usage(format!(
            "--labels is {count}, but must be a multiple of {classes}, so that each class of {data} has as many"
        ));
    }
    let each = count / classes;
    if let Some((class, places)) = places.iter().enumerate().find(|(_, p)| !p.is_empty() && p.len() < each) {
        return usage(format!(
            "--labels is {count}, {each} of each class, but {data} has {} training pictures of class {class}",
            places.len()
        ));
    }
    let mut kept = vec![UNLABELLED; labels.len()];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Another stream than the initial parameters'.
    rng.set_stream(1);
    for (class, places) in places.iter_mut().enumerate().filter(|(_, places)| !places.is_empty()) {
        let (chosen, _) = places.partial_shuffle(&mut rng, each);
        chosen.iter().for_each(|&place| kept[place] = class as u8);
    }
    Ok(kept)
}

/// The table with [`labels`] of so many, or as it is for `None`. Its errors are the same.
pub fn keep(table: Table, count: Option<usize>, seed: u64, data: &str) -> Result<Table> {
    let Some(count) = count else { return Ok(table) };
    let kept = labels(&table, count, seed, data)?;
    let classes = table.columns().label(LABELS)?;
    Ok(table.with_labels(kept, classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels 1 to 3 go round, of 3 there are fewer.
    fn table() -> Table {
        let labels: Vec<u8> = (0..60).map(|i| if i % 3 == 2 && i > 20 { 1 } else { 1 + i % 3 }).collect();
        Table::of_pictures([1, 1, 1], vec![0; 60], Some((labels, 4)))
    }

    #[test]
    fn as_many_of_each_class_keep_their_label() {
        let table = table();
        let all = table.labels().unwrap();
        let kept = labels(&table, 9, 1, "drawn").unwrap();
        for class in 0..4 {
            let count = kept.iter().filter(|&&label| label == class).count();
            assert_eq!(count, if class == 0 { 0 } else { 3 });
        }
        assert!(kept.iter().zip(all).all(|(&kept, &label)| kept == label || kept == UNLABELLED));
        assert_eq!(kept, labels(&table, 9, 1, "drawn").unwrap());
        assert_ne!(kept, labels(&table, 9, 2, "drawn").unwrap());
        assert_eq!(keep(table.clone(), None, 1, "drawn").unwrap(), table);
        let some = keep(table.clone(), Some(9), 1, "drawn").unwrap();
        assert_eq!((some.labels(), some.columns(), some.pixels()), (Some(&kept[..]), table.columns(), table.pixels()));
    }

    #[test]
    fn what_cannot_be_is_refused_in_one_line() {
        let refused = |table: &Table, count| labels(table, count, 1, "drawn").unwrap_err().to_string();
        let table = table();
        assert_eq!(
            refused(&table, 10),
            "--labels is 10, but must be a multiple of 3, so that each class of drawn has as many"
        );
        assert_eq!(
            refused(&table, 24),
            "--labels is 24, 8 of each class, but drawn has 7 training pictures of class 3"
        );
        let none = Table::of_pictures([1, 1, 1], vec![0; 60], None);
        assert_eq!(refused(&none, 9), "--labels is 9, but drawn has no labels");
        let many = none.with_labels((0..60).map(|i| 255 - i).collect(), 256);
        assert!(refused(&many, 60).contains("more than 255 classes"));
    }
}
