//! Pictures of sequences with a latent at each step: piano rolls, pen strokes, the lines of a series.

use crate::data::table::STEPS;
use crate::error::Result;
use crate::inference::Trained;
use crate::models::parts::emission::Form;
use crate::picture::{self, Picture, Series};

/// Sequences, each (steps,C) and none longer than the first of its set is, side by side.
pub type Sequences = Vec<Vec<f32>>;

/// A picture of sequences on the model's scale, in rows of `columns`. Of several sets those of one number stand below
/// each other. Of series of numbers the first of each set alone is drawn.
pub fn drawn(model: &Trained, sets: &[Sequences], columns: usize, scale: usize) -> Result<Picture> {
    let [channels, _] = model.card.columns.steps(STEPS)?;
    match model.emission()?.emission {
        Form::Bernoulli => rolls(sets, channels, columns, scale),
        Form::Strokes => {
            let points = |row: &Vec<f32>| row.as_chunks::<3>().0.to_vec();
            let columns = columns.min(sets[0].len());
            // The last row of a set is filled up, so that the next begins a row of its own.
            let bands = (0..sets[0].len()).step_by(columns).flat_map(|first| {
                let of = move |set: &Sequences| {
                    (first..first + columns).map(|n| set.get(n).map_or(vec![], points)).collect::<Vec<_>>()
                };
                sets.iter().flat_map(of).collect::<Vec<_>>()
            });
            Ok(picture::strokes(&bands.collect::<Vec<_>>(), columns))
        }
        Form::Gaussian => Ok(lines(model, sets, channels)),
    }
}

/// Piano rolls as grey pictures: time to the right, high notes above, white where a key is struck.
fn rolls(sets: &[Sequences], channels: usize, columns: usize, scale: usize) -> Result<Picture> {
    let longest = sets.iter().flatten().map(|row| row.len() / channels).max().unwrap_or(0);
    let turned = |row: &Vec<f32>| {
        let mut picture = vec![0.0; channels * longest];
        for (t, step) in row.chunks(channels).enumerate() {
            for (key, &value) in step.iter().enumerate() {
                picture[(channels - 1 - key) * longest + t] = value;
            }
        }
        picture
    };
    let sets: Vec<Vec<f32>> = sets.iter().map(|set| set.iter().flat_map(turned).collect()).collect();
    let sets: Vec<&[f32]> = sets.iter().map(Vec::as_slice).collect();
    picture::bands(&sets, [sets[0].len() / (channels * longest), 1, channels, longest], columns, scale)
}

/// The numbers of the first sequence of each set over its steps, on their own scale.
fn lines(model: &Trained, sets: &[Sequences], channels: usize) -> Picture {
    let features = model.step_features();
    let line = |(number, set): (usize, &Sequences)| {
        let values = features.original(&set[0]);
        let of = move |c: usize| {
            let points = values.iter().skip(c).step_by(channels).enumerate().map(|(t, &x)| (t as f64, x));
            let name =
                if number == 0 { features.names[c].clone() } else { format!("{}, reconstructed", features.names[c]) };
            (name, points.collect())
        };
        (0..channels).map(of).collect::<Vec<Series>>()
    };
    let series: Vec<Series> = sets.iter().enumerate().flat_map(line).collect();
    picture::curves(&series, &format!("a sequence of {}", model.card.dataset), "step", "value")
}
