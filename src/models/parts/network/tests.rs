use super::*;

const ENCODER: &str = "(conv 16 k4 s2, batchnorm, relu), (conv 32 k4 s2, batchnorm, relu), (conv 64 k4 s2)";

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

fn problem(text: &str) -> String {
    text.parse::<Network>().unwrap_err().to_string()
}

fn open_at(text: &str, input: Shape) -> String {
    network(text).sizes("encoder", input).unwrap_err().to_string()
}

#[test]
fn the_articles_encoder_has_its_sizes_and_names() {
    let input = Shape::Picture([1, 28, 28]);
    let (shape, lines) = network(ENCODER).sizes("encoder", input).unwrap();
    assert_eq!(shape, Shape::Picture([64, 1, 1]));
    assert!(lines[1].contains("encoder.0.0") && lines[1].ends_with("16x13x13"), "{lines:?}");
    let arena = &mut Arena::new();
    network(ENCODER).build(arena, "encoder", input);
    let parameters: Vec<_> =
        arena.parameters().iter().map(|p| (p.name.as_str(), p.layout.file_shape(p.value.shape()))).collect();
    assert_eq!(parameters[0], ("encoder.0.0.weight", vec![16, 1, 4, 4]));
    assert_eq!(parameters[1], ("encoder.0.0.bias", vec![16]));
    assert_eq!(parameters[2], ("encoder.0.1.weight", vec![16]));
    assert_eq!(parameters.last().unwrap(), &("encoder.2.0.bias", vec![64]));
    let statistics: Vec<&str> = arena.statistics().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        statistics[..3],
        ["running_mean", "running_var", "num_batches_tracked"].map(|s| format!("encoder.0.1.{s}"))
    );
}

#[test]
fn every_item_leaves_what_pytorchs_does() {
    for (text, input, expected) in [
        ("conv 6 k3x5 s2x1 p1x2 d2 g2 nobias", Shape::Picture([4, 9, 9]), Shape::Picture([6, 4, 5])),
        ("conv_transpose 5 k4 s2 p1 op1", Shape::Picture([3, 6, 5]), Shape::Picture([5, 13, 11])),
        ("flatten, linear 7, batchnorm, dropout 0.25", Shape::Picture([3, 2, 2]), Shape::Vector(7)),
        ("view 3 2 2, groupnorm 3, layernorm, gelu", Shape::Vector(12), Shape::Picture([3, 2, 2])),
        ("maxpool k3 s2 p1, avgpool k2", Shape::Picture([2, 9, 8]), Shape::Picture([2, 2, 2])),
        ("upsample 3, upsample 2 bilinear", Shape::Picture([2, 1, 2]), Shape::Picture([2, 6, 12])),
        ("residual(conv 2 k3 p1, (relu, conv 2 k1))", Shape::Picture([2, 5, 5]), Shape::Picture([2, 5, 5])),
    ] {
        let (shape, _) = network(text).sizes("n", input).unwrap();
        assert_eq!(shape, expected, "{text}");
        network(text).build(&mut Arena::new(), "n", input);
    }
}

#[test]
fn an_epilogue_keeps_its_number() {
    let arena = &mut Arena::new();
    network("conv 2 k1, silu, conv 2 k1, relu, conv 2 k1").build(arena, "n", Shape::Picture([1, 1, 1]));
    let weights = arena.parameters().iter().filter(|p| p.name.ends_with("weight"));
    assert_eq!(weights.map(|p| p.name.as_str()).collect::<Vec<_>>(), ["n.0.weight", "n.2.weight", "n.4.weight"]);
}

#[test]
fn text_survives_a_settings_file() {
    let network = network("  (conv 16 k4 s2,\n   batchnorm , relu) ,flatten");
    assert_eq!(network.to_string(), "(conv 16 k4 s2, batchnorm , relu) ,flatten");
    let json = serde_json::to_string(&network).unwrap();
    assert_eq!(serde_json::from_str::<Network>(&json).unwrap().items, network.items);
}

#[test]
fn a_geometry_that_does_not_close_prints_the_sizes() {
    let message = open_at("conv 16 k4 s2, conv 32 k4 s2, conv 64 k8", Shape::Picture([1, 28, 28]));
    for part in ["the encoder does not close: encoder.2: the window is larger", "16x13x13", "32x5x5", "conv 64 k8"] {
        assert!(message.contains(part), "no {part} in {message}");
    }
    let picture = Shape::Picture([3, 4, 4]);
    assert!(open_at("linear 5", picture).contains("put `flatten` before it"));
    assert!(open_at("flatten, conv 5 k1", picture).contains("put `view C H W` before it"));
    assert!(open_at("conv 4 k1 g2", picture).contains("3 channels are not divided by 2 groups"));
    assert!(open_at("groupnorm 2", picture).contains("3 channels"));
    assert!(open_at("residual(conv 4 k1)", picture).contains("3x4x4, not 4x4x4"));
    assert!(open_at("flatten, view 3 4 5", picture).contains("48 features do not make 3x4x5"));
    assert!(open_at("conv_transpose 2 k1 p2", picture).contains("leaves nothing"));
    for heavy in [
        "conv 65536 k65536 s65536 p65535",
        "flatten, linear 65536, linear 65536, linear 65536",
        "conv_transpose 65536 k300 p150",
    ] {
        let message = open_at(heavy, Shape::Picture([65536, 1, 1]));
        assert!(message.contains("its weights are more than 4294967295 numbers"), "{message}");
    }
    assert!(open_at("upsample 60000, upsample 60000", picture).contains("too large"));
}

#[test]
fn a_text_that_is_no_network_says_where() {
    assert!(problem("conv 16 k4, batchnrm").contains("no layer `batchnrm`; did you mean `batchnorm`?"));
    assert!(problem("zzz").contains("There are: residual(...), conv"));
    assert!(problem("conv 16").contains("`conv 16` lacks the size of its window"));
    assert!(problem("conv k4").contains("no whole number"));
    assert!(problem("conv 0 k4").contains("cannot be 0"));
    assert!(problem("conv 4 k4 s0").contains("cannot be 0"));
    assert!(problem("conv 4 k99999").contains("no whole number up to 65536"));
    assert!(problem("conv 4 k4 z3").contains("`z3` means nothing there"));
    assert!(problem("upsample 2 nearest bilinear").contains("`nearest` means nothing there"));
    assert!(problem("linear").contains("lacks the number of features"));
    assert!(problem("dropout 1").contains("below 1"));
    assert!(problem("maxpool k2 p2").contains("half the window"));
    assert!(problem("conv_transpose 4 k3 op1").contains("output padding"));
    assert!(problem("(conv 4 k3").contains("a `(` has no `)`"));
    assert!(problem("conv 4 k3)").contains("a `)` has no `(`"));
    assert!(problem("(relu) relu").contains("a comma is missing"));
    assert!(problem("twice(relu)").contains("only `residual` may"));
    assert!(problem("").contains("an item is empty"));
    assert!(problem("relu,").contains("an item is empty"));
    assert!(problem(&"(".repeat(100)).contains("nested more than"));
}
