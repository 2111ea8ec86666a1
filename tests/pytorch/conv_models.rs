//! Networks with convolutions against what PyTorch recorded: the VAE trained for ten steps, and layers one by one.
//! What the golden files hold and how they were made: golden/README.md.

use elbo::arena::{Arena, Layout};
use elbo::backend::Device;
use elbo::cases::Tolerance;
use elbo::data::table::PICTURES;
use elbo::kernels::clock::Clock;
use elbo::kernels::rows::Rows;
use elbo::kernels::{bce, mse};
use elbo::layers::Mode;
use elbo::models::batch::{Augmentation, Batch, Source};
use elbo::models::draw::Draw;
use elbo::models::parts::network::{Network, Shape};
use elbo::program::Recorder;

use crate::common::golden::{Golden, assert_none, check, check_relative, initial_by_formula};
use crate::common::trajectory::Trajectory;

// ---- Ten steps of training

const TRAJECTORIES: [&str; 2] = ["conv_article", "conv_small"];

/// How far runs of PyTorch in other orders of summation are from the recorded ones: 6.5e-6 in a gradient and 1.8e-6 in
/// a statistic, relative to the largest of the tensor, 4e-7 in a parameter; float64 is 6.2e-7 from it.
const GRADIENT: Tolerance = Tolerance::Because(2e-5, "three times the distance of PyTorch's own orders of summation");
const STATISTIC: Tolerance = Tolerance::Because(5e-6, "three times the distance of PyTorch's own orders of summation");
const PARAMETER: Tolerance = Tolerance::Because(1e-6, "Adam's ten steps of lr times the gradients' relative error");
const NORM: Tolerance = Tolerance::Because(5e-6, "the errors of hundreds of elements, which do not add up");
const TERM: Tolerance = Tolerance::Because(1e-5, "ten steps, then four layers and more, each off by its rounding");
/// How large a gradient that is zero but for rounding may be, beside the largest of its layer's weight.
const ROUNDING: f32 = 1e-5;

/// The elements that a golden file keeps of a tensor of this size.
fn sample(golden: &Golden, values: &[f32]) -> Vec<f32> {
    let whole = golden.text("init") == Some("file") || values.len() <= 512;
    let step = if whole { 1 } else { (values.len() / 256) | 1 };
    values.iter().copied().step_by(step).collect()
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt() as f32
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// After each of the ten steps the losses, every gradient, parameter and statistic; then the trained model in
/// evaluation.
fn follow(name: &str, device: &Device) -> Vec<String> {
    let mut t = Trajectory::new(name, device);
    let zero: Vec<String> = t.golden.text("zero_gradient").map_or(vec![], |z| z.split(',').map(String::from).collect());
    let parameters = t.replay.arena.parameters().to_vec();
    let mut failures = Vec::new();
    let mut seen = 0;
    for s in 0..t.steps {
        let after = t.step(s, &mut failures);
        for p in &parameters {
            let (_, gradient) = &after.gradients.tensors[&p.name];
            let (_, parameter) = &after.parameters.tensors[&p.name];
            let (_, want_gradient) = t.golden.any(&format!("grad.{s}.{}", p.name));
            let (_, want_parameter) = t.golden.any(&format!("param.{s}.{}", p.name));
            let what = |kind: &str| format!("step {s} {kind} {}", p.name);
            seen += 2;
            if zero.contains(&p.name) {
                let (_, weight) = &after.gradients.tensors[&p.name.replace(".bias", ".weight")];
                let bound = Tolerance::Because(ROUNDING * largest(weight), "rounding of sums that cancel");
                check(what("gradient"), gradient, &vec![0.0; gradient.len()], bound, &mut failures);
                t.replay.backend.write(p.value, want_parameter);
                continue;
            }
            let sampled = sample(&t.golden, gradient);
            check_relative(what("gradient"), &sampled, want_gradient, GRADIENT, &mut failures);
            check(what("parameter"), &sample(&t.golden, parameter), want_parameter, PARAMETER, &mut failures);
            if sampled.len() < gradient.len() {
                let [gradient_norm, parameter_norm] =
                    *t.golden.tensor(&format!("norm.{s}.{}", p.name), &[2]).first_chunk().unwrap();
                check_relative(what("gradient norm"), &[norm(gradient)], &[gradient_norm], NORM, &mut failures);
                check_relative(what("parameter norm"), &[norm(parameter)], &[parameter_norm], NORM, &mut failures);
                seen += 1;
            }
        }
        for statistic in t.replay.arena.statistics() {
            let name = &statistic.name;
            let (shape, values) = &after.parameters.tensors[name];
            let tolerance = if statistic.is_count { Tolerance::Exact } else { STATISTIC };
            let want = t.golden.tensor(&format!("stat.{s}.{name}"), shape);
            check_relative(format!("step {s} statistic {name}"), values, want, tolerance, &mut failures);
            seen += 1;
        }
    }
    evaluate(&mut t, &mut failures);
    // x, eps, the three losses, five of the evaluation, and the initial values: nothing in the file is left out.
    assert_eq!(t.golden.file.tensors.len(), seen + 10 + parameters.len(), "{name}");
    failures
}

/// The trained model on the first batch, with the running statistics.
fn evaluate(t: &mut Trajectory, failures: &mut Vec<String>) {
    let [x, noise] = t.batch(0);
    let (golden, t) = (&t.golden, &mut t.replay);
    let given = t.inputs[0];
    t.backend.write(given, &x);
    let before = t.arena.flat_statistics().map(|s| t.backend.read_one(s).unwrap());
    let clock = Clock::tensor(&mut t.arena, "evaluation clock", 1);
    let batch = Batch {
        rows: given.matrix()[0],
        clock,
        mode: Mode::Evaluate,
        weight: Rows::Scale(1.0),
        order: None,
        columns: vec![(PICTURES.into(), Source::Given(given))],
        augmentation: Augmentation::default(),
        longest: 0,
    };
    let mut draw = Draw::Given(Vec::new());
    let mut r = Recorder::new(&mut t.arena);
    let [recon, kl] = t.model.evaluate(&mut r, &batch, &mut draw).try_into().expect("a VAE has two terms");
    let [mean, logvar] = t.model.view(&mut r, "encode", &[given], &mut draw).try_into().expect("q has two parameters");
    let program = r.finish("evaluate");
    // What the loss compares with the picture is the decoder's output before its link.
    let is_loss = |kernel| std::ptr::eq(kernel, &bce::LOSS) || std::ptr::eq(kernel, &mse::LOSS);
    let output = program.steps.iter().find(|step| is_loss(step.kernel)).expect("a loss of pixels").reads[0];
    let Draw::Given(drawn) = draw else { unreachable!("it was given") };
    let &[(drawn, _)] = &drawn[..] else { panic!("one z is drawn a picture") };
    let program = t.backend.load(&t.arena, &program).unwrap();
    t.backend.write(drawn, &noise);
    t.backend.run(&[(program, 1)]).unwrap();
    let read = t.backend.read(&[mean, logvar, output, recon, kl]).unwrap();
    for (name, got) in ["mean", "logvar", "output", "recon", "kl"].into_iter().zip(read) {
        let (shape, want) = golden.any(&format!("eval.{name}"));
        let got = if shape.is_empty() { vec![got.iter().sum()] } else { got };
        check_relative(format!("eval {name}"), &got, want, TERM, failures);
    }
    assert!(t.arena.flat_statistics().map(|s| t.backend.read_one(s).unwrap()) == before, "evaluation moved statistics");
}

#[test]
fn ten_steps_of_training_on_a_cpu_follow_pytorch() {
    follow_all(|device| matches!(device, Device::Cpu(_)));
}

#[test]
fn ten_steps_of_training_on_a_gpu_follow_pytorch() {
    follow_all(|device| matches!(device, Device::Gpu(_)));
}

fn follow_all(is_one: fn(&Device) -> bool) {
    for (device_name, device) in crate::common::devices().into_iter().filter(|(_, device)| is_one(device)) {
        for name in TRAJECTORIES {
            assert_none(&format!("{name} on {device_name}"), &follow(name, &device));
        }
    }
}

/// What the article's network starts from here is what PyTorch's run started from.
#[test]
fn the_formula_of_the_initial_parameters_is_pytorchs() {
    let t = Trajectory::new("conv_article", &Device::Cpu(elbo::backend::cpu::Cpu::Accelerated));
    let values = initial_by_formula(&t.replay.arena);
    assert_eq!(values.values().map(Vec::len).sum::<usize>(), 715_537);
    for (name, values) in values {
        let (_, want) = t.golden.any(&format!("init.{name}"));
        assert!(sample(&t.golden, &values) == want, "{name}");
    }
}

// ---- Single layers

/// The golden values were computed in float64.
const LAYER: Tolerance = Tolerance::Because(1e-6, "eight roundings of the tensor's largest element");

/// An item of one dimension as one of pictures of height 1.
fn flat(item: &str) -> String {
    let Some((kind, words)) = item.split_once("1d ") else { return item.into() };
    let word = |word: &str| {
        let (key, number) = word.split_at(word.find(|c: char| c.is_ascii_digit()).unwrap_or(word.len()));
        match key {
            "k" | "s" | "d" => format!("{key}1x{number}"),
            "p" | "op" => format!("{key}0x{number}"),
            _ => word.to_string(),
        }
    };
    format!("{kind} {}", words.split(' ').map(word).collect::<Vec<_>>().join(" "))
}

/// PyTorch's shape of a batch as (B,C,H,W), or as vectors (B,F).
fn planar(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [b, c, l] => vec![b, c, 1, l],
        _ => shape.to_vec(),
    }
}

/// The device's shape of a batch, and its order.
fn on_device(shape: &[usize]) -> (Vec<usize>, Layout) {
    match *shape {
        [b, c, h, w] => (vec![b, h, w, c], Layout::ChannelsLast),
        _ => (shape.to_vec(), Layout::Same),
    }
}

/// One layer forward and backward. Returns how many tensors of the file it has.
fn layer(golden: &Golden, case: &str, device: &Device, failures: &mut Vec<String>) -> usize {
    let tensor = |kind: &str| golden.any(&format!("{case}.{kind}"));
    let network: Network = flat(&golden.file.metadata[case]).parse().unwrap();
    let shape = planar(tensor("x").0);
    let example = match shape[..] {
        [_, c, h, w] => Shape::Picture([c, h, w]),
        [_, features] => Shape::Vector(features),
        _ => panic!("{case}: x {shape:?}"),
    };
    let arena = &mut Arena::new();
    let built = network.build(arena, "n", example);
    let ((x_shape, x_order), (y_shape, y_order)) = (on_device(&shape), on_device(&planar(tensor("y").0)));
    let (x, dy) = (arena.tensor("x", &x_shape), arena.tensor("dy", &y_shape));
    let clock = Clock::tensor(arena, "clock", 1);
    let mut r = Recorder::new(arena);
    let (y, saved) = built.forward(&mut r, x, Mode::Train { clock });
    let dx = built.backward(&mut r, saved, dy);
    let program = r.finish(case);
    assert_eq!((y.shape(), dx.shape()), (&y_shape[..], &x_shape[..]), "{case}");

    let mut backend = device.backend();
    let program = backend.load(arena, &program).unwrap();
    backend.write(x, &x_order.from_file(tensor("x").1, &x_shape));
    backend.write(dy, &y_order.from_file(tensor("dy").1, &y_shape));
    for p in arena.parameters() {
        let (shape, values) = tensor(p.name.strip_prefix("n.0.").unwrap());
        // But for the height of 1 that a kernel of one dimension has here.
        let sizes = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        assert_eq!(sizes(&p.layout.file_shape(p.value.shape())), sizes(shape), "{case}: {}", p.name);
        backend.write(p.value, &p.layout.from_file(values, p.value.shape()));
    }
    backend.run(&[(program, 1)]).unwrap();
    let mut read = |tensor| backend.read_one(tensor).unwrap();
    let y = y_order.to_file(&read(y), &y_shape);
    check_relative(format!("{case} y"), &y, tensor("y").1, LAYER, failures);
    let dx = x_order.to_file(&read(dx), &x_shape);
    check_relative(format!("{case} dx"), &dx, tensor("dx").1, LAYER, failures);
    for p in arena.parameters() {
        let gradient = p.layout.to_file(&read(p.grad), p.value.shape());
        let kind = format!("d{}", p.name.strip_prefix("n.0.").unwrap());
        check_relative(format!("{case} {kind}"), &gradient, tensor(&kind).1, LAYER, failures);
    }
    4 + 2 * arena.parameters().len()
}

fn layers(file: &str, cases: usize) {
    let golden = Golden::read(file);
    assert_eq!(golden.file.metadata.len(), cases);
    for (device_name, device) in crate::common::devices() {
        let mut failures = Vec::new();
        let seen: usize = golden.file.metadata.keys().map(|case| layer(&golden, case, &device, &mut failures)).sum();
        assert_none(&format!("{file} on {device_name}"), &failures);
        assert_eq!(golden.file.tensors.len(), seen, "{file}");
    }
}

#[test]
fn convolutions_are_pytorchs() {
    layers("conv_layers", 18);
}

#[test]
fn pools_upsamplings_and_norms_are_pytorchs() {
    layers("other_layers", 15);
}
