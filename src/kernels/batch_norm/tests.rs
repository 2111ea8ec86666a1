use super::*;
use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};

/// Channel 0 is 1, 3, 5, 7: mean 4, M2 20, biased variance 5, unbiased 20/3. Channel 1 is 2 everywhere.
#[test]
fn running_statistics_move_by_a_tenth_towards_the_unbiased_ones() {
    for cpu in [Cpu::Reference, Cpu::Accelerated] {
        let mut arena = Arena::new();
        let x = arena.tensor("x", &[2, 1, 2, 2]);
        let [w, b, mean, var] = ["w", "b", "mean", "var"].map(|name| arena.tensor(name, &[2]));
        let running = Running { mean, var, count: arena.count("count") };
        let mut r = Recorder::new(&mut arena);
        let (y, _) = forward(&mut r, x, w, b, running, Activation::Identity);
        let evaluated = evaluate(&mut r, x, w, b, running, Activation::Identity);
        let program = r.finish("batch_norm");
        let mut backend = Device::Cpu(cpu).backend();
        let loaded = backend.load(&arena, &program).unwrap();
        backend.write(x, &[1.0, 2.0, 3.0, 2.0, 5.0, 2.0, 7.0, 2.0]);
        backend.write(w, &[2.0, 1.0]);
        backend.write(b, &[10.0, 20.0]);
        backend.write(var, &[1.0, 1.0]);
        let close = |got: &[f32], want: &[f64]| {
            assert_eq!(got.len(), want.len());
            got.iter().zip(want).for_each(|(g, w)| assert!((*g as f64 - w).abs() < 1e-5, "{got:?}, {want:?}"));
        };
        let mut expected = [[0.0, 0.0], [1.0, 1.0]];
        for batch in 1..=2 {
            backend.run(&[(loaded, 1)]).unwrap();
            for (channel, [m, v]) in [[4.0, 20.0 / 3.0], [2.0, 0.0]].into_iter().enumerate() {
                expected[0][channel] = 0.9 * expected[0][channel] + 0.1 * m;
                expected[1][channel] = 0.9 * expected[1][channel] + 0.1 * v;
            }
            close(&backend.read_one(mean).unwrap(), &expected[0]);
            close(&backend.read_one(var).unwrap(), &expected[1]);
            close(&backend.read_one(running.count).unwrap(), &[batch as f64]);
        }
        let rstd = 1.0 / (5.0 + EPS as f64).sqrt();
        let [low, high] = [1.0, 3.0].map(|d| 2.0 * d * rstd);
        let y = backend.read_one(y).unwrap();
        close(&y, &[10.0 - high, 20.0, 10.0 - low, 20.0, 10.0 + low, 20.0, 10.0 + high, 20.0]);
        let rstd = expected[1].map(|v| 1.0 / (v + EPS as f64).sqrt());
        let evaluated = backend.read_one(evaluated).unwrap();
        let first = [10.0 + 2.0 * (1.0 - expected[0][0]) * rstd[0], 20.0 + (2.0 - expected[0][1]) * rstd[1]];
        close(&evaluated[..2], &first);
    }
}

/// A number that is not one must be seen in every channel that has it, in no other, and in the statistics.
#[test]
fn nan_is_not_hidden() {
    let p = sizes(3, 2, Activation::Relu);
    let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&p));
    let x = [1.0, 2.0, f32::NAN, 3.0, 4.0, 5.0];
    let reads: [&[f32]; 5] = [&x, &[1.0; 2], &[0.0; 2], &[0.0, 0.0, 1.0, 1.0], &[1.0; 2]];
    for kernel in [&FORWARD, &EVALUATE] {
        for form in [kernel.reference, kernel.accelerated.unwrap()] {
            let mut y = [0.0; 6];
            form(words, &reads[..kernel.reads.len()], &mut [&mut y]);
            assert_eq!(y.map(f32::is_nan), x.map(f32::is_nan), "{}", kernel.name);
        }
    }
    assert!(accelerated::elu(f32::NAN).is_nan());
    for form in [PARTIALS.reference, PARTIALS.accelerated.unwrap()] {
        let mut parts = [0.0; 4];
        form(words, &[&x], &mut [&mut parts]);
        assert_eq!(parts.map(f32::is_nan), [true, false, true, false]);
    }
}
