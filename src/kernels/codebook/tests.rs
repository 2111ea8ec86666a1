use super::*;
use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};

const FORMS: [Cpu; 2] = [Cpu::Reference, Cpu::Accelerated];

/// Usage and codes after so many steps of [`update`] on the same vectors (R,D), each with its nearest code.
fn moved(cpu: Cpu, z: &[f32], codes: &[f32], d: usize, moves: Moves, steps: usize) -> [Vec<f32>; 2] {
    let (rows, k) = (z.len() / d, codes.len() / d);
    let arena = &mut Arena::new();
    let clock = clock::Clock::tensor(arena, "clock", 1);
    let [given, codebook] = [("z", rows), ("codebook", k)].map(|(name, n)| arena.tensor(name, &[n, d]));
    let usage = arena.tensor("usage", &[k]);
    let mut r = Recorder::new(arena);
    let ids = nearest(&mut r, given, codebook);
    let [counts, sums] = sums(&mut r, ids, given, k);
    update(&mut r, [counts, sums, given, clock], [usage, codebook], moves);
    let program = r.finish("update");
    let mut backend = Device::Cpu(cpu).backend();
    let program = backend.load(arena, &program).unwrap();
    backend.write_words(clock, &clock::Clock::unit().words());
    backend.write(given, z);
    backend.write(codebook, codes);
    backend.run(&[(program, steps)]).unwrap();
    backend.read(&[usage, codebook]).unwrap().try_into().unwrap()
}

#[test]
fn a_code_goes_to_the_mean_of_its_vectors() {
    let z: Vec<f32> = (0..40).map(|i| if i % 2 == 0 { 1.0 } else { -3.0 } + 0.01 * (i / 2) as f32).collect();
    let mean = |odd: usize| z.iter().skip(odd).step_by(2).sum::<f32>() / 20.0;
    let moves = Moves { decay: 0.9, restart: 0.0, by_average: true };
    for cpu in FORMS {
        // At once, since the running shares start at 0, and there it stays.
        for steps in [1, 30] {
            let [_, codes] = moved(cpu, &z, &[0.5, -1.0], 1, moves, steps);
            assert!((codes[0] - mean(0)).abs() < 1e-5 && (codes[1] - mean(1)).abs() < 1e-5, "{codes:?} on {cpu:?}");
        }
        let [usage, codes] = moved(cpu, &z, &[0.5, -1.0], 1, Moves { by_average: false, ..moves }, 200);
        assert_eq!(codes, [0.5, -1.0]);
        assert!(usage.iter().all(|share| (share - 1.0).abs() < 1e-4), "{usage:?}");
    }
}

#[test]
fn a_code_that_nobody_takes_is_put_onto_a_vector() {
    let z: Vec<f32> = (0..20).map(|i| i as f32).collect();
    let moves = Moves { decay: 0.9, restart: 0.01, by_average: false };
    for cpu in FORMS {
        // All vectors are nearest to the first; at the first step the other two restart, onto different ones.
        let [usage, codes] = moved(cpu, &z, &[0.0, -50.0, -60.0], 1, moves, 1);
        assert_eq!(codes[0], 0.0);
        assert!(codes[1] != codes[2] && codes[1..].iter().all(|code| z.contains(code)), "{codes:?}");
        assert_eq!(&usage[1..], [1.0, 1.0]);
        let kept = moved(cpu, &z, &[0.0, -50.0, -60.0], 1, Moves { restart: 0.0, ..moves }, 1);
        assert_eq!(kept[1], [0.0, -50.0, -60.0]);
    }
}

/// A step of the averages is a step of gradient descent on the codebook's loss, with a rate of its own for each code:
/// (1 - decay) / (2 running count). Of one code, whose running count is R once it is warm, that is
/// codes - (1 - decay)/(2R) gradient.
#[test]
fn an_average_is_gradient_descent_with_its_own_rate() {
    let (z, code) = (uniform(1, 30, -1.0, 1.0), [0.3f32]);
    let sum: f32 = z.iter().sum();
    let gradient = 2.0 * (30.0 * code[0] - sum);
    let warm = Params { r: 30, d: 1, k: 1, scale: 1.0, decay: 0.99, restart: 0.0 };
    let (mut usage, mut codes) = ([1.0f32], code);
    let words = bytemuck::pod_collect_to_vec(&[warm]);
    let clock: Vec<f32> = clock::Clock::unit().words().into_iter().map(f32::from_bits).collect();
    (UPDATE.reference)(&words, &[&[30.0], &[sum], &z, &clock], &mut [&mut usage, &mut codes]);
    assert!((codes[0] - (code[0] - 0.01 / 60.0 * gradient)).abs() < 1e-6, "{codes:?}");
    assert!((usage[0] - 1.0).abs() < 1e-6);
}

#[test]
fn perplexity_counts_the_codes_that_are_taken_equally() {
    for (counts, want) in [(vec![5.0f32, 0.0, 0.0], 1.0), (vec![4.0, 4.0, 4.0], 3.0), (vec![6.0, 6.0, 0.0], 2.0)] {
        let total = counts.iter().sum::<f32>();
        assert!((entropy(&counts, f64::from(total)).exp() - want).abs() < 1e-9);
    }
}
