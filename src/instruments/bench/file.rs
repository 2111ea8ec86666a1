//! Result files: rows to CSV and back.

use std::path::{Path, PathBuf};

use super::row::{COLUMNS, METRICS, Row, find_metric};
use crate::error::{Error, Result, nearest};
use crate::files::{read_regular, write_atomic};

/// Largest result file read, in bytes.
const LARGEST_FILE: u64 = 64 << 20;

/// Reads a result file. Errors: no such file; the line of whatever is no row of the schema.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let bytes = read_regular(path, LARGEST_FILE)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let at_line = |line: u64, problem: String| Error::file(path, format!("line {line}: {problem}"));
    let in_csv = |e: csv::Error| {
        let line = e.position().map_or(1, |position| position.line());
        let problem = match e.kind() {
            csv::ErrorKind::Deserialize { err, .. } => match err.field() {
                Some(field) => format!("{}: {}", COLUMNS[field as usize], err.kind()),
                None => err.kind().to_string(),
            },
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{len} columns instead of {expected_len}")
            }
            csv::ErrorKind::Utf8 { .. } => "is not UTF-8".into(),
            _ => e.to_string(),
        };
        at_line(line, problem)
    };
    let header = reader.headers().map_err(in_csv)?.clone();
    if header.iter().ne(COLUMNS) {
        let problem = match COLUMNS.iter().zip(header.iter()).find(|(wanted, found)| *wanted != found) {
            Some((wanted, found)) => format!("column `{found}` where `{wanted}` is expected"),
            None => format!("{} columns instead of {}", header.len(), COLUMNS.len()),
        };
        return Err(at_line(1, format!("{problem}. The columns are {}", COLUMNS.join(","))));
    }
    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(in_csv)? {
        let line = record.position().map_or(0, |position| position.line());
        let mut row: Row = record.deserialize(Some(&header)).map_err(in_csv)?;
        rename(&mut row);
        check(&row).map_err(|problem| at_line(line, problem))?;
        rows.push(row);
    }
    Ok(rows)
}

/// Gives an operation of older files the name of what it is: batch norm's statistics alone are no batch norm, and
/// libtorch's C++ interface has no fused Adam.
fn rename(row: &mut Row) {
    let renamed = match row.case.split_once(' ') {
        Some(("batch_norm", size)) => format!("column_moments {size}"),
        Some(("adam", size)) if row.peer == "libtorch" => format!("adam_unfused {size}"),
        _ => return,
    };
    if row.metric == "operation" {
        row.case = renamed;
    }
}

/// What a row says that cannot be.
fn check(row: &Row) -> std::result::Result<(), String> {
    let Some(metric) = find_metric(&row.metric) else {
        let hint = nearest(&row.metric, METRICS.iter().map(|m| m.name));
        let hint = hint.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
        return Err(format!("no metric is called `{}`{hint}", row.metric));
    };
    if row.unit != metric.unit {
        return Err(format!("{} is in `{}`, not in `{}`", row.metric, metric.unit, row.unit));
    }
    if !(row.low <= row.median && row.median <= row.high) {
        return Err(format!("median {} is not between {} and {}", row.median, row.low, row.high));
    }
    Ok(())
}

/// The rows of all files; of a folder, of the CSV files in it and in the folders in it. Errors: as [`read`], and a
/// folder without any.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for path in paths {
        let files = if path.is_dir() { results_in(path, 1)? } else { vec![path.clone()] };
        if files.is_empty() {
            return Err(Error::file(path, "holds no CSV file of results"));
        }
        for file in files {
            rows.extend(read(&file)?);
        }
    }
    Ok(rows)
}

/// The CSV files of a folder, in the order of their names, and of the folders that many steps below it.
fn results_in(folder: &Path, below: usize) -> Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
        entries.push(entry.map_err(Error::io("list", folder))?.path());
    }
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(if below > 0 { results_in(&path, below - 1)? } else { Vec::new() });
        } else if path.extension().is_some_and(|ending| ending == "csv") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Writes the rows. What the file holds already and was not measured again is kept, in front of them.
pub fn merge(path: &Path, rows: &[Row]) -> Result<()> {
    let mut all = if path.exists() { read(path)? } else { Vec::new() };
    all.retain(|old| !rows.iter().any(|new| new.is_same_measurement(old)));
    all.extend_from_slice(rows);
    write_atomic(path, to_text(&all).as_bytes())
}

fn to_text(rows: &[Row]) -> String {
    // The header by hand: a file without rows has one too.
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(COLUMNS).expect("memory takes all that is written");
    for row in rows {
        writer.serialize(row).expect("a row is plain data");
    }
    String::from_utf8(writer.into_inner().expect("memory takes all that is written")).expect("rows are text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruments::bench::row::Origin;
    use crate::instruments::bench::windows::Spread;

    fn row(case: &str, seconds: f64) -> Row {
        let origin = Origin {
            date: "2026-01-31".into(),
            peer: "elbo".into(),
            version: "0.1.0".into(),
            device: "cpu".into(),
            driver: "a processor, \"fast\"".into(),
            threads: Some(2),
        };
        origin.row(case, Some(128), "step", Spread::of(&[seconds, 2.0 * seconds]), "digits")
    }

    fn written(rows: &[Row]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("elbo.csv");
        merge(&path, rows).unwrap();
        (folder, path)
    }

    #[test]
    fn rows_read_back_as_they_were_written() {
        let rows = [row("mnist-mlp", 0.00312), Row { threads: None, batch: None, ..row("matmul 128,784,400", 1e-6) }];
        let (folder, path) = written(&rows);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().next(), Some(COLUMNS.join(",").as_str()));
        let (_folder, empty) = written(&[]);
        assert!(read(&empty).unwrap().is_empty());
        assert_eq!(read(&path).unwrap(), rows);
        assert_eq!(read_all(&[folder.path().into(), path]).unwrap().len(), 4);
        merge(&folder.path().join("elbo-cpu/elbo.csv"), &rows[..1]).unwrap();
        assert_eq!(read_all(&[folder.path().into()]).unwrap().len(), 3);
    }

    #[test]
    fn what_is_measured_again_is_replaced_and_the_rest_kept() {
        let (_folder, path) = written(&[row("mnist-mlp", 1.0), row("mnist-conv", 2.0)]);
        merge(&path, &[row("mnist-mlp", 3.0)]).unwrap();
        assert_eq!(read(&path).unwrap(), [row("mnist-conv", 2.0), row("mnist-mlp", 3.0)]);
    }

    /// A fused Adam of ours is not beside libtorch's, and moments of columns are not called batch norm.
    #[test]
    fn operations_of_older_files_get_the_names_of_what_they_are() {
        let operation =
            |peer: &str, case: &str| Row { peer: peer.into(), metric: "operation".into(), ..row(case, 1.0) };
        let kernel = Row { metric: "kernel".into(), ..row("batch_norm [3,3]", 1.0) };
        let rows = [
            operation("elbo", "batch_norm 9,4"),
            operation("elbo", "adam 8"),
            operation("libtorch", "adam 8"),
            operation("pytorch-eager", "adam 8"),
            kernel,
        ];
        let (_folder, path) = written(&rows);
        let cases: Vec<String> = read(&path).unwrap().into_iter().map(|row| row.case).collect();
        assert_eq!(cases, ["column_moments 9,4", "adam 8", "adam_unfused 8", "adam 8", "batch_norm [3,3]"]);
    }

    /// Each with the line it is on and what is wrong.
    #[test]
    fn what_is_no_row_is_refused_with_its_line() {
        let (_folder, path) = written(&[row("mnist-mlp", 1.0), row("mnist-conv", 2.0)]);
        let good = std::fs::read_to_string(&path).unwrap();
        for (from, to, words) in [
            (",case,", ",cases,", ["line 1:", "column `cases` where `case` is expected"]),
            (",note", "", ["line 1:", "14 columns instead of 15"]),
            ("mnist-conv,128,step", "mnist-conv,128,stp", ["line 3:", "did you mean `step`?"]),
            ("mnist-conv,128", "mnist-conv,many", ["line 3:", "batch: invalid digit"]),
            ("mnist-mlp,128", "mnist-mlp", ["line 2:", "14 columns instead of 15"]),
            ("step,s,1.5", "step,ms,1.5", ["line 2:", "step is in `s`, not in `ms`"]),
            ("step,s,3.0", "step,s,9.0", ["line 3:", "median 9 is not between 2.5 and 3.5"]),
        ] {
            assert!(good.contains(from), "{from} is not in\n{good}");
            std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{words:?} from {message}");
        }
        std::fs::write(&path, "").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1:"));
        let empty = tempfile::tempdir().unwrap();
        assert!(read_all(&[empty.path().into()]).unwrap_err().to_string().contains("no CSV file"));
    }
}
