//! Pictures made worse before an encoder sees them, `shaders/corrupt.wgsl`: a denoising VAE reconstructs the clean ones
//! (Im et al. 2015, arXiv 1511.06406). The noise is a tensor of its own. Data has no gradient.

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::{math, random};
use crate::cases::{Case, Tolerance, uniform};
use crate::error::nearest;
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// How pictures are corrupted, and how much. Im et al. use Gaussian noise and salt and pepper.
///
/// | text | a pixel x becomes | level |
/// |---|---|---|
/// | `gaussian:L` | x + L n, n ~ N(0,1), cut off at 0 and 1 | above 0 |
/// | `salt_and_pepper:L` | 0 with probability L/2, 1 with probability L/2 | 0 to 1 |
/// | `mask:L` | 0 with probability L | 0 to 1 |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Corruption {
    /// Normal noise of this standard deviation is added.
    Gaussian(f32),
    /// This part of the pixels is set to black or white.
    SaltAndPepper(f32),
    /// This part of the pixels is set to 0.
    Mask(f32),
}

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    level: f32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "corrupt.wgsl",
    text: include_str!("../../shaders/corrupt.wgsl"),
    common: &[super::INDEX],
    bindings: &["x", "noise", "y"],
    ..PLAIN_SOURCE
};

/// x (N) and noise (N), normal, to y (N), assigned; a NaN stays one. Recorded by [`forward`].
pub static GAUSSIAN: Kernel = kernel(
    "corrupt.gaussian",
    "gaussian",
    "y = clamp(x + level * noise, 0, 1)",
    |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.n as usize {
            let sum = reads[0][i] as f64 + p.level as f64 * reads[1][i] as f64;
            writes[0][i] = sum.clamp(0.0, 1.0) as f32;
        }
    },
    |p, reads, writes| accelerated(p, reads, writes, |level| move |x, noise| (x + level * noise).clamp(0.0, 1.0)),
    gaussian_cases,
);

/// x (N) and noise (N), uniform, to y (N), assigned; recorded by [`forward`].
pub static SALT_AND_PEPPER: Kernel = kernel(
    "corrupt.salt_and_pepper",
    "salt_and_pepper",
    "y = 0 where noise < level/2, 1 where noise >= 1 - level/2, else x",
    |p, reads, writes| each(p, reads, writes, salt_and_pepper),
    |p, reads, writes| accelerated(p, reads, writes, salt_and_pepper),
    uniform_cases,
);

/// x (N) and noise (N), uniform, to y (N), assigned; recorded by [`forward`].
pub static MASK: Kernel = kernel(
    "corrupt.mask",
    "mask",
    "y = 0 where noise < level, else x",
    |p, reads, writes| each(p, reads, writes, mask),
    |p, reads, writes| accelerated(p, reads, writes, mask),
    uniform_cases,
);

const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reference: Reference,
    accelerated: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["N", "level"],
        reads: &["x", "noise"],
        writes: &["y"],
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
        reference,
        accelerated: Some(accelerated),
        cost: |p| Cost { flops: 2 * p[0] as u64, bytes: 12 * p[0] as u64 },
        cases,
        gradients: GradientCheck::None("corrupts pictures, which nothing trains"),
        ..PLAIN
    }
}

// ---- Record

/// The noise that [`forward`] takes for this corruption, new at each step: normal or uniform numbers of this shape.
pub fn noise(r: &mut Recorder, clock: Tensor, shape: &[usize], corruption: Corruption) -> Tensor {
    match corruption {
        Corruption::Gaussian(_) => random::normal(r, clock, shape),
        Corruption::SaltAndPepper(_) | Corruption::Mask(_) => random::unit(r, clock, shape),
    }
}

/// Corrupted pictures of any shape; `noise` has the shape of x and is N(0,1) for Gaussian noise, else U(0,1).
pub fn forward(r: &mut Recorder, x: Tensor, noise: Tensor, corruption: Corruption) -> Tensor {
    let (kernel, level) = match corruption {
        Corruption::Gaussian(level) => (&GAUSSIAN, level),
        Corruption::SaltAndPepper(level) => (&SALT_AND_PEPPER, level),
        Corruption::Mask(level) => (&MASK, level),
    };
    assert!(x.shape() == noise.shape(), "{}: x {x:?}, noise {noise:?}", kernel.name);
    let y = r.tensor("corrupted", x.shape());
    r.dispatch(kernel, Params { n: x.len() as u32, level }, &[x, noise], &[y]);
    y
}

// ---- References

/// (x, noise) to y for a level.
fn salt_and_pepper(level: f32) -> impl Fn(f32, f32) -> f32 + Sync + Copy {
    let (low, high) = (0.5 * level, 1.0 - 0.5 * level);
    move |x, noise| {
        let light = if noise >= high { 1.0 } else { x };
        if noise < low { 0.0 } else { light }
    }
}

/// (x, noise) to y for a level.
fn mask(level: f32) -> impl Fn(f32, f32) -> f32 + Sync + Copy {
    move |x, noise| if noise < level { 0.0 } else { x }
}

fn each<F: Fn(f32, f32) -> f32>(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]], of: fn(f32) -> F) {
    let p: Params = params(p);
    let value = of(p.level);
    for i in 0..p.n as usize {
        writes[0][i] = value(reads[0][i], reads[1][i]);
    }
}

// ---- Accelerated

fn accelerated<F: Fn(f32, f32) -> f32 + Sync + Copy>(
    p: &[u32],
    reads: &[&[f32]],
    writes: &mut [&mut [f32]],
    of: fn(f32) -> F,
) {
    let p: Params = params(p);
    let n = p.n as usize;
    math::map_pairs(&mut writes[0][..n], [&reads[0][..n], &reads[1][..n]], of(p.level));
}

// ---- Cases

/// Sizes and levels, the largest among them, and one with several pieces of the CPU's.
const SIZES: [(usize, f32); 5] = [(1, 0.5), (63, 1.0), (65, 0.1), (1001, 0.3), (20003, 0.5)];

fn gaussian_cases() -> Vec<Case> {
    let case = |(n, level): (usize, f32)| {
        Case::new(format!("{n}, level {level}"), Params { n: n as u32, level })
            .read(uniform(1, n, 0.0, 1.0))
            .read(uniform(2, n, -2.0, 2.0))
            .assign(n, Tolerance::Because(3e-7, "one fused or unfused multiply-add of size up to 3"))
    };
    SIZES.map(case).into()
}

fn uniform_cases() -> Vec<Case> {
    let case = |(n, level): (usize, f32)| {
        Case::new(format!("{n}, level {level}"), Params { n: n as u32, level })
            .read(uniform(1, n, 0.25, 0.75))
            .read(uniform(2, n, 0.0, 1.0))
            .assign(n, Tolerance::Exact)
    };
    SIZES.into_iter().chain([(257, 0.0)]).map(case).collect()
}

// ---- Text

impl FromStr for Corruption {
    type Err = String;

    fn from_str(text: &str) -> Result<Corruption, String> {
        const NAMES: [&str; 3] = ["gaussian", "salt_and_pepper", "mask"];
        let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
        let corruption = match name {
            "gaussian" => Corruption::Gaussian,
            "salt_and_pepper" => Corruption::SaltAndPepper,
            "mask" => Corruption::Mask,
            _ => {
                let hint = nearest(name, NAMES).map_or(".".into(), |n| format!("; did you mean `{n}`?"));
                return Err(format!("no corruption is called `{name}`{hint} There are {}.", NAMES.join(", ")));
            }
        };
        let level = level.ok_or_else(|| format!("corruption `{text}` lacks the level: for instance `{name}:0.3`"))?;
        let (fits, range): (fn(f32) -> bool, _) = match name {
            "gaussian" => (|l| l > 0.0 && l.is_finite(), "a number above 0"),
            _ => (|l| (0.0..=1.0).contains(&l), "a number from 0 to 1"),
        };
        let number = level.parse().ok().filter(|&l| fits(l));
        number.map(corruption).ok_or_else(|| {
            format!("corruption `{text}`: the level is `{level}`, but must be {range}, as in `{name}:0.3`")
        })
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Corruption::Gaussian(level) => write!(f, "gaussian:{level}"),
            Corruption::SaltAndPepper(level) => write!(f, "salt_and_pepper:{level}"),
            Corruption::Mask(level) => write!(f, "mask:{level}"),
        }
    }
}

impl TryFrom<String> for Corruption {
    type Error = String;
    fn try_from(text: String) -> Result<Corruption, String> {
        text.parse()
    }
}

impl From<Corruption> for String {
    fn from(corruption: Corruption) -> String {
        corruption.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::{Device, cpu::Cpu};
    use crate::kernels::clock::Clock;

    #[test]
    fn texts_are_read_as_they_are_written() {
        for corruption in [Corruption::Gaussian(0.5), Corruption::SaltAndPepper(0.3), Corruption::Mask(1.0)] {
            assert_eq!(corruption.to_string().parse(), Ok(corruption));
            let json = serde_json::to_string(&corruption).unwrap();
            assert_eq!(json, format!("\"{corruption}\""));
            assert_eq!(serde_json::from_str::<Corruption>(&json).unwrap(), corruption);
        }
        assert_eq!("mask:0".parse(), Ok(Corruption::Mask(0.0)));
        assert_eq!("gaussian:2".parse(), Ok(Corruption::Gaussian(2.0)));
    }

    #[test]
    fn a_wrong_text_is_told_what_is_wrong() {
        let error = |text: &str| text.parse::<Corruption>().unwrap_err();
        assert_eq!(error("mask"), "corruption `mask` lacks the level: for instance `mask:0.3`");
        assert!(error("gausian:0.5").contains("did you mean `gaussian`?"), "{}", error("gausian:0.5"));
        assert!(error("").contains("There are gaussian, salt_and_pepper, mask."), "{}", error(""));
        for text in ["gaussian:0", "gaussian:-1", "gaussian:inf", "gaussian:NaN", "gaussian:", "gaussian:0.5:1"] {
            assert!(error(text).contains("must be a number above 0, as in `gaussian:0.3`"), "{}", error(text));
        }
        for text in ["mask:1.1", "mask:-0.1", "mask:NaN", "salt_and_pepper:2", "salt_and_pepper:x"] {
            assert!(error(text).contains("must be a number from 0 to 1, as in"), "{}", error(text));
        }
    }

    /// y of 20,000 pixels of value x, on noise drawn for the corruption.
    fn corrupted(cpu: Cpu, x: f32, corruption: Corruption) -> Vec<f32> {
        let arena = &mut Arena::new();
        let (clock, pixels) = (Clock::tensor(arena, "clock", 1), arena.tensor("x", &[20, 1000]));
        let mut r = Recorder::new(arena);
        let noise = noise(&mut r, clock, pixels.shape(), corruption);
        let y = forward(&mut r, pixels, noise, corruption);
        let program = r.finish("corrupt");
        let mut backend = Device::Cpu(cpu).backend();
        let program = backend.load(arena, &program).unwrap();
        backend.write_words(clock, &Clock::unit().words());
        backend.write(pixels, &vec![x; pixels.len()]);
        backend.run(&[(program, 1)]).unwrap();
        backend.read_one(y).unwrap()
    }

    #[test]
    fn each_corrupts_as_much_as_its_level_says() {
        for cpu in [Cpu::Reference, Cpu::Accelerated] {
            let part = |y: &[f32], value: f32| y.iter().filter(|&&v| v == value).count() as f64 / y.len() as f64;
            // The standard deviation of such a part is 0.0035 at most.
            let close = |a: f64, b: f64| assert!((a - b).abs() < 0.015, "{a} is not {b} on {cpu:?}");
            let y = corrupted(cpu, 0.5, Corruption::Mask(0.3));
            close(part(&y, 0.0), 0.3);
            close(part(&y, 0.5), 0.7);
            let y = corrupted(cpu, 0.5, Corruption::SaltAndPepper(0.6));
            [0.0, 1.0].iter().for_each(|&value| close(part(&y, value), 0.3));
            close(part(&y, 0.5), 0.4);
            // 0.5 is two standard deviations from either end.
            let y = corrupted(cpu, 0.5, Corruption::Gaussian(0.25));
            [0.0, 1.0].iter().for_each(|&value| close(part(&y, value), 0.0228));
            let variance = y.iter().map(|&v| (v as f64 - 0.5).powi(2)).sum::<f64>() / y.len() as f64;
            close(variance.sqrt(), 0.24);
        }
    }

    #[test]
    fn a_pixel_that_is_nan_is_not_hidden() {
        for cpu in [Cpu::Reference, Cpu::Accelerated] {
            assert!(corrupted(cpu, f32::NAN, Corruption::Gaussian(0.5)).iter().all(|y| y.is_nan()));
            for corruption in [Corruption::SaltAndPepper(0.5), Corruption::Mask(0.5)] {
                let y = corrupted(cpu, f32::NAN, corruption);
                assert!(y.iter().all(|&y| y.is_nan() || y == 0.0 || y == 1.0) && y.iter().any(|y| y.is_nan()));
            }
        }
    }
}
