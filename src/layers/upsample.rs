//! Pictures, channels last, made larger by a whole factor: `torch.nn.Upsample`.

use crate::kernels::upsample;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// What the new pixels are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each pixel F x F times.
    Nearest,
    /// PyTorch's `align_corners=False`.
    Bilinear,
}

/// No parameters.
pub struct Upsample {
    kind: Kind,
    factor: usize,
}

/// What a backward needs of its forward: nothing but that it was.
#[derive(Clone, Copy)]
pub struct Saved(());

impl Upsample {
    /// Panics on factor 0.
    pub fn new(kind: Kind, factor: usize) -> Upsample {
        assert!(factor > 0, "upsample: factor 0");
        Upsample { kind, factor }
    }

    /// x (B,H,W,C) to y (B,FH,FW,C).
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        let y = match self.kind {
            Kind::Nearest => upsample::nearest(r, x, self.factor),
            Kind::Bilinear => upsample::bilinear(r, x, self.factor),
        };
        (y, Saved(()))
    }

    /// dy (B,FH,FW,C) to dx (B,H,W,C).
    pub fn backward(&self, r: &mut Recorder, _: Saved, dy: Tensor) -> Tensor {
        match self.kind {
            Kind::Nearest => upsample::backward_nearest(r, dy, self.factor),
            Kind::Bilinear => upsample::backward_bilinear(r, dy, self.factor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::{Device, cpu::Cpu};

    /// (y, dx) of a row of two places, with dy = 1, 2, 3, ...
    fn run(kind: Kind, factor: usize, x: [f32; 2]) -> (Vec<f32>, Vec<f32>) {
        let layer = Upsample::new(kind, factor);
        let mut arena = Arena::new();
        let (input, dy) = (arena.tensor("x", &[1, 1, 2, 1]), arena.tensor("dy", &[1, factor, 2 * factor, 1]));
        let mut r = Recorder::new(&mut arena);
        let (y, saved) = layer.forward(&mut r, input);
        let dx = layer.backward(&mut r, saved, dy);
        let program = r.finish("upsample");
        let mut backend = Device::Cpu(Cpu::Reference).backend();
        let loaded = backend.load(&arena, &program).unwrap();
        backend.write(input, &x);
        backend.write(dy, &(1..=dy.len()).map(|i| i as f32).collect::<Vec<f32>>());
        backend.run(&[(loaded, 1)]).unwrap();
        (backend.read_one(y).unwrap(), backend.read_one(dx).unwrap())
    }

    #[test]
    fn nearest_repeats_each_place() {
        let (y, dx) = run(Kind::Nearest, 2, [3.0, 5.0]);
        assert_eq!(y, [3.0, 3.0, 5.0, 5.0, 3.0, 3.0, 5.0, 5.0]);
        // 1 + 2 + 5 + 6 and 3 + 4 + 7 + 8.
        assert_eq!(dx, [14.0, 22.0]);
    }

    #[test]
    fn bilinear_keeps_the_ends_and_meets_the_quarters_between() {
        let (y, dx) = run(Kind::Bilinear, 2, [0.0, 4.0]);
        assert_eq!(y, [0.0, 1.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0]);
        // Columns add up to 6, 8, 10, 12: 6 + 3/4 8 + 1/4 10 and 1/4 8 + 3/4 10 + 12.
        assert_eq!(dx, [14.5, 21.5]);
    }

    #[test]
    fn bilinear_meets_the_places_themselves_where_the_factor_is_odd() {
        let (y, _) = run(Kind::Bilinear, 3, [0.0, 3.0]);
        assert_eq!(y[..6], [0.0, 0.0, 1.0, 2.0, 3.0, 3.0]);
    }
}
