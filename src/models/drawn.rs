//! Networks drawn at random: what the text allows is recorded and runs, forward and backward, and what it refuses is an
//! error.

use proptest::prelude::*;

use super::parts::network::{Network, Shape};
use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};
use crate::cases::uniform;
use crate::kernels::clock::{Clock, Row};
use crate::layers::Mode;
use crate::program::Recorder;

const BATCH: usize = 2;
/// Elements of an example, and weights of a layer, that are still quick.
const SMALL: usize = 1500;

/// The words of a window of some item: all that a convolution has, or a part of it.
fn window() -> impl Strategy<Value = String> {
    let pair = |low: usize, high: usize| [low..high, low..high];
    (pair(1, 5), pair(1, 5), pair(0, 4), pair(1, 4), 1..4usize).prop_map(|(k, s, p, d, g)| {
        let word = |key: &str, [h, w]: [usize; 2]| format!(" {key}{h}x{w}");
        [word("k", k), word("s", s), word("p", p), word("d", d), format!(" g{g}")].concat()
    })
}

fn item() -> impl Strategy<Value = String> {
    let convolution = (1..7usize, window(), any::<bool>())
        .prop_map(|(o, window, bias)| format!("conv {o}{window}{}", if bias { "" } else { " nobias" }));
    let transposed = (1..7usize, window(), 0..5usize, 0..5usize)
        .prop_map(|(o, window, h, w)| format!("conv_transpose {o}{window} op{h}x{w}"));
    let pool = (prop_oneof![Just("maxpool"), Just("avgpool")], 1..4usize, 1..4usize, 0..3usize)
        .prop_map(|(name, k, s, p)| format!("{name} k{k} s{s} p{p}"));
    let plain = prop::sample::select(vec![
        "batchnorm",
        "groupnorm 2",
        "layernorm",
        "relu",
        "silu",
        "tanh",
        "dropout 0.5",
        "upsample 2",
        "upsample 2 bilinear",
        "flatten",
        "flatten, linear 5",
        "flatten, linear 12, view 3 2 2",
        "residual(relu)",
        "(relu, batchnorm)",
    ]);
    prop_oneof![3 => convolution, 3 => transposed, 1 => pool, 3 => plain.prop_map(String::from)]
}

/// Runs the network each way, backwards with its parameters held too, if it is small and takes the picture: y
/// and every gradient, one after the other.
fn run(text: &str, input: [usize; 3], cpu: Cpu) -> Option<Vec<f32>> {
    let network: Network = text.parse().ok()?;
    let (after, _) = network.sizes("n", Shape::Picture(input)).ok()?;
    let mut arena = Arena::new();
    let layers = network.build(&mut arena, "n", Shape::Picture(input));
    let weights = arena.parameter_count();
    if after.len() > SMALL || weights > 4 * SMALL {
        return None;
    }
    let [c, h, w] = input;
    let x = arena.tensor("x", &[BATCH, h, w, c]);
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let mut r = Recorder::new(&mut arena);
    let (y, saved) = layers.forward(&mut r, x, Mode::Train { clock });
    let dy = r.tensor("dy", y.shape());
    let held = layers.backward_input(&mut r, &saved, dy);
    let dx = layers.backward(&mut r, saved, dy);
    let program = r.finish("drawn");
    assert_eq!((y.len(), dx.shape()), (BATCH * after.len(), x.shape()), "{text}");
    if program.steps.iter().any(|step| step.writes.iter().any(|tensor| tensor.len() > 40 * SMALL)) {
        return None;
    }
    let mut backend = Device::Cpu(cpu).backend();
    let loaded = backend.load(&arena, &program).unwrap();
    let row = Row { kl_weight: 1.0, ..Row::default() };
    let time = Clock { seed: 3, step: 0, batch: 0, epoch: 0, rows: vec![row] };
    backend.write_words(clock, &time.words());
    let parameters = arena.parameters().iter().map(|p| p.value);
    for (seed, tensor) in [x, dy].into_iter().chain(parameters).enumerate() {
        backend.write(tensor, &uniform(seed as u64, tensor.len(), -1.0, 1.0));
    }
    backend.run(&[(loaded, 1)]).unwrap();
    let mut results = backend.read(&[y, dx]).unwrap();
    // With the parameters held the gradient of x is the same, but for the order of a batch norm's sums.
    let held = backend.read_one(held).unwrap();
    assert!(text.contains("batchnorm") || held == results[1] || held.iter().any(|v| v.is_nan()), "{text}");
    results.extend(arena.parameters().iter().map(|p| backend.read_one(p.grad).unwrap()));
    Some(results.concat())
}

/// Whether both forms of the kernels agree. A norm of two equal numbers divides rounding by almost nothing, so networks
/// with norms have only to run.
fn agree(text: &str, input: [usize; 3]) -> bool {
    let (Some(fast), Some(reference)) = (run(text, input, Cpu::Accelerated), run(text, input, Cpu::Reference)) else {
        return true;
    };
    let scale = reference.iter().fold(1.0f32, |most, v| most.max(v.abs()));
    // Sums of some hundred products of numbers below 1, layer upon layer.
    text.contains("norm") || fast.iter().zip(&reference).all(|(a, b)| (a - b).abs() <= 1e-4 * scale)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_text_allows_runs_both_ways(
        items in prop::collection::vec(item(), 1..4),
        input in [1..5usize, 1..7usize, 1..7usize],
    ) {
        prop_assert!(agree(&items.join(", "), input), "{} of {input:?}", items.join(", "));
    }
}

/// Neighbours that chance may pass by: output padding of a stride or more, and a window of one place that does not move
/// place by place though the sizes are equal.
#[test]
fn rare_geometries_run_both_ways() {
    for text in [
        "conv_transpose 1 k1 d2 op1",
        "conv_transpose 8 k3 s1 d4 op3, relu",
        "conv_transpose 6 k2x1 s2 d3x5 op2x4 g2 p1x0",
        "conv_transpose 2 k2 s1x3 d3x1 op2x2",
        "conv 4 k1 s2 p1",
        "conv 4 k1 s3x2 p3x1",
    ] {
        for input in [[2, 3, 3], [4, 1, 1], [2, 5, 2]] {
            assert!(agree(text, input), "{text} of {input:?}");
        }
    }
    assert!(run("conv_transpose 1 k1 d2 op1", [4, 1, 1], Cpu::Accelerated).is_some());
    assert!(run("conv 4 k1 s2 p1", [2, 3, 3], Cpu::Accelerated).is_some());
}
