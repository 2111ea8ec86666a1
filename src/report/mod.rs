//! A run as one HTML file that needs no network: settings, curves, pictures, latents, health, plan, machine.
//!
//! `page.html` is the page with its style and the script that moves sliders and reads values from curves; here are its
//! sections. Without the script every value is in a table and every picture is shown. A model without a view has no
//! section of it.

mod charts;
mod html;
mod latents;
mod tables;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::backend::Device;
use crate::data::table::{STEPS, Table};
use crate::error::Result;
use crate::files::{read_regular, write_atomic};
use crate::fusion::Fusion;
use crate::inference::sentences::Writing;
use crate::inference::sequences::drawing;
use crate::inference::{Trained, model_file};
use crate::instruments::plan::plan;
use crate::instruments::subject::Subject;
use crate::kernels::random::host_normal;
use crate::train::history::History;
use crate::train::run_folder::RunFolder;
use html::{escape, section};

const PAGE: &str = include_str!("page.html");
/// Largest picture of the run that is put into the page, in bytes: the page is to stay below 5 MB.
const LARGEST_PICTURE: u64 = 1 << 20;
/// The most test examples that a report looks at, spread over the set.
pub const EXAMPLES: usize = 2000;
/// Sentences of the prior that are shown.
const SENTENCES: usize = 12;
/// Sequences that are shown, and their steps at most.
const SEQUENCES: usize = 8;
const MOST_STEPS: usize = 64;
/// The temperature of both.
const TEMPERATURE: f32 = 0.8;

/// What is known of the data when a report is written.
#[derive(Clone, Copy)]
pub struct Examples<'a> {
    /// The test set.
    pub test: &'a Table,
    /// The name of each class, or empty.
    pub class_names: &'a [String],
}

/// Writes the report of the run in a folder to `out`. Without the data there are no latents in it, and before the first
/// epoch has ended nothing of the model. What cannot be shown of a model says why in its place.
///
/// Errors: no run there, a file of it that cannot be read, a report that cannot be written.
pub fn write(root: &Path, data: Option<Examples>, device: &Device, out: &Path) -> Result<()> {
    let history = History::read(root)?;
    let folder = RunFolder::open(root)?;
    let mut sections = vec![tables::outcome(&history), charts::curves(&history)];
    let mut add = |title: &str, made: Result<Option<String>>| match made {
        Ok(Some(body)) => sections.push(section(title, &body)),
        Ok(None) => {}
        Err(e) => {
            sections.push(section(title, &format!("<p class=\"note\">Not shown: {}</p>", escape(&e.to_string()))))
        }
    };
    add("Samples", pictures(&folder, "samples"));
    add("Reconstructions", pictures(&folder, "reconstructions"));
    if model_file(root, false).is_ok() {
        match Trained::open(root, device) {
            Ok(mut model) => {
                add("Sentences", sentences(&mut model));
                add("Sequences", sequences(&mut model));
                match latents::Encoded::of(&mut model, data) {
                    Ok(Some(encoded)) => {
                        add("Latent space", Ok(Some(encoded.scatter())));
                        add("Traversals", encoded.traversals(&mut model));
                        add("KL of each dimension", Ok(encoded.divergences()));
                        add("Health", encoded.health(&mut model).map(Some));
                    }
                    Ok(None) => {}
                    Err(e) => add("Latent space", Err(e)),
                }
            }
            Err(e) => add("Model", Err(e)),
        }
        add("Parameters and gradients", subject(root).and_then(|subject| tables::parameters(&folder, &subject)));
        add(
            "The training step",
            subject(root).map(|subject| {
                let fusion = subject.settings.fusion(Fusion::of(device));
                let subject = subject.fused(fusion);
                Some(tables::plan(&plan(&subject, device)))
            }),
        );
    }
    sections.push(section("Settings", &tables::settings(&history)));
    sections.push(section("Machine", &tables::machine(&history)));
    let title = format!("{} on {}", history.record.settings.preset, history.record.dataset);
    let page = PAGE.replace("{{title}}", &escape(&title)).replace("{{sections}}", &sections.join("\n"));
    write_atomic(out, page.as_bytes())
}

fn subject(root: &Path) -> Result<Subject> {
    Subject::open(&root.display().to_string(), None)
}

/// The last picture of a kind that the run has drawn.
fn pictures(folder: &RunFolder, kind: &str) -> Result<Option<String>> {
    let Some(last) = folder.pictures(kind)?.pop() else { return Ok(None) };
    let png = read_regular(&last, LARGEST_PICTURE)?;
    let name = last.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("epoch {}", name.trim_start_matches("epoch_").trim_start_matches('0'));
    let told = match kind {
        "samples" => "Decoded from points of the prior, the same after each epoch",
        _ => "Test pictures, and below each what the model makes of it",
    };
    Ok(Some(format!("<p>{told}; of {}.</p>{}", escape(&name), image(&png, &format!("{kind} of {name}"), "grid"))))
}

/// A picture inside the page.
fn image(png: &[u8], about: &str, class: &str) -> String {
    format!("<img class=\"{class}\" alt=\"{}\" src=\"data:image/png;base64,{}\">", escape(about), STANDARD.encode(png))
}

/// Sentences of the prior, of a model of sentences.
fn sentences(model: &mut Trained) -> Result<Option<String>> {
    if !model.is_of_sentences() {
        return Ok(None);
    }
    let z = host_normal(1, 0, SENTENCES * model.latent()?);
    let written = model.write(&z, Writing::Sampled { temperature: TEMPERATURE, top_k: None, seed: 1 })?;
    let items: String = written.iter().map(|sentence| format!("<li>{}</li>", escape(sentence))).collect();
    Ok(Some(format!("<p>Written from points of the prior, at temperature {TEMPERATURE}.</p><ul>{items}</ul>")))
}

/// Sequences of the prior, of a model that draws them step by step.
fn sequences(model: &mut Trained) -> Result<Option<String>> {
    if !model.is_of_steps() {
        return Ok(None);
    }
    let [channels, longest] = model.card.columns.steps(STEPS)?;
    let steps = longest.min(MOST_STEPS);
    let values = model.generate(SEQUENCES, steps, f64::from(TEMPERATURE), 1)?;
    let rows: Vec<Vec<f32>> = values.chunks(steps * channels).map(<[f32]>::to_vec).collect();
    let png = drawing::drawn(model, &[rows], 4, 2)?.to_png();
    let told = format!("<p>{steps} steps each, drawn of the prior at temperature {TEMPERATURE}.</p>");
    Ok(Some(told + &image(&png, "sequences of the prior", "grid")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nothing_of_the_network() {
        for word in ["http:", "https:", "//cdn", "@import", "src=\"/", "url("] {
            assert!(!PAGE.contains(word), "{word}");
        }
        assert_eq!((PAGE.matches("{{title}}").count(), PAGE.matches("{{sections}}").count()), (2, 1));
        assert!(PAGE.lines().all(|line| line.chars().count() <= 120));
    }
}
