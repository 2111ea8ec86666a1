use std::fs;

use super::titles::listed;
use super::*;
use crate::data::progress::tests::notices;

/// A folder with `ratings.csv` of that text.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ratings.csv"), text).unwrap();
    folder
}

fn open(text: &str) -> Result<Ratings> {
    Ratings::open(folder(text).path(), Protocol::default(), &mut |_| ())
}

/// Twenty users of whom user u liked items u to u + 9 of 30, and disliked item 99.
fn twenty(seed: u64) -> Ratings {
    let rows = (0..20).flat_map(|user| {
        let liked = (user..user + 10).map(move |item| format!("{user},i{item},4.0,0\r\n"));
        liked.chain([format!("{user},99,3.5,0\r\n")])
    });
    let text = format!("userId,movieId,rating,timestamp\r\n{}", rows.collect::<String>());
    Ratings::open(folder(&text).path(), Protocol { split_seed: seed, ..Protocol::default() }, &mut |_| ()).unwrap()
}

#[test]
fn users_are_parted_and_items_are_those_of_training_users() {
    let ratings = twenty(1);
    let [train, validation, test] = [ratings.train.len(), ratings.validation.len(), ratings.test.len()];
    assert_eq!([train, validation, test], [12, 4, 4]);
    let users: std::collections::BTreeSet<&str> = ratings.users().collect();
    assert_eq!(users.len(), 20);
    // Nobody liked item 99, and every item of the vocabulary has a training user.
    for item in 0..ratings.items.len() as u32 {
        assert!(ratings.train.iter().any(|user| user.items.contains(&item)), "{item}");
    }
    assert!(ratings.items.iter().all(|item| item.id != "99" && item.title == item.id));
    // And it is called what the file calls it, whatever else nobody but held-out users liked.
    for user in ratings.users() {
        let first: usize = user.parse().unwrap();
        let known = |item: &String| ratings.items.iter().any(|known| known.id == *item);
        let expected: Vec<String> = (first..first + 10).map(|item| format!("i{item}")).filter(known).collect();
        let ids: Vec<&str> =
            ratings.user(user).unwrap().iter().map(|&item| &ratings.items[item as usize].id[..]).collect();
        assert_eq!(ids, expected, "user {user}");
    }
    assert!((0..29).any(|item| ratings.items.iter().all(|known| known.id != format!("i{item}"))), "all are known");
    for user in ratings.validation.iter().chain(&ratings.test) {
        let known = user.items();
        assert_eq!(user.hidden.len(), known.len() / 5, "{user:?}");
        assert!(known.is_sorted() && known.windows(2).all(|two| two[0] != two[1]), "{user:?}");
        assert_eq!(ratings.user(&user.id), Some(known));
    }
    assert_eq!(ratings.user("21"), None);
    // Its name is its folder.
    assert_eq!(Ratings { name: ratings.name.clone(), ..twenty(1) }, ratings);
    let tests = |ratings: &Ratings| ratings.test.iter().map(|user| user.id.clone()).collect::<Vec<_>>();
    assert_ne!(tests(&twenty(2)), tests(&ratings));
}

/// A row of another place leaves every user where they were.
#[test]
fn the_split_does_not_follow_the_order_of_the_file() {
    let rows: Vec<String> = (0..20).flat_map(|u| (0..6).map(move |i| format!("{u},{}\n", u % 3 + i))).collect();
    let ratings = |rows: Vec<String>| open(&format!("user,item\n{}", rows.concat())).unwrap();
    let tests = |ratings: Ratings| {
        let mut ids: Vec<String> = ratings.test.into_iter().map(|user| user.id).collect();
        ids.sort();
        ids
    };
    let turned = rows.iter().rev().cloned().collect();
    assert_eq!(tests(ratings(rows)), tests(ratings(turned)));
}

#[test]
fn pairs_repetitions_and_compressed_files_are_read() {
    let rows: String = (0..10).flat_map(|u| (0..7).map(move |i| format!("u{u},{}\n", i % 6))).collect();
    let text = format!("user,item\n{rows}");
    let ratings = open(&text).unwrap();
    assert!(ratings.train.iter().all(|user| user.items == [0, 1, 2, 3, 4, 5]), "{:?}", ratings.train);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plays.csv.gz");
    fs::write(&file, encoder.finish().unwrap()).unwrap();
    let mut said = String::new();
    let packed = Ratings::open(&file, Protocol::default(), &mut notices(&mut said)).unwrap();
    assert_eq!((packed.name.as_str(), &packed.test), ("ratings:plays", &ratings.test));
    assert!(said.contains("6 training users with 6 items, 2 validation and 2 test users"), "{said}");
}

#[test]
fn what_is_wrong_with_a_file_is_named_with_line_and_column() {
    for (text, words) in [
        ("", &["no column of users"][..]),
        ("userId,rating\n1,4\n", &["ratings.csv: has no column of items (movieId, ", "\"userId,rating\""]),
        ("movieId,rating\n1,4\n", &["has no column of users (userId, user_id, user)"]),
        ("userId,movieId,rating\n1,2,4\n1,2,good\n", &["line 3, column rating: \"good\" is no number"]),
        ("userId,movieId,rating\n1,2,NaN\n", &["line 2, column rating: \"NaN\" is no number"]),
        ("userId,movieId,rating\n1,2,\n", &["line 2, column rating: is empty"]),
        ("userId,movieId,rating\n1,,5\n", &["line 2, column movieId: is empty"]),
        ("userId,movieId,rating\n1,2\n", &["line 2: has 2 columns, but the first line 3"]),
        ("userId,movieId,rating\n1,2,3.5\n", &["only 0 users have 5 liked items", "ratings above 3.5"]),
    ] {
        let message = open(text).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{text:?}: {message}");
    }
    let empty = tempfile::tempdir().unwrap();
    let message = Ratings::open(empty.path(), Protocol::default(), &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("holds no ratings.csv"), "{message}");
    let missing = empty.path().join("none.csv");
    assert!(Ratings::open(&missing, Protocol::default(), &mut |_| ()).is_err());
}

#[test]
fn titles_lie_beside_the_ratings() {
    let rows: String = (0..10).flat_map(|u| (0..5).map(move |i| format!("{u},{i},5\n"))).collect();
    let folder = folder(&format!("userId,movieId,rating\n{rows}"));
    let movies = folder.path().join("movies.csv");
    fs::write(&movies, "movieId,title,genres\n0,\"President, The (1995)\",Drama\n3,Heat (1995),Crime\n").unwrap();
    let open = || Ratings::open(folder.path(), Protocol::default(), &mut |_| ());
    let items = open().unwrap().items;
    let titles: Vec<&str> = items.iter().map(|item| item.title.as_str()).collect();
    assert_eq!(titles, ["President, The (1995)", "1", "2", "Heat (1995)", "4"]);

    assert_eq!(listed(&items, "President, The (1995), heat,4,4").unwrap(), [0, 3, 4]);
    assert_eq!(listed(&items, "3").unwrap(), [3]);
    let problem = listed(&items, "3,heet (1995)").unwrap_err();
    assert!(problem.contains("\"heet (1995)\"; did you mean \"heat (1995)\"?"), "{problem}");
    fs::write(&movies, "id\n0\n").unwrap();
    assert!(open().unwrap_err().to_string().contains("movies.csv: has no column movieId"));
}
