//! Recommendation as its user meets it: train on ratings, go on, judge the ranking, ask for items; and what is refused.

use std::fs;

use crate::common::process::{fails_with as fails, succeeds_with as succeeds};
use serde_json::Value;

/// A folder with ratings of 100 users of two tastes, who like 10 of the 20 items of theirs, and titles.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    let row = |user: usize, k: usize| {
        let item = 20 * (user % 2) + (user / 2 * 7 + k * 3) % 20;
        format!("{user},{item},{}\n", if k == 10 { 2.0 } else { 4.5 })
    };
    let rows: String = (0..100).flat_map(|user| (0..11).map(move |k| row(user, k))).collect();
    fs::create_dir(desk.path().join("data")).unwrap();
    fs::write(desk.path().join("data/ratings.csv"), format!("userId,movieId,rating\n{rows}")).unwrap();
    let titles: String = (0..40).map(|item| format!("{item},\"Film, Number {item} (1999)\"\n")).collect();
    fs::write(desk.path().join("data/movies.csv"), format!("movieId,title\n{titles}")).unwrap();
    desk
}

const TRAIN: &str = "train ml-small --data data --device cpu --hidden 16 --latent 4 --batch-size 10 --lr 1e-2";

#[test]
fn a_model_trains_goes_on_ranks_and_recommends() {
    let desk = desk();
    let here = desk.path();
    succeeds(here, &format!("{TRAIN} --epochs 40 --out whole"), &[]);
    succeeds(here, &format!("{TRAIN} --epochs 20 --out parts"), &[]);
    succeeds(here, "train --resume parts --epochs 40", &[]);
    for file in ["model.safetensors", "state.safetensors"] {
        assert!(fs::read(here.join("whole").join(file)).unwrap() == fs::read(here.join("parts").join(file)).unwrap());
    }
    let evaluated = succeeds(here, "eval whole --device cpu", &[]);
    assert!(evaluated.contains("20 test users of ratings:data, nats a user"), "{evaluated}");

    let ranked: Value = serde_json::from_str(&succeeds(here, "rank whole --device cpu --json", &[])).unwrap();
    let mean = |ranking: usize, metric: &str| ranked["rankings"][ranking][metric]["mean"].as_f64().unwrap();
    assert_eq!(
        (&ranked["users"], &ranked["items"], &ranked["rankings"][0]["ranking"]),
        (&20.into(), &40.into(), &"model".into())
    );
    let [model, ease, popularity] = [0, 1, 2].map(|ranking| mean(ranking, "NDCG@100"));
    // Two items of ten are hidden among the twelve that somebody of this taste may like.
    assert!(model > popularity + 0.05 && ease > popularity + 0.05, "{model} {ease} {popularity}");
    let table = succeeds(here, "rank whole --device cpu --no-ease --users validation", &[]);
    assert!(
        table.contains("20 validation users") && table.contains("popularity") && !table.contains("EASE"),
        "{table}"
    );

    let liked = ["--items", "Film, Number 21 (1999), film, number 30,33", "--count", "5", "--json"];
    let found: Value = serde_json::from_str(&succeeds(here, "recommend whole --device cpu", &liked)).unwrap();
    assert_eq!(found["liked"].as_array().unwrap().len(), 3);
    let ids = found["recommended"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap());
    let ids: Vec<usize> = ids.map(|id| id.parse().unwrap()).collect();
    assert!(ids.len() == 5 && ids.iter().all(|id| *id >= 20 && ![21, 30, 33].contains(id)), "{ids:?}");
    let table = succeeds(here, "recommend whole --device cpu --user 4 --count 3", &[]);
    assert!(table.contains("for user 4, who likes 10 items") && table.contains("Film, Number "), "{table}");

    fails(here, "recommend whole --device cpu --user nobody", &[], &["--user", "no user \"nobody\""]);
    fails(here, "recommend whole --device cpu --items", &["Film, Number 99"], &["--items", "did you mean"]);
    fails(here, "rank whole --device cpu --split-seed 2", &[], &["ratings:data"]);
    fails(here, "sample whole --device cpu", &[], &["recommendation", "cannot decode"]);
    // The ratings that it was trained on, and no others.
    let path = here.join("data/ratings.csv");
    let text = fs::read_to_string(&path).unwrap().replacen("0,0,4.5", "0,1,4.5", 1);
    fs::write(path, text).unwrap();
    fails(here, "rank whole --device cpu", &[], &["ratings:data"]);
}

#[test]
fn the_articles_form_trains_too() {
    let desk = desk();
    let train = TRAIN.replace("ml-small", "ml-small-bernoulli");
    let table = succeeds(desk.path(), &format!("{train} --epochs 30 --out run"), &[]);
    let losses = table.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap());
    let losses: Vec<f64> = losses.collect();
    assert!(losses[29] < losses[0], "{losses:?}");
    succeeds(desk.path(), "rank run --device cpu --no-ease", &[]);
}

#[test]
fn what_cannot_be_trained_on_is_refused_before_the_first_step() {
    let desk = desk();
    let here = desk.path();
    fails(here, "train ml-small --device cpu", &[], &["--dataset ratings needs its", "--data"]);
    fails(here, "train ml-small --device cpu --data nowhere.csv", &[], &["nowhere.csv"]);
    fails(
        here,
        "train mnist-mlp --device cpu --dataset ratings --data data",
        &[],
        &["needs pictures or vectors", "items"],
    );
    fails(here, "train ml-small --device cpu --dataset digits", &[], &["users' items", "pictures"]);
    fails(here, "train ml-small --device cpu --data data --liked-above 5", &[], &["only 0 users have 5 liked items"]);
    fails(here, "train ml-small --device cpu --data data --liked-above nan", &[], &["liked_above"]);
    fails(here, "train mnist-mlp --device cpu --dataset digits --split-seed 2", &[], &["--split-seed", "ratings"]);
    fails(here, "train ml-small --device cpu --data data --set dropout=1.0", &[], &["dropout is 1", "below 1"]);
    fs::write(here.join("bad.csv"), "userId,rating\n1,5\n").unwrap();
    fails(here, "train ml-small --device cpu --data bad.csv", &[], &["bad.csv", "no column of items"]);
    fs::write(here.join("bad.csv"), "userId,movieId,rating\n1,5,4\n1,7,good\n").unwrap();
    fails(here, "train ml-small --device cpu --data bad.csv", &[], &["bad.csv", "line 3, column rating", "no number"]);
    assert!(!here.join("runs/ml-small/model.safetensors").exists());
}
