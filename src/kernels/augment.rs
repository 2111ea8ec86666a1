//! Windows on pictures of the data set, channels first, `shaders/augment.wgsl`: at random places and perhaps mirrored
//! for training (torchvision's `RandomCrop(size, padding)` and `RandomHorizontalFlip`), in the middle for testing. Data
//! has no gradient.

use bytemuck::{Pod, Zeroable};

use super::clock::Clock;
use super::random::philox;
use super::threads::{chunk, chunks};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN_SOURCE, Reference, Shader, Source, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// Pictures C x H x W, windows P x Q.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    c: u32,
    h: u32,
    w: u32,
    p: u32,
    q: u32,
    pad: u32,
    flip: u32,
    site: u32,
}

/// [`Params`] to count with.
#[derive(Clone, Copy)]
struct Sizes {
    b: usize,
    c: usize,
    h: usize,
    w: usize,
    p: usize,
    q: usize,
    pad: usize,
}

/// Where the window lies: its corner in the picture with its border, and whether it is mirrored.
#[derive(Clone, Copy)]
struct Place {
    top: usize,
    left: usize,
    mirrored: bool,
}

impl Params {
    /// Panics where the window is larger than the picture with its border.
    fn new(b: usize, [c, h, w]: [usize; 3], [p, q]: [usize; 2], pad: usize, flip: bool, site: u32) -> Params {
        let fits = p > 0 && q > 0 && p <= h + 2 * pad && q <= w + 2 * pad;
        assert!(fits, "augment: a window of {p}x{q} does not fit pictures of {h}x{w} with {pad} around them");
        let [b, c, h, w, p, q, pad] = [b, c, h, w, p, q, pad].map(|n| n as u32);
        Params { b, c, h, w, p, q, pad, flip: flip as u32, site }
    }

    fn sizes(self) -> Sizes {
        let [b, c, h, w] = [self.b, self.c, self.h, self.w].map(|n| n as usize);
        let [p, q, pad] = [self.p, self.q, self.pad].map(|n| n as usize);
        Sizes { b, c, h, w, p, q, pad }
    }

    /// The place drawn for a picture. `clock` is the clock as a reference reads it.
    fn draw(self, clock: &[f32], picture: usize) -> Place {
        let [low, high, step] = [0, 1, 2].map(|i: usize| clock[i].to_bits());
        let words = philox([picture as u32, self.site, step, 0], [low, high]);
        let below = |word: u32, n: u32| ((word as u64 * n as u64) >> 32) as usize;
        Place {
            top: below(words[0], self.h + 2 * self.pad - self.p + 1),
            left: below(words[1], self.w + 2 * self.pad - self.q + 1),
            mirrored: self.flip == 1 && words[2] >> 31 == 1,
        }
    }

    /// The place in the middle.
    fn middle(self) -> Place {
        let s = self.sizes();
        Place { top: s.pad + (s.h - s.p) / 2, left: s.pad + (s.w - s.q) / 2, mirrored: false }
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "augment.wgsl",
    text: include_str!("../../shaders/augment.wgsl"),
    common: &[super::PHILOX],
    bindings: &["x", "clock", "y"],
    ..PLAIN_SOURCE
};

/// x (B,C,H,W) and the clock to y (B,C,P,Q), assigned, zeros where a window reaches over the edge; recorded by
/// [`forward`]. A picture's place and side are the Philox words of (seed, step, site, picture).
pub static FORWARD: Kernel = kernel(
    "augment.forward",
    "forward",
    "y = a window of x at a random place, perhaps mirrored",
    &["x", "clock"],
    |p, reads, writes| {
        let p: Params = params(p);
        copy_reference(p.sizes(), reads[0], writes[0], |picture| p.draw(reads[1], picture));
    },
    |p, reads, writes| {
        let p: Params = params(p);
        copy_accelerated(p.sizes(), reads[0], writes[0], |picture| p.draw(reads[1], picture));
    },
    forward_cases,
);

/// x (B,C,H,W) to y (B,C,P,Q), assigned; recorded by [`center`].
pub static CENTER: Kernel = kernel(
    "augment.center",
    "center",
    "y = the window in the middle of x",
    &["x"],
    |p, reads, writes| {
        let p: Params = params(p);
        copy_reference(p.sizes(), reads[0], writes[0], |_| p.middle());
    },
    |p, reads, writes| {
        let p: Params = params(p);
        copy_accelerated(p.sizes(), reads[0], writes[0], |_| p.middle());
    },
    center_cases,
);

const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reads: &'static [&'static str],
    reference: Reference,
    accelerated: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["B", "C", "H", "W", "P", "Q", "pad", "flip", "site"],
        reads,
        writes: &["y"],
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid },
        software: None,
        candidates: None,
        reference,
        accelerated: Some(accelerated),
        cost: |p| {
            let Sizes { b, c, p, q, .. } = params::<Params>(p).sizes();
            Cost { flops: 0, bytes: 8 * (b * c * p * q) as u64 }
        },
        cases,
        gradients: GradientCheck::None("moves pictures, which nothing trains"),
    }
}

/// 16 elements an invocation, so that the draw costs little; pictures along y, past WebGPU's 65535 along z.
fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    let Sizes { b, c, p, q, .. } = params::<Params>(p).sizes();
    [(c * p * q).div_ceil(64 * 16) as u32, b.min(65535) as u32, b.div_ceil(65535) as u32]
}

// ---- Record

/// Windows of `out` rows and columns on pictures (B, C*H*W) or (B,C,H,W): (B, C*P*Q). The corner is uniform from -pad
/// to H - P + pad and -pad to W - Q + pad, drawn for each picture at each step; with `flip` half of them are mirrored.
pub fn forward(
    r: &mut Recorder,
    x: Tensor,
    clock: Tensor,
    shape: [usize; 3],
    out: [usize; 2],
    pad: usize,
    flip: bool,
) -> Tensor {
    let (b, y) = window(r, "augment.forward", x, shape, out);
    let site = r.random_site();
    r.dispatch(&FORWARD, Params::new(b, shape, out, pad, flip, site), &[x, clock], &[y]);
    y
}

/// The windows in the middle, for a test set: (B, C*H*W) or (B,C,H,W) to (B, C*P*Q).
pub fn center(r: &mut Recorder, x: Tensor, shape: [usize; 3], out: [usize; 2]) -> Tensor {
    let (b, y) = window(r, "augment.center", x, shape, out);
    r.dispatch(&CENTER, Params::new(b, shape, out, 0, false, 0), &[x], &[y]);
    y
}

/// The number of pictures in x and room for a window of each.
fn window(r: &mut Recorder, kernel: &str, x: Tensor, [c, h, w]: [usize; 3], [p, q]: [usize; 2]) -> (usize, Tensor) {
    let b = x.shape()[0];
    let fits = x.shape() == [b, c * h * w] || x.shape() == [b, c, h, w];
    assert!(fits, "{kernel}: x {x:?} holds no pictures of {c}x{h}x{w}");
    (b, r.tensor("window", &[b, c * p * q]))
}

// ---- References

fn copy_reference(s: Sizes, x: &[f32], y: &mut [f32], place: impl Fn(usize) -> Place) {
    for b in 0..s.b {
        let Place { top, left, mirrored } = place(b);
        for i in 0..s.c * s.p * s.q {
            let (c, p, q) = (i / (s.p * s.q), i / s.q % s.p, i % s.q);
            let h = (top + p) as isize - s.pad as isize;
            let w = (left + if mirrored { s.q - 1 - q } else { q }) as isize - s.pad as isize;
            let inside = (0..s.h as isize).contains(&h) && (0..s.w as isize).contains(&w);
            let from = ((b * s.c + c) * s.h) as isize + h;
            y[b * s.c * s.p * s.q + i] = if inside { x[(from * s.w as isize + w) as usize] } else { 0.0 };
        }
    }
}

// ---- Accelerated

/// A picture a task, row by row: the part inside the picture is copied in one piece.
fn copy_accelerated(s: Sizes, x: &[f32], y: &mut [f32], place: impl Fn(usize) -> Place + Sync) {
    let size = s.c * s.p * s.q;
    chunks([(&mut y[..s.b * size], size)], super::CHUNK.div_ceil(size), |b, [y]| {
        let x = chunk(x, s.c * s.h * s.w, b);
        let Place { top, left, mirrored } = place(b);
        // Columns of the window that lie in the picture, before mirroring.
        let from = s.pad.saturating_sub(left).min(s.q);
        let to = (s.pad + s.w).saturating_sub(left).min(s.q).max(from);
        for (i, y) in y.chunks_exact_mut(s.q).enumerate() {
            let (c, h) = (i / s.p, (top + i % s.p).wrapping_sub(s.pad));
            y.fill(0.0);
            if h < s.h && from < to {
                let x = &x[(c * s.h + h) * s.w + left + from - s.pad..][..to - from];
                if mirrored {
                    y[s.q - to..s.q - from].iter_mut().rev().zip(x).for_each(|(y, x)| *y = *x);
                } else {
                    y[from..to].copy_from_slice(x);
                }
            }
        }
    });
}

// ---- Cases

fn case(b: usize, shape: [usize; 3], out: [usize; 2], pad: usize, flip: bool) -> Case {
    let label = format!("{b} of {shape:?} to {out:?}, pad {pad}, flip {flip}");
    Case::new(label, Params::new(b, shape, out, pad, flip, 9)).read(uniform(
        1,
        b * shape.iter().product::<usize>(),
        0.5,
        1.0,
    ))
}

/// Smaller windows, equal ones that shift, ones so far out that they see nothing; several pictures to a task of the CPU
/// and several workgroups to a picture.
fn forward_cases() -> Vec<Case> {
    let layouts = [
        (1, [1, 1, 1], [1, 1], 0, false),
        (17, [3, 5, 7], [3, 4], 0, true),
        (65, [1, 9, 8], [9, 8], 2, true),
        (5, [3, 33, 31], [29, 31], 3, false),
        (33, [2, 2, 3], [3, 2], 5, true),
        (9, [1, 3, 2], [7, 6], 2, true),
    ];
    let case = |(b, shape, out, pad, flip): (usize, [usize; 3], [usize; 2], usize, bool)| {
        let len = b * shape[0] * out[0] * out[1];
        case(b, shape, out, pad, flip).read_words(Clock::example().words()).assign(len, Tolerance::Exact)
    };
    layouts.map(case).into()
}

fn center_cases() -> Vec<Case> {
    let layouts = [(1, [1, 1, 1], [1, 1]), (3, [3, 5, 7], [4, 4]), (2, [1, 41, 33], [35, 33]), (17, [2, 9, 6], [3, 3])];
    let case = |(b, shape, out): (usize, [usize; 3], [usize; 2])| {
        case(b, shape, out, 0, false).assign(b * shape[0] * out[0] * out[1], Tolerance::Exact)
    };
    layouts.map(case).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(params: Params, x: &[f32], clock: &Clock) -> Vec<f32> {
        let Sizes { b, c, p, q, .. } = params.sizes();
        let (mut y, clock) = (vec![f32::NAN; b * c * p * q], bytemuck::allocation::cast_vec(clock.words()));
        (FORWARD.reference)(bytemuck::cast_slice(&[params]), &[x, &clock], &mut [&mut y]);
        y
    }

    /// Every window there is, each as often as the others.
    #[test]
    fn places_are_uniform() {
        const N: usize = 20_000;
        let picture: Vec<f32> = (1..=20).map(|v| v as f32).collect();
        let at =
            |h: isize, w: isize| if h < 0 || w < 0 || h >= 4 || w >= 5 { 0.0 } else { picture[(h * 5 + w) as usize] };
        for (pad, flips) in [(0, vec![false]), (1, vec![false, true])] {
            // 2x3 windows on 4x5: corners from -pad to 2 + pad either way.
            let corners = (-pad..=2 + pad).flat_map(|top| (-pad..=2 + pad).map(move |left| (top, left)));
            let mut windows: Vec<(Vec<f32>, usize)> = Vec::new();
            for (top, left) in corners {
                for &flip in &flips {
                    let column = |q: isize| left + if flip { 2 - q } else { q };
                    let rows = (0..2).flat_map(|p| (0..3).map(move |q| (p, q)));
                    windows.push((rows.map(|(p, q)| at(top + p, column(q))).collect(), 0));
                }
            }
            let params = Params::new(N, [1, 4, 5], [2, 3], pad as usize, flips.len() == 2, 1);
            for y in run(params, &picture.repeat(N), &Clock::example()).chunks(6) {
                windows.iter_mut().find(|(window, _)| window == y).unwrap_or_else(|| panic!("{y:?}")).1 += 1;
            }
            let (n, share) = (N as f64, 1.0 / windows.len() as f64);
            for (window, count) in windows {
                let sigma = (n * share * (1.0 - share)).sqrt();
                assert!((count as f64 - n * share).abs() < 5.0 * sigma, "{window:?} {count} times");
            }
        }
    }

    #[test]
    fn other_steps_and_sites_draw_other_places() {
        let x: Vec<f32> = (0..100 * 25).map(|i| i as f32).collect();
        let draw = |site, step| {
            let params = Params::new(100, [1, 5, 5], [3, 3], 1, true, site);
            run(params, &x, &Clock { step, ..Clock::example() })
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    /// 2x2 in the middle of 5x3: corner (1, 0), rounded down.
    #[test]
    fn the_middle_of_an_odd_size() {
        let x: Vec<f32> = (0..15).map(|v| v as f32).collect();
        let mut y = [f32::NAN; 4];
        let params = Params::new(1, [1, 5, 3], [2, 2], 0, false, 0);
        (CENTER.reference)(bytemuck::cast_slice(&[params]), &[&x], &mut [&mut y]);
        assert_eq!(y, [3.0, 4.0, 6.0, 7.0]);
    }
}
