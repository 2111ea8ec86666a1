use super::*;

/// The listing of a folder with these files, all empty, and what is said about it.
fn listed(files: &[&str], selection: Selection) -> (Result<Listing>, String) {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let mut said = String::new();
    let listing = Listing::of(folder.path(), &PICTURES, selection, &mut |notice| said += &format!("{notice}\n"));
    (listing, said)
}

/// Names of the training and test pictures, and of the classes.
fn parts(files: &[&str], selection: Selection) -> ([Vec<String>; 2], Vec<String>) {
    let listing = listed(files, selection).0.unwrap();
    let names = |split: &Vec<(PathBuf, u8)>| split.iter().map(|(path, _)| path.to_string_lossy().into()).collect();
    (listing.splits.each_ref().map(names), listing.classes)
}

#[test]
fn the_folders_of_the_splits_have_many_names() {
    for (train, test) in [
        ("train", "test"),
        ("train", "val"),
        ("Train", "Test"),
        ("training", "testing"),
        ("TRAIN", "Validation"),
        ("train", "valid"),
    ] {
        let files = [format!("{train}/cat/1.png"), format!("{train}/dog/2.png"), format!("{test}/cat/3.png")];
        let (splits, classes) = parts(&files.each_ref().map(String::as_str), Selection::ByName);
        assert_eq!(splits, [vec![files[0].clone(), files[1].clone()], vec![files[2].clone()]]);
        assert_eq!(classes, ["cat", "dog"], "{train} {test}");
    }
    // The validation pictures are left out where there is a test folder, and are said to be the test pictures where
    // not.
    let all = ["train/1.png", "val/2.png", "test/3.png"];
    let (listing, said) = listed(&all, Selection::ByName);
    assert_eq!(listing.unwrap().splits.map(|split| split.len()), [1, 1]);
    assert!(said.contains("beside train and test, val of"), "{said}");
    let (_, said) = listed(&all[..2], Selection::ByName);
    assert!(said.contains("the pictures of val are the test pictures"), "{said}");
}

#[test]
fn folders_that_leave_the_split_open_are_refused_with_their_names() {
    for (files, words) in [
        (&["train/1.png", "Train/2.png", "test/3.png"][..], &["Train, train", "which of them holds the training"][..]),
        (&["train/1.png", "val/2.png", "valid/3.png"], &["val, valid", "validation pictures"]),
        (&["test/1.png", "val/2.png"], &["a folder test but none called train", "It has test, val"]),
        (&["cat/1.png", "dog/2.png", "val/3.png"], &["a folder val but none called train", "cat, dog, val"]),
    ] {
        let message = listed(files, Selection::ByName).0.err().unwrap().to_string();
        for word in words {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }
}

#[test]
fn a_training_folder_alone_is_parted_by_a_selection() {
    let files = ["train/cat/1.png", "train/dog/2.png", "labels/train.txt"];
    let (splits, classes) = parts(&files, Selection::ByName);
    assert_eq!((splits.map(|split| split.len()), classes), ([1, 1], vec!["cat".into(), "dog".into()]));
    // With pictures in another folder it is a class like that.
    assert_eq!(parts(&["train/1.png", "bus/2.png"], Selection::ByName).1, ["bus", "train"]);
}

#[test]
fn for_use_all_pictures_are_taken_where_there_is_no_split() {
    let (splits, classes) = parts(&["test/cat/1.png", "test/dog/2.png"], Selection::All);
    assert_eq!((splits.map(|split| split.len()), classes), ([0, 2], vec!["cat".into(), "dog".into()]));
    assert_eq!(parts(&["1.png"], Selection::All).0.map(|split| split.len()), [0, 1]);
    assert_eq!(parts(&["train/1.png", "val/2.png"], Selection::All).0.map(|split| split.len()), [1, 1]);
}

#[test]
fn older_runs_find_what_they_found() {
    let (splits, classes) = parts(&["train/a/1.png", "train/a/2.png", "val/a/3.png"], Selection::ByOrder);
    assert_eq!(
        (splits, classes),
        (
            [vec!["train/a/2.png".into(), "val/a/3.png".into()], vec!["train/a/1.png".into()]],
            vec!["train".into(), "val".into()]
        )
    );
}
