//! Numbers that are not finite end a run, with the step and the tensor in which they began.

use super::{Epochs, limited};
use crate::error::{Error, Result};
use crate::models::Term;
use crate::train::diverged::first_offender;

impl Epochs {
    /// An error that names the step and the first offending tensor, if a loss or a parameter is not finite.
    pub(super) async fn refuse_divergence(&mut self, losses: &[f32], parameters: &[f32]) -> Result<()> {
        let (batches, width) = (self.programs.train.batches(), self.programs.train.losses.matrix()[1]);
        let bad = losses.chunks(width).position(|row| row.iter().any(|v| !v.is_finite()));
        let (what, batch) = match bad {
            Some(batch) => ("the loss of", batch),
            None if parameters.iter().all(|v| v.is_finite()) => return Ok(()),
            None => ("a parameter after", losses.len() / width - 1),
        };
        let step = self.progress.epoch * batches + batch + 1;
        // The step before may have left infinite parameters behind a finite loss, so the search starts there.
        let from = batch.saturating_sub(1).max(self.snapshot.batch);
        self.progress.batch = self.snapshot.batch;
        self.restore();
        self.write_clocks();
        let plan = limited(self.programs.training(self.snapshot.batch), 1 + from - self.snapshot.batch);
        self.backend.run_async(&plan, &mut |_| true).await?;
        let mut offender = None;
        for b in from..=batch {
            let program = &self.programs.steps[self.programs.train.batches.size_of(b)];
            offender = first_offender(&mut self.backend, &self.programs.arena, program).await?;
            if offender.is_some() {
                break;
            }
        }
        let offender = offender.unwrap_or_else(|| "not found in a replay of the step".into());
        let saved = match self.progress.epoch {
            0 => "Nothing was saved yet.".to_string(),
            epoch => format!("The checkpoints of epoch {epoch} are as they were."),
        };
        Err(Error::Diverged(format!(
            "{what} step {step} (epoch {}, batch {}) is not finite. First offending tensor: {offender}.\n\
             {saved} A smaller --lr or --clip-norm may help.",
            self.progress.epoch + 1,
            batch + 1
        )))
    }
}

/// Training losses can all be finite and the model still overflow on a test picture unlike any of them.
pub(super) fn refuse_test_divergence(losses: &[f32], terms: &[Term], epoch: usize) -> Result<()> {
    let bad = losses.chunks(terms.len() + 2).enumerate().find_map(|(batch, row)| {
        let term = terms.iter().map(|term| term.name).zip(row).find(|(_, v)| !v.is_finite())?;
        Some((batch + 1, term))
    });
    match bad {
        None => Ok(()),
        Some((batch, (term, value))) => Err(Error::Diverged(format!(
            "the test loss after epoch {epoch} is not finite: loss.{term} of test batch {batch} is {value}, though every \
             training loss is finite. The checkpoints of the epoch before are as they were. A smaller --lr may help."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::vae;

    #[test]
    fn a_test_loss_that_is_not_finite_names_its_batch_and_term() {
        let terms = (vae::ENTRY.terms)(&toml::Table::new());
        assert!(refuse_test_divergence(&[1.0, 1.0, 1.0, 2.0], terms, 3).is_ok());
        let losses = [1.0, 1.0, 1.0, 2.0, 1.0, f32::INFINITY, 1.0, 2.0];
        let message = refuse_test_divergence(&losses, terms, 3).unwrap_err();
        assert!(
            message.to_string().contains("after epoch 3") && message.to_string().contains("loss.kl of test batch 2")
        );
    }
}
