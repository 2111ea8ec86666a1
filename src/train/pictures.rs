//! The pictures that each epoch leaves: samples and reconstructions. Large ones are drawn smaller or fewer, so
//! that no run ends because of them.

use crate::arena::Arena;
use crate::backend::Backend;
use crate::data::table::{Columns, Kind, PICTURES, Table};
use crate::kernels::clock::{Clock, Row};
use crate::kernels::random;
use crate::models::draw::Draw;
use crate::models::{Model, View};
use crate::picture::{self, Fit};
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;

/// Side of the square that a pixel becomes, where there is room.
const UPSCALE: usize = 2;
/// Test pictures side by side, each above its reconstruction.
const COLUMNS: usize = 16;
/// Test pictures that an epoch's reconstruction picture shows.
const RECONSTRUCTIONS: usize = 32;
/// The site of the samples' latent points; programs number theirs from 1.
pub const SAMPLE_SITE: u32 = 0;

/// How many of `count` samples of (H,W) the grid holds, and how it is laid out: nearly a square, or of a model that is
/// told the label a row a class. `None` for not even one.
pub fn samples(count: usize, image: [usize; 2], classes: Option<usize>) -> Option<Fit> {
    let size = |count: usize| match classes {
        Some(classes) => {
            let rows = classes.min(count).max(1);
            [rows, count / rows]
        }
        None => {
            let columns = count.isqrt().max(1);
            [count.div_ceil(columns), columns]
        }
    };
    let fit = picture::fit(count, image, UPSCALE, size)?;
    let [rows, columns] = size(fit.count);
    Some(Fit { count: fit.count.min(rows * columns), ..fit })
}

/// The same of test pictures in bands of so many: above their reconstructions, or noisy between both.
pub fn reconstructions(count: usize, image: [usize; 2], band: usize) -> Option<Fit> {
    picture::fit(count, image, UPSCALE, |count| [band * count.div_ceil(COLUMNS), count.min(COLUMNS)])
}

/// The label input of a view, in classes.
pub fn classes(view: &View) -> Option<usize> {
    match view.input("label") {
        Some(Kind::Label(classes)) => Some(classes),
        _ => None,
    }
}

/// The numbers of labels as models take them: (N,K), 1 at the label.
pub fn one_hot(labels: impl IntoIterator<Item = usize>, classes: usize) -> Vec<f32> {
    labels.into_iter().flat_map(|label| (0..classes).map(move |k| f32::from(k == label))).collect()
}

/// So many latent points of the prior, (count, width of the kind): numbers of N(0,1), or classes and codes that are all
/// equally frequent.
pub fn prior(seed: u64, count: usize, kind: Kind) -> Vec<f32> {
    let among = |uniform: f64, n: usize| ((uniform * n as f64) as usize).min(n - 1);
    match kind {
        Kind::Categorical { variables, classes } => {
            let drawn = random::host_uniform(seed, SAMPLE_SITE, count * variables);
            one_hot(drawn.into_iter().map(|uniform| among(uniform, classes)), classes)
        }
        Kind::Codes { codes, .. } => {
            let drawn = random::host_uniform(seed, SAMPLE_SITE, count * kind.width());
            drawn.into_iter().map(|uniform| among(uniform, codes) as f32).collect()
        }
        _ => random::host_normal(seed, SAMPLE_SITE, count * kind.width()),
    }
}

/// Which component of a mixture each of so many points is of, (count, classes), one-hot, all equally frequent.
pub fn components(seed: u64, count: usize, classes: usize) -> Vec<f32> {
    // The upper bit parts them from the points' noise of the same seed.
    prior(seed ^ (1 << 63), count, Kind::Categorical { variables: 1, classes })
}

/// Latent points for a grid of so many columns; where the rows are classes each has the same points.
pub fn latent_points(seed: u64, fit: Fit, kind: Kind, classes: Option<usize>) -> Vec<f32> {
    let points = if classes.is_some() { fit.columns } else { fit.count };
    prior(seed, points, kind).repeat(fit.count / points)
}

/// How a run's grids are laid out; what is `None` is not drawn.
#[derive(Clone, Debug)]
pub struct Layout {
    /// (C,H,W) of a picture.
    pub shape: [usize; 3],
    /// Of the samples.
    pub samples: Option<Fit>,
    /// Of the reconstructions.
    pub reconstructions: Option<Fit>,
    /// Pictures of a band of reconstructions, the original among them.
    band: usize,
}

impl Layout {
    /// For `count` samples (none for 0) and a test set of `test` pictures. Of a data set without pictures nothing is
    /// drawn.
    pub fn new(count: usize, test: usize, columns: &Columns, model: &dyn Model) -> Layout {
        let Ok(shape) = columns.picture(PICTURES) else {
            return Layout { shape: [0; 3], samples: None, reconstructions: None, band: 1 };
        };
        let [_, h, w] = shape;
        // Codes are not drawn all alike: that is for a prior of theirs, one by one.
        let is_drawn = |view: &View| count > 0 && !matches!(view.input("z"), Some(Kind::Codes { .. }));
        let samples =
            model.find_view("decode").filter(is_drawn).and_then(|view| samples(count, [h, w], classes(&view)));
        let reconstruct = model.find_view("reconstruct");
        let band = reconstruct.as_ref().map_or(1, |view| 1 + view.outputs.len());
        let reconstructions = reconstruct.and_then(|_| reconstructions(RECONSTRUCTIONS.min(test), [h, w], band));
        Layout { shape, samples, reconstructions, band }
    }

    /// A line where fewer test pictures are drawn than usual.
    pub fn note(&self, test: usize) -> Option<String> {
        let usual = RECONSTRUCTIONS.min(test);
        let [_, h, w] = self.shape;
        let what = match self.reconstructions {
            _ if self.band == 1 => return None,
            Some(fit) if fit.count == usual => return None,
            Some(fit) => format!("{} of {usual} are drawn", fit.count),
            None => "none are drawn".into(),
        };
        Some(format!("note: reconstructions of {h}x{w} pixels are more than a picture holds: {what}"))
    }
}

/// Sets of pictures, each (count,C,H,W), and how many there are and how they are laid out.
pub type Part<'a> = (&'a [Vec<f32>], Fit);

/// What a trained model draws after each epoch, by a program that is recorded once.
pub struct EpochPictures {
    /// How the grids are drawn.
    pub layout: Layout,
    samples: Option<Drawn>,
    reconstructions: Option<Drawn>,
    /// The noise of the reconstructions, the same after each epoch.
    clock: Tensor,
}

/// A recorded view.
struct Drawn {
    view: View,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Drawn {
    fn record(r: &mut Recorder, model: &dyn Model, name: &str, rows: usize, clock: Tensor) -> Option<Drawn> {
        let view = model.find_view(name)?;
        r.scope(name);
        let inputs: Vec<Tensor> =
            view.inputs.iter().map(|port| r.tensor(port.name, &[rows, port.kind.width()])).collect();
        let outputs = model.view(r, name, &inputs, &mut Draw::Clock(clock));
        Some(Drawn { view, inputs, outputs })
    }

    /// The view `decode` of a latent point; of a model that has a prior of its own, of the point that it draws.
    fn record_samples(r: &mut Recorder, model: &dyn Model, rows: usize, clock: Tensor) -> Option<Drawn> {
        let Some(drawn) = Drawn::record(r, model, "prior", rows, clock) else {
            return Drawn::record(r, model, "decode", rows, clock);
        };
        let outputs = model.view(r, "decode", &drawn.outputs, &mut Draw::Clock(clock));
        Some(Drawn { outputs, ..drawn })
    }

    fn write(&self, backend: &mut Backend, name: &str, values: &[f32]) {
        let inputs = self.view.inputs.iter().zip(&self.inputs);
        inputs.filter(|(port, _)| port.name == name).for_each(|(_, &tensor)| backend.write(tensor, values));
    }
}

impl EpochPictures {
    /// Records the views that the layout has room for.
    pub(crate) fn record(arena: &mut Arena, model: &dyn Model, layout: Layout) -> (EpochPictures, Program) {
        let clock = Clock::tensor(arena, "pictures.clock", 1);
        let mut r = Recorder::new(arena);
        let samples = layout.samples.and_then(|fit| Drawn::record_samples(&mut r, model, fit.count, clock));
        let made = layout.reconstructions;
        let reconstructions = made.and_then(|fit| Drawn::record(&mut r, model, "reconstruct", fit.count, clock));
        (EpochPictures { layout, samples, reconstructions, clock }, r.finish("pictures"))
    }

    /// Writes what they are drawn from: the seed's latent points, test pictures spread over the set.
    pub(crate) fn write(&self, backend: &mut Backend, test: &Table, seed: u64) {
        let row = Row { kl_weight: 1.0, ..Row::default() };
        backend.write_words(self.clock, &Clock { seed, step: 0, batch: 0, epoch: 0, rows: vec![row] }.words());
        if let (Some(samples), Some(fit)) = (&self.samples, self.layout.samples) {
            let classes = classes(&samples.view);
            for name in ["z", "noise"] {
                let Some(kind) = samples.view.input(name) else { continue };
                samples.write(backend, name, &latent_points(seed, fit, kind, classes));
            }
            if let Some(Kind::Label(classes)) = samples.view.input("component") {
                samples.write(backend, "component", &components(seed, fit.count, classes));
            }
            if let Some(classes) = classes {
                samples.write(backend, "label", &one_hot((0..fit.count).map(|i| i / fit.columns), classes));
            }
        }
        if let (Some(made), Some(fit)) = (&self.reconstructions, self.layout.reconstructions) {
            made.write(backend, "x", &test.spread(fit.count));
            if let (Some(classes), Some(labels)) = (classes(&made.view), test.labels()) {
                let labels = test.spread_indices(fit.count).map(|i| usize::from(labels[i]));
                made.write(backend, "label", &one_hot(labels, classes));
            }
        }
    }

    /// What the host reads after an epoch.
    pub fn tensors(&self) -> Vec<Tensor> {
        let samples = self.samples.iter().flat_map(|drawn| &drawn.outputs);
        let made =
            self.reconstructions.iter().flat_map(|drawn| std::iter::once(&drawn.inputs[0]).chain(&drawn.outputs));
        samples.chain(made).copied().collect()
    }

    /// The values of [`tensors`](EpochPictures::tensors) as samples, and as bands of originals above what was made of
    /// them: each (count,C,H,W), with how many there are and how they are laid out; `None` of what is not drawn.
    pub fn parted<'a>(&self, values: &'a [Vec<f32>]) -> [Option<Part<'a>>; 2] {
        let (samples, made) = values.split_at(self.samples.iter().map(|drawn| drawn.outputs.len()).sum());
        let drawn =
            |values: &'a [Vec<f32>], fit: Option<Fit>| fit.filter(|_| !values.is_empty()).map(|fit| (values, fit));
        [drawn(&samples[..samples.len().min(1)], self.layout.samples), drawn(made, self.layout.reconstructions)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::presets;

    fn layout(preset: &str, [count, test]: [usize; 2], shape: [usize; 3]) -> Layout {
        let settings = presets::find(preset).unwrap().1.settings();
        let columns = Columns::of_pictures(shape, 10);
        Layout::new(count, test, &columns, &*settings.outline(&columns).unwrap())
    }

    #[test]
    fn grids_of_every_size_are_what_the_picture_holds() {
        let usual = layout("mnist-mlp", [64, 1000], [1, 28, 28]);
        assert_eq!(usual.samples, Some(Fit { count: 64, columns: 8, upscale: 2 }));
        assert_eq!(usual.reconstructions, Some(Fit { count: 32, columns: 16, upscale: 2 }));
        assert_eq!(usual.note(1000), None);
        assert!(layout("mnist-mlp", [0, 5], [1, 28, 28]).samples.is_none());
        for (side, band) in [520, 740, 3000, 8200].into_iter().flat_map(|side| [(side, 2), (side, 3)]) {
            let preset = if band == 2 { "mnist-mlp" } else { "mnist-denoise" };
            let layout = layout(preset, [64, 40], [3, side, side]);
            for (fit, each) in [(layout.samples, 1), (layout.reconstructions, band)] {
                let Some(fit) = fit else { continue };
                let rows = each * fit.count.div_ceil(fit.columns);
                assert!(picture::grid_size([rows, fit.columns], [side, side], fit.upscale).is_ok(), "{side}: {fit:?}");
            }
            assert_eq!(layout.note(40).is_some(), layout.reconstructions.is_none_or(|fit| fit.count < 32), "{side}");
        }
    }

    #[test]
    fn a_model_that_is_told_the_label_draws_a_row_a_class_of_the_same_points() {
        let fit = layout("mnist-cvae", [64, 40], [1, 28, 28]).samples.unwrap();
        assert_eq!((fit.count, fit.columns), (60, 6));
        assert_eq!(samples(4, [28, 28], Some(10)).map(|fit| (fit.count, fit.columns)), Some((4, 1)));
        let points = latent_points(1, fit, Kind::Vector(3), Some(10));
        assert_eq!(points.len(), 180);
        assert!(points[..18] == points[18..36] && points[..3] != points[3..6]);
        assert_eq!(one_hot([1, 0], 3), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn classes_and_codes_are_drawn_equally_often() {
        let z = prior(1, 500, Kind::Categorical { variables: 4, classes: 5 });
        assert!(z.chunks(5).all(|v| v.iter().sum::<f32>() == 1.0 && v.iter().all(|&k| k == 0.0 || k == 1.0)));
        let codes = prior(1, 500, Kind::Codes { places: [2, 2], codes: 5 });
        for k in 0..5 {
            let shares =
                [z.iter().skip(k).step_by(5).sum::<f32>(), codes.iter().filter(|&&c| c == k as f32).count() as f32];
            // A standard deviation of 18.
            assert!(shares.iter().all(|share| (share - 400.0).abs() < 80.0), "{k}: {shares:?}");
        }
        assert_eq!(codes.len(), 2000);
    }
}
