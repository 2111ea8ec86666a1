//! Early stopping, with the semantics of PyTorch Lightning's `EarlyStopping` in `min` mode, and the track of the best
//! epoch that `best.safetensors` follows.

use serde::{Deserialize, Serialize};

use crate::train::settings::Settings;

/// The state that decides when to stop. It is saved with the optimiser's, so that a resumed run decides the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    monitor: String,
    /// Epochs in a row without an improvement that stop the run; `None` never stops it.
    patience: Option<usize>,
    /// Nats by which a value must undercut `reference` to count as an improvement.
    min_delta: f64,
    /// The value at the last improvement.
    reference: Option<f64>,
    /// Epochs since the last improvement.
    bad_epochs: usize,
    /// The lowest value of all and its epoch: `min_delta` plays no part here.
    best: Option<f64>,
    best_epoch: Option<usize>,
}

/// What one epoch's value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Lower than every epoch before: the model is worth keeping as the best.
    pub is_best: bool,
    /// Patience has run out: this epoch is the last.
    pub stop: bool,
}

impl EarlyStopping {
    /// No epoch seen yet; monitor, patience and min_delta are the settings'.
    pub fn new(settings: &Settings) -> EarlyStopping {
        EarlyStopping {
            monitor: settings.monitor.clone(),
            patience: settings.patience,
            min_delta: settings.min_delta,
            reference: None,
            bad_epochs: 0,
            best: None,
            best_epoch: None,
        }
    }

    /// The saved state under the settings of the run that goes on. Another metric starts from nothing: its values
    /// cannot be compared with the saved ones.
    pub fn resume(self, settings: &Settings) -> EarlyStopping {
        if self.monitor != settings.monitor {
            return EarlyStopping::new(settings);
        }
        EarlyStopping { patience: settings.patience, min_delta: settings.min_delta, ..self }
    }

    /// Takes the monitored value (nats) of an epoch that has just ended. NaN is never an improvement.
    pub fn update(&mut self, epoch: usize, value: f64) -> Verdict {
        let is_best = value < self.best.unwrap_or(f64::INFINITY);
        if is_best {
            self.best = Some(value);
            self.best_epoch = Some(epoch);
        }
        if value < self.reference.unwrap_or(f64::INFINITY) - self.min_delta {
            self.reference = Some(value);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        Verdict { is_best, stop: self.is_out_of_patience() }
    }

    /// Whether so many epochs in a row were no improvement that the run ends.
    pub fn is_out_of_patience(&self) -> bool {
        self.patience.is_some_and(|patience| self.bad_epochs >= patience)
    }

    /// The metric whose values [`update`](EarlyStopping::update) takes.
    pub fn monitor(&self) -> &str {
        &self.monitor
    }

    /// Epochs since the last improvement.
    pub fn bad_epochs(&self) -> usize {
        self.bad_epochs
    }

    /// The epoch with the lowest value, and that value in nats; `None` before the first value that is a number.
    pub fn best(&self) -> Option<(usize, f64)> {
        self.best_epoch.zip(self.best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopping(patience: Option<usize>, min_delta: f64) -> EarlyStopping {
        let mut settings = Settings::of_preset("mnist-mlp").unwrap();
        (settings.patience, settings.min_delta) = (patience, min_delta);
        EarlyStopping::new(&settings)
    }

    /// The 1-based epoch at which these values stop, if they do.
    fn stops_at(stopping: &mut EarlyStopping, values: &[f64]) -> Option<usize> {
        (1..).zip(values).find(|&(epoch, &value)| stopping.update(epoch, value).stop).map(|(epoch, _)| epoch)
    }

    #[test]
    fn stops_after_patience_epochs_without_improvement() {
        assert_eq!(stops_at(&mut stopping(Some(2), 0.0), &[5.0, 4.0, 4.5, 4.0, 3.0]), Some(4));
        assert_eq!(stops_at(&mut stopping(Some(2), 0.0), &[5.0, 5.5, 4.0, 4.5, 3.0, 3.5]), None);
        assert_eq!(stops_at(&mut stopping(Some(1), 0.0), &[5.0, 5.0]), Some(2));
        assert_eq!(stops_at(&mut stopping(None, 0.0), &[1.0; 100]), None);
    }

    #[test]
    fn small_steps_do_not_reset_the_count_but_keep_the_best() {
        let mut stopping = stopping(Some(2), 1.0);
        assert_eq!(stopping.update(1, 10.0), Verdict { is_best: true, stop: false });
        assert_eq!(stopping.update(2, 9.5), Verdict { is_best: true, stop: false });
        assert_eq!(stopping.bad_epochs(), 1);
        // Exactly min_delta below is not enough.
        assert_eq!(stopping.update(3, 9.0), Verdict { is_best: true, stop: true });
        assert_eq!(stopping.best(), Some((3, 9.0)));
    }

    #[test]
    fn nan_and_infinity_never_improve() {
        let mut stopping = stopping(Some(3), 0.0);
        assert_eq!(stopping.update(1, f64::NAN), Verdict { is_best: false, stop: false });
        assert_eq!(stopping.update(2, f64::INFINITY), Verdict { is_best: false, stop: false });
        assert_eq!(stopping.best(), None);
        assert!(stopping.update(3, f64::NAN).stop);
        assert!(stopping.update(4, 1.0).is_best);
        assert!(!stopping.update(5, f64::NAN).is_best);
        assert_eq!(stopping.best(), Some((4, 1.0)));
    }

    #[test]
    fn a_saved_state_decides_the_same() {
        let values = [5.0, 4.0, 4.5, 4.2, 4.1];
        let mut whole = stopping(Some(3), 0.1);
        assert_eq!(stops_at(&mut whole, &values), Some(5));

        let mut first = stopping(Some(3), 0.1);
        assert_eq!(stops_at(&mut first, &values[..3]), None);
        let text = toml::to_string(&first).unwrap();
        let mut second: EarlyStopping = toml::from_str(&text).unwrap();
        assert_eq!(second, first);
        assert!(!second.update(4, values[3]).stop);
        assert!(second.update(5, values[4]).stop);
        assert_eq!(second, whole);
    }

    #[test]
    fn resuming_takes_the_new_patience_and_forgets_another_metric() {
        let base = Settings::of_preset("mnist-2d").unwrap();
        let mut stopping = EarlyStopping::new(&base);
        stopping.update(1, 3.0);
        stopping.update(2, 4.0);
        let mut shorter = stopping.clone().resume(&base.with("patience = 2").unwrap());
        assert_eq!(shorter.best(), Some((1, 3.0)));
        assert!(shorter.update(3, 4.0).stop);
        let other = stopping.resume(&base.with("monitor = 'train_loss'").unwrap());
        assert_eq!((other.best(), other.bad_epochs(), other.monitor()), (None, 0, "train_loss"));
    }
}
