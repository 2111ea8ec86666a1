//! Pictures of black and white pixels, drawn anew at each step, `shaders/binarise.wgsl`: a pixel is 1 as often as its
//! grey level says (Salakhutdinov & Murray 2008 drew once; Burda et al. 2015, arXiv 1509.00519, at each step). Data has
//! no gradient.

use bytemuck::{Pod, Zeroable};

use super::clock::Clock;
use super::random::{philox, to_uniform};
use super::threads::chunks;
use super::{CHUNK, math};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `site` tells it from the other draws of a program.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    site: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "binarise.wgsl",
    text: include_str!("../../shaders/binarise.wgsl"),
    common: &[super::INDEX, super::PHILOX],
    bindings: &["x", "clock", "y"],
    ..PLAIN_SOURCE
};

/// x (N) in `[0,1]` and the clock to y (N), assigned; a NaN stays one. Recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "binarise.forward",
    formula: "y = 1 where u < x, else 0, u ~ U(0, 1)",
    params: &["N", "site"],
    reads: &["x", "clock"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d((p[0] as usize).div_ceil(4), 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let clock = [0, 1, 2].map(|i: usize| reads[1][i].to_bits());
        for i in 0..p.n as usize {
            writes[0][i] = drawn(reads[0][i], p.words(clock, i / 4)[i % 4]);
        }
    },
    accelerated: Some(accelerated),
    cost: |p| Cost { flops: 25 * p[0] as u64, bytes: 8 * p[0] as u64 },
    cases,
    gradients: GradientCheck::None("draws pictures, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// Black and white pictures for grey ones of any shape, new at each step.
pub fn forward(r: &mut Recorder, x: Tensor, clock: Tensor) -> Tensor {
    let y = r.tensor("binary", x.shape());
    let site = r.random_site();
    r.dispatch(&FORWARD, Params { n: x.len() as u32, site }, &[x, clock], &[y]);
    y
}

// ---- References

impl Params {
    #[inline(always)]
    fn words(&self, clock: [u32; 3], block: usize) -> [u32; 4] {
        philox([block as u32, self.site, clock[2], 0], [clock[0], clock[1]])
    }
}

/// 1 where the uniform number of these bits is below x, else 0.
#[inline(always)]
fn drawn(x: f32, bits: u32) -> f32 {
    let u = to_uniform(bits) as f32;
    if u < x {
        1.0
    } else if u >= x {
        0.0
    } else {
        x
    }
}

// ---- Accelerated

fn accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.n as usize;
    let clock = [0, 1, 2].map(|i: usize| reads[1][i].to_bits());
    chunks([(&mut writes[0][..n], CHUNK)], 1, |i, [y]| {
        let x = &reads[0][i * CHUNK..][..y.len()];
        let first = i * CHUNK / 4;
        math::vectorised(|| {
            for (block, (y, x)) in y.chunks_mut(4).zip(x.chunks(4)).enumerate() {
                let words = p.words(clock, first + block);
                y.iter_mut().zip(x).zip(words).for_each(|((y, &x), bits)| *y = drawn(x, bits));
            }
        });
    });
}

// ---- Cases

/// Black and white pixels among the grey ones stay what they are. The last of 20003 lies in the third chunk of the
/// CPU's.
fn cases() -> Vec<Case> {
    let case = |n: usize| {
        let mut x = uniform(1, n, 0.0, 1.0);
        x.iter_mut().zip([1.0, 0.0]).for_each(|(x, extreme)| *x = extreme);
        Case::new(format!("{n}"), Params { n: n as u32, site: 3 })
            .read(x)
            .read_words(Clock::example().words())
            .assign(n, Tolerance::Exact)
    };
    [1, 6, 65, 257, 20003].map(case).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(x: &[f32], site: u32, step: u32) -> Vec<f32> {
        let clock = bytemuck::allocation::cast_vec(Clock { step, ..Clock::example() }.words());
        let mut y = vec![f32::NAN; x.len()];
        let params = Params { n: x.len() as u32, site };
        accelerated(bytemuck::cast_slice(&[params]), &[x, &clock], &mut [&mut y]);
        y
    }

    #[test]
    fn a_pixel_is_white_as_often_as_its_grey_level_says() {
        for level in [0.0, 0.1, 0.5, 1.0] {
            let y = run(&[level; 40_000], 1, 0);
            assert!(y.iter().all(|&y| y == 0.0 || y == 1.0));
            let white = y.iter().sum::<f32>() / y.len() as f32;
            // The standard deviation of the share is 0.0025 at most.
            assert!(
                (white - level).abs() < 0.011 * (level * (1.0 - level)).sqrt().min(1.0) + 1e-6,
                "{white} of {level}"
            );
        }
        let [first, again, step, site] =
            [(1, 0), (1, 0), (1, 1), (2, 0)].map(|(site, step)| run(&[0.5; 99], site, step));
        assert!(first == again && first != step && first != site);
        assert!(run(&[f32::NAN; 5], 1, 0).iter().all(|y| y.is_nan()));
    }
}
