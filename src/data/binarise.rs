//! Pictures of black and white pixels alone, of which the Bernoulli output is a likelihood. Where grey levels are drawn
//! from, they are taken for probabilities (Salakhutdinov & Murray 2008).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Dataset;
use super::table::{PICTURES, Table, Values};
use crate::kernels::random::{philox, to_uniform};

/// How grey pixels become black or white ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binarise {
    /// They stay grey.
    #[default]
    None,
    /// White from a half on.
    Threshold,
    /// Drawn once.
    Static,
    /// Drawn anew at each training step, on the device; of the test pictures once, so that every evaluation sees the
    /// same.
    Dynamic,
}

/// What the draw of the test pictures has of its own, apart from the training pictures' of the same seed.
const TEST: u64 = 1 << 63;

impl Binarise {
    /// Whether training steps draw.
    pub fn is_dynamic(self) -> bool {
        self == Binarise::Dynamic
    }

    /// The data as a run of this seed trains on it: its test pictures as every evaluation sees them, its training
    /// pictures too, unless each step draws them.
    pub fn prepared(self, data: Dataset, seed: u64) -> Dataset {
        let train = if self.is_dynamic() { data.train } else { self.fixed(data.train, seed) };
        Dataset { train, test: self.fixed(data.test, seed ^ TEST), ..data }
    }

    /// The same for whoever looks at the run's data: all of it fixed.
    pub fn shown(self, data: Dataset, seed: u64) -> Dataset {
        Dataset { train: self.fixed(data.train, seed), test: self.fixed(data.test, seed ^ TEST), ..data }
    }

    /// The table with pictures that do not change: those of the threshold, or drawn by (seed, picture, pixel).
    pub fn fixed(self, mut table: Table, seed: u64) -> Table {
        let dims = table.dims();
        if self == Binarise::None || dims == 0 {
            return table;
        }
        let column = table.columns.iter_mut().find(|column| column.name == PICTURES);
        let Some(Values::Bytes(bytes)) = column.map(|column| &mut column.values) else { return table };
        bytes.par_chunks_mut(dims).enumerate().for_each(|(picture, pixels)| match self {
            Binarise::Threshold => pixels.iter_mut().for_each(|pixel| *pixel = if *pixel >= 128 { 255 } else { 0 }),
            _ => draw(pixels, seed, picture),
        });
        table
    }
}

/// Pixel 4 i + j is white where word j of the Philox block i of the picture is below its grey level. Site 0 is no
/// program's, and the last word of the counter is 0 in every draw on the device.
fn draw(pixels: &mut [u8], seed: u64, picture: usize) {
    for (block, four) in pixels.chunks_mut(4).enumerate() {
        let words = philox([block as u32, 0, picture as u32, 1], [seed as u32, (seed >> 32) as u32]);
        for (pixel, word) in four.iter_mut().zip(words) {
            *pixel = if to_uniform(word) < f64::from(*pixel) / 255.0 { 255 } else { 0 };
        }
    }
}

/// Whether every pixel is black or white: then a Bernoulli output is a likelihood.
pub fn is_binary(table: &Table) -> bool {
    table.pixels().iter().all(|&pixel| pixel == 0 || pixel == 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(count: usize) -> Dataset {
        let split = |level: u8| Table::of_pictures([1, 3, 3], vec![level; 9 * count], None);
        Dataset {
            name: "grey".into(),
            class_names: vec![],
            vocabulary: None,
            spectrogram: None,
            train: split(51),
            test: split(128),
        }
    }

    fn white(table: &Table) -> f64 {
        assert!(is_binary(table));
        table.pixels().iter().filter(|&&pixel| pixel == 255).count() as f64 / table.pixels().len() as f64
    }

    #[test]
    fn grey_levels_are_probabilities() {
        let data = Binarise::Static.prepared(grey(4000), 3);
        // Standard deviations of 0.002 and 0.003.
        assert!((white(&data.train) - 0.2).abs() < 0.01, "{}", white(&data.train));
        assert!((white(&data.test) - 128.0 / 255.0).abs() < 0.013, "{}", white(&data.test));
        let rows: Vec<&[u8]> = data.test.pixels().chunks(9).collect();
        assert!(rows[1..].iter().any(|row| row != &rows[0]), "each picture has a draw of its own");
    }

    #[test]
    fn a_draw_is_the_seeds_and_the_test_pictures_are_drawn_once() {
        let [a, again, other] = [3, 3, 4].map(|seed| Binarise::Static.prepared(grey(9), seed));
        assert!(a == again && a.train != other.train && a.test != other.test);
        let dynamic = Binarise::Dynamic.prepared(grey(9), 3);
        assert_eq!((&dynamic.train, &dynamic.test), (&grey(9).train, &a.test));
        assert_eq!(Binarise::Dynamic.shown(grey(9), 3), a);
        // A part of a set has the pictures of the whole.
        let part = Binarise::Static.prepared(grey(5), 3);
        assert_eq!(part.test.pixels(), &a.test.pixels()[..45]);
    }

    #[test]
    fn a_threshold_is_a_half_and_none_is_none() {
        let data = Binarise::Threshold.prepared(grey(2), 3);
        assert_eq!((white(&data.train), white(&data.test)), (0.0, 1.0));
        assert!(Binarise::None.prepared(grey(2), 3) == grey(2) && !is_binary(&grey(2).train));
    }
}
