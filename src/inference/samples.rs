//! Pictures of latent points of the prior.

use super::Trained;
use crate::data::table::Kind;
use crate::error::Result;
use crate::train::pictures::{components, prior};

impl Trained {
    /// So many latent points of the prior, (count,Z): with the seed of a run those of its samples. A temperature below
    /// 1 narrows a normal prior, and makes likelier codes likelier where a prior over them was learned.
    ///
    /// Errors: a model that does not decode, those of the device.
    pub fn draw_latents(&mut self, count: usize, seed: u64, temperature: f32) -> Result<Vec<f32>> {
        let kind = self.latent_kind()?;
        let mut z = match self.has_prior() {
            true => self.draw_codes(count, seed, temperature)?,
            false => prior(seed, count, kind),
        };
        if let Kind::Vector(_) = kind {
            z.iter_mut().for_each(|z| *z *= temperature);
        }
        if let Some(Kind::Label(classes)) = self.find_view("prior").ok().and_then(|view| view.input("component")) {
            let component = components(seed, count, classes);
            z = self.view("prior", &[("noise", &z), ("component", &component)], seed)?.remove(0);
        }
        Ok(z)
    }

    /// So many pictures of the prior, (count,D) with values in `[0,1]`. A model that is told the label is told each by
    /// turns. Errors: those of [`draw_latents`](Trained::draw_latents).
    pub fn draw_pictures(&mut self, count: usize, seed: u64) -> Result<Vec<f32>> {
        let z = self.draw_latents(count, seed, 1.0)?;
        let labels = self.classes("decode")?.map(|classes| (0..count).map(|i| i % classes).collect::<Vec<_>>());
        self.decode(&z, labels.as_deref())
    }
}
