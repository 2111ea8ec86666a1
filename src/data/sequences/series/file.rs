//! One file of a series: a header, then a row a step. Which files a folder has.

use std::fs;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord};

use super::Series;
use crate::data::csv_table::{self, Form, LABEL_NAMES};
use crate::error::{Error, Result, plain};

/// What a first column of times is called, in small letters, where it is not told by its cells.
const TIME_NAMES: [&str; 6] = ["time", "timestamp", "date", "datetime", "ds", "t"];

/// What a column of a file is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Column {
    Time,
    /// Of labels that are kept.
    Label,
    /// Of other labels.
    LeftOut,
    Channel,
}

/// Reads a file, `.csv` or `.csv.gz`; all its steps are for testing. With `is_labelled` the labels that the form names
/// have to be there.
///
/// # Errors
/// A file without a header, rows or channels; a row that is longer or shorter; a cell that is neither a number nor
/// empty, by line and column.
pub fn read(path: &Path, form: &Form, is_labelled: bool) -> Result<Series> {
    let text = csv_table::text(path)?;
    let mut reader =
        ReaderBuilder::new().delimiter(csv_table::delimiter(&text)).flexible(true).from_reader(text.as_bytes());
    let broken = |e: csv::Error| Error::file(path, format!("is no CSV table: {e}"));
    let header: Vec<String> = reader.headers().map_err(broken)?.iter().map(|name| name.trim().to_string()).collect();
    csv_table::check_names(path, &header)?;
    let (mut columns, mut record) = (Vec::new(), StringRecord::new());
    let (mut values, mut times, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    while reader.read_record(&mut record).map_err(broken)? {
        let line = record.position().map_or(0, |position| position.line());
        csv_table::check_length(path, line, record.len(), header.len())?;
        if columns.is_empty() {
            columns = columns_of(path, &header, &record, form, is_labelled)?;
        }
        for ((cell, name), column) in record.iter().zip(&header).zip(&columns) {
            let cell = cell.trim();
            let number = || {
                let wrong = |problem| Error::file(path, format!("line {line}, column {}: {problem}", plain(name)));
                let is_missing = cell.is_empty() || cell.eq_ignore_ascii_case("nan");
                if is_missing { Ok(f64::NAN) } else { csv_table::number(cell).map_err(wrong) }
            };
            match column {
                Column::Time => times.push(cell.to_string()),
                Column::Label => {
                    let label = number()?;
                    labels.push(label != 0.0 && !label.is_nan());
                }
                Column::LeftOut => {}
                Column::Channel => values.push(number()?),
            }
        }
    }
    if columns.is_empty() {
        return Err(Error::file(path, "has a header and no rows"));
    }
    let is_channel = |(_, column): &(&String, &Column)| **column == Column::Channel;
    let channels: Vec<String> = header.iter().zip(&columns).filter(is_channel).map(|(name, _)| name.clone()).collect();
    let steps = values.len() / channels.len();
    let or_none = |is: Column| columns.contains(&is);
    Ok(Series {
        name: name_of(path),
        times: or_none(Column::Time).then_some(times),
        labels: or_none(Column::Label).then_some(labels),
        channels,
        values,
        train: 0..0,
        test: 0..steps,
    })
}

/// What each column is: the first a time, where its name or its first cell says so; labels, by the form or by name; the
/// others channels. Errors: a label that is not there and has to be; no channel.
fn columns_of(
    path: &Path,
    header: &[String],
    first: &StringRecord,
    form: &Form,
    is_labelled: bool,
) -> Result<Vec<Column>> {
    let named: Vec<&str> = match &form.label_column {
        Some(names) => names.split(',').map(str::trim).collect(),
        None => LABEL_NAMES.to_vec(),
    };
    let is_there = |name: &&&str| header.iter().any(|found| found == **name);
    if let Some(wanted) = named.iter().find(|name| !is_there(name))
        && form.label_column.is_some()
        && is_labelled
    {
        return Err(csv_table::no_column(path, wanted, header));
    }
    // Of several names the first that is there says which steps are anomalies.
    let label = named.iter().find(is_there);
    let is_number = |cell: &str| cell.is_empty() || cell.parse::<f64>().is_ok();
    let column = |(at, name): (usize, &String)| match () {
        () if Some(&name.as_str()) == label => Column::Label,
        () if named.contains(&name.as_str()) => Column::LeftOut,
        () if at == 0 && TIME_NAMES.contains(&name.to_lowercase().as_str()) => Column::Time,
        () if at == 0 && !is_number(first[0].trim()) => Column::Time,
        () => Column::Channel,
    };
    let columns: Vec<Column> = header.iter().enumerate().map(column).collect();
    match columns.contains(&Column::Channel) {
        true => Ok(columns),
        false => Err(Error::file(path, "has no column of numbers beside times and labels")),
    }
}

/// `a` of `x/a.csv.gz`, the last part of a folder's path.
pub fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    plain(name.strip_suffix(".csv").unwrap_or(name))
}

fn is_series(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    path.is_file() && !name.starts_with('.') && (name.ends_with(".csv") || name.ends_with(".csv.gz"))
}

/// A folder's `train.csv` and `test.csv`, or `.csv.gz`; `None` where one of them is missing.
pub fn halves_in(folder: &Path) -> Option<[PathBuf; 2]> {
    let find = |name: &str| {
        let files = [format!("{name}.csv"), format!("{name}.csv.gz")].map(|name| folder.join(name));
        files.into_iter().find(|path| path.is_file())
    };
    Some([find("train")?, find("test")?])
}

/// The series of a folder and of the folders in it, sorted by their paths. Errors: none, a folder that cannot be
/// listed.
pub fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
        entries.map(|entry| Ok(entry.map_err(Error::io("list", folder))?.path())).collect()
    };
    let mut files = Vec::new();
    for path in list(folder)? {
        match path.is_dir() {
            true => files.extend(list(&path)?.into_iter().filter(|path| is_series(path))),
            false => files.extend(Some(path).filter(|path| is_series(path))),
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(Error::file(folder, "holds no .csv file (or .csv.gz), and a series is one")),
        false => Ok(files),
    }
}
