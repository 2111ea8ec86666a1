use super::*;

#[test]
fn examples_are_taken_with_their_labels() {
    let table = |pixels: Vec<u8>, labels| Table::of_pictures([1, 2, 2], pixels, Some((labels, 10)));
    let three = table((0..12).collect(), vec![7, 8, 9]);
    assert_eq!((three.count, three.dims(), three.labels()), (3, 4, Some(&[7, 8, 9][..])));
    assert_eq!(three.columns(), Columns::of_pictures([1, 2, 2], 10));
    assert_eq!(three.clone().truncated(2), table((0..8).collect(), vec![7, 8]));
    assert_eq!(three.clone().truncated(9), three);
    let first_and_last = table([0, 1, 2, 3, 8, 9, 10, 11].into(), vec![7, 9]);
    assert_eq!(three.copied(&[0, 2]), first_and_last);
    assert_eq!(three.clone().kept(&[0, 2]), first_and_last);
    assert_eq!(three.kept(&[]), table(vec![], vec![]));
}

#[test]
fn values_are_those_of_the_pictures_asked_for() {
    let table = Table::of_pictures([1, 1, 2], vec![0, 255, 51, 102, 1, 2], None);
    assert_eq!((table.shape(), table.labels()), (Some([1, 1, 2]), None));
    assert_eq!(table.values(0..2), [0.0, 1.0, 0.2, 0.4]);
    assert_eq!(table.values(1..3), [0.2, 0.4, 1.0 / 255.0, 2.0 / 255.0]);
    assert_eq!(table.spread(2), table.values(0..2));
    assert_eq!(table.spread(3), table.values(0..3));
    let longer = Table::of_pictures([1, 1, 1], (0..9).collect(), None);
    assert_eq!(longer.spread(3), [0, 3, 6].map(|level| level as f32 / 255.0));
}

#[test]
fn vectors_are_numbers_and_have_features() {
    let features = Features::unscaled(["a", "b"].map(String::from).into());
    let table = Table::of_numbers(vec![1.0, -2.0, 3.5, 4.0, 1e9, 0.0], features.clone());
    assert_eq!((table.count, table.dims(), table.shape(), table.pixels().len()), (3, 2, None, 0));
    assert_eq!((table.columns(), table.features()), (Columns::of(Kind::Vector(2), 0), Some(&features)));
    assert_eq!((table.values(1..3), table.spread(1)), (vec![3.5, 4.0, 1e9, 0.0], vec![1.0, -2.0]));
    let labelled = table.with_labels(vec![0, 1, 0], 2);
    let last = labelled.copied(&[2]);
    assert_eq!((last.values(0..1), last.labels()), (vec![1e9, 0.0], Some(&[0][..])));
    assert_eq!(labelled.clone().kept(&[2]), last);
    assert_eq!(labelled.clone().truncated(2).values(0..2), [1.0, -2.0, 3.5, 4.0]);
    assert!(columns_error(&labelled.columns()).contains("needs pictures (column x)"));
}

fn columns_error(columns: &Columns) -> String {
    columns.picture(PICTURES).unwrap_err().to_string()
}

#[test]
fn items_are_lists_and_become_zeros_and_ones() {
    let table = Table::of_items(Ragged::new([&[2u32, 0][..], &[1], &[]], 3), 3);
    assert_eq!((table.count, table.dims(), table.entries(), table.pixels().len()), (3, 3, 3, 0));
    assert_eq!((table.columns(), table.features()), (Columns::of(Kind::Items(3), 0), None));
    assert_eq!(table.values(0..2), [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    let second = Table::of_items(Ragged::new([&[1u32][..]], 3), 3);
    assert_eq!((table.copied(&[1]), table.clone().kept(&[1])), (second.clone(), second));
    assert_eq!(table.clone().truncated(2).entries(), 3);
    assert!(table.columns().items(LABELS).unwrap_err().to_string().contains("users' items (column label)"));
}

#[test]
fn sentences_are_rows_of_ids_padded_behind_their_end() {
    let rows: [&[u32]; 3] = [&[3], &[5, 3], &[4, 4, 3]];
    let table = Table::of_tokens(Ragged::new(rows, 6), [6, 4]);
    let kind = Kind::Tokens { vocabulary: 6, longest: 4 };
    assert_eq!((table.count, table.dims(), table.entries(), table.shape()), (3, 4, 6, None));
    assert_eq!((table.columns(), table.columns().tokens(TEXT).unwrap()), (Columns::of(kind, 0), [6, 4]));
    let bits = |table: &Table| table.values(0..table.count).iter().map(|id| id.to_bits()).collect::<Vec<u32>>();
    assert_eq!(bits(&table), [3, 0, 0, 0, 5, 3, 0, 0, 4, 4, 3, 0]);
    assert_eq!(bits(&table.copied(&[2])), [4, 4, 3, 0]);
    assert_eq!((bits(&table.clone().kept(&[1])), table.clone().truncated(2).entries()), (vec![5, 3, 0, 0], 3));
    let message = columns_error(&table.columns());
    assert!(message.contains("needs pictures (column x)") && message.contains("has sentences of up to 4"), "{message}");
    let pictures = Columns::of_pictures([1, 2, 2], 0);
    assert!(pictures.tokens(TEXT).unwrap_err().to_string().contains("needs sentences (column text)"));
}

#[test]
fn other_labels_take_the_place_of_a_tables_own() {
    let table = Table::of_pictures([1, 1, 1], vec![5, 6], Some((vec![0, 1], 2)));
    let other = table.clone().with_labels(vec![3, 3], 4);
    assert_eq!((other.labels(), other.columns.len()), (Some(&[3, 3][..]), 2));
    assert_eq!(other.columns().label(LABELS).unwrap(), 4);
    assert_eq!(other.pixels(), table.pixels());
}
