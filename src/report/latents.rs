//! What the latent space of a model looks like: points, traversals, divergences, and what is unhealthy about it.

use super::charts::{bars, scatter};
use super::html::{details, escape, number, table};
use super::{EXAMPLES, Examples, image};
use crate::data::table::Kind;
use crate::error::Result;
use crate::inference::Trained;
use crate::inference::latents::{ACTIVE, Dimension, by_kl, dimensions};
use crate::picture;
use crate::picture::latent::traverse_points;

/// The most numbers of the test examples that are encoded.
const MOST_VALUES: usize = 1 << 24;
/// Dimensions that are traversed, those of the largest KL, from -3 to 3 in so many steps.
const TRAVERSED: usize = 10;
const STEPS: usize = 11;
/// The most values of all pictures of the traversals: a page is to stay below 5 MB.
const MOST_TRAVERSED: usize = 3 << 20;
/// Bars that are drawn; the others are in the table.
const MOST_BARS: usize = 64;
/// Pictures whose outputs are counted for the report on health.
const JUDGED: usize = 64;
/// A pixel is at its end within half a grey level.
const END: f32 = 0.5 / 255.0;

/// Test examples and their q(z|x).
pub struct Encoded {
    latent: usize,
    /// (N,Z)
    mean: Vec<f32>,
    /// (N,Z)
    logvar: Vec<f32>,
    labels: Option<Vec<usize>>,
    /// Whether the model is told the labels.
    is_told: bool,
    names: Vec<String>,
    /// (N,D) of the first of them.
    x: Vec<f32>,
    /// That of the largest KL from N(0,1) first.
    order: Vec<Dimension>,
    has_normal_prior: bool,
}

impl Encoded {
    /// Encodes test examples that are spread over the set; `None` without data, and of a model without
    /// Gaussian latents.
    /// Errors: those of the device, labels that are missing.
    pub fn of(model: &mut Trained, data: Option<Examples>) -> Result<Option<Encoded>> {
        let Some(Examples { test, class_names }) = data else { return Ok(None) };
        let gives = |view: &crate::models::View| view.outputs.iter().map(|port| port.name).eq(["mean", "logvar"]);
        let view = model.views.iter().find(|view| view.name == "encode" && gives(view));
        let Some(Kind::Vector(latent)) = view.and_then(|view| view.output("mean")) else { return Ok(None) };
        let count = EXAMPLES.min(test.count).min(MOST_VALUES / test.dims().max(1));
        if count == 0 {
            return Ok(None);
        }
        let labels = test.labels().map(|labels| test.spread_indices(count).map(|i| usize::from(labels[i])).collect());
        let is_told = model.classes("encode")?.is_some();
        let x = test.spread(count);
        let told: Option<&Vec<usize>> = labels.as_ref().filter(|_| is_told);
        if is_told && told.is_none() {
            return Ok(None);
        }
        let [mean, logvar] = model.encode(&x, told.map(Vec::as_slice))?;
        let order = by_kl(&dimensions(&mean, &logvar, latent));
        let has_normal_prior = model.require_normal_prior("").is_ok();
        let x = x[..JUDGED.min(count) * test.dims()].to_vec();
        Ok(Some(Encoded {
            latent,
            mean,
            logvar,
            labels,
            is_told,
            names: class_names.to_vec(),
            x,
            order,
            has_normal_prior,
        }))
    }

    fn count(&self) -> usize {
        self.mean.len() / self.latent
    }

    /// The means in the plane of the two dimensions of the largest KL.
    pub fn scatter(&self) -> String {
        let first = self.order[0].index;
        let second = self.order.get(1).map_or(first, |d| d.index);
        let points: Vec<[f64; 2]> =
            self.mean.chunks(self.latent).map(|z| [f64::from(z[first]), f64::from(z[second])]).collect();
        let told = match self.latent {
            1 | 2 => String::new(),
            latent => format!(", in the two of {latent} dimensions with the largest KL"),
        };
        let drawn = scatter(
            &points,
            self.labels.as_deref(),
            &self.names,
            [&format!("z{}", first + 1), &format!("z{}", second + 1)],
        );
        format!("<p>The means of q(z|x) of {} test examples{told}.</p>{drawn}", self.count())
    }

    /// A slider for each dimension over the pictures that are decoded when it alone is varied; `None` of a model that
    /// makes no pictures of such points.
    pub fn traversals(&self, model: &mut Trained) -> Result<Option<String>> {
        let (Ok(shape), Ok(latent)) = (model.card.picture(), model.numbers()) else { return Ok(None) };
        let dims: usize = shape.iter().product();
        let dimensions = TRAVERSED.min(latent).min(MOST_TRAVERSED / (STEPS * dims));
        let makes_pictures = model.find_view("decode")?.outputs.iter().any(|port| port.kind.width() == dims);
        if latent != self.latent || dimensions == 0 || !makes_pictures {
            return Ok(None);
        }
        let values: Vec<f32> = (0..STEPS).map(|i| -3.0 + 6.0 * i as f32 / (STEPS - 1) as f32).collect();
        let points = traverse_points(&self.mean[..latent], &values);
        let shown = &self.order[..dimensions];
        let z: Vec<f32> = shown.iter().flat_map(|d| points[d.index * STEPS..(d.index + 1) * STEPS].concat()).collect();
        let label = model.classes("decode")?.map(|_| self.labels.as_ref().map_or(0, |labels| labels[0]));
        let labels = label.map(|label| vec![label; dimensions * STEPS]);
        let pictures = model.decode(&z, labels.as_deref())?;
        let mut body = String::from(
            "<p>The code of the first of the test examples, with one dimension varied from -3 to 3; those of the \
             largest KL first.</p><div class=\"sliders\">",
        );
        for (Dimension { index: dimension, .. }, strip) in shown.iter().zip(pictures.chunks(STEPS * dims)) {
            let own = self.mean[*dimension];
            let nearest = values.iter().enumerate().min_by(|a, b| (a.1 - own).abs().total_cmp(&(b.1 - own).abs()));
            let start = nearest.map_or(0, |(i, _)| i);
            let mut frames = String::new();
            for (picture, value) in strip.chunks(dims).zip(&values) {
                let png = picture::plain(picture, shape)?.to_png();
                frames += &image(&png, &format!("z{} = {value:.1}", dimension + 1), "pixel");
            }
            body += &format!(
                "<div class=\"slider\"><div class=\"frames\">{frames}</div><label>z{0} <input type=\"range\" min=\"0\" \
                 max=\"{1}\" value=\"{start}\" aria-label=\"value of z{0}\"> <output>{2:.1}</output></label></div>",
                dimension + 1,
                STEPS - 1,
                values[start]
            );
        }
        Ok(Some(body + "</div>"))
    }

    /// KL(q(z|x) || N(0,1)) of each dimension as bars; `None` where the prior is another one.
    pub fn divergences(&self) -> Option<String> {
        if !self.has_normal_prior {
            return None;
        }
        let name = |d: &Dimension| format!("z{}", d.index + 1);
        let bar = |d: &Dimension| (name(d), d.kl, d.is_active());
        let drawn: Vec<_> = self.order.iter().take(MOST_BARS).map(bar).collect();
        let row = |d: &Dimension| {
            vec![name(d), number(d.kl), number(d.activity), if d.is_active() { "yes" } else { "no" }.into()]
        };
        let rows: Vec<Vec<String>> = self.order.iter().map(row).collect();
        let total: f64 = self.order.iter().map(|d| d.kl).sum();
        Some(format!(
            "<p>KL(q(z|x) || N(0,1)) in nats, the mean over {} test examples; together {}. Pale bars are dimensions \
             out of use.</p>{}{}",
            self.count(),
            number(total),
            bars(&drawn),
            details("All dimensions", &table(&["dimension", "KL (nats)", "variance of the mean", "in use"], &rows))
        ))
    }

    /// Dimensions out of use, and pixels that are black or white beside those of the data.
    pub fn health(&self, model: &mut Trained) -> Result<String> {
        let mut collapsed: Vec<usize> = self.order.iter().filter(|d| !d.is_active()).map(|d| d.index).collect();
        collapsed.sort();
        let collapsed: Vec<String> = collapsed.iter().map(|d| format!("z{}", d + 1)).collect();
        let mut rows = vec![vec![
            "collapsed dimensions".to_string(),
            format!("{} of {}", collapsed.len(), self.latent),
            match collapsed.len() {
                0 => "each moves with the example".into(),
                1..=20 => collapsed.join(", "),
                _ => format!("{}, and more", collapsed[..20].join(", ")),
            },
        ]];
        let narrow = self.logvar.iter().filter(|v| **v < -10.0).count() as f64 / self.logvar.len() as f64;
        rows.push(vec![
            "logvar below -10".into(),
            format!("{:.2} %", 100.0 * narrow),
            "q(z|x) nearly a point: the noise no longer matters".into(),
        ]);
        if let (Ok(shape), Ok(latent)) = (model.card.picture(), model.numbers()) {
            let dims: usize = shape.iter().product();
            let count = self.x.len() / dims;
            let labels = self.labels.as_ref().map(|labels| &labels[..count]);
            let needs_label = model.classes("decode")?.is_some();
            if latent == self.latent && (!needs_label || self.is_told) {
                let made = model.decode(&self.mean[..count * latent], labels.filter(|_| needs_label))?;
                let share = |values: &[f32]| {
                    let at_end = values.iter().filter(|v| **v <= END || **v >= 1.0 - END).count();
                    100.0 * at_end as f64 / values.len() as f64
                };
                rows.push(vec![
                    "saturated outputs".into(),
                    format!("{:.1} %", share(&made)),
                    format!("black or white within half a grey level; of the test pictures {:.1} %", share(&self.x)),
                ]);
            }
        }
        let told = format!(
            "<p>Of {} test examples. A dimension is out of use where the mean of q(z|x) varies by less than {}.</p>",
            self.count(),
            escape(&ACTIVE.to_string())
        );
        Ok(told + &table(&["what", "how much", "which means"], &rows))
    }
}
