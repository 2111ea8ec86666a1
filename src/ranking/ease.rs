//! EASE (Steck 2019, arXiv 1905.03375): a linear model from a user's items to the score of each item, in closed form.
//!
//! Of the items x (users U, items I) it minimises |X - X W|^2 + lambda |W|^2 over W (I,I) whose diagonal is 0, so that
//! no item can speak for itself. With P = (X^T X + lambda 1)^-1 and a multiplier for each place of the diagonal the
//! minimum is
//!
//!   W = 1 - P diag(P)^-1,   so the scores of a user x are   x W = x - (x P) / diag(P)
//!
//! Only x P and diag(P) are wanted, so where there are fewer users than items the inverse is that of a matrix of users
//! (Woodbury's identity, K = X X^T + lambda 1):
//!
//!   P = (1 - X^T K^-1 X) / lambda

use super::inverse::invert;
use super::{dense, judge};
use crate::backend::room;
use crate::data::ratings::Ratings;
use crate::error::{Error, Result};
use crate::units;

/// The lambdas that [`Ease::chosen`] tries.
pub const LAMBDAS: [f64; 8] = [10.0, 30.0, 100.0, 200.0, 300.0, 500.0, 1000.0, 3000.0];

/// The model.
pub struct Ease {
    lambda: f64,
    side: Side,
    /// (I): diag(P)
    diagonal: Vec<f64>,
    items: usize,
}

/// Which side the inverse is of.
enum Side {
    /// P (I,I)
    Items(Vec<f64>),
    /// K^-1 (U,U), and X row by row.
    Users(Vec<f64>, Vec<Vec<u32>>),
}

impl Ease {
    /// The model of the training users. Errors: no memory for the matrix; a lambda that is not positive.
    pub fn fit(ratings: &Ratings, lambda: f64) -> Result<Ease> {
        let (users, items) = (ratings.train.len(), ratings.items.len());
        let n = users.min(items);
        let bytes = n.saturating_mul(n).saturating_mul(2 * size_of::<f64>());
        let what = format!("{} for the matrices of EASE, {n} x {n}", units::memory(bytes));
        room::require(bytes, &what, "leave it out by --no-ease")?;
        // The rows of X, or those of X^T: their inner products are the matrix.
        let rows: Vec<Vec<u32>> = match users < items {
            true => ratings.train.iter().map(|user| user.items.clone()).collect(),
            false => by_item(ratings),
        };
        let columns = users.max(items);
        let mut matrix = products(&rows, columns, lambda);
        let singular = || Error::Usage(format!("EASE has no solution for lambda {lambda}: it must be positive"));
        invert(&mut matrix, n).ok_or_else(singular)?;
        let ease = |side, diagonal| Ease { lambda, side, diagonal, items };
        if users >= items {
            let diagonal = (0..n).map(|item| matrix[item * n + item]).collect();
            return Ok(ease(Side::Items(matrix), diagonal));
        }
        // P_jj = (1 - sum over pairs of users who like j of K^-1) / lambda.
        let diagonal = |users: &Vec<u32>| {
            let pairs = users.iter().flat_map(|&u| users.iter().map(move |&v| (u as usize, v as usize)));
            (1.0 - pairs.map(|(u, v)| matrix[u * n + v]).sum::<f64>()) / lambda
        };
        let diagonal = by_item(ratings).iter().map(diagonal).collect();
        Ok(ease(Side::Users(matrix, rows), diagonal))
    }

    /// The lambda of [`LAMBDAS`] whose model has the highest NDCG@100 on the validation users, and that model.
    /// `progress` hears how many are tried. Errors: those of [`Ease::fit`].
    pub fn chosen(ratings: &Ratings, mut progress: impl FnMut(usize)) -> Result<(Ease, f64)> {
        let mut best: Option<(f64, Ease)> = None;
        for (tried, lambda) in LAMBDAS.into_iter().enumerate() {
            let ease = Ease::fit(ratings, lambda)?;
            let [ndcg, ..] = judge(&ratings.validation, |shown| Ok(ease.scores(shown)), |_| ())?.means();
            if best.as_ref().is_none_or(|(most, _)| ndcg.mean > *most) {
                best = Some((ndcg.mean, ease));
            }
            progress(tried + 1);
        }
        let (_, ease) = best.expect("there are lambdas");
        let lambda = ease.lambda;
        Ok((ease, lambda))
    }

    /// The scores of users who show these items, (users, items).
    pub fn scores(&self, shown: &[&[u32]]) -> Vec<f32> {
        let mut scores = dense(shown, self.items);
        for (row, shown) in scores.chunks_mut(self.items).zip(shown) {
            let xp = self.product(shown);
            row.iter_mut().zip(xp.iter().zip(&self.diagonal)).for_each(|(x, (xp, p))| *x -= (xp / p) as f32);
        }
        scores
    }

    /// x P, (I), of a user with these items.
    fn product(&self, shown: &[u32]) -> Vec<f64> {
        let mut xp = vec![0.0; self.items];
        match &self.side {
            Side::Items(p) => {
                for &item in shown {
                    let row = &p[item as usize * self.items..][..self.items];
                    xp.iter_mut().zip(row).for_each(|(xp, p)| *xp += p);
                }
            }
            Side::Users(inverse, rows) => {
                let common = rows.iter().map(|items| in_common(items, shown) as f64).collect::<Vec<f64>>();
                for (items, inverse) in rows.iter().zip(inverse.chunks(rows.len())) {
                    let weight: f64 = inverse.iter().zip(&common).map(|(a, b)| a * b).sum();
                    items.iter().for_each(|&item| xp[item as usize] -= weight);
                }
                shown.iter().for_each(|&item| xp[item as usize] += 1.0);
                xp.iter_mut().for_each(|xp| *xp /= self.lambda);
            }
        }
        xp
    }
}

/// The training users who like each item, ascending: the rows of X^T.
fn by_item(ratings: &Ratings) -> Vec<Vec<u32>> {
    let mut users = vec![Vec::new(); ratings.items.len()];
    for (number, user) in ratings.train.iter().enumerate() {
        user.items.iter().for_each(|&item| users[item as usize].push(number as u32));
    }
    users
}

/// The inner products of rows of ones, (n,n), with lambda added to the diagonal. `columns` is their length.
fn products(rows: &[Vec<u32>], columns: usize, lambda: f64) -> Vec<f64> {
    let n = rows.len();
    let mut places = vec![Vec::new(); columns];
    for (row, columns) in rows.iter().enumerate() {
        columns.iter().for_each(|&column| places[column as usize].push(row));
    }
    let mut matrix = vec![0.0; n * n];
    for places in places {
        for &i in &places {
            places.iter().for_each(|&j| matrix[i * n + j] += 1.0);
        }
    }
    (0..n).for_each(|i| matrix[i * n + i] += lambda);
    matrix
}

/// How many numbers two ascending lists have in common.
fn in_common(a: &[u32], b: &[u32]) -> usize {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    short.iter().filter(|item| long.binary_search(item).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ratings::{Item, User};

    /// Users and items as they come, each user with some of the items.
    fn ratings(users: usize, items: usize) -> Ratings {
        let likes = |user: usize, item: usize| (user * 7 + item * item * 3 + item) % 5 < 2;
        let train = (0..users).map(|user| User {
            id: user.to_string(),
            items: (0..items).filter(|&item| likes(user, item)).map(|item| item as u32).collect(),
        });
        let train = train.collect();
        let items = (0..items).map(|item| Item { id: item.to_string(), title: item.to_string() }).collect();
        Ratings { name: "drawn".into(), items, train, validation: Vec::new(), test: Vec::new() }
    }

    /// The minimum by its own condition: off the diagonal the gradient of the loss is 0, on it W is.
    fn check(users: usize, items: usize) {
        let (ratings, lambda) = (ratings(users, items), 2.5);
        let ease = Ease::fit(&ratings, lambda).unwrap();
        let w: Vec<Vec<f64>> =
            (0..items as u32).map(|item| ease.scores(&[&[item]]).into_iter().map(f64::from).collect()).collect();
        let rows: Vec<Vec<f64>> = ratings
            .train
            .iter()
            .map(|user| (0..items as u32).map(|item| f64::from(user.items.contains(&item) as u8)).collect())
            .collect();
        for i in 0..items {
            assert!(w[i][i].abs() < 1e-5, "{i}: {}", w[i][i]);
            for j in (0..items).filter(|&j| j != i) {
                let residual = |x: &Vec<f64>| x[j] - (0..items).map(|k| x[k] * w[k][j]).sum::<f64>();
                let slope = rows.iter().map(|x| -x[i] * residual(x)).sum::<f64>() + lambda * w[i][j];
                assert!(slope.abs() < 1e-4, "{users} users, {i}, {j}: {slope}");
            }
        }
    }

    #[test]
    fn the_solution_is_where_the_gradient_vanishes() {
        check(30, 11);
        check(7, 13);
    }

    #[test]
    fn both_sides_give_the_same_scores() {
        let ratings = ratings(12, 12);
        let of_items = Ease::fit(&ratings, 3.0).unwrap();
        let rows: Vec<Vec<u32>> = ratings.train.iter().map(|user| user.items.clone()).collect();
        let mut k = products(&rows, 12, 3.0);
        invert(&mut k, 12).unwrap();
        let (side, diagonal) = (Side::Users(k, rows), of_items.diagonal.clone());
        let of_users = Ease { side, diagonal, lambda: 3.0, items: 12 };
        for shown in [vec![0, 3], vec![5], vec![]] {
            let [a, b] = [&of_items, &of_users].map(|ease| ease.scores(&[&shown]));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
        }
    }

    #[test]
    fn lambda_must_be_positive() {
        assert!(Ease::fit(&ratings(3, 5), -50.0).err().unwrap().to_string().contains("lambda -50"));
    }
}
