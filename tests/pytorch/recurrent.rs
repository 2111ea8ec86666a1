//! LSTMs and GRUs: those of PyTorch over packed sequences, with all gradients, on every device; and a run step by step
//! against the run at once. What the golden file holds and how it was made: golden/README.md.

use crate::common::golden::{Golden, assert_none, check_relative};
use elbo::arena::Arena;
use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::cases::{Tolerance, uniform};
use elbo::kernels::recurrent::endless;
use elbo::kernels::{fill, joint};
use elbo::layers::gru::Gru;
use elbo::layers::lstm::Lstm;
use elbo::layers::recurrent::Direction;
use elbo::layers::stacked::{Kind, Stacked, State};
use elbo::program::Recorder;
use elbo::tensor::Tensor;

const TOLERANCE: Tolerance = Tolerance::Because(4e-6, "two layers of five steps in f32, beside f64");

/// Sets the rows behind the sequences' ends to 0, as PyTorch pads them: ours keep the last h there.
fn padded(values: &mut [f32], lengths: &[usize], width: usize) {
    for (row, values) in values.chunks_mut(width).enumerate() {
        let (t, b) = (row / lengths.len(), row % lengths.len());
        if t >= lengths[b] {
            values.fill(0.0);
        }
    }
}

/// One case of the file, with every difference. Returns how many of its tensors it has seen.
fn follow(golden: &Golden, case: &str, device: &Device, failures: &mut Vec<String>) -> usize {
    let words: Vec<&str> = golden.text(case).unwrap().split(' ').collect();
    let [kind, layers, ways] = words[..] else { panic!("{case}: {words:?}") };
    let (layers, ways): (usize, usize) = (layers.parse().unwrap(), ways.parse().unwrap());
    let (kind, parts): (Kind, &[&str]) = if kind == "LSTM" { (Kind::Lstm, &["h", "c"]) } else { (Kind::Gru, &["h"]) };
    let lengths = golden.sizes("lengths").unwrap();
    let [steps, inputs, hidden] = ["steps", "inputs", "hidden"].map(|key| golden.size(key));
    let (b, states) = (lengths.len(), layers * ways);
    let tensor = |name: &str| golden.any(&format!("{case}.{name}")).1;

    let arena = &mut Arena::new();
    let stack = Stacked::new(arena, "rnn", kind, [inputs, hidden], layers, ways == 2);
    let x = arena.tensor("x", &[steps * b, inputs]);
    let words = arena.tensor("lengths", &[b]);
    let dy = arena.tensor("dy", &[steps * b, ways * hidden]);
    let mut of_states = |name: &str| -> Vec<State> {
        (0..states).map(|_| parts.iter().map(|_| arena.tensor(name, &[b, hidden])).collect()).collect()
    };
    let (start, dlast) = (of_states("start"), of_states("dlast"));
    let gradients = arena.flat_gradients();
    let mut r = Recorder::new(arena);
    fill::forward(&mut r, gradients, 0.0);
    let (outputs, saved) = stack.forward(&mut r, x, words, Some(&start));
    let back = stack.backward(&mut r, saved, Some(dy), Some(&dlast));
    let program = r.finish(case);

    let mut backend = device.backend();
    let program = backend.load(arena, &program).unwrap();
    backend.write(x, tensor("x"));
    backend.write(dy, tensor("dy"));
    backend.write_words(words, &lengths.iter().map(|&n| n as u32).collect::<Vec<_>>());
    // PyTorch has the states of all layers and directions in one tensor.
    let slice = |name: &str, part: &str, n: usize| &tensor(&format!("{name}_{part}"))[n * b * hidden..][..b * hidden];
    for (n, (start, dlast)) in start.iter().zip(&dlast).enumerate() {
        for ((part, &start), &dlast) in parts.iter().zip(start).zip(dlast) {
            backend.write(start, slice("start", part, n));
            backend.write(dlast, slice("dlast", part, n));
        }
    }
    for p in arena.parameters() {
        backend.write(p.value, tensor(&p.name.replace("rnn.", "param.")));
    }
    // Twice: a replay leaves what the first one left.
    backend.run(&[(program, 2)]).unwrap();

    let mut read = |t: Tensor| backend.read_one(t).unwrap();
    let mut check = |what: &str, got: &[f32], want: &[f32]| {
        check_relative(format!("{case} {what}"), got, want, TOLERANCE, failures);
    };
    let mut y = read(outputs.h);
    padded(&mut y, &lengths, ways * hidden);
    check("y", &y, tensor("y"));
    check("dx", &read(back.dx), tensor("dx"));
    for n in 0..states {
        for (i, part) in parts.iter().enumerate() {
            check(&format!("last {part} {n}"), &read(outputs.last[n][i]), slice("last", part, n));
            check(&format!("dstart {part} {n}"), &read(back.dstart[n][i]), slice("dstart", part, n));
        }
    }
    for p in arena.parameters() {
        check(&p.name, &read(p.grad), tensor(&p.name.replace("rnn.", "grad.")));
    }
    assert_eq!(arena.parameters().len(), 4 * states, "{case}");
    4 + 4 * parts.len() + 2 * arena.parameters().len()
}

#[test]
fn layers_are_pytorchs() {
    let golden = Golden::read("recurrent");
    let cases: Vec<&String> = golden.file.metadata.keys().filter(|k| k.contains("lstm") || k.contains("gru")).collect();
    assert_eq!(cases.len(), 8);
    for (name, device) in crate::common::devices() {
        let mut failures = Vec::new();
        let seen: usize = cases.iter().map(|case| follow(&golden, case, &device, &mut failures)).sum();
        assert_none(name, &failures);
        assert_eq!(golden.file.tensors.len(), seen);
    }
}

// ---- Step by step

const STEPS: usize = 3;
const B: usize = 3;
const INPUTS: usize = 2;
const HIDDEN: usize = 5;

/// Outputs, dx, the gradient of the state at the start, those of the parameters.
type Results = Vec<Vec<f32>>;

/// What a recording has to be given and gives: x (B,I) and dy (B,H) of each step, start and dlast (B,H), `parts` each;
/// then h and dx of all steps, one after the other, and dstart.
struct Recording {
    x: Vec<Tensor>,
    dy: Vec<Tensor>,
    lengths: Option<Tensor>,
    start: Vec<Tensor>,
    dlast: Vec<Tensor>,
    results: Vec<Tensor>,
}

/// Runs a recording on the same numbers as any other. Rows end where `lengths` says, or not.
fn run(device: &Device, arena: &Arena, program: elbo::program::Program, on: Recording, lengths: [u32; B]) -> Results {
    let mut backend = device.backend();
    let program = backend.load(arena, &program).unwrap();
    let mut write = |seed: u64, tensors: &[Tensor]| {
        let mut values = &uniform(seed, tensors.iter().map(Tensor::len).sum(), -1.0, 1.0)[..];
        for &t in tensors {
            let (own, rest) = values.split_at(t.len());
            backend.write(t, own);
            values = rest;
        }
    };
    [&on.x, &on.dy, &on.start, &on.dlast].into_iter().enumerate().for_each(|(seed, t)| write(seed as u64, t));
    let parameters = arena.flat_parameters();
    write(9, &[parameters]);
    if let Some(words) = on.lengths {
        backend.write_words(words, &lengths);
    }
    backend.run(&[(program, 1)]).unwrap();
    let mut results = vec![backend.read(&on.results).unwrap().concat()];
    results.push(backend.read_one(arena.flat_gradients()).unwrap());
    results
}

/// The run at once and the run step by step, each the tensors of its recording.
fn at_once_and_by_steps(device: &Device, kind: Kind, lengths: [u32; B], with_lengths: bool) -> [Results; 2] {
    [false, true].map(|by_steps| {
        let arena = &mut Arena::new();
        let lstm = (kind == Kind::Lstm).then(|| Lstm::new(arena, "rnn", INPUTS, HIDDEN));
        let gru = (kind == Kind::Gru).then(|| Gru::new(arena, "rnn", INPUTS, HIDDEN));
        let parts = if kind == Kind::Lstm { 2 } else { 1 };
        let count = if by_steps { STEPS } else { 1 };
        let rows = STEPS * B / count;
        let mut tensors = |name: &str, count: usize, shape: [usize; 2]| -> Vec<Tensor> {
            (0..count).map(|_| arena.tensor(name, &shape)).collect()
        };
        let (x, dy) = (tensors("x", count, [rows, INPUTS]), tensors("dy", count, [rows, HIDDEN]));
        let (start, dlast) = (tensors("start", parts, [B, HIDDEN]), tensors("dlast", parts, [B, HIDDEN]));
        let given = with_lengths.then(|| arena.tensor("lengths", &[B]));
        let mut recorder = Recorder::new(arena);
        let r = &mut recorder;
        let words = given.unwrap_or_else(|| endless(r, B));
        let mut copies = |from: &[Tensor]| -> Vec<Tensor> { from.iter().map(|&t| joint::scale(r, t, 1.0)).collect() };
        let (state, dstate) = (copies(&start), copies(&dlast));
        let (mut h, mut dx, dstart) = match (lstm, gru, by_steps) {
            (Some(lstm), _, false) => {
                let (outputs, saved) = lstm.forward(r, x[0], words, Some([start[0], start[1]]));
                let back = lstm.backward(r, saved, Some(dy[0]), Some([dlast[0], dlast[1]]));
                (vec![outputs.h], vec![back.dx], back.dstart.to_vec())
            }
            (Some(lstm), _, true) => {
                let (state, back) = ([state[0], state[1]], [dstate[0], dstate[1]]);
                let run: Vec<_> = (0..STEPS).map(|t| lstm.step(r, x[t], state, words, t)).collect();
                let (h, saved): (Vec<_>, Vec<_>) = run.into_iter().unzip();
                let steps = saved.into_iter().zip(&dy).rev();
                let dx: Vec<_> = steps.map(|(saved, &dy)| lstm.backward_step(r, saved, Some(dy), back)).collect();
                (h, dx, back.to_vec())
            }
            (_, Some(gru), false) => {
                let (outputs, saved) = gru.forward(r, x[0], words, Some(start[0]));
                let back = gru.backward(r, saved, Some(dy[0]), Some(dlast[0]));
                (vec![outputs.h], vec![back.dx], vec![back.dstart])
            }
            (_, Some(gru), true) => {
                let run: Vec<_> = (0..STEPS).map(|t| gru.step(r, x[t], state[0], words, t)).collect();
                let (h, saved): (Vec<_>, Vec<_>) = run.into_iter().unzip();
                let steps = saved.into_iter().zip(&dy).rev();
                let dx: Vec<_> = steps.map(|(saved, &dy)| gru.backward_step(r, saved, Some(dy), dstate[0])).collect();
                (h, dx, vec![dstate[0]])
            }
            _ => unreachable!("a layer of either kind"),
        };
        // Made from the last step to the first.
        dx.reverse();
        h.extend(dx.into_iter().chain(dstart));
        let program = recorder.finish("run");
        run(device, arena, program, Recording { x, dy, lengths: given, start, dlast, results: h }, lengths)
    })
}

#[test]
fn a_run_step_by_step_is_the_run_at_once() {
    for (name, device) in crate::common::devices() {
        let mut failures = Vec::new();
        for kind in [Kind::Lstm, Kind::Gru] {
            let [at_once, by_steps] = at_once_and_by_steps(&device, kind, [3, 1, 2], true);
            for (what, (got, want)) in ["values", "parameters"].iter().zip(by_steps.iter().zip(&at_once)) {
                check_relative(format!("{kind:?} {what}"), got, want, TOLERANCE, &mut failures);
            }
            let [whole, endless] = [true, false].map(|given| at_once_and_by_steps(&device, kind, [3; B], given));
            assert!(whole == endless, "{kind:?} on {name}: rows without an end");
        }
        assert_none(name, &failures);
    }
}

/// What stands behind a row's end in x changes no output, were it NaN. (A backward multiplies it by zero.)
#[test]
fn what_lies_behind_the_end_changes_no_output() {
    for direction in [Direction::Forward, Direction::Reverse] {
        for cpu in [Cpu::Reference, Cpu::Accelerated] {
            let of = |behind: f32| {
                let arena = &mut Arena::new();
                let layer = Lstm::numbered(arena, "rnn", 0, direction, [INPUTS, HIDDEN]);
                let x = arena.tensor("x", &[STEPS * B, INPUTS]);
                let lengths = arena.tensor("lengths", &[B]);
                let mut r = Recorder::new(arena);
                let (outputs, _) = layer.forward(&mut r, x, lengths, None);
                let program = r.finish("run");
                let mut backend = Device::Cpu(cpu).backend();
                let program = backend.load(arena, &program).unwrap();
                let mut values = uniform(1, x.len(), -1.0, 1.0);
                for row in [4, 7, 8] {
                    values[row * INPUTS..][..INPUTS].fill(behind);
                }
                backend.write(x, &values);
                backend.write_words(lengths, &[3, 1, 2]);
                let parameters = arena.flat_parameters();
                backend.write(parameters, &uniform(2, parameters.len(), -1.0, 1.0));
                backend.run(&[(program, 1)]).unwrap();
                backend.read(&[outputs.h, outputs.last[0], outputs.last[1]]).unwrap()
            };
            assert!(of(0.0) == of(f32::NAN), "{direction:?} on {cpu:?}");
        }
    }
}
