//! `elbo rank`

use elbo::data::ratings::HeldOut;
use elbo::data::table::ITEMS;
use elbo::error::Result;
use elbo::mean::Mean;
use elbo::ranking::ease::{Ease, LAMBDAS};
use elbo::ranking::metrics;
use elbo::ranking::{dense, judge, popularity};

use super::progress;
use super::ratings::RatingsArgs;
use super::shared::ModelArgs;
use super::table::{Column, table};

#[derive(clap::Args)]
#[command(after_help = "\
A held-out user shows four fifths of their items, and every ranking of the other items is judged by where the hidden
fifth stands in it (Liang et al. 2018, arXiv 1802.05814): Recall@R is the share of the hidden items among the first R,
of as many as could be there; NDCG@100 counts early ranks more. In brackets is the standard error over users.

Beside the model stand two rankings that need no gradient: popularity, how many training users liked an item, and EASE
(Steck 2019, arXiv 1905.03375), a linear model in closed form, with the lambda that ranks best for validation users.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ratings: RatingsArgs,
    /// The held-out users: test, or validation, by which settings are chosen
    #[arg(long, value_name = "NAME", default_value = "test")]
    users: Users,
    /// Leave EASE out, whose matrix of users or items, the fewer of them, takes long where both are many
    #[arg(long)]
    no_ease: bool,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Users {
    Test,
    Validation,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let mut model = self.model.open()?;
        let ratings = self.ratings.open(&self.model, &model)?;
        let (users, name): (&[HeldOut], _) = match self.users {
            Users::Test => (&ratings.test, "test"),
            Users::Validation => (&ratings.validation, "validation"),
        };
        let items = ratings.items.len();
        let mut rows = Vec::new();

        let progress = progress::counting("ranking ", "users", users.len());
        let of_model = |shown: &[&[u32]]| Ok(model.view("recommend", &[(ITEMS, &dense(shown, items))], 0)?.remove(0));
        let judged = judge(users, of_model, |done| progress.set_position(done as u64))?;
        rows.push(("model".to_string(), judged.means()));
        progress.finish_and_clear();

        let mut lambda = None;
        if !self.no_ease {
            let progress = progress::counting("EASE ", "lambdas", LAMBDAS.len());
            let (ease, chosen) = Ease::chosen(&ratings, |tried| progress.set_position(tried as u64))?;
            let judged = judge(users, |shown| Ok(ease.scores(shown)), |_| ())?;
            rows.push((format!("EASE, lambda {chosen}"), judged.means()));
            lambda = Some(chosen);
            progress.finish_and_clear();
        }
        let counts = popularity(&ratings);
        let judged = judge(users, |shown| Ok(counts.repeat(shown.len())), |_| ())?;
        rows.push(("popularity".into(), judged.means()));

        if self.json {
            let ranking = |(name, means): &(String, [Mean; 3])| {
                let mut object = serde_json::json!({ "ranking": name });
                metrics::NAMES.iter().zip(means).for_each(|(name, mean)| object[*name] = serde_json::json!(mean));
                object
            };
            super::print_json(&serde_json::json!({
                "dataset": ratings.name, "users": users.len(), "split": name, "items": items, "ease_lambda": lambda,
                "rankings": rows.iter().map(ranking).collect::<Vec<_>>(),
            }));
            return Ok(());
        }
        super::print(&format!(
            "{} {name} users of {}, a fifth of each one's items hidden among {items}: mean (standard error)\n",
            users.len(),
            ratings.name
        ));
        let heads: Vec<(&str, Column)> =
            std::iter::once(("ranking", Column::Left)).chain(metrics::NAMES.map(|name| (name, Column::Left))).collect();
        let row = |(name, means): &(String, [Mean; 3])| {
            let cells = means.map(|Mean { mean, standard_error }| format!("{mean:.4} ({standard_error:.4})"));
            std::iter::once(name.clone()).chain(cells).collect()
        };
        super::print(&table(&heads, &rows.iter().map(row).collect::<Vec<_>>()));
        Ok(())
    }
}
