//! What the device reaches on the simplest programs: the roof over every other number.

use super::windows::Spread;
use super::{Bench, Item};
use crate::instruments::peak::{self, Peak};

/// Peak arithmetic, copy bandwidth, an empty dispatch. A window is one measurement of [`peak`], itself the best of
/// several moments.
pub fn items(bench: &Bench) -> Vec<Item<'_>> {
    let run = || {
        let peaks = (0..bench.windows.count).map(|_| peak::measure(&bench.device));
        let peaks: Vec<Peak> = peaks.collect::<Result<_, _>>()?;
        let row = |metric: &str, of: fn(&Peak) -> f64| {
            let values: Vec<f64> = peaks.iter().map(of).collect();
            bench.origin.row("device", None, metric, Spread::of(&values), &bench.remark)
        };
        Ok(vec![
            row("peak_flops", |peak| peak.flops_per_second),
            row("peak_bytes", |peak| peak.bytes_per_second),
            row("empty_dispatch", |peak| peak.empty_dispatch),
        ])
    };
    vec![Item::new("the device's peak", run)]
}
