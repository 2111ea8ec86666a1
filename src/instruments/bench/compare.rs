//! Ours beside the peers': for each of our devices a table of what both measured, with the ratios of what was measured
//! on that very device. A time on another kind of device stands beside it without a ratio: the CPU device and a
//! software adapter are two ways to use one processor, a GPU and a CPU two machines, and a ratio would say nothing of
//! the programs.

use super::row::{Better, METRICS, Metric, Row};
use crate::error::{Error, Result};
use crate::units::metric;

/// Who ours are.
const OURS: &str = "elbo";

/// Between these two lines of a document a table is written.
pub const BEGIN: &str = "<!-- elbo bench compare: begin -->";
/// The line behind the table.
pub const END: &str = "<!-- elbo bench compare: end -->";

/// One measurer on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// `elbo`, or the name of a peer.
    pub peer: String,
    /// `cpu` and its processor, or an adapter.
    pub device: String,
    /// Of the CPU; `None` where a GPU computes.
    pub threads: Option<usize>,
}

/// One of our devices beside all peers.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One of our devices.
    pub ours: Who,
    /// Who measured some of the same, in the order of the tables.
    pub peers: Vec<Who>,
    /// By case, batch and metric.
    pub lines: Vec<Line>,
}

/// What we and at least one peer measured.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub metric: &'static Metric,
    /// A preset or an operation, as in the rows.
    pub case: String,
    /// Pictures a step, where that means something.
    pub batch: Option<usize>,
    /// Our number, in the unit of the metric.
    pub ours: Value,
    /// One for each peer: its value, and on the same device how many times as fast as it we are (of memory, as small).
    pub peers: Vec<Option<(Value, Option<f64>)>>,
}

/// Of one row, or of several of the same measurement: median of the medians, widest quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// In the unit of the metric, like the two below.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Who {
    fn of(row: &Row) -> Who {
        Who { peer: row.peer.clone(), device: row.device.clone(), threads: row.threads }
    }

    /// As in `libtorch, cpu (2 threads)`.
    pub fn text(&self) -> String {
        let threads = self.threads.map_or(String::new(), |n| format!(" ({n} thread{})", if n == 1 { "" } else { "s" }));
        format!("{}, {}{threads}", self.peer, self.device_name())
    }

    /// Without what a driver says of itself in brackets.
    fn device_name(&self) -> &str {
        self.device.split(" (").next().unwrap_or_default()
    }

    /// Whether both used one device, with as many threads where it is a CPU: only then a ratio is of the two programs.
    pub fn is_on_the_device_of(&self, other: &Who) -> bool {
        self.device_name() == other.device_name() && self.threads == other.threads
    }
}

/// Compares what can be compared. Errors: no rows of ours, none of a peer, nothing that both measured.
pub fn compare(rows: &[Row]) -> Result<Vec<Comparison>> {
    let mut who: Vec<Who> = Vec::new();
    for row in rows {
        if !who.contains(&Who::of(row)) {
            who.push(Who::of(row));
        }
    }
    let (ours, peers): (Vec<Who>, Vec<Who>) = who.into_iter().partition(|who| who.peer == OURS);
    for (side, name) in [(&ours, "of elbo"), (&peers, "of a peer")] {
        if side.is_empty() {
            return Err(Error::Usage(format!("there are no results {name} in these files, so nothing to compare")));
        }
    }
    let mut comparisons: Vec<Comparison> = ours.into_iter().map(|ours| of_device(ours, &peers, rows)).collect();
    comparisons.retain(|comparison| !comparison.lines.is_empty());
    if comparisons.is_empty() {
        return Err(Error::Usage("no case is in both elbo's results and a peer's".into()));
    }
    Ok(comparisons)
}

fn of_device(ours: Who, peers: &[Who], rows: &[Row]) -> Comparison {
    let mut lines: Vec<Line> = Vec::new();
    let compared = METRICS.iter().filter(|metric| metric.better != Better::Neither);
    for metric in compared {
        for row in rows.iter().filter(|row| row.metric == metric.name && Who::of(row) == ours) {
            let is_known =
                |line: &Line| line.metric.name == metric.name && (&line.case, line.batch) == (&row.case, row.batch);
            if lines.iter().any(is_known) {
                continue;
            }
            let own = value(rows, &ours, row).expect("the row itself is one");
            let against = |peer: &Who| {
                let value = value(rows, peer, row)?;
                Some((value, peer.is_on_the_device_of(&ours).then(|| ratio(metric, own, value))))
            };
            let against: Vec<_> = peers.iter().map(against).collect();
            if against.iter().any(Option::is_some) {
                lines.push(Line { metric, case: row.case.clone(), batch: row.batch, ours: own, peers: against });
            }
        }
    }
    // Peers with nothing to say have no column.
    let is_used: Vec<bool> = (0..peers.len()).map(|i| lines.iter().any(|line| line.peers[i].is_some())).collect();
    for line in &mut lines {
        let mut used = is_used.iter();
        line.peers.retain(|_| *used.next().expect("one for each peer"));
    }
    let peers = peers.iter().zip(&is_used).filter(|(_, used)| **used).map(|(peer, _)| peer.clone()).collect();
    Comparison { ours, peers, lines }
}

/// What they measured of the same as `row`.
fn value(rows: &[Row], who: &Who, row: &Row) -> Option<Value> {
    let same: Vec<&Row> = rows.iter().filter(|other| other.is_comparable(row) && Who::of(other) == *who).collect();
    let mut medians: Vec<f64> = same.iter().map(|row| row.median).collect();
    medians.sort_by(f64::total_cmp);
    let (&lower, &upper) = (medians.get(medians.len().checked_sub(1)? / 2)?, medians.get(medians.len() / 2)?);
    Some(Value {
        median: (lower + upper) / 2.0,
        low: same.iter().map(|row| row.low).fold(f64::INFINITY, f64::min),
        high: same.iter().map(|row| row.high).fold(f64::NEG_INFINITY, f64::max),
    })
}

/// Above 1 we are ahead.
fn ratio(metric: &Metric, ours: Value, peer: Value) -> f64 {
    match metric.better {
        Better::More => ours.median / peer.median,
        _ => peer.median / ours.median,
    }
}

impl Value {
    /// As in `3.1 ms`.
    pub fn text(&self, of: &Metric) -> String {
        format!("{}{}", metric(self.median), of.unit)
    }
}

impl Comparison {
    /// Whether there is a column of ratios for this peer.
    pub fn has_ratio(&self, peer: &Who) -> bool {
        peer.is_on_the_device_of(&self.ours)
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let mut heads = vec!["case".to_string(), "batch".into(), self.ours.text()];
        for peer in &self.peers {
            heads.push(peer.text());
            heads.extend(self.has_ratio(peer).then(|| "ratio".into()));
        }
        let mut text = format!("| {} |\n|---|---:|{}\n", heads.join(" | "), "---:|".repeat(heads.len() - 2));
        for line in &self.lines {
            let batch = line.batch.map_or(String::new(), |batch| batch.to_string());
            let mut cells = vec![line.name(), batch, line.ours.text(line.metric)];
            for (peer, measured) in self.peers.iter().zip(&line.peers) {
                cells.push(measured.map_or(String::new(), |(value, _)| value.text(line.metric)));
                let ratio =
                    measured.and_then(|(_, ratio)| ratio).map_or(String::new(), |ratio| format!("**{ratio:.2}**"));
                cells.extend(self.has_ratio(peer).then_some(ratio));
            }
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        text
    }
}

impl Line {
    /// As in `mnist-mlp: step`; of an operation the case says it all.
    pub fn name(&self) -> String {
        match self.metric.name {
            "operation" | "kernel" => self.case.clone(),
            metric => format!("{}: {metric}", self.case),
        }
    }
}

/// The document with `text` between the two markers, in place of what is there. Errors: a marker that is not there
/// once, or they are the wrong way around.
pub fn replace(document: &str, text: &str) -> std::result::Result<String, String> {
    let place = |marker: &str| match document.match_indices(marker).collect::<Vec<_>>()[..] {
        [(at, _)] => Ok(at),
        ref found => Err(format!("has the line `{marker}` {} times instead of once", found.len())),
    };
    let (begin, end) = (place(BEGIN)? + BEGIN.len(), place(END)?);
    if begin > end {
        return Err("has the marker of the end before that of the beginning".into());
    }
    Ok(format!("{}\n{text}{}", &document[..begin], &document[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruments::bench::row::Origin;
    use crate::instruments::bench::windows::Spread;

    fn row(peer: &str, device: &str, case: &str, metric: &str, values: &[f64]) -> Row {
        let origin = Origin {
            date: "2026-01-31".into(),
            peer: peer.into(),
            version: "1".into(),
            device: device.into(),
            driver: String::new(),
            threads: Some(2),
        };
        origin.row(case, Some(128), metric, Spread::of(values), "")
    }

    #[test]
    fn ratios_say_how_far_we_are_ahead() {
        let rows = [
            row("elbo", "cpu", "mnist-mlp", "step", &[2e-3]),
            row("elbo", "cpu", "mnist-conv", "step", &[30e-3]),
            row("elbo", "cpu", "device", "peak_flops", &[3e9]),
            row("elbo", "cpu", "mnist-mlp", "loss", &[105.0]),
            row("elbo", "llvmpipe (LLVM)", "mnist-mlp", "step", &[16e-3]),
            // Before and after ours.
            row("libtorch", "cpu", "mnist-mlp", "step", &[3e-3]),
            row("libtorch", "cpu", "mnist-mlp", "step", &[5e-3]),
            row("libtorch", "cpu", "mnist-mlp", "loss", &[106.0]),
            row("libtorch", "cpu", "device", "peak_flops", &[1e9]),
            row("burn", "llvmpipe (LLVM)", "mnist-mlp", "step", &[80e-3]),
            row("burn", "other", "something else", "step", &[1.0]),
        ];
        let comparisons = compare(&rows).unwrap();
        assert_eq!(comparisons.len(), 2);
        let [cpu, lavapipe] = &comparisons[..] else { unreachable!() };
        assert_eq!(cpu.ours.text(), "elbo, cpu (2 threads)");
        assert_eq!(
            cpu.peers.iter().map(Who::text).collect::<Vec<_>>(),
            ["libtorch, cpu (2 threads)", "burn, llvmpipe (2 threads)"]
        );
        let names: Vec<String> = cpu.lines.iter().map(Line::name).collect();
        assert_eq!(names, ["mnist-mlp: step", "device: peak_flops"]);
        let [mlp, peak] = &cpu.lines[..] else { unreachable!() };
        let (libtorch, ratio) = mlp.peers[0].unwrap();
        assert!((libtorch.median - 4e-3).abs() < 1e-12 && (libtorch.low, libtorch.high) == (3e-3, 5e-3));
        assert!((ratio.unwrap() - 2.0).abs() < 1e-9, "{mlp:?}");
        // Burn was on lavapipe, we were not.
        assert!(mlp.peers[1].is_some_and(|(value, ratio)| value.median == 80e-3 && ratio.is_none()), "{mlp:?}");
        // Of rates more is better.
        assert!((peak.peers[0].unwrap().1.unwrap() - 3.0).abs() < 1e-9 && peak.peers[1].is_none());
        let ratios: Vec<Option<f64>> = lavapipe.lines[0].peers.iter().map(|peer| peer.unwrap().1).collect();
        assert!(ratios[0].is_none() && (ratios[1].unwrap() - 5.0).abs() < 1e-9, "{ratios:?}");

        assert_eq!(
            lavapipe.markdown(),
            "| case | batch | elbo, llvmpipe (2 threads) | libtorch, cpu (2 threads) | burn, llvmpipe (2 threads) | ratio |\n\
             |---|---:|---:|---:|---:|---:|\n\
             | mnist-mlp: step | 128 | 16 ms | 4 ms | 80 ms | **5.00** |\n"
        );
    }

    #[test]
    fn only_one_device_with_as_many_threads_gives_a_ratio() {
        let who = |device: &str, threads| Who { peer: "x".into(), device: device.into(), threads };
        let same = |a: &Who, b: &Who| (a.is_on_the_device_of(b), b.is_on_the_device_of(a));
        let [cpu, lavapipe] = [who("cpu", Some(2)), who("llvmpipe (LLVM 15.0.6, 256 bits)", Some(2))];
        let gpu = who("AMD Radeon RX 7900 XTX (RADV NAVI31)", None);
        for (a, b) in [(&cpu, &lavapipe), (&cpu, &gpu), (&lavapipe, &gpu)] {
            assert_eq!(same(a, b), (false, false), "{a:?} {b:?}");
        }
        assert_eq!(same(&cpu, &who("cpu", Some(4))), (false, false));
        assert_eq!(same(&gpu, &who("NVIDIA H100 80GB HBM3", None)), (false, false));
        // One adapter through two drivers.
        assert_eq!(same(&gpu, &who("AMD Radeon RX 7900 XTX", None)), (true, true));
        assert_eq!(same(&lavapipe, &who("llvmpipe (LLVM 19.1.0, 256 bits)", Some(2))), (true, true));
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let ours = row("elbo", "cpu", "mnist-mlp", "step", &[1.0]);
        let peer = row("burn", "cpu", "mnist-conv", "step", &[1.0]);
        let message = |rows: &[Row]| compare(rows).unwrap_err().to_string();
        assert!(message(&[]).contains("no results of elbo"));
        assert!(message(std::slice::from_ref(&ours)).contains("no results of a peer"));
        assert!(message(&[ours, peer]).contains("no case is in both"));
    }

    #[test]
    fn what_stands_between_the_markers_is_replaced() {
        let document = format!("before\n{BEGIN}\nold\ntable\n{END}\nafter\n");
        let new = replace(&document, "| new |\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n| new |\n{END}\nafter\n"));
        assert_eq!(replace(&new, "| new |\n").unwrap(), new);
        assert!(replace("nothing", "x").unwrap_err().contains("0 times"));
        assert!(replace(&format!("{document}{END}"), "x").unwrap_err().contains("2 times"));
        assert!(replace(&format!("{END}{BEGIN}"), "x").unwrap_err().contains("before"));
    }
}
