//! Data sets from what the page has: drawn digits, IDX files, pictures that the browser decoded.

use std::path::Path;

use elbo::data::idx::{Idx, Kind};
use elbo::data::table::{LABELS, Table};
use elbo::data::{Dataset, digits};
use elbo::error::{Error, Result};
use serde_json::json;

/// The built-in digits.
pub fn drawn(train: usize, test: usize) -> Dataset {
    let [train, test] = [(0, train), (1, test)].map(|(seed, count)| digits::split(seed, count.max(1)));
    dataset("digits".into(), Vec::new(), train, test)
}

fn dataset(name: String, class_names: Vec<String>, train: Table, test: Table) -> Dataset {
    Dataset { name, class_names, vocabulary: None, spectrogram: None, train, test }
}

/// From the files of a set in MNIST's format, told apart by what they hold and by `t10k` or `test` in their names.
/// Errors: files that are damaged, missing, or of other sizes than each other.
pub fn idx(names: &[String], files: &[Vec<u8>]) -> Result<Dataset> {
    let usage = |problem: String| Error::Usage(problem);
    let mut found: [[Option<Idx>; 2]; 2] = Default::default();
    for (name, bytes) in names.iter().zip(files) {
        let kind = if bytes.starts_with(&[0, 0, 8, 1]) { Kind::Labels } else { Kind::Images };
        let is_test = ["t10k", "test"].iter().any(|word| name.to_lowercase().contains(word));
        let parsed = Idx::of_bytes(bytes, Path::new(name), kind)?;
        found[usize::from(is_test)][usize::from(kind == Kind::Labels)] = Some(parsed);
    }
    let [[train, train_labels], [test, test_labels]] = found;
    let train = train.ok_or_else(|| usage("There are no training pictures among these files.".into()))?;
    let (train_rows, train_labels) = (train.sizes[0], train_labels.map(|idx| idx.body));
    // Of one file alone a tenth is for testing.
    let (train, test, labels) = match test {
        Some(test) if test.sizes[1..] != train.sizes[1..] => {
            return Err(usage("The test pictures are of another size than the training pictures.".into()));
        }
        Some(test) => (split(&train, train.body.clone()), split(&test, test.body.clone()), {
            let test_labels = test_labels.map(|idx| idx.body);
            [train_labels, test_labels]
        }),
        None => {
            let dims = train.sizes[1..].iter().product::<usize>();
            let cut = (train_rows - (train_rows / 10).max(1)) * dims;
            let labels = train_labels.map(|labels| {
                let (a, b) = labels.split_at((cut / dims).min(labels.len()));
                (a.to_vec(), b.to_vec())
            });
            let (a, b) = labels.map_or((None, None), |(a, b)| (Some(a), Some(b)));
            (split(&train, train.body[..cut].to_vec()), split(&train, train.body[cut..].to_vec()), [a, b])
        }
    };
    labelled("idx files", Vec::new(), [train, test], labels)
}

type Split = ([usize; 3], Vec<u8>);

fn split(idx: &Idx, body: Vec<u8>) -> Split {
    ([1, idx.sizes[1], idx.sizes[2]], body)
}

/// Of pixels that the browser decoded, (N,C,H,W). Errors: not whole pictures, labels for other than all of them.
pub fn decoded(
    name: &str,
    [train, test]: [Vec<u8>; 2],
    labels: [Vec<u8>; 2],
    class_names: Vec<String>,
    shape: [usize; 3],
) -> Result<Dataset> {
    let labels = labels.map(|labels| (!labels.is_empty()).then_some(labels));
    labelled(name, class_names, [(shape, train), (shape, test)], labels)
}

fn labelled(name: &str, class_names: Vec<String>, splits: [Split; 2], labels: [Option<Vec<u8>>; 2]) -> Result<Dataset> {
    for ((shape, pixels), labels) in splits.iter().zip(&labels) {
        let dims: usize = shape.iter().product();
        let count = pixels.len() / dims.max(1);
        if count == 0 || pixels.len() != count * dims {
            return Err(Error::Usage(format!("{name}: there are no whole pictures of {shape:?} for each split")));
        }
        if labels.as_ref().is_some_and(|labels| labels.len() != count) {
            return Err(Error::Usage(format!("{name}: {count} pictures have other than {count} labels")));
        }
    }
    let classes = labels.iter().flatten().flatten().max().map_or(0, |&most| usize::from(most) + 1);
    let classes = classes.max(class_names.len());
    let all = labels.iter().all(Option::is_some);
    let [train, test] = [0, 1].map(|i| {
        let (shape, pixels) = splits[i].clone();
        let labels = labels[i].clone().filter(|_| all).map(|labels| (labels, classes));
        Table::of_pictures(shape, pixels, labels)
    });
    Ok(dataset(name.into(), class_names, train, test))
}

/// What the page shows of a data set, as JSON.
pub fn described(data: &Dataset) -> String {
    json!({
        "name": data.name,
        "shape": data.train.shape(),
        "classes": data.columns().label(LABELS).unwrap_or(0),
        "class_names": data.class_names,
        "train": data.train.count,
        "test": data.test.count,
    })
    .to_string()
}
