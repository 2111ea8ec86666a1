//! A step of an LSTM, `shaders/lstm.wgsl`: Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber &
//! Cummins 2000, as `torch.nn.LSTM` has it. The products with the weights are [`matmul`]'s: x W_ih^T of
//! all steps at once, h W_hh^T a step at a time.

use super::activation::sigmoid;
use super::recurrent::{FIELDS, Params, Place, TOLERANCE, cases, cost, grid, lengths};
use super::threads::{chunk, chunks};
use super::{joint, math, matmul, scratch};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use crate::kernels::activation::Activation;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Kernels

const SOURCE: Source = Source {
    file: "lstm.wgsl",
    text: include_str!("../../shaders/lstm.wgsl"),
    common: &[super::INDEX, super::ACTIVATION],
    bindings: &["recur", "lengths", "c_before", "dy", "gates", "h", "c", "h_kept", "c_kept", "y", "dh", "dc", "dstep"],
    ..PLAIN_SOURCE
};

/// recur (B,4H), h W_hh^T + b_hh, and lengths (B) as integers. Updated are the step's rows of gates (T*B,4H), from
/// x W_ih^T + b_ih to i, f, g, o, and the state h and c (B,H); its rows of h_kept and c_kept, the state before, and of
/// y, h after it, are assigned, all (T*B,H). Recorded by [`cell`].
pub static CELL: Kernel = Kernel {
    name: "lstm.cell",
    formula: "i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of gates + recur; c = f c + i g, h = o tanh(c) \
              where t < length",
    reads: &["recur", "lengths"],
    writes: &["gates", "h", "c", "h_kept", "c_kept", "y"],
    shader: Shader { source: &SOURCE, entry: "cell", workgroup: [64, 1, 1], grid },
    reference: cell_reference,
    accelerated: Some(cell_accelerated),
    cost: |p| cost(p, 60, 19),
    cases: cell_cases,
    ..KERNEL
};

/// lengths (B), c_before (T*B,H) and, where `with_dy` is set, dy (T*B,H), else any tensor in its place. dh and dc (B,H)
/// are updated from the gradients of the state after the step to those before, dh but for dstep W_hh. The step's rows
/// of gates (T*B,4H) become the gradients of what the gates' functions read; dstep (B,4H), assigned, is these alone.
/// Recorded by [`backward_cell`].
pub static BACKWARD_CELL: Kernel = Kernel {
    name: "lstm.backward_cell",
    formula: "dh += dy; dc' = dc + dh o (1 - tanh(c)^2); gates = (dc' g i', dc' c_before f', dc' i g', dh tanh(c) o'); \
              dc = dc' f, dh = 0, where t < length",
    reads: &["lengths", "c_before", "dy"],
    writes: &["gates", "dh", "dc", "dstep"],
    shader: Shader { source: &SOURCE, entry: "backward_cell", workgroup: [64, 1, 1], grid },
    reference: backward_cell_reference,
    accelerated: Some(backward_cell_accelerated),
    cost: |p| cost(p, 45, 18),
    cases: backward_cell_cases,
    ..KERNEL
};

const KERNEL: Kernel = Kernel { params: FIELDS, gradients: GradientCheck::Cases(gradients), ..PLAIN };

// ---- Record

/// The tensors of a run over T steps of B rows, which its backward needs.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// (T*B,4H): x W_ih^T + b_ih before a step, i f g o after it, their gradients after its backward.
    pub gates: Tensor,
    /// (B), as integers.
    pub lengths: Tensor,
    /// (T*B,H): h before each step.
    pub h_before: Tensor,
    /// (T*B,H): c before each step.
    pub c_before: Tensor,
    /// (T*B,H): h after each step.
    pub h: Tensor,
}

impl Run {
    /// A run whose gates (T*B,4H) hold x W_ih^T + b_ih, over the rows of lengths (B).
    pub fn new(r: &mut Recorder, gates: Tensor, lengths: Tensor) -> Run {
        let [rows, width] = gates.matrix();
        let fits = lengths.shape().len() == 1 && rows % lengths.len() == 0 && width % 4 == 0;
        assert!(fits, "lstm.cell: gates {gates:?}, lengths {lengths:?}");
        let [h_before, c_before, h] = ["h_before", "c_before", "h"].map(|name| r.tensor(name, &[rows, width / 4]));
        Run { gates, lengths, h_before, c_before, h }
    }

    /// T.
    pub fn steps(self) -> usize {
        self.gates.matrix()[0] / self.lengths.len()
    }

    fn params(self, place: Place, with_dy: bool) -> Params {
        Params::new("lstm", self.h, self.lengths, place, with_dy)
    }
}

/// One step: updates the state h and c, (B,H) each, and the run's tensors, from recur (B,4H), h W_hh^T + b_hh.
pub fn cell(r: &mut Recorder, run: Run, place: Place, recur: Tensor, [h, c]: [Tensor; 2]) {
    let params = run.params(place, false);
    let [b, size] = params.sizes();
    let fits = recur.shape() == [b, 4 * size] && h.shape() == [b, size] && c.shape() == [b, size];
    assert!(fits, "lstm.cell: recur {recur:?}, h {h:?}, c {c:?}, gates {:?}", run.gates);
    r.dispatch(&CELL, params, &[recur, run.lengths], &[run.gates, h, c, run.h_before, run.c_before, run.h]);
}

/// Of one step: updates dh and dc (B,H) to the gradients of the state before it, but that dstep W_hh is still to be
/// added to dh, assigns dstep (B,4H), and puts the gradients of the gates' sums in the run's gates. dy (T*B,H) is the
/// gradient of [`Run::h`].
pub fn backward_cell(
    r: &mut Recorder,
    run: Run,
    place: Place,
    dy: Option<Tensor>,
    [dh, dc]: [Tensor; 2],
    dstep: Tensor,
) {
    let params = run.params(place, dy.is_some());
    let [b, size] = params.sizes();
    let fits = dstep.shape() == [b, 4 * size] && dh.shape() == [b, size] && dc.shape() == [b, size];
    assert!(fits, "lstm.backward_cell: dstep {dstep:?}, dh {dh:?}, dc {dc:?}, gates {:?}", run.gates);
    // Not read where there is none.
    let dy = dy.unwrap_or(run.c_before);
    assert!(dy.shape() == run.h.shape(), "lstm.backward_cell: dy {dy:?} does not fit h {:?}", run.h);
    r.dispatch(&BACKWARD_CELL, params, &[run.lengths, run.c_before, dy], &[run.gates, dh, dc, dstep]);
}

// ---- References

fn cell_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, size] = p.sizes();
    let (recur, lengths) = (reads[0], reads[1]);
    let [gates, h, c, h_kept, c_kept, y] = writes else { unreachable!("cell writes six tensors") };
    for b in 0..rows {
        for j in 0..size {
            let (n, at) = (b * size + j, p.row(b) * size + j);
            (h_kept[at], c_kept[at]) = (h[n], c[n]);
            if p.takes(lengths[b]) {
                let place = |k: usize| (p.row(b) * 4 + k) * size + j;
                let sum = |k: usize| f64::from(gates[place(k)]) + f64::from(recur[(b * 4 + k) * size + j]);
                let [i, f, g, o] = [sigmoid(sum(0)), sigmoid(sum(1)), sum(2).tanh(), sigmoid(sum(3))];
                [i, f, g, o].iter().enumerate().for_each(|(k, &gate)| gates[place(k)] = gate as f32);
                let cell = f * f64::from(c[n]) + i * g;
                (c[n], h[n]) = (cell as f32, (o * cell.tanh()) as f32);
            }
            y[at] = h[n];
        }
    }
}

fn backward_cell_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, size] = p.sizes();
    let [lengths, c_before, dy] = *reads else { unreachable!("backward_cell reads three tensors") };
    let [gates, dh, dc, dstep] = writes else { unreachable!("backward_cell writes four tensors") };
    for b in 0..rows {
        for j in 0..size {
            let (n, at) = (b * size + j, p.row(b) * size + j);
            let place = |k: usize| (p.row(b) * 4 + k) * size + j;
            let dh_after = f64::from(dh[n]) + if p.with_dy != 0 { f64::from(dy[at]) } else { 0.0 };
            let mut d = [0.0; 4];
            dh[n] = dh_after as f32;
            if p.takes(lengths[b]) {
                let [i, f, g, o] = [0, 1, 2, 3].map(|k| f64::from(gates[place(k)]));
                let before = f64::from(c_before[at]);
                let u = (f * before + i * g).tanh();
                let dc_after = f64::from(dc[n]) + dh_after * o * (1.0 - u * u);
                d[0] = dc_after * g * i * (1.0 - i);
                d[1] = dc_after * before * f * (1.0 - f);
                d[2] = dc_after * i * (1.0 - g * g);
                d[3] = dh_after * u * o * (1.0 - o);
                (dc[n], dh[n]) = ((dc_after * f) as f32, 0.0);
            }
            for (k, d) in d.into_iter().enumerate() {
                gates[place(k)] = d as f32;
                dstep[(b * 4 + k) * size + j] = d as f32;
            }
        }
    }
}

// ---- Accelerated

fn cell_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, size] = p.sizes();
    let (recur, lengths) = (reads[0], reads[1]);
    let [gates, h, c, h_kept, c_kept, y] = writes else { unreachable!("cell writes six tensors") };
    let gates = (p.rows_mut(gates, 4 * size), 4 * size);
    let [h, c] = [h, c].map(|state| (&mut state[..b * size], size));
    let [h_kept, c_kept, y] = [h_kept, c_kept, y].map(|t| (p.rows_mut(t, size), size));
    chunks([gates, h, c, h_kept, c_kept, y], p.share(), |row, [gates, h, c, h_kept, c_kept, y]| {
        h_kept.copy_from_slice(h);
        c_kept.copy_from_slice(c);
        if p.takes(lengths[row]) {
            let recur = chunk(recur, 4 * size, row);
            math::vectorised(|| gates.iter_mut().zip(recur).for_each(|(gate, recur)| *gate += recur));
            math::update(&mut gates[..2 * size], math::sigmoid);
            math::update(&mut gates[2 * size..3 * size], math::tanh);
            math::update(&mut gates[3 * size..], math::sigmoid);
            let [i, f, g, o] = quarters(gates);
            math::update_pairs(c, [f, f], |c, f, _| f * c);
            math::update_pairs(c, [i, g], |c, i, g| c + i * g);
            h.copy_from_slice(c);
            math::update(h, math::tanh);
            math::update_pairs(h, [o, o], |u, o, _| o * u);
        }
        y.copy_from_slice(h);
    });
}

fn quarters(gates: &[f32]) -> [&[f32]; 4] {
    let size = gates.len() / 4;
    [0, 1, 2, 3].map(|k| &gates[k * size..][..size])
}

fn backward_cell_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, size] = p.sizes();
    let lengths = reads[0];
    let [c_before, dy] = [1, 2].map(|t| p.rows(reads[t], size));
    let [gates, dh, dc, dstep] = writes else { unreachable!("backward_cell writes four tensors") };
    let gates = (p.rows_mut(gates, 4 * size), 4 * size);
    let [dh, dc] = [dh, dc].map(|d| (&mut d[..b * size], size));
    let dstep = (&mut dstep[..b * 4 * size], 4 * size);
    chunks([gates, dh, dc, dstep], p.share(), |row, [gates, dh, dc, dstep]| {
        let [c_before, dy] = [c_before, dy].map(|t| chunk(t, size, row));
        if p.with_dy != 0 {
            math::vectorised(|| dh.iter_mut().zip(dy).for_each(|(dh, dy)| *dh += dy));
        }
        if !p.takes(lengths[row]) {
            gates.fill(0.0);
            dstep.fill(0.0);
            return;
        }
        let [i, f, g, o] = quarters(gates);
        let mut u = scratch::any(size);
        u.copy_from_slice(c_before);
        math::update_pairs(&mut u, [f, f], |before, f, _| f * before);
        math::update_pairs(&mut u, [i, g], |u, i, g| math::tanh(u + i * g));
        let (di, rest) = dstep.split_at_mut(size);
        let (df, rest) = rest.split_at_mut(size);
        let (dg, d_o) = rest.split_at_mut(size);
        // Pass by pass, each over few enough slices that it vectorises.
        d_o.copy_from_slice(dh);
        math::update_pairs(d_o, [&u, o], |dh, u, o| dh * u * o * (1.0 - o));
        math::update_pairs(dh, [&u, o], |dh, u, o| dh * o * (1.0 - u * u));
        math::vectorised(|| dc.iter_mut().zip(dh.iter()).for_each(|(dc, dh)| *dc += dh));
        dh.fill(0.0);
        di.copy_from_slice(dc);
        math::update_pairs(di, [g, i], |dc, g, i| dc * g * i * (1.0 - i));
        df.copy_from_slice(dc);
        math::update_pairs(df, [c_before, f], |dc, before, f| dc * before * f * (1.0 - f));
        dg.copy_from_slice(dc);
        math::update_pairs(dg, [i, g], |dc, i, g| dc * i * (1.0 - g * g));
        math::update_pairs(dc, [f, f], |dc, f, _| dc * f);
        gates.copy_from_slice(dstep);
    });
}

// ---- Cases

/// Some sums are so large that the gates are shut or open.
fn cell_cases() -> Vec<Case> {
    cases(false, |p, case| {
        let [b, h] = p.sizes();
        let n = p.steps as usize * b * h;
        let mut recur = uniform(1, 4 * b * h, -3.0, 3.0);
        recur.iter_mut().step_by(11).for_each(|sum| *sum *= 40.0);
        case.read(recur)
            .read_words(lengths(p))
            .update(uniform(2, 4 * n, -3.0, 3.0), TOLERANCE)
            .update(uniform(3, b * h, -1.0, 1.0), TOLERANCE)
            .update(uniform(4, b * h, -2.0, 2.0), TOLERANCE)
            .update(uniform(5, n, -1.0, 1.0), Tolerance::Exact)
            .update(uniform(6, n, -1.0, 1.0), Tolerance::Exact)
            .update(uniform(7, n, -1.0, 1.0), TOLERANCE)
    })
}

fn backward_cell_cases() -> Vec<Case> {
    let of = |with_dy| {
        cases(with_dy, |p, case| {
            let [b, h] = p.sizes();
            let n = p.steps as usize * b * h;
            case.read_words(lengths(p))
                .read(uniform(1, n, -2.0, 2.0))
                .read(uniform(2, n, -1.0, 1.0))
                .update(uniform(3, 4 * n, 0.0, 1.0), TOLERANCE)
                .update(uniform(4, b * h, -1.0, 1.0), TOLERANCE)
                .update(uniform(5, b * h, -1.0, 1.0), TOLERANCE)
                .assign(4 * b * h, TOLERANCE)
        })
    };
    [false, true].into_iter().flat_map(of).collect()
}

// ---- Gradients

/// For the finite-difference check: three steps of three rows, one of which ends early and one before the first, from
/// the gates' sums, W_hh and the state before, to the outputs and c after the last step.
fn gradients() -> Vec<GradientCase> {
    const STEPS: usize = 3;
    const B: usize = 3;
    const H: usize = 2;
    let input = |seed, shape: &[usize]| (shape.to_vec(), uniform(seed, shape.iter().product(), -1.0, 1.0));
    vec![GradientCase {
        label: "lstm".into(),
        inputs: vec![
            input(1, &[STEPS * B, 4 * H]),
            input(2, &[4 * H, H]),
            input(3, &[4 * H]),
            input(4, &[B, H]),
            input(5, &[B, H]),
        ],
        output: vec![1, (STEPS + 1) * B * H],
        record: Box::new(|r, inputs, dy| {
            let [x, w, b, h, c, lengths] = *inputs else { unreachable!("five inputs and the lengths") };
            let (gates, state) = (joint::scale(r, x, 1.0), [h, c].map(|t| joint::scale(r, t, 1.0)));
            let run = Run::new(r, gates, lengths);
            for t in 0..STEPS {
                let recur = matmul::forward(r, state[0], w, b, Activation::Identity);
                cell(r, run, Place { slot: t, t }, recur, state);
            }
            let y = joint::concat(r, run.h.reshape(&[1, STEPS * B * H]), state[1].reshape(&[1, B * H]));
            let (dy, dc) = joint::split(r, dy, STEPS * B * H);
            let (dh, dstep) = (joint::scale(r, h, 0.0), r.tensor("dstep", &[B, 4 * H]));
            let dstate = [dh, dc.reshape(&[B, H])];
            for t in (0..STEPS).rev() {
                backward_cell(r, run, Place { slot: t, t }, Some(dy.reshape(&[STEPS * B, H])), dstate, dstep);
                matmul::backward_x_into(r, dstep, w, dstate[0]);
            }
            let (dw, db) = (joint::scale(r, w, 0.0), joint::scale(r, b, 0.0));
            matmul::backward_w(r, run.gates, run.h_before, dw, db);
            (y, vec![run.gates, dw, db, dstate[0], dstate[1]])
        }),
        state: vec![("lengths", vec![3, 1, 0])],
    }]
}
