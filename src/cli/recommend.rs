//! `elbo recommend`

use elbo::data::ratings::{Ratings, listed};
use elbo::data::table::ITEMS;
use elbo::error::{Error, Result, nearest, plain};
use elbo::ranking::dense;
use elbo::ranking::metrics::ranked;

use super::ratings::RatingsArgs;
use super::shared::{ModelArgs, require};
use super::table::{Column, table};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ratings: RatingsArgs,
    /// For this user of the ratings, by all that they liked
    #[arg(long, value_name = "ID", required_unless_present = "items")]
    user: Option<String>,
    /// For somebody who likes these, ids or titles with commas between, as in "Heat (1995), Toy Story"
    #[arg(long, value_name = "LIST", conflicts_with = "user")]
    items: Option<String>,
    /// How many items
    #[arg(long, value_name = "N", default_value_t = 10)]
    count: usize,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The items of the highest scores, without those that are liked already.
    pub fn run(self) -> Result<()> {
        require(self.count > 0, "--count is 0, but must be at least 1")?;
        let mut model = self.model.open()?;
        let ratings = self.ratings.open(&self.model, &model)?;
        let mut liked = self.liked(&ratings)?;
        liked.sort();
        let x = dense(&[&liked], ratings.items.len());
        let scores = model.view("recommend", &[(ITEMS, &x)], 0)?.remove(0);
        let found = ranked(&scores, &liked, self.count);
        let item = |number: u32| &ratings.items[number as usize];

        if self.json {
            let liked: Vec<&str> = liked.iter().map(|&number| item(number).title.as_str()).collect();
            let row = |&number: &u32| {
                serde_json::json!({
                    "id": item(number).id, "title": item(number).title, "score": scores[number as usize],
                })
            };
            super::print_json(&serde_json::json!({
                "dataset": ratings.name, "user": self.user, "liked": liked,
                "recommended": found.iter().map(row).collect::<Vec<_>>(),
            }));
            return Ok(());
        }
        let who = self.user.map_or("somebody".to_string(), |id| format!("user {}", plain(&id)));
        let first: Vec<&str> = liked.iter().take(3).map(|&number| item(number).title.as_str()).collect();
        let more = if liked.len() > first.len() { ", ..." } else { "" };
        super::print(&format!("for {who}, who likes {} items: {}{more}\n", liked.len(), first.join("; ")));
        let heads = [("score", Column::Right), ("id", Column::Right), ("title", Column::Left)];
        let row = |&number: &u32| {
            vec![format!("{:.3}", scores[number as usize]), item(number).id.clone(), item(number).title.clone()]
        };
        super::print(&table(&heads, &found.iter().map(row).collect::<Vec<_>>()));
        Ok(())
    }

    /// The numbers of the items that are liked. Errors: a user or an item that is not there, with the nearest.
    fn liked(&self, ratings: &Ratings) -> Result<Vec<u32>> {
        if let Some(list) = &self.items {
            return listed(&ratings.items, list).map_err(|problem| Error::Usage(format!("--items: {problem}")));
        }
        let id = self.user.as_deref().unwrap_or_default();
        ratings.user(id).ok_or_else(|| {
            let hint = nearest(id, ratings.users()).map_or(String::new(), |hint| format!("; did you mean {hint}?"));
            let name = &ratings.name;
            Error::Usage(format!("--user: no user \"{}\" of {name} liked 5 items or more{hint}", plain(id)))
        })
    }
}
