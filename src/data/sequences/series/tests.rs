use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;
use crate::data::progress::tests::notices;
use crate::data::table::{STEPS, Values};

/// Two sensors over ten minutes, with a gap in each and one labelled minute.
const PLAIN: &str = "time;load;heat;anomaly;changepoint\n00:00;1;10;0;0\n00:01;2;20;0;0\n00:02;;30;0;0\n\
                     00:03;4;nan;0;0\n00:04;5;50;0;0\n00:05;6;60;0;0\n00:06;7;70;1;1\n00:07;8;80;0;0\n\
                     00:08;9;90;0;0\n00:09;10;100;0;0\n";

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn form(length: usize, split: &str) -> Form {
    let windows = Windows { length, stride: None };
    let label_column = Some("anomaly,changepoint".into());
    Form { windows, label_column, split: split.parse().unwrap(), ..Form::default() }
}

fn opened(place: &Path, form: &Form) -> Result<Dataset> {
    open(place, form, Selection::ByName, &mut |_| ())
}

fn message(content: &str, form: &Form) -> String {
    let files = Files::new();
    opened(&files.write("x.csv", content), form).unwrap_err().to_string()
}

/// The first number of each window, in the data's units; NaN where it is missing.
fn firsts(table: &Table) -> Vec<f64> {
    let Values::Steps(sequences) = &table.column(STEPS).unwrap().values else { panic!("no sequences") };
    (0..sequences.count()).map(|n| sequences.features().original(sequences.row(n))[0]).collect()
}

#[test]
fn a_file_is_channels_gaps_times_and_labels() {
    let files = Files::new();
    let path = files.write("pump.csv", PLAIN);
    let [series] = &read(&path, &form(2, "first:6"), Selection::ByName).unwrap()[..] else { panic!("one file") };
    assert_eq!(
        (series.name.as_str(), series.steps(), &series.channels[..]),
        ("pump", 10, &["load".into(), "heat".into()][..])
    );
    assert_eq!((series.train.clone(), series.test.clone()), (0..6, 6..10));
    assert_eq!(series.times.as_ref().unwrap()[9], "00:09");
    assert_eq!(series.labels.as_ref().unwrap().iter().position(|is| *is), Some(6));
    assert!(series.values[4].is_nan() && series.values[7].is_nan() && series.values[8] == 5.0);
    assert_eq!(series.values.iter().filter(|value| value.is_nan()).count(), 2);

    let mut said = String::new();
    let data = open(&path, &form(2, "first:6"), Selection::ByName, &mut notices(&mut said)).unwrap();
    assert_eq!((data.name.as_str(), data.columns().steps(STEPS).unwrap()), ("series:pump", [2, 2]));
    for words in ["10 rows of 2 (load, heat)", "2 numbers missing", "with labels", "the first 6 of each file train"] {
        assert!(said.contains(words), "{said}");
    }
    // By the six rows that train, of which five have a load: 1, 2, 4, 5, 6.
    let features = data.train.features().unwrap();
    assert_eq!((features.mean[0], features.mean[1]), (3.6, 34.0));
    let first = firsts(&data.train);
    assert!(first.len() == 5 && first[2].is_nan() && (first[4] - 5.0).abs() < 1e-6, "{first:?}");
    assert_eq!(firsts(&data.test).len(), 2);
}

#[test]
fn windows_cover_every_step_and_no_more() {
    let of = |length, steps, stride| Windows { length, stride: None }.starts(steps, stride);
    assert_eq!(of(4, 0..10, 4), [0, 4, 6]);
    assert_eq!(of(4, 2..10, 2), [2, 4, 6]);
    assert_eq!(of(4, 3..7, 9), [3]);
    assert_eq!(of(4, 3..6, 1), [0usize; 0]);
    assert_eq!((Windows { length: 5, stride: None }.stride(), Windows { length: 5, stride: Some(3) }.stride()), (2, 3));
}

#[test]
fn the_last_share_of_each_file_tests_and_no_window_crosses_files() {
    let files = Files::new();
    files.write("a/one.csv", PLAIN);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(PLAIN.as_bytes()).unwrap();
    files.write("two.csv.gz", packed.finish().unwrap());
    files.write("notes.txt", "no series");
    let all = read(files.0.path(), &form(3, "share:0.3"), Selection::ByName).unwrap();
    assert_eq!(all.iter().map(|series| series.name.as_str()).collect::<Vec<_>>(), ["a/one.csv", "two.csv.gz"]);
    assert!(all.iter().all(|series| (series.train.clone(), series.test.clone()) == (0..7, 7..10)));
    let data = opened(files.0.path(), &form(3, "share:0.3")).unwrap();
    // Starts 0 to 4 of each file's seven rows; one window of three test rows each.
    assert_eq!((data.train.count, data.test.count), (10, 2));
    assert!((firsts(&data.train)[4] - 5.0).abs() < 1e-6 && (firsts(&data.train)[5] - 1.0).abs() < 1e-6);
    assert!(firsts(&data.test).iter().all(|first| (first - 8.0).abs() < 1e-6));
}

#[test]
fn a_folder_may_be_parted_already_and_a_model_takes_all() {
    let files = Files::new();
    files.write("train.csv", PLAIN);
    files.write("test.csv", PLAIN.replace(";1;1\n", ";0;0\n"));
    let data = opened(files.0.path(), &form(5, "share:0.2")).unwrap();
    assert_eq!((data.train.count, data.test.count), (4, 2));
    let scale = data.train.features().unwrap().clone();
    let of_model = Form { scale: Some(scale.clone()), longest_sequence: Some(4), ..form(5, "share:0.2") };
    let place = files.write("new.csv", "load,heat\n1,2\n3,4\n5,6\n7,8\n9,10\n");
    let data = open(&place, &of_model, Selection::All, &mut |_| ()).unwrap();
    assert_eq!((data.train.count, data.test.count, data.test.features()), (0, 2, Some(&scale)));
    let other = files.write("other.csv", "heat,load\n1,2\n3,4\n5,6\n7,8\n9,10\n");
    let message = open(&other, &of_model, Selection::All, &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("the model's `load`"), "{message}");
}

#[test]
fn what_is_no_series_is_said_by_line_and_column() {
    let plain = |length| form(length, "share:0.2");
    for (content, form, words) in [
        ("load\n1\n2\n", plain(2), "has no column `anomaly` (--label-column); it has load"),
        (&PLAIN.replace("5;50", "5;hot"), plain(2), "line 6, column heat: `hot` is no number"),
        (&PLAIN.replace("5;50", "5;50;1"), plain(2), "line 6 has 6 values, and the header 5 columns"),
        (&PLAIN.replace("5;50", "5;inf"), plain(2), "line 6, column heat: `inf` is no finite number"),
        ("1;2;3\n4;5;6\n", plain(2), "its first line has no names"),
        ("time;anomaly;changepoint\n1;0;0\n", plain(2), "has no column of numbers beside times and labels"),
        ("load;anomaly;changepoint\n", plain(2), "has a header and no rows"),
        (PLAIN, plain(9), "has 8 rows to train on, fewer than the 9 of a window"),
        (PLAIN, plain(3), "has 2 rows to test on, fewer than the 3 of a window"),
        (PLAIN, form(2, "first:10"), "has 10 rows, of which first:10 leaves none to test on"),
        (PLAIN, form(2, "normal:0.5"), "--split normal:0.5 is for tables"),
        ("load;anomaly;changepoint\n;0;0\n;0;0\n;0;0\n1;0;0\n2;0;0\n", form(2, "first:3"), "column load has no number"),
    ] {
        let told = message(content, &form);
        assert!(told.contains(words), "no {words:?} in: {told}");
    }
    let files = Files::new();
    files.write("notes.txt", "x");
    assert!(opened(files.0.path(), &plain(2)).unwrap_err().to_string().contains("holds no .csv file"));
    files.write("a.csv", PLAIN);
    files.write("b.csv", PLAIN.replace("heat", "cold"));
    assert!(opened(files.0.path(), &plain(2)).unwrap_err().to_string().contains("has other channels than a.csv"));
}
