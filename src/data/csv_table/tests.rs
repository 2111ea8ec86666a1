use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::super::progress::tests::notices;
use super::*;

const PLAIN: &str = "a,b,anomaly\n1,10,0\n2,10,0\n3,10,1\n4,10,0\n5,10,0\n6,10,1\n7,10,0\n";

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn opened(path: &Path, form: &Form, selection: Selection) -> (Result<Dataset>, String) {
    let mut said = String::new();
    let data = open(path, form, selection, &mut notices(&mut said));
    (data, said)
}

fn message(content: impl AsRef<[u8]>, form: &Form) -> String {
    let files = Files::new();
    opened(&files.write("x.csv", content), form, Selection::ByName).0.unwrap_err().to_string()
}

fn normal_half() -> Form {
    Form { split: Split::Normal(0.5), ..Form::default() }
}

/// What the rows' first number was.
fn first_numbers(table: &Table) -> Vec<f64> {
    let original = table.features().unwrap().original(&table.values(0..table.count));
    original.chunks(table.dims()).map(|row| (row[0] * 1e4).round() / 1e4).collect()
}

#[test]
fn the_first_half_of_the_normal_rows_trains() {
    let files = Files::new();
    let (data, said) = opened(&files.write("t.csv", PLAIN), &normal_half(), Selection::ByName);
    let data = data.unwrap();
    assert_eq!((data.name.as_str(), data.examples()), ("table:t", "rows"));
    // Half of five, to the even number.
    assert_eq!(first_numbers(&data.train), [1.0, 2.0]);
    assert_eq!(first_numbers(&data.test), [3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!(data.test.labels(), Some(&[1, 0, 0, 1, 0][..]));
    assert!(said.contains("the first 2 of 5 normal rows are for training"), "{said}");
    let features = data.train.features().unwrap();
    assert_eq!(
        (features.names.join(" "), &features.mean[..], &features.deviation[..]),
        ("a b".into(), &[1.5, 10.0][..], &[0.5, 1.0][..])
    );
    assert_eq!(data.train.values(0..2), [-1.0, 0.0, 1.0, 0.0]);
    assert_eq!(data.test.values(0..1), [3.0, 0.0]);
    // Another label can be the normal one.
    let other = Form { normal: vec![1], ..normal_half() };
    let (data, _) = opened(&files.write("t.csv", PLAIN), &other, Selection::ByName);
    assert_eq!(first_numbers(&data.unwrap().train), [3.0]);
}

#[test]
fn a_share_is_drawn_by_its_seed() {
    let files = Files::new();
    let text: String = std::iter::once("v\n".into()).chain((0..100).map(|i| format!("{i}\n"))).collect();
    let path = files.write("v.csv", text);
    let test = |split: &str| {
        let form = Form { split: split.parse().unwrap(), ..Form::default() };
        let data = opened(&path, &form, Selection::ByName).0.unwrap();
        assert_eq!(data.train.count + data.test.count, 100);
        first_numbers(&data.test)
    };
    let drawn = test("share:0.2");
    assert_eq!((drawn.len(), test("share:0.2:1")), (20, drawn.clone()));
    assert!(drawn.is_sorted() && test("share:0.2:2") != drawn && test("share:0.25").len() == 25);
    // For using a model all rows are taken.
    let all = opened(&path, &Form::default(), Selection::All).0.unwrap();
    assert_eq!((all.train.count, first_numbers(&all.test).len(), all.test.labels()), (0, 100, None));
    let named = Form { label_column: Some("class".into()), ..Form::default() };
    assert_eq!(opened(&path, &named, Selection::All).0.unwrap().test.labels(), None);
}

#[test]
fn a_models_scale_is_taken_whatever_the_rows_are() {
    let files = Files::new();
    let scale = Features { names: vec!["a".into(), "b".into()], mean: vec![1.0, 2.0], deviation: vec![1.0, 2.0] };
    let form = Form { scale: Some(scale.clone()), ..Form::default() };
    // The outlier of the last row moves no other.
    let data = opened(&files.write("x.csv", "a,b\n3,3\n5,9\n1e12,0\n"), &form, Selection::All).0.unwrap();
    assert_eq!((data.test.values(0..2), data.test.features()), (vec![2.0, 0.5, 4.0, 3.5], Some(&scale)));
    let other = opened(&files.write("y.csv", "a,c\n3,3\n"), &form, Selection::All).0.unwrap_err().to_string();
    assert!(other.contains("y.csv has no column `b`, which the model takes"), "{other}");
}

#[test]
fn a_folder_has_both_files() {
    let files = Files::new();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all("\u{feff}x;label\n0;3\n2;0\n".as_bytes()).unwrap();
    files.write("train.csv.gz", packed.finish().unwrap());
    let folder = files.0.path();
    let lacks = opened(folder, &Form::default(), Selection::ByName).0.unwrap_err().to_string();
    assert!(lacks.contains("holds no test.csv"), "{lacks}");
    files.write("test.csv", "x;label\r\n4;1\r\n\r\n");
    let data = opened(folder, &Form::default(), Selection::ByName).0.unwrap();
    assert_eq!((data.train.values(0..2), data.test.values(0..1)), (vec![-1.0, 1.0], vec![3.0]));
    assert_eq!((data.train.labels(), data.columns().label("label").unwrap()), (Some(&[3, 0][..]), 4));
    files.write("test.csv", "y;label\n4;1\n");
    let other = opened(folder, &Form::default(), Selection::ByName).0.unwrap_err().to_string();
    assert!(other.contains("test.csv: has other columns than"), "{other}");
}

#[test]
fn what_is_no_number_is_named_by_line_and_column() {
    let with = |cell: &str| message(format!("a,b\n1,2\n3,{cell}\n"), &Form::default());
    for (cell, words) in [
        ("x", "`x` is no number"),
        ("nan", "`nan` is no finite number"),
        ("-inf", "`-inf` is no finite number"),
        ("1e300", "`1e300` is too large"),
        ("", "is empty"),
    ] {
        let message = with(cell);
        assert!(message.contains("x.csv: line 3, column b: ") && message.contains(words), "{message}");
        assert!(!message.contains('\n'));
    }
    let of = |text: &str| message(text, &Form::default());
    assert!(of("a,b\n1,2\n3\n").contains("line 3 has 1 values, and the header 2 columns"));
    assert!(of("a,anomaly\n1,0\n2,0.5\n").contains("line 3, column anomaly: `0.5` is no label"));
    assert!(of("a,anomaly\n1,-1\n").contains("`-1` is no label"));
    assert!(of("1,2\n3,4\n").contains("begins with a header"));
    assert!(of("a,a\n3,4\n").contains("two of its columns are called `a`"));
    assert!(of("anomaly\n1\n").contains("has no column of numbers"));
    assert!(of("a,b\n").contains("has a header and no rows"));
    assert!(of("a\n1\n").contains("leaves none to train"));
    let far = message("a,anomaly\n1,0\n1,0\n1e50,1\n", &normal_half());
    assert!(far.contains("column a is more than 1e12 deviations of the training rows"), "{far}");
    assert!(message(b"a\n\xff\n", &Form::default()).contains("is not UTF-8"));
    let named = Form { label_column: Some("class".into()), ..Form::default() };
    assert!(message("a,b\n1,2\n", &named).contains("has no column `class` (--label-column); it has a, b"));
    assert!(message("a,b\n1,2\n3,4\n", &normal_half()).contains("has no column of labels"));
    let hidden = message("a,b\u{202e}\n1,x\n", &Form::default());
    assert!(!hidden.contains('\u{202e}'), "{hidden}");
}

#[test]
fn splits_are_texts() {
    for text in ["share:0.2", "share:0.5:7", "normal:0.5"] {
        assert_eq!(text.parse::<Split>().unwrap().to_string(), text);
    }
    assert_eq!("share:0.2:1".parse::<Split>().unwrap(), Split::default());
    for text in ["share", "share:0", "share:1", "share:x", "normal:2", "normal:0.5:1", "half", "share:0.2:-1"] {
        let message = text.parse::<Split>().unwrap_err().to_string();
        assert!(message.contains(&format!("`{text}` is no split")), "{message}");
    }
}
