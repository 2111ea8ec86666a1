//! A step of a GRU, `shaders/gru.wgsl`: Cho et al. 2014 (arXiv 1406.1078) as `torch.nn.GRU` has it, which applies the
//! reset gate behind the product with the state. The products with the weights are [`matmul`]'s, as with
//! [`lstm`](super::lstm).

use super::activation::sigmoid;
use super::recurrent::{FIELDS, Params, Place, TOLERANCE, cases, cost, grid, lengths};
use super::threads::{chunk, chunks};
use super::{joint, math, matmul};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use crate::kernels::activation::Activation;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Kernels

const SOURCE: Source = Source {
    file: "gru.wgsl",
    text: include_str!("../../shaders/gru.wgsl"),
    common: &[super::INDEX, super::ACTIVATION],
    bindings: &[
        "recur",
        "lengths",
        "h_before",
        "inner",
        "dy",
        "gates",
        "h",
        "h_kept",
        "inner_kept",
        "y",
        "dh",
        "drecur",
        "dstep",
    ],
    ..PLAIN_SOURCE
};

/// recur (B,3H), h W_hh^T + b_hh, and lengths (B) as integers. Updated are the step's rows of gates (T*B,3H), from
/// x W_ih^T + b_ih to r, z, n, and the state h (B,H); its rows of h_kept, the state before, of inner_kept, what r is
/// multiplied with, and of y, h after it, are assigned, all (T*B,H). Recorded by [`cell`].
pub static CELL: Kernel = Kernel {
    name: "gru.cell",
    formula: "r, z = sigmoid of gates + recur, n = tanh(gates + r inner), inner = recur's last; \
              h = (1-z) n + z h where t < length",
    reads: &["recur", "lengths"],
    writes: &["gates", "h", "h_kept", "inner_kept", "y"],
    shader: Shader { source: &SOURCE, entry: "cell", workgroup: [64, 1, 1], grid },
    reference: cell_reference,
    accelerated: Some(cell_accelerated),
    cost: |p| cost(p, 42, 14),
    cases: cell_cases,
    ..KERNEL
};

/// lengths (B), h_before and inner (T*B,H) and, where `with_dy` is set, dy (T*B,H), else any tensor in its place. dh
/// (B,H) is updated from the gradient of the state after the step to that before, but for dstep W_hh. The step's rows
/// of gates (T*B,3H) become the gradients of their sums with x, those of recur its rows of drecur (T*B,3H); dstep
/// (B,3H), assigned, is these alone. Recorded by [`backward_cell`].
pub static BACKWARD_CELL: Kernel = Kernel {
    name: "gru.backward_cell",
    formula: "dh += dy; dn = dh (1-z) n'; gates = (dn inner r', dh (h_before - n) z', dn), drecur the same but r dn; \
              dh = z dh, where t < length",
    reads: &["lengths", "h_before", "inner", "dy"],
    writes: &["gates", "dh", "drecur", "dstep"],
    shader: Shader { source: &SOURCE, entry: "backward_cell", workgroup: [64, 1, 1], grid },
    reference: backward_cell_reference,
    accelerated: Some(backward_cell_accelerated),
    cost: |p| cost(p, 18, 17),
    cases: backward_cell_cases,
    ..KERNEL
};

const KERNEL: Kernel = Kernel { params: FIELDS, gradients: GradientCheck::Cases(gradients), ..PLAIN };

// ---- Record

/// The tensors of a run over T steps of B rows, which its backward needs.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// (T*B,3H): x W_ih^T + b_ih before a step, r z n after it, the gradients of the sums with x after its backward.
    pub gates: Tensor,
    /// (T*B,3H): after its backward the gradients of h W_hh^T + b_hh. Nothing before.
    pub drecur: Tensor,
    /// (B), as integers.
    pub lengths: Tensor,
    /// (T*B,H): h before each step.
    pub h_before: Tensor,
    /// (T*B,H): what r is multiplied with.
    pub inner: Tensor,
    /// (T*B,H): h after each step.
    pub h: Tensor,
}

impl Run {
    /// A run whose gates (T*B,3H) hold x W_ih^T + b_ih, over the rows of lengths (B).
    pub fn new(r: &mut Recorder, gates: Tensor, lengths: Tensor) -> Run {
        let [rows, width] = gates.matrix();
        let fits = lengths.shape().len() == 1 && rows % lengths.len() == 0 && width % 3 == 0;
        assert!(fits, "gru.cell: gates {gates:?}, lengths {lengths:?}");
        let [h_before, inner, h] = ["h_before", "inner", "h"].map(|name| r.tensor(name, &[rows, width / 3]));
        Run { gates, drecur: r.tensor("drecur", &[rows, width]), lengths, h_before, inner, h }
    }

    /// T.
    pub fn steps(self) -> usize {
        self.gates.matrix()[0] / self.lengths.len()
    }

    fn params(self, place: Place, with_dy: bool) -> Params {
        Params::new("gru", self.h, self.lengths, place, with_dy)
    }
}

/// One step: updates the state h (B,H) and the run's tensors, from recur (B,3H), h W_hh^T + b_hh.
pub fn cell(r: &mut Recorder, run: Run, place: Place, recur: Tensor, h: Tensor) {
    let params = run.params(place, false);
    let [b, size] = params.sizes();
    let fits = recur.shape() == [b, 3 * size] && h.shape() == [b, size];
    assert!(fits, "gru.cell: recur {recur:?}, h {h:?}, gates {:?}", run.gates);
    r.dispatch(&CELL, params, &[recur, run.lengths], &[run.gates, h, run.h_before, run.inner, run.h]);
}

/// Of one step: updates dh (B,H) to the gradient of the state before it, but that dstep W_hh is still to be added,
/// assigns dstep (B,3H), and puts the gradients of the sums in the run's gates and drecur. dy (T*B,H) is the gradient
/// of [`Run::h`].
pub fn backward_cell(r: &mut Recorder, run: Run, place: Place, dy: Option<Tensor>, dh: Tensor, dstep: Tensor) {
    let params = run.params(place, dy.is_some());
    let [b, size] = params.sizes();
    let fits = dstep.shape() == [b, 3 * size] && dh.shape() == [b, size];
    assert!(fits, "gru.backward_cell: dstep {dstep:?}, dh {dh:?}, gates {:?}", run.gates);
    // Not read where there is none.
    let dy = dy.unwrap_or(run.h_before);
    assert!(dy.shape() == run.h.shape(), "gru.backward_cell: dy {dy:?} does not fit h {:?}", run.h);
    let reads = [run.lengths, run.h_before, run.inner, dy];
    r.dispatch(&BACKWARD_CELL, params, &reads, &[run.gates, dh, run.drecur, dstep]);
}

// ---- References

fn cell_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, size] = p.sizes();
    let (recur, lengths) = (reads[0], reads[1]);
    let [gates, h, h_kept, inner_kept, y] = writes else { unreachable!("cell writes five tensors") };
    for b in 0..rows {
        for j in 0..size {
            let (i, at) = (b * size + j, p.row(b) * size + j);
            let place = |k: usize| (p.row(b) * 3 + k) * size + j;
            let product = |k: usize| recur[(b * 3 + k) * size + j];
            (h_kept[at], inner_kept[at]) = (h[i], product(2));
            if p.takes(lengths[b]) {
                let sum = |k: usize| f64::from(gates[place(k)]) + f64::from(product(k));
                let (r, z) = (sigmoid(sum(0)), sigmoid(sum(1)));
                let n = (f64::from(gates[place(2)]) + r * f64::from(product(2))).tanh();
                [r, z, n].iter().enumerate().for_each(|(k, &gate)| gates[place(k)] = gate as f32);
                h[i] = ((1.0 - z) * n + z * f64::from(h[i])) as f32;
            }
            y[at] = h[i];
        }
    }
}

fn backward_cell_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [rows, size] = p.sizes();
    let [lengths, h_before, inner, dy] = *reads else { unreachable!("backward_cell reads four tensors") };
    let [gates, dh, drecur, dstep] = writes else { unreachable!("backward_cell writes four tensors") };
    for b in 0..rows {
        for j in 0..size {
            let (i, at) = (b * size + j, p.row(b) * size + j);
            let place = |k: usize| (p.row(b) * 3 + k) * size + j;
            let dh_after = f64::from(dh[i]) + if p.with_dy != 0 { f64::from(dy[at]) } else { 0.0 };
            let (mut d, mut share, mut reset) = ([0.0; 3], 1.0, 0.0);
            if p.takes(lengths[b]) {
                let [r, z, n] = [0, 1, 2].map(|k| f64::from(gates[place(k)]));
                let dn = dh_after * (1.0 - z) * (1.0 - n * n);
                let dz = dh_after * (f64::from(h_before[at]) - n) * z * (1.0 - z);
                d = [dn * f64::from(inner[at]) * r * (1.0 - r), dz, dn];
                (share, reset) = (z, r);
            }
            dh[i] = (dh_after * share) as f32;
            for (k, d) in d.into_iter().enumerate() {
                let recurrent = if k == 2 { reset * d } else { d };
                gates[place(k)] = d as f32;
                drecur[place(k)] = recurrent as f32;
                dstep[(b * 3 + k) * size + j] = recurrent as f32;
            }
        }
    }
}

// ---- Accelerated

fn cell_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, size] = p.sizes();
    let (recur, lengths) = (reads[0], reads[1]);
    let [gates, h, h_kept, inner_kept, y] = writes else { unreachable!("cell writes five tensors") };
    let gates = (p.rows_mut(gates, 3 * size), 3 * size);
    let h = (&mut h[..b * size], size);
    let [h_kept, inner_kept, y] = [h_kept, inner_kept, y].map(|t| (p.rows_mut(t, size), size));
    chunks([gates, h, h_kept, inner_kept, y], p.share(), |row, [gates, h, h_kept, inner_kept, y]| {
        let recur = chunk(recur, 3 * size, row);
        h_kept.copy_from_slice(h);
        inner_kept.copy_from_slice(&recur[2 * size..]);
        if p.takes(lengths[row]) {
            let (rz, n) = gates.split_at_mut(2 * size);
            math::update_pairs(rz, [&recur[..2 * size]; 2], |sum, recur, _| math::sigmoid(sum + recur));
            let (r, z) = rz.split_at(size);
            math::update_pairs(n, [r, inner_kept], |sum, r, inner| math::tanh(sum + r * inner));
            math::update_pairs(h, [z, n], |h, z, n| (1.0 - z) * n + z * h);
        }
        y.copy_from_slice(h);
    });
}

fn backward_cell_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, size] = p.sizes();
    let lengths = reads[0];
    let [h_before, inner, dy] = [1, 2, 3].map(|t| p.rows(reads[t], size));
    let [gates, dh, drecur, dstep] = writes else { unreachable!("backward_cell writes four tensors") };
    let [gates, drecur] = [gates, drecur].map(|t| (p.rows_mut(t, 3 * size), 3 * size));
    let dh = (&mut dh[..b * size], size);
    let dstep = (&mut dstep[..b * 3 * size], 3 * size);
    chunks([gates, dh, drecur, dstep], p.share(), |row, [gates, dh, drecur, dstep]| {
        let [h_before, inner, dy] = [h_before, inner, dy].map(|t| chunk(t, size, row));
        if p.with_dy != 0 {
            math::vectorised(|| dh.iter_mut().zip(dy).for_each(|(dh, dy)| *dh += dy));
        }
        if !p.takes(lengths[row]) {
            [gates, drecur, dstep].into_iter().for_each(|t| t.fill(0.0));
            return;
        }
        // Pass by pass, each over few enough slices that it vectorises.
        let (r, rest) = gates.split_at_mut(size);
        let (z, n) = rest.split_at_mut(size);
        let (dr, rest) = dstep.split_at_mut(size);
        let (dz, dn) = rest.split_at_mut(size);
        dz.copy_from_slice(dh);
        math::update_pairs(dz, [h_before, n], |dh, before, n| dh * (before - n));
        math::update_pairs(dz, [z, z], |dz, z, _| dz * z * (1.0 - z));
        math::update_pairs(n, [dh, z], |n, dh, z| dh * (1.0 - z) * (1.0 - n * n));
        math::update_pairs(dh, [z, z], |dh, z, _| dh * z);
        dr.copy_from_slice(n);
        math::update_pairs(dr, [inner, r], |dn, inner, r| dn * inner * r * (1.0 - r));
        dn.copy_from_slice(n);
        math::update_pairs(dn, [r, r], |dn, r, _| dn * r);
        r.copy_from_slice(dr);
        z.copy_from_slice(dz);
        drecur.copy_from_slice(dstep);
    });
}

// ---- Cases

/// Some sums are so large that the gates are shut or open.
fn cell_cases() -> Vec<Case> {
    cases(false, |p, case| {
        let [b, h] = p.sizes();
        let n = p.steps as usize * b * h;
        let mut recur = uniform(1, 3 * b * h, -3.0, 3.0);
        recur.iter_mut().step_by(11).for_each(|sum| *sum *= 40.0);
        case.read(recur)
            .read_words(lengths(p))
            .update(uniform(2, 3 * n, -3.0, 3.0), TOLERANCE)
            .update(uniform(3, b * h, -1.0, 1.0), TOLERANCE)
            .update(uniform(4, n, -1.0, 1.0), Tolerance::Exact)
            .update(uniform(5, n, -1.0, 1.0), Tolerance::Exact)
            .update(uniform(6, n, -1.0, 1.0), TOLERANCE)
    })
}

fn backward_cell_cases() -> Vec<Case> {
    let of = |with_dy| {
        cases(with_dy, |p, case| {
            let [b, h] = p.sizes();
            let n = p.steps as usize * b * h;
            case.read_words(lengths(p))
                .read(uniform(1, n, -1.0, 1.0))
                .read(uniform(2, n, -3.0, 3.0))
                .read(uniform(3, n, -1.0, 1.0))
                .update(uniform(4, 3 * n, 0.0, 1.0), TOLERANCE)
                .update(uniform(5, b * h, -1.0, 1.0), TOLERANCE)
                .update(uniform(6, 3 * n, -1.0, 1.0), TOLERANCE)
                .assign(3 * b * h, TOLERANCE)
        })
    };
    [false, true].into_iter().flat_map(of).collect()
}

// ---- Gradients

/// For the finite-difference check: three steps of three rows, one of which ends early and one before the first, from
/// the gates' sums, W_hh, b_hh and the state before, to the outputs.
fn gradients() -> Vec<GradientCase> {
    const STEPS: usize = 3;
    const B: usize = 3;
    const H: usize = 2;
    let input = |seed, shape: &[usize]| (shape.to_vec(), uniform(seed, shape.iter().product(), -1.0, 1.0));
    vec![GradientCase {
        label: "gru".into(),
        inputs: vec![input(1, &[STEPS * B, 3 * H]), input(2, &[3 * H, H]), input(3, &[3 * H]), input(4, &[B, H])],
        output: vec![STEPS * B, H],
        record: Box::new(|r, inputs, dy| {
            let [x, w, b, h, lengths] = *inputs else { unreachable!("four inputs and the lengths") };
            let [gates, state] = [x, h].map(|t| joint::scale(r, t, 1.0));
            let run = Run::new(r, gates, lengths);
            for t in 0..STEPS {
                let recur = matmul::forward(r, state, w, b, Activation::Identity);
                cell(r, run, Place { slot: t, t }, recur, state);
            }
            let (dh, dstep) = (joint::scale(r, h, 0.0), r.tensor("dstep", &[B, 3 * H]));
            for t in (0..STEPS).rev() {
                backward_cell(r, run, Place { slot: t, t }, Some(dy), dh, dstep);
                matmul::backward_x_into(r, dstep, w, dh);
            }
            let (dw, db) = (joint::scale(r, w, 0.0), joint::scale(r, b, 0.0));
            matmul::backward_w(r, run.drecur, run.h_before, dw, db);
            (run.h, vec![run.gates, dw, db, dh])
        }),
        state: vec![("lengths", vec![3, 1, 0])],
    }]
}
