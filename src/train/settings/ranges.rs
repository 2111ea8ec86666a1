//! The ranges of the run's settings, and those of its model's.

use super::Settings;
use crate::data::sequences::MOST_STEPS;
use crate::data::text::{FEWEST_TOKENS, MOST_TOKENS};
use crate::error::{Error, Result};
use crate::keys::hint;
use crate::models::parts::networks::{LARGEST_SIZE, require};
use crate::train::given::flag;
use crate::train::metrics;

pub(super) const MOST_EPOCHS: usize = 1 << 20;

impl Settings {
    /// Each value alone within its range. What depends on the data (a batch larger than it) is checked where it is
    /// known.
    pub(in crate::train) fn validate(&self) -> Result<()> {
        let size = 1..=LARGEST_SIZE;
        let size_rule = format!("must be 1 to {LARGEST_SIZE}");
        require(size.contains(&self.batch_size), "batch_size", self.batch_size, &size_rule)?;
        let epochs_rule = format!("must be 1 to {MOST_EPOCHS}");
        require((1..=MOST_EPOCHS).contains(&self.epochs), "epochs", self.epochs, &epochs_rule)?;
        require(self.shift <= LARGEST_SIZE, "shift", self.shift, &format!("must be 0 to {LARGEST_SIZE}"))?;
        require(self.samples <= LARGEST_SIZE, "samples", self.samples, &format!("must be 0 to {LARGEST_SIZE}"))?;
        for (key, seed) in [("seed", self.seed), ("split_seed", self.split_seed)] {
            require(seed <= i64::MAX as u64, key, seed, &format!("must be 0 to {}", i64::MAX))?;
        }
        require(self.min_count > 0, "min_count", self.min_count, "must be at least 1")?;
        let longest_rule = format!("must be {FEWEST_TOKENS} to {MOST_TOKENS}");
        let is_long = (FEWEST_TOKENS..=MOST_TOKENS).contains(&self.longest);
        require(is_long, "longest", self.longest, &longest_rule)?;
        self.analysis().check()?;
        let steps = 2..=MOST_STEPS;
        require(
            steps.contains(&self.window_length),
            "window_length",
            self.window_length,
            &format!("must be 2 to {MOST_STEPS}"),
        )?;
        require(self.liked_above.is_finite(), "liked_above", self.liked_above, "must be a number")?;

        for (key, value) in [("lr", self.lr), ("eps", self.eps)] {
            require(value > 0.0 && value.is_finite(), key, value, "must be a positive number")?;
        }
        for (key, value) in [
            ("weight_decay", self.weight_decay),
            ("min_delta", self.min_delta),
            ("warmup_epochs", self.warmup_epochs),
            ("clip_norm", self.clip_norm.unwrap_or(0.0)),
        ] {
            require(value >= 0.0 && value.is_finite(), key, value, "must be 0 or a positive number")?;
        }
        for (key, value) in [("betas", self.betas[0]), ("betas", self.betas[1]), ("momentum", self.momentum)] {
            require((0.0..1.0).contains(&value), key, value, "must be at least 0 and below 1")?;
        }
        for (key, value) in [("dataset", self.dataset.as_str()), ("device", self.device.as_str())] {
            require(!value.is_empty(), key, "empty", "must name one, or be `auto`")?;
        }
        require(!self.out.as_os_str().is_empty(), "out", "empty", "must name a folder")?;
        let entry = self.entry()?;
        let monitors = metrics::monitors(self.terms()?);
        if !monitors.contains(&self.monitor) {
            let hint = hint(&self.monitor, monitors.iter().map(String::as_str));
            return Err(Error::Usage(format!(
                "{}: {} has no metric `{}`{hint}",
                flag("monitor"),
                entry.name,
                self.monitor
            )));
        }
        (entry.check)(&self.own)
    }
}
