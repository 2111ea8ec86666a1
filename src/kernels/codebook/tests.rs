use super::*;
use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};

const FORMS: [Cpu; 2] = [Cpu::Reference, Cpu::Accelerated];

/// Running counts and codes after so many steps of [`update`] on the same vectors (R,D), each with its nearest code,
/// from these codes, whose running counts are `n` each.
fn moved(cpu: Cpu, z: &[f32], codes: &[f32], n: f32, restart: f32, steps: usize) -> [Vec<f32>; 2] {
    let (rows, k) = (z.len(), codes.len());
    let arena = &mut Arena::new();
    let clock = clock::Clock::tensor(arena, "clock", 1);
    let given = arena.tensor("z", &[rows, 1]);
    let [of_sums, of_codes] = ["sums", "codes"].map(|name| arena.tensor(name, &[k, 1]));
    let of_counts = arena.tensor("counts", &[k]);
    let averages = Averages { counts: of_counts, sums: of_sums, codes: of_codes, decay: 0.9, restart };
    let mut r = Recorder::new(arena);
    let ids = nearest(&mut r, given, of_codes);
    let tallied = tally(&mut r, ids, given, k);
    update(&mut r, tallied, given, clock, &averages);
    let program = r.finish("update");
    let mut backend = Device::Cpu(cpu).backend();
    let program = backend.load(arena, &program).unwrap();
    backend.write_words(clock, &clock::Clock::unit().words());
    backend.write(given, z);
    backend.write(of_codes, codes);
    backend.write(of_counts, &vec![n; k]);
    backend.write(of_sums, &codes.iter().map(|code| n * code).collect::<Vec<_>>());
    backend.run(&[(program, steps)]).unwrap();
    backend.read(&[of_counts, of_codes]).unwrap().try_into().unwrap()
}

#[test]
fn a_code_goes_to_the_mean_of_its_vectors() {
    let z: Vec<f32> = (0..40).map(|i| if i % 2 == 0 { 1.0 } else { -3.0 } + 0.01 * (i / 2) as f32).collect();
    let mean = |odd: usize| z.iter().skip(odd).step_by(2).sum::<f32>() / 20.0;
    for cpu in FORMS {
        // At once where nothing ran before, but for the smoothing, and there it stays.
        for steps in [1, 30] {
            let [counts, codes] = moved(cpu, &z, &[0.5, -1.0], 0.0, 0.0, steps);
            assert!((codes[0] - mean(0)).abs() < 1e-4 && (codes[1] - mean(1)).abs() < 1e-4, "{codes:?} on {cpu:?}");
            let whole = 20.0 * (1.0 - 0.9f32.powi(steps as i32));
            assert!(counts.iter().all(|count| (count - whole).abs() < 1e-4), "{counts:?}");
        }
    }
}

/// One step: m = 0.9 m + 0.1 sum, n = 0.9 n + 0.1 count, and the smoothing draws the quotients towards each other.
#[test]
fn a_step_of_the_averages_is_the_papers() {
    let (z, codes) = ([2.0f32, 2.2, -1.0], [1.5f32, -0.5]);
    for cpu in FORMS {
        let [counts, moved] = moved(cpu, &z, &codes, 1.0, 0.0, 1);
        let n = [0.9 + 0.1 * 2.0, 0.9 + 0.1];
        let m = [0.9 * 1.5 + 0.1 * 4.2, 0.9 * -0.5 - 0.1];
        let total: f64 = n.iter().sum();
        for k in 0..2 {
            let smoothed = (n[k] + 1e-5) / (total + 2e-5) * total;
            assert!((f64::from(counts[k]) - n[k]).abs() < 1e-6, "{counts:?}");
            assert!((f64::from(moved[k]) - m[k] / smoothed).abs() < 1e-6, "{moved:?}");
        }
    }
}

#[test]
fn a_code_that_nobody_takes_is_put_onto_a_vector() {
    let z: Vec<f32> = (0..20).map(|i| i as f32).collect();
    for cpu in FORMS {
        // All vectors are nearest to the first; the other two restart, onto different ones.
        let [counts, codes] = moved(cpu, &z, &[0.0, -50.0, -60.0], 0.0, 0.01, 1);
        let is_there = |code: f32| z.iter().any(|z| (z - code).abs() < 1e-3 * (1.0 + z.abs()));
        assert!((codes[1] - codes[2]).abs() > 0.5 && codes[1..].iter().all(|&code| is_there(code)), "{codes:?}");
        assert!((codes[0] - 9.5).abs() < 1e-3 && (counts[0] - 2.0).abs() < 1e-5, "{codes:?} {counts:?}");
        assert!(counts[1..].iter().all(|count| (count - 20.0 / 3.0).abs() < 1e-5), "{counts:?}");
        let [_, kept] = moved(cpu, &z, &[0.0, -50.0, -60.0], 1.0, 0.0, 1);
        assert!((kept[1] + 50.0).abs() < 0.01 && (kept[2] + 60.0).abs() < 0.01, "{kept:?}");
    }
}

#[test]
fn perplexity_counts_the_codes_that_are_taken_equally() {
    for (counts, want) in [(vec![5.0f32, 0.0, 0.0], 1.0), (vec![4.0, 4.0, 4.0], 3.0), (vec![6.0, 6.0, 0.0], 2.0)] {
        let total = counts.iter().sum::<f32>();
        assert!((entropy(&counts, f64::from(total)).exp() - want).abs() < 1e-9);
    }
}
