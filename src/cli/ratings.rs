//! What the commands of recommendation have in common: which ratings, and whether they are the model's.

use std::path::PathBuf;

use elbo::data::Fingerprint;
use elbo::data::ratings::{Protocol, Ratings};
use elbo::data::table::{ITEMS, Kind};
use elbo::error::{Error, Result};
use elbo::inference::Trained;
use elbo::train::run_folder::RunRecord;

use super::progress;
use super::shared::{ModelArgs, require};

#[derive(clap::Args)]
pub struct RatingsArgs {
    /// The CSV file of the ratings, or the folder with ratings.csv [default: that of the run]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Of the ratings, those above X count as liked [default: as in the run, else 3.5]
    #[arg(long, value_name = "X")]
    liked_above: Option<f64>,
    /// Which of the splits by users [default: that of the run, else 1]
    #[arg(long, value_name = "N")]
    split_seed: Option<u64>,
}

impl RatingsArgs {
    /// Opens the ratings that the model was trained on, whose items are its items. Errors: no place is known, other
    /// ratings than those, a model that does not recommend.
    pub fn open(&self, args: &ModelArgs, model: &Trained) -> Result<Ratings> {
        let items = match model.find_view("recommend")?.input(ITEMS) {
            Some(Kind::Items(items)) => items,
            _ => return Err(Error::Usage(format!("a model of the kind {} recommends no items", model.card.model))),
        };
        let record = args.record()?;
        let settings = record.as_ref().map(|record| &record.settings);
        let run =
            settings.map(|s| Protocol { liked_above: s.liked_above, split_seed: s.split_seed }).unwrap_or_default();
        let protocol = Protocol {
            liked_above: self.liked_above.unwrap_or(run.liked_above),
            split_seed: self.split_seed.unwrap_or(run.split_seed),
        };
        let place = self.data.clone().or_else(|| record.as_ref()?.settings.data.clone());
        let place =
            place.ok_or_else(|| Error::Usage("where the ratings are is not known: give them by --data PATH".into()))?;
        let ratings = Ratings::open(&place, protocol, &mut progress::shown())?;
        let is_recorded = match record {
            Some(RunRecord { selection, pictures: Some(before), settings, .. }) => {
                let limits = [settings.train_limit, settings.test_limit];
                before == Fingerprint::of(&ratings.dataset().limited(selection, limits))
            }
            _ => true,
        };
        let problem = format!(
            "{} with {} items: these are not the ratings, the --split-seed or the --liked-above that the model was \
             trained with, which ranks {items}",
            ratings.name,
            ratings.items.len()
        );
        require(is_recorded && ratings.items.len() == items, &problem)?;
        Ok(ratings)
    }
}
