//! How long something takes that can be repeated: several windows of time after a warm-up, their median and how far
//! they spread. The peers in `benches/` include this file, so that all are measured by the same lines; it needs std
//! alone.

use std::time::Instant;

/// How often and how long is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    /// At least 1; five for results.
    pub count: usize,
    /// Seconds that a window lasts at least; a single run that takes longer is a window too.
    pub seconds: f64,
}

/// The middle of some measurements, and the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// In the unit of what was measured, like the two below.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
    /// Measurements these are of.
    pub windows: usize,
}

impl Spread {
    /// Panics without a value.
    pub fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Spread {
            median: quantile(&sorted, 0.5),
            low: quantile(&sorted, 0.25),
            high: quantile(&sorted, 0.75),
            windows: sorted.len(),
        }
    }

    /// What was counted or measured once.
    pub fn single(value: f64) -> Spread {
        Spread::of(&[value])
    }

    /// The same in another unit; `f` must not turn the order around.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Spread {
        Spread { median: f(self.median), low: f(self.low), high: f(self.high), ..self }
    }
}

/// Between the two nearest of the sorted values where it falls between.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

impl Windows {
    /// Seconds of one run. `take(n)` does n runs and returns when they are done. The warm-up, of half a window and at
    /// least two runs, also finds how many runs make a window: the same number in each.
    pub fn measure<E>(&self, take: &mut dyn FnMut(usize) -> Result<(), E>) -> Result<Spread, E> {
        let mut time = |runs: usize| -> Result<f64, E> {
            let start = Instant::now();
            take(runs)?;
            Ok(start.elapsed().as_secs_f64().max(1e-9))
        };
        // The first run pays for what drivers and allocators put off.
        time(1)?;
        let mut runs = 1;
        let mut seconds = time(runs)?;
        while seconds < self.seconds / 2.0 {
            let wanted = (1.2 * self.seconds / seconds * runs as f64).ceil() as usize;
            runs = wanted.clamp(runs + 1, 16 * runs);
            seconds = time(runs)?;
        }
        let runs = ((self.seconds / seconds * runs as f64).ceil() as usize).max(1);
        let mut measured = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            measured.push(time(runs)? / runs as f64);
        }
        Ok(Spread::of(&measured))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_quartiles() {
        let of = |values: &[f64]| {
            let Spread { low, median, high, windows } = Spread::of(values);
            (low, median, high, windows)
        };
        assert_eq!(of(&[5.0, 1.0, 4.0, 2.0, 3.0]), (2.0, 3.0, 4.0, 5));
        assert_eq!(of(&[1.0, 2.0]), (1.25, 1.5, 1.75, 2));
        assert_eq!(of(&[7.0]), (7.0, 7.0, 7.0, 1));
        // One disturbed window moves neither.
        assert_eq!(of(&[5.0, 1.0, 1000.0, 2.0, 3.0]).1, 3.0);
    }

    /// A run of 100 us: the windows have as many as fit, and what is found is the time of one.
    #[test]
    fn a_window_is_filled_with_runs() {
        let mut calls = Vec::new();
        let windows = Windows { count: 5, seconds: 0.01 };
        let run = std::time::Duration::from_micros(100);
        let spread = windows
            .measure::<()>(&mut |runs| {
                calls.push(runs);
                let start = Instant::now();
                while start.elapsed() < runs as u32 * run {}
                Ok(())
            })
            .unwrap();
        assert_eq!(spread.windows, 5);
        let counted = &calls[calls.len() - 5..];
        assert!(counted.iter().all(|&runs| runs == counted[0] && (50..=110).contains(&runs)), "{calls:?}");
        assert_eq!(calls[0], 1);
        assert!(spread.low >= 1e-4 && spread.median < 1e-3, "{spread:?}");
    }

    #[test]
    fn a_failing_run_ends_the_measurement() {
        let windows = Windows { count: 5, seconds: 0.01 };
        assert_eq!(windows.measure(&mut |_| Err("lost")), Err("lost"));
    }
}
