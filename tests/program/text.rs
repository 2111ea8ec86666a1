//! Text as its user meets it: files become a data set, its sentences the tokens of a batch on a device; and what is
//! refused.

use std::fs;
use std::path::Path;

use crate::common::process::fails;
use elbo::arena::Arena;
use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::data::table::{TEXT, Values};
use elbo::data::text::vocabulary::{EOS, PAD};
use elbo::data::{self, Choice, Form, Preparation, Selection};
use elbo::kernels::clock::Clock;
use elbo::kernels::rows::Rows;
use elbo::layers::Mode;
use elbo::models::batch::{Augmentation, Batch, Order, Source};
use elbo::program::Recorder;

/// A folder of its own with 30 sentences to train on, of 1 to 6 words, and 10 to test on.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    let words = ["the", "cat", "sat", "on", "a", "mat"];
    let line = |n: usize| (0..=n % 6).map(|t| words[(n + t) % 6]).collect::<Vec<_>>().join(" ") + "\n";
    fs::create_dir(desk.path().join("data")).unwrap();
    fs::write(desk.path().join("data/train.txt"), (0..30).map(line).collect::<String>()).unwrap();
    fs::write(desk.path().join("data/test.txt"), (3..13).map(line).collect::<String>()).unwrap();
    desk
}

fn open(place: &Path) -> data::Dataset {
    let preparation = Preparation::default();
    let mut form = Form::default();
    form.text.longest = 9;
    data::open(Choice::Text, Some(place), &preparation, &form, Selection::ByName, [None; 2], &mut |_| ()).unwrap()
}

/// The second batch of three, in an order of the test's own, is found among the rows and read as given rows are.
#[test]
fn the_sentences_of_a_batch_come_to_a_device() {
    const ROWS: usize = 7;
    let desk = desk();
    let data = open(&desk.path().join("data"));
    let vocabulary = data.vocabulary.as_ref().unwrap();
    let [ids, longest] = data.columns().tokens(TEXT).unwrap();
    assert_eq!((ids, longest, data.train.count), (10, 9, 30));
    let Values::Ragged(ragged) = &data.train.column(TEXT).unwrap().values else { panic!("no rows") };
    let order: Vec<u32> = (0..30).map(|k| (k * 7 + 2) % 30).collect();
    let chosen: Vec<usize> = order[ROWS..2 * ROWS].iter().map(|&n| n as usize).collect();

    let mut arena = Arena::new();
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let starts = arena.tensor("starts", &[31]);
    let entries = arena.tensor("entries", &[ragged.entries().len()]);
    let order_on_device = arena.tensor("order", &[30]);
    let x = arena.tensor("x", &[ROWS, longest]);
    let batch = |source: Source, longest: usize| Batch {
        rows: ROWS,
        clock,
        mode: Mode::Evaluate,
        weight: Rows::Scale(1.0),
        order: Some(Order { order: order_on_device, stride: ROWS, examples: 30 }),
        columns: vec![(TEXT.into(), source)],
        augmentation: Augmentation::default(),
        longest,
    };
    let source = Source::Tokens { starts, entries, vocabulary: ids };
    let mut r = Recorder::new(&mut arena);
    let found = batch(source.clone(), longest).tokens(&mut r, TEXT);
    let given = batch(Source::Given(x), longest).tokens(&mut r, TEXT);
    let cut = batch(source, 3).tokens(&mut r, TEXT);
    let program = r.finish("tokens");

    for device in [Device::Cpu(Cpu::Reference), Device::Cpu(Cpu::Accelerated)] {
        let mut backend = device.backend();
        let loaded = backend.load(&arena, &program).unwrap();
        backend.write_words(starts, ragged.starts());
        backend.write_words(entries, ragged.entries());
        backend.write_words(order_on_device, &order);
        backend.write(x, &chosen.iter().flat_map(|&n| data.train.values(n..n + 1)).collect::<Vec<f32>>());
        backend.write_words(
            clock,
            &Clock { seed: 1, step: 0, batch: 1, epoch: 0, rows: vec![Default::default()] }.words(),
        );
        backend.run(&[(loaded, 1)]).unwrap();
        let outputs = [found.ids, found.lengths, given.ids, given.lengths, cut.ids, cut.lengths];
        let read: Vec<Vec<u32>> =
            backend.read(&outputs).unwrap().into_iter().map(bytemuck::allocation::cast_vec).collect();
        let token = |t: usize, b: usize| ragged.row(chosen[b]).get(t).copied().unwrap_or(PAD);
        let expected: Vec<u32> = (0..longest).flat_map(|t| (0..ROWS).map(move |b| token(t, b))).collect();
        assert_eq!(read[0], expected);
        assert!(read[1].iter().zip(&chosen).all(|(&length, &n)| length as usize == ragged.row(n).len()));
        assert_eq!((&read[2], &read[3]), (&read[0], &read[1]));
        assert_eq!(read[4], expected[..3 * ROWS]);
        assert!(read[5].iter().zip(&read[1]).all(|(&cut, &whole)| cut == whole.min(3)));
        for (b, &n) in chosen.iter().enumerate() {
            let row: Vec<u32> = (0..read[1][b] as usize).map(|t| read[0][t * ROWS + b]).collect();
            assert!(row.ends_with(&[EOS]) && vocabulary.decode(&row) == vocabulary.decode(ragged.row(n)));
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_before_the_first_step() {
    let desk = desk();
    let here = desk.path();
    let train = "train mnist-mlp --device cpu --dataset text";
    fails(here, train, &["--dataset text needs its", "--data"]);
    fails(here, &format!("{train} --data nowhere.txt"), &["nowhere.txt"]);
    fails(
        here,
        &format!("{train} --data data"),
        &["needs pictures or vectors (column x)", "has sentences of up to 60"],
    );
    fails(here, "train mnist-mlp --device cpu --data data", &["holds a text (train.txt): add --dataset text"]);
    fails(here, &format!("{train} --data data --longest 1"), &["longest is 1", "2 to 65536"]);
    fails(here, &format!("{train} --data data --min-count 0"), &["min_count is 0"]);
    fails(here, &format!("{train} --data data --min-count 99"), &["no words", "--min-count"]);
    fails(here, &format!("{train} --data data --tokens letters"), &["letters", "words"]);
    fails(here, &format!("{train} --data data --liked-above 4"), &["--liked-above is of the data set ratings"]);
    fails(here, "train mnist-mlp --device cpu --dataset digits --longest 9", &["--longest is of the data set text"]);
    fails(here, "train mnist-mlp --device cpu --dataset digits --split share:0.5", &["the data set table or text"]);
    fs::remove_file(here.join("data/test.txt")).unwrap();
    fails(here, &format!("{train} --data data"), &["holds no test.txt"]);
    fs::write(here.join("bad.txt"), b"good\nb\xffd\n").unwrap();
    fails(here, &format!("{train} --data bad.txt"), &["bad.txt: line 2 is not UTF-8"]);
}
