//! What the commands have in common that are asked of sentences.

use elbo::error::{Error, Result};
use elbo::inference::Trained;
use elbo::inference::sentences::Writing;
use elbo::messages::notice;

use super::shared::require;

/// Refuses the flags that are of models of another kind, by the first that was given. `of` is what those are of.
pub fn refuse(model: &Trained, of: &str, flags: &[(&str, bool)]) -> Result<()> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(Error::Usage(format!("{flag} is for {of}, and this model is of {}", model.card.columns)))
        }
    }
}

/// A beam of this width, else the most probable word each time. Errors: a width that none can have.
pub fn written_by(beam: Option<usize>) -> Result<Writing> {
    let rule = "must be 1 to 256, the beginnings that are kept";
    require(
        beam.is_none_or(|width| (1..=256).contains(&width)),
        &format!("--beam is {}, but {rule}", beam.unwrap_or(0)),
    )?;
    Ok(beam.map_or(Writing::Greedy, Writing::Beam))
}

/// Says which words of these lines the model does not know.
pub fn note_unknown(model: &Trained, lines: &[String]) -> Result<()> {
    let vocabulary = model.vocabulary()?;
    let mut unknown: Vec<String> = Vec::new();
    for line in lines {
        vocabulary.tokens().split(line, |word| {
            if !vocabulary.knows(word) && !unknown.iter().any(|found| found == word) {
                unknown.push(word.into());
            }
        });
    }
    if !unknown.is_empty() {
        notice(&format!(
            "note: the model does not know and reads as <unk>: {}",
            elbo::error::plain(&unknown.join(" "))
        ));
    }
    Ok(())
}
