//! `elbo bench compare`

use std::path::PathBuf;

use elbo::error::{Error, Result, nearest};
use elbo::files::write_atomic;
use elbo::instruments::bench::compare::{Comparison, compare, replace};
use elbo::instruments::bench::file;
use elbo::instruments::bench::row::{METRICS, find_metric};
use serde_json::json;

use crate::cli::shared::wrote;
use crate::cli::table::{Column, table};

/// Prints a table for each device of ours: what we and a peer both measured, and how many times as fast we are (a ratio
/// above 1 is ours). A ratio is of one device with as many threads; a peer's time on another kind of device, such as a
/// GPU beside the CPU or a software adapter beside the CPU device, stands there without one. Rows of one measurement in
/// several files, such as a peer's before and after ours, become one: the median of their medians.
#[derive(clap::Args)]
pub struct Args {
    /// Result files, and folders of them
    #[arg(value_name = "CSV|DIR", required = true)]
    results: Vec<PathBuf>,
    /// Only these metrics, as in step,start_warm [default: all that peers measured]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    metric: Vec<String>,
    /// Put the tables into this document, between its two lines `<!-- elbo bench compare: begin -->` and `.. end -->`
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        for name in &self.metric {
            if find_metric(name).is_none() {
                let hint = nearest(name, METRICS.iter().map(|m| m.name));
                let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
                return Err(Error::Usage(format!("no metric is called `{name}`{hint}")));
            }
        }
        let mut rows = file::read_all(&self.results)?;
        rows.retain(|row| self.metric.is_empty() || self.metric.contains(&row.metric));
        let comparisons = compare(&rows)?;
        if self.json {
            crate::cli::print_json(&comparisons.iter().map(to_json).collect::<Vec<_>>());
        } else {
            comparisons.iter().for_each(print);
        }
        if let Some(path) = &self.write {
            let document = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            let tables: Vec<String> = comparisons.iter().map(Comparison::markdown).collect();
            let new = replace(&document, &tables.join("\n")).map_err(|problem| Error::file(path, problem))?;
            write_atomic(path, new.as_bytes())?;
            if !self.json {
                wrote(path, "the tables, in place of those that were there");
            }
        }
        Ok(())
    }
}

fn print(comparison: &Comparison) {
    let mut heads = vec![("case".to_string(), Column::Left), ("batch".into(), Column::Right)];
    heads.push((comparison.ours.text(), Column::Right));
    for peer in &comparison.peers {
        heads.push((peer.text(), Column::Right));
        heads.extend(comparison.has_ratio(peer).then(|| ("ratio".into(), Column::Right)));
    }
    let heads: Vec<(&str, Column)> = heads.iter().map(|(head, column)| (head.as_str(), *column)).collect();
    let rows: Vec<Vec<String>> = comparison
        .lines
        .iter()
        .map(|line| {
            let mut row =
                vec![line.name(), line.batch.map_or(String::new(), |n| n.to_string()), line.ours.text(line.metric)];
            for (peer, measured) in comparison.peers.iter().zip(&line.peers) {
                row.push(measured.map_or(String::new(), |(value, _)| value.text(line.metric)));
                let ratio = measured.and_then(|(_, ratio)| ratio).map_or(String::new(), |ratio| format!("{ratio:.2}"));
                row.extend(comparison.has_ratio(peer).then_some(ratio));
            }
            row
        })
        .collect();
    crate::cli::print(&format!("{}\n", table(&heads, &rows)));
}

fn to_json(comparison: &Comparison) -> serde_json::Value {
    let lines = comparison.lines.iter().map(|line| {
        let peers = comparison.peers.iter().zip(&line.peers).filter_map(|(peer, value)| {
            let (value, ratio) = (*value)?;
            Some(json!({
                "peer": peer.peer, "device": peer.device, "threads": peer.threads,
                "median": value.median, "low": value.low, "high": value.high, "ratio": ratio,
            }))
        });
        json!({
            "case": line.case, "batch": line.batch, "metric": line.metric.name, "unit": line.metric.unit,
            "median": line.ours.median, "low": line.ours.low, "high": line.ours.high, "peers": peers.collect::<Vec<_>>(),
        })
    });
    json!({
        "device": comparison.ours.device, "threads": comparison.ours.threads, "lines": lines.collect::<Vec<_>>(),
    })
}
