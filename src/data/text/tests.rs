use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::vocabulary::EOS;
use super::*;
use crate::data::Fingerprint;
use crate::data::progress::tests::notices;
use crate::data::table::{Kind, TEXT, Values};

fn opened(
    place: &Path,
    reading: &Reading,
    split: Split,
    selection: Selection,
) -> (std::result::Result<Dataset, String>, String) {
    let mut said = String::new();
    let data = open(place, reading, split, selection, &mut notices(&mut said));
    (data.map_err(|e| e.to_string()), said)
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
    folder
}

fn sentences(table: &Table, vocabulary: &Vocabulary) -> Vec<String> {
    let Values::Ragged(ragged) = &table.column(TEXT).unwrap().values else { panic!("{table:?}") };
    (0..ragged.count()).map(|n| vocabulary.decode(ragged.row(n))).collect()
}

const TRAIN: &str = "One two three four.\nTwo!\n\nThree two.\none TWO two\nfive five five five five five five\n";

#[test]
fn a_folder_has_both_files_and_rows_lie_by_length() {
    let folder = folder(&[("train.txt", TRAIN), ("valid.txt", "two")]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"two two two six\ntwo\n").unwrap();
    fs::write(folder.path().join("test.txt.gz"), packed.finish().unwrap()).unwrap();
    let reading = Reading { longest: 7, ..Reading::default() };
    let (data, said) = opened(folder.path(), &reading, Split::default(), Selection::ByName);
    let data = data.unwrap();
    let vocabulary = data.vocabulary.clone().unwrap();
    // Without the sentence that is left out; `four` and `!` are seen once.
    assert_eq!(vocabulary.words(), ["two", ".", "one", "three"]);
    assert_eq!(
        sentences(&data.train, &vocabulary),
        ["two <unk>", "three two .", "one two two", "one two three <unk> ."]
    );
    assert_eq!(sentences(&data.test, &vocabulary), ["two", "two two two <unk>"]);
    let Values::Ragged(ragged) = &data.test.columns[0].values else { panic!("{data:?}") };
    assert_eq!((ragged.row(0), ragged.row(1)), (&[4, EOS][..], &[4, 4, 4, UNK, EOS][..]));
    assert_eq!(data.columns().kind(TEXT).unwrap(), Kind::Tokens { vocabulary: 8, longest: 7 });
    assert_eq!((data.examples(), data.example()), ("sentences", "sentence"));
    let name = folder.path().file_name().unwrap().to_string_lossy();
    assert_eq!(data.name, format!("text:{name}"));
    for words in [
        "1 empty lines are left out",
        "1 sentences of more than 7 tokens, the end counted (--longest), are left out",
        "a vocabulary of 6 (4 words, seen 2 times or more; <unk> and the end)",
        "4.25 tokens a training and 3.50 a test sentence",
        "14.3 % of the test tokens are unknown",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    // Without test.txt, valid.txt is tested on, and it is told.
    fs::remove_file(folder.path().join("test.txt.gz")).unwrap();
    let (data, said) = opened(folder.path(), &reading, Split::default(), Selection::ByName);
    assert_eq!(data.unwrap().test.count, 1);
    assert!(said.contains("has no test.txt") && said.contains("valid.txt is tested on"), "{said}");
}

#[test]
fn one_file_is_parted_and_its_characters_can_be_tokens() {
    let text: String = (0..10).map(|n| format!("{}\n", "ab c".repeat(1 + n))).collect();
    let folder = folder(&[("book.txt", &text)]);
    let place = folder.path().join("book.txt");
    let reading = Reading { tokens: Tokenisation::Characters, min_count: 1, ..Reading::default() };
    let split = "share:0.3".parse().unwrap();
    let (data, said) = opened(&place, &reading, split, Selection::ByName);
    let data = data.unwrap();
    assert_eq!((data.name.as_str(), data.train.count, data.test.count), ("text:book", 7, 3));
    assert!(said.contains("3 of 10 sentences, drawn at random") && said.contains("4 characters"), "{said}");
    let vocabulary = data.vocabulary.as_ref().unwrap();
    assert_eq!(vocabulary.words(), [" ", "a", "b", "c"]);
    let lengths: Vec<usize> = sentences(&data.train, vocabulary).iter().map(String::len).collect();
    assert!(lengths.is_sorted() && lengths.iter().all(|length| length % 4 == 0), "{lengths:?}");
    assert_eq!(opened(&place, &reading, split, Selection::ByName).0.as_ref(), Ok(&data));
    // A limit leaves rows by their length.
    let limited = data.clone().limited(Selection::ByName, [Some(4), None]);
    let lengths: Vec<usize> = sentences(&limited.train, vocabulary).iter().map(String::len).collect();
    assert!(limited.train.count == 4 && lengths.is_sorted(), "{lengths:?}");

    // A model reads with its own vocabulary, and what a token is is its own too.
    let model = Vocabulary::of(["b b ' c"], Tokenisation::Words, 1);
    let reading = Reading { vocabulary: Some(model.clone()), longest: 30, ..reading };
    let (read, said) = opened(&place, &reading, split, Selection::All);
    let read = read.unwrap();
    assert_eq!((read.train.count, read.test.count, read.vocabulary.as_ref()), (0, 10, Some(&model)));
    assert!(said.contains("all its sentences are taken") && said.contains("3 words, the model's"), "{said}");
    assert_eq!(sentences(&read.test, &model)[0], "<unk> c");
}

#[test]
fn other_words_of_the_same_ids_are_other_data() {
    let of = |words: &str| {
        let reading = Reading { min_count: 1, ..Reading::default() };
        let folder = folder(&[("t.txt", words)]);
        let (data, _) = opened(&folder.path().join("t.txt"), &reading, Split::default(), Selection::All);
        Fingerprint::of(&data.unwrap())
    };
    assert_eq!(of("the cat\n"), of("The  cat"));
    assert_ne!(of("the cat\n"), of("the dog\n"));
}

#[test]
fn what_is_no_text_is_refused_in_a_line() {
    let folder = folder(&[
        ("empty.txt", ""),
        ("blank.txt", "\n\n \n"),
        ("one.txt", "one sentence\n"),
        ("long.txt", "a b c d e\nf g h i j\n"),
        ("once.txt", "a\nb\nc\nd\n"),
        ("test.txt", "a\n"),
    ]);
    fs::write(folder.path().join("latin.txt"), b"caf\xc3\xa9\ncaf\xe9\n").unwrap();
    fs::write(folder.path().join("cut.txt.gz"), [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    let usual = Reading::default();
    let short = Reading { longest: 4, ..usual.clone() };
    let normal = "normal:0.5".parse().unwrap();
    for (name, reading, split, words) in [
        ("empty.txt", &usual, Split::default(), &["empty.txt: is empty"][..]),
        ("blank.txt", &usual, Split::default(), &["all of its 3 are empty"]),
        ("latin.txt", &usual, Split::default(), &["line 2 is not UTF-8"]),
        ("cut.txt.gz", &usual, Split::default(), &["cannot read", "cut.txt.gz"]),
        ("nowhere.txt", &usual, Split::default(), &["nowhere.txt"]),
        ("one.txt", &usual, Split::default(), &["has 1 sentences", "leaves none to train"]),
        ("long.txt", &short, Split::default(), &["no sentence left", "more than 4 tokens", "--longest"]),
        ("once.txt", &usual, Split::default(), &["no words of its 3 training sentences", "--min-count"]),
        ("once.txt", &usual, normal, &["--split normal:0.5 is for tables"]),
        ("", &usual, Split::default(), &["holds no train.txt", "test.txt"]),
    ] {
        let message = opened(&folder.path().join(name), reading, split, Selection::ByName).0.unwrap_err();
        assert!(words.iter().all(|word| message.contains(word)) && message.lines().count() == 1, "{name}: {message}");
    }
}
