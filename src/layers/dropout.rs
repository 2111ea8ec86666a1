//! Drops units while training: `torch.nn.Dropout`.

use super::Mode;
use crate::kernels::dropout;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Sets units to 0 with probability p and divides the others by 1 - p (Srivastava et al. 2014). No parameters.
pub struct Dropout {
    p: f32,
}

/// What a backward needs of its forward: where the mask came from, if there was one.
#[derive(Clone, Copy)]
pub struct Saved {
    draw: Option<Draw>,
}

#[derive(Clone, Copy)]
struct Draw {
    clock: Tensor,
    site: u32,
}

impl Dropout {
    /// Drops with probability p. Panics where p is outside [0, 1).
    pub fn new(p: f32) -> Dropout {
        assert!((0.0..1.0).contains(&p), "dropout: probability {p} is not in [0, 1)");
        Dropout { p }
    }

    /// x of any shape; x itself where nothing is dropped.
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, Saved) {
        match mode {
            Mode::Train { clock } if self.p > 0.0 => {
                let site = r.random_site();
                (dropout::forward(r, x, clock, self.p, site), Saved { draw: Some(Draw { clock, site }) })
            }
            _ => (x, Saved { draw: None }),
        }
    }

    /// dy to dx.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        match saved.draw {
            Some(Draw { clock, site }) => dropout::backward(r, dy, clock, self.p, site),
            None => dy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::{Device, cpu::Cpu};
    use crate::cases::uniform;
    use crate::kernels::clock::Clock;

    const N: usize = 100_000;
    const P: f32 = 0.3;

    /// y of two dropouts of x, and the first one's dx where dy is 1, at a step.
    fn at_step(x: &[f32], step: u32) -> [Vec<f32>; 3] {
        let mut arena = Arena::new();
        let (input, dy) = (arena.tensor("x", &[N]), arena.tensor("dy", &[N]));
        let clock = Clock::tensor(&mut arena, "clock", 1);
        let mut r = Recorder::new(&mut arena);
        let (layer, mode) = (Dropout::new(P), Mode::Train { clock });
        let (y, saved) = layer.forward(&mut r, input, mode);
        let (other, _) = layer.forward(&mut r, input, mode);
        let dx = layer.backward(&mut r, saved, dy);
        let program = r.finish("dropout");
        let mut backend = Device::Cpu(Cpu::Reference).backend();
        let loaded = backend.load(&arena, &program).unwrap();
        backend.write(input, x);
        backend.write(dy, &vec![1.0; N]);
        backend.write_words(clock, &Clock { step, ..Clock::unit() }.words());
        backend.run(&[(loaded, 1)]).unwrap();
        backend.read(&[y, other, dx]).unwrap().try_into().unwrap()
    }

    fn kept(y: &[f32]) -> Vec<bool> {
        y.iter().map(|&y| y != 0.0).collect()
    }

    #[test]
    fn the_stated_share_is_kept_and_the_mean_with_it() {
        let x = uniform(1, N, 0.5, 1.5);
        let [y, ..] = at_step(&x, 0);
        let (n, p) = (N as f64, P as f64);
        let share = kept(&y).into_iter().filter(|&kept| kept).count() as f64 / n;
        assert!((share - (1.0 - p)).abs() < 5.0 * (p * (1.0 - p) / n).sqrt(), "{share}");
        // y - x has mean 0 and variance x^2 p / (1 - p).
        let change = x.iter().zip(&y).map(|(&x, &y)| y as f64 - x as f64).sum::<f64>();
        let variance = x.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() * p / (1.0 - p);
        assert!(change.abs() < 5.0 * variance.sqrt(), "{change}");
        // A kept element is scaled, not redrawn.
        for (x, y) in x.iter().zip(&y).filter(|(_, y)| **y != 0.0) {
            assert!((y - x / (1.0 - P)).abs() < 1e-6, "{x} to {y}");
        }
    }

    #[test]
    fn backward_has_the_mask_of_its_forward() {
        let [y, _, dx] = at_step(&uniform(1, N, 0.5, 1.5), 3);
        assert_eq!(kept(&y), kept(&dx));
        assert!(dx.iter().all(|&dx| dx == 0.0 || (dx - 1.0 / (1.0 - P)).abs() < 1e-6));
    }

    /// Two independent masks differ at 2 p (1 - p) of the places.
    #[test]
    fn masks_of_other_sites_and_steps_are_others() {
        let x = uniform(1, N, 0.5, 1.5);
        let ([y, other_site, _], [other_step, ..]) = (at_step(&x, 0), at_step(&x, 1));
        let expected = 2.0 * P as f64 * (1.0 - P as f64);
        for other in [other_site, other_step] {
            let different = kept(&y).iter().zip(kept(&other)).filter(|(a, b)| *a != b).count();
            let share = different as f64 / N as f64;
            let sigma = (expected * (1.0 - expected) / N as f64).sqrt();
            assert!((share - expected).abs() < 5.0 * sigma, "{share}, expected {expected}");
        }
    }

    #[test]
    fn nothing_is_dispatched_where_nothing_is_dropped() {
        let mut arena = Arena::new();
        let (x, dy, clock) = (arena.tensor("x", &[3]), arena.tensor("dy", &[3]), arena.tensor("clock", &[12]));
        let mut r = Recorder::new(&mut arena);
        for (p, mode) in [(0.5, Mode::Evaluate), (0.0, Mode::Train { clock })] {
            let layer = Dropout::new(p);
            let (y, saved) = layer.forward(&mut r, x, mode);
            assert_eq!((y, layer.backward(&mut r, saved, dy)), (x, dy), "p = {p}");
        }
        assert!(r.finish("dropout").steps.is_empty());
    }
}
