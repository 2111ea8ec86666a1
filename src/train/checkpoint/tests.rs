use std::fs;

use safetensors::tensor::TensorView;

use super::*;
use crate::data::text::vocabulary::Tokenisation;

fn example() -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.tensors.insert("fc1.weight".into(), (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    checkpoint.metadata.insert(MODEL.into(), "text".into());
    checkpoint
}

fn problem(path: &Path) -> String {
    Checkpoint::read(path).unwrap_err().to_string()
}

#[test]
fn round_trip_and_stable_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    example().write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap(), example());
    example().write(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    assert!(problem(&path).contains("cannot open"));
    example().write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, b"").unwrap();
    assert!(problem(&path).contains("the file is empty"));
    for length in 1..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(problem(&path).contains("not a whole safetensors file"), "{length} bytes");
    }
    let mut bad = example();
    bad.tensors.get_mut("fc1.weight").unwrap().1[4] = f32::NAN;
    bad.write(&path).unwrap();
    assert!(problem(&path).contains("fc1.weight[4] is NaN"));
}

#[test]
fn counts_are_whole_numbers_of_64_bits_without_dimensions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let name = "encoder.1.num_batches_tracked";
    let mut checkpoint = example();
    // 2^24: up to there f32 counts.
    checkpoint.tensors.insert(name.into(), (vec![], vec![16_777_216.0]));
    checkpoint.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    assert_eq!((view.dtype(), view.shape(), view.data()), (Dtype::I64, &[][..], &16_777_216i64.to_le_bytes()[..]));
    assert_eq!(file.tensor("fc1.weight").unwrap().dtype(), Dtype::F32);

    let read = |name: &str, dtype, bytes: &[u8]| {
        let view = TensorView::new(dtype, vec![], bytes).unwrap();
        fs::write(&path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
        Checkpoint::read(&path)
    };
    assert_eq!(read(name, Dtype::I64, &7i64.to_le_bytes()).unwrap().tensors[name], (vec![], vec![7.0]));
    for (dtype, bytes) in [(Dtype::U64, 8), (Dtype::I32, 4), (Dtype::U8, 1), (Dtype::BOOL, 1)] {
        let message = read(name, dtype, &vec![0; bytes]).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(&format!("is {dtype:?}")), "{message}");
    }
    // Whole numbers are for counts alone.
    let message = read("fc1.bias", Dtype::I64, &[0; 8]).unwrap_err().to_string();
    assert!(message.contains("fc1.bias is I64; save it as float32"), "{message}");
}

#[test]
fn a_model_goes_to_a_file_in_pytorchs_order_and_comes_back_in_the_devices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let arena = &mut Arena::new();
    arena.parameter("fc.bias", &[3]);
    // (O,H,W,I) = (1,1,3,2)
    let weight = arena.parameter_in(Layout::ChannelsLast, "conv.weight", &[1, 1, 3, 2]).value;
    arena.statistic("bn.running_mean", &[2], 0.0);
    let count = arena.count("bn.num_batches_tracked");
    // The padding between the tensors has numbers of its own, which no file holds.
    let mut parameters = vec![-1.0; arena.flat_parameters().len()];
    let mut statistics = vec![-2.0; arena.flat_statistics().unwrap().len()];
    parameters[..3].copy_from_slice(&[10.0, 11.0, 12.0]);
    parameters[weight.offset..][..6].copy_from_slice(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    statistics[..2].copy_from_slice(&[20.0, 21.0]);
    statistics[count.offset] = 9.0;

    Checkpoint::of_model(arena, &parameters, &statistics).write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    write_model(&mut std::fs::File::create(&path).unwrap(), arena, [&parameters, &statistics], &[], ("key", "text"))
        .unwrap();
    let straight = Checkpoint::read(&path).unwrap();
    assert_eq!(straight.metadata, BTreeMap::from([("key".into(), "text".into())]));
    Checkpoint { metadata: BTreeMap::new(), ..straight }.write(&path).unwrap();
    assert!(fs::read(&path).unwrap() == bytes, "straight from the buffers it is the same file");
    let file = Checkpoint::read(&path).unwrap();
    let expected: [(&str, Vec<usize>, Vec<f32>); 4] = [
        ("bn.num_batches_tracked", vec![], vec![9.0]),
        ("bn.running_mean", vec![2], vec![20.0, 21.0]),
        ("conv.weight", vec![1, 2, 1, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ("fc.bias", vec![3], vec![10.0, 11.0, 12.0]),
    ];
    let expected = expected.map(|(name, shape, values)| (name.to_string(), (shape, values)));
    assert_eq!(file.tensors, BTreeMap::from(expected));

    let mut back = Vec::new();
    file.for_each_of_model(arena, &path, |tensor, values| back.push((tensor, values))).unwrap();
    assert_eq!(back.len(), 4);
    for (tensor, values) in back {
        let flat = if tensor.buffer == weight.buffer { &parameters } else { &statistics };
        assert_eq!(values, flat[tensor.offset..][..tensor.len()], "{}", arena.name(tensor));
    }
    // A number without dimensions is not a vector of one.
    let mut vector = file;
    vector.tensors.get_mut("bn.num_batches_tracked").unwrap().0 = vec![1];
    let message = vector.check_model(arena, &path).unwrap_err().to_string();
    assert!(message.contains("bn.num_batches_tracked has shape [1], the model needs []"), "{message}");
}

#[test]
fn a_model_card_that_does_not_fit_together_is_refused() {
    let card = r#"{"config":{"shape":[1,2,2],"hidden":[3],"latent":2,"head":"split","activation":"relu",
        "output":"bernoulli","sigma":1.0},"dataset":"digits","epoch":1}"#;
    let read = |text: String| {
        let mut checkpoint = example();
        checkpoint.metadata.insert(MODEL.into(), text);
        checkpoint.card(Path::new("a.safetensors")).map_err(|e| e.to_string())
    };
    assert_eq!(read(card.into()).unwrap().settings["hidden"].to_string(), "[3]");
    for (good, bad) in [
        ("[1,2,2]", "[1,2,0]"),
        (r#""head":"split""#, r#""head":"direct""#),
        (r#""sigma":1.0"#, r#""sigma":1.0,"encoder":"conv 2 k2","decoder":"conv_transpose 1 k3""#),
        ("[1,2,2]", "[4294967296,4294967296,1]"),
        ("[3]", "[]"),
        ("[3]", "[0]"),
        ("[3]", "[1152921504606846976]"),
        ("[3]", "[3,3]"),
        (r#""latent":2"#, r#""latent":0"#),
        (r#""sigma":1.0"#, r#""sigma":0.0"#),
    ] {
        let message = read(card.replace(good, bad)).unwrap_err();
        assert!(message.contains("does not fit together"), "{bad}: {message}");
    }
    // A vocabulary, and no sentences.
    let spelt = card.replace(r#""epoch":1"#, r#""epoch":1,"vocabulary":{"tokens":"words","words":["a"]}"#);
    assert!(read(spelt).unwrap_err().contains("does not fit together"));
    assert!(read("{".into()).unwrap_err().contains("damaged"));
}

#[test]
fn a_card_keeps_the_vocabulary() {
    let vocabulary = Vocabulary::of(["b b \"a\""], Tokenisation::Words, 1);
    let columns = Columns::of(Kind::Tokens { vocabulary: vocabulary.len(), longest: 9 }, 0);
    let card = ModelCard { columns, vocabulary: Some(vocabulary), ..ModelCard::foreign(Table::new(), [1, 1, 1]) };
    assert_eq!(ModelCard::parse(&serde_json::to_string(&card).unwrap()).unwrap(), card);
    let without = ModelCard { vocabulary: None, ..card };
    let text = serde_json::to_string(&without).unwrap();
    assert!(!text.contains("words"), "{text}");
    assert_eq!(ModelCard::parse(&text).unwrap(), without);
}

#[test]
fn a_wrong_shape_names_both() {
    let path = Path::new("a.safetensors");
    let message = example().tensor("fc1.weight", &[3, 2], path).unwrap_err().to_string();
    assert!(message.contains("[2, 3]") && message.contains("[3, 2]"), "{message}");
    let message = example().tensor("fc9.weight", &[1], path).unwrap_err().to_string();
    assert!(message.contains("fc9.weight") && message.contains("fc1.weight"), "{message}");
}
