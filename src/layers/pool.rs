//! Maxima or means over windows of pictures, channels last: `torch.nn.MaxPool2d` and `AvgPool2d`.

use crate::kernels::pool::{self, Window};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// What a window becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its largest number; of equal ones the first gets the gradient. The border never is the largest.
    Max,
    /// The mean over the whole window, the border counted as zeros.
    Average,
}

/// No parameters. Sizes are rounded down, the border counts in the mean, as in PyTorch by default.
pub struct Pool {
    kind: Kind,
    window: Window,
}

/// What a backward needs of its forward.
#[derive(Clone, Copy)]
pub struct Saved {
    shape: [usize; 4],
    /// The places of the maxima, (B,P,Q,C).
    index: Option<Tensor>,
}

impl Pool {
    /// Each as (rows, columns); panics where PyTorch refuses: a border wider than half a window.
    pub fn new(kind: Kind, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Pool {
        Pool { kind, window: Window::new(kernel, stride, padding) }
    }

    /// The size of a picture after pooling; none where the window does not fit.
    pub fn output_size(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        self.window.output_size(size)
    }

    /// x (B,H,W,C) to y (B,P,Q,C).
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        let shape = x.shape().try_into().unwrap_or_else(|_| panic!("pool: x {x:?} is not (B,H,W,C)"));
        match self.kind {
            Kind::Max => {
                let (y, index) = pool::max(r, x, self.window);
                (y, Saved { shape, index: Some(index) })
            }
            Kind::Average => (pool::average(r, x, self.window), Saved { shape, index: None }),
        }
    }

    /// dy (B,P,Q,C) to dx (B,H,W,C).
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        match saved.index {
            Some(index) => pool::backward_max(r, index, dy, saved.shape, self.window),
            None => pool::backward_average(r, dy, saved.shape, self.window),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::{Device, cpu::Cpu};

    /// (y, dx) of pictures of one channel.
    fn run(layer: &Pool, [h, w]: [usize; 2], x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let [p, q] = layer.output_size([h, w]).unwrap();
        let mut arena = Arena::new();
        let (input, dy_) = (arena.tensor("x", &[1, h, w, 1]), arena.tensor("dy", &[1, p, q, 1]));
        let mut r = Recorder::new(&mut arena);
        let (y, saved) = layer.forward(&mut r, input);
        let dx = layer.backward(&mut r, saved, dy_);
        let program = r.finish("pool");
        let mut backend = Device::Cpu(Cpu::Reference).backend();
        let loaded = backend.load(&arena, &program).unwrap();
        backend.write(input, x);
        backend.write(dy_, dy);
        backend.run(&[(loaded, 1)]).unwrap();
        (backend.read_one(y).unwrap(), backend.read_one(dx).unwrap())
    }

    /// Of equal numbers the first in row-major order gets the gradient; two windows may choose the same place.
    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient() {
        let layer = Pool::new(Kind::Max, [2, 2], [1, 1], [0, 0]);
        let (y, dx) = run(&layer, [2, 3], &[1.0, 2.0, 2.0, 2.0, 0.0, 2.0], &[10.0, 1.0]);
        assert_eq!((y, dx), (vec![2.0, 2.0], vec![0.0, 11.0, 0.0, 0.0, 0.0, 0.0]));
        let (y, dx) = run(&layer, [2, 2], &[-1.0; 4], &[3.0]);
        assert_eq!((y, dx), (vec![-1.0], vec![3.0, 0.0, 0.0, 0.0]));
    }

    #[test]
    fn a_nan_is_the_maximum_wherever_it_stands() {
        let layer = Pool::new(Kind::Max, [1, 3], [1, 3], [0, 0]);
        for at in 0..3 {
            let mut x = [1.0, 7.0, 5.0];
            x[at] = f32::NAN;
            let (y, dx) = run(&layer, [1, 3], &x, &[2.0]);
            assert!(y[0].is_nan());
            assert_eq!(dx.iter().position(|&dx| dx == 2.0), Some(at), "{dx:?}");
        }
    }

    /// A border never is the maximum, but counts in the mean.
    #[test]
    fn the_border_counts_in_the_mean_alone() {
        let (x, dy) = ([-1.0, -2.0, -3.0, -4.0], [4.0, 8.0, 12.0, 16.0]);
        let (y, dx) = run(&Pool::new(Kind::Max, [2, 2], [2, 2], [1, 1]), [2, 2], &x, &dy);
        assert_eq!((y, dx), (x.to_vec(), dy.to_vec()));
        let (y, dx) = run(&Pool::new(Kind::Average, [2, 2], [2, 2], [1, 1]), [2, 2], &x, &dy);
        assert_eq!((y, dx), (vec![-0.25, -0.5, -0.75, -1.0], vec![1.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn sizes_are_rounded_down() {
        let size = |kernel, stride, padding, size| Pool::new(Kind::Max, kernel, stride, padding).output_size(size);
        assert_eq!(size([2, 2], [2, 2], [0, 0], [7, 8]), Some([3, 4]));
        assert_eq!(size([3, 3], [2, 2], [1, 1], [28, 27]), Some([14, 14]));
        assert_eq!(size([1, 3], [1, 2], [0, 1], [1, 65]), Some([1, 33]));
        assert_eq!(size([3, 3], [1, 1], [0, 0], [3, 2]), None);
        assert_eq!(size([3, 3], [1, 1], [0, 1], [3, 2]), Some([1, 2]));
    }

    /// The last row and column, which no window reaches, get no gradient.
    #[test]
    fn what_no_window_reaches_gets_no_gradient() {
        let layer = Pool::new(Kind::Average, [2, 2], [2, 2], [0, 0]);
        let (y, dx) = run(&layer, [3, 3], &[1.0; 9], &[4.0]);
        assert_eq!((y, dx), (vec![1.0], vec![1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]));
    }
}
