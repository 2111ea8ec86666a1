use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;

use super::super::table::Columns;
use super::*;

/// A `.npy` file of this type, shape and content.
fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), content].concat()
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (i, (name, content)) in arrays.iter().enumerate() {
        let method = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated][i % 2];
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn open_bytes(bytes: &[u8]) -> (Result<Dataset>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pics.np");
    std::fs::write(&path, bytes).unwrap();
    let mut said = String::new();
    let data = open(&path, Selection::ByName, &mut |notice| said += &format!("{notice}\n"));
    (data, said)
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let message = open_bytes(bytes).0.unwrap_err().to_string();
    for word in words.iter().chain(&["pics.np"]) {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn f64s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn every_tenth_picture_of_one_array_is_for_testing() {
    let (data, said) = open_bytes(&npy("|u1", "(12, 1, 2)", &(100..124).collect::<Vec<u8>>()));
    let data = data.unwrap();
    assert_eq!((data.name.as_str(), data.columns()), ("array:pics", Columns::of_pictures([1, 1, 2], 0)));
    assert_eq!((data.test.pixels(), data.test.count), (&[100, 101, 120, 121][..], 2));
    assert_eq!((&data.train.pixels()[..3], data.train.count), (&[102, 103, 104][..], 10));
    assert_eq!((said.contains("every 10th"), said.lines().count()), (true, 1), "{said}");
    refused(&npy("|u1", "(1, 1, 2)", &[1, 2]), &["only one picture"]);
}

#[test]
fn channels_come_last_or_first() {
    let pixels: Vec<u8> = (0..24).collect();
    let (last, _) = open_bytes(&npy("|u1", "(2, 2, 2, 3)", &pixels));
    let last = last.unwrap();
    assert_eq!((last.train.shape(), &last.train.pixels()[..5]), (Some([3, 2, 2]), &[12, 15, 18, 21, 13][..]));
    let (first, said) = open_bytes(&npy("|u1", "(2, 3, 2, 2)", &pixels));
    let first = first.unwrap();
    assert_eq!(first.train, Table::of_pictures([3, 2, 2], (12..24).collect(), None));
    assert!(!said.contains("the last size"), "{said}");
    // Both could be: the last wins, and it is said.
    let (both, said) = open_bytes(&npy("|u1", "(2, 3, 4, 1)", &pixels));
    assert_eq!((both.unwrap().train.shape(), said.contains("the last size of [2, 3, 4, 1]")), (Some([1, 3, 4]), true));
    for shape in ["(2, 2, 2, 2)", "(2, 12)", "(24,)", "()", "(2, 3, 2, 2, 1)", "(x, 2)"] {
        refused(&npy("|u1", shape, &pixels), &["expected a shape (N,H,W)", shape]);
    }
    for shape in ["(0, 2, 2)", "(2, 0, 2)", "(1, 1, 16385)"] {
        refused(&npy("|u1", shape, &pixels), &["at least one picture", shape]);
    }
}

#[test]
fn numbers_of_every_type_become_grey_levels_on_a_scale_that_is_said() {
    let f16s = [0x0000u16, 0x3c00, 0x3800, 0x3266].map(u16::to_le_bytes).concat();
    let unit = [0.0, 1.0, 0.5, 0.2];
    let levels = [0.0, 255.0, 128.4, 51.0];
    let big = unit.map(|v: f64| (v as f32).to_be_bytes()).concat();
    let wide = |levels: [i64; 4]| levels.map(i64::to_le_bytes).concat();
    for (descr, content, expected, words) in [
        ("<f4", f32s(&unit.map(|v| v as f32)), [0, 255, 128, 51], "from 0 (black) to 1 (white)"),
        ("<f8", f64s(&unit), [0, 255, 128, 51], "rounded to 255ths"),
        ("<f2", f16s, [0, 255, 128, 51], "rounded to 255ths"),
        (">f4", big, [0, 255, 128, 51], "rounded to 255ths"),
        ("<f8", f64s(&levels), [0, 255, 128, 51], "grey levels of 0 to 255"),
        ("<i8", wide([0, 255, 128, 51]), [0, 255, 128, 51], "grey levels of 0 to 255"),
        ("<u2", [0u16, 65535, 32896, 13107].map(u16::to_le_bytes).concat(), [0, 255, 128, 51], "to 65535 (white)"),
        ("|b1", vec![0, 1, 1, 0], [0, 255, 255, 0], "true is 255"),
        ("|u1", vec![0, 1, 1, 0], [0, 255, 255, 0], "only 0 and 1, so 1 is taken as white"),
        ("<i8", wide([0, 1, 1, 0]), [0, 255, 255, 0], "only 0 and 1"),
    ] {
        let (data, said) = open_bytes(&npy(descr, "(2, 1, 2)", &content));
        let data = data.unwrap();
        assert_eq!([data.test.pixels(), data.train.pixels()].concat(), expected, "{descr}");
        assert!(said.contains(words) && said.lines().count() == 2, "{descr}: {said}");
    }
}

#[test]
fn numbers_that_are_no_pixels_are_refused_by_their_place() {
    for (bad, shown) in [(-0.25, "-0.25"), (f64::NAN, "NaN"), (f64::INFINITY, "inf"), (70000.0, "70000")] {
        let mut values = [0.0; 12];
        values[9] = bad;
        let words = [&format!("value {shown} at [1, 1, 1]"), "pixels must be 0 to 1"];
        refused(&npy("<f8", "(2, 3, 2)", &f64s(&values)), &words);
        refused(&npy("<f4", "(2, 3, 2)", &f32s(&values.map(|v| v as f32))), &words);
    }
    refused(&npy("|i1", "(2, 1, 1)", &[5, 255]), &["value -1 at [1, 0, 0]"]);
    // Neither 1 nor 255 is white: scikit-learn's digits, and pictures with a few pixels above 1.
    for largest in [16.0, 1.2, 300.0] {
        refused(
            &npy("<f8", "(2, 1, 1)", &f64s(&[0.5, largest])),
            &[&format!("largest value is {largest}"), "x / x.max()"],
        );
    }
}

#[test]
fn dark_pictures_are_noted_and_older_runs_keep_theirs() {
    let (_, said) = open_bytes(&npy("|u1", "(2, 1, 2)", &[0, 3, 16, 0]));
    assert!(said.contains("no pixel of") && said.contains("above 16 of 255"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    std::fs::write(&path, npy("|u1", "(2, 1, 2)", &[0, 1, 1, 0])).unwrap();
    let data = open(&path, Selection::ByOrder, &mut |_| ()).unwrap();
    assert_eq!((data.test.pixels(), data.train.pixels()), (&[0, 1][..], &[1, 0][..]));
}

#[test]
fn the_scale_is_one_for_training_and_test_pictures() {
    let arrays = [("x_train", npy("|u1", "(1, 1, 2)", &[0, 200])), ("x_test", npy("|u1", "(1, 1, 2)", &[0, 1]))];
    assert_eq!(open_bytes(&npz(&arrays)).0.unwrap().test.pixels(), [0, 1]);
    let arrays = [("x_train", npy("|u1", "(1, 1, 2)", &[0, 1])), ("x_test", npy("|u1", "(1, 1, 2)", &[0, 0]))];
    assert_eq!(open_bytes(&npz(&arrays)).0.unwrap().train.pixels(), [0, 255]);
}

/// The same array in Fortran's order.
fn fortran(descr: &str, sizes: &[usize], values: &[u8]) -> Vec<u8> {
    let strides: Vec<usize> = (0..sizes.len()).map(|axis| sizes[axis + 1..].iter().product()).collect();
    let turned = (0..values.len()).map(|at| {
        let mut rest = at;
        let index = sizes.iter().map(|size| (rest % size, rest /= size).0).collect::<Vec<_>>();
        values[index.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>()]
    });
    let shape = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let c = npy(descr, &format!("({shape})"), &turned.collect::<Vec<u8>>());
    let text = String::from_utf8_lossy(&c[10..c.len() - values.len()]).replace("False", "True ");
    let length = (text.len() as u16).to_le_bytes();
    [&c[..8], &length, text.as_bytes(), &c[c.len() - values.len()..]].concat()
}

#[test]
fn fortran_order_is_turned() {
    let values: Vec<u8> = (0..72).collect();
    for sizes in [&[3, 4, 6][..], &[3, 2, 4, 3], &[3, 3, 2, 4], &[6, 1, 3, 4], &[8, 9]] {
        let shape = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let c = open_bytes(&npy("|u1", &format!("({shape})"), &values)).0.unwrap();
        assert_eq!(open_bytes(&fortran("|u1", sizes, &values)).0.unwrap(), c, "{sizes:?}");
    }
    let mut bad = [0u8; 12];
    bad[9] = 200;
    refused(&fortran("|i1", &[2, 3, 2], &bad), &["value -56 at [1, 1, 1]"]);
}

#[test]
fn rows_of_square_pictures_are_known() {
    let (data, said) = open_bytes(&npy("|u1", "(2, 9)", &(60..78).collect::<Vec<u8>>()));
    assert_eq!(data.unwrap().train.shape(), Some([1, 3, 3]));
    assert!(said.contains("grey pictures of 3x3"), "{said}");
}

#[test]
fn all_pictures_can_be_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    std::fs::write(&path, npy("|u1", "(1, 1, 2)", &[70, 80])).unwrap();
    let data = open(&path, Selection::All, &mut |_| ()).unwrap();
    assert_eq!((data.train.count, data.test.pixels(), data.test.count), (0, &[70, 80][..], 1));
}

#[test]
fn other_types_and_lengths_are_refused() {
    for descr in ["<c8", "|O", "<U3", "<f16", "<M8"] {
        refused(&npy(descr, "(2, 1, 2)", &[0; 64]), &["expected pictures of bool", descr]);
    }
    let good = npy("|u1", "(2, 1, 2)", &[9, 8, 7, 6]);
    refused(&good[..good.len() - 1], &["fits the 3 bytes", "needs 4"]);
    refused(&[&good[..], &[1]].concat(), &["fits the 5 bytes"]);
    refused(&npy("|u1", "(4000000000, 1000, 1000)", &[0; 4]), &["need 4000000000000000 bytes of memory"]);
    refused(b"", &["neither"]);
    refused(b"some text", &["neither a NumPy .npy nor a .npz"]);
    let message = open(Path::new("src"), Selection::ByName, &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("is a folder") && message.contains("--dataset folder"), "{message}");
}

#[test]
fn arrays_are_known_by_their_names() {
    for (name, split, content) in [
        ("x_train", Some("train"), Content::Pictures),
        ("X_Test", Some("test"), Content::Pictures),
        ("train", Some("train"), Content::Pictures),
        ("val_images", Some("val"), Content::Pictures),
        ("training/labels", Some("train"), Content::Labels),
        ("y_valid", Some("val"), Content::Labels),
        ("imgs", None, Content::Pictures),
        ("target", None, Content::Labels),
        ("arr_0", None, Content::Open),
        ("train_ids", Some("train"), Content::Open),
    ] {
        assert_eq!(meaning(name), (split, content), "{name}");
    }
    let picture = || npy("|u1", "(2, 1, 2)", &[70, 80, 90, 99]);
    // MedMNIST's names, without its test pictures and with them; numpy.savez(file, pictures, numbers).
    let (data, said) = open_bytes(&npz(&[("train_images", picture()), ("val_images", picture())]));
    assert_eq!((data.unwrap().test.count, said.contains("val_images has the test pictures")), (2, true), "{said}");
    let (data, said) =
        open_bytes(&npz(&[("train_images", picture()), ("test_images", picture()), ("val_images", picture())]));
    assert_eq!((data.unwrap().train.count, said.contains("val_images of")), (2, true), "{said}");
    let (data, said) = open_bytes(&npz(&[("arr_0", picture()), ("arr_1", npy("<f8", "(2,)", &[0; 16]))]));
    assert_eq!((data.unwrap().train.count, said.contains("arr_1 of")), (1, true), "{said}");
    refused(&npz(&[("x", picture()), ("images", picture())]), &["x, images may each be"]);
}

/// As Keras' mnist.npz.
fn keras() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("x_test", npy("|u1", "(1, 1, 2)", &[5, 6])),
        ("x_train", npy("|u1", "(2, 1, 2)", &[1, 2, 3, 4])),
        ("y_train", npy("<i8", "(2,)", &[[7u8, 0, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0]].concat())),
        ("y_test", npy("|u1", "(1,)", &[3])),
    ]
}

#[test]
fn an_archive_has_splits_and_labels() {
    let (data, said) = open_bytes(&npz(&keras()));
    let data = data.unwrap();
    assert_eq!(data.train, Table::of_pictures([1, 1, 2], vec![1, 2, 3, 4], Some((vec![7, 9], 10))));
    assert_eq!(data.test, Table::of_pictures([1, 1, 2], vec![5, 6], Some((vec![3], 10))));
    assert!(said.lines().all(|line| line.contains("no pixel of")), "{said}");
    for (from, to) in [("x_train", "train"), ("x_train", "train_images")] {
        let renamed: Vec<(&str, Vec<u8>)> = keras()
            .into_iter()
            .map(|(name, array)| match (name, to) {
                (name, _) if name == from => (to, array),
                ("x_test", "train") => ("test", array),
                ("x_test", _) => ("test_images", array),
                ("y_train", _) => ("train_labels", array),
                (_, _) => ("test_labels", array),
            })
            .collect();
        let data = open_bytes(&npz(&renamed)).0.unwrap();
        assert_eq!((data.train.labels(), data.test.labels()), (Some(&[7, 9][..]), Some(&[3][..])));
    }
    let data = open_bytes(&npz(&keras()[..2])).0.unwrap();
    assert_eq!(data.columns(), Columns::of_pictures([1, 1, 2], 0));
}

#[test]
fn a_single_array_is_split_with_its_labels() {
    let pixels: Vec<u8> = (10..22).collect();
    for name in ["x", "images", "arr_0"] {
        let arrays = [
            ("labels", npy("<i4", "(12, 1)", &(0..12).flat_map(|i: u32| i.to_le_bytes()).collect::<Vec<u8>>())),
            (name, npy("|u1", "(12, 1, 1)", &pixels)),
        ];
        let (data, said) = open_bytes(&npz(&arrays));
        let data = data.unwrap();
        assert_eq!(data.test, Table::of_pictures([1, 1, 1], vec![10, 20], Some((vec![0, 10], 12))));
        assert_eq!(data.train.labels().unwrap()[..2], [1, 2]);
        assert_eq!(data.columns(), Columns::of_pictures([1, 1, 1], 12));
        assert!(said.contains("every 10th"), "{said}");
    }
}

#[test]
fn wrong_archives_are_refused_by_array() {
    let with = |name: &str, array: Vec<u8>| {
        npz(&keras().into_iter().map(|(n, a)| (n, if n == name { array.clone() } else { a })).collect::<Vec<_>>())
    };
    let good = npz(&keras());
    refused(&good[..good.len() - 10], &["archive is damaged"]);
    refused(&npz(&[("a", vec![]), ("b", vec![])]), &["expected the arrays x_train and x_test", "found a, b"]);
    refused(&npz(&[]), &["neither"]);
    refused(&npz(&keras()[..3]), &["labels for only one"]);
    refused(&with("y_test", npy("<f4", "(1,)", &f32s(&[0.5]))), &["y_test.npy", "label 0.5 of picture 0"]);
    refused(&with("y_test", npy("<U1", "(1,)", &[0; 4])), &["y_test.npy", "type of numbers"]);
    refused(&with("y_test", npy("|u1", "(2,)", &[0; 2])), &["y_test.npy", "each of the 1 pictures"]);
    refused(&with("y_train", npy("<i2", "(2,)", &[1, 0, 0, 1])), &["y_train.npy", "label 256 of picture 1"]);
    refused(&with("y_train", npy("|i1", "(2,)", &[255, 1])), &["label -1 of picture 0"]);
    refused(&with("x_test", npy("|u1", "(1, 2, 1)", &[5, 6])), &["[1, 1, 2]", "[1, 2, 1]"]);
    refused(&with("x_test", npy("|u1", "(1, 1, 3)", &[5, 6])), &["x_test.npy", "needs 3"]);
    refused(&with("x_test", b"text".to_vec()), &["x_test.npy", "expected a NumPy .npy file"]);
    // A changed pixel does not fit the checksum of the archive.
    let mut flipped = good.clone();
    let at = good.windows(2).position(|pair| pair == [5, 6]).unwrap();
    flipped[at] = 99;
    refused(&flipped, &["x_test.npy", "damaged"]);
    let mut flipped = good.clone();
    let at = good.windows(8).position(|word| word == [9, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    flipped[at] = 8;
    refused(&flipped, &["y_train.npy", "damaged"]);
}

#[test]
fn an_archive_that_claims_too_much_is_refused() {
    // The claimed size of the first array stands in the central directory, 24 bytes from its signature.
    let mut bomb = npz(&[("x", npy("|u1", "(60000, 100, 100)", &[1, 2, 3, 4]))]);
    let entry = bomb.windows(4).rposition(|word| word == b"PK\x01\x02").unwrap();
    bomb[entry + 24..entry + 28].copy_from_slice(&600_000_074u32.to_le_bytes());
    refused(&bomb, &["x.npy", "claims to be 600000074 bytes"]);
    let fit = npz(&[("x", npy("|u1", "(60000, 100, 100)", &[1, 2, 3, 4]))]);
    refused(&fit, &["x.npy", "needs 600000000"]);
}
