//! `elbo disagreement`

use elbo::data::Selection;
use elbo::error::Result;
use elbo::mean::Mean;

use super::data::DataArgs;
use super::progress;
use super::shared::{ModelArgs, PictureArgs, require, wrote};

/// Pictures side by side at most.
const COLUMNS: usize = 16;
/// Pictures that go through the model between two moves of the bar.
const CHUNK: usize = 64;
/// What a deviation is multiplied by to be seen; from 1/5 on it is white.
const BRIGHTER: f32 = 5.0;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// How many pictures to draw, spread evenly over the set, the most settled first; all are measured
    #[arg(long, value_name = "N", default_value_t = 16)]
    count: usize,
    /// Take N test pictures only: the first ones, of a folder or array a share of all; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    test_limit: usize,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

/// A picture that is drawn: its disagreement, then itself, the mean and the deviation.
type Drawn = (f64, [Vec<f32>; 3]);

impl Args {
    pub fn run(self) -> Result<()> {
        require(self.count > 0, "--count is 0, but must be at least 1")?;
        let mut model = self.model.open()?;
        model.find_view("disagreement")?;
        let data = self.data.open(&self.model, &model, false)?;
        let limit = Some(self.test_limit).filter(|&n| n > 0);
        let data = data.limited(Selection::ByName, [None, limit]);
        let (there, dims) = (data.test.count, data.test.dims());
        let count = self.count.min(there);
        self.picture.check([count.div_ceil(COLUMNS) * 3, COLUMNS.min(count)], "--count", &model)?;

        let bar = progress::counting("", "pictures", there);
        let wanted: Vec<usize> = data.test.spread_indices(count).collect();
        let (mut drawn, mut all): (Vec<Drawn>, Vec<f64>) = (Vec::new(), Vec::new());
        for start in (0..there).step_by(CHUNK) {
            let pictures = start..(start + CHUNK).min(there);
            let given = data.test.values(pictures.clone());
            // Each chunk has draws of its own.
            let seed = self.seed.wrapping_add((start as u64) << 32);
            let outputs = model.view("disagreement", &[("x", &given)], seed)?;
            let [mean, deviation] = <[_; 2]>::try_from(outputs).expect("mean and deviation");
            for (at, i) in pictures.enumerate() {
                let of = |values: &[f32]| values[at * dims..][..dims].to_vec();
                let deviation = of(&deviation);
                let apart = deviation.iter().map(|&v| f64::from(v)).sum::<f64>() / dims as f64;
                all.push(apart);
                if wanted.contains(&i) {
                    let bright = deviation.iter().map(|v| (BRIGHTER * v).min(1.0)).collect();
                    drawn.push((apart, [of(&given), of(&mean), bright]));
                }
            }
            bar.inc((there - start).min(CHUNK) as u64);
        }
        bar.finish_and_clear();

        drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sets = [0, 1, 2].map(|band| drawn.iter().flat_map(|(_, bands)| bands[band].clone()).collect::<Vec<f32>>());
        let names = ["original", "mean", "deviation"];
        let sets: Vec<(&str, &[f32])> = names.into_iter().zip(sets.iter().map(Vec::as_slice)).collect();
        let path = self.picture.write_bands(&self.model, "disagreement.png", &model, &sets, COLUMNS)?;
        let Mean { mean, standard_error: error } = Mean::of(&all);
        if self.json {
            super::print_json(&serde_json::json!({
                "dataset": data.name, "pictures": there, "seed": self.seed, "disagreement": mean,
                "standard_error": error, "each": all, "picture": path,
            }));
            return Ok(());
        }
        super::print(&format!(
            "{there} pictures of {}: draws of the weights differ by {mean:.5} a pixel (standard deviation; standard \
             error of this mean {error:.5})",
            data.name
        ));
        wrote(
            &path,
            &format!("{count} pictures above the mean over draws and five times the deviation, most settled first"),
        );
        Ok(())
    }
}
